//! A guest whose adapters fail over to each other (AllowTeaming), on one switch and on two of the host.

use crate::adapter::physical_switch::Aggregation;
use crate::machine::clock::SECOND;
use crate::scenario::guest::{BROADCAST, Flow, host_mac, vm_mac};
use crate::scenario::suite::{Case, MS, everything_ends};
use crate::scenario::{Enumeration, Net, Scenario};
use crate::switch::ports::NicId;
use crate::switch::ports::policy::{Property, Security};

pub const CASES: [Case; 1] = [Case {
    name: "teams_of_guests",
    about: "a guest fails over between its adapters on two switches; properties, adapters and modules come and go",
    plan: guests_plan,
    steps: guests,
    check: everything_ends,
}];

fn teaming() -> Property {
    Property::Security(Security { teaming: true, ..Security::default() })
}

/// VMs 0, 1 and 2 are one guest, 3 is another; all may be teamed. 4 may use any address.
fn guests_plan(seed: u64) -> Scenario {
    let modes = [Aggregation::Static, Aggregation::SwitchIndependent];
    let orders = [Enumeration::Arrays, Enumeration::Requests, Enumeration::Mixed];
    let any = Property::Security(Security { spoofing: true, ..Security::default() });
    let plan = Scenario::new(seed)
        .members(&[10, 10])
        .switches(2)
        .vms(5)
        .one_vm(&[0, 1, 2])
        .aggregation(modes[seed as usize % 2])
        .enumeration(orders[seed as usize / 2 % 3]);
    (0..4).fold(plan, |plan, vm| plan.property(vm, teaming())).property(4, any)
}

/// From the address of every adapter of the guest, and from a stranger's; then to each of them.
fn everybody(net: &Net, round: u32) {
    for from in 0..5 {
        for of in 0..4 {
            let source = Flow { from: vm_mac(of), ..net.flow(net.vm(from), of) };
            net.send(net.vm(from), &[source.frame(round, 60)]);
        }
        to_all(net, net.vm(from), round);
    }
    let heard = Flow { from: vm_mac(1), to: BROADCAST, ..net.external_flow(net.vm(0), 1) };
    net.receive_external(1, &[heard.frame(round, 61)]);
    net.advance(MS);
}

fn to_all(net: &Net, from: NicId, round: u32) {
    for to in 0..4 {
        let flow = Flow { to: vm_mac(to), ..net.flow(from, to) };
        net.send(from, &[flow.frame(round, 62)]);
        net.receive_external(1, &[Flow { from: host_mac(3), ..flow }.frame(round, 63)]);
    }
}

fn guests(net: &Net) {
    let (first, second) = (net, &net.on(1));
    // The guest has two adapters on the first switch and another on the second.
    first.remove_vm(2);
    second.remove_vm(0);
    second.remove_vm(1);
    let both = |round| {
        everybody(first, round);
        everybody(second, round);
        first.settle();
        second.settle();
    };
    both(1);
    first.disconnect(first.vm(0));
    both(2);
    first.connect_guest_nic(first.vm(0));
    first.remove_property(first.vm(1).port, 1);
    both(3);
    first.add_property(first.vm(1).port, 1, teaming());
    first.remove_vm(0);
    both(4);
    first.add_vm(0);
    first.add_property(first.vm(0).port, 1, teaming());
    first.pause();
    everybody(second, 5);
    first.restart();
    both(6);
    first.detach();
    everybody(second, 7);
    first.attach();
    first.advance(SECOND);
    both(8);
    second.detach();
    everybody(first, 9);
    second.attach();
    second.advance(20 * SECOND);
    both(10);
}
