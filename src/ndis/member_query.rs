//! Queries to team members that nobody waits for, on the driver's own behalf (`member_request`). A `Topic` is what one
//! query asks for: the link state or a capability. The buffers of each member are allocated at attach, so a query
//! needs no memory, unless the answer is longer than any structure that is known here.

use super::handle::Filter;
use super::member_request::{ENVELOPE, Encapsulated};
use super::oid::{OwnKind, OwnRequest};
use super::raw::{LinkState as RawLinkState, oids, request_type};
use super::status::{NdisStatus, OutOfMemory};
use super::switch::{NicRef, Switch};
use super::sys;
use crate::kernel::pool::{PoolSlice, Tag};
use crate::kernel::rundown::{WorkGuard, WorkRundown};
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicU32, Ordering};
use teaming::ids::{MEMBERS, MemberIndex, NicId, PortId};
use teaming::offload::NO_PARTITION;
use teaming::offload::capabilities::{CAPABILITIES, Capability, LONGEST};
use teaming::oid::RequestType;
use teaming::team::member::LinkState;

/// What one query asks a member for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Topic {
    Link,
    Capability(Capability),
}

/// A set of topics.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Topics(u32);

impl Topics {
    /// The bit of the link state; those of the capabilities follow.
    pub const LINK: Self = Self(1);
    pub const ALL: Self = Self((1 << (CAPABILITIES.len() + 1)) - 1);

    pub fn one(topic: Topic) -> Self {
        match topic {
            Topic::Link => Self::LINK,
            Topic::Capability(capability) => Self(u32::from(capability.bit()) << 1),
        }
    }

    /// The first topic of the set.
    fn first(self) -> Option<Topic> {
        let capabilities = CAPABILITIES.into_iter().map(Topic::Capability);
        core::iter::once(Topic::Link).chain(capabilities).find(|&topic| self.0 & Self::one(topic).0 != 0)
    }
}

impl Topic {
    pub const fn oid(self) -> u32 {
        match self {
            Self::Link => oids::GEN_LINK_STATE,
            Self::Capability(capability) => capability.oid(),
        }
    }
}

/// Length of the answer buffer, in 8-byte words, until an answer needs more.
const ANSWER: usize = LONGEST.div_ceil(8);

/// Longest answer that is asked for, in bytes.
const ANSWER_MAX: usize = 65_536;

/// The buffers of one query; they must not move until it is completed.
#[repr(C)]
struct Buffers {
    own: OwnRequest,
    both: Encapsulated,
    topic: Topic,
    answer: [u64; ANSWER],
    /// In place of `answer` for capabilities, once that was too short.
    longer: Option<PoolSlice<u64>>,
}

impl Buffers {
    /// Where the answer goes, and its bytes.
    fn place(&mut self) -> (*mut u8, usize) {
        match (self.topic, self.longer.as_deref_mut()) {
            (Topic::Link, _) => (self.answer.as_mut_ptr().cast(), size_of::<RawLinkState>()),
            (Topic::Capability(_), None) => (self.answer.as_mut_ptr().cast(), LONGEST),
            (Topic::Capability(_), Some(longer)) => (longer.as_mut_ptr().cast(), size_of_val(longer)),
        }
    }
}

struct MemberSlot {
    /// The topics still to be queried, and `BUSY`.
    state: AtomicU32,
    /// Topics whose query could not be sent or failed; they are queried again later.
    deferred: AtomicU32,
    buffers: UnsafeCell<Buffers>,
}

// SAFETY: only the holder of the slot's `MemberQuery` uses the buffers, and `state` allows one holder.
unsafe impl Send for MemberSlot {}
// SAFETY: as above.
unsafe impl Sync for MemberSlot {}

/// A `MemberQuery` of the slot exists, or its request is pending.
const BUSY: u32 = 1 << 31;

/// The queries of one module, one slot for each member.
pub struct MemberQueries(PoolSlice<MemberSlot>);

impl MemberQueries {
    /// IRQL <= DISPATCH_LEVEL.
    #[inline(never)] // a frame of its own
    pub fn try_new() -> Result<Self, OutOfMemory> {
        let slot = |_| MemberSlot {
            state: AtomicU32::new(0),
            deferred: AtomicU32::new(0),
            buffers: UnsafeCell::new(Buffers {
                own: OwnRequest::EMPTY,
                both: Encapsulated::EMPTY,
                topic: Topic::Link,
                answer: [0; ANSWER],
                longer: None,
            }),
        };
        Ok(Self(PoolSlice::try_new(Tag::REQUEST, MEMBERS, slot)?))
    }

    /// The right to query a member. `None` if another query of the member is in progress; the topics are then queried
    /// after it.
    pub fn begin(&self, member: MemberIndex, topics: Topics) -> Option<MemberQuery<'_>> {
        let slot = self.0.get(member.slot())?;
        let before = slot.state.fetch_or(topics.0 | BUSY, Ordering::AcqRel);
        (before & BUSY == 0).then_some(MemberQuery { slot, member })
    }

    /// Marks a pending answer about these topics as outdated, because a status indication was newer; the topics are
    /// queried again. Called before the indication takes effect, so that an older answer that is applied after it is
    /// corrected by the next.
    pub fn renew(&self, member: MemberIndex, topics: Topics) {
        let Some(slot) = self.0.get(member.slot()) else { return };
        let add_topics = |state: u32| (state & BUSY != 0).then_some(state | topics.0);
        // Without a pending query no answer can be outdated.
        let _ = slot.state.fetch_update(Ordering::AcqRel, Ordering::Acquire, add_topics);
    }

    /// Records topics that must be queried later.
    pub fn defer(&self, member: MemberIndex, topics: Topics) {
        if let Some(slot) = self.0.get(member.slot()) {
            slot.deferred.fetch_or(topics.0, Ordering::AcqRel);
        }
    }

    /// Takes the topics that `defer` recorded; the caller queries them.
    pub fn take_deferred(&self, member: MemberIndex) -> Option<Topics> {
        let deferred = self.0.get(member.slot())?.deferred.swap(0, Ordering::AcqRel);
        (deferred != 0).then_some(Topics(deferred))
    }

    /// The query that was completed. Called once for each completion.
    pub(crate) fn completed(&self, member: MemberIndex) -> Option<MemberQuery<'_>> {
        self.0.get(member.slot()).map(|slot| MemberQuery { slot, member })
    }
}

/// The right to use a member's slot, for one query after the other.
#[must_use]
pub struct MemberQuery<'a> {
    slot: &'a MemberSlot,
    member: MemberIndex,
}

impl<'a> MemberQuery<'a> {
    pub fn member(&self) -> MemberIndex {
        self.member
    }

    /// Goes on to the next topic to be queried; releases the slot if there is none.
    pub fn next(self) -> Option<Self> {
        let mut state = self.slot.state.load(Ordering::Acquire);
        loop {
            let topic = Topics(state & !BUSY).first();
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

    /// Sends the query to the member on the external `port`. The two references are held until it is completed.
    /// Returns NDIS_STATUS_PENDING, or the final status and the query. IRQL <= DISPATCH_LEVEL, no lock held.
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
        if let Some(longer) = &mut b.longer {
            longer.fill(0);
        }
        let answer = b.place();
        let destination = NicId::new(port, self.member.nic());
        b.both.fill(RequestType::Query, b.topic.oid(), answer, NO_PARTITION, destination);
        b.own.prepare(
            OwnKind::Member(self.member),
            request_type::METHOD,
            oids::SWITCH_NIC_REQUEST,
            (&raw mut b.both.envelope).cast(),
            ENVELOPE.into(),
        );
        nic.keep();
        work.keep();
        // SAFETY: every buffer lives in the slot, which outlives the request: detach waits for `work`. The request is
        // the first member of the buffers.
        let status = NdisStatus(unsafe { sys::NdisFOidRequest(filter.handle(), buffers.cast()) });
        let back = (status != NdisStatus::PENDING).then_some(self);
        (status, back)
    }

    /// Takes over the references of a completed query. The caller releases the work reference last: detach waits for
    /// it.
    pub fn take_references<'m>(
        &self,
        switch: &'m Switch,
        work: &'m WorkRundown,
    ) -> (NicRef<'m>, WorkGuard<'m>) {
        // SAFETY: the question is the right to use the buffers.
        let both = unsafe { &(*self.slot.buffers.get()).both };
        // SAFETY: both were kept in `send`, once.
        unsafe { (both.destination(switch), work.adopt()) }
    }

    /// The topic is to be queried again, so the answer may be older than the last status indication.
    pub fn is_outdated(&self) -> bool {
        self.slot.state.load(Ordering::Acquire) & Topics::one(self.topic()).0 != 0
    }

    pub fn topic(&self) -> Topic {
        // SAFETY: the question is the right to use the buffers.
        unsafe { (*self.slot.buffers.get()).topic }
    }

    /// The bytes that the adapter wrote.
    pub fn answer(&self) -> &[u8] {
        // SAFETY: the question is the right to use the buffers.
        let b = unsafe { &mut *self.slot.buffers.get() };
        let written = b.both.inner.bytes_written() as usize;
        let (place, length) = b.place();
        // SAFETY: inside the answer, which is borrowed with the question.
        unsafe { core::slice::from_raw_parts(place, written.min(length)) }
    }

    /// The buffer was too short: makes it as long as the adapter asks for, or twice as long if it does not say, and puts
    /// the topic first again. False if there is no memory, or more is asked for than any structure has.
    /// IRQL <= DISPATCH_LEVEL.
    pub fn grow(&self) -> bool {
        // SAFETY: the question is the right to use the buffers.
        let b = unsafe { &mut *self.slot.buffers.get() };
        let (_, length) = b.place();
        let needed = usize::try_from(b.both.inner.bytes_needed()).unwrap_or(usize::MAX);
        let needed = if needed > length { needed } else { length.saturating_mul(2) };
        if matches!(b.topic, Topic::Link) || needed > ANSWER_MAX {
            return false;
        }
        match PoolSlice::try_new(Tag::REQUEST, needed.div_ceil(size_of::<u64>()), |_| 0) {
            Ok(longer) => b.longer = Some(longer),
            Err(OutOfMemory) => return false,
        }
        self.slot.state.fetch_or(Topics::one(b.topic).0, Ordering::AcqRel);
        true
    }

    /// The link state that the adapter wrote; `None` if it wrote less than an NDIS_LINK_STATE.
    pub fn link(&self) -> Option<LinkState> {
        let written = self.answer().len();
        // SAFETY: the question is the right to use the buffers, and the answer is longer than a link state.
        let state = unsafe { (*self.slot.buffers.get()).answer.as_ptr().cast::<RawLinkState>().read() };
        super::link::decode(&state, written)
    }
}

const _: () = assert!(size_of::<RawLinkState>() <= ANSWER * 8);
