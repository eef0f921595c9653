//! The way down of an offload request: it is passed on as it is, redirected to a member, replaced by requests of our
//! own to several members, or refused (forwarding-oid-requests-to-physical-network-adapters.md).

use super::{Task, answers, break_promise, promise, with_resources};
use crate::control::events::{self, tell};
use crate::control::nic_status::{self, Unreferenced};
use crate::kernel::pool::{Pool, PoolBox};
use crate::module::{Module, TeamLock};
use crate::ndis::envelope::{Envelope, RedirectedRequest};
use crate::ndis::fan_out::FanOut;
use crate::ndis::oid::Request;
use crate::ndis::status::NdisStatus;
use crate::ndis::switch::NicRef;
use crate::trace::Event;
use teaming::ids::{MemberIndex, MemberSet, NicId};
use teaming::offload::{Facts, NO_PARTITION, OffloadResources};
use teaming::oid::payload::{self, Command, QueueArray};
use teaming::oid::{OidPlan, Refusal, Resource, Treatment};

/// What happens to a request from above.
pub enum OidDisposition {
    /// A clone goes down; with a `RedirectedRequest`, to a member.
    Down(Option<PoolBox<RedirectedRequest>>),
    /// Requests of our own, one for each of several members, take its place.
    Parts(PoolBox<FanOut>),
    /// It is completed with this status; with success if nothing is left of what it is about.
    Refused(NdisStatus),
}

/// Decides what happens to a request, and allocates memory and takes references for it. IRQL <= DISPATCH_LEVEL, no lock
/// held.
pub fn plan_request(module: &Module, request: Request) -> OidDisposition {
    let Some(task) = Task::of(module, request) else { return OidDisposition::Down(None) };
    let Some(resource) = task.resource() else { return OidDisposition::Down(None) };
    let plan = {
        let mut control = module.control.lock();
        let plan = plan(module, &mut control, &task, resource);
        check_processors(module, &mut control, &task, plan);
        check_holders(module, &mut control, &task, plan);
        plan
    };
    match plan {
        OidPlan::Pass | OidPlan::Answer => OidDisposition::Down(None),
        OidPlan::Refuse(Refusal::Gone) if !task.row.refusable => answer_gone(module, task, resource),
        OidPlan::Refuse(_) if !task.row.refusable => OidDisposition::Down(None),
        OidPlan::Refuse(Refusal::NoMember) => OidDisposition::Refused(NdisStatus::NOT_SUPPORTED),
        OidPlan::Refuse(Refusal::NoMemory | Refusal::NotNow) => {
            OidDisposition::Refused(NdisStatus::RESOURCES)
        }
        OidPlan::Refuse(Refusal::Gone) => OidDisposition::Refused(NdisStatus::ADAPTER_NOT_FOUND),
        OidPlan::Refuse(Refusal::Apart) => OidDisposition::Refused(NdisStatus::INVALID_PARAMETER),
        OidPlan::Redirect(member) => redirect(module, &task, resource, member),
        OidPlan::Originate(members) => originate(module, &task, resource, members),
    }
}

/// A request that must not fail, about resources that are gone with their adapters: the driver completes it with success,
/// as the adapters would have, and forgets them. There is nothing left to clear or free, and what the request names by an
/// id would be another partition's resource on any adapter that is left
/// (managing-hardware-offload-oid-requests-to-physical-network-adapters.md: such requests are not failed, and those to an
/// adapter name it). The queues of a list are not completed.
#[inline(never)] // rare
fn answer_gone(module: &Module, mut task: Task, resource: Resource) -> OidDisposition {
    answers::forget_gone(module, &task, resource);
    if task.command == Command::CompleteQueues {
        answers::fail_queues(&mut task.envelope);
    }
    task.envelope.answer();
    OidDisposition::Refused(NdisStatus::SUCCESS)
}

fn plan(module: &Module, control: &mut TeamLock<'_>, task: &Task, resource: Resource) -> OidPlan {
    let source = task.envelope.source();
    let (connected, live) = (control.team.connected(), control.team.carriers());
    let facts = Facts {
        placement: control.settings.offload_placement,
        able: control.capabilities.able(resource, connected),
        unanswered: control.capabilities.unanswered(resource, connected),
        able_vf: control.capabilities.able(Resource::Vf, connected),
        connected,
        live,
        unasked: control.unasked,
        limits: control.capabilities.limits(resource),
        flows: module.forwarding.read().member_of_vnic(source),
    };
    let bytes = task.envelope.payload();
    let only = connected.iter().next().filter(|_| connected.len() == 1);
    with_resources(module, control, resource, |resources| {
        let plan = match task.command {
            Command::CompleteQueues => match QueueArray::read(bytes) {
                Some(array) => resources.plan_list(source, resource, array.queues(bytes)),
                None => OidPlan::Pass,
            },
            Command::DeleteSas => resources.plan_list(source, resource, task.envelope.associations()),
            ref command => resources.plan(source, command, &facts),
        };
        match only {
            Some(only) if plan == OidPlan::Pass => passed_to_one(resources, task, only),
            _ => plan,
        }
    })
}

/// What becomes of a request of which nothing is known and that is passed on, if one adapter is left, which is index 0
/// then. What it names may be another partition's there; the partition's own was lost with an adapter that was unbound
/// before the extension was attached. It goes nowhere then, and of a list only the rest goes on.
fn passed_to_one(resources: &OffloadResources<Pool>, task: &Task, only: MemberIndex) -> OidPlan {
    let source = task.envelope.source();
    let is_list = matches!(task.command, Command::CompleteQueues | Command::DeleteSas);
    match task.named(|resource, id| resources.is_anothers(source, resource, id, only)) {
        (0, _) => OidPlan::Pass,
        (such, all) if is_list && such < all => OidPlan::Originate(MemberSet::EMPTY.with(only)),
        _ => OidPlan::Refuse(Refusal::Gone),
    }
}

impl Task {
    /// How many entries the resource table needs if the request succeeds on `members` adapters.
    fn entries(&self, members: usize) -> usize {
        match self.row.treatment {
            Treatment::Place(Resource::Sa) => self.envelope.associations().count(),
            Treatment::Place(_) => members,
            _ => 0,
        }
    }

    /// The disposition of a request for whose member there is no memory or no reference: refused with `status` if the
    /// protocol allows that, otherwise passed on unchanged, with an event. One is refused all the same: if only one
    /// adapter is left, which is index 0 then, and it knows a copy that the request names by another id. The switch has
    /// to repeat it, because by the switch's id it would free another partition's resource there.
    fn give_up(&self, module: &Module, resource: Resource, status: NdisStatus) -> OidDisposition {
        if self.row.refusable || self.would_be_misread(module, resource) {
            return OidDisposition::Refused(status);
        }
        // The switch must be able to free what it holds: such a request goes down to the external port as it came.
        tell(module, Event::RequestNotDirected { oid: self.envelope.oid() });
        OidDisposition::Down(None)
    }

    /// How many of the resources that it names, those of lists included, are such, and how many there are.
    fn named(&self, which: impl Fn(Resource, u64) -> bool) -> (usize, usize) {
        let (mut such, mut all): (usize, usize) = (0, 0);
        let mut count = |resource, id| {
            such = such.saturating_add(usize::from(which(resource, id)));
            all = all.saturating_add(1);
        };
        match self.command {
            Command::CompleteQueues => {
                let bytes = self.envelope.payload();
                if let Some(array) = QueueArray::read(bytes) {
                    array.queues(bytes).for_each(|id| count(Resource::Queue, id));
                }
            }
            Command::DeleteSas => self.envelope.associations().for_each(|id| count(Resource::Sa, id)),
            ref command => command.named().for_each(|(resource, id)| count(resource, id)),
        }
        (such, all)
    }

    /// Whether the only adapter knows something that the request names by another id than the switch does, or has another
    /// partition's under that id.
    fn would_be_misread(&self, module: &Module, resource: Resource) -> bool {
        let source = self.envelope.source();
        let mut control = module.control.lock();
        let connected = control.team.connected();
        let Some(only) = connected.iter().next().filter(|_| connected.len() == 1) else { return false };
        with_resources(module, &mut control, resource, |resources| {
            let misread = |resource, id| {
                resources.is_renamed(source, resource, id)
                    || resources.is_anothers(source, resource, id, only)
            };
            self.named(misread).0 != 0
        })
    }
}

/// Pushes an event if a request goes on as it came because nothing is known of a resource that it names.
fn check_holders(module: &Module, control: &mut TeamLock<'_>, task: &Task, plan: OidPlan) {
    let names_one = matches!(task.row.treatment, Treatment::Follow(_) | Treatment::Release(_));
    if plan != OidPlan::Pass || !names_one {
        return;
    }
    let source = task.envelope.source();
    for (resource, id) in task.command.named() {
        let reporters = with_resources(module, control, resource, |resources| {
            let known = resources.holders(source, resource, id).next().is_some();
            (!known).then(|| resources.reporters(resource, id).len())
        });
        if let Some(reporters) = reporters {
            events::record(module, control, Event::HolderUnknown { oid: task.row.oid, reporters });
            return;
        }
    }
}

/// Pushes an event if the processors of a new queue, or the new processors of one, conflict with those of other members:
/// they must not overlap when members share the queues out, and must agree when every member holds every queue (KB
/// 2974384). Once for each member.
fn check_processors(module: &Module, control: &mut TeamLock<'_>, task: &Task, plan: OidPlan) {
    let (group, processors) = match task.command {
        Command::AllocateQueue { group, processors } => (group, processors),
        Command::UpdateQueue { processors: Some(processors), .. } => processors,
        _ => return,
    };
    let members = match plan {
        OidPlan::Redirect(member) => MemberSet::EMPTY.with(member),
        OidPlan::Originate(members) => members,
        OidPlan::Pass | OidPlan::Answer | OidPlan::Refuse(_) => return,
    };
    let placement = control.settings.offload_placement;
    for member in members.iter() {
        if let Err(conflict) = control.processors.add(member, group, processors, placement) {
            events::record(module, control, Event::ProcessorsConflict { member, conflict });
        }
    }
}

fn redirect(module: &Module, task: &Task, resource: Resource, member: MemberIndex) -> OidDisposition {
    let promised = task.entries(1);
    let (Ok(mut redirected), Ok(())) =
        (RedirectedRequest::try_new(&task.envelope, member, resource), promise(module, resource, promised))
    else {
        return task.give_up(module, resource, NdisStatus::RESOURCES);
    };
    let Some((_, nic)) = nic_status::reference(module, member) else {
        break_promise(module, resource, promised);
        return task.give_up(module, resource, NdisStatus::ADAPTER_NOT_FOUND);
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
        return task.give_up(module, resource, NdisStatus::RESOURCES);
    };
    fan.promised = Some((resource, promised));
    for (index, member) in members.iter().enumerate() {
        ready_part(module, task, resource, &mut fan, (index, member, members));
    }
    if fan.is_any_ready() {
        return OidDisposition::Parts(fan);
    }
    break_promise(module, resource, promised);
    task.give_up(module, resource, NdisStatus::ADAPTER_NOT_FOUND)
}

/// Upper bound of a part's payload, in bytes. A list of queues is followed by the index of each queue in the original
/// list, 4 bytes each.
fn part_size(task: &Task) -> usize {
    let bytes = task.envelope.payload();
    match task.command {
        Command::CompleteQueues => QueueArray::read(bytes)
            .map_or(0, |array| array.part_size().saturating_add(array.len().saturating_mul(4))),
        Command::DeleteSas => task.envelope.associations().count().saturating_mul(Envelope::DELETED_SA),
        _ => bytes.len(),
    }
}

/// Prepares the request to one member: writes its payload and references the member and the partition's NIC. If a
/// reference is refused, this member is left out.
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
        with_resources(module, &mut control, resource, |resources| {
            write_part(task, resources, payload, member, all)
                .map(|length| (length, partition(task, resources, member)))
        })
    };
    let Some((length, partition)) = written else { return };
    let partition = if source == NO_PARTITION { partition } else { source };
    let Some(behalf) = on_behalf_of(module, task, partition) else { return };
    let Some((port, nic)) = nic_status::reference(module, member) else { return };
    fan.ready(index, &task.envelope, member, length, behalf, (port, nic));
}

/// The source of a request of our own, referenced: the partition. Once its NIC is disconnected that is not referenced any
/// more (oid-switch-nic-disconnect.md); what the driver allocated for it, and its associations in a list that has to be
/// divided, are then given up from 0/0, for the driver's own purposes
/// (forwarding-oid-requests-to-physical-network-adapters.md). Only a request that allocates has to name the partition
/// (managing-hardware-offload-oid-requests-to-physical-network-adapters.md).
fn on_behalf_of<'m>(
    module: &'m Module,
    task: &Task,
    partition: NicId,
) -> Option<(NicId, Option<NicRef<'m>>)> {
    let cleans_up =
        matches!(task.command, Command::ClearFilter { .. } | Command::FreeQueue { .. } | Command::DeleteSas);
    let allocates = matches!(task.row.treatment, Treatment::Place(_));
    if partition == NO_PARTITION && !allocates {
        return Some((NO_PARTITION, None));
    }
    match nic_status::reference_vnic(module, partition) {
        Ok(nic) => Some((partition, Some(nic))),
        Err(Unreferenced::Disconnected) if cleans_up => Some((NO_PARTITION, None)),
        Err(Unreferenced::Disconnected | Unreferenced::Refused) => None,
    }
}

/// The partition that a request of our own names as its source: that of the first resource in the request which this
/// member holds. An originated request must name a partition, while the original may come from 0/0.
fn partition(task: &Task, resources: &OffloadResources<Pool>, member: MemberIndex) -> NicId {
    let source = task.envelope.source();
    let of = |resource, id| {
        resources
            .holders(source, resource, id)
            .find(|entry| entry.member() == Some(member))
            .map(|entry| entry.source)
    };
    let bytes = task.envelope.payload();
    let found = match task.command {
        Command::CompleteQueues => QueueArray::read(bytes)
            .and_then(|array| array.queues(bytes).find_map(|id| of(Resource::Queue, id))),
        Command::DeleteSas => task.envelope.associations().find_map(|id| of(Resource::Sa, id)),
        ref command => command.named().find_map(|(resource, id)| of(resource, id)),
    };
    found.unwrap_or(source)
}

/// Writes the payload for one member, with that member's own ids. Returns its length in bytes, or `None` if the list
/// holds nothing for this member.
fn write_part(
    task: &Task,
    resources: &OffloadResources<Pool>,
    out: &mut [u8],
    member: MemberIndex,
    all: MemberSet,
) -> Option<usize> {
    let source = task.envelope.source();
    let bytes = task.envelope.payload();
    let first = all.iter().next() == Some(member);
    let below = |resource, id| resources.member_resource_id(source, resource, id, member);
    // What nobody is known to have goes to the first member, unless it is another partition's there.
    let is_unknown = |resource, id| {
        resources.holders(source, resource, id).next().is_none()
            && !resources.is_anothers(source, resource, id, member)
    };
    match task.command {
        Command::CompleteQueues => {
            let array = QueueArray::read(bytes)?;
            let (out, places) = out.split_at_mut_checked(array.part_size())?;
            let mut places = places.chunks_exact_mut(4);
            array.part(bytes, out, |index, queue| {
                // A queue that is not known goes to the first member, which will fail it.
                let is_unknown = || is_unknown(Resource::Queue, queue);
                let id =
                    below(Resource::Queue, queue).or_else(|| (first && is_unknown()).then_some(queue))?;
                places.next()?.copy_from_slice(&u32::try_from(index).ok()?.to_le_bytes());
                Some(id)
            })
        }
        Command::DeleteSas => {
            let mine = task.envelope.associations().filter(|&handle| match below(Resource::Sa, handle) {
                Some(_) => true,
                None => first && is_unknown(Resource::Sa, handle),
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
