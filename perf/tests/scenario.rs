//! `teamctl scenario`: runs single scenarios of the tests.

mod tool;

use serde_json::Value;
use tool::{printed, refused};
use vswitch::scenario::suite::CASES;

fn report(arguments: &[&str]) -> Value {
    serde_json::from_str(&printed(&[&["scenario", "--json"], arguments].concat())).expect("one object")
}

#[test]
fn every_scenario_is_listed_with_what_happens_and_runs() {
    let text = printed(&["scenario", "--list"]);
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    let flowing = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let rows: Value = serde_json::from_str(&printed(&["scenario", "--list", "--json"])).expect("rows");
    assert_eq!(rows.as_array().map(Vec::len), Some(CASES.len()));
    for case in CASES {
        assert!(flowing.contains(&format!("{} {}", case.name, case.about)), "{}", case.name);
        let report = report(&[case.name, "--seed", "2"]);
        assert_eq!((&report["fine"], &report["scenario"]), (&true.into(), &case.name.into()));
        assert!(report["frames"].as_u64() > Some(0), "{}", case.name);
        let text = printed(&["scenario", case.name, "--seed", "2"]);
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    }
}

#[test]
fn a_seed_gives_the_same_run_again() {
    let log = |seed: &str| printed(&["scenario", "failover", "--seed", seed, "--log"]);
    assert_eq!(log("3"), log("3"));
    assert_ne!(log("3"), log("4"));
}

#[test]
fn the_log_shows_calls_with_their_arguments_and_no_address() {
    let text = printed(&["scenario", "failover", "--log"]);
    for part in [
        "> FilterSendNetBufferLists switch 0: packet 1 from 10/0, flags 0x",
        "+ NdisFSendNetBufferLists packet 1 from 10/0 to 1/",
        "+ ReferenceSwitchNic port 1, nic ",
        "+ NdisFOidRequest query OID_SWITCH_NIC_ARRAY, 4096 bytes",
        ": query OID_GEN_LINK_STATE",
        "> FilterStatus switch 0: code 0x",
        "of 1/2 to 0/0: code 0x400100",
        "= NdisFOidRequest SUCCESS",
        "+ ZwQueryValueKey TeamingMode",
        "< FilterRestart SUCCESS",
        "Fine: failover, seed 1, native driver",
    ] {
        assert!(text.contains(part), "{part}");
    }
    let of_requests = printed(&["scenario", "vms_added_and_removed", "--log"]);
    let request = "> FilterOidRequest switch 0: set OID_SWITCH_NIC_DISCONNECT, ";
    assert!(
        of_requests.lines().any(|line| line.contains(request) && line.contains(" bytes of 1")),
        "{request}"
    );
    // Addresses on this host have twelve digits.
    let long =
        text.split("0x").skip(1).any(|rest| rest.chars().take_while(char::is_ascii_hexdigit).count() > 8);
    assert!(!long, "a number that may be an address");
}

#[test]
fn the_log_is_the_same_run_as_without_it() {
    let (mut with, without) = (report(&["packets", "--log"]), report(&["packets"]));
    assert!(with["log"].as_array().is_some_and(|log| log.len() > 100));
    with.as_object_mut().map(|with| with.remove("log"));
    assert_eq!(with, without);
}

#[test]
fn a_call_that_fails_is_named() {
    let report = report(&["packets", "--fault", "40"]);
    assert!(report["fault"].is_string(), "{report}");
    let text = printed(&["scenario", "packets", "--fault", "1000000"]);
    assert!(text.contains("no call failed, of "), "{text}");
}

#[test]
fn what_is_not_there_is_refused_with_what_is_near() {
    refused(&["scenario", "failovr"], &["failovr", "failover", "teamctl scenario --list"]);
    refused(&["scenario"], &["<NAME>"]);
    refused(&["scenario", "failover", "--image", "perf/Cargo.toml"], &["error: "]);
    refused(&["scenario", "--list", "--seed", "1"], &["cannot be used with"]);
}

#[test]
#[cfg_attr(not(image_present), ignore = "build the image first: cargo image")]
fn the_image_logs_what_the_native_driver_logs() {
    let image = "target/x86_64-pc-windows-msvc/release/lbfoext.sys";
    for case in ["failover", "offloads", "saved_and_restored", "policies_change"] {
        let (native, of_image) = (report(&[case, "--log"]), report(&[case, "--log", "--image", image]));
        assert_eq!((&native["driver"], &of_image["driver"]), (&"native".into(), &"image".into()));
        assert_eq!(native["log"], of_image["log"], "{case}");
    }
}
