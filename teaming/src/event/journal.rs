//! The last events, and which of them are still to be written to the System event log.
//!
//! `push` is called under the team lock at any rate: it takes constant time, and tells whether the writer has to be woken.
//! The writer, a thread at PASSIVE_LEVEL, calls `take` until it gets nothing. What comes faster than the pace, or finds no
//! room, is counted for its kind, and the number is told as an event of its own when the pace allows.

use crate::Storage;
use crate::event::Event;
use crate::event::catalog::KINDS;
use crate::event::limit::{EventRate, Limit};
use crate::ids::Ticks;

/// How often one kind is written to the System event log.
pub const PACE: EventRate = EventRate { burst: 32, interval: Ticks::from_ms(60_000) };

/// An event with its time.
pub type Recorded = (Ticks, Event);

/// Number of events that are kept.
pub const KEPT: usize = 256;
/// Number of events that may wait to be written.
pub const WAITING: usize = 128;
/// Number of limits: one for each kind.
pub const LIMITS: usize = KINDS.len();
/// How long the writer waits after the log refused an event.
const RETRY: Ticks = Ticks::from_ms(1_000);

/// The storage of a journal: `KEPT`, `WAITING` and `LIMITS` long.
pub struct Rooms<S: Storage> {
    pub kept: S::Of<Option<Recorded>>,
    pub waiting: S::Of<Option<Event>>,
    pub limits: S::Of<Limit>,
}

/// The events of one module.
pub struct Journal<S: Storage> {
    rooms: Rooms<S>,
    /// Numbers of events kept, put into the queue and taken out of it, ever.
    kept: u64,
    put: u64,
    taken: u64,
}

impl<S: Storage> Journal<S> {
    pub fn new(rooms: Rooms<S>) -> Self {
        Self { rooms, kept: 0, put: 0, taken: 0 }
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
        event.kind().in_system_log && self.put(now, event)
    }

    fn keep(&mut self, now: Ticks, event: Event) {
        let at = slot(self.kept, self.rooms.kept.len());
        if let Some(place) = self.rooms.kept.get_mut(at) {
            *place = Some((now, event));
        }
        self.kept = self.kept.wrapping_add(1);
    }

    /// Puts an event into the queue, or counts it as not written.
    fn put(&mut self, now: Ticks, event: Event) -> bool {
        let waiting = self.put.wrapping_sub(self.taken);
        let slots = self.rooms.waiting.len();
        let has_room = usize::try_from(waiting).is_ok_and(|waiting| waiting < slots);
        let Some(limit) = self.limit(event.id()) else { return false };
        if !has_room || !limit.admit(now, PACE) {
            // The writer must wake in time to tell it.
            let first = limit.due(PACE).is_none();
            limit.suppress(1);
            return first;
        }
        if let Some(free) = self.rooms.waiting.get_mut(slot(self.put, slots)) {
            *free = Some(event);
            self.put = self.put.wrapping_add(1);
        }
        true
    }

    fn limit(&mut self, id: u16) -> Option<&mut Limit> {
        self.rooms.limits.get_mut(usize::from(id).checked_sub(1)?)
    }

    /// The next event to write. What is due by `until` is told; that is now, or for ever if there is no later.
    pub fn take(&mut self, now: Ticks, until: Ticks) -> Option<Event> {
        if self.put != self.taken {
            let at = slot(self.taken, self.rooms.waiting.len());
            self.taken = self.taken.wrapping_add(1);
            return self.rooms.waiting.get(at).copied().flatten();
        }
        let event = (1..=u16::MAX).zip(self.rooms.limits.iter_mut()).find_map(|(id, limit)| {
            let count = limit.tell(until, PACE)?;
            Some(Event::Suppressed { id, count })
        })?;
        self.keep(now, event);
        Some(event)
    }

    /// When something that was not written can be told.
    pub fn due(&self) -> Option<Ticks> {
        self.rooms.limits.iter().filter_map(|limit| limit.due(PACE)).min()
    }

    /// An event could not be written: it counts as not written, and is told later.
    pub fn refused(&mut self, event: &Event, now: Ticks) {
        let (id, count) = match *event {
            Event::Suppressed { id, count } => (id, count),
            event => (event.id(), 1),
        };
        if let Some(limit) = self.limit(id) {
            limit.failed(count, now.saturating_add(RETRY), PACE);
        }
    }
}

/// The slot of the n-th of all in a ring of so many.
fn slot(number: u64, slots: usize) -> usize {
    let slots = u64::try_from(slots).unwrap_or(u64::MAX);
    usize::try_from(number.checked_rem(slots).unwrap_or(0)).unwrap_or(0)
}
