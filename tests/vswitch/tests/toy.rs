//! A second driver, small and simple: a hub. The switch must run it as well as the product, find nothing where a hub is
//! right, and name the rule where it is not.

#[path = "toy/hub.rs"]
mod hub;

use std::collections::BTreeSet;
use vswitch::scenario::guest::{BROADCAST, Flow, host_mac};
use vswitch::scenario::outcome::Outcome;
use vswitch::scenario::{Activation, Enumeration, Net, Scenario};
use vswitch::switch::frames::FrameOutcome;
use vswitch::switch::ndis::Life;
use vswitch::switch::ndis::driver::Role;

fn start(seed: u64) -> Net {
    Scenario::new(seed)
        .members(&[10])
        .vms(3)
        .internal(1)
        .enumeration(Enumeration::Arrays)
        .driver(hub::driver_entry)
        .tear_down(false)
        .start()
}

fn broadcasts(seed: u64) -> Outcome {
    let net = start(seed);
    for n in 0..10 {
        let from = net.vm(n % 3);
        net.send(from, &[Flow { to: BROADCAST, ..net.flow(from, n) }.frame(1, 60)]);
        net.receive_external(1, &[Flow::new(host_mac(1), BROADCAST, n).frame(1, 60)]);
        net.advance(100);
    }
    net.pause();
    assert!(net.restart());
    net.finish()
}

#[test]
fn a_hub_is_right_as_long_as_everybody_is_meant() {
    for seed in 0..20 {
        let outcome = broadcasts(seed);
        outcome.assert_clean();
        // Two VMs, the management OS and the external network; from the external network three VMs and the
        // management OS.
        assert_eq!(outcome.count(|end| matches!(end, FrameOutcome::Delivered { .. })), 10 * 4 + 10 * 4);
    }
}

#[test]
fn the_switch_itself_forwards_where_the_extension_only_looks_on() {
    for seed in 0..20 {
        let plan = Scenario::new(seed).members(&[10]).vms(3).internal(1).tear_down(false);
        let net = plan.driver(hub::onlooker_entry).installed("lbfoext", Role::Filtering).start();
        let (a, b) = (net.vm(0), net.vm(1));
        net.send(a, &[net.flow_between(a, b, 1).frame(1, 60), net.flow(a, 2).frame(1, 60)]);
        net.send(a, &[Flow { to: BROADCAST, ..net.flow(a, 3) }.frame(1, 60)]);
        net.receive_external(1, &[net.external_flow(b, 4).frame(1, 60)]);
        net.receive_external(1, &[Flow::new(host_mac(1), host_mac(2), 5).frame(1, 60)]);
        let outcome = net.finish();
        outcome.assert_clean();
        assert_eq!(outcome.count(|end| matches!(end, FrameOutcome::Delivered { .. })), 1 + 1 + 4 + 1);
        assert_eq!(outcome.drops().len(), 1, "{:?}", outcome.drops());
    }
}

#[test]
fn a_hub_is_wrong_when_one_vm_is_meant() {
    let net = start(3);
    net.send(net.vm(0), &[net.flow_between(net.vm(0), net.vm(1), 1).frame(1, 60)]);
    assert_eq!(net.finish().broken(), BTreeSet::from(["STATE-18"]));
}

#[test]
fn a_hub_without_a_team_goes_on_naming_a_member_whose_link_is_down() {
    let net = start(4);
    net.fail(1);
    net.send(net.vm(0), &[Flow { to: BROADCAST, ..net.flow(net.vm(0), 1) }.frame(1, 60)]);
    assert!(net.finish().broken().contains("STA-1"));
}

#[test]
fn a_module_that_fails_its_restart_is_detached_and_may_attach_again() {
    let mut refused = 0;
    for n in 1.. {
        let scenario = Scenario::new(5).members(&[10]).vms(2).driver(hub::driver_entry);
        let net = scenario.config(|config| config.fault = Some(n)).start();
        let Some(site) = net.world().injected_fault() else { break };
        if site.starts_with("OID_SWITCH_") {
            refused += 1;
            let life = net.look(|state| state.life(0));
            assert_eq!(life, Some(Life::Detached), "{site}");
            assert!(net.attach() && net.is_running(), "{site}");
        }
        net.finish();
    }
    assert_eq!(refused, 2);
}

#[test]
fn a_refused_call_excuses_what_its_request_was_about_and_nothing_else() {
    let broken = |from: u16, to: u16| -> BTreeSet<&'static str> {
        let net = start(7);
        net.world().fail_from_here(1);
        net.readdress(net.vm(2), net.mac(net.vm(2)));
        assert_eq!(net.world().injected_fault(), Some("NdisAllocateCloneOidRequest"));
        let (from, to) = (net.vm(from), net.vm(to));
        net.send(from, &[net.flow_between(from, to, 1).frame(1, 60)]);
        let broken = net.world().violations().iter().map(|violation| violation.rule).collect();
        // An hour later nothing is excused any more.
        assert!(net.finish().broken().contains("HOST-09"));
        broken
    };
    assert_ne!(broken(0, 1), BTreeSet::new());
    assert_eq!([broken(0, 2), broken(2, 1)], [BTreeSet::new(), BTreeSet::new()]);
}

#[test]
fn a_filter_whose_requests_wait_for_its_first_restart_runs_like_any_other() {
    let mut waited = [0, 0];
    for seed in 0..40 {
        let enumeration = [Enumeration::Requests, Enumeration::Mixed][seed as usize % 2];
        let scenario = Scenario::new(seed).members(&[10]).vms(3).internal(1).enumeration(enumeration);
        let net = scenario.driver(hub::patient_entry).tear_down(false).start();
        assert!(net.is_running(), "seed {seed}");
        // SAFETY: the context is the hub, which is attached.
        let of_hub = net.look(|state| unsafe { (*(state.modules[0].context as *const hub::Hub)).waited });
        waited[seed as usize % 2] += of_hub.unwrap_or(0);
        let topology = net.look(|state| state.modules[0].topology.nics().count());
        assert_eq!(topology, Some(1 + 1 + 1 + 3), "seed {seed}: the requests were made in the end");
        net.finish().assert_clean();
    }
    assert!(waited[0] > 5 && waited[1] > 5, "before the restart and in it: {waited:?}");
}

#[test]
fn a_switch_tells_its_activation_once() {
    let scenario = Scenario::new(6).members(&[10]).vms(2).activation(Activation::Never);
    let net = scenario.driver(hub::driver_entry).start();
    let events = |net: &Net| {
        // SAFETY: the context is the hub, which is attached.
        net.look(|state| unsafe { (*(state.modules[0].context as *const hub::Hub)).events })
    };
    for expected in [1, 1, 1] {
        net.activate();
        assert_eq!(events(&net), Some(expected));
    }
}
