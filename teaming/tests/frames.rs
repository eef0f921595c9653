//! Frames with every combination of headers, whole and truncated: the fields that are read, the fallbacks, and no
//! panic.

use std::net::{Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;
use teaming::flow::{FlowKey, HashPolicy, key};
use teaming::frame::{Headers, Network, Transport, parse};
use teaming::ids::{MacAddr, NicId, NicIndex, PortId, VlanId};

const SOURCE: NicId = NicId::new(PortId::new(7), NicIndex::DEFAULT);
const TO: [u8; 6] = [0x00, 0x15, 0x5d, 0, 0, 1];
const FROM: [u8; 6] = [0x00, 0x15, 0x5d, 0, 0, 2];

/// An Ethernet frame: tags as (EtherType, TCI), then EtherType and payload.
fn frame(tags: &[(u16, u16)], ethertype: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = [TO, FROM].concat();
    for (kind, tci) in tags {
        bytes.extend(kind.to_be_bytes());
        bytes.extend(tci.to_be_bytes());
    }
    bytes.extend(ethertype.to_be_bytes());
    bytes.extend(payload);
    bytes
}

fn ipv4(options: usize, fragment: u16, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x40 | (5 + options) as u8, 0];
    bytes.extend(((20 + options * 4 + payload.len()) as u16).to_be_bytes());
    bytes.extend([0x12, 0x34]);
    bytes.extend(fragment.to_be_bytes());
    bytes.extend([64, protocol, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    bytes.extend(vec![1; options * 4]);
    bytes.extend(payload);
    bytes
}

/// Extension headers as (protocol number, header without its next-header octet).
fn ipv6(extensions: &[(u8, Vec<u8>)], protocol: u8, payload: &[u8]) -> Vec<u8> {
    let numbers: Vec<u8> = extensions.iter().map(|(number, _)| *number).chain([protocol]).collect();
    let mut bytes = vec![0x60, 0, 0, 0, 0, 0, numbers[0], 64];
    bytes.extend("2001:db8::1".parse::<Ipv6Addr>().unwrap().octets());
    bytes.extend("2001:db8::2".parse::<Ipv6Addr>().unwrap().octets());
    for ((_, rest), next) in extensions.iter().zip(&numbers[1..]) {
        bytes.push(*next);
        bytes.extend(rest);
    }
    bytes.extend(payload);
    bytes
}

fn options(units: u8) -> Vec<u8> {
    let mut rest = vec![units];
    rest.resize(usize::from(units) * 8 + 7, 0);
    rest
}

fn authentication(words: u8) -> Vec<u8> {
    let mut rest = vec![words];
    rest.resize((usize::from(words) + 2) * 4 - 1, 0xaa);
    rest
}

fn fragment_header(offset_and_more: u16) -> Vec<u8> {
    let [high, low] = offset_and_more.to_be_bytes();
    vec![0, high, low, 1, 2, 3, 4]
}

const PORTS: [u8; 20] = [0x1f, 0x90, 0x01, 0xbb, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 0x10, 0, 0, 0, 0, 0, 0];

fn transport_key(headers: &Headers) -> FlowKey {
    key(headers, HashPolicy::TransportPorts, SOURCE)
}

#[test]
fn tcp_and_udp_are_read_over_ipv4_with_and_without_options() {
    for protocol in [6, 17] {
        for words in 0..=10 {
            let headers = parse(&frame(&[], 0x0800, &ipv4(words, 0x4000, protocol, &PORTS)));
            assert_eq!(headers.destination, MacAddr(TO));
            assert_eq!(headers.source, MacAddr(FROM));
            assert_eq!(headers.network, Network::V4);
            assert_eq!(
                headers.addresses(),
                Some((Ipv4Addr::new(10, 0, 0, 1).into(), Ipv4Addr::new(10, 0, 0, 2).into()))
            );
            assert_eq!(headers.protocol(), Some(protocol));
            assert_eq!(headers.ports(), Some((0x1f90, 0x01bb)));
            assert!(!headers.ran_out());
        }
    }
}

#[test]
fn tcp_is_read_over_ipv6_behind_every_extension_header() {
    let chains: [&[(u8, Vec<u8>)]; 6] = [
        &[],
        &[(0, options(0))],
        &[(0, options(1)), (60, options(0)), (43, options(2))],
        &[(51, authentication(4))],
        &[(135, options(0)), (51, authentication(1)), (60, options(3))],
        &[
            (60, options(0)),
            (60, options(0)),
            (60, options(0)),
            (60, options(0)),
            (60, options(0)),
            (60, options(0)),
            (60, options(0)),
            (60, options(0)),
        ],
    ];
    for chain in chains {
        let headers = parse(&frame(&[], 0x86dd, &ipv6(chain, 6, &PORTS)));
        assert_eq!(headers.network, Network::V6);
        let (source, destination) = headers.addresses().unwrap();
        assert_eq!(
            (source.to_string(), destination.to_string()),
            ("2001:db8::1".into(), "2001:db8::2".into())
        );
        assert_eq!(headers.ports(), Some((0x1f90, 0x01bb)), "{chain:?}");
        assert_eq!(headers.protocol(), Some(6));
        assert!(!headers.ran_out());
    }
}

#[test]
fn a_chain_of_too_many_extension_headers_falls_back_to_the_addresses() {
    let chain = vec![(60, options(0)); 9];
    let headers = parse(&frame(&[], 0x86dd, &ipv6(&chain, 6, &PORTS)));
    assert_eq!((headers.network, headers.transport), (Network::V6, Transport::Other));
}

#[test]
fn up_to_four_tags_are_walked_and_the_outermost_counts() {
    let tags = [(0x88a8, 0x6064), (0x8100, 0x0007), (0x9100, 1), (0x8100, 2)];
    for count in 0..=4 {
        let headers = parse(&frame(&tags[..count], 0x0800, &ipv4(0, 0, 6, &PORTS)));
        assert_eq!(usize::from(headers.tags()), count);
        assert_eq!(headers.vlan(), (count > 0).then(|| VlanId::new(100).unwrap()));
        assert_eq!(headers.priority(), (count > 0).then_some(3));
        assert_eq!(headers.ports(), Some((0x1f90, 0x01bb)));
        assert_eq!(
            transport_key(&headers),
            transport_key(&parse(&frame(&[], 0x0800, &ipv4(0, 0, 6, &PORTS))))
        );
    }
    let headers = parse(&frame(&[(0x8100, 0xa000)], 0x0806, &[0; 28]));
    assert_eq!((headers.vlan(), headers.priority(), headers.ethertype), (None, Some(5), 0x0806));
    let five = [tags[0], tags[1], tags[2], tags[3], (0x8100, 9)];
    assert_eq!(parse(&frame(&five, 0x0800, &ipv4(0, 0, 6, &PORTS))).network, Network::Other);
}

#[test]
fn all_fragments_of_a_datagram_have_one_key_without_ports() {
    let keys: Vec<FlowKey> = [0x2000, 0x2001, 0x00b9, 0x1fff, 0x3fff]
        .iter()
        .map(|&fragment| transport_key(&parse(&frame(&[], 0x0800, &ipv4(0, fragment, 17, &PORTS)))))
        .collect();
    assert!(keys.iter().all(|key| *key == keys[0]));
    let whole = parse(&frame(&[], 0x0800, &ipv4(0, 0x4000, 17, &PORTS)));
    assert_ne!(keys[0], transport_key(&whole));
    let other_protocol = parse(&frame(&[], 0x0800, &ipv4(0, 0x2000, 6, &PORTS)));
    assert_ne!(keys[0], transport_key(&other_protocol));

    // The next-header octet of a later IPv6 fragment may differ from that of the first one.
    let first = parse(&frame(&[], 0x86dd, &ipv6(&[(44, fragment_header(1)), (60, options(0))], 17, &PORTS)));
    let later = parse(&frame(&[], 0x86dd, &ipv6(&[(44, fragment_header(0x5a8))], 17, &[0; 32])));
    assert_eq!((first.transport, first.ports()), (Transport::Fragment, None));
    assert_eq!(transport_key(&first), transport_key(&later));
}

#[test]
fn other_protocols_are_told_apart_by_addresses_and_protocol() {
    let icmp = parse(&frame(&[], 0x0800, &ipv4(0, 0, 1, &[8, 0, 0, 0])));
    let esp = parse(&frame(&[], 0x0800, &ipv4(0, 0, 50, &[0; 8])));
    assert_eq!((icmp.transport, icmp.protocol(), icmp.ports()), (Transport::Other, Some(1), None));
    assert_ne!(transport_key(&icmp), transport_key(&esp));
    let icmp6 = parse(&frame(&[], 0x86dd, &ipv6(&[], 58, &[128, 0, 0, 0])));
    assert_eq!((icmp6.transport, icmp6.protocol()), (Transport::Other, Some(58)));
}

#[test]
fn what_is_not_understood_falls_back_to_the_pair_of_mac_addresses() {
    let mut short_header = ipv4(0, 0, 6, &PORTS);
    short_header[0] = 0x44;
    let mut wrong_version = ipv4(0, 0, 6, &PORTS);
    wrong_version[0] = 0x65;
    let mut wrong_version6 = ipv6(&[], 6, &PORTS);
    wrong_version6[0] = 0x40;
    let frames = [
        frame(&[], 0x0806, &[0; 28]),
        frame(&[], 0x0026, &[0xaa; 38]),
        frame(&[], 0x0800, &short_header),
        frame(&[], 0x0800, &wrong_version),
        frame(&[], 0x86dd, &wrong_version6),
    ];
    let keys: Vec<FlowKey> = frames.iter().map(|bytes| transport_key(&parse(bytes))).collect();
    assert!(keys.iter().all(|key| *key == keys[0]));
    let mut other = frames[0].clone();
    other[11] ^= 1;
    assert_ne!(transport_key(&parse(&other)), keys[0]);
}

#[test]
fn known_key_bytes() {
    let bytes = |frame: &[u8], policy| key(&parse(frame), policy, SOURCE).bytes().to_vec();
    let tcp = frame(&[], 0x0800, &ipv4(0, 0, 6, &PORTS));
    assert_eq!(
        bytes(&tcp, HashPolicy::TransportPorts),
        [10, 0, 0, 1, 10, 0, 0, 2, 0x1f, 0x90, 1, 0xbb, 6, 1, 0, 0]
    );
    assert_eq!(bytes(&tcp, HashPolicy::HyperVPort), [7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0]);
    let arp = frame(&[], 0x0806, &[0; 28]);
    assert_eq!(
        bytes(&arp, HashPolicy::TransportPorts),
        [0, 0x15, 0x5d, 0, 0, 1, 0, 0x15, 0x5d, 0, 0, 2, 0, 3, 0, 0]
    );
    let tcp6 = bytes(&frame(&[], 0x86dd, &ipv6(&[], 6, &PORTS)), HashPolicy::TransportPorts);
    assert_eq!(tcp6.len(), 40);
    assert_eq!(tcp6[..4], [0x20, 0x01, 0x0d, 0xb8]);
    assert_eq!(tcp6[31..], [2, 0x1f, 0x90, 1, 0xbb, 6, 1, 0, 0]);
}

/// Frames with every combination of headers and random fields.
fn any_frame() -> impl Strategy<Value = Vec<u8>> {
    let tags =
        prop::collection::vec((prop::sample::select(vec![0x8100_u16, 0x88a8, 0x9100]), any::<u16>()), 0..6);
    let extension = prop_oneof![
        (prop::sample::select(vec![0_u8, 43, 60, 135]), 0..4_u8)
            .prop_map(|(number, units)| (number, options(units))),
        (0..6_u8).prop_map(|words| (51, authentication(words))),
        any::<u16>().prop_map(|offset| (44, fragment_header(offset))),
    ];
    let payload = prop::collection::vec(any::<u8>(), 0..40);
    let protocol = prop_oneof![Just(6_u8), Just(17), any::<u8>()];
    let v4 = (0..=10_usize, prop_oneof![Just(0), any::<u16>()], protocol.clone(), payload.clone())
        .prop_map(|(words, fragment, protocol, payload)| (0x0800, ipv4(words, fragment, protocol, &payload)));
    let v6 = (prop::collection::vec(extension, 0..10), protocol, payload.clone())
        .prop_map(|(chain, protocol, payload)| (0x86dd, ipv6(&chain, protocol, &payload)));
    (tags, prop_oneof![v4, v6, (any::<u16>(), payload)])
        .prop_map(|(tags, (ethertype, payload))| frame(&tags, ethertype, &payload))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    /// With a shorter window either the same fields are read, or `ran_out` is true.
    #[test]
    fn every_cut_says_that_the_window_ran_out_or_reads_the_same(bytes in any_frame()) {
        let whole = parse(&bytes);
        for length in 0..=bytes.len() {
            let cut = parse(&bytes[..length]);
            prop_assert!(cut.ran_out() || cut == whole, "{length}: {cut:?} {whole:?}");
            prop_assert!(!(cut.ran_out() && cut.ports().is_some()));
            for policy in [HashPolicy::TransportPorts, HashPolicy::HyperVPort] {
                let bytes = key(&cut, policy, SOURCE).bytes();
                prop_assert!(bytes.len() == 16 || bytes.len() == 40);
            }
        }
    }

    #[test]
    fn random_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..256)) {
        let headers = parse(&bytes);
        prop_assert_eq!(headers.ports().is_some(), headers.transport == Transport::Ports);
        prop_assert!(bytes.len() >= 14 || headers.ran_out());
        let _ = (headers.addresses(), headers.vlan(), headers.priority(), headers.protocol());
    }

    /// Packets of one flow have one key, whatever other fields differ.
    #[test]
    fn the_key_depends_on_the_flow_alone(words in 0..=10_usize, length in 0..30_usize, tci in any::<u16>()) {
        let payload = [&PORTS[..], &vec![0xcc; length]].concat();
        let plain = parse(&frame(&[], 0x0800, &ipv4(0, 0x4000, 6, &PORTS)));
        let mut other = ipv4(words, 0, 6, &payload);
        (other[1], other[2], other[3], other[8]) = (0x2e, 0, 0, 3);
        let other = parse(&frame(&[(0x8100, tci)], 0x0800, &other));
        prop_assert_eq!(transport_key(&plain), transport_key(&other));
    }
}
