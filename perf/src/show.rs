//! `teamctl show` and `teamctl events`: the state of a host's teams, and its entries in the event log, from what
//! `inf/collect.ps1` saved there.

use crate::host::{Host, MemberStatus, TeamStatus};
use crate::text::{count, out, wrap};
use clap::{Args, ValueEnum};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;
use teaming::event;
use teaming::report::{Report, word_of};
use teaming::status::{MEMBER, PORT, TEAM};

pub const EXAMPLES: &str = "\
Examples:
  teamctl show hv1.json                       the teams of one host
  teamctl show --format json hv1.json         one object, for a script
  teamctl show --format prometheus hv1.json   metrics, for a textfile collector

On the host: .\\collect.ps1 -Path hv1.json

Exit codes: 0 fine, 2 wrong usage or input.";

pub const EVENT_EXAMPLES: &str = "\
Examples:
  teamctl events hv1.json           each entry with what to do, newest first
  teamctl events --id 3 hv1.json    entries of one kind

Exit codes: 0 fine, 2 wrong usage or input.";

#[derive(Args)]
pub struct Show {
    /// What collect.ps1 saved
    #[arg(value_name = "HOST.json")]
    pub host: PathBuf,

    /// What is printed
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Tables of 80 columns
    Text,
    /// One object
    Json,
    /// Metrics in the text format of Prometheus
    Prometheus,
}

#[derive(Args)]
pub struct Events {
    /// What collect.ps1 saved
    #[arg(value_name = "HOST.json")]
    pub host: PathBuf,

    /// Entries of this kind alone
    #[arg(long, value_name = "ID")]
    pub id: Option<u16>,
}

/// A team as `--format json` prints it.
#[derive(Serialize)]
struct Team {
    switch: String,
    status: String,
    mode: String,
    members: Vec<Member>,
    dropped: BTreeMap<String, u64>,
    /// The newest first.
    last_events: Vec<LastEvent>,
}

#[derive(Serialize)]
struct LastEvent {
    id: u16,
    name: &'static str,
    age_ms: u64,
}

#[derive(Serialize)]
struct Member {
    index: u16,
    adapter: String,
    state: String,
    failure_reason: String,
    link_state_source: String,
    /// Every number of the member by its name.
    numbers: BTreeMap<&'static str, u64>,
}

pub fn run(arguments: &Show) -> anyhow::Result<bool> {
    let host = Host::read(&arguments.host)?;
    match arguments.format {
        Format::Text => out(&text(&host))?,
        Format::Json => {
            let teams: Vec<Team> = host.team_status.iter().map(|status| team(&host, status)).collect();
            let all = serde_json::json!({ "host": host.computer, "teams": teams });
            out(&(serde_json::to_string_pretty(&all)? + "\n"))?;
        }
        Format::Prometheus => out(&metrics(&host))?,
    }
    Ok(true)
}

pub fn events(arguments: &Events) -> anyhow::Result<bool> {
    let host = Host::read(&arguments.host)?;
    let wanted = |event: &&crate::host::Event| arguments.id.is_none_or(|id| id == event.id);
    let mut lines = Vec::new();
    for event in host.events.iter().filter(wanted) {
        let kind = event::kind(event.id);
        let (name, level) = kind.map_or(("unknown", ""), |kind| (kind.name, kind.level.name()));
        lines.push(format!("{} {} {name} {level}", event.time_created, event.id));
        lines.extend(wrap(&event.message, " ", "  "));
        if let Some([.., fix]) = kind.map(|kind| kind.text) {
            lines.extend(wrap(fix, "  To do:", "    "));
        }
    }
    if lines.is_empty() {
        lines.push(format!("{}: no such entry of lbfoext in the System event log", host.computer));
    }
    out(&(lines.join("\n") + "\n"))?;
    Ok(true)
}

fn named(status: &TeamStatus, field: &str) -> String {
    word_of(&TEAM, field, status.number(field))
}

fn team(host: &Host, status: &TeamStatus) -> Team {
    let member = |member: MemberStatus<'_>| Member {
        index: member.index,
        adapter: member.name(host),
        state: member.word("State"),
        failure_reason: member.word("FailureReason"),
        link_state_source: member.word("LinkStateSource"),
        numbers: MEMBER.iter().filter_map(|f| Some((f.name, member.number(f.name)?))).collect(),
    };
    let event = |teaming::report::LastEvent { id, name, age_ms }| LastEvent { id, name, age_ms };
    Team {
        switch: status.switch_name.clone(),
        status: named(status, "Status"),
        mode: named(status, "TeamingMode"),
        members: status.members().map(member).collect(),
        dropped: status.drops().map(|(reason, _, count)| (reason, count)).collect(),
        last_events: status.last_events().into_iter().map(event).collect(),
    }
}

fn text(host: &Host) -> String {
    let mut lines = vec![format!("{}, {}", host.computer, host.collected)];
    if host.team_status.is_empty() {
        lines.push("no status of a team; teamctl doctor says why".to_owned());
    }
    for status in &host.team_status {
        let name = |index| {
            let adapter = status.members().find(|member| member.index == index)?.guid()?;
            Some(host.adapter(adapter)?.name.clone())
        };
        let number = |field: &str| status.number(field);
        let report = Report { switch: &status.switch_name, number: &number, name: &name };
        lines.push(String::new());
        lines.extend(report.to_string().lines().map(str::to_owned));
    }
    if !host.port_status.is_empty() {
        lines.extend([
            String::new(),
            "machine            member          frames             bytes queues".to_owned(),
        ]);
    }
    for port in &host.port_status {
        let number = |field: &str| port.number(field).unwrap_or(0);
        debug_assert!(
            ["Member", "Frames", "Bytes", "Queues"].iter().all(|f| PORT.iter().any(|known| known.name == *f))
        );
        let member = match number("Member") {
            0 => "any".to_owned(),
            index => index.to_string(),
        };
        lines.push(format!(
            "{:<18} {member:>6} {:>15} {:>17} {:>6}",
            port.vm_name.chars().take(18).collect::<String>(),
            count(number("Frames")),
            count(number("Bytes")),
            number("Queues"),
        ));
    }
    lines.iter().map(|line| line.trim_end().to_owned() + "\n").collect()
}

/// Fields that only grow.
const COUNTERS: [&str; 13] = [
    "QueueFallbacks",
    "Delivered",
    "Uplink",
    "Flooded",
    "Native",
    "Split",
    "Announced",
    "AnnouncementsRefused",
    "GroupQueries",
    "Frames",
    "Bytes",
    "MovedIn",
    "MovedOut",
];

/// Metrics in the text format of Prometheus: a family for each field of the team, one for each field of the members with
/// the member as a label, one for drops with the reason as a label. The last events are none: their series would come and go.
fn metrics(host: &Host) -> String {
    let mut out = String::new();
    let mut family = |name: &str, help: &str, samples: Vec<(String, u64)>| {
        let counter =
            COUNTERS.iter().any(|known| name.ends_with(&snake(known))) || name.ends_with("dropped_packets");
        let (kind, total) = if counter { ("counter", "_total") } else { ("gauge", "") };
        let _ = writeln!(out, "# HELP lbfoext_{name}{total} {help}\n# TYPE lbfoext_{name}{total} {kind}");
        for (labels, value) in samples {
            let _ = writeln!(out, "lbfoext_{name}{total}{{{labels}}} {value}");
        }
    };
    let switch = |status: &TeamStatus| format!("switch=\"{}\"", escaped(&status.switch_name));
    for field in &TEAM {
        let samples =
            host.team_status.iter().filter_map(|status| Some((switch(status), status.number(field.name)?)));
        family(&format!("team_{}", snake(field.name)), field.help, samples.collect());
    }
    for field in MEMBER.iter().filter(|field| !field.name.starts_with("Guid")) {
        let samples = host.team_status.iter().flat_map(|status| {
            status.members().filter_map(move |member| {
                let name = escaped(&member.name(host));
                let labels = format!("{},member=\"{}\",adapter=\"{name}\"", switch(status), member.index);
                Some((labels, member.number(field.name)?))
            })
        });
        family(&format!("member_{}", snake(field.name)), field.help, samples.collect());
    }
    let dropped = host.team_status.iter().flat_map(|status| {
        status
            .drops()
            .map(move |(reason, _, count)| (format!("{},reason=\"{reason}\"", switch(status)), count))
    });
    family("dropped_packets", "Packets that were dropped, by reason.", dropped.collect());
    out
}

/// As in `active_members`.
fn snake(name: &str) -> String {
    let mut text = String::new();
    for letter in name.chars() {
        if letter.is_ascii_uppercase() && !text.is_empty() {
            text.push('_');
        }
        text.push(letter.to_ascii_lowercase());
    }
    text
}

fn escaped(label: &str) -> String {
    label.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
