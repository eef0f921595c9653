//! What a packet costs: instructions of each step, counted by callgrind and compared with `perf/baseline.json`, and
//! times as medians. `cargo bench -p perf --bench count`; needs valgrind.
//!
//! Counts are the gate, for they do not depend on what else the machine does: a step that takes over 3 % more than the
//! baseline fails. `-- --store "REASON"` makes the counts of this build the baseline; `-- --no-times` counts only.

mod null_switch;
mod steps;

use null_switch::{LOCKING, Lists, NullSwitch, PROCESSOR};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::env;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;
use steps::{STEPS, Step};

/// A count may rise by this part.
const TOLERANCE: f64 = 0.03;
/// Instructions that a step may gain in any case: a third of a step of 9 is noise of the compiler.
const SLACK: f64 = 1.0;

#[derive(Serialize, Deserialize)]
struct Baseline {
    /// Why the counts are what they are.
    reason: String,
    /// Compiler that they belong to.
    compiler: String,
    /// Instructions for each packet or event.
    instructions: BTreeMap<String, f64>,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["--run", name, rounds] => run(name, rounds),
        [] => measure(true, None),
        ["--no-times"] => measure(false, None),
        ["--store", reason] if !reason.trim().is_empty() => measure(false, Some(reason)),
        _ => {
            eprintln!("usage: count [--no-times | --store REASON]");
            ExitCode::from(2)
        }
    }
}

/// Repeats one step; this is what runs under callgrind.
fn run(name: &str, rounds: &str) -> ExitCode {
    let Some(step) = STEPS.iter().find(|step| step.name == name) else { return ExitCode::from(2) };
    let mut repeat = (step.make)();
    (0..rounds.parse::<u32>().unwrap_or(0)).for_each(|_| repeat());
    ExitCode::SUCCESS
}

fn measure(times: bool, store: Option<&str>) -> ExitCode {
    let baseline = load();
    println!(
        "{:<26}{:<15}{:>13}{:>10}{:>9}{:>9}",
        "step", "working set", "instructions", "baseline", "change", "ns"
    );
    let (mut counted, mut risen) = (BTreeMap::new(), Vec::new());
    for step in STEPS {
        let Some(count) = count(step) else {
            eprintln!("error: callgrind gave no count; install valgrind");
            return ExitCode::from(2);
        };
        let before = baseline.as_ref().and_then(|baseline| baseline.instructions.get(step.name)).copied();
        let ns = if times { format!("{:.1}", time(step)) } else { "-".to_owned() };
        let change =
            before.map_or("-".to_owned(), |before| format!("{:+.1} %", (count / before - 1.0) * 100.0));
        let before_text = before.map_or("none".to_owned(), |before| format!("{before:.1}"));
        println!("{:<26}{:<15}{count:>13.1}{before_text:>10}{change:>9}{ns:>9}", step.name, step.working_set);
        if before.is_some_and(|before| count > before * (1.0 + TOLERANCE) && count > before + SLACK) {
            risen.push(step.name);
        }
        counted.insert(step.name.to_owned(), (count * 10.0).round() / 10.0);
    }
    if times {
        failovers();
    }
    finish(counted, baseline, &risen, store)
}

fn finish(
    counted: BTreeMap<String, f64>,
    baseline: Option<Baseline>,
    risen: &[&str],
    store: Option<&str>,
) -> ExitCode {
    if let Some(reason) = store {
        let baseline = Baseline { reason: reason.to_owned(), compiler: compiler(), instructions: counted };
        let text = serde_json::to_string_pretty(&baseline).expect("plain data");
        std::fs::write(path(), text + "\n").expect("perf/baseline.json can be written");
        println!("stored in {}: {reason}", path().display());
        return ExitCode::SUCCESS;
    }
    let Some(baseline) = baseline else {
        eprintln!("error: no baseline; make one with -- --store \"REASON\"");
        return ExitCode::FAILURE;
    };
    if baseline.compiler != compiler() {
        println!("the baseline is of {}, this is {}", baseline.compiler, compiler());
    }
    if risen.is_empty() {
        println!("no step takes over {:.0} % more instructions than the baseline", TOLERANCE * 100.0);
        return ExitCode::SUCCESS;
    }
    eprintln!("error: more instructions than the baseline allows: {}", risen.join("; "));
    eprintln!("make it cheaper, or store a new baseline with the reason: -- --store \"REASON\"");
    ExitCode::FAILURE
}

fn path() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/baseline.json"))
}

fn load() -> Option<Baseline> {
    serde_json::from_str(&std::fs::read_to_string(path()).ok()?).ok()
}

fn compiler() -> String {
    let output = Command::new("rustc").arg("--version").output();
    output.map_or("unknown".to_owned(), |output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Instructions for each packet: two runs that differ in rounds alone, so that the setup falls out.
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

/// Median of nanoseconds for each packet over 101 samples of at least as many rounds as go through all lists twice.
fn time(step: &Step) -> f64 {
    let mut repeat = (step.make)();
    let rounds = 2 * steps::COLD as u64 / step.packets.max(32);
    let mut samples: Vec<f64> = (0..111)
        .map(|_| {
            let start = Instant::now();
            (0..rounds).for_each(|_| repeat());
            start.elapsed().as_nanos() as f64 / (rounds * step.packets) as f64
        })
        .skip(10)
        .collect();
    median(&mut samples)
}

fn median(samples: &mut [f64]) -> f64 {
    samples.sort_by(f64::total_cmp);
    samples[samples.len() / 2]
}

/// The handler of a lost link by itself, and while another processor sends without a pause.
fn failovers() {
    println!("\n{:<44}{:>11}{:>11}{:>11}", "link down, 4,096 buckets", "median us", "p99 us", "most us");
    for members in [2, 8, 32] {
        for reader in [false, true] {
            let switch = steps::switch(members, 1);
            let mut samples = downs(&switch, reader);
            let middle = median(&mut samples) / 1000.0;
            let (high, most) =
                (samples[samples.len() * 99 / 100] / 1000.0, samples[samples.len() - 1] / 1000.0);
            let name =
                format!("{members} members, {}", if reader { "one processor sending" } else { "no readers" });
            println!("{name:<44}{middle:>11.1}{high:>11.1}{most:>11.1}");
        }
    }
}

fn downs(switch: &NullSwitch, reader: bool) -> Vec<f64> {
    let done = AtomicBool::new(false);
    LOCKING.store(reader, Ordering::SeqCst);
    let samples = std::thread::scope(|scope| {
        if reader {
            scope.spawn(|| send_until(switch, &done));
        }
        let samples = (0..1000)
            .map(|_| {
                switch.link(1, true);
                std::thread::sleep(std::time::Duration::from_micros(50));
                let start = Instant::now();
                switch.link(1, false);
                start.elapsed().as_nanos() as f64
            })
            .collect();
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
