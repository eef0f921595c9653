//! OID requests: checked views of those from above, their clones, and the driver's own requests.

use super::envelope::RedirectedRequest;
use super::handle::Filter;
use super::irql::Passive;
use super::parameters::{self, PortParameters};
use super::raw::{self, ObjectHeader, OidRequest, object_type, request_type};
use super::status::NdisStatus;
use super::sys;
use crate::kernel::pool::{PoolBox, Tag};
use crate::kernel::rundown::{WorkGuard, WorkRundown};
use core::ffi::c_void;
use core::ptr::NonNull;
use teaming::ids::MemberIndex;
use teaming::oid::RequestType;
use teaming::oid::nic::NicParameters;

/// A request from above that is not completed. The issuer owns it and everything it points to; the driver writes
/// nothing but results.
#[derive(Clone, Copy)]
pub struct Request(NonNull<OidRequest>);

impl Request {
    /// # Safety
    /// The request is valid until it is completed.
    pub(crate) unsafe fn from_raw(request: NonNull<OidRequest>) -> Self {
        Self(request)
    }

    pub(crate) fn as_ptr(self) -> *mut OidRequest {
        self.0.as_ptr()
    }

    fn get(&self) -> &OidRequest {
        // SAFETY: valid until completed, and nobody writes to it meanwhile.
        unsafe { self.0.as_ref() }
    }

    pub fn oid(&self) -> u32 {
        self.get().oid
    }

    pub fn kind(&self) -> Option<RequestType> {
        kind(self.get().request_type)
    }

    pub fn is_set(&self) -> bool {
        self.kind() == Some(RequestType::Set)
    }

    /// The information buffer and its length in bytes; null with length 0.
    pub(super) fn buffer(&self) -> (*const u8, usize) {
        let (buffer, length) = (self.get().information_buffer, self.get().length);
        (buffer.cast_const().cast(), if buffer.is_null() { 0 } else { length as usize })
    }

    pub fn id(&self) -> *mut c_void {
        self.get().request_id
    }

    /// The information buffer for results, and its length in bytes; for a method the input length.
    pub(super) fn payload(&self) -> Option<(NonNull<u8>, u32)> {
        Some((NonNull::new(self.get().information_buffer)?.cast(), self.get().length))
    }

    /// OutputBufferLength of a method request.
    pub fn output_length(&self) -> u32 {
        self.get().word52
    }

    /// The results of a request that is completed: bytes written or read, bytes needed, SupportedRevision.
    pub fn results(&self) -> (u32, u32, u8) {
        let request = self.get();
        if request.request_type == request_type::METHOD {
            return (request.method_bytes_written, request.method_bytes_needed, request.supported_revision);
        }
        (request.word52, request.word56, request.supported_revision)
    }

    /// Writes the results of a method request that the driver completes itself.
    pub(super) fn method_results(&self, results: MethodResults) {
        // SAFETY: the request is ours to complete; results are the only members that are written.
        let request = unsafe { &mut *self.0.as_ptr() };
        request.method_bytes_written = results.written;
        request.method_bytes_read = results.read;
        request.method_bytes_needed = results.needed;
        request.supported_revision = results.revision;
    }

    /// Results of a set request that succeeds here: BytesRead, and the revision of the structure that was understood.
    pub(super) fn set_results(&self, read: u32, revision: u8) {
        // SAFETY: as in `method_results`.
        let request = unsafe { &mut *self.0.as_ptr() };
        request.word52 = read;
        request.supported_revision = revision;
    }

    /// The payload of a NIC request; `None` if its header does not match.
    pub fn nic_parameters(&self) -> Option<NicParameters> {
        parameters::read_nic(super::payload::input(self)).map(|(parameters, _)| parameters)
    }

    /// The name in the payload of a NIC request that `nic_parameters` accepts, as `parameters::friendly_name` gives it.
    pub fn nic_name(&self) -> &[u8] {
        parameters::friendly_name(super::payload::input(self))
    }

    /// The payload of a port request; `None` if its header does not match.
    pub fn port_parameters(&self) -> Option<PortParameters> {
        parameters::read_port(super::payload::input(self))
    }

    /// Copies the results of the driver's own method request to this request, in whose place it was issued.
    pub(super) fn take_own_results(self, own: &OwnRequest) {
        // SAFETY: as below.
        let original = unsafe { &mut *self.0.as_ptr() };
        // Handled here, in the first revision of the envelope, whatever those below say of theirs.
        original.supported_revision = own.request.supported_revision.max(1);
        if original.request_type == request_type::METHOD {
            original.method_bytes_written = own.request.method_bytes_written;
            original.method_bytes_read = own.request.method_bytes_read;
            original.method_bytes_needed = own.request.method_bytes_needed;
        } else {
            original.word52 = own.request.method_bytes_read;
            original.word56 = own.request.method_bytes_needed;
        }
    }

    /// Copies the results of the clone to this request, by request type.
    fn take_results(self, clone: &OidRequest) {
        // SAFETY: the request is ours to complete; results are the only members that are written.
        let original = unsafe { &mut *self.0.as_ptr() };
        original.supported_revision = clone.supported_revision;
        original.word52 = clone.word52;
        if original.request_type == request_type::METHOD {
            original.method_bytes_written = clone.method_bytes_written;
            original.method_bytes_read = clone.method_bytes_read;
            original.method_bytes_needed = clone.method_bytes_needed;
        } else {
            original.word56 = clone.word56;
        }
    }
}

/// The results of a method request that the driver completes: BytesWritten, BytesRead, BytesNeeded, SupportedRevision
/// (ns-oidrequest-ndis_oid_request).
pub(super) struct MethodResults {
    pub written: u32,
    pub read: u32,
    pub needed: u32,
    pub revision: u8,
}

/// The request type; `None` for types that the driver does not handle.
pub(super) const fn kind(request_type: i32) -> Option<RequestType> {
    match request_type {
        request_type::QUERY_INFORMATION => Some(RequestType::Query),
        request_type::SET_INFORMATION => Some(RequestType::Set),
        request_type::METHOD => Some(RequestType::Method),
        _ => None,
    }
}

/// A request that was completed, in `FilterOidRequestComplete` or at once.
pub enum Returned {
    /// The clone of a request from above.
    Clone(SentClone),
    /// A request that this driver originated; it starts with an `OwnRequest`.
    Own(NonNull<OwnRequest>),
}

/// Identifies a completed request by the two pointers that the driver stores in its `SourceReserved`.
///
/// A clone has the original in the first and the `RedirectedRequest`, if any, in the second; the driver's own request
/// has null in the first and itself in the second.
pub(crate) fn returned(request: NonNull<OidRequest>) -> Option<Returned> {
    // SAFETY: NDIS completes only requests that the driver sent, and the driver still owns them.
    let [original, second] = unsafe { request.as_ref() }.source_reserved;
    match (NonNull::new(original.cast()), NonNull::new(second)) {
        (Some(original), redirected) => {
            // SAFETY: stored by `forward`, and taken once.
            let redirected =
                redirected.map(|redirected| unsafe { PoolBox::from_raw(redirected.cast(), Tag::REQUEST) });
            Some(Returned::Clone(SentClone { clone: request, original: Request(original), redirected }))
        }
        (None, Some(own)) => Some(Returned::Own(own.cast())),
        (None, None) => None,
    }
}

/// A clone that is completed.
pub struct SentClone {
    clone: NonNull<OidRequest>,
    original: Request,
    redirected: Option<PoolBox<RedirectedRequest>>,
}

impl SentClone {
    /// Moves the results to the original, frees the clone and gives the original back, the detour it made, and the
    /// reference that it was out with.
    pub(crate) fn finish<'m>(
        self,
        filter: Filter,
        work: &'m WorkRundown,
    ) -> (Request, Option<PoolBox<RedirectedRequest>>, WorkGuard<'m>) {
        // SAFETY: the clone is completed and not freed yet.
        self.original.take_results(unsafe { self.clone.as_ref() });
        // SAFETY: allocated by NdisAllocateCloneOidRequest for this filter, freed once.
        unsafe { sys::NdisFreeCloneOidRequest(filter.handle(), self.clone.as_ptr()) };
        // SAFETY: kept by `forward`, once for each clone that was sent.
        (self.original, self.redirected, unsafe { work.adopt() })
    }
}

/// A request that could not be cloned, and the envelope for its clone.
pub(crate) struct Unsent {
    pub status: NdisStatus,
    pub redirected: Option<PoolBox<RedirectedRequest>>,
}

/// Clones a request and passes the clone down, redirected in an envelope of ours if there is one. The clone holds `work`
/// while it is out. The status is NDIS_STATUS_PENDING, or the final one: then the clone is returned as well. Without
/// memory for a clone the original and the envelope are returned. IRQL <= DISPATCH_LEVEL, no lock held.
pub(crate) fn forward(
    filter: Filter,
    request: Request,
    work: WorkGuard<'_>,
    redirected: Option<PoolBox<RedirectedRequest>>,
) -> Result<(NdisStatus, Option<SentClone>), Unsent> {
    let mut clone: *mut OidRequest = core::ptr::null_mut();
    // SAFETY: the request is valid; the result is checked.
    let allocated = NdisStatus(unsafe {
        sys::NdisAllocateCloneOidRequest(filter.handle(), request.as_ptr(), Tag::CLONE.0, &mut clone)
    });
    let clone = match NonNull::new(clone) {
        Some(clone) if allocated == NdisStatus::SUCCESS => clone,
        _ if allocated == NdisStatus::SUCCESS => {
            return Err(Unsent { status: NdisStatus::RESOURCES, redirected });
        }
        _ => return Err(Unsent { status: allocated, redirected }),
    };
    let redirected = redirected.map(|mut redirected| {
        let envelope = redirected.envelope();
        // SAFETY: the driver owns the clone until it is sent.
        let clone = unsafe { &mut *clone.as_ptr() };
        clone.information_buffer = envelope.cast();
        clone.length = size_of::<raw::SwitchNicOidRequest>() as u32;
        if clone.request_type == request_type::METHOD {
            clone.word52 = clone.length;
        }
        PoolBox::into_raw(redirected)
    });
    let redirected = redirected.unwrap_or(core::ptr::null_mut());
    // SAFETY: as above.
    unsafe { (*clone.as_ptr()).source_reserved = [request.as_ptr().cast(), redirected.cast()] };
    // Under which it is cancelled; that the data which a clone copies includes it is said nowhere.
    // SAFETY: as above.
    unsafe { (*clone.as_ptr()).request_id = request.id() };
    work.keep();
    // SAFETY: no lock is held; the clone is not used afterwards unless it is completed.
    let status = NdisStatus(unsafe { sys::NdisFOidRequest(filter.handle(), clone.as_ptr()) });
    let back = (status != NdisStatus::PENDING).then(|| SentClone {
        clone,
        original: request,
        // SAFETY: given up above, and the clone that had it is back.
        redirected: NonNull::new(redirected)
            .map(|redirected| unsafe { PoolBox::from_raw(redirected, Tag::REQUEST) }),
    });
    Ok((status, back))
}

/// Completes a request from above, once. IRQL <= DISPATCH_LEVEL, no lock held.
pub(crate) fn complete(filter: Filter, request: Request, status: NdisStatus) {
    // SAFETY: the request was pended and is completed here for the only time.
    unsafe { sys::NdisFOidRequestComplete(filter.handle(), request.as_ptr(), status.0) };
}

/// NdisFCancelOidRequest: cancels a request that was sent down.
pub(crate) fn cancel(filter: Filter, request_id: *mut c_void) {
    // SAFETY: any id may be passed; NDIS compares it with those of pending requests.
    unsafe { sys::NdisFCancelOidRequest(filter.handle(), request_id) };
}

/// A request that this driver originates, and how its completion is handled.
#[repr(C)]
pub struct OwnRequest {
    request: OidRequest,
    kind: OwnKind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum OwnKind {
    /// A `SyncQuery` on the stack of a waiting thread.
    Sync,
    /// The pending query to this member (`MemberQuery`).
    Member(MemberIndex),
    /// One of the requests of a `FanOut`.
    Part,
}

impl OwnRequest {
    pub const EMPTY: Self = Self { request: OidRequest::ZERO, kind: OwnKind::Sync };

    /// Fills the request. The buffer must be valid until it is completed.
    pub(super) fn prepare(
        &mut self,
        kind: OwnKind,
        request_type: i32,
        oid: u32,
        buffer: *mut c_void,
        length: u32,
    ) {
        self.kind = kind;
        self.request = OidRequest::ZERO;
        self.request.header = ObjectHeader::new(object_type::OID_REQUEST, 1, OidRequest::SIZE_REVISION_1);
        self.request.request_type = request_type;
        self.request.oid = oid;
        self.request.information_buffer = buffer;
        self.request.length = length;
        if request_type == request_type::METHOD {
            self.request.word52 = length;
        }
        self.request.source_reserved = [core::ptr::null_mut(), core::ptr::from_mut(self).cast()];
    }

    /// Sets RequestId, by which the request can be cancelled.
    pub(super) fn set_id(&mut self, id: *mut c_void) {
        self.request.request_id = id;
    }

    pub(crate) fn kind(this: NonNull<Self>) -> OwnKind {
        // SAFETY: the driver's own request is valid until its completion has been handled.
        unsafe { this.as_ref() }.kind
    }
}

// SAFETY: only the thread that sends the request and the one that handles its completion use the raw pointers.
unsafe impl Send for OwnRequest {}

/// A synchronous query of the switch's configuration.
#[repr(C)]
struct SyncQuery {
    own: OwnRequest,
    event: sys::NdisEvent,
    status: NdisStatus,
}

/// Queries `oid` into `buffer`; returns BytesWritten, or the status and BytesNeeded. PASSIVE_LEVEL, not in
/// FilterOidRequest, FilterStatus or a packet walk; no lock held.
pub(crate) fn query(
    filter: Filter,
    oid: u32,
    buffer: &mut [u8],
    passive: &Passive,
) -> Result<u32, (NdisStatus, u32)> {
    synchronous(filter, request_type::QUERY_INFORMATION, oid, buffer, passive)
}

/// The same for a method request, whose input is in the buffer and is overwritten by the output.
pub(crate) fn method(
    filter: Filter,
    oid: u32,
    buffer: &mut [u8],
    passive: &Passive,
) -> Result<u32, (NdisStatus, u32)> {
    synchronous(filter, request_type::METHOD, oid, buffer, passive)
}

/// Sends a request and waits for its completion; returns BytesWritten, or the status and BytesNeeded.
#[inline(never)] // a frame of its own
fn synchronous(
    filter: Filter,
    request_type: i32,
    oid: u32,
    buffer: &mut [u8],
    _: &Passive,
) -> Result<u32, (NdisStatus, u32)> {
    let length = u32::try_from(buffer.len()).unwrap_or(u32::MAX);
    let mut query =
        SyncQuery { own: OwnRequest::EMPTY, event: sys::NdisEvent([0; 3]), status: NdisStatus::PENDING };
    let query = &raw mut query;
    // SAFETY: the query is valid on this stack until it is completed, and is accessed only through `query` from here
    // on.
    let (own, event) = unsafe { (&raw mut (*query).own, &raw mut (*query).event) };
    // SAFETY: the event lies in the query.
    unsafe { sys::NdisInitializeEvent(event) };
    // SAFETY: not sent yet.
    unsafe { (*own).prepare(OwnKind::Sync, request_type, oid, buffer.as_mut_ptr().cast(), length) };
    // SAFETY: request, buffer and event outlive the request because of the wait.
    let mut status = NdisStatus(unsafe { sys::NdisFOidRequest(filter.handle(), own.cast()) });
    if status == NdisStatus::PENDING {
        // SAFETY: PASSIVE_LEVEL by the token; 0 waits until the completion sets the event.
        unsafe { sys::NdisWaitEvent(event, 0) };
        // SAFETY: completed, so nothing else accesses the query.
        status = unsafe { (*query).status };
    }
    // SAFETY: completed in either case.
    let request = unsafe { &(*own).request };
    let method = request_type == request_type::METHOD;
    let written = if method { request.method_bytes_written } else { request.word52 };
    let needed = if method { request.method_bytes_needed } else { request.word56 };
    status.ok().map(|()| written).map_err(|status| (status, needed))
}

/// The completion of a `SyncQuery`: stores the status and wakes the waiting thread.
pub(crate) fn query_returned(own: NonNull<OwnRequest>, status: NdisStatus) {
    let query = own.cast::<SyncQuery>().as_ptr();
    // SAFETY: requests of kind `Sync` are the first member of a `SyncQuery`, whose owner waits for the event.
    unsafe { (*query).status = status };
    // SAFETY: as above.
    unsafe { sys::NdisSetEvent(&raw mut (*query).event) };
}
