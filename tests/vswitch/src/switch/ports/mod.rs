//! The ports and NICs of one switch: their existence, state and references.
//!
//! `ndis` and `control` change these tables, and every check compares with them.

pub mod policy;

use lbfoext::ndis::raw::{nic_type, port_type};
use litemap::LiteMap;
use policy::Policies;
use std::collections::{BTreeMap, BTreeSet};

/// A NIC of the switch: port and index. Index 0 is the NIC of the port itself; the external port has its physical
/// adapters at indices 1 to 32.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct NicId {
    pub port: u32,
    pub index: u16,
}

impl NicId {
    pub const fn new(port: u32, index: u16) -> Self {
        Self { port, index }
    }
    /// Port 0: the source of packets that an extension originates itself, which are trusted.
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
    /// The permanent address.
    pub permanent: Mac,
    pub mtu: u32,
    /// The VM of the NIC.
    pub vm: u32,
    /// Joined multicast groups; `None` before the first request about groups.
    pub groups: Option<BTreeSet<Mac>>,
    /// Groups that its VM has joined before the NIC was created: the VM was saved, or comes from another host. Its network
    /// stack does not name them again until it sets a whole list.
    pub joined_before: BTreeSet<Mac>,
    /// Whether its creation is the first in the life of its VM.
    pub begins: bool,
    /// Whether its VM uses a virtual function.
    pub function_assigned: bool,
    /// Whether NIC_UPDATED changed its address.
    pub readdressed: bool,
    /// Number of the extension's references.
    pub references: u32,
    /// Number of pending packets that have it as source or destination.
    pub packets: u32,
    /// Number of pending requests to it.
    pub requests: u32,
    /// Whether the extension knows that it is connected: its CONNECT is completed, or an array listed it as connected.
    pub usable: bool,
    /// Whether the extension forwarded its DISCONNECT; from then on it must not be a destination.
    pub disconnect_passed: bool,
    /// Whether its deletion has begun; it sends no more packets.
    pub deleting: bool,
    /// Whether the extension has handled an indication that the link is down.
    pub known_down: bool,
    /// Order number of the last indication or answer about its link.
    pub told: u64,
    /// Whether the extension knows it only from an array.
    pub from_array: bool,
    /// Whether an array listed it before it was connected.
    pub listed: bool,
    /// Whether it was listed in an array where only a reader that uses ElementSize finds it.
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
            joined_before: BTreeSet::new(),
            begins: false,
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

    /// Whether its VM is known to listen to a group, or has asked for none yet.
    pub fn has_joined(&self, group: &Mac) -> bool {
        self.joined_before.contains(group) || self.groups.as_ref().is_none_or(|all| all.contains(group))
    }

    pub fn is_member(&self) -> bool {
        self.kind == NicKind::External && self.id.index != 0
    }

    /// Whether nothing delays its deletion.
    pub fn is_idle(&self) -> bool {
        self.references == 0 && self.packets == 0 && self.requests == 0
    }

    /// Begins its deletion, if nothing delays it.
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
    /// A validation port.
    pub validation: bool,
    /// Whether its id was used by a deleted port.
    pub reused: bool,
    pub policies: Policies,
    pub references: u32,
    /// Order number of the newest reference.
    pub referenced: u64,
    pub requests: u32,
    pub nics: LiteMap<u16, Nic>,
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
            nics: LiteMap::new(),
        }
    }
}

/// All ports of one switch.
#[derive(Default, Clone, Debug)]
pub struct Topology {
    pub ports: LiteMap<u32, Port>,
    /// Incremented with every change; a packet that was pending during a change is checked less strictly.
    pub generation: u64,
    pub external_port: Option<u32>,
    /// Number of changes in progress, which the extension may know or not.
    pub changing: u32,
    /// Physical adapters that the switch has had since the attachment: whether each was connected before and has not been
    /// removed since.
    adapters: BTreeMap<u16, bool>,
    /// Order number at which the last DISCONNECT of each NIC was forwarded.
    pub disconnects: BTreeMap<NicId, u64>,
    /// Ports that are deleted.
    pub gone: BTreeSet<u32>,
    /// The generation in which a port was deleted last.
    deleted: BTreeMap<u32, u64>,
    /// NICs whose creation failed below.
    pub failed: BTreeSet<NicId>,
    /// NICs whose connection failed below.
    pub unconnected: BTreeSet<NicId>,
    /// Whether a NIC was disconnected that was not connected.
    pub unmatched: bool,
}

impl Topology {
    pub fn changed(&mut self) {
        self.generation += 1;
    }

    /// A change begins; until `settled` the extension's knowledge is undetermined.
    pub fn unsettled(&mut self) {
        self.changing += 1;
        self.generation += 1;
    }

    pub fn settled(&mut self) {
        self.changing = self.changing.saturating_sub(1);
        self.generation += 1;
    }

    /// Whether a change is in progress.
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

    /// Adds a validation port, which never gets a NIC.
    pub fn add_validation_port(&mut self, id: u32) {
        self.changed();
        let port = Port { validation: true, ..Port::new(id, NicKind::Synthetic) };
        self.ports.entry(id).or_insert(port);
    }

    /// A new module knows policies only from its enumeration.
    pub fn forget_told(&mut self) {
        self.ports.iter_mut().for_each(|(_, port)| port.policies.told = policy::Told::Nothing);
    }

    /// Members that the extension knows to be up.
    pub fn live_members(&self) -> usize {
        self.members().filter(|n| n.usable && !n.known_down).count()
    }

    /// Whether a port may send with any source address.
    pub fn any_learns(&self) -> bool {
        self.ports.values().any(|port| port.policies.may_spoof())
    }

    pub fn policies(&self, port: u32) -> Option<&Policies> {
        self.ports.get(&port).map(|port| &port.policies)
    }

    /// The port exists, or did at some time since that generation.
    pub fn existed_since(&self, id: u32, generation: u64) -> bool {
        self.ports.contains_key(&id) || self.deleted.get(&id).is_some_and(|at| *at > generation)
    }

    pub fn remove_port(&mut self, id: u32) {
        self.changed();
        self.ports.remove(&id);
        self.gone.insert(id);
        self.deleted.insert(id, self.generation);
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
            if kind == NicKind::External && id.index != 0 {
                self.adapters.insert(id.index, false);
            }
        }
    }

    pub fn remove_nic(&mut self, id: NicId) {
        self.changed();
        if let Some(port) = self.ports.get_mut(&id.port) {
            port.nics.remove(&id.index);
        }
        if let Some(whole) = self.adapters.get_mut(&id.index).filter(|_| self.external_port == Some(id.port))
        {
            *whole = false;
        }
    }

    /// A module is attached: the adapters of before.
    pub fn attached(&mut self) {
        let members = self.nics().filter(|nic| nic.is_member());
        self.adapters = members.map(|nic| (nic.id.index, nic.state == NicState::Connected)).collect();
    }

    /// The only adapter that the switch has had since the attachment, if it was connected before and all the time since.
    pub fn sole_adapter(&self) -> Option<u16> {
        let (index, whole) = self.adapters.iter().next().filter(|_| self.adapters.len() == 1)?;
        whole.then_some(*index)
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
        self.ports.iter_mut().flat_map(|(_, port)| port.nics.iter_mut().map(|(_, nic)| nic))
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

    /// ReferenceSwitchNic: succeeds only while the NIC is connected.
    pub fn reference_nic(&mut self, id: NicId) -> bool {
        match self.nic_mut(id) {
            Some(nic) if nic.state == NicState::Connected => {
                nic.references += 1;
                true
            }
            _ => false,
        }
    }

    /// DereferenceSwitchNic; false if no reference is held.
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
