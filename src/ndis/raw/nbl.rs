//! NET_BUFFER_LIST, NET_BUFFER and MDL.

use super::{Handle, MdlFlags, NblFlags, ObjectHeader, abi};
use core::ffi::c_void;

/// Length of the array `NetBufferListInfo` at NDIS 6.40.
pub const INFO_SLOTS: usize = 24;

/// Indices of `NetBufferListInfo` (NDIS_NET_BUFFER_LIST_INFO) on x86-64.
pub mod info {
    pub const CHECKSUM: usize = 0;
    pub const IPSEC: usize = 1;
    pub const LARGE_SEND: usize = 2;
    pub const IEEE_8021Q: usize = 4;
    pub const CANCEL_ID: usize = 5;
    pub const HASH_VALUE: usize = 8;
    pub const HASH_INFO: usize = 9;
    /// `IPsecOffloadV2TunnelNetBufferListInfo`.
    pub const IPSEC_TUNNEL: usize = 11;
    pub const FILTERING: usize = 14;
    pub const SWITCH_FORWARDING_RESERVED: usize = 18;
    pub const SWITCH_FORWARDING_DETAIL: usize = 19;
    pub const VIRTUAL_SUBNET: usize = 20;
    /// `UdpRecvSegCoalesceOffloadInfo` of a received list.
    pub const UDP_COALESCED: usize = 17;
    /// `TcpRecvSegCoalesceInfo` of a received list.
    pub const TCP_COALESCED: usize = 22;
    /// `UdpSegmentationOffloadInfo` of one that is sent.
    pub const UDP_SEGMENTATION: usize = 22;
    /// `TcpSendOffloadsSupplementalNetBufferListInfo` of one that is sent.
    pub const ENCAPSULATED: usize = 23;
}

// NDIS aligns the structure to 16 bytes; the driver only uses pointers to it.
abi! {
    "NET_BUFFER_LIST" 336 => NetBufferList {
        next: *mut NetBufferList = "Next" @ 0,
        first_net_buffer: *mut NetBuffer = "FirstNetBuffer" @ 8,
        context: *mut c_void = "Context" @ 16,
        parent: *mut NetBufferList = "ParentNetBufferList" @ 24,
        ndis_pool_handle: Handle = "NdisPoolHandle" @ 32,
        _align: u64 = "" @ 40,
        ndis_reserved: [u64; 2] = "NdisReserved" @ 48,
        protocol_reserved: [u64; 4] = "ProtocolReserved" @ 64,
        miniport_reserved: [u64; 2] = "MiniportReserved" @ 96,
        scratch: u64 = "Scratch" @ 112,
        source_handle: Handle = "SourceHandle" @ 120,
        nbl_flags: NblFlags = "NblFlags" @ 128,
        child_ref_count: i32 = "ChildRefCount" @ 132,
        flags: u32 = "Flags" @ 136,
        status: i32 = "Status" @ 140,
        info: [u64; INFO_SLOTS] = "NetBufferListInfo" @ 144,
    }
}

abi! {
    "NET_BUFFER" 176 => NetBuffer {
        next: *mut NetBuffer = "Next" @ 0,
        current_mdl: *mut Mdl = "CurrentMdl" @ 8,
        current_mdl_offset: u32 = "CurrentMdlOffset" @ 16,
        _align: u32 = "" @ 20,
        data_length: u32 = "DataLength" @ 24,
        _data_length_high: u32 = "" @ 28,
        mdl_chain: *mut Mdl = "MdlChain" @ 32,
        data_offset: u32 = "DataOffset" @ 40,
        _align2: u32 = "" @ 44,
        checksum_bias: u16 = "ChecksumBias" @ 48,
        reserved: u16 = "Reserved" @ 50,
        _align3: u32 = "" @ 52,
        ndis_pool_handle: Handle = "NdisPoolHandle" @ 56,
        ndis_reserved: [u64; 2] = "NdisReserved" @ 64,
        protocol_reserved: [u64; 6] = "ProtocolReserved" @ 80,
        miniport_reserved: [u64; 4] = "MiniportReserved" @ 128,
        data_physical_address: u64 = "DataPhysicalAddress" @ 160,
        shared_memory_info: *mut c_void = "SharedMemoryInfo" @ 168,
    }
}

abi! {
    "MDL" 48 => Mdl {
        next: *mut Mdl = "Next" @ 0,
        size: i16 = "Size" @ 8,
        mdl_flags: MdlFlags = "MdlFlags" @ 10,
        _align: u32 = "" @ 12,
        process: *mut c_void = "Process" @ 16,
        mapped_system_va: *mut u8 = "MappedSystemVa" @ 24,
        start_va: *mut u8 = "StartVa" @ 32,
        byte_count: u32 = "ByteCount" @ 40,
        byte_offset: u32 = "ByteOffset" @ 44,
    }
}

abi! {
    "NET_BUFFER_LIST_POOL_PARAMETERS" 16 => NetBufferListPoolParameters {
        header: ObjectHeader = "Header" @ 0,
        protocol_id: u8 = "ProtocolId" @ 4,
        allocate_net_buffer: u8 = "fAllocateNetBuffer" @ 5,
        context_size: u16 = "ContextSize" @ 6,
        pool_tag: u32 = "PoolTag" @ 8,
        data_size: u32 = "DataSize" @ 12,
    }
}

// Revision 1; revision 2 has flags and came with NDIS 6.87.
abi! {
    "NET_BUFFER_POOL_PARAMETERS" 12 => NetBufferPoolParameters {
        header: ObjectHeader = "Header" @ 0,
        pool_tag: u32 = "PoolTag" @ 4,
        data_size: u32 = "DataSize" @ 8,
    }
}

/// NDIS_SWITCH_FORWARDING_DETAIL_NET_BUFFER_LIST_INFO (index 19 of NetBufferListInfo), decoded from its 64-bit value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(transparent)]
pub struct ForwardingDetail(pub u64);

impl ForwardingDetail {
    pub const fn available_destinations(self) -> u16 {
        (self.0 & 0xFFFF) as u16
    }
    pub const fn source_port(self) -> u32 {
        ((self.0 >> 16) & 0xFFFF) as u32
    }
    pub const fn source_nic(self) -> u16 {
        ((self.0 >> 32) & 0xFF) as u16
    }
    pub const fn native_forwarding_required(self) -> bool {
        self.0 & (1 << 40) != 0
    }
    pub const fn is_packet_data_safe(self) -> bool {
        self.0 & (1 << 42) != 0
    }
    #[must_use]
    pub const fn as_safe(self) -> Self {
        Self(self.0 | 1 << 42)
    }
    /// Number of bytes from the start of the packet that the guest cannot change; valid only if `is_packet_data_safe`
    /// is false.
    pub const fn safe_packet_data_size(self) -> u32 {
        ((self.0 >> 43) & 0xFFF) as u32
    }
    /// The same for a list whose bytes begin with `own` bytes of memory that no guest can change, in place of the first
    /// `replaced` ones.
    #[must_use]
    pub fn with_own_front(self, own: u32, replaced: u32) -> Self {
        const SIZE: u64 = 0xFFF << 43;
        if self.is_packet_data_safe() {
            return self;
        }
        let behind = self.safe_packet_data_size().saturating_sub(replaced);
        Self(self.0 & !SIZE | u64::from(own.saturating_add(behind).min(0xFFF)) << 43)
    }
    pub const fn is_packet_data_uncached(self) -> bool {
        self.0 & (1 << 55) != 0
    }
    pub const fn is_safe_packet_data_uncached(self) -> bool {
        self.0 & (1 << 56) != 0
    }
}
