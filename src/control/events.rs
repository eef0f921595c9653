//! Events: recorded wherever something happens, written by the module's thread to the System event log and to trace
//! sessions.

use crate::clock;
use crate::control::survey;
use crate::kernel::pool::{PoolSlice, Tag};
use crate::kernel::worker::{Reasons, Woken};
use crate::module::{Control, Module};
use crate::ndis::irql::Passive;
use crate::trace::Event;
use teaming::backoff::Backoff;
use teaming::event::journal::{Due, Place};
use teaming::event::log_entry::Strings;
use teaming::event::survey::Record;
use teaming::event::trace_logging::{DATA_MOST, METADATA_MOST, encode};
use teaming::ids::Ticks;

/// The earlier of two times, if there is one. `min` over a list of them takes 4 KiB of stack.
pub fn earlier(one: Option<Ticks>, other: Option<Ticks>) -> Option<Ticks> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (time, None) | (None, time) => time,
    }
}

/// Records an event. The team lock is held; nothing is written here.
pub fn record(module: &Module, control: &mut Control, event: Event) {
    record_at(module, control, clock::now(), event);
}

/// The same for a change whose time is known.
#[inline(never)] // called from everywhere
pub fn record_at(module: &Module, control: &mut Control, now: Ticks, event: Event) {
    wake(module, control.events.push(now, event, module.provider.wants(&event)));
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

/// How long losses of the survey wait that could not be told.
const SURVEY_AGAIN: Ticks = Ticks::from_ms(1_000);

/// Writes what is due, and sleeps until more is.
pub struct EventWriter {
    due: Option<Ticks>,
    /// When a refused registration of the provider is repeated.
    registration: Backoff,
    /// When losses of the survey are told.
    behind: Option<Ticks>,
    /// Where trace events are made, from the first one on.
    room: Option<PoolSlice<u8>>,
}

impl EventWriter {
    pub const IDLE: Self = Self { due: None, registration: Backoff::IDLE, behind: None, room: None };

    /// When a number of events that were not written can be told, or the provider is to be registered.
    pub fn due(&self) -> Option<Ticks> {
        earlier(earlier(self.due, self.registration.due()), self.behind)
    }

    /// Called on the thread after each of its waits. No lock held.
    #[inline(never)] // a frame of its own
    pub fn woken(&mut self, module: &Module, woken: &Woken, passive: &Passive) {
        self.register(module, passive);
        let is_due = earlier(self.due, self.behind).is_some_and(|due| due <= clock::now());
        if !is_due && !woken.reasons.contains(Reasons::EVENTS) {
            return;
        }
        while let Some(due) = self.next(module, None) {
            if !self.write(module, &due, passive) {
                module.control.lock().events.refused(&due, clock::now());
            }
        }
        self.survey(module, passive);
    }

    /// Writes what the survey has recorded. What no session wants is lost, and told when one does.
    #[inline(never)] // as above
    fn survey(&mut self, module: &Module, passive: &Passive) {
        let wanted = module.provider.wants(&Event::Surveyed { record: Record::EMPTY });
        while let Some((at, record)) = survey::next(module, wanted) {
            let due = Due { place: Place::Trace, at, event: Event::Surveyed { record } };
            if wanted && self.write(module, &due, passive) {
                continue;
            }
            survey::refused(module, record.about);
            if wanted {
                break;
            }
        }
        self.behind = survey::is_behind(module).then(|| clock::now().saturating_add(SURVEY_AGAIN));
    }

    /// Registers the provider if DriverEntry could not: at once, then at intervals that double up to a minute.
    #[inline(never)] // as above
    fn register(&mut self, module: &Module, passive: &Passive) {
        if module.provider.is_registered() {
            self.registration = Backoff::IDLE;
            return;
        }
        let now = clock::now();
        let waits = self.registration.due().is_some() && !self.registration.take(now);
        if !waits && !module.provider.register(passive) {
            self.registration.plan(now);
        }
    }

    /// The next event to write, with what may be told by `until`, or now.
    #[inline(never)] // as above
    fn next(&mut self, module: &Module, until: Option<Ticks>) -> Option<Due> {
        let now = clock::now();
        let mut control = module.control.lock();
        let wanted = |event: &Event| module.provider.wants(event);
        let next = control.events.take(now, until.unwrap_or(now), wanted);
        self.due = control.events.due();
        next
    }

    /// Writes all that waits and how many were not written, before the thread ends.
    #[inline(never)] // as above
    pub fn finish(&mut self, module: &Module, passive: &Passive) {
        const FOR_EVER: Ticks = Ticks::new(u64::MAX);
        while let Some(due) = self.next(module, Some(FOR_EVER)) {
            // What is refused now has no later.
            self.write(module, &due, passive);
        }
        self.survey(module, passive);
    }

    /// Whether the event was written.
    #[inline(never)] // as above
    fn write(&mut self, module: &Module, due: &Due, passive: &Passive) -> bool {
        let switch = module.texts.switch_title.get().map_or(&[][..], |title| title);
        match due.place {
            Place::Log => module.log.write(due.event.kind(), &Strings::new(&due.event, switch), passive),
            Place::Trace => self.trace(module, due, switch, passive).unwrap_or(false),
        }
    }

    /// `None` if there is no memory for the event.
    #[inline(never)] // as above
    fn trace(&mut self, module: &Module, due: &Due, switch: &[u16], passive: &Passive) -> Option<bool> {
        let room = match &mut self.room {
            Some(room) => room,
            none => {
                let bytes = METADATA_MOST.saturating_add(DATA_MOST);
                none.insert(PoolSlice::try_new(Tag::THREAD, bytes, |_| 0).ok()?)
            }
        };
        let (metadata, data) = room.split_at_mut_checked(METADATA_MOST)?;
        let lengths = encode(&due.event, due.at, switch, metadata, data)?;
        let (metadata, data) = (metadata.get(..lengths.metadata)?, data.get(..lengths.data)?);
        Some(module.provider.write(&due.event, metadata, data, passive))
    }
}
