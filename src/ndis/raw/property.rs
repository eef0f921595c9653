//! Properties of ports and of the switch, and feature status: parameter structures, enumerations, and the standard
//! properties.

use super::{CountedString, Guid, ObjectHeader, abi};

abi! {
    /// Parameters of a port property; the property lies at `property_buffer_offset` from the start of this structure.
    "NDIS_SWITCH_PORT_PROPERTY_PARAMETERS" 64 => PortPropertyParameters {
        header: ObjectHeader = "Header" @ 0,
        flags: u32 = "Flags" @ 4,
        port_id: u32 = "PortId" @ 8,
        property_type: i32 = "PropertyType" @ 12,
        property_id: Guid = "PropertyId" @ 16,
        property_version: u16 = "PropertyVersion" @ 32,
        serialization_version: u16 = "SerializationVersion" @ 34,
        property_instance_id: Guid = "PropertyInstanceId" @ 36,
        property_buffer_length: u32 = "PropertyBufferLength" @ 52,
        property_buffer_offset: u32 = "PropertyBufferOffset" @ 56,
        reserved: u32 = "Reserved" @ 60,
    }
}

abi! {
    "NDIS_SWITCH_PORT_PROPERTY_DELETE_PARAMETERS" 48 => PortPropertyDeleteParameters {
        header: ObjectHeader = "Header" @ 0,
        flags: u32 = "Flags" @ 4,
        port_id: u32 = "PortId" @ 8,
        property_type: i32 = "PropertyType" @ 12,
        property_id: Guid = "PropertyId" @ 16,
        property_instance_id: Guid = "PropertyInstanceId" @ 32,
    }
}

abi! {
    /// Input of an enumeration of port properties and start of its output; the first `PortPropertyEnumInfo` lies at
    /// `first_property_offset`.
    "NDIS_SWITCH_PORT_PROPERTY_ENUM_PARAMETERS" 48 => PortPropertyEnumParameters {
        header: ObjectHeader = "Header" @ 0,
        flags: u32 = "Flags" @ 4,
        port_id: u32 = "PortId" @ 8,
        property_type: i32 = "PropertyType" @ 12,
        property_id: Guid = "PropertyId" @ 16,
        serialization_version: u16 = "SerializationVersion" @ 32,
        _align: u16 = "" @ 34,
        first_property_offset: u32 = "FirstPropertyOffset" @ 36,
        num_properties: u32 = "NumProperties" @ 40,
        reserved: u16 = "Reserved" @ 44,
        _align2: u16 = "" @ 46,
    }
}

abi! {
    /// One property of the output; the next begins `qword_aligned_property_buffer_length` bytes after this structure.
    "NDIS_SWITCH_PORT_PROPERTY_ENUM_INFO" 40 => PortPropertyEnumInfo {
        header: ObjectHeader = "Header" @ 0,
        flags: u32 = "Flags" @ 4,
        property_version: u16 = "PropertyVersion" @ 8,
        _align: u16 = "" @ 10,
        property_instance_id: Guid = "PropertyInstanceId" @ 12,
        qword_aligned_property_buffer_length: u32 = "QwordAlignedPropertyBufferLength" @ 28,
        property_buffer_length: u32 = "PropertyBufferLength" @ 32,
        property_buffer_offset: u32 = "PropertyBufferOffset" @ 36,
    }
}

abi! {
    "NDIS_SWITCH_PORT_PROPERTY_SECURITY" 24 => PortPropertySecurity {
        header: ObjectHeader = "Header" @ 0,
        flags: u32 = "Flags" @ 4,
        allow_mac_spoofing: u8 = "AllowMacSpoofing" @ 8,
        allow_ieee_priority_tag: u8 = "AllowIeeePriorityTag" @ 9,
        _align: u16 = "" @ 10,
        virtual_subnet_id: u32 = "VirtualSubnetId" @ 12,
        allow_teaming: u8 = "AllowTeaming" @ 16,
        _align2: [u8; 3] = "" @ 17,
        dynamic_ip_address_limit: u32 = "DynamicIPAddressLimit" @ 20,
    }
}

abi! {
    /// The members of the union for access and trunk mode.
    "NDIS_SWITCH_PORT_PROPERTY_VLAN" 1048 => PortPropertyVlan {
        header: ObjectHeader = "Header" @ 0,
        flags: u32 = "Flags" @ 4,
        operation_mode: i32 = "OperationMode" @ 8,
        _align: u32 = "" @ 12,
        access_vlan_id: u16 = "VlanProperties.AccessVlanId" @ 16,
        native_vlan_id: u16 = "VlanProperties.NativeVlanId" @ 18,
        _align2: u32 = "" @ 20,
        prune_vlan_id_array: [u64; 64] = "VlanProperties.PruneVlanIdArray" @ 24,
        trunk_vlan_id_array: [u64; 64] = "VlanProperties.TrunkVlanIdArray" @ 536,
    }
}

abi! {
    /// The members of the union for private VLAN mode.
    "NDIS_SWITCH_PORT_PROPERTY_VLAN" 1048 => PortPropertyPvlan {
        header: ObjectHeader = "Header" @ 0,
        flags: u32 = "Flags" @ 4,
        operation_mode: i32 = "OperationMode" @ 8,
        _align: u32 = "" @ 12,
        pvlan_mode: i32 = "PvlanProperties.PvlanMode" @ 16,
        primary_vlan_id: u16 = "PvlanProperties.PrimaryVlanId" @ 20,
        _align2: u16 = "" @ 22,
        secondary_vlan_id_array: [u64; 64] = "PvlanProperties.SecondaryVlanIdArray" @ 24,
        _align3: [u8; 512] = "" @ 536,
    }
}

abi! {
    "NDIS_SWITCH_PORT_PROPERTY_PROFILE" 1616 => PortPropertyProfile {
        header: ObjectHeader = "Header" @ 0,
        flags: u32 = "Flags" @ 4,
        profile_name: CountedString = "ProfileName" @ 8,
        profile_id: Guid = "ProfileId" @ 524,
        vendor_name: CountedString = "VendorName" @ 540,
        vendor_id: Guid = "VendorId" @ 1056,
        profile_data: u32 = "ProfileData" @ 1072,
        net_cfg_instance_id: Guid = "NetCfgInstanceId" @ 1076,
        pci_location: u32 = "PciLocation" @ 1092,
        cdn_label_id: u32 = "CdnLabelId" @ 1096,
        cdn_label: CountedString = "CdnLabel" @ 1100,
    }
}

abi! {
    "NDIS_SWITCH_PORT_PROPERTY_CUSTOM" 16 => PortPropertyCustom {
        header: ObjectHeader = "Header" @ 0,
        flags: u32 = "Flags" @ 4,
        property_buffer_length: u32 = "PropertyBufferLength" @ 8,
        property_buffer_offset: u32 = "PropertyBufferOffset" @ 12,
    }
}

abi! {
    "NDIS_SWITCH_PORT_PROPERTY_ISOLATION" 20 => PortPropertyIsolation {
        header: ObjectHeader = "Header" @ 0,
        flags: u32 = "Flags" @ 4,
        isolation_mode: i32 = "IsolationMode" @ 8,
        allow_untagged_traffic: u8 = "AllowUntaggedTraffic" @ 12,
        _align: [u8; 3] = "" @ 13,
        default_isolation_id: u32 = "DefaultIsolationId" @ 16,
    }
}

abi! {
    "NDIS_SWITCH_PORT_PROPERTY_ROUTING_DOMAIN" 292 => PortPropertyRoutingDomain {
        header: ObjectHeader = "Header" @ 0,
        flags: u32 = "Flags" @ 4,
        routing_domain_id: Guid = "RoutingDomainId" @ 8,
        routing_domain_name: [u16; 129] = "RoutingDomainName" @ 24,
        _align: u16 = "" @ 282,
        num_isolation_entries: u32 = "NumIsolationEntries" @ 284,
        first_isolation_entry_offset: u16 = "FirstIsolationEntryOffset" @ 288,
        _align2: u16 = "" @ 290,
    }
}

abi! {
    /// Parameters of a switch property, as `PortPropertyParameters`.
    "NDIS_SWITCH_PROPERTY_PARAMETERS" 56 => SwitchPropertyParameters {
        header: ObjectHeader = "Header" @ 0,
        flags: u32 = "Flags" @ 4,
        property_type: i32 = "PropertyType" @ 8,
        property_id: Guid = "PropertyId" @ 12,
        property_version: u16 = "PropertyVersion" @ 28,
        serialization_version: u16 = "SerializationVersion" @ 30,
        property_instance_id: Guid = "PropertyInstanceId" @ 32,
        property_buffer_length: u32 = "PropertyBufferLength" @ 48,
        property_buffer_offset: u32 = "PropertyBufferOffset" @ 52,
    }
}

abi! {
    "NDIS_SWITCH_PROPERTY_DELETE_PARAMETERS" 44 => SwitchPropertyDeleteParameters {
        header: ObjectHeader = "Header" @ 0,
        flags: u32 = "Flags" @ 4,
        property_type: i32 = "PropertyType" @ 8,
        property_id: Guid = "PropertyId" @ 12,
        property_instance_id: Guid = "PropertyInstanceId" @ 28,
    }
}

abi! {
    "NDIS_SWITCH_PROPERTY_ENUM_PARAMETERS" 40 => SwitchPropertyEnumParameters {
        header: ObjectHeader = "Header" @ 0,
        flags: u32 = "Flags" @ 4,
        property_type: i32 = "PropertyType" @ 8,
        property_id: Guid = "PropertyId" @ 12,
        serialization_version: u16 = "SerializationVersion" @ 28,
        _align: u16 = "" @ 30,
        first_property_offset: u32 = "FirstPropertyOffset" @ 32,
        num_properties: u32 = "NumProperties" @ 36,
    }
}

abi! {
    "NDIS_SWITCH_PROPERTY_ENUM_INFO" 40 => SwitchPropertyEnumInfo {
        header: ObjectHeader = "Header" @ 0,
        flags: u32 = "Flags" @ 4,
        property_instance_id: Guid = "PropertyInstanceId" @ 8,
        property_version: u16 = "PropertyVersion" @ 24,
        _align: u16 = "" @ 26,
        qword_aligned_property_buffer_length: u32 = "QwordAlignedPropertyBufferLength" @ 28,
        property_buffer_length: u32 = "PropertyBufferLength" @ 32,
        property_buffer_offset: u32 = "PropertyBufferOffset" @ 36,
    }
}

abi! {
    "NDIS_SWITCH_PROPERTY_CUSTOM" 16 => SwitchPropertyCustom {
        header: ObjectHeader = "Header" @ 0,
        flags: u32 = "Flags" @ 4,
        property_buffer_length: u32 = "PropertyBufferLength" @ 8,
        property_buffer_offset: u32 = "PropertyBufferOffset" @ 12,
    }
}

abi! {
    "NDIS_SWITCH_FEATURE_STATUS_PARAMETERS" 56 => SwitchFeatureStatusParameters {
        header: ObjectHeader = "Header" @ 0,
        flags: u32 = "Flags" @ 4,
        feature_status_type: i32 = "FeatureStatusType" @ 8,
        feature_status_id: Guid = "FeatureStatusId" @ 12,
        feature_status_instance_id: Guid = "FeatureStatusInstanceId" @ 28,
        feature_status_version: u16 = "FeatureStatusVersion" @ 44,
        serialization_version: u16 = "SerializationVersion" @ 46,
        feature_status_buffer_offset: u32 = "FeatureStatusBufferOffset" @ 48,
        feature_status_buffer_length: u32 = "FeatureStatusBufferLength" @ 52,
    }
}

abi! {
    "NDIS_SWITCH_FEATURE_STATUS_CUSTOM" 16 => SwitchFeatureStatusCustom {
        header: ObjectHeader = "Header" @ 0,
        flags: u32 = "Flags" @ 4,
        feature_status_custom_buffer_length: u32 = "FeatureStatusCustomBufferLength" @ 8,
        feature_status_custom_buffer_offset: u32 = "FeatureStatusCustomBufferOffset" @ 12,
    }
}

abi! {
    "NDIS_SWITCH_PORT_FEATURE_STATUS_PARAMETERS" 64 => PortFeatureStatusParameters {
        header: ObjectHeader = "Header" @ 0,
        flags: u32 = "Flags" @ 4,
        port_id: u32 = "PortId" @ 8,
        feature_status_type: i32 = "FeatureStatusType" @ 12,
        feature_status_id: Guid = "FeatureStatusId" @ 16,
        feature_status_version: u16 = "FeatureStatusVersion" @ 32,
        serialization_version: u16 = "SerializationVersion" @ 34,
        feature_status_instance_id: Guid = "FeatureStatusInstanceId" @ 36,
        feature_status_buffer_length: u32 = "FeatureStatusBufferLength" @ 52,
        feature_status_buffer_offset: u32 = "FeatureStatusBufferOffset" @ 56,
        reserved: u32 = "Reserved" @ 60,
    }
}

abi! {
    "NDIS_SWITCH_PORT_FEATURE_STATUS_CUSTOM" 16 => PortFeatureStatusCustom {
        header: ObjectHeader = "Header" @ 0,
        flags: u32 = "Flags" @ 4,
        feature_status_buffer_length: u32 = "FeatureStatusBufferLength" @ 8,
        feature_status_buffer_offset: u32 = "FeatureStatusBufferOffset" @ 12,
    }
}

impl PortPropertyEnumParameters {
    /// `NDIS_SIZEOF_NDIS_SWITCH_PORT_PROPERTY_ENUM_PARAMETERS_REVISION_1`.
    pub const SIZE_REVISION_1: u16 = 46;
}

impl PortPropertySecurity {
    /// Size of revision 1, which ends with AllowTeaming.
    pub const SIZE_REVISION_1: u16 = 17;
    pub const SIZE_REVISION_2: u16 = 24;
}

impl PortPropertyRoutingDomain {
    pub const SIZE_REVISION_1: u16 = 290;
}

/// `NDIS_SWITCH_PORT_PROPERTY_TYPE`.
pub mod port_property_type {
    pub const CUSTOM: i32 = 1;
    pub const SECURITY: i32 = 2;
    pub const VLAN: i32 = 3;
    pub const PROFILE: i32 = 4;
    pub const ISOLATION: i32 = 5;
    pub const ROUTING_DOMAIN: i32 = 6;
}

/// `NDIS_SWITCH_PROPERTY_TYPE`.
pub mod switch_property_type {
    pub const CUSTOM: i32 = 1;
}

/// `NDIS_SWITCH_FEATURE_STATUS_TYPE` and `NDIS_SWITCH_PORT_FEATURE_STATUS_TYPE`.
pub mod feature_status_type {
    pub const CUSTOM: i32 = 1;
}

/// `NDIS_SWITCH_PORT_VLAN_MODE`.
pub mod vlan_mode {
    pub const UNKNOWN: i32 = 0;
    pub const ACCESS: i32 = 1;
    pub const TRUNK: i32 = 2;
    pub const PRIVATE: i32 = 3;
}

/// `NDIS_SWITCH_PORT_PVLAN_MODE`.
pub mod pvlan_mode {
    pub const UNDEFINED: i32 = 0;
    pub const ISOLATED: i32 = 1;
    pub const COMMUNITY: i32 = 2;
    pub const PROMISCUOUS: i32 = 3;
}

/// `NDIS_ISOLATION_MODE`.
pub mod isolation_mode {
    pub const NONE: i32 = 0;
    pub const NATIVE_VIRTUAL_SUBNET: i32 = 1;
    pub const EXTERNAL_VIRTUAL_SUBNET: i32 = 2;
    pub const VLAN: i32 = 3;
}
