//! References to NICs and ports, which delay their deletion.

use crate::check::{advice, packets as checks, rule};
use crate::machine::memory::AllocationKind;
use crate::machine::world::World;
use crate::switch::ndis::{State, calls};
use crate::switch::ports::{NicId, NicState, PortState};
use lbfoext::ndis::raw::{Handle, INVALID_PARAMETER, INVALID_STATE, RESOURCES, SUCCESS};

impl State {
    pub(crate) fn reference_nic(&mut self, world: &World, context: Handle, id: NicId, fails: bool) -> i32 {
        let Some(module) = self.owner(world, context, "ReferenceSwitchNic") else { return INVALID_PARAMETER };
        advice(world, "DATA-52", !checks::in_walk(), || "ReferenceSwitchNic on the data path".to_owned());
        let short = self.style.refuse_references;
        if fails || short > 0 && world.chance(short, 100) {
            self.reference_refused(module, id);
            return RESOURCES;
        }
        let m = &mut self.modules[module];
        // The call may race with a DISCONNECT on another thread, but must not begin after it.
        let began = calls().first().map_or(u64::MAX, |call| call.began);
        let connected =
            m.topology.nic(id).is_some_and(|n| n.state == NicState::Connected && !n.disconnect_passed);
        let raced = m.topology.disconnects.get(&id).is_some_and(|order| *order >= began);
        let refused = m.topology.unconnected.contains(&id);
        rule(world, "OID-19", !refused, || format!("ReferenceSwitchNic of {id}, whose connection failed"));
        let early = !refused && m.topology.nic(id).is_some_and(|n| n.state == NicState::Created);
        rule(world, "PORTNIC-10", !early, || {
            format!("ReferenceSwitchNic of {id}, which was never connected")
        });
        // A module that is being detached is given no request any more: it may not have been told of a disconnection.
        let untold = m.leaving && m.topology.nic(id).is_none_or(|nic| !nic.disconnect_passed);
        rule(world, "PORTNIC-11", connected || early || refused || raced || untold, || {
            format!("ReferenceSwitchNic of {id}, which is not connected")
        });
        if !m.topology.reference_nic(id) {
            self.reference_refused(module, id);
            return INVALID_STATE;
        }
        world.track(AllocationKind::NicReference, key(module, id), 0, "reference of a NIC");
        SUCCESS
    }

    pub(crate) fn dereference_nic(&mut self, world: &World, context: Handle, id: NicId) -> i32 {
        let Some(module) = self.owner(world, context, "DereferenceSwitchNic") else {
            return INVALID_PARAMETER;
        };
        let held = self.modules[module].topology.dereference_nic(id);
        rule(world, "PORTNIC-14", held, || format!("DereferenceSwitchNic of {id} without a reference"));
        world.untrack(AllocationKind::NicReference, key(module, id));
        crate::machine::cpu::wake(crate::machine::slots::ANY);
        if held { SUCCESS } else { INVALID_PARAMETER }
    }

    pub(crate) fn reference_port(&mut self, world: &World, context: Handle, port: u32, fails: bool) -> i32 {
        let Some(module) = self.owner(world, context, "ReferenceSwitchPort") else {
            return INVALID_PARAMETER;
        };
        if fails {
            return RESOURCES;
        }
        let order = self.order;
        let topology = &mut self.modules[module].topology;
        let torn = topology.ports.get(&port).is_some_and(|p| p.state == PortState::TearingDown);
        rule(world, "PORTNIC-17", !torn, || {
            format!("ReferenceSwitchPort of port {port}, which is torn down")
        });
        if !topology.reference_port(port) {
            return INVALID_STATE;
        }
        if let Some(port) = topology.ports.get_mut(&port) {
            port.referenced = order;
        }
        world.track(
            AllocationKind::PortReference,
            key(module, NicId::new(port, 0)),
            0,
            "reference of a port",
        );
        SUCCESS
    }

    pub(crate) fn dereference_port(&mut self, world: &World, context: Handle, port: u32) -> i32 {
        let Some(module) = self.owner(world, context, "DereferenceSwitchPort") else {
            return INVALID_PARAMETER;
        };
        let held = self.modules[module].topology.dereference_port(port);
        rule(world, "PORTNIC-14", held, || format!("DereferenceSwitchPort of {port} without a reference"));
        world.untrack(AllocationKind::PortReference, key(module, NicId::new(port, 0)));
        if held { SUCCESS } else { INVALID_PARAMETER }
    }
}

/// Key of a reference in the ledger.
pub fn key(module: usize, id: NicId) -> usize {
    module << 56 | (id.port as usize) << 16 | usize::from(id.index)
}
