//! The decision for a frame does not depend on its layout in memory: split at any byte, at an offset, not mapped, in
//! memory that a guest may change. The fields that decide lie at every depth of the window.

use super::driver::next_frame;
use vswitch::machine::registry::Value;
use vswitch::scenario::guest::Packet;
use vswitch::scenario::{Net, Scenario};
use vswitch::switch::frames::FrameOutcome;
use vswitch::switch::nbl::Shape;

/// Length of the header window, in bytes.
const WINDOW: usize = 256;
const TRANSPORT_PORTS: u32 = 0;
const ENCAPSULATED: u32 = 7;

/// An Ethernet header with tags in the bytes.
fn ethernet(net: &Net, tags: usize, ethertype: u16) -> Vec<u8> {
    let mut bytes = [[0x02, 0xAA, 0, 0, 0, 1], net.mac(net.vm(0))].concat();
    (0..tags).for_each(|_| bytes.extend([0x81, 0x00, 0x20, 0x07]));
    bytes.extend(ethertype.to_be_bytes());
    bytes
}

/// IPv6 with extension headers of these lengths in bytes, then UDP.
fn ipv6(mut bytes: Vec<u8>, extensions: &[usize], port: u16) -> (Vec<u8>, usize) {
    let next = |at: usize| if at < extensions.len() { 60 } else { 17 };
    bytes.extend([0x60, 0, 0, 0, 1, 0, next(0), 64]);
    bytes.extend([0xFD; 16]);
    bytes.extend([0x20; 16]);
    for (at, length) in extensions.iter().enumerate() {
        bytes.extend([next(at + 1), (length / 8 - 1) as u8]);
        bytes.resize(bytes.len() + length - 2, 0);
    }
    udp(bytes, port)
}

/// IPv4 with `options` bytes of options.
fn ipv4(mut bytes: Vec<u8>, options: usize, protocol: u8) -> Vec<u8> {
    bytes.extend([0x45 + (options / 4) as u8, 0, 1, 0, 0, 1, 0x40, 0, 64, protocol, 0, 0]);
    bytes.extend([10, 0, 0, 5, 192, 0, 2, 7]);
    bytes.resize(bytes.len() + options, 1);
    bytes
}

fn udp(mut bytes: Vec<u8>, port: u16) -> (Vec<u8>, usize) {
    let at = bytes.len();
    bytes.extend(port.to_be_bytes());
    bytes.extend([0, 53, 0, 200, 0, 0]);
    bytes.resize(at.max(WINDOW) + 90, 0x5F);
    (bytes, at)
}

/// Frames of increasing depth, each with the offset of its UDP ports.
fn frames(net: &Net, policy: u32, port: u16) -> Vec<(Vec<u8>, usize)> {
    let mut all = Vec::new();
    if policy == TRANSPORT_PORTS {
        for options in [0, 4, 20, 40] {
            all.push(udp(ipv4(ethernet(net, 0, 0x0800), options, 17), port));
        }
        for extended in [0, 8, 24, 56, 64, 72, 80, 104, 128, 152, 176, 192] {
            let lengths = if extended == 0 { vec![] } else { vec![extended] };
            all.push(ipv6(ethernet(net, 0, 0x86DD), &lengths, port));
        }
        all.push(ipv6(ethernet(net, 0, 0x86DD), &[8; 8], port));
        all.push(ipv6(ethernet(net, 0, 0x86DD), &[64, 16, 56, 48], port));
        all.push(ipv6(ethernet(net, 0, 0x86DD), &[200], port));
    } else {
        for (options, extended) in [(0, 8), (40, 0), (0, 72), (20, 40), (40, 64), (40, 72)] {
            // VXLAN: the inner frame decides.
            let outer = ipv4(ethernet(net, 0, 0x0800), options, 17);
            let vxlan =
                [&outer[..], &[0x30, 0x39, 0x12, 0xB5, 0, 200, 0, 0, 8, 0, 0, 0, 0, 0, 9, 0]].concat();
            let lengths = if extended == 0 { vec![] } else { vec![extended] };
            let inner = ethernet(net, 0, 0x86DD);
            all.push(ipv6([vxlan, inner].concat(), &lengths, port));
            // IPv4 in GRE with a key.
            let gre =
                [&ipv4(ethernet(net, 0, 0x0800), options, 47)[..], &[0x20, 0, 8, 0, 0, 0, 0, 7]].concat();
            all.push(udp(ipv4(gre, 40.min(extended / 4 * 4), 17), port));
        }
    }
    all
}

/// The memory layouts of a frame: split at one or several bytes, with other variations.
fn shapes(at: usize) -> Vec<Shape> {
    let cut = |pieces: &[usize]| Shape { pieces: pieces.to_vec(), ..Shape::default() };
    let mut all: Vec<Shape> = (at.saturating_sub(3)..at + 5).map(|place| cut(&[place])).collect();
    all.extend(
        [1, 13, 14, 20, 34, 54, 63, 64, 65, 96, 127, 128, 129, 160, 191, 192, 193, 224, 255, 256, 257]
            .map(|n| cut(&[n])),
    );
    all.push(cut(&[14, 40, 8, 0, 1, 3, 60]));
    all.push(cut(&[0, 0, 128, 0, 1]));
    all.push(cut(&[64; 5]));
    all.push(cut(&[1; 60]));
    all.push(Shape { headroom: 17, pieces: vec![130], ..Shape::default() });
    all.push(Shape { lead_mdls: vec![10, 3], headroom: 5, tail: 11, ..Shape::default() });
    let unmapped: Vec<Shape> = [cut(&[]), cut(&[14]), cut(&[150]), cut(&[at + 1, 2])]
        .map(|shape| Shape { unmapped: true, headroom: 3, ..shape })
        .into();
    all.extend(unmapped);
    all
}

/// The member that a frame was assigned to, if any.
fn member(net: &Net, frame: usize) -> Option<u16> {
    let outcomes = net.look(|state| state.outcomes(frame).to_vec()).expect("the machine runs");
    assert_eq!(outcomes.len(), 1, "{outcomes:?}");
    match outcomes[0] {
        FrameOutcome::Delivered { to, .. } if to.port == 1 => Some(to.index),
        _ => None,
    }
}

fn send(net: &Net, packets: Vec<Packet>) -> Vec<Option<u16>> {
    let first = next_frame(net);
    let count = packets.len();
    for chain in packets.chunks(24) {
        net.send_packets(chain.iter().map(|packet| (net.vm(0), packet.clone())).collect());
    }
    net.settle();
    (first..first + count).map(|frame| member(net, frame)).collect()
}

#[test]
fn every_layout_of_every_depth_of_headers_gives_the_member_of_the_plain_one() {
    let mut deepest = 0;
    for (seed, policy) in (0..).zip([TRANSPORT_PORTS, ENCAPSULATED, TRANSPORT_PORTS]) {
        let net = Scenario::new(seed)
            .members(&[10, 10, 10, 10])
            .vms(1)
            .setting("LoadBalancingAlgorithm", Value::Dword(policy))
            .style(|style| style.awkward_memory = false)
            .start();
        let count = frames(&net, policy, 1).len();
        for number in 0..count {
            let variants: Vec<(Vec<u8>, usize)> =
                (0..6).map(|port| frames(&net, policy, 1_000 + 37 * port).swap_remove(number)).collect();
            let at = variants[0].1;
            let plain =
                |frame: &Vec<u8>| Packet { shape: Some(Shape::default()), ..Packet::of(frame.clone()) };
            let expected = send(&net, variants.iter().map(|(frame, _)| plain(frame)).collect());
            assert!(expected.iter().all(Option::is_some), "depth {at} of policy {policy}");
            if at + 4 <= WINDOW {
                let differ = expected.iter().any(|member| *member != expected[0]);
                assert!(differ, "the ports at {at} decide nothing: policy {policy}");
                deepest = deepest.max(at + 4);
            }
            for shape in shapes(at) {
                let laid =
                    |frame: &Vec<u8>| Packet { shape: Some(shape.clone()), ..Packet::of(frame.clone()) };
                let got = send(&net, variants.iter().map(|(frame, _)| laid(frame)).collect());
                assert_eq!(got, expected, "policy {policy}, ports at {at}, {shape:?}");
                // The guest could change the bytes, but does not.
                for safe in [0, 14, 64, 128, 200, 256] {
                    if safe % 64 != seed as usize % 2 * 14 {
                        continue;
                    }
                    let guests = |frame: &Vec<u8>| Packet {
                        shape: Some(shape.clone()),
                        ..Packet::flickering(frame.clone(), frame.clone(), safe)
                    };
                    let got = send(&net, variants.iter().take(2).map(|(frame, _)| guests(frame)).collect());
                    assert_eq!(got, expected[..2], "policy {policy}, ports at {at}, {safe} safe, {shape:?}");
                }
            }
        }
        net.finish().assert_clean();
    }
    assert!(deepest > WINDOW - 8, "the deepest ports end at {deepest}");
}

#[test]
fn every_layout_of_what_is_dropped_or_delivered_inside_gives_the_same_end() {
    let net = Scenario::new(9).members(&[10, 10]).vms(3).style(|style| style.awkward_memory = false).start();
    let a = net.vm(0);
    let mut tagged = net.flow(a, 1).frame(0, 300);
    vswitch::scenario::suite::random::insert_tag(&mut tagged, 7, 0);
    let mut spoofed = net.flow(a, 2).frame(0, 300);
    spoofed[6..12].copy_from_slice(&net.mac(net.vm(1)));
    let frames = [
        net.flow_between(a, net.vm(1), 1).frame(0, 300),
        net.flow_between(a, net.vm(2), 1).frame(0, 2),
        net.flow_between(a, a, 1).frame(0, 300),
        tagged,
        spoofed,
        vec![7; 13],
    ];
    let ends = |packet: Packet| {
        let frame = next_frame(&net);
        net.send_packets(vec![(a, packet)]);
        net.settle();
        let outcomes = net.look(|state| state.outcomes(frame).to_vec()).expect("the machine runs");
        let untimed = outcomes.into_iter().map(|end| match end {
            FrameOutcome::Delivered { to, .. } => format!("to {to}"),
            other => format!("{other:?}"),
        });
        untimed.collect::<Vec<_>>()
    };
    for frame in &frames {
        let expected = ends(Packet { shape: Some(Shape::default()), ..Packet::of(frame.clone()) });
        for mut shape in (1..20).flat_map(shapes) {
            let mut left = frame.len();
            for piece in &mut shape.pieces {
                *piece = (*piece).min(left);
                left -= *piece;
            }
            let got = ends(Packet { shape: Some(shape.clone()), ..Packet::of(frame.clone()) });
            assert_eq!(got, expected, "{shape:?}");
        }
    }
    net.finish().assert_clean();
}
