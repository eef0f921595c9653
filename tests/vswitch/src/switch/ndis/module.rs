//! The life cycle of a filter module: attach, restart, pause, detach, events.
//!
//! The functions above the exports are what NDIS does; the scenario calls them on a simulated thread at PASSIVE.

use crate::adapter::ExternalNetwork;
use crate::check::rule;
use crate::exports;
use crate::inject;
use crate::machine::memory::AllocationKind;
use crate::machine::thread;
use crate::machine::world::{self, World};
use crate::shown::arguments;
use crate::switch::control;
use crate::switch::ndis::detach::{detach_now, operate};
use crate::switch::ndis::driver::Text;
use crate::switch::ndis::packet::PacketStage;
use crate::switch::ndis::{
    Life, Module, Restart, State, call, call_with, edges, handlers, leaks, leave, with,
};
use crate::switch::ports::{Nic, NicState, Topology};
use lbfoext::ndis::raw::{
    FAILURE, FilterAttachParameters, FilterAttributes, FilterPauseParameters, FilterRestartParameters,
    Handle, INVALID_PARAMETER, MEDIUM_802_3, NOT_SUPPORTED, NetPnpEvent, NetPnpEventNotification,
    ObjectHeader, PENDING, RESOURCES, SUCCESS, SwitchContext, SwitchOptionalHandlers, object_type,
};
use std::collections::BTreeSet;
use std::ffi::c_void;
use std::ptr;

/// Adds a stack that the driver may attach to.
pub fn add_module(is_switch: bool, is_active: bool) -> usize {
    with(|_, state| {
        let index = state.modules.len();
        let filter = state.fresh_handle(1);
        let switch = if is_switch { state.fresh_handle(2) } else { 0 };
        state.modules.push(Module {
            index,
            filter,
            switch,
            context: 0,
            attributes_set: 0,
            asked_handlers: false,
            life: Life::Detached,
            leaving: false,
            busy: false,
            calls_running: 0,
            is_active,
            told_active: false,
            enumerations: 0,
            refused_at: None,
            read: None,
            answers: crate::check::requests::Answers::default(),
            attached_before: false,
            attach_mark: 0,
            attach_faults: 0,
            pauses: 0,
            pause_entered: 0,
            restart: None,
            sends_running: BTreeSet::new(),
            receives_running: BTreeSet::new(),
            topology: Topology::default(),
            learned: crate::switch::ndis::learned::Learned::default(),
            spoken: std::collections::BTreeSet::new(),
            holders: crate::switch::ndis::holders::Holders::default(),
            arrivals: crate::check::arrivals::Ledger::default(),
            external: ExternalNetwork::default(),
            queues: edges::Queues::default(),
            bypassing: edges::Lists::new(),
            event_passed_up: false,
            last_enumeration: 0,
            growth: std::collections::VecDeque::new(),
            meanwhile: std::collections::VecDeque::new(),
            arriving: false,
            learning: false,
            learned_at: 0,
        });
        index
    })
}

/// Attaches a module; returns the status of FilterAttach.
pub fn attach(module: usize) -> i32 {
    operate(module, &[Life::Detached], || attach_now(module)).unwrap_or(FAILURE)
}

fn attach_now(module: usize) -> i32 {
    let world = world::current();
    let mark = leaks::newest(&world);
    let (attach, filter, is_switch, inside) = with(|_, state| {
        let inside = state.driver.registering;
        let filter = state.fresh_handle(1);
        let fresh_switch = state.fresh_handle(2);
        let m = &mut state.modules[module];
        m.life = Life::Attaching;
        m.learning = true;
        m.leaving = false;
        state.saves.forget_all(module);
        m.filter = filter;
        if m.switch != 0 {
            m.switch = fresh_switch;
        }
        m.attributes_set = 0;
        m.asked_handlers = false;
        m.enumerations = 0;
        m.refused_at = None;
        m.read = None;
        m.answers.forget();
        m.told_active = false;
        m.context = 0;
        m.attach_mark = mark;
        m.attach_faults = world.faults();
        m.topology.forget_told();
        m.topology.attached();
        m.topology.nics_mut().for_each(forget);
        state.saves.memory.retain(|(of, _), _| *of != module);
        state.control.refused.forget_all(module);
        (state.driver.characteristics.and_then(|c| c.attach), filter, m.is_switch(), inside)
    });
    let Some(attach) = attach else { return FAILURE };
    let names = [
        Text::new(
            &world,
            "{5C9D3F62-0D4B-4A0C-9A0E-31B0A2D4E6F8}-{6E3C2C0F-5A0B-4C55-9E0E-7B1B8B1F5D21}-0000",
        ),
        Text::new(&world, "\\Device\\{5C9D3F62-0D4B-4A0C-9A0E-31B0A2D4E6F8}"),
        Text::new(&world, "Simulated Virtual Switch"),
    ];
    let mut parameters = FilterAttachParameters::ZERO;
    parameters.header = ObjectHeader::new(object_type::FILTER_ATTACH_PARAMETERS, 4, 224);
    parameters.if_index = 7;
    parameters.filter_module_guid_name = names[0].as_ptr();
    parameters.base_miniport_instance_name = names[2].as_ptr();
    parameters.base_miniport_name = names[1].as_ptr();
    parameters.miniport_media_type = MEDIUM_802_3;
    parameters.mac_address_length = 6;
    let context = with(|_, state| state.driver.handle_context);
    let status = call("FilterAttach", module, || {
        // SAFETY: the driver registered this handler; the arguments live for the call.
        unsafe { attach(filter as Handle, context as Handle, &raw mut parameters) }
    });
    names.into_iter().for_each(|name| name.free(&world));
    let anyway = inject::attaches_anyway(is_switch);
    let status = if inject::fails_attach(inside, is_switch) { give_up(module, status) } else { status };
    with(|world, state| attached(world, state, module, if anyway { SUCCESS } else { status }, inside));
    if status != SUCCESS {
        leaks::after_failure(&world, mark, Some("FilterAttach"), "STATE-08");
        with(|_, state| state.modules[module].life = Life::Detached);
    }
    status
}

/// Detaches an attached module again, as if its attach had failed.
fn give_up(module: usize, status: i32) -> i32 {
    let (detach, context) =
        with(|_, state| (state.driver.characteristics.and_then(|c| c.detach), state.modules[module].context));
    if let (SUCCESS, Some(detach)) = (status, detach) {
        // SAFETY: as in `attach`.
        call("FilterDetach", module, || unsafe { detach(context as Handle) });
    }
    FAILURE
}

fn attached(world: &World, state: &mut State, module: usize, status: i32, inside: bool) {
    let m = &mut state.modules[module];
    let (set, is_switch) = (m.attributes_set, m.is_switch());
    let ok = status == SUCCESS;
    if ok {
        m.life = Life::Paused;
    }
    if ok && !state.installed.role.forwards() {
        // An extension that does not forward does not query the array; only the switch knows the NICs.
        m.topology.nics_mut().for_each(|nic| nic.usable = nic.state == NicState::Connected);
    }
    rule(world, "STATE-06", !ok || set == 1 || !is_switch, || {
        format!("NdisFSetAttributes was called {set} times in one attach")
    });
    rule(world, "STATE-04", !ok || is_switch, || {
        "attached to a stack that is no extensible switch".to_owned()
    });
    let refused = world.faults() > m.attach_faults;
    if inside {
        rule(world, "STATE-01", ok || refused || !is_switch, || {
            format!("FilterAttach from inside registration failed with {status:#x}")
        });
    }
}

/// Clears the extension's knowledge of a NIC, which ends with the module.
pub(super) fn forget(nic: &mut Nic) {
    nic.usable = false;
    nic.known_down = false;
    nic.disconnect_passed = false;
    nic.from_array = false;
}

/// Restarts a paused module; returns the status of FilterRestart. A module that fails it is detached, and the stack
/// continues without it (starting-a-filter-module: an optional filter).
pub fn restart(module: usize) -> i32 {
    operate(module, &[Life::Paused], || restart_now(module)).unwrap_or(FAILURE)
}

fn restart_now(module: usize) -> i32 {
    let world = world::current();
    let options = control::optional::set_module_options(module);
    if options != SUCCESS {
        return options;
    }
    let (handler, context) = with(|_, state| {
        let m = &mut state.modules[module];
        m.life = Life::Restarting;
        m.restart = Some(Restart { thread: thread::current().shared.clone(), sends: Vec::new() });
        m.topology.changed();
        (state.driver.characteristics.and_then(|c| c.restart), m.context)
    });
    let Some(handler) = handler else { return FAILURE };
    // Restart attributes of an unknown type, or none; the extension must not change them.
    let attributes = world.alloc(AllocationKind::Switch, 64, 0, "restart attributes");
    // SAFETY: just allocated with this size.
    unsafe { attributes.write_bytes(0x3C, 64) };
    let mut parameters = FilterRestartParameters::ZERO;
    parameters.header = ObjectHeader::new(object_type::FILTER_RESTART_PARAMETERS, 1, 48);
    let given = if world.random(2) == 0 { ptr::null_mut() } else { attributes.cast::<c_void>() };
    parameters.restart_attributes = given;
    inject::release_held();
    let status = call("FilterRestart", module, || {
        // SAFETY: as in `attach`.
        let status = unsafe { handler(context as Handle, &raw mut parameters) };
        with(|world, state| judge_early_sends(world, state, module, status));
        status
    });
    inject::restarted(attributes);
    // SAFETY: allocated above and still ours.
    let intact = unsafe { std::slice::from_raw_parts(attributes, 64) }.iter().all(|b| *b == 0x3C);
    rule(&world, "STATE-17", intact && parameters.restart_attributes == given, || {
        "restart attributes were changed".to_owned()
    });
    world.free(AllocationKind::Switch, attributes, 0);
    with(|world, state| restarted(world, state, module, status));
    if status != SUCCESS {
        detach_now(module);
    }
    status
}

/// Sends before the restart was complete; see `Restart`.
fn judge_early_sends(world: &World, state: &mut State, module: usize, status: i32) {
    let m = &mut state.modules[module];
    let Some(restart) = m.restart.as_mut() else { return };
    let imports = restart.imports();
    let sends = std::mem::take(&mut restart.sends);
    let early = sends.into_iter().filter(|(then, _)| *then != imports || status != SUCCESS);
    early.for_each(|(_, seen)| world.report(seen));
    if status == SUCCESS {
        m.life = Life::Running;
    }
}

fn restarted(world: &World, state: &mut State, module: usize, status: i32) {
    rule(world, "STATE-16", status != PENDING, || {
        "FilterRestart pended although the driver never calls NdisFRestartComplete".to_owned()
    });
    inject::enumerates_again(state, module);
    let m = &mut state.modules[module];
    let ok = status == SUCCESS;
    // An extension that does not forward need not know the configuration.
    let must_know = state.installed.role.forwards();
    m.restart = None;
    m.life = if ok { Life::Running } else { Life::Paused };
    if ok && m.is_active && (must_know || m.enumerations > 0) {
        let count = m.enumerations;
        // What was refused on the way is put again.
        let once = count == 1 || m.refused_at.is_some() || m.was_refused(world);
        rule(world, "STATE-19", once, || format!("the switch was enumerated {count} times"));
    }
    m.learned(world);
    m.topology.changed();
}

/// Pauses a running module and checks that it holds no packets.
pub fn pause(module: usize) {
    operate(module, &[Life::Running], || pause_now(module));
}

fn pause_now(module: usize) {
    let (handler, context) = with(|_, state| {
        let order = state.tick();
        let m = &mut state.modules[module];
        m.life = Life::Pausing;
        m.pause_entered = order;
        m.topology.changed();
        (state.driver.characteristics.and_then(|c| c.pause), m.context)
    });
    let Some(handler) = handler else { return };
    with(|world, state| {
        if inject::pauses_early(state, module) {
            check_paused(world, state, module);
        }
    });
    let mut parameters = FilterPauseParameters::ZERO;
    parameters.header = ObjectHeader::new(object_type::FILTER_PAUSE_PARAMETERS, 1, 12);
    let status = call("FilterPause", module, || {
        // SAFETY: as in `attach`.
        unsafe { handler(context as Handle, &raw mut parameters) }
    });
    let status = inject::paused(status);
    with(|world, state| {
        rule(world, "STATE-10", status == SUCCESS, || {
            format!("FilterPause returned {status:#x}; NdisFPauseComplete is never called")
        });
        check_paused(world, state, module);
        let m = &mut state.modules[module];
        m.life = Life::Paused;
        m.pauses += 1;
    });
    inject::release_held();
}

fn check_paused(world: &World, state: &mut State, module: usize) {
    let m = &state.modules[module];
    let walking = !m.sends_running.is_empty();
    let entered = m.pause_entered;
    let all: Vec<_> = state.packets.all().into_iter().filter(|p| p.switch == module).collect();
    let own_out = all.iter().filter(|p| p.own.is_some() && p.place != PacketStage::Idle).count();
    // A parent that waits for its children is not a queued list.
    let queued = |p: &&&crate::switch::ndis::packet::Packet| {
        p.own.is_none() && p.given < entered && p.children_out == 0
    };
    let held = |place| all.iter().filter(queued).filter(move |p| p.place == place);
    // Lists from below may be passed on while the module pauses and when it is paused (nc-ndis-filter_pause), so a
    // list whose FilterReceive is still running is not held.
    let kept = |p: &&&crate::switch::ndis::packet::Packet| !m.receives_running.contains(&p.given);
    let (ingress, egress) =
        (held(PacketStage::Ingress).count(), held(PacketStage::Egress).filter(kept).count());
    rule(world, "DATA-75", own_out == 0, || format!("the pause completed with {own_out} own packets out"));
    rule(world, "STATE-11", ingress == 0 || walking, || {
        format!("the pause completed with {ingress} sends held")
    });
    rule(world, "STATE-13", egress == 0, || format!("the pause completed with {egress} receives held"));
}

/// Activates the switch and sends the event to its module, once.
pub fn activate(module: usize) {
    let becomes = with(|_, state| {
        let attached = state.life(module) != Life::Detached;
        let m = &mut state.modules[module];
        let becomes = attached && !m.is_active;
        m.is_active |= becomes;
        m.told_active |= becomes;
        if becomes {
            // Until the event is handled, the module's knowledge is undetermined.
            m.topology.unsettled();
            m.learning = true;
        }
        becomes
    });
    if !becomes {
        return;
    }
    let told = net_event(module, NetPnpEvent::SWITCH_ACTIVATE);
    with(|world, state| {
        let m = &mut state.modules[module];
        m.topology.settled();
        if m.life == Life::Running {
            m.learned(world);
        }
        if !told {
            return;
        }
        let (count, refused) = (m.enumerations, m.refused_at.is_some() || m.was_refused(world));
        let needless = count == 0 && !state.installed.role.forwards();
        rule(world, "STATE-19", count == 1 || needless || refused, || {
            format!("the switch was enumerated {count} times by its activation")
        });
    });
}

/// Sends a network event to a module; it must be passed up. False if no module is there.
pub fn net_event(module: usize, event: i32) -> bool {
    operate(module, &[Life::Paused, Life::Running], || net_event_now(module, event)).is_some()
}

fn net_event_now(module: usize, event: i32) {
    let (handler, context) = with(|_, state| {
        let m = &mut state.modules[module];
        m.event_passed_up = false;
        (state.driver.characteristics.and_then(|c| c.net_pnp_event), m.context)
    });
    // A module that failed to attach gets no events.
    let Some(handler) = handler.filter(|_| context != 0) else { return };
    let mut notification = NetPnpEventNotification::ZERO;
    notification.header = ObjectHeader::new(object_type::DEFAULT, 1, 168);
    notification.net_pnp_event.net_event = event;
    call_with("FilterNetPnPEvent", module, arguments!(event), || {
        // SAFETY: as in `attach`.
        unsafe { handler(context as Handle, &raw mut notification) }
    });
    with(|world, state| {
        let passed = state.modules[module].event_passed_up;
        rule(world, "STATE-20", passed, || format!("network event {event} was not passed up"));
    });
}

/// Calls FilterCancelSendNetBufferLists with this id.
pub fn cancel_send(module: usize, id: usize) {
    let (handler, context) = with(|_, state| {
        let handler = state.driver.characteristics.and_then(|c| c.cancel_send);
        (handler.filter(|_| state.enter(module)), state.modules[module].context)
    });
    if let Some(handler) = handler {
        // SAFETY: as in `attach`.
        call("FilterCancelSendNetBufferLists", module, || unsafe {
            handler(context as Handle, id as *mut c_void)
        });
        leave(module);
    }
    with(|world, state| {
        let idle = state.modules[module].sends_running.is_empty();
        let is_held = |p: &&crate::switch::ndis::packet::Packet| {
            p.switch == module && p.own.is_none() && p.place == PacketStage::Ingress && p.cancel_id == id
        };
        let held = state.packets.all().into_iter().filter(is_held).count();
        rule(world, "DATA-14", held == 0 || !idle, || {
            format!("{held} packets of a cancelled id are still held")
        });
    });
    inject::cancelled();
}

exports! {
    pub extern "win64" fn NdisFSetAttributes(
        filter: Handle, module_context: Handle, attributes: *mut FilterAttributes
    ) -> i32 where irql <= PASSIVE {
        if crate::machine::fault::fails("NdisFSetAttributes") {
            return RESOURCES;
        }
        let times = inject::attribute_calls(filter);
        // SAFETY: the driver passes a readable structure.
        let header = unsafe { (*attributes).header };
        with(|world, state| {
            let Some(module) = state.module_of(filter) else {
                world.violate("STATE-24", "NdisFSetAttributes with an unknown handle");
                return INVALID_PARAMETER;
            };
            let m = &mut state.modules[module];
            m.attributes_set += times;
            let attaching = m.life == Life::Attaching;
            rule(world, "STATE-06", attaching, || "NdisFSetAttributes outside FilterAttach".to_owned());
            let valid = header.object_type == object_type::FILTER_ATTRIBUTES && header.revision == 1 && header.size >= 8;
            rule(world, "STATE-06", valid, || "NDIS_FILTER_ATTRIBUTES without a valid header".to_owned());
            m.context = module_context as usize;
            if valid { SUCCESS } else { INVALID_PARAMETER }
        })
    }

    pub extern "win64" fn NdisFGetOptionalSwitchHandlers(
        filter: Handle, context: *mut SwitchContext, table: *mut SwitchOptionalHandlers
    ) -> i32 where irql <= DISPATCH {
        if crate::machine::fault::fails("NdisFGetOptionalSwitchHandlers") {
            return RESOURCES;
        }
        // SAFETY: the driver passes a structure of at least the size in its header.
        let header = unsafe { (*table).header };
        let switch = with(|world, state| {
            let module = state.module_of(filter)?;
            let valid = header.object_type == object_type::SWITCH_OPTIONAL_HANDLERS
                && header.revision >= 1
                && header.size >= SwitchOptionalHandlers::SIZE_REVISION_1;
            rule(world, "STATE-04", valid, || "NDIS_SWITCH_OPTIONAL_HANDLERS without a valid header".to_owned());
            state.modules[module].asked_handlers = true;
            valid.then_some(state.modules[module].switch)
        });
        let Some(switch) = switch else { return INVALID_PARAMETER };
        inject::got_handlers(switch != 0);
        if switch == 0 {
            return NOT_SUPPORTED;
        }
        give_table(table, header.size);
        // SAFETY: the driver passes a writable context.
        unsafe { *context = switch as SwitchContext };
        SUCCESS
    }

    pub extern "win64" fn NdisFNetPnPEvent(
        filter: Handle, event: *mut NetPnpEventNotification
    ) -> i32 where irql <= PASSIVE {
        crate::machine::locks::leaving("NdisFNetPnPEvent");
        if inject::loses_event() {
            return SUCCESS;
        }
        with(|world, state| {
            if let Some(module) = state.caller(world, filter, "NdisFNetPnPEvent") {
                rule(world, "STATE-20", !event.is_null(), || "no network event passed up".to_owned());
                state.modules[module].event_passed_up = true;
            }
        });
        SUCCESS
    }
}

/// Returns the table of revision 1; fills further members of the caller's structure with traps.
fn give_table(table: *mut SwitchOptionalHandlers, size: u16) {
    let mut given = handlers::table();
    given.header =
        ObjectHeader::new(object_type::SWITCH_OPTIONAL_HANDLERS, 1, SwitchOptionalHandlers::SIZE_REVISION_1);
    given.set_net_buffer_list_switch_context = handlers::entry::beyond_the_revision as *mut c_void;
    given.get_net_buffer_list_switch_context = handlers::entry::beyond_the_revision as *mut c_void;
    let bytes = usize::from(size).min(size_of::<SwitchOptionalHandlers>());
    // SAFETY: the driver's structure has `size` bytes.
    unsafe { ptr::copy_nonoverlapping((&raw const given).cast::<u8>(), table.cast::<u8>(), bytes) };
}

/// Pending requests of the extension, for the check at detach.
impl control::Control {
    pub fn own_out(&self, module: usize) -> usize {
        self.own.values().filter(|own| own.module == module).count()
    }
}
