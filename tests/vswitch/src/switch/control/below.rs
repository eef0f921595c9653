//! The miniport edge for requests: it completes clones as planned, and the extension's own requests from the switch's
//! state, at once, later, or inside the call.

use crate::check::{portnic, requests as course, rule};
use crate::inject;
use crate::machine::cpu;
use crate::machine::memory::AllocationKind;
use crate::machine::slots::ANY;
use crate::machine::world::World;
use crate::shown::arguments;
use crate::switch::control::bytes_at;
use crate::switch::control::own_request;
use crate::switch::control::{Above, Own, REQUEST_SIZE, payload, results};
use crate::switch::ndis::{State, after_this_call, call_with, calls, with};
use crate::switch::ports::NicId;
use lbfoext::ndis::raw::{
    FAILURE, Handle, INVALID_PARAMETER, LinkState, NOT_SUPPORTED, ObjectHeader, OidRequest, PENDING,
    REQUEST_ABORTED, SUCCESS, SwitchNicOidRequest, object_type, oids, request_type,
};

/// When a request completes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Completion {
    /// The status is returned.
    AtOnce,
    /// PENDING is returned, the completion comes later.
    Later,
    /// PENDING is returned, but the completion has already happened.
    InsideTheCall,
}

/// How the miniport edge completes a request from above.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub status: i32,
    /// `None`: the seed decides.
    pub completion: Option<Completion>,
}

impl Default for Plan {
    fn default() -> Self {
        Self { status: SUCCESS, completion: None }
    }
}

/// The change of the switch's state when the miniport edge completes a request with success.
pub type Effect = Option<Box<dyn FnOnce(&World, &mut State) + Send>>;

/// A request came down.
pub fn arrived(filter: Handle, request: *mut OidRequest) -> i32 {
    let taken = with(|world, state| state.take_request(world, filter, request));
    let (module, completion) = match taken {
        Ok(taken) => taken,
        Err(status) => return status,
    };
    before_answer(module, request);
    match completion {
        Completion::AtOnce => {
            let (status, told) = with(|world, state| state.answer(world, module, request, true));
            after_this_call(move || with(|_, state| told.apply(state)));
            status
        }
        Completion::InsideTheCall => {
            complete(module, request as usize);
            PENDING
        }
        Completion::Later => {
            let key = request as usize;
            let request = key as *const OidRequest;
            with(|world, state| {
                let delay = 1 + world.random(state.style.delay.max(1)) + state.list_delay(world, request);
                world.at(world.now() + delay, "request completion", move || complete(module, key));
            });
            PENDING
        }
    }
}

/// Other requests of the switch arrive while the extension takes its picture of it.
fn before_answer(module: usize, request: *mut OidRequest) {
    // SAFETY: the request is out and so alive.
    if unsafe { (*request).oid } != oids::SWITCH_NIC_ARRAY {
        return;
    }
    let step = with(|_, state| {
        let m = &mut state.modules[module];
        if m.arriving { None } else { m.meanwhile.pop_front() }
    });
    if let Some(step) = step {
        arrive(module, step);
    }
}

/// Makes requests on a thread of the switch's, at PASSIVE_LEVEL: the extension may keep it waiting until it has learned of
/// the switch, as extensions that are shipped do.
pub fn arrive(module: usize, requests: impl FnOnce() + Send + 'static) {
    with(|_, state| state.modules[module].arriving = true);
    crate::machine::work::queue("requests of the switch", move || {
        requests();
        with(|_, state| state.modules[module].arriving = false);
        cpu::wake(ANY);
    });
}

/// Waits until the requests of that thread are complete.
pub fn arrived_all(module: usize) {
    cpu::block_until("requests of the switch", || with(|_, s| !s.modules[module].arriving).then_some(()));
}

/// Completes a request with FilterOidRequestComplete.
fn complete(module: usize, key: usize) {
    let request = key as *mut OidRequest;
    let own = with(|_, state| state.control.own.contains_key(&key));
    let (status, told, handler, context) = with(|world, state| {
        let (status, told) = state.answer(world, module, request, false);
        let handler = state.driver.characteristics.and_then(|c| c.oid_request_complete);
        (status, told, handler, state.modules[module].context as Handle)
    });
    if own {
        inject::mixes_up(module);
    }
    if let Some(handler) = handler {
        call_with("FilterOidRequestComplete", module, arguments!(request, status), || {
            // SAFETY: the driver registered this handler and sent this request.
            unsafe { handler(context, request, status) };
        });
    }
    with(|_, state| told.apply(state));
    cpu::wake(ANY);
}

/// The answer about a member's link that the extension got.
#[derive(Clone, Copy)]
pub(super) struct Told {
    module: usize,
    nic: NicId,
    down: Option<bool>,
    order: u64,
}

impl Told {
    pub(super) const NOTHING: Self = Self { module: 0, nic: NicId::NOWHERE, down: None, order: 0 };

    pub(super) fn about(module: usize, nic: NicId, down: bool, order: u64) -> Self {
        Self { module, nic, down: Some(down), order }
    }

    /// Called when the extension has handled the answer.
    fn apply(self, state: &mut State) {
        let Some(down) = self.down else { return };
        let topology = &mut state.modules[self.module].topology;
        topology.settled();
        if down
            && let Some(nic) = topology.nic_mut(self.nic)
            && nic.told <= self.order
        {
            nic.known_down = true;
        }
    }
}

impl State {
    /// How much later than others the extension's request for a list is answered.
    fn list_delay(&self, world: &World, request: *const OidRequest) -> u64 {
        // SAFETY: the request is out and so alive.
        let r = unsafe { &*request };
        if r.oid != oids::SWITCH_NIC_REQUEST || !self.control.own.contains_key(&(request as usize)) {
            return 0;
        }
        // SAFETY: `take_envelope` found the structure in the buffer, and an inner request.
        let inner = unsafe { (*r.information_buffer.cast::<SwitchNicOidRequest>()).oid_request };
        // SAFETY: as above.
        let is_list = crate::adapter::lists::is_list(unsafe { &*inner });
        if is_list && self.style.listing.late > 0 { world.random(self.style.listing.late) } else { 0 }
    }

    /// Determines the issuer of a request and the time of its completion, or the status with which it fails at once.
    pub(crate) fn take_request(
        &mut self,
        world: &World,
        filter: Handle,
        request: *mut OidRequest,
    ) -> Result<(usize, Completion), i32> {
        let clone = self.control.clones.contains_key(&(request as usize));
        // SAFETY: the extension passes a request.
        let to_nic = !clone && unsafe { (*request).oid } == oids::SWITCH_NIC_REQUEST;
        let function = if to_nic { crate::switch::control::TO_A_NIC } else { "NdisFOidRequest" };
        let Some(module) = self.caller(world, filter, function) else {
            return Err(INVALID_PARAMETER);
        };
        let key = request as usize;
        let original = self.control.above.contains_key(&key);
        rule(world, "OID-02", !original, || "a request from above was passed down itself".to_owned());
        if original {
            return Err(FAILURE);
        }
        self.tick();
        let planned = if self.control.clones.contains_key(&key) {
            self.take_clone(world, key)
        } else {
            self.take_own(world, module, key)?
        };
        let drawn = if world.chance(self.style.pending, 100) {
            if world.chance(self.style.inside, 100) { Completion::InsideTheCall } else { Completion::Later }
        } else {
            Completion::AtOnce
        };
        Ok((module, planned.unwrap_or(drawn)))
    }

    fn take_clone(&mut self, world: &World, key: usize) -> Option<Completion> {
        let clone = self.control.clones.get_mut(&key)?;
        clone.out = true;
        let (module, original) = (clone.module, clone.original);
        let above = self.control.above.get_mut(&original)?;
        above.reached_below = true;
        above.course.down = Some(world.now());
        // SAFETY: both requests are alive; the clone was just sent.
        let (now, before) = unsafe { (*(key as *const OidRequest), *(original as *const OidRequest)) };
        let to_nic = before.oid == oids::SWITCH_NIC_REQUEST;
        let same = now.request_type == before.request_type
            && now.oid == before.oid
            && now.length == before.length
            && (to_nic || now.information_buffer == before.information_buffer)
            && now.request_id == before.request_id
            && now.request_handle == before.request_handle
            && now.port_number == before.port_number
            && now.timeout == before.timeout
            && (now.header.revision, now.header.size) == (before.header.revision, before.header.size)
            && (now.switch_id, now.vport_id, now.flags) == (before.switch_id, before.vport_id, before.flags);
        rule(world, "OID-14", same, || format!("the clone of request {:#x} says something else", before.oid));
        let reserved = now.ndis_reserved == [0xDB; 128] && now.miniport_reserved == [0xDB; 16];
        rule(world, "OID-10", reserved, || "reserved members of a clone were written".to_owned());
        let (completion, began_above) = (above.plan.completion, above.began);
        let order = self.order;
        if to_nic {
            return self.take_passed(world, original, key);
        }
        if above.oid == oids::SWITCH_NIC_DISCONNECT
            && above.real
            && let Some(id) = payload::nic_id(&above.payload_before)
        {
            let topology = &mut self.modules[module].topology;
            let held =
                topology.ports.get(&id.port).is_some_and(|p| p.references > 0 && p.referenced >= began_above);
            rule(world, "PORTNIC-12", !held, || {
                format!(
                    "DISCONNECT of {id} went down with a reference of its port that was taken since it came"
                )
            });
            topology.disconnects.insert(id, order);
            if let Some(nic) = topology.nic_mut(id) {
                nic.disconnect_passed = true;
            }
        }
        completion
    }

    fn take_own(&mut self, world: &World, module: usize, key: usize) -> Result<Option<Completion>, i32> {
        // SAFETY: the extension passes a request of its own.
        let r = unsafe { own_request(key as *const OidRequest) };
        let header = r.header.object_type == object_type::OID_REQUEST
            && r.header.revision >= 1
            && r.header.size >= OidRequest::SIZE_REVISION_1;
        rule(world, "OID-24", header, || format!("own request {:#x} without a valid header", r.oid));
        if !header {
            return Err(INVALID_PARAMETER);
        }
        let kind = match r.oid {
            oids::SWITCH_PARAMETERS | oids::SWITCH_PORT_ARRAY | oids::SWITCH_NIC_ARRAY => {
                Some(request_type::QUERY_INFORMATION)
            }
            oids::SWITCH_NIC_REQUEST | oids::SWITCH_PORT_PROPERTY_ENUM | oids::SWITCH_PROPERTY_ENUM => {
                Some(request_type::METHOD)
            }
            _ => None,
        };
        let of_switch = (0x0001_0260..=0x0001_029F).contains(&r.oid);
        rule(world, "OID-28", kind.is_some() || !of_switch, || {
            format!("own request {:#x} is the switch's", r.oid)
        });
        rule(world, "OID-29", kind.is_none_or(|k| k == r.request_type), || {
            format!("own request {:#x} of type {}", r.oid, r.request_type)
        });
        let early = matches!(r.oid, oids::SWITCH_PORT_ARRAY | oids::SWITCH_NIC_ARRAY)
            && !self.modules[module].told_active;
        rule(world, "OID-30", !early, || {
            "an array was asked for before the switch is known to be active".to_owned()
        });
        let began = calls().first().map_or(0, |call| call.began);
        let own = Own { module, oid: r.oid, began, id: r.request_id as usize, cancelled: false, seen: None };
        self.control.own.insert(key, own);
        if r.oid != oids::SWITCH_NIC_REQUEST {
            self.control.nics.asked.push(crate::switch::control::nic_request::Asked(r));
        }
        world.track(AllocationKind::Other("own OID request"), key, 0, "own OID request that is out");
        match r.oid {
            oids::SWITCH_NIC_REQUEST => self.take_envelope(world, module, key, &r)?,
            oids::SWITCH_PORT_PROPERTY_ENUM => self.take_property_enum(world, module, &r),
            _ => {}
        }
        Ok(None)
    }

    /// Completes a request: writes results and applies its effect.
    fn answer(
        &mut self,
        world: &World,
        module: usize,
        request: *mut OidRequest,
        at_once: bool,
    ) -> (i32, Told) {
        let key = request as usize;
        self.back(world, module, key, at_once);
        if let Some(clone) = self.control.clones.get_mut(&key) {
            clone.out = false;
            let (original, cancelled) = (clone.original, clone.cancelled);
            return (self.answer_clone(world, key, original, cancelled), Told::NOTHING);
        }
        let Some(own) = self.control.own.remove(&key) else { return (FAILURE, Told::NOTHING) };
        world.untrack(AllocationKind::Other("own OID request"), key);
        // SAFETY: the request is pending and therefore valid.
        let r = unsafe { &mut *request };
        inject::frees_buffer(r);
        course::alive(world, r);
        inject::restores_buffer(r);
        match own.oid {
            oids::SWITCH_NIC_REQUEST => self.answer_envelope(world, &own, r),
            oids::SWITCH_PARAMETERS | oids::SWITCH_PORT_ARRAY | oids::SWITCH_NIC_ARRAY => {
                (self.answer_query(world, module, own.began, r, at_once), Told::NOTHING)
            }
            oids::SWITCH_PORT_PROPERTY_ENUM => (self.answer_property_enum(world, module, r), Told::NOTHING),
            oids::SWITCH_PROPERTY_ENUM => (self.answer_switch_property_enum(world, r), Told::NOTHING),
            _ => (NOT_SUPPORTED, Told::NOTHING),
        }
    }

    /// A request below is completed: records this for the request from above that waits for it.
    fn back(&mut self, world: &World, module: usize, key: usize, at_once: bool) {
        let original = self.control.clones.get(&key).map(|clone| clone.original);
        for (at, above) in &mut self.control.above {
            if above.module == module && original.is_none_or(|original| original == *at) {
                above.course.back = world.now();
                above.course.at_once |= at_once && original.is_some();
            }
        }
    }

    fn answer_clone(&mut self, world: &World, key: usize, original: usize, cancelled: bool) -> i32 {
        // SAFETY: the clone is out and so alive.
        let r = unsafe { &mut *(key as *mut OidRequest) };
        let to_nic = r.oid == oids::SWITCH_NIC_REQUEST;
        course::alive(world, r);
        let served = if to_nic { self.answer_passed(world, original, r, cancelled) } else { None };
        let Some(above) = self.control.above.get_mut(&original) else { return FAILURE };
        let aborted = cancelled && above.effect.is_none();
        let status = served.unwrap_or(if aborted { REQUEST_ABORTED } else { above.plan.status });
        let word = || 1 + u32::try_from(world.random(1000)).unwrap_or(0);
        r.word52 = word();
        if r.request_type == request_type::METHOD {
            r.method_bytes_written = word();
            r.method_bytes_read = word();
            r.method_bytes_needed = word();
        } else {
            r.word56 = word();
        }
        r.supported_revision = 1 + (word() % 7) as u8;
        unchanged_payload(world, above);
        let status = self.saves.below(above.module, r, (above.length, above.output), status);
        above.results = results(r);
        above.below_status = Some(status);
        let effect = if status == SUCCESS { above.effect.take() } else { None };
        if let Some(effect) = effect {
            effect(world, self);
        }
        world.log(|| format!("below ends a request with {status:#x}"));
        status
    }
}

/// How physical adapters answer OID_GEN_LINK_STATE. No page says that they do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LinkAnswers {
    State,
    /// MediaConnectStateUnknown.
    Unknown,
    /// Not at all: they end it with this status.
    Status(i32),
}

/// NDIS_LINK_STATE of an adapter.
pub fn link_state(up: bool, speed: u64) -> LinkState {
    let mut state = LinkState::ZERO;
    state.header = ObjectHeader::new(object_type::DEFAULT, 1, 40);
    state.media_connect_state = if up {
        LinkState::MEDIA_CONNECT_STATE_CONNECTED
    } else {
        LinkState::MEDIA_CONNECT_STATE_DISCONNECTED
    };
    state.media_duplex_state = 2;
    state.xmit_link_speed = if up { speed } else { LinkState::SPEED_UNKNOWN };
    state.rcv_link_speed = state.xmit_link_speed;
    state
}

/// The same of one that does not know.
pub fn unknown_link_state() -> LinkState {
    let mut state = link_state(false, 0);
    state.media_connect_state = 0;
    state
}

fn unchanged_payload(world: &World, above: &Above) {
    let now = bytes_at(above.buffer, above.length);
    portnic::payload_kept(world, above, &now);
}

const _: () = assert!(REQUEST_SIZE == 248);
