//! VLANs of ports: which VLAN a frame is in, and which ports it may reach.
//!
//! Called by `forward` with the policies that `ports` keeps. The table stands in `src/ARCHITECTURE.md`, row by row, and
//! is tested in that order. Where the documentation is silent a row takes the reading under which no frame can change
//! VLAN. Nothing here knows ports or packets.

use crate::forward::drop_reason::DropReason;
use crate::frame::Headers;
use crate::ids::VlanId;

/// Number of a set of VLANs that the port table keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SetId(u16);

impl SetId {
    /// Every VLAN, not stored: the set of the external port's trunk.
    pub const ALL: Self = Self(u16::MAX);
}

/// How a port takes part in VLANs (`NDIS_SWITCH_PORT_PROPERTY_VLAN`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Vlans {
    /// Frames without a tag in one VLAN; `None` is the network without VLANs.
    Access(Option<VlanId>),
    /// Tagged frames of a set, and frames without a tag in the native VLAN; 0 in the set stands for no VLAN.
    Trunk { native: Option<VlanId>, allowed: SetId },
    /// Receives on the primary VLAN, sends on the secondary.
    Isolated { primary: VlanId, secondary: VlanId },
    /// Receives on both, sends on the secondary.
    Community { primary: VlanId, secondary: VlanId },
    /// Receives on the primary and a set of secondaries, sends on the primary.
    Promiscuous { primary: VlanId, secondaries: SetId },
}

impl Vlans {
    /// A port without a VLAN property.
    pub const UNTAGGED: Self = Self::Access(None);
    /// The external port, and the switch itself.
    pub const EVERYTHING: Self = Self::Trunk { native: None, allowed: SetId::ALL };

    /// The set that it refers to.
    pub const fn set(self) -> Option<SetId> {
        match self {
            Self::Trunk { allowed: set, .. } | Self::Promiscuous { secondaries: set, .. }
                if set.0 != SetId::ALL.0 =>
            {
                Some(set)
            }
            _ => None,
        }
    }

    pub const fn is_private(self) -> bool {
        matches!(self, Self::Isolated { .. } | Self::Community { .. } | Self::Promiscuous { .. })
    }

    /// The VLAN of a frame without a tag from this port.
    pub const fn own(self) -> Option<VlanId> {
        match self {
            Self::Access(own) | Self::Trunk { native: own, .. } => own,
            Self::Isolated { secondary: own, .. } | Self::Community { secondary: own, .. } => Some(own),
            Self::Promiscuous { primary: own, .. } => Some(own),
        }
    }
}

/// The bits of VLANs 0 to 4095, as `TrunkVlanIdArray` has them.
pub type VlanBits = [u64; 64];

/// Bytes of a set of VLANs in a property.
pub const VLAN_BYTES: usize = 512;

/// A set of VLANs as it lies in a property.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bits<'a>(pub &'a [u8; VLAN_BYTES]);

impl Bits<'_> {
    fn word(&self, number: usize) -> u64 {
        let chunk = self.0.as_chunks::<8>().0.get(number);
        chunk.map_or(0, |bytes| u64::from_le_bytes(*bytes))
    }
}

/// A set of VLANs and how many ports refer to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VlanSet {
    bits: VlanBits,
    users: u32,
}

impl VlanSet {
    pub const EMPTY: Self = Self { bits: [0; 64], users: 0 };
}

/// No room for one more set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoRoom;

/// Keeps a set once, however many ports have the same, and counts the users.
fn intern(sets: &mut [VlanSet], wanted: &SetOf<'_>) -> Result<SetId, NoRoom> {
    let equal = |set: &VlanSet| set.bits.iter().enumerate().all(|(at, word)| *word == wanted.word(at));
    let known = sets.iter().position(|set| set.users != 0 && equal(set));
    let at = known.or_else(|| sets.iter().position(|set| set.users == 0)).ok_or(NoRoom)?;
    let id = u16::try_from(at).ok().filter(|&id| id != SetId::ALL.0).ok_or(NoRoom)?;
    let set = sets.get_mut(at).ok_or(NoRoom)?;
    if known.is_none() {
        for (at, word) in set.bits.iter_mut().enumerate() {
            *word = wanted.word(at);
        }
    }
    set.users = set.users.saturating_add(1);
    Ok(SetId(id))
}

/// A set more can be kept.
pub fn has_room(sets: &[VlanSet]) -> bool {
    sets.iter().any(|set| set.users == 0)
}

/// One user less.
pub fn release(sets: &mut [VlanSet], id: SetId) {
    if let Some(set) = sets.get_mut(usize::from(id.0)) {
        set.users = set.users.saturating_sub(1);
    }
}

/// Whether a set has a VLAN. A set that is gone has none.
#[inline]
fn has(sets: &[VlanSet], id: SetId, vlan: Option<VlanId>) -> bool {
    id == SetId::ALL || sets.get(usize::from(id.0)).is_some_and(|set| is_set(&set.bits, number(vlan)))
}

fn is_set(bits: &VlanBits, number: u16) -> bool {
    bits.get(usize::from(number >> 6)).is_some_and(|word| word & bit(number) != 0)
}

const fn bit(number: u16) -> u64 {
    1_u64.wrapping_shl(number as u32 & 63)
}

const fn number(vlan: Option<VlanId>) -> u16 {
    match vlan {
        Some(vlan) => vlan.get(),
        None => 0,
    }
}

/// A frame's VLAN on its way through the switch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Carried {
    /// `None`: the network without VLANs.
    pub vlan: Option<VlanId>,
    /// The tag is in the frame's bytes and stays there.
    pub in_bytes: bool,
}

impl Carried {
    pub const UNTAGGED: Self = Self { vlan: None, in_bytes: false };
}

/// What a destination gets of a frame that it may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Admitted {
    /// `PreserveVLAN`: the tag stays.
    pub tagged: bool,
}

/// The tags of a frame as they came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tags {
    None,
    OutOfBand(VlanId),
    InBytes(VlanId),
}

/// The first half of the table: the VLAN of a frame from a port with `source`, whose tag beside it has the VLAN
/// `beside` (0 without one). Rows S1 to S7.
pub fn classify(
    source: Vlans,
    beside: u16,
    headers: &Headers,
    sets: &[VlanSet],
) -> Result<Carried, DropReason> {
    let frame = match tags(beside, headers).ok_or(DropReason::BadTag)? {
        Tags::None => Carried { vlan: source.own(), in_bytes: false },
        Tags::OutOfBand(vlan) => Carried { vlan: Some(vlan), in_bytes: false },
        Tags::InBytes(vlan) => Carried { vlan: Some(vlan), in_bytes: true },
    };
    match source {
        Vlans::Trunk { allowed, .. } if has(sets, allowed, frame.vlan) => Ok(frame),
        Vlans::Trunk { .. } => Err(DropReason::VlanNotAllowed),
        _ if frame.vlan == source.own() && !frame.in_bytes && beside == 0 => Ok(frame),
        Vlans::Access(_) | Vlans::Isolated { .. } | Vlans::Community { .. } | Vlans::Promiscuous { .. } => {
            Err(DropReason::TaggedFrame)
        }
    }
}

/// The outermost tag; `None` for a tag that cannot be: cut short, reserved, or hidden behind a priority tag.
fn tags(beside: u16, headers: &Headers) -> Option<Tags> {
    if headers.tag_is_cut() {
        return None;
    }
    match beside {
        0 => {}
        _ => return VlanId::new(beside).map(Tags::OutOfBand),
    }
    match (headers.tags(), headers.tag_vlan()) {
        (0, _) | (1, 0) => Some(Tags::None),
        // A switch that takes the priority tag off would find itself in the VLAN behind it.
        (_, 0) => None,
        (_, vlan) => VlanId::new(vlan).map(Tags::InBytes),
    }
}

/// The second half: whether a port with `destination` may have a frame that came from a port with `source`, and with
/// its tag or without. Rows D1 to D8.
pub fn admit(
    source: Vlans,
    frame: Carried,
    destination: Vlans,
    sets: &[VlanSet],
) -> Result<Admitted, DropReason> {
    if is_kept_apart(source, destination) {
        return Err(DropReason::PrivateVlan);
    }
    let vlan = frame.vlan;
    let (member, tagged) = match destination {
        Vlans::Access(own) => (own == vlan, false),
        Vlans::Trunk { native, allowed } => (has(sets, allowed, vlan), native != vlan),
        Vlans::Isolated { primary, .. } => (vlan == Some(primary), false),
        Vlans::Community { primary, secondary } => (vlan == Some(primary) || vlan == Some(secondary), false),
        Vlans::Promiscuous { primary, secondaries } => {
            (vlan == Some(primary) || vlan.is_some() && has(sets, secondaries, vlan), false)
        }
    };
    if !member {
        let private = source.is_private() && destination.is_private();
        return Err(if private { DropReason::PrivateVlan } else { DropReason::VlanMismatch });
    }
    match (frame.in_bytes, tagged) {
        (true, false) => Err(DropReason::TagInBytes),
        _ => Ok(Admitted { tagged }),
    }
}

/// An access port in a secondary VLAN would see what isolated ports send.
const fn is_kept_apart(source: Vlans, destination: Vlans) -> bool {
    source.is_private() && matches!(destination, Vlans::Access(_))
}

/// What a VLAN property says, before its sets are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VlanProperty<'a> {
    Access { vlan: u16 },
    Trunk { native: u16, allowed: Bits<'a>, pruned: Bits<'a> },
    Isolated { primary: u16, secondary: u16 },
    Community { primary: u16, secondary: u16 },
    Promiscuous { primary: u16, secondaries: Bits<'a> },
}

/// The property names a VLAN that cannot be, or the same one twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused;

/// A property that was checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestedVlans<'a> {
    /// What is kept, apart from its set.
    vlans: Vlans,
    set: Option<SetOf<'a>>,
}

/// The set of a property.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SetOf<'a> {
    Trunk { native: u16, allowed: Bits<'a>, pruned: Bits<'a> },
    Promiscuous(Bits<'a>),
}

impl SetOf<'_> {
    fn word(&self, at: usize) -> u64 {
        match self {
            Self::Promiscuous(secondaries) => secondaries.word(at),
            // "Non-VLAN packets" may always pass a trunk; what is pruned never may, whatever else says so.
            Self::Trunk { native, allowed, pruned } => {
                let listed = if at == 0 { allowed.word(0) & !1 } else { allowed.word(at) };
                let own = if at == usize::from(*native >> 6) { bit(*native) } else { 0 };
                (listed | own) & !pruned.word(at)
            }
        }
    }
}

impl<'a> VlanProperty<'a> {
    /// Checks numbers and conflicts.
    pub fn check(&self) -> Result<RequestedVlans<'a>, Refused> {
        let some = |number| VlanId::new(number).ok_or(Refused);
        let maybe = |number| if number == 0 { Ok(None) } else { some(number).map(Some) };
        let pair = |primary, secondary| {
            let (primary, secondary) = (some(primary)?, some(secondary)?);
            if primary == secondary { Err(Refused) } else { Ok((primary, secondary)) }
        };
        let (vlans, set) = match *self {
            Self::Access { vlan } => (Vlans::Access(maybe(vlan)?), None),
            Self::Trunk { native, allowed, pruned } => {
                let vlans = Vlans::Trunk { native: maybe(native)?, allowed: SetId::ALL };
                (vlans, Some(SetOf::Trunk { native, allowed, pruned }))
            }
            Self::Isolated { primary, secondary } => {
                let (primary, secondary) = pair(primary, secondary)?;
                (Vlans::Isolated { primary, secondary }, None)
            }
            Self::Community { primary, secondary } => {
                let (primary, secondary) = pair(primary, secondary)?;
                (Vlans::Community { primary, secondary }, None)
            }
            Self::Promiscuous { primary, secondaries } => {
                let vlans = Vlans::Promiscuous { primary: some(primary)?, secondaries: SetId::ALL };
                (vlans, Some(SetOf::Promiscuous(secondaries)))
            }
        };
        Ok(RequestedVlans { vlans, set })
    }
}

impl RequestedVlans<'_> {
    /// Access VLAN 0 is what a switch reports for every port that nobody configured, the external one included: it is
    /// as good as no property.
    pub fn is_unsaid(&self) -> bool {
        self.vlans == Vlans::UNTAGGED
    }

    /// Keeps its set and gives what a port has.
    pub fn keep(&self, sets: &mut [VlanSet]) -> Result<Vlans, NoRoom> {
        let Some(set) = &self.set else { return Ok(self.vlans) };
        let set = intern(sets, set)?;
        Ok(match self.vlans {
            Vlans::Trunk { native, .. } => Vlans::Trunk { native, allowed: set },
            Vlans::Promiscuous { primary, .. } => Vlans::Promiscuous { primary, secondaries: set },
            other => other,
        })
    }
}
