//! Frames from every NIC of the external port: index 0, which is the team as a whole, and the members 1 to 32; each
//! kind of frame, each teaming mode, first on each member.

use super::driver::{dropped, next_frame, outcomes, reached};
use std::collections::BTreeSet;
use vswitch::adapter::physical_switch::Aggregation;
use vswitch::machine::registry::Value;
use vswitch::scenario::guest::{BROADCAST, Flow, Packet};
use vswitch::scenario::suite::policies::access;
use vswitch::scenario::{Net, Scenario};
use vswitch::switch::frames::FrameOutcome;
use vswitch::switch::ports::policy::{Property, Security};
use vswitch::switch::ports::{Mac, NicId};

const COPY: &str = "Another member has delivered this frame.";
const LINK: &str = "Frames to this group do not cross the external port.";
const NOBODY: &str = "No connected adapter has the destination address.";

/// VMs 0 and 1 have no policies, 2 may use other source addresses, 3 is in VLAN 7.
fn plan(seed: u64, members: &[(u16, u64)], aggregation: Aggregation) -> Scenario {
    let learning = Security { spoofing: true, ..Security::default() };
    Scenario::new(seed)
        .members_at(members)
        .vms(4)
        .property(2, Property::Security(learning))
        .property(3, access(7))
        .aggregation(aggregation)
        .setting("LinkUpDelayMs", Value::Dword(0))
}

/// A description, source, destination, VLAN, and the VMs that receive the frame or the reason of the drop.
type FrameCase = (&'static str, Mac, Mac, Option<u16>, Result<&'static [u16], &'static str>);

fn kinds(net: &Net, news: bool) -> Vec<FrameCase> {
    let host = [0x02, 0xAA, 0, 0, 0, 1];
    let many = |all: &'static [u16]| if news { Ok(all) } else { Err(COPY) };
    let (a, b) = (net.mac(net.vm(0)), net.mac(net.vm(1)));
    vec![
        ("for a VM", a, host, None, Ok(&[0])),
        ("for a VM in its VLAN", net.mac(net.vm(3)), host, Some(7), Ok(&[3])),
        ("for all", BROADCAST, host, None, many(&[0, 1, 2])),
        ("for all in a VLAN", BROADCAST, host, Some(7), many(&[3])),
        ("for a group", [0x01, 0, 0x5E, 0, 0, 9], host, None, many(&[0, 1, 2])),
        ("for an unknown address", [0x02, 0xBB, 0, 0, 0, 1], host, None, many(&[2])),
        ("for an unknown address in a VLAN", [0x02, 0xBB, 0, 0, 0, 1], host, Some(7), Err(NOBODY)),
        ("for the link", [0x01, 0x80, 0xC2, 0, 0, 0x0E], host, None, Err(LINK)),
        ("for the link, of a VLAN", [0x01, 0, 0x0C, 0xCC, 0xCC, 0xCD], host, Some(7), Err(LINK)),
        ("with the address of a VM, for all", BROADCAST, b, None, many(&[0, 2])),
    ]
}

/// Receives every kind of frame from one NIC of the external port.
fn arrive(net: &Net, index: u16, number: u32, news: bool, when: &str) {
    let source = NicId::new(1, index);
    for (what, to, from, vid, expected) in kinds(net, news) {
        let frame = net.external_flow(net.vm(0), 1);
        // Unicast of its own on each member: after copies of it came, it is told from its copies, too.
        let is_own = to[0] & 1 == 0 && expected.is_ok_and(|to| to != [2]);
        let number = if is_own { 1_000 * number + u32::from(index) } else { number };
        let frame = Flow { to, from, ..frame }.frame(number, 60);
        let packet =
            vid.map_or_else(|| Packet::of(frame.clone()), |vid| Packet::tagged(frame.clone(), vid, 0));
        let at = next_frame(net);
        net.from_both_sides(vec![(source, packet)]);
        net.settle();
        let (vnics, members) = reached(net, at);
        let wanted: BTreeSet<NicId> = expected.unwrap_or(&[]).iter().map(|n| net.vm(*n)).collect();
        assert_eq!(vnics, wanted, "{when}: {what} from {source}: {:?}", outcomes(net, at));
        assert!(members.is_empty(), "{when}: {what} from {source} went out again");
        assert_eq!(dropped(net, at).as_deref(), expected.err(), "{when}: {what} from {source}");
    }
    let at = next_frame(net);
    let frame = net.external_flow(net.vm(0), 1).frame(u32::from(index), 60);
    net.from_both_sides(vec![(source, Packet::native(frame))]);
    net.settle();
    assert!(outcomes(net, at).contains(&FrameOutcome::Native), "{when}: native from {source}");
}

fn walk(seed: u64, members: &[(u16, u64)], aggregation: Aggregation) {
    let net = plan(seed, members, aggregation).start();
    let mut live: Vec<u16> = members.iter().map(|(index, _)| *index).collect();
    live.sort_unstable();
    // The same frame comes on each member, on each in turn first; the last one remains.
    for number in 0.. {
        let first = live[0];
        let alone = aggregation == Aggregation::Static;
        let when = format!("{aggregation:?}, first {first} of {}", live.len());
        arrive(&net, 0, 2 * number, true, &when);
        for &index in &live {
            arrive(&net, index, 2 * number + 1, alone || index == first, &when);
        }
        if live.len() == 1 {
            break;
        }
        let gone = if live.len() > 4 { live.len() - 1 } else { 1 };
        live.drain(..gone).for_each(|member| net.fail(member));
    }
    net.finish().assert_clean();
}

#[test]
fn frames_from_every_nic_of_the_external_port_reach_whom_they_are_for() {
    let all: Vec<(u16, u64)> = (1..=32).map(|index| (index, 10)).collect();
    for (seed, aggregation) in (0..).zip([Aggregation::Static, Aggregation::SwitchIndependent]) {
        walk(seed, &all, aggregation);
        walk(10 + seed, &[(5, 10), (9, 25), (32, 10)], aggregation);
        walk(20 + seed, &[(1, 10)], aggregation);
        walk(30 + seed, &[(32, 10)], aggregation);
    }
}
