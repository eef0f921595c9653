//! What the driver would ignore of the values in a file, by its own reader; and what has no effect beside the others.

use super::reg::{Data, Entry};
use crate::nearest;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use teaming::flow::HashPolicy;
use teaming::member_settings::MEMBER_SETTINGS;
use teaming::private_oid;
use teaming::settings::{Lookup, Problem, SETTINGS, Setting, Settings};

#[derive(Serialize, Debug, PartialEq, Eq)]
pub struct Fault {
    /// A name that does not change.
    pub id: &'static str,
    /// Where it was found.
    pub place: String,
    /// What is wrong, with name, value and range.
    pub found: String,
    /// What to do.
    pub fix: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} {}", self.found, self.fix)
    }
}

/// All that is to be corrected, in the order of the entries.
pub fn faults(entries: &[Entry]) -> Vec<Fault> {
    let mut all = Vec::new();
    entries.iter().for_each(|entry| alone(entry, &mut all));
    let scopes: BTreeSet<&str> = entries.iter().filter_map(|entry| scope(&entry.key)).chain([""]).collect();
    for scope in scopes {
        together(entries, scope, &mut all);
    }
    private(entries, &mut all);
    all
}

/// A key whose values are those of all switches, or of one.
fn scope(key: &str) -> Option<&str> {
    let mut parts = key.split('\\');
    match (parts.next(), parts.next(), parts.next()) {
        (Some(""), None, None) => Some(key),
        (Some(first), Some(_), None) if first.eq_ignore_ascii_case("Switches") => Some(key),
        _ => None,
    }
}

fn same(one: &str, other: &str) -> bool {
    one.eq_ignore_ascii_case(other)
}

/// What the values of a key are.
enum Kind {
    Settings(&'static [Setting]),
    PrivateOids,
    Unknown,
}

fn kind(key: &str) -> Kind {
    let parts: Vec<&str> = key.split('\\').collect();
    match *parts.as_slice() {
        [""] => Kind::Settings(SETTINGS),
        [first, _] if same(first, "Switches") => Kind::Settings(SETTINGS),
        [first, _, third, _] if same(first, "Switches") && same(third, "Members") => {
            Kind::Settings(MEMBER_SETTINGS)
        }
        [first, _] if same(first, "PrivateOids") => Kind::PrivateOids,
        _ => Kind::Unknown,
    }
}

fn alone(entry: &Entry, all: &mut Vec<Fault>) {
    let Entry { key, name, data, place } = entry;
    let mut add = |id, found: String, fix: String| all.push(Fault { id, place: place.clone(), found, fix });
    let table = match kind(key) {
        Kind::Settings(table) => table,
        Kind::PrivateOids => return,
        Kind::Unknown => {
            let keys = r"Switches\{id}, Switches\{id}\Members\{GUID} and PrivateOids\{GUID}";
            return add(
                "unknown-key",
                format!("{name} stands in the key {key}, which the driver does not read."),
                format!("Below Parameters it reads {keys}."),
            );
        }
    };
    let Some(setting) = table.iter().find(|setting| same(setting.name, name)) else {
        let others: &[Setting] = if table == SETTINGS { MEMBER_SETTINGS } else { SETTINGS };
        let fix = if others.iter().any(|other| same(other.name, name)) {
            if table == SETTINGS {
                r"Write it below Switches\{id}\Members\{GUID of the adapter}.".to_owned()
            } else {
                r"Write it below Parameters or Switches\{id}.".to_owned()
            }
        } else {
            format!(
                "Delete it; nearest are {}.",
                nearest::of(name, table.iter().map(|known| known.name)).join(", ")
            )
        };
        return add("unknown-name", format!("{name} is no setting of this key."), fix);
    };
    let fix =
        format!("Write {} with {}; without a value {} applies.", setting.name, setting.kind, setting.default);
    match setting.taken(data.lookup()) {
        Ok(_) => {}
        Err(Problem::WrongType) => {
            let written = match data {
                Data::Other(text) => text.clone(),
                Data::Binary(bytes) => crate::text::count_of(*bytes as u64, "byte"),
                Data::Dword(_) | Data::Qword(_) => String::new(),
            };
            add("wrong-type", format!("{} is {written}, and no REG_DWORD or REG_QWORD.", setting.name), fix);
        }
        Err(_) => {
            let value = data.as_number().unwrap_or(0);
            add("out-of-range", format!("{} is {value}, allowed is {}.", setting.name, setting.kind), fix);
        }
    }
}

/// The values that apply to a switch: its own, or else those of all switches.
fn together(entries: &[Entry], scope: &str, all: &mut Vec<Fault>) {
    let of = |key: &str, name: &str| {
        entries.iter().rfind(|entry| same(&entry.key, key) && same(&entry.name, name))
    };
    let entry = |name: &str| of(scope, name).or_else(|| of("", name));
    let values: BTreeMap<&'static str, u64> = SETTINGS
        .iter()
        .filter_map(|setting| {
            let value = entry(setting.name)?.data.as_number()?;
            setting.accepts(value).then_some((setting.name, value))
        })
        .collect();
    let own = |name: &str| scope.is_empty() || of(scope, name).is_some();
    for (name, found, fix) in needs(&values) {
        // What is so for all switches is said once.
        if scope.is_empty()
            || values.keys().any(|set| own(set))
                && !needs(&common(entries)).iter().any(|(n, f, _)| *n == name && *f == found)
        {
            let place = entry(name).map_or_else(String::new, |entry| entry.place.clone());
            all.push(Fault { id: "needs", place, found, fix });
        }
    }
}

fn common(entries: &[Entry]) -> BTreeMap<&'static str, u64> {
    let value = |setting: &Setting| {
        let entry = entries.iter().rfind(|entry| entry.key.is_empty() && same(&entry.name, setting.name))?;
        entry.data.as_number().filter(|value| setting.accepts(*value))
    };
    SETTINGS.iter().filter_map(|setting| Some((setting.name, value(setting)?))).collect()
}

/// A setting, what is wrong, and what to do.
type Need = (&'static str, String, String);

/// What needs another value beside it: the driver ignores it, or it has no effect.
fn needs(values: &BTreeMap<&'static str, u64>) -> Vec<Need> {
    let read =
        |setting: &Setting| values.get(setting.name).map_or(Lookup::Missing, |value| Lookup::Value(*value));
    let (_, issues) = Settings::read(read);
    let mut all: Vec<Need> = Vec::new();
    for issue in issues {
        if let Problem::NotInMode(value, mode) = issue.problem {
            let word = HashPolicy::from_number(value).map_or("", HashPolicy::name);
            all.push((
                issue.setting.name,
                format!(
                    "{} is {value} {word}, which needs TeamingMode 0 Static; with {} the driver takes {}.",
                    issue.setting.name,
                    mode.name(),
                    issue.used()
                ),
                "Set TeamingMode to 0 if the physical switch aggregates the ports, or LoadBalancingAlgorithm to 4 or 6.".to_owned(),
            ));
        }
    }
    all.extend(without_effect(|name| values.get(name).copied()));
    all
}

/// Settings that do nothing beside the others. `value`: of a setting by its name, if one is set that is allowed.
pub fn without_effect(value: impl Fn(&str) -> Option<u64>) -> Vec<Need> {
    let read = |setting: &Setting| value(setting.name).map_or(Lookup::Missing, Lookup::Value);
    let (settings, _) = Settings::read(read);
    let (policy, word) = (settings.policy, settings.policy.name());
    let ports = matches!(policy, HashPolicy::TransportPorts | HashPolicy::Encapsulated);
    let hashed = matches!(policy, HashPolicy::TransportPorts | HashPolicy::IpAddresses);
    let mut all: Vec<Need> = Vec::new();
    let mut add = |name, why: String, fix: &str| {
        all.push((name, format!("{name} has no effect: {why}."), fix.to_owned()));
    };
    if settings.use_ipv6_flow_label {
        if !ports {
            add(
                "UseIpv6FlowLabel",
                format!(
                    "it needs LoadBalancingAlgorithm 0 TransportPorts or 7 Encapsulated, and {word} applies"
                ),
                "Set LoadBalancingAlgorithm to 0 or 7 with TeamingMode 0, or UseIpv6FlowLabel to 0.",
            );
        } else if settings.symmetric_hash {
            add(
                "UseIpv6FlowLabel",
                "with SymmetricHash 1 flow labels do not count".to_owned(),
                "Set one of the two to 0.",
            );
        }
    }
    if settings.symmetric_hash && !policy.names_both_ends() {
        add(
            "SymmetricHash",
            format!(
                "it needs a LoadBalancingAlgorithm that looks at both ends (0, 2, 3, 7), and {word} applies"
            ),
            "Set LoadBalancingAlgorithm to one of these with TeamingMode 0, or SymmetricHash to 0.",
        );
    }
    if settings.use_adapter_hash {
        if !hashed {
            add(
                "UseAdapterHash",
                format!(
                    "it needs LoadBalancingAlgorithm 0 TransportPorts or 2 IPAddresses, and {word} applies"
                ),
                "Set LoadBalancingAlgorithm to 0 or 2 with TeamingMode 0, or UseAdapterHash to 0.",
            );
        } else if settings.use_ipv6_flow_label || settings.symmetric_hash {
            add(
                "UseAdapterHash",
                "no adapter computes a hash with flow labels, or one that is equal in both directions"
                    .to_owned(),
                "Set UseIpv6FlowLabel and SymmetricHash to 0, or UseAdapterHash to 0.",
            );
        }
    }
    for (name, port) in [("VxlanPort", settings.tunnels.vxlan), ("GenevePort", settings.tunnels.geneve)] {
        if port != 0 && policy != HashPolicy::Encapsulated {
            add(
                name,
                format!("it needs LoadBalancingAlgorithm 7 Encapsulated, and {word} applies"),
                "Set LoadBalancingAlgorithm to 7 with TeamingMode 0, or the port to 0.",
            );
        }
    }
    if value("FlowletGapUs") == Some(0) && value("MoveDeadlineMs").is_some() {
        add(
            "MoveDeadlineMs",
            "with FlowletGapUs 0 flows move at once, and nothing waits for a gap".to_owned(),
            "Delete MoveDeadlineMs, or set FlowletGapUs above 0.",
        );
    }
    all
}

/// The entries of adapters' OIDs, and the setting that sends them.
fn private(entries: &[Entry], all: &mut Vec<Fault>) {
    let (on, place) = entries
        .iter()
        .find(|entry| {
            scope(&entry.key).is_some()
                && same(&entry.name, "PrivateOids")
                && entry.data.as_number() == Some(1)
        })
        .map_or((false, ""), |entry| (true, &*entry.place));
    let of_adapters: Vec<&Entry> =
        entries.iter().filter(|entry| matches!(kind(&entry.key), Kind::PrivateOids)).collect();
    let mut add = |id, place: &str, found: String, fix: &str| {
        all.push(Fault { id, place: place.to_owned(), found, fix: fix.to_owned() });
    };
    let first = of_adapters.first();
    if on && first.is_none() {
        add(
            "needs",
            place,
            "PrivateOids is 1, and no adapter has a list of OIDs here.".to_owned(),
            r"Write Oid1 and so on below PrivateOids\{InterfaceGuid of the adapter}, or set PrivateOids to 0.",
        );
    }
    if let Some(first) = first.filter(|_| !on) {
        let found = "OIDs of an adapter are listed, and PrivateOids is not 1: none is sent.".to_owned();
        add("needs", &first.place, found, "Set PrivateOids to 1 below Parameters, or delete the list.");
    }
    for entry in of_adapters {
        let number = |stem: &str| {
            let digits = entry
                .name
                .get(..stem.len())
                .filter(|head| same(head, stem))
                .map(|head| &entry.name[head.len()..])?;
            digits
                .parse::<u8>()
                .ok()
                .filter(|number| (1..=private_oid::ENTRIES).contains(number) && *digits == number.to_string())
        };
        let value = entry.data.as_number();
        let most = private_oid::BYTES_MAX;
        let (fits, range) = if number("Oid").is_some() {
            (
                value.is_some_and(|oid| private_oid::number(oid).is_some()),
                "a REG_DWORD of 0xFF000000 or above".to_owned(),
            )
        } else if number("Type").is_some() {
            let known = value.is_some_and(|kind| private_oid::kind(Some(kind)).is_some());
            (known, "0 set, 1 query, 2 method".to_owned())
        } else if number("Data").is_some() {
            (
                matches!(entry.data, Data::Binary(bytes) if bytes <= most),
                format!("a REG_BINARY of at most {most} bytes"),
            )
        } else {
            let found = format!("{} is no value of a list of OIDs.", entry.name);
            add(
                "unknown-name",
                &entry.place,
                found,
                "It has Oid1 to Oid8, Type1 to Type8 and Data1 to Data8.",
            );
            continue;
        };
        if !fits {
            let is = value.map_or_else(|| "of another kind".to_owned(), |value| format!("{value:#x}"));
            let found = format!("{} is {is}, allowed is {range}.", entry.name);
            add(
                "out-of-range",
                &entry.place,
                found,
                "Correct it; the driver ignores the entry and tells it as an event.",
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use teaming::flow::adapter_hash::HashType;
    use teaming::flow::{Keying, POLICIES};
    use teaming::frame;
    use teaming::ids::{NicId, NicIndex, PortId};

    fn entry(key: &str, name: &str, data: Data) -> Entry {
        Entry { key: key.to_owned(), name: name.to_owned(), data, place: format!("{key}/{name}") }
    }

    fn set(values: &[(&str, u64)]) -> Vec<Entry> {
        values.iter().map(|(name, value)| entry("", name, Data::number(*value))).collect()
    }

    fn ids(entries: &[Entry]) -> Vec<(&'static str, String)> {
        faults(entries).into_iter().map(|fault| (fault.id, fault.place)).collect()
    }

    #[test]
    fn every_value_that_the_driver_ignores_is_found_with_its_name_value_and_range() {
        for setting in SETTINGS {
            for data in [Data::Other("\"7\"".to_owned()), Data::Binary(4)] {
                let found = faults(&[entry("", setting.name, data)]);
                assert_eq!(
                    found.iter().map(|fault| fault.id).collect::<Vec<_>>(),
                    ["wrong-type"],
                    "{}",
                    setting.name
                );
            }
            for value in (0..10).chain([60_001, 500_001, 600_001, 0x2_0000, u64::from(u32::MAX) + 1]) {
                let one = set(&[(setting.name, value)]);
                let (_, issues) = Settings::read(|asked| {
                    if asked.name == setting.name { Lookup::Value(value) } else { Lookup::Missing }
                });
                let found = faults(&one);
                let ignored = found
                    .iter()
                    .filter(|fault| fault.id == "out-of-range" || fault.found.contains("needs TeamingMode"));
                assert_eq!(ignored.count(), issues.len(), "{} {value}: {found:?}", setting.name);
                for fault in found.iter().filter(|fault| fault.id == "out-of-range") {
                    for part in [setting.name, &value.to_string(), &setting.kind.to_string()] {
                        assert!(fault.found.contains(part), "{fault}");
                    }
                    assert!(fault.fix.contains(setting.name));
                }
            }
        }
    }

    #[test]
    fn names_and_keys_that_nobody_reads_are_found_with_the_nearest() {
        let weight = || Data::number(5);
        let member = r"Switches\1\Members\{2}";
        for (entries, id, fix) in [
            (set(&[("TeamMode", 1)]), "unknown-name", "TeamingMode"),
            (set(&[("Weight", 1)]), "unknown-name", r"Switches\{id}\Members"),
            (vec![entry(member, "HashSeed", weight())], "unknown-name", "below Parameters"),
            (vec![entry("Switch", "HashSeed", weight())], "unknown-key", r"Switches\{id}"),
            (vec![entry(r"Switches\1\Members", "Weight", weight())], "unknown-key", "PrivateOids"),
            (vec![entry(member, "Weight", Data::number(10_000_001))], "out-of-range", "0 to 10000000"),
        ] {
            let found = faults(&entries);
            assert_eq!(found.len(), 1, "{found:?}");
            assert!(found[0].id == id && found[0].fix.contains(fix), "{found:?}");
        }
        assert!(
            ids(&[entry(member, "weight", weight()), entry("", "teamingmode", Data::number(0))]).is_empty()
        );
    }

    #[test]
    fn what_needs_another_value_is_found_where_it_stands() {
        assert_eq!(
            ids(&set(&[("LoadBalancingAlgorithm", 0)])),
            [("needs", "/LoadBalancingAlgorithm".to_owned())]
        );
        assert!(ids(&set(&[("LoadBalancingAlgorithm", 0), ("TeamingMode", 0)])).is_empty());
        // A switch with a mode of its own beside the policy of all.
        let mut both = set(&[("LoadBalancingAlgorithm", 0), ("TeamingMode", 0)]);
        both.push(entry(r"Switches\1", "TeamingMode", Data::number(1)));
        assert_eq!(ids(&both), [("needs", "/LoadBalancingAlgorithm".to_owned())]);
        // The same for all switches is said once.
        let mut twice = set(&[("LoadBalancingAlgorithm", 0)]);
        twice.push(entry(r"Switches\1", "LinkUpDelayMs", Data::number(1)));
        assert_eq!(ids(&twice).len(), 1);
        assert_eq!(
            ids(&set(&[("FlowletGapUs", 0), ("MoveDeadlineMs", 5)])),
            [("needs", "/MoveDeadlineMs".to_owned())]
        );
    }

    #[test]
    fn lists_of_private_oids_are_checked_as_the_driver_reads_them() {
        let list = |name: &str, data: Data| {
            vec![entry("", "PrivateOids", Data::number(1)), entry(r"PrivateOids\{1}", name, data)]
        };
        for (name, data, fine) in [
            ("Oid1", Data::number(0xFF00_0001), true),
            ("oid8", Data::number(0xFFFF_FFFF), true),
            ("Oid9", Data::number(0xFF00_0001), false),
            ("Oid1", Data::number(0x0001_0106), false),
            ("Type1", Data::number(2), true),
            ("Type1", Data::number(3), false),
            ("Data1", Data::Binary(256), true),
            ("Data1", Data::Binary(257), false),
            ("Data1", Data::number(1), false),
            ("Note", Data::number(1), false),
        ] {
            assert_eq!(faults(&list(name, data.clone())).is_empty(), fine, "{name} {data:?}");
        }
        assert_eq!(ids(&set(&[("PrivateOids", 1)])), [("needs", "/PrivateOids".to_owned())]);
        assert_eq!(ids(&list("Oid1", Data::number(0xFF00_0001))[1..]).len(), 1);
    }

    /// IPv6 with a flow label and UDP, both directions.
    fn packets() -> [Vec<u8>; 2] {
        let packet = |from: u8, to: u8| {
            let mut frame =
                vec![2, 0, 0, 0, 0, to, 2, 0, 0, 0, 0, from, 0x86, 0xDD, 0x60, 1, 2, 3, 0, 8, 17, 64];
            for end in [from, to] {
                frame.extend([0xFD, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, end]);
            }
            frame.extend([0x10, from, 0x10, to, 0, 8, 0, 0]);
            frame
        };
        [packet(1, 2), packet(2, 1)]
    }

    /// The claims against the driver's own keys: a setting has an effect if and only if one packet's key changes by it.
    #[test]
    fn a_setting_is_said_to_have_no_effect_exactly_if_no_key_changes_by_it() {
        let nic = NicId::new(PortId::new(7), NicIndex::DEFAULT);
        let [one, other] = packets();
        let keys = |keying: Keying| [&one, &other].map(|frame| keying.key(&frame::parse(frame), nic, None));
        for policy in POLICIES {
            for (flow_label, symmetric) in [(false, false), (true, false), (false, true), (true, true)] {
                let values = |name: &str| match name {
                    "TeamingMode" => Some(0),
                    "LoadBalancingAlgorithm" => Some(u64::from(policy.number())),
                    "UseIpv6FlowLabel" => Some(u64::from(flow_label)),
                    "SymmetricHash" => Some(u64::from(symmetric)),
                    "UseAdapterHash" => Some(1),
                    _ => None,
                };
                let said: Vec<&str> = without_effect(values).into_iter().map(|(name, ..)| name).collect();
                let keying = Keying { flow_label, symmetric, ..Keying::plain(policy) };
                let label_counts = keys(keying) != keys(Keying { flow_label: false, ..keying });
                let symmetry_counts = keys(keying) != keys(Keying { symmetric: false, ..keying });
                let adapter_counts =
                    [&one, &other].iter().any(|frame| HashType::of(&frame::parse(frame), &keying).is_some());
                assert_eq!(
                    said.contains(&"UseIpv6FlowLabel"),
                    flow_label && !label_counts,
                    "{policy:?} {symmetric}"
                );
                assert_eq!(
                    said.contains(&"SymmetricHash"),
                    symmetric && !symmetry_counts,
                    "{policy:?} {flow_label}"
                );
                assert_eq!(
                    said.contains(&"UseAdapterHash"),
                    !adapter_counts,
                    "{policy:?} {flow_label} {symmetric}"
                );
            }
        }
    }
}
