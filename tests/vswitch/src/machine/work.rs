//! System threads: work items at PASSIVE, one thread each, and the thread that runs events and DPCs nobody else runs.

use crate::machine::cpu;
use crate::machine::scheduler::ANY;
use crate::machine::thread;
use crate::machine::world::{self, World};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

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
