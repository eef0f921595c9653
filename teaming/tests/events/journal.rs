//! What is written where and when, at any rate of events.

use super::member;
use teaming::Heap;
use teaming::event::Event;
use teaming::event::journal::{Due, Journal, KEPT, Place, Rooms};
use teaming::event::limit::Limit;
use teaming::event::queue::{LIMITS, QueueRooms, WAITING};
use teaming::ids::Ticks;
use teaming::team::member::FailureReason;

const SECOND: u64 = 10_000_000;

fn journal() -> Journal<Heap> {
    let rooms = || QueueRooms { waiting: vec![None; WAITING], limits: vec![Limit::NEW; LIMITS] };
    Journal::new(Rooms { kept: vec![None; KEPT], log: rooms(), trace: rooms() })
}

/// Records an event while no session reads.
fn record(journal: &mut Journal<Heap>, now: Ticks, event: Event) -> bool {
    journal.push(now, event, false)
}

/// The next thing to write while a session reads everything.
fn take(journal: &mut Journal<Heap>, now: Ticks) -> Option<Due> {
    journal.take(now, now, |_| true)
}

fn at(ticks: u64) -> Ticks {
    Ticks::new(ticks)
}

/// Everything that is to be written now, while no session reads.
fn drain(journal: &mut Journal<Heap>, now: Ticks) -> Vec<Event> {
    std::iter::from_fn(|| journal.take(now, now, |_| false)).map(|due| due.event).collect()
}

fn down(number: u8) -> Event {
    Event::MemberDown { member: member(number), reason: FailureReason::PhysicalMediaDisconnected, up: 1 }
}

fn count(written: &[Event]) -> usize {
    let is_told = |event: &&Event| matches!(event, Event::Suppressed { .. } | Event::NotTraced { .. });
    written.iter().filter(|event| !is_told(event)).count()
}

/// How many events those that were told say were not written.
fn told(written: &[Event]) -> u64 {
    let counts = written.iter().map(|event| match event {
        Event::Suppressed { count, .. } | Event::NotTraced { count, .. } => u64::from(*count),
        _ => 0,
    });
    counts.sum()
}

#[test]
fn what_an_administrator_must_see_is_written_and_everything_is_kept() {
    let mut journal = journal();
    assert!(!record(&mut journal, at(5), Event::SettingsRead));
    assert!(record(&mut journal, at(5), down(2)));
    assert_eq!(drain(&mut journal, at(9)), [down(2)]);
    assert_eq!((drain(&mut journal, at(9)), journal.due()), (vec![], None));
    assert_eq!(journal.iter().count(), 2);
}

#[test]
fn the_last_events_are_kept_in_order_at_any_number() {
    for pushed in [0, 1, 255, 256, 257, 1000] {
        let mut journal = journal();
        (0..pushed).for_each(|number| _ = record(&mut journal, at(number), Event::SettingsRead));
        let times: Vec<u64> = journal.iter().map(|(at, _)| at.get()).collect();
        assert_eq!(times, (pushed.saturating_sub(256)..pushed).collect::<Vec<_>>());
    }
}

/// Ten thousand a second for ten seconds, drained now and then: what is written is bounded, and with what is told of
/// the rest it adds up.
#[test]
fn a_storm_is_written_at_a_pace_and_nothing_of_it_is_forgotten() {
    for drained_every in [1, 7, 1_000, 100_000] {
        // The log writes a burst of 32 and one a minute; a session gets 128 and a hundred a second.
        for (place, most) in [(Place::Log, 33), (Place::Trace, 128 + 1_001)] {
            storm(place, most, drained_every);
        }
    }
}

fn storm(place: Place, most: usize, drained_every: u64) {
    let mut journal = journal();
    let (mut written, mut wakes) = (Vec::new(), 0);
    let mut now = at(SECOND);
    let storm = |number: u64| match place {
        Place::Log => down(1 + (number % 32) as u8),
        Place::Trace => Event::LinkUnknown { member: member(1 + (number % 32) as u8), status: 0 },
    };
    for number in 0..100_000_u64 {
        now = at(SECOND + number * 1_000);
        wakes += u32::from(journal.push(now, storm(number), place == Place::Trace));
        if number % drained_every == 0 {
            written.extend(drain(&mut journal, now));
        }
    }
    let during = count(&written);
    assert!(during <= most, "{during} at {place:?}");
    assert!(wakes <= 1_300, "the writer was woken {wakes} times for 100,000 events");
    while let Some(due) = journal.due() {
        now = now.max(due);
        written.extend(drain(&mut journal, now));
    }
    written.extend(drain(&mut journal, now));
    let all = count(&written) as u64 + told(&written);
    assert_eq!(all, 100_000, "drained every {drained_every} at {place:?}");
    assert!(count(&written) >= 32);
    assert!(now <= at(SECOND * 100), "the last was told at {now:?}");
}

#[test]
fn a_storm_of_one_kind_takes_nothing_from_another() {
    let mut journal = journal();
    for number in 0..50_000 {
        record(&mut journal, at(number), Event::PortClosed { port: 1 });
        record(&mut journal, at(number), Event::MemberUp { member: member(1), up: 1, out_ms: 0 });
        record(&mut journal, at(number), Event::TeamDown { connected: 1 });
    }
    record(&mut journal, at(50_000), down(7));
    let written = drain(&mut journal, at(50_000));
    assert!(written.contains(&down(7)));
    assert!(written.len() <= WAITING);
}

#[test]
fn what_a_place_refuses_is_told_there_later_and_not_asked_for_again_at_once() {
    for place in [Place::Log, Place::Trace] {
        let here = |event| match (place, event) {
            (Place::Trace, Event::Suppressed { id, count }) => Event::NotTraced { id, count },
            (_, event) => event,
        };
        // A kind that the log does not get, for the trace.
        let (event, id) = if place == Place::Log { (down(2), 26) } else { (Event::SettingsRead, 4) };
        let mut journal = journal();
        journal.push(at(0), event, place == Place::Trace);
        let due = take(&mut journal, at(0)).expect("one is due");
        assert_eq!(due, Due { place, at: at(0), event });
        journal.refused(&due, at(0));
        assert_eq!(take(&mut journal, at(0)), None);
        let later = journal.due().expect("it is told later");
        assert!(later >= at(SECOND), "{later:?}");
        // Refused again and again, it stays.
        let mut now = later;
        let told = here(Event::Suppressed { id, count: 1 });
        for _ in 0..5 {
            let due = journal.take(now, now, |_| false).expect("it is told");
            assert_eq!((due.place, due.event), (place, told));
            journal.refused(&due, now);
            assert_eq!(journal.take(now, now, |_| false), None);
            now = journal.due().expect("it is told later");
        }
        assert_eq!(drain(&mut journal, now), [told]);
        assert_eq!(journal.due(), None);
    }
}

#[test]
fn a_session_gets_every_event_with_its_time_and_what_the_log_lacks_too() {
    let mut journal = journal();
    let all = [(5, Event::SettingsRead), (6, down(2)), (7, Event::SettingsRead)];
    for (time, event) in all {
        assert!(journal.push(at(time), event, true), "the writer is woken");
    }
    let written: Vec<Due> = std::iter::from_fn(|| take(&mut journal, at(9))).collect();
    let of =
        |place| written.iter().filter(move |due| due.place == place).map(|due| (due.at.get(), due.event));
    assert_eq!(of(Place::Trace).collect::<Vec<_>>(), all);
    assert_eq!(of(Place::Log).collect::<Vec<_>>(), [all[1]]);

    // 32 at once are the log's burst; what is told of the rest is told to the session as well.
    (0..40).for_each(|_| _ = journal.push(at(10), down(3), true));
    let mut traced = Vec::new();
    let mut now = at(10);
    loop {
        while let Some(due) = take(&mut journal, now) {
            traced.extend((due.place == Place::Trace).then_some(due.event));
        }
        let Some(due) = journal.due() else { break };
        now = due;
    }
    let (last, events) = traced.split_last().expect("there are some");
    assert_eq!((events, *last), (&[down(3); 40][..], Event::Suppressed { id: 26, count: 9 }));
    assert_eq!(journal.iter().last().map(|(_, event)| event), Some(*last), "and kept");
}

#[test]
fn a_storm_does_not_fill_one_place_for_the_other() {
    let mut journal = journal();
    for number in 0..10_000 {
        // Ten thousand a second that only sessions want.
        journal.push(at(number * 1_000), Event::SettingsRead, true);
    }
    let now = at(SECOND);
    journal.push(now, down(2), false);
    let written: Vec<Due> = std::iter::from_fn(|| journal.take(now, now, |_| true)).collect();
    assert_eq!(written[0], Due { place: Place::Log, at: now, event: down(2) });
    assert!(written.len() <= 1 + WAITING + 1, "{}", written.len());
    assert_eq!(journal.iter().count(), KEPT);
}

#[test]
fn more_than_the_queue_holds_is_counted() {
    let mut journal = journal();
    let kinds: [fn() -> Event; 5] = [
        || Event::PortClosed { port: 1 },
        || Event::MemberUp { member: member(1), up: 1, out_ms: 0 },
        || Event::TeamDown { connected: 1 },
        || Event::TeamWhole { connected: 1, out_ms: 7 },
        || down(2),
    ];
    for kind in kinds {
        (0..32).for_each(|_| _ = record(&mut journal, at(0), kind()));
    }
    let mut written = drain(&mut journal, at(0));
    assert_eq!(count(&written), WAITING);
    while let Some(due) = journal.due() {
        written.extend(drain(&mut journal, due));
    }
    assert_eq!(count(&written) as u64 + told(&written), 5 * 32);
}
