//! When an adapter's hash replaces the computed one, and that a flow keeps its value either way.

use teaming::flow::adapter_hash::{AGREEMENTS, Adapter, HashConfidence, HashType, NicHash};
use teaming::flow::hash::{TOEPLITZ_SAMPLE_KEY, Toeplitz};
use teaming::flow::{HashPolicy, Keying, POLICIES};
use teaming::frame::{Headers, parse};

const BY_PORTS: Keying = Keying::plain(HashPolicy::TransportPorts);
const BY_ADDRESSES: Keying = Keying::plain(HashPolicy::IpAddresses);

fn ipv4(protocol: u8, fragment: u8, addresses: [u8; 8], ports: [u16; 2]) -> Headers {
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0];
    frame.extend([0x45, 0, 0, 40, 0, 0, fragment, 0, 64, protocol, 0, 0]);
    frame.extend(addresses);
    frame.extend(ports.map(u16::to_be_bytes).concat());
    frame.extend([0; 16]);
    parse(&frame)
}

fn ipv6(protocol: u8, addresses: &str, ports: [u16; 2]) -> Headers {
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x86, 0xdd, 0x60, 0, 0, 0, 0, 20, protocol, 64];
    for address in addresses.split(' ') {
        frame.extend(address.parse::<std::net::Ipv6Addr>().unwrap().octets());
    }
    frame.extend(ports.map(u16::to_be_bytes).concat());
    frame.extend([0; 16]);
    parse(&frame)
}

struct Bench {
    toeplitz: Toeplitz,
    confidence: HashConfidence,
}

impl Bench {
    fn new() -> Self {
        Self { toeplitz: Toeplitz::new(&TOEPLITZ_SAMPLE_KEY), confidence: HashConfidence::NONE }
    }

    fn value(&self, headers: &Headers, keying: Keying, offered: Option<NicHash>, check: bool) -> Option<u32> {
        Adapter { toeplitz: &self.toeplitz, confidence: &self.confidence, offered, check }
            .value(headers, &keying)
    }

    /// Passes as many equal values as trust requires.
    fn earn(&self, headers: &Headers, hash_type: HashType) {
        let own = self.value(headers, BY_PORTS, None, false).unwrap();
        for _ in 0..AGREEMENTS {
            assert!(!self.confidence.covers(hash_type));
            self.value(headers, BY_PORTS, Some(NicHash { value: own, hash_type }), false);
        }
        assert!(self.confidence.covers(hash_type));
    }
}

/// Rows of verifying-the-rss-hash-calculation.md.
#[test]
fn our_value_is_the_published_one() {
    let bench = Bench::new();
    let v4 = [66, 9, 149, 187, 161, 142, 100, 80];
    let v6 = "3ffe:2501:200:1fff::7 3ffe:2501:200:3::1";
    for protocol in [6, 17] {
        let headers = ipv4(protocol, 0, v4, [2794, 1766]);
        assert_eq!(bench.value(&headers, BY_PORTS, None, false), Some(0x51cc_c178));
        assert_eq!(bench.value(&headers, BY_ADDRESSES, None, false), Some(0x323e_8fc2));
        let headers = ipv6(protocol, v6, [2794, 1766]);
        assert_eq!(bench.value(&headers, BY_PORTS, None, false), Some(0x4020_7d3d));
        assert_eq!(bench.value(&headers, BY_ADDRESSES, None, false), Some(0x2cc1_8cd5));
    }
    for (protocol, fragment) in [(17, 0x20), (6, 0x20), (1, 0)] {
        let headers = ipv4(protocol, fragment, v4, [2794, 1766]);
        assert_eq!(bench.value(&headers, BY_PORTS, None, false), Some(0x323e_8fc2), "addresses alone");
    }
}

#[test]
fn ndis_types_are_told_apart_and_those_with_other_addresses_are_not_taken() {
    let rows = [(0x100, HashType::Ipv4), (0x200, HashType::TcpIpv4), (0x400, HashType::Ipv6)];
    let more = [(0x1000, HashType::TcpIpv6), (0x4000, HashType::UdpIpv4), (0x8000, HashType::UdpIpv6)];
    for (bits, hash_type) in rows.into_iter().chain(more) {
        assert_eq!(HashType::from_ndis(bits), Some(hash_type));
    }
    for bits in [0, 1, 0x800, 0x2000, 0x1_0000, 0x300] {
        assert_eq!(HashType::from_ndis(bits), None);
    }
}

#[test]
fn a_value_is_believed_only_after_enough_of_its_type_agreed() {
    let bench = Bench::new();
    let tcp = ipv4(6, 0, [10, 0, 0, 1, 10, 0, 0, 2], [1, 2]);
    let udp = ipv4(17, 0, [10, 0, 0, 1, 10, 0, 0, 2], [1, 2]);
    bench.earn(&tcp, HashType::TcpIpv4);
    let marked = |hash_type| Some(NicHash { value: 0x1234_5678, hash_type });
    assert_eq!(bench.value(&tcp, BY_PORTS, marked(HashType::TcpIpv4), false), Some(0x1234_5678));
    // Neither values of another type on the same port, nor values of a type other than the key's.
    for hash_type in HashType::ALL {
        assert_eq!(bench.confidence.covers(hash_type), hash_type == HashType::TcpIpv4);
    }
    let own = bench.value(&tcp, BY_PORTS, None, false);
    assert_eq!(bench.value(&tcp, BY_PORTS, marked(HashType::Ipv4), false), own);
    assert!(!bench.confidence.distrusted());
    let own = bench.value(&udp, BY_PORTS, None, false);
    assert_eq!(bench.value(&udp, BY_PORTS, marked(HashType::UdpIpv4), false), own);
    assert!(bench.confidence.distrusted());
}

#[test]
fn one_wrong_value_ends_the_trust_in_every_type_until_it_is_reset() {
    let bench = Bench::new();
    let tcp = ipv4(6, 0, [10, 0, 0, 1, 10, 0, 0, 2], [1, 2]);
    let tcp6 = ipv6(6, "2001:db8::1 2001:db8::2", [1, 2]);
    bench.earn(&tcp, HashType::TcpIpv4);
    bench.earn(&tcp6, HashType::TcpIpv6);
    let own = bench.value(&tcp, BY_PORTS, None, false);
    let wrong = Some(NicHash { value: own.unwrap() ^ 1, hash_type: HashType::TcpIpv4 });
    assert_eq!(bench.value(&tcp, BY_PORTS, wrong, true), own, "a check uses our value");
    assert!(HashType::ALL.iter().all(|&hash_type| !bench.confidence.covers(hash_type)));
    assert_eq!(bench.value(&tcp, BY_PORTS, wrong, false), own);
    bench.confidence.reset();
    assert!(!bench.confidence.distrusted());
    bench.earn(&tcp, HashType::TcpIpv4);
}

/// The adapter's values start, stop, start again and become wrong: the flow's value stays the same.
#[test]
fn a_flow_has_one_value_whatever_comes_beside_its_packets() {
    for (headers, hash_type) in [
        (ipv4(6, 0, [10, 0, 0, 1, 10, 0, 0, 2], [80, 1025]), HashType::TcpIpv4),
        (ipv4(17, 0, [10, 0, 0, 1, 10, 0, 0, 2], [80, 1025]), HashType::UdpIpv4),
        (ipv4(17, 0x20, [10, 0, 0, 1, 10, 0, 0, 2], [80, 1025]), HashType::Ipv4),
        (ipv6(6, "2001:db8::1 2001:db8::2", [80, 1025]), HashType::TcpIpv6),
        (ipv6(17, "2001:db8::1 2001:db8::2", [80, 1025]), HashType::UdpIpv6),
        (ipv6(58, "2001:db8::1 2001:db8::2", [80, 1025]), HashType::Ipv6),
    ] {
        let bench = Bench::new();
        let own = bench.value(&headers, BY_PORTS, None, false);
        for round in 0..200 {
            let right = NicHash { value: own.unwrap(), hash_type };
            let wrong = NicHash { value: !own.unwrap(), hash_type };
            let (offered, check) = match round {
                0..100 if round % 7 == 0 => (None, false),
                150 => (Some(wrong), true),
                151.. => (Some(wrong), false),
                _ => (Some(right), round % 5 == 0),
            };
            assert_eq!(bench.value(&headers, BY_PORTS, offered, check), own, "{hash_type:?} {round}");
            assert_eq!(bench.confidence.covers(hash_type), (36..150).contains(&round));
        }
    }
}

#[test]
fn keys_that_no_hash_type_covers_are_hashed_by_ourselves() {
    let bench = Bench::new();
    let tcp = ipv4(6, 0, [10, 0, 0, 1, 10, 0, 0, 2], [1, 2]);
    for policy in POLICIES {
        let usable = matches!(policy, HashPolicy::TransportPorts | HashPolicy::IpAddresses);
        for (flow_label, symmetric) in [(false, false), (true, false), (false, true)] {
            let keying = Keying { flow_label, symmetric, ..Keying::plain(policy) };
            let expected = usable && !flow_label && !symmetric;
            assert_eq!(bench.value(&tcp, keying, None, false).is_some(), expected, "{keying:?}");
        }
    }
    for protocol in [132, 50, 33, 136] {
        let headers = ipv4(protocol, 0, [10, 0, 0, 1, 10, 0, 0, 2], [1, 2]);
        assert_eq!(bench.value(&headers, BY_PORTS, None, false), None, "{protocol}");
        assert!(bench.value(&headers, BY_ADDRESSES, None, false).is_some());
    }
    let arp = parse(&[&[2; 12][..], &[8, 6, 0, 1, 8, 0, 6, 4], &[0; 22]].concat());
    assert_eq!(bench.value(&arp, BY_ADDRESSES, None, false), None);
}
