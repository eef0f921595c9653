//! The shadow of every NET_BUFFER_LIST: where it is, who may touch it, and what it held when it was handed over.
//!
//! `data`, `edges` and `handlers` move packets through the places; the shadow itself calls nobody.

use crate::switch::frames::FrameId;
use crate::switch::nbl::{Built, Cover, UnsafeBytes, net_buffers, read};
use crate::switch::ndis::array::Context;
use crate::switch::ports::NicId;
use lbfoext::ndis::raw::{Handle, INFO_SLOTS, Mdl, NetBuffer, NetBufferList, info};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Where a packet is on its way. The extension may touch it only in the places that name it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PacketStage {
    /// Own packet of the extension that is not out; the extension's.
    Idle,
    /// Given to FilterSend; the extension's.
    Ingress,
    /// Passed to NdisFSend; the miniport edge's.
    Below,
    /// Given to FilterReceive; the extension's.
    Egress,
    /// Passed to NdisFIndicateReceive; the destinations'.
    Delivered,
    /// Given to FilterReturn; the extension's.
    Returning,
    /// Passed to NdisFReturn; the miniport edge's.
    Settled,
    /// Given to FilterSendComplete; the extension's.
    Completing,
}

impl PacketStage {
    pub fn is_the_extensions(self) -> bool {
        matches!(self, Self::Idle | Self::Ingress | Self::Egress | Self::Returning | Self::Completing)
    }
}

/// A NET_BUFFER as it was.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BufferFacts {
    pub nb: *mut NetBuffer,
    pub current_mdl: *mut Mdl,
    pub current_mdl_offset: u32,
    pub data_offset: u32,
    pub data_length: u32,
}

/// What a list held when the extension got it.
#[derive(Clone, Default)]
pub struct Before {
    pub source_handle: usize,
    pub context: usize,
    pub buffers: Vec<BufferFacts>,
    pub info: [u64; INFO_SLOTS],
    pub child_refs: i32,
    /// The packet's bytes; empty where a guest goes on writing them.
    pub bytes: Vec<Vec<u8>>,
}

/// What the extension did with a packet of its own.
#[derive(Clone, Copy, Default)]
pub struct Own {
    pub pool: usize,
    /// CopyNetBufferListInfo was called, with its flags.
    pub copied: Option<u32>,
    pub source_set: bool,
    /// The packet that ParentNetBufferList named when it was sent.
    pub parent: usize,
    /// All of its bytes lie in memory that is not a packet of the switch.
    pub own_memory: bool,
}

/// The destinations of each frame of a list.
pub type Chosen = BTreeMap<FrameId, BTreeSet<NicId>>;

pub struct Packet {
    /// Number in order of first sight, for messages.
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
    /// First byte of each frame, to know it again in a list that shares its memory.
    pub first_bytes: Vec<usize>,
    pub unsafe_bytes: Vec<UnsafeBytes>,
    pub source: NicId,
    /// Bits of the detail above the source: native, safe, sizes.
    pub detail_bits: u64,
    /// It was reported as dropped as a whole.
    pub reported: bool,
    /// Destination ports that were reported as not served.
    pub reported_ports: Vec<u32>,
    /// The side and the port that the last report on ingress named: incoming, or for a destination.
    pub blamed: Option<(bool, u32)>,
    /// Frames reported or carried away by lists that name this one as parent.
    pub carried: Vec<FrameId>,
    pub children_out: u32,
    /// The last attempt to map some of its memory failed.
    pub mapping_failed: bool,
    /// A call about this packet failed because the test wanted it so.
    pub fault: bool,
    /// Generation of the topology when the extension got it.
    pub generation: u64,
    /// Module state and call in which the extension got it.
    pub given_while_paused: bool,
    /// References on source and destinations are held until it completes.
    pub pinned: Vec<NicId>,
    pub cancel_id: usize,
    /// The extension got it in a chain of its own.
    pub alone: bool,
    /// Order number at which the extension got it.
    pub given: u64,
    /// The slot for 802.1Q as it came from above.
    pub tag_given: u64,
    /// The same when it was sent down.
    pub tag_below: u64,
    /// Where the switch itself sends each of its frames, if no extension is there for that.
    pub chosen: Option<Chosen>,
}

impl Packet {
    /// The extension holds it on its way in, and it came through this queue of a member.
    pub fn waits_from(&self, module: usize, member: NicId, queue: u32) -> bool {
        let through = (self.before.info[info::FILTERING] >> 16) as u32 & 0xFFFF;
        let held = self.place == PacketStage::Ingress && self.own.is_none() && self.switch == module;
        held && self.source == member && through == queue
    }
}

pub const NATIVE: u64 = 1 << 40;
pub const SAFE: u64 = 1 << 42;
pub const SAFE_SIZE_SHIFT: u32 = 43;
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
            first_bytes: Vec::new(),
            unsafe_bytes: Vec::new(),
            source: NicId::NOWHERE,
            detail_bits: 0,
            reported: false,
            reported_ports: Vec::new(),
            blamed: None,
            carried: Vec::new(),
            children_out: 0,
            mapping_failed: false,
            fault: false,
            generation: 0,
            given_while_paused: false,
            pinned: Vec::new(),
            cancel_id: 0,
            alone: false,
            given: 0,
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

    pub fn write_detail(&self) {
        // SAFETY: the list is alive and not covered: the caller works on a packet in the extension's hands.
        unsafe { (*self.nbl).info[info::SWITCH_FORWARDING_DETAIL] = self.detail() };
    }

    /// Notes what the list holds now.
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

    /// What a native packet looks like on its way up: the switch took its outer headers off.
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

    /// Covers the list while it belongs to others.
    pub(crate) fn lay_cover(&mut self, decoy: *mut NetBufferList) {
        // SAFETY: the list is alive; it is uncovered when it comes back.
        unsafe {
            let buffers = net_buffers(self.nbl, MOST_BUFFERS);
            self.cover.lay(self.nbl, &buffers, decoy);
        }
    }

    /// Lifts the cover; the offset of the first byte written meanwhile.
    pub(crate) fn lift_cover(&mut self, decoy: *mut NetBufferList) -> Option<usize> {
        if !self.cover.is_laid() {
            return None;
        }
        // SAFETY: laid over memory that still lives.
        unsafe { self.cover.lift(decoy) }
    }

    /// Pointers to the list's memory the extension could confuse with its own.
    pub fn holds(&self, address: usize) -> bool {
        self.built.as_ref().is_some_and(|built| built.block.contains(address))
    }

    pub fn source_handle(&self) -> Handle {
        // SAFETY: the list is alive and not covered.
        unsafe { (*self.nbl).source_handle }
    }
}

/// More NET_BUFFERs than any list here has.
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

/// All packets that are alive, by the address of their list.
#[derive(Default)]
pub struct Packets {
    by_address: HashMap<usize, Packet>,
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
