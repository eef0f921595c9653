//! Mutations against policies, and of what comes in from outside: a frame goes to a vNIC that must not have it, goes on
//! although it must end, or ends.
//!
//! The rule that a mutation is to break also tells which vNIC makes its occasion.

use crate::inject::state::{commit, pending};
use crate::machine::world::{self, World};
use crate::mutation::Mutation;
use crate::reference::case::{Case, case};
use crate::reference::policy;
use crate::reference::{Cause, Expected, Reach, judge, reach, vlan};
use crate::switch::ndis::data::NdisFSendNetBufferLists;
use crate::switch::ndis::learned::Whereabouts;
use crate::switch::ndis::packet::PacketStage;
use crate::switch::ndis::{State, with};
use crate::switch::ports::{Mac, NicId, NicKind, NicState};
use lbfoext::ndis::raw::{DestinationBits, Handle, NetBufferList, PortDestination};
use parking_lot::Mutex;
use std::sync::Arc;

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
        Mutation::ShowSecondTag => "EGR-16",
        _ => return None,
    })
}

/// The rule that sending a frame breaks which must end.
fn broken_by_sending(mutation: Mutation) -> Option<&'static str> {
    match mutation {
        Mutation::LetSpoof => Some("DATA-90"),
        Mutation::ReadInvalidName => Some("PORTNIC-24"),
        Mutation::LendToStrangers => Some("EGR-14"),
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
struct Withheld(Mutex<Option<(usize, Vec<NicId>)>>);

/// ReportFilteredNetBufferLists: true if it is not made, because the frame will go on.
pub(super) fn withholds(world: &World, state: &mut State, module: usize, first: *mut NetBufferList) -> bool {
    if let Some(all) = taken_all_the_same(world, state, first).filter(|_| commit()) {
        *world.part::<Withheld>().0.lock() = Some((first as usize, all));
        return true;
    }
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
        *world.part::<Withheld>().0.lock() = Some((first as usize, Vec::new()));
        return true;
    }
    false
}

/// NdisFSendNetBufferListsComplete: a list that is sent instead. What is left of the chain.
pub(super) fn resurrect(filter: Handle, lists: *mut NetBufferList) -> *mut NetBufferList {
    let Some((list, mut all)) = world::current().part::<Withheld>().0.lock().take() else { return lists };
    let nbl = list as *mut NetBufferList;
    let rest = crate::inject::lists::unlink(lists, nbl);
    with(|world, state| {
        let Some(packet) = state.packets.get(nbl) else { return };
        let (module, source) = (packet.switch, packet.source);
        let context = state.modules[module].switch as Handle;
        if all.is_empty() {
            let nics = state.modules[module].topology.nics();
            let vnics = nics
                .filter(|n| n.kind != NicKind::External && n.state == NicState::Connected && n.id != source);
            all.extend(vnics.map(|nic| nic.id).take(1));
        }
        for to in all {
            state.grow(world, context, nbl, 1, false);
            let element =
                PortDestination { port_id: to.port, nic_index: to.index, bits: DestinationBits::empty() };
            state.add_destination(world, context, nbl, element, false);
        }
    });
    // SAFETY: the list is the driver's and has a destination now.
    unsafe { NdisFSendNetBufferLists(filter, nbl, 0, 0) };
    rest
}

/// How a list is changed that is about to be sent.
pub(super) enum Change {
    Drop,
    /// To this vNIC instead.
    Move(NicId),
    /// To this vNIC as well.
    Add(NicId),
}

/// A list with one frame, and what is right for it.
fn of(
    world: &World,
    state: &mut State,
    module: usize,
    list: usize,
) -> Option<(Case, usize, Arc<[u8]>, Expected)> {
    let case = case(world, state, module, list)?;
    let [(id, frame)] = &case.frames[..] else { return None };
    let (id, frame) = (*id, Arc::clone(frame));
    let expected = judge(&case.question(state, &frame));
    Some((case, id, frame, expected))
}

/// The change that this mutation makes of a list, if it is an occasion.
pub(super) fn change(
    world: &World,
    state: &mut State,
    mutation: Mutation,
    module: usize,
    list: usize,
) -> Option<Change> {
    let (case, id, frame, expected) = of(world, state, module, list)?;
    let question = case.question(state, &frame);
    let m = &state.modules[module];
    let external = m.topology.is_external(case.source.port);
    let inside = expected.inside?;
    let mac = |at: usize| -> Option<Mac> { frame.get(at..at + 6)?.try_into().ok() };
    let (to, from) = (mac(0)?, mac(6)?);
    let outside = !expected.known && question.whereabouts(to, inside.vid) == Whereabouts::External;
    let mut others = (m.topology.nics())
        .filter(|n| n.kind != NicKind::External && n.state == NicState::Connected && n.id != case.source)
        .filter(|n| case.got.iter().all(|d| d.port_id != n.id.port));
    let tags = vlan::Tags::of(&frame, case.tag);
    match mutation {
        Mutation::DropNews => {
            let news = external && !expected.may_drop && !expected.known;
            let new = case.seen(state, id).is_some_and(|seen| m.arrivals.is_new(&seen));
            (news && new).then_some(Change::Drop)
        }
        Mutation::KeepMoved if outside => {
            let before = *m.learned.places(to).last()?;
            others.find(|nic| nic.id == before).map(|nic| Change::Move(nic.id))
        }
        Mutation::CopyOutside if outside => others
            .find(|nic| reach(&question, nic, inside, tags) == Reach::Must)
            .map(|nic| Change::Add(nic.id)),
        Mutation::LeaveAtOwner => {
            let user = policy::taken_over(state, &case, &frame, &expected)?;
            let goes = case.got.iter().any(|d| d.port_id == user.port);
            others.find(|nic| goes && nic.mac == to).map(|nic| Change::Move(nic.id))
        }
        Mutation::ToOwner if external => others
            .find(|nic| nic.mac == from && reach(&question, nic, inside, tags) == Reach::No(Cause::Owner))
            .map(|nic| Change::Add(nic.id)),
        _ => None,
    }
}

/// Where a list goes whose report was withheld because it is a copy or came back; `None` if it is neither.
pub(super) fn taken_all_the_same(
    world: &World,
    state: &mut State,
    list: *mut NetBufferList,
) -> Option<Vec<NicId>> {
    let ours = match pending()? {
        Mutation::TakeReflection => true,
        Mutation::TakeCopy => false,
        _ => return None,
    };
    let module = state.packets.get(list)?.switch;
    let (case, id, _, expected) = of(world, state, module, list as usize)?;
    let [way] = &expected.ways[..] else { return None };
    let stale = case.seen(state, id).is_some_and(|seen| state.modules[module].arrivals.is_stale(&seen, ours));
    let many = state.modules[module].topology.is_external(case.source.port) && !expected.known;
    (stale && many && !expected.may_drop).then(|| way.must.iter().copied().collect())
}
