//! Mutations with ports, NICs and properties: requests decided that are not the extension's, payloads edited,
//! references taken when they must not be, destinations that are not there.

use crate::inject::state::{commit, is, pending, undo_later};
use crate::machine::memory::AllocationKind;
use crate::machine::world;
use crate::mutation::Mutation;
use crate::switch::control::{Above, features, payload, property_bytes};
use crate::switch::ndis::{Life, State, with};
use crate::switch::ports::policy::kind;
use crate::switch::ports::{NicId, NicState, Topology};
use lbfoext::ndis::raw::{DATA_NOT_ACCEPTED, Handle, NicParameters, OidRequest, RESOURCES, SUCCESS, oids};
use parking_lot::Mutex;
use std::mem::offset_of;

/// Properties of others that are claimed, and questions about the own feature that are answered wrongly.
fn claims(state: &State, key: usize, mutation: Mutation) -> Option<i32> {
    let above = state.control.above.get(&key)?;
    let (_, room) = property_bytes::feature_room(above.oid, above.length);
    let port_adds = above.oid == oids::SWITCH_PORT_PROPERTY_ADD;
    let claimed = match mutation {
        Mutation::ClaimSwitchProperty => above.oid == oids::SWITCH_PROPERTY_DELETE,
        Mutation::ClaimTooShort => port_adds && property_bytes::is_cut_custom(&above.payload_before),
        Mutation::AnswerWithoutRoom => owns(state, above) && room == 0,
        Mutation::EditFeature | Mutation::OverflowFeature => {
            let own = features::find(above.oid, &above.payload_before);
            owns(state, above) && own.is_some_and(|own| room >= own.length())
        }
        _ => false,
    };
    if !claimed || !commit() {
        return None;
    }
    // SAFETY: the request and its payload live until it is finished.
    unsafe {
        match mutation {
            Mutation::EditFeature => {
                *(above.buffer as *mut u8).add(4) ^= 1;
                let own = features::find(above.oid, &above.payload_before).map_or(0, |own| own.length());
                (*(key as *mut OidRequest)).method_bytes_written = (above.length - room + own) as u32;
            }
            Mutation::OverflowFeature => {
                (*(key as *mut OidRequest)).method_bytes_written = 1 + above.length as u32;
            }
            _ => {}
        }
    }
    Some(SUCCESS)
}

/// The status with which FilterOidRequest decides a request about ports or properties by itself.
pub(crate) fn port_refusal(state: &State, key: usize) -> Option<i32> {
    let mutation = pending()?;
    if let Some(status) = claims(state, key, mutation) {
        return Some(status);
    }
    let above = state
        .control
        .above
        .get(&key)
        .filter(|above| above.real || above.oid & 0xFF == 0x67 || is_feature(above))?;
    let m = &state.modules[above.module];
    let ready = m.life == Life::Running && m.enumerations > 0;
    let oid = above.oid;
    let head = property_bytes::port_property_head(&above.payload_before);
    let of = head.map_or(0, |(_, of)| of);
    let tried = head.is_some_and(|(port, _)| m.topology.ports.get(&port).is_some_and(|p| p.validation));
    let adds = oid == oids::SWITCH_PORT_PROPERTY_ADD;
    let creates = matches!(oid, oids::SWITCH_PORT_CREATE | oids::SWITCH_NIC_CREATE);
    let flags = above.payload_before.get(4..8).is_some_and(|f| *f != [0; 4]);
    let (decides, status) = match mutation {
        Mutation::CompleteVlan => (adds && of == kind::VLAN && !tried, SUCCESS),
        Mutation::CompleteSecurity => (adds && of == kind::SECURITY && !tried, SUCCESS),
        Mutation::ClaimCustom => (adds && of == kind::CUSTOM, SUCCESS),
        Mutation::DecideCustom => (adds && of == kind::CUSTOM, DATA_NOT_ACCEPTED),
        Mutation::CompleteDeletion => (oid == oids::SWITCH_PORT_PROPERTY_DELETE, SUCCESS),
        Mutation::AnswerFeature => (asks(state, above) && above.length > 80, SUCCESS),
        Mutation::RefuseUnknown => (adds && of > kind::ROUTING_DOMAIN && !tried, DATA_NOT_ACCEPTED),
        Mutation::ReserveForValidation => (adds && tried && of == kind::VLAN, RESOURCES),
        Mutation::RefuseFlags => {
            (creates && flags && payload::nic_index(&above.payload_before) == 0, DATA_NOT_ACCEPTED)
        }
        _ => return None,
    };
    (ready && decides && commit()).then_some(status)
}

/// A question about a feature of somebody else's.
fn asks(state: &State, above: &Above) -> bool {
    is_feature(above) && !owns(state, above)
}

/// A question about a feature of the extension's own.
fn owns(state: &State, above: &Above) -> bool {
    let own = || features::find(above.oid, &above.payload_before).is_some();
    is_feature(above) && state.installed.is_of_the_package() && own()
}

fn is_feature(above: &Above) -> bool {
    matches!(above.oid, oids::SWITCH_FEATURE_STATUS_QUERY | oids::SWITCH_PORT_FEATURE_STATUS_QUERY)
}

/// NdisFOidRequest is about to be called with the clone of a request about a port or a NIC.
pub(crate) fn requesting_for_port(filter: Handle, request: *mut OidRequest) {
    let Some(mutation) = pending() else { return };
    with(|world, state| {
        let Some(clone) = state.control.clones.get(&(request as usize)) else { return };
        let Some(above) = state.control.above.get(&clone.original).filter(|above| above.real) else { return };
        let (oid, module) = (above.oid, clone.module);
        if state.modules[module].filter != filter as usize {
            return;
        }
        let nic = payload::nic_id(&above.payload_before);
        let port = property_bytes::asked_for(&above.payload_before).map_or(0, |(port, _)| port);
        let context = state.modules[module].switch as Handle;
        // SAFETY: the request is the driver's until it is sent.
        let buffer = unsafe { (*request).information_buffer.cast::<u8>() };
        let poke = |at: usize| {
            // SAFETY: the payload is longer than its structure's head.
            unsafe { *buffer.add(at) ^= 1 };
        };
        let adds = matches!(oid, oids::SWITCH_PORT_PROPERTY_ADD);
        if let Some(id) = nic {
            crate::inject::requests::about_nic(world, state, filter, id, oid);
        }
        match (mutation, nic) {
            (Mutation::EditPort, _) if oid == oids::SWITCH_PORT_UPDATED && commit() => poke(1000),
            (Mutation::EditProperty, _) if adds && commit() => poke(60),
            (Mutation::ChangeMtu, _) if oid == oids::SWITCH_NIC_CREATE && commit() => {
                poke(offset_of!(NicParameters, mtu));
            }
            (Mutation::KeepPortReference, Some(id)) if oid == oids::SWITCH_NIC_DISCONNECT && commit() => {
                state.reference_port(world, context, id.port, false);
                let context = context as usize;
                undo_later(move |state| {
                    state.dereference_port(&world::current(), context as Handle, id.port);
                });
            }
            (Mutation::ReferenceTornPort, _)
                if oid == oids::SWITCH_PORT_DELETE
                    && is_torn(&state.modules[module].topology, port)
                    && commit() =>
            {
                state.reference_port(world, context, port, false);
            }
            (Mutation::ReferenceEarly, Some(id)) if oid == oids::SWITCH_NIC_CONNECT => {
                let topology = &state.modules[module].topology;
                let created = |n: &crate::switch::ports::Nic| n.state == NicState::Created;
                let connects = !topology.unconnected.contains(&id) && topology.nic(id).is_some_and(created);
                if connects && commit() {
                    state.reference_nic(world, context, id, false);
                }
            }
            (Mutation::HoldReference, Some(id))
                if oid == oids::SWITCH_NIC_DISCONNECT && id.index != 0 && commit() =>
            {
                state.reference_nic(world, context, id, false);
                *world.part::<Held>().0.lock() = Some((module, id));
            }
            _ => {}
        }
    });
}

fn is_torn(topology: &Topology, port: u32) -> bool {
    topology.ports.get(&port).is_some_and(|p| p.state == crate::switch::ports::PortState::TearingDown)
}

/// A reference that is kept for too long.
#[derive(Default)]
struct Held(Mutex<Option<(usize, NicId)>>);

/// Somebody waited for it for too long.
pub(crate) fn let_go() {
    let Some((module, id)) = world::current().part::<Held>().0.lock().take() else { return };
    with(|world, state| {
        state.modules[module].topology.dereference_nic(id);
        world.untrack(AllocationKind::NicReference, crate::switch::ndis::references::key(module, id));
    });
}

/// The port whose properties are asked for, as the checks see it.
pub(crate) fn asked_port(state: &State, module: usize, port: u32) -> u32 {
    let topology = &state.modules[module].topology;
    let other = topology.ports.values().find(|p| p.references == 0 && p.id != port).map(|p| p.id);
    match other {
        Some(other) if is(Mutation::EnumerateUnreferenced) => other,
        _ => port,
    }
}

/// A destination that is no destination, for a packet to a vNIC (or to a member).
pub(super) fn no_destination(topology: &Topology, mutation: Mutation, external: bool) -> Option<NicId> {
    let members: Vec<u16> = topology.members().map(|n| n.id.index).collect();
    let port = topology.external_port.unwrap_or(0);
    match mutation {
        Mutation::ToValidationPort if !external => {
            topology.ports.values().find(|p| p.validation).map(|p| NicId::new(p.id, 0))
        }
        Mutation::ToFailedNic if !external => topology.failed.iter().next().copied(),
        Mutation::ToListedNic if !external => {
            topology.nics().find(|n| n.listed && n.state == NicState::Created).map(|n| n.id)
        }
        Mutation::ToCreatedMember if external => {
            topology.nics().find(|n| n.is_member() && n.state == NicState::Created).map(|n| n.id)
        }
        Mutation::IntoTheGap if external => {
            let highest = members.iter().copied().max().unwrap_or(0);
            let exists = |index: u16| topology.nic(NicId::new(port, index)).is_some();
            (1..highest).find(|index| !exists(*index)).map(|index| NicId::new(port, index))
        }
        _ => None,
    }
}
