//! Counts instructions between two points under callgrind, by its client requests: of each lock hold, of each one for writing, or of each handler.
//! Outside callgrind a request is a few instructions without effect, and the longest time is told.

use std::cell::Cell;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

/// What is counted.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Counting {
    Nothing,
    /// From the first lock taken to the last released.
    Holds,
    Handlers,
    /// While packets wait: from a lock taken for writing to its release.
    Writes,
}

static COUNTING: AtomicU8 = AtomicU8::new(Counting::Nothing as u8);

thread_local! {
    /// Locks held, or handlers entered.
    static DEPTH: Cell<u32> = const { Cell::new(0) };
    static BEGUN: Cell<Option<Instant>> = const { Cell::new(None) };
    /// The longest time between an `enter` and its `leave`.
    pub static LONGEST: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

/// Counts something else from now on, and gives what was counted before.
pub fn count(what: Counting) -> Counting {
    match COUNTING.swap(what as u8, Ordering::Relaxed) {
        1 => Counting::Holds,
        2 => Counting::Handlers,
        3 => Counting::Writes,
        _ => Counting::Nothing,
    }
}

/// A lock is taken or a handler entered; `leave` is its end.
#[inline]
pub fn enter(what: Counting) {
    if COUNTING.load(Ordering::Relaxed) == what as u8 {
        DEPTH.set(DEPTH.get() + 1);
        if DEPTH.get() == 1 {
            BEGUN.set(Some(Instant::now()));
            request(TOGGLE_COLLECT);
        }
    }
}

/// Each end writes a dump of its own, with what was counted since its beginning.
#[inline]
pub fn leave(what: Counting) {
    if COUNTING.load(Ordering::Relaxed) == what as u8 && DEPTH.get() != 0 {
        DEPTH.set(DEPTH.get() - 1);
        if DEPTH.get() == 0 {
            request(TOGGLE_COLLECT);
            let time = BEGUN.get().map_or(Duration::ZERO, |begun| begun.elapsed());
            LONGEST.set(LONGEST.get().max(time));
            request(DUMP_STATS);
        }
    }
}

/// `CALLGRIND_DUMP_STATS` and `CALLGRIND_TOGGLE_COLLECT` of callgrind.h.
const DUMP_STATS: u64 = 0x4354_0000;
const TOGGLE_COLLECT: u64 = 0x4354_0002;

fn request(number: u64) {
    let arguments = [number, 0, 0, 0, 0, 0];
    // SAFETY: rotations that together do nothing, by which valgrind knows a request; the arguments live through it.
    unsafe {
        std::arch::asm!(
            "rol rdi, 3",
            "rol rdi, 13",
            "rol rdi, 61",
            "rol rdi, 51",
            "xchg rbx, rbx",
            in("rax") arguments.as_ptr(),
            inout("rdx") 0_u64 => _,
        );
    }
}
