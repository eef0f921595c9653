//! The command line.

use crate::hosts::{PRIVATE, Range};
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

/// Replays captures through the lbfoext driver and explains what the team does.
#[derive(Parser)]
#[command(name = "teamctl", version, max_term_width = 80, args_conflicts_with_subcommands = true)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Option<Command>,
}

#[derive(Subcommand)]
pub enum Command {
    /// Send a capture through the driver: who carries what, what a failure moves
    ///
    /// Adapters of the capture that send from inside addresses become virtual machines. Their traffic to the outside
    /// leaves through the team; everything else comes in through its members.
    #[command(after_help = EXAMPLES)]
    Replay(Replay),
}

impl Command {
    /// What the tool does when it is not told: `replay` with its defaults.
    pub fn main_job() -> Self {
        match Cli::parse_from(["teamctl", "replay"]).command {
            Some(command) => command,
            None => unreachable!("replay was named"),
        }
    }
}

const EXAMPLES: &str = "\
Examples:
  teamctl replay                                the bundled recording
  teamctl replay day.pcapng --speeds 25G,25G,10G
  teamctl replay --fail 1@4.5 --restore 1@9     member 1 is down from 4.5 s to 9 s
  teamctl replay --fail 3@50% --json
  teamctl replay --fail none --policy hyper-v-port --mode switch-independent

Exit codes: 0 fine, 1 a guarantee was broken, 2 wrong usage or input.";

#[derive(Args)]
pub struct Replay {
    /// A pcap or pcapng file of Ethernet frames [default: the bundled recording]
    pub capture: Option<PathBuf>,

    /// Members of the team, all equally fast [default: 4]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=32), conflicts_with = "speeds")]
    pub members: Option<u16>,

    /// Speed of each member, as in 10G,25G
    #[arg(long, value_name = "SPEED,...", value_delimiter = ',')]
    pub speeds: Vec<Speed>,

    /// What the physical switch knows of the team
    #[arg(long, value_enum, default_value_t = Mode::Static)]
    pub mode: Mode,

    /// What stays together on one member
    #[arg(long, value_enum, default_value_t = PolicyName::TransportPorts)]
    pub policy: PolicyName,

    /// A member fails: its number and when, in seconds or per cent of the capture; "none" for no failure
    #[arg(long, value_name = "MEMBER@TIME", default_value = "2@33%")]
    pub fail: Vec<When>,

    /// A member comes back
    #[arg(long, value_name = "MEMBER@TIME", default_value = "2@67.68%")]
    pub restore: Vec<When>,

    /// Silence after which a flow may change member, in microseconds; 0 moves flows at once
    #[arg(long, value_name = "US", default_value_t = 500, value_parser = clap::value_parser!(u32).range(0..=500_000))]
    pub gap_us: u32,

    /// How long a link that came back must stay up before it is used, in milliseconds; on a host 2000
    #[arg(long, value_name = "MS", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=60_000))]
    pub up_delay_ms: u32,

    /// Seed of everything that chance decides in the simulated switch
    #[arg(long, default_value_t = 1)]
    pub seed: u64,

    /// Address ranges of the inside
    #[arg(long, value_name = "RANGE,...", value_delimiter = ',', default_values_t = PRIVATE.map(range))]
    pub inside: Vec<Range>,

    /// Print one JSON object instead of text
    #[arg(long)]
    pub json: bool,
}

fn range(text: &str) -> Range {
    text.parse().unwrap_or_else(|error| panic!("a constant of this program: {error}"))
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// The ports of the physical switch are one group
    Static,
    /// The physical switch knows nothing of the team
    SwitchIndependent,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PolicyName {
    /// Addresses and TCP or UDP ports
    TransportPorts,
    /// The virtual machine's adapter
    HyperVPort,
}

/// Bits per second.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Speed(pub u64);

impl FromStr for Speed {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("\"{text}\" is no speed; write one like 100M, 10G or 25G (1M to 1000G)");
        let (number, unit) = text.split_at(text.len() - text.chars().next_back().map_or(0, char::len_utf8));
        let unit = match unit {
            "M" | "m" => 1_000_000,
            "G" | "g" => 1_000_000_000,
            _ => return Err(wrong()),
        };
        let bits =
            number.parse::<u64>().ok().and_then(|number| number.checked_mul(unit)).ok_or_else(wrong)?;
        if (1_000_000..=1_000_000_000_000).contains(&bits) { Ok(Self(bits)) } else { Err(wrong()) }
    }
}

/// A member and a time, or nothing.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum When {
    Never,
    At { member: u16, time: Time },
}

#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Time {
    Seconds(f64),
    PerCent(f64),
}

impl Time {
    /// Within a capture of this length.
    pub fn of(self, length: Duration) -> Duration {
        match self {
            Self::Seconds(seconds) => Duration::from_secs_f64(seconds),
            Self::PerCent(part) => length.mul_f64(part / 100.0),
        }
    }
}

impl FromStr for When {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        if text == "none" {
            return Ok(Self::Never);
        }
        let wrong = || {
            format!("\"{text}\" is no event; write MEMBER@SECONDS or MEMBER@PER-CENT%, as in 2@4.5 or 2@33%")
        };
        let (member, time) = text.split_once('@').ok_or_else(wrong)?;
        let member = member.parse().map_err(|_| wrong())?;
        let (number, per_cent) = time.strip_suffix('%').map_or((time, false), |number| (number, true));
        let number: f64 = number.parse().map_err(|_| wrong())?;
        match (number, per_cent) {
            (part, true) if (0.0..=100.0).contains(&part) => {
                Ok(Self::At { member, time: Time::PerCent(part) })
            }
            (seconds, false) if (0.0..1e9).contains(&seconds) => {
                Ok(Self::At { member, time: Time::Seconds(seconds) })
            }
            _ => Err(wrong()),
        }
    }
}
