//! The driver beside DPDK net_bonding: the same frames, the same processor, in turns, in one run.
//! `cargo bench -p perf --bench peer`; `-- --store` writes the table into `perf/README.md`, `-- --rounds N` measures
//! longer. Without DPDK (`perf/peer/build.sh` says what it needs) the driver's figures alone are shown.
//!
//! Both give chains of 32 packets, drawn from 1,024 flows, to four members that only count, or take them from there. What
//! neither does in its own name is measured too and stands beside: linking the lists of a chain anew, and a call that sends
//! nothing.

#[allow(dead_code, reason = "the bench of instructions uses the rest")]
mod figures;
mod null_switch;

use figures::{between, document};
use null_switch::{LOCKING, Lists, NullSwitch, PROCESSOR, Vnic};
use std::env;
use std::fmt::Write as _;
use std::hint::black_box;
use std::io::{BufRead, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const CHAIN: usize = 32;
const FLOWS: usize = 1024;
const PORT: u16 = 5;
const SLICES: usize = 10;
const SLICE: Duration = Duration::from_millis(2);
/// `NDIS_SEND_FLAGS_SWITCH_SINGLE_SOURCE`.
const FLAGS: u32 = 0x20;

struct Case {
    name: &'static str,
    packets: usize,
    bytes: usize,
    random: bool,
    guest_can_write: bool,
    way: Way,
    locks: Locks,
}

/// What is measured.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Send,
    /// And the completion of what was sent, which DPDK leaves to the driver of the member.
    SendAndComplete,
    /// From a member to the machine. DPDK's bond does not look at these packets.
    Receive,
}

/// Whether the driver's locks exclude, with the instructions that lock a bus line, and who else sends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Locks {
    Free,
    Real,
    /// Another processor does the same all the time.
    Shared,
}

const fn case(name: &'static str, packets: usize) -> Case {
    Case {
        name,
        packets,
        bytes: 64,
        random: false,
        guest_can_write: false,
        way: Way::Send,
        locks: Locks::Free,
    }
}

const CASES: [Case; 12] = [
    case("hot", 256),
    Case { random: true, ..case("random order, second cache", 1_024) },
    case("cold, in order", 8_192),
    Case { random: true, ..case("cold, random order", 8_192) },
    Case { random: true, ..case("beyond the caches, random order", 65_536) },
    Case { bytes: 1500, guest_can_write: true, ..case("hot, 1500 bytes, guest can write", 256) },
    Case { bytes: 1500, guest_can_write: true, ..case("cold, the same", 8_192) },
    Case { way: Way::SendAndComplete, ..case("hot, with completion", 256) },
    Case { way: Way::Receive, ..case("hot, received", 256) },
    Case { way: Way::Receive, random: true, ..case("random order, received", 8_192) },
    Case { locks: Locks::Real, ..case("hot, with locks", 256) },
    Case { locks: Locks::Shared, ..case("hot, two processors at once", 256) },
];

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (rounds, store) = match words.as_slice() {
        [] => (12, false),
        ["--store"] => (40, true),
        ["--rounds", rounds] => match rounds.parse() {
            Ok(rounds @ 1..=10_000) => (rounds, false),
            _ => return usage(),
        },
        _ => return usage(),
    };
    let processor = pin_to_one_processor();
    let peer = build_peer();
    if let Err(why) = &peer {
        eprintln!("without the peer: {why}");
    }
    println!("{}", HEAD.join("  "));
    let mut rows = Vec::new();
    for case in &CASES {
        if case.locks == Locks::Shared && processor == 0 {
            println!("{}: not measured, there is one processor", case.name);
            continue;
        }
        let row = match Row::measured(case, peer.as_deref().ok(), processor, rounds) {
            Ok(row) => row,
            Err(error) => {
                eprintln!("error: {}: {error}", case.name);
                return ExitCode::FAILURE;
            }
        };
        println!("{}", row.line());
        rows.push(row);
    }
    if store && peer.is_err() {
        eprintln!("error: nothing is stored without the peer");
        return ExitCode::FAILURE;
    }
    if store && let Err(error) = keep(&rows) {
        eprintln!("error: cannot write perf/README.md: {error}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

fn usage() -> ExitCode {
    eprintln!("usage: peer [--rounds 1..10000 | --store]");
    ExitCode::from(2)
}

const HEAD: [&str; 6] =
    ["working set                         ", "DPDK", "driver", "ratio", "call", "linking"];

/// Median nanoseconds a packet, over all rounds.
struct Row {
    name: &'static str,
    packets: usize,
    peer: Option<f64>,
    /// Of the peer: a port that sends nothing.
    call: Option<f64>,
    driver: f64,
    /// Of the driver's side: the lists are linked and nothing is sent.
    linking: f64,
    /// The median of the rounds' own ratios.
    ratio: Option<f64>,
}

impl Row {
    fn measured(case: &Case, peer: Option<&Path>, processor: usize, rounds: usize) -> std::io::Result<Self> {
        let switch = switch();
        let mut lists = lists(case);
        let mut peer = peer.map(|program| Peer::start(program, case, processor)).transpose()?;
        let (mut peers, mut calls, mut drivers, mut links, mut ratios) =
            (vec![], vec![], vec![], vec![], vec![]);
        slice(&mut lists, |chain| work(&switch, case.way, chain));
        if case.way == Way::Receive {
            assert_eq!(lists.destinations(0), 1, "for the machine");
        }
        for _ in 0..rounds {
            LOCKING.store(case.locks != Locks::Free, Ordering::SeqCst);
            let done = AtomicBool::new(false);
            let driver = std::thread::scope(|scope| {
                if case.locks == Locks::Shared {
                    scope.spawn(|| work_until(&switch, case, &done));
                }
                let driver = median_of_slices(&mut lists, |chain| work(&switch, case.way, chain));
                done.store(true, Ordering::SeqCst);
                driver
            });
            LOCKING.store(false, Ordering::SeqCst);
            drivers.push(driver);
            links.push(median_of_slices(&mut lists, drop));
            if let Some(peer) = &mut peer {
                let [bond, _, call, _] = peer.answer()?;
                peers.push(bond);
                calls.push(call);
                ratios.push(driver / bond);
            }
        }
        let some = |figures: Vec<f64>| (!figures.is_empty()).then(|| median(figures));
        Ok(Self {
            name: case.name,
            packets: case.packets,
            peer: some(peers),
            call: some(calls),
            driver: median(drivers),
            linking: median(links),
            // What compares nothing has no ratio.
            ratio: some(ratios).filter(|_| case.way != Way::Receive),
        })
    }

    fn line(&self) -> String {
        let shown = |figure: Option<f64>| figure.map_or("-".to_owned(), |figure| format!("{figure:.1}"));
        format!(
            "{:<36}  {:>4}  {:>6.1}  {:>5}  {:>4}  {:>7.1}",
            self.name,
            shown(self.peer),
            self.driver,
            self.ratio.map_or("-".to_owned(), |ratio| format!("{ratio:.2}")),
            shown(self.call),
            self.linking
        )
    }
}

fn switch() -> NullSwitch {
    let [high, low] = PORT.to_be_bytes();
    NullSwitch::start(4, &[Vnic { port: PORT.into(), mac: [2, 0, 0, 0, high, low] }])
}

fn work(switch: &NullSwitch, way: Way, chain: *mut lbfoext::ndis::raw::NetBufferList) {
    switch.send(chain, FLAGS);
    if way == Way::SendAndComplete {
        switch.complete_all();
    }
}

/// Another processor, with packets of its own.
fn work_until(switch: &NullSwitch, case: &Case, done: &AtomicBool) {
    pin_to(0);
    PROCESSOR.set(1);
    let mut lists = lists(case);
    while !done.load(Ordering::Relaxed) {
        for from in (0..lists.len()).step_by(CHAIN) {
            work(switch, case.way, black_box(lists.chain(from, CHAIN)));
        }
    }
}

fn lists(case: &Case) -> Lists {
    let mut frames = frames(case);
    let mut lists = if case.way == Way::Receive {
        // The machine's address is their destination.
        frames.iter_mut().for_each(|frame| frame[..12].rotate_left(6));
        Lists::new(&frames, null_switch::EXTERNAL_PORT as u16).through(1)
    } else {
        Lists::new(&frames, PORT)
    };
    if case.random {
        lists = lists.shuffled();
    }
    if case.guest_can_write {
        lists = lists.unsafe_data();
    }
    lists
}

/// The frames of `perf/peer/dpdk_bond.c`.
fn frames(case: &Case) -> Vec<Vec<u8>> {
    let mut random = 2_463_534_242_u32;
    let mut next = || {
        random ^= random << 13;
        random ^= random >> 17;
        random ^= random << 5;
        random
    };
    let flows: Vec<_> = (0..FLOWS)
        .map(|_| {
            let (from, to) = (0x0A00_0000 | next() & 0xFFFF, 0x0A01_0000 | next() & 0xFFFF);
            let ports = ((1024 + next() % 60_000) as u16, if next() & 1 == 1 { 443_u16 } else { 80 });
            (from, to, ports, next() as u8)
        })
        .collect();
    (0..case.packets)
        .map(|_| {
            let (from, to, ports, mac) = flows[next() as usize % FLOWS];
            let mut frame = vec![2, 0, 0, 0, 0xF9, mac, 2, 0, 0, 0, 0, PORT as u8, 8, 0, 0x45, 0];
            frame.extend(((case.bytes - 14) as u16).to_be_bytes());
            frame.extend([0, 0, 0, 0, 64, 6, 0, 0]);
            frame.extend(from.to_be_bytes());
            frame.extend(to.to_be_bytes());
            frame.extend(ports.0.to_be_bytes());
            frame.extend(ports.1.to_be_bytes());
            frame.extend([0, 0, 0, 0, 0, 0, 0, 0, 0x50]);
            frame.resize(case.bytes, 0);
            frame
        })
        .collect()
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

fn median_of_slices(lists: &mut Lists, mut send: impl FnMut(*mut lbfoext::ndis::raw::NetBufferList)) -> f64 {
    median((0..SLICES).map(|_| slice(lists, &mut send)).collect())
}

/// Nanoseconds of the thread for each packet.
fn slice(lists: &mut Lists, mut send: impl FnMut(*mut lbfoext::ndis::raw::NetBufferList)) -> f64 {
    let (start, cpu) = (Instant::now(), thread_time());
    let mut sent = 0;
    while start.elapsed() < SLICE {
        for from in (0..lists.len()).step_by(CHAIN) {
            send(black_box(lists.chain(from, CHAIN)));
        }
        sent += lists.len();
    }
    (thread_time() - cpu) / sent as f64
}

/// In nanoseconds.
fn thread_time() -> f64 {
    const CLOCK_THREAD_CPUTIME_ID: i32 = 3;
    unsafe extern "C" {
        fn clock_gettime(clock: i32, time: *mut [i64; 2]) -> i32;
    }
    let mut time = [0; 2];
    // SAFETY: `timespec` of 64-bit Linux.
    unsafe { clock_gettime(CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    time[0] as f64 * 1e9 + time[1] as f64
}

/// The last one, which the peer inherits.
fn pin_to_one_processor() -> usize {
    let last = std::thread::available_parallelism().map_or(0, |all| all.get() - 1);
    pin_to(last);
    last
}

fn pin_to(processor: usize) {
    unsafe extern "C" {
        fn sched_setaffinity(process: i32, length: usize, mask: *const [u64; 16]) -> i32;
    }
    let mut mask = [0_u64; 16];
    mask[processor / 64 % 16] = 1 << (processor % 64);
    // SAFETY: a mask of the length that is given. A refusal leaves both where they are.
    unsafe { sched_setaffinity(0, size_of_val(&mask), &raw const mask) };
}

struct Peer {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

/// Builds the peer; why not, if it cannot be built here.
fn build_peer() -> Result<PathBuf, String> {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/peer/build.sh");
    let out = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/peer");
    let build = Command::new(root).arg(out).output().map_err(|error| format!("{root}: {error}"))?;
    if !build.status.success() {
        let said = String::from_utf8_lossy(&build.stderr);
        let first = said.lines().next().unwrap_or("it fails").to_owned();
        return Err(format!("{first}\n(Debian: apt-get install libdpdk-dev pkg-config gcc)"));
    }
    Ok(PathBuf::from(out).join("dpdk_bond"))
}

impl Peer {
    fn start(program: &Path, case: &Case, processor: usize) -> std::io::Result<Self> {
        // The EAL numbers them as it is told; its first one is measured.
        let processors = match case.locks {
            Locks::Shared => format!("0@{processor},1@0"),
            _ => format!("0@{processor}"),
        };
        let mut command = Command::new(program);
        command
            .args(["--no-huge", "--no-pci", "--no-shconf", "--no-telemetry", "-m", "512", "--log-level=1"])
            .args(["--lcores", &processors, "--", "-m", "4", "-f", &FLOWS.to_string()])
            .args(["-n", &case.packets.to_string(), "-z", &case.bytes.to_string()])
            .args(["-L", &SLICES.to_string(), "-t", &SLICE.as_secs_f64().to_string()])
            .args(case.random.then_some("-r"))
            .args((case.way == Way::Receive).then_some("-i"));
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(std::io::Error::other("no pipes"));
        };
        let mut peer = Self { child, input, output: BufReader::new(output) };
        let mut line = String::new();
        while line.trim() != "ready" {
            line.clear();
            if peer.output.read_line(&mut line)? == 0 {
                return Err(std::io::Error::other(format!("{} ended", program.display())));
            }
        }
        Ok(peer)
    }

    /// Median and least of the bond, median and least of the plain port.
    fn answer(&mut self) -> std::io::Result<[f64; 4]> {
        self.input.write_all(b"\n")?;
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        let figures: Vec<f64> = line.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        figures.try_into().map_err(|_| std::io::Error::other(format!("the peer said {line:?}")))
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const MARKS: [&str; 2] =
    ["<!-- peer: `cargo bench -p perf --bench peer -- --store` writes it -->\n", "<!-- end of peer -->\n"];

/// Writes the table into the document.
fn keep(rows: &[Row]) -> std::io::Result<()> {
    let mut table = format!(
        "{}, one run, ns a packet:\n\n| working set | packets | DPDK | driver | ratio | of these: a call | linking |\n\
         |---|--:|--:|--:|--:|--:|--:|\n",
        processor()
    );
    for row in rows {
        let _ = writeln!(
            table,
            "| {} | {} | {:.1} | {:.1} | {} | {:.1} | {:.1} |",
            row.name,
            figures::digits(row.packets as u64),
            row.peer.unwrap_or(f64::NAN),
            row.driver,
            row.ratio.map_or("-".to_owned(), |ratio| format!("{ratio:.2}")),
            row.call.unwrap_or(f64::NAN),
            row.linking
        );
    }
    let text = std::fs::read_to_string(document())?;
    std::fs::write(document(), between(&text, MARKS, &table))
}

fn processor() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    name.map_or("An unknown processor".to_owned(), |(_, name)| name.trim().to_owned())
}
