//! `teamctl rules`: the rule book of the simulated switch, and how often a run checked each rule.

use crate::nearest;
use crate::text::{COLUMNS, count, count_of, out, wrap};
use anyhow::bail;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Mutex;
use vswitch::check::{self, GROUPS, Rule, Severity, Status};
use vswitch::mutation::{is_proven, mutations_of};
use vswitch::scenario::outcome::Outcome;
use vswitch::scenario::suite::depth::each;
use vswitch::scenario::suite::{CASES, Case};

pub const EXAMPLES: &str = "\
Examples:
  teamctl rules                     the whole book
  teamctl rules DATA-17             one rule, with the mutation that proves it
  teamctl rules --group SAVE        one group
  teamctl rules --group SAVE --run  and how often a run has checked each rule
  teamctl rules --json              one object, for a script

Exit codes: 0 fine, 1 the run broke a rule, 2 wrong usage or no such rule.";

#[derive(Args)]
pub struct Rules {
    /// One rule, as in DATA-17
    #[arg(conflicts_with = "group")]
    pub id: Option<String>,

    /// The rules of one group, as in DATA
    #[arg(long)]
    pub group: Option<String>,

    /// Run every scenario of the suite and count how often each rule is checked
    #[arg(long)]
    pub run: bool,

    /// Seeds of each scenario
    #[arg(long, value_name = "N", default_value_t = 3, requires = "run",
          value_parser = clap::value_parser!(u64).range(1..=10_000))]
    pub seeds: u64,

    /// Print one JSON object instead of text
    #[arg(long)]
    pub json: bool,
}

/// A rule as `--json` prints it.
#[derive(Serialize)]
struct Row {
    id: &'static str,
    group: &'static str,
    severity: &'static str,
    /// Whether a check exists.
    checked: bool,
    /// Why it is not checked, or why the driver never does what it is about.
    reason: Option<&'static str>,
    /// Whether a mutation proves that the check finds a violation.
    proven: bool,
    mutations: Vec<String>,
    sentence: &'static str,
    page: &'static str,
    /// How often its check ran in this run.
    #[serde(skip_serializing_if = "Option::is_none")]
    exercised: Option<u64>,
}

/// The result of a run of the suite.
#[derive(Default)]
struct Ran {
    runs: u64,
    exercised: BTreeMap<&'static str, u64>,
    /// Scenarios with violations or leaks, each with the command that repeats it.
    broken: Vec<String>,
}

#[derive(Serialize)]
struct Book {
    rules: Vec<Row>,
    checked: usize,
    proven: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    runs: Option<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    broken: Vec<String>,
}

pub fn run(arguments: &Rules) -> anyhow::Result<bool> {
    let chosen = chosen(arguments)?;
    let ran = arguments.run.then(|| suite(arguments.seeds));
    let rows: Vec<Row> = chosen.iter().map(|rule| row(rule, ran.as_ref())).collect();
    let book = Book {
        checked: rows.iter().filter(|row| row.checked).count(),
        proven: rows.iter().filter(|row| row.proven).count(),
        rules: rows,
        runs: ran.as_ref().map(|ran| ran.runs),
        broken: ran.map(|ran| ran.broken).unwrap_or_default(),
    };
    if arguments.json {
        out(&(serde_json::to_string(&book)? + "\n"))?;
    } else {
        let lines = if arguments.id.is_some() { whole(&chosen, &book) } else { table(&chosen, &book) };
        out(&(lines.join("\n") + "\n"))?;
    }
    Ok(book.broken.is_empty())
}

fn chosen(arguments: &Rules) -> anyhow::Result<Vec<&'static Rule>> {
    if let Some(id) = &arguments.id {
        let Some(rule) = check::find(&id.to_uppercase()) else {
            let near = nearest::of(&id.to_uppercase(), check::rules().map(|rule| rule.id)).join(", ");
            bail!("there is no rule \"{id}\"; near it: {near}; teamctl rules lists all");
        };
        return Ok(vec![rule]);
    }
    let Some(group) = &arguments.group else { return Ok(check::rules().collect()) };
    let rules: Vec<_> = check::rules().filter(|rule| rule.group() == group.to_uppercase()).collect();
    if rules.is_empty() {
        let groups: Vec<&str> = GROUPS.iter().map(|(name, _)| *name).collect();
        bail!("there is no group \"{group}\"; the groups are {}", groups.join(", "));
    }
    Ok(rules)
}

fn row(rule: &'static Rule, ran: Option<&Ran>) -> Row {
    Row {
        id: rule.id,
        group: rule.group(),
        severity: rule.severity.word(),
        checked: rule.is_checked(),
        reason: rule.reason(),
        proven: is_proven(rule.id),
        mutations: mutations_of(rule.id).collect(),
        sentence: rule.sentence,
        page: rule.page,
        exercised: ran.map(|ran| ran.exercised.get(rule.id).copied().unwrap_or(0)),
    }
}

/// Runs every scenario with the first seeds, on all processors.
fn suite(seeds: u64) -> Ran {
    let work: Vec<(&Case, u64)> = CASES.iter().flat_map(|case| (0..seeds).map(move |s| (case, s))).collect();
    let style = ProgressStyle::with_template("{bar:30} {percent:>3} %  {pos} of {len} scenarios, {eta} left");
    let bar = ProgressBar::new(work.len() as u64)
        .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    let ran = Mutex::new(Ran::default());
    each(&work, |(case, seed)| {
        let outcome = case.run((case.plan)(*seed));
        if let Ok(mut ran) = ran.lock() {
            ran.take(&outcome);
        }
        bar.inc(1);
    });
    bar.finish_and_clear();
    ran.into_inner().unwrap_or_default()
}

impl Ran {
    fn take(&mut self, outcome: &Outcome) {
        self.runs += 1;
        for (rule, times) in outcome.exercised.iter().chain(&outcome.costs) {
            *self.exercised.entry(rule).or_default() += times;
        }
        self.broken.extend(outcome.complaint());
    }
}

/// All rules by group, with three or four lines for each.
fn table(chosen: &[&'static Rule], book: &Book) -> Vec<String> {
    let mut lines = Vec::new();
    for (group, about) in GROUPS {
        let rows = || book.rules.iter().filter(|row| row.group == group);
        if rows().next().is_none() {
            continue;
        }
        lines.push(format!("{group}: {about}"));
        for row in rows() {
            lines.push(facts(row));
            let text = wrap(&format!("{} [{}]", row.sentence, row.page), "     ", "      ");
            lines.extend(text.iter().map(|line| narrow(line)));
        }
        lines.push(String::new());
    }
    lines.push(sum(chosen, book));
    lines.extend(broken(book));
    lines
}

/// Removes the indentation of a line whose only word does not fit.
fn narrow(line: &str) -> String {
    let word = line.trim_start();
    let indent = COLUMNS.saturating_sub(word.chars().count()).min(line.len() - word.len());
    format!("{}{word}", " ".repeat(indent))
}

/// Severity, check and mutation of a rule in one line.
fn facts(row: &Row) -> String {
    let checked = if row.checked { "checked" } else { "not checked" };
    let proven = if row.proven { "proven" } else { "" };
    let times = match row.exercised {
        Some(times) => format!("{:>12} time{}", count(times), if times == 1 { "" } else { "s" }),
        None => String::new(),
    };
    format!("  {:<18}{:<9}{checked:<13}{proven:<8}{times}", row.id, row.severity).trim_end().to_owned()
}

fn sum(chosen: &[&'static Rule], book: &Book) -> String {
    let errors: Vec<_> = chosen.iter().filter(|rule| rule.severity == Severity::Error).collect();
    let checked = errors.iter().filter(|rule| rule.is_checked()).count();
    let proven = errors.iter().filter(|rule| is_proven(rule.id)).count();
    let ran = match book.runs {
        Some(runs) => {
            let exercised = book.rules.iter().filter(|row| row.exercised.unwrap_or(0) != 0).count();
            format!("; {} exercised {exercised}", count_of(runs, "run"))
        }
        None => String::new(),
    };
    format!(
        "{}, {}: {checked} checked, {proven} proven by a mutation{ran}",
        count_of(book.rules.len() as u64, "rule"),
        count_of(errors.len() as u64, "error")
    )
}

fn broken(book: &Book) -> Vec<String> {
    let mut lines = Vec::new();
    for complaint in book.broken.iter().take(5) {
        lines.push(String::new());
        lines.extend(complaint.lines().flat_map(|line| match line.strip_prefix("    ") {
            Some(inner) => wrap(inner, "   ", "    "),
            None => wrap(line, "", "    ").iter().map(|line| line.trim_start().to_owned()).collect(),
        }));
    }
    lines
}

/// All information about one rule.
fn whole(chosen: &[&'static Rule], book: &Book) -> Vec<String> {
    let mut lines = Vec::new();
    for (rule, row) in chosen.iter().zip(&book.rules) {
        let about = GROUPS.iter().find(|(group, _)| *group == row.group).map_or("", |(_, about)| about);
        lines.push(format!("{}  ({about})", row.id));
        lines.extend(wrap(row.sentence, "     ", "      ").iter().map(|line| format!("  {}", line.trim())));
        lines.push(String::new());
        lines.push(format!("page      {}", row.page));
        lines.push(format!("severity  {}: {}", row.severity, meaning(rule.severity)));
        let checked = match rule.status {
            Status::Checked => "yes".to_owned(),
            Status::Dormant(why) => format!("yes, but {why}"),
            Status::Not(why) => format!("no: {why}"),
        };
        lines.extend(wrap(&checked, "checked  ", "          "));
        let proven = if row.proven { row.mutations.join(", ") } else { "by no mutation".to_owned() };
        lines.extend(wrap(&proven, "proven   ", "          "));
        if let Some(times) = row.exercised {
            lines.push(format!(
                "exercised {} in {}",
                count_of(times, "time"),
                count_of(book.runs.unwrap_or(0), "run")
            ));
        }
    }
    lines.extend(broken(book));
    lines
}

const fn meaning(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "the run fails",
        Severity::Warning => "it is reported",
        Severity::Cost => "cheaper ways are counted",
        Severity::Switch => "the switch itself keeps it",
        Severity::Note => "nothing to observe",
    }
}
