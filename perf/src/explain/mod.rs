//! `teamctl explain`: by which member one flow leaves, each step of the decision in words, and what would change it.
//!
//! `tuple` makes a frame of a flow that is written on the command line; `model` holds the driver's own tables and asks
//! them; `explained` is the answer, `words` and `print` say it. `agreement` holds it against what the driver did.

#[cfg(test)]
mod agreement;
mod explained;
pub mod model;
mod print;
mod tuple;
mod words;

use crate::args::{self, Mode, PolicyName, Speed, Time, When};
use crate::capture::{Capture, Frame};
use crate::hosts::{Which, mac};
use crate::plan::{self, What};
use crate::survey::Survey;
use crate::text::{count, fit, out};
use crate::tunnels::Tunnels;
use anyhow::bail;
use clap::Args;
use explained::{Explained, Subject};
use model::{Model, Rules, vnic};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;
use teaming::flow::{HashPolicy, POLICIES};
use teaming::frame;
use teaming::ids::{MacAddr, NicId, NicIndex, PortId};
use tuple::{Around, Flow};

pub const EXAMPLES: &str = "\
Examples:
  teamctl explain \"10.0.0.5:49152>192.0.2.1:443/tcp\"
  teamctl explain \"[2001:db8::5]:53>[2001:db8::1]:53/udp\" --vlan 20 --fail 2
  teamctl explain \"10.0.0.5>192.0.2.1/icmp\" --policy ip-addresses
  teamctl explain \"02:00:00:00:00:05>02:00:00:00:00:01/0x88b5\"
  teamctl explain --frame 3800                  of the bundled recording
  teamctl explain --capture day.pcapng --frame 7 --fail 1@4.5 --json
  teamctl explain --frame 7 --mode switch-independent --port 31
  teamctl explain --capture overlay.pcap --frame 7 --policy encapsulated --vxlan-port 8472

The quotes keep the shell from taking > for itself; a comma does as well.

Exit codes: 0 fine, 1 the steps do not lead to the driver's decision (report
it), 2 wrong usage or input.";

#[derive(Args)]
pub struct Explain {
    /// The flow: two ends and a protocol, as SOURCE:PORT>DESTINATION:PORT/tcp; IPv6 addresses with ports in brackets
    #[arg(required_unless_present = "frame", conflicts_with_all = ["frame", "capture"])]
    pub flow: Option<Flow>,

    /// A pcap or pcapng file, also in gzip or Zstandard; - is standard input [default: the bundled recording]
    #[arg(long, value_name = "FILE", requires = "frame")]
    pub capture: Option<PathBuf>,

    /// The frame of the capture: the number of its record, from 1
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub frame: Option<u64>,

    /// Members of the team, all equally fast [default: 4]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=32), conflicts_with = "speeds")]
    pub members: Option<u16>,

    /// Speed of each member, as in 10G,25G
    #[arg(long, value_name = "SPEED,...", value_delimiter = ',')]
    pub speeds: Vec<Speed>,

    /// What the physical switch knows of the team
    #[arg(long, value_enum, default_value_t = Mode::Static)]
    pub mode: Mode,

    /// What stays together on one member [default: transport-ports in a static team, else hyper-v-port]
    #[arg(long, value_enum)]
    pub policy: Option<PolicyName>,

    /// HashSeed of the driver; 0 is the product's own
    #[arg(long, value_name = "SEED", default_value_t = 0)]
    pub hash_seed: u64,

    /// UseIpv6FlowLabel of the driver is on
    #[arg(long)]
    pub flow_label: bool,

    /// SymmetricHash of the driver is on
    #[arg(long)]
    pub symmetric: bool,

    #[command(flatten)]
    pub tunnels: Tunnels,

    /// A member that is down: its number; with --frame also when it fails, in seconds or per cent of the capture
    #[arg(long, value_name = "MEMBER[@TIME]")]
    pub fail: Vec<Failure>,

    /// A member that comes back, with --frame
    #[arg(long, value_name = "MEMBER@TIME")]
    pub restore: Vec<When>,

    /// The port of the switch at which the sending machine is, for policy hyper-v-port [default: 9 and its number, as in
    /// the simulated switch]
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(2..))]
    pub port: Option<u32>,

    /// The MAC addresses between which the flow goes [default: 02:00:00:00:00:05>02:00:00:00:00:01]
    #[arg(long, value_name = "SOURCE>DESTINATION", conflicts_with = "frame")]
    pub macs: Option<Macs>,

    /// The VLAN of the tag with which the flow is sent
    #[arg(long, value_name = "ID", conflicts_with = "frame", value_parser = clap::value_parser!(u16).range(1..=4094))]
    pub vlan: Option<u16>,

    #[command(flatten)]
    pub which: Which,

    /// Print one JSON object instead of text, as perf/explain.schema.json describes it
    #[arg(long)]
    pub json: bool,
}

/// A member that is down from the beginning, or fails at a time.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Failure {
    when: When,
    /// A time was named.
    timed: bool,
}

impl FromStr for Failure {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(member) = text.parse() {
            return Ok(Self { when: When::At { member, time: Time::Seconds(0.0) }, timed: false });
        }
        let when = text.parse().map_err(|_| {
            format!("\"{text}\" names no member; write MEMBER, MEMBER@SECONDS or MEMBER@PER-CENT%, as in 2 or 2@33%")
        })?;
        Ok(Self { when, timed: when != When::Never })
    }
}

/// Source and destination.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Macs([MacAddr; 2]);

impl FromStr for Macs {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let ends = text.trim_matches('"').split_once(['>', ',']);
        ends.and_then(|(from, to)| Some(Self([mac(from.trim())?, mac(to.trim())?])))
            .ok_or_else(|| format!("\"{text}\" is no pair; write \"02:00:00:00:00:05>02:00:00:00:00:01\""))
    }
}

const MACS: [MacAddr; 2] = [MacAddr([2, 0, 0, 0, 0, 5]), MacAddr([2, 0, 0, 0, 0, 1])];

/// True if the steps lead to the driver's decision.
pub fn run(arguments: &Explain) -> anyhow::Result<bool> {
    let policy = arguments.mode.policy(arguments.policy)?;
    let speeds = args::speeds(arguments.members, &arguments.speeds)?;
    let Explain { mode, hash_seed, flow_label, symmetric, .. } = *arguments;
    let policies: Vec<HashPolicy> = POLICIES.into_iter().filter(|policy| mode.takes(*policy)).collect();
    arguments.tunnels.check(&policies)?;
    let rules = Rules { mode, policy, hash_seed, flow_label, symmetric, tunnels: arguments.tunnels.ports() };
    let told = match (&arguments.flow, arguments.frame) {
        (Some(flow), _) => of_flow(arguments, rules, &speeds, flow)?,
        (None, Some(number)) => of_frame(arguments, rules, &speeds, number)?,
        (None, None) => bail!("name a flow, or --frame N; teamctl explain --help has examples"),
    };
    if arguments.json {
        out(&(serde_json::to_string(&told)? + "\n"))?;
    } else {
        out(&print::text(&told))?;
    }
    Ok(told.agrees)
}

fn of_flow(arguments: &Explain, rules: Rules, speeds: &[u64], flow: &Flow) -> anyhow::Result<Explained> {
    if let Some(failure) = arguments.fail.iter().find(|failure| failure.timed) {
        bail!(
            "--fail {}: a flow has no time; write the number of the member alone, or explain a --frame",
            written(failure.when)
        );
    }
    if let Some(when) = arguments.restore.first() {
        bail!("--restore {}: a flow has no time; leave it out, or explain a --frame", written(*when));
    }
    if !arguments.which.inside.is_empty() || !arguments.which.machines.is_empty() {
        bail!(
            "--inside and --machines are about the adapters of a capture; leave them out, or explain a --frame"
        );
    }
    let [source, destination] = match (flow.macs(), arguments.macs) {
        (Some(_), Some(_)) => bail!("the ends of the flow are MAC addresses already; leave --macs out"),
        (Some(ends), None) | (None, Some(Macs(ends))) => ends,
        (None, None) => MACS,
    };
    if source.is_multicast() {
        bail!("the source {} is a group's address; name an adapter's", crate::hosts::text_of(source));
    }
    let around = Around { source, destination, vlan: arguments.vlan };
    let nic = arguments.port.map_or(vnic(0), |port| NicId::new(PortId::new(port), NicIndex::DEFAULT));
    let machines = [(nic, source)];
    let mut model = Model::new(rules, speeds, &machines);
    take_links(arguments, &mut model, Duration::ZERO, Duration::ZERO)?;
    let bytes = flow.frame(&around);
    let subject = Subject { text: "the flow".to_owned(), bytes, cut: false, source: nic, notes: Vec::new() };
    Ok(Explained::new(&mut model, subject, &machines))
}

fn of_frame(arguments: &Explain, rules: Rules, speeds: &[u64], number: u64) -> anyhow::Result<Explained> {
    let capture = Capture::of(arguments.capture.as_deref())?;
    let survey = Survey::of(&capture, &arguments.which)?;
    let frame = find(&capture, number)?;
    let mut machines: Vec<(NicId, MacAddr)> =
        survey.hosts.macs().enumerate().map(|(number, mac)| (vnic(number), mac)).collect();
    let sender = survey.hosts.machine(frame::parse(model::window(&frame.bytes)).source);
    if let Some(port) = arguments.port.map(PortId::new) {
        let Some(sender) = sender else {
            bail!(
                "--port is that of the sending machine, and frame {number} comes from outside; leave it out"
            );
        };
        let nic = NicId::new(port, NicIndex::DEFAULT);
        if machines.iter().enumerate().any(|(other, (id, _))| other != sender && *id == nic) {
            bail!(
                "--port {port} is that of another machine of the capture; choose one above {}",
                machines.len() + 9
            );
        }
        machines[sender].0 = nic;
    }
    let mut model = Model::new(rules, speeds, &machines);
    let at = frame.at.saturating_sub(survey.start);
    let notes = take_links(arguments, &mut model, at, survey.length)?;
    let source = sender.map_or_else(|| explained::external_source(&model), |sender| machines[sender].0);
    let text =
        format!("frame {} of {}, at {:.3} s", count(number), fit(&capture.to_string(), 50), at.as_secs_f64());
    let subject = Subject { text, bytes: frame.bytes, cut: frame.cut, source, notes };
    Ok(Explained::new(&mut model, subject, &machines))
}

/// The frame of the record with this number.
fn find(capture: &Capture, number: u64) -> anyhow::Result<Frame> {
    let (mut frames, mut last) = (0, 0);
    for frame in capture.frames()? {
        let frame = frame?;
        if frame.place == number {
            return Ok(frame);
        }
        (frames, last) = (frames + 1, last.max(frame.place));
    }
    let gaps = if frames < last { ", of which not all are frames" } else { "" };
    bail!("--frame is {number}, but {capture} has the records 1 to {last}{gaps}; choose one of them")
}

/// Gives the model the links that the members have at a time; gives what is to be said of them.
fn take_links(
    arguments: &Explain,
    model: &mut Model,
    at: Duration,
    length: Duration,
) -> anyhow::Result<Vec<String>> {
    let fail: Vec<When> = arguments.fail.iter().map(|failure| failure.when).collect();
    let steps = plan::ordered(&fail, &arguments.restore, model.speeds.len(), length)?;
    let timed = |member: u16| {
        arguments.fail.iter().any(|failure| {
            failure.timed && matches!(failure.when, When::At { member: of, .. } if of == member)
        })
    };
    let mut notes = Vec::new();
    for member in 1..=u16::try_from(model.speeds.len()).unwrap_or(u16::MAX) {
        let of = || steps.iter().filter(|step| step.member == member);
        let last = of().rfind(|step| step.at <= at);
        match last.map(|step| (step.what, step.at)) {
            Some((What::IndicateDown, _)) => model.link(member, false),
            Some((What::Pull, _)) if !timed(member) => model.link(member, false),
            Some((What::Pull, since)) => notes.push(format!(
                "member {member} lost its link {:.1} ms before, and the driver is not told yet: what it gives to it is lost",
                (at - since).as_secs_f64() * 1_000.0
            )),
            Some((What::Restore, since)) => notes.push(format!(
                "member {member} came back {:.3} s before: a flow that has not paused since (FlowletGapUs) may still be \
                 lent to another",
                (at - since).as_secs_f64()
            )),
            Some((What::Settle | What::PlanAgain, _)) | None => {}
        }
    }
    Ok(notes)
}

fn written(when: When) -> String {
    match when {
        When::Never => "none".to_owned(),
        When::At { member, time: Time::Seconds(seconds) } => format!("{member}@{seconds}"),
        When::At { member, time: Time::PerCent(part) } => format!("{member}@{part}%"),
    }
}
