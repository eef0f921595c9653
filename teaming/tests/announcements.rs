//! Announcements: what is told after moves is what has moved, on the member that has it by then, and nothing else.

use std::collections::{BTreeMap, BTreeSet};
use teaming::Heap;
use teaming::announce::{Announcer, BURST_TIME, Next, REPEAT_AFTER, WORK};
use teaming::forward::{Forwarding, OutOfBand, Packet, Verdict};
use teaming::frame::queries::GroupProtocol;
use teaming::ids::{
    AdapterId, BUCKETS, MEMBERS, MacAddr, MemberIndex, NicId, NicIndex, PortId, Ticks, VlanId,
};
use teaming::oid::nic::{NicKind, NicOp, NicParameters, VmId};
use teaming::ports::policy::Security;
use teaming::ports::traffic::Traffic;
use teaming::ports::vlan::{Bits, VlanProperty};
use teaming::settings::{Announcing, Settings, TeamingMode};
use teaming::team::member::{LinkState, Member, MemberEvent};
use teaming::team::{Next as NextHome, Team};

const UPLINK: PortId = PortId::new(1);
const VMS: u32 = 60;
const UP: LinkState = LinkState::Up { bits_per_second: Some(10_000_000_000) };
const THREE: Announcing = Announcing { times: 3, burst: u32::MAX };

type Told = (MacAddr, Option<VlanId>, MemberIndex);

fn member(number: u8) -> MemberIndex {
    MemberIndex::new(number).unwrap()
}

fn mac(vm: u32) -> MacAddr {
    let [.., high, low] = vm.to_be_bytes();
    MacAddr([0, 0x15, 0x5d, 0, high, low])
}

fn vm(number: u32) -> NicId {
    NicId::new(PortId::new(10 + number), NicIndex::DEFAULT)
}

fn parameters(number: u32) -> NicParameters {
    NicParameters {
        id: vm(number),
        kind: NicKind::Synthetic,
        current_mac: mac(number),
        permanent_mac: mac(number),
        vm_mac: mac(number),
        mtu: 1_500,
        vm: VmId::NONE,
        vf_assigned: false,
        initializing: false,
        adapter: AdapterId::UNKNOWN,
    }
}

struct Host {
    team: Team<Heap>,
    forwarding: Forwarding<Heap>,
    announcer: Announcer<Heap>,
    now: Ticks,
    /// The ports that were asked, with the VLAN and the protocol.
    asked: Vec<(NicId, Option<VlanId>, GroupProtocol)>,
}

impl Host {
    /// Three members carry, and every VM has sent something.
    fn new(settings: Settings) -> Self {
        let settings = Settings {
            flowlet_gap: Ticks::ZERO,
            link_up_delay: Ticks::ZERO,
            flap_hold_down: Ticks::ZERO,
            ..settings
        };
        let members = vec![Member::ABSENT; MEMBERS];
        let mut host = Self {
            team: Team::new(vec![0; BUCKETS], NextHome::at_once(), members, &settings),
            forwarding: Forwarding::on_heap(100, &settings),
            announcer: Announcer::on_heap(settings.announcing),
            now: Ticks::from_ms(1_000),
            asked: Vec::new(),
        };
        host.forwarding.external = Some(UPLINK);
        for number in 0..VMS {
            host.forwarding.on_vnic(NicOp::Connect, &parameters(number)).unwrap();
            host.sent(number, 1);
        }
        host.announcer.start();
        for number in 1..=3 {
            host.on(number, MemberEvent::Connected);
            host.on(number, MemberEvent::Link(UP));
        }
        host.announcer.begin(&host.forwarding);
        assert_eq!(host.tell(), [], "nothing has moved before the first packet");
        host
    }

    fn sent(&self, number: u32, frames: u64) {
        let position = self.forwarding.ports.position(vm(number).port).unwrap();
        self.forwarding.ports.count(0, position, Traffic { frames, bytes: 60 * frames });
    }

    fn on(&mut self, number: u8, event: MemberEvent) {
        let plan = self.team.on(member(number), event, self.now);
        if plan.changed {
            self.forwarding.publish(&plan, self.team.home(), self.now);
        }
        while self.forwarding.moving() {
            self.forwarding.settle(self.team.home(), self.now);
        }
        self.announcer.moved(&self.forwarding);
    }

    fn link(&mut self, number: u8, state: LinkState) {
        self.on(number, MemberEvent::Link(state));
    }

    /// At most so many.
    fn tell_some(&mut self, most: usize) -> Vec<Told> {
        let mut told = Vec::new();
        while told.len() < most {
            match self.announcer.next(&self.forwarding, self.now, &mut WORK.clone()) {
                Next::Announce(one) => {
                    assert!(self.forwarding.table.live().contains(one.member));
                    told.push((one.mac, one.vlan, one.member));
                    self.announcer.announced(self.now);
                }
                Next::Ask(question) => {
                    self.asked.push((question.target.nic(), question.vlan, question.protocol));
                    self.announcer.asked();
                }
                Next::More => {}
                Next::Rest => break,
            }
        }
        told
    }

    fn tell(&mut self) -> Vec<Told> {
        self.tell_some(usize::MAX)
    }

    /// The member of each VM's untagged frames, as packets take it.
    fn taken(&self) -> BTreeMap<u32, MemberIndex> {
        let taken = (0..VMS).filter_map(|number| {
            let mut frame = [[2, 0xee, 0, 0, 0, 1], mac(number).0].concat();
            frame.extend([0x08, 0x00, 0x45]);
            frame.resize(60, 0);
            let packet =
                Packet { source: vm(number), window: &frame, pinned: None, native: false, now: self.now };
            match self.forwarding.decide_with(&packet, &OutOfBand::NOTHING).verdict {
                Verdict::Uplink(member) => Some((number, member)),
                _ => None,
            }
        });
        taken.collect()
    }

    /// What has moved since.
    fn moved(&self, before: &BTreeMap<u32, MemberIndex>) -> BTreeSet<Told> {
        let moved = self.taken().into_iter().filter(|(number, member)| before[number] != *member);
        moved.map(|(number, member)| (mac(number), None, member)).collect()
    }

    fn later(&mut self, span: Ticks) {
        self.now = self.now.saturating_add(span);
    }
}

fn once() -> Settings {
    Settings { announcing: Announcing { times: 1, ..THREE }, ..Settings::default() }
}

fn set(told: Vec<Told>) -> BTreeSet<Told> {
    let count = told.len();
    let set: BTreeSet<Told> = told.into_iter().collect();
    assert_eq!(set.len(), count, "each is told once in a round");
    set
}

#[test]
fn what_moved_is_told_and_nothing_else_whatever_fails_and_returns() {
    for policy in [teaming::flow::HashPolicy::HyperVPort, teaming::flow::HashPolicy::VlanSourceMac] {
        let mut host = Host::new(Settings { policy, ..once() });
        let mut draw = 1_u64;
        let mut up = [true; 3];
        for _ in 0..200 {
            draw = draw.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let which = (draw >> 33) as usize % 3;
            let is_last = up[which] && up.iter().filter(|up| **up).count() == 1;
            if is_last {
                continue;
            }
            up[which] = !up[which];
            let before = host.taken();
            host.link(which as u8 + 1, if up[which] { UP } else { LinkState::Down });
            let moved = host.moved(&before);
            assert_eq!(set(host.tell()), moved);
            host.later(Ticks::from_ms(5_000));
            assert_eq!(host.tell(), []);
        }
    }
}

#[test]
fn each_is_told_three_times_a_second_apart() {
    let mut host = Host::new(Settings { announcing: THREE, ..Settings::default() });
    let before = host.taken();
    host.link(1, LinkState::Down);
    let moved = host.moved(&before);
    assert!(!moved.is_empty());
    for round in 0..3 {
        assert_eq!(set(host.tell()), moved, "round {round}");
        assert_eq!(host.tell(), []);
        host.later(Ticks::new(REPEAT_AFTER.get() - 1));
        assert_eq!(host.tell(), []);
        host.later(Ticks::new(1));
    }
    assert_eq!((host.tell(), host.announcer.due()), (vec![], None));
}

#[test]
fn a_member_that_fails_while_it_is_told_of_is_told_of_no_more() {
    let mut host = Host::new(once());
    let before = host.taken();
    host.link(1, LinkState::Down);
    let first = host.tell_some(5);
    host.link(2, LinkState::Down);
    // `tell_some` asserts that each is live.
    let rest = host.tell();
    let told: BTreeMap<_, _> = first.into_iter().chain(rest).map(|(mac, _, member)| (mac, member)).collect();
    let moved = host.moved(&before);
    assert_eq!(told.into_iter().map(|(mac, member)| (mac, None, member)).collect::<BTreeSet<_>>(), moved);
}

#[test]
fn an_address_that_went_and_came_back_at_once_is_told() {
    let mut host = Host::new(once());
    let before = host.taken();
    host.link(1, LinkState::Down);
    host.link(1, UP);
    assert_eq!(host.taken(), before);
    let back: BTreeSet<_> = before.iter().filter(|(_, at)| **at == member(1)).map(|(n, _)| mac(*n)).collect();
    let told: BTreeSet<_> = set(host.tell()).into_iter().map(|(mac, ..)| mac).collect();
    assert_eq!(told, back);
}

#[test]
fn the_busiest_is_told_first_and_who_has_sent_nothing_is_not() {
    let mut host = Host::new(once());
    let before = host.taken();
    let on_first: Vec<u32> = before.iter().filter(|(_, at)| **at == member(1)).map(|(n, _)| *n).collect();
    host.forwarding.on_vnic(NicOp::Delete, &parameters(on_first[0])).unwrap();
    host.forwarding.on_vnic(NicOp::Connect, &parameters(on_first[0])).unwrap();
    for (rank, number) in on_first.iter().enumerate().skip(1) {
        host.sent(*number, 1 << rank);
    }
    host.link(1, LinkState::Down);
    let told: Vec<_> = host.tell().into_iter().map(|(mac, ..)| mac).collect();
    let expected: Vec<_> = on_first.iter().skip(1).rev().map(|number| mac(*number)).collect();
    assert_eq!(told, expected);
}

#[test]
fn what_was_refused_is_asked_for_again_and_a_burst_has_an_end() {
    let mut host = Host::new(Settings { announcing: Announcing { times: 1, burst: 4 }, ..once() });
    let before = host.taken();
    host.link(1, LinkState::Down);
    let Next::Announce(first) = host.announcer.next(&host.forwarding, host.now, &mut WORK.clone()) else {
        panic!("moved")
    };
    host.announcer.refused(host.now);
    assert_eq!(host.tell(), []);
    host.later(Ticks::from_ms(100));
    let mut told = host.tell();
    assert_eq!(told.len(), 4);
    assert_eq!(told[0].0, first.mac);
    while host.announcer.due().is_some() {
        host.later(BURST_TIME);
        let more = host.tell();
        assert!(more.len() <= 4);
        told.extend(more);
    }
    assert_eq!(set(told), host.moved(&before));
    assert_eq!(host.announcer.told.refused, 1);
}

#[test]
fn a_static_team_tells_nothing_and_neither_does_one_that_is_not_to() {
    for settings in [
        Settings { mode: TeamingMode::Static, ..once() },
        Settings { announcing: Announcing { times: 0, ..THREE }, ..Settings::default() },
    ] {
        let mut host = Host::new(settings);
        host.link(1, LinkState::Down);
        assert_eq!((host.tell(), host.announcer.due()), (vec![], None));
    }
}

#[test]
fn vlans_are_told_as_they_are_known_and_what_the_network_does_not_see_is_not() {
    let mut host = Host::new(once());
    let ports: Vec<u32> =
        host.taken().into_iter().filter(|(_, at)| *at == member(1)).map(|(number, _)| number).collect();
    let [access, bridge, function, subnet, cluster, ..] = ports[..] else { panic!("too few: {ports:?}") };
    let vlan = |number| VlanId::new(number);
    let wanted = VlanProperty::Access { vlan: 7 }.check().unwrap();
    host.forwarding.set_vlans(vm(access).port, Some(&wanted)).unwrap();
    let bridges = Security { mac_spoofing: true, ..Security::STRICT };
    host.forwarding.set_security(vm(bridge).port, Some(bridges));
    let apart = Security { virtual_subnet: 9, ..Security::STRICT };
    host.forwarding.set_security(vm(subnet).port, Some(apart));
    let away = NicParameters { vf_assigned: true, ..parameters(function) };
    host.forwarding.on_vnic(NicOp::Update, &away).unwrap();
    let shared = MacAddr([0x02, 0xbf, 1, 2, 3, 4]);
    let balanced = NicParameters { current_mac: shared, ..parameters(cluster) };
    host.forwarding.on_vnic(NicOp::Update, &balanced).unwrap();
    let inner = MacAddr([0x02, 0x42, 0, 0, 0, 1]);
    let position = host.forwarding.ports.position(vm(bridge).port).unwrap();
    host.forwarding.learned.learn(inner, None, position, host.now);
    let old = MacAddr([0x02, 0x42, 0, 0, 0, 2]);
    host.forwarding.learned.learn(old, None, position, Ticks::ZERO);
    host.later(Ticks::from_ms(299_500));
    host.link(1, LinkState::Down);
    let told: BTreeSet<_> = set(host.tell()).into_iter().map(|(mac, vlan, _)| (mac, vlan)).collect();
    assert!(told.contains(&(mac(access), vlan(7))));
    assert!(told.contains(&(mac(bridge), None)) && told.contains(&(inner, None)));
    for not in [mac(function), mac(subnet), mac(cluster), shared, old] {
        assert!(!told.iter().any(|(mac, _)| *mac == not), "{not:?}");
    }
    assert_eq!(told.len(), ports.len() - 3 + 1);
}

#[test]
fn another_seed_moves_every_address() {
    let mut host = Host::new(once());
    host.forwarding.configure(&Settings { seed: 99, ..once() });
    host.announcer.moved(&host.forwarding);
    let all: BTreeSet<Told> =
        host.taken().into_iter().map(|(number, member)| (mac(number), None, member)).collect();
    assert_eq!(set(host.tell()), all);
}

/// The VMs whose addresses these are.
fn numbers(told: &BTreeSet<Told>) -> BTreeSet<u32> {
    (0..VMS).filter(|number| told.iter().any(|(mac, ..)| *mac == self::mac(*number))).collect()
}

#[test]
fn each_machine_that_moved_is_asked_once_by_both_protocols_and_nobody_else_is() {
    let mut host = Host::new(Settings { announcing: THREE, ..Settings::default() });
    let before = host.taken();
    host.link(1, LinkState::Down);
    let moved = numbers(&host.moved(&before));
    for _ in 0..3 {
        host.tell();
        host.later(REPEAT_AFTER);
    }
    let both = [GroupProtocol::Igmp, GroupProtocol::Mld];
    let expected: BTreeSet<_> = moved.iter().flat_map(|n| both.map(|p| (vm(*n), p as u8))).collect();
    let asked: BTreeSet<_> = host.asked.iter().map(|(nic, vlan, p)| (*nic, (*p as u8, *vlan))).collect();
    assert_eq!(asked.into_iter().map(|(nic, (p, _))| (nic, p)).collect::<BTreeSet<_>>(), expected);
    assert_eq!(host.asked.len(), 2 * moved.len());
    assert_eq!(host.announcer.told.asked, host.asked.len() as u64);
}

#[test]
fn a_question_that_was_refused_is_asked_again_and_one_to_a_machine_that_is_gone_is_not() {
    let mut host = Host::new(once());
    let before = host.taken();
    host.link(1, LinkState::Down);
    let moved = numbers(&host.moved(&before));
    let mut refused = 0;
    let mut gone = BTreeSet::new();
    loop {
        match host.announcer.next(&host.forwarding, host.now, &mut WORK.clone()) {
            Next::Announce(_) => host.announcer.announced(host.now),
            Next::Ask(question) => {
                let number = question.target.nic().port.get() - 10;
                if number % 5 == 0 && question.protocol == GroupProtocol::Mld && gone.insert(number) {
                    host.announcer.refused(host.now);
                    host.forwarding.on_vnic(NicOp::Disconnect, &parameters(number)).unwrap();
                    refused += 1;
                } else if refused < 4 {
                    refused += 1;
                    host.announcer.refused(host.now);
                } else {
                    host.asked.push((question.target.nic(), question.vlan, question.protocol));
                    host.announcer.asked();
                }
            }
            Next::More => {}
            Next::Rest if host.announcer.due().is_none() => break,
            Next::Rest => host.later(Ticks::from_ms(100)),
        }
    }
    assert!(refused > 4 && !gone.is_empty());
    let asked = |protocol| -> BTreeSet<u32> {
        let of = host.asked.iter().filter(|(_, _, p)| *p == protocol);
        of.map(|(nic, ..)| nic.port.get() - 10).collect()
    };
    assert_eq!(asked(GroupProtocol::Igmp), moved);
    assert_eq!(asked(GroupProtocol::Mld), moved.difference(&gone).copied().collect());
}

#[test]
fn a_machine_is_asked_in_each_vlan_of_its_trunk_and_once_for_what_it_bridges() {
    let mut host = Host::new(once());
    let ports: Vec<u32> =
        host.taken().into_iter().filter(|(_, at)| *at == member(1)).map(|(number, _)| number).collect();
    let [access, bridge, trunk, ..] = ports[..] else { panic!("too few: {ports:?}") };
    let wanted = VlanProperty::Access { vlan: 7 }.check().unwrap();
    host.forwarding.set_vlans(vm(access).port, Some(&wanted)).unwrap();
    let bridges = Security { mac_spoofing: true, ..Security::STRICT };
    host.forwarding.set_security(vm(bridge).port, Some(bridges));
    let of = |number| host.forwarding.ports.position(vm(number).port).unwrap();
    for n in 0..40 {
        host.forwarding.learned.learn(MacAddr([0x02, 0x42, 0, 0, 0, n]), None, of(bridge), host.now);
    }
    for vlan in [5, 6] {
        host.forwarding.learned.learn(mac(trunk), VlanId::new(vlan), of(trunk), host.now);
    }
    let everything = VlanProperty::Trunk { native: 5, allowed: Bits(&[0xff; 512]), pruned: Bits(&[0; 512]) };
    host.forwarding.set_vlans(vm(trunk).port, Some(&everything.check().unwrap())).unwrap();
    host.link(1, LinkState::Down);
    host.tell();
    let asked = |number: u32| -> Vec<_> {
        let of = host.asked.iter().filter(|(nic, _, p)| *nic == vm(number) && *p == GroupProtocol::Mld);
        of.map(|(_, vlan, _)| vlan.map(VlanId::get)).collect()
    };
    assert_eq!(asked(access), [None], "its frames have no tag");
    let [mut of_trunk, of_bridge] = [trunk, bridge].map(asked);
    of_trunk.sort_unstable();
    assert_eq!(of_trunk, [None, Some(6)]);
    // Of its 41 addresses, its own comes with those of other machines, and the trunk's two between the others.
    assert!((1..=4).contains(&of_bridge.len()) && of_bridge.iter().all(Option::is_none));
}
