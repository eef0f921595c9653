//! Each layer by itself: headers between Ethernet and IP, protocols without ports, tunnels, and the limits of the
//! parser.

#[allow(dead_code, reason = "other tests use the rest of it")]
mod invariants;

use invariants::{SOURCE, hold, hold_for_every_truncation};
use teaming::flow::{Basis, HashPolicy, Keying};
use teaming::frame::{
    EXTENSIONS_MAX, Headers, LABELS_MAX, Network, Stop, TAGS_MAX, TUNNELS_MAX, TunnelPorts, parse,
    parse_innermost,
};

const ENCAPSULATED: Keying = Keying::plain(HashPolicy::Encapsulated);
const BY_PORTS: Keying = Keying { policy: HashPolicy::TransportPorts, ..ENCAPSULATED };

fn ethernet(ethertype: u16, payload: &[u8]) -> Vec<u8> {
    [&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2][..], &ethertype.to_be_bytes(), payload].concat()
}

fn ipv4(last: u8, protocol: u8, payload: &[u8]) -> Vec<u8> {
    [&[0x45, 0, 0, 0, 0, 0, 0, 0, 64, protocol, 0, 0, 10, 0, 0, 1, 10, 0, 0, last][..], payload].concat()
}

fn ipv6(last: u8, next: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0, 0, 0, next, 64];
    packet.extend([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    packet.extend([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last]);
    packet.extend(payload);
    packet
}

/// A TCP header with source port 80 and destination port 1025.
const SEGMENT: [u8; 20] = [0, 80, 4, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, 0, 0, 0, 0, 0, 0, 0];
const PORTS: Option<(u16, u16)> = Some((80, 1025));

fn udp(port: u16, payload: &[u8]) -> Vec<u8> {
    [&[0xc0, 0][..], &port.to_be_bytes(), &[0; 4], payload].concat()
}

/// The last octet of the destination address, by which the tests identify a packet.
fn last(headers: &Headers) -> Option<u8> {
    headers.addresses().map(|(_, to)| match to {
        std::net::IpAddr::V4(to) => to.octets()[3],
        std::net::IpAddr::V6(to) => to.octets()[15],
    })
}

fn basis(frame: &[u8], keying: Keying) -> Basis {
    keying.basis(&invariants::headers(frame, &keying))
}

#[test]
fn ip_is_found_behind_snap_labels_and_sessions() {
    let (v4, v6) = (ipv4(9, 6, &SEGMENT), ipv6(9, 6, &SEGMENT));
    let snap = |ethertype: u16, packet: &[u8]| {
        let llc = [&[0xaa, 0xaa, 3, 0, 0, 0][..], &ethertype.to_be_bytes(), packet].concat();
        ethernet(llc.len() as u16, &llc)
    };
    let labels = |count: usize, packet: &[u8]| {
        let stack = [&[0, 0x3e, 0x80, 64].repeat(count - 1)[..], &[0, 0x3e, 0x81, 64]].concat();
        ethernet(0x8847, &[&stack, packet].concat())
    };
    let session = |protocol: u8, packet: &[u8]| {
        ethernet(0x8864, &[&[0x11, 0, 0, 7, 0, 0, 0, protocol][..], packet].concat())
    };
    let frames = [
        snap(0x0800, &v4),
        snap(0x86dd, &v6),
        labels(1, &v4),
        labels(3, &v6),
        labels(LABELS_MAX, &v4),
        session(0x21, &v4),
        session(0x57, &v6),
    ];
    for frame in frames {
        let headers = parse(&frame);
        assert_eq!((last(&headers), headers.ports(), headers.stop), (Some(9), PORTS, Stop::Not));
        hold_for_every_truncation(&frame);
    }
    let too_many = parse(&labels(LABELS_MAX + 1, &v4));
    assert_eq!((too_many.network, too_many.stop), (Network::Other, Stop::Depth));
    // Neither IP nor a known LLC, a pseudowire, the control protocol of a session, a session of another version.
    let others = [
        (ethernet(8, &[0x42, 0x42, 3, 0, 0, 0, 0, 0]), Basis::NotIp),
        (ethernet(28, &[&[0xaa, 0xaa, 3, 0, 0, 0xf8, 8, 0][..], &v4].concat()), Basis::NotIp),
        (labels(1, &[&[0, 0, 0, 0][..], &v4].concat()), Basis::NotIp),
        (session(0x23, &v4), Basis::NotIp),
        (ethernet(0x8864, &[&[0x12, 0, 0, 7, 0, 0, 0, 0x21][..], &v4].concat()), Basis::Malformed),
        (ethernet(0x8863, &[&[0x11, 9, 0, 0, 0, 0, 0, 0x21][..], &v4].concat()), Basis::NotIp),
    ];
    for (frame, expected) in others {
        assert_eq!((parse(&frame).network, basis(&frame, BY_PORTS)), (Network::Other, expected));
    }
}

#[test]
fn arp_goes_by_the_addresses_of_sender_and_target() {
    let mut packet =
        vec![0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 2, 10, 0, 0, 1, 0, 0, 0, 0, 0, 0, 10, 0, 0, 9];
    let headers = parse(&ethernet(0x0806, &packet));
    assert_eq!((headers.network, last(&headers), headers.protocol()), (Network::Arp, Some(9), None));
    assert_eq!(basis(&ethernet(0x0806, &packet), BY_PORTS), Basis::NoPorts);
    // Under IpAddresses it has the same key as other packets between the two addresses.
    let pair = Keying { policy: HashPolicy::IpAddresses, ..BY_PORTS };
    let tcp = parse(&ethernet(0x0800, &ipv4(9, 6, &SEGMENT)));
    assert_eq!(pair.key(&headers, SOURCE, None), pair.key(&tcp, SOURCE, None));
    assert_ne!(BY_PORTS.key(&headers, SOURCE, None), BY_PORTS.key(&tcp, SOURCE, None));
    packet[1] = 6;
    assert_eq!(parse(&ethernet(0x0806, &packet)).network, Network::Other);
}

#[test]
fn every_protocol_with_ports_is_read_and_security_indexes_stand_for_them() {
    for (ethertype, packet) in [(0x0800, ipv4 as fn(u8, u8, &[u8]) -> Vec<u8>), (0x86dd, ipv6)] {
        for protocol in [6, 17, 33, 132, 136] {
            let headers = parse(&ethernet(ethertype, &packet(9, protocol, &SEGMENT)));
            assert_eq!((headers.ports(), headers.protocol()), (PORTS, Some(protocol)));
        }
        let esp = parse(&ethernet(ethertype, &packet(9, 50, &[1, 2, 3, 4, 0, 0, 0, 1])));
        assert_eq!((esp.spi(), esp.ports(), esp.protocol()), (Some(0x0102_0304), None, Some(50)));
        let other = parse(&ethernet(ethertype, &packet(9, 50, &[1, 2, 3, 5, 0, 0, 0, 1])));
        assert_ne!(BY_PORTS.key(&esp, SOURCE, None), BY_PORTS.key(&other, SOURCE, None));
        let symmetric = Keying { symmetric: true, ..BY_PORTS };
        assert_eq!(symmetric.key(&esp, SOURCE, None), symmetric.key(&other, SOURCE, None));
        assert_eq!((BY_PORTS.basis(&esp), symmetric.basis(&esp)), (Basis::Policy, Basis::NoPorts));
        // After an authentication header the ports are read; without ports the security parameters index is used.
        let authenticated = |next: u8, rest: &[u8]| {
            let header = [next, 1, 0, 0, 5, 6, 7, 8, 0, 0, 0, 0];
            parse(&ethernet(ethertype, &packet(9, 51, &[&header[..], rest].concat())))
        };
        let tcp = authenticated(6, &SEGMENT);
        assert_eq!((tcp.ports(), tcp.spi(), tcp.protocol()), (PORTS, None, Some(6)));
        let icmp = authenticated(1, &SEGMENT);
        assert_eq!((icmp.ports(), icmp.spi(), icmp.protocol()), (None, Some(0x0506_0708), Some(1)));
        for protocol in [1, 2, 58, 89, 0xfd] {
            let frame = ethernet(ethertype, &packet(9, protocol, &SEGMENT));
            assert_eq!(basis(&frame, BY_PORTS), Basis::NoPorts);
        }
    }
}

#[test]
fn a_udp_header_at_the_very_last_byte_and_one_without_payload_are_read() {
    for (ethertype, packet) in [(0x0800, ipv4 as fn(u8, u8, &[u8]) -> Vec<u8>), (0x86dd, ipv6)] {
        let whole = ethernet(ethertype, &packet(9, 17, &SEGMENT[..8]));
        let headers = parse(&whole);
        assert_eq!((headers.ports(), headers.stop), (PORTS, Stop::Not));
        // Both ports need four octets; with three octets there are no ports.
        assert_eq!(parse(&whole[..whole.len() - 4]).ports(), PORTS);
        let cut = parse(&whole[..whole.len() - 5]);
        assert_eq!((cut.ports(), cut.stop, BY_PORTS.basis(&cut)), (None, Stop::Window, Basis::CutShort));
        // Padding after a datagram without payload changes nothing.
        let padded = [&whole[..], &[0xee; 18]].concat();
        assert_eq!(parse(&padded), headers);
        // Wrong length fields are ignored.
        let mut lying = whole.clone();
        let length = if ethertype == 0x0800 { 16 } else { 18 };
        lying[length..length + 2].fill(0xff);
        assert_eq!(parse(&lying), headers);
        hold_for_every_truncation(&lying);
    }
}

/// Tunnelled packets: the last octet of the destination address is 1 in outer packets and 9 in the innermost.
fn tunnels() -> Vec<(&'static str, Vec<u8>)> {
    let (v4, v6) = (ipv4(9, 6, &SEGMENT), ipv6(9, 6, &SEGMENT));
    let frame = ethernet(0x86dd, &v6);
    let tagged = [&frame[..12], &[0x81, 0, 0, 5], &frame[12..]].concat();
    let vxlan = [&[8, 0, 0, 0, 0, 0, 7, 0][..], &tagged].concat();
    let geneve = [&[1, 0, 0x65, 0x58, 0, 0, 7, 0, 0, 0, 0, 0][..], &frame].concat();
    let gtp = |flags: u8, options: &[u8]| [&[flags, 255, 0, 0, 0, 0, 0, 5], options, &v4[..]].concat();
    let nvgre = [&[0x20, 0, 0x65, 0x58, 0, 0, 7, 0][..], &frame].concat();
    let labelled = [&[0, 0, 0x88, 0x47, 0, 0x3e, 0x81, 64][..], &v4].concat();
    vec![
        ("IPv4 in IPv4", ethernet(0x0800, &ipv4(1, 4, &v4))),
        ("IPv6 in IPv4", ethernet(0x0800, &ipv4(1, 41, &v6))),
        ("IPv4 in IPv6", ethernet(0x86dd, &ipv6(1, 4, &v4))),
        ("IPv6 in IPv6", ethernet(0x86dd, &ipv6(1, 41, &v6))),
        (
            "IPv4 in IPv4, authenticated",
            ethernet(0x0800, &ipv4(1, 51, &[&[4, 1][..], &[1; 10], &v4].concat())),
        ),
        ("GRE", ethernet(0x0800, &ipv4(1, 47, &[&[0, 0, 8, 0][..], &v4].concat()))),
        (
            "GRE, all fields",
            ethernet(0x86dd, &ipv6(1, 47, &[&[0xb0, 0, 0x86, 0xdd][..], &[1; 12], &v6].concat())),
        ),
        ("GRE, MPLS", ethernet(0x0800, &ipv4(1, 47, &labelled))),
        ("NVGRE", ethernet(0x0800, &ipv4(1, 47, &nvgre))),
        ("VXLAN", ethernet(0x0800, &ipv4(1, 17, &udp(4789, &vxlan)))),
        ("GENEVE", ethernet(0x86dd, &ipv6(1, 17, &udp(6081, &geneve)))),
        ("GTP-U", ethernet(0x0800, &ipv4(1, 17, &udp(2152, &gtp(0x30, &[]))))),
        ("GTP-U, numbered", ethernet(0x0800, &ipv4(1, 17, &udp(2152, &gtp(0x32, &[0, 1, 0, 0x85]))))),
        (
            "GTP-U, extended twice",
            ethernet(
                0x0800,
                &ipv4(1, 17, &udp(2152, &gtp(0x34, &[0, 0, 0, 0x85, 1, 0, 9, 0xc0, 1, 0, 0, 0]))),
            ),
        ),
    ]
}

#[test]
fn every_tunnel_is_entered_for_the_inner_headers_and_for_nothing_else() {
    for (name, frame) in tunnels() {
        let (outer, inner) = (parse(&frame), parse_innermost(&frame, TunnelPorts::REGISTERED));
        assert_eq!((last(&outer), outer.tunnels(), outer.tags()), (Some(1), 0, 0), "{name}");
        assert_eq!((last(&inner), inner.tunnels(), inner.ports()), (Some(9), 1, PORTS), "{name}");
        assert_eq!((inner.source, inner.destination, inner.tags()), (outer.source, outer.destination, 0));
        assert_eq!(basis(&frame, ENCAPSULATED), Basis::Policy, "{name}");
        hold_for_every_truncation(&frame);
    }
}

/// A tunnel in UDP to this port, with an IPv4 packet in an Ethernet frame.
fn in_udp(port: u16, header: &[u8]) -> Vec<u8> {
    let inside = ethernet(0x0800, &ipv4(9, 6, &SEGMENT));
    ethernet(0x0800, &ipv4(1, 17, &udp(port, &[header, &inside].concat())))
}

#[test]
fn tunnels_are_read_at_the_ports_that_are_set_and_at_the_registered_ones() {
    let (vxlan, geneve) = ([8, 0, 0, 0, 0, 0, 7, 0], [0, 0, 0x65, 0x58, 0, 0, 7, 0]);
    let both = TunnelPorts { vxlan: 8_472, geneve: 6_082 };
    for (header, registered, set) in [(vxlan, 4_789, both.vxlan), (geneve, 6_081, both.geneve)] {
        for port in [registered, set, set + 2, 2_152, 0, u16::MAX] {
            let frame = in_udp(port, &header);
            for ports in [TunnelPorts::REGISTERED, both] {
                let inner = parse_innermost(&frame, ports);
                let is_entered = port == registered || (port == set && ports == both);
                let place = if is_entered { (1, Some(9)) } else { (0, Some(1)) };
                assert_eq!((inner.tunnels(), last(&inner)), place, "{port} {ports:?}");
                let keying = Keying { tunnels: ports, ..ENCAPSULATED };
                let expected = if is_entered { Basis::Policy } else { Basis::NotEncapsulated };
                assert_eq!(keying.basis(&inner), expected, "{port} {ports:?}");
            }
        }
    }
    // A port that is registered for another tunnel stays that one's.
    let other = TunnelPorts { vxlan: 6_081, geneve: 4_789 };
    assert_eq!(parse_innermost(&in_udp(6_081, &geneve), other).tunnels(), 1);
    assert_eq!(parse_innermost(&in_udp(4_789, &vxlan), other).tunnels(), 1);
}

#[test]
fn what_is_no_tunnel_that_is_understood_keeps_its_own_headers() {
    let v4 = ipv4(9, 6, &SEGMENT);
    let frame = ethernet(0x0800, &v4);
    let gre = |header: &[u8]| ethernet(0x0800, &ipv4(1, 47, &[header, &[0; 12], &v4].concat()));
    let in_udp = |port: u16, header: &[u8], inside: &[u8]| {
        ethernet(0x0800, &ipv4(1, 17, &udp(port, &[header, inside].concat())))
    };
    let mut fragment = ethernet(0x0800, &ipv4(1, 4, &v4));
    fragment[20] = 0x20;
    let rows = [
        ("plain", frame.clone(), Basis::NotEncapsulated),
        ("GRE of PPTP", gre(&[0x30, 1, 0x88, 0x0b]), Basis::NotEncapsulated),
        ("GRE with source routes", gre(&[0x40, 0, 8, 0]), Basis::NotEncapsulated),
        ("GRE of another protocol", gre(&[0, 0, 0x88, 0xbe]), Basis::NotEncapsulated),
        ("VXLAN without its flag", in_udp(4789, &[0, 0, 0, 0, 0, 0, 7, 0], &frame), Basis::NotEncapsulated),
        ("VXLAN to another port", in_udp(4788, &[8, 0, 0, 0, 0, 0, 7, 0], &frame), Basis::NotEncapsulated),
        (
            "GENEVE of another version",
            in_udp(6081, &[0x40, 0, 0x65, 0x58, 0, 0, 7, 0], &frame),
            Basis::NotEncapsulated,
        ),
        ("GTP echo", in_udp(2152, &[0x32, 1, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0], &v4), Basis::NotEncapsulated),
        (
            "GTP extension without length",
            in_udp(2152, &[0x34, 255, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0x85, 0], &v4),
            Basis::Malformed,
        ),
        ("inner version wrong", ethernet(0x0800, &ipv4(1, 4, &ipv6(9, 6, &SEGMENT))), Basis::Malformed),
        ("outer fragment", fragment, Basis::Fragment),
    ];
    for (name, frame, expected) in rows {
        assert_eq!(basis(&frame, ENCAPSULATED), expected, "{name}");
        let (outer, inner) = (parse(&frame), parse_innermost(&frame, TunnelPorts::REGISTERED));
        assert_eq!((inner.tunnels(), last(&inner)), (0, last(&outer)), "{name}");
        assert_eq!(ENCAPSULATED.key(&inner, SOURCE, None), BY_PORTS.key(&outer, SOURCE, None), "{name}");
        hold_for_every_truncation(&frame);
    }
}

#[test]
fn tunnels_in_tunnels_end_at_the_limit() {
    let mut packet = ipv4(9, 6, &SEGMENT);
    for depth in 1..=TUNNELS_MAX + 3 {
        packet = ipv4(9 - depth as u8, 4, &packet);
        let frame = ethernet(0x0800, &packet);
        let headers = parse_innermost(&frame, TunnelPorts::REGISTERED);
        if depth <= TUNNELS_MAX {
            assert_eq!((last(&headers), headers.stop), (Some(9), Stop::Not));
        } else {
            assert_eq!((usize::from(headers.tunnels()), headers.stop), (TUNNELS_MAX, Stop::Depth));
            assert_eq!(basis(&frame, ENCAPSULATED), Basis::TooDeep);
        }
        hold_for_every_truncation(&frame[..frame.len().min(256)]);
    }
}

#[test]
fn stacks_of_ten_tags_and_chains_without_end_fall_back() {
    for count in 0..=10 {
        let mut frame = ethernet(0x0800, &ipv4(9, 6, &SEGMENT));
        for tag in 0..count {
            frame.splice(12..12, [0x81, 0, 0, tag as u8 + 1]);
        }
        let headers = parse(&frame);
        let expected =
            if count <= TAGS_MAX { (Network::V4, Stop::Not) } else { (Network::Other, Stop::Depth) };
        assert_eq!((headers.network, headers.stop), expected);
        assert_eq!(basis(&frame, BY_PORTS), if count <= TAGS_MAX { Basis::Policy } else { Basis::TooDeep });
        hold_for_every_truncation(&frame);
    }
    for number in [0, 43, 51, 60, 135, 139, 140] {
        let chain = [number, 0, 0, 0, 0, 0, 0, 0].repeat(if number == 51 { 0 } else { 27 });
        let chain = if number == 51 { [51, 0, 0, 0, 0, 0, 0, 1].repeat(27) } else { chain };
        let frame = ethernet(0x86dd, &ipv6(9, number, &chain));
        let headers = parse(&frame);
        assert_eq!((headers.stop, last(&headers)), (Stop::Depth, Some(9)), "{number}");
        hold_for_every_truncation(&frame);
        // As many headers as the limit, and a length that points beyond the window.
        let mut walked = [number, 0, 0, 0, 0, 0, 0, 0].repeat(EXTENSIONS_MAX);
        walked[EXTENSIONS_MAX * 8 - 8] = 6;
        let frame = ethernet(0x86dd, &ipv6(9, number, &[&walked[..], &SEGMENT].concat()));
        assert_eq!(parse(&frame).ports(), PORTS, "{number}");
        let mut lying = frame.clone();
        lying[55] = 0xff;
        assert_eq!((parse(&lying).ports(), parse(&lying).stop), (None, Stop::Window));
        hold(&lying);
    }
}
