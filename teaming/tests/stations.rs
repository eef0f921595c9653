//! The port table with its vNICs against a hash map, with random life cycles, reuse of ids, and growth.

use std::collections::{HashMap, HashSet};

use proptest::prelude::*;
use teaming::Heap;
use teaming::ids::{MacAddr, NicId, NicIndex, PortId};
use teaming::oid::nic::{NicKind, NicOp, NicParameters, VmId};
use teaming::ports::host::HeapHost;
use teaming::ports::storage::PortTableStorage;
use teaming::ports::vlan::VlanSet;
use teaming::ports::{Full, NicState, PortTable};

fn table(stations: usize) -> PortTable<Heap> {
    let (room, sets) = (PortTableStorage::on_heap(stations), vec![VlanSet::EMPTY; stations]);
    PortTable::new(room, sets, HeapHost::default())
}

fn found(table: &PortTable<Heap>, mac: MacAddr) -> Option<NicId> {
    table.lookup(mac).map(|port| port.id)
}

fn mac(number: u8) -> MacAddr {
    match number {
        0 => MacAddr::ZERO,
        number => MacAddr([0, 0x15, 0x5d, 0, number >> 4, number]),
    }
}

fn station(port: u32, current: u8, given: u8) -> NicParameters {
    NicParameters {
        id: NicId::new(PortId::new(port), NicIndex::DEFAULT),
        kind: NicKind::Synthetic,
        current_mac: mac(current),
        permanent_mac: mac(current),
        vm_mac: mac(given),
        mtu: 1500,
        vm: VmId::NONE,
        vf_assigned: false,
        initializing: true,
        adapter: teaming::ids::AdapterId::UNKNOWN,
    }
}

/// The model: parameters of each NIC, and whether it is connected.
type Model = HashMap<NicId, (NicParameters, bool)>;

fn expect(model: &mut Model, op: NicOp, nic: &NicParameters, capacity: usize) -> Result<(), Full> {
    let known = model.contains_key(&nic.id);
    match op {
        NicOp::Create | NicOp::Connect if !known && model.len() == capacity => return Err(Full),
        NicOp::Create => {
            let connected = model.get(&nic.id).is_some_and(|(_, connected)| *connected);
            model.insert(nic.id, (*nic, connected));
        }
        NicOp::Connect => {
            model.insert(nic.id, (*nic, true));
        }
        NicOp::Update => {
            model.entry(nic.id).and_modify(|entry| entry.0 = *nic);
        }
        NicOp::Disconnect => {
            model.entry(nic.id).and_modify(|entry| entry.1 = false);
        }
        NicOp::Delete => {
            model.remove(&nic.id);
        }
    }
    Ok(())
}

fn check(table: &PortTable<Heap>, model: &Model) {
    assert_eq!(table.len(), model.len());
    assert_eq!(table.is_full(), model.len() == table.capacity());
    let connected: HashSet<NicId> = table.connected().map(|nic| nic.id).collect();
    assert_eq!(table.connected().count(), connected.len());
    let expected: HashSet<NicId> =
        model.iter().filter(|(_, (_, connected))| *connected).map(|(&id, _)| id).collect();
    assert_eq!(connected, expected);
    for (id, (nic, connected)) in model {
        let kept = table.get(id.port).unwrap();
        assert_eq!((kept.current_mac, kept.vm_mac, kept.mtu), (nic.current_mac, nic.vm_mac, nic.mtu));
        assert_eq!(kept.nic == NicState::Connected, *connected);
    }
    for number in 0..=40 {
        let owners: HashSet<NicId> = model
            .values()
            .filter(|(nic, connected)| {
                *connected
                    && number != 0
                    && [nic.current_mac, nic.permanent_mac, nic.vm_mac].contains(&mac(number))
            })
            .map(|(nic, _)| nic.id)
            .collect();
        match table.lookup(mac(number)) {
            Some(port) => assert!(owners.contains(&port.id), "{number} is not {}'s", port.id),
            None => assert!(owners.is_empty(), "{number} belongs to {owners:?}"),
        }
    }
}

#[derive(Debug, Clone)]
enum Step {
    Op(NicOp, NicParameters),
    Grow(usize),
}

fn any_step() -> impl Strategy<Value = Step> {
    let op = prop::sample::select(vec![
        NicOp::Create,
        NicOp::Connect,
        NicOp::Update,
        NicOp::Disconnect,
        NicOp::Delete,
    ]);
    prop_oneof![
        60 => (op, 1..24_u32, 0..40_u8, 0..40_u8)
            .prop_map(|(op, port, current, given)| Step::Op(op, station(port, current, given))),
        1 => (1..32_usize).prop_map(Step::Grow),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_table_equals_a_map_after_any_life_cycle(steps in prop::collection::vec(any_step(), 0..300)) {
        let mut table = table(8);
        let mut model = Model::new();
        for step in steps {
            match step {
                Step::Op(op, nic) => {
                    let capacity = table.capacity();
                    prop_assert_eq!(table.apply(op, &nic), expect(&mut model, op, &nic, capacity));
                }
                Step::Grow(stations) => {
                    let before = table.capacity();
                    let mut old = PortTableStorage::on_heap(stations);
                    table.grow(&mut old);
                    prop_assert_eq!(table.capacity(), before.max(stations));
                    prop_assert_eq!(old.ports.len(), before.min(stations));
                }
            }
            check(&table, &model);
        }
    }
}

#[test]
fn a_thousand_stations_are_found_and_strangers_are_not() {
    let mut table = table(1024);
    for port in 0..1024_u32 {
        let mut nic = station(port, 0, 0);
        let [_, _, high, low] = port.to_be_bytes();
        nic.current_mac = MacAddr([0, 0x15, 0x5d, 1, high, low]);
        nic.vm_mac = MacAddr([0, 0x15, 0x5d, 2, high, low]);
        table.connect(&nic).unwrap();
    }
    assert!(table.is_full());
    assert_eq!(table.connect(&station(5000, 1, 1)), Err(Full));
    for port in 0..1024_u32 {
        let [_, _, high, low] = port.to_be_bytes();
        for kind in [1, 2] {
            let found = found(&table, MacAddr([0, 0x15, 0x5d, kind, high, low]));
            assert_eq!(found, Some(NicId::new(PortId::new(port), NicIndex::DEFAULT)));
        }
        assert_eq!(table.lookup(MacAddr([0, 0x15, 0x5d, 3, high, low])), None);
    }
}

#[test]
fn ids_may_be_reused_at_once_with_another_address() {
    let mut table = table(1);
    table.connect(&station(9, 1, 1)).unwrap();
    table.delete(station(9, 1, 1).id.port);
    table.create(&station(9, 2, 2)).unwrap();
    assert_eq!(table.lookup(mac(2)), None);
    table.connect(&station(9, 2, 2)).unwrap();
    assert_eq!((found(&table, mac(1)), found(&table, mac(2))), (None, Some(station(9, 2, 2).id)));
}

#[test]
fn the_address_that_a_guest_left_still_reaches_it() {
    let mut table = table(2);
    table.connect(&station(9, 1, 1)).unwrap();
    table.update(&station(9, 3, 1)).unwrap();
    assert_eq!(found(&table, mac(3)), Some(station(9, 3, 1).id));
    assert_eq!(found(&table, mac(1)), Some(station(9, 3, 1).id));
}

#[test]
fn of_two_stations_with_one_address_the_other_takes_over() {
    let mut table = table(4);
    table.connect(&station(1, 5, 5)).unwrap();
    table.connect(&station(2, 5, 5)).unwrap();
    assert_eq!(found(&table, mac(5)), Some(station(1, 0, 0).id));
    table.disconnect(station(1, 0, 0).id.port);
    assert_eq!(found(&table, mac(5)), Some(station(2, 0, 0).id));
}

#[test]
fn a_table_without_storage_refuses_and_finds_nothing() {
    let mut none = table(0);
    assert_eq!(none.connect(&station(1, 1, 1)), Err(Full));
    assert_eq!(none.lookup(mac(1)), None);
}
