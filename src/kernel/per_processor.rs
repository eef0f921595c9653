//! One value for each processor, changed without locks by code that runs on it at DISPATCH_LEVEL.

use super::pool::{PoolSlice, Tag};
use super::processor;
use crate::ndis::irql::Dispatch;
use crate::ndis::status::OutOfMemory;
use core::cell::UnsafeCell;

pub struct PerProcessor<T>(PoolSlice<UnsafeCell<T>>);

// SAFETY: each cell is changed only by its own processor at DISPATCH_LEVEL, where nothing interrupts it.
unsafe impl<T: Send> Sync for PerProcessor<T> {}

impl<T: Clone> PerProcessor<T> {
    /// A copy of `value` for each processor. IRQL <= DISPATCH_LEVEL.
    #[inline(never)] // a frame of its own
    pub fn try_new(value: &T) -> Result<Self, OutOfMemory> {
        let cells = PoolSlice::try_new(Tag::TABLE, processor::count(), |_| UnsafeCell::new(value.clone()))?;
        Ok(Self(cells))
    }

    /// Changes this processor's value. `change` must not call out of the module.
    pub fn with<R>(&self, dispatch: &Dispatch, change: impl FnOnce(&mut T) -> R) -> Option<R> {
        self.here(dispatch).change(change)
    }

    /// This processor's value, found once for several changes. The token keeps the caller on its processor.
    pub fn here<'a>(&'a self, dispatch: &'a Dispatch) -> ThisCpu<'a, T> {
        let processor = processor::current(dispatch);
        ThisCpu { value: self.0.get(processor), processor }
    }
}

/// The calling processor's value; none for a processor that was added after the allocation (hot-add beyond the maximum
/// that the system reported).
pub struct ThisCpu<'a, T> {
    value: Option<&'a UnsafeCell<T>>,
    /// Its index.
    pub processor: usize,
}

impl<T> ThisCpu<'_, T> {
    /// `change` must not call out of the module.
    #[inline]
    pub fn change<R>(&self, change: impl FnOnce(&mut T) -> R) -> Option<R> {
        // SAFETY: this processor's own cell, at DISPATCH_LEVEL, and `change` does not come back here.
        self.value.map(|cell| change(unsafe { &mut *cell.get() }))
    }
}
