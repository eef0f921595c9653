//! `teamctl compare`: what it says, against replays of the same settings.

mod tool;

use serde_json::Value;
use std::fs;
use std::path::Path;
use teaming::settings::{Lookup, SETTINGS, Settings};
use tool::frames::{Udp, capture, pcap_at};
use tool::schema::{self, broken, unnoticed};
use tool::{json, printed, refused, teamctl};

fn compared(arguments: &[&str]) -> Value {
    let text = printed(&[&["compare", "--json"], arguments].concat());
    serde_json::from_str(&text).expect("one object")
}

fn rows(team: &Value) -> &Vec<Value> {
    team["rows"].as_array().expect("rows")
}

const OUTSIDE: [u8; 6] = [2, 0, 0, 0, 9, 9];

/// The first part of the bundled recording: eight machines, flows of all kinds, fragments.
fn part_of_the_office() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("captures/office.pcapng");
    let whole = fs::read(path).expect("there");
    tool::frames::file("office-part.pcapng", &whole[..whole.len() / 6]).to_str().expect("text").to_owned()
}

/// Flows of one machine to the outside, each of some frames over two seconds.
fn one_vm() -> String {
    let mut frames = Vec::new();
    for round in 0..40_u64 {
        for port in 0..24_u16 {
            let frame =
                Udp::new([2, 0, 0, 0, 0, 5], "10.0.0.5", OUTSIDE, "192.0.2.7").ports(40_000 + port, 443);
            frames.push((round * 50_000 + u64::from(port) * 900, frame.bytes()));
        }
    }
    pcap_at("one-machine.pcap", &frames)
}

/// Many machines, each with one equal flow.
fn many_machines() -> String {
    let mut frames = Vec::new();
    for round in 0..12_u64 {
        for number in 0..200_u8 {
            let (mac, address) = ([2, 0, 0, 0, 0, number], format!("10.0.0.{}", number + 1));
            frames.push((
                round * 100_000 + u64::from(number) * 400,
                Udp::new(mac, &address, OUTSIDE, "192.0.2.7").bytes(),
            ));
        }
    }
    pcap_at("many-machines.pcap", &frames)
}

/// A replay of the command that a recommendation names gives the same figures.
fn tried(report: &Value) {
    for team in report["teams"].as_array().expect("teams") {
        let advice = &team["recommendation"];
        let row = &rows(team)[advice["row"].as_u64().expect("a number") as usize];
        let command = advice["command"].as_str().expect("text");
        let words: Vec<&str> = command.split_whitespace().skip(2).collect();
        let alone = json(&words);
        for figure in ["imbalance", "imbalance_floor", "imbalance_floor_exact", "mode", "policy", "hash_seed"]
        {
            assert_eq!(alone[figure], row[figure], "{command}: {figure}");
        }
        for (one, other) in
            alone["members"].as_array().into_iter().flatten().zip(row["members"].as_array().expect("members"))
        {
            for figure in ["frames", "bytes", "flows", "share"] {
                assert_eq!(one[figure], other[figure], "{command}: {figure}");
            }
        }
        // The failures, one after another, as the comparison says when.
        let Some(failures) = row["failures"].as_array() else { continue };
        let mut words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        let none = words.iter().position(|word| word == "--fail").expect("none fails");
        words.drain(none..none + 2);
        for failure in failures {
            for (option, at) in [("--fail", "down_at_seconds"), ("--restore", "up_at_seconds")] {
                words.extend([option.to_owned(), format!("{}@{}", failure["member"], failure[at])]);
            }
        }
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let events = json(&words)["events"].as_array().expect("events").clone();
        assert_eq!(events.len(), 2 * failures.len());
        for (number, failure) in failures.iter().enumerate() {
            let [down, up] = [&events[2 * number], &events[2 * number + 1]];
            assert_eq!(down["flows_moved"], failure["flows_moved_down"], "{words:?}");
            assert_eq!(up["flows_moved"], failure["flows_moved_up"], "{words:?}");
        }
    }
}

#[test]
fn the_recommendation_tried_by_replay_gives_its_figures_on_three_unlike_captures() {
    let (one, many) = (one_vm(), many_machines());
    let office = compared(&[&part_of_the_office(), "--speeds", "25G,10G"]);
    let single = compared(&[&one, "--members", "4"]);
    let crowd = compared(&[&many, "--members", "2", "--hash-seeds", "0,7"]);
    for report in [&office, &single, &crowd] {
        assert_eq!(broken(&schema::of("compare"), report), Vec::<String>::new());
        assert_eq!(report["fine"], true, "{report}");
        tried(report);
    }
    let advice = |report: &Value| {
        let team = &report["teams"][0];
        let row = team["recommendation"]["row"].as_u64().expect("a number") as usize;
        let text = |name: &str| rows(team)[row][name].as_str().expect("text").to_owned();
        (text("mode"), text("policy"))
    };
    // One machine under a policy that keeps a machine on one member has one of four members: a port channel pays.
    assert_eq!(advice(&single), ("static".to_owned(), "transport-ports".to_owned()));
    let by_port =
        rows(&single["teams"][0]).iter().find(|row| row["policy"] == "hyper-v-port").expect("a row");
    assert_eq!((&by_port["imbalance"], &by_port["imbalance_floor"]), (&4.0.into(), &4.0.into()));
    // Many alike are spread without one.
    assert_eq!(advice(&crowd).0, "switch-independent");
    assert_eq!(rows(&crowd["teams"][0]).len(), 16);
}

#[test]
fn every_mode_has_the_policies_that_it_may_have_and_every_team_is_compared() {
    let path = one_vm();
    let report = compared(&[&path, "--members", "1,2", "--speeds", "2.5G,10G,100M"]);
    assert_eq!(broken(&schema::of("compare"), &report), Vec::<String>::new());
    let teams = report["teams"].as_array().expect("teams");
    let speeds: Vec<String> = teams.iter().map(|team| team["members_bits_per_second"].to_string()).collect();
    assert_eq!(speeds, ["[10000000000]", "[10000000000,10000000000]", "[2500000000,10000000000,100000000]"]);
    for team in teams {
        let of = |mode: &str| rows(team).iter().filter(|row| row["mode"] == mode).count();
        assert_eq!((of("static"), of("switch-independent")), (6, 2));
        let members = team["members_bits_per_second"].as_array().expect("members").len();
        for row in rows(team) {
            let failures = row["failures"].as_array().map(Vec::len);
            assert_eq!(failures, (members > 1).then_some(members), "{row}");
        }
    }
    let independent = compared(&[&path, "--mode", "switch-independent"]);
    assert_eq!(rows(&independent["teams"][0]).len(), 2);
}

#[test]
fn the_file_for_the_registry_says_exactly_the_settings_that_were_played() {
    let path = one_vm();
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("advice.reg");
    let name = file.to_str().expect("text");
    let report = compared(&[&path, "--reg", name, "--gap-us", "700", "--hash-seeds", "18446744073709551615"]);
    let checked = teamctl(&["settings", "--check", name]);
    assert_eq!(checked.status.code(), Some(0), "{}", String::from_utf8_lossy(&checked.stdout));
    let text = fs::read_to_string(&file).expect("written");
    let value = |setting: &str| -> Option<u64> {
        let data = text.lines().find_map(|line| line.strip_prefix(&format!("\"{setting}\"=")))?;
        if let Some(digits) = data.strip_prefix("dword:") {
            return u64::from_str_radix(digits, 16).ok();
        }
        let bytes = data.strip_prefix("hex(b):")?.split(',').rev().collect::<String>();
        u64::from_str_radix(&bytes, 16).ok()
    };
    let row = &rows(&report["teams"][0])
        [report["teams"][0]["recommendation"]["row"].as_u64().expect("one") as usize];
    let (read, issues) = Settings::read(|setting| value(setting.name).map_or(Lookup::Missing, Lookup::Value));
    let (played, _) = Settings::read(|setting| match setting.name {
        "TeamingMode" => Lookup::Value(u64::from(row["mode"] != "static")),
        "LoadBalancingAlgorithm" => Lookup::Value(0),
        "HashSeed" => Lookup::Value(u64::MAX),
        "FlowletGapUs" => Lookup::Value(700),
        _ => Lookup::Missing,
    });
    assert_eq!((row["policy"].as_str(), issues.len()), (Some("transport-ports"), 0));
    assert_eq!(read, played);
    // All that decides about members is in it, so that nothing from before stays.
    let decides = [
        "LinkUpDelayMs",
        "FlapHoldDownMs",
        "FailbackPolicy",
        "MinimumLinks",
        "MoveDeadlineMs",
        "Announcements",
        "AnnouncementBurst",
        "OffloadPlacement",
        "LinkLocalForwardMask",
        "PruneMulticast",
        "PrivateOids",
        "Survey",
    ];
    for setting in SETTINGS {
        assert_eq!(value(setting.name).is_none(), decides.contains(&setting.name), "{}", setting.name);
    }
    refused(&["compare", &path, "--members", "2,4", "--reg", name], &["one team"]);
}

#[test]
fn fragments_beside_whole_datagrams_are_a_risk_of_policies_with_ports_alone() {
    let mut frames = Vec::new();
    for round in 0..30_u64 {
        let whole = Udp::new([2, 0, 0, 0, 0, 5], "10.0.0.5", OUTSIDE, "192.0.2.7").bytes();
        let mut fragment = whole.clone();
        fragment[20] = 0x20;
        frames.extend([(round * 10_000, whole), (round * 10_000 + 5_000, fragment)]);
    }
    let report = compared(&[&pcap_at("split.pcap", &frames), "--members", "2"]);
    for row in rows(&report["teams"][0]) {
        let with_ports = ["transport-ports", "encapsulated"].contains(&row["policy"].as_str().expect("text"));
        assert_eq!(row["split_flows"], u64::from(with_ports), "{row}");
    }
}

#[test]
fn the_text_fits_a_terminal_and_names_what_the_page_and_the_object_have() {
    let path = one_vm();
    let page = Path::new(env!("CARGO_TARGET_TMPDIR")).join("compare.html");
    let text = printed(&[
        "compare",
        &path,
        "--members",
        "2,32",
        "--hash-seeds",
        "18446744073709551615",
        "--report",
        page.to_str().expect("text"),
    ]);
    let command_or_path = |line: &str| line.contains("teamctl replay") || line.contains(&path);
    for line in text.lines().filter(|line| !command_or_path(line)) {
        assert!(line.chars().count() <= 80, "{line}");
    }
    for part in ["one static port channel, without LACP", "no port channel", "* Take a ", "members 8 to 32"] {
        let flat = text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(flat.contains(part), "{part}: {text}");
    }
    let page = fs::read_to_string(page).expect("written");
    for part in ["<svg", "prefers-color-scheme:dark", "@media print", "Take a ", "</html>"] {
        assert!(page.contains(part), "{part}");
    }
    for part in ["<script", "http:", "https:", "src=", "@import", "<link"] {
        assert!(!page.contains(part), "{part}");
    }
}

#[test]
fn where_nothing_leaves_by_the_team_nothing_is_recommended() {
    let (one, other) = ([2, 0, 0, 0, 0, 5], [2, 0, 0, 0, 0, 6]);
    let inside = Udp::new(one, "10.0.0.5", other, "10.0.0.6").bytes();
    let back = Udp::new(other, "10.0.0.6", one, "10.0.0.5").bytes();
    let path = capture("inside.pcap", &[inside.clone(), back.clone(), inside, back]);
    let report = compared(&[&path]);
    assert_eq!(broken(&schema::of("compare"), &report), Vec::<String>::new());
    assert_eq!(report["teams"][0]["recommendation"], Value::Null);
    let text = printed(&["compare", &path]);
    assert!(
        text.starts_with("Little crossed the team") && text.contains("nothing left by the team"),
        "{text}"
    );
    refused(&["compare", &path, "--reg", "x.reg"], &["nothing is recommended"]);
}

#[test]
fn the_schema_notices_what_is_missing_new_or_of_another_type() {
    let report = compared(&[&one_vm(), "--members", "2"]);
    let (members, missed) = unnoticed(&schema::of("compare"), &report, |path| path == "/machines/0/machine");
    assert!(members > 50 && missed.is_empty(), "{members}: {missed:?}");
}

#[test]
fn what_cannot_be_compared_is_refused_with_what_can() {
    refused(&["compare", "no/such.pcap"], &["no/such.pcap"]);
    refused(&["compare", "--members", "0"], &["1..=32"]);
    refused(&["compare", "--speeds", "10G,fast"], &["2.5G"]);
    refused(&["compare", "--speeds", &vec!["1G"; 33].join(",")], &["at most 32"]);
    refused(&["compare", "--vxlan-port", "8472", "--mode", "switch-independent"], &["--policy encapsulated"]);
}
