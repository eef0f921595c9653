//! A moment of a run, by the number of its yield point: who waits for it goes on there, whatever else is under way.

use crate::machine::scheduler::{POINT, Scheduler};
use crate::machine::slots::{Status, ThreadSlot};
use crate::machine::thread::{self, Thread};
use crate::machine::world::Mode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Yield points are counted while somebody wants to know.
pub struct Point {
    counted: AtomicU64,
    wanted: u64,
    reached: AtomicBool,
    over: AtomicBool,
}

impl Point {
    pub fn new(wanted: Option<u64>) -> Self {
        Self {
            counted: AtomicU64::new(0),
            wanted: wanted.unwrap_or(0),
            reached: AtomicBool::new(false),
            over: AtomicBool::new(false),
        }
    }

    /// One more; true if it is the one.
    pub fn count(&self) -> bool {
        self.counted.fetch_add(1, Ordering::SeqCst) + 1 == self.wanted
    }

    /// Key under which threads wait for it.
    fn key(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }
}

impl Scheduler {
    pub fn wait_for_point(&self) -> bool {
        let point = &self.point;
        let poll = || {
            let reached = point.reached.load(Ordering::SeqCst);
            (reached || point.over.load(Ordering::SeqCst)).then_some(reached)
        };
        self.block(&thread::current(), point.key(), "its moment", poll)
    }

    pub fn end_points(&self) -> u64 {
        self.set_attention(POINT, false);
        self.point.over.store(true, Ordering::SeqCst);
        self.wake(self.point.key());
        self.point.counted.load(Ordering::SeqCst)
    }

    /// The thread that waits for this point goes on at once.
    pub(crate) fn reach_point(&self, thread: &Thread) {
        self.point.reached.store(true, Ordering::SeqCst);
        let key = self.point.key();
        let waits = |slot: &ThreadSlot| matches!(slot.status, Status::Blocked { key: of, .. } if of == key);
        let waiting = self.state.lock().slots.iter().find(|(_, slot)| waits(slot)).map(|(id, _)| *id);
        self.wake(key);
        if let Some(next) = waiting.filter(|_| self.mode == Mode::Baton) {
            self.hand_over(self.state.lock(), next, thread);
        }
    }
}
