//! A second implementation of the VLAN table and port policies of `src/ARCHITECTURE.md`, in plain numbers and lists:
//! destinations and preserve bits of a frame. VLAN 0 means none.

use std::collections::BTreeMap;

use teaming::ids::PortId;
use teaming::ports::policy::Security;
use teaming::ports::port::Preserve;
use teaming::ports::vlan::{Bits, VlanProperty};

use crate::host::{Host, Place, vlan_bytes};

/// The VLAN property of a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mode {
    Nothing,
    Access(u16),
    Trunk { native: u16, listed: Vec<u16>, pruned: Vec<u16> },
    Isolated(u16, u16),
    Community(u16, u16),
    Promiscuous(u16, Vec<u16>),
}

/// All policies of a port.
#[derive(Debug, Clone)]
pub struct Rules {
    pub mode: Mode,
    pub priority: bool,
    pub subnet: u32,
    pub closed: bool,
}

/// The source of a frame.
#[derive(Debug, Clone)]
pub enum From {
    Station(u32, Rules),
    /// The external port, with its policies.
    Outside(Rules),
    /// Port 0.
    Switch,
}

/// The tags of a frame and its out-of-band data.
#[derive(Debug, Clone, Default)]
pub struct Form {
    pub tag_vlan: u16,
    pub tags: Vec<u16>,
    pub subnet: u32,
}

/// A frame that its source port admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Inside {
    pub vlan: u16,
    /// The VLAN is in a tag in the bytes, which comes off for a destination without VLAN tags (D7).
    pub in_bytes: bool,
    /// Behind the out-of-band tag is another one, which must not be shown as the frame's own (D10).
    inner: bool,
    subnet: u32,
    /// The VLAN is neither in the out-of-band tag nor in the bytes, so the driver must write it for the extensions
    /// below.
    pub untold: bool,
}

impl Mode {
    /// Calls `then` with the VLAN property, or with `None`.
    pub fn with_property<T>(&self, then: impl FnOnce(Option<VlanProperty<'_>>) -> T) -> T {
        match self {
            Self::Nothing => then(None),
            Self::Access(vlan) => then(Some(VlanProperty::Access { vlan: *vlan })),
            Self::Trunk { native, listed, pruned } => {
                let (allowed, pruned) = (vlan_bytes(listed), vlan_bytes(pruned));
                let (allowed, pruned) = (Bits(&allowed), Bits(&pruned));
                then(Some(VlanProperty::Trunk { native: *native, allowed, pruned }))
            }
            Self::Isolated(primary, secondary) => {
                then(Some(VlanProperty::Isolated { primary: *primary, secondary: *secondary }))
            }
            Self::Community(primary, secondary) => {
                then(Some(VlanProperty::Community { primary: *primary, secondary: *secondary }))
            }
            Self::Promiscuous(primary, secondaries) => {
                let bytes = vlan_bytes(secondaries);
                then(Some(VlanProperty::Promiscuous { primary: *primary, secondaries: Bits(&bytes) }))
            }
        }
    }

    fn is_private(&self) -> bool {
        matches!(self, Self::Isolated(..) | Self::Community(..) | Self::Promiscuous(..))
    }

    /// Whether the port has no VLAN configuration: a switch reports access VLAN 0 for every port that is not
    /// configured.
    const fn is_unsaid(&self) -> bool {
        matches!(self, Self::Nothing | Self::Access(0))
    }

    /// Whether the VLAN passes a trunk: a pruned one never does, the native one need not be listed.
    fn trunk_has(&self, vlan: u16) -> bool {
        let Self::Trunk { native, listed, pruned } = self else { panic!("{self:?}") };
        !pruned.contains(&vlan) && (vlan == *native || vlan != 0 && listed.contains(&vlan))
    }
}

impl Rules {
    pub const fn new(mode: Mode) -> Self {
        Self { mode, priority: false, subnet: 0, closed: false }
    }

    pub fn security(&self) -> Security {
        Security { priority_tag: self.priority, virtual_subnet: self.subnet, ..Security::STRICT }
    }

    /// Sets the policies of a port that has none yet.
    pub fn set(&self, host: &mut Host, port: PortId) {
        // The VLAN property is set last, so that the test fails if only a later change applied it.
        host.forwarding.set_security(port, Some(self.security()));
        self.mode.with_property(|property| {
            let wanted = property.map(|property| property.check().unwrap());
            host.forwarding.set_vlans(port, wanted.as_ref()).unwrap();
        });
        if self.closed {
            host.forwarding.close(port);
        }
    }
}

impl From {
    /// Rows S1 to S7, and the virtual subnet; `None`: dropped.
    pub fn enters(&self, form: &Form) -> Option<Inside> {
        let (mode, own_subnet) = match self {
            Self::Station(_, rules) | Self::Outside(rules) if rules.closed => return None,
            Self::Outside(rules) if rules.mode.is_unsaid() => (None, rules.subnet),
            Self::Station(_, rules) | Self::Outside(rules) => (Some(&rules.mode), rules.subnet),
            Self::Switch => (None, 0),
        };
        let first = form.tags.first().map(|tag| tag & 0xfff);
        // S1.
        let (said, in_bytes) = match (form.tag_vlan, first) {
            (4095, _) | (0, Some(4095)) => return None,
            (0, Some(0)) if form.tags.len() > 1 => return None,
            (0, Some(0) | None) => (0, false),
            (0, Some(vlan)) => (vlan, true),
            (vlan, _) => (vlan, false),
        };
        let vlan = match mode {
            // S7.
            None => said,
            // S4 to S6.
            Some(trunk @ Mode::Trunk { native, .. }) => {
                let vlan = if said == 0 { *native } else { said };
                trunk.trunk_has(vlan).then_some(vlan)?
            }
            // S3.
            Some(_) if said != 0 => return None,
            // S2.
            Some(Mode::Nothing) => 0,
            Some(Mode::Access(own) | Mode::Promiscuous(own, _)) => *own,
            Some(Mode::Isolated(_, own) | Mode::Community(_, own)) => *own,
        };
        let subnet = match (own_subnet, form.subnet) {
            (0, told) => told,
            (own, 0) => own,
            (own, told) if own == told => own,
            _ => return None,
        };
        let inner = form.tag_vlan != 0 && (first.is_some_and(|vlan| vlan != 0) || form.tags.len() > 1);
        Some(Inside { vlan, in_bytes, inner, subnet, untold: vlan != 0 && said == 0 })
    }

    fn sends_privately(&self) -> bool {
        match self {
            Self::Station(_, rules) | Self::Outside(rules) => rules.mode.is_private(),
            Self::Switch => false,
        }
    }

    /// Whether priority tags are allowed; the external port and port 0 always allow them.
    fn priority(&self) -> bool {
        match self {
            Self::Station(_, rules) => rules.priority,
            Self::Outside(_) | Self::Switch => true,
        }
    }

    /// Rows D1 to D7 and D10: `None` if a port in this mode does not admit the frame, otherwise whether it is delivered with
    /// its tag.
    fn admits(&self, inside: &Inside, to: &Mode, outside: bool) -> Option<bool> {
        let vlan = inside.vlan;
        let tagged = match to {
            unsaid if outside && unsaid.is_unsaid() => vlan != 0,
            Mode::Nothing | Mode::Access(_) => {
                let own = if let Mode::Access(own) = to { *own } else { 0 };
                (own == vlan && !self.sends_privately()).then_some(false)?
            }
            trunk @ Mode::Trunk { native, .. } => trunk.trunk_has(vlan).then_some(vlan != *native)?,
            Mode::Isolated(primary, _) => (vlan == *primary).then_some(false)?,
            Mode::Community(primary, secondary) => [*primary, *secondary].contains(&vlan).then_some(false)?,
            Mode::Promiscuous(primary, secondaries) => {
                (vlan == *primary || vlan != 0 && secondaries.contains(&vlan)).then_some(false)?
            }
        };
        let keeps = matches!(to, Mode::Trunk { .. }) || outside && to.is_unsaid();
        if inside.inner { keeps.then_some(true) } else { Some(tagged) }
    }

    /// The preserve bits of a vNIC's copy; `None` if it gets none.
    pub fn station(&self, inside: &Inside, to: &Rules) -> Option<u8> {
        let priority = bit(self.priority() && to.priority, Preserve::PRIORITY.bits());
        if to.closed {
            return None;
        }
        // D8.
        if matches!(self, Self::Switch) && inside.vlan == 0 && inside.subnet == 0 {
            return Some(priority);
        }
        let tagged = self.admits(inside, &to.mode, false).filter(|_| inside.subnet == to.subnet)?;
        Some(priority | bit(tagged, Preserve::VLAN.bits()))
    }

    /// The preserve bits of the copy to the external port; `None` if it gets none, as for every frame from the
    /// external port.
    pub fn outside(&self, inside: &Inside, form: &Form, to: &Rules) -> Option<u8> {
        let told = inside.subnet == 0 || form.subnet != 0;
        if matches!(self, Self::Outside(_)) || to.closed || !told {
            return None;
        }
        let tagged = self.admits(inside, &to.mode, true)?;
        Some(bit(self.priority(), Preserve::PRIORITY.bits()) | bit(tagged, Preserve::VLAN.bits()))
    }

    /// The destinations of a broadcast.
    pub fn broadcast<'a>(
        &self,
        form: &Form,
        stations: impl Iterator<Item = (u32, &'a Rules)>,
        outside: &Rules,
    ) -> Option<BTreeMap<Place, u8>> {
        let inside = self.enters(form)?;
        let own = if let Self::Station(port, _) = self { *port } else { 0 };
        let mut ways: BTreeMap<Place, u8> = stations
            .filter(|(port, _)| *port != own)
            .filter_map(|(port, rules)| Some((Place::Station(port), self.station(&inside, rules)?)))
            .collect();
        ways.extend(self.outside(&inside, form, outside).map(|bits| (Place::Outside, bits)));
        Some(ways)
    }
}

const fn bit(set: bool, bit: u8) -> u8 {
    if set { bit } else { 0 }
}
