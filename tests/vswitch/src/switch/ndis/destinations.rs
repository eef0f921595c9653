//! Destinations of packets: added one by one, or written to the array and committed by an update.
//!
//! A packet is assigned in `commit`, where the extension's decision is checked.

use crate::check::{advice, rule, unchanged};
use crate::machine::world::World;
use crate::switch::frames::Assignment;
use crate::switch::ndis::State;
use crate::switch::ndis::array::{Context, GARBAGE_BITS, RESERVED_BITS};
use crate::switch::ndis::packet::PacketStage;
use crate::switch::ports::NicId;
use lbfoext::ndis::raw::{
    DestinationBits, ForwardingDestinationArray, Handle, INVALID_PARAMETER, NetBufferList, PortDestination,
    RESOURCES, SUCCESS,
};
use std::ptr;

impl State {
    /// Checks the rules of every call that adds destinations; false if the packet cannot take any.
    fn may_add(
        &mut self,
        world: &World,
        module: usize,
        list: *mut NetBufferList,
        function: &'static str,
    ) -> bool {
        if !self.target(world, module, list, function) {
            return false;
        }
        let Some(packet) = self.packets.get_mut(list) else { return false };
        let name = packet.name;
        rule(world, "DATA-16", packet.context.is_some(), || {
            format!("{function} for packet {name} without a context")
        });
        rule(world, "DATA-57", !packet.is_native(), || format!("{function} for native packet {name}"));
        packet.context.is_some() && !packet.is_native()
    }

    pub(crate) fn add_destination(
        &mut self,
        world: &World,
        context: Handle,
        list: *mut NetBufferList,
        element: PortDestination,
        fails: bool,
    ) -> i32 {
        let function = "AddNetBufferListDestination";
        let needs_slot = self.style.adversities.add_needs_slot;
        let Some(module) = self.owner(world, context, function) else { return INVALID_PARAMETER };
        if !self.may_add(world, module, list, function) {
            return INVALID_PARAMETER;
        }
        let Some(packet) = self.packets.get_mut(list) else { return INVALID_PARAMETER };
        let name = packet.name;
        let ingress = matches!(packet.place, PacketStage::Ingress | PacketStage::Idle);
        rule(world, "DATA-51", ingress, || format!("{function} for packet {name} on egress"));
        if !ingress {
            return INVALID_PARAMETER;
        }
        unchanged::committed_unchanged(world, packet, false);
        let Some(of) = packet.context.as_mut() else { return INVALID_PARAMETER };
        let room = of.available() > 0;
        advice(world, "DATA-37", room, || format!("{function} for packet {name} without a free slot"));
        // Without room it is the extension's own omission, which excuses nothing.
        let refused = !room && needs_slot;
        if refused || fails {
            of.commit_failed = true;
            if fails {
                self.spoiled(list);
            }
            return RESOURCES;
        }
        if !room {
            of.grow(1);
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

    pub(crate) fn grow(
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
        let ingress = matches!(packet.place, PacketStage::Ingress | PacketStage::Idle);
        rule(world, "DATA-51", ingress, || format!("{function} for packet {name} on egress"));
        unchanged::committed_unchanged(world, packet, false);
        let Some(of) = packet.context.as_mut() else { return failed };
        rule(world, "DATA-40", of.written() == 0, || {
            format!("{function} for packet {name} with destinations written and not committed")
        });
        if fails {
            of.grow_failed = true;
            self.spoiled(list);
            return (RESOURCES, ptr::null_mut());
        }
        let enough = of.available() >= more;
        // The extension requests the difference, but the switch may return a longer array.
        let wanted = of.available() + more + u32::try_from(world.random(3)).unwrap_or(0);
        of.grow(wanted);
        let pointer = of.pointer();
        packet.write_detail();
        if enough {
            self.cost("DATA-38");
        }
        (SUCCESS, pointer)
    }

    pub(crate) fn get(
        &mut self,
        world: &World,
        context: Handle,
        list: *mut NetBufferList,
    ) -> *mut ForwardingDestinationArray {
        let function = "GetNetBufferListDestinations";
        let Some(module) = self.owner(world, context, function) else { return ptr::null_mut() };
        if !self.target(world, module, list, function) {
            return ptr::null_mut();
        }
        let Some(packet) = self.packets.get_mut(list) else { return ptr::null_mut() };
        let name = packet.name;
        rule(world, "DATA-16", packet.context.is_some(), || {
            format!("{function} for packet {name} without a context")
        });
        packet.context.as_mut().map_or(ptr::null_mut(), Context::pointer)
    }

    pub(crate) fn update(
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
        let ingress = matches!(packet.place, PacketStage::Ingress | PacketStage::Idle);
        rule(world, "DATA-51", ingress || count == 0, || {
            format!("{function} adds to packet {name} on egress")
        });
        let Some(of) = packet.context.as_mut() else { return INVALID_PARAMETER };
        let current = array == of.pointer();
        rule(world, "DATA-24", current, || {
            format!("{function} for packet {name} with an array that is not its own")
        });
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
            self.spoiled(list);
            return RESOURCES;
        }
        if !ingress {
            exclude(of);
            return SUCCESS;
        }
        let first = of.destinations();
        let elements: Vec<PortDestination> = (first..first + count).map(|i| of.slot(i)).collect();
        unchanged::committed_unchanged(world, packet, false);
        if count == 1 {
            self.cost("DATA-34");
        }
        self.commit(world, module, list, &elements);
        if let Some(packet) = self.packets.get_mut(list) {
            packet.write_detail();
        }
        SUCCESS
    }

    /// Commits destinations and checks the decision.
    fn commit(
        &mut self,
        world: &World,
        module: usize,
        list: *mut NetBufferList,
        elements: &[PortDestination],
    ) {
        let order = self.tick();
        let now = world.now();
        let Some(packet) = self.packets.get_mut(list) else { return };
        let first = packet.context.as_ref().is_none_or(|c| c.committed.is_empty());
        crate::machine::locks::committing(first, elements.len());
        let source = packet.source;
        let name = packet.name;
        let has_team = self.installed.role.has_team();
        for &element in elements {
            let to = NicId::new(element.port_id, element.nic_index);
            let stale = element.bits & RESERVED_BITS == GARBAGE_BITS & RESERVED_BITS;
            rule(world, "DATA-48", !stale, || {
                format!("packet {name}: element for {to} was not zeroed before use")
            });
            let clean = !element.bits.intersects(RESERVED_BITS | DestinationBits::IS_EXCLUDED);
            rule(world, "DATA-47", clean || stale, || {
                format!("packet {name}: bits {:#x} at commit", element.bits.bits())
            });
            let fine = crate::check::commit::destination(
                world,
                &self.modules[module].topology,
                name,
                (source, to),
                has_team,
            );
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
}

/// Takes over the exclusions that the extension wrote to the array.
fn exclude(context: &mut Context) {
    let now = context.committed_in_memory();
    for (was, is) in context.committed.iter_mut().zip(now) {
        was.bits |= is.bits & DestinationBits::IS_EXCLUDED;
    }
}
