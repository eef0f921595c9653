//! Mutations of NET_BUFFER_LISTs in NdisFIndicateReceiveNetBufferLists and NdisFReturnNetBufferLists.

use crate::inject::lists::{Chain, same_destinations, unlink};
use crate::inject::state::{commit, hold, is, pending};
use crate::machine::world::World;
use crate::mutation::Mutation;
use crate::switch::ndis::chain::chain;
use crate::switch::ndis::{State, with};
use lbfoext::ndis::raw::{
    DestinationBits, Handle, NetBufferList, PortDestination, ReceiveFlags, ReturnFlags,
};
use std::ptr;

/// NdisFIndicateReceiveNetBufferLists: chain and flags, port and count; `None` if the chain is kept.
pub(crate) fn indicate(
    filter: Handle,
    lists: *mut NetBufferList,
    (port, count): (u32, u32),
    flags: u32,
) -> Option<(Chain, (u32, u32))> {
    let unchanged = Some(((lists, flags), (port, count)));
    let Some(mutation) = pending() else { return unchanged };
    let (mixed, differ, facts) = with(|_, state| {
        let all = chain(state, lists);
        let first = all.first().and_then(|l| state.packets.at(*l));
        let facts = first
            .map(|p| (p.switch, p.context.as_ref().map_or(0, |c| c.committed.len()), p.unsafe_bytes.len()));
        (!state.same_source(&all), !same_destinations(state, &all), facts)
    });
    let Some((module, destinations, _)) = facts else { return unchanged };
    match mutation {
        Mutation::WrongIndicateCount if commit() => Some(((lists, flags), (port, count + 1))),
        Mutation::Resources if commit() => {
            Some(((lists, flags | ReceiveFlags::RESOURCES.bits()), (port, count)))
        }
        Mutation::FalseSingleIndicate if mixed && commit() => {
            Some(((lists, flags | ReceiveFlags::SWITCH_SINGLE_SOURCE.bits()), (port, count)))
        }
        Mutation::FalseReceiveGroup if differ && commit() => {
            Some(((lists, flags | ReceiveFlags::SWITCH_DESTINATION_GROUP.bits()), (port, count)))
        }
        Mutation::HoldReceiveAcrossPause if commit() => {
            hold(filter as usize, lists as usize);
            let rest = unlink(lists, lists);
            (!rest.is_null()).then_some(((rest, flags), (port, count - 1)))
        }
        Mutation::WriteEgressBytes
        | Mutation::ExcludeSilently
        | Mutation::TakeBackExclusion
        | Mutation::AddOnEgress
            if destinations > 0 && commit() =>
        {
            with(|world, state| inject_egress(world, state, mutation, module, lists));
            unchanged
        }
        _ => unchanged,
    }
}

fn inject_egress(
    world: &World,
    state: &mut State,
    mutation: Mutation,
    module: usize,
    list: *mut NetBufferList,
) {
    let context = state.modules[module].switch as Handle;
    let Some(packet) = state.packets.get_mut(list) else { return };
    match mutation {
        Mutation::WriteEgressBytes => {
            if let Some(buffer) = packet.buffers_now().first() {
                // SAFETY: the buffer is in the driver's hands.
                let segments = unsafe { crate::switch::nbl::segments(buffer.nb) };
                if let Some((start, _)) = segments.first() {
                    // SAFETY: as above.
                    unsafe { **start ^= 0x10 };
                }
            }
        }
        Mutation::AddOnEgress => {
            let element = PortDestination { port_id: 2, nic_index: 0, bits: DestinationBits::empty() };
            state.add_destination(world, context, list, element, false);
        }
        _ => {
            let Some(of) = packet.context.as_mut() else { return };
            let port = of.committed[0].port_id;
            of.poke_bits(0, DestinationBits::IS_EXCLUDED);
            if mutation == Mutation::TakeBackExclusion {
                let array = of.pointer();
                // SAFETY: the list is the driver's and so uncovered.
                let next = unsafe { std::mem::replace(&mut (*list).next, ptr::null_mut()) };
                state.update(world, context, list, 0, array, false);
                state.report(world, module, (port, 0, 1), list, "not for this port");
                // SAFETY: as above.
                unsafe { (*list).next = next };
                if let Some(of) = state.packets.get_mut(list).and_then(|p| p.context.as_mut()) {
                    of.poke_bits(0, DestinationBits::empty());
                }
            }
        }
    }
}

/// After the checks of an indication, before anybody above sees the lists.
pub(crate) fn indicated(world: &World, state: &mut State, filter: Handle, lists: &[usize]) {
    let Some(&list) = lists.first() else { return };
    let nbl = list as *mut NetBufferList;
    match pending() {
        Some(Mutation::WriteAfterIndicate) if commit() => {
            // SAFETY: the list lives; that it is covered is the point.
            unsafe { (*nbl).status = 1 };
        }
        Some(Mutation::IndicateTwice) if commit() => {
            state.take_indicate(world, filter, nbl, (0, 0, 0));
        }
        _ => {}
    }
}

/// NdisFReturnNetBufferLists.
pub(crate) fn give_back(lists: *mut NetBufferList, flags: u32) -> Chain {
    let mixed = pending() == Some(Mutation::FalseSingleReturn)
        && with(|_, state| {
            let all = chain(state, lists);
            !state.same_source(&all)
        });
    let bits = if mixed && is(Mutation::FalseSingleReturn) {
        ReturnFlags::SWITCH_SINGLE_SOURCE
    } else {
        ReturnFlags::empty()
    };
    (lists, flags | bits.bits())
}
