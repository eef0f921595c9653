//! The fields that tshark reads in each frame, and what a parser with this crate's rules must therefore read.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::path::Path;
use std::process;

/// Requested columns; a column has one value for each layer of its kind, outermost first.
const FIELDS: [&str; 30] = [
    "frame.protocols",
    "eth.dst",
    "eth.src",
    "vlan.id",
    "ieee8021ad.id",
    "ieee8021ad.svid",
    "ieee8021ad.cvid",
    "ip.src",
    "ip.dst",
    "ip.flags.mf",
    "ip.frag_offset",
    "ipv6.src",
    "ipv6.dst",
    "ipv6.flow",
    "arp.src.proto_ipv4",
    "arp.dst.proto_ipv4",
    "tcp.srcport",
    "tcp.dstport",
    "udp.srcport",
    "udp.dstport",
    "sctp.srcport",
    "sctp.dstport",
    "dccp.srcport",
    "dccp.dstport",
    "esp.spi",
    "ah.spi",
    "arp.hw.type",
    "arp.hw.size",
    "arp.proto.type",
    "arp.proto.size",
];

/// The expected fields of one set of headers; `None` if a field does not exist.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Facts {
    pub macs: Option<(String, String)>,
    pub vlan: Option<u16>,
    pub tags: usize,
    pub addresses: Option<(IpAddr, IpAddr)>,
    pub fragment: bool,
    pub ports: Option<(u16, u16)>,
    pub spi: Option<u32>,
    pub flow_label: u32,
}

/// The fields of one frame as tshark reads them.
pub struct Reading {
    pub protocols: String,
    pub outer: Facts,
    pub innermost: Facts,
}

/// Reads all frames of a capture in one run of tshark, with reassembly off.
pub fn read(capture: &Path) -> Vec<Reading> {
    let mut command = process::Command::new("tshark");
    command.arg("-r").arg(capture).args(["-n", "-T", "fields", "-E", "separator=|", "-E", "occurrence=a"]);
    for option in ["ip.defragment", "ipv6.defragment", "tcp.desegment_tcp_streams"] {
        command.args(["-o", &format!("{option}:FALSE")]);
    }
    for field in FIELDS {
        command.args(["-e", field]);
    }
    let output = command.output().expect("tshark is installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).lines().map(Reading::new).collect()
}

type Columns<'a> = BTreeMap<&'static str, VecDeque<&'a str>>;

impl Reading {
    fn new(line: &str) -> Self {
        let mut columns: Columns<'_> = FIELDS
            .into_iter()
            .zip(line.split('|'))
            .map(|(name, values)| (name, values.split(',').filter(|value| !value.is_empty()).collect()))
            .collect();
        let protocols =
            columns.get_mut("frame.protocols").and_then(VecDeque::pop_front).unwrap_or("").to_owned();
        let mut layers: VecDeque<&str> = protocols.split(':').collect();
        let mut outer = Facts::default();
        if let Some(mac) = take(&mut columns, "eth.dst").zip(take(&mut columns, "eth.src")) {
            outer.macs = Some((mac.0.to_owned(), mac.1.to_owned()));
        }
        layers.pop_front();
        let mut enters = outer.read(&mut layers, &mut columns);
        let mut innermost = outer.clone();
        while enters {
            let mut inner =
                Facts { macs: outer.macs.clone(), vlan: outer.vlan, tags: outer.tags, ..Facts::default() };
            if layers.front() == Some(&"eth") {
                layers.pop_front();
            }
            enters = inner.read(&mut layers, &mut columns);
            (inner.vlan, inner.tags) = (outer.vlan, outer.tags);
            if inner.addresses.is_none() {
                break;
            }
            innermost = inner;
        }
        Self { protocols, outer, innermost }
    }
}

fn take<'a>(columns: &mut Columns<'a>, name: &str) -> Option<&'a str> {
    columns.get_mut(name)?.pop_front()
}

fn number(text: &str) -> u32 {
    match text.strip_prefix("0x") {
        Some(hex) => u32::from_str_radix(hex, 16),
        None => text.parse(),
    }
    .unwrap_or_else(|error| panic!("{text}: {error}"))
}

impl Facts {
    /// Consumes the layers up to and including the transport; returns whether a tunnel follows that the parser reads.
    fn read(&mut self, layers: &mut VecDeque<&str>, columns: &mut Columns<'_>) -> bool {
        while let Some(layer) = layers.pop_front() {
            match layer {
                "ethertype" | "llc" | "mpls" => {}
                "pppoes" if layers.front() == Some(&"ppp") => {
                    layers.pop_front();
                }
                // A customer tag after a service tag belongs to the same tshark layer.
                "ieee8021ad" => match take(columns, "ieee8021ad.svid") {
                    Some(id) => {
                        self.take_tag(Some(id));
                        self.take_tag(take(columns, "ieee8021ad.cvid"));
                    }
                    None => self.take_tag(take(columns, "ieee8021ad.id")),
                },
                "vlan" => self.take_tag(take(columns, "vlan.id")),
                "arp" => {
                    let fields = ["arp.hw.type", "arp.hw.size", "arp.proto.type", "arp.proto.size"];
                    if fields.map(|name| take(columns, name).map(number)) == [1, 6, 0x0800, 4].map(Some) {
                        self.take_addresses(columns, "arp.src.proto_ipv4", "arp.dst.proto_ipv4");
                    }
                    return false;
                }
                "ip" => {
                    self.take_addresses(columns, "ip.src", "ip.dst");
                    let more = take(columns, "ip.flags.mf").is_some_and(|more| number(more) != 0);
                    let offset = take(columns, "ip.frag_offset").is_some_and(|offset| number(offset) != 0);
                    self.fragment = more || offset;
                    return self.read_transport(layers, columns);
                }
                "ipv6" => {
                    self.take_addresses(columns, "ipv6.src", "ipv6.dst");
                    self.flow_label = take(columns, "ipv6.flow").map_or(0, number);
                    return self.read_transport(layers, columns);
                }
                _ => return false,
            }
        }
        false
    }

    fn take_tag(&mut self, id: Option<&str>) {
        if self.tags == 0 {
            self.vlan = id.map(|id| number(id) as u16).filter(|id| (1..=4094).contains(id));
        }
        self.tags += 1;
    }

    fn take_addresses(&mut self, columns: &mut Columns<'_>, source: &str, destination: &str) {
        let pair = take(columns, source).zip(take(columns, destination));
        self.addresses = pair.map(|(source, destination)| {
            (source.parse().expect("an address"), destination.parse().expect("an address"))
        });
    }

    fn read_transport(&mut self, layers: &mut VecDeque<&str>, columns: &mut Columns<'_>) -> bool {
        while let Some(&layer) = layers.front() {
            let ports = match layer {
                "ipv6.hopopts" | "ipv6.dstopts" | "ipv6.routing" | "mipv6" | "hip" | "shim6" => {
                    layers.pop_front();
                    continue;
                }
                "ah" => {
                    layers.pop_front();
                    self.spi = take(columns, "ah.spi").map(number);
                    continue;
                }
                "ipv6.fraghdr" => {
                    self.fragment = true;
                    break;
                }
                "esp" => {
                    self.spi = take(columns, "esp.spi").map(number);
                    break;
                }
                "tcp" => ("tcp.srcport", "tcp.dstport"),
                "udp" | "udplite" => ("udp.srcport", "udp.dstport"),
                "sctp" => ("sctp.srcport", "sctp.dstport"),
                "dccp" => ("dccp.srcport", "dccp.dstport"),
                _ => break,
            };
            layers.pop_front();
            if !self.fragment {
                let pair = take(columns, ports.0).zip(take(columns, ports.1));
                self.ports =
                    pair.map(|(source, destination)| (number(source) as u16, number(destination) as u16));
                self.spi = None;
            }
            break;
        }
        if self.fragment {
            (self.ports, self.spi) = (None, None);
            return false;
        }
        self.enters(layers)
    }

    /// Consumes the tunnel's own layer.
    fn enters(&self, layers: &mut VecDeque<&str>) -> bool {
        match layers.front().copied() {
            Some("ip" | "ipv6") => self.ports.is_none(),
            Some("gre" | "vxlan" | "geneve" | "gtp") => {
                layers.pop_front();
                true
            }
            _ => false,
        }
    }
}
