//! `teamctl rules`: the text and the JSON of the rule book.

mod tool;

use serde_json::Value;
use tool::{printed, refused, teamctl};
use vswitch::check::{GROUPS, rules};

fn book(arguments: &[&str]) -> Value {
    serde_json::from_str(&printed(&[&["rules", "--json"], arguments].concat())).expect("one object")
}

#[test]
fn the_table_has_every_rule_with_its_sentence_and_page_and_fits_80_columns() {
    let text = printed(&["rules"]);
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    let flowing = text.split_whitespace().collect::<Vec<_>>().join(" ");
    for rule in rules() {
        assert!(flowing.contains(&format!("{} [{}]", rule.sentence, rule.page)), "{}", rule.id);
        assert!(text.lines().any(|line| line.split_whitespace().next() == Some(rule.id)), "{}", rule.id);
    }
    for (group, about) in GROUPS {
        assert!(text.contains(&format!("{group}: {about}")), "{group}");
    }
}

#[test]
fn a_group_is_that_group_alone() {
    let rows = book(&["--group", "data"]);
    let rows = rows["rules"].as_array().expect("rules");
    assert_eq!(rows.len(), 90);
    assert!(rows.iter().all(|row| row["group"] == "DATA" && row["exercised"].is_null()));
}

#[test]
fn one_rule_is_printed_whole() {
    let text = printed(&["rules", "data-17"]);
    for part in ["DATA-17", "SourceHandle", "forwarding_context", "the run fails", "ContextBeforeHandle"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let row = &book(&["HOST-02"])["rules"][0];
    assert_eq!((&row["checked"], &row["proven"]), (&Value::Bool(false), &Value::Bool(false)));
    assert!(row["reason"].as_str().is_some_and(|reason| !reason.is_empty()));
}

#[test]
fn a_run_tells_how_often_each_check_ran() {
    let book = book(&["--group", "DATA", "--run", "--seeds", "1"]);
    assert_eq!(book["runs"], vswitch::scenario::suite::CASES.len());
    let row = |id: &str| book["rules"].as_array().and_then(|all| all.iter().find(|row| row["id"] == id));
    assert!(row("DATA-01").is_some_and(|row| row["exercised"].as_u64() > Some(0)));
    assert_eq!(row("DATA-76").map(|row| &row["exercised"]), Some(&0.into()));
    let text = printed(&["rules", "DATA-01", "--run", "--seeds", "1"]);
    let runs = format!("times in {} runs", vswitch::scenario::suite::CASES.len());
    assert!(text.contains(&runs), "{text}");
}

#[test]
fn what_is_not_there_is_refused_with_what_is_near() {
    refused(&["rules", "DATA-170"], &["DATA-170", "DATA-17", "teamctl rules"]);
    refused(&["rules", "--group", "PACKETS"], &["PACKETS", "DATA, FLAGS"]);
    refused(&["rules", "DATA-17", "--group", "DATA"], &["cannot be used with"]);
    refused(&["rules", "--seeds", "2"], &["--run"]);
}

#[test]
fn whoever_stops_reading_gets_no_error() {
    use std::process::{Command, Stdio};
    let mut child = Command::new(env!("CARGO_BIN_EXE_teamctl"))
        .arg("rules")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(teamctl(&["rules", "--help"]).status.success());
}
