//! Physical adapters behind the external port: link, speed, transmit queue and loss.
//!
//! Time is virtual and no function waits: the arrival time of a frame is computed when it is queued, and the frame is
//! lost if the link fails before. `ndis::edges` passes frames to the adapters, `scenario` changes links, `control`
//! completes requests to an adapter.

pub mod capabilities;
pub mod identity;
pub mod ipsec;
pub mod lists;
pub mod network;
pub mod offloads;
pub mod physical_switch;
pub mod sriov;
mod uses;
pub mod vmq;
pub mod wire;

pub use identity::{instance_id, of_instance};

use crate::adapter::identity::Identity;
use crate::adapter::network::wire::Wire;
use crate::adapter::network::{Network, Return, Travelling};
use crate::adapter::physical_switch::{Aggregation, Complaint, PhysicalSwitch};
use crate::machine::interfaces::{self, Interface};
use crate::switch::frames::{FrameId, FrameOutcome, Frames, Origin};
use crate::switch::ports::NicId;
use std::collections::{BTreeMap, VecDeque};

pub const GIGABIT: u64 = 1_000_000_000;
/// A second in units of 100 ns.
const SECOND: u64 = 10_000_000;
/// Bits on the wire in addition to the frame's bytes: preamble, frame check sequence, interframe gap.
const WIRE_OVERHEAD: u64 = 24 * 8;

#[derive(Clone, Copy, Debug)]
struct Queued {
    frame: FrameId,
    /// VLAN on the wire, and whether its tag is the one beside the bytes.
    vid: u16,
    tagged: bool,
    arrives: u64,
    order: u64,
}

#[derive(Debug)]
pub struct Adapter {
    pub index: u16,
    pub link_up: bool,
    pub bits_per_second: u64,
    /// Latency to the physical switch, and its largest variation, in units of 100 ns.
    pub latency: u64,
    pub jitter: u64,
    queue: VecDeque<Queued>,
    wire_free_at: u64,
    last_arrival: u64,
    pub sent: u64,
    pub lost: u64,
    pub offloads: offloads::Offloads,
    /// What the operating system says of its interface.
    pub view: InterfaceView,
    pub identity: Identity,
}

/// How the operating system's row of an adapter's interface tells its link.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum RowKind {
    /// By the state of the media and the operational status alike.
    #[default]
    Plain,
    /// By the state of the media alone: the operational status is dormant.
    Media,
    /// By the operational status alone: nobody knows the media.
    Status,
    /// By the flag NotMediaConnected; the rest says that it is up.
    Flag,
    /// Not at all: everything is unknown.
    Unknown,
    /// The row is another interface's, which is down.
    Other,
    /// There is no such interface.
    Missing,
}

#[derive(Clone, Copy, Debug, Default)]
pub struct InterfaceView {
    pub kind: RowKind,
    /// How long a query takes.
    pub takes: u64,
    /// The newest row said that the link is down.
    pub told_down: bool,
}

impl Adapter {
    pub fn new(index: u16, bits_per_second: u64, latency: u64, jitter: u64) -> Self {
        Self {
            index,
            link_up: true,
            bits_per_second,
            latency,
            jitter,
            queue: VecDeque::new(),
            wire_free_at: 0,
            last_arrival: 0,
            sent: 0,
            lost: 0,
            offloads: offloads::Offloads::default(),
            view: InterfaceView::default(),
            identity: Identity::new(index),
        }
    }

    /// The row of the operating system's interface table, if there is one.
    fn interface(&self, id: interfaces::Id) -> Option<Interface> {
        let (media, oper) = if self.link_up { (1, 1) } else { (2, 2) };
        let plain = Interface {
            media,
            oper,
            flags: 0,
            bits_per_second: self.bits_per_second,
            id,
            takes: self.view.takes,
        };
        match self.view.kind {
            RowKind::Plain => Some(plain),
            RowKind::Media => Some(Interface { oper: 5, ..plain }),
            RowKind::Status => Some(Interface { media: 0, ..plain }),
            RowKind::Flag => {
                Some(Interface { media: 1, oper: 1, flags: if self.link_up { 0 } else { 0x10 }, ..plain })
            }
            RowKind::Unknown => Some(Interface { media: 0, oper: 4, ..plain }),
            RowKind::Other => Some(Interface { media: 2, oper: 2, id: [0xEE; 16], ..plain }),
            RowKind::Missing => None,
        }
    }
}

/// A frame that reached the physical network.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Arrival {
    pub frame: FrameId,
    pub member: u16,
    pub vid: u16,
    pub at: u64,
}

#[derive(Default)]
pub struct ExternalNetwork {
    pub external_port: u32,
    pub adapters: BTreeMap<u16, Adapter>,
    pub physical: PhysicalSwitch,
    /// What lies behind the cables.
    pub network: Network,
    /// Frames that the network sends back.
    pub returning: Vec<Return>,
    /// The driver's mode was changed while it ran, so the mode in effect is not known here.
    pub mode_unknown: bool,
    pub arrivals: Vec<Arrival>,
    order: u64,
}

impl ExternalNetwork {
    /// The index under which an adapter is bound.
    pub fn index_of(&self, number: u16) -> Option<u16> {
        self.adapters.values().find(|a| a.identity.number == number).map(|a| a.index)
    }

    /// The row of an adapter's interface, and whether it is the first that says that the link is up again.
    pub fn interface(&mut self, index: u16, id: interfaces::Id) -> Option<(Interface, bool)> {
        let adapter = self.adapters.get_mut(&index)?;
        let row = adapter.interface(id)?;
        let came_up = std::mem::replace(&mut adapter.view.told_down, !adapter.link_up) && adapter.link_up;
        Some((row, came_up))
    }

    /// The driver's teaming mode, if it is known.
    pub fn mode(&self) -> Option<Aggregation> {
        (!self.mode_unknown).then_some(self.physical.aggregation)
    }

    /// Queues a frame on a member in a VLAN. `draw` returns a random number below its argument.
    pub fn transmit(
        &mut self,
        frames: &mut Frames,
        (frame, (vid, tagged)): (FrameId, (u16, bool)),
        member: u16,
        now: u64,
        draw: impl FnOnce(u64) -> u64,
    ) {
        let bits = frames.all.get(frame).map_or(0, |f| f.bytes.len() as u64 * 8) + WIRE_OVERHEAD;
        let Some(adapter) = self.adapters.get_mut(&member) else {
            return frames.end(frame, FrameOutcome::LostBeforeIndication { member });
        };
        if !adapter.link_up {
            adapter.lost += 1;
            return frames.end(frame, FrameOutcome::LostBeforeIndication { member });
        }
        let start = now.max(adapter.wire_free_at);
        adapter.wire_free_at = start + (bits * SECOND).div_ceil(adapter.bits_per_second.max(1));
        let varying = draw(adapter.jitter + 1);
        let arrives = (adapter.wire_free_at + adapter.latency + varying).max(adapter.last_arrival);
        adapter.last_arrival = arrives;
        self.order += 1;
        adapter.queue.push_back(Queued { frame, vid, tagged, arrives, order: self.order });
        frames.depart(frame);
    }

    /// Delivers all frames that are due, in order of time.
    pub fn settle(&mut self, frames: &mut Frames, now: u64) -> Vec<Complaint> {
        let mut complaints = Vec::new();
        while let Some((member, due)) = self.next_due(now) {
            let Some(adapter) = self.adapters.get_mut(&member) else { break };
            adapter.queue.pop_front();
            adapter.sent += 1;
            self.arrivals.push(Arrival { frame: due.frame, member, vid: due.vid, at: due.arrives });
            let to = NicId::new(self.external_port, member);
            frames.arrive(due.frame, FrameOutcome::Delivered { to, at: due.arrives });
            if let Some(frame) = frames.all.get(due.frame) {
                if self.network.is_simulated() {
                    let up: Vec<u16> =
                        self.adapters.values().filter(|a| a.link_up).map(|a| a.index).collect();
                    let whole = Wire::of(&frame.bytes, if due.tagged { due.vid } else { 0 });
                    let size = frame.segment.map(usize::from);
                    for mut wire in size.map_or_else(|| vec![whole.clone()], |size| whole.segments(size)) {
                        wire.leave();
                        let origin = Origin { divided: size.is_some(), ..frame.origin };
                        let frame = Travelling { wire, origin };
                        self.returning.extend(self.network.from_member(member, &frame, &up, due.arrives));
                    }
                }
                complaints.extend(self.physical.receive(
                    (member, due.vid),
                    due.frame,
                    &frame.bytes,
                    frame.from,
                ));
            }
        }
        complaints
    }

    fn next_due(&self, now: u64) -> Option<(u16, Queued)> {
        (self.adapters.values())
            .filter_map(|adapter| adapter.queue.front().map(|first| (adapter.index, *first)))
            .filter(|(_, first)| first.arrives <= now)
            .min_by_key(|(_, first)| (first.arrives, first.order))
    }

    /// Time at which the next queued frame arrives.
    pub fn next_arrival(&self) -> Option<u64> {
        self.adapters.values().filter_map(|a| a.queue.front()).map(|first| first.arrives).min()
    }

    /// Time at which the last queued frame arrives.
    pub fn busy_until(&self) -> u64 {
        self.adapters.values().filter_map(|a| a.queue.back()).map(|last| last.arrives).max().unwrap_or(0)
    }

    /// Changes the link of a member; if it goes down, queued frames are lost.
    pub fn set_link(&mut self, frames: &mut Frames, member: u16, up: bool, now: u64) -> Vec<Complaint> {
        let complaints = self.settle(frames, now);
        if let Some(adapter) = self.adapters.get_mut(&member) {
            adapter.link_up = up;
            adapter.wire_free_at = now;
            adapter.last_arrival = now;
            if !up {
                self.network.link_lost(member);
                for queued in std::mem::take(&mut adapter.queue) {
                    adapter.lost += 1;
                    frames.arrive(queued.frame, FrameOutcome::LostBeforeIndication { member });
                }
            }
        }
        self.physical.team_changed();
        complaints
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_two_members() -> (ExternalNetwork, Frames) {
        let mut external = ExternalNetwork { external_port: 1, ..ExternalNetwork::default() };
        external.adapters.insert(1, Adapter::new(1, GIGABIT, 100, 0));
        external.adapters.insert(2, Adapter::new(2, GIGABIT, 900, 0));
        (external, Frames::default())
    }

    fn add(frames: &mut Frames) -> FrameId {
        frames.add(0, NicId::new(5, 0), &[0; 1000], 0)
    }

    #[test]
    fn a_frame_takes_its_time_on_the_wire_and_waits_for_the_one_before() {
        let (mut external, mut frames) = with_two_members();
        let (a, b) = (add(&mut frames), add(&mut frames));
        external.transmit(&mut frames, (a, (0, false)), 1, 0, |_| 0);
        external.transmit(&mut frames, (b, (0, false)), 1, 0, |_| 0);
        // 8,192 bits at 1 Gbit/s are 81.92 units, rounded up.
        assert!(external.settle(&mut frames, 181).is_empty());
        assert_eq!(external.arrivals, []);
        external.settle(&mut frames, 182);
        assert_eq!(external.arrivals.len(), 1);
        external.settle(&mut frames, 264);
        assert_eq!(external.arrivals[1], Arrival { frame: b, member: 1, vid: 0, at: 264 });
    }

    #[test]
    fn a_slow_member_lets_a_later_frame_of_a_fast_one_overtake() {
        let (mut external, mut frames) = with_two_members();
        let (a, b) = (add(&mut frames), add(&mut frames));
        external.transmit(&mut frames, (a, (0, false)), 2, 0, |_| 0);
        external.transmit(&mut frames, (b, (0, false)), 1, 0, |_| 0);
        external.settle(&mut frames, 10_000);
        assert_eq!(external.arrivals.iter().map(|x| x.frame).collect::<Vec<_>>(), [b, a]);
    }

    #[test]
    fn a_failed_link_loses_what_is_queued_and_what_comes_after() {
        let (mut external, mut frames) = with_two_members();
        let (a, b) = (add(&mut frames), add(&mut frames));
        external.transmit(&mut frames, (a, (0, false)), 1, 0, |_| 0);
        external.set_link(&mut frames, 1, false, 50);
        external.transmit(&mut frames, (b, (0, false)), 1, 60, |_| 0);
        external.settle(&mut frames, 10_000);
        assert_eq!(external.arrivals, []);
        for id in [a, b] {
            assert_eq!(frames.all[id].outcomes, [FrameOutcome::LostBeforeIndication { member: 1 }]);
        }
        assert_eq!(frames.unaccounted().count(), 0);
    }
}
