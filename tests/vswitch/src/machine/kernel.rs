//! ntoskrnl's pool, processor and time queries, mapping of packet memory, and the end of the machine.

use crate::exports;
use crate::machine::clock;
use crate::machine::cpu::{self, APC, DISPATCH};
use crate::machine::fault;
use crate::machine::memory::{AllocationKind, MemoryState};
use crate::machine::thread;
use crate::machine::world::{self, World};
use crate::mutation::Mutation;
use lbfoext::ndis::raw::{Mdl, MdlFlags};
use std::ffi::c_void;
use std::ptr;

const POOL_FLAG_UNINITIALIZED: u64 = 0x2;
const POOL_FLAG_CACHE_ALIGNED: u64 = 0x8;
const POOL_FLAG_NON_PAGED: u64 = 0x40;
const POOL_FLAG_NON_PAGED_EXECUTE: u64 = 0x80;
const POOL_FLAG_PAGED: u64 = 0x100;
const CACHE_LINE: usize = 64;
const PAGE: usize = 4096;
const ALL_GROUPS: u16 = 0xFFFF;
const MDL_MAPPING_NO_EXECUTE: u32 = 0x4000_0000;
const MDL_MAPPING_NO_WRITE: u32 = 0x8000_0000;

/// MEM-01 and the documented rules of the flags.
fn check_pool_flags(world: &World, flags: u64) {
    world.exercised("MEM-01");
    let kinds = flags & (POOL_FLAG_NON_PAGED | POOL_FLAG_NON_PAGED_EXECUTE | POOL_FLAG_PAGED);
    if kinds & POOL_FLAG_PAGED != 0 {
        world.violate("MEM-01", "paged pool, but the driver's state is used at DISPATCH");
        if cpu::irql() > APC {
            world.violate("IRQL-03", "paged pool allocated at DISPATCH");
        }
    }
    if kinds & POOL_FLAG_NON_PAGED_EXECUTE != 0 {
        world.violate("MEM-01", "executable pool");
    }
    if kinds.count_ones() != 1 {
        world.violate(
            "MEM-01",
            format!("ExAllocatePool2 with flags {flags:#x}: one kind of pool must be named"),
        );
    }
}

fn allocate(world: &World, flags: u64, bytes: usize, tag: u32) -> *mut u8 {
    let align = match bytes {
        PAGE.. => PAGE,
        _ if flags & POOL_FLAG_CACHE_ALIGNED != 0 => CACHE_LINE,
        _ => 16,
    };
    let block = world.alloc_aligned(AllocationKind::Pool, bytes, align, tag, "pool");
    if flags & POOL_FLAG_UNINITIALIZED == 0 {
        // SAFETY: fresh memory of that size.
        unsafe { block.write_bytes(0, bytes) };
    }
    block
}

/// What mutations do to a block that the driver frees; true if it is not to be freed any more.
fn mutate_free(world: &World, block: *mut u8, tag: u32) -> bool {
    let bytes = || world.live().iter().find(|e| e.key == block.addr()).map_or(0, |e| e.bytes);
    match world.mutation() {
        Some(Mutation::LeakPool) if world.spend_mutation() => true,
        Some(Mutation::FreeTwice) if world.spend_mutation() => {
            world.free(AllocationKind::Pool, block, tag);
            false
        }
        Some(Mutation::WrongTag) if world.spend_mutation() => {
            world.free(AllocationKind::Pool, block, !tag);
            true
        }
        Some(Mutation::Overrun) if world.spend_mutation() => {
            // SAFETY: the byte after the block is a guard byte of the same host allocation.
            unsafe { block.add(bytes()).write(0) };
            false
        }
        Some(Mutation::WriteAfterFree) if world.spend_mutation() => {
            world.free(AllocationKind::Pool, block, tag);
            // SAFETY: the quarantine still owns the memory.
            unsafe { block.write(0) };
            true
        }
        _ => false,
    }
}

/// Bytes of memory that a memory descriptor list describes.
fn map(mdl: *mut Mdl) -> *mut c_void {
    // SAFETY: the driver passes a list of the switch.
    let list = unsafe { &mut *mdl };
    if !list.mdl_flags.intersects(MdlFlags::MAPPED_TO_SYSTEM_VA | MdlFlags::SOURCE_IS_NONPAGED_POOL) {
        list.mapped_system_va = list.start_va.wrapping_add(list.byte_offset as usize);
        list.mdl_flags |= MdlFlags::MAPPED_TO_SYSTEM_VA;
    }
    list.mapped_system_va.cast()
}

exports! {
    pub extern "win64" fn ExAllocatePool2(flags: u64, bytes: usize, tag: u32) -> *mut c_void where irql <= DISPATCH {
        let world = world::current();
        let paged = world.mutation() == Some(Mutation::PagedPool) && world.spend_mutation();
        check_pool_flags(&world, if paged { POOL_FLAG_PAGED } else { flags });
        if tag == 0 || bytes == 0 {
            world.violate("MEM-02", format!("ExAllocatePool2 of {bytes} bytes with tag {tag:#x}"));
        }
        if fault::fails("ExAllocatePool2") {
            return ptr::null_mut();
        }
        allocate(&world, flags, bytes, tag).cast()
    }

    pub extern "win64" fn ExFreePoolWithTag(pointer: *mut c_void, tag: u32) where irql <= DISPATCH {
        let world = world::current();
        let live = world.place(pointer.cast()) == MemoryState::Live(AllocationKind::Pool);
        if live && mutate_free(&world, pointer.cast(), tag) {
            return;
        }
        world.free(AllocationKind::Pool, pointer.cast(), tag);
    }

    pub extern "win64" fn KeBugCheckEx(code: u32, p1: usize, p2: usize, p3: usize, p4: usize) -> ! where irql <= ANY_LEVEL {
        let world = world::current();
        world.violate("MEM-09", format!("bug check {code:#x} ({p1:#x}, {p2:#x}, {p3:#x}, {p4:#x})"));
        world.abort();
        thread::park_forever()
    }

    pub extern "win64" fn KeGetCurrentProcessorNumberEx(number: *mut c_void) -> u32 where irql <= ANY_LEVEL {
        let thread = thread::current();
        let cpu = if thread.irql.get() >= DISPATCH {
            thread.cpu.get()
        } else {
            // Below DISPATCH the thread may be elsewhere the next moment.
            (thread.jitter() >> 8) as u32 % thread.world.processors.count()
        };
        if !number.is_null() {
            // SAFETY: the driver passes a PROCESSOR_NUMBER: group (16 bits), number (8), reserved (8).
            unsafe { number.cast::<[u8; 4]>().write([0, 0, cpu as u8, 0]) };
        }
        cpu
    }

    pub extern "win64" fn KeQueryMaximumProcessorCountEx(group: u16) -> u32 where irql <= ANY_LEVEL {
        if matches!(group, 0 | ALL_GROUPS) { world::current().processors.count() } else { 0 }
    }

    pub extern "win64" fn KeQueryUnbiasedInterruptTime() -> u64 where irql <= ANY_LEVEL {
        let world = world::current();
        let now = clock::now();
        let tick = u64::from(world.config().time_increment.max(1));
        if world.config().coarse_time { now / tick * tick } else { now }
    }

    pub extern "win64" fn KeQueryInterruptTimePrecise(counter: *mut u64) -> u64 where irql <= ANY_LEVEL {
        let precise = world::current().clock.precise();
        // SAFETY: by the caller.
        unsafe { counter.write(precise) };
        precise
    }

    pub extern "win64" fn KeQueryTimeIncrement() -> u32 where irql <= ANY_LEVEL {
        world::current().config().time_increment
    }

    pub extern "win64" fn KeGetCurrentIrql() -> u8 where irql <= ANY_LEVEL {
        cpu::irql()
    }

    pub extern "win64" fn KeEnterCriticalRegion() where irql <= APC {
        let regions = &thread::current().critical_regions;
        regions.set(regions.get() + 1);
    }

    pub extern "win64" fn KeLeaveCriticalRegion() where irql <= APC {
        let thread = thread::current();
        match thread.critical_regions.get() {
            0 => thread.world.violate("LOCK-07", "a critical region left that was not entered"),
            regions => thread.critical_regions.set(regions - 1),
        }
    }

    pub extern "win64" fn KeFlushQueuedDpcs() where irql <= PASSIVE {
        let world = world::current();
        cpu::require_may_wait("KeFlushQueuedDpcs");
        if world.mutation() != Some(Mutation::NoFlush) {
            cpu::flush_dpcs(&world);
        }
    }

    pub extern "win64" fn MmMapLockedPagesSpecifyCache(
        mdl: *mut c_void,
        access_mode: i8,
        _cache_type: i32,
        _requested_address: *mut c_void,
        bug_check_on_failure: u32,
        priority: u32,
    ) -> *mut c_void where irql <= DISPATCH {
        let world = world::current();
        crate::machine::verify::rule(&world, "MEM-03", access_mode == 0 && bug_check_on_failure == 0, || {
            "packet memory must be mapped for kernel mode and may fail without a bug check".to_owned()
        });
        // Who only reads packets needs no mapping that can be executed.
        crate::machine::verify::rule(&world, "MEM-01", priority & MDL_MAPPING_NO_EXECUTE != 0, || {
            "packet memory was mapped executable".to_owned()
        });
        let known = matches!(priority & !(MDL_MAPPING_NO_EXECUTE | MDL_MAPPING_NO_WRITE), 0 | 16 | 32);
        crate::machine::verify::rule(&world, "MEM-03", known, || {
            format!("packet memory was mapped with priority {priority:#x}, which does not exist")
        });
        let address = if fault::fails("MmMapLockedPagesSpecifyCache") { ptr::null_mut() } else { map(mdl.cast()) };
        if let Some(hook) = world.mapping_hook.get() {
            hook(mdl.cast(), !address.is_null());
        }
        address
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::world::Config;
    use lbfoext::ndis::raw::Mdl;

    const TAG: u32 = 7;

    fn rules_of(config: Config, body: impl FnOnce() + Send) -> Vec<&'static str> {
        let world = World::new(config);
        world.enter(body).expect("it ends");
        world.check_memory();
        world.violations().iter().map(|v| v.rule).collect()
    }

    #[test]
    fn pool_is_zeroed_unless_asked_otherwise() {
        let rules = rules_of(Config::default(), || {
            // SAFETY: allocated, read and freed here.
            unsafe {
                let zeroed = ExAllocatePool2(POOL_FLAG_NON_PAGED, 64, TAG).cast::<u8>();
                assert_eq!(zeroed.add(63).read(), 0);
                let raw =
                    ExAllocatePool2(POOL_FLAG_NON_PAGED | POOL_FLAG_UNINITIALIZED, 64, TAG).cast::<u8>();
                assert_eq!(raw.add(63).read(), crate::machine::memory::FRESH);
                let page = ExAllocatePool2(POOL_FLAG_NON_PAGED, PAGE, TAG);
                assert!(page.addr().is_multiple_of(PAGE));
                [zeroed.cast(), raw.cast(), page].into_iter().for_each(|p| ExFreePoolWithTag(p, TAG));
            }
        });
        assert_eq!(rules, [""; 0]);
    }

    #[test]
    fn an_injected_fault_makes_an_allocation_fail() {
        let config = Config { fault: Some(2), ..Config::default() };
        rules_of(config, || {
            // SAFETY: called on a simulated thread.
            let failed: Vec<_> = (0..3).map(|_| unsafe { ExAllocatePool2(0x40, 8, TAG).is_null() }).collect();
            assert_eq!(failed, [false, true, false]);
        });
    }

    #[test]
    fn the_processor_number_is_the_threads_at_dispatch() {
        let world = World::new(Config::default());
        let body: crate::machine::world::Body = Box::new(|| {
            let old = cpu::raise_to_dispatch();
            let mut number = [9_u8; 4];
            // SAFETY: four bytes for the number.
            assert_eq!(unsafe { KeGetCurrentProcessorNumberEx(number.as_mut_ptr().cast()) }, 2);
            assert_eq!(number, [0, 0, 2, 0]);
            cpu::lower(old);
            // SAFETY: called on a simulated thread.
            let many = |_| unsafe { KeGetCurrentProcessorNumberEx(ptr::null_mut()) };
            assert_eq!((0..100).map(many).collect::<std::collections::BTreeSet<_>>().len(), 4);
            // SAFETY: called on a simulated thread.
            assert_eq!(
                unsafe { [KeQueryMaximumProcessorCountEx(0xFFFF), KeQueryMaximumProcessorCountEx(1)] },
                [4, 0]
            );
        });
        assert_eq!(world.run(vec![("t", 2, body)]), Ok(()));
    }

    #[test]
    fn mapping_gives_the_bytes_and_can_fail() {
        let bytes = [5_u8; 16];
        let mdl = Mdl { start_va: bytes.as_ptr().cast_mut(), byte_offset: 4, byte_count: 8, ..Mdl::ZERO };
        let mapped = |fault| {
            let world = World::new(Config { fault, ..Config::default() });
            let mut mdl = mdl;
            let address = (&raw mut mdl).expose_provenance();
            world.enter(move || {
                // SAFETY: a list that describes live bytes.
                unsafe {
                    MmMapLockedPagesSpecifyCache(
                        ptr::with_exposed_provenance_mut(address),
                        0,
                        1,
                        ptr::null_mut(),
                        0,
                        0x4000_0010,
                    )
                    .addr()
                }
            })
        };
        assert_eq!(mapped(None), Ok(bytes.as_ptr().addr() + 4));
        assert_eq!(mapped(Some(1)), Ok(0));
    }

    #[test]
    fn a_mapping_is_not_executable_and_of_a_priority_that_exists() {
        let bytes = [5_u8; 16];
        for (priority, expected) in [
            (16 | MDL_MAPPING_NO_EXECUTE, &[][..]),
            (32 | MDL_MAPPING_NO_EXECUTE | MDL_MAPPING_NO_WRITE, &[]),
            (16, &["MEM-01"]),
            (17 | MDL_MAPPING_NO_EXECUTE, &["MEM-03"]),
        ] {
            let rules = rules_of(Config::default(), || {
                let start_va = bytes.as_ptr().cast_mut();
                let mut mdl = Mdl { start_va, byte_offset: 0, byte_count: 8, ..Mdl::ZERO };
                let mdl = (&raw mut mdl).cast();
                // SAFETY: a list that describes live bytes.
                unsafe { MmMapLockedPagesSpecifyCache(mdl, 0, 1, ptr::null_mut(), 0, priority) };
            });
            assert_eq!(rules, expected, "{priority:#x}");
        }
    }

    #[test]
    fn every_mutation_of_the_pool_is_found() {
        let rules = |mutation| {
            let world = World::new(Config { mutation: Some(mutation), ..Config::default() });
            world
                .enter(|| {
                    // SAFETY: allocated and freed here.
                    unsafe { ExFreePoolWithTag(ExAllocatePool2(0x40, 8, TAG), TAG) };
                })
                .expect("it ends");
            world.check_memory();
            let leaks = world.live().len();
            (world.violations().iter().map(|v| v.rule).collect::<Vec<_>>(), leaks)
        };
        assert_eq!(rules(Mutation::LeakPool), (vec![], 1));
        assert_eq!(rules(Mutation::PagedPool), (vec!["MEM-01"], 0));
        for mutation in [Mutation::FreeTwice, Mutation::WrongTag, Mutation::Overrun, Mutation::WriteAfterFree]
        {
            assert_eq!(rules(mutation), (vec!["MEM-02"], 0), "{mutation:?}");
        }
    }
}
