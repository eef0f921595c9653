//! The bucket table: home members, buckets of dead members on other members, voluntary moves and their times.

use proptest::prelude::*;
use teaming::Heap;
use teaming::ids::{BUCKETS, Bucket, MEMBERS, MemberIndex, MemberSet, Ticks};
use teaming::settings::Settings;
use teaming::team::aside::Aside;
use teaming::team::buckets::{Moved, RebalanceTimers, Table, View};
use teaming::team::carriers::Carriers;
use teaming::team::home::Weights;
use teaming::team::home::fill_home;
use teaming::team::lending::{Bid, bids};
use teaming::team::member::{LinkState, Member, MemberEvent};
use teaming::team::{Next, Team};

const AT_ONCE: RebalanceTimers = RebalanceTimers { gap: Ticks::ZERO, deadline: None };
const PATIENT: RebalanceTimers =
    RebalanceTimers { gap: Ticks::from_us(500), deadline: Some(Ticks::from_ms(100)) };

struct Bench {
    table: Table<Heap>,
    home: Vec<u8>,
    weights: Weights,
    all: MemberSet,
    /// What came to each member and left it, by slot, from what every call changed.
    came: [u64; MEMBERS],
    left: [u64; MEMBERS],
}

fn member(number: u8) -> MemberIndex {
    MemberIndex::new(number).unwrap()
}

fn bench(speeds: &[u32], pace: RebalanceTimers) -> Bench {
    let mut weights = [0; MEMBERS];
    weights[..speeds.len()].copy_from_slice(speeds);
    let mut home = vec![0; BUCKETS];
    fill_home(&mut home, &weights);
    let all = (0..speeds.len()).filter_map(MemberIndex::from_slot).collect();
    let table = Table::on_heap(pace);
    let mut bench = Bench { table, home, weights, all, came: [0; MEMBERS], left: [0; MEMBERS] };
    bench.publish(all, Ticks::ZERO);
    bench
}

impl Bench {
    fn publish(&mut self, live: MemberSet, now: Ticks) -> Moved {
        let before = self.owners();
        let carriers = Carriers::all(live);
        let view = View::new(carriers, &self.weights, &self.home);
        let moved = self.table.publish(&view, now);
        self.assert_arrivals_are_counted(&before);
        moved
    }

    fn settle(&mut self, now: Ticks) -> Moved {
        let before = self.owners();
        let moved = self.table.settle_whole(&self.home, now);
        self.assert_arrivals_are_counted(&before);
        moved
    }

    /// After a call, which moves a bucket at most once.
    fn assert_arrivals_are_counted(&mut self, before: &[u8]) {
        let after = self.owners();
        for (&from, &to) in before.iter().zip(&after).filter(|(from, to)| from != to) {
            if let Some(from) = MemberIndex::new(from) {
                self.left[from.slot()] += 1;
            }
            if let Some(to) = MemberIndex::new(to) {
                self.came[to.slot()] += 1;
            }
        }
        for slot in 0..MEMBERS {
            let member = MemberIndex::from_slot(slot).unwrap();
            let came = self.table.came(member);
            assert_eq!(came, self.came[slot], "member {member:?}");
            let carried = buckets_of(&after, member) as u64;
            assert_eq!(
                came - carried,
                self.left[slot],
                "member {member:?}: what it does not carry has left it"
            );
        }
    }

    /// Publishes, and settles until nothing waits. Gives all that moved, and how many calls it took.
    fn publish_whole(&mut self, live: MemberSet) -> (Moved, usize) {
        let (mut moved, mut calls) = (self.publish(live, Ticks::ZERO), 1);
        while self.table.moving() {
            let more = self.settle(Ticks::ZERO);
            moved.idle += more.idle;
            assert_eq!((more.forced, more.deadline_moves, more.waiting), (0, 0, 0));
            calls += 1;
        }
        (moved, calls)
    }

    fn owners(&self) -> Vec<u8> {
        self.table.owners().collect()
    }
}

fn buckets_of(owners: &[u8], member: MemberIndex) -> usize {
    owners.iter().filter(|&&owner| owner == member.get()).count()
}

fn any_speeds() -> impl Strategy<Value = Vec<u32>> {
    let speed = prop::sample::select(vec![1_000_u32, 10_000, 25_000, 40_000, 100_000]);
    prop_oneof![
        prop::collection::vec(speed, 2..=32),
        (2..=32_usize).prop_map(|count| vec![10_000; count]),
        prop::collection::vec(1..=u32::MAX, 2..=32),
    ]
}

/// For any speeds and any members up: what is told of the bids leads to the table's carriers.
#[test]
fn the_bids_that_are_told_are_those_by_which_the_table_lends() {
    let mut random = 1_u64;
    for count in 2..=32_u8 {
        let speeds: Vec<u32> =
            (0..count).map(|n| [10_000, 25_000, 1_000, 40_000][usize::from(n % (count % 4 + 1))]).collect();
        let mut bench = bench(&speeds, AT_ONCE);
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let down = bench.all.iter().filter(|member| random >> (20 + member.get()) & 1 == 1);
        let live = down.take(usize::from(count) - 1).fold(bench.all, MemberSet::without);
        bench.publish_whole(live);
        let mut lent = 0;
        for bucket in (0..4_096).filter_map(Bucket::new) {
            let home = member(bench.home[bucket.index()]);
            let offers: Vec<Bid> = bids(bucket, live, &bench.weights).collect();
            let carrier = if live.contains(home) {
                home
            } else {
                lent += 1;
                let best = offers.iter().min_by(|one, other| {
                    let (left, right) = (one.cost * other.weight, other.cost * one.weight);
                    left.cmp(&right).then(other.random.cmp(&one.random))
                });
                best.unwrap().member
            };
            assert_eq!(offers.len() as u32, live.len());
            assert_eq!(bench.table.lookup(bucket), Some(carrier), "{bucket:?} of {count} members");
        }
        assert_eq!(lent == 0, live == bench.all);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn home_counts_are_within_one_of_the_weights(speeds in any_speeds()) {
        let bench = bench(&speeds, AT_ONCE);
        let total: f64 = speeds.iter().map(|&speed| f64::from(speed)).sum();
        for (slot, &speed) in speeds.iter().enumerate() {
            let count = buckets_of(&bench.home, MemberIndex::from_slot(slot).unwrap());
            let exact = f64::from(speed) / total * BUCKETS as f64;
            prop_assert!((count as f64 - exact).abs() < 1.0, "{slot}: {count} of {exact}");
        }
        prop_assert!(bench.home.iter().all(|&owner| owner != 0));
        prop_assert_eq!(bench.owners(), bench.home);
    }

    /// The home map depends only on the ratio of the weights.
    #[test]
    fn the_home_map_is_a_function_of_the_ratios(speeds in any_speeds()) {
        let tenth: Vec<u32> = speeds.iter().map(|speed| speed / 1000).collect();
        prop_assume!(speeds.iter().all(|speed| speed % 1000 == 0));
        prop_assert_eq!(bench(&speeds, AT_ONCE).home, bench(&tenth, AT_ONCE).home);
    }

    #[test]
    fn failover_moves_only_the_buckets_of_the_dead_member(speeds in any_speeds(), deaths in prop::collection::vec(0..32_usize, 1..8)) {
        let mut bench = bench(&speeds, PATIENT);
        let mut live = bench.all;
        for slot in deaths {
            let dead = MemberIndex::from_slot(slot % speeds.len()).unwrap();
            let (before, held) = (bench.owners(), buckets_of(&bench.owners(), dead));
            live = live.without(dead);
            let moved = bench.publish(live, Ticks::from_ms(1));
            prop_assert_eq!(moved.forced as usize, held);
            for (&old, new) in before.iter().zip(bench.owners()) {
                prop_assert!(old == new || old == dead.get());
                prop_assert!(MemberIndex::new(new).is_some_and(|owner| live.contains(owner)) || live.is_empty());
            }
        }
    }

    /// `Bench` compares the counts after every call with what it changed.
    #[test]
    fn what_came_to_each_member_and_left_it_is_counted_whatever_moved_it(
        speeds in any_speeds(), patient in any::<bool>(),
        steps in prop::collection::vec((any::<u32>(), 0..200_u64, 0..4_usize), 1..12),
    ) {
        let mut bench = bench(&speeds, if patient { PATIENT } else { AT_ONCE });
        let mut now = 1;
        for (bits, later, turn) in steps {
            if turn == 3 {
                // No home map is made yet.
                bench.weights = [0; MEMBERS];
                bench.home.fill(0);
            } else {
                bench.weights[..speeds.len()].copy_from_slice(&speeds);
                bench.weights[..speeds.len()].rotate_left(turn % speeds.len());
                fill_home(&mut bench.home, &bench.weights);
            }
            now += later;
            let live = (0..speeds.len()).filter(|slot| bits >> slot & 1 == 1).filter_map(MemberIndex::from_slot);
            bench.publish(live.collect(), Ticks::from_ms(now));
            bench.settle(Ticks::from_ms(now + later / 2));
        }
    }

    #[test]
    fn deaths_and_returns_in_any_order_give_one_table(
        speeds in any_speeds(), first in any::<u32>(), order in Just((0..32_usize).collect::<Vec<_>>()).prop_shuffle(),
    ) {
        let dead: MemberSet = (0..speeds.len()).filter(|slot| first >> slot & 1 == 1).filter_map(MemberIndex::from_slot).collect();
        let mut at_once = bench(&speeds, AT_ONCE);
        let live = at_once.all.minus(dead);
        at_once.publish_whole(live);
        let mut one_by_one = bench(&speeds, AT_ONCE);
        let mut left = one_by_one.all;
        for slot in &order {
            if let Some(index) = MemberIndex::from_slot(*slot).filter(|index| dead.contains(*index)) {
                left = left.without(index);
                one_by_one.publish_whole(left);
            }
        }
        prop_assert_eq!(at_once.owners(), one_by_one.owners());
        // The members return; each return moves only buckets whose home is the returning member.
        for slot in order.iter().rev() {
            if let Some(index) = MemberIndex::from_slot(*slot).filter(|index| dead.contains(*index)) {
                left = left.with(index);
                let before = one_by_one.owners();
                let (moved, _) = one_by_one.publish_whole(left);
                prop_assert_eq!((moved.deadline_moves, moved.waiting), (0, 0));
                for (old, new) in before.into_iter().zip(one_by_one.owners()) {
                    prop_assert!(old == new || new == index.get());
                }
            }
        }
        prop_assert_eq!(one_by_one.owners(), one_by_one.home);
    }
}

#[test]
fn a_dead_members_buckets_are_lent_by_weight() {
    // The buckets of eight dead members of 100G, 80 % of the table, move to members of 10G, 25G, 40G and 25G.
    let speeds = [100, 100, 100, 100, 100, 100, 100, 100, 10, 25, 40, 25];
    let mut bench = bench(&speeds.map(|speed| speed * 1000), AT_ONCE);
    let live = bench.all.iter().filter(|index| index.get() > 8).collect();
    bench.publish_whole(live);
    let owners = bench.owners();
    let lent: Vec<u8> =
        owners.iter().zip(&bench.home).filter(|(_, home)| **home <= 8).map(|(owner, _)| *owner).collect();
    assert!(lent.len() > 3500);
    for (number, weight) in [(9, 0.1), (10, 0.25), (11, 0.4), (12, 0.25)] {
        let share = buckets_of(&lent, member(number)) as f64 / lent.len() as f64;
        let deviation = (weight * (1.0_f64 - weight) / lent.len() as f64).sqrt();
        assert!((share - weight).abs() < 4.0 * deviation, "{number}: {share} for {weight}");
    }
}

#[test]
fn voluntary_moves_wait_until_the_bucket_was_idle_longer_than_the_gap() {
    let mut bench = bench(&[1, 1], PATIENT);
    let one = MemberSet::EMPTY.with(member(1));
    bench.publish(one, Ticks::ZERO);
    let back = Ticks::from_ms(1);
    let moved = bench.publish(bench.all, back);
    assert_eq!(moved, Moved { waiting: 2048, ..Moved::default() });
    assert!(bench.table.moving());
    assert_eq!(
        bench.settle(back.saturating_add(Ticks::from_us(500))),
        Moved { waiting: 2048, ..Moved::default() }
    );

    // One bucket is used again, and only this one continues to wait.
    let busy = bench.home.iter().position(|&home| home == 2).unwrap();
    let bucket = Bucket::new(busy as u16).unwrap();
    assert_eq!(bench.table.choose(bucket, back.saturating_add(Ticks::from_us(400))), Some(member(1)));
    let moved = bench.settle(back.saturating_add(Ticks::from_us(520)));
    assert_eq!(moved, Moved { idle: 2047, waiting: 1, ..Moved::default() });
    assert_eq!(bench.table.lookup(bucket), Some(member(1)));
    let moved = bench.settle(back.saturating_add(Ticks::from_us(920)));
    assert_eq!(moved, Moved { idle: 1, ..Moved::default() });
    assert!(!bench.table.moving());
    assert_eq!(bench.owners(), bench.home);
}

#[test]
fn a_bucket_that_is_never_idle_moves_at_the_deadline_and_is_counted_as_risky() {
    for (deadline, deadline_moves) in [(Some(Ticks::from_ms(100)), 1), (None, 0)] {
        let mut bench = bench(&[1, 1], RebalanceTimers { gap: Ticks::from_us(500), deadline });
        bench.publish(MemberSet::EMPTY.with(member(1)), Ticks::ZERO);
        let bucket = Bucket::new(bench.home.iter().position(|&home| home == 2).unwrap() as u16).unwrap();
        bench.publish(bench.all, Ticks::ZERO);
        let mut sum = Moved::default();
        for step in 1..=1000 {
            let now = Ticks::from_us(step * 200);
            bench.table.choose(bucket, now);
            let moved = bench.settle(now);
            sum.deadline_moves += moved.deadline_moves;
            sum.idle += moved.idle;
            if now < Ticks::from_ms(100) {
                assert_eq!((moved.deadline_moves, moved.waiting != 0), (0, true));
            }
        }
        assert_eq!(
            (sum.idle, sum.deadline_moves, bench.table.moving()),
            (2047, deadline_moves, deadline_moves == 0)
        );
    }
}

#[test]
fn a_packet_stamped_ahead_of_the_settling_clock_counts_as_just_sent() {
    let mut bench = bench(&[1, 1], PATIENT);
    bench.publish(MemberSet::EMPTY.with(member(1)), Ticks::ZERO);
    bench.publish(bench.all, Ticks::ZERO);
    let bucket = Bucket::new(bench.home.iter().position(|&home| home == 2).unwrap() as u16).unwrap();
    bench.table.choose(bucket, Ticks::from_ms(11));
    bench.settle(Ticks::from_ms(10));
    assert_eq!(bench.table.lookup(bucket), Some(member(1)));
}

#[test]
fn death_of_the_holder_ends_the_wait_at_once() {
    let mut bench = bench(&[1, 1], PATIENT);
    bench.publish(MemberSet::EMPTY.with(member(1)), Ticks::ZERO);
    bench.publish(bench.all, Ticks::ZERO);
    let moved = bench.publish(MemberSet::EMPTY.with(member(2)), Ticks::ZERO);
    assert_eq!(moved, Moved { forced: 4096, ..Moved::default() });
    assert!(!bench.table.moving());
    assert!(bench.owners().iter().all(|&owner| owner == 2));
}

#[test]
fn death_of_the_awaited_member_ends_the_wait_without_a_move() {
    let mut bench = bench(&[1, 1, 1], PATIENT);
    let without_two = bench.all.without(member(2));
    bench.publish(without_two, Ticks::ZERO);
    let lent = bench.owners();
    bench.publish(bench.all, Ticks::ZERO);
    assert!(bench.table.moving());
    assert_eq!(bench.publish(without_two, Ticks::ZERO), Moved::default());
    assert_eq!(bench.owners(), lent);
    assert!(!bench.table.moving());
}

#[test]
fn a_second_return_does_not_prolong_the_first_ones_deadline() {
    let mut bench = bench(&[1, 1, 1], PATIENT);
    bench.publish(MemberSet::EMPTY.with(member(1)), Ticks::ZERO);
    bench.publish(bench.all.without(member(3)), Ticks::ZERO);
    let busy = |bench: &Bench, now| {
        for bucket in (0..4096).filter_map(Bucket::new) {
            bench.table.choose(bucket, now);
        }
    };
    busy(&bench, Ticks::from_ms(60));
    let waiting = bench.publish(bench.all, Ticks::from_ms(60)).waiting;
    busy(&bench, Ticks::from_ms(101));
    let moved = bench.settle(Ticks::from_ms(101));
    assert_eq!(moved.idle, 0);
    assert!(
        moved.deadline_moves > 1300 && moved.waiting > 600 && moved.deadline_moves + moved.waiting == waiting,
        "{moved:?} {waiting}"
    );
    busy(&bench, Ticks::from_ms(161));
    assert_eq!(
        bench.settle(Ticks::from_ms(161)),
        Moved { deadline_moves: moved.waiting, ..Moved::default() }
    );
    assert_eq!(bench.owners(), bench.home);
}

#[test]
fn no_member_means_no_owner_and_the_first_one_gets_everything() {
    let mut bench = bench(&[1, 1], PATIENT);
    bench.publish(MemberSet::EMPTY, Ticks::ZERO);
    assert_eq!(bench.table.lookup(Bucket::new(9).unwrap()), None);
    let moved = bench.publish(MemberSet::EMPTY.with(member(2)), Ticks::ZERO);
    assert_eq!(moved, Moved { forced: 4096, ..Moved::default() });
}

/// A new member or another speed moves little more buckets than the shares differ. The bounds are the measured
/// maximum.
#[test]
fn a_new_home_map_moves_little_more_than_the_shares_demand() {
    let home = |speeds: &[u32]| bench(speeds, AT_ONCE).home;
    let moved =
        |old: &[u8], new: &[u8]| old.iter().zip(new).filter(|(old, new)| old != new).count() as f64 / 4096.0;
    for count in 2..32_usize {
        let excess = moved(&home(&vec![10; count]), &home(&vec![10; count + 1])) - 1.0 / (count + 1) as f64;
        assert!(excess < 0.025, "{count}: {excess}");
    }
    let faster = moved(&home(&[10, 10, 10, 10]), &home(&[25, 10, 10, 10])) - (25.0 / 55.0 - 0.25);
    assert!(faster < 0.005, "{faster}");
}

/// The heaviest member carries most buckets, and for each of them 31 others would have to bid: more work than one call may
/// take at DISPATCH_LEVEL.
#[test]
fn a_failure_that_is_too_much_work_for_one_call_is_over_in_one_and_spread_by_more() {
    let mut speeds = [1_000; MEMBERS];
    speeds[4] = 100_000;
    let heavy = member(5);
    let mut bench = bench(&speeds, AT_ONCE);
    let held = buckets_of(&bench.home, heavy);
    let live = bench.all.without(heavy);
    let moved = bench.publish(live, Ticks::ZERO);
    assert_eq!((moved.forced as usize, moved.idle, moved.waiting), (held, 0, 0));
    assert!(bench.table.moving() && buckets_of(&bench.owners(), heavy) == 0, "at once");
    // Another dies meanwhile, one of those that had got their part.
    let live = live.without(member(1));
    let (moved, calls) = bench.publish_whole(live);
    assert!(moved.forced > 0 && moved.idle > 1_000 && (4..20).contains(&calls), "{moved:?} in {calls}");
    for owner in live.iter() {
        let count = buckets_of(&bench.owners(), owner);
        assert!((90..180).contains(&count), "{owner}: {count}");
    }
    // Where buckets are does not depend on how they came there.
    let mut other = fresh_bench(&speeds, live);
    assert_eq!(other.owners(), bench.owners());
    other.publish_whole(other.all);
    assert_eq!(other.owners(), other.home);
}

/// A table that has only ever seen these live members.
fn fresh_bench(speeds: &[u32], live: MemberSet) -> Bench {
    let mut other = bench(speeds, AT_ONCE);
    other.table = Table::on_heap(AT_ONCE);
    (other.came, other.left) = ([0; MEMBERS], [0; MEMBERS]);
    other.publish_whole(live);
    other
}

/// The driver makes its home maps in steps, each short enough for DISPATCH_LEVEL.
#[test]
fn a_home_map_is_made_in_steps_and_the_one_before_holds_until_it_is_whole() {
    let link =
        |gigabits: u64| MemberEvent::Link(LinkState::Up { bits_per_second: Some(gigabits * 1_000_000_000) });
    let make = |next: Next<Heap>| -> Team<Heap> {
        Team::new(vec![0; BUCKETS], next, vec![Member::ABSENT; MEMBERS], &Settings::default())
    };
    let (mut whole, mut stepped) = (make(Next::at_once()), make(Next { step: 6_000, ..Next::at_once() }));
    let finish = |team: &mut Team<Heap>| {
        let mut steps = 0;
        while team.is_building() {
            team.build();
            steps += 1;
            let plan = team.tick(Ticks::ZERO);
            assert_eq!(plan.home_changed, !team.is_building());
        }
        steps
    };
    for number in 1..=32 {
        for event in [MemberEvent::Connected, link(10)] {
            whole.on(member(number), event, Ticks::ZERO);
            assert!(!stepped.on(member(number), event, Ticks::ZERO).home_changed);
        }
    }
    let steps = finish(&mut stepped);
    assert!((8..20).contains(&steps), "{steps} steps");
    assert_eq!(stepped.home(), whole.home());
    // A speed that changes twice begins anew, one that changes back ends it.
    let before = stepped.home().to_vec();
    for gigabits in [25, 40] {
        stepped.on(member(3), link(gigabits), Ticks::ZERO);
        stepped.build();
        assert!(stepped.is_building() && stepped.home() == before);
    }
    finish(&mut stepped);
    whole.on(member(3), link(40), Ticks::ZERO);
    assert_eq!(stepped.home(), whole.home());
    let before = stepped.home().to_vec();
    stepped.on(member(3), link(10), Ticks::ZERO);
    stepped.on(member(3), link(40), Ticks::ZERO);
    assert!(!stepped.is_building() && stepped.home() == before);
}

/// Packets go on while a table is made beside the one that they read, and none of these is in a stamp.
#[test]
fn what_is_sent_while_a_table_is_made_counts_as_sent_when_it_is_put_in_place() {
    let mut bench = bench(&[10, 10], PATIENT);
    let both = bench.all;
    let one: MemberSet = [member(1)].into_iter().collect();
    let mut now = Ticks::from_ms(1_000);
    bench.publish(one, now);
    now = Ticks::from_ms(2_000);
    let view = View::new(Carriers::all(both), &bench.weights, &bench.home);
    let mut aside = Aside::on_heap();
    aside.make(&bench.table, &view, now);
    let before = bench.owners();
    let put = now.saturating_add(Ticks::from_us(400));
    (0..BUCKETS as u16).filter_map(Bucket::new).for_each(|bucket| {
        bench.table.choose(bucket, put);
    });
    bench.table.put(&mut aside, put);
    assert_eq!(bench.owners(), before, "a live member keeps what it carries when a table is put in place");
    for after in [100, 200, 499] {
        let moved = bench.settle(put.saturating_add(Ticks::from_us(after)));
        assert_eq!((moved.idle, moved.waiting), (0, 2_048), "{after} us after the last packet");
    }
    assert_eq!(bench.settle(put.saturating_add(Ticks::from_us(510))).idle, 2_048);
}

/// Members that rest, speeds that are said again: such changes publish a table that is the same.
#[test]
fn changes_that_follow_each_other_faster_than_the_gap_hold_no_move_back() {
    let patient = RebalanceTimers { deadline: None, ..PATIENT };
    let mut bench = bench(&[10, 10, 10], patient);
    let one: MemberSet = [member(1)].into_iter().collect();
    bench.publish(one, Ticks::from_ms(1_000));
    let (all, start) = (bench.all, Ticks::from_ms(2_000));
    let waiting = bench.publish(all, start).waiting;
    assert!(waiting > 2_000);
    let used = Bucket::new(bench.owners().iter().zip(&bench.home).position(|(a, b)| a != b).unwrap() as u16);
    for after in (100..=600).step_by(100) {
        let now = start.saturating_add(Ticks::from_us(after));
        bench.table.choose(used.unwrap(), now);
        assert_eq!(bench.publish(all, now).waiting, waiting, "{after} us");
    }
    let moved = bench.settle(start.saturating_add(Ticks::from_us(610)));
    assert_eq!((moved.idle, moved.waiting), (waiting - 1, 1), "all but the one in use");
}

#[test]
fn a_change_that_changes_no_bucket_leaves_the_heirs_known() {
    let bench = &mut bench(&[10, 10, 10], PATIENT);
    let mut aside = Aside::on_heap();
    let mut make = |bench: &mut Bench, live: MemberSet| {
        aside.make(&bench.table, &View::new(Carriers::all(live), &bench.weights, &bench.home), Ticks::ZERO);
        bench.table.put(&mut aside, Ticks::ZERO);
        let forgot = aside.looks_ahead();
        (0..400).for_each(|_| aside.look_ahead(&bench.table));
        forgot
    };
    let all = bench.all;
    assert!(make(bench, all), "not asked for yet");
    assert!(!make(bench, all), "the same again");
    // A member that carries nothing may still be a borrower: who inherits is another question then.
    bench.weights[2] = 25;
    assert!(make(bench, all), "other weights");
    assert!(make(bench, all.without(member(3))), "a member died");
    assert!(!make(bench, all.without(member(3))), "the same again");
}

/// One member after the other dies and returns; what is known beforehand changes nothing but the work.
#[test]
fn heirs_that_are_known_beforehand_are_those_whom_the_bids_of_the_failure_name() {
    for speeds in [&[10, 10][..], &[10, 10, 10], &[10, 25, 10, 40], &[1; 32], &[10, 25, 100, 1, 10, 40, 10]] {
        let mut bids = bench(speeds, AT_ONCE);
        let mut heirs = bench(speeds, AT_ONCE);
        let mut aside = Aside::on_heap();
        let (mut live, mut known) = (bids.all, 0);
        for step in 0..200_u32 {
            let index =
                MemberIndex::from_slot((step as usize * 7 + step as usize / 5) % speeds.len()).unwrap();
            let next = if live.contains(index) { live.without(index) } else { live.with(index) };
            let before = heirs.owners();
            for _ in 0..if step % 4 == 3 { 1 } else { 400 } {
                aside.look_ahead(&heirs.table);
            }
            known += u32::from(!aside.looks_ahead());
            let view = View::new(Carriers::all(next), &heirs.weights, &heirs.home);
            let moved = aside.make(&heirs.table, &view, Ticks::ZERO);
            heirs.table.put(&mut aside, Ticks::ZERO);
            heirs.assert_arrivals_are_counted(&before);
            assert_eq!(bids.publish(next, Ticks::ZERO).forced, moved.forced, "step {step} of {speeds:?}");
            // What was too much work for one call.
            (0..8).for_each(|_| {
                bids.settle(Ticks::ZERO);
                heirs.settle(Ticks::ZERO);
            });
            assert_eq!(heirs.owners(), bids.owners(), "step {step} of {speeds:?}");
            live = next;
        }
        assert!(known > 100, "{known} of 200 with all heirs known");
    }
}
