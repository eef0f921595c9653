//! Fallible calls fail, one in each run, in every scenario, until a run has no such call left: no rule broken, nothing
//! left behind, no panic, whatever the driver was refused; and an hour later the driver's tables are those of the switch,
//! and everybody is spoken to as if nothing had happened (HOST-09). In the scenarios of the module's life two calls fail,
//! one soon after the other.

use crate::every::request_outcomes::{known, truth, without_policies};
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use vswitch::machine::world::Config;
use vswitch::reference::case::PATIENCE;
use vswitch::scenario::Net;
use vswitch::scenario::suite::depth::{calls, each, every};
use vswitch::scenario::suite::{CASES, Case};

/// How often each function failed for the driver.
type Refused = BTreeMap<&'static str, u64>;

/// HOST-09: an hour after a failure each module that runs knows the ports, NICs and members of its switch.
fn assert_known_an_hour_later(net: &Net, name: &str) {
    let Some(failed) = net.world().injected_fault() else { return };
    let switches = net.look(|state| state.modules.iter().filter(|m| m.is_switch()).count()).unwrap_or(0);
    for net in (0..switches).map(|switch| net.on(switch)) {
        let active = net.look(|state| state.modules[net.switch()].is_active) == Some(true);
        if active && net.is_running() {
            net.advance(PATIENCE + 1);
            let [known, truth] = [known(&net), truth(&net)].map(without_policies);
            assert_eq!(known, truth, "{name}, switch {}, an hour after {failed} failed", net.switch());
        }
    }
}

/// Runs the case with one of its fallible calls failing, and if wanted one more so many calls later, for each of `numbers`
/// until nothing failed.
fn sweep(case: &Case, seed: u64, again: Option<u64>, numbers: impl Iterator<Item = u64>) -> Refused {
    let mut refused = Refused::new();
    for n in numbers {
        let failing = |config: &mut Config| (config.fault, config.fault_again) = (Some(n), again);
        let plan = (case.plan)(seed).config(failing);
        let outcome = case.run_and_look(plan, |net| assert_known_an_hour_later(net, case.name));
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
