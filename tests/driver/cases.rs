//! Every scenario with the native driver and many seeds: no rule is broken, nothing leaks, and every frame is
//! delivered or dropped.

use vswitch::scenario::suite::CASES;
use vswitch::scenario::suite::depth::{each, seeds};

/// Seeds for each case; each draws other memory layouts, completion styles, IRQLs and delays.
const SEEDS: u64 = 12;

#[test]
fn every_scenario_keeps_every_rule_with_every_seed() {
    each(CASES, |case| {
        for seed in seeds(SEEDS) {
            let outcome = case.run((case.plan)(seed));
            if !outcome.violations.is_empty() {
                let plan = (case.plan)(seed);
                eprintln!("{} with seed {seed}:", case.name);
                plan.port_properties().for_each(|(port, all)| eprintln!("port {port}: {all:?}"));
            }
            case.assert(&outcome);
        }
    });
    println!("{} scenarios, seeds {:?} each", CASES.len(), seeds(SEEDS));
}
