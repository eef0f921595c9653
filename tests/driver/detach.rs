//! A module is detached at any moment: at each yield point of each scenario, one in each run, its timers due or running,
//! requests and questions out, its thread at work. No rule broken, nothing left behind, nobody waits for ever.

use vswitch::machine::clock::MILLISECOND;
use vswitch::scenario::outcome::Outcome;
use vswitch::scenario::suite::depth::{each, every, one_of, seeds};
use vswitch::scenario::suite::random::Draw;
use vswitch::scenario::suite::{CASES, Case, find};

/// Runs the case and detaches a module at this yield point.
fn run(case: &Case, seed: u64, point: u64) -> Outcome {
    case.run((case.plan)(seed).config(|config| config.point = Some(point)))
}

/// No rule broken, nothing left; the failure says how to run it again.
fn assert_clean(case: &Case, outcome: &Outcome) {
    if let Some(complaint) = outcome.complaint() {
        panic!("{}: {complaint}", case.name);
    }
}

/// Detaches at each of these yield points until the scenario has no more; the number of runs.
fn sweep(case: &Case, seed: u64, points: impl Iterator<Item = u64>) -> u64 {
    let mut runs = 0;
    for point in points {
        let outcome = run(case, seed, point);
        assert_clean(case, &outcome);
        if !outcome.detached_at_point {
            break;
        }
        runs += 1;
    }
    runs
}

/// Sweeps through every scenario with one seed.
fn sweep_all<N: Iterator<Item = u64>>(points: impl Fn(u64) -> N + Sync) -> u64 {
    let all = std::sync::atomic::AtomicU64::new(0);
    each(CASES, |case| {
        let seed = seeds(1).start;
        let there = run(case, seed, u64::MAX).points;
        let runs = sweep(case, seed, points(there));
        println!("{}: detached at {runs} of {there} yield points", case.name);
        all.fetch_add(runs, std::sync::atomic::Ordering::Relaxed);
    });
    all.into_inner()
}

#[test]
fn a_detach_at_some_yield_points_of_every_scenario_breaks_no_rule() {
    // Eight in each, at other places in each scenario because their lengths differ.
    let runs = sweep_all(|there| every((there / 8).max(1), there % 7));
    assert!(runs > 6 * CASES.len() as u64, "{runs} runs of {} scenarios", CASES.len());
}

/// Of this many yield points the sweep takes one, times the stride of the environment.
const POINTS_TO_A_CALL: u64 = 20;

#[test]
#[ignore = "takes minutes: bash .ci/run long"]
fn a_detach_at_one_yield_point_after_the_other_of_every_scenario_breaks_no_rule() {
    let runs = sweep_all(|_| one_of(POINTS_TO_A_CALL));
    println!("{runs} runs");
}

#[test]
#[ignore = "takes minutes: bash .ci/run long"]
fn a_detach_at_points_drawn_at_random_breaks_no_rule() {
    let draws = seeds(100).count() as u64;
    let numbers: Vec<u64> = (0..draws).collect();
    each(&numbers, |number| {
        let mut draw = Draw::new(seeds(1).start.wrapping_add(*number));
        let case = &CASES[draw.below(CASES.len() as u64) as usize];
        let seed = draw.below(1_000);
        let there = run(case, seed, u64::MAX).points;
        assert_clean(case, &run(case, seed, 1 + draw.below(there.max(1))));
    });
    println!("{draws} draws of scenario, seed and yield point");
}

#[test]
fn a_detach_while_a_timer_function_runs_waits_until_it_has_returned() {
    let case = find("detach_in_passing").expect("a scenario");
    for seed in seeds(60) {
        let plan = (case.plan)(seed).style(|style| style.detach_in_timer = 2 * MILLISECOND);
        assert_clean(case, &case.run(plan));
    }
}
