//! Calls that fail while the driver reads the switch's configuration, for each order of start: within `SOON` its
//! tables equal the switch's and every port is open, and a failure about one port does not affect others.

use super::driver::look;
use super::request_outcomes::{known, truth};
use std::collections::BTreeSet;
use teaming::ids::PortId;
use vswitch::machine::registry::Value;
use vswitch::scenario::suite::MS;
use vswitch::scenario::suite::policies::access;
use vswitch::scenario::{Activation, Enumeration, Net, Scenario};
use vswitch::switch::ports::policy::{Property, Security, Vlan};

const ACTIVATIONS: [Activation; 3] =
    [Activation::BeforeAttach, Activation::WhilePaused, Activation::WhileRunning];

/// Time, in units of 100 ns, within which a failed call is repeated, also if two fail one after the other.
const SOON: u64 = 1_000 * MS;
/// The same if the switch fails every query for half a second.
const LATER: u64 = 5_000 * MS;

fn plan(seed: u64, activation: Activation) -> Scenario {
    let trunk = Vlan::Trunk { native: 0, allowed: [7, 8].into(), pruned: [9].into() };
    Scenario::new(seed)
        .members(&[10, 25])
        .vms(4)
        .internal(1)
        .property(0, access(7))
        .property(1, Property::Vlan(trunk))
        .property(2, Property::Security(Security { spoofing: true, ..Security::default() }))
        .setting("LinkUpDelayMs", Value::Dword(0))
        .activation(activation)
}

/// Asserts that the module is attached, its tables equal the switch's, and no port is closed.
fn assert_known(net: &Net, when: &str) {
    assert_eq!(known(net), truth(net), "{when}");
    assert_eq!(closed(net), BTreeSet::new(), "{when}: closed");
    assert!(!look(net, |module| module.control.lock().enumeration.is_owed()), "{when}: something is owed");
}

fn closed(net: &Net) -> BTreeSet<u32> {
    look(net, |module| {
        let forwarding = module.forwarding.read();
        forwarding.ports.iter().filter(|port| port.policy.closed).map(|port| port.id.port.get()).collect()
    })
}

/// Runs the plan with call `n` failing, and with `again` also the call that many calls later; returns the name of the
/// first.
fn refused(plan: Scenario, n: u64, again: Option<u64>, when: &str) -> Option<&'static str> {
    let net = plan.config(|config| (config.fault, config.fault_again) = (Some(n), again)).start();
    let site = net.world().injected_fault();
    net.world().fail_from_here(u64::MAX / 2);
    // Without memory the driver may not be loaded or the module not be attached.
    let loaded = net.look(|state| state.driver.registered).unwrap_or(false);
    if loaded {
        assert!(net.is_running() || net.attach(), "{when} ({site:?}): no module");
        // Without a module the activation was not indicated.
        net.activate();
        net.advance(SOON);
        assert_known(&net, &format!("{when} ({site:?})"));
    }
    net.finish().assert_clean();
    site
}

#[test]
fn whatever_call_is_refused_while_the_driver_comes_up_it_knows_the_switch_soon() {
    let mut runs = 0;
    for activation in ACTIVATIONS {
        for enumeration in [Enumeration::Arrays, Enumeration::Mixed] {
            for n in 1.. {
                let plan = plan(n, activation).enumeration(enumeration);
                let when = format!("{activation:?}, {enumeration:?}, call {n}");
                if refused(plan, n, None, &when).is_none() {
                    break;
                }
                runs += 1;
            }
        }
    }
    assert!(runs > 300, "only {runs} calls were refused");
}

#[test]
fn whatever_two_calls_are_refused_while_the_driver_comes_up_it_knows_the_switch_soon() {
    let mut runs = 0;
    for (number, activation) in (0..).zip(ACTIVATIONS) {
        for again in [1, 2, 3, 5, 9, 17] {
            for n in (1 + (number + again) % 4..).step_by(4) {
                let when = format!("{activation:?}, call {n} and the {again}th after it");
                if refused(plan(n, activation), n, Some(again), &when).is_none() {
                    break;
                }
                runs += 1;
            }
        }
    }
    assert!(runs > 300, "only {runs} pairs were refused");
}

#[test]
fn elements_that_cannot_be_read_keep_no_other_from_being_known_and_are_asked_for_again() {
    for (seed, activation) in (0..).zip(ACTIVATIONS.into_iter().cycle().take(30)) {
        let net = plan(seed, activation).style(|style| style.odd.unreadable = 100).start();
        let all = truth(&net);
        let found = known(&net).into_iter().filter(|(name, text)| all.get(name) == Some(text)).count();
        // Each array lost one element; the ports of the lost NICs are also affected.
        assert!(found + 4 >= all.len(), "seed {seed}: {found} of {}", all.len());
        net.advance(500 * MS);
        net.look(|state| state.style.odd.unreadable = 0);
        net.advance(LATER);
        assert_known(&net, &format!("seed {seed}, {activation:?}"));
        net.finish().assert_clean();
    }
}

#[test]
fn one_port_whose_properties_are_refused_keeps_no_other_closed() {
    let mut closed_once = BTreeSet::new();
    for n in 1.. {
        // One seed, so that each run makes the calls of the one before.
        let net = plan(1, Activation::Never).start();
        net.world().fail_from_here(n);
        net.activate();
        let Some(site) = net.world().injected_fault() else { break };
        net.world().fail_from_here(u64::MAX / 2);
        let now = closed(&net);
        if site == "OID_SWITCH_PORT_PROPERTY_ENUM" || site == "ReferenceSwitchPort" {
            assert_eq!(now.len(), 1, "call {n} ({site})");
            closed_once.extend(now);
        }
        net.advance(SOON);
        assert_known(&net, &format!("call {n} ({site})"));
        net.finish().assert_clean();
    }
    assert_eq!(closed_once.len(), 6, "each port was refused its properties once: {closed_once:?}");
}

#[test]
fn a_switch_of_three_hundred_machines_is_read_whatever_status_says_that_a_buffer_is_too_short() {
    for short in [0, 100] {
        let net = Scenario::new(3)
            .members(&[10])
            .vms(300)
            .style(|style| (style.odd.short, style.odd.understated) = (short, 100))
            .start();
        assert_known(&net, &format!("{short} in 100 odd"));
        net.finish().assert_clean();
    }
}

#[test]
fn a_port_that_asked_for_what_is_not_enforced_opens_when_it_asks_no_more() {
    for (seed, change) in (0..).zip([
        (|net, port| net.update_property(port, 1, Property::Isolation { mode: 0 })) as fn(&Net, u32) -> bool,
        |net, port| net.remove_property(port, 1),
    ]) {
        let net =
            Scenario::new(seed).members(&[10]).vms(2).property(0, Property::Isolation { mode: 2 }).start();
        let port = net.vm(0).port;
        assert_eq!(closed(&net), [port].into());
        assert!(change(&net, port));
        net.advance(SOON);
        assert_known(&net, "asked no more");
        let policy = look(&net, move |module| {
            module.forwarding.read().ports.get(PortId::new(port)).map(|port| port.policy.closed)
        });
        assert_eq!(policy, Some(false));
        net.finish().assert_clean();
    }
}
