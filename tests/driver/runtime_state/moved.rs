//! State that moves with a VM: its member under HyperVPort, and its traffic counters.

use super::differences;
use std::collections::BTreeSet;
use teaming::migration::record::Differences;
use teaming::ports::traffic::Traffic;
use vswitch::adapter::offloads::Resource;
use vswitch::check::save::record;
use vswitch::machine::registry::Value;
use vswitch::scenario::guest::{BROADCAST, Flow, Packet, host_mac};
use vswitch::scenario::migration::{ARRIVALS, Migration};
use vswitch::scenario::outcome::Outcome;
use vswitch::scenario::suite::depth::seeds;
use vswitch::scenario::{Body, Net, Scenario};
use vswitch::switch::control::save::Offering;
use vswitch::switch::frames::FrameOutcome;
use vswitch::switch::ports::NicId;

/// HyperVPort.
const BY_PORT: u32 = 4;

/// A small random generator.
struct Draw(u64);

impl Draw {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }

    /// A random subset of the NIC indices 1 to 8, with speeds.
    fn team(&mut self) -> Vec<(u16, u64)> {
        let mut team: Vec<_> = (1..=8).map(|index| (index, [10, 25, 40][self.below(3) as usize])).collect();
        while team.len() > 2 && self.below(3) != 0 {
            let at = self.below(team.len() as u64) as usize;
            team.remove(at);
        }
        team
    }
}

/// Sends flows of one phase; each phase has its own flow numbers.
fn send(net: &Net, nic: NicId, mac: [u8; 6], phase: u16) {
    for n in 0..3 {
        net.send(nic, &[Flow::new(mac, host_mac(n), phase * 100 + n).frame(1, 60)]);
    }
}

/// The only member that carried the frames of a phase.
fn member(outcome: &Outcome, mac: [u8; 6], phase: u16) -> u16 {
    let first = Flow::new(mac, host_mac(0), phase * 100).source_port;
    let of_phase = |flow: &Flow| flow.from == mac && (first..first + 3).contains(&flow.source_port);
    let members = outcome.members_of(|bytes| Flow::of(bytes).filter(of_phase));
    let all: BTreeSet<u16> = members.into_values().flatten().collect();
    assert_eq!(all.len(), 1, "one VM, one member: {all:?}");
    all.into_iter().next().expect("there is one")
}

fn move_to((from, nic): (&Net, NicId), (to, becomes): (&Net, NicId), mac: [u8; 6], arrival: u64) {
    let arrival = ARRIVALS[arrival as usize];
    Migration { arrival, mac, ..Migration::new(from, to, nic, becomes) }.run(|| ()).expect("it moves");
}

/// Moves a VM to another host and back; returns (hosts are equal and its seat was not too crowded there, its member was the
/// same there).
fn there_and_back(seed: u64) -> (bool, bool) {
    let mut draw = Draw(seed);
    let team = draw.team();
    let (mut other, mut hash_seed, mut down) = (team.clone(), 0, false);
    match draw.below(6) {
        0 => other = draw.team(),
        1 => other[0].1 = 100,
        2 => hash_seed = 1 + draw.below(1 << 20),
        3 => down = true,
        _ => {}
    }
    let equal = other == team && hash_seed == 0;
    let net = Scenario::new(seed)
        .members_at(&team)
        .vms(9)
        .host(1, &other, 2)
        .setting("LoadBalancingAlgorithm", Value::Dword(BY_PORT))
        .setting("LinkUpDelayMs", Value::Dword(0))
        .setting("OffloadPlacement", Value::Dword(0))
        .host_setting(1, "HashSeed", Value::Qword(hash_seed))
        .start();
    let there = net.on(1);
    let (nic, becomes, again) = (
        net.vm(draw.below(9) as u16),
        there.vm(30 + draw.below(900) as u16),
        net.vm(40 + draw.below(900) as u16),
    );
    let mac = net.mac(nic);
    send(&net, nic, mac, 0);
    net.settle();
    let home =
        net.look(|state| state.frames.assignments.last().map(|a| a.member)).flatten().expect("it was sent");
    if down {
        there.fail(home);
        there.settle();
    }
    move_to((&net, nic), (&there, becomes), mac, draw.below(3));
    let told = differences(&there);
    let is_equal = |told: &Differences| Differences::SEAT.contains(*told);
    assert_eq!(told.iter().all(is_equal), equal, "{told:?}");
    let fits = told.iter().all(|told| *told == Differences::NONE);
    send(&there, becomes, mac, 1);
    there.settle();
    let now =
        there.look(|state| state.frames.assignments.last().map(|a| a.member)).flatten().expect("it was sent");
    // Its queue is on the member that carries its traffic.
    if there.start_queue(becomes).is_some() {
        let queues: Vec<u16> = there
            .members_of(becomes)
            .into_iter()
            .filter_map(|(member, resource)| matches!(resource, Resource::Queue(_)).then_some(member))
            .collect();
        assert_eq!(queues, [now], "seed {seed}");
        there.release(becomes);
    }
    move_to((&there, becomes), (&net, again), mac, draw.below(3));
    send(&net, again, mac, 2);
    // A new VM on its port does not get its state.
    there.add_vm(becomes.port as u16 - there.vm(0).port as u16);
    let saved = there.save(becomes, Offering::default()).expect("it runs");
    let (state, _) = record(&saved.blobs).expect("a record");
    assert_eq!((state.hashed_as.to_string(), state.traffic), (becomes.to_string(), Traffic::NONE));
    let outcome = net.finish();
    outcome.assert_clean();
    assert_eq!((member(&outcome, mac, 0), member(&outcome, mac, 1)), (home, now));
    if fits {
        assert_eq!(member(&outcome, mac, 2), home, "seed {seed}: back where it was first");
    }
    if down && equal && fits {
        assert_ne!(now, home, "its position is down");
    } else if equal && !down {
        assert_eq!(now == home, fits, "seed {seed}");
    }
    (fits && !down, now == home)
}

#[test]
fn a_vm_keeps_its_member_under_hyper_v_port_exactly_between_equal_hosts_whose_position_is_up() {
    let all: Vec<_> = seeds(200).map(there_and_back).collect();
    let count = |kind: (bool, bool)| all.iter().filter(|found| **found == kind).count();
    assert_eq!(count((true, false)), 0);
    assert!(count((true, true)) >= 40 && count((false, false)) >= 25, "{all:?}");
}

/// Sends frames to the external network, to another VM, to broadcast, in lists that are split, native, and three that
/// are dropped.
fn everything(net: &Net, nic: NicId, mac: [u8; 6], n: u16) {
    let out = |n: u16| Flow::new(mac, host_mac(n), n).frame(1, 60 + usize::from(n % 7));
    let near = Flow::new(mac, net.mac(net.vm(0)), n).frame(1, 90);
    let mut flood = out(n);
    flood[..6].copy_from_slice(&BROADCAST);
    let mut stolen = out(n);
    stolen[6..12].copy_from_slice(&[2, 8, 8, 8, 8, 8]);
    let mut own = out(n);
    own[..6].copy_from_slice(&mac);
    net.send(nic, &[out(n), out(n + 1), near.clone(), vec![1; 9], flood.clone(), stolen, own]);
    net.send_packets(vec![
        (nic, Packet::several(vec![out(n), near, out(n + 2)])),
        (net.vm(0), Packet::of(Flow::new(net.mac(net.vm(0)), mac, n).frame(1, 60))),
        (nic, Packet::several(vec![out(n), out(n)])),
        (nic, Packet::native(out(n))),
        (nic, Packet::several(vec![flood.clone(), flood])),
    ]);
}

/// The traffic of these NICs that the switch delivered, or sent on a member that was down.
fn delivered(outcome: &Outcome, nics: &[(usize, NicId)]) -> Traffic {
    let ended = |end: &FrameOutcome| {
        matches!(end, FrameOutcome::Filtered { .. } | FrameOutcome::Paused | FrameOutcome::Failed { .. })
    };
    let frames = outcome.frames.iter().filter(|frame| nics.contains(&(frame.switch, frame.from)));
    frames
        .filter(|frame| !frame.outcomes.iter().all(ended))
        .fold(Traffic::NONE, |sum, frame| sum.plus(Traffic { frames: 1, bytes: frame.bytes.len() as u64 }))
}

/// Moves a VM to another host and back while it sends and is saved repeatedly.
fn under_load(seed: u64) {
    let net = Scenario::new(seed)
        .members_at(&[(1, 10), (2, 25)])
        .vms(3)
        .host(1, &[(1, 10), (2, 25)], 2)
        .setting("LinkUpDelayMs", Value::Dword(0))
        .start();
    let there = net.on(1);
    let (nic, becomes, again) = (net.vm(1), there.vm(30), net.vm(40));
    let mac = net.mac(nic);
    let busy = |switch: usize, nic: NicId| {
        let sends = move |from: u16| -> Body {
            Box::new(move |net: &Net| (from..from + 6).for_each(|n| everything(&net.on(switch), nic, mac, n)))
        };
        let saves: Body = Box::new(move |net: &Net| {
            for room in [0, 76, 500] {
                net.on(switch).save(nic, Offering { room, ..Offering::default() });
            }
        });
        vec![("one", sends(0)), ("two", sends(50)), ("saves", saves)]
    };
    net.together(busy(0, nic));
    net.settle();
    move_to((&net, nic), (&there, becomes), mac, seed % 3);
    net.together(busy(1, becomes));
    if seed.is_multiple_of(2) {
        there.fail(1);
    }
    everything(&there, becomes, mac, 80);
    there.settle();
    move_to((&there, becomes), (&net, again), mac, (seed + 1) % 3);
    net.together(busy(0, again));
    net.settle();
    let saved = net.save(again, Offering::default()).expect("it runs");
    let (state, _) = record(&saved.blobs).expect("a record");
    let outcome = net.finish();
    outcome.assert_clean();
    let expected = delivered(&outcome, &[(0, nic), (1, becomes), (0, again)]);
    assert_eq!(state.traffic, expected, "seed {seed}");
    assert!(expected.frames > 300 && outcome.drops().values().sum::<usize>() > 60, "{:?}", outcome.drops());
    assert!(outcome.exercised["RST-4"] >= 12);
}

#[test]
fn statistics_go_on_from_host_to_host_to_the_frame_and_the_byte() {
    seeds(40).for_each(under_load);
}
