//! The third way to a member's link state: neither a status nor an answer of the adapter tells anything, and the operating
//! system is asked. What README states of its time, and that nobody is asked about who has spoken.

use super::module::look;
use std::collections::BTreeMap;
use teaming::ids::MemberIndex;
use teaming::team::member::{LinkSource, LinkState, Member, MemberState};
use vswitch::adapter::RowKind;
use vswitch::machine::registry::Value;
use vswitch::scenario::suite::{MS, POLL};
use vswitch::scenario::{Indication, Net, Scenario};
use vswitch::switch::control::status::Status;

const SECOND: u64 = 1_000 * MS;
/// The steps in which the driver's clock moves, one at either end.
const CLOCK: u64 = 2 * 156_250;
const GIGABIT: u64 = 1_000_000_000;

fn plan(seed: u64, indication: Indication) -> Scenario {
    Scenario::new(seed)
        .members(&[10, 10, 25])
        .vms(1)
        .setting("LinkUpDelayMs", Value::Dword(0))
        .indication(indication)
}

/// A team of which nobody tells, after the first round of questions.
fn silent(seed: u64) -> Net {
    let net = plan(seed, Indication::Nothing).start();
    net.advance(2 * POLL);
    net
}

fn member(net: &Net, index: u8) -> Member {
    let index = MemberIndex::new(index).expect("a member");
    look(net, |module| *module.control.lock().team.member(index)).expect("it is attached")
}

fn is_down(net: &Net, index: u8) -> bool {
    matches!(member(net, index).state, MemberState::Down { .. })
}

/// Virtual time until the member is down, or up again.
fn time_until(net: &Net, index: u8, down: bool) -> u64 {
    let since = net.now();
    while is_down(net, index) != down {
        assert!(net.now() < since + 60 * SECOND, "member {index} never changes");
        net.advance(MS);
    }
    net.now() - since
}

fn asked(net: &Net) -> Vec<usize> {
    (1..=3).map(|index| net.interface_asked(index).len()).collect()
}

#[test]
fn a_member_of_which_nobody_tells_fails_over_within_the_stated_time_by_every_kind_of_row() {
    for kind in [RowKind::Plain, RowKind::Media, RowKind::Status, RowKind::Flag] {
        for seed in 0..6 {
            let net = silent(seed);
            net.view(2, |view| view.kind = kind);
            net.advance(POLL + seed * 83 * MS);
            let known = member(&net, 2);
            assert_eq!((known.source, known.speed), (LinkSource::Interface, Some(10 * GIGABIT)), "{kind:?}");
            net.pull(2);
            let took = time_until(&net, 2, true);
            assert!(took <= POLL + CLOCK, "{kind:?}, seed {seed}: {} ms", took / MS);
            assert!(!is_down(&net, 1) && !is_down(&net, 3));
            net.plug(2);
            let took = time_until(&net, 2, false);
            assert!(took <= POLL + CLOCK, "{kind:?}, seed {seed}: back after {} ms", took / MS);
            net.finish().assert_clean();
        }
    }
}

#[test]
fn questions_that_take_long_delay_a_failover_by_two_rounds_of_them_and_no_more() {
    for seed in 0..6 {
        let net = silent(seed);
        let takes = SECOND;
        for index in 1..=3 {
            net.view(index, |view| view.takes = takes);
        }
        net.advance(5 * SECOND + seed * 700 * MS);
        net.pull(2);
        let took = time_until(&net, 2, true);
        assert!(took <= POLL + 2 * 3 * takes + CLOCK, "seed {seed}: {} ms", took / MS);
        // Nothing is asked more often than stated, whatever a question takes.
        let times = net.interface_asked(1);
        assert!(times.windows(2).all(|pair| pair[1] - pair[0] >= POLL), "{times:?}");
        net.finish().assert_clean();
    }
}

#[test]
fn nobody_is_asked_about_a_member_that_has_spoken_another_way() {
    let rows = [
        (Indication::PerMember, LinkSource::Indication),
        (Indication::TeamOnly, LinkSource::Query),
        (Indication::SilentUntilAsked, LinkSource::Query),
    ];
    for (indication, source) in rows {
        for seed in 0..4 {
            let net = plan(seed, indication).start();
            net.fail(2);
            net.restore(2);
            net.advance(60 * SECOND);
            assert_eq!((asked(&net), member(&net, 2).source), (vec![0; 3], source), "{indication:?}");
            net.finish().assert_clean();
        }
    }
}

#[test]
fn a_status_that_comes_late_takes_the_place_of_the_questions_for_its_member() {
    for seed in 0..6 {
        let net = silent(seed);
        net.pull(2);
        net.status(Status::link(net.member(2), false, 10 * GIGABIT));
        assert_eq!((is_down(&net, 2), member(&net, 2).source), (true, LinkSource::Indication));
        let before = asked(&net);
        net.advance(10 * SECOND);
        let after = asked(&net);
        assert_eq!(after[1], before[1], "seed {seed}");
        assert!(after[0] > before[0] + 10 && after[2] > before[2] + 10, "{before:?} {after:?}");
        net.finish().assert_clean();
    }
}

#[test]
fn what_is_answered_after_another_way_has_spoken_does_not_count() {
    for seed in 0..6 {
        let net = silent(seed);
        net.view(2, |view| view.takes = 3 * SECOND);
        let before = net.interface_asked(2).len();
        while net.interface_asked(2).len() == before {
            net.advance(10 * MS);
        }
        // The question has been asked, and the answer will be that the link is up.
        net.pull(2);
        net.status(Status::link(net.member(2), false, 10 * GIGABIT));
        for _ in 0..40 {
            assert!(is_down(&net, 2), "seed {seed}");
            net.advance(100 * MS);
        }
        net.finish().assert_clean();
    }
}

#[test]
fn a_row_that_says_nothing_changes_nothing_and_one_that_comes_later_counts() {
    for kind in [RowKind::Unknown, RowKind::Missing, RowKind::Other] {
        for seed in 0..3 {
            let net = plan(seed, Indication::Nothing).start();
            net.view(2, |view| view.kind = kind);
            net.advance(10 * SECOND);
            let known = member(&net, 2);
            let expected = (MemberState::Active, LinkState::Unknown, LinkSource::None);
            assert_eq!((known.state, known.link, known.source), expected, "{kind:?}");
            net.view(2, |view| view.kind = RowKind::Plain);
            net.pull(2);
            assert!(time_until(&net, 2, true) <= POLL + CLOCK, "{kind:?}");
            // What is known stays while the row says nothing again.
            net.view(2, |view| view.kind = kind);
            net.plug(2);
            net.advance(10 * SECOND);
            assert!(is_down(&net, 2), "{kind:?}");
            net.view(2, |view| view.kind = RowKind::Plain);
            assert!(time_until(&net, 2, false) <= POLL + CLOCK, "{kind:?}");
            net.finish().assert_clean();
        }
    }
}

#[test]
fn a_pause_waits_for_no_question_and_a_detach_for_one_at_most() {
    for seed in 0..12 {
        let net = silent(seed);
        let takes = 3 * SECOND;
        for index in 1..=3 {
            net.view(index, |view| view.takes = takes);
        }
        net.advance(POLL + CLOCK + 4 * seed * 250 * MS);
        let (paused, before) = (net.now(), asked(&net));
        net.pause();
        assert!(net.now() - paused < 10 * MS, "seed {seed}: the pause took {} ms", (net.now() - paused) / MS);
        let detached = net.now();
        net.detach();
        let took = net.now() - detached;
        assert!(took <= takes + CLOCK, "seed {seed}: the detach took {} ms", took / MS);
        assert_eq!(asked(&net), before, "seed {seed}: a question was asked after the detach had begun");
        net.advance(10 * SECOND);
        assert_eq!(asked(&net), before, "seed {seed}");
        net.finish().assert_clean();
    }
}

#[test]
fn an_adapter_that_comes_under_the_index_of_another_is_asked_about_anew() {
    for seed in 0..6 {
        let net = silent(seed);
        net.pull(2);
        time_until(&net, 2, true);
        net.unplug(2);
        let before = net.interface_asked(2).len();
        net.advance(5 * SECOND);
        assert_eq!(net.interface_asked(2).len(), before, "seed {seed}: there is no such member");
        net.plug(2);
        net.replug(2);
        assert_eq!((member(&net, 2).source, is_down(&net, 2)), (LinkSource::None, false));
        net.advance(POLL + CLOCK);
        assert_eq!(member(&net, 2).source, LinkSource::Interface, "seed {seed}");
        net.pull(2);
        assert!(time_until(&net, 2, true) <= POLL + CLOCK);
        net.finish().assert_clean();
    }
}

#[test]
fn a_question_that_is_refused_is_asked_again_in_the_next_round() {
    let mut refused = BTreeMap::new();
    for n in 1.. {
        let net = silent(n);
        net.pull(2);
        net.world().fail_from_here(n);
        net.advance(POLL + CLOCK);
        let Some(site) = net.world().injected_fault() else {
            net.finish().assert_clean();
            break;
        };
        *refused.entry(site).or_insert(0) += 1;
        net.advance(POLL + CLOCK);
        assert!(is_down(&net, 2), "{n}: {site}");
        net.finish().assert_clean();
    }
    for call in ["ExAllocatePool2", "ConvertInterfaceGuidToLuid", "GetIfEntry2Ex"] {
        assert!(refused.contains_key(call), "{refused:?}");
    }
}

#[test]
fn a_status_is_heard_in_an_envelope_with_either_type_of_header() {
    // The seed says which of the two the switch writes.
    for seed in 0..10 {
        let net = plan(seed, Indication::PerMember).start();
        net.fail(2);
        assert!(is_down(&net, 2), "seed {seed}");
        net.finish().assert_clean();
    }
}
