//! `teamctl compare`: every mode and policy of a team on one capture, side by side, and which of them to take.
//!
//! Each row is two replays through the driver (`runs`): one in which nothing fails, for loads, and one in which the
//! members fail and return in turn, for moves. What `teamctl replay` says of the same settings is the same.

mod judge;
mod page;
mod print;
mod runs;
mod split;

use crate::args::{Mode, PolicyName, Speed};
use crate::capture::Capture;
use crate::hosts::{Listed, Which};
use crate::output::{self, Files};
use crate::survey::Survey;
use crate::text::out;
use crate::tunnels::Tunnels;
use anyhow::bail;
use clap::Args;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::str::FromStr;
use teaming::flow::{HashPolicy, POLICIES};
use teaming::ids::MEMBERS;

pub const EXAMPLES: &str = "\
Examples:
  teamctl compare                               the bundled recording, 4 x 10G
  teamctl compare day.pcapng --members 2,4,8
  teamctl compare day.pcapng --speeds 25G,10G --speeds 10G,10G,10G
  teamctl compare day.pcapng --mode switch-independent --reg team.reg
  teamctl compare day.pcapng --hash-seeds 0,1,2,3 --report compare.html
  teamctl compare day.pcapng --json             one object, for a script

Exit codes: 0 fine, 1 a guarantee was broken, 2 wrong usage or input.";

#[derive(Args)]
pub struct Compare {
    /// A pcap or pcapng file, also in gzip or Zstandard; - is standard input [default: the bundled recording]
    pub capture: Option<PathBuf>,

    /// Teams to compare, by their number of members of 10G [default: 4]
    #[arg(long, value_name = "N,...", value_delimiter = ',', value_parser = clap::value_parser!(u16).range(1..=32))]
    pub members: Vec<u16>,

    /// A team to compare, by the speed of each member, as in 25G,10G; once for each team
    #[arg(long, value_name = "SPEED,...")]
    pub speeds: Vec<Team>,

    /// One mode alone: what the physical switch can know of the team [default: both]
    #[arg(long, value_enum)]
    pub mode: Option<Mode>,

    /// Values of HashSeed to compare; 0 is the product's own
    #[arg(long, value_name = "SEED,...", value_delimiter = ',', default_value = "0")]
    pub hash_seeds: Vec<u64>,

    #[command(flatten)]
    pub tunnels: Tunnels,

    /// Silence after which a flow may change member, in microseconds; 0 moves flows at once
    #[arg(long, value_name = "US", default_value_t = 500, value_parser = clap::value_parser!(u32).range(0..=500_000))]
    pub gap_us: u32,

    /// Seed of everything that chance decides in the simulated switch
    #[arg(long, default_value_t = 1)]
    pub seed: u64,

    #[command(flatten)]
    pub which: Which,

    /// Write the registry values of the recommendation, for reg.exe import; of one team
    #[arg(long, value_name = "FILE.reg")]
    pub reg: Option<PathBuf>,

    /// Write a page with plots: one file without scripts that needs no network
    #[arg(long, value_name = "FILE.html")]
    pub report: Option<PathBuf>,

    /// Print one JSON object instead of text, as perf/compare.schema.json describes it
    #[arg(long)]
    pub json: bool,
}

/// The speeds of a team's members.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Team(pub Vec<Speed>);

impl FromStr for Team {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let speeds: Vec<Speed> = text.split(',').map(str::parse).collect::<Result<_, _>>()?;
        if speeds.len() > MEMBERS {
            return Err(format!("it names {} members; a team has at most {MEMBERS}", speeds.len()));
        }
        Ok(Self(speeds))
    }
}

/// `perf/compare.schema.json` describes its JSON.
#[derive(Serialize)]
pub struct Comparison {
    /// Of teamctl.
    pub version: &'static str,
    /// Every guarantee held in every run.
    pub fine: bool,
    pub capture: String,
    pub length_seconds: f64,
    pub frames: usize,
    pub frames_cut_short: usize,
    /// Frames that left by the team.
    pub frames_by_the_team: u64,
    pub seed: u64,
    pub gap_us: u32,
    pub machines: Vec<Listed>,
    pub other_adapters: Vec<Listed>,
    pub warnings: Vec<String>,
    pub teams: Vec<Compared>,
}

/// A team: what was compared, and what is recommended.
#[derive(Serialize)]
pub struct Compared {
    pub members_bits_per_second: Vec<u64>,
    pub rows: Vec<Row>,
    /// `None` if nothing left by the team, or a guarantee was broken in all runs.
    pub recommendation: Option<Recommendation>,
}

#[derive(Serialize)]
pub struct Recommendation {
    /// Number of the row, from 0.
    pub row: usize,
    pub sentence: String,
    /// The settings by name.
    pub registry: BTreeMap<&'static str, u64>,
    /// The command that plays these settings.
    pub command: String,
}

/// A mode, a policy and a seed.
#[derive(Serialize, Clone)]
pub struct Row {
    #[serde(serialize_with = "mode_name")]
    pub mode: Mode,
    #[serde(serialize_with = "policy_name")]
    pub policy: HashPolicy,
    pub hash_seed: u64,
    pub fine: bool,
    pub imbalance: f64,
    pub imbalance_floor: f64,
    pub imbalance_floor_exact: bool,
    /// The highest rate of a member in one of 120 equal parts of the time; `None` without a time.
    pub peak: Option<Peak>,
    pub members: Vec<Load>,
    /// `None` if the capture is too short for failures in turn, or there is one member.
    pub failures: Option<Vec<Failure>>,
    /// Frames that a later one of their flow overtook, in both runs.
    pub reordered_frames: u64,
    /// UDP flows that send whole datagrams and fragments, which have unlike keys.
    pub split_flows: usize,
}

#[derive(Serialize, Clone, Copy)]
pub struct Peak {
    pub member: usize,
    pub bits_per_second: f64,
    /// Of the member's speed.
    pub share_of_link: f64,
    pub at_seconds: f64,
}

#[derive(Serialize, Clone)]
pub struct Load {
    pub frames: u64,
    pub bytes: u64,
    pub flows: u64,
    /// Of the bytes of all members.
    pub share: f64,
}

/// One member fails and returns, while all others are up.
#[derive(Serialize, Clone, Copy)]
pub struct Failure {
    pub member: u16,
    pub down_at_seconds: f64,
    pub up_at_seconds: f64,
    pub flows_moved_down: u64,
    pub flows_moved_up: u64,
    pub frames_lost_before_indication: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn mode_name<S: serde::Serializer>(mode: &Mode, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(mode.name())
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn policy_name<S: serde::Serializer>(policy: &HashPolicy, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&PolicyName(*policy).text())
}

impl Row {
    /// As in "transport-ports", with the seed if it is not the product's own.
    pub fn name(&self) -> String {
        match self.hash_seed {
            0 => PolicyName(self.policy).text(),
            seed => format!("{} seed {seed}", PolicyName(self.policy).text()),
        }
    }

    fn moved(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.failures.iter().flatten().map(|failure| (failure.flows_moved_down, failure.flows_moved_up))
    }

    /// Flows that the worst single failure moves.
    pub fn most_moved(&self) -> u64 {
        self.moved().map(|(down, _)| down).max().unwrap_or(0)
    }
}

/// What the physical switch must be configured to.
pub fn physical(mode: Mode) -> &'static str {
    match mode {
        Mode::Static => {
            "on the physical switch one static port channel, without LACP, of the ports of all members"
        }
        Mode::SwitchIndependent => {
            "on the physical switch no port channel; the same VLANs on the port of each member"
        }
    }
}

/// True if every guarantee held in every run.
pub fn run(arguments: &Compare) -> anyhow::Result<bool> {
    let teams = teams(arguments);
    if arguments.reg.is_some() && teams.len() > 1 {
        bail!("--reg writes the values of one team, and {} are compared; name one", teams.len());
    }
    let modes = arguments.mode.map_or(vec![Mode::Static, Mode::SwitchIndependent], |mode| vec![mode]);
    let policies: Vec<HashPolicy> =
        POLICIES.into_iter().filter(|policy| modes.iter().any(|mode| mode.takes(*policy))).collect();
    arguments.tunnels.check(&policies)?;
    Files::default()
        .read("the capture", arguments.capture.as_deref())
        .written("--reg", arguments.reg.as_deref())
        .written("--report", arguments.report.as_deref())
        .check()?;
    let capture = Capture::of(arguments.capture.as_deref())?;
    let survey = Survey::of(&capture, &arguments.which)?;
    let split = split::flows(&capture, &survey, &policies, arguments.tunnels.ports())?;
    let runs = runs::Runs { arguments, capture: &capture, survey: &survey, modes: &modes, split: &split };
    let teams = runs.all(&teams)?;
    let all = || teams.iter().flat_map(|team| &team.rows);
    let first = all().next();
    let comparison = Comparison {
        version: env!("CARGO_PKG_VERSION"),
        fine: all().all(|row| row.fine),
        capture: capture.to_string(),
        length_seconds: survey.length.as_secs_f64(),
        frames: survey.frames,
        frames_cut_short: survey.cut,
        frames_by_the_team: first.map_or(0, |row| row.members.iter().map(|member| member.frames).sum()),
        seed: arguments.seed,
        gap_us: arguments.gap_us,
        machines: survey.hosts.machines.clone(),
        other_adapters: survey.hosts.others.clone(),
        warnings: survey.warnings.clone(),
        teams,
    };
    if let Some(path) = &arguments.reg {
        let Some(advice) = comparison.teams.first().and_then(|team| team.recommendation.as_ref()) else {
            bail!("nothing is recommended, so there are no values for {}", path.display());
        };
        let values: Vec<(&str, u64)> = advice.registry.iter().map(|(name, value)| (*name, *value)).collect();
        output::write(path, &crate::settings::file(&values))?;
    }
    if let Some(path) = &arguments.report {
        output::write(path, &page::page(&comparison))?;
    }
    if arguments.json {
        out(&(serde_json::to_string(&comparison)? + "\n"))?;
    } else {
        out(&print::text(&comparison))?;
    }
    Ok(comparison.fine)
}

/// Speed of a member without `--speeds`, in bit/s.
const USUAL: u64 = 10_000_000_000;

/// The teams that are asked for; four members of 10G if none is.
fn teams(arguments: &Compare) -> Vec<Vec<u64>> {
    let alike = |members: u16| vec![USUAL; usize::from(members)];
    let mut teams: Vec<Vec<u64>> = arguments.members.iter().map(|members| alike(*members)).collect();
    teams
        .extend(arguments.speeds.iter().map(|Team(speeds)| speeds.iter().map(|Speed(bits)| *bits).collect()));
    if teams.is_empty() {
        teams.push(alike(4));
    }
    teams
}
