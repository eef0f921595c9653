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

/// What is known of the multicast groups that a station listens to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Groups {
    /// Nothing, or not all: it gets every multicast frame.
    Unknown,
    /// It was created before our eyes and has named no group yet: it gets every multicast frame.
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
    /// Announced itself, not only by its NIC.
    pub(super) announced: bool,
    /// It is being torn down: nobody may refer to it any more.
    pub(super) leaving: bool,
    pub(super) used: bool,
    /// The machine uses a virtual function in place of the adapter.
    pub vf_assigned: bool,
    pub current_mac: MacAddr,
    pub permanent_mac: MacAddr,
    pub vm_mac: MacAddr,
    pub mtu: u32,
    pub vm: VmId,
    /// Counts changes of its properties, so that an enumeration notices that its picture is old.
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

    /// It is the port of that NIC, which is there, connected or not.
    pub fn is_station(&self, nic: NicId) -> bool {
        self.id == nic && self.has_nic()
    }

    /// An adapter stands on the port, connected or not.
    pub const fn has_nic(&self) -> bool {
        !matches!(self.nic, NicState::Free)
    }

    pub const fn is_connected(&self) -> bool {
        matches!(self.nic, NicState::Connected)
    }

    /// It is being torn down: nobody may refer to it any more.
    pub const fn is_leaving(&self) -> bool {
        self.leaving
    }

    /// It may stand for machines whose addresses nobody announced.
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
