//! What members hold of before the attachment. After a restart of the extension its table of offload resources is empty,
//! but the switch goes on to free what it allocated before. So each member is asked for its lists of queues, filters,
//! virtual functions and virtual ports, and what it lists enters the table (`teaming::offload::reported`).
//!
//! The module's thread asks, and nothing waits for it but detach, for the request that is out. Members are asked after
//! the enumeration and when they are connected. A failed request is repeated at intervals that double up to a minute;
//! until then what lists say counts for placement alone. When a member has failed for `PATIENCE`, which takes less than
//! a minute, requests are directed by what the others list; it is still asked, and what it lists later counts. Lists are
//! read again if the member's resources changed in between. Members are asked whatever their capabilities: one that has lost a capability keeps what it holds.

use crate::clock;
use crate::control::{events, nic_status, survey};
use crate::kernel::pool::{PoolSlice, Tag};
use crate::kernel::worker::{Reasons, Woken};
use crate::module::{Control, Module, new_resources};
use crate::ndis::irql::Passive;
use crate::ndis::member_request::{self, MemberAnswer, MemberRequest};
use crate::ndis::status::{NdisStatus, OutOfMemory};
use crate::trace::Event;
use teaming::backoff::Backoff;
use teaming::ids::{MEMBERS, MacAddr, MemberIndex, MemberSet, NicId, NicIndex, Ticks};
use teaming::offload::lists::{List, Owner, Parameters};
use teaming::offload::reported::{ReportedResource, attribute};
use teaming::oid::{RequestType, Resource};

/// First and largest buffer for a list, in bytes; the largest is enough for 2,500 virtual functions.
const FIRST_ROOM: usize = 4_096;
const LARGEST: usize = 4 << 20;
/// How often a member is asked in a row while its resources change meanwhile.
const ATTEMPTS: u32 = 8;

/// Has the thread ask members. IRQL <= DISPATCH_LEVEL, no lock held.
pub fn ask(module: &Module, members: MemberSet) {
    {
        let mut control = module.control.lock();
        // One that was disconnected meanwhile would never answer, and requests would wait for it.
        let there = members.intersection(control.team.connected());
        control.resources.want_lists(there);
    }
    module.worker.wake(Reasons::RESOURCES);
}

/// The same for members of which it is not known what they hold, because the switch had them before the attachment or has
/// freed something on one of them: where no id may be given out twice nothing is placed before they have been asked once.
/// The caller holds the team lock.
pub fn ask_unknown(module: &Module, control: &mut Control, members: MemberSet) {
    if !members.is_empty() {
        note_unknown(control, members);
        module.worker.wake(Reasons::RESOURCES);
    }
}

/// The same, but the thread is woken by the caller, with `Reasons::RESOURCES`.
pub fn note_unknown(control: &mut Control, members: MemberSet) {
    control.resources.want_lists(members);
    control.unasked = control.unasked.union(members);
}

/// A vNIC is connected: it may be the partition of something that was listed before. The caller holds the team lock.
pub fn vnic_connected(module: &Module, control: &mut Control) {
    let members = control.resources.unattributed();
    if !members.is_empty() {
        control.resources.want_lists(members);
        module.worker.wake(Reasons::RESOURCES);
    }
}

/// When failed requests are repeated.
pub struct ResourceLists {
    retry: Backoff,
}

impl ResourceLists {
    pub const IDLE: Self = Self { retry: Backoff::IDLE };

    /// When to come back without being woken.
    pub const fn due(&self) -> Option<Ticks> {
        self.retry.due()
    }

    /// Called after each wait of the thread. PASSIVE_LEVEL, no lock held.
    #[inline(never)] // a frame of its own
    pub fn woken(&mut self, module: &Module, woken: &Woken, passive: &Passive) {
        let again = self.retry.take(clock::now());
        if (again || woken.reasons.contains(Reasons::RESOURCES)) && !read_all(module, passive) {
            self.retry.plan(clock::now());
        }
    }
}

/// Asks every member that is still to be asked, once. False if one of them failed.
#[inline(never)] // a frame of its own
fn read_all(module: &Module, passive: &Passive) -> bool {
    let mut all = true;
    for slot in 0..MEMBERS {
        let Some(member) = to_ask(module, slot) else { continue };
        let result = read_member(module, member, passive);
        let mut control = module.control.lock();
        let mut asked = !result.is_err_and(is_no_answer);
        if let Err(status) = result
            && control.team.member(member).state.is_connected()
            && !control.detaching
        {
            let now = clock::now();
            events::record_at(module, &mut control, now, Event::NotListed { member, status: status.0 });
            if control.resources.failed_to_list(member, now) {
                events::record_at(module, &mut control, now, Event::ListsGivenUp { member });
                asked = true;
            }
            all = false;
        }
        if asked {
            control.unasked = control.unasked.without(member);
        }
    }
    all
}

/// The member was not asked for all its lists, for lack of memory or of a reference: as long as that lasts, but at most for
/// `PATIENCE`, it is one that has not been asked.
fn is_no_answer(status: NdisStatus) -> bool {
    matches!(status, NdisStatus::RESOURCES | NdisStatus::ADAPTER_NOT_FOUND)
}

/// The first of two failures, but before all that of a list that was not asked for.
fn first_of(one: Result<(), NdisStatus>, other: Result<(), NdisStatus>) -> Result<(), NdisStatus> {
    if other.is_err_and(is_no_answer) { other } else { one.and(other) }
}

/// The member, if it is to be asked.
fn to_ask(module: &Module, slot: usize) -> Option<MemberIndex> {
    let member = MemberIndex::from_slot(slot)?;
    let control = module.control.lock();
    let connected = control.team.member(member).state.is_connected();
    (connected && control.resources.is_unlisted(member) && !control.detaching).then_some(member)
}

/// Reads the lists of one member and takes them over.
#[inline(never)] // a frame of its own
fn read_member(module: &Module, member: MemberIndex, passive: &Passive) -> Result<(), NdisStatus> {
    for _ in 0..ATTEMPTS {
        let changes = module.control.lock().resources.changes(member);
        let mut inventory = Inventory::try_new()?;
        let result = Asking { module, member, passive }.read_lists(&mut inventory);
        attribute(inventory.all_mut());
        if take_over(module, member, changes, inventory.all(), result.is_ok())? {
            return result;
        }
    }
    Err(NdisStatus::RESOURCES)
}

/// Enters what a member lists into the table, unless its resources have changed meanwhile: then false.
fn take_over(
    module: &Module,
    member: MemberIndex,
    changes: u32,
    listed: &[ReportedResource],
    complete: bool,
) -> Result<bool, OutOfMemory> {
    loop {
        let capacity = {
            let mut control = module.control.lock();
            if control.resources.changes(member) != changes {
                return Ok(false);
            }
            match control.resources.report(member, listed, complete) {
                Ok(()) => return Ok(true),
                Err(_) => control.resources.capacity(),
            }
        };
        let needed = capacity.saturating_add(listed.len());
        let larger = new_resources(capacity.saturating_mul(2).max(needed))?;
        let old = module.control.lock().resources.grow(larger);
        drop(old);
    }
}

/// What one member lists, in memory that grows.
struct Inventory {
    items: PoolSlice<ReportedResource>,
    used: usize,
}

impl Inventory {
    fn try_new() -> Result<Self, OutOfMemory> {
        Ok(Self { items: PoolSlice::try_new(Tag::TABLE, 32, |_| ReportedResource::EMPTY)?, used: 0 })
    }

    fn all(&self) -> &[ReportedResource] {
        self.items.get(..self.used).unwrap_or(&[])
    }

    fn all_mut(&mut self) -> &mut [ReportedResource] {
        self.items.get_mut(..self.used).unwrap_or(&mut [])
    }

    fn push(&mut self, one: ReportedResource) -> Result<(), OutOfMemory> {
        if self.used >= self.items.len() {
            let more = self.items.len().saturating_mul(2);
            let copy = |at| self.items.get(at).copied().unwrap_or(ReportedResource::EMPTY);
            self.items = PoolSlice::try_new(Tag::TABLE, more, copy)?;
        }
        if let Some(place) = self.items.get_mut(self.used) {
            *place = one;
            self.used = self.used.saturating_add(1);
        }
        Ok(())
    }

    /// The ids of one type, from a position on; the position behind the one that was found.
    fn next(&self, resource: Resource, from: usize) -> Option<(u64, usize)> {
        let found = |(_, one): &(usize, &ReportedResource)| one.resource == resource;
        let (at, one) = self.all().iter().enumerate().skip(from).find(found)?;
        Some((one.id, at.saturating_add(1)))
    }
}

/// Requests to one member.
struct Asking<'m> {
    module: &'m Module,
    member: MemberIndex,
    passive: &'m Passive,
}

impl Asking<'_> {
    /// Reads all lists. On an error the inventory holds what could be read; one list that fails keeps no other from being
    /// read, because their numbers are in use too.
    fn read_lists(&self, into: &mut Inventory) -> Result<(), NdisStatus> {
        let mut buffer = PoolSlice::try_new(Tag::REQUEST, FIRST_ROOM, |_| 0)?;
        let mut result = Ok(());
        for list in [List::Queues, List::Vfs, List::Vports, List::FiltersOfQueue(0)] {
            result = first_of(result, self.read_list(list, &mut buffer, into));
        }
        let of_queues = self.read_filters(Resource::Queue, List::FiltersOfQueue, &mut buffer, into);
        let of_vports = self.read_filters(Resource::Vport, List::FiltersOfVport, &mut buffer, into);
        first_of(first_of(result, of_queues), of_vports)
    }

    fn read_filters(
        &self,
        of: Resource,
        list: fn(u32) -> List,
        buffer: &mut PoolSlice<u8>,
        into: &mut Inventory,
    ) -> Result<(), NdisStatus> {
        let (mut from, mut result) = (0, Ok(()));
        while let Some((id, next)) = into.next(of, from) {
            if let Ok(id) = u32::try_from(id) {
                result = first_of(result, self.read_list(list(id), buffer, into));
            }
            from = next;
        }
        result
    }

    /// Reads one list. A member that does not support it has nothing in it.
    fn read_list(
        &self,
        list: List,
        buffer: &mut PoolSlice<u8>,
        into: &mut Inventory,
    ) -> Result<(), NdisStatus> {
        let write = |out: &mut [u8]| list.write_request(out);
        let length = match self.ask(list.oid(), list.request_type(), &write, buffer) {
            Err(NdisStatus::NOT_SUPPORTED) => return Ok(()),
            answered => answered?,
        };
        let first = into.used;
        let answer = buffer.get(..length).unwrap_or(&[]);
        for listed in list.read(answer).ok_or(NdisStatus::FAILURE)? {
            let partition = listed.mac.and_then(|mac| self.partition_of(mac));
            into.push(ReportedResource::new(&listed, partition))?;
        }
        for at in first..into.used {
            let Some(id) = into.all().get(at).and_then(|one| u32::try_from(one.id).ok()) else { continue };
            let Some(parameters) = Parameters::of(id, list) else { break };
            if let Some(source) = self.owner(parameters, buffer)?
                && let Some(place) = into.all_mut().get_mut(at)
            {
                place.source = source;
            }
        }
        Ok(())
    }

    /// The partition of a queue or a filter in a list: that on the queue's port, or that with the address that the filter
    /// tests; none if it is gone by now.
    fn owner(&self, parameters: Parameters, buffer: &mut PoolSlice<u8>) -> Result<Option<NicId>, NdisStatus> {
        let write = |out: &mut [u8]| parameters.write_request(out);
        let length = match self.ask(parameters.oid(), RequestType::Method, &write, buffer) {
            Err(NdisStatus::INVALID_PARAMETER | NdisStatus::NOT_SUPPORTED) => return Ok(None),
            answered => answered?,
        };
        Ok(match parameters.owner(buffer.get(..length).unwrap_or(&[])) {
            Some(Owner::Port(port)) => Some(NicId::new(port, NicIndex::DEFAULT)),
            Some(Owner::Address(mac)) => self.partition_of(mac),
            None => None,
        })
    }

    fn partition_of(&self, mac: MacAddr) -> Option<NicId> {
        self.module.forwarding.read().ports.lookup(mac).map(|port| port.id)
    }

    /// Sends one request, again with a larger buffer while the present one is too short. Returns the bytes of the answer.
    fn ask(
        &self,
        oid: u32,
        kind: RequestType,
        write: &dyn Fn(&mut [u8]) -> bool,
        buffer: &mut PoolSlice<u8>,
    ) -> Result<usize, NdisStatus> {
        loop {
            buffer.fill(0);
            write(buffer);
            let input = buffer.len();
            let request = MemberRequest { kind, oid, buffer, input };
            let MemberAnswer { status, bytes, needed } = self.send(request)?;
            survey::answered(self.module, oid, Some(self.member), status, (bytes, needed));
            if !status.is_too_short() || buffer.len() >= LARGEST {
                return status.ok().map(|()| bytes);
            }
            let room = usize::max(needed, buffer.len().saturating_mul(2)).min(LARGEST);
            *buffer = PoolSlice::try_new(Tag::REQUEST, room, |_| 0)?;
        }
    }

    /// Sends one request while the member is connected and the module is not being detached.
    fn send(&self, request: MemberRequest<'_>) -> Result<MemberAnswer, NdisStatus> {
        let Some(_work) = self.module.work.enter() else { return Err(NdisStatus::FAILURE) };
        let (_, nic) =
            nic_status::reference(self.module, self.member).ok_or(NdisStatus::ADAPTER_NOT_FOUND)?;
        Ok(member_request::send(self.module.filter, &nic, request, self.passive))
    }
}
