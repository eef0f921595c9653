//! The OID walk, row by row: every offload request that the switch puts into an envelope succeeds, is refused with every
//! documented status, completes at once, inside the call and late, is cancelled, and meets references that are refused;
//! and every member of the structures that arrive below says what the topic on forwarding, redirecting and originating
//! demands (forwarding-oid-requests-to-physical-network-adapters.md).

use lbfoext::ndis::raw::{
    FAILURE, INVALID_LENGTH, INVALID_PARAMETER, NOT_SUPPORTED, OidRequest, PENDING, REQUEST_ABORTED,
    RESOURCES, SUCCESS, object_type, oids, request_type,
};
use vswitch::adapter::offloads::{By, Holder};
use vswitch::adapter::wire::{OFFLOAD_OIDS, Row, get, get32, is_ipsec, oid, queue};
use vswitch::control::below::{Completion, Plan};
use vswitch::control::envelope::{Inner, NicAnswer};
use vswitch::control::nic_request::Arrived;
use vswitch::control::offload::{
    Partition, add_sa, clear_filter, complete_array, delete_sa, delete_vport, filter_parameters, free_queue,
    free_vf, move_filter, queue_parameters, update_sa, vf_parameters, vport_parameters,
};
use vswitch::outcome::Outcome;
use vswitch::physical_switch::Aggregation;
use vswitch::ports::NicId;
use vswitch::registry::Value;
use vswitch::scenario::{Net, Scenario};

/// What pages of these requests allow an adapter to answer beside success.
const REFUSALS: [i32; 5] = [FAILURE, RESOURCES, INVALID_PARAMETER, NOT_SUPPORTED, INVALID_LENGTH];

/// What a member is asked when it is connected.
const QUESTIONS: [u32; 8] = [
    oids::GEN_LINK_STATE,
    oid::FILTER_CURRENT,
    oid::FILTER_HARDWARE,
    oid::SWITCH_CURRENT,
    oid::SWITCH_HARDWARE,
    oid::OFFLOAD_CURRENT,
    oid::OFFLOAD_HARDWARE,
    oid::SRIOV_CURRENT,
];

/// `OffloadPlacement` in the registry.
const EVERY_MEMBER: u32 = 2;

fn team(seed: u64) -> Scenario {
    // One machine, one member: the placement that follows the flows is a single member.
    Scenario::new(seed).members(&[10, 10, 10]).vms(2).aggregation(Aggregation::SwitchIndependent)
}

/// Makes what a request of this row needs to be about, and the request.
fn request(partition: &Partition, row: &Row) -> Inner {
    let mac = [2, 0x15, 0x5D, 0, 0, 9];
    let queue = || partition.allocate_queue().expect("an adapter has a queue");
    let function = || partition.allocate_function(mac).expect("an adapter has a VF");
    let association = || partition.add_association_ex(5).expect("an adapter takes an SA");
    let bytes = match row.oid {
        oid::ALLOCATE_QUEUE => queue_parameters(2, partition.nic.port, 1),
        oid::SET_FILTER => filter_parameters(1, queue(), 0, mac),
        oid::ALLOCATION_COMPLETE => complete_array(&[queue()], 4),
        oid::CLEAR_FILTER => {
            let queue = queue();
            clear_filter(queue, partition.set_filter(queue, mac).expect("room for a filter"))
        }
        oid::FREE_QUEUE => free_queue(queue()),
        oid::MOVE_FILTER => {
            let vport = partition.create_vport(function()).expect("room for a virtual port");
            let filter = partition.set_filter(0, mac).expect("room for a filter");
            move_filter(filter, (0, 0), (0, vport))
        }
        oid::CREATE_VPORT => vport_parameters(1, function()),
        oid::DELETE_VPORT => delete_vport(partition.create_vport(function()).expect("room")),
        oid::ALLOCATE_VF => vf_parameters(mac),
        oid::FREE_VF => free_vf(function()),
        oid::ADD_SA => add_sa(false, 7, 0),
        oid::ADD_SA_EX => add_sa(true, 7, partition.nic.port),
        oid::DELETE_SA => delete_sa(association()),
        _ => update_sa(association(), 8),
    };
    let kind = if row.method { request_type::METHOD } else { request_type::SET_INFORMATION };
    Inner::new(row.oid, kind, bytes)
}

/// One request of a row, on a running switch, and what arrived below for it alone.
fn walk(net: &Net, row: &Row, plan: Plan, before: impl FnOnce(&Net)) -> (NicAnswer, Vec<Seen>) {
    let nic = net.vm(0);
    let row = *row;
    // Members have said what they can do; before that, any may be chosen.
    net.advance(1_000);
    let inner = net.offload(nic, move |partition| request(&partition, &row)).expect("the module listens");
    before(net);
    let mark = net.look(|s| s.control.nics.arrived.len()).unwrap();
    let answer = net.offload_planned(nic, plan, move |partition| partition.ask(&inner)).unwrap();
    let seen = net.look(move |s| s.control.nics.arrived[mark..].iter().map(Seen::of).collect()).unwrap();
    (answer, seen)
}

/// The switch forgets what this test did behind its back, so that nothing is given up twice.
fn end(net: Net) -> Outcome {
    net.look(|s| s.control.wants.held.clear());
    net.finish()
}

/// Members of the structures that arrived below, as plain values.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Seen {
    own: bool,
    outer_header: (u8, u8, u16),
    outer_type: i32,
    outer_oid: u32,
    lengths: (u32, u32),
    port_number: u32,
    header: (u8, u8, u16),
    flags: u32,
    source: NicId,
    destination: NicId,
    /// The inner request is the switch's own.
    same_inner: bool,
    inner_header: (u8, u8, u16),
    inner_type: i32,
    inner_oid: u32,
    inner_length: u32,
    /// References of destination and source when it arrived.
    references: (u32, u32),
}

impl Seen {
    fn of(arrived: &Arrived) -> Self {
        let Arrived { by, outer, envelope, inner, theirs, references } = arrived;
        let head = |h: lbfoext::ndis::raw::ObjectHeader| (h.object_type, h.revision, h.size);
        Self {
            own: *by == By::Extension,
            outer_header: head(outer.header),
            outer_type: outer.request_type,
            outer_oid: outer.oid,
            lengths: (
                outer.length,
                if outer.request_type == request_type::METHOD { outer.word52 } else { 32 },
            ),
            port_number: outer.port_number,
            header: head(envelope.header),
            flags: envelope.flags,
            source: NicId::new(envelope.source_port_id, envelope.source_nic_index),
            destination: NicId::new(envelope.destination_port_id, envelope.destination_nic_index),
            same_inner: theirs.is_some_and(|(_, at)| at == envelope.oid_request as usize),
            inner_header: head(inner.header),
            inner_type: inner.request_type,
            inner_oid: inner.oid,
            inner_length: inner.length,
            references: *references,
        }
    }

    /// What the topic demands of every one of them: steps 1 to 3.
    fn assert_well_made(&self) {
        let (kind, revision, size) = self.outer_header;
        assert!(kind == object_type::OID_REQUEST && revision >= 1 && size >= OidRequest::SIZE_REVISION_1);
        assert_eq!(self.outer_oid, oids::SWITCH_NIC_REQUEST);
        assert_eq!((self.lengths, self.port_number), ((32, 32), 0), "the envelope, and nothing but it");
        assert_eq!((self.header, self.flags), ((object_type::DEFAULT, 1, 32), 0));
        let (kind, revision, size) = self.inner_header;
        assert!(kind == object_type::OID_REQUEST && revision >= 1 && size >= OidRequest::SIZE_REVISION_1);
    }
}

#[test]
fn every_row_succeeds_at_one_member_however_it_completes() {
    for row in &OFFLOAD_OIDS {
        for completion in [Completion::AtOnce, Completion::InsideTheCall, Completion::Later] {
            for seed in 0..4 {
                let net = team(seed).start();
                let plan = Plan { status: SUCCESS, completion: Some(completion) };
                let (answer, seen) = walk(&net, row, plan, |_| ());
                let wrong = net.world().violations();
                assert_eq!(answer.status, SUCCESS, "{} {completion:?} {wrong:?}", row.name);
                let [one] = &seen[..] else { panic!("{}: {seen:?}", row.name) };
                one.assert_well_made();
                let expected = Seen {
                    own: false,
                    source: net.vm(0),
                    same_inner: true,
                    inner_oid: row.oid,
                    references: (1, 0),
                    ..one.clone()
                };
                assert_eq!(*one, expected, "{}", row.name);
                assert!(one.destination.port == net.member(1).port && one.destination.index != 0);
                end(net).assert_clean();
            }
        }
    }
}

#[test]
fn every_row_gives_back_every_refusal_of_an_adapter_and_changes_nothing() {
    for row in &OFFLOAD_OIDS {
        for (seed, status) in (0..).zip(REFUSALS) {
            let net = team(seed).start();
            let held = |net: &Net| net.members_of(net.vm(0)).len();
            let mut before = 0;
            let plan = Plan { status, completion: None };
            let (answer, seen) = walk(&net, row, plan, |net| before = held(net));
            assert_eq!((answer.status, seen.len()), (status, 1), "{}", row.name);
            assert_eq!(held(&net), before, "{}: an adapter that refuses holds what it held", row.name);
            // The resource is still where it was: asked again, the request succeeds there.
            let again = net.offload(net.vm(0), move |partition| {
                let handed = Inner::new(row.oid, if row.method { 12 } else { 1 }, answer.buffer().to_vec());
                partition.ask(&handed).status
            });
            assert_eq!(again, Some(SUCCESS), "{} after {status:#x}", row.name);
            end(net).assert_clean();
        }
    }
}

#[test]
fn every_row_can_be_cancelled_while_it_is_below() {
    for row in &OFFLOAD_OIDS {
        for completion in [Completion::InsideTheCall, Completion::Later] {
            let net = team(7).start();
            let plan = Plan { status: SUCCESS, completion: Some(completion) };
            let (answer, _) = walk(&net, row, plan, Net::cancel_next);
            let expected = if completion == Completion::Later { REQUEST_ABORTED } else { SUCCESS };
            assert_eq!(answer.status, expected, "{} {completion:?}", row.name);
            end(net).assert_clean();
        }
    }
}

#[test]
fn without_a_reference_a_request_is_refused_or_goes_where_it_can_be_cleaned_up() {
    for row in &OFFLOAD_OIDS {
        let net = team(3).start();
        let refuse = |net: &Net| {
            net.look(|s| s.style.refuse_references = 100);
        };
        let (answer, seen) = walk(&net, row, Plan::default(), refuse);
        if row.vetoable {
            assert!(answer.status != SUCCESS && answer.status != PENDING, "{}", row.name);
            assert_eq!(seen, [], "{} went down without a reference", row.name);
        } else {
            let [one] = &seen[..] else { panic!("{}: {seen:?}", row.name) };
            assert_eq!((one.destination, one.own), (net.member(0), false), "{}", row.name);
            assert!(answer.status == SUCCESS || row.oid == oid::ADD_SA || row.oid == oid::ADD_SA_EX);
        }
        net.look(|s| s.style.refuse_references = 0);
        end(net).assert_clean();
    }
}

#[test]
fn what_means_nothing_is_forwarded_as_it_came() {
    let net = team(5).start();
    let unknown = Inner::method(0x0001_0E77, vec![1; 40]);
    let multicast = Inner::set(oid::ADD_MULTICAST, vec![1, 0, 0x5E, 0, 0, 1]);
    // The right number with another request type is another request.
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
                let mark = net.look(|s| s.control.nics.arrived.len()).unwrap();
                let answer = net.ask_nic(from, to, inner, Plan { status, completion: None }).unwrap();
                assert_eq!((answer.status, answer.reached_below), (status, true));
                let seen = net.look(move |s| Seen::of(&s.control.nics.arrived[mark])).unwrap();
                seen.assert_well_made();
                assert_eq!((seen.own, seen.source, seen.destination), (false, from, to));
                assert_eq!((seen.same_inner, seen.references), (true, (0, 0)));
                assert_eq!((seen.inner_oid, seen.inner_type), (inner.oid, inner.kind));
            }
        }
    }
    end(net).assert_clean();
}

#[test]
fn own_questions_name_nobody_as_their_source_and_one_member_each() {
    for seed in 0..6 {
        let net = team(seed).start();
        net.fail(2);
        net.restore(2);
        let own: Vec<Seen> = net
            .look(|s| s.control.nics.arrived.iter().map(Seen::of).filter(|seen| seen.own).collect())
            .unwrap();
        for member in 1..=3 {
            let to_member = own.iter().filter(|seen| seen.destination == net.member(member));
            let asked: Vec<u32> = to_member.map(|seen| seen.inner_oid).collect();
            // However its answers come, no question is skipped.
            for question in QUESTIONS {
                assert!(asked.contains(&question), "member {member} was not asked {question:#x}: {asked:x?}");
            }
        }
        for seen in own {
            seen.assert_well_made();
            assert_eq!((seen.source, seen.outer_type), (NicId::NOWHERE, request_type::METHOD));
            assert_eq!((seen.inner_type, seen.references), (request_type::QUERY_INFORMATION, (1, 0)));
        }
        net.finish().assert_clean();
    }
}

#[test]
fn requests_for_a_partition_are_originated_with_its_port_and_both_references() {
    for (seed, pending, inside) in [(1, 0, 0), (2, 100, 0), (3, 100, 100), (4, 50, 50)] {
        let net = Scenario::new(seed)
            .members(&[10, 10, 10])
            .vms(2)
            .setting("OffloadPlacement", Value::Dword(EVERY_MEMBER))
            .style(|style| (style.pending, style.inside) = (pending, inside))
            .start();
        let nic = net.vm(0);
        let mark = net.look(|s| s.control.nics.arrived.len()).unwrap();
        let queue = net.start_queue(nic).expect("every adapter has queues");
        let held = net.members_of(nic);
        assert_eq!(held.len(), 6, "a queue and a filter on each of three: {held:?}");
        net.release(nic);
        assert_eq!(net.members_of(nic), [], "queue {queue} is given up everywhere");
        let seen: Vec<Seen> =
            net.look(move |s| s.control.nics.arrived[mark..].iter().map(Seen::of).collect()).unwrap();
        assert_eq!(seen.len(), 3 * 5, "five requests, each to three members");
        for one in &seen {
            one.assert_well_made();
            assert!(one.own && one.destination.index != 0);
            assert_eq!((one.source, one.outer_type), (nic, request_type::METHOD));
            assert!(one.references.0 >= 1 && one.references.1 >= 1, "{one:?}");
        }
        assert_eq!(net.disagreements(), [""; 0]);
        net.finish().assert_clean();
    }
}

/// A host beside this one that shares the adapters.
const STRANGER: NicId = NicId::new(900, 0);

/// Somebody else takes the lowest numbers of every adapter but one, so that one partition's numbers differ.
fn occupy(net: &Net, except: u16) {
    let holder = Holder { source: STRANGER, by: By::Switch };
    net.look(move |state| {
        for (_, adapter) in
            state.modules[0].outside.adapters.iter_mut().filter(|(index, _)| **index != except)
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
        for adapter in state.modules[0].outside.adapters.values_mut() {
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
        net.fail(at);
        let second = net.offload(a, |p| p.allocate_queue()).flatten().expect("a survivor has queues");
        let members: std::collections::BTreeSet<u16> = net.members_of(a).iter().map(|(m, _)| *m).collect();
        assert_eq!(members.len(), 2, "the third queue is on a survivor");
        let batch: Vec<u32> = first.iter().copied().chain([second]).collect();
        let mark = net.look(|s| s.control.nics.arrived.len()).unwrap();
        let statuses = net.offload(a, move |p| p.complete(&batch)).unwrap();
        assert_eq!(statuses, [SUCCESS; 3]);
        let seen: Vec<Seen> =
            net.look(move |s| s.control.nics.arrived[mark..].iter().map(Seen::of).collect()).unwrap();
        assert_eq!(seen.iter().filter(|one| one.own && one.source == a).count(), 2, "{seen:?}");
        net.restore(at);
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
fn private_requests_of_a_vendor_are_forwarded_untouched() {
    let net = team(2).start();
    let inner = Inner::set(oid::PRIVATE + 7, vec![9; 24]);
    let answer = net.ask_nic(NicId::NOWHERE, net.member(2), &inner, Plan::default()).unwrap();
    assert_eq!((answer.status, answer.reached_below), (SUCCESS, true));
    let seen = net.look(|s| Seen::of(s.control.nics.arrived.last().expect("it arrived"))).unwrap();
    assert_eq!((seen.destination, seen.own, seen.same_inner), (net.member(2), false, true));
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
