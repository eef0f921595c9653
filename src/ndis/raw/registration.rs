//! Structures of the filter driver's registration, of FilterAttach, FilterPause and FilterRestart, and of timers and
//! strings.

use super::{
    Handle, NetBufferList, NetPnpEventNotification, ObjectHeader, OidRequest, StatusIndication,
    UnicodeString, abi,
};
use core::ffi::c_void;

pub type SetOptions = unsafe extern "win64" fn(Handle, Handle) -> i32;
pub type FilterAttach = unsafe extern "win64" fn(Handle, Handle, *mut FilterAttachParameters) -> i32;
pub type FilterDetach = unsafe extern "win64" fn(Handle);
pub type FilterRestart = unsafe extern "win64" fn(Handle, *mut FilterRestartParameters) -> i32;
pub type FilterPause = unsafe extern "win64" fn(Handle, *mut FilterPauseParameters) -> i32;
pub type FilterSend = unsafe extern "win64" fn(Handle, *mut NetBufferList, u32, u32);
pub type FilterSendComplete = unsafe extern "win64" fn(Handle, *mut NetBufferList, u32);
pub type FilterReceive = unsafe extern "win64" fn(Handle, *mut NetBufferList, u32, u32, u32);
pub type FilterReturn = unsafe extern "win64" fn(Handle, *mut NetBufferList, u32);
pub type FilterCancel = unsafe extern "win64" fn(Handle, *mut c_void);
pub type FilterOidRequest = unsafe extern "win64" fn(Handle, *mut OidRequest) -> i32;
pub type FilterOidRequestComplete = unsafe extern "win64" fn(Handle, *mut OidRequest, i32);
pub type FilterStatus = unsafe extern "win64" fn(Handle, *mut StatusIndication);
pub type FilterNetPnpEvent = unsafe extern "win64" fn(Handle, *mut NetPnpEventNotification) -> i32;

abi! {
    /// Revision 2 (NDIS 6.1 and later), which NDIS 6.40 accepts.
    "NDIS_FILTER_DRIVER_CHARACTERISTICS" 224 => FilterDriverCharacteristics {
        header: ObjectHeader = "Header" @ 0,
        major_ndis_version: u8 = "MajorNdisVersion" @ 4,
        minor_ndis_version: u8 = "MinorNdisVersion" @ 5,
        major_driver_version: u8 = "MajorDriverVersion" @ 6,
        minor_driver_version: u8 = "MinorDriverVersion" @ 7,
        flags: u32 = "Flags" @ 8,
        _align: u32 = "" @ 12,
        friendly_name: UnicodeString = "FriendlyName" @ 16,
        unique_name: UnicodeString = "UniqueName" @ 32,
        service_name: UnicodeString = "ServiceName" @ 48,
        set_options: Option<SetOptions> = "SetOptionsHandler" @ 64,
        set_module_options: Handle = "SetFilterModuleOptionsHandler" @ 72,
        attach: Option<FilterAttach> = "AttachHandler" @ 80,
        detach: Option<FilterDetach> = "DetachHandler" @ 88,
        restart: Option<FilterRestart> = "RestartHandler" @ 96,
        pause: Option<FilterPause> = "PauseHandler" @ 104,
        send: Option<FilterSend> = "SendNetBufferListsHandler" @ 112,
        send_complete: Option<FilterSendComplete> = "SendNetBufferListsCompleteHandler" @ 120,
        cancel_send: Option<FilterCancel> = "CancelSendNetBufferListsHandler" @ 128,
        receive: Option<FilterReceive> = "ReceiveNetBufferListsHandler" @ 136,
        return_lists: Option<FilterReturn> = "ReturnNetBufferListsHandler" @ 144,
        oid_request: Option<FilterOidRequest> = "OidRequestHandler" @ 152,
        oid_request_complete: Option<FilterOidRequestComplete> = "OidRequestCompleteHandler" @ 160,
        cancel_oid_request: Option<FilterCancel> = "CancelOidRequestHandler" @ 168,
        device_pnp_event_notify: Handle = "DevicePnPEventNotifyHandler" @ 176,
        net_pnp_event: Option<FilterNetPnpEvent> = "NetPnPEventHandler" @ 184,
        status: Option<FilterStatus> = "StatusHandler" @ 192,
        direct_oid_request: Option<FilterOidRequest> = "DirectOidRequestHandler" @ 200,
        direct_oid_request_complete: Option<FilterOidRequestComplete> = "DirectOidRequestCompleteHandler" @ 208,
        cancel_direct_oid_request: Option<FilterCancel> = "CancelDirectOidRequestHandler" @ 216,
    }
}

abi! {
    "NDIS_FILTER_ATTRIBUTES" 8 => FilterAttributes {
        header: ObjectHeader = "Header" @ 0,
        flags: u32 = "Flags" @ 4,
    }
}

abi! {
    /// Only the members that every supported NDIS version provides; later ones are not read.
    "NDIS_FILTER_ATTACH_PARAMETERS" 224 => FilterAttachParameters {
        header: ObjectHeader = "Header" @ 0,
        if_index: u32 = "IfIndex" @ 4,
        net_luid: u64 = "NetLuid" @ 8,
        filter_module_guid_name: *const UnicodeString = "FilterModuleGuidName" @ 16,
        base_miniport_if_index: u32 = "BaseMiniportIfIndex" @ 24,
        _align: u32 = "" @ 28,
        base_miniport_instance_name: *const UnicodeString = "BaseMiniportInstanceName" @ 32,
        base_miniport_name: *const UnicodeString = "BaseMiniportName" @ 40,
        media_connect_state: i32 = "MediaConnectState" @ 48,
        media_duplex_state: i32 = "MediaDuplexState" @ 52,
        xmit_link_speed: u64 = "XmitLinkSpeed" @ 56,
        rcv_link_speed: u64 = "RcvLinkSpeed" @ 64,
        miniport_media_type: i32 = "MiniportMediaType" @ 72,
        miniport_physical_media_type: i32 = "MiniportPhysicalMediaType" @ 76,
        miniport_media_specific_attributes: Handle = "MiniportMediaSpecificAttributes" @ 80,
        default_offload_configuration: Handle = "DefaultOffloadConfiguration" @ 88,
        mac_address_length: u16 = "MacAddressLength" @ 96,
        current_mac_address: [u8; 32] = "CurrentMacAddress" @ 98,
        _align2: [u8; 6] = "" @ 130,
        base_miniport_net_luid: u64 = "BaseMiniportNetLuid" @ 136,
        lower_if_index: u32 = "LowerIfIndex" @ 144,
        _align3: u32 = "" @ 148,
        lower_if_net_luid: u64 = "LowerIfNetLuid" @ 152,
        flags: u32 = "Flags" @ 160,
        _align4: u32 = "" @ 164,
        hd_split_current_config: Handle = "HDSplitCurrentConfig" @ 168,
        receive_filter_capabilities: Handle = "ReceiveFilterCapabilities" @ 176,
        miniport_physical_device_object: Handle = "MiniportPhysicalDeviceObject" @ 184,
        nic_switch_capabilities: Handle = "NicSwitchCapabilities" @ 192,
        base_miniport_if_connector_present: u8 = "BaseMiniportIfConnectorPresent" @ 200,
        _align5: [u8; 7] = "" @ 201,
        sriov_capabilities: Handle = "SriovCapabilities" @ 208,
        nic_switch_array: Handle = "NicSwitchArray" @ 216,
    }
}

/// `NdisMedium802_3`.
pub const MEDIUM_802_3: i32 = 0;

abi! {
    "NDIS_FILTER_PAUSE_PARAMETERS" 12 => FilterPauseParameters {
        header: ObjectHeader = "Header" @ 0,
        flags: u32 = "Flags" @ 4,
        pause_reason: u32 = "PauseReason" @ 8,
    }
}

abi! {
    "NDIS_FILTER_RESTART_PARAMETERS" 48 => FilterRestartParameters {
        header: ObjectHeader = "Header" @ 0,
        miniport_media_type: i32 = "MiniportMediaType" @ 4,
        miniport_physical_media_type: i32 = "MiniportPhysicalMediaType" @ 8,
        _align: u32 = "" @ 12,
        restart_attributes: Handle = "RestartAttributes" @ 16,
        lower_if_index: u32 = "LowerIfIndex" @ 24,
        _align2: u32 = "" @ 28,
        lower_if_net_luid: u64 = "LowerIfNetLuid" @ 32,
        flags: u32 = "Flags" @ 40,
        _align3: u32 = "" @ 44,
    }
}

/// `NDIS_TIMER_FUNCTION`: called at DISPATCH_LEVEL.
pub type TimerFunction = unsafe extern "win64" fn(*mut c_void, *mut c_void, *mut c_void, *mut c_void);

abi! {
    "NDIS_TIMER_CHARACTERISTICS" 24 => TimerCharacteristics {
        header: ObjectHeader = "Header" @ 0,
        allocation_tag: u32 = "AllocationTag" @ 4,
        timer_function: Option<TimerFunction> = "TimerFunction" @ 8,
        function_context: *mut c_void = "FunctionContext" @ 16,
    }
}

abi! {
    "LOCK_STATE_EX" 3 => LockStateEx {
        old_irql: u8 = "OldIrql" @ 0,
        lock_state: u8 = "LockState" @ 1,
        flags: u8 = "Flags" @ 2,
    }
}
