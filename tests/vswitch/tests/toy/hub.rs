//! The hub: a forwarding extension that gives every packet to everybody. It reads the NICs once, forwards requests and
//! status, and knows nothing of links, members or addresses.

use lbfoext::kernel::sys::{IoAllocateDriverObjectExtension, IoGetDriverObjectExtension};
use lbfoext::ndis::raw::*;
use lbfoext::ndis::sys::*;
use std::ffi::c_void;
use std::mem::offset_of;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The only module of the only switch.
#[repr(C)]
pub struct Hub {
    driver: Handle,
    pub filter: Handle,
    pub context: SwitchContext,
    pub handlers: SwitchOptionalHandlers,
    /// Port, index and address of each.
    pub nics: Vec<(u32, u16, [u8; 6])>,
    pub running: bool,
    /// Set when the first restart is through, which the other says too.
    started: NdisEvent,
    through: bool,
    /// Requests that waited for that.
    pub waited: usize,
    /// Network events, counted.
    pub events: usize,
    /// FilterSend calls that have not returned.
    pub walks: AtomicUsize,
}

pub fn utf16(text: &'static str) -> Vec<u16> {
    text.encode_utf16().collect()
}

pub fn counted(text: &[u16]) -> UnicodeString {
    let bytes = u16::try_from(text.len() * 2).unwrap();
    UnicodeString { length: bytes, maximum_length: bytes, buffer: text.as_ptr() }
}

/// # Safety
/// The context is the pointer that `attach` registered.
unsafe fn hub<'a>(context: Handle) -> &'a mut Hub {
    // SAFETY: by the caller; the simulated switch of these tests runs one thread.
    unsafe { &mut *context.cast::<Hub>() }
}

/// A filter that looks at requests and status only: packets pass it over, and the switch says where they go.
pub unsafe extern "win64" fn onlooker_entry(object: *mut c_void, _: *const UnicodeString) -> i32 {
    // SAFETY: as in `driver_entry`.
    unsafe { register(object, false, oid_request) }
}

pub unsafe extern "win64" fn driver_entry(object: *mut c_void, _: *const UnicodeString) -> i32 {
    // SAFETY: the driver's entry point.
    unsafe { register(object, true, oid_request) }
}

/// A hub that keeps every request waiting until its first restart is through.
pub unsafe extern "win64" fn patient_entry(object: *mut c_void, _: *const UnicodeString) -> i32 {
    // SAFETY: as in `driver_entry`.
    unsafe { register(object, true, patient_oid_request) }
}

unsafe fn register(object: *mut c_void, packets: bool, requests: FilterOidRequest) -> i32 {
    // SAFETY: as in `driver_entry`.
    unsafe { register_as(object, attach, detach, packets.then_some(send), requests) }
}

/// # Safety
/// The handlers fit each other; the object is the driver's.
pub unsafe fn register_as(
    object: *mut c_void,
    attach: FilterAttach,
    detach: FilterDetach,
    send: Option<FilterSend>,
    requests: FilterOidRequest,
) -> i32 {
    let (name, unique, service) =
        (utf16("Hub"), utf16("{11111111-2222-3333-4444-555555555555}"), utf16("lbfoext"));
    let mut c = FilterDriverCharacteristics::ZERO;
    c.header = ObjectHeader::new(object_type::FILTER_DRIVER_CHARACTERISTICS, 2, 224);
    (c.major_ndis_version, c.minor_ndis_version) = (6, 40);
    (c.friendly_name, c.unique_name, c.service_name) = (counted(&name), counted(&unique), counted(&service));
    c.attach = Some(attach);
    c.detach = Some(detach);
    c.restart = Some(restart);
    c.pause = Some(pause);
    c.send = send;
    c.send_complete = send.is_some().then_some(send_complete);
    c.oid_request = Some(requests);
    c.oid_request_complete = Some(oid_request_complete);
    c.status = Some(status);
    c.net_pnp_event = Some(net_pnp_event);
    let mut slot = null_mut();
    // SAFETY: the object is ours; the extension holds the driver handle; DriverUnload lies at offset 104.
    unsafe {
        if IoAllocateDriverObjectExtension(object, driver_entry as *mut c_void, 8, &mut slot) != 0 {
            return RESOURCES;
        }
        object.byte_add(104).cast::<unsafe extern "win64" fn(*mut c_void)>().write(unload);
        NdisFRegisterFilterDriver(object, slot, &mut c, slot.cast())
    }
}

unsafe extern "win64" fn unload(object: *mut c_void) {
    // SAFETY: allocated by `driver_entry`.
    unsafe {
        let slot = IoGetDriverObjectExtension(object, driver_entry as *mut c_void);
        NdisFDeregisterFilterDriver(*slot.cast::<Handle>());
    }
}

unsafe extern "win64" fn attach(filter: Handle, driver: Handle, _: *mut FilterAttachParameters) -> i32 {
    // SAFETY: by the caller.
    unsafe { attach_as(filter, driver, |hub| Box::into_raw(Box::new(hub))) }
}

/// # Safety
/// `make` gives what begins with the hub.
pub unsafe fn attach_as(filter: Handle, driver: Handle, make: impl FnOnce(Hub) -> *mut Hub) -> i32 {
    let mut handlers = SwitchOptionalHandlers::ZERO;
    handlers.header = ObjectHeader::new(object_type::SWITCH_OPTIONAL_HANDLERS, 1, 112);
    let mut context = null_mut();
    let mut attributes = FilterAttributes::ZERO;
    attributes.header = ObjectHeader::new(object_type::FILTER_ATTRIBUTES, 1, 8);
    // SAFETY: everything lives for the calls; the module lives until `detach`.
    unsafe {
        let status = NdisFGetOptionalSwitchHandlers(filter, &mut context, &mut handlers);
        if status != SUCCESS {
            return status;
        }
        let module = make(Hub {
            driver,
            filter,
            context,
            handlers,
            nics: Vec::new(),
            running: false,
            started: NdisEvent([0; 3]),
            through: false,
            waited: 0,
            events: 0,
            walks: AtomicUsize::new(0),
        });
        NdisInitializeEvent(&raw mut (*module).started);
        NdisFSetAttributes(filter, module.cast(), &mut attributes)
    }
}

unsafe extern "win64" fn detach(context: Handle) {
    // SAFETY: made by `attach`.
    drop(unsafe { Box::from_raw(context.cast::<Hub>()) });
}

unsafe extern "win64" fn pause(context: Handle, _: *mut FilterPauseParameters) -> i32 {
    // SAFETY: the context is ours.
    let hub = unsafe { hub(context) };
    hub.running = false;
    assert_eq!(hub.walks.load(Ordering::SeqCst), 0, "these tests never pause in the middle of a send");
    SUCCESS
}

unsafe extern "win64" fn restart(context: Handle, _: *mut FilterRestartParameters) -> i32 {
    // SAFETY: the context is ours.
    let hub = unsafe { hub(context) };
    if hub.nics.is_empty() {
        let mut parameters = vec![0_u8; size_of::<SwitchParameters>()];
        parameters[..4].copy_from_slice(&[object_type::DEFAULT, 1, 0x15, 0x04]);
        let mut array = vec![0_u8; 65_536];
        array[..4].copy_from_slice(&[object_type::DEFAULT, 1, 20, 0]);
        for (oid, buffer) in
            [(oids::SWITCH_PARAMETERS, &mut parameters), (oids::SWITCH_NIC_ARRAY, &mut array)]
        {
            let status = query(hub, oid, buffer);
            if status != SUCCESS {
                return status;
            }
        }
        hub.nics = connected(&array);
    }
    (hub.running, hub.through) = (true, true);
    // SAFETY: initialised by `attach`.
    unsafe { NdisSetEvent(&raw mut hub.started) };
    SUCCESS
}

/// A request with the event that its completion sets.
#[repr(C)]
struct Query {
    request: OidRequest,
    event: NdisEvent,
    status: i32,
}

fn query(hub: &Hub, oid: u32, buffer: &mut [u8]) -> i32 {
    let mut query = Query { request: OidRequest::ZERO, event: NdisEvent([0; 3]), status: PENDING };
    query.request.header = ObjectHeader::new(object_type::OID_REQUEST, 1, OidRequest::SIZE_REVISION_1);
    query.request.request_type = request_type::QUERY_INFORMATION;
    query.request.oid = oid;
    query.request.information_buffer = buffer.as_mut_ptr().cast();
    query.request.length = u32::try_from(buffer.len()).unwrap();
    let query = &raw mut query;
    // SAFETY: the query lives on this stack until it is complete.
    unsafe {
        NdisInitializeEvent(&raw mut (*query).event);
        let status = NdisFOidRequest(hub.filter, query.cast());
        if status != PENDING {
            return status;
        }
        NdisWaitEvent(&raw mut (*query).event, 0);
        (*query).status
    }
}

fn connected(array: &[u8]) -> Vec<(u32, u16, [u8; 6])> {
    let word = |at: usize| u32::from_le_bytes(array[at..at + 4].try_into().unwrap());
    let first = usize::from(u16::from_le_bytes([array[8], array[9]]));
    let mut nics = Vec::new();
    for index in 0..word(12) as usize {
        let nic = first + index * word(16) as usize;
        let port = word(nic + offset_of!(NicParameters, port_id));
        let index = word(nic + offset_of!(NicParameters, nic_index)) as u16;
        let state = word(nic + offset_of!(NicParameters, nic_state)) as i32;
        let external = word(nic + offset_of!(NicParameters, nic_type)) as i32 == nic_type::EXTERNAL;
        if state == nic_state::CONNECTED && external == (index != 0) {
            let mac = nic + offset_of!(NicParameters, current_mac_address);
            nics.push((port, index, array[mac..mac + 6].try_into().unwrap()));
        }
    }
    nics
}

unsafe extern "win64" fn send(context: Handle, first: *mut NetBufferList, _: u32, flags: u32) {
    // SAFETY: the context is ours, the chain is ours until it is sent.
    unsafe {
        let hub = hub(context);
        hub.walks.fetch_add(1, Ordering::SeqCst);
        let mut next = first;
        while !next.is_null() {
            let list = next;
            next = (*list).next;
            (*list).next = null_mut();
            if hub.running && flood(hub, list) {
                NdisFSendNetBufferLists(hub.filter, list, 0, flags);
            } else {
                (*list).status = if hub.running { FAILURE } else { PAUSED };
                NdisFSendNetBufferListsComplete(hub.filter, list, 0);
            }
        }
        hub.walks.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Everybody but the port it came from.
unsafe fn flood(hub: &Hub, list: *mut NetBufferList) -> bool {
    // SAFETY: the list is ours.
    let detail = ForwardingDetail(unsafe { (*list).info[info::SWITCH_FORWARDING_DETAIL] });
    let targets: Vec<(u32, u16)> = hub
        .nics
        .iter()
        .filter(|(port, ..)| *port != detail.source_port())
        .map(|(port, index, _)| (*port, *index))
        .collect();
    // SAFETY: the list is ours.
    unsafe { assign(hub, list, &targets) }
}

/// Gives a list its destinations; false if there is no room for them.
///
/// # Safety
/// The list is the module's.
pub unsafe fn assign(hub: &Hub, list: *mut NetBufferList, targets: &[(u32, u16)]) -> bool {
    // SAFETY: the list is ours.
    let detail = ForwardingDetail(unsafe { (*list).info[info::SWITCH_FORWARDING_DETAIL] });
    let count = u32::try_from(targets.len()).unwrap();
    let mut array = null_mut();
    let free = u32::from(detail.available_destinations());
    // SAFETY: the handlers came with the context; elements are written behind those already there.
    unsafe {
        if free < count {
            let grow = hub.handlers.grow_net_buffer_list_destinations.unwrap();
            if grow(hub.context, list, count - free, &mut array) != SUCCESS {
                return false;
            }
        } else {
            (hub.handlers.get_net_buffer_list_destinations.unwrap())(hub.context, list, &mut array);
        }
        for (index, (port, nic)) in targets.iter().enumerate() {
            let element = (*array).first_element.add((*array).element_size as usize * index);
            let element = element.cast::<PortDestination>();
            element.write_unaligned(PortDestination {
                port_id: *port,
                nic_index: *nic,
                bits: DestinationBits::empty(),
            });
        }
        (hub.handlers.update_net_buffer_list_destinations.unwrap())(hub.context, list, count, array)
            == SUCCESS
    }
}

unsafe extern "win64" fn send_complete(context: Handle, lists: *mut NetBufferList, flags: u32) {
    // SAFETY: the context is ours; every list is foreign.
    unsafe { NdisFSendNetBufferListsComplete(hub(context).filter, lists, flags) };
}

unsafe extern "win64" fn patient_oid_request(context: Handle, request: *mut OidRequest) -> i32 {
    let hub = context.cast::<Hub>();
    // SAFETY: the module lives until `detach`; its restart runs on another thread.
    unsafe {
        if !(*hub).through {
            (*hub).waited += 1;
            NdisWaitEvent(&raw mut (*hub).started, 0);
        }
        oid_request(context, request)
    }
}

pub unsafe extern "win64" fn oid_request(context: Handle, request: *mut OidRequest) -> i32 {
    let mut clone = null_mut();
    // SAFETY: the context is ours; the request lives until it is completed.
    unsafe {
        let hub = hub(context);
        let status = NdisAllocateCloneOidRequest(hub.filter, request, 0x6275_4821, &mut clone);
        if status != SUCCESS {
            return status;
        }
        (*clone).request_id = (*request).request_id;
        (*clone).source_reserved[0] = request.cast();
        let status = NdisFOidRequest(hub.filter, clone);
        if status != PENDING {
            give_back(hub, clone);
        }
        status
    }
}

unsafe extern "win64" fn oid_request_complete(context: Handle, request: *mut OidRequest, status: i32) {
    // SAFETY: the request is a clone of ours, or a query whose owner waits.
    unsafe {
        let hub = hub(context);
        if (*request).source_reserved[0].is_null() {
            let query = request.cast::<Query>();
            (*query).status = status;
            NdisSetEvent(&raw mut (*query).event);
        } else {
            let original = give_back(hub, request);
            NdisFOidRequestComplete(hub.filter, original, status);
        }
    }
}

/// Moves the results to the original and frees the clone.
unsafe fn give_back(hub: &Hub, clone: *mut OidRequest) -> *mut OidRequest {
    // SAFETY: the clone is back.
    unsafe {
        let original = (*clone).source_reserved[0].cast::<OidRequest>();
        (*original).supported_revision = (*clone).supported_revision;
        (*original).word52 = (*clone).word52;
        if (*original).request_type == request_type::METHOD {
            (*original).method_bytes_written = (*clone).method_bytes_written;
            (*original).method_bytes_read = (*clone).method_bytes_read;
            (*original).method_bytes_needed = (*clone).method_bytes_needed;
        } else {
            (*original).word56 = (*clone).word56;
        }
        NdisFreeCloneOidRequest(hub.filter, clone);
        original
    }
}

unsafe extern "win64" fn status(context: Handle, indication: *mut StatusIndication) {
    // SAFETY: the context is ours.
    unsafe { NdisFIndicateStatus(hub(context).filter, indication) };
}

unsafe extern "win64" fn net_pnp_event(context: Handle, event: *mut NetPnpEventNotification) -> i32 {
    // SAFETY: the context is ours.
    let hub = unsafe { hub(context) };
    let _ = hub.driver;
    hub.events += 1;
    // SAFETY: the event is passed on as it came.
    unsafe { NdisFNetPnPEvent(hub.filter, event) }
}
