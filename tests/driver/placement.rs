//! Where offloads are placed: a function and its filter on one member whatever fails between the requests, queues with all
//! cables out, and as many as are offered.

use super::offload::{FOLLOW_FLOWS, assert_agreed};
use std::collections::BTreeSet;
use vswitch::adapter::capabilities::Capabilities;
use vswitch::adapter::physical_switch::Aggregation;
use vswitch::machine::registry::Value;
use vswitch::scenario::suite::SILENCE;
use vswitch::scenario::suite::offload::Draw;
use vswitch::scenario::{Net, Scenario};
use vswitch::switch::ports::NicId;

/// The adapters that hold resources of a partition.
fn adapters_of(net: &Net, nic: NicId) -> BTreeSet<u16> {
    net.members_of(nic).into_iter().map(|(member, _)| member).collect()
}

/// In the order of moving-a-receive-filter-to-a-virtual-port and in others, with a member that has no functions, with a
/// failure between any two of the requests; adapters know what they hold by partition, or by number alone.
#[test]
fn a_virtual_function_gets_its_filter_or_the_machine_keeps_the_synthetic_path() {
    let (mut got, mut refused) = (0, 0);
    for seed in 0..60 {
        let placement = (seed % 2) as u32;
        let net = Scenario::new(seed)
            .members(&[10, 10, 10])
            .vms(6)
            .aggregation(Aggregation::SwitchIndependent)
            .setting("OffloadPlacement", Value::Dword(placement))
            .setting("LinkUpDelayMs", Value::Dword(0))
            .abilities(move |index| Capabilities {
                functions: if seed % 3 == 0 && index == 1 { 0 } else { 8 },
                ..Capabilities::default()
            })
            .style(|style| style.by_number = seed % 4 < 2)
            .start();
        net.advance(1_000);
        let mut draw = Draw::new(seed);
        for n in 0..6 {
            let (nic, mac) = (net.vm(n), net.mac(net.vm(n)));
            let down = 1 + draw.below(3) as u16;
            let when = draw.below(5);
            let fails = |step| {
                if step == when {
                    net.fail(down);
                }
            };
            let filter = net.offload(nic, |p| p.set_filter(0, mac)).flatten().expect("room for a filter");
            fails(1);
            let function = net.offload(nic, |p| p.allocate_function(mac)).flatten();
            fails(2);
            let vport =
                function.and_then(|function| net.offload(nic, move |p| p.create_vport(function)).flatten());
            fails(3);
            match vport {
                Some(vport) => {
                    let moved = net.offload(nic, move |p| p.attach_filter(filter, vport));
                    assert_eq!(
                        moved,
                        Some(true),
                        "seed {seed}, machine {n}: the filter is on another member"
                    );
                    assert_eq!(adapters_of(&net, nic).len(), 1);
                    got += 1;
                }
                None => refused += 1,
            }
            net.restore(down);
            net.advance(400_000);
        }
        assert_agreed(&net, "with functions");
        (0..6).for_each(|n| net.release(net.vm(n)));
        assert_agreed(&net, "after everything was given back");
        net.finish().assert_clean();
    }
    assert!(got > 200 && refused > 10, "{got} functions, {refused} refused");
}

#[test]
fn queues_are_made_at_boot_with_all_cables_out_and_serve_once_they_are_in() {
    for seed in 0..12 {
        let placement = (seed % 3) as u32;
        let net = Scenario::new(seed)
            .members(&[10, 10])
            .vms(4)
            .aggregation(Aggregation::SwitchIndependent)
            .setting("OffloadPlacement", Value::Dword(placement))
            .setting("LinkUpDelayMs", Value::Dword(0))
            .start();
        net.advance(1_000);
        net.fail(1);
        net.fail(2);
        for n in 0..4 {
            net.start_queue(net.vm(n)).expect("the adapters are there");
            let mac = net.mac(net.vm(n));
            let function = net.offload(net.vm(n), |p| p.allocate_function(mac)).flatten();
            assert_eq!(function, None, "a function without a link cuts its machine off");
        }
        assert_agreed(&net, "without a link");
        net.restore(1);
        net.restore(2);
        net.advance(400_000);
        let before = net.queue_counts();
        for n in 0..4 {
            let home = *adapters_of(&net, net.vm(n)).iter().next().unwrap();
            net.receive_external(home, &[net.external_flow(net.vm(n), 2).frame(0, 60)]);
        }
        let after = net.queue_counts();
        assert_eq!((after.0 - before.0, after.1 - before.1), (4, 0));
        net.finish().assert_clean();
    }
}

#[test]
fn thirty_two_machines_get_the_thirty_two_queues_that_are_offered() {
    for seed in 0..4 {
        let net = Scenario::new(seed)
            .members(&[10, 10, 10, 10])
            .vms(32)
            .aggregation(Aggregation::SwitchIndependent)
            .setting("OffloadPlacement", Value::Dword(FOLLOW_FLOWS))
            .abilities(|_| Capabilities { queues: 8, filters: 64, ..Capabilities::default() })
            .start();
        net.advance(SILENCE);
        assert_eq!(net.offered_queues().0, Some(32));
        let queues = (0..32).filter_map(|n| net.start_queue(net.vm(n))).count();
        assert_eq!(queues, 32);
        assert_agreed(&net, "with all");
        net.finish().assert_clean();
    }
}
