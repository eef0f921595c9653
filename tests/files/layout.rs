//! The driver's declarations of the binary interface against rows of a table that was taken from two releases of the
//! Windows Driver Kit at NDIS 6.40 (NDIS_OID_REQUEST at 6.50, whose longer form NDIS itself hands out); MIB_IF_ROW2 and
//! IO_ERROR_LOG_PACKET from the headers of mingw-w64 10.0.

use lbfoext::ndis::raw::{self, LayoutRow};
use std::collections::BTreeMap;

const TABLE: &str = include_str!("../data/layout.csv");

/// Every structure that the driver declares.
const DECLARED: &[&[LayoutRow]] = &[
    raw::ObjectHeader::LAYOUT,
    raw::UnicodeString::LAYOUT,
    raw::Guid::LAYOUT,
    raw::NetBufferList::LAYOUT,
    raw::NetBuffer::LAYOUT,
    raw::Mdl::LAYOUT,
    raw::NetBufferListPoolParameters::LAYOUT,
    raw::NetBufferPoolParameters::LAYOUT,
    raw::OidRequest::LAYOUT,
    raw::SwitchNicOidRequest::LAYOUT,
    raw::NicSaveState::LAYOUT,
    raw::StatusIndication::LAYOUT,
    raw::SwitchNicStatusIndication::LAYOUT,
    raw::LinkState::LAYOUT,
    raw::NetPnpEvent::LAYOUT,
    raw::NetPnpEventNotification::LAYOUT,
    raw::PortDestination::LAYOUT,
    raw::ForwardingDestinationArray::LAYOUT,
    raw::SwitchOptionalHandlers::LAYOUT,
    raw::SwitchParameters::LAYOUT,
    raw::PortParameters::LAYOUT,
    raw::NicArray::LAYOUT,
    raw::NicParameters::LAYOUT,
    raw::PortPropertyParameters::LAYOUT,
    raw::PortPropertyDeleteParameters::LAYOUT,
    raw::PortPropertyEnumParameters::LAYOUT,
    raw::PortPropertyEnumInfo::LAYOUT,
    raw::PortPropertySecurity::LAYOUT,
    raw::PortPropertyVlan::LAYOUT,
    raw::PortPropertyPvlan::LAYOUT,
    raw::PortPropertyProfile::LAYOUT,
    raw::PortPropertyCustom::LAYOUT,
    raw::PortPropertyIsolation::LAYOUT,
    raw::PortPropertyRoutingDomain::LAYOUT,
    raw::SwitchPropertyParameters::LAYOUT,
    raw::SwitchPropertyDeleteParameters::LAYOUT,
    raw::SwitchPropertyEnumParameters::LAYOUT,
    raw::SwitchPropertyEnumInfo::LAYOUT,
    raw::SwitchPropertyCustom::LAYOUT,
    raw::SwitchFeatureStatusParameters::LAYOUT,
    raw::SwitchFeatureStatusCustom::LAYOUT,
    raw::PortFeatureStatusParameters::LAYOUT,
    raw::PortFeatureStatusCustom::LAYOUT,
    raw::FilterDriverCharacteristics::LAYOUT,
    raw::FilterAttributes::LAYOUT,
    raw::FilterAttachParameters::LAYOUT,
    raw::FilterPauseParameters::LAYOUT,
    raw::FilterRestartParameters::LAYOUT,
    raw::TimerCharacteristics::LAYOUT,
    raw::LockStateEx::LAYOUT,
    raw::GroupAffinity::LAYOUT,
    raw::ReceiveQueueParameters::LAYOUT,
    raw::QueueCompleteArray::LAYOUT,
    raw::QueueComplete::LAYOUT,
    raw::ReceiveFilterParameters::LAYOUT,
    raw::ReceiveFilterField::LAYOUT,
    raw::ReceiveFilterClear::LAYOUT,
    raw::ReceiveFilterMove::LAYOUT,
    raw::ReceiveQueueFree::LAYOUT,
    raw::ReceiveQueueState::LAYOUT,
    raw::VfParameters::LAYOUT,
    raw::FreeVf::LAYOUT,
    raw::VportParameters::LAYOUT,
    raw::DeleteVport::LAYOUT,
    raw::IpsecAlgorithm::LAYOUT,
    raw::IpsecAssociation::LAYOUT,
    raw::IpsecAddSa::LAYOUT,
    raw::IpsecAddSaEx::LAYOUT,
    raw::IpsecUpdateSa::LAYOUT,
    raw::IpsecDeleteSa::LAYOUT,
    raw::ReceiveFilterCapabilities::LAYOUT,
    raw::NicSwitchCapabilities::LAYOUT,
    raw::SriovCapabilities::LAYOUT,
    raw::ReadVfConfigSpace::LAYOUT,
    raw::WriteVfConfigSpace::LAYOUT,
    raw::ReadVfConfigBlock::LAYOUT,
    raw::WriteVfConfigBlock::LAYOUT,
    raw::ResetVf::LAYOUT,
    raw::SetVfPowerState::LAYOUT,
    raw::VfVendorDeviceId::LAYOUT,
    raw::VfBarResources::LAYOUT,
    raw::IpsecOffloadV2::LAYOUT,
    raw::Offload::LAYOUT,
    raw::MibIfRow2::LAYOUT,
    raw::ErrorLogPacket::LAYOUT,
    raw::EventDescriptor::LAYOUT,
    raw::EventDataDescriptor::LAYOUT,
];

/// Fields that overlay others: the driver declares one member for each place.
const OVERLAID: &[(&str, &str)] = &[
    ("NET_BUFFER_LIST", "Link"),
    ("NET_BUFFER_LIST", "NetBufferListHeader"),
    ("NET_BUFFER_LIST", "NdisReserved2"),
    ("NET_BUFFER", "stDataLength"),
    ("NET_BUFFER", "Link"),
    ("NET_BUFFER", "NetBufferHeader"),
    ("NET_BUFFER", "ScatterGatherList"),
    ("NDIS_SWITCH_PORT_DESTINATION", "PreserveVLAN"),
    ("NDIS_SWITCH_PORT_DESTINATION", "PreservePriority"),
    ("NDIS_SWITCH_PORT_DESTINATION", "Reserved"),
    ("NDIS_SWITCH_PORT_PROPERTY_VLAN", "VlanProperties"),
    ("NDIS_SWITCH_PORT_PROPERTY_VLAN", "PvlanProperties"),
    ("IPSEC_OFFLOAD_V2_ADD_SA", "IPv4Endpoints"),
    ("IPSEC_OFFLOAD_V2_ADD_SA_EX", "IPv4Endpoints"),
];

fn table() -> BTreeMap<(&'static str, &'static str), (usize, usize)> {
    let row = |line: &'static str| {
        let mut cells = line.split(',');
        let mut next = || cells.next().expect("a row has five cells");
        let key = (next(), next());
        (key, (next().parse().expect("an offset"), next().parse().expect("a size")))
    };
    TABLE.lines().skip(1).map(row).collect()
}

#[test]
fn every_declared_field_lies_where_the_table_says() {
    let table = table();
    for row in DECLARED.iter().copied().flatten().filter(|row| !row.field.is_empty()) {
        let known = table.get(&(row.structure, row.field)).copied();
        assert_eq!(known, Some((row.offset, row.size)), "{}.{}", row.structure, row.field);
    }
}

#[test]
fn every_field_of_the_table_is_declared_or_overlays_a_declared_one() {
    let declared: Vec<_> = DECLARED.iter().copied().flatten().map(|row| (row.structure, row.field)).collect();
    for &(structure, field) in table().keys() {
        let member_of_union = field.starts_with("DATA") || field.contains('.');
        let known = declared.contains(&(structure, field)) || OVERLAID.contains(&(structure, field));
        assert!(known || member_of_union, "{structure}.{field} is in the table and not in the driver");
    }
}

#[test]
fn every_structure_of_the_driver_is_in_the_list() {
    let sources = [
        include_str!("../../src/ndis/raw/mod.rs"),
        include_str!("../../src/ndis/raw/error_log.rs"),
        include_str!("../../src/ndis/raw/interface.rs"),
        include_str!("../../src/ndis/raw/nbl.rs"),
        include_str!("../../src/ndis/raw/offload.rs"),
        include_str!("../../src/ndis/raw/oid.rs"),
        include_str!("../../src/ndis/raw/property.rs"),
        include_str!("../../src/ndis/raw/registration.rs"),
        include_str!("../../src/ndis/raw/switch.rs"),
        include_str!("../../src/ndis/raw/trace.rs"),
    ];
    let declared = sources
        .iter()
        .flat_map(|source| source.lines())
        .filter(|line| line.trim_start().starts_with('"') && line.contains(" => ") && line.ends_with('{'))
        .count();
    assert_eq!(declared, DECLARED.len());
}
