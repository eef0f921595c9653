//! The distribution table: which member carries which bucket of flows.
//!
//! Every bucket has a *home*, a pure function of the members and their weights. While its home is dead a bucket is
//! *lent* to a live member by weighted rendezvous, a pure function too; so where a bucket belongs never depends on
//! history, and after any failures the table ends bit-identical once all are back. A bucket leaves a dead member
//! at once. A bucket that could stay where it is but belongs elsewhere moves *voluntarily*: only after it was idle
//! longer than the flowlet gap, or when a stated deadline has passed, which is counted as risky.
//!
//! Owned by `forward` (under the write lock; readers look up under the read lock); the home map is built by `team`.

use core::hint::select_unpredictable;
use core::sync::atomic::{AtomicU32, Ordering};

use crate::Storage;
use crate::flow::hash::mix;
use crate::ids::{BUCKETS, Bucket, MEMBERS, MemberIndex, MemberSet, Ticks};

/// Changes when the same members and weights would give another home map; saved with run-time state.
pub const HOME_MAP_VERSION: u16 = 1;

/// Member weights by slot; 0 = not in the team.
pub type Weights = [u32; MEMBERS];

/// What the table is brought in line with.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    pub live: MemberSet,
    pub weights: &'a Weights,
    /// The home map of just these weights.
    pub home: &'a [u8],
}

/// When voluntary moves happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RebalanceTimers {
    /// A bucket must have been idle longer than this; zero moves at once.
    pub gap: Ticks,
    /// A bucket that waited this long moves although it is busy; none waits for ever.
    pub deadline: Option<Ticks>,
}

/// Buckets that one call moved, and those that still wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Moved {
    /// From a member that is not live.
    pub forced: u32,
    /// Voluntarily, in a gap.
    pub idle: u32,
    /// Voluntarily, at the deadline, though busy: packets may be overtaken.
    pub deadline_moves: u32,
    pub waiting: u32,
}

/// When a waiting bucket was last used and since when it waits, in units of 1.6 us, wrapping.
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

const UNIT_SHIFT: u32 = 4;
/// Readers on other processors may be this far ahead of the caller's clock.
const AHEAD_MAX: u32 = 1 << 16;

/// Set in an owner's octet while the bucket waits to move voluntarily.
const WAITING: u8 = 0x80;

pub struct Table<S: Storage> {
    owners: S::Of<u8>,
    stamps: S::Of<BucketActivity>,
    pace: RebalanceTimers,
    waiting: u32,
    live: MemberSet,
    weights: Weights,
}

impl<S: Storage> Table<S> {
    /// Both slices are `BUCKETS` long.
    pub fn new(mut owners: S::Of<u8>, stamps: S::Of<BucketActivity>, pace: RebalanceTimers) -> Self {
        owners.fill(0);
        Self { owners, stamps, pace, waiting: 0, live: MemberSet::EMPTY, weights: [0; MEMBERS] }
    }

    /// The member that carries the bucket: a live one, or none when no member is live.
    #[inline]
    pub fn lookup(&self, bucket: Bucket) -> Option<MemberIndex> {
        MemberIndex::new(self.owners.get(bucket.index())? & !WAITING)
    }

    /// `lookup` for a packet: a bucket that waits to move notes that it was used.
    #[inline]
    pub fn choose(&self, bucket: Bucket, now: Ticks) -> Option<MemberIndex> {
        let owner = *self.owners.get(bucket.index())?;
        if owner & WAITING != 0
            && let Some(stamp) = self.stamps.get(bucket.index())
        {
            stamp.last.store(units(now), Ordering::Relaxed);
        }
        MemberIndex::new(owner & !WAITING)
    }

    /// Some bucket waits to move: `settle` has work.
    pub const fn moving(&self) -> bool {
        self.waiting != 0
    }

    pub const fn rebalance_timers(&self) -> RebalanceTimers {
        self.pace
    }

    pub fn set_rebalance_timers(&mut self, pace: RebalanceTimers) {
        self.pace = pace;
    }

    pub const fn live(&self) -> MemberSet {
        self.live
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

    /// Brings the table in line with a new view: no bucket is with a dead member after it.
    pub fn publish(&mut self, view: &View<'_>, now: Ticks) -> Moved {
        // When members only died (equal weights mean an equal home map), a bucket whose owner lives is where it
        // belongs: rendezvous among fewer has the same winner. Failover then looks closer at the dead member's buckets
        // alone.
        let only_deaths = !self.moving() && view.live.is_subset(self.live) && *view.weights == self.weights;
        self.live = view.live;
        self.weights = *view.weights;
        let live = view.live;
        self.walk(view.home, now, |owner| {
            !(only_deaths && MemberIndex::new(owner).is_some_and(|m| live.contains(m)))
        })
    }

    /// Does the voluntary moves that are due.
    pub fn settle(&mut self, home: &[u8], now: Ticks) -> Moved {
        if !self.moving() {
            return Moved::default();
        }
        self.walk(home, now, |owner| owner & WAITING != 0)
    }

    /// Moves every bucket that `concerns` picks by its owner's octet.
    fn walk(&mut self, home: &[u8], now: Ticks, concerns: impl Fn(u8) -> bool) -> Moved {
        let mut moved = Moved::default();
        let lending = Lending::among(self.live, &self.weights);
        let buckets = self.owners.iter_mut().zip(self.stamps.iter_mut()).zip(home);
        for (number, ((owner, stamp), &home)) in (0_u16..).zip(buckets) {
            if concerns(*owner) {
                let target = target(number, home, self.live, lending);
                *owner = step(*owner, target, stamp, self.live, self.pace, now, &mut moved);
            }
        }
        self.waiting = moved.waiting;
        moved
    }
}

/// One bucket, one decision: the new owner's octet.
fn step(
    owner: u8,
    target: u8,
    stamp: &mut BucketActivity,
    live: MemberSet,
    pace: RebalanceTimers,
    now: Ticks,
    moved: &mut Moved,
) -> u8 {
    let current = owner & !WAITING;
    let count = if current == target {
        return target;
    } else if !MemberIndex::new(current).is_some_and(|member| live.contains(member)) {
        &mut moved.forced
    } else if pace.gap == Ticks::ZERO {
        &mut moved.idle
    } else if owner & WAITING == 0 {
        *stamp.last.get_mut() = units(now);
        stamp.since = units(now);
        moved.waiting = moved.waiting.saturating_add(1);
        return current | WAITING;
    } else if is_idle(*stamp.last.get_mut(), pace.gap, now) {
        &mut moved.idle
    } else if pace.deadline.is_some_and(|deadline| units(now).wrapping_sub(stamp.since) >= units(deadline)) {
        &mut moved.deadline_moves
    } else {
        moved.waiting = moved.waiting.saturating_add(1);
        return owner;
    };
    *count = count.saturating_add(1);
    target
}

/// Idle for longer than the gap whatever the rounding to units hides.
fn is_idle(last: u32, gap: Ticks, now: Ticks) -> bool {
    let elapsed = units(now).wrapping_sub(last);
    elapsed > units(gap).saturating_add(2) && elapsed < u32::MAX.wrapping_sub(AHEAD_MAX)
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "stamps wrap after 1.9 hours; deadlines are at most ten minutes"
)]
#[inline]
const fn units(ticks: Ticks) -> u32 {
    (ticks.get() >> UNIT_SHIFT) as u32
}

/// Where a bucket belongs: home, else lent, else nowhere.
fn target(bucket: u16, home: u8, live: MemberSet, lending: Lending<'_>) -> u8 {
    match MemberIndex::new(home) {
        Some(member) if live.contains(member) => home,
        _ => lend(bucket, live, lending),
    }
}

/// How live members bid for a bucket whose home is dead. Both ways agree where weights are equal, so a team whose
/// last unlike member dies lends on as before.
#[derive(Clone, Copy)]
enum Lending<'a> {
    /// Equal weights: the largest random number wins.
    Alike,
    /// The smallest -log2(random) / weight wins.
    Weighted(&'a Weights),
}

impl<'a> Lending<'a> {
    fn among(live: MemberSet, weights: &'a Weights) -> Self {
        let mut those = live.iter().map(|member| weight_of(member, weights));
        let first = those.next();
        if those.all(|weight| Some(weight) == first) { Self::Alike } else { Self::Weighted(weights) }
    }
}

/// Rendezvous: the member whose bid for the bucket is best, whoever else is there.
fn lend(bucket: u16, live: MemberSet, lending: Lending<'_>) -> u8 {
    let mut members = live.iter();
    let Some(first) = members.next() else { return 0 };
    let (mut best, mut best_random) = (first.get(), random(bucket, first));
    // Who wins is random: no branch could be predicted.
    match lending {
        Lending::Alike => {
            for member in members {
                let random = random(bucket, member);
                let wins = random > best_random;
                best = select_unpredictable(wins, member.get(), best);
                best_random = select_unpredictable(wins, random, best_random);
            }
        }
        Lending::Weighted(weights) => {
            let (mut best_cost, mut best_weight) = (negative_log2(best_random), weight_of(first, weights));
            for member in members {
                let random = random(bucket, member);
                let (cost, weight) = (negative_log2(random), weight_of(member, weights));
                // Quotients compared by cross multiplication; costs are below 2^23 and weights below 2^32.
                let (ours, theirs) = (cost.wrapping_mul(best_weight), best_cost.wrapping_mul(weight));
                let wins = (ours < theirs) | ((ours == theirs) & (random > best_random));
                best = select_unpredictable(wins, member.get(), best);
                best_random = select_unpredictable(wins, random, best_random);
                best_cost = select_unpredictable(wins, cost, best_cost);
                best_weight = select_unpredictable(wins, weight, best_weight);
            }
        }
    }
    best
}

fn weight_of(member: MemberIndex, weights: &Weights) -> u64 {
    weights.get(member.slot()).map_or(1, |&weight| u64::from(weight.max(1)))
}

/// A number that only bucket and member decide.
fn random(bucket: u16, member: MemberIndex) -> u64 {
    let both = u64::from(bucket) << 8 | u64::from(member.get());
    mix(both.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x4b33_a62e_d433_d4a3, 0x8bb8_4b93_962e_acc9)
}

/// -log2(value / 2^64) in 1/65536, at least 1; the polynomial is within 0.002 of the logarithm.
fn negative_log2(value: u64) -> u64 {
    let value = value | 1;
    let zeros = value.leading_zeros();
    let fraction = (value << zeros << 1) >> 48;
    let bend = (fraction.wrapping_mul(65_536_u64.wrapping_sub(fraction))) >> 16;
    let slope = 27_525_u64.wrapping_sub(fraction.wrapping_mul(10_486) >> 16);
    let log = fraction.wrapping_add(bend.wrapping_mul(slope) >> 16);
    (u64::from(zeros).wrapping_add(1) << 16).saturating_sub(log).max(1)
}

/// Fills `home` (`BUCKETS` long) with members by weight, as Maglev does: in weighted turns each member claims the next
/// free bucket of its own preference. Every count is within one of the member's exact share. All weights 0: all 0.
pub fn fill_home(home: &mut [u8], weights: &Weights) {
    home.fill(0);
    let quotas = quotas(weights);
    let mut credits = [0_i32; MEMBERS];
    let mut asked = [0_u16; MEMBERS];
    for _ in 0..BUCKETS {
        let Some(member) = next_turn(&quotas, &mut credits) else { return };
        let Some(asked) = asked.get_mut(member.slot()) else { return };
        while usize::from(*asked) < BUCKETS {
            let bucket = preference(member, *asked);
            *asked = asked.wrapping_add(1);
            if let Some(owner) = home.get_mut(usize::from(bucket)).filter(|owner| **owner == 0) {
                *owner = member.get();
                break;
            }
        }
    }
}

/// Whole buckets by weight, largest remainders first; they add up to `BUCKETS`.
fn quotas(weights: &Weights) -> [u16; MEMBERS] {
    let mut quotas = [0_u16; MEMBERS];
    let mut remainders = [0_u64; MEMBERS];
    let total = weights.iter().fold(0_u64, |sum, &weight| sum.saturating_add(u64::from(weight)));
    let mut left = BUCKETS;
    for ((quota, remainder), &weight) in quotas.iter_mut().zip(remainders.iter_mut()).zip(weights) {
        let share = u64::from(weight).saturating_mul(4096);
        let (Some(whole), Some(rest)) = (share.checked_div(total), share.checked_rem(total)) else {
            return quotas;
        };
        *quota = u16::try_from(whole).unwrap_or(0);
        *remainder = rest;
        left = left.saturating_sub(usize::from(*quota));
    }
    for _ in 0..left {
        let mut largest: Option<(&mut u16, &mut u64)> = None;
        for (quota, remainder) in quotas.iter_mut().zip(remainders.iter_mut()) {
            if largest.as_ref().is_none_or(|(_, most)| *remainder > **most) {
                largest = Some((quota, remainder));
            }
        }
        if let Some((quota, remainder)) = largest {
            *quota = quota.saturating_add(1);
            *remainder = 0;
        }
    }
    quotas
}

/// Smooth weighted turns: in `BUCKETS` turns each member gets exactly its quota, evenly spread.
fn next_turn(quotas: &[u16; MEMBERS], credits: &mut [i32; MEMBERS]) -> Option<MemberIndex> {
    let mut richest: Option<(usize, i32)> = None;
    for (slot, (credit, &quota)) in credits.iter_mut().zip(quotas).enumerate() {
        *credit = credit.saturating_add(i32::from(quota));
        if quota != 0 && richest.is_none_or(|(_, most)| *credit > most) {
            richest = Some((slot, *credit));
        }
    }
    let (slot, _) = richest?;
    let credit = credits.get_mut(slot)?;
    *credit = credit.saturating_sub(4096);
    MemberIndex::from_slot(slot)
}

/// The member's `rank`-th choice: a permutation of all buckets that depends on the member alone.
fn preference(member: MemberIndex, rank: u16) -> u16 {
    const MASK: u16 = 0x0fff;
    let keys = mix(
        u64::from(member.get()).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x2d35_8dcc_aa6c_78a5,
        0xa076_1d64_78bd_642f,
    );
    let [a0, a1, b0, b1, c0, c1, d0, d1] = keys.to_le_bytes();
    let (a, b) = (u16::from_le_bytes([a0, a1]) | 1, u16::from_le_bytes([b0, b1]));
    let (c, d) = (u16::from_le_bytes([c0, c1]) | 1, u16::from_le_bytes([d0, d1]));
    // Odd multipliers, additions and shifted xors each permute the 12-bit numbers.
    let mut choice = rank.wrapping_mul(a).wrapping_add(b) & MASK;
    choice ^= choice >> 6;
    choice = choice.wrapping_mul(c).wrapping_add(d) & MASK;
    choice ^= choice >> 5;
    choice.wrapping_mul(a ^ 0x0a5a).wrapping_add(c) & MASK
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn the_logarithm_never_rises_and_is_close() {
        let mut before = u64::MAX;
        for fraction in 0..65_536_u64 {
            let value = 1 << 63 | fraction << 47;
            let cost = negative_log2(value);
            assert!(cost <= before && cost >= 1);
            before = cost;
            let exact = 64.0 - (value as f64).log2();
            assert!((cost as f64 / 65_536.0 - exact).abs() < 0.003, "{fraction}");
        }
        assert!(
            negative_log2(1 << 62) >= negative_log2(1 << 63)
                && negative_log2(u64::MAX >> 1) >= negative_log2(1 << 63)
        );
        assert!(negative_log2(0) < 1 << 23);
    }

    #[test]
    fn equal_weights_lend_alike_whichever_way_they_are_compared() {
        let weights = [7; MEMBERS];
        for live in (2..=32).map(|count| (0..count).filter_map(MemberIndex::from_slot).collect::<MemberSet>())
        {
            for bucket in 0..4096 {
                let alike = lend(bucket, live, Lending::Alike);
                assert_eq!(lend(bucket, live, Lending::Weighted(&weights)), alike, "{bucket} {live:?}");
            }
        }
    }

    #[test]
    fn every_member_prefers_every_bucket_once() {
        for member in (1..=32).filter_map(MemberIndex::new) {
            let choices: HashSet<u16> = (0..4096).map(|rank| preference(member, rank)).collect();
            assert_eq!(choices.len(), BUCKETS);
        }
    }

    /// Stamps count 1.6 us; what the rounding hides never makes a bucket look idle too early.
    #[test]
    fn a_bucket_is_idle_only_after_more_than_the_gap() {
        let gap = Ticks::from_us(500);
        for start in [0, 7, 15, 16, u64::from(u32::MAX) * 16, 1 << 60] {
            let last = units(Ticks::new(start));
            for after in 0..=5_000 {
                assert!(!is_idle(last, gap, Ticks::new(start + after)), "{start} {after}");
            }
            assert!(is_idle(last, gap, Ticks::new(start + 5_000 + 80)));
        }
    }
}
