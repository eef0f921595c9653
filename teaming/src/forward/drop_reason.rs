//! The reasons for which a packet is dropped. The driver reports them to the switch in these words, but for
//! `NotRunning`, which is said by the status of the completion.

/// Why not forwarding is the right answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailMode {
    /// Forwarding would break a rule: the frame may not pass.
    Closed,
    /// The frame may pass, but what would carry it is missing at the moment.
    Lacking,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DropReason {
    Runt,
    BackToSource,
    NoDestination,
    NoLiveMember,
    PinnedMemberDown,
    UnknownAssociation,
    LinkLocal,
    Unreadable,
    NoResources,
    NotRunning,
    BadTag,
    TaggedFrame,
    VlanNotAllowed,
    VlanMismatch,
    TagInBytes,
    PrivateVlan,
    SpoofedAddress,
    VirtualSubnet,
    PortClosed,
    Duplicate,
    Reflection,
}

/// All reasons, in the order of their numbers.
pub const DROP_REASONS: [DropReason; 21] = [
    DropReason::Runt,
    DropReason::BackToSource,
    DropReason::NoDestination,
    DropReason::NoLiveMember,
    DropReason::PinnedMemberDown,
    DropReason::UnknownAssociation,
    DropReason::LinkLocal,
    DropReason::Unreadable,
    DropReason::NoResources,
    DropReason::NotRunning,
    DropReason::BadTag,
    DropReason::TaggedFrame,
    DropReason::VlanNotAllowed,
    DropReason::VlanMismatch,
    DropReason::TagInBytes,
    DropReason::PrivateVlan,
    DropReason::SpoofedAddress,
    DropReason::VirtualSubnet,
    DropReason::PortClosed,
    DropReason::Duplicate,
    DropReason::Reflection,
];

impl DropReason {
    pub const COUNT: usize = DROP_REASONS.len();

    /// The reason with that `index`.
    pub fn at(index: usize) -> Option<Self> {
        DROP_REASONS.get(index).copied()
    }

    /// Position in `Counters::dropped`.
    pub const fn index(self) -> usize {
        self as usize
    }

    pub const fn name(self) -> &'static str {
        self.row().0
    }

    /// For people; at most 80 characters.
    pub const fn sentence(self) -> &'static str {
        self.row().1
    }

    pub const fn fail_mode(self) -> FailMode {
        self.row().2
    }

    const fn row(self) -> (&'static str, &'static str, FailMode) {
        use FailMode::{Closed, Lacking};
        match self {
            Self::Runt => ("runt", "The frame is shorter than an Ethernet header.", Closed),
            Self::BackToSource => {
                ("back_to_source", "The destination is the adapter that sent the frame.", Closed)
            }
            Self::NoDestination => {
                ("no_destination", "No connected adapter has the destination address.", Closed)
            }
            Self::NoLiveMember => ("no_live_member", "No member of the team is up.", Lacking),
            Self::PinnedMemberDown => {
                ("pinned_member_down", "The frame is bound to a team member that is not up.", Lacking)
            }
            Self::UnknownAssociation => (
                "unknown_association",
                "No member is known to have the frame's security association.",
                Closed,
            ),
            Self::LinkLocal => ("link_local", "Frames to this group do not cross the external port.", Closed),
            Self::Unreadable => ("unreadable", "The headers of the frame could not be read.", Lacking),
            Self::NoResources => {
                ("no_resources", "A buffer list or a destination could not be had.", Lacking)
            }
            Self::NotRunning => ("not_running", "The extension is paused or being stopped.", Lacking),
            Self::BadTag => ("bad_tag", "The VLAN tag of the frame is damaged or reserved.", Closed),
            Self::TaggedFrame => ("tagged_frame", "The sending port may not send VLAN tags.", Closed),
            Self::VlanNotAllowed => {
                ("vlan_not_allowed", "The sending port is not in the VLAN of the frame.", Closed)
            }
            Self::VlanMismatch => {
                ("vlan_mismatch", "The destination is not in the VLAN of the frame.", Closed)
            }
            Self::TagInBytes => ("tag_in_bytes", "The destination takes no VLAN tag in the frame.", Closed),
            Self::PrivateVlan => ("private_vlan", "The private VLAN keeps the two ports apart.", Closed),
            Self::SpoofedAddress => {
                ("spoofed_address", "The source address is not the sending adapter's.", Closed)
            }
            Self::VirtualSubnet => ("virtual_subnet", "The frame may not leave its virtual subnet.", Closed),
            Self::PortClosed => ("port_closed", "The policy of the port is not known.", Closed),
            Self::Duplicate => ("duplicate", "Another member has delivered this frame.", Closed),
            Self::Reflection => ("reflection", "A frame of this host came back from the outside.", Closed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_reason_has_its_own_number_name_and_sentence() {
        let mut names = HashSet::new();
        for (position, reason) in DROP_REASONS.iter().enumerate() {
            assert_eq!(reason.index(), position);
            assert!(names.insert(reason.name()) && names.insert(reason.sentence()));
            assert!(reason.sentence().len() <= 80 && reason.sentence().ends_with('.'));
        }
    }
}
