//! Events for waits of a thread: one in the driver's memory, and one with a handle. Both are synchronization events,
//! which a successful wait resets.

use super::pool::{PoolBox, Tag};
use super::sys::{self, KEvent, ObjectAttributes, ObjectFlags};
use crate::ndis::irql::Passive;
use crate::ndis::status::OutOfMemory;
use core::cell::UnsafeCell;
use core::ffi::c_void;
use teaming::ids::Ticks;

const SYNCHRONIZATION_EVENT: i32 = 1;
const EVENT_ALL_ACCESS: u32 = 0x1F_0003;
const WAIT_ANY: i32 = 1;
/// `Executive`.
const WAIT_REASON: i32 = 0;
const KERNEL_MODE: i8 = 0;
const SECOND_OBJECT: i32 = 1;

/// Attributes of an unnamed object with a kernel handle.
pub(super) const fn unnamed() -> ObjectAttributes {
    ObjectAttributes {
        length: size_of::<ObjectAttributes>() as u32,
        root_directory: core::ptr::null_mut(),
        object_name: core::ptr::null(),
        attributes: ObjectFlags::KERNEL_HANDLE,
        security_descriptor: core::ptr::null_mut(),
        security_quality_of_service: core::ptr::null_mut(),
    }
}

/// An event in non-paged memory that does not move (KeInitializeEvent).
pub struct Event(PoolBox<UnsafeCell<KEvent>>);

// SAFETY: the kernel's functions synchronise all access to the event.
unsafe impl Send for Event {}
// SAFETY: as above.
unsafe impl Sync for Event {}

impl Event {
    /// A new event, not set. IRQL <= DISPATCH_LEVEL.
    pub fn try_new() -> Result<Self, OutOfMemory> {
        let event = PoolBox::try_new(Tag::THREAD, UnsafeCell::new(KEvent([0; 3])))?;
        // SAFETY: the memory is large enough and does not move.
        unsafe { sys::KeInitializeEvent(event.get(), SYNCHRONIZATION_EVENT, 0) };
        Ok(Self(event))
    }

    /// Sets the event. IRQL <= DISPATCH_LEVEL.
    pub fn set(&self) {
        // SAFETY: initialised by `try_new`.
        unsafe { sys::KeSetEvent(self.0.get(), 0, 0) };
    }

    /// Waits for this event or the other, at most `longest`. Returns whether the other was set.
    pub fn wait_with(&self, other: Option<&EventHandle>, longest: Option<Ticks>, _: &Passive) -> bool {
        let mut objects = [self.0.get().cast(), other.map_or(core::ptr::null_mut(), |other| other.object)];
        // Relative times are negative; 0 would not wait.
        let mut timeout = longest.map(|span| -i64::try_from(span.get().max(1)).unwrap_or(i64::MAX));
        let timeout = timeout.as_mut().map_or(core::ptr::null_mut(), core::ptr::from_mut);
        let count = 1 + u32::from(other.is_some());
        // SAFETY: PASSIVE_LEVEL by the token; the objects are initialised events that outlive the call. Two objects
        // need no wait blocks of the caller (KeWaitForMultipleObjects).
        let status = unsafe {
            sys::KeWaitForMultipleObjects(
                count,
                objects.as_mut_ptr(),
                WAIT_ANY,
                WAIT_REASON,
                KERNEL_MODE,
                0,
                timeout,
                core::ptr::null_mut(),
            )
        };
        status == SECOND_OBJECT
    }
}

/// An event with a handle (ZwCreateEvent), for functions that set an event by handle, and a reference to its object
/// for waits.
pub struct EventHandle {
    handle: *mut c_void,
    object: *mut c_void,
}

// SAFETY: handle and object are the kernel's, and its functions synchronise.
unsafe impl Send for EventHandle {}

impl EventHandle {
    /// A new event, not set; `None` if it cannot be created.
    pub fn try_new(_: &Passive) -> Option<Self> {
        let mut handle = core::ptr::null_mut();
        // SAFETY: PASSIVE_LEVEL by the token; everything lives through the call.
        let status = unsafe {
            sys::ZwCreateEvent(&mut handle, EVENT_ALL_ACCESS, &mut unnamed(), SYNCHRONIZATION_EVENT, 0)
        };
        if !sys::nt_success(status) {
            return None;
        }
        let mut this = Self { handle, object: core::ptr::null_mut() };
        // SAFETY: an event's handle, made above in kernel mode.
        let status = unsafe {
            sys::ObReferenceObjectByHandle(
                handle,
                EVENT_ALL_ACCESS,
                core::ptr::null_mut(),
                KERNEL_MODE,
                &mut this.object,
                core::ptr::null_mut(),
            )
        };
        sys::nt_success(status).then_some(this)
    }

    pub(super) fn handle(&self) -> *mut c_void {
        self.handle
    }

    /// Resets the event.
    pub(super) fn reset(&self, _: &Passive) {
        let (mut object, mut at_once) = (self.object, 0);
        // SAFETY: the object is referenced; a wait with timeout 0 returns at once and resets the event if it is set.
        unsafe {
            sys::KeWaitForMultipleObjects(
                1,
                &mut object,
                WAIT_ANY,
                WAIT_REASON,
                KERNEL_MODE,
                0,
                &mut at_once,
                core::ptr::null_mut(),
            )
        };
    }
}

impl Drop for EventHandle {
    fn drop(&mut self) {
        if !self.object.is_null() {
            // SAFETY: referenced by `try_new`, once.
            unsafe { sys::ObfDereferenceObject(self.object) };
        }
        // SAFETY: opened by `try_new`, closed once, at PASSIVE_LEVEL, where its owner lives.
        unsafe { sys::ZwClose(self.handle) };
    }
}
