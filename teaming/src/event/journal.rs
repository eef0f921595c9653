//! The last events, and which of them are still to be written to the System event log and to trace sessions.
//!
//! `push` is called under the team lock at any rate: it takes constant time, and tells whether the writer has to be woken.
//! The writer, a thread at PASSIVE_LEVEL, calls `take` until it gets nothing. What comes faster than the pace of its place,
//! or finds no room, is counted for its kind, and the number is told there as an event of its own when the pace allows.

use crate::Storage;
use crate::event::Event;
use crate::event::limit::EventRate;
use crate::event::queue::{Queue, QueueRooms, Recorded, slot};
use crate::ids::Ticks;

/// How often one kind is written to the System event log.
pub const LOG_PACE: EventRate = EventRate { burst: 32, interval: Ticks::from_ms(60_000) };
/// How often one kind is written to trace sessions.
pub const TRACE_PACE: EventRate = EventRate { burst: 128, interval: Ticks::from_ms(10) };

/// Number of events that are kept.
pub const KEPT: usize = 256;

/// Where people read events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The System event log.
    Log,
    /// The trace sessions that have enabled the provider.
    Trace,
}

/// An event that is to be written now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Due {
    pub place: Place,
    /// When it happened.
    pub at: Ticks,
    pub event: Event,
}

/// The storage of a journal; `kept` is `KEPT` long.
pub struct Rooms<S: Storage> {
    pub kept: S::Of<Option<Recorded>>,
    pub log: QueueRooms<S>,
    pub trace: QueueRooms<S>,
}

/// The events of one module.
pub struct Journal<S: Storage> {
    ring: S::Of<Option<Recorded>>,
    /// Number of events kept, ever.
    kept: u64,
    log: Queue<S>,
    trace: Queue<S>,
}

impl<S: Storage> Journal<S> {
    pub fn new(rooms: Rooms<S>) -> Self {
        let (log, trace) = (Queue::new(rooms.log, LOG_PACE), Queue::new(rooms.trace, TRACE_PACE));
        Self { ring: rooms.kept, kept: 0, log, trace }
    }

    /// The last events, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = Recorded> {
        let slots = self.ring.len();
        let oldest = slot(self.kept, slots);
        let (newer, older) = self.ring.split_at_checked(oldest).unwrap_or_default();
        older.iter().chain(newer).copied().flatten()
    }

    /// The same, newest first.
    pub fn newest(&self) -> impl Iterator<Item = Recorded> {
        let slots = self.ring.len();
        let back = 1..=u64::try_from(slots).unwrap_or(u64::MAX);
        back.map_while(move |back| {
            let number = self.kept.checked_sub(back)?;
            self.ring.get(slot(number, slots)).copied().flatten()
        })
    }

    /// Keeps an event, in place of the oldest. `traced`: some session wants it. Returns whether the writer must be woken.
    pub fn push(&mut self, now: Ticks, event: Event, traced: bool) -> bool {
        self.keep((now, event));
        let logged = event.kind().in_system_log && self.log.put((now, event));
        (traced && self.trace.put((now, event))) || logged
    }

    fn keep(&mut self, event: Recorded) {
        let at = slot(self.kept, self.ring.len());
        if let Some(place) = self.ring.get_mut(at) {
            *place = Some(event);
        }
        self.kept = self.kept.wrapping_add(1);
    }

    /// The next event to write. What was not written is told if it is due by `until`; that is now, or for ever if there is
    /// no later. That, too, is kept, and traced if a session wants it.
    pub fn take(&mut self, now: Ticks, until: Ticks, wanted: impl Fn(&Event) -> bool) -> Option<Due> {
        let due = |place, (at, event)| Due { place, at, event };
        if let Some(event) = self.log.take() {
            return Some(due(Place::Log, event));
        }
        if let Some((id, count)) = self.log.tell(until) {
            let event = Event::Suppressed { id, count };
            self.keep((now, event));
            if wanted(&event) {
                self.trace.put((now, event));
            }
            return Some(due(Place::Log, (now, event)));
        }
        if let Some(event) = self.trace.take() {
            return Some(due(Place::Trace, event));
        }
        let (id, count) = self.trace.tell(until)?;
        let event = Event::NotTraced { id, count };
        self.keep((now, event));
        Some(due(Place::Trace, (now, event)))
    }

    /// When something that was not written can be told.
    pub fn due(&self) -> Option<Ticks> {
        match (self.log.due(), self.trace.due()) {
            (Some(log), Some(trace)) => Some(log.min(trace)),
            (due, None) | (None, due) => due,
        }
    }

    /// An event could not be written: it counts as not written, and is told later.
    pub fn refused(&mut self, due: &Due, now: Ticks) {
        let (id, count) = match due.event {
            Event::Suppressed { id, count } if due.place == Place::Log => (id, count),
            Event::NotTraced { id, count } => (id, count),
            event => (event.id(), 1),
        };
        match due.place {
            Place::Log => self.log.failed(id, count, now),
            Place::Trace => self.trace.failed(id, count, now),
        }
    }
}
