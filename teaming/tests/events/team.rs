//! What is told of a team and its members, for all that can happen to them.

use super::member;
use proptest::prelude::*;
use teaming::Heap;
use teaming::event::team_watch::{Downs, FLAP_WINDOW, TeamWatch};
use teaming::event::{CarryReason, Event, RestReason};
use teaming::ids::{AdapterId, BUCKETS, MEMBERS, Ticks};
use teaming::settings::Settings;
use teaming::team::carriers::CarrierRules;
use teaming::team::home::Building;
use teaming::team::member::{FailureReason, LinkState, Member, MemberEvent, MemberSettings, Role};
use teaming::team::{Next, Team, TeamView};

const UP: MemberEvent = MemberEvent::Link(LinkState::Up { bits_per_second: None });
const DOWN: MemberEvent = MemberEvent::Link(LinkState::Down);
const CABLE: FailureReason = FailureReason::PhysicalMediaDisconnected;

struct Watched {
    team: Team<Heap>,
    watch: TeamWatch<Heap>,
    now: Ticks,
}

impl Watched {
    /// A team of so many members, all connected and up.
    fn new(members: u8) -> Self {
        let settings =
            Settings { link_up_delay: Ticks::ZERO, flap_hold_down: Ticks::ZERO, ..Settings::default() };
        let next = Next { home: vec![0; BUCKETS], building: vec![Building::DONE], step: 1 << 20 };
        let team = Team::new(vec![0; BUCKETS], next, vec![Member::ABSENT; MEMBERS], &settings);
        let mut this =
            Self { team, watch: TeamWatch::new(vec![Downs::NONE; MEMBERS]), now: Ticks::from_ms(1_000) };
        for number in 1..=members {
            this.on(number, MemberEvent::Connected);
        }
        this
    }

    /// What is told when this happens a second later.
    fn on(&mut self, number: u8, event: MemberEvent) -> Vec<Event> {
        self.after(Ticks::from_ms(1_000), number, event)
    }

    fn told(&mut self, view: &TeamView) -> Vec<Event> {
        let mut told = Vec::new();
        self.watch.observe(&self.team, view, self.now, |event| told.push(event));
        told
    }

    fn set(&mut self, number: u8, settings: MemberSettings) -> Vec<Event> {
        let adapter = AdapterId::new([number; 16]);
        self.team.identify(member(number), adapter, &[]);
        let view = self.team.configure_member(member(number), adapter, &settings, self.now);
        view.map_or(Vec::new(), |view| self.told(&view))
    }

    fn configure(&mut self, carriers: CarrierRules) {
        let (link_up_delay, flap_hold_down) = (Ticks::ZERO, Ticks::ZERO);
        let settings = Settings { link_up_delay, flap_hold_down, carriers, ..Settings::default() };
        self.team.configure(&settings, self.now);
    }

    /// Every flow has left the members that hand over.
    fn rest(&mut self) -> Vec<Event> {
        let view = self.team.rest(self.now);
        self.told(&view)
    }

    fn after(&mut self, span: Ticks, number: u8, event: MemberEvent) -> Vec<Event> {
        self.now = self.now.saturating_add(span);
        let view = self.team.on(member(number), event, self.now);
        self.told(&view)
    }
}

fn down(number: u8, up: u32) -> Event {
    Event::MemberDown { member: member(number), reason: CABLE, up }
}

/// A member that was out for so many seconds.
fn up(number: u8, up: u32, seconds: u64) -> Event {
    Event::MemberUp { member: member(number), up, out_ms: seconds * 1_000 }
}

fn whole(connected: u32, seconds: u64) -> Event {
    Event::TeamWhole { connected, out_ms: seconds * 1_000 }
}

#[test]
fn a_team_is_told_degraded_once_for_each_member_it_loses_down_and_whole_again() {
    let mut team = Watched::new(3);
    assert_eq!(team.on(1, DOWN), [down(1, 2), Event::TeamDegraded { up: 2, connected: 3 }]);
    assert_eq!(team.on(1, DOWN), []);
    assert_eq!(team.on(2, DOWN), [down(2, 1), Event::TeamDegraded { up: 1, connected: 3 }]);
    assert_eq!(team.on(3, DOWN), [down(3, 0), Event::TeamDown { connected: 3 }]);
    assert_eq!(team.on(3, UP), [up(3, 1, 1)]);
    assert_eq!(team.on(2, UP), [up(2, 2, 3)]);
    assert_eq!(team.on(1, UP), [up(1, 3, 6), whole(3, 6)]);
    assert_eq!(team.on(1, UP), []);
}

/// A team of member 1, and of member 2 on standby.
fn with_standby(rules: CarrierRules) -> Watched {
    let mut team = Watched::new(0);
    team.configure(rules);
    for (number, role) in [(1, Role::Active), (2, Role::Standby)] {
        team.set(number, MemberSettings { role, ..MemberSettings::DEFAULT });
        team.on(number, MemberEvent::Connected);
    }
    team
}

fn carries(number: u8, reason: CarryReason, carriers: u32) -> Event {
    Event::MemberCarries { member: member(number), reason, carriers }
}

fn rests(number: u8, reason: RestReason, carriers: u32) -> Event {
    Event::MemberRests { member: member(number), reason, carriers }
}

#[test]
fn what_a_standby_member_does_is_told_apart_from_its_link() {
    let mut team = with_standby(CarrierRules::default());
    let stands_in = carries(2, CarryReason::StandsIn, 1);
    assert_eq!(team.on(1, DOWN), [down(1, 1), Event::TeamDegraded { up: 1, connected: 2 }, stands_in]);
    assert_eq!(team.on(1, UP), [up(1, 2, 1), whole(2, 1)], "it hands over");
    assert_eq!(team.rest(), [rests(2, RestReason::Standby, 1)]);
    // One that fails while it only stands by is as bad as one that carries: the next failure will find nobody.
    assert_eq!(team.on(2, DOWN), [down(2, 1), Event::TeamDegraded { up: 1, connected: 2 }]);
    assert_eq!(team.on(2, UP), [up(2, 2, 1), whole(2, 1)]);
}

#[test]
fn a_member_that_is_taken_out_of_service_is_told_when_it_carries_nothing_any_more() {
    let mut team = Watched::new(2);
    let out = MemberSettings { out_of_service: true, ..MemberSettings::DEFAULT };
    assert_eq!(team.set(1, out), [], "its flows move in gaps");
    assert_eq!(team.rest(), [rests(1, RestReason::OutOfService, 1)]);
    assert_eq!(team.set(1, MemberSettings::DEFAULT), [carries(1, CarryReason::TakesItsPlace, 2)]);
}

#[test]
fn fewer_members_than_minimum_links_are_told_once_until_there_are_enough() {
    let rules = CarrierRules { minimum_links: 2, ..CarrierRules::default() };
    let too_few = |carriers| Event::FewerThanMinimum { carriers, minimum: 2 };
    let mut team = with_standby(rules);
    assert_eq!(team.on(1, DOWN).last(), Some(&too_few(1)));
    assert_eq!(team.on(1, DOWN), []);
    assert!(!team.on(2, DOWN).contains(&too_few(0)), "it was told");
    team.on(2, UP);
    team.on(1, UP);
    assert_eq!(team.on(2, DOWN).last(), Some(&too_few(1)), "anew after there were enough");
}

#[test]
fn a_member_that_is_taken_away_is_told_and_the_rest_is_whole() {
    let mut team = Watched::new(2);
    let reason = FailureReason::AdministrativeDecision;
    let gone = |up| Event::MemberDown { member: member(2), reason, up };
    assert_eq!(team.on(2, MemberEvent::Disconnected), [gone(1)]);
    assert_eq!(team.on(1, DOWN), [down(1, 0), Event::TeamDown { connected: 1 }]);
    assert_eq!(team.on(2, MemberEvent::Connected), [up(2, 1, 2)]);
    assert_eq!(team.on(1, MemberEvent::Disconnected), [whole(1, 2)]);
}

#[test]
fn a_member_that_connects_without_a_link_degrades_the_team() {
    let mut team = Watched::new(1);
    team.on(2, MemberEvent::Created);
    team.on(2, DOWN);
    assert_eq!(team.on(2, MemberEvent::Connected), [Event::TeamDegraded { up: 1, connected: 2 }]);
}

#[test]
fn a_member_flaps_that_goes_down_three_times_in_a_minute_and_no_other() {
    let flaps = |span: Ticks| {
        let mut team = Watched::new(2);
        let half = Ticks::new(span.get() / 4);
        let mut told = Vec::new();
        for _ in 0..3 {
            told.extend(team.after(half, 1, DOWN));
            told.extend(team.after(half, 1, UP));
        }
        told.retain(|event| matches!(event, Event::MemberFlapping { .. }));
        told
    };
    let told = |seconds| vec![Event::MemberFlapping { member: member(1), times: 3, seconds }];
    assert_eq!(flaps(FLAP_WINDOW), told(60));
    assert_eq!(flaps(Ticks::from_ms(400)), told(1));
    assert_eq!(flaps(Ticks::from_ms(60_100)), []);
    let mut team = Watched::new(3);
    for number in [1, 2, 3] {
        let told = team.on(number, DOWN);
        assert!(!told.iter().any(|event| matches!(event, Event::MemberFlapping { .. })), "{told:?}");
    }
}

proptest! {
    /// Whatever happens: what was told last of each member and of the team is how they are.
    #[test]
    fn who_reads_all_that_is_told_knows_the_team(steps in prop::collection::vec((1_u8..6, 0_u8..6), 0..200)) {
        let mut team = Watched::new(4);
        let mut known = [true, true, true, true, false];
        let mut whole = true;
        for (number, what) in steps {
            let event = match what {
                0 | 1 => UP,
                2 | 3 => DOWN,
                4 => MemberEvent::Connected,
                _ => MemberEvent::Disconnected,
            };
            for event in team.on(number, event) {
                match event {
                    Event::MemberDown { member, .. } => {
                        prop_assert!(std::mem::replace(&mut known[member.slot()], false));
                    }
                    Event::MemberUp { member, .. } => {
                        prop_assert!(!std::mem::replace(&mut known[member.slot()], true));
                    }
                    Event::TeamDegraded { .. } | Event::TeamDown { .. } => whole = false,
                    Event::TeamWhole { .. } => prop_assert!(!std::mem::replace(&mut whole, true)),
                    _ => {}
                }
            }
            let up = known.iter().filter(|up| **up).count();
            let connected = team.team.members().filter(|(_, member)| member.state.is_connected()).count();
            prop_assert!(connected == 0 || whole == (up == connected), "{up} of {connected} up, {whole}");
        }
    }
}
