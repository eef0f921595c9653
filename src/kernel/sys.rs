//! Everything the driver imports from `ntoskrnl.exe`: on Windows the functions of `wdk-sys`, on the host the
//! simulated kernel's. IRQL limits are those of the documentation page of the same name.

use crate::ndis::raw::UnicodeString;
use core::ffi::c_void;

/// `EX_RUNDOWN_REF`.
#[repr(C)]
pub struct RundownRef(pub usize);

/// `OBJECT_ATTRIBUTES`.
#[repr(C)]
pub struct ObjectAttributes {
    pub length: u32,
    pub root_directory: *mut c_void,
    pub object_name: *const UnicodeString,
    pub attributes: u32,
    pub security_descriptor: *mut c_void,
    pub security_quality_of_service: *mut c_void,
}
const _: () = assert!(core::mem::size_of::<ObjectAttributes>() == 48);

/// `IO_STATUS_BLOCK`.
#[repr(C)]
pub struct IoStatusBlock {
    pub status: i32,
    pub information: usize,
}
const _: () = assert!(core::mem::size_of::<IoStatusBlock>() == 16);

/// `WORK_QUEUE_ITEM`; ZwNotifyChangeKey queues one instead of an APC when called in kernel mode.
#[repr(C)]
pub struct WorkQueueItem {
    pub list: [*mut c_void; 2],
    pub worker_routine: Option<unsafe extern "win64" fn(*mut c_void)>,
    pub parameter: *mut c_void,
}
const _: () = assert!(core::mem::size_of::<WorkQueueItem>() == 32);

#[cfg(not(windows))]
unsafe extern "win64" {
    pub fn ExAllocatePool2(flags: u64, bytes: usize, tag: u32) -> *mut c_void;
    pub fn ExFreePoolWithTag(pointer: *mut c_void, tag: u32);
    pub fn KeBugCheckEx(code: u32, p1: usize, p2: usize, p3: usize, p4: usize) -> !;

    pub fn KeAcquireSpinLockRaiseToDpc(lock: *mut usize) -> u8;
    pub fn KeReleaseSpinLock(lock: *mut usize, old_irql: u8);
    pub fn KeGetCurrentProcessorNumberEx(number: *mut c_void) -> u32;
    pub fn KeQueryMaximumProcessorCountEx(group: u16) -> u32;
    pub fn KeQueryUnbiasedInterruptTime() -> u64;
    pub fn KeQueryTimeIncrement() -> u32;

    pub fn ExAllocateCacheAwareRundownProtection(pool_type: i32, tag: u32) -> *mut c_void;
    pub fn ExFreeCacheAwareRundownProtection(rundown: *mut c_void);
    pub fn ExAcquireRundownProtectionCacheAware(rundown: *mut c_void) -> u8;
    pub fn ExReleaseRundownProtectionCacheAware(rundown: *mut c_void);
    pub fn ExWaitForRundownProtectionReleaseCacheAware(rundown: *mut c_void);
    pub fn ExReInitializeRundownProtectionCacheAware(rundown: *mut c_void);
    pub fn ExInitializeRundownProtection(rundown: *mut RundownRef);
    pub fn ExAcquireRundownProtection(rundown: *mut RundownRef) -> u8;
    pub fn ExReleaseRundownProtection(rundown: *mut RundownRef);
    pub fn ExWaitForRundownProtectionRelease(rundown: *mut RundownRef);

    pub fn MmMapLockedPagesSpecifyCache(
        mdl: *mut c_void,
        access_mode: i8,
        cache_type: i32,
        requested_address: *mut c_void,
        bug_check_on_failure: u32,
        priority: u32,
    ) -> *mut c_void;

    pub fn IoAllocateDriverObjectExtension(
        driver_object: *mut c_void,
        client_identification: *mut c_void,
        size: u32,
        extension: *mut *mut c_void,
    ) -> i32;
    pub fn IoGetDriverObjectExtension(
        driver_object: *mut c_void,
        client_identification: *mut c_void,
    ) -> *mut c_void;

    pub fn ZwOpenKey(handle: *mut *mut c_void, access: u32, attributes: *mut ObjectAttributes) -> i32;
    pub fn ZwQueryValueKey(
        handle: *mut c_void,
        name: *mut UnicodeString,
        class: i32,
        buffer: *mut c_void,
        length: u32,
        result_length: *mut u32,
    ) -> i32;
    pub fn ZwNotifyChangeKey(
        handle: *mut c_void,
        event: *mut c_void,
        apc_routine: *mut c_void,
        apc_context: *mut c_void,
        status: *mut IoStatusBlock,
        filter: u32,
        watch_tree: u8,
        buffer: *mut c_void,
        buffer_size: u32,
        asynchronous: u8,
    ) -> i32;
    pub fn ZwClose(handle: *mut c_void) -> i32;
}
