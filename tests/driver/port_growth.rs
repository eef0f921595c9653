//! Checks with loom how the port table grows while two others change it: the copy of `teaming::ports::growth` over the
//! gate with its count of writers (`ndis::gate`) and a lock that always prefers readers, in every interleaving in which at
//! most two threads are stopped where they need not wait.

use crate::gate::{Number, ReaderFirst, Spin, Word};
use lbfoext::ndis::gate::Gate;
use loom::cell::UnsafeCell;
use loom::sync::{Arc, Mutex};
use loom::thread;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use teaming::Heap;
use teaming::ids::{AdapterId, MacAddr, NicId, NicIndex, PortId};
use teaming::oid::nic::{NicKind, NicParameters, VmId};
use teaming::ports::PortTable;
use teaming::ports::growth::{Copying, SharedPorts, grow};
use teaming::ports::host::HeapHost;
use teaming::ports::storage::PortTableStorage;
use teaming::ports::vlan::VlanSet;

type Ports = PortTable<Heap>;

/// Ports that are there at first, and that the table then has room for.
const BEFORE: [u32; 2] = [1, 2];
/// Room for ports after the growth.
const GROWN: usize = 4;
/// Entries of a part. The table before has 58, so there are three parts: the ports, most of the addresses; the other
/// addresses, some groups; the other groups and the addresses that may be taken over.
const PART: usize = 20;

/// The steps of the protocol that are executed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Protocol {
    Whole,
    /// Who changes the table takes the lock without being counted.
    NobodyCounts,
    /// Who changes the table is counted before it has the lock.
    CountsTooEarly,
    /// Who puts the copy in place looks at the count before it has the lock.
    LooksTooEarly,
}

/// The lock of the driver, with loom's words and another lock behind the gate.
struct Shared {
    protocol: Protocol,
    /// The team lock, which each writer holds.
    control: Mutex<()>,
    gate: Gate<Word, Spin, Number>,
    lock: ReaderFirst,
    ports: UnsafeCell<Ports>,
}

impl Shared {
    /// Changes the table as the requests of the switch do.
    fn change(&self, change: impl FnOnce(&mut Ports)) {
        let _control = self.control.lock().expect("nobody panics");
        match self.protocol {
            Protocol::NobodyCounts => self.lock.write(),
            Protocol::CountsTooEarly => {
                self.gate.enter(|| ());
                self.lock.write();
            }
            _ => self.gate.enter(|| self.lock.write()),
        }
        self.ports.with_mut(|ports| {
            // SAFETY: the lock is held for writing; loom fails if anybody else has the table.
            change(unsafe { &mut *ports });
        });
        self.lock.leave();
    }
}

impl SharedPorts<Heap> for Shared {
    fn read<R>(&self, look: impl FnOnce(&Ports, u32) -> R) -> R {
        self.gate.stand_back();
        self.lock.read();
        // SAFETY: the lock is held for reading; loom fails if a writer has the table.
        let seen = self.ports.with(|ports| look(unsafe { &*ports }, self.gate.writers()));
        self.lock.leave();
        seen
    }

    fn write<R>(&self, change: impl FnOnce(&mut Ports, u32) -> R) -> R {
        let early = (self.protocol == Protocol::LooksTooEarly).then(|| self.gate.writers().wrapping_add(1));
        let _control = self.control.lock().expect("nobody panics");
        self.gate.enter(|| self.lock.write());
        let writers = early.unwrap_or_else(|| self.gate.writers());
        // SAFETY: the lock is held for writing; loom fails if anybody else has the table.
        let changed = self.ports.with_mut(|ports| change(unsafe { &mut *ports }, writers));
        self.lock.leave();
        changed
    }
}

fn mac(number: u8) -> MacAddr {
    MacAddr([2, 0, 0, 0, 0, number])
}

fn group(number: u8) -> MacAddr {
    MacAddr([1, 0, 0x5e, 0, 0, number])
}

/// The vNIC on a port with that address comes, or changes its address.
fn connect(ports: &mut Ports, port: u32, address: u8) {
    let nic = NicParameters {
        id: NicId::new(PortId::new(port), NicIndex::DEFAULT),
        kind: NicKind::Synthetic,
        current_mac: mac(address),
        permanent_mac: mac(address),
        vm_mac: mac(address),
        mtu: 1500,
        vm: VmId::NONE,
        vf_assigned: false,
        initializing: true,
        adapter: AdapterId::UNKNOWN,
    };
    ports.connect(&nic).expect("there is room");
}

/// Two vNICs that listen to a group.
fn before() -> Ports {
    let mut ports =
        Ports::new(PortTableStorage::on_heap(BEFORE.len()), vec![VlanSet::EMPTY], HeapHost::default());
    for (port, number) in BEFORE.into_iter().zip(1..) {
        ports.create_port(PortId::new(port), false).expect("there is room");
        connect(&mut ports, port, number);
        ports.join(PortId::new(port), group(number));
    }
    ports
}

/// What others do meanwhile, each with the lock held once: one port goes and another comes; a vNIC has another address
/// and another group. The one does not see what the other did.
const CHANGES: [fn(&mut Ports); 2] = [
    |ports| {
        ports.delete_port(PortId::new(1));
        ports.create_port(PortId::new(3), false).expect("there is room");
        connect(ports, 3, 3);
        ports.join(PortId::new(3), group(3));
    },
    |ports| {
        connect(ports, 2, 4);
        ports.leave(PortId::new(2), group(2));
        ports.join(PortId::new(2), group(4));
    },
];

/// The port of each address; the address of each port, and which groups it gets.
type Seen = (Vec<Option<PortId>>, BTreeMap<u32, (MacAddr, Vec<bool>)>);

/// What packets see of a table; where a port is in it does not matter.
fn seen(ports: &Ports) -> Seen {
    let numbers = 1..=4;
    let owners = numbers.clone().map(|number| ports.lookup(mac(number)).map(|port| port.id.port)).collect();
    let of_port = |port: u32| {
        let (at, known) = ports.find(PortId::new(port))?;
        let groups = numbers.clone().map(|number| ports.is_member_of(at, group(number))).collect();
        Some((port, (known.current_mac, groups)))
    };
    (owners, (1..=4).filter_map(of_port).collect())
}

/// Whether a table that grew while it was changed is as one that was changed only, in any interleaving.
fn loses_nothing(protocol: Protocol, attempts: u32) -> bool {
    let mut changed = before();
    CHANGES.iter().for_each(|change| change(&mut changed));
    let wanted = seen(&changed);
    let kept = std::sync::Arc::new(AtomicBool::new(true));
    let all_kept = std::sync::Arc::clone(&kept);
    let model = move || {
        let shared = Arc::new(Shared {
            protocol,
            control: Mutex::new(()),
            gate: Gate::new(Word::default(), Spin(Some(Mutex::new(()))), Number::default()),
            lock: ReaderFirst::default(),
            ports: UnsafeCell::new(before()),
        });
        let others = CHANGES.map(|change| {
            let shared = Arc::clone(&shared);
            thread::spawn(move || shared.change(change))
        });
        let mut room = PortTableStorage::on_heap(GROWN);
        grow(&*shared, &mut room, Copying { part: PART, attempts });
        others.into_iter().for_each(|other| other.join().expect("the other ends"));
        let (now, capacity) = shared.read(|ports, _| (seen(ports), ports.capacity()));
        assert_eq!((capacity, room.ports.len()), (GROWN, BEFORE.len()), "the table has grown");
        if now != wanted {
            all_kept.store(false, Ordering::Relaxed);
        }
    };
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(2);
    builder.check(model);
    kept.load(Ordering::Relaxed)
}

#[test]
fn a_port_table_that_grows_loses_no_change_in_any_interleaving() {
    for attempts in 0..3 {
        assert!(loses_nothing(Protocol::Whole, attempts), "{attempts} copies");
    }
}

#[test]
fn the_model_finds_that_a_change_is_not_counted_or_counted_or_looked_for_without_the_lock() {
    for protocol in [Protocol::NobodyCounts, Protocol::CountsTooEarly, Protocol::LooksTooEarly] {
        assert!(!loses_nothing(protocol, 1), "{protocol:?}");
    }
}
