//! What one frame says about the adapter that sent it and the one that it is for.

use std::net::{IpAddr, Ipv6Addr};
use teaming::frame::{self, Network};
use teaming::ids::{MacAddr, VlanId};

/// Read from one frame.
pub struct Facts {
    pub source: MacAddr,
    pub destination: MacAddr,
    /// 0 for none.
    pub vlan: u16,
    /// Source and destination of an IP packet.
    pub addresses: Option<(IpAddr, IpAddr)>,
    /// The packet has passed a router, by what is left of its hops.
    pub is_routed: bool,
    /// The address that the sender says is its own, by ARP (RFC 826) or neighbour discovery (RFC 4861).
    pub claim: Option<IpAddr>,
    /// It asks for an address, by DHCP or an ARP probe.
    pub asks: bool,
    /// A protocol that only routers speak.
    pub speaks: Option<&'static str>,
    /// A protocol between the ends of one link, that bridges and switches speak.
    pub is_of_link: bool,
}

/// Values that senders begin with; a packet with another one above the smallest was passed on. Below 33 a packet may be
/// one of traceroute.
const FIRST_HOPS: [u8; 6] = [60, 64, 100, 128, 200, 255];
const FEW_HOPS: u8 = 32;

/// Loopback of Ethernet switches (the Ethernet Configuration Testing Protocol), and LLDP.
const OF_LINK: [u16; 2] = [0x9000, 0x88CC];
/// CDP, VTP, UDLD, PAgP.
const CISCO: MacAddr = MacAddr([0x01, 0x00, 0x0C, 0xCC, 0xCC, 0xCC]);

const ICMPV6: u8 = 58;
const ROUTER_ADVERTISEMENT: u8 = 134;
const NEIGHBOR_SOLICITATION: u8 = 135;
const NEIGHBOR_ADVERTISEMENT: u8 = 136;

impl Facts {
    /// `None` if the frame has no sender that could be an adapter: a group address, or none.
    pub fn of(bytes: &[u8]) -> Option<Self> {
        let window = bytes.get(..frame::WINDOW_MAX).unwrap_or(bytes);
        let headers = frame::parse(window);
        if !is_adapter(headers.source) {
            return None;
        }
        let packet = window.get(frame::ETHERNET_HEADER + 4 * usize::from(headers.tags())..).unwrap_or(&[]);
        let addresses = headers.addresses().filter(|_| is_ip(headers.network));
        let hops = match (headers.network, headers.ethertype) {
            (Network::V4, 0x0800) => packet.get(8).copied(),
            (Network::V6, 0x86DD) => packet.get(7).copied(),
            _ => None,
        };
        let claim = match headers.network {
            Network::Arp => headers.addresses().map(|(sender, _)| sender),
            Network::V6 if hops == Some(255) => discovery(packet, addresses),
            Network::V4 | Network::V6 | Network::Other => None,
        };
        let from_nowhere = |address: Option<IpAddr>| address.is_some_and(|address| address.is_unspecified());
        let asks = match headers.network {
            Network::Arp => from_nowhere(claim),
            Network::V4 => from_nowhere(addresses.map(|(from, _)| from)) && headers.ports() == Some((68, 67)),
            Network::V6 | Network::Other => false,
        };
        Some(Self {
            source: headers.source,
            destination: headers.destination,
            vlan: headers.vlan().map_or(0, VlanId::get),
            addresses,
            is_routed: hops.is_some_and(|hops| hops > FEW_HOPS && !FIRST_HOPS.contains(&hops)),
            claim: claim.filter(|address| !address.is_unspecified()),
            asks,
            speaks: speaks(&headers, packet, hops),
            is_of_link: headers.destination.link_local().is_some()
                || headers.destination == CISCO
                || OF_LINK.contains(&headers.ethertype),
        })
    }
}

/// Whether the address can be an adapter's: neither a group address nor the zero address of a loopback interface.
pub fn is_adapter(mac: MacAddr) -> bool {
    !mac.is_multicast() && mac != MacAddr::ZERO
}

fn is_ip(network: Network) -> bool {
    matches!(network, Network::V4 | Network::V6)
}

/// The sender's own address in neighbour discovery: the target of an advertisement, else the packet's source.
fn discovery(packet: &[u8], addresses: Option<(IpAddr, IpAddr)>) -> Option<IpAddr> {
    if packet.get(6) != Some(&ICMPV6) {
        return None;
    }
    match *packet.get(40)? {
        NEIGHBOR_ADVERTISEMENT => {
            let target = packet.get(48..64)?.first_chunk::<16>()?;
            Some(Ipv6Addr::from(*target).into())
        }
        NEIGHBOR_SOLICITATION | ROUTER_ADVERTISEMENT => addresses.map(|(from, _)| from),
        _ => None,
    }
}

/// Protocols of routers among themselves and towards hosts, all sent to groups.
fn speaks(headers: &frame::Headers, packet: &[u8], hops: Option<u8>) -> Option<&'static str> {
    let (_, to) = headers.addresses().filter(|(_, to)| to.is_multicast())?;
    let is_v6 = to.is_ipv6();
    match (headers.protocol()?, headers.ports()) {
        (ICMPV6, _) if is_v6 && hops == Some(255) => {
            (packet.get(40) == Some(&ROUTER_ADVERTISEMENT)).then_some("router advertisements")
        }
        (112, _) => Some("VRRP or CARP"),
        (89, _) => Some("OSPF"),
        (88, _) => Some("EIGRP"),
        (103, _) => Some("PIM"),
        (17, Some((_, 1985 | 2029))) => Some("HSRP"),
        (17, Some((_, 3222))) => Some("GLBP"),
        (17, Some((520, 520) | (521, 521))) => Some("RIP"),
        _ => None,
    }
}

/// The protocol by which routers share this address: the ranges are those of RFC 9568 (VRRP, also of CARP) and of
/// Cisco's HSRP and GLBP.
pub fn virtual_router(mac: MacAddr) -> Option<&'static str> {
    match mac.0 {
        [0x00, 0x00, 0x5E, 0x00, 0x01 | 0x02, _] => Some("VRRP/CARP"),
        [0x00, 0x00, 0x0C, 0x07, 0xAC, _] => Some("HSRP"),
        // Version 2, and for IPv6: 12 bits for the group.
        [0x00, 0x00, 0x0C, 0x9F, 0xF0..=0xFF, _] => Some("HSRP"),
        [0x00, 0x05, 0x73, 0xA0, 0x00..=0x0F, _] => Some("HSRP"),
        [0x00, 0x07, 0xB4, ..] => Some("GLBP"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mac(text: &str) -> MacAddr {
        let octets: Vec<u8> = text.split('-').map(|octet| u8::from_str_radix(octet, 16).unwrap()).collect();
        MacAddr(octets.try_into().unwrap())
    }

    #[test]
    fn addresses_that_routers_share_are_known_and_their_neighbours_are_not() {
        for (text, protocol) in [
            ("00-00-0c-07-ac-01", Some("HSRP")),
            ("00-00-0c-9f-f0-01", Some("HSRP")),
            ("00-00-0c-9f-ff-ff", Some("HSRP")),
            ("00-05-73-a0-00-01", Some("HSRP")),
            ("00-00-5e-00-01-33", Some("VRRP/CARP")),
            ("00-00-5e-00-02-33", Some("VRRP/CARP")),
            ("00-07-b4-00-01-02", Some("GLBP")),
            ("00-00-0c-07-ad-01", None),
            ("00-00-0c-9f-ef-01", None),
            ("00-00-5e-00-03-33", None),
            ("00-00-5e-00-52-13", None),
            ("00-07-b5-00-01-02", None),
        ] {
            assert_eq!(virtual_router(mac(text)), protocol, "{text}");
        }
    }

    fn ipv4(hops: u8, protocol: u8, to: [u8; 4], ports: [u16; 2]) -> Vec<u8> {
        let mut frame = vec![2, 0, 0, 0, 9, 9, 2, 0, 0, 0, 0, 5, 8, 0];
        frame.extend([0x45, 0, 0, 46, 0, 0, 0, 0, hops, protocol, 0, 0, 10, 0, 0, 5]);
        frame.extend(to.into_iter().chain(ports.into_iter().flat_map(u16::to_be_bytes)));
        frame.resize(60, 0);
        frame
    }

    #[test]
    fn a_packet_that_passed_a_router_shows_it_in_its_hops() {
        for (hops, routed) in [
            (64, false),
            (63, true),
            (128, false),
            (117, true),
            (255, false),
            (254, true),
            (1, false),
            (32, false),
        ] {
            let bytes = ipv4(hops, 17, [192, 0, 2, 7], [1, 53]);
            assert_eq!(Facts::of(&bytes).unwrap().is_routed, routed, "{hops}");
            let tagged = [&bytes[..12], &[0x81, 0, 0, 20], &bytes[12..]].concat();
            assert_eq!(Facts::of(&tagged).unwrap().is_routed, routed, "{hops}, tagged");
        }
    }

    #[test]
    fn protocols_of_routers_are_known_by_their_group() {
        let group = [224, 0, 0, 2];
        for (protocol, ports, name) in [
            (17, [1985, 1985], Some("HSRP")),
            (17, [3222, 3222], Some("GLBP")),
            (112, [0, 0], Some("VRRP or CARP")),
            (89, [0, 0], Some("OSPF")),
            (17, [5353, 5353], None),
            (2, [0, 0], None),
        ] {
            assert_eq!(Facts::of(&ipv4(1, protocol, group, ports)).unwrap().speaks, name);
            assert_eq!(Facts::of(&ipv4(64, protocol, [192, 0, 2, 7], ports)).unwrap().speaks, None);
        }
    }

    fn icmpv6(kind: u8, hops: u8) -> Vec<u8> {
        let mut frame =
            vec![0x33, 0x33, 0, 0, 0, 1, 2, 0, 0, 0, 0, 5, 0x86, 0xDD, 0x60, 0, 0, 0, 0, 24, 58, hops];
        frame.extend([0x20, 1, 0xD, 0xB8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5]);
        frame.extend([0xFF, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, kind, 0, 0, 0, 0, 0, 0, 0]);
        frame.extend([0x20, 1, 0xD, 0xB8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 6]);
        frame
    }

    #[test]
    fn who_answers_says_which_address_is_its_own() {
        let claim = |frame: &[u8]| Facts::of(frame).unwrap().claim.map(|address| address.to_string());
        assert_eq!(claim(&icmpv6(136, 255)).as_deref(), Some("2001:db8::6"));
        assert_eq!(claim(&icmpv6(135, 255)).as_deref(), Some("2001:db8::5"));
        assert_eq!(claim(&icmpv6(136, 254)), None, "it came from elsewhere");
        assert_eq!(claim(&icmpv6(128, 255)), None);
        assert_eq!(Facts::of(&icmpv6(134, 255)).unwrap().speaks, Some("router advertisements"));
        let mut arp = vec![0xFF; 6];
        arp.extend([2, 0, 0, 0, 0, 5, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 5, 10, 0, 0, 5]);
        arp.extend([0, 0, 0, 0, 0, 0, 10, 0, 0, 9]);
        assert_eq!(claim(&arp).as_deref(), Some("10.0.0.5"));
        arp[28..32].fill(0);
        let probe = Facts::of(&arp).unwrap();
        assert!(probe.asks && probe.claim.is_none());
        assert!(Facts::of(&[1; 60]).is_none(), "a group sends nothing");
    }
}
