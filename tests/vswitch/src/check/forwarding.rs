//! EGR-5 and EGR-6, and the port policies: where a packet was sent against where the reference says it must go.
//!
//! Judged while nothing changed since the extension got the packet. While a failure may have left the extension with less
//! than the whole picture (see `recovery`), only that no station gets what its port must not have.

use crate::adapter::Adapter;
use crate::adapter::offloads::Resource;
use crate::adapter::physical_switch::Aggregation;
use crate::check::blame::blame;
use crate::check::rule;
use crate::machine::world::World;
use crate::reference::case::Picture;
use crate::reference::case::{Case, case};
use crate::reference::policy;
use crate::reference::vlan::{self, Tags};
use crate::reference::{Expected, Reach, judge, reach, teaches};
use crate::switch::frames::{FrameId, FrameOutcome};
use crate::switch::ndis::{Life, State};
use crate::switch::ports::NicId;
use crate::switch::ports::policy::Property;
use lbfoext::ndis::raw::{DestinationBits, info};
use std::sync::Arc;

/// Frames come in: what the extension may learn from them.
pub fn given(state: &mut State, module: usize, list: usize) {
    let Some(packet) = state.packets.at(list) else { return };
    let (source, ids, own) = (packet.source, packet.frames.clone(), packet.before.info);
    let subnet = (own[info::VIRTUAL_SUBNET] & 0x00FF_FFFF) as u32;
    let case = Case {
        module,
        source,
        frames: Vec::new(),
        tag: own[info::IEEE_8021Q],
        subnet,
        tag_now: 0,
        got: Vec::new(),
        picture: Picture::Partial,
    };
    let frames = ids.iter().filter_map(|id| Some(Arc::clone(&state.frames.all.get(*id)?.bytes)));
    let taught: Vec<_> = frames.filter_map(|frame| teaches(&case.question(state, &frame))).collect();
    for mac in taught {
        state.modules[module].learned.note(mac, source);
    }
}

/// A list goes down.
pub fn sent(world: &World, state: &mut State, module: usize, list: usize) {
    let Some(case) = case(world, state, module, list) else { return };
    if case.got.is_empty() {
        // Another rule's matter.
        return;
    }
    if case.source.port == 0 {
        world.exercised("DATA-30");
    }
    let name = state.packets.at(list).map_or(0, |p| p.name);
    if case.picture == Picture::Partial {
        return kept_apart(world, state, &case, name);
    }
    let (vnics, uplinks) = case.vnics(state);
    for (id, frame) in &case.frames {
        let expected = judge(&case.question(state, frame));
        let fits = expected.ways.iter().any(|way| way.fits(&vnics, uplinks));
        policy::exercise(world, state, &case, frame, &expected);
        let broken = case.named(|| policy::name(state, &case, frame, &expected, &vnics));
        rule(world, broken, fits, || {
            let got: Vec<String> =
                case.got.iter().map(|d| format!("{}/{}", d.port_id, d.nic_index)).collect();
            format!("packet {name} (frame {id}) {} went to {got:?}, expected {expected:?}", case.told(frame))
        });
        if fits {
            shown(world, state, &case, frame, &expected, name);
            received(world, state, &case, (*id, &expected), !vnics.is_empty());
        }
    }
}

/// What a list that was never sent leaves undone.
pub fn dropped(world: &World, state: &mut State, module: usize, list: usize) {
    if state.life(module) != Life::Running {
        return;
    }
    let Some(mut case) = case(world, state, module, list) else { return };
    let Some(packet) = state.packets.at(list) else { return };
    let (paused, reported, name) = (packet.given_while_paused, packet.reported, packet.name);
    let blamed = packet.blamed;
    let carried = packet.carried.clone();
    let short = state.style.refuse > 0 && case.frames.len() > 1;
    // SAFETY: the packet is in the extension's hands and so uncovered.
    let association = unsafe { (*packet.nbl).info[info::IPSEC] };
    let bound = association != 0 && state.is_held_by_the_dead(module, association);
    let closed = state.asks_for_isolation(module, case.source.port);
    let partial = case.picture == Picture::Partial;
    if paused || short || bound || closed || partial || !reported && carried.is_empty() {
        return;
    }
    let frames = std::mem::take(&mut case.frames);
    for (id, frame) in &frames {
        let filtered = state.outcomes(*id).iter().any(|end| matches!(end, FrameOutcome::Filtered { .. }));
        // One that went on in a list of its own, or that is another rule's matter.
        if !filtered && (carried.contains(id) || !reported) {
            continue;
        }
        let expected = judge(&case.question(state, frame));
        policy::exercise(world, state, &case, frame, &expected);
        let broken = case.named(|| match case.source.port {
            0 => "DATA-30",
            _ => policy::name(state, &case, frame, &expected, &[]),
        });
        rule(world, broken, expected.may_drop, || {
            let why = state.outcomes(*id);
            format!(
                "packet {name} (frame {id}) {} was dropped, expected {expected:?}: {why:?}",
                case.told(frame)
            )
        });
        received(world, state, &case, (*id, &expected), false);
        if let Some(blamed) = blamed.filter(|_| expected.may_drop && reported) {
            blame(world, state, &case, (*id, frame), &expected, blamed);
        }
    }
}

/// Whatever the extension does not know, VLANs and virtual subnets stay apart.
fn kept_apart(world: &World, state: &State, case: &Case, name: u64) {
    let topology = &state.modules[case.module].topology;
    let Some(port) = topology.ports.get(&case.source.port) else { return };
    let (vnics, _) = case.vnics(state);
    for (id, frame) in &case.frames {
        let tags = Tags::of(frame, case.tag);
        let question = case.question(state, frame);
        let inside = vlan::enter(port, tags);
        let mut wrong = vnics.iter().filter(|to| {
            let no = |inside| {
                topology
                    .nic(**to)
                    .is_some_and(|nic| matches!(reach(&question, nic, inside, tags), Reach::No(_)))
            };
            inside.map_or(true, no)
        });
        let wrong = wrong.next();
        rule(world, "DATA-88", wrong.is_none(), || {
            format!(
                "packet {name} (frame {id}) {} went to {wrong:?}, which must not have it",
                case.told(frame)
            )
        });
    }
}

impl State {
    /// A port has an isolation mode that no forwarding extension but one for it can enforce: nothing may pass it.
    pub fn asks_for_isolation(&self, module: usize, port: u32) -> bool {
        let asks =
            |property: &Property| matches!(property, Property::Isolation { mode } if !matches!(mode, 0 | 1));
        let policies = self.modules[module].topology.policies(port);
        policies.is_some_and(|policies| policies.properties.values().any(asks))
    }

    /// Who has the security association is down: elsewhere its packets would leave in the clear.
    fn is_held_by_the_dead(&self, module: usize, association: u64) -> bool {
        let m = &self.modules[module];
        let has = |adapter: &&Adapter| {
            adapter.offloads.holdings().any(|(_, held)| held == Resource::Association(association))
        };
        let mut holders = m.external.adapters.values().filter(has).map(|adapter| adapter.index).peekable();
        let dead = |index| {
            m.topology.nic(NicId::new(m.external.external_port, index)).is_none_or(|nic| nic.known_down)
        };
        holders.peek().is_some() && holders.all(dead)
    }
}

/// Every destination takes the frame for what it is: in its VLAN, with its priority or without.
fn shown(world: &World, state: &State, case: &Case, frame: &[u8], expected: &Expected, name: u64) {
    let Some(inside) = expected.inside else { return };
    let topology = &state.modules[case.module].topology;
    let (before, now) = (Tags::of(frame, case.tag), Tags::of(frame, case.tag_now));
    for to in &case.got {
        let Some(port) = topology.ports.get(&to.port_id) else { continue };
        let keeps = to.bits.contains(DestinationBits::PRESERVE_VLAN);
        let seen = vlan::understood(port, inside, before, now, keeps);
        rule(world, "DATA-88", seen.is_ok(), || {
            format!("packet {name} to port {}: {}", to.port_id, seen.unwrap_err())
        });
        let has_priority = before.out_of_band.is_some_and(|t| t.priority != 0);
        let trusted = port.policies.security().is_some_and(|s| s.priority_tag);
        if has_priority && !topology.is_external(to.port_id) && !trusted {
            let priority = to.bits.contains(DestinationBits::PRESERVE_PRIORITY);
            rule(world, "DATA-88", !priority, || {
                format!(
                    "packet {name} to port {}: the priority goes along, which the port must not see",
                    to.port_id
                )
            });
        }
    }
}

/// EGR-6: of a team that the physical switches know nothing of, one member takes what is flooded.
fn received(
    world: &World,
    state: &mut State,
    case: &Case,
    (frame, expected): (FrameId, &Expected),
    taken: bool,
) {
    let m = &mut state.modules[case.module];
    let wanted = expected.ways.iter().any(|way| !way.must.is_empty());
    let certain = m.external.mode() == Some(Aggregation::SwitchIndependent);
    if !expected.by_receiver || !wanted || !certain || !state.installed.role.has_team() {
        return;
    }
    let generation = m.topology.generation;
    let live = m.topology.members().filter(|n| n.usable && !n.known_down).count();
    let verdict = m.external.receivers.note(generation, case.source.index, taken, live);
    rule(world, "EGR-6", verdict.is_none(), || {
        format!("{}: frame {frame} from {}, expected {expected:?}", verdict.unwrap_or_default(), case.source)
    });
}
