//! The flag words of NDIS, one type for each, so that a flag of one call does not compile in another.
//!
//! `const _ = !0` makes every bit of a word known to its type, so that flags that a later NDIS or an extension above
//! has set survive every operator, `!` included, and are passed on. `from_bits_retain` and `bits` convert from and to
//! the raw word and generate no instructions. `tests/files/flags.rs` compares names and values with an independent
//! table and requires that no flag of a word is missing.

use bitflags::bitflags;

bitflags! {
    /// `NDIS_SEND_FLAGS_*`: of FilterSendNetBufferLists and NdisFSendNetBufferLists.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    #[repr(transparent)]
    pub struct SendFlags: u32 {
        const DISPATCH_LEVEL = 0x1;
        const CHECK_FOR_LOOPBACK = 0x2;
        const SINGLE_QUEUE = 0x4;
        const SWITCH_DESTINATION_GROUP = 0x10;
        const SWITCH_SINGLE_SOURCE = 0x20;
        const _ = !0;
    }

    /// `NDIS_SEND_COMPLETE_FLAGS_*`: of FilterSendNetBufferListsComplete and NdisFSendNetBufferListsComplete.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    #[repr(transparent)]
    pub struct SendCompleteFlags: u32 {
        const DISPATCH_LEVEL = 0x1;
        const SINGLE_QUEUE = 0x2;
        const SWITCH_SINGLE_SOURCE = 0x4;
        const _ = !0;
    }

    /// `NDIS_RECEIVE_FLAGS_*`: of FilterReceiveNetBufferLists and NdisFIndicateReceiveNetBufferLists.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    #[repr(transparent)]
    pub struct ReceiveFlags: u32 {
        const DISPATCH_LEVEL = 0x1;
        const RESOURCES = 0x2;
        const SINGLE_ETHER_TYPE = 0x100;
        const SINGLE_VLAN = 0x200;
        const PERFECT_FILTERED = 0x400;
        const SINGLE_QUEUE = 0x800;
        const SHARED_MEMORY_INFO_VALID = 0x1000;
        const MORE_NBLS = 0x2000;
        const SWITCH_DESTINATION_GROUP = 0x4000;
        const SWITCH_SINGLE_SOURCE = 0x8000;
        const _ = !0;
    }

    /// `NDIS_RETURN_FLAGS_*`: of FilterReturnNetBufferLists and NdisFReturnNetBufferLists.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    #[repr(transparent)]
    pub struct ReturnFlags: u32 {
        const DISPATCH_LEVEL = 0x1;
        const SINGLE_QUEUE = 0x2;
        const SWITCH_SINGLE_SOURCE = 0x4;
        const _ = !0;
    }

    /// `NDIS_NBL_FLAGS_*`: of one list. The driver does not read them.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    #[repr(transparent)]
    pub struct NblFlags: u32 {
        const SEND_READ_ONLY = 0x1;
        const RECV_READ_ONLY = 0x2;
        const HD_SPLIT = 0x100;
        const IS_IPV4 = 0x200;
        const IS_IPV6 = 0x400;
        const IS_TCP = 0x800;
        const IS_UDP = 0x1000;
        const SPLIT_AT_UPPER_LAYER_PROTOCOL_HEADER = 0x2000;
        const SPLIT_AT_UPPER_LAYER_PROTOCOL_PAYLOAD = 0x4000;
        const IS_LOOPBACK_PACKET = 0x8000;
        const _ = !0;
    }

    /// `MDL_*`: only the flags that tell whether the pages are mapped.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    #[repr(transparent)]
    pub struct MdlFlags: i16 {
        const MAPPED_TO_SYSTEM_VA = 0x1;
        const SOURCE_IS_NONPAGED_POOL = 0x4;
        const _ = !0;
    }

    /// The bit fields of `NDIS_SWITCH_PORT_DESTINATION`, for which the header defines no flag names.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    #[repr(transparent)]
    pub struct DestinationBits: u16 {
        const IS_EXCLUDED = 0x1;
        const PRESERVE_VLAN = 0x2;
        const PRESERVE_PRIORITY = 0x4;
        const _ = !0;
    }

    /// `NDIS_SWITCH_REPORT_FILTERED_NBL_FLAGS_*`.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    #[repr(transparent)]
    pub struct ReportFilteredFlags: u32 {
        const IS_INCOMING = 0x1;
        const _ = !0;
    }

    /// `NDIS_SWITCH_COPY_NBL_INFO_FLAGS_*`.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    #[repr(transparent)]
    pub struct CopyInfoFlags: u32 {
        const PRESERVE_DESTINATIONS = 0x1;
        const PRESERVE_SWITCH_INFO_ONLY = 0x2;
        const _ = !0;
    }

    /// `NDIS_SWITCH_NIC_FLAGS_*`: of `NDIS_SWITCH_NIC_PARAMETERS`.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    #[repr(transparent)]
    pub struct NicFlags: u32 {
        const NIC_INITIALIZING = 0x1;
        const NIC_SUSPENDED = 0x2;
        const MAPPED_NIC_UPDATED = 0x4;
        const NIC_SUSPENDED_LM = 0x10;
        const _ = !0;
    }

    /// `NDIS_PACKET_TYPE_*`: of OID_GEN_CURRENT_PACKET_FILTER.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    #[repr(transparent)]
    pub struct PacketFilter: u32 {
        const DIRECTED = 0x1;
        const MULTICAST = 0x2;
        const ALL_MULTICAST = 0x4;
        const BROADCAST = 0x8;
        const PROMISCUOUS = 0x20;
        const _ = !0;
    }

    /// `NDIS_RWL_*`: of the read/write lock.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    #[repr(transparent)]
    pub struct RwLockFlags: u8 {
        const AT_DISPATCH_LEVEL = 0x1;
        const _ = !0;
    }
}

impl SendFlags {
    /// The flags with which lists are completed, from the flags with which they were sent.
    #[inline]
    pub const fn completion(self) -> SendCompleteFlags {
        let mut complete = SendCompleteFlags::empty();
        if self.contains(Self::DISPATCH_LEVEL) {
            complete = complete.union(SendCompleteFlags::DISPATCH_LEVEL);
        }
        if self.contains(Self::SWITCH_SINGLE_SOURCE) {
            complete = complete.union(SendCompleteFlags::SWITCH_SINGLE_SOURCE);
        }
        complete
    }
}
