//! What the frames of a capture say about its adapters, collected in one pass. Memory grows with the numbers of adapters,
//! of pairs of them and of IP addresses, not of frames.

use super::facts::{Facts, is_adapter};
use super::range::is_link_local;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use teaming::ids::MacAddr;

/// Most addresses that are kept of one adapter; one that has more is a router.
pub const SOURCES: usize = 64;
/// Most addresses that are kept of those for which an adapter was sent packets.
const TARGETS: usize = 16;
/// Most adapters that are kept of those to which an address's packets went.
const WAYS: usize = 4;

/// What is known of one adapter.
#[derive(Default, Debug)]
pub struct Adapter {
    pub sent: u64,
    pub received: u64,
    /// VLANs in which it sent; 0 is none.
    pub vlans: BTreeSet<u16>,
    pub sources: Vec<Source>,
    /// It has more sources than are kept.
    pub has_more: bool,
    /// Destinations of the packets that were sent to it.
    pub targets: Vec<IpAddr>,
    /// A protocol that only routers speak.
    pub speaks: Option<&'static str>,
    /// It asked for an address.
    pub asks: bool,
    /// Frames between the ends of one link.
    pub of_link: u64,
}

/// An address that an adapter sent from, or said to be its own.
#[derive(Debug)]
pub struct Source {
    pub address: IpAddr,
    pub is_claimed: bool,
    pub packets: u64,
    /// Packets that had passed a router.
    pub routed: u64,
}

impl Adapter {
    fn source(&mut self, address: IpAddr) -> Option<&mut Source> {
        let place = match self.sources.iter().position(|source| source.address == address) {
            Some(place) => place,
            None if self.sources.len() < SOURCES => {
                self.sources.push(Source { address, is_claimed: false, packets: 0, routed: 0 });
                self.sources.len() - 1
            }
            None => {
                self.has_more = true;
                return None;
            }
        };
        self.sources.get_mut(place)
    }

    pub fn sends_from(&self, address: IpAddr) -> bool {
        self.sources.iter().any(|source| source.address == address)
    }

    /// Whether all that it sent were frames between the ends of one link.
    pub fn is_of_link_alone(&self) -> bool {
        self.sent != 0 && self.of_link == self.sent
    }
}

/// The evidence of the frames so far.
#[derive(Default)]
pub struct Evidence {
    pub adapters: BTreeMap<MacAddr, Adapter>,
    /// Adapters to which the packets for an address went.
    ways: HashMap<IpAddr, Vec<MacAddr>>,
    /// Frames between two adapters.
    pairs: HashMap<(MacAddr, MacAddr), u64>,
}

impl Evidence {
    pub fn see(&mut self, bytes: &[u8]) {
        let Some(facts) = Facts::of(bytes) else { return };
        let sender = self.adapters.entry(facts.source).or_default();
        sender.sent += 1;
        sender.vlans.insert(facts.vlan);
        sender.asks |= facts.asks;
        sender.speaks = sender.speaks.or(facts.speaks);
        sender.of_link += u64::from(facts.is_of_link);
        if let Some(source) = facts.claim.and_then(|address| sender.source(address)) {
            source.is_claimed = true;
        }
        let from = facts.addresses.map(|(from, _)| from).filter(|from| !from.is_unspecified());
        if let Some(source) = from.and_then(|from| sender.source(from)) {
            source.packets += 1;
            source.routed += u64::from(facts.is_routed);
        }
        if !is_adapter(facts.destination) {
            return;
        }
        *self.pairs.entry((facts.source, facts.destination)).or_default() += 1;
        let receiver = self.adapters.entry(facts.destination).or_default();
        receiver.received += 1;
        let Some((_, to)) = facts.addresses.filter(|(_, to)| is_one_host(*to)) else { return };
        if receiver.targets.len() < TARGETS && !receiver.targets.contains(&to) {
            receiver.targets.push(to);
        }
        let ways = self.ways.entry(to).or_default();
        if ways.len() < WAYS && !ways.contains(&facts.destination) {
            ways.push(facts.destination);
        }
    }

    /// Whether the address is behind a router that has different adapters for the two directions: packets for it go to an
    /// adapter that never sends from it, and never to this one, which does.
    pub fn is_split(&self, adapter: MacAddr, address: IpAddr) -> bool {
        let ways = self.ways.get(&address).map_or(&[][..], Vec::as_slice);
        let is_owner = |way: &MacAddr| self.adapters.get(way).is_some_and(|other| other.sends_from(address));
        !ways.is_empty() && !ways.contains(&adapter) && !ways.iter().any(is_owner)
    }

    /// Frames from one adapter to another, for pairs of which one is in the set and one is not; and all between two
    /// adapters.
    pub fn crossing(&self, set: &BTreeSet<MacAddr>) -> (u64, u64) {
        let crosses = |(from, to): &(MacAddr, MacAddr)| set.contains(from) != set.contains(to);
        let crossing = self.pairs.iter().filter(|(pair, _)| crosses(pair)).map(|(_, frames)| frames).sum();
        (crossing, self.pairs.values().sum())
    }
}

/// Not the address of a group; a broadcast to one adapter is rare enough.
fn is_one_host(address: IpAddr) -> bool {
    !address.is_multicast() && !is_link_local(address)
}
