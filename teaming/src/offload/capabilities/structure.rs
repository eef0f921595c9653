//! The capability structures: how each is asked for and indicated, and its bytes.

use crate::offload::capabilities::fields::{Field, NIC_SWITCH, RECEIVE_FILTER, SRIOV, TASK_OFFLOAD};
use crate::oid::oids;

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

    /// Bytes of each revision that is known, the first one's first.
    pub const fn sizes(self) -> &'static [usize] {
        match self {
            Self::ReceiveFilter | Self::ReceiveFilterHardware => &[56, 84],
            Self::NicSwitch | Self::NicSwitchHardware => &[32, 116],
            Self::TaskOffload | Self::TaskOffloadHardware => &[112, 144, 156],
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

    /// The revision, counted from 0, that these bytes hold in full; newer ones are read as the last known.
    fn revision(self, bytes: &[u8]) -> Option<usize> {
        let [kind, revision, low, high, ..] = *bytes else { return None };
        let stated = usize::from(u16::from_le_bytes([low, high])).min(bytes.len());
        let known =
            self.sizes().iter().take(usize::from(revision)).take_while(|&&size| size <= stated).count();
        if kind == self.object_type() { known.checked_sub(1) } else { None }
    }

    pub(super) fn size_of(self, revision: usize) -> usize {
        self.sizes().get(revision).copied().unwrap_or(0)
    }
}

/// Bytes of the longest structure.
pub const LONGEST: usize = 156;

/// A capability structure: a header of a known revision and what follows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C, align(8))]
pub struct Block {
    bytes: [u8; LONGEST],
    pub(super) size: usize,
}

impl Block {
    pub(super) const fn zeros(size: usize) -> Self {
        Self { bytes: [0; LONGEST], size }
    }

    /// The structure as it stands in memory.
    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.size).unwrap_or(&[])
    }

    /// As much of `bytes` as a known revision explains.
    pub fn read(capability: Capability, bytes: &[u8]) -> Option<Self> {
        let revision = capability.revision(bytes)?;
        let mut block = Self::zeros(capability.size_of(revision));
        block.bytes.get_mut(..block.size)?.copy_from_slice(bytes.get(..block.size)?);
        block.write_header(capability, revision);
        Some(block)
    }

    pub(super) fn write_header(&mut self, capability: Capability, revision: usize) {
        let [low, high] = u16::try_from(self.size).unwrap_or(0).to_le_bytes();
        let revision = u8::try_from(revision).unwrap_or(0).saturating_add(1);
        if let Some(header) = self.bytes.first_chunk_mut() {
            *header = [capability.object_type(), revision, low, high];
        }
    }

    /// A field's value; zero where the revision does not have it.
    pub fn get(&self, field: &Field) -> u32 {
        let bytes =
            self.bytes().get(field.offset..).and_then(|bytes| bytes.get(..field.width)).unwrap_or(&[]);
        bytes.iter().rev().fold(0, |value, &byte| value << 8 | u32::from(byte))
    }

    pub(super) fn set(&mut self, field: &Field, value: u32) {
        let end = self.size.min(field.offset.saturating_add(field.width));
        let place = self.bytes.get_mut(field.offset..end).unwrap_or(&mut []);
        place.iter_mut().zip(value.to_le_bytes()).for_each(|(place, byte)| *place = byte);
    }
}
