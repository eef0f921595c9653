//! The last events, and which of them are still to be written to the System event log and to a trace.
//!
//! `push` is called under the team lock at any rate: it takes constant time, and tells whether the writer has to be woken.
//! The writer, a thread at PASSIVE_LEVEL, calls `take` until it gets nothing. What comes faster than the pace of a place, or
//! finds no room, is counted for its kind and place, and the number is told as an event of its own when the pace allows.

use crate::Storage;
use crate::event::Event;
use crate::event::catalog::KINDS;
use crate::event::limit::{EventRate, Limit};
use crate::ids::Ticks;

/// A place where events are written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The System event log: what an administrator must see without tools.
    Log,
    /// Trace sessions: everything.
    Trace,
}

pub const PLACES: [Place; 2] = [Place::Log, Place::Trace];

impl Place {
    const fn index(self) -> usize {
        match self {
            Self::Log => 0,
            Self::Trace => 1,
        }
    }

    /// How often one kind is written there.
    pub const fn pace(self) -> EventRate {
        match self {
            Self::Log => EventRate { burst: 32, interval: Ticks::from_ms(60_000) },
            Self::Trace => EventRate { burst: 64, interval: Ticks::from_ms(50) },
        }
    }
}

/// An event with its time.
pub type Recorded = (Ticks, Event);

/// An event that is still to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Due {
    pub at: Ticks,
    pub event: Event,
    pub place: Place,
}

impl Due {
    pub const NONE: Self = Self { at: Ticks::ZERO, event: Event::SettingsRead, place: Place::Trace };
}

/// Number of events that are kept.
pub const KEPT: usize = 256;
/// Number of events that may wait to be written.
pub const WAITING: usize = 128;
/// Of these, places that only the System event log may take.
const RESERVED: usize = 32;
/// Number of limits: one for each kind and place.
pub const LIMITS: usize = KINDS.len().saturating_mul(PLACES.len());
/// How long the writer waits after a place refused an event.
const RETRY: Ticks = Ticks::from_ms(1_000);

/// The storage of a journal: `KEPT`, `WAITING` and `LIMITS` long.
pub struct Rooms<S: Storage> {
    pub kept: S::Of<Option<Recorded>>,
    pub waiting: S::Of<Due>,
    pub limits: S::Of<Limit>,
}

/// The events of one module.
pub struct Journal<S: Storage> {
    rooms: Rooms<S>,
    /// Somebody reads the trace.
    traced: bool,
    /// Numbers of events kept, put into the queue and taken out of it, ever.
    kept: u64,
    put: u64,
    taken: u64,
}

impl<S: Storage> Journal<S> {
    pub fn new(rooms: Rooms<S>) -> Self {
        Self { rooms, traced: false, kept: 0, put: 0, taken: 0 }
    }

    /// The last events, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = Recorded> {
        let slots = self.rooms.kept.len();
        let oldest = slot(self.kept, slots);
        let (newer, older) = self.rooms.kept.split_at_checked(oldest).unwrap_or_default();
        older.iter().chain(newer).copied().flatten()
    }

    /// Keeps an event, in place of the oldest. Returns whether the writer must be woken.
    pub fn push(&mut self, now: Ticks, event: Event) -> bool {
        self.keep(now, event);
        let log = event.kind().in_system_log && self.put(now, event, Place::Log);
        let trace = self.traced && self.put(now, event, Place::Trace);
        log || trace
    }

    /// Whether somebody reads the trace; without a reader nothing is queued for it.
    pub fn trace(&mut self, is_read: bool) {
        self.traced = is_read;
    }

    fn keep(&mut self, now: Ticks, event: Event) {
        let at = slot(self.kept, self.rooms.kept.len());
        if let Some(place) = self.rooms.kept.get_mut(at) {
            *place = Some((now, event));
        }
        self.kept = self.kept.wrapping_add(1);
    }

    /// Puts an event into the queue, or counts it as not written.
    fn put(&mut self, now: Ticks, event: Event, place: Place) -> bool {
        let waiting = self.put.wrapping_sub(self.taken);
        let slots = self.rooms.waiting.len();
        let room = match place {
            Place::Log => slots,
            Place::Trace => slots.saturating_sub(RESERVED),
        };
        let has_room = usize::try_from(waiting).is_ok_and(|waiting| waiting < room);
        let Some(limit) = self.limit(event.id(), place) else { return false };
        if !has_room || !limit.admit(now, place.pace()) {
            // The writer must wake in time to tell it.
            let first = limit.due(place.pace()).is_none();
            limit.suppress(1);
            return first;
        }
        let at = slot(self.put, slots);
        if let Some(free) = self.rooms.waiting.get_mut(at) {
            *free = Due { at: now, event, place };
            self.put = self.put.wrapping_add(1);
        }
        true
    }

    fn limit(&mut self, id: u16, place: Place) -> Option<&mut Limit> {
        let kind = usize::from(id).checked_sub(1)?;
        let at = kind.checked_mul(PLACES.len())?.checked_add(place.index())?;
        self.rooms.limits.get_mut(at)
    }

    /// The next event to write. What is due by `until` is told; that is now, or for ever if there is no later.
    pub fn take(&mut self, now: Ticks, until: Ticks) -> Option<Due> {
        if self.put != self.taken {
            let at = slot(self.taken, self.rooms.waiting.len());
            self.taken = self.taken.wrapping_add(1);
            return self.rooms.waiting.get(at).copied();
        }
        let mut limits = self.rooms.limits.iter_mut().enumerate();
        let (event, place) = limits.find_map(|(number, limit)| {
            let (id, place) = whose(number);
            let count = limit.tell(until, place.pace())?;
            Some((Event::Suppressed { id, count }, place))
        })?;
        self.keep(now, event);
        Some(Due { at: now, event, place })
    }

    /// When something that was not written can be told.
    pub fn due(&self) -> Option<Ticks> {
        let limits = self.rooms.limits.iter().enumerate();
        limits.filter_map(|(number, limit)| limit.due(whose(number).1.pace())).min()
    }

    /// An event could not be written: it counts as not written, and is told later.
    pub fn refused(&mut self, due: &Due, now: Ticks) {
        let (id, count) = match due.event {
            Event::Suppressed { id, count } => (id, count),
            event => (event.id(), 1),
        };
        if let Some(limit) = self.limit(id, due.place) {
            limit.failed(count, now.saturating_add(RETRY), due.place.pace());
        }
    }
}

/// The slot of the n-th of all in a ring of so many.
fn slot(number: u64, slots: usize) -> usize {
    let slots = u64::try_from(slots).unwrap_or(u64::MAX);
    usize::try_from(number.checked_rem(slots).unwrap_or(0)).unwrap_or(0)
}

/// Id and place of a limit.
fn whose(number: usize) -> (u16, Place) {
    let kind = number.checked_div(PLACES.len()).unwrap_or(0);
    let id = u16::try_from(kind.saturating_add(1)).unwrap_or(u16::MAX);
    (id, if number & 1 == 0 { Place::Log } else { Place::Trace })
}
