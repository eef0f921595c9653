//! Mutations on the control path: requests, their clones and envelopes, references, status.

use crate::inject::state::{commit, is, pending};
use crate::machine::memory::AllocationKind;
use crate::machine::world::World;
use crate::mutation::Mutation;
use crate::switch::control::status::NdisFIndicateStatus;
use crate::switch::control::{NdisFCancelOidRequest, NdisFOidRequestComplete};
use crate::switch::ndis::pools::NdisFreeNetBufferList;
use crate::switch::ndis::{Life, State, with};
use crate::switch::ports::NicId;
use lbfoext::ndis::raw::{
    FAILURE, Handle, NetBufferList, ObjectHeader, OidRequest, PENDING, StatusIndication, SwitchNicOidRequest,
    object_type, oids, request_type,
};
use std::ptr;

/// NdisFOidRequest is about to be called.
pub(crate) fn requesting(filter: Handle, request: *mut OidRequest) {
    let Some(mutation) = pending() else { return };
    with(|world, state| {
        let key = request as usize;
        let original = state.control.clones.get(&key).map(|clone| clone.original);
        let module = state.module_of(filter).unwrap_or(0);
        let told = state.modules[module].told_active;
        // SAFETY: the request is the driver's until it is sent.
        let r = unsafe { &mut *request };
        crate::inject::requests::own_queries(world, state, module, r.oid);
        match (mutation, original) {
            (Mutation::SendOriginal, Some(original)) if commit() => {
                let _ = state.take_request(world, filter, original as *mut OidRequest);
            }
            (Mutation::ChangeClone, Some(_)) if commit() => r.timeout += 1,
            (Mutation::WriteCloneReserved, Some(_)) if commit() => r.ndis_reserved[0] = 0,
            (Mutation::RequestWithoutHeader, _) if told && commit() => {
                originate(world, state, filter, ObjectHeader::new(0, 0, 0), oids::SWITCH_NIC_ARRAY, 0);
            }
            (Mutation::OriginateCreate, _) if told && commit() => {
                originate(
                    world,
                    state,
                    filter,
                    HEADER,
                    oids::SWITCH_PORT_CREATE,
                    request_type::SET_INFORMATION,
                );
            }
            (Mutation::QueryAsSet, _) if told && commit() => {
                originate(
                    world,
                    state,
                    filter,
                    HEADER,
                    oids::SWITCH_NIC_ARRAY,
                    request_type::SET_INFORMATION,
                );
            }
            (Mutation::EarlyArray, _) if !told && commit() => {
                originate(
                    world,
                    state,
                    filter,
                    HEADER,
                    oids::SWITCH_NIC_ARRAY,
                    request_type::QUERY_INFORMATION,
                );
            }
            (Mutation::QueryWithoutHeader, _) if told && commit() => {
                let mut buffer = [0_u8; 64];
                let mut query = OidRequest::ZERO;
                query.oid = oids::SWITCH_NIC_ARRAY;
                query.information_buffer = buffer.as_mut_ptr().cast();
                query.length = 64;
                state.answer_query(world, module, 0, &mut query, true);
            }
            _ => {}
        }
    });
}

pub(super) const HEADER: ObjectHeader =
    ObjectHeader::new(object_type::OID_REQUEST, 1, OidRequest::SIZE_REVISION_1);

/// One more request of the driver's own, which nobody answers.
pub(super) fn originate(
    world: &World,
    state: &mut State,
    filter: Handle,
    header: ObjectHeader,
    oid: u32,
    kind: i32,
) {
    let mut request = OidRequest::ZERO;
    request.header = header;
    request.oid = oid;
    request.request_type = kind;
    let key = &raw mut request;
    let _ = state.take_request(world, filter, key);
    if state.control.own.remove(&(key as usize)).is_some() {
        world.untrack(AllocationKind::Other("own OID request"), key as usize);
    }
}

/// The envelope of an own request, as the checks see it.
pub(crate) fn envelope(state: &State, module: usize, mut e: SwitchNicOidRequest) -> SwitchNicOidRequest {
    let Some(mutation) = pending() else { return e };
    let topology = &state.modules[module].topology;
    let index = e.destination_nic_index;
    let other = topology.members().find(|n| n.id.index != index && n.references == 0).map(|n| n.id.index);
    match mutation {
        Mutation::ShortEnvelope if commit() => e.header.size = 31,
        Mutation::EnvelopeFlags if commit() => e.flags = 1,
        Mutation::EnvelopeSource if commit() => e.source_port_id = 10,
        Mutation::RequestToTeam if commit() => e.destination_nic_index = 0,
        Mutation::RequestUnreferenced => {
            if let Some(other) = other.filter(|_| commit()) {
                e.destination_nic_index = other;
            }
        }
        _ => {}
    }
    e
}

/// NdisFOidRequestComplete is about to be called; the status that is said.
pub(crate) fn completing(filter: Handle, request: *mut OidRequest, status: i32) -> i32 {
    let Some(mutation) = pending() else { return status };
    let unknown = with(|_, state| {
        state
            .control
            .above
            .get(&(request as usize))
            .is_some_and(|a| a.effect.is_none() && a.reached_below && a.oid > 0x0100_0000)
    });
    match mutation {
        Mutation::CompletePending if commit() => PENDING,
        Mutation::ChangeStatus if unknown && commit() => FAILURE ^ status,
        Mutation::LoseResults if unknown && commit() => {
            // SAFETY: the request lives until it is completed.
            unsafe { (*request).word52 = 0 };
            status
        }
        Mutation::EditRequest if unknown && commit() => {
            // SAFETY: as above.
            unsafe { (*request).timeout += 1 };
            status
        }
        Mutation::CompleteStranger if commit() => {
            let mut stranger = OidRequest::ZERO;
            // SAFETY: the request lives for the call.
            unsafe { NdisFOidRequestComplete(filter, &raw mut stranger, status) };
            status
        }
        Mutation::CancelStranger if commit() => {
            // SAFETY: the id is only compared.
            unsafe { NdisFCancelOidRequest(filter, ptr::without_provenance_mut(0x77)) };
            status
        }
        _ => status,
    }
}

/// How often NdisFOidRequestComplete counts.
pub(crate) fn completions() -> u32 {
    1 + u32::from(is(Mutation::CompleteRequestTwice))
}

/// NdisFreeCloneOidRequest is not called.
pub(crate) fn keeps_clone() -> bool {
    is(Mutation::KeepClone)
}

/// ReferenceSwitchNic is about to be called.
pub(crate) fn referencing(world: &World, state: &mut State, context: Handle) {
    if is(Mutation::ReferenceStranger) {
        state.reference_nic(world, context, NicId::new(0xFFF0, 0), false);
    }
}

/// How often DereferenceSwitchNic is called.
pub(crate) fn dereferences(state: &State) -> u32 {
    // A reference that stays would keep a member from being deleted, which is another rule's matter.
    let last_life = state.modules.iter().any(|m| m.attached_before && m.life == Life::Running);
    match pending() {
        Some(Mutation::KeepReference) if last_life && commit() => 0,
        Some(Mutation::DereferenceTwice) if commit() => 2,
        _ => 1,
    }
}

/// How often NdisFIndicateStatus passes a status up.
pub(crate) fn indications(filter: Handle, passing: bool) -> u32 {
    match pending() {
        Some(Mutation::LoseStatus | Mutation::LateStatus) if passing && commit() => 0,
        Some(Mutation::LoseDamaged)
            if passing && with(|_, state| state.control.status.damaged) && commit() =>
        {
            0
        }
        Some(Mutation::RepeatStatus) if passing && commit() => 2,
        Some(Mutation::StatusWithoutHeader) if commit() => {
            let mut status = StatusIndication::ZERO;
            // SAFETY: the indication lives for the call.
            unsafe { NdisFIndicateStatus(filter, &raw mut status) };
            1
        }
        _ => 1,
    }
}

/// FilterDetach is about to return with a request out.
pub(crate) fn leaves_request(state: &mut State, module: usize) {
    if is(Mutation::LeaveRequest) {
        state.control.own.insert(
            1,
            crate::switch::control::Own {
                module,
                oid: oids::SWITCH_NIC_REQUEST,
                began: 0,
                id: 0,
                cancelled: false,
                seen: None,
            },
        );
    }
}

/// NdisFSendNetBufferListsComplete is about to be called: a foreign list is freed as if it were an own one.
pub(crate) fn freeing_foreign(list: *mut NetBufferList) {
    let foreign = pending() == Some(Mutation::FreeForeignList)
        && with(|_, state| state.packets.get(list).is_some_and(|p| p.own.is_none()));
    if foreign && commit() {
        // SAFETY: the list is alive; that it is not the driver's to free is the point.
        unsafe { NdisFreeNetBufferList(list) };
    }
}
