//! The shadow of every NET_BUFFER_LIST: where it is, who may touch it, what it held when it was handed over, and its
//! forwarding context.
//!
//! `data`, `edges` and `handlers` move packets through the places; the shadow itself calls nobody.

use crate::frames::FrameId;
use crate::nbl::{Built, Cover, UnsafeBytes, net_buffers, read};
use crate::ports::NicId;
use lbfoext::ndis::raw::{
    ForwardingDestinationArray, Handle, INFO_SLOTS, Mdl, NetBuffer, NetBufferList, ObjectHeader,
    PortDestination, info, object_type,
};
use std::collections::HashMap;
use std::mem::size_of;
use std::ptr;

/// Where a packet is on its way. The extension may touch it only in the places that name it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// Own packet of the extension that is not out; the extension's.
    Idle,
    /// Given to FilterSend; the extension's.
    Ingress,
    /// Passed to NdisFSend; the miniport edge's.
    Below,
    /// Given to FilterReceive; the extension's.
    Egress,
    /// Passed to NdisFIndicateReceive; the destinations'.
    Delivered,
    /// Given to FilterReturn; the extension's.
    Returning,
    /// Passed to NdisFReturn; the miniport edge's.
    Settled,
    /// Given to FilterSendComplete; the extension's.
    Completing,
}

impl Place {
    pub fn is_the_extensions(self) -> bool {
        matches!(self, Self::Idle | Self::Ingress | Self::Egress | Self::Returning | Self::Completing)
    }
}

/// A NET_BUFFER as it was.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BufferFacts {
    pub nb: *mut NetBuffer,
    pub current_mdl: *mut Mdl,
    pub current_mdl_offset: u32,
    pub data_offset: u32,
    pub data_length: u32,
}

/// What a list held when the extension got it.
#[derive(Clone, Default)]
pub struct Before {
    pub source_handle: usize,
    pub context: usize,
    pub buffers: Vec<BufferFacts>,
    pub info: [u64; INFO_SLOTS],
    /// The packet's bytes; empty where a guest goes on writing them.
    pub bytes: Vec<Vec<u8>>,
}

/// The forwarding context of a list: the destination array in the extension's sight, and the truth about it.
pub struct Context {
    array: Array,
    /// Arrays that Grow replaced, poisoned.
    dead: Vec<Array>,
    pub committed: Vec<PortDestination>,
    /// Slots, committed or free.
    pub capacity: u32,
    /// A Grow failed and nothing was committed since.
    pub grow_failed: bool,
    /// An Add or Update failed and nothing was committed since.
    pub commit_failed: bool,
    pub adds: u32,
}

/// A destination array: header, then elements of a size that only its header tells.
struct Array {
    words: Vec<u64>,
    stride: usize,
}

/// What a free slot holds: stale data of an earlier packet.
const GARBAGE: u8 = 0xC7;
const HEADER: usize = size_of::<ForwardingDestinationArray>();

impl Array {
    fn new(capacity: u32, stride: usize) -> Self {
        let bytes = HEADER + capacity as usize * stride;
        let mut this = Self { words: vec![u64::from_ne_bytes([GARBAGE; 8]); bytes.div_ceil(8)], stride };
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
        // SAFETY: callers stay below the capacity; index 0 of an empty array is one past its end.
        unsafe { self.words.as_mut_ptr().cast::<u8>().add(HEADER + index as usize * self.stride) }
    }

    fn get(&mut self, index: u32) -> PortDestination {
        // SAFETY: callers stay below the capacity, and an element has at least the size of the structure.
        unsafe { ptr::read_unaligned(self.element(index).cast()) }
    }

    fn set(&mut self, index: u32, value: PortDestination) {
        // SAFETY: as in `get`.
        unsafe { ptr::write_unaligned(self.element(index).cast(), value) }
    }

    fn is_untouched(&mut self, index: u32) -> bool {
        let start = self.element(index);
        // SAFETY: the element lies in the array.
        unsafe { std::slice::from_raw_parts(start, size_of::<PortDestination>()) }
            .iter()
            .all(|byte| *byte == GARBAGE)
    }

    fn poison(&mut self) {
        self.words.fill(u64::from_ne_bytes([crate::nbl::POISON; 8]));
    }

    fn is_poisoned(&self) -> bool {
        self.words.iter().all(|word| *word == u64::from_ne_bytes([crate::nbl::POISON; 8]))
    }
}

/// Bits of an element that no declaration names.
pub const RESERVED_BITS: u16 = 0xFFF8;
pub const GARBAGE_BITS: u16 = u16::from_ne_bytes([GARBAGE; 2]);

impl Context {
    pub fn new(free: u32, stride: usize) -> Self {
        Self {
            array: Array::new(free, stride),
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

    /// Slots past the committed ones that were written to.
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

    /// Takes one more destination in; the caller has made sure of a free slot.
    pub fn append(&mut self, destination: PortDestination) {
        let index = self.destinations();
        self.array.set(index, destination);
        self.committed.push(destination);
        let count = self.destinations();
        // SAFETY: the header lives in the array.
        unsafe { (*self.array.header()).num_destinations = count };
    }

    /// Moves the array to new memory with `more` free slots; the old one is poisoned.
    pub fn grow(&mut self, more: u32) {
        self.capacity = self.destinations() + more.max(self.available());
        let mut array = Array::new(self.capacity, self.array.stride);
        for (index, destination) in self.committed.iter().enumerate() {
            array.set(u32::try_from(index).unwrap_or(0), *destination);
        }
        // SAFETY: the header lives in the array.
        unsafe { (*array.header()).num_destinations = self.destinations() };
        let mut old = std::mem::replace(&mut self.array, array);
        old.poison();
        self.dead.push(old);
    }

    /// True if somebody wrote into an array that is gone.
    pub fn dead_array_touched(&self) -> bool {
        self.dead.iter().any(|array| !array.is_poisoned())
    }

    pub fn is_dead(&mut self, pointer: *mut ForwardingDestinationArray) -> bool {
        self.dead.iter_mut().any(|array| array.header() == pointer)
    }

    /// Committed elements as memory has them now, for the comparison with the truth.
    pub fn committed_in_memory(&mut self) -> Vec<PortDestination> {
        (0..self.destinations()).map(|index| self.array.get(index)).collect()
    }

    /// Puts the truth back over whatever was written.
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

    /// As if nothing had ever been committed; for misdeeds.
    pub fn withdraw(&mut self) {
        self.committed.clear();
        self.array = Array::new(self.capacity, self.array.stride);
    }

    /// Writes the bits of a committed element behind the truth's back; for misdeeds.
    pub fn poke_bits(&mut self, index: u32, bits: u16) {
        let element = PortDestination { bits, ..self.array.get(index) };
        self.array.set(index, element);
    }

    /// Writes a port into a free slot without committing it; for misdeeds.
    pub fn poke_slot(&mut self, index: u32, port_id: u32) {
        self.array.set(index, PortDestination { port_id, nic_index: 0, bits: 0 });
    }

    /// Writes into an array that is gone; for misdeeds.
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

/// What the extension did with a packet of its own.
#[derive(Clone, Copy, Default)]
pub struct Own {
    pub pool: usize,
    /// CopyNetBufferListInfo was called, with its flags.
    pub copied: Option<u32>,
    pub source_set: bool,
    /// The packet that ParentNetBufferList named when it was sent.
    pub parent: usize,
    /// All of its bytes lie in memory that is not a packet of the switch.
    pub own_memory: bool,
}

pub struct Packet {
    /// Number in order of first sight, for messages.
    pub name: u64,
    pub switch: usize,
    pub nbl: *mut NetBufferList,
    pub place: Place,
    pub own: Option<Own>,
    pub built: Option<Built>,
    pub context: Option<Context>,
    pub cover: Cover,
    pub before: Before,
    pub frames: Vec<FrameId>,
    /// First byte of each frame, to know it again in a list that shares its memory.
    pub first_bytes: Vec<usize>,
    pub unsafe_bytes: Vec<UnsafeBytes>,
    pub source: NicId,
    /// Bits of the detail above the source: native, safe, sizes.
    pub detail_bits: u64,
    /// It was reported as dropped as a whole.
    pub reported: bool,
    /// Destination ports that were reported as not served.
    pub reported_ports: Vec<u32>,
    /// Frames reported or carried away by lists that name this one as parent.
    pub carried: Vec<FrameId>,
    pub children_out: u32,
    /// The last attempt to map some of its memory failed.
    pub mapping_failed: bool,
    /// A call about this packet failed because the test wanted it so.
    pub fault: bool,
    /// Generation of the topology when the extension got it.
    pub generation: u64,
    /// Module state and call in which the extension got it.
    pub given_while_paused: bool,
    /// References on source and destinations are held until it completes.
    pub pinned: Vec<NicId>,
    pub cancel_id: usize,
    /// The extension got it in a chain of its own.
    pub alone: bool,
    /// Order number at which the extension got it.
    pub given: u64,
}

pub const NATIVE: u64 = 1 << 40;
pub const SAFE: u64 = 1 << 42;
pub const SAFE_SIZE_SHIFT: u32 = 43;
pub const UNCACHED: u64 = 1 << 55;
pub const SAFE_UNCACHED: u64 = 1 << 56;

impl Packet {
    pub fn new(name: u64, switch: usize, nbl: *mut NetBufferList, place: Place) -> Self {
        Self {
            name,
            switch,
            nbl,
            place,
            own: None,
            built: None,
            context: None,
            cover: Cover::default(),
            before: Before::default(),
            frames: Vec::new(),
            first_bytes: Vec::new(),
            unsafe_bytes: Vec::new(),
            source: NicId::NOWHERE,
            detail_bits: 0,
            reported: false,
            reported_ports: Vec::new(),
            carried: Vec::new(),
            children_out: 0,
            mapping_failed: false,
            fault: false,
            generation: 0,
            given_while_paused: false,
            pinned: Vec::new(),
            cancel_id: 0,
            alone: false,
            given: 0,
        }
    }

    pub fn is_native(&self) -> bool {
        self.detail_bits & NATIVE != 0
    }

    /// The forwarding detail as the switch wrote it.
    pub fn detail(&self) -> u64 {
        let available = self.context.as_ref().map_or(0, |c| u64::from(c.available().min(0xFFFF)));
        available
            | (u64::from(self.source.port) & 0xFFFF) << 16
            | (u64::from(self.source.index) & 0xFF) << 32
            | self.detail_bits
    }

    pub fn write_detail(&self) {
        // SAFETY: the list is alive and not covered: the caller works on a packet in the extension's hands.
        unsafe { (*self.nbl).info[info::SWITCH_FORWARDING_DETAIL] = self.detail() };
    }

    /// Notes what the list holds now.
    pub fn remember(&mut self) {
        // SAFETY: the list is alive and not covered.
        unsafe {
            let list = &*self.nbl;
            self.before.source_handle = list.source_handle as usize;
            self.before.context = list.context as usize;
            self.before.info = list.info;
            let buffers = net_buffers(self.nbl, MOST_BUFFERS);
            self.before.buffers = buffers.into_iter().map(|nb| facts(nb)).collect();
        }
    }

    pub fn remember_bytes(&mut self) {
        self.before.bytes = if self.unsafe_bytes.is_empty() { self.bytes() } else { Vec::new() };
    }

    /// The bytes of every frame in it.
    pub fn bytes(&self) -> Vec<Vec<u8>> {
        // SAFETY: the list is alive and not covered.
        unsafe { net_buffers(self.nbl, MOST_BUFFERS).into_iter().map(|nb| read(nb)).collect() }
    }

    /// What a native packet looks like on its way up: the switch took its outer headers off.
    pub fn decapsulate(&mut self) {
        if !self.is_native() {
            return;
        }
        // SAFETY: the list is alive and not covered.
        unsafe {
            for nb in net_buffers(self.nbl, MOST_BUFFERS) {
                let bytes = crate::nbl::segments(nb)
                    .into_iter()
                    .flat_map(|(at, length)| (0..length).map(move |i| at.add(i)));
                bytes.take(12).for_each(|byte| *byte ^= 0x04);
            }
        }
    }

    /// Covers the list while it belongs to others.
    pub(crate) fn lay_cover(&mut self, decoy: *mut NetBufferList) {
        // SAFETY: the list is alive; it is uncovered when it comes back.
        unsafe {
            let buffers = net_buffers(self.nbl, MOST_BUFFERS);
            self.cover.lay(self.nbl, &buffers, decoy);
        }
    }

    /// Lifts the cover; the offset of the first byte written meanwhile.
    pub(crate) fn lift_cover(&mut self, decoy: *mut NetBufferList) -> Option<usize> {
        if !self.cover.is_laid() {
            return None;
        }
        // SAFETY: laid over memory that still lives.
        unsafe { self.cover.lift(decoy) }
    }

    /// Pointers to the list's memory the extension could confuse with its own.
    pub fn holds(&self, address: usize) -> bool {
        self.built.as_ref().is_some_and(|built| built.block.contains(address))
    }

    pub fn source_handle(&self) -> Handle {
        // SAFETY: the list is alive and not covered.
        unsafe { (*self.nbl).source_handle }
    }
}

/// More NET_BUFFERs than any list here has.
const MOST_BUFFERS: usize = 64;

/// # Safety
/// `nb` is readable.
unsafe fn facts(nb: *mut NetBuffer) -> BufferFacts {
    // SAFETY: by the caller.
    let b = unsafe { &*nb };
    BufferFacts {
        nb,
        current_mdl: b.current_mdl,
        current_mdl_offset: b.current_mdl_offset,
        data_offset: b.data_offset,
        data_length: b.data_length,
    }
}

impl Packet {
    pub fn buffers_now(&self) -> Vec<BufferFacts> {
        // SAFETY: the list is alive and not covered.
        unsafe { net_buffers(self.nbl, MOST_BUFFERS).into_iter().map(|nb| facts(nb)).collect() }
    }
}

/// All packets that are alive, by the address of their list.
#[derive(Default)]
pub struct Packets {
    by_address: HashMap<usize, Packet>,
    next_name: u64,
}

impl Packets {
    pub fn add(&mut self, switch: usize, nbl: *mut NetBufferList, place: Place) -> &mut Packet {
        self.next_name += 1;
        let packet = Packet::new(self.next_name, switch, nbl, place);
        self.by_address.entry(nbl as usize).insert_entry(packet).into_mut()
    }

    pub fn get(&self, nbl: *mut NetBufferList) -> Option<&Packet> {
        self.by_address.get(&(nbl as usize))
    }

    pub fn get_mut(&mut self, nbl: *mut NetBufferList) -> Option<&mut Packet> {
        self.by_address.get_mut(&(nbl as usize))
    }

    pub fn at(&mut self, address: usize) -> Option<&mut Packet> {
        self.by_address.get_mut(&address)
    }

    pub fn remove(&mut self, nbl: *mut NetBufferList) -> Option<Packet> {
        self.by_address.remove(&(nbl as usize))
    }

    /// All packets, oldest first.
    pub fn all(&self) -> Vec<&Packet> {
        let mut all: Vec<_> = self.by_address.values().collect();
        all.sort_by_key(|packet| packet.name);
        all
    }

    pub fn all_mut(&mut self) -> impl Iterator<Item = &mut Packet> {
        self.by_address.values_mut()
    }

    pub fn is_empty(&self) -> bool {
        self.by_address.is_empty()
    }
}
