//! Forwarding without a forwarding extension: the switch itself determines destinations and applies the standard port
//! policies, at the miniport edge (forwarding-extensions, packet-flow-through-the-extensible-switch-data-path).
//!
//! It uses the reference, which determines what a forwarding extension must do.

use crate::machine::world::World;
use crate::reference::{Question, Reach, judge};
use crate::switch::frames::{FrameId, FrameOutcome};
use crate::switch::ndis::State;
use crate::switch::ndis::packet::Chosen;
use crate::switch::ports::NicId;
use lbfoext::ndis::raw::{DestinationBits, PortDestination, info};
use std::collections::BTreeSet;

/// The reason with which the switch itself drops a frame.
const NOWHERE: &str = "The switch itself has no destination for it.";

impl State {
    /// Adds the destinations of a list, unless an extension must do so or it is an NVGRE packet.
    pub(super) fn forward_itself(&mut self, world: &World, list: usize) {
        let by_extension = self.installed.role.forwards();
        let Some(packet) = self.packets.at(list).filter(|packet| !by_extension && !packet.is_native()) else {
            return;
        };
        let (module, source, ids) = (packet.switch, packet.source, packet.frames.clone());
        // SAFETY: below the extension, the switch owns the list.
        let (tag, subnet) = (packet.before.info[info::IEEE_8021Q], packet.before.info[info::VIRTUAL_SUBNET]);
        let subnet = (subnet & 0x00FF_FFFF) as u32;
        let of = |id| Some((id, self.destinations_of(module, source, id, (tag, subnet), world.now())?));
        let chosen: Chosen = ids.iter().copied().filter_map(of).collect();
        let all: BTreeSet<NicId> = chosen.values().flatten().copied().collect();
        for id in ids {
            if chosen.get(&id).is_none_or(BTreeSet::is_empty) {
                self.frames.end(id, FrameOutcome::Filtered { reason: NOWHERE.to_owned() });
            }
        }
        let Some(packet) = self.packets.at(list) else { return };
        packet.chosen = Some(chosen);
        let Some(context) = packet.context.as_mut() else { return };
        context.grow(u32::try_from(all.len()).unwrap_or(0));
        let topology = &mut self.modules[module].topology;
        for id in all {
            let outside = topology.is_external(id.port);
            let kept = DestinationBits::PRESERVE_VLAN | DestinationBits::PRESERVE_PRIORITY;
            let bits = if outside { kept } else { DestinationBits::empty() };
            context.append(PortDestination { port_id: id.port, nic_index: id.index, bits });
            if let Some(nic) = topology.nic_mut(id) {
                nic.packets += 1;
                packet.pinned.push(id);
            }
            world.log(|| format!("the switch itself sends packet {} to {id}", packet.name));
        }
    }

    /// The destinations of a frame; of the members one whose link is up.
    fn destinations_of(
        &self,
        module: usize,
        source: NicId,
        frame: FrameId,
        (tag, subnet): (u64, u32),
        now: u64,
    ) -> Option<BTreeSet<NicId>> {
        let m = &self.modules[module];
        let frame = &self.frames.all.get(frame)?.bytes;
        let (topology, learned, holders) = (&m.topology, &m.learned, &m.holders);
        let mode = m.external.mode();
        let (link_local, prunes, unencrypted) = (None, None, false);
        let given = u64::MAX;
        let expected = judge(&Question {
            topology,
            learned,
            holders,
            elsewhere: Vec::new(),
            changed_elsewhere: false,
            mode,
            now,
            given,
            link_local,
            prunes,
            source,
            frame,
            tag,
            subnet,
            unencrypted,
            cut_off: false,
        });
        let way = expected.ways.first().filter(|_| expected.refused.is_none())?;
        let mut all = way.must.clone();
        let up = |id: &NicId| m.external.adapters.get(&id.index).is_some_and(|adapter| adapter.link_up);
        if matches!(way.uplink, Some(Reach::Must | Reach::May(_))) {
            all.extend(topology.members().map(|nic| nic.id).find(up));
        }
        Some(all)
    }
}
