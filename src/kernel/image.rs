//! Code of the image only: the exported entry point, the panic handler and the global allocator. Native builds compile
//! everything else except the `cfg(windows)` lines of the two files `sys.rs`.

use super::sys::KeBugCheckEx;
use crate::ndis::raw::UnicodeString;
use core::ffi::c_void;

/// `MANUALLY_INITIATED_CRASH1`; the first parameter of the bug check, `SIGNATURE`, identifies this driver.
const BUG_CHECK: u32 = 0xDEAD_DEAD;
/// "lbfo" in a dump.
const SIGNATURE: usize = 0x6F66_626C;

/// Required by the linker, but never called: the driver allocates all its memory with `pool`, under its own tags.
#[global_allocator]
static POOL: wdk_alloc::WdkAllocator = wdk_alloc::WdkAllocator;

/// Bug-checks with the location of the panic: line, column, address of the file name. Formatting a message would bring
/// `core::fmt` into the image. No panic is reachable; `tests/files/image_checks.rs` checks this in the linker's map.
#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    let (line, column, file) = info.location().map_or((0, 0, 0), |place| {
        (place.line() as usize, place.column() as usize, place.file().as_ptr() as usize)
    });
    // SAFETY: callable at any IRQL.
    unsafe { KeBugCheckEx(BUG_CHECK, SIGNATURE, line, column, file) }
}

/// The entry point of the image.
///
/// # Safety
/// Only the I/O manager calls it.
#[unsafe(export_name = "DriverEntry")]
unsafe extern "win64" fn driver_entry(
    driver_object: *mut c_void,
    registry_path: *const UnicodeString,
) -> i32 {
    // SAFETY: the arguments of the I/O manager, unchanged.
    unsafe { crate::entry::driver_entry(driver_object, registry_path) }
}
