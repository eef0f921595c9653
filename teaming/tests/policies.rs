//! Every hash policy through the whole decision: which fields change a flow's member, fragments, distribution, both
//! directions.

#[allow(dead_code, reason = "other tests use the rest of it")]
mod invariants;

use std::collections::HashSet;

use invariants::keyings;
use teaming::Heap;
use teaming::flow::{Basis, HashPolicy, KeyKind, Keying, POLICIES};
use teaming::forward::{Forwarding, OutOfBand, Packet, Verdict};
use teaming::ids::{BUCKETS, MEMBERS, MacAddr, MemberIndex, NicId, NicIndex, PortId, Ticks};
use teaming::oid::nic::{NicKind, NicOp, NicParameters, VmId};
use teaming::settings::{Settings, TeamingMode};
use teaming::team::Team;
use teaming::team::member::{LinkState, Member, MemberEvent};

/// A team of members with these speeds in Gbit/s.
fn forwarding(keying: Keying, speeds: &[u64]) -> Forwarding<Heap> {
    let settings = Settings {
        mode: TeamingMode::Static,
        policy: keying.policy,
        use_ipv6_flow_label: keying.flow_label,
        symmetric_hash: keying.symmetric,
        ..Settings::default()
    };
    let mut forwarding = Forwarding::on_heap(4, &settings);
    let mut team: Team<Heap> =
        Team::new(vec![0; BUCKETS], teaming::team::Next::at_once(), vec![Member::ABSENT; MEMBERS], &settings);
    let external = NicParameters {
        id: NicId::new(PortId::new(1), NicIndex::DEFAULT),
        kind: NicKind::External,
        current_mac: MacAddr::ZERO,
        permanent_mac: MacAddr::ZERO,
        vm_mac: MacAddr::ZERO,
        mtu: 1500,
        vm: VmId::NONE,
        vf_assigned: false,
        initializing: true,
        adapter: teaming::ids::AdapterId::UNKNOWN,
    };
    forwarding.on_external(NicOp::Create, &external);
    // All members are connected before the first link is up, so that the home map includes all.
    let up = |speed: u64| MemberEvent::Link(LinkState::Up { bits_per_second: Some(speed * 1_000_000_000) });
    for (slot, &speed) in speeds.iter().enumerate() {
        let member = MemberIndex::from_slot(slot).unwrap();
        for event in [MemberEvent::Created, MemberEvent::Connected, up(speed)] {
            let plan = team.on(member, event, Ticks::ZERO);
            forwarding.publish(&plan, team.home(), Ticks::ZERO);
        }
    }
    let later = Ticks::from_ms(100_000);
    let plan = team.tick(later);
    forwarding.publish(&plan, team.home(), later);
    forwarding.settle(team.home(), Ticks::from_ms(200_000));
    forwarding
}

/// A TCP segment with all fields that vary.
#[derive(Debug, Clone, Copy)]
struct Shape {
    v6: bool,
    tag: Option<u16>,
    flow: u32,
    port: u32,
    macs: [u8; 2],
    addresses: [u8; 2],
    ports: [u16; 2],
    label: u8,
    class: u8,
    ttl: u8,
    sequence: u8,
    /// Fragment offset in units of 8 bytes, and the flag "more fragments".
    fragment: Option<(u16, bool)>,
}

impl Shape {
    fn new(v6: bool, tag: Option<u16>, flow: u32) -> Self {
        Self {
            v6,
            tag,
            flow,
            port: 7,
            macs: [0; 2],
            addresses: [0; 2],
            ports: [443, 50_000],
            label: 0,
            class: 0,
            ttl: 64,
            sequence: 0,
            fragment: None,
        }
    }

    fn source(&self) -> NicId {
        NicId::new(PortId::new(self.port + (self.flow << 8)), NicIndex::DEFAULT)
    }

    fn frame(&self) -> Vec<u8> {
        let [_, f1, f2, f3] = self.flow.to_be_bytes();
        let mut bytes = vec![2, f1, f2, f3, 0, self.macs[0], 6, f1, f2, f3, 0, self.macs[1]];
        if let Some(tag) = self.tag {
            bytes.extend([0x81, 0]);
            bytes.extend((tag ^ ((self.flow % 1024) << 1) as u16).to_be_bytes());
        }
        bytes.extend(if self.v6 { [0x86, 0xdd] } else { [0x08, 0] });
        bytes.extend(self.packet());
        bytes
    }

    fn packet(&self) -> Vec<u8> {
        let mut segment = self.ports.map(u16::to_be_bytes).concat();
        segment.extend([0, 0, 0, self.sequence, 0, 0, 0, 0, 0x50, 0x10, 0, 0, 0, 0, 0, 0]);
        let [_, f1, f2, f3] = self.flow.to_be_bytes();
        if !self.v6 {
            let fragment = self.fragment.map_or(0, |(offset, more)| offset | u16::from(more) << 13);
            let [high, low] = fragment.to_be_bytes();
            let start = [0x45, self.class, 0, 40, 0, self.sequence, high, low, self.ttl, 6, 0, 0];
            let addresses = [10 + self.addresses[0], f1, f2, f3, 172, self.addresses[1], f2, f3];
            return [&start[..], &addresses, &segment].concat();
        }
        let label = if self.label == 0 { [0; 2] } else { [self.label ^ f2, f3 | 1] };
        let next = if self.fragment.is_some() { 44 } else { 6 };
        let start = [0x60 | self.class >> 4, self.class << 4, label[0], label[1], 0, 20, next, self.ttl];
        let mut bytes = start.to_vec();
        bytes.extend([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, self.addresses[0], f1, f2, f3]);
        bytes.extend([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 1, self.addresses[1], f1, f2, f3]);
        if let Some((offset, more)) = self.fragment {
            let [high, low] = (offset << 3 | u16::from(more)).to_be_bytes();
            bytes.extend([6, 0, high, low, 0, 0, 0, self.sequence]);
        }
        bytes.extend(segment);
        bytes
    }

    /// The frame encapsulated in VXLAN between two fixed hosts.
    fn tunnelled(&self) -> Vec<u8> {
        let mut bytes = vec![2, 0, 0, 0, 9, 9, 6, 0, 0, 0, 9, 9, 8, 0];
        bytes.extend([0x45, 0, 0, 0, 0, 0, 0, 0, 64, 17, 0, 0, 10, 9, 9, 9, 10, 9, 9, 8]);
        bytes.extend([0xc0, 0, 0x12, 0xb5, 0, 0, 0, 0, 8, 0, 0, 0, 0, 0, 7, 0]);
        bytes.extend(self.frame());
        bytes
    }
}

fn decide(
    forwarding: &Forwarding<Heap>,
    source: NicId,
    frame: &[u8],
    out_of_band: &OutOfBand<'_>,
) -> (MemberIndex, Basis) {
    let packet = Packet { source, window: frame, pinned: None, native: false, now: Ticks::ZERO };
    // The source is the switch itself, so that no port policy applies.
    let mut trusted = forwarding.source_port(NicId::default());
    trusted.hashed_as = source.into();
    let decision = forwarding.decide_from(&trusted, &packet, out_of_band);
    let (Verdict::Uplink(member), Some(basis)) = (decision.verdict, decision.basis) else {
        panic!("{decision:?}");
    };
    assert_eq!(forwarding.explain_packet(&packet, out_of_band), (Some(member), basis));
    // What tools are told of the steps ends where the walk ends.
    let choice = forwarding.choice(&packet, out_of_band, &[]);
    assert_eq!((choice.member, choice.basis), (Some(member), basis));
    assert!(KeyKind::of(&choice.key).is_some() && choice.hash.bucket() == choice.bucket);
    (member, basis)
}

fn member(forwarding: &Forwarding<Heap>, shape: &Shape) -> MemberIndex {
    decide(forwarding, shape.source(), &shape.frame(), &OutOfBand::NOTHING).0
}

fn plain(policy: HashPolicy) -> Keying {
    Keying::plain(policy)
}

type Change = fn(&mut Shape);

/// For each field, whether it is part of the key of TransportPorts, IPAddresses, MacAddresses, HyperVPort,
/// VlanSourceMac (tagged, for the VLAN), Encapsulated.
const FIELDS: [(&str, Change, [bool; 6]); 12] = [
    ("destination MAC", |shape| shape.macs[0] ^= 1, [false, false, true, false, false, false]),
    ("source MAC", |shape| shape.macs[1] ^= 1, [false, false, true, false, true, false]),
    ("VLAN", |shape| shape.tag = shape.tag.map(|tag| tag ^ 1), [false, false, false, false, true, false]),
    ("priority", |shape| shape.tag = shape.tag.map(|tag| tag ^ 0x6000), [false; 6]),
    ("source address", |shape| shape.addresses[0] ^= 1, [true, true, false, false, false, true]),
    ("destination address", |shape| shape.addresses[1] ^= 1, [true, true, false, false, false, true]),
    ("source port", |shape| shape.ports[0] ^= 1, [true, false, false, false, false, true]),
    ("destination port", |shape| shape.ports[1] ^= 1, [true, false, false, false, false, true]),
    ("traffic class", |shape| shape.class ^= 0xb8, [false; 6]),
    ("hop limit", |shape| shape.ttl ^= 1, [false; 6]),
    ("sequence number", |shape| shape.sequence ^= 1, [false; 6]),
    ("switch port", |shape| shape.port ^= 1, [false, false, false, true, false, false]),
];

#[test]
fn a_field_inside_the_policy_moves_flows_and_one_outside_moves_none() {
    const FLOWS: u32 = 3000;
    for (column, policy) in POLICIES.into_iter().enumerate() {
        for count in [2, 4, 7, 32] {
            let forwarding = forwarding(plain(policy), &vec![10; count]);
            for (v6, tag) in [(false, None), (false, Some(2)), (true, None), (true, Some(2))] {
                for (field, change, inside) in FIELDS {
                    let moved = (0..FLOWS).filter(|&flow| {
                        let before = Shape::new(v6, tag, flow);
                        let mut after = before;
                        change(&mut after);
                        member(&forwarding, &before) != member(&forwarding, &after)
                    });
                    let moved = moved.count() as f64;
                    if inside[column] && (field != "VLAN" || tag.is_some()) {
                        let expected = (count - 1) as f64 / count as f64;
                        let deviation = (expected * (1.0 - expected) / f64::from(FLOWS)).sqrt();
                        let share = moved / f64::from(FLOWS);
                        assert!(
                            (share - expected).abs() < 5.0 * deviation,
                            "{policy:?} {field} {count} {share}"
                        );
                    } else {
                        assert_eq!(moved, 0.0, "{policy:?} {field} v6 {v6} {tag:?}");
                    }
                }
            }
        }
    }
}

#[test]
fn all_fragments_of_a_datagram_take_one_member_in_any_order() {
    for keying in keyings() {
        let forwarding = forwarding(keying, &[10, 10, 25, 40, 100]);
        for (v6, tag) in [(false, None), (false, Some(2)), (true, None), (true, Some(2))] {
            for flow in 0..200 {
                // In the order last, first, middle. The bytes in place of the ports and the flow labels are arbitrary,
                // as a hostile sender might set them.
                let fragments = [(370, false), (0, true), (185, true), (1, true)];
                let members: HashSet<_> = fragments
                    .iter()
                    .enumerate()
                    .flat_map(|(number, &fragment)| {
                        let shape = Shape {
                            fragment: Some(fragment),
                            ports: [1 + number as u16, 77],
                            label: number as u8 * 3,
                            ttl: 64 - number as u8,
                            ..Shape::new(v6, tag, flow)
                        };
                        let (whole, basis) =
                            decide(&forwarding, shape.source(), &shape.frame(), &OutOfBand::NOTHING);
                        let ports =
                            matches!(keying.policy, HashPolicy::TransportPorts | HashPolicy::Encapsulated);
                        assert_eq!(basis, if ports { Basis::Fragment } else { Basis::Policy });
                        [whole]
                    })
                    .collect();
                assert_eq!(members.len(), 1, "{keying:?} v6 {v6} {tag:?} flow {flow}");
                let inner: HashSet<_> = fragments
                    .iter()
                    .map(|&fragment| {
                        let shape = Shape { fragment: Some(fragment), ..Shape::new(v6, tag, flow) };
                        decide(&forwarding, shape.source(), &shape.tunnelled(), &OutOfBand::NOTHING).0
                    })
                    .collect();
                assert_eq!(inner.len(), 1, "{keying:?} inside a tunnel");
            }
        }
    }
}

/// A member's number of flows is binomial with its share of the table, which is within one bucket of its weight. Five
/// standard deviations and one bucket are below 1 % from 65,700 flows on for any weight; at 1,000 flows for weights up
/// to 0.38 %.
#[test]
fn shares_are_within_the_statistics_of_the_weights() {
    let teams: [&[u64]; 6] = [
        &[10, 10],
        &[1, 100],
        &[10, 25, 40, 100],
        &[10; 7],
        &[1, 1, 10, 10, 25, 25, 40, 40, 100, 100, 100, 100, 100, 100, 100, 100],
        &[10; 32],
    ];
    for policy in POLICIES {
        for speeds in teams {
            let forwarding = forwarding(plain(policy), speeds);
            let total: f64 = speeds.iter().sum::<u64>() as f64;
            for flows in [1000_u32, 10_000, 100_000] {
                let mut counts = vec![0_u32; speeds.len()];
                for flow in 0..flows {
                    let shape = Shape::new(flow % 2 == 1, Some(2), flow);
                    counts[member(&forwarding, &shape).slot()] += 1;
                }
                for (&speed, &count) in speeds.iter().zip(&counts) {
                    let weight = speed as f64 / total;
                    let share = f64::from(count) / f64::from(flows);
                    let deviation = (weight * (1.0 - weight) / f64::from(flows)).sqrt();
                    let bound = 5.0 * deviation + 1.0 / BUCKETS as f64;
                    assert!(
                        (share - weight).abs() <= bound,
                        "{policy:?} {speeds:?} {flows}: {share} {weight}"
                    );
                    assert!(flows < 100_000 || bound < 0.01 && (share - weight).abs() < 0.01);
                }
            }
        }
    }
}

#[test]
fn with_the_symmetric_option_both_directions_take_one_member() {
    for policy in POLICIES {
        for symmetric in [false, true] {
            let forwarding =
                forwarding(Keying { flow_label: true, symmetric, ..Keying::plain(policy) }, &[10; 32]);
            for v6 in [false, true] {
                let differing = (0..500).filter(|&flow| {
                    let there = Shape { label: 5, ..Shape::new(v6, None, flow) };
                    let frame = there.frame();
                    let mut back = frame.clone();
                    back[..6].copy_from_slice(&frame[6..12]);
                    back[6..12].copy_from_slice(&frame[..6]);
                    let (at, size) = if v6 { (22, 16) } else { (26, 4) };
                    back[at..at + size].copy_from_slice(&frame[at + size..at + 2 * size]);
                    back[at + size..at + 2 * size].copy_from_slice(&frame[at..at + size]);
                    let ports = at + 2 * size;
                    back[ports..ports + 2].copy_from_slice(&frame[ports + 2..ports + 4]);
                    back[ports + 2..ports + 4].copy_from_slice(&frame[ports..ports + 2]);
                    if v6 {
                        back[17] ^= 0x40;
                    }
                    let way =
                        |frame: &[u8]| decide(&forwarding, there.source(), frame, &OutOfBand::NOTHING).0;
                    way(&frame) != way(&back)
                });
                let differing = differing.count();
                let same = match policy {
                    HashPolicy::HyperVPort => true,
                    HashPolicy::VlanSourceMac => false,
                    _ => symmetric,
                };
                assert!(if same { differing == 0 } else { differing > 450 }, "{policy:?} {differing}");
            }
        }
    }
}

#[test]
fn a_flow_label_stands_for_the_ports_where_it_may() {
    for policy in POLICIES {
        for flow_label in [false, true] {
            let forwarding = forwarding(Keying { flow_label, ..Keying::plain(policy) }, &[10; 32]);
            let by_ports = matches!(policy, HashPolicy::TransportPorts | HashPolicy::Encapsulated);
            let moved = |change: Change, start: Shape| {
                let moves = |&flow: &u32| {
                    let before = Shape { flow, ..start };
                    let mut after = before;
                    change(&mut after);
                    member(&forwarding, &before) != member(&forwarding, &after)
                };
                (0..500).filter(moves).count()
            };
            let labelled = Shape { label: 8, ..Shape::new(true, None, 0) };
            let of_label = moved(|shape| shape.label = 9, labelled);
            let of_ports = moved(|shape| shape.ports[0] ^= 1, labelled);
            let unlabelled = moved(|shape| shape.ports[0] ^= 1, Shape::new(true, None, 0));
            assert_eq!(of_label > 450, by_ports && flow_label, "{policy:?} {of_label}");
            assert_eq!(of_ports > 450, by_ports && !flow_label, "{policy:?} {of_ports}");
            assert_eq!(unlabelled > 450, by_ports, "{policy:?} {unlabelled}");
        }
    }
}

#[test]
fn a_vlan_beside_the_packet_counts_as_if_it_stood_in_the_frame() {
    let forwarding = forwarding(plain(HashPolicy::VlanSourceMac), &[10; 32]);
    for flow in 0..500 {
        let tagged = Shape::new(flow % 2 == 0, Some(2 ^ ((flow % 1024) << 1) as u16 ^ 300), flow);
        let untagged = Shape { tag: None, ..tagged };
        let out_of_band = OutOfBand { vlan: 300, ..OutOfBand::NOTHING };
        let (there, _) = decide(&forwarding, untagged.source(), &untagged.frame(), &out_of_band);
        let inside = Shape { tag: Some(300 ^ ((flow % 1024) << 1) as u16), ..tagged };
        assert_eq!(there, member(&forwarding, &inside));
        // The out-of-band tag is the outer tag.
        assert_eq!(there, decide(&forwarding, tagged.source(), &tagged.frame(), &out_of_band).0);
    }
}

#[test]
fn inner_flows_of_one_tunnel_spread_only_when_inner_headers_count() {
    for policy in POLICIES {
        let forwarding = forwarding(plain(policy), &[10; 8]);
        let source = NicId::new(PortId::new(5), NicIndex::DEFAULT);
        let mut counts = [0_u32; 8];
        for flow in 0..8000 {
            let frame = Shape::new(flow % 2 == 0, (flow % 3 == 0).then_some(4), flow).tunnelled();
            let (member, basis) = decide(&forwarding, source, &frame, &OutOfBand::NOTHING);
            assert_eq!(basis, Basis::Policy);
            counts[member.slot()] += 1;
        }
        let used = counts.iter().filter(|&&count| count > 0).count();
        assert_eq!(used, if policy == HashPolicy::Encapsulated { 8 } else { 1 }, "{policy:?}");
        assert!(used == 1 || counts.iter().all(|&count| (850..1150).contains(&count)), "{counts:?}");
    }
}
