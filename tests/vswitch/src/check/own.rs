//! Checks of packets that the extension made itself.

use crate::adapter::network::wire::Wire;
use crate::check::{advice, rule};
use crate::machine::world::World;
use crate::reference::vlan::{self, Tags, without_tag};
use crate::switch::frames::FrameId;
use crate::switch::nbl::segments;
use crate::switch::ndis::contexts::PRESERVE_DESTINATIONS;
use crate::switch::ndis::packet::{SAFE, SAFE_SIZE_SHIFT};
use crate::switch::ndis::{Life, State};
use crate::switch::ports::policy::Vlan;
use crate::switch::ports::{Mac, NicId};
use lbfoext::ndis::raw::{INFO_SLOTS, NetBuffer, info};
use std::ops::Range;

/// An own packet goes down; `position` is its place in the chain.
pub fn sent(world: &World, state: &mut State, module: usize, list: usize, position: usize) {
    let filter = state.modules[module].filter;
    let shared = shared_with(state, list);
    let overstated = overstates(state, list);
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
    rule(world, "DATA-66", !overstated, || {
        format!("own packet {name} counts bytes as safe that a guest can change")
    });
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
    speaks(world, state, module, list);
    inherit(world, state, list, parent);
}

/// SWITCH-PHANTOM: what is said in the name of a vNIC on a trunk port.
fn speaks(world: &World, state: &mut State, module: usize, list: usize) {
    let Some(packet) = state.packets.at(list) else { return };
    // SAFETY: the packet is in the extension's hands and so uncovered.
    let tag = unsafe { (*packet.nbl).info[info::IEEE_8021Q] };
    let said = packet.bytes().into_iter().filter(|bytes| is_control(bytes));
    let m = &state.modules[module];
    for bytes in said.collect::<Vec<_>>() {
        let mac: Option<Mac> = bytes.get(6..12).and_then(|mac| mac.try_into().ok());
        let Some(nic) = mac.and_then(|mac| m.topology.vnic(mac)) else { continue };
        let port = m.topology.ports.get(&nic.id.port);
        let outside = m.topology.ports.get(&m.external.physical.external_port);
        let Some(inside) = outside.and_then(|port| vlan::enter(port, Tags::of(&bytes, tag)).ok()) else {
            continue;
        };
        let trunk = port.and_then(|port| port.policies.vlan()).is_some_and(Vlan::is_trunk);
        let is_heard = mac.is_some_and(|mac| m.spoken.contains(&(mac, inside.vid)));
        rule(world, "SWITCH-PHANTOM", is_heard || !trunk, || {
            format!("{mac:02x?} is announced in VLAN {}, where nothing was heard of it", inside.vid)
        });
    }
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
    // What no port sends has none to name: a protocol between bridges, or what a bridge itself says.
    let control = parent == 0 && packet.bytes().iter().all(|bytes| is_control(bytes));
    let named = source != NicId::NOWHERE || facts.is_some_and(|(s, _)| s == source);
    advice(world, "DATA-29", named || control, || {
        format!("own packet {name} goes out as trusted, from nowhere")
    });
    alike(world, state, list, facts.and_then(|(_, slots)| slots));
    let Some(packet) = state.packets.at(list) else { return };
    let Some((from, slots)) = facts else { return };
    // SAFETY: the packet is in the extension's hands and so uncovered.
    let own_slots = unsafe { (*packet.nbl).info };
    let skip = [info::SWITCH_FORWARDING_DETAIL, info::SWITCH_FORWARDING_RESERVED, info::IEEE_8021Q];
    // What changes with the tag of a frame is another rule's matter.
    let same = !packet.untagged.is_empty()
        || slots.is_none_or(|s| (0..s.len()).all(|i| skip.contains(&i) || s[i] == own_slots[i]));
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

/// Frames of protocols in which an extension speaks for itself: RARP, by which switches learn, slow protocols, and questions
/// for groups.
fn is_control(bytes: &[u8]) -> bool {
    matches!(bytes.get(12..14), Some([0x80, 0x35] | [0x88, 0x09])) || Wire::of(bytes, 0).is_query()
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

/// SafePacketDataSize reaches into memory that the parent's guest can change.
fn overstates(state: &State, list: usize) -> bool {
    let nbl = list as *mut lbfoext::ndis::raw::NetBufferList;
    let Some(packet) = state.packets.get(nbl) else { return false };
    // SAFETY: the packet is in the extension's hands and so uncovered.
    let Some(parent) = state.packets.get(unsafe { (*packet.nbl).parent }) else { return false };
    // SAFETY: the packet is in the extension's hands and so uncovered.
    let said = unsafe { (*packet.nbl).info[info::SWITCH_FORWARDING_DETAIL] };
    let size = |detail: u64| (detail >> SAFE_SIZE_SHIFT & 0xFFF) as usize;
    if said & SAFE != 0 || parent.detail_bits & SAFE != 0 || parent.cover.is_laid() {
        return false;
    }
    // SAFETY: both are in the extension's hands.
    let segments = |nb| unsafe { segments(nb) }.into_iter().map(|(at, n)| (at as usize, n));
    // The memory of the parent's guest.
    let mut theirs = Vec::new();
    for buffer in &parent.before.buffers {
        let mut left = size(parent.detail_bits);
        for (at, length) in segments(buffer.nb) {
            let safe = left.min(length);
            left -= safe;
            theirs.push(at + safe..at + length);
        }
    }
    packet.buffers_now().iter().any(|buffer| {
        let mut left = size(said);
        let claimed = segments(buffer.nb).map(|(at, length)| {
            let safe = left.min(length);
            left -= safe;
            at..at + safe
        });
        let claimed: Vec<_> = claimed.collect();
        let both = |c: &Range<usize>, t: &Range<usize>| c.start.max(t.start) < c.end.min(t.end);
        claimed.iter().any(|c| theirs.iter().any(|t| both(c, t)))
    })
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

/// The out-of-band words of a list whose frame has lost this tag, by those that it came with. `sent`: in send format.
fn words_without(tag: [u8; 2], mut words: [u64; INFO_SLOTS], sent: bool) -> [u64; INFO_SLOTS] {
    let control = u64::from(u16::from_be_bytes(tag));
    // NDIS_NET_BUFFER_LIST_8021Q_INFO: UserPriority, CanonicalFormatId, VlanId.
    words[info::IEEE_8021Q] = control >> 13 | (control >> 12 & 1) << 3 | (control & 0xFFF) << 4;
    // Offsets from the beginning of the frame: of the TCP or UDP header, and of an encapsulated frame.
    let offsets = [
        (info::CHECKSUM, 16, 10),
        (info::LARGE_SEND, 20, 10),
        (info::UDP_SEGMENTATION, 20, 10),
        (info::ENCAPSULATED, 2, 8),
    ];
    for (slot, at, bits) in offsets {
        let offset = words[slot] >> at & ((1 << bits) - 1);
        let said = slot != info::ENCAPSULATED || words[slot] & 2 != 0;
        // No header begins before the end of the tag and of the type behind it.
        if sent && said && offset >= 18 {
            words[slot] -= 4 << at;
        }
    }
    words
}

/// The beginning and the end of a NET_BUFFER's bytes in memory, and their number.
///
/// # Safety
/// It is readable, and so are its MDLs.
unsafe fn extent(nb: *const NetBuffer) -> (usize, usize, usize) {
    // SAFETY: by the caller.
    let all = unsafe { segments(nb) };
    let length = all.iter().map(|(_, length)| length).sum();
    let first = all.first().map_or(0, |(at, _)| *at as usize);
    (first, all.last().map_or(0, |(at, length)| *at as usize + length), length)
}

impl State {
    /// Finds which frames an own list of the extension carries, and which of them without their tag.
    pub fn identify(&mut self, list: usize) {
        let Some(packet) = self.packets.at(list) else { return };
        if packet.own.is_none() || !packet.frames.is_empty() {
            return;
        }
        // SAFETY: the packet is in the extension's hands and so uncovered.
        let parent = unsafe { (*packet.nbl).parent };
        if parent.is_null() {
            return self.originated(list);
        }
        // SAFETY: the extension gives readable buffers.
        let extents: Vec<_> = packet.buffers_now().iter().map(|b| unsafe { extent(b.nb) }).collect();
        let bytes = packet.bytes();
        let Some(parent) = self.packets.get(parent) else { return };
        let texts: Vec<_> = parent.frames.iter().map(|f| self.frames.all[*f].bytes.clone()).collect();
        let whole: Vec<_> = match parent.cover.is_laid() {
            true => Vec::new(),
            // SAFETY: uncovered, it is in the extension's hands.
            false => parent.before.buffers.iter().map(|b| unsafe { extent(b.nb) }).collect(),
        };
        let mut found: Vec<(FrameId, bool)> = Vec::new();
        for ((first, end, length), bytes) in extents.iter().zip(&bytes) {
            let by_memory = parent.first_bytes.iter().position(|a| a == first).map(|at| (at, false));
            // It ends where a frame ends, and begins elsewhere.
            let by_end =
                || whole.iter().position(|(_, e, l)| e == end && length + 4 == *l).map(|at| (at, true));
            let by_content = || texts.iter().position(|t| t[..] == bytes[..]).map(|at| (at, false));
            if let Some((at, bare)) = by_memory.or_else(by_end).or_else(by_content) {
                found.push((parent.frames[at], bare));
            }
        }
        if let Some(packet) = self.packets.at(list) {
            packet.frames = found.iter().map(|(id, _)| *id).collect();
            packet.untagged = found.iter().filter(|(_, bare)| *bare).map(|(id, _)| *id).collect();
        }
    }

    /// A list that was made from no other has frames that nobody else has sent.
    fn originated(&mut self, list: usize) {
        let now = crate::machine::world::current().now();
        let Some(packet) = self.packets.at(list) else { return };
        let (module, source, all) = (packet.switch, packet.source, packet.bytes());
        let made: Vec<_> = all.iter().map(|bytes| self.frames.add(module, source, bytes, now)).collect();
        if let Some(packet) = self.packets.at(list) {
            packet.frames = made;
        }
    }

    /// Whether an own list has a frame without its tag.
    pub fn has_untagged(&mut self, list: usize) -> bool {
        self.identify(list);
        self.packets.at(list).is_some_and(|packet| !packet.untagged.is_empty())
    }

    /// A list went down: whoever sees its frames from here on sees them without the tags that came off.
    pub fn untag(&mut self, module: usize, list: usize) {
        let Some(packet) = self.packets.at(list) else { return };
        let (source, ids) = (packet.source, packet.untagged.clone());
        for id in &ids {
            let bare = self.frames.all.get(*id).and_then(|frame| without_tag(&frame.bytes));
            if let (Some(frame), Some(bare)) = (self.frames.all.get_mut(*id), bare) {
                frame.bytes = bare.into();
            }
        }
        crate::check::statistics::untagged(self, module, source, ids.len());
    }
}

/// EGR-15: what an own list is of the frames that it was made from: the same bytes, or all but the 802.1Q tag, which its
/// out-of-band data then has instead. `came`: the words of its parent.
fn alike(world: &World, state: &mut State, list: usize, came: Option<[u64; INFO_SLOTS]>) {
    let Some(packet) = state.packets.at(list) else { return };
    let (module, source, name) = (packet.switch, packet.source, packet.name);
    let outside = state.modules[module].topology.is_external(source.port);
    let Some(packet) = state.packets.at(list) else { return };
    // SAFETY: the packet is in the extension's hands and so uncovered.
    let (parent, now) = unsafe { ((*packet.nbl).parent, (*packet.nbl).info) };
    let (ids, bytes, bare) = (packet.frames.clone(), packet.bytes(), packet.untagged.clone());
    // What its guest goes on writing is the same only by chance.
    let steady = state.packets.get(parent).is_some_and(|parent| parent.unsafe_bytes.is_empty());
    for (id, bytes) in ids.iter().zip(&bytes) {
        let Some(frame) = state.frames.all.get(*id) else { continue };
        let whole = if bare.contains(id) { without_tag(&frame.bytes) } else { Some(frame.bytes.to_vec()) };
        rule(world, "EGR-15", !steady || whole.as_ref() == Some(bytes), || {
            format!("own packet {name} has {bytes:02x?} of frame {id}, {:02x?}", frame.bytes)
        });
        let tag = frame.bytes.get(14..16).and_then(|tag| <[u8; 2]>::try_from(tag).ok());
        let (Some(came), Some(tag), true) = (came, tag, steady && bare.contains(id)) else { continue };
        let wanted = words_without(tag, came, !outside);
        let skip = [info::SWITCH_FORWARDING_DETAIL, info::SWITCH_FORWARDING_RESERVED];
        let wrong = (0..INFO_SLOTS).find(|slot| !skip.contains(slot) && wanted[*slot] != now[*slot]);
        rule(world, "EGR-15", wrong.is_none(), || {
            let slot = wrong.unwrap_or(0);
            format!("own packet {name}, slot {slot}: {:#x}, not {:#x}", now[slot], wanted[slot])
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_follow_the_tag_that_came_off() {
        let mut came = [0x1234_u64; INFO_SLOTS];
        came[info::CHECKSUM] = 38 << 16 | 0b10101;
        came[info::LARGE_SEND] = 38 << 20 | 1 << 30 | 1_400;
        came[info::UDP_SEGMENTATION] = 58 << 20 | 1_200;
        came[info::ENCAPSULATED] = 3 | 54 << 2 | 5 << 10;
        let [received, sent] = [false, true].map(|sent| words_without([0xA0, 0x07], came, sent));
        for words in [received, sent] {
            assert_eq!(words[info::IEEE_8021Q], 5 | 7 << 4);
            assert_eq!(words[info::HASH_VALUE], 0x1234);
        }
        assert_eq!(received[info::CHECKSUM], came[info::CHECKSUM]);
        assert_eq!(sent[info::CHECKSUM], 34 << 16 | 0b10101);
        assert_eq!(sent[info::LARGE_SEND], 34 << 20 | 1 << 30 | 1_400);
        assert_eq!(sent[info::UDP_SEGMENTATION], 54 << 20 | 1_200);
        assert_eq!(sent[info::ENCAPSULATED], 3 | 50 << 2 | 5 << 10);
        // Nothing is said where no offset is.
        came[info::CHECKSUM] = 0b10000;
        came[info::ENCAPSULATED] = 1 | 54 << 2;
        let sent = words_without([0xB0, 0x07], came, true);
        assert_eq!((sent[info::CHECKSUM], sent[info::ENCAPSULATED]), (0b10000, 1 | 54 << 2));
        assert_eq!(sent[info::IEEE_8021Q], 5 | 8 | 7 << 4);
    }
}
