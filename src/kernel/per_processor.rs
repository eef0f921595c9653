//! One value for each processor, changed without a lock by code that runs on that processor at DISPATCH_LEVEL.

use super::pool::{PoolSlice, Tag};
use super::processor;
use crate::ndis::irql::Dispatch;
use crate::ndis::status::OutOfMemory;
use core::cell::UnsafeCell;
use core::mem::offset_of;
use teaming::forward::counters::{Counters, Load};
use teaming::ids::MEMBERS;

pub struct PerProcessor<T>(PoolSlice<UnsafeCell<T>>);

// SAFETY: a cell is changed only on its own processor at DISPATCH_LEVEL, where no other thread is scheduled.
unsafe impl<T: Send> Sync for PerProcessor<T> {}

impl<T: Clone> PerProcessor<T> {
    /// Allocates a copy of `value` for each processor. IRQL <= DISPATCH_LEVEL.
    #[inline(never)] // a frame of its own
    pub fn try_new(value: &T) -> Result<Self, OutOfMemory> {
        let cells = PoolSlice::try_new(Tag::TABLE, processor::count(), |_| UnsafeCell::new(value.clone()))?;
        Ok(Self(cells))
    }

    /// Changes this processor's value; `None` as for `ThisCpu`. `change` must not use the same `PerProcessor`.
    pub fn with<R>(&self, dispatch: &Dispatch, change: impl FnOnce(&mut T) -> R) -> Option<R> {
        self.here(dispatch).change(change)
    }

    /// This processor's value, looked up once for several changes. The token proves that the thread stays on its
    /// processor.
    pub fn here<'a>(&'a self, dispatch: &'a Dispatch) -> ThisCpu<'a, T> {
        let processor = processor::current(dispatch);
        ThisCpu { value: self.0.get(processor), processor }
    }
}

/// Structures whose first `WORDS` times 8 bytes are counts.
///
/// # Safety
/// The alignment is a multiple of 8, these bytes have no padding, and every bit pattern of them is valid.
pub unsafe trait Counts {
    const WORDS: usize;
}

// SAFETY: in declared order every member is a u64 or an array of them, or of pairs of them; `members` is the last.
unsafe impl Counts for Counters {
    const WORDS: usize = (offset_of!(Counters, members) + MEMBERS * size_of::<Load>()) / 8;
}
const _: () = assert!(Counters::WORDS * 8 <= size_of::<Counters>() && size_of::<Load>() == 16);

impl<T: Counts> PerProcessor<T> {
    /// Adds the counts of all processors to `sum`, while they go on counting: each word is read once, so every count is
    /// one that the processor had, and none is waited for. IRQL <= DISPATCH_LEVEL.
    #[inline(never)] // a frame of its own
    pub fn add_to(&self, sum: &mut T) {
        let sum = core::ptr::from_mut(sum).cast::<u64>();
        for cell in self.0.iter() {
            let words = cell.get().cast::<u64>().cast_const();
            for at in 0..T::WORDS {
                // SAFETY: inside the cell. Its processor may write to the word meanwhile; a load of 8 aligned bytes is one
                // load on x86-64, and volatile, so it is made once.
                let more = unsafe { words.wrapping_add(at).read_volatile() };
                // SAFETY: inside `sum`, which is borrowed mutably.
                unsafe {
                    let place = sum.wrapping_add(at);
                    place.write(place.read().wrapping_add(more));
                }
            }
        }
    }
}

/// The value of the current processor. There is none for a processor that was hot-added beyond the maximum that the
/// system reported at the allocation.
pub struct ThisCpu<'a, T> {
    value: Option<&'a UnsafeCell<T>>,
    /// Index of the processor.
    pub processor: usize,
}

impl<T> ThisCpu<'_, T> {
    /// Changes the value; `None` if the processor has none. `change` must not use the same `PerProcessor`.
    #[inline]
    pub fn change<R>(&self, change: impl FnOnce(&mut T) -> R) -> Option<R> {
        // SAFETY: the cell of this processor, at DISPATCH_LEVEL, and `change` does not access it a second time.
        self.value.map(|cell| change(unsafe { &mut *cell.get() }))
    }
}
