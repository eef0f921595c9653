//! Headers between Ethernet and IP (LLC/SNAP, MPLS labels, a PPPoE session), and ARP.
//!
//! Called for the EtherTypes that `read_ethernet` does not read itself, and for the payload of tunnels.

use super::{
    ETHERTYPE_ARP, ETHERTYPE_IPV4, ETHERTYPE_IPV6, FULL, Headers, LABELS_MAX, Network, Read, Stop, is_tag,
};

/// A smaller value in the EtherType field is a length, and an LLC header follows (IEEE 802.3, 3.2.6).
const LENGTH_END: u16 = 0x0600;
const ETHERTYPE_MPLS: u16 = 0x8847;
const ETHERTYPE_MPLS_MULTICAST: u16 = 0x8848;
const ETHERTYPE_PPPOE_SESSION: u16 = 0x8864;

const PPP_IPV4: u16 = 0x0021;
const PPP_IPV6: u16 = 0x0057;

impl Headers {
    /// Reads the header that the EtherType in `self.ethertype` announces, except IP.
    #[cold]
    #[inline(never)]
    pub(super) fn read_link<'a>(&mut self, payload: &'a [u8]) -> Read<'a> {
        match self.ethertype {
            0..LENGTH_END => self.read_llc(payload),
            ETHERTYPE_ARP => self.read_arp(payload),
            ETHERTYPE_MPLS | ETHERTYPE_MPLS_MULTICAST => self.read_labels(payload),
            ETHERTYPE_PPPOE_SESSION => self.read_session(payload),
            tag if is_tag(tag) => self.halt(Stop::Depth),
            _ => Ok(&[]),
        }
    }

    /// Reads the payload of a tunnel that has no inner Ethernet header.
    pub(super) fn read_payload<'a>(&mut self, ethertype: u16, payload: &'a [u8]) -> Read<'a> {
        self.ethertype = ethertype;
        match ethertype {
            ETHERTYPE_IPV4 => self.read_ipv4::<FULL>(payload),
            ETHERTYPE_IPV6 => self.read_ipv6::<FULL>(payload),
            ETHERTYPE_ARP | ETHERTYPE_MPLS | ETHERTYPE_MPLS_MULTICAST => self.read_link(payload),
            _ => Ok(&[]),
        }
    }

    /// Reads SNAP with OUI 00-00-00, which carries an EtherType as Ethernet II does (RFC 1042). Other LLC frames are
    /// not read.
    fn read_llc<'a>(&mut self, payload: &'a [u8]) -> Read<'a> {
        const SNAP: [u8; 6] = [0xaa, 0xaa, 3, 0, 0, 0];
        let present = payload.get(..SNAP.len()).unwrap_or(payload);
        if !SNAP.starts_with(present) {
            return Ok(&[]);
        }
        match payload.split_first_chunk::<8>() {
            Some(([.., t0, t1], inner)) => self.read_payload(u16::from_be_bytes([*t0, *t1]), inner),
            None => self.halt(Stop::Window),
        }
    }

    fn read_arp<'a>(&mut self, packet: &'a [u8]) -> Read<'a> {
        const ETHERNET_AND_IPV4: [u8; 6] = [0, 1, 8, 0, 6, 4];
        let Some(packet) = packet.first_chunk::<28>() else { return self.halt(Stop::Window) };
        let ([[k0, k1, k2, k3], [k4, k5, ..], _, [_, _, s0, s1], [s2, s3, ..], _, [t0, t1, t2, t3]], []) =
            packet.as_chunks::<4>()
        else {
            return Ok(&[]);
        };
        if [*k0, *k1, *k2, *k3, *k4, *k5] == ETHERNET_AND_IPV4 {
            self.network = Network::Arp;
            self.addresses[0] = u64::from_le_bytes([*s0, *s1, *s2, *s3, *t0, *t1, *t2, *t3]);
        }
        Ok(&[])
    }

    /// Reads MPLS labels. They do not name the protocol that follows the last one, so, like routers, the first four
    /// bits decide: 4 is IPv4, 6 is IPv6 (RFC 4928).
    fn read_labels<'a>(&mut self, mut rest: &'a [u8]) -> Read<'a> {
        for _ in 0..LABELS_MAX {
            let Some(([_, _, bottom, _], inner)) = rest.split_first_chunk::<4>() else {
                return self.halt(Stop::Window);
            };
            if bottom & 1 == 1 {
                return match inner.first().map(|lead| lead >> 4) {
                    Some(4) => self.read_ipv4::<FULL>(inner),
                    Some(6) => self.read_ipv6::<FULL>(inner),
                    Some(_) => Ok(&[]),
                    None => self.halt(Stop::Window),
                };
            }
            rest = inner;
        }
        self.halt(Stop::Depth)
    }

    fn read_session<'a>(&mut self, packet: &'a [u8]) -> Read<'a> {
        let Some(([version, code, _, _, _, _, p0, p1], inner)) = packet.split_first_chunk::<8>() else {
            return self.halt(Stop::Window);
        };
        match (*version, *code, u16::from_be_bytes([*p0, *p1])) {
            (0x11, 0, PPP_IPV4) => self.read_ipv4::<FULL>(inner),
            (0x11, 0, PPP_IPV6) => self.read_ipv6::<FULL>(inner),
            (0x11, 0, _) => Ok(&[]),
            _ => self.halt(Stop::Malformed),
        }
    }
}
