//! The cost of a packet: instructions of each step, counted by callgrind and compared with `perf/baseline.json`, and
//! median times. `cargo bench -p perf --bench count`; needs valgrind.
//!
//! Only counts are checked, because they do not depend on the load of the machine: a step with over 3 % more
//! instructions than the baseline fails. `-- --store "REASON"` makes the figures of this build the baseline and writes
//! them into `perf/README.md`; `-- --no-times` only counts.

mod figures;
mod null_switch;
mod steps;

use figures::{Baseline, Event, Figures};
use null_switch::{LOCKING, Lists, NullSwitch, PROCESSOR, WAITED};
use std::env;
use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use steps::{STEPS, Step, single};

/// Relative increase of a count that is accepted.
const TOLERANCE: f64 = 0.03;
/// Increase in instructions that is always accepted, because small steps vary by as much between compilations.
const SLACK: f64 = 1.0;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["--run", name, rounds] => run(name, rounds),
        [] => measure(true, None),
        ["--no-times"] => measure(false, None),
        ["--store", reason] if !reason.trim().is_empty() => measure(true, Some(reason)),
        _ => {
            eprintln!("usage: count [--no-times | --store REASON]");
            ExitCode::from(2)
        }
    }
}

/// Repeats one step; this process runs under callgrind.
fn run(name: &str, rounds: &str) -> ExitCode {
    let Some(step) = STEPS.iter().find(|step| step.name == name) else { return ExitCode::from(2) };
    let mut repeat = (step.make)();
    (0..rounds.parse::<u32>().unwrap_or(0)).for_each(|_| repeat());
    ExitCode::SUCCESS
}

fn measure(times: bool, store: Option<&str>) -> ExitCode {
    let baseline = Baseline::load();
    println!(
        "{:<26}{:<15}{:>13}{:>10}{:>9}{:>9}",
        "step", "working set", "instructions", "baseline", "change", "ns"
    );
    let (mut measured, mut risen) = (Vec::new(), Vec::new());
    for step in STEPS {
        let Some(count) = count(step) else {
            eprintln!("error: callgrind gave no count; install valgrind");
            return ExitCode::from(2);
        };
        let before =
            baseline.as_ref().and_then(|baseline| baseline.now.find(step.name)).map(|step| step.instructions);
        let ns = if times { time(step) } else { 0.0 };
        let ns_text = if times { format!("{ns:.1}") } else { "-".to_owned() };
        let change =
            before.map_or("-".to_owned(), |before| format!("{:+.1} %", (count / before - 1.0) * 100.0));
        let before_text = before.map_or("none".to_owned(), |before| format!("{before:.1}"));
        println!(
            "{:<26}{:<15}{count:>13.1}{before_text:>10}{change:>9}{ns_text:>9}",
            step.name, step.working_set
        );
        if before.is_some_and(|before| count > before * (1.0 + TOLERANCE) && count > before + SLACK) {
            risen.push(step.name);
        }
        measured.push(figures::Step {
            step: step.name.to_owned(),
            working_set: step.working_set.to_owned(),
            instructions: tenth(count),
            ns: tenth(ns),
        });
    }
    let events = if times { events() } else { Vec::new() };
    let reason = store.unwrap_or_default().to_owned();
    let measured = Figures { reason, compiler: compiler(), steps: measured, events };
    if store.is_some() { keep(baseline, measured) } else { judge(baseline, &risen) }
}

/// Keeps the first figures, with which the document compares later ones.
fn keep(baseline: Option<Baseline>, measured: Figures) -> ExitCode {
    let before = baseline.map_or_else(|| measured.clone(), |baseline| baseline.before);
    let baseline = Baseline { before, now: measured };
    if let Err(error) = baseline.store() {
        eprintln!("error: cannot write {} and perf/README.md: {error}", Baseline::path().display());
        return ExitCode::from(2);
    }
    println!("stored in perf/baseline.json and perf/README.md: {}", baseline.now.reason);
    ExitCode::SUCCESS
}

fn judge(baseline: Option<Baseline>, risen: &[&str]) -> ExitCode {
    let Some(baseline) = baseline else {
        eprintln!("error: no baseline; make one with -- --store \"REASON\"");
        return ExitCode::FAILURE;
    };
    if baseline.now.compiler != compiler() {
        println!("the baseline is of {}, this is {}", baseline.now.compiler, compiler());
    }
    if risen.is_empty() {
        println!("no step takes over {:.0} % more instructions than the baseline", TOLERANCE * 100.0);
        return ExitCode::SUCCESS;
    }
    eprintln!("error: more instructions than the baseline allows: {}", risen.join("; "));
    eprintln!("make it cheaper, or store a new baseline with the reason: -- --store \"REASON\"");
    ExitCode::FAILURE
}

fn compiler() -> String {
    let output = Command::new("rustc").arg("--version").output();
    output.map_or("unknown".to_owned(), |output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn tenth(figure: f64) -> f64 {
    (figure * 10.0).round() / 10.0
}

/// Instructions for each packet: the difference of two runs with different numbers of rounds, which removes the setup.
fn count(step: &Step) -> Option<f64> {
    const ROUNDS: [u32; 2] = [16, 48];
    let [few, many] = std::thread::scope(|scope| {
        ROUNDS
            .map(|rounds| scope.spawn(move || callgrind(step.name, rounds)))
            .map(|run| run.join().ok().flatten())
    });
    Some((many? - few?) / f64::from(ROUNDS[1] - ROUNDS[0]) / step.packets as f64)
}

fn callgrind(name: &str, rounds: u32) -> Option<f64> {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(env::current_exe().ok()?)
        .args(["--run", name, &rounds.to_string()])
        .output()
        .ok()
        .filter(|output| output.status.success())?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    text.lines().find_map(|line| line.split_once("Collected : ")?.1.trim().parse().ok())
}

/// Nanoseconds for each packet: the median of five runs, each the median of 101 samples, each of two rounds over all
/// lists.
fn time(step: &Step) -> f64 {
    let mut repeat = (step.make)();
    let rounds = 2 * steps::COLD as u64 / step.packets.max(32);
    let mut runs: Vec<f64> = (0..5)
        .map(|_| {
            let mut samples: Vec<f64> = (0..111)
                .map(|_| {
                    let start = Instant::now();
                    (0..rounds).for_each(|_| repeat());
                    start.elapsed().as_nanos() as f64 / (rounds * step.packets) as f64
                })
                .skip(10)
                .collect();
            median(&mut samples)
        })
        .collect();
    median(&mut runs)
}

fn median(samples: &mut [f64]) -> f64 {
    samples.sort_by(f64::total_cmp);
    samples[samples.len() / 2]
}

/// Events that are timed singly: one decision, and the handler of a lost link, without load and while another
/// processor sends continuously.
fn events() -> Vec<Event> {
    println!("\n{:<60}{:>10}{:>10}{:>12}", "one by one", "median ns", "p99 ns", "most ns");
    let mut events = vec![
        event("decision, IPv4".to_owned(), &mut single::decisions(false)),
        event("decision, IPv6, extension".to_owned(), &mut single::decisions(true)),
    ];
    for members in [2, 8, 32] {
        let switch = steps::switch(members, 1);
        events.push(event(format!("link down of {members} members"), &mut downs(&switch, false).0));
    }
    let (mut own, mut waited) = downs(&steps::switch(32, 1), true);
    events.push(event("the same while another processor sends: own work".to_owned(), &mut own));
    events.push(event("the same while another processor sends: waiting for it".to_owned(), &mut waited));
    events
}

fn event(name: String, samples: &mut [f64]) -> Event {
    let median_ns = tenth(median(samples));
    let (p99_ns, most) = (tenth(samples[samples.len() * 99 / 100]), samples[samples.len() - 1]);
    println!("{name:<60}{median_ns:>10.1}{p99_ns:>10.1}{most:>12.1}");
    Event { event: name, median_ns, p99_ns }
}

/// Nanoseconds of a thousand lost links: without the wait for the lock, and the wait for a sending processor to
/// release it.
fn downs(switch: &NullSwitch, is_contended: bool) -> (Vec<f64>, Vec<f64>) {
    let done = AtomicBool::new(false);
    LOCKING.store(is_contended, Ordering::SeqCst);
    let samples = std::thread::scope(|scope| {
        if is_contended {
            scope.spawn(|| send_until(switch, &done));
        }
        let samples = (0..1000)
            .map(|_| {
                switch.link(1, true);
                std::thread::sleep(Duration::from_micros(50));
                WAITED.set(Duration::ZERO);
                let start = Instant::now();
                switch.link(1, false);
                let (whole, waited) = (start.elapsed(), WAITED.get());
                (whole.saturating_sub(waited).as_nanos() as f64, waited.as_nanos() as f64)
            })
            .unzip();
        done.store(true, Ordering::SeqCst);
        samples
    });
    LOCKING.store(false, Ordering::SeqCst);
    samples
}

fn send_until(switch: &NullSwitch, done: &AtomicBool) {
    PROCESSOR.set(1);
    let mut lists = Lists::new(&steps::frames(steps::HOT), 5);
    let mut from = 0;
    while !done.load(Ordering::Relaxed) {
        switch.send(lists.chain(from, 32), 0x20);
        from = (from + 32) % lists.len();
    }
}
