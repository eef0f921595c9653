//! What members list of before the attachment: whom it is attributed to, and where requests about it go.

mod resources;

use resources::{facts, ledger, member, nic, set};
use teaming::ids::{NicId, Ticks};
use teaming::offload::OffloadPlacement::{FollowFlows, SingleMember};
use teaming::offload::lists::Listed;
use teaming::offload::reported::{ReportedResource, UNATTRIBUTED, attribute};
use teaming::offload::{Facts, NO_PARTITION, OffloadResources};
use teaming::oid::payload::Command;
use teaming::oid::{OidPlan, Refusal, Resource};

fn one(resource: Resource, id: u64, on: Option<(Resource, u64)>, of: Option<NicId>) -> ReportedResource {
    ReportedResource::new(&Listed { resource, id, on, mac: None }, of)
}

fn queue(id: u64, of: NicId) -> ReportedResource {
    one(Resource::Queue, id, None, Some(of))
}

fn free(ledger: &OffloadResources<teaming::Heap>, of: NicId, queue: u64) -> OidPlan {
    ledger.plan(of, &Command::FreeQueue { queue }, &facts(&[1, 2], 1, FollowFlows))
}

#[test]
fn a_queue_belongs_to_the_partition_of_its_filter_and_a_filter_to_that_of_the_function_below_it() {
    let on = |resource, id| Some((resource, id));
    let mut all = [
        one(Resource::Queue, 1, None, None),
        one(Resource::Filter, 4, on(Resource::Queue, 1), Some(nic(5))),
        one(Resource::Vf, 0, None, Some(nic(6))),
        one(Resource::Vport, 2, on(Resource::Vf, 0), None),
        one(Resource::Filter, 5, on(Resource::Vport, 2), None),
        one(Resource::Queue, 9, None, None),
    ];
    attribute(&mut all);
    assert_eq!(all.map(|one| one.source), [nic(5), nic(5), nic(6), nic(6), nic(6), UNATTRIBUTED]);
}

#[test]
fn a_request_goes_to_the_only_member_that_lists_the_resource_for_its_partition() {
    let mut ledger = ledger(16);
    ledger.want_lists(set(&[1, 2]));
    ledger.report(member(1), &[queue(1, nic(5)), queue(2, nic(7))], true).unwrap();
    assert_eq!(free(&ledger, nic(5), 1), OidPlan::Pass, "another member may have it, too");
    ledger.report(member(2), &[queue(1, nic(6))], true).unwrap();
    assert_eq!(free(&ledger, nic(5), 1), OidPlan::Redirect(member(1)));
    assert_eq!(free(&ledger, nic(6), 1), OidPlan::Redirect(member(2)));
    assert_eq!(free(&ledger, NO_PARTITION, 1), OidPlan::Pass, "two partitions have it");
    assert_eq!(free(&ledger, nic(8), 1), OidPlan::Pass, "it is others'");
    ledger.release(nic(5), Resource::Queue, 1);
    assert_eq!(free(&ledger, nic(5), 1), OidPlan::Pass);
}

#[test]
fn what_may_be_one_of_several_copies_directs_no_request() {
    let mut both = ledger(16);
    both.report(member(1), &[queue(1, nic(5))], true).unwrap();
    both.report(member(2), &[queue(3, nic(5))], true).unwrap();
    assert_eq!(free(&both, nic(5), 1), OidPlan::Pass);
    let mut unknown = ledger(16);
    unknown.report(member(1), &[queue(1, nic(5))], true).unwrap();
    unknown.report(member(2), &[one(Resource::Queue, 3, None, None)], true).unwrap();
    assert_eq!(free(&unknown, nic(5), 1), OidPlan::Pass);
    let mut copied = ledger(16);
    copied.copied = true;
    copied.report(member(1), &[queue(1, nic(5))], true).unwrap();
    assert_eq!(free(&copied, nic(5), 1), OidPlan::Pass);
}

#[test]
fn what_has_been_allocated_since_is_known_better_than_a_list_says() {
    let mut ledger = ledger(16);
    ledger.record(nic(5), Resource::Queue, 1, member(1)).unwrap();
    // Without a filter it is nobody's to the list.
    ledger.report(member(1), &[one(Resource::Queue, 1, None, None), queue(2, nic(6))], true).unwrap();
    assert_eq!(ledger.len(), 2);
    assert_eq!(free(&ledger, nic(5), 1), OidPlan::Redirect(member(1)));
    // The member gives the number out anew, so that what was listed is gone.
    ledger.record(nic(7), Resource::Queue, 2, member(1)).unwrap();
    assert_eq!(ledger.len(), 2);
    assert_eq!(free(&ledger, nic(6), 2), OidPlan::Pass);
}

/// A number that was given out again since the attachment is the later resource's, also when that is lost.
#[test]
fn what_was_lost_since_is_meant_rather_than_what_several_or_copies_may_be_of_before() {
    let lost = |prepare: fn(&mut OffloadResources<teaming::Heap>)| {
        let mut ledger = ledger(16);
        prepare(&mut ledger);
        ledger.record(nic(5), Resource::Queue, 1, member(2)).unwrap();
        ledger.went_away(member(2));
        free(&ledger, nic(5), 1)
    };
    let copied = |ledger: &mut OffloadResources<teaming::Heap>| {
        ledger.copied = true;
        ledger.report(member(1), &[queue(1, nic(5))], true).unwrap();
    };
    assert_eq!(lost(copied), OidPlan::Refuse(Refusal::Gone));
    let several = |ledger: &mut OffloadResources<teaming::Heap>| {
        ledger.report(member(1), &[queue(1, nic(5))], true).unwrap();
        ledger.report(member(3), &[queue(1, nic(5))], true).unwrap();
    };
    assert_eq!(lost(several), OidPlan::Refuse(Refusal::Gone));
    // One alone can have no other than the partition's.
    let one = |ledger: &mut OffloadResources<teaming::Heap>| {
        ledger.report(member(1), &[queue(1, nic(5))], true).unwrap();
    };
    assert_eq!(lost(one), OidPlan::Redirect(member(1)));
}

#[test]
fn a_list_replaces_the_one_before_and_a_part_of_one_adds_to_it() {
    let mut ledger = ledger(16);
    ledger.report(member(1), &[queue(1, nic(5)), queue(2, nic(6))], true).unwrap();
    ledger.report(member(1), &[queue(3, nic(7)), queue(1, nic(5))], false).unwrap();
    assert_eq!(ledger.len(), 3);
    ledger.report(member(1), &[queue(3, nic(7))], true).unwrap();
    assert_eq!(ledger.len(), 1);
    assert!(ledger.report(member(2), &[queue(1, nic(5)); 16], true).is_err(), "there is no room");
    assert_eq!(ledger.len(), 1);
}

#[test]
fn a_list_is_outdated_when_resources_of_its_member_change_while_it_is_read() {
    let mut ledger = ledger(16);
    ledger.want_lists(set(&[1, 2]));
    let before = [1, 2].map(|number| ledger.changes(member(number)));
    ledger.record(nic(5), Resource::Queue, 1, member(1)).unwrap();
    assert_ne!(ledger.changes(member(1)), before[0]);
    assert_eq!(ledger.changes(member(2)), before[1]);
    let before = ledger.changes(member(1));
    ledger.release(nic(5), Resource::Queue, 1);
    assert_ne!(ledger.changes(member(1)), before);
}

/// The list is read queue by queue: the filter came to a place that was read already, from one that was not yet.
#[test]
fn a_filter_that_moves_while_its_list_is_read_is_still_there() {
    let filter = one(Resource::Filter, 7, Some((Resource::Queue, 1)), Some(nic(5)));
    let clear = |ledger: &OffloadResources<teaming::Heap>| {
        ledger.plan(nic(5), &Command::ClearFilter { queue: 0, filter: 7 }, &facts(&[1, 2], 1, FollowFlows))
    };
    for is_read_whole_meanwhile in [false, true] {
        let mut ledger = ledger(16);
        ledger.want_lists(set(&[1, 2]));
        ledger.report(member(1), &[queue(1, nic(5)), filter], true).unwrap();
        ledger.report(member(2), &[], true).unwrap();
        ledger.want_lists(set(&[1]));
        let before = ledger.changes(member(1));
        if is_read_whole_meanwhile {
            ledger.report(member(1), &[queue(1, nic(5))], true).unwrap();
        }
        ledger.filter_moved(nic(5), 7, member(1));
        assert_eq!(clear(&ledger), OidPlan::Redirect(member(1)));
        assert_ne!(ledger.changes(member(1)), before, "the list that is being read does not count");
    }
}

#[test]
fn a_free_that_could_not_be_directed_makes_the_lists_outdated() {
    let mut ledger = ledger(16);
    ledger.report(member(1), &[queue(1, nic(5))], true).unwrap();
    ledger.report(member(2), &[queue(1, nic(5))], true).unwrap();
    ledger.report(member(4), &[queue(1, nic(6))], true).unwrap();
    ledger.want_lists(set(&[3]));
    assert_eq!(ledger.freed_elsewhere(nic(5), Resource::Queue, 1), set(&[1, 2, 3, 4]));
    assert_eq!(ledger.reporters(Resource::Queue, 1), set(&[4]));
}

#[test]
fn where_no_id_is_given_out_twice_nothing_is_placed_before_all_have_been_asked() {
    let mut ledger = ledger(16);
    let allocate = Command::AllocateQueue { group: 0, processors: 1 };
    let facts = Facts { unasked: set(&[2]), ..facts(&[1, 2], 1, SingleMember) };
    assert_eq!(ledger.plan(nic(5), &allocate, &facts), OidPlan::Refuse(Refusal::NotNow));
    let follow = Facts { placement: FollowFlows, ..facts };
    assert_eq!(ledger.plan(nic(5), &allocate, &follow), OidPlan::Redirect(member(1)));
    ledger.report(member(2), &[one(Resource::Filter, 1, None, None)], true).unwrap();
    let facts = Facts { unasked: set(&[]), ..facts };
    assert_eq!(ledger.plan(nic(5), &allocate, &facts), OidPlan::Redirect(member(2)), "beside what is there");
}

#[test]
fn a_member_that_fails_to_list_for_long_is_not_waited_for_any_longer_until_it_lists() {
    let mut ledger = ledger(16);
    ledger.want_lists(set(&[1, 2]));
    ledger.report(member(1), &[queue(1, nic(5))], true).unwrap();
    let failed = |ledger: &mut OffloadResources<teaming::Heap>, at: u64| {
        ledger.failed_to_list(member(2), Ticks::from_ms(at))
    };
    assert!(!failed(&mut ledger, 1_000));
    assert!(!failed(&mut ledger, 50_999));
    assert_eq!(free(&ledger, nic(5), 1), OidPlan::Pass);
    assert!(failed(&mut ledger, 51_000));
    assert_eq!(free(&ledger, nic(5), 1), OidPlan::Redirect(member(1)));
    assert!(!failed(&mut ledger, 200_000), "said once");
    // Asked anew for another reason it is as silent as before.
    ledger.want_lists(set(&[2]));
    assert_eq!(free(&ledger, nic(5), 1), OidPlan::Redirect(member(1)));
    // What it lists at last counts, and a new failure is one of its own.
    ledger.report(member(2), &[queue(1, nic(5))], true).unwrap();
    assert_eq!(free(&ledger, nic(5), 1), OidPlan::Pass);
    ledger.report(member(2), &[], true).unwrap();
    ledger.want_lists(set(&[2]));
    assert!(!failed(&mut ledger, 300_000));
    assert_eq!(free(&ledger, nic(5), 1), OidPlan::Redirect(member(1)), "it was heard once");
    assert!(failed(&mut ledger, 350_000));
    // Another adapter in its place is waited for.
    ledger.went_away(member(2));
    ledger.want_lists(set(&[2]));
    assert_eq!(free(&ledger, nic(5), 1), OidPlan::Pass);
    assert!(!failed(&mut ledger, 400_000));
}

#[test]
fn a_number_is_anothers_where_a_member_has_it_for_a_known_partition_and_nobody_for_the_one_that_asks() {
    let mut ledger = ledger(16);
    let anothers = |ledger: &OffloadResources<teaming::Heap>, of, id, on| {
        ledger.is_anothers(of, Resource::Queue, id, member(on))
    };
    ledger.report(member(1), &[queue(1, nic(5)), one(Resource::Queue, 2, None, None)], true).unwrap();
    ledger.record(nic(6), Resource::Queue, 3, member(1)).unwrap();
    for (of, id, on, expected) in [
        (nic(6), 1, 1, true),
        (nic(5), 3, 1, true),
        (nic(5), 1, 1, false),
        (nic(6), 1, 2, false),
        // Whose the second is nobody knows, and 0/0 may be anybody.
        (nic(6), 2, 1, false),
        (NO_PARTITION, 1, 1, false),
        (nic(6), 9, 1, false),
    ] {
        assert_eq!(anothers(&ledger, of, id, on), expected, "{of:?} {id} on {on}");
    }
    assert!(!ledger.is_anothers(nic(6), Resource::Filter, 1, member(1)), "another kind");
    // The partition has one of that number itself, on whatever member.
    ledger.record(nic(6), Resource::Queue, 1, member(2)).unwrap();
    assert!(!anothers(&ledger, nic(6), 1, 1));
    // That is gone with its adapter, and then the other's.
    ledger.went_away(member(2));
    assert!(anothers(&ledger, nic(6), 1, 1));
    ledger.went_away(member(1));
    assert!(!anothers(&ledger, nic(5), 3, 1));
}

#[test]
fn members_that_list_something_of_nobody_known_are_told() {
    let mut ledger = ledger(16);
    assert_eq!(ledger.unattributed(), set(&[]));
    ledger.report(member(1), &[queue(1, nic(5))], true).unwrap();
    ledger.report(member(2), &[queue(1, nic(5)), one(Resource::Queue, 2, None, None)], true).unwrap();
    assert_eq!(ledger.unattributed(), set(&[2]));
    ledger.went_away(member(2));
    assert_eq!(ledger.unattributed(), set(&[]));
}

/// After a free that could not be directed members are asked again, and the next request comes at once.
#[test]
fn while_lists_are_read_again_requests_are_directed_by_what_was_heard() {
    let mut ledger = ledger(16);
    ledger.want_lists(set(&[1, 2]));
    ledger.report(member(1), &[queue(1, nic(5)), queue(2, nic(6)), queue(3, nic(6))], true).unwrap();
    assert_eq!(free(&ledger, nic(5), 1), OidPlan::Pass, "the other has not been heard");
    ledger.report(member(2), &[queue(2, nic(6))], false).unwrap();
    assert_eq!(free(&ledger, nic(5), 1), OidPlan::Pass, "nor to the end");
    ledger.report(member(2), &[queue(2, nic(6))], true).unwrap();
    let outdated = ledger.freed_elsewhere(nic(6), Resource::Queue, 2);
    ledger.want_lists(outdated);
    assert_eq!(outdated, set(&[1, 2]));
    assert_eq!(free(&ledger, nic(5), 1), OidPlan::Redirect(member(1)));
    // Whatever comes in its place has not been heard.
    ledger.went_away(member(2));
    ledger.want_lists(set(&[2]));
    assert_eq!(free(&ledger, nic(5), 1), OidPlan::Pass);
}

#[test]
fn nothing_is_placed_while_it_is_not_known_whether_a_member_without_a_link_holds_anything() {
    let mut ledger = ledger(16);
    ledger.report(member(1), &[queue(1, nic(5))], true).unwrap();
    ledger.want_lists(set(&[1]));
    let allocate = Command::AllocateQueue { group: 0, processors: 1 };
    let dead = |placement| Facts { live: set(&[2]), ..facts(&[1, 2], 1, placement) };
    let plan = |ledger: &OffloadResources<teaming::Heap>, facts| ledger.plan(nic(6), &allocate, &facts);
    assert_eq!(plan(&ledger, dead(SingleMember)), OidPlan::Refuse(Refusal::NotNow));
    assert_eq!(plan(&ledger, dead(FollowFlows)), OidPlan::Redirect(member(2)), "no number is unique there");
    assert_eq!(plan(&ledger, facts(&[1, 2], 1, SingleMember)), OidPlan::Redirect(member(1)), "it has a link");
    // It is known, one way or the other, or cannot be known.
    ledger.report(member(1), &[queue(1, nic(5))], true).unwrap();
    assert_eq!(plan(&ledger, dead(SingleMember)), OidPlan::Redirect(member(1)));
    ledger.want_lists(set(&[1]));
    assert!(!ledger.failed_to_list(member(1), Ticks::from_ms(1_000)));
    assert_eq!(plan(&ledger, dead(SingleMember)), OidPlan::Refuse(Refusal::NotNow));
    assert!(ledger.failed_to_list(member(1), Ticks::from_ms(51_000)));
    assert_eq!(plan(&ledger, dead(SingleMember)), OidPlan::Redirect(member(2)));
    ledger.report(member(1), &[], true).unwrap();
    assert_eq!(plan(&ledger, dead(SingleMember)), OidPlan::Redirect(member(2)));
}
