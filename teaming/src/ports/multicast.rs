//! The multicast groups that vNICs are members of, kept with the ports. A vNIC whose groups are not known in full gets
//! every group, so that no frame is lost.

use crate::Storage;
use crate::ids::{MacAddr, PortId};
use crate::ports::index::{self, By, IndexSlot};
use crate::ports::{Groups, NicState, PortTable};

impl<S: Storage> PortTable<S> {
    /// Adds a group to a vNIC's list (OID_802_3_ADD_MULTICAST_ADDRESS).
    pub fn join(&mut self, id: PortId, group: MacAddr) {
        let Some(at) = self.position(id) else { return };
        let limit = self.room.groups.len() / 2;
        let entry = IndexSlot::new(index::key_of(group), at);
        let Some(port) = self.room.ports.get_mut(at).filter(|port| port.nic != NicState::Free) else {
            return;
        };
        if port.groups == Groups::Unknown || index::contains(&self.room.groups, entry, By::KeyAndValue) {
            return;
        }
        if self.grouped >= limit || !index::insert(&mut self.room.groups, entry, By::KeyAndValue) {
            // The table is full: the vNIC gets every group from now on, so that no frame is lost.
            self.forget_groups(id);
            return;
        }
        port.groups = Groups::Known;
        self.grouped = self.grouped.saturating_add(1);
    }

    /// Removes a group from a vNIC's list.
    pub fn leave(&mut self, id: PortId, group: MacAddr) {
        let Some(at) = self.position(id) else { return };
        if index::remove(&mut self.room.groups, IndexSlot::new(index::key_of(group), at), By::KeyAndValue) {
            self.grouped = self.grouped.saturating_sub(1);
        }
    }

    /// Replaces a vNIC's list of groups (OID_802_3_MULTICAST_LIST).
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

    /// Sets whether a vNIC's packet filter accepts every group.
    pub fn listen_to_all(&mut self, id: PortId, all: bool) {
        let port = self.position(id).and_then(|at| self.room.ports.get_mut(at));
        if let Some(port) = port.filter(|port| port.nic != NicState::Free) {
            port.all_groups = all;
        }
    }

    /// Whether the vNIC at a position gets frames to a group.
    pub fn is_member_of(&self, at: usize, group: MacAddr) -> bool {
        self.room.ports.get(at).is_none_or(|port| {
            port.groups != Groups::Known
                || port.all_groups
                || port.may_learn()
                || index::contains(
                    &self.room.groups,
                    IndexSlot::new(index::key_of(group), at),
                    By::KeyAndValue,
                )
        })
    }

    /// The groups of a vNIC are unknown from now on: it gets every multicast frame.
    pub fn forget_groups(&mut self, id: PortId) {
        let Some(at) = self.position(id) else { return };
        let Some(port) = self.room.ports.get_mut(at) else { return };
        if core::mem::replace(&mut port.groups, Groups::Unknown) != Groups::Known {
            return;
        }
        let mine = |slot: &&IndexSlot| slot.is_of(at);
        while let Some(&entry) = self.room.groups.iter().find(mine) {
            index::remove(&mut self.room.groups, entry, By::KeyAndValue);
            self.grouped = self.grouped.saturating_sub(1);
        }
    }
}
