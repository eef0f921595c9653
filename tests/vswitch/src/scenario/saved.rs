//! Saves and restores in the hands of a test, whole and step by step.

use super::life::is_attached;
use super::net::Net;
use crate::switch::control::lifecycle;
use crate::switch::control::save::{Blob, Offering, RestoreRun, SaveRun};
use crate::switch::ports::{Mac, NicId, NicKind};

impl Net {
    /// Everything that the extensions save of a NIC, in one operation that ends.
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

    /// A save whose requests are made one by one.
    pub fn begin_save(&self, nic: NicId, offering: Offering) -> Option<SaveRun> {
        let module = self.1;
        self.inside(move || is_attached(module).then(|| SaveRun::new(module, nic, offering)))?
    }

    pub fn begin_restore(&self, nic: NicId, blobs: &[Blob]) -> Option<RestoreRun> {
        let module = self.1;
        self.inside(move || is_attached(module).then(|| RestoreRun::new(module, nic, blobs)))?
    }

    /// One request more; false when the operation has ended.
    pub fn step_save(&self, run: &mut SaveRun) -> bool {
        self.inside(move || run.step()).unwrap_or(false)
    }

    pub fn step_restore(&self, run: &mut RestoreRun) -> bool {
        self.inside(move || run.step()).unwrap_or(false)
    }

    /// Gives it back; false if an extension fails it.
    pub fn restore_nic(&self, nic: NicId, blobs: &[Blob]) -> bool {
        self.run_restore(nic, blobs, None)
    }

    /// Gives back what is not as it was saved; the extension must not use it.
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

    /// A port of a guest, and what is to be on it, step by step.
    pub fn create_guest_port(&self, id: NicId) -> bool {
        let module = self.1;
        self.inside(move || lifecycle::create_port(module, id.port, NicKind::Synthetic)).unwrap_or(false)
    }

    pub fn create_guest_nic(&self, id: NicId, mac: Mac) -> bool {
        let module = self.1;
        self.inside(move || lifecycle::create_nic(module, id, mac)).unwrap_or(false)
    }

    pub fn connect_guest_nic(&self, id: NicId) -> bool {
        let module = self.1;
        self.inside(move || lifecycle::connect(module, id)).unwrap_or(false)
    }
}
