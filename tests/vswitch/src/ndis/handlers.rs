//! The handlers that the switch gives to its extensions: forwarding contexts, destinations, sources, references, drop
//! reports.

use super::packet::{Context, GARBAGE_BITS, Place, RESERVED_BITS};
use super::{Life, State, calls, with};
use crate::check::mutations as bend;
use crate::check::own::PRESERVE_DESTINATIONS;
use crate::check::{advice, packets as checks, rule};
use crate::cpu::DISPATCH;
use crate::exports::Frame;
use crate::frames::{Assignment, Fate};
use crate::memory::{Kind, Place as MemoryPlace};
use crate::ports::{NicId, NicState};
use crate::world::World;
use lbfoext::ndis::raw::{
    ForwardingDestinationArray, Handle, INVALID_PARAMETER, INVALID_STATE, NetBufferList, PortDestination,
    REPORT_FILTERED_IS_INCOMING, RESOURCES, SUCCESS, SwitchContext, SwitchOptionalHandlers, UnicodeString, info,
};
use std::ptr;

/// The table, as NdisFGetOptionalSwitchHandlers gives it.
pub fn table() -> SwitchOptionalHandlers {
    SwitchOptionalHandlers {
        allocate_net_buffer_list_forwarding_context: Some(allocate_context),
        free_net_buffer_list_forwarding_context: Some(free_context),
        set_net_buffer_list_source: Some(set_source),
        add_net_buffer_list_destination: Some(add_destination),
        grow_net_buffer_list_destinations: Some(grow_destinations),
        get_net_buffer_list_destinations: Some(get_destinations),
        update_net_buffer_list_destinations: Some(update_destinations),
        copy_net_buffer_list_info: Some(copy_info),
        reference_switch_nic: Some(reference_nic),
        dereference_switch_nic: Some(dereference_nic),
        reference_switch_port: Some(reference_port),
        dereference_switch_port: Some(dereference_port),
        report_filtered_net_buffer_lists: Some(report_filtered),
        ..SwitchOptionalHandlers::ZERO
    }
}

/// What stands where a table of revision 2 has members: calling one is STATE-05.
pub unsafe extern "win64" fn beyond_the_revision() -> i32 {
    let _frame = Frame::enter("a switch handler of revision 2", DISPATCH);
    crate::world::current().violate("STATE-05", "a handler was called that the returned revision does not have");
    INVALID_PARAMETER
}

unsafe extern "win64" fn allocate_context(context: SwitchContext, list: *mut NetBufferList) -> i32 {
    let _frame = Frame::enter("AllocateNetBufferListForwardingContext", DISPATCH);
    let fails = crate::fault::fails("AllocateNetBufferListForwardingContext");
    with(|world, s| {
        bend::allocating(world, s, context, list);
        s.allocate_context(world, context, list, fails)
    })
}

unsafe extern "win64" fn free_context(context: SwitchContext, list: *mut NetBufferList) {
    let _frame = Frame::enter("FreeNetBufferListForwardingContext", DISPATCH);
    with(|world, s| {
        s.free_context(world, context, list);
        bend::freed_context(world, s, context, list);
    });
}

unsafe extern "win64" fn set_source(context: SwitchContext, list: *mut NetBufferList, port: u32, nic: u16) -> i32 {
    let _frame = Frame::enter("SetNetBufferListSource", DISPATCH);
    with(|world, s| s.set_source(world, context, list, NicId::new(port, nic)))
}

unsafe extern "win64" fn add_destination(
    context: SwitchContext,
    list: *mut NetBufferList,
    destination: *mut PortDestination,
) -> i32 {
    let _frame = Frame::enter("AddNetBufferListDestination", DISPATCH);
    let fails = crate::fault::fails("AddNetBufferListDestination");
    // SAFETY: the driver passes a readable element.
    let element = match bend::destination(context, list, unsafe { *destination }) {
        Ok(element) => element,
        Err(status) => return status,
    };
    let status = with(|world, s| s.add_destination(world, context, list, element, fails));
    bend::added(list);
    status
}

unsafe extern "win64" fn grow_destinations(
    context: SwitchContext,
    list: *mut NetBufferList,
    more: u32,
    array: *mut *mut ForwardingDestinationArray,
) -> i32 {
    let _frame = Frame::enter("GrowNetBufferListDestinations", DISPATCH);
    let fails = crate::fault::fails("GrowNetBufferListDestinations");
    let (status, pointer) = with(|world, s| {
        bend::growing(world, s, context, list);
        let grown = s.grow(world, context, list, more, fails);
        bend::grown(s, list);
        grown
    });
    if status == SUCCESS {
        // SAFETY: the driver passes a writable pointer.
        unsafe { *array = pointer };
    }
    status
}

unsafe extern "win64" fn get_destinations(
    context: SwitchContext,
    list: *mut NetBufferList,
    array: *mut *mut ForwardingDestinationArray,
) {
    let _frame = Frame::enter("GetNetBufferListDestinations", DISPATCH);
    let pointer = with(|world, s| s.get(world, context, list));
    // SAFETY: the driver passes a writable pointer.
    unsafe { *array = pointer };
}

unsafe extern "win64" fn update_destinations(
    context: SwitchContext,
    list: *mut NetBufferList,
    count: u32,
    array: *mut ForwardingDestinationArray,
) -> i32 {
    let _frame = Frame::enter("UpdateNetBufferListDestinations", DISPATCH);
    let fails = crate::fault::fails("UpdateNetBufferListDestinations");
    with(|world, s| {
        bend::updating(world, s, context, list, array);
        s.update(world, context, list, count, array, fails)
    })
}

unsafe extern "win64" fn copy_info(
    context: SwitchContext,
    to: *mut NetBufferList,
    from: *mut NetBufferList,
    flags: u32,
) -> i32 {
    let _frame = Frame::enter("CopyNetBufferListInfo", DISPATCH);
    let fails = crate::fault::fails("CopyNetBufferListInfo");
    let flags = bend::copy_flags(flags);
    with(|world, s| {
        bend::copying(world, s, context, to, from);
        let status = s.copy_info(world, context, to, from, flags, fails);
        bend::copied(world, s, context, to, from);
        status
    })
}

unsafe extern "win64" fn reference_nic(context: SwitchContext, port: u32, nic: u16) -> i32 {
    let _frame = Frame::enter("ReferenceSwitchNic", DISPATCH);
    let fails = crate::fault::fails("ReferenceSwitchNic");
    with(|world, s| s.reference_nic(world, context, NicId::new(port, nic), fails))
}

unsafe extern "win64" fn dereference_nic(context: SwitchContext, port: u32, nic: u16) -> i32 {
    let _frame = Frame::enter("DereferenceSwitchNic", DISPATCH);
    with(|world, s| s.dereference_nic(world, context, NicId::new(port, nic)))
}

unsafe extern "win64" fn reference_port(context: SwitchContext, port: u32) -> i32 {
    let _frame = Frame::enter("ReferenceSwitchPort", DISPATCH);
    let fails = crate::fault::fails("ReferenceSwitchPort");
    with(|world, s| s.reference_port(world, context, port, fails))
}

unsafe extern "win64" fn dereference_port(context: SwitchContext, port: u32) -> i32 {
    let _frame = Frame::enter("DereferenceSwitchPort", DISPATCH);
    with(|world, s| s.dereference_port(world, context, port))
}

#[expect(clippy::too_many_arguments, reason = "the handler's own signature")]
unsafe extern "win64" fn report_filtered(
    context: SwitchContext,
    guid: *const UnicodeString,
    name: *const UnicodeString,
    port: u32,
    flags: u32,
    count: u32,
    lists: *mut NetBufferList,
    reason: *const UnicodeString,
) {
    let _frame = Frame::enter("ReportFilteredNetBufferLists", DISPATCH);
    with(|world, s| {
        let Some(module) = s.owner(world, context, "ReportFilteredNetBufferLists") else { return };
        let said = bend::Report { name, port, count };
        let Some(said) = bend::report(world, s, module, said, lists) else { return };
        let bend::Report { name, port, count } = said;
        for text in [guid, name] {
            let valid = is_text(world, text);
            rule(world, "DATA-82", valid, || "report without a valid name of the extension".to_owned());
        }
        let reason = if is_text(world, reason) { read_text(reason) } else { String::new() };
        s.report(world, module, (port, flags, count), lists, &reason);
    });
}

/// A counted string that is there: not null, inside no freed memory.
fn is_text(world: &World, text: *const UnicodeString) -> bool {
    if text.is_null() || matches!(world.place(text.cast()), MemoryPlace::Freed(_)) {
        return false;
    }
    // SAFETY: not null and not freed; the driver passes a structure.
    let text = unsafe { *text };
    let freed = matches!(world.place(text.buffer.cast()), MemoryPlace::Freed(_));
    !freed && text.length % 2 == 0 && (text.length == 0 || !text.buffer.is_null())
}

fn read_text(text: *const UnicodeString) -> String {
    // SAFETY: checked by `is_text`.
    let units = unsafe { std::slice::from_raw_parts((*text).buffer, usize::from((*text).length / 2)) };
    String::from_utf16_lossy(units)
}

impl State {
    /// The module whose switch context this is.
    fn owner(&mut self, world: &World, context: Handle, function: &'static str) -> Option<usize> {
        let module = self.modules.iter().position(|m| m.switch == context as usize && m.switch != 0);
        rule(world, "DATA-23", module.is_some(), || format!("{function} with a context of no switch"));
        let module = module?;
        rule(world, "STATE-24", self.life(module) != Life::Detached, || format!("{function} after detach"));
        self.tick();
        Some(module)
    }

    /// A packet that the extension may give to a handler of this module.
    fn target(&mut self, world: &World, module: usize, list: *mut NetBufferList, function: &'static str) -> bool {
        let decoy = self.decoy();
        let packet = self.packets.get(list);
        let Some(packet) = packet else {
            let id = if list == decoy { "DATA-03" } else { "DATA-08" };
            world.violate(id, format!("{function} for something that is no list"));
            return false;
        };
        let name = packet.name;
        rule(world, "STATE-09", packet.switch == module, || {
            format!("{function} for packet {name} with another module's context")
        });
        let theirs = packet.place.is_the_extensions();
        rule(world, "DATA-03", theirs, || format!("{function} for packet {name} while it is others'"));
        theirs
    }

    pub fn allocate_context(&mut self, world: &World, context: Handle, list: *mut NetBufferList, fails: bool) -> i32 {
        let function = "AllocateNetBufferListForwardingContext";
        let Some(module) = self.owner(world, context, function) else { return INVALID_PARAMETER };
        if !self.target(world, module, list, function) {
            return INVALID_PARAMETER;
        }
        let filter = self.modules[module].filter;
        let slots = u32::try_from(world.random(self.style.free_slots + 1)).unwrap_or(0);
        let stride = self.style.stride;
        let Some(packet) = self.packets.get_mut(list) else { return INVALID_PARAMETER };
        let (name, own) = (packet.name, packet.own.is_some());
        rule(world, "DATA-21", own, || format!("{function} for packet {name} of the switch"));
        if !own {
            return INVALID_PARAMETER;
        }
        let handle = packet.source_handle() as usize;
        rule(world, "DATA-17", handle == filter, || format!("{function} before SourceHandle of packet {name} is set"));
        rule(world, "DATA-20", packet.context.is_none(), || format!("{function} twice for packet {name}"));
        if fails {
            packet.fault = true;
            return RESOURCES;
        }
        packet.context = Some(Context::new(slots, stride));
        packet.source = NicId::NOWHERE;
        packet.detail_bits = 0;
        packet.write_detail();
        world.track(Kind::ForwardingContext, list as usize, 0, "forwarding context");
        SUCCESS
    }

    pub fn free_context(&mut self, world: &World, context: Handle, list: *mut NetBufferList) {
        let function = "FreeNetBufferListForwardingContext";
        let Some(module) = self.owner(world, context, function) else { return };
        if !self.target(world, module, list, function) {
            return;
        }
        let Some(packet) = self.packets.get_mut(list) else { return };
        let name = packet.name;
        rule(world, "DATA-21", packet.own.is_some(), || format!("{function} for packet {name} of the switch"));
        if packet.own.is_none() {
            return;
        }
        rule(world, "DATA-20", packet.context.is_some(), || format!("{function} for packet {name} without one"));
        if packet.context.take().is_some() {
            world.untrack(Kind::ForwardingContext, list as usize);
            // SAFETY: the packet is in the extension's hands and so uncovered.
            unsafe { (*list).info[info::SWITCH_FORWARDING_DETAIL] = 0 };
        }
    }

    pub fn set_source(&mut self, world: &World, context: Handle, list: *mut NetBufferList, source: NicId) -> i32 {
        let function = "SetNetBufferListSource";
        let Some(module) = self.owner(world, context, function) else { return INVALID_PARAMETER };
        if !self.target(world, module, list, function) {
            return INVALID_PARAMETER;
        }
        let connected = source == NicId::NOWHERE || self.is_connected(module, source);
        let Some(packet) = self.packets.get_mut(list) else { return INVALID_PARAMETER };
        let name = packet.name;
        rule(world, "DATA-27", packet.own.is_some(), || format!("{function} for packet {name} of the switch"));
        if packet.own.is_none() {
            return INVALID_PARAMETER;
        }
        rule(world, "DATA-16", packet.context.is_some(), || format!("{function} for packet {name} without a context"));
        rule(world, "DATA-28", connected, || format!("{function} to {source}, which is not connected"));
        if !connected {
            return INVALID_PARAMETER;
        }
        if let Some(own) = packet.own.as_mut() {
            own.source_set = true;
        }
        packet.source = source;
        packet.write_detail();
        SUCCESS
    }

    /// The rules that hold for every call that adds destinations. False if the packet cannot take any.
    fn may_add(&mut self, world: &World, module: usize, list: *mut NetBufferList, function: &'static str) -> bool {
        if !self.target(world, module, list, function) {
            return false;
        }
        let Some(packet) = self.packets.get_mut(list) else { return false };
        let name = packet.name;
        rule(world, "DATA-16", packet.context.is_some(), || format!("{function} for packet {name} without a context"));
        rule(world, "DATA-57", !packet.is_native(), || format!("{function} for native packet {name}"));
        packet.context.is_some() && !packet.is_native()
    }

    pub fn add_destination(
        &mut self,
        world: &World,
        context: Handle,
        list: *mut NetBufferList,
        element: PortDestination,
        fails: bool,
    ) -> i32 {
        let function = "AddNetBufferListDestination";
        let Some(module) = self.owner(world, context, function) else { return INVALID_PARAMETER };
        if !self.may_add(world, module, list, function) {
            return INVALID_PARAMETER;
        }
        let Some(packet) = self.packets.get_mut(list) else { return INVALID_PARAMETER };
        let name = packet.name;
        let ingress = matches!(packet.place, Place::Ingress | Place::Idle);
        rule(world, "DATA-51", ingress, || format!("{function} for packet {name} on egress"));
        if !ingress {
            return INVALID_PARAMETER;
        }
        checks::committed_unchanged(world, packet, false);
        let Some(of) = packet.context.as_mut() else { return INVALID_PARAMETER };
        let room = of.available() > 0;
        rule(world, "DATA-37", room, || format!("{function} for packet {name} without a free slot"));
        if !room || fails {
            of.commit_failed = true;
            packet.fault |= fails;
            return RESOURCES;
        }
        if of.adds > 0 {
            self.cost("DATA-34");
        }
        self.commit(world, module, list, &[element]);
        if let Some(packet) = self.packets.get_mut(list) {
            if let Some(of) = packet.context.as_mut() {
                of.adds += 1;
            }
            packet.write_detail();
        }
        SUCCESS
    }

    pub fn grow(
        &mut self,
        world: &World,
        context: Handle,
        list: *mut NetBufferList,
        more: u32,
        fails: bool,
    ) -> (i32, *mut ForwardingDestinationArray) {
        let function = "GrowNetBufferListDestinations";
        let failed = (INVALID_PARAMETER, ptr::null_mut());
        let Some(module) = self.owner(world, context, function) else { return failed };
        if !self.may_add(world, module, list, function) {
            return failed;
        }
        let Some(packet) = self.packets.get_mut(list) else { return failed };
        let name = packet.name;
        let ingress = matches!(packet.place, Place::Ingress | Place::Idle);
        rule(world, "DATA-51", ingress, || format!("{function} for packet {name} on egress"));
        checks::committed_unchanged(world, packet, false);
        let Some(of) = packet.context.as_mut() else { return failed };
        rule(world, "DATA-40", of.written() == 0, || {
            format!("{function} for packet {name} with destinations written and not committed")
        });
        if fails {
            of.grow_failed = true;
            packet.fault = true;
            return (RESOURCES, ptr::null_mut());
        }
        let enough = of.available() >= more;
        // The extension asks for the difference, but an array twice as long is as legal an answer.
        let wanted = of.available() + more + u32::try_from(world.random(3)).unwrap_or(0);
        of.grow(wanted);
        let pointer = of.pointer();
        packet.write_detail();
        if enough {
            self.cost("DATA-38");
        }
        (SUCCESS, pointer)
    }

    pub fn get(&mut self, world: &World, context: Handle, list: *mut NetBufferList) -> *mut ForwardingDestinationArray {
        let function = "GetNetBufferListDestinations";
        let Some(module) = self.owner(world, context, function) else { return ptr::null_mut() };
        if !self.target(world, module, list, function) {
            return ptr::null_mut();
        }
        let Some(packet) = self.packets.get_mut(list) else { return ptr::null_mut() };
        let name = packet.name;
        rule(world, "DATA-16", packet.context.is_some(), || format!("{function} for packet {name} without a context"));
        packet.context.as_mut().map_or(ptr::null_mut(), Context::pointer)
    }

    pub fn update(
        &mut self,
        world: &World,
        context: Handle,
        list: *mut NetBufferList,
        count: u32,
        array: *mut ForwardingDestinationArray,
        fails: bool,
    ) -> i32 {
        let function = "UpdateNetBufferListDestinations";
        let Some(module) = self.owner(world, context, function) else { return INVALID_PARAMETER };
        if !self.may_add(world, module, list, function) {
            return INVALID_PARAMETER;
        }
        let Some(packet) = self.packets.get_mut(list) else { return INVALID_PARAMETER };
        let name = packet.name;
        let ingress = matches!(packet.place, Place::Ingress | Place::Idle);
        rule(world, "DATA-51", ingress || count == 0, || format!("{function} adds to packet {name} on egress"));
        let Some(of) = packet.context.as_mut() else { return INVALID_PARAMETER };
        let current = array == of.pointer();
        rule(world, "DATA-24", current, || format!("{function} for packet {name} with an array that is not its own"));
        let room = count <= of.available();
        let id = if of.grow_failed { "DATA-39" } else { "DATA-36" };
        rule(world, id, room, || format!("{function} of {count} with {} free slots", of.available()));
        if !current || !room {
            return INVALID_PARAMETER;
        }
        let written = of.written();
        rule(world, "DATA-35", written == count || count == 0, || {
            format!("{function} of {count} for packet {name}, {written} were written")
        });
        if fails {
            of.commit_failed = true;
            packet.fault = true;
            return RESOURCES;
        }
        if !ingress {
            exclude(of);
            return SUCCESS;
        }
        let first = of.destinations();
        let elements: Vec<PortDestination> = (first..first + count).map(|i| of.slot(i)).collect();
        checks::committed_unchanged(world, packet, false);
        if count == 1 {
            self.cost("DATA-34");
        }
        self.commit(world, module, list, &elements);
        if let Some(packet) = self.packets.get_mut(list) {
            packet.write_detail();
        }
        SUCCESS
    }

    /// Destinations become binding: what was decided is decided here.
    fn commit(&mut self, world: &World, module: usize, list: *mut NetBufferList, elements: &[PortDestination]) {
        let order = self.tick();
        let now = world.now();
        let Some(packet) = self.packets.get_mut(list) else { return };
        let source = packet.source;
        let name = packet.name;
        for &element in elements {
            let to = NicId::new(element.port_id, element.nic_index);
            let stale = element.bits & RESERVED_BITS == GARBAGE_BITS & RESERVED_BITS;
            rule(world, "DATA-48", !stale, || format!("packet {name}: element for {to} was not zeroed before use"));
            let clean = element.bits & (RESERVED_BITS | PortDestination::IS_EXCLUDED) == 0;
            rule(world, "DATA-47", clean || stale, || format!("packet {name}: bits {:#x} at commit", element.bits));
            let fine = crate::check::commit::destination(world, &self.modules[module].topology, name, source, to);
            packet.fault |= !fine;
            let Some(context) = packet.context.as_mut() else { return };
            let twice = context.committed.iter().any(|d| (d.port_id, d.nic_index) == (to.port, to.index));
            advice(world, "DATA-49", !twice, || format!("packet {name}: {to} is a destination twice"));
            context.append(element);
            context.grow_failed = false;
            context.commit_failed = false;
            let topology = &mut self.modules[module].topology;
            if let Some(nic) = topology.nic_mut(to) {
                nic.packets += 1;
                packet.pinned.push(to);
            }
        }
        self.identify(list as usize);
        let Some(packet) = self.packets.get_mut(list) else { return };
        let topology = &self.modules[module].topology;
        for element in elements.iter().filter(|e| topology.is_external(e.port_id)) {
            for &frame in &packet.frames {
                let member = element.nic_index;
                self.frames.assignments.push(Assignment { frame, member, time: now, order });
            }
        }
        world.log(|| {
            let all = elements.iter().map(|e| format!("{}/{}", e.port_id, e.nic_index));
            format!("packet {name} to {}", all.collect::<Vec<_>>().join(" "))
        });
    }

    fn copy_info(
        &mut self,
        world: &World,
        context: Handle,
        to: *mut NetBufferList,
        from: *mut NetBufferList,
        flags: u32,
        fails: bool,
    ) -> i32 {
        let function = "CopyNetBufferListInfo";
        let Some(module) = self.owner(world, context, function) else { return INVALID_PARAMETER };
        if !self.target(world, module, to, function) || !self.target(world, module, from, function) {
            return INVALID_PARAMETER;
        }
        let Some(parent) = self.packets.get(from) else { return INVALID_PARAMETER };
        let (source, bits, destinations) =
            (parent.source, parent.detail_bits, parent.context.as_ref().map(|c| c.committed.clone()));
        let Some(packet) = self.packets.get_mut(to) else { return INVALID_PARAMETER };
        let name = packet.name;
        rule(world, "DATA-21", packet.own.is_some(), || format!("{function} to packet {name} of the switch"));
        let Some(mut own) = packet.own else { return INVALID_PARAMETER };
        rule(world, "DATA-67", packet.context.is_some() && !own.source_set, || {
            format!("{function} to packet {name} before its context or after its source")
        });
        if fails || packet.context.is_none() {
            packet.fault |= fails;
            return RESOURCES;
        }
        own.copied = Some(flags);
        packet.own = Some(own);
        packet.source = source;
        packet.detail_bits = bits;
        if flags & PRESERVE_DESTINATIONS != 0
            && let (Some(context), Some(destinations)) = (packet.context.as_mut(), destinations)
        {
            context.grow(u32::try_from(destinations.len()).unwrap_or(0));
            destinations.into_iter().for_each(|d| context.append(d));
        }
        // SAFETY: both lists are in the extension's hands and so uncovered.
        unsafe {
            let slots = (*from).info;
            let keep = [info::SWITCH_FORWARDING_DETAIL, info::SWITCH_FORWARDING_RESERVED];
            for (index, slot) in slots.iter().enumerate().filter(|(i, _)| !keep.contains(i)) {
                (*to).info[index] = *slot;
            }
        }
        packet.write_detail();
        SUCCESS
    }

    fn reference_nic(&mut self, world: &World, context: Handle, id: NicId, fails: bool) -> i32 {
        let Some(module) = self.owner(world, context, "ReferenceSwitchNic") else { return INVALID_PARAMETER };
        advice(world, "DATA-52", !checks::in_walk(), || "ReferenceSwitchNic on the data path".to_owned());
        if fails {
            return RESOURCES;
        }
        let m = &mut self.modules[module];
        // Against a DISCONNECT on another thread the call may race; what began after it may not.
        let began = calls().first().map_or(u64::MAX, |call| call.began);
        let connected = m.topology.nic(id).is_some_and(|n| n.state == NicState::Connected && !n.disconnect_passed);
        let raced = m.topology.disconnects.get(&id).is_some_and(|order| *order >= began);
        rule(world, "PORTNIC-11", connected || raced || world.injected_fault().is_some(), || {
            format!("ReferenceSwitchNic of {id}, which is not connected")
        });
        if !m.topology.reference_nic(id) {
            return INVALID_STATE;
        }
        world.track(Kind::NicReference, key(module, id), 0, "reference of a NIC");
        SUCCESS
    }

    fn dereference_nic(&mut self, world: &World, context: Handle, id: NicId) -> i32 {
        let Some(module) = self.owner(world, context, "DereferenceSwitchNic") else { return INVALID_PARAMETER };
        let held = self.modules[module].topology.dereference_nic(id);
        rule(world, "PORTNIC-14", held, || format!("DereferenceSwitchNic of {id} without a reference"));
        world.untrack(Kind::NicReference, key(module, id));
        crate::cpu::wake(crate::slots::ANY);
        if held { SUCCESS } else { INVALID_PARAMETER }
    }

    fn reference_port(&mut self, world: &World, context: Handle, port: u32, fails: bool) -> i32 {
        let Some(module) = self.owner(world, context, "ReferenceSwitchPort") else { return INVALID_PARAMETER };
        if fails {
            return RESOURCES;
        }
        if !self.modules[module].topology.reference_port(port) {
            return INVALID_STATE;
        }
        world.track(Kind::PortReference, key(module, NicId::new(port, 0)), 0, "reference of a port");
        SUCCESS
    }

    fn dereference_port(&mut self, world: &World, context: Handle, port: u32) -> i32 {
        let Some(module) = self.owner(world, context, "DereferenceSwitchPort") else { return INVALID_PARAMETER };
        let held = self.modules[module].topology.dereference_port(port);
        rule(world, "PORTNIC-14", held, || format!("DereferenceSwitchPort of {port} without a reference"));
        world.untrack(Kind::PortReference, key(module, NicId::new(port, 0)));
        if held { SUCCESS } else { INVALID_PARAMETER }
    }

    pub fn report(
        &mut self,
        world: &World,
        module: usize,
        (port, flags, count): (u32, u32, u32),
        first: *mut NetBufferList,
        reason: &str,
    ) {
        let incoming = flags & REPORT_FILTERED_IS_INCOMING != 0;
        let lists = checks::chain(self, first);
        rule(world, "DATA-81", count as usize == lists.len(), || {
            format!("report of {count} lists, the chain has {}", lists.len())
        });
        let same = self.same_source(&lists);
        rule(world, "DATA-79", !incoming || same, || "one report for packets of several source ports".to_owned());
        for list in lists {
            self.identify(list);
            let known_port = self.modules[module].topology.ports.contains_key(&port);
            let Some(packet) = self.packets.at(list) else { continue };
            let name = packet.name;
            let theirs = packet.place.is_the_extensions();
            rule(world, "DATA-78", theirs, || format!("packet {name} reported after it was given away"));
            let source = packet.source.port;
            rule(world, "DATA-80", if incoming { !same || port == source } else { known_port }, || {
                format!("packet {name} from port {source} reported for port {port}, incoming {incoming}")
            });
            if !theirs {
                continue;
            }
            packet.reported_ports.push(port);
            if incoming || packet.place == Place::Egress {
                self.reported(list, incoming, reason);
            }
            world.log(|| format!("packet {name} filtered: {reason}"));
        }
    }

    /// Every frame of a reported list is accounted for.
    fn reported(&mut self, list: usize, incoming: bool, reason: &str) {
        let Some(packet) = self.packets.at(list) else { return };
        if packet.reported {
            return;
        }
        packet.reported = true;
        let carried = packet.carried.clone();
        let own = packet.own.is_some();
        // SAFETY: the packet is in the extension's hands and so uncovered.
        let parent = unsafe { (*packet.nbl).parent } as usize;
        for id in packet.frames.clone() {
            if incoming && carried.contains(&id) {
                continue;
            }
            self.frames.fate(id, Fate::Filtered { reason: reason.to_owned() });
            if own && let Some(parent) = self.packets.at(parent) {
                parent.carried.push(id);
            }
        }
    }
}

/// Exclusions that memory shows become the truth.
fn exclude(context: &mut Context) {
    let now = context.committed_in_memory();
    for (was, is) in context.committed.iter_mut().zip(now) {
        was.bits |= is.bits & PortDestination::IS_EXCLUDED;
    }
}

/// Key of a reference in the ledger.
fn key(module: usize, id: NicId) -> usize {
    module << 56 | (id.port as usize) << 16 | usize::from(id.index)
}
