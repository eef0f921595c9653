//! Learned addresses after any sequence of steps: each address of a VLAN is on the port from which it was last
//! learned, until it has sent nothing for too long or the port changes.

use std::collections::BTreeMap;

use proptest::prelude::*;
use teaming::forward::OutOfBand;
use teaming::ids::{MacAddr, PortId, Ticks};
use teaming::oid::nic::{NicKind, NicOp};
use teaming::ports::policy::Security;
use teaming::ports::storage::PortTableStorage;
use teaming::settings::TeamingMode;

use crate::host::{Host, Place, REMOTE, SPOOFING, Ways, frame, nic, parameters, settings, stray, walks};
use crate::rows::{Form, From, Mode, Rules};

/// More ports than the table can hold, so that positions are reused.
const PORTS: std::ops::Range<u32> = 10..16;
const ROOM: usize = 4;
const STRAYS: u8 = 4;
const VLANS: [u16; 3] = [0, 5, 6];
/// 300 s, in tenths of a second.
const AGE: u64 = 3_000;

#[derive(Debug, Clone)]
enum Step {
    /// A host behind a port sends a frame: port, number of its address, VLAN (0: that of the port).
    Say(u32, u8, u16),
    /// Tenths of a second.
    Wait(u64),
    Vlans(u32, Mode),
    Secure(u32, bool),
    /// An enumeration reads properties that differ from the known ones.
    Replace(u32, Mode, bool),
    Nic(NicOp, u32),
    Come(u32),
    Go(u32),
    Grow(usize),
}

#[derive(Debug)]
struct Port {
    rules: Rules,
    spoofing: bool,
    /// `None`: the port has no NIC.
    connected: Option<bool>,
}

#[derive(Debug, Default)]
struct Model {
    ports: BTreeMap<u32, Port>,
    /// Port, and time in tenths of a second.
    heard: BTreeMap<(u8, u16), (u32, u64)>,
    now: u64,
    room: usize,
}

impl Model {
    fn forget(&mut self, port: u32) {
        self.heard.retain(|_, (from, _)| *from != port);
    }

    /// Returns false if the step is not possible in this state.
    fn apply(&mut self, step: &Step) -> bool {
        match step {
            Step::Say(port, number, vlan) => {
                let Some(known) = self.ports.get(port).filter(|port| port.connected == Some(true)) else {
                    return false;
                };
                let form = Form { tag_vlan: *vlan, ..Form::default() };
                let from = From::Station(*port, known.rules.clone());
                if let Some(inside) = from.enters(&form).filter(|_| known.spoofing) {
                    self.heard.insert((*number, inside.vlan), (*port, self.now));
                }
            }
            Step::Wait(tenths) => self.now += tenths,
            Step::Vlans(port, mode) => {
                self.forget(*port);
                if let Some(port) = self.ports.get_mut(port) {
                    port.rules.mode = mode.clone();
                }
            }
            Step::Secure(port, spoofing) => {
                self.forget(*port);
                if let Some(port) = self.ports.get_mut(port) {
                    port.spoofing = *spoofing;
                }
            }
            Step::Replace(port, mode, spoofing) => {
                self.forget(*port);
                if let Some(port) = self.ports.get_mut(port) {
                    (port.rules.mode, port.spoofing) = (mode.clone(), *spoofing);
                }
            }
            Step::Nic(op, port) => {
                let Some(known) = self.ports.get_mut(port) else { return false };
                match op {
                    NicOp::Create | NicOp::Update => {}
                    NicOp::Connect => known.connected = Some(true),
                    NicOp::Disconnect => known.connected = known.connected.map(|_| false),
                    NicOp::Delete => known.connected = None,
                }
                if matches!(op, NicOp::Disconnect | NicOp::Delete) {
                    self.forget(*port);
                }
            }
            Step::Come(port) => {
                if self.ports.len() >= self.room && !self.ports.contains_key(port) {
                    return false;
                }
                let new = || Port { rules: Rules::new(Mode::Nothing), spoofing: false, connected: None };
                self.ports.entry(*port).or_insert_with(new).connected = Some(true);
            }
            Step::Go(port) => {
                self.forget(*port);
                self.ports.remove(port);
            }
            Step::Grow(ports) => self.room = self.room.max(*ports),
        }
        true
    }

    fn heard_from(&self, number: u8, vlan: u16) -> Option<u32> {
        let (port, when) = self.heard.get(&(number, vlan))?;
        (self.now - when <= AGE).then_some(*port)
    }

    /// The result of a frame of the switch itself to an address in a VLAN; `None`: dropped.
    fn ways(&self, number: u8, vlan: u16) -> Option<BTreeMap<Place, u8>> {
        let form = Form { tag_vlan: vlan, ..Form::default() };
        let inside = From::Switch.enters(&form).unwrap();
        if let Some(port) = self.heard_from(number, vlan) {
            let bits = From::Switch.station(&inside, &self.ports[&port].rules)?;
            return Some([(Place::Station(port), bits)].into());
        }
        let learning = self.ports.iter().filter(|(_, port)| port.spoofing && port.connected == Some(true));
        let behind = learning.map(|(number, port)| (*number, &port.rules));
        From::Switch.broadcast(&form, behind, &Rules::new(Mode::Nothing))
    }
}

fn apply(host: &mut Host, step: &Step) {
    let forwarding = &mut host.forwarding;
    let id = |port: &u32| PortId::new(*port);
    let security = |spoofing: &bool| if *spoofing { SPOOFING } else { Security::STRICT };
    match step {
        Step::Say(port, number, vlan) => {
            let out_of_band = OutOfBand { vlan: *vlan, ..OutOfBand::NOTHING };
            let _: Ways = host.ways(nic(*port, 0), &frame(stray(*number), REMOTE, &[]), &out_of_band);
        }
        Step::Wait(tenths) => host.now = host.now.saturating_add(Ticks::from_ms(tenths * 100)),
        Step::Vlans(port, mode) => mode.with_property(|property| {
            let wanted = property.map(|property| property.check().unwrap());
            forwarding.set_vlans(id(port), wanted.as_ref()).unwrap();
        }),
        Step::Secure(port, spoofing) => forwarding.set_security(id(port), Some(security(spoofing))),
        Step::Replace(port, mode, spoofing) => mode.with_property(|property| {
            let wanted = property.map(|property| property.check().unwrap());
            let security = Some(security(spoofing)).filter(|_| *spoofing);
            let revision = forwarding.ports.revision(id(port)).unwrap_or(0);
            forwarding.replace_policy(id(port), revision, wanted.as_ref(), security, false).unwrap();
        }),
        Step::Nic(op, port) => forwarding.on_vnic(*op, &parameters(*port, NicKind::Synthetic)).unwrap(),
        Step::Come(port) => host.station(*port),
        Step::Go(port) => forwarding.delete_port(id(port)),
        Step::Grow(ports) => forwarding.ports.grow(&mut PortTableStorage::on_heap(*ports)),
    }
}

fn any_mode() -> impl Strategy<Value = Mode> {
    let trunk = |native, listed: &[u16]| Mode::Trunk { native, listed: listed.to_vec(), pruned: Vec::new() };
    prop::sample::select(vec![
        Mode::Nothing,
        Mode::Access(5),
        Mode::Access(6),
        trunk(0, &[5, 6]),
        trunk(5, &[5, 6]),
        trunk(6, &[6]),
        Mode::Community(5, 6),
    ])
}

fn any_step() -> impl Strategy<Value = Step> {
    let ops = vec![NicOp::Connect, NicOp::Connect, NicOp::Update, NicOp::Disconnect, NicOp::Delete];
    prop_oneof![
        40 => (PORTS, 0..STRAYS, prop::sample::select(VLANS.to_vec()))
            .prop_map(|(port, number, vlan)| Step::Say(port, number, vlan)),
        6 => prop_oneof![Just(0_u64), Just(1), Just(AGE / 2), Just(AGE - 1), Just(AGE), 0..AGE].prop_map(Step::Wait),
        4 => (PORTS, any_mode()).prop_map(|(port, mode)| Step::Vlans(port, mode)),
        4 => (PORTS, prop::bool::weighted(0.8)).prop_map(|(port, spoofing)| Step::Secure(port, spoofing)),
        3 => (PORTS, any_mode(), any::<bool>()).prop_map(|(port, mode, spoofing)| Step::Replace(port, mode, spoofing)),
        5 => (prop::sample::select(ops), PORTS).prop_map(|(op, port)| Step::Nic(op, port)),
        8 => PORTS.prop_map(Step::Come),
        3 => PORTS.prop_map(Step::Go),
        1 => (1..7_usize).prop_map(Step::Grow),
    ]
}

proptest! {
    #![proptest_config(walks(400))]

    #[test]
    fn every_address_is_in_each_vlan_where_it_was_last_heard_after_any_walk(
        steps in prop::collection::vec(any_step(), 1..120),
    ) {
        let mut host = Host::new(&settings(TeamingMode::Static), ROOM);
        let mut model = Model { room: ROOM, ..Model::default() };
        // Most steps concern ports that may learn.
        let start = PORTS.take(3).flat_map(|port| {
            let trunk = Mode::Trunk { native: 0, listed: vec![5, 6], pruned: vec![] };
            [Step::Come(port), Step::Vlans(port, trunk), Step::Secure(port, true)]
        });
        for step in start.chain(steps) {
            if !model.apply(&step) {
                continue;
            }
            apply(&mut host, &step);
            for (number, vlan) in (0..STRAYS).flat_map(|number| VLANS.map(|vlan| (number, vlan))) {
                let found = host.sent_by_switch(stray(number), vlan);
                prop_assert_eq!(found.ok(), model.ways(number, vlan), "{} in {} after {:?}", number, vlan, step);
            }
            prop_assert_eq!(host.forwarding.learned.len(), model.heard.len(), "after {:?}", step);
        }
    }
}

#[test]
fn one_address_in_two_vlans_is_behind_two_ports() {
    let mut host = Host::new(&settings(TeamingMode::Static), ROOM);
    for (port, vlan) in [(10, 5), (11, 6), (12, 0)] {
        host.station(port);
        Rules::new(Mode::Access(vlan)).set(&mut host, PortId::new(port));
        host.forwarding.set_security(PortId::new(port), Some(SPOOFING));
        assert!(host.plain(nic(port, 0), stray(1), REMOTE).is_ok());
    }
    for round in 0..3 {
        for (port, vlan) in [(10, 5), (11, 6), (12, 0)] {
            let one = Ok([(Place::Station(port), 0)].into());
            assert_eq!(host.sent_by_switch(stray(1), vlan), one, "round {round}, VLAN {vlan}");
            assert!(host.plain(nic(port, 0), stray(1), MacAddr::BROADCAST).is_ok());
        }
    }
}
