//! Tests of the machine as a finder of races: a toy driver with its lock, its barrier or its rundown taken away.
//!
//! Each mutation must show both ways, by the seeded baton and by threads that really run in parallel; unmutated, the
//! same driver never shows anything.

use crate::machine::cpu;
use crate::machine::kernel::{
    ExAllocatePool2, ExFreePoolWithTag, KeEnterCriticalRegion, KeLeaveCriticalRegion,
};
use crate::machine::locks::{KeAcquireSpinLockRaiseToDpc, KeReleaseSpinLock};
use crate::machine::rundown::{
    ExAcquireRundownProtectionCacheAware, ExAllocateCacheAwareRundownProtection,
    ExReleaseRundownProtectionCacheAware, ExWaitForRundownProtectionReleaseCacheAware,
};
use crate::machine::rwlock::{
    Fairness, NdisAcquireRWLockRead, NdisAcquireRWLockWrite, NdisAllocateRWLock, NdisReleaseRWLock,
};
use crate::machine::world::{Body, Config, Mode, World};
use crate::mutation::Mutation;
use lbfoext::ndis::raw::LockStateEx;
use std::ffi::c_void;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// What the toy driver's threads share.
struct Toy {
    spin: AtomicUsize,
    rw: usize,
    rundown: usize,
    counter: AtomicUsize,
    /// Index of the member in use; readers must see it alive.
    member: AtomicUsize,
    alive: [AtomicBool; 2],
    stopped: AtomicBool,
    wrong: AtomicUsize,
}

const ROUNDS: usize = 200;
const NO_STATE: LockStateEx = LockStateEx { old_irql: 0, lock_state: 0, flags: 0 };

impl Toy {
    /// SAFETY of all calls below: live objects of this world, the thread's own lock states.
    fn new() -> Self {
        // SAFETY: called on a simulated thread.
        let (rw, rundown) =
            unsafe { (NdisAllocateRWLock(ptr::null_mut()), ExAllocateCacheAwareRundownProtection(512, 1)) };
        Self {
            spin: AtomicUsize::new(0),
            rw: rw.expose_provenance(),
            rundown: rundown.expose_provenance(),
            counter: AtomicUsize::new(0),
            member: AtomicUsize::new(0),
            alive: [AtomicBool::new(true), AtomicBool::new(true)],
            stopped: AtomicBool::new(false),
            wrong: AtomicUsize::new(0),
        }
    }

    fn rw(&self) -> *mut c_void {
        ptr::with_exposed_provenance_mut(self.rw)
    }

    fn rundown(&self) -> *mut c_void {
        ptr::with_exposed_provenance_mut(self.rundown)
    }

    /// Some import between two accesses, as in any driver.
    fn import() {
        // SAFETY: allocated and freed here.
        unsafe { ExFreePoolWithTag(ExAllocatePool2(0x40, 8, 7), 7) };
    }

    fn require(&self, right: bool) {
        self.wrong.fetch_add(usize::from(!right), Ordering::Relaxed);
    }

    /// Counts under the spin lock, without an atomic addition.
    fn count(&self) {
        for _ in 0..ROUNDS {
            // SAFETY: see `new`.
            let old = unsafe { KeAcquireSpinLockRaiseToDpc(self.spin.as_ptr()) };
            let seen = self.counter.load(Ordering::Relaxed);
            Self::import();
            self.counter.store(seen + 1, Ordering::Relaxed);
            // SAFETY: as above.
            unsafe { KeReleaseSpinLock(self.spin.as_ptr(), old) };
        }
    }

    /// Reads the member under the read lock and uses it.
    fn assign(&self) {
        for _ in 0..ROUNDS {
            let mut state = NO_STATE;
            // SAFETY: see `new`.
            unsafe { NdisAcquireRWLockRead(self.rw(), &raw mut state, 0) };
            let member = self.member.load(Ordering::Relaxed);
            Self::import();
            self.require(self.alive[member].load(Ordering::Relaxed));
            // SAFETY: as above.
            unsafe { NdisReleaseRWLock(self.rw(), &raw mut state) };
        }
    }

    /// Publishes the other member under the write lock; after that barrier the old one is dead.
    fn fail_over(&self) {
        for round in 0..ROUNDS {
            let next = (round + 1) % 2;
            let mut state = NO_STATE;
            self.alive[next].store(true, Ordering::Relaxed);
            // SAFETY: see `new`.
            unsafe { NdisAcquireRWLockWrite(self.rw(), &raw mut state, 0) };
            self.member.store(next, Ordering::Relaxed);
            // SAFETY: as above.
            unsafe { NdisReleaseRWLock(self.rw(), &raw mut state) };
            self.alive[1 - next].store(false, Ordering::Relaxed);
            Self::import();
        }
    }

    /// Works under rundown protection until it is run down.
    fn walk(&self) {
        // SAFETY: below DISPATCH_LEVEL.
        unsafe { KeEnterCriticalRegion() };
        // SAFETY: see `new`.
        while unsafe { ExAcquireRundownProtectionCacheAware(self.rundown()) } != 0 {
            Self::import();
            self.require(!self.stopped.load(Ordering::Relaxed));
            // SAFETY: as above.
            unsafe { ExReleaseRundownProtectionCacheAware(self.rundown()) };
        }
        // SAFETY: entered above.
        unsafe { KeLeaveCriticalRegion() };
    }

    fn pause(&self) {
        (0..20).for_each(|_| Self::import());
        // SAFETY: see `new`.
        unsafe { ExWaitForRundownProtectionReleaseCacheAware(self.rundown()) };
        self.stopped.store(true, Ordering::Relaxed);
        cpu::yield_point("stopped");
    }
}

/// The threads in which a mutation would show; all without one.
fn threads(toy: &Arc<Toy>, mutation: Option<Mutation>) -> Vec<(&'static str, u32, Body)> {
    let thread = |name: &'static str, cpu: u32, work: fn(&Toy)| -> (&'static str, u32, Body) {
        let toy = Arc::clone(toy);
        (name, cpu, Box::new(move || work(&toy)))
    };
    let mut all = vec![
        thread("count", 0, Toy::count),
        thread("count too", 1, Toy::count),
        thread("assign", 2, Toy::assign),
        thread("fail over", 3, Toy::fail_over),
        thread("walk", 0, Toy::walk),
        thread("pause", 1, Toy::pause),
    ];
    match mutation {
        None => all,
        Some(Mutation::NoTeamLock) => all.drain(..2).collect(),
        Some(Mutation::NoBarrier) => all.drain(2..4).collect(),
        Some(_) => all.drain(4..).collect(),
    }
}

/// Runs the toy driver once; true if anything went wrong in it.
fn goes_wrong(mode: Mode, seed: u64, mutation: Option<Mutation>) -> bool {
    // Its readers do not stand back for a writer: LOCK-06 is not what this driver is about.
    let fairness = Some(Fairness::WriterFirst);
    let world = World::new(Config { mode, seed, mutation, fairness, ..Config::default() });
    let toy = Arc::new(world.enter(Toy::new).expect("it ends"));
    world.run(threads(&toy, mutation)).expect("they end");
    assert!(world.violations().is_empty(), "{:?}", world.violations());
    let counted = toy.counter.load(Ordering::Relaxed);
    toy.wrong.load(Ordering::Relaxed) > 0 || !matches!(counted, 0 | 400)
}

fn wrong_runs(mode: Mode, mutation: Option<Mutation>, runs: u64) -> usize {
    (0..runs).filter(|seed| goes_wrong(mode, *seed, mutation)).count()
}

#[test]
fn the_whole_driver_never_goes_wrong() {
    assert_eq!(wrong_runs(Mode::Baton, None, 20), 0);
    assert_eq!(wrong_runs(Mode::Free, None, 20), 0);
}

#[test]
fn six_threads_of_the_driver_leave_the_same_log_for_the_same_seed() {
    let hash = |seed| {
        let world = World::new(Config { seed, ..Config::default() });
        let toy = Arc::new(world.enter(Toy::new).expect("it ends"));
        world.run(threads(&toy, None)).expect("they end");
        world.log_hash()
    };
    let first: Vec<u64> = (0..10).map(hash).collect();
    assert_eq!(first, (0..10).map(hash).collect::<Vec<_>>());
    assert_eq!(first.iter().collect::<std::collections::BTreeSet<_>>().len(), 10);
}

#[test]
fn a_missing_lock_is_found_by_baton_and_by_free_threads() {
    let found = [Mode::Baton, Mode::Free].map(|mode| wrong_runs(mode, Some(Mutation::NoTeamLock), 20));
    assert!(found.iter().all(|n| *n > 0), "{found:?} of 20");
    println!("missing lock: {found:?} of 20");
}

#[test]
fn a_missing_barrier_is_found_by_baton_and_by_free_threads() {
    let found = [Mode::Baton, Mode::Free].map(|mode| wrong_runs(mode, Some(Mutation::NoBarrier), 20));
    assert!(found.iter().all(|n| *n > 0), "{found:?} of 20");
    println!("missing barrier: {found:?} of 20");
}

#[test]
fn a_missing_wait_is_found_by_baton_and_by_free_threads() {
    let found = [Mode::Baton, Mode::Free].map(|mode| wrong_runs(mode, Some(Mutation::NoRundown), 40));
    assert!(found.iter().all(|n| *n > 0), "{found:?} of 40");
    println!("missing wait: {found:?} of 40");
}
