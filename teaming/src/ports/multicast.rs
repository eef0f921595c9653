//! The multicast groups that vNICs are members of, kept with the ports. A vNIC whose groups are not known in full gets
//! every group, so that no frame is lost.

use crate::Storage;
use crate::ids::{MacAddr, PortId};
use crate::ports::index::{self, By, IndexSlot};
use crate::ports::{Groups, NicState, PortTable};

/// Groups that are kept for one vNIC. One that names more gets every multicast frame: a guest decides what it names,
/// and the tables are changed with a lock held.
pub const GROUPS_MOST: u8 = 64;

/// What became of a change of groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GroupsChange {
    /// What is known of the vNIC is as complete as before.
    Kept,
    /// There were too many, for one vNIC or for all: from now on it gets every group.
    TooMany,
}

impl<S: Storage> PortTable<S> {
    /// A vNIC listens to one more group.
    pub fn join(&mut self, id: PortId, group: MacAddr) -> GroupsChange {
        let Some(at) = self.position(id) else { return GroupsChange::Kept };
        let limit = self.room.groups.len() / 2;
        let entry = IndexSlot::new(index::key_of(group), at);
        let Some(port) = self.room.ports.get_mut(at).filter(|port| port.nic != NicState::Free) else {
            return GroupsChange::Kept;
        };
        if port.groups == Groups::Unknown || index::contains(&self.room.groups, entry, By::KeyAndValue) {
            return GroupsChange::Kept;
        }
        if port.named >= GROUPS_MOST
            || self.grouped >= limit
            || !index::insert(&mut self.room.groups, entry, By::KeyAndValue)
        {
            return self.give_groups_up(id);
        }
        port.groups = Groups::Known;
        port.named = port.named.saturating_add(1);
        self.grouped = self.grouped.saturating_add(1);
        GroupsChange::Kept
    }

    /// Removes a group from a vNIC's list.
    pub fn leave(&mut self, id: PortId, group: MacAddr) {
        let Some(at) = self.position(id) else { return };
        if index::remove(&mut self.room.groups, IndexSlot::new(index::key_of(group), at), By::KeyAndValue) {
            self.grouped = self.grouped.saturating_sub(1);
            if let Some(port) = self.room.ports.get_mut(at) {
                port.named = port.named.saturating_sub(1);
            }
        }
    }

    /// A vNIC has named all its groups.
    pub fn listen(&mut self, id: PortId, mut groups: impl Iterator<Item = MacAddr>) -> GroupsChange {
        self.forget_groups(id);
        let Some(at) = self.position(id) else { return GroupsChange::Kept };
        if let Some(port) = self.room.ports.get_mut(at).filter(|port| port.nic != NicState::Free) {
            port.groups = Groups::Known;
        }
        let too_many = groups.any(|group| self.join(id, group) == GroupsChange::TooMany);
        if too_many { GroupsChange::TooMany } else { GroupsChange::Kept }
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

    /// A vNIC names more groups than are kept: it gets every multicast frame. `Kept` if it did before.
    pub fn give_groups_up(&mut self, id: PortId) -> GroupsChange {
        let port = self.position(id).and_then(|at| self.room.ports.get(at));
        let was_known = port.is_some_and(|port| port.groups != Groups::Unknown);
        self.forget_groups(id);
        if was_known { GroupsChange::TooMany } else { GroupsChange::Kept }
    }

    /// The groups of a vNIC are unknown from now on: it gets every multicast frame.
    pub fn forget_groups(&mut self, id: PortId) {
        let Some(at) = self.position(id) else { return };
        let Some(port) = self.room.ports.get_mut(at) else { return };
        port.groups = Groups::Unknown;
        let mut left = core::mem::replace(&mut port.named, 0);
        self.grouped = self.grouped.saturating_sub(usize::from(left));
        let mut from = 0;
        while left != 0
            && let Some(next) = index::next_of(&self.room.groups, at, from)
        {
            // What comes into its place is looked at next.
            index::remove_at(&mut self.room.groups, next, By::KeyAndValue);
            from = next;
            left = left.wrapping_sub(1);
        }
    }
}
