//! The product in the simulated switch: every way to come up, every awkwardness, many threads. What it must keep is
//! checked as it happens; here only the outcome is looked at.

use std::collections::BTreeSet;
use vswitch::adapter::physical_switch::Aggregation;
use vswitch::machine::registry::Value;
use vswitch::scenario::guest::{BROADCAST, Flow, Packet, host_mac};
use vswitch::scenario::outcome::Outcome;
use vswitch::scenario::{Activation, Body, Enumeration, Indication, Net, Scenario, unknown_request};
use vswitch::switch::control::below::Plan;
use vswitch::switch::control::envelope::Inner;
use vswitch::switch::control::status::Status;
use vswitch::switch::frames::FrameOutcome;
use vswitch::switch::ports::NicId;

/// One of several, by the seed.
fn pick<T: Copy, const N: usize>(seed: u64, step: u64, all: [T; N]) -> T {
    all[usize::try_from(seed / step).unwrap() % N]
}

/// Everything that a switch may be, by the seed.
fn any(seed: u64) -> Scenario {
    Scenario::new(seed)
        .members(&[10, 10, 10])
        .vms(3)
        .internal(1)
        .enumeration(pick(seed, 1, [Enumeration::Arrays, Enumeration::Requests, Enumeration::Mixed]))
        .activation(pick(
            seed,
            3,
            [Activation::BeforeAttach, Activation::WhilePaused, Activation::WhileRunning],
        ))
        .indication(pick(
            seed,
            9,
            [Indication::PerMember, Indication::TeamOnly, Indication::SilentUntilAsked],
        ))
        .aggregation(pick(seed, 27, [Aggregation::Static, Aggregation::SwitchIndependent]))
        .style(|s| s.send_while_paused = true)
}

/// Traffic in all directions while members and guests come and go.
fn full_scenario(plan: Scenario) -> Outcome {
    let net = plan.start();
    let [a, b, c] = [net.vm(0), net.vm(1), net.vm(2)];
    for n in 0..20 {
        net.send(a, &[net.flow(a, n).frame(1, 100), net.flow_between(a, b, n).frame(2, 60)]);
        net.send_packets(vec![
            (a, Packet::of(net.flow(a, n).frame(3, 200))),
            (b, Packet::of(net.flow(b, n).frame(1, 1000))),
            (c, Packet::native(net.flow(c, n).frame(1, 70))),
        ]);
        net.send_packets(vec![(
            b,
            Packet::several((0..3).map(|i| net.flow(b, n + i).frame(9, 100)).collect()),
        )]);
        net.send(c, &[Flow { to: BROADCAST, ..net.flow(c, 1) }.frame(3, 100)]);
        let stranger = Flow::new([2, 7, 7, 7, 7, 7], host_mac(3), n);
        net.send_packets(vec![(NicId::NOWHERE, Packet::of(stranger.frame(3, 200)))]);
        let inbound = [net.external_flow(net.vm(n % 3), n), net.external_flow(a, n)];
        net.receive_external(1 + n % 2, &inbound.map(|flow| flow.frame(5, 300)));
        net.advance(300);
        match n {
            8 => net.fail(1),
            12 => net.restore(1),
            14 => net.unplug(2),
            16 => {
                net.replug(2);
                net.remove_vm(1);
            }
            18 => {
                net.add_vm(1);
                net.pause();
            }
            19 => {
                net.restart();
            }
            _ => {}
        }
    }
    net.finish()
}

#[test]
fn a_day_in_every_kind_of_switch_breaks_no_rule() {
    for seed in 0..54 {
        full_scenario(any(seed)).assert_clean();
    }
}

#[test]
fn one_seed_is_one_run() {
    let mut hashes = BTreeSet::new();
    for seed in 0..6 {
        let [one, two] = [full_scenario(any(seed)), full_scenario(any(seed))];
        assert_eq!(one.log_hash, two.log_hash);
        assert_eq!(one.assignments, two.assignments);
        hashes.insert(one.log_hash);
    }
    assert_eq!(hashes.len(), 6);
}

#[test]
fn a_refused_call_anywhere_in_the_day_breaks_no_rule() {
    let mut n = 1;
    loop {
        let outcome = full_scenario(any(5).config(|c| c.fault = Some(n)));
        outcome.assert_clean();
        if outcome.asked < n {
            break;
        }
        // Coarse steps that are coprime to the pattern of the traffic: the sweeps proper try every number.
        n += 7;
    }
    assert!(n > 300, "{n} calls that may fail are too few for this day");
}

#[test]
fn a_switch_that_often_has_no_memory_gets_reports_for_what_is_dropped() {
    for seed in 0..10 {
        let outcome = full_scenario(any(seed).style(|s| s.refuse = 10));
        outcome.assert_clean();
        assert!(outcome.count(|end| matches!(end, FrameOutcome::Filtered { .. })) > 0);
    }
}

/// Packets that are hard to read, several switches, a copy of everything to a monitor.
#[test]
fn awkward_packets_are_decided_from_one_reading() {
    for seed in 0..30 {
        let net = Scenario::new(seed)
            .members_at(&[(3, 10), (7, 25), (32, 40)])
            .vms(3)
            .style(|s| s.mirror = Some(NicId::new(12, 0)))
            .start();
        let a = net.vm(0);
        for n in 0..40 {
            let one = net.flow(a, n).frame(1, 100);
            let other = net.flow(a, n + 1).frame(1, 100);
            net.send(a, &[one.clone(), other.clone()]);
            net.send_packets(vec![(a, Packet::flickering(one.clone(), other.clone(), 14))]);
            net.send_packets(vec![(a, Packet { subnet: Some(5001), ..Packet::of(one.clone()) })]);
            let both = Packet::several(vec![other.clone(), one.clone()]);
            net.send_packets(vec![(a, Packet { flicker: Some((20, vec![one, other])), ..both })]);
            let shortest = [&[0xFF; 6][..], &net.mac(a), &[0xFF; 2]].concat();
            net.send(a, &[vec![1, 2, 3, 4], shortest]);
            net.advance(100);
        }
        let outcome = net.finish();
        outcome.assert_clean();
        assert!(outcome.exercised["DATA-64"] > 10);
        assert_eq!(outcome.drops().values().sum::<usize>(), 40, "only what is no frame is dropped");
    }
}

#[test]
fn requests_and_status_that_mean_nothing_to_the_extension_pass_unchanged() {
    for seed in 0..20 {
        let net = Scenario::new(seed).members(&[10, 10]).vms(2).start();
        for (oid, kind) in [(0x0001_0102, 0), (0x0001_0E00, 1), (0xFF00_0001, 12), (0x0001_0296, 12)] {
            for length in [0, 3, 2000] {
                let status = [0, lbfoext::ndis::raw::NOT_SUPPORTED][length % 2];
                let answer = net.ask(unknown_request(oid, kind, vec![7; length], status)).unwrap();
                assert_eq!((answer.status, answer.reached_below), (status, true));
                net.cancel_next();
                net.ask(unknown_request(oid, kind, vec![7; length], 0));
            }
        }
        let vmq = Inner::method(0x0001_0223, vec![3; 1084]);
        let multicast = Inner::set(0x0101_0208, vec![1, 0, 0x5E, 0, 0, 1]);
        for (from, to, inner) in [
            (net.vm(0), net.member(0), &vmq),
            (net.vm(1), NicId::NOWHERE, &multicast),
            (NicId::NOWHERE, net.member(0), &vmq),
        ] {
            let answer = net.ask_nic(from, to, inner, Plan::default()).unwrap();
            assert!(answer.reached_below);
        }
        for code in [0x4001_0003, 0x4002_0010, lbfoext::ndis::raw::LINK_STATE] {
            for from in [None, Some(net.vm(1)), Some(net.member(1))] {
                net.status(Status { code, buffer: vec![1; 3], from });
            }
        }
        net.status(Status { code: lbfoext::ndis::raw::SWITCH_NIC_STATUS, buffer: vec![0; 7], from: None });
        net.finish().assert_clean();
    }
}

#[test]
fn settings_addresses_and_modules_change_while_the_switch_runs() {
    for seed in 0..20 {
        let net = Scenario::new(seed).members(&[10, 10, 10]).vms(3).switches(2).ordinary_stack().start();
        let a = net.vm(0);
        net.set("LoadBalancingAlgorithm", Value::Dword(4));
        net.advance(10_000_000);
        net.readdress(net.vm(1), [2, 3, 4, 5, 6, 7]);
        net.send(a, &[Flow::new(net.mac(a), [2, 3, 4, 5, 6, 7], 1).frame(1, 100)]);
        net.net_event(15);
        net.detach();
        net.send(a, &[net.flow(a, 1).frame(1, 100)]);
        assert!(net.attach());
        for switch in 0..2 {
            let frames = [net.flow(a, 1), net.flow_between(a, net.vm(2), 1)].map(|flow| flow.frame(1, 100));
            net.on(switch).send(a, &frames);
        }
        let outcome = net.finish();
        outcome.assert_clean();
        assert_eq!(outcome.outcomes(1), [FrameOutcome::Paused]);
        assert_eq!(outcome.delivered_to(NicId::new(12, 0)).len(), 2);
    }
}

#[test]
fn senders_links_and_requests_at_the_same_time_break_no_rule() {
    for seed in 0..40 {
        let plan = Scenario::new(seed / 2).members(&[10, 10, 10]).vms(4).indication(pick(
            seed,
            4,
            [Indication::PerMember, Indication::TeamOnly],
        ));
        let net = if seed % 2 == 1 { plan.free_threads() } else { plan }.start();
        let send = |vm: u16| -> Body {
            Box::new(move |net: &Net| {
                let from = net.vm(vm);
                for n in 0..40 {
                    let flows =
                        [net.flow(from, n), net.flow(from, n + 1), net.flow_between(from, net.vm(3), n)];
                    net.send(from, &flows.map(|flow| flow.frame(1, 100)));
                    let several = (0..3).map(|i| net.flow(from, n + i).frame(9, 100)).collect();
                    net.send_packets(vec![(from, Packet::several(several))]);
                }
            })
        };
        let links: Body = Box::new(|net: &Net| {
            for _ in 0..4 {
                for change in [Net::fail, Net::restore] {
                    change(net, 1);
                    change(net, 2);
                }
            }
        });
        let control: Body = Box::new(|net: &Net| {
            for _ in 0..3 {
                net.unplug(3);
                net.replug(3);
                net.remove_vm(3);
                net.add_vm(3);
            }
            net.pause();
            net.restart();
        });
        net.together(vec![
            ("sender 0", send(0)),
            ("sender 1", send(1)),
            ("links", links),
            ("control", control),
        ]);
        let outcome = net.finish();
        outcome.assert_clean();
    }
}
