//! What makes packets one flow: the key of a packet under a policy.
//!
//! Called by `forward` with parsed headers. Keys are zero-filled words, 16 bytes for anything short and 40 bytes for
//! IPv6, each with a kind octet, so that keys of different kinds never meet. Only `VlanSourceMac` has the VLAN in its
//! key, taken from the 802.1Q information or from the frame: the same tag reaches the driver either way. What a policy
//! asks for and the headers do not give falls back as LBFO does, from ports to addresses to MAC addresses; `Basis`
//! says which it was.

pub mod adapter_hash;
pub mod digest;
pub mod hash;
pub mod policy;

pub use crate::flow::hash::FlowKey;
use crate::flow::hash::Seed;
pub use crate::flow::policy::{HashPolicy, POLICIES};
use crate::frame::{Headers, Network, Stop, Transport, TunnelPorts};
use crate::ids::{FlowHash, HashId, MacAddr, VlanId};

/// A policy with its options: everything that decides about keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keying {
    pub policy: HashPolicy,
    /// A flow label that is not 0 stands for the ports and the protocol (RFC 6438), but not in fragments.
    pub flow_label: bool,
    /// Both directions of a flow have one key; labels and security indexes, which differ by direction, are left out.
    pub symmetric: bool,
    /// `Encapsulated`: where tunnels are read.
    pub tunnels: TunnelPorts,
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

/// The fields that a key is made of; its octet in each key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyKind {
    /// Addresses, ports, protocol.
    Ports = 1,
    /// Addresses, and the protocol where it may count.
    Addresses = 2,
    Macs = 3,
    SwitchPort = 4,
    /// Addresses alone, by the policy.
    AddressPair = 5,
    /// Addresses and the flow label.
    FlowLabel = 6,
    /// Addresses, security parameters index, protocol.
    Spi = 7,
    VlanMac = 8,
}

/// All kinds in the order of their octets, which begin at 1.
pub const KEY_KINDS: [KeyKind; 8] = [
    KeyKind::Ports,
    KeyKind::Addresses,
    KeyKind::Macs,
    KeyKind::SwitchPort,
    KeyKind::AddressPair,
    KeyKind::FlowLabel,
    KeyKind::Spi,
    KeyKind::VlanMac,
];

impl KeyKind {
    /// The kind of a key that this module made; for tools.
    pub fn of(key: &FlowKey) -> Option<Self> {
        let tail = match key {
            FlowKey::Short([_, tail]) | FlowKey::Long([.., tail]) => tail,
        };
        let [.., octet, _, _] = tail.to_le_bytes();
        KEY_KINDS.get(usize::from(octet).checked_sub(1)?).copied()
    }
}

/// The key of a packet from `source` under `policy` without options; `Encapsulated` wants the innermost headers.
pub fn key(headers: &Headers, policy: HashPolicy, source: impl Into<HashId>) -> FlowKey {
    Keying::plain(policy).key(headers, source, None)
}

impl Keying {
    /// A policy without options.
    pub const fn plain(policy: HashPolicy) -> Self {
        Self { policy, flow_label: false, symmetric: false, tunnels: TunnelPorts::REGISTERED }
    }

    /// The hash of a packet's key and its basis for the common cases, inlined: the default policy, and ports without
    /// options. Each key is hashed where it is made, so that it stays in registers.
    #[inline(always)]
    pub(crate) fn hash_at_once(
        &self,
        headers: &Headers,
        source: HashId,
        seed: Seed,
    ) -> Option<(FlowHash, Basis)> {
        let hash = match (self.policy, headers.network) {
            (HashPolicy::HyperVPort, _) => return Some((seed.hash(&port_key(source)), Basis::Policy)),
            (HashPolicy::TransportPorts, _) if self.flow_label || self.symmetric => return None,
            (HashPolicy::TransportPorts, Network::V4) => {
                seed.hash(&short_key(headers, transport_tail(headers)))
            }
            (HashPolicy::TransportPorts, Network::V6) => {
                seed.hash(&long_key(headers, transport_tail(headers)))
            }
            (HashPolicy::TransportPorts, Network::Arp | Network::Other) => return None,
            (HashPolicy::IpAddresses | HashPolicy::MacAddresses, _) => return None,
            (HashPolicy::VlanSourceMac | HashPolicy::Encapsulated, _) => return None,
        };
        Some((hash, transport_basis(headers)))
    }

    /// The key of a packet from `source` with `vlan` in its out-of-band tag. `Encapsulated` needs
    /// `frame::parse_innermost`, every other policy `frame::parse`.
    pub fn key(&self, headers: &Headers, source: impl Into<HashId>, vlan: Option<VlanId>) -> FlowKey {
        let mut headers = *headers;
        if self.symmetric && self.policy.names_both_ends() {
            headers.put_in_order();
        }
        match self.policy {
            HashPolicy::TransportPorts | HashPolicy::Encapsulated
                if self.flow_label && has_label(&headers) =>
            {
                network_key(&headers, tail(headers.flow_label, 0, KeyKind::FlowLabel))
            }
            HashPolicy::TransportPorts | HashPolicy::Encapsulated => {
                network_key(&headers, transport_tail(&headers))
            }
            HashPolicy::HyperVPort => port_key(source.into()),
            HashPolicy::IpAddresses => network_key(&headers, tail(0, 0, KeyKind::AddressPair)),
            HashPolicy::MacAddresses => mac_key(&headers),
            HashPolicy::VlanSourceMac => {
                let vlan = vlan.or(headers.vlan()).map_or(0, VlanId::get);
                FlowKey::Short([headers.source.word() | u64::from(vlan) << 48, tail(0, 0, KeyKind::VlanMac)])
            }
        }
    }

    /// The key of all traffic of a vNIC, if the policy gives it one key; otherwise its `HyperVPort` key: then its
    /// traffic may arrive on any member, and each is as good as another.
    pub fn vnic_key(&self, station: HashId, mac: MacAddr) -> FlowKey {
        self.address_key(station, mac, None)
    }

    /// The same for frames with any address, in the VLAN of their tag.
    pub fn address_key(&self, station: HashId, mac: MacAddr, tagged: Option<VlanId>) -> FlowKey {
        match self.policy {
            HashPolicy::VlanSourceMac => {
                let vlan = tagged.map_or(0, VlanId::get);
                FlowKey::Short([mac.word() | u64::from(vlan) << 48, tail(0, 0, KeyKind::VlanMac)])
            }
            HashPolicy::TransportPorts
            | HashPolicy::IpAddresses
            | HashPolicy::MacAddresses
            | HashPolicy::HyperVPort
            | HashPolicy::Encapsulated => port_key(station),
        }
    }

    /// What `key` makes the key of these headers from.
    pub fn basis(&self, headers: &Headers) -> Basis {
        let is_ip = headers.network != Network::Other;
        let labelled = self.flow_label && !self.symmetric && has_label(headers);
        match self.policy {
            HashPolicy::HyperVPort | HashPolicy::MacAddresses | HashPolicy::VlanSourceMac => Basis::Policy,
            HashPolicy::IpAddresses if is_ip => Basis::Policy,
            HashPolicy::Encapsulated if is_ip && headers.stop != Stop::Not => {
                stopped(headers.stop, Basis::NoPorts)
            }
            HashPolicy::Encapsulated if is_ip && headers.tunnels() == 0 => match headers.transport {
                Transport::Fragment => Basis::Fragment,
                Transport::Other | Transport::Ports | Transport::Spi => Basis::NotEncapsulated,
            },
            HashPolicy::IpAddresses | HashPolicy::TransportPorts | HashPolicy::Encapsulated => {
                match headers.transport {
                    _ if labelled => Basis::Policy,
                    Transport::Spi if self.symmetric => Basis::NoPorts,
                    _ => transport_basis(headers),
                }
            }
        }
    }
}

#[inline(always)]
fn transport_basis(headers: &Headers) -> Basis {
    match (headers.transport, headers.network) {
        (Transport::Ports | Transport::Spi, _) => Basis::Policy,
        (Transport::Fragment, _) => Basis::Fragment,
        (Transport::Other, Network::Other) => stopped(headers.stop, Basis::NotIp),
        (Transport::Other, Network::V4 | Network::V6 | Network::Arp) => stopped(headers.stop, Basis::NoPorts),
    }
}

#[inline]
const fn stopped(stop: Stop, otherwise: Basis) -> Basis {
    match stop {
        Stop::Not => otherwise,
        Stop::Window => Basis::CutShort,
        Stop::Depth => Basis::TooDeep,
        Stop::Malformed => Basis::Malformed,
    }
}

/// The key of all packets of a source under `HyperVPort`.
#[inline]
pub(crate) fn source_key(source: HashId) -> FlowKey {
    port_key(source)
}

/// The key of TCP or UDP under `TransportPorts`: both addresses and both ports as they lie in the packet.
#[inline]
pub(crate) const fn ipv4_key(addresses: u64, ports: u32, protocol: u8) -> FlowKey {
    FlowKey::Short([addresses, tail(ports, protocol, KeyKind::Ports)])
}

/// The same over IPv6.
#[inline]
pub(crate) const fn ipv6_key([a, b, c, d]: [u64; 4], ports: u32, protocol: u8) -> FlowKey {
    FlowKey::Long([a, b, c, d, tail(ports, protocol, KeyKind::Ports)])
}

#[inline]
fn port_key(source: HashId) -> FlowKey {
    FlowKey::Short([source.word(), tail(0, 0, KeyKind::SwitchPort)])
}

fn has_label(headers: &Headers) -> bool {
    headers.flow_label != 0 && headers.transport != Transport::Fragment
}

#[inline]
fn transport_tail(headers: &Headers) -> u64 {
    // Ports are zero unless they were read, and the protocol is zero where it may not count.
    let kind = match headers.transport {
        Transport::Ports => KeyKind::Ports,
        Transport::Other | Transport::Fragment => KeyKind::Addresses,
        Transport::Spi => KeyKind::Spi,
    };
    tail(headers.ports, headers.protocol, kind)
}

/// Addresses and what else the key consists of; without addresses the pair of MAC addresses alone.
fn network_key(headers: &Headers, tail: u64) -> FlowKey {
    match headers.network {
        Network::V4 | Network::Arp => short_key(headers, tail),
        Network::V6 => long_key(headers, tail),
        Network::Other => mac_key(headers),
    }
}

#[inline]
const fn short_key(headers: &Headers, tail: u64) -> FlowKey {
    let [a, ..] = headers.addresses;
    FlowKey::Short([a, tail])
}

#[inline]
const fn long_key(headers: &Headers, tail: u64) -> FlowKey {
    let [a, b, c, d] = headers.addresses;
    FlowKey::Long([a, b, c, d, tail])
}

fn mac_key(headers: &Headers) -> FlowKey {
    let source = headers.source.word();
    FlowKey::Short([headers.destination.word() | source << 48, source >> 16 | tail(0, 0, KeyKind::Macs)])
}

/// Ports in bytes 0-3, protocol in byte 4, kind in byte 5, zeros in 6 and 7.
#[inline]
const fn tail(ports: u32, protocol: u8, kind: KeyKind) -> u64 {
    ports as u64 | (protocol as u64) << 32 | (kind as u64) << 40
}

impl Headers {
    /// Makes the lower end of the flow the source, and drops what only one direction has.
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
