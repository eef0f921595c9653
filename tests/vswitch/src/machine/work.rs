//! System threads: work items at PASSIVE, one thread each, and the thread that runs events and DPCs nobody else runs.
//!
//! Items of the I/O manager (ioallocateworkitem, ioqueueworkitemex, iofreeworkitem): one that lies in the queue is not queued
//! again and not freed; once its routine has begun both are allowed. The system keeps the driver as long as a routine runs.

use crate::exports;
use crate::machine::cpu;
use crate::machine::fault;
use crate::machine::memory::{self, AllocationKind, MemoryState};
use crate::machine::scheduler::ANY;
use crate::machine::thread;
use crate::machine::world::{self, World};
use lbfoext::kernel::sys::WorkItemRoutine;
use std::ffi::c_void;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Account of the work items.
#[derive(Default)]
pub struct WorkQueue {
    outstanding: AtomicUsize,
}

impl World {
    /// Runs the routine at PASSIVE on a thread of its own.
    pub fn queue_work(&self, what: &'static str, routine: impl FnOnce() + Send + 'static) {
        self.work.outstanding.fetch_add(1, Ordering::SeqCst);
        let world = self.arc();
        self.log(|| format!("queue {what}"));
        self.scheduler.start_work(
            self,
            what,
            Box::new(move || {
                routine();
                world.work.outstanding.fetch_sub(1, Ordering::SeqCst);
            }),
        );
    }

    /// Work items that have not ended.
    pub fn outstanding_work(&self) -> usize {
        self.work.outstanding.load(Ordering::SeqCst)
    }
}

/// `World::queue_work` in the calling thread's world.
pub fn queue(what: &'static str, routine: impl FnOnce() + Send + 'static) {
    world::current().queue_work(what, routine);
}

/// Body of the event thread: runs DPCs, then due events; when nobody else can run, the next event; ends when idle.
pub(crate) fn run_events(world: &Arc<World>) {
    let thread = thread::current();
    loop {
        thread.shared.gets_on();
        if let Some(cpu) = world.processors.with_dpcs() {
            cpu::drain(&thread, cpu);
            continue;
        }
        let until = if world.scheduler.take_advance() { u64::MAX } else { world.now() };
        if let Some(event) = world.clock.take(until) {
            world.log(|| format!("event {}", event.what));
            cpu::as_dpc(&thread, event.what, event.routine);
            world.scheduler.wake(ANY);
            world.scheduler.yield_point(&thread, "event");
            continue;
        }
        let idle = || world.processors.with_dpcs().is_none() && !world.clock.has_due();
        if world.scheduler.retire_events(&thread, idle) {
            return;
        }
    }
}

/// What the I/O manager keeps of a work item.
struct Item {
    object: usize,
    queued: AtomicBool,
}

/// `DelayedWorkQueue`, the only one that drivers may name.
const DELAYED_WORK_QUEUE: i32 = 1;

fn item(world: &World, handle: usize, function: &'static str) -> Option<&'static Item> {
    let pointer = ptr::with_exposed_provenance::<Item>(handle);
    if world.place(pointer.cast()) != MemoryState::Live(AllocationKind::IoWorkItem) {
        world.violate("MEM-02", format!("{function} of a work item that does not exist"));
        return None;
    }
    // SAFETY: a live ledger entry of this kind holds one.
    Some(unsafe { &*pointer })
}

/// Takes the item out of its queue and calls the routine.
fn run(handle: usize, routine: WorkItemRoutine, context: usize) {
    let world = world::current();
    let Some(item) = item(&world, handle, "the routine") else { return };
    item.queued.store(false, Ordering::SeqCst);
    let object = item.object;
    world.track(AllocationKind::RunningWork, handle, 0, "routine of a work item");
    cpu::call_driver("WorkItemRoutine", || {
        // SAFETY: the driver's routine, called as documented; it may free the item.
        unsafe {
            routine(
                ptr::with_exposed_provenance_mut(object),
                ptr::with_exposed_provenance_mut(context),
                ptr::with_exposed_provenance_mut(handle),
            )
        }
    });
    world.untrack(AllocationKind::RunningWork, handle);
}

exports! {
    pub extern "win64" fn IoAllocateWorkItem(object: *mut c_void) -> *mut c_void where irql <= DISPATCH {
        if fault::fails("IoAllocateWorkItem") {
            return ptr::null_mut();
        }
        let item = Item { object: object.expose_provenance(), queued: AtomicBool::new(false) };
        let item = memory::alloc_value(AllocationKind::IoWorkItem, item, 0, "work item");
        item.expose_provenance();
        item.cast()
    }

    pub extern "win64" fn IoQueueWorkItemEx(
        handle: *mut c_void,
        routine: WorkItemRoutine,
        queue: i32,
        context: *mut c_void,
    ) where irql <= DISPATCH {
        let world = world::current();
        let Some(item) = item(&world, handle.addr(), "IoQueueWorkItemEx") else { return };
        if queue != DELAYED_WORK_QUEUE {
            world.violate("MEM-02", format!("a work item for queue {queue}, which is not a driver's"));
        }
        if item.queued.swap(true, Ordering::SeqCst) {
            return world.violate("MEM-02", "a work item was queued that lies in the queue");
        }
        let (handle, context) = (handle.addr(), context.expose_provenance());
        world.queue_work("work item", move || run(handle, routine, context));
    }

    pub extern "win64" fn IoFreeWorkItem(handle: *mut c_void) where irql <= DISPATCH {
        let world = world::current();
        let Some(item) = item(&world, handle.addr(), "IoFreeWorkItem") else { return };
        if item.queued.load(Ordering::SeqCst) {
            world.violate("MEM-02", "a work item was freed that lies in the queue");
        }
        // SAFETY: nobody uses it, or that was reported.
        let _ = unsafe { memory::free_value::<Item>(AllocationKind::IoWorkItem, handle.cast(), 0) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::world::Config;

    unsafe extern "win64" fn routine(object: *mut c_void, context: *mut c_void, item: *mut c_void) {
        assert_eq!((cpu::irql(), object.addr()), (cpu::PASSIVE, 0x1000));
        world::current().log(|| format!("ran {}", context.addr()));
        if context.addr() == 3 {
            // SAFETY: the routine may free its item.
            unsafe { IoFreeWorkItem(item) };
        }
    }

    fn rules_of(body: impl FnOnce(*mut c_void) + Send) -> (Vec<&'static str>, usize) {
        // One processor: nothing runs beside a thread at DISPATCH.
        let world = World::new(Config { cpus: 1, ..Config::default() });
        world
            .enter(|| {
                // SAFETY: the object is only a number.
                let item = unsafe { IoAllocateWorkItem(ptr::without_provenance_mut(0x1000)) };
                body(item);
                cpu::settle();
            })
            .expect("it ends");
        (world.violations().iter().map(|v| v.rule).collect(), world.live().len())
    }

    fn queue(item: *mut c_void, context: usize) {
        // SAFETY: the routine takes any context.
        unsafe {
            IoQueueWorkItemEx(item, routine, DELAYED_WORK_QUEUE, ptr::without_provenance_mut(context));
        }
    }

    #[test]
    fn a_routine_runs_at_passive_level_and_may_free_its_item() {
        let runs = rules_of(|item| {
            for context in 1..=3 {
                queue(item, context);
                cpu::settle();
            }
        });
        assert_eq!(runs, (vec![], 0));
    }

    #[test]
    fn an_item_that_lies_in_the_queue_is_not_queued_again_and_not_freed() {
        let twice = rules_of(|item| {
            let old = cpu::raise_to_dispatch();
            queue(item, 1);
            queue(item, 2);
            cpu::lower(old);
        });
        assert_eq!(twice, (vec!["MEM-02"], 1));
        let freed = rules_of(|item| {
            let old = cpu::raise_to_dispatch();
            queue(item, 1);
            // SAFETY: that is what is tried.
            unsafe { IoFreeWorkItem(item) };
            cpu::lower(old);
        });
        // Freed while queued, and then run.
        assert_eq!(freed, (vec!["MEM-02", "MEM-02"], 0));
    }
}
