//! Calls of the extension that were made to fail, and what each may excuse: the request in which it happened, and what
//! that request was about. Whatever else the extension does is judged as if nothing had failed.

use crate::adapter::offloads::Resource;
use crate::machine::fault::Injected;
use crate::machine::world::World;
use crate::switch::control::{Above, payload, save};
use crate::switch::ndis::{Module, State};
use crate::switch::ports::NicId;
use lbfoext::ndis::raw::oids;
use std::collections::{BTreeMap, BTreeSet};

/// Handlers in which a failure belongs to the request that is being handled.
const OF_REQUESTS: &str = "FilterOidRequest";

/// What requests were about in which a call was refused.
#[derive(Default)]
pub struct Refused {
    /// NICs of switches. What the extension knows of one may lack what the request said, until the NIC is deleted.
    nics: BTreeSet<(usize, NicId)>,
    /// Resources of NICs: what such a request named or brought into being.
    resources: BTreeSet<(usize, NicId, Resource)>,
    /// Ports, by switch and by the number of the failure.
    ports: BTreeMap<(usize, usize), u32>,
}

impl Refused {
    /// The port that the request with this failure was about; `None` if the failure was elsewhere.
    pub fn port_of(&self, module: usize, failure: usize) -> Option<u32> {
        self.ports.get(&(module, failure)).copied()
    }

    /// The NIC is deleted, and with it what the extension knows of it.
    pub fn forget(&mut self, module: usize, nic: NicId) {
        self.nics.remove(&(module, nic));
        self.resources.retain(|(of, holder, _)| (*of, *holder) != (module, nic));
    }

    /// The extension is attached anew.
    pub fn forget_all(&mut self, module: usize) {
        self.nics.retain(|(of, _)| *of != module);
        self.resources.retain(|(of, ..)| *of != module);
    }
}

/// Handlers in which the extension reads the configuration.
const LEARNING: [&str; 4] = ["FilterRestart", "FilterNetPnPEvent", "WorkItemRoutine", "ThreadStart"];

impl Module {
    /// The call failed where the extension reads the configuration, which it can do again.
    pub fn was_learning(&self, fault: &Injected) -> bool {
        fault.handler.is_some_and(|handler| LEARNING.contains(&handler))
    }

    /// Some call that was not about packets has been refused since the attach.
    pub fn was_refused(&self, world: &World) -> bool {
        world.faults_since(self.attach_faults).iter().any(|fault| !fault.in_walk())
    }
}

impl State {
    /// A request from above is complete: what was refused while it was handled.
    pub(crate) fn note_refused(&mut self, world: &World, above: &Above) {
        let module = above.module;
        let failures: Vec<_> = (above.faults..).zip(world.faults_since(above.faults)).collect();
        if failures.is_empty() {
            return;
        }
        let nic = self.subject(above);
        self.control.refused.nics.extend(nic.map(|nic| (module, nic)));
        if let Some(carried) = self.control.nics.of(above) {
            let made = carried.served.iter().flat_map(|(_, _, served)| served.made.iter().copied());
            let about = carried.named().into_iter().chain(made);
            let about: Vec<_> = about.map(|resource| (module, carried.partition, resource)).collect();
            self.control.refused.resources.extend(about);
        }
        let port = if above.oid == oids::SWITCH_NIC_REQUEST { None } else { nic.map(|nic| nic.port) };
        let within = failures.iter().filter(|(_, fault)| fault.handler == Some(OF_REQUESTS));
        let ports = within.filter_map(|(number, _)| Some(((module, *number), port?)));
        self.control.refused.ports.extend(ports);
    }

    /// The NIC that a request is about; of one about a port, the port's with index 0.
    fn subject(&mut self, above: &Above) -> Option<NicId> {
        let bytes = &above.payload_before;
        let port = || Some(NicId::new(u32::from_le_bytes(bytes.get(8..12)?.try_into().ok()?), 0));
        match above.oid {
            oids::SWITCH_NIC_REQUEST => self.control.nics.of(above).map(|carried| carried.from),
            oids::SWITCH_NIC_CREATE
            | oids::SWITCH_NIC_CONNECT
            | oids::SWITCH_NIC_UPDATED
            | oids::SWITCH_NIC_DISCONNECT
            | oids::SWITCH_NIC_DELETE => payload::nic_id(bytes),
            oids::SWITCH_NIC_SAVE
            | oids::SWITCH_NIC_SAVE_COMPLETE
            | oids::SWITCH_NIC_RESTORE
            | oids::SWITCH_NIC_RESTORE_COMPLETE => {
                Some(NicId::new(port()?.port, u16::from_le_bytes(save::field(bytes, 12))))
            }
            oids::SWITCH_PORT_CREATE
            | oids::SWITCH_PORT_UPDATED
            | oids::SWITCH_PORT_TEARDOWN
            | oids::SWITCH_PORT_DELETE
            | oids::SWITCH_PORT_PROPERTY_ADD..=oids::SWITCH_PORT_PROPERTY_DELETE => port(),
            _ => None,
        }
    }

    /// A call was refused in the request that is being handled.
    fn is_starved_now(&self, world: &World, module: usize) -> bool {
        self.control.above.values().any(|above| above.module == module && world.faults() > above.faults)
    }

    /// A call was refused in a request about this NIC, the one that is being handled included.
    pub fn was_starved(&self, world: &World, module: usize, nic: NicId) -> bool {
        self.control.refused.nics.contains(&(module, nic)) || self.is_starved_now(world, module)
    }

    /// A call was refused in the request that is being handled, or in one that named these resources of a NIC or brought
    /// them into being.
    pub fn was_starved_about(&self, world: &World, module: usize, nic: NicId, about: &[Resource]) -> bool {
        let before = |resource: &Resource| self.control.refused.resources.contains(&(module, nic, *resource));
        about.iter().any(before) || self.is_starved_now(world, module)
    }
}
