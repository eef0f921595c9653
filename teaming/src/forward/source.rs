//! The source of packets: properties that all packets of one source share, looked up once for many packets.
//!
//! Made by `Forwarding::source_port`, kept by a walk while the source stays the same and the lock is held.

use crate::ids::{HashId, MacAddr, NicId, VlanId};
use crate::ports::policy::{self, PortPolicy, Security};
use crate::ports::port::{Port, Preserve, TagOwner};
use crate::ports::vlan::{Carried, Vlans};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    Vnic,
    /// A physical adapter.
    External,
    /// The switch itself, and extensions above: port 0, to which no policy applies.
    Trusted,
    /// An unknown port, or one whose policy has not been read.
    Closed,
}

/// The VLAN, virtual subnet and tags of a packet, which determine the destinations that it may reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameTag {
    /// `PortPolicy::key` of ports that may receive it without a full comparison; 0 for none.
    pub(crate) key: u64,
    /// 0 is none.
    pub(crate) subnet: u32,
    tags: Tags,
}

bitflags::bitflags! {
    /// Flags, and two VLAN IDs of 12 bits each (0 is none), in one word because a decision carries it.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    struct Tags: u32 {
        /// The VLAN.
        const VLAN = 0xfff;
        /// The VLAN of a service tag in front of the bytes.
        const SERVICE = 0xfff << SERVICE_SHIFT;
        /// The VLAN is in a tag in the frame's bytes.
        const IN_BYTES = 1 << 24;
        /// The extension writes the VLAN into the out-of-band tag, and clears it at the completion.
        const WRITTEN = 1 << 25;
        /// The tag may be written only into a child NBL: see `TagOwner`.
        const OWN_LIST = 1 << 26;
        /// The virtual subnet is in the out-of-band data, for the component below that encapsulates the frame.
        const SUBNET_TOLD = 1 << 27;
        /// The bytes begin with another tag than that of the VLAN.
        const INNER = 1 << 28;
    }
}

const SERVICE_SHIFT: u32 = 12;

impl Tags {
    #[expect(clippy::cast_possible_truncation, reason = "12 bits")]
    const fn vlan(self) -> u16 {
        self.intersection(Self::VLAN).bits() as u16
    }

    #[expect(clippy::cast_possible_truncation, reason = "12 bits")]
    const fn service(self) -> u16 {
        (self.intersection(Self::SERVICE).bits() >> SERVICE_SHIFT) as u16
    }
}

// A decision carries it, for every packet.
const _: () = assert!(size_of::<FrameTag>() == 16);

impl FrameTag {
    pub(crate) const NOTHING: Self = Self { key: 0, subnet: 0, tags: Tags::empty() };

    /// `tagged`: the out-of-band tag already has a VLAN; `subnet_told`: the out-of-band data has the virtual subnet.
    pub(crate) fn new(
        carried: Carried,
        subnet: u32,
        (from, owner): (Vlans, TagOwner),
        tagged: bool,
        subnet_told: bool,
    ) -> Self {
        let vlan = carried.vlan.map_or(0, VlanId::get);
        let service = carried.service.map_or(0, VlanId::get);
        let out_of_band = vlan != 0 && !carried.in_bytes;
        let own_list = out_of_band && (tagged == (owner == TagOwner::Extension));
        let writes_tag = out_of_band && (!tagged || own_list);
        let mut tags = Tags::from_bits_retain(u32::from(vlan) | u32::from(service) << SERVICE_SHIFT);
        tags.set(Tags::IN_BYTES, carried.in_bytes);
        tags.set(Tags::WRITTEN, writes_tag);
        tags.set(Tags::OWN_LIST, own_list);
        tags.set(Tags::SUBNET_TOLD, subnet_told);
        tags.set(Tags::INNER, carried.inner);
        Self { key: 0, subnet, tags }.keyed(from)
    }

    pub fn carried(&self) -> Carried {
        Carried {
            vlan: VlanId::new(self.tags.vlan()),
            in_bytes: self.tags.contains(Tags::IN_BYTES),
            service: VlanId::new(self.tags.service()),
            inner: self.tags.contains(Tags::INNER),
        }
    }

    /// The VLAN that the driver must write into the out-of-band tag before it forwards the packet.
    pub fn tag(&self) -> Option<VlanId> {
        if self.tags.contains(Tags::WRITTEN) { VlanId::new(self.tags.vlan()) } else { None }
    }

    /// The tag must not be written into a list that another component originated: at its completion the driver could
    /// not tell this VLAN from one that the component wrote, which must be kept.
    pub const fn needs_own_list(&self) -> bool {
        self.tags.contains(Tags::OWN_LIST)
    }

    /// Whether the frame must not leave: a frame of a virtual subnet whose out-of-band data does not have the subnet
    /// would lose it.
    #[inline]
    pub(crate) const fn stays_inside(&self) -> bool {
        self.subnet != 0 && !self.tags.contains(Tags::SUBNET_TOLD)
    }

    /// With the key of its VLAN and virtual subnet, for a source without one.
    pub(crate) fn keyed(self, from: Vlans) -> Self {
        let compared =
            self.tags.intersects(Tags::IN_BYTES | Tags::SERVICE | Tags::INNER) || from.is_private();
        Self { key: if compared { 0 } else { policy::key(self.tags.vlan(), self.subnet) }, ..self }
    }

    pub(crate) const fn is_tagged(&self) -> bool {
        self.tags.intersects(Tags::VLAN)
    }

    /// The packet leaves as it came, wherever it goes: no VLAN is written, and no tag comes off its bytes.
    #[inline]
    pub const fn stays_as_it_is(&self) -> bool {
        !self.tags.intersects(Tags::WRITTEN.union(Tags::IN_BYTES))
    }

    /// Whether the tag in the packet's bytes must come off for a destination that keeps this of it.
    #[inline]
    pub const fn comes_off(&self, kept: Preserve) -> bool {
        self.tags.contains(Tags::IN_BYTES) && !kept.contains(Preserve::VLAN)
    }
}

/// The source of packets.
#[derive(Debug, Clone, Copy)]
pub struct SourcePort {
    pub nic: NicId,
    /// What HyperVPort hashes for it.
    pub hashed_as: HashId,
    /// Position of a vNIC in the port table, by which its frames are counted; `UNCOUNTED` for every other source.
    pub position: usize,
    pub origin: Origin,
    /// The current address, as a word.
    mac: u64,
    /// Any source address is allowed.
    any_mac: bool,
    /// `Preserve::PRIORITY`, or nothing.
    pub(crate) priority: Preserve,
    pub(crate) vlans: Vlans,
    pub(crate) tag_owner: TagOwner,
    pub(crate) security: Security,
    /// The `FrameTag` of an untagged frame.
    pub(crate) untagged: FrameTag,
    /// Whether an untagged frame with the NIC's own address needs no further check.
    plain: bool,
}

/// The position of a source that is not a vNIC.
pub const UNCOUNTED: usize = usize::MAX;

impl SourcePort {
    fn new(nic: NicId, origin: Origin, (vlans, tag_owner): (Vlans, TagOwner), security: Security) -> Self {
        let carried = Carried { vlan: vlans.own(), ..Carried::UNTAGGED };
        let mut untagged = FrameTag::new(carried, security.virtual_subnet, (vlans, tag_owner), false, false);
        if origin == Origin::Trusted {
            untagged.key = 0;
        }
        Self {
            nic,
            hashed_as: nic.into(),
            position: UNCOUNTED,
            origin,
            mac: 0,
            any_mac: true,
            priority: if security.priority_tag { Preserve::PRIORITY } else { Preserve::NOTHING },
            vlans,
            tag_owner,
            security,
            untagged,
            plain: true,
        }
    }

    pub(crate) fn closed(nic: NicId) -> Self {
        let nobody = Self::new(nic, Origin::Closed, (Vlans::UNTAGGED, TagOwner::Undecided), Security::STRICT);
        Self { plain: false, ..nobody }
    }

    pub(crate) fn trusted(nic: NicId) -> Self {
        Self::new(nic, Origin::Trusted, (Vlans::EVERYTHING, TagOwner::Source), Security::TRUSTED)
    }

    pub(crate) fn external(nic: NicId, policy: &PortPolicy) -> Self {
        let vlans = policy.vlans.unwrap_or(Vlans::EVERYTHING);
        let virtual_subnet = policy.security().virtual_subnet;
        let security = Security { virtual_subnet, ..Security::TRUSTED };
        let mut external = Self::new(nic, Origin::External, (vlans, TagOwner::Source), security);
        // Without a key nothing is delivered at once: what comes from outside is looked at (`arrival`).
        external.untagged.key = 0;
        Self { plain: vlans == Vlans::EVERYTHING, ..external }
    }

    pub(crate) fn vnic(nic: NicId, port: &Port) -> Self {
        let (vlans, security) = (port.policy.vlans(), port.policy.security());
        let vnic = Self::new(nic, Origin::Vnic, (vlans, port.tag_owner), security);
        // A trunk may have pruned its native VLAN, which needs the further check; where teaming is allowed, each frame says
        // at which port its address is reached.
        let plain = !matches!(vlans, Vlans::Trunk { .. }) && !security.teaming;
        Self { mac: port.current_mac.word(), any_mac: false, plain, ..vnic }
    }

    /// The same for the NIC of a port, with its hash id and counters, whether the port is closed or not. Another NIC
    /// of the port is hashed by its own id and not counted.
    pub(crate) fn on(self, port: &Port, position: usize) -> Self {
        if port.is_station(self.nic) { Self { hashed_as: port.hashed_as, position, ..self } } else { self }
    }

    /// `tagged`: the frame has a tag, or its out-of-band data has a VLAN or a virtual subnet.
    #[inline]
    pub(crate) const fn is_plain(&self, source: MacAddr, tagged: bool) -> bool {
        self.plain && !tagged && (self.any_mac || source.word() == self.mac)
    }
}
