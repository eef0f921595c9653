//! Which members carry traffic: the roles and priorities that an administrator has set, applied to the members that can.
//!
//! As many carry as have the role `Active`, or as `MinimumLinks` asks for, if that many can. Members that can are taken in
//! one order: the role `Active` first, then the higher priority, then the lower number. So a standby member carries only
//! while one before it cannot. Whether a member that failed takes its place again from a stand-in, `Failback` says.

use core::cmp::Reverse;

use crate::ids::{MEMBERS, MemberIndex, MemberSet};
use crate::team::home::Weights;
use crate::team::member::{Member, MemberState, Role};

/// Whether a member that failed and is back takes the place of a member that stands in for it. Where a place is free it is
/// taken whatever this says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Failback {
    #[default]
    Always,
    /// Only if its priority is higher.
    Better,
    /// It waits until the stand-in fails.
    Never,
}

/// What an administrator asks of the team as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CarrierRules {
    pub failback: Failback,
    /// So many members carry traffic, if they can; 0 counts as 1.
    pub minimum_links: u32,
}

/// Which members may have buckets of flows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Carriers {
    /// They may keep what they have: no packet is assigned to any other member.
    pub live: MemberSet,
    /// Of these, those that get the buckets of which they are the home; the others hand over what they have, and rest.
    pub at_home: MemberSet,
    /// Of these, those that get the buckets whose home is not among them.
    pub borrowers: MemberSet,
}

impl Carriers {
    /// All of them carry, without roles.
    pub const fn all(live: MemberSet) -> Self {
        Self { live, at_home: live, borrowers: live }
    }

    /// No role makes a difference now.
    pub fn are_plain(&self) -> bool {
        *self == Self::all(self.live)
    }
}

/// Who is taken first: the larger one.
fn rank(members: &[Member], index: MemberIndex) -> (bool, u8, Reverse<u8>) {
    let settings = members.get(index.slot()).map(|member| member.settings).unwrap_or_default();
    (settings.role == Role::Active, settings.priority, Reverse(index.get()))
}

#[inline(never)] // called from several places
fn first(members: &[Member], of: MemberSet) -> Option<MemberIndex> {
    of.iter().max_by_key(|&index| rank(members, index))
}

#[inline(never)] // likewise
fn last(members: &[Member], of: MemberSet) -> Option<MemberIndex> {
    of.iter().min_by_key(|&index| rank(members, index))
}

/// What the members are now, found in one pass.
#[derive(Debug, Clone, Copy, Default)]
pub struct Standing {
    /// Up, and not out of service.
    able: MemberSet,
    pub up: MemberSet,
    pub connected: MemberSet,
    /// Created, with the role `Active`.
    active: MemberSet,
    /// Frames can arrive on them.
    pub receiving: MemberSet,
}

impl Standing {
    #[inline(never)] // a frame of its own
    pub fn of(members: &[Member]) -> Self {
        let mut standing = Self::default();
        for (slot, member) in members.iter().enumerate().filter(|(_, member)| member.state.is_created()) {
            let Some(index) = MemberIndex::from_slot(slot) else { continue };
            for (set, belongs) in [
                (&mut standing.able, member.is_able()),
                (&mut standing.up, member.state == MemberState::Active),
                (&mut standing.connected, member.state.is_connected()),
                (&mut standing.active, member.settings.role == Role::Active),
                (&mut standing.receiving, member.is_receiving()),
            ] {
                *set = if belongs { set.with(index) } else { *set };
            }
        }
        standing
    }

    /// How many members are to carry.
    fn wanted(&self, rules: &CarrierRules) -> u32 {
        self.active.len().max(rules.minimum_links).max(1)
    }
}

/// The members that are to carry now; `before` are those that did. `members` is `MEMBERS` long.
#[inline(never)] // a frame of its own
pub fn choose(members: &[Member], standing: &Standing, before: MemberSet, rules: &CarrierRules) -> MemberSet {
    let wanted = standing.wanted(rules);
    let mut chosen = before.intersection(standing.able);
    let mut waiting = standing.able.minus(chosen);
    if chosen.len().saturating_add(waiting.len()) <= wanted {
        return standing.able;
    }
    while let Some(next) = first(members, waiting) {
        waiting = waiting.without(next);
        if chosen.len() < wanted {
            chosen = chosen.with(next);
        } else if let Some(other) = last(members, chosen)
            && takes_place(members, next, other, rules.failback)
        {
            chosen = chosen.without(other).with(next);
        }
    }
    while chosen.len() > wanted
        && let Some(other) = last(members, chosen)
    {
        chosen = chosen.without(other);
    }
    chosen
}

/// Whether a member takes the place of another one that carries.
fn takes_place(members: &[Member], next: MemberIndex, other: MemberIndex, failback: Failback) -> bool {
    let (next, other) = ((next, rank(members, next)), (other, rank(members, other)));
    let has_failed = members.get(next.0.slot()).is_some_and(|member| member.has_lost_place);
    next.1 > other.1
        && match failback {
            Failback::Always => true,
            Failback::Better => !has_failed || next.1.1 > other.1.1,
            Failback::Never => !has_failed,
        }
}

/// The members that are in the home map: those with the role `Active`, and as many standby members as `MinimumLinks` asks
/// for beyond them. Only connected ones.
#[inline(never)] // likewise
pub fn homes(members: &[Member], standing: &Standing, rules: &CarrierRules) -> MemberSet {
    let mut homes = standing.connected.intersection(standing.active);
    while homes.len() < rules.minimum_links.max(1)
        && let Some(next) = first(members, standing.connected.minus(homes))
    {
        homes = homes.with(next);
    }
    homes
}

/// The weights by which stand-ins and the members beside them borrow the buckets of homes that carry nothing: what each
/// lacks of its fair share. So a stand-in as fast as the member that it stands in for gets all of that one's buckets, and
/// nothing else moves. `home` has the weights in the home map, `own` gives what a member's share would be.
#[inline(never)] // rare
pub fn lending_weights(at_home: MemberSet, home: &Weights, own: impl Fn(MemberIndex) -> u32) -> Weights {
    let home_of = |index: MemberIndex| home.get(index.slot()).copied().map_or(0, u64::from);
    let homes = home.iter().fold(0_u64, |sum, &weight| sum.saturating_add(weight.into()));
    let carried = at_home.iter().fold(0_u64, |sum, index| sum.saturating_add(own(index).into()));
    // Sums of 32 numbers of 32 bits: brought below 2^32, so that their products are exact.
    let shift = (homes.max(carried) >> 31).checked_ilog2().map_or(0, |bits| bits.saturating_add(1));
    let lack = |index: MemberIndex| {
        let fair = (u64::from(own(index)) >> shift).saturating_mul(homes >> shift);
        fair.saturating_sub((home_of(index) >> shift).saturating_mul(carried >> shift))
    };
    let most = at_home.iter().map(lack).max().unwrap_or(0);
    let down = (most >> 31).checked_ilog2().map_or(0, |bits| bits.saturating_add(1));
    let mut weights = [0; MEMBERS];
    for index in at_home.iter() {
        if let Some(weight) = weights.get_mut(index.slot()) {
            *weight = u32::try_from(lack(index) >> down).unwrap_or(u32::MAX);
        }
    }
    weights
}

/// Of the members that carry, those that get the buckets of others by these weights.
pub fn borrowers(at_home: MemberSet, weights: &Weights) -> MemberSet {
    let lacking = at_home.iter().filter(|index| weights.get(index.slot()).is_some_and(|weight| *weight != 0));
    let lacking: MemberSet = lacking.collect();
    if lacking.is_empty() { at_home } else { lacking }
}
