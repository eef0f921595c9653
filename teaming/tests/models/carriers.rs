//! Who carries traffic, after any sequence of steps, against what the settings say in words.

use proptest::prelude::*;
use std::num::NonZeroU32;
use teaming::Heap;
use teaming::forward::Forwarding;
use teaming::ids::{AdapterId, BUCKETS, MEMBERS, MemberIndex, MemberSet, Ticks};
use teaming::settings::{Settings, TeamingMode};
use teaming::team::carriers::{CarrierRules, Failback};
use teaming::team::member::{LinkState, Member, MemberEvent, MemberSettings, MemberState, Role};
use teaming::team::{Next, Team, TeamView};

use crate::host::{member, settings, walks};

const FEW: u8 = 5;
const UP: LinkState = LinkState::Up { bits_per_second: Some(10_000_000_000) };

#[derive(Debug, Clone, Copy)]
enum Step {
    Event(u8, MemberEvent),
    Set(u8, MemberSettings),
    Rules(CarrierRules),
    /// All flows fall silent: what waits moves, and who hands over rests.
    Silence,
}

struct Switch {
    team: Team<Heap>,
    forwarding: Forwarding<Heap>,
    rules: CarrierRules,
    now: Ticks,
    /// Members that carried until they failed, and have not again since.
    failed: MemberSet,
}

fn with(rules: CarrierRules, gap: Ticks) -> Settings {
    Settings { carriers: rules, flowlet_gap: gap, move_deadline: None, ..settings(TeamingMode::Static) }
}

fn standby(priority: u8) -> MemberSettings {
    MemberSettings { role: Role::Standby, priority, ..MemberSettings::DEFAULT }
}

const OUT: MemberSettings = MemberSettings { out_of_service: true, ..MemberSettings::DEFAULT };

impl Switch {
    fn new(rules: CarrierRules) -> Self {
        let settings = with(rules, Ticks::from_us(500));
        let team = Team::new(vec![0; BUCKETS], Next::at_once(), vec![Member::ABSENT; MEMBERS], &settings);
        let forwarding = Forwarding::on_heap(4, &settings);
        Self { team, forwarding, rules, now: Ticks::from_ms(1_000), failed: MemberSet::EMPTY }
    }

    fn publish(&mut self, plan: TeamView) -> TeamView {
        self.forwarding.publish(&plan, self.team.home(), self.now);
        plan
    }

    fn on(&mut self, number: u8, event: MemberEvent) -> TeamView {
        let plan = self.team.on(member(number), event, self.now);
        self.publish(plan)
    }

    fn set(&mut self, number: u8, settings: MemberSettings) -> Option<TeamView> {
        let (index, adapter) = (member(number), AdapterId::new([number; 16]));
        self.team.identify(index, adapter, &[]);
        let plan = self.team.configure_member(index, adapter, &settings, self.now)?;
        Some(self.publish(plan))
    }

    fn connect(&mut self, number: u8, settings: MemberSettings) {
        self.on(number, MemberEvent::Created);
        self.set(number, settings);
        self.on(number, MemberEvent::Link(UP));
        self.on(number, MemberEvent::Connected);
        self.silence();
    }

    fn link(&mut self, number: u8, link: LinkState) -> TeamView {
        self.on(number, MemberEvent::Link(link))
    }

    /// As the timer does. Buckets that were moved although they were in use.
    fn silence(&mut self) -> u32 {
        let mut forced = 0;
        for _ in 0..100 {
            self.now = self.now.saturating_add(Ticks::from_ms(10));
            forced += self.forwarding.settle(self.team.home(), self.now).forced;
            if self.forwarding.moving() {
                continue;
            }
            if !self.team.is_handing_over() {
                return forced;
            }
            let plan = self.team.rest(self.now);
            forced += self.forwarding.publish(&plan, self.team.home(), self.now).forced;
        }
        panic!("it never ends");
    }

    fn owners(&self) -> Vec<u8> {
        self.forwarding.table.owners().collect()
    }

    fn counts(&self) -> Vec<u16> {
        self.forwarding.table.counts()[..usize::from(FEW)].to_vec()
    }

    fn numbers(&self, is_one: impl Fn(&Member) -> bool) -> MemberSet {
        self.team.members().filter(|(_, member)| is_one(member)).map(|(index, _)| index).collect()
    }

    fn apply(&mut self, step: Step) -> Option<TeamView> {
        match step {
            Step::Event(number, event) => Some(self.on(number, event)),
            Step::Set(number, settings) => self.set(number, settings),
            Step::Rules(rules) => {
                let settings = with(rules, Ticks::from_us(500));
                self.rules = rules;
                self.forwarding.configure(&settings);
                let plan = self.team.configure(&settings, self.now);
                Some(self.publish(plan))
            }
            Step::Silence => {
                self.silence();
                None
            }
        }
    }

    /// `a` is taken before `b`: "the role Active first, then the higher priority, then the lower number".
    fn is_before(&self, a: MemberIndex, b: MemberIndex) -> bool {
        let [x, y] = [a, b].map(|index| self.team.member(index).settings);
        match (x.role, y.role) {
            (Role::Active, Role::Standby) => true,
            (Role::Standby, Role::Active) => false,
            _ => x.priority > y.priority || x.priority == y.priority && a.get() < b.get(),
        }
    }

    fn priority(&self, index: MemberIndex) -> u8 {
        self.team.member(index).settings.priority
    }

    /// What the settings promise of those who carry now; before the step `before` did.
    fn check(&mut self, before: MemberSet, wanted_before: u32, same_rules: bool) -> u32 {
        let carriers = self.team.carriers();
        let able =
            self.numbers(|member| member.state == MemberState::Active && !member.settings.out_of_service);
        let active = self
            .numbers(|member| member.state != MemberState::Absent && member.settings.role == Role::Active);
        let wanted = active.len().max(self.rules.minimum_links).max(1);
        assert!(carriers.is_subset(able));
        assert_eq!(carriers.len(), wanted.min(able.len()), "as many as are wanted, if they can");
        // The carrier that would give way.
        let last = carriers.iter().find(|&index| carriers.iter().all(|other| !self.is_before(index, other)));
        for (rests, last) in able.minus(carriers).iter().zip(std::iter::repeat(last)) {
            let Some(last) = last else { panic!("{rests} could carry") };
            let has_failed = self.failed.contains(rests);
            let waits = match self.rules.failback {
                Failback::Always => false,
                Failback::Better => has_failed && self.priority(rests) <= self.priority(last),
                Failback::Never => has_failed,
            };
            assert!(waits || self.is_before(last, rests), "{rests} rests behind {last}");
        }
        // Who carries goes on while nobody before it comes that may take its place.
        for gone in before.minus(carriers).intersection(able).iter() {
            let newcomers = carriers.minus(before);
            let may = |index| match self.rules.failback {
                Failback::Always => true,
                Failback::Better => {
                    !self.failed.contains(index) || self.priority(index) > self.priority(gone)
                }
                Failback::Never => !self.failed.contains(index),
            };
            let replaced = newcomers.iter().any(|index| self.is_before(index, gone) && may(index));
            assert!(replaced || wanted < wanted_before || !same_rules, "{gone} carries no more");
        }
        let down = self.numbers(|member| member.state != MemberState::Active);
        self.failed = self.failed.union(before.intersection(down)).minus(carriers);
        let live = self.team.live();
        assert!(carriers.is_subset(live) && live.is_subset(self.team.up()));
        assert!(self.owners().iter().all(|owner| live.is_empty() || live.has_number(*owner)));
        wanted
    }
}

fn any_step() -> impl Strategy<Value = Step> {
    let event = prop_oneof![
        1 => Just(MemberEvent::Created),
        4 => Just(MemberEvent::Connected),
        1 => Just(MemberEvent::Disconnected),
        4 => Just(MemberEvent::Link(LinkState::Down)),
        4 => Just(MemberEvent::Link(UP)),
    ];
    let set = (any::<bool>(), 0..3_u8, prop::bool::weighted(0.2), 0..3_u32).prop_map(
        |(active, priority, out, weight)| {
            let role = if active { Role::Active } else { Role::Standby };
            let weight = NonZeroU32::new(weight * 10_000);
            MemberSettings { weight, role, priority, out_of_service: out }
        },
    );
    let failback = prop::sample::select(vec![Failback::Always, Failback::Better, Failback::Never]);
    prop_oneof![
        10 => (1..=FEW, event).prop_map(|(number, event)| Step::Event(number, event)),
        3 => (1..=FEW, set).prop_map(|(number, set)| Step::Set(number, set)),
        1 => (failback, 0..4_u32).prop_map(|(failback, minimum_links)| {
            Step::Rules(CarrierRules { failback, minimum_links })
        }),
        3 => Just(Step::Silence),
    ]
}

proptest! {
    #![proptest_config(walks(600))]

    #[test]
    fn those_carry_whom_roles_priorities_and_the_failback_policy_name_after_any_walk(
        steps in prop::collection::vec(any_step(), 1..60),
    ) {
        let mut switch = Switch::new(CarrierRules::default());
        let mut wanted = 1;
        for step in steps {
            let before = switch.team.carriers();
            switch.apply(step);
            let same = matches!(step, Step::Event(..) | Step::Silence);
            wanted = switch.check(before, wanted, same);
            if matches!(step, Step::Silence) {
                prop_assert_eq!(switch.team.live(), switch.team.carriers(), "nobody hands over any more");
            }
            let again = switch.team.tick(switch.now);
            prop_assert!(!again.changed, "a decision stands");
        }
        // Where all flows are silent a bucket is at its home, or lent to a carrier.
        switch.silence();
        let carriers = switch.team.carriers();
        for (owner, home) in switch.owners().into_iter().zip(switch.team.home()) {
            prop_assert!(carriers.is_empty() || carriers.has_number(owner));
            prop_assert!(!carriers.has_number(*home) || owner == *home);
        }
    }

    #[test]
    fn with_stand_ins_every_carrier_gets_its_fair_share(
        speeds in prop::collection::vec(1..=4_u32, 5),
        standbys in 1..=3_u8,
        deaths in prop::collection::vec(any::<bool>(), 5),
    ) {
        let mut switch = Switch::new(CarrierRules::default());
        let active = FEW - standbys;
        for number in 1..=FEW {
            let weight = NonZeroU32::new(speeds[usize::from(number) - 1] * 10_000);
            let role = if number <= active { Role::Active } else { Role::Standby };
            switch.connect(number, MemberSettings { weight, role, ..MemberSettings::DEFAULT });
        }
        let home = switch.owners();
        for number in (1..=active).filter(|number| deaths[usize::from(*number) - 1]) {
            switch.link(number, LinkState::Down);
        }
        switch.silence();
        let carriers = switch.team.carriers();
        let weight = |index: MemberIndex| f64::from(switch.team.member(index).weight);
        let total: f64 = carriers.iter().map(weight).sum();
        let counts = switch.counts();
        let of_home = |index: MemberIndex| home.iter().filter(|owner| **owner == index.get()).count() as f64;
        // A stand-in that is faster than what it stands in for gets no more than that, so the others keep theirs.
        let spare: f64 = carriers.iter().map(|index| (of_home(index) - BUCKETS as f64 * weight(index) / total).max(0.0)).sum();
        for index in carriers.iter() {
            let fair = BUCKETS as f64 * weight(index) / total;
            let has = f64::from(counts[index.slot()]);
            prop_assert!(has >= of_home(index), "{index} gave away buckets of its own");
            let most = fair.max(of_home(index));
            // Rendezvous is random: four standard deviations.
            let noise = 4.0 * (most).sqrt() + 2.0;
            prop_assert!(has <= most + noise && has + spare + noise >= fair, "{index} has {has} of {fair}: {counts:?}");
        }
    }
}

#[test]
fn a_stand_in_gets_the_flows_of_the_member_that_failed_and_no_others_and_gives_them_all_back() {
    for (count, dies) in [(1, 1), (2, 1), (2, 2), (3, 2), (4, 4)] {
        let mut switch = Switch::new(CarrierRules::default());
        for number in 1..=count {
            switch.connect(number, MemberSettings::DEFAULT);
        }
        switch.connect(count + 1, standby(0));
        let before = switch.owners();
        assert!(before.iter().all(|owner| *owner <= count), "a standby member carries nothing");
        let plan = switch.link(dies, LinkState::Down);
        assert_eq!((plan.came_up.bits(), plan.went_down.bits()), (1 << count, 1 << (dies - 1)));
        let expected: Vec<u8> =
            before.iter().map(|owner| if *owner == dies { count + 1 } else { *owner }).collect();
        assert!(switch.owners() == expected, "{count} members, {dies} fails");
        switch.link(dies, UP);
        assert!(switch.owners() == expected, "flows in use stay where they are");
        assert!(switch.team.is_handing_over());
        assert_eq!(switch.silence(), 0);
        assert!(switch.owners() == before);
        assert_eq!(switch.team.live().len(), u32::from(count));
    }
}

#[test]
fn a_member_that_is_taken_out_of_service_hands_over_in_gaps_and_comes_back_in_gaps() {
    let mut switch = Switch::new(CarrierRules::default());
    (1..=3).for_each(|number| switch.connect(number, MemberSettings::DEFAULT));
    let before = switch.owners();
    let plan = switch.set(2, OUT).unwrap();
    assert!(plan.changed && plan.went_down.is_empty() && plan.came_up.is_empty());
    assert!(switch.owners() == before, "no packet is reordered");
    assert_eq!(switch.silence(), 0);
    let counts = switch.counts();
    assert_eq!((counts[1], counts[0] + counts[2]), (0, 4096));
    assert_eq!(switch.team.live().bits(), 0b101);
    // Its link does not matter meanwhile.
    switch.link(2, LinkState::Down);
    switch.link(2, UP);
    assert_eq!(switch.counts()[1], 0);
    switch.set(2, MemberSettings::DEFAULT);
    assert_eq!(switch.silence(), 0);
    assert!(switch.owners() == before);
}

#[test]
fn a_member_that_fails_while_it_hands_over_loses_what_is_left_at_once() {
    let mut switch = Switch::new(CarrierRules::default());
    (1..=2).for_each(|number| switch.connect(number, MemberSettings::DEFAULT));
    switch.set(2, OUT);
    let plan = switch.link(2, LinkState::Down);
    assert_eq!((plan.went_down.bits(), switch.counts()[0]), (2, 4096));
    assert!(!switch.team.is_handing_over());
}

#[test]
fn nothing_carries_while_all_members_are_out_of_service_and_the_first_that_is_not_carries_all() {
    let mut switch = Switch::new(CarrierRules::default());
    (1..=2).for_each(|number| switch.connect(number, MemberSettings::DEFAULT));
    switch.set(1, OUT);
    switch.silence();
    switch.set(2, OUT);
    assert!(switch.team.live().is_empty(), "an order of the administrator");
    switch.set(1, MemberSettings::DEFAULT);
    assert_eq!(switch.counts()[0], 4096);
}

#[test]
fn a_standby_member_with_a_higher_priority_is_taken_first_and_the_next_one_when_it_fails_too() {
    let mut switch = Switch::new(CarrierRules::default());
    switch.connect(1, MemberSettings::DEFAULT);
    for (number, priority) in [(2, 5), (3, 200), (4, 5)] {
        switch.connect(number, standby(priority));
    }
    let mut carries = |number: u8, link| {
        switch.link(number, link);
        switch.silence();
        switch.team.carriers().iter().map(MemberIndex::get).collect::<Vec<_>>()
    };
    assert_eq!(carries(1, LinkState::Down), [3]);
    assert_eq!(carries(3, LinkState::Down), [2], "of equal ones the lower number");
    assert_eq!(carries(2, LinkState::Down), [4]);
    assert_eq!(carries(3, UP), [3]);
    assert_eq!(carries(1, UP), [1]);
}

#[test]
fn a_member_that_is_back_takes_its_place_as_the_failback_policy_says() {
    // Priorities of the active member and of the standby member; who carries after the active one is back.
    for (failback, active, other, expected) in [
        (Failback::Always, 0, 9, 1),
        (Failback::Better, 0, 0, 2),
        (Failback::Better, 9, 9, 2),
        (Failback::Better, 10, 9, 1),
        (Failback::Never, 10, 9, 2),
    ] {
        let mut switch = Switch::new(CarrierRules { failback, minimum_links: 0 });
        // The standby member is there first: what carries at the start is no matter of failback.
        switch.connect(2, standby(other));
        switch.connect(1, MemberSettings { priority: active, ..MemberSettings::DEFAULT });
        switch.silence();
        assert_eq!(switch.team.live().bits(), 1, "{failback:?}");
        switch.link(1, LinkState::Down);
        switch.link(1, UP);
        switch.silence();
        assert_eq!(switch.team.live().bits(), expected, "{failback:?} {active} {other}");
        // It has its place again when the stand-in fails.
        switch.link(2, LinkState::Down);
        assert_eq!(switch.team.live().bits(), 1, "{failback:?}");
        switch.link(2, UP);
        switch.silence();
        assert_eq!(switch.team.live().bits(), 1, "{failback:?}");
    }
}

#[test]
fn as_many_members_carry_as_minimum_links_asks_for_standby_members_among_them() {
    for minimum_links in 0..=4 {
        let mut switch = Switch::new(CarrierRules { minimum_links, ..CarrierRules::default() });
        switch.connect(1, MemberSettings::DEFAULT);
        (2..=4).for_each(|number| switch.connect(number, standby(number)));
        switch.silence();
        let carriers = minimum_links.max(1);
        let counts = switch.counts();
        assert_eq!(switch.team.carriers().len(), carriers);
        for number in 1..=4_u32 {
            // Standby members come in the order of their priorities: 4, 3, 2.
            let carries = number == 1 || number > 5 - carriers;
            let share = if carries { BUCKETS as u32 / carriers } else { 0 };
            let has = u32::from(counts[number as usize - 1]);
            assert!(has.abs_diff(share) <= 1, "{minimum_links}: member {number} has {has} of {share}");
        }
    }
}

/// A team of two members that are up, with LinkUpDelayMs and FlapHoldDownMs.
fn two_members(delay: u64, hold: u64, now: Ticks) -> Team<Heap> {
    let settings = Settings {
        link_up_delay: Ticks::from_ms(delay),
        flap_hold_down: Ticks::from_ms(hold),
        ..settings(TeamingMode::Static)
    };
    let mut team = Team::new(vec![0; BUCKETS], Next::at_once(), vec![Member::ABSENT; MEMBERS], &settings);
    for number in 1..=2 {
        team.on(member(number), MemberEvent::Connected, now);
    }
    team
}

#[test]
fn a_link_that_fails_again_soon_after_it_came_back_is_kept_out_longer_each_time_and_a_stable_one_is_not() {
    const SECOND: u64 = 1_000;
    let mut now = Ticks::from_ms(1_000_000);
    let mut team = two_members(2 * SECOND, 30 * SECOND, now);
    // Milliseconds for which the link is up before it fails; for which it is kept out afterwards.
    for (up, expected) in [
        (SECOND, 2 * SECOND),
        (SECOND, 4 * SECOND),
        (59 * SECOND, 8 * SECOND),
        (SECOND, 16 * SECOND),
        (SECOND, 30 * SECOND),
        (SECOND, 30 * SECOND),
        (60 * SECOND, 2 * SECOND),
        (SECOND, 4 * SECOND),
    ] {
        now = now.saturating_add(Ticks::from_ms(up));
        team.on(member(2), MemberEvent::Link(LinkState::Down), now);
        team.on(member(2), MemberEvent::Link(UP), now);
        assert_eq!(team.deadline(), Some(now.saturating_add(Ticks::from_ms(expected))), "up for {up} ms");
        now = now.saturating_add(Ticks::from_ms(expected));
        assert!(team.tick(now).carriers.live.contains(member(2)));
    }
    // If nothing else is up it is used at once, as often as it has failed.
    team.on(member(2), MemberEvent::Link(LinkState::Down), now);
    team.on(member(2), MemberEvent::Link(UP), now);
    let plan = team.on(member(1), MemberEvent::Link(LinkState::Down), now);
    assert_eq!(plan.carriers.live.bits(), 2);
}

#[test]
fn without_a_hold_down_or_a_delay_a_link_that_fails_again_and_again_waits_the_link_up_delay_alone() {
    for (delay, hold, expected) in [(0, 0, None), (7, 0, Some(7)), (7, 3, Some(7)), (0, 60_000, None)] {
        let mut now = Ticks::from_ms(1_000);
        let mut team = two_members(delay, hold, now);
        for _ in 0..4 {
            team.on(member(2), MemberEvent::Link(LinkState::Down), now);
            team.on(member(2), MemberEvent::Link(UP), now);
            now = team.deadline().unwrap_or(now);
            team.tick(now);
        }
        team.on(member(2), MemberEvent::Link(LinkState::Down), now);
        team.on(member(2), MemberEvent::Link(UP), now);
        let left = team.deadline().map(|due| due.since(now));
        assert_eq!(left, expected.map(Ticks::from_ms), "{delay} {hold}");
    }
}
