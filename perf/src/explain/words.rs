//! What the parser read of a frame, what it did not read or use, and what a key is made of, in words.

use super::model::Rules;
use crate::hosts::text_of;
use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use teaming::flow::{Basis, FlowKey, HashPolicy, KeyKind};
use teaming::forward::reasons::Choice;
use teaming::frame::{
    EXTENSIONS_MAX, Headers, LABELS_MAX, Network, Stop, TAGS_MAX, TUNNELS_MAX, Transport, WINDOW_MAX,
};
use teaming::ids::MacAddr;

const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86DD;
const ARP: u16 = 0x0806;
const MPLS: [u16; 2] = [0x8847, 0x8848];
const PPPOE: u16 = 0x8864;
/// Smaller values are a length (IEEE 802.3, 3.2.6).
const ETHERTYPES: u16 = 0x0600;

/// The name of a protocol in an IP header.
pub fn protocol(number: u8) -> String {
    match number {
        1 => "ICMP",
        2 => "IGMP",
        4 => "IPv4 in IP",
        6 => "TCP",
        17 => "UDP",
        33 => "DCCP",
        41 => "IPv6 in IP",
        47 => "GRE",
        50 => "ESP",
        51 => "AH",
        58 => "ICMPv6",
        89 => "OSPF",
        132 => "SCTP",
        136 => "UDP-Lite",
        other => return format!("protocol {other}"),
    }
    .to_owned()
}

fn ethertype(number: u16) -> String {
    match number {
        IPV4 => "IPv4".to_owned(),
        IPV6 => "IPv6".to_owned(),
        ARP => "ARP".to_owned(),
        PPPOE => "a PPPoE session".to_owned(),
        number if MPLS.contains(&number) => "MPLS".to_owned(),
        length @ 0..ETHERTYPES => format!("an LLC frame (length {length})"),
        other => format!("EtherType 0x{other:04x}"),
    }
}

/// What was read, from the outside inwards.
pub fn read(headers: &Headers) -> String {
    let mut text = match headers.tunnels() {
        0 => "Ethernet".to_owned(),
        1 => "in a tunnel".to_owned(),
        more => format!("in {more} tunnels, one in the other"),
    };
    if headers.tunnels() == 0 && headers.tags() != 0 {
        let kind = if headers.is_service_tagged() { "service tag" } else { "tag" };
        let _ = match headers.vlan() {
            Some(vlan) => write!(text, ", {kind} of VLAN {}", vlan.get()),
            None => write!(text, ", {kind} without a VLAN"),
        };
        if headers.tags() > 1 {
            let _ = write!(text, " and {} more", headers.tags() - 1);
        }
    }
    match (headers.network, headers.addresses()) {
        (Network::Other, _) | (_, None) => {}
        (network, Some((from, to))) => {
            let name = match network {
                Network::V4 => "IPv4",
                Network::V6 => "IPv6",
                Network::Arp | Network::Other => "ARP",
            };
            let _ = write!(text, ", {name} {from} > {to}");
        }
    }
    if let Some(number) = headers.protocol() {
        let _ = write!(text, ", {}", protocol(number));
    }
    if let Some((from, to)) = headers.ports() {
        let _ = write!(text, " ports {from} > {to}");
    }
    if let Some(index) = headers.spi() {
        let _ = write!(text, ", security index 0x{index:x}");
    }
    if headers.transport == Transport::Fragment {
        text += ", a fragment";
    }
    if headers.network == Network::Other && headers.source != MacAddr::ZERO {
        let _ = write!(text, ", {}", ethertype(headers.ethertype));
    }
    text
}

/// A frame as far as it is there.
#[derive(Clone, Copy)]
pub struct Length {
    pub bytes: usize,
    /// The recorder kept only the first bytes.
    pub cut: bool,
}

impl Length {
    fn end(self) -> String {
        match self {
            Self { bytes, .. } if bytes > WINDOW_MAX => {
                format!("behind the first {WINDOW_MAX} bytes, which is all that the driver reads")
            }
            Self { bytes, cut: true } => format!("behind the {bytes} bytes that the recorder kept"),
            Self { bytes, cut: false } => format!("behind the end of the frame, which has {bytes} bytes"),
        }
    }
}

/// Why the parser stopped before the last header, if it did.
fn stopped(headers: &Headers, length: Length) -> Option<String> {
    let at = if headers.tag_is_cut() {
        "a VLAN tag".to_owned()
    } else {
        match headers.network {
            Network::Other if headers.source == MacAddr::ZERO && headers.ethertype == 0 => {
                "the Ethernet header".to_owned()
            }
            Network::Other => format!("the header of {}", ethertype(headers.ethertype)),
            Network::V4 | Network::V6 | Network::Arp => "the header behind the IP header".to_owned(),
        }
    };
    match headers.stop {
        Stop::Not => None,
        Stop::Window => Some(format!("{at} lies {}", length.end())),
        Stop::Malformed => Some(format!("{at} is damaged: its version or length cannot be")),
        Stop::Depth if MPLS.contains(&headers.ethertype) && headers.network == Network::Other => {
            Some(format!("there are more than {LABELS_MAX} MPLS labels"))
        }
        Stop::Depth if headers.network == Network::Other => {
            Some(format!("there are more than {TAGS_MAX} VLAN tags, and nothing behind them is read"))
        }
        Stop::Depth => {
            Some(format!("there are more than {EXTENSIONS_MAX} headers between IP and what it carries"))
        }
    }
}

/// What of the frame did not count, and why. `innermost` is what the parser reads inside tunnels.
pub fn unused(
    outer: &Headers,
    innermost: &Headers,
    choice: &Choice,
    rules: &Rules,
    length: Length,
) -> Vec<String> {
    let mut all = Vec::new();
    match rules.policy {
        HashPolicy::HyperVPort => {
            all.push("nothing of the frame counts: the policy goes by the port of its sender and by its seat, which depends on the machines that were there before"
                    .to_owned());
            return all;
        }
        HashPolicy::VlanSourceMac => {
            all.push("addresses of IP and ports do not count: the policy goes by the sender's MAC address and VLAN".to_owned());
            return all;
        }
        HashPolicy::MacAddresses => {
            all.push(
                "IP addresses and ports do not count: the policy goes by the two MAC addresses".to_owned(),
            );
            return all;
        }
        HashPolicy::IpAddresses if choice.basis == Basis::Policy => {
            all.push("ports and protocol do not count: the policy goes by the two IP addresses".to_owned());
        }
        HashPolicy::IpAddresses | HashPolicy::TransportPorts | HashPolicy::Encapsulated => {}
    }
    let hashed = &choice.hashed;
    match (choice.basis, rules.policy) {
        (_, HashPolicy::IpAddresses) if hashed.network != Network::Other => {}
        (Basis::Fragment, _) => all.push(
            "ports of a fragment are not read, not even of the first: only so all fragments of a packet take one member"
                .to_owned(),
        ),
        (Basis::NoPorts, _) => all.push(no_ports(hashed, rules)),
        (Basis::NotIp, _) => all.push(format!(
            "{} is no IP and no ARP for IPv4, so the two MAC addresses count",
            ethertype(hashed.ethertype)
        )),
        (Basis::NotEncapsulated, _) => {
            let or_at = |port: u16| if port == 0 { String::new() } else { format!(" or {port}") };
            all.push(format!(
                "there is no tunnel that the driver reads (GRE, NVGRE, VXLAN at port 4789{}, GENEVE at 6081{}, GTP-U at \
                 2152, IP in IP) with IP or ARP inside, so the frame's own headers count",
                or_at(rules.tunnels.vxlan),
                or_at(rules.tunnels.geneve)
            ));
        }
        (Basis::CutShort | Basis::TooDeep | Basis::Malformed, HashPolicy::Encapsulated)
            if stopped(outer, length).is_none() =>
        {
            all.push(match hashed.stop {
                Stop::Depth if usize::from(hashed.tunnels()) == TUNNELS_MAX => {
                    format!("there are more than {TUNNELS_MAX} tunnels, one in the other")
                }
                Stop::Window => format!("a header of the tunnel or inside it lies {}", length.end()),
                _ => "a header of the tunnel or inside it is damaged or one too many".to_owned(),
            });
        }
        (Basis::CutShort | Basis::TooDeep | Basis::Malformed, _) => all.extend(stopped(hashed, length)),
        (Basis::Policy, _) => {}
    }
    let inside = innermost.tunnels() != 0 && !rules.policy.wants_innermost_headers();
    if inside {
        all.push(format!(
            "{}: the policy goes by the frame's own headers; Encapsulated would go by these",
            read(innermost)
        ));
    }
    if hashed.flow_label() != 0 && KeyKind::of(&choice.key) != Some(KeyKind::FlowLabel) {
        let why = match (rules.policy, rules.flow_label) {
            (HashPolicy::IpAddresses, _) => "the policy goes by addresses",
            (_, false) => "UseIpv6FlowLabel is off",
            (_, true) if rules.symmetric => "SymmetricHash leaves it out",
            (_, true) => "not in fragments",
        };
        all.push(format!("the flow label 0x{:05x} does not count: {why}", hashed.flow_label()));
    }
    if outer.tags() != 0 {
        all.push("the VLAN does not count under this policy".to_owned());
    }
    all
}

fn no_ports(hashed: &Headers, rules: &Rules) -> String {
    if hashed.spi().is_some() && rules.symmetric {
        return "the security index differs by direction, and SymmetricHash leaves it out".to_owned();
    }
    match (hashed.network, hashed.protocol()) {
        (Network::Arp, _) => "ARP has no ports, so the addresses of sender and target count".to_owned(),
        (_, Some(number)) => format!("{} has no ports, so addresses and protocol count", protocol(number)),
        (_, None) => "there are no ports, so addresses count".to_owned(),
    }
}

/// The fields of a key, read from its bytes: what is hashed, and not what was meant.
pub fn key(key: &FlowKey) -> String {
    let bytes = key.bytes();
    let long = matches!(key, FlowKey::Long(_));
    let (addresses, tail) = bytes.split_at(if long { 32 } else { 8 });
    let (from, to) = addresses.split_at(addresses.len() / 2);
    let ends = [from, to].map(|end| match (<[u8; 4]>::try_from(end), <[u8; 16]>::try_from(end)) {
        (Ok(v4), _) => IpAddr::from(Ipv4Addr::from(v4)).to_string(),
        (_, Ok(v6)) => IpAddr::from(Ipv6Addr::from(v6)).to_string(),
        _ => String::new(),
    });
    let ends = ends.join(" > ");
    let word =
        |at: usize| tail.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map(u32::from_be_bytes);
    let fields = word(0).unwrap_or(0);
    let (high, low) = (fields >> 16, fields & 0xFFFF);
    let carried = tail.get(4).copied().unwrap_or(0);
    let of_carried = if carried == 0 { "no protocol".to_owned() } else { protocol(carried) };
    let mac = |at: usize| {
        let octets = bytes.get(at..at + 6).and_then(|bytes| bytes.try_into().ok());
        octets.map_or_else(String::new, |octets| text_of(MacAddr(octets)))
    };
    match KeyKind::of(key) {
        Some(KeyKind::Ports) => format!("addresses {ends}, ports {high} > {low}, {of_carried}"),
        Some(KeyKind::Addresses) => format!("addresses {ends}, {of_carried}"),
        Some(KeyKind::AddressPair) => format!("addresses {ends}"),
        Some(KeyKind::FlowLabel) => format!("addresses {ends}, flow label 0x{:05x}", fields.swap_bytes()),
        Some(KeyKind::Spi) => format!("addresses {ends}, security index 0x{fields:x}, {of_carried}"),
        Some(KeyKind::Macs) => format!("MAC addresses {} > {}", mac(6), mac(0)),
        Some(KeyKind::VlanMac) => {
            let vlan = bytes.get(6..8).and_then(|bytes| bytes.try_into().ok()).map_or(0, u16::from_le_bytes);
            format!(
                "sender {}, {}",
                mac(0),
                if vlan == 0 { "no VLAN".to_owned() } else { format!("VLAN {vlan}") }
            )
        }
        Some(KeyKind::SwitchPort) => {
            let port = bytes.get(..4).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_le_bytes);
            let index = bytes.get(4..6).and_then(|bytes| bytes.try_into().ok()).map_or(0, u16::from_le_bytes);
            let seat = bytes.get(6..8).and_then(|bytes| bytes.try_into().ok()).map_or(0, u16::from_le_bytes);
            format!("port {port} of the switch, NIC {index}, seat {seat}")
        }
        None => String::new(),
    }
}

/// The name of a kind in JSON.
pub fn kind(key: &FlowKey) -> &'static str {
    match KeyKind::of(key) {
        Some(KeyKind::Ports) => "ports",
        Some(KeyKind::Addresses) => "addresses",
        Some(KeyKind::Macs) => "mac_addresses",
        Some(KeyKind::SwitchPort) => "switch_port",
        Some(KeyKind::AddressPair) => "address_pair",
        Some(KeyKind::FlowLabel) => "flow_label",
        Some(KeyKind::Spi) => "security_index",
        Some(KeyKind::VlanMac) => "vlan_mac",
        None => "unknown",
    }
}
