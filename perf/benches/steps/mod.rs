//! The measured steps, by name: each is set up once and can then be repeated. Times and instruction counts use the
//! same steps.

#![allow(dead_code, reason = "each benchmark uses its part")]

mod receive;
mod short;
pub mod single;

use crate::null_switch::{Lists, NullSwitch, Vnic};
use std::hint::black_box;
use teaming::Heap;
use teaming::flow::hash::{DEFAULT_SEED, Seed};
use teaming::flow::{self, FlowKey, HashPolicy};
use teaming::forward::{Forwarding, OutOfBand, Packet, Verdict};
use teaming::frame::{self, Headers};
use teaming::ids::{BUCKETS, MEMBERS, MacAddr, MemberIndex, NicId, NicIndex, PortId, Ticks};
use teaming::oid::nic::{NicKind, NicOp, NicParameters, VmId};
use teaming::settings::{Lookup, Settings};
use teaming::team::Team;
use teaming::team::member::{Member, MemberEvent};

/// One repetition, and its number of packets (or events).
pub struct Step {
    pub name: &'static str,
    /// Description of the memory that one round uses.
    pub working_set: &'static str,
    pub packets: u64,
    pub make: fn() -> Box<dyn FnMut()>,
}

pub const HOT: usize = 256;
pub const COLD: usize = 8192;
const CHAIN: usize = 32;

pub const STEPS: &[Step] = &[
    step("parse IPv4", "256 frames", || parse(tagged(HOT))),
    step("parse IPv6, extension", "256 frames", || parse(tagged_v6(HOT))),
    step("key IPv4", "256 headers", || key(tagged(HOT))),
    step("key IPv6", "256 headers", || key(tagged_v6(HOT))),
    step("hash IPv4", "256 keys", || hash(tagged(HOT))),
    step("hash IPv6", "256 keys", || hash(tagged_v6(HOT))),
    step("decide IPv4", "256 frames", || decide(frames(HOT))),
    step("decide IPv6, extension", "256 frames", || decide(frames_v6(HOT))),
    Step { packets: 32, ..step("chain, null driver", "256 packets", || null_chain(HOT)) },
    Step { packets: 32, ..step("chain", "256 packets", || chain(HOT, 4, 8)) },
    Step { packets: 32, ..step("chain, null driver, cold", "8,192 packets", || null_chain(COLD)) },
    Step { packets: 32, ..step("chain, cold", "8,192 packets", || chain(COLD, 4, 8)) },
    Step { packets: 32, ..step("chain, 2 members", "256 packets", || chain(HOT, 2, 8)) },
    Step { packets: 32, ..step("chain, 32 members", "256 packets", || chain(HOT, 32, 8)) },
    Step { packets: 32, ..step("chain, 1 NIC", "256 packets", || chain(HOT, 4, 1)) },
    Step { packets: 32, ..step("chain, 1,024 NICs", "256 packets", || chain(HOT, 4, 1024)) },
    Step { packets: 32, ..step("chain, 8 sources in turn", "256 packets", short::mixed) },
    Step { packets: 1, ..step("chain of one packet", "256 packets", short::of_one) },
    Step { packets: 32, ..step("chain, IPv6", "256 packets", short::v6) },
    Step { packets: 32, ..step("chain, VM to VM", "256 packets", short::inside) },
    Step { packets: 32, ..step("chain, random order, hot", "256 packets", || short::shuffled(HOT)) },
    Step { packets: 32, ..step("chain, random order, L2", "1,024 packets", || short::shuffled(1_024)) },
    Step { packets: 32, ..step("chain, random order, L3", "8,192 packets", || short::shuffled(COLD)) },
    Step { packets: 32, ..step("chain, random, beyond", "65,536 packets", || short::shuffled(8 * COLD)) },
    Step { packets: 32, ..step("flood to 8 and a member", "256 packets", flood) },
    Step { packets: 32, ..step("the same, copies expected", "256 packets", receive::flood_with_credits) },
    Step { packets: 32, ..step("receive unicast", "256 packets", receive::unicast) },
    Step { packets: 32, ..step("receive a flood for 8", "256 packets", receive::news) },
    Step { packets: 64, ..step("receive it and its copy", "256 packets", receive::news_and_copies) },
    Step { packets: 32, ..step("chain, guest can write", "256 packets", copied) },
    Step { packets: 32, ..step("chain, headers in 3 MDLs", "256 packets", pieces) },
    Step { packets: 32, ..step("lists of 2, one way", "256 packets", || lists_of_two(false)) },
    Step { packets: 32, ..step("lists of 2, split", "256 packets", || lists_of_two(true)) },
    Step { packets: 32, ..step("chain, completion", "256 packets", completion) },
    Step { packets: 2, ..step("down and up, 2 members", "4,096 buckets", || failover(2)) },
    Step { packets: 2, ..step("down and up, 32 members", "4,096 buckets", || failover(32)) },
];

const fn step(name: &'static str, working_set: &'static str, make: fn() -> Box<dyn FnMut()>) -> Step {
    Step { name, working_set, packets: HOT as u64, make }
}

const VM: NicId = NicId { port: PortId::new(5), index: NicIndex::new(0) };

/// TCP/IPv4 frames with one VLAN tag to an external address, each of a new flow.
fn tagged(count: usize) -> Vec<Vec<u8>> {
    (0..count as u32)
        .map(|number| {
            let mut frame = vec![0x02, 0, 0, 0, 9, 9, 0x02, 0, 0, 0, 0, 5, 0x81, 0, 0, 7, 0x08, 0x00];
            frame.extend([0x45, 0, 0, 200, 0, 0, 0, 0, 64, 6, 0, 0, 10, 0, 0, 5]);
            frame.extend((0xC000_0200 + number / 1000).to_be_bytes());
            frame.extend(u16::try_from(1024 + number % 40_000).unwrap().to_be_bytes());
            frame.extend([1, 187]);
            frame.resize(218, 0);
            frame
        })
        .collect()
}

/// The same over IPv6 with one extension header (destination options).
fn tagged_v6(count: usize) -> Vec<Vec<u8>> {
    (0..count as u32)
        .map(|number| {
            let mut frame = vec![0x02, 0, 0, 0, 9, 9, 0x02, 0, 0, 0, 0, 5, 0x81, 0, 0, 7, 0x86, 0xDD];
            frame.extend([0x60, 0, 0, 0, 0, 152, 60, 64]);
            for last in [5, number / 1000] {
                frame.extend([0xFD, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
                frame.extend(last.to_be_bytes());
            }
            frame.extend([6, 0, 1, 4, 0, 0, 0, 0]);
            frame.extend(u16::try_from(1024 + number % 40_000).unwrap().to_be_bytes());
            frame.extend([1, 187]);
            frame.resize(218, 0);
            frame
        })
        .collect()
}

/// The same frames without tag, as a VM on an access port sends them.
pub fn frames(count: usize) -> Vec<Vec<u8>> {
    untagged(tagged(count))
}

fn frames_v6(count: usize) -> Vec<Vec<u8>> {
    untagged(tagged_v6(count))
}

fn untagged(mut frames: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    for frame in &mut frames {
        frame.drain(12..16);
    }
    frames
}

fn parse(frames: Vec<Vec<u8>>) -> Box<dyn FnMut()> {
    Box::new(move || {
        for frame in &frames {
            black_box(frame::parse(black_box(frame)));
        }
    })
}

fn key(frames: Vec<Vec<u8>>) -> Box<dyn FnMut()> {
    let headers: Vec<Headers> = frames.iter().map(|frame| frame::parse(frame)).collect();
    Box::new(move || {
        for headers in &headers {
            black_box(flow::key(black_box(headers), HashPolicy::TransportPorts, VM));
        }
    })
}

fn hash(frames: Vec<Vec<u8>>) -> Box<dyn FnMut()> {
    let key = |frame: &Vec<u8>| flow::key(&frame::parse(frame), HashPolicy::TransportPorts, VM);
    let keys: Vec<FlowKey> = frames.iter().map(key).collect();
    let seed = Seed::new(DEFAULT_SEED);
    Box::new(move || {
        for key in &keys {
            black_box(seed.hash(black_box(key)));
        }
    })
}

/// From the header window to the verdict: parse, look up the address, key, hash, bucket, member.
fn decide(frames: Vec<Vec<u8>>) -> Box<dyn FnMut()> {
    let forwarding = forwarding();
    let source_port = forwarding.source_port(VM);
    let first = Packet { source: VM, window: &frames[0], pinned: None, native: false, now: Ticks::ZERO };
    assert!(matches!(forwarding.decide(&first), Verdict::Uplink(_)), "a frame for the outside");
    Box::new(move || {
        for frame in &frames {
            let packet = Packet {
                source: VM,
                window: black_box(frame),
                pinned: None,
                native: false,
                now: Ticks::ZERO,
            };
            black_box(forwarding.decide_from(&source_port, &packet, &OutOfBand::NOTHING));
        }
    })
}

/// A static team of four members with the policy TransportPorts, and one VM.
fn forwarding() -> Forwarding<Heap> {
    let (settings, _) = Settings::read(|setting| match setting.name {
        "TeamingMode" | "LoadBalancingAlgorithm" | "FlowletGapUs" | "LinkUpDelayMs" => Lookup::Value(0),
        _ => Lookup::Missing,
    });
    let parameters = |port, index, kind, mac| NicParameters {
        id: NicId::new(PortId::new(port), NicIndex::new(index)),
        kind,
        current_mac: mac,
        permanent_mac: mac,
        vm_mac: MacAddr::ZERO,
        mtu: 1500,
        vm: VmId::NONE,
        vf_assigned: false,
        initializing: true,
        adapter: teaming::ids::AdapterId::UNKNOWN,
    };
    let mut forwarding = Forwarding::on_heap(16, &settings);
    let machine = parameters(5, 0, NicKind::Synthetic, MacAddr([2, 0, 0, 0, 0, 5]));
    forwarding.ports.connect(&machine).expect("room for one");
    forwarding.on_external(NicOp::Create, &parameters(1, 0, NicKind::External, MacAddr::ZERO));
    let mut team: Team<Heap> =
        Team::new(vec![0; BUCKETS], teaming::team::Next::at_once(), vec![Member::ABSENT; MEMBERS], &settings);
    for member in (1..=4).filter_map(MemberIndex::new) {
        let plan = team.on(member, MemberEvent::Connected, Ticks::ZERO);
        forwarding.publish(&plan, team.home(), Ticks::ZERO);
    }
    forwarding
}

/// The driver in a null switch with `members` of 10 Gbit/s and `vnics`.
pub fn switch(members: u16, vnics: u16) -> NullSwitch {
    let vnics: Vec<Vnic> = (5..5 + vnics)
        .map(|port| {
            let [high, low] = port.to_be_bytes();
            Vnic { port: port.into(), mac: [2, 0, 0, 0, high, low] }
        })
        .collect();
    NullSwitch::start(members, &vnics)
}

fn chain(working_set: usize, members: u16, vnics: u16) -> Box<dyn FnMut()> {
    let switch = switch(members, vnics);
    rounds(Lists::new(&frames(working_set), 5), move |chain| switch.send(black_box(chain), 0x20))
}

fn null_chain(working_set: usize) -> Box<dyn FnMut()> {
    let switch = switch(4, 8);
    rounds(Lists::new(&frames(working_set), 5), move |chain| {
        switch.send_by_null_driver(black_box(chain), 0x20)
    })
}

/// Frames for everybody.
fn broadcasts() -> Vec<Vec<u8>> {
    let mut frames = frames(HOT);
    frames.iter_mut().for_each(|frame| frame[..6].fill(0xFF));
    frames
}

fn flood() -> Box<dyn FnMut()> {
    let switch = switch(4, 9);
    let frames = broadcasts();
    let mut lists = Lists::with_room(&frames, 5);
    switch.send(lists.chain(0, 1), 0x20);
    assert_eq!(lists.destinations(0), 9, "eight other vNICs and one member");
    rounds(lists, move |chain| switch.send(black_box(chain), 0x20))
}

/// The header window is copied.
fn copied() -> Box<dyn FnMut()> {
    let switch = switch(4, 8);
    rounds(Lists::new(&frames(HOT), 5).unsafe_data(), move |chain| switch.send(black_box(chain), 0x20))
}

/// The header window is assembled from three MDLs.
fn pieces() -> Box<dyn FnMut()> {
    let switch = switch(4, 8);
    rounds(Lists::new(&frames(HOT), 5).in_pieces(), move |chain| switch.send(black_box(chain), 0x20))
}

/// Sixteen lists of two packets. Both go to the same member or, if `split`, to a member and a VM; then two child NBLs
/// of each list are sent, completed and freed.
fn lists_of_two(split: bool) -> Box<dyn FnMut()> {
    let switch = switch(4, 8);
    let frames = frames(HOT / 2);
    let mut second = frames.clone();
    if split {
        second.iter_mut().for_each(|frame| frame[..6].copy_from_slice(&[2, 0, 0, 0, 0, 6]));
    }
    let mut lists = Lists::new(&frames, 5).with_second(&second);
    switch.send(lists.chain(0, CHAIN / 2), 0x20);
    // A split ends the batch, so that each pair of children has its own groups.
    assert_eq!(switch.complete_all() >= CHAIN / 2, split, "split or not");
    let mut from = 0;
    Box::new(move || {
        switch.send(black_box(lists.chain(from, CHAIN / 2)), 0x20);
        switch.complete_all();
        from = (from + CHAIN / 2) % lists.len();
    })
}

/// The completion of a chain.
fn completion() -> Box<dyn FnMut()> {
    let switch = switch(4, 8);
    rounds(Lists::new(&frames(HOT), 5), move |chain| switch.complete(black_box(chain)))
}

/// Runs `body` with chain after chain of all lists.
fn rounds(
    mut lists: Lists,
    send: impl Fn(*mut lbfoext::ndis::raw::NetBufferList) + 'static,
) -> Box<dyn FnMut()> {
    let mut from = 0;
    Box::new(move || {
        send(lists.chain(from, CHAIN));
        from = (from + CHAIN) % lists.len();
    })
}

fn failover(members: u16) -> Box<dyn FnMut()> {
    let switch = switch(members, 1);
    Box::new(move || {
        switch.link(1, false);
        switch.link(1, true);
    })
}
