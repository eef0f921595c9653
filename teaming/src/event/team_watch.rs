//! What an administrator wants to know of a team's changes: which member went or came, and what that makes of the team.

use crate::Storage;
use crate::event::Event;
use crate::ids::{MemberIndex, Ticks};
use crate::team::member::MemberState;
use crate::team::{Team, TeamView};

/// A member that goes down so often within `FLAP_WINDOW` is flapping.
pub const FLAP_TIMES: u32 = 3;
pub const FLAP_WINDOW: Ticks = Ticks::from_ms(60_000);

/// When a member went down the last two times; zero for never, and after it was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Downs([Ticks; 2]);

impl Downs {
    pub const NONE: Self = Self([Ticks::ZERO; 2]);

    /// Notes that the member goes down. If it is flapping, the time since the first of the times that make it so.
    fn add(&mut self, now: Ticks) -> Option<Ticks> {
        let [first, second] = self.0;
        let is_flapping = first != Ticks::ZERO && now.since(first) <= FLAP_WINDOW;
        // What was told counts no more: the next is told after so many more.
        self.0 = if is_flapping { [Ticks::ZERO; 2] } else { [second, now] };
        is_flapping.then(|| now.since(first))
    }
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
}

impl<S: Storage> TeamWatch<S> {
    pub fn new(downs: S::Of<Downs>) -> Self {
        Self { downs, told: Told::Whole }
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
            tell(Event::MemberUp { member, up });
        }
        let states = team.members().map(|(_, member)| member.state);
        let connected = states.filter(|state: &MemberState| state.is_connected()).count();
        self.judge(up, u32::try_from(connected).unwrap_or(u32::MAX), tell);
    }

    fn went_down(&mut self, member: MemberIndex, now: Ticks) -> Option<Ticks> {
        self.downs.get_mut(member.slot())?.add(now)
    }

    fn judge(&mut self, up: u32, connected: u32, mut tell: impl FnMut(Event)) {
        // Of a team without members its last one has told.
        if connected == 0 {
            return;
        }
        if up >= connected {
            if self.told != Told::Whole {
                tell(Event::TeamWhole { connected });
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
