//! Invariants of the headers and keys of any window. Used by tests and by the fuzz target `flows`.

use teaming::flow::{Basis, FlowKey, HashPolicy, Keying, POLICIES};
use teaming::frame::{Headers, Network, Stop, TUNNELS_MAX, Transport, TunnelPorts, parse, parse_innermost};
use teaming::ids::{NicId, NicIndex, PortId, VlanId};

pub const SOURCE: NicId = NicId::new(PortId::new(7), NicIndex::DEFAULT);

/// Every policy with every option.
pub fn keyings() -> impl Iterator<Item = Keying> {
    POLICIES.into_iter().flat_map(|policy| {
        [(false, false), (false, true), (true, false), (true, true)].map(|(flow_label, symmetric)| Keying {
            flow_label,
            symmetric,
            ..Keying::plain(policy)
        })
    })
}

/// The headers from which the policy's key is made.
pub fn headers(window: &[u8], keying: &Keying) -> Headers {
    if keying.policy.wants_innermost_headers() {
        parse_innermost(window, TunnelPorts::REGISTERED)
    } else {
        parse(window)
    }
}

const PORTS: u64 = 1;
const ADDRESSES: u64 = 2;
const MACS: u64 = 3;
const SWITCH_PORT: u64 = 4;
const PAIR: u64 = 5;
const LABEL: u64 = 6;
const SPI: u64 = 7;
const VLAN_MAC: u64 = 8;

/// The octet that identifies the kind of the key.
fn kind(key: &FlowKey) -> u64 {
    let tail = match key {
        FlowKey::Short([_, tail]) | FlowKey::Long([.., tail]) => tail,
    };
    tail >> 40 & 0xff
}

/// Checks one window: the fields are consistent, and each key has the fields that its basis states.
pub fn hold(window: &[u8]) {
    let (outer, innermost) = (parse(window), parse_innermost(window, TunnelPorts::REGISTERED));
    for headers in [outer, innermost] {
        assert_eq!(headers.ports().is_some(), headers.transport == Transport::Ports);
        assert_eq!(headers.spi().is_some(), headers.transport == Transport::Spi);
        assert_eq!(headers.addresses().is_some(), headers.network != Network::Other);
        assert!(headers.transport == Transport::Other || headers.network != Network::Other);
        assert!(usize::from(headers.tunnels()) <= TUNNELS_MAX);
        assert!(window.len() >= 14 || headers.ran_out());
    }
    assert_eq!(outer.tunnels(), 0);
    let whole = (outer.destination, outer.source, outer.vlan(), outer.tags(), outer.priority());
    let same =
        (innermost.destination, innermost.source, innermost.vlan(), innermost.tags(), innermost.priority());
    assert_eq!(whole, same);
    if innermost.tunnels() == 0 {
        let plain = Keying { flow_label: true, ..Keying::plain(HashPolicy::TransportPorts) };
        assert_eq!(plain.key(&innermost, SOURCE, None), plain.key(&outer, SOURCE, None));
    }
    for keying in keyings() {
        falls_back_as_stated(window, &keying);
    }
}

fn falls_back_as_stated(window: &[u8], keying: &Keying) {
    let headers = headers(window, keying);
    let (key, basis) = (keying.key(&headers, SOURCE, None), keying.basis(&headers));
    let is_ip = headers.network != Network::Other;
    let expected: &[u64] = match (keying.policy, basis) {
        (HashPolicy::HyperVPort, Basis::Policy) => &[SWITCH_PORT],
        (HashPolicy::MacAddresses, Basis::Policy) => &[MACS],
        (HashPolicy::VlanSourceMac, Basis::Policy) => &[VLAN_MAC],
        (HashPolicy::IpAddresses, Basis::Policy) => &[PAIR],
        (HashPolicy::HyperVPort | HashPolicy::MacAddresses | HashPolicy::VlanSourceMac, _) => &[],
        (HashPolicy::TransportPorts | HashPolicy::Encapsulated, Basis::Policy) => &[PORTS, LABEL, SPI],
        (_, Basis::Fragment | Basis::NoPorts) => &[ADDRESSES],
        (_, Basis::NotEncapsulated) => &[PORTS, ADDRESSES, LABEL, SPI],
        (_, Basis::NotIp) => &[MACS],
        (HashPolicy::IpAddresses, _) | (_, Basis::CutShort | Basis::TooDeep | Basis::Malformed) if !is_ip => {
            &[MACS]
        }
        (HashPolicy::IpAddresses, _) => &[],
        // If a tunnel header cannot be read, the key is made from the outer headers.
        (HashPolicy::Encapsulated, _) => &[PORTS, ADDRESSES, LABEL, SPI],
        (HashPolicy::TransportPorts, _) => &[ADDRESSES],
    };
    assert!(expected.contains(&kind(&key)), "{keying:?} {basis:?} {headers:?}");
    let stopped = match headers.stop {
        Stop::Not => None,
        Stop::Window => Some(Basis::CutShort),
        Stop::Depth => Some(Basis::TooDeep),
        Stop::Malformed => Some(Basis::Malformed),
    };
    assert!(!matches!(basis, Basis::CutShort | Basis::TooDeep | Basis::Malformed) || stopped == Some(basis));
    if keying.policy == HashPolicy::VlanSourceMac {
        let tag_vlan = VlanId::new(9);
        assert_ne!(keying.key(&headers, SOURCE, tag_vlan) == key, headers.vlan() != tag_vlan);
    }
}

/// Checks every shorter window: the same fields are read, or `ran_out` is true.
pub fn hold_for_every_truncation(window: &[u8]) {
    let whole = (parse(window), parse_innermost(window, TunnelPorts::REGISTERED));
    for length in 0..window.len() {
        let cut = &window[..length];
        let (outer, innermost) = (parse(cut), parse_innermost(cut, TunnelPorts::REGISTERED));
        assert!(outer.ran_out() || outer == whole.0, "{length} {outer:?} {:?}", whole.0);
        assert!(innermost.ran_out() || innermost == whole.1, "{length} {innermost:?} {:?}", whole.1);
        assert!(!(outer.ran_out() && outer.ports().is_some()));
        hold(cut);
    }
    hold(window);
}
