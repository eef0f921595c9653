//! Decides where one packet goes. The published side of the team: many processors read it under the read lock, a
//! change takes the write lock and alters it in place.
//!
//! Called by the packet walk with the header window and the facts that came beside the packet. Never touches a
//! packet, never sends a frame back to its source, never sends from the external port to the external port.

use crate::Storage;
use crate::counters::DropReason;
use crate::flow::{self, Policy};
use crate::frame::{self, ETHERNET_HEADER, Headers};
use crate::hash::Seed;
use crate::ids::{MacAddr, MemberIndex, NicId, PortId, Ticks};
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
    policy: Policy,
    seed: Seed,
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

impl<S: Storage> Forwarding<S> {
    #[inline]
    pub fn decide(&self, packet: &Packet<'_>) -> Verdict {
        if packet.native {
            return Verdict::Native;
        }
        if packet.window.len() < ETHERNET_HEADER {
            return Verdict::Drop(DropReason::Runt);
        }
        let headers = frame::parse(packet.window);
        let to = headers.destination;
        if to.is_multicast() {
            return self.decide_group(packet, &headers);
        }
        match self.nics.lookup(to) {
            Some(station) if station == packet.source => Verdict::Drop(DropReason::BackToSource),
            Some(station) => Verdict::Deliver(station),
            None if self.is_outside(packet.source) => Verdict::Drop(DropReason::NoDestination),
            None => match self.member(packet, &headers) {
                Ok(member) => Verdict::Uplink(member),
                Err(reason) => Verdict::Drop(reason),
            },
        }
    }

    fn decide_group(&self, packet: &Packet<'_>, headers: &Headers) -> Verdict {
        match (self.is_outside(packet.source), headers.destination.is_link_local()) {
            (true, true) => Verdict::Drop(DropReason::LinkLocal),
            (true, false) => Verdict::Flood { uplink: None },
            (false, _) => Verdict::Flood { uplink: self.member(packet, headers).ok() },
        }
    }

    /// The live member that carries the packet's flow.
    #[inline]
    fn member(&self, packet: &Packet<'_>, headers: &Headers) -> Result<MemberIndex, DropReason> {
        if self.external.is_none() {
            return Err(DropReason::NoDestination);
        }
        if let Some(pinned) = packet.pinned {
            let live = self.table.live().contains(pinned);
            return if live { Ok(pinned) } else { Err(DropReason::PinnedMemberDown) };
        }
        let key = flow::key(headers, self.policy, packet.source);
        self.table.choose(self.seed.hash(&key).bucket(), packet.now).ok_or(DropReason::NoLiveMember)
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
            policy: settings.policy,
            seed: Seed::new(settings.seed),
        }
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
        self.policy = settings.policy;
        self.seed = Seed::new(settings.seed);
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
    pub fn explain(&self, headers: &Headers, source: NicId) -> Option<MemberIndex> {
        self.table.lookup(self.seed.hash(&flow::key(headers, self.policy, source)).bucket())
    }

    /// The station with that address.
    pub fn station(&self, mac: MacAddr) -> Option<NicId> {
        self.nics.lookup(mac)
    }
}
