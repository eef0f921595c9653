//! Broadcasts, multicasts and frames to unknown addresses: their destinations. The rare half of the decision
//! that `forward` begins. It parses the headers again: handing them over would force them into memory for every packet.

use crate::Storage;
use crate::forward::drop_reason::DropReason;
use crate::forward::source::{FrameTag, Origin, SourcePort};
use crate::forward::trace::Trace;
use crate::forward::{Decision, Forwarding, OutOfBand, Packet, Target, Verdict};
use crate::frame;
use crate::ids::{MacAddr, PortId};
use crate::ports::Port;
use crate::ports::policy;
use crate::ports::port::Preserve;

impl<S: Storage> Forwarding<S> {
    /// A frame to an address that no vNIC has: to a learned address, to the external port, or dropped.
    #[inline(never)]
    pub(crate) fn decide_unknown(
        &self,
        source_port: &SourcePort,
        sent: FrameTag,
        packet: &Packet<'_>,
        out_of_band: &OutOfBand<'_>,
    ) -> Decision {
        self.completed(self.reach_unknown(source_port, sent, packet, out_of_band), packet)
    }

    #[inline(never)]
    fn reach_unknown(
        &self,
        source_port: &SourcePort,
        sent: FrameTag,
        packet: &Packet<'_>,
        out_of_band: &OutOfBand<'_>,
    ) -> Decision {
        let headers = frame::parse(packet.window);
        let to = headers.destination;
        let vlan = sent.carried().vlan;
        if let Some(port) = self.holder(to, vlan) {
            return self.deliver(source_port, sent, port, packet);
        }
        let heard = self.learned.find(to, vlan, packet.now);
        if let Some(port) = heard.and_then(|position| self.ports.at(position)).filter(|port| port.may_learn())
        {
            return self.deliver(source_port, sent, port, packet);
        }
        if source_port.origin == Origin::External {
            return self.receive_unknown(source_port, sent, packet, to);
        }
        let uplink = self
            .uplink_bits(source_port, sent)
            .and_then(|bits| Ok((bits, self.member(source_port, packet, headers, out_of_band)?)));
        let decision = Decision { to, sent, ..Decision::new(Verdict::Flood { uplink: None }) };
        let known_outside = self.is_external_address(to, vlan, packet.now);
        let behind_a_port = !known_outside
            && self.ports.learns()
            && self.reaches_any(source_port, &self.audience(&decision), 0);
        let leaves = self.judges() && uplink.is_ok() && !known_outside;
        let trace = if leaves { Trace::JUDGED } else { Trace::NONE };
        match (uplink, behind_a_port) {
            (Ok((bits, (member, basis))), false) => Decision {
                basis,
                bits,
                trace,
                to: MacAddr::ZERO,
                verdict: Verdict::Uplink(member),
                ..decision
            },
            (Ok((bits, (member, basis))), true) => {
                Decision { basis, bits, trace, verdict: Verdict::Flood { uplink: Some(member) }, ..decision }
            }
            (Err(_), true) => decision,
            (Err(reason), false) => self.not_outside(reason),
        }
    }

    /// A frame from outside to an address that no vNIC has: to the ports that may learn, unless the address is known to
    /// be outside, too.
    fn receive_unknown(
        &self,
        source_port: &SourcePort,
        sent: FrameTag,
        packet: &Packet<'_>,
        to: MacAddr,
    ) -> Decision {
        let sent = sent.keyed(source_port.vlans);
        if !self.ports.learns() || self.is_external_address(to, sent.carried().vlan, packet.now) {
            return Decision::dropped(DropReason::NoDestination);
        }
        Decision { to, sent, trace: Trace::JUDGED, ..Decision::new(Verdict::Flood { uplink: None }) }
    }

    /// A broadcast or multicast frame.
    #[inline(never)]
    pub(crate) fn decide_group(
        &self,
        source_port: &SourcePort,
        sent: FrameTag,
        packet: &Packet<'_>,
        out_of_band: &OutOfBand<'_>,
    ) -> Decision {
        self.completed(self.reach_group(source_port, sent, packet, out_of_band), packet)
    }

    #[inline(never)]
    fn reach_group(
        &self,
        source_port: &SourcePort,
        sent: FrameTag,
        packet: &Packet<'_>,
        out_of_band: &OutOfBand<'_>,
    ) -> Decision {
        let headers = frame::parse(packet.window);
        let to = headers.destination;
        let outside = source_port.origin == Origin::External;
        let sent = if outside { sent.keyed(source_port.vlans) } else { sent };
        let inward = Decision { to, sent, ..Decision::new(Verdict::Flood { uplink: None }) };
        let stays = to.link_local().is_some_and(|number| !self.link_local_forwarded.contains(number));
        if stays && (outside || !self.reaches_any(source_port, &self.audience(&inward), 0)) {
            return Decision::dropped(DropReason::LinkLocal);
        }
        if stays {
            return inward;
        }
        if outside {
            return Decision { trace: Trace::JUDGED, ..inward };
        }
        let Ok(bits) = self.uplink_bits(source_port, sent) else { return inward };
        match self.member(source_port, packet, headers, out_of_band) {
            Ok((member, basis)) => {
                let trace = if self.judges() { Trace::JUDGED } else { Trace::NONE };
                Decision { basis, bits, trace, verdict: Verdict::Flood { uplink: Some(member) }, ..inward }
            }
            Err(_) => inward,
        }
    }

    /// The vNICs that a decision is for, if it is a flood.
    pub fn audience(&self, decision: &Decision) -> Audience {
        let &Decision { to, sent, owner, .. } = decision;
        // An address may be in use at one port, and another one's by its announcement: neither gets its own frames.
        let shared = (owner != PortId::DEFAULT && self.ports.lends_any()).then_some(decision.trace.from);
        let all = to.is_broadcast() || to.is_multicast() && !self.prune_multicast;
        Audience { to, sent, key: policy::comparable(sent.key), owner, shared, all }
    }

    /// Whether a flood reaches a vNIC at this position of the port table or after it.
    pub fn reaches_any(&self, source_port: &SourcePort, audience: &Audience, from: usize) -> bool {
        let mut left = self.ports.places().iter().enumerate().skip(from);
        left.any(|(position, port)| self.reaches(source_port, audience, position, port).is_some())
    }

    /// Whether the tag must come off a packet's bytes, because some destination gets frames without one. What then goes
    /// to all of them has the tag out-of-band, where those that keep it find it.
    #[inline]
    pub fn takes_tag_off(&self, source_port: &SourcePort, decision: &Decision) -> bool {
        // In the bytes, or it comes off for nobody.
        decision.sent.comes_off(Preserve::NOTHING) && self.takes_tag_off_bytes(source_port, decision)
    }

    #[cold]
    #[inline(never)] // keeps the frames of its callers small
    fn takes_tag_off_bytes(&self, source_port: &SourcePort, decision: &Decision) -> bool {
        let one = decision.sent.comes_off(decision.bits);
        match decision.verdict {
            Verdict::Deliver(_) | Verdict::Uplink(_) => one,
            Verdict::Flood { uplink } => {
                one && uplink.is_some() || self.takes_tag_off_for_any(source_port, decision)
            }
            Verdict::Native | Verdict::Drop(_) | Verdict::RefusedBy(..) => false,
        }
    }

    #[inline(never)] // for few packets
    fn takes_tag_off_for_any(&self, source_port: &SourcePort, decision: &Decision) -> bool {
        let audience = self.audience(decision);
        let mut ports = self.ports.places().iter().enumerate();
        ports.any(|(position, port)| {
            let kept = self.reaches(source_port, &audience, position, port);
            kept.is_some_and(|kept| decision.sent.comes_off(kept))
        })
    }

    /// The next vNICs that a flood reaches, from this position of the port table on; none if there are no more. Whoever
    /// releases the lock goes on at `next`: a destination is looked up under the hold that commits it.
    pub fn reach(&self, source_port: &SourcePort, audience: &Audience, from: usize) -> Reached {
        let mut reached = Reached::none(from);
        while let Some(left) = self.ports.places().get(reached.next..).filter(|left| !left.is_empty()) {
            let window = left.get(..Reached::WINDOW).unwrap_or(left);
            reached = Reached::none(reached.next);
            let mut bit = 1_u64;
            for (port, position) in window.iter().zip(reached.first..) {
                if let Some(bits) = self.reaches(source_port, audience, position, port) {
                    reached.ports |= bit;
                    if bits != Preserve::NOTHING {
                        reached.keeps(bit, bits);
                    }
                }
                bit = bit.wrapping_shl(1);
            }
            reached.next = reached.first.saturating_add(window.len());
            if reached.ports != 0 {
                break;
            }
        }
        reached
    }

    /// The destinations that were reached under the same hold of the lock.
    pub fn targets(&self, reached: Reached) -> impl Iterator<Item = Target> + '_ {
        let window = self.ports.places().get(reached.first..).unwrap_or_default();
        let window = window.get(..Reached::WINDOW).unwrap_or(window);
        let mut left = reached.ports;
        core::iter::from_fn(move || {
            let at = left.trailing_zeros();
            left &= left.wrapping_sub(1);
            // None are left: `at` is 64.
            let nic = window.get(at as usize)?.id;
            Some(Target::new(nic, reached.bits(at)))
        })
    }

    /// What the vNIC of a port keeps of the tag, if the flood reaches it.
    #[inline(always)] // for each port
    fn reaches(
        &self,
        source_port: &SourcePort,
        audience: &Audience,
        position: usize,
        port: &Port,
    ) -> Option<Preserve> {
        let &Audience { to, sent, key, owner, shared, all } = audience;
        if !port.is_connected() || port.id == source_port.nic || port.id.port == owner {
            return None;
        }
        if shared.is_some_and(|source| source == port.current_mac) {
            return None;
        }
        if !all {
            let wanted =
                if to.is_multicast() { self.ports.is_member_of(position, to) } else { port.may_learn() };
            if !wanted {
                return None;
            }
        }
        if port.key == key {
            return Some(source_port.priority & port.priority());
        }
        self.admit(source_port, sent, port).ok()
    }
}

/// The vNICs that a flood is for.
#[derive(Debug, Clone, Copy)]
pub struct Audience {
    to: MacAddr,
    sent: FrameTag,
    /// That of ports that may receive it without a full comparison.
    key: u64,
    /// See `Decision::owner`.
    owner: PortId,
    /// The source of the frame, if the port that announced it is not its owner.
    shared: Option<MacAddr>,
    /// Every vNIC that the policies admit, whatever it listens to.
    all: bool,
}

/// vNICs that a flood reaches, as bits for positions of the port table that follow each other; and what each keeps of
/// the tag.
#[derive(Debug, Clone, Copy)]
pub struct Reached {
    /// The position of the lowest bit.
    first: usize,
    /// The position at which the search goes on.
    next: usize,
    ports: u64,
    vlan: u64,
    priority: u64,
}

impl Reached {
    /// Positions of one value.
    const WINDOW: usize = u64::BITS as usize;

    const fn none(from: usize) -> Self {
        Self { first: from, next: from, ports: 0, vlan: 0, priority: 0 }
    }

    fn keeps(&mut self, bit: u64, bits: Preserve) {
        self.vlan |= if bits.contains(Preserve::VLAN) { bit } else { 0 };
        self.priority |= if bits.contains(Preserve::PRIORITY) { bit } else { 0 };
    }

    /// What the vNIC at a position of the window keeps of the tag.
    const fn bits(&self, at: u32) -> Preserve {
        let vlan = if self.vlan.wrapping_shr(at) & 1 == 0 { Preserve::NOTHING } else { Preserve::VLAN };
        let priority = self.priority.wrapping_shr(at) & 1 == 0;
        vlan.union(if priority { Preserve::NOTHING } else { Preserve::PRIORITY })
    }

    pub const fn is_empty(&self) -> bool {
        self.ports == 0
    }

    pub const fn count(&self) -> usize {
        self.ports.count_ones() as usize
    }

    pub const fn next(&self) -> usize {
        self.next
    }

    /// Those that may get the frame with the tag in its bytes, if it has one there.
    #[must_use]
    pub const fn with_bytes_of(mut self, audience: &Audience) -> Self {
        if audience.sent.comes_off(Preserve::NOTHING) {
            self.ports &= self.vlan;
        }
        self
    }

    /// The first of them, at most `most`.
    #[must_use]
    pub fn at_most(mut self, most: usize) -> Self {
        while self.count() > most {
            let last = 63 ^ self.ports.leading_zeros();
            self.ports ^= 1_u64.wrapping_shl(last);
            self.next = self.first.saturating_add(last as usize);
        }
        self
    }
}
