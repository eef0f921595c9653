//! Requests that the driver originates to one team member: a query, a set or a method inside OID_SWITCH_NIC_REQUEST, whose
//! envelope names the external port and the member's NIC index (forwarding-oid-requests-to-physical-network-adapters.md).
//!
//! `Encapsulated` is the pair of envelope and inner request that every such request has; `send` waits for the answer, for
//! the module's thread. Queries that do not wait are in `member_query`, those in place of a request from above in `fan_out`.

use super::handle::Filter;
use super::irql::Passive;
use super::oid;
use super::raw::{ObjectHeader, OidRequest, SwitchNicOidRequest, object_type, oids, request_type};
use super::status::NdisStatus;
use super::switch::{NicRef, Switch};
use teaming::ids::{NicId, NicIndex, PortId};
use teaming::offload::NO_PARTITION;
use teaming::oid::RequestType;

/// Envelope and encapsulated request. They must not move while the request is out.
#[repr(C)]
pub(super) struct Encapsulated {
    pub envelope: SwitchNicOidRequest,
    pub inner: OidRequest,
}

/// Bytes of the envelope, which is the buffer of the outer request.
pub(super) const ENVELOPE: u16 = size_of::<SwitchNicOidRequest>() as u16;

impl Encapsulated {
    pub const EMPTY: Self = Self { envelope: SwitchNicOidRequest::ZERO, inner: OidRequest::ZERO };

    /// Fills both: `oid` with a buffer of so many bytes, which must be valid until the request is completed, from `source`,
    /// or 0/0 for the driver's own purposes, to `destination`.
    pub fn fill(
        &mut self,
        kind: RequestType,
        oid: u32,
        (buffer, length): (*mut u8, usize),
        source: NicId,
        destination: NicId,
    ) {
        let length = u32::try_from(length).unwrap_or(0);
        self.inner = OidRequest::ZERO;
        self.inner.header = ObjectHeader::new(object_type::OID_REQUEST, 1, OidRequest::SIZE_REVISION_1);
        self.inner.request_type = match kind {
            RequestType::Query => request_type::QUERY_INFORMATION,
            RequestType::Set => request_type::SET_INFORMATION,
            RequestType::Method => request_type::METHOD,
        };
        self.inner.oid = oid;
        self.inner.information_buffer = buffer.cast();
        self.inner.length = length;
        if kind == RequestType::Method {
            self.inner.word52 = length;
        }
        self.envelope = SwitchNicOidRequest::ZERO;
        self.envelope.header = ObjectHeader::new(object_type::DEFAULT, 1, ENVELOPE);
        self.envelope.source_port_id = source.port.get();
        self.envelope.source_nic_index = source.index.get();
        self.envelope.destination_port_id = destination.port.get();
        self.envelope.destination_nic_index = destination.index.get();
        self.envelope.oid_request = &raw mut self.inner;
    }

    /// Takes over the reference to the member's NIC that was kept when the request was sent.
    ///
    /// # Safety
    /// Called once for each reference that was kept, under the pair in the envelope.
    pub unsafe fn destination<'m>(&self, switch: &'m Switch) -> NicRef<'m> {
        let port = PortId::new(self.envelope.destination_port_id);
        let nic = NicId::new(port, NicIndex::new(self.envelope.destination_nic_index));
        // SAFETY: by the caller's promise.
        unsafe { NicRef::adopt(switch, nic) }
    }
}

/// What one member is asked.
pub(crate) struct MemberRequest<'b> {
    pub kind: RequestType,
    pub oid: u32,
    /// The input of a method or a set, and the place for the output of a query or a method.
    pub buffer: &'b mut [u8],
    /// Bytes at its beginning that are the input of a method; all, if it is longer.
    pub input: usize,
}

/// How a member answered.
#[derive(Clone, Copy)]
pub(crate) struct MemberAnswer {
    pub status: NdisStatus,
    /// Bytes that were written to the buffer, or for a set read from it.
    pub bytes: usize,
    /// BytesNeeded, if the buffer was too short.
    pub needed: usize,
}

/// Sends a request to the member with this NIC and waits for its answer; `nic` is the reference to it. PASSIVE_LEVEL, not
/// in FilterOidRequest, FilterPause, FilterStatus or a packet walk; no lock held.
#[inline(never)] // a frame of its own
pub(crate) fn send(
    filter: Filter,
    nic: &NicRef<'_>,
    request: MemberRequest<'_>,
    passive: &Passive,
) -> MemberAnswer {
    let mut both = Encapsulated::EMPTY;
    let buffer = (request.buffer.as_mut_ptr(), request.buffer.len());
    both.fill(request.kind, request.oid, buffer, NO_PARTITION, nic.nic());
    if request.kind == RequestType::Method {
        // The output may be longer.
        both.inner.length = both.inner.length.min(u32::try_from(request.input).unwrap_or(u32::MAX));
    }
    let both = &raw mut both;
    // SAFETY: the envelope is plain bytes; nothing else uses it until the request is completed.
    let envelope = unsafe { core::slice::from_raw_parts_mut(both.cast::<u8>(), usize::from(ENVELOPE)) };
    let status = match oid::method(filter, oids::SWITCH_NIC_REQUEST, envelope, passive) {
        Ok(_) => NdisStatus::SUCCESS,
        Err((status, _)) => status,
    };
    // SAFETY: completed.
    let inner = unsafe { &(*both).inner };
    let (bytes, needed) = match request.kind {
        // The pages of the lists name BytesNeeded of a query for a method, too, where a method has its MethodId, which is 0.
        RequestType::Method => {
            (inner.method_bytes_written, inner.method_bytes_needed.max(inner.bytes_needed()))
        }
        RequestType::Query | RequestType::Set => (inner.bytes_written(), inner.bytes_needed()),
    };
    let inside = |bytes| usize::try_from(bytes).unwrap_or(usize::MAX);
    MemberAnswer { status, bytes: inside(bytes).min(buffer.1), needed: inside(needed) }
}
