//! Seats under HyperVPort, through the driver: whole machines are spread evenly, as the physical network sees it, nobody
//! moves because another came or went, everybody is home again after a return, and a seat moves with its machine.

use crate::module::look;
use std::collections::BTreeMap;
use vswitch::adapter::physical_switch::Aggregation;
use vswitch::machine::registry::Value;
use vswitch::scenario::migration::{ARRIVALS, Migration};
use vswitch::scenario::suite::MS;
use vswitch::scenario::suite::depth::seeds;
use vswitch::scenario::{Net, Scenario};
use vswitch::switch::ports::NicId;

/// HyperVPort.
const BY_PORT: u32 = 4;

fn team(seed: u64, speeds: &[u64], vms: u16) -> Scenario {
    Scenario::new(seed)
        .members(speeds)
        .vms(vms)
        .aggregation(Aggregation::SwitchIndependent)
        .setting("LoadBalancingAlgorithm", Value::Dword(BY_PORT))
        .setting("LinkUpDelayMs", Value::Dword(0))
        .setting("FlowletGapUs", Value::Dword(0))
        .style(|style| style.awkward_memory = false)
}

/// The members have told their speeds, and every move has taken effect.
fn at_rest(plan: Scenario) -> Net {
    let net = plan.start();
    net.advance(2_000 * MS);
    net
}

/// The member on which the physical network knows each machine, by a frame that each sends now.
fn members(net: &Net, nics: &[NicId]) -> BTreeMap<NicId, u16> {
    let (module, from) = (net.switch(), net.now());
    for (nic, n) in nics.iter().zip(0..) {
        net.send(*nic, &[net.flow(*nic, n).frame(1, 60)]);
    }
    net.settle();
    let seen = net.look(|state| {
        let arrivals = state.modules[module].external.arrivals.iter().filter(|arrival| arrival.at >= from);
        let frame = |frame: usize| state.frames.all.get(frame).map(|frame| frame.from);
        arrivals.filter_map(|arrival| Some((frame(arrival.frame)?, arrival.member))).collect()
    });
    let seen: BTreeMap<NicId, u16> = seen.unwrap_or_default();
    seen.into_iter().filter(|(nic, _)| nics.contains(nic)).collect()
}

fn vms(net: &Net, count: u16) -> Vec<NicId> {
    (0..count).map(|n| net.vm(n)).collect()
}

/// How many machines each of `of` members has.
fn spread(members: &BTreeMap<NicId, u16>, of: u16) -> Vec<usize> {
    (1..=of).map(|member| members.values().filter(|at| **at == member).count()).collect()
}

fn assert_within_one(spread: &[usize], what: &str) {
    let (least, most) = (spread.iter().min(), spread.iter().max());
    assert!(most.unwrap() - least.unwrap() <= 1, "{what}: {spread:?}");
}

#[test]
fn eight_machines_over_four_members_are_two_on_each() {
    for seed in seeds(40) {
        let net = at_rest(team(seed, &[10; 4], 8));
        assert_eq!(spread(&members(&net, &vms(&net, 8)), 4), [2; 4], "seed {seed}");
        net.finish().assert_clean();
    }
}

#[test]
fn machines_are_spread_by_weight_once_the_speeds_are_known() {
    for seed in seeds(20) {
        let net = at_rest(team(seed, &[10, 40, 10], 12));
        assert_eq!(spread(&members(&net, &vms(&net, 12)), 3), [2, 8, 2], "seed {seed}");
        net.finish().assert_clean();
    }
}

#[test]
fn the_hosts_own_adapters_are_machines_as_others() {
    for seed in seeds(10) {
        let net = at_rest(team(seed, &[10; 4], 6).internal(2));
        let mut nics = vms(&net, 6);
        nics.extend([net.internal(0), net.internal(1)]);
        assert_eq!(spread(&members(&net, &nics), 4), [2; 4], "seed {seed}");
        net.finish().assert_clean();
    }
}

#[test]
fn who_comes_fills_the_gap_and_nobody_else_moves() {
    for seed in seeds(40) {
        let net = at_rest(team(seed, &[10; 4], 8));
        let before = members(&net, &vms(&net, 8));
        let (first, second) = ((seed % 8) as u16, ((seed + 3) % 8) as u16);
        net.remove_vm(first);
        net.remove_vm(second);
        let left: Vec<NicId> =
            before.keys().copied().filter(|n| ![net.vm(first), net.vm(second)].contains(n)).collect();
        let now = members(&net, &left);
        assert!(now.iter().all(|(nic, member)| before[nic] == *member), "seed {seed}: nobody moved");
        net.add_vm(20);
        net.add_vm(31);
        let mut all = left;
        all.extend([net.vm(20), net.vm(31)]);
        let now = members(&net, &all);
        assert_eq!(spread(&now, 4), [2; 4], "seed {seed}");
        let stayed = now.iter().filter(|(nic, member)| before.get(nic) == Some(member)).count();
        assert_eq!(stayed, 6, "seed {seed}");
        net.finish().assert_clean();
    }
}

#[test]
fn a_failure_and_a_return_bring_everybody_home() {
    for seed in seeds(40) {
        let net = at_rest(team(seed, &[10; 4], 8));
        let nics = vms(&net, 8);
        let before = members(&net, &nics);
        let failed = 1 + (seed % 4) as u16;
        net.fail(failed);
        net.settle();
        let during = members(&net, &nics);
        for (nic, member) in &before {
            assert_eq!(during[nic] == *member, *member != failed, "seed {seed}: only its own machines move");
        }
        // One comes and one goes meanwhile.
        net.remove_vm(0);
        net.add_vm(12);
        net.restore(failed);
        net.advance(1_000 * MS);
        let left = &nics[1..];
        let after = members(&net, left);
        assert!(after.iter().all(|(nic, member)| before[nic] == *member), "seed {seed}: home again");
        let all: Vec<NicId> = left.iter().copied().chain([net.vm(12)]).collect();
        assert_within_one(&spread(&members(&net, &all), 4), "with the one who came");
        net.finish().assert_clean();
    }
}

#[test]
fn a_pause_moves_nobody_and_an_attachment_spreads_by_the_order_of_ports() {
    for seed in seeds(20) {
        let net = at_rest(team(seed, &[10; 4], 11));
        let nics = vms(&net, 11);
        let before = members(&net, &nics);
        net.pause();
        net.restart();
        net.advance(1_000 * MS);
        assert_eq!(members(&net, &nics), before, "seed {seed}");
        net.detach();
        assert!(net.attach());
        net.advance(2_000 * MS);
        assert_eq!(members(&net, &nics), before, "seed {seed}: the same machines in the same order");
        net.finish().assert_clean();
    }
}

#[test]
fn another_policy_takes_the_seats_and_hyper_v_port_gives_them_back() {
    for seed in seeds(10) {
        let net = at_rest(team(seed, &[10; 4], 8).setting("TeamingMode", Value::Dword(1)));
        let nics = vms(&net, 8);
        let before = members(&net, &nics);
        let seats = |net: &Net| {
            let of = |nic: &NicId| {
                let id = teaming::ids::NicId::new(
                    teaming::ids::PortId::new(nic.port),
                    teaming::ids::NicIndex::new(nic.index),
                );
                look(net, |module| module.forwarding.read().hashed_as(id).seat())
            };
            nics.iter().map(of).collect::<Vec<_>>()
        };
        // VlanSourceMac.
        net.set("LoadBalancingAlgorithm", Value::Dword(6));
        net.advance(2_000 * MS);
        assert!(seats(&net).iter().all(|seat| *seat == Some(0)), "seed {seed}: {:?}", seats(&net));
        net.set("LoadBalancingAlgorithm", Value::Dword(BY_PORT));
        net.advance(2_000 * MS);
        assert_eq!(members(&net, &nics), before, "seed {seed}");
        drop(net.finish());
    }
}

/// The target has `others` machines. Whether the machine kept its member.
fn move_once(seed: u64, others: u16) -> bool {
    let net = at_rest(team(seed, &[10; 4], 5).host(1, &[(1, 10), (2, 10), (3, 10), (4, 10)], others));
    let there = net.on(1);
    let (nic, becomes) = (net.vm((seed % 5) as u16), there.vm(40));
    let home = members(&net, &[nic])[&nic];
    let before = spread(&members(&there, &vms(&there, others)), 4);
    let mac = net.mac(nic);
    let arrival = ARRIVALS[(seed % 3) as usize];
    Migration { arrival, mac, ..Migration::new(&net, &there, nic, becomes) }.run(|| ()).expect("it moves");
    let from = there.now();
    there.send(
        becomes,
        &[vswitch::scenario::guest::Flow::new(mac, vswitch::scenario::guest::host_mac(0), 9).frame(1, 60)],
    );
    there.settle();
    let now = there.look(|state| {
        let arrivals = &state.modules[1].external.arrivals;
        arrivals.iter().rfind(|arrival| arrival.at >= from).map(|arrival| arrival.member)
    });
    let now = now.flatten().expect("it was sent");
    let (least, most) = (before.iter().min().unwrap(), before.iter().max().unwrap());
    let fits = before[usize::from(home) - 1] < *most.max(&(least + 1));
    assert_eq!(now == home, fits, "seed {seed}, {arrival:?}: {before:?}, from {home} to {now}");
    assert!(fits || before[usize::from(now) - 1] == *least);
    drop(net.finish());
    fits
}

#[test]
fn a_migration_brings_the_seat_unless_its_member_would_be_too_full() {
    let all = seeds(60).count();
    let kept = seeds(60).filter(|seed| move_once(*seed, (seed % 6) as u16)).count();
    assert!((all / 3..all).contains(&kept), "{kept} of {all}");
}
