#[cfg(test)]
mod tests {
    use crate::guest::{self, Flow, Packet};
    use crate::physical_switch::Aggregation;
    use crate::scenario::*;
    fn everything(scenario: Scenario, seed: u64) -> crate::outcome::Outcome {
        let net = scenario.start();
        let v = |n| net.vm(n);
        for n in 0..20u16 {
            net.send(v(0), &[net.flow(v(0), n).frame(1, 100), net.flow_between(v(0), v(1), n).frame(2, 60)]);
            net.send_packets(vec![
                (v(0), Packet::of(net.flow(v(0), n).frame(3, 200))),
                (v(1), Packet::of(net.flow(v(1), n).frame(1, 1000))),
                (v(2), Packet::native(net.flow(v(2), n).frame(1, 70))),
            ]);
            net.send_packets(vec![(
                v(1),
                Packet::several((0..3).map(|i| net.flow(v(1), n + i).frame(9, 100)).collect()),
            )]);
            let mut arp = net.flow(v(2), 1).frame(3, 100);
            arp[..6].copy_from_slice(&guest::BROADCAST);
            net.send(v(2), &[arp]);
            net.send_packets(vec![(
                crate::ports::NicId::NOWHERE,
                Packet::of(Flow::new([2, 7, 7, 7, 7, 7], guest::host_mac(3), n).frame(3, 200)),
            )]);
            net.receive_from_outside(
                1 + n % 2,
                &[
                    net.flow_from_outside(v(n % 3), n).frame(5, 300),
                    net.flow_from_outside(v(0), n).frame(5, 300),
                ],
            );
            net.advance(300);
            if n == 8 {
                net.fail(1);
            }
            if n == 12 {
                net.restore(1);
            }
            if n == 14 {
                net.unplug(2);
            }
            if n == 16 {
                net.replug(2);
                net.remove_vm(1);
            }
            if n == 18 {
                net.add_vm(1);
                net.pause();
            }
            if n == 19 {
                net.restart();
            }
        }
        let _ = seed;
        net.finish()
    }
    fn show(name: String, outcome: &crate::outcome::Outcome) -> bool {
        let bad = !outcome.violations.is_empty() || outcome.aborted || !outcome.leaks.is_empty();
        if bad {
            println!("{name}: {:?} aborted {} fault {:?}", outcome.broken(), outcome.aborted, outcome.fault);
            for v in outcome.violations.iter().take(3) {
                println!("   {v}");
            }
            for v in outcome.leaks.iter().take(3) {
                println!("   {v}");
            }
        }
        bad
    }
    #[test]
    fn sweep() {
        let mut n = 1;
        let mut bad = 0;
        loop {
            let s = Scenario::new(5).members(&[10, 10]).vms(3).enumeration(Enumeration::Mixed).config(|c| {
                c.fault = Some(n);
                c.keep_log = true;
            });
            let outcome = everything(s, 5);
            bad += u32::from(show(format!("fault {n}"), &outcome));
            if std::env::var("LOG").is_ok_and(|s| s == n.to_string()) {
                for line in &outcome.log {
                    println!("{line}");
                }
            }
            if outcome.asked < n {
                break;
            }
            n += 1;
        }
        println!("{n} faults, bad {bad}");
    }
    #[test]
    fn same_seed_same_log() {
        for seed in 0..6 {
            let run = || {
                let s = Scenario::new(seed)
                    .members(&[10, 10])
                    .vms(3)
                    .enumeration(Enumeration::Mixed)
                    .config(|c| c.keep_log = true);
                everything(s, seed)
            };
            let (a, b) = (run(), run());
            for (x, y) in a.log.iter().zip(&b.log) {
                assert_eq!(x, y);
            }
            assert_eq!(a.log_hash, b.log_hash);
        }
    }
    #[test]
    fn odd_things() {
        use crate::control::status::Status;
        use crate::registry::Value;
        let mut bad = 0;
        for seed in 0..60u64 {
            let s = Scenario::new(seed)
                .members_at(&[(3, 10), (7, 25), (32, 40)])
                .vms(3)
                .switches(1 + seed as usize % 2)
                .style(|s| {
                    s.mirror = Some(crate::ports::NicId::new(12, 0));
                    s.dispatch = 30;
                    s.send_while_paused = true;
                });
            let s = if seed % 3 == 0 { s.ordinary_stack() } else { s };
            let net = s.config(|c| c.keep_log = true).start();
            let v = |n| net.vm(n);
            for n in 0..40u16 {
                let one = net.flow(v(0), n).frame(1, 100);
                let other = net.flow(v(0), n + 1).frame(1, 100);
                net.send(v(0), &[one.clone(), other.clone()]);
                net.send_packets(vec![(v(0), Packet::flickering(one.clone(), other.clone(), 14))]);
                net.send_packets(vec![(v(0), Packet { subnet: Some(5001), ..Packet::of(one.clone()) })]);
                net.send_packets(vec![(
                    v(0),
                    Packet {
                        flicker: Some((20, vec![one.clone(), other.clone()])),
                        ..Packet::several(vec![other.clone(), one.clone()])
                    },
                )]);
                net.send(v(0), &[vec![1, 2, 3, 4], vec![0xFF; 14]]);
                net.advance(100);
            }
            for (oid, kind) in [
                (0x0001_0102, 0),
                (0x0001_0E00, 1),
                (0xFF00_0001, 12),
                (0x0001_0296, 12),
                (0x0001_027A, 1),
                (0x0001_027C, 1),
            ] {
                for len in [0, 3, 2000] {
                    net.ask(unknown_request(
                        oid,
                        kind,
                        vec![7; len],
                        [0, lbfoext::ndis::raw::NOT_SUPPORTED][len % 2],
                    ));
                    net.cancel_next();
                    net.ask(unknown_request(oid, kind, vec![7; len], 0));
                }
            }
            for code in [
                0x4001_0003,
                0x4002_0010,
                lbfoext::ndis::raw::LINK_STATE,
                lbfoext::ndis::raw::MEDIA_DISCONNECT,
            ] {
                net.status(Status { code, buffer: vec![1; 3], from: None });
                net.status(Status { code, buffer: vec![1; 3], from: Some(net.vm(1)) });
                net.status(Status { code, buffer: vec![], from: None });
            }
            net.status(Status {
                code: lbfoext::ndis::raw::SWITCH_NIC_STATUS,
                buffer: vec![0; 7],
                from: None,
            });
            net.set("LoadBalancingAlgorithm", Value::Dword(4));
            net.advance(10_000_000);
            net.set("LinkUpDelayMs", Value::Dword(0));
            net.readdress(v(1), [2, 3, 4, 5, 6, 7]);
            net.send(v(0), &[Flow::new(net.mac(v(0)), [2, 3, 4, 5, 6, 7], 1).frame(1, 100)]);
            net.net_event(15);
            net.detach();
            net.send(v(0), &[net.flow(v(0), 1).frame(1, 100)]);
            net.attach();
            net.send(v(0), &[net.flow(v(0), 1).frame(1, 100), net.flow_between(v(0), v(2), 1).frame(1, 100)]);
            if seed % 2 == 1 {
                net.on(1).send(
                    v(0),
                    &[net.flow(v(0), 1).frame(1, 100), net.flow_between(v(0), v(2), 1).frame(1, 100)],
                );
            }
            let outcome = net.finish();
            bad += u32::from(show(format!("seed {seed}"), &outcome));
            if std::env::var("LOG").is_ok_and(|s| s == seed.to_string()) {
                for line in &outcome.log {
                    println!("{line}");
                }
            }
            if seed == 1 {
                println!("{:?}", outcome.drops());
                println!("{:?}", outcome.exercised.get("DATA-64"));
                println!(
                    "{:?}",
                    outcome.warnings.iter().map(|w| w.rule).collect::<std::collections::BTreeSet<_>>()
                );
            }
        }
        println!("bad {bad}");
    }
    #[test]
    fn together() {
        let mut bad = 0;
        let mut hashes = Vec::new();
        for seed in 0..80u64 {
            let free = seed % 2 == 1;
            let s = Scenario::new(seed / 2)
                .config(|c| c.keep_log = true)
                .members(&[10, 10, 10])
                .vms(4)
                .indication([Indication::PerMember, Indication::TeamOnly][seed as usize / 4 % 2]);
            let s = if free { s.free_threads() } else { s };
            let net = s.start();
            let mut bodies: Vec<(&'static str, Box<dyn FnOnce(&Net) + Send>)> = Vec::new();
            for vm in 0..2u16 {
                bodies.push((
                    "sender",
                    Box::new(move |net: &Net| {
                        for n in 0..40u16 {
                            net.send(
                                net.vm(vm),
                                &[
                                    net.flow(net.vm(vm), n).frame(1, 100),
                                    net.flow(net.vm(vm), n + 1).frame(1, 100),
                                    net.flow_between(net.vm(vm), net.vm(3), n).frame(2, 60),
                                ],
                            );
                            net.send_packets(vec![(
                                net.vm(vm),
                                Packet::several(
                                    (0..3).map(|i| net.flow(net.vm(vm), n + i).frame(9, 100)).collect(),
                                ),
                            )]);
                        }
                    }),
                ));
            }
            bodies.push((
                "links",
                Box::new(move |net: &Net| {
                    for _ in 0..4 {
                        net.fail(1);
                        net.fail(2);
                        net.restore(1);
                        net.restore(2);
                    }
                }),
            ));
            bodies.push((
                "control",
                Box::new(move |net: &Net| {
                    for _ in 0..3 {
                        net.unplug(3);
                        net.replug(3);
                        net.remove_vm(3);
                        net.add_vm(3);
                    }
                    net.pause();
                    net.restart();
                }),
            ));
            net.together(bodies);
            let outcome = net.finish();
            bad += u32::from(show(format!("seed {seed} free {free}"), &outcome));
            if std::env::var("LOG").is_ok_and(|s| s == seed.to_string()) {
                for line in &outcome.log {
                    println!("{line}");
                }
            }
            hashes.push(outcome.log_hash);
        }
        println!("bad {bad} {:?}", &hashes[..6]);
    }
    #[test]
    fn smoke() {
        let mut bad = 0;
        for seed in 1..60 {
            let e = [Enumeration::Arrays, Enumeration::Requests, Enumeration::Mixed][seed as usize % 3];
            let a = [Activation::BeforeAttach, Activation::WhilePaused, Activation::WhileRunning]
                [seed as usize / 3 % 3];
            let i = [Indication::PerMember, Indication::TeamOnly, Indication::SilentUntilAsked]
                [seed as usize / 9 % 3];
            let g = [Aggregation::Static, Aggregation::SwitchIndependent][seed as usize / 27 % 2];
            let s = Scenario::new(seed)
                .members(&[10, 10, 10])
                .vms(3)
                .internal(1)
                .enumeration(e)
                .activation(a)
                .indication(i)
                .aggregation(g)
                .style(|s| s.send_while_paused = true)
                .config(|c| c.keep_log = true);
            let outcome = everything(s, seed);
            if !outcome.violations.is_empty() || outcome.aborted || !outcome.leaks.is_empty() {
                bad += 1;
                println!(
                    "seed {seed} {e:?} {a:?} {i:?} {g:?}: {:?} aborted {}",
                    outcome.broken(),
                    outcome.aborted
                );
                for v in outcome.violations.iter().take(3) {
                    println!("   {v}");
                }
                for v in outcome.leaks.iter().take(3) {
                    println!("   {v}");
                }
            }
            if std::env::var("LOG").is_ok_and(|s| s == seed.to_string()) {
                for line in &outcome.log {
                    println!("{line}");
                }
            }
            if seed == 1 {
                println!(
                    "{:?} lost {} {:?}",
                    outcome.drops(),
                    outcome.lost_before_indication(),
                    outcome.members_of(Flow::of).len()
                );
                println!(
                    "{:?}",
                    outcome.warnings.iter().map(|w| w.rule).collect::<std::collections::BTreeSet<_>>()
                );
                println!("{:?}", outcome.exercised);
            }
        }
        println!("bad {bad}");
    }
}
