//! Status indications that the driver originates, each encapsulated in an NDIS_SWITCH_NIC_STATUS_INDICATION on the
//! stack (originating-ndis-status-indications-from-physical-network-adapters.md,
//! ndis-status-switch-port-remove-vf.md).

use super::handle::Filter;
use super::raw::{self, ObjectHeader, StatusIndication, SwitchNicStatusIndication, object_type};
use super::switch::NicRef;
use super::sys;
use core::ffi::c_void;
use teaming::ids::NicId;
use teaming::offload::capabilities::{Block, Capability};

/// The envelope, followed in memory by the encapsulated indication.
#[repr(C)]
struct Encapsulated {
    envelope: SwitchNicStatusIndication,
    inner: StatusIndication,
}

/// Indicates a capability of the team as a whole. The source is the external network adapter (NIC index 0), to which
/// `team` holds a reference. IRQL <= DISPATCH_LEVEL, no lock held.
#[inline(never)] // a frame of its own
pub(crate) fn capability(filter: Filter, team: &NicRef<'_>, capability: Capability, block: &Block) {
    let Some(code) = capability.status() else { return };
    let bytes = block.bytes();
    let buffer = bytes.as_ptr().cast_mut().cast();
    send(filter, Some(team.nic()), None, code.cast_signed(), (buffer, bytes.len() as u32));
}

/// Indicates NDIS_STATUS_SWITCH_PORT_REMOVE_VF to the NIC of a partition, whose virtual function is lost. The
/// indication has no payload. IRQL <= DISPATCH_LEVEL, no lock held.
#[inline(never)] // a frame of its own
pub(crate) fn remove_vf(filter: Filter, partition: &NicRef<'_>) {
    let no_payload = (core::ptr::null_mut(), 0);
    send(filter, None, Some(partition.nic()), raw::SWITCH_PORT_REMOVE_VF, no_payload);
}

fn send(
    filter: Filter,
    source: Option<NicId>,
    destination: Option<NicId>,
    code: i32,
    (buffer, size): (*mut c_void, u32),
) {
    let header = ObjectHeader::new(object_type::STATUS_INDICATION, 1, size_of::<StatusIndication>() as u16);
    let mut encapsulated =
        Encapsulated { envelope: SwitchNicStatusIndication::ZERO, inner: StatusIndication::ZERO };
    encapsulated.inner.header = header;
    encapsulated.inner.source_handle = filter.handle();
    encapsulated.inner.status_code = code;
    encapsulated.inner.status_buffer = buffer;
    encapsulated.inner.status_buffer_size = size;
    let envelope_size = size_of::<SwitchNicStatusIndication>() as u16;
    encapsulated.envelope.header = ObjectHeader::new(object_type::DEFAULT, 1, envelope_size);
    let (from, to) = (source.unwrap_or_default(), destination.unwrap_or_default());
    encapsulated.envelope.source_port_id = from.port.get();
    encapsulated.envelope.source_nic_index = from.index.get();
    encapsulated.envelope.destination_port_id = to.port.get();
    encapsulated.envelope.destination_nic_index = to.index.get();
    encapsulated.envelope.status_indication = &raw mut encapsulated.inner;
    let mut outer = StatusIndication::ZERO;
    outer.header = header;
    outer.source_handle = filter.handle();
    outer.status_code = raw::SWITCH_NIC_STATUS;
    outer.status_buffer = (&raw mut encapsulated).cast();
    // ndis-status-switch-port-remove-vf.md adds the size of the encapsulated indication; the other pages do not.
    let inner_size = if destination.is_some() { size_of::<StatusIndication>() as u32 } else { 0 };
    outer.status_buffer_size = u32::from(envelope_size) + inner_size;
    // SAFETY: the structures live on this stack for the call, and NDIS keeps no pointer to them.
    unsafe { sys::NdisFIndicateStatus(filter.handle(), &mut outer) };
}
