//! Events about the team and its members.

use super::{Seen, after, buckets, member, only, place_of, source, team};
use crate::members::set_for;
use lbfoext::trace::Event;
use teaming::event::{CarryReason, RestReason};
use teaming::ids::MemberSet;
use teaming::team::member::{FailureReason, LinkSource};
use vswitch::machine::registry::Value;
use vswitch::scenario::Net;
use vswitch::scenario::suite::MS;

/// In milliseconds, checked in every one: FlowletGapUs with the 15.6 of a step of the clock, and a MoveDeadlineMs of 50.
const AFTER_GAP: u64 = 17;
const AFTER_DEADLINE: u64 = 50;

/// A member's buckets move at once.
pub fn died(index: u16, forced: u32) -> Event {
    Event::TeamChanged { went_down: only(index), came_up: MemberSet::EMPTY, forced, waiting: 0, took_us: 1 }
}

pub fn came_up(index: u16, waiting: u32) -> Event {
    Event::TeamChanged { went_down: MemberSet::EMPTY, came_up: only(index), forced: 0, waiting, took_us: 1 }
}

/// What an administrator is told of a link that is lost.
pub fn down(index: u16, up: u32) -> Event {
    Event::MemberDown { member: member(index), reason: FailureReason::PhysicalMediaDisconnected, up }
}

pub fn up(index: u16, up: u32, out_ms: u64) -> Event {
    Event::MemberUp { member: member(index), up, out_ms }
}

/// What is told when the second of two members is back.
pub fn whole_again(out_ms: u64) -> [Event; 2] {
    [up(2, 2, out_ms), Event::TeamWhole { connected: 2, out_ms }]
}

pub fn a_member_dies() -> Seen {
    let events = |net: &Net| {
        let degraded = Event::TeamDegraded { up: 2, connected: 3 };
        vec![source(2, LinkSource::Indication), died(2, buckets(net, 2)), down(2, 2), degraded]
    };
    after(team(&[10, 25, 10]).start(), |net| net.fail(2), events)
}

/// Its buckets fall silent, and return.
pub fn a_member_comes_back() -> Seen {
    let net = team(&[10, 10]).start();
    let home = buckets(&net, 2);
    net.fail(2);
    let act = |net: &Net| {
        net.restore(2);
        net.advance(100 * MS);
    };
    let settled = Event::Settled { idle: home, deadline_moves: 0, after_ms: AFTER_GAP };
    after(net, act, |_| [came_up(2, home)].into_iter().chain(whole_again(100)).chain([settled]).collect())
}

pub fn buckets_are_late() -> Seen {
    let net = team(&[10, 10])
        .setting("FlowletGapUs", Value::Dword(500_000))
        .setting("MoveDeadlineMs", Value::Dword(50))
        .start();
    net.advance(1_000 * MS);
    let home = buckets(&net, 2);
    net.fail(2);
    let act = |net: &Net| {
        net.restore(2);
        net.advance(100 * MS);
    };
    // No bucket was idle for half a second before the deadline.
    let late = Event::Settled { idle: 0, deadline_moves: home, after_ms: AFTER_DEADLINE };
    after(net, act, |_| [came_up(2, home)].into_iter().chain(whole_again(100)).chain([late]).collect())
}

pub fn a_member_flaps() -> Seen {
    let net = team(&[10, 10]).start();
    let home = buckets(&net, 2);
    let degraded = Event::TeamDegraded { up: 1, connected: 2 };
    let mut expected = vec![source(2, LinkSource::Indication)];
    for time in 1..=3 {
        expected.extend([died(2, home), down(2, 1)]);
        let flapping = Event::MemberFlapping { member: member(2), times: 3, seconds: 40 };
        expected.extend((time == 3).then_some(flapping));
        expected.push(degraded);
        if time < 3 {
            expected.push(came_up(2, home));
            expected.extend(whole_again(10_000));
            expected.push(Event::Settled { idle: home, deadline_moves: 0, after_ms: AFTER_GAP });
        }
    }
    let act = |net: &Net| {
        for _ in 0..2 {
            net.fail(2);
            net.advance(10_000 * MS);
            net.restore(2);
            net.advance(10_000 * MS);
        }
        net.fail(2);
    };
    after(net, act, |_| expected)
}

/// More often than the event log is to be written.
pub fn a_setting_is_ignored_all_the_time() -> Seen {
    const TIMES: u32 = 40;
    let net = team(&[10, 10]).start();
    let setting = place_of("MoveDeadlineMs");
    let ignored = |value: u32| Event::SettingIgnored { setting, value: Some(value.into()), used: 30_000 };
    let mut expected = Vec::new();
    for value in 600_001..600_001 + TIMES {
        expected.extend([ignored(value), Event::SettingsRead]);
    }
    expected.push(Event::Suppressed { id: 3, count: TIMES - 32 });
    let act = |net: &Net| {
        for value in 600_001..600_001 + TIMES {
            net.set("MoveDeadlineMs", Value::Dword(value));
        }
        net.advance(70_000 * MS);
    };
    after(net, act, |_| expected)
}

/// Two members, of which the second only stands by.
fn with_standby() -> Net {
    let net = team(&[10, 10]).start();
    net.advance(100 * MS);
    set_for(&net, 2, "Role", 1);
    net.advance(100 * MS);
    net
}

pub fn a_standby_member_stands_in() -> Seen {
    let events = |_: &Net| {
        let changed = Event::TeamChanged {
            went_down: only(1),
            came_up: only(2),
            forced: 4_096,
            waiting: 0,
            took_us: 1,
        };
        let stands_in =
            Event::MemberCarries { member: member(2), reason: CarryReason::StandsIn, carriers: 1 };
        let degraded = Event::TeamDegraded { up: 1, connected: 2 };
        vec![source(1, LinkSource::Indication), changed, down(1, 1), degraded, stands_in]
    };
    after(with_standby(), |net| net.fail(1), events)
}

fn rests(index: u16, forced: u32, reason: RestReason) -> [Event; 2] {
    [died(index, forced), Event::MemberRests { member: member(index), reason, carriers: 1 }]
}

pub fn a_stand_in_rests() -> Seen {
    let net = with_standby();
    net.fail(1);
    let act = |net: &Net| {
        net.restore(1);
        net.advance(100 * MS);
    };
    let whole = Event::TeamWhole { connected: 2, out_ms: 100 };
    let settled = Event::Settled { idle: 4_096, deadline_moves: 0, after_ms: AFTER_GAP };
    let events = [came_up(1, 4_096), up(1, 2, 100), whole, settled];
    after(net, act, |_| events.into_iter().chain(rests(2, 0, RestReason::Standby)).collect())
}

pub fn a_member_is_taken_out_of_service() -> Seen {
    let net = team(&[10, 10]).start();
    net.advance(100 * MS);
    let home = buckets(&net, 2);
    let act = |net: &Net| {
        set_for(net, 2, "OutOfService", 1);
        net.advance(100 * MS);
    };
    let hands_over = Event::TeamChanged {
        went_down: MemberSet::EMPTY,
        came_up: MemberSet::EMPTY,
        forced: 0,
        waiting: home,
        took_us: 1,
    };
    let settled = Event::Settled { idle: home, deadline_moves: 0, after_ms: AFTER_GAP };
    // The key is made, then the value.
    let events = [Event::SettingsRead, Event::SettingsRead, hands_over, settled];
    after(net, act, |_| events.into_iter().chain(rests(2, 0, RestReason::OutOfService)).collect())
}

pub fn a_member_is_put_back() -> Seen {
    let net = team(&[10, 10]).start();
    net.advance(100 * MS);
    let home = buckets(&net, 2);
    set_for(&net, 2, "OutOfService", 1);
    net.advance(100 * MS);
    let act = |net: &Net| {
        set_for(net, 2, "OutOfService", 0);
        net.advance(100 * MS);
    };
    let carries = Event::MemberCarries { member: member(2), reason: CarryReason::TakesItsPlace, carriers: 2 };
    let settled = Event::Settled { idle: home, deadline_moves: 0, after_ms: AFTER_GAP };
    after(net, act, |_| vec![Event::SettingsRead, came_up(2, home), carries, settled])
}

pub fn fewer_members_are_up_than_are_wanted() -> Seen {
    let net = team(&[10, 10]).setting("MinimumLinks", Value::Dword(2)).start();
    net.advance(100 * MS);
    let events = |net: &Net| {
        let degraded = Event::TeamDegraded { up: 1, connected: 2 };
        let too_few = Event::FewerThanMinimum { carriers: 1, minimum: 2 };
        vec![source(2, LinkSource::Indication), died(2, buckets(net, 2)), down(2, 1), degraded, too_few]
    };
    after(net, |net| net.fail(2), events)
}
