//! Requests about properties of ports and of the switch: add, update, delete, also on validation ports; and the
//! answers to the extension's own enumerations.
//!
//! The group PROP of the rule book states what the extension must do.

use crate::check::rule;
use crate::machine::world::World;
use crate::mutation::Mutation;
use crate::switch::control::lifecycle::{announce, effect};
use crate::switch::control::property_bytes::{self as bytes, Envelope};
use crate::switch::control::{Answer, Ask, below::Plan, request};
use crate::switch::ndis::{State, with};
use crate::switch::ports::policy::{Policies, Property, Told, Vlan};
use crate::switch::ports::{PortState, Topology};
use lbfoext::ndis::raw::{
    INVALID_LENGTH, INVALID_PARAMETER, OidRequest, RESOURCES, SUCCESS, oids, request_type,
};
use std::sync::Arc;

/// The VLAN property that a switch reports for a port that is not configured, also for the external port: Microsoft's
/// forwarding sample does not start if any port has no VLAN property.
const UNCONFIGURED: Property = Property::Vlan(Vlan::Access(0));

/// A property to be added to a port or updated.
#[derive(Clone, Debug)]
pub struct Change {
    pub port: u32,
    pub instance: u64,
    pub property: Property,
    pub told: Told,
    pub plan: Plan,
}

impl Change {
    pub fn new(port: u32, instance: u64, property: Property) -> Self {
        Self { port, instance, property, told: Told::ByRequest, plan: Plan::default() }
    }

    /// With a PropertyId that has no meaning, or of a newer minor version.
    pub fn told(mut self, told: Told) -> Self {
        self.told = told;
        self
    }

    fn envelope(&self, world: &World) -> Envelope {
        let id = match (&self.property, self.told) {
            (Property::Custom { id, .. }, _) => *id,
            (_, Told::UnderAnyId) => {
                let mut id = [0; 16];
                id[..8].copy_from_slice(&(1 + world.random(u64::MAX - 1)).to_le_bytes());
                id
            }
            _ => [0; 16],
        };
        Envelope {
            id,
            instance: self.instance,
            version: if self.told == Told::AsNewerVersion { 0x0101 } else { 0x0100 },
            gap: usize::try_from(world.random(5)).unwrap_or(0) * 8,
            newer: self.told == Told::AsNewerVersion,
        }
    }
}

fn policies(state: &mut State, module: usize, port: u32) -> Option<&mut Policies> {
    let topology = &mut state.modules[module].topology;
    topology.changed();
    let policies = &mut topology.ports.get_mut(&port)?.policies;
    policies.changes += 1;
    Some(policies)
}

/// OID_SWITCH_PORT_PROPERTY_ADD or _UPDATE; returns whether the property is in effect.
pub fn provision(module: usize, change: Change, update: bool) -> bool {
    if with(|_, state| state.modules[module].topology.policies(change.port).is_none()) {
        return false;
    }
    let oid = if update { oids::SWITCH_PORT_PROPERTY_UPDATE } else { oids::SWITCH_PORT_PROPERTY_ADD };
    let payload =
        with(|world, _| bytes::port_property(change.port, &change.property, &change.envelope(world)));
    let Change { port, instance, property, told, plan } = change;
    let made = effect(move |_, state| {
        if let Some(policies) = policies(state, module, port) {
            policies.properties.insert(instance, property);
            policies.told = told;
        }
    });
    let held = announce(module, oid, payload, plan, made);
    if !held && plan.status != SUCCESS {
        with(|_, state| {
            if let Some(policies) = policies(state, module, port) {
                policies.told = Told::RolledBack;
            }
        });
    }
    held
}

/// OID_SWITCH_PORT_PROPERTY_DELETE of one instance; returns whether it is deleted.
pub fn withdraw(module: usize, port: u32, instance: u64) -> bool {
    let Some(property) = with(|_, state| policies(state, module, port)?.properties.get(&instance).cloned())
    else {
        return false;
    };
    let kind = property.kind();
    let payload = with(|world, _| {
        bytes::port_property_deletion(port, kind, &Change::new(port, instance, property).envelope(world))
    });
    let gone = effect(move |_, state| {
        if let Some(policies) = policies(state, module, port) {
            policies.properties.remove(&instance);
        }
    });
    announce(module, oids::SWITCH_PORT_PROPERTY_DELETE, payload, Plan::default(), gone)
}

/// A property request with a truncated payload, wrong lengths or another port; the switch below fails it.
pub fn damaged(module: usize, change: &Change, damage: Damage) -> Answer {
    let payload = with(|world, state| {
        if let Some(policies) = policies(state, module, change.port) {
            policies.told = Told::Damaged;
        }
        let mut bytes = bytes::port_property(change.port, &change.property, &change.envelope(world));
        damage.apply(&mut bytes);
        bytes
    });
    let plan = Plan { status: INVALID_PARAMETER, completion: None };
    request(module, Ask { plan, ..Ask::set(oids::SWITCH_PORT_PROPERTY_ADD, payload, None) })
}

/// The damage of a payload.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Damage {
    /// It ends within its parameter structure.
    CutHead,
    /// It ends within the property.
    CutBody,
    /// The offset of the property lies beyond the end.
    FarOffset,
    /// Offset and length overflow.
    Overflow,
    /// The size in the property's header is too small.
    ShortBody,
    /// The header of the parameter structure has another type.
    WrongType,
}

impl Damage {
    pub const ALL: [Self; 6] =
        [Self::CutHead, Self::CutBody, Self::FarOffset, Self::Overflow, Self::ShortBody, Self::WrongType];

    fn apply(self, bytes: &mut Vec<u8>) {
        let at = u32::from_le_bytes([bytes[56], bytes[57], bytes[58], bytes[59]]) as usize;
        match self {
            Self::CutHead => bytes.truncate(40),
            Self::CutBody => bytes.truncate(at + 9),
            Self::FarOffset => bytes[56..60].copy_from_slice(&0x7FFF_FFF8_u32.to_le_bytes()),
            Self::Overflow => bytes[52..60].copy_from_slice(&[0xFF; 8]),
            Self::ShortBody => bytes[at + 2..at + 4].copy_from_slice(&8_u16.to_le_bytes()),
            Self::WrongType => bytes[0] = 0x81,
        }
    }
}

/// A change to the answer about properties of one type, which does not make it longer.
#[derive(Clone)]
pub struct Spoils(pub Arc<Spoil>);

/// Called with the requested type and the answer.
type Spoil = dyn Fn(i32, &mut Vec<u8>) + Send + Sync;

impl std::fmt::Debug for Spoils {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Spoils")
    }
}

/// Issues a request about a custom property of the switch.
pub fn switch_property(module: usize, oid: u32, id: [u8; 16], instance: u64) -> Answer {
    let payload = with(|world, _| {
        let gap = usize::try_from(world.random(5)).unwrap_or(0) * 8;
        let envelope = Envelope { id, instance, version: 0x0100, gap, newer: false };
        match oid {
            oids::SWITCH_PROPERTY_DELETE => bytes::switch_property_deletion(&envelope),
            _ => bytes::switch_property(&[0x5A; 20], &envelope),
        }
    });
    request(module, Ask::set(oid, payload, None))
}

/// Issues a query of the status of a custom feature, of the switch or of a port.
pub fn feature_status(module: usize, port: Option<u32>, id: [u8; 16], room: usize) -> Answer {
    let oid = match port {
        Some(_) => oids::SWITCH_PORT_FEATURE_STATUS_QUERY,
        None => oids::SWITCH_FEATURE_STATUS_QUERY,
    };
    let payload = bytes::feature_status(port, id, room);
    let plan = Plan::default();
    request(module, Ask { plan, kind: request_type::METHOD, ..Ask::set(oid, payload, None) })
}

impl State {
    /// Checks the extension's own enumeration when it arrives.
    pub(super) fn take_property_enum(&self, world: &World, module: usize, r: &OidRequest) {
        // SAFETY: the extension's buffer has `length` bytes.
        let asked =
            unsafe { std::slice::from_raw_parts(r.information_buffer.cast::<u8>(), r.length as usize) };
        let Some((port, _)) = bytes::asked_for(asked) else { return };
        let port = crate::inject::asked_port(self, module, port);
        let referenced = self.modules[module].topology.ports.get(&port).is_some_and(|p| p.references > 0);
        rule(world, "PORTNIC-16", referenced, || {
            format!("properties of port {port} asked without a reference")
        });
    }

    /// Answers the extension's own enumeration of a port's properties.
    pub(super) fn answer_property_enum(&mut self, world: &World, module: usize, r: &mut OidRequest) -> i32 {
        if world.fails("OID_SWITCH_PORT_PROPERTY_ENUM") {
            return RESOURCES;
        }
        // SAFETY: the extension's buffer has `length` bytes.
        let asked =
            unsafe { std::slice::from_raw_parts(r.information_buffer.cast::<u8>(), r.length as usize) };
        let head = bytes::asked_for(asked);
        rule(world, "OID-31", head.is_some(), || {
            "OID_SWITCH_PORT_PROPERTY_ENUM without a valid head".to_owned()
        });
        let Some((port, kind)) = head else { return INVALID_PARAMETER };
        let topology = &mut self.modules[module].topology;
        let given_up = crate::inject::is(Mutation::DereferenceEarly) && topology.dereference_port(port);
        let referenced = topology.ports.get(&port).is_some_and(|p| p.references > 0);
        rule(world, "OID-35", referenced, || {
            format!("port {port} was given up while its properties were asked for")
        });
        if given_up {
            topology.reference_port(port);
        }
        let topology = &*topology;
        if !may_be_asked(topology, port) {
            return INVALID_PARAMETER;
        }
        let gap = usize::try_from(world.random(4)).unwrap_or(0) * 8;
        let silent = world.chance(self.style.silent_about_vlans, 100);
        let unsaid = (!silent).then_some(&UNCONFIGURED);
        let found: Vec<_> =
            topology.policies(port).map_or(Vec::new(), |p| p.reported(kind, unsaid).collect());
        let mut reply = bytes::enumeration(asked, &found, gap);
        let whole = reply.len();
        if let Some(Spoils(spoil)) = &self.style.spoils {
            spoil(kind, &mut reply);
        }
        let needed = u32::try_from(whole).unwrap_or(u32::MAX);
        if !give(r, &reply, needed) {
            return INVALID_LENGTH;
        }
        if let Some(policies) = policies(self, module, port)
            && policies.told == Told::Nothing
            && !policies.properties.is_empty()
        {
            policies.told = Told::ByEnumeration;
        }
        SUCCESS
    }
}

impl State {
    /// Answers the extension's own enumeration of the switch's properties, of which there are none
    /// (oid-switch-property-enum: SUCCESS, NumProperties zero; INVALID_LENGTH and BytesNeeded for a short buffer).
    pub(super) fn answer_switch_property_enum(&self, world: &World, r: &mut OidRequest) -> i32 {
        if world.fails("OID_SWITCH_PROPERTY_ENUM") {
            return RESOURCES;
        }
        // SAFETY: the extension's buffer has `length` bytes.
        let asked =
            unsafe { std::slice::from_raw_parts(r.information_buffer.cast::<u8>(), r.length as usize) };
        let answer = bytes::empty_switch_enumeration(asked);
        rule(world, "OID-31", answer.is_some(), || {
            "OID_SWITCH_PROPERTY_ENUM without a valid head".to_owned()
        });
        match answer {
            None => INVALID_PARAMETER,
            Some(answer) if give(r, &answer, u32::try_from(answer.len()).unwrap_or(u32::MAX)) => SUCCESS,
            Some(_) => INVALID_LENGTH,
        }
    }
}

/// Writes the output of a method over its input, with the byte counts; if the buffer is too short, writes BytesNeeded
/// and returns false.
fn give(r: &mut OidRequest, answer: &[u8], needed: u32) -> bool {
    if r.word52 < needed {
        (r.method_bytes_written, r.method_bytes_needed) = (0, needed);
        return false;
    }
    // SAFETY: the output part of the buffer has `word52` bytes.
    unsafe {
        std::ptr::copy_nonoverlapping(answer.as_ptr(), r.information_buffer.cast::<u8>(), answer.len())
    };
    let written = u32::try_from(answer.len()).unwrap_or(u32::MAX);
    (r.method_bytes_written, r.method_bytes_needed, r.method_bytes_read) = (written, 0, r.length);
    true
}

fn may_be_asked(topology: &Topology, port: u32) -> bool {
    topology.ports.get(&port).is_some_and(|p| p.state == PortState::Created)
}
