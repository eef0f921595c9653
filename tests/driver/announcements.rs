//! After a move the network is told on which member each address is reached (`teaming::announce`): of what moved everything,
//! of what did not nothing, each on its new member and in its VLAN.

use std::collections::{BTreeMap, BTreeSet};
use vswitch::adapter::network::Layout;
use vswitch::adapter::physical_switch::Aggregation;
use vswitch::inject::was_committed;
use vswitch::machine::registry::Value;
use vswitch::mutation::Mutation;
use vswitch::scenario::guest::{BROADCAST, Flow, Packet, host_mac};
use vswitch::scenario::suite::MS;
use vswitch::scenario::suite::policies::access;
use vswitch::scenario::{Net, Scenario};
use vswitch::switch::ports::policy::{Property, Security, Vlan};
use vswitch::switch::ports::{Mac, NicId};

/// An address in a VLAN, and the member on which it was told.
type Told = (Mac, u16, u16);

/// What was told since `from` and arrived, with the time.
fn told(net: &Net, from: u64) -> Vec<(u64, Told)> {
    let module = net.switch();
    net.look(|state| {
        let arrivals = &state.modules[module].external.arrivals;
        let told = arrivals.iter().filter(|arrival| arrival.at >= from).filter_map(|arrival| {
            let frame = state.frames.all.get(arrival.frame)?;
            let is_told = frame.bytes.get(12..14)? == [0x80, 0x35];
            let mac = frame.bytes.get(6..12)?.try_into().ok()?;
            is_told.then_some((arrival.at, (mac, arrival.vid, arrival.member)))
        });
        told.collect()
    })
    .unwrap_or_default()
}

/// The member that each VM's own frames take, by frames that it sends.
fn members(net: &Net, vms: u16) -> BTreeMap<Mac, u16> {
    let module = net.switch();
    let from = net.now();
    for vm in 0..vms {
        net.send(net.vm(vm), &[net.flow(net.vm(vm), vm).frame(1, 60)]);
    }
    net.settle();
    let vm = |port: u32| (vswitch::scenario::FIRST_VM_PORT..).contains(&port);
    net.look(|state| {
        let arrivals = state.modules[module].external.arrivals.iter().filter(|a| a.at >= from);
        arrivals
            .filter_map(|arrival| {
                let frame = state.frames.all.get(arrival.frame).filter(|frame| vm(frame.from.port))?;
                Some((frame.bytes.get(6..12)?.try_into().ok()?, arrival.member))
            })
            .collect()
    })
    .unwrap_or_default()
}

fn team(seed: u64, vms: u16) -> Scenario {
    Scenario::new(seed)
        .members(&[10, 10, 10])
        .vms(vms)
        .aggregation(Aggregation::SwitchIndependent)
        .setting("LinkUpDelayMs", Value::Dword(0))
        .setting("FlowletGapUs", Value::Dword(0))
}

/// A switch on which nothing moves any more, and of what moved at the start everything is told.
fn at_rest(plan: Scenario) -> Net {
    let net = plan.start();
    net.advance(5_000 * MS);
    net
}

/// Those told since `from`.
fn told_set(net: &Net, from: u64) -> BTreeSet<Told> {
    told(net, from).into_iter().map(|(_, told)| told).collect()
}

/// The addresses of VMs that have another member than before.
fn moved(net: &Net, vms: u16, before: &BTreeMap<Mac, u16>) -> BTreeSet<Told> {
    let after = members(net, vms);
    let moved = after.iter().filter(|(mac, member)| before[*mac] != **member);
    moved.map(|(mac, member)| (*mac, 0, *member)).collect()
}

#[test]
fn what_moved_is_told_on_its_new_member_and_nothing_else_is() {
    for seed in 0..30 {
        let vms = 12;
        let net = at_rest(team(seed, vms));
        let before = members(&net, vms);
        let failed = net.now();
        net.fail(1);
        net.advance(10 * MS);
        let told = told_set(&net, failed);
        assert_eq!(told, moved(&net, vms, &before), "seed {seed}");
        net.finish().assert_clean();
    }
}

#[test]
fn a_thousand_machines_are_told_of_within_10_ms_and_the_first_within_1() {
    let vms = 1_024;
    let net = Scenario::new(3)
        .members(&[10, 10])
        .vms(vms)
        .aggregation(Aggregation::SwitchIndependent)
        .setting("LinkUpDelayMs", Value::Dword(0))
        .style(|style| style.awkward_memory = false)
        .start();
    let before = members(&net, vms);
    net.advance(2_000 * MS);
    let failed = net.now();
    net.fail(1);
    net.advance(20 * MS);
    let all = told(&net, failed);
    let (first, last) = (all.iter().map(|(at, _)| at).min(), all.iter().map(|(at, _)| at).max());
    let [first, last] = [first, last].map(|at| at.expect("some") - failed);
    println!("{} told, the first after {first}, the last after {last} x 100 ns", all.len());
    assert!(first <= MS && last <= 10 * MS, "{first} {last}");
    let told: BTreeSet<Told> = all.into_iter().map(|(_, told)| told).collect();
    assert_eq!(told, moved(&net, vms, &before));
    net.finish().assert_clean();
}

#[test]
fn every_refused_call_puts_off_what_is_told_and_loses_none_of_it() {
    let vms = 6;
    let mut sites = BTreeSet::new();
    for call in 1..400 {
        let net = at_rest(team(5, vms));
        let before = members(&net, vms);
        let faults = net.world().faults();
        net.world().fail_from_here(call);
        let failed = net.now();
        net.fail(1);
        net.advance(20 * MS);
        let refused: Vec<_> = net.world().faults_since(faults);
        net.advance(3_000 * MS);
        let told = told_set(&net, failed);
        let moved = moved(&net, vms, &before);
        assert!(!moved.is_empty());
        assert_eq!(told, moved, "{refused:?}");
        net.finish().assert_clean();
        let Some(refused) = refused.first() else { break };
        sites.insert(refused.site);
    }
    for site in ["AllocateNetBufferListForwardingContext", "NdisAllocateNetBufferAndNetBufferList"] {
        assert!(sites.contains(site), "{site}: {sites:?}");
    }
}

#[test]
fn a_pause_waits_for_what_is_being_told_and_the_rest_is_told_after_the_restart() {
    for seed in 0..40 {
        let vms = 12;
        let net = at_rest(team(seed, vms).setting("AnnouncementBurst", Value::Dword(2)));
        let before = members(&net, vms);
        let failed = net.now();
        net.fail(1);
        net.pause();
        net.advance(500 * MS);
        assert!(net.restart());
        net.advance(1_000 * MS);
        assert_eq!(told_set(&net, failed), moved(&net, vms, &before), "seed {seed}");
        net.finish().assert_clean();
    }
}

#[test]
fn a_detach_leaves_nothing_of_what_is_being_told() {
    for seed in 0..40 {
        let net = at_rest(team(seed, 12));
        members(&net, 12);
        net.fail(1);
        net.detach();
        net.finish().assert_clean();
    }
}

#[test]
fn another_member_that_fails_meanwhile_gets_nothing_more() {
    for seed in 0..40 {
        let vms = 12;
        let net = at_rest(team(seed, vms).setting("AnnouncementBurst", Value::Dword(2)));
        let before = members(&net, vms);
        let failed = net.now();
        net.fail(1);
        net.advance(MS);
        net.fail(2);
        net.advance(500 * MS);
        // The last word on each.
        let mut all = told(&net, failed);
        all.sort_unstable();
        let last: BTreeMap<Mac, u16> = all.into_iter().map(|(_, (mac, _, member))| (mac, member)).collect();
        let moved = moved(&net, vms, &before);
        assert_eq!(moved.len(), last.len(), "seed {seed}");
        assert!(moved.iter().all(|(mac, _, member)| last[mac] == *member), "seed {seed}");
        // No frame is assigned to a member that is known to be down (STA-1).
        net.finish().assert_clean();
    }
}

/// Time from the failure of the member until a frame from outside reaches each VM that only listens, in steps of 0.1 ms; `None`
/// if it does not within the time given.
fn silence_of_listeners(announcements: u32, patience: u64) -> Vec<Option<u64>> {
    let vms = 8;
    let net = Scenario::new(1)
        .members(&[10, 10])
        .vms(vms)
        .aggregation(Aggregation::SwitchIndependent)
        .network(Layout::two(2))
        .setting("LinkUpDelayMs", Value::Dword(0))
        .setting("Announcements", Value::Dword(announcements))
        .style(|style| style.awkward_memory = false)
        .start();
    net.place_host(1, 1);
    net.host_sends(1, 0, &[Flow::new(host_mac(1), BROADCAST, 1).frame(0, 60)]);
    net.advance(3_000 * MS);
    let mut on_first = Vec::new();
    for vm in 0..vms {
        let from = net.now();
        net.send(net.vm(vm), &[Flow { to: BROADCAST, ..net.flow(net.vm(vm), 1) }.frame(1, 60)]);
        net.settle();
        let module = net.switch();
        let member = net.look(|state| {
            let arrivals = &state.modules[module].external.arrivals;
            arrivals.iter().find(|arrival| arrival.at >= from).map(|arrival| arrival.member)
        });
        if member == Some(Some(1)) {
            on_first.push(vm);
        }
        net.advance(300 * MS);
    }
    assert!(!on_first.is_empty());
    let failed = net.now();
    net.fail(1);
    let mut reached: BTreeMap<u16, u64> = BTreeMap::new();
    let mut sequence = 2;
    while net.now() - failed < patience && reached.len() < on_first.len() {
        net.advance(MS / 10);
        for vm in &on_first {
            let before = net.delivered(net.vm(*vm)).len();
            sequence += 1;
            net.host_sends(1, 0, &[net.external_flow(net.vm(*vm), 1).frame(sequence, 60)]);
            if net.delivered(net.vm(*vm)).len() > before {
                reached.entry(*vm).or_insert(net.now() - failed);
            }
        }
    }
    net.finish().assert_clean();
    on_first.iter().map(|vm| reached.get(vm).copied()).collect()
}

#[test]
fn who_only_listens_is_reached_at_once_where_the_network_is_told_and_not_where_it_is_not() {
    let with = silence_of_listeners(3, 100 * MS);
    let without = silence_of_listeners(0, 100 * MS);
    println!("with announcements {with:?}, without {without:?}, in 100 ns");
    assert!(with.iter().all(|time| time.is_some_and(|time| time <= 2 * MS)), "{with:?}");
    assert!(without.iter().all(Option::is_none), "{without:?}");
}

/// What can be done wrongly with lists of the driver's own, each with the rule that must be named.
const WRONG_WITH_OWN: [(Mutation, &str); 7] = [
    (Mutation::CompleteOwn, "DATA-04"),
    (Mutation::GetBeforeContext, "DATA-16"),
    (Mutation::ContextBeforeHandle, "DATA-17"),
    (Mutation::ForgetSecondContext, "DATA-19"),
    (Mutation::FreeContextTwice, "DATA-20"),
    (Mutation::ClaimSafe, "DATA-66"),
    (Mutation::OwnToNowhere, "DATA-73"),
];

/// Nothing is split here, so the only lists of the driver's own are those that tell the network.
#[test]
fn what_is_wrong_with_lists_of_our_own_is_found_with_those_that_tell_the_network() {
    for (mutation, rule) in WRONG_WITH_OWN {
        // This one is for a list that is sent alone: without questions, when what was told is repeated.
        let alone = mutation == Mutation::OwnToNowhere;
        let (burst, patience) = if alone { (1, 1_500 * MS) } else { (0, 20 * MS) };
        let plan = team(7, 12).setting("AnnouncementBurst", Value::Dword(burst));
        let net = at_rest(plan.config(|config| config.mutation = Some(mutation)));
        let world = net.world().clone();
        members(&net, 12);
        assert!(!was_committed(&world), "{mutation:?}: before anything is told");
        net.fail(1);
        net.advance(patience);
        let outcome = net.finish();
        assert!(was_committed(&world), "{mutation:?}");
        assert_eq!(outcome.broken(), BTreeSet::from([rule]), "{mutation:?}");
    }
}

/// An address that a guest bridges.
const fn bridged(n: u8) -> Mac {
    [0x06, 0, 0, 0, 1, n]
}

/// Frames to the outside of every kind of machine: from access ports, trunks, bridges, of a virtual subnet and of a cluster.
fn one_of_each(net: &Net) -> Vec<(NicId, Packet)> {
    let own = |vm: u16| match (vm, net.flow(net.vm(vm), vm)) {
        (5, flow) => Flow { from: CLUSTER, ..flow }.frame(1, 60),
        (_, flow) => flow.frame(1, 60),
    };
    let of = |n: u8| Flow::new(bridged(n), host_mac(1), 1).frame(1, 60);
    let mut all: Vec<_> = (0..8).map(|vm| (net.vm(vm), Packet::of(own(vm)))).collect();
    all.extend((0..6).map(|n| (net.vm(2), Packet::of(of(n)))));
    all.extend((6..12).map(|n| (net.vm(3), Packet::tagged(of(n), 9, 0))));
    all.extend((12..14).map(|n| (net.vm(3), Packet::of(of(n)))));
    // Never without a tag: with one beside the frame, and with one in it.
    all.push((net.vm(8), Packet::tagged(own(8), 7, 0)));
    all.push((net.vm(8), Packet::of([&own(8)[..12], &[0x81, 0, 0, 9], &own(8)[12..]].concat())));
    all
}

/// The port of the last kind of machine, and of two others.
fn trunk() -> Vlan {
    Vlan::Trunk { native: 8, allowed: [7, 8, 9].into(), pruned: [].into() }
}

/// The member on which each address arrives in each VLAN.
fn arriving(net: &Net) -> BTreeMap<(Mac, u16), u16> {
    let (module, from) = (net.switch(), net.now());
    for packet in one_of_each(net) {
        net.send_packets(vec![packet]);
    }
    net.settle();
    net.look(|state| {
        let arrivals = state.modules[module].external.arrivals.iter().filter(|arrival| arrival.at >= from);
        let seen = arrivals.filter_map(|arrival| {
            let frame = state.frames.all.get(arrival.frame)?;
            let is_told = frame.bytes.get(12..14)? == [0x80, 0x35];
            let mac = frame.bytes.get(6..12)?.try_into().ok()?;
            (!is_told).then_some(((mac, arrival.vid), arrival.member))
        });
        seen.collect()
    })
    .unwrap_or_default()
}

const CLUSTER: Mac = [0x02, 0xbf, 0, 0, 0, 5];

#[test]
fn each_address_that_the_network_may_know_is_told_in_the_vlan_in_which_it_sends() {
    let mut all = 0;
    for seed in 0..40 {
        let bridge = Property::Security(Security { spoofing: true, ..Security::default() });
        let net = at_rest(
            team(seed, 9)
                .setting("LoadBalancingAlgorithm", Value::Dword(if seed % 2 == 0 { 4 } else { 6 }))
                .property(0, access(7))
                .property(1, Property::Vlan(trunk()))
                .property(2, bridge.clone())
                .property(3, bridge)
                .property(3, Property::Vlan(trunk()))
                .property(8, Property::Vlan(trunk()))
                .property(4, Property::Security(Security { subnet: 5_001, ..Security::default() })),
        );
        net.readdress(net.vm(5), CLUSTER);
        let before = arriving(&net);
        assert!(before.len() >= 20, "{before:?}");
        // Of a virtual subnet the network knows no address, and that of a cluster it is not to learn.
        let unknown = [net.mac(net.vm(4)), CLUSTER];
        let failed = net.now();
        net.fail(1 + seed as u16 / 2 % 3);
        net.advance(20 * MS);
        let told = told_set(&net, failed);
        let moved: BTreeSet<Told> = arriving(&net)
            .into_iter()
            .filter(|((mac, vid), member)| !unknown.contains(mac) && before[&(*mac, *vid)] != *member)
            .map(|((mac, vid), member)| (mac, vid, member))
            .collect();
        assert_eq!(told, moved, "seed {seed}");
        all += told.len();
        net.finish().assert_clean();
    }
    assert!(all > 200, "{all}");
}

#[test]
fn what_is_told_where_nothing_was_heard_is_found() {
    let net = at_rest(team(2, 9).property(8, Property::Vlan(trunk())));
    arriving(&net);
    net.look(|state| state.modules[0].spoken.clear());
    for member in 1..=2 {
        net.fail(member);
        net.advance(20 * MS);
    }
    assert_eq!(net.finish().broken(), BTreeSet::from(["SWITCH-PHANTOM"]));
}
