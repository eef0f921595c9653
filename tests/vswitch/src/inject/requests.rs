//! Mutations with the mechanics of requests: completions that are forgotten, put off or mixed up, memory that goes too
//! early, waits where nobody may wait, failures that are taken for answers.

use crate::inject::lists::release_held;
use crate::inject::state::{commit, is, pending, was_committed};
use crate::machine::clock::SECOND;
use crate::machine::cpu;
use crate::machine::event::{NdisInitializeEvent, NdisSetEvent, NdisWaitEvent};
use crate::machine::memory::AllocationKind;
use crate::machine::world::{self, World};
use crate::mutation::Mutation;
use crate::switch::control::below::Completion;
use crate::switch::control::{Above, NdisFOidRequestComplete};
use crate::switch::ndis::{Life, State, with};
use crate::switch::ports::NicId;
use lbfoext::ndis::raw::{
    Handle, ObjectHeader, OidRequest, PENDING, SUCCESS, SwitchNicOidRequest, object_type, oids, request_type,
};
use lbfoext::ndis::sys::NdisEvent;
use parking_lot::Mutex;

/// A completion that is put off: filter, request, status.
#[derive(Default)]
struct PutOff(Mutex<Option<(usize, usize, i32)>>);

/// A call that leaves the driver happens with a lock held.
pub(crate) fn holds_lock(rule: &str) -> bool {
    match rule {
        "OID-22" => is(Mutation::RequestUnderLock),
        "STATUS-16" => is(Mutation::IndicateUnderLock),
        _ => false,
    }
}

/// A request that came down later, or at once, is completed only some time after.
pub(crate) fn puts_off_completion(filter: Handle, request: *mut OidRequest, status: i32) -> bool {
    let Some(mutation) = pending() else { return false };
    let fits = with(|_, state| {
        let Some(above) = state.control.above.get(&(request as usize)) else { return false };
        let plain = !above.real && above.reached_below;
        match mutation {
            Mutation::ForgetAtOnce => plain && above.course.at_once,
            Mutation::HoldCompletion => plain && above.plan.completion == Some(Completion::Later),
            _ => false,
        }
    });
    if !fits || !commit() {
        return false;
    }
    let late = (filter as usize, request as usize, status);
    let world = world::current();
    if mutation == Mutation::ForgetAtOnce {
        *world.part::<PutOff>().0.lock() = Some(late);
    } else {
        world.at(world.now() + 2 * SECOND, "held completion", move || complete(late));
    }
    true
}

fn complete((filter, request, status): (usize, usize, i32)) {
    // SAFETY: the request from above lives until it is completed, which happens here.
    unsafe { NdisFOidRequestComplete(filter as Handle, request as *mut OidRequest, status) };
}

/// What was forgotten is made up for, and what was held while a queue was freed goes its way.
pub(crate) fn completes_after_all() {
    let held = world::current().mutation() == Some(Mutation::HoldQueuePacket);
    if held && with(|world, _| world.violations().iter().any(|v| v.rule == "OFFLOAD-18")) {
        release_held();
    }
    let late = world::current().part::<PutOff>().0.lock().take();
    if let Some(late) = late {
        complete(late);
    }
}

/// A request of the driver's own has come back, and the one from above is taken for it.
pub(crate) fn mixes_up(module: usize) {
    if pending() != Some(Mutation::MixUp) {
        return;
    }
    let other = with(|_, state| {
        let below = |key: &usize| {
            state.control.clones.values().any(|c| c.original == *key && c.out && c.module == module)
        };
        let key = state.control.above.keys().copied().find(|key| below(key))?;
        Some((state.modules[module].filter, key, SUCCESS))
    });
    if let Some(other) = other.filter(|_| commit()) {
        complete(other);
    }
}

/// A clone that is complete and freed is written to.
pub(crate) fn touches_clone(clone: *mut OidRequest) {
    if is(Mutation::TouchClone) {
        // SAFETY: the quarantine still owns the memory.
        unsafe { clone.cast::<u8>().add(8).write(0) };
    }
}

/// The buffer of an own query that was exchanged for one that is freed, and the buffer itself.
#[derive(Default)]
struct Exchanged(Mutex<Option<usize>>);

/// The memory of an own request goes while the request is out.
pub(crate) fn frees_buffer(r: &OidRequest) {
    let Some(inner) = inner_of(r) else { return };
    if !is(Mutation::FreeBuffer) {
        return;
    }
    let world = world::current();
    let block = world.alloc(AllocationKind::Pool, 64, 7, "buffer of an own request");
    // SAFETY: the request is out and so alive.
    let before = unsafe { std::mem::replace(&mut (*inner).information_buffer, block.cast()) };
    *world.part::<Exchanged>().0.lock() = Some(before as usize);
    world.free(AllocationKind::Pool, block, 7);
}

pub(crate) fn restores_buffer(r: &OidRequest) {
    let before = world::current().part::<Exchanged>().0.lock().take();
    if let (Some(inner), Some(before)) = (inner_of(r), before) {
        // SAFETY: as above.
        unsafe { (*inner).information_buffer = before as *mut _ };
    }
}

fn inner_of(r: &OidRequest) -> Option<*mut OidRequest> {
    if r.oid != oids::SWITCH_NIC_REQUEST || r.information_buffer.is_null() {
        return None;
    }
    // SAFETY: the envelope was checked when the request came down, and is alive.
    let inner = unsafe { (*r.information_buffer.cast::<SwitchNicOidRequest>()).oid_request };
    (!inner.is_null()).then_some(inner)
}

/// The driver waits where it must not; for an event that is set already.
pub(crate) fn waits(mutation: Mutation) {
    if cpu::irql() != cpu::PASSIVE || !is(mutation) {
        return;
    }
    let mut event = NdisEvent([0; 3]);
    // SAFETY: the event lives for the calls.
    unsafe {
        NdisInitializeEvent(&raw mut event);
        NdisSetEvent(&raw mut event);
        NdisWaitEvent(&raw mut event, 0);
    }
}

/// Questions of the driver's own whose failure it takes for an answer, beside its question for the array of NICs.
pub(crate) fn own_queries(world: &World, state: &mut State, module: usize, oid: u32) {
    let times = match pending() {
        Some(Mutation::TrustFailedAtOnce) => 1,
        Some(Mutation::GiveUpAsking) => 2,
        _ => return,
    };
    // At its first attach, what comes meanwhile may make the driver ask for everything again.
    let m = &state.modules[module];
    let restarting = m.life == Life::Restarting && m.attached_before;
    if oid != oids::SWITCH_NIC_ARRAY || !restarting || !commit() {
        return;
    }
    // The header of an array, and no room for what would follow.
    let mut buffer = [u64::from_le_bytes([object_type::DEFAULT, 1, 20, 0, 0, 0, 0, 0]), 0, 0];
    let mut query = OidRequest::ZERO;
    query.oid = oids::SWITCH_PORT_ARRAY;
    query.request_type = request_type::QUERY_INFORMATION;
    query.information_buffer = (&raw mut buffer).cast();
    query.length = 20;
    for _ in 0..times {
        let _too_short = state.answer_query(world, module, 0, &mut query, true);
    }
}

/// A question about the configuration is refused, at another attach, and the driver asks no more: whatever it asks later
/// is refused as well.
pub(crate) fn asks_no_more(state: &State, module: usize) -> bool {
    let again = state.modules[module].attached_before;
    let world = world::current();
    let chosen = world.mutation() == Some(Mutation::AskNoMore);
    // Once begun it goes on.
    again && chosen && (commit() || was_committed(&world))
}

/// The status with which FilterOidRequest answers an enumeration that is for those below.
pub(crate) fn answers_enumeration(above: &Above) -> Option<i32> {
    let enumeration = matches!(above.oid, oids::SWITCH_PORT_PROPERTY_ENUM | oids::SWITCH_PROPERTY_ENUM);
    (enumeration && is(Mutation::AnswerEnumeration)).then_some(SUCCESS)
}

/// FilterOidRequest has refused a method request for its length: BytesNeeded is written where a set has it.
pub(crate) fn writes_wrong_arm(request: *mut OidRequest, status: i32) {
    // SAFETY: the request lives until it is finished.
    let r = unsafe { &mut *request };
    let short = status != SUCCESS && status != PENDING && r.method_bytes_needed != 0;
    if short && r.request_type == request_type::METHOD && is(Mutation::WrongArm) {
        r.word56 = r.method_bytes_needed;
    }
}

/// A question of the driver's own for the link of a member, which nobody answers.
pub(super) fn asks_link(world: &World, state: &mut State, filter: Handle, member: NicId) {
    let header = ObjectHeader::new(object_type::OID_REQUEST, 1, OidRequest::SIZE_REVISION_1);
    let mut inner = OidRequest::ZERO;
    (inner.header, inner.oid) = (header, oids::GEN_LINK_STATE);
    let mut envelope = SwitchNicOidRequest::ZERO;
    envelope.header = ObjectHeader::new(object_type::DEFAULT, 1, 32);
    (envelope.destination_port_id, envelope.destination_nic_index) = (member.port, member.index);
    envelope.oid_request = &raw mut inner;
    let mut outer = OidRequest::ZERO;
    (outer.header, outer.oid, outer.request_type) = (header, oids::SWITCH_NIC_REQUEST, request_type::METHOD);
    outer.information_buffer = (&raw mut envelope).cast();
    (outer.length, outer.word52) = (32, 32);
    let key = &raw mut outer;
    let module = state.module_of(filter).unwrap_or(0);
    let _ = state.take_request(world, filter, key);
    if state.control.own.remove(&(key as usize)).is_some() {
        world.untrack(AllocationKind::Other("own OID request"), key as usize);
    }
    if let Some(nic) = state.modules[module].topology.nic_mut(member) {
        nic.requests = nic.requests.saturating_sub(1);
    }
}

/// NdisFSetAttributes is about to be called: it is too early for anything else.
pub(crate) fn asks_while_attaching(filter: Handle) {
    with(|world, state| {
        let Some(module) = state.module_of(filter) else { return };
        let member = state.modules[module].topology.members().next().map(|nic| nic.id);
        match (pending(), member) {
            (Some(Mutation::RequestWhileAttaching), _) if commit() => {
                let kind = request_type::QUERY_INFORMATION;
                crate::inject::control::originate(
                    world,
                    state,
                    filter,
                    crate::inject::control::HEADER,
                    oids::SWITCH_PARAMETERS,
                    kind,
                );
            }
            (Some(Mutation::EnvelopeWhileAttaching), Some(member)) if commit() => {
                let _ = state.modules[module].topology.reference_nic(member);
                asks_link(world, state, filter, member);
                let _ = state.modules[module].topology.dereference_nic(member);
            }
            _ => {}
        }
    });
}

/// The clone of a request about a NIC is about to go down.
pub(super) fn about_nic(world: &World, state: &mut State, filter: Handle, nic: NicId, oid: u32) {
    let module = state.module_of(filter).unwrap_or(0);
    let is_member = state.modules[module].topology.nic(nic).is_some_and(crate::switch::ports::Nic::is_member);
    if oid == oids::SWITCH_NIC_DELETE && is_member && is(Mutation::SendToDisconnected) {
        asks_link(world, state, filter, nic);
    }
}

/// A request from above is about to be completed.
pub(crate) fn believes(state: &mut State, world: &World, request: *mut OidRequest) {
    let Some(above) = state.control.above.get(&(request as usize)) else { return };
    let failed = above.oid == oids::SWITCH_NIC_CONNECT && above.below_status.is_some_and(|s| s != SUCCESS);
    let nic = crate::switch::control::payload::nic_id(&above.payload_before);
    let context = state.modules[above.module].switch as Handle;
    if let Some(nic) = nic.filter(|nic| failed && nic.index != 0)
        && is(Mutation::BelieveFailedConnect)
    {
        let _ = state.reference_nic(world, context, nic, false);
    }
}
