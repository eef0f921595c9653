//! Rundown protection: references that are refused from a certain time on, and a wait until all are released. A thread
//! below APC_LEVEL holds a reference in a critical region, so that it is not suspended meanwhile and the wait stays
//! short (run-down-protection.md).

use super::pool::{PoolBox, Tag};
use super::sys;
use crate::ndis::{irql::Passive, status::OutOfMemory};
use core::cell::UnsafeCell;
use core::ffi::c_void;
use core::ptr::NonNull;

/// A critical region of the calling thread, which is not suspended until this is dropped on the same thread. Does
/// nothing at APC_LEVEL or above, where no thread is suspended.
struct CriticalRegion(bool);

const APC_LEVEL: u8 = 1;

impl CriticalRegion {
    #[inline]
    fn enter() -> Self {
        // SAFETY: callable at any IRQL.
        let is_below = unsafe { sys::KeGetCurrentIrql() } < APC_LEVEL;
        if is_below {
            // SAFETY: IRQL <= APC_LEVEL; left on drop.
            unsafe { sys::KeEnterCriticalRegion() };
        }
        Self(is_below)
    }
}

impl Drop for CriticalRegion {
    #[inline]
    fn drop(&mut self) {
        if self.0 {
            // SAFETY: entered by `enter` on this thread, which is below APC_LEVEL again.
            unsafe { sys::KeLeaveCriticalRegion() };
        }
    }
}

/// Cache-aware rundown protection of the packet walks: open while the module runs, closed from pause to restart.
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
    /// Allocates the protection in the closed state.
    pub fn try_new(passive: &Passive) -> Result<Self, OutOfMemory> {
        // SAFETY: IRQL <= APC_LEVEL by the token; the result is checked.
        let rundown =
            unsafe { sys::ExAllocateCacheAwareRundownProtection(NON_PAGED_POOL_NX, Tag::RUNDOWN.0) };
        let this = Self(NonNull::new(rundown).ok_or(OutOfMemory)?);
        this.close(passive);
        Ok(this)
    }

    /// Takes a reference; `None` after `close`. IRQL <= DISPATCH_LEVEL.
    pub fn enter(&self) -> Option<WalkGuard<'_>> {
        let region = CriticalRegion::enter();
        // SAFETY: the object lives as long as `self`.
        (unsafe { sys::ExAcquireRundownProtectionCacheAware(self.0.as_ptr()) } != 0)
            .then(|| WalkGuard { rundown: Some(self), _region: region })
    }

    /// Releases `count` references that `WalkGuard::keep` kept, one for each child NBL that was freed.
    pub fn left(&self, count: u32) {
        if count == 0 {
            return;
        }
        let _region = CriticalRegion::enter();
        for _ in 0..count {
            self.leave();
        }
    }

    fn leave(&self) {
        // SAFETY: the caller releases one reference.
        unsafe { sys::ExReleaseRundownProtectionCacheAware(self.0.as_ptr()) };
    }

    /// Refuses new references and waits until all are released. May be called again when closed.
    pub fn close(&self, _: &Passive) {
        // SAFETY: the object lives as long as `self`; PASSIVE_LEVEL by the token.
        unsafe { sys::ExWaitForRundownProtectionReleaseCacheAware(self.0.as_ptr()) };
        // SAFETY: run down by the line above.
        unsafe { sys::ExRundownCompletedCacheAware(self.0.as_ptr()) };
    }

    /// Allows references again. Called only after `close`.
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

/// A reference that a packet walk holds; released on drop, on the same thread.
pub struct WalkGuard<'a> {
    /// `None` after `keep`.
    rundown: Option<&'a WalkRundown>,
    /// Dropped after the reference is released.
    _region: CriticalRegion,
}

impl WalkGuard<'_> {
    /// Keeps the reference for a child NBL; `WalkRundown::left` releases it.
    pub(crate) fn keep(mut self) {
        self.rundown = None;
    }

    /// A second reference, for a child NBL that outlives this walk. `None` after `close` was called: then no child may
    /// be sent.
    pub fn again(&self) -> Option<WalkGuard<'_>> {
        self.rundown?.enter()
    }
}

impl Drop for WalkGuard<'_> {
    fn drop(&mut self) {
        if let Some(rundown) = self.rundown {
            rundown.leave();
        }
    }
}

/// Rundown protection of work that outlives a call: queries to members, and requests that were sent down. Closed once,
/// at detach.
pub struct WorkRundown(PoolBox<UnsafeCell<sys::RundownRef>>);

// SAFETY: the object is made for use by all processors.
unsafe impl Send for WorkRundown {}
// SAFETY: as above.
unsafe impl Sync for WorkRundown {}

impl WorkRundown {
    /// Allocates the protection in the open state.
    pub fn try_new(_: &Passive) -> Result<Self, OutOfMemory> {
        let rundown = PoolBox::try_new(Tag::RUNDOWN, UnsafeCell::new(sys::RundownRef(0)))?;
        // SAFETY: the memory is large enough and does not move; PASSIVE_LEVEL by the token.
        unsafe { sys::ExInitializeRundownProtection(rundown.get()) };
        Ok(Self(rundown))
    }

    /// IRQL <= DISPATCH_LEVEL.
    pub fn enter(&self) -> Option<WorkGuard<'_>> {
        let region = CriticalRegion::enter();
        // SAFETY: the object lives as long as `self`.
        (unsafe { sys::ExAcquireRundownProtection(self.0.get()) } != 0)
            .then(|| WorkGuard { rundown: Some(self), _region: region })
    }

    /// # Safety
    /// One call for each reference that `WorkGuard::keep` kept.
    pub(crate) unsafe fn adopt(&self) -> WorkGuard<'_> {
        WorkGuard { rundown: Some(self), _region: CriticalRegion::enter() }
    }

    /// Refuses new references and waits until all are released.
    pub fn close(&self, _: &Passive) {
        // SAFETY: the object lives as long as `self`; PASSIVE_LEVEL by the token.
        unsafe { sys::ExWaitForRundownProtectionRelease(self.0.get()) };
    }
}

/// A reference that keeps the module attached; released on drop, on the same thread.
pub struct WorkGuard<'a> {
    /// `None` after `keep`.
    rundown: Option<&'a WorkRundown>,
    /// Dropped after the reference is released.
    _region: CriticalRegion,
}

impl WorkGuard<'_> {
    pub(crate) fn keep(mut self) {
        self.rundown = None;
    }
}

impl Drop for WorkGuard<'_> {
    fn drop(&mut self) {
        if let Some(rundown) = self.rundown {
            // SAFETY: one reference is held by the guard.
            unsafe { sys::ExReleaseRundownProtection(rundown.0.get()) };
        }
    }
}
