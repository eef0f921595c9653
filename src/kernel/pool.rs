//! Non-paged pool memory with tags. Every allocation may fail; none is made on the packet path.

use super::sys::{self, PoolFlags};
use crate::ndis::status::OutOfMemory;
use core::ffi::c_void;
use core::ops::{Deref, DerefMut};
use core::ptr::NonNull;
use core::sync::atomic::{AtomicPtr, Ordering};

/// A pool tag; a pool dump shows its four characters in this order.
#[derive(Clone, Copy)]
pub struct Tag(pub u32);

impl Tag {
    const fn new(text: [u8; 4]) -> Self {
        Self(u32::from_le_bytes(text))
    }
    /// The state of one filter module.
    pub const MODULE: Self = Self::new(*b"LbfM");
    /// Tables: buckets, ports, addresses, VLANs, offload resources, counters, events.
    pub const TABLE: Self = Self::new(*b"LbfT");
    /// Buffers of requests that the driver originates.
    pub const REQUEST: Self = Self::new(*b"LbfQ");
    /// Clones of requests from above.
    pub const CLONE: Self = Self::new(*b"LbfC");
    /// Child NBLs.
    pub const LIST: Self = Self::new(*b"LbfL");
    /// Settings and the notification of their changes.
    pub const SETTINGS: Self = Self::new(*b"LbfS");
    /// Saved and restored run-time state.
    pub const STATE: Self = Self::new(*b"LbfD");
    /// Timers.
    pub const TIMER: Self = Self::new(*b"LbfI");
    /// Rundown protection.
    pub const RUNDOWN: Self = Self::new(*b"LbfR");
    /// The module's thread and what it waits for.
    pub const THREAD: Self = Self::new(*b"LbfW");
}

/// Alignment of ExAllocatePool2, in bytes.
const POOL_ALIGNMENT: usize = 16;

fn allocate(bytes: usize, tag: Tag) -> Result<NonNull<c_void>, OutOfMemory> {
    // SAFETY: callable at IRQL <= DISPATCH_LEVEL for non-paged memory; the result is checked.
    let pointer = unsafe { sys::ExAllocatePool2(PoolFlags::NON_PAGED.bits(), bytes.max(1), tag.0) };
    NonNull::new(pointer).ok_or(OutOfMemory)
}

/// One value in non-paged pool.
pub struct PoolBox<T> {
    value: NonNull<T>,
    tag: Tag,
}

// SAFETY: the box owns its value, and pool memory belongs to no thread.
unsafe impl<T: Send> Send for PoolBox<T> {}
// SAFETY: as for a reference to the value.
unsafe impl<T: Sync> Sync for PoolBox<T> {}

impl<T> PoolBox<T> {
    /// IRQL <= DISPATCH_LEVEL.
    pub fn try_new(tag: Tag, value: T) -> Result<Self, OutOfMemory> {
        const { assert!(align_of::<T>() <= POOL_ALIGNMENT) };
        let memory = allocate(size_of::<T>(), tag)?.cast::<T>();
        // SAFETY: the memory is new, large enough and aligned.
        unsafe { memory.write(value) };
        Ok(Self { value: memory, tag })
    }

    /// The same for a large value, which is made in its place and not on the stack. The memory is had first.
    #[inline(always)]
    pub fn try_make(tag: Tag, make: impl FnOnce() -> T) -> Result<Self, OutOfMemory> {
        const { assert!(align_of::<T>() <= POOL_ALIGNMENT) };
        let memory = allocate(size_of::<T>(), tag)?.cast::<T>();
        // SAFETY: as in `try_new`.
        unsafe { memory.as_ptr().write(make()) };
        Ok(Self { value: memory, tag })
    }

    /// Releases the value as a raw pointer, which `from_raw` takes over again.
    pub fn into_raw(this: Self) -> *mut T {
        let pointer = this.value.as_ptr();
        core::mem::forget(this);
        pointer
    }

    /// # Safety
    /// `pointer` came from `into_raw` of a box with this tag, and nothing else uses it any more.
    pub unsafe fn from_raw(pointer: NonNull<T>, tag: Tag) -> Self {
        Self { value: pointer, tag }
    }
}

impl<T> Deref for PoolBox<T> {
    type Target = T;
    fn deref(&self) -> &T {
        // SAFETY: the pointer is valid and owned as long as the box lives.
        unsafe { self.value.as_ref() }
    }
}

impl<T> DerefMut for PoolBox<T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as above, and the box is borrowed mutably.
        unsafe { self.value.as_mut() }
    }
}

impl<T> Drop for PoolBox<T> {
    fn drop(&mut self) {
        // SAFETY: the value is initialized and not used afterwards.
        unsafe { self.value.drop_in_place() };
        // SAFETY: allocated with this tag in `try_new`.
        unsafe { sys::ExFreePoolWithTag(self.value.as_ptr().cast(), self.tag.0) };
    }
}

/// A value that is set once and then read without a lock.
pub struct OnceBox<T> {
    value: AtomicPtr<T>,
    tag: Tag,
}

impl<T> OnceBox<T> {
    pub const fn empty(tag: Tag) -> Self {
        Self { value: AtomicPtr::new(core::ptr::null_mut()), tag }
    }

    pub fn get(&self) -> Option<&T> {
        // SAFETY: set by `set` to a value that lives as long as `self`.
        unsafe { self.value.load(Ordering::Acquire).as_ref() }
    }

    /// Sets the value unless one is set already, and returns the value that is set. IRQL <= DISPATCH_LEVEL.
    pub fn set(&self, value: T) -> Result<&T, OutOfMemory> {
        let new = PoolBox::into_raw(PoolBox::try_new(self.tag, value)?);
        let none = core::ptr::null_mut();
        if self.value.compare_exchange(none, new, Ordering::AcqRel, Ordering::Acquire).is_err() {
            // SAFETY: made above, and not published.
            drop(unsafe { take(new, self.tag) });
        }
        self.get().ok_or(OutOfMemory)
    }
}

impl<T> Drop for OnceBox<T> {
    fn drop(&mut self) {
        // SAFETY: made by `set`, and not borrowed, since `self` is borrowed mutably.
        drop(unsafe { take(*self.value.get_mut(), self.tag) });
    }
}

/// # Safety
/// As for `PoolBox::from_raw`, if not null.
unsafe fn take<T>(pointer: *mut T, tag: Tag) -> Option<PoolBox<T>> {
    // SAFETY: by the caller's promise.
    NonNull::new(pointer).map(|pointer| unsafe { PoolBox::from_raw(pointer, tag) })
}

/// A slice of fixed length in non-paged pool.
pub struct PoolSlice<T> {
    first: NonNull<T>,
    len: usize,
    /// Start of the allocation; before `first` only if the elements need a larger alignment than the pool's.
    base: NonNull<c_void>,
    tag: Tag,
}

// SAFETY: as for `PoolBox`.
unsafe impl<T: Send> Send for PoolSlice<T> {}
// SAFETY: as for `PoolBox`.
unsafe impl<T: Sync> Sync for PoolSlice<T> {}

impl<T> PoolSlice<T> {
    /// Allocates `len` elements and initializes each with `element(index)`. IRQL <= DISPATCH_LEVEL.
    pub fn try_new(tag: Tag, len: usize, element: impl Fn(usize) -> T) -> Result<Self, OutOfMemory> {
        let slack = align_of::<T>().saturating_sub(POOL_ALIGNMENT);
        let bytes = size_of::<T>().checked_mul(len).and_then(|b| b.checked_add(slack)).ok_or(OutOfMemory)?;
        let base = allocate(bytes, tag)?;
        // SAFETY: `slack` bytes more were allocated than the elements need.
        let first =
            unsafe { base.byte_add(base.as_ptr().cast::<u8>().align_offset(align_of::<T>()).min(slack)) };
        let first = first.cast::<T>();
        for index in 0..len {
            // SAFETY: `index` lies inside the allocation.
            let place = unsafe { first.add(index) };
            // SAFETY: the memory is new, large enough and aligned.
            unsafe { place.write(element(index)) };
        }
        Ok(Self { first, len, base, tag })
    }
}

impl<T: Copy + Default> PoolSlice<T> {
    /// A slice of the elements of an iterator, which is run twice: to count and to copy. IRQL <= DISPATCH_LEVEL.
    pub fn collect(tag: Tag, elements: impl Iterator<Item = T> + Clone) -> Result<Self, OutOfMemory> {
        let mut slice = Self::try_new(tag, elements.clone().count(), |_| T::default())?;
        slice.iter_mut().zip(elements).for_each(|(place, element)| *place = element);
        Ok(slice)
    }
}

impl<T> Deref for PoolSlice<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        // SAFETY: `len` initialised elements lie at `first` as long as the slice lives.
        unsafe { core::slice::from_raw_parts(self.first.as_ptr(), self.len) }
    }
}

impl<T> DerefMut for PoolSlice<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as above, and the slice is borrowed mutably.
        unsafe { core::slice::from_raw_parts_mut(self.first.as_ptr(), self.len) }
    }
}

impl<T> Drop for PoolSlice<T> {
    fn drop(&mut self) {
        let elements: *mut [T] = &mut **self;
        // SAFETY: the elements are initialized and not used afterwards.
        unsafe { elements.drop_in_place() };
        // SAFETY: allocated with this tag in `try_new`.
        unsafe { sys::ExFreePoolWithTag(self.base.as_ptr(), self.tag.0) };
    }
}

/// Pool memory as the storage of the core's tables (`ndis::host`).
pub struct Pool;
