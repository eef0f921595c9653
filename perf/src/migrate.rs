//! `teamctl migrate`: one VM of a capture moves to another host while the capture plays. Reports which of its flows
//! keep their member, why the others do not, and the size of its saved state.

mod report;

use crate::args::{PolicyName, Speed};
use crate::capture::Capture;
use crate::flow::{Identity, Label, Reader};
use crate::hosts::Which;
use crate::observer::is_own;
use crate::survey::Survey;
use crate::tunnels::Tunnels;
use anyhow::{Context, bail};
use clap::Args;
use report::Report;
use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;
use teaming::flow::HashPolicy;
use teaming::frame;
use vswitch::image::Image;
use vswitch::machine::registry::Value;
use vswitch::scenario::migration::{Migration, Moved};
use vswitch::scenario::{Net, Scenario};
use vswitch::switch::control::save::Offering;
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
    let report = Report::new(
        arguments,
        &capture,
        &survey,
        machine,
        target,
        &moved,
        &again,
        paths.into_values(),
        &outcome,
    )?;
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
                let Some(frame) = state.frames.all.get(assignment.frame).filter(|frame| !is_own(frame))
                else {
                    continue;
                };
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
