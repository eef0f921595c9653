//! Frames to groups that a bridge keeps on their link: in both directions, in each teaming mode, with each value of the
//! setting that lets some of them cross the external port.

use super::driver::{dropped, next_frame, outcomes, reached};
use std::collections::BTreeSet;
use vswitch::adapter::physical_switch::Aggregation;
use vswitch::machine::registry::Value;
use vswitch::scenario::guest::{Flow, Packet};
use vswitch::scenario::suite::policies::access;
use vswitch::scenario::{Net, Scenario};
use vswitch::switch::ports::{Mac, NicId};

const LINK: &str = "Frames to this group do not cross the external port.";

/// The groups by their bit in the setting.
fn groups() -> impl Iterator<Item = (u32, Mac)> {
    let bridge = (0..16).map(|last| (u32::from(last), [0x01, 0x80, 0xC2, 0, 0, last]));
    bridge.chain([(16, [0x01, 0x00, 0x0C, 0xCC, 0xCC, 0xCD])])
}

/// VMs 0 and 1 share a VLAN; 2 is alone in another.
fn plan(seed: u64, aggregation: Aggregation, mask: u32) -> Scenario {
    Scenario::new(seed)
        .members(&[10, 10])
        .vms(3)
        .property(2, access(7))
        .aggregation(aggregation)
        .setting("LinkLocalForwardMask", Value::Dword(mask))
}

/// Sends a frame to the group and gives whom it reached: vNICs and members; and why it was dropped.
fn send(net: &Net, from: NicId, flow: Flow, tag: Option<u16>) -> (BTreeSet<NicId>, usize, Option<String>) {
    let frame = flow.frame(0, 60);
    let packet = tag.map_or_else(|| Packet::of(frame.clone()), |vid| Packet::tagged(frame.clone(), vid, 0));
    let at = next_frame(net);
    net.from_both_sides(vec![(from, packet)]);
    net.settle();
    assert!(!outcomes(net, at).is_empty());
    let (vnics, members) = reached(net, at);
    (vnics, members.len(), dropped(net, at))
}

fn cross(net: &Net, mask: u32) {
    let [a, b, alone] = [0, 1, 2].map(|vm| net.vm(vm));
    for (bit, to) in groups() {
        let crosses = mask >> bit & 1 == 1;
        let what = format!("group {bit}, mask {mask:#x}");
        let sent = send(net, a, Flow { to, ..net.flow(a, 1) }, None);
        assert_eq!(
            sent,
            ([b].into(), usize::from(crosses), None),
            "{what}, from a VM with another in its VLAN"
        );
        let reason = (!crosses).then(|| LINK.to_owned());
        let sent = send(net, alone, Flow { to, ..net.flow(alone, 1) }, None);
        assert_eq!(
            sent,
            ([].into(), usize::from(crosses), reason.clone()),
            "{what}, from a VM alone in its VLAN"
        );
        for (tag, there) in [(None, vec![a, b]), (Some(7), vec![alone])] {
            let flow = Flow { to, ..net.external_flow(a, 1) };
            let reached = if crosses { there.into_iter().collect() } else { BTreeSet::new() };
            let came = send(net, NicId::new(1, 1), flow, tag);
            assert_eq!(came, (reached, 0, reason.clone()), "{what}, from outside, VLAN {tag:?}");
        }
    }
}

#[test]
fn frames_that_a_bridge_keeps_on_their_link_cross_the_external_port_only_by_setting() {
    for (seed, aggregation) in (0..).zip([Aggregation::Static, Aggregation::SwitchIndependent]) {
        for mask in [0, 1 << 3, 1 << 16, 0x1_5554, 0x1_FFFF] {
            let net = plan(seed, aggregation, mask).start();
            cross(&net, mask);
            net.finish().assert_clean();
        }
    }
}

#[test]
fn a_mask_that_is_out_of_range_lets_nothing_cross() {
    let plan = plan(3, Aggregation::SwitchIndependent, 0x2_0008).style(|style| style.link_local = Some(0));
    let net = plan.start();
    cross(&net, 0);
    net.finish().assert_clean();
}

#[test]
fn without_the_rule_a_spanning_tree_frame_of_a_vm_would_leave_the_host() {
    // The switch checks the bytes that leave, whatever the driver believes.
    let plan = plan(5, Aggregation::SwitchIndependent, 1).style(|style| style.link_local = Some(0));
    let net = plan.start();
    let a = net.vm(0);
    send(&net, a, Flow { to: [0x01, 0x80, 0xC2, 0, 0, 0], ..net.flow(a, 1) }, None);
    assert_eq!(net.finish().broken(), ["EGR-7"].into());
}
