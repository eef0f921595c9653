//! The operations of a test on saves and restores, whole or step by step.

use super::life::is_attached;
use super::net::Net;
use crate::switch::control::lifecycle;
use crate::switch::control::save::{Blob, Offering, RestoreRun, SaveRun};
use crate::switch::ndis::with;
use crate::switch::ports::{Mac, Nic, NicId, NicKind};
use std::collections::BTreeSet;

impl Net {
    /// Saves the state of a NIC in one complete operation.
    pub fn save(&self, nic: NicId, offering: Offering) -> Option<SaveRun> {
        let module = self.1;
        self.inside(move || {
            is_attached(module).then(|| {
                let mut run = SaveRun::new(module, nic, offering);
                while run.step() {}
                run
            })
        })?
    }

    /// Begins a save whose requests are issued one by one.
    pub fn begin_save(&self, nic: NicId, offering: Offering) -> Option<SaveRun> {
        let module = self.1;
        self.inside(move || is_attached(module).then(|| SaveRun::new(module, nic, offering)))?
    }

    pub fn begin_restore(&self, nic: NicId, blobs: &[Blob]) -> Option<RestoreRun> {
        let module = self.1;
        self.inside(move || is_attached(module).then(|| RestoreRun::new(module, nic, blobs)))?
    }

    /// Issues the next request; false when the operation has ended.
    pub fn step_save(&self, run: &mut SaveRun) -> bool {
        self.inside(move || run.step()).unwrap_or(false)
    }

    pub fn step_restore(&self, run: &mut RestoreRun) -> bool {
        self.inside(move || run.step()).unwrap_or(false)
    }

    /// Restores a NIC; false if an extension fails it.
    pub fn restore_nic(&self, nic: NicId, blobs: &[Blob]) -> bool {
        self.run_restore(nic, blobs, None)
    }

    /// Restores damaged data, which the extension must not use.
    pub fn restore_spoilt(&self, nic: NicId, blobs: &[Blob], good: &[Blob]) -> bool {
        self.run_restore(nic, blobs, Some(good))
    }

    fn run_restore(&self, nic: NicId, blobs: &[Blob], good: Option<&[Blob]>) -> bool {
        let module = self.1;
        let run = self.inside(move || {
            is_attached(module).then(|| {
                let mut run = RestoreRun::new(module, nic, blobs);
                if let Some(good) = good {
                    run = run.spoilt(good);
                }
                while run.step() {}
                run
            })
        });
        run.flatten().is_some_and(|run| !run.failed)
    }

    /// Creates a guest's port, without a NIC.
    pub fn create_guest_port(&self, id: NicId) -> bool {
        let module = self.1;
        self.inside(move || lifecycle::create_port(module, id.port, NicKind::Synthetic)).unwrap_or(false)
    }

    /// Creates the NIC of a VM that was saved or comes from another host, and has joined these groups there.
    pub fn create_guest_nic(&self, id: NicId, mac: Mac, joined_before: &BTreeSet<Mac>) -> bool {
        let module = self.1;
        self.inside(move || {
            let made = lifecycle::create_nic_again(module, id, mac);
            with(|_, s| {
                let nic = s.modules[module].topology.nic_mut(id);
                nic.into_iter().for_each(|nic| nic.joined_before.clone_from(joined_before));
            });
            made
        })
        .unwrap_or(false)
    }

    /// The groups that the VM of a NIC has joined, here or before.
    pub fn joined(&self, id: NicId) -> BTreeSet<Mac> {
        let module = self.1;
        self.look(move |s| {
            let nic = s.modules[module].topology.nic(id);
            let groups = |nic: &Nic| nic.groups.iter().flatten().chain(&nic.joined_before).copied().collect();
            nic.map(groups).unwrap_or_default()
        })
        .unwrap_or_default()
    }

    /// Connects a NIC; the switch does so with none whose creation was refused.
    pub fn connect_guest_nic(&self, id: NicId) -> bool {
        let module = self.1;
        let there = move || with(|_, s| s.modules[module].topology.nic(id).is_some());
        self.inside(move || there() && lifecycle::connect(module, id)).unwrap_or(false)
    }
}
