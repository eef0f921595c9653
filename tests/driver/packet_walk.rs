//! The path of a packet from a guest through the driver to its destination, one property a test.

use std::collections::BTreeMap;
use vswitch::scenario::Scenario;
use vswitch::scenario::guest::{Flow, Packet};
use vswitch::switch::frames::FrameOutcome;
use vswitch::switch::ports::NicId;

fn four_members(seed: u64) -> Scenario {
    Scenario::new(seed).members(&[10, 10, 10, 10]).vms(3)
}

/// The members of each flow when every packet has its own list, in contiguous memory.
fn members_of_single_packets(flows: u16) -> BTreeMap<Flow, Vec<u16>> {
    let net = four_members(0).style(|style| style.awkward_memory = false).start();
    for n in 0..flows {
        net.send(net.vm(0), &[net.flow(net.vm(0), n).frame(0, 60)]);
    }
    net.finish().members_of(Flow::of)
}

#[test]
fn every_layout_of_the_same_packet_takes_the_same_member() {
    let expected = members_of_single_packets(40);
    for seed in 0..60 {
        // Contiguous, split over MDLs in the middle of headers, with bytes before the data, partly unmapped.
        let net = four_members(seed).style(|style| style.awkward_memory = true).start();
        for n in 0..40 {
            net.send(net.vm(0), &[net.flow(net.vm(0), n).frame(seed as u32, 60)]);
        }
        let outcome = net.finish();
        outcome.assert_clean();
        assert_eq!(outcome.members_of(Flow::of), expected, "seed {seed}");
    }
}

#[test]
fn packets_of_one_list_take_the_members_they_would_take_alone() {
    let expected = members_of_single_packets(40);
    for seed in 0..60 {
        let net = four_members(seed).start();
        for five in 0..8 {
            let frames = (0..5).map(|n| net.flow(net.vm(0), 5 * five + n).frame(0, 60)).collect();
            net.send_packets(vec![(net.vm(0), Packet::several(frames))]);
        }
        let outcome = net.finish();
        outcome.assert_clean();
        assert_eq!(outcome.members_of(Flow::of), expected, "seed {seed}");
    }
}

#[test]
fn a_list_for_guests_and_the_external_network_reaches_both() {
    for seed in 0..60 {
        let net = four_members(seed).start();
        let (a, b, c) = (net.vm(0), net.vm(1), net.vm(2));
        let inside = [net.flow_between(a, b, 1).frame(0, 60), net.flow_between(a, c, 1).frame(0, 60)];
        let frames = vec![inside[0].clone(), net.flow(a, 1).frame(0, 60), inside[1].clone()];
        net.send_packets(vec![(a, Packet::several(frames))]);
        let outcome = net.finish();
        outcome.assert_clean();
        for (to, frame) in [(b, &inside[0]), (c, &inside[1])] {
            let got = outcome.delivered_to(to);
            assert_eq!(got.len(), 1, "seed {seed}");
            assert_eq!(&*got[0].bytes, &frame[..]);
        }
        assert_eq!(outcome.assignments.len(), 1, "seed {seed}");
    }
}

#[test]
fn a_guest_that_rewrites_its_headers_cannot_split_a_decision() {
    // The verifier accepts the destination of either version of the packet, but of no mixture.
    for seed in 0..200 {
        let net = four_members(seed).start();
        let a = net.vm(0);
        for n in 0..6 {
            let (one, other) = (net.flow(a, n).frame(0, 200), net.flow(a, 40 + n).frame(0, 200));
            net.send_packets(vec![(a, Packet::flickering(one, other, 14 + 4 * usize::from(n)))]);
        }
        net.finish().assert_clean();
    }
}

#[test]
fn a_packet_for_nobody_is_reported_with_the_reason_and_completed() {
    let net = four_members(3).start();
    let mut stranger = net.external_flow(net.vm(0), 1).frame(0, 60);
    stranger[..6].copy_from_slice(&[2, 9, 9, 9, 9, 9]);
    net.receive_external(1, &[stranger]);
    let mut itself = net.flow(net.vm(0), 1).frame(0, 60);
    itself[..6].copy_from_slice(&net.mac(net.vm(0)));
    net.send(net.vm(0), &[itself]);
    net.send(net.vm(0), &[vec![0xFF; 9]]);
    let outcome = net.finish();
    outcome.assert_clean();
    let expected = BTreeMap::from([
        ("No connected adapter has the destination address.", 1),
        ("The destination is the adapter that sent the frame.", 1),
        ("The frame is shorter than an Ethernet header.", 1),
    ]);
    assert_eq!(outcome.drops(), expected);
}

#[test]
fn a_packet_without_bytes_is_dropped_in_every_layout() {
    for seed in 0..60 {
        let net = four_members(seed).start();
        net.send(net.vm(0), &[Vec::new()]);
        let outcome = net.finish();
        outcome.assert_clean();
        let reason = "The frame is shorter than an Ethernet header.";
        assert_eq!(outcome.drops(), BTreeMap::from([(reason, 1)]), "seed {seed}");
    }
}

#[test]
fn a_trusted_packet_without_a_source_port_is_forwarded() {
    for seed in 0..20 {
        let net = four_members(seed).start();
        let trusted = NicId::new(0, 0);
        let (inside, external) = (net.flow_between(net.vm(0), net.vm(1), 1), net.flow(net.vm(0), 2));
        net.send_packets(vec![
            (trusted, Packet::of(inside.frame(0, 60))),
            (trusted, Packet::of(external.frame(0, 60))),
        ]);
        let outcome = net.finish();
        outcome.assert_clean();
        assert_eq!(outcome.delivered_to(net_vm(1)).len(), 1);
        assert_eq!(outcome.assignments.len(), 1);
    }
}

/// The second guest of every scenario.
fn net_vm(n: u32) -> NicId {
    NicId::new(10 + n, 0)
}

#[test]
fn a_broadcast_reaches_everybody_else_once_and_the_external_network_once() {
    for seed in 0..40 {
        let net = four_members(seed).internal(2).start();
        let to_all = |mut frame: Vec<u8>| {
            frame[..6].fill(0xFF);
            frame
        };
        net.send(net.vm(0), &[to_all(net.flow(net.vm(0), 1).frame(0, 60))]);
        net.receive_external(2, &[to_all(net.external_flow(net.vm(0), 1).frame(0, 60))]);
        let outcome = net.finish();
        outcome.assert_clean();
        let reached = |outcomes: &[FrameOutcome]| {
            let mut all: Vec<_> = outcomes
                .iter()
                .map(|end| match end {
                    FrameOutcome::Delivered { to, .. } => (to.port, u16::from(to.index != 0)),
                    other => panic!("{other:?}"),
                })
                .collect();
            all.sort_unstable();
            all
        };
        assert_eq!(reached(outcome.outcomes(0)), [(1, 1), (2, 0), (3, 0), (11, 0), (12, 0)], "seed {seed}");
        assert_eq!(reached(outcome.outcomes(1)), [(2, 0), (3, 0), (10, 0), (11, 0), (12, 0)], "seed {seed}");
    }
}

#[test]
fn flows_spread_by_the_speed_of_the_members() {
    let net = Scenario::new(5).members(&[10, 30]).vms(1).style(|style| style.awkward_memory = false).start();
    net.advance(1_000_000);
    for n in 0..4_000 {
        net.send(net.vm(0), &[net.flow(net.vm(0), n).frame(0, 20)]);
    }
    let outcome = net.finish();
    outcome.assert_clean();
    let fast = outcome.assignments.iter().filter(|assignment| assignment.member == 2).count();
    // The expected value is 3,000; four standard deviations are 110.
    assert!((2_890..=3_110).contains(&fast), "{fast} of 4000 on the member with three quarters of the speed");
}
