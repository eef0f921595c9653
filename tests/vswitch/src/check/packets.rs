//! Checks of packets as they cross the border: rules DATA and FLAGS, and STATE where packets show it.
//!
//! Called by `ndis::data` with the state in hand; every function looks, records and changes only the account.

use crate::check::unchanged::{committed_unchanged, detail_unchanged, info_unchanged, restored};
use crate::check::{advice, rule};
use crate::machine::cpu;
use crate::machine::world::{Severity, World};
use crate::switch::ndis::packet::{Packet, PacketStage};
use crate::switch::ndis::{Life, State, calls, data, inside};
use crate::switch::ports::NicId;
use lbfoext::ndis::raw::{DestinationBits, PAUSED, ReceiveFlags, SendFlags, info};

/// What NET_BUFFER_LIST.Status holds when the extension gets a list.
pub const STATUS_SENTINEL: i32 = 0x5A5A_5A5A;

const TOO_EARLY: &str = "NdisFSendNetBufferLists before the restart completed";

/// May anything be sent now? What must not be is not looked at any further.
pub fn send_state(world: &World, state: &mut State, module: usize, lists: &[usize]) -> bool {
    let m = &state.modules[module];
    let (life, entered) = (m.life, m.pause_entered);
    for id in ["STATE-11", "STATE-12", "STATE-15", "STATE-16", "STATE-30"] {
        world.exercised(id);
    }
    let own = lists.iter().filter(|l| state.packets.at(**l).is_some_and(|p| p.own.is_some())).count();
    match life {
        Life::Paused if in_timer() => world.violate("STATE-15", "a timer sends while the module is Paused"),
        Life::Paused if data::in_send_walk_before(entered) => {
            world.violate("STATE-30", "a walk that began before the pause sends after it completed");
        }
        Life::Paused => world.violate("STATE-12", "NdisFSendNetBufferLists while Paused"),
        Life::Restarting if inside("FilterSendNetBufferLists").is_none() => {
            world.violate("STATE-16", TOO_EARLY);
        }
        Life::Restarting => {
            let seen = world.observe("STATE-16", Severity::Error, TOO_EARLY.to_owned());
            if let Some(restart) = state.modules[module].restart.as_mut() {
                restart.sends.push((restart.imports(), seen));
            }
            return true;
        }
        Life::Pausing if own > 0 && !data::in_send_walk_before(entered) && !state.awaits_own(world, own) => {
            world.violate("STATE-11", "an own packet was sent after FilterPause began");
        }
        _ => return true,
    }
    false
}

impl State {
    /// The pause that has begun cannot end before own lists are back: for each that is on its way, and for `more` that are
    /// about to be, the extension holds protection for which the pause waits. It was granted, so it was asked for before.
    fn awaits_own(&self, world: &World, more: usize) -> bool {
        let away = |packet: &&&Packet| packet.own.is_some() && !packet.place.is_the_extensions();
        world.walks_held() >= more + self.packets.all().iter().filter(away).count()
    }
}

fn in_timer() -> bool {
    crate::machine::thread::current().stack.borrow().contains(&"TimerFunction")
}

/// FLAGS-14, -16, -17 of any of the four calls.
pub fn call_flags(world: &World, function: &'static str, flags: u32, known: u32) {
    rule(world, "FLAGS-17", flags & !known == 0, || format!("{function} with flags {flags:#x}"));
    let false_dispatch = flags & 1 != 0 && cpu::irql() < cpu::DISPATCH;
    // On another thread, or later, the flag of the call that brought the packet means nothing.
    let in_data_handler = calls().iter().any(|c| DATA_HANDLERS.contains(&c.handler));
    let id = if in_data_handler { "FLAGS-14" } else { "FLAGS-16" };
    rule(world, id, !false_dispatch, || format!("{function} with DISPATCH_LEVEL at IRQL {}", cpu::irql()));
}

/// What NDIS_NET_BUFFER_LIST_8021Q_INFO gives a meaning: priority, format, VLAN id.
const TAG_HEADER: u64 = 0xFFFF;

const DATA_HANDLERS: [&str; 4] = [
    "FilterSendNetBufferLists",
    "FilterSendNetBufferListsComplete",
    "FilterReceiveNetBufferLists",
    "FilterReturnNetBufferLists",
];

pub fn send_flags(world: &World, state: &mut State, lists: &[usize], flags: u32) {
    call_flags(world, "NdisFSendNetBufferLists", flags, data::KNOWN_SEND_FLAGS.bits());
    let flags = SendFlags::from_bits_retain(flags);
    let same = state.same_source(lists);
    let single = flags.contains(SendFlags::SWITCH_SINGLE_SOURCE);
    let foreign: Vec<usize> =
        lists.iter().copied().filter(|l| state.packets.at(*l).is_some_and(|p| p.own.is_none())).collect();
    let own_spoils = !same && foreign.len() < lists.len() && state.same_source(&foreign);
    rule(world, "FLAGS-03", !(single && own_spoils), || {
        "an own packet of another source port joined a SINGLE_SOURCE list".to_owned()
    });
    rule(world, "FLAGS-01", !single || same || own_spoils, || {
        "SINGLE_SOURCE on lists of several sources".to_owned()
    });
    let group = flags.contains(SendFlags::SWITCH_DESTINATION_GROUP);
    destination_group(world, state, lists, group, "FLAGS-07");
    if same && !single {
        state.cost("FLAGS-02");
    }
    if !group && state.same_single_destination(lists) {
        state.cost("FLAGS-09");
    }
    let all_own = foreign.is_empty() && !lists.is_empty();
    advice(world, "FLAGS-18", !(all_own && flags.contains(SendFlags::CHECK_FOR_LOOPBACK)), || {
        "CHECK_FOR_LOOPBACK on own packets".to_owned()
    });
}

fn destination_group(world: &World, state: &mut State, lists: &[usize], group: bool, id: &'static str) {
    if !group {
        world.exercised(id);
        return;
    }
    let mut native = false;
    let mut several = false;
    let mut first: Option<Vec<(u32, u16, u16)>> = None;
    let mut differ = false;
    for list in lists {
        let Some(packet) = state.packets.at(*list) else { continue };
        native |= packet.is_native();
        // A list without a context is another rule's matter.
        let Some(context) = packet.context.as_ref() else { continue };
        let all: Vec<_> = context.committed.iter().map(|d| (d.port_id, d.nic_index, d.bits.bits())).collect();
        several |= all.len() > 1;
        differ |= *first.get_or_insert_with(|| all.clone()) != all;
    }
    rule(world, "DATA-59", !native, || "DESTINATION_GROUP on a list with a native packet".to_owned());
    rule(world, id, native || !differ, || {
        "DESTINATION_GROUP on packets of different destinations".to_owned()
    });
    if id == "FLAGS-07" {
        rule(world, "FLAGS-08", !several || differ, || {
            "DESTINATION_GROUP on packets of several destinations".to_owned()
        });
    }
}

pub fn indicate_flags(world: &World, state: &mut State, lists: &[usize], flags: u32) {
    let flags = ReceiveFlags::from_bits_retain(flags);
    let same = state.same_source(lists);
    let single = flags.contains(ReceiveFlags::SWITCH_SINGLE_SOURCE);
    rule(world, "FLAGS-05", !single || same, || "SINGLE_SOURCE on lists of several sources".to_owned());
    if same && !single {
        state.cost("FLAGS-05");
    }
    let group = flags.contains(ReceiveFlags::SWITCH_DESTINATION_GROUP);
    destination_group(world, state, lists, group, "FLAGS-11");
    rule(world, "FLAGS-12", !flags.contains(ReceiveFlags::RESOURCES), || {
        "RESOURCES on a receive indication of the switch".to_owned()
    });
}

/// A packet leaves through NdisFSend.
pub fn sent(world: &World, state: &mut State, module: usize, list: usize, position: usize) {
    let by_extension = state.installed.role.forwards();
    state.identify(list);
    let Some(packet) = state.packets.at(list) else { return };
    let name = packet.name;
    if packet.own.is_some() {
        crate::check::own::sent(world, state, module, list, position);
    } else {
        let handle = packet.source_handle() as usize;
        rule(world, "DATA-18", handle == packet.before.source_handle, || {
            format!("SourceHandle of packet {name} changed")
        });
        info_unchanged(world, packet);
        let same_bytes = packet.before.bytes.is_empty() || packet.bytes() == packet.before.bytes;
        advice(world, "DATA-63", same_bytes, || format!("bytes of packet {name} changed on ingress"));
    }
    let Some(packet) = state.packets.at(list) else { return };
    detail_unchanged(world, packet);
    rule(world, "DATA-77", !packet.mapping_failed, || {
        format!("packet {name} was sent although its memory could not be mapped")
    });
    committed_unchanged(world, packet, false);
    destinations_chosen(world, packet, by_extension);
    single_reading(world, state, list);
    crate::check::forwarding::sent(world, state, module, list);
    state.untag(module, list);
    crate::check::statistics::sent(state, module, list);
    let Some(packet) = state.packets.at(list) else { return };
    // SAFETY: the packet is in the extension's hands and so uncovered.
    let tag = unsafe { &mut (*packet.nbl).info[info::IEEE_8021Q] };
    packet.tag_below = *tag;
    let reserved = *tag & !TAG_HEADER;
    rule(world, "HOST-07", reserved == 0, || {
        format!("packet {name} was sent with reserved bits in its 802.1Q data: {reserved:#x}")
    });
    // Whoever owns the list below may use what is reserved, or take the structure for what it says.
    *tag &= TAG_HEADER;
    // SAFETY: as above.
    state.frames.sent_with_queue(&packet.frames, unsafe { (*packet.nbl).info[info::FILTERING] });
    for bytes in &mut packet.unsafe_bytes {
        bytes.show(0);
    }
    packet.unsafe_bytes.clear();
}

/// `by_extension`: it is a forwarding one. Of another the switch expects none (adding-extensible-switch-destination-...).
fn destinations_chosen(world: &World, packet: &mut Packet, by_extension: bool) {
    let name = packet.name;
    let native = packet.is_native();
    // SAFETY: the packet is in the extension's hands and so uncovered.
    let subnet = unsafe { (*packet.nbl).info[info::VIRTUAL_SUBNET] } != 0;
    let own = packet.own.is_some();
    let unmapped = packet.mapping_failed;
    let paused = packet.given_while_paused;
    let Some(context) = packet.context.as_mut() else { return };
    if native {
        // Passed on as it came: neither dropped nor completed.
        world.exercised("DATA-58");
        world.exercised("DATA-61");
    }
    // Whether a packet that came while the module did not run may be sent at all is STATE's matter.
    if native || unmapped || paused || !by_extension {
        return;
    }
    let written = context.written();
    rule(world, "DATA-35", written == 0 || context.available() == 0, || {
        format!("packet {name} has {written} written destinations that were never committed")
    });
    let none = context.committed.is_empty() && written == 0;
    let after_failure = context.commit_failed || context.grow_failed;
    let id = match (own, subnet, after_failure) {
        (_, _, true) => "DATA-41",
        (true, _, _) => "DATA-73",
        (_, true, _) => "DATA-62",
        _ => "DATA-33",
    };
    rule(world, id, !none, || format!("packet {name} sent without a destination"));
}

/// DATA-64 for a packet whose guest went on writing.
fn single_reading(world: &World, state: &mut State, list: usize) {
    let Some(packet) = state.packets.at(list) else { return };
    let module = packet.switch;
    let generation = state.modules[module].topology.generation;
    let Some(member) = state.uplink(list) else { return };
    let Some(packet) = state.packets.at(list) else { return };
    let source = packet.source;
    if packet.unsafe_bytes.is_empty() {
        for id in &packet.frames {
            let bytes = state.frames.all[*id].bytes.clone();
            state.flows.note(source, &bytes, member, generation);
        }
        return;
    }
    for bytes in &packet.unsafe_bytes {
        if let Some(members) = state.flows.members(source, &bytes.versions, generation) {
            rule(world, "DATA-64", members.contains(&member), || {
                format!("the guest showed two flows, of members {members:?}; the packet went to {member}")
            });
        }
    }
}

/// A packet leaves through NdisFSendComplete. False if others still need it.
pub fn completed(world: &World, state: &mut State, module: usize, list: usize) -> bool {
    let Some(packet) = state.packets.at(list) else { return false };
    let name = packet.name;
    rule(world, "DATA-70", packet.children_out == 0, || {
        format!("packet {name} completed while {} lists made from it are out", packet.children_out)
    });
    if packet.children_out > 0 {
        return false;
    }
    restored(world, packet);
    let same_bytes = packet.before.bytes.is_empty()
        || packet.place != PacketStage::Ingress
        || packet.bytes() == packet.before.bytes;
    advice(world, "DATA-63", same_bytes, || format!("bytes of packet {name} changed on ingress"));
    // SAFETY: the packet is in the extension's hands and so uncovered.
    let (tag, was) = (unsafe { (*packet.nbl).info[info::IEEE_8021Q] }, packet.tag_given);
    rule(world, "DATA-32", tag == was, || format!("the tag of packet {name} was {was:#x} and is {tag:#x}"));
    if packet.place == PacketStage::Ingress {
        dropped(world, state, module, list);
    }
    true
}

/// A packet that was never sent is completed.
fn dropped(world: &World, state: &mut State, module: usize, list: usize) {
    let life = state.life(module);
    let Some(packet) = state.packets.at(list) else { return };
    let name = packet.name;
    if let Some(context) = packet.context.as_ref() {
        // After a failed Grow or Add the packet ends here, as it must.
        let failed =
            [("DATA-39", context.grow_failed), ("DATA-41", context.grow_failed || context.commit_failed)];
        failed.iter().filter(|(_, failed)| *failed).for_each(|(id, _)| world.exercised(id));
    }
    // SAFETY: the packet is in the extension's hands and so uncovered.
    let status = unsafe { (*packet.nbl).status };
    advice(world, "DATA-09", status != STATUS_SENTINEL, || {
        format!("packet {name} completed without a status")
    });
    let paused_since = state.modules[module].pause_entered > packet.given;
    let not_running = packet.given_while_paused || paused_since || life != Life::Running;
    let all_carried = !packet.frames.is_empty() && packet.frames.iter().all(|f| packet.carried.contains(f));
    let some_carried = !packet.carried.is_empty();
    if not_running && !packet.reported && !all_carried {
        rule(world, "STATE-12", status == PAUSED, || {
            format!("packet {name} completed with {status:#x} while the module was not Running")
        });
    } else if packet.is_native() {
        rule(world, "DATA-58", !packet.reported || packet.fault, || {
            format!("native packet {name} was dropped")
        });
        rule(world, "DATA-61", packet.reported, || {
            format!("native packet {name} was completed, not passed on")
        });
    } else if packet.before.buffers.len() > 1 && some_carried {
        rule(world, "DATA-15", all_carried || packet.reported, || {
            format!("only some NET_BUFFERs of packet {name} were forwarded")
        });
    } else {
        let fine = packet.reported || all_carried;
        rule(world, "DATA-78", fine, || format!("packet {name} was dropped without a report"));
    }
    crate::check::forwarding::dropped(world, state, module, list);
    crate::check::statistics::dropped(state, module, list);
    state.account_for_drop(list, status);
}

/// A packet leaves through NdisFIndicateReceive. False if it does not belong there.
pub fn indicated(world: &World, state: &mut State, module: usize, list: usize) -> bool {
    let life = state.life(module);
    let Some(packet) = state.packets.at(list) else { return false };
    let name = packet.name;
    world.exercised("DATA-71");
    world.exercised("DATA-72");
    world.exercised("STATE-13");
    if packet.place == PacketStage::Idle {
        crate::check::own::indicated(world, state, life, list);
        return false;
    }
    let same_bytes = packet.before.bytes.is_empty() || packet.bytes() == packet.before.bytes;
    rule(world, "DATA-63", same_bytes, || format!("bytes of packet {name} changed on egress"));
    detail_unchanged(world, packet);
    committed_unchanged(world, packet, true);
    let excluded: Vec<u32> = packet
        .context
        .iter()
        .flat_map(|c| &c.committed)
        .filter(|d| d.bits.contains(DestinationBits::IS_EXCLUDED))
        .map(|d| d.port_id)
        .collect();
    for port in &excluded {
        rule(world, "DATA-83", packet.reported_ports.contains(port), || {
            format!("packet {name}: port {port} was excluded without a report")
        });
    }
    let count = packet.context.as_ref().map_or(0, |c| c.committed.len());
    advice(world, "DATA-85", excluded.len() < count || count == 0, || {
        format!("packet {name} indicated with every destination excluded")
    });
    true
}

/// A packet leaves through NdisFReturn. False if it does not belong there.
pub fn returned(world: &World, state: &mut State, module: usize, list: usize) -> bool {
    let life = state.life(module);
    let Some(packet) = state.packets.at(list) else { return false };
    let name = packet.name;
    rule(world, "DATA-04", packet.place != PacketStage::Idle, || {
        "NdisFReturnNetBufferLists with a list of the extension's own".to_owned()
    });
    if packet.place == PacketStage::Idle {
        return false;
    }
    if packet.place == PacketStage::Egress {
        let served = packet.reported || life != Life::Running;
        rule(world, "DATA-78", served, || format!("packet {name} was dropped on egress without a report"));
        let same_bytes = packet.before.bytes.is_empty() || packet.bytes() == packet.before.bytes;
        rule(world, "DATA-63", same_bytes, || format!("bytes of packet {name} changed on egress"));
        if !packet.reported {
            for id in packet.frames.clone() {
                state.frames.end(id, crate::switch::frames::FrameOutcome::Paused);
            }
        }
    }
    let Some(packet) = state.packets.at(list) else { return false };
    if packet.own.is_none() {
        restored(world, packet);
    }
    true
}

impl State {
    /// The member a packet was committed to, if it goes to exactly one.
    pub fn uplink(&mut self, list: usize) -> Option<u16> {
        let packet = self.packets.at(list)?;
        let topology = &self.modules[packet.switch].topology;
        let mut all = packet.context.as_ref()?.committed.iter().filter(|d| topology.is_external(d.port_id));
        let first = all.next()?;
        all.next().is_none().then_some(first.nic_index)
    }

    /// The state of a NIC as a source or destination of own packets.
    pub fn is_connected(&self, module: usize, id: NicId) -> bool {
        self.modules[module]
            .topology
            .nic(id)
            .is_some_and(|n| n.state == crate::switch::ports::NicState::Connected)
    }
}

/// The send call of this thread belongs to a walk.
pub fn in_walk() -> bool {
    inside("FilterSendNetBufferLists").is_some()
}
