//! A split list is completed with success if and only if all its packets were, whichever fail, with which status,
//! where, and in which order they are completed.

use super::driver::{dropped, next_frame, reached};
use lbfoext::ndis::raw::{FAILURE, SUCCESS};
use std::collections::BTreeSet;
use vswitch::scenario::guest::Packet;
use vswitch::scenario::{Net, Scenario};

/// NDIS_STATUS_RESOURCES, _INVALID_LENGTH, _SEND_ABORTED and an unknown status.
const STATUSES: [i32; 4] = [-1_073_741_670, -1_073_676_268, -1_073_676_263, -1_073_700_000];

fn status(net: &Net, frame: usize) -> Option<i32> {
    net.look(|state| state.frames.all[frame].status).expect("the machine runs")
}

/// The packets of one list, each to another VM and the last one to the external network.
fn packets(net: &Net, count: u16) -> Vec<Vec<u8>> {
    let from = net.vm(0);
    let to = |n| if n == count - 1 { net.flow(from, n) } else { net.flow_between(from, net.vm(1 + n), n) };
    (0..count).map(|n| to(n).frame(u32::from(n), 60)).collect()
}

#[test]
fn a_parent_succeeds_only_if_all_its_children_did_whatever_the_subset_and_the_order() {
    for seed in 0..24 {
        // Completed inside the send calls, or later in any order.
        let net = Scenario::new(seed)
            .members(&[10, 10])
            .vms(5)
            .style(|style| style.nested = [100, 50, 0][seed as usize % 3])
            .start();
        for count in 2..=4_u16 {
            for subset in 0..1_u32 << count {
                let first = next_frame(&net);
                let failing: Vec<(usize, i32)> = (0..usize::from(count))
                    .filter(|n| subset >> n & 1 != 0)
                    .map(|n| (n, STATUSES[(n + seed as usize) % 4]))
                    .collect();
                let statuses = failing.iter().map(|(n, status)| (first + n, *status)).collect();
                net.look(|state| state.style.statuses = statuses);
                net.send_packets(vec![(net.vm(0), Packet::several(packets(&net, count)))]);
                net.settle();
                let got = status(&net, first).expect("the list is complete");
                let allowed: BTreeSet<i32> = failing.iter().map(|(_, status)| *status).collect();
                let right = if allowed.is_empty() { got == SUCCESS } else { allowed.contains(&got) };
                assert!(right, "seed {seed}: {count} packets, {failing:x?} failed, the list has {got:#x}");
                if seed % 3 == 0 {
                    // Completed one after the other: the first failure is the status of the list.
                    assert_eq!(got, failing.first().map_or(SUCCESS, |(_, status)| *status), "{failing:x?}");
                }
            }
        }
        net.finish().assert_clean();
    }
}

#[test]
fn a_parent_fails_if_any_of_its_packets_is_dropped() {
    for seed in 0..12 {
        let net = Scenario::new(seed).members(&[10, 10]).vms(5).start();
        for subset in 0..8_u32 {
            let first = next_frame(&net);
            let mut frames = packets(&net, 3);
            let to_itself = net.flow_between(net.vm(0), net.vm(0), 1).frame(subset, 60);
            let lost = (0..3).filter(|n| subset >> n & 1 != 0);
            lost.for_each(|n| frames[n] = if n == 1 { vec![0; 9] } else { to_itself.clone() });
            net.send_packets(vec![(net.vm(0), Packet::several(frames))]);
            net.settle();
            let expected = if subset == 0 { SUCCESS } else { FAILURE };
            assert_eq!(status(&net, first), Some(expected), "seed {seed}, dropped {subset:#b}");
        }
        net.finish().assert_clean();
    }
}

#[test]
fn a_parent_fails_if_memory_is_refused_for_any_of_its_packets() {
    let mut sites = BTreeSet::new();
    for nested in [0, 100] {
        for n in 1.. {
            let net = Scenario::new(n).members(&[10, 10]).vms(5).style(|style| style.nested = nested).start();
            let first = next_frame(&net);
            net.world().fail_from_here(n);
            net.send_packets(vec![(net.vm(0), Packet::several(packets(&net, 4)))]);
            net.settle();
            let got = status(&net, first).expect("the list is complete");
            let site = net.world().injected_fault();
            sites.extend(site);
            let mut arrived = 0;
            for frame in first..first + 4 {
                let (vnics, members) = reached(&net, frame);
                let there = !vnics.is_empty() || !members.is_empty();
                // A report names whole lists: for a packet without a child it names the parent.
                assert!(there || dropped(&net, frame).is_some(), "call {n}, {site:?}: frame {frame}");
                arrived += usize::from(there);
            }
            assert_eq!(got == SUCCESS, arrived == 4, "call {n}, {site:?}: {arrived} of 4, {got:#x}");
            net.finish().assert_clean();
            if site.is_none() {
                break;
            }
        }
    }
    assert!(sites.len() >= 3, "{sites:?}");
}
