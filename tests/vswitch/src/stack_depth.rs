//! How much kernel stack the driver takes when its handlers nest: NdisFSend can come back as FilterReceive, FilterReturn
//! and FilterSendComplete on the same stack.
//!
//! Measured between two points that bracket the driver's own frames: where the simulation calls a handler, and where the
//! driver calls an import. Nested calls add up; the simulation's frames in between do not count.

use crate::world::World;
use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The deepest sum that a world has seen, in bytes.
#[derive(Default)]
pub struct StackDepth(AtomicUsize);

impl StackDepth {
    pub fn deepest(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

thread_local! {
    /// Where the innermost handler was called, and what the handlers around it have taken.
    static INNERMOST: Cell<(usize, usize)> = const { Cell::new((0, 0)) };
}

/// An address in the frame of the caller.
#[inline(always)]
fn here() -> usize {
    let mark = 0u8;
    std::ptr::from_ref(std::hint::black_box(&mark)) as usize
}

/// A handler is about to be called. Gives what `left` takes back.
#[inline(always)]
pub fn enter_driver() -> (usize, usize) {
    let before = INNERMOST.get();
    INNERMOST.set((here(), before.1));
    before
}

pub fn left_driver(before: (usize, usize)) {
    INNERMOST.set(before);
}

/// The driver has called an import. Gives what `back_in_driver` takes.
#[inline(always)]
pub fn leave_driver(world: &World) -> (usize, usize) {
    let (entered_at, around) = INNERMOST.get();
    if entered_at != 0 {
        let taken = around + entered_at.saturating_sub(here());
        world.part::<StackDepth>().0.fetch_max(taken, Ordering::Relaxed);
        INNERMOST.set((0, taken));
    }
    (entered_at, around)
}

pub fn back_in_driver(before: (usize, usize)) {
    INNERMOST.set(before);
}
