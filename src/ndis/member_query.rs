//! Questions to the team members: a query encapsulated in OID_SWITCH_NIC_REQUEST for the extension's own purpose, both
//! source members zero (forwarding-oid-requests-to-physical-network-adapters.md). What is asked is a `Topic`: the link or a
//! capability. One slot for each member, allocated at attach: asking needs no memory.

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
use core::sync::atomic::{AtomicU32, Ordering};
use teaming::ids::{MEMBERS, MemberIndex, NicId, NicIndex, PortId};
use teaming::offload::capabilities::{CAPABILITIES, Capability, LONGEST};
use teaming::team::member::LinkState;

/// What a member is asked.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Topic {
    Link,
    Capability(Capability),
}

/// A set of topics.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Topics(u32);

impl Topics {
    /// The link's bit; the capabilities' follow.
    pub const LINK: Self = Self(1);
    pub const ALL: Self = Self((1 << (CAPABILITIES.len() + 1)) - 1);

    pub fn one(topic: Topic) -> Self {
        match topic {
            Topic::Link => Self::LINK,
            Topic::Capability(capability) => Self(u32::from(capability.bit()) << 1),
        }
    }

    /// The first topic, and the set without it.
    fn first(self) -> Option<Topic> {
        let capabilities = CAPABILITIES.into_iter().map(Topic::Capability);
        core::iter::once(Topic::Link).chain(capabilities).find(|&topic| self.0 & Self::one(topic).0 != 0)
    }
}

impl Topic {
    const fn oid(self) -> u32 {
        match self {
            Self::Link => oids::GEN_LINK_STATE,
            Self::Capability(capability) => capability.oid(),
        }
    }

    const fn answer_size(self) -> usize {
        match self {
            Self::Link => size_of::<RawLinkState>(),
            Self::Capability(_) => LONGEST,
        }
    }
}

/// Words of the longest answer.
const ANSWER: usize = LONGEST.div_ceil(8);

/// The buffers of one question; all must live until it is back.
#[repr(C)]
struct Buffers {
    own: OwnRequest,
    envelope: SwitchNicOidRequest,
    inner: OidRequest,
    topic: Topic,
    answer: [u64; ANSWER],
}

struct Slot {
    /// The topics that are wanted, and `ASKING`.
    state: AtomicU32,
    /// Topics that could not be asked or were not answered: to be asked again later.
    owed: AtomicU32,
    buffers: UnsafeCell<Buffers>,
}

// SAFETY: the buffers belong to the holder of the slot's `Question`, of which `state` allows one.
unsafe impl Send for Slot {}
// SAFETY: as above.
unsafe impl Sync for Slot {}

/// A `Question` exists, or is out.
const ASKING: u32 = 1 << 31;

/// The questions of one module.
pub struct MemberQueries(PoolSlice<Slot>);

impl MemberQueries {
    /// IRQL <= DISPATCH_LEVEL.
    #[inline(never)] // a frame of its own
    pub fn try_new() -> Result<Self, OutOfMemory> {
        let slot = |_| Slot {
            state: AtomicU32::new(0),
            owed: AtomicU32::new(0),
            buffers: UnsafeCell::new(Buffers {
                own: OwnRequest::EMPTY,
                envelope: SwitchNicOidRequest::ZERO,
                inner: OidRequest::ZERO,
                topic: Topic::Link,
                answer: [0; ANSWER],
            }),
        };
        Ok(Self(PoolSlice::try_new(Tag::REQUEST, MEMBERS, slot)?))
    }

    /// The right to ask a member, unless it is being asked: then these topics follow.
    pub fn begin(&self, member: MemberIndex, topics: Topics) -> Option<Question<'_>> {
        let slot = self.0.get(member.slot())?;
        let before = slot.state.fetch_or(topics.0 | ASKING, Ordering::AcqRel);
        (before & ASKING == 0).then_some(Question { slot, member })
    }

    /// Something newer is known of these topics: what is being answered about them is out of date, and asked again.
    /// Called before the news takes effect, so that an answer that overtakes it is followed by another.
    pub fn renew(&self, member: MemberIndex, topics: Topics) {
        let Some(slot) = self.0.get(member.slot()) else { return };
        let asking = |state: u32| (state & ASKING != 0).then_some(state | topics.0);
        // Nothing is out: nothing can be out of date.
        let _ = slot.state.fetch_update(Ordering::AcqRel, Ordering::Acquire, asking);
    }

    /// These topics have to be asked later.
    pub fn owe(&self, member: MemberIndex, topics: Topics) {
        if let Some(slot) = self.0.get(member.slot()) {
            slot.owed.fetch_or(topics.0, Ordering::AcqRel);
        }
    }

    /// What a member still has to be asked; the caller asks.
    pub fn take_owed(&self, member: MemberIndex) -> Option<Topics> {
        let owed = self.0.get(member.slot())?.owed.swap(0, Ordering::AcqRel);
        (owed != 0).then_some(Topics(owed))
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

    /// Goes on to the next topic that is wanted, or gives the right up when there is none.
    pub fn next(self) -> Option<Self> {
        let mut state = self.slot.state.load(Ordering::Acquire);
        loop {
            let topic = Topics(state & !ASKING).first();
            let after = topic.map_or(0, |topic| state & !Topics::one(topic).0);
            match self.slot.state.compare_exchange_weak(state, after, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => {
                    let topic = topic?;
                    // SAFETY: the question is the right to use the buffers.
                    unsafe { (*self.slot.buffers.get()).topic = topic };
                    return Some(self);
                }
                Err(now) => state = now,
            }
        }
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
        b.answer = [0; ANSWER];
        b.inner = OidRequest::ZERO;
        b.inner.header = ObjectHeader::new(object_type::OID_REQUEST, 1, OidRequest::SIZE_REVISION_1);
        b.inner.request_type = request_type::QUERY_INFORMATION;
        b.inner.oid = b.topic.oid();
        b.inner.information_buffer = (&raw mut b.answer).cast();
        b.inner.length = b.topic.answer_size() as u32;
        b.envelope = SwitchNicOidRequest::ZERO;
        b.envelope.header =
            ObjectHeader::new(object_type::DEFAULT, 1, size_of::<SwitchNicOidRequest>() as u16);
        b.envelope.destination_port_id = port.get();
        b.envelope.destination_nic_index = self.member.nic().get();
        b.envelope.oid_request = &raw mut b.inner;
        b.own.prepare(
            OwnKind::Member(self.member),
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

    /// The topic is wanted again already, so that the answer may be older than what is known.
    pub fn is_outdated(&self) -> bool {
        self.slot.state.load(Ordering::Acquire) & Topics::one(self.topic()).0 != 0
    }

    pub fn topic(&self) -> Topic {
        // SAFETY: the question is the right to use the buffers.
        unsafe { (*self.slot.buffers.get()).topic }
    }

    /// The bytes that the adapter answered.
    pub fn answer(&self) -> &[u8] {
        // SAFETY: the question is the right to use the buffers.
        let b = unsafe { &*self.slot.buffers.get() };
        let written = (b.inner.bytes_written() as usize).min(size_of_val(&b.answer));
        // SAFETY: inside the answer, which is borrowed with the question.
        unsafe { core::slice::from_raw_parts(b.answer.as_ptr().cast(), written) }
    }

    /// The link that the adapter answered, if it wrote an answer.
    pub fn link(&self) -> Option<LinkState> {
        let written = self.answer().len();
        // SAFETY: the question is the right to use the buffers, and the answer is longer than a link state.
        let state = unsafe { (*self.slot.buffers.get()).answer.as_ptr().cast::<RawLinkState>().read() };
        super::link::decode(&state, written)
    }
}

const _: () = assert!(size_of::<RawLinkState>() <= ANSWER * 8);
