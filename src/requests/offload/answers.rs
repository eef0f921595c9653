//! The way back of an offload request: what adapters allocated and freed is recorded, and the results of the requests
//! of our own are merged into the original.

use super::{Task, break_promise, with_resources};
use crate::control::events::tell;
use crate::control::{resource_lists, survey};
use crate::module::Module;
use crate::ndis::envelope::{Envelope, RedirectedRequest};
use crate::ndis::fan_out::FanOut;
use crate::ndis::oid::Request;
use crate::ndis::status::NdisStatus;
use crate::trace::Event;
use teaming::ids::{MemberIndex, MemberSet};
use teaming::oid::payload::{self, Command, QueueArray};
use teaming::oid::{Resource, Treatment};

/// Records the result of a request that went down as one clone, redirected or not. Releases the reference to the member
/// and the reserved entries. IRQL <= DISPATCH_LEVEL, no lock held.
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
    let mut outdated = MemberSet::EMPTY;
    let mut control = module.control.lock();
    with_resources(module, &mut control, resource, |resources| match (task.row.treatment, member) {
        (Treatment::Place(Resource::Sa), Some(member)) if succeeded => {
            for handle in task.envelope.associations().filter(|&handle| handle != 0) {
                // Cannot fail: `promise` has reserved the entry.
                let _ = resources.record(source, Resource::Sa, handle, member);
            }
        }
        (Treatment::Place(_), Some(member)) if succeeded => {
            if let Some(id) = payload::made(resource, task.envelope.payload()) {
                survey::named(module, task.row.oid, id, Some(member), status);
                let _ = resources.record(source, resource, id, member);
            }
        }
        (Treatment::Follow(_), Some(member)) if succeeded => {
            if let Command::MoveFilter { filter, .. } = task.command {
                resources.filter_moved(source, filter, member);
            }
        }
        (Treatment::Release(_), _) => {
            for id in released(&task) {
                survey::named(module, task.row.oid, id, member, status);
                if succeeded && resources.holders(source, resource, id).next().is_none() {
                    outdated = outdated.union(resources.freed_elsewhere(source, resource, id));
                }
                // If the adapter was unbound, the resource is gone whatever the status says.
                if succeeded || resources.holder(source, resource, id).is_none() {
                    resources.release(source, resource, id);
                }
            }
        }
        _ => {}
    });
    resource_lists::ask_unknown(module, &mut control, outdated);
}

/// The ids that a request frees.
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

/// Removes what a request names from the table: its adapter was unbound, and the request is answered by the driver.
pub(super) fn forget_gone(module: &Module, task: &Task, resource: Resource) {
    let source = task.envelope.source();
    let mut control = module.control.lock();
    with_resources(module, &mut control, resource, |resources| {
        released(task).for_each(|id| resources.release(source, resource, id));
    });
}

/// Merges the results of all parts into the original and records what members allocated and freed. Returns the status
/// to complete the original with. IRQL <= DISPATCH_LEVEL, no lock held.
pub fn joined(module: &Module, fan: &FanOut) -> NdisStatus {
    if let Some((resource, count)) = fan.promised {
        break_promise(module, resource, count);
    }
    // The payload is as it was when the request was planned: only the issuer may change it, after the completion.
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

/// Removes the copies that members freed. If a member failed, or is connected but could not be asked, its copy stays in
/// the table and the request fails, so that the switch asks again; that request then goes to the remaining members
/// only. What a disconnected member held is gone with it.
fn give_up_copies(module: &Module, task: &Task, resource: Resource, fan: &FanOut) -> NdisStatus {
    let source = task.envelope.source();
    let failed = fan.results().find(|&(_, status, _)| status != NdisStatus::SUCCESS);
    let Some((speaker, status, _)) = failed.or(fan.results().next()) else { return NdisStatus::FAILURE };
    let asked: MemberSet = fan.results().map(|(member, _, _)| member).collect();
    let mut control = module.control.lock();
    let connected = control.team.connected();
    let mut left = false;
    with_resources(module, &mut control, resource, |resources| {
        for id in released(task) {
            let holders = resources.members_of(source, resource, id);
            let missed = holders.iter().any(|member| connected.contains(member) && !asked.contains(member));
            left |= missed;
            if status == NdisStatus::SUCCESS && !missed {
                resources.release(source, resource, id);
                continue;
            }
            fan.results()
                .filter(|&(_, status, _)| status == NdisStatus::SUCCESS)
                .for_each(|(member, _, _)| resources.release_on(source, resource, id, member));
        }
    });
    drop(control);
    fan.report(&task.envelope, speaker);
    if left && status == NdisStatus::SUCCESS { NdisStatus::ADAPTER_NOT_FOUND } else { status }
}

/// Records the copies of a resource, and reports one member's id to the switch. Preferred is an id that the partition
/// does not have yet, then the id of the member where its traffic arrives, then that of `first`. Returns the chosen
/// member.
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
    let flows = module.forwarding.read().member_of_vnic(source);
    let mut control = module.control.lock();
    let resources = &mut control.resources;
    let free = |id| resources.members_of(source, resource, id).is_empty();
    let best = made().max_by_key(|&(member, id, _)| (free(id), flows == Some(member), member == first));
    let Some((speaker, id, bytes)) = best else { return first };
    let out = envelope.payload_mut();
    let length = out.len().min(bytes.len());
    if let (Some(to), Some(from)) = (out.get_mut(..length), bytes.get(..length)) {
        to.copy_from_slice(from);
    }
    let serial = resources.next_serial();
    for (member, below, _) in made() {
        // Cannot fail: `promise` has reserved the entry.
        let _ = resources.record_copy((source, resource, id), member, below, serial);
    }
    // The payload also names the filter's queue, by this member's id: restore the id that the switch knows.
    if let Command::SetFilter { queue, .. } = task.command {
        let _ = payload::restore_queue(envelope.payload_mut(), queue);
    }
    speaker
}

/// Writes into a list of queues that none of them is on an adapter.
pub fn fail_queues(envelope: &mut Envelope) {
    let Some(array) = QueueArray::read(envelope.payload()) else { return };
    let bytes = envelope.payload_mut();
    for index in 0..array.len() {
        let _ = array.set_status(bytes, index, NdisStatus::ADAPTER_NOT_FOUND.0.cast_unsigned());
    }
}

/// Writes the status of every queue into the original list: success if any member reports success, else the status of a
/// member that failed, or NDIS_STATUS_ADAPTER_NOT_FOUND if no member was asked.
fn merge_queues(mut envelope: Envelope, fan: &FanOut) {
    let Some(array) = QueueArray::read(envelope.payload()) else { return };
    fail_queues(&mut envelope);
    let bytes = envelope.payload_mut();
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
