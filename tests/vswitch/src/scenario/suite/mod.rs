//! The scenarios of all kinds of runs: with the native driver and with the image, with each fallible call failing in
//! turn, with each mutation. A case describes a switch, runs steps and checks the outcome.

mod cases;
pub mod control;
pub mod depth;
pub mod offload;
pub mod policies;
pub mod queue_numbers;
pub mod random;
mod reached;
pub mod receiving;
mod receiving_full;
pub mod receiving_storm;
pub mod saved;
pub mod teams;

pub use cases::CASES;

use crate::adapter::lists::Listing;
use crate::adapter::physical_switch::Aggregation;
use crate::machine::registry::Value;
use crate::scenario::guest::{Flow, Packet};
use crate::scenario::outcome::Outcome;
use crate::scenario::{Activation, Enumeration, Indication, Net, Scenario};
use crate::switch::frames::FrameOutcome;
use crate::switch::ports::NicId;

/// One scenario.
#[derive(Clone, Copy)]
pub struct Case {
    pub name: &'static str,
    /// A description in one line.
    pub about: &'static str,
    /// The description of the switch, for a seed.
    pub plan: fn(u64) -> Scenario,
    /// The steps.
    pub steps: fn(&Net),
    /// The check of the outcome, if no call was made to fail. Rules and leaks are checked in addition.
    pub check: fn(&Outcome),
}

impl Case {
    pub fn run(&self, plan: Scenario) -> Outcome {
        self.run_and_look(plan, |_| ())
    }

    /// The same with a look at the switch before it ends.
    pub fn run_and_look(&self, plan: Scenario, look: impl FnOnce(&Net)) -> Outcome {
        let again = Again(self.command(&plan));
        let net = plan.start();
        (self.steps)(&net);
        look(&net);
        let mut outcome = net.finish();
        outcome.again = Some(again.0.clone());
        outcome
    }

    /// Panics unless the outcome has no violations and leaks and the case's own check succeeds.
    pub fn assert(&self, outcome: &Outcome) {
        outcome.assert_clean();
        let _again = Again(outcome.again.clone().unwrap_or_default());
        (self.check)(outcome);
    }

    /// The command that runs the case with this seed and fault.
    fn command(&self, plan: &Scenario) -> String {
        let fault = plan.fault().map(|number| format!(" --fault {number}")).unwrap_or_default();
        if let Some(witness) = plan.witness() {
            return format!("cargo test -p lbfoext --test driver witnesses::   # {witness}, {}", self.name);
        }
        let point = plan.point().map(|number| format!(" --detach-at {number}")).unwrap_or_default();
        let image = if plan.is_native() { "" } else { " --image LBFOEXT.SYS" };
        format!("teamctl scenario {} --seed {}{fault}{point}{image}", self.name, plan.seed())
    }
}

/// A command that is printed on drop if the test is failing.
struct Again(String);

impl Drop for Again {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("again: {}", self.0);
        }
    }
}

/// The case with this name.
pub fn find(name: &str) -> Option<&'static Case> {
    CASES.iter().find(|case| case.name == name)
}

/// A microsecond in units of the virtual clock.
pub const US: u64 = 10;
pub const MS: u64 = 1_000 * US;
/// An idle time longer than the default gap and one step of the clock.
pub const SILENCE: u64 = 40 * MS;
/// Time between two questions to the operating system about a member, as README states it.
pub const POLL: u64 = 500 * MS;

const NO_WAIT: Value = Value::Dword(0);

fn packets_plan(seed: u64) -> Scenario {
    Scenario::new(seed).members(&[10, 25]).vms(3).internal(1)
}

fn awkward_plan(seed: u64) -> Scenario {
    packets_plan(seed).style(|style| {
        style.awkward_memory = true;
        style.unsafe_data = 60;
        style.free_slots = 2;
    })
}

fn refusing_plan(seed: u64) -> Scenario {
    // 15 % of the driver's calls for destinations, growth, contexts and copies fail.
    packets_plan(seed).style(|style| (style.refuse, style.adversities.add_needs_slot) = (15, true))
}

fn team_plan(seed: u64) -> Scenario {
    Scenario::new(seed).members(&[10, 10, 25, 40]).vms(2).setting("LinkUpDelayMs", NO_WAIT)
}

/// Timers are set until its end, and due in the middle of it.
fn in_passing_plan(seed: u64) -> Scenario {
    Scenario::new(seed)
        .members(&[10, 10, 25, 40])
        .vms(2)
        .setting("LinkUpDelayMs", Value::Dword([0, 1, 2][seed as usize % 3]))
        .style(|style| style.refuse_references = [0, 30][seed as usize / 3 % 2])
        .tear_down(false)
        .detach_in_passing(true)
}

fn team_only_plan(seed: u64) -> Scenario {
    team_plan(seed).indication(Indication::TeamOnly)
}

fn silent_plan(seed: u64) -> Scenario {
    team_plan(seed).indication(Indication::Nothing)
}

fn mixed_plan(seed: u64) -> Scenario {
    packets_plan(seed)
        .enumeration([Enumeration::Arrays, Enumeration::Requests, Enumeration::Mixed][seed as usize % 3])
}

fn inactive_plan(seed: u64) -> Scenario {
    let activation = [Activation::WhilePaused, Activation::WhileRunning][seed as usize % 2];
    mixed_plan(seed / 2).config(|config| config.seed = seed).activation(activation)
}

fn settings_plan(seed: u64) -> Scenario {
    team_plan(seed)
        .setting("FlowletGapUs", Value::Dword(1_000_000))
        .setting("HashSeed", Value::Sz("none".into()))
}

fn one_adapter_plan(seed: u64) -> Scenario {
    Scenario::new(seed).members(&[10]).vms(3).internal(1)
}

fn hyper_v_port_plan(seed: u64) -> Scenario {
    team_plan(seed).vms(4).aggregation(Aggregation::SwitchIndependent)
}

fn two_switches_plan(seed: u64) -> Scenario {
    packets_plan(seed).switches(2)
}

fn private_plan(seed: u64) -> Scenario {
    Scenario::new(seed).members(&[]).vms(3)
}

pub fn offload_plan(seed: u64) -> Scenario {
    Scenario::new(seed)
        .members(&[10, 10, 25, 40])
        .vms(4)
        .aggregation([Aggregation::SwitchIndependent, Aggregation::Static][seed as usize % 2])
        .setting("LinkUpDelayMs", NO_WAIT)
        .setting("OffloadPlacement", Value::Dword(0))
        .style(|style| {
            // In every placement some seeds have adapters that go by numbers alone.
            style.by_number = (seed % 3 == 2) != (seed / 24 % 2 == 1);
            style.listing = Listing::drawn(seed);
        })
}

pub fn single_member_plan(seed: u64) -> Scenario {
    offload_plan(seed).setting("OffloadPlacement", Value::Dword(1))
}

pub fn every_member_plan(seed: u64) -> Scenario {
    offload_plan(seed).setting("OffloadPlacement", Value::Dword(2)).random_abilities()
}

fn not_a_switch_plan(seed: u64) -> Scenario {
    packets_plan(seed).ordinary_stack()
}

/// One frame in each direction between all guests, some flows to and from the external network, a broadcast.
fn packets(net: &Net) {
    for round in 0..3 {
        let (a, b) = (net.vm(0), net.vm(1));
        net.send(a, &[net.flow_between(a, b, 1).frame(round, 60), net.flow(a, 2).frame(round, 200)]);
        net.send(
            b,
            &[net.flow(b, 3).frame(round, 700), net.flow(b, 4).frame(round, 0), broadcast(net, b, round)],
        );
        net.receive_external(1, &[net.external_flow(a, 5).frame(round, 90)]);
        net.receive_external(2.min(members(net)), &[net.external_flow(net.vm(2), 6).frame(round, 90)]);
        net.send_packets(vec![
            (a, Packet::of(net.flow(a, 7).frame(round, 80))),
            (b, Packet::of(net.flow(b, 8).frame(round, 80))),
            (net.vm(2), Packet::native(net.flow(net.vm(2), 9).frame(round, 80))),
        ]);
        net.advance(MS);
    }
}

fn members(net: &Net) -> u16 {
    net.look(|state| state.modules[0].external.adapters.len())
        .map_or(1, |count| count.try_into().unwrap_or(1))
        .max(1)
}

fn broadcast(net: &Net, from: NicId, round: u32) -> Vec<u8> {
    let mut frame = net.flow(from, 99).frame(round, 40);
    frame[..6].fill(0xFF);
    frame
}

fn awkward(net: &Net) {
    packets(net);
    let a = net.vm(0);
    let versions = |sequence| (net.flow(a, 20).frame(sequence, 300), net.flow(a, 21).frame(sequence, 300));
    let (one, other) = versions(0);
    net.send(a, &[one, other]);
    for sequence in 1..8 {
        let (one, other) = versions(sequence);
        net.send_packets(vec![(a, Packet::flickering(one, other, 14))]);
        net.advance(US);
    }
    // A frame from port 0, one of an external virtual subnet, and one that is cancelled.
    let trusted = NicId::new(0, 0);
    net.send_packets(vec![
        (trusted, Packet::of(net.flow_between(a, net.vm(1), 1).frame(90, 60))),
        (trusted, Packet::of(net.flow(a, 22).frame(90, 60))),
        (a, Packet { subnet: Some(5_001), ..Packet::of(net.flow(a, 23).frame(90, 60)) }),
        (a, Packet { cancel_id: 7, ..Packet::of(net.flow(a, 24).frame(90, 60)) }),
    ]);
    net.cancel_send(7);
}

fn several(net: &Net) {
    let (a, b) = (net.vm(0), net.vm(1));
    for round in 0..3 {
        let same: Vec<_> = (0..3).map(|n| net.flow(a, 1).frame(10 * round + n, 100)).collect();
        let mixed: Vec<_> = (0..16).map(|n| net.flow(a, n).frame(20 * round + u32::from(n), 100)).collect();
        let both = vec![net.flow_between(a, b, 1).frame(round, 60), net.flow(a, 2).frame(round, 60)];
        net.send_packets(vec![
            (a, Packet::several(same)),
            (a, Packet::several(mixed)),
            (a, Packet::several(both)),
            (a, Packet::of(net.flow(a, 3).frame(round, 50))),
        ]);
        net.advance(MS);
    }
}

/// Forty flows to the external network, one frame each.
pub fn traffic(net: &Net, sequence: u32) {
    for n in 0..20 {
        let frame = |vm: u16| net.flow(net.vm(vm), n + 20 * vm).frame(sequence, 60);
        net.send(net.vm(0), &[frame(0)]);
        net.send(net.vm(1), &[frame(1)]);
    }
}

fn failover(net: &Net) {
    traffic(net, 0);
    net.fail(2);
    traffic(net, 1);
    net.advance(SILENCE);
    net.restore(2);
    return_in_gaps(net);
}

/// Traffic with gaps of silence, in which a member that is up again gets its flows back.
fn return_in_gaps(net: &Net) {
    traffic(net, 2);
    net.advance(SILENCE);
    traffic(net, 3);
    net.advance(SILENCE);
    traffic(net, 4);
    net.settle();
}

/// A failover that only polling the operating system's interfaces can detect.
fn silent_failover(net: &Net) {
    // Speeds become known, too.
    net.advance(2 * POLL);
    traffic(net, 0);
    net.pull(2);
    net.advance(2 * POLL);
    traffic(net, 1);
    net.advance(SILENCE);
    net.plug(2);
    net.advance(2 * POLL);
    return_in_gaps(net);
}

fn busy(net: &Net) {
    traffic(net, 0);
    net.fail(2);
    traffic(net, 1);
    net.restore(2);
    traffic(net, 2);
    net.unplug(3);
    net.replug(3);
    traffic(net, 3);
}

fn come_and_go(net: &Net) {
    traffic(net, 0);
    net.unplug(3);
    traffic(net, 1);
    net.fail(1);
    traffic(net, 2);
    net.replug(3);
    net.advance(SILENCE);
    traffic(net, 3);
    net.restore(1);
    net.advance(SILENCE);
    traffic(net, 4);
    net.settle();
}

fn all_die(net: &Net) {
    traffic(net, 0);
    for member in 1..=4 {
        net.fail(member);
        traffic(net, u32::from(member));
    }
    net.restore(4);
    traffic(net, 9);
    net.settle();
}

fn vms_change(net: &Net) {
    packets(net);
    net.add_vm(7);
    let (a, new) = (net.vm(0), net.vm(7));
    net.send(a, &[net.flow_between(a, new, 1).frame(0, 60)]);
    net.remove_vm(1);
    net.send(a, &[net.flow_between(a, net.vm(1), 1).frame(0, 60)]);
    net.readdress(a, [2, 0x15, 0x5D, 9, 9, 9]);
    net.receive_external(1, &[Flow::new([2, 0xAA, 0, 0, 0, 1], [2, 0x15, 0x5D, 9, 9, 9], 1).frame(0, 60)]);
    net.add_vm(1);
    net.send(new, &[net.flow_between(new, net.vm(1), 1).frame(1, 60)]);
    for n in 20..45 {
        net.add_vm(n);
    }
    net.send(new, &[net.flow_between(new, net.vm(44), 1).frame(1, 60), broadcast(net, new, 1)]);
    net.settle();
}

fn activate(net: &Net) {
    net.activate();
    packets(net);
}

fn pause(net: &Net) {
    packets(net);
    net.pause();
    net.fail(1);
    net.add_vm(5);
    net.restart();
    packets(net);
    net.send(net.vm(0), &[net.flow_between(net.vm(0), net.vm(5), 1).frame(0, 60)]);
    net.pause();
    net.restart();
    net.restore(1);
    packets(net);
}

fn attach_again(net: &Net) {
    packets(net);
    net.detach();
    net.add_vm(6);
    net.fail(2);
    net.attach();
    packets(net);
    net.send(net.vm(0), &[net.flow_between(net.vm(0), net.vm(6), 1).frame(0, 60)]);
}

fn settings(net: &Net) {
    traffic(net, 0);
    for (name, value) in [
        ("FlowletGapUs", Value::Dword(0)),
        ("LoadBalancingAlgorithm", Value::Dword(99)),
        ("LoadBalancingAlgorithm", Value::Dword(4)),
        ("TeamingMode", Value::Dword(1)),
        ("HashSeed", Value::Qword(0x1234_5678_9ABC_DEF0)),
        ("LinkUpDelayMs", Value::Sz("soon".into())),
    ] {
        net.set(name, value);
        traffic(net, 1);
    }
    net.settle();
}

fn two_switches(net: &Net) {
    packets(net);
    let second = net.on(1);
    packets(&second);
    net.fail(1);
    traffic(&second, 0);
    second.pause();
    traffic(net, 1);
    second.restart();
    traffic(&second, 2);
}

fn private(net: &Net) {
    let (a, b) = (net.vm(0), net.vm(1));
    for round in 0..3 {
        net.send(a, &[net.flow_between(a, b, 1).frame(round, 60), net.flow(a, 2).frame(round, 60)]);
        net.send(b, &[broadcast(net, b, round)]);
    }
}

// Checks of outcomes.

/// Every frame has an outcome. This, rules and leaks are asserted for every case.
fn everything_ends(outcome: &Outcome) {
    assert!(!outcome.frames.is_empty(), "the scenario sent nothing");
    let silent = outcome.frames.iter().filter(|frame| frame.outcomes.is_empty()).count();
    assert_eq!(silent, 0, "frames without an end");
}

fn packets_arrive(outcome: &Outcome) {
    everything_ends(outcome);
    assert_eq!(outcome.count(|end| *end == FrameOutcome::Native), 3, "one native packet a round");
    // A broadcast from a guest reaches two guests, the management OS and the external network; no other frame is
    // flooded.
    let delivered = outcome.count(|end| matches!(end, FrameOutcome::Delivered { .. }));
    assert_eq!(delivered, 3 * (2 + 2 + 4 + 2 + 2), "frames delivered");
    assert!(outcome.drops().is_empty(), "{:?}", outcome.drops());
}

fn failover_moved_the_dead(outcome: &Outcome) {
    everything_ends(outcome);
    let members = outcome.members_of(Flow::of);
    assert_eq!(members.len(), 40);
    let moved = members.values().filter(|path| path.len() > 1).count();
    assert!((1..40).contains(&moved), "{moved} of 40 flows moved");
    for path in members.values().filter(|path| path.len() > 1) {
        assert_eq!(path.first(), Some(&2), "a flow of a survivor moved: {path:?}");
        assert_eq!(path.last(), Some(&2), "a flow did not come home: {path:?}");
    }
    assert_eq!(outcome.reordered(Flow::of), 0);
}

fn dropped_for_lack_of_members(outcome: &Outcome) {
    everything_ends(outcome);
    assert_eq!(
        outcome.drops().get("No member of the team is up.").copied(),
        Some(40),
        "{:?}",
        outcome.drops()
    );
}
