//! NDIS_STATUS values as the signed 32-bit numbers that NDIS exchanges.

#![expect(clippy::cast_possible_wrap, reason = "documented as unsigned bit patterns of a signed number")]

pub const SUCCESS: i32 = 0;
pub const PENDING: i32 = 0x103;
pub const FAILURE: i32 = 0xC000_0001_u32 as i32;
pub const INVALID_PARAMETER: i32 = 0xC000_000D_u32 as i32;
pub const RESOURCES: i32 = 0xC000_009A_u32 as i32;
pub const NOT_SUPPORTED: i32 = 0xC000_00BB_u32 as i32;
pub const INVALID_STATE: i32 = 0xC000_0184_u32 as i32;
pub const DATA_NOT_ACCEPTED: i32 = 0xC000_021B_u32 as i32;
pub const REQUEST_ABORTED: i32 = 0xC001_000C_u32 as i32;
pub const INVALID_LENGTH: i32 = 0xC001_0014_u32 as i32;
pub const BUFFER_OVERFLOW: i32 = 0x8000_0005_u32 as i32;
pub const BUFFER_TOO_SHORT: i32 = 0xC001_0016_u32 as i32;
pub const FILE_NOT_FOUND: i32 = 0xC001_001B_u32 as i32;
pub const UNSUPPORTED_MEDIA: i32 = 0xC001_0019_u32 as i32;
pub const ADAPTER_NOT_FOUND: i32 = 0xC001_0006_u32 as i32;
pub const SEND_ABORTED: i32 = 0xC023_000C_u32 as i32;
pub const PAUSED: i32 = 0xC023_002A_u32 as i32;

/// Codes of status indications (FilterStatus).
pub const MEDIA_CONNECT: i32 = 0x4001_000B;
pub const MEDIA_DISCONNECT: i32 = 0x4001_000C;
pub const LINK_STATE: i32 = 0x4001_0017;
pub const SWITCH_PORT_REMOVE_VF: i32 = 0xC024_1001_u32 as i32;
pub const SWITCH_NIC_STATUS: i32 = 0xC024_1002_u32 as i32;
pub const RECEIVE_QUEUE_STATE: i32 = 0x4002_000D;
pub const TASK_OFFLOAD_CURRENT_CONFIG: i32 = 0x4002_0006;
pub const TASK_OFFLOAD_HARDWARE_CAPABILITIES: i32 = 0x4002_0007;
pub const RECEIVE_FILTER_CURRENT_CAPABILITIES: i32 = 0x4002_0010;
pub const RECEIVE_FILTER_HARDWARE_CAPABILITIES: i32 = 0x4002_0020;
pub const RECEIVE_FILTER_QUEUE_PARAMETERS: i32 = 0x4002_0030;
pub const RECEIVE_FILTER_QUEUE_STATE_CHANGE: i32 = 0x4002_0070;
pub const NIC_SWITCH_CURRENT_CAPABILITIES: i32 = 0x4002_0040;
pub const NIC_SWITCH_HARDWARE_CAPABILITIES: i32 = 0x4002_0050;
