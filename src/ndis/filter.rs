//! Registration with NDIS, and one `extern "win64"` trampoline for each Filter* handler. A trampoline converts the raw
//! arguments to typed ones and calls the method of `FilterModule` with the same name.

use super::handle::Filter;
use super::irql::Passive;
use super::link::Indication;
use super::nbl::NblQueue;
use super::oid::{Request, Returned, returned};
use super::raw::{
    self, FilterAttachParameters, FilterAttributes, FilterDriverCharacteristics, FilterPauseParameters,
    FilterRestartParameters, Handle, NetBufferList, NetPnpEvent, NetPnpEventNotification, ObjectHeader,
    OidRequest, ReceiveFlags, ReturnFlags, SendCompleteFlags, SendFlags, StatusIndication, UnicodeString,
    object_type,
};
use super::status::NdisStatus;
use super::sys;
use crate::kernel::pool::{PoolBox, Tag};
use core::ffi::c_void;
use core::ptr::NonNull;

/// A filter module: one instance for each switch that the extension is enabled on. Handlers run concurrently on all
/// processors, except attach, restart, pause, detach and `oid_request`, which NDIS serialises.
pub trait FilterModule: Sized + Send + Sync + 'static {
    /// State of the driver that all modules share. It outlives them.
    type Driver: Sync + 'static;

    /// FilterAttach. The module is then in the Paused state.
    fn attach(
        driver: &'static Self::Driver,
        stack: &Stack<'_>,
        passive: &Passive,
    ) -> Result<PoolBox<Self>, NdisStatus>;
    /// FilterRestart.
    fn restart(&self, passive: &Passive);
    /// FilterPause. On return no packet walk runs, and every NBL that the module originated is freed.
    fn pause(&self, passive: &Passive);
    /// FilterDetach. On return no thread, timer or own request uses the module any more; the caller then frees it.
    fn detach(&self, passive: &Passive);
    /// FilterNetPnPEvent. The trampoline passes the event on afterwards.
    fn net_pnp_event(&self, event: NetEvent, passive: &Passive);

    /// The module's NdisFilterHandle.
    fn filter(&self) -> Filter;

    /// FilterSendNetBufferLists: packets on the ingress path.
    fn send(&self, lists: NblQueue, flags: SendFlags);
    /// FilterSendNetBufferListsComplete.
    fn send_complete(&self, lists: NblQueue, flags: SendCompleteFlags);
    /// FilterReceiveNetBufferLists: packets on the egress path.
    fn receive(&self, lists: NonNull<NetBufferList>, count: u32, flags: ReceiveFlags);
    /// FilterReturnNetBufferLists.
    fn return_lists(&self, lists: NonNull<NetBufferList>, flags: ReturnFlags);

    /// FilterOidRequest.
    fn oid_request(&self, request: Request) -> NdisStatus;
    /// FilterOidRequestComplete.
    fn oid_returned(&self, returned: Returned, status: NdisStatus);
    /// FilterCancelOidRequest.
    fn cancel_oid_request(&self, request_id: *mut c_void);
    /// FilterStatus.
    fn status(&self, indication: Indication<'_>);
}

/// Network Plug and Play events, as far as the module acts on them.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum NetEvent {
    /// NetEventSwitchActivate: the switch is active, its configuration may be queried.
    SwitchActivate,
    Other,
}

/// The parameters of FilterAttach.
pub struct Stack<'a> {
    filter: Filter,
    parameters: &'a FilterAttachParameters,
}

impl Stack<'_> {
    pub fn filter(&self) -> Filter {
        self.filter
    }

    pub fn is_ethernet(&self) -> bool {
        self.parameters.miniport_media_type == raw::MEDIUM_802_3
    }

    /// The module's name in reports of filtered packets (`FilterModuleGuidName`), as UTF-16 code units.
    pub fn guid_name(&self) -> &[u16] {
        // SAFETY: NDIS keeps the attach parameters and what they point to for the call.
        unsafe { self.parameters.filter_module_guid_name.as_ref().map_or(&[], |name| name.text()) }
    }
}

/// FriendlyName, UniqueName and ServiceName of the registration.
pub struct Names {
    pub friendly: &'static [u16],
    pub unique: &'static [u16],
    pub service: &'static [u16],
}

/// Registers the driver (NdisFRegisterFilterDriver). NDIS may call FilterAttach before this returns, so `driver` must
/// be complete. PASSIVE_LEVEL.
///
/// # Safety
/// `driver` outlives the registration, and `handle` is valid.
pub(crate) unsafe fn register<M: FilterModule>(
    driver_object: *mut c_void,
    driver: NonNull<M::Driver>,
    handle: *mut Handle,
    names: &Names,
) -> NdisStatus {
    let mut characteristics = FilterDriverCharacteristics {
        header: ObjectHeader::new(object_type::FILTER_DRIVER_CHARACTERISTICS, 2, 224),
        major_ndis_version: 6,
        minor_ndis_version: 40,
        major_driver_version: 0,
        minor_driver_version: 1,
        friendly_name: UnicodeString::from_static(names.friendly),
        unique_name: UnicodeString::from_static(names.unique),
        service_name: UnicodeString::from_static(names.service),
        attach: Some(attach::<M>),
        detach: Some(detach::<M>),
        restart: Some(restart::<M>),
        pause: Some(pause::<M>),
        send: Some(send::<M>),
        send_complete: Some(send_complete::<M>),
        receive: Some(receive::<M>),
        return_lists: Some(return_lists::<M>),
        oid_request: Some(oid_request::<M>),
        oid_request_complete: Some(oid_request_complete::<M>),
        cancel_oid_request: Some(cancel_oid_request::<M>),
        net_pnp_event: Some(net_pnp_event::<M>),
        status: Some(status::<M>),
        ..FilterDriverCharacteristics::ZERO
    };
    // SAFETY: everything is valid for the call; NDIS copies the characteristics.
    NdisStatus(unsafe {
        sys::NdisFRegisterFilterDriver(driver_object, driver.as_ptr().cast(), &mut characteristics, handle)
    })
}

/// Deregisters the driver; NDIS has detached every module when this returns. PASSIVE_LEVEL.
pub(crate) fn deregister(handle: Handle) {
    // SAFETY: the handle comes from `register`, once.
    unsafe { sys::NdisFDeregisterFilterDriver(handle) };
}

/// The module of a FilterModuleContext.
///
/// # Safety
/// The context was set in `attach` and the module is not detached yet.
unsafe fn module<'a, M>(context: Handle) -> &'a M {
    // SAFETY: by the caller's promise.
    unsafe { &*context.cast::<M>() }
}

unsafe extern "win64" fn attach<M: FilterModule>(
    filter: Handle,
    driver: Handle,
    parameters: *mut FilterAttachParameters,
) -> i32 {
    // SAFETY: NDIS calls this at PASSIVE_LEVEL.
    let passive = unsafe { Passive::assume() };
    // SAFETY: the driver context given at registration, which outlives that and so every module.
    let driver: &'static M::Driver = unsafe { &*driver.cast::<M::Driver>() };
    // SAFETY: NDIS keeps the parameters for the call.
    let Some(parameters) = (unsafe { parameters.as_ref() }) else { return NdisStatus::INVALID_PARAMETER.0 };
    let stack = Stack { filter: Filter::new(filter), parameters };
    let module = match M::attach(driver, &stack, &passive) {
        Ok(module) => PoolBox::into_raw(module),
        Err(status) => return status.0,
    };
    let mut attributes =
        FilterAttributes { header: ObjectHeader::new(object_type::FILTER_ATTRIBUTES, 1, 8), flags: 0 };
    // SAFETY: the handle is the one being attached; the module lives until detach.
    let status = NdisStatus(unsafe { sys::NdisFSetAttributes(filter, module.cast(), &mut attributes) });
    if let (Err(_), Some(module)) = (status.ok(), NonNull::new(module)) {
        // SAFETY: made by `M::attach`; nobody else knows it yet.
        unsafe { module.as_ref() }.detach(&passive);
        // SAFETY: NDIS did not take the context, so this is the only pointer to the module.
        drop(unsafe { PoolBox::from_raw(module, Tag::MODULE) });
    }
    status.0
}

unsafe extern "win64" fn detach<M: FilterModule>(context: Handle) {
    // SAFETY: NDIS calls this at PASSIVE_LEVEL.
    let passive = unsafe { Passive::assume() };
    // SAFETY: the context of an attached module.
    unsafe { module::<M>(context) }.detach(&passive);
    if let Some(module) = NonNull::new(context.cast::<M>()) {
        // SAFETY: nothing uses the module any more, by the contract of `FilterModule::detach`.
        drop(unsafe { PoolBox::from_raw(module, Tag::MODULE) });
    }
}

unsafe extern "win64" fn restart<M: FilterModule>(context: Handle, _: *mut FilterRestartParameters) -> i32 {
    // SAFETY: NDIS calls this at PASSIVE_LEVEL.
    let passive = unsafe { Passive::assume() };
    // SAFETY: the context of an attached module.
    unsafe { module::<M>(context) }.restart(&passive);
    NdisStatus::SUCCESS.0
}

unsafe extern "win64" fn pause<M: FilterModule>(context: Handle, _: *mut FilterPauseParameters) -> i32 {
    // SAFETY: NDIS calls this at PASSIVE_LEVEL.
    let passive = unsafe { Passive::assume() };
    // SAFETY: the context of an attached module.
    unsafe { module::<M>(context) }.pause(&passive);
    NdisStatus::SUCCESS.0
}

unsafe extern "win64" fn net_pnp_event<M: FilterModule>(
    context: Handle,
    notification: *mut NetPnpEventNotification,
) -> i32 {
    // SAFETY: NDIS calls this at PASSIVE_LEVEL.
    let passive = unsafe { Passive::assume() };
    // SAFETY: the context of an attached module.
    let module = unsafe { module::<M>(context) };
    // SAFETY: NDIS keeps the notification for the call.
    let event = match unsafe { notification.as_ref() }.map(|n| n.net_pnp_event.net_event) {
        Some(NetPnpEvent::SWITCH_ACTIVATE) => NetEvent::SwitchActivate,
        _ => NetEvent::Other,
    };
    module.net_pnp_event(event, &passive);
    // SAFETY: the notification is passed on unchanged, during the call that brought it.
    unsafe { sys::NdisFNetPnPEvent(module.filter().handle(), notification) }
}

unsafe extern "win64" fn send<M: FilterModule>(
    context: Handle,
    lists: *mut NetBufferList,
    _: u32,
    flags: u32,
) {
    // SAFETY: the context of an attached module, which owns the lists from here on.
    unsafe { module::<M>(context).send(NblQueue::from_raw(lists), SendFlags::from_bits_retain(flags)) };
}

unsafe extern "win64" fn send_complete<M: FilterModule>(
    context: Handle,
    lists: *mut NetBufferList,
    flags: u32,
) {
    let flags = SendCompleteFlags::from_bits_retain(flags);
    // SAFETY: as above.
    unsafe { module::<M>(context).send_complete(NblQueue::from_raw(lists), flags) };
}

unsafe extern "win64" fn receive<M: FilterModule>(
    context: Handle,
    lists: *mut NetBufferList,
    _: u32,
    count: u32,
    flags: u32,
) {
    // SAFETY: as above.
    let module = unsafe { module::<M>(context) };
    if let Some(lists) = NonNull::new(lists) {
        module.receive(lists, count, ReceiveFlags::from_bits_retain(flags));
    }
}

unsafe extern "win64" fn return_lists<M: FilterModule>(
    context: Handle,
    lists: *mut NetBufferList,
    flags: u32,
) {
    // SAFETY: as above.
    let module = unsafe { module::<M>(context) };
    if let Some(lists) = NonNull::new(lists) {
        module.return_lists(lists, ReturnFlags::from_bits_retain(flags));
    }
}

unsafe extern "win64" fn oid_request<M: FilterModule>(context: Handle, request: *mut OidRequest) -> i32 {
    // SAFETY: as above.
    let module = unsafe { module::<M>(context) };
    let Some(request) = NonNull::new(request) else { return NdisStatus::INVALID_PARAMETER.0 };
    // SAFETY: the request is valid until it is completed.
    module.oid_request(unsafe { Request::from_raw(request) }).0
}

unsafe extern "win64" fn oid_request_complete<M: FilterModule>(
    context: Handle,
    request: *mut OidRequest,
    status: i32,
) {
    // SAFETY: as above.
    let module = unsafe { module::<M>(context) };
    if let Some(returned) = NonNull::new(request).and_then(returned) {
        module.oid_returned(returned, NdisStatus(status));
    }
}

unsafe extern "win64" fn cancel_oid_request<M: FilterModule>(context: Handle, request_id: *mut c_void) {
    // SAFETY: as above.
    unsafe { module::<M>(context) }.cancel_oid_request(request_id);
}

unsafe extern "win64" fn status<M: FilterModule>(context: Handle, indication: *mut StatusIndication) {
    // SAFETY: as above.
    let module = unsafe { module::<M>(context) };
    if let Some(indication) = NonNull::new(indication) {
        // SAFETY: NDIS keeps the indication for the call.
        module.status(unsafe { Indication::from_raw(indication) });
    }
}
