//! In every scenario each fallible call fails once, one in each run, until a run has no further call: no rule is
//! broken, nothing leaks, no panic; and an hour later the driver's state equals the switch's (HOST-09). In the
//! scenarios of `LIVES` two calls fail, the second soon after the first.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use vswitch::machine::world::Config;
use vswitch::scenario::suite::depth::{calls, each, every};
use vswitch::scenario::suite::{CASES, Case};

/// How often each function failed for the driver.
type Refused = BTreeMap<&'static str, u64>;

/// Runs the case with the fallible call of each of `numbers` failing, and with `again` the call that many calls later,
/// until a run has no such call.
fn sweep(case: &Case, seed: u64, again: Option<u64>, numbers: impl Iterator<Item = u64>) -> Refused {
    let mut refused = Refused::new();
    for n in numbers {
        let failing = |config: &mut Config| (config.fault, config.fault_again) = (Some(n), again);
        let outcome = case.run((case.plan)(seed).config(failing));
        let Some(call) = outcome.fault else { break };
        *refused.entry(call).or_default() += 1;
        let text: Vec<_> = outcome.violations.iter().take(3).map(ToString::to_string).collect();
        assert!(
            outcome.violations.is_empty() && outcome.leaks.is_empty() && !outcome.aborted,
            "{} with seed {seed}, call {n} ({call}) failing, then {again:?}:\n{}\nleft: {:?}\nagain: {}",
            case.name,
            text.join("\n"),
            outcome.leaks.iter().take(3).collect::<Vec<_>>(),
            outcome.again.as_deref().unwrap_or_default()
        );
    }
    refused
}

/// Sweeps through every scenario with two seeds; returns the number of runs.
fn sweep_all<N: Iterator<Item = u64>>(numbers: impl Fn() -> N + Sync) -> u64 {
    let all = Mutex::new(Refused::new());
    each(CASES, |case| {
        let mut runs = 0;
        for (call, times) in (1..=2).flat_map(|seed| sweep(case, seed, None, numbers())) {
            runs += times;
            *all.lock().expect("no thread fails with it").entry(call).or_default() += times;
        }
        println!("{}: {runs} calls failed in turn", case.name);
    });
    let all = all.into_inner().expect("no thread fails with it");
    println!("{} runs; failed calls by name: {all:#?}", all.values().sum::<u64>());
    all.values().sum()
}

/// Scenarios in which the module is attached, detached and attached again.
const LIVES: [&str; 6] = [
    "inactive_at_first",
    "detach_and_attach_again",
    "pause_under_traffic",
    "vms_added_and_removed",
    "ports_added_and_removed",
    "two_switches",
];

/// Number of calls from the first failure to the second; the seeds use them in turn.
const AGAIN: [u64; 6] = [1, 2, 3, 7, 20, 60];

/// Sweeps through the scenarios of `LIVES` with two failures; returns the number of runs.
fn sweep_pairs<N: Iterator<Item = u64>>(numbers: impl Fn() -> N + Sync) -> u64 {
    let runs = AtomicU64::new(0);
    let cases: Vec<_> = CASES.iter().filter(|case| LIVES.contains(&case.name)).collect();
    assert_eq!(cases.len(), LIVES.len());
    each(&cases, |case| {
        for (seed, again) in (1..).zip(AGAIN) {
            let count = sweep(case, seed, Some(again), numbers()).values().sum::<u64>();
            runs.fetch_add(count, Ordering::Relaxed);
        }
    });
    println!("{runs:?} pairs");
    runs.into_inner()
}

#[test]
fn one_refused_pair_of_48_breaks_no_rule_and_leaves_nothing_behind() {
    assert!(sweep_pairs(|| every(48, 0)) > 150, "the scenarios have fewer fallible calls than they had");
}

#[test]
#[ignore = "takes minutes: bash .ci/run long"]
fn no_refused_pair_breaks_a_rule_or_leaves_anything_behind() {
    assert!(sweep_pairs(calls) > 1_000, "the scenarios have only so few fallible calls");
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
