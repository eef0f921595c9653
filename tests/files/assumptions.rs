//! The register of what the product assumes about Windows, `inf/ASSUMPTIONS.md`: every row is whole, and each test that it
//! names is there.

use super::tidy::{root, text};
use std::collections::BTreeSet;

const FIELDS: [[&str; 2]; 6] = [
    ["Assumed", "Assumed"],
    ["Rests on it", "Rests on it"],
    ["If false", "Either way"],
    ["Find out", "Find out"],
    ["Survey", "Survey"],
    ["Shown by", "Shown by"],
];

/// A row: its id, and the text of each field in one line.
struct Row {
    id: String,
    fields: Vec<(String, String)>,
}

fn rows() -> Vec<Row> {
    let document = text(&root().join("inf/ASSUMPTIONS.md"));
    let parts: Vec<&str> = document.split("\n### ").skip(1).collect();
    let row = |part: &&str| {
        let (id, body) = part.split_once('\n').expect("a heading has a line");
        let body = body.split("\n## ").next().unwrap_or(body);
        let fields = body.trim().trim_start_matches("- ").split("\n- ").map(|field| {
            let (name, said) = field.split_once(": ").unwrap_or_else(|| panic!("{id}: {field:?}"));
            (name.to_owned(), said.split_whitespace().collect::<Vec<_>>().join(" "))
        });
        Row { id: id.to_owned(), fields: fields.collect() }
    };
    parts.iter().map(row).collect()
}

/// What stands in backquotes.
fn quoted(said: &str) -> Vec<&str> {
    said.split('`').skip(1).step_by(2).collect()
}

/// Whether a source file has a test of that name.
fn has_test(source: &str, name: &str) -> bool {
    let lines: Vec<&str> = source.lines().map(str::trim).collect();
    let function = format!("fn {name}()");
    lines.iter().enumerate().any(|(at, line)| {
        let above = lines[..at].iter().rev().take_while(|above| above.starts_with("#["));
        line.starts_with(&function) && above.clone().any(|above| *above == "#[test]")
    })
}

#[test]
fn every_assumption_says_what_rests_on_it_what_happens_otherwise_and_how_to_find_out() {
    let rows = rows();
    assert!(rows.len() >= 25, "only {} rows", rows.len());
    let mut ids = BTreeSet::new();
    for Row { id, fields } in &rows {
        assert!(ids.insert(id), "{id} stands twice");
        assert!(id.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-'), "{id} is no id");
        assert_eq!(fields.len(), FIELDS.len(), "{id}");
        for ((name, said), allowed) in fields.iter().zip(FIELDS) {
            assert!(allowed.contains(&name.as_str()), "{id}: {name} in place of {}", allowed[0]);
            assert!(said.len() >= 15, "{id}: {name} says {said:?}");
        }
        // Where nothing is assumed, nothing can be false.
        let nothing = fields[0].1.starts_with("Nothing");
        assert_eq!(fields[2].0 == "Either way", nothing, "{id}");
    }
}

#[test]
fn every_assumption_names_files_that_are_there() {
    for Row { id, fields } in rows() {
        let files: Vec<&str> =
            quoted(&fields[1].1).into_iter().filter(|word| word.contains("src/")).collect();
        assert!(!files.is_empty(), "{id} names no file");
        for file in files {
            assert!(root().join(file).exists(), "{id}: {file} is not there");
        }
    }
}

#[test]
fn every_assumption_names_a_test_that_is_there() {
    for Row { id, fields } in rows() {
        let words = quoted(&fields[5].1);
        let [test, file] = words[..] else { panic!("{id}: {words:?} is no test and its file") };
        let source = text(&root().join(file));
        assert!(has_test(&source, test), "{id}: {file} has no test {test}");
    }
    // A name in a comment, or of a helper, is none.
    assert!(!has_test("// fn a()\nfn b() {}\n", "a"));
    assert!(!has_test("fn b() {}\n", "b"));
    assert!(has_test("#[test]\n#[ignore]\nfn b() {}\n", "b"));
}

#[test]
fn the_guide_names_every_assumption_in_the_order_of_the_register() {
    let guide = text(&root().join("inf/GUIDE.md"));
    let table = guide.lines().skip_while(|line| *line != "| row | assumed |").skip(2);
    let table: Vec<&str> = table.take_while(|line| line.starts_with('|')).collect();
    let wanted: Vec<String> =
        rows().iter().map(|row| format!("| {} | {} |", row.id, row.fields[0].1)).collect();
    assert_eq!(table, wanted);
}

/// `teamctl survey` has a line for each row, in the same order: code that answers it, or a mark that only a person can.
#[test]
fn every_assumption_is_answered_by_the_survey_or_marked_as_one_for_a_person() {
    let source = text(&root().join("perf/src/register/mod.rs"));
    let table = source.split_once("const ROWS").expect("the table").1.split_once("];").expect("its end").0;
    let lines = table.lines().filter_map(|line| line.trim().strip_prefix("(\""));
    let answered: Vec<(String, bool)> = lines
        .map(|line| line.split_once("\", ").expect("an id and a way"))
        .map(|(id, way)| (id.to_owned(), way.starts_with("Code(")))
        .collect();
    let wanted: Vec<(String, bool)> =
        rows().into_iter().map(|row| (row.id, !row.fields[4].1.starts_with("Only a person can"))).collect();
    assert_eq!(answered, wanted);
    assert!(answered.iter().filter(|(_, by_code)| *by_code).count() >= 20);
}

/// Events that a row names are those of the list.
#[test]
fn every_event_that_an_assumption_names_is_one() {
    let document = text(&root().join("inf/ASSUMPTIONS.md"));
    let lower = document.to_lowercase();
    let mut named = BTreeSet::new();
    for after in lower.split("event").skip(1) {
        let numbers = after.trim_start_matches('s').trim_start();
        let list =
            numbers.split(|letter: char| !(letter.is_ascii_digit() || " ,and".contains(letter))).next();
        named.extend(
            list.into_iter()
                .flat_map(|list| list.split([' ', ',']))
                .filter_map(|word| word.parse::<u16>().ok()),
        );
    }
    assert!(named.len() >= 8, "{named:?}");
    for id in named {
        assert!(teaming::event::kind(id).is_some(), "there is no event {id}");
    }
}
