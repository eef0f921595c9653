//! The two edges of the stack: the miniport edge turns sends into receive indications, the protocol edge delivers
//! them.
//!
//! The seed decides whether a step happens inside the call that causes it or later, alone or with others; the order of
//! indicated packets is kept. The state's mutex is never held during a call of the driver.

use crate::check::rule;
use crate::machine::clock;
use crate::machine::cpu;
use crate::machine::world::World;
use crate::shown::arguments;
use crate::switch::frames::FrameOutcome;
use crate::switch::ndis::packet::PacketStage;
use crate::switch::ndis::{Life, State, call_packets, with};
use crate::switch::ports::NicState;
use lbfoext::ndis::raw::{
    DestinationBits, Handle, NetBufferList, PortDestination, ReceiveFlags, ReturnFlags, SendCompleteFlags,
};
use std::collections::VecDeque;

/// Lists between two steps, by address.
pub type Lists = Vec<usize>;

/// Steps that wait.
#[derive(Default)]
pub struct Queues {
    up: VecDeque<Lists>,
    back: VecDeque<usize>,
    done: VecDeque<usize>,
    /// Whether a thread is indicating packets of the queue; only one may do so, which keeps their order.
    moving_up: bool,
}

impl Queues {
    pub fn is_empty(&self) -> bool {
        self.up.is_empty() && self.back.is_empty() && self.done.is_empty()
    }
}

/// Whether the next step happens inside this call.
fn nested(world: &World, state: &State) -> bool {
    world.chance(state.style.nested, 100)
}

fn later(world: &World, state: &State, what: &'static str, step: impl FnOnce() + Send + 'static) {
    let delay = 1 + world.random(state.style.delay.max(1));
    world.at(world.now() + delay, what, step);
}

/// Lists arrived at the miniport edge.
pub fn arrived_below(module: usize, lists: Lists) {
    let now = with(|world, state| {
        for &list in &lists {
            state.choose_below(world, list);
        }
        let inside = nested(world, state);
        let queues = &mut state.modules[module].queues;
        let free = queues.up.is_empty() && !queues.moving_up;
        queues.up.push_back(lists);
        if !(free && inside) {
            later(world, state, "receive indication", move || move_up(module));
        }
        free && inside
    });
    if now {
        move_up(module);
    }
}

/// Indicates the lists that wait at the miniport edge.
fn move_up(module: usize) {
    loop {
        let Some(lists) = with(|world, state| state.take_up(world, module)) else { return };
        indicate(module, lists);
        let more = with(|_, state| {
            let queues = &mut state.modules[module].queues;
            queues.moving_up = false;
            !queues.up.is_empty()
        });
        if !more {
            return;
        }
    }
}

/// One receive indication at the miniport edge.
fn indicate(module: usize, lists: Lists) {
    // Lists without a destination are completed here; the others are indicated with their flags.
    let (up, ended) = with(|_, state| state.split_ended(lists));
    if !ended.is_empty() {
        complete(module, ended);
    }
    if up.is_empty() {
        return;
    }
    let lowered = at_random_level();
    let given = with(|world, state| state.give_up(world, module, &up));
    let (context, handler, first, count, flags, order) = given;
    if let Some(receive) = handler {
        // SAFETY: the driver registered this handler; the chain is built from live lists.
        call_packets(
            "FilterReceiveNetBufferLists",
            module,
            flags,
            arguments!(first, count, flags),
            || unsafe {
                receive(context, first, 0, count, flags);
            },
        );
        with(|_, state| state.modules[module].receives_running.remove(&order));
    } else {
        crate::switch::ndis::data::bypass_receive(module, &up);
    }
    lowered.restore();
}

/// Packets were delivered: their lists are returned, now or later.
pub fn delivered(module: usize, lists: Lists) {
    let now = with(|world, state| {
        let inside = nested(world, state);
        if !inside {
            state.modules[module].queues.back.extend(lists.iter().copied());
            later(world, state, "return", move || give_back(module));
        }
        inside
    });
    if now {
        return_lists(module, shuffled(lists));
    }
}

fn give_back(module: usize) {
    let lists = with(|world, state| take_some(world, &mut state.modules[module].queues.back));
    if !lists.is_empty() {
        return_lists(module, shuffled(lists));
    }
    if with(|_, state| !state.modules[module].queues.back.is_empty()) {
        with(|world, state| later(world, state, "return", move || give_back(module)));
    }
}

fn return_lists(module: usize, lists: Lists) {
    let level = at_random_level();
    let (context, handler, first, flags) = with(|world, state| state.give_return(world, module, &lists));
    if let Some(handler) = handler {
        // SAFETY: as in `indicate`.
        call_packets("FilterReturnNetBufferLists", module, flags, arguments!(first, flags), || unsafe {
            handler(context, first, flags);
        });
    } else {
        settled(module, lists);
    }
    level.restore();
}

/// Lists were returned to the miniport edge: their sends are completed, now or later.
pub fn settled(module: usize, lists: Lists) {
    let now = with(|world, state| {
        let inside = nested(world, state);
        if !inside {
            state.modules[module].queues.done.extend(lists.iter().copied());
            later(world, state, "send completion", move || give_done(module));
        }
        inside
    });
    if now {
        complete(module, lists);
    }
}

fn give_done(module: usize) {
    let lists = with(|world, state| take_some(world, &mut state.modules[module].queues.done));
    if !lists.is_empty() {
        complete(module, shuffled(lists));
    }
    if with(|_, state| !state.modules[module].queues.done.is_empty()) {
        with(|world, state| later(world, state, "send completion", move || give_done(module)));
    }
}

fn complete(module: usize, lists: Lists) {
    let level = at_random_level();
    let (context, handler, first, flags) = with(|world, state| state.give_complete(world, module, &lists));
    if let Some(handler) = handler {
        // SAFETY: as in `indicate`.
        call_packets(
            "FilterSendNetBufferListsComplete",
            module,
            flags,
            arguments!(first, flags),
            || unsafe { handler(context, first, flags) },
        );
    } else {
        with(|world, state| lists.iter().for_each(|list| state.finish(world, *list)));
    }
    level.restore();
}

/// A random part of a queue, at least one.
fn take_some(world: &World, queue: &mut VecDeque<usize>) -> Lists {
    let count = 1 + world.random(queue.len() as u64);
    let count = usize::try_from(count).unwrap_or(1).min(queue.len());
    queue.drain(..count).collect()
}

fn shuffled(mut lists: Lists) -> Lists {
    with(|world, _| {
        for i in (1..lists.len()).rev() {
            lists.swap(i, usize::try_from(world.random(i as u64 + 1)).unwrap_or(0));
        }
    });
    lists
}

/// A raised IRQL, lowered on drop.
pub struct Level(Option<u8>);

impl Level {
    pub fn restore(self) {
        if let Some(old) = self.0 {
            cpu::lower(old);
        }
    }
}

/// Stays at the caller's level.
pub const fn at_the_same_level() -> Level {
    Level(None)
}

/// Stays at the caller's level or raises to DISPATCH.
pub fn at_random_level() -> Level {
    let raise = cpu::irql() < cpu::DISPATCH && with(|world, s| world.chance(s.style.dispatch, 100));
    Level(raise.then(cpu::raise_to_dispatch))
}

impl State {
    /// The switch's changes to a packet below the driver: destinations of native packets, the mirror port.
    fn choose_below(&mut self, world: &World, list: usize) {
        self.forward_itself(world, list);
        let Some(packet) = self.packets.at(list) else { return };
        let module = packet.switch;
        let native = packet.is_native();
        let source = packet.source;
        let mirror = self.style.mirror.filter(|m| *m != source);
        let topology = &mut self.modules[module].topology;
        let vnic = topology.nics().find(|n| {
            n.kind != crate::switch::ports::NicKind::External
                && n.state == NicState::Connected
                && n.id != source
        });
        let target = if native { vnic.map(|n| n.id) } else { mirror };
        let Some(target) = target else { return };
        let Some(context) = packet.context.as_mut() else { return };
        if context.committed.iter().any(|d| d.port_id == target.port) {
            return;
        }
        if !native && context.committed.is_empty() {
            return;
        }
        context.grow(1);
        context.append(PortDestination {
            port_id: target.port,
            nic_index: target.index,
            bits: DestinationBits::empty(),
        });
        if let Some(nic) = topology.nic_mut(target) {
            nic.packets += 1;
            packet.pinned.push(target);
        }
        if native {
            for id in packet.frames.clone() {
                self.frames.end(id, FrameOutcome::Native);
            }
        }
        world.log(|| format!("below adds {target}"));
    }

    /// Takes the next lists to be indicated: one batch, several merged, or a part.
    fn take_up(&mut self, world: &World, module: usize) -> Option<Lists> {
        let queues = &mut self.modules[module].queues;
        if queues.moving_up {
            // Another thread is indicating; it checks the queue again afterwards.
            return None;
        }
        let mut lists = queues.up.pop_front()?;
        match world.random(4) {
            0 => {
                if let Some(next) = queues.up.pop_front() {
                    lists.extend(next);
                }
            }
            1 if lists.len() > 1 => {
                let keep = 1 + usize::try_from(world.random(lists.len() as u64 - 1)).unwrap_or(0);
                let rest = lists.split_off(keep);
                queues.up.push_front(rest);
            }
            _ => {}
        }
        queues.moving_up = true;
        Some(lists)
    }

    /// Separates lists without a receiver.
    fn split_ended(&mut self, lists: Lists) -> (Lists, Lists) {
        let (up, ended): (Lists, Lists) = lists.into_iter().partition(|list| {
            self.packets
                .at(*list)
                .is_some_and(|p| p.context.as_ref().is_some_and(|c| !c.committed.is_empty()))
        });
        for list in &ended {
            let Some(packet) = self.packets.at(*list) else { continue };
            let (native, frames) = (packet.is_native(), packet.frames.clone());
            let dropped = packet.chosen.is_some();
            packet.place = PacketStage::Settled;
            for id in frames.into_iter().filter(|_| !dropped) {
                self.frames
                    .end(id, if native { FrameOutcome::Native } else { FrameOutcome::Failed { status: -1 } });
            }
        }
        (up, ended)
    }

    /// Prepares a call of FilterReceive: context, handler, chain, count, flags, and the call's order number.
    fn give_up(
        &mut self,
        world: &World,
        module: usize,
        lists: &[usize],
    ) -> (Handle, Option<lbfoext::ndis::raw::FilterReceive>, *mut NetBufferList, u32, u32, u64) {
        let same_source = self.same_source(lists);
        let same_destination = self.same_single_destination(lists);
        let generation = self.modules[module].topology.generation;
        let order = self.tick();
        let chain = self.hand_over(world, lists, PacketStage::Egress, "DATA-03");
        for list in lists {
            let move_array = world.random(4) == 0;
            if let Some(packet) = self.packets.at(*list) {
                if move_array && let Some(context) = packet.context.as_mut() {
                    context.grow(0);
                }
                packet.decapsulate();
                packet.write_detail();
                packet.generation = generation;
                packet.reported = false;
                packet.reported_ports.clear();
                packet.blamed = None;
                packet.given = order;
                packet.remember();
                packet.remember_bytes();
            }
        }
        let mut flags = ReceiveFlags::empty();
        if same_source && world.random(4) != 0 {
            flags |= ReceiveFlags::SWITCH_SINGLE_SOURCE;
        }
        if same_destination && world.random(4) != 0 {
            flags |= ReceiveFlags::SWITCH_DESTINATION_GROUP;
        }
        if cpu::irql() == cpu::DISPATCH && world.random(4) != 0 {
            flags |= ReceiveFlags::DISPATCH_LEVEL;
        }
        let m = &mut self.modules[module];
        let handler = self.driver.characteristics.and_then(|c| c.receive);
        if handler.is_some() {
            m.receives_running.insert(order);
        }
        let count = u32::try_from(lists.len()).unwrap_or(u32::MAX);
        (m.context as Handle, handler, chain, count, flags.bits(), order)
    }

    fn give_return(
        &mut self,
        world: &World,
        module: usize,
        lists: &[usize],
    ) -> (Handle, Option<lbfoext::ndis::raw::FilterReturn>, *mut NetBufferList, u32) {
        let chain = self.hand_over(world, lists, PacketStage::Returning, "FLAGS-13");
        let mut flags = ReturnFlags::empty();
        if self.same_source(lists) && world.random(4) != 0 {
            flags |= ReturnFlags::SWITCH_SINGLE_SOURCE;
        }
        if cpu::irql() == cpu::DISPATCH && world.random(4) != 0 {
            flags |= ReturnFlags::DISPATCH_LEVEL;
        }
        let m = &self.modules[module];
        (m.context as Handle, self.driver.characteristics.and_then(|c| c.return_lists), chain, flags.bits())
    }

    fn give_complete(
        &mut self,
        world: &World,
        module: usize,
        lists: &[usize],
    ) -> (Handle, Option<lbfoext::ndis::raw::FilterSendComplete>, *mut NetBufferList, u32) {
        let chain = self.hand_over(world, lists, PacketStage::Completing, "DATA-03");
        for list in lists {
            if let Some(packet) = self.packets.at(*list) {
                let status = packet.frames.first().and_then(|frame| self.style.statuses.get(frame));
                // SAFETY: the list is uncovered, and the switch owns it until the call below.
                unsafe { (*packet.nbl).status = status.copied().unwrap_or(0) };
            }
        }
        let mut flags = SendCompleteFlags::empty();
        if self.same_source(lists) && world.random(4) != 0 {
            flags |= SendCompleteFlags::SWITCH_SINGLE_SOURCE;
        }
        if cpu::irql() == cpu::DISPATCH && world.random(4) != 0 {
            flags |= SendCompleteFlags::DISPATCH_LEVEL;
        }
        let m = &self.modules[module];
        (m.context as Handle, self.driver.characteristics.and_then(|c| c.send_complete), chain, flags.bits())
    }

    /// Uncovers lists, links them into a chain and passes them to the extension.
    pub fn hand_over(
        &mut self,
        world: &World,
        lists: &[usize],
        place: PacketStage,
        touched_rule: &'static str,
    ) -> *mut NetBufferList {
        let decoy = self.decoy();
        let mut next = std::ptr::null_mut();
        for &list in lists.iter().rev() {
            let Some(packet) = self.packets.at(list) else { continue };
            if packet.cover.is_laid() {
                let touched = packet.lift_cover(decoy);
                let name = packet.name;
                rule(world, touched_rule, touched.is_none(), || {
                    format!("packet {name} was written at {} while it was others'", touched.unwrap_or(0))
                });
            }
            let packet = self.packets.at(list).unwrap_or_else(|| unreachable!("found above"));
            packet.place = place;
            // SAFETY: uncovered, and the switch owns it until the call that follows.
            unsafe { (*packet.nbl).next = next };
            next = packet.nbl;
        }
        next
    }

    pub fn same_source(&mut self, lists: &[usize]) -> bool {
        let sources: Vec<_> =
            lists.iter().filter_map(|l| self.packets.at(*l).map(|p| p.source.port)).collect();
        sources.windows(2).all(|pair| pair[0] == pair[1])
    }

    /// Whether all lists have the same single destination and none is native.
    pub fn same_single_destination(&mut self, lists: &[usize]) -> bool {
        let mut first: Option<PortDestination> = None;
        lists.iter().all(|list| {
            let Some(packet) = self.packets.at(*list) else { return false };
            let native = packet.is_native();
            let Some(context) = packet.context.as_ref() else { return false };
            let [one] = context.committed[..] else { return false };
            let other = *first.get_or_insert(one);
            !native && same(other, one)
        })
    }

    /// Whether no packet of this module is between two steps.
    pub fn is_quiet(&self, module: usize) -> bool {
        self.modules[module].queues.is_empty()
            && !self
                .packets
                .all()
                .iter()
                .any(|p| p.switch == module && p.place != PacketStage::Idle && !p.place.is_the_extensions())
    }

    pub fn life(&self, module: usize) -> Life {
        self.modules[module].life
    }
}

pub fn same(a: PortDestination, b: PortDestination) -> bool {
    (a.port_id, a.nic_index, a.bits) == (b.port_id, b.nic_index, b.bits)
}

/// Executes all delayed steps.
pub fn drain(module: usize) {
    for _ in 0..10_000 {
        if with(|_, state| state.is_quiet(module)) {
            return;
        }
        clock::advance(100);
    }
}
