//! Sequences of offload requests with failures, unplugged members, restarts and refused references: none breaks a rule,
//! and at the end switch and adapters agree about every resource.

use std::sync::Mutex;
use vswitch::scenario::Scenario;
use vswitch::scenario::outcome::Outcome;
use vswitch::scenario::suite;
use vswitch::scenario::suite::depth::{each, seeds};
use vswitch::scenario::suite::offload::Command::{self, *};
use vswitch::scenario::suite::offload::{run, sequence, shrink};

type Plan = fn(u64) -> Scenario;

/// Runs a sequence; returns the failure, if any.
fn outcome_of(seed: u64, commands: &[Command], plan: Plan) -> (Outcome, Vec<String>) {
    let net = plan(seed).start();
    if seed % 4 == 1 {
        net.look(|state| state.control.wants.from_nobody = 30);
    }
    run(&net, commands);
    let wrong = net.disagreements();
    (net.finish(), wrong)
}

fn is_wrong((outcome, wrong): &(Outcome, Vec<String>)) -> bool {
    !outcome.violations.is_empty() || !outcome.leaks.is_empty() || outcome.aborted || !wrong.is_empty()
}

/// Number of commands of a sequence.
const LENGTH: usize = 60;

/// The random sequence of a seed, and the switch that it runs on, with one of the placements.
fn drawn(seed: u64) -> (Plan, Vec<Command>) {
    let commands = sequence(seed, LENGTH, 4);
    let plan: Plan = match seed % 3 {
        0 => suite::offload_plan,
        1 => suite::every_member_plan,
        _ => suite::single_member_plan,
    };
    (plan, commands)
}

/// Runs a sequence; a failing one is reduced to a shorter one that still fails, and told.
fn complaint(seed: u64, commands: Vec<Command>, plan: Plan) -> Option<String> {
    if !is_wrong(&outcome_of(seed, &commands, plan)) {
        return None;
    }
    let shortest = shrink(commands, |part| is_wrong(&outcome_of(seed, part, plan)));
    let (outcome, wrong) = outcome_of(seed, &shortest, plan);
    let violations: Vec<String> = outcome.violations.iter().take(4).map(ToString::to_string).collect();
    Some(format!(
        "seed {seed}, shrunk to {} commands: {shortest:?}\n{}\n{wrong:?}\nleft: {:?}",
        shortest.len(),
        violations.join("\n"),
        outcome.leaks.iter().take(3).collect::<Vec<_>>()
    ))
}

/// Runs the random sequences of these seeds.
///
/// # Panics
/// If any of them breaks a rule or leaves switch and adapters at odds: with all of them.
fn assert_agree(seeds: &[u64]) {
    let wrong = Mutex::new(Vec::new());
    each(seeds, |&seed| {
        let (plan, commands) = drawn(seed);
        let one = complaint(seed, commands, plan);
        wrong.lock().expect("no thread fails with it").extend(one);
    });
    let wrong = wrong.into_inner().expect("no thread fails with it");
    assert!(wrong.is_empty(), "{} of {} sequences:\n{}", wrong.len(), seeds.len(), wrong.join("\n\n"));
}

#[test]
fn random_sequences_break_no_rule_and_leave_everyone_agreed() {
    assert_agree(&Vec::from_iter(0..300));
}

/// Sequences of other seeds.
#[test]
#[ignore = "takes a minute: bash .ci/run long"]
fn more_random_sequences_break_no_rule_and_leave_everyone_agreed() {
    assert_agree(&Vec::from_iter(seeds(400)));
}

/// # Panics
/// If the sequence breaks a rule or leaves switch and adapters at odds.
fn assert_agrees(plan: Plan, seed: u64, commands: &[Command]) {
    let all = complaint(seed, commands.to_vec(), plan);
    assert!(all.is_none(), "{}", all.unwrap_or_default());
}

#[test]
fn a_filter_waits_for_a_function_where_there_is_a_link() {
    let replugged = [
        Unplug(2),
        Fail(3),
        RefuseQueue(1, -1_073_741_823),
        AllocateQueue(3),
        Abilities(4, 592_345_769, true),
        Send(4),
        Fail(1),
        Replug(2),
        Function(1),
    ];
    assert_agrees(suite::offload_plan, 1550, &replugged);
    let lives_without_functions = [
        AttachAgain,
        StartQueue(3),
        Fail(4),
        Abilities(1, 828_834_552, true),
        Fail(2),
        Abilities(1, 422_811_349, true),
        Abilities(3, 992_621_915, true),
        Send(0),
        AttachAgain,
        Function(1),
    ];
    assert_agrees(suite::offload_plan, 1544, &lives_without_functions);
}

#[test]
fn a_member_that_may_have_more_by_now_is_asked_before_a_dead_one() {
    let commands = [
        Restore(3),
        Restore(3),
        Send(5),
        Fail(2),
        Associations(3),
        Abilities(3, 241_495_499, false),
        Abilities(3, 339_324_592, true),
        Fail(4),
        StartQueue(2),
    ];
    assert_agrees(suite::every_member_plan, 3835, &commands);
}

#[test]
fn a_vm_is_told_of_a_function_whose_member_died_before_its_adapter_answered() {
    let commands = [
        Receive(3, 0),
        Fail(2),
        Unplug(4),
        RemoveGuest(3),
        CancelQueue(0),
        Send(1),
        StartQueue(2),
        Fail(1),
        Associations(2),
        Unplug(3),
        StartQueue(1),
        Release(1),
        Unplug(2),
        Function(1),
        AttachAgain,
        Release(2),
        PlanAgain,
        Replug(2),
        Function(0),
    ];
    assert_agrees(suite::every_member_plan, 533, &commands);
}

/// The last adapter has a filter of that number elsewhere, and the extension that knew is detached.
#[test]
fn a_filter_that_an_extension_before_moved_elsewhere_is_not_moved_on_the_only_adapter_left() {
    let commands = [Unplug(3), Function(3), Unplug(4), AttachAgain, Unplug(1)];
    assert_agrees(suite::every_member_plan, 4655, &commands);
}

/// The only adapter left knows the copies of VM 2 by numbers that the switch uses for those of VM 0.
#[test]
fn copies_are_freed_by_their_own_numbers_after_the_vm_is_disconnected() {
    let commands =
        [Unplug(4), RefuseReferences(20), StartQueue(0), StartQueue(2), Unplug(1), AddGuest(1), Unplug(2)];
    assert_agrees(suite::every_member_plan, 5095, &commands);
}

/// A member lists a filter of before the attachment, and another that gave out the same number since is lost: the request
/// is about the later one.
#[test]
fn what_was_lost_since_the_attachment_is_not_taken_for_what_is_listed_of_before() {
    let lost_since = [
        Storm(4, 6),
        AttachAgain,
        AddGuest(0),
        Function(0),
        Send(5),
        Function(1),
        Abilities(1, 996_419_143, true),
        AttachAgain,
        PlanAgain,
        Unplug(2),
        Release(1),
    ];
    assert_agrees(suite::every_member_plan, 3_578_197, &lost_since);
}

/// The only adapter left has listed the number as another partition's, and is being asked again when the request comes.
#[test]
fn what_was_listed_as_anothers_is_not_freed_while_the_list_is_read_again() {
    let commands = [
        Abilities(1, 604_946_229, true),
        AttachAgain,
        StartQueue(3),
        StartQueue(2),
        Associations(3),
        Send(5),
        Unplug(2),
        Function(1),
        Associations(2),
        Abilities(1, 128_162_818, true),
        Unplug(3),
        PlanAgain,
        AttachAgain,
        StartQueue(0),
        Wait,
        Unplug(1),
        Abilities(4, 247_302_403, true),
    ];
    assert_agrees(suite::every_member_plan, 13_230_517, &commands);
}

/// The only adapter left has an association of VM 2 under the handle of one of VM 0 that was lost, and the extension that knew
/// is detached.
#[test]
fn a_packet_with_a_lost_association_goes_to_the_only_adapter_also_if_that_has_anothers_under_its_handle() {
    let commands = [Associations(0), Unplug(2), Associations(2), Unplug(4), Unplug(1), AttachAgain, Send(0)];
    assert_agrees(suite::offload_plan, 11_610_645, &commands);
}
