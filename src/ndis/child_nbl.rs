//! Child NBLs of an NBL that must be split: each describes one NET_BUFFER of the parent. The parent is held until the
//! last child is completed. Its `Scratch` member, which belongs to the current owner of an NBL, counts the children.
//! A child without the tag in the parent's bytes is a fragment of it: `super::fragment`.

use super::fragment::{FragmentPool, NotUntagged};
use super::handle::Filter;
use super::nbl::{Nbl, NetBufferRef};
use super::own_frames::{FrameMemory, NoFrame};
use super::raw::{NetBufferList, NetBufferListPoolParameters, ObjectHeader, object_type};
use super::status::{NdisStatus, OutOfMemory};
use super::switch::Switch;
use super::sys;
use crate::kernel::pool::{PoolBox, Tag};
use core::ptr::NonNull;
use core::sync::atomic::{AtomicI32, AtomicU32, AtomicU64, Ordering};

/// The NET_BUFFER_LIST pool of the child NBLs, and of the frames that the driver itself makes (`super::own_frames`).
pub struct ListPool {
    pool: NonNull<core::ffi::c_void>,
    fragments: FragmentPool,
    frames: PoolBox<FrameMemory>,
    filter: Filter,
    /// NBLs that are allocated.
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
        let fragments = FragmentPool::try_new(filter)?;
        let frames = FrameMemory::try_new(filter)?;
        // SAFETY: the handle is the filter's own; the result is checked.
        let pool = unsafe { sys::NdisAllocateNetBufferListPool(filter.handle(), &parameters) };
        let pool = NonNull::new(pool).ok_or(OutOfMemory)?;
        Ok(Self { pool, fragments, frames, filter, allocated: AtomicU32::new(0) })
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
                self.free(child);
                Err(status)
            }
        }
    }

    /// Whether the bytes of the only NET_BUFFER of a list begin with an 802.1Q tag that its out-of-band data does not have.
    pub fn has_tag(list: &Nbl) -> bool {
        list.vlan_id() == 0 && FragmentPool::tag_of(list).is_ok()
    }

    /// Allocates a child NBL over the bytes of the only NET_BUFFER of `list` without the 802.1Q tag in them, which its
    /// out-of-band data has instead. It has the source and the other data of `list`, and no destination. `SplitParent`
    /// holds its parent until the child is freed: `list`, or the parent of `list` if that is a child itself, for whose
    /// bytes it stands in. `in_send_format` is that of the out-of-band data. IRQL <= DISPATCH_LEVEL.
    pub fn untagged(&self, switch: &Switch, list: &Nbl, in_send_format: bool) -> Result<Nbl, NotUntagged> {
        let tag = FragmentPool::tag_of(list)?;
        let mut child = self.fragments.fragment(list)?;
        // SAFETY: both are owned by this function and its caller.
        unsafe {
            let above = (*list.as_ptr()).parent;
            let is_child = list.is_originated_by(self.filter.handle()) && !above.is_null();
            (*child.as_ptr()).source_handle = self.filter.handle();
            (*child.as_ptr()).parent = if is_child { above } else { list.as_ptr() };
        }
        let written = self.fragments.write_addresses(list, &child);
        let adopted =
            written.and_then(|()| switch.adopt(&mut child, list).map_err(|_| NotUntagged::NoMemory));
        match adopted {
            Ok(()) => {
                child.describe_untagged(tag, in_send_format);
                self.allocated.fetch_add(1, Ordering::Relaxed);
                Ok(child)
            }
            Err(why) => {
                self.free(child);
                Err(why)
            }
        }
    }
}

impl ListPool {
    /// Another frame of our own can be made.
    pub fn has_place(&self) -> bool {
        self.frames.has_place()
    }

    /// A frame with these bytes, from the default port, without a destination. `free_child` frees it. IRQL <= DISPATCH_LEVEL.
    pub fn originate(&self, switch: &Switch, bytes: &[u8]) -> Result<Nbl, NoFrame> {
        let place = self.frames.take().ok_or(NoFrame::Crowded)?;
        let Some(mut list) = self.describe(place, bytes) else {
            self.frames.give_back(place);
            return Err(NoFrame::Refused);
        };
        if switch.allocate_context(&mut list).is_err() {
            self.free(list);
            return Err(NoFrame::Refused);
        }
        list.mark_as_safe();
        self.allocated.fetch_add(1, Ordering::Relaxed);
        Ok(list)
    }

    /// A list without a context over these bytes at a place.
    fn describe(&self, place: usize, bytes: &[u8]) -> Option<Nbl> {
        let mdl = self.frames.write(place, bytes)?;
        // SAFETY: the MDL describes memory that is longer and belongs to the place until the list is freed.
        let list = unsafe {
            sys::NdisAllocateNetBufferAndNetBufferList(self.pool.as_ptr(), 0, 0, mdl, 0, bytes.len())
        };
        let list = NonNull::new(list)?;
        // SAFETY: just allocated, and owned by this function.
        unsafe {
            (*list.as_ptr()).source_handle = self.filter.handle();
            (*list.as_ptr()).parent = core::ptr::null_mut();
        }
        // SAFETY: as above.
        Some(unsafe { Nbl::from_raw(list) })
    }

    /// No NBL is allocated. A caller that owns a chain may rely on it: a child in the chain was counted before
    /// it was sent.
    pub fn none_out(&self) -> bool {
        self.allocated.load(Ordering::Relaxed) == 0
    }

    /// Frees a child or a frame of our own that is completed or was never sent, and returns its status.
    pub fn free_child(&self, switch: &Switch, mut child: Nbl) -> NdisStatus {
        let status = child.status();
        switch.release(&mut child);
        self.free(child);
        self.allocated.fetch_sub(1, Ordering::Relaxed);
        status
    }

    /// Frees an NBL without a forwarding context.
    fn free(&self, child: Nbl) {
        if self.fragments.has_made(&child) {
            return self.fragments.free(child);
        }
        // A frame of our own has no parent.
        let is_child = SplitParent::of(&child).is_some();
        let place = if is_child { None } else { self.frames.place_of(&child) };
        // SAFETY: from our pool, without a forwarding context.
        unsafe { sys::NdisFreeNetBufferList(child.into_raw().as_ptr()) };
        if let Some(place) = place {
            self.frames.give_back(place);
        }
    }
}

impl Drop for ListPool {
    fn drop(&mut self) {
        // SAFETY: every child is freed, because pause waits for them.
        unsafe { sys::NdisFreeNetBufferListPool(self.pool.as_ptr()) };
    }
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
