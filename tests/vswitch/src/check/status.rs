//! Checks of status indications that the extension originates: what the team can do, and partitions that lose a
//! virtual function.

use crate::adapter::capabilities::Capabilities;
use crate::adapter::wire::status as codes;
use crate::check::{advice, rule};
use crate::machine::world::World;
use crate::switch::control::{Above, bytes_at, payload};
use crate::switch::ndis::State;
use crate::switch::ports::{NicId, NicKind, NicState};
use lbfoext::ndis::raw::{
    SWITCH_NIC_STATUS, SWITCH_PORT_REMOVE_VF, StatusIndication, SwitchNicStatusIndication, object_type, oids,
};

const ENVELOPE: u32 = size_of::<SwitchNicStatusIndication>() as u32;
const INNER: u32 = size_of::<StatusIndication>() as u32;

/// Codes that tell what adapters can do.
pub fn is_capability(code: i32) -> bool {
    let all = [
        codes::FILTER_CURRENT,
        codes::FILTER_HARDWARE,
        codes::SWITCH_CURRENT,
        codes::SWITCH_HARDWARE,
        codes::OFFLOAD_CURRENT,
        codes::OFFLOAD_HARDWARE,
    ];
    all.contains(&code)
}

/// How a mutation changes the envelope and the indication inside that `originated` sees.
pub type InjectStatus = fn(&mut SwitchNicStatusIndication, &mut StatusIndication);

/// An indication of the extension's own. The inner status code, if it is an envelope.
pub fn originated(
    world: &World,
    state: &State,
    module: usize,
    own: &StatusIndication,
    inject: InjectStatus,
) -> Option<i32> {
    if own.status_code != SWITCH_NIC_STATUS {
        return None;
    }
    let sized = own.status_buffer_size == ENVELOPE || own.status_buffer_size == ENVELOPE + INNER;
    rule(world, "STATUS-04", sized && !own.status_buffer.is_null(), || {
        format!("own envelope of {} bytes", own.status_buffer_size)
    });
    if !sized || own.status_buffer.is_null() {
        return None;
    }
    // SAFETY: the buffer has the size of an envelope.
    let mut e = unsafe { own.status_buffer.cast::<SwitchNicStatusIndication>().read_unaligned() };
    let header = (e.header.object_type, e.header.revision, e.header.size) == (object_type::DEFAULT, 1, 32);
    rule(world, "STATUS-04", header && e.flags == 0 && !e.status_indication.is_null(), || {
        format!("own envelope with header type {:#x}, flags {:#x}", e.header.object_type, e.flags)
    });
    if e.status_indication.is_null() {
        return None;
    }
    // SAFETY: the indication inside lives for the call.
    let mut inner = unsafe { e.status_indication.read_unaligned() };
    inject(&mut e, &mut inner);
    let code = inner.status_code;
    let from = NicId::new(e.source_port_id, e.source_nic_index);
    let to = NicId::new(e.destination_port_id, e.destination_nic_index);
    let topology = &state.modules[module].topology;
    let side = if code == SWITCH_PORT_REMOVE_VF {
        let guest = topology.nic(to).is_some_and(|nic| nic.kind != NicKind::External);
        rule(world, "STATUS-07", guest && from == NicId::NOWHERE, || {
            format!("REMOVE_VF from {from} to {to}")
        });
        let used =
            topology.nic(to).is_none_or(|nic| nic.function_assigned || nic.state != NicState::Connected);
        // That it uses none any more the extension learns when the request is complete.
        let told_now = |above: &Above| {
            above.module == module
                && above.oid == oids::SWITCH_NIC_UPDATED
                && payload::nic_id(&above.payload_before) == Some(to)
        };
        let used = used || state.control.above.values().any(told_now);
        rule(world, "OFFLOAD-19", used, || format!("REMOVE_VF to {to}, which uses no virtual function"));
        let empty = inner.status_buffer.is_null() && inner.status_buffer_size == 0;
        rule(world, "STATUS-10", empty, || format!("REMOVE_VF with {} bytes", inner.status_buffer_size));
        to
    } else {
        let team = topology.is_external(from.port) && from.index == 0 && to == NicId::NOWHERE;
        rule(world, "STATUS-06", team, || format!("own status {code:#x} from {from} to {to}"));
        from
    };
    let nic = topology.nic(side);
    rule(
        world,
        "STATUS-08",
        nic.is_none_or(|nic| nic.references > 0 || nic.state != NicState::Connected),
        || format!("own status {code:#x} without a reference of {side}"),
    );
    let there = nic.is_some_and(|nic| nic.state == NicState::Connected || nic.references > 0);
    rule(world, "STATUS-09", there, || format!("own status {code:#x} of {side}, which is not connected"));
    if code == codes::FILTER_CURRENT {
        servable(world, state, module, &inner);
    }
    Some(code)
}

/// What is promised for the team, its adapters together can keep.
fn servable(world: &World, state: &State, module: usize, inner: &StatusIndication) {
    let bytes = bytes_at(inner.status_buffer as usize, inner.status_buffer_size as usize);
    let (queues, filters) = Capabilities::promised_queues(&bytes);
    let adapters = state.modules[module].external.adapters.values().map(|a| &a.offloads.capabilities);
    let (most_queues, most_filters) = adapters.fold((0, 0), |(q, f), c| (q + c.queues, f + c.filters));
    advice(world, "STATUS-13", queues <= most_queues && filters <= most_filters, || {
        format!("{queues} queues and {filters} filters promised, {most_queues} and {most_filters} there are")
    });
}
