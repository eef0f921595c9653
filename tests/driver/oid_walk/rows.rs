//! A request for every row of the table of OIDs: the resources that must exist before, and its bytes. A row without
//! one fails.

use lbfoext::ndis::raw::{oids, request_type};
use teaming::oid::{OidContext, RequestType, Row, Treatment};
use vswitch::adapter::identity::Told;
use vswitch::adapter::wire::oid;
use vswitch::scenario::{Net, unknown_request};
use vswitch::switch::control::envelope::Inner;
use vswitch::switch::control::offload::{
    Partition, add_sa, clear_filter, complete_array, config_block, config_space, delete_sa, delete_vport,
    filter_parameters, free_queue, free_vf, move_filter, queue_parameters, queue_update, reset_vf,
    scale_parameters, update_sa, vf_bar, vf_parameters, vf_power, vf_vendor, vport_parameters, vport_update,
};
use vswitch::switch::control::payload;
use vswitch::switch::control::property_bytes::{self as bytes, Envelope};
use vswitch::switch::control::save::Blob;
use vswitch::switch::ports::policy::{Property, Vlan};
use vswitch::switch::ports::{Nic, NicId, NicKind, NicState, Port, PortState};

/// A NIC that only these requests name.
const VM_NIC: NicId = NicId::new(700, 0);
const MAC: [u8; 6] = [2, 0x15, 0x5D, 0, 7, 0];

pub const fn request_type_of(kind: RequestType) -> i32 {
    match kind {
        RequestType::Query => request_type::QUERY_INFORMATION,
        RequestType::Set => request_type::SET_INFORMATION,
        RequestType::Method => request_type::METHOD,
    }
}

fn nic_bytes() -> Vec<u8> {
    let mut nic = Nic::new(VM_NIC, NicKind::Synthetic, MAC);
    nic.state = NicState::Created;
    payload::nic(&nic, 1, &Told::default())
}

fn port_bytes() -> Vec<u8> {
    let port = Port { state: PortState::Created, ..Port::new(VM_NIC.port, NicKind::Synthetic) };
    payload::bytes_of(&payload::port(&port))
}

/// The payload of a request that is not encapsulated, by the structure that its row names.
pub fn bare(row: &Row) -> Vec<u8> {
    let envelope = Envelope { id: [0; 16], instance: 1, version: 0x0100, gap: 0, newer: false };
    match row.words().structure {
        None => vec![0x5A; 64],
        Some("NDIS_SWITCH_PORT_PARAMETERS") => port_bytes(),
        Some("NDIS_SWITCH_NIC_PARAMETERS") => nic_bytes(),
        Some("NDIS_SWITCH_PORT_PROPERTY_PARAMETERS") => {
            bytes::port_property(VM_NIC.port, &Property::Vlan(Vlan::Access(7)), &envelope)
        }
        Some("NDIS_SWITCH_PORT_PROPERTY_DELETE_PARAMETERS") => {
            bytes::port_property_deletion(VM_NIC.port, 3, &envelope)
        }
        // Data of another extension about a NIC that does not exist; `runtime_state` tests the extension's own data.
        Some("NDIS_SWITCH_NIC_SAVE_STATE") => Blob::made([0xBE; 16], &[7; 24]).0,
        Some(other) => panic!("{} has no request here: how does one make {other}?", row.words().name),
    }
}

/// Creates the port and the NIC that a request that is not encapsulated names.
pub fn before_bare(net: &Net, row: &Row) {
    let (port, nic, connect) = (oids::SWITCH_PORT_CREATE, oids::SWITCH_NIC_CREATE, oids::SWITCH_NIC_CONNECT);
    let earlier: &[u32] = match row.oid {
        oids::SWITCH_PORT_CREATE => &[],
        oids::SWITCH_NIC_CREATE | oids::SWITCH_PORT_UPDATED | oids::SWITCH_PORT_TEARDOWN => &[port],
        oids::SWITCH_NIC_UPDATED | oids::SWITCH_NIC_DISCONNECT | oids::SWITCH_NIC_DELETE => {
            &[port, nic, connect]
        }
        _ => &[port, nic],
    };
    for oid in earlier {
        let bytes = if *oid == port { port_bytes() } else { nic_bytes() };
        net.ask(unknown_request(*oid, request_type::SET_INFORMATION, bytes, 0));
    }
}

/// Allocates the resource that an encapsulated request is about, and makes the request.
pub fn inner(partition: &Partition, row: &Row, kind: RequestType) -> Inner {
    assert_eq!(row.place, OidContext::Envelope);
    let mac = partition.mac();
    let queue = || partition.allocate_queue().expect("an adapter has a queue");
    let function = || partition.allocate_function(mac).expect("an adapter has a VF");
    let vport = || partition.create_vport(function()).expect("room for a virtual port");
    let association = || partition.add_association_ex(5).expect("an adapter takes an SA");
    let bytes = match row.oid {
        oid::ALLOCATE_QUEUE => queue_parameters(2, partition.nic.port, 1),
        oid::SET_FILTER => filter_parameters(1, queue(), 0, mac),
        oid::ALLOCATION_COMPLETE => complete_array(&[queue()], 4),
        oid::CLEAR_FILTER => {
            let queue = queue();
            clear_filter(queue, partition.set_filter(queue, mac).expect("room for a filter"))
        }
        oid::FREE_QUEUE => free_queue(queue()),
        oid::MOVE_FILTER => {
            let vport = vport();
            let filter = partition.set_filter(0, mac).expect("room for a filter");
            move_filter(filter, (0, 0), (0, vport))
        }
        oid::CREATE_VPORT => vport_parameters(1, function()),
        oid::DELETE_VPORT => delete_vport(vport()),
        oid::QUEUE_PARAMETERS => queue_update(3, partition.nic.port, queue(), 2),
        oid::VPORT_PARAMETERS => vport_update(2, vport(), 3),
        oid::READ_CONFIG_SPACE => config_space(false, function(), 64, &[0; 4]),
        oid::WRITE_CONFIG_SPACE => config_space(true, function(), 64, &[1, 2, 3, 4]),
        oid::READ_CONFIG_BLOCK => config_block(false, function(), 1, &[0; 4]),
        oid::WRITE_CONFIG_BLOCK => config_block(true, function(), 1, &[1, 2, 3, 4]),
        oid::RESET_VF => reset_vf(function()),
        oid::VF_POWER => vf_power(function(), 4),
        oid::VF_VENDOR => vf_vendor(function()),
        oid::VF_BAR => vf_bar(function(), 2),
        oid::RSS_PARAMETERS | oid::RSS_PARAMETERS_V2 => {
            let bytes = scale_parameters(if row.oid == oid::RSS_PARAMETERS { 2 } else { 0 });
            return Inner::new(row.oid, request_type_of(kind), bytes).for_vport(vport());
        }
        oid::ALLOCATE_VF => vf_parameters(mac),
        oid::FREE_VF => free_vf(function()),
        oid::ADD_SA => add_sa(false, 7, 0),
        oid::ADD_SA_EX => add_sa(true, 7, partition.nic.port),
        oid::DELETE_SA => delete_sa(association()),
        oid::UPDATE_SA => update_sa(association(), 8),
        oids::IEEE_802_3_MULTICAST_LIST
        | oids::IEEE_802_3_ADD_MULTICAST_ADDRESS
        | oids::IEEE_802_3_DELETE_MULTICAST_ADDRESS => vec![1, 0, 0x5E, 0, 0, 1],
        oids::GEN_CURRENT_PACKET_FILTER => vec![4, 0, 0, 0],
        _ => panic!("{} has no request here: write one", row.words().name),
    };
    Inner::new(row.oid, request_type_of(kind), bytes)
}

/// Whether the request has destination 0/0, for inspection only.
pub fn is_for_nobody(row: &Row) -> bool {
    row.treatment == Treatment::Note
}
