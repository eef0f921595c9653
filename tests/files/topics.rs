//! The four topics of the documentation that the product was made from, sentence by sentence (`tests/data/topics.csv`):
//! what a sentence says, the rule that it became, and a test that fails without it.

use super::tidy::{root, text};
use std::collections::{BTreeMap, BTreeSet};
use vswitch::check;

/// Topics, their pages, and how many sentences they have.
const TOPICS: [(&str, &str, usize); 4] = [
    ("save", "hyper-v-extensible-switch-save-operations", 26),
    ("restore", "hyper-v-extensible-switch-restore-operations", 29),
    ("flags", "hyper-v-extensible-switch-send-and-receive-flags", 37),
    ("requests", "forwarding-oid-requests-to-physical-network-adapters", 84),
];

struct Row {
    topic: String,
    sentence: usize,
    gist: String,
    rule: String,
    test: String,
}

fn rows() -> Vec<Row> {
    let table = text(&root().join("tests/data/topics.csv"));
    let mut lines = table.lines();
    assert_eq!(lines.next(), Some("topic,sentence,gist,rule,test"));
    let read = |line: &str| {
        let cells: Vec<String> = line.split(',').map(str::to_owned).collect();
        let [topic, sentence, gist, rule, test] = <[String; 5]>::try_from(cells).expect("five cells");
        Row { topic, sentence: sentence.parse().expect("a number"), gist, rule, test }
    };
    lines.map(read).collect()
}

/// A sentence that only names another page or a picture.
fn refers(row: &Row) -> bool {
    row.gist.starts_with("Refers to ")
}

#[test]
fn each_topic_is_there_from_its_first_sentence_to_its_last() {
    let mut found: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    rows().into_iter().for_each(|row| found.entry(row.topic).or_default().push(row.sentence));
    let wanted = TOPICS.map(|(topic, _, count)| (topic.to_owned(), (1..=count).collect()));
    assert_eq!(found, BTreeMap::from(wanted));
}

#[test]
fn each_sentence_that_says_something_has_a_rule_of_the_book_and_a_test() {
    for row in rows() {
        let name = format!("{} {}: {}", row.topic, row.sentence, row.gist);
        assert!(!row.gist.is_empty() && row.gist.len() <= 100, "{name}");
        assert_eq!(refers(&row), row.rule.is_empty(), "{name}");
        assert_eq!(row.rule.is_empty(), row.test.is_empty(), "{name}");
        assert!(refers(&row) || check::find(&row.rule).is_some(), "{name}: {} is in no book", row.rule);
    }
    let mute = rows().iter().filter(|row| refers(row)).count();
    assert!(mute * 8 < rows().len(), "{mute} sentences say nothing");
}

/// The test `file::function` is there, is not ignored, and stands in its file as a test.
pub fn is_run(test: &str) {
    let (file, function) = test.split_once("::").expect("file::function");
    let source = text(&root().join(file));
    let (before, _) =
        source.split_once(&format!("fn {function}(")).unwrap_or_else(|| panic!("{file} has no {function}"));
    let attributes = before.rsplit("\n\n").next().unwrap_or_default();
    assert!(attributes.contains("#[test]"), "{test} is no test");
    assert!(!attributes.contains("#[ignore"), "{test} is ignored");
}

#[test]
fn each_test_that_a_sentence_names_is_run() {
    let named: BTreeSet<String> =
        rows().into_iter().map(|row| row.test).filter(|test| !test.is_empty()).collect();
    named.iter().for_each(|test| is_run(test));
}

/// Most rules of a topic's page stand in its table, so that neither grows without the other.
#[test]
fn each_rule_that_cites_the_page_of_a_topic_stands_in_its_table() {
    for (topic, page, _) in TOPICS {
        let named: BTreeSet<String> =
            rows().into_iter().filter(|row| row.topic == topic).map(|row| row.rule).collect();
        let missing: Vec<&str> = check::rules()
            .filter(|rule| rule.page == page && !named.contains(rule.id))
            .map(|rule| rule.id)
            .collect();
        assert!(missing.is_empty(), "{topic}: {missing:?}");
    }
}
