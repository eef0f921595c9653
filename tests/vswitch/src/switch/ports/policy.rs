//! What a port was told to allow: VLANs, addresses, priorities, virtual subnets, and properties that mean nothing here.
//!
//! Truth in the terms of the documentation (ns-ntddndis-_ndis_switch_port_property_vlan.md, ..._security.md); how it
//! travels stands in `control/property_bytes.rs`, what follows from it for packets in `reference`.

use std::collections::{BTreeMap, BTreeSet};

/// Largest VLAN id that names a VLAN.
pub const LAST_VLAN: u16 = 4094;

/// `NDIS_SWITCH_PORT_PROPERTY_VLAN`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Vlan {
    /// One VLAN, untagged on the port; 0 is none.
    Access(u16),
    Trunk {
        /// VLAN of untagged frames.
        native: u16,
        allowed: BTreeSet<u16>,
        /// Blocked whatever `allowed` says.
        pruned: BTreeSet<u16>,
    },
    Private(Private),
    /// NdisSwitchPortVlanModeUnknown: the property is there and says nothing.
    Unknown,
}

impl Vlan {
    pub fn trunk(native: u16, allowed: impl IntoIterator<Item = u16>) -> Self {
        Self::Trunk { native, allowed: allowed.into_iter().collect(), pruned: BTreeSet::new() }
    }
}

/// The private modes (ne-ntddndis-_ndis_switch_port_pvlan_mode.md).
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Private {
    Isolated { primary: u16, secondary: u16 },
    Community { primary: u16, secondary: u16 },
    Promiscuous { primary: u16, secondaries: BTreeSet<u16> },
}

/// `NDIS_SWITCH_PORT_PROPERTY_SECURITY`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Security {
    pub spoofing: bool,
    pub priority_tag: bool,
    /// 0 is none.
    pub subnet: u32,
    pub teaming: bool,
}

/// One property of a port.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Property {
    Vlan(Vlan),
    Security(Security),
    Profile,
    /// `NDIS_ISOLATION_MODE`.
    Isolation {
        mode: i32,
    },
    RoutingDomain,
    /// Of somebody else's making, under this id.
    Custom {
        id: [u8; 16],
        data: Vec<u8>,
    },
    /// A type that does not exist yet.
    Unknown {
        kind: i32,
    },
}

/// `NDIS_SWITCH_PORT_PROPERTY_TYPE` by number.
pub mod kind {
    pub const CUSTOM: i32 = 1;
    pub const SECURITY: i32 = 2;
    pub const VLAN: i32 = 3;
    pub const PROFILE: i32 = 4;
    pub const ISOLATION: i32 = 5;
    pub const ROUTING_DOMAIN: i32 = 6;
}

impl Property {
    pub const fn kind(&self) -> i32 {
        match self {
            Self::Custom { .. } => kind::CUSTOM,
            Self::Security(_) => kind::SECURITY,
            Self::Vlan(_) => kind::VLAN,
            Self::Profile => kind::PROFILE,
            Self::Isolation { .. } => kind::ISOLATION,
            Self::RoutingDomain => kind::ROUTING_DOMAIN,
            Self::Unknown { kind } => *kind,
        }
    }

    /// Properties of a standard type (not custom, not of a type from the future).
    pub const fn is_standard(&self) -> bool {
        matches!(self.kind(), kind::SECURITY..=kind::ROUTING_DOMAIN)
    }
}

/// How the extension got to know what a port allows; names the rule that is broken when it does not keep to it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub enum Told {
    #[default]
    Nothing,
    /// By ADD or UPDATE.
    ByRequest,
    /// By ADD or UPDATE with a PropertyId that means nothing.
    UnderAnyId,
    /// By ADD or UPDATE of a newer minor version.
    AsNewerVersion,
    /// Only from the enumeration.
    ByEnumeration,
    /// A change was refused below, so the old policy stands.
    RolledBack,
    /// A damaged payload came, so the old policy stands.
    Damaged,
}

/// What a port was given and not lost again.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Policies {
    /// By instance id: several instances of one type may be there.
    pub properties: BTreeMap<u64, Property>,
    pub told: Told,
}

impl Policies {
    pub fn vlan(&self) -> Option<&Vlan> {
        self.properties.values().find_map(|p| if let Property::Vlan(vlan) = p { Some(vlan) } else { None })
    }

    pub fn security(&self) -> Option<Security> {
        self.properties.values().find_map(|p| if let Property::Security(s) = p { Some(*s) } else { None })
    }

    /// What an enumeration of one type gives, by instance; `unsaid` stands for the VLANs of a port that has none.
    pub fn reported<'a>(
        &'a self,
        kind: i32,
        unsaid: Option<&'a Property>,
    ) -> impl Iterator<Item = (u64, &'a Property)> {
        let unsaid = unsaid.filter(move |p| p.kind() == kind && self.vlan().is_none());
        let provisioned = self.properties.iter().filter(move |(_, property)| property.kind() == kind);
        unsaid.map(|p| (0, p)).into_iter().chain(provisioned.map(|(instance, p)| (*instance, p)))
    }

    /// May send with any address, and so may have vNICs behind it.
    pub fn may_spoof(&self) -> bool {
        self.security().is_some_and(|s| s.spoofing)
    }

    pub fn subnet(&self) -> u32 {
        self.security().map_or(0, |s| s.subnet)
    }
}
