//! The setting `Survey`: what arrives from Windows is recorded in trace events, with running numbers, bounded, and at no
//! cost while it is off. The events are decoded from the bytes that the kernel got.

use super::module::look;
use lbfoext::control::survey::answered;
use lbfoext::module::Module;
use lbfoext::ndis::raw::{oids, request_type};
use lbfoext::ndis::status::NdisStatus;
use vswitch::machine::etw::{Field, Session};
use vswitch::machine::registry::Value;
use vswitch::scenario::suite::{CASES, MS};
use vswitch::scenario::{Activation, Net, Scenario, unknown_request};
use vswitch::switch::control::save::Offering;

/// The id of the events.
const SURVEYED: u16 = 37;

fn scenario() -> Scenario {
    Scenario::new(1).members(&[10, 10]).vms(3).setting("Survey", Value::Dword(1))
}

/// The records that the session got, in its order.
fn records(net: &Net) -> Vec<String> {
    let events = net.world().trace().into_iter().filter(|event| event.id == SURVEYED);
    let text = |fields: Vec<(String, Field)>| match fields.into_iter().last() {
        Some((name, Field::Text(text))) if name == "Record" => text,
        other => panic!("no record: {other:?}"),
    };
    events.map(|event| text(event.fields)).collect()
}

/// The number of a record.
fn number(record: &str) -> u16 {
    let number = record.split(' ').next().and_then(|first| first.strip_prefix('#'));
    number.and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("{record:?} has no number"))
}

/// What a record says, without its number.
fn said(record: &str) -> &str {
    record.split_once(' ').expect("a number and more").1
}

fn lost(records: &[String]) -> u32 {
    let mut told = records.iter().rev().filter_map(|record| said(record).strip_prefix("lost="));
    told.next().map_or(0, |count| count.parse().expect("a number"))
}

fn begins(all: &[String], with: &str) -> bool {
    all.iter().any(|record| said(record).starts_with(with))
}

#[test]
fn off_nothing_is_recorded_and_no_memory_is_taken() {
    for case in CASES.iter().step_by(4) {
        let net = (case.plan)(1).start();
        (case.steps)(&net);
        assert_eq!(records(&net), [""; 0], "{}", case.name);
        let calls = [None, Some(Value::Dword(0))].map(|value| {
            let plan = (case.plan)(1).traced(false);
            let plan = value.into_iter().fold(plan, |plan, value| plan.setting("Survey", value));
            let net = plan.start();
            (net.world().asked(), net.finish().assert_clean()).0
        });
        assert_eq!(calls[0], calls[1], "{}: it is off by itself", case.name);
        net.finish().assert_clean();
    }
}

#[test]
fn on_everything_that_arrives_has_a_record_with_the_next_number() {
    let net = scenario().activation(Activation::WhileRunning).start();
    net.advance(100 * MS);
    net.fail(2);
    net.start_queue(net.vm(0));
    net.save(net.vm(0), Offering::default());
    net.advance(100 * MS);
    let all = records(&net);
    let numbers: Vec<u16> = all.iter().map(|record| number(record)).collect();
    assert_eq!(numbers, (1..=all.len() as u16).collect::<Vec<_>>());
    assert_eq!(said(&all[0]), "survey=start");
    for kind in [
        "switch=",
        "ask=",
        "array=ports",
        "array=nics",
        "shape=",
        "nic=1 via=",
        "property=3 ext=yes",
        "vlan=",
        "link=",
        "status=",
        "oid=",
        "inner=",
        "id=",
        "end=",
        "save=",
    ] {
        assert!(begins(&all, kind), "no {kind} in {all:#?}");
    }
    assert!(all.iter().all(|record| record.len() <= 79 && record.is_ascii()));
    net.finish().assert_clean();
}

/// Each request from above is recorded when it arrives and when it is completed, once.
#[test]
fn each_request_has_a_beginning_and_an_end_with_its_lengths_and_status() {
    let net = scenario().start();
    net.advance(100 * MS);
    let before = records(&net).len();
    let oid = 0x00FF_0042;
    for (kind, word) in [
        (request_type::QUERY_INFORMATION, "query"),
        (request_type::SET_INFORMATION, "set"),
        (request_type::METHOD, "method"),
    ] {
        net.ask(unknown_request(oid, kind, vec![0x80, 3, 16, 0, 9, 9, 9, 9], 0));
        net.advance(MS);
        let all = records(&net);
        let new: Vec<&str> = all[before..].iter().map(|record| said(record)).collect();
        let asked = format!("oid=0x00FF0042 as={word} in=8 ");
        let of_it = |start: &str| new.iter().filter(|record| record.starts_with(start)).count();
        assert_eq!(of_it(&asked), 1, "{new:#?}");
        assert!(new.iter().any(|record| record.starts_with(&asked) && record.ends_with("head=128.3.16")));
        assert_eq!(of_it("end=0x00FF0042 status="), of_it("oid=0x00FF0042"), "{new:#?}");
    }
    net.finish().assert_clean();
}

/// What the suite does, with records of it: no rule is broken, and nothing is left.
#[test]
fn the_scenarios_of_the_suite_are_the_same_with_the_survey_on() {
    for case in CASES {
        let net = (case.plan)(3).setting("Survey", Value::Dword(1)).start();
        (case.steps)(&net);
        for record in records(&net) {
            assert!(record.len() <= 79 && !record.contains('?'), "{}: {record}", case.name);
        }
        net.finish().assert_clean();
    }
}

#[test]
fn the_setting_turns_it_on_and_off_while_the_switch_runs() {
    let net = Scenario::new(1).members(&[10, 10]).vms(3).start();
    net.advance(100 * MS);
    let mut expected = Vec::new();
    for (value, word) in [(1, "survey=on"), (0, "survey=off"), (1, "survey=on")] {
        net.set("Survey", Value::Dword(value));
        net.fail(2);
        net.restore(2);
        net.advance(100 * MS);
        expected.push(word);
        let all = records(&net);
        let begun: Vec<&str> = all.iter().map(|r| said(r)).filter(|r| r.starts_with("survey=")).collect();
        assert_eq!(begun, expected);
        let is_last = all.last().map(|record| said(record)) == Some("survey=off");
        assert_eq!(is_last, value == 0, "nothing is recorded while it is off");
    }
    let numbers: Vec<u16> = records(&net).iter().map(|record| number(record)).collect();
    assert_eq!(numbers, (1..=numbers.len() as u16).collect::<Vec<_>>());
    net.finish().assert_clean();
}

/// Has the driver record something so many times without a pause.
fn burst(net: &Net, count: u32) {
    look(net, move |module: &Module| {
        // Under the team lock, for which the thread waits that writes them.
        let _held = module.control.lock();
        (0..count).for_each(|_| answered(module, oids::SWITCH_PARAMETERS, None, NdisStatus::SUCCESS, (1, 0)));
    });
    net.advance(MS);
}

#[test]
fn what_finds_no_room_leaves_a_gap_and_is_counted() {
    let net = scenario().start();
    net.advance(100 * MS);
    let before = number(records(&net).last().expect("some"));
    burst(&net, 2_000);
    let all = records(&net);
    let last = number(all.last().expect("some"));
    assert_eq!(u32::from(last - before), 2_001, "each has a number, and what was lost");
    let written = all.iter().filter(|record| number(record) > before).count() as u32 - 1;
    assert!((512..2_000).contains(&written), "{written}");
    assert_eq!(lost(&all), 2_000 - written);
    burst(&net, 1);
    assert_eq!(records(&net).len(), all.len() + 1, "what was told is not told again");
    net.finish().assert_clean();
}

#[test]
fn an_attachment_ends_its_survey_at_the_last_number() {
    let net = scenario().start();
    net.advance(100 * MS);
    for _ in 0..200 {
        burst(&net, 400);
    }
    let all = records(&net);
    let full = all.iter().position(|record| said(record) == "survey=full").expect("it is full");
    assert_eq!(number(&all[full]), u16::MAX);
    assert!(all[full + 1..].iter().all(|record| said(record).starts_with("lost=")), "{:#?}", &all[full..]);
    assert!(all.len() - full < 20, "{:#?}", &all[full..]);
    assert!((5_000..25_000).contains(&lost(&all)), "{}", lost(&all));
    net.finish().assert_clean();
}

#[test]
fn what_no_session_got_is_told_when_one_is_there() {
    let net = scenario().traced(false).start();
    net.advance(100 * MS);
    burst(&net, 10);
    assert_eq!(records(&net), [""; 0]);
    net.world().read_traces(Some(Session::EVERYTHING));
    net.advance(1_100 * MS);
    let all = records(&net);
    assert!(lost(&all) > 20 && number(&all[0]) > 20, "{all:#?}");
    burst(&net, 1);
    assert_eq!(number(records(&net).last().expect("some")), number(&all[0]) + 1);
    net.finish().assert_clean();
}

#[test]
fn what_the_session_refuses_is_lost_and_told_within_a_second() {
    let mut refused = 0;
    for n in 1..60 {
        let net = scenario().start();
        net.advance(100 * MS);
        net.world().fail_from_here(n);
        net.fail(2);
        net.advance(MS);
        let failed = net.world().injected_fault();
        net.world().fail_from_here(1 << 40);
        net.advance(1_100 * MS);
        if failed == Some("EtwWriteTransfer") {
            refused += lost(&records(&net));
        }
        net.finish().assert_clean();
    }
    assert!(refused > 0);
}

/// Each call that may fail fails, one in each run: the survey begins all the same within a second.
#[test]
fn a_survey_that_finds_no_memory_begins_later_and_nothing_else_is_changed() {
    let (mut late, mut n) = (0, 0);
    loop {
        n += 1;
        let net = scenario().config(|config| config.fault = Some(n)).start();
        net.advance(100 * MS);
        net.fail(2);
        net.advance(2_000 * MS);
        let Some(failed) = net.world().injected_fault() else { break };
        let attached = net.look(|state| state.modules[0].context != 0) == Some(true);
        if attached && net.is_running() {
            let all = records(&net);
            let on = all.iter().any(|record| ["survey=start", "survey=on"].contains(&said(record)));
            // The first one may be what was refused, which is told.
            assert!(on || lost(&all) > 0, "call {n} ({failed}) failed: {all:#?}");
            late += u32::from(begins(&all, "survey=on"));
        }
        net.finish().assert_clean();
    }
    assert!(n > 50 && late > 0, "{late} of {n}");
}
