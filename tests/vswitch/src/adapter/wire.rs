//! The payloads of offload requests in binary form: offsets of the structures' members, and functions to read and
//! write them.
//!
//! The offsets are declared a second time on purpose, independently of the driver's declarations. Both are compared
//! with a table from the Windows Driver Kit.

use lbfoext::ndis::raw::OidRequest;

/// A member of a structure: its offset, and its names in the table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Member {
    pub structure: &'static str,
    pub name: &'static str,
    pub at: usize,
    pub size: usize,
}

macro_rules! members {
    ($($structure:literal $constant:ident { $($member:ident = $name:literal @ $at:literal . $size:literal,)* })*) => {
        $(
            #[doc = concat!("`", $structure, "`.")]
            pub mod $constant {
                use super::Member;
                $(pub const $member: Member = Member { structure: $structure, name: $name, at: $at, size: $size };)*
            }
        )*

        /// Every member above.
        pub const MEMBERS: &[Member] = &[$($($constant::$member,)*)*];
    };
}

members! {
    "NDIS_RECEIVE_QUEUE_PARAMETERS" queue {
        FLAGS = "Flags" @ 4 . 4,
        KIND = "QueueType" @ 8 . 4,
        ID = "QueueId" @ 12 . 4,
        GROUP = "QueueGroupId" @ 16 . 4,
        AFFINITY = "ProcessorAffinity" @ 24 . 16,
        BUFFERS = "NumSuggestedReceiveBuffers" @ 40 . 4,
        VM_NAME = "VmName" @ 52 . 516,
        NAME = "QueueName" @ 568 . 516,
        PORT = "PortId" @ 1084 . 4,
    }
    "NDIS_RECEIVE_QUEUE_FREE_PARAMETERS" free_queue {
        ID = "QueueId" @ 8 . 4,
    }
    "NDIS_RECEIVE_FILTER_PARAMETERS" filter {
        FLAGS = "Flags" @ 4 . 4,
        KIND = "FilterType" @ 8 . 4,
        QUEUE = "QueueId" @ 12 . 4,
        ID = "FilterId" @ 16 . 4,
        FIELDS_AT = "FieldParametersArrayOffset" @ 20 . 4,
        FIELDS = "FieldParametersArrayNumElements" @ 24 . 4,
        FIELD_SIZE = "FieldParametersArrayElementSize" @ 28 . 4,
        VPORT = "VPortId" @ 40 . 4,
    }
    "NDIS_RECEIVE_FILTER_FIELD_PARAMETERS" field {
        FLAGS = "Flags" @ 4 . 4,
        HEADER = "FrameHeader" @ 8 . 4,
        TEST = "ReceiveFilterTest" @ 12 . 4,
        WHICH = "HeaderField" @ 16 . 4,
        VALUE = "FieldValue" @ 24 . 16,
    }
    "NDIS_RECEIVE_FILTER_CLEAR_PARAMETERS" clear_filter {
        QUEUE = "QueueId" @ 8 . 4,
        ID = "FilterId" @ 12 . 4,
    }
    "NDIS_RECEIVE_FILTER_MOVE_FILTER_PARAMETERS" move_filter {
        ID = "FilterId" @ 4 . 4,
        FROM_QUEUE = "SourceQueueId" @ 8 . 4,
        FROM_VPORT = "SourceVPortId" @ 12 . 4,
        TO_QUEUE = "DestQueueId" @ 16 . 4,
        TO_VPORT = "DestVPortId" @ 20 . 4,
    }
    "NDIS_RECEIVE_QUEUE_ALLOCATION_COMPLETE_ARRAY" complete {
        FIRST = "FirstElementOffset" @ 8 . 4,
        COUNT = "NumElements" @ 12 . 4,
        SIZE = "ElementSize" @ 16 . 4,
    }
    "NDIS_RECEIVE_QUEUE_ALLOCATION_COMPLETE_PARAMETERS" completed {
        QUEUE = "QueueId" @ 8 . 4,
        STATUS = "CompletionStatus" @ 12 . 4,
    }
    "NDIS_NIC_SWITCH_VF_PARAMETERS" vf {
        SWITCH = "SwitchId" @ 8 . 4,
        MAC_LENGTH = "MacAddressLength" @ 1560 . 2,
        MAC = "CurrentMacAddress" @ 1594 . 32,
        ID = "VFId" @ 1626 . 2,
        REQUESTOR = "RequestorId" @ 1628 . 4,
    }
    "NDIS_NIC_SWITCH_FREE_VF_PARAMETERS" free_vf {
        ID = "VFId" @ 8 . 2,
    }
    "NDIS_NIC_SWITCH_VPORT_PARAMETERS" vport {
        FLAGS = "Flags" @ 4 . 4,
        SWITCH = "SwitchId" @ 8 . 4,
        ID = "VPortId" @ 12 . 4,
        FUNCTION = "AttachedFunctionId" @ 532 . 2,
        QUEUE_PAIRS = "NumQueuePairs" @ 536 . 4,
        STATE = "VPortState" @ 544 . 4,
    }
    "NDIS_NIC_SWITCH_DELETE_VPORT_PARAMETERS" delete_vport {
        ID = "VPortId" @ 8 . 4,
    }
    "NDIS_SRIOV_READ_VF_CONFIG_SPACE_PARAMETERS" config_space {
        VF = "VFId" @ 4 . 2,
        OFFSET = "Offset" @ 8 . 4,
        LENGTH = "Length" @ 12 . 4,
        BUFFER = "BufferOffset" @ 16 . 4,
    }
    "NDIS_SRIOV_WRITE_VF_CONFIG_SPACE_PARAMETERS" config_space_written {
        VF = "VFId" @ 4 . 2,
        OFFSET = "Offset" @ 8 . 4,
        LENGTH = "Length" @ 12 . 4,
        BUFFER = "BufferOffset" @ 16 . 4,
    }
    "NDIS_SRIOV_READ_VF_CONFIG_BLOCK_PARAMETERS" config_block {
        VF = "VFId" @ 4 . 2,
        BLOCK_ID = "BlockId" @ 8 . 4,
        LENGTH = "Length" @ 12 . 4,
        BUFFER = "BufferOffset" @ 16 . 4,
    }
    "NDIS_SRIOV_WRITE_VF_CONFIG_BLOCK_PARAMETERS" config_block_written {
        VF = "VFId" @ 4 . 2,
        BLOCK_ID = "BlockId" @ 8 . 4,
        LENGTH = "Length" @ 12 . 4,
        BUFFER = "BufferOffset" @ 16 . 4,
    }
    "NDIS_SRIOV_RESET_VF_PARAMETERS" vf_reset {
        VF = "VFId" @ 4 . 2,
    }
    "NDIS_SRIOV_SET_VF_POWER_STATE_PARAMETERS" vf_power {
        VF = "VFId" @ 4 . 2,
        STATE = "PowerState" @ 8 . 4,
    }
    "NDIS_SRIOV_VF_VENDOR_DEVICE_ID_INFO" vf_vendor {
        VF = "VFId" @ 4 . 2,
        VENDOR = "VendorId" @ 6 . 2,
        DEVICE = "DeviceId" @ 8 . 2,
    }
    "NDIS_SRIOV_BAR_RESOURCES_INFO" vf_bar {
        VF = "VFId" @ 4 . 2,
        INDEX = "BarIndex" @ 6 . 2,
        RESOURCES_AT = "BarResourcesOffset" @ 8 . 4,
    }
    "IPSEC_OFFLOAD_V2_ADD_SA" add_sa {
        NEXT = "Next" @ 8 . 8,
        HANDLE = "OffloadHandle" @ 56 . 8,
        ASSOCIATIONS = "SecAssoc" @ 68 . 96,
        KEY_LENGTH = "KeyLength" @ 164 . 4,
    }
    "IPSEC_OFFLOAD_V2_ADD_SA_EX" add_sa_ex {
        HANDLE = "OffloadHandle" @ 48 . 8,
        ASSOCIATIONS = "SecAssoc" @ 60 . 96,
        KEY_LENGTH = "KeyLength" @ 156 . 4,
        PORT = "SourceSwitchPortId" @ 164 . 4,
    }
    "IPSEC_OFFLOAD_V2_DELETE_SA" delete_sa {
        NEXT = "Next" @ 8 . 8,
        HANDLE = "OffloadHandle" @ 16 . 8,
    }
    "IPSEC_OFFLOAD_V2_UPDATE_SA" update_sa {
        HANDLE = "OffloadHandle" @ 8 . 8,
        SPI = "Spi" @ 20 . 4,
    }
    "NDIS_RECEIVE_QUEUE_INFO_ARRAY" queues {
        FIRST = "FirstElementOffset" @ 4 . 4,
        COUNT = "NumElements" @ 8 . 4,
        SIZE = "ElementSize" @ 12 . 4,
    }
    "NDIS_RECEIVE_QUEUE_INFO" queue_info {
        ID = "QueueId" @ 12 . 4,
    }
    "NDIS_RECEIVE_FILTER_INFO_ARRAY" filters {
        QUEUE = "QueueId" @ 4 . 4,
        FIRST = "FirstElementOffset" @ 8 . 4,
        COUNT = "NumElements" @ 12 . 4,
        SIZE = "ElementSize" @ 16 . 4,
        FLAGS = "Flags" @ 20 . 4,
        VPORT = "VPortId" @ 24 . 4,
    }
    "NDIS_RECEIVE_FILTER_INFO" filter_info {
        ID = "FilterId" @ 12 . 4,
    }
    "NDIS_NIC_SWITCH_VF_INFO_ARRAY" vfs {
        FIRST = "FirstElementOffset" @ 12 . 4,
        COUNT = "NumElements" @ 16 . 4,
        SIZE = "ElementSize" @ 20 . 4,
    }
    "NDIS_NIC_SWITCH_VF_INFO" vf_info {
        MAC_LENGTH = "MacAddressLength" @ 1560 . 2,
        MAC = "CurrentMacAddress" @ 1594 . 32,
        ID = "VFId" @ 1626 . 2,
    }
    "NDIS_NIC_SWITCH_VPORT_INFO_ARRAY" vports {
        FIRST = "FirstElementOffset" @ 16 . 4,
        COUNT = "NumElements" @ 20 . 4,
        SIZE = "ElementSize" @ 24 . 4,
    }
    "NDIS_NIC_SWITCH_VPORT_INFO" vport_info {
        ID = "VPortId" @ 4 . 4,
        FUNCTION = "AttachedFunctionId" @ 532 . 2,
    }
    "NDIS_RECEIVE_FILTER_CAPABILITIES" filter_caps {
        FLAGS = "Flags" @ 4 . 4,
        FILTER_TYPES = "EnabledFilterTypes" @ 8 . 4,
        QUEUE_TYPES = "EnabledQueueTypes" @ 12 . 4,
        QUEUES = "NumQueues" @ 16 . 4,
        PROPERTIES = "SupportedQueueProperties" @ 20 . 4,
        TESTS = "SupportedFilterTests" @ 24 . 4,
        HEADERS = "SupportedHeaders" @ 28 . 4,
        MAC_FIELDS = "SupportedMacHeaderFields" @ 32 . 4,
        FILTERS = "MaxMacHeaderFilters" @ 36 . 4,
        GROUPS = "MaxQueueGroups" @ 40 . 4,
        PER_GROUP = "MaxQueuesPerQueueGroup" @ 44 . 4,
        MIN_LOOKAHEAD = "MinLookaheadSplitSize" @ 48 . 4,
        MAX_LOOKAHEAD = "MaxLookaheadSplitSize" @ 52 . 4,
    }
    "NDIS_NIC_SWITCH_CAPABILITIES" switch_caps {
        FLAGS = "Flags" @ 4 . 4,
        CAPABILITIES = "NicSwitchCapabilities" @ 32 . 4,
        SWITCHES = "MaxNumSwitches" @ 36 . 4,
        VPORTS = "MaxNumVPorts" @ 40 . 4,
        VFS = "MaxNumVFs" @ 48 . 4,
        QUEUE_PAIRS = "MaxNumQueuePairs" @ 52 . 4,
        RSS_PORTS = "MaxNumRssCapableNonDefaultPFVPorts" @ 116 . 4,
        DEFAULT_TABLE = "NumberOfIndirectionTableEntriesForDefaultVPort" @ 120 . 4,
        PORT_TABLE = "NumberOfIndirectionTableEntriesPerNonDefaultPFVPort" @ 124 . 4,
        DEFAULT_PAIRS = "MaxNumQueuePairsForDefaultVPort" @ 128 . 4,
    }
    "NDIS_SRIOV_CAPABILITIES" sriov_caps {
        FLAGS = "Flags" @ 4 . 4,
        CAPABILITIES = "SriovCapabilities" @ 8 . 4,
    }
    "NDIS_OFFLOAD" offload {
        IPSEC = "IPsecV2" @ 112 . 32,
    }
    "NDIS_IPSEC_OFFLOAD_V2" ipsec_caps {
        ENCAPSULATION = "Encapsulation" @ 0 . 4,
        CAPACITY = "SaOffloadCapacity" @ 28 . 4,
    }
}

/// The encapsulated OIDs by their documented names, and the capability queries.
pub mod oid {
    pub const ALLOCATE_QUEUE: u32 = 0x0001_0223;
    pub const FREE_QUEUE: u32 = 0x0001_0224;
    pub const SET_FILTER: u32 = 0x0001_0227;
    pub const CLEAR_FILTER: u32 = 0x0001_0228;
    pub const ALLOCATION_COMPLETE: u32 = 0x0001_022B;
    pub const MOVE_FILTER: u32 = 0x0001_0230;
    pub const QUEUE_PARAMETERS: u32 = 0x0001_0226;
    pub const ENUM_QUEUES: u32 = 0x0001_0225;
    pub const ENUM_FILTERS: u32 = 0x0001_0229;
    pub const FILTER_PARAMETERS: u32 = 0x0001_022A;
    pub const ENUM_VPORTS: u32 = 0x0001_0243;
    pub const ENUM_VFS: u32 = 0x0001_0248;
    pub const CREATE_VPORT: u32 = 0x0001_0241;
    pub const DELETE_VPORT: u32 = 0x0001_0244;
    pub const ALLOCATE_VF: u32 = 0x0001_0245;
    pub const FREE_VF: u32 = 0x0001_0246;
    pub const VPORT_PARAMETERS: u32 = 0x0001_0242;
    pub const READ_CONFIG_SPACE: u32 = 0x0001_0251;
    pub const WRITE_CONFIG_SPACE: u32 = 0x0001_0252;
    pub const READ_CONFIG_BLOCK: u32 = 0x0001_0253;
    pub const WRITE_CONFIG_BLOCK: u32 = 0x0001_0254;
    pub const RESET_VF: u32 = 0x0001_0255;
    pub const VF_POWER: u32 = 0x0001_0256;
    pub const VF_VENDOR: u32 = 0x0001_0257;
    pub const VF_BAR: u32 = 0x0001_0259;
    pub const RSS_PARAMETERS: u32 = 0x0001_0204;
    pub const RSS_PARAMETERS_V2: u32 = 0x0001_0214;
    pub const ADD_SA: u32 = 0xFC03_0202;
    pub const DELETE_SA: u32 = 0xFC03_0203;
    pub const UPDATE_SA: u32 = 0xFC03_0204;
    pub const ADD_SA_EX: u32 = 0xFC03_0205;
    pub const FILTER_HARDWARE: u32 = 0x0001_0221;
    pub const FILTER_CURRENT: u32 = 0x0001_022D;
    pub const SWITCH_HARDWARE: u32 = 0x0001_022E;
    pub const SWITCH_CURRENT: u32 = 0x0001_022F;
    pub const SRIOV_HARDWARE: u32 = 0x0001_0249;
    pub const SRIOV_CURRENT: u32 = 0x0001_0250;
    pub const OFFLOAD_CURRENT: u32 = 0xFC01_020B;
    pub const OFFLOAD_HARDWARE: u32 = 0xFC01_020D;
    pub const ADD_MULTICAST: u32 = 0x0101_0208;
    pub const DELETE_MULTICAST: u32 = 0x0101_0209;
    /// First of the numbers that vendors give to their own OIDs (`OID_GEN` private range, top byte 0xFF).
    pub const PRIVATE: u32 = 0xFF00_0000;
}

/// Fields of a MAC header that a filter tests (`NDIS_MAC_HEADER_FIELD`), and the flag of an address for frames that
/// have no VLAN (`NDIS_RECEIVE_FILTER_FIELD_MAC_HEADER_VLAN_UNTAGGED_OR_ZERO`).
pub mod mac_field {
    pub const DESTINATION: u32 = 1;
    pub const VLAN_ID: u32 = 4;
    pub const UNTAGGED_OR_ZERO: u32 = 1;
}

/// Flags of parameters, each of which says that a member is changed.
pub mod flag {
    /// `NDIS_RECEIVE_QUEUE_PARAMETERS_PROCESSOR_AFFINITY_CHANGED`.
    pub const QUEUE_AFFINITY_CHANGED: u32 = 0x0002_0000;
    /// `NDIS_NIC_SWITCH_VPORT_PARAMS_NUM_QUEUE_PAIRS_CHANGED`.
    pub const VPORT_PAIRS_CHANGED: u32 = 0x0080_0000;
}

/// Status indications of capabilities.
pub mod status {
    pub const FILTER_CURRENT: i32 = 0x4002_0010;
    pub const FILTER_HARDWARE: i32 = 0x4002_0020;
    pub const QUEUE_PARAMETERS: i32 = 0x4002_0030;
    pub const QUEUE_STATE: i32 = 0x4002_0070;
    pub const SWITCH_CURRENT: i32 = 0x4002_0040;
    pub const SWITCH_HARDWARE: i32 = 0x4002_0050;
    pub const OFFLOAD_CURRENT: i32 = 0x4002_0006;
    pub const OFFLOAD_HARDWARE: i32 = 0x4002_0007;
}

/// The request type of an offload OID, and whether the extension may fail it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Row {
    pub oid: u32,
    pub name: &'static str,
    pub method: bool,
    /// Whether the extension may complete it with a failure.
    pub vetoable: bool,
    /// Smallest valid buffer, in bytes.
    pub size: usize,
}

const fn row(oid: u32, name: &'static str, method: bool, vetoable: bool, size: usize) -> Row {
    Row { oid, name, method, vetoable, size }
}

/// The offload OIDs that the switch encapsulates (managing-hardware-offload-oid-requests-to-physical-network-adapters),
/// and behind them those that read or change what one of these has allocated. The page names those that must not be
/// refused, which clear, free, delete or complete; a move or a use is none of them.
pub const OFFLOAD_OIDS: [Row; 24] = [
    row(oid::ALLOCATE_QUEUE, "ALLOCATE_QUEUE", true, true, 1084),
    row(oid::SET_FILTER, "SET_FILTER", true, true, 36),
    row(oid::ALLOCATION_COMPLETE, "QUEUE_ALLOCATION_COMPLETE", true, false, 20),
    row(oid::CLEAR_FILTER, "CLEAR_FILTER", false, false, 16),
    row(oid::FREE_QUEUE, "FREE_QUEUE", false, false, 12),
    row(oid::MOVE_FILTER, "MOVE_FILTER", false, true, 24),
    row(oid::CREATE_VPORT, "CREATE_VPORT", true, true, 572),
    row(oid::DELETE_VPORT, "DELETE_VPORT", false, false, 12),
    row(oid::ALLOCATE_VF, "ALLOCATE_VF", true, true, 1632),
    row(oid::FREE_VF, "FREE_VF", false, false, 10),
    row(oid::ADD_SA, "ADD_SA", false, false, 169),
    row(oid::ADD_SA_EX, "ADD_SA_EX", false, false, 170),
    row(oid::DELETE_SA, "DELETE_SA", false, false, 24),
    row(oid::UPDATE_SA, "UPDATE_SA", false, false, 28),
    row(oid::QUEUE_PARAMETERS, "QUEUE_PARAMETERS", false, true, 1084),
    row(oid::VPORT_PARAMETERS, "VPORT_PARAMETERS", false, true, 572),
    row(oid::READ_CONFIG_SPACE, "READ_VF_CONFIG_SPACE", true, true, 20),
    row(oid::WRITE_CONFIG_SPACE, "WRITE_VF_CONFIG_SPACE", false, true, 20),
    row(oid::READ_CONFIG_BLOCK, "READ_VF_CONFIG_BLOCK", true, true, 20),
    row(oid::WRITE_CONFIG_BLOCK, "WRITE_VF_CONFIG_BLOCK", false, true, 20),
    row(oid::RESET_VF, "RESET_VF", false, true, 6),
    row(oid::VF_POWER, "SET_VF_POWER_STATE", false, true, 13),
    row(oid::VF_VENDOR, "VF_VENDOR_DEVICE_ID", true, true, 10),
    row(oid::VF_BAR, "BAR_RESOURCES", true, true, 12),
];

/// The row of an offload OID.
pub fn offload_row(oid: u32) -> Option<&'static Row> {
    OFFLOAD_OIDS.iter().find(|row| row.oid == oid)
}

/// A request that allocates a resource, and may be refused.
pub const fn places(number: u32) -> bool {
    matches!(number, oid::ALLOCATE_QUEUE | oid::SET_FILTER | oid::ALLOCATE_VF | oid::CREATE_VPORT)
}

/// A request that gives a resource up.
pub const fn releases(number: u32) -> bool {
    matches!(number, oid::CLEAR_FILTER | oid::FREE_QUEUE | oid::FREE_VF | oid::DELETE_VPORT | oid::DELETE_SA)
}

/// A request that reads or changes what is allocated, by its id in the payload.
pub const fn uses(number: u32) -> bool {
    matches!(number, oid::QUEUE_PARAMETERS | oid::VPORT_PARAMETERS) || uses_vf(number)
}

/// A request to the adapter about one of its virtual functions.
pub const fn uses_vf(number: u32) -> bool {
    matches!(
        number,
        oid::READ_CONFIG_SPACE
            | oid::WRITE_CONFIG_SPACE
            | oid::READ_CONFIG_BLOCK
            | oid::WRITE_CONFIG_BLOCK
            | oid::RESET_VF
            | oid::VF_POWER
            | oid::VF_VENDOR
            | oid::VF_BAR
    )
}

/// Where such a request names the function.
pub const fn used_vf(number: u32) -> Member {
    match number {
        oid::WRITE_CONFIG_SPACE => config_space_written::VF,
        oid::READ_CONFIG_BLOCK => config_block::VF,
        oid::WRITE_CONFIG_BLOCK => config_block_written::VF,
        oid::RESET_VF => vf_reset::VF,
        oid::VF_POWER => vf_power::VF,
        oid::VF_VENDOR => vf_vendor::VF,
        oid::VF_BAR => vf_bar::VF,
        _ => config_space::VF,
    }
}

/// `OID_TCP_TASK_IPSEC_OFFLOAD_V2_*`.
pub const fn is_ipsec(number: u32) -> bool {
    matches!(number, oid::ADD_SA | oid::ADD_SA_EX | oid::DELETE_SA | oid::UPDATE_SA)
}

/// Reads a member of up to eight bytes; 0 if it lies beyond the end.
pub fn get(bytes: &[u8], member: Member) -> u64 {
    let field = bytes.get(member.at..member.at + member.size.min(8)).unwrap_or(&[]);
    field.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte))
}

/// As `get`, for members of four bytes.
pub fn get32(bytes: &[u8], member: Member) -> u32 {
    get(bytes, member) as u32
}

/// SwitchId, VPortId and Flags of a request, which the second revision of NDIS_OID_REQUEST adds.
pub fn target_words(request: &[u8]) -> Option<&[u8]> {
    let (_, revision, size) = header(request)?;
    if revision >= 2 && size >= 248 { request.get(236..248) } else { None }
}

/// `NDIS_OID_REQUEST_FLAGS_VPORT_ID_VALID`.
pub const VPORT_ID_VALID: u32 = 1;

/// The virtual port, other than the default one, that a request targets (ns-oidrequest-ndis_oid_request).
pub fn target_of(request: &[u8]) -> Option<u32> {
    let words = target_words(request)?;
    let word = |at: usize| words[at..at + 4].try_into().map_or(0, u32::from_le_bytes);
    Some(word(4)).filter(|vport| word(8) & VPORT_ID_VALID != 0 && *vport != 0)
}

pub fn target(request: &OidRequest) -> Option<u32> {
    target_of(bytes_of(request))
}

pub fn bytes_of(request: &OidRequest) -> &[u8] {
    // SAFETY: plain bytes, borrowed with the request.
    unsafe { std::slice::from_raw_parts(std::ptr::from_ref(request).cast(), size_of::<OidRequest>()) }
}

/// Writes a member of up to eight bytes; does nothing if it lies beyond the end.
pub fn put(bytes: &mut [u8], member: Member, value: u64) {
    let size = member.size.min(8);
    if let Some(field) = bytes.get_mut(member.at..member.at + size) {
        field.copy_from_slice(&value.to_le_bytes()[..size]);
    }
}

/// A structure of `length` bytes with its header; everything else is `fill`.
pub fn structure(length: usize, revision: u8, size: u16, fill: u8) -> Vec<u8> {
    let mut bytes = vec![fill; length.max(4)];
    bytes[0] = 0x80;
    bytes[1] = revision;
    bytes[2..4].copy_from_slice(&size.to_le_bytes());
    bytes
}

/// Type, revision and size in a structure's header.
pub fn header(bytes: &[u8]) -> Option<(u8, u8, u16)> {
    Some((*bytes.first()?, *bytes.get(1)?, u16::from_le_bytes([*bytes.get(2)?, *bytes.get(3)?])))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_member_lies_where_the_table_says() {
        // The second has the later revisions of capabilities, the third the lists of resources.
        let table = concat!(
            include_str!("../../../data/layout.csv"),
            include_str!("../../../data/capabilities.csv"),
            include_str!("../../../data/lists.csv")
        );
        for member in MEMBERS {
            let row = format!("{},{},{},{},", member.structure, member.name, member.at, member.size);
            assert!(table.lines().any(|line| line.starts_with(&row)), "{row}");
        }
    }

    #[test]
    fn members_are_read_and_written_in_little_endian_and_never_outside() {
        let mut bytes = structure(16, 1, 16, 0);
        put(&mut bytes, clear_filter::ID, 0x0102_0304);
        assert_eq!(bytes[12..], [4, 3, 2, 1]);
        assert_eq!(get(&bytes, clear_filter::ID), 0x0102_0304);
        assert_eq!(get(&bytes[..15], clear_filter::ID), 0);
        put(&mut bytes[..15], clear_filter::ID, 9);
        assert_eq!(header(&bytes), Some((0x80, 1, 16)));
    }
}
