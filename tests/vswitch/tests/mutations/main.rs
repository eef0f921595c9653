//! Every checked rule finds what it is for: a misdeed in the driver's name is named by its rule, and by no other.

mod day;
mod ports;

use std::collections::BTreeSet;
use vswitch::check::{GROUPS, Rule, Severity, Status, find, rules};
use vswitch::inject::mutation::{MACHINE, Mutation};
use vswitch::inject::table::{MUTATIONS, Misdeed, is_proven};
use vswitch::scenario::outcome::Outcome;

/// Seeds to try until the misdeed finds its occasion.
const SEEDS: u64 = 40;

/// Rules outside the nine groups that no misdeed proves: unit tests beside the checks, or nothing, do.
const OTHERWISE: [&str; 9] = [
    "ACCOUNT",
    "IRQL-05",
    "LOCK-HOLD",
    "MEM-03",
    "MEM-05",
    "MEM-09",
    "SWITCH-DUPLICATE",
    "SWITCH-FLAP",
    "SWITCH-LOOP",
];

/// What happens on a day that begins with a seed, and whether the misdeed was committed.
fn tour(seed: u64, of_ports: bool, misdeed: Option<Misdeed>) -> (Outcome, bool) {
    if of_ports { ports::tour(seed, misdeed) } else { day::tour(seed, misdeed) }
}

/// The misdeeds of one kind of day with their rules.
fn misdeeds(of_ports: bool) -> impl Iterator<Item = (Misdeed, &'static str)> {
    let switch = MUTATIONS.iter().filter_map(|(mutation, rule)| match mutation {
        Mutation::Switch(misdeed) => Some((*misdeed, *rule)),
        _ => None,
    });
    switch.filter(move |(misdeed, _)| misdeed.is_about_ports() == of_ports)
}

#[test]
fn every_checked_rule_has_its_misdeed() {
    let errors: Vec<_> = rules().filter(|rule| rule.severity == Severity::Error).collect();
    let unproven: BTreeSet<&str> =
        errors.iter().filter(|r| r.is_checked() && !is_proven(r.id)).map(|r| r.id).collect();
    assert_eq!(unproven, BTreeSet::from(OTHERWISE), "checked, and no misdeed is named by it");
    let mutated: BTreeSet<&str> = MUTATIONS.iter().map(|(_, rule)| *rule).collect();
    assert_eq!(MUTATIONS.len(), mutated.len(), "one misdeed for each rule");
    let full = &GROUPS[..9];
    let of_full = errors.iter().filter(|r| full.iter().any(|(group, _)| *group == r.group())).count();
    assert_eq!(of_full, 72 + 13 + 28 + 26 + 21 + 19 + 52 + 18 + 14);
}

#[test]
fn every_check_runs_on_what_the_driver_does() {
    for of_ports in [false, true] {
        let mut ran = BTreeSet::new();
        for seed in 0..8 {
            let (outcome, _) = tour(seed, of_ports, None);
            outcome.assert_clean();
            ran.extend(outcome.exercised.into_keys().chain(outcome.costs.into_keys()));
        }
        let wanted: BTreeSet<&str> = misdeeds(of_ports).map(|(_, rule)| rule).collect();
        let silent: Vec<&str> = rules()
            .filter(|r| r.status == Status::Checked && r.severity == Severity::Error)
            .map(|r| r.id)
            .filter(|id| wanted.contains(id) && !ran.contains(id))
            .collect();
        assert!(silent.is_empty(), "never exercised: {silent:?}");
    }
}

/// Runs the misdeeds of one kind of day, each until it was committed; what was not named by its rule alone.
fn wrongly_named(of_ports: bool) -> Vec<String> {
    let only = std::env::var("MISDEED").ok();
    let mut wrong = Vec::new();
    for (misdeed, rule) in misdeeds(of_ports) {
        if only.as_ref().is_some_and(|name| *name != format!("{misdeed:?}")) {
            continue;
        }
        let days = (0..SEEDS).map(|seed| (seed, tour(seed, of_ports, Some(misdeed))));
        let Some((seed, (outcome, _))) = days.into_iter().find(|(_, (_, committed))| *committed) else {
            wrong.push(format!("{misdeed:?} ({rule}): never had an occasion"));
            continue;
        };
        if outcome.broken() != BTreeSet::from([rule]) || outcome.aborted {
            let text: Vec<String> = outcome.violations.iter().take(4).map(ToString::to_string).collect();
            let (broken, aborted) = (outcome.broken(), outcome.aborted);
            let text = text.join("\n    ");
            wrong.push(format!("{misdeed:?} ({rule}) seed {seed}: {broken:?} aborted {aborted}\n    {text}"));
        }
    }
    wrong
}

#[test]
fn every_misdeed_is_named_by_its_rule_alone() {
    let wrong = wrongly_named(false);
    assert!(wrong.is_empty(), "{}:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn every_misdeed_with_ports_is_named_by_its_rule_alone() {
    let wrong = wrongly_named(true);
    assert!(wrong.is_empty(), "{}:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn what_a_misdeed_must_be_named_by_stands_in_the_book_as_checked() {
    for (mutation, id) in MUTATIONS.iter().chain(MACHINE) {
        assert!(find(id).is_some_and(Rule::is_checked), "{mutation:?}: {id}");
    }
}
