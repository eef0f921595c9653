//! Times exactly at each limit, one below and one above. Bucket time stamps count units of 16 ticks, learned addresses
//! tenths of a second: the rounding never makes an event early, and late by at most one unit.

use teaming::Heap;
use teaming::ids::{AdapterId, BUCKETS, Bucket, MEMBERS, MemberSet, Ticks, VlanId};
use teaming::ports::mac_learning::{AGE, LEARNED, LearnTable, Learned};
use teaming::settings::{Settings, TeamingMode};
use teaming::team::buckets::{Moved, RebalanceTimers, Table, View};
use teaming::team::carriers::Carriers;
use teaming::team::home::Weights;
use teaming::team::home::fill_home;
use teaming::team::member::{LinkSource, LinkState, Member, MemberEvent, MemberState};
use teaming::team::{Next, Team};

use crate::host::{Host, member, settings, stray};

const STAMP: u64 = 16;
const TENTH: u64 = 1_000_000;
const MS: u64 = 10_000;

/// Start times at every remainder of a time stamp's unit, and around its wrap.
fn starts() -> impl Iterator<Item = u64> {
    let wrap = (u64::from(u32::MAX) + 1) * STAMP;
    (0..STAMP).chain([1 << 50, wrap - 5_000, wrap - STAMP, wrap - 1, wrap, wrap + 1])
}

/// Two members; buckets of the second are assigned to the first and wait since `start` to move back.
struct Waiting {
    table: Table<Heap>,
    home: Vec<u8>,
    weights: Weights,
    bucket: Bucket,
}

impl Waiting {
    fn new() -> Self {
        let mut weights = [0; MEMBERS];
        weights[..2].fill(1);
        let mut home = vec![0; BUCKETS];
        fill_home(&mut home, &weights);
        let pace = RebalanceTimers { gap: Ticks::ZERO, deadline: None };
        let bucket = Bucket::new(home.iter().position(|&owner| owner == 2).unwrap() as u16).unwrap();
        Self { table: Table::on_heap(pace), home, weights, bucket }
    }

    fn publish(&mut self, members: &[u8], now: u64) -> Moved {
        let live: MemberSet = members.iter().map(|&number| member(number)).collect();
        let carriers = Carriers::all(live);
        let view = View::new(carriers, &self.weights, &self.home);
        self.table.publish(&view, Ticks::new(now))
    }

    fn settle(&mut self, now: u64) -> Moved {
        self.table.settle_whole(&self.home, Ticks::new(now))
    }

    /// The result of `settle` for a bucket that waits since `start` and was last used at `last`.
    fn settled(&mut self, pace: RebalanceTimers, start: u64, last: Option<u64>, now: u64) -> (Moved, u8) {
        self.table.set_rebalance_timers(RebalanceTimers { gap: Ticks::ZERO, deadline: None });
        self.publish(&[1], start);
        self.table.set_rebalance_timers(pace);
        assert_eq!(self.publish(&[1, 2], start), Moved { waiting: 2_048, ..Moved::default() });
        if let Some(last) = last {
            self.table.choose(self.bucket, Ticks::new(last));
        }
        let moved = self.settle(now);
        (moved, self.table.lookup(self.bucket).unwrap().get())
    }
}

#[test]
fn a_bucket_moves_after_more_than_the_gap_and_at_most_three_stamps_later() {
    let mut waiting = Waiting::new();
    for gap in [1, STAMP - 1, STAMP, STAMP + 1, 5_000, 5_007, 5_000_000] {
        let pace = RebalanceTimers { gap: Ticks::new(gap), deadline: None };
        for start in starts() {
            for used in [None, Some(start + 1), Some(start + gap), Some(start + gap + 77)] {
                let last = used.unwrap_or(start);
                for after in
                    [0, 1, gap - 1, gap, gap + 1, gap + 3 * STAMP, gap + 3 * STAMP + 1, gap + 10 * MS]
                {
                    let (moved, owner) = waiting.settled(pace, start, used, last + after);
                    let told = format!("gap {gap}, start {start}, used {used:?}, {after} later: {moved:?}");
                    assert!(owner == 1 || after > gap, "early: {told}");
                    assert!(owner == 2 || after < gap + 3 * STAMP, "late: {told}");
                    assert_eq!((moved.deadline_moves, moved.idle + moved.waiting), (0, 2_048), "{told}");
                }
            }
        }
    }
}

#[test]
fn without_a_gap_a_bucket_moves_when_it_may() {
    for start in starts() {
        let mut waiting = Waiting::new();
        waiting.publish(&[1], start);
        assert_eq!(waiting.publish(&[1, 2], start), Moved { idle: 2_048, ..Moved::default() });
        assert!(!waiting.table.moving());
    }
}

#[test]
fn a_busy_bucket_moves_at_its_deadline_and_never_without_one() {
    let mut waiting = Waiting::new();
    let gap = Ticks::from_us(500);
    for deadline in [MS, 100 * MS, 30_000 * MS, 600_000 * MS] {
        let pace = RebalanceTimers { gap, deadline: Some(Ticks::new(deadline)) };
        for start in starts() {
            for now in [start, start + 1, start + deadline - STAMP - 1, start + deadline - STAMP] {
                let (moved, owner) = waiting.settled(pace, start, Some(now), now);
                assert_eq!(
                    (moved.deadline_moves, owner),
                    (0, 1),
                    "deadline {deadline}, start {start}, {}",
                    now - start
                );
            }
            for now in [start + deadline, start + deadline + 1, start + deadline + 1_000 * MS] {
                let (moved, owner) = waiting.settled(pace, start, Some(now), now);
                assert_eq!(
                    (moved.deadline_moves, owner),
                    (1, 2),
                    "deadline {deadline}, start {start}, {}",
                    now - start
                );
            }
            // If the wait starts on a whole unit, there is no rounding.
            if start % STAMP == 0 {
                let now = start + deadline - 1;
                assert_eq!(waiting.settled(pace, start, Some(now), now).0.deadline_moves, 0);
            }
            // A bucket that became idle before its deadline moves without reordering.
            let quiet = start + deadline;
            let (moved, owner) = waiting.settled(pace, start, Some(quiet - gap.get() - 3 * STAMP), quiet);
            assert_eq!((moved.deadline_moves, owner), (0, 2));
        }
    }
    for start in starts() {
        let now = start + 6_000_000 * MS;
        let (moved, owner) = waiting.settled(RebalanceTimers { gap, deadline: None }, start, Some(now), now);
        assert_eq!((moved.deadline_moves, owner), (0, 1));
    }
}

/// Neither traffic, nor `settle`, nor publishing the same view again restarts the wait.
#[test]
fn a_deadline_counts_from_the_beginning_of_the_wait_whatever_happens_meanwhile() {
    let deadline = 100 * MS;
    let pace = RebalanceTimers { gap: Ticks::from_us(500), deadline: Some(Ticks::new(deadline)) };
    for start in starts() {
        let mut waiting = Waiting::new();
        assert_eq!(waiting.settled(pace, start, Some(start), start).1, 1);
        for part in 1..100 {
            let now = start + part * MS;
            waiting.table.choose(waiting.bucket, Ticks::new(now));
            let moved = match part % 3 {
                0 => waiting.publish(&[1, 2], now),
                _ => waiting.settle(now),
            };
            assert_eq!((moved.deadline_moves, moved.waiting), (0, 1), "start {start}, {part} of 100");
        }
        let due = Ticks::new(start + deadline);
        waiting.table.choose(waiting.bucket, due);
        let moved = waiting.settle(start + deadline);
        assert_eq!(moved, Moved { deadline_moves: 1, ..Moved::default() });
    }
}

#[test]
fn a_packet_of_a_processor_whose_clock_is_ahead_counts_as_just_sent() {
    let mut waiting = Waiting::new();
    let pace = RebalanceTimers { gap: Ticks::from_us(500), deadline: None };
    for start in starts() {
        for ahead in [1, STAMP, 5_000, 100 * MS] {
            let now = start + 10_000;
            let (_, owner) = waiting.settled(pace, start, Some(now + ahead), now);
            assert_eq!(owner, 1, "start {start}, {ahead} ahead");
        }
    }
}

fn new_team(settings: &Settings) -> Team<Heap> {
    Team::new(vec![0; BUCKETS], Next::at_once(), vec![Member::ABSENT; MEMBERS], settings)
}

#[test]
fn a_link_that_came_back_carries_traffic_exactly_when_its_delay_has_passed() {
    for delay in [1, 2, MS, 2_000 * MS, 60_000 * MS] {
        for start in [0, 1, 12_345, 1 << 50] {
            let settings = Settings { link_up_delay: Ticks::new(delay), ..settings(TeamingMode::Static) };
            let mut team = new_team(&settings);
            let mut on =
                |number, event, now| team.on(member(number), event, Ticks::new(now)).carriers.live.bits();
            on(1, MemberEvent::Connected, start);
            on(2, MemberEvent::Connected, start);
            assert_eq!(on(2, MemberEvent::Link(LinkState::Down), start), 1);
            assert_eq!(on(2, MemberEvent::Link(LinkState::Unknown), start), 1);
            let due = Ticks::new(start + delay);
            assert_eq!(team.deadline(), Some(due));
            assert_eq!(team.member(member(2)).state, MemberState::Settling { until: due });
            assert_eq!(team.tick(Ticks::new(start + delay - 1)).carriers.live.bits(), 1, "one below {delay}");
            // The same event again does not restart the delay.
            let again = MemberEvent::Link(LinkState::Up { bits_per_second: None });
            assert_eq!(team.on(member(2), again, Ticks::new(start + delay - 1)).carriers.live.bits(), 1);
            assert_eq!(team.deadline(), Some(due));
            assert_eq!(team.tick(due).carriers.live.bits(), 3, "at {delay}");
            assert_eq!(team.deadline(), None);
        }
    }
    // A shorter delay applies to members that already wait, a longer one does not.
    let with = |delay| Settings { link_up_delay: Ticks::new(delay), ..settings(TeamingMode::Static) };
    for (delay, due) in [(99, 1_099), (100, 1_100), (101, 1_100), (0, 1_000)] {
        let mut team = new_team(&with(100));
        for (number, event) in [
            (1, MemberEvent::Connected),
            (2, MemberEvent::Connected),
            (2, MemberEvent::Link(LinkState::Down)),
            (2, MemberEvent::Link(LinkState::Unknown)),
        ] {
            team.on(member(number), event, Ticks::new(1_000));
        }
        let live = team.configure(&with(delay), Ticks::new(1_000)).carriers.live.bits();
        assert_eq!(live, if due == 1_000 { 3 } else { 1 });
        if due > 1_000 {
            assert_eq!(team.tick(Ticks::new(due - 1)).carriers.live.bits(), 1);
            assert_eq!(team.tick(Ticks::new(due)).carriers.live.bits(), 3);
        }
    }
}

#[test]
fn a_member_is_asked_about_while_it_is_connected_known_and_silent() {
    let (mut team, one) = (new_team(&settings(TeamingMode::Static)), member(1));
    let adapter = AdapterId::new([7; 16]);
    assert_eq!(team.polled_adapter(one), None);
    team.on(one, MemberEvent::Created, Ticks::ZERO);
    team.identify(one, adapter, &[]);
    assert_eq!(team.polled_adapter(one), None, "not connected");
    team.on(one, MemberEvent::Connected, Ticks::ZERO);
    assert_eq!(team.polled_adapter(one), Some(adapter));
    team.identify(one, AdapterId::UNKNOWN, &[]);
    assert_eq!(team.polled_adapter(one), Some(adapter), "what is known stays");
    team.identify(one, AdapterId::new([8; 16]), &[]);
    assert_eq!(team.polled_adapter(one), Some(AdapterId::new([8; 16])), "it has changed");
    assert!(team.accepts(one, LinkSource::Interface, LinkState::Down));
    assert!(team.polled_adapter(one).is_some());
    assert!(team.accepts(one, LinkSource::Query, LinkState::Down));
    assert_eq!(team.polled_adapter(one), None, "it has spoken");
    assert_eq!(team.polled_adapter(member(2)), None);
}

#[test]
fn a_learned_address_is_forgotten_after_its_age_and_at_most_a_tenth_later() {
    let table: LearnTable<Heap> = LearnTable::new((0..LEARNED).map(|_| Learned::EMPTY).collect());
    let wrap = (u64::from(u32::MAX) + 1) * TENTH;
    assert_eq!(AGE, Ticks::from_ms(300_000));
    let age = AGE.get();
    for start in [0, 1, TENTH - 1, TENTH, 12_345_678, wrap - age, wrap - 1, wrap, wrap + 1] {
        for vlan in [None, VlanId::new(1), VlanId::new(4_094)] {
            let heard = |when| table.learn(stray(1), vlan, 3, Ticks::new(when));
            let found = |when| table.find(stray(1), vlan, Ticks::new(when));
            heard(start);
            for after in [0, 1, TENTH, age - 1, age] {
                assert_eq!(found(start + after), Some(3), "{start} {after}");
            }
            for after in [age + TENTH, age + TENTH + 1, age + 10 * TENTH, 2 * age, 1_000 * age] {
                assert_eq!(found(start + after), None, "{start} {after}");
            }
            // With a clock that is behind, the entry counts as just learned; a further frame sets its time to that
            // clock.
            assert_eq!(found((start + wrap).saturating_sub(TENTH)), Some(3));
            heard(start + age);
            assert_eq!(found(start + 2 * age), Some(3));
            assert_eq!(found(start + 2 * age + TENTH), None);
        }
    }
}

/// From the settings to the move: a flow that is busy until it moves.
#[test]
fn flows_wait_for_just_the_gap_that_the_settings_name() {
    for gap_us in [1, 500, 500_000] {
        let patient = Settings {
            flowlet_gap: Ticks::from_us(gap_us),
            move_deadline: None,
            ..settings(TeamingMode::Static)
        };
        let mut host = Host::new(&settings(TeamingMode::Static), 4);
        host.forwarding.configure(&patient);
        host.on(2, MemberEvent::Link(LinkState::Down));
        host.on(2, MemberEvent::Link(LinkState::Unknown));
        assert!(host.forwarding.moving() && host.forwarding.wants_time());
        let start = host.now.get();
        let gap = gap_us * 10;
        assert_eq!(host.forwarding.settle(host.team.home(), Ticks::new(start + gap)).idle, 0);
        let moved = host.forwarding.settle(host.team.home(), Ticks::new(start + gap + 3 * STAMP));
        assert_eq!((moved.idle, moved.deadline_moves, moved.waiting), (2_048, 0, 0));
        assert!(!host.forwarding.wants_time());
    }
}
