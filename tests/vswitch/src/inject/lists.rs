//! Mutations of NET_BUFFER_LISTs in NdisFSendNetBufferLists and NdisFSendNetBufferListsComplete.

use crate::inject::policy::{Change, change};
use crate::inject::state::{commit, hold, pending, take_held, undo_later};
use crate::machine::cpu;
use crate::machine::world::{self, World};
use crate::mutation::Mutation;
use crate::switch::ndis::chain::chain;
use crate::switch::ndis::data::{
    NdisFReturnNetBufferLists, NdisFSendNetBufferLists, NdisFSendNetBufferListsComplete,
};
use crate::switch::ndis::packet::PacketStage;
use crate::switch::ndis::{Life, State, with};
use crate::switch::ports::NicId;
use lbfoext::ndis::raw::{
    DestinationBits, Handle, NetBufferList, PAUSED, PortDestination, ReportFilteredFlags, ReturnFlags,
    SUCCESS, SendCompleteFlags, SendFlags, info,
};
use std::ptr;

/// A chain and its flags.
pub(crate) type Chain = (*mut NetBufferList, u32);

/// NdisFSendNetBufferLists; `None` if the chain is kept.
pub(crate) fn send(filter: Handle, lists: *mut NetBufferList, port: u32, flags: u32) -> Option<(Chain, u32)> {
    let Some(mutation) = pending() else { return Some(((lists, flags), port)) };
    let injected = with(|world, state| inject_send(world, state, mutation, lists));
    match injected {
        Injected::Nothing => Some(((lists, flags), port)),
        Injected::Flags(bits) => Some(((lists, flags | bits.bits()), port)),
        Injected::Port => Some(((lists, flags), 7)),
        Injected::Keep(list) => {
            hold(filter as usize, list);
            let rest = unlink(lists, list as *mut NetBufferList);
            (!rest.is_null()).then_some(((rest, flags), port))
        }
        Injected::Gone => None,
        Injected::Late => {
            let (filter, first) = (filter as usize, lists as usize);
            crate::machine::work::queue("late send", move || {
                // SAFETY: the chain is still the driver's.
                unsafe {
                    NdisFSendNetBufferLists(filter as Handle, first as *mut NetBufferList, 0, flags | 1);
                }
            });
            None
        }
    }
}

/// What becomes of the call.
enum Injected {
    Nothing,
    Flags(SendFlags),
    Port,
    /// This list stays with the driver.
    Keep(usize),
    /// The whole chain went another way.
    Gone,
    /// The whole chain goes later.
    Late,
}

/// What matters of a chain that is about to be sent; most of it of the first list.
struct Seen {
    lists: Vec<usize>,
    list: usize,
    module: usize,
    alone: bool,
    own: bool,
    native: bool,
    subnet: bool,
    /// It came through a queue.
    queued: bool,
    running: bool,
    source: NicId,
    cancel_id: usize,
    destinations: usize,
    same_source: bool,
    same_destinations: bool,
    any_native: bool,
}

impl Seen {
    fn new(state: &mut State, first: *mut NetBufferList) -> Option<Self> {
        let lists = chain(state, first);
        let list = *lists.first()?;
        let same_source = state.same_source(&lists);
        let same_destinations = same_destinations(state, &lists);
        let any_native = lists.iter().any(|l| state.packets.at(*l).is_some_and(|p| p.is_native()));
        let packet = state.packets.at(list)?;
        let seen = Self {
            list,
            module: packet.switch,
            alone: lists.len() == 1,
            own: packet.own.is_some(),
            native: packet.is_native(),
            // SAFETY: the list is the driver's and so uncovered.
            subnet: unsafe { (*first).info[info::VIRTUAL_SUBNET] } != 0,
            // SAFETY: as above.
            queued: unsafe { (*first).info[info::FILTERING] } >> 16 != 0,
            running: false,
            source: packet.source,
            cancel_id: packet.cancel_id,
            destinations: packet.context.as_ref().map_or(0, |c| c.committed.len()),
            same_source,
            same_destinations,
            any_native,
            lists,
        };
        let running = state.life(seen.module) == Life::Running;
        Some(Self { running, ..seen })
    }
}

fn inject_send(world: &World, state: &mut State, mutation: Mutation, first: *mut NetBufferList) -> Injected {
    let Some(seen) = Seen::new(state, first) else { return Injected::Nothing };
    let injected = inject_call(mutation, &seen);
    match injected {
        Injected::Nothing => inject_list(world, state, mutation, &seen),
        injected if commit() => injected,
        _ => Injected::Nothing,
    }
}

/// The call itself is wrong: its flags, its port, its time.
fn inject_call(mutation: Mutation, seen: &Seen) -> Injected {
    match mutation {
        Mutation::SendPortNumber => Injected::Port,
        Mutation::UnknownFlags => Injected::Flags(SendFlags::from_bits_retain(1 << 30)),
        Mutation::FalseDispatch if cpu::irql() < cpu::DISPATCH => Injected::Flags(SendFlags::DISPATCH_LEVEL),
        Mutation::LateDispatch if seen.running => Injected::Late,
        Mutation::FalseSingleSource if !seen.same_source => Injected::Flags(SendFlags::SWITCH_SINGLE_SOURCE),
        Mutation::FalseGroup if !seen.same_destinations && !seen.any_native => {
            Injected::Flags(SendFlags::SWITCH_DESTINATION_GROUP)
        }
        Mutation::GroupOfSeveral if seen.alone && seen.destinations > 1 => {
            Injected::Flags(SendFlags::SWITCH_DESTINATION_GROUP)
        }
        Mutation::GroupNative if seen.native && seen.alone => {
            Injected::Flags(SendFlags::SWITCH_DESTINATION_GROUP)
        }
        Mutation::HoldCancelled if seen.cancel_id != 0 && seen.running => Injected::Keep(seen.list),
        Mutation::HoldQueuePacket if seen.running && seen.queued && !seen.own => Injected::Keep(seen.list),
        Mutation::HoldSendAcrossPause if seen.running && !seen.own && seen.source.port != 0 => {
            Injected::Keep(seen.list)
        }
        _ => Injected::Nothing,
    }
}

/// A list is wrong, or goes another way.
fn inject_list(world: &World, state: &mut State, mutation: Mutation, seen: &Seen) -> Injected {
    let &Seen { list, module, alone, own, native, subnet, running, destinations, .. } = seen;
    let foreign = !own && !native;
    match mutation {
        Mutation::Cycle if !alone && commit() => {
            let last = seen.lists[seen.lists.len() - 1] as *mut NetBufferList;
            // SAFETY: the chain is the driver's.
            unsafe { (*last).next = list as *mut NetBufferList };
        }
        Mutation::WriteDetail if !own => poke_info(list, info::SWITCH_FORWARDING_DETAIL, 1 << 41),
        Mutation::ReservedTagBit if foreign => poke_info(list, info::IEEE_8021Q, 1 << 40),
        Mutation::ForgetChildCount if own && commit() => {
            let child = list as *mut NetBufferList;
            // SAFETY: the child is the driver's, and so is the parent that it names.
            unsafe { (*(*child).parent).child_ref_count -= 1 };
        }
        Mutation::KeepOffsets if own && state.has_untagged(list) => poke_info(list, info::CHECKSUM, 4 << 16),
        Mutation::ForgetOob if own => poke_info(list, info::HASH_VALUE, 1),
        Mutation::ClaimSafe if own && has_no_safe_parent(state, list) => {
            poke_info(list, info::SWITCH_FORWARDING_DETAIL, crate::switch::ndis::packet::SAFE);
        }
        Mutation::NoDestination if alone && foreign && !subnet && destinations == 1 => withdraw(state, list),
        Mutation::PassSubnet if alone && foreign && subnet && destinations == 1 => withdraw(state, list),
        Mutation::OwnToNowhere if alone && own && destinations == 1 => withdraw(state, list),
        Mutation::DropTrusted if alone && running && foreign && seen.source == NicId::NOWHERE => {
            return drop_it(world, state, module, list, true);
        }
        _ if (mutation.is_about_receiving() || mutation == Mutation::LeaveAtOwner)
            && alone
            && running
            && foreign =>
        {
            return receiving(world, state, mutation, module, list);
        }
        Mutation::DropNative if alone && running && native => {
            return drop_it(world, state, module, list, true);
        }
        Mutation::CompleteNative if alone && running && native => {
            return drop_it(world, state, module, list, false);
        }
        Mutation::AddToNative if native && commit() => {
            let context = state.modules[module].switch as Handle;
            let element = PortDestination { port_id: 2, nic_index: 0, bits: DestinationBits::empty() };
            state.add_destination(world, context, list as *mut NetBufferList, element, false);
        }
        Mutation::SendUnmapped if foreign && commit() => {
            if let Some(packet) = state.packets.at(list) {
                packet.mapping_failed = true;
            }
        }
        Mutation::SlipThroughPause if running => slip(world, state, module),
        Mutation::OwnFromGoneNic if alone && own => from_gone_nic(state, list),
        Mutation::ForgetSecondContext => forget_second(state, &seen.lists),
        Mutation::OwnJoins => return own_joins(state, module, &seen.lists),
        _ => {}
    }
    Injected::Nothing
}

fn poke_info(list: usize, slot: usize, bits: u64) {
    if commit() {
        // SAFETY: the list is the driver's and so uncovered.
        unsafe { (*(list as *mut NetBufferList)).info[slot] ^= bits };
    }
}

pub(super) fn same_destinations(state: &mut State, lists: &[usize]) -> bool {
    let mut all = lists.iter().map(|l| {
        let packet = state.packets.at(*l);
        packet.and_then(|p| p.context.as_ref()).map_or_else(Vec::new, |c| {
            c.committed.iter().map(|d| (d.port_id, d.nic_index, d.bits.bits())).collect::<Vec<_>>()
        })
    });
    let first = all.next();
    all.all(|one| Some(&one) == first.as_ref())
}

/// As if the destination had never been added.
fn withdraw(state: &mut State, list: usize) {
    if commit()
        && let Some(packet) = state.packets.at(list)
    {
        if let Some(context) = packet.context.as_mut() {
            context.withdraw();
        }
        packet.write_detail();
    }
}

/// What came in is dropped, or goes where it must not.
fn receiving(world: &World, state: &mut State, mutation: Mutation, module: usize, list: usize) -> Injected {
    let (to, instead) = match change(world, state, mutation, module, list) {
        None => return Injected::Nothing,
        Some(Change::Drop) => return drop_it(world, state, module, list, true),
        Some(Change::Move(to)) => (to, true),
        Some(Change::Add(to)) => (to, false),
    };
    if !commit() {
        return Injected::Nothing;
    }
    if let Some(context) = state.packets.at(list).and_then(|p| p.context.as_mut()).filter(|_| instead) {
        context.withdraw();
    }
    let (context, nbl) = (state.modules[module].switch as Handle, list as *mut NetBufferList);
    state.grow(world, context, nbl, 1, false);
    let element = PortDestination { port_id: to.port, nic_index: to.index, bits: DestinationBits::empty() };
    state.add_destination(world, context, nbl, element, false);
    Injected::Nothing
}

/// Completes a list instead of sending it.
fn drop_it(world: &World, state: &mut State, module: usize, list: usize, report: bool) -> Injected {
    if !commit() {
        return Injected::Nothing;
    }
    let nbl = list as *mut NetBufferList;
    let port = state.packets.at(list).map_or(0, |p| p.source.port);
    // SAFETY: the list is the driver's and so uncovered.
    unsafe {
        (*nbl).next = ptr::null_mut();
        (*nbl).status = SUCCESS;
    }
    if report {
        state.report(world, module, (port, ReportFilteredFlags::IS_INCOMING.bits(), 1), nbl, "not wanted");
    }
    let filter = state.modules[module].filter as Handle;
    state.take_complete(world, filter, nbl, 0);
    Injected::Gone
}

/// The pause completed while this walk was about to send.
fn slip(world: &World, state: &mut State, module: usize) {
    if !commit() {
        return;
    }
    let order = state.tick();
    let m = &mut state.modules[module];
    let entered = std::mem::replace(&mut m.pause_entered, order);
    m.life = Life::Paused;
    crate::switch::ndis::data::check_send_state(world, state, module);
    let m = &mut state.modules[module];
    m.pause_entered = entered;
    m.life = Life::Running;
}

/// The NIC that an own list was given as its source has gone since.
fn from_gone_nic(state: &mut State, list: usize) {
    let Some(packet) = state.packets.at(list) else { return };
    let Some(own) = packet.own.as_mut() else { return };
    if !commit() {
        return;
    }
    let (was, set) = (packet.source, own.source_set);
    packet.source = NicId::new(0xFFF0, 0);
    own.source_set = true;
    packet.write_detail();
    undo_later(move |state| {
        if let Some(packet) = state.packets.at(list) {
            packet.source = was;
            if let Some(own) = packet.own.as_mut() {
                own.source_set = set;
            }
        }
    });
}

/// The second own list of a chain never got a context.
fn forget_second(state: &mut State, lists: &[usize]) {
    let second =
        lists.iter().skip(1).copied().find(|l| state.packets.at(*l).is_some_and(|p| p.own.is_some()));
    let Some(second) = second else { return };
    // Lists of several destinations travel without DESTINATION_GROUP: without one the flag would be false as well.
    if !commit() {
        return;
    }
    let context = state.packets.at(second).and_then(|p| p.context.take());
    undo_later(move |state| {
        if let Some(packet) = state.packets.at(second) {
            packet.context = context;
        }
    });
}

/// An own list among foreign ones of one source says that it comes from elsewhere; the chain says SINGLE_SOURCE.
fn own_joins(state: &mut State, module: usize, lists: &[usize]) -> Injected {
    let is_own = |state: &mut State, l: usize| state.packets.at(l).is_some_and(|p| p.own.is_some());
    let own: Vec<usize> = lists.iter().copied().filter(|l| is_own(state, *l)).collect();
    let foreign = lists.len() - own.len();
    let same = state.same_source(lists);
    let Some(&list) = own.first() else { return Injected::Nothing };
    let source = state.packets.at(list).map(|p| p.source);
    let other = state.modules[module]
        .topology
        .nics()
        .find(|n| {
            n.state == crate::switch::ports::NicState::Connected && Some(n.id) != source && n.id.index == 0
        })
        .map(|n| n.id);
    let Some(other) = other.filter(|_| foreign > 0 && same) else { return Injected::Nothing };
    if !commit() {
        return Injected::Nothing;
    }
    if let Some(packet) = state.packets.at(list) {
        packet.source = other;
        if let Some(own) = packet.own.as_mut() {
            own.source_set = true;
        }
        packet.write_detail();
    }
    undo_later(move |state| {
        if let (Some(packet), Some(source)) = (state.packets.at(list), source) {
            packet.source = source;
        }
    });
    Injected::Flags(SendFlags::SWITCH_SINGLE_SOURCE)
}

/// It was made from a list over a guest's memory, or from none.
fn has_no_safe_parent(state: &mut State, list: usize) -> bool {
    // SAFETY: the list is the driver's and so uncovered.
    let parent = unsafe { (*(list as *mut NetBufferList)).parent };
    let bits = state.packets.get(parent).map(|p| p.detail_bits);
    parent.is_null() || bits.is_some_and(|bits| bits & crate::switch::ndis::packet::SAFE == 0)
}

/// Takes one list out of a chain; the chain's new beginning.
pub(super) fn unlink(first: *mut NetBufferList, list: *mut NetBufferList) -> *mut NetBufferList {
    // SAFETY: the chain is the driver's.
    unsafe {
        if first == list {
            let rest = (*first).next;
            (*first).next = ptr::null_mut();
            return rest;
        }
        let mut at = first;
        while !at.is_null() && (*at).next != list {
            at = (*at).next;
        }
        if !at.is_null() {
            (*at).next = (*list).next;
            (*list).next = ptr::null_mut();
        }
    }
    first
}

/// After the checks of a send, before anybody below sees the lists.
pub(crate) fn sent(world: &World, state: &mut State, filter: Handle, lists: &[usize]) {
    crate::inject::state::undo(state);
    let Some(&list) = lists.first() else { return };
    let nbl = list as *mut NetBufferList;
    match pending() {
        Some(Mutation::WriteAfterSend) if commit() => {
            // SAFETY: the list lives; that it is covered is the point.
            unsafe { (*nbl).status = 1 };
        }
        Some(Mutation::SendTwice) if commit() => {
            state.take_send(world, filter, nbl, 0, 0);
        }
        Some(Mutation::CompleteParent) => {
            let parent = state.packets.at(list).and_then(|p| p.own).map_or(0, |own| own.parent);
            if state.packets.at(parent).is_some_and(|p| p.children_out > 0 && p.place == PacketStage::Ingress)
                && commit()
            {
                // SAFETY: the parent is the driver's and so uncovered.
                unsafe { (*(parent as *mut NetBufferList)).next = ptr::null_mut() };
                state.take_complete(world, filter, parent as *mut NetBufferList, 0);
            }
        }
        _ => {}
    }
}

/// NdisFSendNetBufferListsComplete; `None` if the chain is kept.
pub(crate) fn complete(filter: Handle, lists: *mut NetBufferList, flags: u32) -> Option<Chain> {
    let first = crate::inject::policy::resurrect(filter, lists);
    if first.is_null() {
        return None;
    }
    let lists = first;
    let Some(mutation) = pending() else { return Some((lists, flags)) };
    let mut flags = flags;
    let mut first = lists;
    let fired = with(|_, state| {
        let all = chain(state, lists);
        let find = |state: &mut State, wanted: &dyn Fn(&crate::switch::ndis::packet::Packet) -> bool| {
            all.iter().copied().find(|l| state.packets.at(*l).is_some_and(|p| p.own.is_none() && wanted(p)))
        };
        let mixed = !state.same_source(&all);
        match mutation {
            // Of a packet that no NIC which this test deletes has to wait for.
            Mutation::KeepCompleted => find(state, &|p| {
                p.place == PacketStage::Completing && p.pinned.iter().all(|nic| nic.port > 1)
            }),
            Mutation::SwapBuffers => find(state, &|p| p.before.buffers.len() > 1),
            Mutation::MoveData
            | Mutation::LeaveContext
            | Mutation::ChangeSourceHandle
            | Mutation::WriteOob => find(state, &|_| true),
            Mutation::FalseSingleComplete if mixed => all.first().copied(),
            Mutation::NotPaused => find(state, &|p| p.place == PacketStage::Ingress && p.given_while_paused),
            Mutation::TimerSends | Mutation::SendInRestart => {
                let paused = |s: &State| s.modules.iter().any(|m| m.life == Life::Paused);
                let ingress = find(state, &|p| p.place == PacketStage::Ingress && p.given_while_paused);
                ingress.filter(|_| paused(state))
            }
            _ => None,
        }
    });
    let Some(list) = fired.filter(|_| commit()) else { return Some((first, flags)) };
    let nbl = list as *mut NetBufferList;
    // SAFETY: the list is the driver's and so uncovered.
    let packet = unsafe { &mut *nbl };
    match mutation {
        Mutation::KeepCompleted => first = unlink(lists, nbl),
        // SAFETY: as above; the list has two NET_BUFFERs.
        Mutation::SwapBuffers => unsafe { packet.first_net_buffer = (*packet.first_net_buffer).next },
        // SAFETY: as above.
        Mutation::MoveData => unsafe { (*packet.first_net_buffer).data_offset += 1 },
        Mutation::LeaveContext => packet.context = ptr::without_provenance_mut(0x1000),
        Mutation::ChangeSourceHandle => packet.source_handle = ptr::without_provenance_mut(0x1000),
        Mutation::WriteOob => packet.info[info::CHECKSUM] ^= 1,
        Mutation::FalseSingleComplete => flags |= SendCompleteFlags::SWITCH_SINGLE_SOURCE.bits(),
        Mutation::NotPaused => packet.status = SUCCESS,
        Mutation::SendInRestart => {
            first = unlink(lists, nbl);
            hold(filter as usize, list);
        }
        _ => {
            first = unlink(lists, nbl);
            // SAFETY: the list is the driver's.
            cpu::call_driver("TimerFunction", || unsafe { NdisFSendNetBufferLists(filter, nbl, 0, 0) });
        }
    }
    (!first.is_null()).then_some((first, flags))
}

/// What was kept until a cancellation goes its way now.
pub(crate) fn cancelled() {
    if world::current().mutation() == Some(Mutation::HoldCancelled) {
        release_held();
    }
}

/// Whatever was kept goes its way now, as it must in the module's present state.
pub(crate) fn release_held() {
    for (filter, list) in take_held() {
        let filter = filter as Handle;
        let nbl = list as *mut NetBufferList;
        let (place, life) = with(|_, state| {
            let packet = state.packets.at(list);
            packet.map_or((PacketStage::Idle, Life::Detached), |p| (p.place, state.modules[p.switch].life))
        });
        // SAFETY: the list is the driver's, in the place that was looked up.
        unsafe {
            match (place, life) {
                (PacketStage::Egress, _) => {
                    NdisFReturnNetBufferLists(filter, nbl, ReturnFlags::SWITCH_SINGLE_SOURCE.bits())
                }
                (PacketStage::Ingress, Life::Paused) => {
                    (*nbl).status = PAUSED;
                    NdisFSendNetBufferListsComplete(filter, nbl, 0);
                }
                _ => NdisFSendNetBufferLists(filter, nbl, 0, 0),
            }
        }
    }
}
