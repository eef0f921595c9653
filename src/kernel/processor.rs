//! Number of processors, and index of the current one.

use super::sys;
use crate::ndis::irql::Dispatch;

/// `ALL_PROCESSOR_GROUPS`.
const ALL_PROCESSOR_GROUPS: u16 = 0xFFFF;

/// Maximum number of active processors in all groups; at least 1. Any IRQL.
pub fn count() -> usize {
    // SAFETY: callable at any IRQL.
    (unsafe { sys::KeQueryMaximumProcessorCountEx(ALL_PROCESSOR_GROUPS) }.max(1)) as usize
}

/// System-wide index of the current processor. The token proves that the thread stays on it.
pub fn current(_: &Dispatch) -> usize {
    // SAFETY: callable at any IRQL; with a null argument only the index is returned.
    (unsafe { sys::KeGetCurrentProcessorNumberEx(core::ptr::null_mut()) }) as usize
}
