//! What is written where and when, at any rate of events.

use super::member;
use teaming::Heap;
use teaming::event::Event;
use teaming::event::journal::{Due, Journal, KEPT, LIMITS, Place, Rooms, WAITING};
use teaming::event::limit::Limit;
use teaming::ids::Ticks;
use teaming::team::member::FailureReason;

const SECOND: u64 = 10_000_000;

fn unread() -> Journal<Heap> {
    Journal::new(Rooms {
        kept: vec![None; KEPT],
        waiting: vec![Due::NONE; WAITING],
        limits: vec![Limit::NEW; LIMITS],
    })
}

fn journal() -> Journal<Heap> {
    let mut journal = unread();
    journal.trace(true);
    journal
}

fn at(ticks: u64) -> Ticks {
    Ticks::new(ticks)
}

/// Everything that is to be written now.
fn drain(journal: &mut Journal<Heap>, now: Ticks) -> Vec<(Place, Event)> {
    std::iter::from_fn(|| journal.take(now, now)).map(|due| (due.place, due.event)).collect()
}

fn down(number: u8) -> Event {
    Event::MemberDown { member: member(number), reason: FailureReason::PhysicalMediaDisconnected, up: 1 }
}

fn count(written: &[(Place, Event)], place: Place) -> usize {
    written
        .iter()
        .filter(|(there, event)| *there == place && !matches!(event, Event::Suppressed { .. }))
        .count()
}

/// How many events those that were told say were not written.
fn told(written: &[(Place, Event)], place: Place) -> u64 {
    let told = written.iter().filter(|(there, _)| *there == place);
    told.map(|(_, event)| if let Event::Suppressed { count, .. } = event { u64::from(*count) } else { 0 })
        .sum()
}

#[test]
fn what_an_administrator_must_see_goes_to_both_places_and_the_rest_to_the_trace() {
    let mut journal = journal();
    assert!(journal.push(at(5), down(2)));
    assert!(journal.push(at(6), Event::SettingsRead));
    let first = journal.take(at(9), at(9)).expect("one is due");
    assert_eq!(first, Due { at: at(5), event: down(2), place: Place::Log });
    let expected = [(Place::Trace, down(2)), (Place::Trace, Event::SettingsRead)];
    assert_eq!(drain(&mut journal, at(9)), expected);
    assert_eq!((drain(&mut journal, at(9)), journal.due()), (vec![], None));
}

#[test]
fn nothing_waits_for_a_trace_that_nobody_reads() {
    let mut journal = unread();
    assert!(!journal.push(at(5), Event::SettingsRead));
    assert!(journal.push(at(5), down(2)));
    assert_eq!(drain(&mut journal, at(9)), [(Place::Log, down(2))]);
    assert_eq!(journal.iter().count(), 2);
}

#[test]
fn the_last_events_are_kept_in_order_at_any_number() {
    for pushed in [0, 1, 255, 256, 257, 1000] {
        let mut journal = journal();
        (0..pushed).for_each(|number| _ = journal.push(at(number), Event::SettingsRead));
        let times: Vec<u64> = journal.iter().map(|(at, _)| at.get()).collect();
        assert_eq!(times, (pushed.saturating_sub(256)..pushed).collect::<Vec<_>>());
    }
}

/// Ten thousand a second for ten seconds, drained now and then: what is written is bounded, and with what is told of
/// the rest it adds up.
#[test]
fn a_storm_is_written_at_the_pace_of_each_place_and_nothing_of_it_is_forgotten() {
    for drained_every in [1, 7, 1_000, 100_000] {
        let mut journal = journal();
        let (mut written, mut wakes) = (Vec::new(), 0);
        let mut now = at(SECOND);
        for number in 0..100_000_u64 {
            now = at(SECOND + number * 1_000);
            wakes += u32::from(journal.push(now, down(1 + (number % 32) as u8)));
            if number % drained_every == 0 {
                written.extend(drain(&mut journal, now));
            }
        }
        let during = (count(&written, Place::Log), count(&written, Place::Trace));
        assert!(during.0 <= 33 && during.1 <= 64 + 201, "{during:?}");
        assert!(wakes <= 1_000, "the writer was woken {wakes} times for 100,000 events");
        while let Some(due) = journal.due() {
            now = now.max(due);
            written.extend(drain(&mut journal, now));
        }
        written.extend(drain(&mut journal, now));
        for place in [Place::Log, Place::Trace] {
            let all = count(&written, place) as u64 + told(&written, place);
            assert_eq!(all, 100_000, "{place:?}, drained every {drained_every}");
            assert!(count(&written, place) >= 32);
        }
        assert!(now <= at(SECOND * 100), "the last was told at {now:?}");
    }
}

#[test]
fn a_storm_of_one_kind_takes_nothing_from_another() {
    let mut journal = journal();
    for number in 0..50_000 {
        journal.push(at(number), Event::PropertyRefused { oid: 1, status: 2 });
        journal.push(at(number), Event::RequestNotDirected { oid: 1 });
        journal.push(at(number), Event::NotEnumerated { status: 1 });
    }
    journal.push(at(50_000), down(7));
    let written = drain(&mut journal, at(50_000));
    assert!(written.contains(&(Place::Log, down(7))));
    assert!(written.len() <= WAITING);
}

#[test]
fn what_a_place_refuses_is_told_later_and_not_asked_for_again_at_once() {
    let mut journal = journal();
    journal.push(at(0), down(2));
    let due = journal.take(at(0), at(0)).expect("one is due");
    journal.refused(&due, at(0));
    drain(&mut journal, at(0));
    let later = journal.due().expect("it is told later");
    assert!(later >= at(SECOND), "{later:?}");
    // Refused again and again, it stays.
    let mut now = later;
    for _ in 0..5 {
        let due = journal.take(now, now).expect("it is told");
        assert_eq!((due.event, due.place), (Event::Suppressed { id: 26, count: 1 }, Place::Log));
        journal.refused(&due, now);
        assert_eq!(journal.take(now, now), None);
        now = journal.due().expect("it is told later");
    }
    assert_eq!(drain(&mut journal, now), [(Place::Log, Event::Suppressed { id: 26, count: 1 })]);
    assert_eq!(journal.due(), None);
}

#[test]
fn more_than_the_queue_holds_is_counted_and_leaves_room_for_the_event_log() {
    let mut journal = journal();
    let kinds: [fn() -> Event; 4] = [
        || Event::SettingsRead,
        || Event::RequestNotDirected { oid: 1 },
        || Event::RequestNotForwarded { oid: 1 },
        || Event::NotEnumerated { status: 1 },
    ];
    for kind in kinds {
        (0..60).for_each(|_| _ = journal.push(at(0), kind()));
    }
    (1..=32).for_each(|number| _ = journal.push(at(0), down(number)));
    let mut written = drain(&mut journal, at(0));
    let logged = (1..=32).filter(|number| written.contains(&(Place::Log, down(*number)))).count();
    assert_eq!(logged, 32);
    while let Some(due) = journal.due() {
        written.extend(drain(&mut journal, due));
    }
    assert_eq!(count(&written, Place::Trace) as u64 + told(&written, Place::Trace), 4 * 60 + 32);
}
