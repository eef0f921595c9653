//! What waits to be written at one place, at a pace for each kind of event.

use crate::Storage;
use crate::event::Event;
use crate::event::catalog::KINDS;
use crate::event::limit::{EventRate, Limit};
use crate::ids::Ticks;

/// An event with its time.
pub type Recorded = (Ticks, Event);

/// Number of events that may wait to be written.
pub const WAITING: usize = 128;
/// Number of limits: one for each kind.
pub const LIMITS: usize = KINDS.len();
/// How long the writer waits after the place refused an event.
const RETRY: Ticks = Ticks::from_ms(1_000);

/// The storage of a queue: `WAITING` and `LIMITS` long.
pub struct QueueRooms<S: Storage> {
    pub waiting: S::Of<Option<Recorded>>,
    pub limits: S::Of<Limit>,
}

/// Events on their way to one place.
pub struct Queue<S: Storage> {
    rooms: QueueRooms<S>,
    pace: EventRate,
    /// Numbers of events put into the queue and taken out of it, ever.
    put: u64,
    taken: u64,
}

impl<S: Storage> Queue<S> {
    pub fn new(rooms: QueueRooms<S>, pace: EventRate) -> Self {
        Self { rooms, pace, put: 0, taken: 0 }
    }

    /// Puts an event into the queue, or counts it as not written. Returns whether the writer must be woken.
    pub fn put(&mut self, event: Recorded) -> bool {
        let waiting = self.put.wrapping_sub(self.taken);
        let slots = self.rooms.waiting.len();
        let has_room = usize::try_from(waiting).is_ok_and(|waiting| waiting < slots);
        let pace = self.pace;
        let Some(limit) = self.limit(event.1.id()) else { return false };
        if !has_room || !limit.admit(event.0, pace) {
            // The writer must wake in time to tell it.
            let first = limit.due(pace).is_none();
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

    /// The event that has waited longest.
    pub fn take(&mut self) -> Option<Recorded> {
        if self.put == self.taken {
            return None;
        }
        let at = slot(self.taken, self.rooms.waiting.len());
        self.taken = self.taken.wrapping_add(1);
        self.rooms.waiting.get(at).copied().flatten()
    }

    /// A kind of which events were not written, and how many, if that may be told by `until`. Telling counts as one of that
    /// kind.
    pub fn tell(&mut self, until: Ticks) -> Option<(u16, u32)> {
        let pace = self.pace;
        (1..=u16::MAX)
            .zip(self.rooms.limits.iter_mut())
            .find_map(|(id, limit)| Some((id, limit.tell(until, pace)?)))
    }

    /// When something that was not written can be told.
    pub fn due(&self) -> Option<Ticks> {
        self.rooms.limits.iter().filter_map(|limit| limit.due(self.pace)).min()
    }

    /// So many of a kind could not be written: they count as not written, and are told later.
    pub fn failed(&mut self, id: u16, count: u32, now: Ticks) {
        let pace = self.pace;
        if let Some(limit) = self.limit(id) {
            limit.failed(count, now.saturating_add(RETRY), pace);
        }
    }
}

/// The slot of the n-th of all in a ring of so many.
pub(super) fn slot(number: u64, slots: usize) -> usize {
    let slots = u64::try_from(slots).unwrap_or(u64::MAX);
    usize::try_from(number.checked_rem(slots).unwrap_or(0)).unwrap_or(0)
}
