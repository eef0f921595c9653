//! `teamctl replay --queues`: the VMs' receive queues before and after failures. `perf/src/queues.rs` tests that its
//! tables agree with the simulated adapters.

mod tool;

use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use tool::{json, refused, teamctl};

const PLACEMENTS: [&str; 3] = ["follow-flows", "single-member", "every-member"];

fn list(value: &Value) -> &Vec<Value> {
    value.as_array().expect("a list")
}

fn stages(report: &Value) -> &Vec<Value> {
    list(&report["queues"]["stages"])
}

fn kinds(report: &Value) -> Vec<&str> {
    stages(report).iter().filter_map(|stage| stage["kind"].as_str()).collect()
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value} is no number"))
}

/// VM, member and id of every queue; with `dead_too` also those on members that are down.
fn held(stage: &Value, dead_too: bool) -> BTreeSet<(u64, u64, u64)> {
    let rows = list(&stage["machines"]).iter().flat_map(|machine| {
        let holdings = list(&machine["held_by"]).iter();
        let holdings = holdings.filter(|held| dead_too || held["up"] == true);
        holdings.map(|held| (number(&machine["machine"]), number(&held["member"]), number(&held["queue"])))
    });
    rows.collect()
}

#[test]
fn driver_adapters_and_switch_agree_in_every_stage_of_every_placement_and_mode() {
    for placement in PLACEMENTS {
        for mode in ["static", "switch-independent"] {
            let report = json(&["--queues", "--placement", placement, "--mode", mode]);
            assert_eq!(kinds(&report), ["start", "down", "planned", "up", "planned"], "{placement} {mode}");
            assert_eq!(report["queues"]["disagreements"], 0, "{placement} {mode}");
            assert_eq!(
                (&report["violations"], &report["leaks"]),
                (&0.into(), &0.into()),
                "{placement} {mode}"
            );
            for stage in stages(&report) {
                assert_eq!(list(&stage["machines"]).len(), 8);
                let of_members: u64 = list(&stage["members"]).iter().map(|m| number(&m["queues"])).sum();
                assert_eq!(of_members as usize, held(stage, true).len(), "{placement} {mode}");
            }
        }
    }
}

#[test]
fn a_failure_leaves_every_queue_where_it_is_until_the_switch_plans_again() {
    let report = json(&["--queues", "--placement", "follow-flows", "--mode", "switch-independent"]);
    let [start, down, planned, up, home] = stages(&report).as_slice() else { panic!("five stages") };
    let of_victim = held(start, true).into_iter().filter(|(_, member, _)| *member == 2);
    let of_victim: BTreeSet<_> = of_victim.collect();
    assert!(!of_victim.is_empty());
    assert_eq!(held(down, true), held(start, true));
    assert_eq!(&held(start, true) - &held(down, false), of_victim, "only these serve nobody");
    assert!(held(planned, true).iter().all(|(_, member, _)| *member != 2));
    assert_eq!(held(up, true), held(planned, true), "a return moves nothing");
    let members = |stage| held(stage, true).into_iter().map(|(machine, member, _)| (machine, member));
    assert!(members(home).eq(members(start)), "everyone is home");
}

/// In a switch-independent team a VM's traffic arrives on the member that carries its own frames, once the physical
/// switch has learned its address.
#[test]
fn a_queue_is_where_the_machines_traffic_arrives_and_what_arrives_elsewhere_is_counted_there() {
    let report = json(&["--queues", "--placement", "follow-flows", "--mode", "switch-independent"]);
    let stages = stages(&report);
    let all = |stage: &Value, field: &str| -> u64 {
        list(&stage["machines"]).iter().map(|machine| number(&machine[field])).sum()
    };
    let (down, planned, home) = (&stages[1], &stages[2], &stages[4]);
    for stage in [planned, home] {
        for machine in list(&stage["machines"]) {
            assert_eq!(machine["arrives_on"], machine["leaves_by"], "{machine}");
            assert_eq!(machine["arrives_on"][0], machine["held_by"][0]["member"], "{machine}");
        }
        assert_eq!(all(stage, "frames_default_queue"), 0);
        assert!(all(stage, "frames_own_queue") > 500);
    }
    let stranded = list(&down["machines"]).iter().filter(|machine| machine["held_by"][0]["up"] == false);
    let by_default: u64 = stranded.clone().map(|machine| number(&machine["frames_default_queue"])).sum();
    assert!(by_default > 20);
    assert!(stranded.clone().all(|machine| machine["frames_own_queue"] == 0));
    let told = down["explanation"].as_str().expect("words");
    assert!(told.ends_with(&format!("until the switch plans again: {by_default} frames")), "{told}");
    for stage in stages {
        for field in ["frames_own_queue", "frames_default_queue"] {
            let members: u64 = list(&stage["members"]).iter().map(|member| number(&member[field])).sum();
            assert_eq!(members, all(stage, field), "machines and members count the same frames");
        }
    }
}

#[test]
fn with_a_copy_on_every_member_a_failure_costs_no_machine_its_queue() {
    let report = json(&["--queues", "--placement", "every-member", "--fail", "2@20%", "--fail", "3@40%"]);
    let stages = stages(&report);
    assert_eq!(kinds(&report), ["start", "down", "planned", "down", "planned"]);
    for (stage, live) in stages.iter().zip([4, 3, 3, 2, 2]) {
        assert_eq!(held(stage, false).len(), 8 * live, "{}", stage["explanation"]);
        let by_default: u64 =
            list(&stage["members"]).iter().map(|m| number(&m["frames_default_queue"])).sum();
        assert_eq!(by_default, 0, "{}", stage["explanation"]);
    }
}

#[test]
fn machines_without_a_queue_are_those_that_the_adapters_have_no_room_for() {
    let single = json(&["--queues", "--placement", "single-member", "--queue-limits", "3"]);
    for stage in stages(&single) {
        assert_eq!((number(&stage["offered"]), held(stage, false).len()), (3, 3));
    }
    // With four copies, the member with the fewest queues limits their number, with a link or without.
    let every = json(&["--queues", "--placement", "every-member", "--queue-limits", "8,2,8,8"]);
    let offered: Vec<u64> = stages(&every).iter().map(|stage| number(&stage["offered"])).collect();
    assert_eq!(offered, [2; 5]);
    // A member without queues is skipped.
    let some = json(&["--queues", "--placement", "follow-flows", "--queue-limits", "0,16,16,0"]);
    assert!(stages(&some).iter().all(|stage| held(stage, true).iter().all(|(_, m, _)| [2, 3].contains(m))));
    let none = json(&["--queues", "--queue-limits", "0"]);
    assert!(stages(&none).iter().all(|stage| number(&stage["offered"]) == 0 && held(stage, true).is_empty()));
    // If the adapter of a VM's traffic has no free queue, the request fails and the VM keeps the default queue.
    let two = ["--queues", "--placement", "follow-flows", "--queue-limits", "1", "--members", "2"];
    let full = json(&[&two, &["--mode", "switch-independent"][..]].concat());
    let start = &stages(&full)[0];
    assert_eq!(number(&start["offered"]), 2);
    assert_eq!(held(start, false).len(), 2);
    assert!(number(&start["refused"]) <= 6);
    // In a static team traffic arrives on both adapters, so that no more fits than on each.
    let both = json(&[&two, &["--mode", "static"][..]].concat());
    assert_eq!(number(&stages(&both)[0]["offered"]), 1);
    for report in [single, every, some, none, full, both] {
        assert_eq!((&report["queues"]["disagreements"], &report["violations"]), (&0.into(), &0.into()));
    }
}

#[test]
fn a_team_that_is_down_serves_no_queue_and_says_so() {
    let report = json(&["--queues", "--members", "1", "--fail", "1@50%"]);
    let down = &stages(&report)[1];
    assert!(down["explanation"].as_str().expect("words").contains("no member is up"), "{down}");
    assert_eq!(held(down, true).len(), 8);
    assert!(held(down, false).is_empty());
}

#[test]
fn the_switch_waits_for_a_link_to_prove_itself_before_it_plans() {
    let report = json(&["--queues", "--up-delay-ms", "2000"]);
    let at: Vec<f64> = stages(&report).iter().filter_map(|stage| stage["at_seconds"].as_f64()).collect();
    let [.., up, planned] = at[..] else { panic!("stages") };
    assert!((3.0..3.1).contains(&(planned - up)), "2 s of the link, 1 s of the switch: {}", planned - up);
}

/// Compares the cells of the text with the JSON object.
#[test]
fn the_text_says_what_the_object_says() {
    for arguments in [
        &["--queues", "--placement", "follow-flows", "--mode", "switch-independent"][..],
        &["--queues", "--placement", "every-member"],
        &["--queues", "--placement", "follow-flows", "--queue-limits", "1,0,2,1"],
        &[
            "--queues",
            "--placement",
            "follow-flows",
            "--members",
            "12",
            "--fail",
            "1@10%",
            "--fail",
            "7@20%",
            "--fail",
            "12@30%",
        ],
    ] {
        let report = json(arguments);
        let output = teamctl(&[&["replay"], arguments].concat());
        let text = String::from_utf8(output.stdout).expect("text");
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        let words: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
        // A wide table is printed in parts, one below the other.
        let pieces = text.split("queue: member/number").skip(1);
        let queues: String = pieces.filter_map(|rest| rest.split("\n\n").next()).collect();
        for (column, stage) in stages(&report).iter().enumerate() {
            assert!(words.contains(stage["explanation"].as_str().expect("words")), "{text}");
            for machine in list(&stage["machines"]) {
                let mac = machine["mac"].as_str().expect("an address");
                let cells = queues.lines().filter(|line| line.contains(mac));
                let cells: Vec<&str> = cells.flat_map(|line| line.split_whitespace().skip(2)).collect();
                assert_eq!(cells[column], cell(machine), "{arguments:?}: {machine}\n{text}");
            }
        }
    }
}

/// The text of a VM's cell.
fn cell(machine: &Value) -> String {
    let members = |up_only: bool| -> Vec<u64> {
        let all = list(&machine["held_by"]).iter().filter(|held| !up_only || held["up"] == true);
        all.map(|held| number(&held["member"])).collect()
    };
    let runs = |members: &[u64]| {
        let mut text = String::new();
        for (at, member) in members.iter().enumerate() {
            let before = at > 0 && members[at - 1] + 1 == *member;
            let after = members.get(at + 1) == Some(&(member + 1));
            match (before, after) {
                (true, true) => {}
                (true, false) => text += &format!("-{member}"),
                (false, _) if text.is_empty() => text += &member.to_string(),
                (false, _) => text += &format!(",{member}"),
            }
        }
        text
    };
    match (members(true), members(false)) {
        (_, all) if all.is_empty() => "-".to_owned(),
        (up, all) if up.is_empty() => format!("({})/{}", runs(&all), machine["queue"]),
        (up, _) => format!("{}/{}", runs(&up), machine["queue"]),
    }
}

#[test]
fn the_page_has_a_map_of_queues_before_and_after() {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("queues.html");
    let report = ["replay", "--queues", "--report", path.to_str().expect("text")];
    assert!(teamctl(&report).status.success());
    let page = fs::read_to_string(path).expect("written");
    assert_eq!(page.matches("class=\"cell-words\"").count(), 8 * 5);
    assert!(page.contains("Member that holds each machine's queue") && page.contains("2 down"));
}

#[test]
fn without_the_option_nothing_is_told_of_queues() {
    assert_eq!(json(&[])["queues"], Value::Null);
}

#[test]
fn a_wrong_command_line_about_queues_is_refused_with_the_next_step() {
    refused(&["replay", "--placement", "every-member"], &["--queues"]);
    refused(&["replay", "--queue-limits", "4"], &["--queues"]);
    refused(&["replay", "--queues", "--placement", "all"], &["all", "every-member"]);
    refused(&["replay", "--queues", "--queue-limits", "1025"], &["1025", "0..=1024"]);
    refused(&["replay", "--queues", "--queue-limits", "x"], &["--queue-limits"]);
    let says = ["names 2 members", "members 1 to 4", "one number for all of them, or 4"];
    refused(&["replay", "--queues", "--queue-limits", "16,8"], &says);
}

/// The image that was built for Windows places queues as the native driver does.
#[test]
#[cfg_attr(not(image_present), ignore = "build the image first: cargo image")]
fn the_image_holds_queues_where_the_native_driver_does() {
    for placement in PLACEMENTS {
        let native = json(&["--queues", "--placement", placement]);
        let image = ["--image", "target/x86_64-pc-windows-msvc/release/lbfoext.sys"];
        let image = json(&[&["--queues", "--placement", placement], &image[..]].concat());
        assert_eq!(image["queues"], native["queues"], "{placement}");
    }
}
