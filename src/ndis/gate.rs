//! A gate in front of a read/write lock, which bounds a writer's wait: an NDIS read/write lock is not fair, and
//! readers may starve a writer (nf-ndis-ndisallocaterwlock).
//!
//! A writer takes the spin lock `turn`, sets the flag `wanted` and then waits for the read/write lock. A reader that
//! finds the flag set first waits until it can take `turn`, without the read/write lock held. So after the flag is
//! set, a thread takes the lock for reading at most once more, if it had tested the flag before; the writer waits for
//! at most one hold of each thread. `tests/driver/gate.rs` checks this in every interleaving.
//!
//! The gate counts the writers that it let in. Who holds the lock and finds the count of an earlier hold knows that
//! nothing has changed since; `tests/driver/port_growth.rs` checks that, and the growth of the port table that relies on it.

use core::sync::atomic::Ordering;

/// A flag with sequentially consistent loads and stores.
pub trait Flag {
    fn set(&self, on: bool);
    fn is_set(&self) -> bool;
}

/// An exclusive lock; it need not be fair.
pub trait Turn {
    fn hold<R>(&self, body: impl FnOnce() -> R) -> R;
}

/// An atomic word.
pub trait Count {
    fn load(&self, order: Ordering) -> u32;
    fn store(&self, count: u32, order: Ordering);
}

/// One for each read/write lock.
pub struct Gate<F, T, C> {
    wanted: F,
    turn: T,
    writers: C,
}

impl<F: Flag, T: Turn, C: Count> Gate<F, T, C> {
    pub const fn new(wanted: F, turn: T, writers: C) -> Self {
        Self { wanted, turn, writers }
    }

    /// Waits while a writer waits for the lock. Called before the lock is taken for reading, with neither this lock
    /// nor a later one of the lock order held.
    #[inline]
    pub fn stand_back(&self) {
        if self.wanted.is_set() {
            self.wait();
        }
    }

    #[cold]
    #[inline(never)] // rare: only while a writer waits
    fn wait(&self) {
        self.turn.hold(|| ());
    }

    /// Takes the read/write lock for writing, by `acquire`, and counts. The flag is set only after `turn` is taken, so a
    /// reader that finds it set waits until this writer has the lock.
    pub fn enter<R>(&self, acquire: impl FnOnce() -> R) -> R {
        self.turn.hold(|| {
            self.wanted.set(true);
            let acquired = acquire();
            // A writer is alone, and the lock orders the count with what it protects.
            self.writers.store(self.writers().wrapping_add(1), Ordering::Relaxed);
            self.wanted.set(false);
            acquired
        })
    }

    /// How many writers were let in, modulo 2^32. Called with the lock held, for reading or for writing; then it does
    /// not change.
    pub fn writers(&self) -> u32 {
        self.writers.load(Ordering::Relaxed)
    }
}
