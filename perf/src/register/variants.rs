//! Simulated hosts of which one thing each is unlike the plain one: the driver records them, its events are decoded from
//! the bytes that the kernel got, and the answers tell each host from every other. From what is missing nothing is
//! concluded.

use super::records::{SURVEYED, Trace};
use super::{Answer, Row, judge};
use crate::host::Host;
use crate::simulated::description;
use serde_json::Value as Json;
use vswitch::machine::etw::Session;
use vswitch::machine::registry::Value;
use vswitch::scenario::{Activation, EXTERNAL_PORT, Enumeration, Indication, Net, Scenario};
use vswitch::switch::control::below::LinkAnswers;
use vswitch::switch::control::offering::{Extent, Offering, Shape};
use vswitch::switch::ndis::Odd;
use vswitch::switch::ports::policy::{Property, Vlan};

const MS: u64 = 10_000;
const NOT_SUPPORTED: i32 = 0xC000_00BB_u32.cast_signed();

/// A host in which everything is in its most common form.
fn plain() -> Scenario {
    Scenario::new(1)
        .members(&[10, 10])
        .vms(4)
        .setting("Survey", Value::Dword(1))
        .indication(Indication::PerMember)
        .enumeration(Enumeration::Arrays)
        .activation(Activation::BeforeAttach)
        .style(|style| {
            style.odd = Odd::NOTHING;
            style.silent_about_vlans = 0;
            style.old_answers = 0;
        })
}

/// What happens on each of them: a cable is pulled and plugged in again, machines get queues and give them back, one is
/// saved.
fn use_it(net: &Net, offering: Offering) {
    net.advance(1_000 * MS);
    for vm in 0..4 {
        let _ = net.start_queue(net.vm(vm));
    }
    net.fail(2);
    net.advance(3_000 * MS);
    net.restore(2);
    net.advance(6_000 * MS);
    (0..4).for_each(|vm| net.release(net.vm(vm)));
    net.save(net.vm(0), offering);
    net.advance(100 * MS);
}

/// What collect.ps1 would save of it.
fn collected(plan: Scenario, offering: Offering) -> Json {
    let net = plan.start();
    use_it(&net, offering);
    let host = description(&net);
    net.finish().assert_clean();
    host
}

fn answers(host: &Json) -> Vec<Row> {
    let host: Host = serde_json::from_value(host.clone()).expect("a host");
    judge(&host, &Trace::of(&host.trace))
}

fn of<'a>(rows: &'a [Row], id: &str) -> &'a Row {
    rows.iter().find(|row| row.id == id).expect("a row")
}

/// What is said of each row.
fn said(rows: &[Row]) -> Vec<(&'static str, Answer, String)> {
    rows.iter().map(|row| (row.id, row.answer, row.why.clone())).collect()
}

/// A host, the row that tells it, and what is said there.
struct Variant {
    name: &'static str,
    plan: fn() -> Scenario,
    offering: Offering,
    row: &'static str,
    answer: Answer,
    why: &'static str,
}

const fn variant(
    name: &'static str,
    plan: fn() -> Scenario,
    row: &'static str,
    answer: Answer,
    why: &'static str,
) -> Variant {
    let offering = Offering { room: 0, gap: 0, guard: 24, revision: 1, shape: Some(Shape::PLAIN) };
    Variant { name, plan, offering, row, answer, why }
}

fn variants() -> Vec<Variant> {
    let other =
        Shape { header: Extent::Structure, output: Extent::Buffer, input: Extent::Buffer, tells_room: false };
    vec![
        variant("plain", plain, "link-query", Answer::Confirmed, "a status followed"),
        variant(
            "members answer no query of their link",
            || plain().style(|style| style.link_answers = LinkAnswers::Status(NOT_SUPPORTED)),
            "link-query",
            Answer::NotSeen,
            "ended with 0xC00000BB",
        ),
        variant(
            "statuses name the team",
            || plain().indication(Indication::TeamOnly),
            "member-status",
            Answer::Found,
            "index 0, the whole team",
        ),
        variant(
            "no status comes and no member answers",
            || plain().indication(Indication::Nothing),
            "link-interface",
            Answer::Confirmed,
            "It tells both states",
        ),
        variant(
            "members answer and no status comes",
            || plain().indication(Indication::SilentUntilAsked),
            "member-status",
            Answer::NotSeen,
            "no link was seen to change",
        ),
        variant(
            "the external port has no VLAN property",
            || plain().style(|style| style.silent_about_vlans = 100),
            "external-vlan",
            Answer::Confirmed,
            "has no VLAN property",
        ),
        variant(
            "the external port is in a VLAN",
            || plain().port_property(EXTERNAL_PORT, Property::Vlan(Vlan::Access(7))),
            "external-vlan",
            Answer::Refuted,
            "access with VLAN 7",
        ),
        variant(
            "two members give one id",
            || plain().setting("OffloadPlacement", Value::Dword(0)).style(|style| style.unique_ids = false),
            "ids-of-two-members",
            Answer::Refuted,
            "freed each on its own",
        ),
        Variant {
            offering: Offering { shape: Some(other), ..Offering::default() },
            ..variant(
                "a save states other lengths",
                plain,
                "save-room",
                Answer::Confirmed,
                "Header.Size 568, SaveDataSize 0",
            )
        },
        variant(
            "arrays have elements of a newer revision",
            || plain().style(|style| style.odd.newer = 100),
            "newer-revisions",
            Answer::Confirmed,
            "an element of the ports (revision",
        ),
        variant(
            "an element of an array cannot be read",
            || plain().style(|style| style.odd.unreadable = 100),
            "array-elements",
            Answer::Refuted,
            "could be read",
        ),
        variant(
            "the switch becomes active later",
            || plain().activation(Activation::WhileRunning),
            "boot-order",
            Answer::Found,
            "activated after the extension started",
        ),
        variant(
            "ports and NICs come by requests",
            || plain().enumeration(Enumeration::Requests),
            "boot-order",
            Answer::Found,
            "arrays had 0 ports",
        ),
        variant(
            "the switch has one adapter",
            || plain().members(&[10]),
            "switch-team",
            Answer::NotSeen,
            "one adapter",
        ),
    ]
}

#[test]
fn every_variant_of_the_host_is_told_from_every_other_and_by_the_row_that_it_concerns() {
    let mut all = Vec::new();
    for Variant { name, plan, offering, row, answer, why } in variants() {
        let rows = answers(&collected(plan(), offering));
        let told = of(&rows, row);
        assert_eq!(told.answer, answer, "{name}: {row}: {}", told.why);
        assert!(told.why.contains(why), "{name}: {row} says {:?}", told.why);
        assert!(rows.iter().all(|row| row.answer != Answer::Gap), "{name}: nothing is missing");
        all.push((name, row, said(&rows)));
    }
    for (at, (name, row, rows)) in all.iter().enumerate() {
        for (other, of_other, others) in &all[at + 1..] {
            assert_ne!(rows, others, "{name}, {other}");
            // The row that one of them concerns is another on the other.
            let differs = |id: &str| {
                let find =
                    |all: &[(&'static str, Answer, String)]| all.iter().find(|one| one.0 == id).cloned();
                find(rows) != find(others)
            };
            assert!(
                differs(row) || differs(of_other),
                "{name} and {other} are alike in {row} and {of_other}"
            );
        }
    }
}

#[test]
fn the_plain_host_refutes_nothing_and_answers_most_rows() {
    let rows = answers(&collected(plain(), variants()[0].offering));
    let count = |answer| rows.iter().filter(|row| row.answer == answer).count();
    assert_eq!(count(Answer::Refuted), 0, "{:#?}", said(&rows));
    assert!(count(Answer::Confirmed) + count(Answer::Found) >= 12, "{:#?}", said(&rows));
    let rests = rows.iter().filter(|row| row.answer == Answer::Confirmed && row.evidence.is_empty());
    // The status of the file is evidence, too.
    assert!(rests.count() <= 2);
}

/// Without any one record no row says what the whole trace does not say, and a row whose evidence may have been in it
/// says nothing.
#[test]
fn whatever_record_is_missing_no_row_is_answered_from_the_gap() {
    let host = collected(plain(), variants()[0].offering);
    let whole = answers(&host);
    let records: Vec<usize> = host["Trace"]
        .as_array()
        .expect("a list")
        .iter()
        .enumerate()
        .filter(|(_, event)| event["Id"] == SURVEYED)
        .map(|(at, _)| at)
        .collect();
    assert!(records.len() > 60, "{}", records.len());
    let mut refused = 0;
    // That the last one is missing nobody can see.
    for at in &records[..records.len() - 1] {
        let mut less = host.clone();
        less["Trace"].as_array_mut().expect("a list").remove(*at);
        for (row, before) in answers(&less).iter().zip(&whole) {
            let same = row.answer == before.answer;
            assert!(
                same || row.answer == Answer::Gap,
                "without record {at}, {}: {:?}, {}",
                row.id,
                row.answer,
                row.why
            );
            refused += usize::from(row.answer == Answer::Gap);
        }
    }
    assert!(refused > records.len() * 5, "{refused}");
}

/// The session begins when the switch is running already.
#[test]
fn a_session_that_begins_late_answers_nothing_about_the_start() {
    let net = plain().traced(false).start();
    net.advance(1_000 * MS);
    net.world().read_traces(Some(Session::EVERYTHING));
    use_it(&net, Offering::default());
    let rows = answers(&description(&net));
    net.finish().assert_clean();
    for id in ["external-vlan", "boot-order", "array-elements", "link-query", "array-room"] {
        let row = of(&rows, id);
        assert_eq!(row.answer, Answer::Gap, "{id}: {}", row.why);
        assert!(row.why.contains("records 1 to "), "{id}: {}", row.why);
    }
    // What was seen is seen.
    assert_eq!(of(&rows, "feature-status").answer, Answer::Confirmed);
}

/// The setting is turned on when the switch is running already.
#[test]
fn a_survey_that_begins_late_says_so() {
    let net = plain().setting("Survey", Value::Dword(0)).start();
    net.advance(1_000 * MS);
    net.set("Survey", Value::Dword(1));
    use_it(&net, Offering::default());
    let rows = answers(&description(&net));
    net.finish().assert_clean();
    let row = of(&rows, "boot-order");
    assert!(row.answer == Answer::Gap && row.why.contains("turned on after the start"), "{}", row.why);
}
