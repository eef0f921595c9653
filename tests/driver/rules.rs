//! The rule book against the verifier: every rule of the groups DATA, FLAGS, OFFLOAD, OID, PORTNIC, PROP, SAVE, STATE
//! and STATUS is listed, nine of ten of each group whose breach is an error are checked, and each checked one is broken
//! once by a driver that misbehaves in that one way. What the verifier names stands in the book, with a sentence and a
//! page.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use vswitch::check::{self, Severity, Status, rules};

/// Groups of the rule book and the number of their rules.
const GROUPS: [(&str, usize); 9] = [
    ("DATA", 90),
    ("FLAGS", 19),
    ("PORTNIC", 35),
    ("PROP", 23),
    ("SAVE", 29),
    ("STATE", 33),
    ("OID", 58),
    ("OFFLOAD", 29),
    ("STATUS", 18),
];

/// Number of rules of the group HOST, of which no share must be checked: each unchecked rule states why.
const HOST_RULES: usize = 17;

#[test]
fn nine_of_ten_rules_of_each_group_whose_breach_is_an_error_are_checked() {
    let (mut all, mut all_checked) = (0, 0);
    for (group, _) in GROUPS {
        let of_group = rules().filter(|rule| rule.group() == group);
        let errors: Vec<_> = of_group.filter(|rule| rule.severity == Severity::Error).collect();
        let checked = errors.iter().filter(|rule| rule.is_checked()).count();
        for rule in &errors {
            if let Status::Not(reason) = rule.status {
                println!("{} is not checked: {reason}", rule.id);
                assert!(!reason.is_empty());
            }
        }
        println!("{group}: {checked} of {} checked", errors.len());
        assert!(checked * 10 >= errors.len() * 9, "{group}: {checked} of {}", errors.len());
        (all, all_checked) = (all + errors.len(), all_checked + checked);
    }
    println!("{all_checked} of {all} checked");
    assert!(all_checked * 100 >= all * 95, "{all_checked} of {all}");
}

#[test]
fn the_rules_of_each_group_are_all_listed_once() {
    for (group, count) in GROUPS.into_iter().chain([("HOST", HOST_RULES)]) {
        let ids: BTreeSet<_> = rules().filter(|rule| rule.group() == group).map(|rule| rule.id).collect();
        let expected: BTreeSet<_> = (1..=count).map(|number| format!("{group}-{number:02}")).collect();
        assert_eq!(ids, expected.iter().map(String::as_str).collect());
        assert_eq!(rules().filter(|rule| rule.group() == group).count(), count);
    }
}

#[test]
fn the_scenarios_exercise_every_checked_rule_and_none_that_is_not_in_the_book() {
    let mut exercised: BTreeMap<&'static str, u64> = BTreeMap::new();
    for case in vswitch::scenario::suite::CASES {
        // The rules about recovery apply only after a failure: of calls at the start, and of one for a packet (DATA-39).
        let plain = (0..15).map(|seed| (seed, None));
        let failing = (131..145).chain(180..185).map(|fault| (15, Some(fault)));
        for (seed, fault) in plain.chain(failing) {
            for (rule, count) in case.run((case.plan)(seed).config(|config| config.fault = fault)).exercised {
                *exercised.entry(rule).or_default() += count;
            }
        }
    }
    let unknown: Vec<_> = exercised.keys().filter(|id| check::find(id).is_none()).collect();
    assert!(unknown.is_empty(), "not in the book: {unknown:?}");
    let silent: Vec<_> = rules()
        .filter(|rule| rule.status == Status::Checked && rule.severity == Severity::Error)
        .filter(|rule| exercised.get(rule.id).copied().unwrap_or(0) == 0)
        .map(|rule| rule.id)
        .collect();
    assert!(silent.is_empty(), "never exercised: {silent:?}");
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder of the repository").flatten() {
        match entry.path() {
            path if path.is_dir() => found.extend(sources(&path)),
            path => found.push(path),
        }
    }
    found
}

/// Strings in a source file that look like a rule id: capitals, a dash, capitals or digits.
fn names(text: &str) -> impl Iterator<Item = &str> {
    text.split('"').filter(|text| {
        let plain = text.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '-');
        plain && text.starts_with(|c: char| c.is_ascii_uppercase()) && text.contains('-')
    })
}

/// Functions whose argument is a rule id.
const NAMING: [&str; 8] = [
    ".violate(",
    ".warn(",
    ".observe(",
    ".exercised(",
    ".rule(",
    "rule(world,",
    "rule(&world,",
    "advice(world,",
];

/// Every rule id in the verifier's sources is in the rule book, which has its sentence and page.
#[test]
fn every_rule_that_a_check_can_name_stands_in_the_book() {
    let mut seen = BTreeSet::new();
    for path in sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vswitch/src")) {
        let text = fs::read_to_string(&path).expect("text");
        let mut named: Vec<&str> = names(&text).collect();
        for call in NAMING {
            let arguments = text.split(call).skip(1).filter_map(|rest| rest.trim_start().strip_prefix('"'));
            named.extend(arguments.filter_map(|rest| rest.split('"').next()));
        }
        for name in named {
            assert!(check::find(name).is_some(), "{}: {name} is not in the book", path.display());
            seen.insert(name.to_owned());
        }
    }
    assert!(seen.len() > 300, "{} names were found", seen.len());
}
