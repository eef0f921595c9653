//! OID requests: checked views of those that arrive, clones that carry them on, requests of the driver's own.

use super::envelope::Detour;
use super::handle::Filter;
use super::irql::Passive;
use super::raw::{
    self, ElementArray, NicParameters as RawNicParameters, ObjectHeader, OidRequest,
    PortParameters as RawPortParameters, SwitchParameters, object_type, request_type,
};
use super::status::NdisStatus;
use super::sys;
use crate::kernel::pool::{PoolBox, Tag};
use core::ffi::c_void;
use core::mem::offset_of;
use core::ptr::NonNull;
use teaming::ids::{MacAddr, MemberIndex, NicId, NicIndex, PortId};
use teaming::oid::Kind;
use teaming::switch::{NicKind, NicParameters, VmId};

/// A request from above that has not been completed yet. The caller owns it and everything it points to: read only.
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

    pub fn kind(&self) -> Option<Kind> {
        kind(self.get().request_type)
    }

    pub fn is_set(&self) -> bool {
        self.kind() == Some(Kind::Set)
    }

    /// The payload and its length; null with a length of 0.
    pub(super) fn buffer(&self) -> (*const u8, usize) {
        let (buffer, length) = (self.get().information_buffer, self.get().length);
        (buffer.cast_const().cast(), if buffer.is_null() { 0 } else { length as usize })
    }

    pub fn id(&self) -> *mut c_void {
        self.get().request_id
    }

    /// The payload, for whoever writes results into it, and its length: of a method what comes in.
    pub(super) fn payload(&self) -> Option<(NonNull<u8>, u32)> {
        Some((NonNull::new(self.get().information_buffer)?.cast(), self.get().length))
    }

    /// OutputBufferLength of a method.
    pub(super) fn output_length(&self) -> u32 {
        self.get().word52
    }

    /// Results of a method request that is completed here.
    pub(super) fn method_results(&self, written: u32, read: u32, needed: u32) {
        // SAFETY: the request is ours to complete; results are the only members that are written.
        let request = unsafe { &mut *self.0.as_ptr() };
        request.method_bytes_written = written;
        request.method_bytes_read = read;
        request.method_bytes_needed = needed;
    }

    /// The payload of a NIC life cycle request, or `None` when it is not what its header must say.
    pub fn nic_parameters(&self) -> Option<NicParameters> {
        let request = self.get();
        let length = usize::try_from(request.length).ok()?;
        let buffer = NonNull::new(request.information_buffer)?.cast::<u8>();
        // SAFETY: the buffer holds `length` bytes as long as the request is not completed.
        unsafe { read_nic_parameters(buffer, length) }.map(|(parameters, _)| parameters)
    }

    /// The payload of a port life cycle request, likewise.
    pub fn port_parameters(&self) -> Option<PortParameters> {
        read_port_parameters(super::payload::input(self))
    }

    /// Passes the results of a request of our own, a method, on to this one that it stood in for.
    pub(super) fn take_own_results(self, own: &OwnRequest) {
        // SAFETY: as below.
        let original = unsafe { &mut *self.0.as_ptr() };
        original.supported_revision = own.request.supported_revision;
        if original.request_type == request_type::METHOD {
            original.method_bytes_written = own.request.method_bytes_written;
            original.method_bytes_read = own.request.method_bytes_read;
            original.method_bytes_needed = own.request.method_bytes_needed;
        } else {
            original.word52 = own.request.method_bytes_read;
            original.word56 = own.request.method_bytes_needed;
        }
    }

    /// Passes the results of the clone on to this request, by request type.
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

/// `NDIS_REQUEST_TYPE`, as far as it matters to anyone here.
pub(super) const fn kind(request_type: i32) -> Option<Kind> {
    match request_type {
        request_type::QUERY_INFORMATION => Some(Kind::Query),
        request_type::SET_INFORMATION => Some(Kind::Set),
        request_type::METHOD => Some(Kind::Method),
        _ => None,
    }
}

/// A request that came back to `FilterOidRequestComplete`, or was completed at once.
pub enum Returned {
    /// The clone of a request from above.
    Clone(SentClone),
    /// One that this driver originated; its first bytes are an `OwnRequest`.
    Own(NonNull<OwnRequest>),
}

/// Who a request was sent for: what the two pointers in `SourceReserved` mean to us.
///
/// A clone keeps the original in the first, and its detour, if it makes one, in the second; an own request has no
/// original and itself in the second.
pub(crate) fn returned(request: NonNull<OidRequest>) -> Option<Returned> {
    // SAFETY: requests that come back are the ones that were sent, and still ours.
    let [original, second] = unsafe { request.as_ref() }.source_reserved;
    match (NonNull::new(original.cast()), NonNull::new(second)) {
        (Some(original), detour) => {
            // SAFETY: left there by `forward`, and taken back once.
            let detour = detour.map(|detour| unsafe { PoolBox::from_raw(detour.cast(), Tag::REQUEST) });
            Some(Returned::Clone(SentClone { clone: request, original: Request(original), detour }))
        }
        (None, Some(own)) => Some(Returned::Own(own.cast())),
        (None, None) => None,
    }
}

/// A clone that is back.
pub struct SentClone {
    clone: NonNull<OidRequest>,
    original: Request,
    detour: Option<PoolBox<Detour>>,
}

impl SentClone {
    /// Moves the results to the original, frees the clone and gives the original back, and the detour it made.
    pub(crate) fn finish(self, filter: Filter) -> (Request, Option<PoolBox<Detour>>) {
        // SAFETY: the clone is back and not freed yet.
        self.original.take_results(unsafe { self.clone.as_ref() });
        // SAFETY: allocated by NdisAllocateCloneOidRequest for this filter, freed once.
        unsafe { sys::NdisFreeCloneOidRequest(filter.handle(), self.clone.as_ptr()) };
        (self.original, self.detour)
    }
}

/// A request that could not be cloned, and the detour that its clone would have made.
pub(crate) struct Unsent {
    pub status: NdisStatus,
    pub detour: Option<PoolBox<Detour>>,
}

/// Clones a request and passes the clone down, on a detour in an envelope of ours. The status is NDIS_STATUS_PENDING, or
/// the final one: then the clone is handed back as well. Without memory for a clone the status and the detour come
/// back. IRQL <= DISPATCH_LEVEL, no lock held.
pub(crate) fn forward(
    filter: Filter,
    request: Request,
    detour: Option<PoolBox<Detour>>,
) -> Result<(NdisStatus, Option<SentClone>), Unsent> {
    let mut clone: *mut OidRequest = core::ptr::null_mut();
    // SAFETY: the request is valid; the result is checked.
    let allocated = NdisStatus(unsafe {
        sys::NdisAllocateCloneOidRequest(filter.handle(), request.as_ptr(), Tag::CLONE.0, &mut clone)
    });
    let clone = match NonNull::new(clone) {
        Some(clone) if allocated == NdisStatus::SUCCESS => clone,
        _ if allocated == NdisStatus::SUCCESS => {
            return Err(Unsent { status: NdisStatus::RESOURCES, detour });
        }
        _ => return Err(Unsent { status: allocated, detour }),
    };
    let detour = detour.map(|mut detour| {
        let envelope = detour.envelope();
        // SAFETY: the clone is ours until it is sent.
        let clone = unsafe { &mut *clone.as_ptr() };
        clone.information_buffer = envelope.cast();
        clone.length = size_of::<raw::SwitchNicOidRequest>() as u32;
        if clone.request_type == request_type::METHOD {
            clone.word52 = clone.length;
        }
        PoolBox::into_raw(detour)
    });
    let detour = detour.unwrap_or(core::ptr::null_mut());
    // SAFETY: as above.
    unsafe { (*clone.as_ptr()).source_reserved = [request.as_ptr().cast(), detour.cast()] };
    // SAFETY: no lock is held; the clone is not touched again unless it is complete.
    let status = NdisStatus(unsafe { sys::NdisFOidRequest(filter.handle(), clone.as_ptr()) });
    let back = (status != NdisStatus::PENDING).then(|| SentClone {
        clone,
        original: request,
        // SAFETY: given up above, and the clone that had it is back.
        detour: NonNull::new(detour).map(|detour| unsafe { PoolBox::from_raw(detour, Tag::REQUEST) }),
    });
    Ok((status, back))
}

/// Completes a request from above, once. IRQL <= DISPATCH_LEVEL, no lock held.
pub(crate) fn complete(filter: Filter, request: Request, status: NdisStatus) {
    // SAFETY: the request was pended and is completed here for the only time.
    unsafe { sys::NdisFOidRequestComplete(filter.handle(), request.as_ptr(), status.0) };
}

/// Asks those below to give up a request that was forwarded.
pub(crate) fn cancel(filter: Filter, request_id: *mut c_void) {
    // SAFETY: the id is the one under which the clone was sent.
    unsafe { sys::NdisFCancelOidRequest(filter.handle(), request_id) };
}

/// A request that this driver originates: the request itself and what to do when it is back.
#[repr(C)]
pub struct OwnRequest {
    request: OidRequest,
    kind: OwnKind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum OwnKind {
    /// A `SyncQuery` on the stack of a waiting thread.
    Sync,
    /// The question that is out to this member.
    Member(MemberIndex),
    /// One of the requests of a `FanOut`.
    Part,
}

impl OwnRequest {
    pub const EMPTY: Self = Self { request: OidRequest::ZERO, kind: OwnKind::Sync };

    /// Fills the request anew; the buffer stays valid until it is back.
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

    /// Under which it can be cancelled.
    pub(super) fn set_id(&mut self, id: *mut c_void) {
        self.request.request_id = id;
    }

    pub(crate) fn kind(this: NonNull<Self>) -> OwnKind {
        // SAFETY: an own request lives until its completion has been handled.
        unsafe { this.as_ref() }.kind
    }
}

// SAFETY: the raw pointers inside are only used by the one who sent the request and the one who got it back.
unsafe impl Send for OwnRequest {}

/// A query of the switch's configuration, waited for at PASSIVE_LEVEL.
#[repr(C)]
struct SyncQuery {
    own: OwnRequest,
    event: sys::NdisEvent,
    status: NdisStatus,
}

/// Queries `oid` into `buffer`. Gives the bytes written, or the status and the bytes that would be needed.
/// PASSIVE_LEVEL, outside FilterOidRequest, FilterStatus and the packet walks; no lock held.
pub(crate) fn query(
    filter: Filter,
    oid: u32,
    buffer: &mut [u8],
    passive: &Passive,
) -> Result<u32, (NdisStatus, u32)> {
    synchronous(filter, request_type::QUERY_INFORMATION, oid, buffer, passive)
}

/// The same for a method, whose question stands in the buffer and whose answer is written over it.
pub(crate) fn method(
    filter: Filter,
    oid: u32,
    buffer: &mut [u8],
    passive: &Passive,
) -> Result<u32, (NdisStatus, u32)> {
    synchronous(filter, request_type::METHOD, oid, buffer, passive)
}

/// Sends a request and waits for it. Gives the bytes written, or the status and the bytes that would be needed.
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
    // SAFETY: the query lives on this stack until it is back, and `query` is the only way to it from here on.
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
        // SAFETY: complete, so nobody else touches the query.
        status = unsafe { (*query).status };
    }
    // SAFETY: complete in either case.
    let request = unsafe { &(*own).request };
    let method = request_type == request_type::METHOD;
    let written = if method { request.method_bytes_written } else { request.word52 };
    let needed = if method { request.method_bytes_needed } else { request.word56 };
    status.ok().map(|()| written).map_err(|status| (status, needed))
}

/// The completion of a `query`: leaves the status and wakes the waiting thread.
pub(crate) fn query_returned(own: NonNull<OwnRequest>, status: NdisStatus) {
    let query = own.cast::<SyncQuery>().as_ptr();
    // SAFETY: requests of kind `Sync` begin a `SyncQuery`, whose owner waits for the event.
    unsafe { (*query).status = status };
    // SAFETY: as above.
    unsafe { sys::NdisSetEvent(&raw mut (*query).event) };
}

/// What `OID_SWITCH_PARAMETERS` says.
pub struct SwitchInfo<'a> {
    pub is_active: bool,
    /// The switch's name (a GUID in text), UTF-16 in little-endian bytes.
    pub name: &'a [u8],
}

/// Reads `NDIS_SWITCH_PARAMETERS` from a buffer that `query` filled with `length` bytes.
pub fn switch_info(buffer: &[u8], length: usize) -> Option<SwitchInfo<'_>> {
    let buffer = buffer.get(..length)?;
    if buffer.len() < usize::from(SwitchParameters::SIZE_REVISION_1) {
        return None;
    }
    let name_at = offset_of!(SwitchParameters, switch_name);
    let bytes = usize::from(u16::from_le_bytes(field(buffer, name_at)?)).min(512);
    Some(SwitchInfo {
        is_active: *buffer.get(offset_of!(SwitchParameters, is_active))? != 0,
        name: buffer.get(name_at + 2..)?.get(..bytes)?,
    })
}

/// Writes the header that a query of `NDIS_SWITCH_PARAMETERS` or of an array must carry.
pub fn write_header(buffer: &mut [u8], size: u16) {
    let header = [object_type::DEFAULT, 1, size.to_le_bytes()[0], size.to_le_bytes()[1]];
    if let Some(place) = buffer.get_mut(..4) {
        place.copy_from_slice(&header);
    }
}

/// What `NDIS_SWITCH_PORT_PARAMETERS` says, as far as it decides anything.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PortParameters {
    pub id: PortId,
    /// Only there to try policies on; never gets a NIC.
    pub is_validation: bool,
    /// Created, and not being torn down.
    pub is_created: bool,
}

/// Reads `NDIS_SWITCH_PORT_PARAMETERS` after checking its header; newer revisions are accepted, shorter are not.
fn read_port_parameters(bytes: &[u8]) -> Option<PortParameters> {
    let needed = usize::from(RawPortParameters::SIZE_REVISION_1);
    let size = u16::from_le_bytes(field(bytes, 2)?);
    let (&kind, &revision) = (bytes.first()?, bytes.get(1)?);
    if bytes.len() < needed || kind != object_type::DEFAULT || revision < 1 || usize::from(size) < needed {
        return None;
    }
    let state = i32::from_le_bytes(field(bytes, offset_of!(RawPortParameters, port_state))?);
    Some(PortParameters {
        id: PortId::new(u32::from_le_bytes(field(bytes, offset_of!(RawPortParameters, port_id))?)),
        is_validation: *bytes.get(offset_of!(RawPortParameters, is_validation_port))? != 0,
        is_created: state == raw::port_state::CREATED,
    })
}

/// Size that the header of a port or NIC array query states.
pub const ARRAY_HEADER: u16 = size_of::<ElementArray>() as u16;

/// The ports of an `NDIS_SWITCH_PORT_ARRAY`.
pub fn port_array(buffer: &[u8]) -> impl Iterator<Item = PortParameters> + '_ {
    elements(buffer).map_while(read_port_parameters)
}

/// The network adapters of an `NDIS_SWITCH_NIC_ARRAY` with their states.
pub fn nic_array(buffer: &[u8]) -> impl Iterator<Item = (NicParameters, NicState)> + '_ {
    elements(buffer).map_while(|element| {
        // SAFETY: the element is a slice of initialised bytes.
        unsafe { read_nic_parameters(NonNull::from(element).cast(), element.len()) }
    })
}

/// The elements of an array, stepping by the element size of the reply.
fn elements(buffer: &[u8]) -> impl Iterator<Item = &[u8]> {
    let read = |at| field(buffer, at).map(u32::from_le_bytes).unwrap_or(0) as usize;
    let first = field(buffer, offset_of!(ElementArray, first_element_offset)).map_or(0, u16::from_le_bytes);
    let count = read(offset_of!(ElementArray, num_elements));
    let size = read(offset_of!(ElementArray, element_size));
    (0..count).map_while(move |index| {
        let start = index.checked_mul(size)?.checked_add(usize::from(first))?;
        buffer.get(start..)?.get(..size)
    })
}

/// `NDIS_SWITCH_NIC_STATE`, as far as an enumeration needs it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum NicState {
    Created,
    Connected,
    Other,
}

/// The bytes of a counted string; at most 512, whatever it says.
fn counted(bytes: &[u8], at: usize) -> Option<&[u8]> {
    let length = usize::from(u16::from_le_bytes(field(bytes, at)?)).min(512);
    bytes.get(at.checked_add(2)?..)?.get(..length)
}

fn field<const N: usize>(buffer: &[u8], at: usize) -> Option<[u8; N]> {
    buffer.get(at..)?.get(..N)?.try_into().ok()
}

/// Reads `NDIS_SWITCH_NIC_PARAMETERS` after checking its header against the bytes that are there; newer revisions are
/// accepted, shorter structures are not.
///
/// # Safety
/// `buffer` is readable for `length` bytes.
unsafe fn read_nic_parameters(buffer: NonNull<u8>, length: usize) -> Option<(NicParameters, NicState)> {
    let needed = usize::from(RawNicParameters::SIZE_REVISION_1);
    if length < needed {
        return None;
    }
    // SAFETY: at least `needed` bytes, which covers every field that is read below.
    let bytes = unsafe { core::slice::from_raw_parts(buffer.as_ptr(), needed) };
    let (&kind, &revision) = (bytes.first()?, bytes.get(1)?);
    let size = u16::from_le_bytes(field(bytes, 2)?);
    if kind != object_type::DEFAULT || revision < 1 || usize::from(size) < needed {
        return None;
    }
    let mac = |at| field::<6>(bytes, at).map(MacAddr);
    let parameters = NicParameters {
        id: NicId {
            port: PortId::new(u32::from_le_bytes(field(bytes, offset_of!(RawNicParameters, port_id))?)),
            index: NicIndex::new(u16::from_le_bytes(field(bytes, offset_of!(RawNicParameters, nic_index))?)),
        },
        kind: match i32::from_le_bytes(field(bytes, offset_of!(RawNicParameters, nic_type))?) {
            raw::nic_type::EXTERNAL => NicKind::External,
            raw::nic_type::INTERNAL => NicKind::Internal,
            raw::nic_type::EMULATED => NicKind::Emulated,
            _ => NicKind::Synthetic,
        },
        current_mac: mac(offset_of!(RawNicParameters, current_mac_address))?,
        permanent_mac: mac(offset_of!(RawNicParameters, permanent_mac_address))?,
        vm_mac: mac(offset_of!(RawNicParameters, vm_mac_address))?,
        mtu: u32::from_le_bytes(field(bytes, offset_of!(RawNicParameters, mtu))?),
        // The name is valid for adapters of virtual machines alone.
        vm: match i32::from_le_bytes(field(bytes, offset_of!(RawNicParameters, nic_type))?) {
            raw::nic_type::SYNTHETIC | raw::nic_type::EMULATED => {
                VmId::of(counted(bytes, offset_of!(RawNicParameters, vm_name))?)
            }
            _ => VmId::NONE,
        },
    };
    let state = match i32::from_le_bytes(field(bytes, offset_of!(RawNicParameters, nic_state))?) {
        raw::nic_state::CREATED => NicState::Created,
        raw::nic_state::CONNECTED => NicState::Connected,
        _ => NicState::Other,
    };
    Some((parameters, state))
}
