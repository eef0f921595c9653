//! The kernel's clock, in units of 100 ns.

use super::sys;

/// Interrupt time without the time that the machine slept; advances in steps of `increment`. Any IRQL.
pub fn unbiased_interrupt_time() -> u64 {
    // SAFETY: callable at any IRQL.
    unsafe { sys::KeQueryUnbiasedInterruptTime() }
}

/// The interval between two clock interrupts. Any IRQL.
pub fn increment() -> u32 {
    // SAFETY: callable at any IRQL.
    unsafe { sys::KeQueryTimeIncrement() }
}
