//! What comes in from outside, with a simple bridge: the rules can be kept, and what breaks one is named.

#[path = "toy/bridge.rs"]
mod bridge;
#[path = "toy/hub.rs"]
#[allow(dead_code)]
mod hub;

use std::collections::BTreeSet;
use vswitch::adapter::physical_switch::Aggregation;
use vswitch::inject::was_committed;
use vswitch::mutation::{BORDER, Mutation};
use vswitch::scenario::Scenario;
use vswitch::scenario::outcome::Outcome;
use vswitch::scenario::suite::random::Draw;
use vswitch::scenario::suite::receiving::{ALL, Setting};
use vswitch::scenario::suite::receiving_storm::{Counted, VMS, drawn, storm};

fn with_bridge(plan: Scenario, setting: Setting) -> Scenario {
    plan.driver(match setting.aggregation {
        Aggregation::Static => bridge::static_entry,
        Aggregation::SwitchIndependent => bridge::separate_entry,
    })
}

fn run_all() -> Vec<String> {
    let only = std::env::var("RECEIVING").ok();
    let cases = ALL.iter().filter(|case| only.as_ref().is_none_or(|only| only == case.name));
    cases.flat_map(|case| case.wrong(with_bridge)).collect()
}

#[test]
fn a_simple_bridge_takes_in_what_is_news_and_only_once() {
    let wrong = run_all();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn stormy(seed: u64, frames: usize) -> Counted {
    let (setting, layout) = drawn(&mut Draw::new(seed));
    let net = with_bridge(setting.plan(seed, VMS, layout), setting).start();
    let counted = storm(&net, seed, frames);
    net.finish().assert_clean();
    counted
}

#[test]
fn a_simple_bridge_keeps_the_rules_in_random_networks() {
    let frames = std::env::var("RECEIVING_FRAMES").ok().and_then(|n| n.parse().ok()).unwrap_or(100_000);
    let mut all = Counted::default();
    for seed in 0.. {
        all.add(stormy(seed, if frames > 500_000 { 40_000 } else { 4_000 }));
        if all.frames >= frames {
            break;
        }
    }
    println!("{all:?}");
    assert!(all.totals.taken > 10_000 && all.totals.dropped > 5_000, "{all:?}");
    assert!(all.residues.lost * 1_000 <= all.totals.arrivals, "{all:?}");
    assert_eq!(all.residues.repeated, 0, "{all:?}");
}

/// A day on which each mutation of what comes in has its occasion.
fn day(seed: u64, mutation: Option<Mutation>) -> (Outcome, bool) {
    let setting = Setting { aggregation: Aggregation::SwitchIndependent, members: 2, two: seed % 2 == 1 };
    let names = ["the_gateway_is_outside", "an_address_moves_outside", "a_probe_comes_back"];
    let plan = setting.plan(seed, 4, setting.layout()).config(|config| config.mutation = mutation);
    let net = with_bridge(plan, setting).start();
    let world = net.world().clone();
    for case in names.iter().filter_map(|name| ALL.iter().find(|case| case.name == *name)) {
        // What the case itself asserts fails where the mutation strikes.
        let run = std::panic::AssertUnwindSafe(|| (case.run)(&net, setting));
        if std::panic::catch_unwind(run).is_err() {
            assert!(was_committed(&world), "{}", case.name);
        }
    }
    (net.finish(), was_committed(&world))
}

#[test]
fn every_mutation_of_what_comes_in_is_named_by_its_rule_alone() {
    let mut ran = BTreeSet::new();
    let (outcome, _) = day(1, None);
    outcome.assert_clean();
    ran.extend(outcome.exercised.into_keys());
    for (mutation, rule) in BORDER.iter().filter(|(mutation, _)| mutation.is_about_receiving()) {
        assert!(ran.contains(rule), "{rule} is never exercised");
        let runs = (0..8).map(|seed| day(seed, Some(*mutation)));
        let found = runs.into_iter().find(|(_, committed)| *committed);
        let (outcome, _) = found.unwrap_or_else(|| panic!("{mutation:?} never had an occasion"));
        let text: Vec<String> = outcome.violations.iter().take(4).map(ToString::to_string).collect();
        assert_eq!(outcome.broken(), BTreeSet::from([*rule]), "{mutation:?}: {}", text.join("\n"));
    }
}
