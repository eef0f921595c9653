//! The functions that the driver imports from `ntoskrnl.exe`: on Windows those of `wdk-sys`, in a Linux process those
//! of the simulated kernel. IRQL limits are those of each function's documentation page.

use crate::ndis::raw::{EventDataDescriptor, EventDescriptor, Guid, UnicodeString};
use bitflags::bitflags;
use core::ffi::c_void;

bitflags! {
    /// `POOL_FLAG_*`; without UNINITIALIZED the memory is zeroed.
    #[derive(Clone, Copy)]
    pub struct PoolFlags: u64 {
        const NON_PAGED = 0x40;
        const _ = !0;
    }

    /// `OBJ_*`.
    #[derive(Clone, Copy)]
    #[repr(transparent)]
    pub struct ObjectFlags: u32 {
        const CASE_INSENSITIVE = 0x40;
        const KERNEL_HANDLE = 0x200;
        const _ = !0;
    }

    /// `KEY_*`.
    #[derive(Clone, Copy)]
    pub struct KeyAccess: u32 {
        /// Includes KEY_NOTIFY.
        const READ = 0x0002_0019;
        const _ = !0;
    }

    /// `REG_NOTIFY_CHANGE_*`.
    #[derive(Clone, Copy)]
    pub struct ChangeFilter: u32 {
        const NAME = 0x1;
        const LAST_SET = 0x4;
        const _ = !0;
    }
}

/// `EX_RUNDOWN_REF`.
#[repr(C)]
pub struct RundownRef(pub usize);

/// `OBJECT_ATTRIBUTES`.
#[repr(C)]
pub struct ObjectAttributes {
    pub length: u32,
    pub root_directory: *mut c_void,
    pub object_name: *const UnicodeString,
    pub attributes: ObjectFlags,
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

/// `KEVENT`, opaque to the driver.
#[repr(C)]
pub struct KEvent(pub [u64; 3]);

/// `KSTART_ROUTINE`.
pub type StartRoutine = unsafe extern "win64" fn(*mut c_void);

/// `ETWENABLECALLBACK`: source, control code, level, any keyword, all keywords, filter, context.
pub type EnableCallback = unsafe extern "win64" fn(*const Guid, u32, u8, u64, u64, *mut c_void, *mut c_void);

/// One list for both targets: symbols of the simulated kernel in a Linux process, `wdk-sys` on Windows, where bindgen
/// uses other names for integer and pointer types.
macro_rules! kernel {
    ($(fn $name:ident($($argument:ident: $type:ty),* $(,)?) $(-> $result:ty)?;)*) => {
        #[cfg(not(windows))]
        unsafe extern "win64" {
            $(pub fn $name($($argument: $type),*) $(-> $result)?;)*
        }
        $(
            /// # Safety
            /// As the documentation page of the same name demands.
            #[cfg(windows)]
            #[allow(non_snake_case, reason = "documented names")]
            #[inline(always)]
            pub unsafe fn $name($($argument: $type),*) $(-> $result)? {
                // SAFETY: the contract is the kernel's own and is handed to the caller unchanged.
                unsafe { wdk_sys::ntddk::$name($($argument as _),*) as _ }
            }
        )*
    };
}

kernel! {
    fn ExAllocatePool2(flags: u64, bytes: usize, tag: u32) -> *mut c_void;
    fn ExFreePoolWithTag(pointer: *mut c_void, tag: u32);
    fn KeAcquireSpinLockRaiseToDpc(lock: *mut usize) -> u8;
    fn KeReleaseSpinLock(lock: *mut usize, old_irql: u8);
    fn KeGetCurrentProcessorNumberEx(number: *mut c_void) -> u32;
    fn KeQueryMaximumProcessorCountEx(group: u16) -> u32;
    fn KeQueryUnbiasedInterruptTime() -> u64;
    fn KeQueryInterruptTimePrecise(counter: *mut u64) -> u64;
    fn KeQueryTimeIncrement() -> u32;
    fn ExAllocateCacheAwareRundownProtection(pool_type: i32, tag: u32) -> *mut c_void;
    fn ExFreeCacheAwareRundownProtection(rundown: *mut c_void);
    fn ExAcquireRundownProtectionCacheAware(rundown: *mut c_void) -> u8;
    fn ExReleaseRundownProtectionCacheAware(rundown: *mut c_void);
    fn ExWaitForRundownProtectionReleaseCacheAware(rundown: *mut c_void);
    fn ExRundownCompletedCacheAware(rundown: *mut c_void);
    fn ExReInitializeRundownProtectionCacheAware(rundown: *mut c_void);
    fn ExInitializeRundownProtection(rundown: *mut RundownRef);
    fn ExAcquireRundownProtection(rundown: *mut RundownRef) -> u8;
    fn ExReleaseRundownProtection(rundown: *mut RundownRef);
    fn ExWaitForRundownProtectionRelease(rundown: *mut RundownRef);
    fn KeGetCurrentIrql() -> u8;
    fn KeEnterCriticalRegion();
    fn KeLeaveCriticalRegion();
    fn KeFlushQueuedDpcs();
    fn KeInitializeEvent(event: *mut KEvent, kind: i32, state: u8);
    fn KeSetEvent(event: *mut KEvent, increment: i32, wait: u8) -> i32;
    fn KeWaitForMultipleObjects(count: u32, objects: *mut *mut c_void, wait_type: i32, reason: i32, mode: i8, alertable: u8, timeout: *mut i64, wait_blocks: *mut c_void) -> i32;
    fn ObReferenceObjectByHandle(handle: *mut c_void, access: u32, object_type: *mut c_void, mode: i8, object: *mut *mut c_void, information: *mut c_void) -> i32;
    fn ObfDereferenceObject(object: *mut c_void) -> isize;
    fn PsTerminateSystemThread(status: i32) -> i32;
    fn ZwCreateEvent(handle: *mut *mut c_void, access: u32, attributes: *mut ObjectAttributes, kind: i32, state: u8) -> i32;
    fn ZwWaitForSingleObject(handle: *mut c_void, alertable: u8, timeout: *mut i64) -> i32;
    fn MmMapLockedPagesSpecifyCache(mdl: *mut c_void, access_mode: i8, cache_type: i32, requested_address: *mut c_void, bug_check_on_failure: u32, priority: u32) -> *mut c_void;
    fn IoAllocateDriverObjectExtension(driver_object: *mut c_void, client_identification: *mut c_void, size: u32, extension: *mut *mut c_void) -> i32;
    fn EtwEventEnabled(handle: u64, descriptor: *const EventDescriptor) -> u8;
    fn EtwUnregister(handle: u64) -> i32;
    fn EtwWriteTransfer(handle: u64, descriptor: *const EventDescriptor, activity: *const Guid, related: *const Guid, count: u32, parts: *const EventDataDescriptor) -> i32;
    fn IoAllocateErrorLogEntry(object: *mut c_void, size: u8) -> *mut c_void;
    fn IoWriteErrorLogEntry(entry: *mut c_void);
    fn IoGetDriverObjectExtension(driver_object: *mut c_void, client_identification: *mut c_void) -> *mut c_void;
    fn ZwOpenKey(handle: *mut *mut c_void, access: u32, attributes: *mut ObjectAttributes) -> i32;
    fn ZwQueryValueKey(handle: *mut c_void, name: *mut UnicodeString, class: i32, buffer: *mut c_void, length: u32, result_length: *mut u32) -> i32;
    fn ZwEnumerateKey(handle: *mut c_void, index: u32, class: i32, buffer: *mut c_void, length: u32, result_length: *mut u32) -> i32;
    fn ZwClose(handle: *mut c_void) -> i32;
}

#[cfg(not(windows))]
unsafe extern "win64" {
    pub fn KeBugCheckEx(code: u32, p1: usize, p2: usize, p3: usize, p4: usize) -> !;
    pub fn EtwRegister(
        provider: *const Guid,
        callback: Option<EnableCallback>,
        context: *mut c_void,
        handle: *mut u64,
    ) -> i32;
    pub fn PsCreateSystemThread(
        handle: *mut *mut c_void,
        access: u32,
        attributes: *mut ObjectAttributes,
        process: *mut c_void,
        client: *mut c_void,
        routine: StartRoutine,
        context: *mut c_void,
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
}

#[cfg(windows)]
pub use windows::{EtwRegister, KeBugCheckEx, PsCreateSystemThread, ZwNotifyChangeKey};

#[cfg(windows)]
pub use wdk::nt_success;

/// Whether an NTSTATUS is a success or informational value (NT_SUCCESS); on Windows this is `wdk`'s function.
#[cfg(not(windows))]
pub const fn nt_success(status: i32) -> bool {
    status >= 0
}

/// Functions whose types need more than a cast.
#[cfg(windows)]
#[allow(non_snake_case, reason = "documented names")]
mod windows {
    use super::{EnableCallback, Guid, IoStatusBlock, ObjectAttributes, StartRoutine, c_void};

    /// # Safety
    /// As the documentation page demands.
    pub unsafe fn EtwRegister(
        provider: *const Guid,
        callback: Option<EnableCallback>,
        context: *mut c_void,
        handle: *mut u64,
    ) -> i32 {
        // SAFETY: `extern "win64"` is the convention of the kit's `extern "C"` on this target, and the arguments have the
        // sizes of the kit's.
        let callback =
            unsafe { core::mem::transmute::<Option<EnableCallback>, wdk_sys::PETWENABLECALLBACK>(callback) };
        // SAFETY: by the caller's promise.
        unsafe { wdk_sys::ntddk::EtwRegister(provider as _, callback, context as _, handle as _) }
    }

    /// # Safety
    /// Callable at any IRQL; stops the machine.
    pub unsafe fn KeBugCheckEx(code: u32, p1: usize, p2: usize, p3: usize, p4: usize) -> ! {
        // SAFETY: by the caller's promise.
        unsafe { wdk_sys::ntddk::KeBugCheckEx(code, p1 as _, p2 as _, p3 as _, p4 as _) }
    }

    /// # Safety
    /// As the documentation page demands.
    pub unsafe fn PsCreateSystemThread(
        handle: *mut *mut c_void,
        access: u32,
        attributes: *mut ObjectAttributes,
        process: *mut c_void,
        client: *mut c_void,
        routine: StartRoutine,
        context: *mut c_void,
    ) -> i32 {
        // SAFETY: `extern "win64"` is the convention of the kit's `extern "C"` on this target.
        let routine = Some(unsafe {
            core::mem::transmute::<StartRoutine, unsafe extern "C" fn(*mut core::ffi::c_void)>(routine)
        });
        // SAFETY: by the caller's promise.
        unsafe {
            wdk_sys::ntddk::PsCreateSystemThread(
                handle as _,
                access as _,
                attributes as _,
                process as _,
                client as _,
                routine,
                context as _,
            )
        }
    }

    /// # Safety
    /// As the documentation page demands; `apc_routine` is null.
    #[expect(clippy::too_many_arguments, reason = "the documented prototype")]
    pub unsafe fn ZwNotifyChangeKey(
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
    ) -> i32 {
        // SAFETY: a null pointer is `None` of a function pointer, which has its size.
        let routine = unsafe { core::mem::transmute(apc_routine) };
        // SAFETY: by the caller's promise.
        unsafe {
            wdk_sys::ntddk::ZwNotifyChangeKey(
                handle as _,
                event as _,
                routine,
                apc_context as _,
                status as _,
                filter as _,
                watch_tree as _,
                buffer as _,
                buffer_size as _,
                asynchronous as _,
            )
        }
    }
}

/// Compares the declarations above with the layouts of the real kit.
#[cfg(windows)]
const _: () = {
    assert!(size_of::<wdk_sys::OBJECT_ATTRIBUTES>() == 48);
    assert!(size_of::<wdk_sys::IO_STATUS_BLOCK>() == 16);
    assert!(size_of::<wdk_sys::KEVENT>() == 24);
    assert!(size_of::<wdk_sys::EVENT_DESCRIPTOR>() == size_of::<EventDescriptor>());
    assert!(size_of::<wdk_sys::EVENT_DATA_DESCRIPTOR>() == size_of::<EventDataDescriptor>());
    assert!(PoolFlags::NON_PAGED.bits() == wdk_sys::POOL_FLAG_NON_PAGED);
};
