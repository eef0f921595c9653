//! A gate in front of a read/write lock, which bounds a writer's wait: an NDIS read/write lock is not fair, and
//! readers may starve a writer (nf-ndis-ndisallocaterwlock).
//!
//! A writer takes the spin lock `turn`, sets the flag `wanted` and then waits for the read/write lock. A reader that
//! finds the flag set first waits until it can take `turn`, without the read/write lock held. So after the flag is
//! set, a thread takes the lock for reading at most once more, if it had tested the flag before; the writer waits for
//! at most one hold of each thread. `tests/driver/gate.rs` checks this in every interleaving.

/// A flag with sequentially consistent loads and stores.
pub trait Flag {
    fn set(&self, on: bool);
    fn is_set(&self) -> bool;
}

/// An exclusive lock; it need not be fair.
pub trait Turn {
    fn hold<R>(&self, body: impl FnOnce() -> R) -> R;
}

/// One for each read/write lock.
pub struct Gate<F, T> {
    wanted: F,
    turn: T,
}

impl<F: Flag, T: Turn> Gate<F, T> {
    pub const fn new(wanted: F, turn: T) -> Self {
        Self { wanted, turn }
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

    /// Takes the read/write lock for writing, by `acquire`. The flag is set only after `turn` is taken, so a reader
    /// that finds it set waits until this writer has the lock.
    pub fn enter<R>(&self, acquire: impl FnOnce() -> R) -> R {
        self.turn.hold(|| {
            self.wanted.set(true);
            let acquired = acquire();
            self.wanted.set(false);
            acquired
        })
    }
}
