//! Live migration of a guest between two switches in the order that the switch keeps: saved while it still runs, taken
//! off the source, put on the target under another port, restored, resumed (hyper-v-extensible-switch-live-migration-
//! support).

use crate::scenario::Net;
use crate::switch::control::save::{Blob, Offering};
use crate::switch::ports::policy::Property;
use crate::switch::ports::{Mac, NicId};

/// When the data comes back, as seen from the NIC on the target.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Arrival {
    BeforeTheNic,
    BeforeItConnects,
    AfterItConnects,
}

pub const ARRIVALS: [Arrival; 3] =
    [Arrival::BeforeTheNic, Arrival::BeforeItConnects, Arrival::AfterItConnects];

/// A guest on its way.
pub struct Migration<'a> {
    pub from: &'a Net,
    pub to: &'a Net,
    /// Its NIC on the source.
    pub nic: NicId,
    /// Its NIC on the target.
    pub becomes: NicId,
    pub mac: Mac,
    /// Policies of its port, which it has on the target before it is there.
    pub properties: Vec<Property>,
    pub offering: Offering,
    pub arrival: Arrival,
}

/// What a migration took.
#[derive(Clone, Debug)]
pub struct Moved {
    pub blobs: Vec<Blob>,
    /// Requests to save, and those of them that were answered with a demand for more room.
    pub rounds: usize,
    pub short: usize,
}

/// Where a migration came to grief.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Failure {
    /// The guest goes on where it is.
    Save,
    Target,
    Restore,
}

impl Migration<'_> {
    /// A guest with the address that it has on the source.
    pub fn new<'a>(from: &'a Net, to: &'a Net, nic: NicId, becomes: NicId) -> Migration<'a> {
        let arrival = Arrival::AfterItConnects;
        let (mac, properties) = (from.mac(nic), Vec::new());
        Migration { from, to, nic, becomes, mac, properties, offering: Offering::default(), arrival }
    }

    /// All of it; `while_saving` happens on the source after its state was saved and before it stops.
    pub fn run(&self, while_saving: impl FnOnce()) -> Result<Moved, Failure> {
        if !self.to.create_guest_port(self.becomes) {
            return Err(Failure::Target);
        }
        for (instance, property) in (1..).zip(&self.properties) {
            self.to.add_property(self.becomes.port, instance, property.clone());
        }
        let saved = self.from.save(self.nic, self.offering).filter(|run| !run.failed).ok_or(Failure::Save)?;
        while_saving();
        self.from.remove(self.nic);
        let restored = |at| at != self.arrival || self.to.restore_nic(self.becomes, &saved.blobs);
        let mut restored_all = restored(Arrival::BeforeTheNic);
        if !self.to.create_guest_nic(self.becomes, self.mac) {
            return Err(Failure::Target);
        }
        restored_all &= restored(Arrival::BeforeItConnects);
        self.to.connect_guest_nic(self.becomes);
        restored_all &= restored(Arrival::AfterItConnects);
        if !restored_all {
            self.to.remove(self.becomes);
            return Err(Failure::Restore);
        }
        Ok(Moved { blobs: saved.blobs, rounds: saved.rounds, short: saved.short })
    }
}
