//! Questions to the team members for their link state: OID_GEN_LINK_STATE, encapsulated in OID_SWITCH_NIC_REQUEST for
//! the extension's own purpose, both source members zero (forwarding-oid-requests-to-physical-network-adapters.md).
//! One slot for each member, allocated at attach: asking needs no memory.

use super::handle::Filter;
use super::oid::{OwnKind, OwnRequest};
use super::raw::{
    LinkState as RawLinkState, ObjectHeader, OidRequest, SwitchNicOidRequest, object_type, oids, request_type,
};
use super::status::{NdisStatus, OutOfMemory};
use super::switch::{NicRef, Switch};
use super::sys;
use crate::kernel::pool::{PoolSlice, Tag};
use crate::kernel::rundown::{WorkGuard, WorkRundown};
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicU8, Ordering};
use teaming::ids::{MEMBERS, MemberIndex, NicId, NicIndex, PortId};
use teaming::member::LinkState;

/// The buffers of one question; all must live until it is back.
#[repr(C)]
struct Buffers {
    own: OwnRequest,
    envelope: SwitchNicOidRequest,
    inner: OidRequest,
    answer: RawLinkState,
}

struct Slot {
    state: AtomicU8,
    buffers: UnsafeCell<Buffers>,
}

// SAFETY: the buffers belong to the holder of the slot's `Question`, of which `state` allows one.
unsafe impl Send for Slot {}
// SAFETY: as above.
unsafe impl Sync for Slot {}

/// Nobody asks.
const IDLE: u8 = 0;
/// A `Question` exists, or is out.
const ASKING: u8 = 1;
/// As above, and somebody wants to ask again.
const ASKING_AGAIN: u8 = 2;

/// The questions of one module.
pub struct LinkQueries(PoolSlice<Slot>);

impl LinkQueries {
    /// IRQL <= DISPATCH_LEVEL.
    pub fn try_new() -> Result<Self, OutOfMemory> {
        let slot = |_| Slot {
            state: AtomicU8::new(IDLE),
            buffers: UnsafeCell::new(Buffers {
                own: OwnRequest::EMPTY,
                envelope: SwitchNicOidRequest::ZERO,
                inner: OidRequest::ZERO,
                answer: RawLinkState::ZERO,
            }),
        };
        Ok(Self(PoolSlice::try_new(Tag::REQUEST, MEMBERS, slot)?))
    }

    /// The right to ask a member, unless it is being asked: then it will be asked once more.
    pub fn begin(&self, member: MemberIndex) -> Option<Question<'_>> {
        let slot = self.0.get(member.slot())?;
        let begin = |state| Some(if state == IDLE { ASKING } else { ASKING_AGAIN });
        let before = slot.state.fetch_update(Ordering::AcqRel, Ordering::Acquire, begin);
        (before == Ok(IDLE)).then_some(Question { slot, member })
    }

    /// The question that was out and is back; called once for each completion.
    pub(crate) fn back(&self, member: MemberIndex) -> Option<Question<'_>> {
        self.0.get(member.slot()).map(|slot| Question { slot, member })
    }
}

/// The right to use a member's slot.
#[must_use]
pub struct Question<'a> {
    slot: &'a Slot,
    member: MemberIndex,
}

impl<'a> Question<'a> {
    pub fn member(&self) -> MemberIndex {
        self.member
    }

    /// Sends the question to the member on `port`. The references are held until it is back. The status is
    /// NDIS_STATUS_PENDING, or the final one with the question back. IRQL <= DISPATCH_LEVEL, no lock held.
    pub fn send(
        self,
        filter: Filter,
        port: PortId,
        nic: NicRef<'_>,
        work: WorkGuard<'_>,
    ) -> (NdisStatus, Option<Self>) {
        let buffers = self.slot.buffers.get();
        // SAFETY: the question is the right to use the buffers.
        let b = unsafe { &mut *buffers };
        b.answer = RawLinkState::ZERO;
        b.inner = OidRequest::ZERO;
        b.inner.header = ObjectHeader::new(object_type::OID_REQUEST, 1, OidRequest::SIZE_REVISION_1);
        b.inner.request_type = request_type::QUERY_INFORMATION;
        b.inner.oid = oids::GEN_LINK_STATE;
        b.inner.information_buffer = (&raw mut b.answer).cast();
        b.inner.length = size_of::<RawLinkState>() as u32;
        b.envelope = SwitchNicOidRequest::ZERO;
        b.envelope.header =
            ObjectHeader::new(object_type::DEFAULT, 1, size_of::<SwitchNicOidRequest>() as u16);
        b.envelope.destination_port_id = port.get();
        b.envelope.destination_nic_index = self.member.nic().get();
        b.envelope.oid_request = &raw mut b.inner;
        b.own.prepare(
            OwnKind::LinkState(self.member),
            request_type::METHOD,
            oids::SWITCH_NIC_REQUEST,
            (&raw mut b.envelope).cast(),
            size_of::<SwitchNicOidRequest>() as u32,
        );
        nic.keep();
        work.keep();
        // SAFETY: every buffer lives in the slot, which outlives the request: detach waits for `work`. The request is
        // the first member of the buffers.
        let status = NdisStatus(unsafe { sys::NdisFOidRequest(filter.handle(), buffers.cast()) });
        let back = (status != NdisStatus::PENDING).then_some(self);
        (status, back)
    }

    /// Takes back the references of a question that is back. The work reference is the last thing to give up.
    pub fn take_back<'m>(&self, switch: &'m Switch, work: &'m WorkRundown) -> (NicRef<'m>, WorkGuard<'m>) {
        // SAFETY: the question is the right to use the buffers.
        let envelope = unsafe { &(*self.slot.buffers.get()).envelope };
        let port = PortId::new(envelope.destination_port_id);
        let nic = NicId::new(port, NicIndex::new(envelope.destination_nic_index));
        // SAFETY: both were kept in `send`, once.
        unsafe { (NicRef::adopt(switch, nic), work.adopt()) }
    }

    /// What the adapter answered, if it wrote an answer.
    pub fn answer(&self) -> Option<LinkState> {
        // SAFETY: the question is the right to use the buffers.
        let b = unsafe { &*self.slot.buffers.get() };
        super::link::decode(&b.answer, b.inner.bytes_written() as usize)
    }

    /// Gives the right up, or keeps it because somebody wants to ask again.
    pub fn end(self) -> Option<Self> {
        let end = |state| Some(if state == ASKING_AGAIN { ASKING } else { IDLE });
        let before = self.slot.state.fetch_update(Ordering::AcqRel, Ordering::Acquire, end);
        (before == Ok(ASKING_AGAIN)).then_some(self)
    }
}
