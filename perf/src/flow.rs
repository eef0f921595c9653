//! Flows as the tool counts them, by the fields that the driver may hash, and their text form.

use std::fmt;
use std::net::IpAddr;
use teaming::flow::hash::{DEFAULT_SEED, hash};
use teaming::flow::{self, FlowKey, HashPolicy, Keying};
use teaming::frame::{self, Headers, Network, Transport, TunnelPorts};
use teaming::ids::{HashId, MacAddr, NicId, NicIndex, PortId};

/// Frames of one identity have one bucket under every policy. It consists of addresses and ports (of the innermost
/// headers if the policy hashes those), the pair of MAC addresses and the VLAN.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Identity {
    key: FlowKey,
    macs: (u64, u64),
    vlan: u16,
}

/// Reads the headers that the driver reads under a policy.
#[derive(Clone, Copy)]
pub struct Reader {
    keying: Keying,
    seed: u64,
}

impl Reader {
    pub fn new(policy: HashPolicy) -> Self {
        Self { keying: Keying::plain(policy), seed: DEFAULT_SEED }
    }

    /// Reads tunnels at these ports too.
    pub fn with_tunnels_at(self, tunnels: TunnelPorts) -> Self {
        Self { keying: Keying { tunnels, ..self.keying }, ..self }
    }

    /// Hashes with this `HashSeed`; 0 is the product's own.
    pub fn with_seed(self, seed: u64) -> Self {
        Self { seed: if seed == 0 { DEFAULT_SEED } else { seed }, ..self }
    }

    /// The ports at which tunnels are read, under a policy that reads them.
    pub fn tunnels(self) -> Option<TunnelPorts> {
        self.keying.policy.wants_innermost_headers().then_some(self.keying.tunnels)
    }

    /// The headers that decide, of the first bytes of a frame.
    fn headers(self, window: &[u8]) -> Headers {
        match self.tunnels() {
            Some(ports) => frame::parse_innermost(window, ports),
            None => frame::parse(window),
        }
    }

    pub fn read(self, bytes: &[u8]) -> (Identity, Label) {
        let window = &bytes[..bytes.len().min(frame::WINDOW_MAX)];
        let outer = frame::parse(window);
        let headers = if self.tunnels().is_some() { self.headers(window) } else { outer };
        let nowhere = NicId::new(PortId::DEFAULT, NicIndex::DEFAULT);
        let identity = Identity {
            key: flow::key(&headers, HashPolicy::TransportPorts, nowhere),
            macs: (outer.source.word(), outer.destination.word()),
            vlan: outer.vlan().map_or(0, teaming::ids::VlanId::get),
        };
        (identity, Label::of(&headers, outer.source, outer.destination))
    }

    /// The key of a frame from this NIC, and its bucket.
    pub fn key(self, bytes: &[u8], from: impl Into<HashId>) -> (FlowKey, usize) {
        let window = &bytes[..bytes.len().min(frame::WINDOW_MAX)];
        let key = self.keying.key(&self.headers(window), from, None);
        (key, hash(&key, self.seed).bucket().index())
    }
}

/// The text form of a flow.
#[derive(Clone, Copy, Debug)]
pub struct Label {
    ends: Ends,
    kind: LabelKind,
}

#[derive(Clone, Copy, Debug)]
enum Ends {
    Ip(IpAddr, IpAddr),
    Mac(MacAddr, MacAddr),
}

#[derive(Clone, Copy, Debug)]
enum LabelKind {
    Ports(u8, u16, u16),
    Fragment,
    Protocol(u8),
    Ethertype(u16),
}

impl Label {
    fn of(headers: &Headers, source: MacAddr, destination: MacAddr) -> Self {
        let protocol = headers.protocol();
        let kind = match (headers.ports(), protocol) {
            (Some((from, to)), Some(protocol)) => LabelKind::Ports(protocol, from, to),
            _ if headers.transport == Transport::Fragment => LabelKind::Fragment,
            (_, Some(protocol)) => LabelKind::Protocol(protocol),
            (_, None) if headers.network == Network::Arp => LabelKind::Ethertype(0x0806),
            (_, None) => LabelKind::Ethertype(headers.ethertype),
        };
        let ends = match headers.addresses() {
            Some((from, to)) if headers.network != Network::Other => Ends::Ip(from, to),
            _ => Ends::Mac(source, destination),
        };
        Self { ends, kind }
    }

    /// TCP, UDP and so on.
    pub fn protocol(&self) -> String {
        match self.kind {
            LabelKind::Fragment => "fragments".to_owned(),
            LabelKind::Ports(number, ..) | LabelKind::Protocol(number) => match number {
                1 => "ICMP".to_owned(),
                2 => "IGMP".to_owned(),
                6 => "TCP".to_owned(),
                17 => "UDP".to_owned(),
                47 => "GRE".to_owned(),
                50 => "ESP".to_owned(),
                58 => "ICMPv6".to_owned(),
                132 => "SCTP".to_owned(),
                other => format!("IP {other}"),
            },
            LabelKind::Ethertype(0x0806) => "ARP".to_owned(),
            LabelKind::Ethertype(other) => format!("{other:04x}"),
        }
    }
}

/// `192.168.10.11:443 > 203.0.113.10:51512`.
impl fmt::Display for Label {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ports = if let LabelKind::Ports(_, from, to) = self.kind { Some((from, to)) } else { None };
        match (self.ends, ports) {
            (Ends::Ip(from, to), Some((source, target))) => {
                end(out, from, source)?;
                out.write_str(" > ")?;
                end(out, to, target)
            }
            (Ends::Ip(from, to), None) => write!(out, "{from} > {to}"),
            (Ends::Mac(from, to), _) => write!(out, "{} > {}", mac(from), mac(to)),
        }
    }
}

fn end(out: &mut fmt::Formatter<'_>, address: IpAddr, port: u16) -> fmt::Result {
    match address {
        IpAddr::V4(v4) => write!(out, "{v4}:{port}"),
        IpAddr::V6(v6) => write!(out, "[{v6}]:{port}"),
    }
}

fn mac(address: MacAddr) -> String {
    address.0.map(|octet| format!("{octet:02x}")).join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(source: u8, tag: Option<u8>) -> Vec<u8> {
        let mut frame = vec![2, 0, 0, 0, 9, 9, 2, 0, 0, 0, 0, source];
        frame.extend(tag.into_iter().flat_map(|tag| [0x81, 0, 0, tag]));
        frame.extend([8, 0, 0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0, 10, 0, 0, 5, 192, 0, 2, 7]);
        frame.extend([0x30, 0x39, 1, 187]);
        frame.resize(60, 0);
        frame
    }

    #[test]
    fn a_flow_is_written_with_its_ends() {
        let (_, label) = Reader::new(HashPolicy::TransportPorts).read(&tcp(1, None));
        assert_eq!(label.to_string(), "10.0.0.5:12345 > 192.0.2.7:443");
        assert_eq!(label.protocol(), "TCP");
        let (_, label) = Reader::new(HashPolicy::TransportPorts).read(&[1; 14]);
        assert_eq!(label.to_string(), "01-01-01-01-01-01 > 01-01-01-01-01-01");
    }

    #[test]
    fn adapters_and_vlans_keep_equal_tuples_apart() {
        let identity = |source, tag| Reader::new(HashPolicy::TransportPorts).read(&tcp(source, tag)).0;
        assert_eq!(identity(1, Some(7)), identity(1, Some(7)));
        assert_ne!(identity(1, Some(7)), identity(1, Some(8)));
        assert_ne!(identity(1, Some(7)), identity(2, Some(7)));
    }
}
