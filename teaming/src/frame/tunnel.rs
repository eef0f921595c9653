//! Encapsulated frames: GRE and NVGRE, VXLAN, GENEVE, GTP-U, and IP in IP.
//!
//! Called by `forward` under the policy that hashes inner headers, and by tools. If a tunnel header cannot be read
//! whole, or its payload is neither IP nor ARP, the result is the headers around it.

use super::network::{PROTOCOL_GRE, PROTOCOL_IPV4, PROTOCOL_IPV6};
use super::{ETHERTYPE_IPV4, ETHERTYPE_IPV6, Headers, Network, PROTOCOL_UDP, Stop, TUNNELS_MAX, Transport};

const ETHERTYPE_BRIDGED_ETHERNET: u16 = 0x6558;

const PORT_GTP_U: u16 = 2152;
const PORT_VXLAN: u16 = 4789;
const PORT_GENEVE: u16 = 6081;
const UDP_HEADER: usize = 8;

/// UDP ports at which tunnels are read beside the registered ones; 0 is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TunnelPorts {
    pub vxlan: u16,
    pub geneve: u16,
}

impl TunnelPorts {
    /// The registered ports alone.
    pub const REGISTERED: Self = Self { vxlan: 0, geneve: 0 };
}

/// The payload of a tunnel header: its EtherType (`ETHERTYPE_BRIDGED_ETHERNET` for an Ethernet frame) and its bytes.
type Inside<'a> = (u16, &'a [u8]);

/// Reads the innermost headers inside the tunnels above; MAC addresses and tags are those of the outer frame.
#[inline(never)]
pub fn parse_innermost(window: &[u8], ports: TunnelPorts) -> Headers {
    let mut headers = Headers::EMPTY;
    let mut segment = headers.read_whole(window);
    loop {
        let (ethertype, payload) = match inside(&headers, segment, ports) {
            Ok(Some(inside)) => inside,
            Ok(None) => return headers,
            Err(why) => {
                headers.stop = why;
                return headers;
            }
        };
        if usize::from(headers.tunnels) == TUNNELS_MAX {
            headers.stop = Stop::Depth;
            return headers;
        }
        let mut inner = Headers::EMPTY;
        segment = match ethertype {
            ETHERTYPE_BRIDGED_ETHERNET => inner.read_whole(payload),
            _ => inner.read_payload(ethertype, payload).unwrap_or_default(),
        };
        if inner.network == Network::Other {
            headers.stop = inner.stop;
            return headers;
        }
        headers = Headers {
            destination: headers.destination,
            source: headers.source,
            ethertype: headers.ethertype,
            tci: headers.tci,
            tags: headers.tags,
            tunnels: headers.tunnels.wrapping_add(1),
            ..inner
        };
    }
}

/// The payload of the tunnel that the headers announce; `None` if they announce none, an error if its header cannot be
/// read.
fn inside<'a>(headers: &Headers, segment: &'a [u8], ports: TunnelPorts) -> Result<Option<Inside<'a>>, Stop> {
    match (headers.transport, headers.protocol(), headers.ports()) {
        (Transport::Ports, Some(PROTOCOL_UDP), Some((_, port))) => {
            let payload = segment.get(UDP_HEADER..);
            match port {
                PORT_VXLAN => vxlan(payload.ok_or(Stop::Window)?),
                PORT_GENEVE => geneve(payload.ok_or(Stop::Window)?),
                PORT_GTP_U => gtp_u(payload.ok_or(Stop::Window)?),
                0 => Ok(None),
                port if port == ports.vxlan => vxlan(payload.ok_or(Stop::Window)?),
                port if port == ports.geneve => geneve(payload.ok_or(Stop::Window)?),
                _ => Ok(None),
            }
        }
        // After an authentication header the transport is the security parameters index, and an IP header may follow
        // unencrypted.
        (Transport::Other | Transport::Spi, Some(protocol), _) if headers.stop == Stop::Not => match protocol
        {
            PROTOCOL_IPV4 => Ok(Some((ETHERTYPE_IPV4, segment))),
            PROTOCOL_IPV6 => Ok(Some((ETHERTYPE_IPV6, segment))),
            PROTOCOL_GRE => gre(segment),
            _ => Ok(None),
        },
        _ => Ok(None),
    }
}

/// GRE (RFC 2784, 2890); NVGRE (RFC 7637) is GRE with a key around an Ethernet frame. GRE with source routes (RFC
/// 1701) and version 1 (PPTP) are not read.
fn gre(header: &[u8]) -> Result<Option<Inside<'_>>, Stop> {
    const CHECKSUM: u8 = 0x80;
    const ROUTING: u8 = 0x40;
    const KEY: u8 = 0x20;
    const SEQUENCE: u8 = 0x10;
    let [flags, version, t0, t1] = *header.first_chunk::<4>().ok_or(Stop::Window)?;
    if flags & ROUTING != 0 || version & 7 != 0 {
        return Ok(None);
    }
    let words = [CHECKSUM, KEY, SEQUENCE].iter().filter(|&&flag| flags & flag != 0).count().wrapping_add(1);
    let payload = header.get(words.wrapping_mul(4)..).ok_or(Stop::Window)?;
    Ok(Some((u16::from_be_bytes([t0, t1]), payload)))
}

/// VXLAN (RFC 7348): one flag announces the network identifier; an Ethernet frame follows.
fn vxlan(header: &[u8]) -> Result<Option<Inside<'_>>, Stop> {
    const HAS_IDENTIFIER: u8 = 0x08;
    let ([flags, ..], payload) = header.split_first_chunk::<8>().ok_or(Stop::Window)?;
    Ok((flags & HAS_IDENTIFIER != 0).then_some((ETHERTYPE_BRIDGED_ETHERNET, payload)))
}

/// GENEVE (RFC 8926), version 0; the length of the options is in 4-byte words.
fn geneve(header: &[u8]) -> Result<Option<Inside<'_>>, Stop> {
    let [lead, _, t0, t1, ..] = *header.first_chunk::<8>().ok_or(Stop::Window)?;
    if lead >> 6 != 0 {
        return Ok(None);
    }
    let length = usize::from(lead & 0x3f).wrapping_mul(4).wrapping_add(8);
    let payload = header.get(length..).ok_or(Stop::Window)?;
    Ok(Some((u16::from_be_bytes([t0, t1]), payload)))
}

/// GTP-U (3GPP TS 29.281): user data of version 1; the lengths of extension headers are in 4-byte words. The first
/// four bits of the payload are its IP version.
fn gtp_u(header: &[u8]) -> Result<Option<Inside<'_>>, Stop> {
    const VERSION_1_OF_GTP: u8 = 0x30;
    const EXTENDED: u8 = 0x04;
    const ANY_OPTION: u8 = 0x07;
    const USER_DATA: u8 = 255;
    let ([flags, kind, ..], mut rest) = header.split_first_chunk::<8>().ok_or(Stop::Window)?;
    if flags & 0xf0 != VERSION_1_OF_GTP || *kind != USER_DATA {
        return Ok(None);
    }
    if flags & ANY_OPTION != 0 {
        let ([_, _, _, next], inner) = rest.split_first_chunk::<4>().ok_or(Stop::Window)?;
        rest = inner;
        let mut next = if flags & EXTENDED != 0 { *next } else { 0 };
        while next != 0 {
            let length = usize::from(*rest.first().ok_or(Stop::Window)?).wrapping_mul(4);
            let (extension, inner) = rest.split_at_checked(length).ok_or(Stop::Window)?;
            // An extension header of length 0 would be read again and again.
            next = *extension.last().ok_or(Stop::Malformed)?;
            rest = inner;
        }
    }
    Ok(match rest.first().ok_or(Stop::Window)? >> 4 {
        4 => Some((ETHERTYPE_IPV4, rest)),
        6 => Some((ETHERTYPE_IPV6, rest)),
        _ => None,
    })
}
