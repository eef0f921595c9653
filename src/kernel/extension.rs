//! The driver-object extension, in which the driver stores the state that all its modules share. There is no mutable
//! static.

use super::sys;
use crate::ndis::irql::Passive;
use crate::ndis::status::NdisStatus;
use core::ffi::c_void;
use core::ptr::NonNull;

/// Allocates a `T` that is valid as long as the driver object, and initializes it. PASSIVE_LEVEL.
///
/// # Safety
/// `driver_object` is the one that DriverEntry got; `id` is an address inside the image that identifies no other
/// extension.
pub unsafe fn create<T>(
    driver_object: *mut c_void,
    id: *mut c_void,
    value: T,
    _: &Passive,
) -> Result<NonNull<T>, (NdisStatus, T)> {
    const { assert!(align_of::<T>() <= 8) };
    let mut extension = core::ptr::null_mut();
    // SAFETY: by the caller's promise; the result is checked.
    let status = unsafe {
        sys::IoAllocateDriverObjectExtension(driver_object, id, size_of::<T>() as u32, &mut extension)
    };
    if !sys::nt_success(status) {
        return Err((NdisStatus(status), value));
    }
    let Some(place) = NonNull::new(extension.cast::<T>()) else { return Err((NdisStatus::RESOURCES, value)) };
    // SAFETY: new memory of this size.
    unsafe { place.write(value) };
    Ok(place)
}

/// The extension that `create` made.
///
/// # Safety
/// As for `create`, with the same `T`.
pub unsafe fn find<T>(driver_object: *mut c_void, id: *mut c_void) -> Option<NonNull<T>> {
    // SAFETY: by the caller's promise.
    NonNull::new(unsafe { sys::IoGetDriverObjectExtension(driver_object, id) }).map(NonNull::cast)
}

/// Sets `DriverUnload` of the driver object.
///
/// # Safety
/// `driver_object` is the one that DriverEntry got.
pub unsafe fn set_unload(driver_object: *mut c_void, unload: unsafe extern "win64" fn(*mut c_void)) {
    /// Offset of `DriverUnload` in DRIVER_OBJECT on x86-64.
    const DRIVER_UNLOAD: usize = 104;
    // SAFETY: the driver object is 336 bytes long.
    let place = unsafe { driver_object.byte_add(DRIVER_UNLOAD) }
        .cast::<Option<unsafe extern "win64" fn(*mut c_void)>>();
    // SAFETY: as above, and ours to write during DriverEntry.
    unsafe { place.write(Some(unload)) };
}
