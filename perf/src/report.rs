//! The results of a replay, for all output formats. `--json` prints `Report`.

use crate::args::Replay;
use crate::flow::Label;
use crate::observer::{Account, Bucket, Event, LinkChange, Observer, Share};
use crate::queues::Queues;
use crate::survey::Survey;
use crate::table;
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;
use vswitch::scenario::outcome::Outcome;

#[derive(Serialize)]
pub struct Report {
    pub frames: usize,
    pub flows: usize,
    pub driver: &'static str,
    pub members: Vec<Member>,
    pub events: Vec<Happening>,
    pub imbalance: f64,
    pub imbalance_floor: f64,
    pub reordered_frames: u64,
    pub dropped: BTreeMap<String, u64>,
    pub native: u64,
    /// Assigned to a member whose link was down, before the indication.
    pub lost: u64,
    /// From the external network while every member was down; they never reached the switch.
    pub unreachable: u64,
    /// Frames without a result.
    pub unaccounted: u64,
    pub violations: usize,
    pub rules_exercised: usize,
    pub leaks: usize,
    /// Only with `--queues`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queues: Option<Queues>,
    /// What is to be said of the capture.
    pub warnings: Vec<String>,
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
    #[serde(skip)]
    pub over_time: Vec<u64>,
    /// Its largest flows.
    #[serde(skip)]
    pub largest: Vec<(Label, Share)>,
}

#[derive(Serialize)]
pub struct Happening {
    pub kind: &'static str,
    pub member: u16,
    pub at_frame: usize,
    pub flows_moved: u64,
    pub flows_moved_needlessly: u64,
    pub frames_to_dead_member: u64,
    pub frames_lost_before_indication: u64,
    #[serde(skip)]
    pub at: Duration,
}

/// Data for text and HTML only.
pub struct Facts {
    pub capture: String,
    pub length: Duration,
    pub cut: usize,
    pub machines: usize,
    pub team: String,
    pub account: Account,
    pub buckets: Vec<Bucket>,
    /// The member of each bucket at the end.
    pub table: Vec<u16>,
    /// The text of the first violations and leaks.
    pub details: Vec<String>,
    /// Number of flows that changed their member without an event.
    pub moved_without_an_event: u64,
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
        let (imbalance, imbalance_floor) = seen.imbalance(speeds);
        let members = (1..).zip(&seen.members).zip(speeds).map(|((index, member), &speed)| Member {
            index,
            frames: member.share.frames,
            bytes: member.share.bytes,
            flows: member.flows,
            speed,
            over_time: member.over_time.clone(),
            largest: seen.largest_flows(index, LARGEST.max(arguments.top.unwrap_or(0).into())),
        });
        let team = format!(
            "{} team, policy {}, seed {}",
            arguments.mode.words(),
            arguments.policy()?.row().words,
            arguments.seed
        );
        Ok(Self {
            frames: survey.frames,
            flows: seen.flows(),
            driver: if arguments.image.is_some() { "image" } else { "native" },
            members: members.collect(),
            events: seen.events.iter().map(Happening::of).collect(),
            imbalance,
            imbalance_floor,
            reordered_frames: seen.reordered,
            dropped: seen.account.dropped.clone(),
            native: seen.account.native,
            lost: seen.account.lost,
            unreachable: seen.account.unreachable,
            unaccounted: seen.account.unaccounted,
            violations: outcome.violations.len(),
            rules_exercised: outcome.exercised.values().filter(|count| **count != 0).count(),
            leaks: outcome.leaks.len(),
            queues,
            warnings: survey.warnings.clone(),
            facts: Facts {
                capture,
                length: survey.length,
                cut: survey.cut,
                machines: survey.hosts.macs().len(),
                team,
                details: details(&seen, outcome),
                account: seen.account,
                buckets: seen.buckets,
                table: table::owners(speeds, &seen.events),
                moved_without_an_event: seen.moved_without_an_event,
                order_promised: arguments.gap_us != 0,
                top: arguments.top,
            },
        })
    }

    /// Whether every guarantee held.
    pub fn is_fine(&self) -> bool {
        let moved = self.facts.moved_without_an_event == 0
            && self.events.iter().all(|e| e.flows_moved_needlessly == 0 && e.frames_to_dead_member == 0);
        let ordered = self.reordered_frames == 0 || !self.facts.order_promised;
        let agreed = self.queues.as_ref().is_none_or(|queues| queues.disagreements == 0);
        moved && ordered && agreed && self.violations == 0 && self.leaks == 0 && self.unaccounted == 0
    }

    pub fn verdict(&self) -> &'static str {
        if self.is_fine() { "Fine" } else { "A GUARANTEE WAS BROKEN" }
    }
}

impl Happening {
    fn of(event: &Event) -> Self {
        Self {
            kind: if event.kind == LinkChange::Down { "down" } else { "up" },
            member: event.member,
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
    let moved = (moved != 0).then(|| format!("{moved} flows changed member although nothing had happened"));
    let aborted = outcome.aborted.then(|| "the simulated machine stopped before the end".to_owned());
    let violations = outcome.violations.iter().map(ToString::to_string);
    moved.into_iter().chain(aborted).chain(violations).chain(outcome.leaks.clone()).take(5).collect()
}
