//! The short way of the packets that are nearly all packets: unicast of a vNIC from its own address, without a tag, to a
//! vNIC of this switch or to one that nobody here has and thus to a member of the team.
//!
//! Decides exactly as `Forwarding::decide_from` does, or not at all: `Route::NONE` leaves the packet to that. What is known
//! of the tables is put together once for a batch (`Express`), what is known of a source once for its packets
//! (`ExpressSource`), so both are of one hold of the lock and never stale. `teaming/tests/express.rs` and
//! `tests/driver/express.rs` hold the two ways against each other.

use crate::Storage;
use crate::flow::{self, HashPolicy};
use crate::forward::{Forwarding, Target, source};
use crate::frame::{self, PROTOCOL_TCP, PROTOCOL_UDP};
use crate::ids::{Bucket, MEMBERS, MemberIndex, NicId, NicIndex, PortId, Ticks, VlanId};
use crate::ports::policy;
use crate::ports::port::{ListSource, Preserve};

/// The first bytes of a packet, each of which is read once: a guest may change them at any time. All words are in
/// little-endian order, so the byte that comes first is the lowest.
pub trait Front {
    /// Bytes 0 to 15: both addresses, the EtherType, two bytes behind it.
    fn ethernet(&self) -> [u64; 2];
    /// The rest of an IPv4 header without options, and the ports.
    fn ipv4(&self) -> Ipv4Front;
    /// The rest of an IPv6 header, and the ports; `None` if the packet is shorter than `IPV6_FRONT`, or if its bytes do not
    /// lie together that far.
    fn ipv6(&self) -> Option<Ipv6Front>;
}

/// Bytes that every `Front` has: Ethernet, IPv4 without options, ports.
pub const IPV4_FRONT: usize = 38;
/// Ethernet, IPv6, ports.
pub const IPV6_FRONT: usize = 58;

pub struct Ipv4Front {
    /// Bytes 16 to 23, up to the protocol.
    pub fields: u64,
    /// Bytes 26 to 33.
    pub addresses: u64,
    /// Bytes 34 to 37.
    pub ports: u32,
}

pub struct Ipv6Front {
    /// Byte 20, the next header.
    pub next: u8,
    /// Bytes 22 to 53.
    pub addresses: [u64; 4],
    /// Bytes 54 to 57.
    pub ports: u32,
}

/// Where a packet goes, in one word: a `Target`, and two flags above it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route(u64);

impl Route {
    /// The packet is not decided here.
    pub const NONE: Self = Self(0);
    const DECIDED: u64 = 1 << 63;
    /// To the team's member with this NIC index, else to a vNIC.
    const UPLINK: u64 = 1 << 62;

    #[inline(always)]
    const fn to(target: Target) -> Self {
        Self(Self::DECIDED | target.word())
    }

    #[inline(always)]
    pub const fn is_none(self) -> bool {
        self.0 == Self::NONE.0
    }

    #[inline(always)]
    pub const fn target(self) -> Target {
        Target::in_word(self.0)
    }

    /// The member, if it is one.
    pub fn member(self) -> Option<MemberIndex> {
        self.slot().and_then(MemberIndex::from_slot)
    }

    /// The slot of the member, if it is one: `MemberIndex::slot` without a check of what is one.
    #[inline(always)]
    pub(crate) fn slot(self) -> Option<usize> {
        let slot = usize::from(self.target().nic().index.get().wrapping_sub(1)) % MEMBERS;
        (self.0 & Self::UPLINK != 0).then_some(slot)
    }
}

/// What a flow's bucket is found by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    /// Addresses and ports (TransportPorts without options).
    Ports,
    /// The source alone (HyperVPort).
    Source,
}

/// What is the same for all packets of a batch.
pub struct Express<'a, S: Storage> {
    forwarding: &'a Forwarding<S>,
    now: Ticks,
    by: By,
    /// The external port, where its policy and that of the team let packets of this kind leave at once, and nobody here
    /// has addresses that are to be searched for.
    external: Option<PortId>,
}

/// What is the same for all packets of a source.
#[derive(Debug, Clone, Copy)]
pub struct ExpressSource {
    pub nic: NicId,
    /// Its position in the port table, by which its frames are counted.
    pub position: usize,
    /// The access VLAN, which goes into the out-of-band tag of its packets.
    pub vlan: Option<VlanId>,
    /// Its address, as a word.
    mac: u64,
    /// `PortPolicy::key`, never 0.
    key: u64,
    priority: Preserve,
    /// The bucket of all its packets, for `By::Source`.
    bucket: Bucket,
    /// `Route` of a packet that leaves, but for the member; `Route::NONE` if none may.
    uplink: Route,
}

impl ExpressSource {
    /// Before the first packet.
    pub const NONE: Self = Self {
        nic: NicId::new(PortId::DEFAULT, NicIndex::DEFAULT),
        position: source::UNCOUNTED,
        vlan: None,
        mac: u64::MAX,
        key: 0,
        priority: Preserve::NOTHING,
        bucket: Bucket::FIRST,
        uplink: Route::NONE,
    };
}

impl<S: Storage> Forwarding<S> {
    /// The express view of the tables; valid as long as the lock is held. `None` while the hashes of adapters are asked for.
    #[inline(always)]
    pub fn express(&self, now: Ticks) -> Option<Express<'_, S>> {
        if self.adapter_hash {
            return None;
        }
        let by = match self.keying.policy {
            HashPolicy::HyperVPort => Some(By::Source),
            HashPolicy::TransportPorts if !self.keying.flow_label && !self.keying.symmetric => {
                Some(By::Ports)
            }
            _ => None,
        };
        let leaves = by.is_some() && self.outside_is_open && !self.ports.searches();
        let external = self.external.filter(|_| leaves);
        Some(Express { forwarding: self, now, by: by.unwrap_or(By::Source), external })
    }
}

impl<S: Storage> Express<'_, S> {
    /// What is known of a source; `None` if its packets need a closer look: no vNIC on a simple port.
    pub fn source(&self, from: ListSource) -> Option<ExpressSource> {
        let mut source = ExpressSource::NONE;
        self.look_up(from, &mut source).then_some(source)
    }

    /// The same in place; false if there is none.
    #[inline(never)] // once for many packets
    pub fn look_up(&self, from: ListSource, source: &mut ExpressSource) -> bool {
        match self.known(from) {
            Some(known) => *source = known,
            None => return false,
        }
        true
    }

    #[inline(always)]
    fn known(&self, from: ListSource) -> Option<ExpressSource> {
        let (position, port) = self.forwarding.ports.find(from.port())?;
        if port.express_as != Some(from) || self.forwarding.external == Some(from.port()) {
            return None;
        }
        let nic = port.id;
        let (vlan, _) = policy::of_key(port.key);
        let priority = port.priority();
        let uplink = self.external.map_or(Route::NONE, |external| {
            let bits = priority.with_vlan(vlan.is_some());
            Route(Route::to(Target::new(NicId::new(external, NicIndex::DEFAULT), bits)).0 | Route::UPLINK)
        });
        let bucket = match self.by {
            By::Source => self.forwarding.seed.hash(&flow::source_key(port.hashed_as)).bucket(),
            By::Ports => Bucket::FIRST,
        };
        let (mac, key) = (port.current_mac.word(), port.key);
        Some(ExpressSource { nic, position, vlan, mac, key, priority, bucket, uplink })
    }

    /// Where a packet of this source goes that is alone in its list, with nothing out-of-band that decides.
    #[inline(always)]
    pub fn decide(&self, source: &ExpressSource, front: &impl Front) -> Route {
        const ADDRESS: u64 = 0xffff_ffff_ffff;
        const GROUP: u64 = 1;
        let [first, second] = front.ethernet();
        let to = first & ADDRESS;
        let from = first >> 48 | second << 16 & ADDRESS;
        if from != source.mac || to & GROUP != 0 {
            return Route::NONE;
        }
        // The EtherType and the two bytes behind it.
        let kind = (second >> 32) as u32;
        match self.forwarding.ports.lookup_word(to) {
            Some(port) => {
                let open = port.key == source.key && port.id != source.nic;
                if !open || is_tag(kind) {
                    return Route::NONE;
                }
                Route::to(Target::new(port.id, source.priority & port.priority()))
            }
            None if source.uplink.is_none() => Route::NONE,
            None => {
                let Some(bucket) = self.bucket(source, kind, front) else { return Route::NONE };
                match self.forwarding.table.choose(bucket, self.now) {
                    Some(member) => Route(source.uplink.0 | u64::from(member.get()) << 32),
                    None => Route::NONE,
                }
            }
        }
    }

    /// The bucket of a packet that leaves.
    #[inline(always)]
    fn bucket(&self, source: &ExpressSource, kind: u32, front: &impl Front) -> Option<Bucket> {
        /// The EtherType, version 4 and five words; the EtherType and version 6.
        const IPV4: u32 = u32::from_le_bytes([0x08, 0x00, 0x45, 0]);
        const IPV6: u32 = u32::from_le_bytes([0x86, 0xdd, 0x60, 0]);
        /// More fragments, and the offset: bytes 20 and 21.
        const FRAGMENT: u64 = 0xff3f << 32;
        let key = if self.by == By::Source {
            return (!is_tag(kind)).then_some(source.bucket);
        } else if kind & 0x00ff_ffff == IPV4 {
            let Ipv4Front { fields, addresses, ports } = front.ipv4();
            let protocol = (fields >> 56) as u8;
            if fields & FRAGMENT != 0 || !has_ports(protocol) {
                return None;
            }
            flow::ipv4_key(addresses, ports, protocol)
        } else if kind & 0x00f0_ffff == IPV6 {
            let Ipv6Front { next, addresses, ports } = front.ipv6()?;
            if !has_ports(next) {
                return None;
            }
            flow::ipv6_key(addresses, ports, next)
        } else {
            return None;
        };
        Some(self.forwarding.seed.hash(&key).bucket())
    }
}

/// Whether the packet has a tag behind its addresses.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "a part of a word")]
const fn is_tag(kind: u32) -> bool {
    frame::is_tag((kind as u16).swap_bytes())
}

#[inline(always)]
const fn has_ports(protocol: u8) -> bool {
    protocol == PROTOCOL_TCP || protocol == PROTOCOL_UDP
}

/// When to try the express way: each try that fails costs instructions which the walk repeats, so after failures in a row
/// it is left out for more and more lists, up to 255. One for each processor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Attempts {
    failures: u8,
    /// Lists that the walk takes before the next try.
    pause: u8,
}

impl Attempts {
    pub const NONE: Self = Self { failures: 0, pause: 0 };

    /// Whether to try with the next list.
    #[inline(always)]
    pub const fn is_due(&self) -> bool {
        self.pause == 0
    }

    /// How many lists the walk takes before the next try: one at least, and at most `most`.
    #[inline(always)]
    pub fn walks(&mut self, most: usize) -> usize {
        let lists = usize::from(self.pause).clamp(1, most.max(1));
        self.pause = self.pause.saturating_sub(u8::try_from(lists).unwrap_or(u8::MAX));
        lists
    }

    /// The walk took so many fewer than it was to.
    #[inline(always)]
    pub fn gave_back(&mut self, lists: usize) {
        self.pause = self.pause.saturating_add(u8::try_from(lists).unwrap_or(0));
    }

    /// The try took this number of lists, and then came one that it did not take.
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "at most 255")]
    pub const fn failed(&mut self, taken: usize) {
        // After a success the walk takes that one alone: a rare packet among others.
        self.failures = if taken != 0 { 1 } else { self.failures.saturating_add(1) };
        let doubled = if self.failures > 8 { 8 } else { self.failures };
        self.pause = (1_u16.wrapping_shl(doubled as u32)).wrapping_sub(1) as u8;
    }
}
