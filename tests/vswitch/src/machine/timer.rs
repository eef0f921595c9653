//! NDIS timer objects over the virtual clock.
//!
//! A timer that expired no longer is set, although its function may not have begun: cancelling gives FALSE then, as on
//! a real machine. Until its function has returned, its last instruction included, the timer cannot be freed nor its owner
//! go away (STATE-32).

use crate::exports;
use crate::machine::clock::{EventId, MILLISECOND};
use crate::machine::cpu;
use crate::machine::fault;
use crate::machine::memory::{self, AllocationKind, MemoryState};
use crate::machine::slots::ANY;
use crate::machine::world::{self, World};
use crate::mutation::Mutation;
use lbfoext::ndis::raw::{
    Handle, INVALID_PARAMETER, RESOURCES, SUCCESS, TimerCharacteristics, TimerFunction, object_type,
};
use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::ptr;

const CHARACTERISTICS_REVISION: u8 = 1;
const CHARACTERISTICS_SIZE: u16 = 24;

/// Yield points between what a function does last and its return: it may lose its processor on every instruction.
const LAST_INSTRUCTIONS: u32 = 8;

/// What is under way, by the handle that the timer was allocated for.
#[derive(Default)]
pub struct Timers {
    running: Mutex<Vec<usize>>,
    /// Owners that nothing may be called for any more.
    gone: Mutex<BTreeSet<usize>>,
}

impl World {
    /// Timer functions of this owner, or of any, that were entered and have not returned.
    pub fn timer_functions_running(&self, owner: Option<usize>) -> usize {
        let running = self.part::<Timers>().running.lock();
        running.iter().filter(|of| owner.is_none_or(|owner| **of == owner)).count()
    }

    /// The owner is gone: no function of its timers may be running, and one that expires is reported, not called.
    pub fn owner_gone(&self, owner: usize) {
        let running = self.timer_functions_running(Some(owner));
        crate::machine::verify::rule(self, "STATE-32", running == 0, || {
            format!("{running} timer functions have not returned when their module is gone")
        });
        self.part::<Timers>().gone.lock().insert(owner);
    }
}

struct Timer {
    owner: usize,
    state: Mutex<Armed>,
    function: TimerFunction,
    default_context: usize,
    tag: u32,
}

#[derive(Default)]
struct Armed {
    event: Option<EventId>,
    /// How many times it was set.
    times: u64,
    period: u64,
    context: usize,
    running: usize,
}

fn timer(world: &World, handle: usize, function: &'static str) -> Option<&'static Timer> {
    let pointer = ptr::with_exposed_provenance::<Timer>(handle);
    if world.place(pointer.cast()) != MemoryState::Live(AllocationKind::Timer) {
        world.violate("MEM-02", format!("{function} of a timer that does not exist"));
        return None;
    }
    // SAFETY: a live ledger entry of this kind holds one.
    Some(unsafe { &*pointer })
}

/// When a delay from now ends: on the tick after it if the clock is coarse.
fn due(world: &World, delay: u64) -> u64 {
    let due = world.now().saturating_add(delay);
    let tick = u64::from(world.config().time_increment.max(1));
    if world.config().coarse_time { due.next_multiple_of(tick) } else { due }
}

fn arm(world: &World, timer: &Timer, handle: usize, delay: u64) {
    let mut state = timer.state.lock();
    state.times += 1;
    let time = state.times;
    state.event = Some(world.at(due(world, delay), "timer", move || expire(handle, time)));
}

/// The event of a timer that was set for the n-th time: takes it out of the set state, unless it was set again before its
/// function could begin, sets it again if periodic, then calls the driver.
fn expire(handle: usize, time: u64) {
    let world = world::current();
    let Some(timer) = timer(&world, handle, "expiry") else { return };
    let (timers, owner) = (world.part::<Timers>(), timer.owner);
    if timers.gone.lock().contains(&owner) {
        timer.state.lock().event = None;
        return world.violate("STATE-33", "a timer expired after FilterDetach had returned");
    }
    timers.running.lock().push(owner);
    cpu::wake(ANY);
    let (context, period) = {
        let mut state = timer.state.lock();
        if state.times == time {
            state.event = None;
        }
        state.running += 1;
        (state.context, state.period)
    };
    if period > 0 {
        arm(&world, timer, handle, period);
    }
    let function = timer.function;
    cpu::call_driver("TimerFunction", || {
        // SAFETY: the driver's function, called as documented.
        unsafe {
            function(
                ptr::null_mut(),
                ptr::with_exposed_provenance_mut(context),
                ptr::null_mut(),
                ptr::null_mut(),
            )
        }
    });
    (0..LAST_INSTRUCTIONS).for_each(|_| cpu::yield_point("return from a timer function"));
    if let Some(timer) = self::timer(&world, handle, "return from the function") {
        timer.state.lock().running -= 1;
    }
    let mut running = timers.running.lock();
    let at = running.iter().position(|of| *of == owner);
    at.map(|at| running.swap_remove(at));
}

/// A relative time is negative; what is positive is a time of the clock.
fn delay_of(world: &World, due_time: i64) -> u64 {
    if due_time <= 0 { due_time.unsigned_abs() } else { due_time.unsigned_abs().saturating_sub(world.now()) }
}

exports! {
    pub extern "win64" fn NdisAllocateTimerObject(
        handle: Handle,
        characteristics: *mut TimerCharacteristics,
        out: *mut Handle,
    ) -> i32 where irql <= DISPATCH {
        let world = world::current();
        // SAFETY: the driver passes its characteristics.
        let wanted = unsafe { characteristics.read() };
        let header = wanted.header;
        let Some(function) = wanted.timer_function else { return INVALID_PARAMETER };
        if header.object_type != object_type::TIMER_CHARACTERISTICS
            || header.revision != CHARACTERISTICS_REVISION
            || header.size < CHARACTERISTICS_SIZE
        {
            world.violate("MEM-02", "NdisAllocateTimerObject with a wrong header of the characteristics");
            return INVALID_PARAMETER;
        }
        if fault::fails("NdisAllocateTimerObject") {
            return RESOURCES;
        }
        let tag = wanted.allocation_tag;
        let default_context = wanted.function_context.expose_provenance();
        let timer = Timer { owner: handle.addr(), state: Mutex::default(), function, default_context, tag };
        let timer = memory::alloc_value(AllocationKind::Timer, timer, tag, "timer object");
        timer.expose_provenance();
        // SAFETY: the driver passes a place for the handle.
        unsafe { out.write(timer.cast()) };
        SUCCESS
    }

    pub extern "win64" fn NdisSetTimerObject(
        handle: Handle,
        due_time: i64,
        period_ms: i32,
        context: *mut std::ffi::c_void,
    ) -> u8 where irql <= DISPATCH {
        let world = world::current();
        let Some(timer) = timer(&world, handle.addr(), "NdisSetTimerObject") else { return 0 };
        let old = {
            let mut state = timer.state.lock();
            state.period = u64::from(period_ms.unsigned_abs()) * MILLISECOND;
            state.context = if context.is_null() { timer.default_context } else { context.expose_provenance() };
            state.event.take()
        };
        let was_set = old.is_some_and(|event| world.cancel(event));
        arm(&world, timer, handle.addr(), delay_of(&world, due_time));
        u8::from(was_set)
    }

    pub extern "win64" fn NdisCancelTimerObject(handle: Handle) -> u8 where irql <= DISPATCH {
        let world = world::current();
        let Some(timer) = timer(&world, handle.addr(), "NdisCancelTimerObject") else { return 0 };
        let event = {
            let mut state = timer.state.lock();
            state.period = 0;
            state.event.take()
        };
        u8::from(event.is_some_and(|event| world.cancel(event)))
    }

    pub extern "win64" fn NdisFreeTimerObject(handle: Handle) where irql <= DISPATCH {
        let world = world::current();
        let Some(timer) = timer(&world, handle.addr(), "NdisFreeTimerObject") else { return };
        if world.mutation() == Some(Mutation::FreeSetTimer) && world.spend_mutation() {
            arm(&world, timer, handle.addr(), MILLISECOND);
        }
        if world.mutation() == Some(Mutation::KeepTimer) && world.spend_mutation() {
            return arm(&world, timer, handle.addr(), MILLISECOND);
        }
        let (event, running) = {
            let mut state = timer.state.lock();
            (state.event.take(), state.running)
        };
        if event.is_some_and(|event| world.cancel(event)) {
            world.violate("MEM-02", "timer object freed while it is set");
        }
        crate::machine::verify::rule(&world, "STATE-32", running == 0, || {
            "timer object freed while its function runs: it has not returned".to_owned()
        });
        let tag = timer.tag;
        // SAFETY: nobody uses it, or that was reported.
        let _ = unsafe { memory::free_value::<Timer>(AllocationKind::Timer, handle.cast(), tag) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::clock;
    use crate::machine::world::Config;
    use lbfoext::ndis::raw::ObjectHeader;
    use std::ffi::c_void;

    /// The driver of these tests: notes when its timer fired in the world's log.
    unsafe extern "win64" fn fired(_: *mut c_void, context: *mut c_void, _: *mut c_void, _: *mut c_void) {
        assert_eq!(cpu::irql(), cpu::DISPATCH);
        world::current().log(|| format!("fired {}", context.addr()));
    }

    fn allocate() -> Handle {
        let mut characteristics = TimerCharacteristics {
            header: ObjectHeader::new(object_type::TIMER_CHARACTERISTICS, 1, 24),
            allocation_tag: 1,
            timer_function: Some(fired),
            function_context: ptr::without_provenance_mut(9),
        };
        let mut handle = ptr::null_mut();
        // SAFETY: the driver's own structures.
        let status =
            unsafe { NdisAllocateTimerObject(ptr::null_mut(), &raw mut characteristics, &raw mut handle) };
        assert_eq!(status, SUCCESS);
        handle
    }

    fn set(handle: Handle, delay: u64, period_ms: i32, context: usize) -> bool {
        // SAFETY: a live timer.
        unsafe {
            NdisSetTimerObject(handle, -(delay as i64), period_ms, ptr::without_provenance_mut(context)) != 0
        }
    }

    fn cancel(handle: Handle) -> bool {
        // SAFETY: a live timer.
        unsafe { NdisCancelTimerObject(handle) != 0 }
    }

    fn free(handle: Handle) {
        // SAFETY: a timer or not: both are to be tried.
        unsafe { NdisFreeTimerObject(handle) }
    }

    /// When which timer fired, relative to the start, and the rules broken.
    fn run(config: Config, body: impl FnOnce() + Send) -> (Vec<(u64, String)>, Vec<&'static str>) {
        let start = config.start_time;
        let world = World::new(Config { keep_log: true, ..config });
        world.enter(body).expect("it ends");
        let lines = world.log_lines();
        let fired = lines.iter().filter_map(|line| {
            let (head, mark) = line.split_once("fired ")?;
            let time: u64 = head.split(' ').next()?.parse().ok()?;
            Some((time - start, mark.to_owned()))
        });
        (fired.collect(), world.violations().iter().map(|v| v.rule).collect())
    }

    fn marks(marks: &[(u64, &str)]) -> Vec<(u64, String)> {
        marks.iter().map(|(time, mark)| (*time, (*mark).to_owned())).collect()
    }

    #[test]
    fn timers_fire_in_order_of_time_then_of_setting() {
        let (fired, rules) = run(Config::default(), || {
            let timers = [allocate(), allocate(), allocate()];
            assert!(!set(timers[0], 200, 0, 1));
            assert!(!set(timers[1], 100, 0, 0));
            assert!(!set(timers[2], 200, 0, 3));
            clock::advance(300);
            timers.into_iter().for_each(free);
        });
        assert_eq!((fired, rules), (marks(&[(100, "9"), (200, "1"), (200, "3")]), vec![]));
    }

    #[test]
    fn setting_again_moves_a_timer_and_cancelling_stops_a_periodic_one() {
        let (fired, rules) = run(Config::default(), || {
            let timer = allocate();
            assert!(!set(timer, 50, 0, 1));
            assert!(set(timer, 100, 1, 2));
            clock::advance(100 + 2 * MILLISECOND);
            assert!(cancel(timer));
            assert!(!cancel(timer));
            clock::advance(10 * MILLISECOND);
            free(timer);
        });
        assert_eq!(fired, marks(&[(100, "2"), (100 + MILLISECOND, "2"), (100 + 2 * MILLISECOND, "2")]));
        assert_eq!(rules, [""; 0]);
    }

    /// Its time has come, and before its function begins somebody sets it again: that setting is there to be cancelled.
    #[test]
    fn what_was_set_while_an_expiry_was_about_to_begin_can_be_cancelled() {
        let (fired, rules) = run(Config::default(), || {
            let handle = allocate();
            set(handle, 50, 0, 1);
            let first = timer(&world::current(), handle.addr(), "test").and_then(|t| t.state.lock().event);
            assert!(clock::cancel(first.expect("it is set")), "the clock has taken it out");
            set(handle, 100, 0, 2);
            let of = handle.addr();
            cpu::as_dpc(&crate::machine::thread::current(), "timer", Box::new(move || expire(of, 1)));
            assert!(cancel(handle));
            clock::advance(1_000);
            free(handle);
        });
        assert_eq!((fired, rules), (marks(&[(0, "2")]), vec![]));
    }

    #[test]
    fn freeing_a_set_timer_and_freeing_twice_are_found() {
        let (fired, rules) = run(Config::default(), || {
            let timer = allocate();
            set(timer, 100, 0, 1);
            free(timer);
            free(timer);
            clock::advance(1000);
        });
        assert_eq!((fired, rules), (vec![], vec!["MEM-02", "MEM-02"]));
    }

    #[test]
    fn with_a_coarse_clock_timers_fire_on_ticks_and_time_is_whole_ticks() {
        let config =
            Config { coarse_time: true, time_increment: 1000, start_time: 5000, ..Config::default() };
        let (fired, _) = run(config, || {
            let timer = allocate();
            clock::advance(300);
            // SAFETY: called on a simulated thread.
            assert_eq!(unsafe { crate::machine::kernel::KeQueryUnbiasedInterruptTime() }, 5000);
            set(timer, 1000, 0, 1);
            clock::advance(5000);
            free(timer);
        });
        assert_eq!(fired, marks(&[(2000, "1")]));
    }
}
