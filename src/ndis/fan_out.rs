//! One request from above that goes to several adapters: the driver originates one request for each, sends all of them
//! while it filters the original, and completes the original when the last one is completed
//! (forwarding-oid-requests-to-physical-network-adapters.md, originating for a child partition).
//!
//! All parts are sent in one loop, and a count of pending parts tells the last completion. So completions never nest,
//! whether parts complete at once, inside the call, later or in any order.

use super::envelope::Envelope;
use super::handle::Filter;
use super::member_request::{ENVELOPE, Encapsulated};
use super::oid::{OwnKind, OwnRequest, Request};
use super::raw::{ObjectHeader, OidRequest, object_type, oids, request_type};
use super::status::{NdisStatus, OutOfMemory};
use super::switch::{NicRef, Switch};
use super::sys;
use crate::kernel::pool::{PoolBox, PoolSlice, Tag};
use crate::kernel::rundown::{WorkGuard, WorkRundown};
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU32, Ordering};
use teaming::ids::{MemberIndex, NicId, NicIndex, PortId};
use teaming::offload::NO_PARTITION;
use teaming::oid::{RequestType, Resource};

/// The driver's own request to one member, in place of the original.
#[repr(C)]
struct Part {
    own: OwnRequest,
    both: Encapsulated,
    fan: *mut FanOut,
    member: Option<MemberIndex>,
    status: NdisStatus,
}

pub struct FanOut {
    original: Request,
    parts: PoolSlice<Part>,
    /// The payloads of all parts, each `stride` 8-byte words long.
    buffer: PoolSlice<u64>,
    stride: usize,
    /// Number of pending parts, plus one while the loop sends them.
    left: AtomicU32,
    /// Entries reserved in the resource table for the resources that the parts allocate.
    pub promised: Option<(Resource, usize)>,
}

// SAFETY: the pointers lead from the parts to their owner, which outlives them, and to what the request keeps alive.
unsafe impl Send for FanOut {}

impl FanOut {
    /// Allocates `parts` requests with payloads of up to `bytes`. IRQL <= DISPATCH_LEVEL.
    pub fn try_new(original: Request, parts: usize, bytes: usize) -> Result<PoolBox<Self>, OutOfMemory> {
        let part = |_| Part {
            own: OwnRequest::EMPTY,
            both: Encapsulated::EMPTY,
            fan: core::ptr::null_mut(),
            member: None,
            status: NdisStatus::PENDING,
        };
        let stride = bytes.div_ceil(size_of::<u64>());
        let words = stride.checked_mul(parts).ok_or(OutOfMemory)?;
        let fan = Self {
            original,
            parts: PoolSlice::try_new(Tag::REQUEST, parts, part)?,
            buffer: PoolSlice::try_new(Tag::REQUEST, words, |_| 0)?,
            stride,
            left: AtomicU32::new(1),
            promised: None,
        };
        PoolBox::try_new(Tag::REQUEST, fan)
    }

    pub const fn original(&self) -> Request {
        self.original
    }

    /// The payload of one part, which the caller writes before `send`.
    pub fn payload_mut(&mut self, index: usize) -> &mut [u8] {
        let (start, stride) = (index.saturating_mul(self.stride), self.stride);
        let words = self.buffer.get_mut(start..).and_then(|rest| rest.get_mut(..stride)).unwrap_or(&mut []);
        // SAFETY: any word is eight bytes, and the slice borrows them alone.
        unsafe { core::slice::from_raw_parts_mut(words.as_mut_ptr().cast(), size_of_val(words)) }
    }

    /// Prepares a part: its first `length` payload bytes go to `member` on behalf of the partition `source`, or with source
    /// 0/0 on the driver's own, without a `source_nic`. The references are held until it is completed.
    pub fn ready(
        &mut self,
        index: usize,
        like: &Envelope,
        member: MemberIndex,
        length: usize,
        (source, source_nic): (NicId, Option<NicRef<'_>>),
        (port, nic): (PortId, NicRef<'_>),
    ) {
        let buffer = self.payload_mut(index).as_mut_ptr();
        let original_id = self.original.id();
        let (Some(part), Some(kind)) = (self.parts.get_mut(index), like.kind()) else { return };
        part.member = Some(member);
        let destination = NicId::new(port, member.nic());
        part.both.fill(kind, like.oid(), (buffer, length), source, destination);
        let inner = &mut part.both.inner;
        if let Some(target) = like.target() {
            inner.header = ObjectHeader::new(object_type::OID_REQUEST, 2, OidRequest::SIZE_REVISION_2);
            inner.switch_id = target.switch;
            inner.vport_id = target.vport;
            inner.flags = target.flags;
        }
        let theirs = like.inner().as_ptr();
        // SAFETY: the view is checked and its request not completed.
        (inner.port_number, inner.timeout) = unsafe { ((*theirs).port_number, (*theirs).timeout) };
        if kind == RequestType::Method {
            // SAFETY: as above.
            inner.word56 = unsafe { (*theirs).word56 };
        }
        let envelope = &raw mut part.both.envelope;
        part.own.prepare(
            OwnKind::Part,
            request_type::METHOD,
            oids::SWITCH_NIC_REQUEST,
            envelope.cast(),
            ENVELOPE.into(),
        );
        // With the original's RequestId, a cancellation of the original cancels all parts.
        part.own.set_id(original_id);
        if let Some(source_nic) = source_nic {
            source_nic.keep();
        }
        nic.keep();
    }

    pub fn is_any_ready(&self) -> bool {
        self.parts.iter().any(|part| part.member.is_some())
    }

    /// Sends every part that is ready; they are out with the reference. Gives the fan-out back when all have completed by
    /// then. IRQL <= DISPATCH_LEVEL, no lock held, inside the call that brought the original.
    pub fn send(
        this: PoolBox<Self>,
        work: WorkGuard<'_>,
        filter: Filter,
        switch: &Switch,
    ) -> Option<PoolBox<Self>> {
        work.keep();
        let fan = PoolBox::into_raw(this);
        // SAFETY: nothing is out yet, so the fan-out is ours alone.
        let parts = unsafe { &mut (*fan).parts };
        let mut ready = 0;
        for part in parts.iter_mut().filter(|part| part.member.is_some()) {
            part.fan = fan;
            ready += 1;
        }
        let (first, count) = (parts.as_mut_ptr(), parts.len());
        // SAFETY: as above.
        unsafe { &(*fan).left }.store(ready + 1, Ordering::Release);
        for index in 0..count {
            // SAFETY: inside the slice, which lives at least until this loop has given up its count.
            let part = unsafe { first.add(index) };
            // SAFETY: written before the first was sent, and not since.
            if unsafe { (*part).member }.is_none() {
                continue;
            }
            // SAFETY: the part and all it points to live until it is back; no lock is held.
            let status = NdisStatus(unsafe { sys::NdisFOidRequest(filter.handle(), part.cast()) });
            if status != NdisStatus::PENDING {
                // SAFETY: the part is not null and back. The loop's own count keeps this from being the last.
                let _ = unsafe { Self::back(NonNull::new_unchecked(part.cast()), status, switch) };
            }
        }
        // SAFETY: the loop's count is given up here, once.
        unsafe { Self::one_less(fan) }
    }

    /// All parts are back and what came of them has been read: gives back the reference that they were out with.
    pub(crate) fn finish(this: PoolBox<Self>, work: &WorkRundown) -> WorkGuard<'_> {
        drop(this);
        // SAFETY: kept by `send`, which the fan-out came back from, once.
        unsafe { work.adopt() }
    }

    /// FilterOidRequestComplete of a part; the last one returns the fan-out.
    pub(crate) fn returned(
        own: NonNull<OwnRequest>,
        status: NdisStatus,
        switch: &Switch,
    ) -> Option<PoolBox<Self>> {
        // SAFETY: requests of kind `Part` are parts that were sent, and NDIS completes each once.
        unsafe { Self::back(own, status, switch) }
    }

    /// Releases the references of a completed part; the last one returns the fan-out.
    ///
    /// # Safety
    /// `own` is a part that was pending and is completed now; called once for each.
    unsafe fn back(own: NonNull<OwnRequest>, status: NdisStatus, switch: &Switch) -> Option<PoolBox<Self>> {
        let part = own.cast::<Part>().as_ptr();
        // SAFETY: requests of kind `Part` begin a `Part`, which is ours since it is back.
        let (envelope, fan) = unsafe { (&(*part).both.envelope, (*part).fan) };
        let nic = |port, index| NicId::new(PortId::new(port), NicIndex::new(index));
        let destination = nic(envelope.destination_port_id, envelope.destination_nic_index);
        let source = nic(envelope.source_port_id, envelope.source_nic_index);
        for pair in [destination, source].into_iter().filter(|&pair| pair != NO_PARTITION) {
            // SAFETY: kept in `ready`, once.
            drop(unsafe { NicRef::adopt(switch, pair) });
        }
        // SAFETY: as above.
        unsafe { (*part).status = status };
        // SAFETY: this part's count is given up here, once.
        unsafe { Self::one_less(fan) }
    }

    /// # Safety
    /// One call for each unit of `left`.
    unsafe fn one_less(fan: *mut Self) -> Option<PoolBox<Self>> {
        // SAFETY: the caller's count keeps the fan-out alive.
        if unsafe { &(*fan).left }.fetch_sub(1, Ordering::AcqRel) != 1 {
            return None;
        }
        // SAFETY: made by `into_raw` in `send`, and nobody else has a count any more.
        NonNull::new(fan).map(|fan| unsafe { PoolBox::from_raw(fan, Tag::REQUEST) })
    }

    /// The results of the parts that were sent: member, status, payload.
    pub fn results(&self) -> impl Iterator<Item = (MemberIndex, NdisStatus, &[u8])> {
        self.parts.iter().enumerate().filter_map(|(index, part)| {
            let start = index.checked_mul(self.stride)?;
            let words = self.buffer.get(start..)?.get(..self.stride)?;
            // SAFETY: any word is eight bytes, and they are borrowed with `self`.
            let bytes = unsafe { core::slice::from_raw_parts(words.as_ptr().cast(), size_of_val(words)) };
            Some((part.member?, part.status, bytes))
        })
    }

    /// Copies the byte counts of one member's part to the original, both of the outer and of the encapsulated request.
    pub(crate) fn report(&self, envelope: &Envelope, member: MemberIndex) {
        let Some(part) = self.parts.iter().find(|part| part.member == Some(member)) else { return };
        // SAFETY: results of a request that this driver completes itself are its to write.
        let inner = unsafe { &mut *envelope.inner().as_ptr() };
        inner.supported_revision = part.both.inner.supported_revision;
        if inner.request_type == request_type::METHOD {
            inner.method_bytes_written = part.both.inner.method_bytes_written;
            inner.method_bytes_read = part.both.inner.method_bytes_read;
            inner.method_bytes_needed = part.both.inner.method_bytes_needed;
        } else {
            inner.word52 = part.both.inner.word52;
            inner.word56 = part.both.inner.word56;
        }
        self.original.take_own_results(&part.own);
    }
}
