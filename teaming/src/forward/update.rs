//! Changes that the control path makes to the tables which packets read, under the write lock: ports, policies, NICs,
//! groups.
//!
//! Called by the driver with what requests and enumerations say; the tables themselves are in `ports`.

use crate::Storage;
use crate::forward::Forwarding;
use crate::forward::route::Leaving;
use crate::ids::PortId;
use crate::oid::nic::{NicOp, NicParameters};
use crate::ports::Full;
use crate::ports::policy::Security;
use crate::ports::vlan::RequestedVlans;

impl<S: Storage> Forwarding<S> {
    /// The external port's own life: known from its creation to its deletion.
    pub fn on_external(&mut self, op: NicOp, nic: &NicParameters) {
        match op {
            NicOp::Create | NicOp::Connect | NicOp::Update => self.external = Some(nic.id.port),
            NicOp::Disconnect => {}
            NicOp::Delete => self.external = None,
        }
        self.refresh_outside();
    }

    /// A NIC request about a vNIC.
    pub fn on_vnic(&mut self, op: NicOp, nic: &NicParameters) -> Result<(), Full> {
        if matches!(op, NicOp::Disconnect | NicOp::Delete) {
            self.forget(nic.id.port);
        }
        self.ports.apply(op, nic)
    }

    /// Adds a port that was created or enumerated; `closed` until its properties have been read.
    pub fn create_port(&mut self, id: PortId, closed: bool) -> Result<(), Full> {
        let created = self.ports.create_port(id, closed);
        self.refresh_outside();
        created
    }

    /// A port is being torn down: drops all its traffic.
    pub fn tear_down(&mut self, id: PortId) {
        self.ports.tear_down(id);
        self.refresh_outside();
    }

    /// Deletes a port with its policies, address and groups.
    pub fn delete_port(&mut self, id: PortId) {
        self.forget(id);
        self.ports.delete_port(id);
        self.refresh_outside();
    }

    /// All policies of a port as an enumeration found them; `Ok(false)` when one changed since `revision`.
    pub fn replace_policy(
        &mut self,
        id: PortId,
        revision: u32,
        vlans: Option<&RequestedVlans<'_>>,
        security: Option<Security>,
        closed: bool,
    ) -> Result<bool, Full> {
        self.forget(id);
        let replaced = self.ports.replace(id, revision, vlans, security, closed);
        self.refresh_outside();
        replaced
    }

    /// The VLAN property of a port, or none; `Full` when there is no room for its set.
    pub fn set_vlans(&mut self, id: PortId, wanted: Option<&RequestedVlans<'_>>) -> Result<(), Full> {
        self.forget(id);
        let set = self.ports.set_vlans(id, wanted);
        self.refresh_outside();
        set
    }

    /// Closes a port: all its traffic is dropped until its properties have been read again.
    pub fn close(&mut self, id: PortId) {
        self.ports.close(id);
        self.refresh_outside();
    }

    /// The security property of a port, or none.
    pub fn set_security(&mut self, id: PortId, security: Option<Security>) {
        self.forget(id);
        self.ports.set_security(id, security);
        self.refresh_outside();
    }

    /// Forgets the addresses learned from a port, those that its adapter has taken over, and in which VLANs its own is.
    fn forget(&mut self, id: PortId) {
        if let Some(position) = self.ports.position(id)
            && self
                .ports
                .get(id)
                .is_some_and(|port| port.may_learn() || port.may_team() || port.policy.vlans().is_trunk())
        {
            self.learned.forget(position);
        }
    }

    pub(super) fn refresh_outside(&mut self) {
        let policy = self.external.and_then(|port| self.ports.get(port)).map(|port| port.policy);
        self.outside_is_open = policy.is_none_or(|policy| policy.vlans.is_none() && !policy.closed);
        self.leaving = Leaving::new(self.external, self.outside_is_open, self.keying);
    }
}
