//! Child NBLs of an NBL that must be split: each describes one NET_BUFFER of the parent. The parent is held until the
//! last child is completed. Its `Scratch` member, which belongs to the current owner of an NBL, counts the children.

use super::handle::Filter;
use super::nbl::{Nbl, NetBufferRef};
use super::raw::{NetBufferList, NetBufferListPoolParameters, ObjectHeader, object_type};
use super::status::{NdisStatus, OutOfMemory};
use super::switch::Switch;
use super::sys;
use crate::kernel::pool::Tag;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicI32, AtomicU32, AtomicU64, Ordering};

/// The NET_BUFFER_LIST pool of the child NBLs.
pub struct ListPool {
    pool: NonNull<core::ffi::c_void>,
    filter: Filter,
    /// Child NBLs that are allocated.
    allocated: AtomicU32,
}

// SAFETY: NDIS synchronizes the pool; it may be used on every processor.
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
        Ok(Self { pool: NonNull::new(pool).ok_or(OutOfMemory)?, filter, allocated: AtomicU32::new(0) })
    }

    /// Allocates a child NBL over the bytes of one NET_BUFFER of `parent`, with the parent's source and out-of-band
    /// data and no destination. `SplitParent` holds the parent until the child is freed. Errors:
    /// NDIS_STATUS_RESOURCES, or the status of the switch. IRQL <= DISPATCH_LEVEL.
    pub fn child(&self, switch: &Switch, parent: &Nbl, packet: NetBufferRef<'_>) -> Result<Nbl, NdisStatus> {
        // SAFETY: the buffer belongs to the owned parent.
        let buffer = unsafe { &*packet.as_ptr() };
        // SAFETY: the MDL chain belongs to the parent, which is held until the child is freed.
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
        // SAFETY: just allocated, and owned by this function.
        unsafe {
            (*list.as_ptr()).source_handle = self.filter.handle();
            (*list.as_ptr()).parent = parent.as_ptr();
        }
        // SAFETY: as above.
        let mut child = unsafe { Nbl::from_raw(list) };
        match switch.adopt(&mut child, parent) {
            Ok(()) => {
                self.allocated.fetch_add(1, Ordering::Relaxed);
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
    /// No child NBL is allocated. A caller that owns a chain may rely on it: a child in the chain was counted before
    /// it was sent.
    pub fn none_out(&self) -> bool {
        self.allocated.load(Ordering::Relaxed) == 0
    }

    /// Frees a child that is completed or was never sent, and returns its status.
    pub fn free_child(&self, switch: &Switch, mut child: Nbl) -> NdisStatus {
        let status = child.status();
        switch.release(&mut child);
        free(child);
        self.allocated.fetch_sub(1, Ordering::Relaxed);
        status
    }
}

impl Drop for ListPool {
    fn drop(&mut self) {
        // SAFETY: every child is freed, because pause waits for them.
        unsafe { sys::NdisFreeNetBufferListPool(self.pool.as_ptr()) };
    }
}

fn free(child: Nbl) {
    // SAFETY: from our pool, without a forwarding context.
    unsafe { sys::NdisFreeNetBufferList(child.into_raw().as_ptr()) };
}

/// A parent NBL that is held until its last child is completed.
pub struct SplitParent(NonNull<NetBufferList>);

impl SplitParent {
    /// Holds `parent` until `children` calls of `child_completed`, at least one. Called before the first child is
    /// sent. `status` is the result for packets that were dropped because no child could be allocated.
    pub fn hold(mut parent: Nbl, children: u32, status: NdisStatus) {
        parent.set_status(status);
        let held = Self(parent.into_raw());
        held.child_ref_count().fetch_add(children.cast_signed(), Ordering::Relaxed);
        held.count().store(u64::from(children), Ordering::Release);
    }

    /// The parent of a completed child; `None` for a list without a parent.
    pub fn of(child: &Nbl) -> Option<Self> {
        // SAFETY: `child` sets the parent before it returns the list.
        NonNull::new(unsafe { (*child.as_ptr()).parent }).map(Self)
    }

    /// Counts a completed child; the first failure status of a child becomes the parent's. Returns the parent after
    /// the last child.
    pub fn child_completed(self, status: NdisStatus) -> Option<Nbl> {
        if status != NdisStatus::SUCCESS {
            let success = NdisStatus::SUCCESS.0;
            let _ = self.status().compare_exchange(success, status.0, Ordering::Relaxed, Ordering::Relaxed);
        }
        self.child_ref_count().fetch_sub(1, Ordering::Relaxed);
        // Release the status that this child wrote, acquire those of the others.
        if self.count().fetch_sub(1, Ordering::AcqRel) != 1 {
            return None;
        }
        // SAFETY: this was the last child, so the caller owns the parent.
        Some(unsafe { Nbl::from_raw(self.0) })
    }

    fn count(&self) -> &AtomicU64 {
        // SAFETY: the parent is held, and `Scratch` belongs to its owner.
        unsafe { AtomicU64::from_ptr(&raw mut (*self.0.as_ptr()).scratch) }
    }

    /// ChildRefCount, which other drivers may read (relationships-between-net-buffer-list-generations). It also counts
    /// children that others derived from the same parent, so `Scratch` and not this count tells when ours are
    /// completed.
    fn child_ref_count(&self) -> &AtomicI32 {
        // SAFETY: the parent is held until its last child is completed.
        unsafe { AtomicI32::from_ptr(&raw mut (*self.0.as_ptr()).child_ref_count) }
    }

    fn status(&self) -> &AtomicI32 {
        // SAFETY: the parent is held until its last child is completed.
        unsafe { AtomicI32::from_ptr(&raw mut (*self.0.as_ptr()).status) }
    }
}
