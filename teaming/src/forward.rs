//! Decides where one packet goes. The published side of the team: many processors read it under the read lock, a
//! change takes the write lock and alters it in place.
//!
//! Called by the packet walk with the header window and the facts that came beside the packet. Never touches a
//! packet, never sends a frame back to its source, never sends from the external port to the external port.

use crate::Storage;
use crate::adapter_hash::Adapter;
use crate::counters::DropReason;
use crate::flow::{Basis, Keying, Policy};
use crate::frame::{self, ETHERNET_HEADER, Headers, Rare};
use crate::hash::Seed;
use crate::ids::{FlowHash, MacAddr, MemberIndex, NicId, PortId, Ticks, VlanId};
use crate::nics::{MacSlot, Nic, NicTable};
use crate::settings::Settings;
use crate::switch::{NicOp, NicParameters};
use crate::table::{Moved, Stamp, Table, View};
use crate::team::Plan;

pub struct Forwarding<S: Storage> {
    /// The port of the external adapter; a private switch has none.
    pub external: Option<PortId>,
    pub table: Table<S>,
    pub nics: NicTable<S>,
    keying: Keying,
    seed: Seed,
    adapter_hash: bool,
}

/// What is known of a packet when its way is decided.
#[derive(Debug, Clone, Copy)]
pub struct Packet<'a> {
    pub source: NicId,
    /// The first bytes of the frame, at most 256, in memory that does not change any more.
    pub window: &'a [u8],
    /// A member that facts beside the packet dictate.
    pub pinned: Option<MemberIndex>,
    /// The switch itself forwards it (`NativeForwardingRequired`).
    pub native: bool,
    pub now: Ticks,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Deliver(NicId),
    Uplink(MemberIndex),
    /// To every connected station but the source, and to one member when named.
    Flood {
        uplink: Option<MemberIndex>,
    },
    Native,
    Drop(DropReason),
}

/// What may come beside a packet and decides about its key.
#[derive(Debug, Clone, Copy)]
pub struct Beside<'a> {
    /// The VLAN of the out-of-band tag; without one the tag in the frame counts.
    pub vlan: Option<VlanId>,
    /// Present while adapter hashes are in use.
    pub adapter: Option<Adapter<'a>>,
}

impl Beside<'_> {
    pub const NOTHING: Self = Self { vlan: None, adapter: None };
}

/// A verdict and, when it names a member by a flow's hash, what the key was made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    pub verdict: Verdict,
    pub basis: Option<Basis>,
}

impl Decision {
    const fn new(verdict: Verdict) -> Self {
        Self { verdict, basis: None }
    }
}

impl<S: Storage> Forwarding<S> {
    #[inline]
    pub fn decide(&self, packet: &Packet<'_>) -> Verdict {
        self.decide_with(packet, &Beside::NOTHING).verdict
    }

    #[inline(always)]
    pub fn decide_with(&self, packet: &Packet<'_>, beside: &Beside<'_>) -> Decision {
        if packet.native {
            return Decision::new(Verdict::Native);
        }
        if packet.window.len() < ETHERNET_HEADER {
            return Decision::new(Verdict::Drop(DropReason::Runt));
        }
        match frame::parse_common(packet.window) {
            Ok(headers) => self.decide_parsed(packet, headers, beside),
            Err(Rare) => self.decide_rare(packet, beside),
        }
    }

    /// A second copy of the decision: merged with the first, both would keep the headers in memory.
    #[cold]
    #[inline(never)]
    fn decide_rare(&self, packet: &Packet<'_>, beside: &Beside<'_>) -> Decision {
        self.decide_parsed(packet, frame::parse(packet.window), beside)
    }

    #[inline(always)]
    fn decide_parsed(&self, packet: &Packet<'_>, headers: Headers, beside: &Beside<'_>) -> Decision {
        let to = headers.destination;
        if to.is_multicast() {
            return self.decide_group(packet, beside);
        }
        match self.nics.lookup(to) {
            Some(station) if station == packet.source => {
                Decision::new(Verdict::Drop(DropReason::BackToSource))
            }
            Some(station) => Decision::new(Verdict::Deliver(station)),
            None if self.is_outside(packet.source) => Decision::new(Verdict::Drop(DropReason::NoDestination)),
            None => match self.member(packet, headers, beside) {
                Ok((member, basis)) => Decision { verdict: Verdict::Uplink(member), basis },
                Err(reason) => Decision::new(Verdict::Drop(reason)),
            },
        }
    }

    /// Reads the headers again: handed over, they would lie in memory for every other packet too.
    #[inline(never)]
    fn decide_group(&self, packet: &Packet<'_>, beside: &Beside<'_>) -> Decision {
        let headers = frame::parse(packet.window);
        match (self.is_outside(packet.source), headers.destination.is_link_local()) {
            (true, true) => Decision::new(Verdict::Drop(DropReason::LinkLocal)),
            (true, false) => Decision::new(Verdict::Flood { uplink: None }),
            (false, _) => match self.member(packet, headers, beside) {
                Ok((member, basis)) => Decision { verdict: Verdict::Flood { uplink: Some(member) }, basis },
                Err(_) => Decision::new(Verdict::Flood { uplink: None }),
            },
        }
    }

    /// The live member that carries the packet's flow.
    #[inline(always)]
    fn member(
        &self,
        packet: &Packet<'_>,
        headers: Headers,
        beside: &Beside<'_>,
    ) -> Result<(MemberIndex, Option<Basis>), DropReason> {
        if self.external.is_none() {
            return Err(DropReason::NoDestination);
        }
        if let Some(pinned) = packet.pinned {
            let live = self.table.live().contains(pinned);
            return if live { Ok((pinned, None)) } else { Err(DropReason::PinnedMemberDown) };
        }
        let (hash, basis) = self.flow_hash(packet, headers, beside);
        let member = self.table.choose(hash.bucket(), packet.now).ok_or(DropReason::NoLiveMember)?;
        Ok((member, Some(basis)))
    }

    #[inline(always)]
    fn flow_hash(&self, packet: &Packet<'_>, headers: Headers, beside: &Beside<'_>) -> (FlowHash, Basis) {
        match self.keying.hash_at_once(&headers, packet.source, self.seed) {
            Some(done) if beside.adapter.is_none() => done,
            _ => self.other_hash(packet, beside),
        }
    }

    /// Policies and options apart from the two that a packet must not wait for. Reads the headers again.
    #[inline(never)]
    fn other_hash(&self, packet: &Packet<'_>, beside: &Beside<'_>) -> (FlowHash, Basis) {
        let headers = match self.keying.policy {
            Policy::Encapsulated => frame::parse_innermost(packet.window),
            _ => frame::parse_common(packet.window).unwrap_or_else(|Rare| frame::parse(packet.window)),
        };
        let basis = self.keying.basis(&headers);
        let offered = beside.adapter.as_ref().and_then(|adapter| adapter.value(&headers, &self.keying));
        let hash = match offered {
            Some(value) => self.seed.rehash(value),
            None => self.seed.hash(&self.keying.key(&headers, packet.source, beside.vlan)),
        };
        (hash, basis)
    }

    #[inline]
    fn is_outside(&self, source: NicId) -> bool {
        self.external == Some(source.port)
    }

    /// Whom a flood reaches, apart from the member it may name.
    pub fn flood(&self, source: NicId) -> impl Iterator<Item = NicId> {
        self.nics.connected().map(|nic| nic.id).filter(move |&id| id != source)
    }

    /// `owners` and `stamps` are `BUCKETS` long; for `nics` and `macs` see `NicTable::new`.
    pub fn new(
        owners: S::Of<u8>,
        stamps: S::Of<Stamp>,
        nics: S::Of<Nic>,
        macs: S::Of<MacSlot>,
        settings: &Settings,
    ) -> Self {
        Self {
            external: None,
            table: Table::new(owners, stamps, settings.pace()),
            nics: NicTable::new(nics, macs),
            keying: settings.keying(),
            seed: Seed::new(settings.seed),
            adapter_hash: settings.use_adapter_hash,
        }
    }

    /// Whether hashes of adapters are to be passed beside the packets.
    pub const fn uses_adapter_hash(&self) -> bool {
        self.adapter_hash
    }

    /// After it returns nothing is assigned to a member that is not live.
    pub fn publish(&mut self, plan: &Plan, home: &[u8], now: Ticks) -> Moved {
        let view = View { live: plan.live, weights: &plan.weights, home };
        self.table.publish(&view, now)
    }

    /// Does the voluntary moves that are due; worth calling while `moving`.
    pub fn settle(&mut self, home: &[u8], now: Ticks) -> Moved {
        self.table.settle(home, now)
    }

    pub const fn moving(&self) -> bool {
        self.table.moving()
    }

    /// Another policy or seed is a new distribution: its flows move at once, as the new values demand.
    pub fn configure(&mut self, settings: &Settings) {
        self.keying = settings.keying();
        self.seed = Seed::new(settings.seed);
        self.adapter_hash = settings.use_adapter_hash;
        self.table.set_pace(settings.pace());
    }

    /// The external port's own life: known from its creation to its deletion.
    pub fn on_external(&mut self, op: NicOp, nic: &NicParameters) {
        match op {
            NicOp::Create | NicOp::Connect | NicOp::Update => self.external = Some(nic.id.port),
            NicOp::Disconnect => {}
            NicOp::Delete => self.external = None,
        }
    }

    /// The member that a frame of these headers from `source` takes now, and nothing is noted: for tools that explain.
    /// `Encapsulated` wants the innermost headers.
    pub fn explain(&self, headers: &Headers, source: NicId) -> Option<MemberIndex> {
        self.table.lookup(self.seed.hash(&self.keying.key(headers, source, None)).bucket())
    }

    /// The same from the packet and what came beside it, and what the key was made of.
    pub fn explain_packet(&self, packet: &Packet<'_>, beside: &Beside<'_>) -> (Option<MemberIndex>, Basis) {
        let (hash, basis) = self.flow_hash(packet, frame::parse(packet.window), beside);
        (self.table.lookup(hash.bucket()), basis)
    }

    /// The member where the traffic of a station arrives, as far as the policy lets one say: untagged, as it leaves.
    pub fn member_of_station(&self, station: NicId) -> Option<MemberIndex> {
        let mac = self.nics.get(station).map_or(MacAddr::ZERO, |nic| nic.current_mac);
        self.table.lookup(self.seed.hash(&self.keying.station_key(station, mac)).bucket())
    }

    /// The station with that address.
    pub fn station(&self, mac: MacAddr) -> Option<NicId> {
        self.nics.lookup(mac)
    }
}
