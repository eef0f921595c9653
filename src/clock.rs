//! The driver's clock: unbiased interrupt time, which advances in steps of one clock interrupt. Code that waits for an
//! interval to pass adds `granularity` to it. How long something takes is read from a finer one.

use crate::kernel::time;
use teaming::ids::Ticks;

/// Time since boot in units of 100 ns, without the time that the machine slept. Any IRQL.
pub fn now() -> Ticks {
    Ticks::new(time::unbiased_interrupt_time())
}

/// The step in which `now` advances. Any IRQL.
pub fn granularity() -> Ticks {
    Ticks::new(u64::from(time::increment()))
}

/// When a change begins.
#[derive(Clone, Copy)]
pub struct Start {
    pub now: Ticks,
    precise: u64,
}

impl Start {
    /// Any IRQL.
    pub fn now() -> Self {
        Self { now: now(), precise: time::precise_interrupt_time() }
    }

    /// Microseconds since then. Any IRQL.
    pub fn elapsed_us(&self) -> u32 {
        let since = Ticks::new(time::precise_interrupt_time()).since(Ticks::new(self.precise));
        u32::try_from(since.as_us()).unwrap_or(u32::MAX)
    }
}
