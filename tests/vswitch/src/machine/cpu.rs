//! Simulated processors: IRQL, who owns a processor at DISPATCH, DPC queues, and the calls across the driver's border.
//!
//! Everything that stands for a piece of the machine calls these free functions on a simulated thread. A thread below
//! DISPATCH owns no processor: its number there is as meaningless as on a real machine.

use crate::machine::scheduler::ANY;
use crate::machine::stack_depth;
use crate::machine::thread::{self, Thread};
use crate::machine::world::World;
use parking_lot::Mutex;
use std::collections::{BTreeSet, VecDeque};
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};

pub const PASSIVE: u8 = 0;
pub const APC: u8 = 1;
pub const DISPATCH: u8 = 2;
/// Of functions that may be called at any level.
pub const HIGH: u8 = 15;
/// Limit of functions that may be called anywhere.
pub const ANY_LEVEL: u8 = u8::MAX;

/// One lock held by a thread.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Held {
    pub kind: &'static str,
    pub address: usize,
    /// IRQL before it was taken.
    pub old_irql: u8,
}

type Routine = Box<dyn FnOnce() + Send>;

struct Processor {
    /// Thread number + 1 of the one at DISPATCH, 0 if none.
    owner: AtomicU32,
    dpcs: Mutex<VecDeque<Dpc>>,
}

/// A routine that is queued for a processor, with the number that it got then.
struct Dpc {
    number: u64,
    what: &'static str,
    routine: Routine,
}

pub struct Processors {
    all: Box<[Processor]>,
    queued: AtomicUsize,
    /// Numbers DPCs in the order in which they were queued.
    numbers: AtomicU64,
    /// DPCs that were queued and have not returned.
    pending: Mutex<BTreeSet<u64>>,
}

impl Processors {
    pub fn new(count: u32) -> Self {
        let one = |_| Processor { owner: AtomicU32::new(0), dpcs: Mutex::default() };
        let all = (0..count.max(1)).map(one).collect();
        Self { all, queued: AtomicUsize::new(0), numbers: AtomicU64::new(0), pending: Mutex::default() }
    }

    /// Enters a DPC into the account; it leaves when it has returned.
    fn enqueue(&self) -> u64 {
        let number = self.numbers.fetch_add(1, Ordering::SeqCst);
        self.pending.lock().insert(number);
        number
    }

    pub fn count(&self) -> u32 {
        self.all.len() as u32
    }

    fn at(&self, cpu: u32) -> &Processor {
        &self.all[cpu as usize % self.all.len()]
    }

    /// Key under which threads wait for a processor.
    fn key(&self, cpu: u32) -> usize {
        std::ptr::from_ref(self.at(cpu)).addr()
    }

    /// Key under which threads wait for DPCs to return.
    fn flush_key(&self) -> usize {
        std::ptr::from_ref(&self.pending).addr()
    }

    /// A processor with queued DPCs.
    pub fn with_dpcs(&self) -> Option<u32> {
        if self.queued.load(Ordering::SeqCst) == 0 {
            return None;
        }
        (0..self.count()).find(|cpu| !self.at(*cpu).dpcs.lock().is_empty())
    }

    fn next_dpc(&self, world: &World, cpu: u32) -> Option<Dpc> {
        if self.queued.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let next = self.at(cpu).dpcs.lock().pop_front()?;
        if self.queued.fetch_sub(1, Ordering::SeqCst) == 1 {
            world.scheduler.announce_dpcs(false);
        }
        Some(next)
    }
}

/// IRQL of the calling thread.
pub fn irql() -> u8 {
    thread::current().irql.get()
}

/// Number of the processor that the calling thread runs on.
pub fn current_cpu() -> u32 {
    thread::current().cpu.get()
}

/// A place where another thread may run.
pub fn yield_point(site: &'static str) {
    if let Some(thread) = thread::try_current() {
        thread.world.scheduler.yield_point(&thread, site);
    }
}

/// Blocks the calling thread until the closure gives a value. Whoever makes that happen calls `wake`; without it the
/// thread still looks again, but only after every other thread is blocked too.
pub fn block_until<T>(what: &'static str, poll: impl FnMut() -> Option<T>) -> T {
    block_on(ANY, what, poll)
}

/// As `block_until` for a thread that only `wake` with the same key concerns.
pub fn block_on<T>(key: usize, what: &'static str, poll: impl FnMut() -> Option<T>) -> T {
    let thread = thread::current();
    thread.world.scheduler.block(&thread, key, what, poll)
}

/// Tells blocked threads that what they wait for may have happened.
pub fn wake(key: usize) {
    thread::current().world.scheduler.wake(key);
}

/// Waits until work items and due events have run.
pub fn settle() {
    let thread = thread::current();
    thread.world.scheduler.settle(&thread);
}

/// Raises to DISPATCH, waiting for the processor if another thread is there, and gives the old level.
pub fn raise_to_dispatch() -> u8 {
    raise(&thread::current())
}

/// Returns to an earlier level; DPCs that came meanwhile run first.
pub fn lower(old: u8) {
    lower_to(&thread::current(), old);
}

pub(crate) fn raise(thread: &Thread) -> u8 {
    let old = thread.irql.get();
    if old >= DISPATCH {
        return old;
    }
    let processors = &thread.world.processors;
    let cpu = thread.cpu.get();
    let owner = &processors.at(cpu).owner;
    let me = thread.shared.id + 1;
    let take = || owner.compare_exchange(0, me, Ordering::SeqCst, Ordering::SeqCst).ok().map(|_| ());
    if take().is_none() {
        thread.world.scheduler.block(thread, processors.key(cpu), "a processor at DISPATCH", take);
    }
    thread.irql.set(DISPATCH);
    old
}

pub(crate) fn lower_to(thread: &Thread, old: u8) {
    if thread.irql.get() < DISPATCH || old >= DISPATCH {
        return;
    }
    if !thread.held.borrow().is_empty() {
        thread.world.violate("LOCK-03", format!("IRQL falls below DISPATCH with {} held", held_text(thread)));
    }
    let cpu = thread.cpu.get();
    while let Some(dpc) = thread.world.processors.next_dpc(&thread.world, cpu) {
        run_dpc(thread, dpc);
    }
    thread.irql.set(old);
    thread.world.processors.at(cpu).owner.store(0, Ordering::SeqCst);
    thread.world.scheduler.wake(thread.world.processors.key(cpu));
}

/// Queues a routine to run at DISPATCH on a processor.
pub fn queue_dpc(world: &World, cpu: u32, what: &'static str, routine: impl FnOnce() + Send + 'static) {
    let processors = &world.processors;
    let number = processors.enqueue();
    processors.at(cpu).dpcs.lock().push_back(Dpc { number, what, routine: Box::new(routine) });
    processors.queued.fetch_add(1, Ordering::SeqCst);
    world.scheduler.announce_dpcs(true);
    world.scheduler.ensure_events(world);
}

/// Runs the DPCs of the processor that a thread below DISPATCH is on.
pub(crate) fn interrupt(thread: &Thread) {
    if thread.irql.get() < DISPATCH {
        drain(thread, thread.cpu.get());
    }
}

/// Runs the DPCs of a processor on this thread.
pub(crate) fn drain(thread: &Thread, cpu: u32) {
    if thread.world.processors.at(cpu).dpcs.lock().is_empty() {
        return;
    }
    let home = thread.cpu.replace(cpu);
    let old = raise(thread);
    lower_to(thread, old);
    thread.cpu.set(home);
}

/// Runs a routine as a DPC of some processor; the calling thread is below DISPATCH or already a DPC.
pub(crate) fn as_dpc(thread: &Thread, what: &'static str, routine: Routine) {
    let dpc = Dpc { number: thread.world.processors.enqueue(), what, routine };
    if thread.irql.get() >= DISPATCH {
        return run_dpc(thread, dpc);
    }
    let cpu = (thread.jitter() >> 8) as u32 % thread.world.processors.count();
    let home = thread.cpu.replace(cpu);
    let old = raise(thread);
    run_dpc(thread, dpc);
    lower_to(thread, old);
    thread.cpu.set(home);
}

fn run_dpc(thread: &Thread, dpc: Dpc) {
    let held = thread.held.borrow().len();
    thread.stack.borrow_mut().push(dpc.what);
    (dpc.routine)();
    check_return(thread, dpc.what, DISPATCH, held);
    thread.stack.borrow_mut().pop();
    let processors = &thread.world.processors;
    processors.pending.lock().remove(&dpc.number);
    thread.world.scheduler.wake(processors.flush_key());
}

/// Waits until every DPC that was queued before has returned; those that are queued meanwhile may be under way
/// (nf-wdm-keflushqueueddpcs).
pub(crate) fn flush_dpcs(world: &World) {
    let processors = &world.processors;
    let before = processors.numbers.load(Ordering::SeqCst);
    block_on(processors.flush_key(), "queued DPCs", || {
        let first = processors.pending.lock().first().copied();
        first.is_none_or(|first| first >= before).then_some(())
    });
}

/// Wraps every call into the driver: the simulated call stack, IRQL and locks at return, yield points around it.
pub fn call_driver<R: 'static>(handler: &'static str, call: impl FnOnce() -> R) -> R {
    call_driver_with(handler, String::new, call)
}

/// As `call_driver`, with what the event log shows of the arguments.
pub fn call_driver_with<R: 'static>(
    handler: &'static str,
    arguments: impl FnOnce() -> String,
    call: impl FnOnce() -> R,
) -> R {
    let thread = thread::current();
    let world = &*thread.world;
    world.scheduler.yield_point(&thread, handler);
    if thread.stack.borrow().is_empty() {
        thread.shared.gets_on();
    }
    thread.stack.borrow_mut().push(handler);
    world.log_call(&thread, ">", handler, arguments);
    let (irql, held) = (thread.irql.get(), thread.held.borrow().len());
    let regions = thread.critical_regions.get();
    let outside = stack_depth::enter_driver(world);
    let result = call();
    stack_depth::left_driver(world, outside);
    check_return(&thread, handler, irql, held);
    if thread.critical_regions.replace(regions) != regions {
        world.violate("LOCK-07", format!("{handler} returned with a critical region entered or left"));
    }
    world.log_call(&thread, "<", handler, || crate::shown::result(&result).unwrap_or_default());
    thread.stack.borrow_mut().pop();
    world.scheduler.yield_point(&thread, handler);
    result
}

/// The driver neither returns nor waits: it polls for what only time or another thread brings.
#[cold]
pub(crate) fn report_livelock(thread: &Thread) {
    thread.shared.gets_on();
    let (world, stack) = (&thread.world, thread.stack.borrow().join(" > "));
    if !stack.is_empty() && !world.is_aborted() {
        world.violate("LOCK-04", format!("{} polls without end in {stack}", thread.shared.name));
        world.abort();
    }
}

/// IRQL-02 and LOCK-03 at the return of a routine; the machine is put right again, so that one fault is reported once.
fn check_return(thread: &Thread, what: &'static str, irql: u8, held: usize) {
    let world = &*thread.world;
    world.exercised("IRQL-02");
    world.exercised("LOCK-03");
    if thread.held.borrow().len() > held {
        world.violate("LOCK-03", format!("{what} returned with {} held", held_text(thread)));
        let extra = thread.held.borrow_mut().split_off(held);
        for lock in extra.iter().rev() {
            crate::machine::locks::force_release(thread, *lock);
        }
    }
    let now = thread.irql.get();
    if now != irql {
        world.violate("IRQL-02", format!("{what} was called at IRQL {irql} and returned at {now}"));
        if now > irql {
            lower_to(thread, irql);
        } else {
            raise(thread);
        }
    }
}

/// True if the calling thread is executing that handler or import.
pub fn in_handler(name: &str) -> bool {
    thread::current().stack.borrow().contains(&name)
}

/// The end of a simulated thread: it must not take a processor or a lock along.
pub(crate) fn leave(thread: &Thread) {
    check_return(thread, "thread", PASSIVE, 0);
}

/// IRQL-01: records a call above its highest level.
pub fn require_irql(function: &'static str, max: u8) {
    let thread = thread::current();
    thread.world.exercised("IRQL-01");
    let now = thread.irql.get();
    if now > max {
        thread.world.violate("IRQL-01", format!("{function} called at IRQL {now}, allowed up to {max}"));
    }
}

/// A wait: below DISPATCH (IRQL-03) and with no lock held (LOCK-04).
pub fn require_may_wait(function: &'static str) {
    let thread = thread::current();
    thread.world.exercised("IRQL-03");
    thread.world.exercised("LOCK-04");
    if thread.irql.get() >= DISPATCH {
        thread.world.violate("IRQL-03", format!("{function} waits at DISPATCH"));
    }
    if !thread.held.borrow().is_empty() {
        thread.world.violate("LOCK-04", format!("{function} waits with {} held", held_text(&thread)));
    }
}

pub(crate) fn held_text(thread: &Thread) -> String {
    let held = thread.held.borrow();
    let names = held.iter().map(|l| format!("{} {}", l.kind, thread.world.ids.name_of(l.address, "lock")));
    names.collect::<Vec<_>>().join(", ")
}
