//! Live status: what the switch is told of the team and of a port when an administrator asks, field by field of the MOF
//! classes, is what happened.

use super::members::weigh;
use super::module::{look, report};
use lbfoext::ndis::raw::{FAILURE, INVALID_LENGTH, SUCCESS};
use std::collections::BTreeMap;
use teaming::ids::MemberIndex;
use vswitch::adapter::identity::instance_id;
use vswitch::adapter::physical_switch::Aggregation;
use vswitch::machine::registry::Value;
use vswitch::scenario::guest::Flow;
use vswitch::scenario::suite::MS;
use vswitch::scenario::{Net, Scenario};
use vswitch::switch::control::features::{Feature, declared};

fn feature(of_port: bool) -> Feature {
    declared().into_iter().find(|feature| feature.of_port == of_port).expect("the package declares it")
}

/// The answer to a question with enough room, by field.
pub fn ask(net: &Net, port: Option<u32>) -> BTreeMap<String, u64> {
    let feature = feature(port.is_some());
    let answer = net.feature_status(port, feature.id, feature.length()).expect("it is attached");
    assert_eq!(answer.status, SUCCESS);
    let at = if port.is_some() { 80 } else { 72 };
    let word = |chunk: &[u8]| u64::from_le_bytes(chunk.try_into().expect("eight bytes"));
    let words = answer.payload[at..].chunks_exact(8).map(word);
    feature.fields.into_iter().zip(words).collect()
}

fn of_team(net: &Net, fields: &[&str]) -> Vec<u64> {
    let all = ask(net, None);
    fields.iter().map(|field| all[*field]).collect()
}

fn team(seed: u64) -> Net {
    let net = Scenario::new(seed)
        .members(&[10, 10, 25])
        .vms(3)
        .setting("LinkUpDelayMs", Value::Dword(60_000))
        .start();
    net.advance(100 * MS);
    net
}

#[test]
fn the_state_of_every_member_is_told_in_the_words_of_lbfo() {
    for seed in 0..6 {
        let net = team(seed);
        let head =
            ["Status", "FailureReason", "Members", "ActiveMembers", "TeamingMode", "LoadBalancingAlgorithm"];
        assert_eq!(of_team(&net, &head), [0, 0, 3, 3, 0, 0], "seed {seed}");
        let second = ["Member2State", "Member2FailureReason", "Member2SpeedMbps", "Member2SharePermille"];
        assert_eq!(of_team(&net, &second), [4, 0, 10_000, 222], "seed {seed}");
        net.fail(2);
        // PhysicalMediaDisconnected.
        assert_eq!(of_team(&net, &head), [1, 2, 3, 2, 0, 0], "seed {seed}");
        assert_eq!(of_team(&net, &second), [2, 2, 10_000, 0], "seed {seed}");
        net.restore(2);
        // WaitingForStableConnectivity.
        assert_eq!(of_team(&net, &head), [1, 3, 3, 2, 0, 0], "seed {seed}");
        assert_eq!(of_team(&net, &second), [3, 3, 10_000, 0], "seed {seed}");
        net.unplug(1);
        net.fail(2);
        net.fail(3);
        assert_eq!(of_team(&net, &["Status", "ActiveMembers"]), [2, 0], "seed {seed}");
        // NicNotPresent.
        let gone = ["Member1State", "Member1FailureReason", "Member1SpeedMbps", "Member32State"];
        assert_eq!(of_team(&net, &gone), [0, 5, 0, 0], "{}", report(&net));
        net.finish().assert_clean();
    }
}

#[test]
fn every_member_is_told_by_guid_and_with_the_weight_that_is_set() {
    let net = team(2);
    weigh(&net, 3, 40_000);
    let all = ask(&net, None);
    for index in 1..=3_u16 {
        let [a, b, c, d, e, f, g, h, low @ ..] = instance_id(0, index);
        let halves = [u64::from_be_bytes([d, c, b, a, f, e, h, g]), u64::from_be_bytes(low)];
        let field = |name: &str| all[&format!("Member{index}{name}")];
        assert_eq!([field("GuidHigh"), field("GuidLow")], halves, "member {index}");
        let member = MemberIndex::new(index as u8).expect("a member");
        let known = look(&net, |module| {
            let buckets = module.forwarding.read().table.counts()[member.slot()];
            (module.control.lock().team.member(member).weight, buckets)
        });
        let (weight, buckets) = known.expect("it is attached");
        assert_eq!(field("Weight"), u64::from(weight));
        assert_eq!(field("WeightIsSet"), u64::from(index == 3));
        assert_eq!(field("SharePermille"), (u64::from(buckets) * 1_000 + 2_048) / 4_096);
    }
    assert_eq!(all["Member3Weight"], 40_000);
    net.finish().assert_clean();
}

#[test]
fn frames_bytes_and_drops_are_those_that_were_sent_whatever_processor_counted_them() {
    for seed in 0..6 {
        let net = team(seed);
        let bodies = (0..3_u16).map(|vm| -> (&'static str, vswitch::scenario::Body) {
            let body = move |net: &Net| {
                for n in 0..40 {
                    let flow = net.flow(net.vm(vm), n);
                    net.send(net.vm(vm), &[flow.frame(0, 100), flow.frame(1, 100)]);
                }
                // Too short for an Ethernet header.
                net.send(net.vm(vm), &[vec![1, 2, 3]]);
            };
            ("sender", Box::new(body))
        });
        net.together(bodies.collect());
        net.settle();
        let all = ask(&net, None);
        assert_eq!((all["Uplink"], all["DroppedRunt"], all["Delivered"]), (240, 3, 0), "seed {seed}");
        let members = |field: &str| (1..=3).map(|index| all[&format!("Member{index}{field}")]).sum::<u64>();
        assert_eq!(members("Frames"), 240, "seed {seed}");
        let port = ask(&net, Some(net.vm(1).port));
        assert_eq!(port["Frames"], 80, "seed {seed}");
        assert!(port["Bytes"] > 80 * 14 && members("Bytes") >= 3 * port["Bytes"] - 3 * 80 * 40);
        net.finish().assert_clean();
    }
}

/// Id and age in ms of the events that are told, without places that no event has.
fn last_events(net: &Net) -> Vec<(u64, u64)> {
    let all = ask(net, None);
    let of = |place: u64, field: &str| all[&format!("Event{place}{field}")];
    let told: Vec<_> = (1..=8).map(|place| (of(place, "Id"), of(place, "AgeMs"))).collect();
    let there = told.iter().position(|event| *event == (0, 0)).unwrap_or(told.len());
    assert!(told[there..].iter().all(|event| *event == (0, 0)), "{told:?}");
    told[..there].to_vec()
}

/// The same of the driver's own ring, with its time.
fn newest_of_the_ring(net: &Net) -> (u64, Vec<(u64, u64)>) {
    let look_at = |module: &lbfoext::module::Module| {
        let control = module.control.lock();
        let all: Vec<_> =
            control.events.iter().map(|(at, event)| (u64::from(event.id()), at.get())).collect();
        (lbfoext::clock::now().get(), all.into_iter().rev().take(8).collect())
    };
    look(net, look_at).expect("it is attached")
}

#[test]
fn the_last_events_are_told_by_id_and_age_the_newest_first() {
    for seed in 0..6 {
        let net = Scenario::new(seed).members(&[10, 10]).setting("LinkUpDelayMs", Value::Dword(0)).start();
        let check = |what: &str| {
            let (before, ring) = newest_of_the_ring(&net);
            let told = last_events(&net);
            let (after, _) = newest_of_the_ring(&net);
            assert_eq!(told.len(), ring.len(), "{what}");
            for (&(id, age), &(kept, at)) in told.iter().zip(&ring) {
                let ages = (before - at) / 10_000..=(after - at) / 10_000;
                assert!(id == kept && ages.contains(&age), "{what}: {told:?} {ring:?}\n{}", report(&net));
            }
        };
        check("at the start");
        // More than the driver's ring keeps.
        for round in 0..100 {
            net.fail(2);
            net.advance(3 * MS);
            check("down");
            net.restore(2);
            net.advance(700 * MS + round);
            check("up");
        }
        // What an administrator wants to see first: TeamDegraded and TeamWhole.
        let ids: Vec<u64> = last_events(&net).into_iter().map(|(id, _)| id).collect();
        assert!(ids.len() == 8 && ids.contains(&28) && ids.contains(&30), "{ids:?}");
        net.finish().assert_clean();
    }
}

#[test]
fn every_failover_and_return_counts_as_flows_that_left_one_member_and_came_to_another() {
    for (seed, gap) in [(0, 0), (1, 0), (2, 500), (3, 500)] {
        let net = Scenario::new(seed)
            .members(&[10, 10])
            .vms(1)
            .setting("LinkUpDelayMs", Value::Dword(0))
            .setting("FlowletGapUs", Value::Dword(gap))
            .start();
        net.advance(100 * MS);
        let fields = ["Member1MovedIn", "Member1MovedOut", "Member2MovedIn", "Member2MovedOut"];
        let moved = || of_team(&net, &fields);
        let start = moved();
        // A member carries what came and did not leave.
        assert_eq!([start[0] - start[1], start[2] - start[3]], [2_048; 2], "{}", report(&net));
        let since = || -> Vec<u64> { moved().iter().zip(&start).map(|(now, start)| now - start).collect() };
        for n in 1..=4 {
            net.fail(2);
            let [times, before] = [n * 2_048, (n - 1) * 2_048];
            assert_eq!(since(), [times, before, before, times], "gap {gap}\n{}", report(&net));
            net.restore(2);
            net.advance(700 * MS);
            assert_eq!(since(), [times; 4], "gap {gap}\n{}", report(&net));
        }
        assert_eq!(of_team(&net, &["Member3MovedIn", "Member3MovedOut"]), [0, 0]);
        net.finish().assert_clean();
    }
}

#[test]
fn a_port_tells_its_member_if_the_policy_gives_it_one() {
    for (aggregation, policy) in [(Aggregation::SwitchIndependent, 4), (Aggregation::Static, 0)] {
        let net = Scenario::new(3).members(&[10, 10, 25]).vms(3).aggregation(aggregation).start();
        net.advance(100 * MS);
        for vm in 0..3 {
            let nic = teaming::ids::NicId::new(
                teaming::ids::PortId::new(net.vm(vm).port),
                teaming::ids::NicIndex::DEFAULT,
            );
            let known = look(&net, |module| module.forwarding.read().member_of_vnic(nic));
            let known = known.expect("it is attached").map_or(0, MemberIndex::get);
            let expected = if policy == 4 { known } else { 0 };
            assert_eq!(ask(&net, Some(net.vm(vm).port))["Member"], u64::from(expected));
        }
        net.finish().assert_clean();
    }
}

#[test]
fn without_room_the_length_that_is_needed_is_told_and_nothing_is_written() {
    let net = team(1);
    for of_port in [false, true] {
        let feature = feature(of_port);
        let port = of_port.then(|| net.vm(0).port);
        let head = if of_port { 80 } else { 72 };
        for room in [0, 1, 8, feature.length() - 1] {
            let answer = net.feature_status(port, feature.id, room).expect("it is attached");
            let needed = (head + feature.length()) as u32;
            assert_eq!((answer.status, answer.needed), (INVALID_LENGTH, needed), "room {room}");
            assert!(!answer.reached_below);
        }
        for room in [feature.length(), feature.length() + 1, 70_000] {
            let answer = net.feature_status(port, feature.id, room).expect("it is attached");
            assert_eq!(answer.status, SUCCESS, "room {room}");
        }
        // Of the other kind, and of somebody else.
        let other = if of_port { None } else { Some(net.vm(0).port) };
        for (port, id) in [(other, feature.id), (port, [5; 16])] {
            let answer = net.feature_status(port, id, 70_000).expect("it is attached");
            assert!(answer.reached_below, "it is passed on");
        }
    }
    let feature = feature(true);
    let answer = net.feature_status(Some(4_000), feature.id, feature.length()).expect("it is attached");
    assert_eq!((answer.status, answer.reached_below), (FAILURE, false), "no such port");
    net.finish().assert_clean();
}

#[test]
fn questions_in_the_midst_of_traffic_and_failovers_disturb_nothing() {
    for seed in 0..12 {
        let net = Scenario::new(seed)
            .members(&[10, 10, 25])
            .vms(3)
            .setting("LinkUpDelayMs", Value::Dword(0))
            .start();
        let send = |vm: u16| -> vswitch::scenario::Body {
            Box::new(move |net: &Net| {
                let flows: Vec<Flow> = (0..8).map(|n| net.flow(net.vm(vm), n)).collect();
                for n in 0..30 {
                    flows.iter().for_each(|flow| net.send(net.vm(vm), &[flow.frame(n, 100)]));
                }
            })
        };
        let questions: vswitch::scenario::Body = Box::new(|net: &Net| {
            for n in 0..20_u16 {
                let _ = ask(net, None);
                let _ = ask(net, Some(net.vm(n % 3).port));
            }
        });
        let failures: vswitch::scenario::Body = Box::new(|net: &Net| {
            for _ in 0..5 {
                net.fail(2);
                net.restore(2);
            }
        });
        net.together(vec![
            ("sender 0", send(0)),
            ("sender 1", send(1)),
            ("questions", questions),
            ("failures", failures),
        ]);
        net.settle();
        assert_eq!(ask(&net, None)["Uplink"], 480, "seed {seed}");
        net.finish().assert_clean();
    }
}
