//! NDIS events: notification events in the driver's own memory.

use crate::exports;
use crate::machine::clock;
use crate::machine::cpu;
use crate::machine::locks::wait_mutations;
use crate::machine::memory::MemoryState;
use crate::machine::world;
use lbfoext::ndis::sys::NdisEvent;
use std::sync::atomic::{AtomicU64, Ordering};

/// First word of an initialised event; the second is 1 when set.
const EVENT_MAGIC: u64 = u64::from_le_bytes(*b"NdisEvnt");

fn event_word(event: *mut NdisEvent, function: &'static str) -> Option<&'static AtomicU64> {
    let world = world::current();
    if event.is_null() || !event.is_aligned() || matches!(world.place(event.cast()), MemoryState::Freed(_)) {
        world.violate("MEM-02", format!("{function} of an event that is no live memory"));
        return None;
    }
    // SAFETY: the driver's event, valid while it uses it; its words are accessed only atomically or here.
    let (magic, word) =
        unsafe { ((&raw const (*event).0[0]).read(), AtomicU64::from_ptr(&raw mut (*event).0[1])) };
    if magic != EVENT_MAGIC {
        world.violate("MEM-02", format!("{function} of an event that was never initialised"));
        return None;
    }
    Some(word)
}

exports! {
    pub extern "win64" fn NdisInitializeEvent(event: *mut NdisEvent) where irql <= HIGH {
        // SAFETY: the driver passes memory for an event.
        unsafe { event.write(NdisEvent([EVENT_MAGIC, 0, 0])) };
    }

    pub extern "win64" fn NdisSetEvent(event: *mut NdisEvent) where irql <= DISPATCH {
        if let Some(word) = event_word(event, "NdisSetEvent") {
            word.store(1, Ordering::Release);
            cpu::wake(event.addr());
        }
    }

    pub extern "win64" fn NdisWaitEvent(event: *mut NdisEvent, ms: u32) -> u8 where irql <= PASSIVE {
        wait_mutations();
        cpu::require_may_wait("NdisWaitEvent");
        let Some(word) = event_word(event, "NdisWaitEvent") else { return 0 };
        let is_set = || (word.load(Ordering::Acquire) != 0).then_some(());
        if ms == 0 {
            cpu::block_on(event.addr(), "event", is_set);
            return 1;
        }
        let deadline = clock::now() + u64::from(ms) * clock::MILLISECOND;
        u8::from(clock::block_until_deadline("event", deadline, is_set).is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::memory::AllocationKind;
    use crate::machine::world::{Body, Config, Mode, World};

    #[test]
    fn an_event_wakes_who_waits_and_a_wait_can_time_out() {
        for mode in [Mode::Baton, Mode::Free] {
            let world = World::new(Config { mode, ..Config::default() });
            let event = world.alloc(AllocationKind::Switch, 24, 0, "event").expose_provenance();
            let pointer = move || std::ptr::with_exposed_provenance_mut::<NdisEvent>(event);
            let waits: Body = Box::new(move || {
                // SAFETY: memory for an event that lives as long as the world.
                unsafe {
                    NdisInitializeEvent(pointer());
                    let start = clock::now();
                    assert_eq!(NdisWaitEvent(pointer(), 5), 0);
                    assert_eq!(clock::now(), start + 5 * clock::MILLISECOND);
                    clock::after(clock::SECOND, "set", move || NdisSetEvent(pointer()));
                    assert_eq!(NdisWaitEvent(pointer(), 0), 1);
                    assert_eq!(NdisWaitEvent(pointer(), 5), 1);
                }
            });
            assert_eq!(world.run(vec![("waits", 0, waits)]), Ok(()));
            assert!(world.violations().is_empty(), "{:?}", world.violations());
        }
    }
}
