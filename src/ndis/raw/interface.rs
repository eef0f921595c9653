//! The row of the operating system's interface table (netioapi.h), which is NETIO.SYS's and no structure of NDIS.

use super::{Guid, abi};

abi! {
    "MIB_IF_ROW2" 1352 => MibIfRow2 {
        interface_luid: u64 = "InterfaceLuid" @ 0,
        interface_index: u32 = "InterfaceIndex" @ 8,
        interface_guid: Guid = "InterfaceGuid" @ 12,
        alias: [u16; 257] = "Alias" @ 28,
        description: [u16; 257] = "Description" @ 542,
        physical_address_length: u32 = "PhysicalAddressLength" @ 1056,
        physical_address: [u8; 32] = "PhysicalAddress" @ 1060,
        permanent_physical_address: [u8; 32] = "PermanentPhysicalAddress" @ 1092,
        mtu: u32 = "Mtu" @ 1124,
        kind: u32 = "Type" @ 1128,
        tunnel_type: i32 = "TunnelType" @ 1132,
        media_type: i32 = "MediaType" @ 1136,
        physical_medium_type: i32 = "PhysicalMediumType" @ 1140,
        access_type: i32 = "AccessType" @ 1144,
        direction_type: i32 = "DirectionType" @ 1148,
        interface_and_oper_status_flags: u8 = "InterfaceAndOperStatusFlags" @ 1152,
        oper_status: i32 = "OperStatus" @ 1156,
        admin_status: i32 = "AdminStatus" @ 1160,
        media_connect_state: i32 = "MediaConnectState" @ 1164,
        network_guid: Guid = "NetworkGuid" @ 1168,
        connection_type: i32 = "ConnectionType" @ 1184,
        transmit_link_speed: u64 = "TransmitLinkSpeed" @ 1192,
        receive_link_speed: u64 = "ReceiveLinkSpeed" @ 1200,
        in_octets: u64 = "InOctets" @ 1208,
        in_ucast_pkts: u64 = "InUcastPkts" @ 1216,
        in_n_ucast_pkts: u64 = "InNUcastPkts" @ 1224,
        in_discards: u64 = "InDiscards" @ 1232,
        in_errors: u64 = "InErrors" @ 1240,
        in_unknown_protos: u64 = "InUnknownProtos" @ 1248,
        in_ucast_octets: u64 = "InUcastOctets" @ 1256,
        in_multicast_octets: u64 = "InMulticastOctets" @ 1264,
        in_broadcast_octets: u64 = "InBroadcastOctets" @ 1272,
        out_octets: u64 = "OutOctets" @ 1280,
        out_ucast_pkts: u64 = "OutUcastPkts" @ 1288,
        out_n_ucast_pkts: u64 = "OutNUcastPkts" @ 1296,
        out_discards: u64 = "OutDiscards" @ 1304,
        out_errors: u64 = "OutErrors" @ 1312,
        out_ucast_octets: u64 = "OutUcastOctets" @ 1320,
        out_multicast_octets: u64 = "OutMulticastOctets" @ 1328,
        out_broadcast_octets: u64 = "OutBroadcastOctets" @ 1336,
        out_q_len: u64 = "OutQLen" @ 1344,
    }
}

impl MibIfRow2 {
    /// A bit of `interface_and_oper_status_flags`.
    pub const NOT_MEDIA_CONNECTED: u8 = 0x10;

    /// `MibIfEntryNormalWithoutStatistics`, a level of GetIfEntry2Ex.
    pub const WITHOUT_STATISTICS: i32 = 2;

    /// Values of `media_connect_state` (NET_IF_MEDIA_CONNECT_STATE).
    pub const MEDIA_CONNECTED: i32 = 1;
    pub const MEDIA_DISCONNECTED: i32 = 2;

    /// Values of `oper_status` (IF_OPER_STATUS).
    pub const OPER_UP: i32 = 1;
    pub const OPER_DOWN: i32 = 2;
    pub const OPER_NOT_PRESENT: i32 = 6;
    pub const OPER_LOWER_LAYER_DOWN: i32 = 7;
}
