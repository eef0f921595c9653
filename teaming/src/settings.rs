//! The tuning values: one table of names, ranges and defaults, and the settings read by it.
//!
//! The driver reads registry values through it; the INF, the documentation and the tools are checked against it.
//! A value that is missing takes its default silently; one of the wrong type or out of range takes it with an issue.

mod table;

use core::fmt;

use crate::flow::hash::DEFAULT_SEED;
use crate::flow::{HashPolicy, Keying};
use crate::frame::TunnelPorts;
use crate::ids::{LinkLocalSet, Ticks};
use crate::offload::OffloadPlacement;
use crate::team::buckets::RebalanceTimers;
use crate::team::carriers::{CarrierRules, Failback};
use crate::team::member::Delays;
use table::{
    ANNOUNCEMENT_BURST, ANNOUNCEMENTS, FAILBACK_POLICY, FLAP_HOLD_DOWN_MS, FLOWLET_GAP_US, GENEVE_PORT,
    HASH_SEED, LINK_LOCAL_FORWARD_MASK, LINK_UP_DELAY_MS, LOAD_BALANCING_ALGORITHM, MINIMUM_LINKS,
    MOVE_DEADLINE_MS, OFFLOAD_PLACEMENT, PRIVATE_OIDS, PRUNE_MULTICAST, SURVEY, SYMMETRIC_HASH, TEAMING_MODE,
    USE_ADAPTER_HASH, USE_IPV6_FLOW_LABEL, VXLAN_PORT,
};
pub use table::{OFF_OR_ON, SETTINGS, Setting, SettingKind, TakesEffect};

/// Numbers equal LBFO's `TeamingMode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TeamingMode {
    Static,
    SwitchIndependent,
}

impl TeamingMode {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Static => "Static",
            Self::SwitchIndependent => "SwitchIndependent",
        }
    }
}

/// How the physical network is told of moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Announcing {
    /// How often each address is told; 0 tells nothing.
    pub times: u8,
    /// How many may be told at once.
    pub burst: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    pub mode: TeamingMode,
    pub policy: HashPolicy,
    pub use_ipv6_flow_label: bool,
    pub symmetric_hash: bool,
    /// Flows are hashed by Toeplitz, which an adapter may have computed.
    pub use_adapter_hash: bool,
    pub tunnels: TunnelPorts,
    /// Never the 0 of the registry: that stands for `DEFAULT_SEED`.
    pub seed: u64,
    pub link_up_delay: Ticks,
    /// The longest delay of a link that fails again and again.
    pub flap_hold_down: Ticks,
    pub carriers: CarrierRules,
    pub flowlet_gap: Ticks,
    /// None waits for ever.
    pub move_deadline: Option<Ticks>,
    /// Where resources are made from now on; those that exist stay where they are.
    pub offload_placement: OffloadPlacement,
    pub announcing: Announcing,
    pub link_local_forwarded: LinkLocalSet,
    pub prune_multicast: bool,
    pub private_oids: bool,
    pub survey: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self::read(|_| Lookup::Missing).0
    }
}

/// The result of looking up a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lookup {
    Missing,
    Value(u64),
    WrongType,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Problem {
    WrongType,
    OutOfRange(u64),
    /// In range, but not with the teaming mode.
    NotInMode(u64, TeamingMode),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SettingIssue {
    pub setting: &'static Setting,
    pub problem: Problem,
}

impl SettingIssue {
    /// The value in its place.
    pub const fn used(&self) -> u64 {
        self.setting.default
    }
}

/// At most one issue a setting.
pub type Issues = heapless::Vec<SettingIssue, { SETTINGS.len() }>;

impl Settings {
    pub fn read(lookup: impl FnMut(&Setting) -> Lookup) -> (Self, Issues) {
        let mut issues = Issues::new();
        (Self::read_into(lookup, &mut issues), issues)
    }

    /// The same with the issues in a place of the caller's, which has the stack for them once.
    pub fn read_into(mut lookup: impl FnMut(&Setting) -> Lookup, issues: &mut Issues) -> Self {
        let mut value = |setting| take(setting, &mut lookup, issues);
        let mode = match value(&TEAMING_MODE) {
            0 => TeamingMode::Static,
            _ => TeamingMode::SwitchIndependent,
        };
        let algorithm = value(&LOAD_BALANCING_ALGORITHM);
        let use_ipv6_flow_label = value(&USE_IPV6_FLOW_LABEL) == 1;
        let symmetric_hash = value(&SYMMETRIC_HASH) == 1;
        let use_adapter_hash = value(&USE_ADAPTER_HASH) == 1;
        let seed = match value(&HASH_SEED) {
            0 => DEFAULT_SEED,
            seed => seed,
        };
        let link_up_delay = Ticks::from_ms(value(&LINK_UP_DELAY_MS));
        let flap_hold_down = Ticks::from_ms(value(&FLAP_HOLD_DOWN_MS));
        let failback = match value(&FAILBACK_POLICY) {
            0 => Failback::Always,
            1 => Failback::Better,
            _ => Failback::Never,
        };
        let minimum_links = u32::try_from(value(&MINIMUM_LINKS)).unwrap_or(0);
        let flowlet_gap = Ticks::from_us(value(&FLOWLET_GAP_US));
        let move_deadline =
            Some(Ticks::from_ms(value(&MOVE_DEADLINE_MS))).filter(|&span| span != Ticks::ZERO);
        let announcing = Announcing {
            times: u8::try_from(value(&ANNOUNCEMENTS)).unwrap_or(0),
            burst: match value(&ANNOUNCEMENT_BURST) {
                0 => u32::MAX,
                burst => u32::try_from(burst).unwrap_or(u32::MAX),
            },
        };
        let offload_placement = match value(&OFFLOAD_PLACEMENT) {
            0 => OffloadPlacement::FollowFlows,
            1 => OffloadPlacement::SingleMember,
            _ => OffloadPlacement::EveryMember,
        };
        let link_local_forwarded = LinkLocalSet::from_mask(value(&LINK_LOCAL_FORWARD_MASK));
        let prune_multicast = value(&PRUNE_MULTICAST) == 1;
        let private_oids = value(&PRIVATE_OIDS) == 1;
        // Values are within the range of a port.
        let tunnels = TunnelPorts {
            vxlan: u16::try_from(value(&VXLAN_PORT)).unwrap_or(0),
            geneve: u16::try_from(value(&GENEVE_PORT)).unwrap_or(0),
        };
        let survey = value(&SURVEY) == 1;
        let mut policy = HashPolicy::from_number(algorithm).unwrap_or(HashPolicy::HyperVPort);
        // A physical switch that does not know of the team would see a VM's address flap between its ports.
        if mode == TeamingMode::SwitchIndependent && !policy.keeps_an_address_on_one_member() {
            let problem = Problem::NotInMode(algorithm, mode);
            raise(issues, &LOAD_BALANCING_ALGORITHM, problem);
            policy = HashPolicy::HyperVPort;
        }
        Self {
            mode,
            policy,
            use_ipv6_flow_label,
            symmetric_hash,
            use_adapter_hash,
            tunnels,
            seed,
            link_up_delay,
            flap_hold_down,
            carriers: CarrierRules { failback, minimum_links },
            flowlet_gap,
            move_deadline,
            offload_placement,
            announcing,
            link_local_forwarded,
            prune_multicast,
            private_oids,
            survey,
        }
    }

    pub const fn keying(&self) -> Keying {
        Keying {
            policy: self.policy,
            flow_label: self.use_ipv6_flow_label,
            symmetric: self.symmetric_hash,
            tunnels: self.tunnels,
        }
    }

    pub const fn delays(&self) -> Delays {
        Delays { link_up: self.link_up_delay, hold_down: self.flap_hold_down }
    }

    pub const fn rebalance_timers(&self) -> RebalanceTimers {
        RebalanceTimers { gap: self.flowlet_gap, deadline: self.move_deadline }
    }
}

/// The value of a setting, or its default with an issue.
#[inline(never)] // called for each setting
fn take(setting: &'static Setting, lookup: &mut dyn FnMut(&Setting) -> Lookup, issues: &mut Issues) -> u64 {
    setting.taken(lookup(setting)).unwrap_or_else(|problem| {
        raise(issues, setting, problem);
        setting.default
    })
}

fn raise(issues: &mut Issues, setting: &'static Setting, problem: Problem) {
    // Every setting is asked once and raises at most once, so there is always room.
    let _ = issues.push(SettingIssue { setting, problem });
}

impl fmt::Display for SettingIssue {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Setting { name, kind, .. } = self.setting;
        match self.problem {
            Problem::WrongType => write!(out, "{name} has the wrong type")?,
            Problem::OutOfRange(value) => write!(out, "{name} is {value}, allowed is {kind}")?,
            Problem::NotInMode(value, mode) => {
                write!(out, "{name} is {value}, not possible with {}", mode.name())?
            }
        }
        write!(out, "; using {}", self.used())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::POLICIES;
    use std::string::{String, ToString};
    use std::vec::Vec;

    fn read(values: &[(&str, Lookup)]) -> (Settings, Vec<String>) {
        let find = |setting: &Setting| {
            values.iter().find(|(name, _)| *name == setting.name).map(|(_, found)| *found)
        };
        let (settings, issues) = Settings::read(|setting| find(setting).unwrap_or(Lookup::Missing));
        (settings, issues.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn without_values_everything_is_as_documented_and_nothing_is_said() {
        let (settings, issues) = read(&[]);
        assert_eq!(settings, Settings::default());
        let expected = Settings {
            mode: TeamingMode::SwitchIndependent,
            policy: HashPolicy::HyperVPort,
            use_ipv6_flow_label: false,
            symmetric_hash: false,
            use_adapter_hash: false,
            tunnels: TunnelPorts::REGISTERED,
            seed: DEFAULT_SEED,
            link_up_delay: Ticks::from_ms(2000),
            flap_hold_down: Ticks::from_ms(60_000),
            carriers: CarrierRules::default(),
            flowlet_gap: Ticks::from_us(500),
            move_deadline: Some(Ticks::from_ms(30_000)),
            offload_placement: OffloadPlacement::SingleMember,
            announcing: Announcing { times: 3, burst: 1_024 },
            link_local_forwarded: LinkLocalSet::EMPTY,
            prune_multicast: false,
            private_oids: false,
            survey: false,
        };
        assert_eq!((settings, issues.len()), (expected, 0));
    }

    #[test]
    fn the_table_is_sound() {
        for setting in SETTINGS {
            assert!(setting.accepts(setting.default), "{}", setting.name);
            assert!(setting.help.len() <= 110 && setting.help.ends_with('.'));
            assert_eq!(SETTINGS.iter().filter(|other| other.name == setting.name).count(), 1);
        }
    }

    #[test]
    fn every_option_has_its_field() {
        let plain = Keying::plain(HashPolicy::HyperVPort);
        let of = |vxlan, geneve| Keying { tunnels: TunnelPorts { vxlan, geneve }, ..plain };
        for (name, expected) in [
            ("UseIpv6FlowLabel", Keying { flow_label: true, ..plain }),
            ("SymmetricHash", Keying { symmetric: true, ..plain }),
            ("VxlanPort", of(1, 0)),
            ("GenevePort", of(0, 1)),
            ("TeamingMode", plain),
        ] {
            let (settings, issues) = read(&[(name, Lookup::Value(1))]);
            assert_eq!((settings.keying(), issues.len()), (expected, 0));
        }
    }

    #[test]
    fn every_value_out_of_range_falls_back_with_an_issue_that_names_it() {
        for setting in SETTINGS {
            let (outside, range) = match setting.kind {
                SettingKind::Number { max: u64::MAX, .. } => continue,
                SettingKind::Number { min, max } => (max + 1, std::format!("{min} to {max}")),
                SettingKind::Choice(choices) => {
                    assert!((0..choices.len() as u64 + 5).any(|value| !setting.accepts(value)));
                    ((0..).find(|&value| !setting.accepts(value)).unwrap(), choices[0].1.to_string())
                }
            };
            for value in [outside, u64::from(u32::MAX), u64::MAX] {
                let (settings, issues) = read(&[(setting.name, Lookup::Value(value))]);
                assert_eq!(settings, Settings::default());
                let [issue] = issues.as_slice() else { panic!("{issues:?}") };
                for part in
                    [setting.name, &value.to_string(), &range, &std::format!("using {}", setting.default)]
                {
                    assert!(issue.contains(part), "{issue} lacks {part}");
                }
            }
        }
    }

    #[test]
    fn every_value_of_the_wrong_type_falls_back_with_an_issue() {
        let (settings, issues) = Settings::read(|_| Lookup::WrongType);
        assert_eq!((settings, issues.len()), (Settings::default(), SETTINGS.len()));
        assert!(
            issues.iter().zip(SETTINGS).all(|(issue, setting)| issue.to_string().starts_with(setting.name))
        );
    }

    #[test]
    fn both_ends_of_every_range_are_taken() {
        let (settings, issues) = read(&[
            ("LinkUpDelayMs", Lookup::Value(60_000)),
            ("FlowletGapUs", Lookup::Value(500_000)),
            ("MoveDeadlineMs", Lookup::Value(600_000)),
            ("HashSeed", Lookup::Value(u64::MAX)),
        ]);
        assert!(issues.is_empty());
        assert_eq!(settings.delays().link_up, Ticks::from_ms(60_000));
        assert_eq!(
            settings.rebalance_timers(),
            RebalanceTimers { gap: Ticks::from_ms(500), deadline: Some(Ticks::from_ms(600_000)) }
        );
        assert_eq!(settings.seed, u64::MAX);
        let (settings, _) = read(&[("FlowletGapUs", Lookup::Value(0)), ("MoveDeadlineMs", Lookup::Value(0))]);
        assert_eq!(settings.rebalance_timers(), RebalanceTimers { gap: Ticks::ZERO, deadline: None });
    }

    #[test]
    fn the_help_names_the_policies_that_any_team_may_have() {
        let names = POLICIES.into_iter().filter(|policy| policy.keeps_an_address_on_one_member());
        let names: Vec<&str> = names.map(HashPolicy::name).collect();
        let sentence = std::format!("All but {} need TeamingMode Static.", names.join(" and "));
        assert!(LOAD_BALANCING_ALGORITHM.help.ends_with(&sentence), "{sentence}");
    }

    #[test]
    fn only_a_static_team_spreads_one_address_over_its_members() {
        let rows = [
            (0, 0, HashPolicy::TransportPorts, 0),
            (0, 2, HashPolicy::IpAddresses, 0),
            (0, 3, HashPolicy::MacAddresses, 0),
            (0, 4, HashPolicy::HyperVPort, 0),
            (0, 6, HashPolicy::VlanSourceMac, 0),
            (0, 7, HashPolicy::Encapsulated, 0),
            (1, 0, HashPolicy::HyperVPort, 1),
            (1, 2, HashPolicy::HyperVPort, 1),
            (1, 3, HashPolicy::HyperVPort, 1),
            (1, 4, HashPolicy::HyperVPort, 0),
            (1, 6, HashPolicy::VlanSourceMac, 0),
            (1, 7, HashPolicy::HyperVPort, 1),
        ];
        for (mode, algorithm, policy, issue_count) in rows {
            let (settings, issues) = read(&[
                ("TeamingMode", Lookup::Value(mode)),
                ("LoadBalancingAlgorithm", Lookup::Value(algorithm)),
            ]);
            assert_eq!((settings.policy, issues.len()), (policy, issue_count));
        }
        let (_, issues) = read(&[("LoadBalancingAlgorithm", Lookup::Value(0))]);
        assert_eq!(issues, ["LoadBalancingAlgorithm is 0, not possible with SwitchIndependent; using 4"]);
    }
}
