//! EGR-5: where a packet must go, by the truth about ports, and where it was sent.
//!
//! Judged only while nothing changed since the extension got the packet and no call was made to fail.

use super::rule;
use crate::ndis::packet::Packet;
use crate::ndis::{Life, State};
use crate::ports::{Mac, NicId, NicKind, NicState, Topology};
use crate::world::World;

#[derive(Debug, PartialEq, Eq)]
enum Uplink {
    Must,
    May,
    No,
}

#[derive(Debug)]
struct Expected {
    stations: Vec<NicId>,
    uplink: Uplink,
    /// Dropping it is right as well.
    may_drop: bool,
}

pub fn sent(world: &World, state: &mut State, module: usize, list: usize) {
    let Some((expected, got)) = judged(world, state, module, list) else { return };
    if got.is_empty() {
        // Another rule's matter.
        return;
    }
    if state.packets.at(list).is_some_and(|p| p.source.port == 0) {
        world.exercised("DATA-30");
    }
    let external = state.modules[module].topology.external_port;
    let stations: Vec<NicId> = got.iter().copied().filter(|id| Some(id.port) != external).collect();
    let uplinks = got.len() - stations.len();
    let uplink_right = match expected.uplink {
        Uplink::Must => uplinks == 1,
        Uplink::May => uplinks <= 1,
        Uplink::No => uplinks == 0,
    };
    let mut wanted = expected.stations.clone();
    let mut found = stations;
    wanted.sort();
    found.sort();
    let id = rule_for(state, module, &wanted);
    rule(world, id, uplink_right && wanted == found, || {
        format!("packet {} went to {got:?}, expected {expected:?}", name(state, list))
    });
}

pub fn dropped(world: &World, state: &mut State, module: usize, list: usize) {
    if state.life(module) != Life::Running {
        return;
    }
    let Some((expected, _)) = judged(world, state, module, list) else { return };
    let Some(packet) = state.packets.at(list) else { return };
    if packet.given_while_paused || !packet.reported {
        return;
    }
    let nowhere = expected.stations.is_empty() && expected.uplink != Uplink::Must;
    let privileged = packet.source.port == 0;
    let known = if privileged { "DATA-30" } else { rule_for(state, module, &expected.stations) };
    rule(world, known, nowhere || expected.may_drop, || {
        format!("packet {} was dropped, expected {expected:?}", name(state, list))
    });
}

fn name(state: &mut State, list: usize) -> u64 {
    state.packets.at(list).map_or(0, |p| p.name)
}

/// A station that the extension can know only from its enumeration is a matter of STATE-18, after another attach of
/// STATE-31.
fn rule_for(state: &State, module: usize, stations: &[NicId]) -> &'static str {
    let m = &state.modules[module];
    let enumerated = stations.iter().any(|id| m.topology.nic(*id).is_some_and(|n| n.from_array));
    match (enumerated, m.attached_before) {
        (true, true) => "STATE-31",
        (true, false) => "STATE-18",
        _ => "EGR-5",
    }
}

/// What is expected of a packet and where it goes; `None` if it cannot be judged.
fn judged(world: &World, state: &mut State, module: usize, list: usize) -> Option<(Expected, Vec<NicId>)> {
    if world.injected_fault().is_some() {
        return None;
    }
    let m = &state.modules[module];
    let packet = state.packets.at(list)?;
    let generation = if packet.own.is_some() { m.topology.generation } else { packet.generation };
    if m.topology.changing > 0
        || packet.fault
        || packet.is_native()
        || generation != m.topology.generation
        || m.enumerations == 0
    {
        return None;
    }
    let addresses = destination_addresses(packet, &state.frames);
    let [mac] = addresses[..] else { return None };
    let got = packet
        .context
        .as_ref()
        .map(|c| c.committed.iter().map(|d| NicId::new(d.port_id, d.nic_index)).collect())
        .unwrap_or_default();
    Some((expected(&m.topology, packet.source, mac), got))
}

/// Destination addresses of the frames in a list, each once.
fn destination_addresses(packet: &Packet, frames: &crate::frames::Frames) -> Vec<Mac> {
    let mut all: Vec<Mac> = packet
        .frames
        .iter()
        .filter_map(|id| frames.all.get(*id))
        .filter_map(|frame| if frame.bytes.len() < 14 { None } else { frame.bytes.get(..6)?.try_into().ok() })
        .collect();
    all.sort_unstable();
    all.dedup();
    all
}

fn expected(topology: &Topology, source: NicId, mac: Mac) -> Expected {
    let from_outside = topology.is_external(source.port);
    let live = topology.members().any(|n| n.usable && !n.known_down);
    let uncertain = topology.members().any(|n| !n.usable);
    let uplink = match (from_outside, live, uncertain) {
        (true, ..) => Uplink::No,
        (false, true, _) => Uplink::Must,
        (false, false, true) => Uplink::May,
        (false, false, false) => Uplink::No,
    };
    if mac[0] & 1 != 0 {
        let stations = topology
            .nics()
            .filter(|n| {
                n.kind != NicKind::External && n.state == NicState::Connected && n.usable && n.id != source
            })
            .map(|n| n.id)
            .collect();
        // From the outside a copy may belong to another receiver of the team, or never pass a bridge at all.
        return Expected { stations, uplink, may_drop: from_outside };
    }
    match topology.station(mac) {
        Some(nic) if nic.id == source => Expected { stations: vec![], uplink: Uplink::No, may_drop: true },
        Some(nic) => Expected { stations: vec![nic.id], uplink: Uplink::No, may_drop: false },
        None => Expected { stations: vec![], uplink, may_drop: from_outside },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_addresses_go_out_from_a_guest_and_nowhere_from_outside() {
        let mut topology = Topology::default();
        topology.add_port(1, NicKind::External);
        topology.add_port(5, NicKind::Synthetic);
        for id in [NicId::new(1, 1), NicId::new(5, 0)] {
            topology.add_nic(id, [2, 0, 0, 0, 0, 5]);
            let nic = topology.nic_mut(id).unwrap();
            (nic.state, nic.usable) = (NicState::Connected, true);
        }
        let guest = expected(&topology, NicId::new(5, 0), [2, 9, 9, 9, 9, 9]);
        assert_eq!((guest.stations.len(), guest.uplink), (0, Uplink::Must));
        let outside = expected(&topology, NicId::new(1, 1), [2, 9, 9, 9, 9, 9]);
        assert_eq!((outside.stations.len(), outside.uplink), (0, Uplink::No));
        let flood = expected(&topology, NicId::new(1, 1), [0xFF; 6]);
        assert_eq!((flood.stations, flood.uplink), (vec![NicId::new(5, 0)], Uplink::No));
    }
}
