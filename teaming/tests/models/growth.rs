//! Tables that grow and shrink: the result for frames stays the same, and after any sequence of steps the storage in
//! use is what the present ports need.

use std::collections::BTreeMap;

use proptest::prelude::*;
use teaming::forward::OutOfBand;
use teaming::ids::{MacAddr, NicId, PortId};
use teaming::oid::nic::{NicKind, NicOp, NicParameters, VmId};
use teaming::ports::policy::Security;
use teaming::ports::storage::{PortTableSizes, PortTableStorage};
use teaming::ports::traffic::Traffic;
use teaming::ports::vlan::{Bits, VlanProperty, VlanSet, Vlans};
use teaming::ports::{Full, Port};
use teaming::settings::TeamingMode;

use crate::host::{
    Host, REMOTE, TRUSTED, UPLINK, Ways, frame, group, mac, nic, parameters, settings, stray, vlan_bytes,
    walks,
};
use crate::rows::Mode;

const PORTS: std::ops::Range<u32> = 10..19;
const GROUPS: u8 = 2;
/// Number of addresses that NICs may have in addition to their own, and may share.
const SHARED: u8 = 3;

#[derive(Debug, Clone)]
enum Step {
    Come(u32),
    Go(u32),
    /// A NIC operation, with one of the shared addresses.
    Nic(NicOp, u32, u8),
    Vlans(u32, Mode),
    Secure(u32, Security),
    Close(u32),
    Listen(u32, Vec<u8>),
    All(u32, bool),
    Say(u32, u8),
    Count(u32, u64),
    HashAs(u32, u32),
    Grow(usize),
    GrowSets(usize),
}

fn shared(number: u8) -> MacAddr {
    MacAddr([2, 0xaa, 0, 0, 0, number])
}

fn adapter(port: u32, given: u8) -> NicParameters {
    NicParameters {
        vm_mac: shared(given % SHARED),
        vm: VmId::of(&[given]),
        ..parameters(port, NicKind::Synthetic)
    }
}

/// Applies a step to one host, which grows its tables if needed.
fn apply(host: &mut Host, step: &Step) {
    fn room_for(host: &mut Host, mut change: impl FnMut(&mut Host) -> Result<(), Full>) {
        while change(host) == Err(Full) {
            let (ports, sets) = (host.forwarding.ports.capacity(), host.forwarding.ports.sets().len());
            if host.forwarding.ports.is_full() {
                host.forwarding.ports.grow(&mut PortTableStorage::on_heap(ports + 1));
            } else {
                host.forwarding.ports.grow_sets(vec![VlanSet::EMPTY; sets + 1]);
            }
        }
    }
    let id = |port: &u32| PortId::new(*port);
    match step {
        Step::Come(port) => room_for(host, |host| host.forwarding.create_port(id(port), false)),
        Step::Go(port) => host.forwarding.delete_port(id(port)),
        Step::Nic(op, port, given) => {
            room_for(host, |host| host.forwarding.on_vnic(*op, &adapter(*port, *given)));
        }
        Step::Vlans(port, mode) => room_for(host, |host| {
            mode.with_property(|property| {
                let wanted = property.map(|property| property.check().unwrap());
                let before = policies(host);
                let set = host.forwarding.set_vlans(id(port), wanted.as_ref());
                assert!(set.is_ok() || policies(host) == before, "refused, and yet something changed");
                set
            })
        }),
        Step::Secure(port, security) => host.forwarding.set_security(id(port), Some(*security)),
        Step::Close(port) => host.forwarding.close(id(port)),
        Step::Listen(port, groups) => {
            host.forwarding.ports.listen(id(port), groups.iter().map(|&number| group(number)));
        }
        Step::All(port, all) => host.forwarding.ports.listen_to_all(id(port), *all),
        Step::Say(port, number) => {
            if host.forwarding.ports.get(id(port)).is_some_and(Port::is_connected) {
                let _: Ways = host.plain(nic(*port, 0), stray(*number), REMOTE);
            }
        }
        Step::Count(port, frames) => {
            if let Some(at) = host.forwarding.ports.position(id(port)) {
                host.forwarding.ports.count(0, at, Traffic { frames: *frames, bytes: frames * 100 });
            }
        }
        Step::HashAs(port, other) => host.forwarding.ports.hash_as(nic(*port, 0), nic(*other, 0)),
        Step::Grow(_) | Step::GrowSets(_) => {}
    }
}

fn policies(host: &Host) -> Vec<Port> {
    host.forwarding.ports.iter().copied().collect()
}

/// Results for frames, and counters that the switch can query.
#[derive(Debug, Clone, PartialEq)]
struct Seen {
    ports: Vec<Port>,
    found: Vec<Option<NicId>>,
    sent: Vec<Traffic>,
    members: Vec<Option<u8>>,
    unread: Vec<PortId>,
    count: usize,
    learned: usize,
    learns: bool,
    ways: Vec<(NicId, MacAddr, u16, Ways)>,
}

/// The first difference.
fn compare(left: &Seen, right: &Seen, step: &Step) {
    if left == right {
        return;
    }
    for (one, other) in left.ways.iter().zip(&right.ways) {
        assert_eq!(one, other, "after {step:?}");
    }
    for (one, other) in left.ports.iter().zip(&right.ports) {
        assert_eq!(one, other, "after {step:?}");
    }
    let rest = |seen: &Seen| Seen { ways: Vec::new(), ports: Vec::new(), ..seen.clone() };
    assert_eq!(rest(left), rest(right), "after {step:?}");
    unreachable!("they differ");
}

fn addresses() -> Vec<MacAddr> {
    let groups = (0..=GROUPS).map(group).chain([MacAddr::BROADCAST]);
    PORTS.map(mac).chain((0..SHARED).map(shared)).chain((0..2).map(stray)).chain(groups).collect()
}

fn see(host: &Host) -> Seen {
    let forwarding = &host.forwarding;
    let ports = &forwarding.ports;
    let mut unread = Vec::new();
    let mut from = 0;
    while let Some((port, next)) = ports.unread(from) {
        unread.push(port);
        from = next;
    }
    // Only connected NICs send.
    let stations = ports.connected().map(|port| (port.id, port.current_mac));
    let mut sources: Vec<_> = stations.chain([(TRUSTED, REMOTE), (nic(UPLINK, 1), REMOTE)]).collect();
    sources.sort();
    let ways = sources.into_iter().flat_map(|(source, own)| {
        addresses().into_iter().flat_map(move |to| {
            [0, 5].map(|vlan| {
                let out_of_band = OutOfBand { vlan, ..OutOfBand::NOTHING };
                (source, to, vlan, host.ways(source, &frame(own, to, &[]), &out_of_band))
            })
        })
    });
    let mut records: Vec<Port> = ports.iter().copied().collect();
    records.sort_by_key(|port| port.id);
    Seen {
        ports: records,
        found: addresses().into_iter().map(|to| ports.lookup(to).map(|port| port.id)).collect(),
        sent: PORTS.map(|port| ports.traffic(PortId::new(port))).collect(),
        members: PORTS
            .map(|port| forwarding.member_of_vnic(nic(port, 0)).map(|member| member.get()))
            .collect(),
        unread,
        count: ports.len(),
        learned: forwarding.learned.len(),
        learns: ports.learns(),
        ways: ways.collect(),
    }
}

/// Number of sets of VLANs that can still be stored.
fn sets_left(host: &Host) -> usize {
    let mut sets = host.forwarding.ports.sets().to_vec();
    (1_000..).take_while(|&number| keep(&mut sets, number)).count()
}

fn keep(sets: &mut [VlanSet], number: u16) -> bool {
    let (allowed, pruned) = (vlan_bytes(&[number]), vlan_bytes(&[]));
    let trunk = VlanProperty::Trunk { native: 0, allowed: Bits(&allowed), pruned: Bits(&pruned) };
    trunk.check().unwrap().keep(sets).is_ok()
}

/// The properties and NICs of the present ports.
#[derive(Debug, Default)]
struct Said {
    modes: BTreeMap<u32, Mode>,
    /// For each NIC, the frames since its creation, and the NIC as which it is hashed.
    adapters: BTreeMap<u32, (u64, NicId)>,
}

impl Said {
    fn apply(&mut self, step: &Step, host: &Host) {
        match step {
            Step::Vlans(port, mode) => {
                self.modes.insert(*port, mode.clone());
            }
            Step::Nic(NicOp::Create | NicOp::Connect, port, _) => {
                self.adapters.entry(*port).or_insert((0, nic(*port, 0)));
            }
            Step::Nic(NicOp::Delete, port, _) | Step::Go(port) => {
                self.adapters.remove(port);
            }
            Step::Count(port, frames) => {
                self.adapters.entry(*port).and_modify(|adapter| adapter.0 += frames);
            }
            Step::HashAs(port, other) => {
                self.adapters.entry(*port).and_modify(|adapter| adapter.1 = nic(*other, 0));
            }
            _ => {}
        }
        self.modes.retain(|port, _| host.forwarding.ports.get(PortId::new(*port)).is_some());
    }

    /// Counters and ids belong to the present NICs, and every set that no port uses is free.
    fn check(&self, host: &Host) {
        let ports = &host.forwarding.ports;
        for (&port, &(frames, hashed_as)) in &self.adapters {
            assert_eq!(
                ports.traffic(PortId::new(port)),
                Traffic { frames, bytes: frames * 100 },
                "port {port}"
            );
            assert_eq!(host.forwarding.hashed_as(nic(port, 0)).nic(), hashed_as, "port {port}");
        }
        assert_eq!(sets_left(host), ports.sets().len() - self.sets(), "{self:?}");
        assert_eq!(ports.has_room_for_set(), sets_left(host) != 0);
    }

    fn sets(&self) -> usize {
        let mut sets: Vec<Vec<u16>> = Vec::new();
        for mode in self.modes.values() {
            let mut set = match mode {
                Mode::Trunk { native, listed, pruned } => {
                    let listed = listed.iter().copied().filter(|number| *number != 0).chain([*native]);
                    listed.filter(|number| !pruned.contains(number)).collect::<Vec<_>>()
                }
                Mode::Promiscuous(_, secondaries) => secondaries.clone(),
                _ => continue,
            };
            set.sort_unstable();
            set.dedup();
            if !sets.contains(&set) {
                sets.push(set);
            }
        }
        sets.len()
    }
}

fn any_mode() -> impl Strategy<Value = Mode> {
    let trunk = |native, listed: Vec<u16>, pruned| Mode::Trunk { native, listed, pruned };
    prop_oneof![
        Just(Mode::Nothing),
        Just(Mode::Access(5)),
        Just(Mode::Community(5, 6)),
        Just(Mode::Promiscuous(5, vec![6, 7])),
        // The same set as that of a trunk.
        Just(Mode::Promiscuous(9, vec![0, 5, 6])),
        Just(trunk(0, vec![6, 5], vec![])),
        Just(trunk(5, vec![5, 6], vec![])),
        Just(trunk(5, vec![6, 7], vec![7])),
        (0..8_u16).prop_map(move |number| trunk(number, vec![5], vec![])),
    ]
}

fn any_step() -> impl Strategy<Value = Step> {
    let ops =
        vec![NicOp::Create, NicOp::Connect, NicOp::Connect, NicOp::Update, NicOp::Disconnect, NicOp::Delete];
    let security = (any::<bool>(), any::<bool>(), prop::sample::select(vec![0_u32, 0, 0, 5001]));
    prop_oneof![
        8 => PORTS.prop_map(Step::Come),
        4 => PORTS.prop_map(Step::Go),
        30 => (prop::sample::select(ops), PORTS, 0..SHARED).prop_map(|(op, port, given)| Step::Nic(op, port, given)),
        16 => (PORTS, any_mode()).prop_map(|(port, mode)| Step::Vlans(port, mode)),
        8 => (PORTS, security).prop_map(|(port, (mac_spoofing, priority_tag, virtual_subnet))| {
            Step::Secure(port, Security { mac_spoofing, priority_tag, virtual_subnet, teaming: false })
        }),
        1 => PORTS.prop_map(Step::Close),
        8 => (PORTS, prop::collection::vec(0..GROUPS, 0..3)).prop_map(|(port, groups)| Step::Listen(port, groups)),
        2 => (PORTS, any::<bool>()).prop_map(|(port, all)| Step::All(port, all)),
        6 => (PORTS, 0..2_u8).prop_map(|(port, number)| Step::Say(port, number)),
        6 => (PORTS, 1..100_u64).prop_map(|(port, frames)| Step::Count(port, frames)),
        2 => (PORTS, 0..1_000_u32).prop_map(|(port, other)| Step::HashAs(port, other)),
        3 => (1..16_usize).prop_map(Step::Grow),
        2 => (1..12_usize).prop_map(Step::GrowSets),
    ]
}

/// A host with memory for one port and one set.
fn small() -> Host {
    let mut host = Host::new(&settings(TeamingMode::Static), 1);
    assert_eq!((host.forwarding.ports.capacity(), host.forwarding.ports.sets().len()), (1, 1));
    host.on(3, teaming::team::member::MemberEvent::Connected);
    host
}

proptest! {
    #![proptest_config(walks(120))]

    #[test]
    fn nothing_that_a_frame_can_see_tells_a_table_that_grew_from_one_that_was_large(
        steps in prop::collection::vec(any_step(), 1..150),
    ) {
        let mut grown = small();
        let mut large = Host::new(&settings(TeamingMode::Static), 64);
        large.on(3, teaming::team::member::MemberEvent::Connected);
        let mut said = Said::default();
        for (number, step) in steps.iter().enumerate() {
            let before = matches!(step, Step::Grow(_) | Step::GrowSets(_)).then(|| see(&grown));
            let ports = &mut grown.forwarding.ports;
            match step {
                Step::Grow(size) => {
                    let capacity = ports.capacity();
                    // Part by part, as it is done while packets read the table.
                    let mut room = PortTableStorage::on_heap(*size);
                    let mut from = Some(0);
                    while let Some(part) = from.filter(|_| *size >= ports.capacity()) {
                        from = ports.copy_part(&mut room, part, 1 + number % 9);
                    }
                    ports.put_in_place(&mut room);
                    prop_assert_eq!((ports.capacity(), room.ports.len()), (capacity.max(*size), capacity.min(*size)));
                }
                Step::GrowSets(count) => {
                    let length = ports.sets().len();
                    let old = ports.grow_sets(vec![VlanSet::EMPTY; *count]);
                    prop_assert_eq!((ports.sets().len(), old.len()), (length.max(*count), length.min(*count)));
                }
                _ => {
                    apply(&mut grown, step);
                    apply(&mut large, step);
                }
            }
            if let Some(before) = before {
                compare(&see(&grown), &before, step);
            }
            if number % 8 == 0 || number + 1 == steps.len() {
                compare(&see(&grown), &see(&large), step);
            }
            said.apply(step, &large);
            [&grown, &large].into_iter().for_each(|host| said.check(host));
        }
        // All ports are deleted; then as many can be added as at the start.
        for port in PORTS {
            apply(&mut grown, &Step::Go(port));
        }
        is_empty(&grown);
        holds_what_it_has_room_for(&mut grown);
    }
}

fn is_empty(host: &Host) {
    let ports = &host.forwarding.ports;
    assert_eq!((ports.len(), ports.learns(), sets_left(host)), (0, false, ports.sets().len()));
    assert!(host.forwarding.learned.is_empty() && ports.connected().next().is_none());
    assert!(addresses().into_iter().all(|to| ports.lookup(to).is_none()));
}

/// Adds ports, addresses and groups up to the limits.
fn holds_what_it_has_room_for(host: &mut Host) {
    let capacity = host.forwarding.ports.capacity();
    let port = |number: usize| 100 + u32::try_from(number).unwrap();
    for number in 0..capacity {
        let nic = NicParameters {
            permanent_mac: MacAddr([2, 0xdd, 0, 0, 1, number as u8]),
            vm_mac: MacAddr([2, 0xdd, 0, 0, 2, number as u8]),
            ..parameters(port(number), NicKind::Synthetic)
        };
        host.forwarding.on_vnic(NicOp::Connect, &nic).unwrap();
        host.forwarding.ports.listen(nic.id.port, [].into_iter());
    }
    assert_eq!(host.forwarding.create_port(PortId::new(99), false), Err(Full));
    for number in 0..capacity {
        for kind in [1, 2] {
            let found = host.forwarding.ports.lookup(MacAddr([2, 0xdd, 0, 0, kind, number as u8]));
            assert_eq!(found.map(|port| port.id), Some(nic(port(number), 0)));
        }
    }
    let kept = PortTableSizes::of(capacity, 1).groups / 2;
    for number in 0..kept {
        let group = MacAddr([1, 0, 0x5e, 5, (number >> 8) as u8, number as u8]);
        host.forwarding.ports.join(PortId::new(port(number % capacity)), group);
        assert_eq!(host.sent_by_switch(group, 0).unwrap().len(), 2, "{number} of {kept}");
    }
    assert_eq!(host.sent_by_switch(group(1), 0).unwrap().len(), 1, "nobody named it");
}

/// Ports with their own sets are created and deleted, in each way that a port can be removed.
#[test]
fn a_set_of_vlans_is_given_back_whichever_way_its_port_goes() {
    type Going = fn(&mut Host, PortId);
    let ways: [(&str, Going); 7] = [
        ("taken back", |host, port| host.forwarding.set_vlans(port, None).unwrap()),
        ("another mode", |host, port| {
            let access = VlanProperty::Access { vlan: 5 }.check().unwrap();
            host.forwarding.set_vlans(port, Some(&access)).unwrap();
        }),
        ("deleted", |host, port| host.forwarding.delete_port(port)),
        ("found without", |host, port| {
            let revision = host.forwarding.ports.revision(port).unwrap();
            assert!(host.forwarding.replace_policy(port, revision, None, None, false).unwrap());
        }),
        ("torn down", |host, port| {
            host.forwarding.tear_down(port);
            host.forwarding.delete_port(port);
        }),
        ("with its NIC, never announced", |host, port| {
            host.forwarding.delete_port(port);
            let nic = parameters(port.get(), NicKind::Synthetic);
            host.forwarding.on_vnic(NicOp::Connect, &nic).unwrap();
            set(host, port, 77);
            host.forwarding.on_vnic(NicOp::Delete, &nic).unwrap();
        }),
        ("said again, and again", |host, port| {
            (0..3).for_each(|_| set(host, port, 9));
            host.forwarding.close(port);
            host.forwarding.set_security(port, Some(Security::STRICT));
            host.forwarding.delete_port(port);
        }),
    ];
    fn set(host: &mut Host, port: PortId, number: u16) {
        let (allowed, pruned) = (vlan_bytes(&[number]), vlan_bytes(&[]));
        let trunk = VlanProperty::Trunk { native: 0, allowed: Bits(&allowed), pruned: Bits(&pruned) };
        host.forwarding.set_vlans(port, Some(&trunk.check().unwrap())).unwrap();
        let vlans = host.forwarding.ports.get(port).unwrap().policy.vlans;
        assert!(vlans.and_then(Vlans::set).is_some());
    }
    for (told, way) in ways {
        let mut host = Host::new(&settings(TeamingMode::Static), 3);
        for round in 0..50 {
            let port = PortId::new(10 + u32::from(round) % 3);
            host.forwarding.create_port(port, false).unwrap();
            set(&mut host, port, 100 + round);
            assert_eq!(sets_left(&host), 2);
            way(&mut host, port);
            assert_eq!(sets_left(&host), 3, "{told}, round {round}");
        }
    }
}
