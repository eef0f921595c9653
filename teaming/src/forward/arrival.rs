//! Frames that come in from outside: which are copies or come back, where addresses have moved, and what a frame for a
//! known vNIC may teach. And what a frame that leaves says about those that will come in.
//!
//! A frame is judged by what it is, not by whom it claims to be from or on which member it came. The decision only
//! notes what is needed (`Trace`); `judge` is called once for each packet, when its destinations are about to be
//! committed. Every drop of a frame from outside has a fact behind it; src/ARCHITECTURE.md lists them.

use core::num::NonZeroU64;

use crate::Storage;
use crate::forward::credits::{Arrival, Frame, LIFE, Origin, Receipt, Source};
use crate::forward::drop_reason::DropReason;
use crate::forward::source::{self, FrameTag, SourcePort};
use crate::forward::trace::{Judgement, Trace};
use crate::forward::{Decision, Forwarding, Packet, Verdict};
use crate::ids::{MacAddr, MemberIndex, MemberSet, PortId, Ticks, VlanId};
use crate::ports::Port;

/// Silence after which an address that was learned from a port moves outside with the first frame from there. A younger
/// one needs unicast for a vNIC, which this host would not have sent, or two frames that differ: one may be this host's
/// own that was not known again. Of an address that has sent what left no credit, any number may be, until that would
/// have expired.
pub const SETTLED: Ticks = Ticks::from_ms(5_000);

/// In the table of outside addresses: the address is outside.
const CONFIRMED: usize = 0;
/// It was, until a port sent with it. A guest may have sent back what came from there, so the next frame from outside
/// moves it back at once.
const CONTESTED: usize = 1;
/// Every number from here on: it was heard once, in a frame with this part of its digest.
const HEARD_ONCE: usize = 2;
const DIGESTS: u64 = 8_191;

/// A decision after the judgement.
#[derive(Debug, Clone, Copy)]
pub struct Judged {
    pub decision: Decision,
    /// The credits that the frame has left.
    pub credits: Option<Left>,
    /// There was no room for credits: copies of the frame will be delivered.
    pub unrecorded: bool,
}

impl Judged {
    const fn plain(decision: Decision) -> Self {
        Self { decision, credits: None, unrecorded: false }
    }
}

/// Credits that were left, to be taken back if the frame is not delivered or sent after all.
#[derive(Debug, Clone, Copy)]
pub struct Left {
    digest: NonZeroU64,
    receipt: Receipt,
}

impl<S: Storage> Forwarding<S> {
    /// Whether copies and frames that come back are possible: the team is switch-independent and has had two live
    /// members.
    pub(crate) const fn judges(&self) -> bool {
        self.copies
    }

    /// With what the judgement needs of the packet. Apart from the decision, so that their frames do not add up.
    #[inline(always)]
    pub(crate) fn completed(&self, mut decision: Decision, packet: &Packet<'_>) -> Decision {
        if !decision.trace.is_none() {
            self.read_trace(&mut decision, packet);
        }
        decision
    }

    #[inline(never)]
    fn read_trace(&self, decision: &mut Decision, packet: &Packet<'_>) {
        let carried = decision.sent.carried();
        decision.trace.digest = self.secret.digest(packet.window, carried.vlan, carried.in_bytes);
        decision.trace.from = source_of(packet.window);
    }

    /// Unicast from outside for a known vNIC: never dropped for its member alone.
    pub(crate) fn receive(
        &self,
        source_port: &SourcePort,
        sent: FrameTag,
        port: &Port,
        packet: &Packet<'_>,
    ) -> Decision {
        let sent = sent.keyed(source_port.vlans);
        let bits = match self.admit(source_port, sent, port) {
            Ok(bits) => bits,
            Err(reason) => return Decision::refused_by(port.id.port, reason),
        };
        let from = source_of(packet.window);
        let vlan = sent.carried().vlan;
        if port.current_mac == from {
            return Decision::refused_by(port.id.port, DropReason::Reflection);
        }
        let decision = Decision { bits, sent, ..Decision::new(Verdict::Deliver(port.id)) };
        let member = MemberIndex::from_nic(source_port.nic.index).filter(|_| self.judges());
        let watched = member.is_some_and(|member| self.watch.sees(port.id.port, member, packet.now));
        let kind = match watched {
            true => Judgement::Judged,
            false if self.ports.searches() && !self.is_fresh(from, vlan, packet.now) => Judgement::Heard,
            false => return decision,
        };
        let to = destination_of(packet.window);
        let to_vnic = port.addresses().any(|own| own == to) || self.ports.is_lent_here(to);
        Decision { trace: Trace { kind, to_vnic, ..Trace::NONE }, ..decision }
    }

    /// The address is known to be outside and need not be stamped anew.
    fn is_fresh(&self, from: MacAddr, vlan: Option<VlanId>, now: Ticks) -> bool {
        self.outside.seen(from, vlan, now).is_some_and(|(mark, age)| mark == CONFIRMED && age == Ticks::ZERO)
    }

    /// Whether an address is known to be outside.
    pub fn is_external_address(&self, mac: MacAddr, vlan: Option<VlanId>, now: Ticks) -> bool {
        self.outside.find(mac, vlan, now) == Some(CONFIRMED)
    }

    /// Whether the frame has just come from outside: it teaches nothing about the port that sends it back.
    pub(crate) fn came_from_outside(
        &self,
        packet: &Packet<'_>,
        vlan: Option<VlanId>,
        in_bytes: bool,
    ) -> bool {
        let digest = self.secret.digest(packet.window, vlan, in_bytes);
        digest.is_some_and(|digest| self.credits.came_from_outside(digest, packet.now))
    }

    /// Judges a packet that is alone in its list. Call it once, when the destinations are about to be committed.
    /// `whole`: no adapter segments it or has put it together.
    #[inline(never)]
    pub fn judge(&self, source_port: &SourcePort, decision: Decision, now: Ticks, whole: bool) -> Judged {
        let Trace { digest, kind, .. } = decision.trace;
        let digest = digest.filter(|_| whole && kind == Judgement::Judged);
        match source_port.origin {
            source::Origin::External => self.judge_arrival(source_port, decision, digest, now),
            _ => self.judge_departure(source_port, decision, digest, now),
        }
    }

    /// A frame of this host leaves: credits for its way back.
    fn judge_departure(
        &self,
        source_port: &SourcePort,
        decision: Decision,
        digest: Option<NonZeroU64>,
        now: Ticks,
    ) -> Judged {
        let plain = Judged::plain(decision);
        let (Verdict::Uplink(member) | Verdict::Flood { uplink: Some(member) }) = decision.verdict else {
            return plain;
        };
        let left = digest.and_then(|digest| {
            let frame = Frame { digest, others: MemberSet::ALL.without(member), now };
            let receipt = self.credits.send(&frame, Source::port(source_port.nic.port.get()))?;
            Some(Left { digest, receipt })
        });
        if left.is_none() {
            let vlan = decision.sent.carried().vlan;
            self.learned.note_unrecorded(decision.trace.from, vlan, now);
        }
        Judged { credits: left, unrecorded: left.is_none() && digest.is_some(), ..plain }
    }

    fn judge_arrival(
        &self,
        source_port: &SourcePort,
        decision: Decision,
        digest: Option<NonZeroU64>,
        now: Ticks,
    ) -> Judged {
        let Trace { from, to_vnic, .. } = decision.trace;
        let dropped = |reason| Judged::plain(Decision::dropped(reason));
        let floods = matches!(decision.verdict, Verdict::Flood { .. });
        if floods && !self.reaches_any(source_port, &self.audience(&decision), 0) {
            return dropped(DropReason::NoDestination);
        }
        let (mut judged, mut marked) = (Judged::plain(decision), true);
        if let Some(digest) = digest {
            let member = MemberIndex::from_nic(source_port.nic.index).filter(|_| self.judges());
            // Also for members that are not live: one whose link has just come up receives already.
            let others = member.map_or(MemberSet::EMPTY, |member| MemberSet::ALL.without(member));
            let frame = Frame { digest, others, now };
            let origin = if floods { Source::OUTSIDE } else { Source::WATCHED };
            match member.map(|member| self.credits.arrive(&frame, member, origin)) {
                Some(Arrival::Again(Origin::External)) => return dropped(DropReason::Duplicate),
                Some(Arrival::Again(Origin::Host)) => return dropped(DropReason::Reflection),
                Some(Arrival::Unrecorded) => judged.unrecorded = true,
                Some(Arrival::News(Some(receipt))) => judged.credits = Some(Left { digest, receipt }),
                Some(Arrival::News(None)) | None => {
                    marked = !self.ports.searches() || self.credits.mark(&frame);
                }
            }
        }
        let vlan = decision.sent.carried().vlan;
        let mut is_external = false;
        if self.ports.searches() {
            is_external = self.hear(from, vlan, digest, to_vnic, now);
            if judged.unrecorded || !marked {
                self.outside.note_unrecorded(from, vlan, now);
            }
        }
        // What a port says meanwhile does not count for this frame.
        let owner = if is_external { None } else { self.owner(from, vlan, now) };
        match decision.verdict {
            Verdict::Deliver(nic) if Some(nic.port) == owner => {
                self.take_back(judged.credits);
                Judged::plain(Decision::refused_by(nic.port, DropReason::Reflection))
            }
            _ => {
                judged.decision.owner = owner.unwrap_or(PortId::DEFAULT);
                judged
            }
        }
    }

    /// A frame that was judged is not delivered or sent after all.
    pub fn take_back(&self, credits: Option<Left>) {
        if let Some(Left { digest, receipt }) = credits {
            self.credits.withdraw(digest, receipt);
        }
    }

    /// The port that owns an address: nothing from outside with this source is delivered to it, because it would take
    /// the address for used by somebody else (RFC 4862, 5.4.3; RFC 5227).
    fn owner(&self, mac: MacAddr, vlan: Option<VlanId>, now: Ticks) -> Option<PortId> {
        if let Some(holder) = self.holder(mac, vlan) {
            return Some(holder.id.port);
        }
        if let Some(port) = self.ports.lookup(mac) {
            return (port.current_mac == mac).then_some(port.id.port);
        }
        // Where an adapter of this host may be about to speak again, what a bridge has said is worth nothing.
        if !self.ports.searches() || self.ports.is_lent_here(mac) {
            return None;
        }
        self.ports.at(self.learned.find(mac, vlan, now)?).map(|port| port.id.port)
    }

    /// News from outside with this source; whether that is outside now. Addresses that the switch announced (NIC_CREATE)
    /// never move; one that was learned moves outside, see `SETTLED`.
    fn hear(
        &self,
        from: MacAddr,
        vlan: Option<VlanId>,
        digest: Option<NonZeroU64>,
        to_vnic: bool,
        now: Ticks,
    ) -> bool {
        if self.ports.lookup(from).is_some() || self.ports.is_lent_here(from) {
            return false;
        }
        let young = self.learned.seen(from, vlan, now).is_some_and(|(_, age)| age < SETTLED);
        if young && self.judges() && !to_vnic {
            if is_recent(self.learned.unrecorded(from, vlan, now)) {
                return false;
            }
            let part = digest.map_or(0, |digest| digest.get() % DIGESTS);
            let sign = usize::try_from(part).unwrap_or(0).saturating_add(HEARD_ONCE);
            let earlier = self.outside.seen(from, vlan, now).filter(|(_, age)| *age < SETTLED);
            if earlier.is_none_or(|(before, _)| before == sign || before == CONFIRMED) {
                self.outside.learn(from, vlan, sign, now);
                return false;
            }
        }
        self.learned.remove(from, vlan);
        self.outside.learn(from, vlan, CONFIRMED, now);
        true
    }

    /// A frame from a port that may send with any source address: learns it, unless the frame only comes back.
    #[inline(never)] // not in the decision about ports that may not
    pub(crate) fn learn(
        &self,
        packet: &Packet<'_>,
        (mac, vlan, in_bytes): (MacAddr, Option<VlanId>, bool),
        position: usize,
    ) {
        if self.learned.refresh(mac, vlan, position, packet.now)
            || self.came_from_outside(packet, vlan, in_bytes)
        {
            return;
        }
        let outside = self.outside.find(mac, vlan, packet.now);
        if outside == Some(CONFIRMED) && is_recent(self.outside.unrecorded(mac, vlan, packet.now)) {
            // What came from there, and cannot be told from what the port says.
            return;
        }
        self.learned.learn(mac, vlan, position, packet.now);
        match outside {
            Some(CONFIRMED) => self.outside.learn(mac, vlan, CONTESTED, packet.now),
            Some(_) => self.outside.remove(mac, vlan),
            None => {}
        }
    }
}

/// Whether what left no credit so long ago may come once more.
fn is_recent(age: Option<Ticks>) -> bool {
    age.is_some_and(|age| age.get() <= LIFE.get())
}

fn destination_of(window: &[u8]) -> MacAddr {
    window.first_chunk::<6>().map_or(MacAddr::ZERO, |bytes| MacAddr(*bytes))
}

/// The source address; a window that is judged holds an Ethernet header.
fn source_of(window: &[u8]) -> MacAddr {
    let bytes = window.get(6..12).and_then(|bytes| bytes.first_chunk::<6>());
    bytes.map_or(MacAddr::ZERO, |bytes| MacAddr(*bytes))
}
