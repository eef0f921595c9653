//! Trace events: what the kernel got, decoded from its bytes, against the driver's ring.

use super::{Seen, look, team, with_failure};
use lbfoext::trace::Event;
use teaming::event::text::Text;
use teaming::event::trace_logging::PROVIDER_ID;
use teaming::event::{FIELD_LONGEST, Value as Said};
use vswitch::machine::etw::{Field, Session, TraceEvent};
use vswitch::machine::registry::Value;
use vswitch::scenario::Net;
use vswitch::scenario::suite::MS;

/// What a session must get of an event: name, id, level, keyword and fields.
type Expected = (String, u16, u8, u64, Vec<(String, Field)>);

fn line(event: &Event, number: usize) -> String {
    let mut line = Text::<200>::EMPTY;
    event.line(number, &mut line);
    line.as_str().to_owned()
}

fn field(said: &Said) -> Field {
    match *said {
        Said::U32(number) => Field::Number(number.into()),
        Said::U64(number) => Field::Number(number),
        Said::Hex(number) => Field::Hex(number),
        Said::Members(members) => Field::Hex(members.bits()),
        Said::Status(status) => Field::Status(status.cast_unsigned()),
        other => {
            let mut text = Text::<FIELD_LONGEST>::EMPTY;
            other.write(&mut text);
            Field::Text(text.as_str().to_owned())
        }
    }
}

fn expected((at, event): &(u64, Event)) -> Expected {
    let kind = event.kind();
    let texts = ["What", "Why", "Next"].into_iter().enumerate();
    let common =
        [("Switch".to_owned(), Field::Text("Simulated".to_owned())), ("Time".to_owned(), Field::Number(*at))];
    let lines = texts.map(|(number, name)| (name.to_owned(), Field::Text(line(event, number))));
    let values = event.values();
    let own = kind.fields.iter().zip(&values).map(|((name, _), said)| ((*name).to_owned(), field(said)));
    let fields = common.into_iter().chain(lines).chain(own).collect();
    (kind.name.to_owned(), kind.id, kind.level as u8, kind.keyword as u64, fields)
}

fn got(event: TraceEvent) -> Expected {
    assert_eq!((event.provider, &*event.provider_name), (PROVIDER_ID, "lbfoext"));
    let TraceEvent { id, level, keyword, name, fields, .. } = event;
    (name, id, level, keyword, fields)
}

/// The events of the ring since then, with their times.
fn ring(net: &Net, since: u64) -> Vec<(u64, Event)> {
    let read = |module: &lbfoext::module::Module| {
        let control = module.control.lock();
        let all = control.events.iter().map(|(at, event)| (at.get(), event));
        all.filter(|(at, _)| *at >= since).collect()
    };
    look(net, read).expect("it is attached")
}

fn time(event: &TraceEvent) -> u64 {
    let time = event.fields.iter().find(|(name, _)| name == "Time");
    let Some((_, Field::Number(time))) = time else { panic!("no time: {event:?}") };
    *time
}

/// What happened since then and was traced.
fn traced(net: &Net, since: u64) -> Vec<TraceEvent> {
    net.world().trace().into_iter().filter(|event| time(event) >= since).collect()
}

fn names(net: &Net, since: u64) -> Vec<String> {
    traced(net, since).into_iter().map(|event| event.name).collect()
}

/// The session got the ring's events since then, in their order, but for those that the ring says it did not get.
pub fn assert_traced(net: &Net, since: u64) {
    // What the thread has to write.
    net.advance(MS);
    let mut wanted = Vec::new();
    for (at, event) in ring(net, since) {
        if let Event::NotTraced { id, count } = event {
            for _ in 0..count {
                let last = wanted.iter().rposition(|(_, event): &(u64, Event)| event.id() == id);
                wanted.remove(last.expect("it happened"));
            }
        }
        wanted.push((at, event));
    }
    let wanted: Vec<_> = wanted.iter().map(expected).collect();
    let all: Vec<_> = traced(net, since).into_iter().map(got).collect();
    assert_eq!(all, wanted);
}

/// A setting changes, and the session's buffers are full.
pub fn a_session_has_no_room() -> Seen {
    let act = |net: &Net| {
        net.set("SymmetricHash", Value::Dword(1));
        net.advance(2_000 * MS);
    };
    let told = vec![Event::SettingsRead, Event::NotTraced { id: 4, count: 1 }];
    with_failure("EtwWriteTransfer", &team(&[10, 10]), act, told)
}

#[test]
fn a_session_gets_what_happens_while_it_lasts() {
    let net = team(&[10, 10]).traced(false).start();
    net.advance(100 * MS);
    let change = |value| {
        net.set("HashSeed", Value::Dword(value));
        net.advance(MS);
    };
    change(1);
    assert_eq!(names(&net, 0), [""; 0]);
    net.world().read_traces(Some(Session::EVERYTHING));
    let began = net.now();
    change(2);
    change(3);
    assert_eq!(names(&net, 0), ["SettingsRead"; 2]);
    assert_traced(&net, began);
    net.world().read_traces(None);
    change(4);
    assert_eq!(names(&net, 0), ["SettingsRead"; 2]);
    net.finish().assert_clean();
}

#[test]
fn a_session_gets_the_levels_and_the_topics_that_it_asks_for_and_is_told_of_no_others() {
    // Warnings and worse about the team.
    let session = Session { level: 3, any: 1, all: 0 };
    let net = team(&[10, 10]).traced(false).start();
    net.advance(100 * MS);
    net.world().read_traces(Some(session));
    net.fail(2);
    net.advance(10 * MS);
    net.restore(2);
    (0..300).for_each(|value| net.set("HashSeed", Value::Dword(value)));
    net.advance(3_000 * MS);
    assert_eq!(names(&net, 0), ["MemberDown", "TeamDegraded"]);
    net.finish().assert_clean();
}

/// Ten thousand in a second: a burst of 128, then a hundred in a second; the number of the others is told.
#[test]
fn a_storm_of_events_is_traced_at_a_bounded_pace_and_counted() {
    let net = team(&[10, 10]).start();
    net.advance(100 * MS);
    let since = net.now();
    for port in 0..10_000_u32 {
        look(&net, move |module: &lbfoext::module::Module| {
            lbfoext::control::events::tell(module, Event::GroupsNotKept { port, times: 1 });
        });
        net.advance(MS / 10);
    }
    let during = traced(&net, since).len();
    assert!((200..=240).contains(&during), "{during}");
    net.fail(2);
    net.advance(MS);
    assert_eq!(names(&net, since).iter().filter(|name| *name == "MemberDown").count(), 1);
    net.advance(5_000 * MS);
    let all = traced(&net, since);
    let of = |name: &str| all.iter().filter(|event| event.name == name).cloned().collect::<Vec<_>>();
    let untold: u64 = of("NotTraced")
        .iter()
        .map(|event| match event.fields.last() {
            Some((_, Field::Number(count))) => *count,
            _ => panic!("no count: {event:?}"),
        })
        .sum();
    assert_eq!(untold + of("GroupsNotKept").len() as u64, 10_000);
    net.finish().assert_clean();
}

/// Starts a team of which two calls fail: EtwRegister, and one so many fallible calls later; `None` if the first is another.
fn unregistered(number: u64, again: u64) -> Option<Net> {
    let failing = |config: &mut vswitch::machine::world::Config| {
        (config.fault, config.fault_again) = (Some(number), Some(again));
    };
    let net = team(&[10, 10]).config(failing).start();
    let failed = net.world().injected_fault() == Some("EtwRegister");
    failed.then_some(net)
}

/// At DriverEntry, and once more at the first attempt of a module's thread.
#[test]
fn a_provider_that_could_not_be_registered_is_registered_by_a_module_and_an_hour_later_events_are_traced() {
    /// More fallible calls than lie between the two.
    const MOST: u64 = 250;
    let number = (1..100).find(|number| unregistered(*number, 0).is_some()).expect("it registers");
    let twice =
        |net: &Net| net.world().faults_since(0).iter().filter(|fault| fault.site == "EtwRegister").count();
    let mut refused = [0; 3];
    for again in 0..MOST {
        let net = unregistered(number, again).expect("the same start");
        net.advance(3_600_000 * MS);
        let times = twice(&net);
        // The other runs lack something else.
        if again == 0 || times == 2 {
            refused[times] += 1;
            let since = net.now();
            net.fail(2);
            assert_traced(&net, since);
            assert!(names(&net, since).contains(&"MemberDown".to_owned()), "refused {times} times");
        }
        net.finish().assert_clean();
    }
    assert!(refused[1] > 0 && refused[2] > 0, "{refused:?}");
}

#[test]
fn a_switch_that_goes_writes_what_waits_and_how_many_were_not_written() {
    let net = team(&[10, 10]).start();
    net.advance(100 * MS);
    let since = net.now();
    look(&net, |module| {
        for port in 0..1_000 {
            lbfoext::control::events::tell(module, Event::GroupsNotKept { port, times: 1 });
        }
    });
    let world = net.world().clone();
    net.finish().assert_clean();
    let all: Vec<TraceEvent> = world.trace().into_iter().filter(|event| time(event) >= since).collect();
    let told = all.iter().rev().find(|event| event.name == "NotTraced").expect("it is told");
    let written = all.iter().filter(|event| event.name == "GroupsNotKept").count() as u64;
    assert_eq!(told.fields.last(), Some(&("Count".to_owned(), Field::Number(1_000 - written))));
    assert!(written >= 128, "{written}");
}
