//! The life cycle of ports and NICs: the requests, in the order of the switch, and the changes of the switch's state.
//!
//! Without an attached module only the state changes; the module reads it when it is attached.

use crate::adapter::identity::{Identity, Told, instance_id};
use crate::check::rule;
use crate::machine::clock::{self, SECOND};
use crate::machine::world::World;
use crate::switch::control::properties::{self, Change};
use crate::switch::control::{Answer, Ask, below::Effect, below::Plan, payload, request};
use crate::switch::ndis::{Module, State, with};
use crate::switch::ports::{Mac, Nic, NicId, NicKind, NicState, Port, PortState};
use lbfoext::ndis::raw::{SUCCESS, oids};
use parking_lot::Mutex;
use std::sync::Arc;

/// Longest time that the deletion of a NIC or port waits for references, packets and requests.
const PATIENCE: u64 = 10 * SECOND;

fn is_attached(module: usize) -> bool {
    with(|_, s| s.listens(module))
}

/// Issues the request of a change, or applies it at once without a module. Returns whether it is in effect.
pub(super) fn announce(module: usize, oid: u32, bytes: Vec<u8>, plan: Plan, effect: Effect) -> bool {
    if !is_attached(module) {
        with(|world, state| {
            if let Some(effect) = effect {
                effect(world, state);
            }
        });
        return true;
    }
    with(|_, s| s.modules[module].topology.unsettled());
    let truth = Arc::new(Mutex::new(effect));
    let below = Arc::clone(&truth);
    let happens = move |truth: &Mutex<Effect>| {
        let effect = truth.lock().take();
        move |world: &World, state: &mut State| effect.into_iter().for_each(|effect| effect(world, state))
    };
    let made: Effect = Some(Box::new(move |world, state| happens(&below)(world, state)));
    let answer: Answer = request(module, Ask { plan, ..Ask::set(oid, bytes, made) });
    // A change that must not be refused takes effect even if the request did not get below for lack of memory.
    let certain = plan.status == SUCCESS && crate::check::portnic::MUST_PASS.contains(&oid);
    if certain {
        with(|world, state| happens(&truth)(world, state));
    }
    with(|_, s| s.modules[module].topology.settled());
    answer.status == SUCCESS || certain
}

pub(super) fn effect(f: impl FnOnce(&World, &mut State) + Send + 'static) -> Effect {
    Some(Box::new(f))
}

fn port_bytes(id: u32, kind: NicKind, state: PortState) -> Vec<u8> {
    let port = Port { state, ..Port::new(id, kind) };
    payload::bytes_of(&payload::port(&port))
}

/// The parameters of a NIC with its present or its new state.
fn nic_bytes(module: usize, id: NicId, state: NicState, mac: Mac) -> Vec<u8> {
    nic_bytes_of(module, id, state, mac, false)
}

fn nic_bytes_of(module: usize, id: NicId, state: NicState, mac: Mac, begins: bool) -> Vec<u8> {
    with(|world, s| {
        let revision = 1 + u8::try_from(world.random(3)).unwrap_or(0);
        let topology = &s.modules[module].topology;
        let kind = topology.ports.get(&id.port).map_or(NicKind::Synthetic, |p| p.kind);
        let mut nic =
            topology.nic(id).cloned().unwrap_or_else(|| crate::switch::ports::Nic::new(id, kind, mac));
        nic.vm = s.vm_of_port.get(&id.port).copied().unwrap_or(id.port);
        nic.state = state;
        nic.mac = mac;
        nic.begins = begins;
        payload::nic(&nic, revision, &told_of(world, &s.modules[module], module, &nic))
    })
}

/// What the switch tells of a member's adapter: NetCfgInstanceId is valid once the adapter has been initialised
/// (ns-ntddndis-_ndis_switch_nic_parameters), which it is before it is connected and may be before that, or an update
/// brings it (oid-switch-nic-updated).
pub(super) fn told_of(world: &World, on: &Module, module: usize, nic: &Nic) -> Told {
    if !nic.is_member() {
        return Told::default();
    }
    let early = (world.config().seed + u64::from(nic.id.index)).is_multiple_of(2);
    let bound = on.external.adapters.get(&nic.id.index).map(|adapter| adapter.identity.clone());
    let Identity { number, name, initialized } = bound.unwrap_or_else(|| Identity::new(nic.id.index));
    let valid = initialized && (nic.state != NicState::Created || early);
    Told { id: if valid { instance_id(module, number) } else { [0; 16] }, name }
}

/// An update of a connected member that changes nothing but what its adapter is called.
pub fn identify(module: usize, id: NicId) -> bool {
    let bytes = nic_bytes(module, id, NicState::Connected, mac_of(module, id));
    announce(module, oids::SWITCH_NIC_UPDATED, bytes, Plan::default(), effect(|_, _| ()))
}

/// A VM starts or stops using its virtual function instead of a connected NIC.
pub fn assign_function(module: usize, id: NicId, assigned: bool) {
    let ready = with(|_, s| {
        let nic = s.modules[module].topology.nic_mut(id);
        let nic = nic.filter(|n| n.state == NicState::Connected && n.function_assigned != assigned);
        nic.map(|nic| nic.function_assigned = assigned).is_some()
    });
    if ready {
        let bytes = nic_bytes(module, id, NicState::Connected, mac_of(module, id));
        announce(module, oids::SWITCH_NIC_UPDATED, bytes, Plan::default(), effect(|_, _| ()));
    }
}

fn mac_of(module: usize, id: NicId) -> Mac {
    with(|_, s| s.modules[module].topology.nic(id).map_or([0; 6], |n| n.mac))
}

pub fn create_port(module: usize, id: u32, kind: NicKind) -> bool {
    create_port_as(module, id, kind, Plan::default())
}

pub fn create_port_as(module: usize, id: u32, kind: NicKind, plan: Plan) -> bool {
    let bytes = port_bytes(id, kind, PortState::Created);
    let made = effect(move |_, s| s.modules[module].topology.add_port(id, kind));
    let done = announce(module, oids::SWITCH_PORT_CREATE, bytes, plan, made);
    if done {
        let planned = with(|_, s| s.port_plan.get(&id).cloned().unwrap_or_default());
        for (instance, property) in (1..).zip(planned) {
            properties::provision(module, Change::new(id, instance, property), false);
        }
    }
    done
}

/// Creates a port for the validation of policies; it gets no NIC, and is deleted with or without TEARDOWN.
pub fn create_validation_port(module: usize, id: u32) -> bool {
    let port = Port { validation: true, ..Port::new(id, NicKind::Synthetic) };
    let bytes = payload::bytes_of(&payload::port(&port));
    let made = effect(move |_, s| s.modules[module].topology.add_validation_port(id));
    announce(module, oids::SWITCH_PORT_CREATE, bytes, Plan::default(), made)
}

/// Changes the name of a port.
pub fn update_port(module: usize, id: u32) -> bool {
    let kind = with(|_, s| s.modules[module].topology.ports.get(&id).map_or(NicKind::Synthetic, |p| p.kind));
    let bytes = port_bytes(id, kind, PortState::Created);
    announce(module, oids::SWITCH_PORT_UPDATED, bytes, Plan::default(), effect(|_, _| ()))
}

/// Creates a NIC; one of a VM is the VM's first.
pub fn create_nic(module: usize, id: NicId, mac: Mac) -> bool {
    create_nic_as(module, id, mac, Plan::default(), true)
}

/// Creates the NIC of a VM that was saved or comes from another host (NDIS_SWITCH_NIC_FLAGS_NIC_INITIALIZING is not set).
pub fn create_nic_again(module: usize, id: NicId, mac: Mac) -> bool {
    create_nic_as(module, id, mac, Plan::default(), false)
}

pub fn create_nic_as(module: usize, id: NicId, mac: Mac, plan: Plan, begins: bool) -> bool {
    let bytes = nic_bytes_of(module, id, NicState::Created, mac, begins);
    let made = effect(move |_, s| {
        let vm = s.vm_of_port.get(&id.port).copied();
        s.modules[module].topology.add_nic(id, mac);
        if let (Some(vm), Some(nic)) = (vm, s.modules[module].topology.nic_mut(id)) {
            nic.vm = vm;
        }
    });
    let done = announce(module, oids::SWITCH_NIC_CREATE, bytes, plan, made);
    if !done && plan.status != SUCCESS {
        with(|_, s| s.modules[module].topology.failed.insert(id));
    }
    done
}

pub fn connect(module: usize, id: NicId) -> bool {
    connect_as(module, id, Plan::default())
}

pub fn connect_as(module: usize, id: NicId, plan: Plan) -> bool {
    with(|_, s| {
        let unconnected = &mut s.modules[module].topology.unconnected;
        if plan.status == SUCCESS { unconnected.remove(&id) } else { unconnected.insert(id) }
    });
    let bytes = nic_bytes(module, id, NicState::Connected, mac_of(module, id));
    let made = effect(move |_, s| {
        let topology = &mut s.modules[module].topology;
        topology.changed();
        if let Some(nic) = topology.nic_mut(id) {
            nic.state = NicState::Connected;
            nic.disconnect_passed = false;
            nic.known_down = false;
        }
        if id.index != 0 {
            s.flows.a_member_came_up();
            s.modules[module].external.physical.team_changed();
        }
    });
    let attached = is_attached(module);
    let done = announce(module, oids::SWITCH_NIC_CONNECT, bytes, plan, made);
    with(|world, s| {
        let topology = &mut s.modules[module].topology;
        topology.changed();
        if plan.status != SUCCESS && attached {
            world.exercised("OID-19");
        }
        if let Some(nic) = topology.nic_mut(id).filter(|_| attached && done) {
            nic.usable = true;
        }
    });
    done
}

/// Changes the address of a connected NIC.
pub fn update(module: usize, id: NicId, mac: Mac) -> bool {
    let bytes = nic_bytes(module, id, NicState::Connected, mac);
    let made = effect(move |_, s| {
        let topology = &mut s.modules[module].topology;
        topology.changed();
        if let Some(nic) = topology.nic_mut(id) {
            nic.mac = mac;
            nic.readdressed = true;
        }
    });
    let done = announce(module, oids::SWITCH_NIC_UPDATED, bytes, Plan::default(), made);
    with(|_, s| s.modules[module].topology.changed());
    done
}

pub fn disconnect(module: usize, id: NicId) -> bool {
    with(|_, s| s.modules[module].topology.changed());
    let bytes = nic_bytes(module, id, NicState::Disconnected, mac_of(module, id));
    let made = effect(move |_, s| {
        let topology = &mut s.modules[module].topology;
        topology.changed();
        topology.unmatched |= topology.nic(id).is_some_and(|nic| nic.state == NicState::Created);
        if let Some(nic) = topology.nic_mut(id) {
            nic.state = NicState::Disconnected;
            nic.usable = false;
        }
        if id.index != 0 {
            s.modules[module].external.physical.team_changed();
        }
    });
    announce(module, oids::SWITCH_NIC_DISCONNECT, bytes, Plan::default(), made)
}

/// Deletes a disconnected NIC when nothing uses it any more.
pub fn delete_nic(module: usize, id: NicId) -> bool {
    // From then on no packet of the NIC is passed to the extension (oid-switch-nic-delete).
    wait_for(module, "PORTNIC-15", "packets, requests and references of a NIC", move |s| {
        s.modules[module].topology.nic_mut(id).is_none_or(crate::switch::ports::Nic::begin_deletion)
    });
    let bytes = nic_bytes(module, id, NicState::Disconnected, mac_of(module, id));
    let made = effect(move |world, s| {
        // PORTNIC-13 binds the switch itself; a mutation that keeps packets is found by another rule.
        let sent = s.packets.all_mut().find(|p| p.switch == module && p.own.is_none() && p.source == id);
        let kept = world.mutation().is_some();
        assert!(
            kept || sent.is_none(),
            "a packet of {id} is out while it is deleted: {:?}",
            sent.map(|p| p.name)
        );
        s.modules[module].topology.remove_nic(id);
        s.saves.forget(module, id);
        s.control.refused.forget(module, id);
        if s.modules[module].topology.is_external(id.port) && id.index != 0 {
            s.adapter_removed(module, id.index);
        }
    });
    announce(module, oids::SWITCH_NIC_DELETE, bytes, Plan::default(), made)
}

pub fn delete_port(module: usize, id: u32) -> bool {
    let kind = with(|_, s| s.modules[module].topology.ports.get(&id).map_or(NicKind::Synthetic, |p| p.kind));
    let torn = effect(move |_, s| {
        if let Some(port) = s.modules[module].topology.ports.get_mut(&id) {
            port.state = PortState::TearingDown;
        }
    });
    let bytes = port_bytes(id, kind, PortState::TearingDown);
    let ok = announce(module, oids::SWITCH_PORT_TEARDOWN, bytes.clone(), Plan::default(), torn);
    wait_for(module, "PORTNIC-15", "references of a port", move |s| {
        s.modules[module].topology.ports.get(&id).is_none_or(|p| p.references == 0)
    });
    let gone = effect(move |_, s| s.modules[module].topology.remove_port(id));
    announce(module, oids::SWITCH_PORT_DELETE, bytes, Plan::default(), gone) && ok
}

/// Deletes a validation port without TEARDOWN.
pub fn delete_port_at_once(module: usize, id: u32) -> bool {
    let bytes = port_bytes(id, NicKind::Synthetic, PortState::Created);
    let gone = effect(move |_, s| s.modules[module].topology.remove_port(id));
    announce(module, oids::SWITCH_PORT_DELETE, bytes, Plan::default(), gone)
}

/// Waits until `open` is true; if it is not in time, that is a leak.
fn wait_for(module: usize, id: &'static str, what: &'static str, open: impl Fn(&mut State) -> bool) {
    let deadline = clock::now() + PATIENCE;
    let opened = clock::block_until_deadline(what, deadline, || with(|_, s| open(s)).then_some(()));
    with(|world, _| {
        rule(world, id, opened.is_some(), || format!("{what} did not end in switch {module}"));
    });
    crate::inject::let_go();
}
