//! Frames that the driver itself makes: an NBL over memory that is there from attach to detach, with a forwarding context of
//! its own (originating-packet-traffic.md). They leave from the default port: no port's policy applies to them.
//!
//! Places are taken and given back by one atomic operation. Nothing is allocated but the NBL, from its pool, and the context.

use super::handle::Filter;
use super::nbl::Nbl;
use super::raw::Mdl;
use super::status::OutOfMemory;
use super::sys;
use crate::kernel::pool::{PoolBox, PoolSlice, Tag};
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicU64, Ordering};

/// Bytes of the longest frame.
pub const LONGEST: usize = 128;
/// Frames that may be on their way at once. Each has an MDL of its own, so that a driver below which needs room in front of
/// the data finds none in the memory of another frame (retreat-operations.md).
const FRAMES: usize = u64::BITS as usize;

/// Why there is no frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NoFrame {
    /// All are on their way.
    Crowded,
    Refused,
}

/// The bytes of all frames and the MDLs over them.
pub struct FrameMemory {
    bytes: PoolSlice<UnsafeCell<[u8; LONGEST]>>,
    mdls: PoolSlice<*mut Mdl>,
    /// A bit for each place that is taken.
    taken: AtomicU64,
}

// SAFETY: a place belongs to whoever has set its bit, and the MDLs do not change.
unsafe impl Send for FrameMemory {}
// SAFETY: as above.
unsafe impl Sync for FrameMemory {}

impl FrameMemory {
    /// IRQL <= DISPATCH_LEVEL.
    #[inline(never)] // a frame of its own
    pub(super) fn try_new(filter: Filter) -> Result<PoolBox<Self>, OutOfMemory> {
        let bytes = PoolSlice::try_new(Tag::LIST, FRAMES, |_| UnsafeCell::new([0; LONGEST]))?;
        let mdls = PoolSlice::try_new(Tag::LIST, FRAMES, |_| core::ptr::null_mut())?;
        let mut memory = Self { bytes, mdls, taken: AtomicU64::new(0) };
        let Self { bytes, mdls, .. } = &mut memory;
        for (mdl, bytes) in mdls.iter_mut().zip(bytes.iter()) {
            // SAFETY: non-paged pool that outlives the MDL; the result is checked. Dropping `memory` frees the others.
            *mdl = unsafe { sys::NdisAllocateMdl(filter.handle(), bytes.get().cast(), LONGEST as u32) };
            if mdl.is_null() {
                return Err(OutOfMemory);
            }
        }
        PoolBox::try_new(Tag::LIST, memory)
    }

    pub(super) fn has_place(&self) -> bool {
        self.taken.load(Ordering::Relaxed) != u64::MAX
    }

    /// Takes a place, of which `give_back` is to follow.
    pub(super) fn take(&self) -> Option<usize> {
        let mut taken = self.taken.load(Ordering::Relaxed);
        while taken != u64::MAX {
            let place = taken.trailing_ones();
            let with = taken | 1 << place;
            match self.taken.compare_exchange_weak(taken, with, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => return Some(place as usize),
                Err(now) => taken = now,
            }
        }
        None
    }

    /// Writes bytes to a place that the caller has taken: the MDL over it, or `None` for too many.
    pub(super) fn write(&self, place: usize, bytes: &[u8]) -> Option<*mut Mdl> {
        let memory = self.bytes.get(place)?;
        // SAFETY: the place is the caller's, and no list is over it.
        unsafe { &mut *memory.get() }.get_mut(..bytes.len())?.copy_from_slice(bytes);
        self.mdls.get(place).copied()
    }

    pub(super) fn give_back(&self, place: usize) {
        self.taken.fetch_and(!(1 << (place % FRAMES)), Ordering::Release);
    }

    /// The place of a frame of ours; `None` for another list.
    pub(super) fn place_of(&self, list: &Nbl) -> Option<usize> {
        let buffer = list.net_buffers().next()?;
        // SAFETY: the buffer belongs to an owned list.
        let mdl = unsafe { (*buffer.as_ptr()).mdl_chain };
        self.mdls.iter().position(|own| *own == mdl)
    }
}

impl Drop for FrameMemory {
    fn drop(&mut self) {
        for mdl in self.mdls.iter().filter(|mdl| !mdl.is_null()) {
            // SAFETY: made by `try_new`; no list is over it, because pause waits for them.
            unsafe { sys::NdisFreeMdl(*mdl) };
        }
    }
}
