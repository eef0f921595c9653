//! Packet counters, one padded block per processor; the reader adds them up. A host reads them as feature status. The
//! driver counts a list of packets to one destination as one packet, and does not count drops without a decision.

use crate::flow::Basis;
use crate::forward::decision::{Decision, Verdict};
use crate::forward::drop_reason::DropReason;
use crate::forward::express::Attempts;
use crate::forward::route::Route;
use crate::ids::{MEMBERS, MemberIndex};

/// What was sent through one member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Load {
    pub frames: u64,
    pub bytes: u64,
}

/// One processor's counters; aligned so that two processors never share a cache line.
#[derive(Debug, Clone, PartialEq, Eq)]
#[repr(C, align(64))]
pub struct Counters {
    /// Packets for one vNIC.
    pub delivered: u64,
    /// Packets for one member.
    pub uplink: u64,
    pub flooded: u64,
    /// Packets that the switch forwards itself.
    pub native: u64,
    /// Lists that were split because their packets differ in destination or VLAN, and lists whose tag came off.
    pub split: u64,
    /// Frames for which there was no room in the table of credits: their copies were delivered.
    pub unrecorded: u64,
    pub dropped: [u64; DropReason::COUNT],
    /// Packets whose member a hash chose, by what their key was made of (`flow::BASES`).
    pub bases: [u64; Basis::COUNT],
    /// What went to each member by slot, floods included.
    pub members: [Load; MEMBERS],
    /// No count, but this processor's as well.
    pub attempts: Attempts,
}

impl Default for Counters {
    fn default() -> Self {
        Self::ZERO
    }
}

impl Counters {
    pub const ZERO: Self = Self {
        delivered: 0,
        uplink: 0,
        flooded: 0,
        native: 0,
        split: 0,
        unrecorded: 0,
        dropped: [0; DropReason::COUNT],
        bases: [0; Basis::COUNT],
        members: [Load { frames: 0, bytes: 0 }; MEMBERS],
        attempts: Attempts::NONE,
    };

    /// Counts the packets of one list and what their key was made of.
    #[inline]
    pub fn count_decision(&mut self, decision: &Decision, load: Load) {
        self.count(decision.verdict, load);
        if let Some(count) = decision.basis.and_then(|basis| self.bases.get_mut(basis.index())) {
            add(count, load.frames);
        }
    }

    /// The same for a packet that took the express way; `count_express_run` is to follow.
    #[inline(always)]
    pub fn count_express(&mut self, way: Route, load: Load) {
        match way.slot() {
            None => add(&mut self.delivered, load.frames),
            Some(slot) => self.count_slot(slot, load),
        }
    }

    /// What of so many packets that took the express way has left by a member: all but those delivered since `delivered`
    /// was so.
    pub fn count_express_run(&mut self, packets: u64, delivered: u64) {
        let left = packets.wrapping_sub(self.delivered.wrapping_sub(delivered));
        add(&mut self.uplink, left);
        if let Some(count) = self.bases.get_mut(Basis::Policy.index()) {
            add(count, left);
        }
    }

    /// The same for one to which the switch then refused the destination.
    #[cold]
    #[inline(never)] // rare
    pub fn count_express_drop(&mut self, way: Route, load: Load) {
        let basis = way.member().map(|_| Basis::Policy);
        let dropped = Decision { basis, ..Decision::dropped(DropReason::NoResources) };
        self.count_decision(&dropped, load);
    }

    /// Counts packets with one verdict.
    #[inline]
    pub fn count(&mut self, verdict: Verdict, load: Load) {
        match verdict {
            Verdict::Deliver(_) => add(&mut self.delivered, load.frames),
            Verdict::Uplink(member) => {
                add(&mut self.uplink, load.frames);
                self.count_member(member, load);
            }
            Verdict::Flood { uplink } => {
                add(&mut self.flooded, load.frames);
                if let Some(member) = uplink {
                    self.count_member(member, load);
                }
            }
            Verdict::Native => add(&mut self.native, load.frames),
            Verdict::Drop(reason) | Verdict::RefusedBy(_, reason) => {
                if let Some(count) = self.dropped.get_mut(reason.index()) {
                    add(count, load.frames);
                }
            }
        }
    }

    #[inline]
    fn count_member(&mut self, member: MemberIndex, more: Load) {
        self.count_slot(member.slot(), more);
    }

    #[inline(always)]
    fn count_slot(&mut self, slot: usize, more: Load) {
        if let Some(load) = self.members.get_mut(slot) {
            add(&mut load.frames, more.frames);
            add(&mut load.bytes, more.bytes);
        }
    }

    pub fn dropped(&self, reason: DropReason) -> u64 {
        self.dropped.get(reason.index()).copied().unwrap_or(0)
    }

    pub fn based_on(&self, basis: Basis) -> u64 {
        self.bases.get(basis.index()).copied().unwrap_or(0)
    }

    /// Adds another processor's counters.
    pub fn merge(&mut self, other: &Self) {
        add(&mut self.delivered, other.delivered);
        add(&mut self.uplink, other.uplink);
        add(&mut self.flooded, other.flooded);
        add(&mut self.native, other.native);
        add(&mut self.split, other.split);
        add(&mut self.unrecorded, other.unrecorded);
        for (count, more) in self.dropped.iter_mut().zip(&other.dropped) {
            add(count, *more);
        }
        for (count, more) in self.bases.iter_mut().zip(&other.bases) {
            add(count, *more);
        }
        for (load, more) in self.members.iter_mut().zip(&other.members) {
            add(&mut load.frames, more.frames);
            add(&mut load.bytes, more.bytes);
        }
    }
}

#[inline]
fn add(count: &mut u64, more: u64) {
    *count = count.wrapping_add(more);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::BASES;
    use crate::forward::drop_reason::DROP_REASONS;
    use crate::ids::{NicId, NicIndex, PortId};

    fn one_frame(bytes: u64) -> Load {
        Load { frames: 1, bytes }
    }

    #[test]
    fn merged_counters_are_the_sum_of_both() {
        let member = MemberIndex::new(32).unwrap();
        let station = NicId::new(PortId::new(5), NicIndex::DEFAULT);
        let mut verdicts = std::vec![
            Verdict::Deliver(station),
            Verdict::Uplink(member),
            Verdict::Flood { uplink: Some(member) },
            Verdict::Flood { uplink: None },
            Verdict::Native,
        ];
        verdicts.extend(DROP_REASONS.map(Verdict::Drop));
        let (mut one, mut two, mut both) = (Counters::ZERO, Counters::ZERO, Counters::ZERO);
        for (number, &verdict) in verdicts.iter().enumerate() {
            let part = if number % 2 == 0 { &mut one } else { &mut two };
            part.count(verdict, one_frame(100));
            both.count(verdict, one_frame(100));
        }
        for (number, basis) in BASES.into_iter().enumerate() {
            assert_eq!(basis.index(), number);
            let decision = Decision { basis: Some(basis), ..Decision::new(Verdict::Native) };
            if number % 2 == 0 { &mut one } else { &mut two }.count_decision(&decision, one_frame(0));
            both.count_decision(&decision, one_frame(0));
        }
        (one.unrecorded, two.unrecorded, both.unrecorded) = (1, 1, 2);
        one.split = 3;
        two.split = 4;
        both.split = 7;
        one.merge(&two);
        assert_eq!(one, both);
        assert_eq!((both.delivered, both.uplink, both.flooded, both.native), (1, 1, 2, 9));
        assert_eq!(both.members[31], Load { frames: 2, bytes: 200 });
        assert!(BASES.iter().all(|&basis| both.based_on(basis) == 1));
        assert!(DROP_REASONS.iter().all(|&reason| both.dropped(reason) == 1));
    }

    #[test]
    fn two_processors_never_share_a_cache_line() {
        assert_eq!(core::mem::align_of::<Counters>(), 64);
        assert_eq!(core::mem::size_of::<Counters>() % 64, 0);
    }
}
