//! After a move the network is told on which member each address is reached (`teaming::announce`): of what moved everything,
//! of what did not nothing, each on its new member and in its VLAN.

use std::collections::{BTreeMap, BTreeSet};
use vswitch::adapter::physical_switch::Aggregation;
use vswitch::machine::registry::Value;
use vswitch::scenario::suite::MS;
use vswitch::scenario::{Net, Scenario};
use vswitch::switch::ports::Mac;

/// An address in a VLAN, and the member on which it was told.
type Told = (Mac, u16, u16);

/// What was told since `from` and arrived, with the time.
fn told(net: &Net, from: u64) -> Vec<(u64, Told)> {
    let module = net.switch();
    net.look(|state| {
        let arrivals = &state.modules[module].external.arrivals;
        let told = arrivals.iter().filter(|arrival| arrival.at >= from).filter_map(|arrival| {
            let frame = state.frames.all.get(arrival.frame)?;
            let is_told = frame.bytes.get(12..14)? == [0x80, 0x35];
            let mac = frame.bytes.get(6..12)?.try_into().ok()?;
            is_told.then_some((arrival.at, (mac, arrival.vid, arrival.member)))
        });
        told.collect()
    })
    .unwrap_or_default()
}

/// The member that each VM's own frames take, by frames that it sends.
fn members(net: &Net, vms: u16) -> BTreeMap<Mac, u16> {
    let module = net.switch();
    let from = net.now();
    for vm in 0..vms {
        net.send(net.vm(vm), &[net.flow(net.vm(vm), vm).frame(1, 60)]);
    }
    net.settle();
    let vm = |port: u32| (vswitch::scenario::FIRST_VM_PORT..).contains(&port);
    net.look(|state| {
        let arrivals = state.modules[module].external.arrivals.iter().filter(|a| a.at >= from);
        arrivals
            .filter_map(|arrival| {
                let frame = state.frames.all.get(arrival.frame).filter(|frame| vm(frame.from.port))?;
                Some((frame.bytes.get(6..12)?.try_into().ok()?, arrival.member))
            })
            .collect()
    })
    .unwrap_or_default()
}

fn team(seed: u64, vms: u16) -> Scenario {
    Scenario::new(seed)
        .members(&[10, 10, 10])
        .vms(vms)
        .aggregation(Aggregation::SwitchIndependent)
        .setting("LinkUpDelayMs", Value::Dword(0))
        .setting("FlowletGapUs", Value::Dword(0))
}

#[test]
fn what_moved_is_told_on_its_new_member_and_nothing_else_is() {
    for seed in 0..30 {
        let vms = 12;
        let net = team(seed, vms).start();
        let before = members(&net, vms);
        let failed = net.now();
        net.fail(1);
        net.advance(10 * MS);
        let told: BTreeSet<Told> = told(&net, failed).into_iter().map(|(_, told)| told).collect();
        let after = members(&net, vms);
        let moved = after.iter().filter(|(mac, member)| before[*mac] != **member);
        let moved: BTreeSet<Told> = moved.map(|(mac, member)| (*mac, 0, *member)).collect();
        assert_eq!(told, moved, "seed {seed}");
        net.finish().assert_clean();
    }
}
