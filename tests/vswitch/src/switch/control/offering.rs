//! What the switch offers an extension to save into, in every shape that the pages give a request for saved data.
//!
//! OutputBufferLength is what an extension may write (ns-oidrequest-ndis_oid_request). Header.Size is the full buffer
//! (managing-hyper-v-extensible-switch-run-time-data) or the structure without its data
//! (ns-ntddndis-_ndis_switch_nic_save_state). SaveDataSize is the room that is provided (oid-switch-nic-save) or, as
//! long as nothing is saved, zero.

use crate::switch::control::payload;
use crate::switch::ports::NicId;
use lbfoext::ndis::raw::{NicSaveState, ObjectHeader, object_type};
use std::mem::offset_of;

/// Size of the structure without data, revision 1.
pub const FIXED: usize = NicSaveState::SIZE_REVISION_1 as usize;
/// Value of bytes in a buffer that were not written.
pub const FILL: u8 = 0xC6;

/// How far a length of the request reaches.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Extent {
    /// The structure's own members.
    Structure,
    /// The room for data.
    Data,
    /// Bytes behind that room.
    Buffer,
}

/// Which of its lengths a request states, and how.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Shape {
    pub header: Extent,
    /// OutputBufferLength; never the structure alone.
    pub output: Extent,
    /// InputBufferLength.
    pub input: Extent,
    /// SaveDataSize is the room; otherwise it is zero.
    pub tells_room: bool,
}

impl Shape {
    /// All lengths are those of the buffer.
    pub const PLAIN: Self =
        Self { header: Extent::Buffer, output: Extent::Buffer, input: Extent::Buffer, tells_room: true };

    pub fn all() -> impl Iterator<Item = Self> {
        use Extent::{Buffer, Data, Structure};
        let lengths = [Structure, Data, Buffer]
            .into_iter()
            .flat_map(|header| [Data, Buffer].map(|output| (header, output)))
            .flat_map(|(header, output)| [Structure, Data, Buffer].map(|input| (header, output, input)));
        lengths.flat_map(|(header, output, input)| {
            [true, false].map(|tells_room| Self { header, output, input, tells_room })
        })
    }

    /// One of them; `draw` gives a number below its argument.
    pub fn drawn(draw: impl FnOnce(u64) -> u64) -> Self {
        let all: Vec<Self> = Self::all().collect();
        all[draw(all.len() as u64) as usize]
    }
}

/// What the switch offers an extension to save into.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Offering {
    /// Bytes of data in the first round.
    pub room: usize,
    /// Bytes between the structure and the data.
    pub gap: usize,
    /// Bytes behind the room for data.
    pub guard: usize,
    /// 1, or 2 with `SaveDataSizeOverflow`.
    pub revision: u8,
    /// `None`: as the seed says, anew for each save.
    pub shape: Option<Shape>,
}

impl Default for Offering {
    fn default() -> Self {
        Self { room: 0, gap: 0, guard: 24, revision: 1, shape: None }
    }
}

impl Offering {
    fn shape(&self) -> Shape {
        self.shape.unwrap_or(Shape::PLAIN)
    }

    /// The size of the structure without data.
    const fn own(&self) -> usize {
        FIXED + if self.revision >= 2 { 4 } else { 0 }
    }

    pub const fn offset(&self) -> usize {
        self.own() + self.gap
    }

    fn reach(&self, extent: Extent, room: usize) -> usize {
        match extent {
            Extent::Structure => self.own(),
            Extent::Data => self.offset() + room,
            Extent::Buffer => self.offset() + room + self.guard,
        }
    }

    /// InputBufferLength and OutputBufferLength of a request that offers `room` bytes.
    pub fn lengths(&self, room: usize) -> (usize, usize) {
        let Shape { input, output, .. } = self.shape();
        (self.reach(input, room), self.reach(output, room))
    }

    /// The bytes that an extension may write from SaveDataOffset on: no length of the request denies them.
    pub fn usable(&self, room: usize) -> usize {
        let (shape, (_, output)) = (self.shape(), self.lengths(room));
        let size = self.reach(shape.header, room);
        let end = if size > self.own() { size.min(output) } else { output };
        let data = end.saturating_sub(self.offset());
        if shape.tells_room && room != 0 { data.min(room) } else { data }
    }

    /// The buffer holds `need` bytes of data, but a length of the request denies them: they can neither be written nor
    /// demanded.
    pub fn denies(&self, need: usize) -> bool {
        let (_, output) = self.lengths(self.room);
        self.usable(self.room) < need && self.offset() + need <= output
    }

    /// The payload of a request that offers `room` bytes for a NIC.
    pub(super) fn structure(&self, nic: NicId, room: usize) -> Vec<u8> {
        let total = self.reach(Extent::Buffer, room);
        let mut bytes = vec![FILL; total];
        let size = u16::try_from(self.reach(self.shape().header, room)).unwrap_or(u16::MAX);
        let header = ObjectHeader::new(object_type::DEFAULT, self.revision, size);
        bytes[..4].copy_from_slice(&payload::bytes_of(&header));
        bytes[4..8].fill(0);
        bytes[8..12].copy_from_slice(&nic.port.to_le_bytes());
        bytes[12..14].copy_from_slice(&nic.index.to_le_bytes());
        let mut put = |at: usize, value: usize| {
            bytes[at..at + 2].copy_from_slice(&u16::try_from(value).unwrap_or(u16::MAX).to_le_bytes());
        };
        put(offset_of!(NicSaveState, save_data_size), if self.shape().tells_room { room } else { 0 });
        put(offset_of!(NicSaveState, save_data_offset), self.offset());
        if self.revision >= 2 {
            bytes[FIXED..FIXED + 4].fill(0);
        }
        bytes
    }
}

/// Where another extension of the stack finds room in a request with this OutputBufferLength: offset and bytes.
pub(crate) fn room_of(bytes: &[u8], output: usize) -> (usize, usize) {
    let own = if bytes[1] >= 2 { FIXED + 4 } else { FIXED };
    let (size, at) = (word(bytes, 2), word(bytes, offset_of!(NicSaveState, save_data_offset)));
    let end = if size > own { size.min(output) } else { output };
    let told = word(bytes, offset_of!(NicSaveState, save_data_size))
        + if bytes[1] >= 2 { u32::from_le_bytes(field(bytes, FIXED)) as usize } else { 0 };
    let room = end.saturating_sub(at);
    (at, if told == 0 { room } else { room.min(told) })
}

pub fn word(bytes: &[u8], at: usize) -> usize {
    usize::from(u16::from_le_bytes(field(bytes, at)))
}

pub fn field<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes.get(at..at + N).and_then(|part| part.try_into().ok()).unwrap_or([0; N])
}
