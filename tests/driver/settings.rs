//! Settings that change again and again in both registry keys: the driver notices every change, uses the values that
//! the README's table defines for the present contents, and records an event for every ignored value.

use super::module::look;
use lbfoext::trace::Event;
use std::collections::BTreeMap;
use std::sync::Arc;
use teaming::flow::HashPolicy;
use teaming::flow::hash::DEFAULT_SEED;
use teaming::frame::TunnelPorts;
use teaming::ids::{LinkLocalSet, Ticks};
use teaming::offload::OffloadPlacement;
use teaming::settings::{Announcing, Settings, TeamingMode};
use teaming::team::buckets::RebalanceTimers;
use teaming::team::carriers::{CarrierRules, Failback};
use vswitch::machine::registry::{SERVICES, Value};
use vswitch::scenario::suite::random::Draw;
use vswitch::scenario::{Net, Scenario};
use vswitch::switch::control::payload::switch_name;
use vswitch::switch::ndis::driver::SERVICE;

/// Number of keys: one for all switches, one for this switch.
const KEYS: usize = 2;
const COMMON: usize = 0;
const OWN: usize = 1;

fn path(key: usize) -> String {
    let common = format!("{SERVICES}\\{SERVICE}\\Parameters");
    if key == COMMON { common } else { format!("{common}\\Switches\\{}", switch_name(0)) }
}

/// A row of the README's table.
struct Row {
    name: String,
    default: u64,
    values: Values,
}

enum Values {
    Any,
    Range(u64, u64),
    Choice(Vec<u64>),
}

impl Values {
    /// "0 off, 1 on", "0 to 60000", "0 (never) to 600000", "any 64-bit number; ...".
    fn read(text: &str) -> Self {
        let numbers: Vec<u64> = text.split([' ', ',']).filter_map(|word| word.parse().ok()).collect();
        match (text.starts_with("any"), text.contains(" to "), &numbers[..]) {
            (true, ..) => Self::Any,
            (_, true, [min, max]) => Self::Range(*min, *max),
            (_, false, choice) if choice.len() > 1 => Self::Choice(choice.to_vec()),
            _ => panic!("the README says {text:?}"),
        }
    }

    fn accept(&self, value: u64) -> bool {
        match self {
            Self::Any => true,
            Self::Range(min, max) => (min..=max).contains(&&value),
            Self::Choice(choice) => choice.contains(&value),
        }
    }

    /// Values at both ends of the range, in the middle, just outside, and far outside.
    fn tried(&self) -> Vec<u64> {
        let far = [u64::from(u32::MAX), 1 << 32, u64::MAX];
        match self {
            Self::Any => [&[0, 1, 77][..], &far].concat(),
            Self::Range(min, max) => [&[*min, min + 1, max / 2, *max, max + 1][..], &far].concat(),
            Self::Choice(choice) => (0..=choice.iter().max().expect("some") + 1).chain(far).collect(),
        }
    }
}

fn rows() -> Vec<Row> {
    let readme = include_str!("../../README.md");
    let cells = |line: &'static str| -> Vec<&str> { line.split('|').map(str::trim).collect() };
    let table = readme.lines().skip_while(|line| !line.starts_with("| name | default | values"));
    let rows = table.skip(2).take_while(|line| line.starts_with('|')).map(|line| {
        let [_, name, default, values, ..] = cells(line)[..] else { panic!("{line}") };
        let default = default.parse().expect("a number");
        Row { name: name.trim_matches('`').to_owned(), default, values: Values::read(values) }
    });
    rows.collect()
}

/// How a value in the registry is read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Said {
    Number(u64),
    WrongType,
}

fn said(value: &Value) -> Said {
    match value.encode() {
        (4, bytes) if bytes.len() == 4 => {
            Said::Number(u32::from_le_bytes(bytes.try_into().expect("four")).into())
        }
        (11, bytes) if bytes.len() == 8 => Said::Number(u64::from_le_bytes(bytes.try_into().expect("eight"))),
        _ => Said::WrongType,
    }
}

type Registry = [BTreeMap<String, Said>; KEYS];
/// Index of a setting in the table, the ignored number, and the value in effect.
type Ignored = (u8, Option<u64>, u64);

/// The README's rules: the value of the switch's key overrides the common one; a value out of range or of the wrong
/// type is replaced by the default; all algorithms but 4 and 6 need TeamingMode 0.
fn expected(rows: &[Row], registry: &Registry, step: u64) -> (Settings, Vec<Ignored>) {
    let mut used = BTreeMap::new();
    let mut ignored = Vec::new();
    for (place, row) in (0..).zip(rows) {
        let value = registry[OWN].get(&row.name).or(registry[COMMON].get(&row.name));
        let number = match value {
            Some(Said::Number(number)) if row.values.accept(*number) => *number,
            Some(Said::Number(number)) => {
                ignored.push((place, Some(*number), row.default));
                row.default
            }
            Some(Said::WrongType) => {
                ignored.push((place, None, row.default));
                row.default
            }
            None => row.default,
        };
        used.insert(row.name.as_str(), number);
    }
    let algorithm = used["LoadBalancingAlgorithm"];
    if used["TeamingMode"] == 1 && ![4, 6].contains(&algorithm) {
        let place = rows.iter().position(|row| row.name == "LoadBalancingAlgorithm").expect("a row");
        ignored.push((place as u8, Some(algorithm), 4));
        used.insert("LoadBalancingAlgorithm", 4);
    }
    let ticks = |number: u64, unit: u64| Ticks::new(number * unit);
    let settings = Settings {
        mode: [TeamingMode::Static, TeamingMode::SwitchIndependent][used["TeamingMode"] as usize],
        policy: match used["LoadBalancingAlgorithm"] {
            0 => HashPolicy::TransportPorts,
            2 => HashPolicy::IpAddresses,
            3 => HashPolicy::MacAddresses,
            4 => HashPolicy::HyperVPort,
            6 => HashPolicy::VlanSourceMac,
            7 => HashPolicy::Encapsulated,
            other => panic!("no algorithm {other}"),
        },
        use_ipv6_flow_label: used["UseIpv6FlowLabel"] == 1,
        symmetric_hash: used["SymmetricHash"] == 1,
        use_adapter_hash: used["UseAdapterHash"] == 1,
        tunnels: TunnelPorts { vxlan: used["VxlanPort"] as u16, geneve: used["GenevePort"] as u16 },
        seed: if used["HashSeed"] == 0 { DEFAULT_SEED } else { used["HashSeed"] },
        link_up_delay: ticks(used["LinkUpDelayMs"], 10_000),
        flap_hold_down: ticks(used["FlapHoldDownMs"], 10_000),
        carriers: CarrierRules {
            failback: [Failback::Always, Failback::Better, Failback::Never][used["FailbackPolicy"] as usize],
            minimum_links: used["MinimumLinks"] as u32,
        },
        // The clock advances in steps, and a gap lasts at least as long as configured.
        flowlet_gap: ticks(used["FlowletGapUs"], 10).saturating_add(Ticks::new(match used["FlowletGapUs"] {
            0 => 0,
            _ => step,
        })),
        move_deadline: Some(used["MoveDeadlineMs"]).filter(|ms| *ms != 0).map(|ms| ticks(ms, 10_000)),
        offload_placement: [
            OffloadPlacement::FollowFlows,
            OffloadPlacement::SingleMember,
            OffloadPlacement::EveryMember,
        ][used["OffloadPlacement"] as usize],
        announcing: Announcing {
            times: used["Announcements"] as u8,
            burst: match used["AnnouncementBurst"] {
                0 => u32::MAX,
                burst => burst as u32,
            },
        },
        link_local_forwarded: LinkLocalSet::from_mask(used["LinkLocalForwardMask"]),
        prune_multicast: used["PruneMulticast"] == 1,
        private_oids: used["PrivateOids"] == 1,
        survey: used["Survey"] == 1,
    };
    (settings, ignored)
}

/// The driver's settings, and its events about them since a given time.
struct Found {
    settings: Settings,
    pace: RebalanceTimers,
    uses_adapter_hash: bool,
    readings: usize,
    ignored: Vec<Ignored>,
}

fn found(net: &Net, since: u64) -> Found {
    look(net, |module| {
        let control = module.control.lock();
        let forwarding = module.forwarding.read();
        let new: Vec<Event> =
            control.events.iter().filter(|(at, _)| at.get() >= since).map(|(_, event)| event).collect();
        Found {
            settings: control.settings,
            pace: forwarding.table.rebalance_timers(),
            uses_adapter_hash: forwarding.uses_adapter_hash(),
            readings: new.iter().filter(|event| **event == Event::SettingsRead).count(),
            ignored: new
                .iter()
                .filter_map(|event| match *event {
                    Event::SettingIgnored { setting, value, used } => Some((setting, value, used)),
                    _ => None,
                })
                .collect(),
        }
    })
    .expect("it is attached")
}

/// Changes the registry and waits for the notifications.
fn change(net: &Net, what: impl FnOnce(&vswitch::machine::world::World) + Send) {
    let world = Arc::clone(net.world());
    net.advance(1);
    net.world().enter(|| what(&world)).expect("it runs");
}

fn check(net: &Net, rows: &[Row], registry: &Registry, since: u64, what: &str) {
    let (settings, ignored) = expected(rows, registry, net.world().config().time_increment.into());
    let found = found(net, since);
    assert!(found.readings > 0, "{what} was not noticed");
    assert_eq!(found.settings, settings, "after {what}, with {registry:?}");
    assert_eq!(found.pace, settings.rebalance_timers(), "after {what}");
    assert_eq!(found.uses_adapter_hash, settings.use_adapter_hash, "after {what}");
    // The driver may read between the parts of a change, and then records the same events twice.
    let told = &found.ignored[found.ignored.len().saturating_sub(ignored.len())..];
    let mut expected = ignored;
    let mut told = told.to_vec();
    expected.sort_unstable();
    told.sort_unstable();
    assert_eq!(told, expected, "after {what}, with {registry:?}");
    if found.readings == 1 {
        assert_eq!(found.ignored.len(), expected.len(), "after {what}: {:?}", found.ignored);
    }
}

fn start(seed: u64) -> Net {
    Scenario::new(seed).members(&[10, 10]).vms(1).start()
}

/// The registry at the start of the scenario.
fn initial() -> Registry {
    let common = ["TeamingMode", "LoadBalancingAlgorithm"].map(|name| (name.to_owned(), Said::Number(0)));
    [BTreeMap::from(common), BTreeMap::new()]
}

#[test]
fn the_readme_names_every_setting_in_the_order_of_the_events() {
    let names: Vec<String> = rows().into_iter().map(|row| row.name).collect();
    assert_eq!(names, teaming::settings::SETTINGS.iter().map(|s| s.name).collect::<Vec<_>>());
}

#[test]
fn each_of_a_hundred_changes_is_noticed_in_either_key_and_in_both_by_turns() {
    for keys in [&[COMMON][..], &[OWN], &[COMMON, OWN]] {
        let net = start(keys.len() as u64);
        let rows = rows();
        let mut registry = initial();
        for number in 0..100 {
            let key = keys[number % keys.len()];
            let value = 1 + number as u64;
            let since = net.now() + 1;
            change(&net, |world| world.registry_set(&path(key), "LinkUpDelayMs", Value::Qword(value)));
            registry[key].insert("LinkUpDelayMs".to_owned(), Said::Number(value));
            check(&net, &rows, &registry, since, &format!("change {number} in key {key}"));
        }
        net.finish().assert_clean();
    }
}

#[test]
fn of_changes_that_come_while_others_are_being_read_the_last_one_holds() {
    for free in [false, true] {
        for seed in 0..if free { 20 } else { 100 } {
            let scenario = Scenario::new(seed).members(&[10, 10]).vms(1);
            let net = if free { scenario.free_threads() } else { scenario }.start();
            let writer = |key: usize, name: &'static str| -> vswitch::scenario::Body {
                Box::new(move |net: &Net| {
                    for value in 1..=50 {
                        net.world().registry_set(&path(key), name, Value::Dword(value));
                        if net.world().chance(1, 4) {
                            vswitch::machine::cpu::settle();
                        }
                    }
                })
            };
            let since = net.now();
            net.together(vec![
                ("common", writer(COMMON, "LinkUpDelayMs")),
                ("own", writer(OWN, "FlowletGapUs")),
            ]);
            // The thread may be waiting for what a member answers, and its other work waits as long.
            net.advance(1_000_000);
            let mut registry = initial();
            registry[COMMON].insert("LinkUpDelayMs".to_owned(), Said::Number(50));
            registry[OWN].insert("FlowletGapUs".to_owned(), Said::Number(50));
            check(&net, &rows(), &registry, since, &format!("storm {seed}"));
            net.finish().assert_clean();
        }
    }
}

/// A random value for a setting: valid, out of range, or of a wrong type or length.
fn draw_value(draw: &mut Draw, row: &Row) -> Value {
    let tried = row.values.tried();
    let number = tried[draw.below(tried.len() as u64) as usize];
    let bytes = number.to_le_bytes();
    match draw.below(12) {
        0 => Value::Sz(number.to_string()),
        1 => Value::Sz(String::new()),
        2 => Value::Binary(bytes[..4].to_vec()),
        3 => Value::MultiSz(vec!["1".to_owned(), "2".to_owned()]),
        // REG_NONE, REG_DWORD_BIG_ENDIAN, and numbers that are too short or too long.
        4 => Value::Raw(0, Vec::new()),
        5 => Value::Raw(5, bytes[..4].to_vec()),
        6 => Value::Raw(4, bytes[..draw.below(4) as usize].to_vec()),
        7 => Value::Raw(11, [&bytes[..], &[0; 40]].concat()),
        8 => Value::Raw(4, bytes.to_vec()),
        _ => u32::try_from(number).map_or(Value::Qword(number), Value::Dword),
    }
}

#[test]
fn after_any_walk_of_changes_in_both_keys_what_stands_there_holds() {
    let rows = rows();
    for seed in 0..16 {
        let net = start(seed);
        let mut registry = initial();
        let mut draw = Draw::new(seed);
        for number in 0..60 {
            let key = draw.below(KEYS as u64) as usize;
            let row = &rows[draw.below(rows.len() as u64) as usize];
            let since = net.now() + 1;
            let what = match draw.below(20) {
                // The whole key is deleted; of the common key only the values, because the module watches it.
                0 if key == OWN => {
                    let own = path(OWN);
                    let was_there = !registry[OWN].is_empty();
                    change(&net, |world| world.registry_delete_key(&own));
                    registry[OWN].clear();
                    was_there.then(|| "the own key was deleted".to_owned())
                }
                1..6 => {
                    let gone = registry[key].remove(&row.name).is_some();
                    change(&net, |world| {
                        assert_eq!(world.registry_delete_value(&path(key), &row.name), gone);
                    });
                    gone.then(|| format!("{} was deleted in key {key}", row.name))
                }
                _ => {
                    let value = draw_value(&mut draw, row);
                    registry[key].insert(row.name.clone(), said(&value));
                    // Names are compared without regard to case.
                    let name = if draw.below(4) == 0 { row.name.to_lowercase() } else { row.name.clone() };
                    let what = format!("{name} = {value:?} in key {key}");
                    change(&net, |world| world.registry_set(&path(key), &name, value));
                    Some(what)
                }
            };
            if let Some(what) = what {
                check(&net, &rows, &registry, since, &format!("seed {seed} step {number}: {what}"));
            }
        }
        net.finish().assert_clean();
    }
}

#[test]
fn every_kind_of_value_in_either_key_makes_of_every_setting_what_the_readme_says() {
    let rows = rows();
    let net = start(3);
    let mut registry = initial();
    for row in &rows {
        let mut values: Vec<Value> = row.values.tried().into_iter().map(Value::Qword).collect();
        values.push(Value::Sz("1".to_owned()));
        let all = || std::iter::once(None).chain(values.iter().map(Some));
        for common in all() {
            for own in all() {
                let since = net.now() + 1;
                let pair = [common, own];
                change(&net, |world| {
                    for (key, value) in pair.into_iter().enumerate() {
                        match value {
                            Some(value) => world.registry_set(&path(key), &row.name, value.clone()),
                            None => {
                                world.registry_delete_value(&path(key), &row.name);
                            }
                        }
                    }
                    // This value changes in every step.
                    world.registry_set(&path(COMMON), "Unrelated", Value::Qword(since));
                });
                for (key, value) in pair.into_iter().enumerate() {
                    match value {
                        Some(value) => registry[key].insert(row.name.clone(), said(value)),
                        None => registry[key].remove(&row.name),
                    };
                }
                check(&net, &rows, &registry, since, &format!("{} {pair:?}", row.name));
            }
        }
    }
    net.finish().assert_clean();
}

/// Sets a delay in the common key and says what then stands there.
fn set_delay(net: &Net, registry: &mut Registry, value: u32) {
    change(net, |world| world.registry_set(&path(COMMON), "LinkUpDelayMs", Value::Dword(value)));
    registry[COMMON].insert("LinkUpDelayMs".to_owned(), Said::Number(value.into()));
}

#[test]
fn a_common_key_that_goes_and_one_that_appears_later_are_noticed() {
    let net = start(5);
    let rows = rows();
    for round in 0..5 {
        let since = net.now() + 1;
        change(&net, |world| world.registry_delete_key(&format!("{SERVICES}\\{SERVICE}\\Parameters")));
        let mut registry = [BTreeMap::new(), BTreeMap::new()];
        check(&net, &rows, &registry, since, "the common key was deleted");
        let since = net.now() + 1;
        set_delay(&net, &mut registry, 100 + round);
        check(&net, &rows, &registry, since, "the common key was made anew");
    }
    net.finish().assert_clean();
}

#[test]
fn what_the_registry_refuses_once_is_made_up_for_within_minutes() {
    let minutes = 3 * 60 * 10_000_000;
    let rows = rows();
    let mut refused = BTreeMap::new();
    for n in 1.. {
        // Refused while a change is read and the next notification asked for.
        let net = start(n);
        let mut registry = initial();
        net.world().fail_from_here(n);
        set_delay(&net, &mut registry, 77);
        let Some(site) = net.world().injected_fault() else {
            net.finish().assert_clean();
            break;
        };
        *refused.entry(site).or_insert(0) += 1;
        for value in [78, 79] {
            net.advance(minutes);
            assert_eq!(found(&net, 0).settings, expected(&rows, &registry, 156_250).0, "{n}: {site}");
            set_delay(&net, &mut registry, value);
            assert_eq!(
                found(&net, 0).settings,
                expected(&rows, &registry, 156_250).0,
                "{n}: {site}, at once"
            );
        }
        net.finish().assert_clean();
    }
    for call in ["ZwOpenKey", "ZwQueryValueKey", "ZwNotifyChangeKey"] {
        assert!(refused.contains_key(call), "{refused:?}");
    }
}

#[test]
fn what_the_registry_refuses_at_the_start_is_made_up_for_within_minutes() {
    let rows = rows();
    let mut refused = BTreeMap::new();
    for n in 1.. {
        let net = Scenario::new(3)
            .members(&[10, 10])
            .vms(1)
            .attach_inside(false)
            .config(|config| config.fault = Some(n))
            .start();
        let Some(site) = net.world().injected_fault() else { break };
        if net.is_running() {
            *refused.entry(site).or_insert(0) += 1;
            let mut registry = initial();
            net.advance(3 * 60 * 10_000_000);
            assert_eq!(found(&net, 0).settings, expected(&rows, &registry, 156_250).0, "{n}: {site}");
            set_delay(&net, &mut registry, 80);
            assert_eq!(
                found(&net, 0).settings,
                expected(&rows, &registry, 156_250).0,
                "{n}: {site}, at once"
            );
        }
        net.finish().assert_clean();
    }
    for call in ["ZwOpenKey", "ZwQueryValueKey", "ZwNotifyChangeKey", "ZwCreateEvent"] {
        assert!(refused.contains_key(call), "{refused:?}");
    }
}
