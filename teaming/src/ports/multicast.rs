//! The multicast groups that stations listen to, kept with the ports. What is not known in full is unknown: such a station
//! gets every group, so that nothing is lost.

use crate::Storage;
use crate::ids::{MacAddr, PortId};
use crate::ports::index::{self, By, Slot};
use crate::ports::{Groups, NicState, PortTable};

impl<S: Storage> PortTable<S> {
    /// A station listens to one more group.
    pub fn join(&mut self, id: PortId, group: MacAddr) {
        let Some(at) = self.position(id) else { return };
        let limit = self.room.groups.len() / 2;
        let entry = Slot::new(index::key_of(group), at);
        let Some(port) = self.room.ports.get_mut(at).filter(|port| port.nic != NicState::Free) else {
            return;
        };
        if port.groups == Groups::Unknown || index::contains(&self.room.groups, entry, By::Entry) {
            return;
        }
        if self.grouped >= limit || !index::insert(&mut self.room.groups, entry, By::Entry) {
            // No room: it hears everything from here on, so nothing is lost.
            self.forget_groups(id);
            return;
        }
        port.groups = Groups::Known;
        self.grouped = self.grouped.saturating_add(1);
    }

    /// A station does not listen to a group any more.
    pub fn leave(&mut self, id: PortId, group: MacAddr) {
        let Some(at) = self.position(id) else { return };
        if index::remove(&mut self.room.groups, Slot::new(index::key_of(group), at), By::Entry) {
            self.grouped = self.grouped.saturating_sub(1);
        }
    }

    /// A station has named all its groups.
    pub fn listen(&mut self, id: PortId, groups: impl Iterator<Item = MacAddr>) {
        self.forget_groups(id);
        let Some(at) = self.position(id) else { return };
        if let Some(port) = self.room.ports.get_mut(at).filter(|port| port.nic != NicState::Free) {
            port.groups = Groups::Known;
        }
        for group in groups {
            self.join(id, group);
        }
    }

    /// Whether a station listens to every group, by its packet filter.
    pub fn listen_to_all(&mut self, id: PortId, all: bool) {
        let port = self.position(id).and_then(|at| self.room.ports.get_mut(at));
        if let Some(port) = port.filter(|port| port.nic != NicState::Free) {
            port.all_groups = all;
        }
    }

    /// Whether the station at a position gets frames to a group.
    pub fn hears(&self, at: usize, group: MacAddr) -> bool {
        self.room.ports.get(at).is_none_or(|port| {
            port.groups != Groups::Known
                || port.all_groups
                || port.may_learn()
                || index::contains(&self.room.groups, Slot::new(index::key_of(group), at), By::Entry)
        })
    }

    /// Nothing is known of a station's groups any more, or yet: it gets every multicast frame.
    pub fn forget_groups(&mut self, id: PortId) {
        let Some(at) = self.position(id) else { return };
        let Some(port) = self.room.ports.get_mut(at) else { return };
        if core::mem::replace(&mut port.groups, Groups::Unknown) != Groups::Known {
            return;
        }
        let mine = |slot: &&Slot| slot.is_of(at);
        while let Some(&entry) = self.room.groups.iter().find(mine) {
            index::remove(&mut self.room.groups, entry, By::Entry);
            self.grouped = self.grouped.saturating_sub(1);
        }
    }
}
