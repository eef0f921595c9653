//! One member of the team: its link, its speed and the state machine that says whether it may carry traffic.
//!
//! Driven by `team`; knows nothing of the other members. An absent member may be connected without having been created.
//! A line is an event with its guard, a column a state before it, a cell the state after it, `-` the same state. A test
//! renders this matrix from the table below; `src/ARCHITECTURE.md` has it as a diagram.
//!
//! ```text
//!                        Absent    Created   Down      Settling  Active
//! Created                Created   -         -         -         -
//! Connected [link down]  Down      Down
//! Connected              Active    Active    -         -         -
//! Disconnected           -         -         Created   Created   Created
//! Deleted                -         Absent    Absent    Absent    Absent
//! Link [link down]                           -         Down      Down
//! Link [no delay]                            Active
//! Link                   -         -         Settling  -         -
//! Tick [delay passed]                                  Active
//! Tick                   -         -         -         -         -
//! NoneActive             -         -         -         Active    -
//! ```

use core::num::NonZeroU32;

use crate::ids::{AdapterId, Ticks};
use crate::state_machine::state_machine;
use crate::team::name::AdapterName;

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

/// How a member's link state is learned. A source takes the place of those above it in this list for as long as the NIC
/// is connected; of `Query` and `Indication` both go on to count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum LinkSource {
    /// Nothing has told it yet: the link counts as up.
    #[default]
    None,
    /// The operating system's interface of the adapter, which is polled.
    Interface,
    /// An answer of the adapter to OID_GEN_LINK_STATE.
    Query,
    /// A status indication that names the member.
    Indication,
}

impl LinkSource {
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "None",
            Self::Interface => "Interface",
            Self::Query => "Query",
            Self::Indication => "Indication",
        }
    }
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
    /// The link is back and must stay up until then.
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
    /// Time has passed; a member that has settled becomes active.
    Tick,
    /// No member is active. A link that may be unstable is better than none, so a settling member is used at once.
    NoneActive,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delays {
    /// How long a link that came back must stay up before it carries traffic.
    pub link_up: Ticks,
    /// At most so long, if it failed again and again; less than `link_up` holds nothing down longer.
    pub hold_down: Ticks,
}

/// A link that fails within this time after it came back is held down longer the next time.
const STABLE: Ticks = Ticks::from_ms(60_000);

impl Delays {
    /// The link-up delay of a member whose link has failed so many times in a row soon after it came back: doubled each
    /// time. Without a delay there is nothing to double.
    pub(super) fn after_failures(&self, failures: u8) -> Ticks {
        let doubled = 1_u64.checked_shl(failures.into()).unwrap_or(u64::MAX);
        let held = Ticks::new(self.link_up.get().saturating_mul(doubled));
        held.min(self.hold_down).max(self.link_up)
    }
}

/// What the guards of the transitions ask.
struct Conditions {
    link: LinkState,
    /// The member settles, and its delay is over.
    delay_passed: bool,
    now: Ticks,
    link_up_delay: Ticks,
}

impl Conditions {
    const fn link_down(&self) -> bool {
        matches!(self.link, LinkState::Down)
    }

    const fn delay_passed(&self) -> bool {
        self.delay_passed
    }

    fn no_delay(&self) -> bool {
        self.link_up_delay == Ticks::ZERO
    }
}

state_machine! {
    next, TRANSITIONS: MemberState on MemberEvent with at: &Conditions, from Absent
    {
        Created: Absent => Created;
        Created: Created | Down | Settling | Active => stays;
        Connected [link_down]: Absent | Created => Down { reason: FailureReason::PhysicalMediaDisconnected };
        Connected: Absent | Created => Active;
        Connected: Down | Settling | Active => stays;
        Disconnected: Absent | Created => stays;
        Disconnected: Down | Settling | Active => Created;
        Deleted: Absent => stays;
        Deleted: Created | Down | Settling | Active => Absent;
        Link [link_down]: Down => stays;
        Link [link_down]: Settling | Active => Down { reason: FailureReason::PhysicalMediaDisconnected };
        Link [no_delay]: Down => Active;
        Link: Down => Settling { until: at.now.saturating_add(at.link_up_delay) };
        Link: Absent | Created | Settling | Active => stays;
        Tick [delay_passed]: Settling => Active;
        Tick: Absent | Created | Down | Settling | Active => stays;
        NoneActive: Settling => Active;
        NoneActive: Absent | Created | Down | Active => stays;
    }
}

impl MemberState {
    /// The next state. `link` is the member's link with the event taken into account. Repeated and unmatched events
    /// are normal: enumeration and notification race (PORTNIC-31, PORTNIC-33 of the rule book).
    #[must_use]
    pub fn on(self, event: MemberEvent, link: LinkState, now: Ticks, link_up_delay: Ticks) -> Self {
        let delay_passed = matches!(self, Self::Settling { until } if now >= until);
        self.next(event, &Conditions { link, delay_passed, now, link_up_delay })
    }

    /// Known to the switch.
    pub const fn is_created(self) -> bool {
        !matches!(self, Self::Absent)
    }

    /// Connected to the switch, up or not: counts for the home map.
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

/// When a member carries traffic. Numbers equal those of the setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Role {
    /// Whenever it can.
    #[default]
    Active,
    /// In place of a member that cannot.
    Standby,
}

/// What an administrator has set for one adapter; read by `member_settings`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MemberSettings {
    /// In Mb/s, in place of the link's speed; `None` goes by the speed.
    pub weight: Option<NonZeroU32>,
    pub role: Role,
    /// The higher one is preferred.
    pub priority: u8,
    /// It carries nothing, whatever its link is.
    pub out_of_service: bool,
}

impl MemberSettings {
    /// Nothing is set.
    pub const DEFAULT: Self = Self { weight: None, role: Role::Active, priority: 0, out_of_service: false };
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Member {
    pub state: MemberState,
    pub link: LinkState,
    /// Where `link` comes from.
    pub source: LinkSource,
    /// The adapter under this index, by which the operating system is asked for the link's state.
    pub adapter: AdapterId,
    /// What the operating system shows of it.
    pub name: AdapterName,
    /// What is set for the adapter.
    pub settings: MemberSettings,
    /// Bits per second as last reported; kept while the link is down.
    pub speed: Option<u64>,
    /// The share the member has now; 0 while it is not connected.
    pub weight: u32,
    /// The weight with which it is in the home map; 0 = not in it.
    pub home_weight: u32,
    /// It carried traffic until it failed, and has not again since.
    pub has_lost_place: bool,
    /// How many times in a row the link failed soon after it had come back.
    pub failures: u8,
    /// When it came back last; `None` if it has not failed since it was connected.
    pub returned: Option<Ticks>,
}

impl Member {
    pub const ABSENT: Self = Self {
        state: MemberState::Absent,
        link: LinkState::Unknown,
        source: LinkSource::None,
        adapter: AdapterId::UNKNOWN,
        name: AdapterName::NONE,
        settings: MemberSettings::DEFAULT,
        speed: None,
        weight: 0,
        home_weight: 0,
        has_lost_place: false,
        failures: 0,
        returned: None,
    };

    /// Notes that a source reports a link state, and tells whether it counts. An interface that was read does not once
    /// another source has spoken, which may have been while it was read; nor does "unknown" about a member whose link
    /// state the interface tells.
    pub fn accepts(&mut self, source: LinkSource, link: LinkState) -> bool {
        if source == LinkSource::Interface && !self.is_silent() {
            return false;
        }
        if link == LinkState::Unknown {
            return LinkSource::Interface != source && LinkSource::Interface != self.source;
        }
        self.source = self.source.max(source);
        true
    }

    /// Notes the adapter and its name. Zeros, which the switch says until the adapter has been initialised, and an empty name
    /// change nothing; the name and the settings of another adapter are forgotten. Whether it is another adapter now.
    pub fn identify(&mut self, adapter: AdapterId, name: &[u8]) -> bool {
        let changed = adapter != AdapterId::UNKNOWN && adapter != self.adapter;
        if changed {
            if self.adapter != AdapterId::UNKNOWN {
                self.name = AdapterName::NONE;
            }
            (self.adapter, self.settings) = (adapter, MemberSettings::DEFAULT);
        }
        if !name.is_empty() {
            self.name.set(name);
        }
        changed
    }

    /// The weight that is set for it or that its speed gives it, in Mb/s; `None` if neither is known.
    pub fn own_weight(&self) -> Option<u32> {
        self.settings.weight.map(NonZeroU32::get).or_else(|| self.speed.map(by_speed))
    }

    /// It could carry traffic: it is up, and not taken out of service.
    pub fn is_able(&self) -> bool {
        self.state == MemberState::Active && !self.settings.out_of_service
    }

    /// Frames can arrive on it, whether it carries any or not.
    pub fn is_receiving(&self) -> bool {
        self.state.is_connected() && self.link != LinkState::Down
    }

    /// Neither an indication nor an answer has told the link state.
    pub fn is_silent(&self) -> bool {
        self.source <= LinkSource::Interface
    }

    /// Applies an event.
    pub fn on(&mut self, event: MemberEvent, now: Ticks, delays: &Delays) {
        match event {
            MemberEvent::Link(link) => {
                self.link = link;
                if let LinkState::Up { bits_per_second: Some(speed) } = link {
                    self.speed = Some(speed);
                }
            }
            // The next NIC with this index may be another adapter.
            MemberEvent::Deleted => {
                (self.link, self.source) = (LinkState::Unknown, LinkSource::None);
                (self.adapter, self.name) = (AdapterId::UNKNOWN, AdapterName::NONE);
                (self.settings, self.has_lost_place) = (MemberSettings::DEFAULT, false);
                (self.failures, self.returned) = (0, None);
            }
            // What changes while the NIC is disconnected is indicated to nobody.
            MemberEvent::Disconnected => self.source = LinkSource::None,
            MemberEvent::Created | MemberEvent::Connected | MemberEvent::Tick | MemberEvent::NoneActive => {}
        }
        let before = self.state;
        self.state = before.on(event, self.link, now, delays.after_failures(self.failures));
        match (before, self.state) {
            (MemberState::Active, MemberState::Down { .. }) => {
                let soon = self.returned.is_some_and(|returned| now.since(returned) < STABLE);
                self.failures = if soon { self.failures.saturating_add(1) } else { 0 };
            }
            (MemberState::Down { .. } | MemberState::Settling { .. }, MemberState::Active) => {
                self.returned = Some(now);
            }
            _ => {}
        }
    }
}

/// Mb/s, at least 1.
fn by_speed(bits_per_second: u64) -> u32 {
    u32::try_from(bits_per_second / 1_000_000).unwrap_or(u32::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state_machine::picture::assert_drawn;
    use std::fmt::Write;
    use std::string::String;

    const MEDIA_DOWN: MemberState = MemberState::Down { reason: FailureReason::PhysicalMediaDisconnected };
    const DELAYS: Delays = Delays { link_up: Ticks::from_ms(2), hold_down: Ticks::ZERO };
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
            ("Tick", MemberEvent::Tick, UP),
            ("NoneActive", MemberEvent::NoneActive, UP),
        ];
        let mut text = String::from("\n");
        write!(text, "{:<19}", "").unwrap();
        states.iter().for_each(|&state| write!(text, "{:<15}", label(state)).unwrap());
        for (name, event, link) in events {
            write!(text, "\n{name:<19}").unwrap();
            for state in states {
                write!(text, "{:<15}", label(state.on(event, link, Ticks::from_ms(5), DELAYS.link_up)))
                    .unwrap();
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
Tick               Absent         Created        Down           Active         Settling(6000) Active
NoneActive         Absent         Created        Down           Active         Active         Active";
        assert_eq!(matrix(), expected, "{}", matrix());
    }

    #[test]
    fn the_documents_show_the_transitions_as_they_are() {
        assert_drawn(include_str!("member.rs"), "//! ", &MemberState::TRANSITIONS.matrix());
        let architecture = include_str!("../../../src/ARCHITECTURE.md");
        assert_drawn(architecture, "", &MemberState::TRANSITIONS.mermaid());
    }

    #[test]
    fn every_state_is_reached() {
        assert_eq!(MemberState::TRANSITIONS.unreachable(), [""; 0]);
    }

    #[test]
    fn without_a_delay_a_link_that_is_back_carries_traffic_at_once() {
        assert_eq!(MEDIA_DOWN.on(MemberEvent::Link(UP), UP, Ticks::ZERO, Ticks::ZERO), MemberState::Active);
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
    fn a_source_counts_until_a_better_one_has_spoken() {
        use LinkSource::{Indication, Interface, None, Query};
        const DOWN: LinkState = LinkState::Down;
        // What was known, what is reported, whether that counts, and which source is in force then.
        let rows = [
            (None, Interface, UP, true, Interface),
            (None, Interface, LinkState::Unknown, false, None),
            (None, Query, DOWN, true, Query),
            (None, Query, LinkState::Unknown, true, None),
            (None, Indication, UP, true, Indication),
            (None, Indication, LinkState::Unknown, true, None),
            (Interface, Interface, DOWN, true, Interface),
            (Interface, Interface, LinkState::Unknown, false, Interface),
            (Interface, Query, UP, true, Query),
            (Interface, Query, LinkState::Unknown, false, Interface),
            (Interface, Indication, DOWN, true, Indication),
            (Interface, Indication, LinkState::Unknown, false, Interface),
            (Query, Interface, UP, false, Query),
            (Query, Query, DOWN, true, Query),
            (Query, Indication, UP, true, Indication),
            (Indication, Interface, DOWN, false, Indication),
            (Indication, Query, UP, true, Indication),
            (Indication, Indication, LinkState::Unknown, true, Indication),
        ];
        for (source, reported, link, counts, after) in rows {
            let mut member = Member { source, ..Member::ABSENT };
            assert_eq!(member.accepts(reported, link), counts, "{} after {}", reported.name(), source.name());
            assert_eq!(member.source, after, "{} after {}", reported.name(), source.name());
        }
    }

    #[test]
    fn a_source_is_forgotten_with_the_connection_and_the_adapter_with_the_nic() {
        const SEVEN: AdapterId = AdapterId::new([7; 16]);
        let mut member = Member { adapter: SEVEN, ..Member::ABSENT };
        assert!(member.accepts(LinkSource::Indication, LinkState::Down));
        for (event, source, adapter) in [
            (MemberEvent::Created, LinkSource::Indication, SEVEN),
            (MemberEvent::Connected, LinkSource::Indication, SEVEN),
            (MemberEvent::Disconnected, LinkSource::None, SEVEN),
            (MemberEvent::Deleted, LinkSource::None, AdapterId::UNKNOWN),
        ] {
            member.on(event, Ticks::ZERO, &DELAYS);
            assert_eq!((member.source, member.adapter), (source, adapter), "{event:?}");
        }
    }

    #[test]
    fn what_is_known_of_an_adapter_stays_until_it_is_another_or_the_nic_is_gone() {
        let (a, b) = (AdapterId::new([1; 16]), AdapterId::new([2; 16]));
        let none = AdapterId::UNKNOWN;
        // What the switch says, and what is known then.
        let rows: [(AdapterId, &[u8], AdapterId, &str); 7] = [
            (none, b"", none, ""),
            (none, b"X\0", none, "X"),
            (a, b"", a, "X"),
            (none, b"", a, "X"),
            (a, b"Y\0", a, "Y"),
            (b, b"", b, ""),
            (b, b"Z\0", b, "Z"),
        ];
        let mut member = Member::ABSENT;
        for (adapter, name, known, shown) in rows {
            member.identify(adapter, name);
            assert_eq!((member.adapter, &*std::format!("{}", member.name)), (known, shown));
        }
        member.on(MemberEvent::Disconnected, Ticks::ZERO, &DELAYS);
        assert_eq!(member.adapter, b);
        member.on(MemberEvent::Deleted, Ticks::ZERO, &DELAYS);
        assert_eq!((member.adapter, member.name), (none, AdapterName::NONE));
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
