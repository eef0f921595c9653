//! The locks that each thread holds, and spin locks.
//!
//! A spin lock lives in the driver's own word: 0 when free, else the holder's thread number + 1, so that it excludes
//! in free mode as a real one does.

use crate::exports;
use crate::machine::cpu::{self, Held, held_text};
use crate::machine::lock_order;
use crate::machine::memory::MemoryState;
use crate::machine::rwlock;
use crate::machine::thread::{self, Thread};
use crate::mutation::Mutation;
use std::sync::atomic::{AtomicUsize, Ordering};

const SPIN: &str = "spin";
/// Above every thread number: such a word was never a lock.
const MOST_THREADS: usize = 1 << 20;

/// Names of the locks that the calling thread holds.
pub fn held_locks() -> Vec<String> {
    let thread = thread::current();
    let held = thread.held.borrow();
    held.iter().map(|l| format!("{} {}", l.kind, thread.world.ids.name_of(l.address, "lock"))).collect()
}

/// LOCK-01: the driver calls out of its module; it must hold no lock. For requests OID-22 says it again, for status
/// indications STATUS-16.
pub fn leaving(function: &'static str) {
    let rule = match function {
        "NdisFOidRequest" | "NdisFOidRequestComplete" => "OID-22",
        "NdisFIndicateStatus" => "STATUS-16",
        _ => "LOCK-01",
    };
    let thread = thread::current();
    let injected = thread.world.leave_hook.get().is_some_and(|hook| hook(rule));
    if injected {
        thread.held.borrow_mut().push(Held { kind: SPIN, address: 8, old_irql: 0 });
    }
    thread.world.exercised(rule);
    if !thread.held.borrow().is_empty() {
        thread.world.violate(rule, format!("{function} called with {} held", held_text(&thread)));
    }
    if injected {
        thread.held.borrow_mut().pop();
    }
    release_late(&thread);
}

/// Adds a lock to those held.
pub(crate) fn take(thread: &Thread, kind: &'static str, address: usize, old_irql: u8) {
    lock_order::note(thread, if kind == SPIN { SPIN } else { rwlock::NAME }, address);
    let mut held = thread.held.borrow_mut();
    if held.is_empty() {
        thread.committed.set((0, 0));
    }
    held.push(Held { kind, address, old_irql });
}

/// Most packets, and most destinations, that the driver may commit while it holds a lock.
const MOST_COMMITTED: (u32, u32) = (32, 64);

/// Destinations of a packet are committed, perhaps with a lock held; `first` tells that it had none before.
pub fn committing(first: bool, destinations: usize) {
    let thread = thread::current();
    if thread.held.borrow().is_empty() {
        return;
    }
    let (packets, all) = thread.committed.get();
    let now = (packets + u32::from(first), all + u32::try_from(destinations).unwrap_or(u32::MAX));
    thread.committed.set(now);
    let fits = now.0 <= MOST_COMMITTED.0 && now.1 <= MOST_COMMITTED.1;
    crate::machine::verify::rule(&thread.world, "LOCK-HOLD", fits, || {
        format!(
            "{} packets and {} destinations committed in one hold of {}",
            now.0,
            now.1,
            held_text(&thread)
        )
    });
}

/// Removes a lock from those held; false if it was not.
pub(crate) fn give(thread: &Thread, address: usize) -> bool {
    let mut held = thread.held.borrow_mut();
    let at = held.iter().rposition(|l| l.address == address);
    at.map(|at| held.remove(at)).is_some()
}

/// Releases a lock that a routine returned with.
pub(crate) fn force_release(thread: &Thread, lock: Held) {
    if lock.kind == SPIN {
        if let Some(word) = spin_word(thread, lock.address) {
            word.store(0, Ordering::Release);
        }
    } else {
        rwlock::force_release(thread, lock);
    }
    thread.world.scheduler.wake(lock.address);
}

fn spin_word(thread: &Thread, address: usize) -> Option<&'static AtomicUsize> {
    let word = std::ptr::with_exposed_provenance_mut::<usize>(address);
    if address == 0 || !word.is_aligned() || matches!(thread.world.place(word.cast()), MemoryState::Freed(_))
    {
        thread.world.violate("MEM-02", "spin lock at an address that is no live memory");
        return None;
    }
    // SAFETY: the driver passes the address of its lock, valid while it uses it, accessed only atomically.
    Some(unsafe { AtomicUsize::from_ptr(word) })
}

fn acquire_spin(thread: &Thread, address: usize, old_irql: u8) {
    let world = &*thread.world;
    let me = thread.shared.id as usize + 1;
    let Some(word) = spin_word(thread, address) else { return };
    let is = word.load(Ordering::Relaxed);
    if is > MOST_THREADS {
        world.violate("MEM-02", "spin lock was never initialised");
        word.store(0, Ordering::Relaxed);
    }
    if is == me {
        return world.violate("LOCK-03", format!("{} acquired twice", world.ids.name_of(address, SPIN)));
    }
    let grab = || word.compare_exchange(0, me, Ordering::Acquire, Ordering::Relaxed).ok().map(|_| ());
    if world.mutation() != Some(Mutation::NoTeamLock) && grab().is_none() {
        world.scheduler.block(thread, address, "spin lock", grab);
    }
    take(thread, SPIN, address, old_irql);
}

fn release_spin(thread: &Thread, address: usize) -> bool {
    let world = &*thread.world;
    let me = thread.shared.id as usize + 1;
    let Some(word) = spin_word(thread, address) else { return false };
    if !give(thread, address) {
        world.violate(
            "LOCK-03",
            format!("{} released by who does not hold it", world.ids.name_of(address, SPIN)),
        );
        return false;
    }
    let _ = word.compare_exchange(me, 0, Ordering::Release, Ordering::Relaxed);
    world.scheduler.wake(address);
    true
}

/// Mutation `LateUnlock`: what the driver released before is released now.
fn release_late(thread: &Thread) {
    if thread.world.mutation() == Some(Mutation::LateUnlock) {
        let spins: Vec<Held> = thread.held.borrow().iter().filter(|l| l.kind == SPIN).copied().collect();
        for lock in spins {
            release_spin(thread, lock.address);
            cpu::lower_to(thread, lock.old_irql);
        }
    }
}

exports! {
    pub extern "win64" fn KeAcquireSpinLockRaiseToDpc(lock: *mut usize) -> u8 where irql <= DISPATCH {
        let thread = thread::current();
        let old = cpu::raise(&thread);
        acquire_spin(&thread, lock.expose_provenance(), old);
        old
    }

    pub extern "win64" fn KeReleaseSpinLock(lock: *mut usize, old_irql: u8) where irql <= DISPATCH {
        let thread = thread::current();
        match thread.world.mutation() {
            Some(Mutation::LateUnlock) => return,
            Some(Mutation::KeepIrql) if thread.world.spend_mutation() => {
                release_spin(&thread, lock.expose_provenance());
                return;
            }
            _ => {}
        }
        if release_spin(&thread, lock.expose_provenance()) {
            cpu::lower_to(&thread, old_irql);
        }
    }
}

/// Mutations `WaitUnderLock` and `WaitTooHigh`: the checks of a wait, run in the state they forbid.
pub(crate) fn wait_mutations() {
    let thread = thread::current();
    if let Some(hook) = thread.world.wait_hook.get() {
        hook();
    }
    match thread.world.mutation() {
        Some(Mutation::WaitUnderLock) if thread.world.spend_mutation() => {
            thread.held.borrow_mut().push(Held { kind: SPIN, address: 8, old_irql: 0 });
            cpu::require_may_wait("a wait");
            thread.held.borrow_mut().pop();
        }
        Some(Mutation::WaitTooHigh) if thread.world.spend_mutation() => {
            let old = cpu::raise(&thread);
            cpu::require_may_wait("a wait");
            cpu::lower_to(&thread, old);
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::world::{Body, Config, Mode, World};
    use std::sync::Arc;
    use std::sync::atomic::AtomicU32;

    fn rules(world: &World) -> Vec<&'static str> {
        world.violations().iter().map(|v| v.rule).collect()
    }

    #[test]
    fn a_spin_lock_excludes_in_both_modes() {
        for mode in [Mode::Baton, Mode::Free] {
            let world = World::new(Config { mode, ..Config::default() });
            let word = Arc::new(AtomicUsize::new(0));
            let count = Arc::new(AtomicU32::new(0));
            let thread = |n: u32| -> (String, u32, Body) {
                let (word, count) = (Arc::clone(&word), Arc::clone(&count));
                let body = move || {
                    for _ in 0..500 {
                        // SAFETY: the word lives as long as the thread.
                        let old = unsafe { KeAcquireSpinLockRaiseToDpc(word.as_ptr()) };
                        assert_eq!(cpu::irql(), cpu::DISPATCH);
                        let seen = count.load(Ordering::Relaxed);
                        cpu::yield_point("inside");
                        count.store(seen + 1, Ordering::Relaxed);
                        // SAFETY: as above.
                        unsafe { KeReleaseSpinLock(word.as_ptr(), old) };
                        assert_eq!(cpu::irql(), cpu::PASSIVE);
                    }
                };
                (format!("t{n}"), n, Box::new(body))
            };
            assert_eq!(world.run((0..3).map(thread).collect()), Ok(()));
            assert_eq!((count.load(Ordering::Relaxed), rules(&world)), (1500, vec![]));
        }
    }

    #[test]
    fn a_spin_lock_is_acquired_once_and_released_by_its_holder() {
        let world = World::new(Config::default());
        let body = || {
            let word = AtomicUsize::new(0);
            // SAFETY: the word lives to the end of the closure.
            unsafe {
                KeReleaseSpinLock(word.as_ptr(), 0);
                let old = KeAcquireSpinLockRaiseToDpc(word.as_ptr());
                KeAcquireSpinLockRaiseToDpc(word.as_ptr());
                KeReleaseSpinLock(word.as_ptr(), old);
            }
        };
        world.enter(body).expect("it ends");
        assert_eq!(rules(&world), ["LOCK-03", "LOCK-03"]);
    }
}
