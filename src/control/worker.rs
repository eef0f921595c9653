//! What runs on the module's own thread at PASSIVE_LEVEL: the settings are watched, and what was refused of the
//! configuration is read again. Code that needs PASSIVE_LEVEL gets a reason in `Reasons`, wakes the thread with it and is
//! called from here. The thread ends when detach stops it.

use super::enumerate;
use super::settings::SettingsWatch;
use crate::clock;
use crate::kernel::worker::{Reasons, Work, Worker};
use crate::module::Module;
use crate::ndis::irql::Passive;

impl Work for Module {
    fn worker(&self) -> &Worker {
        &self.worker
    }

    fn run(&self, passive: &Passive) {
        let mut settings = SettingsWatch::IDLE;
        loop {
            let longest = settings.due().map(|due| due.since(clock::now()));
            let woken = self.worker.wait(settings.event(), longest, passive);
            if woken.reasons.contains(Reasons::STOP) {
                return;
            }
            settings.woken(self, &woken, passive);
            if woken.reasons.contains(Reasons::CONFIGURATION) {
                enumerate::read(self, passive);
            }
        }
    }
}
