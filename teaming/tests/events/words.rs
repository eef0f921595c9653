//! Ids, fields and texts of every kind.

use super::{NIC, member, samples, set};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use teaming::event::catalog::{EventKind, FieldType, KINDS};
use teaming::event::log_entry::{Strings, UNITS};
use teaming::event::text::Text;
use teaming::event::{Event, FIELD_LONGEST, Value, kind};
use teaming::ids::MemberSet;
use teaming::migration::record::Discard;

fn line(event: &Event, number: usize) -> String {
    let mut text = Text::<200>::EMPTY;
    event.line(number, &mut text);
    text.as_str().to_owned()
}

fn row(kind: &EventKind) -> String {
    let fields: Vec<String> = kind.fields.iter().map(|(name, of)| format!("{name}:{}", of.name())).collect();
    let place = if kind.in_system_log { "log" } else { "trace" };
    let (level, keyword) = (kind.level.name(), kind.keyword.name());
    format!("{},{},{level},{keyword},{place},{}", kind.id, kind.name, fields.join(" "))
}

/// Rows are added at the end and stay as they are: filters and notes name ids and fields.
#[test]
fn ids_names_and_fields_are_those_that_were_given_out() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/events.csv");
    let table = fs::read_to_string(file).expect("the table");
    let rows: Vec<String> = KINDS.iter().map(row).collect();
    let known: Vec<&str> = table.lines().skip(1).collect();
    for (known, row) in known.iter().zip(&rows) {
        assert_eq!(known, row, "an id that was given out has another meaning now");
    }
    assert_eq!(known.len(), rows.len(), "{}", rows.join("\n"));
}

#[test]
fn every_kind_has_its_own_id_and_name_and_a_sample() {
    for (at, kind) in KINDS.iter().enumerate() {
        assert_eq!(usize::from(kind.id), at + 1, "{}", kind.name);
    }
    let names: BTreeSet<&str> = KINDS.iter().map(|kind| kind.name).collect();
    assert_eq!(names.len(), KINDS.len());
    let codes: BTreeSet<u32> = KINDS.iter().map(EventKind::error_code).collect();
    assert_eq!(codes.len(), KINDS.len());
    let seen: BTreeSet<u16> = samples().iter().map(Event::id).collect();
    assert_eq!(seen, (1..=KINDS.len() as u16).collect());
    assert!(kind(0).is_none() && kind(KINDS.len() as u16 + 1).is_none());
}

#[test]
fn a_kind_has_the_name_of_its_event_and_as_many_fields_of_the_same_types_as_it_says() {
    for event in samples() {
        let kind = event.kind();
        let debug = format!("{event:?}");
        assert_eq!(debug.split([' ', '{']).next(), Some(kind.name));
        let fits = |value: &Value, of: FieldType| match value {
            Value::U32(_) => of == FieldType::U32,
            Value::U64(_) => of == FieldType::U64,
            Value::Hex(_) => of == FieldType::Hex,
            Value::Status(_) => of == FieldType::Status,
            Value::Members(_) => of == FieldType::Members,
            Value::Word(_)
            | Value::Given(_)
            | Value::Allowed(_)
            | Value::Different(_)
            | Value::Adapter(_)
            | Value::Record(_)
            | Value::Answer { .. } => of == FieldType::Text,
        };
        let values = event.values();
        assert_eq!(values.len(), kind.fields.len(), "{debug}");
        for (value, (name, of)) in values.iter().zip(kind.fields) {
            assert!(fits(value, *of), "{debug}: {name} is no {}", of.name());
        }
    }
}

#[test]
fn every_field_stands_in_the_text_and_every_name_in_braces_is_a_field() {
    for kind in KINDS {
        let text = kind.text.concat();
        let named: BTreeSet<&str> = text.split(['{', '}']).skip(1).step_by(2).collect();
        let fields: BTreeSet<&str> = kind.fields.iter().map(|(name, _)| *name).collect();
        assert_eq!(named, fields, "{}", kind.name);
        assert!(text.is_ascii() && !text.contains('%'), "{}", kind.name);
    }
}

#[test]
fn every_line_is_a_sentence_of_at_most_80_columns_whatever_the_values() {
    for event in samples() {
        for number in 0..3 {
            let line = line(&event, number);
            assert!(line.len() <= 80, "{}: {line}", line.len());
            let is_sentence = line.ends_with('.') && !line.ends_with("..") && !line.contains(['{', '}']);
            assert!(is_sentence && line.starts_with(|c: char| !c.is_lowercase()), "{line}");
        }
    }
}

#[test]
fn no_field_is_cut_off() {
    for event in samples() {
        for value in &event.values() {
            let (mut text, mut long) = (Text::<FIELD_LONGEST>::EMPTY, Text::<200>::EMPTY);
            value.write(&mut text);
            value.write(&mut long);
            assert_eq!(text.as_str(), long.as_str());
            assert!(!long.bytes().is_empty());
        }
    }
}

#[test]
fn texts_name_members_settings_and_reasons() {
    let members = |members| {
        let event = Event::QueuesLost { members, partitions: 3 };
        line(&event, 0)
    };
    let went = |text: &str| format!("Members {text} went down with queues of 3 partitions.");
    assert_eq!(members(set([2])), went("2"));
    assert_eq!(members(set([1, 2, 3, 7, 31, 32])), went("1-3,7,31-32"));
    assert_eq!(members(set([1, 3, 5, 7, 9])), went("5 members"));
    assert_eq!(members(MemberSet::ALL), went("1-32"));
    assert_eq!(members(MemberSet::EMPTY), went("none"));

    let ignored = |value| Event::SettingIgnored { setting: 11, value, used: 30_000 };
    assert_eq!(
        line(&ignored(Some(600_001)), 0),
        "Setting MoveDeadlineMs is 600001; 30000 applies in its place."
    );
    assert_eq!(line(&ignored(Some(600_001)), 1), "Allowed: 0 to 600000.");
    assert_eq!(
        line(&ignored(None), 0),
        "Setting MoveDeadlineMs is of another type; 30000 applies in its place."
    );
    let mode = Event::SettingIgnored { setting: 1, value: Some(0), used: 4 };
    assert_eq!(line(&mode, 1), "Allowed: it, but not with this TeamingMode.");
    let algorithm = Event::SettingIgnored { setting: 1, value: Some(1), used: 4 };
    assert_eq!(line(&algorithm, 1), "Allowed: 0, 2, 3, 4, 6, 7.");

    let discarded = Event::RestoreDiscarded { nic: NIC, why: Discard::Damaged };
    assert_eq!(line(&discarded, 1), "The check sum of the saved data is wrong.");
    let status = Event::LinkUnknown { member: member(3), status: 0xC000_0001_u32.cast_signed() };
    assert_eq!(line(&status, 0), "Member 3 did not tell its link state (status 0xC0000001).");
    let more = Event::Suppressed { id: 26, count: 9 };
    assert_eq!(line(&more, 0), "9 more events MemberDown (26) are not in the event log.");
}

/// What an entry's strings say, one after the other.
fn strings(event: &Event, switch: &str) -> Vec<String> {
    let switch: Vec<u16> = switch.encode_utf16().collect();
    let strings = Strings::new(event, &switch);
    assert!(strings.units().len() <= UNITS);
    let (last, units) = strings.units().split_last().expect("a terminator");
    assert_eq!(*last, 0);
    let all: Vec<String> =
        units.split(|unit| *unit == 0).map(|one| String::from_utf16(one).expect("text")).collect();
    assert_eq!(all.len(), usize::from(strings.count));
    all
}

#[test]
fn an_entry_of_the_event_log_has_the_switch_and_every_field_whole() {
    let name = "a switch with a name of many letters that goes on and on and on for ever and ever";
    for event in samples() {
        let all = strings(&event, name);
        let whole: Vec<String> = event
            .values()
            .iter()
            .map(|value| {
                let mut text = Text::<FIELD_LONGEST>::EMPTY;
                value.write(&mut text);
                text.as_str().to_owned()
            })
            .collect();
        assert_eq!(all[1..], whole, "{event:?}");
        assert!(name.starts_with(&all[0]), "{event:?}");
        assert!(all[0].len() >= 15 || !event.kind().in_system_log, "{event:?} leaves {:?}", all[0]);
    }
    let down = Event::TeamDown { connected: 2 };
    assert_eq!(strings(&down, "External"), ["External", "2"]);
    assert_eq!(strings(&down, ""), ["", "2"]);
    assert_eq!(strings(&down, "a\0b"), ["a", "2"]);
}

#[test]
fn the_statuses_of_the_event_log_have_a_severity_the_customer_bit_and_the_facility_of_io() {
    let code = |name| KINDS.iter().find(|kind| kind.name == name).map(EventKind::error_code);
    assert_eq!(code("MemberUp"), Some(0x6004_001B));
    assert_eq!(code("MemberDown"), Some(0xA004_001A));
    assert_eq!(code("TeamDown"), Some(0xE004_001D));
}
