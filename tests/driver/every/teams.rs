//! Guests that fail over between adapters of their own (AllowTeaming): an address that another adapter of the VM uses may be
//! sent from, and is reached at the adapter that sent from it last.

use super::driver::{dropped, next_frame, reached};
use std::collections::BTreeSet;
use vswitch::adapter::physical_switch::Aggregation;
use vswitch::machine::clock::SECOND;
use vswitch::scenario::guest::{BROADCAST, Flow};
use vswitch::scenario::migration::Migration;
use vswitch::scenario::{Enumeration, Net, Scenario};
use vswitch::switch::ports::policy::{Property, Security};
use vswitch::switch::ports::{Mac, NicId};

const SPOOFED: &str = "The source address is not the sending adapter's.";

pub fn teaming() -> Property {
    Property::Security(Security { teaming: true, ..Security::default() })
}

/// VMs 0 and 1 are adapters of one guest, 2 is of another; all three may be teamed. 3 is a plain VM.
fn plan(seed: u64) -> Scenario {
    let modes = [Aggregation::Static, Aggregation::SwitchIndependent];
    let orders = [Enumeration::Arrays, Enumeration::Requests, Enumeration::Mixed];
    let plan = Scenario::new(seed)
        .members(&[10, 10])
        .vms(4)
        .internal(2)
        .one_vm(&[0, 1])
        .aggregation(modes[seed as usize % 2])
        .enumeration(orders[seed as usize / 2 % 3]);
    let plan = (0..3).fold(plan, |plan, vm| plan.property(vm, teaming()));
    (0..2).fold(plan, |plan, n| plan.internal_property(n, teaming()))
}

fn each(steps: impl Fn(&Net)) {
    for seed in 0..6 {
        let net = plan(seed).start();
        steps(&net);
        net.finish().assert_clean();
    }
}

/// Sends a frame from an address and gives the reason with which it was dropped, if it was.
pub fn send(net: &Net, nic: NicId, from: Mac) -> Option<String> {
    let at = next_frame(net);
    net.send(nic, &[Flow { from, ..net.flow(nic, 1) }.frame(1, 60)]);
    net.settle();
    dropped(net, at)
}

/// The vNICs that frames for an address reach, which must not depend on whether they come from a VM or from outside.
pub fn at(net: &Net, from: NicId, to: Mac) -> BTreeSet<NicId> {
    let inside = next_frame(net);
    net.send(from, &[Flow { to, ..net.flow(from, 2) }.frame(2, 60)]);
    net.settle();
    let outside = next_frame(net);
    net.receive_external(1, &[Flow { to, ..net.external_flow(from, 2) }.frame(3, 60)]);
    net.settle();
    let [inside, outside] = [inside, outside].map(|frame| reached(net, frame).0);
    assert_eq!(inside, outside, "from inside and from outside");
    inside
}

#[test]
fn a_guest_moves_its_address_between_two_connected_adapters_and_back() {
    each(|net| {
        let [a, b, plain] = [0, 1, 3].map(|vm| net.vm(vm));
        for _ in 0..2 {
            assert_eq!(send(net, b, net.mac(a)), None);
            assert_eq!(at(net, plain, net.mac(a)), [b].into());
            assert_eq!(at(net, plain, net.mac(b)), [b].into());
            assert_eq!(send(net, a, net.mac(a)), None);
            assert_eq!(at(net, plain, net.mac(a)), [a].into());
        }
    });
}

#[test]
fn a_guest_fails_over_from_an_adapter_that_is_disconnected() {
    each(|net| {
        let [a, b, plain] = [0, 1, 3].map(|vm| net.vm(vm));
        net.disconnect(a);
        assert_eq!(at(net, plain, net.mac(a)), [].into());
        assert_eq!(send(net, b, net.mac(a)), None);
        assert_eq!(at(net, plain, net.mac(a)), [b].into());
        net.connect_guest_nic(a);
        assert_eq!(at(net, plain, net.mac(a)), [b].into(), "until its owner sends");
        assert_eq!(send(net, a, net.mac(a)), None);
        assert_eq!(at(net, plain, net.mac(a)), [a].into());
    });
}

#[test]
fn a_guest_fails_over_from_an_adapter_that_was_disconnected_before_the_module_was_attached() {
    each(|net| {
        let [a, b, plain] = [0, 1, 3].map(|vm| net.vm(vm));
        net.disconnect(a);
        net.detach();
        net.attach();
        net.settle();
        assert_eq!(send(net, b, net.mac(a)), None);
        assert_eq!(at(net, plain, net.mac(a)), [b].into());
    });
}

#[test]
fn what_is_taken_back_on_either_port_ends_the_failover() {
    let revocations: [fn(&Net); 4] = [
        |net| _ = net.remove_property(net.vm(1).port, 1),
        |net| _ = net.remove_property(net.vm(0).port, 1),
        |net| net.remove_vm(0),
        |net| _ = net.update_property(net.vm(0).port, 1, Property::Security(Security::default())),
    ];
    for revoke in revocations {
        each(|net| {
            let [a, b, plain] = [0, 1, 3].map(|vm| net.vm(vm));
            assert_eq!(send(net, b, net.mac(a)), None);
            revoke(net);
            assert_eq!(send(net, b, net.mac(a)).as_deref(), Some(SPOOFED));
            assert!(!at(net, plain, net.mac(a)).contains(&b));
            assert_eq!(at(net, plain, net.mac(b)), [b].into());
        });
    }
}

#[test]
fn addresses_of_other_vms_of_the_host_and_of_nobody_are_refused() {
    each(|net| {
        let [a, b, other, plain] = [0, 1, 2, 3].map(|vm| net.vm(vm));
        let hosts = [net.internal(0), net.internal(1)];
        for (from, address) in [
            (a, net.mac(other)),
            (other, net.mac(a)),
            (a, net.mac(plain)),
            (plain, net.mac(a)),
            (a, net.mac(hosts[0])),
            (hosts[0], net.mac(a)),
            (hosts[0], net.mac(hosts[1])),
            (b, [0x02, 0xBB, 0, 0, 0, 1]),
        ] {
            assert_eq!(send(net, from, address).as_deref(), Some(SPOOFED), "{from} {address:?}");
        }
    });
}

#[test]
fn a_pause_leaves_an_address_where_it_was_and_another_module_begins_anew() {
    each(|net| {
        let [a, b, plain] = [0, 1, 3].map(|vm| net.vm(vm));
        assert_eq!(send(net, b, net.mac(a)), None);
        net.pause();
        net.restart();
        assert_eq!(at(net, plain, net.mac(a)), [b].into());
        net.detach();
        net.attach();
        net.settle();
        assert_eq!(at(net, plain, net.mac(a)), [a].into());
        assert_eq!(send(net, b, net.mac(a)), None);
        assert_eq!(at(net, plain, net.mac(a)), [b].into());
    });
}

#[test]
fn a_guest_that_migrates_takes_its_team_along() {
    for seed in 0..4 {
        let from = plan(seed).one_vm(&[0, 1, 20, 21]).host(1, &[(1, 10), (2, 10)], 4).start();
        let to = from.on(1);
        to.remove_vm(0);
        to.remove_vm(1);
        let ([a, b, plain], [c, d]) = ([0, 1, 3].map(|vm| from.vm(vm)), [20, 21].map(|vm| from.vm(vm)));
        let (of_a, of_b) = (from.mac(a), from.mac(b));
        assert_eq!(send(&from, b, of_a), None);
        for (nic, becomes) in [(a, c), (b, d)] {
            let properties = vec![teaming()];
            Migration { properties, ..Migration::new(&from, &to, nic, becomes) }
                .run(|| ())
                .expect("it moves");
        }
        assert_eq!(at(&from, plain, of_a), [].into());
        assert_eq!(at(&to, plain, of_a), [c].into());
        assert_eq!(send(&to, d, of_a), None);
        assert_eq!(at(&to, plain, of_a), [d].into());
        assert_eq!(at(&to, plain, of_b), [d].into());
        from.finish().assert_clean();
    }
}

/// A guest with an adapter on each of two switches of the host: VM 0 on the first, VM 1 on the second. Both have the others.
fn two_switches(steps: impl Fn(&Net, &Net)) {
    for seed in 0..6 {
        let first = plan(seed).switches(2).start();
        let second = first.on(1);
        first.remove_vm(1);
        second.remove_vm(0);
        first.settle();
        second.settle();
        steps(&first, &second);
        first.finish().assert_clean();
    }
}

#[test]
fn a_guest_fails_over_to_its_adapter_on_another_switch() {
    two_switches(|first, second| {
        let [a, b, plain] = [0, 1, 3].map(|vm| first.vm(vm));
        assert_eq!(send(second, b, second.mac(a)), None);
        assert_eq!(at(second, plain, second.mac(a)), [b].into());
        first.disconnect(a);
        assert_eq!(send(second, b, second.mac(a)), None);
        assert_eq!(at(second, plain, second.mac(a)), [b].into());
        // Nobody else may.
        assert_eq!(send(second, second.vm(2), second.mac(a)).as_deref(), Some(SPOOFED));
        assert_eq!(send(second, b, [0x02, 0xBB, 0, 0, 0, 1]).as_deref(), Some(SPOOFED));
    });
}

#[test]
fn an_address_of_another_switch_is_outside_again_when_its_owner_has_sent() {
    two_switches(|first, second| {
        let [a, b, plain] = [0, 1, 3].map(|vm| first.vm(vm));
        assert_eq!(send(second, b, second.mac(a)), None);
        assert_eq!(at(second, plain, second.mac(a)), [b].into());
        // What the owner sends on its switch comes in here from outside.
        second.advance(20 * SECOND);
        let heard = Flow { from: second.mac(a), to: BROADCAST, ..second.external_flow(plain, 4) };
        second.receive_external(1, &[heard.frame(4, 60)]);
        second.settle();
        assert_eq!(at(second, plain, second.mac(a)), [].into());
        assert_eq!(send(second, b, second.mac(a)), None);
        assert_eq!(at(second, plain, second.mac(a)), [b].into());
    });
}

#[test]
fn what_ends_on_one_switch_ends_a_failover_on_another() {
    let ends: [fn(&Net); 3] = [
        |first| _ = first.remove_property(first.vm(0).port, 1),
        |first| first.remove_vm(0),
        |first| first.detach(),
    ];
    for end in ends {
        two_switches(|first, second| {
            let [a, b, plain] = [0, 1, 3].map(|vm| first.vm(vm));
            assert_eq!(send(second, b, second.mac(a)), None);
            end(first);
            assert_eq!(send(second, b, second.mac(a)).as_deref(), Some(SPOOFED));
            assert_eq!(at(second, plain, second.mac(a)), [].into());
            assert_eq!(at(second, plain, second.mac(b)), [b].into());
        });
    }
}

#[test]
fn a_switch_that_pauses_or_is_attached_again_still_lends_its_addresses() {
    two_switches(|first, second| {
        let [a, b] = [0, 1].map(|vm| first.vm(vm));
        first.pause();
        assert_eq!(send(second, b, second.mac(a)), None);
        first.restart();
        assert_eq!(send(second, b, second.mac(a)), None);
        first.detach();
        assert_eq!(send(second, b, second.mac(a)).as_deref(), Some(SPOOFED));
        first.attach();
        first.settle();
        assert_eq!(send(second, b, second.mac(a)), None);
        second.detach();
        second.attach();
        second.settle();
        assert_eq!(send(second, b, second.mac(a)), None);
    });
}
