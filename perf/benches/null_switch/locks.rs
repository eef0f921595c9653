//! Reader-writer locks: without exclusion and without cost, unless `LOCKING` is on. Then each processor counts its readers in
//! a cache line of its own, as NDIS does (NDIS_RW_LOCK_EX), and a waiting writer stops new readers.

use super::kernel::PROCESSOR;
use super::probe::{Counting, enter, leave};
use lbfoext::ndis::raw::{Handle, LockStateEx};
use std::cell::Cell;
use std::hint::spin_loop;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

thread_local! {
    /// A bit for each lock that this thread has, the last one lowest: whether it is held for writing.
    static WRITING: Cell<u32> = const { Cell::new(0) };
    /// Time that this thread has waited for a lock for writing.
    pub static WAITED: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

/// Whether locks exclude. If not, they cost nothing, and only one thread may run.
pub static LOCKING: AtomicBool = AtomicBool::new(false);
/// Readers of one processor.
#[repr(align(64))]
struct Readers(AtomicU32);

struct Lock {
    readers: [Readers; 64],
    /// A writer waits for the lock or holds it.
    is_wanted: AtomicBool,
}

impl Lock {
    /// # Safety
    /// A lock that was allocated here and not freed.
    unsafe fn of<'a>(lock: Handle) -> &'a Self {
        // SAFETY: by the caller.
        unsafe { &*lock.cast() }
    }

    /// Those of this thread's processor.
    fn readers(&self) -> &AtomicU32 {
        &self.readers[PROCESSOR.get() as usize % self.readers.len()].0
    }
}

#[unsafe(no_mangle)]
unsafe extern "win64" fn NdisAllocateRWLock(_: Handle) -> Handle {
    let readers = [const { Readers(AtomicU32::new(0)) }; 64];
    Box::into_raw(Box::new(Lock { readers, is_wanted: AtomicBool::new(false) })).cast()
}
#[unsafe(no_mangle)]
unsafe extern "win64" fn NdisFreeRWLock(lock: Handle) {
    // SAFETY: allocated above.
    drop(unsafe { Box::from_raw(lock.cast::<Lock>()) });
}
#[unsafe(no_mangle)]
unsafe extern "win64" fn NdisAcquireRWLockRead(lock: Handle, _: *mut LockStateEx, _: u8) {
    enter(Counting::Holds);
    WRITING.set(WRITING.get() << 1);
    if LOCKING.load(Ordering::Relaxed) {
        // SAFETY: the driver's lock.
        let lock = unsafe { Lock::of(lock) };
        let readers = lock.readers();
        loop {
            readers.fetch_add(1, Ordering::SeqCst);
            if !lock.is_wanted.load(Ordering::SeqCst) {
                break;
            }
            readers.fetch_sub(1, Ordering::Release);
            while lock.is_wanted.load(Ordering::Relaxed) {
                spin_loop();
            }
        }
    }
}
#[unsafe(no_mangle)]
unsafe extern "win64" fn NdisAcquireRWLockWrite(lock: Handle, _: *mut LockStateEx, _: u8) {
    enter(Counting::Holds);
    enter(Counting::Writes);
    WRITING.set(WRITING.get() << 1 | 1);
    if LOCKING.load(Ordering::Relaxed) {
        let start = Instant::now();
        // SAFETY: the driver's lock.
        let lock = unsafe { Lock::of(lock) };
        while lock.is_wanted.swap(true, Ordering::SeqCst) {
            spin_loop();
        }
        for Readers(readers) in &lock.readers {
            while readers.load(Ordering::SeqCst) != 0 {
                spin_loop();
            }
        }
        WAITED.set(WAITED.get() + start.elapsed());
    }
}
#[unsafe(no_mangle)]
unsafe extern "win64" fn NdisReleaseRWLock(lock: Handle, _: *mut LockStateEx) {
    let held = WRITING.get();
    let wrote = held & 1 != 0;
    WRITING.set(held >> 1);
    if wrote {
        leave(Counting::Writes);
    }
    leave(Counting::Holds);
    if LOCKING.load(Ordering::Relaxed) {
        // SAFETY: the driver's lock.
        let lock = unsafe { Lock::of(lock) };
        if wrote {
            lock.is_wanted.store(false, Ordering::Release);
        } else {
            lock.readers().fetch_sub(1, Ordering::Release);
        }
    }
}
