//! Encapsulated requests (OID_SWITCH_NIC_REQUEST): a checked view of those that arrive, and the driver's own
//! NDIS_SWITCH_NIC_OID_REQUEST that redirects one to another physical adapter
//! (forwarding-oid-requests-to-physical-network-adapters.md).

use super::oid::{MethodResults, Request};
use super::raw::{
    IpsecDeleteSa, ObjectHeader, OidRequest, SwitchNicOidRequest, object_type, oids, request_type,
};
use super::status::OutOfMemory;
use super::switch::{NicRef, Switch};
use crate::kernel::pool::{PoolBox, Tag};
use core::ffi::c_void;
use core::ptr::NonNull;
use teaming::ids::{MemberIndex, NicId, NicIndex, PortId};
use teaming::oid::{RequestType, Resource};

/// An OID_SWITCH_NIC_REQUEST from above: source, destination and the encapsulated request. The issuer owns the memory;
/// it is valid until the request is completed, and the driver writes nothing but results to it.
#[derive(Clone, Copy)]
pub struct Envelope {
    request: Request,
    outer: NonNull<SwitchNicOidRequest>,
    inner: NonNull<OidRequest>,
}

/// What revision 2 of NDIS_OID_REQUEST adds: the NIC switch and the virtual port that a request targets.
#[derive(Clone, Copy)]
pub(super) struct RequestTarget {
    pub switch: u32,
    pub vport: u32,
    pub flags: u32,
}

impl Envelope {
    /// `None` unless the request is an OID_SWITCH_NIC_REQUEST and both headers have the type, revision and size that
    /// NDIS documents.
    pub fn of(request: Request) -> Option<Self> {
        if request.oid() != oids::SWITCH_NIC_REQUEST
            || !matches!(request.kind()?, RequestType::Set | RequestType::Method)
        {
            return None;
        }
        let (buffer, length) = request.buffer();
        let outer = checked::<SwitchNicOidRequest>(
            buffer,
            length,
            object_type::DEFAULT,
            size_of::<SwitchNicOidRequest>(),
        )?;
        // SAFETY: `checked` found the whole structure in the buffer.
        let inner = unsafe { (*outer.as_ptr()).oid_request };
        let needed = usize::from(OidRequest::SIZE_REVISION_1);
        let inner = checked::<OidRequest>(inner.cast(), needed, object_type::OID_REQUEST, needed)?;
        Some(Self { request, outer, inner })
    }

    pub const fn request(&self) -> Request {
        self.request
    }

    /// The NIC of the partition that issued the request; 0/0 if the request is not on behalf of one partition.
    pub fn source(&self) -> NicId {
        // SAFETY: checked in `of`.
        let outer = unsafe { self.outer.as_ref() };
        NicId::new(PortId::new(outer.source_port_id), NicIndex::new(outer.source_nic_index))
    }

    pub fn destination(&self) -> NicId {
        // SAFETY: checked in `of`.
        let outer = unsafe { self.outer.as_ref() };
        NicId::new(PortId::new(outer.destination_port_id), NicIndex::new(outer.destination_nic_index))
    }

    pub fn oid(&self) -> u32 {
        // SAFETY: checked in `of`.
        unsafe { (*self.inner.as_ptr()).oid }
    }

    pub fn kind(&self) -> Option<RequestType> {
        // SAFETY: checked in `of`.
        super::oid::kind(unsafe { (*self.inner.as_ptr()).request_type })
    }

    pub(super) fn inner(&self) -> NonNull<OidRequest> {
        self.inner
    }

    /// SwitchId, VPortId and Flags of the request inside, if it is of revision 2 (ns-oidrequest-ndis_oid_request).
    pub(super) fn target(&self) -> Option<RequestTarget> {
        let inner = self.inner.as_ptr();
        // SAFETY: checked in `of`.
        let header = unsafe { (*inner).header };
        if header.revision < 2 || header.size < OidRequest::SIZE_REVISION_2 {
            return None;
        }
        // SAFETY: the header says that the members of revision 2 are there.
        let (switch, vport, flags) = unsafe { ((*inner).switch_id, (*inner).vport_id, (*inner).flags) };
        Some(RequestTarget { switch, vport, flags })
    }

    /// The virtual port that the request inside targets, if it says that it targets one; the default one is 0.
    pub fn vport(&self) -> Option<u32> {
        let target = self.target()?;
        (target.flags & OidRequest::VPORT_ID_VALID != 0).then_some(target.vport)
    }

    fn buffer(&self) -> (*mut u8, usize) {
        let inner = self.inner.as_ptr();
        // SAFETY: checked in `of`.
        let (buffer, length) = unsafe { ((*inner).information_buffer, (*inner).length) };
        (buffer.cast(), if buffer.is_null() { 0 } else { length as usize })
    }

    /// InformationBuffer of the encapsulated request, in bytes. Must not be read while the request is below: the
    /// adapter may write to it.
    pub fn payload(&self) -> &[u8] {
        match self.buffer() {
            (_, 0) => &[],
            // SAFETY: not null and `length` bytes until the request is completed.
            (buffer, length) => unsafe { core::slice::from_raw_parts(buffer, length) },
        }
    }

    /// The same for writing, when the driver completes the request itself.
    pub(crate) fn payload_mut(&mut self) -> &mut [u8] {
        match self.buffer() {
            (_, 0) => &mut [],
            // SAFETY: as above; the driver completes the request itself, so nobody else writes to the buffer.
            (buffer, length) => unsafe { core::slice::from_raw_parts_mut(buffer, length) },
        }
    }

    /// Sets the results of both requests, which the driver completes with success itself: all was read, and of a method's
    /// buffer all written (filtering-oid-requests-in-an-ndis-filter-driver).
    pub(crate) fn answer(&self) {
        // SAFETY: results of a request that this driver completes itself are its to write.
        let inner = unsafe { &mut *self.inner().as_ptr() };
        inner.supported_revision = self.payload().get(1).copied().unwrap_or(1);
        if inner.request_type == request_type::METHOD {
            inner.method_bytes_read = inner.length;
            inner.method_bytes_written = inner.length;
        } else {
            inner.word52 = inner.length;
        }
        let (request, length) = (self.request(), size_of::<SwitchNicOidRequest>() as u32);
        match request.is_set() {
            true => request.set_results(length, 1),
            false => {
                request.method_results(MethodResults { written: 0, read: length, needed: 0, revision: 1 });
            }
        }
    }

    /// The IPsec security associations in the payload; empty for an OID without any.
    pub fn associations(&self) -> Associations {
        let (first, available) = self.buffer();
        let Some(layout) = SaLayout::of(self.oid()) else { return Associations::NONE };
        Associations { next: first, available, layout, left: ASSOCIATIONS_MAX }
    }
}

impl Envelope {
    /// Bytes of one IPSEC_OFFLOAD_V2_DELETE_SA.
    pub const DELETED_SA: usize = size_of::<IpsecDeleteSa>();

    /// Writes a linked list of IPSEC_OFFLOAD_V2_DELETE_SA into `out`, which must be aligned to 8 bytes and must not
    /// move afterwards. Returns its length in bytes; `None` if there are no handles or `out` is too short.
    pub(crate) fn write_deleted(out: &mut [u8], handles: impl Iterator<Item = u64>) -> Option<usize> {
        let first = out.as_mut_ptr().cast::<IpsecDeleteSa>();
        let room = out.len() / Self::DELETED_SA;
        let mut count = 0;
        for handle in handles {
            if count >= room || !first.is_aligned() {
                return None;
            }
            let mut element = IpsecDeleteSa::ZERO;
            element.header = ObjectHeader::new(object_type::DEFAULT, 1, Self::DELETED_SA as u16);
            element.offload_handle = handle as *mut c_void;
            // SAFETY: `count < room`, so the element lies inside `out`, which is aligned.
            let place = unsafe { first.add(count) };
            // SAFETY: as above.
            unsafe { place.write(element) };
            if let Some(before) = count.checked_sub(1) {
                // SAFETY: written by an earlier iteration.
                unsafe { (*first.add(before)).next = place };
            }
            count += 1;
        }
        (count > 0).then_some(count * Self::DELETED_SA)
    }
}

/// Checks a pointer to a structure that begins with NDIS_OBJECT_HEADER: not null, aligned, type `expected`, and both
/// `available` and the header's size at least `needed` bytes.
fn checked<T>(pointer: *const u8, available: usize, expected: u8, needed: usize) -> Option<NonNull<T>> {
    let pointer = NonNull::new(pointer.cast_mut())?;
    if available < needed || !pointer.cast::<T>().is_aligned() {
        return None;
    }
    // SAFETY: not null, and at least `needed` bytes are readable; every caller asks for more than the header's 4.
    let header = unsafe { pointer.cast::<ObjectHeader>().read_unaligned() };
    let fits = header.object_type == expected && header.revision >= 1 && usize::from(header.size) >= needed;
    fits.then_some(pointer.cast())
}

/// Longest list of security associations that is followed. It bounds a list that is linked in a circle.
const ASSOCIATIONS_MAX: u32 = 4096;

/// Byte offsets in one element of a list of security associations.
#[derive(Clone, Copy)]
struct SaLayout {
    next: Option<usize>,
    handle: usize,
    size: usize,
}

impl SaLayout {
    fn of(oid: u32) -> Option<Self> {
        let (next, handle) = match oid {
            oids::TCP_TASK_IPSEC_OFFLOAD_V2_ADD_SA => (Some(8), 56),
            oids::TCP_TASK_IPSEC_OFFLOAD_V2_ADD_SA_EX => (None, 48),
            oids::TCP_TASK_IPSEC_OFFLOAD_V2_DELETE_SA => (Some(8), 16),
            _ => return None,
        };
        Some(Self { next, handle, size: teaming::oid::payload::size(oid)? })
    }
}

/// Iterates over a list of security associations; checks the header of each element before it is read.
#[derive(Clone)]
pub struct Associations {
    next: *const u8,
    available: usize,
    layout: SaLayout,
    left: u32,
}

impl Associations {
    const NONE: Self = Self {
        next: core::ptr::null(),
        available: 0,
        layout: SaLayout { next: None, handle: 0, size: 0 },
        left: 0,
    };
}

impl Iterator for Associations {
    /// OffloadHandle; 0 if the association was not offloaded.
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        self.left = self.left.checked_sub(1)?;
        let element =
            checked::<u64>(self.next, self.available, object_type::DEFAULT, self.layout.size)?.cast::<u8>();
        // SAFETY: `checked` found at least `layout.size` bytes, and the offsets lie inside them.
        let handle = unsafe { element.add(self.layout.handle).cast::<u64>().read_unaligned() };
        self.next = match self.layout.next {
            // SAFETY: as above.
            Some(next) => unsafe { element.add(next).cast::<*const u8>().read_unaligned() },
            None => core::ptr::null(),
        };
        // The next element is a separate allocation of the issuer; only its header states its length.
        self.available = usize::MAX;
        Some(handle)
    }
}

/// The driver's own envelope for a redirected request; freed when the clone that carries it is completed.
pub struct RedirectedRequest {
    envelope: SwitchNicOidRequest,
    pub member: MemberIndex,
    /// Entries reserved in the resource table for what the request allocates; released when the request completes with
    /// any status.
    pub promised: (Resource, usize),
}

impl RedirectedRequest {
    /// A copy of an envelope with the destination NIC index of `member`. IRQL <= DISPATCH_LEVEL.
    pub fn try_new(
        envelope: &Envelope,
        member: MemberIndex,
        resource: Resource,
    ) -> Result<PoolBox<Self>, OutOfMemory> {
        // SAFETY: checked by `Envelope::of`.
        let mut copy = unsafe { envelope.outer.read() };
        copy.header = ObjectHeader::new(object_type::DEFAULT, 1, size_of::<SwitchNicOidRequest>() as u16);
        copy.destination_nic_index = member.nic().get();
        PoolBox::try_new(Tag::REQUEST, Self { envelope: copy, member, promised: (resource, 0) })
    }

    /// Keeps the reference to the NIC until `release`.
    pub(crate) fn keep(&self, nic: NicRef<'_>) {
        nic.keep();
    }

    /// Releases the reference that `keep` took. Called once, when the request is completed.
    pub(crate) fn release(&self, switch: &Switch) {
        let e = &self.envelope;
        let nic = NicId::new(PortId::new(e.destination_port_id), NicIndex::new(e.destination_nic_index));
        // SAFETY: kept once, by the caller's promise, under this pair.
        drop(unsafe { NicRef::adopt(switch, nic) });
    }

    pub(super) fn envelope(&mut self) -> *mut SwitchNicOidRequest {
        &raw mut self.envelope
    }
}
