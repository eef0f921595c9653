//! Every scenario, natively, with many seeds: no rule broken, nothing left behind, every frame with an end.

use vswitch::scenario::suite::CASES;
use vswitch::scenario::suite::depth::{each, seeds};

/// Seeds for each case; each draws memory layouts, completion styles, IRQLs and delays anew.
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
