//! The tuning values of one member, which are kept by its adapter's GUID and not by its index: the switch may give an adapter
//! another index after a restart. Read and told about as `settings` does.

use core::num::NonZeroU32;

use crate::settings::{Lookup, OFF_OR_ON, Setting, SettingIssue, SettingKind, TakesEffect};
use crate::team::member::{MemberSettings, Role};

pub const MEMBER_SETTINGS: &[Setting] = &[WEIGHT, ROLE, PRIORITY, OUT_OF_SERVICE];

/// The largest weight: ten times the fastest link there is, in Mb/s.
const WEIGHT_MOST: u64 = 10_000_000;

const WEIGHT: Setting = Setting {
    name: "Weight",
    kind: SettingKind::Number { min: 0, max: WEIGHT_MOST },
    default: 0,
    help: "Share of the flows that the member gets: as one whose link has that many Mb/s; 0 goes by its link speed.",
    takes_effect: TakesEffect::AtOnce,
};

const ROLE: Setting = Setting {
    name: "Role",
    kind: SettingKind::Choice(&[(0, "Active"), (1, "Standby")]),
    default: 0,
    help: "Active carries traffic whenever it can; Standby only in place of a member that cannot.",
    takes_effect: TakesEffect::AtOnce,
};

const PRIORITY: Setting = Setting {
    name: "Priority",
    kind: SettingKind::Number { min: 0, max: 255 },
    default: 0,
    help: "Of members with one role, the one with the higher number is taken first.",
    takes_effect: TakesEffect::AtOnce,
};

const OUT_OF_SERVICE: Setting = Setting {
    name: "OutOfService",
    kind: OFF_OR_ON,
    default: 0,
    help: "Moves all flows off the member in gaps of their traffic, and keeps them off, as for work on its cable.",
    takes_effect: TakesEffect::AtOnce,
};

/// At most one issue a setting.
pub type MemberIssues = heapless::Vec<SettingIssue, { MEMBER_SETTINGS.len() }>;

/// Reads the settings of one adapter.
pub fn read(mut lookup: impl FnMut(&Setting) -> Lookup) -> (MemberSettings, MemberIssues) {
    let mut issues = MemberIssues::new();
    let mut value = |setting: &'static Setting| {
        setting.taken(lookup(setting)).unwrap_or_else(|problem| {
            // Every setting is asked once and raises at most once, so there is always room.
            let _ = issues.push(SettingIssue { setting, problem });
            setting.default
        })
    };
    let weight = u32::try_from(value(&WEIGHT)).ok().and_then(NonZeroU32::new);
    let role = if value(&ROLE) == 1 { Role::Standby } else { Role::Active };
    let priority = u8::try_from(value(&PRIORITY)).unwrap_or(0);
    let out_of_service = value(&OUT_OF_SERVICE) == 1;
    (MemberSettings { weight, role, priority, out_of_service }, issues)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn the_table_is_sound() {
        for setting in MEMBER_SETTINGS {
            assert!(setting.accepts(setting.default), "{}", setting.name);
            assert!(setting.help.len() <= 110 && setting.help.ends_with('.'));
            assert!(crate::settings::SETTINGS.iter().all(|other| other.name != setting.name));
        }
    }

    fn one(name: &str, found: Lookup) -> (MemberSettings, std::vec::Vec<std::string::String>) {
        let (settings, issues) = read(|setting| if setting.name == name { found } else { Lookup::Missing });
        (settings, issues.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn values_in_their_range_are_taken() {
        const NONE: MemberSettings = MemberSettings::DEFAULT;
        let mut rows = std::vec![
            ("Role", 0, NONE),
            ("Role", 1, MemberSettings { role: Role::Standby, ..NONE }),
            ("Priority", 0, NONE),
            ("Priority", 255, MemberSettings { priority: 255, ..NONE }),
            ("OutOfService", 0, NONE),
            ("OutOfService", 1, MemberSettings { out_of_service: true, ..NONE }),
            ("Weight", 0, NONE),
        ];
        for weight in [1, 25_000, 10_000_000] {
            rows.push(("Weight", weight.into(), MemberSettings { weight: NonZeroU32::new(weight), ..NONE }));
        }
        for (name, value, taken) in rows {
            assert_eq!(one(name, Lookup::Value(value)), (taken, std::vec![]), "{name} {value}");
        }
        assert_eq!(one("", Lookup::Missing), (NONE, std::vec![]));
    }

    #[test]
    fn a_value_that_is_not_allowed_counts_as_the_default_and_is_told() {
        for (name, allowed, outside) in [
            ("Weight", "0 to 10000000", WEIGHT_MOST + 1),
            ("Role", "0 Active, 1 Standby", 2),
            ("Priority", "0 to 255", 256),
            ("OutOfService", "0 off, 1 on", 2),
        ] {
            for value in [outside, u32::MAX.into(), 1 << 32, u64::MAX] {
                let told = std::format!("{name} is {value}, allowed is {allowed}; using 0");
                assert_eq!(one(name, Lookup::Value(value)), (MemberSettings::DEFAULT, std::vec![told]));
            }
            let told = std::format!("{name} has the wrong type; using 0");
            assert_eq!(one(name, Lookup::WrongType), (MemberSettings::DEFAULT, std::vec![told]));
        }
    }
}
