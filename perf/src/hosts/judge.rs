//! Which adapters are machines: first the routers are told by what passes through them, then the adapters that are not
//! behind one.

use super::evidence::{Adapter, Evidence, SOURCES, Source};
use super::facts::virtual_router;
use super::range::{Range, is_link_local, network};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use teaming::ids::MacAddr;

/// What an adapter is taken for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// A VM on the switch.
    Machine,
    /// It passes packets of others on.
    Gateway,
    /// Any other adapter, reached through the team.
    #[serde(rename = "outside")]
    External,
}

/// What an adapter is taken for, and by which evidence: at most 27 letters.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Verdict {
    pub role: Role,
    pub why: String,
}

/// The verdict on each adapter that sent, and on silent routers.
pub type Verdicts = BTreeMap<MacAddr, Verdict>;

/// IPv4 addresses, networks of IPv4 and networks of IPv6 that an adapter sends from, or is sent packets for, and that are
/// not known to be its own: with as many it is a router.
const MANY_ADDRESSES: usize = 5;
const MANY_NETWORKS: usize = 3;
/// A frame in this many must cross the team if a guess without better evidence is to be believed.
const FEW: u64 = 20;

/// The address ranges that are inside, and whether somebody said so.
pub struct Inside<'a> {
    pub ranges: &'a [Range],
    pub is_said: bool,
}

impl Inside<'_> {
    fn contains(&self, address: IpAddr) -> bool {
        self.ranges.iter().any(|range| range.contains(address))
    }
}

/// How sure it is that an adapter is a router.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Router {
    /// By what it is or says, or by the number of addresses behind it.
    Surely(String),
    /// By the packets of few addresses.
    Likely(String),
}

struct Judge<'a> {
    evidence: &'a Evidence,
    inside: &'a Inside<'a>,
    routers: BTreeMap<MacAddr, Router>,
    machines: BTreeMap<MacAddr, &'static str>,
}

/// The verdicts; without a machine where the evidence does not say which adapters are inside.
pub fn judge(evidence: &Evidence, inside: &Inside<'_>) -> Verdicts {
    let routers = evidence
        .adapters
        .iter()
        .filter_map(|(mac, adapter)| Some((*mac, router(evidence, inside, *mac, adapter)?)));
    let mut judge = Judge { evidence, inside, routers: routers.collect(), machines: BTreeMap::new() };
    judge.by_ranges();
    if !inside.is_said {
        if judge.machines.is_empty() {
            judge.by_elimination();
        } else {
            judge.neighbours();
        }
    }
    judge.verdicts()
}

/// By what an adapter is taken for a router.
fn router(evidence: &Evidence, inside: &Inside<'_>, mac: MacAddr, adapter: &Adapter) -> Option<Router> {
    if let Some(protocol) = virtual_router(mac) {
        return Some(Router::Surely(format!("router address ({protocol})")));
    }
    if let Some(protocol) = adapter.speaks {
        return Some(Router::Surely(format!("sends {protocol}")));
    }
    let foreign: Vec<IpAddr> =
        adapter.sources.iter().filter(|source| is_foreign(source)).map(|s| s.address).collect();
    if adapter.has_more || are_many(&foreign) {
        let more = if adapter.has_more { "over " } else { "" };
        let number = if adapter.has_more { SOURCES } else { foreign.len() };
        return Some(Router::Surely(format!("sends for {more}{number} addresses")));
    }
    let others: Vec<IpAddr> = adapter.targets.iter().copied().filter(|to| !adapter.sends_from(*to)).collect();
    if are_many(&others) {
        return Some(Router::Surely(format!("is sent packets for {}", others.len())));
    }
    let v4 = |is_inside: bool| foreign.iter().any(|ip| ip.is_ipv4() && inside.contains(*ip) == is_inside);
    if v4(false) && (v4(true) || has_own(adapter, inside)) {
        return Some(Router::Surely("inside and outside IPv4".to_owned()));
    }
    if inside.is_said {
        return None;
    }
    let sum = |behind: bool| -> u64 {
        let of =
            |source: &&Source| !is_link_local(source.address) && is_behind(evidence, mac, source) == behind;
        adapter.sources.iter().filter(of).map(|source| source.packets).sum()
    };
    let (behind, own) = (sum(true), sum(false));
    // What a router sends itself is little beside what it passes on.
    (behind != 0 && behind * 4 >= own).then(|| Router::Likely("packets passed a router".to_owned()))
}

fn has_own(adapter: &Adapter, inside: &Inside<'_>) -> bool {
    adapter
        .sources
        .iter()
        .any(|source| source.is_claimed && source.address.is_ipv4() && inside.contains(source.address))
}

/// Not said to be its own, and no address that every adapter may have.
fn is_foreign(source: &Source) -> bool {
    !source.is_claimed && !is_link_local(source.address)
}

fn are_many(addresses: &[IpAddr]) -> bool {
    let networks = |v4: bool| {
        let of: BTreeSet<String> = addresses
            .iter()
            .filter(|address| address.is_ipv4() == v4)
            .map(|address| network(*address).to_string())
            .collect();
        of.len()
    };
    let v4 = addresses.iter().filter(|address| address.is_ipv4()).count();
    v4 >= MANY_ADDRESSES || networks(true) >= MANY_NETWORKS || networks(false) >= MANY_NETWORKS
}

/// Whether the packets from this address came through the adapter, which is another's.
fn is_behind(evidence: &Evidence, mac: MacAddr, source: &Source) -> bool {
    let routed = source.packets != 0 && source.routed == source.packets;
    is_foreign(source) && (routed || evidence.is_split(mac, source.address))
}

impl<'a> Judge<'a> {
    /// An adapter that sends from an inside address which is not behind it.
    fn by_ranges(&mut self) {
        for (mac, adapter) in &self.evidence.adapters {
            if self.routers.contains_key(mac) {
                continue;
            }
            let is_own = |source: &&Source| {
                self.inside.contains(source.address)
                    && (self.inside.is_said || !is_behind(self.evidence, *mac, source))
            };
            if adapter.sources.iter().any(|source| is_own(&source)) {
                self.machines
                    .insert(*mac, if self.inside.is_said { "in --inside" } else { "private address" });
            }
        }
    }

    /// Beside machines with inside addresses: other adapters that are on their link.
    fn neighbours(&mut self) {
        let own = |mac: &MacAddr| {
            let sources = self.evidence.adapters.get(mac).map_or(&[][..], |adapter| &adapter.sources);
            let known = sources.iter().filter(|source| !is_link_local(source.address));
            known.map(|source| network(source.address)).collect::<Vec<_>>()
        };
        let networks: Vec<Range> = self.machines.keys().flat_map(own).collect();
        let mut found = Vec::new();
        for (mac, adapter) in self.candidates() {
            let in_network = |source: &Source| networks.iter().any(|of| of.contains(source.address));
            let why = if adapter.sources.iter().any(in_network) {
                "in a machine's network"
            } else if let Some(why) = on_the_link(adapter) {
                why
            } else {
                continue;
            };
            found.push((mac, why));
        }
        self.machines.extend(found);
    }

    /// No adapter has an inside address: those that are not routers, if anything crosses the team then.
    fn by_elimination(&mut self) {
        let candidates: Vec<(MacAddr, &'a Adapter)> = self.candidates().collect();
        let set: BTreeSet<MacAddr> = candidates.iter().map(|(mac, _)| *mac).collect();
        let (crossing, all) = self.evidence.crossing(&set);
        if set.len() == 1 || (crossing != 0 && crossing * FEW >= all) {
            let alone =
                if set.len() == 1 && self.senders() == 1 { "the only sender" } else { "behind no router" };
            let why = |adapter: &Adapter| on_the_link(adapter).unwrap_or(alone);
            self.machines = candidates.into_iter().map(|(mac, adapter)| (mac, why(adapter))).collect();
        }
        if !set.is_empty() {
            return;
        }
        // All that is sent has passed a router: perhaps on the host itself, whose machines have inside addresses.
        let likely = self.routers.iter().filter(|(_, router)| matches!(router, Router::Likely(_)));
        let inside = likely.map(|(mac, _)| *mac).filter(|mac| {
            let sources = self.evidence.adapters.get(mac).map_or(&[][..], |adapter| &adapter.sources);
            sources.iter().any(|source| self.inside.contains(source.address))
        });
        let inside: Vec<MacAddr> = inside.collect();
        for mac in inside {
            self.routers.remove(&mac);
            self.machines.insert(mac, "private address");
        }
        if self.machines.is_empty() {
            self.machines = self.receivers().map(|mac| (mac, "only receives")).collect();
        }
    }

    /// Adapters that sent and are neither routers nor machines yet, nor a bridge's ports.
    fn candidates(&self) -> impl Iterator<Item = (MacAddr, &'a Adapter)> {
        let evidence: &'a Evidence = self.evidence;
        let open = |(mac, adapter): &(&MacAddr, &Adapter)| {
            adapter.sent != 0
                && !self.routers.contains_key(mac)
                && !self.machines.contains_key(mac)
                && !adapter.is_of_link_alone()
        };
        evidence.adapters.iter().filter(open).map(|(mac, adapter)| (*mac, adapter))
    }

    fn senders(&self) -> usize {
        self.evidence.adapters.values().filter(|adapter| adapter.sent != 0).count()
    }

    /// Adapters that were sent packets and sent nothing themselves.
    fn receivers(&self) -> impl Iterator<Item = MacAddr> {
        let silent =
            |(mac, adapter): &(&MacAddr, &Adapter)| adapter.sent == 0 && !self.routers.contains_key(mac);
        self.evidence.adapters.iter().filter(silent).map(|(mac, _)| *mac)
    }

    fn verdicts(self) -> Verdicts {
        let mut verdicts = Verdicts::new();
        for (mac, adapter) in &self.evidence.adapters {
            let verdict = match (self.machines.get(mac), self.routers.get(mac)) {
                (Some(why), _) => Verdict { role: Role::Machine, why: (*why).to_owned() },
                (None, Some(Router::Surely(why) | Router::Likely(why))) => {
                    Verdict { role: Role::Gateway, why: why.clone() }
                }
                (None, None) if adapter.sent == 0 => continue,
                (None, None) => Verdict { role: Role::External, why: outside(adapter).to_owned() },
            };
            verdicts.insert(*mac, verdict);
        }
        verdicts
    }
}

/// By what an adapter is known to be on the link, whatever its addresses.
fn on_the_link(adapter: &Adapter) -> Option<&'static str> {
    let is_claimed = |source: &Source| source.is_claimed && !is_link_local(source.address);
    if adapter.sources.iter().any(is_claimed) {
        Some("answers ARP or ND")
    } else if adapter.asks {
        Some("asks for an address")
    } else if adapter.sources.is_empty() {
        Some("no IP address")
    } else if adapter.sources.iter().all(|source| is_link_local(source.address)) {
        Some("link-local address")
    } else {
        None
    }
}

fn outside(adapter: &Adapter) -> &'static str {
    if adapter.is_of_link_alone() { "a switch's port" } else { "outside address" }
}
