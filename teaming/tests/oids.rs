//! The table of OIDs against the constants of the Windows Driver Kit, and the sizes of its payloads against the layouts.

use std::collections::BTreeMap;
use teaming::oid::{OIDS, OidContext, RequestType, Treatment, find, oids};

/// Name and value of each OID that a switch or, for a partition, a physical adapter may get; and the NDIS version that
/// introduced it, if later than 6.40.
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
        assert_eq!(constants.get(row.name).map(|(value, _)| *value), Some(row.oid), "{}", row.name);
        assert!(row.page.ends_with(".md") && !row.kinds.is_empty(), "{}", row.name);
    }
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

#[test]
fn every_request_that_may_arrive_in_an_envelope_has_a_row_and_only_what_makes_or_moves_may_be_refused() {
    let rows: Vec<_> = OIDS.iter().filter(|row| row.place == OidContext::Envelope).collect();
    let offloads = rows.iter().filter(|row| row.treatment != Treatment::Note).count();
    assert_eq!(
        offloads, 14,
        "the table of managing-hardware-offload-oid-requests-to-physical-network-adapters.md"
    );
    for row in rows {
        let makes = matches!(row.treatment, Treatment::Place(_));
        let association = row.name.contains("IPSEC");
        // Nor does a move clear, free, delete or complete anything.
        let moves = row.oid == oids::RECEIVE_FILTER_MOVE_FILTER;
        assert_eq!(row.refusable, makes && !association || moves, "{}", row.name);
    }
}

#[test]
fn a_request_is_found_only_in_its_place_and_with_its_type() {
    for row in OIDS {
        for kind in [RequestType::Query, RequestType::Set, RequestType::Method] {
            for place in [OidContext::Bare, OidContext::Envelope, OidContext::Own] {
                let found = find(place, row.oid, kind);
                let meant = place == row.place && row.kinds.contains(&kind);
                assert_eq!(found == Some(row), meant, "{} {place:?} {kind:?}", row.name);
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
    for (structure, first) in OIDS.iter().filter_map(|row| row.payload) {
        // The size in a header does not include padding at the end, and later revisions are longer.
        let Some(size) = size(structure) else { continue };
        assert!(first <= size, "{structure}");
        checked += 1;
    }
    assert!(checked > 20, "{checked}");
}
