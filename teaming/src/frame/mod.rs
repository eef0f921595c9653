//! Reads the headers of one Ethernet frame as far as the distribution needs them.
//!
//! Called by `forward`, for most packets once. Sees only the window it is given (at most 256 bytes, often less than the
//! packet), in memory that no guest can change while it is read, and copies what it keeps. Never fails:
//! what it does not understand it leaves out, says why it stopped, and the flow key falls back. Length fields of the
//! headers are not looked at: segments for large send offload carry zeros there and must hash like any other packet.
//! `link` reads what stands between Ethernet and IP, `network` IP itself, `tunnel` the frame inside a frame.

mod link;
mod network;
mod tunnel;

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::ids::{MacAddr, VlanId};

pub use network::{PROTOCOL_TCP, PROTOCOL_UDP};
pub use tunnel::parse_innermost;

pub const WINDOW_MAX: usize = 256;
pub const ETHERNET_HEADER: usize = 14;

/// VLAN tags that are walked; behind more of them nothing is read.
pub const TAGS_MAX: usize = 4;
/// IPv6 extension headers (and authentication headers of IPv4) that are walked.
pub const EXTENSIONS_MAX: usize = 8;
/// MPLS labels that are walked.
pub const LABELS_MAX: usize = 8;
/// Tunnel headers that `parse_innermost` enters, one inside the other.
pub const TUNNELS_MAX: usize = 4;

pub(crate) const ETHERTYPE_IPV4: u16 = 0x0800;
pub(crate) const ETHERTYPE_IPV6: u16 = 0x86dd;
const ETHERTYPE_VLAN: u16 = 0x8100;
const ETHERTYPE_SERVICE_VLAN: u16 = 0x88a8;
const ETHERTYPE_OLD_SERVICE_VLAN: u16 = 0x9100;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    /// None of the others, or not understood.
    Other,
    V4,
    V6,
    /// ARP of Ethernet and IPv4; its addresses are those of sender and target.
    Arp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// No ports: another protocol, or not readable.
    Other,
    /// First or later fragment of a datagram, or an atomic one: never any ports, so that all are alike.
    Fragment,
    /// TCP, UDP, UDP-Lite, SCTP or DCCP with both ports.
    Ports,
    /// ESP or AH with its security parameters index.
    Spi,
}

/// Why reading ended before everything that was wanted was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// It did not.
    Not,
    /// What comes next lies behind the end of the window.
    Window,
    /// More headers of one kind than are walked.
    Depth,
    /// A version or a length that cannot be.
    Malformed,
}

/// What the frame says. 64 bytes; addresses and ports are kept as they lie in the frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Headers {
    /// IPv4 and ARP: the first word is source and destination. IPv6: two words each.
    pub(crate) addresses: [u64; 4],
    /// Both ports, or the security parameters index.
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
    /// The last tag was to follow and does not.
    cut: bool,
    tunnels: u8,
}

const _: () = assert!(core::mem::size_of::<Headers>() <= 64);

/// What follows the headers that were read, from the transport header on; empty when that cannot be read.
type Read<'a> = Result<&'a [u8], Rare>;

/// The common reader met a header that it leaves to the whole one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rare;

/// Two readers are made of one source: the whole one, and the common one that gives up with `Rare`. The common one
/// is straight code without calls, so that what it reads stays in registers.
const WHOLE: bool = true;
const COMMON: bool = false;

/// Reads one frame from its first byte on; what is inside a tunnel is payload.
pub fn parse(window: &[u8]) -> Headers {
    let mut headers = Headers::EMPTY;
    headers.read_whole(window);
    headers
}

/// `parse` of a frame with nothing but tags, IP and extension headers before its ports.
#[inline(always)]
pub(crate) fn parse_common(window: &[u8]) -> Result<Headers, Rare> {
    let mut headers = Headers::EMPTY;
    headers.read_ethernet::<COMMON>(window).map(|_| headers)
}

const fn is_tag(ethertype: u16) -> bool {
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
    };

    #[inline(never)]
    fn read_whole<'a>(&mut self, window: &'a [u8]) -> &'a [u8] {
        self.read_ethernet::<WHOLE>(window).unwrap_or_default()
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
                self.cut = true;
                return self.halt(Stop::Window);
            };
            if self.tags == 0 {
                self.tci = u16::from_be_bytes([*c0, *c1]);
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

    #[inline]
    fn halt<'a>(&mut self, why: Stop) -> Read<'a> {
        self.stop = why;
        Ok(&[])
    }

    /// Something was wanted that lies behind the end of the window.
    pub const fn ran_out(&self) -> bool {
        matches!(self.stop, Stop::Window)
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

    /// The number in the outermost tag, 0 for a priority tag and without one.
    pub const fn tag_vlan(&self) -> u16 {
        match self.tags {
            0 => 0,
            _ => self.tci & 0x0fff,
        }
    }

    /// There is a tag, or was to be one.
    #[inline]
    pub const fn has_tag(&self) -> bool {
        self.tags != 0 || self.cut
    }

    /// A tag was announced that is not there.
    pub const fn tag_is_cut(&self) -> bool {
        self.cut
    }

    pub const fn tags(&self) -> u8 {
        self.tags
    }

    /// Tunnels around these headers: 0 for those of the frame itself.
    pub const fn tunnels(&self) -> u8 {
        self.tunnels
    }

    /// The transport protocol; none for a frame that is not IP and for fragments of IPv6.
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

    /// The flow label of IPv6; 0 when the sender set none, and for anything else.
    pub const fn flow_label(&self) -> u32 {
        self.flow_label
    }
}

fn ipv6(high: [u8; 8], low: [u8; 8]) -> Ipv6Addr {
    Ipv6Addr::from_bits(u128::from(u64::from_be_bytes(high)) << 64 | u128::from(u64::from_be_bytes(low)))
}
