//! DriverEntry and DriverUnload.

use crate::kernel::error_log::ErrorLog;
use crate::kernel::etw::Provider;
use crate::kernel::extension;
use crate::module::{Driver, EXTENSION_ID, FRIENDLY_NAME, Module, copy};
use crate::ndis::filter::{Names, deregister, register};
use crate::ndis::host::HostTable;
use crate::ndis::irql::Passive;
use crate::ndis::raw::UnicodeString;
use crate::ndis::status::NdisStatus;
use crate::text::utf16;
use core::ffi::c_void;
use core::sync::atomic::{AtomicPtr, Ordering};

const NAMES: Names = Names { friendly: FRIENDLY_NAME, unique: EXTENSION_ID, service: &utf16(b"lbfoext") };

/// DriverEntry. PASSIVE_LEVEL.
///
/// # Safety
/// `driver_object` and `registry_path` are those that the I/O manager passes.
pub unsafe extern "win64" fn driver_entry(
    driver_object: *mut c_void,
    registry_path: *const UnicodeString,
) -> i32 {
    // SAFETY: the I/O manager calls this at PASSIVE_LEVEL.
    let passive = unsafe { Passive::assume() };
    // SAFETY: by the caller's promise.
    let started = unsafe { start(driver_object, registry_path, &passive) };
    NdisStatus::from(started).0
}

/// # Safety
/// As for `driver_entry`.
unsafe fn start(
    driver_object: *mut c_void,
    registry_path: *const UnicodeString,
    passive: &Passive,
) -> Result<(), NdisStatus> {
    // SAFETY: valid for the call.
    let path = unsafe { registry_path.as_ref() }.ok_or(NdisStatus::INVALID_PARAMETER)?;
    // SAFETY: as above.
    let registry_path = copy(unsafe { path.text() })?;
    let (handle, log) = (AtomicPtr::new(core::ptr::null_mut()), ErrorLog::new(driver_object));
    let provider = Provider::unregistered();
    let driver = Driver { handle, log, provider, registry_path, host: HostTable::try_new()? };
    // SAFETY: the driver object is this driver's; the address of `driver_entry` identifies the extension.
    let driver = unsafe { extension::create(driver_object, id(), driver, passive) };
    let driver = driver.map_err(|(status, driver)| {
        drop(driver);
        status
    })?;
    // SAFETY: the extension was written above and lives as long as the driver object.
    let shared = unsafe { driver.as_ref() };
    // What is refused now is tried again by the threads of modules.
    shared.provider.register(passive);
    let handle = shared.handle.as_ptr();
    // SAFETY: the driver object is this driver's. NDIS may call FilterAttach before `register` returns, so everything
    // is initialized here.
    unsafe { extension::set_unload(driver_object, unload) };
    // SAFETY: the extension outlives the registration; NDIS writes the handle.
    let registered = unsafe { register::<Module>(driver_object, driver, handle, &NAMES) };
    if registered != NdisStatus::SUCCESS {
        // SAFETY: the registration failed, so nothing else refers to the extension.
        unsafe { driver.drop_in_place() };
    }
    registered.ok()
}

/// DriverUnload: after the deregistration no handler runs any more. PASSIVE_LEVEL.
unsafe extern "win64" fn unload(driver_object: *mut c_void) {
    // SAFETY: created by `start` with the same identifier.
    let Some(driver) = (unsafe { extension::find::<Driver>(driver_object, id()) }) else { return };
    // SAFETY: the extension is valid as long as the driver object.
    deregister(unsafe { driver.as_ref() }.handle.load(Ordering::Acquire));
    // SAFETY: every module is detached; the I/O manager frees the memory. PASSIVE_LEVEL, as the provider needs.
    unsafe { driver.drop_in_place() };
}

fn id() -> *mut c_void {
    driver_entry as *mut c_void
}
