//! One port of the switch, its NIC, and what a destination keeps of a tag.

use crate::ids::{HashId, MacAddr, NicId, NicIndex, PortId, VlanId};
use crate::oid::nic::{NicKind, VmId};
use crate::ports::policy::{self, PortPolicy};
use crate::ports::vlan::Vlans;
use crate::seats::Seated;
use core::num::NonZero;

bitflags::bitflags! {
    /// What a destination keeps of the tag: bits of `NDIS_SWITCH_PORT_DESTINATION`.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct Preserve: u8 {
        const VLAN = 2;
        const PRIORITY = 4;
    }
}

/// The source of a list in one word, as the forwarding detail has it: the port in bits 0 to 15, the NIC index in bits 16 to
/// 23; never 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListSource(NonZero<u32>);

impl ListSource {
    /// `None` for a word without a port.
    #[inline(always)]
    pub const fn new(word: u32) -> Option<Self> {
        match NonZero::new(word) {
            Some(word) if word.get() & 0xFFFF != 0 => Some(Self(word)),
            _ => None,
        }
    }

    /// `None` for a NIC that no list can name.
    pub fn of(nic: NicId) -> Option<Self> {
        let port = u16::try_from(nic.port.get()).ok()?;
        let index = u8::try_from(nic.index.get()).ok()?;
        Self::new(u32::from(port) | u32::from(index) << 16)
    }

    #[inline(always)]
    pub const fn port(self) -> PortId {
        PortId::new(self.0.get() & 0xFFFF)
    }
}

impl Preserve {
    pub(crate) const NOTHING: Self = Self::empty();

    /// In the word of a destination (`NDIS_SWITCH_PORT_DESTINATION`), bits 48 to 55.
    #[inline(always)]
    pub(crate) fn in_destination(self) -> u64 {
        u64::from(self.bits()) << 48
    }

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
    /// Created for a VM that begins, and no group named yet: it gets every multicast frame.
    Fresh,
    /// It gets the groups that are kept for it.
    Known,
}

/// Whose VLAN numbers stand in the out-of-band tags of the lists that a port has in flight. A list that is not the
/// extension's own keeps no note of who wrote its tag (reserved bits are not ours,
/// ns-nbl8021q-ndis_net_buffer_list_8021q_info), so one port never has both in foreign lists: the first policy that needs
/// tags decides, until the NIC is gone and with it all of its lists. The other kind travels in lists of our own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TagOwner {
    /// No policy has needed a tag yet.
    Undecided,
    /// The extension: a VLAN that comes back was written by it and is taken out again.
    Extension,
    /// The source: what comes back is as it came.
    Source,
}

/// One port. The members that packets look at come first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Port {
    pub id: NicId,
    /// What HyperVPort hashes for its NIC: the id that this had when it was first created, perhaps on another host, and the
    /// seat.
    pub hashed_as: HashId,
    /// `PortPolicy::key`.
    pub(crate) key: u64,
    /// The source that its NIC's packets name if they may take the express way: the NIC is on an open access port without a
    /// virtual subnet, whose VLAN, if any, goes into the out-of-band tag of any list.
    pub(crate) express_as: Option<ListSource>,
    pub(super) priority: Preserve,
    /// The access VLAN that goes into the out-of-band tag of its NIC's packets, if they take the express way.
    pub(crate) tag: Option<VlanId>,
    /// Its NIC's address as a word.
    pub(crate) station: u64,
    /// In a `Target` of the external port, what that keeps of the tag of the NIC's packets if they take the express way.
    pub(crate) outside: u64,
    pub policy: PortPolicy,
    pub nic: NicState,
    pub kind: NicKind,
    pub groups: Groups,
    /// How many groups are kept for it.
    pub(super) named: u8,
    /// The adapter listens to more than its groups (packet filter).
    pub(crate) all_groups: bool,
    /// Known from its own creation or enumeration, not only from a NIC on it.
    pub(super) announced: bool,
    /// Being torn down: no new reference may be taken.
    pub(super) leaving: bool,
    pub(super) used: bool,
    pub(crate) tag_owner: TagOwner,
    /// Its address is in the host's table of those that may be taken over.
    pub(super) shared: bool,
    /// The VM uses a virtual function instead of the vNIC.
    pub vf_assigned: bool,
    pub seated: Seated,
    /// A record has said what its NIC is hashed as.
    pub(super) restored: bool,
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

impl TagOwner {
    /// Who begins to write tags under a policy.
    const fn under(vlans: Vlans) -> Self {
        match vlans {
            Vlans::Trunk { .. } => Self::Source,
            Vlans::Access(None) => Self::Undecided,
            Vlans::Access(Some(_))
            | Vlans::Isolated { .. }
            | Vlans::Community { .. }
            | Vlans::Promiscuous { .. } => Self::Extension,
        }
    }
}

impl Port {
    pub const EMPTY: Self = Self {
        id: NicId::new(PortId::DEFAULT, NicIndex::DEFAULT),
        hashed_as: HashId::new(NicId::new(PortId::DEFAULT, NicIndex::DEFAULT), 0),
        key: 0,
        express_as: None,
        priority: Preserve::NOTHING,
        tag: None,
        station: 0,
        outside: 0,
        policy: PortPolicy::NONE,
        nic: NicState::Free,
        kind: NicKind::Synthetic,
        groups: Groups::Unknown,
        named: 0,
        all_groups: false,
        announced: false,
        leaving: false,
        used: false,
        tag_owner: TagOwner::Undecided,
        shared: false,
        vf_assigned: false,
        seated: Seated::Open,
        restored: false,
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
        if self.tag_owner == TagOwner::Undecided {
            self.tag_owner = TagOwner::under(self.policy.vlans());
        }
        self.priority =
            if self.policy.security().priority_tag { Preserve::PRIORITY } else { Preserve::NOTHING };
        self.revision = self.revision.wrapping_add(1);
        self.refresh_express();
    }

    /// Its policy or its NIC has changed.
    pub(super) fn refresh_express(&mut self) {
        let (vlan, subnet) = policy::of_key(self.key);
        let is_tagged_here = vlan.is_none() || self.tag_owner == TagOwner::Extension;
        let is_simple = self.key != 0 && subnet == 0 && is_tagged_here && self.has_nic();
        self.express_as = ListSource::of(self.id).filter(|_| is_simple);
        self.tag = vlan;
        self.station = self.current_mac.word();
        self.outside = self.priority.with_vlan(vlan.is_some()).in_destination();
    }
}
