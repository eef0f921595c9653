//! `teamctl replay`: a capture through the driver in a simulated switch, with a member that fails and returns.

use crate::args::{Mode, PolicyName, Replay, Speed, When};
use crate::capture::{self, Capture, Frame};
use crate::flows::{self, Change, ChangeKind, Leg, Numbers};
use crate::hosts::Hosts;
use crate::print;
use anyhow::bail;
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;
use teaming::flow::{self, Policy};
use teaming::frame;
use teaming::ids::{NicId, NicIndex, PortId};
use vswitch::frames::Fate;
use vswitch::outcome::Outcome;
use vswitch::physical_switch::Aggregation;
use vswitch::registry::Value;
use vswitch::scenario::{Net, Scenario};

/// Frames that leave the same adapter within this time travel as one chain.
const BURST: Duration = Duration::from_micros(50);
/// Longest chain.
const CHAIN: usize = 32;
/// From the loss of a link to its indication.
const INDICATED_AFTER: Duration = Duration::from_millis(5);
/// Ways to the far end, as unlike as a congested path and a free one, but less than the driver waits by default: the gap
/// of 500 us and a clock tick of 15.6 ms.
const LATENCIES_MS: [u64; 4] = [6, 12, 1, 9];
/// 100 ns units in a microsecond.
const MICROSECOND: u64 = 10;

/// What the replay found; `--json` prints it as it is.
#[derive(Serialize)]
pub struct Report {
    pub frames: usize,
    pub flows: usize,
    pub driver: &'static str,
    pub members: Vec<Member>,
    pub events: Vec<Event>,
    pub imbalance: f64,
    pub imbalance_floor: f64,
    pub reordered_frames: u64,
    pub dropped: BTreeMap<String, usize>,
    pub native: usize,
    /// Frames whose end nobody knows.
    pub unaccounted: usize,
    pub violations: usize,
    pub rules_exercised: usize,
    pub leaks: usize,
    #[serde(skip)]
    pub facts: Facts,
}

#[derive(Serialize)]
pub struct Member {
    pub index: u16,
    pub frames: u64,
    pub bytes: u64,
    pub flows: u64,
    #[serde(skip)]
    pub speed: u64,
}

#[derive(Serialize)]
pub struct Event {
    pub kind: &'static str,
    pub member: u16,
    pub at_frame: usize,
    pub flows_moved: u64,
    pub flows_moved_needlessly: u64,
    pub frames_to_dead_member: usize,
    pub frames_lost_before_indication: usize,
    #[serde(skip)]
    pub at: Duration,
}

/// What only the text says.
pub struct Facts {
    pub capture: String,
    pub length: Duration,
    pub cut: usize,
    pub machines: usize,
    pub delivered_inside: usize,
    pub uplink: usize,
    pub details: Vec<String>,
}

/// True if every guarantee held.
pub fn run(arguments: &Replay) -> anyhow::Result<bool> {
    let capture = match &arguments.capture {
        Some(path) => capture::read(path)?,
        None => capture::bundled()?,
    };
    let hosts = Hosts::find(&capture.frames, &arguments.inside)?;
    let speeds = speeds(arguments);
    let length = capture.frames.last().map_or(Duration::ZERO, |last| last.at);
    let plan = plan(arguments, speeds.len(), length)?;
    let net = start(arguments, &speeds, &hosts);
    let changes = play(&net, &capture.frames, &hosts, &plan);
    let outcome = net.finish();
    let report = evaluate(arguments, &capture, &hosts, &speeds, &changes, &outcome);
    if arguments.json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        print::replay(arguments, &report);
    }
    Ok(report.is_fine(arguments))
}

fn speeds(arguments: &Replay) -> Vec<u64> {
    if arguments.speeds.is_empty() {
        vec![10_000_000_000; usize::from(arguments.members.unwrap_or(4))]
    } else {
        arguments.speeds.iter().map(|Speed(bits)| *bits).collect()
    }
}

/// A step of the story beside the frames.
#[derive(Clone, Copy)]
struct Step {
    at: Duration,
    member: u16,
    what: What,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum What {
    Pull,
    IndicateDown,
    Restore,
}

/// The failures and returns in order of time; each names a member that exists.
fn plan(arguments: &Replay, members: usize, length: Duration) -> anyhow::Result<Vec<Step>> {
    if members > 32 {
        bail!("--speeds names {members} members; a team has at most 32");
    }
    let mut steps = Vec::new();
    let mut failing = Vec::new();
    for (option, events) in [("--fail", &arguments.fail), ("--restore", &arguments.restore)] {
        for event in events {
            let When::At { member, time } = *event else { continue };
            if member == 0 || usize::from(member) > members {
                bail!(
                    "{option} names member {member}, but the team has members 1 to {members}; choose one of them"
                );
            }
            let at = time.of(length);
            if at > length {
                bail!(
                    "{option} {member}@{:.3} lies behind the end of the capture, which is {:.3} s long",
                    at.as_secs_f64(),
                    length.as_secs_f64()
                );
            }
            if option == "--fail" {
                failing.push(member);
                steps.push(Step { at, member, what: What::Pull });
                steps.push(Step { at: at + INDICATED_AFTER, member, what: What::IndicateDown });
            } else if failing.contains(&member) {
                steps.push(Step { at, member, what: What::Restore });
            }
        }
    }
    steps.sort_by_key(|step| step.at);
    Ok(steps)
}

/// A switch with one machine for each inside adapter, at the addresses of the capture.
fn start(arguments: &Replay, speeds: &[u64], hosts: &Hosts) -> Net {
    let aggregation = match arguments.mode {
        Mode::Static => Aggregation::Static,
        Mode::SwitchIndependent => Aggregation::SwitchIndependent,
    };
    let policy = match arguments.policy {
        PolicyName::TransportPorts => 0,
        PolicyName::HyperVPort => 4,
    };
    let gigabits: Vec<u64> = speeds.iter().map(|bits| (bits / 1_000_000_000).max(1)).collect();
    let net = Scenario::new(arguments.seed)
        .members(&gigabits)
        .vms(u16::try_from(hosts.macs().len()).unwrap_or(u16::MAX))
        .aggregation(aggregation)
        .setting("LoadBalancingAlgorithm", Value::Dword(policy))
        .setting("FlowletGapUs", Value::Dword(arguments.gap_us))
        .setting("LinkUpDelayMs", Value::Dword(arguments.up_delay_ms))
        .style(|style| style.unsafe_data = 20)
        .start();
    net.look(|state| {
        let adapters = state.modules[0].outside.adapters.values_mut();
        for (adapter, (&speed, number)) in adapters.zip(speeds.iter().zip(1usize..)) {
            adapter.bits_per_second = speed;
            // Unlike ways to the far end, each varying: moving a flow carelessly shows as reordering.
            adapter.latency = LATENCIES_MS[number % LATENCIES_MS.len()] * 1_000 * MICROSECOND;
            adapter.jitter = 1_000 * MICROSECOND;
        }
    });
    for (number, mac) in (0..).zip(hosts.macs()) {
        net.readdress(net.vm(number), mac.0);
    }
    if speeds.iter().any(|speed| speed % 1_000_000_000 != 0) {
        (1..).zip(speeds).for_each(|(member, _)| net.indicate(member, true));
    }
    net
}

/// Sends the frames at their times and takes the steps between them. Gives the steps as changes of the team.
fn play(net: &Net, frames: &[Frame], hosts: &Hosts, plan: &[Step]) -> Vec<(Change, Duration)> {
    let start = net.now();
    let mut to_come = plan.iter();
    let mut next_step = to_come.next();
    let mut changes = Vec::new();
    let mut up: Vec<u16> =
        net.look(|s| s.modules[0].outside.adapters.keys().copied().collect()).unwrap_or_default();
    let until = |at: Duration| {
        let target = start + u64::try_from(at.as_nanos() / 100).unwrap_or(u64::MAX);
        net.advance(target.saturating_sub(net.now()));
    };
    let mut sent = 0;
    while sent < frames.len() {
        let at = frames[sent].at;
        if let Some(step) = next_step.filter(|step| step.at <= at) {
            until(step.at);
            match step.what {
                What::Pull => {
                    net.pull(step.member);
                    up.retain(|member| *member != step.member);
                }
                What::IndicateDown => {
                    net.indicate(step.member, false);
                    changes.push((
                        Change { member: step.member, at_frame: sent, kind: ChangeKind::Down },
                        step.at,
                    ));
                }
                What::Restore => {
                    net.restore(step.member);
                    up.push(step.member);
                    changes.push((
                        Change { member: step.member, at_frame: sent, kind: ChangeKind::Up },
                        step.at,
                    ));
                }
            }
            next_step = to_come.next();
            continue;
        }
        until(at);
        let horizon = next_step.map_or(Duration::MAX, |step| step.at);
        let burst = burst(&frames[sent..], horizon);
        let bytes: Vec<_> = burst.iter().map(|frame| frame.bytes.clone()).collect();
        let headers = frame::parse(&frames[sent].bytes);
        match hosts.machine(headers.source) {
            Some(machine) => net.send(net.vm(u16::try_from(machine).unwrap_or(0)), &bytes),
            // The physical switch has a hash of its own.
            None => {
                let spread =
                    identity(&frames[sent].bytes).bytes().iter().map(|&b| usize::from(b)).sum::<usize>();
                if let Some(member) = up.get(spread % up.len().max(1)) {
                    net.receive_from_outside(*member, &bytes);
                }
            }
        }
        sent += burst.len();
    }
    net.settle();
    changes
}

/// The frames at the front that one adapter sent together.
fn burst(frames: &[Frame], horizon: Duration) -> &[Frame] {
    let source = |frame: &Frame| frame::parse(&frame.bytes).source;
    let Some(first) = frames.first() else { return frames };
    let together = |frame: &&Frame| {
        frame.at < horizon && frame.at.saturating_sub(first.at) <= BURST && source(frame) == source(first)
    };
    let count = frames.iter().take(CHAIN).take_while(together).count().max(1);
    &frames[..count]
}

/// What a flow is to the tool: addresses and ports, as far as the frame has them.
fn identity(bytes: &[u8]) -> flow::FlowKey {
    let window = &bytes[..bytes.len().min(frame::WINDOW_MAX)];
    flow::key(&frame::parse(window), Policy::TransportPorts, NicId::new(PortId::DEFAULT, NicIndex::DEFAULT))
}

fn evaluate(
    arguments: &Replay,
    capture: &Capture,
    hosts: &Hosts,
    speeds: &[u64],
    changes: &[(Change, Duration)],
    outcome: &Outcome,
) -> Report {
    let mut numbers = Numbers::default();
    let flow_of: Vec<u32> = outcome.frames.iter().map(|frame| numbers.of(identity(&frame.bytes))).collect();
    let arrived: BTreeMap<usize, u64> =
        outcome.arrivals.iter().map(|arrival| (arrival.frame, arrival.at)).collect();
    let legs: Vec<Leg> = outcome
        .assignments
        .iter()
        .filter_map(|assignment| {
            Some(Leg {
                frame: assignment.frame,
                flow: *flow_of.get(assignment.frame)?,
                bytes: outcome.frames.get(assignment.frame)?.bytes.len() as u64,
                member: assignment.member,
                arrived: arrived.get(&assignment.frame).copied(),
            })
        })
        .collect();
    let only_changes: Vec<Change> = changes.iter().map(|(change, _)| *change).collect();
    let moves = flows::moves(&legs, &only_changes);
    let (imbalance, imbalance_floor) = flows::imbalance(&legs, speeds);
    let events = changes.iter().zip(moves).enumerate().map(|(number, ((change, at), moves))| {
        let down = change.kind == ChangeKind::Down;
        let until =
            only_changes[number..].iter().find(|c| c.member == change.member && c.kind == ChangeKind::Up);
        let dead = change.at_frame..until.map_or(usize::MAX, |c| c.at_frame);
        let to_dead =
            legs.iter().filter(|leg| leg.member == change.member && dead.contains(&leg.frame)).count();
        let lost =
            outcome.count(|f| matches!(f, Fate::LostBeforeIndication { member } if *member == change.member));
        Event {
            kind: if down { "down" } else { "up" },
            member: change.member,
            at_frame: change.at_frame,
            flows_moved: moves.flows,
            flows_moved_needlessly: moves.needlessly,
            frames_to_dead_member: if down { to_dead } else { 0 },
            frames_lost_before_indication: if down { lost } else { 0 },
            at: *at,
        }
    });
    let members = flows::shares(&legs, speeds.len()).into_iter().zip(speeds).zip(1..);
    Report {
        frames: capture.frames.len(),
        flows: numbers.len(),
        driver: "native",
        members: members
            .map(|((share, &speed), index)| Member {
                index,
                frames: share.frames,
                bytes: share.bytes,
                flows: share.flows,
                speed,
            })
            .collect(),
        events: events.collect(),
        imbalance,
        imbalance_floor,
        reordered_frames: flows::reordered(&legs),
        dropped: outcome.drops().into_iter().map(|(reason, count)| (reason.to_owned(), count)).collect(),
        native: outcome.count(|fate| *fate == Fate::Native),
        unaccounted: outcome.frames.iter().filter(|frame| frame.fates.is_empty()).count(),
        violations: outcome.violations.len(),
        rules_exercised: outcome.exercised.values().filter(|count| **count != 0).count(),
        leaks: outcome.leaks.len(),
        facts: Facts {
            capture: arguments
                .capture
                .as_ref()
                .map_or("bundled recording".into(), |path| path.display().to_string()),
            length: capture.frames.last().map_or(Duration::ZERO, |last| last.at),
            cut: capture.cut,
            machines: hosts.macs().len(),
            delivered_inside: outcome
                .count(|fate| matches!(fate, Fate::Delivered { to, .. } if to.index == 0)),
            uplink: legs.len(),
            details: outcome
                .violations
                .iter()
                .map(ToString::to_string)
                .chain(outcome.leaks.clone())
                .take(5)
                .collect(),
        },
    }
}

impl Report {
    /// Every guarantee held. Without a gap flows are moved at once, and nobody promises order.
    pub fn is_fine(&self, arguments: &Replay) -> bool {
        let moved = self.events.iter().all(|e| e.flows_moved_needlessly == 0 && e.frames_to_dead_member == 0);
        let ordered = self.reordered_frames == 0 || arguments.gap_us == 0;
        moved && ordered && self.violations == 0 && self.leaks == 0 && self.unaccounted == 0
    }
}
