//! Every checked rule finds what it is for: a mutation in the driver's name is named by its rule, and by no other.

mod full;
mod ports;

use std::collections::BTreeSet;
use vswitch::check::{GROUPS, Rule, Severity, Status, find, rules};
use vswitch::mutation::{BORDER, MACHINE, Mutation, is_proven};
use vswitch::scenario::outcome::Outcome;

/// Seeds to try until the mutation finds its occasion.
const SEEDS: u64 = 40;

/// Rules outside the nine groups that no mutation proves: unit tests beside the checks, a test of the driver
/// (`announcements`, SWITCH-PHANTOM), or nothing, do.
const OTHERWISE: [&str; 10] = [
    "ACCOUNT",
    "LOCK-HOLD",
    "MEM-03",
    "MEM-05",
    "MEM-09",
    "SWITCH-DUPLICATE",
    "SWITCH-FLAP",
    "SWITCH-LOOP",
    "SWITCH-PHANTOM",
    "SWITCH-QUERIER",
];

/// What happens on a day that begins with a seed, and whether the mutation was committed.
fn full_scenario(seed: u64, of_ports: bool, mutation: Option<Mutation>) -> (Outcome, bool) {
    if of_ports { ports::full_scenario(seed, mutation) } else { full::full_scenario(seed, mutation) }
}

/// The mutations of one kind of day with their rules.
fn mutations(of_ports: bool) -> impl Iterator<Item = (Mutation, &'static str)> {
    // `receiving` has those that need a network.
    let here = BORDER.iter().copied().filter(|(mutation, _)| !mutation.is_about_receiving());
    here.filter(move |(mutation, _)| mutation.is_about_ports() == of_ports)
}

#[test]
fn every_checked_rule_has_its_mutation() {
    let errors: Vec<_> = rules().filter(|rule| rule.severity == Severity::Error).collect();
    let unproven: BTreeSet<&str> =
        errors.iter().filter(|r| r.is_checked() && !is_proven(r.id)).map(|r| r.id).collect();
    assert_eq!(unproven, BTreeSet::from(OTHERWISE), "checked, and no mutation is named by it");
    let mutated: BTreeSet<&str> = BORDER.iter().map(|(_, rule)| *rule).collect();
    assert_eq!(BORDER.len(), mutated.len(), "one mutation for each rule");
    let full = &GROUPS[..9];
    let of_full = errors.iter().filter(|r| full.iter().any(|(group, _)| *group == r.group())).count();
    assert_eq!(of_full, 71 + 13 + 28 + 27 + 21 + 20 + 2 + 52 + 21 + 14);
}

#[test]
fn every_check_runs_on_what_the_driver_does() {
    for of_ports in [false, true] {
        let mut ran = BTreeSet::new();
        for seed in 0..8 {
            let (outcome, _) = full_scenario(seed, of_ports, None);
            outcome.assert_clean();
            ran.extend(outcome.exercised.into_keys().chain(outcome.costs.into_keys()));
        }
        let wanted: BTreeSet<&str> = mutations(of_ports).map(|(_, rule)| rule).collect();
        let silent: Vec<&str> = rules()
            .filter(|r| r.status == Status::Checked && r.severity == Severity::Error)
            .map(|r| r.id)
            .filter(|id| wanted.contains(id) && !ran.contains(id))
            .collect();
        assert!(silent.is_empty(), "never exercised: {silent:?}");
    }
}

/// Runs the mutations of one kind of day, each until it was committed; what was not named by its rule alone.
fn wrongly_named(of_ports: bool) -> Vec<String> {
    let only = std::env::var("MUTATION").ok();
    let mut wrong = Vec::new();
    for (mutation, rule) in mutations(of_ports) {
        if only.as_ref().is_some_and(|name| *name != format!("{mutation:?}")) {
            continue;
        }
        let runs = (0..SEEDS).map(|seed| (seed, full_scenario(seed, of_ports, Some(mutation))));
        let Some((seed, (outcome, _))) = runs.into_iter().find(|(_, (_, committed))| *committed) else {
            wrong.push(format!("{mutation:?} ({rule}): never had an occasion"));
            continue;
        };
        if outcome.broken() != BTreeSet::from([rule]) || outcome.aborted {
            let text: Vec<String> = outcome.violations.iter().take(4).map(ToString::to_string).collect();
            let (broken, aborted) = (outcome.broken(), outcome.aborted);
            let text = text.join("\n    ");
            wrong
                .push(format!("{mutation:?} ({rule}) seed {seed}: {broken:?} aborted {aborted}\n    {text}"));
        }
    }
    wrong
}

#[test]
fn every_mutation_is_named_by_its_rule_alone() {
    let wrong = wrongly_named(false);
    assert!(wrong.is_empty(), "{}:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn every_mutation_with_ports_is_named_by_its_rule_alone() {
    let wrong = wrongly_named(true);
    assert!(wrong.is_empty(), "{}:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn what_a_mutation_must_be_named_by_stands_in_the_book_as_checked() {
    for (mutation, id) in BORDER.iter().chain(MACHINE) {
        assert!(find(id).is_some_and(Rule::is_checked), "{mutation:?}: {id}");
    }
}
