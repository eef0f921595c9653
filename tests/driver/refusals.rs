//! One call fails while the team changes, and no other event follows: the driver's state still becomes correct, and
//! the team's capabilities are indicated to the switch.

use super::module::look;
use lbfoext::ndis::raw::MEDIA_CONNECT;
use teaming::ids::MemberIndex;
use teaming::team::member::MemberState;
use vswitch::adapter::capabilities::Capabilities;
use vswitch::adapter::physical_switch::Aggregation;
use vswitch::adapter::wire::status as codes;
use vswitch::machine::registry::Value;
use vswitch::scenario::suite::MS;
use vswitch::scenario::{Net, Scenario};
use vswitch::switch::control::status::Status;
use vswitch::switch::ports::NicState;

/// The member under test.
const MEMBER: u16 = 2;
/// Time, in units of 100 ns, after which the driver's state must be correct.
const SOON: u64 = 1_000 * MS;

const QUEUES: [u32; 2] = [9, 4];

fn abilities(queues: u32) -> Capabilities {
    Capabilities { queues, ..Capabilities::default() }
}

/// How requests to members complete: at once, later, or inside the call.
const COMPLETIONS: [(u64, u64); 3] = [(0, 0), (100, 0), (100, 100)];

fn start(completion: (u64, u64)) -> Net {
    let net = Scenario::new(2)
        .members(&[10, 10])
        .vms(1)
        .abilities(|_| abilities(QUEUES[0]))
        .aggregation(Aggregation::SwitchIndependent)
        .setting("OffloadPlacement", Value::Dword(0))
        .setting("LinkUpDelayMs", Value::Dword(0))
        .setting("OffloadPlacement", Value::Dword(0))
        .style(|style| {
            (style.pending, style.inside) = completion;
            style.old_answers = 0;
        })
        .start();
    net.advance(100 * MS);
    net
}

fn is_up(net: &Net) -> bool {
    let member = MemberIndex::from_slot(usize::from(MEMBER) - 1).expect("a member");
    let state = look(net, |module| module.control.lock().team.member(member).state);
    state.expect("it is attached") == MemberState::Active
}

/// The number of queues in the last indication of the team's capabilities.
fn offered(net: &Net) -> u32 {
    net.offered_queues().0.expect("it was told")
}

/// A change of the team, and the check of the driver's state.
struct Change {
    name: &'static str,
    happens: fn(&Net),
    is_known: fn(&Net) -> bool,
}

const CHANGES: [Change; 5] = [
    Change {
        name: "a member tells what it can",
        happens: |net| net.change_abilities(MEMBER, abilities(QUEUES[1]), &[codes::FILTER_CURRENT], false),
        is_known: |net| offered(net) == QUEUES[0] + QUEUES[1],
    },
    Change {
        name: "the team tells that its members can something else",
        happens: |net| net.change_abilities(MEMBER, abilities(QUEUES[1]), &[codes::FILTER_CURRENT], true),
        is_known: |net| offered(net) == QUEUES[0] + QUEUES[1],
    },
    Change {
        name: "a member dies, and the team's adapters are the same",
        happens: |net| net.fail(MEMBER),
        is_known: |net| offered(net) == 2 * QUEUES[0] && !is_up(net),
    },
    Change {
        name: "the team tells that a link has changed",
        happens: |net| {
            net.pull(MEMBER);
            net.status(Status { code: MEDIA_CONNECT, buffer: Vec::new(), from: Some(net.member(0)) });
        },
        is_known: |net| offered(net) == 2 * QUEUES[0] && !is_up(net),
    },
    Change {
        name: "a member comes back with another adapter",
        happens: |net| {
            net.unplug(MEMBER);
            net.look(|state| {
                let adapter = state.modules[0].external.adapters.get_mut(&MEMBER);
                adapter.expect("it stays in its slot").offloads.change(abilities(QUEUES[1]));
            });
            net.replug(MEMBER);
        },
        is_known: |net| {
            let id = net.member(MEMBER);
            let connected = net.look(move |state| {
                state.modules[0].topology.nic(id).is_some_and(|nic| nic.state == NicState::Connected)
            });
            // The fault may have prevented the adapter's creation.
            connected == Some(false) || offered(net) == QUEUES[0] + QUEUES[1] && is_up(net)
        },
    },
];

#[test]
fn after_any_single_refusal_the_truth_is_known_soon() {
    let mut wrong = Vec::new();
    for change in &CHANGES {
        for completion in COMPLETIONS {
            for n in 1.. {
                let net = start(completion);
                net.world().fail_from_here(n);
                (change.happens)(&net);
                net.advance(SOON);
                if !(change.is_known)(&net) {
                    let refused = net.world().injected_fault();
                    wrong.push(format!("{}, call {n} ({refused:?}) refused, {completion:?}", change.name));
                }
                let refused = net.world().injected_fault();
                net.finish().assert_clean();
                if refused.is_none() {
                    break;
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn when_references_can_be_had_again_the_truth_is_known_soon() {
    let mut wrong = Vec::new();
    for change in &CHANGES {
        for completion in COMPLETIONS {
            let net = start(completion);
            net.look(|state| state.style.refuse_references = 100);
            (change.happens)(&net);
            net.advance(SOON);
            net.look(|state| state.style.refuse_references = 0);
            net.advance(SOON);
            if !(change.is_known)(&net) {
                wrong.push(format!("{}, {completion:?}", change.name));
            }
            net.finish().assert_clean();
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_vm_is_told_to_leave_the_function_of_a_dead_member_after_any_single_refusal() {
    for completion in COMPLETIONS {
        for n in 1.. {
            let net = start(completion);
            let nic = net.vm(0);
            net.start_function(nic).expect("there is one");
            let member = net.members_of(nic)[0].0;
            net.world().fail_from_here(n);
            net.fail(member);
            net.advance(SOON);
            let told = net.look(move |state| state.control.status.removals.contains(&(0, nic)));
            let refused = net.world().injected_fault();
            assert_eq!(told, Some(true), "call {n} ({refused:?}) refused, {completion:?}");
            net.finish().assert_clean();
            if refused.is_none() {
                break;
            }
        }
    }
}
