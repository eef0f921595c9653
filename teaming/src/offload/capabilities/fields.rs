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
    field("NicSwitchCapabilities", 32, 4, SwitchFeatures),
    field("MaxNumSwitches", 36, 4, Least),
    field("MaxNumVPorts", 40, 4, Ports),
    field("MaxNumVFs", 48, 4, Sum),
    field("MaxNumQueuePairs", 52, 4, Sum),
    field("MaxNumQueuePairsPerNonDefaultVPort", 68, 4, Least),
    field("MaxNumMacAddresses", 92, 4, Sum),
    field("MaxNumRssCapableNonDefaultPFVPorts", 116, 4, Sum),
    field("NumberOfIndirectionTableEntriesForDefaultVPort", 120, 4, Least),
    field("NumberOfIndirectionTableEntriesPerNonDefaultPFVPort", 124, 4, Least),
    field("MaxNumQueuePairsForDefaultVPort", 128, 4, Least),
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
    field("EncapsulatedPacketTaskOffloadVxlan", 156, 4, All),
    field("EncapsulatedPacketTaskOffloadVxlan.MaxHeaderSizeSupported", 160, 4, Least),
    field("EncapsulatedPacketTaskOffloadVxlan.EncapsulationProtocolInfo.Value", 164, 4, Equal),
    field("EncapsulationTypes", 176, 1, All),
    field("Rfc6877Xlat", 180, 4, Equal),
    field("UdpSegmentation.IPv4.Encapsulation", 188, 4, All),
    field("UdpSegmentation.IPv4.MaxOffLoadSize", 192, 4, Least),
    field("UdpSegmentation.IPv4.MinSegmentCount", 196, 4, SegmentCount),
    field("UdpSegmentation.IPv6.Encapsulation", 200, 4, All),
    field("UdpSegmentation.IPv6.MaxOffLoadSize", 204, 4, Least),
    field("UdpSegmentation.IPv6.MinSegmentCount", 208, 4, SegmentCount),
    field("UdpSegmentation.IPv6.IpExtensionHeadersSupported", 212, 4, All),
    field("UdpRsc", 216, 1, Least),
];

/// The UDP port of VXLAN in NDIS_OFFLOAD: of members that differ in it the team has none, and no VXLAN.
pub(super) const VXLAN_PORT: &str = "EncapsulatedPacketTaskOffloadVxlan.EncapsulationProtocolInfo.Value";

/// What is left of a field of NDIS_OFFLOAD without VXLAN.
pub(super) fn without_vxlan(name: &str, value: u32) -> u32 {
    match name {
        "EncapsulatedPacketTaskOffloadVxlan"
        | "EncapsulatedPacketTaskOffloadVxlan.MaxHeaderSizeSupported" => 0,
        // NDIS_ENCAPSULATION_TYPE_VXLAN.
        "EncapsulationTypes" => value & !2,
        _ => value,
    }
}

/// NDIS_SRIOV_CAPABILITIES.
pub const SRIOV: &[Field] = &[field("Flags", 4, 4, All), field("SriovCapabilities", 8, 4, Rule::Any)];
