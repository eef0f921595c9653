//! The receive side of the team: a broadcast, multicast or unknown unicast may arrive on every member; one copy is
//! accepted.
//!
//! Switch-independent: the physical switches know nothing of the team and give each member its copy of a broadcast, so
//! only the active receiver's counts; a frame of this kind that they send to another member alone is lost. Static: the
//! physical switch gives the team one copy, on any member. In both modes what has a source address of this host is
//! dropped (`forward::flood`). Frames for known addresses are not looked at here: each is delivered, however many
//! members it comes on. The receiver changes in the critical section of the failover: what `publish` was told holds for
//! the next packet.

use crate::ids::{MemberIndex, MemberSet, NicIndex};
use crate::settings::TeamingMode;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Receive {
    mode: TeamingMode,
    receiver: Option<MemberIndex>,
}

impl Receive {
    pub const fn new(mode: TeamingMode) -> Self {
        Self { mode, receiver: None }
    }

    /// The receiver changes only when it goes down: a member that returns does not replace it.
    pub fn publish(&mut self, live: MemberSet) {
        if self.receiver.is_none_or(|receiver| !live.contains(receiver)) {
            self.receiver = live.iter().next();
        }
    }

    pub const fn configure(&mut self, mode: TeamingMode) {
        self.mode = mode;
    }

    /// The member whose copies are accepted, if only one's are.
    pub const fn receiver(&self) -> Option<MemberIndex> {
        match self.mode {
            TeamingMode::Static => None,
            TeamingMode::SwitchIndependent => self.receiver,
        }
    }

    /// Whether a broadcast or multicast that arrived on a NIC of the external port is accepted. Index 0 is the team as
    /// a whole.
    #[inline]
    pub fn takes(&self, from: NicIndex) -> bool {
        match self.mode {
            TeamingMode::Static => true,
            TeamingMode::SwitchIndependent => {
                from == NicIndex::DEFAULT || self.receiver.is_some_and(|receiver| receiver.nic() == from)
            }
        }
    }
}
