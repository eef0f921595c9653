//! The System event log: what the kernel got of the driver's events, shown with the message table of the image.

use super::{Seen, look, team, with_failure};
use lbfoext::trace::Event;
use teaming::event::catalog::{self, KINDS};
use teaming::event::text::Text;
use vswitch::machine::error_log::LogEntry;
use vswitch::scenario::Net;
use vswitch::scenario::suite::MS;

#[allow(dead_code, reason = "the build script uses the rest")]
#[path = "../../../src/build/messages.rs"]
mod messages;

/// What the Event Viewer shows of an event, from the texts of the core.
fn text(event: &Event) -> String {
    let lines = (0..3).map(|number| {
        let mut line = Text::<200>::EMPTY;
        event.line(number, &mut line);
        format!("{}\r\n", line.as_str())
    });
    format!("Switch Simulated: {}", lines.collect::<String>())
}

fn logged(net: &Net, since: u64) -> Vec<LogEntry> {
    net.world().error_log().into_iter().filter(|entry| entry.at >= since).collect()
}

/// The entries since then are those of the events that belong there, at most 32 of a kind, each with its text.
pub fn assert_logged(net: &Net, since: u64, all: &[Event]) {
    // What the thread has to write.
    net.advance(MS);
    let table = messages::table(KINDS);
    let mut wanted: Vec<&Event> = Vec::new();
    for event in all.iter().filter(|event| event.kind().in_system_log) {
        if wanted.iter().filter(|other| other.id() == event.id()).count() < 32 {
            wanted.push(event);
        }
    }
    let entries = logged(net, since);
    let shown: Vec<_> = entries.iter().map(|entry| (entry.id(), entry.shown(&table))).collect();
    let wanted: Vec<_> = wanted.iter().map(|event| (event.id(), Some(text(event)))).collect();
    assert_eq!(shown, wanted);
    for entry in entries {
        let kind = KINDS[usize::from(entry.id()) - 1];
        assert_eq!((entry.severity(), entry.unique), (kind.level.name(), kind.id.into()));
    }
}

#[test]
fn an_entry_that_finds_no_memory_is_told_later() {
    let act = |net: &Net| {
        net.fail(2);
        net.advance(MS);
    };
    let Seen { net, since, .. } = with_failure("IoAllocateErrorLogEntry", &team(&[10, 25, 10]), act, vec![]);
    let ids = |net: &Net| logged(net, since).iter().map(LogEntry::id).collect::<Vec<_>>();
    assert_eq!(ids(&net), [28], "the entry of the member was not written, that of the team was");
    net.advance(2_000 * MS);
    assert_eq!(ids(&net), [28, 32]);
    let told = &logged(&net, since)[1];
    assert_eq!(told.strings, ["Simulated", "MemberDown", "26", "1"]);
    net.finish().assert_clean();
}

/// Ten thousand events in a second neither hold anything up nor fill the log, and all are accounted for.
#[test]
fn a_storm_of_events_is_written_at_a_bounded_pace_and_counted() {
    const EACH: u64 = 1_000;
    let net = team(&[10, 10]).start();
    net.advance(100 * MS);
    let since = net.now();
    let module = |event| {
        look(&net, move |module: &lbfoext::module::Module| {
            lbfoext::control::events::tell(module, event);
        });
    };
    let mut written = 0;
    for number in 0..10_000_u64 {
        module(Event::PortClosed { port: number as u32 });
        net.advance(EACH);
        written = written.max(logged(&net, since).len());
    }
    assert!(written <= 33, "{written} entries in a second");
    assert_eq!(net.now(), since + 10_000 * EACH);
    // A member that dies in the middle of it is told at once.
    net.fail(2);
    net.advance(MS);
    let last = logged(&net, since).into_iter().filter(|entry| entry.id() == 26).count();
    assert_eq!(last, 1);
    net.advance(120_000 * MS);
    let told: u64 = logged(&net, since)
        .iter()
        .filter(|entry| entry.id() == 32)
        .map(|entry| entry.strings[3].parse::<u64>().expect("a number"))
        .sum();
    let whole = logged(&net, since).iter().filter(|entry| entry.id() == 9).count() as u64;
    assert_eq!(told + whole, 10_000);
    net.finish().assert_clean();
}
