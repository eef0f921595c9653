//! The driver's clock: unbiased interrupt time, which advances in steps of one clock interrupt. Code that waits for an
//! interval to pass adds `granularity` to it.

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
