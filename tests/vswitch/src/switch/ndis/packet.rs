//! The switch's record of every NET_BUFFER_LIST: its stage, its owner, and its contents when it was passed on.
//!
//! `data`, `edges` and `handlers` move packets from stage to stage; the record calls no other module.

use crate::switch::frames::FrameId;
use crate::switch::nbl::{Built, Cover, UnsafeBytes, net_buffers, read};
use crate::switch::ndis::array::Context;
use crate::switch::ports::NicId;
use lbfoext::ndis::raw::{Handle, INFO_SLOTS, Mdl, NetBuffer, NetBufferList, info};
use rustc_hash::FxHashMap;
use std::collections::{BTreeMap, BTreeSet};

/// The stage of a packet. The extension may access it only in the stages that name the extension as owner.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PacketStage {
    /// The extension's own packet, not sent; owner: the extension.
    Idle,
    /// Passed to FilterSend; owner: the extension.
    Ingress,
    /// Passed to NdisFSend; owner: the miniport edge.
    Below,
    /// Passed to FilterReceive; owner: the extension.
    Egress,
    /// Passed to NdisFIndicateReceive; owner: the destinations.
    Delivered,
    /// Passed to FilterReturn; owner: the extension.
    Returning,
    /// Passed to NdisFReturn; owner: the miniport edge.
    Settled,
    /// Passed to FilterSendComplete; owner: the extension.
    Completing,
}

impl PacketStage {
    pub fn is_the_extensions(self) -> bool {
        matches!(self, Self::Idle | Self::Ingress | Self::Egress | Self::Returning | Self::Completing)
    }
}

/// The earlier contents of a NET_BUFFER.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BufferFacts {
    pub nb: *mut NetBuffer,
    pub current_mdl: *mut Mdl,
    pub current_mdl_offset: u32,
    pub data_offset: u32,
    pub data_length: u32,
}

/// The contents of a list when it was passed to the extension.
#[derive(Clone, Default)]
pub struct Before {
    pub source_handle: usize,
    pub context: usize,
    pub buffers: Vec<BufferFacts>,
    pub info: [u64; INFO_SLOTS],
    pub child_refs: i32,
    /// The packet's bytes; empty if a guest keeps writing them.
    pub bytes: Vec<Vec<u8>>,
}

/// The extension's operations on its own packet.
#[derive(Clone, Copy, Default)]
pub struct Own {
    pub pool: usize,
    /// CopyNetBufferListInfo was called, with its flags.
    pub copied: Option<u32>,
    pub source_set: bool,
    /// The packet in ParentNetBufferList when it was sent.
    pub parent: usize,
    /// Whether all its bytes lie outside of packets of the switch.
    pub own_memory: bool,
    /// DataOffsetDelta of a fragment.
    pub fragment: Option<u32>,
}

/// The destinations of each frame of a list.
pub type Chosen = BTreeMap<FrameId, BTreeSet<NicId>>;

pub struct Packet {
    /// Number in order of creation, for messages.
    pub name: u64,
    pub switch: usize,
    pub nbl: *mut NetBufferList,
    pub place: PacketStage,
    pub own: Option<Own>,
    pub built: Option<Built>,
    pub context: Option<Context>,
    pub cover: Cover,
    pub before: Before,
    pub frames: Vec<FrameId>,
    /// Those of them that it has without the tag in their bytes.
    pub untagged: BTreeSet<FrameId>,
    /// Address of the first byte of each frame, which identifies it in a list that shares its memory.
    pub first_bytes: Vec<usize>,
    pub unsafe_bytes: Vec<UnsafeBytes>,
    pub source: NicId,
    /// Bits of the forwarding detail above the source: native, safe, sizes.
    pub detail_bits: u64,
    /// Whether it was reported as dropped as a whole.
    pub reported: bool,
    /// Destination ports for which it was reported as dropped.
    pub reported_ports: Vec<u32>,
    /// Direction (incoming, or for a destination) and port of the last report on ingress.
    pub blamed: Option<(bool, u32)>,
    /// An adapter that it goes to does not find one of its security associations, and fails it.
    pub unfound: bool,
    /// Frames that child lists of this one reported or carry.
    pub carried: Vec<FrameId>,
    pub children_out: u32,
    /// Whether the last attempt to map some of its memory failed.
    pub mapping_failed: bool,
    /// Whether a call about this packet failed as an injected fault.
    pub fault: bool,
    /// Generation of the topology when the extension got it.
    pub generation: u64,
    /// The same of all other switches together.
    pub elsewhere: u64,
    /// Whether the module was paused when the extension got it.
    pub given_while_paused: bool,
    /// NICs that are referenced until it is completed: source and destinations.
    pub pinned: Vec<NicId>,
    pub cancel_id: usize,
    /// Whether the extension got it in a chain of one list.
    pub alone: bool,
    /// Order number at which the extension got it.
    pub given: u64,
    /// Order number of the oldest call that was running then: what was given since may be treated after it.
    pub overlaps: u64,
    /// The out-of-band 802.1Q value on arrival from above.
    pub tag_given: u64,
    /// The same value when it was sent down.
    pub tag_below: u64,
    /// The destinations that the switch itself determined, without a forwarding extension.
    pub chosen: Option<Chosen>,
}

impl Packet {
    /// Whether the extension holds it on the ingress path, and it arrived through this queue of a member.
    pub fn waits_from(&self, module: usize, member: NicId, queue: u32) -> bool {
        let through = (self.before.info[info::FILTERING] >> 16) as u32 & 0xFFFF;
        let held = self.place == PacketStage::Ingress && self.own.is_none() && self.switch == module;
        held && self.source == member && through == queue
    }
}

pub const NATIVE: u64 = 1 << 40;
pub const SAFE: u64 = 1 << 42;
pub const SAFE_SIZE_SHIFT: u32 = 43;
/// What an extension says of the memory of its own list.
pub const OWN_DETAIL: u64 = SAFE | 0xFFF << SAFE_SIZE_SHIFT;
pub const UNCACHED: u64 = 1 << 55;
pub const SAFE_UNCACHED: u64 = 1 << 56;

impl Packet {
    pub fn new(name: u64, switch: usize, nbl: *mut NetBufferList, place: PacketStage) -> Self {
        Self {
            name,
            switch,
            nbl,
            place,
            own: None,
            built: None,
            context: None,
            cover: Cover::default(),
            before: Before::default(),
            frames: Vec::new(),
            untagged: BTreeSet::new(),
            first_bytes: Vec::new(),
            unsafe_bytes: Vec::new(),
            source: NicId::NOWHERE,
            detail_bits: 0,
            reported: false,
            reported_ports: Vec::new(),
            blamed: None,
            unfound: false,
            carried: Vec::new(),
            children_out: 0,
            mapping_failed: false,
            fault: false,
            generation: 0,
            elsewhere: 0,
            given_while_paused: false,
            pinned: Vec::new(),
            cancel_id: 0,
            alone: false,
            given: 0,
            overlaps: 0,
            tag_given: 0,
            tag_below: 0,
            chosen: None,
        }
    }

    pub fn is_native(&self) -> bool {
        self.detail_bits & NATIVE != 0
    }

    /// The forwarding detail as the switch wrote it.
    pub fn detail(&self) -> u64 {
        let available = self.context.as_ref().map_or(0, |c| u64::from(c.available().min(0xFFFF)));
        available
            | (u64::from(self.source.port) & 0xFFFF) << 16
            | (u64::from(self.source.index) & 0xFF) << 32
            | self.detail_bits
    }

    /// What an extension writes of the detail of its own list stays.
    pub fn write_detail(&mut self) {
        if self.own.is_some() {
            // SAFETY: the list is valid and not covered, because the caller works on a packet that the extension owns.
            let now = unsafe { (*self.nbl).info[info::SWITCH_FORWARDING_DETAIL] };
            self.detail_bits = self.detail_bits & !OWN_DETAIL | now & OWN_DETAIL;
        }
        self.reset_detail();
    }

    /// The same of a list that gets another one's detail.
    pub fn reset_detail(&self) {
        // SAFETY: the list is valid and not covered, because the caller works on a packet that the extension owns.
        unsafe { (*self.nbl).info[info::SWITCH_FORWARDING_DETAIL] = self.detail() };
    }

    /// Records the present contents of the list.
    pub fn remember(&mut self) {
        // SAFETY: the list is alive and not covered.
        unsafe {
            let list = &*self.nbl;
            self.before.source_handle = list.source_handle as usize;
            self.before.context = list.context as usize;
            self.before.info = list.info;
            self.before.child_refs = list.child_ref_count;
            let buffers = net_buffers(self.nbl, MOST_BUFFERS);
            self.before.buffers = buffers.into_iter().map(|nb| facts(nb)).collect();
        }
    }

    pub fn remember_bytes(&mut self) {
        self.before.bytes = if self.unsafe_bytes.is_empty() { self.bytes() } else { Vec::new() };
    }

    /// The bytes of every frame in it.
    pub fn bytes(&self) -> Vec<Vec<u8>> {
        // SAFETY: the list is alive and not covered.
        unsafe { net_buffers(self.nbl, MOST_BUFFERS).into_iter().map(|nb| read(nb)).collect() }
    }

    /// Changes a native packet as the switch does on egress: removes its outer headers.
    pub fn decapsulate(&mut self) {
        if !self.is_native() {
            return;
        }
        // SAFETY: the list is alive and not covered.
        unsafe {
            for nb in net_buffers(self.nbl, MOST_BUFFERS) {
                let bytes = crate::switch::nbl::segments(nb)
                    .into_iter()
                    .flat_map(|(at, length)| (0..length).map(move |i| at.add(i)));
                bytes.take(12).for_each(|byte| *byte ^= 0x04);
            }
        }
    }

    /// Overwrites the list with poison while another component owns it.
    pub(crate) fn lay_cover(&mut self, decoy: *mut NetBufferList) {
        // SAFETY: the list is alive; it is uncovered when it comes back.
        unsafe {
            let buffers = net_buffers(self.nbl, MOST_BUFFERS);
            self.cover.lay(self.nbl, &buffers, decoy);
        }
    }

    /// Restores the contents; returns the offset of the first byte written meanwhile.
    pub(crate) fn lift_cover(&mut self, decoy: *mut NetBufferList) -> Option<usize> {
        if !self.cover.is_laid() {
            return None;
        }
        // SAFETY: laid over memory that still lives.
        unsafe { self.cover.lift(decoy) }
    }

    /// Whether an address lies in the list's memory.
    pub fn holds(&self, address: usize) -> bool {
        self.built.as_ref().is_some_and(|built| built.block.contains(address))
    }

    pub fn source_handle(&self) -> Handle {
        // SAFETY: the list is alive and not covered.
        unsafe { (*self.nbl).source_handle }
    }
}

/// Limit for the number of NET_BUFFERs, larger than any list has.
const MOST_BUFFERS: usize = 64;

/// # Safety
/// `nb` is readable.
unsafe fn facts(nb: *mut NetBuffer) -> BufferFacts {
    // SAFETY: by the caller.
    let b = unsafe { &*nb };
    BufferFacts {
        nb,
        current_mdl: b.current_mdl,
        current_mdl_offset: b.current_mdl_offset,
        data_offset: b.data_offset,
        data_length: b.data_length,
    }
}

impl Packet {
    pub fn buffers_now(&self) -> Vec<BufferFacts> {
        // SAFETY: the list is alive and not covered.
        unsafe { net_buffers(self.nbl, MOST_BUFFERS).into_iter().map(|nb| facts(nb)).collect() }
    }
}

/// All packets, by address of their list.
#[derive(Default)]
pub struct Packets {
    by_address: FxHashMap<usize, Packet>,
    next_name: u64,
}

impl Packets {
    pub fn add(&mut self, switch: usize, nbl: *mut NetBufferList, place: PacketStage) -> &mut Packet {
        self.next_name += 1;
        let packet = Packet::new(self.next_name, switch, nbl, place);
        self.by_address.entry(nbl as usize).insert_entry(packet).into_mut()
    }

    pub fn get(&self, nbl: *mut NetBufferList) -> Option<&Packet> {
        self.by_address.get(&(nbl as usize))
    }

    pub fn get_mut(&mut self, nbl: *mut NetBufferList) -> Option<&mut Packet> {
        self.by_address.get_mut(&(nbl as usize))
    }

    pub fn at(&mut self, address: usize) -> Option<&mut Packet> {
        self.by_address.get_mut(&address)
    }

    pub fn remove(&mut self, nbl: *mut NetBufferList) -> Option<Packet> {
        self.by_address.remove(&(nbl as usize))
    }

    /// All packets, oldest first.
    pub fn all(&self) -> Vec<&Packet> {
        let mut all: Vec<_> = self.by_address.values().collect();
        all.sort_by_key(|packet| packet.name);
        all
    }

    pub fn all_mut(&mut self) -> impl Iterator<Item = &mut Packet> {
        self.by_address.values_mut()
    }

    pub fn is_empty(&self) -> bool {
        self.by_address.is_empty()
    }
}
