//! Saved run-time state: valid data is restored, whatever buffers it went through; damaged data is rejected.

#[path = "../../tests/fuzz/corpus/mod.rs"]
#[allow(dead_code, reason = "other tests use the rest of it")]
mod corpus;
mod saved;

use proptest::prelude::*;
use saved::{Draw, assemble, hold, parts, record};
use std::collections::BTreeMap;
use teaming::Heap;
use teaming::frame::TunnelPorts;
use teaming::ids::{BUCKETS, MEMBERS, MemberIndex, NicId, NicIndex, PortId, Ticks};
use teaming::migration::record::{
    Differences, Discard, NicState, PART_HEADER, PART_MAX, PINS_MAX, Part, Pin, PinKind, Placement,
    RECORD_MAX, decode, encode, record_len,
};
use teaming::settings::{Lookup, Settings};
use teaming::team::Team;
use teaming::team::member::{LinkState, Member, MemberEvent};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]
    #[test]
    fn what_was_saved_is_restored_through_any_buffers_in_any_order(
        seed: u64,
        pins in prop_oneof![0..4_usize, 0..=PINS_MAX],
        sizes in prop::collection::vec(prop_oneof![0..100_usize, 0..PART_MAX + 9, 0..20_000_usize], 1..9),
    ) {
        let mut draw = Draw(seed);
        let (state, pins) = (draw.state(), draw.pins(pins));
        let saved = record(&state, &pins);
        let mut next = sizes.iter().cycle();
        let mut all = parts(&saved, || *next.next().expect("a cycle"));
        for at in (1..all.len()).rev() {
            all.swap(at, draw.below(at + 1));
        }
        let restored = assemble(&all).expect("all parts are there");
        prop_assert_eq!(&restored, &saved);
        let (again, found) = decode(&restored).expect("nothing was changed");
        prop_assert_eq!(again, state);
        prop_assert_eq!(found.iter().collect::<Vec<Pin>>(), pins);
        // One part missing, and one part twice.
        let lost = all.pop().expect("at least one");
        if !all.is_empty() {
            prop_assert_eq!(assemble(&all), Err(Discard::Incomplete));
            all.extend([lost.clone(), lost]);
            prop_assert_eq!(assemble(&all), Err(Discard::Mixed));
        }
    }

    #[test]
    fn any_bytes_are_read_whole_or_not_at_all(data in prop::collection::vec(any::<u8>(), 0..200)) {
        hold(&data);
    }
}

/// The expected bytes are written by hand from the table; the checksum was computed with zlib.
#[test]
fn the_layout_is_the_documented_one() {
    let text = "4c425253 0100 0200 efcdab8967452301 0df0adba 0700 04 05 20 00000000000000 \
                0a000000 0300 0000 4433221100000000 8877665544332211 \
                01 02 0000 0900000000000000 02 20 0000 ffffffffffffffff 39c55318";
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let expected: Vec<u8> = digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).expect("ASCII"), 16).expect("digits"))
        .collect();
    let (state, pins) = decode(&expected).expect("it is right");
    assert_eq!(state.placement.seed, 0x0123_4567_89AB_CDEF);
    assert_eq!(state.placement.home_map, 0xBAAD_F00D);
    assert_eq!((state.placement.home_map_version, state.placement.members), (7, 32));
    assert_eq!(state.placement.keying.policy, teaming::flow::HashPolicy::HyperVPort);
    assert!(state.placement.keying.flow_label && !state.placement.keying.symmetric);
    assert!(state.placement.adapter_hash);
    assert_eq!(state.hashed_as.to_string(), "10/3");
    assert_eq!((state.traffic.frames, state.traffic.bytes), (0x1122_3344, 0x1122_3344_5566_7788));
    let member = |number| MemberIndex::new(number).expect("1 to 32");
    let listed: Vec<Pin> = pins.iter().collect();
    assert_eq!(
        listed,
        [
            Pin { kind: PinKind::Queue, member: member(2), id: 9 },
            Pin { kind: PinKind::SecurityAssociation, member: member(32), id: u64::MAX },
        ]
    );
    assert_eq!(record(&state, &listed), expected);
}

/// A damaged record: what was changed, and the bytes.
fn spoil(draw: &mut Draw, good: &[u8], other: &[u8]) -> (&'static str, Vec<u8>) {
    let mut bytes = good.to_vec();
    let flip = |draw: &mut Draw, bytes: &mut Vec<u8>| {
        let at = draw.below(bytes.len());
        bytes[at] ^= 1 << draw.below(8);
    };
    match draw.below(8) {
        0 => {
            flip(draw, &mut bytes);
            ("one bit", bytes)
        }
        1 => {
            (0..2 + draw.below(6)).for_each(|_| flip(draw, &mut bytes));
            ("several bits", bytes)
        }
        2 => {
            bytes.truncate(draw.below(bytes.len()));
            ("cut off", bytes)
        }
        3 => {
            bytes.extend((0..1 + draw.below(40)).map(|_| draw.next() as u8));
            ("longer", bytes)
        }
        4 => {
            let version = draw.next() as u16;
            bytes[4..6].copy_from_slice(&version.to_le_bytes());
            ("another version", bytes)
        }
        5 => {
            let name = draw.next() as u32;
            bytes[..4].copy_from_slice(&name.to_le_bytes());
            ("foreign", bytes)
        }
        6 => {
            let (at, to) = (draw.below(bytes.len()), draw.below(bytes.len()));
            bytes.swap(at, to);
            ("octets exchanged", bytes)
        }
        _ => {
            let at = draw.below(bytes.len().min(other.len()));
            bytes.truncate(at);
            bytes.extend_from_slice(&other[at..]);
            ("two records joined", bytes)
        }
    }
}

#[test]
fn a_million_spoilt_records_are_restored_whole_or_discarded_whole() {
    let mut draw = Draw(8);
    let mut reasons: BTreeMap<&'static str, u64> = BTreeMap::new();
    let (mut same, mut discarded) = (0, 0);
    for _ in 0..10_000 {
        let count = draw.below(6);
        let (state, pins) = (draw.state(), draw.pins(count));
        let good = record(&state, &pins);
        let other = {
            let (state, count) = (draw.state(), draw.below(6));
            record(&state, &draw.pins(count))
        };
        for _ in 0..100 {
            let (what, bytes) = spoil(&mut draw, &good, &other);
            match decode(&bytes) {
                Ok((found, listed)) => {
                    let whole = [&good, &other].into_iter().any(|record| *record == bytes);
                    assert!(whole, "{what}: a spoilt record was believed");
                    let again = record(&found, &listed.iter().collect::<Vec<_>>());
                    assert_eq!(again, bytes, "{what}");
                    same += 1;
                }
                Err(reason) => {
                    assert!(reason.sentence().len() <= 80 && reason.sentence().ends_with('.'));
                    *reasons.entry(reason.sentence()).or_default() += 1;
                    discarded += 1;
                }
            }
            hold(&bytes);
        }
    }
    println!("{same} unchanged, {discarded} discarded: {reasons:?}");
    assert_eq!(same + discarded, 1_000_000);
    assert!(reasons.len() >= 5, "{reasons:?}");
}

#[test]
fn a_spoilt_part_spoils_the_record_and_nothing_else() {
    let mut draw = Draw(9);
    for _ in 0..20_000 {
        let count = if draw.below(50) == 0 { 400 } else { draw.below(5) };
        let (state, pins) = (draw.state(), draw.pins(count));
        let saved = record(&state, &pins);
        let mut all = parts(&saved, || PART_MAX);
        let which = draw.below(all.len());
        let (_, spoilt) = spoil(&mut draw, &all[which].clone(), &all[0].clone());
        hold(&spoilt);
        all[which] = spoilt;
        if let Ok(bytes) = assemble(&all)
            && decode(&bytes).is_ok()
        {
            assert_eq!(bytes, saved);
        }
    }
}

#[test]
fn newer_foreign_short_and_long_data_each_have_their_reason() {
    let mut draw = Draw(1);
    let pins = draw.pins(2);
    let mut state = draw.state();
    state.placement.keying.tunnels = TunnelPorts::REGISTERED;
    state.seat = 0;
    let good = record(&state, &pins);
    let with = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = good.clone();
        change(&mut bytes);
        decode(&bytes).map(|_| ()).expect_err("it is spoilt")
    };
    assert_eq!(with(&|bytes| bytes[0] = b'X'), Discard::Foreign);
    assert_eq!(with(&|bytes| bytes[4] = 4), Discard::Newer(4));
    assert_eq!(with(&|bytes| bytes.truncate(40)), Discard::Truncated);
    assert_eq!(with(&|bytes| bytes.truncate(0)), Discard::Truncated);
    assert_eq!(with(&|bytes| bytes.push(0)), Discard::TooLong);
    assert_eq!(with(&|bytes| bytes[20] ^= 1), Discard::Damaged);
    // The checksum is valid, but a field is not.
    let sealed = |change: &dyn Fn(&mut [u8])| {
        with(&|bytes| {
            change(bytes);
            let at = bytes.len() - 4;
            let crc = CRC32.checksum(&bytes[..at]).to_le_bytes();
            bytes[at..].copy_from_slice(&crc);
        })
    };
    for (at, value) in [
        (4, 0),
        (4, 2),
        (4, 3),
        (22, 1),
        (22, 200),
        (23, 8),
        (24, 33),
        (25, 1),
        (29, 1),
        (38, 1),
        (56, 9),
        (57, 0),
        (58, 1),
    ] {
        assert_eq!(sealed(&|bytes| bytes[at] = value), Discard::Malformed, "octet {at} is {value}");
    }
}

#[test]
fn only_a_record_with_ports_of_tunnels_or_a_seat_is_of_the_version_that_has_them() {
    let mut draw = Draw(3);
    for (vxlan, geneve, seat, version) in [
        (0, 0, 0, 1),
        (8_472, 0, 0, 2),
        (0, 6_082, 0, 2),
        (0x0102, 0x0304, 0, 2),
        (0, 0, 1, 3),
        (8_472, 0, 0x0203, 3),
    ] {
        let mut state = draw.state();
        state.placement.keying.tunnels = TunnelPorts { vxlan, geneve };
        state.seat = seat;
        let bytes = record(&state, &[]);
        assert_eq!(bytes[4..6], [version, 0]);
        let [low, high] = u16::to_le_bytes(vxlan);
        let [next, last] = u16::to_le_bytes(geneve);
        assert_eq!(bytes[25..32], [low, high, next, last, 0, 0, 0]);
        assert_eq!(bytes[38..40], seat.to_le_bytes());
        assert_eq!(decode(&bytes).map(|(read, _)| read), Ok(state));
    }
}

/// An independent implementation of the checksum.
const CRC32: crc::Crc<u32> = crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC);

#[test]
fn the_check_sum_is_the_crc_32_that_another_implementation_gives() {
    assert_eq!(crc32fast::hash(b""), 0);
    assert_eq!(crc32fast::hash(b"123456789"), 0xCBF4_3926);
    for length in 0..600_u32 {
        let bytes: Vec<u8> = (0..length).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        assert_eq!(crc32fast::hash(&bytes), CRC32.checksum(&bytes), "{length} octets");
    }
}

#[test]
fn a_record_that_cannot_be_is_not_written() {
    let mut draw = Draw(3);
    let state = draw.state();
    let pins = draw.pins(PINS_MAX + 1);
    let mut bytes = vec![0; RECORD_MAX + 12];
    assert_eq!(encode(&state, pins.iter().copied(), &mut bytes), None);
    assert_eq!(encode(&state, pins[..2].iter().copied(), &mut bytes), None);
    assert_eq!(record_len(PINS_MAX), RECORD_MAX);
    let longest = record(&state, &pins[..PINS_MAX]);
    assert_eq!(parts(&longest, || 0).len(), RECORD_MAX.div_ceil(PART_MAX - PART_HEADER));
    assert_eq!(parts(&longest, || 60_000).len(), 1);
    assert!(Part::parse(&saved::part(&longest)).is_ok());
    assert_eq!(Part::parse(&saved::part(&vec![0; RECORD_MAX + 1])), Err(Discard::Malformed));
}

/// A team with these speeds in Gbit/s; 0 for an index without a member.
fn team(settings: &Settings, gigabits: &[u64]) -> Team<Heap> {
    let mut team = Team::<Heap>::new(
        vec![0; BUCKETS],
        teaming::team::Next::at_once(),
        vec![Member::ABSENT; MEMBERS],
        settings,
    );
    for (slot, &speed) in gigabits.iter().enumerate().filter(|(_, speed)| **speed != 0) {
        let member = MemberIndex::from_slot(slot).expect("at most 32");
        let up = LinkState::Up { bits_per_second: Some(speed * 1_000_000_000) };
        for event in [MemberEvent::Created, MemberEvent::Connected, MemberEvent::Link(up)] {
            team.on(member, event, Ticks::ZERO);
        }
    }
    team
}

#[test]
fn the_home_map_of_a_team_has_the_same_check_sum_on_every_host_and_in_every_version() {
    let settings = Settings::default();
    for (gigabits, expected) in [(&[10, 10, 25][..], 0x5AFA_4AE2), (&[1, 10, 40, 100], 0x3813_D633)] {
        let team = team(&settings, gigabits);
        assert_eq!(Placement::of(&settings, &team).home_map, expected, "{gigabits:?}");
        assert_eq!(CRC32.checksum(team.home()), expected, "{gigabits:?}");
    }
}

#[test]
fn hosts_that_differ_are_told_apart_by_what_differs() {
    let read = |name: &'static str, value: u64| {
        let lookup = move |setting: &teaming::settings::Setting| match setting.name {
            "TeamingMode" => Lookup::Value(0),
            known if known == name => Lookup::Value(value),
            _ => Lookup::Missing,
        };
        Settings::read(lookup).0
    };
    let plain = read("", 0);
    let here = Placement::of(&plain, &team(&plain, &[10, 10, 25]));
    assert_eq!(here.members, 3);
    let against = |settings: &Settings, gigabits: &[u64]| {
        Placement::of(settings, &team(settings, gigabits)).differs_from(&here)
    };
    assert_eq!(against(&plain, &[10, 10, 25]), Differences::NONE);
    assert_eq!(against(&read("HashSeed", 7), &[10, 10, 25]), Differences::SEED);
    for (name, value) in [
        ("LoadBalancingAlgorithm", 2),
        ("UseIpv6FlowLabel", 1),
        ("SymmetricHash", 1),
        ("UseAdapterHash", 1),
        ("VxlanPort", 8_472),
        ("GenevePort", 6_082),
    ] {
        assert_eq!(against(&read(name, value), &[10, 10, 25]), Differences::POLICY, "{name}");
    }
    // Each member ten times as fast: the same shares and the same map.
    assert_eq!(against(&plain, &[100, 100, 250]), Differences::NONE);
    assert_eq!(against(&plain, &[10, 25, 10]), Differences::HOME_MAP);
    assert_eq!(against(&plain, &[10, 10, 0, 25]), Differences::HOME_MAP);
    let fewer = against(&plain, &[10, 10]);
    assert!(fewer.contains(Differences::MEMBERS) && fewer.contains(Differences::HOME_MAP));
    assert_eq!(fewer.names().count(), 2);
    let port = |number| NicId::new(PortId::new(number), NicIndex::DEFAULT);
    let tuples = read("LoadBalancingAlgorithm", 0);
    let tuples = Placement::of(&tuples, &team(&tuples, &[10, 10, 25]));
    for (placement, expected) in [(here, Differences::PORT), (tuples, Differences::NONE)] {
        let state = NicState { placement, hashed_as: port(10), seat: 0, traffic: Default::default() };
        assert_eq!(state.differs_from(port(10).into(), &placement), Differences::NONE);
        assert_eq!(state.differs_from(port(40).into(), &placement), expected);
    }
    let other = Placement { home_map_version: 0, ..here };
    assert_eq!(other.differs_from(&here), Differences::MAP_VERSION);
}

#[test]
fn a_member_that_is_down_changes_nothing_in_the_placement() {
    let settings = Settings::default();
    let mut with_loss = team(&settings, &[10, 10, 10]);
    let whole = Placement::of(&settings, &with_loss);
    let two = MemberIndex::new(2).expect("1 to 32");
    with_loss.on(two, MemberEvent::Link(LinkState::Down), Ticks::ZERO);
    assert_eq!(Placement::of(&settings, &with_loss), whole);
}

#[test]
fn every_input_of_the_fuzzer_holds() {
    let inputs = corpus::inputs("saved");
    assert!(inputs.len() > 20, "{} inputs", inputs.len());
    for input in inputs {
        (0..=input.len()).for_each(|length| hold(&input[..length]));
    }
}
