//! One member of the team: its link, its speed and the state machine that says whether it may carry traffic.
//!
//! Driven by `team`, which also makes settling members active at once when no other member is. Knows nothing of the
//! other members. An absent member may be connected without having been created; then it goes on as a created one does.
//!
//! ```text
//!                      Created                 Connected, link up or unknown
//!            Absent ------------> Created ------------------------------------> Active
//!               ^                 ^   |                                        ^  |  ^
//!    Deleted,   |   Disconnected, |   | Connected, link down       DelayPassed |  |  |
//!    from any   |        from any |   |                               Settling-+  |  |
//!               |                 |   v                                 ^  |      |  |
//!               +-----------------+-- Down <----------- link down ------|--+      |  |
//!                                      | ^                              |         |  |
//!                                      | +------------- link down ------|---------+  |
//!                                      |                                |            |
//!                                      +-- link up or unknown, delay ---+            |
//!                                      +-- link up or unknown, no delay -------------+
//! ```

use crate::ids::Ticks;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LinkState {
    /// Not asked yet, or the adapter does not know: usable.
    #[default]
    Unknown,
    Up {
        bits_per_second: Option<u64>,
    },
    Down,
}

/// Why a member carries no traffic, in LBFO's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureReason {
    NoFailure,
    AdministrativeDecision,
    PhysicalMediaDisconnected,
    WaitingForStableConnectivity,
    LacpNegotiationIssue,
    NicNotPresent,
}

impl FailureReason {
    pub const fn name(self) -> &'static str {
        match self {
            Self::NoFailure => "NoFailure",
            Self::AdministrativeDecision => "AdministrativeDecision",
            Self::PhysicalMediaDisconnected => "PhysicalMediaDisconnected",
            Self::WaitingForStableConnectivity => "WaitingForStableConnectivity",
            Self::LacpNegotiationIssue => "LacpNegotiationIssue",
            Self::NicNotPresent => "NicNotPresent",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MemberState {
    #[default]
    Absent,
    /// Known to the switch but not (or no longer) connected.
    Created,
    Down {
        reason: FailureReason,
    },
    /// The link is back; it must stay until the moment named.
    Settling {
        until: Ticks,
    },
    Active,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemberEvent {
    Created,
    Connected,
    Disconnected,
    Deleted,
    Link(LinkState),
    /// Time has passed: a member whose settling is over becomes active.
    DelayPassed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delays {
    /// How long a link that came back must stay up before it carries traffic.
    pub link_up: Ticks,
}

const MEDIA_DOWN: MemberState = MemberState::Down { reason: FailureReason::PhysicalMediaDisconnected };

impl MemberState {
    /// The next state. `link` is the member's link with the event taken into account. Repeated and unmatched events
    /// are normal: enumeration and notification race (PORTNIC-31, PORTNIC-33 of the rule book).
    #[must_use]
    pub fn on(self, event: MemberEvent, link: LinkState, now: Ticks, delays: &Delays) -> Self {
        match (self, event) {
            (_, MemberEvent::Deleted) | (Self::Absent, MemberEvent::Disconnected) => Self::Absent,
            (Self::Absent, MemberEvent::Link(_) | MemberEvent::DelayPassed) => Self::Absent,
            (Self::Absent | Self::Created, MemberEvent::Connected) => Self::connected(link),
            (Self::Absent | Self::Created, MemberEvent::Created) => Self::Created,
            (Self::Created, MemberEvent::Link(_) | MemberEvent::DelayPassed) => Self::Created,
            (
                Self::Created | Self::Down { .. } | Self::Settling { .. } | Self::Active,
                MemberEvent::Disconnected,
            ) => Self::Created,
            (
                Self::Down { .. } | Self::Settling { .. } | Self::Active,
                MemberEvent::Link(LinkState::Down),
            ) => MEDIA_DOWN,
            (Self::Down { .. }, MemberEvent::Link(LinkState::Up { .. } | LinkState::Unknown)) => {
                Self::returned(now, delays)
            }
            (Self::Settling { until }, MemberEvent::DelayPassed) if now >= until => Self::Active,
            (
                Self::Down { .. } | Self::Settling { .. } | Self::Active,
                MemberEvent::Created | MemberEvent::Connected | MemberEvent::DelayPassed,
            )
            | (
                Self::Settling { .. } | Self::Active,
                MemberEvent::Link(LinkState::Up { .. } | LinkState::Unknown),
            ) => self,
        }
    }

    const fn connected(link: LinkState) -> Self {
        match link {
            LinkState::Up { .. } | LinkState::Unknown => Self::Active,
            LinkState::Down => MEDIA_DOWN,
        }
    }

    fn returned(now: Ticks, delays: &Delays) -> Self {
        match delays.link_up {
            Ticks::ZERO => Self::Active,
            delay => Self::Settling { until: now.saturating_add(delay) },
        }
    }

    /// Connected to the switch, in whatever shape: counts as a member for the home map.
    pub const fn is_connected(self) -> bool {
        match self {
            Self::Absent | Self::Created => false,
            Self::Down { .. } | Self::Settling { .. } | Self::Active => true,
        }
    }

    pub const fn failure_reason(self) -> FailureReason {
        match self {
            Self::Absent => FailureReason::NicNotPresent,
            Self::Created => FailureReason::AdministrativeDecision,
            Self::Down { reason } => reason,
            Self::Settling { .. } => FailureReason::WaitingForStableConnectivity,
            Self::Active => FailureReason::NoFailure,
        }
    }

    pub const fn name(self) -> &'static str {
        match self {
            Self::Absent => "Absent",
            Self::Created => "Created",
            Self::Down { .. } => "Down",
            Self::Settling { .. } => "Settling",
            Self::Active => "Active",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Member {
    pub state: MemberState,
    pub link: LinkState,
    /// Bits per second as last reported; kept while the link is down.
    pub speed: Option<u64>,
    /// The share the member has now; 0 while it is not connected.
    pub weight: u32,
    /// The weight with which it is in the home map; 0 = not in it.
    pub home_weight: u32,
}

impl Member {
    pub const ABSENT: Self =
        Self { state: MemberState::Absent, link: LinkState::Unknown, speed: None, weight: 0, home_weight: 0 };

    /// Takes an event in.
    pub fn on(&mut self, event: MemberEvent, now: Ticks, delays: &Delays) {
        match event {
            MemberEvent::Link(link) => {
                self.link = link;
                if let LinkState::Up { bits_per_second: Some(speed) } = link {
                    self.speed = Some(speed);
                }
            }
            // The next NIC with this index may be another adapter.
            MemberEvent::Deleted => self.link = LinkState::Unknown,
            MemberEvent::Created
            | MemberEvent::Connected
            | MemberEvent::Disconnected
            | MemberEvent::DelayPassed => {}
        }
        self.state = self.state.on(event, self.link, now, delays);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Write;
    use std::string::String;

    const DELAYS: Delays = Delays { link_up: Ticks::from_ms(2) };
    const UP: LinkState = LinkState::Up { bits_per_second: Some(10_000_000_000) };

    fn label(state: MemberState) -> String {
        match state {
            MemberState::Settling { until } => std::format!("Settling({})", until.as_us()),
            other => other.name().into(),
        }
    }

    /// Rows are events, columns the states before; now is 5000 us, the first settling member is due at 5000.
    fn matrix() -> String {
        let states = [
            MemberState::Absent,
            MemberState::Created,
            MEDIA_DOWN,
            MemberState::Settling { until: Ticks::from_ms(5) },
            MemberState::Settling { until: Ticks::from_ms(6) },
            MemberState::Active,
        ];
        let events = [
            ("Created", MemberEvent::Created, LinkState::Unknown),
            ("Connected, unknown", MemberEvent::Connected, LinkState::Unknown),
            ("Connected, up", MemberEvent::Connected, UP),
            ("Connected, down", MemberEvent::Connected, LinkState::Down),
            ("Disconnected", MemberEvent::Disconnected, UP),
            ("Deleted", MemberEvent::Deleted, LinkState::Unknown),
            ("Link unknown", MemberEvent::Link(LinkState::Unknown), LinkState::Unknown),
            ("Link up", MemberEvent::Link(UP), UP),
            ("Link down", MemberEvent::Link(LinkState::Down), LinkState::Down),
            ("DelayPassed", MemberEvent::DelayPassed, UP),
        ];
        let mut text = String::from("\n");
        write!(text, "{:<19}", "").unwrap();
        states.iter().for_each(|&state| write!(text, "{:<15}", label(state)).unwrap());
        for (name, event, link) in events {
            write!(text, "\n{name:<19}").unwrap();
            for state in states {
                write!(text, "{:<15}", label(state.on(event, link, Ticks::from_ms(5), &DELAYS))).unwrap();
            }
        }
        let lines: std::vec::Vec<&str> = text.lines().map(str::trim_end).collect();
        lines.join("\n")
    }

    #[test]
    fn every_event_in_every_state_leads_where_the_matrix_says() {
        let expected = "
                   Absent         Created        Down           Settling(5000) Settling(6000) Active
Created            Created        Created        Down           Settling(5000) Settling(6000) Active
Connected, unknown Active         Active         Down           Settling(5000) Settling(6000) Active
Connected, up      Active         Active         Down           Settling(5000) Settling(6000) Active
Connected, down    Down           Down           Down           Settling(5000) Settling(6000) Active
Disconnected       Absent         Created        Created        Created        Created        Created
Deleted            Absent         Absent         Absent         Absent         Absent         Absent
Link unknown       Absent         Created        Settling(7000) Settling(5000) Settling(6000) Active
Link up            Absent         Created        Settling(7000) Settling(5000) Settling(6000) Active
Link down          Absent         Created        Down           Down           Down           Down
DelayPassed        Absent         Created        Down           Active         Settling(6000) Active";
        assert_eq!(matrix(), expected, "{}", matrix());
    }

    #[test]
    fn without_a_delay_a_link_that_is_back_carries_traffic_at_once() {
        let delays = Delays { link_up: Ticks::ZERO };
        assert_eq!(MEDIA_DOWN.on(MemberEvent::Link(UP), UP, Ticks::ZERO, &delays), MemberState::Active);
    }

    #[test]
    fn the_speed_is_kept_while_the_link_is_down_and_the_link_is_forgotten_with_the_nic() {
        let mut member = Member::ABSENT;
        for event in [
            MemberEvent::Created,
            MemberEvent::Connected,
            MemberEvent::Link(UP),
            MemberEvent::Link(LinkState::Down),
        ] {
            member.on(event, Ticks::ZERO, &DELAYS);
        }
        assert_eq!((member.state, member.speed), (MEDIA_DOWN, Some(10_000_000_000)));
        member.on(MemberEvent::Disconnected, Ticks::ZERO, &DELAYS);
        member.on(MemberEvent::Connected, Ticks::ZERO, &DELAYS);
        assert_eq!(member.state, MEDIA_DOWN);
        member.on(MemberEvent::Deleted, Ticks::ZERO, &DELAYS);
        member.on(MemberEvent::Connected, Ticks::ZERO, &DELAYS);
        assert_eq!((member.state, member.link), (MemberState::Active, LinkState::Unknown));
    }

    #[test]
    fn every_state_has_its_reason() {
        let rows = [
            (MemberState::Absent, FailureReason::NicNotPresent),
            (MemberState::Created, FailureReason::AdministrativeDecision),
            (MEDIA_DOWN, FailureReason::PhysicalMediaDisconnected),
            (MemberState::Settling { until: Ticks::ZERO }, FailureReason::WaitingForStableConnectivity),
            (MemberState::Active, FailureReason::NoFailure),
        ];
        for (state, reason) in rows {
            assert_eq!(state.failure_reason(), reason);
        }
    }
}
