//! What `teamctl migrate` says of a machine that moves to another host, and its object for scripts, against
//! `migrate.schema.json`.

mod tool;

use serde_json::Value;
use tool::frames::{Udp, capture};
use tool::schema::{self, broken, unnoticed};
use tool::{printed, refused, teamctl};

fn migrate(arguments: &[&str]) -> Value {
    let output = teamctl(&[&["migrate", "--json"], arguments].concat());
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{text}{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_str(&text).expect("JSON")
}

#[test]
fn a_machine_keeps_its_members_between_equal_hosts_only() {
    let equal = migrate(&[]);
    assert_eq!(equal["differences"], Value::Array(vec![]));
    assert_eq!((&equal["flows_changed"], &equal["others_moved"]), (&0.into(), &0.into()));
    assert!(equal["flows_kept"].as_u64() > Some(5), "{equal}");
    assert_eq!(
        (&equal["structures"], &equal["requests"], &equal["too_short"]),
        (&1.into(), &3.into(), &1.into())
    );
    let sent =
        |report: &Value, at: usize, what: &str| report["statistics"][at][what].as_u64().expect("a count");
    for what in ["frames", "bytes"] {
        assert!(sent(&equal, 0, what) > 0 && sent(&equal, 1, what) > sent(&equal, 0, what), "{equal}");
    }
    // Under HyperVPort the flows also keep their member although the port has another number on the target.
    let by_port = migrate(&["--policy", "hyper-v-port"]);
    assert_eq!(by_port["differences"], Value::Array(vec![]));
    assert_eq!((&by_port["flows_changed"], &by_port["statistics"]), (&0.into(), &equal["statistics"]));
    let rows: [(&[&str], &str); 4] = [
        (&["--target-speeds", "10G,10G"], "number of members"),
        (&["--target-speeds", "25G,10G,10G,10G"], "positions or speeds of the members"),
        (&["--target-hash-seed", "7"], "hash seed"),
        (&["--target-policy", "ip-addresses"], "policy"),
    ];
    for (arguments, difference) in rows {
        let report = migrate(arguments);
        let told = report["differences"].as_array().expect("a list");
        assert!(told.contains(&difference.into()), "{arguments:?}: {report}");
        let reasons: u64 =
            report["reasons"].as_object().expect("a table").values().filter_map(Value::as_u64).sum();
        assert_eq!(Some(reasons), report["flows_changed"].as_u64(), "each changed flow has a reason");
        assert_eq!(report["others_moved"], 0);
    }
}

#[test]
fn a_migration_that_cannot_be_is_refused_with_what_can() {
    refused(&["migrate", "--machine", "9"], &["--machine is 9", "machines 1 to 8"]);
    refused(&["migrate", "--machine", "0"], &["machines 1 to 8"]);
    refused(&["migrate", "--at", "101"], &["0..=100"]);
    refused(&["migrate", "--target-speeds", "fast"], &["10G"]);
    refused(&["migrate", "no-such-file.pcap"], &["no-such-file.pcap"]);
}

#[test]
fn every_object_is_as_the_schema_says_and_the_schema_notices_what_is_missing_or_new() {
    let schema = schema::of("migrate");
    for arguments in [
        &[][..],
        &["--target-speeds", "25G,10G", "--target-hash-seed", "7"],
        &["--policy", "hyper-v-port", "--target-policy", "ip-addresses", "--at", "0"],
        &["perf/captures/varied/vxlan.pcap", "--machines", "all", "--at", "100"],
    ] {
        let report = migrate(arguments);
        let faults = broken(&schema, &report);
        assert!(faults.is_empty(), "{arguments:?}: {faults:?}");
        let (members, missed) = unnoticed(&schema, &report, |path| path.starts_with("/reasons/"));
        assert!(members > 30 && missed.is_empty(), "{arguments:?}, {members}: {missed:?}");
    }
}

#[test]
fn each_flow_that_changed_is_in_the_object_with_its_members_and_its_reason() {
    let report = migrate(&["--target-speeds", "25G,10G"]);
    let changed = report["changed"].as_array().expect("a list");
    assert_eq!(Some(changed.len() as u64), report["flows_changed"].as_u64());
    for flow in changed {
        assert_ne!(flow["from_member"], flow["to_member"], "{flow}");
        assert!(flow["to_member"].as_u64() <= Some(2), "{flow}");
        assert!(report["reasons"][flow["reason"].as_str().expect("text")].is_u64(), "{flow}");
    }
    assert_eq!(report["target"]["bits_per_second"], Value::from(vec![25_000_000_000_u64, 10_000_000_000]));
}

#[test]
fn a_migration_of_which_no_flow_went_on_is_not_called_fine() {
    let (inside, outside) = ([2, 0, 0, 0, 0, 5], [2, 0, 0, 0, 9, 9]);
    let frame = Udp::new(inside, "10.0.0.5", outside, "192.0.2.7").ports(7, 53).bytes();
    let path = capture("once.pcap", &[frame]);
    let text = printed(&["migrate", &path]);
    assert!(text.starts_with("No flow of it was seen on both hosts: machine 1 "), "{text}");
    assert_eq!(migrate(&[&path])["verdict"], "none_went_on");
}
