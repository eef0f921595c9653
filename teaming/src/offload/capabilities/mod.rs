//! What each member can do, merged into what the team can do.
//!
//! A member's capabilities are recorded when it answers a query or indicates a change. As long as the switch has created
//! one adapter only, they are the team's, and what it indicates is passed on as it is. Of several, the team's are merged
//! from those that are connected and have answered, whatever their links, by the rules of `fields`; bytes that no rule
//! names are kept where all members have the same. The caller holds the team lock.

pub mod fields;
pub mod structure;

use crate::Storage;
use crate::ids::{MEMBERS, MemberIndex, MemberSet};
use crate::offload::OffloadPlacement;
use crate::oid::Resource;
use crate::settings::{Settings, TeamingMode};
pub use fields::{Field, NIC_SWITCH, NUM_QUEUES, QueueMode, RECEIVE_FILTER, Rule, SRIOV, TASK_OFFLOAD};
use fields::{RESTRICTIONS, SEGMENTS, VXLAN_PORT, without_vxlan};
pub use structure::{Block, CAPABILITIES, Capability, LONGEST};

/// What is known of a member's capability.
#[expect(clippy::large_enum_variant, reason = "stays in the table, because nothing is allocated here")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Known {
    Nothing,
    /// It answered that it has none.
    None,
    This(Block),
}

/// All capabilities of one member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemberCapabilities {
    known: [Known; CAPABILITIES.len()],
    /// Those of which the member may have more by now, a bit each: it is asked again.
    doubted: u8,
}

impl MemberCapabilities {
    pub const UNKNOWN: Self = Self { known: [Known::Nothing; CAPABILITIES.len()], doubted: 0 };
}

/// What the team can hold of what each member has so many of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counting {
    /// Each thing is on one member: the sum.
    Sum,
    /// All must fit on each member: the least.
    Least,
}

impl Counting {
    /// In a static team traffic arrives on all members, whatever the placement, so that no more fits than on each (KB
    /// 2974384).
    pub const fn of(settings: &Settings) -> Self {
        match (settings.mode, settings.offload_placement) {
            (TeamingMode::SwitchIndependent, OffloadPlacement::FollowFlows) => Self::Sum,
            _ => Self::Least,
        }
    }
}

/// The capabilities of all members, by slot.
pub struct CapabilityTable<S: Storage> {
    members: S::Of<MemberCapabilities>,
    /// Adapters that the switch has created since the module was attached.
    created: MemberSet,
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
        Self { members, created: MemberSet::EMPTY, due: 0, told: 0, turns: [0; CAPABILITIES.len()] }
    }

    /// The switch has created an adapter. From the second one on, what is indicated is the team's.
    pub fn created(&mut self, member: MemberIndex) {
        let alone = !self.is_team();
        self.created = self.created.with(member);
        if alone && self.is_team() {
            self.team_changed();
        }
    }

    /// More than one adapter has been created: their capabilities are merged.
    pub const fn is_team(&self) -> bool {
        self.created.len() > 1
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
        all.doubted &= !capability.bit();
        if let Some(place) = all.known.get_mut(capability.index()).filter(|place| **place != known) {
            *place = known;
            self.due |= capability.bit();
        }
    }

    /// A capability of these members may have changed; they are to be asked. Until a member has answered, what it said it
    /// has still counts, and what it said it lacks does not.
    pub fn doubt(&mut self, members: MemberSet, capability: Capability) {
        for member in members.iter() {
            if let Some(all) = self.members.get_mut(member.slot()) {
                all.doubted |= capability.bit();
            }
        }
    }

    fn doubted(&self, member: MemberIndex, capability: Capability) -> bool {
        self.members.get(member.slot()).is_some_and(|all| all.doubted & capability.bit() != 0)
    }

    /// The member's adapter was unbound; the next one under its index is another.
    pub fn forget(&mut self, member: MemberIndex) {
        if let Some(all) = self.members.get_mut(member.slot()) {
            *all = MemberCapabilities::UNKNOWN;
        }
    }

    fn known(&self, member: MemberIndex, capability: Capability) -> &Known {
        let all = self.members.get(member.slot());
        all.and_then(|all| all.known.get(capability.index())).unwrap_or(&Known::Nothing)
    }

    /// The team has changed: all capabilities are to be indicated again.
    pub fn team_changed(&mut self) {
        self.due = u8::MAX;
    }

    /// The next capability to indicate, with the structure of the connected members. Call until there is none.
    pub fn take_due(&mut self, connected: MemberSet, counting: Counting) -> Option<(Capability, Block)> {
        if !self.is_team() {
            return None;
        }
        for capability in CAPABILITIES {
            let was_due = self.due & capability.bit() != 0;
            self.due &= !capability.bit();
            if was_due
                && capability.status().is_some()
                && let Some(block) = self.team(capability, connected, counting)
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
    pub fn team(&self, capability: Capability, connected: MemberSet, counting: Counting) -> Option<Block> {
        let lost = || {
            let told = self.told & capability.bit() != 0;
            let none = |member| matches!(self.known(member, capability), Known::None);
            (told && connected.iter().any(none)).then(|| Block::nothing(capability))
        };
        self.merged(capability, connected, counting).or_else(lost)
    }

    /// What the team can: merged over the connected members that have answered; `None` when none of them has the
    /// capability. The structure of the only one that has answered is the team's as it is.
    pub fn merged(&self, capability: Capability, connected: MemberSet, counting: Counting) -> Option<Block> {
        let known = || connected.iter().map(|member| self.known(member, capability));
        let mut blocks = known().filter_map(|known| match known {
            Known::This(block) => Some(block),
            Known::Nothing | Known::None => None,
        });
        let mut team = *blocks.next()?;
        let mut others = 0_u32;
        for mine in blocks {
            // The least of equals is what they are, by every rule.
            if counting == Counting::Sum || *mine != team {
                merge(capability, &mut team, Some(mine), counting);
            }
            others = others.saturating_add(1);
        }
        if known().any(|known| *known == Known::None) {
            merge(capability, &mut team, None, counting);
            others = others.saturating_add(1);
        }
        if others != 0 {
            say_counting(capability, &mut team, counting);
        }
        Some(team)
    }

    /// The members of `of` that say they can hold a resource.
    pub fn able(&self, resource: Resource, of: MemberSet) -> MemberSet {
        of.iter().filter(|&member| self.can(member, resource) == Some(true)).collect()
    }

    /// The members of `of` that have not said whether they can hold a resource.
    pub fn unanswered(&self, resource: Resource, of: MemberSet) -> MemberSet {
        of.iter().filter(|&member| self.can(member, resource).is_none()).collect()
    }

    /// How many resources of a kind each member has said it can hold, by slot; `u32::MAX` where it has not, or where that
    /// is in doubt.
    pub fn limits(&self, resource: Resource) -> [u32; MEMBERS] {
        let limit = |slot| self.limit(MemberIndex::from_slot(slot)?, resource);
        core::array::from_fn(|slot| limit(slot).unwrap_or(u32::MAX))
    }

    fn limit(&self, member: MemberIndex, resource: Resource) -> Option<u32> {
        let (capability, field) = match resource {
            Resource::Queue => (Capability::ReceiveFilter, NUM_QUEUES),
            Resource::Filter => (Capability::ReceiveFilter, fields::MAX_FILTERS),
            Resource::Vf => (Capability::NicSwitch, fields::MAX_VFS),
            Resource::Vport => (Capability::NicSwitch, fields::MAX_VPORTS),
            Resource::Sa => (Capability::TaskOffload, fields::SA_CAPACITY),
        };
        let Known::This(block) = self.known(member, capability) else { return None };
        (!self.doubted(member, capability)).then(|| block.get(&field))
    }

    /// Whether a member can hold a resource; `None` if it has not answered, or has said that it cannot and is asked again.
    fn can(&self, member: MemberIndex, resource: Resource) -> Option<bool> {
        let (capability, field) = match resource {
            Resource::Queue | Resource::Filter => (Capability::ReceiveFilter, fields::ENABLED_QUEUE_TYPES),
            Resource::Vf => (Capability::Sriov, fields::SRIOV_CAPABILITIES),
            Resource::Vport => (Capability::NicSwitch, fields::MAX_VPORTS),
            Resource::Sa => (Capability::TaskOffload, fields::SA_CAPACITY),
        };
        let can = match self.known(member, capability) {
            Known::Nothing => None,
            Known::None => Some(false),
            Known::This(block) => Some(block.get(&field) != 0),
        };
        can.filter(|&can| can || !self.doubted(member, capability))
    }
}

/// Merges another member into the team, or one that has nothing of the kind; in place, for blocks are large.
#[inline(never)] // a frame of its own
fn merge(capability: Capability, team: &mut Block, mine: Option<&Block>, counting: Counting) {
    team.shorten(capability, mine);
    let theirs = |field| mine.map_or(0, |mine| mine.get(field));
    let has_port = capability.fields().contains(&VXLAN_PORT);
    let one_port = !has_port || team.get(&VXLAN_PORT) == theirs(&VXLAN_PORT);
    let mut unnamed = size_of::<u32>(); // behind the header
    for field in capability.fields() {
        team.keep_same(unnamed..field.offset(), mine);
        let value = field.rule.merge(team.get(field), theirs(field), counting);
        team.set(field, if one_port { value } else { without_vxlan(field, value) });
        unnamed = field.offset().saturating_add(field.width());
    }
    team.keep_same(unnamed..LONGEST, mine);
}

impl Rule {
    /// The team's value, from that of those who are merged already and another member's.
    fn merge(self, a: u32, b: u32, counting: Counting) -> u32 {
        let sum = counting == Counting::Sum;
        match self {
            Self::All | Self::QueueProperties => a & b,
            Self::Any => a | b,
            Self::Least => a.min(b),
            Self::Most => a.max(b),
            Self::Equal if a == b => a,
            Self::Equal => 0,
            Self::Sum if sum => a.saturating_add(b),
            Self::Ports if sum && a != 0 => a.saturating_add(b.saturating_sub(1)),
            Self::Ports if sum => b,
            Self::Sum | Self::Ports => a.min(b),
            Self::SwitchFeatures => a & b | (a | b) & RESTRICTIONS,
            Self::SegmentCount => a & b & !SEGMENTS | (a & SEGMENTS).max(b & SEGMENTS),
        }
    }
}

/// Says what the number of queues means.
fn say_counting(capability: Capability, team: &mut Block, counting: Counting) {
    for field in capability.fields().iter().filter(|field| field.rule == Rule::QueueProperties) {
        let mut properties = QueueMode::from_bits_retain(team.get(field));
        properties.set(QueueMode::SUM_OF_QUEUES, counting == Counting::Sum);
        team.set(field, properties.bits());
    }
}
