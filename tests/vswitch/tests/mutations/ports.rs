//! A day with ports of every kind, with an occasion for every mutation with ports, NICs, properties and policies.

use lbfoext::ndis::raw::oids;
use vswitch::adapter::physical_switch::Aggregation;
use vswitch::inject::was_committed;
use vswitch::mutation::Mutation;
use vswitch::scenario::guest::{BROADCAST, Flow, Packet, vm_mac};
use vswitch::scenario::outcome::Outcome;
use vswitch::scenario::suite::random::{TPIDS, insert_tag, insert_tag_of};
use vswitch::scenario::{Net, Scenario};
use vswitch::switch::control::features;
use vswitch::switch::control::properties::Damage;
use vswitch::switch::ports::NicId;
use vswitch::switch::ports::policy::{Property, Security, Told, Vlan};

fn vlan(id: u16) -> Property {
    Property::Vlan(Vlan::Access(id))
}

fn strict() -> Property {
    Property::Security(Security::default())
}

fn subnet(subnet: u32) -> Property {
    Property::Security(Security { subnet, ..Security::default() })
}

/// One frame from each of the VMs to each other, alone; and a flood.
fn everybody(net: &Net, vms: &[u16], n: u16) {
    for &from in vms {
        for &to in vms.iter().filter(|to| **to != from) {
            net.send(net.vm(from), &[net.flow_between(net.vm(from), net.vm(to), n).frame(1, 60)]);
        }
        net.send(net.vm(from), &[Flow { to: BROADCAST, ..net.flow(net.vm(from), n) }.frame(2, 60)]);
        net.send(net.vm(from), &[net.flow(net.vm(from), n).frame(3, 60)]);
    }
    net.advance(400);
}

pub fn full_scenario(seed: u64, mutation: Option<Mutation>) -> (Outcome, bool) {
    let pruned = Vlan::Trunk { native: 0, allowed: [7, 8].into(), pruned: [7].into() };
    let net = Scenario::new(seed)
        .members_at(&[(1, 10), (3, 10), (4, 10)])
        .aggregation(if seed.is_multiple_of(2) {
            Aggregation::Static
        } else {
            Aggregation::SwitchIndependent
        })
        .vms(8)
        .one_vm(&[10, 11])
        .internal(2)
        // Known from the enumeration only.
        .property(0, vlan(7))
        .property(1, vlan(8))
        .created_only(7)
        .tear_down(false)
        .style(|style| style.awkward_memory = false)
        .config(|c| c.mutation = mutation)
        .start();
    let port = |vm: u16| net.vm(vm).port;
    everybody(&net, &[0, 1, 2, 3], 1);
    net.fail_to_connect(net.vm(12));
    everybody(&net, &[2, 4], 1);
    // Told by requests, under any id, of a newer version.
    net.add_property(port(2), 1, vlan(9));
    everybody(&net, &[2, 4, 5], 2);
    net.remove_property(port(2), 1);
    net.add_property_told(port(3), 1, vlan(9), Told::UnderAnyId);
    everybody(&net, &[3, 4, 5], 3);
    net.remove_property(port(3), 1);
    net.add_property_told(port(3), 1, vlan(9), Told::AsNewerVersion);
    everybody(&net, &[3, 4, 5], 4);
    net.update_property(port(3), 1, Property::Vlan(pruned));
    net.add_property(port(4), 1, vlan(7));
    for _ in 0..3 {
        everybody(&net, &[3, 4], 5);
        net.send_packets(vec![(net.vm(3), Packet::tagged(net.flow(net.vm(3), 5).frame(1, 60), 8, 0))]);
        // Another tag behind the one beside the bytes, and behind one in them.
        for tpid in TPIDS {
            let mut second = net.flow(net.vm(3), 5).frame(1, 60);
            insert_tag_of(&mut second, tpid, 9, 0);
            net.send_packets(vec![(net.vm(3), Packet::tagged(second.clone(), 8, 0))]);
            insert_tag(&mut second, 8, 3);
            net.send(net.vm(3), &[second]);
        }
        // A tag that must come off.
        let mut tagged = net.flow_between(net.vm(3), net.vm(1), 5).frame(1, 60);
        insert_tag(&mut tagged, 8, 3);
        net.send(net.vm(3), &[tagged]);
    }
    net.remove_property(port(4), 1);
    net.remove_property(port(3), 1);
    // Refused below, and damaged.
    net.property_refused_below(port(5), 1, vlan(9), false);
    everybody(&net, &[4, 5], 6);
    for damage in Damage::ALL {
        net.damaged_property(port(4), vlan(9), damage);
        everybody(&net, &[4, 6], 7);
    }
    // Addresses and subnets.
    net.add_property(port(6), 1, subnet(5_001));
    everybody(&net, &[4, 5, 6], 8);
    net.add_property(port(2), 2, strict());
    let stranger = Flow { from: vm_mac(5), ..net.flow_between(net.vm(2), net.vm(3), 1) };
    net.send(net.vm(2), &[stranger.frame(1, 60)]);
    let tree = Flow { to: [0x01, 0x80, 0xC2, 0, 0, 0], ..net.external_flow(net.vm(3), 1) };
    net.receive_external(1, &[tree.frame(5, 60)]);
    // Properties that mean nothing here, and questions.
    net.add_property(port(2), 3, Property::Custom { id: [5; 16], data: vec![1; 20] });
    net.add_property(port(2), 4, Property::Unknown { kind: 44 });
    net.add_property(port(2), 5, Property::Profile);
    net.remove_property(port(2), 3);
    net.feature_status(None, [5; 16], 16);
    net.feature_status(Some(port(2)), [5; 16], 16);
    net.rename_port(port(2));
    net.open_validation_port(900, &[vlan(12), strict()]);
    everybody(&net, &[4, 5], 9);
    net.close_validation_port(900);
    // A VM that goes, another on its port; a new address; a creation that fails below.
    net.remove_vm(5);
    net.add_vm(5);
    everybody(&net, &[4, 5], 10);
    net.readdress(net.vm(3), [2, 0x15, 0x5D, 9, 9, 9]);
    let renewed = Flow { to: [2, 0x15, 0x5D, 9, 9, 9], ..net.flow_between(net.vm(2), net.vm(3), 1) };
    net.send(net.vm(2), &[renewed.frame(1, 60)]);
    net.fail_to_create(net.vm(9));
    net.send(net.vm(5), &[net.flow_between(net.vm(5), net.vm(3), 11).frame(1, 60)]);
    net.create_only(net.member(8));
    net.send(net.vm(5), &[net.flow(net.vm(5), 11).frame(1, 60), net.flow(net.vm(5), 12).frame(1, 60)]);
    everybody(&net, &[3, 5], 12);
    net.switch_property(oids::SWITCH_PROPERTY_DELETE, [6; 16], 1);
    net.feature_status(Some(port(2)), [5; 16], 0);
    for feature in features::declared() {
        for room in [0, 8, feature.length(), feature.length() + 40] {
            net.feature_status(feature.of_port.then_some(port(2)), feature.id, room);
        }
    }
    let custom = Property::Custom { id: [5; 16], data: vec![1; 20] };
    net.damaged_property(port(2), custom, Damage::CutBody);
    // Adapters that stand in for each other, by right and not.
    net.add_vm(10);
    net.add_vm(11);
    let teaming = || Property::Security(Security { teaming: true, ..Security::default() });
    for team in [[net.vm(10), net.vm(11)], [net.internal(0), net.internal(1)]] {
        for nic in team {
            net.add_property(nic.port, 9, teaming());
        }
        let from = net.mac(team[1]);
        net.send(team[0], &[Flow { from, ..net.flow_between(team[0], net.vm(3), 13) }.frame(1, 60)]);
        // Its address is reached there until its owner sends; that of a stranger is not to be had.
        let answer = Flow { to: from, ..net.flow(net.vm(3), 13) };
        net.send(net.vm(3), &[answer.frame(2, 60)]);
        net.send(team[1], &[net.flow_between(team[1], net.vm(3), 13).frame(3, 60)]);
        net.send(net.vm(3), &[answer.frame(4, 60)]);
        let from = net.mac(net.vm(4));
        net.send(team[0], &[Flow { from, ..net.flow_between(team[0], net.vm(3), 13) }.frame(5, 60)]);
    }
    // A VM that has joined another group, and one that has joined this one before it came.
    let [group, other] = [9, 10].map(|n| [0x01, 0, 0x5E, 0, 0, n]);
    let frame = Flow { to: group, ..net.flow(net.vm(4), 14) }.frame(1, 60);
    net.add_vm(13);
    net.join(net.vm(13), other);
    net.send(net.vm(4), std::slice::from_ref(&frame));
    let came = net.vm(14);
    net.create_guest_port(came);
    net.create_guest_nic(came, vm_mac(14), &[group].into());
    net.connect_guest_nic(came);
    net.join(came, other);
    net.send(net.vm(4), &[frame]);
    net.unplug(4);
    let committed = was_committed(net.world());
    let world = net.world().clone();
    let _: NicId = net.vm(0);
    let outcome = net.finish();
    (outcome, committed || was_committed(&world))
}
