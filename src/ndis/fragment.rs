//! Packets without the 802.1Q tag in their bytes: fragments of an NBL that begin behind the tag, with the two addresses in
//! memory of their own in front. Nothing else is copied, and nothing of the original is written
//! (fragmented-net-buffer-list-structures.md).

use super::handle::Filter;
use super::mdl::{self, NotMapped};
use super::nbl::Nbl;
use super::raw::{NetBufferListPoolParameters, NetBufferPoolParameters, ObjectHeader, object_type};
use super::status::OutOfMemory;
use super::sys;
use crate::kernel::pool::Tag as PoolTag;
use core::ptr::NonNull;
use teaming::frame::untag::{ADDRESSES, TAG, TAGGED_HEADER, Tag};

/// Why a tag did not come off.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NotUntagged {
    NoMemory,
    /// There is none any more: the guest has changed the bytes since they were read.
    NoTag,
    NotMapped,
}

impl From<NotMapped> for NotUntagged {
    fn from(_: NotMapped) -> Self {
        Self::NotMapped
    }
}

/// The pools of the fragments.
pub struct FragmentPool {
    /// NET_BUFFER_LISTs without NET_BUFFERs.
    lists: NonNull<core::ffi::c_void>,
    buffers: NonNull<core::ffi::c_void>,
}

// SAFETY: NDIS synchronizes the pools; they may be used on every processor.
unsafe impl Send for FragmentPool {}
// SAFETY: as above.
unsafe impl Sync for FragmentPool {}

impl FragmentPool {
    /// IRQL <= DISPATCH_LEVEL.
    #[inline(never)] // a frame of its own
    pub fn try_new(filter: Filter) -> Result<Self, OutOfMemory> {
        let of_lists = NetBufferListPoolParameters {
            header: ObjectHeader::new(object_type::DEFAULT, 1, 16),
            pool_tag: PoolTag::LIST.0,
            ..NetBufferListPoolParameters::ZERO
        };
        let of_buffers = NetBufferPoolParameters {
            header: ObjectHeader::new(object_type::DEFAULT, 1, 12),
            pool_tag: PoolTag::LIST.0,
            ..NetBufferPoolParameters::ZERO
        };
        // SAFETY: the handle is the filter's own; the result is checked.
        let lists = unsafe { sys::NdisAllocateNetBufferListPool(filter.handle(), &of_lists) };
        let lists = NonNull::new(lists).ok_or(OutOfMemory)?;
        // SAFETY: as above.
        let buffers = unsafe { sys::NdisAllocateNetBufferPool(filter.handle(), &of_buffers) };
        let Some(buffers) = NonNull::new(buffers) else {
            // SAFETY: just allocated; no list is from it.
            unsafe { sys::NdisFreeNetBufferListPool(lists.as_ptr()) };
            return Err(OutOfMemory);
        };
        Ok(Self { lists, buffers })
    }

    /// The tag in the bytes of the only packet of a list, read once.
    pub(super) fn tag_of(list: &Nbl) -> Result<Tag, NotUntagged> {
        let packet = list.net_buffers().next().ok_or(NotUntagged::NoTag)?;
        if (packet.data_length() as usize) < TAGGED_HEADER {
            return Err(NotUntagged::NoTag);
        }
        let bytes = mdl::read_at::<TAG>(packet, ADDRESSES as u32)?.ok_or(NotUntagged::NoTag)?;
        Tag::read(bytes).ok_or(NotUntagged::NoTag)
    }

    /// The only packet of `list` without the tag; the addresses in front are still to be written.
    pub(super) fn fragment(&self, list: &Nbl) -> Result<Nbl, NotUntagged> {
        let length = list.net_buffers().next().map_or(0, |packet| packet.data_length());
        // SAFETY: the list is owned, and the pools are ours. The length allows for a single fragment.
        let fragment = unsafe {
            sys::NdisAllocateFragmentNetBufferList(
                list.as_ptr(),
                self.lists.as_ptr(),
                self.buffers.as_ptr(),
                (ADDRESSES + TAG) as u32,
                length,
                ADDRESSES as u32,
                0,
                0,
            )
        };
        // SAFETY: just allocated, and owned by the caller from now on.
        NonNull::new(fragment).map(|list| unsafe { Nbl::from_raw(list) }).ok_or(NotUntagged::NoMemory)
    }

    /// Copies the addresses of `list` into the front of its fragment. The front is NDIS's to provide: in memory that it
    /// allocates, unless there is room before the data (nf-nblapi-ndisallocatefragmentnetbufferlist.md). Room in the
    /// memory of `list` is not ours to write; then there counts as none.
    pub(super) fn write_addresses(&self, list: &Nbl, fragment: &Nbl) -> Result<(), NotUntagged> {
        let (Some(from), Some(to)) = (list.net_buffers().next(), fragment.net_buffers().next()) else {
            return Err(NotUntagged::NoMemory);
        };
        if !mdl::begins_apart(to, ADDRESSES, from) {
            return Err(NotUntagged::NoMemory);
        }
        // SAFETY: the front of the fragment is in memory of its own, which nobody knows yet.
        let copied = unsafe { mdl::copy_front(from, to, ADDRESSES) }?;
        if copied == ADDRESSES { Ok(()) } else { Err(NotUntagged::NoMemory) }
    }

    /// Whether a list is from these pools (nf-nblapi-ndisgetpoolfromnetbufferlist.md).
    pub(super) fn has_made(&self, list: &Nbl) -> bool {
        // SAFETY: the list is owned.
        (unsafe { (*list.as_ptr()).ndis_pool_handle }) == self.lists.as_ptr()
    }

    pub(super) fn free(&self, fragment: Nbl) {
        // SAFETY: made by `fragment` with this offset, without a forwarding context.
        unsafe { sys::NdisFreeFragmentNetBufferList(fragment.into_raw().as_ptr(), ADDRESSES as u32, 0) };
    }
}

impl Drop for FragmentPool {
    fn drop(&mut self) {
        // SAFETY: every fragment is freed, because pause waits for them.
        unsafe {
            sys::NdisFreeNetBufferPool(self.buffers.as_ptr());
            sys::NdisFreeNetBufferListPool(self.lists.as_ptr());
        }
    }
}
