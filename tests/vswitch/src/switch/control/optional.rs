//! Calls of optional handlers; NDIS skips an extension that has not registered them.
//!
//! Device PnP events, and direct OID requests, which are not serialised with each other or with other requests and
//! have their own handlers (nc-ndis-filter_direct_oid_request). A driver for NDIS 6.40 cannot register handlers of
//! synchronous requests.

use crate::check::rule;
use crate::exports;
use crate::machine::cpu;
use crate::machine::memory::AllocationKind;
use crate::machine::slots::ANY;
use crate::machine::world::{self, World};
use crate::shown::arguments;
use crate::switch::control::{Control, REQUEST_SIZE, bytes_at, results};
use crate::switch::ndis::{State, call, call_with, edges, with};
use lbfoext::ndis::raw::{
    FAILURE, FilterOidRequest, FilterOidRequestComplete, Handle, INVALID_PARAMETER, ObjectHeader, OidRequest,
    PENDING, SUCCESS, object_type, oids, request_type,
};
use std::ffi::c_void;

/// A direct request that is not completed.
pub struct Direct {
    module: usize,
    /// Status with which it is completed below.
    planned: i32,
    /// Result members and status of the completion below.
    below: Option<([u32; 5], i32)>,
    completed: u32,
    status: Option<i32>,
}

impl Control {
    /// A request of either kind that is not completed.
    pub(super) fn is_from_above(&self, key: usize) -> bool {
        self.above.contains_key(&key) || self.direct.contains_key(&key)
    }
}

/// FILTER_SET_MODULE_OPTIONS.
type SetModuleOptions = unsafe extern "win64" fn(Handle) -> i32;
/// Before each restart, while the module is still paused (starting-a-filter-module). A failure ends the restart.
pub fn set_module_options(module: usize) -> i32 {
    let (handler, context) = with(|_, state| {
        let handler = state.driver.characteristics.map_or(std::ptr::null_mut(), |c| c.set_module_options);
        (handler, state.modules[module].context)
    });
    // SAFETY: the driver registered null or a function of this type in this member.
    let handler = unsafe { std::mem::transmute::<Handle, Option<SetModuleOptions>>(handler) };
    handler.map_or(SUCCESS, |handler| {
        // SAFETY: as above.
        call("FilterSetModuleOptions", module, || unsafe { handler(context as Handle) })
    })
}

/// Issues a direct request and waits for its completion; returns its status.
pub fn request(module: usize, oid: u32, kind: i32, payload: &[u8], planned: i32) -> i32 {
    let world = world::current();
    let (handler, context) = with(|_, state| {
        let handler = state.driver.characteristics.and_then(|c| c.direct_oid_request);
        (handler, state.modules[module].context)
    });
    let Some(handler) = handler.filter(|_| context != 0) else { return planned };
    let memory = world.alloc(AllocationKind::Switch, REQUEST_SIZE, 0, "direct OID request");
    let buffer = world.alloc(AllocationKind::Switch, payload.len().max(1), 0, "payload of a direct request");
    // SAFETY: just allocated with at least this length.
    unsafe { std::ptr::copy_nonoverlapping(payload.as_ptr(), buffer, payload.len()) };
    let request = memory.cast::<OidRequest>();
    let mut r = OidRequest::ZERO;
    r.header = ObjectHeader::new(object_type::OID_REQUEST, 1, OidRequest::SIZE_REVISION_1);
    (r.request_type, r.oid, r.length) = (kind, oid, u32::try_from(payload.len()).unwrap_or(0));
    r.information_buffer = buffer.cast();
    if kind == request_type::METHOD {
        r.word52 = r.length;
    }
    // SAFETY: just allocated with this size.
    unsafe { request.write(r) };
    let direct = Direct { module, planned, below: None, completed: 0, status: None };
    with(|_, state| state.control.direct.insert(memory as usize, direct));
    let level = edges::at_random_level();
    let returned = call_direct(module, handler, context, request);
    level.restore();
    with(|_, state| {
        if let Some(direct) = state.control.direct.get_mut(&(memory as usize)).filter(|_| returned != PENDING)
        {
            direct.completed += 1;
            direct.status = Some(returned);
        }
    });
    cpu::block_until("the completion of a direct request", || {
        with(|_, s| s.control.direct.get(&(memory as usize)).is_none_or(|d| d.status.is_some())).then_some(())
    });
    let status = with(|world, state| {
        let direct = state.control.direct.remove(&(memory as usize))?;
        // SAFETY: freed below.
        judge(
            world,
            oid,
            &direct,
            unsafe { &*request },
            payload == &bytes_at(buffer as usize, payload.len())[..],
        );
        direct.status
    });
    world.free(AllocationKind::Switch, buffer, 0);
    world.free(AllocationKind::Switch, memory, 0);
    status.unwrap_or(FAILURE)
}

fn call_direct(module: usize, handler: FilterOidRequest, context: usize, request: *mut OidRequest) -> i32 {
    call_with("FilterDirectOidRequest", module, arguments!(request), || {
        // SAFETY: the driver registered this handler; the request lives until it is complete.
        unsafe { handler(context as Handle, request) }
    })
}

fn judge(world: &World, oid: u32, direct: &Direct, now: &OidRequest, kept: bool) {
    rule(world, "OID-03", direct.completed == 1, || {
        format!("direct request {oid:#x} completed {} times", direct.completed)
    });
    rule(world, "OID-01", kept, || format!("the payload of direct request {oid:#x} was edited"));
    let Some((words, status)) = direct.below else { return };
    rule(world, "OID-17", direct.status == Some(status), || {
        format!("direct request {oid:#x} ended with {status:#x} below and {:?} above", direct.status)
    });
    let got = results(now);
    rule(world, "OID-07", words[..4] == got[..4], || {
        format!("results of direct request {oid:#x}: {words:?} below, {got:?} above")
    });
}

/// Completes a direct request below: writes results.
fn answer(world: &World, state: &mut State, clone: *mut OidRequest) -> i32 {
    let Some(of) = state.control.clones.get_mut(&(clone as usize)) else { return FAILURE };
    of.out = false;
    let original = of.original;
    let Some(direct) = state.control.direct.get_mut(&original) else { return FAILURE };
    // SAFETY: the clone is pending and therefore valid.
    let r = unsafe { &mut *clone };
    let word = || 1 + u32::try_from(world.random(1000)).unwrap_or(0);
    (r.word52, r.method_bytes_needed) = (word(), word());
    if r.request_type == request_type::METHOD {
        (r.method_bytes_written, r.method_bytes_read) = (word(), word());
    } else {
        r.word56 = word();
    }
    direct.below = Some((results(r), direct.planned));
    direct.planned
}

fn complete(module: usize, clone: usize) {
    let clone = clone as *mut OidRequest;
    let (status, handler, context) = with(|world, state| {
        let status = answer(world, state, clone);
        let handler: Option<FilterOidRequestComplete> =
            state.driver.characteristics.and_then(|c| c.direct_oid_request_complete);
        (status, handler, state.modules[module].context as Handle)
    });
    if let Some(handler) = handler {
        call_with("FilterDirectOidRequestComplete", module, arguments!(clone, status), || {
            // SAFETY: the driver registered this handler and sent this request.
            unsafe { handler(context, clone, status) };
        });
    }
    cpu::wake(ANY);
}

/// FILTER_DEVICE_PNP_EVENT_NOTIFY.
type DevicePnpEventNotify = unsafe extern "win64" fn(Handle, *mut c_void);

/// Size of a NET_DEVICE_PNP_EVENT in bytes; its contents are not used.
const DEVICE_EVENT: usize = 88;

/// Passes a device PnP event to an attached module.
pub fn device_event(module: usize) {
    let world = world::current();
    let (handler, context) = with(|_, state| {
        let handler =
            state.driver.characteristics.map_or(std::ptr::null_mut(), |c| c.device_pnp_event_notify);
        (handler, state.modules[module].context)
    });
    // SAFETY: as in `set_module_options`.
    let handler = unsafe { std::mem::transmute::<Handle, Option<DevicePnpEventNotify>>(handler) };
    let Some(handler) = handler.filter(|_| context != 0) else { return };
    let event = world.alloc(AllocationKind::Switch, DEVICE_EVENT, 0, "NET_DEVICE_PNP_EVENT");
    // SAFETY: just allocated with this size.
    unsafe { event.write_bytes(0, DEVICE_EVENT) };
    // SAFETY: as above; the event lives for the call.
    call("FilterDevicePnPEventNotify", module, || unsafe { handler(context as Handle, event.cast()) });
    world.free(AllocationKind::Switch, event, 0);
}

exports! {
    pub extern "win64" fn NdisFDevicePnPEventNotify(filter: Handle, event: *mut c_void) where irql <= PASSIVE {
        crate::machine::locks::leaving("NdisFDevicePnPEventNotify");
        with(|world, state| {
            if state.caller(world, filter, "NdisFDevicePnPEventNotify").is_some() {
                rule(world, "STATE-20", !event.is_null(), || "no device event passed on".to_owned());
            }
        });
    }

    pub extern "win64" fn NdisFDirectOidRequest(filter: Handle, request: *mut OidRequest) -> i32 where irql <= DISPATCH {
        crate::machine::locks::leaving("NdisFDirectOidRequest");
        let taken = with(|world, state| {
            let module = state.caller(world, filter, "NdisFOidRequest")?;
            let clone = state.control.clones.get_mut(&(request as usize));
            let known = clone.as_ref().is_some_and(|clone| state.control.direct.contains_key(&clone.original));
            rule(world, "OID-02", known, || "a direct request went down that is no clone of one".to_owned());
            // SAFETY: the extension passes a request.
            let of_switch = unsafe { (*request).oid } == oids::SWITCH_NIC_REQUEST;
            rule(world, "OID-28", !of_switch, || "an envelope went down as a direct request".to_owned());
            clone.filter(|_| known)?.out = true;
            Some((module, world.random(3)))
        });
        let key = request as usize;
        match taken {
            None => INVALID_PARAMETER,
            Some((_, 0)) => with(|world, state| answer(world, state, request)),
            Some((module, 1)) => {
                complete(module, key);
                PENDING
            }
            Some((module, _)) => with(|world, state| {
                let delay = 1 + world.random(state.style.delay.max(1));
                world.at(world.now() + delay, "direct request completion", move || complete(module, key));
                PENDING
            }),
        }
    }

    pub extern "win64" fn NdisFDirectOidRequestComplete(
        filter: Handle, request: *mut OidRequest, status: i32
    ) where irql <= DISPATCH {
        crate::machine::locks::leaving("NdisFDirectOidRequestComplete");
        with(|world, state| {
            let Some(module) = state.caller(world, filter, "NdisFOidRequestComplete") else { return };
            rule(world, "OID-04", status != PENDING, || "a request was completed with PENDING".to_owned());
            let direct = state.control.direct.get_mut(&(request as usize)).filter(|direct| direct.module == module);
            rule(world, "OID-09", direct.is_some(), || "NdisFDirectOidRequestComplete for no request".to_owned());
            if let Some(direct) = direct {
                direct.completed += 1;
                direct.status = Some(status);
            }
        });
        cpu::wake(ANY);
    }
}
