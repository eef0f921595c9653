//! The team and the published bucket table together, in long random sequences of failures and returns.

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use teaming::Heap;
use teaming::forward::Forwarding;
use teaming::ids::{BUCKETS, Bucket, MEMBERS, MemberIndex, MemberSet, Ticks};
use teaming::settings::Settings;
use teaming::team::buckets::Moved;
use teaming::team::member::{LinkState, Member, MemberEvent, MemberState};
use teaming::team::{Team, TeamView};

const SPEEDS: [u64; 5] = [1, 10, 25, 40, 100];

struct Host {
    team: Team<Heap>,
    forwarding: Forwarding<Heap>,
    now: Ticks,
}

fn settings(gap_us: u64, delay_ms: u64) -> Settings {
    Settings {
        flowlet_gap: Ticks::from_us(gap_us),
        link_up_delay: Ticks::from_ms(delay_ms),
        move_deadline: Some(Ticks::from_ms(50)),
        ..Settings::default()
    }
}

fn up(gigabits: u64) -> MemberEvent {
    MemberEvent::Link(LinkState::Up { bits_per_second: Some(gigabits * 1_000_000_000) })
}

fn member(number: u8) -> MemberIndex {
    MemberIndex::new(number).unwrap()
}

impl Host {
    fn new(settings: &Settings) -> Self {
        Self {
            team: Team::new(
                vec![0; BUCKETS],
                teaming::team::Next::at_once(),
                vec![Member::ABSENT; MEMBERS],
                settings,
            ),
            forwarding: Forwarding::on_heap(4, settings),
            now: Ticks::from_ms(1000),
        }
    }

    /// Members 1 to n, all up and without waiting buckets.
    fn with_speeds(settings: &Settings, speeds: &[u64]) -> Self {
        let mut host = Self::new(settings);
        for (slot, &speed) in speeds.iter().enumerate() {
            let index = MemberIndex::from_slot(slot).unwrap();
            host.on(index, MemberEvent::Created);
            host.on(index, MemberEvent::Connected);
            host.on(index, up(speed));
        }
        host.rest();
        host
    }

    fn on(&mut self, index: MemberIndex, event: MemberEvent) -> (TeamView, Moved) {
        let plan = self.team.on(index, event, self.now);
        (plan, self.publish(&plan))
    }

    fn tick(&mut self) -> (TeamView, Moved) {
        let plan = self.team.tick(self.now);
        (plan, self.publish(&plan))
    }

    fn publish(&mut self, plan: &TeamView) -> Moved {
        let mut moved = self.forwarding.publish(plan, self.team.home(), self.now);
        self.check_that_only_live_members_carry();
        if self.forwarding.table.rebalance_timers().gap == Ticks::ZERO {
            moved.idle += self.settle_whole().idle;
        }
        moved
    }

    fn settle(&mut self) -> Moved {
        let moved = self.forwarding.settle(self.team.home(), self.now);
        self.check_that_only_live_members_carry();
        moved
    }

    fn wait(&mut self, span: Ticks) {
        self.now = self.now.saturating_add(span);
    }

    /// The timer goes on until nothing is left, within the steps that so many buckets and bids take at most.
    fn settle_whole(&mut self) -> Moved {
        let mut all = Moved::default();
        for _ in 0..64 {
            if !self.forwarding.moving() {
                break;
            }
            let moved = self.settle();
            all.idle += moved.idle;
            all.deadline_moves += moved.deadline_moves;
        }
        assert!(!self.forwarding.moving());
        all
    }

    /// All delays and deadlines pass.
    fn rest(&mut self) {
        self.wait(Ticks::from_ms(100_000));
        self.tick();
        self.wait(Ticks::from_ms(100_000));
        self.settle_whole();
    }

    fn check_that_only_live_members_carry(&self) {
        let live = self.team.live();
        assert_eq!(self.forwarding.table.live(), live);
        for owner in self.forwarding.table.owners() {
            match MemberIndex::new(owner) {
                Some(owner) => assert!(live.contains(owner)),
                None => assert!(live.is_empty()),
            }
        }
    }

    fn owners(&self) -> Vec<u8> {
        self.forwarding.table.owners().collect()
    }
}

/// A flow leaves a live member only in a voluntary move that is counted, and without an idle gap only to a member that
/// came up.
fn check_moves(before: &[u8], after: &[u8], plan: &TeamView, moved: &Moved, gap: Ticks) {
    let (mut forced, mut voluntary) = (0, 0);
    for (&old, &new) in before.iter().zip(after).filter(|(old, new)| old != new) {
        if MemberIndex::new(old).is_some_and(|owner| plan.carriers.live.contains(owner)) {
            voluntary += 1;
            assert!(
                gap != Ticks::ZERO || MemberIndex::new(new).is_some_and(|owner| plan.came_up.contains(owner))
            );
        } else {
            forced += 1;
        }
    }
    assert_eq!(forced, moved.forced);
    let moved = moved.idle + moved.deadline_moves;
    // Without a gap the rest of a walk that was too much work for one call is waited for: it may move a bucket again.
    assert!(voluntary == moved || (gap == Ticks::ZERO && voluntary < moved), "{voluntary} {moved}");
}

fn walk(speeds: &[u64], settings: &Settings, seed: u8) {
    let mut host = Host::with_speeds(settings, speeds);
    let home = host.team.home().to_vec();
    assert_eq!(host.owners(), home);
    let mut runner =
        TestRunner::new_with_rng(Config::default(), TestRng::from_seed(RngAlgorithm::ChaCha, &[seed; 32]));
    let steps = (0..10_u8, 0..speeds.len(), 0..5_000_u64);
    for _ in 0..10_000 {
        let (kind, slot, pause) = steps.new_tree(&mut runner).unwrap().current();
        let index = MemberIndex::from_slot(slot).unwrap();
        let (before, live) = (host.owners(), host.team.live());
        host.wait(Ticks::from_us(pause));
        let event = match kind {
            0 | 1 => Some(MemberEvent::Link(LinkState::Down)),
            2 | 3 => Some(up(speeds[slot])),
            4 => Some(MemberEvent::Link(LinkState::Unknown)),
            5 => Some(MemberEvent::Disconnected),
            6 => Some(MemberEvent::Connected),
            7 => Some(MemberEvent::Deleted),
            8 => None,
            _ => {
                host.settle();
                (0..4096).step_by(7).filter_map(Bucket::new).for_each(|bucket| {
                    host.forwarding.table.choose(bucket, host.now);
                });
                continue;
            }
        };
        let (plan, moved) = match event {
            Some(event) => host.on(index, event),
            None => host.tick(),
        };
        assert!(!plan.home_changed);
        assert_eq!(plan.went_down, live.minus(plan.carriers.live));
        assert_eq!(plan.came_up, plan.carriers.live.minus(live));
        check_moves(&before, &host.owners(), &plan, &moved, settings.flowlet_gap);
    }
    for (slot, &speed) in speeds.iter().enumerate() {
        let index = MemberIndex::from_slot(slot).unwrap();
        for event in [MemberEvent::Created, MemberEvent::Connected, up(speed)] {
            host.on(index, event);
        }
    }
    host.rest();
    assert_eq!(host.team.live().len() as usize, speeds.len());
    assert_eq!(host.team.home(), home);
    assert_eq!(host.owners(), home, "the table is bit-identical once all are back");
}

#[test]
fn ten_thousand_failures_and_returns_leave_the_table_bit_identical() {
    for (seed, count) in (1..).zip([2, 3, 4, 5, 8, 13, 32]) {
        let speeds: Vec<u64> = (0..count).map(|slot| SPEEDS[slot % SPEEDS.len()]).collect();
        walk(&speeds, &settings(500, 2), seed);
        walk(&vec![10; count], &settings(0, 0), seed + 100);
    }
}

#[test]
fn failover_moves_only_the_flows_of_the_dead_member_and_its_return_only_its_own() {
    for count in 2..=32_u8 {
        let speeds: Vec<u64> = (0..usize::from(count)).map(|slot| SPEEDS[slot % SPEEDS.len()]).collect();
        let mut host = Host::with_speeds(&settings(0, 0), &speeds);
        for first in 1..=count {
            let home = host.owners();
            let (plan, moved) = host.on(member(first), MemberEvent::Link(LinkState::Down));
            assert_eq!(plan.went_down, MemberSet::EMPTY.with(member(first)));
            let lent = host.owners();
            let changed = home.iter().zip(&lent).filter(|(old, new)| old != new).count();
            assert!(home.iter().zip(&lent).all(|(old, new)| old == new || *old == first));
            assert_eq!(changed, moved.forced as usize);
            let second = first % count + 1;
            host.on(member(second), MemberEvent::Link(LinkState::Down));
            let both = host.owners();
            assert!(lent.iter().zip(&both).all(|(old, new)| old == new || *old == second));
            host.on(member(second), up(speeds[usize::from(second) - 1]));
            assert_eq!(host.owners(), lent);
            host.on(member(first), up(speeds[usize::from(first) - 1]));
            assert_eq!(host.owners(), home);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    /// A plan that is not published is replaced by the next one.
    #[test]
    fn skipped_plans_do_no_harm(events in prop::collection::vec((0..8_usize, 0..4_u8, any::<bool>()), 1..40)) {
        let speeds = [10, 10, 25, 25, 40, 40, 100, 1];
        let mut every = Host::new(&settings(0, 0));
        let mut some = Host::new(&settings(0, 0));
        for (slot, kind, skipped) in events {
            let index = MemberIndex::from_slot(slot).unwrap();
            let event = match kind {
                0 => MemberEvent::Connected,
                1 => up(speeds[slot]),
                2 => MemberEvent::Link(LinkState::Down),
                _ => MemberEvent::Deleted,
            };
            every.on(index, event);
            if skipped {
                let _ = some.team.on(index, event, some.now);
            } else {
                some.on(index, event);
            }
        }
        every.tick();
        some.tick();
        prop_assert_eq!(every.owners(), some.owners());
        prop_assert_eq!(every.team.home(), some.team.home());
    }
}

#[test]
fn the_first_member_is_used_at_once_and_a_returning_one_after_its_delay() {
    let mut host = Host::new(&settings(500, 2));
    let (plan, _) = host.on(member(1), MemberEvent::Connected);
    assert!(plan.changed && plan.home_changed && plan.came_up.contains(member(1)));
    host.on(member(2), MemberEvent::Connected);
    host.rest();
    assert!(!host.tick().0.changed);
    host.on(member(2), MemberEvent::Link(LinkState::Down));
    let (plan, _) = host.on(member(2), up(10));
    assert!(plan.came_up.is_empty());
    assert_eq!(host.team.deadline(), Some(host.now.saturating_add(Ticks::from_ms(2))));
    host.wait(Ticks::from_us(1999));
    assert!(!host.tick().0.carriers.live.contains(member(2)));
    host.wait(Ticks::from_us(1));
    assert!(host.tick().0.came_up.contains(member(2)));
    assert_eq!(host.team.deadline(), None);
}

#[test]
fn a_settling_member_is_used_at_once_when_nothing_else_is_up() {
    let mut host = Host::with_speeds(&settings(500, 2), &[10, 10]);
    host.on(member(2), MemberEvent::Link(LinkState::Down));
    host.on(member(2), up(10));
    let (plan, moved) = host.on(member(1), MemberEvent::Link(LinkState::Down));
    assert_eq!((plan.carriers.live.bits(), moved.forced), (0b10, 4096));
    // The member stays in use when the delay of the other one ends.
    let (plan, _) = host.on(member(1), up(10));
    assert_eq!(plan.carriers.live.bits(), 0b10);
}

#[test]
fn a_shorter_delay_counts_for_members_that_settle_already() {
    let mut host = Host::with_speeds(&settings(500, 60_000), &[10, 10]);
    host.on(member(2), MemberEvent::Link(LinkState::Down));
    host.on(member(2), up(10));
    let plan = host.team.configure(&settings(500, 5), host.now);
    assert!(!plan.changed);
    assert_eq!(host.team.deadline(), Some(host.now.saturating_add(Ticks::from_ms(5))));
    let plan = host.team.configure(&settings(500, 0), host.now);
    assert!(plan.came_up.contains(member(2)));
}

#[test]
fn an_unknown_speed_weighs_as_the_median_of_the_known_ones() {
    let mut host = Host::new(&settings(0, 0));
    let weights = |host: &Host| host.team.members().map(|(_, member)| member.weight).collect::<Vec<_>>();
    for number in 1..=4 {
        host.on(member(number), MemberEvent::Connected);
    }
    assert_eq!(weights(&host), [1, 1, 1, 1]);
    host.on(member(1), up(10));
    assert_eq!(weights(&host), [10_000; 4]);
    host.on(member(2), up(40));
    host.on(member(3), up(25));
    assert_eq!(weights(&host), [10_000, 40_000, 25_000, 25_000]);
    assert_eq!(host.team.member(member(4)).speed, None);
    assert_eq!(host.team.member(member(9)).state, MemberState::Absent);
}

#[test]
fn a_nic_that_goes_and_comes_back_moves_nothing_else_but_a_new_one_takes_its_share() {
    let mut host = Host::with_speeds(&settings(0, 0), &[10, 10, 10]);
    let home = host.owners();
    for event in [MemberEvent::Disconnected, MemberEvent::Deleted] {
        let (plan, _) = host.on(member(2), event);
        assert!(!plan.home_changed);
    }
    for event in [MemberEvent::Created, MemberEvent::Connected] {
        assert!(!host.on(member(2), event).0.home_changed);
    }
    assert_eq!(host.owners(), home);
    host.on(member(2), MemberEvent::Deleted);
    let (plan, _) = host.on(member(4), MemberEvent::Connected);
    assert!(plan.home_changed);
    assert!(!host.owners().contains(&2));
    let counts = host.forwarding.table.counts();
    assert!([0, 2, 3].iter().all(|&slot: &usize| (1365..=1366).contains(&counts[slot])), "{counts:?}");
}

#[test]
fn another_speed_moves_shares_and_a_repeated_one_changes_nothing() {
    let mut host = Host::with_speeds(&settings(0, 0), &[10, 10]);
    assert!(!host.on(member(1), up(10)).0.changed);
    assert!(host.on(member(1), up(30)).0.home_changed);
    assert_eq!(host.forwarding.table.counts()[..2], [3072, 1024]);
    let (plan, _) = host.on(member(1), MemberEvent::Link(LinkState::Down));
    assert!(!plan.home_changed);
    assert!(!host.on(member(1), up(30)).0.home_changed);
    assert_eq!(host.forwarding.table.counts()[..2], [3072, 1024]);
}
