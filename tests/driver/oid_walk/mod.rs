//! Every row of the table of OIDs with every outcome (`matrix`, `own`), and every member of the structures that arrive
//! below against forwarding-oid-requests-to-physical-network-adapters.md (`seen`).

mod lost;
mod matrix;
mod nobody;
mod own;
mod rows;
mod seen;
mod uses;

use lbfoext::ndis::raw::{FAILURE, INVALID_LENGTH, INVALID_PARAMETER, NOT_SUPPORTED, RESOURCES, SUCCESS};
use seen::{assert_forwarded, assert_originated};
use teaming::oid::OIDS;
use vswitch::adapter::capabilities::Capabilities;
use vswitch::adapter::offloads::{By, Holder, Resource};
use vswitch::adapter::physical_switch::Aggregation;
use vswitch::adapter::wire::{OFFLOAD_OIDS, get, get32, is_ipsec, oid, queue};
use vswitch::machine::registry::Value;
use vswitch::scenario::outcome::Outcome;
use vswitch::scenario::{CAPABILITY_CODES, Net, Scenario};
use vswitch::switch::control::below::Plan;
use vswitch::switch::control::envelope::Inner;
use vswitch::switch::control::nic_request::Arrived;
use vswitch::switch::control::offload::{move_filter, queue_parameters};
use vswitch::switch::ports::NicId;

/// Failure statuses that the pages of these requests allow an adapter to return.
const REFUSALS: [i32; 5] = [FAILURE, RESOURCES, INVALID_PARAMETER, NOT_SUPPORTED, INVALID_LENGTH];

/// `OffloadPlacement` in the registry.
const FOLLOW_FLOWS: u32 = 0;
const SINGLE_MEMBER: u32 = 1;
const EVERY_MEMBER: u32 = 2;

fn team(seed: u64) -> Scenario {
    Scenario::new(seed)
        .members(&[10, 10, 10])
        .vms(2)
        .aggregation(Aggregation::SwitchIndependent)
        .setting("OffloadPlacement", Value::Dword(FOLLOW_FLOWS))
}

/// Removes from the simulated switch's records what this test allocated directly, so that nothing is freed twice.
fn end(net: Net) -> Outcome {
    net.look(|s| s.control.wants.held.clear());
    net.finish()
}

/// The requests that arrived below since `mark`.
fn arrived_since(net: &Net, mark: usize) -> Vec<Arrived> {
    net.look(move |s| s.control.nics.arrived[mark..].to_vec()).unwrap()
}

fn mark(net: &Net) -> usize {
    net.look(|s| s.control.nics.arrived.len()).unwrap()
}

#[test]
fn every_row_of_the_table_meets_every_outcome() {
    let counts = matrix::walk_all();
    let own = own::walk_all();
    let cells: u32 = counts.values().chain(own.values()).sum();
    println!("{cells} cells: asked of the extension {counts:?}, asked by it {own:?}");
    for site in
        ["ReferenceSwitchNic", "NdisAllocateCloneOidRequest", "ExAllocatePool2", "OID_SWITCH_NIC_REQUEST"]
    {
        assert!(counts.contains_key(&format!("without {site}")), "{site} never failed");
    }
    assert!(cells > 1_000, "the table has {} rows and the matrix only {cells} cells", OIDS.len());
}

#[test]
fn every_row_of_the_table_is_directed_after_failures_and_attachments() {
    let counts = matrix::walk_later();
    println!("{counts:?}");
    assert!(counts.values().all(|cells| *cells >= 100) && counts.len() == 3, "{counts:?}");
}

#[test]
fn what_means_nothing_is_forwarded_as_it_came() {
    let net = team(5).start();
    let unknown = Inner::method(0x0001_0E77, vec![1; 40]);
    let multicast = Inner::set(oid::ADD_MULTICAST, vec![1, 0, 0x5E, 0, 0, 1]);
    // The same OID with another request type is another request.
    let mistyped = Inner::set(oid::ALLOCATE_QUEUE, queue_parameters(1, 10, 1));
    let direct = Inner::method(oid::ALLOCATE_QUEUE, vec![0; 12]);
    for (inner, to) in [
        (&unknown, net.member(0)),
        (&multicast, NicId::NOWHERE),
        (&mistyped, net.member(0)),
        (&direct, net.member(0)),
    ] {
        for from in [net.vm(0), NicId::NOWHERE] {
            for status in [SUCCESS, NOT_SUPPORTED] {
                let mark = mark(&net);
                let answer = net.ask_nic(from, to, inner, Plan { status, completion: None }).unwrap();
                assert_eq!((answer.status, answer.reached_below), (status, true));
                let [one] = &arrived_since(&net, mark)[..] else { panic!("one went down") };
                assert_forwarded(one, from, to);
                assert_eq!(
                    (one.references, one.inner.oid, one.inner.request_type),
                    ((0, 0), inner.oid, inner.kind)
                );
            }
        }
    }
    end(net).assert_clean();
}

/// Another partition, which uses the same adapters.
const STRANGER: NicId = NicId::new(900, 0);

/// Allocates the lowest numbers of every adapter but one for another partition, so that the numbers of one partition
/// differ by member.
fn occupy(net: &Net, except: u16) {
    let holder = Holder { source: STRANGER, by: By::Switch };
    net.look(move |state| {
        for (_, adapter) in
            state.modules[0].external.adapters.iter_mut().filter(|(index, _)| **index != except)
        {
            for _ in 0..3 {
                adapter.offloads.queues.allocate(holder, 0).expect("room");
                adapter.offloads.associations.add(holder, 0).expect("room");
            }
        }
    });
}

fn vacate(net: &Net) {
    net.look(|state| {
        for adapter in state.modules[0].external.adapters.values_mut() {
            let held: Vec<_> =
                adapter.offloads.holdings().filter(|(h, _)| h.source == STRANGER).map(|(_, r)| r).collect();
            held.into_iter().for_each(|resource| adapter.offloads.forget(STRANGER, resource));
        }
    });
}

#[test]
fn a_batch_over_several_members_is_split_and_merged_element_by_element() {
    for seed in 0..8 {
        let net = team(seed).start();
        let a = net.vm(0);
        let first: Vec<u32> =
            (0..2).filter_map(|_| net.offload(a, |p| p.allocate_queue()).flatten()).collect();
        let at = net.members_of(a)[0].0;
        occupy(&net, at);
        let full = Capabilities { queues: 2, ..Capabilities::default() };
        net.change_abilities(at, full, &CAPABILITY_CODES, false);
        let second = net.offload(a, |p| p.allocate_queue()).flatten().expect("another member has queues");
        let members: std::collections::BTreeSet<u16> = net.members_of(a).iter().map(|(m, _)| *m).collect();
        assert_eq!(members.len(), 2, "the third queue is on another member");
        let batch: Vec<u32> = first.iter().copied().chain([second]).collect();
        let mark = mark(&net);
        let statuses = net.offload(a, move |p| p.complete(&batch)).unwrap();
        assert_eq!(statuses, [SUCCESS; 3]);
        let parts = arrived_since(&net, mark);
        assert_eq!(parts.len(), 2);
        parts.iter().for_each(|part| assert_originated(part, a, net.member(0).port));
        net.release(a);
        vacate(&net);
        assert_eq!(net.disagreements(), [""; 0]);
        net.finish().assert_clean();
    }
}

#[test]
fn a_list_of_associations_of_two_members_is_split_and_each_goes_home() {
    for seed in 0..8 {
        let net = team(seed).start();
        let nic = net.vm(0);
        let first = net.offload(nic, |p| p.add_associations(&[1, 2])).unwrap();
        let at = net.members_of(nic)[0].0;
        occupy(&net, at);
        net.fail(at);
        let second = net.offload(nic, |p| p.add_association_ex(3)).flatten().expect("a survivor takes it");
        net.restore(at);
        let all = vec![first[0], second, first[1]];
        net.offload(nic, move |p| p.delete_associations(&all));
        assert_eq!(net.members_of(nic), []);
        vacate(&net);
        assert_eq!(net.disagreements(), [""; 0]);
        net.finish().assert_clean();
    }
}

#[test]
fn a_filter_with_copies_moves_where_the_virtual_port_is_and_is_cleared_everywhere() {
    for seed in 0..8 {
        let net = team(seed).setting("OffloadPlacement", Value::Dword(EVERY_MEMBER)).start();
        net.advance(1_000);
        let (nic, mac) = (net.vm(0), net.mac(net.vm(0)));
        let filters = |net: &Net| {
            net.members_of(nic).into_iter().filter(|(_, held)| matches!(held, Resource::Filter(_))).count()
        };
        let (filter, vf, vport) = net
            .offload(nic, move |p| {
                let filter = p.set_filter(0, mac).expect("room for a filter");
                let vf = p.allocate_function(mac).expect("an adapter has a VF");
                (filter, vf, p.create_vport(vf).expect("room for a virtual port"))
            })
            .unwrap();
        assert_eq!(filters(&net), 3);
        let moved = Inner::set(oid::MOVE_FILTER, move_filter(filter, (0, 0), (0, vport)));
        assert_eq!(net.offload(nic, move |p| p.ask(&moved).status), Some(SUCCESS));
        assert_eq!(filters(&net), 3, "copies stay where their members can serve them");
        net.offload(nic, move |p| {
            p.clear_filter(0, filter);
            p.delete_vport(vport);
            p.free_function(vf);
        });
        assert_eq!(net.members_of(nic), []);
        assert_eq!(net.disagreements(), [""; 0]);
        end(net).assert_clean();
    }
}

#[test]
fn private_requests_of_a_vendor_are_forwarded_untouched() {
    let net = team(2).start();
    let inner = Inner::set(oid::PRIVATE + 7, vec![9; 24]);
    let answer = net.ask_nic(NicId::NOWHERE, net.member(2), &inner, Plan::default()).unwrap();
    assert_eq!((answer.status, answer.reached_below), (SUCCESS, true));
    let last = net.look(|s| *s.control.nics.arrived.last().expect("it arrived")).unwrap();
    assert_forwarded(&last, NicId::NOWHERE, net.member(2));
    end(net).assert_clean();
}

#[test]
fn identifiers_and_lengths_come_up_as_the_adapter_wrote_them() {
    let net = team(9).start();
    let inner = Inner::method(oid::ALLOCATE_QUEUE, queue_parameters(3, net.vm(0).port, 2));
    let answer = net.ask_nic(net.vm(0), net.member(0), &inner, Plan::default()).unwrap();
    assert_eq!(answer.status, SUCCESS);
    assert_eq!(get32(answer.buffer(), queue::ID), 1);
    assert_eq!(get(answer.buffer(), queue::AFFINITY), 2);
    let [output, written, read, _, revision] = answer.results;
    assert_eq!((output, written, read, revision), (1096, 1096, 1096, 1));
    assert!(OFFLOAD_OIDS.iter().filter(|row| is_ipsec(row.oid)).all(|row| !row.vetoable));
    end(net).assert_clean();
}
