//! The input of a forwarding decision and its result.

use crate::flow::Basis;
use crate::flow::adapter_hash::Adapter;
use crate::forward::drop_reason::DropReason;
use crate::forward::source::FrameTag;
use crate::forward::trace::Trace;
use crate::ids::{MacAddr, MemberIndex, NicId, NicIndex, PortId, Ticks};
use crate::offload::Pin;
use crate::ports::port::Preserve;

/// A packet as the decision sees it.
#[derive(Debug, Clone, Copy)]
pub struct Packet<'a> {
    pub source: NicId,
    /// The first bytes of the frame, at most 256, in memory that no guest can change.
    pub window: &'a [u8],
    /// What the packet's security associations say of the member that sends it; `None` for a packet without any.
    pub pinned: Option<Pin>,
    /// The switch itself forwards it (`NativeForwardingRequired`).
    pub native: bool,
    pub now: Ticks,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Deliver(NicId),
    Uplink(MemberIndex),
    /// To the vNICs that `Forwarding::reach` finds, and to one member if named.
    Flood {
        uplink: Option<MemberIndex>,
    },
    Native,
    /// Dropped for what it is or where it comes from.
    Drop(DropReason),
    /// Dropped for the policy of its destination's port.
    RefusedBy(PortId, DropReason),
}

impl Verdict {
    /// Why the packet goes nowhere, if it does.
    pub const fn drop_reason(self) -> Option<DropReason> {
        match self {
            Self::Drop(reason) | Self::RefusedBy(_, reason) => Some(reason),
            Self::Deliver(_) | Self::Uplink(_) | Self::Flood { .. } | Self::Native => None,
        }
    }
}

/// Out-of-band data of a packet (NET_BUFFER_LIST information).
#[derive(Debug, Clone, Copy)]
pub struct OutOfBand<'a> {
    /// The VLAN of the 802.1Q information; 0 is none.
    pub vlan: u16,
    /// The virtual subnet of the forwarding detail; 0 is none.
    pub subnet: u32,
    /// Present while adapter hashes are in use.
    pub adapter: Option<Adapter<'a>>,
}

impl OutOfBand<'_> {
    pub const NOTHING: Self = Self { vlan: 0, subnet: 0, adapter: None };
}

/// A verdict, how the packet goes, and, when a flow's hash named a member, what the key was made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    pub verdict: Verdict,
    pub basis: Option<Basis>,
    /// What the destination, or the member of a flood, keeps of the tag.
    pub bits: Preserve,
    /// The destination address of what is flooded.
    pub to: MacAddr,
    pub sent: FrameTag,
    /// What `Forwarding::judge` is to be told.
    pub trace: Trace,
    /// A port that gets no copy of a flood; `PortId::DEFAULT` for none.
    pub owner: PortId,
}

impl Decision {
    pub const fn new(verdict: Verdict) -> Self {
        Self {
            verdict,
            basis: None,
            bits: Preserve::NOTHING,
            to: MacAddr::ZERO,
            sent: FrameTag::NOTHING,
            trace: Trace::NONE,
            owner: PortId::DEFAULT,
        }
    }

    pub const fn dropped(reason: DropReason) -> Self {
        Self::new(Verdict::Drop(reason))
    }

    pub const fn refused_by(port: PortId, reason: DropReason) -> Self {
        Self::new(Verdict::RefusedBy(port, reason))
    }

    /// Packets of one list may share an array of destinations.
    pub fn same_way(&self, other: &Self) -> bool {
        self.verdict == other.verdict
            && self.sent == other.sent
            && self.bits == other.bits
            && self.to == other.to
            && self.trace.is_none() == other.trace.is_none()
    }
}

/// A destination and what it keeps of the tag, in one word, as `NDIS_SWITCH_PORT_DESTINATION` has it: the port in bits 0 to
/// 31, the NIC index in bits 32 to 47, what it keeps in bits 48 to 55.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target(u64);

impl Target {
    #[inline(always)]
    pub fn new(nic: NicId, bits: Preserve) -> Self {
        let nic = u64::from(nic.port.get()) | u64::from(nic.index.get()) << 32;
        Self(nic | bits.in_destination())
    }

    /// Of a word whose bits from 56 on say something else.
    #[inline(always)]
    pub(crate) const fn in_word(word: u64) -> Self {
        Self(word & (u64::MAX >> 8))
    }

    /// Below 2^56.
    #[inline(always)]
    pub const fn word(self) -> u64 {
        self.0
    }

    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "parts of a word")]
    pub const fn nic(self) -> NicId {
        NicId::new(PortId::new(self.0 as u32), NicIndex::new((self.0 >> 32) as u16))
    }

    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "a part of a word")]
    pub const fn bits(self) -> Preserve {
        Preserve::from_bits_retain((self.0 >> 48) as u8)
    }
}
