//! What makes packets one flow: the key of a packet under a policy.
//!
//! Called by `forward` with parsed headers. Keys are zero-filled words, 16 bytes for anything short and 40 bytes for
//! IPv6, each with a kind octet, so that keys of different kinds never meet. The VLAN is no part of a key: the same
//! tag reaches the driver in the frame or beside it, and both must give one flow.

use crate::frame::{Headers, Network, Transport};
use crate::ids::NicId;

/// What the distribution keeps together. Numbers equal LBFO's `LoadBalancingAlgorithm`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// TCP and UDP by addresses and ports; else by addresses; else by the pair of MAC addresses.
    TransportPorts,
    /// Everything of one virtual NIC stays together.
    HyperVPort,
}

impl Policy {
    pub const fn name(self) -> &'static str {
        match self {
            Self::TransportPorts => "TransportPorts",
            Self::HyperVPort => "HyperVPort",
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
}

/// The key of a packet from `source` under `policy`.
#[inline]
pub fn key(headers: &Headers, policy: Policy, source: NicId) -> FlowKey {
    match policy {
        Policy::TransportPorts => transport_key(headers),
        Policy::HyperVPort => FlowKey::Short([
            u64::from(source.port.get()) | u64::from(source.index.get()) << 32,
            tail(0, 0, Kind::SwitchPort),
        ]),
    }
}

#[inline]
fn transport_key(headers: &Headers) -> FlowKey {
    // Ports are zero unless they were read, and the protocol is zero where it may not count.
    let kind = match headers.transport {
        Transport::Ports => Kind::Ports,
        Transport::Other | Transport::Fragment => Kind::Addresses,
    };
    let tail = tail(headers.ports, headers.protocol, kind);
    let [a, b, c, d] = headers.addresses;
    match headers.network {
        Network::V4 => FlowKey::Short([a, tail]),
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
