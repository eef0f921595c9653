//! Offload requests on their way to the adapter that they concern: what `teaming::offload` plans, done. Between a plan
//! and the end of its request nothing else changes the ledger but the loss of a member, because NDIS sends one request
//! from above at a time.

use crate::clock;
use crate::control::nic_status;
use crate::kernel::pool::{Pool, PoolBox};
use crate::module::{Module, TeamLock, new_ledger};
use crate::ndis::envelope::{Envelope, RedirectedRequest};
use crate::ndis::fan_out::FanOut;
use crate::ndis::nbl::Nbl;
use crate::ndis::oid::Request;
use crate::ndis::status::{NdisStatus, OutOfMemory};
use crate::trace::Event;
use teaming::ids::{MemberIndex, MemberSet, NicId, NicIndex};
use teaming::offload::{Facts, NO_PARTITION, OffloadResources};
use teaming::oid::payload::{self, Command, QueueArray};
use teaming::oid::{self, OidContext, OidPlan, Refusal, Resource, Row, Treatment};

/// How a request from above goes on.
pub enum OidDisposition {
    /// As it is.
    Down(Option<PoolBox<RedirectedRequest>>),
    /// In parts that take its place.
    Parts(PoolBox<FanOut>),
    Refused(NdisStatus),
}

/// An offload request that is understood: its view, its row, what it asks.
struct Task {
    envelope: Envelope,
    row: &'static Row,
    command: Command,
}

impl Task {
    /// `None` for what is none of our business: a request that names a physical adapter already, or nobody.
    fn of(module: &Module, request: Request) -> Option<Self> {
        let envelope = Envelope::of(request)?;
        let row = oid::find(OidContext::Envelope, envelope.oid(), envelope.kind()?)?;
        let command = payload::command(row.oid, envelope.payload())?;
        let external = module.forwarding.read().external?;
        (envelope.destination() == NicId::new(external, NicIndex::DEFAULT)).then_some(())?;
        Some(Self { envelope, row, command })
    }

    const fn resource(&self) -> Option<Resource> {
        match self.row.treatment {
            Treatment::Place(resource) | Treatment::Follow(resource) | Treatment::Release(resource) => {
                Some(resource)
            }
            _ => None,
        }
    }

    /// Entries that the ledger may have to keep when the request succeeds on `members` adapters.
    fn entries(&self, members: usize) -> usize {
        match self.row.treatment {
            Treatment::Place(Resource::Sa) => self.envelope.associations().count(),
            Treatment::Place(_) => members,
            _ => 0,
        }
    }

    /// What can be done for a request that cannot go where it should.
    fn give_up(&self, module: &Module, status: NdisStatus) -> OidDisposition {
        if self.row.refusable {
            return OidDisposition::Refused(status);
        }
        // The switch must be able to clean up, so what may not be refused goes down as it came.
        tell(module, Event::RequestNotDirected { oid: self.row.oid });
        OidDisposition::Down(None)
    }
}

/// Plans a request and prepares what it needs. IRQL <= DISPATCH_LEVEL, no lock held.
pub fn plan_request(module: &Module, request: Request) -> OidDisposition {
    let Some(task) = Task::of(module, request) else { return OidDisposition::Down(None) };
    let Some(resource) = task.resource() else { return OidDisposition::Down(None) };
    let plan = {
        let mut control = module.control.lock();
        let plan = plan(module, &mut control, &task, resource);
        check_processors(&mut control, &task, plan);
        plan
    };
    match plan {
        OidPlan::Pass | OidPlan::Answer => OidDisposition::Down(None),
        OidPlan::Refuse(_) if !task.row.refusable => OidDisposition::Down(None),
        OidPlan::Refuse(Refusal::NoMember) => OidDisposition::Refused(NdisStatus::NOT_SUPPORTED),
        OidPlan::Refuse(Refusal::NoMemory) => OidDisposition::Refused(NdisStatus::RESOURCES),
        OidPlan::Redirect(member) => redirect(module, &task, resource, member),
        OidPlan::Originate(members) => originate(module, &task, resource, members),
    }
}

fn plan(module: &Module, control: &mut TeamLock<'_>, task: &Task, resource: Resource) -> OidPlan {
    let source = task.envelope.source();
    let facts = Facts {
        placement: control.settings.offload_placement,
        able: control.capabilities.able(resource, control.team.live()),
        flows: module.forwarding.read().member_of_station(source),
    };
    let bytes = task.envelope.payload();
    let task = &task;
    with_ledger(module, control, resource, |ledger| match task.command {
        Command::CompleteQueues => match QueueArray::read(bytes) {
            Some(array) => ledger.plan_list(source, resource, array.queues(bytes)),
            None => OidPlan::Pass,
        },
        Command::DeleteSas => ledger.plan_list(source, resource, task.envelope.associations()),
        ref command => ledger.plan(source, command, &facts),
    })
}

/// Security associations pin packets, so their ledger lies where packets are decided; all others are the control side's.
fn with_ledger<R>(
    module: &Module,
    control: &mut TeamLock<'_>,
    resource: Resource,
    f: impl FnOnce(&mut OffloadResources<Pool>) -> R,
) -> R {
    match resource {
        Resource::Sa => f(&mut module.associations.write(control.dispatch())),
        Resource::Queue | Resource::Filter | Resource::Vf | Resource::Vport => f(&mut control.ledger),
    }
}

/// The member that a packet is bound to by the association that encrypts it; also when that member is gone, for elsewhere
/// the packet would leave in the clear. It is known by its index, under which another adapter may have come by then. A
/// packet without a handle takes no lock. IRQL <= DISPATCH_LEVEL.
#[inline]
pub fn pinned(module: &Module, list: &Nbl) -> Option<MemberIndex> {
    match list.ipsec_handle() {
        0 => None,
        handle => pin(module, list.source(), handle),
    }
}

#[inline(never)]
fn pin(module: &Module, source: NicId, handle: u64) -> Option<MemberIndex> {
    module.associations.read().holders(source, Resource::Sa, handle).next()?.member()
}

/// Tells once when a queue makes the members' processors overlap, or differ, where they may not.
fn check_processors(control: &mut TeamLock<'_>, task: &Task, plan: OidPlan) {
    let Command::AllocateQueue { group, processors } = task.command else { return };
    let members = match plan {
        OidPlan::Redirect(member) => MemberSet::EMPTY.with(member),
        OidPlan::Originate(members) => members,
        OidPlan::Pass | OidPlan::Answer | OidPlan::Refuse(_) => return,
    };
    let placement = control.settings.offload_placement;
    for member in members.iter() {
        if let Err(conflict) = control.processors.add(member, group, processors, placement) {
            control.events.push(clock::now(), Event::ProcessorsConflict { member, conflict });
        }
    }
}

fn redirect(module: &Module, task: &Task, resource: Resource, member: MemberIndex) -> OidDisposition {
    let promised = task.entries(1);
    let (Ok(mut redirected), Ok(())) =
        (RedirectedRequest::try_new(&task.envelope, member, resource), promise(module, resource, promised))
    else {
        return task.give_up(module, NdisStatus::RESOURCES);
    };
    let Some((_, nic)) = nic_status::reference(module, member) else {
        break_promise(module, resource, promised);
        return task.give_up(module, NdisStatus::ADAPTER_NOT_FOUND);
    };
    redirected.keep(nic);
    redirected.promised = (resource, promised);
    OidDisposition::Down(Some(redirected))
}

fn originate(module: &Module, task: &Task, resource: Resource, members: MemberSet) -> OidDisposition {
    let count = members.len() as usize;
    let promised = task.entries(count);
    let fan = FanOut::try_new(task.envelope.request(), count, part_size(task));
    let Ok(mut fan) = fan.and_then(|fan| promise(module, resource, promised).map(|()| fan)) else {
        return task.give_up(module, NdisStatus::RESOURCES);
    };
    fan.promised = Some((resource, promised));
    for (index, member) in members.iter().enumerate() {
        ready_part(module, task, resource, &mut fan, (index, member, members));
    }
    if fan.is_any_ready() {
        return OidDisposition::Parts(fan);
    }
    break_promise(module, resource, promised);
    task.give_up(module, NdisStatus::ADAPTER_NOT_FOUND)
}

/// Bytes that a part's payload needs at most; a list of queues is followed by the place of each in the original.
fn part_size(task: &Task) -> usize {
    let bytes = task.envelope.payload();
    match task.command {
        Command::CompleteQueues => QueueArray::read(bytes)
            .map_or(0, |array| array.part_size().saturating_add(array.len().saturating_mul(4))),
        Command::DeleteSas => task.envelope.associations().count().saturating_mul(Envelope::DELETED_SA),
        _ => bytes.len(),
    }
}

/// Writes the payload of one member's part and takes its references; without them the part is left out.
fn ready_part(
    module: &Module,
    task: &Task,
    resource: Resource,
    fan: &mut FanOut,
    (index, member, all): (usize, MemberIndex, MemberSet),
) {
    let source = task.envelope.source();
    let written = {
        let mut control = module.control.lock();
        let payload = fan.payload_mut(index);
        with_ledger(module, &mut control, resource, |ledger| {
            write_part(task, ledger, payload, member, all)
                .map(|length| (length, partition(task, ledger, member)))
        })
    };
    let Some((length, partition)) = written else { return };
    let partition = if source == NO_PARTITION { partition } else { source };
    let Some(source_nic) = nic_status::reference_station(module, partition) else { return };
    let Some((port, nic)) = nic_status::reference(module, member) else { return };
    fan.ready(index, &task.envelope, member, length, (partition, source_nic), (port, nic));
}

/// One partition of a list: requests of ours always name one, also where the original is nobody's in particular.
fn partition(task: &Task, ledger: &OffloadResources<Pool>, member: MemberIndex) -> NicId {
    let source = task.envelope.source();
    let of = |resource, id| {
        ledger
            .holders(source, resource, id)
            .find(|entry| entry.member() == Some(member))
            .map(|entry| entry.source)
    };
    let bytes = task.envelope.payload();
    let found = match task.command {
        Command::CompleteQueues => QueueArray::read(bytes)
            .and_then(|array| array.queues(bytes).find_map(|id| of(Resource::Queue, id))),
        Command::DeleteSas => task.envelope.associations().find_map(|id| of(Resource::Sa, id)),
        _ => None,
    };
    found.unwrap_or(source)
}

/// The payload that one member gets in place of the original's; its length, or `None` if there is nothing for it.
fn write_part(
    task: &Task,
    ledger: &OffloadResources<Pool>,
    out: &mut [u8],
    member: MemberIndex,
    all: MemberSet,
) -> Option<usize> {
    let source = task.envelope.source();
    let bytes = task.envelope.payload();
    let first = all.iter().next() == Some(member);
    let below = |resource, id| ledger.member_resource_id(source, resource, id, member);
    match task.command {
        Command::CompleteQueues => {
            let array = QueueArray::read(bytes)?;
            let (out, places) = out.split_at_mut_checked(array.part_size())?;
            let mut places = places.chunks_exact_mut(4);
            array.part(bytes, out, |index, queue| {
                // Nobody's queues go along with the first, which will say that it does not know them.
                let nobody = || ledger.members_of(source, Resource::Queue, queue).is_empty().then_some(queue);
                let id = below(Resource::Queue, queue).or_else(|| nobody().filter(|_| first))?;
                places.next()?.copy_from_slice(&u32::try_from(index).ok()?.to_le_bytes());
                Some(id)
            })
        }
        Command::DeleteSas => {
            let mine = task.envelope.associations().filter(|&handle| match below(Resource::Sa, handle) {
                Some(_) => true,
                None => first && ledger.members_of(source, Resource::Sa, handle).is_empty(),
            });
            Envelope::write_deleted(out, mine)
        }
        ref command => {
            let out = out.get_mut(..bytes.len())?;
            out.copy_from_slice(bytes);
            payload::translate(command, out, below)?;
            Some(bytes.len())
        }
    }
}

/// A request is back that went down by itself, directed to a member or not: what it made or gave up is noted.
pub fn returned(
    module: &Module,
    request: Request,
    redirected: Option<&RedirectedRequest>,
    status: NdisStatus,
) {
    if let Some(redirected) = redirected {
        redirected.release(&module.switch);
        break_promise(module, redirected.promised.0, redirected.promised.1);
    }
    let Some(task) = Task::of(module, request) else { return };
    let Some(resource) = task.resource() else { return };
    let (source, succeeded) = (task.envelope.source(), status == NdisStatus::SUCCESS);
    let member = redirected.map(|redirected| redirected.member);
    let mut control = module.control.lock();
    with_ledger(module, &mut control, resource, |ledger| match (task.row.treatment, member) {
        (Treatment::Place(Resource::Sa), Some(member)) if succeeded => {
            for handle in task.envelope.associations().filter(|&handle| handle != 0) {
                // There is room: it was promised.
                let _ = ledger.record(source, Resource::Sa, handle, member);
            }
        }
        (Treatment::Place(_), Some(member)) if succeeded => {
            if let Some(id) = payload::made(resource, task.envelope.payload()) {
                let _ = ledger.record(source, resource, id, member);
            }
        }
        (Treatment::Release(_), _) => {
            for id in released(&task) {
                // Where the adapter is gone the resource is, whatever anyone says.
                if succeeded || ledger.holder(source, resource, id).is_none() {
                    ledger.release(source, resource, id);
                }
            }
        }
        _ => {}
    });
}

/// The ids that a request gives up.
fn released(task: &Task) -> impl Iterator<Item = u64> + use<> {
    let one = match task.command {
        Command::FreeQueue { queue } => Some(queue),
        Command::ClearFilter { filter, .. } => Some(filter),
        Command::FreeVf { vf } => Some(vf),
        Command::DeleteVport { vport } => Some(vport),
        _ => None,
    };
    let list = matches!(task.command, Command::DeleteSas).then(|| task.envelope.associations());
    one.into_iter().chain(list.into_iter().flatten())
}

/// All parts are back: their results become the original's, and what they made or gave up is noted. The status to
/// complete it with.
pub fn joined(module: &Module, fan: &FanOut) -> NdisStatus {
    if let Some((resource, count)) = fan.promised {
        break_promise(module, resource, count);
    }
    // The same view as before: nobody writes to the request but its issuer, and that one waits.
    let Some(task) = Task::of(module, fan.original()) else { return NdisStatus::FAILURE };
    let Some(resource) = task.resource() else { return NdisStatus::FAILURE };
    let good = |status| status == NdisStatus::SUCCESS;
    let speaker = fan.results().find(|&(_, status, _)| good(status)).or(fan.results().next());
    let Some((mut speaker, status, _)) = speaker else { return NdisStatus::FAILURE };
    match task.row.treatment {
        Treatment::Place(_) if good(status) => speaker = keep_copies(module, &task, resource, fan, speaker),
        Treatment::Follow(_) if task.command == Command::CompleteQueues && good(status) => {
            merge_queues(task.envelope, fan);
        }
        Treatment::Release(_) => return give_up_copies(module, &task, resource, fan),
        _ => {}
    }
    fan.report(&task.envelope, speaker);
    let failed = fan.results().filter(|&(_, status, _)| !good(status)).count() as u32;
    if failed != 0 && good(status) {
        tell(module, Event::PartlyDone { oid: task.row.oid, failed });
    }
    status
}

/// Forgets what members gave up. If one did not, the switch hears of it and will ask again: then only that one is left. So
/// it is with a member that is connected and could not be asked; one that is gone has taken along what it held.
fn give_up_copies(module: &Module, task: &Task, resource: Resource, fan: &FanOut) -> NdisStatus {
    let source = task.envelope.source();
    let failed = fan.results().find(|&(_, status, _)| status != NdisStatus::SUCCESS);
    let Some((speaker, status, _)) = failed.or(fan.results().next()) else { return NdisStatus::FAILURE };
    let asked: MemberSet = fan.results().map(|(member, _, _)| member).collect();
    let mut control = module.control.lock();
    let connected: MemberSet = control
        .team
        .members()
        .filter(|(_, member)| member.state.is_connected())
        .map(|(index, _)| index)
        .collect();
    let mut left = false;
    with_ledger(module, &mut control, resource, |ledger| {
        for id in released(task) {
            let holders = ledger.members_of(source, resource, id);
            let missed = holders.iter().any(|member| connected.contains(member) && !asked.contains(member));
            left |= missed;
            if status == NdisStatus::SUCCESS && !missed {
                ledger.release(source, resource, id);
                continue;
            }
            fan.results()
                .filter(|&(_, status, _)| status == NdisStatus::SUCCESS)
                .for_each(|(member, _, _)| ledger.release_on(source, resource, id, member));
        }
    });
    drop(control);
    fan.report(&task.envelope, speaker);
    if left && status == NdisStatus::SUCCESS { NdisStatus::ADAPTER_NOT_FOUND } else { status }
}

/// Notes the copies of a resource that requests of ours made, and shows the switch one member's id: that of the member
/// where the partition's traffic arrives if it can, and one that the partition does not know already if there is one.
fn keep_copies(
    module: &Module,
    task: &Task,
    resource: Resource,
    fan: &FanOut,
    first: MemberIndex,
) -> MemberIndex {
    let source = task.envelope.source();
    let mut envelope = task.envelope;
    let made = || {
        fan.results()
            .filter(|&(_, status, _)| status == NdisStatus::SUCCESS)
            .filter_map(|(member, _, bytes)| Some((member, payload::made(resource, bytes)?, bytes)))
    };
    let flows = module.forwarding.read().member_of_station(source);
    let mut control = module.control.lock();
    let ledger = &mut control.ledger;
    let free = |id| ledger.members_of(source, resource, id).is_empty();
    let best = made().max_by_key(|&(member, id, _)| (free(id), flows == Some(member), member == first));
    let Some((speaker, id, bytes)) = best else { return first };
    let out = envelope.payload_mut();
    let length = out.len().min(bytes.len());
    if let (Some(to), Some(from)) = (out.get_mut(..length), bytes.get(..length)) {
        to.copy_from_slice(from);
    }
    let serial = ledger.next_serial();
    for (member, below, _) in made() {
        // There is room: it was promised.
        let _ = ledger.record_copy((source, resource, id), member, below, serial);
    }
    // The payload may name another resource, by this member's id: the switch's own goes back.
    if let Command::SetFilter { queue, .. } = task.command {
        let _ = payload::restore_queue(envelope.payload_mut(), queue);
    }
    speaker
}

/// Writes the status of every queue that the parts say: success where any member reached it.
fn merge_queues(mut envelope: Envelope, fan: &FanOut) {
    let Some(array) = QueueArray::read(envelope.payload()) else { return };
    let bytes = envelope.payload_mut();
    for index in 0..array.len() {
        let _ = array.set_status(bytes, index, NdisStatus::ADAPTER_NOT_FOUND.0.cast_unsigned());
    }
    for (_, status, part) in fan.results() {
        let Some(theirs) = QueueArray::read(part) else { continue };
        let places = part.get(array.part_size()..).unwrap_or(&[]).chunks_exact(4);
        for (position, place) in places.take(theirs.len()).enumerate() {
            let Ok(place) = place.try_into().map(u32::from_le_bytes) else { continue };
            let said = match status {
                NdisStatus::SUCCESS => theirs.status(part, position).unwrap_or(0),
                failed => failed.0.cast_unsigned(),
            };
            if array.status(bytes, place as usize) != Some(0) {
                let _ = array.set_status(bytes, place as usize, said);
            }
        }
    }
}

fn promise(module: &Module, resource: Resource, count: usize) -> Result<(), OutOfMemory> {
    if count == 0 {
        return Ok(());
    }
    loop {
        let capacity = {
            let mut control = module.control.lock();
            let promised = with_ledger(module, &mut control, resource, |ledger| {
                ledger.promise(count).map_err(|_| ledger.capacity())
            });
            match promised {
                Ok(()) => return Ok(()),
                Err(capacity) => capacity,
            }
        };
        let room = new_ledger(capacity.saturating_mul(2).max(capacity.saturating_add(count)))?;
        let old = {
            let mut control = module.control.lock();
            with_ledger(module, &mut control, resource, |ledger| ledger.grow(room))
        };
        drop(old);
    }
}

fn break_promise(module: &Module, resource: Resource, count: usize) {
    if count != 0 {
        let mut control = module.control.lock();
        with_ledger(module, &mut control, resource, |ledger| ledger.release_promise(count));
    }
}

fn tell(module: &Module, event: Event) {
    module.control.lock().events.push(clock::now(), event);
}
