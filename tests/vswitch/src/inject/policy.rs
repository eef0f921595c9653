//! Mutations against policies: a frame goes to a vNIC that must not have it, or goes on although it must end.
//!
//! The rule that a mutation is to break also tells which vNIC makes its occasion.

use crate::inject::state::{commit, pending};
use crate::machine::world::{self, World};
use crate::mutation::Mutation;
use crate::reference::case::case;
use crate::reference::judge;
use crate::reference::policy;
use crate::switch::ndis::data::NdisFSendNetBufferLists;
use crate::switch::ndis::packet::PacketStage;
use crate::switch::ndis::{State, with};
use crate::switch::ports::{NicId, NicKind, NicState};
use lbfoext::ndis::raw::{DestinationBits, Handle, NetBufferList, PortDestination};
use parking_lot::Mutex;

/// The rule that a destination of this mutation breaks, if that is how it is done.
fn broken_by_destination(mutation: Mutation) -> Option<&'static str> {
    Some(match mutation {
        Mutation::IgnoreVlan => "PROP-03",
        Mutation::ReadPropertyId => "PROP-07",
        Mutation::BelieveDamage => "PROP-11",
        Mutation::IgnoreNewerVersion => "PROP-13",
        Mutation::KeepRefused => "PROP-14",
        Mutation::ForgetToEnumerate => "PROP-15",
        Mutation::CrossSubnets => "DATA-88",
        Mutation::IgnorePruning => "DATA-89",
        _ => return None,
    })
}

/// The rule that sending a frame breaks which must end.
fn broken_by_sending(mutation: Mutation) -> Option<&'static str> {
    match mutation {
        Mutation::LetSpoof => Some("DATA-90"),
        Mutation::ReadInvalidName => Some("PORTNIC-24"),
        Mutation::TakeReflection => Some("EGR-6"),
        Mutation::LeaveLink => Some("EGR-7"),
        _ => None,
    }
}

/// A vNIC to which the packet must not go, for the mutation's reason.
pub(super) fn wrong_vnic(state: &mut State, mutation: Mutation, list: *mut NetBufferList) -> Option<NicId> {
    let wanted = match mutation {
        Mutation::ForgetNewAddress => "PORTNIC-19",
        Mutation::RememberOldPort => "PORTNIC-18",
        Mutation::StepBySize => "OID-33",
        Mutation::ReadNameTail => "PORTNIC-23",
        other => broken_by_destination(other)?,
    };
    let module = state.packets.get(list)?.switch;
    let case = case(&world::current(), state, module, list as usize)?;
    let [(_, frame)] = &case.frames[..] else { return None };
    let expected = judge(&case.question(state, frame));
    let vnics: Vec<NicId> = state.modules[module]
        .topology
        .nics()
        .filter(|n| n.kind != NicKind::External && n.state == NicState::Connected && n.id != case.source)
        .map(|n| n.id)
        .collect();
    let wrong = |id: &NicId| {
        let fits = expected.ways.iter().any(|way| way.fits(&[*id], 0));
        !fits && policy::name(state, &case, frame, &expected, &[*id]) == wanted
    };
    vnics.into_iter().find(wrong)
}

/// A vNIC that a flood will reach.
pub(super) fn flooded_vnic(state: &mut State, list: *mut NetBufferList) -> Option<NicId> {
    let module = state.packets.get(list)?.switch;
    let case = case(&world::current(), state, module, list as usize)?;
    let [(_, frame)] = &case.frames[..] else { return None };
    let expected = judge(&case.question(state, frame));
    let [way] = &expected.ways[..] else { return None };
    way.must.first().copied().filter(|_| way.must.len() > 2 && !expected.may_drop)
}

/// Of so many destinations that were written, a vNIC without which the flood breaks this rule is made the last one; false
/// if there is none.
fn lacks_group(state: &mut State, list: *mut NetBufferList, count: u32, rule: &str) -> bool {
    let Some(module) = state.packets.get(list).map(|packet| packet.switch) else { return false };
    let Some(case) = case(&world::current(), state, module, list as usize) else { return false };
    let [(_, frame)] = &case.frames[..] else { return false };
    let expected = judge(&case.question(state, frame));
    let [way] = &expected.ways[..] else { return false };
    let breaks = |id: &NicId| {
        let others: Vec<NicId> = way.must.iter().copied().filter(|other| other != id).collect();
        way.must.contains(id) && policy::name(state, &case, frame, &expected, &others) == rule
    };
    let wanted: Vec<NicId> = way.must.iter().copied().filter(|id| breaks(id)).collect();
    let of = state.packets.get_mut(list).and_then(|packet| packet.context.as_mut());
    let Some(of) = of.filter(|_| !expected.may_drop) else { return false };
    let (first, end) = (of.destinations(), of.destinations() + count);
    let is_wanted = |of: &mut crate::switch::ndis::array::Context, at: u32| {
        let element = of.element_written(at);
        wanted.contains(&NicId::new(element.port_id, element.nic_index))
    };
    let Some(at) = (first..end).find(|at| is_wanted(of, *at)) else { return false };
    of.swap_written(at, end - 1);
    true
}

/// Destinations that one call of UpdateNetBufferListDestinations is said to have written: one less than they are.
pub(crate) fn destinations_written(state: &mut State, list: *mut NetBufferList, count: u32) -> u32 {
    let fits = match pending() {
        _ if count < 2 => false,
        Some(Mutation::MiscountVnics) => {
            let unmatched =
                state.packets.get(list).is_some_and(|p| state.modules[p.switch].topology.unmatched);
            unmatched && flooded_vnic(state, list).is_some()
        }
        Some(Mutation::ForgetEarlierGroups) => lacks_group(state, list, count, "HOST-08"),
        Some(Mutation::TrustGroups) => lacks_group(state, list, count, "HOST-10"),
        _ => false,
    };
    if !fits || !commit() {
        return count;
    }
    if let Some(of) = state.packets.get_mut(list).and_then(|p| p.context.as_mut()) {
        of.unwrite(of.destinations() + count - 1);
    }
    count - 1
}

/// A list whose report was withheld, to be sent instead of completed.
#[derive(Default)]
struct Withheld(Mutex<Option<usize>>);

/// ReportFilteredNetBufferLists: true if it is not made, because the frame will go on.
pub(super) fn withholds(world: &World, state: &mut State, module: usize, first: *mut NetBufferList) -> bool {
    let Some(rule) = pending().and_then(broken_by_sending) else { return false };
    // SAFETY: the list is the driver's and so uncovered.
    let alone = state.packets.get(first).is_some_and(|p| p.place == PacketStage::Ingress && p.own.is_none())
        && unsafe { (*first).next }.is_null();
    let Some(case) = alone.then(|| case(world, state, module, first as usize)).flatten() else {
        return false;
    };
    let [(_, frame)] = &case.frames[..] else { return false };
    let expected = judge(&case.question(state, frame));
    let fits = expected.refused.is_some() && policy::name(state, &case, frame, &expected, &[]) == rule;
    if fits && commit() {
        *world.part::<Withheld>().0.lock() = Some(first as usize);
        return true;
    }
    false
}

/// NdisFSendNetBufferListsComplete: a list that is sent instead. What is left of the chain.
pub(super) fn resurrect(filter: Handle, lists: *mut NetBufferList) -> *mut NetBufferList {
    let Some(list) = world::current().part::<Withheld>().0.lock().take() else { return lists };
    let nbl = list as *mut NetBufferList;
    let rest = crate::inject::lists::unlink(lists, nbl);
    with(|world, state| {
        let Some(packet) = state.packets.get(nbl) else { return };
        let (module, source) = (packet.switch, packet.source);
        let context = state.modules[module].switch as Handle;
        let to = state.modules[module]
            .topology
            .nics()
            .find(|n| n.kind != NicKind::External && n.state == NicState::Connected && n.id != source)
            .map(|n| n.id);
        let Some(to) = to else { return };
        state.grow(world, context, nbl, 1, false);
        let element =
            PortDestination { port_id: to.port, nic_index: to.index, bits: DestinationBits::empty() };
        state.add_destination(world, context, nbl, element, false);
    });
    // SAFETY: the list is the driver's and has a destination now.
    unsafe { NdisFSendNetBufferLists(filter, nbl, 0, 0) };
    rest
}
