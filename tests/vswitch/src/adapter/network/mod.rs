//! The physical network to which the members of a team are cabled: one or two switches, and hosts.
//!
//! It does what IEEE 802.1Q bridges do (clause 8): an address is learned where a frame with it came in, and forgotten after
//! 300 s without one; a frame for a known address leaves through one port, every other through all ports but the one it
//! came in by. So in a team of separate ports a frame for many reaches each member, a member's own frames for many return
//! through the others (reflections), and a frame for an address that was forgotten arrives once for each member. Snooping
//! switches send groups only where a report was heard (RFC 4541).
//!
//! Each frame carries its `Origin` through all copies.

pub mod bridge;
pub mod port;
pub mod seen;
pub mod snooping;
pub mod wire;

use crate::switch::frames::Origin;
use crate::switch::ports::Mac;
use bridge::Bridge;
use port::Port;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use wire::Wire;

/// A frame in the network.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Travelling {
    pub wire: Wire,
    pub origin: Origin,
}

/// A frame that comes back to the host.
#[derive(Clone, Debug)]
pub struct Return {
    pub member: u16,
    pub frame: Travelling,
}

/// What bridges do to frames besides forwarding them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Treatment {
    /// DSCP is set to a class of the network's own.
    pub remarks: bool,
    /// Frames for many have bytes appended behind the end of their protocol, as cut-through and tagging hardware pads.
    pub pads: bool,
    /// Members leave tags in the bytes of what they receive.
    pub tags_in_bytes: bool,
}

/// The network; without switches it is not simulated, and tests decide what arrives where.
#[derive(Default, Debug)]
pub struct Network {
    pub bridges: Vec<Bridge>,
    /// The switch to which each member is cabled.
    cables: BTreeMap<u16, usize>,
    /// The switch to which each host is cabled.
    hosts: BTreeMap<u16, usize>,
    /// The members are one port of one switch.
    aggregated: bool,
    pub treatment: Treatment,
    /// Frames that hosts got: host, destination, source, origin. The newest are kept.
    pub heard: VecDeque<(u16, Mac, Mac, Origin)>,
    turn: usize,
}

/// As many of `heard` are kept.
const HEARD: usize = 4_096;

/// The wiring of a network.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Layout {
    /// The members at each switch; two switches are connected with each other.
    pub switches: Vec<Vec<u16>>,
    pub snooping: bool,
    /// Unicast to these addresses is flooded, as switches do for a cluster in unicast mode.
    pub flooded: BTreeSet<Mac>,
    pub treatment: Treatment,
}

impl Layout {
    /// All members at one switch.
    pub fn one(members: u16) -> Self {
        Self::of(vec![(1..=members).collect()])
    }

    /// The members in turn at two switches.
    pub fn two(members: u16) -> Self {
        let at = |rest: u16| (1..=members).filter(|m| m % 2 == rest).collect();
        Self::of(vec![at(1), at(0)])
    }

    fn of(switches: Vec<Vec<u16>>) -> Self {
        Self { switches, snooping: false, flooded: BTreeSet::new(), treatment: Treatment::default() }
    }

    pub fn snooping(self) -> Self {
        Self { snooping: true, ..self }
    }

    /// Unicast to this address is flooded.
    pub fn floods(mut self, mac: Mac) -> Self {
        self.flooded.insert(mac);
        self
    }

    pub fn treating(self, treatment: Treatment) -> Self {
        Self { treatment, ..self }
    }
}

impl Network {
    pub fn new(layout: &Layout, aggregated: bool) -> Self {
        let mut bridges: Vec<Bridge> =
            layout.switches.iter().map(|_| Bridge::new(layout.snooping, layout.flooded.clone())).collect();
        let mut cables = BTreeMap::new();
        for (at, members) in layout.switches.iter().enumerate() {
            for member in members {
                // A team of several switches that aggregate is one switch to it.
                let at = if aggregated { 0 } else { at };
                cables.insert(*member, at);
                bridges[at].cable(if aggregated { Port::Team } else { Port::Member(*member) });
            }
        }
        if bridges.len() > 1 {
            bridges.iter_mut().for_each(|bridge| bridge.cable(Port::Link));
        }
        let treatment = layout.treatment;
        Self { bridges, cables, aggregated, treatment, ..Self::default() }
    }

    pub fn is_simulated(&self) -> bool {
        !self.bridges.is_empty()
    }

    /// Cables a host to a switch, from which on it is there.
    pub fn place(&mut self, host: u16, at: usize) {
        let at = at.min(self.bridges.len().saturating_sub(1));
        if let Some(before) = self.hosts.insert(host, at) {
            self.bridges[before].uncable(Port::Host(host));
        }
        self.bridges[at].cable(Port::Host(host));
    }

    /// A host is a router that asks for members of groups, so it gets all of them.
    pub fn routes(&mut self, host: u16) {
        if let Some(at) = self.hosts.get(&host) {
            self.bridges[*at].router(Port::Host(host));
        }
        for bridge in self.bridges.iter_mut() {
            if bridge.has(Port::Link) && !bridge.has(Port::Host(host)) {
                bridge.router(Port::Link);
            }
        }
    }

    /// A cable lost its link: its switch forgets what it learned there.
    pub fn link_lost(&mut self, member: u16) {
        if let Some(at) = self.cables.get(&member).filter(|_| !self.aggregated) {
            self.bridges[*at].forget_port(Port::Member(member));
        }
    }

    /// A frame comes in from a member; what returns to the host, through members with a link.
    pub fn from_member(&mut self, member: u16, frame: &Travelling, up: &[u16], now: u64) -> Vec<Return> {
        let Some(&at) = self.cables.get(&member) else { return Vec::new() };
        let port = if self.aggregated { Port::Team } else { Port::Member(member) };
        self.spread(at, port, frame, up, now)
    }

    /// A host sends a frame; what reaches the host of the team.
    pub fn from_host(&mut self, host: u16, frame: &Travelling, up: &[u16], now: u64) -> Vec<Return> {
        if !self.hosts.contains_key(&host) {
            self.place(host, 0);
        }
        let at = self.hosts[&host];
        self.spread(at, Port::Host(host), frame, up, now)
    }

    fn spread(&mut self, at: usize, from: Port, frame: &Travelling, up: &[u16], now: u64) -> Vec<Return> {
        let mut back = Vec::new();
        let mut ahead = vec![(at, from)];
        while let Some((at, from)) = ahead.pop() {
            let live = |port: Port| match port {
                Port::Member(member) => up.contains(&member),
                Port::Team => !up.is_empty(),
                Port::Host(_) | Port::Link => true,
            };
            for port in self.bridges[at].forward(from, &frame.wire, now, live) {
                match port {
                    Port::Member(member) => back.push(Return { member, frame: self.treated(frame) }),
                    Port::Team => {
                        self.turn += 1;
                        let member = up[self.turn % up.len()];
                        back.push(Return { member, frame: self.treated(frame) });
                    }
                    Port::Host(host) => self.hear(host, frame),
                    Port::Link => ahead.push((1 - at, Port::Link)),
                }
            }
        }
        back
    }

    fn treated(&self, frame: &Travelling) -> Travelling {
        let mut frame = frame.clone();
        if self.treatment.remarks {
            frame.wire.remark(0x28);
        }
        if self.treatment.pads {
            frame.wire.pad(8);
        }
        frame
    }

    fn hear(&mut self, host: u16, frame: &Travelling) {
        if self.heard.len() == HEARD {
            self.heard.pop_front();
        }
        self.heard.push_back((host, frame.wire.to(), frame.wire.from(), frame.origin));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::clock::SECOND;
    use crate::scenario::guest::{BROADCAST, Flow, host_mac, vm_mac};
    use crate::switch::ports::NicId;

    fn frame(from: Mac, to: Mac) -> Travelling {
        let wire = Wire::of(&Flow::new(from, to, 1).frame(1, 60), 0);
        Travelling { wire, origin: Origin::inside(1, NicId::new(10, 0)) }
    }

    fn members(back: &[Return]) -> Vec<u16> {
        back.iter().map(|r| r.member).collect()
    }

    #[test]
    fn a_flood_of_a_member_returns_through_every_other_one_on_both_switches() {
        for layout in [Layout::one(4), Layout::two(4)] {
            let mut network = Network::new(&layout, false);
            let back = network.from_member(2, &frame(vm_mac(0), BROADCAST), &[1, 2, 3, 4], 0);
            let mut back = members(&back);
            back.sort();
            assert_eq!(back, [1, 3, 4]);
        }
    }

    #[test]
    fn an_address_is_known_until_it_was_silent_for_300_seconds() {
        let mut network = Network::new(&Layout::two(2), false);
        let up = [1, 2];
        network.from_member(2, &frame(vm_mac(0), host_mac(1)), &up, 0);
        let known = network.from_host(1, &frame(host_mac(1), vm_mac(0)), &up, 299 * SECOND);
        assert_eq!(members(&known), [2]);
        let flooded = network.from_host(1, &frame(host_mac(1), vm_mac(0)), &up, 301 * SECOND);
        assert_eq!(members(&flooded).len(), 2);
    }

    #[test]
    fn an_aggregate_gets_one_copy_and_nothing_of_its_own() {
        let mut network = Network::new(&Layout::two(3), true);
        assert!(network.from_member(1, &frame(vm_mac(0), BROADCAST), &[1, 2, 3], 0).is_empty());
        assert_eq!(network.from_host(1, &frame(host_mac(1), BROADCAST), &[1, 2, 3], 0).len(), 1);
    }
}
