//! The distribution table: which member carries which bucket of flows.
//!
//! Every bucket has a *home* member, which is a pure function of the members and their weights (`home`). While the home is
//! not live, the bucket is *lent* to a live member, which is a pure function of the bucket, the live members and the
//! weights (`lending`). So the member to which a bucket belongs does not depend on earlier failures, and when all members
//! are live again, the table has the same content as before.
//!
//! A bucket leaves a member that is not live at once. A bucket on a live member that belongs to another one moves
//! *voluntarily*: when no packet has used it for longer than the flowlet gap, or at the deadline. A move at the deadline can
//! reorder packets, and is counted. So is, for each member, what came to it (`arrivals`).
//!
//! `forward` owns the table: packets read it under the read lock. A change is made beside it (`aside`), under the team lock
//! and while packets go on, and is then put in its place under the write lock, which takes no longer than a few words.
//! Voluntary moves are the exception: whether a bucket is idle is only certain while no packet is on its way to a member, so
//! they are made in place, under the write lock, a part of the table at a time. `team` builds the home map.

use core::ops::Range;
use core::sync::atomic::{AtomicU32, Ordering};

use crate::Storage;
use crate::ids::{Bucket, MEMBERS, MemberIndex, MemberSet, Ticks};
use crate::team::carriers::Carriers;
use crate::team::home::Weights;
use crate::team::lending::Lending;

/// The state of the team from which the table is computed.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    pub carriers: Carriers,
    /// By which buckets are lent.
    pub weights: &'a Weights,
    /// `BUCKETS` long; all 0 while the first one is being made.
    pub home: &'a [u8],
    /// The members that have a bucket in `home`, and perhaps others.
    pub homes: MemberSet,
}

/// When buckets move voluntarily.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RebalanceTimers {
    /// A bucket moves if no packet has used it for longer than this. With 0 buckets move at once.
    pub gap: Ticks,
    /// A bucket that has waited this long moves even if it is in use. With `None` it waits until it is idle.
    pub deadline: Option<Ticks>,
}

/// Number of buckets that a call moved, and of those that wait to move.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Moved {
    /// Moved from a member that is not live.
    pub forced: u32,
    /// Moved voluntarily while idle.
    pub idle: u32,
    /// Moved voluntarily at the deadline while in use: packets of a flow may have been reordered.
    pub deadline_moves: u32,
    pub waiting: u32,
}

impl Moved {
    /// With what a later call moved, and what waits after it.
    #[must_use]
    pub const fn plus(self, later: Self) -> Self {
        Self {
            forced: self.forced.wrapping_add(later.forced),
            idle: self.idle.wrapping_add(later.idle),
            deadline_moves: self.deadline_moves.wrapping_add(later.deadline_moves),
            waiting: later.waiting,
        }
    }
}

/// The time at which a waiting bucket was last used, which packets write, and the time since which it waits, unless all have
/// waited since the same (`MadeFor::waiting_since`). The unit is 1.6 us; both wrap.
#[derive(Debug)]
pub struct BucketActivity {
    last: AtomicU32,
    since: AtomicU32,
}

impl BucketActivity {
    #[expect(
        clippy::declare_interior_mutable_const,
        reason = "storage is filled with it, element by element"
    )]
    pub const EMPTY: Self = Self { last: AtomicU32::new(0), since: AtomicU32::new(0) };
}

impl BucketActivity {
    pub(super) fn used_at(&self, time: u32) {
        self.last.store(time, Ordering::Relaxed);
    }

    pub(super) fn wait_since(&self, since: u32) {
        self.since.store(since, Ordering::Relaxed);
    }
}

impl Default for BucketActivity {
    fn default() -> Self {
        Self::EMPTY
    }
}

/// Length of the table of what came to each member, by member number: a power of two above all of them, so that no bound is
/// checked.
pub const ARRIVALS: usize = 64;

const _: () = assert!(ARRIVALS.is_power_of_two() && ARRIVALS > MEMBERS);

/// Counts that buckets came to a member; 0 is none. What left is not counted: it came, and is not carried.
#[inline(always)]
pub(super) fn came(arrivals: &mut [u64; ARRIVALS], to: u8, buckets: u32) {
    if let Some(count) = arrivals.get_mut(usize::from(to) % ARRIVALS) {
        *count = count.wrapping_add(buckets.into());
    }
}

const UNIT_SHIFT: u32 = 4;
/// By how much, in units, the clock of another processor may be ahead of the caller's.
const AHEAD_MAX: u32 = 1 << 16;

/// This bit of the owner's byte is set while the bucket waits to move voluntarily.
pub(super) const WAITING: u8 = 0x80;

/// The table that packets read.
pub struct Table<S: Storage> {
    pub(super) owners: S::Of<u8>,
    pub(super) stamps: S::Of<BucketActivity>,
    pub(super) arrivals: S::Of<u64>,
    pub(super) pace: RebalanceTimers,
    pub(super) made_for: MadeFor,
    /// When it was put in place, in units of `BucketActivity`.
    pub(super) put_at: u32,
}

/// What a table was computed from, and how far.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct MadeFor {
    pub carriers: Carriers,
    pub weights: Weights,
    /// Buckets that wait.
    pub waiting: u32,
    /// Since when all of them wait, if it is the same for all: then their stamps do not say it.
    pub waiting_since: Option<u32>,
    /// The first bucket that the last walk did not compute, because one call may not take longer.
    pub left_at: Option<usize>,
}

impl MadeFor {
    pub const fn moving(&self) -> bool {
        self.waiting != 0 || self.left_at.is_some()
    }
}

impl<S: Storage> Table<S> {
    /// The first two slices are `BUCKETS` long, the last one `ARRIVALS`.
    pub fn new(
        mut owners: S::Of<u8>,
        stamps: S::Of<BucketActivity>,
        arrivals: S::Of<u64>,
        pace: RebalanceTimers,
    ) -> Self {
        owners.fill(0);
        Self { owners, stamps, arrivals, pace, made_for: MadeFor::default(), put_at: 0 }
    }

    /// The member that carries the bucket: a live one, or none when no member is live.
    #[inline]
    pub fn lookup(&self, bucket: Bucket) -> Option<MemberIndex> {
        MemberIndex::new(self.owners.get(bucket.index())? & !WAITING)
    }

    /// The same for a packet: if the bucket waits to move, its time of last use is recorded.
    #[inline(always)]
    pub fn choose(&self, bucket: Bucket, now: Ticks) -> Option<MemberIndex> {
        let owner = *self.owners.get(bucket.index())?;
        if owner & WAITING != 0
            && let Some(stamp) = self.stamps.get(bucket.index())
        {
            stamp.last.store(units(now), Ordering::Relaxed);
        }
        MemberIndex::new(owner & !WAITING)
    }

    /// Whether `settle` has work: a bucket waits to move, or a walk has not been completed.
    pub const fn moving(&self) -> bool {
        self.made_for.moving()
    }

    pub const fn rebalance_timers(&self) -> RebalanceTimers {
        self.pace
    }

    pub fn set_rebalance_timers(&mut self, pace: RebalanceTimers) {
        self.pace = pace;
    }

    pub const fn live(&self) -> MemberSet {
        self.made_for.carriers.live
    }

    /// The member of every bucket, 0 = none.
    pub fn owners(&self) -> impl Iterator<Item = u8> {
        self.owners.iter().map(|owner| owner & !WAITING)
    }

    /// Buckets by member slot.
    pub fn counts(&self) -> [u16; MEMBERS] {
        let mut counts = [0_u16; MEMBERS];
        for member in self.owners().filter_map(MemberIndex::new) {
            if let Some(count) = counts.get_mut(member.slot()) {
                *count = count.saturating_add(1);
            }
        }
        counts
    }

    /// Buckets that came to a member since the table was made; those that came when no member had them count. What it does
    /// not carry of them has left it.
    pub fn came(&self, member: MemberIndex) -> u64 {
        self.arrivals.get(usize::from(member.get())).copied().unwrap_or(0)
    }

    /// Moves the waiting buckets of a part of the table that are idle or late, while no packet is on its way to a member.
    #[inline(never)] // not below what its caller calls next
    pub fn settle(&mut self, home: &[u8], now: Ticks, part: Range<usize>) -> Moved {
        self.settle_at(home, &Clock::new(now, self.pace), part)
    }

    /// Moves all of them without waiting.
    pub fn settle_at_once(&mut self, home: &[u8], now: Ticks) -> Moved {
        let at_once = RebalanceTimers { gap: Ticks::ZERO, deadline: None };
        self.settle_at(home, &Clock::new(now, at_once), 0..self.owners.len())
    }

    fn settle_at(&mut self, home: &[u8], clock: &Clock, part: Range<usize>) -> Moved {
        let mut moved = Moved::default();
        let Self { owners, stamps, arrivals, made_for, put_at, .. } = self;
        let (carriers, waiting_since) = (made_for.carriers, made_for.waiting_since);
        let mut lending = Lending::among(carriers.borrowers, &made_for.weights);
        let (Some(owners), Some(stamps), Some(homes), Some(arrivals)) = (
            owners.get_mut(part.clone()),
            stamps.get(part.clone()),
            home.get(part.clone()),
            arrivals.first_chunk_mut(),
        ) else {
            return moved;
        };
        let is_settled = clock.is_idle(*put_at);
        for (number, ((owner, stamp), &home)) in (part.start..).zip(owners.iter_mut().zip(stamps).zip(homes))
        {
            if *owner & WAITING == 0 {
                continue;
            }
            let is_idle = is_settled && clock.is_idle(stamp.last.load(Ordering::Relaxed));
            let since = || waiting_since.unwrap_or_else(|| stamp.since.load(Ordering::Relaxed));
            if (is_idle || clock.is_late(since()))
                && let Some(target) =
                    if carriers.at_home.has_number(home) { Some(home) } else { lending.borrower(number) }
            {
                // `target` is another member than the present one: the table was made so.
                came(arrivals, target, 1);
                *owner = target;
                moved.idle = moved.idle.wrapping_add(u32::from(is_idle));
                moved.deadline_moves = moved.deadline_moves.wrapping_add(u32::from(!is_idle));
            }
        }
        let gone = moved.idle.wrapping_add(moved.deadline_moves);
        made_for.waiting = made_for.waiting.saturating_sub(gone);
        moved.waiting = made_for.waiting;
        moved
    }
}

/// The time of a walk and the limits that it is compared with, in units of `BucketActivity`.
pub(super) struct Clock {
    pub now: u32,
    /// A bucket that was not used for longer than this is idle: the gap, and 2 units for what rounding hides.
    gap: u32,
    /// There is no gap: buckets move at once.
    pub at_once: bool,
    /// A bucket that has waited this long moves although it is busy.
    deadline: Option<u32>,
}

impl Clock {
    /// A bucket begins to wait. Packets write to it only once they find it waiting.
    #[inline]
    pub fn begin(&self, stamp: &BucketActivity) {
        stamp.used_at(self.now);
        stamp.wait_since(self.now);
    }

    pub fn new(now: Ticks, timers: RebalanceTimers) -> Self {
        let (gap, at_once) = (units(timers.gap).saturating_add(2), timers.gap == Ticks::ZERO);
        Self { now: units(now), gap, at_once, deadline: timers.deadline.map(units) }
    }

    const fn is_idle(&self, last: u32) -> bool {
        let elapsed = self.now.wrapping_sub(last);
        self.at_once || (elapsed > self.gap && elapsed < u32::MAX.wrapping_sub(AHEAD_MAX))
    }

    fn is_late(&self, since: u32) -> bool {
        self.deadline.is_some_and(|deadline| self.now.wrapping_sub(since) >= deadline)
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "stamps wrap after 1.9 hours; deadlines are at most ten minutes"
)]
#[inline]
pub(super) const fn units(ticks: Ticks) -> u32 {
    (ticks.get() >> UNIT_SHIFT) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Times are rounded to 1.6 us, which never makes a bucket idle before the gap has passed.
    #[test]
    fn a_bucket_is_idle_only_after_more_than_the_gap() {
        let timers = RebalanceTimers { gap: Ticks::from_us(500), deadline: None };
        let is_idle = |last, now| {
            let clock = Clock::new(Ticks::new(now), timers);
            clock.is_idle(last)
        };
        for start in [0, 7, 15, 16, u64::from(u32::MAX) * 16, 1 << 60] {
            let last = units(Ticks::new(start));
            for after in 0..=5_000 {
                assert!(!is_idle(last, start + after), "{start} {after}");
            }
            assert!(is_idle(last, start + 5_000 + 80));
        }
    }
}
