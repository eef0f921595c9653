//! Decides where one packet goes. The published state of the team: packets read it under the read lock. A change of the table
//! of buckets is made aside and put in its place under the write lock (`change`), any other is made in place there.
//!
//! Called by the packet walk with the header window and the packet's out-of-band data. Never touches a packet, never
//! sends a frame back to its source, never sends from the external port to the external port.

pub mod addresses;
pub mod arrival;
mod change;
pub mod counters;
pub mod credits;
pub mod decision;
pub mod drop_reason;
pub mod express;
pub mod flood;
pub mod reasons;
mod route;
mod seating;
mod sender;
pub mod source;
pub mod storage;
mod teams;
pub mod trace;
pub mod update;
pub mod watch;

use crate::Storage;
use crate::flow::digest::Secret;
use crate::flow::hash::Seed;
use crate::flow::{Basis, Keying};
use crate::forward::credits::CreditTable;
pub use crate::forward::decision::{Decision, OutOfBand, Packet, Target, Verdict};
use crate::forward::drop_reason::DropReason;
use crate::forward::route::Leaving;
use crate::forward::source::{FrameTag, Origin, SourcePort};
use crate::forward::storage::ForwardingStorage;
use crate::forward::watch::Watch;
use crate::frame::{self, ETHERNET_HEADER, Headers, Rare};
use crate::ids::{FlowHash, HashId, LinkLocalSet, MacAddr, MemberIndex, NicId, PortId, VlanId};
use crate::offload::Pin;
use crate::ports::mac_learning::LearnTable;
use crate::ports::port::{Preserve, TagOwner};
use crate::ports::vlan::{self, Vlans};
use crate::ports::{Port, PortTable};
use crate::settings::{Settings, TeamingMode};
use crate::team::buckets::Table;

pub struct Forwarding<S: Storage> {
    /// The port of the external adapter; a private switch has none.
    pub external: Option<PortId>,
    pub table: Table<S>,
    pub ports: PortTable<S>,
    /// Addresses that ports were heard to send from besides their own.
    pub learned: LearnTable<S>,
    /// Addresses heard outside, while some port may learn (`arrival`).
    pub(crate) outside: LearnTable<S>,
    pub(crate) credits: CreditTable<S>,
    pub(crate) watch: Watch<S>,
    pub(crate) secret: Secret,
    keying: Keying,
    seed: Seed,
    adapter_hash: bool,
    /// Link-local groups whose frames cross the external port.
    link_local_forwarded: LinkLocalSet,
    /// Whether groups that vNICs have named decide which multicast frames they get.
    prune_multicast: bool,
    mode: TeamingMode,
    /// See `judges`.
    pub(crate) copies: bool,
    /// Frames could arrive on several members at some time.
    several_receive: bool,
    /// Whether the external port has no policy.
    pub(crate) outside_is_open: bool,
    leaving: Leaving,
}

impl<S: Storage> Forwarding<S> {
    #[inline]
    pub fn decide(&self, packet: &Packet<'_>) -> Verdict {
        self.decide_with(packet, &OutOfBand::NOTHING).verdict
    }

    /// `decide_from` for one packet alone.
    pub fn decide_with(&self, packet: &Packet<'_>, out_of_band: &OutOfBand<'_>) -> Decision {
        self.decide_from(&self.source_port(packet.source), packet, out_of_band)
    }

    /// The decision for a packet that is alone in its list, judged: what becomes of it.
    pub fn decide_alone(&self, packet: &Packet<'_>, out_of_band: &OutOfBand<'_>) -> Decision {
        let source_port = self.source_port(packet.source);
        let decision = self.decide_from(&source_port, packet, out_of_band);
        if decision.trace.is_none() {
            return decision;
        }
        self.judge(&source_port, decision, packet.now, true).decision
    }

    /// The properties that all packets of a source share while the tables do not change.
    #[inline(never)]
    pub fn source_port(&self, nic: NicId) -> SourcePort {
        if nic.port == PortId::DEFAULT {
            return SourcePort::trusted(nic);
        }
        match self.ports.find(nic.port) {
            Some((position, port)) if port.policy.closed => SourcePort::closed(nic).on(port, position),
            Some((_, port)) if self.is_external(nic) => SourcePort::external(nic, &port.policy),
            Some((position, port)) => SourcePort::vnic(nic, port).on(port, position),
            None if self.is_external(nic) => {
                SourcePort::external(nic, &crate::ports::policy::PortPolicy::NONE)
            }
            None => SourcePort::closed(nic),
        }
    }

    /// `source_port` must belong to the packet's source.
    #[inline(always)]
    pub fn decide_from(
        &self,
        source_port: &SourcePort,
        packet: &Packet<'_>,
        out_of_band: &OutOfBand<'_>,
    ) -> Decision {
        if packet.native {
            return Decision::new(Verdict::Native);
        }
        if packet.window.len() < ETHERNET_HEADER {
            return Decision::dropped(DropReason::Runt);
        }
        match frame::parse_common(packet.window) {
            Ok(headers) => self.decide_parsed(source_port, packet, headers, out_of_band),
            Err(Rare) => self.decide_rare(source_port, packet, out_of_band),
        }
    }

    /// A second instance of the decision, because a single one for both parsers would keep the headers in memory
    /// instead of registers.
    #[cold]
    #[inline(never)]
    fn decide_rare(
        &self,
        source_port: &SourcePort,
        packet: &Packet<'_>,
        out_of_band: &OutOfBand<'_>,
    ) -> Decision {
        self.decide_parsed(source_port, packet, frame::parse(packet.window), out_of_band)
    }

    #[inline(always)]
    fn decide_parsed(
        &self,
        source_port: &SourcePort,
        packet: &Packet<'_>,
        headers: Headers,
        out_of_band: &OutOfBand<'_>,
    ) -> Decision {
        let tagged = headers.has_tag() | (out_of_band.vlan != 0) | (out_of_band.subnet != 0);
        let sent = if source_port.is_plain(headers.source, tagged) {
            source_port.untagged
        } else {
            match self.look_closer(source_port, packet, out_of_band) {
                Ok(sent) => sent,
                Err(reason) => return Decision::dropped(reason),
            }
        };
        let to = headers.destination;
        if to.is_multicast() {
            return self.decide_group(source_port, sent, packet, out_of_band);
        }
        match self.ports.lookup(to) {
            Some(port) if port.key == sent.key && sent.key != 0 && port.id != source_port.nic => {
                let bits = source_port.priority & port.priority();
                Decision { bits, sent, ..Decision::new(Verdict::Deliver(port.id)) }
            }
            Some(port) => self.deliver(source_port, sent, port, packet),
            None if self.ports.searches() || source_port.origin == Origin::External => {
                self.decide_unknown(source_port, sent, packet, out_of_band)
            }
            None => match self.uplink_bits(source_port, sent) {
                Err(reason) => self.not_outside(reason),
                Ok(bits) => match self.member(source_port, packet, headers, out_of_band) {
                    Ok((member, basis)) => {
                        Decision { basis, bits, sent, ..Decision::new(Verdict::Uplink(member)) }
                    }
                    Err(reason) => Decision::dropped(reason),
                },
            },
        }
    }

    /// Delivers to a vNIC whose policy is not equal to the source's and must be compared in full.
    #[inline(never)]
    pub(crate) fn deliver(
        &self,
        source_port: &SourcePort,
        sent: FrameTag,
        port: &Port,
        packet: &Packet<'_>,
    ) -> Decision {
        let port = self.user_of(port, sent, packet);
        if port.id == source_port.nic {
            return Decision::dropped(DropReason::BackToSource);
        }
        if source_port.origin == Origin::External {
            return self.completed(self.receive(source_port, sent, port, packet), packet);
        }
        match self.admit(source_port, sent, port) {
            Ok(bits) => Decision { bits, sent, ..Decision::new(Verdict::Deliver(port.id)) },
            Err(reason) => Decision::refused_by(port.id.port, reason),
        }
    }

    /// The drop of a packet for the external network that may not or cannot leave. Of the reasons of `uplink_bits` and
    /// `member`, those in the match are the external port's policy.
    #[cold]
    pub(crate) fn not_outside(&self, reason: DropReason) -> Decision {
        match (reason, self.external) {
            (
                DropReason::PortClosed
                | DropReason::VlanMismatch
                | DropReason::TagInBytes
                | DropReason::PrivateVlan,
                Some(port),
            ) => Decision::refused_by(port, reason),
            _ => Decision::dropped(reason),
        }
    }

    /// The preserve bits with which a vNIC is a destination.
    pub(crate) fn admit(
        &self,
        source_port: &SourcePort,
        sent: FrameTag,
        port: &Port,
    ) -> Result<Preserve, DropReason> {
        let priority = source_port.priority & port.priority();
        if port.policy.closed {
            return Err(DropReason::PortClosed);
        }
        if port.key == sent.key && sent.key != 0 {
            return Ok(priority);
        }
        let of_no_network = source_port.origin == Origin::Trusted && !sent.is_tagged() && sent.subnet == 0;
        if of_no_network {
            return Ok(priority);
        }
        if port.policy.security().virtual_subnet != sent.subnet {
            return Err(DropReason::VirtualSubnet);
        }
        let admitted =
            vlan::admit(source_port.vlans, sent.carried(), port.policy.vlans(), self.ports.sets())?;
        Ok(priority.with_vlan(admitted.tagged))
    }

    /// The preserve bits with which the external port is a destination.
    #[inline(always)]
    pub(crate) fn uplink_bits(
        &self,
        source_port: &SourcePort,
        sent: FrameTag,
    ) -> Result<Preserve, DropReason> {
        if sent.stays_inside() {
            return Err(DropReason::VirtualSubnet);
        }
        if sent.key != 0 && self.outside_is_open {
            return Ok(source_port.priority.with_vlan(sent.is_tagged()));
        }
        self.outside_bits(source_port, sent)
    }

    #[inline(never)]
    fn outside_bits(&self, source_port: &SourcePort, sent: FrameTag) -> Result<Preserve, DropReason> {
        let policy = self.external.and_then(|port| self.ports.get(port)).map(|port| port.policy);
        if policy.is_some_and(|policy| policy.closed) {
            return Err(DropReason::PortClosed);
        }
        let vlans = policy.and_then(|policy| policy.vlans).unwrap_or(Vlans::EVERYTHING);
        let admitted = vlan::admit(source_port.vlans, sent.carried(), vlans, self.ports.sets())?;
        Ok(source_port.priority.with_vlan(admitted.tagged))
    }

    /// The live member that carries the packet's flow.
    #[inline(always)]
    pub(crate) fn member(
        &self,
        source_port: &SourcePort,
        packet: &Packet<'_>,
        headers: Headers,
        out_of_band: &OutOfBand<'_>,
    ) -> Result<(MemberIndex, Option<Basis>), DropReason> {
        if self.external.is_none() {
            return Err(DropReason::NoDestination);
        }
        match packet.pinned {
            None => {}
            Some(Pin::To(pinned)) if self.table.live().contains(pinned) => return Ok((pinned, None)),
            Some(Pin::To(_)) => return Err(DropReason::PinnedMemberDown),
            Some(Pin::Nowhere) => return Err(DropReason::UnknownAssociation),
        }
        let (hash, basis) = self.flow_hash(source_port.hashed_as, packet, headers, out_of_band);
        let member = self.table.choose(hash.bucket(), packet.now).ok_or(DropReason::NoLiveMember)?;
        Ok((member, Some(basis)))
    }

    #[inline(always)]
    fn flow_hash(
        &self,
        hashed_as: HashId,
        packet: &Packet<'_>,
        headers: Headers,
        out_of_band: &OutOfBand<'_>,
    ) -> (FlowHash, Basis) {
        match self.keying.hash_at_once(&headers, hashed_as, self.seed) {
            Some(done) if out_of_band.adapter.is_none() => done,
            _ => self.other_hash(hashed_as, packet, out_of_band),
        }
    }

    /// The hash for all policies and options except the two that `hash_at_once` inlines. Parses the headers again.
    #[inline(never)]
    fn other_hash(
        &self,
        hashed_as: HashId,
        packet: &Packet<'_>,
        out_of_band: &OutOfBand<'_>,
    ) -> (FlowHash, Basis) {
        let headers = self.hashed_headers(packet.window);
        let basis = self.keying.basis(&headers);
        let offered = out_of_band.adapter.as_ref().and_then(|adapter| adapter.value(&headers, &self.keying));
        let hash = match offered {
            Some(value) => self.seed.rehash(value),
            None => self.seed.hash(&self.keying.key(&headers, hashed_as, VlanId::new(out_of_band.vlan))),
        };
        (hash, basis)
    }

    /// The headers that the policy's key is made of.
    #[inline(always)]
    pub(crate) fn hashed_headers(&self, window: &[u8]) -> Headers {
        if self.keying.policy.wants_innermost_headers() {
            frame::parse_innermost(window, self.keying.tunnels)
        } else {
            frame::parse_common(window).unwrap_or_else(|Rare| frame::parse(window))
        }
    }

    #[inline]
    fn is_external(&self, source: NicId) -> bool {
        self.external == Some(source.port)
    }

    pub fn new(storage: ForwardingStorage<S>, settings: &Settings) -> Self {
        Self {
            external: None,
            table: Table::new(storage.owners, storage.stamps, storage.arrivals, settings.rebalance_timers()),
            ports: PortTable::new(storage.room, storage.sets, storage.host),
            learned: LearnTable::new(storage.learned),
            outside: LearnTable::new(storage.outside),
            credits: CreditTable::new(storage.credits, storage.quotas),
            watch: Watch::new(storage.watch),
            secret: storage.secret,
            keying: settings.keying(),
            seed: Seed::new(settings.seed),
            adapter_hash: settings.use_adapter_hash,
            link_local_forwarded: settings.link_local_forwarded,
            prune_multicast: settings.prune_multicast,
            mode: settings.mode,
            copies: false,
            several_receive: false,
            outside_is_open: true,
            leaving: Leaving::new(None, true, settings.keying()),
        }
    }

    /// Whether packets need a time stamp, because buckets wait for an idle gap, addresses are learned, or frames are
    /// told apart from their copies.
    pub fn wants_time(&self) -> bool {
        self.table.moving() || self.ports.searches() || self.ports.lends_any() || self.copies
    }

    /// Whether the caller passes the hashes of adapters with the out-of-band data.
    pub const fn uses_adapter_hash(&self) -> bool {
        self.adapter_hash
    }

    /// Frames can arrive on several members, also on those that carry nothing: a copy on each of what the physical switch
    /// floods. Once that is so, it remains.
    pub fn expect_copies(&mut self, several_receive: bool) {
        self.several_receive |= several_receive;
        self.copies = self.mode == TeamingMode::SwitchIndependent && self.several_receive;
    }

    /// Whether `expect_copies` would change nothing.
    pub const fn expects_copies(&self) -> bool {
        self.several_receive
    }

    /// Applies changed settings. With another policy or seed, flows move at once.
    pub fn configure(&mut self, settings: &Settings) {
        self.keying = settings.keying();
        self.seed = Seed::new(settings.seed);
        self.adapter_hash = settings.use_adapter_hash;
        self.link_local_forwarded = settings.link_local_forwarded;
        self.prune_multicast = settings.prune_multicast;
        self.mode = settings.mode;
        self.expect_copies(false);
        self.table.set_rebalance_timers(settings.rebalance_timers());
        self.refresh_outside();
    }

    /// The member that a frame with these headers from `source` would take now; changes no state. For tools. The
    /// policy `Encapsulated` needs the innermost headers.
    pub fn explain(&self, headers: &Headers, source: NicId) -> Option<MemberIndex> {
        let hashed_as = self.hashed_as(source);
        self.table.lookup(self.seed.hash(&self.keying.key(headers, hashed_as, None)).bucket())
    }

    /// The same for a packet with its out-of-band data, and the fields that its key is made of.
    pub fn explain_packet(
        &self,
        packet: &Packet<'_>,
        out_of_band: &OutOfBand<'_>,
    ) -> (Option<MemberIndex>, Basis) {
        let hashed_as = self.hashed_as(packet.source);
        let (hash, basis) = self.flow_hash(hashed_as, packet, frame::parse(packet.window), out_of_band);
        (self.table.lookup(hash.bucket()), basis)
    }

    /// The member on which a vNIC's untagged traffic arrives, if the policy determines it: the member that carries its
    /// own traffic.
    pub fn member_of_vnic(&self, station: NicId) -> Option<MemberIndex> {
        let mac = self.ports.get(station.port).map_or(MacAddr::ZERO, |port| port.current_mac);
        self.table.lookup(self.seed.hash(&self.keying.vnic_key(self.hashed_as(station), mac)).bucket())
    }

    /// Whether the extension wrote the VLAN in the out-of-band tags of completed lists from this port that it did not
    /// originate.
    pub fn owns_tags(&self, source: PortId) -> bool {
        self.external != Some(source)
            && self.ports.get(source).is_some_and(|port| port.tag_owner == TagOwner::Extension)
    }

    /// What HyperVPort hashes for a NIC: its own id, unless it came from another host, and its seat.
    pub fn hashed_as(&self, nic: NicId) -> HashId {
        let port = self.ports.get(nic.port).filter(|port| port.is_station(nic));
        port.map_or(nic.into(), |port| port.hashed_as)
    }

    /// The vNIC with this address.
    pub fn station(&self, mac: MacAddr) -> Option<NicId> {
        self.ports.lookup(mac).map(|port| port.id)
    }
}

#[cfg(any(test, feature = "std"))]
impl Forwarding<crate::Heap> {
    /// Allocates tables for `ports` ports; for tools and tests.
    pub fn on_heap(ports: usize, settings: &Settings) -> Self {
        Self::new(ForwardingStorage::on_heap(ports, credits::CREDIT_SLOTS), settings)
    }

    /// The same for one of several switches of a host.
    pub fn of_host(ports: usize, settings: &Settings, host: crate::ports::host::HeapHost) -> Self {
        let storage = ForwardingStorage { host, ..ForwardingStorage::on_heap(ports, credits::CREDIT_SLOTS) };
        Self::new(storage, settings)
    }
}
