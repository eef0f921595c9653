//! Reads the headers of one Ethernet frame as far as the distribution needs them.
//!
//! Called once per packet by `forward`. Sees only the window it is given (at most 256 bytes, often less than the
//! packet) and copies what it keeps, so nothing is read twice from memory that a guest can change. Never fails:
//! what it does not understand it leaves out, and the flow key falls back. Length fields of the IP headers are
//! not looked at: segments for large send offload carry zeros there and must hash like any other packet.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::ids::{MacAddr, VlanId};

pub const WINDOW_MAX: usize = 256;
pub const ETHERNET_HEADER: usize = 14;

const TAGS_MAX: usize = 4;
const EXTENSIONS_MAX: usize = 8;

const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_IPV6: u16 = 0x86dd;
const ETHERTYPE_VLAN: u16 = 0x8100;
const ETHERTYPE_SERVICE_VLAN: u16 = 0x88a8;
const ETHERTYPE_OLD_SERVICE_VLAN: u16 = 0x9100;

pub const PROTOCOL_TCP: u8 = 6;
pub const PROTOCOL_UDP: u8 = 17;
const EXTENSION_HOP_BY_HOP: u8 = 0;
const EXTENSION_ROUTING: u8 = 43;
const EXTENSION_FRAGMENT: u8 = 44;
const EXTENSION_AUTHENTICATION: u8 = 51;
const EXTENSION_DESTINATION: u8 = 60;
const EXTENSION_MOBILITY: u8 = 135;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    /// Not IP, or not understood.
    Other,
    V4,
    V6,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// No ports: another protocol, or not readable.
    Other,
    /// First or later fragment of a datagram, or an atomic one: never any ports, so that all are alike.
    Fragment,
    /// TCP or UDP with both ports.
    Ports,
}

/// What the frame says. 64 bytes; addresses and ports are kept as they lie in the frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Headers {
    /// IPv4: the first word is source and destination. IPv6: two words each.
    pub(crate) addresses: [u64; 4],
    pub(crate) ports: u32,
    pub(crate) protocol: u8,
    pub network: Network,
    pub transport: Transport,
    ran_out: bool,
    pub destination: MacAddr,
    pub source: MacAddr,
    /// The innermost EtherType (or 802.3 length).
    pub ethertype: u16,
    tci: u16,
    tags: u8,
}

const _: () = assert!(core::mem::size_of::<Headers>() <= 64);

/// Reads one frame from its first byte on.
#[inline]
pub fn parse(window: &[u8]) -> Headers {
    let mut headers = Headers::EMPTY;
    let Some((ethernet, mut rest)) = window.split_first_chunk::<ETHERNET_HEADER>() else {
        headers.ran_out = true;
        return headers;
    };
    let [d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5, t0, t1] = *ethernet;
    headers.destination = MacAddr([d0, d1, d2, d3, d4, d5]);
    headers.source = MacAddr([s0, s1, s2, s3, s4, s5]);
    headers.ethertype = u16::from_be_bytes([t0, t1]);
    while is_tag(headers.ethertype) && usize::from(headers.tags) < TAGS_MAX {
        let Some(([c0, c1, t0, t1], inner)) = rest.split_first_chunk::<4>() else {
            headers.ran_out = true;
            return headers;
        };
        if headers.tags == 0 {
            headers.tci = u16::from_be_bytes([*c0, *c1]);
        }
        headers.tags = headers.tags.wrapping_add(1);
        headers.ethertype = u16::from_be_bytes([*t0, *t1]);
        rest = inner;
    }
    match headers.ethertype {
        ETHERTYPE_IPV4 => headers.read_ipv4(rest),
        ETHERTYPE_IPV6 => headers.read_ipv6(rest),
        _ => {}
    }
    headers
}

fn is_tag(ethertype: u16) -> bool {
    matches!(ethertype, ETHERTYPE_VLAN | ETHERTYPE_SERVICE_VLAN | ETHERTYPE_OLD_SERVICE_VLAN)
}

impl Headers {
    pub const EMPTY: Self = Self {
        addresses: [0; 4],
        ports: 0,
        protocol: 0,
        network: Network::Other,
        transport: Transport::Other,
        ran_out: false,
        destination: MacAddr::ZERO,
        source: MacAddr::ZERO,
        ethertype: 0,
        tci: 0,
        tags: 0,
    };

    #[inline]
    fn read_ipv4(&mut self, packet: &[u8]) {
        let Some(fixed) = packet.first_chunk::<20>() else {
            self.ran_out = true;
            return;
        };
        let ([[lead, ..], [_, _, fragment @ ..], [_, protocol, ..], source, destination], []) =
            fixed.as_chunks::<4>()
        else {
            return;
        };
        let header_len = usize::from(lead & 0x0f).wrapping_mul(4);
        if lead >> 4 != 4 || header_len < fixed.len() {
            return;
        }
        self.network = Network::V4;
        self.protocol = *protocol;
        self.addresses[0] =
            u64::from(u32::from_le_bytes(*source)) | u64::from(u32::from_le_bytes(*destination)) << 32;
        let more_or_offset = u16::from_be_bytes(*fragment) & 0x3fff;
        if more_or_offset != 0 {
            self.transport = Transport::Fragment;
        } else if has_ports(*protocol) {
            self.read_ports(packet.get(header_len..));
        }
    }

    #[inline]
    fn read_ipv6(&mut self, packet: &[u8]) {
        let Some((fixed, mut rest)) = packet.split_first_chunk::<40>() else {
            self.ran_out = true;
            return;
        };
        let ([[lead, _, _, _, _, _, next, _], s0, s1, d0, d1], []) = fixed.as_chunks::<8>() else { return };
        if lead >> 4 != 6 {
            return;
        }
        self.network = Network::V6;
        self.addresses = [
            u64::from_le_bytes(*s0),
            u64::from_le_bytes(*s1),
            u64::from_le_bytes(*d0),
            u64::from_le_bytes(*d1),
        ];
        let mut next = *next;
        let mut walked = 0;
        while !has_ports(next) {
            let length = match next {
                EXTENSION_HOP_BY_HOP
                | EXTENSION_ROUTING
                | EXTENSION_DESTINATION
                | EXTENSION_MOBILITY
                | EXTENSION_AUTHENTICATION
                    if walked < EXTENSIONS_MAX =>
                {
                    rest.get(1).copied().map(usize::from).map(|length| match next {
                        EXTENSION_AUTHENTICATION => length.wrapping_add(2).wrapping_mul(4),
                        _ => length.wrapping_add(1).wrapping_mul(8),
                    })
                }
                EXTENSION_FRAGMENT => {
                    // Only the next-header value of the first fragment counts (RFC 8200, 4.5): the key of a
                    // fragment leaves the protocol out, so that no fragment can differ from its first one.
                    self.transport = Transport::Fragment;
                    return;
                }
                other => {
                    self.protocol = other;
                    return;
                }
            };
            let (Some(after), Some(inner)) = (rest.first(), length.and_then(|length| rest.get(length..)))
            else {
                self.ran_out = true;
                return;
            };
            next = *after;
            rest = inner;
            walked = walked.wrapping_add(1);
        }
        self.protocol = next;
        self.read_ports(Some(rest));
    }

    #[inline]
    fn read_ports(&mut self, segment: Option<&[u8]>) {
        match segment.and_then(|segment| segment.first_chunk::<4>()) {
            Some(ports) => {
                self.ports = u32::from_le_bytes(*ports);
                self.transport = Transport::Ports;
            }
            None => self.ran_out = true,
        }
    }

    /// Something was wanted that lies behind the end of the window.
    pub const fn ran_out(&self) -> bool {
        self.ran_out
    }

    /// The VLAN of the outermost tag; none for an untagged or priority-tagged frame.
    pub const fn vlan(&self) -> Option<VlanId> {
        match self.tags {
            0 => None,
            _ => VlanId::new(self.tci & 0x0fff),
        }
    }

    /// The priority of the outermost tag.
    pub const fn priority(&self) -> Option<u8> {
        match self.tags {
            0 => None,
            _ => Some(self.tci.to_be_bytes()[0] >> 5),
        }
    }

    pub const fn tags(&self) -> u8 {
        self.tags
    }

    /// The transport protocol; none for a frame that is not IP and for fragments of IPv6.
    pub const fn protocol(&self) -> Option<u8> {
        match (self.network, self.transport) {
            (Network::Other, _) | (Network::V6, Transport::Fragment) => None,
            (Network::V4 | Network::V6, _) => Some(self.protocol),
        }
    }

    /// Source and destination address.
    pub fn addresses(&self) -> Option<(IpAddr, IpAddr)> {
        let [a, b, c, d] = self.addresses.map(u64::to_le_bytes);
        match self.network {
            Network::Other => None,
            Network::V4 => {
                let [s0, s1, s2, s3, d0, d1, d2, d3] = a;
                Some((Ipv4Addr::new(s0, s1, s2, s3).into(), Ipv4Addr::new(d0, d1, d2, d3).into()))
            }
            Network::V6 => Some((ipv6(a, b).into(), ipv6(c, d).into())),
        }
    }

    /// Source and destination port.
    pub fn ports(&self) -> Option<(u16, u16)> {
        let [s0, s1, d0, d1] = self.ports.to_le_bytes();
        match self.transport {
            Transport::Ports => Some((u16::from_be_bytes([s0, s1]), u16::from_be_bytes([d0, d1]))),
            Transport::Other | Transport::Fragment => None,
        }
    }
}

fn has_ports(protocol: u8) -> bool {
    matches!(protocol, PROTOCOL_TCP | PROTOCOL_UDP)
}

fn ipv6(high: [u8; 8], low: [u8; 8]) -> Ipv6Addr {
    Ipv6Addr::from_bits(u128::from(u64::from_be_bytes(high)) << 64 | u128::from(u64::from_be_bytes(low)))
}
