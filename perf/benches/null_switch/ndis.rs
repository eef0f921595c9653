//! The functions of ndis.sys and of the switch in as few instructions as possible, and the attachment of one module.

use super::pool::{allocate_context, copy_info, free_context};
use super::probe::{Counting, enter, leave};
use super::requests::{link_state, nic};
use core::ffi::c_void;
use lbfoext::ndis::raw::{
    self, DestinationBits, FilterAttachParameters, FilterAttributes, FilterDriverCharacteristics,
    ForwardingDestinationArray, Handle, NetBufferList, NetPnpEventNotification, NicParameters, ObjectHeader,
    PortDestination, StatusIndication, SwitchContext, SwitchOptionalHandlers, TimerCharacteristics,
    UnicodeString, info, nic_type, object_type,
};
use lbfoext::ndis::sys::NdisEvent;
use std::cell::{Cell, RefCell};
use std::hint::black_box;

/// The forwarding context of a list: its last destination, and a destination array if the list is to be flooded.
#[derive(Default)]
pub struct Context {
    pub destinations: u32,
    pub last: u64,
    pub room: Option<Box<Room>>,
}

/// A destination array and its elements.
pub struct Room {
    array: ForwardingDestinationArray,
    elements: [u64; ROOM],
}

pub const ROOM: usize = 16;

impl Room {
    pub fn new() -> Box<Self> {
        let array = ForwardingDestinationArray {
            num_elements: ROOM as u32,
            element_size: 8,
            ..ForwardingDestinationArray::ZERO
        };
        let mut room = Box::new(Self { array, elements: [0; ROOM] });
        room.array.first_element = room.elements.as_mut_ptr().cast();
        room
    }
}

/// A network adapter that the switch enumerates.
#[derive(Clone, Copy)]
pub struct Vnic {
    pub port: u32,
    pub mac: [u8; 6],
}

#[derive(Default)]
pub struct Stack {
    characteristics: Option<FilterDriverCharacteristics>,
    driver_context: usize,
    module: usize,
    pub nics: Vec<NicParameters>,
    /// The driver's timer, and whom it is set for.
    timer: Option<raw::TimerFunction>,
    set_for: Option<usize>,
}

thread_local! {
    pub static STACK: RefCell<Stack> = RefCell::default();
    static SENT: Sent = const { Sent { calls: Cell::new(0), chains: [const { Cell::new(core::ptr::null_mut()) }; SENT_MAX] } };
}

/// The chains that the driver sent since they were last completed.
struct Sent {
    calls: Cell<usize>,
    chains: [Cell<*mut NetBufferList>; SENT_MAX],
}
const SENT_MAX: usize = 64;

/// The driver, attached and running. With `LOCKING` on it may be called by threads of different processors.
pub struct NullSwitch {
    send: raw::FilterSend,
    send_complete: raw::FilterSendComplete,
    status: raw::FilterStatus,
    pub(super) request: raw::FilterOidRequest,
    pub(super) module: Handle,
}

// SAFETY: function pointers and the address of the module, which locks protect.
unsafe impl Sync for NullSwitch {}

pub const EXTERNAL_PORT: u32 = 1;

impl NullSwitch {
    /// Loads the driver into a switch with `members` adapters of 10 Gbit/s and these vNICs.
    pub fn start(members: u16, vnics: &[Vnic]) -> Self {
        let mut nics: Vec<_> =
            (0..=members).map(|index| nic(EXTERNAL_PORT, index, nic_type::EXTERNAL, [0; 6])).collect();
        nics.extend(vnics.iter().map(|vnic| nic(vnic.port, 0, nic_type::SYNTHETIC, vnic.mac)));
        STACK.with_borrow_mut(|stack| stack.nics = nics);
        let mut object = [0u64; 42];
        let path: Vec<u16> = r"\Registry\Machine\System\Services\lbfoext".encode_utf16().collect();
        let path = UnicodeString::of(&path);
        // SAFETY: a driver object of 336 bytes and a counted string.
        let status = unsafe { lbfoext::entry::driver_entry(object.as_mut_ptr().cast(), &path) };
        assert_eq!(status, 0, "DriverEntry");
        let (characteristics, driver_context) =
            STACK.with_borrow(|stack| (stack.characteristics.expect("registered"), stack.driver_context));
        let mut parameters =
            FilterAttachParameters { filter_module_guid_name: &path, ..FilterAttachParameters::ZERO };
        let (attach, restart) =
            (characteristics.attach.expect("attach"), characteristics.restart.expect("restart"));
        // SAFETY: as NDIS calls them, in this order.
        let attached = unsafe { attach(0x2000 as Handle, driver_context as Handle, &mut parameters) };
        assert_eq!(attached, 0, "FilterAttach");
        let module = STACK.with_borrow(|stack| stack.module) as Handle;
        // SAFETY: as above.
        assert_eq!(unsafe { restart(module, core::ptr::null_mut()) }, 0, "FilterRestart");
        Self {
            send: characteristics.send.expect("send"),
            send_complete: characteristics.send_complete.expect("send complete"),
            status: characteristics.status.expect("status"),
            request: characteristics.oid_request.expect("requests"),
            module,
        }
    }

    /// Sends a chain through the driver, which is completed within the call.
    pub fn send(&self, chain: *mut NetBufferList, flags: u32) {
        // SAFETY: the driver owns the chain until it has completed it, before this returns.
        unsafe { (self.send)(self.module, chain, 0, flags) };
    }

    /// Completes the chain of one send call of the driver.
    pub fn complete(&self, chain: *mut NetBufferList) {
        // SAFETY: a chain that the driver sent.
        unsafe { (self.send_complete)(self.module, chain, 4) };
    }

    /// The work of the smallest forwarding driver: add one destination to each list, then send the chain.
    pub fn send_by_null_driver(&self, chain: *mut NetBufferList, flags: u32) {
        let add = black_box(add_destination as unsafe extern "win64" fn(_, _, _) -> _);
        let mut list = chain;
        while !list.is_null() {
            let mut to =
                PortDestination { port_id: EXTERNAL_PORT, nic_index: 1, bits: DestinationBits::empty() };
            // SAFETY: the lists of a benchmark carry a `Context`.
            list = unsafe {
                add(self.module, list, &raw mut to);
                (*list).next
            };
        }
        // SAFETY: as above.
        unsafe { NdisFSendNetBufferLists(self.module, chain, 0, flags) };
    }

    /// Completes the chains that the driver sent since the last call, at most 64; returns their number.
    pub fn complete_all(&self) -> usize {
        SENT.with(|sent| {
            let calls = sent.calls.replace(0);
            sent.chains[..calls].iter().for_each(|chain| self.complete(chain.get()));
            calls
        })
    }

    /// A member indicates its link state.
    pub fn link(&self, member: u16, up: bool) {
        self.link_at(member, up, 10_000_000_000);
    }

    /// The same with a speed in bits per second.
    pub fn link_at(&self, member: u16, up: bool, speed: u64) {
        let mut state = raw::LinkState { xmit_link_speed: speed, rcv_link_speed: speed, ..link_state(up) };
        let mut inner = StatusIndication {
            header: ObjectHeader::new(object_type::STATUS_INDICATION, 1, 112),
            status_code: raw::LINK_STATE,
            status_buffer: (&raw mut state).cast(),
            status_buffer_size: 40,
            ..StatusIndication::ZERO
        };
        let mut envelope = raw::SwitchNicStatusIndication {
            header: ObjectHeader::new(object_type::DEFAULT, 1, 32),
            source_port_id: EXTERNAL_PORT,
            source_nic_index: member,
            status_indication: &mut inner,
            ..raw::SwitchNicStatusIndication::ZERO
        };
        let mut outer = StatusIndication {
            header: ObjectHeader::new(object_type::STATUS_INDICATION, 1, 112),
            status_code: raw::SWITCH_NIC_STATUS,
            status_buffer: (&raw mut envelope).cast(),
            status_buffer_size: 32,
            ..StatusIndication::ZERO
        };
        enter(Counting::Handlers);
        // SAFETY: all structures are valid during the call.
        unsafe { (self.status)(self.module, &mut outer) };
        leave(Counting::Handlers);
    }

    /// The driver's timer expires, if it is set.
    pub fn tick(&self) -> bool {
        let (function, owner) = STACK.with_borrow_mut(|stack| (stack.timer, stack.set_for.take()));
        let (Some(function), Some(owner)) = (function, owner) else { return false };
        enter(Counting::Handlers);
        // SAFETY: the driver's own function, with the context that it was set with.
        unsafe {
            function(
                core::ptr::null_mut(),
                owner as *mut c_void,
                core::ptr::null_mut(),
                core::ptr::null_mut(),
            );
        }
        leave(Counting::Handlers);
        true
    }
}

#[unsafe(no_mangle)]
unsafe extern "win64" fn NdisFRegisterFilterDriver(
    _: *mut c_void,
    context: Handle,
    characteristics: *mut FilterDriverCharacteristics,
    handle: *mut Handle,
) -> i32 {
    // SAFETY: the driver passes valid places.
    unsafe { handle.write(0x3000 as Handle) };
    STACK.with_borrow_mut(|stack| {
        // SAFETY: as above.
        stack.characteristics = Some(unsafe { *characteristics });
        stack.driver_context = context as usize;
    });
    0
}
#[unsafe(no_mangle)]
unsafe extern "win64" fn NdisFDeregisterFilterDriver(_: Handle) {}
#[unsafe(no_mangle)]
unsafe extern "win64" fn NdisFSetAttributes(_: Handle, module: Handle, _: *mut FilterAttributes) -> i32 {
    STACK.with_borrow_mut(|stack| stack.module = module as usize);
    0
}
#[unsafe(no_mangle)]
unsafe extern "win64" fn NdisFNetPnPEvent(_: Handle, _: *mut NetPnpEventNotification) -> i32 {
    0
}
#[unsafe(no_mangle)]
unsafe extern "win64" fn NdisFGetOptionalSwitchHandlers(
    _: Handle,
    context: *mut SwitchContext,
    handlers: *mut SwitchOptionalHandlers,
) -> i32 {
    // SAFETY: the driver passes valid places.
    unsafe {
        context.write(0x4000 as Handle);
        let header = (*handlers).header;
        handlers.write(SwitchOptionalHandlers {
            header,
            allocate_net_buffer_list_forwarding_context: Some(allocate_context),
            free_net_buffer_list_forwarding_context: Some(free_context),
            set_net_buffer_list_source: Some(set_source),
            add_net_buffer_list_destination: Some(add_destination),
            grow_net_buffer_list_destinations: Some(grow),
            get_net_buffer_list_destinations: Some(get),
            update_net_buffer_list_destinations: Some(update),
            copy_net_buffer_list_info: Some(copy_info),
            reference_switch_nic: Some(reference_nic),
            dereference_switch_nic: Some(reference_nic),
            reference_switch_port: Some(reference_port),
            dereference_switch_port: Some(reference_port),
            report_filtered_net_buffer_lists: Some(report),
            ..SwitchOptionalHandlers::ZERO
        });
    }
    0
}

unsafe extern "win64" fn add_destination(
    _: SwitchContext,
    list: *mut NetBufferList,
    to: *mut PortDestination,
) -> i32 {
    // SAFETY: the lists of a benchmark carry a `Context`.
    unsafe {
        let context = (*list).context.cast::<Context>();
        (*context).last = to.cast::<u64>().read_unaligned();
        (*context).destinations += 1;
        (*list).info[info::SWITCH_FORWARDING_DETAIL] -= 1;
    }
    0
}
unsafe extern "win64" fn set_source(_: SwitchContext, _: *mut NetBufferList, _: u32, _: u16) -> i32 {
    0
}
unsafe extern "win64" fn grow(
    _: SwitchContext,
    _: *mut NetBufferList,
    _: u32,
    _: *mut *mut ForwardingDestinationArray,
) -> i32 {
    raw::RESOURCES
}
unsafe extern "win64" fn get(
    _: SwitchContext,
    list: *mut NetBufferList,
    array: *mut *mut ForwardingDestinationArray,
) {
    // SAFETY: the lists of a benchmark carry a `Context`; the driver passes a valid place.
    unsafe {
        if let Some(room) = &mut (*(*list).context.cast::<Context>()).room {
            array.write(&raw mut room.array);
        }
    }
}
unsafe extern "win64" fn update(
    _: SwitchContext,
    list: *mut NetBufferList,
    count: u32,
    _: *mut ForwardingDestinationArray,
) -> i32 {
    // SAFETY: as above.
    unsafe {
        (*(*list).context.cast::<Context>()).destinations += count;
        (*list).info[info::SWITCH_FORWARDING_DETAIL] -= u64::from(count);
    }
    0
}
unsafe extern "win64" fn reference_nic(_: SwitchContext, _: u32, _: u16) -> i32 {
    0
}
unsafe extern "win64" fn reference_port(_: SwitchContext, _: u32) -> i32 {
    0
}
unsafe extern "win64" fn report(
    _: SwitchContext,
    _: *const UnicodeString,
    _: *const UnicodeString,
    _: u32,
    _: u32,
    _: u32,
    _: *mut NetBufferList,
    _: *const UnicodeString,
) {
}

#[unsafe(no_mangle)]
unsafe extern "win64" fn NdisFSendNetBufferLists(_: Handle, lists: *mut NetBufferList, _: u32, _: u32) {
    SENT.with(|sent| {
        let call = sent.calls.get() % SENT_MAX;
        sent.chains[call].set(lists);
        sent.calls.set(call + 1);
    });
}
#[unsafe(no_mangle)]
unsafe extern "win64" fn NdisFSendNetBufferListsComplete(_: Handle, _: *mut NetBufferList, _: u32) {}
#[unsafe(no_mangle)]
unsafe extern "win64" fn NdisFIndicateReceiveNetBufferLists(
    _: Handle,
    _: *mut NetBufferList,
    _: u32,
    _: u32,
    _: u32,
) {
}
#[unsafe(no_mangle)]
unsafe extern "win64" fn NdisFReturnNetBufferLists(_: Handle, _: *mut NetBufferList, _: u32) {}
#[unsafe(no_mangle)]
unsafe extern "win64" fn NdisFIndicateStatus(_: Handle, _: *mut StatusIndication) {}

#[unsafe(no_mangle)]
unsafe extern "win64" fn NdisAllocateTimerObject(
    _: Handle,
    characteristics: *mut TimerCharacteristics,
    timer: *mut Handle,
) -> i32 {
    // SAFETY: the driver passes valid characteristics.
    STACK.with_borrow_mut(|stack| stack.timer = unsafe { (*characteristics).timer_function });
    // SAFETY: the driver passes a valid place.
    unsafe { timer.write(0x7000 as Handle) };
    0
}
#[unsafe(no_mangle)]
unsafe extern "win64" fn NdisSetTimerObject(_: Handle, _: i64, _: i32, owner: *mut c_void) -> u8 {
    STACK.with_borrow_mut(|stack| u8::from(stack.set_for.replace(owner as usize).is_some()))
}
#[unsafe(no_mangle)]
unsafe extern "win64" fn NdisCancelTimerObject(_: Handle) -> u8 {
    0
}
#[unsafe(no_mangle)]
unsafe extern "win64" fn NdisFreeTimerObject(_: Handle) {}
#[unsafe(no_mangle)]
unsafe extern "win64" fn NdisInitializeEvent(_: *mut NdisEvent) {}
#[unsafe(no_mangle)]
unsafe extern "win64" fn NdisSetEvent(_: *mut NdisEvent) {}
#[unsafe(no_mangle)]
unsafe extern "win64" fn NdisWaitEvent(_: *mut NdisEvent, _: u32) -> u8 {
    1
}
