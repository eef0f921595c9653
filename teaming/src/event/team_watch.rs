//! What an administrator wants to know of a team's changes: which member went or came, and what that makes of the team.

use crate::Storage;
use crate::event::Event;
use crate::ids::{MemberIndex, Ticks};
use crate::team::member::MemberState;
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
    /// When the team last ceased to be whole.
    since: Ticks,
}

impl<S: Storage> TeamWatch<S> {
    pub fn new(downs: S::Of<Downs>) -> Self {
        Self { downs, told: Told::Whole, since: Ticks::ZERO }
    }

    /// Tells what a change of the team is for an administrator. `team` is the team after the change, `view` the change.
    pub fn observe(&mut self, team: &Team<S>, view: &TeamView, now: Ticks, mut tell: impl FnMut(Event)) {
        let up = view.live.len();
        for member in view.went_down.iter() {
            let reason = team.member(member).state.failure_reason();
            tell(Event::MemberDown { member, reason, up });
            if let Some(within) = self.went_down(member, now) {
                let seconds = within.as_us().div_ceil(1_000_000);
                let seconds = u32::try_from(seconds).unwrap_or(u32::MAX);
                tell(Event::MemberFlapping { member, times: FLAP_TIMES, seconds });
            }
        }
        for member in view.came_up.iter() {
            let out_ms = self.downs.get_mut(member.slot()).map_or(0, |downs| downs.end(now));
            tell(Event::MemberUp { member, up, out_ms });
        }
        let states = team.members().map(|(_, member)| member.state);
        let connected = states.filter(|state: &MemberState| state.is_connected()).count();
        self.judge(up, u32::try_from(connected).unwrap_or(u32::MAX), now, tell);
    }

    fn went_down(&mut self, member: MemberIndex, now: Ticks) -> Option<Ticks> {
        self.downs.get_mut(member.slot())?.add(now)
    }

    fn judge(&mut self, up: u32, connected: u32, now: Ticks, mut tell: impl FnMut(Event)) {
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
