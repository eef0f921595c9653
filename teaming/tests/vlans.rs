//! The VLAN table of `src/ARCHITECTURE.md` row by row, and private VLANs pair by pair.

use teaming::forward::drop_reason::DropReason;
use teaming::frame::{self, Headers};
use teaming::ids::VlanId;
use teaming::ports::vlan::{Bits, Carried, VLAN_BYTES, VlanProperty, VlanSet, Vlans, admit, classify};

/// A set of VLANs in the form of a property.
fn bits(numbers: &[u16]) -> [u8; VLAN_BYTES] {
    let mut bytes = [0; VLAN_BYTES];
    for number in numbers {
        bytes[usize::from(number / 8)] |= 1 << (number % 8);
    }
    bytes
}

struct Ports {
    sets: Vec<VlanSet>,
}

impl Ports {
    fn new() -> Self {
        Self { sets: vec![VlanSet::EMPTY; 8] }
    }

    fn of(&mut self, property: VlanProperty<'_>) -> Vlans {
        property.check().unwrap().keep(&mut self.sets).unwrap()
    }

    fn trunk(&mut self, native: u16, allowed: &[u16], pruned: &[u16]) -> Vlans {
        let (allowed, pruned) = (bits(allowed), bits(pruned));
        self.of(VlanProperty::Trunk { native, allowed: Bits(&allowed), pruned: Bits(&pruned) })
    }

    fn promiscuous(&mut self, primary: u16, secondaries: &[u16]) -> Vlans {
        let secondaries = bits(secondaries);
        self.of(VlanProperty::Promiscuous { primary, secondaries: Bits(&secondaries) })
    }

    fn enters(&self, port: Vlans, tag_vlan: u16, tags: &[u16]) -> Result<Carried, DropReason> {
        classify(port, tag_vlan, &headers(tags), &self.sets)
    }

    /// `Ok(true)`: delivered with its tag.
    fn leaves(&self, from: Vlans, frame: Carried, to: Vlans) -> Result<bool, DropReason> {
        admit(from, frame, to, &self.sets).map(|admitted| admitted.tagged)
    }
}

/// A frame with these tags in its bytes.
fn headers(tags: &[u16]) -> Headers {
    let mut bytes = vec![2; 12];
    for tag in tags {
        bytes.extend([0x81, 0]);
        bytes.extend(tag.to_be_bytes());
    }
    bytes.extend([0x08, 0]);
    bytes.extend([0; 20]);
    frame::parse(&bytes)
}

/// A frame with a service tag, and other tags after it.
fn service_tagged(tpid: u16, service: u16, then: &[u16]) -> Headers {
    let mut bytes = vec![2; 12];
    for (number, tag) in std::iter::once(&service).chain(then).enumerate() {
        bytes.extend(if number == 0 { tpid } else { 0x8100 }.to_be_bytes());
        bytes.extend(tag.to_be_bytes());
    }
    bytes.extend([0x08, 0]);
    bytes.extend([0; 20]);
    frame::parse(&bytes)
}

fn vlan(number: u16) -> Option<VlanId> {
    VlanId::new(number)
}

fn carried(number: u16, in_bytes: bool) -> Carried {
    Carried { vlan: vlan(number), in_bytes, ..Carried::UNTAGGED }
}

/// Ports of every mode: access without and with a VLAN, isolated, community, promiscuous.
fn untagging(ports: &mut Ports) -> [(Vlans, u16); 5] {
    [
        (Vlans::Access(None), 0),
        (Vlans::Access(vlan(10)), 10),
        (ports.of(VlanProperty::Isolated { primary: 100, secondary: 101 }), 101),
        (ports.of(VlanProperty::Community { primary: 100, secondary: 102 }), 102),
        (ports.promiscuous(100, &[101, 102]), 100),
    ]
}

#[test]
fn s1_a_tag_that_cannot_be_is_dropped_from_every_port() {
    let mut ports = Ports::new();
    let trunk = ports.trunk(0, &[10, 4095], &[]);
    let all = untagging(&mut ports).map(|(port, _)| port);
    for port in all.into_iter().chain([trunk, Vlans::EVERYTHING]) {
        assert_eq!(ports.enters(port, 4095, &[]), Err(DropReason::BadTag));
        assert_eq!(ports.enters(port, 0, &[4095]), Err(DropReason::BadTag));
        // A tag after a priority tag.
        assert_eq!(ports.enters(port, 0, &[0xE000, 10]), Err(DropReason::BadTag));
        for length in 14..18 {
            let cut = [&[2; 12][..], &[0x81, 0, 0, 10, 8, 0]].concat();
            let headers = frame::parse(&cut[..length]);
            assert_eq!(classify(port, 0, &headers, &ports.sets), Err(DropReason::BadTag));
        }
        for length in 18..22 {
            let cut = [&[2; 12][..], &[0x81, 0, 0xE0, 0, 0x81, 0, 0, 10, 8, 0]].concat();
            let headers = frame::parse(&cut[..length]);
            assert_eq!(classify(port, 0, &headers, &ports.sets), Err(DropReason::BadTag), "{length}");
        }
    }
}

#[test]
fn s1_a_tag_behind_the_one_that_says_the_vlan_is_payload_complete_or_not() {
    let mut ports = Ports::new();
    let trunk = ports.trunk(0, &[10, 20], &[]);
    for tpid in [[0x81, 0], [0x88, 0xA8], [0x91, 0]] {
        let bytes = [&[2; 12][..], &[0x81, 0, 0, 10], &tpid, &[0, 20, 8, 0, 1]].concat();
        for length in 18..=bytes.len() {
            let headers = frame::parse(&bytes[..length]);
            for port in [trunk, Vlans::EVERYTHING] {
                assert_eq!(classify(port, 0, &headers, &ports.sets), Ok(carried(10, true)), "{length}");
            }
        }
        let behind = [&bytes[..12], &bytes[16..]].concat();
        for length in 14..=behind.len() {
            let headers = frame::parse(&behind[..length]);
            for port in [trunk, Vlans::EVERYTHING] {
                let frame =
                    classify(port, 10, &headers, &ports.sets).map(|frame| (frame.vlan, frame.in_bytes));
                assert_eq!(frame, Ok((vlan(10), false)), "{length}");
            }
        }
    }
}

#[test]
fn s2_a_frame_without_a_vlan_is_in_the_one_of_its_port() {
    let mut ports = Ports::new();
    for (port, own) in untagging(&mut ports) {
        for tags in [&[][..], &[0x6000]] {
            assert_eq!(ports.enters(port, 0, tags), Ok(carried(own, false)), "{port:?}");
        }
    }
}

#[test]
fn s3_a_tag_from_a_port_without_tags_is_dropped_even_with_the_ports_own_vlan() {
    let mut ports = Ports::new();
    for (port, own) in untagging(&mut ports) {
        for number in [own.max(1), 77] {
            assert_eq!(ports.enters(port, number, &[]), Err(DropReason::TaggedFrame));
            assert_eq!(ports.enters(port, 0, &[number]), Err(DropReason::TaggedFrame));
        }
    }
}

#[test]
fn s4_a_frame_without_a_vlan_on_a_trunk_is_in_the_native_one_unless_that_is_pruned() {
    let mut ports = Ports::new();
    for (native, pruned, expected) in [
        (0, vec![], Ok(carried(0, false))),
        (20, vec![], Ok(carried(20, false))),
        (20, vec![20], Err(DropReason::VlanNotAllowed)),
        (0, vec![0], Err(DropReason::VlanNotAllowed)),
    ] {
        let trunk = ports.trunk(native, &[10], &pruned);
        assert_eq!(ports.enters(trunk, 0, &[]), expected, "native {native}, pruned {pruned:?}");
        assert_eq!(ports.enters(trunk, 0, &[0xA000]), expected);
    }
}

#[test]
fn s5_and_s6_a_tag_on_a_trunk_counts_if_it_is_allowed_and_not_pruned() {
    let mut ports = Ports::new();
    let trunk = ports.trunk(20, &[0, 1, 10, 11, 4094], &[11]);
    for number in [1, 10, 20, 4094] {
        assert_eq!(ports.enters(trunk, number, &[]), Ok(carried(number, false)));
        assert_eq!(ports.enters(trunk, 0, &[number | 0x6000]), Ok(carried(number, true)));
        // The out-of-band tag is the outer tag; a tag in the bytes is then payload.
        let around = Carried { inner: true, ..carried(number, false) };
        assert_eq!(ports.enters(trunk, number, &[999]), Ok(around));
    }
    for number in [2, 11, 999] {
        assert_eq!(ports.enters(trunk, number, &[]), Err(DropReason::VlanNotAllowed));
        assert_eq!(ports.enters(trunk, 0, &[number]), Err(DropReason::VlanNotAllowed));
    }
}

#[test]
fn s7_the_outside_and_the_switch_itself_are_trunks_for_everything() {
    let ports = Ports::new();
    for number in 1..=4094 {
        assert_eq!(ports.enters(Vlans::EVERYTHING, number, &[]), Ok(carried(number, false)));
        assert_eq!(ports.enters(Vlans::EVERYTHING, 0, &[number]), Ok(carried(number, true)));
    }
    assert_eq!(ports.enters(Vlans::EVERYTHING, 0, &[]), Ok(carried(0, false)));
}

#[test]
fn d1_what_a_private_port_sends_never_reaches_an_access_port() {
    let mut ports = Ports::new();
    let [.., isolated, community, promiscuous] = untagging(&mut ports);
    for (from, own) in [isolated, community, promiscuous] {
        let to = Vlans::Access(vlan(own));
        assert_eq!(ports.leaves(from, carried(own, false), to), Err(DropReason::PrivateVlan));
    }
}

#[test]
fn d2_to_d6_every_destination_takes_its_vlans_and_shows_the_tag_only_on_a_trunk() {
    let mut ports = Ports::new();
    let [bare, access, isolated, community, promiscuous] = untagging(&mut ports).map(|(port, _)| port);
    let trunk = ports.trunk(20, &[10, 11, 100], &[11]);
    let from = Vlans::EVERYTHING;
    let takes: [(Vlans, &[(u16, bool)]); 7] = [
        (bare, &[(0, false)]),
        (access, &[(10, false)]),
        (trunk, &[(20, false), (10, true), (100, true)]),
        (isolated, &[(100, false)]),
        (community, &[(100, false), (102, false)]),
        (promiscuous, &[(100, false), (101, false), (102, false)]),
        (
            Vlans::EVERYTHING,
            &[(0, false), (10, true), (11, true), (20, true), (100, true), (101, true), (102, true)],
        ),
    ];
    for (to, allowed) in takes {
        for number in [0, 10, 11, 20, 100, 101, 102] {
            let expected = allowed.iter().find(|(vlan, _)| *vlan == number).map(|(_, tagged)| *tagged);
            let found = ports.leaves(from, carried(number, false), to);
            assert_eq!(found.ok(), expected, "VLAN {number} to {to:?}");
            assert!(found.is_ok() || found == Err(DropReason::VlanMismatch));
        }
    }
}

#[test]
fn d7_a_tag_in_the_bytes_goes_only_where_a_tag_may_be_and_comes_off_elsewhere() {
    let mut ports = Ports::new();
    let trunk = ports.trunk(20, &[10], &[]);
    for (to, number, expected) in [
        (Vlans::Access(vlan(10)), 10, Ok(false)),
        (trunk, 20, Ok(false)),
        (trunk, 10, Ok(true)),
        (Vlans::EVERYTHING, 10, Ok(true)),
        (Vlans::Access(vlan(11)), 10, Err(DropReason::VlanMismatch)),
    ] {
        assert_eq!(ports.leaves(Vlans::EVERYTHING, carried(number, true), to), expected, "{to:?}");
    }
}

#[test]
fn private_vlans_pair_by_pair() {
    let mut ports = Ports::new();
    let mut of = |letter| match letter {
        'i' => ports.of(VlanProperty::Isolated { primary: 100, secondary: 101 }),
        'c' => ports.of(VlanProperty::Community { primary: 100, secondary: 102 }),
        'd' => ports.of(VlanProperty::Community { primary: 100, secondary: 103 }),
        'p' => ports.promiscuous(100, &[101, 102, 103]),
        'q' => ports.promiscuous(100, &[101]),
        'o' => ports.of(VlanProperty::Isolated { primary: 200, secondary: 201 }),
        _ => Vlans::Access(vlan(100)),
    };
    // Rows are sources, columns are destinations.
    let columns = ['i', 'c', 'd', 'p', 'q', 'o', 'a'];
    let matrix = [
        ('i', "...pq.."),
        ('c', ".c.p..."),
        ('d', "..dp..."),
        ('p', "icdpq.."),
        ('q', "icdpq.."),
        ('o', "......."),
        ('a', "icdpq.a"),
    ];
    let modes = columns.map(&mut of);
    for (sender, row) in matrix {
        let from = modes[columns.iter().position(|letter| *letter == sender).unwrap()];
        let frame = ports.enters(from, 0, &[]).unwrap();
        let reached: String = columns
            .iter()
            .zip(modes)
            .map(|(letter, to)| if ports.leaves(from, frame, to).is_ok() { *letter } else { '.' })
            .collect();
        assert_eq!(reached, row, "from {sender}");
    }
}

#[test]
fn a_property_with_numbers_that_cannot_be_is_refused() {
    let none = bits(&[]);
    for bad in [
        VlanProperty::Access { vlan: 4095 },
        VlanProperty::Access { vlan: u16::MAX },
        VlanProperty::Trunk { native: 4096, allowed: Bits(&none), pruned: Bits(&none) },
        VlanProperty::Isolated { primary: 0, secondary: 5 },
        VlanProperty::Isolated { primary: 5, secondary: 5 },
        VlanProperty::Community { primary: 5, secondary: 4095 },
        VlanProperty::Promiscuous { primary: 0, secondaries: Bits(&none) },
    ] {
        assert!(bad.check().is_err(), "{bad:?}");
    }
    assert!(VlanProperty::Access { vlan: 0 }.check().is_ok());
}

#[test]
fn equal_trunks_share_a_set_and_the_last_gives_it_back() {
    let mut ports = Ports::new();
    let one = ports.trunk(1, &[5, 6], &[]);
    let two = ports.trunk(1, &[6, 5], &[]);
    let three = ports.trunk(1, &[5, 6, 7], &[7, 8]);
    assert_eq!((one.set(), two.set()), (three.set(), three.set()));
    let other = ports.trunk(1, &[5], &[]);
    assert_ne!(one.set(), other.set());
    for _ in 0..3 {
        teaming::ports::vlan::release(&mut ports.sets, one.set().unwrap());
    }
    assert_eq!(ports.enters(other, 5, &[]), Ok(carried(5, false)));
    let reused = ports.trunk(9, &[], &[]);
    assert_eq!(reused.set(), one.set());
    assert_eq!(ports.enters(reused, 5, &[]), Err(DropReason::VlanNotAllowed));
}

const SERVICE: [u16; 2] = [0x88a8, 0x9100];

#[test]
fn s8_a_service_tag_is_payload_that_a_trunk_must_allow_as_a_vlan_too() {
    let mut ports = Ports::new();
    let plain = untagging(&mut ports);
    let trunk = ports.trunk(10, &[20, 30], &[]);
    let pruned = ports.trunk(10, &[20, 30], &[10]);
    let service = |number| Carried { service: vlan(number), ..carried(10, false) };
    for tpid in SERVICE {
        for then in [&[][..], &[30], &[40]] {
            let headers = |tag| service_tagged(tpid, tag, then);
            let enters = |port, tag_vlan, tag| classify(port, tag_vlan, &headers(tag), &ports.sets);
            assert_eq!(enters(trunk, 0, 20), Ok(service(20)), "{tpid:x} {then:?}");
            assert_eq!(enters(trunk, 0, 10), Ok(service(10)));
            // Neither reading may be one that the port is not allowed: not the VLAN of the tag, not the native one.
            assert_eq!(enters(trunk, 0, 40), Err(DropReason::VlanNotAllowed));
            assert_eq!(enters(pruned, 0, 20), Err(DropReason::VlanNotAllowed));
            assert_eq!(enters(trunk, 0, 4095), Err(DropReason::BadTag));
            // Behind an out-of-band tag it is payload alone.
            let around = Carried { inner: true, ..carried(20, false) };
            for payload in [20, 40, 4095] {
                assert_eq!(enters(trunk, 20, payload), Ok(around));
            }
            assert_eq!(
                enters(Vlans::EVERYTHING, 0, 40),
                Ok(Carried { service: vlan(40), ..carried(0, false) })
            );
            for (port, _) in plain {
                assert_eq!(enters(port, 0, 20), Err(DropReason::TaggedFrame), "{port:?}");
            }
        }
        // A tag after a service tag of no VLAN could become the outermost.
        assert_eq!(
            classify(trunk, 0, &service_tagged(tpid, 0x6000, &[30]), &ports.sets),
            Err(DropReason::BadTag)
        );
        assert_eq!(
            classify(trunk, 0, &service_tagged(tpid, 0x6000, &[]), &ports.sets),
            Ok(carried(10, false))
        );
    }
}

#[test]
fn d9_what_begins_with_a_service_tag_reaches_ports_that_allow_both_readings() {
    let mut ports = Ports::new();
    let plain = untagging(&mut ports);
    let trunk = ports.trunk(0, &[10, 20], &[]);
    for (own, in_front) in [(0, 20), (0, 30), (10, 20), (10, 30)] {
        let frame = Carried { service: vlan(in_front), ..carried(own, false) };
        let native_10 = ports.trunk(10, &[20], &[]);
        // With an out-of-band tag before it, it is payload; without one, its VLAN must be allowed.
        let as_vlan = if in_front == 20 { Ok(false) } else { Err(DropReason::VlanMismatch) };
        let expected = if own == 0 { as_vlan } else { Ok(true) };
        assert_eq!(ports.leaves(Vlans::EVERYTHING, frame, trunk), expected, "{frame:?}");
        let expected = if own == 0 { Err(DropReason::VlanMismatch) } else { as_vlan };
        assert_eq!(ports.leaves(Vlans::EVERYTHING, frame, native_10), expected, "{frame:?}");
        assert_eq!(ports.leaves(Vlans::EVERYTHING, frame, Vlans::EVERYTHING), Ok(own != 0));
        for (port, _) in plain {
            assert!(ports.leaves(Vlans::EVERYTHING, frame, port).is_err(), "{port:?}");
        }
    }
}

/// Tags in the bytes behind an out-of-band one (TPID and VLAN ID), and whether a VLAN could be read from them.
const BEHIND: [(&[(u16, u16)], bool); 13] = [
    (&[], false),
    (&[(0x8100, 0)], false),
    (&[(0x88a8, 0)], false),
    (&[(0x9100, 0)], false),
    (&[(0x8100, 8)], true),
    (&[(0x88a8, 8)], true),
    (&[(0x9100, 8)], true),
    (&[(0x8100, 7)], true),
    (&[(0x8100, 4095)], true),
    (&[(0x88a8, 4095)], true),
    (&[(0x8100, 0), (0x8100, 8)], true),
    (&[(0x88a8, 0), (0x8100, 8)], true),
    (&[(0x8100, 0), (0x88a8, 8)], true),
];

#[test]
fn d10_a_tag_behind_that_of_the_vlan_is_shown_to_nobody_as_the_vlan_of_the_frame() {
    let mut ports = Ports::new();
    let mut trunks = Vec::new();
    for native in [0, 7] {
        for others in [&[7][..], &[7, 8]] {
            trunks.push(ports.trunk(native, others, &[]));
        }
    }
    let sender = ports.trunk(7, &[7], &[]);
    let bare = [
        Vlans::Access(vlan(7)),
        ports.of(VlanProperty::Isolated { primary: 7, secondary: 17 }),
        ports.of(VlanProperty::Community { primary: 7, secondary: 18 }),
        ports.of(VlanProperty::Community { primary: 70, secondary: 7 }),
        ports.promiscuous(7, &[17, 18]),
        ports.promiscuous(70, &[7]),
    ];
    for (tags, inner) in BEHIND {
        let mut bytes = vec![2; 12];
        for (tpid, control) in tags {
            bytes.extend([tpid.to_be_bytes(), control.to_be_bytes()].concat());
        }
        bytes.extend([[8, 0], [0, 0]].concat());
        let headers = frame::parse(&bytes);
        for from in [sender, Vlans::EVERYTHING] {
            let frame = classify(from, 7, &headers, &ports.sets).unwrap();
            assert_eq!(frame, Carried { inner, ..carried(7, false) }, "{tags:x?}");
            for to in &trunks {
                let native = matches!(to, Vlans::Trunk { native, .. } if *native == vlan(7));
                assert_eq!(ports.leaves(from, frame, *to), Ok(!native || inner), "{tags:x?} to {to:?}");
            }
            assert_eq!(ports.leaves(from, frame, Vlans::EVERYTHING), Ok(true));
            let expected = if inner { Err(DropReason::TagInBytes) } else { Ok(false) };
            for to in bare {
                assert_eq!(ports.leaves(from, frame, to), expected, "{tags:x?} to {to:?}");
            }
            // Where its own VLAN is not, it is not either.
            for to in [Vlans::Access(vlan(8)), Vlans::Access(None), ports.trunk(0, &[8], &[])] {
                assert_eq!(ports.leaves(from, frame, to), Err(DropReason::VlanMismatch));
            }
        }
    }
}

#[test]
fn d10_what_is_missing_of_a_cut_tag_behind_that_of_the_vlan_reads_as_zeros() {
    let mut ports = Ports::new();
    let trunk = ports.trunk(7, &[8], &[]);
    for tpid in [[0x81, 0], [0x88, 0xA8], [0x91, 0]] {
        for (control, first) in [([0x01, 0x00], 15), ([0x00, 0x08], 16)] {
            let bytes = [&[2; 12][..], &tpid, &control, &[8, 0]].concat();
            for length in 14..=bytes.len() {
                let frame = classify(trunk, 7, &frame::parse(&bytes[..length]), &ports.sets).unwrap();
                assert_eq!(frame.inner, length >= first, "{tpid:x?}, {length}");
                let expected = if frame.inner { Err(DropReason::TagInBytes) } else { Ok(false) };
                assert_eq!(ports.leaves(trunk, frame, Vlans::Access(vlan(7))), expected);
            }
        }
    }
}
