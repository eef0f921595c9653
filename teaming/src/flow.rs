//! What makes packets one flow: the key of a packet under a policy.
//!
//! Called by `forward` with parsed headers. Keys are zero-filled words, 16 bytes for anything short and 40 bytes for
//! IPv6, each with a kind octet, so that keys of different kinds never meet. Only `VlanSourceMac` has the VLAN in its
//! key, taken from beside the packet or from the frame: the same tag reaches the driver either way. What a policy
//! asks for and the headers do not give falls back as LBFO does, from ports to addresses to MAC addresses; `Basis`
//! says which it was.

use crate::frame::{Headers, Network, Stop, Transport};
use crate::ids::{NicId, VlanId};

/// What the distribution keeps together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// By addresses and ports, or the security index; else by addresses; else by the pair of MAC addresses.
    TransportPorts,
    /// By the pair of IP addresses; else by the pair of MAC addresses.
    IpAddresses,
    /// By the pair of MAC addresses.
    MacAddresses,
    /// Everything of one virtual NIC stays together.
    HyperVPort,
    /// Everything that one MAC address sends in one VLAN stays together.
    VlanSourceMac,
    /// As `TransportPorts`, of the innermost headers of a tunnel that is understood.
    Encapsulated,
}

/// All policies with their numbers. The first four are LBFO's `LoadBalancingAlgorithm`, whose 5 is Dynamic.
pub const POLICIES: [(u64, Policy); 6] = [
    (0, Policy::TransportPorts),
    (2, Policy::IpAddresses),
    (3, Policy::MacAddresses),
    (4, Policy::HyperVPort),
    (6, Policy::VlanSourceMac),
    (7, Policy::Encapsulated),
];

impl Policy {
    pub const fn name(self) -> &'static str {
        match self {
            Self::TransportPorts => "TransportPorts",
            Self::IpAddresses => "IPAddresses",
            Self::MacAddresses => "MacAddresses",
            Self::HyperVPort => "HyperVPort",
            Self::VlanSourceMac => "VlanSourceMac",
            Self::Encapsulated => "Encapsulated",
        }
    }

    /// All frames of one MAC address in one VLAN take one member, so that a physical switch which does not know of the
    /// team sees the address on one of its ports.
    pub const fn keeps_an_address_on_one_member(self) -> bool {
        matches!(self, Self::HyperVPort | Self::VlanSourceMac)
    }
}

/// A policy with its options: everything that decides about keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keying {
    pub policy: Policy,
    /// A flow label that is not 0 stands for the ports and the protocol (RFC 6438), but not in fragments.
    pub flow_label: bool,
    /// Both directions of a flow have one key; labels and security indexes, which differ by direction, are left out.
    pub symmetric: bool,
}

/// What a key was made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Basis {
    /// All that the policy names.
    Policy,
    /// Encapsulated: the frame's own headers, for there is no tunnel that is understood, or no IP in it.
    NotEncapsulated,
    /// A fragment: addresses; IPv4 also the protocol.
    Fragment,
    /// Another protocol than those with ports, or ARP: addresses and protocol.
    NoPorts,
    /// Not IP: MAC addresses.
    NotIp,
    /// What was wanted lies behind the end of the window: whatever was read before.
    CutShort,
    /// More headers than are walked: whatever was read before.
    TooDeep,
    /// A version or length that cannot be: whatever was read before.
    Malformed,
}

/// All bases in the order of their numbers; all but the first are fallbacks.
pub const BASES: [Basis; 8] = [
    Basis::Policy,
    Basis::NotEncapsulated,
    Basis::Fragment,
    Basis::NoPorts,
    Basis::NotIp,
    Basis::CutShort,
    Basis::TooDeep,
    Basis::Malformed,
];

impl Basis {
    pub const COUNT: usize = BASES.len();

    /// Position in `Counters::bases`.
    pub const fn index(self) -> usize {
        self as usize
    }

    pub const fn name(self) -> &'static str {
        match self {
            Self::Policy => "policy",
            Self::NotEncapsulated => "not_encapsulated",
            Self::Fragment => "fragment",
            Self::NoPorts => "no_ports",
            Self::NotIp => "not_ip",
            Self::CutShort => "cut_short",
            Self::TooDeep => "too_deep",
            Self::Malformed => "malformed",
        }
    }
}

/// Words are little-endian images of the key's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FlowKey {
    Short([u64; 2]),
    Long([u64; 5]),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Ports = 1,
    Addresses = 2,
    Macs = 3,
    SwitchPort = 4,
    AddressPair = 5,
    FlowLabel = 6,
    Spi = 7,
    VlanMac = 8,
}

/// The key of a packet from `source` under `policy` without options; `Encapsulated` wants the innermost headers.
#[inline]
pub fn key(headers: &Headers, policy: Policy, source: NicId) -> FlowKey {
    Keying { policy, flow_label: false, symmetric: false }.key(headers, source, None)
}

impl Keying {
    /// The key of a packet from `source` with `vlan` beside it. `Encapsulated` wants `frame::parse_innermost`, every
    /// other policy `frame::parse`.
    #[inline]
    pub fn key(&self, headers: &Headers, source: NicId, vlan: Option<VlanId>) -> FlowKey {
        match self.policy {
            Policy::TransportPorts if !self.flow_label && !self.symmetric => transport_key(headers),
            Policy::HyperVPort => FlowKey::Short([
                u64::from(source.port.get()) | u64::from(source.index.get()) << 32,
                tail(0, 0, Kind::SwitchPort),
            ]),
            policy => self.other_key(policy, headers, vlan),
        }
    }

    #[inline(never)]
    fn other_key(&self, policy: Policy, headers: &Headers, vlan: Option<VlanId>) -> FlowKey {
        let mut headers = *headers;
        if self.symmetric {
            headers.put_in_order();
        }
        match policy {
            Policy::TransportPorts | Policy::Encapsulated if self.flow_label && has_label(&headers) => {
                network_key(&headers, tail(headers.flow_label, 0, Kind::FlowLabel))
            }
            Policy::TransportPorts | Policy::Encapsulated | Policy::HyperVPort => transport_key(&headers),
            Policy::IpAddresses => network_key(&headers, tail(0, 0, Kind::AddressPair)),
            Policy::MacAddresses => mac_key(&headers),
            Policy::VlanSourceMac => {
                let vlan = vlan.or(headers.vlan()).map_or(0, VlanId::get);
                FlowKey::Short([headers.source.word() | u64::from(vlan) << 48, tail(0, 0, Kind::VlanMac)])
            }
        }
    }

    /// What `key` makes the key of these headers from.
    #[inline]
    pub fn basis(&self, headers: &Headers) -> Basis {
        match self.policy {
            Policy::HyperVPort | Policy::MacAddresses | Policy::VlanSourceMac => Basis::Policy,
            Policy::TransportPorts if matches!(headers.transport, Transport::Ports) => Basis::Policy,
            _ => self.other_basis(headers),
        }
    }

    #[inline(never)]
    fn other_basis(&self, headers: &Headers) -> Basis {
        let stopped = match headers.stop {
            Stop::Not => None,
            Stop::Window => Some(Basis::CutShort),
            Stop::Depth => Some(Basis::TooDeep),
            Stop::Malformed => Some(Basis::Malformed),
        };
        let encapsulated = self.policy == Policy::Encapsulated;
        match (headers.network, headers.transport) {
            (Network::Other, _) => stopped.unwrap_or(Basis::NotIp),
            (Network::V4 | Network::V6 | Network::Arp, _) if self.policy == Policy::IpAddresses => Basis::Policy,
            _ if encapsulated && stopped.is_some() => stopped.unwrap_or(Basis::Malformed),
            (_, Transport::Fragment) => Basis::Fragment,
            _ if encapsulated && headers.tunnels() == 0 => Basis::NotEncapsulated,
            _ if self.flow_label && !self.symmetric && has_label(headers) => Basis::Policy,
            (_, Transport::Ports) => Basis::Policy,
            (_, Transport::Spi) if !self.symmetric => Basis::Policy,
            (_, Transport::Other | Transport::Spi) => stopped.unwrap_or(Basis::NoPorts),
        }
    }
}

fn has_label(headers: &Headers) -> bool {
    headers.flow_label != 0 && headers.transport != Transport::Fragment
}

#[inline]
fn transport_key(headers: &Headers) -> FlowKey {
    // Ports are zero unless they were read, and the protocol is zero where it may not count.
    let kind = match headers.transport {
        Transport::Ports => Kind::Ports,
        Transport::Other | Transport::Fragment => Kind::Addresses,
        Transport::Spi => Kind::Spi,
    };
    network_key(headers, tail(headers.ports, headers.protocol, kind))
}

/// Addresses and what else the key consists of; without addresses the pair of MAC addresses alone.
#[inline]
fn network_key(headers: &Headers, tail: u64) -> FlowKey {
    let [a, b, c, d] = headers.addresses;
    match headers.network {
        Network::V4 | Network::Arp => FlowKey::Short([a, tail]),
        Network::V6 => FlowKey::Long([a, b, c, d, tail]),
        Network::Other => mac_key(headers),
    }
}

fn mac_key(headers: &Headers) -> FlowKey {
    let source = headers.source.word();
    FlowKey::Short([headers.destination.word() | source << 48, source >> 16 | tail(0, 0, Kind::Macs)])
}

/// Ports in bytes 0-3, protocol in byte 4, kind in byte 5, zeros in 6 and 7.
#[inline]
const fn tail(ports: u32, protocol: u8, kind: Kind) -> u64 {
    ports as u64 | (protocol as u64) << 32 | (kind as u64) << 40
}

impl Headers {
    /// The lower end of the flow becomes the source, and what one direction alone has is dropped.
    fn put_in_order(&mut self) {
        let ([a, b, c, d], ports) = (self.addresses, self.ports.rotate_right(16));
        if self.transport == Transport::Spi {
            (self.transport, self.ports) = (Transport::Other, 0);
        }
        self.flow_label = 0;
        let (addresses, same) = match self.network {
            Network::V6 => ([c, d, a, b], [a, b] == [c, d]),
            Network::V4 | Network::Arp | Network::Other => {
                ([a.rotate_right(32), 0, 0, 0], a == a.rotate_right(32))
            }
        };
        let swap_ports = if same { ports < self.ports } else { addresses < self.addresses };
        self.addresses = addresses.min(self.addresses);
        if swap_ports && self.transport == Transport::Ports {
            self.ports = ports;
        }
        if self.destination.word() < self.source.word() {
            core::mem::swap(&mut self.destination, &mut self.source);
        }
    }
}

impl FlowKey {
    /// The key as bytes, for tools and for comparison with other hash implementations.
    pub fn bytes(&self) -> heapless::Vec<u8, 40> {
        let words: &[u64] = match self {
            Self::Short(words) => words,
            Self::Long(words) => words,
        };
        words.iter().flat_map(|word| word.to_le_bytes()).collect()
    }
}
