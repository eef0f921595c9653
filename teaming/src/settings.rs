//! The tuning values: one table of names, ranges and defaults, and the settings read by it.
//!
//! The driver reads registry values through it; the INF, the documentation and the tools are checked against it.
//! A value that is missing takes its default silently; one of the wrong type or out of range takes it with an issue.

use core::fmt;

use crate::flow::hash::DEFAULT_SEED;
use crate::flow::{HashPolicy, Keying};
use crate::frame::TunnelPorts;
use crate::ids::{LinkLocalSet, Ticks};
use crate::offload::OffloadPlacement;
use crate::team::buckets::RebalanceTimers;
use crate::team::member::Delays;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setting {
    pub name: &'static str,
    pub kind: SettingKind,
    pub default: u64,
    pub help: &'static str,
    pub takes_effect: TakesEffect,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SettingKind {
    Number {
        min: u64,
        max: u64,
    },
    /// Values and the words for them.
    Choice(&'static [(u64, &'static str)]),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TakesEffect {
    AtOnce,
    AtRestart,
}

pub const SETTINGS: &[Setting] = &[
    TEAMING_MODE,
    LOAD_BALANCING_ALGORITHM,
    USE_IPV6_FLOW_LABEL,
    SYMMETRIC_HASH,
    USE_ADAPTER_HASH,
    HASH_SEED,
    LINK_UP_DELAY_MS,
    FLOWLET_GAP_US,
    MOVE_DEADLINE_MS,
    OFFLOAD_PLACEMENT,
    LINK_LOCAL_FORWARD_MASK,
    PRUNE_MULTICAST,
    PRIVATE_OIDS,
    VXLAN_PORT,
    GENEVE_PORT,
];

const TEAMING_MODE: Setting = Setting {
    name: "TeamingMode",
    kind: SettingKind::Choice(&[(0, "Static"), (1, "SwitchIndependent")]),
    default: 1,
    help: "What the physical switch knows of the team: Static if its ports are one group, else SwitchIndependent.",
    takes_effect: TakesEffect::AtOnce,
};

const LOAD_BALANCING_ALGORITHM: Setting = Setting {
    name: "LoadBalancingAlgorithm",
    kind: SettingKind::Choice(HashPolicy::CHOICES),
    default: 4,
    help: "What stays together on one member. All but HyperVPort and VlanSourceMac need TeamingMode Static.",
    takes_effect: TakesEffect::AtOnce,
};

const OFF_OR_ON: SettingKind = SettingKind::Choice(&[(0, "off"), (1, "on")]);

const USE_IPV6_FLOW_LABEL: Setting = Setting {
    name: "UseIpv6FlowLabel",
    kind: OFF_OR_ON,
    default: 0,
    help: "Lets the flow label of IPv6 stand for the ports, with TransportPorts and Encapsulated.",
    takes_effect: TakesEffect::AtOnce,
};

const SYMMETRIC_HASH: Setting = Setting {
    name: "SymmetricHash",
    kind: OFF_OR_ON,
    default: 0,
    help: "Gives both directions of a flow one member; flow labels and IPsec indexes then do not count.",
    takes_effect: TakesEffect::AtOnce,
};

const USE_ADAPTER_HASH: Setting = Setting {
    name: "UseAdapterHash",
    kind: OFF_OR_ON,
    default: 0,
    help: "Spreads by Toeplitz and takes an adapter's value for ours once it has proved equal.",
    takes_effect: TakesEffect::AtOnce,
};

/// UDP ports; 0 stands for none.
const PORT: SettingKind = SettingKind::Number { min: 0, max: 65_535 };

const VXLAN_PORT: Setting = Setting {
    name: "VxlanPort",
    kind: PORT,
    default: 0,
    help: "UDP port at which VXLAN is read beside 4789, with Encapsulated; 0 is none.",
    takes_effect: TakesEffect::AtOnce,
};

const GENEVE_PORT: Setting = Setting {
    name: "GenevePort",
    kind: PORT,
    default: 0,
    help: "UDP port at which GENEVE is read beside 6081, with Encapsulated; 0 is none.",
    takes_effect: TakesEffect::AtOnce,
};

const HASH_SEED: Setting = Setting {
    name: "HashSeed",
    kind: SettingKind::Number { min: 0, max: u64::MAX },
    default: 0,
    help: "Seed of the flow hash; 0 is the product's own. Equal on hosts between which machines migrate.",
    takes_effect: TakesEffect::AtOnce,
};

const LINK_UP_DELAY_MS: Setting = Setting {
    name: "LinkUpDelayMs",
    kind: SettingKind::Number { min: 0, max: 60_000 },
    default: 2_000,
    help: "Milliseconds that a link that came back must stay up before it carries traffic; 0 uses it at once.",
    takes_effect: TakesEffect::AtOnce,
};

const FLOWLET_GAP_US: Setting = Setting {
    name: "FlowletGapUs",
    kind: SettingKind::Number { min: 0, max: 500_000 },
    default: 500,
    help: "Microseconds of silence after which flows may change member without reordering; 0 moves them at once.",
    takes_effect: TakesEffect::AtOnce,
};

const MOVE_DEADLINE_MS: Setting = Setting {
    name: "MoveDeadlineMs",
    kind: SettingKind::Number { min: 0, max: 600_000 },
    default: 30_000,
    help: "Milliseconds after which flows that never fall silent change member anyway; 0 waits for ever.",
    takes_effect: TakesEffect::AtOnce,
};

const OFFLOAD_PLACEMENT: Setting = Setting {
    name: "OffloadPlacement",
    kind: SettingKind::Choice(&[(0, "FollowFlows"), (1, "SingleMember"), (2, "EveryMember")]),
    default: 1,
    help: "Which member holds a partition's queues: the one its traffic arrives on, one for all, or every one.",
    takes_effect: TakesEffect::AtOnce,
};

const LINK_LOCAL_FORWARD_MASK: Setting = Setting {
    name: "LinkLocalForwardMask",
    kind: SettingKind::Number { min: 0, max: 0x1_FFFF },
    default: 0,
    help: "Groups whose frames cross the external port: bit n for 01-80-C2-00-00-0n, bit 16 for 01-00-0C-CC-CC-CD.",
    takes_effect: TakesEffect::AtOnce,
};

const PRUNE_MULTICAST: Setting = Setting {
    name: "PruneMulticast",
    kind: OFF_OR_ON,
    default: 0,
    help: "Gives a vNIC whose groups are known only multicast frames to these; off gives every vNIC all.",
    takes_effect: TakesEffect::AtOnce,
};

const PRIVATE_OIDS: Setting = Setting {
    name: "PrivateOids",
    kind: OFF_OR_ON,
    default: 0,
    help: "Sends the vendor-private OIDs that the key PrivateOids names for single adapters.",
    takes_effect: TakesEffect::AtOnce,
};

impl Setting {
    pub fn accepts(&self, value: u64) -> bool {
        match self.kind {
            SettingKind::Number { min, max } => (min..=max).contains(&value),
            SettingKind::Choice(choices) => choices.iter().any(|&(choice, _)| choice == value),
        }
    }

    /// The value that was found, or the default where there is none.
    pub fn taken(&self, found: Lookup) -> Result<u64, Problem> {
        match found {
            Lookup::Missing => Ok(self.default),
            Lookup::Value(value) if self.accepts(value) => Ok(value),
            Lookup::Value(value) => Err(Problem::OutOfRange(value)),
            Lookup::WrongType => Err(Problem::WrongType),
        }
    }
}

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
    pub flowlet_gap: Ticks,
    /// None waits for ever.
    pub move_deadline: Option<Ticks>,
    /// Where resources are made from now on; those that exist stay where they are.
    pub offload_placement: OffloadPlacement,
    pub link_local_forwarded: LinkLocalSet,
    pub prune_multicast: bool,
    pub private_oids: bool,
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
    pub fn read(mut lookup: impl FnMut(&Setting) -> Lookup) -> (Self, Issues) {
        let mut issues = Issues::new();
        let mut value = |setting: &'static Setting| {
            setting.taken(lookup(setting)).unwrap_or_else(|problem| {
                raise(&mut issues, setting, problem);
                setting.default
            })
        };
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
        let flowlet_gap = Ticks::from_us(value(&FLOWLET_GAP_US));
        let move_deadline =
            Some(Ticks::from_ms(value(&MOVE_DEADLINE_MS))).filter(|&span| span != Ticks::ZERO);
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
        let mut policy = HashPolicy::from_number(algorithm).unwrap_or(HashPolicy::HyperVPort);
        // A physical switch that does not know of the team would see a VM's address flap between its ports.
        if mode == TeamingMode::SwitchIndependent && !policy.keeps_an_address_on_one_member() {
            let problem = Problem::NotInMode(algorithm, mode);
            raise(&mut issues, &LOAD_BALANCING_ALGORITHM, problem);
            policy = HashPolicy::HyperVPort;
        }
        let settings = Self {
            mode,
            policy,
            use_ipv6_flow_label,
            symmetric_hash,
            use_adapter_hash,
            tunnels,
            seed,
            link_up_delay,
            flowlet_gap,
            move_deadline,
            offload_placement,
            link_local_forwarded,
            prune_multicast,
            private_oids,
        };
        (settings, issues)
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
        Delays { link_up: self.link_up_delay }
    }

    pub const fn rebalance_timers(&self) -> RebalanceTimers {
        RebalanceTimers { gap: self.flowlet_gap, deadline: self.move_deadline }
    }
}

fn raise(issues: &mut Issues, setting: &'static Setting, problem: Problem) {
    // Every setting is asked once and raises at most once, so there is always room.
    let _ = issues.push(SettingIssue { setting, problem });
}

impl fmt::Display for SettingKind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number { min, max } => write!(out, "{min} to {max}"),
            Self::Choice(choices) => {
                for (position, (value, word)) in choices.iter().enumerate() {
                    let comma = if position == 0 { "" } else { ", " };
                    write!(out, "{comma}{value} {word}")?;
                }
                Ok(())
            }
        }
    }
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
            flowlet_gap: Ticks::from_us(500),
            move_deadline: Some(Ticks::from_ms(30_000)),
            offload_placement: OffloadPlacement::SingleMember,
            link_local_forwarded: LinkLocalSet::EMPTY,
            prune_multicast: false,
            private_oids: false,
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
