//! Group traffic follows machines that have moved (`teaming::asking`): each is asked by IGMP and MLD at its own port after the
//! network was told of it, so that a network that snoops hears its reports on the new member.

use std::collections::BTreeMap;
use vswitch::adapter::network::Layout;
use vswitch::adapter::network::wire::Wire;
use vswitch::adapter::physical_switch::Aggregation;
use vswitch::machine::registry::Value;
use vswitch::scenario::frames::{igmp_v3_report, mld_v2_report, to_group};
use vswitch::scenario::guest::{BROADCAST, Flow, Packet, host_mac};
use vswitch::scenario::suite::MS;
use vswitch::scenario::suite::policies::access;
use vswitch::scenario::{Net, Scenario};
use vswitch::switch::frames::FrameOutcome;
use vswitch::switch::ports::NicId;
use vswitch::switch::ports::policy::{Property, Vlan};

/// The questions that were delivered since `from`: to whom, and the EtherType of each.
fn asked(net: &Net, from: u64) -> Vec<(NicId, [u8; 2])> {
    net.look(|state| {
        let queries = state.frames.all.iter().filter(|f| Wire::of(&f.bytes, 0).is_query());
        let delivered = queries.flat_map(|frame| {
            let kind = [frame.bytes[12], frame.bytes[13]];
            frame.outcomes.iter().filter_map(move |end| match end {
                FrameOutcome::Delivered { to, at } if *at >= from => Some((*to, kind)),
                _ => None,
            })
        });
        delivered.collect()
    })
    .unwrap_or_default()
}

/// The member on which a frame leaves that a VM sends now.
fn member_of(net: &Net, vm: u16, packet: Packet) -> Option<u16> {
    let module = net.switch();
    let arrived = |net: &Net| {
        net.look(|state| {
            let arrivals = &state.modules[module].external.arrivals;
            (arrivals.len(), arrivals.last().map(|arrival| arrival.member))
        })
    };
    let (before, _) = arrived(net)?;
    net.send_packets(vec![(net.vm(vm), packet)]);
    net.settle();
    arrived(net).filter(|(after, _)| *after > before)?.1
}

fn own(net: &Net, vm: u16) -> Packet {
    Packet::of(net.flow(net.vm(vm), vm).frame(1, 60))
}

fn members(net: &Net, vms: u16) -> BTreeMap<NicId, Option<u16>> {
    (0..vms).map(|vm| (net.vm(vm), member_of(net, vm, own(net, vm)))).collect()
}

fn team(seed: u64, vms: u16) -> Scenario {
    Scenario::new(seed)
        .members(&[10, 10, 10])
        .vms(vms)
        .aggregation(Aggregation::SwitchIndependent)
        .setting("LinkUpDelayMs", Value::Dword(0))
        .setting("FlowletGapUs", Value::Dword(0))
}

#[test]
fn whoever_moved_is_asked_by_both_protocols_at_its_own_port_and_nobody_else_is() {
    for seed in 0..30 {
        let vms = 12;
        let net = team(seed, vms).property(0, access(7)).start();
        net.advance(5_000 * MS);
        let before = members(&net, vms);
        let failed = net.now();
        net.fail(1);
        // All three rounds in which the network is told.
        net.advance(4_000 * MS);
        let mut asked = asked(&net, failed);
        asked.sort_unstable();
        let after = members(&net, vms);
        let moved = before.iter().filter(|(nic, member)| after[*nic] != **member);
        let mut expected: Vec<_> =
            moved.flat_map(|(nic, _)| [(*nic, [0x08, 0x00]), (*nic, [0x86, 0xDD])]).collect();
        expected.sort_unstable();
        assert_eq!(asked, expected, "seed {seed}");
        net.finish().assert_clean();
    }
}

#[test]
fn a_machine_on_a_trunk_is_asked_in_the_vlans_in_which_it_speaks() {
    let mut both = 0;
    for seed in 0..30 {
        let trunk = Vlan::Trunk { native: 8, allowed: [7, 8, 9].into(), pruned: [].into() };
        let net = team(seed, 1).property(0, Property::Vlan(trunk)).start();
        net.advance(5_000 * MS);
        let flow = net.flow(net.vm(0), 1);
        let spoken = |net: &Net| {
            [0, 7].map(|vid| {
                let packet = Packet::of(flow.frame(1, 60));
                member_of(net, 0, if vid == 0 { packet } else { Packet::tagged(flow.frame(1, 60), vid, 0) })
            })
        };
        let before = spoken(&net);
        let failed = net.now();
        net.fail(1 + seed as u16 % 3);
        net.advance(20 * MS);
        let asked = asked(&net, failed).len();
        let moved = before.iter().zip(spoken(&net)).filter(|(before, after)| **before != *after).count();
        both += usize::from(moved == 2);
        assert_eq!(asked, 2 * moved, "seed {seed}");
        net.finish().assert_clean();
    }
    assert!(both > 0);
}

/// What a VM says when it is asked.
fn report(net: &Net, vm: u16, ethertype: [u8; 2]) -> Vec<u8> {
    let mac = net.mac(net.vm(vm));
    match ethertype {
        [0x08, 0x00] => igmp_v3_report(mac, &[group(vm)]),
        _ => mld_v2_report(mac, u32::from(vm)),
    }
}

/// The group that a VM listens to.
const fn group(vm: u16) -> [u8; 4] {
    [239, 1, 1, vm as u8]
}

/// A datagram to the group of a VM from a host in the network.
fn to_listener(vm: u16, n: u32) -> Vec<u8> {
    to_group(host_mac(1), group(vm), n)
}

/// Time from the failure of a member until a group is heard again by each VM that was reached through it, in steps of 0.1 ms.
/// The VMs say nothing but reports, and these only when they are asked, or at the start. On the network others listen to the
/// same groups, without whom a switch floods them.
fn silence_of_groups(announcements: u32, patience: u64) -> Vec<Option<u64>> {
    let vms = 8;
    let net = Scenario::new(1)
        .members(&[10, 10])
        .vms(vms)
        .aggregation(Aggregation::SwitchIndependent)
        .network(Layout::two(2).snooping())
        .setting("LinkUpDelayMs", Value::Dword(0))
        .setting("Announcements", Value::Dword(announcements))
        .style(|style| style.awkward_memory = false)
        .start();
    for host in [1, 2] {
        net.place_host(host, 1);
        net.host_sends(host, 0, &[Flow::new(host_mac(host), BROADCAST, 1).frame(0, 60)]);
    }
    for vm in 0..vms {
        net.host_sends(2, 0, &[igmp_v3_report(host_mac(2), &[group(vm)])]);
    }
    net.advance(3_000 * MS);
    let on_first: Vec<u16> = (0..vms)
        .filter(|vm| member_of(&net, *vm, Packet::of(report(&net, *vm, [0x08, 0x00]))) == Some(1))
        .collect();
    assert!(!on_first.is_empty());
    net.advance(300 * MS);
    let hears = |vm: u16, n: u32| {
        let before = net.delivered(net.vm(vm)).len();
        net.host_sends(1, 0, &[to_listener(vm, n)]);
        net.settle();
        net.delivered(net.vm(vm)).len() > before
    };
    assert!(on_first.iter().all(|vm| hears(*vm, 1)), "each is reached before");
    let failed = net.now();
    net.fail(1);
    let mut reached: BTreeMap<u16, u64> = BTreeMap::new();
    let mut answered = 0;
    let mut n = 2;
    while net.now() - failed < patience && reached.len() < on_first.len() {
        net.advance(MS / 10);
        let questions = asked(&net, failed);
        for (nic, kind) in questions.iter().skip(answered) {
            let vm = (0..vms).find(|vm| net.vm(*vm) == *nic).expect("a machine");
            net.send(*nic, &[report(&net, vm, *kind)]);
        }
        answered = questions.len();
        for vm in &on_first {
            n += 1;
            if hears(*vm, n) {
                reached.entry(*vm).or_insert(net.now() - failed);
            }
        }
    }
    net.finish().assert_clean();
    on_first.iter().map(|vm| reached.get(vm).copied()).collect()
}

#[test]
fn who_listens_to_a_group_hears_it_again_as_soon_as_it_answers_and_not_where_nobody_asks() {
    let with = silence_of_groups(3, 100 * MS);
    let without = silence_of_groups(0, 100 * MS);
    println!("with questions {with:?}, without {without:?}, in 100 ns");
    assert!(with.iter().all(|time| time.is_some_and(|time| time <= 2 * MS)), "{with:?}");
    assert!(without.iter().all(Option::is_none), "{without:?}");
}
