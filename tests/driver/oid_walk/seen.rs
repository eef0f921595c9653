//! Requests to NICs as they arrived below: each member of their structures against the documentation of forwarding,
//! redirecting and originating them (forwarding-oid-requests-to-physical-network-adapters.md, steps 1 to 3).

use super::rows::request_type_of;
use lbfoext::ndis::raw::{ObjectHeader, OidRequest, SwitchNicOidRequest, object_type, oids, request_type};
use teaming::oid::{OIDS, OidContext};
use vswitch::adapter::offloads::By;
use vswitch::switch::control::nic_request::Arrived;
use vswitch::switch::ports::NicId;

/// The byte that the simulated NdisAllocateCloneOidRequest writes to members that only NDIS and the miniport may
/// write.
const NOT_THEIRS: u8 = 0xDB;
const ENVELOPE: u32 = size_of::<SwitchNicOidRequest>() as u32;

fn bytes_of<T>(value: &T) -> &[u8] {
    // SAFETY: the structures have no padding that is not initialized, and the slice covers the value.
    unsafe { std::slice::from_raw_parts(std::ptr::from_ref(value).cast(), size_of::<T>()) }
}

pub fn source(a: &Arrived) -> NicId {
    NicId::new(a.envelope.source_port_id, a.envelope.source_nic_index)
}

pub fn destination(a: &Arrived) -> NicId {
    NicId::new(a.envelope.destination_port_id, a.envelope.destination_nic_index)
}

pub fn is_own(a: &Arrived) -> bool {
    a.by == By::Extension
}

/// Checks the NDIS_OBJECT_HEADER of a request: type, at least revision 1 and its size.
fn request_header(h: ObjectHeader) {
    assert_eq!((h.object_type, h.revision >= 1), (object_type::OID_REQUEST, true));
    assert!(h.size >= OidRequest::SIZE_REVISION_1, "{} bytes of NDIS_OID_REQUEST", h.size);
}

/// Checks header and flags of an NDIS_SWITCH_NIC_OID_REQUEST of the extension or of the switch.
fn envelope_head(e: &SwitchNicOidRequest, flags: u32) {
    let h = e.header;
    assert_eq!((h.object_type, h.revision, u32::from(h.size)), (object_type::DEFAULT, 1, ENVELOPE));
    assert_eq!(e.flags, flags);
    assert!(!e.oid_request.is_null());
}

/// Checks the members that are the same in all cases (step 3 of the page).
fn outer(r: &OidRequest) {
    request_header(r.header);
    assert_eq!((r.oid, r.port_number, r.length), (oids::SWITCH_NIC_REQUEST, 0, ENVELOPE));
    if r.request_type == request_type::METHOD {
        assert_eq!(r.word52, ENVELOPE, "OutputBufferLength");
    }
    assert_eq!((r.reserved1, r.reserved2), (0, 0));
}

/// SwitchId, VPortId and Flags.
fn target(r: &OidRequest) -> (u32, u32, u32) {
    (r.switch_id, r.vport_id, r.flags)
}

/// Checks a clone: all members equal the original's, except those that belong to the issuer, NDIS or the miniport.
fn clone_of(r: &OidRequest, original: &OidRequest) {
    outer(r);
    assert_eq!(bytes_of(&r.header), bytes_of(&original.header));
    assert_eq!((r.request_type, r.timeout), (original.request_type, original.timeout));
    assert_eq!((r.request_id, r.request_handle), (original.request_id, original.request_handle));
    assert_eq!((r.length, r.word52, r.word56), (original.length, original.word52, original.word56));
    assert_eq!(target(r), target(original));
    assert_eq!((r.ndis_reserved, r.miniport_reserved), ([NOT_THEIRS; 128], [NOT_THEIRS; 16]));
}

/// The encapsulated request of the switch: at the same address and unchanged.
fn same_inner(a: &Arrived) -> (SwitchNicOidRequest, OidRequest) {
    let (theirs, at) = a.theirs.expect("it came from above");
    let (original, inner) = a.above.expect("it came from above");
    assert_eq!(a.envelope.oid_request as usize, at);
    assert_eq!(bytes_of(&a.inner), bytes_of(&inner), "the inner request was edited");
    request_header(a.inner.header);
    clone_of(&a.outer, &original);
    (theirs, original)
}

/// Forwarded: a clone of the outer request, everything else unchanged. No reference is required.
pub fn assert_forwarded(a: &Arrived, from: NicId, to: NicId) {
    assert!(!is_own(a));
    let (theirs, original) = same_inner(a);
    assert_eq!(a.outer.information_buffer, original.information_buffer);
    assert_eq!(bytes_of(&a.envelope), bytes_of(&theirs));
    assert_eq!((source(a), destination(a)), (from, to));
}

/// Redirected: the extension's own envelope names a member; source and encapsulated request are the switch's. The
/// member must be referenced, the source need not.
pub fn assert_redirected(a: &Arrived, from: NicId, external: u32) {
    assert!(!is_own(a));
    let (theirs, original) = same_inner(a);
    assert_ne!(
        a.outer.information_buffer, original.information_buffer,
        "the switch's structure is not edited"
    );
    envelope_head(&a.envelope, theirs.flags);
    assert_eq!(source(a), from);
    assert_eq!((theirs.source_port_id, theirs.source_nic_index), (from.port, from.index));
    assert_eq!(destination(a).port, external);
    assert_ne!(destination(a).index, 0);
    assert_eq!(a.references, (1, 0));
}

/// Checks a request that the extension originated.
fn made_here(a: &Arrived) {
    assert!(is_own(a) && a.theirs.is_none());
    outer(&a.outer);
    assert_eq!(target(&a.outer), (0, 0, 0));
    assert_eq!(a.outer.request_type, request_type::METHOD);
    let none = std::ptr::null_mut();
    assert_eq!(a.outer.request_handle, none);
    assert_eq!((a.outer.ndis_reserved, a.outer.miniport_reserved), ([0; 128], [0; 16]));
    envelope_head(&a.envelope, 0);
    let inner = &a.inner;
    request_header(inner.header);
    assert!(!inner.information_buffer.is_null() && inner.length > 0);
    assert_eq!((inner.request_id, inner.request_handle), (none, none));
    assert_eq!((inner.ndis_reserved, inner.miniport_reserved), ([0; 128], [0; 16]));
    assert_eq!((inner.reserved1, inner.reserved2), (0, 0));
    let results = (inner.method_bytes_written, inner.method_bytes_read, inner.method_bytes_needed);
    assert_eq!((results, inner.supported_revision), ((0, 0, 0), 0), "results of what is not served yet");
}

/// Originated for a partition in place of a request of the switch: for its port and NIC, with both references, equal
/// to the original except for the buffer, which is the extension's.
pub fn assert_originated(a: &Arrived, partition: NicId, external: u32) {
    made_here(a);
    let (original, theirs) = a.above.expect("the same is being filtered");
    assert_eq!(a.outer.request_id, original.request_id, "one cancellation reaches all");
    assert_eq!(source(a), partition);
    assert_eq!(destination(a).port, external);
    assert_ne!(destination(a).index, 0);
    assert!(a.references.0 >= 1 && a.references.1 >= 1, "{:?}", a.references);
    let inner = &a.inner;
    assert_eq!((inner.oid, inner.request_type), (theirs.oid, theirs.request_type));
    assert_eq!((inner.port_number, inner.timeout), (theirs.port_number, theirs.timeout));
    assert_eq!(target(inner), target(&theirs));
    assert_ne!(inner.information_buffer, theirs.information_buffer);
    if inner.request_type == request_type::METHOD {
        assert_eq!(
            (inner.word52, inner.word56),
            (inner.length, theirs.word56),
            "OutputBufferLength, MethodId"
        );
    } else {
        assert_eq!((inner.word52, inner.word56), (0, 0), "BytesRead, BytesNeeded");
    }
}

/// Originated for the extension's own purpose: source 0/0, with a reference to the member.
pub fn assert_own_purpose(a: &Arrived, member: NicId) {
    made_here(a);
    assert_eq!((source(a), destination(a)), (NicId::NOWHERE, member));
    // A query that nobody waits for and a list may be out at once.
    assert!(matches!(a.references, (1.., 0)), "{:?}", a.references);
    let row = OIDS.iter().find(|row| row.oid == a.inner.oid && row.place == OidContext::Own).expect("a row");
    assert_eq!(a.inner.request_type, request_type_of(row.kinds[0]));
    let output = if a.inner.request_type == request_type::METHOD { a.inner.length } else { 0 };
    assert_eq!((a.inner.port_number, a.inner.word52, a.inner.word56), (0, output, 0));
    assert_eq!(target(&a.inner), (0, 0, 0));
}

/// A query of the extension to the switch.
pub fn assert_asked(r: &OidRequest, kind: i32) {
    request_header(r.header);
    assert_eq!((r.request_type, r.port_number), (kind, 0));
    assert!(!r.information_buffer.is_null() && r.length > 0);
    assert_eq!((r.ndis_reserved, r.miniport_reserved), ([0; 128], [0; 16]));
    assert_eq!((r.reserved1, r.reserved2, r.switch_id, r.vport_id, r.flags), (0, 0, 0, 0, 0));
}
