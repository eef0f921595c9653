//! `teamctl doctor`: what is wrong on a host, and how to mend it, from what `inf/collect.ps1` saved there.

mod adapters;
mod fleet;
mod switches;

pub use adapters::assigned;

use crate::host::Host;
use crate::text::{out, wrap};
use clap::Args;
use serde::Serialize;
use std::path::PathBuf;

pub const EXAMPLES: &str = "\
Examples:
  teamctl doctor hv1.json                what is wrong on one host
  teamctl doctor hv1.json hv2.json       and what differs between hosts
  teamctl doctor --json hv1.json         one object, for a script

On the host: .\\collect.ps1 -Path hv1.json

Exit codes: 0 no problem, 1 a problem was found, 2 wrong usage or input.";

#[derive(Args)]
pub struct Doctor {
    /// What collect.ps1 saved; of several hosts between which machines migrate, all
    #[arg(required = true, value_name = "HOST.json")]
    pub hosts: Vec<PathBuf>,

    /// Print one JSON object instead of text
    #[arg(long)]
    pub json: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Traffic is lost or the team does not work.
    Error,
    /// Something is worse than it should be.
    Warning,
    /// Worth knowing; no problem.
    Note,
}

impl Severity {
    fn word(self) -> &'static str {
        match self {
            Self::Error => "ERROR",
            Self::Warning => "WARNING",
            Self::Note => "NOTE",
        }
    }
}

#[derive(Debug, Serialize)]
pub struct Finding {
    pub severity: Severity,
    /// A name that does not change.
    pub id: &'static str,
    pub host: String,
    /// What was found, with its values.
    pub found: String,
    /// What to do.
    pub fix: String,
}

/// The findings about one host, as they are gathered.
pub struct Findings<'a> {
    pub host: &'a Host,
    pub all: Vec<Finding>,
}

impl Findings<'_> {
    pub fn add(
        &mut self,
        severity: Severity,
        id: &'static str,
        found: impl Into<String>,
        fix: impl Into<String>,
    ) {
        let (host, found, fix) = (self.host.computer.clone(), found.into(), fix.into());
        self.all.push(Finding { severity, id, host, found, fix });
    }
}

#[derive(Serialize)]
struct Diagnosis<'a> {
    hosts: Vec<&'a str>,
    problems: usize,
    findings: &'a [Finding],
}

/// True if there is no problem.
pub fn run(arguments: &Doctor) -> anyhow::Result<bool> {
    let hosts: Vec<Host> = arguments.hosts.iter().map(|path| Host::read(path)).collect::<Result<_, _>>()?;
    let findings = examine(&hosts);
    let problems = findings.iter().filter(|finding| finding.severity != Severity::Note).count();
    if arguments.json {
        let hosts = hosts.iter().map(|host| &*host.computer).collect();
        let diagnosis = Diagnosis { hosts, problems, findings: &findings };
        out(&(serde_json::to_string_pretty(&diagnosis)? + "\n"))?;
    } else {
        out(&text(&hosts, &findings, problems))?;
    }
    Ok(problems == 0)
}

fn examine(hosts: &[Host]) -> Vec<Finding> {
    let mut all = Vec::new();
    for host in hosts {
        let mut findings = Findings { host, all: Vec::new() };
        switches::examine(&mut findings);
        adapters::examine(&mut findings);
        all.append(&mut findings.all);
    }
    fleet::examine(hosts, &mut all);
    all.sort_by_key(|finding| finding.severity);
    all
}

fn text(hosts: &[Host], findings: &[Finding], problems: usize) -> String {
    let names: Vec<&str> = hosts.iter().map(|host| &*host.computer).collect();
    let notes = findings.len() - problems;
    let mut lines = vec![format!("{}, {}", some(problems, "problem"), some(notes, "note"))];
    lines.extend(wrap(&names.join(", "), "hosts", "      "));
    for finding in findings {
        lines.push(String::new());
        lines.push(format!("{} {} on {}", finding.severity.word(), finding.id, finding.host));
        lines.extend(wrap(&finding.found, " ", "  "));
        lines.extend(wrap(&finding.fix, "  To do:", "    "));
    }
    lines.join("\n") + "\n"
}

fn some(count: usize, what: &str) -> String {
    match count {
        0 => format!("no {what}"),
        1 => format!("1 {what}"),
        _ => format!("{count} {what}s"),
    }
}
