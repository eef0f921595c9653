//! What a mutation needs to find its occasion, by its place in the list.

use super::Mutation;

impl Mutation {
    /// It needs ports with policies, and ports and NICs in every state, to find its occasion.
    pub const fn is_about_ports(self) -> bool {
        (self as u32) >= (Self::ToCreatedMember as u32) && (self as u32) <= (Self::LeaveLink as u32)
    }

    /// It needs a physical network that floods, and addresses that move, to find its occasion.
    pub const fn is_about_receiving(self) -> bool {
        (self as u32) >= (Self::DropNews as u32)
    }

    /// It is carried out at the border to NDIS or the switch.
    pub const fn is_at_border(self) -> bool {
        (self as u32) >= (Self::SendTwice as u32)
    }
}
