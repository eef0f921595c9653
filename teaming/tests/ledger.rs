//! The table of offload resources against a model that keeps a list, and the plans for requests that follow from it.

mod resources;

use proptest::prelude::*;
use resources::{facts, ledger, member, nic, set};
use teaming::Heap;
use teaming::ids::{MemberSet, NicId};
use teaming::offload::{
    Full, HeldResource, NO_PARTITION, OffloadPlacement, OffloadResources, Pin, ProcessorConflict,
    ProcessorSets,
};
use teaming::oid::payload::{Command, FilterTarget, PHYSICAL_FUNCTION};
use teaming::oid::{OidPlan, Refusal, Resource};

fn on(queue: u64, vport: u64) -> FilterTarget {
    FilterTarget { queue, vport }
}

/// An operation of the switch or of a member on a resource.
#[derive(Debug, Clone)]
enum Step {
    /// A member allocates a resource with this id for a partition.
    Made(u32, u8, u64),
    /// The switch frees it.
    Released(u32, u64),
    WentAway(u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1..6_u32, 1..5_u8, 0..4_u64).prop_map(|(port, member, id)| Step::Made(port, member, id)),
        3 => (1..6_u32, 0..4_u64).prop_map(|(port, id)| Step::Released(port, id)),
        1 => (1..5_u8).prop_map(Step::WentAway),
    ]
}

/// One allocation of the model, in order of time: port, id, member, whether it still exists.
type Made = (u32, u64, u8, bool);

/// The latest allocation that still exists, otherwise the latest.
fn meant(made: &[Made], port: u32, id: u64) -> Option<usize> {
    let mine = |&(_, m): &(usize, &Made)| m.0 == port && m.1 == id;
    let there = made.iter().enumerate().filter(mine).filter(|(_, m)| m.3).map(|(index, _)| index).next_back();
    there.or(made.iter().enumerate().filter(mine).map(|(index, _)| index).next_back())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_request_goes_to_the_latest_holder_that_is_still_there(steps in prop::collection::vec(step(), 0..60)) {
        let mut ledger = ledger(64);
        let mut made: Vec<Made> = Vec::new();
        for step in steps {
            match step {
                Step::Made(port, number, id) => {
                    ledger.record(nic(port), Resource::Queue, id, member(number)).unwrap();
                    made.push((port, id, number, true));
                }
                Step::Released(port, id) => {
                    ledger.release(nic(port), Resource::Queue, id);
                    if let Some(index) = meant(&made, port, id) {
                        made.remove(index);
                    }
                }
                Step::WentAway(number) => {
                    ledger.went_away(member(number));
                    made.iter_mut().filter(|m| m.2 == number).for_each(|m| m.3 = false);
                }
            }
            prop_assert_eq!(ledger.len(), made.len());
            prop_assert!(ledger.entries().is_sorted());
            for port in 1..6 {
                for id in 0..4 {
                    let holder = meant(&made, port, id).map(|index| made[index]).filter(|m| m.3);
                    let found = ledger.holder(nic(port), Resource::Queue, id);
                    prop_assert_eq!(found, holder.map(|m| member(m.2)));
                    let plan = ledger.plan(nic(port), &Command::FreeQueue { queue: id }, &facts(&[1], 1, OffloadPlacement::FollowFlows));
                    let none = match meant(&made, port, id) {
                        Some(_) => OidPlan::Refuse(Refusal::Gone),
                        None => OidPlan::Pass,
                    };
                    prop_assert_eq!(plan, found.map_or(none, OidPlan::Redirect));
                }
            }
            for number in 1..5 {
                let partitions: std::collections::BTreeSet<_> =
                    made.iter().filter(|m| m.2 == number && m.3).map(|m| m.0).collect();
                prop_assert_eq!(ledger.partitions_on(set(&[number])), u32::try_from(partitions.len()).unwrap());
            }
        }
    }
}

#[test]
fn equal_ids_of_two_members_are_told_apart_by_their_partition() {
    let mut ledger = ledger(8);
    ledger.record(nic(5), Resource::Queue, 1, member(1)).unwrap();
    ledger.record(nic(6), Resource::Queue, 1, member(2)).unwrap();
    assert_eq!(ledger.holder(nic(5), Resource::Queue, 1), Some(member(1)));
    assert_eq!(ledger.holder(nic(6), Resource::Queue, 1), Some(member(2)));
    // Source 0/0 does not identify a partition; only an id that one partition owns can be resolved.
    assert_eq!(ledger.holder(NO_PARTITION, Resource::Queue, 1), None);
    ledger.record(nic(6), Resource::Queue, 9, member(2)).unwrap();
    assert_eq!(ledger.holder(NO_PARTITION, Resource::Queue, 9), Some(member(2)));
    assert_eq!(ledger.holder(nic(7), Resource::Queue, 9), None);
}

#[test]
fn a_full_ledger_refuses_and_a_grown_one_keeps_everything() {
    let mut small = ledger(2);
    assert_eq!(small.promise(2), Ok(()));
    assert_eq!(small.promise(1), Err(Full));
    for id in [1, 2] {
        small.record(nic(5), Resource::Filter, id, member(1)).unwrap();
    }
    small.release_promise(2);
    assert_eq!(small.record(nic(5), Resource::Filter, 3, member(1)), Err(Full));
    assert_eq!(small.grow(vec![HeldResource::EMPTY; 1]).len(), 1);
    assert_eq!(small.grow(vec![HeldResource::EMPTY; 4]).len(), 2);
    small.record(nic(5), Resource::Filter, 3, member(2)).unwrap();
    let holders: Vec<_> = [1, 2, 3].iter().map(|&id| small.holder(nic(5), Resource::Filter, id)).collect();
    assert_eq!(holders, [Some(member(1)), Some(member(1)), Some(member(2))]);
}

#[test]
fn what_speaks_of_a_resource_goes_where_it_is() {
    let mut ledger = ledger(16);
    for (resource, id, number) in [
        (Resource::Queue, 4, 1),
        (Resource::Filter, 4, 2),
        (Resource::Vf, 4, 3),
        (Resource::Vport, 4, 4),
        (Resource::Sa, 4, 5),
    ] {
        ledger.record(nic(5), resource, id, member(number)).unwrap();
    }
    let facts = facts(&[7], 7, OffloadPlacement::FollowFlows);
    let rows = [
        (Command::FreeQueue { queue: 4 }, 1),
        (Command::SetFilter { queue: 4, vport: 0 }, 1),
        (Command::SetFilter { queue: 0, vport: 4 }, 4),
        (Command::SetFilter { queue: 0, vport: 0 }, 7),
        (Command::ClearFilter { queue: 4, filter: 4 }, 2),
        (Command::MoveFilter { filter: 4, from: on(0, 0), to: on(0, 0) }, 2),
        (Command::AllocateVf, 7),
        (Command::CreateVport { function: 4 }, 3),
        (Command::CreateVport { function: PHYSICAL_FUNCTION }, 7),
        (Command::FreeVf { vf: 4 }, 3),
        (Command::DeleteVport { vport: 4 }, 4),
        (Command::UpdateSa { handle: 4 }, 5),
        (Command::UpdateQueue { queue: 4, processors: None }, 1),
        (Command::Use { resource: Resource::Vf, id: 4 }, 3),
        (Command::Use { resource: Resource::Vport, id: 4 }, 4),
    ];
    for (command, number) in rows {
        assert_eq!(ledger.plan(nic(5), &command, &facts), OidPlan::Redirect(member(number)), "{command:?}");
        let from_nobody = ledger.plan(NO_PARTITION, &command, &facts);
        assert_eq!(from_nobody, OidPlan::Redirect(member(number)), "{command:?} from 0/0");
    }
    // A request about a resource that no member holds is forwarded unchanged.
    for command in [
        Command::FreeQueue { queue: 5 },
        Command::DeleteVport { vport: 5 },
        Command::UpdateSa { handle: 5 },
        Command::UpdateQueue { queue: 5, processors: None },
        Command::UpdateQueue { queue: 0, processors: None },
        Command::Use { resource: Resource::Vf, id: PHYSICAL_FUNCTION },
        Command::Use { resource: Resource::Vport, id: 0 },
    ] {
        assert_eq!(ledger.plan(nic(5), &command, &facts), OidPlan::Pass, "{command:?}");
    }
}

/// By the same id it would be about another partition's resource on the adapters that are left.
#[test]
fn a_request_about_what_was_lost_with_its_adapter_is_nobodys() {
    let mut ledger = ledger(8);
    for resource in [Resource::Queue, Resource::Filter, Resource::Vf, Resource::Vport, Resource::Sa] {
        ledger.record(nic(5), resource, 4, member(1)).unwrap();
    }
    ledger.record(nic(5), Resource::Queue, 9, member(2)).unwrap();
    ledger.went_away(member(1));
    let facts = facts(&[2], 2, OffloadPlacement::FollowFlows);
    for command in [
        Command::SetFilter { queue: 4, vport: 0 },
        Command::SetFilter { queue: 0, vport: 4 },
        Command::CreateVport { function: 4 },
        Command::UpdateQueue { queue: 4, processors: None },
        Command::Use { resource: Resource::Vf, id: 4 },
        Command::Use { resource: Resource::Vport, id: 4 },
        Command::FreeQueue { queue: 4 },
        Command::UpdateSa { handle: 4 },
    ] {
        assert_eq!(ledger.plan(nic(5), &command, &facts), OidPlan::Refuse(Refusal::Gone), "{command:?}");
    }
    let list = |ids: &[u64]| ledger.plan_list(nic(5), Resource::Queue, ids.iter().copied());
    assert_eq!(list(&[4, 9]), OidPlan::Originate(set(&[2])), "what is left of a list");
    assert_eq!(list(&[4, 7]), OidPlan::Refuse(Refusal::Gone));
    assert_eq!(list(&[7]), OidPlan::Pass);
    ledger.record(nic(5), Resource::Vf, 4, member(2)).unwrap();
    let again = ledger.plan(nic(5), &Command::Use { resource: Resource::Vf, id: 4 }, &facts);
    assert_eq!(again, OidPlan::Redirect(member(2)), "the same id was allocated again");
}

#[test]
fn copies_are_reached_by_requests_of_our_own_under_each_members_id() {
    let mut ledger = ledger(8);
    let serial = ledger.next_serial();
    for (number, below) in [(1, 10), (2, 3)] {
        ledger.record_copy((nic(5), Resource::Queue, 10), member(number), below, serial).unwrap();
    }
    let facts = facts(&[1, 2], 1, OffloadPlacement::EveryMember);
    let free = Command::FreeQueue { queue: 10 };
    let update = Command::UpdateQueue { queue: 10, processors: Some((0, 3)) };
    assert_eq!(ledger.plan(nic(5), &update, &facts), OidPlan::Originate(set(&[1, 2])));
    assert_eq!(ledger.plan(nic(5), &free, &facts), OidPlan::Originate(set(&[1, 2])));
    assert_eq!(ledger.member_resource_id(nic(5), Resource::Queue, 10, member(2)), Some(3));
    // A member that freed its copy gets no further request; the remaining member has an id that the switch does not
    // know.
    ledger.release_on(nic(5), Resource::Queue, 10, member(1));
    assert_eq!(ledger.plan(nic(5), &free, &facts), OidPlan::Originate(set(&[2])));
    ledger.release(nic(5), Resource::Queue, 10);
    assert!(ledger.is_empty());
}

#[test]
fn a_request_that_a_member_would_take_for_one_about_something_else_is_told_by_any_id_in_it() {
    let mut ledger = ledger(8);
    for (resource, id, copies) in [
        (Resource::Queue, 1, [(1, 1), (2, 1)]),
        (Resource::Queue, 2, [(1, 2), (2, 3)]),
        (Resource::Filter, 1, [(1, 1), (2, 1)]),
    ] {
        let serial = ledger.next_serial();
        for (number, below) in copies {
            ledger.record_copy((nic(5), resource, id), member(number), below, serial).unwrap();
        }
    }
    let renamed = |ledger: &OffloadResources<Heap>, source, command: Command| {
        command.named().any(|(resource, id)| ledger.is_renamed(nic(source), resource, id))
    };
    assert!(renamed(&ledger, 5, Command::FreeQueue { queue: 2 }));
    assert!(renamed(&ledger, 5, Command::UpdateQueue { queue: 2, processors: None }));
    assert!(renamed(&ledger, 5, Command::ClearFilter { queue: 2, filter: 1 }));
    assert!(renamed(&ledger, 5, Command::MoveFilter { filter: 1, from: on(0, 0), to: on(2, 0) }));
    assert!(!renamed(&ledger, 5, Command::ClearFilter { queue: 1, filter: 1 }));
    assert!(!renamed(&ledger, 6, Command::FreeQueue { queue: 2 }), "another partition's");
    ledger.went_away(member(2));
    assert!(!renamed(&ledger, 5, Command::FreeQueue { queue: 2 }), "what is left is known by the same id");
}

#[test]
fn of_a_filters_copies_the_one_moves_whose_member_has_the_virtual_port() {
    let mut ledger = ledger(8);
    let serial = ledger.next_serial();
    for (number, below) in [(1, 10), (2, 3), (3, 4)] {
        ledger.record_copy((nic(5), Resource::Filter, 10), member(number), below, serial).unwrap();
    }
    ledger.record(nic(5), Resource::Vport, 7, member(2)).unwrap();
    let facts = facts(&[1, 2, 3], 1, OffloadPlacement::EveryMember);
    let plan = |from, to| {
        let (from, to) = (on(0, from), on(0, to));
        ledger.plan(nic(5), &Command::MoveFilter { filter: 10, from, to }, &facts)
    };
    assert_eq!(plan(0, 7), OidPlan::Originate(set(&[2])));
    assert_eq!(plan(7, 0), OidPlan::Originate(set(&[2])), "and back again");
    assert_eq!(plan(0, 0), OidPlan::Originate(set(&[1, 2, 3])), "within the default queue, which all have");
}

#[test]
fn a_filter_moves_within_its_member_or_not_at_all() {
    let mut ledger = ledger(8);
    ledger.record(nic(5), Resource::Filter, 1, member(1)).unwrap();
    ledger.record(nic(5), Resource::Vport, 3, member(1)).unwrap();
    ledger.record(nic(5), Resource::Vport, 4, member(2)).unwrap();
    ledger.record(nic(5), Resource::Queue, 6, member(2)).unwrap();
    ledger.record(nic(6), Resource::Vport, 5, member(1)).unwrap();
    let facts = facts(&[1, 2], 1, OffloadPlacement::FollowFlows);
    let moved = |source, filter, queue, vport| {
        let (from, to) = (on(0, 0), on(queue, vport));
        ledger.plan(source, &Command::MoveFilter { filter, from, to }, &facts)
    };
    let apart = OidPlan::Refuse(Refusal::Apart);
    assert_eq!(moved(nic(5), 1, 0, 3), OidPlan::Redirect(member(1)));
    assert_eq!(moved(nic(5), 1, 0, 0), OidPlan::Redirect(member(1)), "to what every member has");
    assert_eq!(moved(nic(5), 1, 0, 4), apart, "the virtual port is another member's");
    assert_eq!(moved(nic(5), 1, 6, 0), apart, "and so is the queue");
    assert_eq!(moved(nic(5), 1, 0, 5), apart, "the port of that number is another partition's");
    assert_eq!(moved(nic(5), 9, 0, 3), apart, "nobody has the filter");
    assert_eq!(moved(nic(5), 9, 0, 9), OidPlan::Pass, "nothing is known of either");
}

#[test]
fn a_list_goes_to_all_who_hold_something_of_it() {
    let mut ledger = ledger(8);
    for (id, number) in [(1, 1), (2, 2), (3, 2)] {
        ledger.record(nic(5), Resource::Queue, id, member(number)).unwrap();
    }
    let plan = |ids: &[u64]| ledger.plan_list(nic(5), Resource::Queue, ids.iter().copied());
    assert_eq!(plan(&[2, 3]), OidPlan::Redirect(member(2)));
    assert_eq!(plan(&[1, 2, 3]), OidPlan::Originate(set(&[1, 2])));
    assert_eq!(plan(&[1, 8]), OidPlan::Redirect(member(1)));
    assert_eq!(plan(&[8]), OidPlan::Pass);
}

#[test]
fn a_partition_with_a_function_on_a_dead_member_is_told_once() {
    let mut ledger = ledger(8);
    ledger.record(nic(5), Resource::Vf, 1, member(1)).unwrap();
    ledger.record(nic(6), Resource::Vf, 1, member(2)).unwrap();
    let live = set(&[2]);
    assert_eq!(
        ledger.next_lost_vf(live, |_| false, Some),
        None,
        "nobody is told to leave what it does not use"
    );
    let refused = |_| None::<NicId>;
    assert_eq!(
        ledger.next_lost_vf(live, |_| true, refused),
        Some(None),
        "who could not be told is told later"
    );
    let mut twice = |live| [0, 1].map(|_| ledger.next_lost_vf(live, |_| true, Some).flatten());
    assert_eq!(twice(live), [Some(nic(5)), None]);
    assert_eq!(twice(MemberSet::EMPTY), [Some(nic(6)), None]);
    ledger.came_up(set(&[1, 2]));
    let mut twice = |live| [0, 1].map(|_| ledger.next_lost_vf(live, |_| true, Some).flatten());
    assert_eq!(twice(set(&[1, 2])), [None, None]);
    assert_eq!(twice(set(&[1])), [Some(nic(6)), None]);
    ledger.went_away(member(1));
    assert_eq!(ledger.next_lost_vf(set(&[1]), |_| true, Some), Some(Some(nic(5))), "another adapter came");
}

/// The member went down after it was chosen and before its answer was recorded.
#[test]
fn a_function_that_is_recorded_on_a_member_that_is_dead_by_then_is_lost() {
    let mut ledger = ledger(8);
    let live = set(&[2]);
    ledger.record(nic(5), Resource::Vf, 1, member(1)).unwrap();
    assert_eq!(ledger.next_lost_vf(live, |_| true, Some), Some(Some(nic(5))));
}

/// The processors of a member's queues from the administrator's settings: base processor and count; with
/// hyper-threading only every second processor.
fn processors(base: u32, count: u32, hyper_threading: bool) -> u64 {
    (0..count).map(|n| 1_u64 << (base + n * (1 + u32::from(hyper_threading)))).fold(0, |set, bit| set | bit)
}

/// The examples of KB 2974384.
#[test]
fn processors_overlap_only_where_queues_are_shared_out_and_differ_only_where_all_hold_them() {
    use OffloadPlacement::{EveryMember, FollowFlows, SingleMember};
    let rows = [
        (processors(2, 2, false), processors(4, 2, false), Ok(()), Err(ProcessorConflict::NotIdentical)),
        (processors(0, 6, true), processors(12, 6, true), Ok(()), Err(ProcessorConflict::NotIdentical)),
        (processors(2, 4, false), processors(2, 4, false), Err(ProcessorConflict::Overlap), Ok(())),
    ];
    assert_eq!(processors(12, 6, true), 0b0101_0101_0101 << 12);
    for (first, second, sum, least) in rows {
        for (placement, expected) in [(FollowFlows, sum), (EveryMember, least), (SingleMember, Ok(()))] {
            let mut sets = ProcessorSets::NONE;
            assert_eq!(sets.add(member(1), 0, first, placement), Ok(()));
            assert_eq!(sets.add(member(2), 0, second, placement), expected);
            // A conflict is reported once; the same processors are not checked again.
            assert_eq!(sets.add(member(2), 0, second, placement), Ok(()));
            // Processors of another group never overlap, and a removed member uses none.
            assert_eq!(sets.add(member(3), 1, first, placement), Ok(()));
            sets.forget(member(1));
            assert_eq!(sets.add(member(2), 0, first | second | 1 << 40, placement), Ok(()));
        }
    }
}

#[test]
fn a_packet_leaves_by_the_member_that_has_all_its_associations_and_by_no_other() {
    let mut ledger = ledger(16);
    ledger.record(nic(10), Resource::Sa, 4, member(1)).unwrap();
    ledger.record(nic(10), Resource::Sa, 5, member(1)).unwrap();
    ledger.record(nic(10), Resource::Sa, 6, member(2)).unwrap();
    ledger.record(nic(10), Resource::Queue, 7, member(1)).unwrap();
    let to = |number| Pin::To(member(number));
    let cases = [
        (10, [4, 0], to(1)),
        (10, [0, 6], to(2)),
        (10, [4, 5], to(1)),
        (10, [4, 6], Pin::Nowhere),
        (10, [4, 8], Pin::Nowhere),
        (10, [8, 4], Pin::Nowhere),
        (10, [8, 0], Pin::Nowhere),
        (10, [7, 0], Pin::Nowhere),
        (11, [4, 0], Pin::Nowhere),
    ];
    for (port, handles, expected) in cases {
        assert_eq!(ledger.pin(nic(port), handles), expected, "{port} {handles:?}");
    }
    // Whatever is bound under the index next has none of them.
    ledger.went_away(member(1));
    assert_eq!(ledger.pin(nic(10), [4, 0]), Pin::Nowhere);
    assert_eq!(ledger.pin(nic(10), [6, 0]), to(2));
    // The other member gives out the same handle.
    ledger.record(nic(10), Resource::Sa, 4, member(2)).unwrap();
    assert_eq!(ledger.pin(nic(10), [4, 6]), to(2));
    ledger.release(nic(10), Resource::Sa, 4);
    assert_eq!(ledger.pin(nic(10), [4, 0]), Pin::Nowhere);
}

#[test]
fn a_handle_that_nobody_was_given_is_of_before_and_on_the_member_that_has_been_there_alone() {
    let mut ledger = ledger(16);
    ledger.record(nic(10), Resource::Sa, 4, member(1)).unwrap();
    ledger.record(nic(11), Resource::Sa, 5, member(1)).unwrap();
    ledger.record(nic(10), Resource::Queue, 7, member(1)).unwrap();
    assert_eq!(ledger.pin(nic(10), [8, 0]), Pin::Nowhere);
    ledger.earlier = Some(member(1));
    let to = Pin::To(member(1));
    for (port, handles, expected) in [
        (10, [8, 0], to),
        (10, [0, 8], to),
        (10, [8, 9], to),
        (10, [4, 8], to),
        (10, [7, 0], to),
        (12, [8, 0], to),
        // Another's.
        (10, [5, 0], Pin::Nowhere),
        (10, [4, 5], Pin::Nowhere),
        (10, [8, 5], Pin::Nowhere),
    ] {
        assert_eq!(ledger.pin(nic(port), handles), expected, "{port} {handles:?}");
    }
    // Of an adapter that was unbound, whatever the next one is.
    ledger.went_away(member(1));
    assert_eq!(ledger.pin(nic(10), [4, 0]), Pin::Nowhere);
    ledger.earlier = None;
    assert_eq!(ledger.pin(nic(10), [8, 0]), Pin::Nowhere);
}
