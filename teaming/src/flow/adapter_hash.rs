//! Decides whether the Toeplitz hash that an adapter computed replaces the driver's own computation.
//!
//! While adapter hashes are in use, a flow whose key a hash type covers (`HashType::of`) is hashed by Toeplitz,
//! whether or not a packet carries an adapter's value. The value only saves the computation. It is used only after
//! values of the same source port were compared with computed ones and were equal, so that no flow changes its member
//! when values start or stop. If a trusted port's values become wrong, its packets take the wrong member until a check
//! finds one. Called by `forward` when the driver passes an `Adapter`. The driver keeps one `HashConfidence` for each
//! source port, or for a group of them.

use core::sync::atomic::{AtomicU32, Ordering};

use crate::flow::hash::Toeplitz;
use crate::flow::{HashPolicy, Keying};
use crate::frame::{Headers, Network, PROTOCOL_TCP, PROTOCOL_UDP, Transport};

/// The NDIS hash types whose input can equal a flow key. `NDIS_HASH_*_EX` are left out: their addresses may come from
/// extension headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HashType {
    Ipv4,
    TcpIpv4,
    UdpIpv4,
    Ipv6,
    TcpIpv6,
    UdpIpv6,
}

impl HashType {
    pub const ALL: [Self; 6] =
        [Self::Ipv4, Self::TcpIpv4, Self::UdpIpv4, Self::Ipv6, Self::TcpIpv6, Self::UdpIpv6];

    /// The type for the one `NDIS_HASH_*` bit in a packet's hash information.
    pub const fn from_ndis(bits: u32) -> Option<Self> {
        match bits {
            0x100 => Some(Self::Ipv4),
            0x200 => Some(Self::TcpIpv4),
            0x400 => Some(Self::Ipv6),
            0x1000 => Some(Self::TcpIpv6),
            0x4000 => Some(Self::UdpIpv4),
            0x8000 => Some(Self::UdpIpv6),
            _ => None,
        }
    }

    /// The type whose input equals the key of these headers; `None` if no type does.
    pub const fn of(headers: &Headers, keying: &Keying) -> Option<Self> {
        if keying.flow_label || keying.symmetric {
            return None;
        }
        let by_ports = match keying.policy {
            HashPolicy::TransportPorts => true,
            HashPolicy::IpAddresses => false,
            HashPolicy::MacAddresses
            | HashPolicy::HyperVPort
            | HashPolicy::VlanSourceMac
            | HashPolicy::Encapsulated => {
                return None;
            }
        };
        match (headers.network, headers.transport, headers.protocol) {
            (Network::V4, Transport::Ports, PROTOCOL_TCP) if by_ports => Some(Self::TcpIpv4),
            (Network::V4, Transport::Ports, PROTOCOL_UDP) if by_ports => Some(Self::UdpIpv4),
            (Network::V6, Transport::Ports, PROTOCOL_TCP) if by_ports => Some(Self::TcpIpv6),
            (Network::V6, Transport::Ports, PROTOCOL_UDP) if by_ports => Some(Self::UdpIpv6),
            (_, Transport::Ports | Transport::Spi, _) if by_ports => None,
            (Network::V4, _, _) => Some(Self::Ipv4),
            (Network::V6, _, _) => Some(Self::Ipv6),
            (Network::Other | Network::Arp, _, _) => None,
        }
    }

    /// Computes the value in software.
    fn compute(self, headers: &Headers, toeplitz: &Toeplitz) -> u32 {
        let mut input = heapless::Vec::<u8, 36>::new();
        // The longest input is two addresses of 16 bytes and two ports.
        let words = match self {
            Self::Ipv4 | Self::TcpIpv4 | Self::UdpIpv4 => 1,
            Self::Ipv6 | Self::TcpIpv6 | Self::UdpIpv6 => 4,
        };
        for word in headers.addresses.iter().take(words) {
            let _ = input.extend_from_slice(&word.to_le_bytes());
        }
        if !matches!(self, Self::Ipv4 | Self::Ipv6) {
            let _ = input.extend_from_slice(&headers.ports.to_le_bytes());
        }
        toeplitz.hash(&input)
    }

    const fn shift(self) -> u32 {
        (self as u32).wrapping_mul(BITS)
    }
}

/// A hash value in a packet's out-of-band data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NicHash {
    pub value: u32,
    pub hash_type: HashType,
}

/// The input for one packet while adapter hashes are in use.
#[derive(Debug, Clone, Copy)]
pub struct Adapter<'a> {
    /// Table of the key that the adapter is expected to use.
    pub toeplitz: &'a Toeplitz,
    /// The confidence in the values of the packet's source port.
    pub confidence: &'a HashConfidence,
    pub offered: Option<NicHash>,
    /// Compute the value although the port is trusted, and compare. The driver sets it for one in 1,024 packets to the
    /// external port.
    pub check: bool,
}

impl Adapter<'_> {
    /// The Toeplitz value of a packet, with or without an adapter's value; `None` if no hash type covers the key.
    pub fn value(&self, headers: &Headers, keying: &Keying) -> Option<u32> {
        let wanted = HashType::of(headers, keying)?;
        let offered = self.offered.filter(|offered| offered.hash_type == wanted);
        if let Some(offered) = offered
            && !self.check
            && self.confidence.covers(wanted)
        {
            return Some(offered.value);
        }
        let own = wanted.compute(headers, self.toeplitz);
        if let Some(offered) = offered {
            self.confidence.note(wanted, offered.value == own);
        }
        Some(own)
    }
}

/// Number of equal values of one type after which the port is trusted for that type.
pub const AGREEMENTS: u32 = 31;
/// Bits of the count of one type in `HashConfidence`.
const BITS: u32 = 5;
const DISTRUSTED: u32 = 1 << 31;
const _: () = assert!(AGREEMENTS < 1 << BITS && HashType::ALL.len() * BITS as usize <= 31);

/// Confidence in the values of a source port: number of equal values for each type, and whether one was wrong.
#[derive(Debug, Default)]
pub struct HashConfidence(AtomicU32);

impl HashConfidence {
    #[expect(
        clippy::declare_interior_mutable_const,
        reason = "storage is filled with it, element by element"
    )]
    pub const NONE: Self = Self(AtomicU32::new(0));

    /// Whether enough values of this type were equal, and no value of any type was wrong.
    #[inline]
    pub fn covers(&self, hash_type: HashType) -> bool {
        let word = self.0.load(Ordering::Relaxed);
        word & DISTRUSTED == 0 && word >> hash_type.shift() & AGREEMENTS == AGREEMENTS
    }

    /// Whether a value was wrong; from then on no value is used until `reset`.
    pub fn distrusted(&self) -> bool {
        self.0.load(Ordering::Relaxed) & DISTRUSTED != 0
    }

    /// Forgets the comparisons, because the key, the adapter or a setting changed.
    pub fn reset(&self) {
        self.0.store(0, Ordering::Relaxed);
    }

    fn note(&self, hash_type: HashType, agreed: bool) {
        if !agreed {
            self.0.fetch_or(DISTRUSTED, Ordering::Relaxed);
        } else if !self.covers(hash_type) {
            let one_more = |word: u32| {
                let full = word >> hash_type.shift() & AGREEMENTS == AGREEMENTS;
                (!full).then_some(word.wrapping_add(1 << hash_type.shift()))
            };
            // An error means that another processor has completed the count.
            let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more);
        }
    }
}
