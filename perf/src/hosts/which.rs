//! `--inside` and `--machines`: who says which adapters of a capture are machines.

use super::evidence::{Adapter, Evidence};
use super::judge::{Role, Verdict, Verdicts};
use super::range::{Range, is_link_local};
use anyhow::bail;
use clap::Args;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::str::FromStr;
use teaming::ids::MacAddr;

#[derive(Args, Clone, Default)]
pub struct Which {
    /// Address ranges of the inside: adapters that send from them are machines, all others are not [default: by the
    /// evidence of the capture, in which private addresses count]
    #[arg(long, value_name = "RANGE,...", value_delimiter = ',')]
    pub inside: Vec<Range>,

    /// The adapters that are machines, instead of those that were guessed: MAC addresses, IP addresses, ranges, or
    /// "all" but routers; + and - before one add it to the guess or take it away
    #[arg(
        long,
        value_name = "WHICH,...",
        value_delimiter = ',',
        allow_hyphen_values = true,
        conflicts_with = "inside"
    )]
    pub machines: Vec<Pick>,
}

/// One part of `--machines`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pick {
    sign: Sign,
    target: Target,
    /// As it was written.
    text: String,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Sign {
    /// Begins a list of its own, without the guess.
    Nothing,
    Add,
    Take,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Target {
    All,
    Mac(MacAddr),
    Addresses(Range),
}

impl FromStr for Pick {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let (sign, name) = match text.as_bytes().first() {
            Some(b'+') => (Sign::Add, &text[1..]),
            Some(b'-') => (Sign::Take, &text[1..]),
            _ => (Sign::Nothing, text),
        };
        let target = if name == "all" {
            Target::All
        } else if let Some(mac) = mac(name) {
            Target::Mac(mac)
        } else if let Ok(range) = name.parse() {
            Target::Addresses(range)
        } else {
            return Err(format!(
                "\"{text}\" names no machine; write a MAC address, an IP address, a range as 10.0.0.0/8, or all"
            ));
        };
        Ok(Self { sign, target, text: text.to_owned() })
    }
}

/// Six octets with colons or hyphens, three groups with dots, or twelve digits alone.
pub fn mac(text: &str) -> Option<MacAddr> {
    let digits: String = match text.len() {
        17 if text.split([':', '-']).all(|octet| octet.len() == 2) => text.split([':', '-']).collect(),
        14 if text.split('.').all(|group| group.len() == 4) => text.split('.').collect(),
        12 => text.to_owned(),
        _ => return None,
    };
    if digits.len() != 12 || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    let octets = u64::from_str_radix(&digits, 16).ok()?.to_be_bytes();
    let [_, _, mac @ ..] = octets;
    Some(MacAddr(mac))
}

impl Which {
    /// Corrects the guess; an error names what the capture does not have.
    pub fn correct(&self, evidence: &Evidence, verdicts: &mut Verdicts) -> anyhow::Result<()> {
        let Some(first) = self.machines.first() else { return Ok(()) };
        let guessed =
            verdicts.iter().filter(|(_, verdict)| verdict.role == Role::Machine).map(|(mac, _)| *mac);
        let mut chosen: BTreeSet<MacAddr> =
            if first.sign == Sign::Nothing { BTreeSet::new() } else { guessed.collect() };
        let mut named = BTreeSet::new();
        for pick in &self.machines {
            let found = pick.target.find(evidence, verdicts);
            if found.is_empty() {
                bail!("--machines {}: the capture has no such adapter", pick.text);
            }
            if pick.sign == Sign::Take {
                chosen.retain(|mac| !found.contains(mac));
            } else {
                named.extend(found.iter().copied());
                chosen.extend(found);
            }
        }
        if chosen.is_empty() {
            bail!("--machines leaves no adapter; name at least one");
        }
        for (mac, verdict) in verdicts.iter_mut() {
            let role = match (chosen.contains(mac), verdict.role) {
                (true, _) => Role::Machine,
                (false, Role::Gateway) => Role::Gateway,
                (false, Role::Machine | Role::External) => Role::External,
            };
            if role != verdict.role {
                let why = if role == Role::Machine { "named" } else { "not named" };
                *verdict = Verdict { role, why: why.to_owned() };
            }
        }
        for mac in chosen {
            let new = || Verdict { role: Role::Machine, why: "named".to_owned() };
            let verdict = verdicts.entry(mac).or_insert_with(new);
            if named.contains(&mac) {
                *verdict = new();
            }
        }
        Ok(())
    }
}

impl Target {
    fn find(self, evidence: &Evidence, verdicts: &Verdicts) -> BTreeSet<MacAddr> {
        let is_router =
            |mac: &MacAddr| verdicts.get(mac).is_some_and(|verdict| verdict.role == Role::Gateway);
        let some = |wanted: &dyn Fn(&MacAddr, &Adapter) -> bool| -> BTreeSet<MacAddr> {
            evidence
                .adapters
                .iter()
                .filter(|(mac, adapter)| wanted(mac, adapter))
                .map(|(mac, _)| *mac)
                .collect()
        };
        match self {
            Self::Mac(mac) => some(&|other, _| *other == mac),
            Self::All => {
                some(&|mac, adapter| adapter.sent != 0 && !adapter.is_of_link_alone() && !is_router(mac))
            }
            Self::Addresses(range) => {
                let has = |claimed: bool| {
                    some(&|mac, adapter| {
                        (claimed || !is_router(mac))
                            && adapter.sources.iter().any(|source| {
                                range.contains(source.address) && (source.is_claimed || !claimed)
                            })
                    })
                };
                // Who says that it has the address, and then who sends from it, before a router that passes it on.
                let one = range.only().filter(|address| !is_link_local(*address));
                let owners = if one.is_some() { has(true) } else { BTreeSet::new() };
                let senders = if owners.is_empty() { has(false) } else { owners };
                if senders.is_empty() { some(&|_, adapter| stands_for(adapter, range)) } else { senders }
            }
        }
    }
}

/// The last resort: whoever sends from such an address, or is sent packets for it.
fn stands_for(adapter: &Adapter, range: Range) -> bool {
    let sends = adapter.sources.iter().any(|source| range.contains(source.address));
    sends || adapter.targets.iter().any(|address: &IpAddr| range.contains(*address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_is_named_by_mac_address_address_range_or_all() {
        let target = |text: &str| text.parse::<Pick>().unwrap().target;
        let wanted = Target::Mac(MacAddr([2, 0, 0, 0xAB, 0, 1]));
        for text in ["02:00:00:ab:00:01", "02-00-00-AB-00-01", "0200.00ab.0001", "020000ab0001"] {
            assert_eq!(target(text), wanted, "{text}");
        }
        assert_eq!(target("10.0.0.5"), Target::Addresses("10.0.0.5/32".parse().unwrap()));
        assert_eq!(target("fd00::/8"), Target::Addresses("fd00::/8".parse().unwrap()));
        assert_eq!(target("all"), Target::All);
        assert_eq!("-02:00:00:ab:00:01".parse::<Pick>().unwrap().sign, Sign::Take);
        assert_eq!("+10.0.0.5".parse::<Pick>().unwrap().sign, Sign::Add);
        for wrong in ["", "02:00:00:ab:00", "02:00:00:ab:00:0g", "machine", "10.0.0", "+", "0200.00ab.00.01"]
        {
            assert!(wrong.parse::<Pick>().unwrap_err().contains("or all"), "{wrong}");
        }
    }
}
