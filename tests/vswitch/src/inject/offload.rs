//! Mutations with requests to NICs, offloads and status indications.

use crate::adapter::offloads::{By, Holder, Offloads, Resource};
use crate::adapter::wire::{self, oid, put};
use crate::inject::state::{commit, is, pending};
use crate::machine::world::World;
use crate::mutation::Mutation;
use crate::switch::control::nic_request::Carried;
use crate::switch::control::offload;
use crate::switch::control::status::NdisFIndicateStatus;
use crate::switch::ndis::{State, with};
use crate::switch::ports::{Nic, NicId, NicKind, NicState};
use lbfoext::ndis::raw::{
    FAILURE, Handle, INVALID_PARAMETER, ObjectHeader, OidRequest, SUCCESS, SWITCH_NIC_STATUS,
    SWITCH_PORT_REMOVE_VF, StatusIndication, SwitchNicOidRequest, SwitchNicStatusIndication, object_type,
};

/// FilterOidRequest decides a request to a NIC that it must not decide.
fn decides(carried: &mut Carried) -> Option<i32> {
    let decided = match pending()? {
        Mutation::DecideMulticast => carried.to == NicId::NOWHERE,
        Mutation::RefuseMistyped => {
            carried.row().is_none() && wire::offload_row(carried.oid).is_some() && carried.well_formed
        }
        Mutation::RefuseMalformed => !carried.well_formed && carried.row().is_some(),
        Mutation::RefuseAssociation => carried.oid == oid::UPDATE_SA && carried.well_formed,
        Mutation::RefuseFree => carried.oid == oid::FREE_QUEUE && carried.well_formed,
        Mutation::PretendFunction => carried.oid == oid::ALLOCATE_VF && carried.well_formed,
        Mutation::RefuseUnreferenced => carried.oid == oid::CLEAR_FILTER && carried.well_formed,
        _ => false,
    };
    if !decided || !commit() {
        return None;
    }
    match crate::machine::world::current().mutation() {
        Some(Mutation::PretendFunction) => Some(SUCCESS),
        Some(Mutation::RefuseUnreferenced) => {
            carried.refused += 1;
            Some(FAILURE)
        }
        _ => Some(INVALID_PARAMETER),
    }
}

/// The envelope of a request that was redirected, as the checks see it.
pub(crate) fn redirected(mut e: SwitchNicOidRequest) -> SwitchNicOidRequest {
    if is(Mutation::ForgetSource) {
        e.source_port_id = 0;
    }
    e
}

/// The envelope of an own request that carries an offload, or could.
pub(crate) fn own_envelope(mut e: SwitchNicOidRequest, filtering: bool) -> SwitchNicOidRequest {
    // SAFETY: the inner request lives as long as the outer one.
    let offload = wire::offload_row(unsafe { (*e.oid_request).oid }).is_some();
    match pending() {
        Some(Mutation::OwnForNobody) if offload && commit() => e.source_port_id = 0,
        Some(Mutation::ForgetTarget) if offload => {
            // SAFETY: as above.
            let mut inner = unsafe { *e.oid_request };
            if inner.header.revision >= 2 && commit() {
                inner.vport_id = 0;
                e.oid_request = Box::into_raw(Box::new(inner));
            }
        }
        Some(Mutation::OwnUnasked) if !offload && !filtering && commit() => {
            let mut inner = OidRequest::ZERO;
            inner.header = ObjectHeader::new(object_type::OID_REQUEST, 1, OidRequest::SIZE_REVISION_1);
            inner.oid = oid::FREE_VF;
            e.oid_request = Box::into_raw(Box::new(inner));
        }
        _ => {}
    }
    e
}

/// The member on which something is placed, as the check sees it.
pub(crate) fn placed_on(topology: &crate::switch::ports::Topology, to: NicId) -> NicId {
    let dead = topology.members().find(|nic| nic.known_down && nic.id != to).map(|nic| nic.id);
    dead.filter(|_| is(Mutation::PlaceOnDead)).unwrap_or(to)
}

/// What a filter is moved to, as the check sees it: with the mutation, a virtual port of another partition.
pub(crate) fn moved_to(adapter: &Offloads, holder: Holder, target: Option<Resource>) -> Option<Resource> {
    let mut vports =
        adapter.functions.vports.iter().filter(|(_, vport)| vport.holder.source != holder.source);
    match (target, vports.next()) {
        (Some(_), Some((id, _))) if is(Mutation::MoveToStranger) => Some(Resource::Vport(*id)),
        _ => target,
    }
}

/// The adapter that an inner request really goes to; `None` if it goes nowhere and is said to have succeeded.
pub(crate) fn adapter_asked(
    state: &State,
    module: usize,
    index: u16,
    holder: Holder,
    inner: &OidRequest,
) -> Option<u16> {
    let Some(mutation) = pending() else { return Some(index) };
    let adapters = &state.modules[module].external.adapters;
    let nodes = crate::switch::control::inner_request::nodes_of(inner);
    let nodes: Vec<&[u8]> = nodes.iter().map(|node| &node[..]).collect();
    let named = crate::switch::control::inner_request::named_by(inner, &nodes);
    let Some(first) = named.first().copied() else {
        let again = mutation == Mutation::SameNumberTwice && inner.oid == oid::ALLOCATE_QUEUE;
        let taken = adapters.get(&index).is_some_and(|a| !a.offloads.queues.all.is_empty());
        let other = adapters.keys().copied().find(|other| *other != index);
        return other.filter(|_| again && taken && commit()).or(Some(index));
    };
    let other = |wanted: &dyn Fn(&crate::adapter::offloads::Offloads) -> bool| {
        adapters.values().find(|a| a.index != index && wanted(&a.offloads)).map(|a| a.index)
    };
    let has = |o: &crate::adapter::offloads::Offloads| o.holdings().any(|(_, held)| held == first);
    match mutation {
        Mutation::AskWrongMember if inner.oid == oid::FREE_QUEUE => {
            other(&|o| !has(o)).filter(|_| commit()).or(Some(index))
        }
        Mutation::AskNeighbour if inner.oid == oid::FREE_QUEUE => {
            other(&|o| has(o) && !o.holds(holder.source, first)).filter(|_| commit()).or(Some(index))
        }
        Mutation::ResetElsewhere if inner.oid == oid::RESET_VF => {
            other(&|o| !has(o)).filter(|_| commit()).or(Some(index))
        }
        Mutation::TargetElsewhere if wire::offload_row(inner.oid).is_none() => {
            other(&|o| !has(o)).filter(|_| commit()).or(Some(index))
        }
        Mutation::UpdateOneCopy
            if inner.oid == oid::QUEUE_PARAMETERS && holder.by == By::Extension && commit() =>
        {
            None
        }
        Mutation::WrongHandle if inner.oid == oid::UPDATE_SA => {
            other(&|o| !has(o)).filter(|_| commit()).or(Some(index))
        }
        Mutation::LeaveCopy if inner.oid == oid::FREE_QUEUE && holder.by == By::Extension && commit() => None,
        Mutation::FreeFiltered if inner.oid == oid::CLEAR_FILTER && holder.by == By::Switch && commit() => {
            None
        }
        _ => Some(index),
    }
}

/// Whether a request goes to the whole team though adapters have listed where what it names is.
pub(crate) fn ignores_lists(state: &State, module: usize, holder: Holder, inner: &OidRequest) -> bool {
    let nics = &state.control.nics;
    let listed_alone = |resource: &Resource| !nics.known.contains(&(module, holder.source, *resource));
    let mut carried = nics.carried.values().filter(|c| c.module == module && c.oid == inner.oid);
    pending() == Some(Mutation::IgnoreLists)
        && holder.by == By::Switch
        && carried.any(|carried| carried.told.iter().any(listed_alone))
        && commit()
}

/// One more request of the driver's own, beside one that it may make.
pub(crate) fn extra_request(
    world: &World,
    state: &mut State,
    module: usize,
    index: u16,
    holder: Holder,
    inner: &OidRequest,
) {
    let (number, mut bytes) = match pending() {
        Some(Mutation::FreeDefault) if inner.oid == oid::FREE_QUEUE && holder.by == By::Extension => {
            (oid::FREE_QUEUE, offload::free_queue(0))
        }
        Some(Mutation::FilterOnTheirs) if inner.oid == oid::CLEAR_FILTER && holder.by == By::Switch => {
            let queues = state.modules[module].external.adapters.get(&index).map(|a| &a.offloads.queues);
            let theirs =
                queues.and_then(|q| q.all.iter().find(|(_, q)| q.holder == holder).map(|(id, _)| *id));
            let Some(queue) = theirs else { return };
            (oid::SET_FILTER, offload::filter_parameters(1, queue, 0, [2; 6]))
        }
        Some(Mutation::FreeTheirs) if inner.oid == oid::CLEAR_FILTER && holder.by == By::Switch => {
            let queues = state.modules[module].external.adapters.get(&index).map(|a| &a.offloads.queues);
            let theirs =
                queues.and_then(|q| q.all.iter().find(|(_, q)| q.holder == holder).map(|(id, _)| *id));
            let Some(queue) = theirs else { return };
            let mut bytes = offload::free_queue(queue);
            let request = request(oid::FREE_QUEUE, &mut bytes);
            if commit() {
                let own = Holder { by: By::Extension, ..holder };
                state.before_serving(world, module, index, own, &request);
            }
            return;
        }
        _ => return,
    };
    if !commit() {
        return;
    }
    let mut own = request(number, &mut bytes);
    let own_holder = Holder { by: By::Extension, ..holder };
    if let Some(adapter) = state.modules[module].external.adapters.get_mut(&index) {
        // SAFETY: the buffer has the length that the request states.
        let served = unsafe { adapter.offloads.serve(own_holder, &mut own) };
        if let Some((rule, text)) = served.complaint {
            world.violate(rule, text);
        }
    }
}

fn request(number: u32, bytes: &mut Vec<u8>) -> OidRequest {
    let mut request = OidRequest::ZERO;
    request.oid = number;
    request.request_type = if wire::offload_row(number).is_some_and(|row| row.method) { 12 } else { 1 };
    request.information_buffer = bytes.as_mut_ptr().cast();
    request.length = bytes.len() as u32;
    request
}

/// NdisFOidRequestComplete is about to be called for a request to a NIC.
fn completing_nic(outer: *mut OidRequest, carried: &Carried, status: i32) {
    let inner = carried.inner as *mut OidRequest;
    let buffer = carried.blocks.first().map_or(std::ptr::null_mut(), |(at, _)| *at as *mut u8);
    let length = carried.buffer().len();
    // SAFETY: all of it is the switch's memory, which lives until the request is judged.
    unsafe {
        match pending() {
            Some(Mutation::EditInner) if carried.row().is_none() && commit() => (*inner).timeout += 1,
            Some(Mutation::LoseInnerResults) if carried.after.is_some() && status == SUCCESS && commit() => {
                (*inner).supported_revision = 99;
            }
            Some(Mutation::KeepEnvelope) if commit() => {
                (*outer).information_buffer = std::ptr::without_provenance_mut(0x1000);
            }
            Some(Mutation::LoseQueueStatus)
                if carried.own_sent > 0 && carried.oid == oid::ALLOCATION_COMPLETE && commit() =>
            {
                let bytes = std::slice::from_raw_parts_mut(buffer, length);
                for at in crate::adapter::offloads::elements(bytes) {
                    put(&mut bytes[at..], wire::completed::STATUS, 0x1234);
                }
            }
            Some(Mutation::ChangeIdentifier)
                if carried.own_sent > 0
                    && carried.oid == oid::ALLOCATE_QUEUE
                    && status == SUCCESS
                    && commit() =>
            {
                put(std::slice::from_raw_parts_mut(buffer, length), wire::queue::ID, 0x7777);
            }
            _ => {}
        }
    }
}

/// True if the clone goes down later, on another thread.
pub(crate) fn sent_later(filter: Handle, request: *mut OidRequest) -> bool {
    let later = with(|_, state| {
        let original = state.control.clones.get(&(request as usize)).map(|clone| clone.original);
        original.and_then(|key| state.control.above.get(&key)).is_some_and(|above| {
            above.oid == lbfoext::ndis::raw::oids::SWITCH_NIC_REQUEST
                && above.plan.completion == Some(crate::switch::control::below::Completion::Later)
        })
    });
    if !later || !is(Mutation::SendLater) {
        return false;
    }
    let (filter, request) = (filter as usize, request as usize);
    crate::machine::work::queue("late request", move || {
        crate::switch::control::below::arrived(filter as Handle, request as *mut OidRequest);
    });
    true
}

/// The envelope that a request from above brought, if it is decided here.
pub(crate) fn nic_decision(state: &mut State, key: usize) -> Option<i32> {
    let above = state.control.above.get(&key)?;
    decides(state.control.nics.of(above)?)
}

/// NdisFOidRequestComplete is about to be called.
pub(crate) fn completing_to_nic(state: &mut State, request: *mut OidRequest, status: i32) {
    let Some(above) = state.control.above.get(&(request as usize)) else { return };
    if let Some(carried) = state.control.nics.of(above) {
        completing_nic(request, carried, status);
    }
}

/// An envelope of the extension's own, and what is in it, as the checks see them.
pub(crate) fn status_indicated(e: &mut SwitchNicStatusIndication, inner: &mut StatusIndication) {
    let removal = inner.status_code == SWITCH_PORT_REMOVE_VF;
    match pending() {
        Some(Mutation::ForOneGuest) if !removal && commit() => e.destination_port_id = 10,
        Some(Mutation::RemovalFromTeam) if removal && commit() => e.source_port_id = 1,
        Some(Mutation::RemovalWithBytes) if removal && commit() => inner.status_buffer_size = 4,
        _ => {}
    }
}

/// What the driver indicates for the team in the place of what came from a member: that itself.
pub(crate) fn passes_unread(own: *mut StatusIndication) -> *mut StatusIndication {
    if pending() != Some(Mutation::PassUnread) || crate::switch::ndis::inside("FilterStatus").is_none() {
        return own;
    }
    let theirs = with(|_, state| state.control.status.one_under_way());
    let member = theirs.is_some_and(|theirs| {
        // SAFETY: both indications live, and their envelopes, if they have any.
        unsafe {
            let [own, theirs] = [own, theirs].map(|status| {
                let nic = (*status).status_code == SWITCH_NIC_STATUS && !(*status).status_buffer.is_null();
                nic.then(|| *(*status).status_buffer.cast::<SwitchNicStatusIndication>())
            });
            let code = |e: &SwitchNicStatusIndication| (*e.status_indication).status_code;
            own.zip(theirs)
                .is_some_and(|(own, theirs)| theirs.source_nic_index != 0 && code(&own) == code(&theirs))
        }
    });
    theirs.filter(|_| member && commit()).unwrap_or(own)
}

/// One more indication of the driver's own, while one passes.
pub(crate) fn one_more(filter: Handle) {
    let target = with(|_, state| {
        let topology = &state.modules[state.module_of(filter)?].topology;
        match pending()? {
            Mutation::IndicateUnreferenced => {
                let team = topology.nics().find(|n| n.kind == NicKind::External && n.id.index == 0)?;
                (team.references == 0 && team.state == NicState::Connected).then_some((team.id, false, 0))
            }
            Mutation::IndicateForGone => {
                let gone = topology
                    .nics()
                    .find(|n| n.kind != NicKind::External && n.state == NicState::Disconnected)?;
                Some((gone.id, true, 0))
            }
            Mutation::RemoveUnused => {
                let guest = |n: &&Nic| n.kind != NicKind::External && n.state == NicState::Connected;
                Some((topology.nics().filter(guest).find(|n| !n.function_assigned)?.id, true, 1))
            }
            _ => None,
        }
    });
    let Some((side, removal, references)) = target.filter(|_| commit()) else { return };
    let header = ObjectHeader::new(object_type::STATUS_INDICATION, 1, 112);
    let mut inner = StatusIndication::ZERO;
    inner.header = header;
    inner.status_code = if removal { SWITCH_PORT_REMOVE_VF } else { wire::status::SWITCH_HARDWARE };
    let mut e = SwitchNicStatusIndication::ZERO;
    e.header = ObjectHeader::new(object_type::DEFAULT, 1, 32);
    if removal {
        (e.destination_port_id, e.destination_nic_index) = (side.port, side.index);
    } else {
        (e.source_port_id, e.source_nic_index) = (side.port, side.index);
    }
    e.status_indication = &raw mut inner;
    let mut outer = StatusIndication::ZERO;
    outer.header = header;
    outer.source_handle = filter;
    outer.status_code = SWITCH_NIC_STATUS;
    outer.status_buffer = (&raw mut e).cast();
    outer.status_buffer_size = 32;
    let refer = |by: i32| {
        with(|_, state| {
            let Some(module) = state.module_of(filter) else { return };
            let nic = state.modules[module].topology.nic_mut(side);
            nic.into_iter().for_each(|nic| nic.references = nic.references.wrapping_add_signed(by));
        });
    };
    refer(references);
    // SAFETY: everything lives for the call.
    unsafe { NdisFIndicateStatus(filter, &raw mut outer) };
    refer(-references);
}
