//! Every fallible call fails once, in every scenario, until a run has no such call left: no rule broken, nothing left
//! behind, no panic, whatever the driver was refused.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::thread;
use vswitch::suite::{CASES, Case};

/// Runs the case with its n-th fallible call failing, for n from 1 until nothing failed. Gives how many there were.
fn sweep(case: &Case, seed: u64, sites: &Mutex<BTreeMap<&'static str, u64>>) -> u64 {
    for n in 1.. {
        let outcome = case.run((case.plan)(seed).config(|config| config.fault = Some(n)));
        let Some(site) = outcome.fault else { return n - 1 };
        *sites.lock().expect("no test thread fails with it").entry(site).or_default() += 1;
        let text: Vec<_> = outcome.violations.iter().take(3).map(ToString::to_string).collect();
        assert!(
            outcome.violations.is_empty() && outcome.leaks.is_empty() && !outcome.aborted,
            "{} with seed {seed}, call {n} ({site}) failing:\n{}\nleft: {:?}",
            case.name,
            text.join("\n"),
            outcome.leaks.iter().take(3).collect::<Vec<_>>()
        );
    }
    unreachable!("every run ends")
}

#[test]
fn no_refused_call_breaks_a_rule_or_leaves_anything_behind() {
    let sites = Mutex::new(BTreeMap::new());
    let runs: u64 = thread::scope(|scope| {
        let halves = [0, 1].map(|half| {
            let sites = &sites;
            scope.spawn(move || {
                CASES
                    .iter()
                    .enumerate()
                    .filter(|(number, _)| number % 2 == half)
                    .map(|(_, case)| {
                        let runs: u64 = (1..=2).map(|seed| sweep(case, seed, sites)).sum();
                        println!("{}: {runs} calls failed in turn", case.name);
                        runs
                    })
                    .sum::<u64>()
            })
        });
        halves.into_iter().map(|half| half.join().expect("a sweep ends")).sum()
    });
    println!("{runs} runs; failed calls by name: {:#?}", sites.into_inner().expect("as above"));
    assert!(runs > 1_000, "the scenarios have only {runs} fallible calls");
}
