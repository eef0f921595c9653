//! The state of a team as text of at most 80 columns: what `teamctl show` prints of a host, and what the driver's tests print
//! of a simulated one. Made of the numbers of `status` alone, and of the adapters' names, which those do not have.

#![allow(clippy::arithmetic_side_effects, reason = "for tools and tests; not in the driver")]

use std::fmt;
use std::format;
use std::string::{String, ToString};
use std::vec::Vec;

use crate::event;
use crate::flow::HashPolicy;
use crate::ids::MEMBERS;
use crate::status::{EVENTS, Field, MEMBER, TEAM, team_names};

/// Largest line length.
pub const COLUMNS: usize = 80;

/// What is shown.
pub struct Report<'a> {
    pub switch: &'a str,
    /// A number by the name of its field; `None` if it was not told.
    pub number: &'a dyn Fn(&str) -> Option<u64>,
    /// The name of the adapter that is the member with this index.
    pub name: &'a dyn Fn(u16) -> Option<String>,
}

/// One of the last events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LastEvent {
    pub id: u16,
    /// In the words of `EVENTS.md`.
    pub name: &'static str,
    pub age_ms: u64,
}

/// The last events that were told, newest first.
pub fn last_events(number: impl Fn(&str) -> Option<u64>) -> Vec<LastEvent> {
    let event = |place: usize| {
        let id = u16::try_from(number(&format!("Event{place}Id"))?).ok().filter(|id| *id != 0)?;
        let name = event::kind(id).map_or("unknown", |kind| kind.name);
        Some(LastEvent { id, name, age_ms: number(&format!("Event{place}AgeMs"))? })
    };
    (1..=EVENTS).map_while(event).collect()
}

/// The drops that happened: reason, sentence, count.
pub fn drops(number: impl Fn(&str) -> Option<u64>) -> Vec<(String, &'static str, u64)> {
    let dropped = |(name, help): (String, &'static str)| {
        let count = number(&name).filter(|count| *count != 0)?;
        Some((name.strip_prefix("Dropped")?.to_string(), help, count))
    };
    team_names().into_iter().filter_map(dropped).collect()
}

impl Report<'_> {
    fn member(&self, index: usize, field: &str) -> Option<u64> {
        (self.number)(&format!("Member{index}{field}"))
    }

    fn lines(&self) -> Vec<String> {
        let number = |field: &str| (self.number)(field);
        let counted = |field: &str| number(field).map_or_else(|| "?".to_string(), count);
        let policy = number("LoadBalancingAlgorithm").and_then(HashPolicy::from_number);
        let mut lines = Vec::from([
            format!(
                "switch {}: {}, {} {}, {}",
                self.switch,
                word_of(&TEAM, "Status", number("Status")),
                word_of(&TEAM, "TeamingMode", number("TeamingMode")),
                policy.map_or("?", HashPolicy::name),
                number("Ports").map_or_else(|| "? ports".to_string(), |ports| count_of(ports, "port"))
            ),
            "member  Mb/s  share          frames             bytes queues  state".to_string(),
        ]);
        for index in 1..=MEMBERS {
            if self.member(index, "State").is_some_and(|state| state != 0) {
                lines.extend(self.member_lines(index));
            }
        }
        if number("MovingFlows") == Some(1) {
            lines.push("flows wait for a gap to change member".to_string());
        }
        let (uplink, flooded) = (counted("Uplink"), counted("Flooded"));
        let packets = format!("packets to one vNIC, {uplink} to a member, {flooded} to several");
        lines.extend(wrap(&packets, &counted("Delivered"), "  "));
        let dropped =
            |(_, why, times): (String, &str, u64)| wrap(&format!("{} {why}", count(times)), "dropped", "  ");
        lines.extend(drops(number).into_iter().flat_map(dropped));
        let events = last_events(number);
        if !events.is_empty() {
            lines.push("last events, the newest first".to_string());
        }
        let told = |event: LastEvent| format!("{:>11} ago: {} {}", span(event.age_ms), event.id, event.name);
        lines.extend(events.into_iter().map(told));
        lines
    }

    fn member_lines(&self, index: usize) -> Vec<String> {
        let told = |field: &str| self.member(index, field);
        let number = |field: &str| told(field).unwrap_or(0);
        let name = u16::try_from(index).ok().and_then(|index| (self.name)(index));
        let adapter = name.unwrap_or_else(|| match (number("GuidHigh"), number("GuidLow")) {
            (0, 0) => "adapter not known yet".to_string(),
            (high, low) => guid(high, low),
        });
        let why = match word_of(&MEMBER, "FailureReason", told("FailureReason")) {
            why if why == "NoFailure" => String::new(),
            why => why,
        };
        let mut lines = wrap(&why, &format!("    {index:>2}  {adapter}"), "        ");
        if number("WeightIsSet") == 1 {
            lines.push(format!("        weight {} is set", count(number("Weight"))));
        }
        if (number("MovedIn"), number("MovedOut")) != (0, 0) {
            let (came, left) = (count_of(number("MovedIn"), "bucket"), count(number("MovedOut")));
            lines.push(format!("        {came} of flows came to it, {left} left it"));
        }
        lines.push(format!(
            "{:>12} {:>4}.{}% {:>14} {:>17} {:>6}  {}",
            number("SpeedMbps"),
            number("SharePermille") / 10,
            number("SharePermille") % 10,
            count(number("Frames")),
            count(number("Bytes")),
            number("Queues"),
            word_of(&MEMBER, "State", told("State")),
        ));
        lines
    }
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lines().iter().try_for_each(|line| writeln!(out, "{}", line.trim_end()))
    }
}

/// The word for a number of a field, or the number itself; `?` if it was not told.
pub fn word_of(fields: &[Field], name: &str, number: Option<u64>) -> String {
    let help = fields.iter().find(|field| field.name == name).map_or("", |field| field.help);
    number.map_or_else(|| "?".to_string(), |number| word(help, number))
}

/// Descriptions name their numbers as in "0 Up, 1 Degraded".
fn word(help: &str, number: u64) -> String {
    let named = help.split(", ").filter_map(|part| part.split_once(' '));
    let found = named.filter(|(n, _)| n.parse() == Ok(number)).map(|(_, word)| word.to_string());
    found.last().unwrap_or_else(|| number.to_string())
}

/// A GUID from its halves, as its text has them.
fn guid(high: u64, low: u64) -> String {
    let (a, b, c) = (high >> 32, high >> 16 & 0xFFFF, high & 0xFFFF);
    let (d, e) = (low >> 48, low & 0xFFFF_FFFF_FFFF);
    format!("{{{a:08X}-{b:04X}-{c:04X}-{d:04X}-{e:012X}}}")
}

/// A time in the unit that suits it.
pub fn span(ms: u64) -> String {
    let seconds = ms / 1_000;
    match seconds {
        0..120 => format!("{seconds}.{} s", ms % 1_000 / 100),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", count(seconds / 86_400)),
    }
}

/// Wraps a text into lines; the first starts with `first` and a space, the others with `indent`.
pub fn wrap(text: &str, first: &str, indent: &str) -> Vec<String> {
    let mut lines = Vec::from([first.to_string()]);
    for word in text.split_whitespace() {
        match lines.last_mut().filter(|line| line.chars().count() + word.chars().count() < COLUMNS) {
            Some(line) => *line += &format!(" {word}"),
            None => lines.push(format!("{indent}{word}")),
        }
    }
    lines
}

/// The number with separators, as 10,863.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.char_indices() {
        if place != 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number with what it counts, as in "1 frame" and "10,863 frames".
pub fn count_of(number: u64, what: &str) -> String {
    format!("{} {what}{}", count(number), if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_carry_separators() {
        assert_eq!(count(0), "0");
        assert_eq!(count(999), "999");
        assert_eq!(count(1_000), "1,000");
        assert_eq!(count(12_345_678), "12,345,678");
    }

    #[test]
    fn a_long_sentence_is_broken_between_words() {
        let text = ["words"; 40].join(" ");
        let lines = wrap(&text, " ", "    ");
        assert!(lines.len() == 4 && lines.iter().all(|line| line.len() <= COLUMNS), "{lines:?}");
        let joined: Vec<&str> = lines.iter().map(|line| line.trim()).collect();
        assert_eq!(joined.join(" "), text);
    }

    #[test]
    fn a_time_is_told_in_the_unit_that_suits_it() {
        let times = [0, 199, 119_999, 120_000, 7_199_999, 7_200_000, 172_799_999, 172_800_000];
        let told = ["0.0 s", "0.1 s", "119.9 s", "2 min", "119 min", "2 h", "47 h", "2 days"];
        assert_eq!(times.map(span), told);
    }
}
