//! What `teamctl replay --json` prints, against `replay.schema.json`; what all schemas say of their parts.

mod tool;

use serde_json::Value;
use std::fs;
use std::path::Path;
use tool::json;
use tool::schema::{self, broken, unnoticed};

#[test]
fn every_report_is_as_the_schema_says() {
    let schema = schema::of("replay");
    for arguments in [
        &[][..],
        &["--fail", "none"],
        &["--queues", "--mode", "switch-independent"],
        &["--members", "1", "--fail", "1@50%", "--policy", "hyper-v-port"],
        &["--speeds", "100M,25G", "--top", "9", "--gap-us", "0"],
        &["--machines", "192.168.10.11"],
        &["--policy", "encapsulated"],
        &["perf/captures/varied/vxlan.pcap", "--inside", "192.168.203.1/32", "--policy", "encapsulated"],
        &["perf/captures/varied/big-endian.pcapng", "--inside", "192.168.0.1"],
    ] {
        let report = json(arguments);
        let faults = broken(&schema, &report);
        assert!(faults.is_empty(), "{arguments:?}: {faults:?}");
    }
}

#[test]
fn the_schema_notices_each_member_that_is_missing_new_or_of_another_type() {
    let report = json(&["--queues", "--gap-us", "0"]);
    let optional =
        |path: &str| ["/queues", "/machines/0/machine"].contains(&path) || path.starts_with("/dropped/");
    let (members, missed) = unnoticed(&schema::of("replay"), &report, optional);
    assert!(members > 100 && missed.is_empty(), "{members}: {missed:?}");
}

#[test]
fn every_part_of_each_schema_is_described() {
    fn undescribed(schema: &Value, at: &str, found: &mut Vec<String>) {
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            if property.get("$ref").is_none() && property["description"].as_str().is_none_or(str::is_empty) {
                found.push(format!("{at}.{name}"));
            }
        }
    }
    for command in ["replay", "compare", "explain", "migrate"] {
        let schema = schema::of(command);
        let mut found = Vec::new();
        undescribed(&schema, "$", &mut found);
        for (name, part) in schema["$defs"].as_object().into_iter().flatten() {
            undescribed(part, name, &mut found);
            assert!(part["description"].is_string(), "{command}: {name}");
        }
        assert!(found.is_empty(), "{command}: {found:?}");
    }
}

#[test]
fn each_frame_has_one_end_and_the_page_has_no_figure_that_the_object_lacks() {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("figures.html");
    let report = json(&["--report", path.to_str().expect("text"), "--speeds", "25G,10G"]);
    let ends: u64 = report["ends"].as_object().expect("ends").values().filter_map(Value::as_u64).sum();
    assert_eq!(Some(ends), report["frames"].as_u64());
    let page = fs::read_to_string(&path).expect("written");
    // The cells of the page's tables, as the object has them.
    let mut known: Vec<String> = Vec::new();
    let mut text = |value: &Value| {
        known.push(value.as_str().map_or_else(|| value.to_string(), str::to_owned));
    };
    walk(&report, &mut text);
    let plain = |cell: &str| {
        cell.replace("&gt;", ">").replace("&lt;", "<").replace("&quot;", "\"").replace("&amp;", "&")
    };
    let (mut cells, mut missing) = (0, Vec::new());
    for cell in page.split("<td").skip(1) {
        let cell = plain(
            cell.split_once('>').map_or("", |(_, rest)| rest.split("</td>").next().unwrap_or_default()),
        );
        cells += 1;
        let number = cell.replace(',', "");
        let is_number = !number.is_empty() && number.bytes().all(|digit| digit.is_ascii_digit());
        let is_flow = cell.contains(" > ");
        let is_known = known.iter().any(|value| *value == number || *value == cell);
        if (is_number || is_flow) && !is_known {
            missing.push(cell);
        }
    }
    assert!(cells > 100, "{cells}");
    assert!(missing.is_empty(), "{missing:?}");
}

fn walk(value: &Value, each: &mut dyn FnMut(&Value)) {
    match value {
        Value::Object(members) => members.values().for_each(|member| walk(member, each)),
        Value::Array(items) => items.iter().for_each(|item| walk(item, each)),
        leaf => each(leaf),
    }
}
