//! The only place that reads time. Unbiased interrupt time moves in steps, so an interval that must have passed is
//! compared with `granularity` added.

use crate::kernel::time;
use teaming::ids::Ticks;

/// Time since boot, without sleep. Any IRQL.
pub fn now() -> Ticks {
    Ticks::new(time::unbiased_interrupt_time())
}

/// The step in which `now` moves. Any IRQL.
pub fn granularity() -> Ticks {
    Ticks::new(u64::from(time::increment()))
}
