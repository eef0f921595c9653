//! What a migration left: the object that `--json` prints (`migrate.schema.json`), and its text.

use super::{Migrate, Path};
use crate::args::{PolicyName, Speed};
use crate::capture::Capture;
use crate::hosts;
use crate::print::speed;
use crate::survey::Survey;
use crate::text::count_of;
use anyhow::Context;
use serde::Serialize;
use std::collections::BTreeMap;
use teaming::ids::HashId;
use teaming::migration::record::{Differences, NicState};
use vswitch::check::save::record;
use vswitch::scenario::migration::Moved;
use vswitch::scenario::outcome::Outcome;
use vswitch::switch::control::save::{Blob, FIXED};

/// What `--json` prints.
#[derive(Serialize)]
pub struct Report {
    /// Of teamctl.
    version: &'static str,
    verdict: Verdict,
    capture: String,
    frames: usize,
    driver: &'static str,
    seed: u64,
    machine: usize,
    mac: String,
    /// When it moved, in per cent of the capture.
    at: u8,
    /// The host that it leaves, and the one to which it goes.
    source: Host,
    target: Host,
    /// The VM's flows to the external network, by result.
    flows_kept: usize,
    flows_changed: usize,
    flows_ended: usize,
    flows_new: usize,
    /// Differences of the hosts; if there are none, every flow must keep its member.
    differences: Vec<&'static str>,
    /// Changed flows by reason.
    reasons: BTreeMap<&'static str, usize>,
    /// The flows that changed their member.
    changed: Vec<Changed>,
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
}

/// What the first line says.
#[derive(Serialize, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
enum Verdict {
    Fine,
    /// The guarantees hold, but no flow of the machine was seen on both hosts, so that this says little.
    NoneWentOn,
    GuaranteeBroken,
}

/// What decides about members on a host.
#[derive(Serialize)]
struct Host {
    policy: String,
    hash_seed: u64,
    bits_per_second: Vec<u64>,
}

/// A flow whose member on the target is another than on the source.
#[derive(Serialize)]
struct Changed {
    flow: String,
    protocol: String,
    from_member: u16,
    to_member: u16,
    reason: &'static str,
}

#[derive(Serialize, Clone, Copy)]
struct Statistics {
    frames: u64,
    bytes: u64,
}

impl Report {
    #[expect(clippy::too_many_arguments, reason = "what a migration leaves, said once")]
    pub fn new(
        arguments: &Migrate,
        capture: &Capture,
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
        let differences = left.differs_from(HashId::new(ended.hashed_as, ended.seat), &ended.placement);
        let (mut mine, others): (Vec<Path>, Vec<Path>) = paths.partition(|path| path.mine);
        mine.sort_by_key(|path| path.label.to_string());
        let both = || mine.iter().filter_map(|path| Some((path, path.here?, path.there?)));
        let mut reasons = BTreeMap::new();
        let mut changed = Vec::new();
        for (path, here, there) in both().filter(|(_, here, there)| here != there) {
            let why = reason(differences, here, target);
            *reasons.entry(why).or_insert(0) += 1;
            changed.push(Changed {
                flow: path.label.to_string(),
                protocol: path.label.protocol(),
                from_member: here,
                to_member: there,
                reason: why,
            });
        }
        let statistics =
            |state: &NicState| Statistics { frames: state.traffic.frames, bytes: state.traffic.bytes };
        let host = |policy: PolicyName, hash_seed, speeds: &[Speed]| Host {
            policy: policy.text(),
            hash_seed,
            bits_per_second: speeds.iter().map(|Speed(bits)| *bits).collect(),
        };
        let there = arguments.target_policy.unwrap_or(arguments.policy);
        let mut report = Self {
            version: env!("CARGO_PKG_VERSION"),
            verdict: Verdict::Fine,
            capture: capture.to_string(),
            seed: arguments.seed,
            at: arguments.at,
            source: host(arguments.policy, 0, &arguments.speeds),
            target: host(there, arguments.target_hash_seed, target),
            frames: survey.frames,
            driver: if arguments.image.is_some() { "image" } else { "native" },
            machine: machine + 1,
            mac: survey.hosts.macs().nth(machine).map_or_else(String::new, hosts::text_of),
            flows_kept: both().filter(|(_, here, there)| here == there).count(),
            flows_changed: changed.len(),
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
            changed,
        };
        report.verdict = match (report.holds(), report.flows_kept + report.flows_changed) {
            (false, _) => Verdict::GuaranteeBroken,
            (true, 0) => Verdict::NoneWentOn,
            (true, _) => Verdict::Fine,
        };
        Ok(report)
    }

    /// Whether every guarantee held.
    pub fn is_fine(&self) -> bool {
        self.verdict != Verdict::GuaranteeBroken
    }

    /// Between equal hosts every flow must keep its member. In any case no other VM's flows move, and the counters
    /// continue.
    fn holds(&self) -> bool {
        let [left, ended] = self.statistics;
        let kept = !self.differences.is_empty() || self.flows_changed == 0;
        let counted = ended.frames >= left.frames && ended.bytes >= left.bytes;
        kept && counted && self.others_moved == 0 && self.violations == 0 && self.leaks == 0
    }

    pub fn print(&self, arguments: &Migrate, capture: &Capture, target: &[Speed]) {
        let team = |speeds: &[Speed]| speeds.iter().map(|s| speed(s.0)).collect::<Vec<_>>().join(",");
        let verdict = match self.verdict {
            Verdict::Fine => "Fine",
            Verdict::NoneWentOn => "No flow of it was seen on both hosts",
            Verdict::GuaranteeBroken => "A GUARANTEE WAS BROKEN",
        };
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
        for Changed { flow, protocol, from_member, to_member, .. } in self.changed.iter().take(SHOWN) {
            println!("  {from_member:>2} > {to_member:<2} {protocol:<6} {flow}");
        }
        if self.changed.len() > SHOWN {
            println!("  and {} more", self.changed.len() - SHOWN);
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
        (differences.contains(Differences::SEAT), "its member had more machines than others"),
        (differences.contains(Differences::MEMBERS), "shared among another number of members"),
        (differences.contains(Differences::HOME_MAP), "other positions or speeds of the members"),
    ];
    rows.iter().find(|(holds, _)| *holds).map_or("no reason that is known", |(_, why)| why)
}
