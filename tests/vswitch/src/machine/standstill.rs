//! When nobody gets on any more: at the end of a run, in a deadlock, or because a thread never comes to a yield point.

use crate::machine::scheduler::{STEPS_LOOKED_AT, Scheduler};
use crate::machine::slots::{State, describe};
use crate::machine::world::{Mode, World};
use std::sync::atomic::Ordering;

impl Scheduler {
    pub(crate) fn is_quiet(&self, state: &State) -> bool {
        let nobody = match self.mode {
            Mode::Baton => state.running.is_none(),
            Mode::Free => state.all_rest(),
        };
        state.users == 0 && nobody
    }

    /// There was no simulated step for as many looks as fit into the watchdog's time. Looks are counted, so that a host that
    /// stood still itself is not taken for it. `last` is what the steps were, and how often they were that.
    pub(crate) fn is_stuck(&self, state: &State, last: &mut (u64, u32)) -> bool {
        let steps: u64 = state.slots.values().map(|s| s.shared.steps.load(Ordering::Relaxed)).sum();
        let mark = steps.wrapping_add(state.progress);
        *last = if mark == last.0 { (mark, last.1 + 1) } else { (mark, 0) };
        STEPS_LOOKED_AT * last.1 > self.watchdog
    }

    /// Names who waits for what, if nobody ever can run again although a test's thread has not ended.
    pub(crate) fn deadlock_text(&self, state: &State, world: &World) -> Option<String> {
        let dead = state.users > 0 && state.all_rest() && !state.advance;
        dead.then(|| format!("deadlock: {}", describe(state, world)))
    }

    pub(crate) fn report_deadlock(&self, world: &World, text: Option<String>) {
        if let Some(text) = text
            && !self.is_aborted()
        {
            world.violate("LOCK-04", text);
            self.abort();
        }
    }
}
