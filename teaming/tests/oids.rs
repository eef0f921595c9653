//! The table of OIDs against the constants of the Windows Driver Kit, and the sizes of its payloads against the layouts.

mod unread_oids;

use std::collections::{BTreeMap, BTreeSet};
use teaming::oid::{OIDS, OidContext, RequestType, Treatment, find, oids};
use unread_oids::UNREAD;

/// Name and value of each `#define OID_*` of the kit's headers; and the NDIS version that introduced it, if later than
/// 6.40.
fn constants() -> BTreeMap<&'static str, (u32, Option<u32>)> {
    let row = |line: &'static str| {
        let [name, value, later] = line.split(',').collect::<Vec<_>>().try_into().expect("three cells");
        let value = u32::from_str_radix(value.trim_start_matches("0x"), 16).expect("a number");
        (name, (value, later.parse().ok()))
    };
    include_str!("../../tests/data/oids.csv").lines().skip(1).map(row).collect()
}

#[test]
fn every_row_has_the_name_and_value_of_a_constant() {
    let constants = constants();
    for row in OIDS {
        let words = row.words();
        assert_eq!(constants.get(words.name).map(|(value, _)| *value), Some(row.oid), "{}", words.name);
        assert!(words.page.ends_with(".md") && !row.kinds.is_empty(), "{}", words.name);
        assert_eq!(words.structure.is_some(), row.payload.is_some(), "{}", words.name);
    }
}

/// How often the list of OIDs without a row has this name, and how often a row has it or its value.
fn entries(name: &str, value: u32) -> (usize, usize) {
    let short = name.strip_prefix("OID_").expect("the prefix");
    let is = |entry: &str| entry.strip_suffix('*').map_or(entry == short, |family| short.starts_with(family));
    let listed = UNREAD.iter().flat_map(|(_, names)| names.iter()).filter(|entry| is(entry)).count();
    (listed, OIDS.iter().filter(|row| row.words().name == name || row.oid == value).count())
}

#[test]
fn every_oid_of_the_kit_has_a_row_or_a_reason_why_it_has_none_and_not_both() {
    let constants = constants();
    assert!(constants.len() > 900, "{} constants", constants.len());
    for (name, (value, _)) in &constants {
        match entries(name, *value) {
            (0, 0) => panic!("{name} has neither a row nor a reason"),
            (0, _) | (1, 0) => {}
            both => panic!("{name}: {both:?} reasons and rows"),
        }
    }
    let mut reasons = BTreeSet::new();
    for (reason, names) in UNREAD {
        assert!(reason.len() <= 140 && reason.ends_with('.') && reasons.insert(reason), "{reason}");
        for entry in *names {
            let meant = entry.trim_end_matches('*');
            let known = constants.keys().filter(|name| name[4..].starts_with(meant)).count();
            assert!(known > 0, "the kit has no {entry}");
        }
    }
}

#[test]
fn a_constant_of_neither_list_and_one_of_both_are_told() {
    assert_eq!(entries("OID_GEN_SOMETHING_NEW", 0x0001_0FFF), (0, 0));
    assert_eq!(entries("OID_TCP_OFFLOAD_PARAMETERS", 0xFC01_020C), (1, 0));
    assert_eq!(entries("OID_SRIOV_RESET_VF", oids::SRIOV_RESET_VF), (0, 1));
    assert_eq!(
        entries("OID_DOT11_ANOTHER_NAME", oids::SRIOV_RESET_VF),
        (1, 1),
        "another name of a row's value"
    );
}

#[test]
fn every_oid_of_the_switch_has_one_row_and_newer_ones_have_none() {
    for (name, (value, later)) in constants().into_iter().filter(|(name, _)| name.starts_with("OID_SWITCH_"))
    {
        // The driver may also originate a request that arrives from above.
        let rows =
            |own: bool| OIDS.iter().filter(|r| r.oid == value && (r.place == OidContext::Own) == own).count();
        let (theirs, own) = (rows(false), rows(true));
        assert!(theirs <= 1 && own <= 1, "{name}");
        assert_eq!(theirs + own > 0, later.is_none(), "{name}");
    }
}

/// Requests that read or change a resource and leave it where it is, beyond those that the page lists.
const USES: [u32; 12] = [
    oids::RECEIVE_FILTER_QUEUE_PARAMETERS,
    oids::NIC_SWITCH_VPORT_PARAMETERS,
    oids::GEN_RECEIVE_SCALE_PARAMETERS,
    oids::GEN_RECEIVE_SCALE_PARAMETERS_V2,
    oids::SRIOV_READ_VF_CONFIG_SPACE,
    oids::SRIOV_WRITE_VF_CONFIG_SPACE,
    oids::SRIOV_READ_VF_CONFIG_BLOCK,
    oids::SRIOV_WRITE_VF_CONFIG_BLOCK,
    oids::SRIOV_RESET_VF,
    oids::SRIOV_SET_VF_POWER_STATE,
    oids::SRIOV_VF_VENDOR_DEVICE_ID,
    oids::SRIOV_BAR_RESOURCES,
];

#[test]
fn every_request_that_may_arrive_in_an_envelope_has_a_row_and_only_what_makes_or_moves_may_be_refused() {
    let rows: Vec<_> = OIDS.iter().filter(|row| row.place == OidContext::Envelope).collect();
    let listed = |row: &&&teaming::oid::Row| row.treatment != Treatment::Note && !USES.contains(&row.oid);
    assert_eq!(
        rows.iter().filter(listed).count(),
        14,
        "the table of managing-hardware-offload-oid-requests-to-physical-network-adapters.md"
    );
    for row in rows {
        let makes = matches!(row.treatment, Treatment::Place(_));
        let name = row.words().name;
        let association = name.contains("IPSEC");
        // Neither a move nor a use clears, frees, deletes or completes anything.
        let moves = row.oid == oids::RECEIVE_FILTER_MOVE_FILTER;
        let uses = USES.contains(&row.oid);
        assert_eq!(row.refusable, makes && !association || moves || uses, "{name}");
        assert!(!uses || matches!(row.treatment, Treatment::Follow(_)), "{name}");
    }
}

#[test]
fn a_request_is_found_only_in_its_place_and_with_its_type() {
    for row in OIDS {
        for kind in [RequestType::Query, RequestType::Set, RequestType::Method] {
            for place in [OidContext::Bare, OidContext::Envelope, OidContext::Own] {
                let found = find(place, row.oid, kind);
                let meant = place == row.place && row.kinds.contains(&kind);
                assert_eq!(found == Some(row), meant, "{} {place:?} {kind:?}", row.words().name);
            }
        }
    }
    assert_eq!(find(OidContext::Bare, 0x0001_0296, RequestType::Method), None);
}

#[test]
fn payloads_are_as_large_as_their_first_revision() {
    let layout = include_str!("../../tests/data/layout.csv");
    let size = |structure: &str| {
        let line = layout.lines().find(|line| line.starts_with(&format!("{structure},__sizeof,")))?;
        line.split(',').nth(3)?.parse::<usize>().ok()
    };
    let mut checked = 0;
    for (structure, first) in OIDS.iter().filter_map(|row| Some((row.words().structure?, row.payload?))) {
        // The size in a header does not include padding at the end, and later revisions are longer.
        let Some(size) = size(structure) else { continue };
        assert!(usize::from(first) <= size, "{structure}");
        checked += 1;
    }
    assert!(checked > 20, "{checked}");
}
