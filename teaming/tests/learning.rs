//! The whole decision: learned addresses, floods in several batches, the receive side by teaming mode, security
//! properties.

use teaming::Heap;
use teaming::forward::drop_reason::DropReason;
use teaming::forward::{Decision, Forwarding, OutOfBand, Packet, Verdict};
use teaming::ids::{BUCKETS, MEMBERS, MacAddr, MemberIndex, NicId, NicIndex, PortId, Ticks, VlanId};
use teaming::oid::nic::{NicKind, NicOp, NicParameters, VmId};
use teaming::ports::mac_learning::{AGE, LEARNED, LearnTable, Learned, POSITIONS_MAX};
use teaming::ports::multicast::{GROUPS_MOST, GroupsChange};
use teaming::ports::policy::Security;
use teaming::ports::port::Preserve;
use teaming::ports::storage::PortTableSizes;
use teaming::ports::vlan::VlanProperty;
use teaming::settings::{Settings, TeamingMode};
use teaming::team::Team;
use teaming::team::member::{Member, MemberEvent};

const HOST: MacAddr = MacAddr([2, 0xee, 0, 0, 0, 1]);
const STRAY: MacAddr = MacAddr([2, 0xbb, 0, 0, 0, 1]);
const GROUP: MacAddr = MacAddr([1, 0, 0x5e, 0, 0, 7]);

fn mac(port: u32) -> MacAddr {
    let [_, _, high, low] = port.to_be_bytes();
    MacAddr([2, 0, 0, 0, high, low])
}

const fn nic(port: u32, index: u16) -> NicId {
    NicId::new(PortId::new(port), NicIndex::new(index))
}

fn parameters(port: u32, kind: NicKind) -> NicParameters {
    NicParameters {
        id: nic(port, 0),
        kind,
        current_mac: mac(port),
        permanent_mac: mac(port),
        vm_mac: mac(port),
        mtu: 1500,
        vm: VmId::of(&(port / 2).to_le_bytes()),
        vf_assigned: false,
        initializing: true,
        adapter: teaming::ids::AdapterId::UNKNOWN,
    }
}

struct Switch {
    team: Team<Heap>,
    forwarding: Forwarding<Heap>,
}

/// vNICs on ports 10 and up; two members.
fn switch(mode: TeamingMode, stations: u32) -> Switch {
    let settings =
        Settings { mode, flowlet_gap: Ticks::ZERO, link_up_delay: Ticks::ZERO, ..Settings::default() };
    let settings = Settings { prune_multicast: true, ..settings };
    let mut switch = Switch {
        team: Team::new(
            vec![0; BUCKETS],
            teaming::team::Next::at_once(),
            vec![Member::ABSENT; MEMBERS],
            &settings,
        ),
        forwarding: Forwarding::on_heap(stations as usize + 1, &settings),
    };
    for port in 10..10 + stations {
        switch.forwarding.create_port(PortId::new(port), false).unwrap();
        switch.forwarding.on_vnic(NicOp::Connect, &parameters(port, NicKind::Synthetic)).unwrap();
    }
    switch.forwarding.on_external(NicOp::Create, &parameters(1, NicKind::External));
    switch.on(1, MemberEvent::Connected);
    switch.on(2, MemberEvent::Connected);
    switch
}

impl Switch {
    fn on(&mut self, number: u8, event: MemberEvent) {
        let plan = self.team.on(MemberIndex::new(number).unwrap(), event, Ticks::ZERO);
        self.forwarding.publish(&plan, self.team.home(), Ticks::ZERO);
    }

    fn secure(&mut self, port: u32, security: Security) {
        self.forwarding.set_security(PortId::new(port), Some(security));
    }

    fn decide(&self, from: NicId, source: MacAddr, to: MacAddr, now: Ticks) -> Decision {
        let frame = [&to.0[..], &source.0, &[0x08, 0, 0x45]].concat();
        let packet = Packet { source: from, window: &frame, pinned: None, native: false, now };
        self.forwarding.decide_with(&packet, &OutOfBand::NOTHING)
    }

    fn verdict(&self, from: NicId, source: MacAddr, to: MacAddr) -> Verdict {
        self.decide(from, source, to, Ticks::ZERO).verdict
    }

    /// The ports of at most `most` vNICs that a flood reaches from a position on, and where it goes on.
    fn reached(&self, from: NicId, decision: &Decision, start: usize, most: usize) -> (Vec<u32>, usize) {
        let source_port = self.forwarding.source_port(from);
        let reached =
            self.forwarding.reach(&source_port, &self.forwarding.audience(decision), start).at_most(most);
        (self.forwarding.targets(reached).map(|to| to.nic().port.get()).collect(), reached.next())
    }
}

const SPOOFING: Security = Security { mac_spoofing: true, ..Security::STRICT };

#[test]
fn an_address_that_is_not_the_adapters_needs_the_ports_permission() {
    let mut switch = switch(TeamingMode::Static, 4);
    let from = nic(10, 0);
    let uplink = |verdict| matches!(verdict, Verdict::Uplink(_));
    assert!(uplink(switch.verdict(from, mac(10), HOST)));
    assert_eq!(switch.verdict(from, STRAY, HOST), Verdict::Drop(DropReason::SpoofedAddress));
    // Port 11 belongs to the same VM, port 12 to another.
    for port in 10..13 {
        switch.secure(port, Security { teaming: true, ..Security::STRICT });
    }
    assert!(uplink(switch.verdict(from, mac(11), HOST)));
    assert_eq!(switch.verdict(from, mac(12), HOST), Verdict::Drop(DropReason::SpoofedAddress));
    assert_eq!(switch.verdict(from, STRAY, HOST), Verdict::Drop(DropReason::SpoofedAddress));
    switch.forwarding.set_security(PortId::new(10), None);
    assert_eq!(switch.verdict(from, mac(11), HOST), Verdict::Drop(DropReason::SpoofedAddress));
}

#[test]
fn an_unknown_address_is_looked_for_behind_ports_that_may_learn_until_it_is_heard() {
    let mut switch = switch(TeamingMode::Static, 4);
    assert_eq!(switch.verdict(nic(1, 1), HOST, STRAY), Verdict::Drop(DropReason::NoDestination));
    switch.secure(12, SPOOFING);
    let unknown = switch.decide(nic(1, 1), HOST, STRAY, Ticks::ZERO);
    assert_eq!(unknown.verdict, Verdict::Flood { uplink: None });
    assert_eq!(switch.reached(nic(1, 1), &unknown, 0, 64).0, [12]);
    let inside = switch.decide(nic(10, 0), mac(10), STRAY, Ticks::ZERO);
    assert!(matches!(inside.verdict, Verdict::Flood { uplink: Some(_) }));
    // Once learned, the address is delivered to its port from every source, until it has sent nothing for too long.
    switch.verdict(nic(12, 0), STRAY, HOST);
    assert_eq!(switch.verdict(nic(1, 1), HOST, STRAY), Verdict::Deliver(nic(12, 0)));
    assert_eq!(switch.verdict(nic(10, 0), mac(10), STRAY), Verdict::Deliver(nic(12, 0)));
    let later = switch.decide(nic(1, 1), HOST, STRAY, Ticks::new(2 * AGE.get()));
    assert_eq!(later.verdict, Verdict::Flood { uplink: None });
    // When the NIC is disconnected, the addresses learned on its port are removed.
    switch.forwarding.on_vnic(NicOp::Disconnect, &parameters(12, NicKind::Synthetic)).unwrap();
    assert!(switch.forwarding.learned.is_empty());
}

#[test]
fn the_table_is_bounded_and_a_port_that_invents_addresses_displaces_its_own() {
    let mut table: LearnTable<Heap> = LearnTable::new((0..LEARNED).map(|_| Learned::EMPTY).collect());
    let address = |n: u32| MacAddr([2, 9, (n >> 24) as u8, (n >> 16) as u8, (n >> 8) as u8, n as u8]);
    let now = Ticks::from_ms(1_000);
    for n in 0..500 {
        table.learn(mac(n), None, 3, now);
    }
    for n in 0..1_000_000 {
        table.learn(address(n), None, 7, now);
    }
    assert!(table.len() <= LEARNED);
    let kept = (0..500).filter(|&n| table.find(mac(n), None, now) == Some(3)).count();
    assert!(kept >= 495, "{kept} of 500");
    assert!((0..1_000_000).filter(|&n| table.find(address(n), None, now).is_some()).count() <= LEARNED);
    table.forget(7);
    assert_eq!(table.len(), kept);
    // An expired entry is replaced by any new address.
    let later = now.saturating_add(Ticks::new(AGE.get() * 2));
    assert_eq!(table.find(mac(1), None, later), None);
    // The same address in another VLAN is another entry; the zero address, group addresses and positions that do not
    // fit the entry are not learned.
    table.learn(STRAY, VlanId::new(5), 1, later);
    table.learn(STRAY, VlanId::new(6), 2, later);
    assert_eq!(table.find(STRAY, VlanId::new(5), later), Some(1));
    assert_eq!(table.find(STRAY, VlanId::new(6), later), Some(2));
    assert_eq!(table.find(STRAY, None, later), None);
    for (odd, station) in [(MacAddr::ZERO, 1), (GROUP, 1), (HOST, POSITIONS_MAX)] {
        table.learn(odd, None, station, later);
        assert_eq!(table.find(odd, None, later), None);
    }
}

#[test]
fn processors_that_learn_at_once_never_mix_two_stations() {
    let table: LearnTable<Heap> = LearnTable::new((0..LEARNED).map(|_| Learned::EMPTY).collect());
    std::thread::scope(|scope| {
        for station in 1..4_u32 {
            let table = &table;
            scope.spawn(move || {
                for round in 0..200_000_u32 {
                    let n = round % 2_000;
                    table.learn(mac(n * 4 + station), None, station as usize, Ticks::from_ms(5));
                    let found = table.find(mac(n * 4 + station), None, Ticks::from_ms(5));
                    assert!(found.is_none_or(|at| at == station as usize), "{found:?}");
                }
            });
        }
    });
}

#[test]
fn a_flood_that_goes_on_looks_at_every_station_anew_and_at_none_twice() {
    let mut switch = switch(TeamingMode::Static, 200);
    let from = nic(10, 0);
    let decision = switch.decide(from, mac(10), MacAddr::BROADCAST, Ticks::ZERO);
    let (mut position, mut reached) = (0, Vec::new());
    for hold in 0_u32.. {
        let (some, next) = switch.reached(from, &decision, position, 64);
        if some.is_empty() {
            break;
        }
        position = next;
        reached.extend(some);
        // Between two batches a vNIC that has its copy is disconnected, one without is disconnected, and one is
        // connected again.
        let gone = [12 + hold, 180 + hold].map(|port| parameters(port, NicKind::Synthetic));
        for station in &gone {
            switch.forwarding.on_vnic(NicOp::Disconnect, station).unwrap();
        }
        switch.forwarding.on_vnic(NicOp::Connect, &gone[0]).unwrap();
    }
    let mut once = reached.clone();
    once.dedup();
    assert_eq!(once, reached);
    assert!(!reached.contains(&10) && !reached.contains(&180) && !reached.contains(&181));
    assert_eq!(reached.len(), 197);
}

#[test]
fn a_flood_in_batches_of_any_size_reaches_whom_one_in_a_single_batch_reaches() {
    let mut switch = switch(TeamingMode::Static, 200);
    // Places without a vNIC: single ones, and more than a batch looks at.
    for port in (12..30).step_by(3).chain(90..170) {
        switch.forwarding.on_vnic(NicOp::Disconnect, &parameters(port, NicKind::Synthetic)).unwrap();
    }
    let from = nic(10, 0);
    let decision = switch.decide(from, mac(10), MacAddr::BROADCAST, Ticks::ZERO);
    let all: Vec<u32> = (11..30).filter(|port| port % 3 != 0).chain(30..90).chain(170..210).collect();
    for most in [1, 2, 31, 63, 64, 65, 1_000] {
        let (mut position, mut reached) = (0, Vec::new());
        loop {
            let (some, next) = switch.reached(from, &decision, position, most);
            assert!(some.len() <= most.min(64));
            if some.is_empty() {
                break;
            }
            reached.extend(some);
            assert!(next > position);
            position = next;
        }
        assert_eq!(reached, all, "{most} at a time");
    }
}

#[test]
fn a_flood_reaches_exactly_the_ports_that_are_there_while_ports_come_and_go() {
    let mut switch = switch(TeamingMode::Static, 80);
    let mut there: std::collections::BTreeSet<u32> = (11..90).collect();
    let mut random = 1_u32;
    for round in 0..400 {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        // First from the end, so that the table shrinks; then anywhere.
        let port = if round < 60 { 89 - round } else { 11 + (random >> 16) % 79 };
        if there.remove(&port) {
            switch.forwarding.delete_port(PortId::new(port));
        } else {
            there.insert(port);
            switch.forwarding.create_port(PortId::new(port), false).unwrap();
            switch.forwarding.on_vnic(NicOp::Connect, &parameters(port, NicKind::Synthetic)).unwrap();
        }
        let decision = switch.decide(nic(10, 0), mac(10), MacAddr::BROADCAST, Ticks::ZERO);
        let (mut reached, next) = switch.reached(nic(10, 0), &decision, 0, 64);
        reached.extend(switch.reached(nic(10, 0), &decision, next, 64).0);
        assert_eq!(reached.into_iter().collect::<std::collections::BTreeSet<_>>(), there, "round {round}");
    }
}

#[test]
fn groups_reach_their_members_and_whoever_has_not_said_what_it_wants() {
    let mut switch = switch(TeamingMode::Static, 6);
    let ports = &mut switch.forwarding.ports;
    let port = PortId::new;
    ports.join(port(11), GROUP);
    ports.join(port(12), MacAddr([1, 0, 0x5e, 0, 0, 8]));
    ports.join(port(13), MacAddr([1, 0, 0x5e, 0, 0, 8]));
    ports.listen_to_all(port(13), true);
    ports.listen(port(14), [GROUP].into_iter());
    ports.leave(port(14), GROUP);
    let reached = |switch: &Switch, to| {
        let decision = switch.decide(nic(10, 0), mac(10), to, Ticks::ZERO);
        switch.reached(nic(10, 0), &decision, 0, 64).0
    };
    assert_eq!(reached(&switch, GROUP), [11, 13, 15]);
    assert_eq!(reached(&switch, MacAddr::BROADCAST), [11, 12, 13, 14, 15]);
    // More groups than can be stored: the vNIC receives every group again.
    for n in 0..=255 {
        for m in 0..=255 {
            switch.forwarding.ports.join(port(12), MacAddr([1, 0, 0x5e, 1, n, m]));
        }
    }
    assert_eq!(reached(&switch, GROUP), [11, 12, 13, 15]);
    // As many as are kept of one, and one more.
    let list = |count: u8| (0..count).map(|n| MacAddr([1, 0, 0x5e, 2, 0, n]));
    let ports = &mut switch.forwarding.ports;
    assert_eq!(ports.listen(port(12), list(GROUPS_MOST - 4)), GroupsChange::Kept);
    assert_eq!(reached(&switch, GROUP), [11, 13, 15]);
    let ports = &mut switch.forwarding.ports;
    assert_eq!(ports.listen(port(12), list(GROUPS_MOST + 1)), GroupsChange::TooMany);
    assert_eq!(reached(&switch, GROUP), [11, 12, 13, 15]);
    let ports = &mut switch.forwarding.ports;
    assert_eq!(ports.listen(port(12), list(1)), GroupsChange::Kept, "not for ever");
    assert_eq!(reached(&switch, GROUP), [11, 13, 15]);
}

#[test]
fn virtual_subnets_do_not_meet_and_priorities_need_both_ports() {
    let mut switch = switch(TeamingMode::Static, 4);
    let subnet = |virtual_subnet| Security { virtual_subnet, ..Security::STRICT };
    switch.secure(10, subnet(5001));
    switch.secure(11, subnet(5001));
    switch.secure(12, subnet(5002));
    let from = |to| switch.verdict(nic(10, 0), mac(10), to);
    assert_eq!(from(mac(11)), Verdict::Deliver(nic(11, 0)));
    let by = |port| Verdict::RefusedBy(PortId::new(port), DropReason::VirtualSubnet);
    assert_eq!((from(mac(12)), from(mac(13))), (by(12), by(13)));
    assert_eq!(from(HOST), Verdict::Drop(DropReason::VirtualSubnet), "the frame may not leave its own");
    let bits = |switch: &Switch| switch.decide(nic(10, 0), mac(10), mac(11), Ticks::ZERO).bits;
    assert_eq!(bits(&switch), Preserve::empty());
    for port in [10, 11] {
        switch.secure(port, Security { priority_tag: true, ..Security::STRICT });
        assert_eq!(bits(&switch), if port == 11 { Preserve::PRIORITY } else { Preserve::empty() });
    }
}

#[test]
fn an_access_ports_vlan_is_told_beside_the_packet_and_kept_outside() {
    let mut switch = switch(TeamingMode::Static, 3);
    let vlan = VlanProperty::Access { vlan: 30 }.check().unwrap();
    for port in [10, 11] {
        switch.forwarding.set_vlans(PortId::new(port), Some(&vlan)).unwrap();
    }
    let outward = switch.decide(nic(10, 0), mac(10), HOST, Ticks::ZERO);
    assert!(matches!(outward.verdict, Verdict::Uplink(_)));
    assert_eq!((outward.sent.tag(), outward.bits), (VlanId::new(30), Preserve::VLAN));
    let across = switch.decide(nic(10, 0), mac(10), mac(11), Ticks::ZERO);
    assert_eq!((across.verdict, across.bits), (Verdict::Deliver(nic(11, 0)), Preserve::empty()));
    let by = |port, reason| Verdict::RefusedBy(PortId::new(port), reason);
    assert_eq!(switch.verdict(nic(10, 0), mac(10), mac(12)), by(12, DropReason::VlanMismatch));
    assert_eq!(switch.verdict(nic(1, 1), HOST, mac(10)), by(10, DropReason::VlanMismatch));
    // The switch itself belongs to no VLAN: its untagged frames reach every port.
    assert_eq!(switch.verdict(nic(0, 0), HOST, mac(10)), Verdict::Deliver(nic(10, 0)));
    switch.forwarding.close(PortId::new(11));
    assert_eq!(switch.verdict(nic(10, 0), mac(10), mac(11)), by(11, DropReason::PortClosed));
    assert_eq!(switch.verdict(nic(11, 0), mac(11), mac(10)), Verdict::Drop(DropReason::PortClosed));
}

#[test]
fn a_thousand_ports_fit_into_their_memory() {
    const { assert!(PortTableSizes::of(1000, 1).bytes() <= 400 * 1024) };
    assert_eq!(PortTableSizes::of(1000, 64), PortTableSizes::of_largest());
    assert_eq!(PortTableSizes::of_largest().bytes() - PortTableSizes::of(1000, 0).bytes(), 1024 * 1024);
    assert_eq!(size_of::<Learned>() * LEARNED, 64 * 1024);
}

#[test]
fn that_a_frame_is_not_known_again_is_noted_with_its_address_alone() {
    let table = LearnTable::<Heap>::new((0..LEARNED).map(|_| Learned::EMPTY).collect());
    let vlan = VlanId::new(7);
    // A processor may be behind the one that noted it, and a long time is not taken for that.
    let [before, now, later] = [996, 1_000, 1_100].map(Ticks::from_ms);
    let much_later = Ticks::from_ms(1_000 * 60 * 60 * 24 * 150);
    table.note_unrecorded(STRAY, None, now);
    table.learn(STRAY, None, 3, now);
    table.learn(STRAY, vlan, 3, now);
    assert_eq!(table.unrecorded(STRAY, None, now), None, "it was not known");
    table.note_unrecorded(STRAY, None, now);
    for position in [3, 4] {
        table.learn(STRAY, None, position, now);
        let ages = [before, now, later].map(|at| table.unrecorded(STRAY, None, at).map(Ticks::as_us));
        assert_eq!(ages, [Some(0), Some(0), Some(100_000)]);
    }
    assert!(table.unrecorded(STRAY, None, much_later) > Some(AGE));
    assert_eq!(table.unrecorded(STRAY, vlan, now), None);
    // Another address takes its place, and it comes back.
    for number in 0..60_000_u32 {
        let [_, a, b, c] = number.to_be_bytes();
        table.learn(MacAddr([2, 0xdd, 0, a, b, c]), None, 4, later);
    }
    table.learn(STRAY, None, 3, later);
    assert_eq!(table.unrecorded(STRAY, None, later), None);
}
