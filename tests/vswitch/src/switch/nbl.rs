//! The memory of packets: NET_BUFFER_LIST, NET_BUFFER, MDL and bytes, in every layout that NDIS allows.
//!
//! Allocates packets, overwrites a packet's structures with poison while another component owns it, and changes unsafe
//! bytes as a guest would. `ndis` decides when; this module does not call the driver and checks no rule.

use lbfoext::ndis::raw::{Mdl, MdlFlags, NetBuffer, NetBufferList};
use std::alloc::{Layout, alloc, dealloc};
use std::collections::VecDeque;
use std::ptr;

pub const NBL_SIZE: usize = 336;
pub const NB_SIZE: usize = 176;
const MDL_SIZE: usize = 48;
/// Value that overwrites memory while another component owns it.
pub const POISON: u8 = 0xDB;
/// Value of unused memory in a packet's buffers.
const SLACK: u8 = 0xEE;

/// The layout of one NET_BUFFER's bytes in MDLs.
#[derive(Clone, Debug, Default)]
pub struct Shape {
    /// Unused bytes before the packet: the last value at the start of the current MDL, the others as whole MDLs.
    pub lead_mdls: Vec<usize>,
    pub headroom: usize,
    /// Lengths of the first pieces of the packet; the rest is the last piece.
    pub pieces: Vec<usize>,
    /// Unused bytes after the packet in the last MDL.
    pub tail: usize,
    /// The MDLs are not mapped: a reader must map them.
    pub unmapped: bool,
}

impl Shape {
    /// A random layout; `random` returns a number below its argument.
    pub fn awkward(length: usize, mut random: impl FnMut(u64) -> u64) -> Self {
        let mut shape = Self { unmapped: random(4) == 0, ..Self::default() };
        let mut below = |n: usize| usize::try_from(random(n as u64)).unwrap_or(0);
        match below(6) {
            0 => {}
            1 => shape.headroom = 1 + below(64),
            2 => {
                shape.lead_mdls = vec![1 + below(32), below(16)];
                shape.headroom = below(8);
            }
            3 => shape.pieces = vec![1 + below(7), 1 + below(9), 1 + below(5), 1 + below(20)],
            4 => {
                shape.headroom = below(20);
                shape.pieces = vec![14, 20];
            }
            _ => {
                shape.lead_mdls = vec![10];
                shape.pieces = vec![13, 0, 2, 17];
            }
        }
        shape.tail = below(3) * 11;
        let mut left = length;
        for piece in &mut shape.pieces {
            *piece = (*piece).min(left);
            left -= *piece;
        }
        shape
    }
}

/// The memory of one packet; freed on drop.
pub struct Block {
    memory: *mut u8,
    layout: Layout,
}

impl Block {
    fn new(bytes: usize) -> Self {
        let Ok(layout) = Layout::from_size_align(bytes.max(16), 16) else {
            unreachable!("a packet is far smaller than the address space")
        };
        // SAFETY: the layout is not empty.
        let memory = unsafe { alloc(layout) };
        assert!(!memory.is_null(), "the host has no memory left");
        // SAFETY: the block was just allocated with this size.
        unsafe { ptr::write_bytes(memory, SLACK, bytes) };
        Self { memory, layout }
    }

    pub fn contains(&self, address: usize) -> bool {
        (self.memory as usize..self.memory as usize + self.layout.size()).contains(&address)
    }

    fn fill(&self, byte: u8) {
        // SAFETY: the block lives and has this size.
        unsafe { ptr::write_bytes(self.memory, byte, self.layout.size()) };
    }

    fn is_filled_with(&self, byte: u8) -> bool {
        // SAFETY: the block lives, is initialised and has this size.
        let bytes = unsafe { std::slice::from_raw_parts(self.memory, self.layout.size()) };
        // All bytes at once, which takes a sixteenth of the time of one by one until the first that differs.
        bytes.iter().fold(0, |differing, b| differing | (b ^ byte)) == 0
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout in `new`.
        unsafe { dealloc(self.memory, self.layout) };
    }
}

/// Memory of completed packets: overwritten with poison, and checked once more before it is freed.
#[derive(Default)]
pub struct Quarantine(VecDeque<Block>);

impl Quarantine {
    const DEPTH: usize = 512;

    /// Adds a block; false if the oldest one was written to since it was added.
    #[must_use]
    pub fn push(&mut self, block: Block) -> bool {
        block.fill(POISON);
        self.0.push_back(block);
        self.0.len() <= Self::DEPTH || self.0.pop_front().is_none_or(|old| old.is_filled_with(POISON))
    }

    /// Removes all blocks; returns the number of blocks that were written to.
    pub fn drain(&mut self) -> usize {
        self.0.drain(..).filter(|block| !block.is_filled_with(POISON)).count()
    }
}

/// A NET_BUFFER_LIST of the switch with its NET_BUFFERs and MDLs.
pub struct Built {
    pub block: Block,
    pub nbl: *mut NetBufferList,
    pub mdls: Vec<*mut Mdl>,
}

/// Builds one list with one NET_BUFFER for each frame.
pub fn build(frames: &[(&[u8], Shape)]) -> Built {
    let mdl_count: usize = frames.iter().map(|(_, s)| s.lead_mdls.len() + s.pieces.len() + 1).sum();
    let data: usize =
        frames.iter().map(|(b, s)| b.len() + s.headroom + s.tail + s.lead_mdls.iter().sum::<usize>()).sum();
    let nbs = NBL_SIZE;
    let mdls = nbs + frames.len() * NB_SIZE;
    let bytes = mdls + mdl_count * MDL_SIZE;
    let block = Block::new(bytes + data + 16);
    // SAFETY (for the pointer arithmetic of this function): every offset lies inside the block, whose size was
    // computed from the same numbers, and NET_BUFFER_LIST, NET_BUFFER and MDL start at multiples of 16.
    let at = |offset: usize| unsafe { block.memory.add(offset) };
    let nbl = at(0).cast::<NetBufferList>();
    let mut list = NetBufferList::ZERO;
    list.first_net_buffer = at(nbs).cast();
    let mut built = Vec::with_capacity(mdl_count);
    let mut next_byte = bytes;
    for (index, (frame, shape)) in frames.iter().enumerate() {
        let first = built.len();
        let mut current = 0;
        let mut position = 0;
        for piece in pieces(frame.len(), shape) {
            let mdl = at(mdls + built.len() * MDL_SIZE).cast::<Mdl>();
            let start = at(next_byte);
            let copy = piece.length - piece.before - piece.after;
            // SAFETY: source and destination hold `copy` bytes; MDL and data lie in this block.
            unsafe {
                ptr::copy_nonoverlapping(frame[position..].as_ptr(), start.add(piece.before), copy);
                mdl.write(make_mdl(start, piece.length, shape.unmapped));
            }
            if piece.is_current {
                current = built.len();
            }
            position += copy;
            next_byte += piece.length;
            built.push(mdl);
        }
        link(&built[first..]);
        let mut nb = NetBuffer::ZERO;
        nb.mdl_chain = built[first];
        nb.current_mdl = built[current];
        nb.current_mdl_offset = u32_of(shape.headroom);
        nb.data_offset = u32_of(shape.headroom + shape.lead_mdls.iter().sum::<usize>());
        nb.data_length = u32_of(frame.len());
        if index + 1 < frames.len() {
            nb.next = at(nbs + (index + 1) * NB_SIZE).cast();
        }
        // SAFETY: the place of NET_BUFFER `index` in the block.
        unsafe { at(nbs + index * NB_SIZE).cast::<NetBuffer>().write(nb) };
    }
    // SAFETY: the first structure of the block.
    unsafe { nbl.write(list) };
    Built { block, nbl, mdls: built }
}

/// One MDL of a NET_BUFFER: `before` unused bytes, packet bytes, `after` unused bytes.
struct Piece {
    length: usize,
    before: usize,
    after: usize,
    is_current: bool,
}

fn pieces(length: usize, shape: &Shape) -> Vec<Piece> {
    let mut all: Vec<Piece> = (shape.lead_mdls.iter())
        .map(|&length| Piece { length, before: length, after: 0, is_current: false })
        .collect();
    let rest = length - shape.pieces.iter().sum::<usize>();
    let lengths = shape.pieces.iter().copied().chain([rest]);
    let last = shape.pieces.len();
    for (index, length) in lengths.enumerate() {
        let before = if index == 0 { shape.headroom } else { 0 };
        let after = if index == last { shape.tail } else { 0 };
        all.push(Piece { length: before + length + after, before, after, is_current: index == 0 });
    }
    all
}

fn make_mdl(start: *mut u8, length: usize, unmapped: bool) -> Mdl {
    let mut mdl = Mdl::ZERO;
    // Page base and offset within the page, as in a real MDL.
    mdl.start_va = (start as usize & !0xFFF) as *mut u8;
    mdl.byte_offset = u32_of(start as usize & 0xFFF);
    mdl.byte_count = u32_of(length);
    mdl.size = 48;
    if unmapped {
        mdl.mapped_system_va = ptr::without_provenance_mut(0xDBDB_DBDB_DBDB);
    } else {
        mdl.mapped_system_va = start;
        mdl.mdl_flags = MdlFlags::MAPPED_TO_SYSTEM_VA;
    }
    mdl
}

fn link(mdls: &[*mut Mdl]) {
    for pair in mdls.windows(2) {
        // SAFETY: both were written by `build`.
        unsafe { (*pair[0]).next = pair[1] };
    }
}

fn u32_of(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

/// The address of an MDL's bytes, mapped or not.
fn bytes_of(mdl: &Mdl) -> *mut u8 {
    (mdl.start_va as usize + mdl.byte_offset as usize) as *mut u8
}

/// The NET_BUFFERs of a list; stops at `limit`, so that a damaged list ends.
///
/// # Safety
/// `nbl` and its NET_BUFFERs are readable.
pub unsafe fn net_buffers(nbl: *mut NetBufferList, limit: usize) -> Vec<*mut NetBuffer> {
    let mut all = Vec::new();
    // SAFETY: by the caller.
    let mut nb = unsafe { (*nbl).first_net_buffer };
    while !nb.is_null() && all.len() < limit {
        all.push(nb);
        // SAFETY: by the caller.
        nb = unsafe { (*nb).next };
    }
    all
}

/// The pieces of memory that hold a NET_BUFFER's packet, in order.
///
/// # Safety
/// The NET_BUFFER, its MDLs and their bytes are readable.
pub unsafe fn segments(nb: *const NetBuffer) -> Vec<(*mut u8, usize)> {
    let mut found = Vec::new();
    // SAFETY: by the caller.
    let (mut mdl, mut skip, mut left) =
        unsafe { ((*nb).current_mdl, (*nb).current_mdl_offset as usize, (*nb).data_length as usize) };
    while left > 0 && !mdl.is_null() && found.len() < 256 {
        // SAFETY: by the caller.
        let this = unsafe { *mdl };
        let length = (this.byte_count as usize).saturating_sub(skip).min(left);
        if length > 0 {
            found.push(((bytes_of(&this) as usize + skip) as *mut u8, length));
        }
        left -= length;
        skip = 0;
        mdl = this.next;
    }
    found
}

/// The packet's bytes.
///
/// # Safety
/// As for `segments`.
pub unsafe fn read(nb: *const NetBuffer) -> Vec<u8> {
    let mut bytes = Vec::new();
    // SAFETY: by the caller.
    for (start, length) in unsafe { segments(nb) } {
        // SAFETY: by the caller; copied, because a guest may be writing.
        bytes.extend_from_slice(unsafe { std::slice::from_raw_parts(start, length) });
    }
    bytes
}

/// Bytes of a packet that its guest keeps changing: two versions of the packet, of which memory has one.
pub struct UnsafeBytes {
    pub versions: [Vec<u8>; 2],
    safe: usize,
    segments: Vec<(*mut u8, usize)>,
    pub shown: usize,
    pub flips: u64,
}

impl UnsafeBytes {
    /// The bytes of the packet in `nb` from `safe` on alternate between the two versions.
    ///
    /// # Safety
    /// As for `segments`, as long as the value is used.
    pub unsafe fn new(nb: *const NetBuffer, versions: [Vec<u8>; 2], safe: usize) -> Self {
        // SAFETY: by the caller.
        Self { versions, safe, segments: unsafe { segments(nb) }, shown: 0, flips: 0 }
    }

    pub fn flip(&mut self) {
        self.flips += 1;
        self.show(1 - self.shown);
    }

    /// Writes one version to memory.
    pub fn show(&mut self, version: usize) {
        self.shown = version;
        let bytes = &self.versions[version];
        let mut position = 0;
        for &(start, length) in &self.segments {
            let skip = self.safe.saturating_sub(position).min(length);
            let end = (position + length).min(bytes.len());
            for offset in skip..end.saturating_sub(position) {
                // SAFETY: the segment has `length` bytes by the contract of `new`; a reader may be at work, as
                // with a real guest, so every byte is written as one.
                unsafe { ptr::write_volatile(start.add(offset), bytes[position + offset]) };
            }
            position += length;
        }
    }
}

/// The contents of a packet's structures when their ownership was passed, to be restored when it returns.
#[derive(Default)]
pub struct Cover {
    saved: Vec<(*mut u8, Vec<u8>)>,
}

impl Cover {
    /// Overwrites the list and its NET_BUFFERs with poison; its pointers then lead to `decoy`.
    ///
    /// # Safety
    /// The structures are writable until `lift`.
    pub unsafe fn lay(&mut self, nbl: *mut NetBufferList, nbs: &[*mut NetBuffer], decoy: *mut NetBufferList) {
        self.saved.clear();
        // SAFETY: by the caller.
        unsafe {
            self.save(nbl.cast(), NBL_SIZE);
            for &nb in nbs {
                self.save(nb.cast(), NB_SIZE);
            }
            (*nbl).next = decoy;
            (*nbl).first_net_buffer = (*decoy).first_net_buffer;
        }
    }

    unsafe fn save(&mut self, memory: *mut u8, length: usize) {
        // SAFETY: by the caller of `lay`.
        unsafe {
            self.saved.push((memory, std::slice::from_raw_parts(memory, length).to_vec()));
            ptr::write_bytes(memory, POISON, length);
        }
    }

    pub fn is_laid(&self) -> bool {
        !self.saved.is_empty()
    }

    /// Restores the contents; returns the offset of the first byte (list first, then NET_BUFFERs) that was written
    /// meanwhile, if any.
    ///
    /// # Safety
    /// As for `lay`.
    pub unsafe fn lift(&mut self, decoy: *mut NetBufferList) -> Option<usize> {
        let mut touched = None;
        let mut base = 0;
        for (index, (memory, saved)) in self.saved.drain(..).enumerate() {
            // SAFETY: by the caller.
            let now = unsafe { std::slice::from_raw_parts(memory, saved.len()) };
            let mut expected = vec![POISON; saved.len()];
            if index == 0 {
                expected[..8].copy_from_slice(&(decoy as usize).to_le_bytes());
                // SAFETY: the decoy lives as long as the world.
                let first = unsafe { (*decoy).first_net_buffer } as usize;
                expected[8..16].copy_from_slice(&first.to_le_bytes());
            }
            if now != expected {
                let offset = now.iter().zip(&expected).position(|(a, b)| a != b);
                touched = touched.or(offset.map(|offset| base + offset));
            }
            base += saved.len();
            // SAFETY: by the caller.
            unsafe { ptr::copy_nonoverlapping(saved.as_ptr(), memory, saved.len()) };
        }
        touched
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(length: usize) -> Vec<u8> {
        (0..length).map(|i| u8::try_from(i % 251).unwrap()).collect()
    }

    #[test]
    fn every_shape_reads_back_as_the_same_bytes() {
        let mut state = 1_u64;
        let mut random = move |n: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) % n
        };
        for length in [14, 15, 60, 64, 1514] {
            for _ in 0..200 {
                let bytes = frame(length);
                let shapes = [Shape::awkward(length, &mut random), Shape::awkward(length, &mut random)];
                let [one, two] = shapes;
                let built = build(&[(&bytes, one), (&bytes, two)]);
                // SAFETY: the block lives.
                unsafe {
                    let nbs = net_buffers(built.nbl, 10);
                    assert_eq!(nbs.len(), 2);
                    for nb in nbs {
                        assert_eq!(read(nb), bytes);
                    }
                }
            }
        }
    }

    #[test]
    fn a_cover_notices_writes_and_restores_what_it_covered() {
        let bytes = frame(60);
        let decoy = build(&[(&bytes, Shape::default())]);
        let built = build(&[(&bytes, Shape::default())]);
        let mut cover = Cover::default();
        // SAFETY: both blocks live.
        unsafe {
            let nbs = net_buffers(built.nbl, 10);
            cover.lay(built.nbl, &nbs, decoy.nbl);
            assert_eq!((*built.nbl).next, decoy.nbl);
            assert_eq!(cover.lift(decoy.nbl), None);
            assert_eq!(read((*built.nbl).first_net_buffer), bytes);
            cover.lay(built.nbl, &nbs, decoy.nbl);
            (*built.nbl).status = 7;
            assert_eq!(cover.lift(decoy.nbl), Some(140));
        }
    }

    #[test]
    fn a_guest_changes_only_what_lies_past_the_safe_bytes() {
        let one = frame(60);
        let mut two = one.clone();
        two[36] = 0xFF;
        two[3] = 0xFF;
        let shape = Shape { pieces: vec![5, 30, 2], ..Shape::default() };
        let built = build(&[(&one, shape)]);
        // SAFETY: the block lives.
        unsafe {
            let nb = (*built.nbl).first_net_buffer;
            let mut bytes = UnsafeBytes::new(nb, [one.clone(), two], 14);
            bytes.flip();
            let seen = read(nb);
            assert_eq!((seen[36], seen[3]), (0xFF, 3));
            bytes.flip();
            assert_eq!(read(nb), one);
        }
    }

    #[test]
    fn quarantine_tells_of_late_writes() {
        let bytes = frame(60);
        let built = build(&[(&bytes, Shape::default())]);
        let nbl = built.nbl;
        let mut quarantine = Quarantine::default();
        assert!(quarantine.push(built.block));
        // SAFETY: the quarantine keeps the memory.
        unsafe { (*nbl).status = 1 };
        assert_eq!(quarantine.drain(), 1);
    }
}
