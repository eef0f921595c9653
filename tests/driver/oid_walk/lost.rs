//! Requests to clear, free or complete what was lost with its adapter: they end with success, and no adapter that is left
//! sees them. By number it would be another VM's resource there.

use std::collections::BTreeSet;
use vswitch::adapter::offloads::Resource;
use vswitch::adapter::wire::oid;
use vswitch::machine::registry::Value;
use vswitch::scenario::{Net, Scenario};
use vswitch::switch::control::below::Plan;
use vswitch::switch::control::envelope::Inner;
use vswitch::switch::control::offload as bytes;
use vswitch::switch::ports::NicId;

/// Adapters that go by numbers alone, as hardware does.
fn net(seed: u64, members: usize, placement: u32) -> Net {
    let net = Scenario::new(seed)
        .members(&[10; 3][..members])
        .vms(3)
        .setting("OffloadPlacement", Value::Dword(placement))
        .setting("LinkUpDelayMs", Value::Dword(0))
        .style(|style| style.by_number = true)
        .start();
    net.advance(1_000);
    net
}

fn held(net: &Net, nic: NicId) -> BTreeSet<(u16, Resource)> {
    net.members_of(nic).into_iter().collect()
}

/// The number of requests that reached the adapters, by OID.
fn arrived(net: &Net, number: u32) -> usize {
    net.look(move |s| s.control.nics.arrived.iter().filter(|a| a.inner.oid == number).count()).unwrap_or(0)
}

/// `lost` has a resource on an adapter that is taken out, and `kept` one with the same number on one that is left.
fn lose<R: Send>(net: &Net, lost: NicId, kept: NicId, make: impl Fn(&Net, NicId) -> Option<R>) -> (R, R) {
    let first = make(net, lost).expect("there is room");
    let home = net.members_of(lost)[0].0;
    net.unplug(home);
    net.advance(1_000);
    let second = make(net, kept).expect("there is room on another");
    assert!(net.members_of(kept).iter().all(|(member, _)| *member != home));
    (first, second)
}

#[test]
fn what_was_lost_is_given_up_without_a_word_to_the_adapters_that_are_left() {
    for seed in 0..6 {
        for members in [2, 3] {
            for placement in [0, 1] {
                let net = net(seed, members, placement);
                let [a, b] = [net.vm(0), net.vm(1)];
                let (first, second) = lose(&net, a, b, |net, nic| net.start_queue(nic));
                assert_eq!(first, second, "the other adapter gives out the same number");
                let before = held(&net, b);
                let numbers = [oid::CLEAR_FILTER, oid::FREE_QUEUE];
                let seen = numbers.map(|number| arrived(&net, number));
                net.release(a);
                assert_eq!(numbers.map(|number| arrived(&net, number)), seen, "{members} members");
                assert_eq!((net.holds(a).is_empty(), held(&net, b)), (true, before));
                net.release(b);
                net.finish().assert_clean();
            }
        }
    }
}

/// The extension is attached anew, and hears from the adapters what they hold.
fn restart(net: &Net) {
    net.detach();
    net.attach();
    net.advance(100_000);
}

#[test]
fn after_a_restart_the_only_adapter_left_sees_no_request_about_what_is_anothers_there() {
    for seed in 0..6 {
        for placement in [0, 1] {
            for function in [false, true] {
                let net = net(seed, 2, placement);
                let [a, b] = [net.vm(0), net.vm(1)];
                let make = |net: &Net, nic| {
                    if function { net.start_function(nic) } else { net.start_queue(nic) }
                };
                let (first, second) = lose(&net, a, b, make);
                assert_eq!(first, second, "the other adapter gives out the same number");
                restart(&net);
                let before = held(&net, b);
                let frees = [oid::CLEAR_FILTER, oid::FREE_QUEUE, oid::MOVE_FILTER];
                let more = [oid::FREE_VF, oid::DELETE_VPORT, oid::ALLOCATION_COMPLETE];
                let seen = || (frees.map(|n| arrived(&net, n)), more.map(|n| arrived(&net, n)));
                let count = seen();
                if !function {
                    let failed = net.offload(a, |p| p.complete(&[first])).expect("it listens");
                    assert_ne!(failed, [0], "it is on no adapter");
                }
                net.release(a);
                assert_eq!(seen(), count, "seed {seed}, placement {placement}, function {function}");
                assert_eq!((net.holds(a).is_empty(), held(&net, b)), (true, before));
                net.release(b);
                assert_eq!(net.members_of(b), []);
                net.finish().assert_clean();
            }
        }
    }
}

/// The handles of before the restart are on the adapter that is left, but for one that another VM has by now.
#[test]
fn after_a_restart_a_list_of_associations_goes_to_the_only_adapter_without_anothers() {
    for seed in 0..12 {
        let net = net(seed, 2, 1);
        let [a, b, other] = [net.vm(0), net.vm(1), net.vm(2)];
        net.fail(1);
        let kept = net.offload(a, |p| p.add_association_ex(1)).flatten().expect("there is room");
        net.restore(1);
        net.fail(2);
        net.offload(other, |p| p.add_association_ex(1)).flatten().expect("there is room");
        let lost = net.offload(a, |p| p.add_association_ex(2)).flatten().expect("there is room");
        assert_ne!(kept, lost);
        net.restore(2);
        net.unplug(1);
        restart(&net);
        let theirs = net.offload(b, |p| p.add_association_ex(3)).flatten().expect("there is room");
        assert_eq!(theirs, lost, "the other adapter gives out the same handle");
        if seed >= 6 {
            // The VM has left: no request may name its adapter any more.
            net.disconnect(a);
        }
        net.offload(a, move |p| p.delete_associations(&[kept, lost]));
        assert_eq!(net.members_of(a), [], "what is there is deleted");
        assert_eq!(held(&net, b), BTreeSet::from([(2, Resource::Association(theirs))]));
        net.release(b);
        net.finish().assert_clean();
    }
}

#[test]
fn a_function_that_was_lost_is_given_up_without_a_word_to_the_adapters_that_are_left() {
    for seed in 0..6 {
        for members in [2, 3] {
            let net = net(seed, members, 0);
            let [a, b] = [net.vm(0), net.vm(1)];
            lose(&net, a, b, |net, nic| net.start_function(nic));
            let before = held(&net, b);
            net.release(a);
            assert_eq!((net.holds(a).is_empty(), held(&net, b)), (true, before), "{members} members");
            net.release(b);
            net.finish().assert_clean();
        }
    }
}

#[test]
fn of_a_list_with_associations_that_were_lost_the_others_go_to_their_member() {
    for seed in 0..6 {
        for members in [2, 3] {
            let net = net(seed, members, 1);
            let [a, b] = [net.vm(0), net.vm(1)];
            let add = |net: &Net, nic: NicId| {
                let handles = net.offload(nic, |p| p.add_associations(&[1, 2]))?;
                (handles.len() == 2).then_some(handles)
            };
            let (mine, theirs) = lose(&net, a, b, add);
            assert_eq!(mine, theirs, "the other adapter gives out the same handles");
            let later = net.offload(a, |p| p.add_association_ex(3)).flatten().expect("there is room");
            assert!(!mine.contains(&later));
            let before = held(&net, b);
            // An update of one that was lost changes nobody's.
            let handle = mine[0];
            assert_eq!(net.offload(a, move |p| p.update_association(handle, 77)), Some(true));
            let all = [mine, vec![later]].concat();
            net.offload(a, move |p| p.delete_associations(&all));
            assert_eq!((held(&net, a), held(&net, b)), (BTreeSet::new(), before), "{members} members");
            let untouched = net.look(|s| {
                let mut adapters = s.modules[0].external.adapters.values();
                adapters.all(|a| a.offloads.associations.all.values().all(|sa| sa.updates == 0))
            });
            assert_eq!(untouched, Some(true));
            net.release(b);
            net.finish().assert_clean();
        }
    }
}

#[test]
fn a_queue_that_was_lost_is_not_completed_on_another_adapter() {
    for seed in 0..6 {
        for members in [2, 3] {
            let net = net(seed, members, 1);
            let [a, b] = [net.vm(0), net.vm(1)];
            let make = |net: &Net, nic: NicId| net.offload(nic, |p| p.allocate_queue()).flatten();
            let (first, second) = lose(&net, a, b, make);
            assert_eq!(first, second);
            let seen = arrived(&net, oid::ALLOCATION_COMPLETE);
            let inner = Inner::method(oid::ALLOCATION_COMPLETE, bytes::complete_array(&[first], 0));
            let answer = net.ask_nic(a, net.member(0), &inner, Plan::default()).expect("a switch");
            assert_eq!((answer.status, arrived(&net, oid::ALLOCATION_COMPLETE)), (0, seen));
            let status = net.offload(a, move |p| p.complete(&[first])).expect("a switch");
            assert!(status.iter().all(|status| *status != 0), "{status:x?}");
            net.release(a);
            net.release(b);
            net.finish().assert_clean();
        }
    }
}
