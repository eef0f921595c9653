//! Guests and hosts: their addresses, their frames, and how a chain of frames enters the switch.

use crate::check::packets::STATUS_SENTINEL;
use crate::machine::cpu;
use crate::machine::world::World;
use crate::reference::vlan::{self, Tag};
use crate::shown::arguments;
use crate::switch::frames::{FrameOutcome, Maker, Origin};
use crate::switch::nbl::{Shape, UnsafeBytes, build, net_buffers};
use crate::switch::ndis::array::Context;
use crate::switch::ndis::packet::{NATIVE, PacketStage, SAFE, SAFE_SIZE_SHIFT, SAFE_UNCACHED, UNCACHED};
use crate::switch::ndis::{Life, State, call_packets, edges, with};
use crate::switch::ports::{Mac, NicId};
use lbfoext::ndis::raw::{FilterSend, Handle, NetBufferList, SendFlags, info};

pub const BROADCAST: Mac = [0xFF; 6];

/// The address of guest `n`.
pub const fn vm_mac(n: u16) -> Mac {
    let [high, low] = n.to_be_bytes();
    [0x02, 0x15, 0x5D, 0, high, low]
}

/// The address of adapter `n` of the management OS.
pub const fn internal_mac(n: u16) -> Mac {
    let [high, low] = n.to_be_bytes();
    [0x02, 0x15, 0x5D, 1, high, low]
}

/// The address of host `n` in the external network.
pub const fn host_mac(n: u16) -> Mac {
    let [high, low] = n.to_be_bytes();
    [0x02, 0xAA, 0, 0, high, low]
}

/// One direction of a conversation over UDP and IPv4.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Flow {
    pub from: Mac,
    pub to: Mac,
    pub source: [u8; 4],
    pub destination: [u8; 4],
    pub source_port: u16,
    pub destination_port: u16,
}

impl Flow {
    /// Conversation `n` between two addresses.
    pub fn new(from: Mac, to: Mac, n: u16) -> Self {
        Self {
            from,
            to,
            source: [10, 0, from[4], from[5]],
            destination: [10, 1, to[4], to[5]],
            source_port: 10_000 + n,
            destination_port: 80,
        }
    }

    /// A frame of the flow; the payload starts with `sequence`, so that all frames differ.
    pub fn frame(&self, sequence: u32, payload: usize) -> Vec<u8> {
        let payload = payload.max(4);
        let udp = u16::try_from(8 + payload).unwrap_or(u16::MAX);
        let total = udp.saturating_add(20);
        let mut bytes = [&self.to[..], &self.from, &[0x08, 0x00]].concat();
        let mut header = [0x45, 0, 0, 0, 0, 1, 0x40, 0, 64, 17, 0, 0].to_vec();
        header[2..4].copy_from_slice(&total.to_be_bytes());
        header.extend(self.source);
        header.extend(self.destination);
        let sum = header.chunks(2).map(|w| u32::from(w[0]) << 8 | u32::from(w[1])).sum::<u32>();
        let folded = (sum & 0xFFFF) + (sum >> 16);
        let checksum = !u16::try_from((folded & 0xFFFF) + (folded >> 16)).unwrap_or(0);
        header[10..12].copy_from_slice(&checksum.to_be_bytes());
        bytes.extend(header);
        bytes.extend(self.source_port.to_be_bytes());
        bytes.extend(self.destination_port.to_be_bytes());
        bytes.extend(udp.to_be_bytes());
        bytes.extend([0, 0]);
        bytes.extend(sequence.to_be_bytes());
        bytes.resize(bytes.len() + payload - 4, 0x5F);
        bytes
    }

    /// The flow of a frame that `frame` made.
    pub fn of(bytes: &[u8]) -> Option<Self> {
        if bytes.len() < 42 || bytes[12..14] != [8, 0] || bytes[23] != 17 {
            return None;
        }
        Some(Self {
            to: bytes[0..6].try_into().ok()?,
            from: bytes[6..12].try_into().ok()?,
            source: bytes[26..30].try_into().ok()?,
            destination: bytes[30..34].try_into().ok()?,
            source_port: u16::from_be_bytes(bytes[34..36].try_into().ok()?),
            destination_port: u16::from_be_bytes(bytes[36..38].try_into().ok()?),
        })
    }
}

/// The description of one NET_BUFFER_LIST to be sent.
#[derive(Clone, Debug, Default)]
pub struct Packet {
    /// One frame for each NET_BUFFER.
    pub frames: Vec<Vec<u8>>,
    /// An NVGRE packet, which the switch itself forwards.
    pub native: bool,
    /// The virtual subnet in the out-of-band data, which the switch does not forward itself.
    pub subnet: Option<u32>,
    /// The out-of-band tag: VLAN and priority.
    pub tag: Option<Tag>,
    /// Other contents that the guest writes alternately to the bytes after the first `.0`, for each frame.
    pub flicker: Option<(usize, Vec<Vec<u8>>)>,
    pub cancel_id: usize,
    /// Who made it, if it is a copy of an earlier frame; otherwise its sender has made it.
    pub origin: Option<Origin>,
    /// Bytes of payload for each segment of a large send.
    pub segment: Option<u16>,
    /// Hash information and value of an adapter in the out-of-band data.
    pub hash: Option<(u32, u32)>,
    /// The receive queue and the filter through which it arrived.
    pub queue: Option<(u32, u32)>,
    /// OffloadHandle of the security association.
    pub association: Option<u64>,
    /// The same of the tunnel that the connection goes through.
    pub tunnel: Option<u64>,
    /// Further words of out-of-band data, by slot.
    pub words: Vec<(usize, u64)>,
    /// The memory layout of each frame; without one the style determines it.
    pub shape: Option<Shape>,
}

impl Packet {
    pub fn of(frame: Vec<u8>) -> Self {
        Self { frames: vec![frame], ..Self::default() }
    }

    /// A frame with an out-of-band tag, as from a guest on a trunk or from an adapter that removes tags.
    pub fn tagged(frame: Vec<u8>, vid: u16, priority: u8) -> Self {
        Self { tag: Some(Tag { vid, priority }), ..Self::of(frame) }
    }

    /// The VLAN of its first frame on the wire: of the out-of-band tag, or of the tag in the bytes; 0 without one.
    pub fn vid_on_the_wire(&self) -> u16 {
        let in_band = self.frames.first().and_then(|frame| match frame.get(12..16) {
            Some(&[0x81, 0, high, low]) => Some(u16::from_be_bytes([high, low]) & 0xFFF),
            _ => None,
        });
        self.tag.as_ref().map(|tag| tag.vid).or(in_band).unwrap_or(0)
    }

    /// Several frames in one list.
    pub fn several(frames: Vec<Vec<u8>>) -> Self {
        Self { frames, ..Self::default() }
    }

    pub fn native(frame: Vec<u8>) -> Self {
        Self { native: true, ..Self::of(frame) }
    }

    /// A packet whose guest alternates between two versions of the bytes after the first `safe`.
    pub fn flickering(frame: Vec<u8>, other: Vec<u8>, safe: usize) -> Self {
        Self { flicker: Some((safe, vec![other])), ..Self::of(frame) }
    }
}

/// Sends a chain. Without a running module its frames get the outcome "paused".
pub fn send(module: usize, chain: Vec<(NicId, Packet)>) {
    let level = edges::at_random_level();
    let (given, passed) = with(|world, state| {
        let given = state.give_send(world, module, chain);
        (given, std::mem::take(&mut state.modules[module].bypassing))
    });
    if !passed.is_empty() {
        edges::arrived_below(module, passed);
    }
    if let Some((handler, context, first, flags, order)) = given {
        // SAFETY: the driver registered this handler; the chain is built from live lists.
        call_packets("FilterSendNetBufferLists", module, flags, arguments!(first, flags), || unsafe {
            handler(context, first, 0, flags)
        });
        with(|_, state| state.modules[module].sends_running.remove(&order));
        cpu::wake(crate::machine::slots::ANY);
    }
    level.restore();
}

impl State {
    fn give_send(
        &mut self,
        world: &World,
        module: usize,
        chain: Vec<(NicId, Packet)>,
    ) -> Option<(FilterSend, Handle, *mut NetBufferList, u32, u64)> {
        let life = self.life(module);
        let handler = self.driver.characteristics.and_then(|c| c.send);
        let reachable = match life {
            Life::Running => true,
            Life::Paused | Life::Pausing | Life::Restarting => self.style.send_while_paused,
            Life::Detached | Life::Attaching => false,
        };
        let reachable = reachable && self.listens(module);
        // A NIC that does not exist, or whose deletion has begun, sends nothing.
        let topology = &self.modules[module].topology;
        let sends =
            |source: NicId| source == NicId::NOWHERE || topology.nic(source).is_some_and(|nic| !nic.deleting);
        let chain: Vec<_> = chain.into_iter().filter(|(source, _)| sends(*source)).collect();
        if chain.is_empty() {
            return None;
        }
        let lists: Vec<usize> =
            chain.into_iter().map(|(source, packet)| self.make_list(world, module, source, packet)).collect();
        if handler.is_none() && life == Life::Running {
            // An extension without a send handler is bypassed (data-bypass-mode).
            self.hand_over(world, &lists, PacketStage::Below, "DATA-03");
            self.modules[module].bypassing = lists;
            return None;
        }
        let Some(handler) = handler.filter(|_| reachable) else {
            for list in lists {
                self.account_for_drop(list, lbfoext::ndis::raw::PAUSED);
                self.finish(world, list);
            }
            return None;
        };
        let alone = lists.len() == 1;
        let order = self.tick();
        let generation = self.modules[module].topology.generation;
        let elsewhere = self.generations_elsewhere(module);
        let running = &mut self.modules[module].sends_running;
        running.insert(order);
        let oldest = running.first().copied().unwrap_or(order);
        let first = self.hand_over(world, &lists, PacketStage::Ingress, "DATA-03");
        for list in &lists {
            let Some(packet) = self.packets.at(*list) else { continue };
            packet.given = order;
            packet.overlaps = oldest;
            packet.generation = generation;
            packet.elsewhere = elsewhere;
            packet.alone = alone;
            packet.given_while_paused = life != Life::Running;
            packet.remember();
            packet.remember_bytes();
        }
        for list in &lists {
            crate::check::forwarding::given(world, self, module, *list);
            crate::check::statistics::given(self, module, *list);
        }
        let mut flags = SendFlags::empty();
        if self.same_source(&lists) && world.random(4) != 0 {
            flags |= SendFlags::SWITCH_SINGLE_SOURCE;
        }
        if cpu::irql() == cpu::DISPATCH && world.random(4) != 0 {
            flags |= SendFlags::DISPATCH_LEVEL;
        }
        let m = &self.modules[module];
        Some((handler, m.context as Handle, first, flags.bits(), order))
    }

    /// Builds a list of the switch with its forwarding context.
    fn make_list(&mut self, world: &World, module: usize, source: NicId, spec: Packet) -> usize {
        let now = world.now();
        let derived_above = self.style.adversities.derived_above;
        let awkward = self.style.awkward_memory;
        let shape = |bytes: &Vec<u8>| {
            if let Some(shape) = &spec.shape {
                return shape.clone();
            }
            if awkward { Shape::awkward(bytes.len(), |n| world.random(n)) } else { Shape::default() }
        };
        let shaped: Vec<(&[u8], Shape)> = spec.frames.iter().map(|f| (&f[..], shape(f))).collect();
        let built = build(&shaped);
        let nbl = built.nbl;
        let frames: Vec<_> = spec.frames.iter().map(|f| self.frames.add(module, source, f, now)).collect();
        let outside = self.modules[module].topology.is_external(source.port);
        for id in &frames {
            let maker = if outside { Maker::External } else { Maker::Inside(source) };
            let origin = spec.origin.unwrap_or_else(|| self.frames.fresh_origin(maker));
            self.frames.mark(*id, origin, spec.segment);
        }
        let free = u32::try_from(world.random(self.style.free_slots + 1)).unwrap_or(0);
        let detail_bits = detail_bits(world, &spec);
        // SAFETY: the list was made above.
        let buffers = unsafe { net_buffers(nbl, 64) };
        let mut unsafe_bytes = Vec::new();
        if let Some((safe, others)) = &spec.flicker {
            for ((nb, one), other) in buffers.iter().zip(&spec.frames).zip(others) {
                // SAFETY: the memory is valid as long as the packet.
                unsafe_bytes.push(unsafe { UnsafeBytes::new(*nb, [one.clone(), other.clone()], *safe) });
            }
            self.flickering.push(nbl as usize);
        }
        // SAFETY: as above.
        unsafe {
            let list = &mut *nbl;
            list.source_handle = 0x4E44_5052_0010_usize as Handle;
            list.status = STATUS_SENTINEL;
            list.info[info::CHECKSUM] = if outside { world.random(1 << 32) } else { checksum(world, &spec) };
            list.info[info::HASH_VALUE] = world.random(1 << 32);
            if let Some((about, value)) = spec.hash {
                list.info[info::HASH_INFO] = u64::from(about);
                list.info[info::HASH_VALUE] = u64::from(value);
            }
            list.info[info::CANCEL_ID] = spec.cancel_id as u64;
            if let Some((queue, filter)) = spec.queue {
                let word = u64::from(filter & 0xFFFF) | u64::from(queue & 0xFFFF) << 16;
                list.info[info::FILTERING] = word;
                self.frames.came_by_queue(&frames, word);
            }
            if let Some(handle) = spec.association {
                list.info[info::IPSEC] = handle;
            }
            if let Some(handle) = spec.tunnel {
                list.info[info::IPSEC_TUNNEL] = handle;
            }
            if let Some(size) = spec.segment {
                // NDIS_TCP_LARGE_SEND_OFFLOAD_NET_BUFFER_LIST_INFO: the size of segments, and that it is version 2.
                list.info[info::LARGE_SEND] = u64::from(size) | 1 << 30;
            }
            for (slot, word) in &spec.words {
                list.info[*slot] = *word;
            }
            list.info[info::IEEE_8021Q] = vlan::word(spec.tag);
            list.info[info::VIRTUAL_SUBNET] = u64::from(spec.subnet.unwrap_or(0));
            // The sender may also have derived lists from it.
            list.child_ref_count =
                if !derived_above { 0 } else { frames.first().map_or(0, |id| (id % 3) as i32) };
            list.protocol_reserved = [0xD5; 4];
            list.miniport_reserved = [0xD6; 2];
        }
        let (stride, stale) = (self.style.stride, self.style.adversities.stale_slots);
        self.gone.remove(&(nbl as usize));
        let packet = self.packets.add(module, nbl, PacketStage::Ingress);
        packet.first_bytes = buffers
            .iter()
            // SAFETY: as above.
            .map(|nb| unsafe { crate::switch::nbl::segments(*nb) }.first().map_or(0, |s| s.0 as usize))
            .collect();
        packet.built = Some(built);
        packet.frames = frames;
        packet.tag_given = vlan::word(spec.tag);
        packet.source = source;
        packet.detail_bits = detail_bits;
        packet.context = Some(Context::new(free, stride, stale));
        packet.unsafe_bytes = unsafe_bytes;
        packet.cancel_id = spec.cancel_id;
        packet.write_detail();
        if let Some(nic) = self.modules[module].topology.nic_mut(source) {
            nic.packets += 1;
            packet.pinned.push(source);
        }
        nbl as usize
    }

    /// Guests write to memory: every byte that is not safe changes, in all lists that the extension owns.
    pub fn flicker(&mut self) {
        let packets = &mut self.packets;
        self.flickering.retain(|list| {
            let Some(packet) = packets.at(*list) else { return false };
            if packet.place == PacketStage::Ingress {
                packet.unsafe_bytes.iter_mut().for_each(UnsafeBytes::flip);
            }
            !packet.unsafe_bytes.is_empty()
        });
    }

    /// Frames without an outcome, one sentence each.
    pub fn unaccounted(&self) -> Vec<String> {
        let tell = |f: &crate::switch::frames::Frame| {
            format!("frame {} from {} under way {}", f.id, f.from, f.under_way)
        };
        self.frames.unaccounted().map(tell).collect()
    }

    /// The outcomes of a frame so far.
    pub fn outcomes(&self, id: usize) -> &[FrameOutcome] {
        self.frames.all.get(id).map_or(&[], |f| &f.outcomes)
    }
}

/// NDIS_TCP_IP_CHECKSUM_NET_BUFFER_LIST_INFO of a list that is sent: flags, and where the upper header of its first frame
/// is, if that is said.
fn checksum(world: &World, spec: &Packet) -> u64 {
    let tagged = spec.frames.first().and_then(|frame| vlan::without_tag(frame)).is_some();
    let offset = [0, 34, 54][world.random(3) as usize];
    let said = if offset > 0 && tagged { offset + 4 } else { offset };
    world.random(1 << 16) | said << 16
}

/// Bits of the forwarding detail above the source.
fn detail_bits(world: &World, spec: &Packet) -> u64 {
    let mut bits = if spec.native { NATIVE } else { 0 };
    match &spec.flicker {
        Some((safe, _)) => bits |= (*safe as u64 & 0xFFF) << SAFE_SIZE_SHIFT,
        // The size is valid only if the packet is not safe as a whole, so it is random here.
        None => bits |= SAFE | world.random(0x1000) << SAFE_SIZE_SHIFT,
    }
    if world.random(8) == 0 {
        bits |= UNCACHED;
    }
    if world.random(8) == 0 {
        bits |= SAFE_UNCACHED;
    }
    bits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_names_its_flow_and_has_a_right_checksum() {
        let flow = Flow::new(vm_mac(3), host_mac(9), 7);
        let frame = flow.frame(1, 100);
        assert_eq!(frame.len(), 14 + 20 + 8 + 100);
        assert_eq!(Flow::of(&frame), Some(flow));
        let sum: u32 = frame[14..34].chunks(2).map(|w| u32::from(w[0]) << 8 | u32::from(w[1])).sum();
        assert_eq!((sum & 0xFFFF) + (sum >> 16), 0xFFFF);
    }
}
