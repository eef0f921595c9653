//! The flags of every packet call of the driver, against the flags and the IRQL of the call that brought the packets:
//! a flag is set only if it is true.

use lbfoext::ndis::raw::{ReceiveFlags, ReturnFlags, SendCompleteFlags, SendFlags};
use std::collections::BTreeSet;
use vswitch::scenario::guest::{BROADCAST, Flow, Packet};
use vswitch::scenario::suite::MS;
use vswitch::scenario::{Net, Scenario};
use vswitch::switch::ndis::Crossing;

const SEND: &str = "FilterSendNetBufferLists";
const SENT: &str = "FilterSendNetBufferListsComplete";
const RECEIVE: &str = "FilterReceiveNetBufferLists";
const RETURN: &str = "FilterReturnNetBufferLists";
const DOWN: &str = "NdisFSendNetBufferLists";
const DONE: &str = "NdisFSendNetBufferListsComplete";
const UP: &str = "NdisFIndicateReceiveNetBufferLists";
const BACK: &str = "NdisFReturnNetBufferLists";

// The same bit in all four flag words.
const DISPATCH: u32 = SendFlags::DISPATCH_LEVEL.bits();
const _: () = assert!(
    DISPATCH == SendCompleteFlags::DISPATCH_LEVEL.bits()
        && DISPATCH == ReceiveFlags::DISPATCH_LEVEL.bits()
        && DISPATCH == ReturnFlags::DISPATCH_LEVEL.bits()
);

fn watched(plan: Scenario) -> Net {
    let net = plan.start();
    net.look(|state| state.crossings = Some(Vec::new()));
    net
}

fn crossings(net: &Net) -> Vec<Crossing> {
    net.settle();
    net.look(|state| state.crossings.replace(Vec::new())).flatten().unwrap_or_default()
}

/// Packets to one destination, to several, to none, in lists that are split with some packets lost, native; from one
/// source and from three.
fn traffic(net: &Net) {
    let (a, b, c) = (net.vm(0), net.vm(1), net.vm(2));
    for round in 0..4 {
        let flow = |n| net.flow(a, n).frame(round, 60);
        let broadcast = |from| Flow { to: BROADCAST, ..net.flow(from, 1) }.frame(round, 60);
        let to_itself = |from| net.flow_between(from, from, 1).frame(round, 60);
        let spoofed = Flow { from: net.mac(b), ..net.flow(a, 2) }.frame(round, 60);
        net.send(a, &[flow(1), flow(2), flow(1)]);
        net.send(a, &[to_itself(a)]);
        net.send_packets(vec![
            (a, Packet::of(to_itself(a))),
            (b, Packet::of(to_itself(b))),
            (a, Packet::of(vec![1, 2, 3])),
            (c, Packet::of(broadcast(c))),
            (a, Packet::of(net.flow_between(a, b, 3).frame(round, 60))),
            (c, Packet::of(net.flow_between(c, b, 3).frame(round, 60))),
            (a, Packet::native(flow(5))),
            (a, Packet::of(spoofed)),
        ]);
        let mixed = vec![flow(1), to_itself(a), broadcast(a), net.flow_between(a, b, 1).frame(round, 60)];
        net.send_packets(vec![(a, Packet::several(mixed)), (b, Packet::of(broadcast(b)))]);
        net.send_packets(vec![(a, Packet::several(vec![to_itself(a), vec![0; 6]]))]);
        net.send_packets(vec![(a, Packet::several(vec![to_itself(a), flow(1)]))]);
        net.receive_external(1, &[net.external_flow(a, 1).frame(round, 60)]);
        net.advance(MS);
    }
}

/// The expected flags of a call.
fn expected(c: &Crossing) -> u32 {
    let single = if c.same_source { SendFlags::SWITCH_SINGLE_SOURCE.bits() } else { 0 };
    let group = if c.same_destination { SendFlags::SWITCH_DESTINATION_GROUP.bits() } else { 0 };
    let back = if c.same_source { ReturnFlags::SWITCH_SINGLE_SOURCE.bits() } else { 0 };
    let done = if c.same_source { SendCompleteFlags::SWITCH_SINGLE_SOURCE.bits() } else { 0 };
    match (c.handler, c.function) {
        (SEND, DOWN) => c.came & DISPATCH | single | group,
        (SEND | SENT, DONE) => c.came & DISPATCH | done,
        (RECEIVE, UP) => c.came,
        (RETURN, BACK) => c.came & DISPATCH | back,
        _ => panic!("{c:?}"),
    }
}

fn judge(all: &[Crossing], when: &str) -> BTreeSet<(&'static str, &'static str, bool, bool)> {
    for crossing in all {
        assert_eq!(crossing.gave, expected(crossing), "{when}: {crossing:?}");
        assert!(crossing.gave & DISPATCH == 0 || crossing.at_dispatch, "{when}: {crossing:?}");
    }
    all.iter().map(|c| (c.handler, c.function, c.came & DISPATCH != 0, c.parent || c.own)).collect()
}

#[test]
fn the_flags_of_every_call_say_what_the_flags_of_its_cause_said() {
    let mut seen = BTreeSet::new();
    for seed in 0..16 {
        let net = watched(
            Scenario::new(seed).members(&[10, 10, 25]).vms(3).style(|style| style.nested = 25 * (seed % 5)),
        );
        traffic(&net);
        seen.extend(judge(&crossings(&net), &format!("seed {seed}")));
        net.look(|state| state.crossings = None);
        net.finish().assert_clean();
    }
    for dispatch in [false, true] {
        for (handler, function) in [(SEND, DOWN), (SEND, DONE), (SENT, DONE)] {
            for own in [false, true] {
                assert!(
                    seen.contains(&(handler, function, dispatch, own)),
                    "{handler}, {function}: {seen:?}"
                );
            }
        }
        for (handler, function) in [(RECEIVE, UP), (RETURN, BACK)] {
            assert!(seen.iter().any(|s| (s.0, s.1, s.2) == (handler, function, dispatch)), "{handler}");
        }
    }
}

#[test]
fn what_is_refused_in_a_pause_goes_back_with_the_flags_it_came_with() {
    let mut seen = BTreeSet::new();
    for seed in 0..16 {
        let plan =
            Scenario::new(seed).members(&[10, 10]).vms(3).style(|style| style.send_while_paused = true);
        let net = watched(plan);
        net.pause();
        drop(crossings(&net));
        traffic(&net);
        let all = crossings(&net);
        assert!(all.iter().all(|c| (c.handler, c.function) == (SEND, DONE)));
        judge(&all, &format!("seed {seed}"));
        seen.extend(all.iter().map(|c| c.came));
        net.look(|state| state.crossings = None);
        net.restart();
        net.finish().assert_clean();
    }
    assert_eq!(seen.len(), 4, "each of both flags, with and without: {seen:x?}");
}
