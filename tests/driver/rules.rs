//! The rule book against the verifier: every rule of the groups DATA, FLAGS, OFFLOAD, OID, PORTNIC, PROP, SAVE, STATE and
//! STATUS is listed, nine of ten of each group whose breach is an error are checked, and each checked one is broken once by a driver that
//! misbehaves in that one way.

use std::collections::{BTreeMap, BTreeSet};
use vswitch::check::{Severity, Status, rules};

/// Groups of the rule book and the number of their rules.
const GROUPS: [(&str, usize); 9] = [
    ("DATA", 90),
    ("FLAGS", 19),
    ("PORTNIC", 35),
    ("PROP", 23),
    ("SAVE", 29),
    ("STATE", 31),
    ("OID", 58),
    ("OFFLOAD", 25),
    ("STATUS", 18),
];

#[test]
fn nine_of_ten_rules_of_each_group_whose_breach_is_an_error_are_checked() {
    let (mut all, mut all_checked) = (0, 0);
    for (group, _) in GROUPS {
        let of_group = rules().filter(|rule| rule.id.split('-').next() == Some(group));
        let errors: Vec<_> = of_group.filter(|rule| rule.severity == Severity::Error).collect();
        let checked = errors.iter().filter(|rule| !matches!(rule.status, Status::Not(_))).count();
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
    for (group, count) in GROUPS {
        let ids: BTreeSet<_> =
            rules().filter(|rule| rule.id.starts_with(&format!("{group}-"))).map(|rule| rule.id).collect();
        let expected: BTreeSet<_> = (1..=count).map(|number| format!("{group}-{number:02}")).collect();
        assert_eq!(ids, expected.iter().map(String::as_str).collect());
        assert_eq!(rules().filter(|rule| rule.id.starts_with(&format!("{group}-"))).count(), count);
    }
}

#[test]
fn the_scenarios_exercise_every_checked_rule() {
    let mut exercised: BTreeMap<&'static str, u64> = BTreeMap::new();
    for case in vswitch::scenario::suite::CASES {
        for seed in 0..12 {
            for (rule, count) in case.run((case.plan)(seed)).exercised {
                *exercised.entry(rule).or_default() += count;
            }
        }
    }
    let silent: Vec<_> = rules()
        .filter(|rule| rule.status == Status::Checked && rule.severity == Severity::Error)
        .filter(|rule| exercised.get(rule.id).copied().unwrap_or(0) == 0)
        .map(|rule| rule.id)
        .collect();
    assert!(silent.is_empty(), "never exercised: {silent:?}");
}
