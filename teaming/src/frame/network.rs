//! IPv4 and IPv6 with options, extension headers and fragments, up to the ports or the security parameters index.

use super::{EXTENSIONS_MAX, Headers, Network, Rare, Read, Stop, Transport};

pub const PROTOCOL_TCP: u8 = 6;
pub const PROTOCOL_UDP: u8 = 17;
pub(super) const PROTOCOL_IPV4: u8 = 4;
pub(super) const PROTOCOL_IPV6: u8 = 41;
pub(super) const PROTOCOL_GRE: u8 = 47;
const PROTOCOL_DCCP: u8 = 33;
const PROTOCOL_ESP: u8 = 50;
const PROTOCOL_AUTHENTICATION: u8 = 51;
const PROTOCOL_SCTP: u8 = 132;
const PROTOCOL_UDP_LITE: u8 = 136;

const EXTENSION_HOP_BY_HOP: u8 = 0;
const EXTENSION_ROUTING: u8 = 43;
const EXTENSION_FRAGMENT: u8 = 44;
const EXTENSION_DESTINATION: u8 = 60;
const EXTENSION_MOBILITY: u8 = 135;
const EXTENSION_HOST_IDENTITY: u8 = 139;
const EXTENSION_SHIM6: u8 = 140;
/// No next header (RFC 8200, 4.7).
const PROTOCOL_NONE: u8 = 59;

/// TCP and UDP, which nearly every packet carries; compared first.
const fn is_common(protocol: u8) -> bool {
    protocol == PROTOCOL_TCP || protocol == PROTOCOL_UDP
}

/// Protocols whose header begins with source and destination port.
const fn has_ports(protocol: u8) -> bool {
    matches!(protocol, PROTOCOL_TCP | PROTOCOL_UDP | PROTOCOL_DCCP | PROTOCOL_SCTP | PROTOCOL_UDP_LITE)
}

/// An extension header of IPv6 at the start of `rest`: the protocol after it (none after that of a
/// fragment that is not the first), and its length in bytes. `None` for any other protocol.
pub(crate) fn extension(protocol: u8, rest: &[u8]) -> Option<(u8, usize)> {
    let [next, units, f0, f1, ..] = *rest.first_chunk::<4>()?;
    match protocol {
        EXTENSION_HOP_BY_HOP | EXTENSION_ROUTING | EXTENSION_DESTINATION => {
            Some((next, usize::from(units).wrapping_add(1).wrapping_mul(8)))
        }
        EXTENSION_FRAGMENT => {
            let is_first = u16::from_be_bytes([f0, f1]) & 0xfff8 == 0;
            Some((if is_first { next } else { PROTOCOL_NONE }, 8))
        }
        _ => None,
    }
}

impl Headers {
    #[inline(always)]
    pub(super) fn read_ipv4<'a, const ALL: bool>(&mut self, packet: &'a [u8]) -> Read<'a> {
        let Some(fixed) = packet.first_chunk::<20>() else { return self.halt(Stop::Window) };
        let ([[lead, ..], [_, _, fragment @ ..], [_, protocol, ..], source, destination], []) =
            fixed.as_chunks::<4>()
        else {
            return Ok(&[]);
        };
        let header_len = usize::from(lead & 0x0f).wrapping_mul(4);
        if lead >> 4 != 4 || header_len < fixed.len() {
            return self.halt(Stop::Malformed);
        }
        self.network = Network::V4;
        self.protocol = *protocol;
        self.addresses[0] =
            u64::from(u32::from_le_bytes(*source)) | u64::from(u32::from_le_bytes(*destination)) << 32;
        let more_or_offset = u16::from_be_bytes(*fragment) & 0x3fff;
        if more_or_offset != 0 {
            self.transport = Transport::Fragment;
            return Ok(&[]);
        }
        let Some(segment) = packet.get(header_len..) else { return self.halt(Stop::Window) };
        if is_common(*protocol) { self.read_ports(segment) } else { self.read_chain::<ALL>(segment) }
    }

    #[inline(always)]
    pub(super) fn read_ipv6<'a, const ALL: bool>(&mut self, packet: &'a [u8]) -> Read<'a> {
        let Some((fixed, rest)) = packet.split_first_chunk::<40>() else { return self.halt(Stop::Window) };
        let ([[l0, l1, l2, l3, _, _, next, _], s0, s1, d0, d1], []) = fixed.as_chunks::<8>() else {
            return Ok(&[]);
        };
        if l0 >> 4 != 6 {
            return self.halt(Stop::Malformed);
        }
        self.network = Network::V6;
        self.flow_label = u32::from_be_bytes([*l0, *l1, *l2, *l3]) & 0x000f_ffff;
        self.addresses = [
            u64::from_le_bytes(*s0),
            u64::from_le_bytes(*s1),
            u64::from_le_bytes(*d0),
            u64::from_le_bytes(*d1),
        ];
        self.protocol = *next;
        if is_common(*next) { self.read_ports(rest) } else { self.read_chain::<ALL>(rest) }
    }

    /// Reads the headers before the transport header: extension headers of IPv6, and the authentication header, which
    /// IPv4 has too. The transport header after an authentication header is not encrypted and is read; if it has no
    /// ports, the security parameters index takes their place.
    #[inline(always)]
    fn read_chain<'a, const ALL: bool>(&mut self, mut rest: &'a [u8]) -> Read<'a> {
        let v6 = self.network == Network::V6;
        let mut walked = 0_usize;
        loop {
            let units = match self.protocol {
                protocol if has_ports(protocol) => return self.read_ports(rest),
                EXTENSION_HOP_BY_HOP
                | EXTENSION_ROUTING
                | EXTENSION_DESTINATION
                | EXTENSION_MOBILITY
                | EXTENSION_HOST_IDENTITY
                | EXTENSION_SHIM6
                    if v6 =>
                {
                    (8, 1)
                }
                EXTENSION_FRAGMENT if v6 => {
                    // Only the next-header value of the first fragment is valid (RFC 8200, 4.5). The key of a fragment
                    // leaves the protocol out, so that all fragments of a datagram have one key.
                    (self.protocol, self.ports) = (0, 0);
                    self.transport = Transport::Fragment;
                    return Ok(&[]);
                }
                PROTOCOL_ESP | PROTOCOL_AUTHENTICATION if !ALL => return Err(Rare),
                PROTOCOL_AUTHENTICATION => (4, 2),
                PROTOCOL_ESP => return self.read_spi(rest, 0),
                _ => return Ok(rest),
            };
            if walked == EXTENSIONS_MAX {
                return self.halt(Stop::Depth);
            }
            let Some([next, length]) = rest.first_chunk::<2>() else { return self.halt(Stop::Window) };
            if self.protocol == PROTOCOL_AUTHENTICATION && self.read_spi(rest, 4)?.is_empty() {
                return Ok(&[]);
            }
            let (unit, more) = units;
            let length = usize::from(*length).wrapping_add(more).wrapping_mul(unit);
            let Some(inner) = rest.get(length..) else { return self.halt(Stop::Window) };
            self.protocol = *next;
            rest = inner;
            walked = walked.wrapping_add(1);
        }
    }

    #[inline(always)]
    fn read_ports<'a>(&mut self, segment: &'a [u8]) -> Read<'a> {
        let Some(ports) = segment.first_chunk::<4>() else { return self.halt(Stop::Window) };
        self.ports = u32::from_le_bytes(*ports);
        self.transport = Transport::Ports;
        Ok(segment)
    }

    fn read_spi<'a>(&mut self, header: &'a [u8], at: usize) -> Read<'a> {
        let Some(index) = header.get(at..).and_then(|rest| rest.first_chunk::<4>()) else {
            return self.halt(Stop::Window);
        };
        self.ports = u32::from_le_bytes(*index);
        self.transport = Transport::Spi;
        Ok(header)
    }
}
