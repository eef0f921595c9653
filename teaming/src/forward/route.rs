//! Where a packet of the express way goes, and what settings and external port say of those that leave.

use crate::flow::{HashPolicy, Keying};
use crate::forward::decision::Target;
use crate::ids::{MEMBERS, MemberIndex, NicId, NicIndex, PortId};
use crate::ports::port::Preserve;

/// Where a packet goes, in one word: a `Target`, and two flags above it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route(pub(super) u64);

impl Route {
    /// The packet is not decided here.
    pub const NONE: Self = Self(0);
    const DECIDED: u64 = 1 << 63;
    /// To the team's member with this NIC index, else to a vNIC.
    const UPLINK: u64 = 1 << 62;

    #[inline(always)]
    pub(super) const fn to(target: Target) -> Self {
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
pub(super) enum By {
    /// Addresses and ports (TransportPorts without options).
    Ports,
    /// The source alone (HyperVPort).
    Source,
    /// No packet leaves by the express way: the external port's policy or that of the team asks for a closer look, or there are
    /// addresses here that are to be searched for.
    Nothing,
}

/// What the express way reads of the team and the external port; kept by the control side.
#[derive(Debug, Clone, Copy)]
pub(super) struct Leaving {
    pub by: By,
    /// The external port, 0 if there is none.
    pub port: PortId,
    /// `Route` of a packet that leaves, but for the member and what its source keeps.
    pub uplink: Route,
}

impl Leaving {
    /// `is_open`: the external port has no policy.
    pub fn new(port: Option<PortId>, is_open: bool, keying: Keying) -> Self {
        let by = match keying.policy {
            _ if port.is_none() || !is_open => By::Nothing,
            HashPolicy::HyperVPort => By::Source,
            HashPolicy::TransportPorts if !keying.flow_label && !keying.symmetric => By::Ports,
            _ => By::Nothing,
        };
        let port = port.unwrap_or_default();
        let target = Target::new(NicId::new(port, NicIndex::DEFAULT), Preserve::NOTHING);
        Self { by, port, uplink: Route(Route::to(target).0 | Route::UPLINK) }
    }
}
