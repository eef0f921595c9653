//! May this destination be committed now? DATA-43 to -46, -50, -54, and the promise about dead members.

use super::{advice, rule};
use crate::ports::{NicId, NicState, Topology};
use crate::world::World;

pub fn destination(world: &World, topology: &Topology, packet: u64, source: NicId, to: NicId) {
    let external = topology.is_external(to.port);
    let nic = topology.nic(to);
    let after_disconnect = nic.is_some_and(|n| n.disconnect_passed);
    rule(world, "DATA-54", !after_disconnect, || {
        format!("packet {packet} to {to} after its DISCONNECT was passed down")
    });
    let connected = nic.is_some_and(|n| n.state == NicState::Connected);
    if external {
        uplink(world, topology, packet, to, connected || after_disconnect);
        let dead = nic.is_some_and(|n| n.known_down);
        rule(world, "STA-1", !dead, || format!("packet {packet} to member {to}, known to be down"));
        rule(world, "DATA-50", !topology.is_external(source.port), || {
            format!("packet {packet} from {source} back out through {to}")
        });
    } else {
        rule(world, "DATA-44", to.index == 0, || format!("packet {packet} to {to}: an index on a port without team"));
        let exists = connected || after_disconnect || to.index != 0;
        rule(world, "DATA-43", exists, || format!("packet {packet} to {to}, which is not connected"));
        advice(world, "DATA-50", to != source, || format!("packet {packet} back to its source {to}"));
    }
    let early = nic.is_some_and(|n| !n.usable);
    advice(world, "PORTNIC-09", !early, || format!("packet {packet} to {to} before its CONNECT completed"));
}

fn uplink(world: &World, topology: &Topology, packet: u64, to: NicId, connected: bool) {
    let members = topology.members().count();
    if to.index == 0 {
        rule(world, "DATA-46", members > 0, || format!("packet {packet} to {to}: no physical adapter is connected"));
        rule(world, "DATA-45", members <= 1, || {
            format!("packet {packet} to {to}: {members} members, none is named")
        });
        return;
    }
    let exists = topology.nic(to).is_some();
    rule(world, "DATA-45", exists, || format!("packet {packet} to {to}, which does not exist"));
    rule(world, "DATA-46", members > 0 || !exists, || {
        format!("packet {packet} to {to}: no physical adapter is connected")
    });
    rule(world, "DATA-43", connected || !exists || members == 0, || {
        format!("packet {packet} to {to}, which is not connected")
    });
}
