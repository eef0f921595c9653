//! Tests of the simulated switch itself: two independent extensions, written in C from the documentation alone
//! (`tests/vswitch/witness`), run the scenarios. If one of them breaks a rule, then by the rule's page either the
//! extension is wrong or the simulated switch.

use std::path::Path;
use std::{fs, panic};
use vswitch::image::Image;
use vswitch::scenario::guest::{BROADCAST, Flow, Packet};
use vswitch::scenario::outcome::Outcome;
use vswitch::scenario::suite::{CASES, Case};
use vswitch::scenario::{Body, Net, Scenario};
use vswitch::switch::control::save::{Offering, Other};
use vswitch::switch::ndis::driver::Role;

/// Seeds for each scenario.
const SEEDS: u64 = 12;

/// The service has the name of the file, as in the INF that would install it.
#[derive(Clone, Copy)]
struct Witness {
    name: &'static str,
    role: Role,
}

const PASSTHROUGH: Witness = Witness { name: "passthrough", role: Role::Filtering };
const FORWARD: Witness = Witness { name: "forward", role: Role::Forwarding };

/// Which checks of a scenario apply to an extension for which it was not written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Part {
    Whole,
    /// Every rule holds and every frame is delivered or dropped; the other checks apply to a team only.
    Rules,
    Nothing,
}
use Part::{Nothing, Rules, Whole};

/// Scenarios that do not apply unchanged: to the passthrough extension, to the forwarding extension, and the reason.
const UNFIT: [(&str, Part, Part, &str); 15] = [
    ("policies", Whole, Nothing, NO_POLICY),
    ("policies_change", Whole, Nothing, NO_POLICY),
    ("private_vlans", Whole, Nothing, NO_POLICY),
    ("addresses_move", Whole, Nothing, NO_POLICY),
    ("teams_of_guests", Whole, Nothing, NO_POLICY),
    ("ports_added_and_removed", Whole, Nothing, NO_POLICY),
    ("team_receives", Nothing, Nothing, "one copy of a flood, and none of one's own: a team's promise"),
    ("queue_numbers", Rules, Rules, NO_QUEUES),
    ("queue_numbers_of_copies", Rules, Rules, NO_QUEUES),
    ("failover", Rules, Rules, "that flows move to another adapter is a team's promise"),
    ("failover_indicated_for_the_team", Rules, Rules, "the same"),
    ("failover_told_by_nobody", Rules, Rules, "the same"),
    ("all_members_fail", Rules, Nothing, "that an adapter without a link gets nothing is a team's promise"),
    ("saved_and_restored", Nothing, Nothing, NO_RECORDS),
    ("live_migration", Nothing, Nothing, NO_RECORDS),
];

const NO_POLICY: &str = "the forwarding witness enforces no port policy";
const NO_QUEUES: &str = "a queue for the team as a whole exists nowhere: a teaming provider places it";
const NO_RECORDS: &str = "neither has records of its own: `records_of_others_pass` stands for it";

fn fit(case: &Case, witness: Witness) -> Part {
    let row = UNFIT.iter().find(|(name, ..)| *name == case.name);
    row.map_or(
        Whole,
        |(_, passing, forwarding, _)| if witness.role.forwards() { *forwarding } else { *passing },
    )
}

fn load(witness: Witness) -> Image {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(image::WITNESSES).join(witness.name);
    Image::load(&path.with_extension("sys")).unwrap_or_else(|error| panic!("{error}"))
}

fn with(witness: Witness, image: &Image, plan: Scenario) -> Scenario {
    // By the page a list arrives without children; the product is also tested with a ChildRefCount from above.
    plan.driver(image.entry())
        .installed(witness.name, witness.role)
        .style(|style| style.adversities.derived_above = false)
        // The page has one status for an array that is too short (oid-switch-nic-array). With another one the forwarding
        // extension fails its restart, and is detached before it forwards anything.
        .style(|style| style.odd.short = 0)
        // No page of Windows says what an extension does with frames that a bridge keeps on their link.
        .style(|style| style.link_local = None)
        // Nor to whom one gives frames to multicast groups.
        .style(|style| style.prunes = None)
}

fn assert_ends(outcome: &Outcome) {
    outcome.assert_clean();
    let silent = outcome.frames.iter().filter(|frame| frame.outcomes.is_empty()).count();
    assert_eq!(silent, 0, "frames without an end");
}

/// Runs every scenario that applies, with every seed; returns the number of each kind.
fn run(witness: Witness, change: fn(Scenario) -> Scenario, judge: fn(&Case, Part, &Outcome)) {
    let (mut counts, mut frames) = ([0; 3], 0);
    for case in CASES {
        let part = fit(case, witness);
        counts[part as usize] += 1;
        for seed in 0..SEEDS {
            if part == Nothing {
                break;
            }
            let image = load(witness);
            let outcome = case.run(change(with(witness, &image, (case.plan)(seed))));
            frames += outcome.frames.len();
            if let Err(cause) = panic::catch_unwind(panic::AssertUnwindSafe(|| judge(case, part, &outcome))) {
                eprintln!("{}: {} with seed {seed}", witness.name, case.name);
                panic::resume_unwind(cause);
            }
        }
    }
    let [whole, rules, nothing] = counts;
    println!(
        "{}: {whole} scenarios as a whole, {rules} for the rules, {nothing} left out, {SEEDS} seeds each, \
         {frames} frames",
        witness.name
    );
}

fn as_it_fits(case: &Case, part: Part, outcome: &Outcome) {
    if part == Whole { case.assert(outcome) } else { assert_ends(outcome) }
}

#[test]
#[cfg_attr(not(witnesses_present), ignore = "build the witnesses first: cargo image witnesses")]
fn the_passthrough_keeps_every_rule_and_the_switch_forwards_by_itself() {
    run(PASSTHROUGH, |plan| plan, as_it_fits);
}

#[test]
#[cfg_attr(not(witnesses_present), ignore = "build the witnesses first: cargo image witnesses")]
fn the_forwarding_extension_keeps_every_rule() {
    run(FORWARD, |plan| plan, as_it_fits);
}

/// Calls fail, often no free destination element is left, and frames lie in many small buffers.
#[test]
#[cfg_attr(not(witnesses_present), ignore = "build the witnesses first: cargo image witnesses")]
fn both_keep_every_rule_in_adversity() {
    for witness in [PASSTHROUGH, FORWARD] {
        let harder = |plan: Scenario| {
            plan.style(|style| {
                (style.refuse, style.free_slots) = (10, 2);
                (style.adversities.add_needs_slot, style.adversities.stale_slots) = (true, true);
                style.awkward_memory = true;
                style.stride = 24;
            })
        };
        run(witness, harder, |_, _, outcome| assert_ends(outcome));
    }
}

/// Two processors send while a third pauses and restarts the module and changes VMs.
#[test]
#[cfg_attr(not(witnesses_present), ignore = "build the witnesses first: cargo image witnesses")]
fn both_pause_and_restart_while_others_send() {
    for (witness, seed) in
        [PASSTHROUGH, FORWARD].into_iter().flat_map(|w| (0..4 * SEEDS).map(move |seed| (w, seed)))
    {
        let image = load(witness);
        let plan = with(witness, &image, Scenario::new(seed).members(&[10, 10]).vms(4).internal(1));
        let net = if seed % 4 == 3 { plan.free_threads() } else { plan }.start();
        let send = |vm: u16| -> Body {
            Box::new(move |net: &Net| {
                let (from, to) = (net.vm(vm), net.vm(1 - vm));
                for n in 0..30 {
                    net.send(
                        from,
                        &[net.flow(from, n), net.flow_between(from, to, n)].map(|f| f.frame(1, 90)),
                    );
                    net.send(from, &[Flow { to: BROADCAST, ..net.flow(from, n) }.frame(2, 60)]);
                    let several = [net.flow(from, n), net.flow_between(from, to, n)].map(|f| f.frame(3, 90));
                    net.send_packets(vec![(from, Packet::several(several.to_vec()))]);
                    net.receive_external(1 + n % 2, &[net.external_flow(from, n).frame(4, 90)]);
                }
            })
        };
        let control: Body = Box::new(|net: &Net| {
            for n in 0..6 {
                net.pause();
                if n % 2 == 0 {
                    net.remove_vm(3);
                    net.add_vm(3);
                }
                net.restart();
            }
        });
        net.together(vec![("sender 0", send(0)), ("sender 1", send(1)), ("control", control)]);
        let pauses = net.look(|state| state.modules[0].pauses);
        let outcome = net.finish();
        if outcome.complaint().is_some() {
            eprintln!("{} with seed {seed}", witness.name);
        }
        assert_ends(&outcome);
        assert_eq!(pauses, Some(6), "{} with seed {seed}", witness.name);
    }
}

#[test]
#[cfg_attr(not(witnesses_present), ignore = "build the witnesses first: cargo image witnesses")]
fn records_of_others_pass() {
    for (witness, seed) in
        [PASSTHROUGH, FORWARD].into_iter().flat_map(|w| (0..SEEDS).map(move |seed| (w, seed)))
    {
        let image = load(witness);
        let net = with(witness, &image, Scenario::new(seed)).start();
        let (vm, data) = (net.vm(0), vec![9; 700]);
        net.look(|s| s.saves.others.entry((Other::Below, 0, vm)).or_default().push(data.clone()));
        let saved = net.save(vm, Offering::default()).expect("somebody saves");
        assert!(!saved.failed && !saved.blobs.is_empty());
        assert!(net.restore_nic(vm, &saved.blobs));
        assert_ends(&net.finish());
    }
}

/// NDIS calls the optional handlers that an extension registers: driver and module options, device PnP events, direct
/// OID requests.
#[test]
#[cfg_attr(not(witnesses_present), ignore = "build the witnesses first: cargo image witnesses")]
fn handlers_that_are_optional_are_called() {
    const CALLED: [&str; 5] = [
        "FilterSetOptions",
        "FilterSetModuleOptions",
        "FilterDevicePnPEventNotify",
        "FilterDirectOidRequest",
        "FilterDirectOidRequestComplete",
    ];
    let mut called = std::collections::BTreeSet::new();
    for seed in 0..SEEDS {
        let image = load(PASSTHROUGH);
        let plan = with(PASSTHROUGH, &image, Scenario::new(seed)).config(|config| config.keep_log = true);
        let net = plan.start();
        net.device_event();
        for (kind, planned) in [(0, 0), (1, -1_073_741_823), (12, 0)] {
            assert_eq!(net.ask_direct(0x00FF_0001, kind, &[7; 40], planned), Some(planned));
        }
        let outcome = net.finish();
        outcome.assert_clean();
        called.extend(CALLED.into_iter().filter(|name| outcome.log.iter().any(|line| line.contains(name))));
    }
    assert_eq!(called.len(), CALLED.len(), "{called:?}");
}

#[test]
fn every_scenario_that_is_left_out_exists_and_has_a_reason() {
    for (name, passing, forwarding, reason) in UNFIT {
        assert!(CASES.iter().any(|case| case.name == name), "{name}");
        assert!(!reason.is_empty(), "{name}: {passing:?} {forwarding:?}");
    }
    let left_out = |witness| CASES.iter().filter(|case| fit(case, witness) == Nothing).count();
    assert_eq!([left_out(PASSTHROUGH), left_out(FORWARD)], [3, 10], "of {}", CASES.len());
}

#[test]
#[cfg_attr(not(witnesses_present), ignore = "build the witnesses first: cargo image witnesses")]
fn the_witnesses_are_built_from_the_sources_that_are_here() {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR"));
    let built = fs::read_to_string(workspace.join(image::WITNESSES).join("sources")).unwrap_or_default();
    let here = image::witness_digest(workspace).expect("sources");
    assert_eq!(built, here, "the witnesses are older than their sources: cargo image witnesses");
}
