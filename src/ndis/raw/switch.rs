//! Structures of the extensible switch: handlers, destinations, ports and NICs.

use super::{
    CountedString, DestinationBits, Guid, Handle, NetBufferList, NicFlags, ObjectHeader, UnicodeString, abi,
};

pub type SwitchContext = Handle;

/// `NDIS_SWITCH_REPORT_FILTERED_NET_BUFFER_LISTS`: context, extension, its name, port, flags, count, lists, reason.
pub type ReportFiltered = unsafe extern "win64" fn(
    SwitchContext,
    *const UnicodeString,
    *const UnicodeString,
    u32,
    u32,
    u32,
    *mut NetBufferList,
    *const UnicodeString,
);

abi! {
    "NDIS_SWITCH_PORT_DESTINATION" 8 => PortDestination {
        port_id: u32 = "PortId" @ 0,
        nic_index: u16 = "NicIndex" @ 4,
        bits: DestinationBits = "IsExcluded" @ 6,
    }
}

abi! {
    "NDIS_SWITCH_FORWARDING_DESTINATION_ARRAY" 24 => ForwardingDestinationArray {
        header: ObjectHeader = "Header" @ 0,
        element_size: u32 = "ElementSize" @ 4,
        num_elements: u32 = "NumElements" @ 8,
        num_destinations: u32 = "NumDestinations" @ 12,
        first_element: *mut u8 = "FirstElement" @ 16,
    }
}

abi! {
    /// The handlers of the switch; each may be called at IRQL <= DISPATCH_LEVEL.
    "NDIS_SWITCH_OPTIONAL_HANDLERS" 128 => SwitchOptionalHandlers {
        header: ObjectHeader = "Header" @ 0,
        _align: u32 = "" @ 4,
        allocate_net_buffer_list_forwarding_context:
            Option<unsafe extern "win64" fn(SwitchContext, *mut NetBufferList) -> i32>
            = "AllocateNetBufferListForwardingContext" @ 8,
        free_net_buffer_list_forwarding_context:
            Option<unsafe extern "win64" fn(SwitchContext, *mut NetBufferList)>
            = "FreeNetBufferListForwardingContext" @ 16,
        set_net_buffer_list_source:
            Option<unsafe extern "win64" fn(SwitchContext, *mut NetBufferList, u32, u16) -> i32>
            = "SetNetBufferListSource" @ 24,
        add_net_buffer_list_destination:
            Option<unsafe extern "win64" fn(SwitchContext, *mut NetBufferList, *mut PortDestination) -> i32>
            = "AddNetBufferListDestination" @ 32,
        grow_net_buffer_list_destinations:
            Option<unsafe extern "win64" fn(
                SwitchContext, *mut NetBufferList, u32, *mut *mut ForwardingDestinationArray) -> i32>
            = "GrowNetBufferListDestinations" @ 40,
        get_net_buffer_list_destinations:
            Option<unsafe extern "win64" fn(
                SwitchContext, *mut NetBufferList, *mut *mut ForwardingDestinationArray)>
            = "GetNetBufferListDestinations" @ 48,
        update_net_buffer_list_destinations:
            Option<unsafe extern "win64" fn(
                SwitchContext, *mut NetBufferList, u32, *mut ForwardingDestinationArray) -> i32>
            = "UpdateNetBufferListDestinations" @ 56,
        copy_net_buffer_list_info:
            Option<unsafe extern "win64" fn(SwitchContext, *mut NetBufferList, *mut NetBufferList, u32) -> i32>
            = "CopyNetBufferListInfo" @ 64,
        reference_switch_nic: Option<unsafe extern "win64" fn(SwitchContext, u32, u16) -> i32>
            = "ReferenceSwitchNic" @ 72,
        dereference_switch_nic: Option<unsafe extern "win64" fn(SwitchContext, u32, u16) -> i32>
            = "DereferenceSwitchNic" @ 80,
        reference_switch_port: Option<unsafe extern "win64" fn(SwitchContext, u32) -> i32>
            = "ReferenceSwitchPort" @ 88,
        dereference_switch_port: Option<unsafe extern "win64" fn(SwitchContext, u32) -> i32>
            = "DereferenceSwitchPort" @ 96,
        report_filtered_net_buffer_lists: Option<ReportFiltered> = "ReportFilteredNetBufferLists" @ 104,
        set_net_buffer_list_switch_context: Handle = "SetNetBufferListSwitchContext" @ 112,
        get_net_buffer_list_switch_context: Handle = "GetNetBufferListSwitchContext" @ 120,
    }
}

impl SwitchOptionalHandlers {
    /// `NDIS_SIZEOF_SWITCH_OPTIONAL_HANDLERS_REVISION_1`: through ReportFilteredNetBufferLists.
    pub const SIZE_REVISION_1: u16 = 112;
}

abi! {
    "NDIS_SWITCH_PARAMETERS" 1048 => SwitchParameters {
        header: ObjectHeader = "Header" @ 0,
        flags: u32 = "Flags" @ 4,
        switch_name: CountedString = "SwitchName" @ 8,
        switch_friendly_name: CountedString = "SwitchFriendlyName" @ 524,
        num_switch_ports: u32 = "NumSwitchPorts" @ 1040,
        is_active: u8 = "IsActive" @ 1044,
        _align: [u8; 3] = "" @ 1045,
    }
}

impl SwitchParameters {
    pub const SIZE_REVISION_1: u16 = 1045;
}

abi! {
    "NDIS_SWITCH_PORT_PARAMETERS" 1056 => PortParameters {
        header: ObjectHeader = "Header" @ 0,
        flags: u32 = "Flags" @ 4,
        port_id: u32 = "PortId" @ 8,
        port_name: CountedString = "PortName" @ 12,
        port_friendly_name: CountedString = "PortFriendlyName" @ 528,
        port_type: i32 = "PortType" @ 1044,
        is_validation_port: u8 = "IsValidationPort" @ 1048,
        _align: [u8; 3] = "" @ 1049,
        port_state: i32 = "PortState" @ 1052,
    }
}

impl PortParameters {
    pub const SIZE_REVISION_1: u16 = 1056;
}

/// `NDIS_SWITCH_PORT_TYPE`.
pub mod port_type {
    pub const GENERIC: i32 = 0;
    pub const EXTERNAL: i32 = 1;
    pub const SYNTHETIC: i32 = 2;
    pub const EMULATED: i32 = 3;
    pub const INTERNAL: i32 = 4;
}

/// `NDIS_SWITCH_PORT_STATE`.
pub mod port_state {
    pub const UNKNOWN: i32 = 0;
    pub const CREATED: i32 = 1;
    pub const TEARDOWN: i32 = 2;
    pub const DELETED: i32 = 3;
}

/// Header of `NDIS_SWITCH_PORT_ARRAY` and `NDIS_SWITCH_NIC_ARRAY`, which share their layout. Elements are found by
/// `first_element_offset` and `element_size`, never by `size_of`.
pub type PortArray = ElementArray;
pub type NicArray = ElementArray;
abi! {
    "NDIS_SWITCH_NIC_ARRAY" 20 => ElementArray {
        header: ObjectHeader = "Header" @ 0,
        flags: u32 = "Flags" @ 4,
        first_element_offset: u16 = "FirstElementOffset" @ 8,
        _align: u16 = "" @ 10,
        num_elements: u32 = "NumElements" @ 12,
        element_size: u32 = "ElementSize" @ 16,
    }
}

abi! {
    "NDIS_SWITCH_NIC_PARAMETERS" 2224 => NicParameters {
        header: ObjectHeader = "Header" @ 0,
        flags: NicFlags = "Flags" @ 4,
        nic_name: CountedString = "NicName" @ 8,
        nic_friendly_name: CountedString = "NicFriendlyName" @ 524,
        port_id: u32 = "PortId" @ 1040,
        nic_index: u16 = "NicIndex" @ 1044,
        _align: u16 = "" @ 1046,
        nic_type: i32 = "NicType" @ 1048,
        nic_state: i32 = "NicState" @ 1052,
        vm_name: CountedString = "VmName" @ 1056,
        vm_friendly_name: CountedString = "VmFriendlyName" @ 1572,
        net_cfg_instance_id: Guid = "NetCfgInstanceId" @ 2088,
        mtu: u32 = "MTU" @ 2104,
        numa_node_id: u16 = "NumaNodeId" @ 2108,
        permanent_mac_address: [u8; 32] = "PermanentMacAddress" @ 2110,
        vm_mac_address: [u8; 32] = "VMMacAddress" @ 2142,
        current_mac_address: [u8; 32] = "CurrentMacAddress" @ 2174,
        vf_assigned: u8 = "VFAssigned" @ 2206,
        _align2: u8 = "" @ 2207,
        ndis_reserved: [u64; 2] = "NdisReserved" @ 2208,
    }
}

impl NicParameters {
    pub const SIZE_REVISION_1: u16 = 2207;
    pub const SIZE_REVISION_2: u16 = 2224;
}

/// `NDIS_SWITCH_NIC_TYPE`.
pub mod nic_type {
    pub const EXTERNAL: i32 = 0;
    pub const SYNTHETIC: i32 = 1;
    pub const EMULATED: i32 = 2;
    pub const INTERNAL: i32 = 3;
}

/// `NDIS_SWITCH_NIC_STATE`.
pub mod nic_state {
    pub const UNKNOWN: i32 = 0;
    pub const CREATED: i32 = 1;
    pub const CONNECTED: i32 = 2;
    pub const DISCONNECTED: i32 = 3;
    pub const DELETED: i32 = 4;
}
