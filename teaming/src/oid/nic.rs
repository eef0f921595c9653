//! What a NIC request of the switch means: for a member of the team, for the external port, or for a vNIC.
//!
//! Called by the control path of the driver with what it read from `OID_SWITCH_NIC_*` requests.

use crate::ids::{AdapterId, MacAddr, MemberIndex, NicId, NicIndex};
use crate::team::member::MemberEvent;

/// `NDIS_SWITCH_NIC_TYPE`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NicKind {
    External,
    Synthetic,
    Emulated,
    Internal,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NicOp {
    Create,
    Connect,
    Update,
    Disconnect,
    Delete,
}

/// Which VM a vNIC belongs to, as a digest of the VM's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VmId(u64, u64);

impl VmId {
    /// Not a VM's.
    pub const NONE: Self = Self(0, 0);

    /// Of the name's bytes. Equal names are equal; 128 bits tell different ones apart.
    pub fn of(name: &[u8]) -> Self {
        if name.is_empty() {
            return Self::NONE;
        }
        let mut id = Self(0x9e37_79b9_7f4a_7c15, 0xd1b5_4a32_d192_ed03);
        for chunk in name.chunks(8) {
            let mut word = [0; 8];
            for (place, byte) in word.iter_mut().zip(chunk) {
                *place = *byte;
            }
            let word = u64::from_le_bytes(word);
            id = Self(
                crate::flow::hash::mix(id.0 ^ word, 0xa076_1d64_78bd_642f),
                crate::flow::hash::mix(id.1 ^ word, 0xe703_7ed1_a0b4_28db),
            );
        }
        let length = u64::try_from(name.len()).unwrap_or(u64::MAX);
        Self(id.0 ^ length, id.1.wrapping_add(length))
    }

    /// The same VM in a virtual subnet, which is a network of its own; 0 is none.
    #[must_use]
    pub fn in_subnet(self, subnet: u32) -> Self {
        if self == Self::NONE || subnet == 0 {
            return self;
        }
        Self(self.0 ^ crate::flow::hash::mix(subnet.into(), 0x8ebc_6af0_9c88_c6e3), self.1)
    }
}

/// The part of `NDIS_SWITCH_NIC_PARAMETERS` that decides anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NicParameters {
    pub id: NicId,
    pub kind: NicKind,
    pub current_mac: MacAddr,
    pub permanent_mac: MacAddr,
    /// Zero for a NIC that is not a VM's.
    pub vm_mac: MacAddr,
    pub mtu: u32,
    pub vm: VmId,
    /// The VM uses a virtual function instead: its packets bypass the switch.
    pub vf_assigned: bool,
    /// Created for a VM that begins, and not for one that was saved or comes from another host: its network stack has named
    /// no multicast group yet. True only at its creation.
    pub initializing: bool,
    /// Unknown until the adapter has been initialised, and for a VM's NIC.
    pub adapter: AdapterId,
}

impl NicParameters {
    /// The member of the team that the NIC is.
    pub fn member(&self) -> Option<MemberIndex> {
        MemberIndex::from_nic(self.id.index).filter(|_| self.kind == NicKind::External)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    Member(MemberIndex, MemberEvent),
    /// The team as a whole: the external port itself.
    External(NicOp),
    Vnic(NicOp),
    Ignore,
}

/// The kind decides, not the port's type: that one may be generic or change later (PORTNIC-29 of the rule book).
pub fn route(op: NicOp, nic: &NicParameters) -> Route {
    match (nic.kind, nic.id.index) {
        (NicKind::External, NicIndex::DEFAULT) => Route::External(op),
        (NicKind::External, _) => match (nic.member(), member_event(op)) {
            (Some(member), Some(event)) => Route::Member(member, event),
            (Some(_) | None, _) => Route::Ignore,
        },
        (NicKind::Synthetic | NicKind::Emulated | NicKind::Internal, _) => Route::Vnic(op),
    }
}

const fn member_event(op: NicOp) -> Option<MemberEvent> {
    match op {
        NicOp::Create => Some(MemberEvent::Created),
        NicOp::Connect => Some(MemberEvent::Connected),
        NicOp::Update => None,
        NicOp::Disconnect => Some(MemberEvent::Disconnected),
        NicOp::Delete => Some(MemberEvent::Deleted),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::PortId;

    fn nic(kind: NicKind, index: u16) -> NicParameters {
        NicParameters {
            id: NicId::new(PortId::new(7), NicIndex::new(index)),
            kind,
            current_mac: MacAddr::ZERO,
            permanent_mac: MacAddr::ZERO,
            vm_mac: MacAddr::ZERO,
            mtu: 1500,
            vm: VmId::NONE,
            vf_assigned: false,
            initializing: false,
            adapter: AdapterId::UNKNOWN,
        }
    }

    #[test]
    fn physical_adapters_are_members_and_index_zero_is_the_team() {
        let two = MemberIndex::new(2).unwrap();
        let rows = [
            (NicOp::Create, MemberEvent::Created),
            (NicOp::Connect, MemberEvent::Connected),
            (NicOp::Disconnect, MemberEvent::Disconnected),
            (NicOp::Delete, MemberEvent::Deleted),
        ];
        for (op, event) in rows {
            assert_eq!(route(op, &nic(NicKind::External, 2)), Route::Member(two, event));
            assert_eq!(route(op, &nic(NicKind::External, 0)), Route::External(op));
            for kind in [NicKind::Synthetic, NicKind::Emulated, NicKind::Internal] {
                assert_eq!(route(op, &nic(kind, 0)), Route::Vnic(op));
            }
        }
        assert_eq!(route(NicOp::Update, &nic(NicKind::External, 2)), Route::Ignore);
    }

    #[test]
    fn an_index_that_no_member_can_have_is_ignored() {
        for index in [33, 256, 257, u16::MAX] {
            assert_eq!(route(NicOp::Connect, &nic(NicKind::External, index)), Route::Ignore);
        }
    }
}
