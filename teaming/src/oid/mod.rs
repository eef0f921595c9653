//! Every object identifier (OID) that the extension knows, and what is done with it, in one table.
//!
//! The driver asks `find` for the row of the offload request inside an envelope; what a row places, follows or releases
//! is planned by `offload`. The other rows say what `lifecycle`, `properties`, `runtime_state`, `multicast` and the
//! driver's own questions do with the OIDs that they know by name; tests hold the driver against them. What has no row
//! is passed on unchanged.

pub mod nic;
pub mod payload;

/// Numbers by their documented names without the prefix `OID_` (`IEEE_` stands before a name that begins with a digit).
pub mod oids {
    pub const GEN_CURRENT_PACKET_FILTER: u32 = 0x0001_010E;
    pub const GEN_RECEIVE_SCALE_PARAMETERS: u32 = 0x0001_0204;
    pub const GEN_LINK_STATE: u32 = 0x0001_0207;
    pub const GEN_RECEIVE_SCALE_PARAMETERS_V2: u32 = 0x0001_0214;
    pub const RECEIVE_FILTER_HARDWARE_CAPABILITIES: u32 = 0x0001_0221;
    pub const RECEIVE_FILTER_ALLOCATE_QUEUE: u32 = 0x0001_0223;
    pub const RECEIVE_FILTER_FREE_QUEUE: u32 = 0x0001_0224;
    pub const RECEIVE_FILTER_ENUM_QUEUES: u32 = 0x0001_0225;
    pub const RECEIVE_FILTER_QUEUE_PARAMETERS: u32 = 0x0001_0226;
    pub const RECEIVE_FILTER_SET_FILTER: u32 = 0x0001_0227;
    pub const RECEIVE_FILTER_CLEAR_FILTER: u32 = 0x0001_0228;
    pub const RECEIVE_FILTER_ENUM_FILTERS: u32 = 0x0001_0229;
    pub const RECEIVE_FILTER_PARAMETERS: u32 = 0x0001_022A;
    pub const RECEIVE_FILTER_QUEUE_ALLOCATION_COMPLETE: u32 = 0x0001_022B;
    pub const RECEIVE_FILTER_CURRENT_CAPABILITIES: u32 = 0x0001_022D;
    pub const NIC_SWITCH_HARDWARE_CAPABILITIES: u32 = 0x0001_022E;
    pub const NIC_SWITCH_CURRENT_CAPABILITIES: u32 = 0x0001_022F;
    pub const RECEIVE_FILTER_MOVE_FILTER: u32 = 0x0001_0230;
    pub const NIC_SWITCH_CREATE_VPORT: u32 = 0x0001_0241;
    pub const NIC_SWITCH_VPORT_PARAMETERS: u32 = 0x0001_0242;
    pub const NIC_SWITCH_ENUM_VPORTS: u32 = 0x0001_0243;
    pub const NIC_SWITCH_DELETE_VPORT: u32 = 0x0001_0244;
    pub const NIC_SWITCH_ALLOCATE_VF: u32 = 0x0001_0245;
    pub const NIC_SWITCH_FREE_VF: u32 = 0x0001_0246;
    pub const NIC_SWITCH_ENUM_VFS: u32 = 0x0001_0248;
    pub const SRIOV_HARDWARE_CAPABILITIES: u32 = 0x0001_0249;
    pub const SRIOV_CURRENT_CAPABILITIES: u32 = 0x0001_0250;
    pub const SRIOV_READ_VF_CONFIG_SPACE: u32 = 0x0001_0251;
    pub const SRIOV_WRITE_VF_CONFIG_SPACE: u32 = 0x0001_0252;
    pub const SRIOV_READ_VF_CONFIG_BLOCK: u32 = 0x0001_0253;
    pub const SRIOV_WRITE_VF_CONFIG_BLOCK: u32 = 0x0001_0254;
    pub const SRIOV_RESET_VF: u32 = 0x0001_0255;
    pub const SRIOV_SET_VF_POWER_STATE: u32 = 0x0001_0256;
    pub const SRIOV_VF_VENDOR_DEVICE_ID: u32 = 0x0001_0257;
    pub const SRIOV_BAR_RESOURCES: u32 = 0x0001_0259;
    pub const SWITCH_PROPERTY_ADD: u32 = 0x0001_0263;
    pub const SWITCH_PROPERTY_UPDATE: u32 = 0x0001_0264;
    pub const SWITCH_PROPERTY_DELETE: u32 = 0x0001_0265;
    pub const SWITCH_PROPERTY_ENUM: u32 = 0x0001_0266;
    pub const SWITCH_FEATURE_STATUS_QUERY: u32 = 0x0001_0267;
    pub const SWITCH_NIC_REQUEST: u32 = 0x0001_0270;
    pub const SWITCH_PORT_PROPERTY_ADD: u32 = 0x0001_0271;
    pub const SWITCH_PORT_PROPERTY_UPDATE: u32 = 0x0001_0272;
    pub const SWITCH_PORT_PROPERTY_DELETE: u32 = 0x0001_0273;
    pub const SWITCH_PORT_PROPERTY_ENUM: u32 = 0x0001_0274;
    pub const SWITCH_PARAMETERS: u32 = 0x0001_0275;
    pub const SWITCH_PORT_ARRAY: u32 = 0x0001_0276;
    pub const SWITCH_NIC_ARRAY: u32 = 0x0001_0277;
    pub const SWITCH_PORT_CREATE: u32 = 0x0001_0278;
    pub const SWITCH_PORT_DELETE: u32 = 0x0001_0279;
    pub const SWITCH_NIC_CREATE: u32 = 0x0001_027A;
    pub const SWITCH_NIC_CONNECT: u32 = 0x0001_027B;
    pub const SWITCH_NIC_DISCONNECT: u32 = 0x0001_027C;
    pub const SWITCH_NIC_DELETE: u32 = 0x0001_027D;
    pub const SWITCH_PORT_FEATURE_STATUS_QUERY: u32 = 0x0001_027E;
    pub const SWITCH_PORT_TEARDOWN: u32 = 0x0001_027F;
    pub const SWITCH_NIC_SAVE: u32 = 0x0001_0290;
    pub const SWITCH_NIC_SAVE_COMPLETE: u32 = 0x0001_0291;
    pub const SWITCH_NIC_RESTORE: u32 = 0x0001_0292;
    pub const SWITCH_NIC_RESTORE_COMPLETE: u32 = 0x0001_0293;
    pub const SWITCH_NIC_UPDATED: u32 = 0x0001_0294;
    pub const SWITCH_PORT_UPDATED: u32 = 0x0001_0295;
    pub const IEEE_802_3_MULTICAST_LIST: u32 = 0x0101_0103;
    pub const IEEE_802_3_ADD_MULTICAST_ADDRESS: u32 = 0x0101_0208;
    pub const IEEE_802_3_DELETE_MULTICAST_ADDRESS: u32 = 0x0101_0209;
    pub const TCP_OFFLOAD_CURRENT_CONFIG: u32 = 0xFC01_020B;
    pub const TCP_OFFLOAD_HARDWARE_CAPABILITIES: u32 = 0xFC01_020D;
    pub const TCP_TASK_IPSEC_OFFLOAD_V2_ADD_SA: u32 = 0xFC03_0202;
    pub const TCP_TASK_IPSEC_OFFLOAD_V2_DELETE_SA: u32 = 0xFC03_0203;
    pub const TCP_TASK_IPSEC_OFFLOAD_V2_UPDATE_SA: u32 = 0xFC03_0204;
    pub const TCP_TASK_IPSEC_OFFLOAD_V2_ADD_SA_EX: u32 = 0xFC03_0205;
}

/// `NDIS_REQUEST_TYPE` of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestType {
    Query,
    Set,
    Method,
}

/// Where a row's request is met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OidContext {
    /// From above, as it is.
    Bare,
    /// Inside OID_SWITCH_NIC_REQUEST.
    Envelope,
    /// Only ever sent by the driver itself: to the switch, or inside an envelope to one member.
    Own,
}

/// What a physical adapter holds for a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Resource {
    Queue,
    Filter,
    Vf,
    Vport,
    /// An IPsec security association.
    Sa,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Treatment {
    /// Cloned and sent on.
    Pass,
    /// As `Pass`; the tables are updated before or after.
    Note,
    /// Ours are answered, the others passed on.
    Answer,
    /// The request inside the envelope has a row of its own.
    Open,
    /// Allocates a resource on a member that the driver chooses.
    Place(Resource),
    /// Names a resource, in its payload or as the virtual port of its NDIS_OID_REQUEST: sent to the member that holds it.
    Follow(Resource),
    /// Frees a resource: sent to the member that holds it, and removed from the table on success.
    Release(Resource),
    /// A query that the driver itself sends.
    Ask,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    pub oid: u32,
    pub place: OidContext,
    /// Request types that are understood; one of another type is passed on unread.
    pub kinds: &'static [RequestType],
    /// Bytes of the first revision of its payload; `None` where it is not read.
    pub payload: Option<u16>,
    pub treatment: Treatment,
    /// May be completed with a failure instead of being carried out.
    pub refusable: bool,
}

/// What the documentation calls the request of a row. In a table of its own, which the driver does not read and its image
/// does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowWords {
    pub name: &'static str,
    /// Its payload; `None` where it is not read.
    pub structure: Option<&'static str>,
    pub page: &'static str,
}

impl Row {
    /// For tests and tools.
    pub fn words(&self) -> RowWords {
        let found = OIDS.iter().zip(WORDS).find(|(row, _)| *row == self);
        found.map_or(
            RowWords { name: "", structure: None, page: "ns-oidrequest-ndis_oid_request.md" },
            |(_, words)| *words,
        )
    }
}

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OidPlan {
    /// A clone is passed on unchanged.
    Pass,
    /// A clone is passed on in an envelope of the driver's that names this member.
    Redirect(crate::ids::MemberIndex),
    /// Held; the driver sends a request of its own to each of these members instead.
    Originate(crate::ids::MemberSet),
    /// The driver completes it.
    Answer,
    Refuse(Refusal),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// No member supports it.
    NoMember,
    /// No member is connected, or the one that must hold it has no link.
    NotNow,
    /// The adapter that held what it names was unbound.
    Gone,
    /// It names two resources that are on different members.
    Apart,
    /// No memory to keep track of it.
    NoMemory,
}

const SET: &[RequestType] = &[RequestType::Set];
const METHOD: &[RequestType] = &[RequestType::Method];
const QUERY: &[RequestType] = &[RequestType::Query];
/// The topic on these requests says set, their own page and the header say method.
const SET_OR_METHOD: &[RequestType] = &[RequestType::Set, RequestType::Method];

/// A structure, and the bytes of its first revision.
type Payload = Option<(&'static str, u16)>;

const PORT: Payload = Some(("NDIS_SWITCH_PORT_PARAMETERS", 1056));
const NIC: Payload = Some(("NDIS_SWITCH_NIC_PARAMETERS", 2207));
const PROPERTY: Payload = Some(("NDIS_SWITCH_PORT_PROPERTY_PARAMETERS", 64));
const PROPERTY_DELETE: Payload = Some(("NDIS_SWITCH_PORT_PROPERTY_DELETE_PARAMETERS", 48));
const SAVE: Payload = Some(("NDIS_SWITCH_NIC_SAVE_STATE", 568));
const ENVELOPE: Payload = Some(("NDIS_SWITCH_NIC_OID_REQUEST", 32));

const fn bytes(payload: Payload) -> Option<u16> {
    match payload {
        Some((_, bytes)) => Some(bytes),
        None => None,
    }
}

const fn structure(payload: Payload) -> Option<&'static str> {
    match payload {
        Some((structure, _)) => Some(structure),
        None => None,
    }
}

macro_rules! rows {
    ($($place:ident $oid:ident = $name:literal $kinds:ident $payload:expr, $treatment:expr, $refusable:literal, $page:literal;)*) => {
        /// The table.
        pub const OIDS: &[Row] = &[$(Row {
            oid: oids::$oid,
            place: OidContext::$place,
            kinds: $kinds,
            payload: bytes($payload),
            treatment: $treatment,
            refusable: $refusable,
        },)*];

        /// Of each row.
        const WORDS: &[RowWords] = &[$(RowWords { name: $name, structure: structure($payload), page: $page },)*];
    };
}

use Resource::{Filter, Queue, Sa, Vf, Vport};
use Treatment::{Answer, Ask, Follow, Note, Open, Pass, Release};

rows! {
    Bare SWITCH_PORT_CREATE = "OID_SWITCH_PORT_CREATE" SET PORT, Note, true, "oid-switch-port-create.md";
    Bare SWITCH_PORT_UPDATED = "OID_SWITCH_PORT_UPDATED" SET PORT, Note, false, "oid-switch-port-updated.md";
    Bare SWITCH_PORT_TEARDOWN = "OID_SWITCH_PORT_TEARDOWN" SET PORT, Note, false, "oid-switch-port-teardown.md";
    Bare SWITCH_PORT_DELETE = "OID_SWITCH_PORT_DELETE" SET PORT, Note, false, "oid-switch-port-delete.md";
    Bare SWITCH_NIC_CREATE = "OID_SWITCH_NIC_CREATE" SET NIC, Note, true, "oid-switch-nic-create.md";
    Bare SWITCH_NIC_CONNECT = "OID_SWITCH_NIC_CONNECT" SET NIC, Note, false, "oid-switch-nic-connect.md";
    Bare SWITCH_NIC_UPDATED = "OID_SWITCH_NIC_UPDATED" SET NIC, Note, false, "oid-switch-nic-updated.md";
    Bare SWITCH_NIC_DISCONNECT = "OID_SWITCH_NIC_DISCONNECT" SET NIC, Note, false, "oid-switch-nic-disconnect.md";
    Bare SWITCH_NIC_DELETE = "OID_SWITCH_NIC_DELETE" SET NIC, Note, false, "oid-switch-nic-delete.md";
    Bare SWITCH_PORT_PROPERTY_ADD = "OID_SWITCH_PORT_PROPERTY_ADD" SET PROPERTY, Note, true, "oid-switch-port-property-add.md";
    Bare SWITCH_PORT_PROPERTY_UPDATE = "OID_SWITCH_PORT_PROPERTY_UPDATE" SET PROPERTY, Note, true, "oid-switch-port-property-update.md";
    Bare SWITCH_PORT_PROPERTY_DELETE = "OID_SWITCH_PORT_PROPERTY_DELETE" SET PROPERTY_DELETE, Note, false, "oid-switch-port-property-delete.md";
    Bare SWITCH_PORT_PROPERTY_ENUM = "OID_SWITCH_PORT_PROPERTY_ENUM" METHOD None, Pass, false, "oid-switch-port-property-enum.md";
    Bare SWITCH_PROPERTY_ADD = "OID_SWITCH_PROPERTY_ADD" SET None, Pass, true, "oid-switch-property-add.md";
    Bare SWITCH_PROPERTY_UPDATE = "OID_SWITCH_PROPERTY_UPDATE" SET None, Pass, true, "oid-switch-property-update.md";
    Bare SWITCH_PROPERTY_DELETE = "OID_SWITCH_PROPERTY_DELETE" SET None, Pass, false, "oid-switch-property-delete.md";
    Bare SWITCH_PROPERTY_ENUM = "OID_SWITCH_PROPERTY_ENUM" METHOD None, Pass, false, "oid-switch-property-enum.md";
    Bare SWITCH_FEATURE_STATUS_QUERY = "OID_SWITCH_FEATURE_STATUS_QUERY" METHOD None, Pass, true, "oid-switch-feature-status-query.md";
    Bare SWITCH_PORT_FEATURE_STATUS_QUERY = "OID_SWITCH_PORT_FEATURE_STATUS_QUERY" METHOD None, Pass, true, "oid-switch-port-feature-status-query.md";
    Bare SWITCH_NIC_SAVE = "OID_SWITCH_NIC_SAVE" METHOD SAVE, Answer, false, "oid-switch-nic-save.md";
    Bare SWITCH_NIC_SAVE_COMPLETE = "OID_SWITCH_NIC_SAVE_COMPLETE" SET SAVE, Note, false, "oid-switch-nic-save-complete.md";
    Bare SWITCH_NIC_RESTORE = "OID_SWITCH_NIC_RESTORE" SET SAVE, Answer, false, "oid-switch-nic-restore.md";
    Bare SWITCH_NIC_RESTORE_COMPLETE = "OID_SWITCH_NIC_RESTORE_COMPLETE" SET SAVE, Note, false, "oid-switch-nic-restore-complete.md";
    Bare SWITCH_NIC_REQUEST = "OID_SWITCH_NIC_REQUEST" SET_OR_METHOD ENVELOPE, Open, false, "oid-switch-nic-request.md";
    Envelope RECEIVE_FILTER_ALLOCATE_QUEUE = "OID_RECEIVE_FILTER_ALLOCATE_QUEUE" METHOD Some(("NDIS_RECEIVE_QUEUE_PARAMETERS", 1084)), Treatment::Place(Queue), true, "oid-receive-filter-allocate-queue.md";
    Envelope RECEIVE_FILTER_SET_FILTER = "OID_RECEIVE_FILTER_SET_FILTER" METHOD Some(("NDIS_RECEIVE_FILTER_PARAMETERS", 36)), Treatment::Place(Filter), true, "oid-receive-filter-set-filter.md";
    Envelope RECEIVE_FILTER_QUEUE_ALLOCATION_COMPLETE = "OID_RECEIVE_FILTER_QUEUE_ALLOCATION_COMPLETE" METHOD Some(("NDIS_RECEIVE_QUEUE_ALLOCATION_COMPLETE_ARRAY", 20)), Follow(Queue), false, "oid-receive-filter-queue-allocation-complete.md";
    Envelope RECEIVE_FILTER_CLEAR_FILTER = "OID_RECEIVE_FILTER_CLEAR_FILTER" SET Some(("NDIS_RECEIVE_FILTER_CLEAR_PARAMETERS", 16)), Release(Filter), false, "oid-receive-filter-clear-filter.md";
    Envelope RECEIVE_FILTER_MOVE_FILTER = "OID_RECEIVE_FILTER_MOVE_FILTER" SET Some(("NDIS_RECEIVE_FILTER_MOVE_FILTER_PARAMETERS", 24)), Follow(Filter), true, "oid-receive-filter-move-filter.md";
    Envelope RECEIVE_FILTER_FREE_QUEUE = "OID_RECEIVE_FILTER_FREE_QUEUE" SET Some(("NDIS_RECEIVE_QUEUE_FREE_PARAMETERS", 12)), Release(Queue), false, "oid-receive-filter-free-queue.md";
    Envelope NIC_SWITCH_ALLOCATE_VF = "OID_NIC_SWITCH_ALLOCATE_VF" METHOD Some(("NDIS_NIC_SWITCH_VF_PARAMETERS", 1632)), Treatment::Place(Vf), true, "oid-nic-switch-allocate-vf.md";
    Envelope NIC_SWITCH_FREE_VF = "OID_NIC_SWITCH_FREE_VF" SET Some(("NDIS_NIC_SWITCH_FREE_VF_PARAMETERS", 10)), Release(Vf), false, "oid-nic-switch-free-vf.md";
    Envelope NIC_SWITCH_CREATE_VPORT = "OID_NIC_SWITCH_CREATE_VPORT" METHOD Some(("NDIS_NIC_SWITCH_VPORT_PARAMETERS", 572)), Treatment::Place(Vport), true, "oid-nic-switch-create-vport.md";
    Envelope NIC_SWITCH_DELETE_VPORT = "OID_NIC_SWITCH_DELETE_VPORT" SET Some(("NDIS_NIC_SWITCH_DELETE_VPORT_PARAMETERS", 12)), Release(Vport), false, "oid-nic-switch-delete-vport.md";
    Envelope TCP_TASK_IPSEC_OFFLOAD_V2_ADD_SA = "OID_TCP_TASK_IPSEC_OFFLOAD_V2_ADD_SA" SET_OR_METHOD Some(("IPSEC_OFFLOAD_V2_ADD_SA", 169)), Treatment::Place(Sa), false, "oid-tcp-task-ipsec-offload-v2-add-sa.md";
    Envelope TCP_TASK_IPSEC_OFFLOAD_V2_ADD_SA_EX = "OID_TCP_TASK_IPSEC_OFFLOAD_V2_ADD_SA_EX" SET_OR_METHOD Some(("IPSEC_OFFLOAD_V2_ADD_SA_EX", 170)), Treatment::Place(Sa), false, "oid-tcp-task-ipsec-offload-v2-add-sa-ex.md";
    Envelope TCP_TASK_IPSEC_OFFLOAD_V2_UPDATE_SA = "OID_TCP_TASK_IPSEC_OFFLOAD_V2_UPDATE_SA" SET_OR_METHOD Some(("IPSEC_OFFLOAD_V2_UPDATE_SA", 28)), Follow(Sa), false, "oid-tcp-task-ipsec-offload-v2-update-sa.md";
    Envelope TCP_TASK_IPSEC_OFFLOAD_V2_DELETE_SA = "OID_TCP_TASK_IPSEC_OFFLOAD_V2_DELETE_SA" SET_OR_METHOD Some(("IPSEC_OFFLOAD_V2_DELETE_SA", 24)), Release(Sa), false, "oid-tcp-task-ipsec-offload-v2-delete-sa.md";
    Envelope RECEIVE_FILTER_QUEUE_PARAMETERS = "OID_RECEIVE_FILTER_QUEUE_PARAMETERS" SET Some(("NDIS_RECEIVE_QUEUE_PARAMETERS", 1084)), Follow(Queue), true, "oid-receive-filter-queue-parameters.md";
    Envelope NIC_SWITCH_VPORT_PARAMETERS = "OID_NIC_SWITCH_VPORT_PARAMETERS" SET Some(("NDIS_NIC_SWITCH_VPORT_PARAMETERS", 572)), Follow(Vport), true, "oid-nic-switch-vport-parameters.md";
    Envelope GEN_RECEIVE_SCALE_PARAMETERS = "OID_GEN_RECEIVE_SCALE_PARAMETERS" SET None, Follow(Vport), true, "oid-gen-receive-scale-parameters.md";
    Envelope GEN_RECEIVE_SCALE_PARAMETERS_V2 = "OID_GEN_RECEIVE_SCALE_PARAMETERS_V2" SET None, Follow(Vport), true, "oid-gen-receive-scale-parameters-v2.md";
    Envelope SRIOV_READ_VF_CONFIG_SPACE = "OID_SRIOV_READ_VF_CONFIG_SPACE" METHOD Some(("NDIS_SRIOV_READ_VF_CONFIG_SPACE_PARAMETERS", 20)), Follow(Vf), true, "oid-sriov-read-vf-config-space.md";
    Envelope SRIOV_WRITE_VF_CONFIG_SPACE = "OID_SRIOV_WRITE_VF_CONFIG_SPACE" SET Some(("NDIS_SRIOV_WRITE_VF_CONFIG_SPACE_PARAMETERS", 20)), Follow(Vf), true, "oid-sriov-write-vf-config-space.md";
    Envelope SRIOV_READ_VF_CONFIG_BLOCK = "OID_SRIOV_READ_VF_CONFIG_BLOCK" METHOD Some(("NDIS_SRIOV_READ_VF_CONFIG_BLOCK_PARAMETERS", 20)), Follow(Vf), true, "oid-sriov-read-vf-config-block.md";
    Envelope SRIOV_WRITE_VF_CONFIG_BLOCK = "OID_SRIOV_WRITE_VF_CONFIG_BLOCK" SET Some(("NDIS_SRIOV_WRITE_VF_CONFIG_BLOCK_PARAMETERS", 20)), Follow(Vf), true, "oid-sriov-write-vf-config-block.md";
    Envelope SRIOV_RESET_VF = "OID_SRIOV_RESET_VF" SET Some(("NDIS_SRIOV_RESET_VF_PARAMETERS", 6)), Follow(Vf), true, "oid-sriov-reset-vf.md";
    Envelope SRIOV_SET_VF_POWER_STATE = "OID_SRIOV_SET_VF_POWER_STATE" SET Some(("NDIS_SRIOV_SET_VF_POWER_STATE_PARAMETERS", 13)), Follow(Vf), true, "oid-sriov-set-vf-power-state.md";
    Envelope SRIOV_VF_VENDOR_DEVICE_ID = "OID_SRIOV_VF_VENDOR_DEVICE_ID" METHOD Some(("NDIS_SRIOV_VF_VENDOR_DEVICE_ID_INFO", 10)), Follow(Vf), true, "oid-sriov-vf-vendor-device-id.md";
    Envelope SRIOV_BAR_RESOURCES = "OID_SRIOV_BAR_RESOURCES" METHOD Some(("NDIS_SRIOV_BAR_RESOURCES_INFO", 12)), Follow(Vf), true, "oid-sriov-bar-resources.md";
    Envelope IEEE_802_3_MULTICAST_LIST = "OID_802_3_MULTICAST_LIST" SET None, Note, false, "forwarding-oid-requests-from-a-hyper-v-child-partition.md";
    Envelope IEEE_802_3_ADD_MULTICAST_ADDRESS = "OID_802_3_ADD_MULTICAST_ADDRESS" SET None, Note, false, "forwarding-oid-requests-from-a-hyper-v-child-partition.md";
    Envelope IEEE_802_3_DELETE_MULTICAST_ADDRESS = "OID_802_3_DELETE_MULTICAST_ADDRESS" SET None, Note, false, "forwarding-oid-requests-from-a-hyper-v-child-partition.md";
    Envelope GEN_CURRENT_PACKET_FILTER = "OID_GEN_CURRENT_PACKET_FILTER" SET None, Note, false, "forwarding-oid-requests-from-a-hyper-v-child-partition.md";
    Own SWITCH_PARAMETERS = "OID_SWITCH_PARAMETERS" QUERY Some(("NDIS_SWITCH_PARAMETERS", 1045)), Ask, false, "oid-switch-parameters.md";
    Own SWITCH_PORT_ARRAY = "OID_SWITCH_PORT_ARRAY" QUERY Some(("NDIS_SWITCH_PORT_ARRAY", 20)), Ask, false, "oid-switch-port-array.md";
    Own SWITCH_NIC_ARRAY = "OID_SWITCH_NIC_ARRAY" QUERY Some(("NDIS_SWITCH_NIC_ARRAY", 20)), Ask, false, "oid-switch-nic-array.md";
    Own SWITCH_PORT_PROPERTY_ENUM = "OID_SWITCH_PORT_PROPERTY_ENUM" METHOD Some(("NDIS_SWITCH_PORT_PROPERTY_ENUM_PARAMETERS", 48)), Ask, false, "oid-switch-port-property-enum.md";
    Own GEN_LINK_STATE = "OID_GEN_LINK_STATE" QUERY Some(("NDIS_LINK_STATE", 40)), Ask, false, "oid-gen-link-state.md";
    Own RECEIVE_FILTER_CURRENT_CAPABILITIES = "OID_RECEIVE_FILTER_CURRENT_CAPABILITIES" QUERY Some(("NDIS_RECEIVE_FILTER_CAPABILITIES", 56)), Ask, false, "oid-receive-filter-current-capabilities.md";
    Own RECEIVE_FILTER_HARDWARE_CAPABILITIES = "OID_RECEIVE_FILTER_HARDWARE_CAPABILITIES" QUERY Some(("NDIS_RECEIVE_FILTER_CAPABILITIES", 56)), Ask, false, "oid-receive-filter-hardware-capabilities.md";
    Own NIC_SWITCH_CURRENT_CAPABILITIES = "OID_NIC_SWITCH_CURRENT_CAPABILITIES" QUERY Some(("NDIS_NIC_SWITCH_CAPABILITIES", 32)), Ask, false, "oid-nic-switch-current-capabilities.md";
    Own NIC_SWITCH_HARDWARE_CAPABILITIES = "OID_NIC_SWITCH_HARDWARE_CAPABILITIES" QUERY Some(("NDIS_NIC_SWITCH_CAPABILITIES", 32)), Ask, false, "oid-nic-switch-hardware-capabilities.md";
    Own SRIOV_CURRENT_CAPABILITIES = "OID_SRIOV_CURRENT_CAPABILITIES" QUERY Some(("NDIS_SRIOV_CAPABILITIES", 12)), Ask, false, "oid-sriov-current-capabilities.md";
    Own TCP_OFFLOAD_CURRENT_CONFIG = "OID_TCP_OFFLOAD_CURRENT_CONFIG" QUERY Some(("NDIS_OFFLOAD", 112)), Ask, false, "oid-tcp-offload-current-config.md";
    Own TCP_OFFLOAD_HARDWARE_CAPABILITIES = "OID_TCP_OFFLOAD_HARDWARE_CAPABILITIES" QUERY Some(("NDIS_OFFLOAD", 112)), Ask, false, "oid-tcp-offload-hardware-capabilities.md";
    Own RECEIVE_FILTER_ENUM_QUEUES = "OID_RECEIVE_FILTER_ENUM_QUEUES" QUERY Some(("NDIS_RECEIVE_QUEUE_INFO_ARRAY", 16)), Ask, false, "oid-receive-filter-enum-queues.md";
    Own RECEIVE_FILTER_ENUM_FILTERS = "OID_RECEIVE_FILTER_ENUM_FILTERS" METHOD Some(("NDIS_RECEIVE_FILTER_INFO_ARRAY", 20)), Ask, false, "oid-receive-filter-enum-filters.md";
    Own RECEIVE_FILTER_PARAMETERS = "OID_RECEIVE_FILTER_PARAMETERS" METHOD Some(("NDIS_RECEIVE_FILTER_PARAMETERS", 36)), Ask, false, "oid-receive-filter-parameters.md";
    Own RECEIVE_FILTER_QUEUE_PARAMETERS = "OID_RECEIVE_FILTER_QUEUE_PARAMETERS" METHOD Some(("NDIS_RECEIVE_QUEUE_PARAMETERS", 1084)), Ask, false, "oid-receive-filter-queue-parameters.md";
    Own NIC_SWITCH_ENUM_VPORTS = "OID_NIC_SWITCH_ENUM_VPORTS" METHOD Some(("NDIS_NIC_SWITCH_VPORT_INFO_ARRAY", 28)), Ask, false, "oid-nic-switch-enum-vports.md";
    Own NIC_SWITCH_ENUM_VFS = "OID_NIC_SWITCH_ENUM_VFS" METHOD Some(("NDIS_NIC_SWITCH_VF_INFO_ARRAY", 24)), Ask, false, "oid-nic-switch-enum-vfs.md";
}

/// The row of a request of this type, or `None`: it is passed on unread.
pub fn find(place: OidContext, oid: u32, kind: RequestType) -> Option<&'static Row> {
    OIDS.iter().find(|row| row.place == place && row.oid == oid && row.kinds.contains(&kind))
}

/// What happens to a request in an envelope whose OID has no row for its type, and whose NDIS_OID_REQUEST names a virtual
/// port as its target, which any OID may have (ns-oidrequest-ndis_oid_request.md). Its payload is not read.
pub const TARGETS_VPORT: Row = Row {
    oid: 0,
    place: OidContext::Envelope,
    kinds: &[RequestType::Query, RequestType::Set, RequestType::Method],
    payload: None,
    treatment: Follow(Vport),
    refusable: true,
};
