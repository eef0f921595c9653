//! Offload ids when each member uses its own number for the same resource: the switch sees only the id that it was
//! given, and requests with that id reach the right resource. The verifier checks that a request is completed with the
//! ids with which it was issued (OFFLOAD-15).

use lbfoext::ndis::raw::SUCCESS;
use std::collections::BTreeSet;
use vswitch::adapter::capabilities::Capabilities;
use vswitch::adapter::offloads::Resource;
use vswitch::adapter::physical_switch::Aggregation;
use vswitch::machine::registry::Value;
use vswitch::scenario::{Net, Scenario};

const PLACEMENTS: [u32; 3] = [0, 1, 2];
const MEMBERS: u16 = 4;

/// A team whose members use different numbers, because each was down while some queues, filters and functions were
/// allocated.
fn unlike_members(seed: u64, placement: u32) -> Net {
    let net = Scenario::new(seed)
        .members(&[10; MEMBERS as usize])
        .vms(18)
        .aggregation([Aggregation::Static, Aggregation::SwitchIndependent][seed as usize % 2])
        .setting("OffloadPlacement", Value::Dword(placement))
        .setting("LinkUpDelayMs", Value::Dword(0))
        .abilities(|_| Capabilities { queues: 64, filters: 128, ..Capabilities::default() })
        .start();
    net.advance(1_000);
    for down in 1..=MEMBERS {
        net.fail(down);
        // Each member misses one allocation more than the next one.
        let others = |n| net.vm(6 + MEMBERS * (down - 1) + n);
        for n in 0..MEMBERS - down {
            net.start_queue(others(n)).expect("the others have room");
        }
        net.restore(down);
        net.advance(400_000);
        // Some resources stay allocated, so that their numbers are not reused.
        if down % 2 == 0 {
            (0..MEMBERS - down).for_each(|n| net.release(others(n)));
        }
    }
    net
}

/// The numbers of a partition's queues on the members.
fn below(net: &Net, n: u16) -> BTreeSet<u32> {
    let held = net.members_of(net.vm(n)).into_iter();
    held.filter_map(|(_, r)| if let Resource::Queue(id) = r { Some(id) } else { None }).collect()
}

fn assert_agreed(net: &Net, when: &str) {
    assert_eq!(net.disagreements(), Vec::<String>::new(), "{when}");
    assert_eq!(net.lost_ways(), Vec::<String>::new(), "{when}");
}

/// Queues with filters are allocated, moved, queried and freed, one at a time and several in a batch.
fn queues(net: &Net, when: &str) -> usize {
    let mut unlike = 0;
    for n in 0..4 {
        let (nic, mac) = (net.vm(n), net.mac(net.vm(n)));
        net.send(nic, &[net.flow(nic, n).frame(0, 60)]);
        net.settle();
        let made = net.offload(nic, |partition| {
            let first = partition.allocate_queue().expect("there is room");
            let second = partition.allocate_queue().expect("there is room");
            assert_ne!(first, second, "{when}: one number for two queues of a partition");
            let filters: Vec<u32> = [first, second, first]
                .into_iter()
                .filter_map(|queue| partition.set_filter(queue, mac))
                .collect();
            assert_eq!(filters.len(), 3, "{when}");
            assert_eq!(filters.iter().collect::<BTreeSet<_>>().len(), 3, "{when}: {filters:?}");
            let statuses = partition.complete(&[second, first]);
            assert_eq!(statuses, [SUCCESS; 2], "{when}");
            for (queue, filter) in [first, second, first].into_iter().zip(&filters) {
                assert_eq!(partition.touch_filter(queue, *filter), SUCCESS, "{when}");
            }
            (first, second, filters)
        });
        let (first, second, filters) = made.expect("it runs");
        // Each member in turn is up alone, with its own numbers.
        for member in 1..=MEMBERS {
            net.fail(member);
            let filter = net.offload(nic, |partition| partition.set_filter(first, mac)).flatten();
            net.restore(member);
            net.advance(400_000);
            if let Some(filter) = filter {
                let touched = net.offload(nic, |partition| partition.touch_filter(first, filter));
                assert_eq!(touched, Some(SUCCESS), "{when}: filter {filter}");
                net.offload(nic, |partition| partition.clear_filter(first, filter));
            }
        }
        unlike += usize::from(below(net, n).len() > 2);
        assert_agreed(net, when);
        net.offload(nic, |partition| {
            partition.clear_filter(first, filters[0]);
            partition.clear_filter(first, filters[2]);
            partition.free_queue(first);
            assert_eq!(partition.touch_filter(second, filters[1]), SUCCESS, "{when}");
        });
        assert_agreed(net, when);
    }
    unlike
}

#[test]
fn the_switch_is_shown_and_understood_by_its_own_identifiers_for_every_placement() {
    for placement in PLACEMENTS {
        let mut unlike = 0;
        for seed in 0..6 {
            let net = unlike_members(seed, placement);
            let when = format!("placement {placement}, seed {seed}");
            unlike += queues(&net, &when);
            for n in 4..6 {
                let nic = net.vm(n);
                net.start_function(nic);
                let handles = net.offload(nic, |partition| {
                    let mut handles = partition.add_associations(&[1, 2, 3]);
                    handles.extend(partition.add_association_ex(4));
                    handles.iter().for_each(|handle| assert!(partition.update_association(*handle, 9)));
                    handles
                });
                assert_eq!(handles.map_or(0, |handles| handles.len()), 4, "{when}");
                assert_agreed(&net, &when);
                // By then the traffic may be on another member.
                net.fail(1 + n % MEMBERS);
                net.offload(nic, |partition| {
                    let all = partition.holds().associations;
                    partition.delete_associations(&all[..2]);
                });
                net.restore(1 + n % MEMBERS);
                net.advance(400_000);
                assert_agreed(&net, &when);
            }
            (0..18).for_each(|n| net.release(net.vm(n)));
            assert_agreed(&net, &when);
            let left: Vec<_> = (0..18).flat_map(|n| net.members_of(net.vm(n))).collect();
            assert!(left.is_empty(), "{when}: {left:?}");
            net.finish().assert_clean();
        }
        if placement == 2 {
            assert!(unlike > 6, "the members' numbers hardly differ: {unlike}");
        }
    }
}
