//! The packet's walk: from a guest through the driver to where it belongs.

use vswitch::scenario::Scenario;

#[test]
fn a_flow_to_the_outside_stays_on_one_live_member() {
    for seed in 0..30 {
    let net = Scenario::new(seed).members(&[10, 10, 10, 10]).vms(3).internal(1).start();
    let flow = net.flow(net.vm(0), 1);
    for sequence in 0..100 {
        net.send(net.vm(0), &[flow.frame(sequence, 100), net.flow_between(net.vm(0), net.vm(1), 3).frame(sequence, 50)]);
        net.receive_from_outside(1, &[net.flow_from_outside(net.vm(1), 7).frame(sequence, 100)]);
        if sequence == 40 { net.fail(2); }
        if sequence == 50 { net.pause(); net.restart(); }
        if sequence == 60 { net.restore(2); net.unplug(3); net.add_vm(9); net.set("FlowletGapUs", vswitch::registry::Value::Dword(0)); }
        if sequence == 70 { net.replug(3); }
        net.advance(100_000);
    }
    let outcome = net.finish();
    println!("{seed} {:?} {:?} asked {} log {}", outcome.drops(), outcome.warnings.len(), outcome.asked, outcome.log.len());
    for w in outcome.warnings.iter().take(5) { println!("{w}"); }
    for v in outcome.violations.iter().take(5) { println!("VIOLATION {v}"); }
    for v in outcome.leaks.iter().take(5) { println!("LEAK {v}"); }
    }
}
