//! `teamctl scenario`: runs one scenario of the suite with one seed, as the tests do, and prints the outcome.

use crate::output::Files;
use crate::text::{count, count_of, out, wrap};
use crate::{nearest, simulated};
use anyhow::bail;
use clap::Args;
use serde::Serialize;
use std::collections::BTreeMap;
use std::panic;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use vswitch::Violation;
use vswitch::image::Image;
use vswitch::machine::registry::Value;
use vswitch::scenario::EXTERNAL_PORT;
use vswitch::scenario::outcome::Outcome;
use vswitch::scenario::suite::{self, CASES, Case};
use vswitch::switch::frames::FrameOutcome;

pub const EXAMPLES: &str = "\
Examples:
  teamctl scenario --list
  teamctl scenario failover --seed 7
  teamctl scenario failover --seed 7 --log | less   every call
  teamctl scenario saved_and_restored --fault 12    its 12th fallible call fails
  teamctl scenario failover --detach-at 900         detached at its 900th yield point
  teamctl scenario offloads --image LBFOEXT.SYS --json
  teamctl scenario failover --save-host sim.json    then teamctl doctor sim.json

Lines of the log: virtual seconds, thread, processor at DISPATCH_LEVEL; then
  + a call by the driver      = what it returned
  > a call of the driver      < its return
  ! a broken rule             the rest is what the switch says

Exit codes: 0 fine, 1 a guarantee was broken, 2 wrong usage or input.";

#[derive(Args)]
pub struct Scenario {
    /// The scenario
    #[arg(required_unless_present = "list")]
    pub name: Option<String>,

    /// List the scenarios
    #[arg(long, conflicts_with_all = ["name", "seed", "fault", "detach_at", "image", "log", "save_host", "survey"])]
    pub list: bool,

    /// Seed of everything that chance decides in the simulated switch [default: 1]
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,

    /// The fallible call with this number fails, counted from 1
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub fault: Option<u64>,

    /// Detach a module at the yield point with this number, whatever is under way; 1 is in the driver's load
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub detach_at: Option<u64>,

    /// Run this driver image, as built for Windows, instead of the driver in this tool
    #[arg(long, value_name = "LBFOEXT.SYS")]
    pub image: Option<PathBuf>,

    /// Write what collect.ps1 would save of the host after the last step: for teamctl show, events and doctor
    #[arg(long, value_name = "HOST.json")]
    pub save_host: Option<PathBuf>,

    /// Turn the setting Survey on: for --save-host and teamctl survey
    #[arg(long)]
    pub survey: bool,

    /// Print the log first: every call with its arguments
    #[arg(long)]
    pub log: bool,

    /// Print one JSON object instead of text
    #[arg(long)]
    pub json: bool,
}

/// What `--json` prints.
#[derive(Clone, Serialize)]
struct Report {
    scenario: &'static str,
    about: &'static str,
    seed: u64,
    driver: &'static str,
    fine: bool,
    /// The message of the scenario's own check, if it failed.
    unexpected: Option<String>,
    seconds: f64,
    frames: usize,
    /// Frames by outcome; a flood has several.
    ends: BTreeMap<String, usize>,
    dropped: BTreeMap<String, usize>,
    unaccounted: usize,
    violations: Vec<Broken>,
    warnings: BTreeMap<&'static str, usize>,
    leaks: Vec<String>,
    rules_exercised: usize,
    fallible_calls: u64,
    /// The call that failed.
    fault: Option<&'static str>,
    aborted: bool,
    /// The command that repeats the run.
    again: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    log: Option<Vec<String>>,
}

#[derive(Clone, Serialize)]
struct Broken {
    rule: &'static str,
    what: String,
    sentence: &'static str,
    page: &'static str,
    /// Handlers and imports that were executing, outermost first.
    stack: Vec<&'static str>,
    thread: String,
    seconds: f64,
}

impl Broken {
    fn of(violation: &Violation) -> Self {
        let (sentence, page) = violation.book().map_or(("", ""), |rule| (rule.sentence, rule.page));
        Self {
            rule: violation.rule,
            what: violation.text.clone(),
            sentence,
            page,
            stack: violation.stack.clone(),
            thread: violation.thread.clone(),
            seconds: seconds(violation.time),
        }
    }
}

pub fn run(arguments: &Scenario) -> anyhow::Result<bool> {
    let Some(name) = &arguments.name else { return list(arguments.json) };
    let Some(case) = suite::find(name) else {
        let near = nearest::of(name, CASES.iter().map(|case| case.name)).join(", ");
        bail!("there is no scenario \"{name}\"; near it: {near}; teamctl scenario --list lists all");
    };
    Files::default()
        .read("the driver", arguments.image.as_deref())
        .written("--save-host", arguments.save_host.as_deref())
        .check()?;
    let image = arguments.image.as_deref().map(Image::load).transpose().map_err(anyhow::Error::msg)?;
    let mut plan = (case.plan)(arguments.seed.unwrap_or(1)).config(|config| {
        config.fault = arguments.fault;
        config.point = arguments.detach_at;
        config.keep_log = arguments.log;
    });
    if arguments.survey {
        plan = plan.setting("Survey", Value::Dword(1));
    }
    if let Some(image) = &image {
        plan = plan.driver(image.entry());
    }
    // A panic of the scenario's own check is part of the outcome.
    let report = Arc::new(Mutex::new(None::<Report>));
    let (waiting, json) = (Arc::clone(&report), arguments.json);
    panic::set_hook(Box::new(move |fact| {
        let prepared = waiting.lock().ok().and_then(|mut report| report.take());
        ended_badly(prepared, &fact.to_string(), json);
    }));
    let mut saved = Ok(());
    let outcome = case.run_and_look(plan, |net| {
        saved = arguments.save_host.as_ref().map_or(Ok(()), |path| simulated::save(net, path));
    });
    saved?;
    let report = prepare(&report, Report::of(case, arguments, &outcome));
    // The scenario's own check does not apply if a call was made to fail, or a module detached.
    if outcome.fault.is_none() && !outcome.detached_at_point && report.fine {
        (case.check)(&outcome);
    }
    let _ = panic::take_hook();
    print(&report, arguments.json)?;
    Ok(report.fine)
}

/// Stores the report that the panic hook prints if the check fails.
fn prepare(waiting: &Mutex<Option<Report>>, report: Report) -> Report {
    if let Ok(mut waiting) = waiting.lock() {
        *waiting = Some(report.clone());
    }
    report
}

/// Prints the report when the scenario's own check or a step panics; the release build aborts at the first panic.
fn ended_badly(report: Option<Report>, why: &str, json: bool) {
    let code = match report {
        Some(mut report) => {
            report.fine = false;
            report.unexpected = Some(why.to_owned());
            i32::from(print(&report, json).is_ok())
        }
        None => {
            eprintln!("the scenario did not get to its end: {why}");
            1
        }
    };
    std::process::exit(code)
}

impl Report {
    fn of(case: &Case, arguments: &Scenario, outcome: &Outcome) -> Self {
        let mut ends = BTreeMap::new();
        for end in outcome.frames.iter().flat_map(|frame| &frame.outcomes) {
            *ends.entry(end_of(end)).or_default() += 1;
        }
        let mut warnings = BTreeMap::new();
        outcome.warnings.iter().for_each(|warning| *warnings.entry(warning.rule).or_default() += 1);
        let dropped = outcome.drops().into_iter().map(|(reason, number)| (reason.to_owned(), number));
        Self {
            scenario: case.name,
            about: case.about,
            seed: arguments.seed.unwrap_or(1),
            driver: if arguments.image.is_some() { "image" } else { "native" },
            fine: outcome.complaint().is_none(),
            unexpected: None,
            seconds: seconds(outcome.time),
            frames: outcome.frames.len(),
            ends,
            dropped: dropped.collect(),
            unaccounted: outcome.frames.iter().filter(|frame| frame.outcomes.is_empty()).count(),
            violations: outcome.violations.iter().map(Broken::of).collect(),
            warnings,
            leaks: outcome.leaks.clone(),
            rules_exercised: outcome.exercised.values().filter(|times| **times != 0).count(),
            fallible_calls: outcome.asked,
            fault: outcome.fault,
            aborted: outcome.aborted,
            again: again(arguments, outcome),
            log: arguments.log.then(|| outcome.log.iter().map(|line| in_seconds(line)).collect()),
        }
    }
}

/// The command that repeats the run, with the path of the image as given.
fn again(arguments: &Scenario, outcome: &Outcome) -> String {
    let command = outcome.again.clone().unwrap_or_default();
    match &arguments.image {
        Some(path) => command.replace("LBFOEXT.SYS", &path.display().to_string()),
        None => command,
    }
}

fn end_of(end: &FrameOutcome) -> String {
    match end {
        FrameOutcome::Delivered { to, .. } if to.port == EXTERNAL_PORT => format!("to member {}", to.index),
        FrameOutcome::Delivered { .. } => "to a port inside".to_owned(),
        FrameOutcome::Filtered { .. } => "dropped".to_owned(),
        FrameOutcome::Native => "native".to_owned(),
        FrameOutcome::LostBeforeIndication { .. } => "lost with a link".to_owned(),
        FrameOutcome::Paused => "not sent: the module did not run".to_owned(),
        FrameOutcome::Failed { status } => format!("failed with {status:#x}"),
    }
}

fn seconds(time: u64) -> f64 {
    time as f64 / 1e7
}

/// A line of the log, with its time in seconds and a resolution of 100 ns.
fn in_seconds(line: &str) -> String {
    let parts = line.split_once(' ').and_then(|(time, rest)| Some((time.parse::<u64>().ok()?, rest)));
    parts.map_or_else(
        || line.to_owned(),
        |(time, rest)| format!("{}.{:07} {rest}", time / 10_000_000, time % 10_000_000),
    )
}

fn list(json: bool) -> anyhow::Result<bool> {
    #[derive(Serialize)]
    struct Row {
        name: &'static str,
        about: &'static str,
    }
    let rows = CASES.iter().map(|case| Row { name: case.name, about: case.about });
    if json {
        out(&(serde_json::to_string(&rows.collect::<Vec<_>>())? + "\n"))?;
    } else {
        let about = |row: Row| wrap(row.about, "   ", "    ");
        let lines = rows.flat_map(|row| [row.name.to_owned()].into_iter().chain(about(row)));
        out(&(lines.collect::<Vec<_>>().join("\n") + "\n"))?;
    }
    Ok(true)
}

fn print(report: &Report, json: bool) -> anyhow::Result<()> {
    if json {
        return Ok(out(&(serde_json::to_string(report)? + "\n"))?);
    }
    let log = report.log.iter().flat_map(|log| log.iter().map(String::as_str).chain([""]));
    let lines: Vec<&str> = log.collect();
    let log = if lines.is_empty() { String::new() } else { lines.join("\n") + "\n" };
    Ok(out(&(log + &text(report).join("\n") + "\n"))?)
}

/// The report without the log.
fn text(report: &Report) -> Vec<String> {
    let mut lines = Vec::new();
    let verdict = if report.fine { "Fine" } else { "A GUARANTEE WAS BROKEN" };
    lines.push(format!("{verdict}: {}, seed {}, {} driver", report.scenario, report.seed, report.driver));
    lines.extend(wrap(report.about, "   ", "    "));
    lines.push(String::new());
    lines.push(format!(
        "{} in {:.3} virtual seconds",
        count_of(report.frames as u64, "frame"),
        report.seconds
    ));
    let end = |(end, number): (&String, &usize)| format!("{:>9} {end}", count(*number as u64));
    lines.extend(report.ends.iter().map(end));
    for (reason, number) in &report.dropped {
        lines.push(format!("            {}: {reason}", count(*number as u64)));
    }
    lines.push(format!("{:>9} without an end", count(report.unaccounted as u64)));
    lines.push(match report.fault {
        Some(call) => format!("{call} failed, of {}", count_of(report.fallible_calls, "fallible call")),
        None => format!("no call failed, of {}", count_of(report.fallible_calls, "fallible call")),
    });
    for (rule, times) in &report.warnings {
        let sentence = vswitch::check::find(rule).map_or("", |rule| rule.sentence);
        lines.extend(wrap(
            sentence,
            &format!("warning {rule}, {}:", count_of(*times as u64, "time")),
            "    ",
        ));
    }
    lines.push(format!(
        "{} of {} checked, {}",
        count_of(report.violations.len() as u64, "violation"),
        count_of(report.rules_exercised as u64, "rule"),
        count_of(report.leaks.len() as u64, "leak")
    ));
    report.violations.iter().take(SHOWN).for_each(|broken| violation(&mut lines, broken));
    if report.violations.len() > SHOWN {
        lines.push(format!("and {} more", report.violations.len() - SHOWN));
    }
    lines.extend(report.leaks.iter().take(SHOWN).flat_map(|leak| wrap(leak, "left behind:", "    ")));
    if report.aborted {
        lines.push("the simulated machine stopped before the end".to_owned());
    }
    if let Some(why) = &report.unexpected {
        lines.push("the scenario's own check does not hold:".to_owned());
        lines.extend(why.lines().map(|line| format!("    {line}")));
    }
    if !report.fine {
        lines.push(format!("again: {}", report.again));
    }
    lines
}

/// Largest number of violations and leaks in the text.
const SHOWN: usize = 10;

fn violation(lines: &mut Vec<String>, broken: &Broken) {
    lines.push(String::new());
    lines.extend(wrap(&broken.what, &format!("{}:", broken.rule), "    "));
    lines.extend(wrap(&format!("{} [{}]", broken.sentence, broken.page), "    rule:", "    "));
    let stack = if broken.stack.is_empty() { "the switch".to_owned() } else { broken.stack.join(" > ") };
    let place = format!("{stack}, thread {} at {:.7} s", broken.thread, broken.seconds);
    lines.extend(wrap(&place, "    in", "    "));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::COLUMNS;
    use vswitch::machine::world::{Config, World};

    fn report(fault: Option<u64>) -> Report {
        let arguments = Scenario {
            name: None,
            list: false,
            seed: None,
            fault,
            detach_at: None,
            image: None,
            save_host: None,
            survey: false,
            log: false,
            json: false,
        };
        let plan = (CASES[0].plan)(1).config(|config| config.fault = fault);
        Report::of(&CASES[0], &arguments, &CASES[0].run(plan))
    }

    #[test]
    fn a_broken_rule_is_shown_with_its_sentence_and_its_page_and_the_command_that_repeats_it() {
        let world = World::new(Config::default());
        world.violate("DATA-33", "packet 7 sent without a destination, which is a long story to tell here");
        let broken = world.violations().iter().map(Broken::of).collect();
        let report = Report { fine: false, violations: broken, ..report(Some(7)) };
        let lines = text(&report);
        assert!(lines.iter().all(|line| line.chars().count() <= COLUMNS), "{lines:#?}");
        let text = lines.join(" ").split_whitespace().collect::<Vec<_>>().join(" ");
        for part in [
            "A GUARANTEE WAS BROKEN",
            "DATA-33: packet 7",
            "leaves ingress with at least one destination",
            "[adding-extensible-switch-destination-port-data-to-a-packet]",
            "again: teamctl scenario policies --seed 1 --fault 7",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }

    #[test]
    fn what_the_scenario_expects_is_said_when_it_has_not_come() {
        let report =
            Report { fine: false, unexpected: Some("frames without an end".to_owned()), ..report(None) };
        assert!(text(&report).iter().any(|line| line.trim() == "frames without an end"));
    }

    #[test]
    fn a_time_of_the_log_is_shown_in_seconds() {
        assert_eq!(in_seconds("10000390 T0 + NdisFSend"), "1.0000390 T0 + NdisFSend");
        assert_eq!(in_seconds("no time"), "no time");
    }
}
