//! What only the image needs: the exported entry point, the panic handler and the global allocator. Together with the
//! lines for Windows in the two files `sys.rs` these are the only ones of the library that no native build compiles.

use super::sys::KeBugCheckEx;
use crate::ndis::raw::UnicodeString;
use core::ffi::c_void;

/// `MANUALLY_INITIATED_CRASH1`: a code that no other component raises; the first parameter says who did.
const BUG_CHECK: u32 = 0xDEAD_DEAD;
/// "lbfo" in a dump.
const SIGNATURE: usize = 0x6F66_626C;

/// No line of the driver allocates through it: all memory is had from `pool`, with tags.
#[global_allocator]
static POOL: wdk_alloc::WdkAllocator = wdk_alloc::WdkAllocator;

/// Stops the machine with the place of the panic: line, column, address of the file name. No formatting: it would bring
/// `core::fmt` into the image. No panic is reachable; `tests/files/image_checks.rs` holds the linker's map against that.
#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    let (line, column, file) = info.location().map_or((0, 0, 0), |place| {
        (place.line() as usize, place.column() as usize, place.file().as_ptr() as usize)
    });
    // SAFETY: callable at any IRQL.
    unsafe { KeBugCheckEx(BUG_CHECK, SIGNATURE, line, column, file) }
}

/// The image's entry point.
///
/// # Safety
/// Called by the I/O manager alone.
#[unsafe(export_name = "DriverEntry")]
unsafe extern "win64" fn driver_entry(
    driver_object: *mut c_void,
    registry_path: *const UnicodeString,
) -> i32 {
    // SAFETY: passed on as it came.
    unsafe { crate::entry::driver_entry(driver_object, registry_path) }
}
