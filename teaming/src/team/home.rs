//! The home map: which member every bucket belongs to, a pure function of the members' weights.
//!
//! As Maglev does: in weighted turns each member claims the next free bucket of its own preference, so every count is
//! within one of the member's exact share, and a change of one weight moves little else. A map takes over a million
//! instructions, more than a handler may spend at DISPATCH_LEVEL: it is made in steps, beside the one that is in use.

use crate::flow::hash::mix;
use crate::ids::{BUCKETS, MEMBERS, MemberIndex};

/// Member weights by slot; 0 = not in the team.
pub type Weights = [u32; MEMBERS];

/// Changes when the same members and weights would give another home map; saved with run-time state.
pub const HOME_MAP_VERSION: u16 = 1;

/// Fills `home` (`BUCKETS` long) with members by weight, all at once. All weights 0: all 0.
pub fn fill_home(home: &mut [u8], weights: &Weights) {
    let mut building = Building::DONE;
    building.want(weights);
    building.advance(home, usize::MAX);
}

/// The number of members. The lower bits of a credit say whose it is.
#[expect(clippy::cast_possible_truncation, reason = "32")]
const WHOSE: i32 = MEMBERS as i32;
/// Credit of one turn.
#[expect(clippy::cast_possible_truncation, reason = "4,096")]
const TURN: i32 = BUCKETS as i32 * WHOSE;
/// Less than any credit of a member that has turns.
const NEVER: i32 = i32::MIN / 2;
/// Cost of one turn, and of looking at one bucket, in the unit of `advance`.
const TURN_COST: usize = 8;
const LOOK_COST: usize = 2;

/// A home map being made.
#[derive(Debug, Clone, Copy)]
pub struct Building {
    /// Credits times `MEMBERS`, plus what makes the lowest slot win among equals.
    credits: [i32; MEMBERS],
    /// What a credit grows by in each turn.
    shares: [i32; MEMBERS],
    preferences: [Preference; MEMBERS],
    weights: Weights,
    has_begun: bool,
    /// Buckets without a member.
    left: usize,
}

impl Building {
    /// Nothing is being made.
    pub const DONE: Self = Self {
        credits: [NEVER; MEMBERS],
        shares: [0; MEMBERS],
        preferences: [Preference::NONE; MEMBERS],
        weights: [0; MEMBERS],
        has_begun: false,
        left: 0,
    };

    /// The map is whole.
    pub const fn is_done(&self) -> bool {
        self.has_begun && self.left == 0
    }

    /// The map of these weights is wanted; the next step begins it.
    pub const fn want(&mut self, weights: &Weights) {
        self.weights = *weights;
        self.has_begun = false;
    }

    /// It is, or becomes, the map of these weights.
    pub fn is_of(&self, weights: &Weights) -> bool {
        self.weights == *weights
    }

    /// A map was begun and not put in place yet.
    pub fn is_under_way(&self) -> bool {
        self.weights != [0; MEMBERS]
    }

    /// Goes on with a map (`BUCKETS` long) for about that much work; a turn is `TURN_COST`, a bucket looked at `LOOK_COST`,
    /// which is some 15 instructions.
    pub fn advance(&mut self, home: &mut [u8], mut work: usize) {
        if !self.has_begun {
            self.begin(home);
        }
        while self.left != 0 && work != 0 {
            let looks = self.turn(home);
            self.left = self.left.wrapping_sub(1);
            work = work.saturating_sub(looks.saturating_mul(LOOK_COST).saturating_add(TURN_COST));
        }
    }

    fn begin(&mut self, home: &mut [u8]) {
        home.fill(0);
        self.credits.fill(NEVER);
        self.shares.fill(0);
        (self.has_begun, self.left) = (true, 0);
        let quotas = quotas(&self.weights);
        for (slot, &quota) in quotas.iter().enumerate().filter(|(_, quota)| **quota != 0) {
            let Some(member) = MemberIndex::from_slot(slot) else { continue };
            let whose = i32::try_from(MEMBERS.wrapping_sub(1).wrapping_sub(slot)).unwrap_or(0);
            put(&mut self.credits, slot, whose);
            put(&mut self.shares, slot, i32::from(quota).wrapping_mul(WHOSE));
            put(&mut self.preferences, slot, Preference::of(member));
            self.left = BUCKETS;
        }
    }

    /// Smooth weighted turns: in `BUCKETS` turns each member gets exactly its quota, evenly spread. Whoever's turn it is
    /// claims a bucket. Gives how many it looked at.
    fn turn(&mut self, home: &mut [u8]) -> usize {
        let mut richest = NEVER;
        for (credit, &share) in self.credits.iter_mut().zip(&self.shares) {
            *credit = credit.wrapping_add(share);
            richest = richest.max(*credit);
        }
        let whose = usize::try_from(richest).map_or(0, |richest| richest) & (MEMBERS - 1);
        let slot = MEMBERS.wrapping_sub(1).wrapping_sub(whose);
        let (Some(credit), Some(preference), Some(member)) =
            (self.credits.get_mut(slot), self.preferences.get_mut(slot), MemberIndex::from_slot(slot))
        else {
            return 0;
        };
        *credit = credit.wrapping_sub(TURN);
        for looks in 1..=BUCKETS {
            let bucket = usize::from(preference.next());
            if let Some(owner) = home.get_mut(bucket).filter(|owner| **owner == 0) {
                *owner = member.get();
                return looks;
            }
        }
        BUCKETS
    }
}

fn put<T>(all: &mut [T; MEMBERS], slot: usize, value: T) {
    if let Some(place) = all.get_mut(slot) {
        *place = value;
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

/// The order in which a member wants the buckets: a permutation of all of them that depends on the member alone.
#[derive(Debug, Clone, Copy)]
struct Preference {
    keys: [u16; 4],
    /// How many it has looked at.
    rank: u16,
}

impl Preference {
    const NONE: Self = Self { keys: [0; 4], rank: 0 };

    fn of(member: MemberIndex) -> Self {
        let keys = mix(
            u64::from(member.get()).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x2d35_8dcc_aa6c_78a5,
            0xa076_1d64_78bd_642f,
        );
        let [a0, a1, b0, b1, c0, c1, d0, d1] = keys.to_le_bytes();
        let word = |low, high| u16::from_le_bytes([low, high]);
        Self { keys: [word(a0, a1) | 1, word(b0, b1), word(c0, c1) | 1, word(d0, d1)], rank: 0 }
    }

    fn next(&mut self) -> u16 {
        const MASK: u16 = 0x0fff;
        let [a, b, c, d] = self.keys;
        let rank = self.rank;
        self.rank = rank.wrapping_add(1);
        // Odd multipliers, additions and shifted xors each permute the 12-bit numbers.
        let mut choice = rank.wrapping_mul(a).wrapping_add(b) & MASK;
        choice ^= choice >> 6;
        choice = choice.wrapping_mul(c).wrapping_add(d) & MASK;
        choice ^= choice >> 5;
        choice.wrapping_mul(a ^ 0x0a5a).wrapping_add(c) & MASK
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_member_prefers_every_bucket_once() {
        for member in (1..=32).filter_map(MemberIndex::new) {
            let mut preference = Preference::of(member);
            let choices: HashSet<u16> = (0..BUCKETS).map(|_| preference.next()).collect();
            assert_eq!(choices.len(), BUCKETS);
        }
    }

    #[test]
    fn a_map_made_in_steps_of_any_size_is_the_same() {
        let mut weights = [0; MEMBERS];
        weights[..5].copy_from_slice(&[10_000, 25_000, 1_000, 40_000, 10_000]);
        let mut whole = [0; BUCKETS];
        fill_home(&mut whole, &weights);
        for work in [1, 100, 7_777, 100_000] {
            let (mut building, mut home) = (Building::DONE, [9; BUCKETS]);
            building.want(&weights);
            let mut steps = 0;
            while !building.is_done() {
                building.advance(&mut home, work);
                steps += 1;
            }
            assert_eq!(home, whole);
            assert!(work > 8 || steps == BUCKETS, "{steps} steps");
        }
    }

    #[test]
    fn no_turn_looks_at_many_buckets() {
        for count in [1, 2, 32] {
            let mut weights = [0; MEMBERS];
            weights[..count].fill(1_000);
            let (mut building, mut home) = (Building::DONE, [0; BUCKETS]);
            building.want(&weights);
            building.begin(&mut home);
            let mut most = 0;
            while !building.is_done() {
                most = most.max(building.turn(&mut home));
                building.left -= 1;
            }
            assert!(most <= 2_000, "{count} members: {most}");
        }
    }
}
