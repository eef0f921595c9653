//! Where a bucket belongs while its home is dead: to the live member whose bid for it is best (weighted rendezvous), a
//! pure function of the bucket, the live members and their weights.

use core::hint::select_unpredictable;

use crate::flow::hash::mix;
use crate::ids::{Bucket, MEMBERS, MemberIndex, MemberSet};
use crate::team::home::Weights;

/// Whom the buckets of dead members are lent to: live members bid for each.
pub(super) struct Lending<'a> {
    /// Numbers of the live members, the heaviest first; 0 after the last.
    bidders: [u8; MEMBERS],
    bidding: usize,
    weights: &'a Weights,
    by: By,
    /// Work for one bucket, and what may still be done in this walk: a unit is a bid, some 12 instructions.
    cost: u32,
    work: u32,
    /// The first bucket that was too much work.
    left_at: Option<usize>,
}

/// How bids are compared.
#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    /// Not at all: there is one live member or none.
    Nothing,
    /// Equal weights: the largest random number wins.
    Random,
    /// The smallest -log2(random) / weight wins. Agrees with the above where weights are equal, so a team whose last
    /// unlike member dies lends on as before.
    Weight,
}

/// Most work of one walk, so that it takes at most half of the 100 us that are allowed at DISPATCH_LEVEL
/// (guidelines-for-writing-dpc-routines). One member's failure in a team of equal speeds takes less, however many members
/// there are: a member of n carries 4,096/n buckets, for which n - 1 members bid, so at most 5,464 with three.
const WORK_MOST: u32 = 9_500;
/// Most work of one call that asks what a failure would ask for: nobody waits for it.
const WORK_AHEAD: u32 = 3_000;
/// Work for each bucket beside the bids.
const BUCKET_WORK: u32 = 2;

impl<'a> Lending<'a> {
    pub(super) fn among(live: MemberSet, weights: &'a Weights) -> Self {
        let mut bidders = [0; MEMBERS];
        let (mut bidding, mut lightest, mut by) = (0_usize, u64::MAX, By::Random);
        for mut number in live.iter().map(MemberIndex::get) {
            let weight = weight_of(number, weights);
            if bidding != 0 && weight != lightest {
                by = By::Weight;
            }
            // Sorted by insertion; in a team of equal weights each is the last.
            let heavier = if weight <= lightest { bidding } else { 0 };
            for place in bidders.iter_mut().take(bidding.wrapping_add(1)).skip(heavier) {
                if *place == 0 || weight_of(number, weights) > weight_of(*place, weights) {
                    core::mem::swap(place, &mut number);
                }
            }
            lightest = lightest.min(weight);
            bidding = bidding.wrapping_add(1);
        }
        if bidding <= 1 {
            by = By::Nothing;
        }
        let cost = live.len().wrapping_add(BUCKET_WORK);
        Self { bidders, bidding, weights, by, cost, work: WORK_MOST, left_at: None }
    }

    /// The same for a look ahead, which may do less in one call.
    pub(super) fn ahead(live: MemberSet, weights: &'a Weights) -> Self {
        Self { work: WORK_AHEAD, ..Self::among(live, weights) }
    }

    fn bidders(&self) -> &[u8] {
        self.bidders.get(..self.bidding).unwrap_or_default()
    }

    /// Of the heaviest members the first, or nobody (0).
    pub(super) fn heaviest(&self) -> u8 {
        self.bidders.first().map_or(0, |number| *number)
    }

    /// To whom all buckets are lent, if it is one member or nobody (0).
    pub(super) fn sole(&self) -> Option<u8> {
        (self.by == By::Nothing).then(|| self.heaviest())
    }

    /// The first bucket that was too much work.
    pub(super) fn left_at(&self) -> Option<usize> {
        self.left_at
    }

    /// The number of the member that a bucket is lent to, 0 if there is none; `None` if there was too much work already.
    #[inline(never)] // apart, so that the loops over the buckets stay short
    pub(super) fn borrower(&mut self, bucket: usize) -> Option<u8> {
        if self.by == By::Nothing {
            return Some(self.heaviest());
        }
        if !self.may_work() {
            self.left_at = Some(self.left_at.map_or(bucket, |first| first.min(bucket)));
            return None;
        }
        let bids = Bids::of(bucket);
        Some(self.best(bids, 0))
    }

    /// To whom a bucket would be lent if this member were not there, as `borrower`.
    pub(super) fn without(&mut self, member: u8, bucket: usize) -> Option<u8> {
        self.may_work().then(|| self.best(Bids::of(bucket), member))
    }

    /// Who bids best, without the bid of one member (0 is nobody).
    #[inline(always)]
    fn best(&self, bids: Bids, but: u8) -> u8 {
        if self.by == By::Weight { self.by_weight(bids, but) } else { self.by_random(bids, but) }
    }

    /// Takes the work for a bucket from what may be done.
    fn may_work(&mut self) -> bool {
        let left = self.work.checked_sub(self.cost);
        self.work = left.unwrap_or(self.work);
        left.is_some()
    }

    /// Rendezvous: the member whose bid is best, whoever else is there. Short, because it is what a failover does for each
    /// bucket of the dead member.
    #[inline(always)]
    fn by_random(&self, bids: Bids, but: u8) -> u8 {
        let (mut best, mut best_random) =
            (self.bidders().iter().copied().find(|number| *number != but).unwrap_or(0), 0);
        for &number in self.bidders() {
            let random = bids.random(number);
            // Who wins is random: no branch could be predicted.
            let wins = (random > best_random) & (number != but);
            best = select_unpredictable(wins, number, best);
            best_random = select_unpredictable(wins, random, best_random);
        }
        best
    }

    /// The same with weights, and without the bid of one member.
    #[inline(never)] // likewise: it needs more registers
    fn by_weight(&self, bids: Bids, but: u8) -> u8 {
        let (mut best, mut best_cost, mut best_weight) = (0, 0, 1);
        let mut largest = 0;
        for &number in self.bidders().iter().filter(|number| **number != but) {
            let random = bids.random(number);
            // All before are at least as heavy: only a larger random number than all of theirs can win. Few are, so
            // logarithms are rare.
            if random > largest || best == 0 {
                largest = random;
                let (cost, weight) = (negative_log2(random), weight_of(number, self.weights));
                // Quotients compared by cross multiplication; costs are below 2^23 and weights below 2^32.
                if best == 0 || cost.wrapping_mul(best_weight) <= weight.wrapping_mul(best_cost) {
                    (best, best_cost, best_weight) = (number, cost, weight);
                }
            }
        }
        best
    }
}

/// What a live member bids for a bucket whose home is dead. The least quotient of cost and weight wins, and of equal ones
/// the largest random number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bid {
    pub member: MemberIndex,
    /// A number that only bucket and member decide.
    pub random: u64,
    /// -log2(random / 2^64) in 1/65536.
    pub cost: u64,
    pub weight: u64,
}

/// The bids of these members for a bucket, in the order of their numbers. For tools.
pub fn bids(bucket: Bucket, live: MemberSet, weights: &Weights) -> impl Iterator<Item = Bid> {
    live.iter().map(move |member| {
        let random = Bids::of(bucket.index()).random(member.get());
        Bid { member, random, cost: negative_log2(random), weight: weight_of(member.get(), weights) }
    })
}

/// The weight of the member with this number, at least 1; 1 of nobody (0).
fn weight_of(number: u8, weights: &Weights) -> u64 {
    let slot = usize::from(number).wrapping_sub(1);
    weights.get(slot).map_or(1, |&weight| u64::from(weight.max(1)))
}

/// The random numbers of one bucket.
#[derive(Clone, Copy)]
struct Bids(u64);

impl Bids {
    const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

    const fn of(bucket: usize) -> Self {
        Self((bucket as u64).wrapping_mul(256).wrapping_mul(Self::SPREAD))
    }

    /// A number that only bucket and member decide.
    fn random(self, member: u8) -> u64 {
        let both = self.0.wrapping_add(u64::from(member).wrapping_mul(Self::SPREAD));
        mix(both ^ 0x4b33_a62e_d433_d4a3, 0x8bb8_4b93_962e_acc9)
    }
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

#[cfg(test)]
mod tests {
    use super::*;

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
        for count in 2..=32 {
            let live = (0..count).filter_map(MemberIndex::from_slot).collect();
            let lending = Lending::among(live, &weights);
            assert!(lending.by == By::Random);
            for bids in (0..4096).map(Bids::of) {
                assert_eq!(lending.by_weight(bids, 0), lending.by_random(bids, 0), "{count} members");
            }
        }
    }

    /// The rule taken literally: every bid of every member is weighed.
    fn lend_by_all_bids(bucket: usize, live: MemberSet, weights: &Weights) -> u8 {
        let bid = |member: MemberIndex| {
            let random = Bids::of(bucket).random(member.get());
            (u128::from(negative_log2(random)), u128::from(weight_of(member.get(), weights)), random)
        };
        let best = live.iter().min_by(|a, b| {
            let ((a, a_weight, a_random), (b, b_weight, b_random)) = (bid(*a), bid(*b));
            (a * b_weight).cmp(&(b * a_weight)).then(b_random.cmp(&a_random))
        });
        best.map_or(0, MemberIndex::get)
    }

    #[test]
    fn a_bucket_is_lent_to_the_best_bid_of_all_members_whatever_their_weights() {
        let speeds = [1_000, 2_500, 10_000, 25_000, 40_000, 100_000, 1, u32::MAX];
        for count in 2..=32 {
            let weights: Weights = std::array::from_fn(|slot| {
                speeds[(slot * 5 + count) % speeds.len()].saturating_sub(slot as u32 % 3)
            });
            let live: MemberSet = (0..count).filter_map(MemberIndex::from_slot).collect();
            let lending = Lending::among(live, &weights);
            assert!(lending.by == By::Weight);
            for bucket in 0..4096 {
                let expected = lend_by_all_bids(bucket, live, &weights);
                assert_eq!(lending.by_weight(Bids::of(bucket), 0), expected, "{bucket} of {count}");
            }
        }
    }
}
