//! `teamctl convert`: the plans of recorded hosts do on a model of a host what they say, each step can be taken back, and
//! what cannot be converted is refused with the way out.

mod model;
#[path = "../tool/mod.rs"]
mod tool;

use model::Model;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use tool::{printed, refused, teamctl};

const RECORDED: [(&str, &str); 2] =
    [("lbfo", include_str!("../../hosts/lbfo.json")), ("set", include_str!("../../hosts/set.json"))];

fn recorded(name: &str) -> Value {
    let (_, text) = RECORDED.iter().find(|(known, _)| *known == name).expect("recorded");
    serde_json::from_str(text).expect("one object")
}

fn file(name: &str, host: &Value) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("convert-{name}.json"));
    fs::write(&path, host.to_string()).expect("written");
    path
}

/// What `--json` says of a host, and the exit code.
fn report(name: &str, host: &Value, options: &[&str]) -> (Value, Option<i32>) {
    let path = file(name, host);
    let output = teamctl(&[&["convert", "--json", path.to_str().expect("text")], options].concat());
    let report = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("{name}: {}", String::from_utf8_lossy(&output.stderr)));
    (report, output.status.code())
}

fn texts(list: &Value) -> Vec<&str> {
    list.as_array().expect("a list").iter().map(|one| one.as_str().expect("text")).collect()
}

fn mode(h: &mut Value, mode: &str, algorithm: &str) {
    h["LbfoTeams"][0]["TeamingMode"] = json!(mode);
    h["LbfoTeams"][0]["LoadBalancingAlgorithm"] = json!(algorithm);
}

fn third_member(h: &mut Value, administrative: &str) {
    let third = json!({ "Name": "Ethernet 3", "InterfaceDescription": "Example NIC #3", "Status": "Up" });
    h["Adapters"].as_array_mut().expect("a list").push(third);
    let member = json!({ "Name": "Ethernet 3", "Team": "Old", "AdministrativeMode": administrative });
    h["LbfoTeamMembers"].as_array_mut().expect("a list").push(member);
}

type Change = fn(&mut Value);

/// Hosts that can be converted: name, recorded host, change, whether machines may be cut off.
const HOSTS: &[(&str, &str, Change, bool)] = &[
    ("lbfo", "lbfo", |_| (), false),
    ("set", "set", |_| (), false),
    ("static", "lbfo", |h| mode(h, "Static", "IPAddresses"), false),
    ("lacp", "lbfo", |h| mode(h, "Lacp", "Dynamic"), false),
    ("ports", "lbfo", |h| mode(h, "SwitchIndependent", "TransportPorts"), false),
    ("standby", "lbfo", |h| third_member(h, "Standby"), false),
    ("three", "lbfo", |h| third_member(h, "Active"), false),
    ("one link", "lbfo", |h| h["Adapters"][0]["Status"] = json!("Disconnected"), true),
    ("no link", "set", |h| (0..3).for_each(|n| h["Adapters"][n]["Status"] = json!("Disconnected")), true),
    (
        "nobody runs",
        "lbfo",
        |h| {
            h["Adapters"][1]["Status"] = json!("Disconnected");
            h["Machines"] = json!([]);
        },
        false,
    ),
    (
        "no host adapter",
        "set",
        |h| {
            h["VmAdapters"].as_array_mut().expect("a list").retain(|adapter| !adapter["VMName"].is_null());
        },
        false,
    ),
    ("nobody on it", "lbfo", |h| h["VmAdapters"] = json!(null), false),
    ("capture", "set", |h| h["Extensions"][1]["Enabled"] = json!(true), false),
    (
        "quotes",
        "lbfo",
        |h| {
            h["Switches"][0]["Name"] = json!("Bob's");
            for list in ["Extensions", "VmAdapters"] {
                h[list]
                    .as_array_mut()
                    .expect("a list")
                    .iter_mut()
                    .for_each(|one| one["SwitchName"] = json!("Bob's"));
            }
            h["VmAdapters"][0]["VMName"] = json!("Bob's machine");
            h["Machines"][0]["Name"] = json!("Bob's machine");
        },
        false,
    ),
];

fn host(name: &str) -> (Value, Vec<&'static str>) {
    let (_, from, change, cut) = HOSTS.iter().find(|(known, ..)| *known == name).expect("a host");
    let mut host = recorded(from);
    change(&mut host);
    (host, if *cut { vec!["--cut-off"] } else { vec![] })
}

/// The steps of a plan: the command, and what takes it back.
fn steps(plan: &Value) -> Vec<(String, Vec<String>)> {
    let owned = |back: &Value| texts(back).into_iter().map(str::to_owned).collect();
    let step = |step: &Value| (step["run"].as_str().expect("text").to_owned(), owned(&step["back"]));
    plan["steps"].as_array().expect("steps").iter().map(step).collect()
}

#[test]
fn every_plan_ends_with_all_adapters_and_machines_on_the_new_team_under_the_old_names() {
    for (name, ..) in HOSTS {
        let (host, options) = host(name);
        let (report, code) = report(name, &host, &options);
        assert_eq!(code, Some(0), "{name}: {report:#}");
        let mut model = Model::of(&host);
        let before = model.clone();
        for (run, _) in steps(&report["plan"]) {
            model.run(&run);
        }
        model.assert_converted(&before, name);
    }
}

#[test]
fn whatever_step_was_done_last_the_way_back_leads_to_the_host_as_it_was() {
    for (name, ..) in HOSTS {
        let (host, options) = host(name);
        let (report, _) = report(name, &host, &options);
        let steps = steps(&report["plan"]);
        assert!(steps.len() > 8, "{name}");
        for last in 0..=steps.len() {
            let before = Model::of(&host);
            let mut model = before.clone();
            steps[..last].iter().for_each(|(run, _)| model.run(run));
            steps[..last].iter().rev().flat_map(|(_, back)| back).for_each(|back| model.run(back));
            assert_eq!(model, before, "{name}: back from step {last}");
        }
    }
}

/// Without this the two tests above would show little.
#[test]
fn the_model_notices_steps_in_a_wrong_order_and_a_way_back_that_is_not_whole() {
    let (host, _) = host("lbfo");
    let (report, _) = report("order", &host, &[]);
    let steps = steps(&report["plan"]);
    let mut noticed = 0;
    for first in 0..steps.len() - 1 {
        let mut swapped: Vec<&str> = steps.iter().map(|(run, _)| &**run).collect();
        swapped.swap(first, first + 1);
        let host = host.clone();
        let swapped: Vec<String> = swapped.into_iter().map(str::to_owned).collect();
        let run = move || {
            let mut model = Model::of(&host);
            let before = model.clone();
            swapped.iter().for_each(|run| model.run(run));
            model.assert_converted(&before, "swapped");
        };
        noticed += usize::from(std::panic::catch_unwind(run).is_err());
    }
    assert!(noticed >= 8, "{noticed} of {}", steps.len());
    // A command whose effect goes with another one's way back is not missed, as an extension that goes with its switch.
    let backs: Vec<&String> = steps.iter().flat_map(|(_, back)| back).collect();
    let missed = |missing: &&&String| {
        let runs: Vec<String> = steps.iter().map(|(run, _)| run.clone()).collect();
        let left = steps.iter().rev().flat_map(|(_, back)| back).filter(|back| back != *missing);
        let left: Vec<String> = left.cloned().collect();
        let host = host.clone();
        let run = move || {
            let before = Model::of(&host);
            let mut model = before.clone();
            runs.iter().chain(&left).for_each(|run| model.run(run));
            assert_eq!(model, before);
        };
        std::panic::catch_unwind(run).is_err()
    };
    let unmissed: Vec<&&String> = backs.iter().filter(|back| !missed(back)).collect();
    assert!(unmissed.iter().all(|back| back.contains("able-VMSwitchExtension")), "{unmissed:#?}");
    assert!(unmissed.len() * 4 < backs.len(), "{unmissed:#?}");
}

#[test]
fn a_plan_says_what_is_lost_and_who_is_cut_off_in_which_steps() {
    for (name, lost, cut) in [
        (
            "lbfo",
            vec!["second way", "Dynamic: HyperVPort", "'Old - VLAN 42'"],
            vec!["192.0.2.10", "198.51.100.10", "machine web1: during"],
        ),
        (
            "set",
            vec!["RDMA of 'vEthernet (SMB1)'", "Network ATC", "SR-IOV of web1"],
            vec!["192.0.2.20", "machine web1", "machine db1"],
        ),
        ("lacp", vec!["LACP", "Dynamic: TransportPorts"], vec!["machine web1"]),
        ("ports", vec!["TransportPorts: HyperVPort"], vec!["machine web1"]),
        ("standby", vec!["Standby: 'Ethernet 3'"], vec!["machine web1"]),
        ("one link", vec!["second way"], vec!["machine web1: from the step that takes the adapter out"]),
        ("nobody on it", vec!["second way"], vec!["interface 'Old - VLAN 42'"]),
    ] {
        let (host, options) = host(name);
        let (report, _) = report(name, &host, &options);
        let plan = &report["plan"];
        for (kind, words) in [("lost", lost), ("cut_off", cut)] {
            let said = texts(&plan[kind]).join("\n");
            for word in words {
                assert!(said.contains(word), "{name}: {kind} does not say {word}: {said}");
            }
        }
        // The steps that are named are those that cut off.
        for told in texts(&plan["cut_off"]).iter().filter(|told| told.starts_with("the host's")) {
            let number = |after: &str| -> usize {
                let rest = told.split_once(after).expect("it names a step").1;
                rest.split(' ').next().and_then(|number| number.parse().ok()).expect("a number")
            };
            let steps = steps(plan);
            let (from, to) = (&steps[number("from step ") - 1].0, &steps[number("until step ") - 1].0);
            assert!(from.starts_with("Remove-"), "{told}: {from}");
            assert!(
                to.starts_with("Add-VM") || to.starts_with("Set-") || to.starts_with("New-NetIP"),
                "{told}: {to}"
            );
        }
    }
}

#[test]
fn whoever_works_over_what_is_cut_off_is_warned() {
    let warned = |change: &dyn Fn(&mut Value)| {
        let mut host = recorded("lbfo");
        change(&mut host);
        let (report, _) = report("session", &host, &[]);
        report["plan"]["warnings"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|w| w["id"].as_str().expect("id").to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(warned(&|_| ()), ["console-needed"]);
    assert_eq!(
        warned(&|h| h["Sessions"] = json!({ "LocalAddress": "198.51.100.10", "LocalPort": 5985 })),
        ["console-needed"]
    );
    assert_eq!(
        warned(&|h| h["Sessions"] = json!({ "LocalAddress": "10.9.9.9", "LocalPort": 3389 })),
        [""; 0]
    );
    assert_eq!(warned(&|h| h["Sessions"] = json!(null)), [""; 0]);
}

/// Changes after which there is no plan: the refusal, the recorded host, and a part of the way out.
const REFUSALS: &[(&str, &str, Change, &str)] = &[
    ("windows-too-old", "lbfo", |h| h["Build"] = json!(17_763), "Windows Server 2022"),
    (
        "nothing-to-convert",
        "set",
        |h| h["Switches"][0]["EmbeddedTeamingEnabled"] = json!(false),
        "install.ps1",
    ),
    ("nothing-to-convert", "lbfo", |h| h["Switches"] = json!([]), "Remove-NetLbfoTeam -Name 'Old'"),
    (
        "vfp-on-switch",
        "set",
        |h| {
            h["Extensions"][2] = json!({ "SwitchName": "External", "Name": "Microsoft Azure VFP Switch Extension",
                                     "ExtensionType": "Forwarding", "Enabled": true, "Running": true });
        },
        "SDN",
    ),
    (
        "other-forwarding-extension",
        "lbfo",
        |h| {
            h["Extensions"][1] = json!({ "SwitchName": "External", "Name": "Other's", "ExtensionType": "Forwarding",
                                     "Enabled": true, "Running": true });
        },
        "Disable-VMSwitchExtension -VMSwitchName 'External' -Name 'Other''s'",
    ),
    (
        "one-adapter",
        "lbfo",
        |h| h["LbfoTeamMembers"].as_array_mut().expect("a list").truncate(1),
        "Add-NetLbfoTeamMember -Team 'Old'",
    ),
    (
        "one-adapter",
        "set",
        |h| h["Switches"][0]["NetAdapterInterfaceDescriptions"] = json!("Example NIC #1"),
        "Add-VMSwitchTeamMember",
    ),
    (
        "too-many-adapters",
        "set",
        |h| {
            let many: Vec<Value> = (0..33).map(|n| json!(format!("NIC {n}"))).collect();
            let adapter =
                |name: &Value| json!({ "Name": name, "InterfaceDescription": name, "Status": "Up" });
            h["Adapters"] = many.iter().map(adapter).collect();
            h["Switches"][0]["NetAdapterInterfaceDescriptions"] = json!(many);
        },
        "out of the team",
    ),
    ("members-unknown", "lbfo", |h| h["LbfoTeamMembers"] = json!(null), "Collect again"),
    ("members-unknown", "lbfo", |h| h["LbfoTeams"] = json!(null), "Collect again"),
    (
        "members-unknown",
        "set",
        |h| {
            h["Adapters"].as_array_mut().expect("a list").remove(1);
        },
        "Collect again",
    ),
    (
        "switch-on-vlan-interface",
        "lbfo",
        |h| h["LbfoTeamNics"][0]["VlanID"] = json!(7),
        "Set-VMNetworkAdapterVlan",
    ),
    ("name-taken", "lbfo", |h| h["SwitchTeamMembers"] = json!({ "Name": "X", "Team": "uplinks" }), "--team"),
    ("name-taken", "lbfo", |h| h["Adapters"][0]["Name"] = json!("Uplinks"), "--team"),
    (
        "name-taken",
        "lbfo",
        |h| h["Switches"].as_array_mut().expect("a list").push(json!({ "Name": "External new" })),
        "Remove-VMSwitch -Name 'External new'",
    ),
    ("only-path", "lbfo", |h| h["Adapters"][0]["Status"] = json!("Disconnected"), "--cut-off"),
    ("only-path", "set", |h| (0..3).for_each(|n| h["Adapters"][n]["Status"] = json!("Disabled")), "Move-VM"),
];

#[test]
fn what_cannot_be_converted_is_refused_with_the_reason_and_the_way_out() {
    let mut seen = BTreeSet::new();
    for (number, (id, from, change, way)) in REFUSALS.iter().enumerate() {
        let mut host = recorded(from);
        change(&mut host);
        let (report, code) = report(&format!("refusal{number}"), &host, &[]);
        assert_eq!((code, &report["plan"]), (Some(1), &Value::Null), "{id}: {report:#}");
        let all = report["refused"].as_array().expect("a list");
        let said =
            all.iter().find(|refusal| refusal["id"] == *id).unwrap_or_else(|| panic!("{id}: {report:#}"));
        assert!(said["way"].as_str().expect("text").contains(way), "{said:#}");
        let text = teamctl(&["convert", file("text", &host).to_str().expect("text")]);
        let text = String::from_utf8(text.stdout).expect("text");
        assert!(text.contains(&format!("REFUSED {id}")) && text.contains("First:"), "{text}");
        seen.insert(*id);
    }
    let source = include_str!("../../src/convert/refusals.rs");
    let is_id = |text: &&str| text.contains('-') && text.chars().all(|c| c == '-' || c.is_ascii_lowercase());
    let named: BTreeSet<&str> = source.split('"').filter(is_id).collect();
    assert_eq!(named, seen);
}

#[test]
fn a_machine_with_another_path_or_one_that_does_not_run_is_no_reason_to_refuse() {
    let mut host = recorded("lbfo");
    host["Adapters"][0]["Status"] = json!("Disconnected");
    let second =
        json!({ "VMName": "web1", "Name": "Second", "SwitchName": "Other", "MacAddress": "00155D000109" });
    host["VmAdapters"].as_array_mut().expect("a list").push(second);
    assert_eq!(report("elsewhere", &host, &[]).1, Some(0));
}

#[test]
fn adapters_of_one_name_are_told_apart_by_their_addresses() {
    let (host, _) = host("set");
    let (report, _) = report("alike", &host, &[]);
    let runs: Vec<String> = steps(&report["plan"]).into_iter().map(|(run, _)| run).collect();
    assert!(runs.iter().any(|run| run.contains("Where-Object MacAddress -EQ '00155D000201'")), "{runs:#?}");
    assert!(
        runs.iter().any(|run| run.starts_with("Connect-VMNetworkAdapter -VMName 'db1' -Name 'Front'")),
        "{runs:#?}"
    );
}

/// The plans of the recorded hosts, which `tests/image/tests/scripts.rs` holds against PowerShell's grammar and cmdlets.
/// With `RENEW=1` in the environment they are written.
#[test]
fn the_plans_of_the_recorded_hosts_are_those_that_are_kept() {
    for (name, _) in RECORDED {
        let text = printed(&["convert", &format!("perf/hosts/{name}.json")]);
        let long = |line: &&str| {
            line.chars().count() > 80 && !line.starts_with("    > ") && !line.starts_with("    < ")
        };
        assert_eq!(text.lines().filter(long).collect::<Vec<_>>(), [""; 0]);
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("hosts/{name}.plan.txt"));
        if std::env::var_os("RENEW").is_some() {
            fs::write(&path, &text).expect("written");
        }
        assert!(fs::read_to_string(&path).unwrap_or_default() == text, "{name}: RENEW=1 writes it again");
    }
}

#[test]
fn a_wrong_choice_is_refused_with_what_there_is() {
    let path = file("choice", &recorded("lbfo"));
    let path = path.to_str().expect("text");
    refused(&["convert", "--switch", "Nowhere", path], &["Nowhere", "HV2 has the switches External"]);
    refused(&["convert", "missing.json"], &["missing.json"]);
    let mut two = recorded("set");
    two["Switches"][1] = two["Switches"][0].clone();
    two["Switches"][1]["Name"] = json!("Second");
    let path = file("two", &two);
    refused(&["convert", path.to_str().expect("text")], &["External, Second", "--switch"]);
}
