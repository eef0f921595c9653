//! The tuning values of one member, which are kept by its adapter's GUID and not by its index: the switch may give an adapter
//! another index after a restart. Read and told about as `settings` does.

use core::num::NonZeroU32;

use crate::settings::{Lookup, Setting, SettingIssue, SettingKind, TakesEffect};
use crate::team::member::MemberSettings;

pub const MEMBER_SETTINGS: &[Setting] = &[WEIGHT];

/// The largest weight: ten times the fastest link there is, in Mb/s.
const WEIGHT_MOST: u64 = 10_000_000;

const WEIGHT: Setting = Setting {
    name: "Weight",
    kind: SettingKind::Number { min: 0, max: WEIGHT_MOST },
    default: 0,
    help: "Share of the flows that the member gets: as one whose link has that many Mb/s; 0 goes by its link speed.",
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
    (MemberSettings { weight }, issues)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    fn all(found: Lookup) -> (MemberSettings, std::vec::Vec<std::string::String>) {
        let (settings, issues) = read(|_| found);
        (settings, issues.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn the_table_is_sound() {
        for setting in MEMBER_SETTINGS {
            assert!(setting.accepts(setting.default), "{}", setting.name);
            assert!(setting.help.len() <= 110 && setting.help.ends_with('.'));
            assert!(crate::settings::SETTINGS.iter().all(|other| other.name != setting.name));
        }
    }

    #[test]
    fn a_weight_in_its_range_is_taken_and_any_other_goes_by_speed_and_is_told() {
        assert_eq!(all(Lookup::Missing), (MemberSettings::DEFAULT, std::vec![]));
        assert_eq!(all(Lookup::Value(0)), (MemberSettings::DEFAULT, std::vec![]));
        for weight in [1, 25_000, 10_000_000] {
            let taken = MemberSettings { weight: NonZeroU32::new(weight) };
            assert_eq!(all(Lookup::Value(weight.into())), (taken, std::vec![]));
        }
        for value in [WEIGHT_MOST + 1, u32::MAX.into(), 1 << 32, u64::MAX] {
            let told = std::format!("Weight is {value}, allowed is 0 to {WEIGHT_MOST}; using 0");
            assert_eq!(all(Lookup::Value(value)), (MemberSettings::DEFAULT, std::vec![told]));
        }
        let told = "Weight has the wrong type; using 0".to_string();
        assert_eq!(all(Lookup::WrongType), (MemberSettings::DEFAULT, std::vec![told]));
    }
}
