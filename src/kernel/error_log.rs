//! Entries of the System event log (writing-to-the-system-event-log.md). Their texts are in the message table of the image,
//! which `build/messages.rs` makes.

use super::sys;
use crate::ndis::irql::Passive;
use crate::ndis::raw::ErrorLogPacket;
use core::ffi::c_void;
use core::sync::atomic::{AtomicPtr, Ordering};
use teaming::event::catalog::EventKind;
use teaming::event::log_entry::{Strings, UNITS};

/// ERROR_LOG_MAXIMUM_SIZE on 64-bit systems.
const MOST: usize = 0xF0;
const HEADER: usize = size_of::<ErrorLogPacket>();
const _: () = assert!(HEADER + UNITS * size_of::<u16>() < MOST && MOST <= u8::MAX as usize);

/// Where the driver's entries go: the driver object names their source.
pub struct ErrorLog(AtomicPtr<c_void>);

impl ErrorLog {
    /// The driver object lives as long as the driver.
    pub const fn new(driver_object: *mut c_void) -> Self {
        Self(AtomicPtr::new(driver_object))
    }

    /// The same log for a module.
    pub fn share(&self) -> Self {
        Self::new(self.0.load(Ordering::Relaxed))
    }

    /// Writes an entry; whether the system had memory for it, without which the driver carries on
    /// (nf-wdm-ioallocateerrorlogentry). Both functions are callable up to DISPATCH_LEVEL; PASSIVE_LEVEL keeps them out of
    /// locks.
    pub fn write(&self, kind: &EventKind, strings: &Strings, _: &Passive) -> bool {
        let units = strings.units();
        let bytes = size_of_val(units);
        let Ok(size) = u8::try_from(HEADER.saturating_add(bytes)) else { return false };
        // SAFETY: the driver's own object; the size is below ERROR_LOG_MAXIMUM_SIZE.
        let entry = unsafe { sys::IoAllocateErrorLogEntry(self.0.load(Ordering::Relaxed), size) };
        if entry.is_null() {
            return false;
        }
        let packet = ErrorLogPacket {
            number_of_strings: strings.count,
            string_offset: HEADER as u16,
            error_code: kind.error_code().cast_signed(),
            unique_error_value: kind.id.into(),
            ..ErrorLogPacket::ZERO
        };
        // SAFETY: the entry has room for the packet; whatever its alignment.
        unsafe { entry.cast::<ErrorLogPacket>().write_unaligned(packet) };
        // SAFETY: the strings lie behind the packet, in the bytes that the size includes.
        unsafe {
            core::ptr::copy_nonoverlapping(units.as_ptr().cast::<u8>(), entry.cast::<u8>().add(HEADER), bytes)
        };
        // SAFETY: an entry from above, filled in, passed on once.
        unsafe { sys::IoWriteErrorLogEntry(entry) };
        true
    }
}
