//! Damaged properties, each in every way. A property from before the attachment that cannot be read leaves its port
//! closed; one that arrives later is vetoed and changes nothing. Other ports are not affected.

use super::driver::{dropped, events, look, next_frame, reached};
use lbfoext::ndis::raw::{INVALID_PARAMETER, SUCCESS, oids};
use lbfoext::trace::Event;
use std::collections::BTreeSet;
use std::sync::Arc;
use teaming::ids::PortId;
use teaming::ports::policy::PortPolicy;
use vswitch::scenario::suite::policies::access;
use vswitch::scenario::{Activation, Net, Scenario};
use vswitch::switch::control::Ask;
use vswitch::switch::control::below::Plan;
use vswitch::switch::control::properties::Spoils;
use vswitch::switch::control::property_bytes::{Envelope, port_property, port_property_deletion};
use vswitch::switch::ports::policy::{Private, Property, Security, Vlan};

const UNKNOWN: &str = "The policy of the port is not known.";

fn kinds() -> Vec<Property> {
    let isolated = Private::Isolated { primary: 100, secondary: 101 };
    let promiscuous = Private::Promiscuous { primary: 100, secondaries: [101].into() };
    vec![
        Property::Security(Security::default()),
        access(0),
        Property::Vlan(Vlan::trunk(0, [0, 7])),
        Property::Vlan(Vlan::Private(isolated)),
        Property::Vlan(Vlan::Private(promiscuous)),
        Property::Isolation { mode: 0 },
    ]
}

type Change = Arc<dyn Fn(&mut Vec<u8>) + Send + Sync>;

/// A description, and the change to the bytes.
struct Damage(String, Change);

fn damage(name: impl Into<String>, change: impl Fn(&mut Vec<u8>) + Send + Sync + 'static) -> Damage {
    Damage(name.into(), Arc::new(change))
}

fn word(bytes: &[u8], at: usize) -> usize {
    bytes.get(at..at + 4).map_or(0, |w| u32::from_le_bytes([w[0], w[1], w[2], w[3]]) as usize)
}

fn put(bytes: &mut [u8], at: usize, value: u32) {
    bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
}

/// The damages of a property that starts at the offset `at`; `length` is the offset of its length field.
fn of_body(property: &Property, at: fn(&[u8]) -> usize, length: usize, offset: usize) -> Vec<Damage> {
    let mut all = vec![
        damage("a body of another type", move |b| {
            let at = at(b);
            b[at] = 0x81;
        }),
        damage("a body of revision 0", move |b| {
            let at = at(b);
            b[at + 1] = 0;
        }),
    ];
    let least: u16 = match property {
        Property::Security(_) => 17,
        Property::Vlan(_) => 1048,
        _ => 20,
    };
    for size in [0, 4, 8, least - 1] {
        all.push(damage(format!("a body that says it has {size} bytes"), move |b| {
            let at = at(b);
            b[at + 2..at + 4].copy_from_slice(&size.to_le_bytes());
        }));
        all.push(damage(format!("a body of which {size} bytes are there"), move |b| {
            let place = if length >= 1_000 { at(b) - 40 + length - 1_000 } else { length };
            put(b, place, u32::from(size));
        }));
    }
    for far in [0x0001_0000, 0x7FFF_FFF8, u32::MAX] {
        for (what, field) in [("length", length), ("offset", offset)] {
            all.push(damage(format!("a body of {what} {far:#x}"), move |b| {
                let place = if field >= 1_000 { at(b) - 40 + field - 1_000 } else { field };
                put(b, place, far);
            }));
        }
    }
    let value = |name: &'static str, inside: usize, value: u32| {
        damage(format!("{name} {value:#x}"), move |b: &mut Vec<u8>| {
            let at = at(b);
            put(b, at + inside, value);
        })
    };
    match property {
        Property::Vlan(vlan) => {
            all.extend([4, 0x0100_0001, u32::MAX].map(|mode| value("VLAN mode", 8, mode)));
            match vlan {
                Vlan::Access(_) => all.extend([4095, 4096, 0xFFFF].map(|id| value("access VLAN", 16, id))),
                Vlan::Trunk { .. } => {
                    all.extend([4095, 0xFFFF].map(|id| value("native VLAN", 16, id << 16)));
                }
                Vlan::Unknown => {}
                Vlan::Private(_) => {
                    all.extend([0, 4, u32::MAX].map(|mode| value("private mode", 16, mode)));
                    all.extend([0, 4095, 0xFFFF].map(|id| value("primary VLAN", 20, id)));
                }
            }
            if let Vlan::Private(Private::Isolated { .. }) = vlan {
                all.extend([0, 4095].map(|id| value("secondary VLAN", 24, id)));
            }
        }
        Property::Isolation { .. } => {
            all.extend([2, 3, 4, 0x0100_0000, u32::MAX].map(|mode| value("isolation mode", 8, mode)));
        }
        _ => {}
    }
    all
}

/// The damages of the output of an enumeration.
fn of_answer(property: &Property) -> Vec<Damage> {
    // Offsets from 1,000 on are relative to the property instance, others to the start of the buffer.
    let mut all = of_body(property, |b| word(b, 36) + 40, 1_032, 1_036);
    let body = match property {
        Property::Security(_) => 24,
        Property::Vlan(_) => 1048,
        _ => 20,
    };
    let cuts = (0..136).chain([300, 511, 512, 600, 1_000, 1_087]);
    for cut in cuts {
        all.push(damage(format!("an answer of {cut} bytes"), move |b| {
            let whole = word(b, 36) + 40 + body;
            b.truncate(cut.min(whole - 1));
        }));
    }
    for first in [44, 0x0001_0000, u32::MAX - 8, u32::MAX] {
        all.push(damage(format!("a first instance at {first:#x}"), move |b| put(b, 36, first)));
    }
    for (name, at, byte) in [("type", 0, 0x81), ("revision", 1, 0), ("size", 2, 39), ("size", 2, 0)] {
        all.push(damage(format!("an instance of {name} {byte:#x}"), move |b| {
            let first = word(b, 36);
            b[first + at] = byte;
        }));
    }
    all
}

const ACTIVATIONS: [Activation; 3] =
    [Activation::BeforeAttach, Activation::WhilePaused, Activation::WhileRunning];

/// Port 10 has a property whose enumeration is damaged, port 11 a valid one, port 12 none.
fn enumerated(seed: u64, property: &Property, Damage(_, change): &Damage) -> Net {
    let (kind, change) = (property.kind(), Arc::clone(change));
    let spoils = Spoils(Arc::new(move |asked, answer: &mut Vec<u8>| {
        if asked == kind && word(answer, 40) != 0 && word(answer, 8) == 10 {
            change(answer);
        }
    }));
    let seen = Property::Security(Security { priority_tag: true, ..Security::default() });
    let net = Scenario::new(seed)
        .members(&[10])
        .vms(3)
        .property(0, property.clone())
        .property(1, seen)
        .activation(ACTIVATIONS[seed as usize % 3])
        .style(|style| style.spoils = Some(spoils))
        .start();
    assert!(net.is_running());
    net
}

/// Asserts that frames from and to the closed port are dropped and those of the other ports delivered.
fn assert_closed(net: &Net, when: &str) {
    // Recorded once, or each time that the property was queried again.
    let closed: BTreeSet<u32> = events(net)
        .into_iter()
        .filter_map(|event| if let Event::PortClosed { port } = event { Some(port) } else { None })
        .collect();
    assert_eq!(closed, [10].into(), "{when}");
    let first = next_frame(net);
    let (a, b, c) = (net.vm(0), net.vm(1), net.vm(2));
    net.send(a, &[net.flow(a, 1).frame(1, 60), net.flow_between(a, b, 1).frame(1, 60)]);
    net.send(b, &[net.flow_between(b, a, 1).frame(2, 60), net.flow_between(b, c, 1).frame(2, 60)]);
    net.send(c, &[net.flow_between(c, b, 1).frame(3, 60), net.flow(c, 1).frame(3, 60)]);
    net.receive_external(1, &[net.external_flow(a, 1).frame(4, 60)]);
    net.settle();
    for frame in [first, first + 1] {
        assert_eq!(dropped(net, frame).as_deref(), Some(UNKNOWN), "{when}: from the closed port");
    }
    assert!(!reached(net, first + 2).0.contains(&a), "{when}: to the closed port");
    assert!(!reached(net, first + 6).0.contains(&a), "{when}: to the closed port from the external network");
    assert_eq!(reached(net, first + 3).0, [c].into(), "{when}: between the others");
    assert_eq!(reached(net, first + 4).0, [b].into(), "{when}: between the others");
    assert_eq!(reached(net, first + 5).1, [1].into(), "{when}: from another to the external network");
}

/// Neither another valid property nor a NIC that is deleted and created again opens a port whose property could not be
/// read.
fn nothing_else_opens(net: &Net, damaged: &Property) {
    let nic = net.vm(0);
    for other in kinds().into_iter().chain([Property::Profile]) {
        if other.kind() != damaged.kind() {
            let instance = 40 + u64::try_from(other.kind()).unwrap_or(0);
            net.add_property(nic.port, instance, other.clone());
            net.update_property(nic.port, instance, other);
            net.remove_property(nic.port, instance);
        }
    }
    net.rename_port(nic.port);
    net.pause();
    net.restart();
    net.activate();
}

#[test]
fn a_port_whose_property_cannot_be_read_at_the_enumeration_stays_closed() {
    let mut seed = 0;
    for property in kinds() {
        for damage in of_answer(&property) {
            seed += 1;
            let net = enumerated(seed, &property, &damage);
            let when = format!("seed {seed}, {property:?}: {}", damage.0);
            assert_closed(&net, &when);
            if seed % 7 == 0 {
                nothing_else_opens(&net, &property);
                assert_closed(&net, &format!("{when}, and later"));
            }
            net.finish().assert_clean();
        }
    }
    assert!(seed > 600, "{seed} damages");
}

#[test]
fn the_same_enumerations_open_the_port_while_nothing_is_damaged() {
    for (seed, property) in (0..).zip(kinds()) {
        for shift in 0..3 {
            let net = enumerated(seed + shift, &property, &damage("nothing", |_| ()));
            let closed = events(&net).iter().any(|event| matches!(event, Event::PortClosed { .. }));
            assert!(!closed, "{property:?}");
            let policy = look(&net, |module| {
                module.forwarding.read().ports.get(PortId::new(10)).map(|port| port.policy)
            });
            assert!(policy.is_some_and(|policy| !policy.closed), "{property:?}");
            net.finish().assert_clean();
        }
    }
}

/// The damages of the payload of an addition or an update, and whether its parameter structure can still be read.
fn of_request(property: &Property, whole: usize) -> Vec<(Damage, bool)> {
    let mut all: Vec<_> =
        of_body(property, |b| word(b, 56), 52, 56).into_iter().map(|damage| (damage, true)).collect();
    for cut in (0..64.min(whole)).chain(64..whole.min(104)).chain([whole - 1]) {
        all.push((damage(format!("{cut} bytes"), move |b| b.truncate(cut)), cut >= 64));
    }
    for (name, at, byte) in [("type", 0, 0x81), ("revision", 1, 0), ("size", 2, 63), ("size", 2, 0)] {
        all.push((damage(format!("a head of {name} {byte:#x}"), move |b| b[at] = byte), false));
    }
    all
}

fn policies(net: &Net) -> Vec<(u32, PortPolicy)> {
    look(net, |module| {
        let forwarding = module.forwarding.read();
        forwarding.ports.iter().map(|port| (port.id.port.get(), port.policy)).collect()
    })
}

fn envelope(instance: u64) -> Envelope {
    Envelope { id: [0; 16], instance, version: 0x0100, gap: 0, newer: false }
}

/// Issues a request that must change nothing; the switch completes it with `status` if it gets there.
fn ask(net: &Net, oid: u32, payload: Vec<u8>, status: i32) -> vswitch::switch::control::Answer {
    let plan = Plan { status, completion: None };
    net.ask(Ask { plan, ..Ask::set(oid, payload, None) }).expect("the module is attached")
}

#[test]
fn a_damaged_property_of_later_is_vetoed_and_changes_nothing() {
    let net = Scenario::new(2)
        .members(&[10])
        .vms(3)
        .property(0, access(9))
        .property(0, Property::Security(Security { spoofing: true, ..Security::default() }))
        .start();
    let before = policies(&net);
    let mut count = 0;
    for property in kinds() {
        for port in [10, 11] {
            let payload = port_property(port, &property, &envelope(1));
            for (Damage(name, change), readable) in of_request(&property, payload.len()) {
                let mut payload = payload.clone();
                change(&mut payload);
                for oid in [oids::SWITCH_PORT_PROPERTY_ADD, oids::SWITCH_PORT_PROPERTY_UPDATE] {
                    let answer = ask(&net, oid, payload.clone(), INVALID_PARAMETER);
                    let when = format!("{property:?} for {port}, {oid:#x}: {name}: {answer:?}");
                    assert_eq!(answer.reached_below, !readable, "{when}");
                    assert_ne!(answer.status, SUCCESS, "{when}");
                    assert_eq!(policies(&net), before, "{when}");
                    count += 1;
                }
            }
        }
    }
    assert!(count > 2_000, "{count}");
    net.settle();
    net.finish();
}

#[test]
fn what_is_not_enforced_is_passed_on_unread_and_a_damaged_deletion_deletes_nothing() {
    let net = Scenario::new(3)
        .members(&[10])
        .vms(2)
        .property(0, access(9))
        .property(0, Property::Security(Security { spoofing: true, ..Security::default() }))
        .start();
    let before = policies(&net);
    let others = [
        Property::Profile,
        Property::RoutingDomain,
        Property::Custom { id: [7; 16], data: vec![1; 30] },
        Property::Unknown { kind: 77 },
        Property::Unknown { kind: -1 },
    ];
    for property in others {
        let payload = port_property(10, &property, &envelope(5));
        for (Damage(name, change), _) in of_request(&Property::Security(Security::default()), payload.len()) {
            let mut payload = payload.clone();
            change(&mut payload);
            for oid in [oids::SWITCH_PORT_PROPERTY_ADD, oids::SWITCH_PORT_PROPERTY_UPDATE] {
                let answer = ask(&net, oid, payload.clone(), SUCCESS);
                assert!(answer.reached_below, "{property:?}: {name}");
                assert_eq!(policies(&net), before, "{property:?}: {name}");
            }
        }
    }
    for kind in [2, 3, 5, 1, 77] {
        let whole = port_property_deletion(10, kind, &envelope(1));
        let mut damages: Vec<Damage> =
            (0..whole.len()).map(|cut| damage(format!("{cut} bytes"), move |b| b.truncate(cut))).collect();
        for (at, byte) in [(0, 0x81), (1, 0), (2, 47), (2, 0)] {
            damages.push(damage(format!("byte {at} is {byte:#x}"), move |b| b[at] = byte));
        }
        for Damage(name, change) in damages {
            let mut payload = whole.clone();
            change(&mut payload);
            let answer = ask(&net, oids::SWITCH_PORT_PROPERTY_DELETE, payload, SUCCESS);
            assert!(answer.reached_below, "deletion of {kind}: {name}");
            assert_eq!(policies(&net), before, "deletion of {kind}: {name}");
        }
    }
    net.finish();
}
