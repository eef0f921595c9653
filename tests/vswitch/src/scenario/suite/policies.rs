//! Scenarios of ports: policies set before and during traffic, multicast groups, addresses that move, frames received
//! by a team, ports and NICs that are created and deleted.

use crate::adapter::network::Layout;
use crate::adapter::physical_switch::Aggregation;
use crate::scenario::guest::{BROADCAST, Flow, Packet, host_mac, vm_mac};
use crate::scenario::outcome::Outcome;
use crate::scenario::suite::random::{self, Draw, Traffic, VMS, property, stray, switch};
use crate::scenario::suite::{Case, MS, NO_WAIT, everything_ends};
use crate::scenario::{Enumeration, Net, Scenario};
use crate::switch::control::features;
use crate::switch::control::properties::Damage;
use crate::switch::frames::{Frame, FrameOutcome};
use crate::switch::ports::NicId;
use crate::switch::ports::policy::{Private, Property, Security, Told, Vlan};
use lbfoext::ndis::raw::oids;

pub const CASES: [Case; 6] = [
    Case {
        name: "policies",
        about: "drawn policies of ports, drawn frames from VMs and from the external network",
        plan: drawn_plan,
        steps: frames,
        check: everything_ends,
    },
    Case {
        name: "policies_change",
        about: "VLAN and security properties come, change and go under traffic",
        plan: told_plan,
        steps: policies_change,
        check: everything_ends,
    },
    Case {
        name: "private_vlans",
        about: "isolated, community and promiscuous ports; nobody reaches whom they must not",
        plan: private_plan,
        steps: private_vlans,
        check: everything_ends,
    },
    Case {
        name: "addresses_move",
        about: "an address moves between VMs; some are spoofed, some lent within a VM",
        plan: addresses_plan,
        steps: addresses_move,
        check: everything_ends,
    },
    Case {
        name: "team_receives",
        about: "copies of floods on several members: each vNIC gets one",
        plan: receiving_plan,
        steps: team_receives,
        check: received_once,
    },
    Case {
        name: "ports_added_and_removed",
        about: "a storm of 20 drawn steps: ports, adapters, policies, groups, links",
        plan: storm_plan,
        steps: |net| storm(net, 20),
        check: everything_ends,
    },
];

const ORDERS: [Enumeration; 3] = [Enumeration::Arrays, Enumeration::Requests, Enumeration::Mixed];
const MODES: [Aggregation; 2] = [Aggregation::Static, Aggregation::SwitchIndependent];

fn drawn_plan(seed: u64) -> Scenario {
    let members: &[u64] = if seed.is_multiple_of(3) { &[10] } else { &[10, 25, 10] };
    switch(seed, members, MODES[seed as usize % 2]).enumeration(ORDERS[seed as usize / 2 % 3])
}

fn frames(net: &Net) {
    Traffic::new(net.world().config().seed, members(net)).send(net, 120);
    net.settle();
}

fn members(net: &Net) -> usize {
    net.look(|state| state.modules[0].external.adapters.len()).unwrap_or(0)
}

pub fn access(id: u16) -> Property {
    Property::Vlan(Vlan::Access(id))
}

fn told_plan(seed: u64) -> Scenario {
    let pruned = Vlan::Trunk { native: 0, allowed: [7, 8].into(), pruned: [7].into() };
    Scenario::new(seed)
        .members_at(&[(1, 10), (3, 10)])
        .aggregation(MODES[seed as usize % 2])
        .vms(6)
        .property(0, access(7))
        .property(1, Property::Vlan(pruned))
        .property(2, Property::Security(Security::default()))
        .enumeration(ORDERS[seed as usize / 2 % 3])
}

fn everybody(net: &Net, n: u16) {
    for from in 0..6 {
        let to = net.vm((from + 1 + n % 4) % 6);
        let from = net.vm(from);
        net.send(from, &[net.flow_between(from, to, n).frame(1, 60), net.flow(from, n).frame(2, 60)]);
    }
    let from = net.vm(n % 6);
    net.send(from, &[Flow { to: BROADCAST, ..net.flow(from, n) }.frame(3, 60)]);
    net.send_packets(vec![(net.vm(1), Packet::tagged(net.flow(net.vm(1), n).frame(4, 60), 7 + n % 2, 3))]);
    net.advance(MS);
}

fn policies_change(net: &Net) {
    let port = |vm: u16| net.vm(vm).port;
    let strict = Property::Security(Security { subnet: 5_001, ..Security::default() });
    everybody(net, 1);
    net.add_property(port(3), 1, access(9));
    everybody(net, 2);
    net.update_property(port(3), 1, access(7));
    net.add_property_told(port(4), 1, access(9), Told::UnderAnyId);
    everybody(net, 3);
    net.add_property_told(port(5), 1, access(9), Told::AsNewerVersion);
    everybody(net, 4);
    net.remove_property(port(3), 1);
    net.property_refused_below(port(3), 1, access(9), false);
    net.property_refused_below(port(4), 1, access(7), true);
    everybody(net, 5);
    for (n, damage) in (6..).zip(Damage::ALL) {
        net.damaged_property(port(2), access(9), damage);
        everybody(net, n);
    }
    net.add_property(port(2), 3, Property::Custom { id: [5; 16], data: vec![1; 20] });
    net.add_property(port(2), 4, Property::Unknown { kind: 44 });
    net.add_property(port(2), 5, Property::Profile);
    net.add_property(port(3), 2, strict);
    net.remove_property(port(2), 3);
    for damage in [Damage::CutBody, Damage::FarOffset] {
        net.damaged_property(port(2), Property::Custom { id: [5; 16], data: vec![1; 20] }, damage);
    }
    for oid in [oids::SWITCH_PROPERTY_ADD, oids::SWITCH_PROPERTY_UPDATE, oids::SWITCH_PROPERTY_DELETE] {
        net.switch_property(oid, [6; 16], 1);
    }
    net.feature_status(None, [5; 16], 16);
    net.feature_status(Some(port(2)), [5; 16], 0);
    for feature in features::declared() {
        for room in rooms(feature.length()) {
            net.feature_status(feature.of_port.then_some(port(2)), feature.id, room);
        }
    }
    net.try_policies(700, &[access(5), Property::Security(Security::default()), Property::RoutingDomain]);
    net.rename_port(port(2));
    everybody(net, 12);
    net.pause();
    net.update_property(port(5), 1, access(0));
    net.restart();
    everybody(net, 13);
    net.detach();
    net.add_property(port(4), 7, Property::Profile);
    net.update_property(port(4), 1, access(7));
    net.attach();
    everybody(net, 14);
    net.settle();
}

/// Two isolated ports, two of one community, one of another, one promiscuous, and one without private VLAN.
pub fn private_plan(seed: u64) -> Scenario {
    let primary = 100;
    let isolated = Private::Isolated { primary, secondary: 101 };
    let community = |secondary| Private::Community { primary, secondary };
    let promiscuous = Private::Promiscuous { primary, secondaries: [101, 102, 103].into() };
    let all = [isolated.clone(), isolated, community(102), community(102), community(103), promiscuous];
    let mut plan = Scenario::new(seed)
        .members(&[10, 10])
        .vms(7)
        .aggregation(MODES[seed as usize % 2])
        .enumeration(ORDERS[seed as usize / 2 % 3]);
    for (vm, private) in (0..).zip(all) {
        plan = plan.property(vm, Property::Vlan(Vlan::Private(private)));
    }
    plan
}

fn private_vlans(net: &Net) {
    for from in 0..7 {
        for to in (0..7).filter(|to| *to != from) {
            net.send(net.vm(from), &[net.flow_between(net.vm(from), net.vm(to), 1).frame(1, 60)]);
        }
        net.send(net.vm(from), &[Flow { to: BROADCAST, ..net.flow(net.vm(from), 1) }.frame(2, 60)]);
    }
    for vid in [0, 100, 101, 102, 103] {
        let flood = Flow { to: BROADCAST, ..net.external_flow(net.vm(0), 1) };
        net.receive_external_packets(1, vec![Packet::tagged(flood.frame(u32::from(vid), 60), vid, 0)]);
    }
    net.settle();
}

fn addresses_plan(seed: u64) -> Scenario {
    let security =
        |spoofing, teaming| Property::Security(Security { spoofing, teaming, ..Security::default() });
    Scenario::new(seed)
        .members(&[10, 10])
        .vms(5)
        .internal(2)
        .internal_property(0, security(false, true))
        .internal_property(1, security(false, true))
        .aggregation(MODES[seed as usize % 2])
        .one_vm(&[2, 3])
        .property(0, security(true, false))
        .property(1, security(true, false))
        .property(2, security(false, true))
        .property(3, security(false, true))
        .property(4, security(false, false))
}

fn addresses_move(net: &Net) {
    let group = [0x01, 0, 0x5E, 0, 0, 9];
    for (round, at) in (0..).zip([0, 1, 0]) {
        // An address behind a VM that may use any source address, then behind another VM.
        let behind = Flow { from: stray(1), ..net.flow(net.vm(at), 1) };
        net.send(net.vm(at), &[behind.frame(round, 60)]);
        let towards = Flow { to: stray(1), ..net.flow(net.vm(4), 1) };
        net.send(net.vm(4), &[towards.frame(round, 60)]);
        net.receive_external(1, &[Flow { from: host_mac(3), ..towards }.frame(round, 70)]);
        // One NIC of a VM uses the address of another NIC of the VM; a NIC of another VM may not.
        for vm in [2, 4] {
            let other = Flow { from: vm_mac(3), ..net.flow_between(net.vm(vm), net.vm(0), 1) };
            net.send(net.vm(vm), &[other.frame(round, 60)]);
        }
        // The guest has moved the address, and moves it back; or its other adapter is disconnected.
        let answer = Flow { to: vm_mac(3), ..net.flow(net.vm(4), 1) };
        net.send(net.vm(4), &[answer.frame(round, 61)]);
        net.receive_external(1, &[Flow { from: host_mac(3), ..answer }.frame(round, 71)]);
        if round == 1 {
            net.disconnect(net.vm(3));
            let other = Flow { from: vm_mac(3), ..net.flow(net.vm(2), 3) };
            net.send(net.vm(2), &[other.frame(round, 62)]);
            net.send(net.vm(4), &[answer.frame(round, 63)]);
            net.connect_guest_nic(net.vm(3));
        }
        net.send(net.vm(3), &[net.flow(net.vm(3), 3).frame(round, 60)]);
        net.send(net.vm(4), &[answer.frame(round, 64)]);
        // NICs of the management OS belong to no VM, whatever the member VmName contains.
        let other =
            Flow { from: net.mac(net.internal(1)), ..net.flow_between(net.internal(0), net.vm(0), 1) };
        net.send(net.internal(0), &[other.frame(round, 60)]);
        let flood = Flow { to: group, ..net.flow(net.vm(4), 2) };
        net.send(net.vm(4), &[flood.frame(round, 60)]);
        match round {
            0 => net.join(net.vm(0), group),
            1 => net.set_groups(net.vm(1), &[[0x33, 0x33, 0, 0, 0, 1], group]),
            _ => net.leave(net.vm(0), group),
        }
        net.send(net.vm(4), &[flood.frame(round + 10, 60)]);
        net.readdress(net.vm(3), [2, 0x15, 0x5D, 8, 8, round as u8]);
        let renewed = Flow { to: [2, 0x15, 0x5D, 8, 8, round as u8], ..net.flow(net.vm(4), 1) };
        net.send(net.vm(4), &[renewed.frame(round, 60)]);
        net.advance(MS);
    }
    net.remove_vm(0);
    net.send(net.vm(4), &[Flow { to: stray(1), ..net.flow(net.vm(4), 1) }.frame(9, 60)]);
    net.add_vm(0);
    net.send(net.vm(4), &[net.flow_between(net.vm(4), net.vm(0), 1).frame(9, 60)]);
    net.settle();
}

fn receiving_plan(seed: u64) -> Scenario {
    Scenario::new(seed)
        .members(&[10, 10, 10])
        .vms(3)
        .aggregation(MODES[seed as usize % 2])
        .network([Layout::one(3), Layout::two(3)][seed as usize / 2 % 2].clone())
        .setting("LinkUpDelayMs", NO_WAIT)
}

/// In a team that the network does not know, floods arrive through every member, and the team's own floods return.
fn team_receives(net: &Net) {
    for round in 0..4 {
        for n in 0..3 {
            let from = host_mac(n);
            net.from_the_network(&Flow { from, to: BROADCAST, ..net.flow(net.vm(0), n) }.frame(round, 60));
            let group = [0x01, 0, 0x5E, 0, 0, 1];
            net.from_the_network(&Flow { from, to: group, ..net.flow(net.vm(0), n) }.frame(round, 60));
            net.from_the_network(&net.external_flow(net.vm(n), n).frame(round, 60));
            net.send(net.vm(n), &[Flow { to: BROADCAST, ..net.flow(net.vm(n), n) }.frame(round, 60)]);
        }
        net.settle();
        match round {
            0 => net.fail(1),
            1 => net.restore(1),
            2 => net.unplug(2),
            _ => net.replug(2),
        }
    }
    net.settle();
}

fn received_once(outcome: &Outcome) {
    everything_ends(outcome);
    let reached = |frame: &Frame, vm: u32| {
        let at = NicId::new(10 + vm, 0);
        frame.outcomes.iter().any(|end| matches!(end, FrameOutcome::Delivered { to, .. } if *to == at))
    };
    for vm in 0..3 {
        let mut seen = std::collections::BTreeSet::new();
        for frame in
            outcome.frames.iter().filter(|f| f.origin.is_outside() && f.bytes[0] & 1 == 1 && reached(f, vm))
        {
            assert!(seen.insert(frame.origin.number), "VM {vm} got {:?} again", frame.origin);
        }
    }
}

fn storm_plan(seed: u64) -> Scenario {
    drawn_plan(seed).setting("LinkUpDelayMs", NO_WAIT)
}

/// Ports, adapters, policies, groups and links change at random between frames.
pub fn storm(net: &Net, steps: usize) {
    let seed = net.world().config().seed;
    let mut traffic = Traffic::new(seed, members(net));
    let mut draw = Draw::new(seed ^ 0x5702);
    for _ in 0..steps {
        step(net, &mut draw);
        traffic.send(net, 6);
    }
    net.settle();
}

/// One random change of the switch.
pub fn step(net: &Net, draw: &mut Draw) {
    let vm = draw.below(u64::from(VMS)) as u16;
    let nic = net.vm(vm);
    match draw.below(16) {
        0 | 1 => net.remove_vm(vm),
        2 | 3 if net.look(|s| s.modules[0].topology.policies(nic.port).is_none()) == Some(true) => {
            net.add_vm(vm);
        }
        4 => net.readdress_if_connected(nic, [2, 0x15, 0x5D, 7, 0, vm as u8]),
        5..8 => {
            let property = property(draw);
            // The switch keeps one instance of each type.
            net.add_property_if_there(nic.port, property);
        }
        8 | 9 => net.remove_nth_property(nic.port, draw.below(3) as usize),
        10 => net.try_policies(800 + u32::from(vm), &[random::property(draw), random::property(draw)]),
        11 => net.join(nic, [0x01, 0, 0x5E, 0, 0, 1]),
        12 if vm < 2 => {
            let features = features::declared();
            let feature = &features[draw.below(features.len() as u64) as usize];
            let rooms = rooms(feature.length());
            let room = rooms[draw.below(rooms.len() as u64) as usize];
            let _ = net.feature_status(feature.of_port.then_some(nic.port), feature.id, room);
        }
        12 => net.rename_port(nic.port),
        13 => {
            net.pause();
            net.restart();
        }
        14 => {
            let member = 1 + draw.below(members(net).max(1) as u64) as u16;
            net.fail(member);
            net.restore(member);
        }
        _ => {
            let property = property(draw);
            net.property_refused_below(nic.port, 50, property, false);
        }
    }
}

/// Room for the data of a feature: none, too little, just enough, and more.
fn rooms(length: usize) -> [usize; 5] {
    [0, 8, length - 1, length, length + 100]
}
