//! NDIS_OID_REQUEST and its encapsulation, status indications, network PnP events.

use super::{CountedString, Guid, Handle, ObjectHeader, abi};
use core::ffi::c_void;

/// `NDIS_REQUEST_TYPE`.
pub mod request_type {
    pub const QUERY_INFORMATION: i32 = 0;
    pub const SET_INFORMATION: i32 = 1;
    pub const QUERY_STATISTICS: i32 = 2;
    pub const METHOD: i32 = 12;
}

abi! {
    /// A query, set or method request. Bytes 32..72 are a union of three structures; `ndis::oid::Request` reads it by
    /// request type.
    "NDIS_OID_REQUEST" 248 => OidRequest {
        header: ObjectHeader = "Header" @ 0,
        request_type: i32 = "RequestType" @ 4,
        port_number: u32 = "PortNumber" @ 8,
        timeout: u32 = "Timeout" @ 12,
        request_id: *mut c_void = "RequestId" @ 16,
        request_handle: Handle = "RequestHandle" @ 24,
        oid: u32 = "DATA.Oid" @ 32,
        _align: u32 = "" @ 36,
        information_buffer: *mut c_void = "DATA.QUERY_INFORMATION.InformationBuffer" @ 40,
        /// Query, set: InformationBufferLength. Method: InputBufferLength.
        length: u32 = "DATA.QUERY_INFORMATION.InformationBufferLength" @ 48,
        /// Query: BytesWritten. Set: BytesRead. Method: OutputBufferLength.
        word52: u32 = "DATA.QUERY_INFORMATION.BytesWritten" @ 52,
        /// Query, set: BytesNeeded. Method: MethodId.
        word56: u32 = "DATA.QUERY_INFORMATION.BytesNeeded" @ 56,
        method_bytes_written: u32 = "DATA.METHOD_INFORMATION.BytesWritten" @ 60,
        method_bytes_read: u32 = "DATA.METHOD_INFORMATION.BytesRead" @ 64,
        method_bytes_needed: u32 = "DATA.METHOD_INFORMATION.BytesNeeded" @ 68,
        ndis_reserved: [u8; 128] = "NdisReserved" @ 72,
        miniport_reserved: [u8; 16] = "MiniportReserved" @ 200,
        source_reserved: [*mut c_void; 2] = "SourceReserved" @ 216,
        supported_revision: u8 = "SupportedRevision" @ 232,
        reserved1: u8 = "Reserved1" @ 233,
        reserved2: u16 = "Reserved2" @ 234,
        switch_id: u32 = "SwitchId" @ 236,
        vport_id: u32 = "VPortId" @ 240,
        flags: u32 = "Flags" @ 244,
    }
}

impl OidRequest {
    /// `NDIS_SIZEOF_OID_REQUEST_REVISION_1`.
    pub const SIZE_REVISION_1: u16 = 236;
    /// `NDIS_SIZEOF_OID_REQUEST_REVISION_2`, of NDIS 6.50: with SwitchId, VPortId and Flags.
    pub const SIZE_REVISION_2: u16 = 248;
    /// `NDIS_OID_REQUEST_FLAGS_VPORT_ID_VALID`: VPortId says which virtual port the request is for.
    pub const VPORT_ID_VALID: u32 = 1;

    /// BytesWritten of a query.
    pub const fn bytes_written(&self) -> u32 {
        self.word52
    }

    /// BytesNeeded of a query.
    pub const fn bytes_needed(&self) -> u32 {
        self.word56
    }
}

abi! {
    "NDIS_SWITCH_NIC_OID_REQUEST" 32 => SwitchNicOidRequest {
        header: ObjectHeader = "Header" @ 0,
        flags: u32 = "Flags" @ 4,
        source_port_id: u32 = "SourcePortId" @ 8,
        source_nic_index: u16 = "SourceNicIndex" @ 12,
        _align: u16 = "" @ 14,
        destination_port_id: u32 = "DestinationPortId" @ 16,
        destination_nic_index: u16 = "DestinationNicIndex" @ 20,
        _align2: u16 = "" @ 22,
        oid_request: *mut OidRequest = "OidRequest" @ 24,
    }
}

abi! {
    /// Header of the saved data of one extension for one NIC. `NicIndex` is always 0.
    "NDIS_SWITCH_NIC_SAVE_STATE" 568 => NicSaveState {
        header: ObjectHeader = "Header" @ 0,
        flags: u32 = "Flags" @ 4,
        port_id: u32 = "PortId" @ 8,
        nic_index: u16 = "NicIndex" @ 12,
        _align: u16 = "" @ 14,
        extension_id: Guid = "ExtensionId" @ 16,
        extension_friendly_name: CountedString = "ExtensionFriendlyName" @ 32,
        feature_class_id: Guid = "FeatureClassId" @ 548,
        save_data_size: u16 = "SaveDataSize" @ 564,
        save_data_offset: u16 = "SaveDataOffset" @ 566,
    }
}

impl NicSaveState {
    /// `NDIS_SIZEOF_NDIS_SWITCH_NIC_SAVE_STATE_REVISION_1`.
    pub const SIZE_REVISION_1: u16 = 568;
    /// Revision 2 (NDIS 6.50) adds `SaveDataSizeOverflow`: bytes of data in addition to `SaveDataSize`.
    pub const SIZE_REVISION_2: u16 = 572;
    /// Offset of `SaveDataSizeOverflow`.
    pub const OVERFLOW: usize = 568;
}

abi! {
    "NDIS_STATUS_INDICATION" 112 => StatusIndication {
        header: ObjectHeader = "Header" @ 0,
        _align: u32 = "" @ 4,
        source_handle: Handle = "SourceHandle" @ 8,
        port_number: u32 = "PortNumber" @ 16,
        status_code: i32 = "StatusCode" @ 20,
        flags: u32 = "Flags" @ 24,
        _align2: u32 = "" @ 28,
        destination_handle: Handle = "DestinationHandle" @ 32,
        request_id: *mut c_void = "RequestId" @ 40,
        status_buffer: *mut c_void = "StatusBuffer" @ 48,
        status_buffer_size: u32 = "StatusBufferSize" @ 56,
        guid: Guid = "Guid" @ 60,
        _align3: u32 = "" @ 76,
        ndis_reserved: [*mut c_void; 4] = "NdisReserved" @ 80,
    }
}

abi! {
    "NDIS_SWITCH_NIC_STATUS_INDICATION" 32 => SwitchNicStatusIndication {
        header: ObjectHeader = "Header" @ 0,
        flags: u32 = "Flags" @ 4,
        source_port_id: u32 = "SourcePortId" @ 8,
        source_nic_index: u16 = "SourceNicIndex" @ 12,
        _align: u16 = "" @ 14,
        destination_port_id: u32 = "DestinationPortId" @ 16,
        destination_nic_index: u16 = "DestinationNicIndex" @ 20,
        _align2: u16 = "" @ 22,
        status_indication: *mut StatusIndication = "StatusIndication" @ 24,
    }
}

abi! {
    "NDIS_LINK_STATE" 40 => LinkState {
        header: ObjectHeader = "Header" @ 0,
        media_connect_state: i32 = "MediaConnectState" @ 4,
        media_duplex_state: i32 = "MediaDuplexState" @ 8,
        _align: u32 = "" @ 12,
        xmit_link_speed: u64 = "XmitLinkSpeed" @ 16,
        rcv_link_speed: u64 = "RcvLinkSpeed" @ 24,
        pause_functions: u32 = "PauseFunctions" @ 32,
        auto_negotiation_flags: u32 = "AutoNegotiationFlags" @ 36,
    }
}

impl LinkState {
    pub const MEDIA_CONNECT_STATE_UNKNOWN: i32 = 0;
    pub const MEDIA_CONNECT_STATE_CONNECTED: i32 = 1;
    pub const MEDIA_CONNECT_STATE_DISCONNECTED: i32 = 2;
    /// `NDIS_LINK_SPEED_UNKNOWN`.
    pub const SPEED_UNKNOWN: u64 = u64::MAX;
}

abi! {
    "NET_PNP_EVENT" 152 => NetPnpEvent {
        net_event: i32 = "NetEvent" @ 0,
        _align: u32 = "" @ 4,
        buffer: *mut c_void = "Buffer" @ 8,
        buffer_length: u32 = "BufferLength" @ 16,
        _align2: u32 = "" @ 20,
        ndis_reserved: [u64; 4] = "NdisReserved" @ 24,
        transport_reserved: [u64; 4] = "TransportReserved" @ 56,
        tdi_reserved: [u64; 4] = "TdiReserved" @ 88,
        tdi_client_reserved: [u64; 4] = "TdiClientReserved" @ 120,
    }
}

impl NetPnpEvent {
    pub const FILTER_PRE_DETACH: i32 = 15;
    pub const SWITCH_ACTIVATE: i32 = 17;
}

abi! {
    "NET_PNP_EVENT_NOTIFICATION" 168 => NetPnpEventNotification {
        header: ObjectHeader = "Header" @ 0,
        port_number: u32 = "PortNumber" @ 4,
        net_pnp_event: NetPnpEvent = "NetPnPEvent" @ 8,
        flags: u32 = "Flags" @ 160,
        _align: u32 = "" @ 164,
    }
}

/// OIDs by their documented names without the prefix `OID_`; `teaming::oid` defines them with the table of what is
/// done with each.
pub use teaming::oid::oids;
