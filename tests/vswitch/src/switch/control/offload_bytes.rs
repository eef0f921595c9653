//! The payloads of offload requests, as the switch writes them.

use crate::adapter::vmq::VnicAddress;
use crate::adapter::wire::{self, put, structure};
use crate::switch::ports::Mac;

/// Value of undefined bytes of a request.
const GARBAGE: u8 = 0;

/// `NDIS_RECEIVE_QUEUE_PARAMETERS` of a revision, for a port, with a processor mask.
pub fn queue_parameters(revision: u8, port: u32, mask: u64) -> Vec<u8> {
    let size: u16 = match revision {
        1 => 1084,
        2 => 1092,
        3 => 1096,
        _ => 1112,
    };
    let mut bytes = structure(usize::from(size), revision, size, GARBAGE);
    put(&mut bytes, wire::queue::KIND, 1);
    put(&mut bytes, wire::queue::AFFINITY, mask);
    put(&mut bytes, wire::queue::BUFFERS, 64);
    put(&mut bytes, wire::queue::PORT, u64::from(port));
    bytes
}

/// `NDIS_RECEIVE_FILTER_PARAMETERS` with one field: the destination address, untagged or VLAN 0.
pub fn filter_parameters(revision: u8, queue: u32, vport: u32, mac: Mac) -> Vec<u8> {
    vnic_parameters(revision, queue, vport, VnicAddress::untagged(mac))
}

/// `NDIS_RECEIVE_FILTER_PARAMETERS` with the fields that tell a vNIC: its destination address, and its VLAN if that
/// is not 0 (setting-a-vmq-filter).
pub fn vnic_parameters(revision: u8, queue: u32, vport: u32, vnic: VnicAddress) -> Vec<u8> {
    let size: u16 = match revision {
        1 => 36,
        2 => 44,
        _ => 60,
    };
    let first = usize::from(size).next_multiple_of(8);
    let vlan = vnic.vid.filter(|vid| *vid != 0);
    let fields = 1 + usize::from(vlan.is_some());
    let mut bytes = structure(first + FIELD * fields, revision, size, GARBAGE);
    put(&mut bytes, wire::filter::KIND, 1);
    put(&mut bytes, wire::filter::QUEUE, u64::from(queue));
    put(&mut bytes, wire::filter::FIELDS_AT, first as u64);
    put(&mut bytes, wire::filter::FIELDS, fields as u64);
    put(&mut bytes, wire::filter::FIELD_SIZE, FIELD as u64);
    if revision >= 2 {
        put(&mut bytes, wire::filter::VPORT, u64::from(vport));
    }
    let untagged = if vnic.vid == Some(0) { wire::mac_field::UNTAGGED_OR_ZERO } else { 0 };
    let mut fields = bytes[first..].chunks_mut(FIELD);
    if let Some(field) = fields.next() {
        equal(field, wire::mac_field::DESTINATION, untagged, &vnic.mac);
    }
    if let (Some(field), Some(vid)) = (fields.next(), vlan) {
        equal(field, wire::mac_field::VLAN_ID, 0, &vid.to_le_bytes());
    }
    bytes
}

/// Size of `NDIS_RECEIVE_FILTER_FIELD_PARAMETERS`.
const FIELD: usize = 56;

/// A field of the MAC header is equal to this value.
fn equal(field: &mut [u8], which: u32, flags: u32, value: &[u8]) {
    field[..4].copy_from_slice(&[0x80, 2, FIELD as u8, 0]);
    for (member, value) in [
        (wire::field::FLAGS, flags),
        (wire::field::HEADER, 1),
        (wire::field::TEST, 1),
        (wire::field::WHICH, which),
    ] {
        put(field, member, u64::from(value));
    }
    let at = wire::field::VALUE.at;
    field[at..at + value.len()].copy_from_slice(value);
}

/// `NDIS_RECEIVE_QUEUE_ALLOCATION_COMPLETE_ARRAY` with `gap` bytes before and between its elements.
pub fn complete_array(queues: &[u32], gap: usize) -> Vec<u8> {
    let (first, size) = (20 + gap, 16 + gap);
    let mut bytes = structure(first + size * queues.len(), 1, 20, GARBAGE);
    put(&mut bytes, wire::complete::FIRST, first as u64);
    put(&mut bytes, wire::complete::COUNT, queues.len() as u64);
    put(&mut bytes, wire::complete::SIZE, size as u64);
    for (n, queue) in queues.iter().enumerate() {
        let element = &mut bytes[first + n * size..];
        element[..4].copy_from_slice(&[0x80, 1, 16, 0]);
        put(element, wire::completed::QUEUE, u64::from(*queue));
        put(element, wire::completed::STATUS, 0x7777_7777);
    }
    bytes
}

/// A structure with one id.
fn names(size: u16, member: wire::Member, id: u64) -> Vec<u8> {
    let mut bytes = structure(usize::from(size), 1, size, GARBAGE);
    put(&mut bytes, member, id);
    bytes
}

/// New processors of a queue.
pub fn queue_update(revision: u8, port: u32, id: u32, mask: u64) -> Vec<u8> {
    let mut bytes = queue_parameters(revision, port, mask);
    put(&mut bytes, wire::queue::FLAGS, u64::from(wire::flag::QUEUE_AFFINITY_CHANGED));
    put(&mut bytes, wire::queue::ID, u64::from(id));
    bytes
}

pub fn free_queue(id: u32) -> Vec<u8> {
    names(12, wire::free_queue::ID, u64::from(id))
}

pub fn clear_filter(queue: u32, id: u32) -> Vec<u8> {
    let mut bytes = names(16, wire::clear_filter::ID, u64::from(id));
    put(&mut bytes, wire::clear_filter::QUEUE, u64::from(queue));
    bytes
}

pub fn move_filter(id: u32, from: (u32, u32), to: (u32, u32)) -> Vec<u8> {
    let mut bytes = names(24, wire::move_filter::ID, u64::from(id));
    for (member, value) in [
        (wire::move_filter::FROM_QUEUE, from.0),
        (wire::move_filter::FROM_VPORT, from.1),
        (wire::move_filter::TO_QUEUE, to.0),
        (wire::move_filter::TO_VPORT, to.1),
    ] {
        put(&mut bytes, member, u64::from(value));
    }
    bytes
}

pub fn vf_parameters(mac: Mac) -> Vec<u8> {
    let mut bytes = structure(1632, 1, 1632, GARBAGE);
    put(&mut bytes, wire::vf::MAC_LENGTH, 6);
    let at = wire::vf::MAC.at;
    bytes[at..at + 6].copy_from_slice(&mac);
    bytes
}

pub fn free_vf(id: u32) -> Vec<u8> {
    names(12, wire::free_vf::ID, u64::from(id))
}

pub fn vport_parameters(revision: u8, function: u32) -> Vec<u8> {
    let (size, length): (u16, usize) = if revision < 2 { (572, 576) } else { (748, 752) };
    let mut bytes = structure(length, revision, size, GARBAGE);
    put(&mut bytes, wire::vport::FUNCTION, u64::from(function));
    put(&mut bytes, wire::vport::QUEUE_PAIRS, 1);
    put(&mut bytes, wire::vport::STATE, 1);
    bytes
}

/// A new number of queue pairs of a virtual port.
pub fn vport_update(revision: u8, id: u32, pairs: u32) -> Vec<u8> {
    let mut bytes = vport_parameters(revision, 0);
    put(&mut bytes, wire::vport::FLAGS, u64::from(wire::flag::VPORT_PAIRS_CHANGED));
    put(&mut bytes, wire::vport::ID, u64::from(id));
    put(&mut bytes, wire::vport::QUEUE_PAIRS, u64::from(pairs));
    bytes
}

/// Reads or writes these bytes of a virtual function's configuration space.
pub fn config_space(writes: bool, vf: u32, offset: u32, data: &[u8]) -> Vec<u8> {
    let id = if writes { wire::config_space_written::VF } else { wire::config_space::VF };
    with_data(id, vf, (wire::config_space::OFFSET, offset), data)
}

/// Reads or writes a block of the back channel between the drivers of function and adapter.
pub fn config_block(writes: bool, vf: u32, block: u32, data: &[u8]) -> Vec<u8> {
    let id = if writes { wire::config_block_written::VF } else { wire::config_block::VF };
    with_data(id, vf, (wire::config_block::BLOCK_ID, block), data)
}

fn with_data(id: wire::Member, vf: u32, (which, value): (wire::Member, u32), data: &[u8]) -> Vec<u8> {
    let mut bytes = names(20, id, u64::from(vf));
    put(&mut bytes, which, u64::from(value));
    put(&mut bytes, wire::config_space::LENGTH, data.len() as u64);
    put(&mut bytes, wire::config_space::BUFFER, 24);
    bytes.extend([0; 4]);
    bytes.extend(data);
    bytes
}

pub fn reset_vf(vf: u32) -> Vec<u8> {
    names(6, wire::vf_reset::VF, u64::from(vf))
}

/// A power state of a virtual function: 1 is D0, 4 is D3.
pub fn vf_power(vf: u32, state: u32) -> Vec<u8> {
    let mut bytes = structure(16, 1, 13, GARBAGE);
    put(&mut bytes, wire::vf_power::VF, u64::from(vf));
    put(&mut bytes, wire::vf_power::STATE, u64::from(state));
    bytes
}

pub fn vf_vendor(vf: u32) -> Vec<u8> {
    names(10, wire::vf_vendor::VF, u64::from(vf))
}

/// Asks for the resources of a base address register, with room for the descriptor.
pub fn vf_bar(vf: u32, bar: u32) -> Vec<u8> {
    let mut bytes = names(12, wire::vf_bar::VF, u64::from(vf));
    put(&mut bytes, wire::vf_bar::INDEX, u64::from(bar));
    put(&mut bytes, wire::vf_bar::RESOURCES_AT, 12);
    bytes.extend([0; 20]);
    bytes
}

/// `NDIS_RECEIVE_SCALE_PARAMETERS` of a revision, or `_V2` for revision 0, with a key of 40 bytes.
pub fn scale_parameters(revision: u8) -> Vec<u8> {
    let size: u16 = match revision {
        0 | 1 => 28,
        2 => 40,
        _ => 44,
    };
    let mut bytes = structure(usize::from(size), revision.max(1), size, GARBAGE);
    bytes[0] = if revision == 0 { 0xC8 } else { 0x89 };
    bytes.extend([0x6D; 40]);
    bytes
}

pub fn delete_vport(id: u32) -> Vec<u8> {
    names(12, wire::delete_vport::ID, u64::from(id))
}

/// One node of ADD_SA, or the whole of ADD_SA_EX.
pub fn add_sa(extended: bool, spi: u32, port: u32) -> Vec<u8> {
    let mut bytes = structure(176, 1, if extended { 170 } else { 169 }, GARBAGE);
    let first = if extended { wire::add_sa_ex::ASSOCIATIONS } else { wire::add_sa::ASSOCIATIONS };
    bytes[first.at + 8..first.at + 12].copy_from_slice(&spi.to_le_bytes());
    if extended {
        put(&mut bytes, wire::add_sa_ex::PORT, u64::from(port));
    }
    bytes
}

pub fn delete_sa(handle: u64) -> Vec<u8> {
    names(24, wire::delete_sa::HANDLE, handle)
}

pub fn update_sa(handle: u64, spi: u32) -> Vec<u8> {
    let mut bytes = structure(32, 1, 28, GARBAGE);
    put(&mut bytes, wire::update_sa::HANDLE, handle);
    put(&mut bytes, wire::update_sa::SPI, u64::from(spi));
    bytes
}
