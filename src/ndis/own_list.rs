//! Lists of the driver's own: each carries one NET_BUFFER of a parent that must be split. The parent is held until the
//! last child is back; the count of children stands in the parent's `Scratch`, which belongs to its owner.

use super::handle::Filter;
use super::nbl::{Nbl, NetBufferRef};
use super::raw::{NetBufferList, NetBufferListPoolParameters, ObjectHeader, object_type};
use super::status::{NdisStatus, OutOfMemory};
use super::switch::Switch;
use super::sys;
use crate::kernel::pool::Tag;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicI32, AtomicU32, AtomicU64, Ordering};

/// The pool that own lists come from; it may run out.
pub struct ListPool {
    pool: NonNull<core::ffi::c_void>,
    filter: Filter,
    /// Lists that exist.
    out: AtomicU32,
}

// SAFETY: the pool is made for all processors.
unsafe impl Send for ListPool {}
// SAFETY: as above.
unsafe impl Sync for ListPool {}

impl ListPool {
    /// IRQL <= DISPATCH_LEVEL.
    #[inline(never)] // a frame of its own
    pub fn try_new(filter: Filter) -> Result<Self, OutOfMemory> {
        let parameters = NetBufferListPoolParameters {
            header: ObjectHeader::new(object_type::DEFAULT, 1, 16),
            allocate_net_buffer: 1,
            pool_tag: Tag::LIST.0,
            ..NetBufferListPoolParameters::ZERO
        };
        // SAFETY: the handle is the filter's own; the result is checked.
        let pool = unsafe { sys::NdisAllocateNetBufferListPool(filter.handle(), &parameters) };
        Ok(Self { pool: NonNull::new(pool).ok_or(OutOfMemory)?, filter, out: AtomicU32::new(0) })
    }

    /// A list over the same bytes as one NET_BUFFER of `parent`, with the parent's source and out-of-band data and no
    /// destination. It never outlives the parent's stay with us: `SplitParent` counts it.
    pub fn child(&self, switch: &Switch, parent: &Nbl, packet: NetBufferRef<'_>) -> Result<Nbl, NdisStatus> {
        // SAFETY: the buffer belongs to the owned parent.
        let buffer = unsafe { &*packet.as_ptr() };
        // SAFETY: the MDL chain stays with the parent, which is held longer than the child.
        let list = unsafe {
            sys::NdisAllocateNetBufferAndNetBufferList(
                self.pool.as_ptr(),
                0,
                0,
                buffer.mdl_chain,
                buffer.data_offset,
                buffer.data_length as usize,
            )
        };
        let list = NonNull::new(list).ok_or(NdisStatus::RESOURCES)?;
        // SAFETY: fresh from the pool and ours.
        unsafe {
            (*list.as_ptr()).source_handle = self.filter.handle();
            (*list.as_ptr()).parent = parent.as_ptr();
        }
        // SAFETY: as above.
        let mut child = unsafe { Nbl::from_raw(list) };
        match switch.adopt(&mut child, parent) {
            Ok(()) => {
                self.out.fetch_add(1, Ordering::Relaxed);
                Ok(child)
            }
            Err(status) => {
                free(child);
                Err(status)
            }
        }
    }
}

impl ListPool {
    /// No own list exists. Exact for the lists of a chain in hand: they were counted before they were sent.
    pub fn none_out(&self) -> bool {
        self.out.load(Ordering::Relaxed) == 0
    }

    /// Frees a child that is back, or was never sent, and gives its status.
    pub fn free_child(&self, switch: &Switch, mut child: Nbl) -> NdisStatus {
        let status = child.status();
        switch.release(&mut child);
        free(child);
        self.out.fetch_sub(1, Ordering::Relaxed);
        status
    }
}

impl Drop for ListPool {
    fn drop(&mut self) {
        // SAFETY: every list is back: pause has waited for them.
        unsafe { sys::NdisFreeNetBufferListPool(self.pool.as_ptr()) };
    }
}

fn free(child: Nbl) {
    // SAFETY: from our pool, without a forwarding context.
    unsafe { sys::NdisFreeNetBufferList(child.into_raw().as_ptr()) };
}

/// A parent that is held while its children are out.
pub struct SplitParent(NonNull<NetBufferList>);

impl SplitParent {
    /// Holds `parent` until `children` of them, at least one, have left. None has been sent yet. `status` is that of the
    /// packets for which there is no child.
    pub fn hold(mut parent: Nbl, children: u32, status: NdisStatus) {
        parent.set_status(status);
        let held = Self(parent.into_raw());
        held.child_ref_count().fetch_add(children.cast_signed(), Ordering::Relaxed);
        held.count().store(u64::from(children), Ordering::Release);
    }

    /// The family of a child that is back; `None` for a list without a parent.
    pub fn of(child: &Nbl) -> Option<Self> {
        // SAFETY: an own list names its parent from birth.
        NonNull::new(unsafe { (*child.as_ptr()).parent }).map(Self)
    }

    /// One child less; the first failure of a child is the parent's. Gives the parent back after the last one.
    pub fn child_completed(self, status: NdisStatus) -> Option<Nbl> {
        if status != NdisStatus::SUCCESS {
            let success = NdisStatus::SUCCESS.0;
            let _ = self.status().compare_exchange(success, status.0, Ordering::Relaxed, Ordering::Relaxed);
        }
        self.child_ref_count().fetch_sub(1, Ordering::Relaxed);
        // Release what this child wrote, acquire what the others wrote.
        if self.count().fetch_sub(1, Ordering::AcqRel) != 1 {
            return None;
        }
        // SAFETY: the last one out owns the parent again.
        Some(unsafe { Nbl::from_raw(self.0) })
    }

    fn count(&self) -> &AtomicU64 {
        // SAFETY: the parent is held by the family, and `Scratch` belongs to its owner.
        unsafe { AtomicU64::from_ptr(&raw mut (*self.0.as_ptr()).scratch) }
    }

    /// What everybody else may read of the children (relationships-between-net-buffer-list-generations); others may have
    /// derived lists from the same parent, so it does not say when ours are back.
    fn child_ref_count(&self) -> &AtomicI32 {
        // SAFETY: the parent is held by the family.
        unsafe { AtomicI32::from_ptr(&raw mut (*self.0.as_ptr()).child_ref_count) }
    }

    fn status(&self) -> &AtomicI32 {
        // SAFETY: the parent is held by the family.
        unsafe { AtomicI32::from_ptr(&raw mut (*self.0.as_ptr()).status) }
    }
}
