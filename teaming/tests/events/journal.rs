//! What is written where and when, at any rate of events.

use super::member;
use teaming::Heap;
use teaming::event::Event;
use teaming::event::journal::{Journal, KEPT, LIMITS, Rooms, WAITING};
use teaming::event::limit::Limit;
use teaming::ids::Ticks;
use teaming::team::member::FailureReason;

const SECOND: u64 = 10_000_000;

fn journal() -> Journal<Heap> {
    Journal::new(Rooms {
        kept: vec![None; KEPT],
        waiting: vec![None; WAITING],
        limits: vec![Limit::NEW; LIMITS],
    })
}

fn at(ticks: u64) -> Ticks {
    Ticks::new(ticks)
}

/// Everything that is to be written now.
fn drain(journal: &mut Journal<Heap>, now: Ticks) -> Vec<Event> {
    std::iter::from_fn(|| journal.take(now, now)).collect()
}

fn down(number: u8) -> Event {
    Event::MemberDown { member: member(number), reason: FailureReason::PhysicalMediaDisconnected, up: 1 }
}

fn count(written: &[Event]) -> usize {
    written.iter().filter(|event| !matches!(event, Event::Suppressed { .. })).count()
}

/// How many events those that were told say were not written.
fn told(written: &[Event]) -> u64 {
    let counts = written.iter().map(|event| match event {
        Event::Suppressed { count, .. } => u64::from(*count),
        _ => 0,
    });
    counts.sum()
}

#[test]
fn what_an_administrator_must_see_is_written_and_everything_is_kept() {
    let mut journal = journal();
    assert!(!journal.push(at(5), Event::SettingsRead));
    assert!(journal.push(at(5), down(2)));
    assert_eq!(drain(&mut journal, at(9)), [down(2)]);
    assert_eq!((drain(&mut journal, at(9)), journal.due()), (vec![], None));
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
fn a_storm_is_written_at_a_pace_and_nothing_of_it_is_forgotten() {
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
        let during = count(&written);
        assert!(during <= 33, "{during}");
        assert!(wakes <= 1_000, "the writer was woken {wakes} times for 100,000 events");
        while let Some(due) = journal.due() {
            now = now.max(due);
            written.extend(drain(&mut journal, now));
        }
        written.extend(drain(&mut journal, now));
        let all = count(&written) as u64 + told(&written);
        assert_eq!(all, 100_000, "drained every {drained_every}");
        assert!(count(&written) >= 32);
        assert!(now <= at(SECOND * 100), "the last was told at {now:?}");
    }
}

#[test]
fn a_storm_of_one_kind_takes_nothing_from_another() {
    let mut journal = journal();
    for number in 0..50_000 {
        journal.push(at(number), Event::PortClosed { port: 1 });
        journal.push(at(number), Event::MemberUp { member: member(1), up: 1 });
        journal.push(at(number), Event::TeamDown { connected: 1 });
    }
    journal.push(at(50_000), down(7));
    let written = drain(&mut journal, at(50_000));
    assert!(written.contains(&down(7)));
    assert!(written.len() <= WAITING);
}

#[test]
fn what_the_log_refuses_is_told_later_and_not_asked_for_again_at_once() {
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
        let told = journal.take(now, now).expect("it is told");
        assert_eq!(told, Event::Suppressed { id: 26, count: 1 });
        journal.refused(&told, now);
        assert_eq!(journal.take(now, now), None);
        now = journal.due().expect("it is told later");
    }
    assert_eq!(drain(&mut journal, now), [Event::Suppressed { id: 26, count: 1 }]);
    assert_eq!(journal.due(), None);
}

#[test]
fn more_than_the_queue_holds_is_counted() {
    let mut journal = journal();
    let kinds: [fn() -> Event; 5] = [
        || Event::PortClosed { port: 1 },
        || Event::MemberUp { member: member(1), up: 1 },
        || Event::TeamDown { connected: 1 },
        || Event::TeamWhole { connected: 1 },
        || down(2),
    ];
    for kind in kinds {
        (0..32).for_each(|_| _ = journal.push(at(0), kind()));
    }
    let mut written = drain(&mut journal, at(0));
    assert_eq!(count(&written), WAITING);
    while let Some(due) = journal.due() {
        written.extend(drain(&mut journal, due));
    }
    assert_eq!(count(&written) as u64 + told(&written), 5 * 32);
}
