//! What a decision leaves for the judgement of its packet (`arrival`).

use core::num::NonZeroU64;

use crate::ids::MacAddr;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Judgement {
    None,
    /// The packet teaches where its source is.
    Heard,
    /// It is also told apart from its copies.
    Judged,
}

/// The digest and the source of a packet that is to be judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trace {
    pub(crate) digest: Option<NonZeroU64>,
    pub(crate) from: MacAddr,
    pub(crate) kind: Judgement,
    /// Its destination is an address that the switch announced.
    pub(crate) to_vnic: bool,
}

const _: () = assert!(size_of::<Trace>() == 16);

impl Trace {
    pub const NONE: Self = Self { digest: None, from: MacAddr::ZERO, kind: Judgement::None, to_vnic: false };

    /// Without what `completed` reads from the packet.
    pub(crate) const JUDGED: Self = Self { kind: Judgement::Judged, ..Self::NONE };

    /// Whether the packet need not be judged.
    #[inline(always)]
    pub const fn is_none(&self) -> bool {
        matches!(self.kind, Judgement::None)
    }
}
