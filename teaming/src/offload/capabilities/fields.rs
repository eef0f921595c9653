//! The fields of the capability structures, and the rule by which the values of the members become the team's.
//!
//! Offsets are those of the structures in ntddndis.h, in ascending order. `src/ARCHITECTURE.md` has the same table, and a
//! test compares.

use Rule::{All, Equal, Least, Most, Ports, QueueProperties, SegmentCount, Sum, SwitchFeatures};

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
    /// What means something only where all say the same; otherwise nothing.
    Equal,
    /// Things that exist once on one member: their sum, or the least where all must fit on one.
    Sum,
    /// As `Sum`, of virtual ports: every member counts its default one, of which the team has one.
    Ports,
    /// As `All`, and says whether the number of queues is a sum (KB 2974384).
    QueueProperties,
    /// As `All`, but for the bits that restrict what a partition may ask for: bitwise or.
    SwitchFeatures,
    /// Six bits that are the fewest segments, of which the most counts, and features that all must have.
    SegmentCount,
}

/// One field: where it lies, how wide it is in bytes, its rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field {
    offset: u16,
    width: u8,
    pub rule: Rule,
}

impl Field {
    pub const fn offset(&self) -> usize {
        self.offset as usize
    }

    pub const fn width(&self) -> usize {
        self.width as usize
    }
}

const fn field(offset: u16, width: u8, rule: Rule) -> Field {
    Field { offset, width, rule }
}

/// A table of fields, and one of their documented names, which the driver does not read and its image does not have.
macro_rules! fields {
    ($(#[$doc:meta])* $table:ident, $names:ident: $($name:literal $field:expr;)*) => {
        $(#[$doc])*
        pub const $table: &[Field] = &[$($field),*];
        /// The documented names of these fields, in their order.
        pub const $names: &[&str] = &[$($name),*];
    };
}

bitflags::bitflags! {
    /// What `NDIS_RECEIVE_FILTER_IMPLAT_*_MODE` says of the number of queues, in SupportedQueueProperties. The team sets
    /// the bit of a sum only: since NDIS 6.80 the other says that the processors of the default queue can be changed.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct QueueMode: u32 {
        const MIN_OF_QUEUES = 0x40;
        const SUM_OF_QUEUES = 0x80;
        const _ = !0;
    }
}

/// `NDIS_NIC_SWITCH_CAPS_RSS_PER_PF_VPORT_INDIRECTION_TABLE_SIZE_RESTRICTED`: a limit, which holds for the team if it
/// does for one member (advertising-vmmq-capabilities).
pub(super) const RESTRICTIONS: u32 = 0x1000;

/// The bits of a word with `SegmentCount` that are a number: MinSegmentCount.
pub(super) const SEGMENTS: u32 = 0x3F;

// Fields that are read by themselves.
pub(super) const ENABLED_QUEUE_TYPES: Field = field(12, 4, All);
/// How many queues an adapter has.
pub const NUM_QUEUES: Field = field(16, 4, Sum);
pub(super) const MAX_FILTERS: Field = field(36, 4, Sum);
pub(super) const MAX_VPORTS: Field = field(40, 4, Ports);
pub(super) const MAX_VFS: Field = field(48, 4, Sum);
pub(super) const SA_CAPACITY: Field = field(140, 4, Sum);
pub(super) const VXLAN: Field = field(156, 4, All);
pub(super) const VXLAN_HEADER: Field = field(160, 4, Least);
pub(super) const ENCAPSULATION_TYPES: Field = field(176, 1, All);
pub(super) const SRIOV_CAPABILITIES: Field = field(8, 4, Rule::Any);
/// The UDP port of VXLAN in NDIS_OFFLOAD: of members that differ in it the team has none, and no VXLAN.
pub(super) const VXLAN_PORT: Field = field(164, 4, Equal);

fields! {
    /// NDIS_RECEIVE_FILTER_CAPABILITIES.
    RECEIVE_FILTER, RECEIVE_FILTER_NAMES:
    "Flags" field(4, 4, All);
    "EnabledFilterTypes" field(8, 4, All);
    "EnabledQueueTypes" ENABLED_QUEUE_TYPES;
    "NumQueues" NUM_QUEUES;
    "SupportedQueueProperties" field(20, 4, QueueProperties);
    "SupportedFilterTests" field(24, 4, All);
    "SupportedHeaders" field(28, 4, All);
    "SupportedMacHeaderFields" field(32, 4, All);
    "MaxMacHeaderFilters" MAX_FILTERS;
    "MaxQueueGroups" field(40, 4, Least);
    "MaxQueuesPerQueueGroup" field(44, 4, Least);
    "MinLookaheadSplitSize" field(48, 4, Most);
    "MaxLookaheadSplitSize" field(52, 4, Least);
    "SupportedARPHeaderFields" field(56, 4, All);
    "SupportedIPv4HeaderFields" field(60, 4, All);
    "SupportedIPv6HeaderFields" field(64, 4, All);
    "SupportedUdpHeaderFields" field(68, 4, All);
    "MaxFieldTestsPerPacketCoalescingFilter" field(72, 4, Least);
    "MaxPacketCoalescingFilters" field(76, 4, Least);
}

fields! {
    /// NDIS_NIC_SWITCH_CAPABILITIES.
    NIC_SWITCH, NIC_SWITCH_NAMES:
    "Flags" field(4, 4, All);
    "NumTotalMacAddresses" field(12, 4, Sum);
    "NumMacAddressesPerPort" field(16, 4, Least);
    "NumVlansPerPort" field(20, 4, Least);
    "NicSwitchCapabilities" field(32, 4, SwitchFeatures);
    "MaxNumSwitches" field(36, 4, Least);
    "MaxNumVPorts" MAX_VPORTS;
    "MaxNumVFs" MAX_VFS;
    "MaxNumQueuePairs" field(52, 4, Sum);
    "MaxNumQueuePairsPerNonDefaultVPort" field(68, 4, Least);
    "MaxNumMacAddresses" field(92, 4, Sum);
    "MaxNumRssCapableNonDefaultPFVPorts" field(116, 4, Sum);
    "NumberOfIndirectionTableEntriesForDefaultVPort" field(120, 4, Least);
    "NumberOfIndirectionTableEntriesPerNonDefaultPFVPort" field(124, 4, Least);
    "MaxNumQueuePairsForDefaultVPort" field(128, 4, Least);
}

fields! {
    /// NDIS_OFFLOAD. Fields of two bits that say 0 for no and 1 for yes share words, which `All` merges at once.
    TASK_OFFLOAD, TASK_OFFLOAD_NAMES:
    "Checksum.IPv4Transmit.Encapsulation" field(4, 4, All);
    "Checksum.IPv4Transmit" field(8, 4, All);
    "Checksum.IPv4Receive.Encapsulation" field(12, 4, All);
    "Checksum.IPv4Receive" field(16, 4, All);
    "Checksum.IPv6Transmit.Encapsulation" field(20, 4, All);
    "Checksum.IPv6Transmit" field(24, 4, All);
    "Checksum.IPv6Receive.Encapsulation" field(28, 4, All);
    "Checksum.IPv6Receive" field(32, 4, All);
    "LsoV1.IPv4.Encapsulation" field(36, 4, All);
    "LsoV1.IPv4.MaxOffLoadSize" field(40, 4, Least);
    "LsoV1.IPv4.MinSegmentCount" field(44, 4, Most);
    "LsoV1.IPv4" field(48, 4, All);
    "IPsecV1.Supported.Encapsulation" field(52, 4, All);
    "IPsecV1.Supported.AhEspCombined" field(56, 4, All);
    "IPsecV1.Supported.TransportTunnelCombined" field(60, 4, All);
    "IPsecV1.Supported.IPv4Options" field(64, 4, All);
    "IPsecV1.Supported.Flags" field(68, 4, All);
    "IPsecV1.IPv4AH" field(72, 4, All);
    "IPsecV1.IPv4ESP" field(76, 4, All);
    "LsoV2.IPv4.Encapsulation" field(80, 4, All);
    "LsoV2.IPv4.MaxOffLoadSize" field(84, 4, Least);
    "LsoV2.IPv4.MinSegmentCount" field(88, 4, Most);
    "LsoV2.IPv6.Encapsulation" field(92, 4, All);
    "LsoV2.IPv6.MaxOffLoadSize" field(96, 4, Least);
    "LsoV2.IPv6.MinSegmentCount" field(100, 4, Most);
    "LsoV2.IPv6" field(104, 4, All);
    "Flags" field(108, 4, All);
    "IPsecV2.Encapsulation" field(112, 4, All);
    "IPsecV2.IPv6Supported" field(116, 1, Least);
    "IPsecV2.IPv4Options" field(117, 1, Least);
    "IPsecV2.IPv6NonIPsecExtensionHeaders" field(118, 1, Least);
    "IPsecV2.Ah" field(119, 1, Least);
    "IPsecV2.Esp" field(120, 1, Least);
    "IPsecV2.AhEspCombined" field(121, 1, Least);
    "IPsecV2.Transport" field(122, 1, Least);
    "IPsecV2.Tunnel" field(123, 1, Least);
    "IPsecV2.TransportTunnelCombined" field(124, 1, Least);
    "IPsecV2.LsoSupported" field(125, 1, Least);
    "IPsecV2.ExtendedSequenceNumbers" field(126, 1, Least);
    "IPsecV2.UdpEsp" field(128, 4, All);
    "IPsecV2.AuthenticationAlgorithms" field(132, 4, All);
    "IPsecV2.EncryptionAlgorithms" field(136, 4, All);
    "IPsecV2.SaOffloadCapacity" SA_CAPACITY;
    "Rsc.IPv4.Enabled" field(144, 1, Least);
    "Rsc.IPv6.Enabled" field(145, 1, Least);
    "EncapsulatedPacketTaskOffloadGre" field(148, 4, All);
    "EncapsulatedPacketTaskOffloadGre.MaxHeaderSizeSupported" field(152, 4, Least);
    "EncapsulatedPacketTaskOffloadVxlan" VXLAN;
    "EncapsulatedPacketTaskOffloadVxlan.MaxHeaderSizeSupported" VXLAN_HEADER;
    "EncapsulatedPacketTaskOffloadVxlan.EncapsulationProtocolInfo.Value" VXLAN_PORT;
    "EncapsulationTypes" ENCAPSULATION_TYPES;
    "Rfc6877Xlat" field(180, 4, Equal);
    "UdpSegmentation.IPv4.Encapsulation" field(188, 4, All);
    "UdpSegmentation.IPv4.MaxOffLoadSize" field(192, 4, Least);
    "UdpSegmentation.IPv4.MinSegmentCount" field(196, 4, SegmentCount);
    "UdpSegmentation.IPv6.Encapsulation" field(200, 4, All);
    "UdpSegmentation.IPv6.MaxOffLoadSize" field(204, 4, Least);
    "UdpSegmentation.IPv6.MinSegmentCount" field(208, 4, SegmentCount);
    "UdpSegmentation.IPv6.IpExtensionHeadersSupported" field(212, 4, All);
    "UdpRsc" field(216, 1, Least);
}

/// What is left of a field of NDIS_OFFLOAD without VXLAN.
pub(super) fn without_vxlan(field: &Field, value: u32) -> u32 {
    match *field {
        VXLAN | VXLAN_HEADER => 0,
        // NDIS_ENCAPSULATION_TYPE_VXLAN.
        ENCAPSULATION_TYPES => value & !2,
        _ => value,
    }
}

fields! {
    /// NDIS_SRIOV_CAPABILITIES.
    SRIOV, SRIOV_NAMES:
    "Flags" field(4, 4, All);
    "SriovCapabilities" SRIOV_CAPABILITIES;
}
