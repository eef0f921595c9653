//! VLAN rules of ports: the VLAN of a frame, and the ports that it may reach.
//!
//! Called by `forward` with the policies that `ports` keeps. The functions follow the rows S1 to S8 and D1 to D10 of
//! the table in `src/ARCHITECTURE.md`. Where the documentation leaves a case open, the row takes the reading under
//! which no frame can change its VLAN.

use crate::forward::drop_reason::DropReason;
use crate::frame::Headers;
use crate::ids::VlanId;

/// Index of a `VlanSet` in the port table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SetId(u16);

impl SetId {
    /// The set of all VLANs, which is not stored. The trunk of the external port has it.
    pub const ALL: Self = Self(u16::MAX);
}

/// The VLAN mode of a port (`NDIS_SWITCH_PORT_PROPERTY_VLAN`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Vlans {
    /// Access mode: untagged frames of one VLAN; `None` is the untagged network.
    Access(Option<VlanId>),
    /// Trunk mode: tagged frames of a set, and untagged frames of the native VLAN. VLAN 0 in the set stands for the
    /// untagged network.
    Trunk { native: Option<VlanId>, allowed: SetId },
    /// Private mode: receives in the primary VLAN, sends in the secondary.
    Isolated { primary: VlanId, secondary: VlanId },
    /// Private mode: receives in both, sends in the secondary.
    Community { primary: VlanId, secondary: VlanId },
    /// Private mode: receives in the primary and in a set of secondary VLANs, sends in the primary.
    Promiscuous { primary: VlanId, secondaries: SetId },
}

impl Vlans {
    /// A port without a VLAN property.
    pub const UNTAGGED: Self = Self::Access(None);
    /// The external port without a VLAN property, and frames that the switch itself originates.
    pub const EVERYTHING: Self = Self::Trunk { native: None, allowed: SetId::ALL };

    /// The stored set of the mode, if it has one.
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

    pub const fn is_trunk(self) -> bool {
        matches!(self, Self::Trunk { .. })
    }

    pub const fn is_private(self) -> bool {
        matches!(self, Self::Isolated { .. } | Self::Community { .. } | Self::Promiscuous { .. })
    }

    /// The VLAN of an untagged frame from this port.
    pub const fn own(self) -> Option<VlanId> {
        match self {
            Self::Access(own) | Self::Trunk { native: own, .. } => own,
            Self::Isolated { secondary: own, .. } | Self::Community { secondary: own, .. } => Some(own),
            Self::Promiscuous { primary: own, .. } => Some(own),
        }
    }
}

/// One bit for each VLAN from 0 to 4095, in the order of `TrunkVlanIdArray`.
pub type VlanBits = [u64; 64];

/// Length of a set of VLANs in a property, in bytes.
pub const VLAN_BYTES: usize = 512;

/// A set of VLANs in the binary form of a property.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bits<'a>(pub &'a [u8; VLAN_BYTES]);

impl Bits<'_> {
    fn word(&self, number: usize) -> u64 {
        let chunk = self.0.as_chunks::<8>().0.get(number);
        chunk.map_or(0, |bytes| u64::from_le_bytes(*bytes))
    }
}

/// A set of VLANs, and the number of ports that use it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VlanSet {
    bits: VlanBits,
    users: u32,
}

impl VlanSet {
    pub const EMPTY: Self = Self { bits: [0; 64], users: 0 };
}

/// The array of sets is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoRoom;

/// Stores a set once for all ports with an equal one, and counts the users.
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

/// Whether one more set can be stored.
pub fn has_room(sets: &[VlanSet]) -> bool {
    sets.iter().any(|set| set.users == 0)
}

/// Removes one user of a set; the last one frees it.
pub fn release(sets: &mut [VlanSet], id: SetId) {
    if let Some(set) = sets.get_mut(usize::from(id.0)) {
        set.users = set.users.saturating_sub(1);
    }
}

/// Whether a set contains a VLAN; an index without a set contains none.
#[inline]
fn has(sets: &[VlanSet], id: SetId, vlan: Option<VlanId>) -> bool {
    id == SetId::ALL || sets.get(usize::from(id.0)).is_some_and(|set| is_set(&set.bits, number(vlan)))
}

/// Whether a port sends frames of its own VLAN, or of one in a tag: what `classify` says of them.
pub(crate) fn may_send(source: Vlans, vlan: Option<VlanId>, sets: &[VlanSet]) -> bool {
    match source {
        Vlans::Trunk { allowed, .. } => has(sets, allowed, vlan),
        _ => vlan == source.own(),
    }
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

/// The VLAN of a frame inside the switch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Carried {
    /// `None`: the untagged network.
    pub vlan: Option<VlanId>,
    /// The tag is in the frame's bytes. It comes off before a destination gets the frame without a tag
    /// (`FrameTag::comes_off`).
    pub in_bytes: bool,
    /// The VLAN of a service tag at the beginning of the frame's bytes: payload for 802.1Q equipment, and the VLAN for
    /// equipment that reads such tags.
    pub service: Option<VlanId>,
    /// The VLAN is in the out-of-band tag, and the bytes begin with another tag. Whoever gets the frame without the
    /// former takes the latter for its VLAN (row D10).
    pub inner: bool,
}

impl Carried {
    pub const UNTAGGED: Self = Self { vlan: None, in_bytes: false, service: None, inner: false };
}

/// How an admitted frame is delivered to a destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Admitted {
    /// `PreserveVLAN` of the destination: the frame is delivered with its tag. Without it also a tag in the frame's bytes
    /// must not arrive (row D7).
    pub tagged: bool,
}

/// Rows S1 to S8: the VLAN of a frame from a port with the mode `source`. `tag_vlan` is the VLAN ID of its out-of-band
/// tag, 0 without one.
pub fn classify(
    source: Vlans,
    tag_vlan: u16,
    headers: &Headers,
    sets: &[VlanSet],
) -> Result<Carried, DropReason> {
    let said = tags(tag_vlan, headers).ok_or(DropReason::BadTag)?;
    let untagged = said.vlan.is_none();
    let frame = if untagged { Carried { vlan: source.own(), ..said } } else { said };
    match source {
        Vlans::Trunk { allowed, .. }
            if has(sets, allowed, frame.vlan)
                && (frame.service.is_none() || has(sets, allowed, frame.service)) =>
        {
            Ok(frame)
        }
        Vlans::Trunk { .. } => Err(DropReason::VlanNotAllowed),
        _ if untagged && frame.service.is_none() => Ok(frame),
        Vlans::Access(_) | Vlans::Isolated { .. } | Vlans::Community { .. } | Vlans::Promiscuous { .. } => {
            Err(DropReason::TaggedFrame)
        }
    }
}

/// What the tags of a frame say. `None` for an invalid one: a reserved VLAN ID, or, without an out-of-band VLAN, a tag
/// without a length or type behind it (IEEE 802.3, 3.1.1), or after a priority tag.
fn tags(tag_vlan: u16, headers: &Headers) -> Option<Carried> {
    if tag_vlan != 0 {
        let vlan = VlanId::new(tag_vlan)?;
        return Some(Carried { vlan: Some(vlan), inner: begins_with_vlan(headers), ..Carried::UNTAGGED });
    }
    match (headers.tags(), headers.tag_vlan()) {
        // A switch that removes the priority tag would forward the frame in the VLAN of the next tag.
        (_, 0) if headers.tags() > 1 || headers.tag_is_cut() => None,
        (_, 0) => Some(Carried::UNTAGGED),
        (_, vlan) if headers.is_service_tagged() => {
            Some(Carried { service: Some(VlanId::new(vlan)?), ..Carried::UNTAGGED })
        }
        // A tag behind it is payload, complete or not.
        (_, vlan) => Some(Carried { vlan: Some(VlanId::new(vlan)?), in_bytes: true, ..Carried::UNTAGGED }),
    }
}

/// Whether the bytes, taken for a whole frame, begin with a tag from which a VLAN could be read: any but one priority tag
/// alone.
fn begins_with_vlan(headers: &Headers) -> bool {
    match headers.tags() {
        0 => headers.cut_vlan() != 0,
        1 => headers.tag_vlan() != 0 || headers.tag_is_cut(),
        _ => true,
    }
}

/// Rows D1 to D10: whether a port with the mode `destination` may receive a frame from a port with the mode `source`,
/// and whether with its tag.
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
    // D10: it keeps the tag around the one in its bytes, also in the native VLAN.
    if frame.inner {
        let keeps = matches!(destination, Vlans::Trunk { .. });
        return if keeps { Ok(Admitted { tagged: true }) } else { Err(DropReason::TagInBytes) };
    }
    match (tagged, frame.service, destination) {
        (true, ..) | (_, None, _) => Ok(Admitted { tagged }),
        // D9: it is delivered with the service tag in front.
        (_, service, Vlans::Trunk { allowed, .. }) if has(sets, allowed, service) => Ok(Admitted { tagged }),
        (.., Vlans::Trunk { .. }) => Err(DropReason::VlanMismatch),
        _ => Err(DropReason::TagInBytes),
    }
}

/// Without this rule an access port in the secondary VLAN would receive the frames of isolated ports.
const fn is_kept_apart(source: Vlans, destination: Vlans) -> bool {
    source.is_private() && matches!(destination, Vlans::Access(_))
}

/// The contents of a VLAN property, before its sets are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VlanProperty<'a> {
    Access { vlan: u16 },
    Trunk { native: u16, allowed: Bits<'a>, pruned: Bits<'a> },
    Isolated { primary: u16, secondary: u16 },
    Community { primary: u16, secondary: u16 },
    Promiscuous { primary: u16, secondaries: Bits<'a> },
}

/// The property names an invalid VLAN, or the same one as primary and secondary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused;

/// A VLAN property that was checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestedVlans<'a> {
    /// The mode, without its set.
    vlans: Vlans,
    set: Option<SetOf<'a>>,
}

/// The set in a property, not stored yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SetOf<'a> {
    Trunk { native: u16, allowed: Bits<'a>, pruned: Bits<'a> },
    Promiscuous(Bits<'a>),
}

impl SetOf<'_> {
    fn word(&self, at: usize) -> u64 {
        match self {
            Self::Promiscuous(secondaries) => secondaries.word(at),
            // "Non-VLAN packets" always pass a trunk. A pruned VLAN never does, even if it is also allowed.
            Self::Trunk { native, allowed, pruned } => {
                let listed = if at == 0 { allowed.word(0) & !1 } else { allowed.word(at) };
                let own = if at == usize::from(*native >> 6) { bit(*native) } else { 0 };
                (listed | own) & !pruned.word(at)
            }
        }
    }
}

impl<'a> VlanProperty<'a> {
    /// Checks the VLAN IDs and their combinations.
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
    /// Whether the property is access mode with VLAN 0. A switch reports it for every port that is not configured, the
    /// external port included, so it counts as no property.
    pub fn is_unsaid(&self) -> bool {
        self.vlans == Vlans::UNTAGGED
    }

    /// Stores the set and returns the mode of the port.
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
