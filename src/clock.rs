//! The only place that reads time. Unbiased interrupt time moves in steps; who compares times adds `granularity`.

use crate::kernel::time;
use teaming::ids::Ticks;

/// Time since boot, without sleep. Any IRQL.
pub fn now() -> Ticks {
    Ticks::new(time::unbiased_interrupt_time())
}

/// The step in which `now` moves.
pub fn granularity() -> Ticks {
    Ticks::new(u64::from(time::increment()))
}
