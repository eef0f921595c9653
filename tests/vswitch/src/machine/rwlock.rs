//! NDIS read/write locks: objects of the ledger that raise to DISPATCH and let many read or one write.
//!
//! The caller's lock state remembers the IRQL before and how the lock was taken.

use crate::exports;
use crate::machine::cpu::{self, DISPATCH, Held};
use crate::machine::fault;
use crate::machine::lock_order;
use crate::machine::locks::{give, take};
use crate::machine::memory::{self, AllocationKind, MemoryState};
use crate::machine::thread::{self, Shared, Thread};
use crate::machine::world::{Config, World, below, stream};
use crate::mutation::Mutation;
use lbfoext::ndis::raw::{Handle, LockStateEx};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// How these locks are called.
pub(crate) const NAME: &str = "rwlock";
const READ: &str = "rwlock for reading";
const WRITE: &str = "rwlock for writing";

/// What a lock does for a writer that waits. "The lock is not fair" (nf-ndis-ndisallocaterwlock): both are allowed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fairness {
    /// A waiting writer keeps new readers out.
    WriterFirst,
    /// Readers overtake a waiting writer for as long as there is any: it gets in when each thread that has read since
    /// it came waits for something else, has ended, or has not read for `LINGER` steps.
    ReaderFirst,
}

/// Stream of the seed that decides about fairness.
const FAIRNESS: u64 = 11;
/// Yield points without a read after which a thread is no reader any more.
const LINGER: u64 = 10_000;
/// How often one thread may take a lock for reading while the same writer waits: for what was under way when it came.
const MOST_OVERTAKES: u32 = 4;

impl Fairness {
    /// As configured, else as the seed says.
    pub fn of(config: &Config) -> Self {
        let drawn = || match below(&mut stream(config.seed, FAIRNESS), 2) {
            0 => Self::WriterFirst,
            _ => Self::ReaderFirst,
        };
        config.fairness.unwrap_or_else(drawn)
    }
}

/// A thread that has held the lock for reading while a writer waits.
struct Reader {
    thread: Arc<Shared>,
    /// Acquisitions since the writer came.
    times: u32,
    /// The thread's steps when it last held the lock.
    last: u64,
}

impl Reader {
    fn new(thread: &Arc<Shared>) -> Self {
        Self { thread: Arc::clone(thread), times: 0, last: thread.steps.load(Ordering::Relaxed) }
    }

    /// It may read again at any moment.
    fn is_active(&self) -> bool {
        let steps = self.thread.steps.load(Ordering::Relaxed).wrapping_sub(self.last);
        !self.thread.rests.load(Ordering::SeqCst) && steps < LINGER
    }
}

/// A writer that waits, and who has read since it came.
struct Waiting {
    writer: u32,
    readers: Vec<Reader>,
}

impl Waiting {
    fn reader(&mut self, thread: &Arc<Shared>) -> &mut Reader {
        let at = self.readers.iter().position(|reader| reader.thread.id == thread.id);
        let at = at.unwrap_or_else(|| {
            self.readers.push(Reader::new(thread));
            self.readers.len() - 1
        });
        &mut self.readers[at]
    }
}

#[derive(Default)]
struct RwState {
    writer: Option<u32>,
    waiting: Vec<Waiting>,
    readers: Vec<Arc<Shared>>,
}

impl RwState {
    fn reads(&self, thread: u32) -> bool {
        self.readers.iter().any(|reader| reader.id == thread)
    }
}

/// An NDIS read/write lock.
struct RwLock {
    state: Mutex<RwState>,
    fairness: Fairness,
}

impl RwLock {
    /// Gives how often the thread has read now while one and the same writer waits.
    fn read(&self, me: &Arc<Shared>) -> Option<u32> {
        let mut state = self.state.lock();
        // Who reads already may read again even before a waiting writer: the system allows it, the rule book does not.
        let stands_back = self.fairness == Fairness::WriterFirst && !state.waiting.is_empty();
        if state.writer.is_some() || (stands_back && !state.reads(me.id)) {
            return None;
        }
        state.readers.push(Arc::clone(me));
        let overtakes = state.waiting.iter_mut().map(|waiting| {
            let reader = waiting.reader(me);
            reader.times += 1;
            reader.times
        });
        Some(overtakes.max().unwrap_or(0))
    }

    /// A writer comes: whoever reads now is there before it.
    fn want(&self, me: u32) {
        let mut state = self.state.lock();
        let readers = state.readers.iter().map(Reader::new).collect();
        state.waiting.push(Waiting { writer: me, readers });
    }

    /// Gives how often others have read while it waited.
    fn write(&self, me: u32) -> Option<u32> {
        let mut state = self.state.lock();
        let at = state.waiting.iter().position(|waiting| waiting.writer == me)?;
        let starves = self.fairness == Fairness::ReaderFirst
            && state.waiting[at].readers.iter().any(|reader| reader.thread.id != me && reader.is_active());
        if state.writer.is_some() || !state.readers.is_empty() || starves {
            return None;
        }
        let waiting = state.waiting.swap_remove(at);
        state.writer = Some(me);
        Some(waiting.readers.iter().map(|reader| reader.times).sum())
    }

    fn leave(&self, me: &Arc<Shared>, writing: bool) {
        let mut state = self.state.lock();
        if writing {
            state.writer = None;
        } else if let Some(at) = state.readers.iter().position(|reader| reader.id == me.id) {
            state.readers.swap_remove(at);
            for waiting in &mut state.waiting {
                waiting.reader(me).last = me.steps.load(Ordering::Relaxed);
            }
        }
    }

    fn is_used(&self) -> bool {
        let state = self.state.lock();
        state.writer.is_some() || !state.readers.is_empty() || !state.waiting.is_empty()
    }

    /// Mutation `Overtake`: as if a writer waited and the thread read on.
    fn overtake(&self, me: &Arc<Shared>) -> u32 {
        self.want(u32::MAX);
        let times = (0..=MOST_OVERTAKES).filter_map(|_| {
            let times = self.read(me);
            self.leave(me, false);
            times
        });
        let most = times.max().unwrap_or(0);
        self.state.lock().waiting.retain(|waiting| waiting.writer != u32::MAX);
        most
    }
}

/// The most reads of others while one writer waited.
#[derive(Default)]
struct Overtaken(AtomicU32);

/// How often others have read while one writer waited, at most, in the life of this machine.
pub fn most_overtaken(world: &World) -> u32 {
    world.part::<Overtaken>().0.load(Ordering::Relaxed)
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
    let me = &thread.shared;
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
        let mut overtakes = world.scheduler.block(&thread, lock.addr(), kind, || rw.read(me));
        if world.mutation() == Some(Mutation::Overtake) && world.spend_mutation() {
            overtakes = rw.overtake(me);
        }
        bounded(world, overtakes, name);
    } else if world.mutation() != Some(Mutation::NoBarrier) {
        world.exercised("LOCK-06");
        rw.want(me.id);
        let overtaken = world.scheduler.block(&thread, lock.addr(), kind, || rw.write(me.id));
        world.part::<Overtaken>().0.fetch_max(overtaken, Ordering::Relaxed);
    }
    swap_order(&thread, lock.addr());
    take(&thread, kind, lock.addr(), old);
    // SAFETY: the driver passes its own lock state.
    unsafe { *state = LockStateEx { old_irql: old, lock_state: if kind == READ { 1 } else { 2 }, flags } };
}

/// LOCK-06: what a writer waits for is what was under way when it came.
fn bounded(world: &World, overtakes: u32, name: impl Fn() -> String) {
    // Said once for each wait.
    if overtakes == MOST_OVERTAKES + 1 {
        world.violate("LOCK-06", format!("{} read {overtakes} times while one writer waits", name()));
    }
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
            rw.leave(&thread.shared, lock_state == 2);
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
        rw.leave(&thread.shared, lock.kind == WRITE);
    }
}

exports! {
    pub extern "win64" fn NdisAllocateRWLock(_handle: Handle) -> Handle where irql <= DISPATCH {
        if fault::fails("NdisAllocateRWLock") {
            return std::ptr::null_mut();
        }
        let fairness = Fairness::of(crate::machine::world::current().config());
        let lock = RwLock { state: Mutex::default(), fairness };
        let lock = memory::alloc_value(AllocationKind::RwLock, lock, 0, "read/write lock");
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
    struct SharedLock(Handle);
    // SAFETY: the object behind it excludes by itself.
    unsafe impl Send for SharedLock {}
    // SAFETY: as above.
    unsafe impl Sync for SharedLock {}

    impl SharedLock {
        fn new(_world: &World) -> Self {
            // SAFETY: called on a simulated thread.
            Self(unsafe { NdisAllocateRWLock(std::ptr::null_mut()) })
        }

        /// A writer waits.
        fn is_wanted(self) -> bool {
            let lock = rw_lock(&crate::machine::world::current(), self.0.addr(), "a look");
            lock.is_some_and(|lock| !lock.state.lock().waiting.is_empty())
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
        let lock = world.enter(|| SharedLock::new(&crate::machine::world::current())).expect("it ends");
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
        // They do not stand back for a waiting writer.
        assert!(world.violations().iter().all(|violation| violation.rule == "LOCK-06"));
        most.load(Ordering::SeqCst)
    }

    #[test]
    fn a_writer_is_alone_and_readers_are_not() {
        assert!((0..8).all(|seed| most_readers(Mode::Baton, seed) > 1));
        assert!((0..8).any(|seed| most_readers(Mode::Free, seed) > 1));
    }

    /// Three readers read until the writer has been in, or this often.
    const MOST_READS: u32 = 3_000;

    /// A writer that comes while another reads; `polite` readers wait at a gate once it has said that it wants in. Gives
    /// how often was read after it said so, and the rules that were broken.
    fn a_writer_among_readers(mode: Mode, fairness: Fairness, polite: bool) -> (u32, Vec<&'static str>) {
        let world = World::new(Config { mode, fairness: Some(fairness), ..Config::default() });
        let lock = world.enter(|| SharedLock::new(&crate::machine::world::current())).expect("it ends");
        let [wanted, inside, reads, held] = [(); 4].map(|()| Arc::new(AtomicI32::new(0)));
        let mut threads: Vec<(String, u32, Body)> = Vec::new();
        for n in 0..3 {
            let [wanted, inside, reads, held] = [&wanted, &inside, &reads, &held].map(Arc::clone);
            let body = move || {
                for _ in 0..MOST_READS {
                    let writer_waits = || wanted.load(Ordering::SeqCst) != 0;
                    if polite && writer_waits() && inside.load(Ordering::SeqCst) == 0 {
                        cpu::block_until("the writer", || (inside.load(Ordering::SeqCst) != 0).then_some(()));
                    }
                    if inside.load(Ordering::SeqCst) != 0 {
                        return;
                    }
                    lock.locked(false, 0, || {
                        if n == 0 && held.swap(1, Ordering::SeqCst) == 0 {
                            cpu::wake(crate::machine::slots::ANY);
                        }
                        reads.fetch_add(i32::from(writer_waits()), Ordering::SeqCst);
                        // The first does not leave before the writer waits for it.
                        while n == 0 && !lock.is_wanted() && inside.load(Ordering::SeqCst) == 0 {
                            cpu::yield_point("inside");
                        }
                        cpu::yield_point("inside");
                    });
                }
            };
            threads.push((format!("reader {n}"), n, Box::new(body)));
        }
        let (wants, is_inside) = (Arc::clone(&wanted), inside);
        let body = move || {
            cpu::block_until("a reader", || (held.load(Ordering::SeqCst) != 0).then_some(()));
            let old = cpu::raise_to_dispatch();
            wants.store(1, Ordering::SeqCst);
            lock.locked(true, 1, || is_inside.store(1, Ordering::SeqCst));
            cpu::lower(old);
        };
        threads.push(("writer".to_owned(), 3, Box::new(body)));
        assert_eq!(world.run(threads), Ok(()));
        let mut rules: Vec<_> = world.violations().iter().map(|violation| violation.rule).collect();
        rules.dedup();
        (reads.load(Ordering::SeqCst) as u32, rules)
    }

    #[test]
    fn readers_overtake_a_waiting_writer_for_as_long_as_they_read() {
        for mode in [Mode::Baton, Mode::Free] {
            let (reads, rules) = a_writer_among_readers(mode, Fairness::ReaderFirst, false);
            // Of free threads the host may run the other two readers to their end before the writer comes.
            let least = if mode == Mode::Baton { MOST_READS + 1 } else { MOST_READS - 1 };
            assert!(reads >= least, "{mode:?}: the writer was let in after {reads} reads");
            assert_eq!(rules, ["LOCK-06"], "{mode:?}");
            let (reads, rules) = a_writer_among_readers(mode, Fairness::WriterFirst, false);
            assert!(reads < 40, "{mode:?}: {reads} reads before a writer that comes first");
            assert!(rules.is_empty(), "{mode:?}: {rules:?}");
        }
    }

    #[test]
    fn a_writer_gets_in_when_readers_stand_back_whatever_the_lock_does() {
        for mode in [Mode::Baton, Mode::Free] {
            let (reads, rules) = a_writer_among_readers(mode, Fairness::ReaderFirst, true);
            assert!(reads <= 6, "{mode:?}: {reads} reads");
            assert!(rules.is_empty(), "{mode:?}: {rules:?}");
        }
    }

    #[test]
    fn the_seed_decides_about_fairness() {
        let of = |seed| Fairness::of(&Config { seed, ..Config::default() });
        let first = (0..100).filter(|seed| of(*seed) == Fairness::ReaderFirst).count();
        assert!((30..70).contains(&first), "{first} of 100");
    }

    #[test]
    fn the_dispatch_flag_is_for_dispatch_and_reading_is_not_recursive() {
        let rules = rules_of(|world| {
            let lock = SharedLock::new(world);
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
            let lock = SharedLock::new(world);
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
                    SharedLock::new(&crate::machine::world::current()),
                    SharedLock::new(&crate::machine::world::current()),
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
                    SharedLock::new(&crate::machine::world::current()),
                    SharedLock::new(&crate::machine::world::current()),
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
