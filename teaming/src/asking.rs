//! Group traffic follows a machine that has moved: a switch that snoops (RFC 4541) sends a group where it heard a listener, and
//! so to the member that the machine has left. After its address was told of on the new member, the machine is asked which
//! groups it listens to, by IGMP and by MLD; its reports leave through that member. The questions go to the machine's own port
//! and to nobody else. A port is asked once for the addresses behind it that are told of one after the other.

use crate::Storage;
use crate::forward::Forwarding;
use crate::forward::addresses::{HostAddress, Question};
use crate::frame::queries::GroupProtocol;
use crate::ids::{PortId, VlanId};

/// What is still to be asked.
#[derive(Debug, Clone, Copy)]
pub struct Asking {
    left: Option<(HostAddress, GroupProtocol)>,
    /// Whom the last questions were for.
    last: Option<(PortId, Option<VlanId>)>,
}

impl Asking {
    pub const IDLE: Self = Self { left: None, last: None };

    pub const fn is_under_way(&self) -> bool {
        self.left.is_some()
    }

    /// The address was told of for the first time since it moved.
    pub fn begin(&mut self, of: HostAddress) {
        if self.last.replace(of.network()) != Some(of.network()) {
            self.left = Some((of, GroupProtocol::Igmp));
        }
    }

    /// The next question; what cannot be asked any more is given up.
    pub fn next<S: Storage>(&mut self, forwarding: &Forwarding<S>) -> Option<Question> {
        let (of, protocol) = self.left?;
        let question = forwarding.question(&of, protocol);
        if question.is_none() {
            self.left = None;
        }
        question
    }

    /// It is on its way.
    pub fn asked(&mut self) {
        self.left = match self.left {
            Some((of, GroupProtocol::Igmp)) => Some((of, GroupProtocol::Mld)),
            Some((_, GroupProtocol::Mld)) | None => None,
        };
    }
}
