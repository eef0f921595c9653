//! Offloads over a restart of the extension: it asks members what they hold, and directs the switch's requests about that.

use super::module::look;
use lbfoext::trace::Event;
use vswitch::adapter::lists::Listing;
use vswitch::adapter::offloads::By;
use vswitch::adapter::wire::oid;
use vswitch::machine::registry::Value;
use vswitch::scenario::suite::MS;
use vswitch::scenario::{Net, Scenario};
use vswitch::switch::control::envelope::Inner;
use vswitch::switch::control::offload::free_queue;
use vswitch::switch::ports::NicId;

const FOLLOW_FLOWS: u32 = 0;
const SINGLE_MEMBER: u32 = 1;
const EVERY_MEMBER: u32 = 2;
const RELEASES: [u32; 4] = [oid::FREE_QUEUE, oid::CLEAR_FILTER, oid::DELETE_VPORT, oid::FREE_VF];
/// Longer than any interval at which failed requests are repeated in these tests.
const LATER: u64 = 10_000 * MS;

fn team(seed: u64, placement: u32) -> Scenario {
    Scenario::new(seed)
        .members(&[10, 10, 10])
        .vms(3)
        .setting("LinkUpDelayMs", Value::Dword(0))
        .setting("OffloadPlacement", Value::Dword(placement))
}

/// VM 0 has a queue, VM 1 a function, and the extension is attached anew.
fn restarted(seed: u64, placement: u32, prepare: impl FnOnce(&Net)) -> Net {
    let net = team(seed, placement).start();
    net.advance(10 * MS);
    net.start_queue(net.vm(0)).expect("there is one");
    net.start_function(net.vm(1)).expect("there is one");
    prepare(&net);
    net.detach();
    net.attach();
    net
}

/// The only member that holds anything of a partition.
fn home(net: &Net, nic: NicId) -> u16 {
    let held = net.members_of(nic);
    let (first, _) = *held.first().expect("something");
    assert!(held.iter().all(|(index, _)| *index == first), "{held:?}");
    first
}

/// Frees everything of a partition. Returns the members that were named to the requests that free; 0 for none.
fn release(net: &Net, nic: NicId) -> Vec<u16> {
    let mark = net.look(|s| s.control.nics.arrived.len()).expect("the machine runs");
    net.release(nic);
    let arrived = net.look(move |s| s.control.nics.arrived[mark..].to_vec()).expect("the machine runs");
    let frees = arrived.iter().filter(|a| RELEASES.contains(&a.inner.oid));
    let named = frees.inspect(|a| assert_eq!(a.by, By::Switch, "it frees what it did not allocate"));
    named.map(|a| a.envelope.destination_nic_index).collect()
}

fn assert_directed(net: &Net, what: &str) {
    for nic in [net.vm(0), net.vm(1)] {
        let home = home(net, nic);
        let named = release(net, nic);
        assert!(
            !named.is_empty() && named.iter().all(|index| *index == home),
            "{what}: {named:?}, not {home}"
        );
        assert_eq!(net.members_of(nic), [], "{what}: something is left");
    }
    assert_eq!(undirected(net), [], "{what}");
}

/// How many members list a resource, for each request that was not directed.
fn undirected(net: &Net) -> Vec<u32> {
    let read = |module: &lbfoext::module::Module| {
        let control = module.control.lock();
        let reporters = control.events.iter().filter_map(|(_, event)| match event {
            Event::HolderUnknown { reporters, .. } => Some(reporters),
            _ => None,
        });
        reporters.collect()
    };
    look(net, read).expect("it is attached")
}

#[test]
fn after_a_restart_a_free_goes_to_the_member_that_has_the_resource() {
    for placement in [FOLLOW_FLOWS, SINGLE_MEMBER] {
        for seed in 0..12 {
            let net = restarted(seed, placement, |_| {});
            net.advance(10 * MS);
            assert_directed(&net, &format!("seed {seed}, placement {placement}"));
            net.finish().assert_clean();
        }
    }
}

#[test]
fn lists_that_are_refused_late_or_too_short_are_asked_for_again_until_they_are_there() {
    for seed in 0..12 {
        let net = restarted(seed, SINGLE_MEMBER, |net| {
            let listing = Listing {
                own_only: false,
                portless: false,
                refused: 60,
                cut: 50,
                never: None,
                late: 50 * MS,
            };
            net.look(move |state| state.style.listing = listing);
        });
        net.advance(LATER);
        net.look(|state| state.style.listing = Listing::default());
        net.advance(6 * LATER);
        assert_directed(&net, &format!("seed {seed}"));
        net.finish().assert_clean();
    }
}

#[test]
fn after_any_single_failure_while_lists_are_read_a_free_goes_to_the_member_that_has_the_resource() {
    let mut failed = 0;
    for n in 1.. {
        let net = restarted(3, SINGLE_MEMBER, |net| net.world().fail_from_here(n));
        net.advance(10 * MS);
        let site = net.world().injected_fault();
        net.world().fail_from_here(1 << 40);
        if site.is_some() && look(&net, |_| ()).is_none() {
            // Without memory the module may not be attached.
            net.attach();
        }
        net.advance(LATER);
        assert_directed(&net, &format!("call {n} ({site:?})"));
        net.finish().assert_clean();
        if site.is_none() {
            break;
        }
        failed += 1;
    }
    assert!(failed > 60, "only {failed} calls failed");
}

#[test]
fn what_no_member_lists_is_passed_on_with_an_event() {
    for placement in [FOLLOW_FLOWS, SINGLE_MEMBER] {
        let net = restarted(1, placement, |net| {
            net.look(|state| state.style.listing.own_only = true);
        });
        net.advance(10 * MS);
        let named = release(&net, net.vm(0));
        assert_eq!(named, [0, 0], "the filter and the queue");
        assert_eq!(undirected(&net), [0, 0]);
        net.finish().assert_clean();
    }
}

#[test]
fn copies_of_before_a_restart_are_not_told_apart_and_not_freed_by_the_driver() {
    let net = restarted(1, EVERY_MEMBER, |_| {});
    net.advance(10 * MS);
    assert_eq!(net.members_of(net.vm(0)).iter().filter(|(_, r)| is_queue(r)).count(), 3);
    let named = release(&net, net.vm(0));
    assert_eq!(named, [0, 0], "the filter and the queue");
    assert!(undirected(&net).iter().all(|reporters| *reporters == 3), "{:?}", undirected(&net));
    net.finish().assert_clean();
}

fn is_queue(resource: &vswitch::adapter::offloads::Resource) -> bool {
    matches!(resource, vswitch::adapter::offloads::Resource::Queue(_))
}

#[test]
fn new_resources_are_placed_beside_those_of_before_a_restart() {
    for seed in 0..12 {
        let net = team(seed, SINGLE_MEMBER).start();
        net.fail(1);
        net.advance(10 * MS);
        // A queue without a filter: of a partition that nobody can tell.
        net.offload(net.vm(0), |partition| partition.allocate_queue()).expect("there is one");
        assert_eq!(home(&net, net.vm(0)), 2);
        net.restore(1);
        net.detach();
        net.attach();
        // At once it is refused, or all members have been asked.
        let early = net.start_queue(net.vm(1)).is_some();
        net.advance(10 * MS);
        let late = early || net.start_queue(net.vm(1)).is_some();
        assert!(late, "seed {seed}: it is still refused");
        assert_eq!(home(&net, net.vm(1)), 2, "seed {seed}");
        net.finish().assert_clean();
    }
}

#[test]
fn after_any_single_failure_while_lists_are_read_no_number_is_given_out_twice() {
    let (mut failed, mut joined) = (0, 0);
    for n in 1.. {
        let net = team(3, SINGLE_MEMBER).start();
        net.fail(1);
        net.advance(10 * MS);
        net.offload(net.vm(0), |partition| partition.allocate_queue()).expect("there is one");
        net.restore(1);
        net.world().fail_from_here(n);
        net.detach();
        net.attach();
        let mut site = net.world().injected_fault();
        if site.is_some() && look(&net, |_| ()).is_none() {
            // Without memory the module may not be attached.
            net.attach();
        }
        // Asked for at every moment until it is there.
        let mut queue = None;
        for _ in 0..40 {
            site = net.world().injected_fault();
            queue = queue.or_else(|| net.start_queue(net.vm(1)));
            net.advance(10 * MS);
        }
        assert!(queue.is_some(), "call {n} ({site:?}): it is still refused");
        // One that refuses to list is not waited for.
        if site != Some("OID_SWITCH_NIC_REQUEST") && site != Some("ReferenceSwitchNic") {
            assert_eq!(home(&net, net.vm(1)), 2, "call {n} ({site:?})");
            joined += 1;
        }
        net.finish().assert_clean();
        if site.is_none() {
            break;
        }
        failed += 1;
    }
    assert!(failed > 60 && joined > 40, "only {failed} calls failed, {joined} times on the same member");
}

#[test]
fn a_member_that_is_connected_later_is_asked_too() {
    let net = team(1, SINGLE_MEMBER).start();
    net.unplug(3);
    net.advance(10 * MS);
    let mark = net.look(|s| s.control.nics.arrived.len()).expect("the machine runs");
    net.replug(3);
    net.advance(10 * MS);
    let asked = net.look(move |s| {
        let of = |a: &&vswitch::switch::control::nic_request::Arrived| a.envelope.destination_nic_index == 3;
        s.control.nics.arrived[mark..].iter().filter(of).map(|a| a.inner.oid).collect::<Vec<_>>()
    });
    let asked = asked.expect("the machine runs");
    for list in [oid::ENUM_QUEUES, oid::ENUM_FILTERS, oid::ENUM_VFS, oid::ENUM_VPORTS] {
        assert!(asked.contains(&list), "{list:#x} was not asked for: {asked:x?}");
    }
    net.finish().assert_clean();
}

/// A failure once is not one for ever, and neither is one that lasts.
#[test]
fn a_member_that_never_lists_what_it_holds_keeps_requests_undirected_for_a_minute_and_no_longer() {
    for placement in [FOLLOW_FLOWS, SINGLE_MEMBER] {
        for seed in 0..6 {
            let net = team(seed, placement).start();
            net.advance(10 * MS);
            let vms = [net.vm(0), net.vm(1), net.vm(2)];
            for nic in vms {
                net.start_queue(nic).expect("there is one");
            }
            let homes = vms.map(|nic| home(&net, nic));
            let silent = (1..=3).find(|member| !homes.contains(member));
            let Some(silent) = silent else { continue };
            net.look(move |state| state.style.listing.never = Some(silent));
            net.detach();
            net.attach();
            net.advance(30_000 * MS);
            assert_eq!(release(&net, vms[0]), [0, 0], "it may have the same number");
            net.advance(30_000 * MS);
            assert_eq!(release(&net, vms[1]), [homes[1]; 2], "seed {seed}, placement {placement}");
            // What it lists at last counts.
            net.look(|state| state.style.listing.never = None);
            net.advance(120_000 * MS);
            assert_eq!(release(&net, vms[2]), [homes[2]; 2]);
            net.finish().assert_clean();
        }
    }
}

#[test]
fn an_adapter_that_comes_in_the_place_of_a_silent_one_is_waited_for_anew() {
    let net = restarted(1, SINGLE_MEMBER, |net| {
        let silent = (1..=3).find(|member| *member != home(net, net.vm(0))).expect("three members");
        net.look(move |state| state.style.listing.never = Some(silent));
    });
    net.advance(60_000 * MS);
    let silent = net.look(|state| state.style.listing.never).flatten().expect("set above");
    net.unplug(silent);
    net.replug(silent);
    net.advance(10 * MS);
    assert_eq!(release(&net, net.vm(0)), [0, 0], "another adapter may hold anything");
    net.finish().assert_clean();
}

#[test]
fn an_adapter_that_was_taken_out_before_it_could_be_asked_keeps_no_request_undirected() {
    for placement in [FOLLOW_FLOWS, SINGLE_MEMBER] {
        for seed in 0..12 {
            let net = restarted(seed, placement, |net| {
                net.look(|state| state.style.refuse_references = 100);
            });
            net.advance(MS);
            let homes = [net.vm(0), net.vm(1)].map(|nic| home(&net, nic));
            let other = (1..=3).find(|member| !homes.contains(member)).expect("three members");
            net.unplug(other);
            net.look(|state| state.style.refuse_references = 0);
            net.advance(6 * LATER);
            assert_directed(&net, &format!("seed {seed}, placement {placement}"));
            net.finish().assert_clean();
        }
    }
}

/// Each of them is a free that could not be directed, after which the lists are read again.
#[test]
fn a_free_that_could_not_be_directed_keeps_no_later_one_undirected() {
    for seed in 0..12 {
        let net = restarted(seed, FOLLOW_FLOWS, |_| {});
        net.advance(10 * MS);
        let home = home(&net, net.vm(0));
        let mark = net.look(|s| s.control.nics.arrived.len()).expect("the machine runs");
        // In one go: the thread that reads the lists again gets no time.
        net.offload(net.vm(0), |p| {
            p.ask(&Inner::set(oid::FREE_QUEUE, free_queue(77)));
            p.release();
        });
        let arrived = net.look(move |s| s.control.nics.arrived[mark..].to_vec()).expect("the machine runs");
        let frees = arrived.iter().filter(|a| RELEASES.contains(&a.inner.oid));
        let named: Vec<u16> = frees.map(|a| a.envelope.destination_nic_index).collect();
        assert_eq!(named, [0, home, home], "seed {seed}: the unknown queue, the filter and the queue");
        net.finish().assert_clean();
    }
}

#[test]
fn one_list_that_fails_keeps_no_other_from_being_read() {
    let net = restarted(1, SINGLE_MEMBER, |net| {
        net.look(|state| state.style.listing.never = Some(1));
    });
    net.advance(10 * MS);
    let asked = net.look(|s| {
        let to_first =
            |a: &&vswitch::switch::control::nic_request::Arrived| a.envelope.destination_nic_index == 1;
        s.control.nics.arrived.iter().filter(to_first).map(|a| a.inner.oid).collect::<Vec<_>>()
    });
    let asked = asked.expect("the machine runs");
    for list in [oid::ENUM_QUEUES, oid::ENUM_FILTERS, oid::ENUM_VFS, oid::ENUM_VPORTS] {
        assert!(asked.contains(&list), "{list:#x} was not asked for: {asked:x?}");
    }
    net.finish().assert_clean();
}
