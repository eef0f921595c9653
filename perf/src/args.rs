//! The command line.

use crate::hosts::Which;
use crate::tunnels::Tunnels;
use anyhow::bail;
use clap::builder::PossibleValue;
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::OnceLock;
use std::time::Duration;
use teaming::flow::{HashPolicy, POLICIES};
use teaming::ids::MEMBERS;

/// Replays captures through the lbfoext driver and explains what the team does
#[derive(Parser)]
#[command(name = "teamctl", version, max_term_width = 80)]
#[command(
    after_help = "Without a command: replay of the bundled recording. teamctl replay --help has examples."
)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Option<Command>,
}

#[derive(Subcommand)]
pub enum Command {
    /// Send a capture through the driver: who carries what, what a failure moves
    ///
    /// Adapters of the capture that are inside become virtual machines: the evidence of its frames says which, and the
    /// output lists them. Their traffic to the outside leaves through the team; what all other adapters sent comes in
    /// through its members, each frame through one.
    #[command(after_help = EXAMPLES)]
    Replay(Box<Replay>),

    /// Compare every mode and policy on a capture, and recommend one
    ///
    /// Each is played through the driver twice: once without a failure, for loads, and once with each member failing and
    /// returning in turn, for moves. On all processors.
    #[command(after_help = crate::compare::EXAMPLES)]
    Compare(Box<crate::compare::Compare>),

    /// Move a machine of a capture to another host: which of its flows keep their member
    ///
    /// The capture plays through the driver on two hosts. The machine's state is saved, it stops, appears on the target
    /// under another port, gets its state back and goes on.
    #[command(after_help = crate::migrate::EXAMPLES)]
    Migrate(Box<crate::migrate::Migrate>),

    /// Explain by which member a flow leaves: each step of the decision, and what would change it
    ///
    /// The steps are asked of the driver's own parser, hash and tables. What is explained is where the flow goes once
    /// every move has taken effect.
    #[command(after_help = crate::explain::EXAMPLES)]
    Explain(Box<crate::explain::Explain>),

    /// Print the rule book of the simulated switch: what is checked, and where it is documented
    ///
    /// Each rule with its severity, whether a check names it, whether a mutation in the driver's name proves that
    /// check, its sentence and, in brackets, the page of Microsoft's documentation or the header that it rests on.
    #[command(after_help = crate::rules::EXAMPLES)]
    Rules(crate::rules::Rules),

    /// Run one scenario of the driver's tests: what became of its frames, which rules were broken
    ///
    /// The same scenario and the same seed give the same run. A test that fails names the command that repeats it.
    #[command(after_help = crate::scenario::EXAMPLES)]
    Scenario(crate::scenario::Scenario),

    /// Show the teams of a host: state, members, machines, drops
    #[command(after_help = crate::show::EXAMPLES)]
    Show(crate::show::Show),

    /// Print a host's entries in the event log, each with what to do
    #[command(after_help = crate::show::EVENT_EXAMPLES)]
    Events(crate::show::Events),

    /// Say what is wrong on a host, and how to mend it
    #[command(after_help = crate::doctor::EXAMPLES)]
    Doctor(crate::doctor::Doctor),

    /// Answer what the product assumes about Windows from the survey of a host
    #[command(after_help = crate::register::EXAMPLES)]
    Survey(crate::register::Survey),

    /// Plan how a switch on an LBFO team or with embedded teaming (SET) becomes one on a switch team
    ///
    /// Prints each step with its command, what is lost, who is cut off and when, and the way back; or why there is no plan
    /// and what to do first. It changes nothing.
    #[command(after_help = crate::convert::EXAMPLES)]
    Convert(crate::convert::Convert),

    /// Print the driver's settings, write files that set them, and check such files
    ///
    /// The table is the driver's own, and a check reads a file as the driver reads the registry.
    #[command(after_help = crate::settings::EXAMPLES)]
    Settings(crate::settings::Command),

    /// Print a script that completes this tool's options in a shell
    #[command(after_help = "Example: teamctl completions bash > /etc/bash_completion.d/teamctl")]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
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
  teamctl replay day.pcapng --machines 02:00:00:00:00:05,192.0.2.7
  teamctl replay day.pcapng --machines -192.168.1.1     the guess but one
  teamctl replay --report team.html --save out/ the same as a page and captures
  teamctl replay --fail 1@4.5 --restore 1@9     member 1 is down for 4.5 s
  teamctl replay --fail 2@50% --save-host sim.json   then teamctl doctor sim.json
  teamctl replay --fail 3@50% --json            one object, for a script
  teamctl replay --policy ip-addresses --top 5  the five largest of each member
  teamctl replay --queues --mode switch-independent
  teamctl replay --queues --placement every-member --queue-limits 16,16,8,8
  teamctl replay --fail none --policy hyper-v-port --mode switch-independent

Exit codes: 0 fine, 1 a guarantee was broken, 2 wrong usage or input.";

#[derive(Args)]
pub struct Replay {
    /// A pcap or pcapng file, also in gzip or Zstandard; - is standard input [default: the bundled recording]
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

    /// What stays together on one member [default: transport-ports in a static team, else hyper-v-port]
    #[arg(long, value_enum)]
    pub policy: Option<PolicyName>,

    #[command(flatten)]
    pub tunnels: Tunnels,

    /// A member fails: its number and when, in seconds or per cent of the capture; "none" for no failure [default:
    /// 2@33%]
    #[arg(long, value_name = "MEMBER@TIME")]
    pub fail: Vec<When>,

    /// A member comes back [default: 2@67.68% if --fail is not given]
    #[arg(long, value_name = "MEMBER@TIME")]
    pub restore: Vec<When>,

    /// Silence after which a flow may change member, in microseconds; 0 moves flows at once
    #[arg(long, value_name = "US", default_value_t = 500, value_parser = clap::value_parser!(u32).range(0..=500_000))]
    pub gap_us: u32,

    /// How long a link that came back must stay up before it is used, in milliseconds; on a host 2000
    #[arg(long, value_name = "MS", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=60_000))]
    pub up_delay_ms: u32,

    /// HashSeed of the driver; 0 is the product's own
    #[arg(long, value_name = "SEED", default_value_t = 0)]
    pub hash_seed: u64,

    /// Seed of everything that chance decides in the simulated switch
    #[arg(long, default_value_t = 1)]
    pub seed: u64,

    #[command(flatten)]
    pub which: Which,

    /// Give each machine a receive queue (VMQ) and show which member holds it, before and after each change
    ///
    /// The switch allocates as many queues as the driver says the team has, sets a filter for the machine's MAC address
    /// in each of its VLANs, and completes the allocation; it plans anew 1 s after the driver indicates what the team
    /// can do. Frames from outside arrive, in a static team, on the member that the physical switch's own hash of the
    /// frame, or of the first of those that came together, picks among those with a link; in a switch-independent team,
    /// on the member from whose port the physical switch heard the machine last, and as in a static team where it knows
    /// none. An adapter puts a frame into the queue whose filter takes it, or else into its default queue, and counts
    /// it there.
    #[arg(long)]
    pub queues: bool,

    /// On which member the driver puts a machine's queue [default: follow-flows]
    #[arg(long, value_enum, requires = "queues")]
    pub placement: Option<Placement>,

    /// Queues of each member's adapter beside its default queue, one number for all or one for each [default: 16]
    #[arg(long, value_name = "N,...", value_delimiter = ',', requires = "queues",
          value_parser = clap::value_parser!(u32).range(0..=1024))]
    pub queue_limits: Vec<u32>,

    /// Run this driver image, as built for Windows, instead of the driver in this tool
    #[arg(long, value_name = "LBFOEXT.SYS")]
    pub image: Option<PathBuf>,

    /// Largest flows to print of each member [default: what fits a screen]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(0..=50))]
    pub top: Option<u8>,

    /// Write a page with plots: one file without scripts that needs no network
    #[arg(long, value_name = "FILE.html")]
    pub report: Option<PathBuf>,

    /// Write what came out of each member: a capture with an interface for each, or a folder with a capture for each, in
    /// place of those of an earlier replay
    #[arg(long, value_name = "FILE.pcapng|FOLDER")]
    pub save: Option<PathBuf>,

    /// Write what collect.ps1 would save of the host at the end: for teamctl show, events and doctor
    #[arg(long, value_name = "HOST.json")]
    pub save_host: Option<PathBuf>,

    /// Print one JSON object instead of text: all that the page has, as perf/replay.schema.json describes it
    #[arg(long)]
    pub json: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum, Debug)]
pub enum Mode {
    /// The ports of the physical switch are one group
    Static,
    /// The physical switch knows nothing of the team
    SwitchIndependent,
}

impl Mode {
    /// Value of `TeamingMode`.
    pub fn number(self) -> u32 {
        match self {
            Self::Static => 0,
            Self::SwitchIndependent => 1,
        }
    }

    pub fn words(self) -> &'static str {
        match self {
            Self::Static => "static",
            Self::SwitchIndependent => "switch independent",
        }
    }

    /// Whether a team of this mode may have the policy.
    pub fn takes(self, policy: HashPolicy) -> bool {
        self == Self::Static || policy.keeps_an_address_on_one_member()
    }

    /// As `--mode` takes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Static => "static",
            Self::SwitchIndependent => "switch-independent",
        }
    }
}

/// Values of `OffloadPlacement`.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum, Debug, Default)]
pub enum Placement {
    /// The member where its traffic arrives
    FollowFlows,
    /// One member for all machines
    #[default]
    SingleMember,
    /// A copy on every member
    EveryMember,
}

impl Placement {
    /// Value of `OffloadPlacement`.
    pub fn number(self) -> u32 {
        match self {
            Self::FollowFlows => 0,
            Self::SingleMember => 1,
            Self::EveryMember => 2,
        }
    }

    pub fn words(self) -> &'static str {
        match self {
            Self::FollowFlows => "follow-flows",
            Self::SingleMember => "single-member",
            Self::EveryMember => "every-member",
        }
    }
}

/// A hash policy as an option: the driver's table, each name in lower case with hyphens.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PolicyName(pub HashPolicy);

impl ValueEnum for PolicyName {
    fn value_variants<'a>() -> &'a [Self] {
        POLICY_NAMES.get_or_init(|| POLICIES.map(Self))
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.text()).help(self.0.row().help))
    }
}

impl PolicyName {
    /// As `--policy` takes it.
    pub fn text(self) -> String {
        hyphenated(self.0.name())
    }
}

static POLICY_NAMES: OnceLock<[PolicyName; POLICIES.len()]> = OnceLock::new();

/// A hyphen before each word: a capital begins one after a small letter, or before one.
fn hyphenated(name: &str) -> String {
    let letters: Vec<char> = name.chars().collect();
    let small = |at: usize| letters.get(at).is_some_and(char::is_ascii_lowercase);
    let mut words = String::new();
    for (at, letter) in letters.iter().enumerate() {
        if at > 0 && letter.is_ascii_uppercase() && (small(at - 1) || small(at + 1)) {
            words.push('-');
        }
        words.push(letter.to_ascii_lowercase());
    }
    words
}

impl Replay {
    /// The policy, which must suit the mode.
    pub fn policy(&self) -> anyhow::Result<HashPolicy> {
        self.mode.policy(self.policy)
    }

    /// Speed of each member in bits per second.
    pub fn speeds(&self) -> anyhow::Result<Vec<u64>> {
        speeds(self.members, &self.speeds)
    }
}

impl Mode {
    /// The policy that was asked for, which must suit the mode, or that of the mode.
    pub fn policy(self, asked: Option<PolicyName>) -> anyhow::Result<HashPolicy> {
        let of_mode = match self {
            Self::Static => HashPolicy::TransportPorts,
            Self::SwitchIndependent => HashPolicy::HyperVPort,
        };
        let policy = asked.map_or(of_mode, |PolicyName(policy)| policy);
        if !self.takes(policy) {
            bail!(
                "policy {} needs a physical switch that knows of the team; \
                 take --mode static, or --policy hyper-v-port or vlan-source-mac",
                policy.row().words
            );
        }
        Ok(policy)
    }
}

/// Speed of each member in bits per second, of `--members` and `--speeds`.
pub fn speeds(members: Option<u16>, named: &[Speed]) -> anyhow::Result<Vec<u64>> {
    if named.len() > MEMBERS {
        bail!("--speeds names {} members; a team has at most {MEMBERS}", named.len());
    }
    if named.is_empty() {
        return Ok(vec![10_000_000_000; usize::from(members.unwrap_or(4))]);
    }
    Ok(named.iter().map(|Speed(bits)| *bits).collect())
}

/// Bits per second.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Speed(pub u64);

impl FromStr for Speed {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("\"{text}\" is no speed; write one like 100M, 2.5G or 10G (1M to 1000G, in whole M)");
        let (number, unit) = text.split_at(text.len() - text.chars().next_back().map_or(0, char::len_utf8));
        let digits = match unit {
            "M" | "m" => 0,
            "G" | "g" => 3,
            _ => return Err(wrong()),
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
        let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let fraction = if is_number(fraction) { fraction.trim_end_matches('0') } else { return Err(wrong()) };
        if !is_number(whole) || fraction.len() > digits {
            return Err(wrong());
        }
        // In whole M, with the digits after the point that this unit has.
        let megabits = format!("{whole}{fraction:0<digits$}").parse::<u64>().map_err(|_| wrong())?;
        if (1..=1_000_000).contains(&megabits) { Ok(Self(megabits * 1_000_000)) } else { Err(wrong()) }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_policy_of_the_driver_can_be_asked_for_by_its_name_with_hyphens() {
        let names: Vec<String> = PolicyName::value_variants()
            .iter()
            .filter_map(|name| Some(name.to_possible_value()?.get_name().to_owned()))
            .collect();
        let [ports, ip, mac, port, vlan, tunnel] = &names[..6] else { unreachable!("six names") };
        assert_eq!([ports, ip, mac], ["transport-ports", "ip-addresses", "mac-addresses"]);
        assert_eq!([port, vlan, tunnel], ["hyper-v-port", "vlan-source-mac", "encapsulated"]);
        assert_eq!(names.len(), POLICIES.len());
    }

    #[test]
    fn the_command_line_is_sound_and_its_help_fits_a_terminal() {
        use clap::CommandFactory;
        let mut command = Cli::command();
        command.build();
        command.clone().debug_assert();
        for part in command.get_subcommands_mut() {
            let help = part.render_long_help().to_string();
            for line in help.lines() {
                assert!(line.chars().count() <= 80, "{line}");
            }
        }
    }

    #[test]
    fn times_and_speeds_are_read_or_refused_with_an_example() {
        assert_eq!("2@4.5".parse(), Ok(When::At { member: 2, time: Time::Seconds(4.5) }));
        assert_eq!("2@33%".parse(), Ok(When::At { member: 2, time: Time::PerCent(33.0) }));
        for wrong in ["2", "@", "2@", "2@x", "2@101%", "2@-1", "2@NaN", "x@1", "2@inf"] {
            assert!(wrong.parse::<When>().unwrap_err().contains("2@4.5"), "{wrong}");
        }
        for (text, megabits) in [
            ("25G", 25_000),
            ("100M", 100),
            ("2500M", 2_500),
            ("2.5G", 2_500),
            ("2.50g", 2_500),
            ("0.1G", 100),
            ("1.001G", 1_001),
            ("10.0M", 10),
            ("1000G", 1_000_000),
            ("1M", 1),
        ] {
            assert_eq!(text.parse(), Ok(Speed(megabits * 1_000_000)), "{text}");
        }
        for wrong in [
            "",
            "G",
            "10",
            "10T",
            "0G",
            "1001G",
            "1000.1G",
            "10€",
            "2,5G",
            "2.5.1G",
            ".5G",
            "2.G",
            "+1G",
            "-1G",
            "1.0001G",
            "1.5M",
            "0.5M",
            "99999999999999999999G",
        ] {
            assert!(wrong.parse::<Speed>().unwrap_err().contains("10G"), "{wrong}");
        }
    }
}
