//! `teamctl doctor`, `show` and `events`: every finding on a host that has its cause, none on a healthy one.

mod tool;

use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use teaming::status::team_names;
use tool::{printed, refused, teamctl};

const EXTENSION: &str = "LBFO Teaming Extension";

fn file(name: &str, host: &Value) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::write(&path, serde_json::to_string_pretty(host).expect("text")).expect("written");
    path
}

fn guid(member: u64) -> String {
    format!("{{00000000-0000-0000-0000-00000000000{member}}}")
}

/// Two members of 10 Gb/s, both active, 100 frames each; the second came later.
fn status() -> Value {
    let mut data: serde_json::Map<String, Value> =
        team_names().into_iter().map(|(name, _)| (name, json!(0))).collect();
    let team = [
        ("TeamingMode", 1),
        ("LoadBalancingAlgorithm", 4),
        ("LinkStateSource", 3),
        ("Members", 2),
        ("ActiveMembers", 2),
        ("Ports", 3),
    ];
    for (name, value) in team {
        data[name] = json!(value);
    }
    for member in 1..=2 {
        let fields = [
            ("State", 4),
            ("LinkStateSource", 3),
            ("SpeedMbps", 10_000),
            ("Weight", 10_000),
            ("SharePermille", 500),
            ("MovedIn", if member == 1 { 4_096 } else { 2_048 }),
            ("MovedOut", if member == 1 { 2_048 } else { 0 }),
            ("Frames", 100),
            ("Bytes", 6_400),
            ("GuidLow", member),
        ];
        for (field, value) in fields {
            data[&format!("Member{member}{field}")] = json!(value);
        }
    }
    for (place, id) in [(1, 27), (2, 27), (3, 4)] {
        data[&format!("Event{place}Id")] = json!(id);
        data[&format!("Event{place}AgeMs")] = json!(93_784_000 + 250 * place);
    }
    Value::Object(data)
}

fn healthy(name: &str, machine: u32) -> Value {
    let adapter = |n: u64| {
        json!({ "Name": format!("Ethernet {n}"), "InterfaceDescription": format!("Example NIC #{n}"),
                "InterfaceGuid": guid(n), "DriverFileName": "example.sys", "DriverVersion": "1.2.3.4" })
    };
    let vmq = |n: u64, base: u32| {
        json!({ "Name": format!("Ethernet {n}"), "Enabled": true, "BaseProcessorGroup": 0,
                "BaseProcessorNumber": base, "MaxProcessorNumber": 62, "MaxProcessors": 4 })
    };
    json!({
        "Format": 1, "Collected": "2026-01-02T03:04:05.0000000+00:00", "Computer": name, "Build": 26_100, "ThreadsPerCore": 2,
        "Switches": [{ "Name": "External", "SwitchType": "External", "EmbeddedTeamingEnabled": false,
                       "NetAdapterInterfaceDescriptions": ["Multiplexor"] }],
        "Extensions": [{ "SwitchName": "External", "Name": EXTENSION, "ExtensionType": "Forwarding", "Enabled": true, "Running": true },
                       { "SwitchName": "External", "Name": "NDIS Capture", "ExtensionType": "Capture", "Enabled": false, "Running": false }],
        "TeamStatus": [{ "SwitchName": "External", "Data": status() }],
        "PortStatus": [{ "VMName": "web1", "Data": { "Member": 1, "Frames": 100, "Bytes": 6400, "Queues": 1 } }],
        "SwitchTeamMembers": [{ "Name": "Ethernet 1", "Team": "Uplinks" }, { "Name": "Ethernet 2", "Team": "Uplinks" }],
        "LbfoTeamNics": [],
        "Adapters": [adapter(1), adapter(2)],
        "Vmq": [vmq(1, 2), vmq(2, 2)],
        "VmAdapters": [{ "VMName": "web1", "Name": "Network Adapter", "SwitchName": "External", "MacAddress": format!("00155D00{machine:04X}") },
                       { "VMName": null, "Name": "External", "SwitchName": "External", "MacAddress": "00155D00FF01" },
                       { "VMName": "new", "Name": "Network Adapter", "SwitchName": null, "MacAddress": "000000000000" }],
        "Settings": { "TeamingMode": 1 },
        "Events": [],
    })
}

/// Changes of the healthy host, each with what is found then.
type Change = (&'static str, fn(&mut Value));

const CHANGES: &[Change] = &[
    ("windows-too-old", |h| h["Build"] = json!(17_763)),
    ("not-installed", |h| h["Extensions"] = json!(null)),
    ("not-enabled", |h| h["Extensions"][0]["Enabled"] = json!(false)),
    ("not-running", |h| h["Extensions"][0]["Running"] = json!(false)),
    ("set-below", |h| h["Switches"][0]["EmbeddedTeamingEnabled"] = json!(true)),
    ("lbfo-below", |h| h["LbfoTeamNics"] = json!({ "InterfaceDescription": "Multiplexor", "Team": "Old" })),
    ("other-forwarding-extension", |h| {
        h["Extensions"][1] = json!({ "SwitchName": "External", "Name": "Microsoft Azure VFP Switch Extension",
                                     "ExtensionType": "Forwarding", "Enabled": true, "Running": true });
    }),
    ("no-status", |h| h["TeamStatus"] = json!([])),
    ("no-member", |h| (1..=2).for_each(|m| set(h, &format!("Member{m}State"), 0))),
    ("team-down", |h| (1..=2).for_each(|m| set(h, &format!("Member{m}State"), 2))),
    ("team-degraded", |h| set(h, "Member2State", 2)),
    ("member-out", |h| {
        set(h, "Member2State", 2);
        set(h, "Member2FailureReason", 2);
    }),
    ("out-of-service", |h| set(h, "Member2State", 6)),
    ("one-adapter", |h| set(h, "Member2State", 0)),
    ("link-state-unknown", |h| set(h, "Member1LinkStateSource", 0)),
    ("link-state-read", |h| set(h, "Member1LinkStateSource", 1)),
    ("drops", |h| set(h, "DroppedNoLiveMember", 7)),
    ("setting-ignored", |h| h["Settings"]["FlowletGapUs"] = json!(999_999_999)),
    ("setting-ignored", |h| h["Settings"]["HashSeed"] = json!("seven")),
    ("setting-without-effect", |h| h["Settings"]["symmetrichash"] = json!(1)),
    ("setting-unknown", |h| h["Settings"]["FlowletGap"] = json!(5)),
    ("events", |h| {
        h["Events"] = json!({ "Id": 9, "Message": "Port 7 is closed", "TimeCreated": "2026-01-02T03:00:00" })
    }),
    ("last-events", |h| {
        set(h, "Event1Id", 5);
        set(h, "Event1AgeMs", 12_345);
    }),
    ("unlike-speeds", |h| set(h, "Member2SpeedMbps", 25_000)),
    ("unlike-adapters", |h| h["Adapters"][1]["DriverFileName"] = json!("other.sys")),
    ("unlike-driver-versions", |h| h["Adapters"][1]["DriverVersion"] = json!("1.2.3.5")),
    ("queues-off", |h| h["Vmq"][1]["Enabled"] = json!(false)),
    ("queue-processors-overlap", |h| h["Settings"]["offloadplacement"] = json!(0)),
    ("queue-processors-differ", |h| {
        h["Settings"]["OffloadPlacement"] = json!(2);
        h["Vmq"][1]["BaseProcessorNumber"] = json!(10);
    }),
    ("address-twice", |h| h["VmAdapters"][2]["MacAddress"] = h["VmAdapters"][0]["MacAddress"].clone()),
];

fn set(host: &mut Value, field: &str, value: u64) {
    host["TeamStatus"][0]["Data"][field] = json!(value);
}

/// Exit code, and the names of the findings.
fn found(hosts: &[&Value], test: &str) -> (Option<i32>, Vec<String>) {
    let files: Vec<PathBuf> =
        hosts.iter().enumerate().map(|(n, host)| file(&format!("{test}-{n}.json"), host)).collect();
    let names: Vec<&str> = files.iter().map(|file| file.to_str().expect("text")).collect();
    let output = teamctl(&[&["doctor", "--json"], &*names].concat());
    let diagnosis: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
    let ids = diagnosis["findings"]
        .as_array()
        .expect("findings")
        .iter()
        .map(|one| one["id"].as_str().expect("id").to_owned());
    let text = printed_whatever(&[&["doctor"], &*names].concat());
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    (output.status.code(), ids.collect())
}

fn printed_whatever(arguments: &[&str]) -> String {
    String::from_utf8(teamctl(arguments).stdout).expect("text")
}

#[test]
fn on_a_healthy_host_nothing_is_found() {
    assert_eq!(found(&[&healthy("HV1", 1)], "healthy"), (Some(0), vec![]));
    let example = include_str!("../hosts/hv1.json");
    assert_eq!(
        serde_json::from_str::<Value>(example).expect("one object"),
        healthy("HV1", 1),
        "perf/hosts/hv1.json"
    );
    assert_eq!(found(&[&healthy("HV1", 1), &healthy("HV2", 2)], "fleet"), (Some(0), vec![]));
}

#[test]
fn a_member_that_stands_by_is_no_finding_and_one_that_hands_over_is_none_either() {
    for state in [5, 7] {
        let mut host = healthy("HV1", 1);
        set(&mut host, "Member2State", state);
        assert_eq!(found(&[&host], "standby"), (Some(0), vec![]), "state {state}");
    }
}

#[test]
fn every_cause_is_found_and_every_finding_has_a_cause_here() {
    let mut seen: BTreeSet<String> = BTreeSet::new();
    for (number, (id, change)) in CHANGES.iter().enumerate() {
        let mut host = healthy("HV1", 1);
        change(&mut host);
        let (code, ids) = found(&[&host], &format!("change{number}"));
        assert!(ids.iter().any(|one| one == id), "{id}: {ids:?}");
        let notes =
            ["one-adapter", "link-state-read", "events", "last-events", "unlike-speeds", "unlike-adapters"];
        assert_eq!(code, Some(i32::from(!notes.contains(id))), "{id}: {ids:?}");
        seen.extend(ids);
    }
    seen.extend(["settings-differ", "address-on-two-hosts"].map(str::to_owned));
    let sources = [
        include_str!("../src/doctor/switches.rs"),
        include_str!("../src/doctor/adapters.rs"),
        include_str!("../src/doctor/fleet.rs"),
    ];
    let is_id = |text: &str| text.contains('-') && text.chars().all(|c| c == '-' || c.is_ascii_lowercase());
    let named: BTreeSet<String> =
        sources.iter().flat_map(|s| s.split('"').filter(|text| is_id(text))).map(str::to_owned).collect();
    assert!(named.len() > 20, "{named:?}");
    assert_eq!(named.difference(&seen).collect::<Vec<_>>(), Vec::<&String>::new());
}

#[test]
fn hosts_that_differ_are_told_with_both_values() {
    let (one, mut other) = (healthy("HV1", 1), healthy("HV2", 1));
    other["Settings"]["HashSeed"] = json!(9);
    let (code, ids) = found(&[&one, &other], "unlike");
    assert_eq!((code, ids), (Some(1), vec!["address-on-two-hosts".to_owned(), "settings-differ".to_owned()]));
    let files = [file("unlike-a.json", &one), file("unlike-b.json", &other)];
    let text =
        printed_whatever(&["doctor", files[0].to_str().expect("text"), files[1].to_str().expect("text")]);
    let flowing = text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(flowing.contains("HashSeed is 0 on HV1, 9 on HV2"), "{text}");
    assert!(flowing.contains("web1 on HV1 and web1 on HV2"), "{text}");
}

#[test]
fn members_are_shown_by_the_names_of_their_adapters() {
    let mut host = healthy("HV1", 1);
    set(&mut host, "Member2State", 2);
    set(&mut host, "Member2FailureReason", 2);
    set(&mut host, "Status", 1);
    set(&mut host, "DroppedBadTag", 3);
    set(&mut host, "Event1Id", 28);
    set(&mut host, "Event1AgeMs", 2_345);
    let path = file("show.json", &host);
    let path = path.to_str().expect("text");
    let text = printed(&["show", path]);
    for part in [
        "switch External: Degraded, SwitchIndependent HyperVPort",
        "Ethernet 1",
        "PhysicalMediaDisconnected",
        "50.0%",
        "web1",
        "3 The VLAN tag",
        "4,096 buckets of flows came to it, 2,048 left it",
        "2.3 s ago: 28 TeamDegraded",
        "26 h ago: 27 MemberUp",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    let teams: Value =
        serde_json::from_str(&printed(&["show", "--format", "json", path])).expect("one object");
    assert_eq!(teams["teams"][0]["members"][1]["state"], "Down");
    assert_eq!(teams["teams"][0]["members"][0]["adapter"], "Ethernet 1");
    assert_eq!(teams["teams"][0]["dropped"]["BadTag"], 3);
    assert_eq!(teams["teams"][0]["members"][0]["numbers"]["MovedOut"], 2_048);
    let degraded = json!({ "id": 28, "name": "TeamDegraded", "age_ms": 2_345 });
    assert_eq!(teams["teams"][0]["last_events"][0], degraded);
}

/// As the text format demands: HELP and TYPE once before the samples of a family, no sample twice, labels quoted, names of
/// counters with `_total`.
#[test]
fn metrics_are_in_the_text_format_of_prometheus() {
    let mut host = healthy("HV1", 1);
    set(&mut host, "DroppedBadTag", 3);
    host["Adapters"][0]["Name"] = json!("Ether\"net\\ 1");
    let path = file("metrics.json", &host);
    let text = printed(&["show", "--format", "prometheus", path.to_str().expect("text")]);
    let (mut families, mut samples) = (BTreeSet::new(), BTreeSet::new());
    let mut now = String::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect("a kind");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
            assert!(families.insert(name.to_owned()), "{line}");
            now = name.to_owned();
        } else if !line.starts_with("# HELP ") {
            let (series, value) = line.rsplit_once(' ').expect("a value");
            assert!(value.parse::<u64>().is_ok(), "{line}");
            assert_eq!(series.split('{').next(), Some(&*now), "{line}");
            assert!(samples.insert(series.to_owned()), "{line}");
        }
    }
    assert!(
        text.contains(
            r#"lbfoext_member_frames_total{switch="External",member="1",adapter="Ether\"net\\ 1"} 100"#
        ),
        "{text}"
    );
    let moved = r#"lbfoext_member_moved_out_total{switch="External",member="2",adapter="Ethernet 2"} 0"#;
    assert!(text.contains(moved), "{text}");
    assert!(text.contains(r#"lbfoext_dropped_packets_total{switch="External",reason="BadTag"} 3"#), "{text}");
    assert!(samples.len() > 30);
}

#[test]
fn events_are_printed_with_what_to_do() {
    let mut host = healthy("HV1", 1);
    host["Events"] = json!([
        { "Id": 3, "Message": "Setting X is 9; 5 applies in its place.", "TimeCreated": "2026-01-02T03:00:00" },
        { "Id": 9, "Message": "Port 7 is closed.", "TimeCreated": "2026-01-02T02:00:00" },
    ]);
    let path = file("events.json", &host);
    let path = path.to_str().expect("text");
    let text = printed(&["events", path]);
    assert!(text.contains("3 SettingIgnored Warning") && text.contains("To do: Correct the value"), "{text}");
    assert!(!printed(&["events", "--id", "9", path]).contains("SettingIgnored"));
}

#[test]
fn a_file_that_is_not_of_a_host_is_refused_by_name() {
    let path = file("nothing.json", &json!({ "Format": 7 }));
    refused(&["doctor", path.to_str().expect("text")], &["nothing.json", "Format is 7"]);
    refused(&["show", "missing.json"], &["missing.json"]);
    refused(&["doctor"], &["HOST.json"]);
}

#[test]
fn the_script_collects_every_property_that_is_read_and_asks_for_the_classes_of_the_driver() {
    let (script, source) = (include_str!("../../inf/collect.ps1"), include_str!("../src/host.rs"));
    let words: BTreeSet<&str> = script.split(|c: char| !c.is_ascii_alphanumeric()).collect();
    let structures = source.split("impl Host").next().expect("structures first");
    let mut fields = structures
        .lines()
        .filter_map(|line| line.trim().trim_start_matches("pub ").split_once(": "))
        .filter_map(|(name, rest)| {
            (name.chars().all(|c| c == '_' || c.is_ascii_lowercase()) && rest.ends_with(',')).then_some(name)
        });
    let pascal = |name: &str| -> String {
        let upper = |word: &str| word[..1].to_uppercase() + &word[1..];
        let all: String = name.split('_').map(upper).collect();
        match &*all {
            "VmName" => "VMName".to_owned(),
            "VlanId" => "VlanID".to_owned(),
            "IpAddress" => "IPAddress".to_owned(),
            _ => all,
        }
    };
    let read: Vec<String> = fields.by_ref().map(pascal).collect();
    assert!(read.len() > 35, "{read:?}");
    let missing: Vec<&String> = read.iter().filter(|name| !words.contains(&***name)).collect();
    assert!(missing.is_empty(), "{missing:?}");
    for feature in [teaming::status::TEAM_FEATURE, teaming::status::PORT_FEATURE] {
        let id = std::str::from_utf8(&feature[1..37]).expect("text");
        assert!(script.contains(id), "{id}");
    }
}
