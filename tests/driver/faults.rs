//! Fallible calls fail, one in each run, in every scenario, until a run has no such call left: no rule broken, nothing
//! left behind, no panic, whatever the driver was refused.

use std::collections::BTreeMap;
use std::sync::Mutex;
use vswitch::scenario::suite::depth::{calls, each, every};
use vswitch::scenario::suite::{CASES, Case};

/// How often each call of the driver was refused.
type Refused = BTreeMap<&'static str, u64>;

/// Runs the case with one of its fallible calls failing, for each of `numbers` until nothing failed.
fn sweep(case: &Case, seed: u64, numbers: impl Iterator<Item = u64>) -> Refused {
    let mut refused = Refused::new();
    for n in numbers {
        let outcome = case.run((case.plan)(seed).config(|config| config.fault = Some(n)));
        let Some(call) = outcome.fault else { break };
        *refused.entry(call).or_default() += 1;
        let text: Vec<_> = outcome.violations.iter().take(3).map(ToString::to_string).collect();
        assert!(
            outcome.violations.is_empty() && outcome.leaks.is_empty() && !outcome.aborted,
            "{} with seed {seed}, call {n} ({call}) failing:\n{}\nleft: {:?}\nagain: {}",
            case.name,
            text.join("\n"),
            outcome.leaks.iter().take(3).collect::<Vec<_>>(),
            outcome.again.as_deref().unwrap_or_default()
        );
    }
    refused
}

/// Sweeps through every scenario with two seeds and gives the number of runs.
fn sweep_all<N: Iterator<Item = u64>>(numbers: impl Fn() -> N + Sync) -> u64 {
    let all = Mutex::new(Refused::new());
    each(CASES, |case| {
        let mut runs = 0;
        for (call, times) in (1..=2).flat_map(|seed| sweep(case, seed, numbers())) {
            runs += times;
            *all.lock().expect("no thread fails with it").entry(call).or_default() += times;
        }
        println!("{}: {runs} calls failed in turn", case.name);
    });
    let all = all.into_inner().expect("no thread fails with it");
    println!("{} runs; failed calls by name: {all:#?}", all.values().sum::<u64>());
    all.values().sum()
}

#[test]
fn one_refused_call_of_24_breaks_no_rule_and_leaves_nothing_behind() {
    assert!(sweep_all(|| every(24, 0)) > 400, "the scenarios have fewer fallible calls than they had");
}

#[test]
#[ignore = "takes minutes: bash .ci/run long"]
fn no_refused_call_breaks_a_rule_or_leaves_anything_behind() {
    assert!(sweep_all(calls) > 1_000, "the scenarios have only so few fallible calls");
}
