//! The information buffers of requests, as bytes that can be read until the request is completed.

use super::oid::Request;
use super::raw::{OidRequest, SwitchNicOidRequest, object_type, oids, request_type};
use core::mem::offset_of;
use core::ptr::NonNull;
use teaming::ids::{NicId, NicIndex, PortId};

/// The input bytes of a request. They do not change until the request is completed; the slice must not be used
/// afterwards.
pub fn input(request: &Request) -> &[u8] {
    // SAFETY: the request and its buffer are valid until it is completed, and the caller does not complete it while
    // the slice is borrowed.
    unsafe { bytes_of(&*request.as_ptr()) }
}

/// The encapsulated request of a child partition that the switch forwards to the extensions for inspection.
pub struct Shown<'a> {
    /// The partition's NIC.
    pub from: NicId,
    pub oid: u32,
    pub input: &'a [u8],
}

/// The set request in an OID_SWITCH_NIC_REQUEST with destination 0/0
/// (forwarding-oid-requests-from-a-hyper-v-child-partition.md).
pub fn shown<'a>(request: &'a Request) -> Option<Shown<'a>> {
    if request.oid() != oids::SWITCH_NIC_REQUEST {
        return None;
    }
    let bytes = input(request);
    let size = size_of::<SwitchNicOidRequest>();
    let (kind, revision) = (*bytes.first()?, *bytes.get(1)?);
    if kind != object_type::DEFAULT || revision < 1 || bytes.len() < size {
        return None;
    }
    // SAFETY: at least `size` bytes are readable, and every bit pattern is a valid structure.
    let envelope = unsafe { bytes.as_ptr().cast::<SwitchNicOidRequest>().read_unaligned() };
    if usize::from(envelope.header.size) < size
        || (envelope.destination_port_id, envelope.destination_nic_index) != (0, 0)
    {
        return None;
    }
    let inner = NonNull::new(envelope.oid_request)?;
    // SAFETY: the issuer keeps the encapsulated request valid until the outer one is completed.
    let inner = unsafe { inner.as_ref() };
    if inner.header.size < OidRequest::SIZE_REVISION_1 || inner.request_type != request_type::SET_INFORMATION
    {
        return None;
    }
    let from = NicId::new(PortId::new(envelope.source_port_id), NicIndex::new(envelope.source_nic_index));
    // SAFETY: as above.
    Some(Shown { from, oid: inner.oid, input: unsafe { bytes_of(inner) } })
}

/// # Safety
/// The request and its buffer of `length` bytes are valid as long as the result is used.
unsafe fn bytes_of(request: &OidRequest) -> &[u8] {
    let Some(buffer) = NonNull::new(request.information_buffer.cast::<u8>()) else { return &[] };
    // SAFETY: by the caller's promise.
    unsafe { core::slice::from_raw_parts(buffer.as_ptr(), request.length as usize) }
}

const _: () = {
    use super::raw::{
        PortPropertyDeleteParameters as Deletion, PortPropertyEnumInfo as Info,
        PortPropertyEnumParameters as Question, PortPropertyIsolation as Isolation,
        PortPropertyParameters as Head, PortPropertyPvlan as Private, PortPropertySecurity as Security,
        PortPropertyVlan as Vlan, port_property_type,
    };
    use teaming::ports::property::{PropertyType, at};
    assert!(size_of::<Head>() == at::head::SIZE && size_of::<Deletion>() == at::deletion::SIZE);
    assert!(offset_of!(Head, port_id) == at::head::PORT && offset_of!(Head, property_type) == at::head::TYPE);
    assert!(offset_of!(Head, property_buffer_length) == at::head::LENGTH);
    assert!(offset_of!(Head, property_buffer_offset) == at::head::OFFSET);
    assert!(offset_of!(Deletion, port_id) == at::head::PORT);
    assert!(offset_of!(Deletion, property_type) == at::head::TYPE);
    assert!(Question::SIZE_REVISION_1 as usize == at::question::SIZE);
    assert!(size_of::<Question>() == at::question::ROOM && offset_of!(Question, port_id) == at::head::PORT);
    assert!(offset_of!(Question, property_type) == at::head::TYPE);
    assert!(offset_of!(Question, serialization_version) == at::question::SERIALIZATION);
    assert!(offset_of!(Question, first_property_offset) == at::question::FIRST);
    assert!(offset_of!(Question, num_properties) == at::question::COUNT);
    assert!(size_of::<Info>() == at::info::SIZE);
    assert!(offset_of!(Info, property_buffer_length) == at::info::LENGTH);
    assert!(offset_of!(Info, property_buffer_offset) == at::info::OFFSET);
    assert!(size_of::<Vlan>() == at::vlan::SIZE && offset_of!(Vlan, operation_mode) == at::vlan::MODE);
    assert!(offset_of!(Vlan, access_vlan_id) == at::vlan::ACCESS);
    assert!(offset_of!(Vlan, native_vlan_id) == at::vlan::NATIVE);
    assert!(offset_of!(Vlan, prune_vlan_id_array) == at::vlan::PRUNED);
    assert!(offset_of!(Vlan, trunk_vlan_id_array) == at::vlan::ALLOWED);
    assert!(offset_of!(Private, pvlan_mode) == at::vlan::PRIVATE_MODE);
    assert!(offset_of!(Private, primary_vlan_id) == at::vlan::PRIMARY);
    assert!(offset_of!(Private, secondary_vlan_id_array) == at::vlan::SECONDARY);
    assert!(Security::SIZE_REVISION_1 as usize == at::security::SIZE);
    assert!(offset_of!(Security, allow_mac_spoofing) == at::security::SPOOFING);
    assert!(offset_of!(Security, allow_ieee_priority_tag) == at::security::PRIORITY);
    assert!(offset_of!(Security, virtual_subnet_id) == at::security::SUBNET);
    assert!(offset_of!(Security, allow_teaming) == at::security::TEAMING);
    assert!(size_of::<Isolation>() == at::isolation::SIZE);
    assert!(offset_of!(Isolation, isolation_mode) == at::isolation::MODE);
    assert!(
        PropertyType::SECURITY == port_property_type::SECURITY
            && PropertyType::VLAN == port_property_type::VLAN
    );
    assert!(PropertyType::ISOLATION == port_property_type::ISOLATION);
};
