//! Reader-writer locks: without exclusion and without cost, unless `LOCKING` is on.

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
/// Number of readers, and `WRITER` while a writer waits for the lock or holds it, which stops new readers.
static HOLDERS: AtomicU32 = AtomicU32::new(0);
const WRITER: u32 = 1 << 31;

#[unsafe(no_mangle)]
unsafe extern "win64" fn NdisAllocateRWLock(_: Handle) -> Handle {
    0x6000 as Handle
}
#[unsafe(no_mangle)]
unsafe extern "win64" fn NdisFreeRWLock(_: Handle) {}
#[unsafe(no_mangle)]
unsafe extern "win64" fn NdisAcquireRWLockRead(_: Handle, _: *mut LockStateEx, _: u8) {
    enter(Counting::Holds);
    WRITING.set(WRITING.get() << 1);
    if LOCKING.load(Ordering::Relaxed) {
        while HOLDERS.fetch_add(1, Ordering::Acquire) & WRITER != 0 {
            HOLDERS.fetch_sub(1, Ordering::Relaxed);
            while HOLDERS.load(Ordering::Relaxed) & WRITER != 0 {
                spin_loop();
            }
        }
    }
}
#[unsafe(no_mangle)]
unsafe extern "win64" fn NdisAcquireRWLockWrite(_: Handle, _: *mut LockStateEx, _: u8) {
    enter(Counting::Holds);
    enter(Counting::Writes);
    WRITING.set(WRITING.get() << 1 | 1);
    if LOCKING.load(Ordering::Relaxed) {
        let start = Instant::now();
        HOLDERS.fetch_or(WRITER, Ordering::Acquire);
        while HOLDERS.load(Ordering::Acquire) != WRITER {
            spin_loop();
        }
        WAITED.set(WAITED.get() + start.elapsed());
    }
}
#[unsafe(no_mangle)]
unsafe extern "win64" fn NdisReleaseRWLock(_: Handle, _: *mut LockStateEx) {
    let held = WRITING.get();
    let wrote = held & 1 != 0;
    WRITING.set(held >> 1);
    if wrote {
        leave(Counting::Writes);
    }
    leave(Counting::Holds);
    if LOCKING.load(Ordering::Relaxed) {
        if wrote {
            HOLDERS.fetch_and(!WRITER, Ordering::Release);
        } else {
            HOLDERS.fetch_sub(1, Ordering::Release);
        }
    }
}
