//! Public captures that nobody here made, most of them odd or damaged: whatever is asked about one, the answer is a run
//! that says what it is worth, or a refusal with its reason; and they are read as wireshark's capinfos reads them.

mod tool;

use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use tool::teamctl;

/// What is asked about each capture, which comes last.
const ASKED: [&[&str]; 10] = [
    &["replay", "--json"],
    &["replay", "--json", "--machines", "all", "--fail", "none"],
    &["replay", "--json", "--mode", "switch-independent"],
    &["replay", "--json", "--machines", "all", "--policy", "encapsulated"],
    &["replay", "--json", "--queues", "--mode", "switch-independent"],
    &["replay", "--json", "--speeds", "25G,10G,1G", "--policy", "ip-addresses"],
    &["replay", "--json", "--members", "1", "--fail", "1@50%"],
    &["compare", "--json"],
    &["migrate", "--json"],
    &["explain", "--json", "--frame", "1", "--capture"],
];

/// How a refusal of a capture begins, after "error: " and with FILE for its path; and no other does.
const REASONS: [&str; 6] = [
    "cannot use FILE: link type ",
    "cannot use FILE: nothing in it says which of its adapters are inside; ",
    "cannot use FILE: --machines all: ",
    "cannot use FILE: frame 1: the ",
    "FILE holds no frame; ",
    "--frame is 1, but FILE ",
];

fn captures() -> Vec<PathBuf> {
    let folder = std::env::var_os("LBFOEXT_CAPTURES").expect("LBFOEXT_CAPTURES names a folder of captures");
    let entries = std::fs::read_dir(&folder).expect("LBFOEXT_CAPTURES is a folder");
    let mut all: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    all.retain(|path| path.extension().is_some_and(|extension| extension == "pcap" || extension == "pcapng"));
    all.sort();
    all
}

/// What is wrong with the answers about one capture, and how each begins.
fn wrong(path: &Path) -> (Vec<String>, Vec<String>) {
    let file = path.to_str().expect("text");
    let (mut wrong, mut kinds) = (Vec::new(), Vec::new());
    for asked in ASKED {
        let output = teamctl(&[asked, &[file]].concat());
        let [said, error] = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text));
        let mut complain = |what: &str| wrong.push(format!("{asked:?} {file}: {what}\n{said}{error}"));
        match output.status.code() {
            Some(0) => {
                let report: Value = serde_json::from_str(&said).unwrap_or_default();
                if asked[0] == "replay" {
                    fault(&report).into_iter().for_each(|fault| complain(&fault));
                }
                let verdict = report["verdict"].as_str().unwrap_or("answered");
                kinds.push(format!("{} {verdict}", asked[0]));
            }
            Some(2) => {
                let error = error.replace(file, "FILE");
                let known = |reason: &&&str| error.starts_with(&format!("error: {reason}"));
                match REASONS.iter().find(known) {
                    Some(reason) if said.is_empty() => kinds.push(format!("refused: {reason}")),
                    Some(_) => complain("a refusal with output"),
                    None => complain("refused for a reason that is not known here"),
                }
            }
            other => complain(&format!("exit code {other:?}")),
        }
    }
    (wrong, kinds)
}

/// A verdict that the counts do not bear out, or counts that do not agree.
fn fault(report: &Value) -> Option<String> {
    let count = |value: &Value| value.as_u64().unwrap_or(u64::MAX);
    let frames = count(&report["frames"]);
    let by_team: u64 = report["members"].as_array()?.iter().map(|member| count(&member["frames"])).sum();
    let ends: u64 = report["ends"].as_object()?.values().map(count).sum();
    let dropped = count(&report["ends"]["dropped"]) + count(&report["ends"]["unreachable"]);
    let is_empty = by_team * 20 < frames || dropped * 10 > frames;
    let said_fine = report["verdict"] == "fine";
    (ends != frames || said_fine == is_empty).then(|| {
        format!(
            "{frames} frames, {ends} ends, {by_team} by the team, {dropped} dropped: {}",
            report["verdict"]
        )
    })
}

/// Frames, and seconds from the first to the last, if all have a time.
fn capinfos(path: &Path) -> Option<(u64, Option<f64>)> {
    let options = ["-T", "-r", "-M", "-c", "-u"];
    let output = Command::new("capinfos").args(options).arg(path).output().expect("capinfos is installed");
    let text = String::from_utf8_lossy(&output.stdout);
    let mut columns = text.trim_end().split('\t').skip(1);
    Some((columns.next()?.parse().ok()?, columns.next()?.parse().ok()))
}

/// Whether a replay of all adapters counts as many records and as much time as capinfos does; `None` if the capture is
/// refused.
fn read_alike(path: &Path) -> Option<Result<(), String>> {
    let file = path.to_str().expect("text");
    let output = teamctl(&[ASKED[1], &[file]].concat());
    let report: Value = serde_json::from_slice(&output.stdout).ok()?;
    let warnings: Vec<&str> = report["warnings"].as_array()?.iter().filter_map(Value::as_str).collect();
    let left_out = |warning: &&str| {
        let (_, rest) = warning.split_once("for they are no frames: ")?;
        rest.split(' ').next()?.replace(',', "").parse::<u64>().ok()
    };
    let records = report["frames"].as_u64()? + warnings.iter().filter_map(left_out).sum::<u64>();
    let seconds = report["length_seconds"].as_f64()?;
    let jumps = warnings.iter().any(|warning| warning.contains("the clock of the recording jumps"));
    let theirs = capinfos(path);
    let alike = theirs.is_some_and(|(count, time)| {
        count == records && (jumps || time.is_none_or(|time| (time - seconds).abs() < 1e-5))
    });
    Some(if alike { Ok(()) } else { Err(format!("{file}: {records}, {seconds} s; capinfos {theirs:?}")) })
}

/// Does something for each capture, on two threads.
fn each(captures: &[PathBuf], work: impl Fn(&Path) + Sync) {
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some(path) = captures.get(next.fetch_add(1, Ordering::Relaxed)) {
                    work(path);
                }
            });
        }
    });
}

#[test]
#[ignore = "needs public captures: bash .ci/run outside"]
fn no_public_capture_breaks_a_guarantee_and_none_is_called_fine_that_says_nothing() {
    let captures = captures();
    let (faults, kinds) = (Mutex::new(Vec::new()), Mutex::new(BTreeMap::<String, u64>::new()));
    each(&captures, |path| {
        let (wrong, of_these) = wrong(path);
        faults.lock().expect("no thread fails").extend(wrong);
        let mut kinds = kinds.lock().expect("no thread fails");
        of_these.into_iter().for_each(|kind| *kinds.entry(kind).or_default() += 1);
    });
    println!("{} captures, {} questions each", captures.len(), ASKED.len());
    kinds
        .into_inner()
        .expect("no thread fails")
        .iter()
        .for_each(|(kind, count)| println!("{count:>6} {kind}"));
    let faults = faults.into_inner().expect("no thread fails");
    assert!(captures.len() > 600 && faults.is_empty(), "{}:\n{}", faults.len(), faults.join("\n"));
}

#[test]
#[ignore = "needs capinfos and public captures: bash .ci/run outside"]
fn every_capture_is_read_as_capinfos_reads_it() {
    let captures = captures();
    let (faults, alike) = (Mutex::new(Vec::new()), AtomicUsize::new(0));
    each(&captures, |path| match read_alike(path) {
        Some(Ok(())) => _ = alike.fetch_add(1, Ordering::Relaxed),
        Some(Err(fault)) => faults.lock().expect("no thread fails").push(fault),
        None => {}
    });
    let (faults, alike) = (faults.into_inner().expect("no thread fails"), alike.into_inner());
    println!("{alike} of {} captures read alike, the others are refused", captures.len());
    assert!(alike > 200 && faults.is_empty(), "{}:\n{}", faults.len(), faults.join("\n"));
}
