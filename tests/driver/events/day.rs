//! The document of all events: what each kind says, and what a day of trouble reads like. `RENEW=1` writes it again.

use super::{look, team};
use lbfoext::trace::Event;
use std::fmt::Write;
use std::fs;
use std::path::Path;
use teaming::event::catalog::{EventKind, KINDS};
use teaming::event::text::Text;
use vswitch::machine::registry::Value;
use vswitch::scenario::Net;
use vswitch::scenario::suite::MS;
use vswitch::switch::control::properties::Damage;
use vswitch::switch::control::save::Offering;
use vswitch::switch::ports::policy::{Property, Vlan};

const DOCUMENT: &str = "inf/EVENTS.md";
const SECOND: u64 = 1_000 * MS;

/// What a kind says, its fields in braces.
fn kind(kind: &EventKind) -> String {
    let place = if kind.in_system_log { "; System event log" } else { "" };
    let (level, keyword) = (kind.level.name(), kind.keyword.name());
    let mut text = format!("{} {} ({level}, {keyword}{place})\n", kind.id, kind.name);
    kind.text.iter().for_each(|line| writeln!(text, "  {line}").expect("a string"));
    text
}

/// An event with its time, as it is read.
fn told(at: u64, event: &Event) -> String {
    let kind = event.kind();
    let seconds = at as f64 / SECOND as f64;
    let place = if kind.in_system_log { ", in the System event log" } else { "" };
    let mut text = format!("{seconds:>8.3} s  {} {} {}{place}\n", kind.level.name(), kind.id, kind.name);
    for number in 0..3 {
        let mut line = Text::<200>::EMPTY;
        event.line(number, &mut line);
        writeln!(text, "  {}", line.as_str()).expect("a string");
    }
    text
}

/// Links fail and flap, settings are wrong, policies are not enforced, saved data is damaged, memory is refused.
fn live(net: &Net) {
    net.fail(2);
    net.advance(5 * SECOND);
    net.restore(2);
    net.advance(5 * SECOND);
    for _ in 0..3 {
        net.fail(1);
        net.advance(4 * SECOND);
        net.restore(1);
        net.advance(4 * SECOND);
    }
    (1..=3).for_each(|member| net.fail(member));
    net.advance(SECOND);
    (1..=3).for_each(|member| net.restore(member));
    net.advance(5 * SECOND);
    net.set("MoveDeadlineMs", Value::Dword(600_001));
    net.set("LinkUpDelayMs", Value::Sz("7".to_owned()));
    net.advance(SECOND);
    net.add_property(net.vm(0).port, 1, Property::Isolation { mode: 2 });
    net.damaged_property(net.vm(0).port, Property::Vlan(Vlan::Access(7)), Damage::CutBody);
    let nic = net.vm(1);
    let blobs = net.save(nic, Offering::default()).expect("it is saved").blobs;
    let mut data = blobs[0].data().to_vec();
    *data.last_mut().expect("there is data") ^= 1;
    net.restore_spoilt(nic, &[blobs[0].with_data(&data)], &blobs);
    net.restore_nic(nic, &blobs);
    net.advance(SECOND);
    net.world().fail_from_here(1);
    net.save(nic, Offering::default());
    net.advance(SECOND);
}

fn day() -> String {
    let net = team(&[10, 25, 10]).start();
    live(&net);
    let events = look(&net, |module| module.control.lock().events.iter().collect::<Vec<_>>());
    let events = events.expect("it is attached");
    let start = events.first().expect("there are events").0.get();
    let text = events.iter().map(|(at, event)| told(at.get() - start, event)).collect();
    net.finish().assert_clean();
    text
}

fn document() -> String {
    let kinds: String = KINDS.iter().map(kind).collect();
    format!(
        "# Events\n\nWritten by a test from the driver's own table. An id is never given to another event.\n\n\
         ## What each says\n\nNames in braces are fields. Those that say so are in the System event log, with the name \
         of the switch in front;\nthe others can be read with a kernel debugger only.\n\n```text\n{kinds}```\n\n\
         ## A day\n\nA team of three members, 10, 25 and 10 Gb/s, in the simulated switch: links fail and flap, \
         settings are\nwrong, a policy is not enforced, saved data is damaged, memory is refused.\n\n```text\n{}```\n",
        day()
    )
}

#[test]
fn the_document_of_the_events_is_what_the_driver_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(DOCUMENT);
    let document = document();
    if std::env::var_os("RENEW").is_some() {
        fs::write(&path, &document).expect("the document is written");
    }
    let fenced = document.split("```").skip(1).step_by(2).flat_map(str::lines);
    let long: Vec<&str> = fenced.filter(|line| line.len() > 82).collect();
    assert!(long.is_empty(), "{long:#?}");
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert!(written == document, "{DOCUMENT} is old: RENEW=1 writes it again");
}
