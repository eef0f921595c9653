//! A one-shot timer whose handler runs as long as the module accepts work.

use super::handle::Filter;
use super::irql::Dispatch;
use super::raw::{Handle, ObjectHeader, TimerCharacteristics, TimerFunction, object_type};
use super::status::{NdisStatus, OutOfMemory};
use super::sys;
use crate::kernel::pool::Tag;
use crate::kernel::rundown::WorkRundown;
use core::ffi::c_void;
use core::ptr::NonNull;
use teaming::ids::Ticks;

/// What the timer calls; the owner outlives the timer.
pub trait Expire: Sync {
    /// At DISPATCH_LEVEL.
    fn expire(&self, dispatch: &Dispatch);
    /// Counts the timer that is set: detach waits for it.
    fn work(&self) -> &WorkRundown;
}

/// # Invariants
/// One reference of the owner's work rundown is held for each expiry that is still to come.
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

    /// Lets the timer expire once, `after` from now, instead of when it was set to before. Does nothing once the
    /// owner accepts no work any more. IRQL <= DISPATCH_LEVEL.
    pub fn set<T: Expire>(&self, owner: &T, after: Ticks) {
        let Some(reference) = owner.work().enter() else { return };
        let owner = core::ptr::from_ref(owner).cast_mut().cast::<c_void>();
        let due = i64::try_from(after.get().max(1)).unwrap_or(i64::MAX);
        // SAFETY: the owner outlives every expiry because detach waits for the work rundown.
        let was_set = unsafe { sys::NdisSetTimerObject(self.0.as_ptr(), -due, 0, owner) };
        if was_set == 0 {
            reference.keep();
        }
    }

    /// No expiry begins after this, except one that is on its way already.
    pub fn cancel<T: Expire>(&self, owner: &T) {
        // SAFETY: the handle is valid until drop.
        if unsafe { sys::NdisCancelTimerObject(self.0.as_ptr()) } != 0 {
            // SAFETY: the expiry that held this reference will not come.
            drop(unsafe { owner.work().adopt() });
        }
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        // SAFETY: not set: the work rundown is closed.
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
    // SAFETY: this expiry's own reference.
    drop(unsafe { owner.work().adopt() });
}
