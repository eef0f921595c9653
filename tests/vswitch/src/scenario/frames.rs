//! Frames of the protocols that tell where an address is, and of those that look the same when they are repeated.

use crate::scenario::guest::{BROADCAST, Flow};
use crate::switch::ports::Mac;

/// The protocols that say where an address is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A gratuitous ARP request (RFC 5227, 3).
    Arp,
    /// An unsolicited neighbour advertisement to all nodes (RFC 4861, 7.2.6).
    Neighbour,
    Unicast,
    Multicast,
}

impl Kind {
    pub const ALL: [Self; 4] = [Self::Arp, Self::Neighbour, Self::Unicast, Self::Multicast];

    /// A frame from an address, number `n` of its sender; unicast goes to `to`.
    pub fn frame(self, from: Mac, to: Mac, n: u16) -> Vec<u8> {
        match self {
            Self::Arp => gratuitous_arp(from, [10, 0, (n >> 8) as u8, n as u8]),
            Self::Neighbour => neighbour(from, 136, n),
            Self::Unicast => Flow::new(from, to, n % 50_000).frame(u32::from(n), 60),
            Self::Multicast => Flow { to: GROUP, ..Flow::new(from, to, n % 50_000) }.frame(u32::from(n), 60),
        }
    }

    pub fn is_for_many(self) -> bool {
        self != Self::Unicast
    }
}

pub const GROUP: Mac = [0x01, 0, 0x5E, 1, 2, 3];

/// The address of a virtual router (RFC 5798, 7.3).
pub const fn virtual_router(id: u8) -> Mac {
    [0, 0, 0x5E, 0, 1, id]
}

pub fn gratuitous_arp(from: Mac, address: [u8; 4]) -> Vec<u8> {
    let head = [&BROADCAST[..], &from, &[8, 6, 0, 1, 8, 0, 6, 4, 0, 1]].concat();
    [&head[..], &from, &address, &[0; 6], &address].concat()
}

/// A neighbour solicitation (135) or advertisement (136) to all nodes, for an address with number `n`.
pub fn neighbour(from: Mac, kind: u8, n: u16) -> Vec<u8> {
    let [high, low] = n.to_be_bytes();
    let target = [0xFE, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, high, low];
    let all = [0xFF, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    // A probe for duplicates has no source address (RFC 4862, 5.4.2).
    let source = if kind == 135 { [0; 16] } else { target };
    let head = [&[0x33, 0x33, 0, 0, 0, 1], &from[..], &[0x86, 0xDD, 0x60, 0, 0, 0, 0, 24, 58, 255]].concat();
    let message = [&[kind, 0, 0, 0, 0x20, 0, 0, 0], &target[..]].concat();
    [&head[..], &source, &all, &message].concat()
}

/// A VRRP advertisement: the same bytes every time (RFC 5798, 5.1).
pub fn vrrp(id: u8) -> Vec<u8> {
    let message = [0x31, id, 100, 1, 0, 100, 0, 0, 10, 0, 0, 1];
    ipv4(virtual_router(id), [224, 0, 0, 18], 112, &message)
}

/// An IGMP report of version 2 for a group with this last byte.
pub fn igmp_report(from: Mac, group: [u8; 4]) -> Vec<u8> {
    let message = [&[0x16, 0, 0, 0], &group[..]].concat();
    ipv4(from, group, 2, &message)
}

/// An IGMP report of version 3: the host listens to these groups, whoever sends (RFC 3376, 4.2).
pub fn igmp_v3_report(from: Mac, groups: &[[u8; 4]]) -> Vec<u8> {
    let mut message = vec![0x22, 0, 0, 0, 0, 0, 0, groups.len() as u8];
    message.extend(groups.iter().flat_map(|group| [&[4, 0, 0, 0], &group[..]].concat()));
    ipv4(from, [224, 0, 0, 22], 2, &message)
}

/// A general query of IGMP version 2 (RFC 2236), as a router or a bridge that asks sends it.
pub fn igmp_query(from: Mac) -> Vec<u8> {
    ipv4(from, [224, 0, 0, 1], 2, &[0x11, 100, 0, 0, 0, 0, 0, 0])
}

/// An MLD report of version 2: the host listens to the group ff05::n (RFC 3810, 5.2).
pub fn mld_v2_report(from: Mac, n: u32) -> Vec<u8> {
    let [a, b, c, d] = n.to_be_bytes();
    let source = [0xFE, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, from[4], from[5]];
    let routers = [0xFF, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x16];
    let head = [&[0x33, 0x33, 0, 0, 0, 0x16], &from[..], &[0x86, 0xDD, 0x60, 0, 0, 0, 0, 36, 0, 1]].concat();
    let options = [58, 0, 5, 2, 0, 0, 1, 0];
    let message =
        [143, 0, 0, 0, 0, 0, 0, 1, 4, 0, 0, 0, 0xFF, 0x05, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, a, b, c, d];
    [&head[..], &source, &routers, &options, &message].concat()
}

/// A datagram to a group.
pub fn to_group(from: Mac, group: [u8; 4], n: u32) -> Vec<u8> {
    let message = [&[0x30, 0x39, 0x30, 0x39, 0, 12, 0, 0], &n.to_be_bytes()[..]].concat();
    ipv4(from, group, 17, &message)
}

/// A packet with identification 0 to a group, whose address on the cable follows from it (RFC 1112, 6.4).
fn ipv4(from: Mac, group: [u8; 4], protocol: u8, message: &[u8]) -> Vec<u8> {
    let to = [0x01, 0, 0x5E, group[1] & 0x7F, group[2], group[3]];
    let length = (20 + message.len()) as u16;
    let [high, low] = length.to_be_bytes();
    let header = [0x45, 0, high, low, 0, 0, 0, 0, 255, protocol, 0, 0, 10, 0, from[4], from[5]];
    [&to[..], &from, &[8, 0], &header, &group, message].concat()
}

/// Of wake-on-LAN: the address sixteen times.
pub fn wake(from: Mac, whom: Mac) -> Vec<u8> {
    let head = [&BROADCAST[..], &from, &[0x08, 0x42], &[0xFF; 6]].concat();
    [head, whom.repeat(16)].concat()
}
