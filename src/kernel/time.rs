//! The kernel's clock, in units of 100 ns.

use super::sys;

/// Interrupt time without sleep; moves in steps of `increment`. Any IRQL.
pub fn unbiased_interrupt_time() -> u64 {
    // SAFETY: callable at any IRQL.
    unsafe { sys::KeQueryUnbiasedInterruptTime() }
}

/// The step of the clock. Any IRQL.
pub fn increment() -> u32 {
    // SAFETY: callable at any IRQL.
    unsafe { sys::KeQueryTimeIncrement() }
}
