//! Which addresses the port table lends: those in use on its ports that allow teaming, to other adapters of the same VM on
//! this switch and, by the host's table, on others.

use crate::Storage;
use crate::ids::MacAddr;
use crate::oid::nic::VmId;
use crate::ports::host::Host;
use crate::ports::mates::{Mate, add, contains, has, remove};
use crate::ports::{Port, PortTable};
use core::sync::atomic::Ordering;

/// The bit of `PortTable::searching` that says that an adapter has taken over an address.
const BORROWED: usize = 1;

impl Port {
    /// The address that other adapters of its VM may take over: that in use by an adapter of a VM, connected or not, on a
    /// port that allows teaming. Adapters of the host have no VM.
    pub fn mate(&self) -> Option<Mate> {
        let mate = Mate { mac: self.current_mac, vm: self.team() };
        let is_address = mate.mac != MacAddr::ZERO && !mate.mac.is_multicast();
        let lends = self.has_nic() && self.may_team() && is_address && mate.vm != VmId::NONE;
        lends.then_some(mate)
    }

    /// With whom it shares addresses: adapters of its VM in the same virtual subnet.
    pub fn team(&self) -> VmId {
        self.vm.in_subnet(self.policy.security().virtual_subnet)
    }

    /// The addresses of other adapters of its VM are allowed.
    pub fn may_team(&self) -> bool {
        self.policy.security().teaming
    }
}

impl<S: Storage> PortTable<S> {
    /// The port may send from the address, and be reached at it: its adapter's own, or that in use by another adapter of
    /// its VM whose port allows teaming, too.
    pub fn may_use(&self, port: &Port, mac: MacAddr) -> bool {
        port.may_team() && (port.addresses().any(|own| own == mac) || self.lends(mac, port.team()))
    }

    /// An adapter of that VM uses the address, on a port of this host that allows teaming.
    fn lends(&self, mac: MacAddr, vm: VmId) -> bool {
        let mate = Mate { mac, vm };
        vm != VmId::NONE && (contains(&self.room.mates, mate) || self.host.contains(mate))
    }

    /// The address is in use by an adapter on a port of this switch that allows teaming, connected or not.
    pub fn is_lent_here(&self, mac: MacAddr) -> bool {
        self.lent != 0 && has(&self.room.mates, mac)
    }

    /// Some address may be taken over by another adapter.
    pub const fn lends_any(&self) -> bool {
        self.lent != 0
    }

    /// An adapter has taken over the address of another one.
    pub fn note_borrower(&self) {
        if self.searching.load(Ordering::Relaxed) & BORROWED == 0 {
            self.searching.fetch_or(BORROWED, Ordering::Relaxed);
        }
    }

    /// An address that no vNIC has may be behind a port: some port may learn, or an adapter has taken over an address.
    #[inline]
    pub fn searches(&self) -> bool {
        self.searching.load(Ordering::Relaxed) != 0
    }

    /// The port's address can be taken over no more, or not as it was; before the port changes.
    pub(super) fn withdraw(&mut self, at: usize) {
        self.unshare(at);
        if let Some(mate) = self.room.ports.get(at).and_then(Port::mate) {
            remove(&mut self.room.mates, mate);
            self.lent = self.lent.saturating_sub(1);
        }
    }

    /// The port's address can be taken over, if its policy allows it; after it has changed. There is a slot for each port.
    pub(super) fn contribute(&mut self, at: usize) {
        if let Some(mate) = self.room.ports.get(at).and_then(Port::mate)
            && add(&mut self.room.mates, mate)
        {
            self.lent = self.lent.saturating_add(1);
            self.share(at, mate);
        }
        self.share_again();
        self.refresh_searching();
    }

    fn share(&mut self, at: usize, mate: Mate) {
        let shared = self.host.add(mate);
        if let Some(port) = self.room.ports.get_mut(at) {
            port.shared = shared;
        }
        self.unshared = self.unshared.saturating_add(usize::from(!shared));
    }

    fn unshare(&mut self, at: usize) {
        let Some(port) = self.room.ports.get_mut(at) else { return };
        let Some(mate) = port.mate() else { return };
        if core::mem::replace(&mut port.shared, false) {
            self.host.remove(mate);
        } else {
            self.unshared = self.unshared.saturating_sub(1);
        }
    }

    /// Ports whose addresses adapters on other switches cannot take over, because the host's table has no room.
    pub const fn unshared(&self) -> usize {
        self.unshared
    }

    /// Tries again for those.
    pub fn share_again(&mut self) {
        let mut from = 0;
        while self.unshared != 0
            && let Some((at, mate)) = self.next_unshared(from)
        {
            self.unshared = self.unshared.saturating_sub(1);
            self.share(at, mate);
            from = at.saturating_add(1);
        }
    }

    fn next_unshared(&self, from: usize) -> Option<(usize, Mate)> {
        let mut ports = self.room.ports.iter().enumerate().skip(from);
        ports.find_map(|(at, port)| Some((at, port.mate().filter(|_| !port.shared)?)))
    }

    /// The switch goes: adapters on other switches can take over no address of this one any more. Nothing is to change
    /// afterwards.
    pub fn leave_host(&mut self) {
        for at in 0..self.room.ports.len() {
            self.unshare(at);
        }
        self.unshared = self.lent;
    }

    /// What `searches` says, after ports that may learn or addresses that may be taken over have changed.
    pub(super) fn refresh_searching(&mut self) {
        let lends = self.lends_any();
        let searching = self.searching.get_mut();
        let borrowed = if lends { *searching & BORROWED } else { 0 };
        *searching = self.learning.wrapping_mul(2) | borrowed;
    }
}
