//! The only place that reads time. Unbiased interrupt time moves in steps; who compares times adds `granularity`.

use crate::kernel::sys;
use teaming::ids::Ticks;

/// Time since boot in units of 100 ns, without sleep. Any IRQL.
pub fn now() -> Ticks {
    // SAFETY: callable at any IRQL.
    Ticks::new(unsafe { sys::KeQueryUnbiasedInterruptTime() })
}

/// The step in which `now` moves.
pub fn granularity() -> Ticks {
    // SAFETY: callable at any IRQL.
    Ticks::new(u64::from(unsafe { sys::KeQueryTimeIncrement() }))
}
