//! What must be as it was: lists, their out-of-band data and their destinations, whenever others own them again.

use crate::check::rule;
use crate::machine::world::World;
use crate::switch::ndis::packet::Packet;
use lbfoext::ndis::raw::{DestinationBits, info};

/// Whatever was done to a foreign list on its way is undone.
pub fn restored(world: &World, packet: &mut Packet) {
    let name = packet.name;
    let now = packet.buffers_now();
    let before = &packet.before.buffers;
    let same_buffers = now.iter().map(|b| b.nb).eq(before.iter().map(|b| b.nb));
    rule(world, "DATA-06", same_buffers, || {
        format!("NET_BUFFERs of packet {name} are not those it came with")
    });
    if same_buffers {
        rule(world, "DATA-07", now == *before, || format!("data of packet {name} starts or ends elsewhere"));
    }
    // SAFETY: the packet is in the extension's hands and so uncovered.
    let (context, handle) = unsafe { ((*packet.nbl).context as usize, (*packet.nbl).source_handle as usize) };
    // SAFETY: as above.
    let (children, before) = (unsafe { (*packet.nbl).child_ref_count }, packet.before.child_refs);
    rule(world, "HOST-06", children == before, || {
        format!("packet {name} came with {before} lists derived from it and is completed with {children}")
    });
    rule(world, "DATA-22", context == packet.before.context, || {
        format!("packet {name} carries another NET_BUFFER_LIST_CONTEXT than it came with")
    });
    rule(world, "DATA-18", handle == packet.before.source_handle, || {
        format!("SourceHandle of packet {name} changed")
    });
    info_unchanged(world, packet);
    detail_unchanged(world, packet);
    committed_unchanged(world, packet, false);
}

/// Out-of-band data is in the format of the packet's source; this extension has no reason to write it.
pub fn info_unchanged(world: &World, packet: &Packet) {
    // SAFETY: the packet is in the extension's hands and so uncovered.
    let now = unsafe { &(*packet.nbl).info };
    let skip = [info::SWITCH_FORWARDING_DETAIL, info::SWITCH_FORWARDING_RESERVED, info::IEEE_8021Q];
    let changed = (0..now.len()).find(|i| !skip.contains(i) && now[*i] != packet.before.info[*i]);
    rule(world, "DATA-32", changed.is_none(), || {
        format!("out-of-band slot {} of packet {} changed", changed.unwrap_or(0), packet.name)
    });
}

pub fn detail_unchanged(world: &World, packet: &Packet) {
    if packet.context.is_none() {
        return;
    }
    // SAFETY: the packet is in the extension's hands and so uncovered.
    let now = unsafe { (*packet.nbl).info[info::SWITCH_FORWARDING_DETAIL] };
    let writable = if packet.own.is_some() { crate::switch::ndis::packet::OWN_DETAIL } else { 0 };
    let differs = (now ^ packet.detail()) & !writable;
    rule(world, "DATA-25", differs == 0, || {
        format!("bits {differs:#x} of the forwarding detail of packet {} were written", packet.name)
    });
}

/// DATA-24, -35, -42, -83, -84: the array against the truth.
pub fn committed_unchanged(world: &World, packet: &mut Packet, egress: bool) {
    let name = packet.name;
    let Some(context) = packet.context.as_mut() else { return };
    let intact = !context.dead_array_touched();
    rule(world, "DATA-24", intact, || format!("packet {name}: a destination array that is gone was written"));
    rule(world, "DATA-35", context.header_is_intact(), || {
        format!("packet {name}: the header of the destination array was written")
    });
    let now = context.committed_in_memory();
    for (was, is) in context.committed.clone().iter().zip(now) {
        let [x, y] = [was.bits, is.bits].map(|bits| bits.contains(DestinationBits::IS_EXCLUDED));
        rule(world, "DATA-84", !x || y, || format!("packet {name}: an exclusion was taken back"));
        if egress {
            rule(world, "DATA-83", x || !y, || {
                format!("packet {name}: port {} was excluded without an update", was.port_id)
            });
        }
        let rest = DestinationBits::IS_EXCLUDED.complement();
        let same = (was.port_id, was.nic_index, was.bits & rest)
            == (is.port_id, is.nic_index, is.bits & rest)
            && (egress || x == y || x);
        rule(world, "DATA-42", same, || format!("packet {name}: a committed destination was changed"));
    }
    context.repair();
}
