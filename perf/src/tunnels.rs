//! Tunnels under the policy Encapsulated: the ports at which they are read, and what fell back to a frame's own headers.

use crate::text::count_of;
use anyhow::bail;
use clap::Args;
use serde::Serialize;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use teaming::flow::HashPolicy;
use teaming::frame::{self, Headers, TunnelPorts};

#[derive(Args, Clone, Copy, Default)]
pub struct Tunnels {
    /// UDP port at which VXLAN is read beside 4789, with --policy encapsulated; Linux uses 8472
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub vxlan_port: Option<u16>,

    /// UDP port at which GENEVE is read beside 6081, with --policy encapsulated
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub geneve_port: Option<u16>,
}

impl Tunnels {
    pub fn ports(&self) -> TunnelPorts {
        TunnelPorts { vxlan: self.vxlan_port.unwrap_or(0), geneve: self.geneve_port.unwrap_or(0) }
    }

    /// The settings of the driver that say the same.
    pub fn settings(&self) -> [(&'static str, u32); 2] {
        let TunnelPorts { vxlan, geneve } = self.ports();
        [("VxlanPort", vxlan.into()), ("GenevePort", geneve.into())]
    }

    /// An option that would do nothing is refused.
    pub fn check(&self, policies: &[HashPolicy]) -> anyhow::Result<()> {
        let reads = policies.iter().any(|policy| policy.wants_innermost_headers());
        if self.ports() != TunnelPorts::REGISTERED && !reads {
            bail!(
                "a port of tunnels has no effect without --policy encapsulated; add that, or leave the port out"
            );
        }
        Ok(())
    }
}

/// By which headers frames were hashed.
#[derive(Clone, Debug, Default)]
pub struct Hashed {
    inner: u64,
    own: u64,
    /// Frames that fell back, by UDP destination port and the tunnel that they look like.
    ports: BTreeMap<(u16, Option<Kind>), u64>,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Vxlan,
    Geneve,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Vxlan => "VXLAN",
            Self::Geneve => "GENEVE",
        }
    }

    fn option(self) -> &'static str {
        match self {
            Self::Vxlan => "--vxlan-port",
            Self::Geneve => "--geneve-port",
        }
    }
}

/// What `--json` prints of it.
#[derive(Clone, Debug, Serialize)]
pub struct Told {
    pub by_inner_headers: u64,
    pub by_own_headers: u64,
    /// The UDP packets among the latter, the most frequent ports first.
    pub own_udp_ports: Vec<Port>,
}

#[derive(Clone, Copy, Debug, Serialize)]
pub struct Port {
    pub port: u16,
    pub frames: u64,
    pub looks_like: Option<Kind>,
}

/// UDP ports that are told.
const SHOWN: usize = 8;

impl Hashed {
    /// A frame left by the team under Encapsulated.
    pub fn see(&mut self, window: &[u8], ports: TunnelPorts) {
        if frame::parse_innermost(window, ports).tunnels() != 0 {
            self.inner += 1;
            return;
        }
        self.own += 1;
        let outer = frame::parse(window);
        if let Some((port, Some(UDP))) = outer.ports().map(|(_, port)| (port, outer.protocol())) {
            *self.ports.entry((port, looks_like(&outer, window, port))).or_default() += 1;
        }
    }

    pub fn told(&self) -> Told {
        let row =
            |(&(port, looks_like), &frames): (&(u16, Option<Kind>), &u64)| Port { port, frames, looks_like };
        let mut rows: Vec<Port> = self.ports.iter().map(row).collect();
        // What looks like a tunnel is worth more than what is frequent.
        rows.sort_by_key(|row| (row.looks_like.is_none(), Reverse(row.frames), row.port));
        rows.truncate(SHOWN);
        Told { by_inner_headers: self.inner, by_own_headers: self.own, own_udp_ports: rows }
    }
}

/// What could be read in a frame in which no tunnel is.
pub fn hint(window: &[u8]) -> Option<String> {
    let outer = frame::parse(window);
    let (_, port) = outer.ports().filter(|_| outer.protocol() == Some(UDP))?;
    let kind = looks_like(&outer, window, port)?;
    Some(format!(
        "at UDP port {port} is what looks like {}; with {} {port} the headers inside it would count",
        kind.name(),
        kind.option()
    ))
}

const UDP: u8 = 17;

/// The tunnel that would be read if this port were one.
fn looks_like(outer: &Headers, window: &[u8], port: u16) -> Option<Kind> {
    let none = TunnelPorts::REGISTERED;
    let tried = [
        (Kind::Vxlan, TunnelPorts { vxlan: port, ..none }),
        (Kind::Geneve, TunnelPorts { geneve: port, ..none }),
    ];
    let enters = |ports| frame::parse_innermost(window, ports).tunnels() > outer.tunnels();
    tried.into_iter().find(|(_, ports)| enters(*ports)).map(|(kind, _)| kind)
}

impl Told {
    /// As in "hashed by the headers in a tunnel: 7 frames; by their own: 3 frames", and what could be read beside.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = vec![format!(
            "by the headers in a tunnel {}, by their own {}",
            count_of(self.by_inner_headers, "frame"),
            count_of(self.by_own_headers, "frame")
        )];
        for Port { port, frames, looks_like } in self.own_udp_ports.iter().take(3) {
            if let Some(kind) = looks_like {
                lines.push(format!(
                    "  {} to UDP port {port} look like {}: {} {port}",
                    count_of(*frames, "frame"),
                    kind.name(),
                    kind.option()
                ));
            }
        }
        lines
    }
}
