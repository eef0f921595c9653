//! The tables of ports and NICs after every outcome of every request about them: no clone, no memory, failed below,
//! completed late or inside the call, cancelled. The driver's tables then equal the switch's.

use super::driver::look;
use std::collections::{BTreeMap, BTreeSet};
use teaming::ids::PortId;
use teaming::migration::record::PART_MAX;
use teaming::ports::NicState as Known;
use vswitch::machine::registry::Value;
use vswitch::scenario::suite::policies::access;
use vswitch::scenario::suite::saved::{a_state, blobs_of, many_pins};
use vswitch::scenario::{Net, Scenario};
use vswitch::switch::control::below::{Completion, Plan};
use vswitch::switch::control::lifecycle;
use vswitch::switch::control::properties::{self, Change};
use vswitch::switch::control::save::Offering;
use vswitch::switch::ports::policy::{Property, Security, Vlan};
use vswitch::switch::ports::{NicId, NicKind, NicState};

/// One line for each port, NIC and member.
pub type Table = BTreeMap<String, String>;

/// Between the policies of a port and its NIC.
const POLICIES_END: &str = " | ";

/// A row that no switch has: the address of a port leads elsewhere. It may, where two adapters have one.
const ADDRESS: &str = "address of port ";

/// The same without the policies of ports, and without addresses that two adapters may have.
pub fn without_policies(table: Table) -> Table {
    let cut = |text: String| text.rsplit_once(POLICIES_END).map_or(text.clone(), |(_, nic)| nic.to_owned());
    let rows = table.into_iter().filter(|(name, _)| !name.starts_with(ADDRESS));
    rows.map(|(name, text)| (name, cut(text))).collect()
}

/// The switch as it is.
pub fn truth(net: &Net) -> Table {
    let switch = net.switch();
    net.look(|state| {
        let topology = &state.modules[switch].topology;
        let mut table = Table::new();
        for port in topology.ports.values().filter(|port| !port.validation) {
            let security = port.policies.security();
            let vlan = port.policies.vlan().map(|vlan| match vlan {
                Vlan::Access(id) => format!("access {id}"),
                _ => "trunk".to_owned(),
            });
            let nic = port.nics.get(&0).filter(|_| port.kind != NicKind::External);
            let nic = nic
                .map(|nic| (nic.state == NicState::Connected, nic.mac, nic.permanent, nic.function_assigned));
            let spoofing = security.map(|s| (s.spoofing, s.subnet));
            table.insert(format!("port {}", port.id), format!("{vlan:?} {spoofing:?}{POLICIES_END}{nic:?}"));
        }
        let external =
            topology.ports.values().find(|p| p.kind == NicKind::External && p.nics.contains_key(&0));
        table.insert("external".to_owned(), format!("{:?}", external.map(|port| port.id)));
        for nic in topology.nics().filter(|nic| nic.is_member()) {
            let connected = nic.state == NicState::Connected;
            table.insert(format!("member {}", nic.id.index), format!("connected {connected}"));
        }
        table
    })
    .expect("the machine runs")
}

/// The switch as the module knows it.
pub fn known(net: &Net) -> Table {
    look(net, |module| {
        let mut table = Table::new();
        let forwarding = module.forwarding.read();
        for port in forwarding.ports.iter() {
            let vlan = port.policy.vlans.map(|vlans| match vlans {
                teaming::ports::vlan::Vlans::Access(id) => format!("access {}", id.map_or(0, |id| id.get())),
                _ => "trunk".to_owned(),
            });
            let nic = port
                .has_nic()
                .then(|| (port.is_connected(), port.current_mac.0, port.permanent_mac.0, port.vf_assigned));
            let spoofing = port.policy.security.map(|s| (s.mac_spoofing, s.virtual_subnet));
            let id = port.id.port.get();
            table.insert(format!("port {id}"), format!("{vlan:?} {spoofing:?}{POLICIES_END}{nic:?}"));
            let found = forwarding.ports.lookup(port.current_mac).map(|other| other.id);
            if (found == Some(port.id)) != (port.nic == Known::Connected) {
                table.insert(format!("{ADDRESS}{id}"), format!("leads to {found:?}"));
            }
        }
        table.insert("external".to_owned(), format!("{:?}", forwarding.external.map(PortId::get)));
        drop(forwarding);
        for (index, member) in module.control.lock().team.members() {
            if member.state != teaming::team::member::MemberState::Absent {
                let connected = member.state.is_connected();
                table.insert(format!("member {}", index.nic().get()), format!("connected {connected}"));
            }
        }
        table
    })
}

/// VM 20 and member 3, which do not exist at the start.
const VM: u16 = 20;
const MEMBER: u16 = 3;

/// The outcome of a step's requests.
#[derive(Clone, Copy, Debug)]
enum RequestOutcome {
    /// They succeed and are completed in this way.
    Well(Completion),
    /// The n-th fallible call from here on fails.
    Short(u64),
    /// The switch fails the request.
    Failed(Completion),
    /// Cancelled while pending.
    Cancelled,
}

type Step = (&'static str, fn(&Net, Plan));

fn inside(net: &Net, body: impl FnOnce() + Send) {
    let _ = net.world().enter(body);
}

fn provision(net: &Net, plan: Plan, property: Property, update: bool) {
    let instance = u64::try_from(property.kind()).unwrap_or(0);
    let change = Change { plan, ..Change::new(net.vm(VM).port, instance, property) };
    inside(net, || _ = properties::provision(0, change, update));
}

const fn security(spoofing: bool, subnet: u32) -> Property {
    Property::Security(Security { spoofing, subnet, priority_tag: false, teaming: false })
}

/// The life cycle of a VM's port and NIC and of a member; each step is one request or a few. Requests that may fail
/// below take the completion plan.
const STEPS: &[Step] = &[
    ("port created", |net, plan| {
        let port = net.vm(VM).port;
        inside(net, || _ = lifecycle::create_port_as(0, port, NicKind::Synthetic, plan));
    }),
    ("VLAN added", |net, plan| provision(net, plan, access(7), false)),
    ("VLAN updated", |net, plan| provision(net, plan, access(8), true)),
    ("trunk", |net, plan| provision(net, plan, Property::Vlan(Vlan::trunk(0, [1, 2, 77])), true)),
    ("security added", |net, plan| provision(net, plan, security(true, 0), false)),
    ("security updated", |net, plan| provision(net, plan, security(false, 9), true)),
    ("something else added", |net, plan| provision(net, plan, Property::Profile, false)),
    ("NIC created", |net, plan| {
        let (nic, mac) = (net.vm(VM), net.mac(net.vm(VM)));
        inside(net, || _ = lifecycle::create_nic_as(0, nic, mac, plan, true));
    }),
    ("NIC connected", |net, plan| {
        let nic = net.vm(VM);
        inside(net, || _ = lifecycle::connect_as(0, nic, plan));
    }),
    ("brought from another host", |net, _| {
        let blobs = blobs_of(&a_state(1, NicId::new(90, 0)), &many_pins(3), PART_MAX);
        net.restore_nic(net.vm(VM), &blobs);
    }),
    ("address changed", |net, _| net.readdress(net.vm(VM), [2, 0x15, 0x5D, 9, 9, 9])),
    ("function assigned", |net, _| net.assign_function(net.vm(VM), true)),
    ("function taken back", |net, _| net.assign_function(net.vm(VM), false)),
    ("saved", |net, _| _ = net.save(net.vm(VM), Offering::default())),
    ("saved and restored", |net, _| {
        let saved = net.save(net.vm(VM), Offering::default()).expect("it runs");
        net.restore_nic(net.vm(VM), &saved.blobs);
    }),
    ("port renamed", |net, _| net.rename_port(net.vm(VM).port)),
    ("VLAN deleted", |net, _| _ = net.remove_property(net.vm(VM).port, 3)),
    ("security deleted", |net, _| _ = net.remove_property(net.vm(VM).port, 2)),
    ("NIC disconnected", |net, _| net.disconnect(net.vm(VM))),
    ("NIC deleted", |net, _| {
        let nic = net.vm(VM);
        inside(net, || _ = lifecycle::delete_nic(0, nic));
    }),
    ("port torn down and deleted", |net, _| {
        let port = net.vm(VM).port;
        inside(net, || _ = lifecycle::delete_port(0, port));
    }),
    ("policies tried", |net, _| net.try_policies(900, &[access(5), security(true, 1)])),
    ("member created", |net, plan| {
        let (nic, mac) = (net.member(MEMBER), net.mac(net.member(MEMBER)));
        inside(net, || _ = lifecycle::create_nic_as(0, nic, mac, plan, true));
    }),
    ("member connected", |net, plan| {
        let nic = net.member(MEMBER);
        inside(net, || _ = lifecycle::connect_as(0, nic, plan));
    }),
    ("member disconnected", |net, _| net.disconnect(net.member(MEMBER))),
    ("member deleted", |net, _| net.delete_member(MEMBER)),
];

fn start(seed: u64) -> Net {
    let net = Scenario::new(seed)
        .members(&[10, 10, 25])
        .vms(3)
        .property(1, access(7))
        .setting("LinkUpDelayMs", Value::Dword(0))
        .style(|style| style.awkward_memory = false)
        .start();
    net.unplug(MEMBER);
    net
}

/// Whether the step is possible: an earlier one may have failed.
fn is_possible(net: &Net, step: &str) -> bool {
    let (port, nic, member) = (net.vm(VM).port, net.vm(VM), net.member(MEMBER));
    let (has_port, vm, third, vlan, security) = net
        .look(|state| {
            let topology = &state.modules[0].topology;
            let policies = topology.policies(port);
            let has = |kind| policies.is_some_and(|p| p.properties.values().any(|q| q.kind() == kind));
            let state = |nic: NicId| topology.nic(nic).map(|nic| nic.state);
            (policies.is_some(), state(nic), state(member), has(3), has(2))
        })
        .expect("the machine runs");
    match step {
        "port created" => !has_port,
        "NIC created" => has_port && vm.is_none(),
        "NIC connected" => vm.is_some_and(|state| state != NicState::Connected),
        "NIC disconnected" => vm.is_some_and(|state| state != NicState::Disconnected),
        "NIC deleted" => vm == Some(NicState::Disconnected),
        "port torn down and deleted" => has_port && vm.is_none(),
        "address changed"
        | "function assigned"
        | "function taken back"
        | "saved"
        | "saved and restored"
        | "brought from another host" => vm == Some(NicState::Connected),
        "VLAN updated" | "trunk" | "VLAN deleted" => vlan,
        "security updated" | "security deleted" => security,
        "VLAN added" => has_port && !vlan,
        "security added" => has_port && !security,
        "member created" => third.is_none(),
        "member connected" => third.is_some_and(|state| state != NicState::Connected),
        "member disconnected" => third.is_some_and(|state| state != NicState::Disconnected),
        "member deleted" => third == Some(NicState::Disconnected),
        _ => has_port || step == "policies tried",
    }
}

fn assert_equal(net: &Net, when: &str) {
    net.settle();
    let (truth, known) = (truth(net), known(net));
    let wrong: Vec<_> = truth
        .keys()
        .chain(known.keys())
        .collect::<BTreeSet<_>>()
        .into_iter()
        .filter(|key| truth.get(*key) != known.get(*key))
        .map(|key| format!("{key}: the switch {:?}, the driver {:?}", truth.get(key), known.get(key)))
        .collect();
    assert!(wrong.is_empty(), "{when}: {wrong:#?}");
    // Restored state of a NIC is removed with it.
    let restored = look(net, |module| {
        let operations = module.operations.lock();
        operations.brought(None).map(|(nic, _)| nic.port.get()).collect::<Vec<_>>()
    });
    let gone = |port: &u32| net.look(|s| s.modules[0].topology.nic(NicId::new(*port, 0)).is_none());
    let kept: Vec<_> = restored.into_iter().filter(|port| gone(port) == Some(true)).collect();
    assert!(kept.is_empty(), "{when}: restored for NICs that are gone: {kept:?}");
}

/// The port ID that HyperVPort hashes for the VM.
fn hashed_as(net: &Net) -> u32 {
    let nic = teaming::ids::NicId::new(PortId::new(net.vm(VM).port), teaming::ids::NicIndex::DEFAULT);
    look(net, |module| module.forwarding.read().hashed_as(nic).nic().port.get())
}

/// Runs all steps, one of them with this outcome; returns the name of the call that failed, if any.
fn life(seed: u64, number: usize, outcome: RequestOutcome) -> Option<&'static str> {
    let net = start(seed);
    assert_equal(&net, "at the beginning");
    let mut failed = None;
    for (at, (name, step)) in STEPS.iter().enumerate() {
        if !is_possible(&net, name) {
            continue;
        }
        let mut plan = Plan::default();
        if at == number {
            match outcome {
                RequestOutcome::Well(completion) => plan.completion = Some(completion),
                RequestOutcome::Failed(completion) => {
                    plan = Plan { status: lbfoext::ndis::raw::FAILURE, completion: Some(completion) };
                }
                RequestOutcome::Short(n) => net.world().fail_from_here(n),
                RequestOutcome::Cancelled => {
                    net.cancel_next();
                    plan.completion = Some(Completion::Later);
                }
            }
            step(&net, plan);
            failed = net.world().injected_fault();
            net.world().fail_from_here(0);
        } else {
            step(&net, plan);
        }
        if *name == "brought from another host" && at != number {
            assert_eq!(hashed_as(&net), 90, "{outcome:?} of {}", STEPS[number].0);
        }
        let when = format!("seed {seed}: {} with {outcome:?} ({failed:?}), after {name}", STEPS[number].0);
        assert_equal(&net, &when);
    }
    net.add_vm(VM);
    assert_eq!(
        hashed_as(&net),
        net.vm(VM).port,
        "{outcome:?} of {}: a new NIC is nobody's heir",
        STEPS[number].0
    );
    net.finish().assert_clean();
    failed
}

const COMPLETIONS: [Completion; 3] = [Completion::AtOnce, Completion::Later, Completion::InsideTheCall];

#[test]
fn the_tables_are_those_of_the_switch_however_a_request_completes() {
    for number in 0..STEPS.len() {
        for (seed, completion) in (0..).zip(COMPLETIONS) {
            life(seed, number, RequestOutcome::Well(completion));
            life(seed, number, RequestOutcome::Failed(completion));
        }
        for seed in 0..2 {
            life(seed, number, RequestOutcome::Cancelled);
        }
    }
}

#[test]
fn the_tables_are_those_of_the_switch_whatever_a_request_is_refused_on_its_way() {
    let mut sites: BTreeMap<&'static str, usize> = BTreeMap::new();
    for number in 0..STEPS.len() {
        for seed in 0..2 {
            for n in 1..40 {
                let Some(site) = life(seed, number, RequestOutcome::Short(n)) else { break };
                *sites.entry(site).or_default() += 1;
            }
        }
    }
    assert!(sites.get("NdisAllocateCloneOidRequest").is_some_and(|count| *count > 30), "{sites:?}");
    assert!(sites.contains_key("ExAllocatePool2"), "{sites:?}");
}
