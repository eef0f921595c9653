//! The work of the module's thread at PASSIVE_LEVEL: it watches the settings, reads those of members, reads parts of the
//! configuration again that could not be read, asks members what they hold, sends vendor-private OIDs, writes events to the
//! log and to trace sessions, and reads the link state of members of which the switch tells none. Code that needs
//! PASSIVE_LEVEL has a reason in `Reasons`, wakes the thread with it and is called from here. Detach stops the thread.

use super::announce;
use super::enumerate;
use super::events::{EventWriter, earlier};
use super::link_poll::LinkPoll;
use super::member_settings::MembersRead;
use super::private_oids::PrivateOids;
use super::resource_lists::ResourceLists;
use super::seats;
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
        let mut links = LinkPoll::IDLE;
        let mut resources = ResourceLists::IDLE;
        let mut private = PrivateOids::IDLE;
        let mut events = EventWriter::IDLE;
        let mut members = MembersRead::IDLE;
        loop {
            let requests = earlier(resources.due(), private.due());
            let others = earlier(earlier(links.due(), members.due()), earlier(requests, events.due()));
            let due = earlier(settings.due(), others);
            let longest = due.map(|due| due.since(clock::now()));
            let woken = self.worker.wait(settings.event(), longest, passive);
            if woken.reasons.contains(Reasons::STOP) {
                events.finish(self, passive);
                return;
            }
            // First, because what follows may wait for adapters, and once more for what it has found.
            announce::tell_all(self);
            settings.woken(self, &woken, passive);
            if woken.reasons.contains(Reasons::CONFIGURATION) {
                enumerate::read(self, passive);
            }
            seats::woken(self, &woken);
            members.woken(self, &woken, passive);
            links.woken(self, &woken, passive);
            announce::tell_all(self);
            resources.woken(self, &woken, passive);
            private.woken(self, &woken, passive);
            events.woken(self, &woken, passive);
        }
    }
}
