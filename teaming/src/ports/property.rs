//! Port properties in the binary form of requests: the parameter structures, and the properties that the driver
//! enforces.
//!
//! Every header, length and offset is checked before it is used. Newer revisions are accepted, structures shorter than
//! revision 1 are not. The offsets in `at` are those of the binary interface; `src/ndis/payload.rs` asserts that they
//! agree with its declarations.

use crate::ids::PortId;
use crate::ports::policy::Security;
use crate::ports::vlan::{Bits, VLAN_BYTES, VlanProperty};

/// `NDIS_SWITCH_PORT_PROPERTY_TYPE`; the types that the driver acts on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PropertyType {
    Security,
    Vlan,
    Isolation,
    /// Another type: forwarded without being read.
    Other,
}

impl PropertyType {
    pub const SECURITY: i32 = 2;
    pub const VLAN: i32 = 3;
    pub const ISOLATION: i32 = 5;

    pub const fn of(number: i32) -> Self {
        match number {
            Self::SECURITY => Self::Security,
            Self::VLAN => Self::Vlan,
            Self::ISOLATION => Self::Isolation,
            _ => Self::Other,
        }
    }
}

/// Offsets and sizes of the structures, in bytes.
pub mod at {
    /// `NDIS_SWITCH_PORT_PROPERTY_PARAMETERS`.
    pub mod head {
        pub const SIZE: usize = 64;
        pub const PORT: usize = 8;
        pub const TYPE: usize = 12;
        pub const LENGTH: usize = 52;
        pub const OFFSET: usize = 56;
    }
    /// `NDIS_SWITCH_PORT_PROPERTY_DELETE_PARAMETERS`.
    pub mod deletion {
        pub const SIZE: usize = 48;
    }
    /// `NDIS_SWITCH_PORT_PROPERTY_ENUM_PARAMETERS`.
    pub mod question {
        pub const SIZE: usize = 46;
        pub const ROOM: usize = 48;
        pub const SERIALIZATION: usize = 32;
        pub const FIRST: usize = 36;
        pub const COUNT: usize = 40;
    }
    /// `NDIS_SWITCH_PORT_PROPERTY_ENUM_INFO`.
    pub mod info {
        pub const SIZE: usize = 40;
        pub const ALIGNED: usize = 28;
        pub const LENGTH: usize = 32;
        pub const OFFSET: usize = 36;
    }
    /// `NDIS_SWITCH_PORT_PROPERTY_VLAN`.
    pub mod vlan {
        pub const SIZE: usize = 1048;
        pub const MODE: usize = 8;
        pub const ACCESS: usize = 16;
        pub const NATIVE: usize = 18;
        pub const PRUNED: usize = 24;
        pub const ALLOWED: usize = 536;
        pub const PRIVATE_MODE: usize = 16;
        pub const PRIMARY: usize = 20;
        pub const SECONDARY: usize = 24;
    }
    /// `NDIS_SWITCH_PORT_PROPERTY_SECURITY`, revision 1.
    pub mod security {
        pub const SIZE: usize = 17;
        pub const SPOOFING: usize = 8;
        pub const PRIORITY: usize = 9;
        pub const SUBNET: usize = 12;
        pub const TEAMING: usize = 16;
    }
    /// `NDIS_SWITCH_PORT_PROPERTY_ISOLATION`.
    pub mod isolation {
        pub const SIZE: usize = 20;
        pub const MODE: usize = 8;
    }
}

/// A header, length or offset is not as documented.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed;

/// A property in OID_SWITCH_PORT_PROPERTY_ADD or _UPDATE.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Property<'a> {
    pub port: PortId,
    pub kind: PropertyType,
    /// The property's own structure; `Malformed` if it does not lie inside the buffer.
    pub body: Result<&'a [u8], Malformed>,
}

impl<'a> Property<'a> {
    /// Reads `NDIS_SWITCH_PORT_PROPERTY_PARAMETERS`.
    pub fn parse(buffer: &'a [u8]) -> Result<Self, Malformed> {
        header(buffer, at::head::SIZE)?;
        Ok(Self {
            port: PortId::new(word(buffer, at::head::PORT)?),
            kind: PropertyType::of(word(buffer, at::head::TYPE)?.cast_signed()),
            body: body(buffer, at::head::OFFSET, at::head::LENGTH),
        })
    }
}

/// Reads port and type from the buffer of OID_SWITCH_PORT_PROPERTY_DELETE.
pub fn deletion(buffer: &[u8]) -> Result<(PortId, PropertyType), Malformed> {
    header(buffer, at::deletion::SIZE)?;
    let kind = PropertyType::of(word(buffer, at::head::TYPE)?.cast_signed());
    Ok((PortId::new(word(buffer, at::head::PORT)?), kind))
}

/// Writes the input of OID_SWITCH_PORT_PROPERTY_ENUM for one port and property type into a zeroed buffer.
pub fn ask(buffer: &mut [u8], port: PortId, kind: i32) {
    let mut put = |at: usize, bytes: &[u8]| {
        if let Some(place) = buffer.get_mut(at..).and_then(|rest| rest.get_mut(..bytes.len())) {
            place.copy_from_slice(bytes);
        }
    };
    let [low, high, ..] = at::question::SIZE.to_le_bytes();
    put(0, &[OBJECT_TYPE_DEFAULT, 1, low, high]);
    put(at::head::PORT, &port.get().to_le_bytes());
    put(at::head::TYPE, &kind.to_le_bytes());
    put(at::question::SERIALIZATION, &1_u16.to_le_bytes());
}

/// The first property in the output of OID_SWITCH_PORT_PROPERTY_ENUM; `Ok(None)` if there is none.
pub fn first_answer(buffer: &[u8]) -> Result<Option<&[u8]>, Malformed> {
    if word(buffer, at::question::COUNT)? == 0 {
        return Ok(None);
    }
    let info = buffer.get(usize_of(word(buffer, at::question::FIRST)?)..).ok_or(Malformed)?;
    header(info, at::info::SIZE)?;
    body(info, at::info::OFFSET, at::info::LENGTH).map(Some)
}

/// Reads `NDIS_SWITCH_PORT_PROPERTY_VLAN`. An undefined mode is malformed; NdisSwitchPortVlanModeUnknown counts as no
/// property.
pub fn vlan(body: &[u8]) -> Result<VlanProperty<'_>, Malformed> {
    header(body, at::vlan::SIZE)?;
    let bits = |at: usize| {
        let bytes = body.get(at..).and_then(|rest| rest.first_chunk::<VLAN_BYTES>());
        bytes.map(Bits).ok_or(Malformed)
    };
    let short = |at| half(body, at);
    match word(body, at::vlan::MODE)? {
        // NdisSwitchPortVlanModeUnknown (ne-ntddndis-_ndis_switch_port_vlan_mode.md).
        0 => Ok(VlanProperty::Access { vlan: 0 }),
        1 => Ok(VlanProperty::Access { vlan: short(at::vlan::ACCESS)? }),
        2 => Ok(VlanProperty::Trunk {
            native: short(at::vlan::NATIVE)?,
            allowed: bits(at::vlan::ALLOWED)?,
            pruned: bits(at::vlan::PRUNED)?,
        }),
        3 => {
            let primary = short(at::vlan::PRIMARY)?;
            match word(body, at::vlan::PRIVATE_MODE)? {
                1 => Ok(VlanProperty::Isolated { primary, secondary: short(at::vlan::SECONDARY)? }),
                2 => Ok(VlanProperty::Community { primary, secondary: short(at::vlan::SECONDARY)? }),
                3 => Ok(VlanProperty::Promiscuous { primary, secondaries: bits(at::vlan::SECONDARY)? }),
                _ => Err(Malformed),
            }
        }
        _ => Err(Malformed),
    }
}

/// The mode that a VLAN property states, and its access, native or primary VLAN; 0 where it is too short.
pub fn stated_vlan(body: &[u8]) -> (u32, u16) {
    let mode = word(body, at::vlan::MODE).unwrap_or(0);
    let place = match mode {
        2 => at::vlan::NATIVE,
        3 => at::vlan::PRIMARY,
        _ => at::vlan::ACCESS,
    };
    (mode, half(body, place).unwrap_or(0))
}

/// Reads `NDIS_SWITCH_PORT_PROPERTY_SECURITY`.
pub fn security(body: &[u8]) -> Result<Security, Malformed> {
    header(body, at::security::SIZE)?;
    let flag = |at: usize| body.get(at).map(|byte| *byte != 0).ok_or(Malformed);
    Ok(Security {
        mac_spoofing: flag(at::security::SPOOFING)?,
        teaming: flag(at::security::TEAMING)?,
        priority_tag: flag(at::security::PRIORITY)?,
        virtual_subnet: word(body, at::security::SUBNET)? & 0x00ff_ffff,
    })
}

/// Whether the mode of `NDIS_SWITCH_PORT_PROPERTY_ISOLATION` is enforced: no isolation, or native virtual subnets,
/// whose packets the switch itself forwards.
pub fn isolation_is_enforced(body: &[u8]) -> Result<bool, Malformed> {
    header(body, at::isolation::SIZE)?;
    Ok(matches!(word(body, at::isolation::MODE)?, 0 | 1))
}

const OBJECT_TYPE_DEFAULT: u8 = 0x80;

/// Checks that `bytes` begins with an `NDIS_OBJECT_HEADER` and that both it and `bytes` cover `size` bytes.
fn header(bytes: &[u8], size: usize) -> Result<(), Malformed> {
    match bytes {
        [OBJECT_TYPE_DEFAULT, revision, low, high, ..]
            if *revision >= 1
                && usize::from(u16::from_le_bytes([*low, *high])) >= size
                && bytes.len() >= size =>
        {
            Ok(())
        }
        _ => Err(Malformed),
    }
}

fn body(bytes: &[u8], offset: usize, length: usize) -> Result<&[u8], Malformed> {
    let rest = bytes.get(usize_of(word(bytes, offset)?)..).ok_or(Malformed)?;
    rest.get(..usize_of(word(bytes, length)?)).ok_or(Malformed)
}

fn word(bytes: &[u8], at: usize) -> Result<u32, Malformed> {
    let word = bytes.get(at..).and_then(|rest| rest.first_chunk::<4>());
    word.map(|word| u32::from_le_bytes(*word)).ok_or(Malformed)
}

fn half(bytes: &[u8], at: usize) -> Result<u16, Malformed> {
    let half = bytes.get(at..).and_then(|rest| rest.first_chunk::<2>());
    half.map(|half| u16::from_le_bytes(*half)).ok_or(Malformed)
}

fn usize_of(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
