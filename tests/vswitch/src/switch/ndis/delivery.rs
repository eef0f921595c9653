//! The protocol edge delivers packets to their destinations.

use crate::machine::world::World;
use crate::reference::vlan::wire_vid;
use crate::switch::frames::{FrameId, FrameOutcome};
use crate::switch::ndis::State;
use crate::switch::ports::NicId;
use lbfoext::ndis::raw::{DestinationBits, FAILURE};

impl State {
    /// Delivers a packet to every destination that is not excluded.
    pub fn deliver(&mut self, world: &World, list: usize) {
        let now = world.now();
        let Some(packet) = self.packets.at(list) else { return };
        let module = packet.switch;
        let frames = packet.frames.clone();
        let (native, unfound) = (packet.is_native(), packet.unfound);
        let source = packet.source;
        let tag = packet.tag_below;
        let committed = packet.context.as_ref().map(|c| c.committed.clone()).unwrap_or_default();
        let chosen = packet.chosen.take();
        let m = &mut self.modules[module];
        for destination in committed {
            let loops = m.topology.is_external(destination.port_id) && m.topology.is_external(source.port);
            if destination.bits.contains(DestinationBits::IS_EXCLUDED) || native || loops {
                continue;
            }
            let to = NicId::new(destination.port_id, destination.nic_index);
            let meant = |id: &&FrameId| {
                chosen.as_ref().is_none_or(|all| all.get(*id).is_some_and(|all| all.contains(&to)))
            };
            for &id in frames.iter().filter(meant) {
                if m.topology.is_external(to.port) && unfound {
                    // sending-network-data-with-ipsec-offload-version-2
                    self.frames.end(id, FrameOutcome::Failed { status: FAILURE });
                } else if m.topology.is_external(to.port) {
                    // Index 0 may also denote a single adapter.
                    let member = if to.index == 0 { 1 } else { to.index };
                    let vid = wire_vid(self.frames.all.get(id).map_or(&[], |f| &f.bytes), tag, destination);
                    m.external.transmit(&mut self.frames, (id, vid), member, now, |n| world.random(n));
                } else {
                    self.frames.end(id, FrameOutcome::Delivered { to, at: now });
                }
                world.log(|| format!("frame {id} to {to}"));
            }
        }
    }
}
