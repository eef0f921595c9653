//! Mutations in the life of driver and module: registration, attach, restart, pause, detach, requests, events.

use crate::inject::state::{commit, is, pending};
use crate::machine::clock::SECOND;
use crate::machine::kernel::{ExAllocatePool2, ExFreePoolWithTag};
use crate::machine::memory::AllocationKind;
use crate::machine::world;
use crate::mutation::Mutation;
use crate::switch::control::status::NdisFIndicateStatus;
use crate::switch::ndis::module::NdisFNetPnPEvent;
use crate::switch::ndis::{Life, State, with};
use lbfoext::ndis::raw::{
    DATA_NOT_ACCEPTED, FAILURE, FilterDriverCharacteristics, Handle, NetPnpEventNotification, ObjectHeader,
    SUCCESS, StatusIndication, object_type, oids,
};

/// What the checks of registration see.
pub(crate) fn characteristics(mut c: FilterDriverCharacteristics) -> FilterDriverCharacteristics {
    match pending() {
        Some(Mutation::WrongUniqueName) if commit() => c.unique_name.length -= 2,
        Some(Mutation::NoStatusHandler) if commit() => c.status = None,
        _ => {}
    }
    c
}

/// What DriverEntry seems to return.
pub(crate) fn entry(status: i32) -> i32 {
    if status == SUCCESS && is(Mutation::StayRegistered) { FAILURE } else { status }
}

/// FilterAttach gives up although nothing is wrong.
pub(crate) fn fails_attach(inside: bool, is_switch: bool) -> bool {
    inside && is_switch && is(Mutation::AttachTooEarly)
}

/// FilterAttach succeeds although the stack is no switch.
pub(crate) fn attaches_anyway(is_switch: bool) -> bool {
    !is_switch && is(Mutation::AttachAnyway)
}

/// Calls of NdisFSetAttributes that one call stands for.
pub(crate) fn attribute_calls(filter: Handle) -> u32 {
    if is(Mutation::EventWhileAttaching) {
        event(filter);
    }
    if is(Mutation::IndicateWhileAttaching) {
        indicate(filter);
    }
    crate::inject::requests::asks_while_attaching(filter);
    if is(Mutation::AttributesTwice) { 2 } else { 1 }
}

fn event(filter: Handle) {
    let mut notification = NetPnpEventNotification::ZERO;
    // SAFETY: the notification lives for the call.
    unsafe { NdisFNetPnPEvent(filter, &raw mut notification) };
}

fn indicate(filter: Handle) {
    let mut status = StatusIndication::ZERO;
    status.header = ObjectHeader::new(object_type::STATUS_INDICATION, 1, 112);
    status.source_handle = filter;
    status.status_code = 0x4001_0003;
    // SAFETY: the indication lives for the call.
    unsafe { NdisFIndicateStatus(filter, &raw mut status) };
}

/// NdisFGetOptionalSwitchHandlers has answered.
pub(crate) fn got_handlers(is_switch: bool) {
    if !is_switch && is(Mutation::LeakAtFailedAttach) {
        world::current().alloc(AllocationKind::Pool, 16, 0x6B61_654C, "forgotten at a failed attach");
    }
    if is_switch && is(Mutation::UseNewerHandler) {
        // SAFETY: the function has no arguments that matter.
        unsafe { crate::switch::ndis::handlers::entry::beyond_the_revision() };
    }
}

/// FilterRestart has returned.
pub(crate) fn restarted(attributes: *mut u8) {
    if is(Mutation::TouchAttributes) {
        // SAFETY: the attributes are the switch's memory.
        unsafe { *attributes = 0 };
    }
}

/// A later restart reads the configuration again.
pub(crate) fn enumerates_again(state: &mut State, module: usize) {
    let m = &mut state.modules[module];
    if m.enumerations == 1 && m.pauses > 0 && is(Mutation::EnumerateTwice) {
        m.enumerations += 1;
    }
}

/// A query fails and the driver does not care.
pub(crate) fn ignores_failed_query() -> bool {
    is(Mutation::IgnoreFailedQuery)
}

/// FilterPause returns before anything has ended.
pub(crate) fn pauses_early(state: &State, module: usize) -> bool {
    let out = state.packets.all().iter().any(|p| {
        p.switch == module && p.own.is_some() && p.place != crate::switch::ndis::packet::PacketStage::Idle
    });
    out && is(Mutation::PauseEarly)
}

/// What FilterPause returns.
pub(crate) fn paused(status: i32) -> i32 {
    if is(Mutation::PauseFails) { FAILURE } else { status }
}

/// FilterDetach is about to return.
pub(crate) fn detaching() {
    if is(Mutation::LeakAtDetach) {
        world::current().alloc(AllocationKind::Pool, 16, 0x6B61_654C, "forgotten at detach");
    }
}

/// FilterDetach has returned.
pub(crate) fn detached(filter: usize) {
    if is(Mutation::EventAfterDetach) {
        event(filter as Handle);
    }
}

/// DriverUnload is about to deregister.
pub(crate) fn deregistering() {
    let unloading = with(|_, state| state.driver.unloading);
    if unloading && is(Mutation::FreeBeforeDeregistration) {
        // SAFETY: allocated and freed here.
        unsafe { ExFreePoolWithTag(ExAllocatePool2(0x40, 16, 7), 7) };
    }
}

/// A network event is not passed up.
pub(crate) fn loses_event() -> bool {
    is(Mutation::LoseEvent)
}

/// The status with which FilterOidRequest refuses a request by itself.
pub(crate) fn refusal(state: &State, module: usize, oid: u32, index: u16, flags: bool) -> Option<i32> {
    let mutation = pending()?;
    let m = &state.modules[module];
    let create = matches!(oid, oids::SWITCH_PORT_CREATE);
    let known = m.life == Life::Running && m.enumerations > 0;
    let status = match mutation {
        Mutation::CompleteCreate => SUCCESS,
        Mutation::DecideConnect => FAILURE,
        _ => DATA_NOT_ACCEPTED,
    };
    let refuses = match mutation {
        Mutation::CompleteCreate => create && known,
        // Of one with unknown flags another rule speaks as well.
        Mutation::VetoMember => oid == oids::SWITCH_NIC_CREATE && index != 0 && known && !flags,
        Mutation::DecideConnect => oid == oids::SWITCH_NIC_CONNECT && index == 0 && known,
        Mutation::RefuseWhilePaused => create && m.life == Life::Paused && m.enumerations > 0,
        Mutation::VetoBeforeActivation => create && m.life == Life::Running && m.enumerations == 0,
        _ => false,
    };
    (refuses && commit()).then_some(status)
}

/// How long a request that comes during the enumeration lies before it is looked at; 0 for one that does not.
pub(crate) fn holds_request(module: usize) -> u64 {
    let enumerating =
        with(|_, state| state.life(module) == Life::Restarting && state.modules[module].learning);
    if enumerating && is(Mutation::HoldDuringEnumeration) { 5 * SECOND } else { 0 }
}
