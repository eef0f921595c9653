//! Rundown protection, plain (in the driver's own word) and cache aware (an object of the ledger).
//!
//! Both have the same states: usable with n references; run down once a wait began, when acquiring fails; the wait ends
//! at zero references; the cache aware one, once it was said to be completed, becomes usable again by re-initialisation.
//! Below APC_LEVEL whoever takes or gives back a reference is in a critical region (run-down-protection).

use crate::exports;
use crate::machine::cpu;
use crate::machine::fault;
use crate::machine::locks::wait_mutations;
use crate::machine::memory::{self, AllocationKind, MemoryState};
use crate::machine::thread;
use crate::machine::world::{self, World};
use crate::mutation::Mutation;
use lbfoext::kernel::sys::RundownRef;
use std::ffi::c_void;
use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bit of the word that says that a wait began; references count above it.
const RUN_DOWN: usize = 1;
/// Bit of the word of a cache aware one that says that the wait was completed.
const COMPLETED: usize = 2;
const ONE: usize = 4;
/// Above every count: a plain word that was initialised says so.
const INITIALISED: usize = 0x52_44 << 40;
const COUNT: usize = (1 << 40) - 1;

/// A cache aware rundown object: its word and the tag it was allocated with.
struct CacheAware {
    word: AtomicUsize,
    tag: u32,
}

/// LOCK-07: a holder that is suspended would make the wait endless.
fn cannot_be_suspended(world: &World, function: &'static str) {
    let thread = thread::current();
    let exempt = thread.irql.get() >= cpu::APC || thread.critical_regions.get() > 0;
    let injected = world.mutation() == Some(Mutation::NoRegion) && world.spend_mutation();
    crate::machine::verify::rule(world, "LOCK-07", exempt && !injected, || {
        format!("{function} at PASSIVE_LEVEL outside a critical region")
    });
}

fn acquire(word: &AtomicUsize) -> bool {
    let more = |now: usize| (now & RUN_DOWN == 0).then_some(now + ONE);
    word.fetch_update(Ordering::Acquire, Ordering::Relaxed, more).is_ok()
}

fn release(world: &World, word: &AtomicUsize, key: usize) {
    let twice = world.mutation() == Some(Mutation::ReleaseTwice) && world.spend_mutation();
    for _ in 0..=u8::from(twice) {
        world.exercised("LOCK-03");
        let fewer = |now: usize| (now & COUNT >= ONE).then(|| now - ONE);
        match word.fetch_update(Ordering::Release, Ordering::Relaxed, fewer) {
            Ok(before) if before & COUNT == ONE | RUN_DOWN => world.scheduler.wake(key),
            Ok(_) => {}
            Err(_) => world.violate("LOCK-03", "rundown protection released more often than acquired"),
        }
    }
}

fn wait(word: &AtomicUsize, key: usize, function: &'static str) {
    wait_mutations();
    cpu::require_may_wait(function);
    word.fetch_or(RUN_DOWN, Ordering::AcqRel);
    cpu::block_on(key, "rundown protection", || (word.load(Ordering::Acquire) & COUNT < ONE).then_some(()));
}

fn cache_aware(world: &World, rundown: *mut c_void, function: &'static str) -> Option<&'static CacheAware> {
    let pointer = rundown.cast::<CacheAware>();
    if world.place(pointer.cast()) != MemoryState::Live(AllocationKind::Rundown) {
        world.violate("MEM-02", format!("{function} with rundown protection that does not exist"));
        return None;
    }
    // SAFETY: a live ledger entry of this kind holds one.
    Some(unsafe { &*pointer })
}

fn plain(world: &World, rundown: *mut RundownRef, function: &'static str) -> Option<&'static AtomicUsize> {
    if rundown.is_null()
        || !rundown.is_aligned()
        || matches!(world.place(rundown.cast()), MemoryState::Freed(_))
    {
        world.violate("MEM-02", format!("{function} with rundown protection that is no live memory"));
        return None;
    }
    // SAFETY: the driver's own word, valid while it uses it, accessed only atomically.
    let word = unsafe { AtomicUsize::from_ptr(&raw mut (*rundown).0) };
    let initialised = word.load(Ordering::Relaxed) & !COUNT == INITIALISED;
    crate::machine::verify::rule(world, "LOCK-08", initialised, || {
        format!("{function} with rundown protection that was never initialised")
    });
    if !initialised {
        word.store(INITIALISED, Ordering::Relaxed);
    }
    Some(word)
}

exports! {
    pub extern "win64" fn ExAllocateCacheAwareRundownProtection(_pool_type: i32, tag: u32) -> *mut c_void
    where irql <= APC {
        if fault::fails("ExAllocateCacheAwareRundownProtection") {
            return ptr::null_mut();
        }
        let fresh = CacheAware { word: AtomicUsize::new(0), tag };
        memory::alloc_value(AllocationKind::Rundown, fresh, tag, "rundown protection").cast()
    }

    pub extern "win64" fn ExFreeCacheAwareRundownProtection(rundown: *mut c_void) where irql <= APC {
        let world = world::current();
        let Some(object) = cache_aware(&world, rundown, "ExFreeCacheAwareRundownProtection") else { return };
        if object.word.load(Ordering::Acquire) >= ONE {
            world.violate("MEM-02", "rundown protection freed with references");
        }
        let tag = object.tag;
        // SAFETY: nobody uses it, or that was reported.
        let _ = unsafe { memory::free_value::<CacheAware>(AllocationKind::Rundown, rundown.cast(), tag) };
    }

    pub extern "win64" fn ExAcquireRundownProtectionCacheAware(rundown: *mut c_void) -> u8 where irql <= DISPATCH {
        let world = world::current();
        let object = cache_aware(&world, rundown, "ExAcquireRundownProtectionCacheAware");
        cannot_be_suspended(&world, "ExAcquireRundownProtectionCacheAware");
        let held = object.is_some_and(|o| acquire(&o.word));
        world.walks_held.fetch_add(usize::from(held), Ordering::Relaxed);
        u8::from(held)
    }

    pub extern "win64" fn ExReleaseRundownProtectionCacheAware(rundown: *mut c_void) where irql <= DISPATCH {
        let world = world::current();
        cannot_be_suspended(&world, "ExReleaseRundownProtectionCacheAware");
        if let Some(object) = cache_aware(&world, rundown, "ExReleaseRundownProtectionCacheAware") {
            let fewer = |held: usize| Some(held.saturating_sub(1));
            let _ = world.walks_held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fewer);
            release(&world, &object.word, rundown.addr());
        }
    }

    pub extern "win64" fn ExWaitForRundownProtectionReleaseCacheAware(rundown: *mut c_void) where irql <= APC {
        let world = world::current();
        let function = "ExWaitForRundownProtectionReleaseCacheAware";
        let Some(object) = cache_aware(&world, rundown, function) else { return };
        if world.mutation() == Some(Mutation::NoRundown) {
            wait_mutations();
            object.word.fetch_or(RUN_DOWN, Ordering::AcqRel);
            return;
        }
        wait(&object.word, rundown.addr(), function);
    }

    pub extern "win64" fn ExReInitializeRundownProtectionCacheAware(rundown: *mut c_void) where irql <= DISPATCH {
        let world = world::current();
        let Some(object) = cache_aware(&world, rundown, "ExReInitializeRundownProtectionCacheAware") else { return };
        let before = object.word.swap(0, Ordering::AcqRel);
        crate::machine::verify::rule(&world, "LOCK-08", before == RUN_DOWN | COMPLETED, || {
            "rundown protection re-initialised that was not run down, or not said to be completed".to_owned()
        });
    }

    pub extern "win64" fn ExRundownCompletedCacheAware(rundown: *mut c_void) where irql <= APC {
        let world = world::current();
        let Some(object) = cache_aware(&world, rundown, "ExRundownCompletedCacheAware") else { return };
        let waits = world.mutation() != Some(Mutation::NoRundown);
        crate::machine::verify::rule(&world, "LOCK-08", !waits || object.word.load(Ordering::Acquire) & !COMPLETED == RUN_DOWN, || {
            "rundown protection said to be completed that was not run down".to_owned()
        });
        if world.mutation() != Some(Mutation::SkipCompleted) {
            object.word.fetch_or(COMPLETED, Ordering::AcqRel);
        }
    }

    pub extern "win64" fn ExInitializeRundownProtection(rundown: *mut RundownRef) where irql <= APC {
        // SAFETY: the driver passes memory for one.
        unsafe { rundown.write(RundownRef(INITIALISED)) };
    }

    pub extern "win64" fn ExAcquireRundownProtection(rundown: *mut RundownRef) -> u8 where irql <= DISPATCH {
        let world = world::current();
        cannot_be_suspended(&world, "ExAcquireRundownProtection");
        u8::from(plain(&world, rundown, "ExAcquireRundownProtection").is_some_and(acquire))
    }

    pub extern "win64" fn ExReleaseRundownProtection(rundown: *mut RundownRef) where irql <= DISPATCH {
        let world = world::current();
        cannot_be_suspended(&world, "ExReleaseRundownProtection");
        if let Some(word) = plain(&world, rundown, "ExReleaseRundownProtection") {
            release(&world, word, rundown.addr());
        }
    }

    pub extern "win64" fn ExWaitForRundownProtectionRelease(rundown: *mut RundownRef) where irql <= APC {
        let world = world::current();
        if let Some(word) = plain(&world, rundown, "ExWaitForRundownProtectionRelease") {
            wait(word, rundown.addr(), "ExWaitForRundownProtectionRelease");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::kernel::{KeEnterCriticalRegion, KeLeaveCriticalRegion};
    use crate::machine::world::{Body, Config, Mode};
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;

    #[derive(Clone, Copy)]
    struct Shared(*mut c_void);
    // SAFETY: the object behind it synchronises by itself.
    unsafe impl Send for Shared {}

    impl Shared {
        fn new() -> Self {
            // SAFETY: called on a simulated thread.
            Self(unsafe { ExAllocateCacheAwareRundownProtection(512, 1) })
        }

        fn acquire(&self) -> bool {
            // SAFETY: a live object; the region is left by `release`, or here.
            unsafe {
                KeEnterCriticalRegion();
                let acquired = ExAcquireRundownProtectionCacheAware(self.0) != 0;
                if !acquired {
                    KeLeaveCriticalRegion();
                }
                acquired
            }
        }

        fn release(&self) {
            // SAFETY: a live object, acquired by `acquire`.
            unsafe {
                ExReleaseRundownProtectionCacheAware(self.0);
                KeLeaveCriticalRegion();
            }
        }

        fn complete(&self) {
            // SAFETY: a live object.
            unsafe { ExRundownCompletedCacheAware(self.0) }
        }

        fn wait(&self) {
            // SAFETY: a live object.
            unsafe { ExWaitForRundownProtectionReleaseCacheAware(self.0) }
        }

        fn reinitialize(&self) {
            // SAFETY: a live object.
            unsafe { ExReInitializeRundownProtectionCacheAware(self.0) }
        }

        fn free(&self) {
            // SAFETY: a live object.
            unsafe { ExFreeCacheAwareRundownProtection(self.0) }
        }
    }

    fn rules_of(config: Config, body: impl FnOnce() + Send) -> Vec<&'static str> {
        let world = World::new(config);
        world.enter(body).expect("it ends");
        assert!(world.live().is_empty());
        world.violations().iter().map(|v| v.rule).collect()
    }

    #[test]
    fn after_a_wait_acquiring_fails_until_re_initialisation() {
        let rules = rules_of(Config::default(), || {
            let rundown = Shared::new();
            assert!(rundown.acquire());
            assert!(rundown.acquire());
            rundown.release();
            rundown.release();
            rundown.wait();
            assert!(!rundown.acquire());
            rundown.complete();
            assert!(!rundown.acquire());
            rundown.wait();
            rundown.reinitialize();
            assert!(rundown.acquire());
            rundown.release();
            rundown.free();
        });
        assert_eq!(rules, [""; 0]);
    }

    #[test]
    fn a_wait_lasts_until_another_thread_has_released() {
        for mode in [Mode::Baton, Mode::Free] {
            for seed in 0..20 {
                let world = World::new(Config { mode, seed, ..Config::default() });
                let rundown = world.enter(Shared::new).expect("it ends");
                let busy = Arc::new(AtomicBool::new(false));
                let seen = Arc::clone(&busy);
                let user: Body = Box::new(move || {
                    while rundown.acquire() {
                        busy.store(true, Ordering::SeqCst);
                        cpu::yield_point("inside");
                        busy.store(false, Ordering::SeqCst);
                        rundown.release();
                    }
                });
                let waiter: Body = Box::new(move || {
                    (0..10).for_each(|_| cpu::yield_point("before"));
                    rundown.wait();
                    assert!(!seen.load(Ordering::SeqCst));
                });
                assert_eq!(world.run(vec![("user", 0, user), ("waiter", 1, waiter)]), Ok(()));
                assert!(world.violations().is_empty());
            }
        }
    }

    #[test]
    fn unbalanced_and_misplaced_calls_are_found() {
        let rules = rules_of(Config::default(), || {
            let rundown = Shared::new();
            // SAFETY: a live object.
            unsafe { ExReleaseRundownProtectionCacheAware(rundown.0) };
            rundown.complete();
            rundown.reinitialize();
            let old = cpu::raise_to_dispatch();
            rundown.wait();
            cpu::lower(old);
            rundown.reinitialize();
            assert!(rundown.acquire());
            rundown.free();
            rundown.free();
        });
        let expected =
            ["LOCK-07", "LOCK-03", "LOCK-08", "LOCK-08", "IRQL-01", "IRQL-03", "LOCK-08", "MEM-02", "MEM-02"];
        assert_eq!(rules, expected);
    }

    #[test]
    fn the_plain_kind_has_the_same_states() {
        let rules = rules_of(Config::default(), || {
            let mut word = RundownRef(usize::MAX);
            let rundown = &raw mut word;
            // SAFETY: the word lives to the end of the closure.
            unsafe {
                KeEnterCriticalRegion();
                ExInitializeRundownProtection(rundown);
                assert_eq!(ExAcquireRundownProtection(rundown), 1);
                ExReleaseRundownProtection(rundown);
                ExWaitForRundownProtectionRelease(rundown);
                assert_eq!(ExAcquireRundownProtection(rundown), 0);
                ExReleaseRundownProtection(rundown);
                KeLeaveCriticalRegion();
                KeLeaveCriticalRegion();
                rundown.write(RundownRef(0));
                let old = cpu::raise_to_dispatch();
                assert_eq!(ExAcquireRundownProtection(rundown), 1);
                cpu::lower(old);
                ExReleaseRundownProtection(rundown);
            }
        });
        assert_eq!(rules, ["LOCK-03", "LOCK-07", "LOCK-08", "LOCK-07"]);
    }
}
