//! Policies of the external port, row by row: they apply to frames in both directions, in whichever order port, NIC
//! and properties were created.

use teaming::forward::OutOfBand;
use teaming::ids::{MacAddr, PortId};
use teaming::oid::nic::{NicKind, NicOp};
use teaming::ports::policy::Security;
use teaming::ports::vlan::RequestedVlans;
use teaming::settings::TeamingMode;

use crate::bits::modes;
use crate::host::{Host, Place, REMOTE, TRUSTED, UPLINK, frame, mac, nic, parameters, settings};
use crate::rows::{Form, From, Mode, Rules};

const PORT: PortId = PortId::new(UPLINK);
const OTHER: PortId = PortId::new(2);

fn wanted<T>(rules: &Rules, then: impl FnOnce(Option<&RequestedVlans<'_>>) -> T) -> T {
    rules.mode.with_property(|property| then(property.map(|property| property.check().unwrap()).as_ref()))
}

fn replace(host: &mut Host, port: PortId, revision: u32, rules: &Rules) -> bool {
    wanted(rules, |vlans| {
        let security = Some(rules.security());
        host.forwarding.replace_policy(port, revision, vlans, security, rules.closed).unwrap()
    })
}

fn external(host: &mut Host, op: NicOp, port: PortId) {
    host.forwarding.on_external(op, &parameters(port.get(), NicKind::External));
}

/// A policy that differs from every tested one.
fn other() -> Rules {
    Rules {
        subnet: 7_777,
        priority: true,
        ..Rules::new(Mode::Trunk { native: 33, listed: vec![34], pruned: vec![] })
    }
}

type Coming = fn(&mut Host, &Rules);

/// Orders of events by which the external port, which only its NIC identifies, gets a policy.
const WAYS: [(&str, Coming); 11] = [
    ("said while packets flow", |host, rules| {
        host.forwarding.create_port(PORT, false).unwrap();
        rules.set(host, PORT);
    }),
    ("said before its NIC came", |host, rules| {
        external(host, NicOp::Delete, PORT);
        host.forwarding.create_port(PORT, false).unwrap();
        rules.set(host, PORT);
        external(host, NicOp::Create, PORT);
    }),
    ("found by an enumeration", |host, rules| {
        host.forwarding.create_port(PORT, true).unwrap();
        let revision = host.forwarding.ports.revision(PORT).unwrap();
        assert!(replace(host, PORT, revision, rules));
    }),
    ("found where nothing was known", |host, rules| {
        host.forwarding.create_port(PORT, false).unwrap();
        let revision = host.forwarding.ports.revision(PORT).unwrap();
        assert!(replace(host, PORT, revision, rules));
    }),
    ("found when something else was known", |host, rules| {
        host.forwarding.create_port(PORT, false).unwrap();
        let old = host.forwarding.ports.revision(PORT).unwrap();
        other().set(host, PORT);
        assert!(!replace(host, PORT, old, &Rules { closed: true, ..rules.clone() }));
        let revision = host.forwarding.ports.revision(PORT).unwrap();
        assert!(replace(host, PORT, revision, rules));
    }),
    ("said in place of another", |host, rules| {
        host.forwarding.create_port(PORT, false).unwrap();
        other().set(host, PORT);
        rules.set(host, PORT);
    }),
    ("taken back and said again", |host, rules| {
        host.forwarding.create_port(PORT, false).unwrap();
        rules.set(host, PORT);
        if !rules.closed {
            host.forwarding.set_vlans(PORT, None).unwrap();
            host.forwarding.set_security(PORT, None);
            rules.set(host, PORT);
        }
    }),
    ("of a port that came again", |host, rules| {
        host.forwarding.create_port(PORT, false).unwrap();
        Rules { closed: true, ..other() }.set(host, PORT);
        host.forwarding.tear_down(PORT);
        host.forwarding.delete_port(PORT);
        host.forwarding.create_port(PORT, false).unwrap();
        rules.set(host, PORT);
    }),
    ("closed for a while", |host, rules| {
        host.forwarding.create_port(PORT, false).unwrap();
        rules.set(host, PORT);
        host.forwarding.close(PORT);
        let revision = host.forwarding.ports.revision(PORT).unwrap();
        assert!(replace(host, PORT, revision, rules));
    }),
    ("after another port was the external one", |host, rules| {
        for (port, rules) in [(PORT, rules), (OTHER, &other())] {
            host.forwarding.create_port(port, false).unwrap();
            rules.set(host, port);
        }
        external(host, NicOp::Delete, PORT);
        external(host, NicOp::Create, OTHER);
        external(host, NicOp::Delete, OTHER);
        external(host, NicOp::Create, PORT);
    }),
    ("kept over a disconnect and an update of the NIC", |host, rules| {
        host.forwarding.create_port(PORT, false).unwrap();
        rules.set(host, PORT);
        for op in [NicOp::Disconnect, NicOp::Connect, NicOp::Update] {
            external(host, op, PORT);
        }
    }),
];

fn stations() -> [(u32, Rules); 5] {
    let trunk = Mode::Trunk { native: 20, listed: vec![10, 100, 101, 102], pruned: vec![] };
    [
        (10, Rules::new(Mode::Nothing)),
        (11, Rules { priority: true, ..Rules::new(Mode::Access(10)) }),
        (12, Rules::new(trunk)),
        (13, Rules::new(Mode::Community(100, 102))),
        (14, Rules { subnet: 5001, ..Rules::new(Mode::Nothing) }),
    ]
}

fn forms() -> Vec<Form> {
    let mut forms = Vec::new();
    for number in [0, 10, 20, 34, 100, 101, 102] {
        for subnet in [0, 5001] {
            forms.push(Form { tag_vlan: number, tags: vec![], subnet });
            forms.push(Form { tag_vlan: 0, tags: vec![number], subnet });
        }
    }
    forms
}

fn check(host: &Host, outside: &Rules, told: &str) {
    let stations = stations();
    let from_stations = stations.iter().map(|(port, rules)| From::Station(*port, rules.clone()));
    for from in from_stations.chain([From::Outside(outside.clone()), From::Switch]) {
        let (source, own) = match &from {
            From::Station(port, _) => (nic(*port, 0), mac(*port)),
            From::Outside(_) => (nic(UPLINK, 0), REMOTE),
            From::Switch => (TRUSTED, REMOTE),
        };
        for form in forms() {
            let out_of_band = OutOfBand { vlan: form.tag_vlan, subnet: form.subnet, adapter: None };
            let ways = |to| host.ways(source, &frame(own, to, &form.tags), &out_of_band);
            let expected =
                from.broadcast(&form, stations.iter().map(|(port, rules)| (*port, rules)), outside);
            assert_eq!(ways(MacAddr::BROADCAST).ok(), expected, "{told}: {outside:?} {from:?} {form:?}");
            let inside = from.enters(&form);
            let expected = inside.and_then(|inside| from.outside(&inside, &form, outside));
            let expected = expected.map(|bits| [(Place::Outside, bits)].into());
            assert_eq!(
                ways(MacAddr([2, 0xcc, 0, 0, 0, 1])).ok(),
                expected,
                "{told}: {outside:?} {from:?} {form:?}"
            );
        }
    }
}

#[test]
fn the_external_ports_policy_holds_whichever_way_it_came() {
    let open = modes().into_iter().map(Rules::new);
    let special = [
        Rules { closed: true, ..Rules::new(Mode::Nothing) },
        Rules { closed: true, ..Rules::new(Mode::Access(10)) },
        Rules { subnet: 5001, ..Rules::new(Mode::Nothing) },
        Rules { subnet: 5001, priority: true, ..Rules::new(Mode::Access(10)) },
    ];
    for rules in open.chain(special) {
        for (told, way) in WAYS {
            let mut host = Host::new(&settings(TeamingMode::Static), 8);
            for (port, rules) in stations() {
                host.station(port);
                rules.set(&mut host, PortId::new(port));
            }
            way(&mut host, &rules);
            check(&host, &rules, told);
        }
    }
}

#[test]
fn an_external_port_without_a_policy_is_open_again_whichever_way_it_went() {
    let ways: [fn(&mut Host); 4] = [
        |host| {
            host.forwarding.set_vlans(PORT, None).unwrap();
            host.forwarding.set_security(PORT, None);
        },
        |host| {
            let revision = host.forwarding.ports.revision(PORT).unwrap();
            assert!(host.forwarding.replace_policy(PORT, revision, None, None, false).unwrap());
        },
        |host| host.forwarding.delete_port(PORT),
        |host| {
            host.forwarding.set_security(PORT, Some(Security::STRICT));
            host.forwarding.set_vlans(PORT, None).unwrap();
        },
    ];
    for (number, way) in ways.into_iter().enumerate() {
        for rules in modes().into_iter().map(Rules::new) {
            let mut host = Host::new(&settings(TeamingMode::Static), 8);
            for (port, rules) in stations() {
                host.station(port);
                rules.set(&mut host, PortId::new(port));
            }
            host.forwarding.create_port(PORT, false).unwrap();
            rules.set(&mut host, PORT);
            way(&mut host);
            check(&host, &Rules::new(Mode::Nothing), &format!("way {number} from {rules:?}"));
        }
    }
}

#[test]
fn a_port_that_is_torn_down_passes_nothing_in_either_direction() {
    let mut host = Host::new(&settings(TeamingMode::Static), 8);
    for (port, rules) in stations() {
        host.station(port);
        rules.set(&mut host, PortId::new(port));
    }
    host.forwarding.create_port(PORT, false).unwrap();
    host.forwarding.tear_down(PORT);
    check(&host, &Rules { closed: true, ..Rules::new(Mode::Nothing) }, "torn down");
}
