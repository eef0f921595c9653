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

/// What the timer calls; the owner outlives the timer.
pub trait Expire: Sync {
    /// At DISPATCH_LEVEL.
    fn expire(&self, dispatch: &Dispatch);
}

/// # Invariants
/// Stopped before it is dropped, and not set afterwards.
pub struct Timer(NonNull<c_void>);

// SAFETY: the timer is made for all processors.
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

    /// Lets the timer expire once, `after` from now, instead of when it was set to before. IRQL <= DISPATCH_LEVEL.
    ///
    /// The owner sees to it that nobody sets the timer once it is being stopped: by a flag under the lock that this is
    /// called under.
    pub fn set<T: Expire>(&self, owner: &T, after: Ticks) {
        let owner = core::ptr::from_ref(owner).cast_mut().cast::<c_void>();
        let due = i64::try_from(after.get().max(1)).unwrap_or(i64::MAX);
        // SAFETY: the owner outlives every expiry because it stops the timer before it goes.
        unsafe { sys::NdisSetTimerObject(self.0.as_ptr(), -due, 0, owner) };
    }

    /// Takes back what was set and waits for a handler that runs, its last instruction included. A handler of a one-shot
    /// timer is a DPC that cancelling does not wait for (nf-ndis-ndiscanceltimerobject.md); one that signals its own end
    /// still has to return. No lock held, and nobody sets the timer any more.
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
