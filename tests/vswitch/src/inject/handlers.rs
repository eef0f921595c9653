//! Mutations with the handlers of the switch: destinations, contexts, sources, reports.

use crate::adapter::offloads::Resource;
use crate::inject::policy::{flooded_vnic, withholds, wrong_vnic};
use crate::inject::ports::no_destination;
use crate::inject::state::{commit, is, pending};
use crate::machine::world::World;
use crate::mutation::Mutation;
use crate::switch::ndis::array::{GARBAGE_BITS, RESERVED_BITS};
use crate::switch::ndis::contexts::PRESERVE_DESTINATIONS;
use crate::switch::ndis::packet::{Packet, PacketStage};
use crate::switch::ndis::{State, with};
use crate::switch::ports::{NicId, NicKind, NicState};
use lbfoext::ndis::raw::{
    DestinationBits, ForwardingDestinationArray, Handle, Mdl, NetBufferList, PortDestination, SUCCESS,
    SwitchContext, UnicodeString,
};
use parking_lot::Mutex;
use std::ptr;

/// AddNetBufferListDestination: the element that is added, or the status that the driver takes for the truth.
pub(crate) fn destination(
    context: SwitchContext,
    list: *mut NetBufferList,
    element: PortDestination,
) -> Result<PortDestination, i32> {
    let Some(mutation) = pending() else { return Ok(element) };
    with(|world, state| inject_add(world, state, mutation, context, list, element))
}

fn inject_add(
    world: &World,
    state: &mut State,
    mutation: Mutation,
    context: Handle,
    list: *mut NetBufferList,
    element: PortDestination,
) -> Result<PortDestination, i32> {
    let Some(packet) = state.packets.get(list) else { return Ok(element) };
    let (foreign, alone, source, module) = (packet.own.is_none(), packet.alone, packet.source, packet.switch);
    match mutation {
        Mutation::FreeForeignContext if foreign && commit() => state.free_context(world, context, list),
        Mutation::SetForeignSource if foreign && commit() => {
            state.set_source(world, context, list, source);
        }
        Mutation::WrongSwitchContext if commit() => {
            state.get(world, (context as usize + 8) as Handle, list);
        }
        Mutation::OtherModulesPacket => {
            let other = state.modules.iter().find(|m| m.index != module && m.switch != 0).map(|m| m.switch);
            if let Some(other) = other.filter(|_| commit()) {
                state.get(world, other as Handle, list);
            }
        }
        Mutation::WriteArrayHeader if commit() => {
            if let Some(of) = state.packets.get_mut(list).and_then(|p| p.context.as_mut()) {
                // SAFETY: the array belongs to the packet.
                unsafe { (*of.pointer()).num_elements += 1 };
            }
        }
        Mutation::IgnoreFailedAdd if foreign && alone && commit() => {
            state.add_destination(world, context, list, element, true);
            return Err(SUCCESS);
        }
        _ if alone => return Ok(inject_element(state, mutation, list, element)),
        _ => {}
    }
    Ok(element)
}

/// The destination itself is wrong.
fn inject_element(
    state: &mut State,
    mutation: Mutation,
    list: *mut NetBufferList,
    element: PortDestination,
) -> PortDestination {
    let Some(packet) = state.packets.get(list) else { return element };
    let (source, module) = (packet.source, packet.switch);
    let m = &state.modules[module];
    let topology = &m.topology;
    let external = topology.is_external(element.port_id);
    let port = topology.external_port.unwrap_or(0);
    let from_external = topology.is_external(source.port);
    let members: Vec<u16> = topology.members().map(|n| n.id.index).collect();
    let going = topology.nics().find(|n| n.disconnect_passed && n.kind != NicKind::External).map(|n| n.id);
    let dead = topology.members().find(|n| n.known_down).map(|n| n.id);
    let enumerated =
        topology.nic(NicId::new(element.port_id, element.nic_index)).is_none_or(|n| n.from_array);
    let other = topology
        .nics()
        .find(|n| {
            n.kind != NicKind::External
                && n.state == NicState::Connected
                && n.id != source
                && n.id.port != element.port_id
        })
        .map(|n| n.id);
    let to = |id: NicId| PortDestination { port_id: id.port, nic_index: id.index, bits: element.bits };
    let injected = match mutation {
        Mutation::ToUnknownPort => Some(to(NicId::new(0xFFF0, 0))),
        Mutation::IndexOnGuestPort if !external => Some(PortDestination { nic_index: 1, ..element }),
        Mutation::IndexZeroOfTeam if external && members.len() > 1 => {
            Some(PortDestination { nic_index: 0, ..element })
        }
        Mutation::ToDeadTeam if !external && members.is_empty() && port != 0 => Some(to(NicId::new(port, 0))),
        Mutation::ReservedBits => Some(PortDestination {
            bits: element.bits | DestinationBits::from_bits_retain(0x8000),
            ..element
        }),
        Mutation::StaleBits => {
            Some(PortDestination { bits: element.bits | GARBAGE_BITS & RESERVED_BITS, ..element })
        }
        Mutation::BackOut if from_external => members.first().map(|index| to(NicId::new(port, *index))),
        Mutation::AfterDisconnect if !external => going.map(to),
        Mutation::ForgetAfterAttach if !external && m.attached_before => other.map(to),
        Mutation::WrongVnic if !external && !enumerated => other.map(to),
        Mutation::ToDeadMember if external => dead.map(to),
        Mutation::ForgetNewAddress
        | Mutation::RememberOldPort
        | Mutation::StepBySize
        | Mutation::ReadNameTail
        | Mutation::IgnoreVlan
        | Mutation::ReadPropertyId
        | Mutation::BelieveDamage
        | Mutation::IgnoreNewerVersion
        | Mutation::KeepRefused
        | Mutation::ForgetToEnumerate
        | Mutation::CrossSubnets
        | Mutation::ShowSecondTag
        | Mutation::IgnorePruning => wrong_vnic(state, mutation, list).map(to),
        Mutation::ToValidationPort
        | Mutation::ToFailedNic
        | Mutation::ToListedNic
        | Mutation::ToCreatedMember
        | Mutation::IntoTheGap => no_destination(topology, mutation, external).map(to),
        Mutation::SendInTheClear if external => {
            in_the_clear(state, packet).map(|index| to(NicId::new(port, index)))
        }
        Mutation::TornReading if external => {
            torn(state, packet, &members).map(|index| to(NicId::new(port, index)))
        }
        _ => None,
    };
    match injected {
        Some(injected) if commit() => injected,
        _ => element,
    }
}

/// A member that has not the security association of a packet.
fn in_the_clear(state: &State, packet: &Packet) -> Option<u16> {
    // SAFETY: the packet is in the driver's hands.
    let handle = unsafe { (*packet.nbl).info[lbfoext::ndis::raw::info::IPSEC] };
    let m = &state.modules[packet.switch];
    let lacks = |index: &u16| {
        let adapter = m.external.adapters.get(index);
        adapter.is_some_and(|a| !a.offloads.holds(packet.source, Resource::Association(handle)))
    };
    let live = m.topology.members().filter(|nic| nic.usable && !nic.known_down).map(|nic| nic.id.index);
    live.into_iter().find(lacks).filter(|_| handle != 0)
}

/// A member that neither version of a packet would go to.
fn torn(state: &State, packet: &Packet, members: &[u16]) -> Option<u16> {
    let generation = state.modules[packet.switch].topology.generation;
    let versions = &packet.unsafe_bytes.first()?.versions;
    let right = state.flows.members(packet.source, versions, generation)?;
    members.iter().copied().find(|m| !right.contains(m))
}

/// After a successful Add.
pub(crate) fn added(list: *mut NetBufferList) {
    if pending() != Some(Mutation::EditCommitted) {
        return;
    }
    with(|_, state| {
        if let Some(of) = state.packets.get_mut(list).and_then(|p| p.context.as_mut())
            && !of.committed.is_empty()
            && commit()
        {
            of.poke_bits(0, of.committed[0].bits | DestinationBits::PRESERVE_VLAN);
        }
    });
}

/// GrowNetBufferListDestinations is about to be called.
pub(crate) fn growing(world: &World, state: &mut State, context: Handle, list: *mut NetBufferList) {
    let Some(mutation) = pending() else { return };
    if mutation == Mutation::DoubleVnic
        && let Some(to) = flooded_vnic(state, list)
        && commit()
    {
        state.grow(world, context, list, 1, false);
        let element =
            PortDestination { port_id: to.port, nic_index: to.index, bits: DestinationBits::empty() };
        state.add_destination(world, context, list, element, false);
        return;
    }
    let Some(of) = state.packets.get_mut(list).and_then(|p| p.context.as_mut()) else { return };
    let (available, array) = (of.available(), of.pointer());
    let first = of.destinations();
    match mutation {
        Mutation::IgnoreFailedGrow if commit() => {
            state.grow(world, context, list, 1, true);
            state.update(world, context, list, available + 1, array, false);
        }
        Mutation::GrowUncommitted if available > 0 && commit() => of.poke_slot(first, 5),
        _ => {}
    }
}

/// GrowNetBufferListDestinations has replaced an array.
pub(crate) fn grown(state: &mut State, list: *mut NetBufferList) {
    if is(Mutation::StaleArray)
        && let Some(of) = state.packets.get_mut(list).and_then(|p| p.context.as_mut())
    {
        of.poke_dead();
    }
}

/// UpdateNetBufferListDestinations is about to be called.
pub(crate) fn updating(
    world: &World,
    state: &mut State,
    context: Handle,
    list: *mut NetBufferList,
    array: *mut ForwardingDestinationArray,
) {
    if pending() != Some(Mutation::UpdateTooMany) {
        return;
    }
    let available = state
        .packets
        .get(list)
        .and_then(|p| p.context.as_ref())
        .map(crate::switch::ndis::array::Context::available);
    if let Some(available) = available.filter(|_| commit()) {
        state.update(world, context, list, available + 1, array, false);
    }
}

/// AllocateNetBufferListForwardingContext is about to be called.
pub(crate) fn allocating(world: &World, state: &mut State, context: Handle, list: *mut NetBufferList) {
    match pending() {
        Some(Mutation::GetBeforeContext) if commit() => {
            state.get(world, context, list);
        }
        Some(Mutation::ContextBeforeHandle) if commit() => {
            // SAFETY: the list is the driver's own.
            let handle = unsafe { std::mem::replace(&mut (*list).source_handle, ptr::null_mut()) };
            state.allocate_context(world, context, list, true);
            // SAFETY: as above.
            unsafe { (*list).source_handle = handle };
        }
        _ => {}
    }
}

/// An own list has its context, source and out-of-band data.
pub(crate) fn copied(
    world: &World,
    state: &mut State,
    context: Handle,
    list: *mut NetBufferList,
    parent: *mut NetBufferList,
) {
    let Some(mutation) = pending() else { return };
    // SAFETY: both lists are the driver's.
    let (own, filter) = unsafe { (&mut *list, state.modules[0].filter as Handle) };
    match mutation {
        Mutation::SetUnknownSource if commit() => {
            state.set_source(world, context, list, NicId::new(0xFFF0, 0));
        }
        Mutation::IndicateOwn | Mutation::IndicateChanged if commit() => {
            let (next, was) = (own.next, own.parent);
            own.next = ptr::null_mut();
            own.parent = parent;
            let nb = own.first_net_buffer;
            let cut = u32::from(mutation == Mutation::IndicateChanged);
            // SAFETY: the list has a NET_BUFFER.
            unsafe { (*nb).data_length -= cut };
            state.take_indicate(world, filter, list, (0, 1, 0));
            // SAFETY: as above.
            unsafe { (*nb).data_length += cut };
            own.next = next;
            own.parent = was;
        }
        _ => {}
    }
}

/// CopyNetBufferListInfo is about to be called.
pub(crate) fn copying(
    world: &World,
    state: &mut State,
    context: Handle,
    to: *mut NetBufferList,
    from: *mut NetBufferList,
) {
    if pending() == Some(Mutation::SourceBeforeCopy)
        && let Some(source) = state.packets.get(from).map(|p| p.source)
        && source != NicId::NOWHERE
        && commit()
    {
        state.set_source(world, context, to, source);
    }
}

/// Flags of CopyNetBufferListInfo.
pub(crate) fn copy_flags(flags: u32) -> u32 {
    if is(Mutation::PreserveOnIngress) { flags | PRESERVE_DESTINATIONS } else { flags }
}

/// FreeNetBufferListForwardingContext was called.
pub(crate) fn freed_context(world: &World, state: &mut State, context: Handle, list: *mut NetBufferList) {
    if is(Mutation::FreeContextTwice) {
        state.free_context(world, context, list);
    }
}

/// NdisFreeNetBufferList is about to be called.
pub(crate) fn freeing(world: &World, state: &mut State, list: *mut NetBufferList) {
    let completing = state.packets.get(list).is_some_and(|p| p.place == PacketStage::Completing);
    if completing && is(Mutation::CompleteOwn) {
        let module = state.packets.get(list).map_or(0, |p| p.switch);
        let filter = state.modules[module].filter as Handle;
        // SAFETY: the list is the driver's own.
        unsafe { (*list).next = ptr::null_mut() };
        state.take_complete(world, filter, list, 0);
    }
}

/// What NdisAllocateNetBufferAndNetBufferList was asked for last.
#[derive(Default)]
struct LastBuffer(Mutex<Option<(usize, u32, usize)>>);

/// NdisAllocateNetBufferAndNetBufferList: memory of the list's NET_BUFFER.
pub(crate) fn buffer(world: &World, chain: *mut Mdl, offset: u32, length: usize) -> (*mut Mdl, u32, usize) {
    if pending() != Some(Mutation::SameBufferTwice) {
        return (chain, offset, length);
    }
    let mut last = world.part::<LastBuffer>().0.lock();
    match *last {
        Some((chain, offset, length)) if commit() => (chain as *mut Mdl, offset, length),
        _ => {
            *last = Some((chain as usize, offset, length));
            (chain, offset, length)
        }
    }
}

/// What a report says.
pub(crate) struct Report {
    pub(crate) name: *const UnicodeString,
    pub(crate) port: u32,
    pub(crate) flags: u32,
    pub(crate) count: u32,
}

/// ReportFilteredNetBufferLists; `None` if it is not made.
pub(crate) fn report(
    world: &World,
    state: &mut State,
    module: usize,
    said: Report,
    lists: *mut NetBufferList,
) -> Option<Report> {
    let running = state.life(module) == crate::switch::ndis::Life::Running;
    match pending() {
        Some(
            Mutation::LetSpoof
            | Mutation::LendToStrangers
            | Mutation::LeaveLink
            | Mutation::TakeReflection
            | Mutation::TakeCopy
            | Mutation::ReadInvalidName,
        ) if running && withholds(world, state, module, lists) => None,
        Some(Mutation::DropSilently) if running && commit() => None,
        Some(Mutation::ReportWrongPort) if commit() => Some(Report { port: said.port + 1, ..said }),
        Some(Mutation::ReportWrongCount) if commit() => Some(Report { count: said.count + 1, ..said }),
        Some(Mutation::BlameDestination)
            if crate::reference::case::case(world, state, module, lists as usize).is_some() && commit() =>
        {
            Some(Report { flags: 0, ..said })
        }
        Some(Mutation::ReportNoName) if commit() => Some(Report { name: ptr::null(), ..said }),
        Some(Mutation::MixedReport) => {
            mixed_report(world, state, module, said.port, lists);
            Some(said)
        }
        _ => Some(said),
    }
}

/// One report for two dropped packets of different sources.
fn mixed_report(world: &World, state: &mut State, module: usize, port: u32, first: *mut NetBufferList) {
    let Some(one) = state.packets.get(first) else { return };
    let (source, name) = (one.source.port, one.name);
    let other = state
        .packets
        .all()
        .into_iter()
        .find(|p| {
            p.place == PacketStage::Ingress && p.own.is_none() && p.name != name && p.source.port != source
        })
        .map(|p| p.nbl);
    let Some(other) = other.filter(|_| commit()) else { return };
    // SAFETY: both lists are in the driver's hands.
    unsafe {
        let (next, after) = ((*first).next, (*other).next);
        (*first).next = other;
        (*other).next = ptr::null_mut();
        state.report(
            world,
            module,
            (port, lbfoext::ndis::raw::ReportFilteredFlags::IS_INCOMING.bits(), 2),
            first,
            "both",
        );
        (*first).next = next;
        (*other).next = after;
    }
}
