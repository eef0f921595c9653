//! Seats: under HyperVPort whole machines are spread over the members as evenly as whole machines allow.
//!
//! A machine's bucket is the hash of its id and of a number, its *seat*. Seats are tried in order until one has a bucket
//! whose home member is the least occupied by weight. Bucket and home follow from the seat alone, so a failure moves the
//! bucket's carrier and not the seat, and a return brings everybody home. Chosen by the control side when a machine
//! arrives; packets hash the machine's `HashId` as ever.

use crate::flow;
use crate::flow::hash::Seed;
use crate::ids::{Bucket, HashId, MEMBERS, MemberIndex, Ticks};
use crate::team::home::Weights;
use core::cmp::Ordering;

/// Seats that are tried for a machine; some 5 us at worst. A member with less than one bucket in so many may be missed:
/// then the machine takes the best member that was found.
pub const TRIES: u16 = 1_024;

/// The bucket of all that a machine sends.
pub fn bucket(id: HashId, seed: Seed) -> Bucket {
    seed.hash(&flow::source_key(id)).bucket()
}

/// The members as they are when everything is well: the home of each bucket, and the weights that the map was made for.
#[derive(Debug, Clone, Copy)]
pub struct Homes<'a> {
    /// The home member of each bucket, `BUCKETS` long; 0 is none.
    pub home: &'a [u8],
    pub weights: Weights,
}

impl Homes<'_> {
    pub fn of(&self, bucket: Bucket) -> Option<MemberIndex> {
        self.home.get(bucket.index()).copied().and_then(MemberIndex::new)
    }
}

/// A seat, and the home of its bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    pub seat: u16,
    pub member: MemberIndex,
}

/// How many machines sit at each member; small, because copies of it are on the stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Occupancy([u16; MEMBERS]);

/// Machines by weight, compared without division.
#[derive(Clone, Copy)]
struct Load {
    machines: u64,
    weight: u64,
}

impl Load {
    const fn compare(self, other: Self) -> Ordering {
        let (left, right) =
            (self.machines.saturating_mul(other.weight), other.machines.saturating_mul(self.weight));
        if left < right {
            Ordering::Less
        } else if left > right {
            Ordering::Greater
        } else {
            Ordering::Equal
        }
    }
}

impl Occupancy {
    pub const EMPTY: Self = Self([0; MEMBERS]);

    pub fn at(&self, member: MemberIndex) -> u32 {
        self.0.get(member.slot()).copied().unwrap_or(0).into()
    }

    pub(crate) fn sit(&mut self, member: MemberIndex) {
        if let Some(machines) = self.0.get_mut(member.slot()) {
            *machines = machines.saturating_add(1);
        }
    }

    pub(crate) fn leave(&mut self, member: MemberIndex) {
        if let Some(machines) = self.0.get_mut(member.slot()) {
            *machines = machines.saturating_sub(1);
        }
    }

    /// Without one of the machines of a member.
    pub(crate) fn without(mut self, member: Option<MemberIndex>) -> Self {
        if let Some(member) = member {
            self.leave(member);
        }
        self
    }

    /// The load of each member with `more` machines; members without weight are left out.
    fn loads(&self, weights: &Weights, more: u64) -> impl Iterator<Item = Load> {
        let places = self.0.iter().zip(weights).filter(|(_, weight)| **weight != 0);
        places.map(move |(machines, weight)| Load {
            machines: u64::from(*machines).saturating_add(more),
            weight: (*weight).into(),
        })
    }

    fn with_one_more(&self, weights: &Weights, member: MemberIndex) -> Option<Load> {
        let weight = weights.get(member.slot()).copied().filter(|weight| *weight != 0)?;
        Some(Load { machines: self.at(member).saturating_add(1).into(), weight: weight.into() })
    }

    /// The least load that one more machine can make.
    fn least(&self, weights: &Weights) -> Option<Load> {
        self.loads(weights, 1).min_by(|left, right| left.compare(*right))
    }

    /// Whether one more machine at a member leaves it with no more machines by weight than some member has, with no more than
    /// the least loaded would get, or with no more than its share of all machines, rounded up. Among members of equal weight:
    /// it does not widen the gap beyond one.
    pub fn allows(&self, weights: &Weights, member: MemberIndex) -> bool {
        let Some(load) = self.with_one_more(weights, member) else { return false };
        let most = self.loads(weights, 0).max_by(|left, right| left.compare(*right));
        let bounds = [most, self.least(weights)];
        let is_level = bounds.into_iter().flatten().any(|bound| load.compare(bound) != Ordering::Greater);
        is_level || self.is_within_share(weights, member, load)
    }

    fn is_within_share(&self, weights: &Weights, member: MemberIndex, load: Load) -> bool {
        let all = self.loads(weights, 0).fold(Load { machines: 1, weight: 0 }, |sum, one| Load {
            machines: sum.machines.saturating_add(one.machines),
            weight: sum.weight.saturating_add(one.weight),
        });
        let before = Load { machines: self.at(member).into(), ..load };
        before.compare(all) == Ordering::Less
    }
}

/// The first seat whose bucket's home has the least (machines + 1) / weight; of `TRIES`, otherwise the best of them. `None`
/// if no bucket has a home.
pub fn choose(id: HashId, seed: Seed, homes: &Homes<'_>, occupancy: &Occupancy) -> Option<Place> {
    let least = occupancy.least(&homes.weights)?;
    let mut best: Option<(Load, Place)> = None;
    for seat in 0..TRIES {
        let Some(member) = homes.of(bucket(id.with_seat(seat), seed)) else { continue };
        let place = Place { seat, member };
        let Some(load) = occupancy.with_one_more(&homes.weights, member) else { continue };
        if load.compare(least) != Ordering::Greater {
            return Some(place);
        }
        if best.is_none_or(|(other, _)| load.compare(other) == Ordering::Less) {
            best = Some((load, place));
        }
    }
    best.map(|(_, place)| place)
}

/// Whether a machine has chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seated {
    /// Not yet.
    Open,
    /// Its seat came with its record from an equal host, and holds unless it is too crowded there.
    Brought,
    /// At the home of its seat's bucket.
    At(MemberIndex),
}

impl Seated {
    pub const fn member(self) -> Option<MemberIndex> {
        match self {
            Self::At(member) => Some(member),
            Self::Open | Self::Brought => None,
        }
    }
}

/// A member may not tell its speed. So long after the first choice its weight is taken for what it is.
const YOUNG: Ticks = Ticks::from_ms(10_000);

/// How far the choice is on a switch.
#[derive(Debug, Clone, Copy)]
pub struct Seating {
    /// The first choice, from which on machines choose when they are connected.
    since: Option<Ticks>,
    /// All have chosen by the weights of all members.
    weighed: bool,
    anew: bool,
}

impl Seating {
    pub const NEW: Self = Self { since: None, weighed: false, anew: false };

    /// Ports, NICs and the home map are known.
    pub fn begin(&mut self, now: Ticks) {
        self.since.get_or_insert(now);
    }

    pub const fn has_begun(&self) -> bool {
        self.since.is_some()
    }

    /// Another policy or seed: all are to choose anew.
    pub const fn set(&mut self) {
        self.anew = true;
    }

    /// Those whose bucket has another home are to choose, or all if they chose by weights that were guessed.
    pub fn homes_changed(&mut self, now: Ticks) {
        let is_young = self.since.is_some_and(|since| now.since(since) < YOUNG);
        self.anew |= is_young && !self.weighed;
    }

    /// All have chosen, by weights that are known.
    pub const fn chose_by_weight(&mut self) {
        self.weighed |= self.has_begun();
    }

    /// Whether all are to choose anew; the caller does that.
    pub const fn take_anew(&mut self) -> bool {
        core::mem::replace(&mut self.anew, false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_choose_anew_only_while_weights_are_guessed_and_the_choice_is_young() {
        let at = Ticks::from_ms;
        let mut seating = Seating::NEW;
        seating.homes_changed(at(1));
        seating.chose_by_weight();
        assert!(!seating.take_anew() && !seating.has_begun(), "nobody has chosen yet");
        seating.begin(at(5));
        seating.homes_changed(at(6));
        assert!(seating.take_anew() && !seating.take_anew());
        let mut weighed = seating;
        weighed.chose_by_weight();
        weighed.homes_changed(at(7));
        assert!(!weighed.take_anew(), "who sits stays");
        seating.begin(at(9_000));
        seating.homes_changed(at(10_004));
        assert!(seating.take_anew());
        seating.homes_changed(at(10_005));
        assert!(!seating.take_anew());
        weighed.set();
        assert!(weighed.take_anew(), "whatever is known");
    }
}
