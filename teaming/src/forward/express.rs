//! The short way of the packets that are nearly all packets: unicast of a vNIC from its own address, without a tag, to a
//! vNIC of this switch or to one that nobody here has and thus to a member of the team.
//!
//! Decides exactly as `Forwarding::decide_from` does, or not at all: `Route::NONE` leaves the packet to that. What is known
//! of the tables is put together once for a batch (`Express`), and a source is looked up once for its packets
//! (`ExpressSource`), so both are of one hold of the lock and never stale. What is the same for all packets of a port is kept
//! with it by the control side (`Port`). `teaming/tests/express.rs` and `tests/driver/express.rs` hold the two ways against
//! each other.

use crate::Storage;
use crate::flow;
use crate::forward::route::{By, Route};
use crate::forward::{Forwarding, Target};
use crate::frame::{self, PROTOCOL_TCP, PROTOCOL_UDP};
use crate::ids::{Bucket, PortId, Ticks, VlanId};
use crate::ports::port::{ListSource, Port};
use crate::ports::traffic::{Cell, SentBy, Traffic};

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

/// What is the same for all packets of a batch.
pub struct Express<'a, S: Storage> {
    forwarding: &'a Forwarding<S>,
    now: Ticks,
    by: By,
    sent: SentBy<'a, S>,
}

/// A source whose packets may take the express way: its port, on which the control side keeps what the way reads, and what is
/// the same for all its packets of a batch.
#[derive(Debug, Clone, Copy)]
pub struct ExpressSource<'a> {
    port: &'a Port,
    /// What this processor has counted of its frames.
    sent: &'a Cell,
    /// The bucket of all its packets, for `By::Source`.
    bucket: Bucket,
}

impl ExpressSource<'static> {
    /// Before the first packet.
    pub const NONE: Self = {
        static PORT: Port = Port::EMPTY;
        static SENT: Cell = Cell::EMPTY;
        Self { port: &PORT, sent: &SENT, bucket: Bucket::FIRST }
    };
}

impl ExpressSource<'_> {
    #[inline(always)]
    pub const fn port(&self) -> PortId {
        self.port.id.port
    }

    /// The access VLAN, which goes into the out-of-band tag of its packets.
    #[inline(always)]
    pub const fn vlan(&self) -> Option<VlanId> {
        self.port.tag
    }

    /// Counts a frame that got a destination; at DISPATCH_LEVEL on the processor that it was looked up for.
    #[inline(always)]
    pub fn count(&self, bytes: u64) {
        self.sent.add(Traffic { frames: 1, bytes });
    }
}

impl<S: Storage> Forwarding<S> {
    /// The express view of the tables for packets that this processor sends; valid as long as the lock is held. `now` counts
    /// while buckets move. `None` while the hashes of adapters are asked for.
    #[inline(always)]
    pub fn express(&self, now: Ticks, processor: usize) -> Option<Express<'_, S>> {
        if self.adapter_hash {
            return None;
        }
        let by = if self.ports.searches() { By::Nothing } else { self.leaving.by };
        Some(Express { forwarding: self, now, by, sent: self.ports.sent_by(processor) })
    }
}

impl<'a, S: Storage> Express<'a, S> {
    /// What is known of a source; `None` if its packets need a closer look: no vNIC on a simple port, or a processor that counts
    /// nothing.
    #[inline(always)]
    pub fn source(&self, from: ListSource) -> Option<ExpressSource<'a>> {
        let (position, port) = match self.forwarding.ports.near(from.port()) {
            Some(near) if near.1.express_as == Some(from) => near,
            _ => self.search(from)?,
        };
        if self.forwarding.leaving.port == from.port() {
            return None;
        }
        let bucket = match self.by {
            By::Source => self.forwarding.seed.hash(&flow::source_key(port.hashed_as)).bucket(),
            By::Ports | By::Nothing => Bucket::FIRST,
        };
        Some(ExpressSource { port, sent: self.sent.cell(position)?, bucket })
    }

    #[cold]
    #[inline(never)]
    fn search(&self, from: ListSource) -> Option<(usize, &'a Port)> {
        self.forwarding.ports.find(from.port()).filter(|(_, port)| port.express_as == Some(from))
    }

    /// Where a packet of this source goes that is alone in its list, with nothing out-of-band that decides.
    #[inline(always)]
    pub fn decide(&self, source: ExpressSource<'_>, front: &impl Front) -> Route {
        const ADDRESS: u64 = 0xffff_ffff_ffff;
        const GROUP: u64 = 1;
        let [first, second] = front.ethernet();
        let to = first & ADDRESS;
        let from = first >> 48 | second << 16 & ADDRESS;
        if from != source.port.station || to & GROUP != 0 {
            return Route::NONE;
        }
        // The EtherType and the two bytes behind it.
        let kind = (second >> 32) as u32;
        match self.forwarding.ports.lookup_word(to) {
            Some(port) => {
                let open = port.key == source.port.key && !core::ptr::eq(port, source.port);
                if !open || is_tag(kind) {
                    return Route::NONE;
                }
                Route::to(Target::new(port.id, source.port.priority() & port.priority()))
            }
            None => {
                let Some(bucket) = self.bucket(source.bucket, kind, front) else { return Route::NONE };
                match self.forwarding.table.choose(bucket, self.now) {
                    Some(member) => Route(
                        self.forwarding.leaving.uplink.0
                            | source.port.outside
                            | u64::from(member.get()) << 32,
                    ),
                    None => Route::NONE,
                }
            }
        }
    }

    /// The bucket of a packet that leaves.
    #[inline(always)]
    fn bucket(&self, of_source: Bucket, kind: u32, front: &impl Front) -> Option<Bucket> {
        /// The EtherType, version 4 and five words; the EtherType and version 6.
        const IPV4: u32 = u32::from_le_bytes([0x08, 0x00, 0x45, 0]);
        const IPV6: u32 = u32::from_le_bytes([0x86, 0xdd, 0x60, 0]);
        /// More fragments, and the offset: bytes 20 and 21.
        const FRAGMENT: u64 = 0xff3f << 32;
        let key = if self.by != By::Ports {
            return (self.by == By::Source && !is_tag(kind)).then_some(of_source);
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
