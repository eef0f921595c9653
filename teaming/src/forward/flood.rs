//! Broadcasts, multicasts and frames to unknown addresses: their destinations. The rare half of the decision that `forward` begins. It parses the headers again:
//! handing them over would force them into memory for every packet.

use crate::Storage;
use crate::forward::drop_reason::DropReason;
use crate::forward::source::{FrameTag, Origin, SourcePort};
use crate::forward::trace::Trace;
use crate::forward::{Decision, Forwarding, OutOfBand, Packet, Target, Verdict};
use crate::frame;
use crate::ids::MacAddr;

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
        let behind_a_port =
            !known_outside && self.ports.learns() && self.flood(source_port, &decision, 0).next().is_some();
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
        if stays && (outside || self.flood(source_port, &inward, 0).next().is_none()) {
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

    /// The vNICs that a flood reaches, each with the position after it, where the next batch goes on after the lock was
    /// released. A destination is checked in the batch that commits it.
    pub fn flood<'a>(
        &'a self,
        source_port: &'a SourcePort,
        decision: &Decision,
        from: usize,
    ) -> impl Iterator<Item = (usize, Target)> + 'a {
        let (to, sent, owner) = (decision.to, decision.sent, decision.owner);
        (from..self.ports.positions()).filter_map(move |position| {
            let port = self.ports.at(position).filter(|port| port.id != source_port.nic)?;
            if port.id.port == owner {
                return None;
            }
            let wanted = match to.is_multicast() {
                false => port.may_learn(),
                true => to.is_broadcast() || !self.prune_multicast || self.ports.is_member_of(position, to),
            };
            let bits = self.admit(source_port, sent, port).ok().filter(|_| wanted)?;
            Some((position.saturating_add(1), Target { nic: port.id, bits }))
        })
    }
}
