//! The capability structures: how each is asked for and indicated, and its bytes.

use crate::offload::capabilities::fields::{
    Field, NIC_SWITCH, NIC_SWITCH_NAMES, RECEIVE_FILTER, RECEIVE_FILTER_NAMES, SRIOV, SRIOV_NAMES,
    TASK_OFFLOAD, TASK_OFFLOAD_NAMES,
};
use crate::oid::oids;
use core::ops::Range;

/// The capability structures that are merged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Capability {
    ReceiveFilter,
    ReceiveFilterHardware,
    NicSwitch,
    NicSwitchHardware,
    TaskOffload,
    TaskOffloadHardware,
    /// Never indicated, only asked for: who can have virtual functions.
    Sriov,
}

pub const CAPABILITIES: [Capability; 7] = [
    Capability::ReceiveFilter,
    Capability::ReceiveFilterHardware,
    Capability::NicSwitch,
    Capability::NicSwitchHardware,
    Capability::TaskOffload,
    Capability::TaskOffloadHardware,
    Capability::Sriov,
];

impl Capability {
    /// The question to a member.
    pub const fn oid(self) -> u32 {
        match self {
            Self::ReceiveFilter => oids::RECEIVE_FILTER_CURRENT_CAPABILITIES,
            Self::ReceiveFilterHardware => oids::RECEIVE_FILTER_HARDWARE_CAPABILITIES,
            Self::NicSwitch => oids::NIC_SWITCH_CURRENT_CAPABILITIES,
            Self::NicSwitchHardware => oids::NIC_SWITCH_HARDWARE_CAPABILITIES,
            Self::TaskOffload => oids::TCP_OFFLOAD_CURRENT_CONFIG,
            Self::TaskOffloadHardware => oids::TCP_OFFLOAD_HARDWARE_CAPABILITIES,
            Self::Sriov => oids::SRIOV_CURRENT_CAPABILITIES,
        }
    }

    /// The indication of a change.
    pub const fn status(self) -> Option<u32> {
        match self {
            Self::ReceiveFilter => Some(0x4002_0010),
            Self::ReceiveFilterHardware => Some(0x4002_0020),
            Self::NicSwitch => Some(0x4002_0040),
            Self::NicSwitchHardware => Some(0x4002_0050),
            Self::TaskOffload => Some(0x4002_0006),
            Self::TaskOffloadHardware => Some(0x4002_0007),
            Self::Sriov => None,
        }
    }

    pub fn of_status(code: u32) -> Option<Self> {
        CAPABILITIES.into_iter().find(|capability| capability.status() == Some(code))
    }

    pub const fn fields(self) -> &'static [Field] {
        match self {
            Self::ReceiveFilter | Self::ReceiveFilterHardware => RECEIVE_FILTER,
            Self::NicSwitch | Self::NicSwitchHardware => NIC_SWITCH,
            Self::TaskOffload | Self::TaskOffloadHardware => TASK_OFFLOAD,
            Self::Sriov => SRIOV,
        }
    }

    /// The documented names of its fields, in their order; for tests.
    pub const fn names(self) -> &'static [&'static str] {
        match self {
            Self::ReceiveFilter | Self::ReceiveFilterHardware => RECEIVE_FILTER_NAMES,
            Self::NicSwitch | Self::NicSwitchHardware => NIC_SWITCH_NAMES,
            Self::TaskOffload | Self::TaskOffloadHardware => TASK_OFFLOAD_NAMES,
            Self::Sriov => SRIOV_NAMES,
        }
    }

    /// Bytes of each revision that is known, the first one's first.
    pub const fn sizes(self) -> &'static [usize] {
        match self {
            Self::ReceiveFilter | Self::ReceiveFilterHardware => &[56, 84],
            Self::NicSwitch | Self::NicSwitchHardware => &[32, 116, 132],
            Self::TaskOffload | Self::TaskOffloadHardware => &[112, 144, 156, 177, 188, 216, 216, 217],
            Self::Sriov => &[12],
        }
    }

    /// Type in the header: `NDIS_OBJECT_TYPE_OFFLOAD` or `NDIS_OBJECT_TYPE_DEFAULT`.
    pub const fn object_type(self) -> u8 {
        match self {
            Self::TaskOffload | Self::TaskOffloadHardware => 0xA7,
            _ => 0x80,
        }
    }

    pub(super) const fn index(self) -> usize {
        self as usize
    }

    /// Its bit in a set of capabilities.
    pub const fn bit(self) -> u8 {
        1_u8.wrapping_shl(self as u32)
    }

    /// Bytes of a revision, counted from 1, or of the newest known one before it.
    pub(super) fn size_of(self, revision: u8) -> usize {
        let known = usize::from(revision).min(self.sizes().len());
        known.checked_sub(1).and_then(|at| self.sizes().get(at)).copied().unwrap_or(0)
    }

    /// The newest revision that is known.
    fn newest(self) -> u8 {
        u8::try_from(self.sizes().len()).unwrap_or(u8::MAX)
    }
}

/// Bytes of a structure that are kept: those of the longest known one, and what newer ones may add.
pub const LONGEST: usize = 256;

/// A capability structure: a header and what follows it, up to `LONGEST` bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C, align(8))]
pub struct Block {
    bytes: [u8; LONGEST],
    size: usize,
    /// Bytes that the revision explains.
    known: usize,
}

impl Block {
    /// The first revision of a structure that says nothing.
    pub(super) fn nothing(capability: Capability) -> Self {
        let mut block = Self { bytes: [0; LONGEST], size: capability.size_of(1), known: 0 };
        block.write_header(capability, 1);
        block
    }

    /// The structure as it stands in memory.
    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.size).unwrap_or(&[])
    }

    /// The structure in `bytes`. If they are fewer than its revision has, it is read as the newest revision that they hold;
    /// one that is newer than the known ones, and longer than what can be kept, as the newest known.
    pub fn read(capability: Capability, bytes: &[u8]) -> Option<Self> {
        let [kind, revision, low, high, ..] = *bytes else { return None };
        let stated = usize::from(u16::from_le_bytes([low, high])).min(bytes.len());
        if kind != capability.object_type() {
            return None;
        }
        let sizes = capability.sizes();
        let held = sizes.iter().take(usize::from(revision)).take_while(|&&size| size <= stated).count();
        let held = u8::try_from(held).ok().filter(|held| *held != 0)?;
        let whole = held == revision || held == capability.newest();
        let (revision, size) =
            if whole && stated <= LONGEST { (revision, stated) } else { (held, capability.size_of(held)) };
        let mut block = Self { bytes: [0; LONGEST], size, known: 0 };
        block.bytes.get_mut(..size)?.copy_from_slice(bytes.get(..size)?);
        block.write_header(capability, revision);
        Some(block)
    }

    /// The header's Revision.
    pub(super) fn revision(&self) -> u8 {
        let [_, revision, ..] = self.bytes;
        revision
    }

    fn write_header(&mut self, capability: Capability, revision: u8) {
        self.known = self.size.min(capability.size_of(revision));
        let [low, high] = u16::try_from(self.size).unwrap_or(0).to_le_bytes();
        if let Some(header) = self.bytes.first_chunk_mut() {
            *header = [capability.object_type(), revision, low, high];
        }
    }

    /// Makes this structure as old as `other` is. Behind what the revision explains, bytes stay only if all are the same.
    pub(super) fn shorten(&mut self, capability: Capability, other: Option<&Self>) {
        let revision = other.map_or(self.revision(), |other| self.revision().min(other.revision()));
        let alike = other.is_some_and(|other| {
            let known = capability.size_of(revision);
            self.revision() == other.revision() && self.bytes().get(known..) == other.bytes().get(known..)
        });
        if !alike {
            self.size = self.size.min(capability.size_of(revision));
            self.bytes.get_mut(self.size..).unwrap_or(&mut []).fill(0);
            self.write_header(capability, revision.min(capability.newest()));
        }
    }

    /// Clears the bytes of a range that are not the same in both structures.
    pub(super) fn keep_same(&mut self, range: Range<usize>, other: Option<&Self>) {
        let range = range.start..range.end.min(self.known);
        let theirs = other.and_then(|other| other.bytes.get(range.clone())).unwrap_or(&[]);
        let theirs = theirs.iter().copied().chain(core::iter::repeat(0));
        for (byte, other) in self.bytes.get_mut(range).unwrap_or(&mut []).iter_mut().zip(theirs) {
            if *byte != other {
                *byte = 0;
            }
        }
    }

    /// A field's value; zero where the revision does not have it.
    pub fn get(&self, field: &Field) -> u32 {
        let known = self.bytes.get(..self.known).unwrap_or(&[]);
        let bytes = known.get(field.offset()..).and_then(|bytes| bytes.get(..field.width())).unwrap_or(&[]);
        bytes.iter().rev().fold(0, |value, &byte| value << 8 | u32::from(byte))
    }

    pub(super) fn set(&mut self, field: &Field, value: u32) {
        let end = self.known.min(field.offset().saturating_add(field.width()));
        let place = self.bytes.get_mut(field.offset()..end).unwrap_or(&mut []);
        place.iter_mut().zip(value.to_le_bytes()).for_each(|(place, byte)| *place = byte);
    }
}
