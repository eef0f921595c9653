//! Roles of members: who stands by, who is out of service, and what that means for packets of either direction.

use super::members::set_for;
use super::status::ask;
use vswitch::adapter::physical_switch::Aggregation;
use vswitch::machine::registry::Value;
use vswitch::scenario::frames;
use vswitch::scenario::guest::host_mac;
use vswitch::scenario::suite::MS;
use vswitch::scenario::suite::receiving::Setting;
use vswitch::scenario::{Net, Scenario};

const STANDBY: (&str, u32) = ("Role", 1);
const OUT: (&str, u32) = ("OutOfService", 1);

fn team(seed: u64, members: &[u64]) -> Net {
    let net = Scenario::new(seed).members(members).vms(3).setting("LinkUpDelayMs", Value::Dword(0)).start();
    net.advance(100 * MS);
    net
}

fn set(net: &Net, number: u16, (name, value): (&str, u32)) {
    set_for(net, number, name, value);
    net.advance(100 * MS);
}

/// Sends from every VM; how many frames each member carried.
fn carried(net: &Net, members: usize) -> Vec<u64> {
    let frames = || -> Vec<u64> {
        let all = ask(net, None);
        (1..=members).map(|index| all[&format!("Member{index}Frames")]).collect()
    };
    let before = frames();
    for vm in 0..3_u16 {
        for n in 0..60 {
            net.send(net.vm(vm), &[net.flow(net.vm(vm), n).frame(0, 100)]);
        }
    }
    net.settle();
    frames().into_iter().zip(before).map(|(now, before)| now - before).collect()
}

fn states(net: &Net, members: usize) -> Vec<u64> {
    let all = ask(net, None);
    (1..=members).map(|index| all[&format!("Member{index}State")]).collect()
}

const DOWN: u64 = 2;
const ACTIVE: u64 = 4;
const STANDS_BY: u64 = 5;
const IS_OUT: u64 = 6;

#[test]
fn a_standby_member_carries_nothing_until_another_one_fails_and_nothing_again_when_all_are_back() {
    for seed in 0..6 {
        let net = team(seed, &[10, 10, 10]);
        set(&net, 3, STANDBY);
        assert_eq!(states(&net, 3), [ACTIVE, ACTIVE, STANDS_BY]);
        let before = carried(&net, 3);
        assert!(before[0] > 0 && before[1] > 0 && before[2] == 0, "{before:?}");
        net.fail(1);
        assert_eq!(states(&net, 3), [DOWN, ACTIVE, ACTIVE]);
        assert_eq!(
            carried(&net, 3),
            [0, before[1], before[0]],
            "seed {seed}: the stand-in gets what was the other's"
        );
        net.restore(1);
        net.advance(100 * MS);
        assert_eq!(states(&net, 3), [ACTIVE, ACTIVE, STANDS_BY]);
        assert_eq!(carried(&net, 3), before, "seed {seed}");
        assert_eq!(ask(&net, None)["Status"], 0);
        net.finish().assert_clean();
    }
}

#[test]
fn roles_are_in_force_before_the_first_packet_after_a_restart_of_the_extension() {
    let net = team(3, &[10, 10]);
    set(&net, 1, STANDBY);
    net.detach();
    net.attach();
    assert_eq!(carried(&net, 2)[0], 0);
    net.finish().assert_clean();
}

#[test]
fn a_member_out_of_service_carries_nothing_whatever_its_link_does_and_all_of_its_flows_afterwards() {
    for seed in 0..6 {
        let net = team(seed, &[10, 10]);
        let before = carried(&net, 2);
        set(&net, 2, OUT);
        assert_eq!((states(&net, 2), carried(&net, 2)), (vec![ACTIVE, IS_OUT], vec![180, 0]));
        let all = ask(&net, None);
        // Degraded, AdministrativeDecision.
        assert_eq!((all["Status"], all["FailureReason"], all["Member2FailureReason"]), (1, 1, 1));
        net.fail(2);
        net.restore(2);
        net.advance(100 * MS);
        assert_eq!(carried(&net, 2), [180, 0], "seed {seed}");
        set(&net, 2, ("OutOfService", 0));
        assert_eq!(carried(&net, 2), before, "seed {seed}");
        net.finish().assert_clean();
    }
}

#[test]
fn flows_in_use_leave_a_member_that_is_taken_out_of_service_without_a_packet_lost_or_overtaken() {
    for seed in 0..6 {
        let net = team(seed, &[10, 10]);
        set_for(&net, 2, OUT.0, OUT.1);
        // No gap of half a millisecond: the flows stay until the deadline, and the switch sees that none is reordered.
        for round in 0..200 {
            for n in 0..8 {
                net.send(net.vm(0), &[net.flow(net.vm(0), n).frame(round, 100)]);
            }
            net.advance(MS / 4);
        }
        net.advance(200 * MS);
        assert_eq!(states(&net, 2), [ACTIVE, IS_OUT], "seed {seed}");
        net.finish().assert_clean();
    }
}

/// Both links are up, so the physical switch floods to both.
#[test]
fn what_the_physical_switch_floods_to_a_resting_member_too_arrives_once() {
    for value in [STANDBY, OUT] {
        for two in [false, true] {
            let setting = Setting { aggregation: Aggregation::SwitchIndependent, members: 2, two };
            for seed in 0..3 {
                let net = setting.plan(seed, 4, setting.layout()).start();
                net.advance(100 * MS);
                set(&net, 2, value);
                arrives_once(&net, seed);
                // A restart with the role set: the second member has never carried anything.
                net.detach();
                net.attach();
                arrives_once(&net, seed);
                net.finish().assert_clean();
            }
        }
    }
}

/// A link that has come back and is being waited for receives already.
#[test]
fn what_the_physical_switch_floods_to_a_member_that_settles_too_arrives_once() {
    let setting = Setting { aggregation: Aggregation::SwitchIndependent, members: 2, two: false };
    for seed in 0..3 {
        let plan = setting.plan(seed, 4, setting.layout()).setting("LinkUpDelayMs", Value::Dword(60_000));
        let net = plan.start();
        net.fail(2);
        net.detach();
        net.attach();
        net.advance(100 * MS);
        net.restore(2);
        net.advance(100 * MS);
        arrives_once(&net, seed);
        net.finish().assert_clean();
    }
}

fn arrives_once(net: &Net, seed: u64) {
    let count = || -> Vec<usize> { (0..4).map(|vm| net.delivered(net.vm(vm)).len()).collect() };
    net.settle();
    let before = count();
    for n in 0..10 {
        net.host_sends(1, 0, &[frames::gratuitous_arp(host_mac(1), [10, 0, 0, n])]);
        net.advance(MS);
    }
    net.settle();
    let got: Vec<usize> = count().into_iter().zip(before).map(|(now, before)| now - before).collect();
    assert_eq!(got, [10; 4], "seed {seed}");
}

#[test]
fn a_link_that_fails_again_and_again_is_kept_out_longer_each_time() {
    let net = Scenario::new(1)
        .members(&[10, 10])
        .vms(1)
        .setting("LinkUpDelayMs", Value::Dword(1_000))
        .setting("FlapHoldDownMs", Value::Dword(5_000))
        .start();
    net.advance(100 * MS);
    for (failures, seconds) in [(0, 1), (1, 2), (2, 4), (3, 5), (4, 5)] {
        net.fail(2);
        net.restore(2);
        net.advance((seconds * 1_000 - 50) * MS);
        let all = ask(&net, None);
        assert_eq!((all["Member2State"], all["Member2Failures"]), (3, failures), "after {failures}");
        net.advance(100 * MS);
        assert_eq!(states(&net, 2), [ACTIVE, ACTIVE], "after {failures}");
    }
    net.finish().assert_clean();
}

#[test]
fn the_team_is_degraded_while_fewer_members_carry_than_minimum_links_asks_for() {
    let net = team(1, &[10, 10]);
    net.set("MinimumLinks", Value::Dword(2));
    set(&net, 2, STANDBY);
    assert_eq!((states(&net, 2), ask(&net, None)["Status"]), (vec![ACTIVE, ACTIVE], 0), "it stands in");
    net.set("MinimumLinks", Value::Dword(3));
    assert_eq!(ask(&net, None)["Status"], 1);
    net.set("MinimumLinks", Value::Dword(0));
    net.advance(100 * MS);
    assert_eq!((states(&net, 2), ask(&net, None)["Status"]), (vec![ACTIVE, STANDS_BY], 0));
    net.finish().assert_clean();
}
