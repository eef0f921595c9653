//! Readers stand back for a writer, whatever the lock under them does: an NDIS read/write lock is not fair, readers may
//! starve a writer (nf-ndis-ndisallocaterwlock).
//!
//! A writer takes its turn, says that it wants in, and waits for those that read. Whoever is about to read and finds it
//! said waits for the turn before taking the lock, holding nothing of this lock meanwhile. So after it was said each
//! thread takes the lock at most once more, namely one that had looked before, and the writer waits for one hold of each
//! at most. `tests/driver/gate.rs` checks that in every interleaving.

/// A word that all processors see, set before everything that its setter does afterwards.
pub trait Flag {
    fn set(&self, on: bool);
    fn is_set(&self) -> bool;
}

/// A lock that excludes; it need not be fair either.
pub trait Turn {
    fn hold<R>(&self, body: impl FnOnce() -> R) -> R;
}

/// One of it stands before each read/write lock.
pub struct Gate<F, T> {
    wanted: F,
    turn: T,
}

impl<F: Flag, T: Turn> Gate<F, T> {
    pub const fn new(wanted: F, turn: T) -> Self {
        Self { wanted, turn }
    }

    /// Waits for a writer that wants in. Called before the lock is taken for reading, with neither it nor one that
    /// comes after it in the order held.
    #[inline]
    pub fn stand_back(&self) {
        if self.wanted.is_set() {
            self.wait();
        }
    }

    #[cold]
    #[inline(never)] // while a writer waits
    fn wait(&self) {
        self.turn.hold(|| ());
    }

    /// Enters as a writer: `enter` takes the lock under the gate for writing. Said only once it is this writer's turn:
    /// a reader that finds it said waits until the writer is in.
    pub fn enter<R>(&self, enter: impl FnOnce() -> R) -> R {
        self.turn.hold(|| {
            self.wanted.set(true);
            let entered = enter();
            self.wanted.set(false);
            entered
        })
    }
}
