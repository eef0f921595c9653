//! Checks of packets that the extension made itself.

use crate::check::{advice, rule};
use crate::machine::world::World;
use crate::switch::ndis::contexts::PRESERVE_DESTINATIONS;
use crate::switch::ndis::packet::SAFE;
use crate::switch::ndis::{Life, State};
use crate::switch::ports::NicId;
use lbfoext::ndis::raw::info;

/// An own packet goes down; `position` is its place in the chain.
pub fn sent(world: &World, state: &mut State, module: usize, list: usize, position: usize) {
    let filter = state.modules[module].filter;
    let shared = shared_with(state, list);
    let Some(packet) = state.packets.at(list) else { return };
    let name = packet.name;
    // SAFETY: the packet is in the extension's hands and so uncovered.
    let parent = unsafe { (*packet.nbl).parent } as usize;
    // Only the first list of a chain is served by one call of the handler; a later one without context was forgotten.
    let id = if position == 0 { "DATA-16" } else { "DATA-19" };
    rule(world, id, packet.context.is_some(), || {
        format!("own packet {name} sent without a forwarding context")
    });
    let handle = packet.source_handle() as usize;
    rule(world, "DATA-17", handle == filter, || {
        format!("SourceHandle of own packet {name} is not the filter handle")
    });
    let source = packet.source;
    let copied = packet.own.and_then(|own| own.copied);
    rule(world, "DATA-69", copied.is_none_or(|flags| flags & PRESERVE_DESTINATIONS == 0), || {
        format!("own packet {name} goes down with copied destinations")
    });
    // SAFETY: as above.
    let detail = unsafe { (*packet.nbl).info[info::SWITCH_FORWARDING_DETAIL] };
    let says_safe = detail & SAFE != 0;
    if packet.context.is_some() {
        let lies = says_safe && shared.is_some_and(|s| !s.safe);
        let hides = !says_safe && shared.is_none();
        rule(world, "DATA-66", !lies && !hides, || {
            let what =
                if lies { "says that a guest's memory is safe" } else { "hides that its memory is safe" };
            format!("own packet {name} {what}")
        });
    }
    rule(world, "DATA-70", shared.is_none_or(|s| s.packet == parent), || {
        format!("own packet {name} uses the memory of a packet that it does not name as its parent")
    });
    // The copy of a packet goes on where the packet itself would: that its source is being deleted is no reason.
    let chosen = packet.own.is_some_and(|own| own.source_set || own.copied.is_none());
    if source != NicId::NOWHERE && chosen {
        rule(world, "DATA-74", state.is_connected(module, source), || {
            format!("own packet {name} from {source}, which is not connected")
        });
    }
    inherit(world, state, list, parent);
}

/// DATA-68, DATA-29 against the parent, and the parent learns that a child is out.
fn inherit(world: &World, state: &mut State, list: usize, parent: usize) {
    let facts = state.packets.at(parent).map(|p| {
        // SAFETY: a parent is in the extension's hands, or the slots below are only compared.
        let info = if p.cover.is_laid() { None } else { Some(unsafe { (*p.nbl).info }) };
        (p.source, info)
    });
    let Some(packet) = state.packets.at(list) else { return };
    let name = packet.name;
    let source = packet.source;
    let set = packet.own.is_some_and(|own| own.source_set);
    advice(world, "DATA-29", source != NicId::NOWHERE || facts.is_some_and(|(s, _)| s == source), || {
        format!("own packet {name} goes out as trusted, from nowhere")
    });
    let Some((from, slots)) = facts else { return };
    // SAFETY: the packet is in the extension's hands and so uncovered.
    let own_slots = unsafe { (*packet.nbl).info };
    let skip = [info::SWITCH_FORWARDING_DETAIL, info::SWITCH_FORWARDING_RESERVED, info::IEEE_8021Q];
    let same = slots.is_none_or(|s| (0..s.len()).all(|i| skip.contains(&i) || s[i] == own_slots[i]));
    rule(world, "DATA-68", same && (set || source == from), || {
        format!("own packet {name} does not carry the out-of-band data and source of its parent")
    });
    let carried = packet.frames.clone();
    if let Some(own) = packet.own.as_mut() {
        own.parent = parent;
    }
    if let Some(parent) = state.packets.at(parent) {
        parent.children_out += 1;
        let counted = parent.before.child_refs + parent.children_out as i32;
        // SAFETY: uncovered, it is in the extension's hands.
        let said = if parent.cover.is_laid() { counted } else { unsafe { (*parent.nbl).child_ref_count } };
        rule(world, "HOST-06", said >= counted, || {
            format!("packet {name} goes out as child number {counted} of a list that counts {said}")
        });
        parent.carried.extend(carried);
    }
}

/// An own packet goes up: never right.
pub fn indicated(world: &World, state: &mut State, life: Life, list: usize) {
    if matches!(life, Life::Pausing | Life::Paused) {
        return world.violate("STATE-13", "an own packet was indicated while the module is not Running");
    }
    // SAFETY: an idle packet is in the extension's hands.
    let parent = unsafe { (*(list as *mut lbfoext::ndis::raw::NetBufferList)).parent };
    let parents = state.packets.get(parent).filter(|p| !p.cover.is_laid()).map(|p| p.bytes());
    let Some(packet) = state.packets.at(list) else { return };
    let changed = parents.is_some_and(|all| packet.bytes().iter().any(|one| !all.contains(one)));
    let id = if changed { "DATA-72" } else { "DATA-71" };
    world.violate(id, format!("own packet {} was indicated as received", packet.name));
}

#[derive(Clone, Copy)]
struct Shared {
    packet: usize,
    safe: bool,
}

/// The packet of the switch in whose memory an own packet's bytes lie.
fn shared_with(state: &mut State, list: usize) -> Option<Shared> {
    let packet = state.packets.at(list)?;
    let mut addresses = Vec::new();
    for buffer in packet.buffers_now() {
        // SAFETY: the extension gives readable buffers.
        addresses.extend(unsafe { crate::switch::nbl::segments(buffer.nb) }.iter().map(|s| s.0 as usize));
    }
    state
        .packets
        .all()
        .into_iter()
        .find(|p| p.own.is_none() && addresses.iter().any(|a| p.holds(*a)))
        .map(|p| Shared { packet: p.nbl as usize, safe: p.detail_bits & SAFE != 0 })
}
