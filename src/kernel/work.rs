//! A work item: something that has to be done at PASSIVE_LEVEL and was noticed above it.

use super::extension::DriverObject;
use super::rundown::WorkRundown;
use super::sys;
use crate::ndis::irql::Passive;
use crate::ndis::status::OutOfMemory;
use core::ffi::c_void;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicBool, Ordering};

/// Who has something done by a work item, and outlives its routine, which the rundown counts.
pub trait Deferred: Sync {
    /// PASSIVE_LEVEL, on a system thread. May run on two threads at once if it was queued again meanwhile.
    fn perform(&self, passive: &Passive);
    fn item(&self) -> &WorkItem;
    fn work(&self) -> &WorkRundown;
}

/// `DelayedWorkQueue`.
const DELAYED_WORK_QUEUE: i32 = 1;

/// # Invariants
/// One reference of the owner's work rundown is held from the moment it is queued until its routine ends.
pub struct WorkItem {
    item: NonNull<c_void>,
    /// It lies in a queue of the system, where it must not be put again.
    queued: AtomicBool,
}

// SAFETY: the item is made for all processors; it is only queued, by whoever set `queued`.
unsafe impl Send for WorkItem {}
// SAFETY: as above.
unsafe impl Sync for WorkItem {}

impl WorkItem {
    /// The system keeps the driver object, and with it the image, as long as a routine runs (IoQueueWorkItemEx).
    /// IRQL <= DISPATCH_LEVEL.
    pub fn try_new(driver: &DriverObject) -> Result<Self, OutOfMemory> {
        // SAFETY: the driver's own object, which the page takes as well as one of its devices.
        let item = unsafe { sys::IoAllocateWorkItem(driver.as_ptr()) };
        Ok(Self { item: NonNull::new(item).ok_or(OutOfMemory)?, queued: AtomicBool::new(false) })
    }

    /// Has the owner's work done soon, unless that is on its way already or the owner takes no work any more.
    /// IRQL <= DISPATCH_LEVEL.
    pub fn queue<T: Deferred>(owner: &T) {
        let Some(reference) = owner.work().enter() else { return };
        let this = owner.item();
        if this.queued.swap(true, Ordering::AcqRel) {
            return;
        }
        reference.keep();
        let context = core::ptr::from_ref(owner).cast_mut().cast::<c_void>();
        // SAFETY: not queued; the owner outlives the routine, because detach waits for the rundown.
        unsafe { sys::IoQueueWorkItemEx(this.item.as_ptr(), run::<T>, DELAYED_WORK_QUEUE, context) };
    }
}

impl Drop for WorkItem {
    fn drop(&mut self) {
        // SAFETY: not queued: the work rundown is closed.
        unsafe { sys::IoFreeWorkItem(self.item.as_ptr()) };
    }
}

unsafe extern "win64" fn run<T: Deferred>(_: *mut c_void, context: *mut c_void, _: *mut c_void) {
    // SAFETY: work items run at PASSIVE_LEVEL.
    let passive = unsafe { Passive::assume() };
    // SAFETY: the context is the owner that `queue` passed.
    let Some(owner) = (unsafe { context.cast::<T>().as_ref() }) else { return };
    // Whoever queues it from here on is not seen by this run.
    owner.item().queued.store(false, Ordering::Release);
    owner.perform(&passive);
    // SAFETY: this run's own reference; the last use of the owner.
    drop(unsafe { owner.work().adopt() });
}
