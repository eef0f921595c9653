//! Live members, weights and the home map after any sequence of steps, against the present members and speeds.

use proptest::prelude::*;
use std::num::NonZeroU32;
use teaming::Heap;
use teaming::ids::{AdapterId, BUCKETS, MEMBERS, MemberIndex, Ticks};
use teaming::settings::{Settings, TeamingMode};
use teaming::team::member::{LinkState, Member, MemberEvent, MemberSettings};
use teaming::team::{Team, TeamView};

use crate::host::{member, settings, walks};

const MEGABIT: u64 = 1_000_000;
const SPEEDS: [u64; 8] = [
    0,
    MEGABIT - 1,
    MEGABIT,
    1_000 * MEGABIT,
    10_000 * MEGABIT,
    25_000 * MEGABIT,
    100_000 * MEGABIT,
    u64::MAX,
];

#[derive(Debug, Clone, Copy)]
enum Step {
    Event(u8, MemberEvent),
    Wait(u64),
    Delay(u64),
    /// The weight that is set for the adapter of a member, or none.
    Set(u8, u32),
}

/// One member as the switch and its adapter describe it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Adapter {
    link: LinkState,
    speed: Option<u64>,
    /// The weight that is set for it; 0 goes by speed.
    set: u32,
    connected: bool,
    /// The switch has created and connected it.
    present: bool,
    /// The end of its link-up delay.
    proves_until: Option<Ticks>,
    /// Carries traffic.
    active: bool,
    /// The weight from which the home map was made.
    at_home: u32,
}

const NONE: Adapter = Adapter {
    link: LinkState::Unknown,
    speed: None,
    set: 0,
    connected: false,
    present: false,
    proves_until: None,
    active: false,
    at_home: 0,
};

#[derive(Debug, Clone)]
struct Model {
    adapters: [Adapter; MEMBERS],
    delay: Ticks,
    now: Ticks,
}

impl Model {
    fn apply(&mut self, step: Step) {
        match step {
            Step::Wait(ms) => self.now = self.now.saturating_add(Ticks::from_ms(ms)),
            Step::Delay(ms) => {
                self.delay = Ticks::from_ms(ms);
                let latest = self.now.saturating_add(self.delay);
                for adapter in &mut self.adapters {
                    adapter.proves_until = adapter.proves_until.map(|until| until.min(latest));
                }
            }
            Step::Event(number, event) => self.event(usize::from(number) - 1, event),
            Step::Set(number, weight) => self.adapters[usize::from(number) - 1].set = weight,
        }
        if matches!(step, Step::Wait(..) | Step::Delay(..)) {
            for adapter in &mut self.adapters {
                if adapter.proves_until.is_some_and(|until| until <= self.now) {
                    (adapter.proves_until, adapter.active) = (None, true);
                }
            }
        }
        // "Unless no other member is up."
        if !self.adapters.iter().any(|adapter| adapter.active) {
            for adapter in &mut self.adapters {
                adapter.active = adapter.proves_until.take().is_some();
            }
        }
        let weights = self.weights();
        let is_at_home = |(adapter, weight): (&Adapter, &u32)| *weight == 0 || adapter.at_home == *weight;
        if !self.adapters.iter().zip(&weights).all(is_at_home) {
            for (adapter, weight) in self.adapters.iter_mut().zip(weights) {
                adapter.at_home = weight;
            }
        }
    }

    fn event(&mut self, slot: usize, event: MemberEvent) {
        let adapter = &mut self.adapters[slot];
        match event {
            MemberEvent::Created => adapter.present = true,
            MemberEvent::Connected => {
                let usable = adapter.link != LinkState::Down;
                adapter.active |= usable && !adapter.connected;
                (adapter.present, adapter.connected) = (true, true);
            }
            MemberEvent::Disconnected | MemberEvent::Deleted => {
                (adapter.connected, adapter.active, adapter.proves_until) = (false, false, None);
                if event == MemberEvent::Deleted {
                    (adapter.present, adapter.link) = (false, LinkState::Unknown);
                    adapter.set = 0;
                }
            }
            MemberEvent::Link(link) => {
                if let LinkState::Up { bits_per_second: Some(speed) } = link {
                    adapter.speed = Some(speed);
                }
                adapter.link = link;
                if adapter.connected && link == LinkState::Down {
                    (adapter.active, adapter.proves_until) = (false, None);
                } else if adapter.connected && !adapter.active && adapter.proves_until.is_none() {
                    match self.delay {
                        Ticks::ZERO => adapter.active = true,
                        delay => adapter.proves_until = Some(self.now.saturating_add(delay)),
                    }
                }
            }
            MemberEvent::Tick | MemberEvent::NoneActive => {}
        }
    }

    /// Of connected members what is set, else the speed in Mbit/s, the median of those if a member does not report one; 0
    /// for all others.
    fn weights(&self) -> [u32; MEMBERS] {
        let megabits = |speed: u64| u32::try_from((speed / MEGABIT).max(1)).unwrap_or(u32::MAX);
        let there = || self.adapters.iter().filter(|adapter| adapter.connected);
        let own = |adapter: &Adapter| match adapter.set {
            0 => adapter.speed.map(megabits),
            set => Some(set),
        };
        let mut known: Vec<u32> = there().filter_map(own).collect();
        known.sort_unstable();
        let median = known.get(known.len().saturating_sub(1) / 2).copied().unwrap_or(1);
        self.adapters.map(|adapter| if adapter.connected { own(&adapter).unwrap_or(median) } else { 0 })
    }
}

fn new_team(settings: &Settings) -> Team<Heap> {
    Team::new(vec![0; BUCKETS], teaming::team::Next::at_once(), vec![Member::ABSENT; MEMBERS], settings)
}

/// A new team of only the present members, each with its present speed.
fn fresh(model: &Model, at_home: bool) -> Team<Heap> {
    let mut team = new_team(&settings(TeamingMode::Static));
    let weights = model.weights();
    for (slot, adapter) in model.adapters.iter().enumerate() {
        let weight = if at_home { adapter.at_home } else { weights[slot] };
        if weight != 0 {
            let index = MemberIndex::from_slot(slot).unwrap();
            let speed = u64::from(weight) * MEGABIT;
            team.on(index, MemberEvent::Link(LinkState::Up { bits_per_second: Some(speed) }), model.now);
            team.on(index, MemberEvent::Connected, model.now);
            team.on(index, MemberEvent::Link(LinkState::Up { bits_per_second: Some(speed) }), model.now);
        }
    }
    team
}

fn any_step() -> impl Strategy<Value = Step> {
    let link = prop_oneof![
        Just(LinkState::Down),
        Just(LinkState::Unknown),
        Just(LinkState::Up { bits_per_second: None }),
        prop::sample::select(SPEEDS.to_vec())
            .prop_map(|speed| LinkState::Up { bits_per_second: Some(speed) }),
        prop::sample::select(SPEEDS.to_vec())
            .prop_map(|speed| LinkState::Up { bits_per_second: Some(speed) }),
    ];
    let event = prop_oneof![
        1 => Just(MemberEvent::Created),
        3 => Just(MemberEvent::Connected),
        1 => Just(MemberEvent::Disconnected),
        1 => Just(MemberEvent::Deleted),
        4 => link.prop_map(MemberEvent::Link),
    ];
    prop_oneof![
        12 => (prop_oneof![1..6_u8, 1..=32_u8], event).prop_map(|(number, event)| Step::Event(number, event)),
        2 => (0..4_u64).prop_map(Step::Wait),
        1 => (0..4_u64).prop_map(Step::Delay),
        3 => (1..6_u8, prop::sample::select(vec![0, 0, 1, 1_000, 25_000, 10_000_000]))
            .prop_map(|(number, weight)| Step::Set(number, weight)),
    ]
}

fn check(team: &Team<Heap>, plan: &TeamView, before: &Model, model: &Model) {
    let bits = |model: &Model, belongs: fn(&Adapter) -> bool| -> u32 {
        let those = model.adapters.iter().enumerate().filter(|(_, adapter)| belongs(adapter));
        those.map(|(slot, _)| 1 << slot).sum()
    };
    let (old, live) = (bits(before, |adapter| adapter.active), bits(model, |adapter| adapter.active));
    assert_eq!((plan.carriers.live.bits(), team.live().bits()), (live, live));
    assert_eq!((plan.came_up.bits(), plan.went_down.bits()), (live & !old, old & !live));
    let homes = |model: &Model| model.adapters.map(|adapter| adapter.at_home);
    assert_eq!(plan.weights, homes(model));
    assert!(!plan.home_changed || homes(before) != homes(model));
    assert_eq!(plan.changed, homes(before) != homes(model) || old != live || plan.home_changed);
    let weights = model.weights();
    for (slot, adapter) in model.adapters.iter().enumerate() {
        let member = team.member(MemberIndex::from_slot(slot).unwrap());
        assert_eq!(member.weight, weights[slot], "member {}", slot + 1);
        assert_eq!((member.link, member.speed), (adapter.link, adapter.speed));
        // The home weight of a present member is its present weight.
        assert!(weights[slot] == 0 || member.home_weight == weights[slot]);
    }
    let present = bits(model, |adapter| adapter.present);
    assert_eq!(team.members().map(|(index, _)| 1_u32 << index.slot()).sum::<u32>(), present);
    let next = model.adapters.iter().filter_map(|adapter| adapter.proves_until).min();
    assert_eq!(team.deadline(), next);
}

proptest! {
    #![proptest_config(walks(150))]

    #[test]
    fn a_team_after_any_walk_is_the_one_of_those_that_are_there(steps in prop::collection::vec(any_step(), 1..80)) {
        let mut team = new_team(&settings(TeamingMode::Static));
        let mut model = Model { adapters: [NONE; MEMBERS], delay: Ticks::ZERO, now: Ticks::from_ms(1_000) };
        for step in steps {
            let before = model.clone();
            model.apply(step);
            let plan = match step {
                Step::Event(number, event) => team.on(member(number), event, model.now),
                Step::Wait(_) => team.tick(model.now),
                Step::Delay(_) => {
                    let settings = Settings { link_up_delay: model.delay, ..settings(TeamingMode::Static) };
                    team.configure(&settings, model.now)
                }
                Step::Set(number, weight) => {
                    let (index, adapter) = (member(number), AdapterId::new([number; 16]));
                    team.identify(index, adapter, &[]);
                    // What is set for another adapter concerns nobody.
                    let other = AdapterId::new([99; 16]);
                    prop_assert_eq!(team.configure_member(index, other, &weighing(7), model.now), None);
                    let Some(plan) = team.configure_member(index, adapter, &weighing(weight), model.now) else {
                        prop_assert_eq!(before.adapters, model.adapters);
                        continue;
                    };
                    plan
                }
            };
            check(&team, &plan, &before, &model);
            prop_assert_eq!(plan.home_changed, before.adapters.map(|a| a.at_home) != model.adapters.map(|a| a.at_home));
        }
        // A member that left keeps its share of the map until a member joins or returns with another weight; then the
        // map is that of a new team of the present members.
        prop_assert!(team.home() == fresh(&model, true).home());
        let newcomer = (0..MEMBERS).find(|&slot| !model.adapters[slot].connected && model.adapters[slot].at_home == 0);
        if let Some(slot) = newcomer {
            let index = MemberIndex::from_slot(slot).unwrap();
            model.apply(Step::Event(index.get(), MemberEvent::Connected));
            prop_assert!(team.on(index, MemberEvent::Connected, model.now).home_changed);
            prop_assert!(team.home() == fresh(&model, false).home());
        }
    }
}

fn weighing(weight: u32) -> MemberSettings {
    MemberSettings { weight: NonZeroU32::new(weight), ..MemberSettings::DEFAULT }
}

proptest! {
    #![proptest_config(walks(60))]

    #[test]
    fn every_member_gets_its_share_to_within_one_bucket_by_weight_where_one_is_set_and_else_by_speed(
        members in prop::collection::vec((1..100_000_u32, prop_oneof![Just(0), 1..=10_000_000_u32]), 1..=32),
    ) {
        let mut team = new_team(&settings(TeamingMode::Static));
        let up = |speed: u32| LinkState::Up { bits_per_second: Some(u64::from(speed) * MEGABIT) };
        for (number, &(speed, weight)) in (1..).zip(&members) {
            team.identify(member(number), AdapterId::new([number; 16]), &[]);
            team.configure_member(member(number), AdapterId::new([number; 16]), &weighing(weight), Ticks::ZERO);
            team.on(member(number), MemberEvent::Link(up(speed)), Ticks::ZERO);
            team.on(member(number), MemberEvent::Connected, Ticks::ZERO);
            team.on(member(number), MemberEvent::Link(up(speed)), Ticks::ZERO);
        }
        let share = |&(speed, weight): &(u32, u32)| u64::from(if weight == 0 { speed } else { weight });
        let total: u64 = members.iter().map(share).sum();
        for (number, one) in (1_u8..).zip(&members) {
            let has = team.home().iter().filter(|owner| **owner == number).count() as u64;
            prop_assert!((has * total).abs_diff(share(one) * BUCKETS as u64) < total, "member {number} has {has}");
        }
    }
}

#[test]
fn an_adapter_under_another_index_brings_no_weight_of_the_one_before() {
    let (a, b) = (AdapterId::new([1; 16]), AdapterId::new([2; 16]));
    let mut team = new_team(&settings(TeamingMode::Static));
    team.on(member(1), MemberEvent::Connected, Ticks::ZERO);
    assert!(team.identify(member(1), a, &[]));
    assert!(team.configure_member(member(1), a, &weighing(5), Ticks::ZERO).is_some());
    assert!(!team.identify(member(1), a, &[]) && !team.identify(member(1), AdapterId::UNKNOWN, &[]));
    assert_eq!(team.member(member(1)).settings, weighing(5));
    assert!(team.identify(member(1), b, &[]));
    assert_eq!(team.member(member(1)).settings, MemberSettings::DEFAULT);
}

#[test]
fn an_unknown_speed_weighs_as_the_lower_median_of_those_that_are_there_now() {
    let up = |gigabits: u64| {
        MemberEvent::Link(LinkState::Up { bits_per_second: Some(gigabits * 1_000 * MEGABIT) })
    };
    let mut team = new_team(&settings(TeamingMode::Static));
    let mut weight_of_one = |number: u8, event: MemberEvent| {
        team.on(member(number), event, Ticks::ZERO);
        team.member(member(1)).weight
    };
    assert_eq!(weight_of_one(1, MemberEvent::Connected), 1);
    let mut arrive = |number, gigabits| {
        weight_of_one(number, MemberEvent::Connected);
        weight_of_one(number, up(gigabits))
    };
    assert_eq!(
        [(2, 10), (3, 100), (4, 40), (5, 1)].map(|(number, speed)| arrive(number, speed)),
        [10_000, 10_000, 40_000, 10_000]
    );
    // A member whose link is down keeps its weight; a deleted one does not.
    assert_eq!(weight_of_one(2, MemberEvent::Link(LinkState::Down)), 10_000);
    assert_eq!(weight_of_one(2, MemberEvent::Disconnected), 40_000);
    assert_eq!(weight_of_one(5, MemberEvent::Deleted), 40_000);
    assert_eq!(weight_of_one(4, MemberEvent::Deleted), 100_000);
    assert_eq!(weight_of_one(3, MemberEvent::Deleted), 1);
    assert_eq!(weight_of_one(2, MemberEvent::Connected), 10_000);
}
