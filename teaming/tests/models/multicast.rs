//! The vNICs that receive frames of a group, after any sequence of steps: those that joined it, and those whose groups
//! are not all known.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use teaming::ids::{MacAddr, PortId};
use teaming::oid::nic::{NicKind, NicOp, NicParameters};
use teaming::ports::multicast::GroupsChange;
use teaming::ports::policy::Security;
use teaming::ports::storage::{PortTableSizes, PortTableStorage};
use teaming::settings::{Settings, TeamingMode};

use crate::host::{Host, Place, SPOOFING, group, mac, parameters, settings, walks};

const PORTS: std::ops::Range<u32> = 10..13;
const GROUPS: u8 = 24;

#[derive(Debug, Clone)]
enum Step {
    Join(u32, u8),
    Leave(u32, u8),
    List(u32, Vec<u8>),
    /// The packet filter requests every group, or only those that were joined.
    All(u32, bool),
    Forget(u32),
    Secure(u32, Security),
    /// Whether it is created for a VM that begins.
    Nic(NicOp, u32, bool),
    CreatePort(u32),
    DeletePort(u32),
    Grow(usize),
}

/// What is known about the groups of one NIC.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Named {
    /// Not all groups are known.
    NotInFull,
    /// No request was seen since its creation.
    Nothing,
    Just(BTreeSet<u8>),
}

#[derive(Debug, Clone)]
struct Nic {
    connected: bool,
    named: Named,
    all: bool,
}

#[derive(Debug, Clone, Default)]
struct Port {
    /// The port was created by a request, so it stays without a NIC.
    announced: bool,
    spoofing: bool,
    nic: Option<Nic>,
}

#[derive(Debug, Default)]
struct Model {
    ports: BTreeMap<u32, Port>,
    room: usize,
}

impl Model {
    fn kept(&self) -> usize {
        let nics = self.ports.values().filter_map(|port| port.nic.as_ref());
        nics.map(|nic| if let Named::Just(groups) = &nic.named { groups.len() } else { 0 }).sum()
    }

    fn nic(&mut self, port: u32) -> Option<&mut Nic> {
        self.ports.get_mut(&port)?.nic.as_mut()
    }

    fn join(&mut self, port: u32, group: u8) {
        let full = self.kept() >= self.room;
        let Some(nic) = self.nic(port) else { return };
        match &mut nic.named {
            Named::NotInFull => {}
            Named::Just(groups) if groups.contains(&group) => {}
            // Groups that cannot be stored count as not known.
            _ if full => nic.named = Named::NotInFull,
            Named::Just(groups) => {
                groups.insert(group);
            }
            Named::Nothing => nic.named = Named::Just(BTreeSet::from([group])),
        }
    }

    fn apply(&mut self, step: &Step) {
        match step {
            Step::Join(port, group) => self.join(*port, *group),
            Step::Leave(port, group) => {
                if let Some(Nic { named: Named::Just(groups), .. }) = self.nic(*port) {
                    groups.remove(group);
                }
            }
            Step::List(port, groups) => {
                if let Some(nic) = self.nic(*port) {
                    nic.named = Named::Just(BTreeSet::new());
                }
                groups.iter().for_each(|group| self.join(*port, *group));
            }
            Step::All(port, all) => {
                if let Some(nic) = self.nic(*port) {
                    nic.all = *all;
                }
            }
            Step::Forget(port) => {
                if let Some(nic) = self.nic(*port) {
                    nic.named = Named::NotInFull;
                }
            }
            Step::Secure(port, security) => {
                if let Some(port) = self.ports.get_mut(port) {
                    port.spoofing = security.mac_spoofing;
                }
            }
            Step::Nic(NicOp::Delete, port, _) => {
                if let Some(known) = self.ports.get_mut(port) {
                    known.nic = None;
                    if !known.announced {
                        self.ports.remove(port);
                    }
                }
            }
            Step::Nic(NicOp::Disconnect, port, _) => {
                if let Some(nic) = self.nic(*port) {
                    nic.connected = false;
                }
            }
            Step::Nic(NicOp::Update, ..) => {}
            Step::Nic(NicOp::Create | NicOp::Connect, port, begins) => {
                // The stack of a VM that was saved, or comes from another host, has named its groups before.
                let named = if *begins { Named::Nothing } else { Named::NotInFull };
                let fresh = || Nic { connected: false, named, all: false };
                let nic = self.ports.entry(*port).or_default().nic.get_or_insert_with(fresh);
                nic.connected |= matches!(step, Step::Nic(NicOp::Connect, ..));
            }
            Step::CreatePort(port) => self.ports.entry(*port).or_default().announced = true,
            Step::DeletePort(port) => {
                self.ports.remove(port);
            }
            Step::Grow(ports) => self.room = self.room.max(PortTableSizes::of(*ports, 1).groups / 2),
        }
    }

    fn reached(&self, group: u8) -> BTreeSet<u32> {
        let hears = |port: &Port| {
            let nic = port.nic.as_ref().filter(|nic| nic.connected)?;
            let named = match &nic.named {
                Named::NotInFull | Named::Nothing => true,
                Named::Just(groups) => groups.contains(&group),
            };
            Some(named || nic.all || port.spoofing)
        };
        self.ports.iter().filter(|(_, port)| hears(port) == Some(true)).map(|(&port, _)| port).collect()
    }
}

fn apply(host: &mut Host, step: &Step) {
    let forwarding = &mut host.forwarding;
    let id = |port: &u32| PortId::new(*port);
    match step {
        Step::Join(port, number) => {
            forwarding.ports.join(id(port), group(*number));
        }
        Step::Leave(port, number) => forwarding.ports.leave(id(port), group(*number)),
        Step::List(port, numbers) => {
            forwarding.ports.listen(id(port), numbers.iter().map(|number| group(*number)));
        }
        Step::All(port, all) => forwarding.ports.listen_to_all(id(port), *all),
        Step::Forget(port) => forwarding.ports.forget_groups(id(port)),
        Step::Secure(port, security) => forwarding.set_security(id(port), Some(*security)),
        Step::Nic(op, port, initializing) => {
            let nic = NicParameters { initializing: *initializing, ..parameters(*port, NicKind::Synthetic) };
            forwarding.on_vnic(*op, &nic).unwrap();
        }
        Step::CreatePort(port) => forwarding.create_port(id(port), false).unwrap(),
        Step::DeletePort(port) => forwarding.delete_port(id(port)),
        Step::Grow(ports) => forwarding.ports.grow(&mut PortTableStorage::on_heap(*ports)),
    }
}

fn reached(host: &Host, to: MacAddr) -> BTreeSet<u32> {
    let ways = host.sent_by_switch(to, 0).unwrap();
    ways.into_keys()
        .filter_map(|place| if let Place::Station(port) = place { Some(port) } else { None })
        .collect()
}

fn any_step() -> impl Strategy<Value = Step> {
    let ops =
        [NicOp::Create, NicOp::Connect, NicOp::Connect, NicOp::Update, NicOp::Disconnect, NicOp::Delete];
    prop_oneof![
        30 => (PORTS, 0..GROUPS).prop_map(|(port, group)| Step::Join(port, group)),
        20 => (PORTS, 0..GROUPS).prop_map(|(port, group)| Step::Leave(port, group)),
        12 => (PORTS, prop::collection::vec(0..GROUPS, 0..30)).prop_map(|(port, list)| Step::List(port, list)),
        3 => (PORTS, any::<bool>()).prop_map(|(port, all)| Step::All(port, all)),
        1 => PORTS.prop_map(Step::Forget),
        2 => (PORTS, prop::sample::select(vec![SPOOFING, Security::STRICT]))
            .prop_map(|(port, security)| Step::Secure(port, security)),
        10 => (prop::sample::select(ops.to_vec()), PORTS, any::<bool>())
            .prop_map(|(op, port, begins)| Step::Nic(op, port, begins)),
        2 => PORTS.prop_map(Step::CreatePort),
        2 => PORTS.prop_map(Step::DeletePort),
        1 => (1..6_usize).prop_map(Step::Grow),
    ]
}

proptest! {
    #![proptest_config(walks(400))]

    #[test]
    fn membership_after_any_walk_equals_a_set_computed_apart(steps in prop::collection::vec(any_step(), 0..120)) {
        let mut host = Host::new(&settings(TeamingMode::Static), PORTS.len());
        let mut model = Model { room: PortTableSizes::of(PORTS.len(), 1).groups / 2, ..Model::default() };
        for port in PORTS {
            for step in [Step::CreatePort(port), Step::Nic(NicOp::Connect, port, true)] {
                apply(&mut host, &step);
                model.apply(&step);
            }
        }
        for step in &steps {
            apply(&mut host, step);
            model.apply(step);
            for number in 0..=GROUPS {
                prop_assert_eq!(reached(&host, group(number)), model.reached(number), "{} after {:?}", number, step);
            }
            // A broadcast still reaches every vNIC.
            let connected = host.forwarding.ports.connected().count();
            prop_assert_eq!(reached(&host, MacAddr::BROADCAST).len(), connected);
        }
    }
}

/// Two NICs join groups in turn, with each way in which groups are freed; afterwards all entries are free.
#[test]
fn room_for_groups_is_given_back_in_full_whichever_way_they_go() {
    let ways: [fn(&mut Host, PortId); 6] = [
        |host, port| (0..20).for_each(|number| host.forwarding.ports.leave(port, group(number))),
        |host, port| {
            host.forwarding.ports.listen(port, [].into_iter());
        },
        |host, port| {
            host.forwarding.ports.listen(port, [group(3)].into_iter());
        },
        |host, port| {
            host.forwarding.ports.forget_groups(port);
            host.forwarding.ports.listen(port, [].into_iter());
        },
        |host, port| {
            let nic = parameters(port.get(), NicKind::Synthetic);
            host.forwarding.on_vnic(NicOp::Delete, &nic).unwrap();
            host.forwarding.on_vnic(NicOp::Connect, &nic).unwrap();
        },
        |host, port| {
            host.forwarding.delete_port(port);
            host.station(port.get());
        },
    ];
    for (number, go) in ways.iter().enumerate() {
        let mut host = Host::new(&settings(TeamingMode::Static), PORTS.len());
        PORTS.for_each(|port| host.station(port));
        let room = PortTableSizes::of(PORTS.len(), 1).groups / 2;
        for round in 0..100_u32 {
            let port = PortId::new(10 + round % 2);
            for number in 0..20 {
                host.forwarding.ports.join(port, group(number));
            }
            assert!(!reached(&host, group(99)).contains(&port.get()), "way {number}, round {round}");
            go(&mut host, port);
        }
        for port in [10, 11].map(PortId::new) {
            host.forwarding.ports.listen(port, [].into_iter());
        }
        let last = PortId::new(12);
        for kept in 0..room {
            let group_of_last = MacAddr([1, 0, 0x5e, 9, 9, kept as u8]);
            assert_eq!(host.forwarding.ports.join(last, group_of_last), GroupsChange::Kept);
            assert!(!reached(&host, group(99)).contains(&12), "way {number}: {kept} of {room}");
        }
        assert_eq!(host.forwarding.ports.join(last, group(0)), GroupsChange::TooMany);
        assert!(reached(&host, group(99)).contains(&12), "way {number}: more than there is room for");
        // Its groups are freed, so another NIC can join as many.
        for kept in 0..room {
            let group = MacAddr([1, 0, 0x5e, 8, 8, kept as u8]);
            assert_eq!(host.forwarding.ports.join(PortId::new(10), group), GroupsChange::Kept);
        }
        assert_eq!(reached(&host, group(99)), BTreeSet::from([12]));
        assert_eq!(host.plain(crate::host::nic(12, 0), mac(12), group(99)).unwrap().len(), 1);
    }
}

#[test]
fn without_the_setting_every_vnic_gets_every_group_whatever_was_named() {
    let on = settings(TeamingMode::Static);
    let off = Settings { prune_multicast: false, ..on };
    assert!(!Settings::default().prune_multicast);
    let mut host = Host::new(&off, PORTS.len());
    PORTS.for_each(|port| host.station(port));
    host.forwarding.ports.listen(PortId::new(10), [group(1)].into_iter());
    host.forwarding.ports.listen(PortId::new(11), [].into_iter());
    for (settings, expected) in [(off, BTreeSet::from([10, 11, 12])), (on, BTreeSet::from([12]))] {
        host.forwarding.configure(&settings);
        assert_eq!(reached(&host, group(2)), expected);
    }
}
