//! Virtual time in units of 100 ns, and the events that wait for it.
//!
//! Time moves only when a thread asks (`advance_to`) or when nobody else can run. Events of equal time run in the
//! order in which they were set.

use crate::machine::cpu;
use crate::machine::scheduler::ANY;
use crate::machine::thread;
use crate::machine::world::{self, World};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

/// 100 ns units in a millisecond and a second.
pub const MILLISECOND: u64 = 10_000;
pub const SECOND: u64 = 10_000_000;

/// An event that was set.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct EventId {
    time: u64,
    serial: u64,
}

pub(crate) struct Event {
    pub what: &'static str,
    pub routine: Box<dyn FnOnce() + Send>,
}

pub struct Clock {
    now: AtomicU64,
    /// How often somebody read it to within a microsecond.
    precise: AtomicU64,
    serial: AtomicU64,
    queue: Mutex<BTreeMap<EventId, Event>>,
}

impl Clock {
    pub fn new(start: u64) -> Self {
        Self {
            now: AtomicU64::new(start),
            precise: AtomicU64::new(0),
            serial: AtomicU64::new(0),
            queue: Mutex::default(),
        }
    }

    pub fn now(&self) -> u64 {
        self.now.load(Ordering::Relaxed)
    }

    /// Virtual time stands still while code runs; each such reading takes a microsecond beside it.
    pub(crate) fn precise(&self) -> u64 {
        self.now() + self.precise.fetch_add(1, Ordering::Relaxed) * 10
    }

    pub fn has_events(&self) -> bool {
        !self.queue.lock().is_empty()
    }

    pub(crate) fn has_due(&self) -> bool {
        self.queue.lock().first_key_value().is_some_and(|(id, _)| id.time <= self.now())
    }

    /// Takes the first event up to a time and moves the clock to it.
    pub(crate) fn take(&self, until: u64) -> Option<Event> {
        let mut queue = self.queue.lock();
        let first = queue.first_entry().filter(|e| e.key().time <= until)?;
        self.now.fetch_max(first.key().time, Ordering::Relaxed);
        Some(first.remove())
    }
}

impl World {
    /// Runs the routine at DISPATCH as a DPC once time has come to `time`.
    pub fn at(&self, time: u64, what: &'static str, routine: impl FnOnce() + Send + 'static) -> EventId {
        let id = EventId { time, serial: self.clock.serial.fetch_add(1, Ordering::Relaxed) };
        self.clock.queue.lock().insert(id, Event { what, routine: Box::new(routine) });
        if time <= self.now() {
            self.scheduler.ensure_events(self);
        }
        id
    }

    /// Takes an event back; false if it ran or is running.
    pub fn cancel(&self, id: EventId) -> bool {
        self.clock.queue.lock().remove(&id).is_some()
    }

    /// Time of the next event.
    pub fn next_event(&self) -> Option<u64> {
        self.clock.queue.lock().first_key_value().map(|(id, _)| id.time)
    }
}

/// Virtual time of the calling thread's world.
pub fn now() -> u64 {
    world::current().now()
}

/// `World::at` in the calling thread's world.
pub fn at(time: u64, what: &'static str, routine: impl FnOnce() + Send + 'static) -> EventId {
    world::current().at(time, what, routine)
}

/// Sets an event a while from now.
pub fn after(delay: u64, what: &'static str, routine: impl FnOnce() + Send + 'static) -> EventId {
    let world = world::current();
    world.at(world.now().saturating_add(delay), what, routine)
}

/// Takes an event back; false if it ran or is running.
pub fn cancel(id: EventId) -> bool {
    world::current().cancel(id)
}

/// Moves time to `time`, running what is due on the way in order on this thread; before each step the system threads
/// finish what they can. PASSIVE.
pub fn advance_to(time: u64) {
    let thread = thread::current();
    let world = &*thread.world;
    loop {
        world.scheduler.settle(&thread);
        let Some(event) = world.clock.take(time) else { break };
        world.log(|| format!("event {}", event.what));
        cpu::as_dpc(&thread, event.what, event.routine);
        world.scheduler.wake(ANY);
    }
    world.clock.now.fetch_max(time, Ordering::Relaxed);
    world.scheduler.wake(ANY);
    world.scheduler.settle(&thread);
}

/// Moves time on by a while.
pub fn advance(by: u64) {
    advance_to(now().saturating_add(by));
}

/// Blocks until the closure gives a value or the deadline has come.
pub fn block_until_deadline<T>(
    what: &'static str,
    deadline: u64,
    mut poll: impl FnMut() -> Option<T>,
) -> Option<T> {
    let thread = thread::current();
    let world = thread.world.clone();
    let id = world.at(deadline, what, || {});
    let result =
        cpu::block_until(what, || poll().map(Some).or_else(|| (world.now() >= deadline).then_some(None)));
    world.cancel(id);
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::world::{Config, Mode, World};
    use std::sync::Arc;

    fn order(mode: Mode) -> Vec<u64> {
        let world = World::new(Config { mode, ..Config::default() });
        let seen = Arc::new(Mutex::new(Vec::new()));
        let list = Arc::clone(&seen);
        world
            .enter(move || {
                let start = now();
                for (delay, mark) in [(30, 3), (10, 1), (20, 2), (10, 11), (40, 4)] {
                    let list = Arc::clone(&list);
                    after(delay, "mark", move || {
                        assert_eq!((now() - start, cpu::irql()), (delay, cpu::DISPATCH));
                        list.lock().push(mark);
                    });
                }
                let last = after(25, "never", || panic!("it was taken back"));
                assert!(cancel(last));
                assert!(!cancel(last));
                advance(30);
                assert_eq!(now() - start, 30);
            })
            .expect("it ends");
        seen.lock().clone()
    }

    #[test]
    fn events_run_in_order_of_time_then_of_setting() {
        assert_eq!(order(Mode::Baton), [1, 11, 2, 3]);
        assert_eq!(order(Mode::Free), [1, 11, 2, 3]);
    }

    #[test]
    fn an_event_for_now_runs_without_time_moving() {
        let world = World::new(Config::default());
        let at_once = Arc::new(Mutex::new(0));
        let seen = Arc::clone(&at_once);
        world.enter(move || after(0, "now", move || *seen.lock() = now())).expect("it ends");
        assert_eq!(*at_once.lock(), Config::default().start_time);
    }
}
