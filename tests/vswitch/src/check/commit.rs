//! May this destination be committed now? DATA-43 to -46, -50, -54, and the promise about dead members.

use crate::check::{advice, rule};
use crate::machine::world::World;
use crate::switch::ports::{NicId, NicState, Topology};
use std::cell::Cell;

/// One commit under examination.
struct Commit<'a> {
    world: &'a World,
    packet: u64,
    to: NicId,
    fine: Cell<bool>,
}

impl Commit<'_> {
    fn rule(&self, id: &'static str, holds: bool, why: impl FnOnce() -> String) {
        if !holds {
            self.fine.set(false);
        }
        rule(self.world, id, holds, || format!("packet {} to {}{}", self.packet, self.to, why()));
    }
}

/// False if it may not.
pub fn destination(
    world: &World,
    topology: &Topology,
    packet: u64,
    (source, to): (NicId, NicId),
    has_team: bool,
) -> bool {
    let commit = Commit { world, packet, to, fine: Cell::new(true) };
    let external = topology.is_external(to.port);
    let nic = topology.nic(to);
    let after_disconnect = nic.is_some_and(|n| n.disconnect_passed);
    commit.rule("DATA-54", !after_disconnect, || " after its DISCONNECT was passed down".to_owned());
    let connected = after_disconnect || nic.is_some_and(|n| n.state == NicState::Connected);
    let port = topology.ports.get(&to.port);
    let (validation, failed) = (port.is_some_and(|p| p.validation), topology.failed.contains(&to));
    commit.rule("PORTNIC-25", !validation, || ", whose port is there for validation".to_owned());
    commit.rule("PORTNIC-30", !failed, || ", whose creation failed".to_owned());
    let early = nic.is_some_and(|n| n.state == NicState::Created);
    let listed = nic.is_some_and(|n| n.listed && n.state == NicState::Created);
    commit.rule("PORTNIC-32", !listed, || ", which the array shows as created only".to_owned());
    let connected = connected || validation || failed || listed;
    if external {
        uplink(&commit, topology, connected, early);
        // Links are the business of who has a team: any other extension names an adapter that is connected.
        let dead = nic.is_some_and(|n| n.known_down) && has_team;
        commit.rule("STA-1", !dead, || ", known to be down".to_owned());
        commit.rule("DATA-50", !topology.is_external(source.port), || format!(": from {source} back out"));
    } else {
        commit.rule("DATA-44", to.index == 0, || ": an index on a port without team".to_owned());
        commit.rule("DATA-43", connected || to.index != 0, || ", which is not connected".to_owned());
        advice(world, "DATA-50", to != source, || format!("packet {packet} back to its source {to}"));
    }
    let unusable = nic.is_some_and(|n| !n.usable);
    advice(world, "PORTNIC-09", !unusable, || {
        format!("packet {packet} to {to} before its CONNECT completed")
    });
    commit.fine.get()
}

fn uplink(commit: &Commit<'_>, topology: &Topology, connected: bool, early: bool) {
    let members = topology.members().count();
    if commit.to.index == 0 {
        commit.rule("DATA-46", members > 0, || ": no physical adapter is connected".to_owned());
        commit.rule("DATA-45", members <= 1, || format!(": {members} members, none is named"));
        return;
    }
    let exists = topology.nic(commit.to).is_some();
    let highest = topology.members().map(|n| n.id.index).max().unwrap_or(0);
    let gap = !exists && commit.to.index < highest;
    commit.rule("PORTNIC-28", !gap, || ": a gap in the indexes".to_owned());
    commit.rule("DATA-45", exists || gap, || ", which does not exist".to_owned());
    let early = early && members > 0;
    commit.rule("PORTNIC-03", !early, || ", which is created and not connected".to_owned());
    let connected = connected || early;
    commit.rule("DATA-46", members > 0 || !exists, || ": no physical adapter is connected".to_owned());
    commit.rule("DATA-43", connected || !exists || members == 0, || ", which is not connected".to_owned());
}
