//! What is asked of the reference: one list, what came in with it and how it is about to leave; and what the extension can
//! know of the switch by then.
//!
//! What a failure excuses, and for how long: the call that was refused, what cannot be known until it was asked again, and
//! nothing an hour later (HOST-09).
//!
//! A call that failed while packets were handled excuses those packets, which have ended a second later. One that failed elsewhere, and an answer of the
//! switch that was a refusal, may leave the extension with less than the whole picture: it then may drop what it does not
//! know where to send, and never gives a frame to a vNIC that must not have it.

use crate::machine::clock::SECOND;
use crate::machine::world::World;
use crate::reference::Question;
use crate::switch::frames::FrameId;
use crate::switch::ndis::{Life, State};
use crate::switch::ports::NicId;
use lbfoext::ndis::raw::{PortDestination, info};
use std::sync::Arc;

/// After this time nothing is left of a failure.
pub const PATIENCE: u64 = 3_600 * SECOND;

/// What a module can know of the switch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Picture {
    /// All, and nothing was ever refused.
    Whole,
    /// All again.
    Recovered,
    /// Not what was refused.
    Partial,
    /// Nothing: the switch is not active.
    Nothing,
}

impl State {
    pub fn picture(&self, world: &World, module: usize) -> Picture {
        let m = &self.modules[module];
        if !m.is_active {
            return Picture::Nothing;
        }
        let fault = world.last_fault().map(|fault| (fault.at, if fault.in_walk { SECOND } else { PATIENCE }));
        let refused = m.refused_at.map(|at| (at, PATIENCE));
        match fault.into_iter().chain(refused).map(|(at, lasts)| at + lasts).max() {
            None => Picture::Whole,
            Some(until) if world.now() <= until => Picture::Partial,
            Some(_) => Picture::Recovered,
        }
    }

    /// A module runs whose picture is not whole, and may become so.
    pub fn may_recover(&self, world: &World, module: usize) -> bool {
        self.life(module) == Life::Running && self.picture(world, module) == Picture::Partial
    }
}

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
    /// What the extension can know.
    pub picture: Picture,
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

    /// The rule that a wrong way breaks: after a failure that is over, that it is not.
    pub fn named(&self, otherwise: impl FnOnce() -> &'static str) -> &'static str {
        if self.picture == Picture::Recovered { "HOST-09" } else { otherwise() }
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
    let picture = state.picture(world, module);
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
        || picture == Picture::Nothing && state.installed.role.forwards()
        || state.style.spoils.is_some()
    {
        return None;
    }
    let frames =
        ids.iter().filter_map(|id| Some((*id, Arc::clone(&state.frames.all.get(*id)?.bytes)))).collect();
    Some(Case { module, source, frames, tag, subnet, tag_now, got, picture })
}
