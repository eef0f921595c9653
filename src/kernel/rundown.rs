//! Rundown protection: "may I still enter?" and "wait until all have left", without a lock. Who is inside below APC_LEVEL is
//! in a critical region, so that it is not suspended there and the wait stays short (run-down-protection.md).

use super::pool::{PoolBox, Tag};
use super::sys;
use crate::ndis::{irql::Passive, status::OutOfMemory};
use core::cell::UnsafeCell;
use core::ffi::c_void;
use core::ptr::NonNull;

/// Keeps the calling thread from being suspended until it is dropped, on the same thread. Nothing from APC_LEVEL on, where
/// no thread is.
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
        let region = CriticalRegion::enter();
        // SAFETY: the object lives as long as `self`.
        (unsafe { sys::ExAcquireRundownProtectionCacheAware(self.0.as_ptr()) } != 0)
            .then(|| WalkGuard { rundown: Some(self), _region: region })
    }

    /// Gives back `count` references that `WalkGuard::keep` left: as many own lists are back and freed.
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
        // SAFETY: the caller gives up one reference.
        unsafe { sys::ExReleaseRundownProtectionCacheAware(self.0.as_ptr()) };
    }

    /// Refuses new entries and waits until everyone inside has left. May be called when closed already.
    pub fn close(&self, _: &Passive) {
        // SAFETY: the object lives as long as `self`; PASSIVE_LEVEL by the token.
        unsafe { sys::ExWaitForRundownProtectionReleaseCacheAware(self.0.as_ptr()) };
        // SAFETY: run down by the line above.
        unsafe { sys::ExRundownCompletedCacheAware(self.0.as_ptr()) };
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

/// The right to be inside a walk; leaving is dropping it, on the same thread.
pub struct WalkGuard<'a> {
    /// Nothing once the reference is kept.
    rundown: Option<&'a WalkRundown>,
    /// Left after the reference is given back.
    _region: CriticalRegion,
}

impl WalkGuard<'_> {
    /// Keeps the reference beyond the guard, for a list of our own; `WalkRundown::left` gives it back.
    pub(crate) fn keep(mut self) {
        self.rundown = None;
    }

    /// A second reference for something that outlives this walk. Refused once the wait has begun: then the thing must
    /// not be started.
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

/// Rundown around what else outlives a call and nothing else keeps attached: questions to members, requests that went
/// down. Closed once, at detach.
pub struct WorkRundown(PoolBox<UnsafeCell<sys::RundownRef>>);

// SAFETY: the object is made for use by all processors.
unsafe impl Send for WorkRundown {}
// SAFETY: as above.
unsafe impl Sync for WorkRundown {}

impl WorkRundown {
    /// Open.
    pub fn try_new(_: &Passive) -> Result<Self, OutOfMemory> {
        let rundown = PoolBox::try_new(Tag::RUNDOWN, UnsafeCell::new(sys::RundownRef(0)))?;
        // SAFETY: memory for one, in its final place; PASSIVE_LEVEL by the token.
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
    /// One call for each guard given away by `WorkGuard::keep`.
    pub(crate) unsafe fn adopt(&self) -> WorkGuard<'_> {
        WorkGuard { rundown: Some(self), _region: CriticalRegion::enter() }
    }

    /// Refuses new entries and waits until all have left.
    pub fn close(&self, _: &Passive) {
        // SAFETY: the object lives as long as `self`; PASSIVE_LEVEL by the token.
        unsafe { sys::ExWaitForRundownProtectionRelease(self.0.get()) };
    }
}

/// The right to be under way; dropped on the same thread.
pub struct WorkGuard<'a> {
    /// Nothing once the reference is kept.
    rundown: Option<&'a WorkRundown>,
    /// Left after the reference is given back.
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
