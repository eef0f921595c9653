//! Live migration of a guest between two switches, in the documented order: saved while it runs, removed from the
//! source, created on the target under another port, restored, resumed
//! (hyper-v-extensible-switch-live-migration-support).

use crate::scenario::Net;
use crate::switch::control::save::{Blob, Offering};
use crate::switch::ports::policy::Property;
use crate::switch::ports::{Mac, NicId};

/// When the data is restored, relative to the NIC on the target.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Arrival {
    BeforeTheNic,
    BeforeItConnects,
    AfterItConnects,
}

pub const ARRIVALS: [Arrival; 3] =
    [Arrival::BeforeTheNic, Arrival::BeforeItConnects, Arrival::AfterItConnects];

/// The migration of a guest.
pub struct Migration<'a> {
    pub from: &'a Net,
    pub to: &'a Net,
    /// Its NIC on the source.
    pub nic: NicId,
    /// Its NIC on the target.
    pub becomes: NicId,
    pub mac: Mac,
    /// Policies of its port, set on the target before the NIC is created.
    pub properties: Vec<Property>,
    pub offering: Offering,
    pub arrival: Arrival,
}

/// The result of a migration.
#[derive(Clone, Debug)]
pub struct Moved {
    pub blobs: Vec<Blob>,
    /// Number of save requests, and of those that demanded a larger buffer.
    pub rounds: usize,
    pub short: usize,
}

/// The step in which a migration failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Failure {
    /// The guest stays on the source.
    Save,
    Target,
    Restore,
}

impl Migration<'_> {
    /// The migration of a guest with its address on the source.
    pub fn new<'a>(from: &'a Net, to: &'a Net, nic: NicId, becomes: NicId) -> Migration<'a> {
        let arrival = Arrival::AfterItConnects;
        let (mac, properties) = (from.mac(nic), Vec::new());
        Migration { from, to, nic, becomes, mac, properties, offering: Offering::default(), arrival }
    }

    /// Runs the migration; `while_saving` runs on the source after the state was saved and before the guest stops.
    pub fn run(&self, while_saving: impl FnOnce()) -> Result<Moved, Failure> {
        if !self.to.create_guest_port(self.becomes) {
            return Err(Failure::Target);
        }
        for (instance, property) in (1..).zip(&self.properties) {
            self.to.add_property(self.becomes.port, instance, property.clone());
        }
        let saved = self.from.save(self.nic, self.offering).filter(|run| !run.failed).ok_or(Failure::Save)?;
        while_saving();
        let joined = self.from.joined(self.nic);
        self.from.remove(self.nic);
        let restored = |at| at != self.arrival || self.to.restore_nic(self.becomes, &saved.blobs);
        let mut restored_all = restored(Arrival::BeforeTheNic);
        if !self.to.create_guest_nic(self.becomes, self.mac, &joined) {
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
