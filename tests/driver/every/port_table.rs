//! The port table grows while ports are created and deleted: frames between other ports are delivered as before, and
//! memory that the present ports do not need is freed.

use super::driver::{look, next_frame, reached};
use std::collections::BTreeSet;
use teaming::ids::{MacAddr, PortId};
use vswitch::adapter::physical_switch::Aggregation;
use vswitch::machine::registry::Value;
use vswitch::scenario::guest::{BROADCAST, Flow, Packet};
use vswitch::scenario::suite::policies::access;
use vswitch::scenario::{Net, Scenario};
use vswitch::switch::ports::policy::{Private, Property, Security, Vlan};
use vswitch::switch::ports::{Mac, NicId};

const GROUPS: [Mac; 2] = [[0x01, 0, 0x5E, 1, 1, 1], [0x01, 0, 0x5E, 1, 1, 2]];
/// Number of VMs whose frames are compared; others are created and deleted.
const VMS: u16 = 10;
/// An address behind VM 1, which may use other source addresses.
const HIDDEN: Mac = [0x02, 0xBB, 0, 0, 0, 1];

fn trunk(allowed: impl IntoIterator<Item = u16>) -> Property {
    Property::Vlan(Vlan::trunk(0, allowed))
}

fn plan(seed: u64) -> Scenario {
    let learning = Security { spoofing: true, priority_tag: true, ..Security::default() };
    let teaming = Security { teaming: true, ..Security::default() };
    let subnet = Security { subnet: 5_001, ..Security::default() };
    let pairs = Private::Promiscuous { primary: 100, secondaries: [101].into() };
    Scenario::new(seed)
        .members(&[10, 10, 25])
        .vms(VMS)
        .property(1, Property::Security(learning))
        .property(2, access(7))
        .property(3, trunk([7, 8]))
        .property(4, trunk([7, 9]))
        .property(5, Property::Vlan(Vlan::Private(Private::Isolated { primary: 100, secondary: 101 })))
        .property(6, Property::Vlan(Vlan::Private(pairs)))
        .property(7, Property::Security(teaming))
        .one_vm(&[7, 8])
        .property(9, Property::Security(subnet))
        .setting("PruneMulticast", Value::Dword(1))
        .style(|style| style.awkward_memory = false)
        .tear_down(false)
}

fn start(plan: Scenario) -> Net {
    let net = plan.start();
    for n in [0, 2, 7] {
        net.set_groups(net.vm(n), &GROUPS[..1]);
    }
    net.set_groups(net.vm(8), &[]);
    net.send(net.vm(1), &[Flow { from: HIDDEN, ..net.flow(net.vm(1), 1) }.frame(0, 60)]);
    net.settle();
    net
}

/// The destinations of frames of every kind between all VMs and the external network.
fn picture(net: &Net) -> Vec<(BTreeSet<NicId>, BTreeSet<u16>)> {
    let first = next_frame(net);
    for n in 0..VMS {
        let nic = net.vm(n);
        let unicast = (0..VMS).map(|to| net.mac(net.vm(to)));
        let to = unicast.chain(GROUPS).chain([BROADCAST, HIDDEN, [0x02, 0xBB, 0, 0, 0, 2]]);
        let mut chain = Vec::new();
        for to in to {
            let frame = Flow { to, ..net.flow(nic, n) }.frame(1, 60);
            chain.push((nic, Packet::of(frame.clone())));
            chain.push((nic, Packet::tagged(frame, 7, 3)));
        }
        for from in [net.mac(net.vm(8)), HIDDEN] {
            chain.push((nic, Packet::of(Flow { from, ..net.flow(nic, n) }.frame(2, 60))));
        }
        net.send_packets(chain);
        for vid in [None, Some(7), Some(9)] {
            for to in [net.mac(nic), GROUPS[n as usize % 2], BROADCAST, HIDDEN] {
                let frame = Flow { to, ..net.external_flow(nic, n) }.frame(3, 60);
                let packet = vid
                    .map_or_else(|| Packet::of(frame.clone()), |vid| Packet::tagged(frame.clone(), vid, 0));
                net.receive_external_packets(1, vec![packet]);
            }
        }
    }
    net.settle();
    // Other VMs are left out.
    let old: BTreeSet<NicId> = (0..VMS).map(|n| net.vm(n)).collect();
    let count = next_frame(net) - first;
    let seen = (first..first + count).map(|frame| reached(net, frame));
    seen.map(|(vnics, members)| (&vnics & &old, members)).collect()
}

fn capacity(net: &Net) -> (usize, usize) {
    look(net, |module| {
        let forwarding = module.forwarding.read();
        (forwarding.ports.capacity(), forwarding.ports.sets().len())
    })
}

fn same(now: &[(BTreeSet<NicId>, BTreeSet<u16>)], before: &[(BTreeSet<NicId>, BTreeSet<u16>)], when: &str) {
    assert_eq!(now.len(), before.len(), "{when}");
    for (number, (now, before)) in now.iter().zip(before).enumerate() {
        assert_eq!(now, before, "frame {number} {when}");
    }
}

/// Pool memory of the driver, in bytes.
fn pool(net: &Net) -> usize {
    net.world().live().iter().map(|entry| entry.bytes).sum()
}

#[test]
fn frames_go_where_they_went_before_the_table_grew_and_after_the_others_left() {
    for (seed, aggregation) in (0..).zip([Aggregation::Static, Aggregation::SwitchIndependent]) {
        let net = start(plan(seed).aggregation(aggregation));
        // Afterwards it is known which addresses are outside.
        picture(&net);
        let before = picture(&net);
        assert!(before.iter().any(|(vnics, _)| vnics.len() > 2), "hardly anything arrives");
        let mut sizes = BTreeSet::from([capacity(&net)]);
        for n in VMS..150 {
            net.add_vm(n);
            if n % 4 == 0 {
                // Every fourth port has its own set of VLANs.
                assert!(net.add_property(net.vm(n).port, 1, trunk([1_000 + n])));
            }
            if sizes.insert(capacity(&net)) {
                same(&picture(&net), &before, &format!("after VM {n}, sizes {sizes:?}"));
            }
        }
        assert!(sizes.len() > 3, "ports and sets grew: {sizes:?}");
        for n in VMS..150 {
            net.remove_vm(n);
        }
        assert_eq!(picture(&net), before, "after all others left");
        for nic in [0, 1, 9].map(|n| net.vm(n)) {
            // Their traffic counters continue; the verifier compares them.
            net.save(nic, vswitch::switch::control::save::Offering::default()).expect("it runs");
        }
        net.finish().assert_clean();
    }
}

#[test]
fn the_memory_of_ports_that_come_and_go_is_what_the_most_at_a_time_needed() {
    let net = start(plan(5));
    picture(&net);
    let before = picture(&net);
    let mut settled = None;
    for round in 0..12_u16 {
        for n in VMS..VMS + 12 {
            net.add_vm(n);
            let port = net.vm(n).port;
            // A property is replaced, deleted, and removed with its port.
            let set = |other: u16| trunk([7, 1_000 + 40 * round + n + other]);
            assert!(net.add_property(port, 1, set(0)));
            assert!(net.update_property(port, 1, set(13)));
            if n % 3 == 0 {
                assert!(net.remove_property(port, 1));
            }
            if n % 3 == 1 {
                let promiscuous = Private::Promiscuous { primary: 100, secondaries: [101, 200 + n].into() };
                assert!(net.update_property(port, 1, Property::Vlan(Vlan::Private(promiscuous))));
            }
            let more = Security { spoofing: n % 2 == 0, ..Security::default() };
            assert!(net.add_property(port, 2, Property::Security(more)));
            let groups: Vec<Mac> = (0..6).map(|g| [0x01, 0, 0x5E, round as u8, n as u8, g]).collect();
            net.set_groups(net.vm(n), &groups);
            net.join(net.vm(n), [0x01, 0, 0x5E, 0x7F, n as u8, 9]);
            let (heard, kept) = look(&net, |module| {
                let ports = &module.forwarding.read().ports;
                let at = ports.position(PortId::new(port)).expect("it is there");
                let hears = |group: &Mac| ports.is_member_of(at, MacAddr(*group));
                let before = [0x01, 0, 0x5E, (round as u8).wrapping_sub(1), n as u8, 0];
                (groups.iter().filter(|group| hears(group)).count(), hears(&before))
            });
            assert_eq!((heard, kept), (groups.len(), n % 2 == 0), "round {round}: groups of VM {n}");
            net.readdress(net.vm(n), [2, 0x15, 0x5D, 7, round as u8, n as u8]);
            net.property_refused_below(port, 60, set(26), false);
            net.property_refused_below(port, 1, set(31), true);
        }
        for n in VMS..VMS + 12 {
            net.remove_vm(n);
        }
        net.settle();
        let now = (capacity(&net), pool(&net));
        assert_eq!(*settled.get_or_insert(now), now, "round {round}");
    }
    assert_eq!(picture(&net), before);
    net.finish().assert_clean();
}

#[test]
fn no_more_sets_of_vlans_are_in_use_than_the_ports_of_now_differ_in() {
    use teaming::ports::vlan::VlanSet;
    let net = start(plan(6));
    let in_use = |net: &Net| {
        look(net, |module| {
            let forwarding = module.forwarding.read();
            // A set in use has users, which only its Debug text shows; a released one has none.
            let used = |set: &&VlanSet| !format!("{set:?}").contains("users: 0");
            forwarding.ports.sets().iter().filter(used).count()
        })
    };
    // Two trunks and a promiscuous port.
    assert_eq!(in_use(&net), 3);
    let port = net.vm(2).port;
    for (change, expected) in [
        (Some(trunk([7, 8])), 3),
        (Some(trunk([7, 10])), 4),
        (Some(trunk([7, 10])), 4),
        (Some(access(7)), 3),
        (Some(trunk([7, 9])), 3),
        (Some(trunk([1, 2, 3])), 4),
        (None, 3),
    ] {
        let instance = 1;
        match change.clone() {
            Some(property) => assert!(net.update_property(port, instance, property)),
            None => assert!(net.remove_property(port, instance)),
        }
        assert_eq!(in_use(&net), expected, "{change:?}");
    }
    for (gone, expected) in [(3, 2), (4, 1), (6, 0)] {
        net.remove_vm(gone);
        assert_eq!(in_use(&net), expected, "after VM {gone} left");
    }
    net.finish().assert_clean();
}
