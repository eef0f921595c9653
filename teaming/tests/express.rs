//! The express way decides and counts as `decide_from` does, or not at all: random histories of settings, members, ports,
//! policies, addresses that move and are learned, and frames of every kind, damaged and cut short, between the changes.
//! What is decided on is read once.

use std::cell::RefCell;
use teaming::Heap;
use teaming::flow::{HashPolicy, POLICIES};
use teaming::forward::counters::{Counters, Load};
use teaming::forward::express::{Attempts, Front, IPV4_FRONT, IPV6_FRONT, Ipv4Front, Ipv6Front};
use teaming::forward::storage::ForwardingStorage;
use teaming::forward::{Decision, Forwarding, OutOfBand, Packet, Verdict};
use teaming::ids::{AdapterId, BUCKETS, MEMBERS, MacAddr, MemberIndex, NicId, NicIndex, PortId, Ticks};
use teaming::oid::nic::{NicKind, NicOp, NicParameters, VmId};
use teaming::ports::policy::Security;
use teaming::ports::port::ListSource;
use teaming::ports::traffic::Traffic;
use teaming::ports::vlan::{Bits, VlanProperty};
use teaming::settings::{Settings, TeamingMode};
use teaming::team::Team;
use teaming::team::member::{LinkState, Member, MemberEvent};

const EXTERNAL: u32 = 1;
const PORTS: u32 = 8;

/// The numbers of ports 2 and 6, 3 and 7 have their last 8 bits in common.
const fn numbered(port: u32) -> PortId {
    PortId::new(if port < 6 { port } else { port - 4 + 256 })
}

/// A fault of the express way, as what it reads of frames: each must be found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// It takes every frame with an IPv4 header for one without options.
    Options,
    /// It does not look for fragments.
    Fragments,
    /// It takes what is neither TCP nor UDP for UDP, over IPv4.
    Protocol,
    /// The same over IPv6.
    NextHeader,
    /// It takes group addresses for those of machines.
    Groups,
    /// It does not look at the address that a frame comes from.
    Source,
    /// It does not look for tags.
    Tags,
    /// It has the ports the other way round.
    Ports,
}

struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % end
    }

    fn one_in(&mut self, many: u64) -> bool {
        self.below(many) == 0
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len() as u64) as usize]
    }
}

/// The bytes of a frame, and which of them were read.
struct Bytes<'a> {
    frame: &'a [u8],
    read: RefCell<u64>,
    fault: Option<Fault>,
    /// The address that the frame should come from.
    own: MacAddr,
}

impl<'a> Bytes<'a> {
    /// As `src/ndis/front.rs`: none of a frame that is shorter.
    fn of(frame: &'a [u8], fault: Option<Fault>, own: MacAddr) -> Option<Self> {
        (frame.len() >= IPV4_FRONT).then_some(Self { frame, read: RefCell::new(0), fault, own })
    }

    fn has(&self, fault: Fault) -> bool {
        self.fault == Some(fault)
    }

    fn take<const N: usize>(&self, at: usize) -> [u8; N] {
        let bits = ((1 << N) - 1) << at;
        assert_eq!(*self.read.borrow() & bits, 0, "a byte is read twice");
        *self.read.borrow_mut() |= bits;
        self.frame[at..at + N].try_into().unwrap()
    }

    fn word(&self, at: usize) -> u64 {
        u64::from_le_bytes(self.take(at))
    }
}

impl Front for Bytes<'_> {
    fn ethernet(&self) -> [u64; 2] {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.take::<8>(0));
        bytes[8..].copy_from_slice(&self.take::<8>(8));
        if self.has(Fault::Groups) {
            bytes[0] &= !1;
        }
        if self.has(Fault::Source) {
            bytes[6..12].copy_from_slice(&self.own.0);
        }
        if self.has(Fault::Tags) && [[0x81, 0], [0x88, 0xa8], [0x91, 0]].contains(&[bytes[12], bytes[13]]) {
            bytes[12..16].copy_from_slice(&[8, 0, 0x45, 0]);
        }
        if self.has(Fault::Options) && bytes[12..14] == [8, 0] {
            bytes[14] = 0x45;
        }
        [0, 8].map(|at| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap()))
    }

    fn ipv4(&self) -> Ipv4Front {
        let mut fields: [u8; 8] = self.take(16);
        if self.has(Fault::Fragments) {
            fields[4..6].fill(0);
        }
        if self.has(Fault::Protocol) && fields[7] != 6 {
            fields[7] = 17;
        }
        let mut ports: [u8; 4] = self.take(34);
        if self.has(Fault::Ports) {
            ports.rotate_left(2);
        }
        let (fields, ports) = (u64::from_le_bytes(fields), u32::from_le_bytes(ports));
        Ipv4Front { fields, addresses: self.word(26), ports }
    }

    fn ipv6(&self) -> Option<Ipv6Front> {
        (self.frame.len() >= IPV6_FRONT).then(|| {
            let [next] = self.take(20);
            Ipv6Front {
                next: if self.has(Fault::NextHeader) && next != 6 { 17 } else { next },
                addresses: [22, 30, 38, 46].map(|at| self.word(at)),
                ports: u32::from_le_bytes(self.take(54)),
            }
        })
    }
}

fn nic(port: u32, index: u16) -> NicId {
    NicId::new(numbered(port), NicIndex::new(index))
}

/// A few addresses, so that ports come to share them.
fn mac(number: u64) -> MacAddr {
    MacAddr([2, 0, 0, 0, 0, number as u8])
}

fn parameters(id: NicId, kind: NicKind, mac: MacAddr, vm: VmId) -> NicParameters {
    NicParameters {
        id,
        kind,
        current_mac: mac,
        permanent_mac: mac,
        vm_mac: MacAddr::ZERO,
        mtu: 1500,
        vm,
        vf_assigned: false,
        initializing: true,
        adapter: AdapterId::UNKNOWN,
    }
}

struct World {
    team: Team<Heap>,
    forwarding: Forwarding<Heap>,
    settings: Settings,
    now: Ticks,
    random: Random,
    /// No port learns, or takes over the address of another: three worlds of four.
    calm: bool,
    /// What the walk counts of every frame, and what is counted when the express way takes what it can.
    counted: [Counters; 2],
    frames: u64,
    taken: u64,
    fault: Option<Fault>,
}

impl World {
    fn new(seed: u64, fault: Option<Fault>) -> Self {
        let settings = Settings { mode: TeamingMode::Static, policy: POLICIES[0], ..Settings::default() };
        let mut world = Self {
            team: Team::new(
                vec![0; BUCKETS],
                teaming::team::Next::at_once(),
                vec![Member::ABSENT; MEMBERS],
                &settings,
            ),
            forwarding: Forwarding::new(ForwardingStorage::on_heap(16, 64), &settings),
            settings,
            now: Ticks::from_ms(1_000),
            calm: !seed.is_multiple_of(4),
            random: Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1),
            counted: [Counters::ZERO, Counters::ZERO],
            frames: 0,
            taken: 0,
            fault,
        };
        world.external(NicOp::Create);
        for port in 2..6 {
            world.connect(port, mac(port.into()));
        }
        for member in 1..4 {
            world.member(member, MemberEvent::Connected);
        }
        world
    }

    fn external(&mut self, op: NicOp) {
        let id = nic(EXTERNAL, 0);
        self.forwarding.on_external(op, &parameters(id, NicKind::External, MacAddr::ZERO, VmId::NONE));
    }

    fn connect(&mut self, port: u32, mac: MacAddr) {
        let vm = VmId::of(&[(port / 2) as u8]);
        let nic = parameters(nic(port, 0), NicKind::Synthetic, mac, vm);
        self.forwarding.on_vnic(NicOp::Create, &nic).unwrap();
        self.forwarding.on_vnic(NicOp::Connect, &nic).unwrap();
    }

    fn member(&mut self, number: u8, event: MemberEvent) {
        let plan = self.team.on(MemberIndex::new(number).unwrap(), event, self.now);
        self.forwarding.publish(&plan, self.team.home(), self.now);
    }

    /// Something that decisions depend on.
    fn change(&mut self) {
        let r = &mut self.random;
        let port = 1 + r.below(PORTS.into()) as u32;
        let id = numbered(port);
        match r.below(16) {
            0 => {
                let usual = !r.one_in(4);
                self.settings.policy = if usual {
                    r.of(&[HashPolicy::TransportPorts, HashPolicy::HyperVPort])
                } else {
                    r.of(&POLICIES)
                };
                self.settings.symmetric_hash = r.one_in(5);
                self.settings.use_ipv6_flow_label = r.one_in(5);
                self.settings.use_adapter_hash = r.one_in(12);
                self.settings.mode = r.of(&[TeamingMode::Static, TeamingMode::SwitchIndependent]);
                self.settings.seed = 1 + r.below(3);
                let settings = self.settings;
                self.forwarding.configure(&settings);
            }
            1..4 => {
                let number = 1 + r.below(4) as u8;
                let up = LinkState::Up { bits_per_second: Some(10_000_000_000) };
                let event = r.of(&[
                    MemberEvent::Link(LinkState::Down),
                    MemberEvent::Link(up),
                    MemberEvent::Connected,
                    MemberEvent::Connected,
                    MemberEvent::Disconnected,
                ]);
                self.member(number, event);
            }
            4 => {
                let op = if r.one_in(6) { NicOp::Delete } else { NicOp::Create };
                self.external(op);
            }
            5 | 6 => {
                let address = mac(2 + r.below(8));
                if port != EXTERNAL {
                    self.connect(port, address);
                }
            }
            7 => {
                let id = nic(port, 0);
                let op = r.of(&[NicOp::Disconnect, NicOp::Delete, NicOp::Connect, NicOp::Update]);
                let address = mac(2 + r.below(8));
                let nic = parameters(id, NicKind::Synthetic, address, VmId::NONE);
                let _ = if port == EXTERNAL { Ok(()) } else { self.forwarding.on_vnic(op, &nic) };
            }
            8 => {
                let _ = self.forwarding.create_port(id, r.one_in(6));
            }
            9 => {
                let security = Security {
                    mac_spoofing: !self.calm && r.one_in(5),
                    teaming: !self.calm && r.one_in(5),
                    priority_tag: r.one_in(3),
                    virtual_subnet: if r.one_in(8) { 5_000 } else { 0 },
                };
                self.forwarding.set_security(id, r.one_in(2).then_some(security));
            }
            10 | 11 => {
                let (all, none) = ([0xFF; 512], [0; 512]);
                let vlan = r.of(&[0, 0, 7, 7, 8]);
                let property = match r.below(8) {
                    0 => VlanProperty::Trunk { native: vlan, allowed: Bits(&all), pruned: Bits(&none) },
                    1 => VlanProperty::Isolated { primary: 7, secondary: 8 },
                    2 => VlanProperty::Community { primary: 7, secondary: 9 },
                    3 => VlanProperty::Promiscuous { primary: 7, secondaries: Bits(&all) },
                    _ => VlanProperty::Access { vlan },
                };
                let wanted = property.check();
                let wanted = wanted.as_ref().ok().filter(|_| !r.one_in(4));
                let _ = self.forwarding.set_vlans(id, wanted);
            }
            12 if r.one_in(8) => self.forwarding.close(id),
            12 => {
                if let Some(revision) = self.forwarding.ports.revision(id) {
                    let _ = self.forwarding.replace_policy(id, revision, None, None, false);
                }
            }
            13 if r.one_in(6) => self.forwarding.delete_port(id),
            13 => self.forwarding.ports.hash_as(nic(port, 0), nic(40 + r.below(3) as u32, 0)),
            _ => {
                self.now = Ticks::new(self.now.get() + r.below(2_000_000));
                self.forwarding.settle(self.team.home(), self.now);
            }
        }
    }

    fn frame(&mut self, source: NicId) -> Vec<u8> {
        let r = &mut self.random;
        let own = self.forwarding.ports.get(source.port).map(|port| port.current_mac);
        let own = own.filter(|_| !r.one_in(12)).unwrap_or(mac(2 + r.below(9)));
        let to = match r.below(12) {
            0 => MacAddr::BROADCAST,
            1 => MacAddr([1, 0, 0x5e, 0, 0, 1]),
            2..6 => mac(2 + r.below(9)),
            _ => MacAddr([6, 0, 0, 0, 0, r.below(4) as u8]),
        };
        let mut frame = [to.0, own.0].concat();
        if r.one_in(8) {
            frame.extend(r.of(&[[0x81, 0], [0x88, 0xa8], [0x91, 0]]));
            frame.extend([0, r.of(&[0, 7, 8])]);
        }
        let protocol = r.of(&[6, 6, 6, 6, 6, 17, 17, 17, 17, 1, 50, 51, 58, 0, 44, 60, 132]);
        match r.below(10) {
            0..5 => {
                let lead = if r.one_in(8) { r.of(&[0x46, 0x44, 0x55, 0x4f]) } else { 0x45 };
                let fragment = if r.one_in(8) { r.of(&[0x20, 0x40, 0x01, 0x3f, 0x80]) } else { 0 };
                frame.extend([8, 0, lead, 0, 0, 60, 0, 0, fragment, u8::from(r.one_in(20)), 64, protocol]);
                frame.extend([0, 0]);
            }
            5..8 => {
                let lead = if r.one_in(8) { r.of(&[0x50, 0x45, 0x70, 0x6f]) } else { 0x60 };
                frame.extend([0x86, 0xdd, lead, 0, 0, r.below(3) as u8, 0, 40, protocol, 64]);
            }
            8 => frame.extend([8, 6, 0, 1, 8, 0, 6, 4, 0, 1]),
            _ => frame.extend([r.below(256) as u8, r.below(256) as u8]),
        }
        let length = if r.one_in(6) { r.below(70) } else { 60 + r.below(20) } as usize;
        while frame.len() < length {
            frame.push(r.below(4) as u8);
        }
        frame.truncate(length);
        if r.one_in(10) && !frame.is_empty() {
            let at = r.below(frame.len() as u64) as usize;
            frame[at] ^= 1 << r.below(8);
        }
        frame
    }

    /// One frame goes both ways.
    fn send(&mut self) {
        let r = &mut self.random;
        let port = if r.one_in(10) { r.below((PORTS + 3).into()) as u32 } else { 2 + r.below(4) as u32 };
        let source = nic(port, if r.one_in(12) { r.below(3) as u16 } else { 0 });
        let frame = self.frame(source);
        let now = if self.forwarding.wants_time() { self.now } else { Ticks::ZERO };
        let own = self.forwarding.ports.get(source.port).map_or(MacAddr::ZERO, |port| port.current_mac);
        let tables = self.forwarding.express(if self.forwarding.moving() { now } else { Ticks::ZERO }, 0);
        let found =
            tables.as_ref().and_then(|tables| Some((tables, tables.source(ListSource::of(source)?)?)));
        let way = found
            .as_ref()
            .zip(Bytes::of(&frame, self.fault, own))
            .map(|((tables, source), front)| (tables.decide(*source, &front), source.vlan()));
        let source_port = self.forwarding.source_port(source);
        let packet = Packet { source, window: &frame, pinned: None, native: false, now };
        let decision = self.forwarding.decide_from(&source_port, &packet, &OutOfBand::NOTHING);
        let load = Load { frames: 1, bytes: frame.len() as u64 };
        let [walked, both] = &mut self.counted;
        walked.count_decision(&decision, load);
        self.frames += 1;
        match way.filter(|(way, _)| !way.is_none()) {
            None => both.count_decision(&decision, load),
            Some((way, vlan)) => {
                self.taken += 1;
                let delivered = both.delivered;
                both.count_express(way, load);
                both.count_express_run(1, delivered);
                let external = self.forwarding.external;
                let target = way.target();
                let verdict = match way.member() {
                    Some(member) => {
                        assert_eq!(Some(target.nic().port), external, "{frame:x?}");
                        Verdict::Uplink(member)
                    }
                    None => Verdict::Deliver(target.nic()),
                };
                let Decision { verdict: walked, bits, sent, trace, .. } = decision;
                assert_eq!((verdict, target.bits()), (walked, bits), "from {source}: {frame:x?}");
                assert_eq!(vlan, sent.tag(), "from {source}: {frame:x?}");
                assert!(trace.is_none() && !sent.needs_own_list() && !sent.comes_off(bits), "{frame:x?}");
                // What the walk counts, and where.
                let (ports, one) = (&self.forwarding.ports, Traffic { frames: 1, bytes: load.bytes });
                let before = ports.traffic(source.port);
                ports.count(0, source_port.position, one);
                assert_eq!(ports.traffic(source.port), before.plus(one));
                found.expect("it was decided").1.count(load.bytes);
                assert_eq!(ports.traffic(source.port), before.plus(one).plus(one));
            }
        }
    }
}

/// Histories until so many frames have gone both ways; how many the express way took.
fn both_ways(frames: u64, first_seed: u64, fault: Option<Fault>) -> u64 {
    let (mut sent, mut taken) = (0, 0);
    for seed in first_seed.. {
        let mut world = World::new(seed, fault);
        for _ in 0..200 {
            // Changes come between two frames and in a heap.
            for _ in 0..world.random.below(4) {
                world.change();
            }
            for _ in 0..1 + world.random.below(50) {
                world.send();
            }
            let [walked, both] = &world.counted;
            assert_eq!(walked, both, "seed {seed}");
        }
        (sent, taken) = (sent + world.frames, taken + world.taken);
        if sent >= frames {
            break;
        }
    }
    println!("{sent} frames, {taken} by the express way");
    assert!(taken > sent / 20, "{taken} of {sent}: the histories say little");
    taken
}

#[test]
fn the_express_way_decides_and_counts_as_the_walk_or_not_at_all() {
    both_ways(100_000, 1, None);
}

#[test]
#[ignore = "ten million frames: bash .ci/run long"]
fn the_express_way_decides_as_the_walk_ten_million_times() {
    let seed = std::env::var("LBFOEXT_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1_000_000);
    both_ways(10_000_000, seed, None);
}

#[test]
fn the_comparison_finds_every_fault_of_the_express_way() {
    let faults = [
        Fault::Options,
        Fault::Fragments,
        Fault::Protocol,
        Fault::NextHeader,
        Fault::Groups,
        Fault::Source,
        Fault::Tags,
        Fault::Ports,
    ];
    for fault in faults {
        let compared = std::panic::catch_unwind(|| both_ways(100_000, 1, Some(fault)));
        assert!(compared.is_err(), "{fault:?} is not found in 100,000 frames");
    }
}

/// How many of so many lists are tried when the express way takes every list of which `takes` is true.
fn tries(lists: usize, takes: impl Fn(usize) -> bool) -> usize {
    let (mut attempts, mut at, mut tried) = (Attempts::NONE, 0, 0);
    while at < lists {
        if attempts.is_due() {
            let taken = (at..lists).take_while(|&list| takes(list)).count();
            tried += 1;
            at += taken;
            if at < lists {
                attempts.failed(taken);
            }
        }
        at += attempts.walks(32);
    }
    tried
}

#[test]
fn tries_that_fail_become_rare_and_a_rare_packet_among_others_costs_one() {
    assert_eq!(tries(10_000, |_| true), 1);
    let failed = tries(10_000, |_| false);
    assert!((10_000 / 256..60).contains(&failed), "{failed}");
    // One in a hundred is another: the list after it is tried at once.
    assert_eq!(tries(10_000, |list| list % 100 != 99), 100);
    // A long series of others, then none: at most 255 lists late.
    let late = tries(10_000, |list| list >= 5_000);
    assert!(late < 40, "{late}");
}

#[test]
fn what_the_walk_left_of_a_pause_is_kept() {
    let mut attempts = Attempts::NONE;
    (0..4).for_each(|_| attempts.failed(0));
    assert_eq!(attempts.walks(32), 15);
    assert!(attempts.is_due());
    attempts.gave_back(8);
    assert!(!attempts.is_due());
    assert_eq!((attempts.walks(3), attempts.walks(32)), (3, 5));
}
