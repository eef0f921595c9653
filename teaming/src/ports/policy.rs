//! What a port allows: VLANs, source addresses, priority tags, virtual subnet. Made from its properties by the control
//! path, kept with the port by `ports`, asked for each packet by `forward`.

use crate::ports::vlan::Vlans;

/// `NDIS_SWITCH_PORT_PROPERTY_SECURITY`, as far as a forwarding extension enforces it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Security {
    /// Source addresses other than the adapter's own are allowed, and learned.
    pub mac_spoofing: bool,
    /// The addresses of other adapters of the same virtual machine are allowed.
    pub teaming: bool,
    /// The priority of a tag reaches the adapter, and leaves it.
    pub priority_tag: bool,
    /// 24 bits; 0 is none.
    pub virtual_subnet: u32,
}

impl Security {
    /// A port without properties.
    pub const STRICT: Self =
        Self { mac_spoofing: false, teaming: false, priority_tag: false, virtual_subnet: 0 };
    /// The external port, and the switch itself.
    pub const TRUSTED: Self =
        Self { mac_spoofing: true, teaming: false, priority_tag: true, virtual_subnet: 0 };
}

/// All policies of one port. A property that was never set, or was deleted, is `None`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortPolicy {
    pub vlans: Option<Vlans>,
    pub security: Option<Security>,
    /// The properties have not been read yet, or one cannot be enforced: all traffic is dropped.
    pub closed: bool,
}

impl PortPolicy {
    pub const NONE: Self = Self { vlans: None, security: None, closed: false };

    /// The properties that apply to a vNIC, of a VM or of the host.
    pub fn vlans(&self) -> Vlans {
        self.vlans.unwrap_or(Vlans::UNTAGGED)
    }

    pub fn security(&self) -> Security {
        self.security.unwrap_or(Security::STRICT)
    }

    /// Equal for two open access ports that may exchange every frame without a tag, and for a frame in their VLAN; 0
    /// for all others, which are compared in full, and for a port whose address another one may have taken over.
    pub fn key(&self) -> u64 {
        match self.vlans() {
            Vlans::Access(vlan) if !self.closed && !self.security().teaming => {
                key(vlan.map_or(0, crate::ids::VlanId::get), self.security().virtual_subnet)
            }
            _ => 0,
        }
    }
}

/// The key of a frame, or for 0 one that no port has.
#[inline]
pub const fn comparable(key: u64) -> u64 {
    if key == 0 { 1 } else { key }
}

/// The key of a frame in a VLAN and a virtual subnet.
#[inline]
pub const fn key(vlan: u16, subnet: u32) -> u64 {
    1 << 63 | (subnet as u64) << 16 | vlan as u64
}

/// The VLAN and the virtual subnet of a key.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "parts of a word")]
pub(crate) const fn of_key(key: u64) -> (Option<crate::ids::VlanId>, u32) {
    (crate::ids::VlanId::new(key as u16), (key >> 16) as u32)
}
