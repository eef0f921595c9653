//! A small switch with a team, and the result of a frame in it.

use std::collections::BTreeMap;

use proptest::test_runner::{Config, RngSeed};
use teaming::Heap;
use teaming::forward::drop_reason::DropReason;
use teaming::forward::source::SourcePort;
use teaming::forward::{Decision, Forwarding, OutOfBand, Packet, Target, Verdict};
use teaming::ids::{BUCKETS, MEMBERS, MacAddr, MemberIndex, NicId, NicIndex, PortId, Ticks};
use teaming::oid::nic::{NicKind, NicOp, NicParameters, VmId};
use teaming::ports::policy::Security;
use teaming::ports::vlan::VLAN_BYTES;
use teaming::settings::{Settings, TeamingMode};
use teaming::team::Team;
use teaming::team::member::{Member, MemberEvent};

/// The external port.
pub const UPLINK: u32 = 1;
pub const SPOOFING: Security = Security { mac_spoofing: true, ..Security::STRICT };
/// A host in the external network.
pub const REMOTE: MacAddr = MacAddr([2, 0xee, 0, 0, 0, 1]);
/// Port 0: the switch itself.
pub const TRUSTED: NicId = nic(0, 0);

pub const fn nic(port: u32, index: u16) -> NicId {
    NicId::new(PortId::new(port), NicIndex::new(index))
}

/// The vNICs that a flood reaches, found under one hold of the lock.
pub fn flooded<'a>(
    forwarding: &'a Forwarding<Heap>,
    source_port: &'a SourcePort,
    decision: &Decision,
) -> impl Iterator<Item = Target> + 'a {
    let audience = forwarding.audience(decision);
    let reach =
        move |from| Some(forwarding.reach(source_port, &audience, from)).filter(|some| some.count() > 0);
    std::iter::successors(reach(0), move |some| reach(some.next())).flat_map(|some| forwarding.targets(some))
}

pub fn member(number: u8) -> MemberIndex {
    MemberIndex::new(number).unwrap()
}

/// The address of the NIC on a port.
pub fn mac(port: u32) -> MacAddr {
    let [_, _, high, low] = port.to_be_bytes();
    MacAddr([2, 0, 0, 0, high, low])
}

pub fn group(number: u8) -> MacAddr {
    MacAddr([1, 0, 0x5e, 0, 0, number])
}

/// The address of a host behind a NIC.
pub fn stray(number: u8) -> MacAddr {
    MacAddr([2, 0xbb, 0, 0, 0, number])
}

pub fn parameters(port: u32, kind: NicKind) -> NicParameters {
    NicParameters {
        id: nic(port, 0),
        kind,
        current_mac: mac(port),
        permanent_mac: mac(port),
        vm_mac: MacAddr::ZERO,
        mtu: 1500,
        vm: VmId::NONE,
        vf_assigned: false,
        initializing: true,
        adapter: teaming::ids::AdapterId::UNKNOWN,
    }
}

/// A set of VLANs in the form of a property.
pub fn vlan_bytes(numbers: &[u16]) -> [u8; VLAN_BYTES] {
    let mut bytes = [0; VLAN_BYTES];
    for number in numbers {
        bytes[usize::from(number / 8)] |= 1 << (number % 8);
    }
    bytes
}

/// Settings without delays: waiting moves and members take effect at once.
pub fn settings(mode: TeamingMode) -> Settings {
    let at_once = Settings {
        flowlet_gap: Ticks::ZERO,
        link_up_delay: Ticks::ZERO,
        flap_hold_down: Ticks::ZERO,
        ..Settings::default()
    };
    Settings { mode, prune_multicast: true, ..at_once }
}

/// A proptest configuration with a fixed seed, so that every run is the same.
pub fn walks(cases: u32) -> Config {
    Config { cases, failure_persistence: None, rng_seed: RngSeed::Fixed(7), ..Config::default() }
}

/// A frame with these tags in its bytes (each a TCI).
pub fn frame(source: MacAddr, to: MacAddr, tags: &[u16]) -> Vec<u8> {
    let mut bytes = [to.0, source.0].concat();
    for tag in tags {
        bytes.extend([0x81, 0]);
        bytes.extend(tag.to_be_bytes());
    }
    bytes.extend([0x08, 0, 0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    bytes.extend([0, 9, 0, 53, 0, 8, 0, 0]);
    bytes
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    Outside,
    Station(u32),
}

/// The destinations of a frame with the preserve bits of each, or the reason of the drop.
pub type Ways = Result<BTreeMap<Place, u8>, DropReason>;

pub struct Host {
    pub team: Team<Heap>,
    pub forwarding: Forwarding<Heap>,
    pub now: Ticks,
}

impl Host {
    /// Members 1 and 2 are up.
    pub fn new(settings: &Settings, ports: usize) -> Self {
        let mut host = Self {
            team: Team::new(
                vec![0; BUCKETS],
                teaming::team::Next::at_once(),
                vec![Member::ABSENT; MEMBERS],
                settings,
            ),
            forwarding: Forwarding::on_heap(ports, settings),
            now: Ticks::from_ms(1_000),
        };
        host.forwarding.on_external(NicOp::Create, &parameters(UPLINK, NicKind::External));
        host.on(1, MemberEvent::Connected);
        host.on(2, MemberEvent::Connected);
        host
    }

    /// Adds a port and a vNIC on it.
    pub fn station(&mut self, port: u32) {
        self.forwarding.create_port(PortId::new(port), false).unwrap();
        self.forwarding.on_vnic(NicOp::Connect, &parameters(port, NicKind::Synthetic)).unwrap();
    }

    pub fn on(&mut self, number: u8, event: MemberEvent) {
        let plan = self.team.on(member(number), event, self.now);
        self.forwarding.publish(&plan, self.team.home(), self.now);
    }

    pub fn decide(&self, source: NicId, window: &[u8], out_of_band: &OutOfBand<'_>) -> Decision {
        let packet = Packet { source, window, pinned: None, native: false, now: self.now };
        self.forwarding.decide_with(&packet, out_of_band)
    }

    /// The result of a frame; a flood without destinations is an empty map.
    pub fn ways(&self, source: NicId, window: &[u8], out_of_band: &OutOfBand<'_>) -> Ways {
        let decision = self.decide(source, window, out_of_band);
        let mut ways = BTreeMap::new();
        match decision.verdict {
            Verdict::Drop(reason) | Verdict::RefusedBy(_, reason) => return Err(reason),
            Verdict::Native => panic!("no test asks for it"),
            Verdict::Deliver(to) => {
                assert_eq!(to.index, NicIndex::DEFAULT);
                ways.insert(Place::Station(to.port.get()), decision.bits.bits());
            }
            Verdict::Uplink(_) => {
                ways.insert(Place::Outside, decision.bits.bits());
            }
            Verdict::Flood { uplink } => {
                if uplink.is_some() {
                    ways.insert(Place::Outside, decision.bits.bits());
                }
                let source_port = self.forwarding.source_port(source);
                for target in flooded(&self.forwarding, &source_port, &decision) {
                    let before = ways.insert(Place::Station(target.nic().port.get()), target.bits().bits());
                    assert_eq!(before, None, "one station twice");
                }
            }
        }
        Ok(ways)
    }

    /// The same for a frame without tags.
    pub fn plain(&self, source: NicId, from: MacAddr, to: MacAddr) -> Ways {
        self.ways(source, &frame(from, to, &[]), &OutOfBand::NOTHING)
    }

    /// The result of a frame of the switch itself with `vlan` in its out-of-band tag (0: none).
    pub fn sent_by_switch(&self, to: MacAddr, vlan: u16) -> Ways {
        self.ways(TRUSTED, &frame(REMOTE, to, &[]), &OutOfBand { vlan, ..OutOfBand::NOTHING })
    }
}
