//! What is asked of the reference: one list, what came in with it and how it is about to leave.

use crate::machine::world::World;
use crate::reference::Question;
use crate::switch::frames::FrameId;
use crate::switch::ndis::State;
use crate::switch::ports::NicId;
use lbfoext::ndis::raw::{PortDestination, info};
use std::sync::Arc;

/// One list under judgement: what came in with it and how it is about to leave.
pub struct Case {
    pub module: usize,
    pub source: NicId,
    pub frames: Vec<(FrameId, Arc<[u8]>)>,
    /// The words of the slots when the extension got it.
    pub tag: u64,
    pub subnet: u32,
    /// The word for 802.1Q now.
    pub tag_now: u64,
    pub got: Vec<PortDestination>,
}

impl Case {
    pub fn question<'a>(&self, state: &'a State, frame: &'a [u8]) -> Question<'a> {
        let m = &state.modules[self.module];
        Question {
            topology: &m.topology,
            learned: &m.learned,
            mode: m.external.mode(),
            source: self.source,
            frame,
            tag: self.tag,
            subnet: self.subnet,
        }
    }

    /// Where the frame comes from and what it says, for a report.
    pub fn told(&self, frame: &[u8]) -> String {
        let head = frame.get(..18).unwrap_or(frame);
        format!("from {} with tag {:#x}, subnet {}, {head:02x?}", self.source, self.tag, self.subnet)
    }

    /// Destinations on ports of vNICs, and how many are on the external port.
    pub fn vnics(&self, state: &State) -> (Vec<NicId>, usize) {
        let topology = &state.modules[self.module].topology;
        let (external, inside): (Vec<NicId>, Vec<NicId>) = self
            .got
            .iter()
            .map(|d| NicId::new(d.port_id, d.nic_index))
            .partition(|id| topology.is_external(id.port));
        (inside, external.len())
    }
}

/// The list and its circumstances; `None` if it cannot be judged.
pub fn case(world: &World, state: &mut State, module: usize, list: usize) -> Option<Case> {
    if world.injected_fault().is_some() {
        return None;
    }
    let packet = state.packets.at(list)?;
    let parent = packet.own.map(|own| own.parent);
    let (source, fault, native, ids) =
        (packet.source, packet.fault, packet.is_native(), packet.frames.clone());
    let got = packet.context.as_ref().map(|c| c.committed.clone()).unwrap_or_default();
    // SAFETY: the packet is in the extension's hands and so uncovered.
    let tag_now = unsafe { (*packet.nbl).info[info::IEEE_8021Q] };
    let origin = match parent {
        Some(parent) => state.packets.at(parent)?,
        None => packet,
    };
    let (generation, tag) = (origin.generation, origin.before.info[info::IEEE_8021Q]);
    let subnet = (origin.before.info[info::VIRTUAL_SUBNET] & 0x00FF_FFFF) as u32;
    let m = &state.modules[module];
    if m.topology.changing > 0
        || fault
        || native
        || generation != m.topology.generation
        || m.enumerations == 0 && state.installed.role.forwards()
        || state.style.spoils.is_some()
    {
        return None;
    }
    let frames =
        ids.iter().filter_map(|id| Some((*id, Arc::clone(&state.frames.all.get(*id)?.bytes)))).collect();
    Some(Case { module, source, frames, tag, subnet, tag_now, got })
}
