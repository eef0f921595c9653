//! `teamctl survey`: its output, exit codes and refusals, on a simulated host that is recorded and collected.

mod tool;

use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use tool::{printed, refused, teamctl};

fn place(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("survey-{name}.json"))
}

/// A host whose survey is on, at the end of a scenario, after a change to the records of its trace.
fn host(name: &str, change: impl FnOnce(&mut Vec<Value>)) -> String {
    let path = place(name);
    let text = path.to_str().expect("text").to_owned();
    printed(&["scenario", "failover", "--survey", "--save-host", &text]);
    let mut host: Value = serde_json::from_str(&fs::read_to_string(&path).expect("written")).expect("JSON");
    change(host["Trace"].as_array_mut().expect("a list"));
    fs::write(&path, host.to_string()).expect("written");
    text
}

fn record(event: &Value) -> &str {
    event["Fields"]["Record"].as_str().unwrap_or_default()
}

fn survey(arguments: &[&str]) -> (String, Option<i32>) {
    let output = teamctl(&[&["survey"], arguments].concat());
    (String::from_utf8(output.stdout).expect("text"), output.status.code())
}

#[test]
fn every_row_has_its_answer_and_the_records_that_it_rests_on() {
    let path = host("whole", |_| {});
    let (text, code) = survey(&[&path]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.lines().all(|line| line.len() <= 80), "{text}");
    assert!(text.contains("confirmed  switch-team") && text.contains("a person   free-elements"), "{text}");
    let (json, code) = survey(&["--json", &path]);
    assert_eq!(code, Some(0));
    let json: Value = serde_json::from_str(&json).expect("one object");
    let rows = json["rows"].as_array().expect("a list");
    assert_eq!(rows.len(), 32);
    let last = json["attachments"][0]["last"].as_u64().expect("a number");
    for row in rows {
        for part in ["id", "assumed", "answer", "why"] {
            assert!(row[part].as_str().is_some_and(|text| !text.is_empty()), "{row}");
        }
        let records = row["evidence"].as_array().expect("a list");
        assert!(
            records.iter().all(|one| one["record"].as_u64().is_some_and(|number| number <= last)),
            "{row}"
        );
    }
    assert_eq!((&json["lost"], &json["attachments"][0]["gaps"]), (&0.into(), &Vec::<Value>::new().into()));
    let (one, code) = survey(&["--row", "lists-answered", &path]);
    assert_eq!(code, Some(0));
    assert!(one.matches("Assumed:").count() == 1 && !one.contains("more"), "{one}");
}

#[test]
fn what_is_missing_is_named_and_ends_with_another_code() {
    let path = host("gap", |trace| {
        let at = trace.iter().position(|event| record(event).starts_with("#5 ")).expect("there");
        trace.remove(at);
    });
    let (text, code) = survey(&[&path]);
    assert_eq!(code, Some(1));
    assert!(text.contains("GAP        external-vlan") && text.contains("record 5 is missing"), "{text}");
    assert!(text.contains("1 Simulated, 1 gap"), "{text}");
    // One record proves it.
    assert!(text.contains("confirmed  switch-team"), "{text}");
}

/// As tracerpt.exe may print it: in quotation marks, with spaces.
#[test]
fn what_is_refuted_is_told_with_the_record_that_refutes_it() {
    let path = host("refuted", |trace| {
        for event in trace {
            let text = record(event);
            let text = if text.contains(" vlan=access id=0 ext=yes") {
                text.replace("id=0", "id=7")
            } else {
                text.to_owned()
            };
            event["Fields"]["Record"] = format!("  \"{text}\" ").into();
        }
    });
    let (text, code) = survey(&["--row", "external-vlan", &path]);
    assert_eq!(code, Some(1));
    assert!(text.contains("REFUTED    external-vlan") && text.contains("access with VLAN 7"), "{text}");
    assert!(text.contains("Records: #"), "{text}");
}

#[test]
fn what_cannot_be_used_is_refused_with_the_next_step() {
    let without = Path::new(env!("CARGO_MANIFEST_DIR")).join("hosts/hv1.json");
    let without = without.to_str().expect("text");
    refused(&["survey", without], &["hv1.json", "0 trace events", "set Survey to 1", "-Trace"]);
    refused(&["survey", "--row", "link-qery", without], &["link-qery", "link-query", "ASSUMPTIONS.md"]);
    refused(&["survey", "missing.json"], &["missing.json"]);
    refused(&["survey"], &["HOST.json"]);
    // Without the setting nothing is recorded.
    let path = place("off");
    let path = path.to_str().expect("text");
    printed(&["scenario", "failover", "--save-host", path]);
    refused(&["survey", path], &["no record of a survey"]);
}
