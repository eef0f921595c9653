//! Policies of a port: VLANs, addresses, priorities, virtual subnets, and properties without effect here.
//!
//! In the terms of the documentation (ns-ntddndis-_ndis_switch_port_property_vlan.md, ..._security.md).
//! `control/property_bytes.rs` has the binary form, `reference` the effect on packets.

use litemap::LiteMap;
use std::collections::BTreeSet;

/// Largest valid VLAN id.
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
    /// NdisSwitchPortVlanModeUnknown: the property exists without effect.
    Unknown,
}

impl Vlan {
    pub fn trunk(native: u16, allowed: impl IntoIterator<Item = u16>) -> Self {
        Self::Trunk { native, allowed: allowed.into_iter().collect(), pruned: BTreeSet::new() }
    }

    pub const fn is_trunk(&self) -> bool {
        matches!(self, Self::Trunk { .. })
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
    /// A custom property with this id.
    Custom {
        id: [u8; 16],
        data: Vec<u8>,
    },
    /// An undefined type.
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

    /// Whether the property has a standard type (not custom, not undefined).
    pub const fn is_standard(&self) -> bool {
        matches!(self.kind(), kind::SECURITY..=kind::ROUTING_DOMAIN)
    }
}

/// How the extension learned a policy, which determines the rule that it breaks if it does not apply the policy.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub enum Told {
    #[default]
    Nothing,
    /// By ADD or UPDATE.
    ByRequest,
    /// By ADD or UPDATE with a PropertyId without meaning.
    UnderAnyId,
    /// By ADD or UPDATE of a newer minor version.
    AsNewerVersion,
    /// By the enumeration only.
    ByEnumeration,
    /// A change failed below, so the old policy applies.
    RolledBack,
    /// A damaged request was refused, so the old policy applies.
    Damaged,
}

/// The present properties of a port.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Policies {
    /// By instance id; a port may have several instances of a type.
    pub properties: LiteMap<u64, Property>,
    pub told: Told,
    /// Number of changes.
    pub changes: u64,
}

impl Policies {
    pub fn vlan(&self) -> Option<&Vlan> {
        self.properties.values().find_map(|p| if let Property::Vlan(vlan) = p { Some(vlan) } else { None })
    }

    pub fn security(&self) -> Option<Security> {
        self.properties.values().find_map(|p| if let Property::Security(s) = p { Some(*s) } else { None })
    }

    /// The instances of one type that an enumeration returns; `unsaid` is returned for a port without a VLAN property.
    pub fn reported<'a>(
        &'a self,
        kind: i32,
        unsaid: Option<&'a Property>,
    ) -> impl Iterator<Item = (u64, &'a Property)> {
        let unsaid = unsaid.filter(move |p| p.kind() == kind && self.vlan().is_none());
        let provisioned = self.properties.iter().filter(move |(_, property)| property.kind() == kind);
        unsaid.map(|p| (0, p)).into_iter().chain(provisioned.map(|(instance, p)| (*instance, p)))
    }

    /// Whether the port may use any source address, and so may have other hosts behind it.
    pub fn may_spoof(&self) -> bool {
        self.security().is_some_and(|s| s.spoofing)
    }

    pub fn subnet(&self) -> u32 {
        self.security().map_or(0, |s| s.subnet)
    }
}
