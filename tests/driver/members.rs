//! Members by name: what the switch says of an adapter, in whatever request, is what the driver shows of it; and what the
//! registry says of an adapter holds for it under whatever index.

use super::events::{Seen, after, member as index};
use super::module::{homes, look, report};
use lbfoext::trace::Event;
use std::sync::Arc;
use teaming::ids::{AdapterId, BUCKETS, MemberIndex};
use teaming::team::member::{Member, MemberSettings};
use vswitch::adapter::identity::{Identity, friendly_name, instance_id};
use vswitch::machine::registry::{SERVICES, Value};
use vswitch::machine::world::World;
use vswitch::scenario::suite::MS;
use vswitch::scenario::{Enumeration, Net, Scenario};
use vswitch::switch::control::payload::switch_name;
use vswitch::switch::ndis::driver::SERVICE;

const ORDERS: [Enumeration; 3] = [Enumeration::Arrays, Enumeration::Requests, Enumeration::Mixed];

fn team(seed: u64) -> Scenario {
    Scenario::new(seed).members(&[10, 10, 25, 25]).vms(1).enumeration(ORDERS[seed as usize % 3])
}

fn member(net: &Net, index: u8) -> Member {
    let index = MemberIndex::new(index).expect("a member");
    look(net, |module| *module.control.lock().team.member(index)).expect("it is attached")
}

/// The adapter that a member is, as the driver knows it, and its name.
fn known(net: &Net, index: u8) -> (AdapterId, String) {
    let member = member(net, index);
    (member.adapter, member.name.to_string())
}

/// What is to be known of an adapter with this number: its name by `str::from_utf16_lossy`, with what no line shows
/// replaced, and the middle cut out of a long one.
fn expected(number: u16) -> (AdapterId, String) {
    let name = String::from_utf16_lossy(&friendly_name(number)).replace(['\u{202e}', '\u{7}'], "\u{fffd}");
    let units = name.chars().count();
    let shown = match units {
        0..=63 => name,
        _ => name.chars().take(31).chain(['\u{2026}']).chain(name.chars().skip(units - 31)).collect(),
    };
    (AdapterId::new(instance_id(0, number)), shown)
}

#[test]
fn every_member_is_known_by_guid_and_name_however_the_driver_comes_to_know_it() {
    for seed in 0..18 {
        let net = team(seed).start();
        net.advance(100 * MS);
        for index in 1..=4 {
            assert_eq!(known(&net, index), expected(index.into()), "seed {seed}, member {index}");
        }
        net.detach();
        net.attach();
        net.advance(100 * MS);
        for index in 1..=4 {
            assert_eq!(known(&net, index), expected(index.into()), "seed {seed}, attached again");
        }
        let text = report(&net);
        for index in 1..=4 {
            let (_, name) = expected(index);
            assert!(text.contains(&format!("     {index}  {name}\n")), "{text}");
        }
        net.finish().assert_clean();
    }
}

#[test]
fn an_update_brings_what_was_not_known_and_what_has_changed() {
    for seed in 0..8 {
        let net = team(seed).start();
        net.unplug(2);
        net.rename(2, |identity| *identity = Identity { initialized: false, ..Identity::new(6) });
        net.replug(2);
        net.advance(100 * MS);
        assert_eq!(known(&net, 2), (AdapterId::UNKNOWN, expected(6).1), "seed {seed}");
        net.rename(2, |identity| identity.initialized = true);
        net.identify(2);
        assert_eq!(known(&net, 2), expected(6), "seed {seed}");
        net.rename(2, |identity| identity.name = "Backup".encode_utf16().collect());
        net.identify(2);
        assert_eq!(known(&net, 2), (expected(6).0, "Backup".to_owned()), "seed {seed}");
        // An empty name, and zeros, are no news.
        net.rename(2, |identity| (identity.name, identity.initialized) = (Vec::new(), false));
        net.identify(2);
        assert_eq!(known(&net, 2), (expected(6).0, "Backup".to_owned()), "seed {seed}");
        assert_eq!(known(&net, 1), expected(1));
        net.finish().assert_clean();
    }
}

#[test]
fn what_was_known_goes_with_the_nic_and_not_before() {
    for seed in 0..6 {
        let net = team(seed).start();
        net.advance(100 * MS);
        net.disconnect(net.member(3));
        assert_eq!(known(&net, 3), expected(3), "seed {seed}");
        net.delete_member(3);
        assert_eq!(known(&net, 3), (AdapterId::UNKNOWN, String::new()), "seed {seed}");
        net.rename(3, |identity| *identity = Identity::new(9));
        net.replug(3);
        net.advance(100 * MS);
        assert_eq!(known(&net, 3), expected(9), "seed {seed}");
        net.finish().assert_clean();
    }
}

const MINUTE: u64 = 60_000 * MS;

/// The key of the settings for the adapter with this number, below that of this switch.
fn key(number: u16) -> String {
    let above = format!("{SERVICES}\\{SERVICE}\\Parameters\\Switches\\{}\\Members", switch_name(0));
    format!("{above}\\{}", AdapterId::new(instance_id(0, number)))
}

/// Changes the registry, and gives the driver time to notice it.
fn change(net: &Net, what: impl FnOnce(&World) + Send) {
    let world = Arc::clone(net.world());
    net.world().enter(|| what(&world)).expect("it runs");
    net.advance(100 * MS);
}

/// Sets a value for the adapter with this number.
pub fn set_for(net: &Net, number: u16, name: &str, value: u32) {
    change(net, |world| world.registry_set(&key(number), name, Value::Dword(value)));
}

pub fn weigh(net: &Net, number: u16, weight: u32) {
    set_for(net, number, "Weight", weight);
}

/// The part of all buckets in per cent that each member carries.
fn shares(net: &Net, members: usize) -> Vec<u64> {
    let counts = look(net, |module| module.forwarding.read().table.counts()).expect("it is attached");
    counts[..members].iter().copied().map(per_cent).collect()
}

fn per_cent(buckets: u16) -> u64 {
    (u64::from(buckets) * 100 + BUCKETS as u64 / 2) / BUCKETS as u64
}

fn told(net: &Net) -> Vec<Event> {
    let wanted = |event: &Event| {
        matches!(event, Event::MemberSettingIgnored { .. } | Event::MemberSettingsUnused { .. })
    };
    look(net, |module| module.control.lock().events.iter().map(|(_, event)| event).filter(wanted).collect())
        .expect("it is attached")
}

#[test]
fn a_weight_takes_the_place_of_the_speed_as_soon_as_it_is_set_and_as_long() {
    for seed in 0..6 {
        let net = team(seed).start();
        net.advance(100 * MS);
        assert_eq!(shares(&net, 4), [14, 14, 36, 36], "seed {seed}");
        weigh(&net, 2, 40_000);
        assert_eq!(shares(&net, 4), [10, 40, 25, 25], "seed {seed}");
        weigh(&net, 3, 5_000);
        assert_eq!(shares(&net, 4), [13, 50, 6, 31], "seed {seed}");
        // A failure and a return in between change nothing of it.
        net.fail(2);
        net.restore(2);
        net.advance(10 * 1_000 * MS);
        assert_eq!(shares(&net, 4), [13, 50, 6, 31], "seed {seed}");
        change(&net, |world| assert!(world.registry_delete_value(&key(2), "Weight")));
        assert_eq!(shares(&net, 4), [20, 20, 10, 50], "seed {seed}");
        change(&net, |world| world.registry_delete_key(&key(3)));
        assert_eq!(shares(&net, 4), [14, 14, 36, 36], "seed {seed}");
        assert_eq!(told(&net), []);
        net.finish().assert_clean();
    }
}

#[test]
fn the_first_packet_finds_the_weights_that_were_set_before_the_start() {
    for seed in 0..6 {
        let net = team(seed).start();
        // Speeds may be answered later.
        for (number, weight) in [(1, 40_000), (2, 10_000), (3, 25_000), (4, 25_000)] {
            weigh(&net, number, weight);
        }
        net.detach();
        net.attach();
        if seed % 3 == 0 {
            // The arrays told every member: the map that the first packets find is the one that stays.
            assert_eq!(homes(&net).map(per_cent)[..5], [40, 10, 25, 25, 0], "seed {seed}");
            // Every flow is there already, so none that never falls silent has to wait for its deadline.
            assert_eq!(shares(&net, 4), [40, 10, 25, 25], "seed {seed}");
        }
        net.advance(100 * MS);
        assert_eq!(shares(&net, 4), [40, 10, 25, 25], "seed {seed}");
        net.finish().assert_clean();
    }
}

#[test]
fn a_weight_follows_its_adapter_to_another_index() {
    for seed in 0..6 {
        let net = team(seed).start();
        weigh(&net, 2, 40_000);
        weigh(&net, 3, 5_000);
        assert_eq!(shares(&net, 4), [13, 50, 6, 31], "seed {seed}");
        for (index, number) in [(2, 3), (3, 2)] {
            net.unplug(index);
            net.rename(index, |identity| *identity = Identity::new(number));
        }
        net.replug(2);
        net.replug(3);
        net.advance(MINUTE);
        assert_eq!(shares(&net, 4), [13, 6, 50, 31], "seed {seed}");
        // Another adapter under the index has no weight set.
        net.unplug(3);
        net.rename(3, |identity| *identity = Identity::new(9));
        net.replug(3);
        net.advance(MINUTE);
        let text = report(&net);
        assert_eq!(text.matches("is set").count(), 1, "{text}");
        assert_eq!(member(&net, 3).settings, MemberSettings::DEFAULT);
        net.finish().assert_clean();
    }
}

#[test]
fn an_adapter_whose_guid_comes_later_gets_its_weight_then() {
    let net = team(1).start();
    weigh(&net, 2, 40_000);
    net.unplug(2);
    net.rename(2, |identity| identity.initialized = false);
    net.replug(2);
    net.advance(MINUTE);
    assert_eq!(shares(&net, 4), [14, 14, 36, 36]);
    net.rename(2, |identity| identity.initialized = true);
    net.identify(2);
    net.advance(MINUTE);
    assert_eq!(shares(&net, 4), [10, 40, 25, 25]);
    net.finish().assert_clean();
}

#[test]
fn a_wrong_weight_is_told_and_the_speed_applies() {
    let wrong = [
        (Value::Dword(10_000_001), Some(10_000_001)),
        (Value::Qword(1 << 40), Some(1 << 40)),
        (Value::Sz("10".to_owned()), None),
        (Value::Binary(vec![1, 0, 0, 0]), None),
        (Value::Raw(4, vec![1, 0]), None),
    ];
    for (seed, (value, number)) in (0..).zip(wrong) {
        let net = team(seed).start();
        weigh(&net, 4, 40_000);
        assert_eq!(shares(&net, 4), [12, 12, 29, 47]);
        change(&net, |world| world.registry_set(&key(4), "Weight", value.clone()));
        assert_eq!(shares(&net, 4), [14, 14, 36, 36], "{value:?}");
        let event = Event::MemberSettingIgnored { member: index(4), setting: 0, value: number, used: 0 };
        assert_eq!(told(&net), [event], "{value:?}");
        net.finish().assert_clean();
    }
}

#[test]
fn settings_for_no_adapter_are_told_once_and_again_when_there_are_others() {
    for seed in 0..6 {
        let net = team(seed).start();
        weigh(&net, 1, 10_000);
        assert_eq!(told(&net), []);
        weigh(&net, 77, 10_000);
        let stray = Event::MemberSettingsUnused { adapter: AdapterId::new(instance_id(0, 77)) };
        assert_eq!(told(&net), [stray], "seed {seed}");
        // Neither other settings nor time repeat it.
        weigh(&net, 1, 20_000);
        net.set("LinkUpDelayMs", Value::Dword(7));
        net.advance(MINUTE);
        assert_eq!(told(&net), [stray], "seed {seed}");
        // The adapter that is meant comes, and goes.
        net.unplug(2);
        net.rename(2, |identity| *identity = Identity::new(77));
        net.replug(2);
        net.advance(MINUTE);
        assert_eq!(told(&net), [stray], "seed {seed}");
        net.unplug(2);
        net.advance(MINUTE);
        assert_eq!(told(&net), [stray, stray], "seed {seed}");
        // A name that is no GUID, and one that is longer.
        let above = key(1);
        let above = above.rsplit_once('\\').expect("a key above").0;
        change(&net, |world| {
            world.registry_create(&format!("{above}\\no GUID"));
            world.registry_create(&format!("{above}\\{}0", AdapterId::new([1; 16])));
        });
        let nobody = Event::MemberSettingsUnused { adapter: AdapterId::UNKNOWN };
        let tail: Vec<Event> = told(&net).into_iter().rev().take(3).collect();
        assert_eq!(tail.iter().filter(|event| **event == nobody).count(), 2, "seed {seed}: {tail:?}");
        assert_eq!(tail.iter().filter(|event| **event == stray).count(), 1, "seed {seed}: {tail:?}");
        net.finish().assert_clean();
    }
}

#[test]
fn after_any_single_refused_call_the_weights_hold_within_a_minute_and_what_is_wrong_is_told() {
    let mut refused = std::collections::BTreeMap::new();
    for n in 1.. {
        let net = team(3).start();
        net.advance(100 * MS);
        net.world().fail_from_here(n);
        weigh(&net, 2, 40_000);
        weigh(&net, 77, 1);
        let site = net.world().injected_fault();
        net.world().fail_from_here(1 << 40);
        net.advance(2 * MINUTE);
        assert_eq!(shares(&net, 4), [10, 40, 25, 25], "call {n} ({site:?})");
        // What was being told when a call was refused is told again.
        let stray = Event::MemberSettingsUnused { adapter: AdapterId::new(instance_id(0, 77)) };
        let told = told(&net);
        assert!(
            (1..=2).contains(&told.len()) && told.iter().all(|event| *event == stray),
            "call {n} ({site:?})"
        );
        net.finish().assert_clean();
        let Some(site) = site else { break };
        *refused.entry(site).or_insert(0) += 1;
    }
    for call in ["ZwOpenKey", "ZwQueryValueKey", "ZwEnumerateKey", "ExAllocatePool2"] {
        assert!(refused.contains_key(call), "{refused:?}");
    }
}

fn with_key(number: u16) -> Net {
    let net = Scenario::new(1).members(&[10, 10]).vms(1).setting("LinkUpDelayMs", Value::Dword(0)).start();
    change(&net, |world| world.registry_set(&key(number), "Weight", Value::Dword(0)));
    net
}

fn ignored(value: Value, number: Option<u64>) -> Seen {
    let act = |net: &Net| change(net, |world| world.registry_set(&key(2), "Weight", value));
    let event = Event::MemberSettingIgnored { member: index(2), setting: 0, value: number, used: 0 };
    after(with_key(2), act, move |_| vec![Event::SettingsRead, event])
}

pub fn a_weight_is_out_of_range() -> Seen {
    ignored(Value::Dword(10_000_001), Some(10_000_001))
}

pub fn a_weight_has_the_wrong_type() -> Seen {
    ignored(Value::Sz("7".to_owned()), None)
}

pub fn settings_are_of_no_member() -> Seen {
    let act = |net: &Net| change(net, |world| world.registry_create(&key(77)));
    let event = Event::MemberSettingsUnused { adapter: AdapterId::new(instance_id(0, 77)) };
    after(with_key(2), act, move |_| vec![Event::SettingsRead, event])
}
