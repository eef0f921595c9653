//! The driver's calls for packets: send, complete, indicate, return.
//!
//! Each splits the chain, checks every packet with `check`, changes its stage and passes the lists on to `edges`.

use crate::check::{advice, packets as checks, rule};
use crate::exports;
use crate::inject;
use crate::machine::locks;
use crate::machine::world::World;
use crate::switch::frames::FrameOutcome;
use crate::switch::ndis::packet::PacketStage;
use crate::switch::ndis::{Crossing, Life, State, edges, inside, with};
use lbfoext::ndis::raw::{
    Handle, NetBufferList, PAUSED, ReceiveFlags, ReturnFlags, SendCompleteFlags, SendFlags,
};
use std::collections::BTreeSet;

exports! {
    pub extern "win64" fn NdisFSendNetBufferLists(
        filter: Handle, lists: *mut NetBufferList, port_number: u32, flags: u32
    ) where irql <= DISPATCH {
        let Some(((lists, flags), port_number)) = inject::send(filter, lists, port_number, flags) else { return };
        locks::leaving("NdisFSendNetBufferLists");
        let taken = with(|world, state| {
            let taken = state.take_send(world, filter, lists, port_number, flags);
            inject::sent(world, state, filter, taken.as_ref().map_or(&[], |(_, lists)| lists));
            taken
        });
        if let Some((module, lists)) = taken {
            edges::arrived_below(module, lists);
        }
    }

    pub extern "win64" fn NdisFSendNetBufferListsComplete(
        filter: Handle, lists: *mut NetBufferList, flags: u32
    ) where irql <= DISPATCH {
        inject::freeing_foreign(lists);
        let Some((lists, flags)) = inject::complete(filter, lists, flags) else { return };
        locks::leaving("NdisFSendNetBufferListsComplete");
        with(|world, state| state.take_complete(world, filter, lists, flags));
    }

    pub extern "win64" fn NdisFIndicateReceiveNetBufferLists(
        filter: Handle, lists: *mut NetBufferList, port_number: u32, count: u32, flags: u32
    ) where irql <= DISPATCH {
        let injected = inject::indicate(filter, lists, (port_number, count), flags);
        let Some(((lists, flags), (port_number, count))) = injected else { return };
        locks::leaving("NdisFIndicateReceiveNetBufferLists");
        let taken = with(|world, state| {
            let taken = state.take_indicate(world, filter, lists, (port_number, count, flags));
            inject::indicated(world, state, filter, taken.as_ref().map_or(&[], |(_, lists)| lists));
            taken
        });
        if let Some((module, lists)) = taken {
            edges::delivered(module, lists);
        }
    }

    pub extern "win64" fn NdisFReturnNetBufferLists(
        filter: Handle, lists: *mut NetBufferList, flags: u32
    ) where irql <= DISPATCH {
        let (lists, flags) = inject::give_back(lists, flags);
        locks::leaving("NdisFReturnNetBufferLists");
        let taken = with(|world, state| state.take_return(world, filter, lists, flags));
        if let Some((module, lists)) = taken {
            edges::settled(module, lists);
        }
    }
}

/// The expected state of the packets of a chain.
struct Expect {
    function: &'static str,
    /// The rule that a packet breaks which the caller does not own.
    owner_rule: &'static str,
    places: &'static [PacketStage],
}

impl State {
    /// The module of a handle; checks STATE-24 and STATE-07 for calls that are too early or too late.
    pub fn caller(&mut self, world: &World, filter: Handle, function: &'static str) -> Option<usize> {
        let module = self.module_of(filter);
        let life = module.map(|m| self.life(m));
        let (early, late) = match function {
            "NdisFOidRequest" => ("OID-23", "OID-23"),
            crate::switch::control::TO_A_NIC => ("OID-50", "OID-50"),
            "NdisFIndicateStatus" => ("STATUS-12", "STATUS-12"),
            _ => ("STATE-07", "STATE-24"),
        };
        rule(world, late, life.is_some_and(|l| l != Life::Detached), || {
            format!("{function} with a handle that is not attached")
        });
        rule(world, early, life != Some(Life::Attaching), || format!("{function} while Attaching"));
        module
    }

    /// Walks a chain and returns the packets that the caller owns.
    fn walk(
        &mut self,
        world: &World,
        module: usize,
        first: *mut NetBufferList,
        expect: &Expect,
    ) -> Vec<usize> {
        let decoy = self.decoy();
        let mut seen = BTreeSet::new();
        let mut lists = Vec::new();
        let mut next = first;
        let f = expect.function;
        while !next.is_null() {
            if next == decoy {
                world.violate("DATA-03", format!("{f}: the chain was read after it was given away"));
                break;
            }
            let twice = !seen.insert(next as usize);
            rule(world, "DATA-08", !twice, || format!("{f}: a list is twice in one chain"));
            if twice {
                break;
            }
            let Some(packet) = self.packets.get(next) else {
                let completed = self.gone.contains_key(&(next as usize));
                let what = if completed { "a list that is completed" } else { "something that is no list" };
                world.violate(if completed { expect.owner_rule } else { "DATA-08" }, format!("{f}: {what}"));
                break;
            };
            let (name, place) = (packet.name, packet.place);
            rule(world, "STATE-09", packet.switch == module, || {
                format!("{f}: packet {name} belongs to another switch")
            });
            let own = expect.places.contains(&place);
            rule(world, expect.owner_rule, own, || format!("{f}: packet {name} is {place:?}"));
            if !own {
                break;
            }
            lists.push(next as usize);
            // SAFETY: the packet is in the extension's hands and so uncovered.
            next = unsafe { (*next).next };
        }
        lists
    }

    pub(crate) fn take_send(
        &mut self,
        world: &World,
        filter: Handle,
        first: *mut NetBufferList,
        port_number: u32,
        flags: u32,
    ) -> Option<(usize, Vec<usize>)> {
        let module = self.caller(world, filter, "NdisFSendNetBufferLists")?;
        self.tick();
        rule(world, "DATA-10", port_number == 0, || {
            format!("NdisFSendNetBufferLists to port number {port_number}")
        });
        let expect = Expect {
            function: "NdisFSendNetBufferLists",
            owner_rule: "DATA-01",
            places: &[PacketStage::Ingress, PacketStage::Idle],
        };
        let lists = self.walk(world, module, first, &expect);
        self.cross("NdisFSendNetBufferLists", &lists, flags);
        if checks::send_state(world, self, module, &lists) {
            checks::send_flags(world, self, &lists, flags);
            for (position, list) in lists.iter().enumerate() {
                checks::sent(world, self, module, *list, position);
            }
        }
        self.cover(&lists, PacketStage::Below);
        Some((module, lists))
    }

    pub(crate) fn take_complete(
        &mut self,
        world: &World,
        filter: Handle,
        first: *mut NetBufferList,
        flags: u32,
    ) {
        let Some(module) = self.caller(world, filter, "NdisFSendNetBufferListsComplete") else { return };
        self.tick();
        let expect = Expect {
            function: "NdisFSendNetBufferListsComplete",
            owner_rule: "DATA-01",
            places: &[PacketStage::Completing, PacketStage::Ingress, PacketStage::Idle],
        };
        let lists = self.walk(world, module, first, &expect);
        let known = SendCompleteFlags::DISPATCH_LEVEL
            | SendCompleteFlags::SINGLE_QUEUE
            | SendCompleteFlags::SWITCH_SINGLE_SOURCE;
        checks::call_flags(world, "NdisFSendNetBufferListsComplete", flags, known.bits());
        self.cross("NdisFSendNetBufferListsComplete", &lists, flags);
        let said = SendCompleteFlags::from_bits_retain(flags);
        let single = said.contains(SendCompleteFlags::SWITCH_SINGLE_SOURCE);
        let same = self.same_source(&lists);
        rule(world, "FLAGS-04", !single || same, || "SINGLE_SOURCE on lists of several sources".to_owned());
        for list in lists {
            if self.packets.at(list).is_some_and(|p| p.own.is_some()) {
                world
                    .violate("DATA-04", "NdisFSendNetBufferListsComplete with a list of the extension's own");
                continue;
            }
            world.exercised("DATA-04");
            if checks::completed(world, self, module, list) {
                if let Some(packet) = self.packets.at(list) {
                    // SAFETY: the packet is in the extension's hands and so uncovered.
                    self.frames.completed(&packet.frames, unsafe { (*packet.nbl).status });
                }
                self.finish(world, list);
            }
        }
    }

    pub(crate) fn take_indicate(
        &mut self,
        world: &World,
        filter: Handle,
        first: *mut NetBufferList,
        (port_number, count, flags): (u32, u32, u32),
    ) -> Option<(usize, Vec<usize>)> {
        let module = self.caller(world, filter, "NdisFIndicateReceiveNetBufferLists")?;
        self.tick();
        rule(world, "DATA-10", port_number == 0, || {
            format!("receive indication at port number {port_number}")
        });
        let expect = Expect {
            function: "NdisFIndicateReceiveNetBufferLists",
            owner_rule: "DATA-02",
            places: &[PacketStage::Egress, PacketStage::Idle],
        };
        let lists = self.walk(world, module, first, &expect);
        let length = lists.len();
        rule(world, "DATA-11", count as usize == length, || format!("count {count} for {length} lists"));
        let known = ReceiveFlags::DISPATCH_LEVEL
            | ReceiveFlags::SWITCH_DESTINATION_GROUP
            | ReceiveFlags::SWITCH_SINGLE_SOURCE
            | ReceiveFlags::RESOURCES;
        checks::call_flags(world, "NdisFIndicateReceiveNetBufferLists", flags, known.bits());
        self.cross("NdisFIndicateReceiveNetBufferLists", &lists, flags);
        checks::indicate_flags(world, self, &lists, flags);
        let lists: Vec<usize> =
            lists.into_iter().filter(|l| checks::indicated(world, self, module, *l)).collect();
        for list in &lists {
            self.deliver(world, *list);
        }
        self.cover(&lists, PacketStage::Delivered);
        (!lists.is_empty()).then_some((module, lists))
    }

    fn take_return(
        &mut self,
        world: &World,
        filter: Handle,
        first: *mut NetBufferList,
        flags: u32,
    ) -> Option<(usize, Vec<usize>)> {
        let module = self.caller(world, filter, "NdisFReturnNetBufferLists")?;
        self.tick();
        let expect = Expect {
            function: "NdisFReturnNetBufferLists",
            owner_rule: "DATA-02",
            places: &[PacketStage::Returning, PacketStage::Egress, PacketStage::Idle],
        };
        let lists = self.walk(world, module, first, &expect);
        let known =
            ReturnFlags::DISPATCH_LEVEL | ReturnFlags::SINGLE_QUEUE | ReturnFlags::SWITCH_SINGLE_SOURCE;
        checks::call_flags(world, "NdisFReturnNetBufferLists", flags, known.bits());
        self.cross("NdisFReturnNetBufferLists", &lists, flags);
        let single = ReturnFlags::from_bits_retain(flags).contains(ReturnFlags::SWITCH_SINGLE_SOURCE);
        let same = self.same_source(&lists);
        rule(world, "FLAGS-06", !single || same, || "SINGLE_SOURCE on lists of several sources".to_owned());
        advice(world, "FLAGS-06", single || !same || lists.is_empty(), || {
            "SINGLE_SOURCE missing on lists of one source".to_owned()
        });
        let lists: Vec<usize> =
            lists.into_iter().filter(|l| checks::returned(world, self, module, *l)).collect();
        self.cover(&lists, PacketStage::Settled);
        (!lists.is_empty()).then_some((module, lists))
    }

    /// Records a call for packets, if a test requested it.
    fn cross(&mut self, function: &'static str, lists: &[usize], gave: u32) {
        if self.crossings.is_none() {
            return;
        }
        let Some(call) = super::calls().last().copied() else { return };
        let crossing = Crossing {
            handler: call.handler,
            came: call.flags,
            function,
            gave,
            at_dispatch: crate::machine::cpu::irql() >= crate::machine::cpu::DISPATCH,
            same_source: self.same_source(lists),
            same_destination: self.same_single_destination(lists),
            own: lists.iter().any(|l| self.packets.at(*l).is_some_and(|p| p.own.is_some())),
            parent: lists.iter().any(|l| self.packets.at(*l).is_some_and(|p| !p.carried.is_empty())),
        };
        self.crossings.iter_mut().for_each(|all| all.push(crossing));
    }

    /// Passes the ownership of the packets to another component.
    fn cover(&mut self, lists: &[usize], place: PacketStage) {
        let decoy = self.decoy();
        for list in lists {
            if let Some(packet) = self.packets.at(*list) {
                packet.place = place;
                packet.lay_cover(decoy);
            }
        }
    }

    /// Completes a packet of the switch: its memory goes to quarantine, its references are released.
    pub fn finish(&mut self, world: &World, list: usize) {
        let nbl = list as *mut NetBufferList;
        let Some(mut packet) = self.packets.remove(nbl) else { return };
        self.note_gone(nbl);
        let topology = &mut self.modules[packet.switch].topology;
        for id in packet.pinned.drain(..) {
            if let Some(nic) = topology.nic_mut(id) {
                nic.packets = nic.packets.saturating_sub(1);
            }
        }
        if let Some(built) = packet.built.take() {
            let clean = self.quarantine.push(built.block);
            rule(world, "DATA-03", clean, || "a completed packet was written to".to_owned());
        }
        world.log(|| format!("packet {} over", packet.name));
    }

    /// Releases the parent of the extension's own list.
    pub fn release_child(&mut self, list: *mut NetBufferList) {
        let Some(packet) = self.packets.get_mut(list) else { return };
        for id in std::mem::take(&mut packet.pinned) {
            let module = packet.switch;
            if let Some(nic) = self.modules[module].topology.nic_mut(id) {
                nic.packets = nic.packets.saturating_sub(1);
            }
        }
        let Some(parent) = packet.own.as_mut().map(|own| std::mem::take(&mut own.parent)) else { return };
        if let Some(parent) = self.packets.at(parent) {
            parent.children_out = parent.children_out.saturating_sub(1);
        }
    }

    /// Records the final status of a list that the module completed without sending it.
    pub fn account_for_drop(&mut self, list: usize, status: i32) {
        let Some(packet) = self.packets.at(list) else { return };
        let carried = packet.carried.clone();
        let reported = packet.reported;
        for id in packet.frames.clone() {
            if carried.contains(&id) || reported {
                continue;
            }
            let end = if status == PAUSED { FrameOutcome::Paused } else { FrameOutcome::Failed { status } };
            self.frames.end(id, end);
        }
    }
}

/// Completes lists at once for an extension without a receive handler.
pub fn bypass_receive(module: usize, lists: &[usize]) {
    with(|world, state| {
        for list in lists {
            state.deliver(world, *list);
        }
        state.cover(lists, PacketStage::Delivered);
    });
    edges::delivered(module, lists.to_vec());
}

/// Whether a send call is part of a FilterSend of this thread that began before `order`.
pub fn in_send_walk_before(order: u64) -> bool {
    inside("FilterSendNetBufferLists").is_some_and(|call| call.began < order)
}

pub const KNOWN_SEND_FLAGS: SendFlags = SendFlags::DISPATCH_LEVEL
    .union(SendFlags::CHECK_FOR_LOOPBACK)
    .union(SendFlags::SINGLE_QUEUE)
    .union(SendFlags::SWITCH_DESTINATION_GROUP)
    .union(SendFlags::SWITCH_SINGLE_SOURCE);

/// Checks whether the module may send now, for a mutation.
pub(crate) fn check_send_state(world: &World, state: &mut State, module: usize) {
    crate::check::packets::send_state(world, state, module, &[]);
}
