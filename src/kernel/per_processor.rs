//! One value for each processor, changed without locks by the processor itself.

use super::pool::{PoolSlice, Tag};
use super::processor;
use crate::ndis::irql::Dispatch;
use crate::ndis::status::OutOfMemory;
use core::cell::UnsafeCell;

pub struct PerProcessor<T>(PoolSlice<UnsafeCell<T>>);

// SAFETY: each cell is changed only by its own processor at DISPATCH_LEVEL, where nothing interrupts it.
unsafe impl<T: Send> Sync for PerProcessor<T> {}

impl<T: Clone> PerProcessor<T> {
    /// IRQL <= DISPATCH_LEVEL.
    pub fn try_new(value: &T) -> Result<Self, OutOfMemory> {
        let cells = PoolSlice::try_new(Tag::TABLE, processor::count(), |_| UnsafeCell::new(value.clone()))?;
        Ok(Self(cells))
    }

    /// Changes this processor's value. `change` must not call out of the module.
    pub fn with<R>(&self, dispatch: &Dispatch, change: impl FnOnce(&mut T) -> R) -> Option<R> {
        let cell = self.0.get(processor::current(dispatch))?;
        // SAFETY: this processor's own cell, at DISPATCH_LEVEL, and `change` does not come back here.
        Some(change(unsafe { &mut *cell.get() }))
    }
}
