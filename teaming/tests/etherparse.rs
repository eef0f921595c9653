//! Random frames, written and read by the crate `etherparse`, against this crate's parser.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::IpAddr;

use etherparse::{
    EtherType, Ethernet2Header, IpAuthHeader, IpFragOffset, IpNumber, Ipv4Header, Ipv4Options,
    Ipv6Extensions, Ipv6FlowLabel, Ipv6FragmentHeader, Ipv6Header, Ipv6RawExtHeader, Ipv6RoutingExtensions,
    LaxNetSlice, LaxSlicedPacket, SingleVlanHeader, TransportSlice, VlanId, VlanPcp,
};
use proptest::prelude::*;
use proptest::test_runner::{RngSeed, TestRunner};
use teaming::frame::{Headers, Network, Stop, Transport, parse};

/// The headers of a generated frame.
#[derive(Debug, Clone)]
struct Shape {
    tags: Vec<(u16, u8)>,
    v6: bool,
    options: usize,
    /// Extension headers hop-by-hop, destination and routing, each with its length field.
    extensions: [Option<u8>; 3],
    authentication: Option<u32>,
    /// Fragment offset, and the flag "more fragments".
    fragment: Option<(u16, bool)>,
    label: u32,
    protocol: u8,
    addresses: [u128; 2],
    ports: [u16; 2],
    payload: Vec<u8>,
}

/// The part of a datagram that a fragment carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    First,
    Middle,
    Last,
    /// The whole datagram, for IPv6 with a fragment header.
    Atomic,
}

const PARTS: [Part; 4] = [Part::First, Part::Middle, Part::Last, Part::Atomic];

impl Part {
    const fn of(fragment: (u16, bool)) -> Self {
        match fragment {
            (0, true) => Self::First,
            (_, true) => Self::Middle,
            (0, false) => Self::Atomic,
            (_, false) => Self::Last,
        }
    }

    /// Fragment offset, and the flag "more fragments".
    const fn fragment(self, offset: u16) -> (u16, bool) {
        match self {
            Self::First => (0, true),
            Self::Middle => (offset, true),
            Self::Last => (offset, false),
            Self::Atomic => (0, false),
        }
    }
}

fn any_fragment() -> impl Strategy<Value = (u16, bool)> {
    let offset = prop_oneof![Just(1_u16), Just(0x1fff), 1..0x1fff_u16];
    (prop::sample::select(PARTS.to_vec()), offset).prop_map(|(part, offset)| part.fragment(offset))
}

fn any_shape() -> impl Strategy<Value = Shape> {
    let extension = || prop::option::weighted(0.3, 0..5_u8);
    let ip = (
        any::<bool>(),
        0..=10_usize,
        [extension(), extension(), extension()],
        prop::option::weighted(0.2, any::<u32>()),
        prop::option::weighted(0.5, any_fragment()),
        0..0x10_0000_u32,
    );
    let rest = (
        prop::collection::vec((1..4095_u16, 0..8_u8), 0..=3),
        prop_oneof![Just(6_u8), Just(17), Just(17), Just(1), Just(89)],
        any::<[u128; 2]>(),
        any::<[u16; 2]>(),
        prop::collection::vec(any::<u8>(), 0..30),
    );
    (ip, rest).prop_map(|((v6, options, extensions, authentication, fragment, label), rest)| {
        let (tags, protocol, addresses, ports, payload) = rest;
        Shape {
            tags,
            v6,
            options,
            extensions,
            authentication,
            fragment,
            label,
            protocol,
            addresses,
            ports,
            payload,
        }
    })
}

impl Shape {
    fn frame(&self) -> Vec<u8> {
        let network = if self.v6 { EtherType::IPV6 } else { EtherType::IPV4 };
        let first = if self.tags.is_empty() { network } else { EtherType::VLAN_TAGGED_FRAME };
        let ethernet = Ethernet2Header { source: [2; 6], destination: [4; 6], ether_type: first };
        let mut bytes = ethernet.to_bytes().to_vec();
        for (number, &(id, priority)) in self.tags.iter().enumerate() {
            let last = number + 1 == self.tags.len();
            let tag = SingleVlanHeader {
                pcp: VlanPcp::try_new(priority).unwrap(),
                drop_eligible_indicator: false,
                vlan_id: VlanId::try_new(id).unwrap(),
                ether_type: if last { network } else { EtherType::VLAN_TAGGED_FRAME },
            };
            bytes.extend(tag.to_bytes());
        }
        if self.v6 {
            self.write_ipv6(&mut bytes)
        } else {
            self.write_ipv4(&mut bytes)
        }
        bytes
    }

    fn segment(&self) -> Vec<u8> {
        let ports = self.ports.map(u16::to_be_bytes).concat();
        match self.protocol {
            6 => [&ports[..], &[0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2, 0, 9, 0, 0, 0, 0], &self.payload].concat(),
            _ => {
                [&ports[..], &(self.payload.len() as u16 + 8).to_be_bytes(), &[0, 0], &self.payload].concat()
            }
        }
    }

    fn authentication_header(&self, next: u8) -> Option<IpAuthHeader> {
        self.authentication.map(|spi| IpAuthHeader::new(IpNumber(next), spi, 1, &[0; 12]).unwrap())
    }

    fn write_ipv4(&self, bytes: &mut Vec<u8>) {
        let segment = self.segment();
        let auth = self.authentication_header(self.protocol);
        let length = segment.len() + auth.as_ref().map_or(0, |header| header.header_len());
        let number = if auth.is_some() { 51 } else { self.protocol };
        let [source, destination] = self.addresses.map(|address| (address as u32).to_be_bytes());
        let mut header = Ipv4Header::new(length as u16, 64, IpNumber(number), source, destination).unwrap();
        header.options = Ipv4Options::try_from(&[1_u8; 40][..self.options * 4]).unwrap();
        if let Some((offset, more)) = self.fragment {
            (header.fragment_offset, header.more_fragments) = (IpFragOffset::try_new(offset).unwrap(), more);
        }
        header.total_len = (header.header_len() + length) as u16;
        header.write_raw(bytes).unwrap();
        if let Some(auth) = auth {
            bytes.extend(auth.to_bytes());
        }
        bytes.extend(segment);
    }

    fn write_ipv6(&self, bytes: &mut Vec<u8>) {
        let raw = |length: Option<u8>| {
            length.map(|units| {
                let payload = vec![0; usize::from(units) * 8 + 6];
                Ipv6RawExtHeader::new_raw(IpNumber(0), &payload).unwrap()
            })
        };
        let [hop_by_hop, destination, routing] = self.extensions.map(raw);
        let mut extensions = Ipv6Extensions {
            hop_by_hop_options: hop_by_hop,
            destination_options: destination,
            routing: routing
                .map(|routing| Ipv6RoutingExtensions { routing, final_destination_options: None }),
            fragment: self.fragment.map(|(offset, more)| {
                Ipv6FragmentHeader::new(IpNumber(0), IpFragOffset::try_new(offset).unwrap(), more, 7)
            }),
            auth: self.authentication_header(0),
        };
        let next = extensions.set_next_headers(IpNumber(self.protocol));
        let segment = self.segment();
        let header = Ipv6Header {
            traffic_class: 0,
            flow_label: Ipv6FlowLabel::try_new(self.label).unwrap(),
            payload_length: (extensions.header_len() + segment.len()) as u16,
            next_header: next,
            hop_limit: 64,
            source: self.addresses[0].to_be_bytes(),
            destination: self.addresses[1].to_be_bytes(),
        };
        header.write(bytes).unwrap();
        extensions.write(bytes, next).unwrap();
        bytes.extend(segment);
    }

    /// For IPv6 the presence of the header decides, for IPv4 its contents.
    fn is_fragment(&self) -> bool {
        self.fragment.is_some_and(|fragment| self.v6 || fragment != (0, false))
    }

    fn addresses(&self) -> (IpAddr, IpAddr) {
        let [source, destination] = self.addresses.map(|address| {
            if self.v6 { IpAddr::V6(address.into()) } else { IpAddr::V4((address as u32).into()) }
        });
        (source, destination)
    }
}

/// Compares both parsers' results for a frame that may be damaged.
fn agree(headers: &Headers, packet: &LaxSlicedPacket<'_>) {
    // If the EtherType and the IP version differ, `etherparse` follows the version; it also reads unencrypted MACsec.
    // This parser stops in both cases.
    let announced = match &packet.net {
        Some(LaxNetSlice::Ipv4(_)) => headers.ethertype == 0x0800,
        Some(LaxNetSlice::Ipv6(_)) => headers.ethertype == 0x86dd,
        Some(LaxNetSlice::Arp(_)) | None => true,
    };
    if !announced {
        assert_eq!(headers.addresses(), None, "{headers:?} {packet:?}");
        return;
    }
    assert!(headers.stop != Stop::Malformed || packet.net.is_none(), "{headers:?} {packet:?}");
    let (atomic, pair) = match &packet.net {
        Some(LaxNetSlice::Ipv4(ip)) => {
            (false, (ip.header().source_addr().into(), ip.header().destination_addr().into()))
        }
        Some(LaxNetSlice::Ipv6(ip)) => (
            !ip.is_payload_fragmented() && headers.transport == Transport::Fragment,
            (ip.header().source_addr().into(), ip.header().destination_addr().into()),
        ),
        Some(LaxNetSlice::Arp(_)) => return,
        None => {
            let understood = packet.stop_err.is_some() || headers.network == Network::Other;
            assert!(understood || packet.link_exts.len() == 3, "{headers:?} {packet:?}");
            return;
        }
    };
    assert_eq!(headers.addresses(), Some(pair), "{headers:?} {packet:?}");
    let is_fragment = headers.transport == Transport::Fragment;
    match &packet.net {
        Some(LaxNetSlice::Ipv4(ip)) => {
            assert_eq!(is_fragment, ip.is_payload_fragmented(), "{headers:?} {packet:?}");
        }
        Some(LaxNetSlice::Ipv6(ip)) if ip.is_payload_fragmented() => {
            assert!(is_fragment || headers.stop != Stop::Not, "{headers:?} {packet:?}");
        }
        _ => {}
    }
    let ports = match &packet.transport {
        Some(TransportSlice::Tcp(tcp)) => (tcp.source_port(), tcp.destination_port()),
        Some(TransportSlice::Udp(udp)) => (udp.source_port(), udp.destination_port()),
        _ => return,
    };
    assert!(atomic || headers.ports() == Some(ports), "{headers:?} {packet:?}");
}

fn read_as_written(shape: &Shape) -> Result<(), TestCaseError> {
    let headers = parse(&shape.frame());
    prop_assert_eq!(usize::from(headers.tags()), shape.tags.len());
    prop_assert_eq!(headers.vlan().map(teaming::ids::VlanId::get), shape.tags.first().map(|tag| tag.0));
    prop_assert_eq!(headers.priority(), shape.tags.first().map(|tag| tag.1));
    prop_assert_eq!(headers.addresses(), Some(shape.addresses()));
    prop_assert_eq!(headers.flow_label(), if shape.v6 { shape.label } else { 0 });
    prop_assert_eq!(headers.transport == Transport::Fragment, shape.is_fragment());
    if shape.is_fragment() {
        // A header that only the first fragment has is not read, so that all fragments are read alike.
        let next = if shape.authentication.is_some() { 51 } else { shape.protocol };
        prop_assert_eq!((headers.ports(), headers.spi()), (None, None));
        prop_assert_eq!(headers.protocol(), (!shape.v6).then_some(next));
        for part in [Part::First, Part::Middle, Part::Last] {
            let other = Shape { fragment: Some(part.fragment(77)), ..shape.clone() };
            prop_assert_eq!(parse(&other.frame()), headers, "{:?}", part);
        }
    } else {
        let has_ports = matches!(shape.protocol, 6 | 17);
        prop_assert_eq!(headers.protocol(), Some(shape.protocol));
        prop_assert_eq!(headers.ports(), has_ports.then_some((shape.ports[0], shape.ports[1])));
        prop_assert_eq!(headers.spi(), shape.authentication.filter(|_| !has_ports));
    }
    prop_assert!(!headers.ran_out());
    Ok(())
}

fn cases() -> ProptestConfig {
    let rng_seed = RngSeed::Fixed(3);
    ProptestConfig { cases: 20_000, failure_persistence: None, rng_seed, ..ProptestConfig::default() }
}

#[test]
fn what_etherparse_wrote_is_read_and_every_part_of_a_datagram_was_drawn() {
    let drawn = RefCell::new(BTreeMap::<(bool, Option<Part>), u32>::new());
    let result = TestRunner::new(cases()).run(&any_shape(), |shape| {
        *drawn.borrow_mut().entry((shape.v6, shape.fragment.map(Part::of))).or_default() += 1;
        read_as_written(&shape)
    });
    if let Err(failure) = result {
        panic!("{failure}");
    }
    let drawn = drawn.into_inner();
    for v6 in [false, true] {
        for part in PARTS.map(Some).into_iter().chain([None]) {
            let count = drawn.get(&(v6, part)).copied().unwrap_or(0);
            assert!(count > 1_000, "version 6 {v6}, {part:?}: {count} of {drawn:?}");
        }
    }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn damaged_frames_are_read_alike(shape in any_shape(), damage in prop::collection::vec(any::<(prop::sample::Index, u8)>(), 0..4), cut in any::<prop::sample::Index>()) {
        let mut frame = shape.frame();
        for (at, value) in damage {
            let at = 12 + at.index(frame.len() - 12);
            frame[at] = value;
        }
        for length in [frame.len(), cut.index(frame.len()).max(14)] {
            if let Ok(packet) = LaxSlicedPacket::from_ethernet(&frame[..length]) {
                agree(&parse(&frame[..length]), &packet);
            }
        }
    }
}
