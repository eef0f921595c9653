//! The merged capabilities of a team, by brute force: every subset of six members with random capabilities, against
//! the documented rules and the offsets of the Windows Driver Kit.

use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::OnceLock;
use teaming::Heap;
use teaming::ids::{MEMBERS, MemberIndex, MemberSet};
use teaming::offload::OffloadPlacement;
use teaming::offload::capabilities::{
    CAPABILITIES, Capability, CapabilityTable, Counting, LONGEST, MemberCapabilities,
};
use teaming::oid::Resource;
use teaming::settings::{Settings, TeamingMode};

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

/// The revision of a structure, counted from 1.
fn revision(bytes: &[u8]) -> usize {
    usize::from(bytes[1])
}

/// Bytes that a revision explains, or the newest known one before it.
fn explained(capability: Capability, revision: usize) -> usize {
    capability.sizes()[revision.min(capability.sizes().len()) - 1]
}

/// What the documentation says of these members' bytes.
fn expected(capability: Capability, members: &[&[u8]], counting: Counting) -> Vec<u8> {
    if let [one] = members {
        return one.to_vec();
    }
    let oldest = members.iter().map(|bytes| revision(bytes)).min().expect("a member");
    let known = explained(capability, oldest);
    let same = |at: usize| members.iter().all(|bytes| bytes.get(at) == members[0].get(at));
    let longest = members.iter().map(|bytes| bytes.len()).max().expect("a member");
    // Behind what is known, bytes mean something only where all say the same.
    let whole = members.iter().all(|bytes| revision(bytes) == oldest) && (known..longest).all(same);
    let (length, of) =
        if whole { (members[0].len(), oldest) } else { (known, oldest.min(capability.sizes().len())) };
    let mut team: Vec<u8> = (0..length).map(|at| if same(at) { members[0][at] } else { 0 }).collect();
    let [low, high] = u16::try_from(length).unwrap().to_le_bytes();
    team[..4].copy_from_slice(&[capability.object_type(), u8::try_from(of).unwrap(), low, high]);
    for &(_, offset, size, rule) in documented(capability) {
        if offset + size <= known {
            let values: Vec<_> = members.iter().map(|bytes| value(bytes, offset, size)).collect();
            let merged = by_rule(rule, &values, counting == Counting::Sum);
            team[offset..offset + size].copy_from_slice(&merged.to_le_bytes()[..size]);
        }
    }
    without_vxlan(capability, members, known, &mut team);
    team
}

fn by_rule(rule: &str, values: &[u64], sums: bool) -> u64 {
    let all = |mask: u64| values.iter().fold(mask, |a, b| a & b);
    let any = |mask: u64| values.iter().fold(0, |a, b| a | b & mask);
    let (least, most) = (*values.iter().min().unwrap(), *values.iter().max().unwrap());
    let sum = values.iter().sum::<u64>();
    match rule {
        "all" => all(u64::MAX),
        "all, mode" => all(!0x80) | if sums { 0x80 } else { 0 },
        "all, restrictions" => all(!0x1000) | any(0x1000),
        "segments" => all(!0x3F) | values.iter().map(|value| value & 0x3F).max().unwrap(),
        "any" => any(u64::MAX),
        "least" => least,
        "most" => most,
        "equal" => {
            if least == most {
                least
            } else {
                0
            }
        }
        "sum" if sums => sum.min(u64::from(u32::MAX)),
        "ports" if sums => {
            let having = values.iter().filter(|ports| **ports != 0).count() as u64;
            (sum - having.saturating_sub(1)).min(u64::from(u32::MAX))
        }
        "sum" | "ports" => least,
        other => panic!("no such rule: {other}"),
    }
}

/// Members that differ in the VXLAN port have none.
fn without_vxlan(capability: Capability, members: &[&[u8]], known: usize, team: &mut [u8]) {
    let offload = matches!(capability, Capability::TaskOffload | Capability::TaskOffloadHardware);
    let ports: Vec<_> = members
        .iter()
        .map(|bytes| if explained(capability, revision(bytes)) >= 168 { value(bytes, 164, 4) } else { 0 })
        .collect();
    if offload && known >= 177 && ports.iter().any(|port| *port != ports[0]) {
        team[156..164].fill(0);
        team[176] &= !2;
    }
}

fn book() -> CapabilityTable<Heap> {
    CapabilityTable::new(vec![MemberCapabilities::UNKNOWN; MEMBERS])
}

fn team_of(members: usize) -> CapabilityTable<Heap> {
    let mut book = book();
    (0..members).for_each(|slot| book.created(member(slot)));
    book
}

fn member(slot: usize) -> MemberIndex {
    MemberIndex::from_slot(slot).unwrap()
}

/// A member's structure of that revision (counted from 0) with any contents; revisions behind the last are those of a
/// newer system, and longer.
fn bytes_of(capability: Capability, revision: usize, contents: &[u8]) -> Vec<u8> {
    let newest = capability.sizes().len() - 1;
    let more = 8 * revision.saturating_sub(newest);
    sized(capability, revision, capability.sizes()[revision.min(newest)] + more, contents)
}

fn sized(capability: Capability, revision: usize, size: usize, contents: &[u8]) -> Vec<u8> {
    let mut bytes = contents[..size].to_vec();
    let [low, high] = u16::try_from(size).unwrap().to_le_bytes();
    bytes[..4].copy_from_slice(&[capability.object_type(), u8::try_from(revision).unwrap() + 1, low, high]);
    bytes
}

fn contents() -> impl Strategy<Value = Vec<u8>> {
    // Sparse bits and small numbers as well as noise: what merges must differ, and sometimes be the same.
    let byte = prop_oneof![2 => Just(0_u8), 1 => Just(1), 1 => Just(0xFF), 2 => any::<u8>()];
    let noise = prop::collection::vec(byte, LONGEST);
    prop_oneof![3 => noise, 1 => prop_oneof![Just(0_u8), Just(7)].prop_map(|byte| vec![byte; LONGEST])]
}

/// Where a structure ends, beyond what its revision explains: as compilers pad it.
fn padding() -> impl Strategy<Value = usize> {
    prop_oneof![3 => Just(0_usize), 1 => Just(3), 1 => Just(4)]
}

const COUNTINGS: [Counting; 2] = [Counting::Sum, Counting::Least];

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_team_can_what_the_documented_rules_say_for_every_subset_of_six(
        all in prop::collection::vec((contents(), any::<prop::sample::Index>(), padding()), 6),
        alike in any::<bool>(),
        copies in prop::collection::vec(prop::option::of(0..6_usize), 6),
    ) {
        for capability in CAPABILITIES {
            // Two more than are known.
            let count = capability.sizes().len() + 2;
            let vectors: Vec<_> = copies
                .iter()
                .enumerate()
                .map(|(slot, copy)| &all[copy.unwrap_or(slot)])
                .map(|(contents, revision, padding)| {
                    let revision = if alike { all[0].1 } else { *revision }.index(count);
                    let size = bytes_of(capability, revision, contents).len() + padding;
                    sized(capability, revision, size, contents)
                })
                .collect();
            let mut book = book();
            for (slot, bytes) in vectors.iter().enumerate() {
                prop_assert!(book.record(member(slot), capability, bytes));
            }
            for subset in 1_u32..64 {
                let slots: Vec<_> = (0..6).filter(|slot| subset & 1 << slot != 0).collect();
                let connected: MemberSet = slots.iter().map(|&slot| member(slot)).collect();
                let of: Vec<&[u8]> = slots.iter().map(|&slot| &vectors[slot][..]).collect();
                for counting in COUNTINGS {
                    let merged = book.merged(capability, connected, counting).expect("all have answered");
                    let expected = expected(capability, &of, counting);
                    prop_assert_eq!(merged.bytes(), expected, "{:?} {:?}", capability, connected);
                }
            }
        }
    }

    #[test]
    fn any_bytes_are_read_no_further_than_they_go_and_merge_to_a_sound_header(
        noise in prop::collection::vec(any::<u8>(), 0..400), known in contents(), kind in 0..7_usize,
    ) {
        let capability = CAPABILITIES[kind];
        let mut book = book();
        book.record(member(0), capability, &noise);
        book.record(member(1), capability, &bytes_of(capability, 0, &known));
        let connected = MemberSet::EMPTY.with(member(0)).with(member(1));
        let merged = book.merged(capability, connected, Counting::Sum).expect("one has answered");
        prop_assert!(capability.sizes().contains(&merged.bytes().len()));
        prop_assert_eq!(usize::from(merged.bytes()[2]), merged.bytes().len());
        prop_assert_eq!(merged.bytes()[0], capability.object_type());
    }
}

#[test]
fn of_one_adapter_alone_nothing_is_lost_and_nothing_indicated() {
    for capability in CAPABILITIES {
        // Every revision that is known and three that are not, with bytes that no field names.
        for revision in 0..capability.sizes().len() + 3 {
            let contents: Vec<u8> = (0..LONGEST).map(|at| (at * 7 + 1) as u8).collect();
            for padding in [0, 4] {
                let size = bytes_of(capability, revision, &contents).len() + padding;
                let bytes = sized(capability, revision, size, &contents);
                let mut book = book();
                book.created(member(3));
                assert!(book.record(member(3), capability, &bytes));
                let alone = MemberSet::EMPTY.with(member(3));
                for counting in COUNTINGS {
                    assert_eq!(book.merged(capability, alone, counting).unwrap().bytes(), bytes);
                    assert_eq!(book.take_due(alone, counting), None, "the adapter speaks for itself");
                }
                // The second one makes a team, also once it is gone again.
                book.created(member(4));
                let told: Vec<_> = std::iter::from_fn(|| book.take_due(alone, Counting::Sum)).collect();
                let indicated = capability.status().is_some();
                assert_eq!(told.len(), usize::from(indicated));
                assert!(told.iter().all(|(of, block)| *of == capability && block.bytes() == bytes));
            }
        }
    }
}

#[test]
fn a_team_counts_by_where_its_traffic_arrives() {
    let with =
        |mode, offload_placement| Counting::of(&Settings { mode, offload_placement, ..Settings::default() });
    for placement in
        [OffloadPlacement::FollowFlows, OffloadPlacement::SingleMember, OffloadPlacement::EveryMember]
    {
        let follows = placement == OffloadPlacement::FollowFlows;
        let expected = if follows { Counting::Sum } else { Counting::Least };
        assert_eq!(with(TeamingMode::SwitchIndependent, placement), expected);
        assert_eq!(with(TeamingMode::Static, placement), Counting::Least, "it arrives on all members");
    }
}

#[test]
fn the_documented_rules_and_the_rules_in_use_name_the_same_fields_in_the_same_places() {
    for capability in CAPABILITIES {
        let mut documented: Vec<_> =
            documented(capability).iter().map(|&(name, offset, size, _)| (name, offset, size)).collect();
        let mut used: Vec<_> = capability
            .names()
            .iter()
            .zip(capability.fields())
            .map(|(name, field)| (*name, field.offset(), field.width()))
            .collect();
        assert_eq!(used.len(), capability.fields().len(), "{capability:?}");
        assert!(used.is_sorted_by_key(|(_, offset, _)| *offset), "{capability:?}");
        documented.sort_unstable();
        used.sort_unstable();
        assert_eq!(documented, used, "{capability:?}");
    }
}

#[test]
fn a_revision_too_long_to_be_kept_is_read_as_the_last_known_and_a_shorter_one_shortens_the_team() {
    let capability = Capability::ReceiveFilter;
    let mut newer = vec![1; 300];
    newer[..4].copy_from_slice(&[0x80, 9, 44, 1]);
    let mut book = book();
    book.record(member(0), capability, &newer);
    let live = MemberSet::EMPTY.with(member(0));
    let merged = book.merged(capability, live, Counting::Sum).unwrap();
    assert_eq!(merged.bytes()[..4], [0x80, 2, 84, 0]);
    book.record(member(1), capability, &bytes_of(capability, 0, &[1; LONGEST]));
    let both = live.with(member(1));
    let merged = book.merged(capability, both, Counting::Sum).unwrap();
    assert_eq!(merged.bytes()[..4], [0x80, 1, 56, 0]);
    for damaged in [&newer[..3], &[0x80, 0, 84, 0][..], &[0x96, 1, 84, 0][..], &[0x80, 1, 84, 0][..]] {
        assert!(!book.record(member(0), capability, damaged), "what is damaged says nothing");
        let still = book.merged(capability, live, Counting::Sum).unwrap();
        assert_eq!(still.bytes()[..4], [0x80, 2, 84, 0]);
    }
}

#[test]
fn what_a_member_said_it_lacks_does_not_count_while_it_is_asked_again() {
    let (capability, queue) = (Capability::ReceiveFilter, Resource::Queue);
    let (mut book, both) = (book(), [0, 1].map(member).into_iter().collect());
    let (has, lacks) = (MemberSet::EMPTY.with(member(0)), MemberSet::EMPTY.with(member(1)));
    let answer = |book: &mut CapabilityTable<Heap>| {
        book.record(member(0), capability, &bytes_of(capability, 1, &[3; LONGEST]));
        book.record_none(member(1), capability);
        assert_eq!((book.able(queue, both), book.unanswered(queue, both)), (has, MemberSet::EMPTY));
        assert_eq!(book.limits(queue)[..2], [0x0303_0303, u32::MAX]);
    };
    answer(&mut book);
    book.doubt(both, capability);
    assert_eq!((book.able(queue, both), book.unanswered(queue, both)), (has, lacks));
    assert_eq!(book.limits(queue)[..2], [u32::MAX; 2], "and how many is not known");
    answer(&mut book);
}

#[test]
fn a_member_that_has_nothing_takes_it_from_the_team_and_one_that_is_silent_does_not() {
    let capability = Capability::ReceiveFilter;
    let mut book = book();
    book.record(member(0), capability, &bytes_of(capability, 1, &[3; LONGEST]));
    let live: MemberSet = (0..3).map(member).collect();
    let alone = book.merged(capability, live, Counting::Sum).unwrap();
    assert_eq!(value(alone.bytes(), 16, 4), 0x0303_0303);
    book.record_none(member(1), capability);
    let with = book.merged(capability, live, Counting::Sum).unwrap();
    assert_eq!((value(with.bytes(), 8, 4), value(with.bytes(), 16, 4)), (0, 0x0303_0303));
    assert_eq!(with.bytes().len(), alone.bytes().len(), "the revision is that of those who have it");
    assert_eq!(book.able(Resource::Queue, live), MemberSet::EMPTY.with(member(0)));
    assert_eq!(book.unanswered(Resource::Queue, live), MemberSet::EMPTY.with(member(2)));
    book.forget(member(0));
    assert_eq!(book.merged(capability, live, Counting::Sum), None);
}

#[test]
fn what_was_indicated_and_no_member_has_any_more_is_taken_back() {
    let capability = Capability::ReceiveFilter;
    let follow = Counting::Sum;
    let mut book = team_of(2);
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
    let mut book = team_of(2);
    let live = MemberSet::EMPTY.with(member(0)).with(member(1));
    let placement = Counting::Sum;
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
    let (capability, counting) = (Capability::NicSwitch, Counting::Sum);
    let live = MemberSet::EMPTY.with(member(0)).with(member(1));
    let mut book = team_of(2);
    let hand_out = |book: &mut CapabilityTable<Heap>, byte| {
        book.record(member(0), capability, &bytes_of(capability, 1, &[byte; LONGEST]));
        let (_, block) = book.take_due(live, counting).expect("it is news");
        (block, book.turn(capability))
    };
    let (_, first) = hand_out(&mut book, 1);
    let (newest, second) = hand_out(&mut book, 2);
    // The newer one is out before the older.
    book.indicated(capability, second);
    assert_eq!(book.take_due(live, counting), None);
    book.indicated(capability, first);
    let again = book.take_due(live, counting);
    assert_eq!(again, Some((capability, newest)));
    book.indicated(capability, book.turn(capability));
    assert_eq!(book.take_due(live, counting), None);
}
