//! What happens outside of the host: hosts of the external network send, and the physical network carries it.

use super::Net;
use super::life::arrive;
use crate::adapter::ExternalNetwork;
use crate::adapter::network::wire::Wire;
use crate::adapter::network::{Return, Travelling};
use crate::adapter::physical_switch::Aggregation;
use crate::check::arrivals::{Residues, Totals};
use crate::scenario::guest::Packet;
use crate::switch::frames::{FrameId, FrameOutcome, Maker, Origin};
use crate::switch::ndis::with;
use crate::switch::ports::{Mac, NicId};

impl Net {
    /// A frame from the external network reaches the physical switches, which know the destination's port or flood. In a
    /// simulated network it comes from a host that its source address stands for.
    pub fn from_the_network(&self, frame: &[u8]) {
        let module = self.1;
        if self.look(|s| s.modules[module].external.network.is_simulated()) == Some(true) {
            let host = frame.get(10..12).map_or(0, |m| u16::from_be_bytes([m[0], m[1]]));
            return self.host_sends(host, 0, &[frame.to_vec()]);
        }
        let known = self.look(|state| {
            let external = &state.modules[module].external;
            let up: Vec<u16> = external.adapters.values().filter(|a| a.link_up).map(|a| a.index).collect();
            let wire = Wire::of(frame, 0);
            let port = external.physical.port_of(wire.vid, wire.to()).filter(|p| up.contains(p));
            let origin = state.frames.fresh_origin(Maker::External);
            match (external.physical.aggregation, port) {
                (_, Some(port)) => (origin, vec![port]),
                (Aggregation::Static, None) => (origin, up.into_iter().take(1).collect()),
                (Aggregation::SwitchIndependent, None) => (origin, up),
            }
        });
        for (origin, member) in
            known.into_iter().flat_map(|(origin, up)| up.into_iter().map(move |m| (origin, m)))
        {
            let packet = Packet { origin: Some(origin), ..Packet::of(frame.to_vec()) };
            self.receive_external_packets(member, vec![packet]);
        }
    }

    /// A host sends frames in a VLAN. Each is news, also if it says the same as one before.
    pub fn host_sends(&self, host: u16, vid: u16, frames: &[Vec<u8>]) {
        self.sent_outside(vid, frames, |external, frame, up, now| {
            if frame.wire.from()[0] & 1 == 0 {
                external.physical.host(frame.wire.from());
            }
            external.network.from_host(host, &frame, up, now)
        });
    }

    /// A virtual function of a member sends for many: the adapter gives its physical function a copy and sends it on. The
    /// switch has not seen it before.
    pub fn function_sends(&self, member: u16, frames: &[Vec<u8>]) {
        self.sent_outside(0, frames, |external, frame, up, now| {
            external.returning.push(Return { member, frame: frame.clone() });
            external.network.from_member(member, &frame, up, now)
        });
    }

    /// The network carries each frame with what `carry` answers for the members whose link is up; then what comes back
    /// arrives.
    fn sent_outside(
        &self,
        vid: u16,
        frames: &[Vec<u8>],
        carry: impl Fn(&mut ExternalNetwork, Travelling, &[u16], u64) -> Vec<Return> + Sync,
    ) {
        let module = self.1;
        self.inside(|| {
            with(|world, state| {
                let now = world.now();
                let external = &mut state.modules[module].external;
                let up: Vec<u16> =
                    external.adapters.values().filter(|a| a.link_up).map(|a| a.index).collect();
                for frame in frames {
                    let origin = state.frames.fresh_origin(Maker::External);
                    let mut wire = Wire::of(frame, vid);
                    wire.leave();
                    let back = carry(external, Travelling { wire, origin }, &up, now);
                    external.returning.extend(back);
                }
            });
            arrive(module);
        });
    }

    /// Cables a host to one of the physical switches.
    pub fn place_host(&self, host: u16, switch: usize) {
        let module = self.1;
        self.look(|s| s.modules[module].external.network.place(host, switch));
    }

    /// The host is a router, which gets every group.
    pub fn make_router(&self, host: u16) {
        let module = self.1;
        self.look(|s| s.modules[module].external.network.routes(host));
    }

    /// What a host got since the last call: destination, source and origin.
    pub fn heard_by(&self, host: u16) -> Vec<(Mac, Mac, Origin)> {
        let module = self.1;
        let heard = self.look(|s| {
            let all = std::mem::take(&mut s.modules[module].external.network.heard);
            let (mine, rest) = all.into_iter().partition(|(to, ..)| *to == host);
            s.modules[module].external.network.heard = rest;
            mine
        });
        let heard: std::collections::VecDeque<_> = heard.unwrap_or_default();
        heard.into_iter().map(|(_, to, from, origin)| (to, from, origin)).collect()
    }

    /// A bridge in a guest sends on what it got, as it is.
    pub fn bridge_back(&self, guest: NicId, frame: FrameId) {
        let record = self.look(|s| s.frames.all.get(frame).map(|f| (f.bytes.to_vec(), f.origin))).flatten();
        if let Some((bytes, origin)) = record {
            let wire = Wire::of(&bytes, 0);
            let packet = Packet { origin: Some(origin), ..Packet::of(wire.bytes) };
            self.send_packets(vec![(guest, packet)]);
        }
    }

    /// Frames delivered to a NIC so far, by number, that the sender made who is told by the origin's maker.
    pub fn delivered(&self, to: NicId) -> Vec<(FrameId, Origin)> {
        let got = |end: &FrameOutcome| matches!(end, FrameOutcome::Delivered { to: at, .. } if *at == to);
        self.look(|s| {
            let all = s.frames.all.iter().filter(|f| f.outcomes.iter().any(got));
            all.map(|f| (f.id, f.origin)).collect()
        })
        .unwrap_or_default()
    }

    /// What the check of arrivals has counted.
    pub fn residues(&self) -> (Residues, Totals) {
        let module = self.1;
        self.look(|s| (s.modules[module].arrivals.residues, s.modules[module].arrivals.totals))
            .unwrap_or_default()
    }

    /// Copies that a table of the extension cannot tell any more are counted from here on.
    pub fn excuse_a_full_table(&self) {
        let module = self.1;
        self.look(|s| s.modules[module].arrivals.full = true);
    }

    /// The extension's table is so small that it knows only so many frames again.
    pub fn excuse_a_small_table(&self, frames: usize) {
        let module = self.1;
        self.look(|s| s.modules[module].arrivals.known_again = Some(frames));
    }

    /// Whether copies are excused.
    pub fn excuses_a_full_table(&self) -> bool {
        let module = self.1;
        self.look(|s| s.modules[module].arrivals.full).unwrap_or(false)
    }
}
