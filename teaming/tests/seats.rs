//! Seats under HyperVPort: whole machines are spread by weight as evenly as whole machines allow, and nobody moves because
//! another came or went. The best possible is stated here without the product: machine after machine to the member with the
//! least (machines + 1) / weight.

use std::collections::BTreeMap;
use teaming::Heap;
use teaming::flow::HashPolicy;
use teaming::forward::Forwarding;
use teaming::ids::{
    AdapterId, BUCKETS, HashId, MEMBERS, MacAddr, MemberIndex, NicId, NicIndex, PortId, Ticks,
};
use teaming::oid::nic::{NicKind, NicOp, NicParameters, VmId};
use teaming::settings::{Lookup, Settings};
use teaming::team::member::{LinkState, Member, MemberEvent};
use teaming::team::{Next, Team};

const GBIT: u64 = 1_000_000_000;

fn settings(policy: HashPolicy, seed: u64) -> Settings {
    let (settings, _) = Settings::read(|setting| match setting.name {
        "TeamingMode" => Lookup::Value(0),
        "LoadBalancingAlgorithm" => Lookup::Value(policy.number().into()),
        "HashSeed" => Lookup::Value(seed),
        "FlowletGapUs" | "LinkUpDelayMs" | "FlapHoldDownMs" => Lookup::Value(0),
        _ => Lookup::Missing,
    });
    settings
}

fn machine(port: u32) -> NicId {
    NicId::new(PortId::new(port), NicIndex::new(0))
}

fn parameters(id: NicId) -> NicParameters {
    let [.., a, b] = id.port.get().to_be_bytes();
    let mac = MacAddr([2, 0, 0, 0, a, b]);
    NicParameters {
        id,
        kind: NicKind::Synthetic,
        current_mac: mac,
        permanent_mac: mac,
        vm_mac: MacAddr::ZERO,
        mtu: 1500,
        vm: VmId::NONE,
        vf_assigned: false,
        initializing: true,
        adapter: AdapterId::UNKNOWN,
    }
}

struct Host {
    team: Team<Heap>,
    forwarding: Forwarding<Heap>,
    speeds: Vec<u64>,
}

impl Host {
    fn new(speeds: &[u64], settings: &Settings) -> Self {
        let team = Team::new(vec![0; BUCKETS], Next::at_once(), vec![Member::ABSENT; MEMBERS], settings);
        let mut host = Self { team, forwarding: Forwarding::on_heap(200, settings), speeds: vec![] };
        speeds.iter().for_each(|speed| host.add_member(*speed));
        host
    }

    fn add_member(&mut self, speed: u64) {
        self.speeds.push(speed);
        let member = self.speeds.len();
        self.take(member, MemberEvent::Connected);
        self.link(member, true);
    }

    fn take(&mut self, member: usize, event: MemberEvent) {
        let member = MemberIndex::from_slot(member - 1).unwrap();
        let plan = self.team.on(member, event, Ticks::ZERO);
        self.forwarding.publish(&plan, self.team.home(), Ticks::ZERO);
        while self.forwarding.moving() {
            self.forwarding.settle(self.team.home(), Ticks::ZERO);
        }
    }

    /// Members are numbered from 1.
    fn link(&mut self, member: usize, is_up: bool) {
        let up = LinkState::Up { bits_per_second: Some(self.speeds[member - 1] * GBIT) };
        self.take(member, MemberEvent::Link(if is_up { up } else { LinkState::Down }));
    }

    fn connect(&mut self, port: u32) {
        self.forwarding.create_port(PortId::new(port), false).unwrap();
        self.forwarding.on_vnic(NicOp::Create, &parameters(machine(port))).unwrap();
        self.forwarding.on_vnic(NicOp::Connect, &parameters(machine(port))).unwrap();
    }

    fn arrive(&mut self, port: u32) {
        self.connect(port);
        self.seat(port);
    }

    fn seat(&mut self, port: u32) {
        self.forwarding.seat(&self.team.homes(), machine(port));
    }

    fn leave(&mut self, port: u32) {
        self.forwarding.on_vnic(NicOp::Disconnect, &parameters(machine(port))).unwrap();
        self.forwarding.on_vnic(NicOp::Delete, &parameters(machine(port))).unwrap();
        self.forwarding.delete_port(PortId::new(port));
    }

    fn seat_all(&mut self, anew: bool) {
        self.forwarding.seat_all(&self.team.homes(), anew);
    }

    /// The member that carries a machine's frames now.
    fn member(&self, port: u32) -> usize {
        self.forwarding.member_of_vnic(machine(port)).map_or(0, |member| member.slot() + 1)
    }

    /// What is on each member now.
    fn spread(&self, ports: impl IntoIterator<Item = u32>) -> Vec<u64> {
        let mut counts = vec![0; self.speeds.len()];
        ports.into_iter().for_each(|port| counts[self.member(port) - 1] += 1);
        counts
    }
}

/// Machine after machine to the member with the least (machines + 1) / weight. Members of equal weight are
/// interchangeable, so their counts are in order.
fn best(machines: u64, speeds: &[u64]) -> Vec<(u64, u64)> {
    let mut counts = vec![0_u64; speeds.len()];
    for _ in 0..machines {
        let at = (0..speeds.len())
            .min_by(|&a, &b| ((counts[a] + 1) * speeds[b]).cmp(&((counts[b] + 1) * speeds[a])))
            .unwrap();
        counts[at] += 1;
    }
    in_order(&counts, speeds)
}

fn in_order(counts: &[u64], speeds: &[u64]) -> Vec<(u64, u64)> {
    let mut all: Vec<_> = speeds.iter().copied().zip(counts.iter().copied()).collect();
    all.sort_unstable();
    all
}

/// The load of the fullest member, and how many machines could not be placed better: what is the same whoever wins a draw
/// between members of unlike weight.
fn worst(spread: &[(u64, u64)]) -> (u64, u64) {
    let &(weight, count) =
        spread.iter().max_by(|a, b| (a.1 * b.0).cmp(&(b.1 * a.0))).expect("there are members");
    // As a fraction in lowest terms.
    let (mut a, mut b) = (count, weight);
    while b != 0 {
        (a, b) = (b, a % b);
    }
    (count / a.max(1), weight / a.max(1))
}

fn teams() -> Vec<Vec<u64>> {
    let equal = (2..=8).map(|members| vec![10; members]);
    let unlike: [&[u64]; 6] = [
        &[10, 25],
        &[1, 10],
        &[10, 40, 10],
        &[25, 10, 10, 40],
        &[100, 25, 25, 10, 10],
        &[1, 10, 25, 40, 100],
    ];
    equal.chain(unlike.map(<[u64]>::to_vec)).collect()
}

#[test]
fn every_number_of_machines_is_spread_as_well_as_whole_machines_can_be() {
    for speeds in teams() {
        let mut host = Host::new(&speeds, &settings(HashPolicy::HyperVPort, 0));
        let is_equal = speeds.iter().all(|speed| *speed == speeds[0]);
        for machines in 1..=64 {
            host.arrive(10 + machines);
            let spread = in_order(&host.spread(11..=10 + machines), &speeds);
            let ideal = best(machines.into(), &speeds);
            assert_eq!(worst(&spread), worst(&ideal), "{machines} over {speeds:?}: {spread:?}");
            if is_equal {
                assert_eq!(spread, ideal, "{machines} over {speeds:?}");
            }
        }
    }
}

#[test]
fn all_at_once_are_spread_as_those_who_come_one_by_one() {
    for speeds in teams() {
        let mut one = Host::new(&speeds, &settings(HashPolicy::HyperVPort, 0));
        let mut all = Host::new(&speeds, &settings(HashPolicy::HyperVPort, 0));
        (1..=40).for_each(|port| one.arrive(port));
        // Not in the order of their numbers.
        (1..=40).rev().for_each(|port| all.connect(port));
        all.seat_all(false);
        let members = |host: &Host| (1..=40).map(|port| host.member(port)).collect::<Vec<_>>();
        assert_eq!(members(&one), members(&all), "{speeds:?}");
        all.seat_all(true);
        assert_eq!(members(&one), members(&all), "{speeds:?}");
    }
}

#[test]
fn the_seat_0_is_the_hash_of_before_and_other_policies_have_no_seats() {
    let nic = NicId::new(PortId::new(0x1234_5678), NicIndex::new(0x9abc));
    for seat in [0, 1, 1_023, u16::MAX] {
        let id = HashId::new(nic, seat);
        assert_eq!((id.nic(), id.seat()), (nic, seat));
    }
    assert_eq!(HashId::from(nic), HashId::new(nic, 0));
    for policy in teaming::flow::POLICIES {
        let mut host = Host::new(&[10, 10, 10], &settings(policy, 0));
        (1..=30).for_each(|port| host.arrive(port));
        let seats = (1..=30).filter(|&port| host.forwarding.hashed_as(machine(port)).seat() != 0).count();
        assert_eq!(seats != 0, policy == HashPolicy::HyperVPort, "{policy:?}: {seats}");
    }
}

#[test]
fn another_policy_takes_the_seats_and_gives_them_back() {
    let by_port = settings(HashPolicy::HyperVPort, 0);
    let mut host = Host::new(&[10; 4], &by_port);
    (1..=8).for_each(|port| host.arrive(port));
    let before: Vec<_> = (1..=8).map(|port| host.forwarding.hashed_as(machine(port))).collect();
    host.forwarding.configure(&settings(HashPolicy::TransportPorts, 0));
    host.seat_all(true);
    assert!((1..=8).all(|port| host.forwarding.hashed_as(machine(port)) == machine(port).into()));
    host.forwarding.configure(&by_port);
    host.seat_all(true);
    assert_eq!(before, (1..=8).map(|port| host.forwarding.hashed_as(machine(port))).collect::<Vec<_>>());
    host.forwarding.configure(&settings(HashPolicy::HyperVPort, 77));
    host.seat_all(true);
    assert_eq!(host.spread(1..=8), [2; 4]);
}

struct Draw(u64);

impl Draw {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % n
    }
}

/// 10,000 arrivals, departures, failures, returns, reconnections and new choices where there is nothing to choose.
fn walk(speeds: &[u64], seed: u64) {
    let mut draw = Draw(seed);
    let mut host = Host::new(speeds, &settings(HashPolicy::HyperVPort, seed));
    let is_equal = speeds.iter().all(|speed| *speed == speeds[0]);
    let mut home: BTreeMap<u32, usize> = BTreeMap::new();
    let (mut down, mut next, mut failures) = (Vec::new(), 1, 0);
    for _ in 0..10_000 {
        let ports: Vec<u32> = home.keys().copied().collect();
        match draw.below(10) {
            0..4 if ports.len() < 150 => {
                let before = counts(&home, speeds.len());
                host.arrive(next);
                // Where it is at home: nobody is told while a member is down.
                let bucket = teaming::seats::bucket(
                    host.forwarding.hashed_as(machine(next)),
                    teaming::flow::hash::Seed::new(settings(HashPolicy::HyperVPort, seed).seed),
                );
                let member = usize::from(host.team.home()[bucket.index()]);
                let load = |at: usize| (before[at] + 1, speeds[at]);
                let (mine, weight) = load(member - 1);
                let least = (0..speeds.len()).all(|at| mine * load(at).1 <= load(at).0 * weight);
                assert!(least, "{member} of {before:?} by {speeds:?}");
                home.insert(next, member);
                next += 1;
            }
            4..7 if !ports.is_empty() => {
                let port = ports[draw.below(ports.len())];
                host.leave(port);
                home.remove(&port);
            }
            7 if down.len() + 1 < speeds.len() => {
                let member = 1 + draw.below(speeds.len());
                if !down.contains(&member) {
                    host.link(member, false);
                    down.push(member);
                    failures += 1;
                }
            }
            8 if !down.is_empty() => {
                let at = draw.below(down.len());
                host.link(down.swap_remove(at), true);
            }
            9 if !ports.is_empty() => {
                // The cable of a machine, and whatever makes the driver look again.
                let port = ports[draw.below(ports.len())];
                host.forwarding.on_vnic(NicOp::Disconnect, &parameters(machine(port))).unwrap();
                host.forwarding.on_vnic(NicOp::Connect, &parameters(machine(port))).unwrap();
                host.seat(port);
                host.seat_all(false);
            }
            _ => continue,
        }
        for (&port, &member) in &home {
            if !down.contains(&member) {
                assert_eq!(host.member(port), member, "machine {port} stays while others come and go");
            }
        }
        let occupancy = host.forwarding.ports.occupancy();
        let told: Vec<u64> = (0..speeds.len())
            .map(|slot| occupancy.at(MemberIndex::from_slot(slot).unwrap()).into())
            .collect();
        assert_eq!(told, counts(&home, speeds.len()));
    }
    for member in down {
        host.link(member, true);
    }
    assert!(home.iter().all(|(&port, &member)| host.member(port) == member), "everybody is home again");
    assert!(failures > 50, "{failures}");
    // Gaps are filled by those who come.
    let spread = counts(&home, speeds.len());
    let gap = |spread: &[u64]| spread.iter().max().unwrap() - spread.iter().min().unwrap();
    let missing: u64 = spread.iter().map(|count| spread.iter().max().unwrap() - count).sum();
    if is_equal {
        for _ in 0..missing.min(40) {
            host.arrive(next);
            home.insert(next, host.member(next));
            next += 1;
        }
        let filled = counts(&home, speeds.len());
        assert!(missing > 40 || gap(&filled) == 0, "{spread:?}: {filled:?}");
    }
}

fn counts(home: &BTreeMap<u32, usize>, members: usize) -> Vec<u64> {
    let mut counts = vec![0; members];
    home.values().for_each(|member| counts[member - 1] += 1);
    counts
}

#[test]
fn nobody_moves_because_another_came_or_went_on_a_walk_of_10_000_steps() {
    for (seed, speeds) in
        [&[10, 10][..], &[10; 4], &[10; 7], &[25, 10, 10, 40], &[100, 25, 10]].iter().enumerate()
    {
        walk(speeds, 1 + seed as u64);
    }
}

#[test]
fn a_seat_that_was_brought_holds_unless_it_would_widen_the_gap_beyond_one() {
    let by_port = settings(HashPolicy::HyperVPort, 0);
    let mut kept = [0; 2];
    for port in 100..200 {
        let mut there = Host::new(&[10; 4], &by_port);
        let mut here = Host::new(&[10; 4], &by_port);
        (1..=port % 7).for_each(|other| there.arrive(300 + other));
        there.arrive(port);
        (1..=port % 5).for_each(|other| here.arrive(other));
        let before = here.spread(1..=port % 5);
        let (id, member) = (there.forwarding.hashed_as(machine(port)), there.member(port));
        here.connect(50);
        assert!(here.forwarding.bring(machine(50), id, true));
        here.seat(50);
        assert_eq!(here.forwarding.hashed_as(machine(50)).nic(), machine(port));
        let (least, most) = (before.iter().min().unwrap(), before.iter().max().unwrap());
        let fits = before[member - 1] < *most.max(&(least + 1));
        assert_eq!(here.member(50) == member, fits, "{before:?}, {member}");
        if !fits {
            assert_eq!(before[here.member(50) - 1], *least);
        }
        kept[usize::from(fits)] += 1;
        // A second record, or the same again, changes nothing.
        let now = here.forwarding.hashed_as(machine(50));
        assert!(!here.forwarding.bring(machine(50), HashId::new(machine(7), 7), true));
        here.seat_all(false);
        assert_eq!(here.forwarding.hashed_as(machine(50)), now);
    }
    assert!(kept[0] > 15 && kept[1] > 15, "{kept:?}");
    // From an unlike host comes the id, and the seat is chosen.
    let mut here = Host::new(&[10; 4], &by_port);
    here.arrive(1);
    here.connect(50);
    assert!(here.forwarding.bring(machine(50), HashId::new(machine(9), 500), false));
    here.seat(50);
    assert_eq!(here.forwarding.hashed_as(machine(50)).nic(), machine(9));
    assert_ne!(here.member(50), here.member(1));
}

#[test]
fn a_new_member_moves_only_machines_of_its_own_buckets_and_those_who_come_fill_it() {
    for machines in [8, 16, 40] {
        let mut host = Host::new(&[10; 4], &settings(HashPolicy::HyperVPort, 0));
        (1..=machines).for_each(|port| host.arrive(port));
        let before: Vec<_> = (1..=machines).map(|port| host.member(port)).collect();
        host.add_member(10);
        host.seat_all(false);
        let moved =
            (1..=machines).zip(&before).filter(|(port, before)| host.member(*port) != **before).count();
        assert!(moved <= machines as usize / 2, "{moved} of {machines}");
        let spread = host.spread(1..=machines);
        let gap = |spread: &[u64]| spread.iter().max().unwrap() - spread.iter().min().unwrap();
        let missing: u64 = spread.iter().map(|count| spread.iter().max().unwrap() - count).sum();
        let all = machines + u32::try_from(missing).unwrap();
        (machines + 1..=all).for_each(|port| host.arrive(port));
        assert_eq!(gap(&host.spread(1..=all)), 0, "{spread:?}");
    }
}
