//! Adapters of one VM that fail over to each other (AllowTeaming): an address is reached at the port that sent from it
//! last.
//!
//! Known from `learned`, where no entry means: at its owner, as one that names the owner does. The entry of an address counts
//! as long as the port that it names may use the address, however old it is: a VM's team may be silent, and its switch was
//! told of both adapters.

use crate::Storage;
use crate::forward::source::FrameTag;
use crate::forward::{Forwarding, Packet};
use crate::ids::{MacAddr, VlanId};
use crate::ports::Port;

impl<S: Storage> Forwarding<S> {
    /// A frame from a port that may team, with its own address or that of another adapter of its VM: from now on the
    /// address is reached here.
    pub(crate) fn take_over(
        &self,
        packet: &Packet<'_>,
        (mac, vlan): (MacAddr, Option<VlanId>),
        (position, port): (usize, &Port),
    ) {
        if self.ports.lookup(mac).is_some_and(|owner| owner.id == port.id) {
            return if self.notes_own(port) {
                self.note_own(packet, (mac, vlan), (position, port));
            } else {
                self.learned.remove(mac, vlan);
            };
        }
        if !self.learned.refresh(mac, vlan, position, packet.now) {
            self.learned.learn(mac, vlan, position, packet.now);
            self.outside.remove(mac, vlan);
        }
        self.ports.note_borrower();
    }

    /// The port that sent last from an address that adapters of its VM may take over, if it is connected and still may
    /// use it; `None` if the address is at its owner, or nobody's of the kind.
    pub(crate) fn holder(&self, mac: MacAddr, vlan: Option<VlanId>) -> Option<&Port> {
        if !self.ports.lends_any() {
            return None;
        }
        let last = self.ports.at(self.learned.last(mac, vlan)?);
        last.filter(|port| self.ports.may_use(port, mac))
    }

    /// The port at which the destination is reached whose owner `port` is.
    pub(crate) fn user_of<'a>(&'a self, port: &'a Port, sent: FrameTag, packet: &Packet<'_>) -> &'a Port {
        if !port.may_team() {
            return port;
        }
        let to = packet.window.first_chunk::<6>().map_or(MacAddr::ZERO, |bytes| MacAddr(*bytes));
        let user = self.holder(to, sent.carried().vlan).filter(|user| user.team() == port.team());
        user.unwrap_or(port)
    }
}
