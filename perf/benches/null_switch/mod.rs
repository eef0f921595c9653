//! The smallest kernel, NDIS and switch on which the driver runs: functions without checks, for one thread and without
//! locks unless `LOCKING` is on, so that a benchmark measures the driver and not its environment. It defines the
//! imported symbols itself; the simulated switch is not linked.

#![allow(non_snake_case, reason = "documented names of Windows functions")]
#![allow(dead_code, reason = "each benchmark uses its part")]
#![allow(clippy::missing_safety_doc, reason = "the driver is the only caller")]

mod kernel;
mod locks;
mod ndis;
mod pool;
pub mod probe;
mod requests;

#[allow(unused_imports, reason = "each benchmark uses its part")]
pub use {
    kernel::{GAP_US, MODE, NOW, PROCESSOR, PROCESSORS},
    locks::{LOCKING, WAITED},
    ndis::{EXTERNAL_PORT, NullSwitch, Vnic},
};

use lbfoext::ndis::raw::{Mdl, MdlFlags, NetBuffer, NetBufferList, info};

/// NET_BUFFER_LISTs that can be sent repeatedly.
#[expect(clippy::vec_box, reason = "the driver keeps addresses of the lists")]
pub struct Lists {
    lists: Vec<Box<List>>,
    /// Free destination elements of each list.
    slots: u64,
}

#[repr(C, align(16))]
struct List {
    nbl: NetBufferList,
    buffer: NetBuffer,
    mdl: Mdl,
    context: ndis::Context,
    bytes: Box<[u8]>,
    /// Memory of lists with more than one packet or MDL.
    extra: Option<Box<Extra>>,
}

struct Extra {
    /// The second and third MDL of a packet.
    pieces: [Mdl; 2],
    /// The second packet of a list.
    buffer: NetBuffer,
    mdl: Mdl,
    bytes: Box<[u8]>,
}

/// `IsPacketDataSafe`.
const DATA_SAFE: u64 = 1 << 42;

impl Lists {
    /// One list for each frame, from the vNIC on `port`.
    pub fn new(frames: &[Vec<u8>], port: u16) -> Self {
        let mut lists: Vec<_> = frames.iter().map(|frame| List::new(frame, port)).collect();
        for list in &mut lists {
            list.link();
        }
        Self { lists, slots: 1 }
    }

    /// The same, with free destination elements for a flood.
    pub fn with_room(frames: &[Vec<u8>], port: u16) -> Self {
        let mut lists = Self::new(frames, port);
        lists.slots = ndis::ROOM as u64;
        lists.lists.iter_mut().for_each(|list| list.context.room = Some(ndis::Room::new()));
        lists
    }

    /// As if they came in through this member.
    pub fn through(mut self, index: u8) -> Self {
        for list in &mut self.lists {
            list.nbl.info[info::SWITCH_FORWARDING_DETAIL] |= u64::from(index) << 32;
        }
        self
    }

    /// From the vNICs on ports 5, 6 and so on in turn, with their addresses.
    pub fn mixed(mut self, sources: u16) -> Self {
        for (list, port) in self.lists.iter_mut().zip((5..5 + sources).cycle()) {
            let detail = &mut list.nbl.info[info::SWITCH_FORWARDING_DETAIL];
            *detail = *detail & !0xFFFF_0000 | u64::from(port) << 16;
            list.bytes[10..12].copy_from_slice(&port.to_be_bytes());
        }
        self
    }

    /// In a random order, as a switch hands lists out after a while: one that follows another lies anywhere.
    pub fn shuffled(mut self) -> Self {
        let mut random = 2_463_534_242_u32;
        for at in (1..self.lists.len()).rev() {
            random ^= random << 13;
            random ^= random >> 17;
            random ^= random << 5;
            self.lists.swap(at, random as usize % (at + 1));
        }
        self
    }

    /// Marks the bytes as memory to which guests can write.
    pub fn unsafe_data(mut self) -> Self {
        for list in &mut self.lists {
            list.nbl.info[info::SWITCH_FORWARDING_DETAIL] &= !DATA_SAFE;
        }
        self
    }

    /// Splits each packet into three MDLs: 14 bytes, 24 bytes, the rest.
    pub fn in_pieces(mut self) -> Self {
        for list in &mut self.lists {
            let whole = list.mdl;
            let piece = |from: usize, to: usize| Mdl {
                mapped_system_va: whole.mapped_system_va.wrapping_add(from),
                byte_count: (to - from) as u32,
                ..whole
            };
            let extra = list.extra.insert(Box::new(Extra {
                pieces: [piece(14, 38), piece(38, whole.byte_count as usize)],
                buffer: NetBuffer::ZERO,
                mdl: Mdl::ZERO,
                bytes: Box::default(),
            }));
            list.mdl.byte_count = 14;
            list.mdl.next = &raw mut extra.pieces[0];
            extra.pieces[0].next = &raw mut extra.pieces[1];
        }
        self
    }

    /// Adds a second packet to each list, from `frames` in turn.
    pub fn with_second(mut self, frames: &[Vec<u8>]) -> Self {
        for (list, frame) in self.lists.iter_mut().zip(frames) {
            let extra = list.extra.insert(Box::new(Extra {
                pieces: [Mdl::ZERO; 2],
                buffer: NetBuffer { data_length: frame.len() as u32, ..NetBuffer::ZERO },
                mdl: Mdl { byte_count: frame.len() as u32, ..list.mdl },
                bytes: frame.as_slice().into(),
            }));
            extra.mdl.mapped_system_va = extra.bytes.as_mut_ptr();
            extra.buffer.current_mdl = &raw mut extra.mdl;
            extra.buffer.mdl_chain = &raw mut extra.mdl;
            list.buffer.next = &raw mut extra.buffer;
        }
        self
    }

    /// Links the lists `from..from + count` into a chain without destinations; returns its head.
    pub fn chain(&mut self, from: usize, count: usize) -> *mut NetBufferList {
        let mut next = core::ptr::null_mut();
        for list in self.lists[from..from + count].iter_mut().rev() {
            list.nbl.next = next;
            let detail = &mut list.nbl.info[info::SWITCH_FORWARDING_DETAIL];
            *detail = *detail & !0xFFFF | self.slots;
            list.context.destinations = 0;
            next = &raw mut list.nbl;
        }
        next
    }

    /// Number of destinations that the list got since it was last linked.
    pub fn destinations(&self, list: usize) -> u32 {
        self.lists[list].context.destinations
    }

    pub fn len(&self) -> usize {
        self.lists.len()
    }
}

impl List {
    fn new(frame: &[u8], port: u16) -> Box<Self> {
        let mut nbl = NetBufferList::ZERO;
        nbl.info[info::SWITCH_FORWARDING_DETAIL] = 1 | u64::from(port) << 16 | DATA_SAFE;
        Box::new(Self {
            nbl,
            buffer: NetBuffer { data_length: frame.len() as u32, ..NetBuffer::ZERO },
            mdl: Mdl {
                mdl_flags: MdlFlags::SOURCE_IS_NONPAGED_POOL,
                byte_count: frame.len() as u32,
                ..Mdl::ZERO
            },
            context: ndis::Context::default(),
            bytes: frame.into(),
            extra: None,
        })
    }

    fn link(&mut self) {
        self.mdl.mapped_system_va = self.bytes.as_mut_ptr();
        self.buffer.current_mdl = &raw mut self.mdl;
        self.buffer.mdl_chain = &raw mut self.mdl;
        self.nbl.first_net_buffer = &raw mut self.buffer;
        self.nbl.context = (&raw mut self.context).cast();
    }
}
