//! The express way does with a packet all that the walk does: one history is played twice, once with every frame in one
//! piece, and once with its first 20 bytes in an MDL of their own, which sends each through the walk. What the switch sees
//! of every frame, what comes back, and all counts are the same.

use super::counters::merged;
use super::module::look;
use teaming::forward::counters::Counters;
use teaming::forward::express::Attempts;
use teaming::ids::PortId;
use teaming::ports::traffic::Traffic;
use vswitch::machine::registry::Value;
use vswitch::reference::vlan::Tag;
use vswitch::scenario::guest::{BROADCAST, Packet};
use vswitch::scenario::suite::depth;
use vswitch::scenario::suite::random::Draw;
use vswitch::scenario::{Net, Scenario};
use vswitch::switch::frames::FrameOutcome;
use vswitch::switch::nbl::Shape;
use vswitch::switch::ports::NicId;
use vswitch::switch::ports::policy::{Property, Security, Vlan};

const VMS: u64 = 4;

/// The bytes of a frame, what became of it, the status of its list.
type Seen = (Vec<u8>, Vec<FrameOutcome>, Option<i32>);

/// What is the same both ways.
#[derive(Debug, PartialEq)]
struct Account {
    frames: Vec<Seen>,
    /// Frames and their members, in the order of the commits.
    members: Vec<(usize, u16)>,
    counters: Counters,
    traffic: Vec<Traffic>,
}

/// The memory of a frame: in one piece, or with its headers in two.
fn shape(whole: bool, frames: &[Vec<u8>]) -> Option<Shape> {
    let shortest = frames.iter().map(Vec::len).min().unwrap_or(0);
    let pieces = if whole { Vec::new() } else { vec![shortest.min(20)] };
    Some(Shape { pieces, ..Shape::default() })
}

fn packet(net: &Net, r: &mut Draw, from: NicId, whole: bool) -> Packet {
    let n = r.below(40) as u16;
    let other = net.vm(r.below(VMS) as u16);
    let mut frame = match r.below(10) {
        0..6 => net.flow(from, n).frame(0, 60),
        _ => net.flow_between(from, other, n).frame(0, 60),
    };
    let mut packet = Packet::default();
    match r.below(24) {
        0 => frame[..6].copy_from_slice(&BROADCAST),
        1 => frame[20] = 0x20,
        2 => frame[14] = 0x46,
        3 => frame.truncate(r.below(60) as usize),
        4 => frame[6..12].copy_from_slice(&net.mac(other)),
        5 => drop(frame.splice(12..12, [0x81, 0, 0, 7])),
        6 => packet.subnet = Some(5_000),
        7 => packet.tag = Some(Tag { vid: 7, priority: 0 }),
        8 => packet.frames.push(net.flow(from, n + 1).frame(0, 60)),
        _ => {}
    }
    packet.frames.push(frame);
    Packet { shape: shape(whole, &packet.frames), ..packet }
}

fn change(net: &Net, r: &mut Draw) {
    let port = net.vm(r.below(VMS) as u16).port;
    match r.below(9) {
        0 | 1 => net.fail(1 + r.below(2) as u16),
        2 | 3 => net.restore(1 + r.below(2) as u16),
        4 => net.set("LoadBalancingAlgorithm", Value::Dword([0, 4, 5][r.below(3) as usize])),
        5 | 6 => {
            let vlan =
                if r.below(4) == 0 { Vlan::trunk(0, [7]) } else { Vlan::Access(7 * r.below(2) as u16) };
            net.add_property_if_there(port, Property::Vlan(vlan));
        }
        7 => {
            let spoofing = r.below(4) == 0;
            let security = Security { spoofing, priority_tag: r.below(2) == 0, subnet: 0, teaming: false };
            net.add_property_if_there(port, Property::Security(security));
        }
        _ => net.advance(10_000_000),
    }
}

fn played(seed: u64, whole: bool) -> Account {
    let mode = u32::from(!seed.is_multiple_of(2));
    let net = Scenario::new(seed)
        .members(&[10, 10, 10])
        .vms(VMS as u16)
        .setting("TeamingMode", Value::Dword(mode))
        .setting("LinkUpDelayMs", Value::Dword(0))
        .config(|config| config.cpus = 1)
        .style(|style| style.refuse = if seed % 5 == 4 { 10 } else { 0 })
        .start();
    let mut random = Draw::new(seed);
    let r = &mut random;
    for _ in 0..12 {
        change(&net, r);
        for _ in 0..3 {
            let chain = 1 + r.below(40);
            let mut from = net.vm(r.below(VMS) as u16);
            let packets = (0..chain).map(|_| {
                if r.below(4) == 0 {
                    from = net.vm(r.below(VMS) as u16);
                }
                (from, packet(&net, r, from, whole))
            });
            net.send_packets(packets.collect());
        }
    }
    net.settle();
    let counters = Counters { attempts: Attempts::NONE, ..merged(&net) };
    let traffic = look(&net, |module| {
        let forwarding = module.forwarding.read();
        (0..VMS as u32).map(|n| forwarding.ports.traffic(PortId::new(net.vm(n as u16).port))).collect()
    });
    let outcome = net.finish();
    outcome.assert_clean();
    let frames = outcome.frames.iter();
    Account {
        frames: frames.map(|f| (f.bytes.to_vec(), without_times(&f.outcomes), f.status)).collect(),
        members: outcome.assignments.iter().map(|to| (to.frame, to.member)).collect(),
        counters,
        traffic: traffic.expect("it is attached"),
    }
}

fn without_times(outcomes: &[FrameOutcome]) -> Vec<FrameOutcome> {
    let timeless = |outcome: &FrameOutcome| match outcome {
        FrameOutcome::Delivered { to, .. } => FrameOutcome::Delivered { to: *to, at: 0 },
        other => other.clone(),
    };
    outcomes.iter().map(timeless).collect()
}

fn both(seeds: impl Iterator<Item = u64>) -> usize {
    seeds
        .map(|seed| {
            let (express, walked) = (played(seed, true), played(seed, false));
            assert_eq!(express.counters, walked.counters, "seed {seed}");
            assert_eq!(express.traffic, walked.traffic, "seed {seed}");
            assert_eq!(express.members, walked.members, "seed {seed}");
            for (frame, (one, other)) in express.frames.iter().zip(&walked.frames).enumerate() {
                assert_eq!(one, other, "seed {seed}, frame {frame}");
            }
            express.frames.len()
        })
        .sum()
}

#[test]
fn a_packet_that_takes_the_express_way_is_sent_and_counted_as_by_the_walk() {
    let frames = both(depth::seeds(6));
    assert!(frames > 3_000, "{frames}");
}

#[test]
#[ignore = "hundreds of histories: bash .ci/run long"]
fn packets_that_take_the_express_way_are_sent_and_counted_as_by_the_walk_in_many_histories() {
    let frames = both(depth::seeds(40));
    println!("{frames} frames went both ways");
}
