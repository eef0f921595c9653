//! Payloads of encapsulated offload requests, and of the capabilities that adapters indicate.

use super::{CountedString, Handle, ObjectHeader, abi};

abi! {
    "GROUP_AFFINITY" 16 => GroupAffinity {
        mask: u64 = "Mask" @ 0,
        group: u16 = "Group" @ 8,
        reserved: [u16; 3] = "Reserved" @ 10,
    }
}

abi! {
    /// Payload of OID_RECEIVE_FILTER_ALLOCATE_QUEUE. Revision 1 ends before `port_id`.
    "NDIS_RECEIVE_QUEUE_PARAMETERS" 1096 => ReceiveQueueParameters {
        header: ObjectHeader = "Header" @ 0,
        flags: u32 = "Flags" @ 4,
        queue_type: i32 = "QueueType" @ 8,
        queue_id: u32 = "QueueId" @ 12,
        queue_group_id: u32 = "QueueGroupId" @ 16,
        _align: u32 = "" @ 20,
        processor_affinity: GroupAffinity = "ProcessorAffinity" @ 24,
        num_suggested_receive_buffers: u32 = "NumSuggestedReceiveBuffers" @ 40,
        msix_table_entry: u32 = "MSIXTableEntry" @ 44,
        lookahead_size: u32 = "LookaheadSize" @ 48,
        vm_name: CountedString = "VmName" @ 52,
        queue_name: CountedString = "QueueName" @ 568,
        port_id: u32 = "PortId" @ 1084,
        interrupt_coalescing_domain_id: u32 = "InterruptCoalescingDomainId" @ 1088,
        _align2: u32 = "" @ 1092,
    }
}

abi! {
    /// Payload of OID_RECEIVE_FILTER_QUEUE_ALLOCATION_COMPLETE; its elements are found by FirstElementOffset and
    /// ElementSize.
    "NDIS_RECEIVE_QUEUE_ALLOCATION_COMPLETE_ARRAY" 20 => QueueCompleteArray {
        header: ObjectHeader = "Header" @ 0,
        flags: u32 = "Flags" @ 4,
        first_element_offset: u32 = "FirstElementOffset" @ 8,
        num_elements: u32 = "NumElements" @ 12,
        element_size: u32 = "ElementSize" @ 16,
    }
}

abi! {
    /// One element of the array; the adapter writes CompletionStatus.
    "NDIS_RECEIVE_QUEUE_ALLOCATION_COMPLETE_PARAMETERS" 16 => QueueComplete {
        header: ObjectHeader = "Header" @ 0,
        flags: u32 = "Flags" @ 4,
        queue_id: u32 = "QueueId" @ 8,
        completion_status: i32 = "CompletionStatus" @ 12,
    }
}

abi! {
    /// Payload of OID_RECEIVE_FILTER_SET_FILTER; the field parameters lie at FieldParametersArrayOffset.
    "NDIS_RECEIVE_FILTER_PARAMETERS" 44 => ReceiveFilterParameters {
        header: ObjectHeader = "Header" @ 0,
        flags: u32 = "Flags" @ 4,
        filter_type: i32 = "FilterType" @ 8,
        queue_id: u32 = "QueueId" @ 12,
        filter_id: u32 = "FilterId" @ 16,
        field_parameters_array_offset: u32 = "FieldParametersArrayOffset" @ 20,
        field_parameters_array_num_elements: u32 = "FieldParametersArrayNumElements" @ 24,
        field_parameters_array_element_size: u32 = "FieldParametersArrayElementSize" @ 28,
        requested_filter_id_bit_count: u32 = "RequestedFilterIdBitCount" @ 32,
        max_coalescing_delay: u32 = "MaxCoalescingDelay" @ 36,
        vport_id: u32 = "VPortId" @ 40,
    }
}

abi! {
    /// One header field that a receive filter tests.
    "NDIS_RECEIVE_FILTER_FIELD_PARAMETERS" 56 => ReceiveFilterField {
        header: ObjectHeader = "Header" @ 0,
        flags: u32 = "Flags" @ 4,
        frame_header: i32 = "FrameHeader" @ 8,
        receive_filter_test: i32 = "ReceiveFilterTest" @ 12,
        header_field: i32 = "HeaderField" @ 16,
        _align: u32 = "" @ 20,
        field_value: [u64; 2] = "FieldValue" @ 24,
        result_value: [u64; 2] = "ResultValue" @ 40,
    }
}

abi! {
    "NDIS_RECEIVE_FILTER_CLEAR_PARAMETERS" 16 => ReceiveFilterClear {
        header: ObjectHeader = "Header" @ 0,
        flags: u32 = "Flags" @ 4,
        queue_id: u32 = "QueueId" @ 8,
        filter_id: u32 = "FilterId" @ 12,
    }
}

abi! {
    "NDIS_RECEIVE_FILTER_MOVE_FILTER_PARAMETERS" 24 => ReceiveFilterMove {
        header: ObjectHeader = "Header" @ 0,
        filter_id: u32 = "FilterId" @ 4,
        source_queue_id: u32 = "SourceQueueId" @ 8,
        source_vport_id: u32 = "SourceVPortId" @ 12,
        dest_queue_id: u32 = "DestQueueId" @ 16,
        dest_vport_id: u32 = "DestVPortId" @ 20,
    }
}

abi! {
    "NDIS_RECEIVE_QUEUE_FREE_PARAMETERS" 12 => ReceiveQueueFree {
        header: ObjectHeader = "Header" @ 0,
        flags: u32 = "Flags" @ 4,
        queue_id: u32 = "QueueId" @ 8,
    }
}

abi! {
    /// Payload of NDIS_STATUS_RECEIVE_QUEUE_STATE.
    "NDIS_RECEIVE_QUEUE_STATE" 16 => ReceiveQueueState {
        header: ObjectHeader = "Header" @ 0,
        flags: u32 = "Flags" @ 4,
        queue_id: u32 = "QueueId" @ 8,
        queue_state: i32 = "QueueState" @ 12,
    }
}

abi! {
    "NDIS_NIC_SWITCH_VF_PARAMETERS" 1632 => VfParameters {
        header: ObjectHeader = "Header" @ 0,
        flags: u32 = "Flags" @ 4,
        switch_id: u32 = "SwitchId" @ 8,
        vm_name: CountedString = "VMName" @ 12,
        vm_friendly_name: CountedString = "VMFriendlyName" @ 528,
        nic_name: CountedString = "NicName" @ 1044,
        mac_address_length: u16 = "MacAddressLength" @ 1560,
        permanent_mac_address: [u8; 32] = "PermanentMacAddress" @ 1562,
        current_mac_address: [u8; 32] = "CurrentMacAddress" @ 1594,
        vf_id: u16 = "VFId" @ 1626,
        requestor_id: u32 = "RequestorId" @ 1628,
    }
}

abi! {
    "NDIS_NIC_SWITCH_FREE_VF_PARAMETERS" 12 => FreeVf {
        header: ObjectHeader = "Header" @ 0,
        flags: u32 = "Flags" @ 4,
        vf_id: u16 = "VFId" @ 8,
        _align: u16 = "" @ 10,
    }
}

abi! {
    "NDIS_NIC_SWITCH_VPORT_PARAMETERS" 576 => VportParameters {
        header: ObjectHeader = "Header" @ 0,
        flags: u32 = "Flags" @ 4,
        switch_id: u32 = "SwitchId" @ 8,
        vport_id: u32 = "VPortId" @ 12,
        vport_name: CountedString = "VPortName" @ 16,
        attached_function_id: u16 = "AttachedFunctionId" @ 532,
        _align: u16 = "" @ 534,
        num_queue_pairs: u32 = "NumQueuePairs" @ 536,
        interrupt_moderation: i32 = "InterruptModeration" @ 540,
        vport_state: i32 = "VPortState" @ 544,
        _align2: u32 = "" @ 548,
        processor_affinity: GroupAffinity = "ProcessorAffinity" @ 552,
        lookahead_size: u32 = "LookaheadSize" @ 568,
        _align3: u32 = "" @ 572,
    }
}

abi! {
    "NDIS_NIC_SWITCH_DELETE_VPORT_PARAMETERS" 12 => DeleteVport {
        header: ObjectHeader = "Header" @ 0,
        flags: u32 = "Flags" @ 4,
        vport_id: u32 = "VPortId" @ 8,
    }
}

abi! {
    "IPSEC_OFFLOAD_V2_ALGORITHM_INFO" 16 => IpsecAlgorithm {
        identifier: u32 = "Identifier" @ 0,
        key_length: u32 = "KeyLength" @ 4,
        key_offset_bytes: u32 = "KeyOffsetBytes" @ 8,
        additional_info: u32 = "AdditionalInfo" @ 12,
    }
}

abi! {
    "IPSEC_OFFLOAD_V2_SECURITY_ASSOCIATION" 48 => IpsecAssociation {
        flags: u32 = "Flags" @ 0,
        operation: i32 = "Operation" @ 4,
        spi: u32 = "Spi" @ 8,
        authentication_algorithm: IpsecAlgorithm = "AuthenticationAlgorithm" @ 12,
        encryption_algorithm: IpsecAlgorithm = "EncryptionAlgorithm" @ 28,
        sequence_number_high_order: u32 = "SequenceNumberHighOrder" @ 44,
    }
}

abi! {
    /// An element of a linked list; the key follows it in memory.
    "IPSEC_OFFLOAD_V2_ADD_SA" 176 => IpsecAddSa {
        header: ObjectHeader = "Header" @ 0,
        _align: u32 = "" @ 4,
        next: *mut IpsecAddSa = "Next" @ 8,
        num_ext_hdrs: u32 = "NumExtHdrs" @ 16,
        flags: u32 = "Flags" @ 20,
        /// Source and destination; the first bytes hold IPv4 addresses.
        ipv6_endpoints: [u8; 32] = "IPv6Endpoints" @ 24,
        offload_handle: Handle = "OffloadHandle" @ 56,
        udp_esp_encapsulation: u32 = "UdpEspEncapsulation" @ 64,
        sec_assoc: [IpsecAssociation; 2] = "SecAssoc" @ 68,
        key_length: u32 = "KeyLength" @ 164,
        key_data: u8 = "KeyData" @ 168,
        _align2: [u8; 7] = "" @ 169,
    }
}

abi! {
    /// A single association, not a list; the key lies at `key_offset`.
    "IPSEC_OFFLOAD_V2_ADD_SA_EX" 176 => IpsecAddSaEx {
        header: ObjectHeader = "Header" @ 0,
        num_ext_hdrs: u32 = "NumExtHdrs" @ 4,
        flags: u32 = "Flags" @ 8,
        /// Source and destination; the first bytes hold IPv4 addresses.
        ipv6_endpoints: [u8; 32] = "IPv6Endpoints" @ 12,
        _align: u32 = "" @ 44,
        offload_handle: Handle = "OffloadHandle" @ 48,
        udp_esp_encapsulation: u32 = "UdpEspEncapsulation" @ 56,
        sec_assoc: [IpsecAssociation; 2] = "SecAssoc" @ 60,
        key_length: u32 = "KeyLength" @ 156,
        key_offset: u32 = "KeyOffset" @ 160,
        source_switch_port_id: u32 = "SourceSwitchPortId" @ 164,
        vlan_id: u16 = "VlanId" @ 168,
        _align2: [u8; 6] = "" @ 170,
    }
}

abi! {
    "IPSEC_OFFLOAD_V2_UPDATE_SA" 32 => IpsecUpdateSa {
        header: ObjectHeader = "Header" @ 0,
        _align: u32 = "" @ 4,
        offload_handle: Handle = "OffloadHandle" @ 8,
        operation: i32 = "Operation" @ 16,
        spi: u32 = "Spi" @ 20,
        sequence_number_high_order: u32 = "SequenceNumberHighOrder" @ 24,
        _align2: u32 = "" @ 28,
    }
}

abi! {
    /// An element of a linked list.
    "IPSEC_OFFLOAD_V2_DELETE_SA" 24 => IpsecDeleteSa {
        header: ObjectHeader = "Header" @ 0,
        _align: u32 = "" @ 4,
        next: *mut IpsecDeleteSa = "Next" @ 8,
        offload_handle: Handle = "OffloadHandle" @ 16,
    }
}

abi! {
    "NDIS_RECEIVE_FILTER_CAPABILITIES" 84 => ReceiveFilterCapabilities {
        header: ObjectHeader = "Header" @ 0,
        flags: u32 = "Flags" @ 4,
        enabled_filter_types: u32 = "EnabledFilterTypes" @ 8,
        enabled_queue_types: u32 = "EnabledQueueTypes" @ 12,
        num_queues: u32 = "NumQueues" @ 16,
        supported_queue_properties: u32 = "SupportedQueueProperties" @ 20,
        supported_filter_tests: u32 = "SupportedFilterTests" @ 24,
        supported_headers: u32 = "SupportedHeaders" @ 28,
        supported_mac_header_fields: u32 = "SupportedMacHeaderFields" @ 32,
        max_mac_header_filters: u32 = "MaxMacHeaderFilters" @ 36,
        max_queue_groups: u32 = "MaxQueueGroups" @ 40,
        max_queues_per_queue_group: u32 = "MaxQueuesPerQueueGroup" @ 44,
        min_lookahead_split_size: u32 = "MinLookaheadSplitSize" @ 48,
        max_lookahead_split_size: u32 = "MaxLookaheadSplitSize" @ 52,
        supported_arp_header_fields: u32 = "SupportedARPHeaderFields" @ 56,
        supported_ipv4_header_fields: u32 = "SupportedIPv4HeaderFields" @ 60,
        supported_ipv6_header_fields: u32 = "SupportedIPv6HeaderFields" @ 64,
        supported_udp_header_fields: u32 = "SupportedUdpHeaderFields" @ 68,
        max_field_tests_per_packet_coalescing_filter: u32 = "MaxFieldTestsPerPacketCoalescingFilter" @ 72,
        max_packet_coalescing_filters: u32 = "MaxPacketCoalescingFilters" @ 76,
        ndis_reserved: u32 = "NdisReserved" @ 80,
    }
}

abi! {
    "NDIS_NIC_SWITCH_CAPABILITIES" 116 => NicSwitchCapabilities {
        header: ObjectHeader = "Header" @ 0,
        flags: u32 = "Flags" @ 4,
        ndis_reserved1: u32 = "NdisReserved1" @ 8,
        num_total_mac_addresses: u32 = "NumTotalMacAddresses" @ 12,
        num_mac_addresses_per_port: u32 = "NumMacAddressesPerPort" @ 16,
        num_vlans_per_port: u32 = "NumVlansPerPort" @ 20,
        ndis_reserved2: u32 = "NdisReserved2" @ 24,
        ndis_reserved3: u32 = "NdisReserved3" @ 28,
        nic_switch_capabilities: u32 = "NicSwitchCapabilities" @ 32,
        max_num_switches: u32 = "MaxNumSwitches" @ 36,
        max_num_vports: u32 = "MaxNumVPorts" @ 40,
        ndis_reserved4: u32 = "NdisReserved4" @ 44,
        max_num_vfs: u32 = "MaxNumVFs" @ 48,
        max_num_queue_pairs: u32 = "MaxNumQueuePairs" @ 52,
        ndis_reserved5: u32 = "NdisReserved5" @ 56,
        ndis_reserved6: u32 = "NdisReserved6" @ 60,
        ndis_reserved7: u32 = "NdisReserved7" @ 64,
        max_num_queue_pairs_per_non_default_vport: u32 = "MaxNumQueuePairsPerNonDefaultVPort" @ 68,
        ndis_reserved8: u32 = "NdisReserved8" @ 72,
        ndis_reserved9: u32 = "NdisReserved9" @ 76,
        ndis_reserved10: u32 = "NdisReserved10" @ 80,
        ndis_reserved11: u32 = "NdisReserved11" @ 84,
        ndis_reserved12: u32 = "NdisReserved12" @ 88,
        max_num_mac_addresses: u32 = "MaxNumMacAddresses" @ 92,
        ndis_reserved13: u32 = "NdisReserved13" @ 96,
        ndis_reserved14: u32 = "NdisReserved14" @ 100,
        ndis_reserved15: u32 = "NdisReserved15" @ 104,
        ndis_reserved16: u32 = "NdisReserved16" @ 108,
        ndis_reserved17: u32 = "NdisReserved17" @ 112,
    }
}

abi! {
    "NDIS_SRIOV_CAPABILITIES" 12 => SriovCapabilities {
        header: ObjectHeader = "Header" @ 0,
        flags: u32 = "Flags" @ 4,
        sriov_capabilities: u32 = "SriovCapabilities" @ 8,
    }
}

abi! {
    "NDIS_SRIOV_READ_VF_CONFIG_SPACE_PARAMETERS" 20 => ReadVfConfigSpace {
        header: ObjectHeader = "Header" @ 0,
        vf_id: u16 = "VFId" @ 4,
        _align: u16 = "" @ 6,
        offset: u32 = "Offset" @ 8,
        length: u32 = "Length" @ 12,
        buffer_offset: u32 = "BufferOffset" @ 16,
    }
}

abi! {
    "NDIS_SRIOV_WRITE_VF_CONFIG_SPACE_PARAMETERS" 20 => WriteVfConfigSpace {
        header: ObjectHeader = "Header" @ 0,
        vf_id: u16 = "VFId" @ 4,
        _align: u16 = "" @ 6,
        offset: u32 = "Offset" @ 8,
        length: u32 = "Length" @ 12,
        buffer_offset: u32 = "BufferOffset" @ 16,
    }
}

abi! {
    "NDIS_SRIOV_READ_VF_CONFIG_BLOCK_PARAMETERS" 20 => ReadVfConfigBlock {
        header: ObjectHeader = "Header" @ 0,
        vf_id: u16 = "VFId" @ 4,
        _align: u16 = "" @ 6,
        block_id: u32 = "BlockId" @ 8,
        length: u32 = "Length" @ 12,
        buffer_offset: u32 = "BufferOffset" @ 16,
    }
}

abi! {
    "NDIS_SRIOV_WRITE_VF_CONFIG_BLOCK_PARAMETERS" 20 => WriteVfConfigBlock {
        header: ObjectHeader = "Header" @ 0,
        vf_id: u16 = "VFId" @ 4,
        _align: u16 = "" @ 6,
        block_id: u32 = "BlockId" @ 8,
        length: u32 = "Length" @ 12,
        buffer_offset: u32 = "BufferOffset" @ 16,
    }
}

abi! {
    "NDIS_SRIOV_RESET_VF_PARAMETERS" 6 => ResetVf {
        header: ObjectHeader = "Header" @ 0,
        vf_id: u16 = "VFId" @ 4,
    }
}

abi! {
    "NDIS_SRIOV_SET_VF_POWER_STATE_PARAMETERS" 16 => SetVfPowerState {
        header: ObjectHeader = "Header" @ 0,
        vf_id: u16 = "VFId" @ 4,
        _align: u16 = "" @ 6,
        power_state: u32 = "PowerState" @ 8,
        wake_enable: u8 = "WakeEnable" @ 12,
        _align1: u8 = "" @ 13,
        _align2: u16 = "" @ 14,
    }
}

abi! {
    "NDIS_SRIOV_VF_VENDOR_DEVICE_ID_INFO" 10 => VfVendorDeviceId {
        header: ObjectHeader = "Header" @ 0,
        vf_id: u16 = "VFId" @ 4,
        vendor_id: u16 = "VendorId" @ 6,
        device_id: u16 = "DeviceId" @ 8,
    }
}

abi! {
    "NDIS_SRIOV_BAR_RESOURCES_INFO" 12 => VfBarResources {
        header: ObjectHeader = "Header" @ 0,
        vf_id: u16 = "VFId" @ 4,
        bar_index: u16 = "BarIndex" @ 6,
        bar_resources_offset: u32 = "BarResourcesOffset" @ 8,
    }
}

abi! {
    /// The IPsec part of `Offload`.
    "NDIS_IPSEC_OFFLOAD_V2" 32 => IpsecOffloadV2 {
        encapsulation: u32 = "Encapsulation" @ 0,
        ipv6_supported: u8 = "IPv6Supported" @ 4,
        ipv4_options: u8 = "IPv4Options" @ 5,
        ipv6_non_ipsec_extension_headers: u8 = "IPv6NonIPsecExtensionHeaders" @ 6,
        ah: u8 = "Ah" @ 7,
        esp: u8 = "Esp" @ 8,
        ah_esp_combined: u8 = "AhEspCombined" @ 9,
        transport: u8 = "Transport" @ 10,
        tunnel: u8 = "Tunnel" @ 11,
        transport_tunnel_combined: u8 = "TransportTunnelCombined" @ 12,
        lso_supported: u8 = "LsoSupported" @ 13,
        extended_sequence_numbers: u8 = "ExtendedSequenceNumbers" @ 14,
        _align: u8 = "" @ 15,
        udp_esp: u32 = "UdpEsp" @ 16,
        authentication_algorithms: u32 = "AuthenticationAlgorithms" @ 20,
        encryption_algorithms: u32 = "EncryptionAlgorithms" @ 24,
        sa_offload_capacity: u32 = "SaOffloadCapacity" @ 28,
    }
}

abi! {
    /// Task offload capabilities. `teaming::offload::capabilities` merges the members that are declared as arrays
    /// here.
    "NDIS_OFFLOAD" 156 => Offload {
        header: ObjectHeader = "Header" @ 0,
        checksum: [u32; 8] = "Checksum" @ 4,
        lso_v1: [u32; 4] = "LsoV1" @ 36,
        ipsec_v1: [u32; 7] = "IPsecV1" @ 52,
        lso_v2: [u32; 7] = "LsoV2" @ 80,
        flags: u32 = "Flags" @ 108,
        ipsec_v2: IpsecOffloadV2 = "IPsecV2" @ 112,
        rsc: [u8; 2] = "Rsc" @ 144,
        _align: u16 = "" @ 146,
        encapsulated_packet_task_offload_gre: [u32; 2] = "EncapsulatedPacketTaskOffloadGre" @ 148,
    }
}

impl ReceiveQueueParameters {
    pub const SIZE_REVISION_1: u16 = 1084;
    pub const SIZE_REVISION_2: u16 = 1092;
}

impl ReceiveFilterParameters {
    pub const SIZE_REVISION_1: u16 = 36;
    pub const SIZE_REVISION_2: u16 = 44;
}

impl FreeVf {
    pub const SIZE_REVISION_1: u16 = 10;
}

impl VportParameters {
    pub const SIZE_REVISION_1: u16 = 572;
}

impl IpsecAddSa {
    pub const SIZE_REVISION_1: u16 = 169;
}

impl IpsecAddSaEx {
    pub const SIZE_REVISION_1: u16 = 170;
}

impl IpsecUpdateSa {
    pub const SIZE_REVISION_1: u16 = 28;
}

impl ReceiveFilterCapabilities {
    pub const SIZE_REVISION_1: u16 = 56;
    pub const SIZE_REVISION_2: u16 = 84;
}

impl NicSwitchCapabilities {
    pub const SIZE_REVISION_1: u16 = 32;
    pub const SIZE_REVISION_2: u16 = 116;
}

impl Offload {
    pub const SIZE_REVISION_1: u16 = 112;
    pub const SIZE_REVISION_2: u16 = 144;
    pub const SIZE_REVISION_3: u16 = 156;
}
