//! The records of a survey as the trace of a host has them: event 37 of each attachment in the order of its numbers, where
//! numbers are missing, and the other events of the extension.

use crate::host::TraceEvent;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// The ids of events that are looked at.
pub const SURVEYED: u16 = 37;
const NOT_TRACED: u16 = 36;

/// An NDIS_OBJECT_HEADER: type, revision, size.
pub type Head = (u8, u8, u16);

/// One record: `#number name=value ...`.
#[derive(Debug, Clone)]
pub struct Record {
    /// Which attachment it is of.
    pub run: usize,
    pub number: u32,
    fields: Vec<(String, String)>,
}

impl Record {
    fn parse(text: &str) -> Option<Self> {
        let mut words = text.trim().trim_matches('"').split(' ');
        let number = words.next()?.strip_prefix('#')?.parse().ok()?;
        let field =
            |word: &str| word.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
        let fields = words.map(field).collect::<Option<Vec<_>>>()?;
        (!fields.is_empty()).then_some(Self { run: 0, number, fields })
    }

    /// What it is about: the first name.
    pub fn lead(&self) -> &str {
        self.fields.first().map_or("", |(name, _)| name)
    }

    /// A value as it is written; empty if there is none.
    pub fn word(&self, name: &str) -> &str {
        self.fields.iter().find(|(other, _)| other == name).map_or("", |(_, value)| value)
    }

    /// A number, also a hexadecimal one; 0 if there is none.
    pub fn number(&self, name: &str) -> u32 {
        let word = self.word(name);
        word.strip_prefix("0x")
            .map_or_else(|| word.parse().ok(), |hex| u32::from_str_radix(hex, 16).ok())
            .unwrap_or(0)
    }

    pub fn head(&self, name: &str) -> Head {
        let mut parts = self.word(name).split('.').map(|part| part.parse::<u16>().unwrap_or(0));
        let mut next = || parts.next().unwrap_or(0);
        let (kind, revision, size) = (next(), next(), next());
        (u8::try_from(kind).unwrap_or(0), u8::try_from(revision).unwrap_or(0), size)
    }

    pub fn is(&self, lead: &str, number: u32) -> bool {
        self.lead() == lead && self.number(lead) == number
    }
}

/// Numbers of an attachment that no record has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    pub run: usize,
    /// The first number that is missing, and the last; `None` if nobody knows where it ends.
    pub first: u32,
    pub last: Option<u32>,
    /// The setting was off in between.
    off: bool,
}

impl fmt::Display for Gap {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.last {
            Some(last) if self.off => write!(to, "nothing is recorded from {} to {last}", self.first),
            Some(last) if last == self.first => write!(to, "record {last} is missing"),
            Some(last) => write!(to, "records {} to {last} are missing", self.first),
            None => write!(to, "nothing is recorded from {} on", self.first),
        }
    }
}

/// One attachment of the extension to one switch.
#[derive(Debug, Default)]
pub struct Run {
    pub switch: String,
    /// In the order of their numbers.
    pub records: Vec<Record>,
    pub gaps: Vec<Gap>,
}

impl Run {
    /// The last number that belongs to the first picture of the switch: what was read at the start.
    fn start_ends(&self) -> u32 {
        let is_read = |record: &&Record| {
            matches!(record.lead(), "array" | "shape" | "switch")
                || record.word("via") == "array"
                || (record.lead() == "property" && record.word("by") == "read")
        };
        self.records.iter().filter(is_read).map(|record| record.number).max().unwrap_or(u32::MAX)
    }

    fn close(&mut self, run: usize) {
        self.records.sort_by_key(|record| record.number);
        for record in &mut self.records {
            record.run = run;
        }
        let mut next = 1;
        let mut off = None;
        for record in &self.records {
            if record.number > next {
                self.gaps.push(Gap { run, first: next, last: Some(record.number - 1), off: false });
            }
            // Nothing is numbered while the setting is off; what arrived just then may come behind it.
            match record.word("survey") {
                "off" => off = Some(record.number),
                "on" => {
                    let gap = |first| Gap { run, first, last: Some(record.number), off: true };
                    self.gaps.extend(off.take().map(gap));
                }
                _ => {}
            }
            next = record.number + 1;
        }
        // The start was not seen if the setting came later.
        if self.records.first().is_some_and(|record| record.word("survey") == "on") {
            self.gaps.insert(0, Gap { run, first: 0, last: Some(0), off: false });
        }
        // Turned off at the end it is complete; what was full goes on without records.
        if self.records.iter().any(|record| record.word("survey") == "full") {
            self.gaps.push(Gap { run, first: next, last: None, off: true });
        }
    }
}

/// Where the evidence of a row would lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// In what was read at the start of each attachment.
    Start,
    /// Anywhere.
    Whole,
    /// Not in the trace, but in the status of the host.
    Status,
}

/// An event of another kind.
#[derive(Debug, Clone)]
pub struct Other {
    pub id: u16,
    fields: BTreeMap<String, String>,
}

impl Other {
    pub fn number(&self, field: &str) -> Option<u64> {
        let text = self.fields.get(field)?;
        text.strip_prefix("0x").map_or_else(|| text.parse().ok(), |hex| u64::from_str_radix(hex, 16).ok())
    }
}

/// Everything that the trace of a host has.
#[derive(Debug, Default)]
pub struct Trace {
    pub runs: Vec<Run>,
    pub others: Vec<Other>,
    /// Ids of events of which some were not traced.
    untraced: BTreeSet<u16>,
    /// Records that the extension says it lost.
    pub lost: u64,
    /// Texts of event 37 that are no records.
    pub unread: Vec<String>,
}

impl Trace {
    pub fn of(events: &[TraceEvent]) -> Self {
        let mut trace = Self::default();
        // The attachment of each switch that is being read.
        let mut open: BTreeMap<String, Run> = BTreeMap::new();
        for event in events {
            let fields = event.texts();
            let text = |name: &str| fields.get(name).cloned().unwrap_or_default();
            match event.id {
                SURVEYED => {
                    let switch = text("Switch");
                    let Some(record) = Record::parse(&text("Record")) else {
                        trace.unread.push(text("Record"));
                        continue;
                    };
                    let run = open.entry(switch.clone()).or_default();
                    let begins = record.word("survey") == "start" && record.number == 1;
                    // What is lost after the last number is told under that.
                    let known = record.lead() != "lost"
                        && run.records.iter().any(|other| other.number == record.number);
                    if !run.records.is_empty() && (begins || known) {
                        trace.runs.push(std::mem::take(run));
                    }
                    run.switch = switch;
                    run.records.push(record);
                }
                NOT_TRACED => {
                    let id: Option<u16> = fields.get("Id").and_then(|id| id.parse().ok());
                    trace.untraced.extend(id);
                }
                id => trace.others.push(Other { id, fields }),
            }
        }
        trace.runs.extend(open.into_values().filter(|run| !run.records.is_empty()));
        for (number, run) in trace.runs.iter_mut().enumerate() {
            run.close(number);
            let lost = run.records.iter().map(|record| u64::from(record.number("lost"))).max();
            trace.lost += lost.unwrap_or(0);
        }
        trace
    }

    /// The records of all attachments.
    pub fn records(&self) -> impl Iterator<Item = &Record> {
        self.runs.iter().flat_map(|run| &run.records)
    }

    /// Those of one kind.
    pub fn about<'a>(&'a self, lead: &'a str) -> impl Iterator<Item = &'a Record> {
        self.records().filter(move |record| record.lead() == lead)
    }

    /// Events of a kind.
    pub fn events(&self, id: u16) -> impl Iterator<Item = &Other> {
        self.others.iter().filter(move |event| event.id == id)
    }

    /// What is missing where the evidence of a row would lie, which looks at events of these kinds, too.
    pub fn missing(&self, scope: Scope, events: &[u16]) -> Option<String> {
        if scope == Scope::Status {
            return None;
        }
        let concerns = |gap: &&Gap| scope == Scope::Whole || self.runs[gap.run].start_ends() >= gap.first;
        let gap = self.runs.iter().flat_map(|run| &run.gaps).find(concerns);
        let gap = gap.map(|gap| {
            if gap.first == 0 {
                "the setting was turned on after the start".to_owned()
            } else if self.runs.len() == 1 {
                gap.to_string()
            } else {
                format!("in attachment {}, {gap}", gap.run + 1)
            }
        });
        let unread = self.unread.first().map(|text| format!("a record cannot be read: {text:?}"));
        let id = events.iter().find(|id| self.untraced.contains(id));
        gap.or(unread).or_else(|| id.map(|id| format!("events {id} are missing, as event {NOT_TRACED} says")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(switch: &str, record: &str) -> TraceEvent {
        TraceEvent::new(SURVEYED, &[("Switch", switch), ("Record", record)])
    }

    fn trace(records: &[&str]) -> Trace {
        Trace::of(&records.iter().map(|record| event("External", record)).collect::<Vec<_>>())
    }

    #[test]
    fn a_record_has_its_numbers_words_and_headers() {
        let trace = trace(&["#1 oid=0x00010228 as=method in=64 out=0 head=128.2.40"]);
        let record = trace.records().next().unwrap();
        assert!(record.is("oid", 0x0001_0228) && !record.is("end", 0x0001_0228));
        assert_eq!(
            (record.word("as"), record.number("in"), record.head("head")),
            ("method", 64, (128, 2, 40))
        );
        assert_eq!((record.word("none"), record.number("none"), record.head("none")), ("", 0, (0, 0, 0)));
    }

    #[test]
    fn missing_numbers_are_gaps_where_they_are_and_for_the_rows_that_they_concern() {
        let whole = trace(&["#1 survey=start", "#2 switch=active", "#3 other=0x00000001 size=1"]);
        assert_eq!((whole.missing(Scope::Whole, &[]), whole.missing(Scope::Start, &[])), (None, None));
        let late = trace(&["#1 survey=start", "#2 switch=active", "#5 other=0x00000001 size=1", "#6 lost=2"]);
        assert_eq!(late.missing(Scope::Whole, &[]).as_deref(), Some("records 3 to 4 are missing"));
        assert_eq!((late.missing(Scope::Start, &[]), late.lost), (None, 2));
        let early = trace(&["#1 survey=start", "#3 switch=active"]);
        assert_eq!(early.missing(Scope::Start, &[]).as_deref(), Some("record 2 is missing"));
        let later = trace(&["#1 survey=on", "#2 other=0x00000001 size=1"]);
        assert_eq!(
            later.missing(Scope::Start, &[]).as_deref(),
            Some("the setting was turned on after the start")
        );
        let head = trace(&["#9 switch=active"]);
        assert_eq!(head.missing(Scope::Start, &[]).as_deref(), Some("records 1 to 8 are missing"));
    }

    #[test]
    fn while_it_is_off_and_after_the_last_number_nothing_is_known() {
        let other = "#3 other=0x00000001 size=1";
        let off = trace(&["#1 survey=start", "#2 survey=off", other, "#4 survey=on"]);
        assert_eq!(off.missing(Scope::Whole, &[]).as_deref(), Some("nothing is recorded from 2 to 4"));
        let full = trace(&["#1 survey=start", "#2 survey=full"]);
        assert_eq!(full.missing(Scope::Whole, &[]).as_deref(), Some("nothing is recorded from 3 on"));
        let told = trace(&["#1 survey=start", "#2 survey=full", "#2 lost=9", "#2 lost=18"]);
        assert_eq!((told.runs.len(), told.lost), (1, 18));
        let ended = trace(&["#1 survey=start", other, "#2 survey=off"]);
        assert_eq!(ended.missing(Scope::Whole, &[]), None);
    }

    #[test]
    fn attachments_and_switches_are_told_apart_and_events_that_are_missing_are_named() {
        let mut events: Vec<TraceEvent> = ["#1 survey=start", "#2 switch=active", "#1 survey=start"]
            .iter()
            .flat_map(|record| [event("One", record), event("Two", record)])
            .collect();
        events.push(TraceEvent::new(NOT_TRACED, &[("Id", "24")]));
        events.push(TraceEvent::new(19, &[("Oid", "0x00010224")]));
        let trace = Trace::of(&events);
        let runs: Vec<_> = trace.runs.iter().map(|run| (&*run.switch, run.records.len())).collect();
        assert_eq!(runs, [("One", 2), ("Two", 2), ("One", 1), ("Two", 1)]);
        assert_eq!(trace.missing(Scope::Whole, &[25]), None);
        assert!(trace.missing(Scope::Whole, &[24]).unwrap().contains("events 24 are missing"));
        assert_eq!(trace.events(19).next().unwrap().number("Oid"), Some(0x0001_0224));
        assert!(super::Trace::of(&[event("One", "nonsense")]).missing(Scope::Start, &[]).is_some());
    }
}
