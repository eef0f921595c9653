//! Ports, NICs, policies, groups and links change while VMs send: no rule is broken and nothing leaks. And floods to a
//! thousand ports hold the lock only for one batch at a time.

use std::collections::BTreeSet;
use vswitch::adapter::physical_switch::Aggregation;
use vswitch::machine::registry::Value;
use vswitch::scenario::guest::{BROADCAST, Flow};
use vswitch::scenario::suite::depth::seeds;
use vswitch::scenario::suite::policies::{step, storm};
use vswitch::scenario::suite::random::{Draw, Traffic, switch};
use vswitch::scenario::{Enumeration, Net, Scenario};
use vswitch::switch::frames::FrameOutcome;

const ORDERS: [Enumeration; 3] = [Enumeration::Arrays, Enumeration::Requests, Enumeration::Mixed];
const MODES: [Aggregation; 2] = [Aggregation::Static, Aggregation::SwitchIndependent];
const ONE: &[u64] = &[10];
const EIGHT: &[u64] = &[10, 10, 25, 25, 10, 40, 10, 10];

/// Number of seeds of storms on one thread, and of storms during traffic.
const SEEDS: u64 = 120;
const RACES: u64 = 120;
const CLAIMED: u64 = 11_609_497;

fn plan(seed: u64) -> Scenario {
    let members = if seed.is_multiple_of(2) { ONE } else { EIGHT };
    switch(seed, members, MODES[seed as usize / 2 % 2])
        .enumeration(ORDERS[seed as usize / 4 % 3])
        .setting("LinkUpDelayMs", Value::Dword(0))
}

#[test]
fn storms_of_ports_and_policies_break_no_rule_in_either_order_of_enumeration() {
    for seed in seeds(SEEDS) {
        let net = plan(seed).start();
        storm(&net, 40);
        let outcome = net.finish();
        if !outcome.violations.is_empty() || outcome.aborted {
            eprintln!(
                "storm {seed}, again: LBFOEXT_SEED={seed} cargo test -p lbfoext --test driver lifecycle::"
            );
        }
        outcome.assert_clean();
    }
}

type Body = Box<dyn FnOnce(&Net) + Send>;

fn race(plan: Scenario, seed: u64, chains: usize) -> vswitch::scenario::outcome::Outcome {
    let net = plan.start();
    let members = if seed.is_multiple_of(2) { 1 } else { 8 };
    let mut bodies: Vec<(&'static str, Body)> = vec![(
        "changes",
        Box::new(move |net: &Net| {
            let mut draw = Draw::new(seed);
            for _ in 0..12 {
                step(net, &mut draw);
            }
        }),
    )];
    for (number, name) in (0..).zip(["sender 0", "sender 1", "sender 2"]) {
        bodies.push((
            name,
            Box::new(move |net: &Net| {
                let mut traffic = Traffic::new(10 * seed + number, members);
                for _ in 0..chains {
                    let chain = traffic.chain(net, 6);
                    net.from_both_sides(chain);
                }
            }),
        ));
    }
    net.together(bodies);
    net.finish()
}

#[test]
fn storms_under_the_traffic_of_three_processors_leave_nothing_behind() {
    for seed in seeds(RACES) {
        let outcome = race(plan(seed), seed, 8);
        if !outcome.violations.is_empty() || outcome.aborted {
            eprintln!(
                "race {seed}, again: LBFOEXT_SEED={seed} cargo test -p lbfoext --test driver lifecycle::"
            );
        }
        outcome.assert_clean();
    }
    // A machine says that an address is its own at the moment at which the network says that it is outside.
    race(plan(CLAIMED), CLAIMED, 8).assert_clean();
    for seed in seeds(RACES / 4) {
        race(plan(seed).free_threads(), seed, 40).assert_clean();
    }
}

/// Number of VMs that a flood reaches.
const PORTS: u16 = 1_000;

#[test]
fn a_flood_reaches_a_thousand_ports_in_holds_of_at_most_64_destinations() {
    for (seed, aggregation) in (0..).zip(MODES) {
        let net = Scenario::new(seed)
            .members(&[10, 10])
            .vms(PORTS)
            .aggregation(aggregation)
            .style(|style| style.awkward_memory = false)
            .start();
        let flood = |n: u16| Flow { to: BROADCAST, ..net.flow(net.vm(n), n) };
        net.send(net.vm(0), &[flood(0).frame(1, 60)]);
        net.send(
            net.vm(1),
            &[flood(1).frame(2, 60), net.flow(net.vm(1), 1).frame(3, 60), flood(1).frame(4, 60)],
        );
        let from_external = Flow { to: BROADCAST, ..net.external_flow(net.vm(0), 1) };
        net.from_the_network(&from_external.frame(5, 60));
        net.settle();
        let outcome = net.finish();
        outcome.assert_clean();
        assert!(outcome.exercised.contains_key("LOCK-HOLD"), "no hold was measured");
        let reached = |frame: usize| {
            let vnics = outcome.frames[frame].outcomes.iter().filter_map(|end| match end {
                FrameOutcome::Delivered { to, .. } if to.port != 1 => Some(to.port),
                _ => None,
            });
            vnics.collect::<BTreeSet<_>>().len()
        };
        assert_eq!([reached(0), reached(1), reached(3)], [usize::from(PORTS) - 1; 3]);
        let external: usize = (4..outcome.frames.len()).map(reached).sum();
        assert_eq!(external, usize::from(PORTS), "each VM gets the flood from the external network once");
    }
}
