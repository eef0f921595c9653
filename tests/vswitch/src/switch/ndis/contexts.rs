//! Forwarding contexts of the extension's own lists: allocate, free, set the source, copy from a parent.

use crate::check::rule;
use crate::machine::memory::AllocationKind;
use crate::machine::world::World;
use crate::switch::ndis::State;
use crate::switch::ndis::array::Context;
use crate::switch::ports::NicId;
use lbfoext::ndis::raw::{Handle, INVALID_PARAMETER, NetBufferList, RESOURCES, SUCCESS, info};

/// Value of CopyNetBufferListInfo's flag that keeps destinations.
pub const PRESERVE_DESTINATIONS: u32 = 1;

impl State {
    pub(crate) fn allocate_context(
        &mut self,
        world: &World,
        context: Handle,
        list: *mut NetBufferList,
        fails: bool,
    ) -> i32 {
        let function = "AllocateNetBufferListForwardingContext";
        let Some(module) = self.owner(world, context, function) else { return INVALID_PARAMETER };
        if !self.target(world, module, list, function) {
            return INVALID_PARAMETER;
        }
        let filter = self.modules[module].filter;
        let slots = u32::try_from(world.random(self.style.free_slots + 1)).unwrap_or(0);
        let (stride, stale) = (self.style.stride, self.style.adversities.stale_slots);
        let Some(packet) = self.packets.get_mut(list) else { return INVALID_PARAMETER };
        let (name, own) = (packet.name, packet.own.is_some());
        rule(world, "DATA-21", own, || format!("{function} for packet {name} of the switch"));
        if !own {
            return INVALID_PARAMETER;
        }
        let handle = packet.source_handle() as usize;
        rule(world, "DATA-17", handle == filter, || {
            format!("{function} before SourceHandle of packet {name} is set")
        });
        rule(world, "DATA-20", packet.context.is_none(), || format!("{function} twice for packet {name}"));
        if fails {
            self.spoiled(list);
            return RESOURCES;
        }
        packet.context = Some(Context::new(slots, stride, stale));
        packet.source = NicId::NOWHERE;
        packet.detail_bits = 0;
        packet.reset_detail();
        world.track(AllocationKind::ForwardingContext, list as usize, 0, "forwarding context");
        SUCCESS
    }

    pub(crate) fn free_context(&mut self, world: &World, context: Handle, list: *mut NetBufferList) {
        let function = "FreeNetBufferListForwardingContext";
        let Some(module) = self.owner(world, context, function) else { return };
        if !self.target(world, module, list, function) {
            return;
        }
        let Some(packet) = self.packets.get_mut(list) else { return };
        let name = packet.name;
        rule(world, "DATA-21", packet.own.is_some(), || {
            format!("{function} for packet {name} of the switch")
        });
        if packet.own.is_none() {
            return;
        }
        rule(world, "DATA-20", packet.context.is_some(), || {
            format!("{function} for packet {name} without one")
        });
        if packet.context.take().is_some() {
            world.untrack(AllocationKind::ForwardingContext, list as usize);
            // SAFETY: the packet is in the extension's hands and so uncovered.
            unsafe { (*list).info[info::SWITCH_FORWARDING_DETAIL] = 0 };
        }
    }

    pub(crate) fn set_source(
        &mut self,
        world: &World,
        context: Handle,
        list: *mut NetBufferList,
        source: NicId,
    ) -> i32 {
        let function = "SetNetBufferListSource";
        let Some(module) = self.owner(world, context, function) else { return INVALID_PARAMETER };
        if !self.target(world, module, list, function) {
            return INVALID_PARAMETER;
        }
        let connected = source == NicId::NOWHERE || self.is_connected(module, source);
        let Some(packet) = self.packets.get_mut(list) else { return INVALID_PARAMETER };
        let name = packet.name;
        rule(world, "DATA-27", packet.own.is_some(), || {
            format!("{function} for packet {name} of the switch")
        });
        if packet.own.is_none() {
            return INVALID_PARAMETER;
        }
        rule(world, "DATA-16", packet.context.is_some(), || {
            format!("{function} for packet {name} without a context")
        });
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

    /// The switch has refused something for a list; where that is a child, its parent cannot go its way
    /// either.
    pub(super) fn spoiled(&mut self, list: *mut NetBufferList) {
        let Some(packet) = self.packets.get_mut(list) else { return };
        packet.fault = true;
        // SAFETY: the list is in the extension's hands and so uncovered.
        let parent = unsafe { (*packet.nbl).parent };
        if packet.own.is_some()
            && let Some(parent) = self.packets.get_mut(parent)
        {
            parent.fault = true;
        }
    }

    pub(crate) fn copy_info(
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
            if fails {
                self.spoiled(to);
            }
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
        packet.reset_detail();
        SUCCESS
    }
}
