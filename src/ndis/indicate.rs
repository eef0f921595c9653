//! Status indications that the driver originates, each in an envelope of its own on the stack
//! (originating-ndis-status-indications-from-physical-network-adapters.md, ndis-status-switch-port-remove-vf.md).

use super::handle::Filter;
use super::raw::{self, ObjectHeader, StatusIndication, SwitchNicStatusIndication, object_type};
use super::switch::NicRef;
use super::sys;
use core::ffi::c_void;
use teaming::ids::NicId;
use teaming::offload::capabilities::{Block, Capability};

/// The envelope with the indication inside, as they lie one after the other.
#[repr(C)]
struct Wrapped {
    envelope: SwitchNicStatusIndication,
    inner: StatusIndication,
}

/// What the whole team can: from the external port's adapter with index 0, which is referenced.
/// IRQL <= DISPATCH_LEVEL, no lock held.
#[inline(never)] // a frame of its own
pub(crate) fn capability(filter: Filter, team: &NicRef<'_>, capability: Capability, block: &Block) {
    let Some(code) = capability.status() else { return };
    let bytes = block.bytes();
    let buffer = bytes.as_ptr().cast_mut().cast();
    send(filter, Some(team.nic()), None, code.cast_signed(), (buffer, bytes.len() as u32));
}

/// A partition must give its virtual function up: to its adapter, which is referenced. The indication has no payload.
/// IRQL <= DISPATCH_LEVEL, no lock held.
#[inline(never)] // a frame of its own
pub(crate) fn remove_vf(filter: Filter, partition: &NicRef<'_>) {
    let nothing = (core::ptr::null_mut(), 0);
    send(filter, None, Some(partition.nic()), raw::SWITCH_PORT_REMOVE_VF, nothing);
}

fn send(
    filter: Filter,
    source: Option<NicId>,
    destination: Option<NicId>,
    code: i32,
    (buffer, size): (*mut c_void, u32),
) {
    let header = ObjectHeader::new(object_type::STATUS_INDICATION, 1, size_of::<StatusIndication>() as u16);
    let mut wrapped = Wrapped { envelope: SwitchNicStatusIndication::ZERO, inner: StatusIndication::ZERO };
    wrapped.inner.header = header;
    wrapped.inner.source_handle = filter.handle();
    wrapped.inner.status_code = code;
    wrapped.inner.status_buffer = buffer;
    wrapped.inner.status_buffer_size = size;
    let envelope_size = size_of::<SwitchNicStatusIndication>() as u16;
    wrapped.envelope.header = ObjectHeader::new(object_type::DEFAULT, 1, envelope_size);
    let (from, to) = (source.unwrap_or_default(), destination.unwrap_or_default());
    wrapped.envelope.source_port_id = from.port.get();
    wrapped.envelope.source_nic_index = from.index.get();
    wrapped.envelope.destination_port_id = to.port.get();
    wrapped.envelope.destination_nic_index = to.index.get();
    wrapped.envelope.status_indication = &raw mut wrapped.inner;
    let mut outer = StatusIndication::ZERO;
    outer.header = header;
    outer.source_handle = filter.handle();
    outer.status_code = raw::SWITCH_NIC_STATUS;
    outer.status_buffer = (&raw mut wrapped).cast();
    // The page on the removal of virtual functions adds the length of the indication inside; the others do not.
    let inner_size = if destination.is_some() { size_of::<StatusIndication>() as u32 } else { 0 };
    outer.status_buffer_size = u32::from(envelope_size) + inner_size;
    // SAFETY: everything lives through the call, which keeps nothing.
    unsafe { sys::NdisFIndicateStatus(filter.handle(), &mut outer) };
}
