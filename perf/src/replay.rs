//! `teamctl replay`: a capture through the driver in a simulated switch, with members that fail and return.
//!
//! The capture is read twice: first to find the VMs and its length, then to send its frames. Finished frames are
//! removed from the simulation during the replay, so memory grows with the number of flows and not of frames.

use crate::args::{Mode, Replay};
use crate::capture::{Capture, Frame};
use crate::explain::model::{Model, Rules, vnic};
use crate::flow::Reader;
use crate::hosts::Hosts;
use crate::observer::{Observer, is_own};
use crate::output::{self, Files};
use crate::plan::{self, Step, What};
use crate::queues::{self, PLANS_AFTER, StageKind, Watch};
use crate::report::Report;
use crate::save::{self, Saved};
use crate::survey::Survey;
use crate::{html, print, simulated};
use anyhow::bail;
use indicatif::{ProgressBar, ProgressStyle};
use std::collections::{HashMap, VecDeque};
use std::time::Duration;
use teaming::flow::HashPolicy;
use teaming::frame;
use teaming::ids::{HashId, MacAddr, NicId, NicIndex, PortId};
use vswitch::adapter::capabilities::Capabilities;
use vswitch::adapter::network::wire::Wire;
use vswitch::adapter::physical_switch::Aggregation;
use vswitch::image::Image;
use vswitch::machine::registry::Value;
use vswitch::scenario::{Net, Scenario};
use vswitch::switch::frames::Frames;
use vswitch::switch::ndis::State;
use vswitch::switch::ports::policy::{LAST_VLAN, Property, Vlan};

/// Frames of the same adapter within this time are sent as one chain.
const BURST: Duration = Duration::from_micros(50);
/// Largest number of frames of a chain.
const CHAIN: usize = 32;
/// Latencies of the members to the far end. They differ as a congested and an idle path do, but by less than the
/// driver waits by default: the gap of 500 us and a clock tick of 15.6 ms.
const LATENCIES_MS: [u64; 4] = [6, 12, 1, 9];
/// A microsecond in units of 100 ns.
const MICROSECOND: u64 = 10;
/// Number of frames after which finished ones are removed from the simulation.
const SHIFT: usize = 2048;
/// Number of bursts that are sent with one entry into the simulation, because each entry switches threads twice.
const VISIT: usize = 256;
/// Largest delay of the driver's timer.
const TICK: Duration = Duration::from_millis(20);
/// Number of frames from which a progress bar is shown.
const LONG: usize = 50_000;

/// Runs the replay; returns whether every guarantee held.
pub fn run(arguments: &Replay) -> anyhow::Result<bool> {
    // Refused before the capture is read.
    arguments.tunnels.check(&[arguments.policy()?])?;
    files(arguments, arguments.speeds()?.len())?.check()?;
    let image = load(arguments)?;
    let capture = Capture::of(arguments.capture.as_deref())?;
    let survey = Survey::of(&capture, &arguments.which)?;
    let bar = progress(survey.frames);
    let report = simulate(arguments, image.as_ref(), &capture, &survey, &bar)?;
    bar.finish_and_clear();
    if let Some(path) = &arguments.report {
        output::write(path, &html::page(&report))?;
    }
    if arguments.json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        print::replay(&report);
    }
    Ok(report.is_fine())
}

/// What is read and written.
fn files(arguments: &Replay, members: usize) -> anyhow::Result<Files> {
    let saved = arguments.save.as_deref().map_or(Ok(Vec::new()), |path| save::files(path, members))?;
    let files = Files::default()
        .read("the capture", arguments.capture.as_deref())
        .read("the driver", arguments.image.as_deref())
        .written("--report", arguments.report.as_deref())
        .written("--save-host", arguments.save_host.as_deref());
    Ok(saved.iter().fold(files, |files, path| files.written("--save", Some(path))))
}

/// Plays the capture once. Adds each frame to `bar`.
pub fn simulate(
    arguments: &Replay,
    image: Option<&Image>,
    capture: &Capture,
    survey: &Survey,
    bar: &ProgressBar,
) -> anyhow::Result<Report> {
    let policy = arguments.policy()?;
    let speeds = arguments.speeds()?;
    let steps = plan::steps(arguments, speeds.len(), survey.length)?;
    let limits = queues::limits(arguments, speeds.len())?;
    let saved = arguments.save.as_deref().map(|path| Saved::create(path, speeds.len())).transpose()?;
    let net = start(arguments, image, &speeds, &limits, &survey.hosts)?;
    let placement = arguments.placement.unwrap_or_default();
    let watch = arguments.queues.then(|| Watch::start(&net, &survey.hosts, placement, limits));
    let reader =
        Reader::new(policy).with_tunnels_at(arguments.tunnels.ports()).with_seed(arguments.hash_seed);
    let hashed_as = hashed_as(arguments, policy, &speeds, survey.hosts.macs().len());
    let mut player = Player {
        hashed_as,
        up: (1..=u16::try_from(speeds.len()).unwrap_or(0)).collect(),
        began: net.now(),
        seen: Observer::new(reader, speeds.len(), survey.length),
        saved,
        reader,
        survey,
        net: &net,
        waiting: Vec::new(),
        sent: 0,
        watch,
        proven_after: Duration::from_millis(arguments.up_delay_ms.into()),
        independent: arguments.mode == Mode::SwitchIndependent,
    };
    player.play(capture, &steps, bar)?;
    let (seen, saved, watch) = (player.seen, player.saved, player.watch);
    let queues = watch.map(Watch::finish);
    if let Some(path) = &arguments.save_host {
        simulated::save(&net, path)?;
    }
    let (seen, outcome) = finish(net, seen);
    saved.map_or(Ok(()), Saved::close)?;
    Report::new(arguments, capture.to_string(), survey, &speeds, seen, queues, &outcome)
}

fn load(arguments: &Replay) -> anyhow::Result<Option<Image>> {
    let Some(path) = &arguments.image else { return Ok(None) };
    Image::load(path).map(Some).map_err(anyhow::Error::msg)
}

/// Starts a switch with one VM for each inside adapter, with the addresses of the capture.
fn start(
    arguments: &Replay,
    image: Option<&Image>,
    speeds: &[u64],
    limits: &[u32],
    hosts: &Hosts,
) -> anyhow::Result<Net> {
    let aggregation = match arguments.mode {
        Mode::Static => Aggregation::Static,
        Mode::SwitchIndependent => Aggregation::SwitchIndependent,
    };
    let mut scenario = Scenario::new(arguments.seed)
        .members(&vec![1; speeds.len()])
        .bits_per_second(0, speeds)
        .vms(u16::try_from(hosts.macs().len()).unwrap_or(u16::MAX))
        .aggregation(aggregation)
        .setting("TeamingMode", Value::Dword(arguments.mode.number()))
        .setting("LoadBalancingAlgorithm", Value::Dword(arguments.policy()?.number().into()))
        .setting("HashSeed", Value::Qword(arguments.hash_seed))
        .setting("FlowletGapUs", Value::Dword(arguments.gap_us))
        .setting("LinkUpDelayMs", Value::Dword(arguments.up_delay_ms))
        .style(|style| style.unsafe_data = 20)
        .config(|config| config.no_hash = true);
    for (name, port) in arguments.tunnels.settings() {
        scenario = scenario.setting(name, Value::Dword(port));
    }
    if arguments.queues {
        let limits = limits.to_vec();
        let limit = move |index: u16| limits.get(usize::from(index) - 1).copied().unwrap_or(0);
        let placement = arguments.placement.unwrap_or_default();
        scenario =
            scenario.setting("OffloadPlacement", Value::Dword(placement.number())).abilities(move |index| {
                Capabilities {
                    queues: limit(index),
                    filters: limit(index) * queues::FILTERS as u32,
                    ..Capabilities::default()
                }
            });
    }
    if let Some(image) = image {
        scenario = scenario.driver(image.entry());
    }
    let net = scenario.start();
    if !net.is_running() {
        let why =
            net.world().violations().first().map_or("it gave no reason".to_owned(), ToString::to_string);
        bail!("the driver did not start: {why}; build the image again with cargo image");
    }
    net.look(|state| {
        let adapters = state.modules[0].external.adapters.values_mut();
        for (adapter, number) in adapters.zip(1usize..) {
            // Different latencies, each varying, so that a move of a flow without an idle gap shows as reordering.
            adapter.latency = LATENCIES_MS[number % LATENCIES_MS.len()] * 1_000 * MICROSECOND;
            adapter.jitter = 1_000 * MICROSECOND;
        }
    });
    for (number, mac) in (0..).zip(hosts.macs()) {
        let machine = net.vm(number);
        net.readdress(machine, mac.0);
        // On a trunk, frames keep the tags in the capture.
        net.add_property(machine.port, 1, Property::Vlan(Vlan::trunk(0, 1..=LAST_VLAN)));
    }
    settle(&net, arguments);
    Ok(net)
}

/// What HyperVPort hashes for each machine: its port and its seat.
fn hashed_as(
    arguments: &Replay,
    policy: HashPolicy,
    speeds: &[u64],
    machines: usize,
) -> HashMap<NicId, HashId> {
    if policy != HashPolicy::HyperVPort {
        return HashMap::new();
    }
    let rules = Rules {
        mode: arguments.mode,
        policy,
        hash_seed: arguments.hash_seed,
        flow_label: false,
        symmetric: false,
        tunnels: arguments.tunnels.ports(),
    };
    let machines: Vec<(NicId, MacAddr)> = (0..machines).map(|n| (vnic(n), MacAddr::ZERO)).collect();
    let model = Model::new(rules, speeds, &machines);
    machines.iter().map(|(nic, _)| (*nic, model.hashed_as(*nic))).collect()
}

/// Waits until moves after the members' answers and speeds have taken effect, before the first frame is sent, so that
/// the team does not change without an event afterwards.
fn settle(net: &Net, arguments: &Replay) {
    let silence = Duration::from_micros(arguments.gap_us.into()) + 4 * TICK;
    net.advance(u64::try_from(silence.as_nanos() / 100).unwrap_or(u64::MAX));
}

/// Sends the frames at their times and executes the events between them.
struct Player<'a> {
    net: &'a Net,
    survey: &'a Survey,
    reader: Reader,
    hashed_as: HashMap<NicId, HashId>,
    seen: Observer,
    saved: Option<Saved>,
    /// Members through which the external network can send.
    up: Vec<u16>,
    /// Virtual time of the first frame.
    began: u64,
    /// Bursts for the next entry into the simulation.
    waiting: Vec<Burst>,
    /// Number of frames sent, including those of `waiting`.
    sent: usize,
    /// Manages the VMs' queues with `--queues`.
    watch: Option<Watch<'a>>,
    /// Time after which a returned link is used.
    proven_after: Duration,
    /// Whether the physical switch learns on which member's port an address is.
    independent: bool,
}

/// Frames that one adapter sent together.
struct Burst {
    at: Duration,
    way: Way,
    frames: Vec<Vec<u8>>,
}

#[derive(Clone, Copy)]
enum Way {
    /// From a VM.
    From(u16),
    /// From the external network through a member.
    Through(u16),
}

impl Player<'_> {
    fn play(&mut self, capture: &Capture, steps: &[Step], bar: &ProgressBar) -> anyhow::Result<()> {
        let mut told = 0;
        let mut steps = VecDeque::from(steps.to_vec());
        let mut burst: Vec<Frame> = Vec::new();
        let mut cleared = 0;
        for frame in capture.frames()? {
            let mut frame = frame?;
            frame.at = frame.at.saturating_sub(self.survey.start);
            let due = steps.front().is_some_and(|step| step.at <= frame.at);
            if due || !goes_on(&burst, &frame) {
                self.queue(&mut burst);
            }
            if due || self.waiting.len() >= VISIT {
                self.visit();
            }
            while steps.front().is_some_and(|step| step.at <= frame.at) {
                self.next(&mut steps);
            }
            burst.push(frame);
            if self.sent >= cleared + SHIFT {
                cleared = self.sent;
                self.visit();
                self.clear(CHAIN);
                bar.inc((self.sent - told) as u64);
                told = self.sent;
                if self.net.world().is_aborted() {
                    break;
                }
            }
        }
        self.queue(&mut burst);
        self.visit();
        while !steps.is_empty() {
            self.next(&mut steps);
        }
        self.net.settle();
        self.clear(0);
        bar.inc((self.sent - told) as u64);
        Ok(())
    }

    fn wait_until(&self, at: Duration) {
        let target = self.began + u64::try_from(at.as_nanos() / 100).unwrap_or(u64::MAX);
        self.net.advance(target.saturating_sub(self.net.now()));
    }

    /// Executes the first event and inserts the events that follow from it.
    fn next(&mut self, steps: &mut VecDeque<Step>) {
        let Some(step) = steps.pop_front() else { return };
        self.step(step);
        let planned = steps.iter().any(|step| step.what == What::PlanAgain);
        let invited = self.watch.as_ref().is_some_and(|watch| !planned && watch.is_invited());
        let settles = step.what == What::Restore && self.watch.is_some() && !self.proven_after.is_zero();
        let settled = self.proven_after + TICK;
        for (due, after, what) in [(invited, PLANS_AFTER, What::PlanAgain), (settles, settled, What::Settle)]
        {
            if due {
                let at = step.at + after;
                let place = steps.partition_point(|other| other.at <= at);
                steps.insert(place, Step { at, what, ..step });
            }
        }
    }

    fn step(&mut self, step: Step) {
        self.wait_until(step.at);
        self.clear(CHAIN);
        match step.what {
            What::Pull => {
                self.seen.pulled(step.member, step.at, self.sent);
                self.net.pull(step.member);
                self.up.retain(|member| *member != step.member);
            }
            What::IndicateDown => {
                self.net.indicate(step.member, false);
                self.seen.indicated_down(step.member, self.sent);
                if let Some(watch) = &mut self.watch {
                    watch.changed(StageKind::Down, step.member, step.at);
                }
            }
            What::Restore => {
                self.seen.restored(step.member, step.at, self.sent);
                self.net.restore(step.member);
                self.up.push(step.member);
                self.up.sort_unstable();
                if let Some(watch) = &mut self.watch {
                    watch.changed(StageKind::Up, step.member, step.at);
                }
            }
            What::Settle => {}
            What::PlanAgain => {
                if let Some(watch) = &mut self.watch {
                    watch.plan_again(step.at);
                }
            }
        }
    }

    /// Determines the member or VM of a burst.
    fn queue(&mut self, burst: &mut Vec<Frame>) {
        let Some(first) = burst.first() else { return };
        let at = first.at;
        let machine = self.survey.hosts.machine(source(first));
        // The physical switch distributes with its own hash.
        let spread: usize =
            window(&first.bytes).iter().skip(6).take(36).map(|&octet| usize::from(octet)).sum();
        let member = self.up.get(spread % self.up.len().max(1)).copied();
        let frames: Vec<Vec<u8>> = burst.drain(..).map(|frame| frame.bytes).collect();
        self.sent += frames.len();
        match (machine.and_then(|machine| u16::try_from(machine).ok()), member) {
            (Some(machine), _) => self.waiting.push(Burst { at, way: Way::From(machine), frames }),
            (None, Some(member)) => self.waiting.push(Burst { at, way: Way::Through(member), frames }),
            (None, None) => self.seen.account.unreachable += frames.len() as u64,
        }
    }

    /// Sends the waiting bursts, each at its time.
    fn visit(&mut self) {
        let bursts = std::mem::take(&mut self.waiting);
        let this = &*self;
        // Ignored if the simulated machine has stopped; `play` checks that.
        let _ = self.net.world().enter(|| {
            for Burst { at, way, frames } in &bursts {
                this.wait_until(*at);
                match *way {
                    Way::From(machine) => this.net.send(this.net.vm(machine), frames),
                    Way::Through(member) if this.independent => this.arrive(member, frames),
                    Way::Through(member) => this.net.receive_external(member, frames),
                }
            }
        });
    }

    /// Receives frames through the members on whose ports their addresses were learned, others through `member`.
    fn arrive(&self, member: u16, frames: &[Vec<u8>]) {
        let port = |frame: &Vec<u8>| {
            let wire = Wire::of(frame, 0);
            self.net.port_of(wire.vid, wire.to()).unwrap_or(member)
        };
        let ports: Vec<(u16, &Vec<u8>)> = frames.iter().map(|frame| (port(frame), frame)).collect();
        for together in ports.chunk_by(|(one, _), (other, _)| one == other) {
            let frames: Vec<Vec<u8>> = together.iter().map(|(_, frame)| (*frame).clone()).collect();
            together.first().into_iter().for_each(|(port, _)| self.net.receive_external(*port, &frames));
        }
    }

    /// Removes the records of finished frames from the simulation, except the last `newer` ones.
    fn clear(&mut self, newer: usize) {
        let Self { net, survey, reader, hashed_as, seen, saved, began, watch, .. } = self;
        net.look(|state| {
            let State { frames: Frames { all, assignments, .. }, modules, .. } = state;
            for assignment in assignments.drain(..) {
                let Some(frame) = all.get(assignment.frame).filter(|frame| !is_own(frame)) else { continue };
                let from = NicId::new(PortId::new(frame.from.port), NicIndex::new(frame.from.index));
                let at = since(*began, assignment.time);
                let id = hashed_as.get(&from).copied().unwrap_or(from.into());
                let key = reader.key(&frame.bytes, id);
                seen.assigned(frame.id, &frame.bytes, assignment.member, at, Some(key));
                if let Some(watch) = watch {
                    watch.left(frame.from, assignment.member);
                }
            }
            let Some(module) = modules.first_mut() else { return };
            for arrival in module.external.arrivals.drain(..) {
                seen.arrived(arrival.frame);
                let Some((saved, frame)) = saved.as_mut().zip(all.get(arrival.frame)) else { continue };
                saved.write(arrival.member, survey.start + since(*began, arrival.at), &frame.bytes);
            }
            let mut oldest = None;
            while let Some(frame) = all.take_oldest(newer) {
                seen.ended(&frame);
                oldest = Some(frame.id + 1);
            }
            if let Some(oldest) = oldest {
                module.external.physical.forget_before(oldest);
            }
        });
    }
}

/// Stops the switch and counts the frames that finish only then.
fn finish(net: Net, mut seen: Observer) -> (Observer, vswitch::scenario::outcome::Outcome) {
    let outcome = net.finish();
    outcome.frames.iter().for_each(|frame| seen.ended(frame));
    (seen, outcome)
}

fn since(began: u64, time: u64) -> Duration {
    Duration::from_nanos(time.saturating_sub(began).saturating_mul(100))
}

/// Whether the frame belongs to one chain with those before it.
fn goes_on(burst: &[Frame], frame: &Frame) -> bool {
    burst.len() < CHAIN
        && burst.first().is_none_or(|first| frame.at - first.at <= BURST && source(first) == source(frame))
}

fn source(frame: &Frame) -> teaming::ids::MacAddr {
    frame::parse(window(&frame.bytes)).source
}

fn window(bytes: &[u8]) -> &[u8] {
    &bytes[..bytes.len().min(frame::WINDOW_MAX)]
}

/// A progress bar on standard error, if that is a terminal.
pub fn progress(frames: usize) -> ProgressBar {
    if frames < LONG {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:30} {percent:>3} %  {pos} of {len} frames, {eta} left");
    ProgressBar::new(frames as u64).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}
