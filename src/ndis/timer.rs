//! A one-shot timer.

use super::handle::Filter;
use super::irql::{Dispatch, Passive};
use super::raw::{Handle, ObjectHeader, TimerCharacteristics, TimerFunction, object_type};
use super::status::{NdisStatus, OutOfMemory};
use super::sys;
use crate::kernel::pool::Tag;
use crate::kernel::sys::KeFlushQueuedDpcs;
use core::ffi::c_void;
use core::ptr::NonNull;
use teaming::ids::Ticks;

/// The handler of the timer. The owner outlives the timer.
pub trait Expire: Sync {
    /// DISPATCH_LEVEL.
    fn expire(&self, dispatch: &Dispatch);
}

/// # Invariants
/// The timer is stopped before it is dropped, and not set afterwards.
pub struct Timer(NonNull<c_void>);

// SAFETY: NDIS synchronizes the timer; it may be used on every processor.
unsafe impl Send for Timer {}
// SAFETY: as above.
unsafe impl Sync for Timer {}

impl Timer {
    /// IRQL <= DISPATCH_LEVEL.
    #[inline(never)] // a frame of its own
    pub fn try_new<T: Expire>(filter: Filter) -> Result<Self, NdisStatus> {
        let mut characteristics = TimerCharacteristics {
            header: ObjectHeader::new(object_type::TIMER_CHARACTERISTICS, 1, 24),
            allocation_tag: Tag::TIMER.0,
            timer_function: Some(expired::<T> as TimerFunction),
            function_context: core::ptr::null_mut(),
        };
        let mut handle: Handle = core::ptr::null_mut();
        // SAFETY: both arguments are valid for the call.
        NdisStatus(unsafe {
            sys::NdisAllocateTimerObject(filter.handle(), &mut characteristics, &mut handle)
        })
        .ok()?;
        Ok(Self(NonNull::new(handle).ok_or(OutOfMemory)?))
    }

    /// Sets the timer to expire once, `after` from now, and replaces an earlier setting. IRQL <= DISPATCH_LEVEL.
    ///
    /// The owner must not set the timer any more once `stop` is called; a flag under its lock ensures that.
    pub fn set<T: Expire>(&self, owner: &T, after: Ticks) {
        let owner = core::ptr::from_ref(owner).cast_mut().cast::<c_void>();
        let due = i64::try_from(after.get().max(1)).unwrap_or(i64::MAX);
        // SAFETY: the owner outlives every expiry, because it stops the timer before it is freed.
        unsafe { sys::NdisSetTimerObject(self.0.as_ptr(), -due, 0, owner) };
    }

    /// Cancels the timer and waits until a running handler has returned. NdisCancelTimerObject does not wait for the
    /// DPC of a one-shot timer (nf-ndis-ndiscanceltimerobject.md), and a handler that signals its own end would still
    /// have to return; KeFlushQueuedDpcs waits for it. No lock held; the timer is not set afterwards.
    pub fn stop(&self, _: &Passive) {
        // SAFETY: the handle is valid until drop.
        unsafe { sys::NdisCancelTimerObject(self.0.as_ptr()) };
        // SAFETY: PASSIVE_LEVEL by the token.
        unsafe { KeFlushQueuedDpcs() };
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        // SAFETY: neither set nor running: stopped, by the type's invariant.
        unsafe { sys::NdisFreeTimerObject(self.0.as_ptr()) };
    }
}

unsafe extern "win64" fn expired<T: Expire>(
    _: *mut c_void,
    context: *mut c_void,
    _: *mut c_void,
    _: *mut c_void,
) {
    // SAFETY: NDIS calls timer functions at DISPATCH_LEVEL.
    let dispatch = unsafe { Dispatch::assume() };
    // SAFETY: the context is the owner that `set` passed.
    let Some(owner) = (unsafe { context.cast::<T>().as_ref() }) else { return };
    owner.expire(&dispatch);
}
