//! NDIS read/write locks: objects of the ledger that raise to DISPATCH and let many read or one write.
//!
//! The caller's lock state remembers the IRQL before and how the lock was taken.

use crate::exports;
use crate::machine::cpu::{self, DISPATCH, Held};
use crate::machine::fault;
use crate::machine::lock_order;
use crate::machine::locks::{give, take};
use crate::machine::memory::{self, AllocationKind, MemoryState};
use crate::machine::thread::{self, Thread};
use crate::machine::world::World;
use crate::mutation::Mutation;
use lbfoext::ndis::raw::{Handle, LockStateEx};
use parking_lot::Mutex;

/// How these locks are called.
pub(crate) const NAME: &str = "rwlock";
const READ: &str = "rwlock for reading";
const WRITE: &str = "rwlock for writing";

#[derive(Default)]
struct RwState {
    writer: Option<u32>,
    waiting_writers: usize,
    readers: Vec<u32>,
}

/// An NDIS read/write lock. A waiting writer keeps new readers out.
struct RwLock {
    state: Mutex<RwState>,
}

impl RwLock {
    fn read(&self, me: u32) -> Option<()> {
        let mut state = self.state.lock();
        // Who reads already may read again even before a waiting writer: the system allows it, the rule book does not.
        if state.writer.is_some() || (state.waiting_writers > 0 && !state.readers.contains(&me)) {
            return None;
        }
        state.readers.push(me);
        Some(())
    }

    fn write(&self, me: u32) -> Option<()> {
        let mut state = self.state.lock();
        if state.writer.is_some() || !state.readers.is_empty() {
            return None;
        }
        state.waiting_writers -= 1;
        state.writer = Some(me);
        Some(())
    }

    fn leave(&self, me: u32, writing: bool) {
        let mut state = self.state.lock();
        if writing {
            state.writer = None;
        } else if let Some(at) = state.readers.iter().position(|r| *r == me) {
            state.readers.swap_remove(at);
        }
    }

    fn is_used(&self) -> bool {
        let state = self.state.lock();
        state.writer.is_some() || !state.readers.is_empty() || state.waiting_writers > 0
    }
}

fn rw_lock(world: &World, address: usize, function: &'static str) -> Option<&'static RwLock> {
    let pointer = std::ptr::with_exposed_provenance::<RwLock>(address);
    if world.place(pointer.cast()) != MemoryState::Live(AllocationKind::RwLock) {
        world.violate("MEM-02", format!("{function} of a read/write lock that does not exist"));
        return None;
    }
    // SAFETY: a live ledger entry of this kind holds a lock; its memory outlives this call unless the driver frees it
    // while in use, which is reported and leaves the memory readable.
    Some(unsafe { &*pointer })
}

fn acquire_rw(lock: Handle, state: *mut LockStateEx, flags: u8, kind: &'static str) {
    let thread = thread::current();
    let world = &*thread.world;
    let me = thread.shared.id;
    world.exercised("LOCK-03");
    let name = || world.ids.name_of(lock.addr(), NAME);
    let flags = if world.mutation() == Some(Mutation::FalseDispatchOfLock) { 1 } else { flags };
    if flags & !1 != 0 || (flags & 1 != 0 && thread.irql.get() < DISPATCH) {
        world.violate(
            "LOCK-03",
            format!("{} taken with flags {flags:#x} at IRQL {}", name(), thread.irql.get()),
        );
    }
    let old = cpu::raise(&thread);
    let Some(rw) = rw_lock(world, lock.expose_provenance(), "acquisition") else { return };
    if thread.held.borrow().iter().any(|l| l.address == lock.addr()) {
        world.violate("LOCK-03", format!("{} acquired twice by one thread", name()));
    }
    if kind == READ {
        world.scheduler.block(&thread, lock.addr(), kind, || rw.read(me));
    } else if world.mutation() != Some(Mutation::NoBarrier) {
        rw.state.lock().waiting_writers += 1;
        world.scheduler.block(&thread, lock.addr(), kind, || rw.write(me));
    }
    swap_order(&thread, lock.addr());
    take(&thread, kind, lock.addr(), old);
    // SAFETY: the driver passes its own lock state.
    unsafe { *state = LockStateEx { old_irql: old, lock_state: if kind == READ { 1 } else { 2 }, flags } };
}

/// Mutation `SwapLockOrder`: says that what is held was taken after this one.
fn swap_order(thread: &Thread, address: usize) {
    if thread.world.mutation() == Some(Mutation::SwapLockOrder)
        && let Some(held) = thread.held.borrow().first()
    {
        let ids = &thread.world.ids;
        lock_order::note_pair(
            &thread.world,
            ids.number_of(address, NAME),
            ids.number_of(held.address, held.kind),
        );
    }
}

fn release_rw(lock: Handle, state: *mut LockStateEx) {
    let thread = thread::current();
    let world = &*thread.world;
    // SAFETY: the driver passes its own lock state.
    let LockStateEx { old_irql, lock_state, .. } = unsafe { *state };
    let kind = if lock_state == 1 { READ } else { WRITE };
    let is_held = thread.held.borrow().iter().any(|l| l.kind == kind && l.address == lock.addr());
    if !matches!(lock_state, 1 | 2) || !is_held {
        let name = world.ids.name_of(lock.addr(), NAME);
        return world.violate(
            "LOCK-03",
            format!("{name} released by who does not hold it, or with another lock state"),
        );
    }
    if world.mutation() == Some(Mutation::KeepLock) && world.spend_mutation() {
        return;
    }
    give(&thread, lock.addr());
    if let Some(rw) = rw_lock(world, lock.expose_provenance(), "release") {
        let skipped = lock_state == 2 && world.mutation() == Some(Mutation::NoBarrier);
        if !skipped {
            rw.leave(thread.shared.id, lock_state == 2);
        }
    }
    // SAFETY: as above.
    unsafe { (*state).lock_state = 0 };
    world.scheduler.wake(lock.addr());
    cpu::lower_to(&thread, old_irql);
}

/// Releases a lock that a routine returned with.
pub(crate) fn force_release(thread: &Thread, lock: Held) {
    if let Some(rw) = rw_lock(&thread.world, lock.address, "return") {
        rw.leave(thread.shared.id, lock.kind == WRITE);
    }
}

exports! {
    pub extern "win64" fn NdisAllocateRWLock(_handle: Handle) -> Handle where irql <= DISPATCH {
        if fault::fails("NdisAllocateRWLock") {
            return std::ptr::null_mut();
        }
        let lock = memory::alloc_value(AllocationKind::RwLock, RwLock { state: Mutex::default() }, 0, "read/write lock");
        lock.expose_provenance();
        lock.cast()
    }

    pub extern "win64" fn NdisFreeRWLock(lock: Handle) where irql <= DISPATCH {
        let world = crate::machine::world::current();
        if rw_lock(&world, lock.expose_provenance(), "freeing").is_some_and(RwLock::is_used) {
            world.violate("MEM-02", format!("{} freed while held", world.ids.name_of(lock.addr(), NAME)));
        }
        // SAFETY: nobody uses it, or that was reported.
        let _ = unsafe { memory::free_value::<RwLock>(AllocationKind::RwLock, lock.cast(), 0) };
    }

    pub extern "win64" fn NdisAcquireRWLockRead(lock: Handle, state: *mut LockStateEx, flags: u8)
    where irql <= DISPATCH {
        acquire_rw(lock, state, flags, READ);
    }

    pub extern "win64" fn NdisAcquireRWLockWrite(lock: Handle, state: *mut LockStateEx, flags: u8)
    where irql <= DISPATCH {
        acquire_rw(lock, state, flags, WRITE);
    }

    pub extern "win64" fn NdisReleaseRWLock(lock: Handle, state: *mut LockStateEx) where irql <= DISPATCH {
        release_rw(lock, state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::locks::leaving;
    use crate::machine::world::{Body, Config, Mode, World};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicI32, Ordering};

    const NO_STATE: LockStateEx = LockStateEx { old_irql: 0, lock_state: 0, flags: 0 };

    /// A handle that simulated threads share.
    #[derive(Clone, Copy)]
    struct Shared(Handle);
    // SAFETY: the object behind it excludes by itself.
    unsafe impl Send for Shared {}
    // SAFETY: as above.
    unsafe impl Sync for Shared {}

    impl Shared {
        fn new(_world: &World) -> Self {
            // SAFETY: called on a simulated thread.
            Self(unsafe { NdisAllocateRWLock(std::ptr::null_mut()) })
        }

        fn locked<R>(self, write: bool, flags: u8, body: impl FnOnce() -> R) -> R {
            let mut state = NO_STATE;
            // SAFETY: a live lock and this thread's own state.
            unsafe {
                let acquire = if write { NdisAcquireRWLockWrite } else { NdisAcquireRWLockRead };
                acquire(self.0, &raw mut state, flags);
                let result = body();
                NdisReleaseRWLock(self.0, &raw mut state);
                result
            }
        }
    }

    fn rules_of(body: impl FnOnce(&World) + Send) -> Vec<&'static str> {
        let world = World::new(Config::default());
        world.enter(|| body(&crate::machine::world::current())).expect("it ends");
        world.violations().iter().map(|v| v.rule).collect()
    }

    /// Four threads on a lock; gives the most readers at once, and asserts that a writer is alone.
    fn most_readers(mode: Mode, seed: u64) -> i32 {
        let world = World::new(Config { mode, seed, ..Config::default() });
        let lock = world.enter(|| Shared::new(&crate::machine::world::current())).expect("it ends");
        let inside = Arc::new(AtomicI32::new(0));
        let most = Arc::new(AtomicI32::new(0));
        let thread = |n: u32| -> (String, u32, Body) {
            let (inside, most) = (Arc::clone(&inside), Arc::clone(&most));
            let body = move || {
                for round in 0..300_u32 {
                    let write = (round + n).is_multiple_of(5);
                    lock.locked(write, 0, || {
                        let before = inside.fetch_add(if write { 1000 } else { 1 }, Ordering::SeqCst);
                        assert!(if write { before == 0 } else { before < 1000 });
                        cpu::yield_point("inside");
                        (0..200).for_each(|_| std::hint::spin_loop());
                        most.fetch_max(before + 1, Ordering::SeqCst);
                        inside.fetch_sub(if write { 1000 } else { 1 }, Ordering::SeqCst);
                    });
                }
            };
            (format!("t{n}"), n, Box::new(body))
        };
        assert_eq!(world.run((0..4).map(thread).collect()), Ok(()));
        assert!(world.violations().is_empty(), "{:?}", world.violations());
        most.load(Ordering::SeqCst)
    }

    #[test]
    fn a_writer_is_alone_and_readers_are_not() {
        assert!((0..8).all(|seed| most_readers(Mode::Baton, seed) > 1));
        assert!((0..8).any(|seed| most_readers(Mode::Free, seed) > 1));
    }

    #[test]
    fn the_dispatch_flag_is_for_dispatch_and_reading_is_not_recursive() {
        let rules = rules_of(|world| {
            let lock = Shared::new(world);
            lock.locked(false, 1, || assert_eq!(cpu::irql(), DISPATCH));
            assert_eq!(cpu::irql(), cpu::PASSIVE);
            lock.locked(false, 0, || lock.locked(false, 1, || ()));
            let old = cpu::raise_to_dispatch();
            lock.locked(true, 1, || ());
            assert_eq!(cpu::irql(), DISPATCH);
            cpu::lower(old);
            // SAFETY: a live lock; the state is wrong on purpose.
            unsafe { NdisReleaseRWLock(lock.0, &mut NO_STATE.clone()) };
        });
        assert_eq!(rules, ["LOCK-03", "LOCK-03", "LOCK-03"]);
    }

    #[test]
    fn leaving_with_a_lock_and_waiting_with_a_lock_are_found() {
        let rules = rules_of(|world| {
            let lock = Shared::new(world);
            lock.locked(false, 0, || {
                leaving("NdisFSendNetBufferLists");
                cpu::require_may_wait("NdisWaitEvent");
            });
            leaving("NdisFSendNetBufferLists");
        });
        assert_eq!(rules, ["LOCK-01", "IRQL-03", "LOCK-04"]);
    }

    #[test]
    fn opposite_orders_warn() {
        let world = World::new(Config::default());
        world
            .enter(|| {
                let (a, b) = (
                    Shared::new(&crate::machine::world::current()),
                    Shared::new(&crate::machine::world::current()),
                );
                a.locked(true, 0, || b.locked(true, 1, || ()));
                assert!(crate::machine::world::current().warnings().is_empty());
                b.locked(true, 0, || a.locked(true, 1, || ()));
            })
            .expect("it ends");
        assert_eq!(world.warnings()[0].rule, "LOCK-05");
        assert!(world.violations().is_empty());
    }

    #[test]
    fn a_deadlock_of_two_orders_is_found_by_some_seed() {
        let deadlocks = (0..40).filter(|seed| {
            let world = World::new(Config { seed: *seed, ..Config::default() });
            let make = || {
                (
                    Shared::new(&crate::machine::world::current()),
                    Shared::new(&crate::machine::world::current()),
                )
            };
            let (a, b) = world.enter(make).expect("it ends");
            let forth: Body = Box::new(move || a.locked(true, 0, || b.locked(true, 1, || ())));
            let back: Body = Box::new(move || b.locked(true, 0, || a.locked(true, 1, || ())));
            let ended = world.run(vec![("forth", 0, forth), ("back", 1, back)]);
            assert_eq!(ended.is_err(), world.violations().iter().any(|v| v.text.starts_with("deadlock")));
            ended.is_err()
        });
        let deadlocks = deadlocks.count();
        assert!((1..40).contains(&deadlocks), "{deadlocks} of 40");
    }
}
