//! What each member can do, merged into what the team can do.
//!
//! A member's capabilities are recorded when it answers a query or indicates a change. The team's are merged from the
//! members that are up and have answered, by the rules of `fields`; a field without a rule is zero in the result. The
//! caller holds the team lock.

pub mod fields;
pub mod structure;

use crate::Storage;
use crate::ids::{MEMBERS, MemberIndex, MemberSet};
use crate::offload::OffloadPlacement;
use crate::oid::Resource;
pub use fields::{Field, NIC_SWITCH, QueueMode, RECEIVE_FILTER, Rule, SRIOV, TASK_OFFLOAD};
pub use structure::{Block, CAPABILITIES, Capability, LONGEST};

/// What is known of a member's capability.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Known {
    Nothing,
    /// It answered that it has none.
    None,
    This(Block),
}

/// All capabilities of one member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemberCapabilities([Known; CAPABILITIES.len()]);

impl MemberCapabilities {
    pub const UNKNOWN: Self = Self([Known::Nothing; CAPABILITIES.len()]);
}

/// The capabilities of all members, by slot.
pub struct CapabilityTable<S: Storage> {
    members: S::Of<MemberCapabilities>,
    /// Capabilities to indicate anew, a bit each.
    due: u8,
    /// Capabilities that were indicated.
    told: u8,
    /// Counts, for each capability, what was handed out to be indicated.
    turns: [u8; CAPABILITIES.len()],
}

impl<S: Storage> CapabilityTable<S> {
    /// `members` is `MEMBERS` long.
    pub fn new(members: S::Of<MemberCapabilities>) -> Self {
        debug_assert_eq!(members.len(), MEMBERS);
        Self { members, due: 0, told: 0, turns: [0; CAPABILITIES.len()] }
    }

    /// Records a member's structure. False, and nothing recorded, if the structure is malformed.
    pub fn record(&mut self, member: MemberIndex, capability: Capability, bytes: &[u8]) -> bool {
        let Some(block) = Block::read(capability, bytes) else { return false };
        self.put(member, capability, Known::This(block));
        true
    }

    /// Records that a member does not have this capability.
    pub fn record_none(&mut self, member: MemberIndex, capability: Capability) {
        self.put(member, capability, Known::None);
    }

    fn put(&mut self, member: MemberIndex, capability: Capability, known: Known) {
        let Some(all) = self.members.get_mut(member.slot()) else { return };
        if let Some(place) = all.0.get_mut(capability.index()).filter(|place| **place != known) {
            *place = known;
            self.due |= capability.bit();
        }
    }

    /// The member's adapter was unbound; the next one under its index is another.
    pub fn forget(&mut self, member: MemberIndex) {
        if let Some(all) = self.members.get_mut(member.slot()) {
            *all = MemberCapabilities::UNKNOWN;
        }
    }

    fn known(&self, member: MemberIndex, capability: Capability) -> &Known {
        let all = self.members.get(member.slot());
        all.and_then(|all| all.0.get(capability.index())).unwrap_or(&Known::Nothing)
    }

    /// The team has changed: all capabilities are to be indicated again.
    pub fn team_changed(&mut self) {
        self.due = u8::MAX;
    }

    /// The next capability to indicate, with the team's structure. Call until there is none.
    pub fn take_due(&mut self, live: MemberSet, placement: OffloadPlacement) -> Option<(Capability, Block)> {
        for capability in CAPABILITIES {
            let was_due = self.due & capability.bit() != 0;
            self.due &= !capability.bit();
            if was_due
                && capability.status().is_some()
                && let Some(block) = self.team(capability, live, placement)
            {
                self.told |= capability.bit();
                if let Some(turn) = self.turns.get_mut(capability.index()) {
                    *turn = turn.wrapping_add(1);
                }
                return Some((capability, block));
            }
        }
        None
    }

    /// Which of the structures that were handed out for this capability was the last.
    pub fn turn(&self, capability: Capability) -> u8 {
        self.turns.get(capability.index()).copied().unwrap_or(0)
    }

    /// The structure of this turn was indicated. If another was handed out meanwhile, on another processor, nobody knows
    /// which of the two came last: the capability is due again.
    pub fn indicated(&mut self, capability: Capability, turn: u8) {
        if self.turn(capability) != turn {
            self.due |= capability.bit();
        }
    }

    /// A capability is to be indicated again: the last indication did not reach the switch, or a member's was not
    /// passed on.
    pub fn indicate_again(&mut self, capability: Capability) {
        self.due |= capability.bit();
        self.told |= capability.bit();
    }

    /// The structure to indicate: the merged one, or zeros if one was indicated before and no member has the capability
    /// now.
    pub fn team(
        &self,
        capability: Capability,
        live: MemberSet,
        placement: OffloadPlacement,
    ) -> Option<Block> {
        let lost = || {
            let told = self.told & capability.bit() != 0;
            let none = |member| matches!(self.known(member, capability), Known::None);
            (told && live.iter().any(none)).then(|| {
                let mut nothing = Block::zeros(capability.size_of(0));
                finish(capability, &mut nothing, placement);
                nothing
            })
        };
        self.merged(capability, live, placement).or_else(lost)
    }

    /// What the team can: merged over the members that are up and have answered; `None` when none of them has the
    /// capability. The revision is the lowest of theirs.
    pub fn merged(
        &self,
        capability: Capability,
        live: MemberSet,
        placement: OffloadPlacement,
    ) -> Option<Block> {
        // As long as the longest revision: a member without the capability must not shorten the others' structure.
        let none = Block::zeros(LONGEST);
        let block = |member| match self.known(member, capability) {
            Known::Nothing => None,
            Known::None => Some(&none),
            Known::This(block) => Some(block),
        };
        if !live.iter().any(|member| matches!(self.known(member, capability), Known::This(_))) {
            return None;
        }
        let mut blocks = live.iter().filter_map(block);
        let mut team = *blocks.next()?;
        blocks.for_each(|mine| merge(capability, &mut team, mine, placement));
        finish(capability, &mut team, placement);
        Some(team)
    }

    /// The members of `live` that can hold a resource. Those that have not answered count only if no member has
    /// confirmed it.
    pub fn able(&self, resource: Resource, live: MemberSet) -> MemberSet {
        let with = |wanted: Option<bool>| {
            live.iter().filter(|&m| self.can(m, resource) == wanted).collect::<MemberSet>()
        };
        match with(Some(true)) {
            set if set.is_empty() => with(None),
            set => set,
        }
    }

    /// How many resources of a kind each member has said it can hold, by slot; `u32::MAX` where it has not.
    pub fn limits(&self, resource: Resource) -> [u32; MEMBERS] {
        let limit = |slot| self.limit(MemberIndex::from_slot(slot)?, resource);
        core::array::from_fn(|slot| limit(slot).unwrap_or(u32::MAX))
    }

    fn limit(&self, member: MemberIndex, resource: Resource) -> Option<u32> {
        let (capability, name) = match resource {
            Resource::Queue => (Capability::ReceiveFilter, "NumQueues"),
            Resource::Filter => (Capability::ReceiveFilter, "MaxMacHeaderFilters"),
            Resource::Vf => (Capability::NicSwitch, "MaxNumVFs"),
            Resource::Vport => (Capability::NicSwitch, "MaxNumVPorts"),
            Resource::Sa => (Capability::TaskOffload, "IPsecV2.SaOffloadCapacity"),
        };
        let Known::This(block) = self.known(member, capability) else { return None };
        capability.fields().iter().find(|field| field.name == name).map(|field| block.get(field))
    }

    /// Whether a member can hold a resource; `None` if it has not answered.
    fn can(&self, member: MemberIndex, resource: Resource) -> Option<bool> {
        let (capability, name) = match resource {
            Resource::Queue | Resource::Filter => (Capability::ReceiveFilter, "EnabledQueueTypes"),
            Resource::Vf => (Capability::Sriov, "SriovCapabilities"),
            Resource::Vport => (Capability::NicSwitch, "MaxNumVPorts"),
            Resource::Sa => (Capability::TaskOffload, "IPsecV2.SaOffloadCapacity"),
        };
        match self.known(member, capability) {
            Known::Nothing => None,
            Known::None => Some(false),
            Known::This(block) => {
                let field = capability.fields().iter().find(|field| field.name == name);
                Some(field.is_some_and(|field| block.get(field) != 0))
            }
        }
    }
}

/// Merges another member into the team; in place, for blocks are large.
fn merge(capability: Capability, team: &mut Block, mine: &Block, placement: OffloadPlacement) {
    team.size = team.size.min(mine.size);
    for field in capability.fields() {
        let (a, b) = (team.get(field), mine.get(field));
        let value = match field.rule {
            Rule::All | Rule::QueueProperties => a & b,
            Rule::Any => a | b,
            Rule::Least => a.min(b),
            Rule::Most => a.max(b),
            Rule::Sum if sums(placement) => a.saturating_add(b),
            Rule::Sum => a.min(b),
        };
        team.set(field, value);
    }
}

/// Writes the header, clears what no rule names, and says what the number of queues means.
fn finish(capability: Capability, team: &mut Block, placement: OffloadPlacement) {
    let revision = capability.sizes().iter().take_while(|&&size| size < team.size).count();
    let mut clean = Block::zeros(team.size);
    for field in capability.fields() {
        let value = match field.rule {
            Rule::QueueProperties => {
                let (sum, least) = (QueueMode::SUM_OF_QUEUES, QueueMode::MIN_OF_QUEUES);
                let others = QueueMode::from_bits_retain(team.get(field)).difference(sum.union(least));
                others.union(if sums(placement) { sum } else { least }).bits()
            }
            _ => team.get(field),
        };
        clean.set(field, value);
    }
    clean.write_header(capability, revision);
    *team = clean;
}

/// Whether each thing exists once, on one member: else all must fit on each.
const fn sums(placement: OffloadPlacement) -> bool {
    matches!(placement, OffloadPlacement::FollowFlows)
}
