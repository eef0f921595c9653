//! What the tests of the table of offload resources are written with.

use teaming::Heap;
use teaming::ids::{MEMBERS, MemberIndex, MemberSet, NicId, NicIndex, PortId};
use teaming::offload::{Facts, HeldResource, OffloadPlacement, OffloadResources};

pub fn member(number: u8) -> MemberIndex {
    MemberIndex::new(number).unwrap()
}

pub fn set(numbers: &[u8]) -> MemberSet {
    numbers.iter().map(|&number| member(number)).collect()
}

pub fn nic(port: u32) -> NicId {
    NicId::new(PortId::new(port), NicIndex::DEFAULT)
}

pub fn ledger(room: usize) -> OffloadResources<Heap> {
    OffloadResources::new(vec![HeldResource::EMPTY; room])
}

pub fn facts(able: &[u8], flows: u8, placement: OffloadPlacement) -> Facts {
    let able = set(able);
    Facts {
        placement,
        able,
        unanswered: MemberSet::EMPTY,
        able_vf: able,
        connected: set(&[1, 2, 3, 4, 7]),
        live: able,
        unasked: MemberSet::EMPTY,
        limits: [u32::MAX; MEMBERS],
        flows: Some(member(flows)),
    }
}
