//! A flow as it is written on the command line, and the frame that is made of it, which the driver's parser then reads
//! like any other.

use crate::hosts;
use std::net::IpAddr;
use std::str::FromStr;
use teaming::frame::{self, Stop};
use teaming::ids::MacAddr;

/// `10.0.0.5:49152>192.0.2.1:443/tcp`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Flow {
    ends: Ends,
    protocol: Protocol,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Ends {
    Ip([IpAddr; 2]),
    Mac([MacAddr; 2]),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Protocol {
    Ports(u8, [u16; 2]),
    /// ESP with its security parameters index.
    Esp(u32),
    Other(u8),
    Arp,
    /// Not IP.
    Ethertype(u16),
}

/// The addresses and the tag of the frame that is made.
#[derive(Clone, Copy, Debug)]
pub struct Around {
    pub source: MacAddr,
    pub destination: MacAddr,
    pub vlan: Option<u16>,
}

const TCP: u8 = 6;
const ESP: u8 = 50;
const ETHERTYPE_ARP: u16 = 0x0806;

/// Names of protocols, their numbers, and whether they have ports.
const PROTOCOLS: [(&str, u8, bool); 11] = [
    ("tcp", TCP, true),
    ("udp", 17, true),
    ("sctp", 132, true),
    ("dccp", 33, true),
    ("udplite", 136, true),
    ("icmp", 1, false),
    ("icmpv6", 58, false),
    ("igmp", 2, false),
    ("gre", 47, false),
    ("ipip", 4, false),
    ("ospf", 89, false),
];

const HOW: &str = "write one like \"10.0.0.5:49152>192.0.2.1:443/tcp\", \"[2001:db8::5]:53>[2001:db8::1]:53/udp\", \
                   \"10.0.0.5>192.0.2.1/icmp\" or \"02:00:00:00:00:05>02:00:00:00:00:01/0x88b5\"";

impl FromStr for Flow {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |why: &str| format!("\"{text}\" is no flow: {why}; {HOW}");
        let bare = text.trim().trim_matches('"');
        let (ends, protocol) = bare.rsplit_once('/').ok_or_else(|| wrong("it names no protocol"))?;
        let (from, to) = ends
            .split_once('>')
            .or_else(|| ends.split_once(','))
            .ok_or_else(|| wrong("it has no > between two ends"))?;
        let (from, to) = (End::read(from.trim()), End::read(to.trim()));
        let (Some(from), Some(to)) = (from, to) else { return Err(wrong("an end is no address")) };
        let (ends, ports) = match (from, to) {
            (End::Mac(from), End::Mac(to)) => (Ends::Mac([from, to]), None),
            (End::Ip(from, from_port), End::Ip(to, to_port)) if from.is_ipv4() == to.is_ipv4() => {
                let ports = match (from_port, to_port) {
                    (Some(from), Some(to)) => Some([from, to]),
                    (None, None) => None,
                    _ => return Err(wrong("one end has a port and the other none")),
                };
                (Ends::Ip([from, to]), ports)
            }
            _ => return Err(wrong("its ends are of different families")),
        };
        let protocol = Protocol::read(protocol.trim(), ends, ports).map_err(|why| wrong(&why))?;
        let flow = Self { ends, protocol };
        if flow.is_read_further() {
            return Err(format!(
                "\"{text}\" is not enough: the driver reads what follows the header of this protocol; \
                 explain a frame of a capture, with --capture FILE --frame N"
            ));
        }
        Ok(flow)
    }
}

/// One end, with its port.
enum End {
    Ip(IpAddr, Option<u16>),
    Mac(MacAddr),
}

impl End {
    fn read(text: &str) -> Option<Self> {
        if let Some(mac) = hosts::mac(text) {
            return Some(Self::Mac(mac));
        }
        if let Ok(address) = text.trim_matches(['[', ']']).parse() {
            return Some(Self::Ip(address, None));
        }
        let (address, port) = text.rsplit_once(':')?;
        let address = match address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            Some(v6) => IpAddr::V6(v6.parse().ok()?),
            None => IpAddr::V4(address.parse().ok()?),
        };
        Some(Self::Ip(address, Some(port.parse().ok()?)))
    }
}

impl Protocol {
    fn read(text: &str, ends: Ends, ports: Option<[u16; 2]>) -> Result<Self, String> {
        let lower = text.to_ascii_lowercase();
        if let Ends::Mac(_) = ends {
            let number = lower.strip_prefix("0x").and_then(|digits| u16::from_str_radix(digits, 16).ok());
            return match number {
                Some(ethertype @ 0x0600..) if ![0x0800, 0x86DD].contains(&ethertype) => {
                    Ok(Self::Ethertype(ethertype))
                }
                _ => Err(format!("{text} is no EtherType of 0x0600 to 0xffff without IP")),
            };
        }
        if lower == "arp" {
            let Ends::Ip([IpAddr::V4(_), IpAddr::V4(_)]) = ends else {
                return Err("ARP is for IPv4".to_owned());
            };
            return if ports.is_none() { Ok(Self::Arp) } else { Err("ARP has no ports".to_owned()) };
        }
        if let Some(index) = lower.strip_prefix("esp:") {
            let number = match index.strip_prefix("0x") {
                Some(digits) => u32::from_str_radix(digits, 16),
                None => index.parse(),
            };
            return match (number, ports) {
                (Ok(number), None) => Ok(Self::Esp(number)),
                (Err(_), _) => Err(format!("{index} is no index of 0 to 0xffffffff")),
                (Ok(_), Some(_)) => Err("ESP has no ports".to_owned()),
            };
        }
        let named = PROTOCOLS.iter().find(|(name, ..)| *name == lower);
        let number = named.map(|(_, number, _)| *number).or_else(|| lower.parse().ok());
        let Some(number) = number else {
            return Err(format!(
                "{text} is no protocol; known are {}, esp:INDEX, arp, and 0 to 255",
                PROTOCOLS.map(|(name, ..)| name).join(", ")
            ));
        };
        let has_ports = PROTOCOLS.iter().any(|(_, known, ports)| *known == number && *ports);
        match (has_ports, ports) {
            (true, Some(ports)) => Ok(Self::Ports(number, ports)),
            (false, None) => Ok(Self::Other(number)),
            (true, None) => Err(format!("{text} has ports, and it names none")),
            (false, Some(_)) => Err(format!("{text} has no ports, and it names some")),
        }
    }
}

impl Flow {
    /// The addresses of the adapters, if they are its ends.
    pub fn macs(&self) -> Option<[MacAddr; 2]> {
        match self.ends {
            Ends::Mac(ends) => Some(ends),
            Ends::Ip(_) => None,
        }
    }

    /// Whether the driver, reading a packet of this protocol, goes on behind the IP header and finds no more.
    fn is_read_further(&self) -> bool {
        let Protocol::Other(number) = self.protocol else { return false };
        let nobody = Around { source: MacAddr::ZERO, destination: MacAddr::ZERO, vlan: None };
        let headers = frame::parse(&self.frame(&nobody));
        headers.stop != Stop::Not
            || headers.protocol() != Some(number)
            || headers.ports().is_some()
            || headers.spi().is_some()
    }

    /// A frame of the flow, as a machine sends it.
    pub fn frame(&self, around: &Around) -> Vec<u8> {
        let mut frame = [around.destination.0, around.source.0].concat();
        if let Some(vlan) = around.vlan {
            frame.extend([0x81, 0]);
            frame.extend(vlan.to_be_bytes());
        }
        let payload = match self.protocol {
            Protocol::Ports(number, [from, to]) => {
                let mut segment = [from.to_be_bytes(), to.to_be_bytes()].concat();
                segment.resize(20, 0);
                Some((number, segment))
            }
            Protocol::Esp(index) => {
                let mut header = index.to_be_bytes().to_vec();
                header.resize(20, 0);
                Some((ESP, header))
            }
            Protocol::Other(number) => Some((number, vec![0; 20])),
            Protocol::Arp | Protocol::Ethertype(_) => None,
        };
        match (self.ends, self.protocol, payload) {
            (Ends::Ip([IpAddr::V4(from), IpAddr::V4(to)]), _, Some((number, payload))) => {
                frame.extend([8, 0, 0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, number, 0, 0]);
                frame.extend(from.octets().into_iter().chain(to.octets()).chain(payload));
            }
            (Ends::Ip([IpAddr::V6(from), IpAddr::V6(to)]), _, Some((number, payload))) => {
                frame.extend([0x86, 0xDD, 0x60, 0, 0, 0, 0, 20, number, 64]);
                frame.extend(from.octets().into_iter().chain(to.octets()).chain(payload));
            }
            (Ends::Ip([IpAddr::V4(from), IpAddr::V4(to)]), Protocol::Arp, None) => {
                frame.extend(ETHERTYPE_ARP.to_be_bytes());
                frame.extend([0, 1, 8, 0, 6, 4, 0, 1]);
                frame.extend(
                    around.source.0.into_iter().chain(from.octets()).chain([0; 6]).chain(to.octets()),
                );
            }
            (_, Protocol::Ethertype(ethertype), _) => frame.extend(ethertype.to_be_bytes()),
            _ => {}
        }
        frame.resize(frame.len().max(60), 0);
        frame
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::Reader;
    use teaming::flow::HashPolicy;

    const AROUND: Around =
        Around { source: MacAddr([2, 0, 0, 0, 0, 5]), destination: MacAddr([2, 0, 0, 0, 0, 1]), vlan: None };

    fn read(text: &str, vlan: Option<u16>) -> String {
        let flow: Flow = text.parse().unwrap_or_else(|error| panic!("{error}"));
        let (_, label) =
            Reader::new(HashPolicy::TransportPorts).read(&flow.frame(&Around { vlan, ..AROUND }));
        format!("{} {label}", label.protocol())
    }

    #[test]
    fn a_flow_becomes_the_frame_that_the_parser_reads_as_that_flow() {
        for vlan in [None, Some(1), Some(4094)] {
            for (written, expected) in [
                ("10.0.0.5:49152>192.0.2.1:443/tcp", "TCP 10.0.0.5:49152 > 192.0.2.1:443"),
                ("\"10.0.0.5:0 > 192.0.2.1:65535/UDP\"", "UDP 10.0.0.5:0 > 192.0.2.1:65535"),
                ("10.0.0.5:1,192.0.2.1:2/sctp", "SCTP 10.0.0.5:1 > 192.0.2.1:2"),
                ("[2001:db8::5]:53>[2001:db8::1]:54/udp", "UDP [2001:db8::5]:53 > [2001:db8::1]:54"),
                ("2001:db8::5>2001:db8::1/icmpv6", "ICMPv6 2001:db8::5 > 2001:db8::1"),
                ("[2001:db8::5]>[2001:db8::1]/59", "IP 59 2001:db8::5 > 2001:db8::1"),
                ("10.0.0.5>192.0.2.1/icmp", "ICMP 10.0.0.5 > 192.0.2.1"),
                ("10.0.0.5>192.0.2.1/gre", "GRE 10.0.0.5 > 192.0.2.1"),
                ("10.0.0.5>192.0.2.1/esp:0x1001", "ESP 10.0.0.5 > 192.0.2.1"),
                ("10.0.0.5>192.0.2.1/arp", "ARP 10.0.0.5 > 192.0.2.1"),
            ] {
                assert_eq!(read(written, vlan), expected, "{written}");
            }
        }
        // The ends of this one are the addresses of the frame itself.
        let flow: Flow = "02-00-00-00-00-07>02:00:00:00:00:08/0x88B5".parse().unwrap();
        let [source, destination] = flow.macs().unwrap();
        let frame = flow.frame(&Around { source, destination, vlan: Some(7) });
        let headers = frame::parse(&frame);
        assert_eq!((headers.source, headers.destination, headers.ethertype), (source, destination, 0x88B5));
        assert_eq!(headers.tag_vlan(), 7);
    }

    #[test]
    fn every_protocol_number_is_taken_as_it_is_read_or_refused_with_a_way_on() {
        let mut refused = Vec::new();
        for number in 0..=255_u8 {
            for ends in ["10.0.0.5>192.0.2.1", "2001:db8::5>2001:db8::1"] {
                match format!("{ends}/{number}").parse::<Flow>() {
                    Ok(flow) => {
                        let headers = frame::parse(&flow.frame(&AROUND));
                        assert_eq!(headers.protocol(), Some(number), "{ends}");
                    }
                    Err(error) => {
                        assert!(error.contains("--frame N") || error.contains("has ports"), "{error}");
                        refused.push((ends.contains("::"), number));
                    }
                }
            }
        }
        for (number, v4, v6) in
            [(6, true, true), (50, true, true), (51, true, true), (44, false, true), (1, false, false)]
        {
            assert_eq!(refused.contains(&(false, number)), v4, "{number}");
            assert_eq!(refused.contains(&(true, number)), v6, "{number}");
        }
    }

    #[test]
    fn what_is_no_flow_is_refused_with_the_reason_and_an_example() {
        for (wrong, why) in [
            ("", "names no protocol"),
            ("10.0.0.5:1>10.0.0.6:2", "names no protocol"),
            ("10.0.0.5:1/tcp", "no > between"),
            ("10.0.0.5:1>10.0.0.6/tcp", "one end has a port"),
            ("10.0.0.5>10.0.0.6/tcp", "tcp has ports"),
            ("10.0.0.5:1>10.0.0.6:2/icmp", "icmp has no ports"),
            ("10.0.0.5:1>10.0.0.6:65536/tcp", "an end is no address"),
            ("10.0.0.256>10.0.0.6/icmp", "an end is no address"),
            ("2001:db8::5:1>[2001:db8::1]:2/tcp", "one end has a port"),
            ("10.0.0.5:1>[2001:db8::1]:2/tcp", "different families"),
            ("10.0.0.5>02:00:00:00:00:01/icmp", "different families"),
            ("02:00:00:00:00:05>02:00:00:00:00:01/tcp", "no EtherType"),
            ("02:00:00:00:00:05>02:00:00:00:00:01/0x0800", "no EtherType"),
            ("10.0.0.5>10.0.0.6/esp:x", "no index"),
            ("10.0.0.5>10.0.0.6/nonsense", "known are tcp"),
            ("10.0.0.5>10.0.0.6/256", "0 to 255"),
            ("2001:db8::5>2001:db8::1/arp", "ARP is for IPv4"),
        ] {
            let error = wrong.parse::<Flow>().unwrap_err();
            assert!(
                error.contains(why) && error.contains("10.0.0.5:49152>192.0.2.1:443/tcp"),
                "{wrong}: {error}"
            );
        }
    }
}
