//! The truth about ports and network adapters of one switch: what exists, in which state, who refers to it.
//!
//! Owns the tables that `ndis` and `control` change and every check compares with. It calls nobody.

pub mod policy;

use lbfoext::ndis::raw::{nic_type, port_type};
use policy::Policies;
use std::collections::{BTreeMap, BTreeSet};

/// A network adapter of the switch: port and index on it. Index 0 is the one directly on the port; the external port
/// has its physical adapters at 1 to 32.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct NicId {
    pub port: u32,
    pub index: u16,
}

impl NicId {
    pub const fn new(port: u32, index: u16) -> Self {
        Self { port, index }
    }
    /// The source of packets that an extension originates for itself: trusted, from nowhere.
    pub const NOWHERE: Self = Self::new(0, 0);
}

impl std::fmt::Display for NicId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.port, self.index)
    }
}

pub type Mac = [u8; 6];

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PortState {
    Created,
    TearingDown,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NicState {
    Created,
    Connected,
    Disconnected,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NicKind {
    External,
    Internal,
    Synthetic,
    Emulated,
}

impl NicKind {
    pub const fn nic_type(self) -> i32 {
        match self {
            Self::External => nic_type::EXTERNAL,
            Self::Internal => nic_type::INTERNAL,
            Self::Synthetic => nic_type::SYNTHETIC,
            Self::Emulated => nic_type::EMULATED,
        }
    }

    pub const fn port_type(self) -> i32 {
        match self {
            Self::External => port_type::EXTERNAL,
            Self::Internal => port_type::INTERNAL,
            Self::Synthetic => port_type::SYNTHETIC,
            Self::Emulated => port_type::EMULATED,
        }
    }
}

#[derive(Clone, Debug)]
pub struct Nic {
    pub id: NicId,
    pub kind: NicKind,
    pub state: NicState,
    pub mac: Mac,
    /// The address it was made with.
    pub permanent: Mac,
    pub mtu: u32,
    /// The VM that it belongs to.
    pub vm: u32,
    /// Groups that its owner joined; `None` while it has said nothing about groups.
    pub groups: Option<BTreeSet<Mac>>,
    /// Its VM uses a virtual function in its place.
    pub function_assigned: bool,
    /// Its address was changed by NIC_UPDATED.
    pub readdressed: bool,
    /// References of the extension.
    pub references: u32,
    /// Packets that have it as source or destination and are not completed.
    pub packets: u32,
    /// Requests on their way to it.
    pub requests: u32,
    /// Its CONNECT completed, or the extension saw it connected in an answer.
    pub usable: bool,
    /// The extension passed its DISCONNECT down: nothing may be committed to it from here on.
    pub disconnect_passed: bool,
    /// Its DELETE is on its way: it sends nothing more.
    pub deleting: bool,
    /// The extension was told that the link is down, and the call that told it is over.
    pub known_down: bool,
    /// Order number of the newest news about its link.
    pub told: u64,
    /// The extension knows of it only from the answer to its query.
    pub from_array: bool,
    /// It was in such an answer before it was connected.
    pub listed: bool,
    /// It was in such an answer where only whoever steps by the answer's element size finds it.
    pub behind_gap: bool,
}

impl Nic {
    pub fn new(id: NicId, kind: NicKind, mac: Mac) -> Self {
        Self {
            id,
            kind,
            state: NicState::Created,
            mac,
            permanent: mac,
            mtu: 1500,
            vm: id.port,
            groups: None,
            function_assigned: false,
            readdressed: false,
            references: 0,
            packets: 0,
            requests: 0,
            usable: false,
            disconnect_passed: false,
            deleting: false,
            known_down: false,
            told: 0,
            from_array: false,
            listed: false,
            behind_gap: false,
        }
    }

    pub fn is_member(&self) -> bool {
        self.kind == NicKind::External && self.id.index != 0
    }

    /// Nothing keeps it from being deleted.
    pub fn is_idle(&self) -> bool {
        self.references == 0 && self.packets == 0 && self.requests == 0
    }

    /// It is deleted from now on, if nothing keeps it.
    pub fn begin_deletion(&mut self) -> bool {
        self.deleting |= self.is_idle();
        self.deleting
    }
}

#[derive(Clone, Debug)]
pub struct Port {
    pub id: u32,
    pub kind: NicKind,
    pub state: PortState,
    /// Made to try policies on, never to be used.
    pub validation: bool,
    /// Another port had its number before.
    pub reused: bool,
    pub policies: Policies,
    pub references: u32,
    /// Order number of the newest reference.
    pub referenced: u64,
    pub requests: u32,
    pub nics: BTreeMap<u16, Nic>,
}

impl Port {
    pub fn new(id: u32, kind: NicKind) -> Self {
        Self {
            id,
            kind,
            state: PortState::Created,
            validation: false,
            reused: false,
            policies: Policies::default(),
            references: 0,
            referenced: 0,
            requests: 0,
            nics: BTreeMap::new(),
        }
    }
}

/// All ports of one switch.
#[derive(Default, Clone, Debug)]
pub struct Topology {
    pub ports: BTreeMap<u32, Port>,
    /// Rises with every change, so that a packet in flight across one is judged leniently.
    pub generation: u64,
    pub external_port: Option<u32>,
    /// Changes of which the extension may know already, or not yet.
    pub changing: u32,
    /// Order number at which the DISCONNECT of a NIC was last passed down.
    pub disconnects: BTreeMap<NicId, u64>,
    /// Ports that are deleted.
    pub gone: BTreeSet<u32>,
    /// NICs whose creation failed below.
    pub failed: BTreeSet<NicId>,
    /// NICs whose connection failed below.
    pub unconnected: BTreeSet<NicId>,
    /// NICs were disconnected that had not been connected.
    pub unmatched: bool,
}

impl Topology {
    pub fn changed(&mut self) {
        self.generation += 1;
    }

    /// A change begins: from here until `settled` nobody can say what the extension knows.
    pub fn unsettled(&mut self) {
        self.changing += 1;
        self.generation += 1;
    }

    pub fn settled(&mut self) {
        self.changing = self.changing.saturating_sub(1);
        self.generation += 1;
    }

    /// Nobody can say at this moment what the extension knows.
    pub fn is_changing(&self) -> bool {
        self.changing > 0
    }

    pub fn add_port(&mut self, id: u32, kind: NicKind) {
        self.changed();
        if kind == NicKind::External {
            self.external_port = Some(id);
        }
        let reused = self.gone.contains(&id);
        self.ports.entry(id).or_insert_with(|| Port { reused, ..Port::new(id, kind) });
    }

    /// A port to try policies on; it never gets a NIC.
    pub fn add_validation_port(&mut self, id: u32) {
        self.changed();
        let port = Port { validation: true, ..Port::new(id, NicKind::Synthetic) };
        self.ports.entry(id).or_insert(port);
    }

    /// The extension is new to it all: what it knows of policies it will have from its enumeration.
    pub fn forget_told(&mut self) {
        self.ports.values_mut().for_each(|port| port.policies.told = policy::Told::Nothing);
    }

    pub fn policies(&self, port: u32) -> Option<&Policies> {
        self.ports.get(&port).map(|port| &port.policies)
    }

    pub fn remove_port(&mut self, id: u32) {
        self.changed();
        self.ports.remove(&id);
        self.gone.insert(id);
        if self.external_port == Some(id) {
            self.external_port = None;
        }
    }

    pub fn add_nic(&mut self, id: NicId, mac: Mac) {
        self.changed();
        if let Some(port) = self.ports.get_mut(&id.port) {
            let kind = port.kind;
            port.nics.entry(id.index).or_insert_with(|| Nic::new(id, kind, mac));
            self.failed.remove(&id);
        }
    }

    pub fn remove_nic(&mut self, id: NicId) {
        self.changed();
        if let Some(port) = self.ports.get_mut(&id.port) {
            port.nics.remove(&id.index);
        }
    }

    pub fn nic(&self, id: NicId) -> Option<&Nic> {
        self.ports.get(&id.port)?.nics.get(&id.index)
    }

    pub fn nic_mut(&mut self, id: NicId) -> Option<&mut Nic> {
        self.ports.get_mut(&id.port)?.nics.get_mut(&id.index)
    }

    pub fn nics(&self) -> impl Iterator<Item = &Nic> {
        self.ports.values().flat_map(|port| port.nics.values())
    }

    pub fn nics_mut(&mut self) -> impl Iterator<Item = &mut Nic> {
        self.ports.values_mut().flat_map(|port| port.nics.values_mut())
    }

    pub fn is_connected(&self, id: NicId) -> bool {
        self.nic(id).is_some_and(|nic| nic.state == NicState::Connected)
    }

    /// Physical adapters that are connected.
    pub fn members(&self) -> impl Iterator<Item = &Nic> {
        self.nics().filter(|nic| nic.is_member() && nic.state == NicState::Connected)
    }

    pub fn is_external(&self, port: u32) -> bool {
        self.external_port == Some(port)
    }

    /// The connected virtual adapter that has this address.
    pub fn vnic(&self, mac: Mac) -> Option<&Nic> {
        self.nics().find(|nic| {
            nic.kind != NicKind::External && nic.state == NicState::Connected && nic.usable && nic.mac == mac
        })
    }

    /// ReferenceSwitchNic: only while connected.
    pub fn reference_nic(&mut self, id: NicId) -> bool {
        match self.nic_mut(id) {
            Some(nic) if nic.state == NicState::Connected => {
                nic.references += 1;
                true
            }
            _ => false,
        }
    }

    /// DereferenceSwitchNic: whenever a reference is held. False if none is.
    pub fn dereference_nic(&mut self, id: NicId) -> bool {
        match self.nic_mut(id) {
            Some(nic) if nic.references > 0 => {
                nic.references -= 1;
                true
            }
            _ => false,
        }
    }

    pub fn reference_port(&mut self, id: u32) -> bool {
        match self.ports.get_mut(&id) {
            Some(port) if port.state == PortState::Created => {
                port.references += 1;
                true
            }
            _ => false,
        }
    }

    pub fn dereference_port(&mut self, id: u32) -> bool {
        match self.ports.get_mut(&id) {
            Some(port) if port.references > 0 => {
                port.references -= 1;
                true
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_member() -> (Topology, NicId) {
        let mut topology = Topology::default();
        topology.add_port(1, NicKind::External);
        let member = NicId::new(1, 1);
        topology.add_nic(member, [2, 0, 0, 0, 0, 1]);
        (topology, member)
    }

    #[test]
    fn a_nic_is_referenced_only_while_connected_and_released_whenever_held() {
        let (mut topology, member) = with_member();
        assert!(!topology.reference_nic(member));
        topology.nic_mut(member).unwrap().state = NicState::Connected;
        assert!(topology.reference_nic(member));
        topology.nic_mut(member).unwrap().state = NicState::Disconnected;
        assert!(!topology.reference_nic(member));
        assert!(!topology.nic(member).unwrap().is_idle());
        assert!(topology.dereference_nic(member));
        assert!(!topology.dereference_nic(member));
        assert!(topology.nic(member).unwrap().is_idle());
    }

    #[test]
    fn a_port_that_is_torn_down_gives_no_new_reference() {
        let (mut topology, _) = with_member();
        assert!(topology.reference_port(1));
        topology.ports.get_mut(&1).unwrap().state = PortState::TearingDown;
        assert!(!topology.reference_port(1));
        assert!(topology.dereference_port(1));
        assert!(!topology.dereference_port(1));
    }
}
