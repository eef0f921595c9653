//! How long the driver runs at DISPATCH_LEVEL: every handler, the timer and each hold of a lock, in a switch of 1,000 ports,
//! 4,000 multicast groups, 32 members and 256 processors. `cargo bench -p perf --bench holds`; needs valgrind.
//!
//! At most 100 us are allowed (guidelines-for-writing-dpc-routines). The bench compares instructions with limits, because they
//! do not depend on what else the machine does, and prints times. `-- --store` writes the table into `perf/README.md`.

#[allow(dead_code, reason = "the bench of packets uses the rest")]
mod figures;
mod null_switch;

use figures::{between, digits, document};
use lbfoext::ndis::raw::oids;
use null_switch::probe::{Counting, LONGEST, count};
use null_switch::{GAP_US, Lists, MODE, NOW, NullSwitch, PROCESSORS, Vnic};
use std::collections::BTreeMap;
use std::env;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::atomic::Ordering;

/// The most instructions of a handler, of a timer function or of a lock hold; some 15 us on this machine.
const MOST: u64 = 150_000;
/// The most where a member's link goes, comes back or changes: half of what the plainest of them took while the table was
/// changed in place.
const MOST_OF_LINKS: u64 = 75_000;
/// The most where a member fails before it is known who gets its buckets, so that unlike members bid for them; some 45 us on
/// this machine. The number of bids is bounded (`WORK_MOST` of `teaming/src/team/lending.rs`).
const MOST_OF_BIDS: u64 = 450_000;
/// The most instructions for which packets wait, where only the table of buckets changes; below 1 us.
const MOST_OF_WAIT: u64 = 1_500;
const PORTS: u16 = 1_000;
const FIRST: u16 = 5;
const GROUPS_EACH: u8 = 4;
const MEMBERS: u16 = 32;

/// One thing that happens; what is done before it is not counted.
struct Act {
    name: &'static str,
    /// A handler that is called at PASSIVE_LEVEL, or whose work is as much as it is given: only its holds are judged.
    holds_only: bool,
    most: u64,
    /// Of the holds for writing.
    most_of_wait: u64,
    run: fn(),
}

const fn act(name: &'static str, run: fn()) -> Act {
    Act { name, holds_only: false, most: MOST, most_of_wait: MOST, run }
}

const fn holds(name: &'static str, run: fn()) -> Act {
    Act { holds_only: true, ..act(name, run) }
}

const fn up_to(most: u64, act: Act) -> Act {
    Act { most, most_of_wait: MOST_OF_WAIT, ..act }
}

const fn of_links(name: &'static str, run: fn()) -> Act {
    up_to(MOST_OF_LINKS, act(name, run))
}

const ACTS: &[Act] = &[
    of_links("link down, 2 members", || link(2, ALIKE, false)),
    of_links("link down, 4 members", || link(4, ALIKE, false)),
    of_links("link down, 32 members", || link(MEMBERS, ALIKE, false)),
    of_links("link down, 3 members, unlike speeds", || link(3, UNLIKE, false)),
    of_links("link down, 4 members, unlike speeds", || link(4, UNLIKE, false)),
    of_links("link down, 32 members, unlike speeds", || link(MEMBERS, UNLIKE, false)),
    of_links("link down, the only fast one of 32 members", || link(MEMBERS, ONE_FAST, false)),
    up_to(MOST_OF_BIDS, act("links down, two of 4 members one after the other", || links(4, ALIKE))),
    up_to(
        MOST_OF_BIDS,
        act("links down, two of 32 unlike members one after the other", || links(MEMBERS, ONE_FAST)),
    ),
    of_links("link up, 2 members", || link(2, ALIKE, true)),
    of_links("link up, 2 members, FlowletGapUs 500", || {
        GAP_US.store(500, Ordering::Relaxed);
        link(2, ALIKE, true);
    }),
    of_links("link up, 32 members", || link(MEMBERS, ALIKE, true)),
    of_links("link up, 32 members, unlike speeds", || link(MEMBERS, UNLIKE, true)),
    of_links("speed of a member changes", || {
        changed_speed();
    }),
    act("timer: home map, all steps and the last", || {
        let switch = counted_later(changed_speed);
        for _ in 0..40 {
            later(1_000);
            switch.tick();
        }
    }),
    act("timer: all buckets wait", || {
        let switch = counted_later(|| {
            GAP_US.store(1_000_000, Ordering::Relaxed);
            let switch = changed_speed();
            ticks(&switch, 40);
            switch
        });
        switch.tick();
    }),
    act("timer: buckets move after silence", || {
        let switch = counted_later(|| {
            GAP_US.store(1_000, Ordering::Relaxed);
            let switch = changed_speed();
            ticks(&switch, 40);
            switch
        });
        later(1_000_000);
        switch.tick();
    }),
    act("member unbound", || {
        let switch = full();
        switch.nic(oids::SWITCH_NIC_DISCONNECT, 1, 7);
        switch.nic(oids::SWITCH_NIC_DELETE, 1, 7);
    }),
    act("member bound", || {
        let switch = counted_later(|| {
            let switch = full();
            switch.nic(oids::SWITCH_NIC_DISCONNECT, 1, 7);
            switch.nic(oids::SWITCH_NIC_DELETE, 1, 7);
            switch
        });
        switch.nic(oids::SWITCH_NIC_CREATE, 1, 7);
        switch.nic(oids::SWITCH_NIC_CONNECT, 1, 7);
    }),
    act("port and vNIC come and go", || {
        let switch = full();
        let port = 900;
        switch.nic(oids::SWITCH_NIC_DISCONNECT, port, 0);
        switch.nic(oids::SWITCH_NIC_DELETE, port, 0);
        switch.port(oids::SWITCH_PORT_TEARDOWN, port);
        switch.port(oids::SWITCH_PORT_DELETE, port);
        switch.port(oids::SWITCH_PORT_CREATE, port);
        switch.nic(oids::SWITCH_NIC_CREATE, port, 0);
        switch.nic(oids::SWITCH_NIC_CONNECT, port, 0);
        switch.nic(oids::SWITCH_NIC_UPDATED, port, 0);
    }),
    act("a guest lists 64 groups", || {
        let switch = full();
        switch.groups(oids::IEEE_802_3_MULTICAST_LIST, 500, &mut groups(64));
        switch.groups(oids::IEEE_802_3_MULTICAST_LIST, 500, &mut groups(63));
    }),
    act("a guest adds and leaves 60 groups", || {
        let switch = full();
        switch.groups(oids::IEEE_802_3_ADD_MULTICAST_ADDRESS, 500, &mut groups(60));
        switch.groups(oids::IEEE_802_3_DELETE_MULTICAST_ADDRESS, 500, &mut groups(60));
    }),
    act("a guest lists 100,000 groups", || {
        let switch = full();
        switch.groups(oids::IEEE_802_3_MULTICAST_LIST, 500, &mut groups(100_000));
        switch.groups(oids::IEEE_802_3_ADD_MULTICAST_ADDRESS, 501, &mut groups(100_000));
        switch.groups(oids::IEEE_802_3_DELETE_MULTICAST_ADDRESS, 502, &mut groups(100_000));
    }),
    holds("the port table grows", || {
        let switch = full();
        (2_000..2_100).for_each(|port| switch.port(oids::SWITCH_PORT_CREATE, port));
    }),
    holds("the status of the team is asked for", || full().team_status()),
    holds("restart: the switch is read", || {
        start(MEMBERS, PORTS);
    }),
    holds("restart under HyperVPort: every machine takes a seat", || {
        MODE.store(1, Ordering::Relaxed);
        start(MEMBERS, PORTS);
    }),
    act("port and vNIC come and take a seat under HyperVPort", || {
        let port = 900;
        let switch = counted_later(|| {
            MODE.store(1, Ordering::Relaxed);
            let switch = full();
            switch.nic(oids::SWITCH_NIC_DISCONNECT, port, 0);
            switch.nic(oids::SWITCH_NIC_DELETE, port, 0);
            switch
        });
        switch.nic(oids::SWITCH_NIC_CREATE, port, 0);
        switch.nic(oids::SWITCH_NIC_CONNECT, port, 0);
    }),
    holds("a chain of 256 packets to the external port", || chain(false)),
    holds("a chain of 32 packets for everyone", || chain(true)),
];

/// What stands before what is counted.
fn counted_later<T>(prepare: impl FnOnce() -> T) -> T {
    let counting = count(Counting::Nothing);
    let value = prepare();
    count(counting);
    value
}

/// The timer expires so often, if it is set.
fn ticks(switch: &NullSwitch, count: usize) {
    (0..count).for_each(|_| {
        switch.tick();
    });
}

fn later(microseconds: u64) {
    NOW.fetch_add(10 * microseconds, Ordering::Relaxed);
}

fn start(members: u16, ports: u16) -> NullSwitch {
    PROCESSORS.store(256, Ordering::Relaxed);
    let vnics: Vec<_> = (FIRST..FIRST + ports)
        .map(|port| {
            let [high, low] = port.to_be_bytes();
            Vnic { port: port.into(), mac: [2, 0, 0, 0, high, low] }
        })
        .collect();
    NullSwitch::start(members, &vnics)
}

/// The full switch, with every home map made.
fn full_of(members: u16) -> NullSwitch {
    counted_later(|| {
        let switch = start(members, PORTS);
        for port in FIRST..FIRST + PORTS {
            let [high, low] = port.to_be_bytes();
            let mut groups: Vec<_> = (0..GROUPS_EACH).map(|n| [1, 0, 0x5E, high, low, n]).collect();
            switch.groups(oids::IEEE_802_3_MULTICAST_LIST, port.into(), &mut groups);
        }
        ticks(&switch, 100);
        switch
    })
}

fn full() -> NullSwitch {
    full_of(MEMBERS)
}

fn groups(count: u32) -> Vec<[u8; 6]> {
    (0..count)
        .map(|n| {
            let [_, a, b, c] = n.to_be_bytes();
            [1, 0, 0x5E, a, b, c]
        })
        .collect()
}

/// Speed of a member in bits per second.
type Speed = fn(u16) -> u64;
const ALIKE: Speed = |_| 10_000_000_000;
/// No two are alike; the first, which goes down, has the largest share.
const UNLIKE: Speed = |member| 10_000_000_000 - 100_000_000 * u64::from(member);

/// The first carries most buckets, and 31 others bid for each of them.
const ONE_FAST: Speed = |member| if member == 1 { 100_000_000_000 } else { UNLIKE(member) / 10 };

/// The first member's link goes down, or comes back.
fn link(members: u16, speed: Speed, up: bool) {
    let switch = counted_later(|| {
        let switch = full_of(members);
        (1..=members).for_each(|member| switch.link_at(member, true, speed(member)));
        ticks(&switch, 100);
        if up {
            switch.link_at(1, false, speed(1));
        }
        switch
    });
    switch.link_at(1, up, speed(1));
}

/// Two links go down, the second before the timer has asked who would get its buckets.
fn links(members: u16, speed: Speed) {
    let switch = counted_later(|| {
        let switch = full_of(members);
        (1..=members).for_each(|member| switch.link_at(member, true, speed(member)));
        ticks(&switch, 100);
        switch.link_at(2, false, speed(2));
        switch
    });
    switch.link_at(1, false, speed(1));
}

fn changed_speed() -> NullSwitch {
    let switch = full();
    switch.link_at(1, true, 25_000_000_000);
    switch
}

fn chain(flood: bool) {
    let switch = full();
    let mut frame = vec![0x02, 0, 0, 0, 9, 9, 0x02, 0, 0, 0, 0, 5, 0x08, 0x00];
    frame.extend([0x45, 0, 0, 200, 0, 0, 0, 0, 64, 6, 0, 0, 10, 0, 0, 5, 192, 0, 2, 1, 4, 0, 1, 187]);
    frame.resize(214, 0);
    if flood {
        frame[..6].fill(0xFF);
        let mut lists = Lists::with_room(&vec![frame; 32], FIRST);
        switch.send(lists.chain(0, 32), 0x20);
    } else {
        let mut lists = Lists::new(&vec![frame; 256], FIRST);
        switch.send(lists.chain(0, 256), 0x20);
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["--run", name, counting] => run(name, counting),
        [] => measure("", false),
        ["--store"] => measure("", true),
        [part] if !part.starts_with('-') => measure(part, false),
        _ => {
            eprintln!("usage: holds [PART OF A NAME | --store]");
            ExitCode::from(2)
        }
    }
}

/// One act; this is what runs under callgrind.
fn run(name: &str, counting: &str) -> ExitCode {
    let Some(act) = ACTS.iter().find(|act| act.name == name) else { return ExitCode::from(2) };
    let counting = match counting {
        "holds" => Counting::Holds,
        "writes" => Counting::Writes,
        _ => Counting::Handlers,
    };
    count(counting);
    (act.run)();
    count(Counting::Nothing);
    println!("{}", LONGEST.get().as_nanos());
    ExitCode::SUCCESS
}

fn measure(part: &str, store: bool) -> ExitCode {
    let mut table = String::from(
        "| what happens | handlers | instructions | us | holds of a lock | instructions | us | for writing | us |\n\
         |---|--:|--:|--:|--:|--:|--:|--:|--:|\n",
    );
    print!("{table}");
    let mut over = Vec::new();
    for act in ACTS.iter().filter(|act| act.name.contains(part)) {
        let [handlers, holds, writes] = std::thread::scope(|scope| {
            ["handlers", "holds", "writes"]
                .map(|counting| scope.spawn(move || counts(act, counting)))
                .map(|thread| thread.join().ok().flatten())
        });
        let (Some(handlers), Some(holds), Some(writes)) = (handlers, holds, writes) else {
            eprintln!("error: callgrind gave no count; install valgrind");
            return ExitCode::from(2);
        };
        let most = |counts: &[u64]| counts.iter().copied().max().unwrap_or(0);
        let longest = |counts: &[u64], counting| {
            let us = time(act, counting).map_or("-".to_owned(), |ns| format!("{:.1}", ns / 1_000.0));
            format!("{} | {us}", digits(most(counts)))
        };
        let cells = |counts: &[u64], counting| format!("{} | {}", counts.len(), longest(counts, counting));
        let of_handlers = if act.holds_only { "- | - | -".to_owned() } else { cells(&handlers, "handlers") };
        let of_writes = longest(&writes, "writes");
        let row = format!("| {} | {of_handlers} | {} | {of_writes} |\n", act.name, cells(&holds, "holds"));
        print!("{row}");
        let _ = write!(table, "{row}");
        let handles_long = !act.holds_only && most(&handlers) > act.most;
        if most(&holds) > act.most || most(&writes) > act.most_of_wait || handles_long {
            over.push(act.name);
        }
    }
    if !over.is_empty() {
        eprintln!("error: more instructions than allowed: {}", over.join("; "));
        return ExitCode::FAILURE;
    }
    println!("none takes more instructions than allowed");
    if store && let Err(error) = keep(&table) {
        eprintln!("error: cannot write perf/README.md: {error}");
        return ExitCode::from(2);
    }
    ExitCode::SUCCESS
}

const BEGIN: &str = "<!-- holds: `cargo bench -p perf --bench holds -- --store` writes them -->\n";
const END: &str = "<!-- end of holds -->\n";

/// Writes the table into the document.
fn keep(table: &str) -> std::io::Result<()> {
    let text = std::fs::read_to_string(document())?;
    std::fs::write(document(), between(&text, [BEGIN, END], table))
}

/// Instructions of every handler, of every hold, or of every hold for writing, of an act.
fn counts(act: &Act, counting: &str) -> Option<Vec<u64>> {
    let folder = env::temp_dir().join(format!("holds-{}-{counting}", std::process::id()));
    std::fs::create_dir_all(&folder).ok()?;
    let succeeded = Command::new("valgrind")
        .args(["--tool=callgrind", "--collect-atstart=no"])
        .arg(format!("--callgrind-out-file={}", folder.join("counts").display()))
        .arg(env::current_exe().ok()?)
        .args(["--run", act.name, counting])
        .output()
        .is_ok_and(|output| output.status.success());
    let counts = succeeded.then(|| totals(&folder));
    std::fs::remove_dir_all(&folder).ok()?;
    counts
}

/// The totals of callgrind's dumps, in order; the last file is of what remained at the end and not asked for.
fn totals(folder: &Path) -> Vec<u64> {
    let number = |path: &PathBuf| path.extension().and_then(|end| end.to_str()?.parse::<u32>().ok());
    let files = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let dumps: BTreeMap<u32, PathBuf> = files.filter_map(|path| Some((number(&path)?, path))).collect();
    let total = |path: &PathBuf| {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let mut lines = text.lines().filter_map(|line| line.strip_prefix("totals: "));
        lines.next().and_then(|total| total.trim().parse().ok()).unwrap_or(0)
    };
    dumps.values().map(total).filter(|total| *total != 0).collect()
}

/// Nanoseconds of the longest of them; of five runs the least.
fn time(act: &Act, counting: &str) -> Option<f64> {
    let one = || {
        let run = Command::new(env::current_exe().ok()?).args(["--run", act.name, counting]).output().ok()?;
        String::from_utf8_lossy(&run.stdout).trim().parse::<f64>().ok()
    };
    (0..5).filter_map(|_| one()).min_by(f64::total_cmp)
}
