//! Reads the headers of one Ethernet frame, as far as a flow key needs them.
//!
//! Called by `forward`, for most packets once. Reads only the window (at most 256 bytes, often less than the packet),
//! in memory that no guest can change meanwhile, and copies the fields. Never fails: headers that it does not
//! understand are left out, `Stop` tells why it stopped, and the flow key falls back to the fields that were read.
//! Length fields in headers are ignored, because packets for large send offload carry zeros there and must hash like
//! any other packet. `link` reads the headers between Ethernet and IP, `network` those of IP, `tunnel` an encapsulated
//! frame; `untag` is about frames whose tag comes off.

mod link;
mod network;
pub mod queries;
pub mod rarp;
mod tunnel;
pub mod untag;

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::ids::{MacAddr, VlanId};

pub(crate) use network::extension;
pub use network::{PROTOCOL_TCP, PROTOCOL_UDP};
pub use tunnel::{TunnelPorts, parse_innermost};

pub const WINDOW_MAX: usize = 256;
pub const ETHERNET_HEADER: usize = 14;

/// VLAN tags that are read; after more of them nothing is read.
pub const TAGS_MAX: usize = 4;
/// IPv6 extension headers (and authentication headers of IPv4) that are read.
pub const EXTENSIONS_MAX: usize = 8;
/// MPLS labels that are read.
pub const LABELS_MAX: usize = 8;
/// Nested tunnel headers that `parse_innermost` reads.
pub const TUNNELS_MAX: usize = 4;

pub(crate) const ETHERTYPE_IPV4: u16 = 0x0800;
pub(crate) const ETHERTYPE_IPV6: u16 = 0x86dd;
pub(crate) const ETHERTYPE_ARP: u16 = 0x0806;
pub(crate) const ETHERTYPE_VLAN: u16 = 0x8100;
const ETHERTYPE_SERVICE_VLAN: u16 = 0x88a8;
const ETHERTYPE_OLD_SERVICE_VLAN: u16 = 0x9100;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    /// Another protocol, or headers that were not understood.
    Other,
    V4,
    V6,
    /// ARP for IPv4 over Ethernet; the addresses are those of sender and target.
    Arp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// Neither ports nor a security parameters index: another protocol, or a header that could not be read.
    Other,
    /// A fragment, the first and an atomic one included. Ports are never read, so that all fragments of a datagram
    /// have one key.
    Fragment,
    /// TCP, UDP, UDP-Lite, SCTP or DCCP with both ports.
    Ports,
    /// ESP or AH with its security parameters index.
    Spi,
}

/// Why the reader stopped before the last header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// It did not stop early.
    Not,
    /// The next header lies beyond the end of the window.
    Window,
    /// More headers of one kind than the limits above.
    Depth,
    /// An invalid version or length.
    Malformed,
}

/// The fields of a frame's headers, 64 bytes. Addresses and ports are in network byte order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Headers {
    /// IPv4 and ARP: source and destination in the first word. IPv6: two words for each.
    pub(crate) addresses: [u64; 4],
    /// Source and destination port, or the security parameters index.
    pub(crate) ports: u32,
    pub(crate) flow_label: u32,
    pub(crate) protocol: u8,
    pub network: Network,
    pub transport: Transport,
    pub stop: Stop,
    pub destination: MacAddr,
    pub source: MacAddr,
    /// The innermost EtherType (or 802.3 length).
    pub ethertype: u16,
    tci: u16,
    tags: u8,
    /// A tag was announced, but lies beyond the end of the window.
    cut: bool,
    tunnels: u8,
    /// The outermost tag is no 802.1Q tag (0x8100) but a service tag.
    service: bool,
}

const _: () = assert!(core::mem::size_of::<Headers>() <= 64);

/// The bytes from the transport header on; empty if it cannot be read.
type Read<'a> = Result<&'a [u8], Rare>;

/// The common reader met a header that only the full reader reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rare;

/// The two readers are instances of one source: the full one, and the common one, which stops with `Rare`. The common
/// one contains no calls, so that the fields stay in registers.
const FULL: bool = true;
const COMMON: bool = false;

/// Reads the outer headers of a frame; `window` begins with its first byte.
pub fn parse(window: &[u8]) -> Headers {
    let mut headers = Headers::EMPTY;
    headers.read_whole(window);
    headers
}

/// `parse` for a frame that has only tags, IP and extension headers before its ports; `Rare` for any other.
#[inline(always)]
pub(crate) fn parse_common(window: &[u8]) -> Result<Headers, Rare> {
    let mut headers = Headers::EMPTY;
    headers.read_ethernet::<COMMON>(window).map(|_| headers)
}

pub(crate) const fn is_tag(ethertype: u16) -> bool {
    matches!(ethertype, ETHERTYPE_VLAN | ETHERTYPE_SERVICE_VLAN | ETHERTYPE_OLD_SERVICE_VLAN)
}

impl Headers {
    pub const EMPTY: Self = Self {
        addresses: [0; 4],
        ports: 0,
        flow_label: 0,
        protocol: 0,
        network: Network::Other,
        transport: Transport::Other,
        stop: Stop::Not,
        destination: MacAddr::ZERO,
        source: MacAddr::ZERO,
        ethertype: 0,
        tci: 0,
        tags: 0,
        cut: false,
        tunnels: 0,
        service: false,
    };

    #[inline(never)]
    fn read_whole<'a>(&mut self, window: &'a [u8]) -> &'a [u8] {
        self.read_ethernet::<FULL>(window).unwrap_or_default()
    }

    #[inline(always)]
    fn read_ethernet<'a, const ALL: bool>(&mut self, window: &'a [u8]) -> Read<'a> {
        let Some((ethernet, mut rest)) = window.split_first_chunk::<ETHERNET_HEADER>() else {
            return self.halt(Stop::Window);
        };
        let [d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5, t0, t1] = *ethernet;
        self.destination = MacAddr([d0, d1, d2, d3, d4, d5]);
        self.source = MacAddr([s0, s1, s2, s3, s4, s5]);
        self.ethertype = u16::from_be_bytes([t0, t1]);
        while is_tag(self.ethertype) && usize::from(self.tags) < TAGS_MAX {
            let Some(([c0, c1, t0, t1], inner)) = rest.split_first_chunk::<4>() else {
                if !ALL {
                    return Err(Rare);
                }
                self.cut_short(rest);
                return self.halt(Stop::Window);
            };
            if self.tags == 0 {
                self.tci = u16::from_be_bytes([*c0, *c1]);
                self.service = self.ethertype != ETHERTYPE_VLAN;
            }
            self.tags = self.tags.wrapping_add(1);
            self.ethertype = u16::from_be_bytes([*t0, *t1]);
            rest = inner;
        }
        match self.ethertype {
            ETHERTYPE_IPV4 => self.read_ipv4::<ALL>(rest),
            ETHERTYPE_IPV6 => self.read_ipv6::<ALL>(rest),
            _ if ALL => self.read_link(rest),
            _ => Err(Rare),
        }
    }

    /// The window ends within a tag.
    #[cold]
    fn cut_short(&mut self, rest: &[u8]) {
        self.cut = true;
        if self.tags == 0 {
            let mut octets = rest.iter().copied();
            self.tci = u16::from_be_bytes([0; 2].map(|missing: u8| octets.next().unwrap_or(missing)));
            self.service = self.ethertype != ETHERTYPE_VLAN;
        }
    }

    #[inline]
    fn halt<'a>(&mut self, why: Stop) -> Read<'a> {
        self.stop = why;
        Ok(&[])
    }

    /// Whether a header lies beyond the end of the window.
    pub const fn ran_out(&self) -> bool {
        matches!(self.stop, Stop::Window)
    }

    /// The VLAN of the outermost tag; `None` for an untagged or priority-tagged frame.
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

    /// The VLAN ID of the outermost tag; 0 for a priority-tagged or untagged frame.
    pub const fn tag_vlan(&self) -> u16 {
        match self.tags {
            0 => 0,
            _ => self.tci & 0x0fff,
        }
    }

    /// Whether the outermost tag is a service tag (TPID 0x88A8, or 0x9100 of older equipment), which 802.1Q equipment
    /// takes for payload.
    pub const fn is_service_tagged(&self) -> bool {
        self.service
    }

    /// Whether the frame has a tag, or announces one that was not read.
    #[inline]
    pub const fn has_tag(&self) -> bool {
        self.tags != 0 || self.cut
    }

    /// Whether a tag was announced that was not read.
    pub const fn tag_is_cut(&self) -> bool {
        self.cut
    }

    /// The VLAN ID of an outermost tag that is cut: what is missing of it reads as 0, as after padding (IEEE 802.3,
    /// 3.2.8). 0 for any other frame.
    pub const fn cut_vlan(&self) -> u16 {
        if self.cut && self.tags == 0 { self.tci & 0x0fff } else { 0 }
    }

    pub const fn tags(&self) -> u8 {
        self.tags
    }

    /// Number of tunnels around these headers; 0 for the outer headers.
    pub const fn tunnels(&self) -> u8 {
        self.tunnels
    }

    /// The transport protocol; `None` for a frame that is not IP and for fragments of IPv6.
    pub const fn protocol(&self) -> Option<u8> {
        match (self.network, self.transport) {
            (Network::Other | Network::Arp, _) | (Network::V6, Transport::Fragment) => None,
            (Network::V4 | Network::V6, _) => Some(self.protocol),
        }
    }

    /// Source and destination address.
    pub fn addresses(&self) -> Option<(IpAddr, IpAddr)> {
        let [a, b, c, d] = self.addresses.map(u64::to_le_bytes);
        match self.network {
            Network::Other => None,
            Network::V4 | Network::Arp => {
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
            Transport::Other | Transport::Fragment | Transport::Spi => None,
        }
    }

    /// The security parameters index of ESP or AH.
    pub const fn spi(&self) -> Option<u32> {
        match self.transport {
            Transport::Spi => Some(self.ports.swap_bytes()),
            Transport::Other | Transport::Fragment | Transport::Ports => None,
        }
    }

    /// The flow label of IPv6; 0 if the sender set none, or for any other frame.
    pub const fn flow_label(&self) -> u32 {
        self.flow_label
    }
}

fn ipv6(high: [u8; 8], low: [u8; 8]) -> Ipv6Addr {
    Ipv6Addr::from_bits(u128::from(u64::from_be_bytes(high)) << 64 | u128::from(u64::from_be_bytes(low)))
}
