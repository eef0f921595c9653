//! `teamctl migrate`: one VM of a capture moves to another host while the capture plays. Reports which of its flows
//! keep their member, why the others do not, and the size of its saved state.

use crate::args::{PolicyName, Speed};
use crate::capture::Capture;
use crate::flow::{Identity, Label, Reader};
use crate::hosts::{self, Which};
use crate::print::speed;
use crate::survey::Survey;
use crate::text::count_of;
use crate::tunnels::Tunnels;
use anyhow::{Context, bail};
use clap::Args;
use serde::Serialize;
use std::collections::BTreeMap;
use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;
use teaming::flow::HashPolicy;
use teaming::frame;
use teaming::migration::record::{Differences, NicState};
use vswitch::check::save::record;
use vswitch::image::Image;
use vswitch::machine::registry::Value;
use vswitch::scenario::migration::{Migration, Moved};
use vswitch::scenario::outcome::Outcome;
use vswitch::scenario::{Net, Scenario};
use vswitch::switch::control::save::{Blob, FIXED, Offering};
use vswitch::switch::ports::policy::{LAST_VLAN, Property, Vlan};

pub const EXAMPLES: &str = "\
Examples:
  teamctl migrate                               the bundled recording, equal hosts
  teamctl migrate --target-speeds 25G,10G       to a host with another team
  teamctl migrate day.pcapng --machine 3 --at 25
  teamctl migrate --target-hash-seed 7 --json

Exit codes: 0 fine, 1 a guarantee was broken, 2 wrong usage or input.";

#[derive(Args)]
pub struct Migrate {
    /// A pcap or pcapng file, also in gzip or Zstandard; - is standard input [default: the bundled recording]
    pub capture: Option<PathBuf>,

    /// The machine that moves, by the number that teamctl replay lists [default: the one with the most flows to the
    /// outside]
    #[arg(long, value_name = "N")]
    pub machine: Option<usize>,

    /// When it moves, in per cent of the capture
    #[arg(long, value_name = "PER-CENT", default_value_t = 50, value_parser = clap::value_parser!(u8).range(0..=100))]
    pub at: u8,

    /// Speed of each member on the source
    #[arg(long, value_name = "SPEED,...", value_delimiter = ',', default_value = "10G,10G,10G,10G")]
    pub speeds: Vec<Speed>,

    /// Speed of each member on the target [default: as on the source]
    #[arg(long, value_name = "SPEED,...", value_delimiter = ',')]
    pub target_speeds: Vec<Speed>,

    /// What stays together on one member, on both hosts
    #[arg(long, value_enum, default_value_t = PolicyName(HashPolicy::TransportPorts))]
    pub policy: PolicyName,

    /// The policy of the target [default: as on the source]
    #[arg(long, value_enum)]
    pub target_policy: Option<PolicyName>,

    #[command(flatten)]
    pub tunnels: Tunnels,

    /// HashSeed of the target; 0 is the product's own, which the source has
    #[arg(long, value_name = "SEED", default_value_t = 0)]
    pub target_hash_seed: u64,

    /// Seed of everything that chance decides in the simulated switches
    #[arg(long, default_value_t = 1)]
    pub seed: u64,

    #[command(flatten)]
    pub which: Which,

    /// Run this driver image, as built for Windows, instead of the driver in this tool
    #[arg(long, value_name = "LBFOEXT.SYS")]
    pub image: Option<PathBuf>,

    /// Print one JSON object instead of text
    #[arg(long)]
    pub json: bool,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Report {
    frames: usize,
    driver: &'static str,
    machine: usize,
    mac: String,
    /// The VM's flows to the external network, by result.
    flows_kept: usize,
    flows_changed: usize,
    flows_ended: usize,
    flows_new: usize,
    /// Differences of the hosts; if there are none, every flow must keep its member.
    differences: Vec<&'static str>,
    /// Changed flows by reason.
    reasons: BTreeMap<&'static str, usize>,
    /// Flows of other VMs that changed their member.
    others_moved: usize,
    blob_bytes: usize,
    structures: usize,
    requests: usize,
    too_short: usize,
    /// Counters of the VM's NIC: when it left the source, and at the end on the target.
    statistics: [Statistics; 2],
    violations: usize,
    rules_exercised: usize,
    leaks: usize,
    #[serde(skip)]
    lines: Vec<String>,
}

#[derive(Serialize, Clone, Copy)]
struct Statistics {
    frames: u64,
    bytes: u64,
}

/// A flow's members on both hosts, and its label.
struct Path {
    label: Label,
    mine: bool,
    here: Option<u16>,
    there: Option<u16>,
    moved: bool,
}

/// True if every guarantee held.
pub fn run(arguments: &Migrate) -> anyhow::Result<bool> {
    let target_policy = arguments.target_policy.unwrap_or(arguments.policy).0;
    arguments.tunnels.check(&[arguments.policy.0, target_policy])?;
    let image = arguments.image.as_deref().map(Image::load).transpose().map_err(anyhow::Error::msg)?;
    let capture = Capture::of(arguments.capture.as_deref())?;
    let survey = Survey::of(&capture, &arguments.which)?;
    let machine = machine(arguments, &capture, &survey)?;
    let target =
        if arguments.target_speeds.is_empty() { &arguments.speeds } else { &arguments.target_speeds };
    let net = start(arguments, image.as_ref(), target, &survey)?;
    let (mut player, moved) = play(arguments, &net, &capture, &survey, machine)?;
    let there = net.on(1);
    let again = there.save(player.becomes, Offering::default()).map_or(Vec::new(), |run| run.blobs);
    player.account();
    let paths = std::mem::take(&mut player.paths);
    let outcome = net.finish();
    let report =
        Report::new(arguments, &survey, machine, target, &moved, &again, paths.into_values(), &outcome)?;
    if arguments.json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        report.print(arguments, &capture, target);
    }
    Ok(report.is_fine())
}

/// Number of the VM that moves, from 0.
fn machine(arguments: &Migrate, capture: &Capture, survey: &Survey) -> anyhow::Result<usize> {
    let machines = survey.hosts.macs().len();
    if let Some(number) = arguments.machine {
        if number == 0 || number > machines {
            bail!("--machine is {number}, but the capture has machines 1 to {machines}; choose one of them");
        }
        return Ok(number - 1);
    }
    let reader = reader(arguments);
    let mut flows: Vec<std::collections::HashSet<Identity>> = Vec::new();
    flows.resize_with(machines, Default::default);
    for frame in capture.frames()? {
        let bytes = frame?.bytes;
        let headers = frame::parse(window(&bytes));
        let to_the_outside = survey.hosts.machine(headers.destination).is_none();
        if let Some(from) = survey.hosts.machine(headers.source).filter(|_| to_the_outside) {
            flows[from].insert(reader.read(&bytes).0);
        }
    }
    let most = flows.iter().enumerate().max_by_key(|(number, of)| (of.len(), machines - number));
    most.map(|(number, _)| number).context("the capture has no machine")
}

fn reader(arguments: &Migrate) -> Reader {
    Reader::new(arguments.policy.0).with_tunnels_at(arguments.tunnels.ports())
}

fn window(bytes: &[u8]) -> &[u8] {
    &bytes[..bytes.len().min(frame::WINDOW_MAX)]
}

/// Starts two hosts; all VMs are on the first.
fn start(
    arguments: &Migrate,
    image: Option<&Image>,
    target: &[Speed],
    survey: &Survey,
) -> anyhow::Result<Net> {
    // The speeds that count follow in bits per second.
    let members = |speeds: &[Speed]| -> Vec<(u16, u64)> { (1..).zip(speeds.iter().map(|_| 1)).collect() };
    let bits = |speeds: &[Speed]| -> Vec<u64> { speeds.iter().map(|Speed(bits)| *bits).collect() };
    let there = arguments.target_policy.unwrap_or(arguments.policy);
    let mut scenario = Scenario::new(arguments.seed)
        .members_at(&members(&arguments.speeds))
        .vms(u16::try_from(survey.hosts.macs().len()).unwrap_or(u16::MAX))
        .host(1, &members(target), 0)
        .bits_per_second(0, &bits(&arguments.speeds))
        .bits_per_second(1, &bits(target))
        .setting("LoadBalancingAlgorithm", Value::Dword(arguments.policy.0.number().into()))
        .host_setting(1, "LoadBalancingAlgorithm", Value::Dword(there.0.number().into()))
        .host_setting(1, "HashSeed", Value::Qword(arguments.target_hash_seed));
    for (name, port) in arguments.tunnels.settings() {
        scenario = scenario.setting(name, Value::Dword(port));
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
    for (number, mac) in (0..).zip(survey.hosts.macs()) {
        let machine = net.vm(number);
        net.readdress(machine, mac.0);
        net.add_property(machine.port, 1, trunk());
    }
    Ok(net)
}

/// A trunk property, so that frames keep the tags in the capture.
fn trunk() -> Property {
    Property::Vlan(Vlan::trunk(0, 1..=LAST_VLAN))
}

struct Player<'a> {
    net: &'a Net,
    there: Net,
    survey: &'a Survey,
    reader: Reader,
    machine: usize,
    /// The VM's NIC on the target.
    becomes: vswitch::switch::ports::NicId,
    has_moved: bool,
    began: u64,
    paths: HashMap<Identity, Path>,
}

fn play<'a>(
    arguments: &Migrate,
    net: &'a Net,
    capture: &Capture,
    survey: &'a Survey,
    machine: usize,
) -> anyhow::Result<(Player<'a>, Moved)> {
    let there = net.on(1);
    let number = u16::try_from(machine).unwrap_or(0);
    // Port numbers on the other host differ.
    let becomes = there.vm(number + 2_000);
    let mut player = Player {
        net,
        becomes,
        there,
        survey,
        reader: reader(arguments),
        machine,
        has_moved: false,
        began: net.now(),
        paths: HashMap::new(),
    };
    let due = survey.length.mul_f64(f64::from(arguments.at) / 100.0);
    let mut moved = None;
    let mut sent = 0_usize;
    for frame in capture.frames()? {
        let frame = frame?;
        let at = frame.at.saturating_sub(survey.start);
        if at >= due && moved.is_none() {
            moved = Some(player.migrate()?);
        }
        player.send(at, frame.bytes);
        sent += 1;
        if sent.is_multiple_of(1_024) {
            player.account();
        }
    }
    let moved = match moved {
        Some(moved) => moved,
        None => player.migrate()?,
    };
    net.settle();
    player.there.settle();
    Ok((player, moved))
}

impl Player<'_> {
    fn migrate(&mut self) -> anyhow::Result<Moved> {
        self.net.settle();
        self.account();
        let nic = self.net.vm(u16::try_from(self.machine).unwrap_or(0));
        let mac = self.survey.hosts.macs().nth(self.machine).context("the machine is in the capture")?;
        let migration = Migration {
            mac: mac.0,
            properties: vec![trunk()],
            ..Migration::new(self.net, &self.there, nic, self.becomes)
        };
        self.has_moved = true;
        let moved = migration.run(|| ());
        moved.map_err(|failure| anyhow::anyhow!("the migration failed: {failure:?}"))
    }

    fn send(&self, at: Duration, bytes: Vec<u8>) {
        let headers = frame::parse(window(&bytes));
        let (from, to) =
            (self.survey.hosts.machine(headers.source), self.survey.hosts.machine(headers.destination));
        let moves = |machine: Option<usize>| self.has_moved && machine == Some(self.machine);
        let target = self.began + u64::try_from(at.as_nanos() / 100).unwrap_or(u64::MAX);
        let _ = self.net.world().enter(|| {
            self.net.advance(target.saturating_sub(self.net.now()));
            match from {
                Some(_) if moves(from) => self.there.send(self.becomes, &[bytes]),
                Some(machine) => self.net.send(self.net.vm(u16::try_from(machine).unwrap_or(0)), &[bytes]),
                None if moves(to) => self.there.receive_external(1, &[bytes]),
                None => self.net.receive_external(1, &[bytes]),
            }
        });
    }

    /// Records the members to which the frames were assigned.
    fn account(&mut self) {
        let Self { net, survey, reader, machine, paths, .. } = self;
        net.look(|state| {
            for assignment in state.frames.assignments.drain(..) {
                let Some(frame) = state.frames.all.get(assignment.frame) else { continue };
                let (identity, label) = reader.read(&frame.bytes);
                let source = frame::parse(window(&frame.bytes)).source;
                let mine = survey.hosts.machine(source) == Some(*machine);
                let new = || Path { label, mine, here: None, there: None, moved: false };
                let path = paths.entry(identity).or_insert_with(new);
                let place = if frame.switch == 0 { &mut path.here } else { &mut path.there };
                path.moved |= place.is_some_and(|member| member != assignment.member);
                *place = Some(assignment.member);
            }
        });
    }
}

impl Report {
    #[expect(clippy::too_many_arguments, reason = "what a migration leaves, said once")]
    fn new(
        arguments: &Migrate,
        survey: &Survey,
        machine: usize,
        target: &[Speed],
        moved: &Moved,
        again: &[Blob],
        paths: impl Iterator<Item = Path>,
        outcome: &Outcome,
    ) -> anyhow::Result<Self> {
        let (left, _) = record(&moved.blobs).context("the driver saved nothing for the machine")?;
        let (ended, _) = record(again).context("the driver saved nothing on the target")?;
        let differences = left.differs_from(ended.hashed_as, &ended.placement);
        let (mut mine, others): (Vec<Path>, Vec<Path>) = paths.partition(|path| path.mine);
        mine.sort_by_key(|path| path.label.to_string());
        let both = || mine.iter().filter_map(|path| Some((path, path.here?, path.there?)));
        let mut reasons = BTreeMap::new();
        let mut lines = Vec::new();
        for (path, here, there) in both().filter(|(_, here, there)| here != there) {
            let why = reason(differences, here, target);
            *reasons.entry(why).or_insert(0) += 1;
            lines.push(format!("  {here:>2} > {there:<2} {:<6} {}", path.label.protocol(), path.label));
        }
        let statistics =
            |state: &NicState| Statistics { frames: state.traffic.frames, bytes: state.traffic.bytes };
        Ok(Self {
            frames: survey.frames,
            driver: if arguments.image.is_some() { "image" } else { "native" },
            machine: machine + 1,
            mac: survey.hosts.macs().nth(machine).map_or_else(String::new, hosts::text_of),
            flows_kept: both().filter(|(_, here, there)| here == there).count(),
            flows_changed: lines.len(),
            flows_ended: mine.iter().filter(|path| path.there.is_none()).count(),
            flows_new: mine.iter().filter(|path| path.here.is_none()).count(),
            differences: differences.names().collect(),
            reasons,
            others_moved: others.iter().chain(&mine).filter(|path| path.moved).count(),
            blob_bytes: moved
                .blobs
                .iter()
                .filter(|blob| blob.is_ours())
                .map(|blob| FIXED + blob.data().len())
                .sum(),
            structures: moved.blobs.iter().filter(|blob| blob.is_ours()).count(),
            requests: moved.rounds,
            too_short: moved.short,
            statistics: [statistics(&left), statistics(&ended)],
            violations: outcome.violations.len(),
            rules_exercised: outcome.exercised.values().filter(|count| **count != 0).count(),
            leaks: outcome.leaks.len(),
            lines,
        })
    }

    /// Between equal hosts every flow keeps its member. In any case no other VM's flows move, and the counters
    /// continue.
    fn is_fine(&self) -> bool {
        let [left, ended] = self.statistics;
        let kept = !self.differences.is_empty() || self.flows_changed == 0;
        let counted = ended.frames >= left.frames && ended.bytes >= left.bytes;
        kept && counted && self.others_moved == 0 && self.violations == 0 && self.leaks == 0
    }

    fn print(&self, arguments: &Migrate, capture: &Capture, target: &[Speed]) {
        let team = |speeds: &[Speed]| speeds.iter().map(|s| speed(s.0)).collect::<Vec<_>>().join(",");
        let verdict = if self.is_fine() { "Fine" } else { "A GUARANTEE WAS BROKEN" };
        println!(
            "{verdict}: machine {} ({}) moved after {} % of {capture}",
            self.machine, self.mac, arguments.at
        );
        println!(
            "{} driver, from a team of {} to a team of {}",
            self.driver,
            team(&arguments.speeds),
            team(target)
        );
        println!();
        println!(
            "{} of its flows went on: {} kept their member, {} changed it; {} had ended, {} began",
            self.flows_kept + self.flows_changed,
            self.flows_kept,
            self.flows_changed,
            self.flows_ended,
            self.flows_new
        );
        if self.differences.is_empty() {
            println!("the hosts agree in all that decides about members");
        } else {
            println!("the hosts differ in: {}", self.differences.join(", "));
        }
        for (why, flows) in &self.reasons {
            println!("  {flows} changed: {why}");
        }
        self.lines.iter().take(SHOWN).for_each(|line| println!("{line}"));
        if self.lines.len() > SHOWN {
            println!("  and {} more", self.lines.len() - SHOWN);
        }
        println!();
        println!(
            "saved: {} in {}, {}, {} of them with too little room",
            count_of(self.blob_bytes as u64, "byte"),
            count_of(self.structures as u64, "structure"),
            count_of(self.requests as u64, "request"),
            self.too_short
        );
        let [left, ended] = self.statistics;
        println!(
            "sent, as its state says: {}, {} when it left; {}, {} at the end",
            count_of(left.frames, "frame"),
            count_of(left.bytes, "byte"),
            count_of(ended.frames, "frame"),
            count_of(ended.bytes, "byte")
        );
        println!(
            "{} of others moved, {} of {} checked, {}",
            count_of(self.others_moved as u64, "flow"),
            count_of(self.violations as u64, "violation"),
            count_of(self.rules_exercised as u64, "rule"),
            count_of(self.leaks as u64, "leak")
        );
    }
}

/// Largest number of flows that are listed.
const SHOWN: usize = 8;

/// The first sufficient reason why a flow could not keep its member.
fn reason(differences: Differences, here: u16, target: &[Speed]) -> &'static str {
    let rows = [
        (usize::from(here) > target.len(), "the target has no such member"),
        (differences.contains(Differences::POLICY), "another policy"),
        (differences.contains(Differences::SEED), "another hash seed"),
        (differences.contains(Differences::PORT), "another id of the adapter, which the policy hashes"),
        (differences.contains(Differences::MEMBERS), "shared among another number of members"),
        (differences.contains(Differences::HOME_MAP), "other positions or speeds of the members"),
    ];
    rows.iter().find(|(holds, _)| *holds).map_or("no reason that is known", |(_, why)| why)
}
