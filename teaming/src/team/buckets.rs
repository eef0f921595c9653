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
//! `forward` owns the table: it is changed under the write lock and read under the read lock. `team` builds the home map.

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

/// The time at which a waiting bucket was last used, and the time since which it waits. The unit is 1.6 us; both wrap.
#[derive(Debug)]
pub struct BucketActivity {
    last: AtomicU32,
    since: u32,
}

impl BucketActivity {
    #[expect(
        clippy::declare_interior_mutable_const,
        reason = "storage is filled with it, element by element"
    )]
    pub const EMPTY: Self = Self { last: AtomicU32::new(0), since: 0 };
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
fn came(arrivals: &mut [u64; ARRIVALS], to: u8, buckets: u32) {
    if let Some(count) = arrivals.get_mut(usize::from(to) % ARRIVALS) {
        *count = count.wrapping_add(buckets.into());
    }
}

const UNIT_SHIFT: u32 = 4;
/// By how much, in units, the clock of another processor may be ahead of the caller's.
const AHEAD_MAX: u32 = 1 << 16;

/// This bit of the owner's byte is set while the bucket waits to move voluntarily.
const WAITING: u8 = 0x80;

pub struct Table<S: Storage> {
    owners: S::Of<u8>,
    stamps: S::Of<BucketActivity>,
    arrivals: S::Of<u64>,
    pace: RebalanceTimers,
    waiting: u32,
    /// The first bucket that the last walk did not compute, because one call may not take longer.
    left_at: Option<usize>,
    carriers: Carriers,
    weights: Weights,
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
        Self {
            owners,
            stamps,
            arrivals,
            pace,
            waiting: 0,
            left_at: None,
            carriers: Carriers::default(),
            weights: [0; MEMBERS],
        }
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
        self.waiting != 0 || self.left_at.is_some()
    }

    pub const fn rebalance_timers(&self) -> RebalanceTimers {
        self.pace
    }

    pub fn set_rebalance_timers(&mut self, pace: RebalanceTimers) {
        self.pace = pace;
    }

    pub const fn live(&self) -> MemberSet {
        self.carriers.live
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

    /// Computes the table for a new view. Afterwards no bucket is on a member that is not live, unless there is no live one.
    /// If one call would take too long, the rest of these buckets is lent to one member, and `settle` continues.
    #[inline(never)] // not below what its caller calls next
    pub fn publish(&mut self, view: &View<'_>, now: Ticks) -> Moved {
        let died = self.live().minus(view.carriers.live);
        // Equal weights mean an equal home map.
        let only_deaths = !self.moving()
            && view.carriers.live.is_subset(self.live())
            && view.carriers.are_plain()
            && self.carriers.are_plain()
            && *view.weights == self.weights;
        self.carriers = view.carriers;
        self.weights = *view.weights;
        if view.home.first() == Some(&0) {
            self.give_all_to_one()
        } else if only_deaths {
            self.lend_out(died)
        } else {
            self.walk(view.home, now, 0)
        }
    }

    /// Assigns every bucket to one live member, because there is no home map yet.
    fn give_all_to_one(&mut self) -> Moved {
        let carrier = self.owners.first().map_or(0, |owner| *owner);
        if self.live().has_number(carrier) && self.owners.iter().all(|owner| *owner == carrier) {
            return Moved::default();
        }
        let carrier = self.carriers.at_home.iter().next().map_or(0, MemberIndex::get);
        let others = self.owners.iter().filter(|owner| **owner & !WAITING != carrier).count();
        if let Some(arrivals) = self.arrivals.first_chunk_mut() {
            came(arrivals, carrier, u32::try_from(others).unwrap_or(0));
        }
        self.owners.fill(carrier);
        (self.waiting, self.left_at) = (0, None);
        Moved { forced: u32::try_from(self.owners.len()).unwrap_or(u32::MAX), ..Moved::default() }
    }

    /// Lends the buckets of members that are no longer live. Only for a change that removes live members while no bucket
    /// waits. The other buckets stay: a bucket at its home belongs there, and a lent one keeps its member, because
    /// rendezvous among fewer members has the same winner if the winner is still there.
    fn lend_out(&mut self, died: MemberSet) -> Moved {
        let mut lending = Lending::among(self.carriers.borrowers, &self.weights);
        let mut moved = Moved::default();
        let Some(arrivals) = self.arrivals.first_chunk_mut() else { return moved };
        for dead in died.iter().map(MemberIndex::get) {
            let lent = lend_by_bids(&mut self.owners, dead, &mut lending, arrivals);
            let heaviest = lending.heaviest();
            let mut rest = 0_u32;
            for owner in self.owners.iter_mut().skip(lent.up_to).filter(|owner| **owner == dead) {
                *owner = heaviest;
                rest = rest.wrapping_add(1);
            }
            came(arrivals, heaviest, rest);
            moved.forced = moved.forced.wrapping_add(lent.buckets).wrapping_add(rest);
        }
        self.left_at = lending.left_at();
        moved
    }

    /// Continues a walk that has not been completed; if there is none, moves the waiting buckets that are idle or late.
    #[inline(never)] // likewise
    pub fn settle(&mut self, home: &[u8], now: Ticks) -> Moved {
        if let Some(from) = self.left_at {
            return self.walk(home, now, from);
        }
        let mut moved = Moved::default();
        if !self.moving() {
            return moved;
        }
        let mut lending = Lending::among(self.carriers.borrowers, &self.weights);
        let clock = Clock::new(now, self.pace);
        let Some(arrivals) = self.arrivals.first_chunk_mut() else { return moved };
        let buckets = self.owners.iter_mut().zip(self.stamps.iter_mut()).zip(home);
        for (number, ((owner, stamp), &home)) in buckets.enumerate() {
            if *owner & WAITING == 0 {
                continue;
            }
            let is_idle = clock.is_idle(*stamp.last.get_mut());
            if (is_idle || clock.is_late(stamp.since))
                && let Some(target) =
                    if self.carriers.at_home.has_number(home) { Some(home) } else { lending.borrower(number) }
            {
                // `target` is another member than the present one: the last `publish` found that.
                came(arrivals, target, 1);
                *owner = target;
                moved.idle = moved.idle.wrapping_add(u32::from(is_idle));
                moved.deadline_moves = moved.deadline_moves.wrapping_add(u32::from(!is_idle));
            } else {
                moved.waiting = moved.waiting.wrapping_add(1);
            }
        }
        self.waiting = moved.waiting;
        moved
    }

    /// The same without waiting, while no packet is on its way to a member.
    pub fn settle_at_once(&mut self, home: &[u8], now: Ticks) -> Moved {
        let at_once = RebalanceTimers { gap: Ticks::ZERO, deadline: None };
        let pace = core::mem::replace(&mut self.pace, at_once);
        let moved = self.settle(home, now);
        self.pace = pace;
        moved
    }

    /// Computes every bucket from `from` on.
    fn walk(&mut self, home: &[u8], now: Ticks, from: usize) -> Moved {
        let Carriers { live, at_home, borrowers } = self.carriers;
        let mut lending = Lending::among(borrowers, &self.weights);
        let clock = Clock::new(now, self.pace);
        let before = self.owners.iter().take(from).filter(|owner| **owner & WAITING != 0).count();
        let mut moved = Moved { waiting: u32::try_from(before).unwrap_or(0), ..Moved::default() };
        let (Some(owners), Some(stamps)) = (self.owners.get_mut(from..), self.stamps.get_mut(from..)) else {
            return moved;
        };
        let Some(arrivals) = self.arrivals.first_chunk_mut() else { return moved };
        let homes = home.get(from..).unwrap_or_default();
        for (number, ((owner, stamp), &home)) in owners.iter_mut().zip(stamps).zip(homes).enumerate() {
            let is_home_live = at_home.has_number(home);
            // Usual case: nearly all buckets are at their home.
            if is_home_live && *owner == home {
                continue;
            }
            let current = *owner & !WAITING;
            if is_home_live && clock.at_once {
                *owner = home;
                if current != home {
                    came(arrivals, home, 1);
                    let count = if live.has_number(current) { &mut moved.idle } else { &mut moved.forced };
                    *count = count.wrapping_add(1);
                }
                continue;
            }
            let target = if is_home_live {
                home
            } else if let Some(borrower) = lending.borrower(from.wrapping_add(number)) {
                borrower
            } else if live.has_number(current) {
                current
            } else {
                lending.heaviest()
            };
            let next = if current == target {
                target
            } else if !live.has_number(current) {
                moved.forced = moved.forced.wrapping_add(1);
                target
            } else if clock.at_once {
                moved.idle = moved.idle.wrapping_add(1);
                target
            } else if clock.waits(*owner & WAITING == 0, stamp, &mut moved) {
                current | WAITING
            } else {
                target
            };
            *owner = next;
            if next & !WAITING != current {
                came(arrivals, next, 1);
            }
        }
        self.left_at = lending.left_at();
        self.waiting = moved.waiting;
        moved
    }
}

/// How many buckets of a dead member were lent by bids, and up to which bucket.
struct Lent {
    buckets: u32,
    up_to: usize,
}

/// Lends a dead member's buckets to whoever bids best, until that is too much work for one call. It is none where no two
/// members bid.
fn lend_by_bids(
    owners: &mut [u8],
    dead: u8,
    lending: &mut Lending<'_>,
    arrivals: &mut [u64; ARRIVALS],
) -> Lent {
    /// Number of buckets that are compared with one branch for all of them.
    const TOGETHER: usize = 16;
    let mut buckets = 0_u32;
    if lending.sole().is_some() {
        return Lent { buckets, up_to: 0 };
    }
    for (chunk, owners) in owners.as_chunks_mut::<TOGETHER>().0.iter_mut().enumerate() {
        if !owners.iter().fold(false, |has, owner| has | (*owner == dead)) {
            continue;
        }
        let first = chunk.wrapping_mul(TOGETHER);
        for (owner, number) in owners.iter_mut().zip(first..).filter(|(owner, _)| **owner == dead) {
            let Some(borrower) = lending.borrower(number) else { return Lent { buckets, up_to: number } };
            *owner = borrower;
            came(arrivals, borrower, 1);
            buckets = buckets.wrapping_add(1);
        }
    }
    Lent { buckets, up_to: owners.len() }
}

/// The time of a walk and the limits that it is compared with, in units of `BucketActivity`.
struct Clock {
    now: u32,
    /// A bucket that was not used for longer than this is idle: the gap, and 2 units for what rounding hides.
    gap: u32,
    /// There is no gap: buckets move at once.
    at_once: bool,
    /// A bucket that has waited this long moves although it is busy.
    deadline: Option<u32>,
}

impl Clock {
    /// Whether a bucket that belongs to another member waits: because it begins to wait, or is neither idle nor late. Counts
    /// it.
    #[inline]
    fn waits(&self, begins: bool, stamp: &mut BucketActivity, moved: &mut Moved) -> bool {
        if begins {
            *stamp.last.get_mut() = self.now;
            stamp.since = self.now;
        } else if self.is_idle(*stamp.last.get_mut()) {
            moved.idle = moved.idle.wrapping_add(1);
            return false;
        } else if self.is_late(stamp.since) {
            moved.deadline_moves = moved.deadline_moves.wrapping_add(1);
            return false;
        }
        moved.waiting = moved.waiting.wrapping_add(1);
        true
    }

    fn new(now: Ticks, timers: RebalanceTimers) -> Self {
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
const fn units(ticks: Ticks) -> u32 {
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
