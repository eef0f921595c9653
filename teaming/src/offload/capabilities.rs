//! What the members can do, and what the team can: the rule for every field of the capability structures.
//!
//! A member answers questions and indicates changes; the team's capabilities are merged from the members that are up
//! and have answered. A field that a rule does not name is zero in the result. The control side, under the team lock.

use crate::Storage;
use crate::ids::{MEMBERS, MemberIndex, MemberSet};
use crate::offload::OffloadPlacement;
use crate::oid::{Resource, oids};

/// The capability structures that are merged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Capability {
    ReceiveFilter,
    ReceiveFilterHardware,
    NicSwitch,
    NicSwitchHardware,
    TaskOffload,
    TaskOffloadHardware,
    /// Never indicated, only asked for: who can have virtual functions.
    Sriov,
}

pub const CAPABILITIES: [Capability; 7] = [
    Capability::ReceiveFilter,
    Capability::ReceiveFilterHardware,
    Capability::NicSwitch,
    Capability::NicSwitchHardware,
    Capability::TaskOffload,
    Capability::TaskOffloadHardware,
    Capability::Sriov,
];

/// How the values of the members become the team's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// What every member can: bitwise and. A partition may sit on any of them, and move.
    All,
    /// What some member can: bitwise or.
    Any,
    /// A limit that each request must keep wherever it lands.
    Least,
    /// A requirement that each request must meet wherever it lands.
    Most,
    /// Things that exist once on one member: their sum, or the least where all must fit on one.
    Sum,
    /// As `All`, and says which of the two the number of queues is (KB 2974384).
    QueueProperties,
}

/// One field: its documented name, where it lies, how wide it is in bytes, its rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field {
    pub name: &'static str,
    pub offset: usize,
    pub width: usize,
    pub rule: Rule,
}

const fn field(name: &'static str, offset: usize, width: usize, rule: Rule) -> Field {
    Field { name, offset, width, rule }
}

bitflags::bitflags! {
    /// What `NDIS_RECEIVE_FILTER_IMPLAT_*_MODE` says of the number of queues, in SupportedQueueProperties; its other bits
    /// are the adapter's and stay as they are.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct QueueMode: u32 {
        const MIN_OF_QUEUES = 0x40;
        const SUM_OF_QUEUES = 0x80;
        const _ = !0;
    }
}

use Rule::{All, Least, Most, QueueProperties, Sum};

/// NDIS_RECEIVE_FILTER_CAPABILITIES.
pub const RECEIVE_FILTER: &[Field] = &[
    field("Flags", 4, 4, All),
    field("EnabledFilterTypes", 8, 4, All),
    field("EnabledQueueTypes", 12, 4, All),
    field("NumQueues", 16, 4, Sum),
    field("SupportedQueueProperties", 20, 4, QueueProperties),
    field("SupportedFilterTests", 24, 4, All),
    field("SupportedHeaders", 28, 4, All),
    field("SupportedMacHeaderFields", 32, 4, All),
    field("MaxMacHeaderFilters", 36, 4, Sum),
    field("MaxQueueGroups", 40, 4, Least),
    field("MaxQueuesPerQueueGroup", 44, 4, Least),
    field("MinLookaheadSplitSize", 48, 4, Most),
    field("MaxLookaheadSplitSize", 52, 4, Least),
    field("SupportedARPHeaderFields", 56, 4, All),
    field("SupportedIPv4HeaderFields", 60, 4, All),
    field("SupportedIPv6HeaderFields", 64, 4, All),
    field("SupportedUdpHeaderFields", 68, 4, All),
    field("MaxFieldTestsPerPacketCoalescingFilter", 72, 4, Least),
    field("MaxPacketCoalescingFilters", 76, 4, Least),
];

/// NDIS_NIC_SWITCH_CAPABILITIES.
pub const NIC_SWITCH: &[Field] = &[
    field("Flags", 4, 4, All),
    field("NumTotalMacAddresses", 12, 4, Sum),
    field("NumMacAddressesPerPort", 16, 4, Least),
    field("NumVlansPerPort", 20, 4, Least),
    field("NicSwitchCapabilities", 32, 4, All),
    field("MaxNumSwitches", 36, 4, Least),
    field("MaxNumVPorts", 40, 4, Sum),
    field("MaxNumVFs", 48, 4, Sum),
    field("MaxNumQueuePairs", 52, 4, Sum),
    field("MaxNumQueuePairsPerNonDefaultVPort", 68, 4, Least),
    field("MaxNumMacAddresses", 92, 4, Sum),
];

/// NDIS_OFFLOAD. Fields of two bits that say 0 for no and 1 for yes share words, which `All` merges at once.
pub const TASK_OFFLOAD: &[Field] = &[
    field("Checksum.IPv4Transmit.Encapsulation", 4, 4, All),
    field("Checksum.IPv4Transmit", 8, 4, All),
    field("Checksum.IPv4Receive.Encapsulation", 12, 4, All),
    field("Checksum.IPv4Receive", 16, 4, All),
    field("Checksum.IPv6Transmit.Encapsulation", 20, 4, All),
    field("Checksum.IPv6Transmit", 24, 4, All),
    field("Checksum.IPv6Receive.Encapsulation", 28, 4, All),
    field("Checksum.IPv6Receive", 32, 4, All),
    field("LsoV1.IPv4.Encapsulation", 36, 4, All),
    field("LsoV1.IPv4.MaxOffLoadSize", 40, 4, Least),
    field("LsoV1.IPv4.MinSegmentCount", 44, 4, Most),
    field("LsoV1.IPv4", 48, 4, All),
    field("IPsecV1.Supported.Encapsulation", 52, 4, All),
    field("IPsecV1.Supported.AhEspCombined", 56, 4, All),
    field("IPsecV1.Supported.TransportTunnelCombined", 60, 4, All),
    field("IPsecV1.Supported.IPv4Options", 64, 4, All),
    field("IPsecV1.Supported.Flags", 68, 4, All),
    field("IPsecV1.IPv4AH", 72, 4, All),
    field("IPsecV1.IPv4ESP", 76, 4, All),
    field("LsoV2.IPv4.Encapsulation", 80, 4, All),
    field("LsoV2.IPv4.MaxOffLoadSize", 84, 4, Least),
    field("LsoV2.IPv4.MinSegmentCount", 88, 4, Most),
    field("LsoV2.IPv6.Encapsulation", 92, 4, All),
    field("LsoV2.IPv6.MaxOffLoadSize", 96, 4, Least),
    field("LsoV2.IPv6.MinSegmentCount", 100, 4, Most),
    field("LsoV2.IPv6", 104, 4, All),
    field("Flags", 108, 4, All),
    field("IPsecV2.Encapsulation", 112, 4, All),
    field("IPsecV2.IPv6Supported", 116, 1, Least),
    field("IPsecV2.IPv4Options", 117, 1, Least),
    field("IPsecV2.IPv6NonIPsecExtensionHeaders", 118, 1, Least),
    field("IPsecV2.Ah", 119, 1, Least),
    field("IPsecV2.Esp", 120, 1, Least),
    field("IPsecV2.AhEspCombined", 121, 1, Least),
    field("IPsecV2.Transport", 122, 1, Least),
    field("IPsecV2.Tunnel", 123, 1, Least),
    field("IPsecV2.TransportTunnelCombined", 124, 1, Least),
    field("IPsecV2.LsoSupported", 125, 1, Least),
    field("IPsecV2.ExtendedSequenceNumbers", 126, 1, Least),
    field("IPsecV2.UdpEsp", 128, 4, All),
    field("IPsecV2.AuthenticationAlgorithms", 132, 4, All),
    field("IPsecV2.EncryptionAlgorithms", 136, 4, All),
    field("IPsecV2.SaOffloadCapacity", 140, 4, Sum),
    field("Rsc.IPv4.Enabled", 144, 1, Least),
    field("Rsc.IPv6.Enabled", 145, 1, Least),
    field("EncapsulatedPacketTaskOffloadGre", 148, 4, All),
    field("EncapsulatedPacketTaskOffloadGre.MaxHeaderSizeSupported", 152, 4, Least),
];

/// NDIS_SRIOV_CAPABILITIES.
pub const SRIOV: &[Field] = &[field("Flags", 4, 4, All), field("SriovCapabilities", 8, 4, Rule::Any)];

impl Capability {
    /// The question to a member.
    pub const fn oid(self) -> u32 {
        match self {
            Self::ReceiveFilter => oids::RECEIVE_FILTER_CURRENT_CAPABILITIES,
            Self::ReceiveFilterHardware => oids::RECEIVE_FILTER_HARDWARE_CAPABILITIES,
            Self::NicSwitch => oids::NIC_SWITCH_CURRENT_CAPABILITIES,
            Self::NicSwitchHardware => oids::NIC_SWITCH_HARDWARE_CAPABILITIES,
            Self::TaskOffload => oids::TCP_OFFLOAD_CURRENT_CONFIG,
            Self::TaskOffloadHardware => oids::TCP_OFFLOAD_HARDWARE_CAPABILITIES,
            Self::Sriov => oids::SRIOV_CURRENT_CAPABILITIES,
        }
    }

    /// The indication of a change.
    pub const fn status(self) -> Option<u32> {
        match self {
            Self::ReceiveFilter => Some(0x4002_0010),
            Self::ReceiveFilterHardware => Some(0x4002_0020),
            Self::NicSwitch => Some(0x4002_0040),
            Self::NicSwitchHardware => Some(0x4002_0050),
            Self::TaskOffload => Some(0x4002_0006),
            Self::TaskOffloadHardware => Some(0x4002_0007),
            Self::Sriov => None,
        }
    }

    pub fn of_status(code: u32) -> Option<Self> {
        CAPABILITIES.into_iter().find(|capability| capability.status() == Some(code))
    }

    pub const fn fields(self) -> &'static [Field] {
        match self {
            Self::ReceiveFilter | Self::ReceiveFilterHardware => RECEIVE_FILTER,
            Self::NicSwitch | Self::NicSwitchHardware => NIC_SWITCH,
            Self::TaskOffload | Self::TaskOffloadHardware => TASK_OFFLOAD,
            Self::Sriov => SRIOV,
        }
    }

    /// Bytes of each revision that is known, the first one's first.
    pub const fn sizes(self) -> &'static [usize] {
        match self {
            Self::ReceiveFilter | Self::ReceiveFilterHardware => &[56, 84],
            Self::NicSwitch | Self::NicSwitchHardware => &[32, 116],
            Self::TaskOffload | Self::TaskOffloadHardware => &[112, 144, 156],
            Self::Sriov => &[12],
        }
    }

    /// Type in the header: `NDIS_OBJECT_TYPE_OFFLOAD` or `NDIS_OBJECT_TYPE_DEFAULT`.
    pub const fn object_type(self) -> u8 {
        match self {
            Self::TaskOffload | Self::TaskOffloadHardware => 0xA7,
            _ => 0x80,
        }
    }

    const fn index(self) -> usize {
        self as usize
    }

    /// Its bit in a set of capabilities.
    pub const fn bit(self) -> u8 {
        1_u8.wrapping_shl(self as u32)
    }

    /// The revision, counted from 0, that these bytes hold in full; newer ones are read as the last known.
    fn revision(self, bytes: &[u8]) -> Option<usize> {
        let [kind, revision, low, high, ..] = *bytes else { return None };
        let stated = usize::from(u16::from_le_bytes([low, high])).min(bytes.len());
        let known =
            self.sizes().iter().take(usize::from(revision)).take_while(|&&size| size <= stated).count();
        if kind == self.object_type() { known.checked_sub(1) } else { None }
    }

    fn size_of(self, revision: usize) -> usize {
        self.sizes().get(revision).copied().unwrap_or(0)
    }
}

/// Bytes of the longest structure.
pub const LONGEST: usize = 156;

/// A capability structure: a header of a known revision and what follows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C, align(8))]
pub struct Block {
    bytes: [u8; LONGEST],
    size: usize,
}

impl Block {
    const EMPTY: Self = Self { bytes: [0; LONGEST], size: 0 };

    /// The structure as it stands in memory.
    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.size).unwrap_or(&[])
    }

    /// As much of `bytes` as a known revision explains.
    pub fn read(capability: Capability, bytes: &[u8]) -> Option<Self> {
        let revision = capability.revision(bytes)?;
        let mut block = Self { size: capability.size_of(revision), ..Self::EMPTY };
        block.bytes.get_mut(..block.size)?.copy_from_slice(bytes.get(..block.size)?);
        block.write_header(capability, revision);
        Some(block)
    }

    fn write_header(&mut self, capability: Capability, revision: usize) {
        let [low, high] = u16::try_from(self.size).unwrap_or(0).to_le_bytes();
        let revision = u8::try_from(revision).unwrap_or(0).saturating_add(1);
        if let Some(header) = self.bytes.first_chunk_mut() {
            *header = [capability.object_type(), revision, low, high];
        }
    }

    /// A field's value; zero where the revision does not have it.
    pub fn get(&self, field: &Field) -> u32 {
        let bytes =
            self.bytes().get(field.offset..).and_then(|bytes| bytes.get(..field.width)).unwrap_or(&[]);
        bytes.iter().rev().fold(0, |value, &byte| value << 8 | u32::from(byte))
    }

    fn set(&mut self, field: &Field, value: u32) {
        let end = self.size.min(field.offset.saturating_add(field.width));
        let place = self.bytes.get_mut(field.offset..end).unwrap_or(&mut []);
        place.iter_mut().zip(value.to_le_bytes()).for_each(|(place, byte)| *place = byte);
    }
}

/// What is known of a member's capability.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Known {
    Nothing,
    /// It said that it has none.
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
}

impl<S: Storage> CapabilityTable<S> {
    /// `members` is `MEMBERS` long.
    pub fn new(members: S::Of<MemberCapabilities>) -> Self {
        debug_assert_eq!(members.len(), MEMBERS);
        Self { members, due: 0, told: 0 }
    }

    /// A member said what it can. False, and nothing learned, when that is not in a form that is understood.
    pub fn record(&mut self, member: MemberIndex, capability: Capability, bytes: &[u8]) -> bool {
        let Some(block) = Block::read(capability, bytes) else { return false };
        self.put(member, capability, Known::This(block));
        true
    }

    /// A member said that it does not have this capability.
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

    /// The member's adapter is gone; the next one with its index is another.
    pub fn forget(&mut self, member: MemberIndex) {
        if let Some(all) = self.members.get_mut(member.slot()) {
            *all = MemberCapabilities::UNKNOWN;
        }
    }

    fn known(&self, member: MemberIndex, capability: Capability) -> &Known {
        let all = self.members.get(member.slot());
        all.and_then(|all| all.0.get(capability.index())).unwrap_or(&Known::Nothing)
    }

    /// The team has changed: whoever plans by its capabilities is to plan again.
    pub fn team_changed(&mut self) {
        self.due = u8::MAX;
    }

    /// A capability that is to be indicated, and what the team can now. Taken until there is none.
    pub fn take_due(&mut self, live: MemberSet, placement: OffloadPlacement) -> Option<(Capability, Block)> {
        for capability in CAPABILITIES {
            let was_due = self.due & capability.bit() != 0;
            self.due &= !capability.bit();
            if was_due
                && capability.status().is_some()
                && let Some(block) = self.team(capability, live, placement)
            {
                self.told |= capability.bit();
                return Some((capability, block));
            }
        }
        None
    }

    /// Whoever was told one thing that the team can, or was not told what someone else said, is to be told again.
    pub fn indicate_again(&mut self, capability: Capability) {
        self.due |= capability.bit();
        self.told |= capability.bit();
    }

    /// What is to be said of the team: what it can, or that it cannot any more what was indicated before.
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
                let mut nothing = Block { size: capability.size_of(0), ..Block::EMPTY };
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
        // Zeros as long as anyone's: who has nothing does not cut short what others say.
        let none = Block { size: LONGEST, ..Block::EMPTY };
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

    /// Those of `live` that can hold a resource; those that have not said so only where none has said that it can.
    pub fn able(&self, resource: Resource, live: MemberSet) -> MemberSet {
        let with = |wanted: Option<bool>| {
            live.iter().filter(|&m| self.can(m, resource) == wanted).collect::<MemberSet>()
        };
        match with(Some(true)) {
            set if set.is_empty() => with(None),
            set => set,
        }
    }

    /// Whether a member can hold a resource; `None` if it has not said.
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
    let mut clean = Block { size: team.size, ..Block::EMPTY };
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
