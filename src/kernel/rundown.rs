//! Rundown protection: "may I still enter?" and "wait until all have left", without a lock.

use super::{pool::Tag, sys};
use crate::ndis::{irql::Passive, status::OutOfMemory};
use core::cell::UnsafeCell;
use core::ffi::c_void;
use core::ptr::NonNull;

/// Per-processor rundown around the packet walks: open while the module runs, closed from pause to restart.
///
/// # Invariants
/// `closed()` has been the last transition before the protection is freed.
pub struct WalkRundown(NonNull<c_void>);

// SAFETY: the object is made for use by all processors.
unsafe impl Send for WalkRundown {}
// SAFETY: as above.
unsafe impl Sync for WalkRundown {}

/// `NonPagedPoolNx`.
const NON_PAGED_POOL_NX: i32 = 512;

impl WalkRundown {
    /// Allocated closed: nothing enters before `open`.
    pub fn try_new(passive: &Passive) -> Result<Self, OutOfMemory> {
        // SAFETY: IRQL <= APC_LEVEL by the token; the result is checked.
        let rundown =
            unsafe { sys::ExAllocateCacheAwareRundownProtection(NON_PAGED_POOL_NX, Tag::RUNDOWN.0) };
        let this = Self(NonNull::new(rundown).ok_or(OutOfMemory)?);
        this.close(passive);
        Ok(this)
    }

    /// Enters, unless `close` was called. IRQL <= DISPATCH_LEVEL.
    pub fn enter(&self) -> Option<WalkGuard<'_>> {
        // SAFETY: the object lives as long as `self`.
        (unsafe { sys::ExAcquireRundownProtectionCacheAware(self.0.as_ptr()) } != 0).then(|| WalkGuard(self))
    }

    /// Releases `count` references that `WalkGuard::keep` left, one for each child NBL that was freed.
    pub fn left(&self, count: u32) {
        for _ in 0..count {
            drop(WalkGuard(self));
        }
    }

    /// Refuses new entries and waits until everyone inside has left. May be called when closed already.
    pub fn close(&self, _: &Passive) {
        // SAFETY: the object lives as long as `self`; PASSIVE_LEVEL by the token.
        unsafe { sys::ExWaitForRundownProtectionReleaseCacheAware(self.0.as_ptr()) };
    }

    /// Lets walks in again; only after `close`.
    pub fn open(&self, _: &Passive) {
        // SAFETY: closed before, by the order of pause and restart.
        unsafe { sys::ExReInitializeRundownProtectionCacheAware(self.0.as_ptr()) };
    }
}

impl Drop for WalkRundown {
    fn drop(&mut self) {
        // SAFETY: closed and unreferenced, by the type's invariant.
        unsafe { sys::ExFreeCacheAwareRundownProtection(self.0.as_ptr()) };
    }
}

/// The right to be inside a walk; leaving is dropping it. May be released on another processor.
pub struct WalkGuard<'a>(&'a WalkRundown);

impl WalkGuard<'_> {
    /// Keeps the reference beyond the guard, for a child NBL; `WalkRundown::left` releases it.
    pub(crate) fn keep(self) {
        core::mem::forget(self);
    }

    /// A second reference, for a child NBL that outlives this walk. `None` once `close` waits: then no child may be
    /// sent.
    pub fn again(&self) -> Option<WalkGuard<'_>> {
        self.0.enter()
    }
}

impl Drop for WalkGuard<'_> {
    fn drop(&mut self) {
        // SAFETY: one reference is held by the guard.
        unsafe { sys::ExReleaseRundownProtectionCacheAware(self.0.0.as_ptr()) };
    }
}

/// Rundown protection for what outlives a call while NDIS would let the module detach: queries to members, timers,
/// registry notifications. Closed once, at detach.
pub struct WorkRundown(UnsafeCell<sys::RundownRef>);

// SAFETY: the object is made for use by all processors.
unsafe impl Send for WorkRundown {}
// SAFETY: as above.
unsafe impl Sync for WorkRundown {}

impl WorkRundown {
    /// The all-zero state is the documented initial one (what ExInitializeRundownProtection writes).
    pub const fn open() -> Self {
        Self(UnsafeCell::new(sys::RundownRef(0)))
    }

    /// IRQL <= DISPATCH_LEVEL.
    pub fn enter(&self) -> Option<WorkGuard<'_>> {
        // SAFETY: the object lives as long as `self`.
        (unsafe { sys::ExAcquireRundownProtection(self.0.get()) } != 0).then(|| WorkGuard(self))
    }

    /// # Safety
    /// One call for each guard given away by `WorkGuard::keep`.
    pub(crate) unsafe fn adopt(&self) -> WorkGuard<'_> {
        WorkGuard(self)
    }

    /// Refuses new entries and waits until all have left.
    pub fn close(&self, _: &Passive) {
        // SAFETY: the object lives as long as `self`; PASSIVE_LEVEL by the token.
        unsafe { sys::ExWaitForRundownProtectionRelease(self.0.get()) };
    }
}

pub struct WorkGuard<'a>(&'a WorkRundown);

impl WorkGuard<'_> {
    pub(crate) fn keep(self) {
        core::mem::forget(self);
    }
}

impl Drop for WorkGuard<'_> {
    fn drop(&mut self) {
        // SAFETY: one reference is held by the guard.
        unsafe { sys::ExReleaseRundownProtection(self.0.0.get()) };
    }
}
