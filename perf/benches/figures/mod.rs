//! The measured figures: `perf/baseline.json`, and the tables of them in `perf/README.md`. The test of the documents
//! uses this module to check that the two agree.

use serde::{Deserialize, Serialize};
use std::fmt::Write;
use std::path::PathBuf;

#[derive(Serialize, Deserialize)]
pub struct Baseline {
    /// The first figures of the present steps. Their instructions alone are compared: their times are another machine's.
    pub before: Figures,
    pub now: Figures,
}

#[derive(Clone, Serialize, Deserialize)]
pub struct Figures {
    /// The reason for the present counts.
    pub reason: String,
    /// The compiler with which they were measured.
    pub compiler: String,
    pub steps: Vec<Step>,
    pub events: Vec<Event>,
}

#[derive(Clone, Serialize, Deserialize)]
pub struct Step {
    pub step: String,
    pub working_set: String,
    /// Instructions for each packet or event.
    pub instructions: f64,
    pub ns: f64,
}

/// An event that is timed singly.
#[derive(Clone, Serialize, Deserialize)]
pub struct Event {
    pub event: String,
    pub median_ns: f64,
    pub p99_ns: f64,
}

const BEGIN: &str = "<!-- figures: `cargo bench -p perf --bench count -- --store REASON` writes them -->\n";
const END: &str = "<!-- end of figures -->\n";

impl Baseline {
    pub fn path() -> PathBuf {
        PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/baseline.json"))
    }

    pub fn load() -> Option<Self> {
        serde_json::from_str(&std::fs::read_to_string(Self::path()).ok()?).ok()
    }

    /// Writes the file, and the figures into the document.
    pub fn store(&self) -> std::io::Result<()> {
        let text = serde_json::to_string_pretty(self).expect("plain data");
        std::fs::write(Self::path(), text + "\n")?;
        let document = document();
        let text = std::fs::read_to_string(&document)?;
        std::fs::write(document, self.put_into(&text))
    }

    /// Replaces the figures between the marks of the document.
    pub fn put_into(&self, text: &str) -> String {
        between(text, [BEGIN, END], &self.tables())
    }

    fn tables(&self) -> String {
        let mut text =
            String::from("| step | working set | instructions before | now | ns |\n|---|---|--:|--:|--:|\n");
        for step in &self.now.steps {
            let before = self.before.find(&step.step);
            let _ = writeln!(
                text,
                "| {} | {} | {} | {} | {} |",
                step.step,
                step.working_set,
                before.map_or("-".to_owned(), |before| count(before.instructions)),
                count(step.instructions),
                time(step.ns)
            );
        }
        text.push_str("\n| one by one | median ns | p99 ns |\n|---|--:|--:|\n");
        for event in &self.now.events {
            let _ =
                writeln!(text, "| {} | {} | {} |", event.event, count(event.median_ns), count(event.p99_ns));
        }
        text.push_str("\n| what | target | measured |\n|---|---|---|\n");
        for (what, target, figure) in TARGETS {
            let _ = writeln!(text, "| {what} | {target} | {} |", figure(&self.now));
        }
        text
    }
}

/// A row of the table of targets: description, target, and the measured figure.
type Target = (&'static str, &'static str, fn(&Figures) -> String);

const TARGETS: [Target; 7] = [
    ("decision, IPv4; IPv6 with an extension header", "25 ns", |f| {
        format!("{}; {} ns", time(f.ns("decide IPv4")), time(f.ns("decide IPv6, extension")))
    }),
    ("driver's share of a chain of 32 (chain less null driver), hot", "40 ns", |f| {
        let instructions = f.instructions("chain") - f.instructions("chain, null driver");
        format!(
            "{} ns, {} instructions",
            time(f.ns("chain") - f.ns("chain, null driver")),
            count(instructions)
        )
    }),
    ("the same, cold", "80 ns", |f| {
        format!("{} ns", time(f.ns("chain, cold") - f.ns("chain, null driver, cold")))
    }),
    ("cost of 32 members against 2", "within 10 %", |f| f.against("chain, 32 members", "chain, 2 members")),
    ("cost of 1,024 NICs against 1", "within 10 %", |f| f.against("chain, 1,024 NICs", "chain, 1 NIC")),
    ("link down, 32 members, 4,096 buckets", "20 us", |f| f.event("link down of 32 members")),
    ("the same while another processor sends, own work", "20 us", |f| {
        f.event("the same while another processor sends: own work")
    }),
];

impl Figures {
    pub fn find(&self, name: &str) -> Option<&Step> {
        self.steps.iter().find(|step| step.step == name)
    }

    fn ns(&self, name: &str) -> f64 {
        self.find(name).map_or(f64::NAN, |step| step.ns)
    }

    fn instructions(&self, name: &str) -> f64 {
        self.find(name).map_or(f64::NAN, |step| step.instructions)
    }

    fn against(&self, name: &str, other: &str) -> String {
        let more = (self.instructions(name) / self.instructions(other) - 1.0) * 100.0;
        format!("{:+.1} % instructions", more + 0.0)
    }

    fn event(&self, name: &str) -> String {
        let event = self.events.iter().find(|event| event.event == name);
        event.map_or("-".to_owned(), |event| {
            format!("{:.1} us, p99 {:.1} us", event.median_ns / 1000.0, event.p99_ns / 1000.0)
        })
    }
}

/// `perf/README.md`.
pub fn document() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md"))
}

/// The text with something else between two marks.
pub fn between(text: &str, [begin, end]: [&str; 2], new: &str) -> String {
    let (before, rest) = text.split_once(begin).expect("perf/README.md has the mark before");
    let (_, after) = rest.split_once(end).expect("perf/README.md has the mark behind");
    format!("{before}{begin}\n{new}\n{end}{after}")
}

/// The figure as an integer with separators.
fn count(figure: f64) -> String {
    digits(figure.round() as u64)
}

/// With separators.
pub fn digits(number: u64) -> String {
    let digits = number.to_string();
    let places = digits.char_indices().map(|(place, digit)| {
        let comma = place != 0 && (digits.len() - place).is_multiple_of(3);
        format!("{}{digit}", if comma { "," } else { "" })
    });
    places.collect()
}

fn time(ns: f64) -> String {
    if ns >= 1000.0 { count(ns) } else { format!("{ns:.1}") }
}
