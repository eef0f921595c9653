//! The table: name, range, default and help of each value.

use core::fmt;

use super::{Lookup, Problem};
use crate::flow::HashPolicy;

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
    FLAP_HOLD_DOWN_MS,
    FAILBACK_POLICY,
    MINIMUM_LINKS,
    FLOWLET_GAP_US,
    MOVE_DEADLINE_MS,
    ANNOUNCEMENTS,
    ANNOUNCEMENT_BURST,
    OFFLOAD_PLACEMENT,
    LINK_LOCAL_FORWARD_MASK,
    PRUNE_MULTICAST,
    PRIVATE_OIDS,
    VXLAN_PORT,
    GENEVE_PORT,
    SURVEY,
];

pub(super) const TEAMING_MODE: Setting = Setting {
    name: "TeamingMode",
    kind: SettingKind::Choice(&[(0, "Static"), (1, "SwitchIndependent")]),
    default: 1,
    help: "What the physical switch knows of the team: Static if its ports are one group, else SwitchIndependent.",
    takes_effect: TakesEffect::AtOnce,
};

pub(super) const LOAD_BALANCING_ALGORITHM: Setting = Setting {
    name: "LoadBalancingAlgorithm",
    kind: SettingKind::Choice(HashPolicy::CHOICES),
    default: 4,
    help: "What stays together on one member. All but HyperVPort and VlanSourceMac need TeamingMode Static.",
    takes_effect: TakesEffect::AtOnce,
};

pub const OFF_OR_ON: SettingKind = SettingKind::Choice(&[(0, "off"), (1, "on")]);

pub(super) const USE_IPV6_FLOW_LABEL: Setting = Setting {
    name: "UseIpv6FlowLabel",
    kind: OFF_OR_ON,
    default: 0,
    help: "Lets the flow label of IPv6 stand for the ports, with TransportPorts and Encapsulated.",
    takes_effect: TakesEffect::AtOnce,
};

pub(super) const SYMMETRIC_HASH: Setting = Setting {
    name: "SymmetricHash",
    kind: OFF_OR_ON,
    default: 0,
    help: "Gives both directions of a flow one member; flow labels and IPsec indexes then do not count.",
    takes_effect: TakesEffect::AtOnce,
};

pub(super) const USE_ADAPTER_HASH: Setting = Setting {
    name: "UseAdapterHash",
    kind: OFF_OR_ON,
    default: 0,
    help: "Spreads by Toeplitz and takes an adapter's value for ours once it has proved equal.",
    takes_effect: TakesEffect::AtOnce,
};

/// UDP ports; 0 stands for none.
const PORT: SettingKind = SettingKind::Number { min: 0, max: 65_535 };

pub(super) const VXLAN_PORT: Setting = Setting {
    name: "VxlanPort",
    kind: PORT,
    default: 0,
    help: "UDP port at which VXLAN is read beside 4789, with Encapsulated; 0 is none.",
    takes_effect: TakesEffect::AtOnce,
};

pub(super) const GENEVE_PORT: Setting = Setting {
    name: "GenevePort",
    kind: PORT,
    default: 0,
    help: "UDP port at which GENEVE is read beside 6081, with Encapsulated; 0 is none.",
    takes_effect: TakesEffect::AtOnce,
};

pub(super) const HASH_SEED: Setting = Setting {
    name: "HashSeed",
    kind: SettingKind::Number { min: 0, max: u64::MAX },
    default: 0,
    help: "Seed of the flow hash; 0 is the product's own. Equal on hosts between which machines migrate.",
    takes_effect: TakesEffect::AtOnce,
};

pub(super) const LINK_UP_DELAY_MS: Setting = Setting {
    name: "LinkUpDelayMs",
    kind: SettingKind::Number { min: 0, max: 60_000 },
    default: 2_000,
    help: "Milliseconds that a link that came back must stay up before it carries traffic; 0 uses it at once.",
    takes_effect: TakesEffect::AtOnce,
};

pub(super) const FLAP_HOLD_DOWN_MS: Setting = Setting {
    name: "FlapHoldDownMs",
    kind: SettingKind::Number { min: 0, max: 600_000 },
    default: 60_000,
    help: "Most milliseconds that a link that fails again is kept out: LinkUpDelayMs, doubled each time; 0 is off.",
    takes_effect: TakesEffect::AtOnce,
};

pub(super) const FAILBACK_POLICY: Setting = Setting {
    name: "FailbackPolicy",
    kind: SettingKind::Choice(&[(0, "Always"), (1, "Better"), (2, "Never")]),
    default: 0,
    help: "Whether a member that is back takes its place from a stand-in: always, with a higher Priority, or never.",
    takes_effect: TakesEffect::AtOnce,
};

pub(super) const MINIMUM_LINKS: Setting = Setting {
    name: "MinimumLinks",
    kind: SettingKind::Number { min: 0, max: 32 },
    default: 0,
    help: "So many members carry traffic at least, standby members among them; fewer are told as an error; 0 is one.",
    takes_effect: TakesEffect::AtOnce,
};

pub(super) const FLOWLET_GAP_US: Setting = Setting {
    name: "FlowletGapUs",
    kind: SettingKind::Number { min: 0, max: 500_000 },
    default: 500,
    help: "Microseconds of silence after which flows may change member without reordering; 0 moves them at once.",
    takes_effect: TakesEffect::AtOnce,
};

pub(super) const MOVE_DEADLINE_MS: Setting = Setting {
    name: "MoveDeadlineMs",
    kind: SettingKind::Number { min: 0, max: 600_000 },
    default: 30_000,
    help: "Milliseconds after which flows that never fall silent change member anyway; 0 waits for ever.",
    takes_effect: TakesEffect::AtOnce,
};

pub(super) const ANNOUNCEMENTS: Setting = Setting {
    name: "Announcements",
    kind: SettingKind::Number { min: 0, max: 10 },
    default: 3,
    help: "How often each address that changed member is told to the physical network, a second apart; 0 is off.",
    takes_effect: TakesEffect::AtOnce,
};

pub(super) const ANNOUNCEMENT_BURST: Setting = Setting {
    name: "AnnouncementBurst",
    kind: SettingKind::Number { min: 0, max: 65_535 },
    default: 1_024,
    help: "Announcements that may leave at once; as many more follow after 16 ms; 0 is any number.",
    takes_effect: TakesEffect::AtOnce,
};

pub(super) const OFFLOAD_PLACEMENT: Setting = Setting {
    name: "OffloadPlacement",
    kind: SettingKind::Choice(&[(0, "FollowFlows"), (1, "SingleMember"), (2, "EveryMember")]),
    default: 1,
    help: "Which member holds a partition's queues: the one its traffic arrives on, one for all, or every one.",
    takes_effect: TakesEffect::AtOnce,
};

pub(super) const LINK_LOCAL_FORWARD_MASK: Setting = Setting {
    name: "LinkLocalForwardMask",
    kind: SettingKind::Number { min: 0, max: 0x1_FFFF },
    default: 0,
    help: "Groups whose frames cross the external port: bit n for 01-80-C2-00-00-0n, bit 16 for 01-00-0C-CC-CC-CD.",
    takes_effect: TakesEffect::AtOnce,
};

pub(super) const PRUNE_MULTICAST: Setting = Setting {
    name: "PruneMulticast",
    kind: OFF_OR_ON,
    default: 0,
    help: "Gives a vNIC whose groups are known only multicast frames to these; off gives every vNIC all.",
    takes_effect: TakesEffect::AtOnce,
};

pub(super) const PRIVATE_OIDS: Setting = Setting {
    name: "PrivateOids",
    kind: OFF_OR_ON,
    default: 0,
    help: "Sends the vendor-private OIDs that the key PrivateOids names for single adapters.",
    takes_effect: TakesEffect::AtOnce,
};

pub(super) const SURVEY: Setting = Setting {
    name: "Survey",
    kind: OFF_OR_ON,
    default: 0,
    help: "Records for trace sessions what Windows passes to the extension: codes, lengths, headers; no packets.",
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
