//! The forwarding context of a packet: the destination array that the extension sees, and the switch's own record of
//! it.
//!
//! Free slots are empty or hold stale data, elements are further apart than they are long, and an array that Grow
//! replaced stays, poisoned, for as long as the packet lives.

use lbfoext::ndis::raw::{
    DestinationBits, ForwardingDestinationArray, ObjectHeader, PortDestination, object_type,
};
use std::mem::size_of;
use std::ptr;

/// The forwarding context of a list: the destination array that the extension sees, and the switch's own record of it.
pub struct Context {
    array: Array,
    /// Arrays that Grow replaced, poisoned.
    dead: Vec<Array>,
    pub committed: Vec<PortDestination>,
    /// Number of elements, committed or free.
    pub capacity: u32,
    /// Whether a Grow failed and nothing was committed since.
    pub grow_failed: bool,
    /// Whether an Add or Update failed and nothing was committed since.
    pub commit_failed: bool,
    pub adds: u32,
}

/// A destination array: header, then elements whose size only the header tells.
struct Array {
    words: Vec<u64>,
    stride: usize,
    /// Value of every byte of an element that was not written.
    fresh: u8,
}

/// Value of free elements with old contents, as if from an earlier packet.
const GARBAGE: u8 = 0xC7;
const HEADER: usize = size_of::<ForwardingDestinationArray>();

impl Array {
    fn new(capacity: u32, stride: usize, fresh: u8) -> Self {
        let bytes = HEADER + capacity as usize * stride;
        let words = vec![u64::from_ne_bytes([fresh; 8]); bytes.div_ceil(8)];
        let mut this = Self { words, stride, fresh };
        let first = this.element(0);
        let header = ForwardingDestinationArray {
            header: ObjectHeader::new(object_type::DEFAULT, 1, 24),
            element_size: u32::try_from(stride).unwrap_or(8),
            num_elements: capacity,
            num_destinations: 0,
            first_element: first,
        };
        // SAFETY: the words hold the header.
        unsafe { this.header().write(header) };
        this
    }

    fn header(&mut self) -> *mut ForwardingDestinationArray {
        self.words.as_mut_ptr().cast()
    }

    fn element(&mut self, index: u32) -> *mut u8 {
        // SAFETY: callers use indices below the capacity; index 0 of an empty array is one past its end.
        unsafe { self.words.as_mut_ptr().cast::<u8>().add(HEADER + index as usize * self.stride) }
    }

    fn get(&mut self, index: u32) -> PortDestination {
        // SAFETY: callers use indices below the capacity, and an element has at least the size of the structure.
        unsafe { ptr::read_unaligned(self.element(index).cast()) }
    }

    fn set(&mut self, index: u32, value: PortDestination) {
        // SAFETY: as in `get`.
        unsafe { ptr::write_unaligned(self.element(index).cast(), value) }
    }

    fn is_untouched(&mut self, index: u32) -> bool {
        let (start, fresh) = (self.element(index), self.fresh);
        // SAFETY: the element lies in the array.
        unsafe { std::slice::from_raw_parts(start, size_of::<PortDestination>()) }
            .iter()
            .all(|byte| *byte == fresh)
    }

    fn poison(&mut self) {
        self.words.fill(u64::from_ne_bytes([crate::switch::nbl::POISON; 8]));
    }

    fn is_poisoned(&self) -> bool {
        self.words.iter().all(|word| *word == u64::from_ne_bytes([crate::switch::nbl::POISON; 8]))
    }
}

/// Bits of an element that no declaration names.
pub const RESERVED_BITS: DestinationBits = DestinationBits::from_bits_retain(0xFFF8);
pub const GARBAGE_BITS: DestinationBits = DestinationBits::from_bits_retain(u16::from_ne_bytes([GARBAGE; 2]));

impl Context {
    /// `stale`: free elements have old contents.
    pub fn new(free: u32, stride: usize, stale: bool) -> Self {
        Self {
            array: Array::new(free, stride, if stale { GARBAGE } else { 0 }),
            dead: Vec::new(),
            committed: Vec::new(),
            capacity: free,
            grow_failed: false,
            commit_failed: false,
            adds: 0,
        }
    }

    pub fn pointer(&mut self) -> *mut ForwardingDestinationArray {
        self.array.header()
    }

    pub fn destinations(&self) -> u32 {
        u32::try_from(self.committed.len()).unwrap_or(u32::MAX)
    }

    pub fn available(&self) -> u32 {
        self.capacity - self.destinations()
    }

    /// Number of elements after the committed ones that were written to.
    pub fn written(&mut self) -> u32 {
        let first = self.destinations();
        let mut count = 0;
        for index in first..self.capacity {
            if self.array.is_untouched(index) {
                break;
            }
            count += 1;
        }
        count
    }

    pub fn slot(&mut self, index: u32) -> PortDestination {
        self.array.get(index)
    }

    /// Appends a destination; the caller has checked that an element is free.
    pub fn append(&mut self, destination: PortDestination) {
        let index = self.destinations();
        self.array.set(index, destination);
        self.committed.push(destination);
        let count = self.destinations();
        // SAFETY: the header lives in the array.
        unsafe { (*self.array.header()).num_destinations = count };
    }

    /// Moves the array to new memory with `more` free elements; the old one is overwritten with poison.
    pub fn grow(&mut self, more: u32) {
        self.capacity = self.destinations() + more.max(self.available());
        let mut array = Array::new(self.capacity, self.array.stride, self.array.fresh);
        for (index, destination) in self.committed.iter().enumerate() {
            array.set(u32::try_from(index).unwrap_or(0), *destination);
        }
        // SAFETY: the header lives in the array.
        unsafe { (*array.header()).num_destinations = self.destinations() };
        let mut old = std::mem::replace(&mut self.array, array);
        old.poison();
        self.dead.push(old);
    }

    /// Whether a replaced array was written to.
    pub fn dead_array_touched(&self) -> bool {
        self.dead.iter().any(|array| !array.is_poisoned())
    }

    pub fn is_dead(&mut self, pointer: *mut ForwardingDestinationArray) -> bool {
        self.dead.iter_mut().any(|array| array.header() == pointer)
    }

    /// The committed elements in memory, for the comparison with the record.
    pub fn committed_in_memory(&mut self) -> Vec<PortDestination> {
        (0..self.destinations()).map(|index| self.array.get(index)).collect()
    }

    /// Writes the recorded elements back to memory.
    pub fn repair(&mut self) {
        for index in 0..self.destinations() {
            self.array.set(index, self.committed[index as usize]);
        }
        let (count, capacity) = (self.destinations(), self.capacity);
        let first = self.array.element(0);
        // SAFETY: the header lives in the array.
        unsafe {
            (*self.array.header()).num_destinations = count;
            (*self.array.header()).num_elements = capacity;
            (*self.array.header()).first_element = first;
        }
    }

    /// An element as it is written; for mutations.
    pub fn element_written(&mut self, index: u32) -> PortDestination {
        self.array.get(index)
    }

    /// Exchanges two elements that are written and not committed; for mutations.
    pub fn swap_written(&mut self, one: u32, other: u32) {
        let (first, second) = (self.array.get(one), self.array.get(other));
        self.array.set(one, second);
        self.array.set(other, first);
    }

    /// Undoes a write to an element; for mutations.
    pub fn unwrite(&mut self, index: u32) {
        let fresh = Array::new(1, self.array.stride, self.array.fresh).get(0);
        self.array.set(index, fresh);
    }

    /// Undoes all commits; for mutations.
    pub fn withdraw(&mut self) {
        self.committed.clear();
        self.array = Array::new(self.capacity, self.array.stride, self.array.fresh);
    }

    /// Writes the bits of a committed element without recording it; for mutations.
    pub fn poke_bits(&mut self, index: u32, bits: DestinationBits) {
        let element = PortDestination { bits, ..self.array.get(index) };
        self.array.set(index, element);
    }

    /// Writes a port to a free element without committing it; for mutations.
    pub fn poke_slot(&mut self, index: u32, port_id: u32) {
        self.array.set(index, PortDestination { port_id, nic_index: 0, bits: DestinationBits::empty() });
    }

    /// Writes to a replaced array; for mutations.
    pub fn poke_dead(&mut self) {
        if let Some(word) = self.dead.last_mut().and_then(|array| array.words.last_mut()) {
            *word = 1;
        }
    }

    pub fn header_is_intact(&mut self) -> bool {
        let (count, capacity, stride) = (self.destinations(), self.capacity, self.array.stride);
        let first = self.array.element(0);
        // SAFETY: the header lives in the array.
        let header = unsafe { *self.array.header() };
        header.num_destinations == count
            && header.num_elements == capacity
            && header.element_size as usize == stride
            && header.first_element == first
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_slots_are_empty_or_hold_stale_data_and_what_is_written_to_one_is_seen() {
        for (stale, bits) in [(false, DestinationBits::empty()), (true, GARBAGE_BITS)] {
            let mut context = Context::new(3, 24, stale);
            assert!((0..3).all(|index| context.slot(index).bits == bits), "stale: {stale}");
            assert_eq!(context.written(), 0);
            context.poke_slot(0, 7);
            context.poke_slot(1, 8);
            assert_eq!(context.written(), 2, "stale: {stale}");
            context.grow(5);
            assert!(context.written() == 0 && context.slot(4).bits == bits, "stale: {stale}");
        }
    }
}
