//! A tag behind the one that says the VLAN of a frame is shown to nobody as its VLAN: whatever it is, wherever the outer one
//! lies, whoever sends it and whoever gets it.

use crate::every::driver::{dropped, next_frame, reached};
use std::collections::BTreeSet;
use vswitch::scenario::guest::{BROADCAST, Flow, Packet, host_mac};
use vswitch::scenario::suite::random::{TPIDS, insert_tag, insert_tag_of};
use vswitch::scenario::{EXTERNAL_PORT, Net, Scenario};
use vswitch::switch::ports::NicId;
use vswitch::switch::ports::policy::{Private, Property, Vlan};

fn trunk(native: u16, allowed: &[u16]) -> Property {
    Property::Vlan(Vlan::Trunk { native, allowed: allowed.iter().copied().collect(), pruned: [].into() })
}

/// VM 0 sends, as a trunk that is in VLAN 7 alone. In VLAN 7 are: trunks of which it is the native VLAN, with VLAN 8 and
/// without (VM 1 and 2), trunks of which it is not (3 and 4), and ports without tags (5 to 8). VM 9 is in VLAN 8.
fn plan(seed: u64) -> Scenario {
    let private = |private| Property::Vlan(Vlan::Private(private));
    let primary = 7;
    Scenario::new(seed)
        .members(&[10, 10])
        .vms(10)
        .property(0, trunk([0, 7][seed as usize % 2], &[7]))
        .property(1, trunk(7, &[7, 8]))
        .property(2, trunk(7, &[7]))
        .property(3, trunk(0, &[7, 8]))
        .property(4, trunk(8, &[7, 8]))
        .property(5, Property::Vlan(Vlan::Access(7)))
        .property(6, private(Private::Isolated { primary, secondary: 17 }))
        .property(7, private(Private::Community { primary, secondary: 18 }))
        .property(8, private(Private::Promiscuous { primary, secondaries: [17, 18].into() }))
        .property(9, Property::Vlan(Vlan::Access(8)))
}

/// Ports that take tags, and those that take none.
const TRUNKS: std::ops::Range<u16> = 1..5;
const BARE: std::ops::Range<u16> = 5..9;

/// Tags behind that of the VLAN, TPID and VLAN ID, outermost first; and whether a VLAN could be read from them.
fn inner_tags() -> Vec<(Vec<(u16, u16)>, bool)> {
    let mut all = vec![(vec![], false)];
    for tpid in TPIDS {
        all.push((vec![(tpid, 0)], false));
        all.extend([7, 8].map(|vid| (vec![(tpid, vid)], true)));
        all.extend(TPIDS.map(|next| (vec![(tpid, 0), (next, 8)], true)));
    }
    all
}

fn with(frame: &[u8], tags: &[(u16, u16)]) -> Vec<u8> {
    let mut frame = frame.to_vec();
    tags.iter().rev().for_each(|(tpid, vid)| insert_tag_of(&mut frame, *tpid, *vid, 0));
    frame
}

/// The same frame in VLAN 7 with the tag beside its bytes, and in them.
fn in_7(frame: &[u8]) -> [Packet; 2] {
    let mut inside = frame.to_vec();
    insert_tag(&mut inside, 7, 3);
    [Packet::tagged(frame.to_vec(), 7, 3), Packet::of(inside)]
}

/// Whether the frame arrived, and nowhere but there.
fn arrived(net: &Net, from: NicId, packet: Packet, what: &str) -> (BTreeSet<NicId>, usize) {
    let number = next_frame(net);
    net.send_packets(vec![(from, packet)]);
    net.settle();
    let (vnics, left) = reached(net, number);
    let lost = vnics.is_empty() && left.is_empty();
    assert_eq!(lost, dropped(net, number).is_some(), "{what}");
    (vnics, left.len())
}

// That each is shown in its own VLAN is what the reference asks of every destination (DATA-88).
#[test]
fn a_frame_with_a_second_tag_reaches_trunks_in_its_own_vlan_and_no_port_without_tags() {
    for seed in 0..4 {
        let net = plan(seed).start();
        for from in [net.vm(0), net.member(1)] {
            let source = if from.port < 2 { host_mac(1) } else { net.mac(from) };
            for (tags, says) in inner_tags() {
                for vm in TRUNKS.chain(BARE) {
                    let to = net.vm(vm);
                    let frame = Flow { from: source, ..net.flow_between(net.vm(0), to, 1) }.frame(1, 60);
                    let there = !says || TRUNKS.contains(&vm);
                    let expected: BTreeSet<NicId> = there.then_some(to).into_iter().collect();
                    for packet in in_7(&with(&frame, &tags)) {
                        let what = format!("seed {seed}, from {from} to {to}, {tags:x?}");
                        assert_eq!(arrived(&net, from, packet, &what), (expected.clone(), 0), "{what}");
                    }
                }
            }
        }
        net.finish().assert_clean();
    }
}

#[test]
fn a_flood_with_a_second_tag_reaches_trunks_in_its_own_vlan_and_no_port_without_tags() {
    for seed in 0..4 {
        let net = plan(seed).start();
        for (tags, says) in inner_tags() {
            let flow = Flow { to: BROADCAST, ..net.flow(net.vm(0), 1) };
            let to = if says { TRUNKS } else { TRUNKS.start..BARE.end };
            let expected: BTreeSet<NicId> = to.map(|vm| net.vm(vm)).collect();
            for packet in in_7(&with(&flow.frame(1, 60), &tags)) {
                let what = format!("seed {seed}, {tags:x?}");
                assert_eq!(arrived(&net, net.vm(0), packet, &what), (expected.clone(), 1), "{what}");
            }
        }
        let outcome = net.finish();
        outcome.assert_clean();
        assert!(outcome.arrivals.iter().all(|arrival| arrival.vid == 7));
    }
}

#[test]
fn a_frame_with_a_second_tag_leaves_in_its_own_vlan_also_where_that_is_the_native_one() {
    for (seed, native) in (0..).zip([0, 7, 8]) {
        let net = plan(seed).port_property(EXTERNAL_PORT, trunk(native, &[7, 8])).start();
        let mut wire = Vec::new();
        for (tags, says) in inner_tags() {
            for packet in in_7(&with(&net.flow(net.vm(0), 1).frame(1, 60), &tags)) {
                let what = format!("native {native}, {tags:x?}");
                assert_eq!(arrived(&net, net.vm(0), packet, &what), (BTreeSet::new(), 1), "{what}");
                wire.push(if native == 7 && !says { 0 } else { 7 });
            }
        }
        let outcome = net.finish();
        outcome.assert_clean();
        assert_eq!(outcome.arrivals.iter().map(|arrival| arrival.vid).collect::<Vec<_>>(), wire);
    }
}
