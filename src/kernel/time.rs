//! The kernel's clock, in units of 100 ns.

use super::sys;

/// Interrupt time without the time that the machine slept; advances in steps of `increment`. Any IRQL.
pub fn unbiased_interrupt_time() -> u64 {
    // SAFETY: callable at any IRQL.
    unsafe { sys::KeQueryUnbiasedInterruptTime() }
}

/// Interrupt time to within a microsecond, of which the difference of two is used (nf-wdm-kequeryinterrupttimeprecise). It
/// reads a counter, which can be slow. Any IRQL.
pub fn precise_interrupt_time() -> u64 {
    let mut counter = 0;
    // SAFETY: callable at any IRQL; the counter is written to a local.
    unsafe { sys::KeQueryInterruptTimePrecise(&raw mut counter) }
}

/// The interval between two clock interrupts. Any IRQL.
pub fn increment() -> u32 {
    // SAFETY: callable at any IRQL.
    unsafe { sys::KeQueryTimeIncrement() }
}
