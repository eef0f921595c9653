//! The control path: requests from above, requests of the extension, the miniport edge that completes both.
//!
//! NDIS passes one request from above at a time to a module; the extension's own requests are not serialised with it.
//! `payload` makes payloads, `envelope` encapsulates requests to NICs, `below` is the miniport edge (`nic_request` and
//! `adapters` for adapters), `lifecycle` creates and deletes ports and NICs, `status` indicates status.

mod adapters;
mod answer;
pub mod below;
pub mod buffer;
mod configuration;
pub mod envelope;
pub mod features;
pub mod hearing;
pub mod inner_request;
mod judge;
pub mod lifecycle;
mod listing;
pub mod nic_request;
pub mod offering;
pub mod offload;
pub mod offload_bytes;
mod offload_uses;
pub mod optional;
pub mod payload;
pub mod properties;
pub mod property_bytes;
pub mod save;
pub mod status;

use crate::check::{portnic, requests as course, rule};
use crate::inject;
use crate::machine::cpu;
use crate::machine::memory::AllocationKind;
use crate::machine::slots::ANY;
use crate::machine::world::{self, World};
use crate::mutation::Mutation;
use crate::shown::arguments;
use crate::switch::ndis::refused::Refused;
use crate::switch::ndis::{Life, State, call, call_with, edges, leave, with};
pub use answer::Answer;
use below::Effect;
pub use buffer::results;
pub(crate) use buffer::{bytes_at, own_request};
use lbfoext::ndis::raw::{
    Handle, OidRequest, PENDING, REQUEST_ABORTED, RESOURCES, SUCCESS, oids, request_type,
};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::c_void;

const REQUEST_SIZE: usize = size_of::<OidRequest>();
/// The name of the extension's own requests to a NIC in messages.
pub(crate) const TO_A_NIC: &str = "NdisFOidRequest to a NIC";

/// A request from above that is not completed.
pub struct Above {
    pub module: usize,
    pub oid: u32,
    pub kind: i32,
    pub(crate) buffer: usize,
    pub(crate) length: usize,
    /// OutputBufferLength of a method.
    pub(crate) output: usize,
    request_before: Vec<u8>,
    pub(crate) payload_before: Vec<u8>,
    /// It is about a change of the switch, not only a robustness test.
    pub real: bool,
    /// The thread, and the start of the call of FilterOidRequest.
    pub began: u64,
    /// When it came.
    pub came: u64,
    pub course: course::Course,
    /// The clone that was sent down, if any.
    pub reached_below: bool,
    pub clone_alive: bool,
    pub below_status: Option<i32>,
    /// Result words as the miniport edge set them.
    pub results: [u32; 5],
    pub plan: below::Plan,
    pub effect: Effect,
    completed: u32,
    status: Option<i32>,
    returned: Option<i32>,
    pub life: Life,
    /// It came while the module learned of the switch: before its first restart was over, or in an activation.
    pub learning: bool,
    /// Calls that had been made to fail when it came.
    pub faults: usize,
    /// The module was detached before it could be handed over.
    pub bypassed: bool,
}

/// A clone that the extension allocated.
pub struct CloneOf {
    pub module: usize,
    pub original: usize,
    pub tag: u32,
    pub out: bool,
    pub cancelled: bool,
}

/// A pending request that the extension originated.
pub struct Own {
    pub module: usize,
    pub oid: u32,
    /// Order number at the start of the outermost call of the extension in which it was sent.
    pub began: u64,
    pub id: usize,
    pub cancelled: bool,
    /// For a query to a member: the adapter's state when it was sent.
    pub seen: Option<nic_request::Seen>,
}

#[derive(Default)]
pub struct Control {
    pub above: BTreeMap<usize, Above>,
    pub clones: BTreeMap<usize, CloneOf>,
    pub own: BTreeMap<usize, Own>,
    pub direct: BTreeMap<usize, optional::Direct>,
    busy: BTreeSet<usize>,
    pub status: status::Indications,
    next_id: usize,
    /// Whether the next pending request from above is cancelled.
    pub cancel_next: bool,
    /// Requests to NICs.
    pub nics: nic_request::NicRequests,
    /// Requests in which a call of the extension's was refused.
    pub refused: Refused,
    /// The switch's records of offload resources.
    pub wants: offload::Wants,
    /// Fenced memory: base and size by address.
    pub(crate) fences: BTreeMap<usize, (usize, usize)>,
}

/// A request to be issued from above.
pub struct Ask {
    pub oid: u32,
    pub kind: i32,
    pub payload: Vec<u8>,
    pub plan: below::Plan,
    pub effect: Effect,
    /// InputBufferLength and OutputBufferLength of a method. `None`: both are the payload's.
    pub lengths: Option<(usize, usize)>,
}

impl Ask {
    pub fn set(oid: u32, payload: Vec<u8>, effect: Effect) -> Self {
        Self {
            oid,
            kind: request_type::SET_INFORMATION,
            payload,
            plan: below::Plan::default(),
            effect,
            lengths: None,
        }
    }
}

/// Issues a request from above and waits for its completion.
pub fn request(module: usize, ask: Ask) -> Answer {
    cpu::block_until("the request before", || with(|_, s| s.control.busy.insert(module)).then_some(()));
    if !with(|_, s| s.listens(module)) {
        // The module has been detached meanwhile.
        with(|_, s| s.control.busy.remove(&module));
        cpu::wake(ANY);
        return Answer::aborted();
    }
    finish(start(module, ask))
}

/// Hands the request to the extension. Its key.
fn start(module: usize, ask: Ask) -> usize {
    let world = world::current();
    let length = ask.payload.len();
    let (input, output) = ask.lengths.unwrap_or((length, length));
    let buffer = buffer::take(&world, &ask.payload, "request payload") as *mut u8;
    let memory = world.alloc(AllocationKind::Switch, REQUEST_SIZE, 0, "OID request");
    let key = memory as usize;
    // SAFETY: just allocated with this size.
    unsafe {
        let mut r = OidRequest::ZERO;
        envelope::revise(&world, &mut r);
        r.request_type = ask.kind;
        r.oid = ask.oid;
        r.information_buffer = if length == 0 { std::ptr::null_mut() } else { buffer.cast() };
        r.length = u32::try_from(input).unwrap_or(0);
        if ask.kind == request_type::METHOD {
            r.word52 = u32::try_from(output).unwrap_or(0);
            r.word56 = 77;
        }
        r.timeout = 10;
        r.request_handle = 0x4E44_0FF0_0000_usize as Handle;
        memory.cast::<OidRequest>().write(r);
    }
    with(|world, state| {
        state.control.next_id += 1;
        let id = 0x4E44_1D00_0000 + state.control.next_id;
        // SAFETY: allocated above.
        unsafe { (*memory.cast::<OidRequest>()).request_id = id as *mut c_void };
        let began = state.tick();
        let life = state.life(module);
        let learning = state.modules[module].learning;
        let above = Above {
            module,
            oid: ask.oid,
            kind: ask.kind,
            buffer: buffer as usize,
            length,
            output,
            request_before: bytes_at(key, REQUEST_SIZE),
            payload_before: ask.payload,
            real: ask.effect.is_some(),
            began,
            came: world.now(),
            course: course::Course::default(),
            reached_below: false,
            clone_alive: false,
            below_status: None,
            results: [0; 5],
            plan: ask.plan,
            effect: ask.effect,
            completed: 0,
            status: None,
            returned: None,
            life,
            learning,
            faults: world.faults(),
            bypassed: false,
        };
        state.control.above.insert(key, above);
        world.log(|| format!("request {:#x}", ask.oid));
    });
    let held = inject::holds_request(module);
    if held > 0 {
        with(|world, _| {
            world.at(world.now() + held, "held request", move || {
                crate::machine::work::queue("held request", move || hand_to_extension(module, key));
            });
        });
    } else {
        hand_to_extension(module, key);
    }
    key
}

/// Calls FilterOidRequest, at PASSIVE_LEVEL as long as the module learns of the switch.
fn hand_to_extension(module: usize, key: usize) {
    let (refused, handler, context) = with(|_, state| {
        let oid = state.control.above.get(&key).map_or(0, |a| a.oid);
        let index = state.control.above.get(&key).map_or(0, |a| payload::nic_index(&a.payload_before));
        let flags = state.control.above.get(&key).and_then(|a| a.payload_before.get(4..8));
        let flags = flags.is_some_and(|flags| *flags != [0; 4]);
        let refused = inject::refusal(state, module, oid, index, flags)
            .or_else(|| inject::port_refusal(state, key))
            .or_else(|| inject::saving(state, module, key))
            .or_else(|| inject::nic_decision(state, key))
            .or_else(|| state.control.above.get(&key).and_then(inject::answers_enumeration));
        let handler = state.driver.characteristics.and_then(|c| c.oid_request);
        let here = state.enter(module);
        if let Some(above) = state.control.above.get_mut(&key).filter(|_| !here) {
            // The module is being detached, and this request never comes to it.
            (above.status, above.returned, above.bypassed) =
                (Some(REQUEST_ABORTED), Some(REQUEST_ABORTED), true);
        }
        (refused, handler.filter(|_| here), state.modules[module].context as Handle)
    });
    if with(|_, s| s.control.above.get(&key).is_some_and(|a| a.bypassed)) {
        cpu::wake(ANY);
        return;
    }
    let learning = with(|_, s| s.modules[module].learning);
    let level = if learning { edges::at_the_same_level() } else { edges::at_random_level() };
    let status = match (refused, handler) {
        (Some(status), _) => {
            with(|_, state| inject::as_if_handled(state, key, status));
            status
        }
        // SAFETY: the driver registered this handler; the request is valid until it is finished.
        (None, Some(handler)) => {
            let request = key as *mut OidRequest;
            call_with("FilterOidRequest", module, arguments!(request), || unsafe {
                handler(context, request)
            })
        }
        (None, None) => SUCCESS,
    };
    leave(module);
    let cancel = with(|_, state| std::mem::take(&mut state.control.cancel_next));
    if cancel && status == PENDING {
        cancel_request(module, key);
    }
    level.restore();
    with(|world, state| {
        let status = inject::saved(state, key, status);
        inject::writes_wrong_arm(key as *mut OidRequest, status);
        let Some(above) = state.control.above.get_mut(&key) else { return };
        above.returned = Some(status);
        if status != PENDING {
            above.completed += 1;
            above.status = Some(status);
            above.course.ended = world.now();
        }
        course::returned(world, above, above.completed > 0);
    });
    inject::completes_after_all();
    cpu::wake(ANY);
}

/// Calls FilterCancelOidRequest for a request.
fn cancel_request(module: usize, key: usize) {
    let (handler, context, id) = with(|_, state| {
        let live = state.control.above.get(&key).is_some_and(|a| a.status.is_none());
        // SAFETY: the request is valid while it is in the table.
        let id =
            if live { unsafe { (*(key as *const OidRequest)).request_id } } else { std::ptr::null_mut() };
        let handler = state.driver.characteristics.and_then(|c| c.cancel_oid_request);
        (handler.filter(|_| live && state.enter(module)), state.modules[module].context as Handle, id)
    });
    if let Some(handler) = handler {
        // SAFETY: as in `start`.
        call("FilterCancelOidRequest", module, || unsafe { handler(context, id) });
        leave(module);
    }
}

/// Waits until the request is completed, checks it and frees it.
pub fn finish(key: usize) -> Answer {
    cpu::block_until("the completion of a request", || {
        with(|_, s| s.control.above.get(&key).is_none_or(|a| a.status.is_some() && a.returned.is_some()))
            .then_some(())
    });
    let (answer, buffer) = with(|world, state| {
        let Some(above) = state.control.above.remove(&key) else {
            return (Answer::aborted(), 0);
        };
        state.control.busy.remove(&above.module);
        let answer = Answer {
            status: above.status.unwrap_or(PENDING),
            was_asked: !above.bypassed,
            reached_below: above.reached_below,
            payload: bytes_at(above.buffer, above.length),
            starved: world.faults() > above.faults,
            // SAFETY: freed below.
            ..unsafe { Answer::results_of(&*(key as *const OidRequest)) }
        };
        if !above.bypassed {
            judge::judge(world, state, key, &above, &answer);
        }
        (answer, above.buffer)
    });
    cpu::wake(ANY);
    if buffer != 0 {
        let world = world::current();
        buffer::free(&world, buffer);
        world.free(AllocationKind::Switch, key as *const u8, 0);
    }
    answer
}

crate::exports! {
    pub extern "win64" fn NdisFOidRequest(filter: Handle, request: *mut OidRequest) -> i32 where irql <= DISPATCH {
        crate::machine::locks::leaving("NdisFOidRequest");
        let inner = crate::switch::ndis::calls().last().copied();
        if inner.is_some_and(|call| call.handler == "FilterOidRequest" && !with(|_, s| s.modules[call.module].learning)) {
            inject::waits(Mutation::WaitInRequest);
        }
        inject::requesting(filter, request);
        inject::requesting_for_port(filter, request);
        if inject::sent_later(filter, request) {
            return PENDING;
        }
        let original = with(|_, state| state.control.clones.get(&(request as usize)).map(|clone| clone.original));
        let status = below::arrived(filter, request);
        with(|_, state| {
            inject::undo(state);
            let gone = !state.control.clones.contains_key(&(request as usize));
            let above = original.filter(|_| gone && status == PENDING).and_then(|key| state.control.above.get_mut(&key));
            if let Some(above) = above {
                above.course.freed_inside.push(request as usize);
                inject::touches_clone(request);
            }
        });
        status
    }

    pub extern "win64" fn NdisFOidRequestComplete(
        filter: Handle, request: *mut OidRequest, status: i32
    ) where irql <= DISPATCH {
        crate::machine::locks::leaving("NdisFOidRequestComplete");
        if inject::puts_off_completion(filter, request, status) {
            return;
        }
        let said = inject::completing(filter, request, status);
        with(|world, state| {
            inject::completing_to_nic(state, request, status);
            inject::believes(state, world, request);
        });
        with(|world, state| {
            let Some(_) = state.caller(world, filter, "NdisFOidRequestComplete") else { return };
            if course::mixed_up(world, state, request as usize) {
                return;
            }
            rule(world, "OID-04", said != PENDING, || "a request was completed with PENDING".to_owned());
            let Some(above) = state.control.above.get_mut(&(request as usize)) else {
                return world.violate("OID-09", "NdisFOidRequestComplete for no request from above");
            };
            world.exercised("OID-09");
            above.completed += inject::completions();
            above.course.ended = world.now();
            let late = above.returned.is_some_and(|r| r != PENDING);
            rule(world, "OID-03", !late, || "a request was completed after FilterOidRequest had returned its status".to_owned());
            above.status = Some(if said == PENDING { status } else { said });
        });
        cpu::wake(ANY);
    }

    pub extern "win64" fn NdisFCancelOidRequest(filter: Handle, request_id: *mut c_void) where irql <= DISPATCH {
        crate::machine::locks::leaving("NdisFCancelOidRequest");
        with(|world, state| {
            let Some(module) = state.caller(world, filter, "NdisFCancelOidRequest") else { return };
            let clone = state.control.clones.iter_mut().find(|(key, clone)| {
                // SAFETY: clones in the table are alive.
                clone.module == module && unsafe { (*(**key as *const OidRequest)).request_id } == request_id
            });
            let own = state.control.own.values_mut().filter(|own| own.module == module && own.id == request_id as usize);
            let own: Vec<_> = own.map(|own| own.cancelled = true).collect();
            let known = clone.is_some() || !own.is_empty();
            rule(world, "OID-21", known, || "NdisFCancelOidRequest with an unknown id".to_owned());
            if let Some((_, clone)) = clone {
                clone.cancelled = true;
            }
        });
    }

    pub extern "win64" fn NdisAllocateCloneOidRequest(
        filter: Handle, request: *mut OidRequest, pool_tag: u32, clone: *mut *mut OidRequest
    ) -> i32 where irql <= DISPATCH {
        if crate::machine::fault::fails("NdisAllocateCloneOidRequest") {
            return RESOURCES;
        }
        let world = world::current();
        let known = with(|world, state| {
            let module = state.caller(world, filter, "NdisAllocateCloneOidRequest")?;
            let known = state.control.is_from_above(request as usize);
            rule(world, "OID-02", known, || "a clone of something that did not come from above".to_owned());
            known.then_some(module)
        });
        let Some(module) = known else { return lbfoext::ndis::raw::INVALID_PARAMETER };
        let memory = world.alloc(AllocationKind::OidClone, REQUEST_SIZE, pool_tag, "clone of an OID request");
        // SAFETY: the original lives; the memory was just allocated with this size.
        unsafe {
            let mut copy = *request;
            copy.ndis_reserved = [0xDB; 128];
            copy.miniport_reserved = [0xDB; 16];
            copy.source_reserved = [std::ptr::null_mut(); 2];
            // What of the request counts as its data is said nowhere.
            copy.request_id = 0x4E44_BADD_0000_usize as *mut c_void;
            memory.cast::<OidRequest>().write(copy);
            *clone = memory.cast();
        }
        with(|_, state| {
            let original = request as usize;
            let entry = CloneOf { module, original, tag: pool_tag, out: false, cancelled: false };
            state.control.clones.insert(memory as usize, entry);
            if let Some(above) = state.control.above.get_mut(&original) {
                above.clone_alive = true;
            }
        });
        SUCCESS
    }

    pub extern "win64" fn NdisFreeCloneOidRequest(filter: Handle, clone: *mut OidRequest) where irql <= DISPATCH {
        let _ = filter;
        if inject::keeps_clone() {
            return;
        }
        let world = world::current();
        let known = with(|world, state| {
            let known = state.control.clones.remove(&(clone as usize));
            rule(world, "OID-08", known.as_ref().is_some_and(|c| !c.out), || {
                "NdisFreeCloneOidRequest of something that is no clone, or is still below".to_owned()
            });
            if let Some(above) = known.as_ref().and_then(|k| state.control.above.get_mut(&k.original)) {
                above.clone_alive = false;
            }
            known
        });
        if let Some(known) = known {
            world.free(AllocationKind::OidClone, clone.cast(), known.tag);
        }
    }
}
