//! The physical network behind the team: it learns addresses and reports what would disturb a real one.
//!
//! A static team is one logical port; the members of a switch-independent team are separate ports, possibly of several
//! switches. Each VLAN has addresses of its own (IEEE 802.1Q, 8.8.8: independent learning). `adapter` passes frames in order
//! of arrival.

use crate::adapter::network::wire::Wire;
use crate::switch::frames::FrameId;
use crate::switch::ports::{Mac, NicId};
use std::collections::{BTreeMap, BTreeSet};

/// How the physical switches are configured for the team.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Aggregation {
    /// The ports are aggregated; an address is learned on the aggregate.
    #[default]
    Static,
    /// The ports are separate; an address is learned on one of them.
    SwitchIndependent,
}

/// A broken rule, and a description.
pub type Complaint = (&'static str, String);

struct Learned {
    port: u16,
    /// The NIC that sent the frame; an address that two VMs use may move with its NIC.
    from: NicId,
    moves: u32,
}

#[derive(Default)]
pub struct PhysicalSwitch {
    /// The port of the switch on the host behind which this one is.
    pub external_port: u32,
    pub aggregation: Aggregation,
    /// Addresses behind the team by VLAN, with the port on which each was last seen.
    learned: BTreeMap<(u16, Mac), Learned>,
    /// Hosts in the external network.
    hosts: BTreeSet<Mac>,
    seen: BTreeSet<FrameId>,
    /// VLANs of the team's ports; `None` means all.
    pub vlans: Option<BTreeSet<u16>>,
    /// Number of moves of an address from one port to another.
    pub moves: u64,
    /// Number of moves of each address that changes of the team explain so far.
    explained: u32,
}

impl PhysicalSwitch {
    /// A host in the external network sends, so its address is not behind the team.
    pub fn host(&mut self, mac: Mac) {
        self.learned.retain(|(_, known), _| *known != mac);
        self.hosts.insert(mac);
    }

    /// The team changed, which explains one move of every address at its next frame: when a link fails or returns, and
    /// when the speed of a returned link becomes known.
    pub fn team_changed(&mut self) {
        self.explained += 2;
    }

    /// The port on which an address behind the team was last seen in a VLAN.
    pub fn port_of(&self, vid: u16, mac: Mac) -> Option<u16> {
        self.learned.get(&(vid, mac)).map(|entry| entry.port)
    }

    /// No frame with a lower number will arrive any more.
    pub fn forget_before(&mut self, frame: FrameId) {
        self.seen = self.seen.split_off(&frame);
    }

    /// The rules that are checked for each frame.
    pub fn rules(&self) -> impl Iterator<Item = &'static str> {
        let lone = self.aggregation == Aggregation::SwitchIndependent;
        let vlans = self.vlans.is_some().then_some("SWITCH-VLAN-LEAK");
        ["SWITCH-LOOP", "SWITCH-DUPLICATE", "SWITCH-QUERIER"]
            .into_iter()
            .chain(vlans)
            .chain(lone.then_some("SWITCH-FLAP"))
    }

    /// Receives a frame that a NIC sent through a member in a VLAN. One with a host's address may come from a NIC: the
    /// address has moved, or a bridge in a VM sends it on.
    pub fn receive(
        &mut self,
        (port, vid): (u16, u16),
        frame: FrameId,
        bytes: &[u8],
        from: NicId,
    ) -> Option<Complaint> {
        if self.vlans.as_ref().is_some_and(|vlans| !vlans.contains(&vid)) {
            return Some((
                "SWITCH-VLAN-LEAK",
                format!("frame {frame} came through member {port} in VLAN {vid}"),
            ));
        }
        let source: Mac = bytes.get(6..12)?.try_into().ok()?;
        if from.port == self.external_port && from.index != 0 {
            return Some((
                "SWITCH-LOOP",
                format!("frame {frame} of an external host came back through member {port}"),
            ));
        }
        // An extension has no place in the election of who asks the network for groups.
        if from == NicId::NOWHERE && Wire::of(bytes, vid).is_query() {
            return Some((
                "SWITCH-QUERIER",
                format!("frame {frame} of the extension asks for groups, through member {port}"),
            ));
        }
        self.hosts.remove(&source);
        if !self.seen.insert(frame) {
            return Some((
                "SWITCH-DUPLICATE",
                format!("frame {frame} arrived a second time, through member {port}"),
            ));
        }
        if self.aggregation == Aggregation::Static {
            self.learned.insert((vid, source), Learned { port, from, moves: 0 });
            return None;
        }
        let entry = self.learned.entry((vid, source)).or_insert(Learned { port, from, moves: 0 });
        // What an extension says in the name of a station counts as that station's.
        let from = if from == NicId::NOWHERE { entry.from } else { from };
        if entry.port == port || entry.from != from {
            let moves = if entry.from == from { entry.moves } else { 0 };
            *entry = Learned { port, from, moves };
            return None;
        }
        let (was, moves) = (entry.port, entry.moves + 1);
        let flaps = moves > 1 + self.explained;
        *entry = Learned { port, from, moves };
        self.moves += 1;
        flaps.then(|| {
            ("SWITCH-FLAP", format!("{source:02x?} moved again in VLAN {vid}, from port {was} to {port}"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::frames;

    const VM: Mac = [2, 0, 0, 0, 0, 1];
    const VM_NIC: NicId = NicId::new(10, 0);
    const HOST: Mac = [2, 0, 0, 0, 1, 1];

    fn frame(source: Mac) -> Vec<u8> {
        [&HOST[..], &source, &[8, 0]].concat()
    }

    #[test]
    fn independent_ports_report_an_address_that_moves_twice_without_a_reason() {
        let mut switch = PhysicalSwitch { aggregation: Aggregation::SwitchIndependent, ..Default::default() };
        assert_eq!(switch.receive((1, 0), 0, &frame(VM), VM_NIC), None);
        assert_eq!(switch.receive((2, 0), 1, &frame(VM), VM_NIC), None);
        assert_eq!(switch.receive((1, 0), 2, &frame(VM), VM_NIC).unwrap().0, "SWITCH-FLAP");
        switch.team_changed();
        assert_eq!(switch.receive((2, 0), 3, &frame(VM), VM_NIC), None);
        assert_eq!(switch.receive((1, 0), 4, &frame(VM), VM_NIC).unwrap().0, "SWITCH-FLAP");
        assert_eq!(switch.port_of(0, VM), Some(1));
        assert_eq!(switch.receive((2, 7), 5, &frame(VM), VM_NIC), None, "it is in another VLAN there");
        assert_eq!((switch.port_of(0, VM), switch.port_of(7, VM)), (Some(1), Some(2)));
    }

    #[test]
    fn aggregated_ports_take_an_address_on_any_of_them() {
        let mut switch = PhysicalSwitch::default();
        for id in 0..10 {
            assert_eq!(switch.receive((1 + u16::try_from(id).unwrap() % 3, 0), id, &frame(VM), VM_NIC), None);
        }
    }

    #[test]
    fn copies_and_echoes_are_reported() {
        let mut switch = PhysicalSwitch { external_port: 1, ..PhysicalSwitch::default() };
        switch.host(HOST);
        assert_eq!(switch.receive((1, 0), 7, &frame(HOST), NicId::new(1, 2)).unwrap().0, "SWITCH-LOOP");
        assert_eq!(switch.receive((1, 0), 6, &frame(HOST), VM_NIC), None, "a bridge in a VM");
        assert_eq!(switch.receive((1, 0), 8, &frame(VM), VM_NIC), None);
        assert_eq!(switch.receive((2, 0), 8, &frame(VM), VM_NIC).unwrap().0, "SWITCH-DUPLICATE");
    }

    #[test]
    fn a_query_of_the_extension_is_reported_and_one_of_a_guest_is_not() {
        let mut switch = PhysicalSwitch::default();
        let query = frames::igmp_query(VM);
        assert_eq!(switch.receive((1, 0), 1, &query, NicId::NOWHERE).unwrap().0, "SWITCH-QUERIER");
        assert_eq!(switch.receive((1, 0), 2, &query, VM_NIC), None);
        assert_eq!(switch.receive((1, 0), 3, &frame(VM), NicId::NOWHERE), None);
    }

    #[test]
    fn a_frame_in_a_vlan_that_the_port_does_not_carry_has_leaked() {
        let mut switch = PhysicalSwitch { vlans: Some([0, 7].into()), ..PhysicalSwitch::default() };
        assert_eq!(switch.receive((1, 7), 1, &frame(VM), VM_NIC), None);
        assert_eq!(switch.receive((1, 8), 2, &frame(VM), VM_NIC).unwrap().0, "SWITCH-VLAN-LEAK");
    }
}
