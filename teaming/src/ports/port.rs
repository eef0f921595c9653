//! One port of the switch, its NIC, and what a destination keeps of a tag.

use crate::ids::{MacAddr, NicId, NicIndex, PortId};
use crate::oid::nic::{NicKind, VmId};
use crate::ports::policy::PortPolicy;

bitflags::bitflags! {
    /// What a destination keeps of the tag: bits of `NDIS_SWITCH_PORT_DESTINATION`.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct Preserve: u8 {
        const VLAN = 2;
        const PRIORITY = 4;
    }
}

impl Preserve {
    pub(crate) const NOTHING: Self = Self::empty();

    /// The VLAN too, if `tagged`.
    #[inline]
    pub(crate) const fn with_vlan(self, tagged: bool) -> Self {
        self.union(if tagged { Self::VLAN } else { Self::NOTHING })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NicState {
    /// The port has no NIC.
    Free,
    Created,
    Connected,
}

/// What is known of a vNIC's multicast groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Groups {
    /// Nothing, or not all: it gets every multicast frame.
    Unknown,
    /// Created while the extension ran, and no group named yet: it gets every multicast frame.
    Fresh,
    /// It gets the groups that are kept for it.
    Known,
}

/// One port. The members that packets look at come first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Port {
    pub id: NicId,
    /// What HyperVPort hashes for its NIC: the id that this had when it was first created, perhaps on another host.
    pub hashed_as: NicId,
    /// `PortPolicy::key`.
    pub(crate) key: u64,
    pub policy: PortPolicy,
    pub(super) priority: Preserve,
    pub nic: NicState,
    pub kind: NicKind,
    pub groups: Groups,
    /// The adapter listens to more than its groups (packet filter).
    pub(crate) all_groups: bool,
    /// Known from its own creation or enumeration, not only from a NIC on it.
    pub(super) announced: bool,
    /// Being torn down: no new reference may be taken.
    pub(super) leaving: bool,
    pub(super) used: bool,
    /// The VM uses a virtual function instead of the vNIC.
    pub vf_assigned: bool,
    pub current_mac: MacAddr,
    pub permanent_mac: MacAddr,
    pub vm_mac: MacAddr,
    pub mtu: u32,
    pub vm: VmId,
    /// Counts changes of its properties, so that an enumeration notices that what it read is stale.
    pub revision: u32,
}

// Packets touch the first half; a thousand ports fit into 128 KiB.
const _: () = assert!(core::mem::size_of::<Port>() <= 128);

impl Port {
    pub const EMPTY: Self = Self {
        id: NicId::new(PortId::DEFAULT, NicIndex::DEFAULT),
        hashed_as: NicId::new(PortId::DEFAULT, NicIndex::DEFAULT),
        key: 0,
        policy: PortPolicy::NONE,
        priority: Preserve::NOTHING,
        nic: NicState::Free,
        kind: NicKind::Synthetic,
        groups: Groups::Unknown,
        all_groups: false,
        announced: false,
        leaving: false,
        used: false,
        vf_assigned: false,
        current_mac: MacAddr::ZERO,
        permanent_mac: MacAddr::ZERO,
        vm_mac: MacAddr::ZERO,
        mtu: 0,
        vm: VmId::NONE,
        revision: 0,
    };

    /// The addresses it is reached at: the one in use, and those it was given. Zeros are no address.
    pub fn addresses(&self) -> impl Iterator<Item = MacAddr> + use<> {
        let all = [self.current_mac, self.permanent_mac, self.vm_mac];
        (0..all.len())
            .filter_map(move |at| {
                let mac = *all.get(at)?;
                let before = all.get(..at)?;
                (!before.contains(&mac)).then_some(mac)
            })
            .filter(|&mac| mac != MacAddr::ZERO && !mac.is_multicast())
    }

    /// It has that NIC, connected or not.
    pub fn is_station(&self, nic: NicId) -> bool {
        self.id == nic && self.has_nic()
    }

    /// A NIC exists on the port, connected or not.
    pub const fn has_nic(&self) -> bool {
        !matches!(self.nic, NicState::Free)
    }

    pub const fn is_connected(&self) -> bool {
        matches!(self.nic, NicState::Connected)
    }

    /// Being torn down: no new reference may be taken.
    pub const fn is_leaving(&self) -> bool {
        self.leaving
    }

    /// It may send from addresses that the switch does not know (MAC spoofing allowed).
    pub fn may_learn(&self) -> bool {
        self.policy.security().mac_spoofing
    }

    /// `Preserve::PRIORITY` if the priority of a tag may reach it.
    #[inline]
    pub(crate) const fn priority(&self) -> Preserve {
        self.priority
    }

    /// Its policy has changed.
    pub(super) fn refresh(&mut self) {
        self.key = self.policy.key();
        self.priority =
            if self.policy.security().priority_tag { Preserve::PRIORITY } else { Preserve::NOTHING };
        self.revision = self.revision.wrapping_add(1);
    }
}
