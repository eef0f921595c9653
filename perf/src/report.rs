//! The results of a replay, for all output formats. `--json` prints `Report`.

use crate::args::{PolicyName, Replay};
use crate::flow::Label;
use crate::hosts::Listed;
use crate::observer::{Account, Bucket, Event, LinkChange, Observer, Share};
use crate::queues::Queues;
use crate::survey::Survey;
use crate::table;
use crate::text::{count, count_of};
use crate::tunnels::Told;
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;
use teaming::forward::drop_reason::DropReason;
use vswitch::scenario::outcome::Outcome;

/// `perf/replay.schema.json` describes its JSON.
#[derive(Serialize)]
pub struct Report {
    /// Of teamctl.
    pub version: &'static str,
    pub verdict: Verdict,
    /// The verdict as the first line of the text has it.
    pub verdict_text: String,
    pub capture: String,
    pub length_seconds: f64,
    pub frames: usize,
    /// Frames of which the recorder kept only the first bytes.
    pub frames_cut_short: usize,
    pub flows: usize,
    pub driver: &'static str,
    pub mode: &'static str,
    pub policy: String,
    pub hash_seed: u64,
    pub seed: u64,
    pub gap_us: u32,
    pub up_delay_ms: u32,
    pub machines: Vec<Listed>,
    /// Adapters of the capture that are no machines.
    pub other_adapters: Vec<Listed>,
    pub members: Vec<Member>,
    pub events: Vec<Happening>,
    pub imbalance: f64,
    pub imbalance_floor: f64,
    /// The floor is the least itself, not only a bound.
    pub imbalance_floor_exact: bool,
    /// How frames ended; the sum of all is `frames`.
    pub ends: Ends,
    pub reordered_frames: u64,
    /// Frames of `ends.dropped` by reason.
    pub dropped: BTreeMap<String, u64>,
    pub native: u64,
    /// Assigned to a member whose link was down, before the indication.
    pub lost: u64,
    /// From the external network while every member was down; they never reached the switch.
    pub unreachable: u64,
    /// Frames without a result.
    pub unaccounted: u64,
    /// Made by the driver itself, to tell the network where an address is; not in `frames`.
    pub announcements: u64,
    /// Likewise, to ask machines that have moved for the groups that they listen to.
    pub group_queries: u64,
    /// Flows that changed their member without an event.
    pub flows_moved_without_event: u64,
    pub violations: usize,
    pub rules_exercised: usize,
    pub leaks: usize,
    /// The text of the first violations and leaks.
    pub details: Vec<String>,
    pub buckets: Buckets,
    /// Only with the policy Encapsulated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encapsulated: Option<Told>,
    /// Only with `--queues`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queues: Option<Queues>,
    /// What is to be said of the capture.
    pub warnings: Vec<String>,
    #[serde(skip)]
    pub facts: Facts,
}

/// What the first line says.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    Fine,
    /// The guarantees hold, but so few frames left by the team that this says little.
    LittleCrossed,
    /// The guarantees hold, but for much of the traffic there was no way.
    MuchDropped,
    /// The same, because every member had failed.
    NoMemberUp,
    GuaranteeBroken,
}

/// Frames by result; each frame is counted once.
#[derive(Serialize)]
pub struct Ends {
    pub to_outside: u64,
    pub inside: u64,
    pub both: u64,
    pub native: u64,
    pub dropped: u64,
    pub lost: u64,
    pub unreachable: u64,
    pub unaccounted: u64,
}

/// The buckets of the driver's hash, in their order.
#[derive(Serialize)]
pub struct Buckets {
    /// The member that carried the bucket last; 0 without traffic.
    pub last: Vec<u16>,
    /// Numbers of the buckets that changed member.
    pub moved: Vec<usize>,
    /// The member of each bucket at the end; 0 if none is up.
    pub at_end: Vec<u16>,
}

#[derive(Serialize)]
pub struct Member {
    pub index: u16,
    pub bits_per_second: u64,
    pub frames: u64,
    pub bytes: u64,
    pub flows: u64,
    /// Of the bytes of all members, 0 to 1.
    pub share: f64,
    /// Bytes in each of 120 equal parts of the capture's time.
    pub bytes_over_time: Vec<u64>,
    pub largest_flows: Vec<Largest>,
}

/// A flow of a member.
#[derive(Serialize)]
pub struct Largest {
    #[serde(serialize_with = "as_protocol", rename = "protocol")]
    pub label: Label,
    pub flow: String,
    #[serde(flatten)]
    pub share: Share,
}

fn as_protocol<S: serde::Serializer>(label: &Label, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&label.protocol())
}

#[derive(Serialize)]
pub struct Happening {
    pub kind: &'static str,
    pub member: u16,
    pub at_seconds: f64,
    pub at_frame: usize,
    pub flows_moved: u64,
    pub flows_moved_needlessly: u64,
    pub frames_to_dead_member: u64,
    pub frames_lost_before_indication: u64,
    #[serde(skip)]
    pub at: Duration,
}

/// Data for text and HTML in their form.
pub struct Facts {
    pub length: Duration,
    pub team: String,
    pub account: Account,
    pub buckets: Vec<Bucket>,
    /// The member of each bucket at the end.
    pub table: Vec<u16>,
    /// Whether the settings promise that frames of a flow stay in order.
    pub order_promised: bool,
    /// Number of largest flows of each member to print; by default as many as fit a screen.
    pub top: Option<u8>,
}

/// Smallest number of largest flows of each member on the page.
const LARGEST: usize = 5;

impl Report {
    pub fn new(
        arguments: &Replay,
        capture: String,
        survey: &Survey,
        speeds: &[u64],
        seen: Observer,
        queues: Option<Queues>,
        outcome: &Outcome,
    ) -> anyhow::Result<Self> {
        let policy = arguments.policy()?;
        let (imbalance, least) = seen.imbalance(speeds);
        let members: Vec<Member> = members(arguments, speeds, &seen);
        let of_hash = match arguments.hash_seed {
            0 => String::new(),
            seed => format!(", HashSeed {seed}"),
        };
        let team = format!(
            "{} team, policy {}{of_hash}, seed {}",
            arguments.mode.words(),
            policy.row().words,
            arguments.seed
        );
        let ends = Ends::of(&seen.account);
        let table = table::owners(speeds, &seen.events);
        let mut report = Self {
            version: env!("CARGO_PKG_VERSION"),
            verdict: Verdict::Fine,
            verdict_text: String::new(),
            capture,
            length_seconds: survey.length.as_secs_f64(),
            frames: survey.frames,
            frames_cut_short: survey.cut,
            flows: seen.flows(),
            driver: if arguments.image.is_some() { "image" } else { "native" },
            mode: arguments.mode.name(),
            policy: PolicyName(policy).text(),
            hash_seed: arguments.hash_seed,
            seed: arguments.seed,
            gap_us: arguments.gap_us,
            up_delay_ms: arguments.up_delay_ms,
            machines: survey.hosts.machines.clone(),
            other_adapters: survey.hosts.others.clone(),
            members,
            events: seen.events.iter().map(Happening::of).collect(),
            imbalance,
            imbalance_floor: least.value,
            imbalance_floor_exact: least.is_exact,
            ends,
            reordered_frames: seen.reordered,
            dropped: seen.account.dropped.clone(),
            native: seen.account.native,
            lost: seen.account.lost,
            unreachable: seen.account.unreachable,
            unaccounted: seen.account.unaccounted,
            announcements: seen.account.announcements,
            group_queries: seen.account.group_queries,
            flows_moved_without_event: seen.moved_without_an_event,
            violations: outcome.violations.len(),
            rules_exercised: outcome.exercised.values().filter(|count| **count != 0).count(),
            leaks: outcome.leaks.len(),
            details: details(&seen, outcome),
            buckets: Buckets::of(&seen.buckets, &table),
            encapsulated: policy.wants_innermost_headers().then(|| seen.hashed.told()),
            queues,
            warnings: survey.warnings.clone(),
            facts: Facts {
                length: survey.length,
                team,
                account: seen.account,
                buckets: seen.buckets,
                table,
                order_promised: arguments.gap_us != 0,
                top: arguments.top,
            },
        };
        (report.verdict, report.verdict_text) = report.judge();
        Ok(report)
    }

    /// Whether every guarantee held.
    pub fn is_fine(&self) -> bool {
        let moved = self.flows_moved_without_event == 0
            && self.events.iter().all(|e| e.flows_moved_needlessly == 0 && e.frames_to_dead_member == 0);
        let ordered = self.reordered_frames == 0 || !self.facts.order_promised;
        let agreed = self.queues.as_ref().is_none_or(|queues| queues.disagreements == 0);
        moved && ordered && agreed && self.violations == 0 && self.leaks == 0 && self.unaccounted == 0
    }

    fn judge(&self) -> (Verdict, String) {
        let frames = self.frames as u64;
        let left: u64 = self.members.iter().map(|member| member.frames).sum();
        let dropped = self.ends.dropped + self.ends.unreachable;
        let without =
            self.ends.unreachable + self.dropped.get(DropReason::NoLiveMember.sentence()).unwrap_or(&0);
        let of = |number: u64| format!("{} of {}", count(number), count_of(frames, "frame"));
        if !self.is_fine() {
            (Verdict::GuaranteeBroken, "A GUARANTEE WAS BROKEN".to_owned())
        } else if dropped * MUCH > frames && (dropped - without) * MUCH <= frames {
            (Verdict::NoMemberUp, format!("For much of the traffic no member was up, {}", of(without)))
        } else if dropped * MUCH > frames {
            (Verdict::MuchDropped, format!("Much was dropped, {}", of(dropped)))
        } else if left * LITTLE < frames {
            (Verdict::LittleCrossed, format!("Little crossed the team, {}", of(left)))
        } else {
            (Verdict::Fine, "Fine".to_owned())
        }
    }
}

/// More than one frame in so many dropped is much.
const MUCH: u64 = 10;
/// Fewer than one frame in so many that left by a member is little.
const LITTLE: u64 = 20;

fn members(arguments: &Replay, speeds: &[u64], seen: &Observer) -> Vec<Member> {
    let all: u64 = seen.members.iter().map(|member| member.share.bytes).sum();
    let member = |((index, member), &speed): ((u16, &crate::observer::Member), &u64)| Member {
        index,
        bits_per_second: speed,
        frames: member.share.frames,
        bytes: member.share.bytes,
        flows: member.flows,
        share: if all == 0 { 0.0 } else { member.share.bytes as f64 / all as f64 },
        bytes_over_time: member.over_time.clone(),
        largest_flows: seen
            .largest_flows(index, LARGEST.max(arguments.top.unwrap_or(0).into()))
            .into_iter()
            .map(|(label, share)| Largest { label, flow: label.to_string(), share })
            .collect(),
    };
    (1..).zip(&seen.members).zip(speeds).map(member).collect()
}

impl Ends {
    fn of(account: &Account) -> Self {
        Self {
            to_outside: account.outside,
            inside: account.inside,
            both: account.both,
            native: account.native,
            dropped: account.dropped.values().sum(),
            lost: account.lost,
            unreachable: account.unreachable,
            unaccounted: account.unaccounted,
        }
    }
}

impl Buckets {
    fn of(buckets: &[Bucket], at_end: &[u16]) -> Self {
        let moved = buckets.iter().enumerate().filter(|(_, bucket)| bucket.moved).map(|(number, _)| number);
        Self {
            last: buckets.iter().map(|bucket| bucket.last).collect(),
            moved: moved.collect(),
            at_end: at_end.to_vec(),
        }
    }
}

impl Happening {
    fn of(event: &Event) -> Self {
        Self {
            kind: if event.kind == LinkChange::Down { "down" } else { "up" },
            member: event.member,
            at_seconds: event.at.as_secs_f64(),
            at_frame: event.at_frame,
            flows_moved: event.flows_moved,
            flows_moved_needlessly: event.flows_moved_needlessly,
            frames_to_dead_member: event.frames_to_dead_member,
            frames_lost_before_indication: event.frames_lost_before_indication,
            at: event.at,
        }
    }
}

fn details(seen: &Observer, outcome: &Outcome) -> Vec<String> {
    let moved = seen.moved_without_an_event;
    let moved = (moved != 0)
        .then(|| format!("{} changed member although nothing had happened", count_of(moved, "flow")));
    let aborted = outcome.aborted.then(|| "the simulated machine stopped before the end".to_owned());
    let violations = outcome.violations.iter().map(ToString::to_string);
    moved.into_iter().chain(aborted).chain(violations).chain(outcome.leaks.clone()).take(5).collect()
}
