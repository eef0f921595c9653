//! Requests from 0/0: the switch does not say whose resources they are about. The driver finds the partition by the id, if
//! one alone has it, and the request reaches the member that has the resource.

use vswitch::machine::registry::Value;
use vswitch::scenario::{Net, Scenario};
use vswitch::switch::ports::NicId;

fn net(seed: u64, placement: u32) -> Net {
    net_of(seed, placement, 3)
}

fn net_of(seed: u64, placement: u32, members: usize) -> Net {
    let net = Scenario::new(seed)
        .members(&[10; 3][..members])
        .vms(3)
        .setting("OffloadPlacement", Value::Dword(placement))
        .setting("LinkUpDelayMs", Value::Dword(0))
        .start();
    net.advance(1_000);
    net
}

/// From now on the switch makes every request that it can from 0/0.
fn from_nobody(net: &Net, percent: u64) {
    net.look(|state| state.control.wants.from_nobody = percent);
}

/// How many there were.
fn made(net: &Net) -> u64 {
    net.look(|state| state.control.wants.made_from_nobody).unwrap_or(0)
}

fn assert_gone(net: &Net, nic: NicId, what: &str) {
    assert!(net.members_of(nic).is_empty(), "{what}: {:?} is left", net.members_of(nic));
    let wrong = net.disagreements();
    assert!(wrong.is_empty(), "{what}: {wrong:?}");
}

#[test]
fn what_is_named_from_nobody_is_used_and_freed_on_the_member_that_has_it() {
    for seed in 0..6 {
        for placement in 0..3 {
            let net = net(seed, placement);
            let name = format!("seed {seed}, placement {placement}");
            let nic = net.vm(0);
            assert!(net.start_queue(nic).is_some(), "{name}");
            from_nobody(&net, 100);
            let before = made(&net);
            net.offload(nic, |p| p.use_all());
            let used = made(&net);
            assert!(used > before, "{name}: nothing was used from 0/0");
            net.release(nic);
            // The filter and the queue.
            assert!(made(&net) >= used + 2, "{name}: nothing was freed from 0/0");
            assert_gone(&net, nic, &name);
            net.finish().assert_clean();
        }
    }
}

#[test]
fn a_function_and_its_port_are_freed_from_nobody_where_they_are() {
    for seed in 0..6 {
        for placement in [0, 1] {
            let net = net(seed, placement);
            let nic = net.vm(1);
            if net.start_function(nic).is_none() {
                continue;
            }
            from_nobody(&net, 100);
            net.offload(nic, |p| p.use_all());
            let before = made(&net);
            net.release(nic);
            assert!(made(&net) >= before + 2, "a port and a function");
            assert_gone(&net, nic, &format!("seed {seed}, placement {placement}"));
            net.finish().assert_clean();
        }
    }
}

#[test]
fn a_list_of_associations_of_two_members_is_deleted_from_nobody() {
    for seed in 0..6 {
        let net = net_of(seed, 0, 2);
        let nic = net.vm(2);
        let first = net.offload(nic, |p| p.add_associations(&[1, 2])).expect("a switch");
        let home = net.members_of(nic)[0].0;
        net.fail(home);
        // Adapters give out equal handles; those of the other VM are in the way.
        net.offload(net.vm(0), |p| p.add_associations(&[3, 4]));
        net.offload(nic, |p| p.add_association_ex(5)).flatten().expect("a survivor takes it");
        net.offload(net.vm(0), |p| p.release());
        net.restore(home);
        net.advance(5_000);
        from_nobody(&net, 100);
        for handle in first {
            assert_eq!(net.offload(nic, move |p| p.update_association(handle, 9)), Some(true));
        }
        net.release(nic);
        assert!(made(&net) >= 3, "two updates and a list");
        assert_gone(&net, nic, &format!("seed {seed}"));
        net.finish().assert_clean();
    }
}

#[test]
fn an_id_that_two_partitions_have_is_not_taken_for_eithers() {
    let net = net(1, 0);
    let [a, b] = [net.vm(0), net.vm(1)];
    // Two queues with one id, on two members.
    let ids = [a, b].map(|nic| {
        let id = net.start_queue(nic).expect("there is room");
        net.fail(net.members_of(nic)[0].0);
        id
    });
    assert_eq!(ids[0], ids[1]);
    (1..=3).for_each(|member| net.restore(member));
    net.advance(5_000);
    from_nobody(&net, 100);
    let before = made(&net);
    [a, b].into_iter().for_each(|nic| net.release(nic));
    // Once the first is gone, the second is told by its id alone.
    assert!(made(&net) > before);
    assert_gone(&net, a, "the first");
    assert_gone(&net, b, "the second");
    net.finish().assert_clean();
}
