//! Members that go down while VMs send: once the handler of the indication has returned, no packet is assigned to
//! them. Runs in which a lock or the rundown is disabled break a rule, which proves that each is needed.

use lbfoext::ndis::raw::MEDIA_CONNECT;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use vswitch::adapter::wire::status as codes;
use vswitch::machine::registry::Value;
use vswitch::machine::rwlock::{Fairness, most_overtaken};
use vswitch::mutation::Mutation;
use vswitch::scenario::guest::Flow;
use vswitch::scenario::outcome::Outcome;
use vswitch::scenario::suite::depth::seeds;
use vswitch::scenario::suite::{MS, SILENCE};
use vswitch::scenario::{Net, Scenario};
use vswitch::switch::control::status::Status;

/// Number of seeds, each of which gives one interleaving.
const SEEDS: u64 = 300;
/// Number of runs with threads that the host schedules.
const FREE_RUNS: u64 = 30;

fn team(seed: u64) -> Scenario {
    // Without an idle gap a bucket of a stale plan moves at once, so no waiting time can hide a race.
    Scenario::new(seed)
        .members(&[10, 10, 10, 10])
        .vms(4)
        .setting("LinkUpDelayMs", Value::Dword(0))
        .setting("FlowletGapUs", Value::Dword(0))
        .style(|style| style.awkward_memory = false)
}

/// The threads of the VMs that send.
const SENDERS: [&str; 4] = ["sender 0", "sender 1", "sender 2", "sender 3"];

/// Sends `chains` chains of flows from one VM, one after the other.
fn sender(vm: u16, chains: u32) -> impl FnOnce(&Net) + Send {
    move |net| {
        for sequence in 0..chains {
            let frames: Vec<_> =
                (0..8).map(|n| net.flow(net.vm(vm), 8 * vm + n).frame(sequence, 60)).collect();
            net.send(net.vm(vm), &frames);
        }
    }
}

type Body = Box<dyn FnOnce(&Net) + Send>;

/// Members 1 and 2 go down on two processors at the same time while four VMs send.
fn two_deaths(plan: Scenario, chains: u32) -> Outcome {
    let net = plan.start();
    let mut bodies: Vec<(&'static str, Body)> = vec![
        ("death of 1", Box::new(|net: &Net| net.fail(1))),
        ("death of 2", Box::new(|net: &Net| net.fail(2))),
    ];
    for (vm, name) in (0..).zip(SENDERS) {
        bodies.push((name, Box::new(sender(vm, chains))));
    }
    net.together(bodies);
    net.advance(SILENCE);
    for vm in 0..4 {
        sender(vm, 2)(&net);
    }
    net.finish()
}

/// The module is paused and restarted while four VMs send.
fn pause_under_fire(plan: Scenario) -> Outcome {
    let net = plan.start();
    let mut bodies: Vec<(&'static str, Body)> = vec![(
        "pause",
        Box::new(|net: &Net| {
            for _ in 0..3 {
                net.pause();
                net.restart();
            }
        }),
    )];
    for (vm, name) in (0..).zip(SENDERS) {
        bodies.push((name, Box::new(sender(vm, 4))));
    }
    net.together(bodies);
    net.finish()
}

#[test]
fn two_members_dying_at_once_get_nothing_afterwards_in_any_interleaving() {
    let mut hashes = BTreeSet::new();
    for seed in seeds(SEEDS) {
        let outcome = two_deaths(team(seed), 2);
        outcome.assert_clean();
        hashes.insert(outcome.log_hash);
    }
    let runs = seeds(SEEDS).count();
    println!("{runs} seeds, {} different interleavings", hashes.len());
    assert!(hashes.len() > runs / 2, "the seeds hardly differ");
}

#[test]
fn two_members_dying_at_once_get_nothing_afterwards_with_free_threads() {
    for seed in seeds(FREE_RUNS) {
        two_deaths(team(seed).free_threads(), 40).assert_clean();
    }
}

/// Number of chains after which a sender stops waiting for the failover.
const MOST_CHAINS: u32 = 400;

/// A member goes down while four VMs send until the failover is published. Returns the largest number of chains that
/// one VM sent meanwhile, and how often at most the lock was taken for reading while a writer waited.
fn death_among_senders_that_never_stop(plan: Scenario) -> (u32, u32) {
    let net = plan.start();
    let [through, most] = [(); 2].map(|()| Arc::new(AtomicU32::new(0)));
    let is_through = Arc::clone(&through);
    let death = move |net: &Net| {
        net.fail(1);
        is_through.store(1, Ordering::SeqCst);
    };
    let mut bodies: Vec<(&'static str, Body)> = vec![("death", Box::new(death))];
    for (vm, name) in (0..).zip(SENDERS) {
        let (through, most) = (Arc::clone(&through), Arc::clone(&most));
        let body = move |net: &Net| {
            let mut chains = 0;
            while chains < MOST_CHAINS && through.load(Ordering::SeqCst) == 0 {
                sender(vm, 1)(net);
                chains += 1;
            }
            most.fetch_max(chains, Ordering::SeqCst);
        };
        bodies.push((name, Box::new(body)));
    }
    net.together(bodies);
    let overtaken = most_overtaken(net.world());
    net.finish().assert_clean();
    (most.load(Ordering::SeqCst), overtaken)
}

#[test]
fn a_failover_is_published_among_senders_that_never_stop_whatever_the_lock_does() {
    for fairness in [Fairness::ReaderFirst, Fairness::WriterFirst] {
        for free in [false, true] {
            let runs = seeds(40).map(|seed| {
                // Each thread has its own processor, so that the wait for the lock is measured and not the wait for a
                // processor.
                let plan = team(seed).config(|config| (config.fairness, config.cpus) = (Some(fairness), 5));
                death_among_senders_that_never_stop(if free { plan.free_threads() } else { plan })
            });
            let (chains, overtaken) = runs.fold((0, 0), |(a, b), (c, d)| (a.max(c), b.max(d)));
            println!(
                "{fairness:?}, {}: published after at most {chains} chains of a sender, {overtaken} reads of \
                 all while a writer waited",
                if free { "free threads" } else { "baton" }
            );
            // How long a thread of the host waits for one of its processors says nothing about the lock.
            assert!(free || chains < MOST_CHAINS, "{fairness:?}: a sender sent {chains} chains before");
            // Each reads once more at most: if it had looked before the writer came.
            assert!(
                overtaken <= SENDERS.len() as u32,
                "{fairness:?}: {overtaken} reads while a writer waited"
            );
        }
    }
}

#[test]
fn pausing_under_fire_leaves_nothing_under_way() {
    for seed in seeds(SEEDS) {
        pause_under_fire(team(seed)).assert_clean();
    }
    for seed in seeds(4 * FREE_RUNS) {
        pause_under_fire(team(seed).free_threads()).assert_clean();
    }
}

/// The first seed with which a rule of `group` is broken while `mutation` disables a part of the driver.
fn breaks_without(mutation: Mutation, seeds: u64, group: &str, run: impl Fn(Scenario) -> Outcome) {
    let broken = |seed| run(team(seed).config(|config| config.mutation = Some(mutation))).broken();
    let first = (0..seeds).find(|&seed| broken(seed).iter().any(|rule| rule.starts_with(group)));
    assert!(first.is_some(), "{mutation:?}: {seeds} interleavings break no rule of {group}");
}

#[test]
fn without_the_barrier_a_dead_member_gets_packets() {
    breaks_without(Mutation::NoBarrier, 2_000, "STA-1", |plan| two_deaths(plan, 2));
}

#[test]
fn without_the_gate_readers_overtake_a_writer_again_and_again() {
    // With a spin lock that does not exclude, the gate stops no reader.
    let reader_first = |plan: Scenario| plan.config(|config| config.fairness = Some(Fairness::ReaderFirst));
    breaks_without(Mutation::NoTeamLock, 200, "LOCK-06", |plan| two_deaths(reader_first(plan), 20));
}

#[test]
fn without_the_team_lock_a_dead_member_gets_packets() {
    breaks_without(Mutation::NoTeamLock, 200, "STA-1", |plan| two_deaths(plan, 2));
}

#[test]
fn without_the_rundown_packets_are_sent_while_paused() {
    breaks_without(Mutation::NoRundown, 200, "STATE-", pause_under_fire);
}

#[test]
fn a_death_during_a_long_chain_splits_no_flow_of_a_survivor() {
    for seed in 0..100 {
        let net = team(seed).start();
        net.together(vec![
            ("death", Box::new(|net: &Net| net.fail(3))),
            (
                "long chain",
                Box::new(|net: &Net| {
                    let frames: Vec<_> =
                        (0..200).map(|n| net.flow(net.vm(0), n % 20).frame(u32::from(n / 20), 40)).collect();
                    net.send(net.vm(0), &frames);
                }),
            ),
        ]);
        net.advance(10 * MS);
        let outcome = net.finish();
        outcome.assert_clean();
        for (flow, path) in outcome.members_of(Flow::of) {
            assert!(path.len() == 1 || path[0] == 3, "seed {seed}: {flow:?} went {path:?}");
        }
    }
}

#[test]
fn an_answer_from_before_the_cable_was_pulled_brings_nobody_back() {
    for seed in 0..200 {
        let net = team(seed).style(|style| style.delay = 20 * MS).start();
        net.advance(SILENCE);
        // The team indicates a change, the driver queries the members, and some answer late. Then one member indicates
        // its own link.
        let from = Some(net.member(0));
        net.status(Status { code: MEDIA_CONNECT, buffer: Vec::new(), from });
        net.fail(2);
        // The late answers arrive while the VM sends, before the repeated query has corrected anything.
        for millisecond in 0..40 {
            sender(millisecond % 4, 1)(&net);
            net.advance(MS);
        }
        let outcome = net.finish();
        outcome.assert_clean();
        assert!(outcome.assignments.iter().all(|assignment| assignment.member != 2), "seed {seed}");
    }
}

#[test]
fn a_status_of_an_adapter_that_is_not_connected_stays_below() {
    for seed in 0..20 {
        let net = team(seed).start();
        net.advance(SILENCE);
        let member = net.member(2);
        let all = || {
            for code in [MEDIA_CONNECT, codes::FILTER_CURRENT, 0x4002_7777] {
                net.status(Status { code, buffer: Vec::new(), from: Some(member) });
            }
        };
        net.disconnect(member);
        all();
        net.delete_member(2);
        assert!(net.create_guest_nic(member, net.mac(member), &BTreeSet::new()));
        all();
        assert!(net.connect_guest_nic(member));
        all();
        net.advance(SILENCE);
        sender(0, 1)(&net);
        net.finish().assert_clean();
    }
}
