//! How often one kind of event may be written: a burst at once, then one for each interval.

use crate::ids::Ticks;

/// A burst, and a rate after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventRate {
    /// So many in a row.
    pub burst: u32,
    /// Afterwards one in this time.
    pub interval: Ticks,
}

/// What was written of one kind. The time at which a writer that had kept the pace would be done: the further it lies
/// ahead, the less of the burst is left (generic cell rate algorithm, ITU-T I.371).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    done: Ticks,
    /// What was not written since the last that was told.
    suppressed: u32,
}

impl Limit {
    pub const NEW: Self = Self { done: Ticks::ZERO, suppressed: 0 };

    /// The earliest time of the next one.
    fn next(&self, pace: EventRate) -> Ticks {
        let ahead = pace.interval.get().saturating_mul(u64::from(pace.burst.saturating_sub(1)));
        Ticks::new(self.done.get().saturating_sub(ahead))
    }

    /// Whether one may be written now; if so it counts.
    pub fn admit(&mut self, now: Ticks, pace: EventRate) -> bool {
        let admitted = self.next(pace) <= now;
        if admitted {
            self.done = self.done.max(now).saturating_add(pace.interval);
        }
        admitted
    }

    /// Counts events that are not written.
    pub fn suppress(&mut self, count: u32) {
        self.suppressed = self.suppressed.saturating_add(count);
    }

    /// When it can be told how many were not written; `None` if none were.
    pub fn due(&self, pace: EventRate) -> Option<Ticks> {
        (self.suppressed != 0).then(|| self.next(pace))
    }

    /// How many were not written, if this may be told now. Telling counts as one.
    pub fn tell(&mut self, now: Ticks, pace: EventRate) -> Option<u32> {
        let due = self.due(pace)?;
        (due <= now && self.admit(now, pace)).then(|| core::mem::take(&mut self.suppressed))
    }

    /// An attempt to write failed: `count` events more, and nothing more is tried before `later`.
    pub fn failed(&mut self, count: u32, later: Ticks, pace: EventRate) {
        self.suppress(count);
        let ahead = pace.interval.get().saturating_mul(u64::from(pace.burst.saturating_sub(1)));
        self.done = self.done.max(Ticks::new(later.get().saturating_add(ahead)));
    }
}
