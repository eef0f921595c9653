//! Broadcasts, multicasts and frames to unknown addresses: their destinations, and which of those that arrive on the
//! external port are accepted. The rare half of the decision that `forward` begins. It parses the headers again:
//! handing them over would force them into memory for every packet.

use crate::Storage;
use crate::forward::drop_reason::DropReason;
use crate::forward::source::{FrameTag, Origin, SourcePort};
use crate::forward::{Decision, Forwarding, OutOfBand, Packet, Target, Verdict};
use crate::frame;
use crate::ids::{MacAddr, Ticks};

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
        let headers = frame::parse(packet.window);
        let to = headers.destination;
        let heard = self.learned.find(to, sent.carried().vlan, packet.now);
        if let Some(port) = heard.and_then(|position| self.ports.at(position)).filter(|port| port.may_learn())
        {
            return self.deliver(source_port, sent, port);
        }
        let outside = source_port.origin == Origin::External;
        if outside && let Some(reason) = self.refuses(source_port, headers.source, sent, packet.now) {
            return Decision::dropped(reason);
        }
        let uplink =
            if outside { Err(DropReason::NoDestination) } else { self.uplink_bits(source_port, sent) };
        let uplink =
            uplink.and_then(|bits| Ok((bits, self.member(source_port, packet, headers, out_of_band)?)));
        let decision = Decision { to, sent, ..Decision::new(Verdict::Flood { uplink: None }) };
        let behind_a_port = self.ports.learns() && self.flood(source_port, &decision, 0).next().is_some();
        match (uplink, behind_a_port) {
            (Ok((bits, (member, basis))), false) => {
                Decision { basis, bits, to: MacAddr::ZERO, verdict: Verdict::Uplink(member), ..decision }
            }
            (Ok((bits, (member, basis))), true) => {
                Decision { basis, bits, verdict: Verdict::Flood { uplink: Some(member) }, ..decision }
            }
            (Err(_), true) => decision,
            (Err(reason), false) => self.not_outside(reason),
        }
    }

    /// Why a broadcast, multicast or unknown unicast from the external port is dropped.
    fn refuses(
        &self,
        source_port: &SourcePort,
        source: MacAddr,
        sent: FrameTag,
        now: Ticks,
    ) -> Option<DropReason> {
        if !self.receive.takes(source_port.nic.index) {
            return Some(DropReason::NotReceiver);
        }
        let ours = self.ports.lookup(source).is_some()
            || self.ports.learns() && self.learned.find(source, sent.carried().vlan, now).is_some();
        ours.then_some(DropReason::Reflection)
    }

    #[inline(never)]
    pub(crate) fn decide_group(
        &self,
        source_port: &SourcePort,
        sent: FrameTag,
        packet: &Packet<'_>,
        out_of_band: &OutOfBand<'_>,
    ) -> Decision {
        let headers = frame::parse(packet.window);
        let to = headers.destination;
        let inward = Decision { to, sent, ..Decision::new(Verdict::Flood { uplink: None }) };
        let stays = to.link_local().is_some_and(|number| !self.link_local_forwarded.contains(number));
        if stays
            && (source_port.origin == Origin::External
                || self.flood(source_port, &inward, 0).next().is_none())
        {
            return Decision::dropped(DropReason::LinkLocal);
        }
        if stays {
            return inward;
        }
        if source_port.origin == Origin::External {
            return self
                .refuses(source_port, headers.source, sent, packet.now)
                .map_or(inward, Decision::dropped);
        }
        let Ok(bits) = self.uplink_bits(source_port, sent) else { return inward };
        match self.member(source_port, packet, headers, out_of_band) {
            Ok((member, basis)) => {
                Decision { basis, bits, verdict: Verdict::Flood { uplink: Some(member) }, ..inward }
            }
            Err(_) => inward,
        }
    }

    /// The vNICs that a flood reaches, each with the position after it, where the next batch goes on after the lock was
    /// released. A destination is checked in the batch that commits it.
    pub fn flood<'a>(
        &'a self,
        source_port: &'a SourcePort,
        decision: &Decision,
        from: usize,
    ) -> impl Iterator<Item = (usize, Target)> + 'a {
        let (to, sent) = (decision.to, decision.sent);
        (from..self.ports.positions()).filter_map(move |position| {
            let port = self.ports.at(position).filter(|port| port.id != source_port.nic)?;
            let wanted = match to.is_multicast() {
                false => port.may_learn(),
                true => to.is_broadcast() || !self.prune_multicast || self.ports.is_member_of(position, to),
            };
            let bits = self.admit(source_port, sent, port).ok().filter(|_| wanted)?;
            Some((position.saturating_add(1), Target { nic: port.id, bits }))
        })
    }
}
