//! The addresses of this host that the physical network knows, and the member that each is reached at: those of connected
//! vNICs, on a trunk port in each VLAN that they were heard in, and those that were learned from their ports.
//!
//! Asked by `announce` for what has to be told, under the read lock, immediately before it is told.

use crate::Storage;
use crate::flow::hash::Seed;
use crate::flow::policy::HashPolicy;
use crate::forward::credits::{Frame, Source};
use crate::forward::decision::Target;
use crate::forward::source::{FrameTag, SourcePort};
use crate::forward::{Forwarding, Packet};
use crate::frame::queries::{self, GroupProtocol, QueryFrame};
use crate::frame::rarp;
use crate::ids::{Bucket, MacAddr, MemberIndex, MemberSet, NicId, NicIndex, PortId, Ticks, VlanId};
use crate::ports::Port;
use crate::ports::mac_learning::{LEARNED, LearnedAddress};
use crate::ports::port::{Preserve, TagOwner};
use crate::ports::vlan::{self, Carried, Vlans};
use crate::settings::TeamingMode;

/// An address of a port, in a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HostAddress {
    pub mac: MacAddr,
    /// `None` is the network of the port's untagged frames.
    tagged: Option<VlanId>,
    port: PortId,
    /// The bucket that its frames are in.
    pub bucket: Bucket,
}

impl HostAddress {
    /// Its port, and the network there.
    pub const fn network(&self) -> (PortId, Option<VlanId>) {
        (self.port, self.tagged)
    }
}

/// What the physical network is to be told: the address is reached at the member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Announcement {
    pub mac: MacAddr,
    pub member: MemberIndex,
    /// The VLAN of the out-of-band tag.
    pub vlan: Option<VlanId>,
    external: PortId,
    bits: Preserve,
}

impl Announcement {
    pub fn target(&self) -> Target {
        Target::new(NicId::new(self.external, self.member.nic()), self.bits)
    }

    pub fn frame(&self) -> [u8; rarp::LENGTH] {
        rarp::announcement(self.mac)
    }
}

/// A question to a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Question {
    pub target: Target,
    /// The VLAN of the out-of-band tag: of a trunk port's tagged frames only.
    pub vlan: Option<VlanId>,
    pub protocol: GroupProtocol,
}

impl Question {
    pub const fn frame(&self) -> &'static QueryFrame {
        queries::general_query(self.protocol)
    }
}

/// What the bucket of an address is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mapping(HashPolicy, Seed);

/// Places in which `heard` may find an address.
pub const HEARD: usize = LEARNED;

/// Addresses of a network load balancing cluster in unicast mode, which must not be learned.
const CLUSTER: [u8; 2] = [0x02, 0xbf];

impl<S: Storage> Forwarding<S> {
    /// Whether the physical network has to be told of moves: it does not know of the team, and an address is reached at one
    /// member.
    pub fn announces(&self) -> bool {
        self.mode == TeamingMode::SwitchIndependent
            && self.keying.policy.keeps_an_address_on_one_member()
            && self.external.is_some()
    }

    pub const fn mapping(&self) -> Mapping {
        Mapping(self.keying.policy, self.seed)
    }

    /// A frame from a port's own address: if that may be in several VLANs, it is noted in which it is.
    pub(crate) fn note_own(
        &self,
        packet: &Packet<'_>,
        (mac, vlan): (MacAddr, Option<VlanId>),
        (position, port): (usize, &Port),
    ) {
        if self.notes_own(port) {
            self.learned.learn(mac, vlan, position, packet.now);
        }
    }

    pub(crate) fn notes_own(&self, port: &Port) -> bool {
        port.policy.vlans().is_trunk() && self.announces()
    }

    /// The address that the vNIC at a position of the port table has in use in the one VLAN of its port, if the network can
    /// know it.
    pub fn own(&self, position: usize) -> Option<HostAddress> {
        let port =
            self.ports.at(position).filter(|port| is_visible(port) && !port.policy.vlans().is_trunk())?;
        let (mac, vlan) = (port.current_mac, port.policy.vlans().own());
        let elsewhere = self.holder(mac, vlan).is_some_and(|user| user.id != port.id);
        if elsewhere { None } else { self.address_at(port, mac, None) }
    }

    /// The address at a place of the table of learned ones, if it is in use at a port of this host: behind a vNIC, taken over
    /// by it, or its own in a VLAN of a trunk port.
    pub fn heard(&self, place: usize, now: Ticks) -> Option<HostAddress> {
        let LearnedAddress { mac, vlan, position, is_old } = self.learned.at(place, now)?;
        let port = self.ports.at(position).filter(|port| is_visible(port))?;
        let is_bridged = !is_old && port.may_learn() && self.ports.lookup(mac).is_none();
        let is_own = port.policy.vlans().is_trunk() && port.addresses().any(|own| own == mac);
        if !is_bridged && !is_own && !self.ports.may_use(port, mac) {
            return None;
        }
        let tagged = vlan.filter(|vlan| port.policy.vlans().own() != Some(*vlan));
        self.address_at(port, mac, tagged)
    }

    fn address_at(&self, port: &Port, mac: MacAddr, tagged: Option<VlanId>) -> Option<HostAddress> {
        if mac == MacAddr::ZERO || mac.is_multicast() || mac.0.starts_with(&CLUSTER) {
            return None;
        }
        let key = self.keying.address_key(port.hashed_as, mac, tagged);
        Some(HostAddress { mac, tagged, port: port.id.port, bucket: self.seed.hash(&key).bucket() })
    }

    /// What to tell of a address now; `None` if no member carries it, or its frames may not leave.
    pub fn announcement(&self, address: &HostAddress) -> Option<Announcement> {
        let member = self.table.lookup(address.bucket)?;
        let port = self.ports.get(address.port)?;
        let source = SourcePort::vnic(port.id, port);
        let vlan = address.tagged.or(source.vlans.own());
        if !vlan::may_send(source.vlans, vlan, self.ports.sets()) {
            return None;
        }
        let carried = Carried { vlan, ..Carried::UNTAGGED };
        let sent = FrameTag::new(carried, 0, (source.vlans, source.tag_owner), false, false);
        let bits = self.uplink_bits(&source, sent).ok()?;
        Some(Announcement { mac: address.mac, member, vlan, external: self.external?, bits })
    }

    /// What to ask at the port of an address; `None` if the port is gone, or gets no such frame.
    pub fn question(&self, of: &HostAddress, protocol: GroupProtocol) -> Option<Question> {
        let (port, tagged) = of.network();
        let port = self.ports.get(port).filter(|port| is_visible(port))?;
        let carried = Carried { vlan: tagged, ..Carried::UNTAGGED };
        let sent = FrameTag::new(carried, 0, (Vlans::EVERYTHING, TagOwner::Source), false, false);
        let ours = SourcePort::trusted(NicId::new(PortId::DEFAULT, NicIndex::DEFAULT));
        let bits = self.admit(&ours, sent, port).ok()?;
        Some(Question { target: Target::new(port.id, bits), vlan: tagged, protocol })
    }

    /// The announcement is about to be sent: its copies that come back are no news. Nothing is kept if there is no room; then
    /// the address is not taken for one that has moved outside, either.
    pub fn expect_back(&self, told: &Announcement, now: Ticks) {
        if !self.judges() {
            return;
        }
        let digest = self.secret.digest(&told.frame(), told.vlan, false);
        let left = digest.and_then(|digest| {
            let frame = Frame { digest, others: MemberSet::ALL.without(told.member), now };
            self.credits.send(&frame, Source::port(PortId::DEFAULT.get()))
        });
        if left.is_none() {
            self.learned.note_unrecorded(told.mac, told.vlan, now);
        }
    }
}

/// Whether the network sees the addresses of a port: its frames go through this team, as they are.
fn is_visible(port: &Port) -> bool {
    port.is_connected()
        && !port.policy.closed
        && !port.vf_assigned
        && port.policy.security().virtual_subnet == 0
}
