//! Requests to a NIC from above: an OID in the envelope of OID_SWITCH_NIC_REQUEST.

use super::{Answer, Ask, below::Plan, bytes_at, payload, request};
use crate::check::rule;
use crate::memory::Kind;
use crate::ports::NicId;
use crate::world;
use lbfoext::ndis::raw::{ObjectHeader, OidRequest, SwitchNicOidRequest, object_type, oids, request_type};

/// What the envelope carries.
pub struct Inner {
    pub oid: u32,
    pub kind: i32,
    pub buffer: Vec<u8>,
}

/// Makes a request to a NIC; `from` is the partition's NIC or nowhere, `to` the external port, or nowhere for a request
/// that extensions may only look at. `as_set` gives it the request type that some pages name.
pub fn ask(module: usize, from: NicId, to: NicId, inner: &Inner, plan: Plan, as_set: bool) -> Answer {
    let world = world::current();
    let buffer = world.alloc(Kind::Switch, inner.buffer.len().max(1), 0, "buffer of an inner request");
    let carried = world.alloc(Kind::Switch, size_of::<OidRequest>(), 0, "inner request");
    let mut r = OidRequest::ZERO;
    r.header = ObjectHeader::new(object_type::OID_REQUEST, 1, OidRequest::SIZE_REVISION_1);
    r.request_type = inner.kind;
    r.oid = inner.oid;
    r.information_buffer = buffer.cast();
    r.length = u32::try_from(inner.buffer.len()).unwrap_or(0);
    // SAFETY: both were just allocated with these sizes.
    unsafe {
        std::ptr::copy_nonoverlapping(inner.buffer.as_ptr(), buffer, inner.buffer.len());
        carried.cast::<OidRequest>().write(r);
    }
    let mut envelope = SwitchNicOidRequest::ZERO;
    envelope.header = ObjectHeader::new(object_type::DEFAULT, 1, 32);
    (envelope.source_port_id, envelope.source_nic_index) = (from.port, from.index);
    (envelope.destination_port_id, envelope.destination_nic_index) = (to.port, to.index);
    envelope.oid_request = carried.cast();
    let before = bytes_at(carried as usize, size_of::<OidRequest>());
    let kind = if as_set { request_type::SET_INFORMATION } else { request_type::METHOD };
    let bytes = payload::bytes_of(&envelope);
    let ask = Ask { oid: oids::SWITCH_NIC_REQUEST, kind, payload: bytes, plan, effect: None };
    let answer = request(module, ask);
    // SAFETY: allocated above with this length.
    let contents = unsafe { std::slice::from_raw_parts(buffer, inner.buffer.len()) };
    let same = bytes_at(carried as usize, size_of::<OidRequest>()) == before && contents == inner.buffer;
    rule(&world, "OID-40", same, || format!("inner request {:#x} was edited", inner.oid));
    world.free(Kind::Switch, carried, 0);
    world.free(Kind::Switch, buffer, 0);
    answer
}
