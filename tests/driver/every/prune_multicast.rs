//! Multicast frames with `PruneMulticast` and without: who gets them when VMs begin, come from another host, are restored
//! or were there before the extension.

use std::collections::BTreeSet;
use vswitch::machine::registry::Value;
use vswitch::scenario::guest::Flow;
use vswitch::scenario::migration::Migration;
use vswitch::scenario::suite::saved;
use vswitch::scenario::{Enumeration, Net, Scenario};
use vswitch::switch::frames::FrameOutcome;
use vswitch::switch::ports::{Mac, NicId};

const GROUPS: [Mac; 3] = [[1, 0, 0x5E, 3, 0, 1], [1, 0, 0x5E, 3, 0, 2], [0x33, 0x33, 0, 0, 0, 3]];
const BEFORE: Mac = GROUPS[0];
const AFTER: Mac = GROUPS[1];
const OTHER: Mac = GROUPS[2];

/// The vNICs that get a frame to a group, from the network and from a VM.
fn hear(net: &Net, group: Mac, from: NicId) -> BTreeSet<NicId> {
    let switch = net.switch();
    let first = net.look(move |s| s.modules[switch].topology.members().map(|nic| nic.id.index).min());
    let member = first.flatten().expect("a member");
    let flows = [net.external_flow(from, 1), net.flow(from, 1)];
    let mut all = flows.map(|flow| {
        let frame = Flow { to: group, ..flow }.frame(1, 60);
        if flow.from == net.mac(from) {
            net.send(from, &[frame])
        } else {
            net.receive_external(member, &[frame])
        }
        net.settle();
        let reached = net.look(|s| {
            let last = s.frames.all.iter().last().expect("it was sent");
            let to = |end: &FrameOutcome| match end {
                FrameOutcome::Delivered { to, .. } if to.port != 1 => Some(*to),
                _ => None,
            };
            last.outcomes.iter().filter_map(to).collect::<BTreeSet<_>>()
        });
        let mut reached = reached.expect("a switch");
        reached.remove(&from);
        reached
    });
    assert_eq!(all[0], all[1], "from the network, and from a VM");
    std::mem::take(&mut all[0])
}

fn plan(seed: u64, prunes: bool) -> Scenario {
    let plan = Scenario::new(seed).members(&[10, 10]).vms(3);
    if prunes { plan.setting("PruneMulticast", Value::Dword(1)) } else { plan }
}

#[test]
fn by_default_every_vm_gets_every_group_and_with_the_setting_those_that_it_has_named() {
    let net = plan(1, false).enumeration(Enumeration::Requests).start();
    net.add_vm(4);
    let [from, a, b] = [net.vm(0), net.vm(1), net.vm(4)];
    net.set_groups(a, &[BEFORE]);
    net.join(b, AFTER);
    let everyone = BTreeSet::from([a, b, net.vm(2)]);
    for _ in 0..2 {
        for group in [BEFORE, AFTER, OTHER] {
            assert_eq!(hear(&net, group, from), everyone);
        }
        net.look(|s| s.style.prunes = Some(true));
        net.set("PruneMulticast", Value::Dword(1));
        net.advance(1_000);
        assert_eq!(hear(&net, BEFORE, from), BTreeSet::from([a, net.vm(2)]));
        assert_eq!(hear(&net, AFTER, from), BTreeSet::from([b, net.vm(2)]));
        assert_eq!(hear(&net, OTHER, from), BTreeSet::from([net.vm(2)]));
        net.look(|s| s.style.prunes = Some(false));
        net.set("PruneMulticast", Value::Dword(0));
        net.advance(1_000);
    }
    net.finish().assert_clean();
}

#[test]
fn a_vm_that_comes_from_another_host_gets_the_groups_that_it_joined_there() {
    for seed in 0..12 {
        let net = saved::hosts_plan(seed).setting("PruneMulticast", Value::Dword(1)).start();
        let there = net.on(1);
        let (nic, becomes) = (net.vm(1), there.vm(40));
        net.join(nic, BEFORE);
        Migration { mac: net.mac(nic), ..Migration::new(&net, &there, nic, becomes) }
            .run(|| ())
            .expect("it moves");
        there.join(becomes, AFTER);
        for group in [BEFORE, AFTER, OTHER] {
            assert!(hear(&there, group, there.vm(0)).contains(&becomes), "{group:02x?}");
        }
        // A whole list is one, wherever the VM was before.
        there.set_groups(becomes, &[AFTER]);
        assert!(hear(&there, AFTER, there.vm(0)).contains(&becomes));
        assert!(!hear(&there, OTHER, there.vm(0)).contains(&becomes));
        net.finish().assert_clean();
    }
}

#[test]
fn the_groups_of_a_vm_that_is_restored_are_unknown_whatever_its_creation_says_and_whoevers_data_it_is() {
    for seed in 0..8 {
        let net = plan(seed, true).enumeration(Enumeration::Requests).start();
        let from = net.vm(0);
        for own in [false, true] {
            net.add_vm(5);
            let nic = net.vm(5);
            net.join(nic, AFTER);
            assert!(!hear(&net, BEFORE, from).contains(&nic), "it begins, and has named another");
            let state = saved::a_state(seed, NicId::new(77, 0));
            let mut blobs = saved::blobs_of(&state, &[], 4_000);
            if !own {
                blobs = vec![vswitch::switch::control::save::Blob::made([7; 16], &[1, 2, 3])];
            }
            net.restore_nic(nic, &blobs);
            assert!(hear(&net, BEFORE, from).contains(&nic), "restored, own data {own}");
            net.join(nic, OTHER);
            assert!(hear(&net, BEFORE, from).contains(&nic));
            net.remove(nic);
        }
        net.finish().assert_clean();
    }
}
