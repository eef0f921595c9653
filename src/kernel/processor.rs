//! Which processor this is, and how many there may be.

use super::sys;
use crate::ndis::irql::Dispatch;

/// `ALL_PROCESSOR_GROUPS`.
const ALL_PROCESSOR_GROUPS: u16 = 0xFFFF;

/// Processors that may ever be active; at least 1.
pub fn count() -> usize {
    // SAFETY: callable at any IRQL.
    (unsafe { sys::KeQueryMaximumProcessorCountEx(ALL_PROCESSOR_GROUPS) }.max(1)) as usize
}

/// Index of this processor, below `count()`; the token keeps the thread on it.
pub fn current(_: &Dispatch) -> usize {
    // SAFETY: callable at any IRQL; a null argument asks for the index alone.
    (unsafe { sys::KeGetCurrentProcessorNumberEx(core::ptr::null_mut()) }) as usize
}
