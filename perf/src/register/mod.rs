//! `teamctl survey`: what the product assumes about Windows (`inf/ASSUMPTIONS.md`), answered row by row from what the
//! extension recorded on a host with `Survey` on. Nothing is concluded from records that are missing.

#[cfg(test)]
mod judged;
mod links;
mod offloads;
mod records;
mod saves;
mod switch;
#[cfg(test)]
mod variants;

use crate::host::Host;
use crate::text::{count_of, out, wrap};
use anyhow::bail;
use clap::Args;
use records::{Record, Scope, Trace};
use serde::Serialize;
use std::path::PathBuf;

pub const EXAMPLES: &str = "\
Examples:
  teamctl survey hv1.json                  each assumption, answered
  teamctl survey --json hv1.json           one object, for a script
  teamctl survey --row link-query hv1.json one row with all its evidence

On the host: Survey 1 in the registry, record a session (EVENTS.md), restart the
extension, use the host, then .\\collect.ps1 -Path hv1.json -Trace lbfoext.etl

Exit codes: 0 nothing is refuted and no record is missing where it matters,
1 an assumption is refuted or cannot be answered, 2 wrong usage or input.";

/// The register.
const REGISTER: &str = include_str!("../../../inf/ASSUMPTIONS.md");

#[derive(Args)]
pub struct Survey {
    /// What collect.ps1 saved with -Trace
    #[arg(value_name = "HOST.json")]
    pub host: PathBuf,

    /// This row alone
    #[arg(long, value_name = "ID")]
    pub row: Option<String>,

    /// Print one JSON object instead of text
    #[arg(long)]
    pub json: bool,
}

/// What became of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    Confirmed,
    Refuted,
    /// Where nothing is assumed: what this host does.
    Found,
    NotSeen,
    /// Records are missing where the evidence would lie.
    Gap,
    /// Only a person can find out.
    Person,
}

impl Answer {
    const fn word(self) -> &'static str {
        match self {
            Self::Confirmed => "confirmed",
            Self::Refuted => "REFUTED",
            Self::Found => "found",
            Self::NotSeen => "not seen",
            Self::Gap => "GAP",
            Self::Person => "a person",
        }
    }
}

/// An answer, before it is known whether something is missing.
#[derive(Debug)]
pub struct Verdict {
    answer: Answer,
    /// Holds whatever else there was.
    stands: bool,
    why: String,
    evidence: Vec<(usize, u32)>,
}

impl Verdict {
    fn new(answer: Answer, why: impl Into<String>) -> Self {
        Self { answer, stands: false, why: why.into(), evidence: Vec::new() }
    }

    /// Holds if nothing speaks against it in what is missing.
    pub fn confirmed(why: impl Into<String>) -> Self {
        Self::new(Answer::Confirmed, why)
    }

    pub fn refuted(why: impl Into<String>) -> Self {
        Self::new(Answer::Refuted, why)
    }

    pub fn found(why: impl Into<String>) -> Self {
        Self::new(Answer::Found, why)
    }

    pub fn not_seen(why: impl Into<String>) -> Self {
        Self::new(Answer::NotSeen, why)
    }

    /// One record proves it: what is missing changes nothing.
    pub fn proved(mut self) -> Self {
        self.stands = true;
        self
    }

    /// The records that it rests on.
    pub fn by<'a>(mut self, records: impl IntoIterator<Item = &'a Record>) -> Self {
        self.evidence.extend(records.into_iter().map(|record| (record.run, record.number)));
        self
    }
}

/// What is known of a host.
pub struct Known<'a> {
    pub host: &'a Host,
    pub trace: &'a Trace,
}

/// How a row is answered.
enum Way {
    /// Where the evidence lies, events that are looked at beside the records, and the judge.
    Code(Scope, &'static [u16], fn(&Known<'_>) -> Verdict),
    Person,
}

use Scope::{Start, Status, Whole};
use Way::{Code, Person};

/// Every row of the register, in its order.
const ROWS: [(&str, Way); 32] = [
    ("switch-team", Code(Start, &[], switch::team)),
    ("member-index", Code(Whole, &[], switch::index)),
    ("adapter-guid", Code(Whole, &[], switch::guid)),
    ("member-status", Code(Whole, &[], links::status)),
    ("link-query", Code(Whole, &[], links::query)),
    ("link-interface", Code(Whole, &[], links::interface)),
    ("status-header", Code(Whole, &[], links::header)),
    ("cables-at-boot", Code(Whole, &[], links::cables)),
    ("external-vlan", Code(Start, &[], switch::vlan)),
    ("boot-order", Code(Start, &[], switch::order)),
    ("array-room", Code(Start, &[], switch::room)),
    ("array-elements", Code(Start, &[25], switch::elements)),
    ("newer-revisions", Code(Whole, &[8, 9, 25], switch::revisions)),
    ("feature-status", Code(Status, &[], switch::feature)),
    ("free-elements", Person),
    ("single-destination", Code(Status, &[], switch::destination)),
    ("children-of-others", Person),
    ("link-local", Person),
    ("source-index", Person),
    ("adapter-hash", Person),
    ("fragment-room", Person),
    ("lock-fairness", Code(Whole, &[1], links::published)),
    ("ids-of-two-members", Code(Whole, &[], offloads::ids)),
    ("queue-numbers", Person),
    ("lists-complete", Code(Whole, &[19], offloads::complete)),
    ("lists-answered", Code(Whole, &[21], offloads::answered)),
    ("unlisted-requests", Person),
    ("clone-id", Person),
    ("associations-of-before", Code(Status, &[], offloads::associations)),
    ("save-room", Code(Whole, &[10], saves::room)),
    ("save-grows", Code(Whole, &[], saves::grows)),
    ("groups-after-migration", Code(Whole, &[], saves::groups)),
];

/// A row as it is printed.
#[derive(Debug, Serialize)]
pub struct Row {
    id: &'static str,
    assumed: String,
    pub answer: Answer,
    /// What was seen; what is missing; for a person, how to find out.
    pub why: String,
    evidence: Vec<Evidence>,
}

/// A record by its attachment, from 1, and its number.
#[derive(Debug, Serialize)]
struct Evidence {
    attachment: usize,
    record: u32,
}

/// A field of a row of the register, in one line.
fn registered(id: &str, field: &str) -> String {
    let body = REGISTER.split("\n### ").find_map(|part| part.strip_prefix(id)?.strip_prefix('\n'));
    let body = body.map_or("", |body| body.split("\n## ").next().unwrap_or(body));
    let fields = body.trim().trim_start_matches("- ").split("\n- ");
    let said = fields.filter_map(|one| one.strip_prefix(field)?.strip_prefix(": ")).next();
    said.unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Answers every row.
pub fn judge(host: &Host, trace: &Trace) -> Vec<Row> {
    let known = Known { host, trace };
    let row = |(id, way): &(&'static str, Way)| {
        let verdict = match way {
            Person => Verdict::new(Answer::Person, registered(id, "Find out")),
            Code(scope, events, of) => {
                let verdict = of(&known);
                match trace.missing(*scope, events).filter(|_| !verdict.stands) {
                    Some(missing) => Verdict::new(Answer::Gap, format!("No answer: {missing}.")),
                    None => verdict,
                }
            }
        };
        let evidence = |(run, record): (usize, u32)| Evidence { attachment: run + 1, record };
        Row {
            id,
            assumed: registered(id, "Assumed"),
            answer: verdict.answer,
            why: verdict.why,
            evidence: verdict.evidence.into_iter().map(evidence).collect(),
        }
    };
    ROWS.iter().map(row).collect()
}

/// True if nothing is refuted, and nothing is missing where it matters.
pub fn run(arguments: &Survey) -> anyhow::Result<bool> {
    let host = Host::read(&arguments.host)?;
    let name = arguments.host.display();
    let trace = Trace::of(&host.trace);
    if let Some(wanted) = &arguments.row
        && !ROWS.iter().any(|(id, _)| id == wanted)
    {
        let near = crate::nearest::of(wanted, ROWS.iter().map(|(id, _)| *id)).join(", ");
        bail!("there is no row \"{wanted}\"; near it: {near}; inf/ASSUMPTIONS.md lists all");
    }
    if trace.records().next().is_none() {
        bail!(
            "{name} has {} of lbfoext and no record of a survey (event 37); set Survey to 1, record a session from the \
             start of the extension on, and collect again: .\\collect.ps1 -Path {name} -Trace lbfoext.etl",
            count_of(host.trace.len() as u64, "trace event")
        );
    }
    let mut rows = judge(&host, &trace);
    rows.retain(|row| arguments.row.as_ref().is_none_or(|wanted| wanted == row.id));
    if arguments.json {
        let all = serde_json::json!({
            "host": host.computer,
            "attachments": trace.runs.iter().map(|run| serde_json::json!({
                "switch": run.switch,
                "records": run.records.len(),
                "last": run.records.last().map(|record| record.number),
                "gaps": run.gaps.iter().map(ToString::to_string).collect::<Vec<_>>(),
            })).collect::<Vec<_>>(),
            "lost": trace.lost,
            "rows": rows,
        });
        out(&(serde_json::to_string_pretty(&all)? + "\n"))?;
    } else {
        out(&text(&host, &trace, &rows, arguments.row.is_some()))?;
    }
    Ok(!rows.iter().any(|row| matches!(row.answer, Answer::Refuted | Answer::Gap)))
}

/// Records that are named in the text of a row.
const SHOWN: usize = 6;

fn text(host: &Host, trace: &Trace, rows: &[Row], whole: bool) -> String {
    let records = trace.records().count() as u64;
    let attachments = count_of(trace.runs.len() as u64, "attachment");
    let mut lines = vec![format!(
        "{}: {} of {attachments}, {} lost",
        host.computer,
        count_of(records, "record"),
        crate::text::count(trace.lost)
    )];
    for (number, run) in trace.runs.iter().enumerate() {
        let gaps = run.gaps.iter().filter(|gap| gap.first != 0).count();
        let gaps = if gaps == 0 { "no gap".to_owned() } else { count_of(gaps as u64, "gap") };
        lines.push(format!("  {} {}, {gaps}", number + 1, run.switch));
    }
    lines.push(String::new());
    for row in rows {
        lines.push(format!("{:<10} {}", row.answer.word(), row.id));
        lines.extend(wrap(&row.assumed, "  Assumed:", "    "));
        lines.extend(wrap(&row.why, " ", "  "));
        let shown = if whole { usize::MAX } else { SHOWN };
        let mut records: Vec<String> = row
            .evidence
            .iter()
            .take(shown)
            .map(|one| {
                let of = if trace.runs.len() == 1 { String::new() } else { format!("{}:", one.attachment) };
                format!("{of}#{}", one.record)
            })
            .collect();
        if row.evidence.len() > shown {
            records.push(format!("and {} more", row.evidence.len() - shown));
        }
        if !records.is_empty() {
            lines.extend(wrap(&records.join(" "), "  Records:", "    "));
        }
    }
    let of = |answer| rows.iter().filter(|row| row.answer == answer).count();
    let all =
        [Answer::Confirmed, Answer::Refuted, Answer::Found, Answer::NotSeen, Answer::Gap, Answer::Person];
    let sums: Vec<String> =
        all.into_iter().map(|answer| format!("{} {}", of(answer), answer.word().to_lowercase())).collect();
    lines.push(String::new());
    lines.push(sums.join(", "));
    lines.iter().map(|line| line.trim_end().to_owned() + "\n").collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_of_the_register_is_answered_or_marked_in_its_order() {
        let ids: Vec<&str> =
            REGISTER.split("\n### ").skip(1).filter_map(|part| part.lines().next()).collect();
        assert_eq!(ids, ROWS.iter().map(|(id, _)| *id).collect::<Vec<_>>());
        for (id, way) in &ROWS {
            assert!(registered(id, "Assumed").len() > 10, "{id}");
            let said = registered(id, "Survey");
            assert_eq!(said.starts_with("Only a person"), matches!(way, Person), "{id}: {said}");
        }
    }
}
