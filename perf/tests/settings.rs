//! `teamctl settings`: what is written is what the driver reads from the registry, and what it ignores is found before.

mod tool;

use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use teaming::settings::{SETTINGS, SettingKind};
use tool::{printed, refused, teamctl};
use vswitch::machine::registry::Value as Registry;
use vswitch::scenario::Scenario;

fn file(name: &str, bytes: &[u8]) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("settings-{name}"));
    fs::write(&path, bytes).expect("written");
    path
}

/// The faults of a file, and the exit code.
fn checked(path: &Path) -> (Vec<Value>, Option<i32>) {
    let output = teamctl(&["settings", "--format", "json", "--check", path.to_str().expect("text")]);
    let found: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
    (found["faults"].as_array().expect("a list").clone(), output.status.code())
}

/// The values of a .reg file, read here by hand and not by the tool.
fn values(text: &str) -> Vec<(String, Registry)> {
    let value = |line: &str| {
        let (name, data) = line.strip_prefix('"')?.split_once("\"=")?;
        let value = match data.split_once(':')? {
            ("dword", digits) => Registry::Dword(u32::from_str_radix(digits, 16).ok()?),
            ("hex(b)", bytes) => {
                let bytes: Vec<u8> =
                    bytes.split(',').filter_map(|byte| u8::from_str_radix(byte, 16).ok()).collect();
                Registry::Qword(u64::from_le_bytes(bytes.try_into().ok()?))
            }
            _ => return None,
        };
        Some((name.to_owned(), value))
    };
    text.lines().filter_map(value).collect()
}

/// Ids of the entries of the event log after a driver has started with these values.
fn events(values: &[(String, Registry)]) -> Vec<u16> {
    let scenario = Scenario::new(1).members(&[10, 10]);
    let scenario =
        values.iter().fold(scenario, |scenario, (name, value)| scenario.setting(name, value.clone()));
    let net = scenario.start();
    net.advance(1_000_000);
    let ids = net.world().error_log().iter().map(|entry| entry.id()).collect();
    net.finish().assert_clean();
    ids
}

/// Event 3: SettingIgnored.
const IGNORED: u16 = 3;

#[test]
fn the_driver_takes_every_value_that_is_written_and_ignores_what_is_refused() {
    for setting in SETTINGS {
        let (most, beyond) = match setting.kind {
            SettingKind::Number { max, .. } => (max, max.checked_add(1)),
            SettingKind::Choice(choices) => (choices[choices.len() - 1].0, Some(99)),
        };
        let name = setting.name;
        // What it needs beside it.
        let along: &[&str] = match name {
            "TeamingMode" => &["LoadBalancingAlgorithm=4"],
            "UseIpv6FlowLabel" | "SymmetricHash" | "UseAdapterHash" => {
                &["TeamingMode=0", "LoadBalancingAlgorithm=0"]
            }
            "VxlanPort" | "GenevePort" => &["TeamingMode=0", "LoadBalancingAlgorithm=7"],
            _ => &["TeamingMode=0"],
        };
        // OIDs of adapters stand in another key, which the file has not.
        let most = if name == "PrivateOids" { 0 } else { most };
        let own = format!("{name}={most}");
        let text = printed(&[&["settings", "--format", "reg", &*own], along].concat());
        let written = values(&text);
        assert_eq!(written.len(), 1 + along.len(), "{text}");
        assert!(!events(&written).contains(&IGNORED), "{own}");
        if let Some(beyond) = beyond {
            let own = format!("{name}={beyond}");
            refused(
                &["settings", "--format", "reg", &own],
                &[name, &beyond.to_string(), &setting.kind.to_string()],
            );
            let value = u32::try_from(beyond).map_or(Registry::Qword(beyond), Registry::Dword);
            assert!(events(&[(name.to_owned(), value)]).contains(&IGNORED), "{own}");
        }
    }
}

#[test]
fn a_file_that_was_written_is_found_sound_in_each_form_and_as_regedit_saves_it() {
    let chosen = [
        "TeamingMode=static",
        "LoadBalancingAlgorithm=Encapsulated",
        "UseIpv6FlowLabel=on",
        "HashSeed=0xFFFFFFFFFF",
    ];
    let reg = printed(&[&["settings", "--format", "reg"], &chosen[..]].concat());
    let wide: Vec<u8> =
        [0xFF, 0xFE].into_iter().chain(reg.encode_utf16().flat_map(u16::to_le_bytes)).collect();
    let object = printed(&[&["settings", "--format", "json"], &chosen[..]].concat());
    for (name, bytes) in [("a.reg", reg.as_bytes()), ("wide.reg", &wide), ("a.json", object.as_bytes())] {
        assert_eq!(checked(&file(name, bytes)), (vec![], Some(0)), "{name}");
    }
    let object: Value = serde_json::from_str(&object).expect("one object");
    let expected = json!({ "TeamingMode": 0, "LoadBalancingAlgorithm": 7, "UseIpv6FlowLabel": 1, "HashSeed": 0xFF_FFFF_FFFF_u64 });
    assert_eq!(object, expected);
    let dsc = printed(&[&["settings", "--format", "dsc"], &chosen[..]].concat());
    for part in [
        "Registry HashSeed",
        "ValueType = 'Qword'",
        "ValueData = '1099511627775'",
        "ValueType = 'Dword'",
        "Services\\lbfoext\\Parameters'",
    ] {
        assert!(dsc.contains(part), "{part}: {dsc}");
    }
    assert_eq!(dsc.matches('{').count(), dsc.matches('}').count());
}

#[test]
fn what_a_host_or_a_file_has_wrong_is_found_with_name_value_range_and_next_step() {
    let mut host: Value = serde_json::from_str(include_str!("../hosts/hv1.json")).expect("one object");
    assert_eq!(checked(&file("host.json", host.to_string().as_bytes())).1, Some(0));
    host["Settings"] = json!({ "FlowletGapUs": 999_999_999, "HashSed": 1, "LoadBalancingAlgorithm": 0, "LinkUpDelayMs": "7" });
    let path = file("host.json", host.to_string().as_bytes());
    let (faults, code) = checked(&path);
    let ids: Vec<&str> = faults.iter().filter_map(|fault| fault["id"].as_str()).collect();
    assert_eq!((code, ids), (Some(1), vec!["out-of-range", "unknown-name", "wrong-type", "needs"]));
    let text = teamctl(&["settings", "--check", path.to_str().expect("text")]);
    let text = String::from_utf8(text.stdout).expect("text");
    for part in [
        "FlowletGapUs is 999999999, allowed is 0 to 500000",
        "nearest are HashSeed",
        "needs TeamingMode 0 Static",
    ] {
        assert!(text.split_whitespace().collect::<Vec<_>>().join(" ").contains(part), "{part}: {text}");
    }
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
}

#[test]
fn a_wrong_command_line_or_file_is_refused_with_the_next_step() {
    refused(&["settings", "TeamMode=1"], &["TeamMode", "TeamingMode"]);
    refused(&["settings", "TeamingMode"], &["NAME=VALUE"]);
    refused(&["settings", "TeamingMode=fast"], &["fast", "0 Static, 1 SwitchIndependent"]);
    refused(&["settings", "TeamingMode=0", "teamingmode=1"], &["twice"]);
    refused(&["settings", "LoadBalancingAlgorithm=0"], &["needs TeamingMode 0 Static"]);
    refused(&["settings", "UseAdapterHash=1"], &["UseAdapterHash has no effect"]);
    for name in ["VxlanPort", "GenevePort"] {
        let says = format!("{name} has no effect: it needs LoadBalancingAlgorithm 7");
        let set = format!("{name}=8472");
        refused(&["settings", &set, "TeamingMode=0", "LoadBalancingAlgorithm=0"], &[&says]);
        printed(&["settings", &set, "TeamingMode=0", "LoadBalancingAlgorithm=7"]);
    }
    refused(&["settings", "Weight=5"], &["--adapter"]);
    refused(&["settings", "Weight=5", "--adapter", "x"], &["--switch"]);
    refused(&["settings", "HashSeed=5", "--switch", "External"], &["External", "no GUID"]);
    refused(&["settings", "--format", "reg"], &["TeamingMode=Static"]);
    refused(&["settings", "--check", "missing.reg"], &["missing.reg"]);
    let text = file("text.reg", b"hello");
    refused(&["settings", "--check", text.to_str().expect("text")], &["text.reg", "first line"]);
}
