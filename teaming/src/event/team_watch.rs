//! What an administrator wants to know of a team's changes: which member went or came, and what that makes of the team.

use crate::Storage;
use crate::event::{CarryReason, Event, RestReason};
use crate::ids::{MemberIndex, MemberSet, Ticks};
use crate::team::member::Role;
use crate::team::{Team, TeamView};

/// A member that goes down so often within `FLAP_WINDOW` is flapping.
pub const FLAP_TIMES: u32 = 3;
pub const FLAP_WINDOW: Ticks = Ticks::from_ms(60_000);

/// What is known of a member's failures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Downs {
    /// When it went down the last two times; zero for never, and after it was told that it flaps.
    times: [Ticks; 2],
    /// When it went down; zero while it is up, and before it ever was.
    since: Ticks,
}

impl Downs {
    pub const NONE: Self = Self { times: [Ticks::ZERO; 2], since: Ticks::ZERO };

    /// Notes that the member goes down. If it is flapping, the time since the first of the times that make it so.
    fn add(&mut self, now: Ticks) -> Option<Ticks> {
        self.since = now;
        let [first, second] = self.times;
        let is_flapping = first != Ticks::ZERO && now.since(first) <= FLAP_WINDOW;
        // What was told counts no more: the next is told after so many more.
        self.times = if is_flapping { [Ticks::ZERO; 2] } else { [second, now] };
        is_flapping.then(|| now.since(first))
    }

    /// Notes that the member comes up, and tells for how long it was out: milliseconds, 0 if it never was up.
    fn end(&mut self, now: Ticks) -> u64 {
        ms_since(core::mem::replace(&mut self.since, Ticks::ZERO), now)
    }
}

/// Whole milliseconds since a time; 0 if that is none.
fn ms_since(since: Ticks, now: Ticks) -> u64 {
    if since == Ticks::ZERO { 0 } else { now.since(since).as_us() / 1_000 }
}

/// What was last told of the team as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    Whole,
    /// With so many members up.
    Degraded(u32),
    Down,
}

pub struct TeamWatch<S: Storage> {
    /// `MEMBERS` long.
    downs: S::Of<Downs>,
    told: Told,
    /// The members that were up.
    up: MemberSet,
    /// It was told that fewer carry than are to.
    too_few: bool,
    /// When the team last ceased to be whole.
    since: Ticks,
}

impl<S: Storage> TeamWatch<S> {
    pub fn new(downs: S::Of<Downs>) -> Self {
        Self { downs, told: Told::Whole, up: MemberSet::EMPTY, too_few: false, since: Ticks::ZERO }
    }

    /// Tells what a change of the team is for an administrator. `team` is the team after the change, `view` the change.
    pub fn observe(&mut self, team: &Team<S>, view: &TeamView, now: Ticks, mut tell: impl FnMut(Event)) {
        let now_up = team.up();
        let before = core::mem::replace(&mut self.up, now_up);
        let (went_down, came_up) = (before.minus(now_up), now_up.minus(before));
        let up = now_up.len();
        for member in went_down.iter() {
            let reason = team.member(member).state.failure_reason();
            tell(Event::MemberDown { member, reason, up });
            if let Some(within) = self.went_down(member, now) {
                let seconds = within.as_us().div_ceil(1_000_000);
                let seconds = u32::try_from(seconds).unwrap_or(u32::MAX);
                tell(Event::MemberFlapping { member, times: FLAP_TIMES, seconds });
            }
        }
        for member in came_up.iter() {
            let out_ms = self.downs.get_mut(member.slot()).map_or(0, |downs| downs.end(now));
            tell(Event::MemberUp { member, up, out_ms });
        }
        let connected = team.connected().len();
        self.judge(up, connected, now, &mut tell);
        self.tell_roles(team, view, came_up, tell);
    }

    /// Tells what roles make of it: who carries and who rests without having come up or gone down.
    fn tell_roles(
        &mut self,
        team: &Team<S>,
        view: &TeamView,
        came_up: MemberSet,
        mut tell: impl FnMut(Event),
    ) {
        let carriers = team.carriers().len();
        for member in view.came_up.iter() {
            let is_standby = team.member(member).settings.role == Role::Standby;
            if is_standby || !came_up.contains(member) {
                let reason = if is_standby { CarryReason::StandsIn } else { CarryReason::TakesItsPlace };
                tell(Event::MemberCarries { member, reason, carriers });
            }
        }
        for member in view.went_down.intersection(self.up).iter() {
            let is_out = team.member(member).settings.out_of_service;
            let reason = if is_out { RestReason::OutOfService } else { RestReason::Standby };
            tell(Event::MemberRests { member, reason, carriers });
        }
        let minimum = team.minimum_links();
        let too_few = carriers < minimum && !team.connected().is_empty();
        if too_few && !self.too_few {
            tell(Event::FewerThanMinimum { carriers, minimum });
        }
        self.too_few = too_few;
    }

    fn went_down(&mut self, member: MemberIndex, now: Ticks) -> Option<Ticks> {
        self.downs.get_mut(member.slot())?.add(now)
    }

    fn judge(&mut self, up: u32, connected: u32, now: Ticks, tell: &mut impl FnMut(Event)) {
        // Of a team without members its last one has told.
        if connected == 0 {
            return;
        }
        if self.told == Told::Whole {
            self.since = now;
        }
        if up >= connected {
            if self.told != Told::Whole {
                tell(Event::TeamWhole { connected, out_ms: ms_since(self.since, now) });
            }
            self.told = Told::Whole;
        } else if up == 0 {
            if self.told != Told::Down {
                tell(Event::TeamDown { connected });
            }
            self.told = Told::Down;
        } else {
            let is_worse = match self.told {
                Told::Whole => true,
                Told::Degraded(before) => up < before,
                Told::Down => false,
            };
            if is_worse {
                tell(Event::TeamDegraded { up, connected });
            }
            self.told = Told::Degraded(up);
        }
    }
}
