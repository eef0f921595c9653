//! PreserveVLAN and PreservePriority of every destination, for every combination of source, tags and destination.

use std::collections::BTreeMap;

use teaming::forward::OutOfBand;
use teaming::forward::drop_reason::DropReason;
use teaming::ids::{MacAddr, PortId};
use teaming::ports::port::Preserve;
use teaming::settings::TeamingMode;

use crate::host::{Host, Place, REMOTE, TRUSTED, UPLINK, frame, mac, nic, settings};
use crate::rows::{Form, From, Mode, Rules};

/// VLAN modes that cover every combination of source and destination.
pub fn modes() -> Vec<Mode> {
    let trunk = |native, listed: &[u16], pruned: &[u16]| Mode::Trunk {
        native,
        listed: listed.to_vec(),
        pruned: pruned.to_vec(),
    };
    vec![
        Mode::Nothing,
        Mode::Access(0),
        Mode::Access(10),
        Mode::Access(100),
        Mode::Access(101),
        trunk(0, &[10, 100, 101], &[]),
        trunk(10, &[20, 100], &[]),
        trunk(20, &[10, 20, 101, 4094], &[101]),
        trunk(10, &[20, 102], &[10]),
        trunk(0, &[0, 20], &[0]),
        Mode::Isolated(100, 101),
        Mode::Isolated(200, 10),
        Mode::Community(100, 102),
        Mode::Promiscuous(100, vec![101, 102]),
        Mode::Promiscuous(100, vec![0, 102]),
    ]
}

/// Ports of every mode, with and without priority tags, with and without a virtual subnet; and closed ports.
fn stations() -> Vec<(u32, Rules)> {
    let mut stations = Vec::new();
    for mode in modes() {
        for (priority, subnet) in [(false, 0), (true, 0), (false, 5001), (true, 5002)] {
            stations.push(Rules { mode: mode.clone(), priority, subnet, closed: false });
        }
    }
    for mode in [Mode::Nothing, Mode::Access(10), Mode::Promiscuous(100, vec![101])] {
        stations.push(Rules { mode, priority: true, subnet: 0, closed: true });
    }
    (10..).zip(stations).collect()
}

fn forms() -> Vec<Form> {
    let numbers = [10, 20, 100, 101, 102, 999, 4094, 4095];
    let mut forms: Vec<Form> = vec![Form::default()];
    let mut add = |tag_vlan, tags: &[u16]| forms.push(Form { tag_vlan, tags: tags.to_vec(), subnet: 0 });
    for priority in [0, 0x6000] {
        add(0, &[priority]);
        add(0, &[priority, 10]);
        numbers.iter().for_each(|number| add(0, &[number | priority]));
    }
    for number in numbers {
        add(number, &[]);
        add(number, &[10]);
        add(number, &[0x6000, 20]);
        add(0, &[number, 10]);
    }
    let in_subnets = forms
        .iter()
        .step_by(3)
        .cloned()
        .flat_map(|form| [5001, 5003].map(|subnet| Form { subnet, ..form.clone() }));
    let in_subnets: Vec<Form> = in_subnets.collect();
    forms.extend(in_subnets);
    forms
}

/// Whether a reason can apply to a frame that its source port rejects.
fn is_of_the_source(reason: DropReason) -> bool {
    matches!(
        reason,
        DropReason::BadTag
            | DropReason::TaggedFrame
            | DropReason::VlanNotAllowed
            | DropReason::VirtualSubnet
            | DropReason::PortClosed
    )
}

#[test]
fn the_bits_of_every_destination_are_those_of_the_table() {
    let mut seen = BTreeMap::new();
    let outsides = [Mode::Nothing, Mode::Access(10), modes()[6].clone(), Mode::Isolated(100, 101)];
    for outside in outsides.map(Rules::new) {
        let stations = stations();
        let mut host = Host::new(&settings(TeamingMode::Static), stations.len() + 1);
        for (port, rules) in &stations {
            host.station(*port);
            rules.set(&mut host, PortId::new(*port));
        }
        host.forwarding.create_port(PortId::new(UPLINK), false).unwrap();
        outside.mode.with_property(|property| {
            let wanted = property.map(|property| property.check().unwrap());
            host.forwarding.set_vlans(PortId::new(UPLINK), wanted.as_ref()).unwrap();
        });
        let from_stations = stations.iter().map(|(port, rules)| From::Station(*port, rules.clone()));
        for from in from_stations.chain([From::Outside(outside.clone()), From::Switch]) {
            for form in forms() {
                check(&host, &from, &form, &stations, &outside, &mut seen);
            }
        }
    }
    // Every combination of bits occurred, for vNICs and for the external port.
    let bits = |place: &str| seen.iter().filter(|((at, _), count)| *at == place && **count > 20).count();
    assert_eq!((bits("station"), bits("outside")), (4, 4), "{seen:?}");
}

fn check(
    host: &Host,
    from: &From,
    form: &Form,
    stations: &[(u32, Rules)],
    outside: &Rules,
    seen: &mut BTreeMap<(&'static str, u8), u32>,
) {
    let (source, own) = match from {
        From::Station(port, _) => (nic(*port, 0), mac(*port)),
        From::Outside(_) => (nic(UPLINK, 1), REMOTE),
        From::Switch => (TRUSTED, REMOTE),
    };
    let out_of_band = OutOfBand { vlan: form.tag_vlan, subnet: form.subnet, adapter: None };
    let ways = |to: MacAddr| host.ways(source, &frame(own, to, &form.tags), &out_of_band);
    let inside = from.enters(form);
    let told = || format!("{from:?} {form:?} outside {outside:?}");

    // Whether the tag in the bytes comes off, for what reaches these destinations.
    let untags = |to: MacAddr| {
        let decision = host.decide(source, &frame(own, to, &form.tags), &out_of_band);
        host.forwarding.takes_tag_off(&host.forwarding.source_port(source), &decision)
    };
    let bare = |ways: &BTreeMap<Place, u8>| {
        inside.is_some_and(|inside| inside.in_bytes)
            && ways.values().any(|bits| bits & Preserve::VLAN.bits() == 0)
    };

    // Broadcast.
    let rows = stations.iter().map(|(port, rules)| (*port, rules));
    match from.broadcast(form, rows, outside) {
        None => assert!(ways(MacAddr::BROADCAST).is_err_and(is_of_the_source), "{}", told()),
        Some(expected) => {
            for (place, bits) in &expected {
                let place = if *place == Place::Outside { "outside" } else { "station" };
                *seen.entry((place, *bits)).or_default() += 1;
            }
            assert_eq!(untags(MacAddr::BROADCAST), bare(&expected), "{}", told());
            assert_eq!(ways(MacAddr::BROADCAST), Ok(expected), "{}", told());
        }
    }
    // The VLAN in the out-of-band tag for the extensions below.
    if let Some(inside) = inside {
        let decision = host.decide(source, &frame(own, MacAddr::BROADCAST, &form.tags), &out_of_band);
        let tag = decision.sent.tag().map_or(0, teaming::ids::VlanId::get);
        assert_eq!(tag, if inside.untold { inside.vlan } else { 0 }, "{}", told());
    }
    // To each vNIC.
    for (port, rules) in stations {
        let found = ways(mac(*port));
        if matches!(from, From::Station(own, _) if own == port) {
            assert!(found.is_err(), "{}", told());
            continue;
        }
        let expected = inside.and_then(|inside| from.station(&inside, rules));
        let expected = expected.map(|bits| BTreeMap::from([(Place::Station(*port), bits)]));
        assert_eq!(untags(mac(*port)), expected.as_ref().is_some_and(bare), "{} to {port} {rules:?}", told());
        assert_eq!(found.ok(), expected, "{} to {port} {rules:?}", told());
    }
    // To an address that no vNIC has.
    let expected = inside.and_then(|inside| from.outside(&inside, form, outside));
    let expected = expected.map(|bits| BTreeMap::from([(Place::Outside, bits)]));
    let nobody = MacAddr([2, 0xcc, 0, 0, 0, 1]);
    assert_eq!(untags(nobody), expected.as_ref().is_some_and(bare), "{}", told());
    assert_eq!(ways(nobody).ok(), expected, "{}", told());
}

/// Packets for which `same_way` is true share one destination array, so their destinations, bits and tag must be
/// equal.
#[test]
fn packets_that_go_the_same_way_have_the_same_destinations_bits_and_tag() {
    let mut host = Host::new(&settings(TeamingMode::Static), 64);
    for (port, rules) in stations() {
        host.station(port);
        rules.set(&mut host, PortId::new(port));
    }
    let groups = [[1, 0, 0x5e, 0, 0, 1], [1, 0, 0x5e, 0, 0, 2]].map(MacAddr);
    host.forwarding.ports.listen(PortId::new(11), [groups[0]].into_iter());
    host.forwarding.ports.listen(PortId::new(12), [groups[1]].into_iter());
    let to: Vec<MacAddr> = (10..24).map(mac).chain(groups).chain([MacAddr::BROADCAST, REMOTE]).collect();
    let mut pairs = [0; 2];
    for source in [TRUSTED, nic(30, 0), nic(31, 0), nic(12, 0), nic(50, 0), nic(UPLINK, 1)] {
        let own =
            if source.port.get() < 10 { MacAddr([2, 0xee, 0, 0, 0, 9]) } else { mac(source.port.get()) };
        let mut known = Vec::new();
        for form in forms() {
            for &to in &to {
                let out_of_band = OutOfBand { vlan: form.tag_vlan, subnet: form.subnet, adapter: None };
                let window = frame(own, to, &form.tags);
                let decision = host.decide(source, &window, &out_of_band);
                known.push((decision, host.ways(source, &window, &out_of_band), decision.sent.tag()));
            }
        }
        for (number, (decision, ways, tag)) in known.iter().enumerate() {
            for (other, other_ways, other_tag) in known.iter().skip(number + 1).step_by(7) {
                let same = decision.same_way(other);
                pairs[usize::from(same)] += 1;
                assert!(!same || ways == other_ways && tag == other_tag, "{decision:?} {other:?}");
            }
        }
    }
    assert!(pairs.into_iter().all(|count| count > 10_000), "{pairs:?}");
}
