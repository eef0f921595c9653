//! The adapters of the capture that become VMs. All other adapters are the external network, which reaches the VMs
//! through the team's members.

use anyhow::bail;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::str::FromStr;
use teaming::frame;
use teaming::ids::{MacAddr, VlanId};
use vswitch::adapter::vmq::VnicAddress;

/// An address range, as in `192.168.0.0/16`.
#[derive(Clone, Copy, Debug)]
pub struct Range {
    base: u128,
    mask: u128,
    is_v4: bool,
}

impl FromStr for Range {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("\"{text}\" is no address range; write one like 192.168.0.0/16 or fd00::/8");
        let (address, length) = text.split_once('/').ok_or_else(wrong)?;
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let length: u32 = length.parse().ok().filter(|&length| length <= bits).ok_or_else(wrong)?;
        let mask = u128::MAX.checked_shl(bits - length).unwrap_or(0);
        Ok(Self { base: number(address) & mask, mask, is_v4: address.is_ipv4() })
    }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u128::from(u32::from(v4)),
        IpAddr::V6(v6) => u128::from(v6),
    }
}

impl Range {
    fn contains(&self, address: IpAddr) -> bool {
        address.is_ipv4() == self.is_v4 && number(address) & self.mask == self.base
    }
}

/// Default address ranges of VMs: private and unique local addresses.
pub const PRIVATE: [&str; 4] = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"];

/// The virtual machines, in the order of their addresses.
pub struct Hosts {
    inside: BTreeMap<MacAddr, usize>,
    vlans: BTreeMap<MacAddr, BTreeSet<u16>>,
}

/// Information from the frames so far about the adapters of the capture.
#[derive(Default)]
pub struct Search {
    inside: BTreeSet<MacAddr>,
    outside: BTreeSet<MacAddr>,
    /// VLANs in which adapters with inside addresses sent; 0 is none.
    vlans: BTreeMap<MacAddr, BTreeSet<u16>>,
}

/// Largest number of VMs on one switch.
const MACHINES: usize = 1024;

impl Search {
    pub fn see(&mut self, bytes: &[u8], ranges: &[Range]) {
        let headers = frame::parse(&bytes[..bytes.len().min(frame::WINDOW_MAX)]);
        let Some((source, _)) = headers.addresses().filter(|_| is_adapter(headers.source)) else {
            return;
        };
        if says_nothing(source) {
            return;
        }
        let inside = ranges.iter().any(|range| range.contains(source));
        if inside {
            self.inside.insert(headers.source);
            self.vlans.entry(headers.source).or_default().insert(headers.vlan().map_or(0, VlanId::get));
        } else {
            self.outside.insert(headers.source);
        }
    }

    /// An adapter becomes a VM if it sent from inside addresses and from no others; a router sends from many.
    pub fn hosts(&self, ranges: &[Range]) -> anyhow::Result<Hosts> {
        let inside: BTreeMap<_, _> = self
            .inside
            .difference(&self.outside)
            .copied()
            .enumerate()
            .map(|(number, mac)| (mac, number))
            .collect();
        if inside.is_empty() {
            bail!(
                "no frame of the capture was sent from inside; say which addresses are, with --inside RANGE \
                 (it was {})",
                ranges.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
            );
        }
        if inside.len() > MACHINES {
            bail!(
                "{} adapters of the capture are inside, more than the {MACHINES} machines of a switch; \
                 name fewer with --inside RANGE",
                inside.len()
            );
        }
        Ok(Hosts { inside, vlans: self.vlans.clone() })
    }
}

impl Hosts {
    /// The number of the VM with this adapter, from 0.
    pub fn machine(&self, mac: MacAddr) -> Option<usize> {
        self.inside.get(&mac).copied()
    }

    /// The receive filters of each VM: its address in each VLAN in which it sends, or in any VLAN if those are more
    /// than `most`.
    pub fn vnics(&self, most: usize) -> impl Iterator<Item = Vec<VnicAddress>> + '_ {
        self.inside.keys().map(move |mac| {
            let vlans = self.vlans.get(mac).into_iter().flatten();
            let each: Vec<VnicAddress> =
                vlans.map(|vid| VnicAddress { mac: mac.0, vid: Some(*vid) }).collect();
            let any = vec![VnicAddress { mac: mac.0, vid: None }];
            if each.is_empty() || each.len() > most { any } else { each }
        })
    }

    pub fn macs(&self) -> impl ExactSizeIterator<Item = MacAddr> + '_ {
        self.inside.keys().copied()
    }
}

impl std::fmt::Display for Range {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let length = self.mask.count_ones() - if self.is_v4 { 96 } else { 0 };
        let address: IpAddr = match u32::try_from(self.base) {
            Ok(base) if self.is_v4 => IpAddr::V4(base.into()),
            _ => IpAddr::V6(self.base.into()),
        };
        write!(out, "{address}/{length}")
    }
}

/// Whether the address can be an adapter's: neither a group address nor the zero address of a loopback interface.
fn is_adapter(mac: MacAddr) -> bool {
    !mac.is_multicast() && mac != MacAddr::ZERO
}

/// Unspecified and link-local addresses, which every adapter may use.
fn says_nothing(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_unspecified() || v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unspecified() || v6.is_unicast_link_local(),
    }
}
