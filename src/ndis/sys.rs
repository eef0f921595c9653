//! The functions that the driver imports from `ndis.sys`. The linker of the image makes the import table from this
//! list; in a Linux process the simulated switch exports the same symbols. `extern "win64"` is the calling convention
//! of Windows on x86-64. IRQL limits are those of each function's documentation page.

use super::raw::{
    FilterAttributes, FilterDriverCharacteristics, Handle, LockStateEx, Mdl, NetBufferList,
    NetBufferListPoolParameters, NetBufferPoolParameters, NetPnpEventNotification, OidRequest,
    StatusIndication, SwitchContext, SwitchOptionalHandlers, TimerCharacteristics,
};
use core::ffi::c_void;

#[cfg_attr(windows, link(name = "ndis.sys", kind = "raw-dylib", modifiers = "+verbatim"))]
unsafe extern "win64" {
    // Life of the filter driver; PASSIVE_LEVEL.
    pub fn NdisFRegisterFilterDriver(
        driver_object: *mut c_void,
        filter_driver_context: Handle,
        characteristics: *mut FilterDriverCharacteristics,
        filter_driver_handle: *mut Handle,
    ) -> i32;
    pub fn NdisFDeregisterFilterDriver(filter_driver_handle: Handle);
    pub fn NdisFSetAttributes(
        filter: Handle,
        module_context: Handle,
        attributes: *mut FilterAttributes,
    ) -> i32;
    pub fn NdisFGetOptionalSwitchHandlers(
        filter: Handle,
        context: *mut SwitchContext,
        handlers: *mut SwitchOptionalHandlers,
    ) -> i32;
    pub fn NdisFNetPnPEvent(filter: Handle, event: *mut NetPnpEventNotification) -> i32;

    // Packets; <= DISPATCH_LEVEL, no lock held.
    pub fn NdisFSendNetBufferLists(filter: Handle, lists: *mut NetBufferList, port_number: u32, flags: u32);
    pub fn NdisFSendNetBufferListsComplete(filter: Handle, lists: *mut NetBufferList, flags: u32);
    pub fn NdisFIndicateReceiveNetBufferLists(
        filter: Handle,
        lists: *mut NetBufferList,
        port_number: u32,
        count: u32,
        flags: u32,
    );
    pub fn NdisFReturnNetBufferLists(filter: Handle, lists: *mut NetBufferList, flags: u32);
    pub fn NdisAllocateNetBufferListPool(
        handle: Handle,
        parameters: *const NetBufferListPoolParameters,
    ) -> Handle;
    pub fn NdisFreeNetBufferListPool(pool: Handle);
    pub fn NdisAllocateNetBufferAndNetBufferList(
        pool: Handle,
        context_size: u16,
        context_back_fill: u16,
        mdl_chain: *mut Mdl,
        data_offset: u32,
        data_length: usize,
    ) -> *mut NetBufferList;
    pub fn NdisFreeNetBufferList(list: *mut NetBufferList);
    pub fn NdisAllocateNetBufferPool(handle: Handle, parameters: *const NetBufferPoolParameters) -> Handle;
    pub fn NdisFreeNetBufferPool(pool: Handle);
    pub fn NdisAllocateFragmentNetBufferList(
        original: *mut NetBufferList,
        list_pool: Handle,
        buffer_pool: Handle,
        start_offset: u32,
        maximum_length: u32,
        data_offset_delta: u32,
        data_back_fill: u32,
        flags: u32,
    ) -> *mut NetBufferList;
    pub fn NdisFreeFragmentNetBufferList(list: *mut NetBufferList, data_offset_delta: u32, flags: u32);
    /// `address`: of non-paged pool.
    pub fn NdisAllocateMdl(handle: Handle, address: *mut c_void, length: u32) -> *mut Mdl;
    pub fn NdisFreeMdl(mdl: *mut Mdl);

    // Requests and status; <= DISPATCH_LEVEL, no lock held.
    pub fn NdisFOidRequest(filter: Handle, request: *mut OidRequest) -> i32;
    pub fn NdisFOidRequestComplete(filter: Handle, request: *mut OidRequest, status: i32);
    pub fn NdisFCancelOidRequest(filter: Handle, request_id: *mut c_void);
    pub fn NdisAllocateCloneOidRequest(
        filter: Handle,
        request: *mut OidRequest,
        pool_tag: u32,
        clone: *mut *mut OidRequest,
    ) -> i32;
    pub fn NdisFreeCloneOidRequest(filter: Handle, clone: *mut OidRequest);
    pub fn NdisFIndicateStatus(filter: Handle, indication: *mut StatusIndication);

    // Locks, timers, events; <= DISPATCH_LEVEL, waiting at PASSIVE_LEVEL.
    pub fn NdisAllocateRWLock(handle: Handle) -> Handle;
    pub fn NdisFreeRWLock(lock: Handle);
    pub fn NdisAcquireRWLockRead(lock: Handle, state: *mut LockStateEx, flags: u8);
    pub fn NdisAcquireRWLockWrite(lock: Handle, state: *mut LockStateEx, flags: u8);
    pub fn NdisReleaseRWLock(lock: Handle, state: *mut LockStateEx);
    pub fn NdisAllocateTimerObject(
        handle: Handle,
        characteristics: *mut TimerCharacteristics,
        timer: *mut Handle,
    ) -> i32;
    /// `due_time` in units of 100 ns, negative = relative; `period_ms` 0 = one shot. TRUE if the timer was already
    /// set.
    pub fn NdisSetTimerObject(timer: Handle, due_time: i64, period_ms: i32, context: *mut c_void) -> u8;
    /// TRUE if the timer was set and will not expire.
    pub fn NdisCancelTimerObject(timer: Handle) -> u8;
    pub fn NdisFreeTimerObject(timer: Handle);
    pub fn NdisInitializeEvent(event: *mut NdisEvent);
    pub fn NdisSetEvent(event: *mut NdisEvent);
    /// `ms` 0 = no timeout. PASSIVE_LEVEL.
    pub fn NdisWaitEvent(event: *mut NdisEvent, ms: u32) -> u8;
}

/// `NDIS_EVENT`: a KEVENT of 24 bytes, opaque to the driver.
#[repr(C)]
pub struct NdisEvent(pub [u64; 3]);
