//! The leak ledger: every byte and every object that is lent to the driver, with who created it.
//!
//! Memory has guard bytes at both ends, is poisoned when handed out and when freed, and stays in quarantine for a
//! while, so that overruns, double frees and late writes show (MEM-02). Objects without memory (references, queued
//! work items) are entries too.

use crate::machine::thread;
use crate::machine::world::{self, World};
use parking_lot::Mutex;
use std::alloc::{Layout, alloc as host_alloc, dealloc, handle_alloc_error};
use std::collections::{BTreeMap, VecDeque};
use std::ptr::{NonNull, slice_from_raw_parts};

/// What an entry of the ledger is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum AllocationKind {
    Pool,
    DriverObjectExtension,
    RwLock,
    Timer,
    Rundown,
    RegistryKey,
    /// A handle of an event or a thread.
    Handle,
    EventObject,
    ThreadObject,
    /// A thread of the driver's that has not ended.
    SystemThread,
    /// A registration with ETW, which is the driver's and no module's.
    TraceProvider,
    Mapping,
    NblPool,
    Nbl,
    CloneNbl,
    ForwardingContext,
    OidClone,
    PortReference,
    NicReference,
    DriverRegistration,
    FilterModule,
    Other(&'static str),
    /// Memory of the switch itself, never the driver's to free: guarded and quarantined, but no leak.
    Switch,
}

/// A live object.
#[derive(Clone, Debug)]
pub struct Allocation {
    pub kind: AllocationKind,
    /// Address of the memory, or the key of an object without memory.
    pub key: usize,
    pub bytes: usize,
    pub tag: u32,
    pub what: &'static str,
    /// Order of creation.
    pub serial: u64,
    /// Handlers and imports that were being executed when it was created.
    pub stack: Vec<&'static str>,
}

impl std::fmt::Display for Allocation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { kind, what, bytes, serial, .. } = self;
        write!(
            f,
            "{kind:?} {what}, {bytes} bytes, tag {}, no. {serial}, by {}",
            tag_text(self.tag),
            self.stack.join(" > ")
        )
    }
}

/// Where an address lies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MemoryState {
    Live(AllocationKind),
    Freed(AllocationKind),
    Unknown,
}

pub const FRESH: u8 = 0xA5;
pub const FREED: u8 = 0xDD;
const GUARD: u8 = 0xFD;
const GUARD_BYTES: usize = 32;
const QUARANTINE_BLOCKS: usize = 4096;
const QUARANTINE_BYTES: usize = 16 << 20;

struct Block {
    allocation: Allocation,
    base: NonNull<u8>,
    layout: Layout,
    front: usize,
}

// SAFETY: a block owns its memory; access to it is ordered by the ledger's lock.
unsafe impl Send for Block {}

#[derive(Default)]
pub struct Ledger {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    live: BTreeMap<usize, Block>,
    objects: BTreeMap<(AllocationKind, usize), Vec<Allocation>>,
    freed: BTreeMap<usize, Block>,
    order: VecDeque<usize>,
    freed_bytes: usize,
    serial: u64,
    peak: usize,
    bytes: usize,
    pool_frees: u64,
}

impl Block {
    fn new(allocation: Allocation, align: usize) -> Self {
        let front = align.max(GUARD_BYTES);
        let layout = Layout::from_size_align(front + allocation.bytes + GUARD_BYTES, align.max(16))
            .expect("an allocation fits the address space");
        // SAFETY: the layout is not empty.
        let base = NonNull::new(unsafe { host_alloc(layout) }).unwrap_or_else(|| handle_alloc_error(layout));
        // SAFETY: all three ranges lie in the block just allocated.
        unsafe {
            base.write_bytes(GUARD, front);
            base.add(front).write_bytes(FRESH, allocation.bytes);
            base.add(front + allocation.bytes).write_bytes(GUARD, GUARD_BYTES);
        }
        Self { allocation, base, layout, front }
    }

    fn payload(&self) -> NonNull<u8> {
        // SAFETY: the payload starts inside the block.
        unsafe { self.base.add(self.front) }
    }

    /// Offset relative to the payload of the first byte in a range of the block that has not the given value.
    fn first_other(&self, start: usize, bytes: usize, value: u8) -> Option<isize> {
        // SAFETY: callers pass ranges of the block; a driver that writes here at the same time is what is looked for.
        let range = unsafe { &*slice_from_raw_parts(self.base.add(start).as_ptr(), bytes) };
        let at = range.iter().position(|b| *b != value)?;
        Some((start + at) as isize - self.front as isize)
    }

    fn broken_guard(&self) -> Option<isize> {
        let low = self.front - GUARD_BYTES;
        let high = self.front + self.allocation.bytes;
        self.first_other(low, GUARD_BYTES, GUARD).or_else(|| self.first_other(high, GUARD_BYTES, GUARD))
    }

    fn written_after_free(&self) -> Option<isize> {
        self.first_other(self.front, self.allocation.bytes, FREED)
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout and freed only here.
        unsafe { dealloc(self.base.as_ptr(), self.layout) }
    }
}

impl World {
    /// Hands out poisoned memory, aligned to 16 bytes.
    pub fn alloc(&self, kind: AllocationKind, bytes: usize, tag: u32, what: &'static str) -> *mut u8 {
        self.alloc_aligned(kind, bytes, 16, tag, what)
    }

    pub fn alloc_aligned(
        &self,
        kind: AllocationKind,
        bytes: usize,
        align: usize,
        tag: u32,
        what: &'static str,
    ) -> *mut u8 {
        let mut block = Block::new(self.allocation(kind, 0, bytes, tag, what), align);
        let payload = block.payload();
        block.allocation.key = payload.addr().get();
        let mut inner = self.ledger.inner.lock();
        inner.serial += 1;
        block.allocation.serial = inner.serial;
        inner.bytes += bytes;
        inner.peak = inner.peak.max(inner.bytes);
        inner.live.insert(block.allocation.key, block);
        payload.as_ptr()
    }

    /// Takes memory back. Anything wrong with it is MEM-02; memory that is not the ledger's is left alone.
    pub fn free(&self, kind: AllocationKind, pointer: *const u8, tag: u32) {
        self.exercised("MEM-02");
        let address = pointer.addr();
        let mut inner = self.ledger.inner.lock();
        let Some(block) = inner.live.remove(&address) else {
            let freed = inner.freed.get(&address).map(|b| b.allocation.to_string());
            drop(inner);
            let text = freed.map_or_else(
                || format!("{kind:?} freed that was never allocated"),
                |e| format!("freed twice: {e}"),
            );
            return self.violate("MEM-02", text);
        };
        inner.bytes -= block.allocation.bytes;
        inner.pool_frees += u64::from(block.allocation.kind == AllocationKind::Pool);
        drop(inner);
        self.check_block(&block);
        if block.allocation.kind != kind {
            self.violate("MEM-02", format!("freed as {kind:?}: {}", block.allocation));
        } else if block.allocation.tag != tag {
            self.violate("MEM-02", format!("freed with tag {}: {}", tag_text(tag), block.allocation));
        }
        self.quarantine(block);
    }

    fn quarantine(&self, block: Block) {
        self.ids.forget(block.allocation.key, block.allocation.bytes);
        // SAFETY: the payload is the ledger's again.
        unsafe { block.payload().write_bytes(FREED, block.allocation.bytes) };
        let mut evicted = Vec::new();
        let mut inner = self.ledger.inner.lock();
        inner.freed_bytes += block.allocation.bytes;
        inner.order.push_back(block.allocation.key);
        inner.freed.insert(block.allocation.key, block);
        while inner.order.len() > QUARANTINE_BLOCKS || inner.freed_bytes > QUARANTINE_BYTES {
            let Some(old) = inner.order.pop_front().and_then(|key| inner.freed.remove(&key)) else { break };
            inner.freed_bytes -= old.allocation.bytes;
            evicted.push(old);
        }
        drop(inner);
        evicted.iter().for_each(|old| self.check_freed(old));
    }

    fn check_block(&self, block: &Block) {
        if let Some(at) = block.broken_guard() {
            self.violate("MEM-02", format!("written outside at offset {at}: {}", block.allocation));
        }
    }

    fn check_freed(&self, block: &Block) {
        if let Some(at) = block.written_after_free() {
            self.violate(
                "MEM-02",
                format!("written at offset {at} after it was freed: {}", block.allocation),
            );
        }
    }

    /// Checks the guards of all live memory and the poison of all freed memory.
    pub fn check_memory(&self) {
        let inner = self.ledger.inner.lock();
        let mut found = Vec::new();
        for block in inner.live.values() {
            found.extend(block.broken_guard().map(|at| {
                (block.allocation.serial, format!("written outside at offset {at}: {}", block.allocation))
            }));
        }
        for block in inner.freed.values() {
            found.extend(block.written_after_free().map(|at| {
                (
                    block.allocation.serial,
                    format!("written at offset {at} after it was freed: {}", block.allocation),
                )
            }));
        }
        drop(inner);
        found.sort();
        found.into_iter().for_each(|(_, text)| self.violate("MEM-02", text));
    }

    /// True if a freed block was written to, which is then undone.
    pub fn touched_after_free(&self, pointer: *const u8) -> bool {
        let inner = self.ledger.inner.lock();
        let Some(block) = inner.freed.get(&pointer.addr()) else { return false };
        let touched = block.written_after_free().is_some();
        // SAFETY: the block is the ledger's.
        unsafe { block.payload().write_bytes(FREED, block.allocation.bytes) };
        touched
    }

    /// Enters an object without memory; the same key may be entered several times.
    pub fn track(&self, kind: AllocationKind, key: usize, tag: u32, what: &'static str) {
        let mut allocation = self.allocation(kind, key, 0, tag, what);
        let mut inner = self.ledger.inner.lock();
        inner.serial += 1;
        allocation.serial = inner.serial;
        inner.objects.entry((kind, key)).or_default().push(allocation);
    }

    /// Ends an object without memory; false if there is none.
    pub fn untrack(&self, kind: AllocationKind, key: usize) -> bool {
        let mut inner = self.ledger.inner.lock();
        let Some(entries) = inner.objects.get_mut(&(kind, key)) else { return false };
        entries.pop();
        if entries.is_empty() {
            inner.objects.remove(&(kind, key));
        }
        true
    }

    /// How often an object without memory is entered.
    pub fn tracked(&self, kind: AllocationKind, key: usize) -> usize {
        self.ledger.inner.lock().objects.get(&(kind, key)).map_or(0, Vec::len)
    }

    /// Everything that is lent to the driver now, in order of creation.
    pub fn live(&self) -> Vec<Allocation> {
        let inner = self.ledger.inner.lock();
        let blocks = inner.live.values().map(|b| &b.allocation);
        let mut all: Vec<Allocation> = blocks
            .chain(inner.objects.values().flatten())
            .filter(|e| e.kind != AllocationKind::Switch)
            .cloned()
            .collect();
        all.sort_by_key(|e| e.serial);
        all
    }

    /// Bytes of memory handed out now, and the most there ever were.
    pub fn bytes_in_use(&self) -> (usize, usize) {
        let inner = self.ledger.inner.lock();
        (inner.bytes, inner.peak)
    }

    /// How many pool blocks were freed so far.
    pub fn pool_frees(&self) -> u64 {
        self.ledger.inner.lock().pool_frees
    }

    /// Where an address lies.
    pub fn place(&self, pointer: *const u8) -> MemoryState {
        let address = pointer.addr();
        let inner = self.ledger.inner.lock();
        let inside = |blocks: &BTreeMap<usize, Block>| {
            let (start, block) = blocks.range(..=address).next_back()?;
            (address < start + block.allocation.bytes.max(1)).then_some(block.allocation.kind)
        };
        match (inside(&inner.live), inside(&inner.freed)) {
            (Some(kind), _) => MemoryState::Live(kind),
            (_, Some(kind)) => MemoryState::Freed(kind),
            _ => MemoryState::Unknown,
        }
    }

    fn allocation(
        &self,
        kind: AllocationKind,
        key: usize,
        bytes: usize,
        tag: u32,
        what: &'static str,
    ) -> Allocation {
        let stack = thread::try_current().map_or_else(Vec::new, |t| t.stack.borrow().clone());
        Allocation { kind, key, bytes, tag, what, serial: 0, stack }
    }
}

/// `World::alloc` in the calling thread's world.
pub fn alloc(kind: AllocationKind, bytes: usize, tag: u32, what: &'static str) -> *mut u8 {
    world::current().alloc(kind, bytes, tag, what)
}

/// `World::free` in the calling thread's world.
pub fn free(kind: AllocationKind, pointer: *const u8, tag: u32) {
    world::current().free(kind, pointer, tag);
}

/// `World::live` of the calling thread's world.
pub fn live() -> Vec<Allocation> {
    world::current().live()
}

/// Hands out memory that holds a value; `free_value` takes it back.
pub fn alloc_value<T>(kind: AllocationKind, value: T, tag: u32, what: &'static str) -> *mut T {
    let world = world::current();
    let place = world.alloc_aligned(kind, size_of::<T>(), align_of::<T>().max(16), tag, what).cast::<T>();
    // SAFETY: fresh memory of the right size and alignment.
    unsafe { place.write(value) };
    place
}

/// Ends a value handed out by `alloc_value`. If the pointer is no live one of that kind, MEM-02 and no value.
///
/// # Safety
/// Nobody uses the value any more.
pub unsafe fn free_value<T>(kind: AllocationKind, pointer: *mut T, tag: u32) -> Option<T> {
    let world = world::current();
    let live = world.place(pointer.cast()) == MemoryState::Live(kind);
    // SAFETY: live memory of that kind holds a value written by `alloc_value`.
    let value = live.then(|| unsafe { pointer.read() });
    world.free(kind, pointer.cast(), tag);
    value
}

/// The four characters of a tag.
pub fn tag_text(tag: u32) -> String {
    tag.to_le_bytes().iter().map(|b| if b.is_ascii_graphic() { *b as char } else { '.' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::world::{Config, World};

    const TAG: u32 = u32::from_le_bytes(*b"test");

    /// What the ledger finds after the closure ran on a machine.
    fn found(body: impl FnOnce() + Send) -> Vec<String> {
        let world = World::new(Config::default());
        world.enter(body).expect("it ends");
        world.check_memory();
        world.violations().iter().inspect(|v| assert_eq!(v.rule, "MEM-02")).map(|v| v.text.clone()).collect()
    }

    fn block() -> *mut u8 {
        alloc(AllocationKind::Pool, 100, TAG, "block")
    }

    #[test]
    fn a_block_used_within_its_bounds_and_freed_once_is_clean() {
        let texts = found(|| {
            let p = block();
            // SAFETY: 100 bytes were allocated.
            unsafe { p.write_bytes(1, 100) };
            free(AllocationKind::Pool, p, TAG);
        });
        assert!(texts.is_empty(), "{texts:?}");
    }

    #[test]
    fn fresh_memory_is_poisoned_and_aligned() {
        found(|| {
            let world = world::current();
            for align in [16, 64, 4096] {
                let p = world.alloc_aligned(AllocationKind::Pool, 10, align, TAG, "block");
                // SAFETY: 10 bytes were allocated.
                assert_eq!((p.addr() % align, unsafe { p.add(9).read() }), (0, FRESH));
                free(AllocationKind::Pool, p, TAG);
            }
        });
    }

    #[test]
    fn a_leak_is_listed_with_its_creator() {
        let world = World::new(Config::default());
        let leak = || {
            crate::machine::cpu::call_driver("FilterAttach", || {
                block();
            });
        };
        world.enter(leak).expect("it ends");
        world.track(AllocationKind::NicReference, 7, 0, "reference");
        let live = world.live();
        assert_eq!(
            live.iter().map(|e| e.kind).collect::<Vec<_>>(),
            [AllocationKind::Pool, AllocationKind::NicReference]
        );
        assert_eq!((live[0].bytes, live[0].stack.as_slice()), (100, ["FilterAttach"].as_slice()));
        assert!(world.untrack(AllocationKind::NicReference, 7));
        assert!(!world.untrack(AllocationKind::NicReference, 7));
    }

    #[test]
    fn a_double_free_is_found() {
        let texts = found(|| {
            let p = block();
            free(AllocationKind::Pool, p, TAG);
            free(AllocationKind::Pool, p, TAG);
        });
        assert!(texts[0].starts_with("freed twice"), "{texts:?}");
    }

    #[test]
    fn a_wrong_tag_or_kind_is_found() {
        let texts = found(|| {
            free(AllocationKind::Pool, block(), TAG + 1);
            free(AllocationKind::Nbl, block(), TAG);
            free(AllocationKind::Pool, [0_u8; 4].as_ptr(), TAG);
        });
        assert!(texts[0].starts_with("freed with tag uest"), "{texts:?}");
        assert!(texts[1].starts_with("freed as Nbl"), "{texts:?}");
        assert!(texts[2].contains("never allocated"), "{texts:?}");
        assert_eq!(texts.len(), 3);
    }

    #[test]
    fn a_byte_outside_either_end_is_found() {
        for offset in [-1_isize, 100, -32, 131] {
            let texts = found(move || {
                let p = block();
                // SAFETY: guard bytes of the same host allocation.
                unsafe { p.offset(offset).write(0) };
                free(AllocationKind::Pool, p, TAG);
            });
            assert!(texts[0].starts_with(&format!("written outside at offset {offset}")), "{texts:?}");
        }
    }

    #[test]
    fn a_late_write_is_found_in_quarantine_and_when_it_leaves_it() {
        for later in [0, QUARANTINE_BLOCKS + 1] {
            let texts = found(move || {
                let p = block();
                free(AllocationKind::Pool, p, TAG);
                // SAFETY: the quarantine still owns the memory.
                unsafe { p.add(5).write(0) };
                (0..later).for_each(|_| free(AllocationKind::Pool, block(), TAG));
            });
            assert!(texts[0].starts_with("written at offset 5 after it was freed"), "{texts:?}");
            assert_eq!(texts.len(), 1);
        }
    }
}
