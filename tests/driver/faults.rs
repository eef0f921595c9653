//! Fallible calls fail, one in each run, in every scenario, until a run has no such call left: no rule broken, nothing
//! left behind, no panic, whatever the driver was refused; and an hour later the driver's tables are those of the switch,
//! and everybody is spoken to as if nothing had happened (HOST-09). In the scenarios of the module's life two calls fail,
//! one soon after the other.

use crate::every::request_outcomes::{known, truth, without_policies};
use std::collections::BTreeMap;
use std::sync::Mutex;
use vswitch::machine::world::Config;
use vswitch::reference::case::PATIENCE;
use vswitch::scenario::Net;
use vswitch::scenario::suite::depth::{calls, each, every};
use vswitch::scenario::suite::{CASES, Case};

/// What became of the runs of a sweep.
#[derive(Default)]
struct Sweep {
    /// How often each function failed for the driver.
    refused: BTreeMap<&'static str, u64>,
    /// The runs in which a guarantee was broken, each with the command that repeats it.
    broken: Vec<String>,
}

impl Sweep {
    fn add(&mut self, other: Self) {
        for (call, times) in other.refused {
            *self.refused.entry(call).or_default() += times;
        }
        self.broken.extend(other.broken);
    }

    fn runs(&self) -> u64 {
        self.refused.values().sum()
    }

    /// The number of runs.
    ///
    /// # Panics
    /// If a guarantee was broken in any: with the first of them.
    fn judged(self) -> u64 {
        println!("{} runs; failed calls by name: {:#?}", self.runs(), self.refused);
        let (count, first) = (self.broken.len(), self.broken.get(..12).unwrap_or(&self.broken).join("\n"));
        assert!(count == 0, "{count} of {} runs broke a guarantee:\n{first}", self.runs());
        self.runs()
    }
}

/// HOST-09: an hour after a failure each module that runs knows the ports, NICs and members of its switch. Returns the
/// switches of which that is not true.
fn unknown_an_hour_later(net: &Net) -> Vec<String> {
    let Some(failed) = net.world().injected_fault() else { return Vec::new() };
    let switches = net.look(|state| state.modules.iter().filter(|m| m.is_switch()).count()).unwrap_or(0);
    let mut unknown = Vec::new();
    for net in (0..switches).map(|switch| net.on(switch)) {
        let active = net.look(|state| state.modules[net.switch()].is_active) == Some(true);
        if active && net.is_running() {
            net.advance(PATIENCE + 1);
            let [known, truth] = [known(&net), truth(&net)].map(without_policies);
            if known != truth {
                let switch = net.switch();
                unknown.push(format!(
                    "switch {switch}, an hour after {failed} failed: {known:?}, not {truth:?}"
                ));
            }
        }
    }
    unknown
}

/// Runs the case with one of its fallible calls failing, and if wanted one more so many calls later, for each of `numbers`
/// until nothing failed.
fn sweep(case: &Case, seed: u64, again: Option<u64>, numbers: impl Iterator<Item = u64>) -> Sweep {
    let mut sweep = Sweep::default();
    for n in numbers {
        let failing = |config: &mut Config| (config.fault, config.fault_again) = (Some(n), again);
        let plan = (case.plan)(seed).config(failing);
        let mut unknown = Vec::new();
        let outcome = case.run_and_look(plan, |net| unknown = unknown_an_hour_later(net));
        let Some(call) = outcome.fault else { break };
        *sweep.refused.entry(call).or_default() += 1;
        let left = outcome.leaks.iter().take(3).map(|leak| format!("left: {leak:?}"));
        let aborted = outcome.aborted.then(|| "aborted".to_owned());
        let found = outcome.violations.iter().take(3).map(ToString::to_string);
        let text: Vec<_> = found.chain(left).chain(aborted).chain(unknown).collect();
        if !text.is_empty() {
            sweep.broken.push(format!(
                "{}, seed {seed}, call {n} ({call}) failing, then {again:?}:\n{}\nagain: {}",
                case.name,
                text.join("\n"),
                outcome.again.as_deref().unwrap_or_default()
            ));
        }
    }
    sweep
}

/// Sweeps through every scenario with two seeds; returns the number of runs.
fn sweep_all<N: Iterator<Item = u64>>(numbers: impl Fn() -> N + Sync) -> u64 {
    let all = Mutex::new(Sweep::default());
    each(CASES, |case| {
        for seed in 1..=2 {
            let one = sweep(case, seed, None, numbers());
            println!("{}, seed {seed}: {} calls failed in turn", case.name, one.runs());
            all.lock().expect("no thread fails with it").add(one);
        }
    });
    all.into_inner().expect("no thread fails with it").judged()
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
    let all = Mutex::new(Sweep::default());
    let cases: Vec<_> = CASES.iter().filter(|case| LIVES.contains(&case.name)).collect();
    assert_eq!(cases.len(), LIVES.len());
    each(&cases, |case| {
        for (seed, again) in (1..).zip(AGAIN) {
            let one = sweep(case, seed, Some(again), numbers());
            all.lock().expect("no thread fails with it").add(one);
        }
    });
    all.into_inner().expect("no thread fails with it").judged()
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

/// Scenarios whose first requests take members, ports or resources away.
const AT_ONCE: [&str; 4] =
    ["members_added_and_removed", "team_receives", "offloads_of_every_member", "offloads"];

#[test]
fn what_is_read_late_is_right_whatever_is_requested_meanwhile() {
    let cases = CASES.iter().filter(|case| AT_ONCE.contains(&case.name));
    let mut all = Sweep::default();
    for (case, seed) in cases.flat_map(|case| [(case, 1), (case, 2)]) {
        // The calls of the first enumeration.
        all.add(sweep(case, seed, None, 40..90));
    }
    assert!(all.judged() > 300, "the scenarios have fewer fallible calls than they had");
}
