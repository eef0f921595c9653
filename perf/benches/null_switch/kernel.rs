//! The functions of ntoskrnl that the driver imports, in as few instructions as possible.

use super::probe::{Counting, enter, leave};
use core::ffi::c_void;
use lbfoext::kernel::sys::{
    EnableCallback, IoStatusBlock, KEvent, ObjectAttributes, RundownRef, StartRoutine,
};
use lbfoext::ndis::raw::{EventDataDescriptor, EventDescriptor, Guid, MibIfRow2, UnicodeString};
use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::cell::Cell;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

const HEADER: usize = 16;

#[unsafe(no_mangle)]
unsafe extern "win64" fn ExAllocatePool2(_: u64, bytes: usize, _: u32) -> *mut c_void {
    let Ok(layout) = Layout::from_size_align(bytes + HEADER, 16) else { return core::ptr::null_mut() };
    // SAFETY: the layout is not empty.
    let base = unsafe { alloc_zeroed(layout) };
    // SAFETY: the header lies before the memory that the caller gets.
    unsafe {
        base.cast::<usize>().write(bytes + HEADER);
        base.add(HEADER).cast()
    }
}

#[unsafe(no_mangle)]
unsafe extern "win64" fn ExFreePoolWithTag(pointer: *mut c_void, _: u32) {
    // SAFETY: allocated above with this header.
    unsafe {
        let base = pointer.cast::<u8>().sub(HEADER);
        let layout = Layout::from_size_align_unchecked(base.cast::<usize>().read(), 16);
        dealloc(base, layout);
    }
}

#[unsafe(no_mangle)]
unsafe extern "win64" fn KeBugCheckEx(code: u32, p1: usize, p2: usize, p3: usize, p4: usize) -> ! {
    eprintln!("bug check {code:x} {p1:x} {p2} {p3} {p4:x}");
    std::process::abort()
}

#[unsafe(no_mangle)]
unsafe extern "win64" fn KeAcquireSpinLockRaiseToDpc(_: *mut usize) -> u8 {
    enter(Counting::Holds);
    0
}
#[unsafe(no_mangle)]
unsafe extern "win64" fn KeReleaseSpinLock(_: *mut usize, _: u8) {
    leave(Counting::Holds);
}

/// `TeamingMode`: 0 is Static, 1 SwitchIndependent.
pub static MODE: AtomicU32 = AtomicU32::new(0);

/// Processors that there may be.
pub static PROCESSORS: AtomicU32 = AtomicU32::new(2);
/// Interrupt time, in 100 ns.
pub static NOW: AtomicU64 = AtomicU64::new(1);
/// The setting `FlowletGapUs`.
pub static GAP_US: AtomicU32 = AtomicU32::new(0);

thread_local! {
    /// The processor number that this thread simulates.
    pub static PROCESSOR: Cell<u32> = const { Cell::new(0) };
}

#[unsafe(no_mangle)]
unsafe extern "win64" fn KeGetCurrentProcessorNumberEx(_: *mut c_void) -> u32 {
    PROCESSOR.get()
}
#[unsafe(no_mangle)]
unsafe extern "win64" fn KeQueryMaximumProcessorCountEx(_: u16) -> u32 {
    PROCESSORS.load(Ordering::Relaxed)
}
#[unsafe(no_mangle)]
unsafe extern "win64" fn KeQueryUnbiasedInterruptTime() -> u64 {
    NOW.load(Ordering::Relaxed)
}
#[unsafe(no_mangle)]
unsafe extern "win64" fn KeQueryInterruptTimePrecise(counter: *mut u64) -> u64 {
    let now = NOW.load(Ordering::Relaxed);
    // SAFETY: by the caller.
    unsafe { counter.write(now) };
    now
}
#[unsafe(no_mangle)]
unsafe extern "win64" fn KeQueryTimeIncrement() -> u32 {
    156_250
}

#[unsafe(no_mangle)]
unsafe extern "win64" fn ExAllocateCacheAwareRundownProtection(_: i32, _: u32) -> *mut c_void {
    core::ptr::dangling_mut::<u64>().cast()
}
#[unsafe(no_mangle)]
unsafe extern "win64" fn ExFreeCacheAwareRundownProtection(_: *mut c_void) {}
#[unsafe(no_mangle)]
unsafe extern "win64" fn ExAcquireRundownProtectionCacheAware(_: *mut c_void) -> u8 {
    1
}
#[unsafe(no_mangle)]
unsafe extern "win64" fn ExReleaseRundownProtectionCacheAware(_: *mut c_void) {}
#[unsafe(no_mangle)]
unsafe extern "win64" fn ExWaitForRundownProtectionReleaseCacheAware(_: *mut c_void) {}
#[unsafe(no_mangle)]
unsafe extern "win64" fn ExReInitializeRundownProtectionCacheAware(_: *mut c_void) {}
#[unsafe(no_mangle)]
unsafe extern "win64" fn ExRundownCompletedCacheAware(_: *mut c_void) {}
#[unsafe(no_mangle)]
unsafe extern "win64" fn ExInitializeRundownProtection(_: *mut RundownRef) {}
#[unsafe(no_mangle)]
unsafe extern "win64" fn ExAcquireRundownProtection(_: *mut RundownRef) -> u8 {
    1
}
#[unsafe(no_mangle)]
unsafe extern "win64" fn ExReleaseRundownProtection(_: *mut RundownRef) {}
#[unsafe(no_mangle)]
unsafe extern "win64" fn ExWaitForRundownProtectionRelease(_: *mut RundownRef) {}

#[unsafe(no_mangle)]
unsafe extern "win64" fn MmMapLockedPagesSpecifyCache(
    _: *mut c_void,
    _: i8,
    _: i32,
    _: *mut c_void,
    _: u32,
    _: u32,
) -> *mut c_void {
    core::ptr::null_mut()
}

#[unsafe(no_mangle)]
unsafe extern "win64" fn IoAllocateDriverObjectExtension(
    _: *mut c_void,
    _: *mut c_void,
    size: u32,
    extension: *mut *mut c_void,
) -> i32 {
    // SAFETY: the driver passes a valid pointer; the memory is never freed.
    unsafe { extension.write(ExAllocatePool2(0, size as usize, 0)) };
    0
}
#[unsafe(no_mangle)]
unsafe extern "win64" fn IoGetDriverObjectExtension(_: *mut c_void, _: *mut c_void) -> *mut c_void {
    core::ptr::null_mut()
}

/// STATUS_OBJECT_NAME_NOT_FOUND, so that every setting has its default.
const NOT_FOUND: i32 = 0xC000_0034_u32.cast_signed();

#[unsafe(no_mangle)]
unsafe extern "win64" fn ZwOpenKey(handle: *mut *mut c_void, _: u32, _: *mut ObjectAttributes) -> i32 {
    // SAFETY: the driver passes a valid place.
    unsafe { handle.write(0x1000 as *mut c_void) };
    0
}
#[unsafe(no_mangle)]
unsafe extern "win64" fn ZwQueryValueKey(
    _: *mut c_void,
    name: *mut UnicodeString,
    _: i32,
    buffer: *mut c_void,
    _: u32,
    _: *mut u32,
) -> i32 {
    // SAFETY: the driver passes a counted string.
    let name = String::from_utf16_lossy(unsafe { (*name).text() });
    if ["TeamingMode", "LoadBalancingAlgorithm", "LinkUpDelayMs", "FlowletGapUs"].contains(&&*name) {
        // Static with TransportPorts, moves at once, unless said otherwise: TitleIndex, REG_DWORD, length, value.
        let value = match &*name {
            "FlowletGapUs" => GAP_US.load(Ordering::Relaxed),
            "TeamingMode" => MODE.load(Ordering::Relaxed),
            _ => 0,
        };
        // SAFETY: the driver's buffer has 20 bytes.
        unsafe { buffer.cast::<[u32; 4]>().write([0, 4, 4, value]) };
        return 0;
    }
    NOT_FOUND
}
/// STATUS_NO_MORE_ENTRIES.
#[unsafe(no_mangle)]
unsafe extern "win64" fn ZwEnumerateKey(
    _: *mut c_void,
    _: u32,
    _: i32,
    _: *mut c_void,
    _: u32,
    _: *mut u32,
) -> i32 {
    0x8000_001A_u32.cast_signed()
}
#[unsafe(no_mangle)]
unsafe extern "win64" fn ZwNotifyChangeKey(
    _: *mut c_void,
    _: *mut c_void,
    _: *mut c_void,
    _: *mut c_void,
    _: *mut IoStatusBlock,
    _: u32,
    _: u8,
    _: *mut c_void,
    _: u32,
    _: u8,
) -> i32 {
    NOT_FOUND
}
#[unsafe(no_mangle)]
unsafe extern "win64" fn ZwClose(_: *mut c_void) -> i32 {
    0
}

/// PASSIVE_LEVEL: the longest way into a walk, with a critical region.
#[unsafe(no_mangle)]
unsafe extern "win64" fn KeGetCurrentIrql() -> u8 {
    0
}
#[unsafe(no_mangle)]
unsafe extern "win64" fn KeEnterCriticalRegion() {}
#[unsafe(no_mangle)]
unsafe extern "win64" fn KeLeaveCriticalRegion() {}
#[unsafe(no_mangle)]
unsafe extern "win64" fn KeFlushQueuedDpcs() {}
#[unsafe(no_mangle)]
unsafe extern "win64" fn KeInitializeEvent(_: *mut KEvent, _: i32, _: u8) {}
#[unsafe(no_mangle)]
unsafe extern "win64" fn KeSetEvent(_: *mut KEvent, _: i32, _: u8) -> i32 {
    0
}

// The module's thread never runs: what follows is never called but by its start.

#[unsafe(no_mangle)]
unsafe extern "win64" fn PsCreateSystemThread(
    handle: *mut *mut c_void,
    _: u32,
    _: *mut ObjectAttributes,
    _: *mut c_void,
    _: *mut c_void,
    _: StartRoutine,
    _: *mut c_void,
) -> i32 {
    // SAFETY: the driver passes a valid place.
    unsafe { handle.write(0x2000 as *mut c_void) };
    0
}
#[unsafe(no_mangle)]
unsafe extern "win64" fn PsTerminateSystemThread(_: i32) -> i32 {
    NOT_FOUND
}
#[unsafe(no_mangle)]
unsafe extern "win64" fn KeWaitForMultipleObjects(
    _: u32,
    _: *mut *mut c_void,
    _: i32,
    _: i32,
    _: i8,
    _: u8,
    _: *mut i64,
    _: *mut c_void,
) -> i32 {
    0
}
#[unsafe(no_mangle)]
unsafe extern "win64" fn ZwWaitForSingleObject(_: *mut c_void, _: u8, _: *mut i64) -> i32 {
    0
}
#[unsafe(no_mangle)]
unsafe extern "win64" fn ZwCreateEvent(
    _: *mut *mut c_void,
    _: u32,
    _: *mut ObjectAttributes,
    _: i32,
    _: u8,
) -> i32 {
    NOT_FOUND
}
#[unsafe(no_mangle)]
unsafe extern "win64" fn ObReferenceObjectByHandle(
    _: *mut c_void,
    _: u32,
    _: *mut c_void,
    _: i8,
    _: *mut *mut c_void,
    _: *mut c_void,
) -> i32 {
    NOT_FOUND
}
#[unsafe(no_mangle)]
unsafe extern "win64" fn ConvertInterfaceGuidToLuid(_: *const Guid, _: *mut u64) -> i32 {
    NOT_FOUND
}
#[unsafe(no_mangle)]
unsafe extern "win64" fn GetIfEntry2Ex(_: i32, _: *mut MibIfRow2) -> i32 {
    NOT_FOUND
}
#[unsafe(no_mangle)]
unsafe extern "win64" fn BCryptGenRandom(_: *mut c_void, _: *mut u8, _: u32, _: u32) -> i32 {
    NOT_FOUND
}
#[unsafe(no_mangle)]
unsafe extern "win64" fn ObfDereferenceObject(_: *mut c_void) -> isize {
    0
}

/// Nobody records what the driver traces.
#[unsafe(no_mangle)]
unsafe extern "win64" fn EtwRegister(
    _: *const Guid,
    _: Option<EnableCallback>,
    _: *mut c_void,
    handle: *mut u64,
) -> i32 {
    // SAFETY: the caller's variable.
    unsafe { handle.write(1) };
    0
}

#[unsafe(no_mangle)]
unsafe extern "win64" fn EtwUnregister(_: u64) -> i32 {
    0
}

#[unsafe(no_mangle)]
unsafe extern "win64" fn EtwEventEnabled(_: u64, _: *const EventDescriptor) -> u8 {
    0
}

#[unsafe(no_mangle)]
unsafe extern "win64" fn EtwWriteTransfer(
    _: u64,
    _: *const EventDescriptor,
    _: *const Guid,
    _: *const Guid,
    _: u32,
    _: *const EventDataDescriptor,
) -> i32 {
    0
}
