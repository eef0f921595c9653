//! The merged capabilities of a team, by brute force: every subset of six members with random capabilities, against
//! the documented rules and the offsets of the Windows Driver Kit.

use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::OnceLock;
use teaming::Heap;
use teaming::ids::{MEMBERS, MemberIndex, MemberSet};
use teaming::offload::OffloadPlacement;
use teaming::offload::capabilities::{
    CAPABILITIES, Capability, CapabilityTable, LONGEST, MemberCapabilities,
};
use teaming::oid::Resource;

const PLACEMENTS: [OffloadPlacement; 3] =
    [OffloadPlacement::FollowFlows, OffloadPlacement::SingleMember, OffloadPlacement::EveryMember];

/// Rows of the Windows Driver Kit: structure and field to offset, size and type.
fn layout() -> BTreeMap<(&'static str, &'static str), (usize, usize, &'static str)> {
    let row = |line: &'static str| {
        let cells: Vec<_> = line.split(',').collect();
        ((cells[0], cells[1]), (cells[2].parse().unwrap(), cells[3].parse().unwrap(), cells[4]))
    };
    include_str!("../../tests/data/capabilities.csv").lines().skip(1).map(row).collect()
}

/// Offset and size of a documented name. The fields of a nested structure start at its offset; a bit field lies in the
/// last word of the named structure.
fn place(structure: &str, name: &str) -> (usize, usize) {
    let layout = layout();
    let find = |structure: &str, name: &str| {
        layout.iter().find(|(key, _)| **key == (structure, name)).map(|(_, v)| *v)
    };
    if let Some((offset, size, kind)) = find(structure, name) {
        let word = if kind == "inline-aggregate" { size - 4 } else { 0 };
        return (offset + word, if size > 4 { 4 } else { size });
    }
    let (outer, inner) = name.split_once('.').expect("a field of a structure inside");
    let (offset, _, kind) = find(structure, outer).expect("the structure inside");
    let (within, size) = place(kind, inner);
    (offset + within, size)
}

/// A documented rule: name, offset, size, rule.
type Documented = (&'static str, usize, usize, &'static str);

/// The documented rules; the file is read once.
fn documented(capability: Capability) -> &'static [Documented] {
    static ALL: OnceLock<Vec<Vec<Documented>>> = OnceLock::new();
    &ALL.get_or_init(|| CAPABILITIES.into_iter().map(read_documented).collect())[capability as usize]
}

fn read_documented(capability: Capability) -> Vec<Documented> {
    let structure = structure(capability);
    let rows = include_str!("../../src/ARCHITECTURE.md").lines().filter(|line| line.starts_with("| NDIS_"));
    let mut fields = Vec::new();
    for row in rows {
        let cells: Vec<_> = row.trim_matches('|').split('|').map(str::trim).collect();
        if cells[0] == structure {
            for name in cells[2].split(", ") {
                let (offset, size) = place(structure, name);
                fields.push((name, offset, size, cells[1]));
            }
        }
    }
    assert!(!fields.is_empty());
    fields
}

const fn structure(capability: Capability) -> &'static str {
    match capability {
        Capability::ReceiveFilter | Capability::ReceiveFilterHardware => "NDIS_RECEIVE_FILTER_CAPABILITIES",
        Capability::NicSwitch | Capability::NicSwitchHardware => "NDIS_NIC_SWITCH_CAPABILITIES",
        Capability::TaskOffload | Capability::TaskOffloadHardware => "NDIS_OFFLOAD",
        Capability::Sriov => "NDIS_SRIOV_CAPABILITIES",
    }
}

fn value(bytes: &[u8], offset: usize, size: usize) -> u64 {
    (0..size)
        .rev()
        .fold(0, |value, index| value << 8 | u64::from(bytes.get(offset + index).copied().unwrap_or(0)))
}

/// The team's structure by the documented rules, from the members' structures of one revision.
fn expected(capability: Capability, members: &[Vec<u8>], placement: OffloadPlacement) -> Vec<u8> {
    let length = members.iter().map(Vec::len).min().expect("a member");
    let mut team = vec![0; length];
    team[..4]
        .copy_from_slice(&members.iter().find(|bytes| bytes.len() == length).expect("the shortest")[..4]);
    for &(_, offset, size, rule) in documented(capability) {
        if offset + size > length {
            continue;
        }
        let values: Vec<_> = members.iter().map(|bytes| value(bytes, offset, size)).collect();
        let sums = placement == OffloadPlacement::FollowFlows;
        let least = *values.iter().min().unwrap();
        let merged = match rule {
            "all" => values.iter().fold(u64::MAX, |a, b| a & b),
            "all, mode" => {
                let all = values.iter().fold(u64::MAX, |a, b| a & b) & !0xC0;
                all | if sums { 0x80 } else { 0x40 }
            }
            "any" => values.iter().fold(0, |a, b| a | b),
            "least" => least,
            "most" => *values.iter().max().unwrap(),
            "sum" if sums => values.iter().sum::<u64>().min(u64::from(u32::MAX)),
            "sum" => least,
            other => panic!("no such rule: {other}"),
        };
        team[offset..offset + size].copy_from_slice(&merged.to_le_bytes()[..size]);
    }
    team
}

fn book() -> CapabilityTable<Heap> {
    CapabilityTable::new(vec![MemberCapabilities::UNKNOWN; MEMBERS])
}

fn member(slot: usize) -> MemberIndex {
    MemberIndex::from_slot(slot).unwrap()
}

/// A member's structure of a revision (counted from 0) with the given contents.
fn bytes_of(capability: Capability, revision: usize, contents: &[u8]) -> Vec<u8> {
    let size = capability.sizes()[revision];
    let mut bytes = contents[..size].to_vec();
    let [low, high] = u16::try_from(size).unwrap().to_le_bytes();
    bytes[..4].copy_from_slice(&[capability.object_type(), u8::try_from(revision).unwrap() + 1, low, high]);
    bytes
}

fn contents() -> impl Strategy<Value = Vec<u8>> {
    // Single bits and small numbers as well as random bytes, so that merged values differ from the inputs.
    let byte = prop_oneof![Just(0_u8), Just(1), Just(0xFF), any::<u8>()];
    prop::collection::vec(byte, LONGEST)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_team_can_what_the_documented_rules_say_for_every_subset_of_six(
        all in prop::collection::vec((contents(), any::<prop::sample::Index>()), 6),
    ) {
        for capability in CAPABILITIES {
            let sizes = capability.sizes().len();
            let vectors: Vec<_> =
                all.iter().map(|(contents, revision)| bytes_of(capability, revision.index(sizes), contents)).collect();
            let mut book = book();
            for (slot, bytes) in vectors.iter().enumerate() {
                prop_assert!(book.record(member(slot), capability, bytes));
            }
            for subset in 1_u32..64 {
                let slots: Vec<_> = (0..6).filter(|slot| subset & 1 << slot != 0).collect();
                let live: MemberSet = slots.iter().map(|&slot| member(slot)).collect();
                let of: Vec<_> = slots.iter().map(|&slot| vectors[slot].clone()).collect();
                for placement in PLACEMENTS {
                    let merged = book.merged(capability, live, placement).expect("all have answered");
                    prop_assert_eq!(merged.bytes(), expected(capability, &of, placement), "{:?} {:?}", capability, live);
                }
            }
        }
    }

    #[test]
    fn any_bytes_are_read_no_further_than_they_go_and_merge_to_a_sound_header(
        noise in prop::collection::vec(any::<u8>(), 0..300), known in contents(), kind in 0..7_usize,
    ) {
        let capability = CAPABILITIES[kind];
        let mut book = book();
        book.record(member(0), capability, &noise);
        book.record(member(1), capability, &bytes_of(capability, 0, &known));
        let live = MemberSet::EMPTY.with(member(0)).with(member(1));
        let merged = book.merged(capability, live, OffloadPlacement::FollowFlows).expect("one has answered");
        prop_assert!(capability.sizes().contains(&merged.bytes().len()));
        prop_assert_eq!(usize::from(merged.bytes()[2]), merged.bytes().len());
        prop_assert_eq!(merged.bytes()[0], capability.object_type());
    }
}

#[test]
fn the_documented_rules_and_the_rules_in_use_name_the_same_fields_in_the_same_places() {
    for capability in CAPABILITIES {
        let mut documented: Vec<_> =
            documented(capability).iter().map(|&(name, offset, size, _)| (name, offset, size)).collect();
        let mut used: Vec<_> =
            capability.fields().iter().map(|field| (field.name, field.offset, field.width)).collect();
        documented.sort_unstable();
        used.sort_unstable();
        assert_eq!(documented, used, "{capability:?}");
    }
}

#[test]
fn a_newer_revision_is_read_as_the_last_known_and_a_shorter_one_shortens_the_team() {
    let capability = Capability::ReceiveFilter;
    let mut newer = vec![1; 200];
    newer[..4].copy_from_slice(&[0x80, 9, 200, 0]);
    let mut book = book();
    book.record(member(0), capability, &newer);
    let live = MemberSet::EMPTY.with(member(0));
    let merged = book.merged(capability, live, OffloadPlacement::FollowFlows).unwrap();
    assert_eq!(merged.bytes()[..4], [0x80, 2, 84, 0]);
    book.record(member(1), capability, &bytes_of(capability, 0, &[1; LONGEST]));
    let both = live.with(member(1));
    let merged = book.merged(capability, both, OffloadPlacement::FollowFlows).unwrap();
    assert_eq!(merged.bytes()[..4], [0x80, 1, 56, 0]);
    for damaged in [&newer[..3], &[0x80, 0, 84, 0][..], &[0x96, 1, 84, 0][..], &[0x80, 1, 84, 0][..]] {
        assert!(!book.record(member(0), capability, damaged), "what is damaged says nothing");
        let still = book.merged(capability, live, OffloadPlacement::FollowFlows).unwrap();
        assert_eq!(still.bytes()[..4], [0x80, 2, 84, 0]);
    }
}

#[test]
fn a_member_that_has_nothing_takes_it_from_the_team_and_one_that_is_silent_does_not() {
    let capability = Capability::ReceiveFilter;
    let mut book = book();
    book.record(member(0), capability, &bytes_of(capability, 1, &[3; LONGEST]));
    let live: MemberSet = (0..3).map(member).collect();
    let alone = book.merged(capability, live, OffloadPlacement::FollowFlows).unwrap();
    assert_eq!(value(alone.bytes(), 16, 4), 0x0303_0303);
    book.record_none(member(1), capability);
    let with = book.merged(capability, live, OffloadPlacement::FollowFlows).unwrap();
    assert_eq!((value(with.bytes(), 8, 4), value(with.bytes(), 16, 4)), (0, 0x0303_0303));
    assert_eq!(with.bytes().len(), alone.bytes().len(), "the revision is that of those who have it");
    // Members that have the capability are chosen; members without an answer only if no member has it.
    assert_eq!(book.able(Resource::Queue, live), MemberSet::EMPTY.with(member(0)));
    assert_eq!(book.able(Resource::Queue, live.without(member(0))), MemberSet::EMPTY.with(member(2)));
    book.forget(member(0));
    assert_eq!(book.merged(capability, live, OffloadPlacement::FollowFlows), None);
}

#[test]
fn what_was_indicated_and_no_member_has_any_more_is_taken_back() {
    let capability = Capability::ReceiveFilter;
    let follow = OffloadPlacement::FollowFlows;
    let mut book = book();
    let live: MemberSet = (0..2).map(member).collect();
    book.record_none(member(0), capability);
    book.record_none(member(1), capability);
    assert_eq!(book.take_due(live, follow), None, "nobody was told anything");
    book.record(member(0), capability, &bytes_of(capability, 1, &[3; LONGEST]));
    assert!(book.take_due(live, follow).is_some());
    // The only capable member goes down or loses the capability: the team has none in both cases.
    let rest = live.without(member(0));
    book.team_changed();
    let (_, nothing) = book.take_due(rest, follow).expect("it was told before");
    assert_eq!(nothing.bytes()[..4], [0x80, 1, 56, 0]);
    assert_eq!((value(nothing.bytes(), 8, 4), value(nothing.bytes(), 16, 4)), (0, 0));
    book.record_none(member(0), capability);
    assert_eq!(book.take_due(live, follow), Some((capability, nothing)));
    // No member is up, or none has answered: nothing is indicated yet.
    book.team_changed();
    assert_eq!(book.take_due(MemberSet::EMPTY, follow), None);
    (0..2).for_each(|slot| book.forget(member(slot)));
    book.team_changed();
    assert_eq!(book.take_due(live, follow), None);
}

#[test]
fn a_change_is_indicated_once_and_a_change_of_the_team_indicates_all_that_is_known() {
    let mut book = book();
    let live = MemberSet::EMPTY.with(member(0)).with(member(1));
    let placement = OffloadPlacement::FollowFlows;
    let due = |book: &mut CapabilityTable<Heap>| {
        std::iter::from_fn(|| book.take_due(live, placement))
            .map(|(capability, _)| capability)
            .collect::<Vec<_>>()
    };
    let bytes = bytes_of(Capability::NicSwitch, 1, &[7; LONGEST]);
    book.record(member(0), Capability::NicSwitch, &bytes);
    assert_eq!(due(&mut book), [Capability::NicSwitch]);
    book.record(member(0), Capability::NicSwitch, &bytes);
    assert_eq!(due(&mut book), []);
    book.record(member(1), Capability::TaskOffload, &bytes_of(Capability::TaskOffload, 2, &[1; LONGEST]));
    book.record(member(1), Capability::Sriov, &bytes_of(Capability::Sriov, 0, &[1; LONGEST]));
    assert_eq!(due(&mut book), [Capability::TaskOffload]);
    book.team_changed();
    assert_eq!(due(&mut book), [Capability::NicSwitch, Capability::TaskOffload]);
    book.indicate_again(Capability::NicSwitch);
    assert_eq!(due(&mut book), [Capability::NicSwitch]);
}

#[test]
fn of_two_that_indicate_at_once_one_indicates_again() {
    let (capability, placement) = (Capability::NicSwitch, OffloadPlacement::FollowFlows);
    let live = MemberSet::EMPTY.with(member(0)).with(member(1));
    let mut book = book();
    let hand_out = |book: &mut CapabilityTable<Heap>, byte| {
        book.record(member(0), capability, &bytes_of(capability, 1, &[byte; LONGEST]));
        let (_, block) = book.take_due(live, placement).expect("it is news");
        (block, book.turn(capability))
    };
    let (_, first) = hand_out(&mut book, 1);
    let (newest, second) = hand_out(&mut book, 2);
    // The newer one is out before the older.
    book.indicated(capability, second);
    assert_eq!(book.take_due(live, placement), None);
    book.indicated(capability, first);
    let again = book.take_due(live, placement);
    assert_eq!(again, Some((capability, newest)));
    book.indicated(capability, book.turn(capability));
    assert_eq!(book.take_due(live, placement), None);
}
