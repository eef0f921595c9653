//! The adapters of the capture that become VMs. All other adapters are the external network, which reaches the VMs
//! through the team's members.
//!
//! `facts` reads a frame, `evidence` collects what all frames say, `judge` decides by it, and `which` is what the command
//! line says instead.

mod evidence;
mod facts;
mod judge;
mod range;
mod which;

use crate::text::count_of;
use anyhow::bail;
use evidence::{Adapter, Evidence};
use judge::{Inside, Verdict, judge};
use range::is_link_local;
use serde::Serialize;
use std::collections::BTreeMap;
use std::net::IpAddr;
use teaming::ids::MacAddr;
use vswitch::adapter::vmq::VnicAddress;

pub use judge::Role;
pub use which::{Which, mac};

/// The virtual machines, in the order of their MAC addresses, and the other adapters.
pub struct Hosts {
    inside: BTreeMap<MacAddr, usize>,
    pub machines: Vec<Listed>,
    /// Routers first.
    pub others: Vec<Listed>,
}

/// An adapter of the capture, and what it was taken for.
#[derive(Clone, Debug, Serialize)]
pub struct Listed {
    /// From 1; only of machines. `teamctl migrate --machine` takes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub machine: Option<usize>,
    #[serde(serialize_with = "as_text")]
    pub mac: MacAddr,
    pub role: Role,
    /// The evidence.
    pub why: String,
    /// Addresses that it sent from or said to be its own, the latter first; at most 64.
    pub addresses: Vec<IpAddr>,
    /// VLANs in which it sent; 0 is none.
    pub vlans: Vec<u16>,
    pub frames_sent: u64,
    /// Frames to its address alone.
    pub frames_received: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn as_text<S: serde::Serializer>(mac: &MacAddr, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&text_of(*mac))
}

/// With colons, as most tools write it.
pub fn text_of(mac: MacAddr) -> String {
    mac.0.map(|octet| format!("{octet:02x}")).join(":")
}

impl Listed {
    fn of(mac: MacAddr, verdict: &Verdict, adapter: Option<&Adapter>) -> Self {
        let mut sources: Vec<_> = adapter.into_iter().flat_map(|adapter| &adapter.sources).collect();
        sources.sort_by_key(|source| {
            (!source.is_claimed, is_link_local(source.address), source.address.is_ipv6(), source.address)
        });
        Self {
            machine: None,
            mac,
            role: verdict.role,
            why: verdict.why.clone(),
            addresses: sources.iter().map(|source| source.address).collect(),
            vlans: adapter.into_iter().flat_map(|adapter| &adapter.vlans).copied().collect(),
            frames_sent: adapter.map_or(0, |adapter| adapter.sent),
            frames_received: adapter.map_or(0, |adapter| adapter.received),
        }
    }

    /// The first address and the number of the others.
    pub fn addresses_in_short(&self) -> String {
        match self.addresses.as_slice() {
            [] => "-".to_owned(),
            [one] => one.to_string(),
            [first, rest @ ..] => format!("{first} +{}", rest.len()),
        }
    }
}

/// Largest number of VMs on one switch.
const MACHINES: usize = 1024;

/// The evidence of the frames so far.
#[derive(Default)]
pub struct Search(Evidence);

impl Search {
    pub fn see(&mut self, bytes: &[u8]) {
        self.0.see(bytes);
    }

    /// The machines by the evidence, or as `which` says.
    pub fn hosts(&self, which: &Which) -> anyhow::Result<Hosts> {
        let Self(evidence) = self;
        let private = range::private();
        let inside = match which.inside.as_slice() {
            [] => Inside { ranges: &private, is_said: false },
            said => Inside { ranges: said, is_said: true },
        };
        let mut verdicts = judge(evidence, &inside);
        let listed = |verdicts: &judge::Verdicts| -> Vec<Listed> {
            verdicts
                .iter()
                .map(|(mac, verdict)| Listed::of(*mac, verdict, evidence.adapters.get(mac)))
                .collect()
        };
        if let Err(error) = which.correct(evidence, &mut verdicts) {
            bail!("{error}; it has\n{}", choices(&listed(&verdicts)));
        }
        let (mut machines, mut others): (Vec<Listed>, Vec<Listed>) =
            listed(&verdicts).into_iter().partition(|listed| listed.role == Role::Machine);
        if machines.is_empty() {
            let why = if inside.is_said {
                "no adapter sends from inside the ranges of --inside"
            } else {
                "nothing in it says which of its adapters are inside"
            };
            bail!(
                "{why}; name them with --machines: MAC addresses, IP addresses or all, of\n{}",
                choices(&others)
            );
        }
        if machines.len() > MACHINES {
            bail!(
                "{} adapters of the capture are inside, more than the {MACHINES} machines of a switch; \
                 name fewer with --machines or --inside",
                machines.len()
            );
        }
        machines.iter_mut().zip(1..).for_each(|(machine, number)| machine.machine = Some(number));
        others.sort_by_key(|listed| (listed.role, std::cmp::Reverse(listed.frames_sent)));
        let inside = machines.iter().enumerate().map(|(number, machine)| (machine.mac, number)).collect();
        Ok(Hosts { inside, machines, others })
    }
}

/// Adapters to choose from, the busiest first, one a line.
fn choices(all: &[Listed]) -> String {
    const SHOWN: usize = 8;
    let mut all: Vec<&Listed> = all.iter().collect();
    all.sort_by_key(|listed| std::cmp::Reverse(listed.frames_sent));
    let mut lines: Vec<String> = all
        .iter()
        .take(SHOWN)
        .map(|listed| {
            format!(
                "  {}  {}  {} ({})",
                text_of(listed.mac),
                count_of(listed.frames_sent, "frame"),
                listed.addresses_in_short(),
                listed.why
            )
        })
        .collect();
    if all.is_empty() {
        lines.push("  no adapter at all: every frame is without a sender".to_owned());
    }
    if all.len() > SHOWN {
        lines.push(format!("  and {} more", all.len() - SHOWN));
    }
    lines.join("\n")
}

impl Hosts {
    /// The number of the VM with this adapter, from 0.
    pub fn machine(&self, mac: MacAddr) -> Option<usize> {
        self.inside.get(&mac).copied()
    }

    /// The receive filters of each VM: its address in each VLAN in which it sends, or in any VLAN if those are more
    /// than `most`.
    pub fn vnics(&self, most: usize) -> impl Iterator<Item = Vec<VnicAddress>> + '_ {
        self.machines.iter().map(move |machine| {
            let filter = |vid| VnicAddress { mac: machine.mac.0, vid };
            if machine.vlans.is_empty() || machine.vlans.len() > most {
                return vec![filter(None)];
            }
            machine.vlans.iter().map(|vid| filter(Some(*vid))).collect()
        })
    }

    pub fn macs(&self) -> impl ExactSizeIterator<Item = MacAddr> + '_ {
        self.machines.iter().map(|machine| machine.mac)
    }
}
