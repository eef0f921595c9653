//! What is asked of the reference: one list, what came in with it and how it is about to leave; and what the extension can
//! know of the switch by then.
//!
//! What a failure excuses, and for how long: the call that was refused, what cannot be known until it was asked again, and
//! nothing an hour later (HOST-09).
//!
//! A call that failed while packets were handled excuses those packets, which have ended a second later. One that failed in
//! a request excuses what has to do with the port of the request. One that failed while the extension learned of the switch,
//! and an answer of the switch that was a refusal, are over when the configuration was read again. One that failed
//! elsewhere may leave the extension with less than the whole picture: it then may drop what it does not know
//! where to send, and never gives a frame to a vNIC that must not have it.

use crate::adapter::network::seen::{Seen, content};
use crate::machine::clock::SECOND;
use crate::machine::world::World;
use crate::reference::{Question, vlan, vnics};
use crate::switch::frames::FrameId;
use crate::switch::ndis::{Life, State};
use crate::switch::ports::{Mac, Nic, NicId};
use lbfoext::ndis::raw::{NetBufferList, PortDestination, info};
use std::collections::BTreeSet;
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
        self.picture_for(world, module, |_| true)
    }

    /// As far as it matters for packets that these ports have to do with: a call that was refused in a request about a port
    /// excuses nothing that other ports do among themselves.
    fn picture_for(&self, world: &World, module: usize, concerns: impl Fn(u32) -> bool) -> Picture {
        let m = &self.modules[module];
        if !m.is_active {
            return Picture::Nothing;
        }
        let faults = (m.attach_faults..).zip(world.faults_since(m.attach_faults));
        let mattering =
            faults.filter(|(number, _)| self.control.refused.port_of(module, *number).is_none_or(&concerns));
        let faults = mattering.map(|(number, fault)| match m.read {
            _ if fault.in_walk() => fault.at + SECOND,
            Some((read, before)) if number < before && m.was_learning(&fault) => read + SECOND,
            _ => fault.at + PATIENCE,
        });
        let refused = m.refused_at.map(|at| match m.read {
            Some((read, _)) if read >= at && m.answers.are_content() => read + SECOND,
            _ => at + PATIENCE,
        });
        match faults.chain(refused).max() {
            None => Picture::Whole,
            Some(until) if world.now() <= until => Picture::Partial,
            Some(_) => Picture::Recovered,
        }
    }

    /// What becomes of frames from that port may depend on what the extension knows of this one: they are from it or for
    /// it, for many, or for an address that no connected vNIC has; all may depend on the external port.
    fn concerns(&self, module: usize, frames: &[(FrameId, Arc<[u8]>)], from: u32, port: u32) -> bool {
        let m = &self.modules[module];
        let for_port = |frame: &[u8]| {
            let to: Option<Mac> = frame.get(..6).and_then(|to| to.try_into().ok());
            let owners = || vnics(&m.topology).filter(|nic| to.is_some_and(|to| nic.mac == to));
            to.is_none_or(|to| to[0] & 1 != 0)
                || owners().next().is_none()
                || owners().any(|nic| nic.id.port == port)
        };
        from == port || m.topology.is_external(port) || frames.iter().any(|(_, frame)| for_port(frame))
    }

    /// A module runs whose picture is not whole, and may become so.
    pub fn may_recover(&self, world: &World, module: usize) -> bool {
        self.life(module) == Life::Running && self.picture(world, module) == Picture::Partial
    }
}

impl State {
    /// Changes of all other switches, and of the modules there.
    pub fn generations_elsewhere(&self, module: usize) -> u64 {
        let others = self.modules.iter().filter(|m| m.index != module);
        others.map(|m| m.topology.generation + (u64::from(m.leaving) << 48) + ((m.life as u64) << 40)).sum()
    }

    /// The other switches that the extension has to do with, and whether it knows all of them.
    pub fn elsewhere(&self, world: &World, module: usize) -> Vec<(usize, bool)> {
        let others = self.modules.iter().filter(|m| m.index != module && m.is_switch());
        let known = |m: &crate::switch::ndis::Module| {
            let learned = !m.learning && m.learned_at < world.now() && m.life != Life::Attaching;
            let settled = !m.topology.is_changing() && !m.leaving;
            learned && settled && matches!(self.picture(world, m.index), Picture::Whole | Picture::Recovered)
        };
        others.filter(|m| m.life != Life::Detached).map(|m| (m.index, known(m))).collect()
    }
}

/// One list under judgement: what came in with it and how it is about to leave.
pub struct Case {
    pub module: usize,
    pub source: NicId,
    pub frames: Vec<(FrameId, Arc<[u8]>)>,
    /// Those of them whose tag the extension has taken out of the bytes.
    pub untagged: BTreeSet<FrameId>,
    /// The words of the slots when the extension got it.
    pub tag: u64,
    pub subnet: u32,
    /// The word for 802.1Q now.
    pub tag_now: u64,
    pub got: Vec<PortDestination>,
    /// No live member is known to have the packet's security associations.
    pub unencrypted: bool,
    /// What the extension can know.
    pub picture: Picture,
    pub now: u64,
    /// Order number of the call in which it did.
    pub given: u64,
    /// Order number of the oldest call that was running then: what was given since may be treated after it.
    pub overlaps: u64,
    /// See `Question::elsewhere`, by module; and `Question::changed_elsewhere`.
    pub elsewhere: Vec<(usize, bool)>,
    pub changed_elsewhere: bool,
}

impl Case {
    pub fn question<'a>(&self, state: &'a State, frame: &'a [u8]) -> Question<'a> {
        let m = &state.modules[self.module];
        let has_link = |nic: &Nic| m.external.adapters.get(&nic.id.index).is_some_and(|a| a.link_up);
        Question {
            topology: &m.topology,
            learned: &m.learned,
            holders: &m.holders,
            elsewhere: self
                .elsewhere
                .iter()
                .map(|(at, known)| (&state.modules[*at].topology, *known))
                .collect(),
            changed_elsewhere: self.changed_elsewhere,
            mode: m.external.mode(),
            now: self.now,
            given: self.given,
            link_local: state.style.link_local,
            prunes: state.style.prunes,
            source: self.source,
            frame,
            tag: self.tag,
            subnet: self.subnet,
            unencrypted: self.unencrypted,
            cut_off: !m.topology.members().any(|nic| nic.usable && has_link(nic)),
        }
    }

    /// The VLAN id of the tag next to the bytes.
    pub fn vid(&self) -> u16 {
        vlan::out_of_band(self.tag).map_or(0, |tag| tag.vid)
    }

    /// The bytes with which a frame of the list leaves.
    pub fn leaving(&self, id: FrameId, frame: &[u8]) -> Vec<u8> {
        let bare = if self.untagged.contains(&id) { vlan::without_tag(frame) } else { None };
        bare.unwrap_or_else(|| frame.to_vec())
    }

    /// What is known of a frame, to compare it with others.
    pub fn seen(&self, state: &State, frame: FrameId) -> Option<Seen> {
        let record = state.frames.all.get(frame)?;
        Some(Seen {
            content: content(&record.bytes, self.vid()),
            origin: record.origin,
            segmented: record.origin.divided,
            frame,
            generation: state.modules[self.module].topology.generation,
            now: self.now,
        })
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
    let packet = state.packets.at(list)?;
    let parent = packet.own.map(|own| own.parent);
    let (source, fault, native, ids) =
        (packet.source, packet.fault, packet.is_native(), packet.frames.clone());
    let untagged = packet.untagged.clone();
    let got = packet.context.as_ref().map(|c| c.committed.clone()).unwrap_or_default();
    // SAFETY: the packet is in the extension's hands and so uncovered.
    let tag_now = unsafe { (*packet.nbl).info[info::IEEE_8021Q] };
    let at = parent.unwrap_or(list);
    let origin = state.packets.at(at)?;
    let (generation, given, overlaps) = (origin.generation, origin.given, origin.overlaps);
    let tag = origin.before.info[info::IEEE_8021Q];
    let elsewhere_then = origin.elsewhere;
    let subnet = (origin.before.info[info::VIRTUAL_SUBNET] & 0x00FF_FFFF) as u32;
    let unencrypted = state
        .packets
        .get(list as *mut NetBufferList)
        .is_some_and(|packet| state.stays_unencrypted(module, packet));
    let m = &state.modules[module];
    if m.topology.changing > 0
        || fault
        || native
        || generation != m.topology.generation
        || !m.is_active && state.installed.role.forwards()
        || state.style.spoils.is_some()
    {
        return None;
    }
    let frames: Vec<_> =
        ids.iter().filter_map(|id| Some((*id, Arc::clone(&state.frames.all.get(*id)?.bytes)))).collect();
    let picture = state.picture_for(world, module, |port| state.concerns(module, &frames, source.port, port));
    let now = world.now();
    let elsewhere = state.elsewhere(world, module);
    let changed_elsewhere = elsewhere_then != state.generations_elsewhere(module);
    Some(Case {
        module,
        source,
        frames,
        untagged,
        tag,
        subnet,
        tag_now,
        got,
        unencrypted,
        picture,
        now,
        given,
        overlaps,
        elsewhere,
        changed_elsewhere,
    })
}
