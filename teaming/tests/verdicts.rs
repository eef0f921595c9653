//! The forwarding rules, row by row, and properties that hold for every frame.

use proptest::prelude::*;
use teaming::Heap;
use teaming::forward::drop_reason::DropReason;
use teaming::forward::{Forwarding, OutOfBand, Packet, Verdict};
use teaming::frame::parse;
use teaming::ids::{BUCKETS, MEMBERS, MacAddr, MemberIndex, NicId, NicIndex, PortId, Ticks};
use teaming::offload::Pin;
use teaming::oid::nic::{NicKind, NicOp, NicParameters, VmId};
use teaming::settings::{Lookup, Settings};
use teaming::team::Team;
use teaming::team::member::{LinkState, Member, MemberEvent};

const UPLINK_PORT: u32 = 1;
const VM_A: NicId = nic(10, 0);
const VM_B: NicId = nic(11, 0);
const HOST: NicId = nic(12, 0);
const CREATED_ONLY: NicId = nic(13, 0);
const TRUSTED: NicId = nic(0, 0);
const OUTSIDE: NicId = nic(UPLINK_PORT, 2);

const MAC_A: MacAddr = MacAddr([0, 0x15, 0x5d, 0, 0, 0xa]);
const MAC_B: MacAddr = MacAddr([0, 0x15, 0x5d, 0, 0, 0xb]);
const MAC_HOST: MacAddr = MacAddr([0, 0x15, 0x5d, 0, 0, 0xc]);
const MAC_CREATED: MacAddr = MacAddr([0, 0x15, 0x5d, 0, 0, 0xd]);
const STRANGER: MacAddr = MacAddr([0, 0x15, 0x5d, 9, 9, 9]);
const MULTICAST: MacAddr = MacAddr([0x01, 0, 0x5e, 0, 0, 1]);
const LLDP: MacAddr = MacAddr([0x01, 0x80, 0xc2, 0, 0, 0x0e]);

const fn nic(port: u32, index: u16) -> NicId {
    NicId::new(PortId::new(port), NicIndex::new(index))
}

fn member(number: u8) -> MemberIndex {
    MemberIndex::new(number).unwrap()
}

fn parameters(id: NicId, kind: NicKind, mac: MacAddr) -> NicParameters {
    NicParameters {
        id,
        kind,
        current_mac: mac,
        permanent_mac: mac,
        vm_mac: MacAddr::ZERO,
        mtu: 1500,
        vm: VmId::NONE,
        vf_assigned: false,
        initializing: true,
        adapter: teaming::ids::AdapterId::UNKNOWN,
    }
}

struct Switch {
    team: Team<Heap>,
    forwarding: Forwarding<Heap>,
}

/// Two members up; two VMs, the host and a NIC that is not connected yet.
fn switch(algorithm: u64) -> Switch {
    let (settings, _) = Settings::read(|setting| match setting.name {
        "TeamingMode" => Lookup::Value(0),
        "LoadBalancingAlgorithm" => Lookup::Value(algorithm),
        "FlowletGapUs" | "LinkUpDelayMs" => Lookup::Value(0),
        _ => Lookup::Missing,
    });
    let mut switch = Switch {
        team: Team::new(
            vec![0; BUCKETS],
            teaming::team::Next::at_once(),
            vec![Member::ABSENT; MEMBERS],
            &settings,
        ),
        forwarding: Forwarding::on_heap(8, &settings),
    };
    let stations = [
        (VM_A, MAC_A, NicKind::Synthetic),
        (VM_B, MAC_B, NicKind::Emulated),
        (HOST, MAC_HOST, NicKind::Internal),
    ];
    for (id, mac, kind) in stations {
        switch.forwarding.ports.connect(&parameters(id, kind, mac)).unwrap();
    }
    switch.forwarding.ports.create(&parameters(CREATED_ONLY, NicKind::Synthetic, MAC_CREATED)).unwrap();
    switch
        .forwarding
        .on_external(NicOp::Create, &parameters(nic(UPLINK_PORT, 0), NicKind::External, MacAddr::ZERO));
    switch.on(1, MemberEvent::Connected);
    switch.on(2, MemberEvent::Connected);
    switch
}

impl Switch {
    fn on(&mut self, number: u8, event: MemberEvent) {
        let plan = self.team.on(member(number), event, Ticks::ZERO);
        self.forwarding.publish(&plan, self.team.home(), Ticks::ZERO);
    }

    /// The vNICs that a flood to `to` reaches.
    fn reached(&self, source: NicId, to: MacAddr) -> Vec<NicId> {
        let frame = frame_of(source, to, 0);
        let source_port = self.forwarding.source_port(source);
        let decision =
            self.forwarding.decide_from(&source_port, &packet(source, &frame), &OutOfBand::NOTHING);
        let reached = self.forwarding.reach(&source_port, &self.forwarding.audience(&decision), 0);
        assert!(!self.forwarding.reaches_any(
            &source_port,
            &self.forwarding.audience(&decision),
            reached.next()
        ));
        self.forwarding.targets(reached).map(|target| target.nic()).collect()
    }

    fn decide(&self, source: NicId, to: MacAddr) -> Verdict {
        self.forwarding.decide(&packet(source, &frame_of(source, to, 0)))
    }
}

/// A UDP/IPv4 frame to `to`; `flow` selects its ports.
fn frame(to: MacAddr, flow: u16) -> Vec<u8> {
    let mut bytes = to.0.to_vec();
    bytes.extend(MAC_A.0);
    bytes.extend([0x08, 0, 0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    bytes.extend(flow.to_be_bytes());
    bytes.extend([0, 53, 0, 8, 0, 0]);
    bytes
}

/// The same with the source's own address.
fn frame_of(source: NicId, to: MacAddr, flow: u16) -> Vec<u8> {
    let own = match source {
        VM_A => MAC_A,
        VM_B => MAC_B,
        HOST => MAC_HOST,
        _ => MacAddr([0, 0x15, 0x5d, 8, 8, 8]),
    };
    let mut bytes = frame(to, flow);
    bytes[6..12].copy_from_slice(&own.0);
    bytes
}

fn packet(source: NicId, window: &[u8]) -> Packet<'_> {
    Packet { source, window, pinned: None, native: false, now: Ticks::ZERO }
}

#[derive(Debug, PartialEq, Eq)]
enum Expected {
    Exactly(Verdict),
    AnyUplink,
    FloodWithUplink,
}

#[test]
fn every_source_and_destination_goes_where_the_rules_say() {
    use Expected::{AnyUplink, Exactly, FloodWithUplink};
    let drop = |reason| Exactly(Verdict::Drop(reason));
    let to = |id| Exactly(Verdict::Deliver(id));
    let inward = || Exactly(Verdict::Flood { uplink: None });
    let rows = [
        (VM_A, MAC_B, to(VM_B)),
        (VM_A, MAC_HOST, to(HOST)),
        (VM_A, MAC_A, drop(DropReason::BackToSource)),
        (VM_A, STRANGER, AnyUplink),
        (VM_A, MAC_CREATED, AnyUplink),
        (VM_A, MacAddr::ZERO, AnyUplink),
        (VM_A, MacAddr::BROADCAST, FloodWithUplink),
        (VM_A, MULTICAST, FloodWithUplink),
        (VM_A, LLDP, inward()),
        (HOST, MAC_A, to(VM_A)),
        (HOST, STRANGER, AnyUplink),
        (HOST, MacAddr::BROADCAST, FloodWithUplink),
        (TRUSTED, MAC_A, to(VM_A)),
        (TRUSTED, STRANGER, AnyUplink),
        (TRUSTED, MULTICAST, FloodWithUplink),
        (nic(77, 0), MAC_A, drop(DropReason::PortClosed)),
        (OUTSIDE, MAC_A, to(VM_A)),
        (OUTSIDE, MAC_HOST, to(HOST)),
        (OUTSIDE, STRANGER, drop(DropReason::NoDestination)),
        (OUTSIDE, MAC_CREATED, drop(DropReason::NoDestination)),
        (OUTSIDE, MacAddr::BROADCAST, inward()),
        (OUTSIDE, MULTICAST, inward()),
        (OUTSIDE, LLDP, drop(DropReason::LinkLocal)),
        (nic(UPLINK_PORT, 0), STRANGER, drop(DropReason::NoDestination)),
    ];
    for algorithm in [0, 4] {
        let switch = switch(algorithm);
        for (source, destination, expected) in &rows {
            let found = match switch.decide(*source, *destination) {
                Verdict::Uplink(_) => AnyUplink,
                Verdict::Flood { uplink: Some(_) } => FloodWithUplink,
                other => Exactly(other),
            };
            assert_eq!(&found, expected, "{source} to {destination}");
        }
    }
}

#[test]
fn without_a_live_member_local_traffic_goes_on() {
    let mut switch = switch(0);
    for number in [1, 2] {
        switch.on(number, MemberEvent::Link(LinkState::Down));
    }
    assert_eq!(switch.decide(VM_A, STRANGER), Verdict::Drop(DropReason::NoLiveMember));
    assert_eq!(switch.decide(TRUSTED, STRANGER), Verdict::Drop(DropReason::NoLiveMember));
    assert_eq!(switch.decide(VM_A, MacAddr::BROADCAST), Verdict::Flood { uplink: None });
    assert_eq!(switch.decide(VM_A, MAC_B), Verdict::Deliver(VM_B));
}

#[test]
fn a_private_switch_has_no_uplink() {
    let mut switch = switch(0);
    switch
        .forwarding
        .on_external(NicOp::Delete, &parameters(nic(UPLINK_PORT, 0), NicKind::External, MacAddr::ZERO));
    assert_eq!(switch.forwarding.external, None);
    assert_eq!(switch.decide(VM_A, STRANGER), Verdict::Drop(DropReason::NoDestination));
    assert_eq!(switch.decide(VM_A, MULTICAST), Verdict::Flood { uplink: None });
    assert_eq!(switch.decide(VM_A, MAC_B), Verdict::Deliver(VM_B));
}

#[test]
fn a_pinned_member_beats_the_hash_and_a_dead_one_is_not_replaced() {
    let mut switch = switch(0);
    let window = frame(STRANGER, 1);
    for pinned in [1, 2].map(member) {
        let packet = Packet { pinned: Some(Pin::To(pinned)), ..packet(VM_A, &window) };
        assert_eq!(switch.forwarding.decide(&packet), Verdict::Uplink(pinned));
    }
    switch.on(2, MemberEvent::Link(LinkState::Down));
    let to_dead = Packet { pinned: Some(Pin::To(member(2))), ..packet(VM_A, &window) };
    assert_eq!(switch.forwarding.decide(&to_dead), Verdict::Drop(DropReason::PinnedMemberDown));
    let local = frame(MAC_B, 1);
    assert_eq!(switch.forwarding.decide(&Packet { window: &local, ..to_dead }), Verdict::Deliver(VM_B));
}

#[test]
fn a_packet_whose_association_no_member_has_stays_inside() {
    let switch = switch(0);
    let window = frame(STRANGER, 1);
    let nowhere = Packet { pinned: Some(Pin::Nowhere), ..packet(VM_A, &window) };
    assert_eq!(switch.forwarding.decide(&nowhere), Verdict::Drop(DropReason::UnknownAssociation));
    let inside = [
        (MAC_B, Verdict::Deliver(VM_B)),
        (MULTICAST, Verdict::Flood { uplink: None }),
        (MacAddr::BROADCAST, Verdict::Flood { uplink: None }),
    ];
    for (to, verdict) in inside {
        let window = frame(to, 1);
        assert_eq!(switch.forwarding.decide(&Packet { window: &window, ..nowhere }), verdict, "{to:?}");
    }
}

#[test]
fn native_packets_are_left_to_the_switch_before_anything_else() {
    let switch = switch(0);
    for window in [&frame(MAC_A, 0)[..], &[]] {
        let packet = Packet { native: true, ..packet(VM_A, window) };
        assert_eq!(switch.forwarding.decide(&packet), Verdict::Native);
    }
}

#[test]
fn a_frame_shorter_than_its_header_is_a_runt() {
    let switch = switch(0);
    let whole = frame(MAC_B, 0);
    for length in 0..14 {
        assert_eq!(
            switch.forwarding.decide(&packet(VM_A, &whole[..length])),
            Verdict::Drop(DropReason::Runt)
        );
    }
    assert_eq!(switch.forwarding.decide(&packet(VM_A, &whole[..14])), Verdict::Deliver(VM_B));
}

#[test]
fn a_flood_reaches_every_connected_station_but_the_source() {
    let switch = switch(0);
    let reached = |source| {
        let mut ids = switch.reached(source, MacAddr::BROADCAST);
        ids.sort();
        ids
    };
    assert_eq!(reached(VM_A), [VM_B, HOST]);
    assert_eq!(reached(HOST), [VM_A, VM_B]);
    assert_eq!(reached(OUTSIDE), [VM_A, VM_B, HOST]);
    assert_eq!(reached(TRUSTED), [VM_A, VM_B, HOST]);
}

#[test]
fn one_virtual_nic_stays_on_one_member_under_hyper_v_port_and_spreads_under_transport_ports() {
    for (algorithm, spread) in [(4, 1), (0, 2)] {
        let switch = switch(algorithm);
        for source in [VM_A, VM_B, HOST] {
            let mut used: Vec<MemberIndex> = (0..200)
                .filter_map(|flow| {
                    match switch.forwarding.decide(&packet(source, &frame_of(source, STRANGER, flow))) {
                        Verdict::Uplink(member) => Some(member),
                        _ => None,
                    }
                })
                .collect();
            assert_eq!(used.len(), 200);
            used.sort();
            used.dedup();
            assert_eq!(used.len(), spread);
        }
    }
}

#[test]
fn another_seed_is_another_distribution() {
    let mut switch = switch(0);
    let uplinks = |switch: &Switch| -> Vec<Verdict> {
        (0..200).map(|flow| switch.forwarding.decide(&packet(VM_A, &frame(STRANGER, flow)))).collect()
    };
    let before = uplinks(&switch);
    let (settings, _) = Settings::read(|setting| match setting.name {
        "TeamingMode" | "LoadBalancingAlgorithm" => Lookup::Value(0),
        "HashSeed" => Lookup::Value(12_345),
        _ => Lookup::Missing,
    });
    switch.forwarding.configure(&settings);
    let changed = before.iter().zip(uplinks(&switch)).filter(|(old, new)| **old != *new).count();
    assert!((60..140).contains(&changed), "{changed}");
}

fn any_source() -> impl Strategy<Value = NicId> {
    prop_oneof![
        prop::sample::select(vec![VM_A, VM_B, HOST, CREATED_ONLY, TRUSTED, OUTSIDE, nic(UPLINK_PORT, 0)]),
        (0..20_u32, 0..40_u16).prop_map(|(port, index)| nic(port, index)),
    ]
}

fn any_window() -> impl Strategy<Value = Vec<u8>> {
    let known = prop::sample::select(vec![
        MAC_A,
        MAC_B,
        MAC_HOST,
        MAC_CREATED,
        STRANGER,
        MULTICAST,
        LLDP,
        MacAddr::BROADCAST,
    ]);
    let built = (known, any::<u16>(), 0..50_usize).prop_map(|(to, flow, length)| {
        let mut bytes = frame(to, flow);
        bytes.truncate(length);
        bytes
    });
    prop_oneof![built, prop::collection::vec(any::<u8>(), 0..256)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 5000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_frame_goes_back_and_none_from_outside_to_outside(
        source in any_source(), window in any_window(), down in 0..4_u8, pin in 0..4_u8, native in any::<bool>(), algorithm in prop::sample::select(vec![0_u64, 4]),
    ) {
        let mut switch = switch(algorithm);
        for number in [1, 2].into_iter().filter(|number| down & number != 0) {
            switch.on(number, MemberEvent::Link(LinkState::Down));
        }
        let packet = Packet { pinned: MemberIndex::new(pin).map(Pin::To), native, ..packet(source, &window) };
        let outside = source.port == PortId::new(UPLINK_PORT);
        let carries = |member: MemberIndex| !outside && switch.team.live().contains(member);
        match switch.forwarding.decide(&packet) {
            Verdict::Deliver(station) => {
                prop_assert!(station != source && station.port != PortId::new(UPLINK_PORT));
                prop_assert!(switch.forwarding.ports.connected().any(|port| port.id == station));
            }
            Verdict::Uplink(member) => {
                prop_assert!(carries(member));
                prop_assert!(pin == 0 || member.get() == pin);
                if pin == 0 {
                    prop_assert_eq!(switch.forwarding.explain(&parse(&window), source), Some(member));
                }
            }
            Verdict::Flood { uplink } => {
                prop_assert!(uplink.is_none_or(carries));
                prop_assert!(parse(&window).destination.is_multicast());
                prop_assert!(switch.reached(source, parse(&window).destination).into_iter().all(|id| id != source && id.port != PortId::new(UPLINK_PORT)));
            }
            Verdict::Native => prop_assert!(native),
            Verdict::Drop(_) | Verdict::RefusedBy(..) => prop_assert!(!native),
        }
    }
}
