//! Events: recorded wherever something happens, written by the module's thread to the System event log.

use crate::clock;
use crate::kernel::worker::{Reasons, Woken};
use crate::module::{Control, Module};
use crate::ndis::irql::Passive;
use crate::trace::Event;
use teaming::event::log_entry::Strings;
use teaming::ids::Ticks;

/// Records an event. The team lock is held; nothing is written here.
pub fn record(module: &Module, control: &mut Control, event: Event) {
    record_at(module, control, clock::now(), event);
}

/// The same for a change whose time is known.
#[inline(never)] // called from everywhere
pub fn record_at(module: &Module, control: &mut Control, now: Ticks, event: Event) {
    wake(module, control.events.push(now, event));
}

/// Wakes the thread if the events say so.
pub fn wake(module: &Module, needed: bool) {
    if needed {
        module.worker.wake(Reasons::EVENTS);
    }
}

/// The same without the team lock. IRQL <= DISPATCH_LEVEL.
#[inline(never)] // as above, and a frame of its own
pub fn tell(module: &Module, event: Event) {
    record(module, &mut module.control.lock(), event);
}

/// Writes what is due, and sleeps until more is.
pub struct EventWriter {
    due: Option<Ticks>,
}

impl EventWriter {
    pub const IDLE: Self = Self { due: None };

    /// When a number of events that were not written can be told.
    pub fn due(&self) -> Option<Ticks> {
        self.due
    }

    /// Called on the thread after each of its waits. No lock held.
    #[inline(never)] // a frame of its own
    pub fn woken(&mut self, module: &Module, woken: &Woken, passive: &Passive) {
        let is_due = self.due.is_some_and(|due| due <= clock::now());
        if !is_due && !woken.reasons.contains(Reasons::EVENTS) {
            return;
        }
        while let Some(event) = self.next(module) {
            if !write(module, &event, passive) {
                module.control.lock().events.refused(&event, clock::now());
            }
        }
    }

    fn next(&mut self, module: &Module) -> Option<Event> {
        let now = clock::now();
        let mut control = module.control.lock();
        let next = control.events.take(now, now);
        self.due = control.events.due();
        next
    }

    /// Writes all that waits and how many were not written, before the thread ends.
    #[inline(never)] // as above
    pub fn finish(&self, module: &Module, passive: &Passive) {
        const FOR_EVER: Ticks = Ticks::new(u64::MAX);
        loop {
            let next = module.control.lock().events.take(clock::now(), FOR_EVER);
            let Some(event) = next else { return };
            // What is refused now has no later.
            write(module, &event, passive);
        }
    }
}

/// Whether the event was written.
#[inline(never)] // a frame of its own
fn write(module: &Module, event: &Event, passive: &Passive) -> bool {
    let switch = module.switch_title.get().map_or(&[][..], |title| title);
    module.log.write(event.kind(), &Strings::new(event, switch), passive)
}
