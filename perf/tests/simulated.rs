//! `--save-host`: the simulated host is written as `inf/collect.ps1` writes a real one, and its faults are found in it.

mod tool;

use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use tool::{printed, teamctl};

fn place(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("simulated-{name}.json"))
}

/// The host at the end of a run, which must be fine.
fn saved(name: &str, arguments: &[&str]) -> (PathBuf, Value) {
    let path = place(name);
    let _ = fs::remove_file(&path);
    printed(&[arguments, &["--save-host", path.to_str().expect("text")]].concat());
    let host = serde_json::from_str(&fs::read_to_string(&path).expect("it is written")).expect("one object");
    (path, host)
}

/// The findings of `doctor`, and its exit code.
fn diagnosis(path: &Path) -> (Vec<String>, Option<i32>) {
    let output = teamctl(&["doctor", "--json", path.to_str().expect("text")]);
    let found: Value = serde_json::from_slice(&output.stdout).expect("one object");
    let ids = found["findings"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|one| one["id"].as_str().expect("id").to_owned());
    (ids.collect(), output.status.code())
}

#[test]
fn the_file_has_what_the_script_of_a_host_writes_and_nothing_else() {
    let script = include_str!("../../inf/collect.ps1");
    let names = script
        .lines()
        .filter_map(|line| line.strip_prefix("        ")?.split_once(" = ").map(|(name, _)| name));
    let collected: BTreeSet<&str> =
        names.filter(|name| name.chars().all(|c| c.is_ascii_alphabetic())).collect();
    assert!(collected.len() > 20, "{collected:?}");
    let (_, host) = saved("shape", &["replay"]);
    let written: BTreeSet<&str> = host.as_object().expect("an object").keys().map(String::as_str).collect();
    assert_eq!(written, collected);
    // And in each list the properties that the script selects.
    let words: BTreeSet<&str> = script.split(|c: char| !c.is_ascii_alphanumeric()).collect();
    for list in host.as_object().expect("an object").values().filter_map(Value::as_array) {
        for name in list.iter().filter_map(Value::as_object).flat_map(|one| one.keys()) {
            assert!(words.contains(&**name), "{name}");
        }
    }
}

#[test]
fn a_team_without_a_fault_is_shown_whole_and_nothing_is_found() {
    let (path, host) = saved("whole", &["replay", "--fail", "none"]);
    assert_eq!(diagnosis(&path), (vec![], Some(0)));
    let shown = printed(&["show", path.to_str().expect("text")]);
    assert!(shown.contains("switch Simulated: Up, Static") && shown.contains("machine 8"), "{shown}");
    // What the driver says of each member is what left through it.
    let report: Value =
        serde_json::from_str(&printed(&["replay", "--fail", "none", "--json"])).expect("one object");
    for member in report["members"].as_array().expect("a list") {
        let told = &host["TeamStatus"][0]["Data"][format!("Member{}Frames", member["index"])];
        assert_eq!(*told, member["frames"], "{member}");
    }
}

#[test]
fn a_pulled_cable_is_found_with_its_cause_and_its_event() {
    for member in ["1", "3"] {
        let (path, _) = saved("pulled", &["replay", "--fail", &format!("{member}@50%")]);
        let path_text = path.to_str().expect("text");
        let (found, code) = diagnosis(&path);
        assert!(
            code == Some(1)
                && found.contains(&"team-degraded".to_owned())
                && found.contains(&"member-out".to_owned()),
            "{found:?}"
        );
        let said = teamctl(&["doctor", path_text]).stdout;
        let said = String::from_utf8(said).expect("text").split_whitespace().collect::<Vec<_>>().join(" ");
        let cause = format!(
            "'Ethernet {member}' (member {member}) of switch 'Simulated' carries no traffic: Down, PhysicalMediaDisconnected."
        );
        assert!(said.contains(&cause) && said.contains("Check the cable"), "{said}");
        let shown = printed(&["show", path_text]);
        assert!(shown.contains(&format!("Ethernet {member} PhysicalMediaDisconnected")), "{shown}");
        let events = printed(&["events", "--id", "26", path_text]);
        assert!(events.contains("26 MemberDown") && events.contains("To do:"), "{events}");
    }
}

#[test]
fn a_scenario_is_saved_after_its_last_step_whatever_became_of_the_extension() {
    for (name, running) in [("failover", true), ("policies", true), ("two_switches", true)] {
        let (path, host) = saved(name, &["scenario", name]);
        assert_eq!(host["Extensions"][0]["Running"], running, "{name}");
        let switches = host["Switches"].as_array().map(Vec::len);
        assert_eq!(switches, Some(if name == "two_switches" { 2 } else { 1 }), "{name}");
        assert_eq!(host["TeamStatus"].as_array().map(Vec::len), switches, "{name}");
        printed(&["show", path.to_str().expect("text")]);
        diagnosis(&path);
    }
}

#[test]
fn a_file_that_cannot_be_written_is_named() {
    tool::refused_after(&["replay", "--save-host", "no/such/folder/sim.json"], &["no/such/folder/sim.json"]);
}
