//! Vendor-private OIDs of the registry: off unless wanted, for the named adapter alone, in the range of vendors, of bounded
//! length, and each use an event.

use super::events::{Seen, after, member};
use super::module::look;
use lbfoext::trace::Event;
use std::collections::BTreeMap;
use std::sync::Arc;
use vswitch::adapter::instance_id;
use vswitch::machine::registry::{SERVICES, Value};
use vswitch::scenario::suite::MS;
use vswitch::scenario::{Net, Scenario};
use vswitch::switch::ndis::driver::SERVICE;
use vswitch::switch::ports::NicId;

const FIRST: u32 = 0xFF00_0000;

/// The key of an adapter's entries.
fn key(member: u16) -> String {
    let id = instance_id(0, member);
    let number = |bytes: &[u8]| bytes.iter().rev().map(|byte| format!("{byte:02X}")).collect::<String>();
    let plain = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02X}")).collect::<String>();
    let [a, b, c] = [&id[..4], &id[4..6], &id[6..8]].map(number);
    let (d, e) = (plain(&id[8..10]), plain(&id[10..]));
    format!("{SERVICES}\\{SERVICE}\\Parameters\\PrivateOids\\{{{a}-{b}-{c}-{d}-{e}}}")
}

fn write(net: &Net, member: u16, values: &[(&str, Value)]) {
    let world = Arc::clone(net.world());
    let values: Vec<(String, Value)> =
        values.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    net.world()
        .enter(|| values.into_iter().for_each(|(name, value)| world.registry_set(&key(member), &name, value)))
        .expect("the machine runs");
    net.advance(100 * MS);
}

/// What each adapter was given.
fn given(net: &Net) -> BTreeMap<u16, BTreeMap<u32, Vec<u8>>> {
    net.look(|s| {
        let adapters = s.modules[0].external.adapters.values();
        adapters
            .filter(|a| !a.offloads.private.is_empty())
            .map(|a| (a.index, a.offloads.private.clone()))
            .collect()
    })
    .expect("a switch")
}

/// The private requests that reached adapters, in order: index and OID.
fn asked(net: &Net) -> Vec<(u16, u32)> {
    net.look(|s| {
        let private = s.control.nics.arrived.iter().filter(|a| a.inner.oid >= FIRST);
        private
            .inspect(|a| {
                let source = NicId::new(a.envelope.source_port_id, a.envelope.source_nic_index);
                assert_eq!(source, NicId::NOWHERE, "for the driver's own purposes");
            })
            .map(|a| (a.envelope.destination_nic_index, a.inner.oid))
            .collect()
    })
    .expect("a switch")
}

fn events(net: &Net) -> Vec<Event> {
    let wanted = |event: &Event| matches!(event, Event::PrivateOid { .. } | Event::PrivateOidIgnored { .. });
    look(net, |module| module.control.lock().events.iter().map(|(_, event)| event).filter(wanted).collect())
        .expect("it is attached")
}

fn team(seed: u64, on: u32) -> Net {
    let net =
        Scenario::new(seed).members(&[10, 10, 10]).vms(1).setting("PrivateOids", Value::Dword(on)).start();
    net.advance(100 * MS);
    net
}

/// The event of a set.
fn set(index: u16, oid: u32) -> Event {
    Event::PrivateOid { member: member(index), oid, status: 0, bytes: 0, first: [0; 8] }
}

fn entry(oid: u32, data: &[u8]) -> [(&'static str, Value); 2] {
    [("Data1", Value::Binary(data.to_vec())), ("Oid1", Value::Dword(oid))]
}

#[test]
fn nothing_is_set_unless_the_setting_is_on_and_then_on_the_named_adapter_alone() {
    for seed in 0..6 {
        let net = team(seed, 0);
        write(&net, 2, &entry(FIRST + 7, &[1, 2, 3]));
        net.advance(60_000 * MS);
        assert_eq!((asked(&net), events(&net)), (vec![], vec![]));
        net.set("PrivateOids", Value::Dword(1));
        net.advance(100 * MS);
        assert_eq!(asked(&net), [(2, FIRST + 7)]);
        assert_eq!(given(&net), BTreeMap::from([(2, BTreeMap::from([(FIRST + 7, vec![1, 2, 3])]))]));
        assert_eq!(events(&net), [set(2, FIRST + 7)]);
        net.finish().assert_clean();
    }
}

#[test]
fn what_has_been_set_is_set_again_only_when_it_changes_or_its_adapter_comes_back() {
    let net = team(1, 1);
    write(&net, 2, &entry(FIRST, &[1]));
    let once = asked(&net).len();
    assert!(once >= 1);
    // Another setting, and the entries of another adapter.
    net.set("LinkUpDelayMs", Value::Dword(7));
    net.advance(100 * MS);
    write(&net, 3, &entry(FIRST + 1, &[2]));
    assert_eq!(asked(&net)[once..].iter().filter(|(member, _)| *member == 2).count(), 0);
    let before = asked(&net).len();
    write(&net, 2, &entry(FIRST, &[9]));
    assert!(asked(&net)[before..].contains(&(2, FIRST)));
    assert_eq!(given(&net)[&2][&FIRST], [9]);
    let before = asked(&net).len();
    net.unplug(2);
    net.replug(2);
    net.advance(100 * MS);
    assert_eq!(asked(&net)[before..], [(2, FIRST)]);
    let before = asked(&net).len();
    net.detach();
    net.attach();
    net.advance(100 * MS);
    let mut again = asked(&net)[before..].to_vec();
    again.sort_unstable();
    assert_eq!(again, [(2, FIRST), (3, FIRST + 1)]);
    net.finish().assert_clean();
}

#[test]
fn what_no_vendor_defines_or_is_too_long_is_ignored_with_an_event_and_the_rest_is_set() {
    let bad: [(Value, Value); 6] = [
        (Value::Dword(0xFEFF_FFFF), Value::Binary(vec![1])),
        // OID_GEN_CURRENT_PACKET_FILTER, and OID_TCP_OFFLOAD_PARAMETERS, which NDIS keeps.
        (Value::Dword(0x0001_010E), Value::Binary(vec![1; 4])),
        (Value::Dword(0xFC01_020C), Value::Binary(vec![1; 4])),
        (Value::Qword(0x1_FF00_0000), Value::Binary(vec![1])),
        (Value::Dword(FIRST), Value::Binary(vec![1; 257])),
        (Value::Dword(FIRST), Value::Sz("text".to_owned())),
    ];
    for (number, (oid, data)) in bad.into_iter().enumerate() {
        let net = team(number as u64, 0);
        write(&net, 1, &[("Data1", data), ("Oid1", oid)]);
        write(&net, 1, &[("Data3", Value::Binary(vec![5; 256])), ("Oid3", Value::Dword(u32::MAX))]);
        // An OID without data, and data without an OID.
        write(&net, 1, &[("Oid8", Value::Dword(FIRST + 8)), ("Data4", Value::Binary(vec![1]))]);
        net.set("PrivateOids", Value::Dword(1));
        net.advance(100 * MS);
        assert_eq!(asked(&net), [(1, u32::MAX), (1, FIRST + 8)], "entry {number}");
        assert_eq!(given(&net)[&1][&u32::MAX], [5; 256]);
        let expected =
            [Event::PrivateOidIgnored { member: member(1), entry: 1 }, set(1, u32::MAX), set(1, FIRST + 8)];
        assert_eq!(events(&net), expected, "entry {number}");
        net.finish().assert_clean();
    }
}

#[test]
fn after_any_single_refused_call_the_oids_are_set_within_a_minute() {
    let mut failed = 0;
    for n in 1.. {
        let net = team(3, 0);
        write(&net, 2, &entry(FIRST, &[4]));
        net.world().fail_from_here(n);
        net.set("PrivateOids", Value::Dword(1));
        net.advance(100 * MS);
        let site = net.world().injected_fault();
        net.world().fail_from_here(1 << 40);
        net.advance(60_000 * MS);
        // What the adapter itself failed is not repeated.
        if site != Some("OID_SWITCH_NIC_REQUEST") {
            assert_eq!(
                given(&net).get(&2).map(|set| set[&FIRST].clone()),
                Some(vec![4]),
                "call {n} ({site:?})"
            );
        }
        net.finish().assert_clean();
        if site.is_none() {
            break;
        }
        failed += 1;
    }
    assert!(failed > 5, "only {failed} calls failed");
}

/// The kinds of requests, as the registry numbers them.
const QUERY: u32 = 1;
const METHOD: u32 = 2;

/// Adapter 2 has these bytes under the first number of a vendor, and the entry of this kind with this data is for it.
fn ask(net: &Net, kind: u32, has: &[u8], data: &[u8]) -> Vec<Event> {
    let has = has.to_vec();
    net.look(move |s| {
        let adapters = &mut s.modules[0].external.adapters;
        adapters.get_mut(&2).expect("it is there").offloads.private.insert(FIRST, has);
    });
    let [data, oid] = entry(FIRST, data);
    write(net, 2, &[data, oid, ("Type1", Value::Dword(kind))]);
    net.set("PrivateOids", Value::Dword(1));
    net.advance(100 * MS);
    assert_eq!(asked(net), [(2, FIRST)], "of the named adapter alone, once");
    events(net)
}

#[test]
fn the_answer_to_a_query_is_told_by_its_length_and_its_first_bytes() {
    for length in [0, 1, 7, 8, 9, 255, 256] {
        let has: Vec<u8> = (0..length).map(|n| 1 + n as u8 % 200).collect();
        for data in [&[][..], &[9; 256]] {
            let net = team(length, 0);
            let mut first = [0; 8];
            first.iter_mut().zip(&has).for_each(|(place, byte)| *place = *byte);
            let told =
                Event::PrivateOid { member: member(2), oid: FIRST, status: 0, bytes: length as u32, first };
            assert_eq!(ask(&net, QUERY, &has, data), [told], "{length} bytes");
            assert_eq!(given(&net)[&2][&FIRST], has, "nothing is set");
            net.finish().assert_clean();
        }
    }
}

#[test]
fn an_answer_that_is_longer_than_the_bound_is_an_event_with_the_status_alone() {
    for kind in [QUERY, METHOD] {
        for seed in 0..3 {
            let net = team(seed, 0);
            match ask(&net, kind, &[5; 257], &[])[..] {
                [Event::PrivateOid { status, bytes: 0, first: [0, 0, 0, 0, 0, 0, 0, 0], .. }] => {
                    assert_ne!(status, 0);
                }
                ref other => panic!("{other:?}"),
            }
            net.advance(120_000 * MS);
            assert_eq!(asked(&net).len(), 1, "it is not repeated");
            net.finish().assert_clean();
        }
    }
}

#[test]
fn a_method_is_given_its_data_and_no_more_and_its_answer_is_told() {
    for input in [0, 1, 5, 100, 253] {
        let data: Vec<u8> = (0..input).map(|n| 1 + n as u8).collect();
        let net = team(u64::from(input), 0);
        // The model's method answers what was set, then its input in reverse.
        let answer: Vec<u8> = [0xA1, 0xA2, 0xA3].into_iter().chain(data.iter().rev().copied()).collect();
        let mut first = [0; 8];
        first.iter_mut().zip(&answer).for_each(|(place, byte)| *place = *byte);
        let told = Event::PrivateOid { member: member(2), oid: FIRST, status: 0, bytes: 3 + input, first };
        assert_eq!(ask(&net, METHOD, &[0xA1, 0xA2, 0xA3], &data), [told]);
        net.finish().assert_clean();
    }
}

#[test]
fn an_entry_is_sent_again_when_its_kind_changes_and_ignored_when_that_is_none() {
    let net = team(1, 0);
    assert_eq!(ask(&net, QUERY, &[4], &[7]).len(), 1);
    write(&net, 2, &[("Type1", Value::Dword(0))]);
    assert_eq!((asked(&net).len(), given(&net)[&2][&FIRST].clone()), (2, vec![7]));
    for (round, none) in (3..).zip([Value::Dword(3), Value::Sz("set".to_owned()), Value::Binary(vec![1])]) {
        write(&net, 2, &[("Type1", none)]);
        assert_eq!(asked(&net).len(), round - 1);
        assert_eq!(events(&net).last(), Some(&Event::PrivateOidIgnored { member: member(2), entry: 1 }));
        write(&net, 2, &[("Type1", Value::Dword(0))]);
        assert_eq!(asked(&net).len(), round, "it is one again");
    }
    net.finish().assert_clean();
}

fn entry_of(oid: u32) -> Net {
    let net = Scenario::new(1).members(&[10, 10]).vms(1).setting("LinkUpDelayMs", Value::Dword(0)).start();
    write(&net, 2, &entry(oid, &[1]));
    net
}

/// What follows when the setting is turned on.
fn seen(oid: u32, event: Event) -> Seen {
    let act = |net: &Net| {
        net.set("PrivateOids", Value::Dword(1));
        net.advance(100 * MS);
    };
    after(entry_of(oid), act, move |_| vec![Event::SettingsRead, event])
}

pub fn a_private_oid_is_set() -> Seen {
    seen(FIRST, set(2, FIRST))
}

pub fn a_private_oid_is_queried() -> Seen {
    let net = entry_of(FIRST);
    write(&net, 2, &[("Type1", Value::Dword(QUERY))]);
    net.look(|s| {
        let adapter = s.modules[0].external.adapters.get_mut(&2).expect("it is there");
        adapter.offloads.private.insert(FIRST, vec![3; 9]);
    });
    let act = |net: &Net| {
        net.set("PrivateOids", Value::Dword(1));
        net.advance(100 * MS);
    };
    let told = Event::PrivateOid { member: member(2), oid: FIRST, status: 0, bytes: 9, first: [3; 8] };
    after(net, act, move |_| vec![Event::SettingsRead, told])
}

pub fn a_private_oid_is_none() -> Seen {
    seen(FIRST - 1, Event::PrivateOidIgnored { member: member(2), entry: 1 })
}
