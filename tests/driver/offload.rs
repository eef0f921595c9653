//! Offload resources of partitions on team members: their placement, agreement of switch and adapters, and the
//! capabilities that the team indicates.

use std::collections::{BTreeMap, BTreeSet};
use vswitch::adapter::capabilities::{Capabilities, TO_COME, VERSIONS};
use vswitch::adapter::offloads::Resource;
use vswitch::adapter::physical_switch::Aggregation;
use vswitch::adapter::wire::{filter_caps, get32, ipsec_caps, offload, switch_caps};
use vswitch::machine::registry::Value;
use vswitch::scenario::outcome::Outcome;
use vswitch::scenario::suite::offload::Draw;
use vswitch::scenario::suite::{self, SILENCE};
use vswitch::scenario::{CAPABILITY_CODES, Net, Scenario};
use vswitch::switch::ports::NicId;

pub const FOLLOW_FLOWS: u32 = 0;
const SINGLE_MEMBER: u32 = 1;
const EVERY_MEMBER: u32 = 2;

/// Asserts that no rule is broken, nothing leaks, and switch and adapters agree.
pub fn assert_agreed(net: &Net, when: &str) {
    let wrong = net.disagreements();
    assert!(wrong.is_empty(), "{when}: {:?}", &wrong[..wrong.len().min(5)]);
}

/// The members that have the queues of each partition.
fn queue_members(net: &Net, partitions: u16) -> BTreeMap<u16, BTreeSet<u16>> {
    let of = |n| net.members_of(net.vm(n)).into_iter().filter(|(_, r)| matches!(r, Resource::Queue(_)));
    (0..partitions).map(|n| (n, of(n).map(|(member, _)| member).collect())).collect()
}

#[test]
fn a_thousand_partitions_on_eight_members_agree_after_every_failure_and_return() {
    const PARTITIONS: u16 = 1_000;
    let net = Scenario::new(1)
        .members(&[10, 10, 10, 10, 25, 25, 40, 40])
        .vms(PARTITIONS)
        .aggregation(Aggregation::SwitchIndependent)
        .abilities(|_| Capabilities { queues: 400, filters: 800, ..Capabilities::default() })
        .style(|style| style.awkward_memory = false)
        .setting("LinkUpDelayMs", Value::Dword(0))
        .setting("OffloadPlacement", Value::Dword(FOLLOW_FLOWS))
        .tear_down(false)
        .start();
    net.advance(1_000);
    let mut numbers: BTreeMap<u32, u32> = BTreeMap::new();
    for n in 0..PARTITIONS {
        let nic = net.vm(n);
        let queue = net.start_queue(nic).expect("there is room");
        *numbers.entry(queue).or_default() += 1;
        net.send(nic, &[net.flow(nic, 1).frame(0, 60)]);
    }
    net.settle();
    assert!(numbers.values().filter(|count| **count > 1).count() > 50, "identifiers must collide");
    assert_agreed(&net, "after the allocation");
    let homes = queue_members(&net, PARTITIONS);
    // Each partition's queue is on the member where its traffic leaves, which is also where it arrives on independent
    // switches.
    let elsewhere = |net: &Net, homes: &BTreeMap<u16, BTreeSet<u16>>| {
        let ports: Vec<Option<u16>> = net
            .look(|s| {
                (0..PARTITIONS)
                    .map(|n| s.modules[0].external.physical.port_of(0, vswitch::scenario::guest::vm_mac(n)))
                    .collect()
            })
            .unwrap();
        (0..PARTITIONS).filter(|n| homes[n] != ports[usize::from(*n)].into_iter().collect()).count()
    };
    assert_eq!(elsewhere(&net, &homes), 0, "queues away from their traffic");
    arrive(&net, PARTITIONS, &homes);
    assert_eq!(net.queue_counts(), (u64::from(PARTITIONS), 0));
    for member in 1..=8 {
        net.fail(member);
        let lost: Vec<u16> = homes.iter().filter(|(_, at)| at.contains(&member)).map(|(n, _)| *n).collect();
        for n in &lost {
            net.send(net.vm(*n), &[net.flow(net.vm(*n), 1).frame(u32::from(member), 60)]);
        }
        net.settle();
        assert_agreed(&net, "after a failure");
        assert_eq!(
            queue_members(&net, PARTITIONS),
            homes,
            "nothing is freed or allocated behind the switch's back"
        );
        // Frames for them meanwhile arrived on the default queue of a remaining member, and are counted there.
        let before = net.queue_counts().1;
        for n in &lost {
            let survivor = net
                .look(|s| s.modules[0].external.physical.port_of(0, vswitch::scenario::guest::vm_mac(*n)))
                .flatten()
                .expect("it sent through a survivor");
            assert_ne!(survivor, member);
            net.receive_external(survivor, &[net.external_flow(net.vm(*n), 2).frame(1, 60)]);
        }
        assert_eq!(net.queue_counts().1 - before, lost.len() as u64);
        net.restore(member);
        net.advance(400_000);
    }
    assert_agreed(&net, "after all returned");
    for n in 0..PARTITIONS {
        net.release(net.vm(n));
    }
    assert_agreed(&net, "after everything was given back");
    assert!(queue_members(&net, PARTITIONS).values().all(BTreeSet::is_empty));
    let failures = net.look(|s| (s.control.wants.vetoes, s.control.wants.failures)).unwrap();
    assert_eq!(failures, (0, 0));
    net.finish().assert_clean();
}

/// Receives one frame for each partition from the external network, on the member that has its queue.
fn arrive(net: &Net, partitions: u16, homes: &BTreeMap<u16, BTreeSet<u16>>) {
    for n in 0..partitions {
        for member in &homes[&n] {
            net.receive_external(*member, &[net.external_flow(net.vm(n), 2).frame(0, 60)]);
        }
    }
}

#[test]
fn an_adapter_that_is_taken_out_takes_its_queues_along_and_the_switch_plans_again() {
    for seed in 0..12 {
        let net =
            Scenario::new(seed).members(&[10, 10, 25]).vms(8).aggregation(Aggregation::SwitchIndependent);
        let net = net
            .setting("LinkUpDelayMs", Value::Dword(0))
            .setting("OffloadPlacement", Value::Dword(FOLLOW_FLOWS))
            .start();
        net.advance(1_000);
        for n in 0..8 {
            net.start_queue(net.vm(n)).expect("there is room");
        }
        let homes = queue_members(&net, 8);
        let victim = *homes[&0].iter().next().unwrap();
        net.unplug(victim);
        assert_agreed(&net, "after an adapter was taken out");
        assert!(queue_members(&net, 8).iter().all(|(n, at)| homes[n].contains(&victim) == at.is_empty()));
        net.plan_again();
        assert_agreed(&net, "after planning again");
        assert!(queue_members(&net, 8).values().all(|at| at.len() == 1 && !at.contains(&victim)));
        net.replug(victim);
        net.advance(400_000);
        net.plan_again();
        assert_agreed(&net, "after its return");
        assert_eq!(queue_members(&net, 8), homes, "everyone is home");
        net.finish().assert_clean();
    }
}

#[test]
fn a_host_that_accepts_no_number_twice_gets_everything_on_one_member() {
    for seed in 0..8 {
        let net = Scenario::new(seed)
            .members(&[10, 10, 10])
            .vms(10)
            .setting("OffloadPlacement", Value::Dword(SINGLE_MEMBER))
            .start();
        net.advance(1_000);
        let numbers: BTreeSet<u32> = (0..10).filter_map(|n| net.start_queue(net.vm(n))).collect();
        assert_eq!(numbers.len(), 10);
        assert_agreed(&net, "on one member");
        let members: BTreeSet<u16> = queue_members(&net, 10).into_values().flatten().collect();
        assert_eq!(members.len(), 1);
        net.finish().assert_clean();
    }
}

#[test]
fn copies_on_every_member_come_and_go_together_whoever_fails_or_refuses() {
    for seed in 0..12 {
        let net = Scenario::new(seed)
            .members(&[10, 10, 10, 10])
            .vms(4)
            .setting("OffloadPlacement", Value::Dword(EVERY_MEMBER))
            .setting("LinkUpDelayMs", Value::Dword(0))
            .abilities(|index| Capabilities {
                queues: if index == 2 { 2 } else { 16 },
                ..Capabilities::default()
            })
            .start();
        net.advance(1_000);
        for n in 0..4 {
            net.start_queue(net.vm(n)).expect("most members have room");
        }
        let at = queue_members(&net, 4);
        assert!(
            at.values().filter(|at| at.len() == 4).count() == 2,
            "two of four found no room on one: {at:?}"
        );
        assert!(at.values().all(|at| at.len() >= 3));
        net.fail(3);
        net.restore(3);
        net.unplug(4);
        for n in 0..4 {
            net.release(net.vm(n));
        }
        assert_agreed(&net, "after everything was given back");
        assert!(queue_members(&net, 4).values().all(BTreeSet::is_empty));
        net.finish().assert_clean();
    }
}

fn has_function(net: &Net, nic: NicId, member: u16) -> bool {
    net.members_of(nic).iter().any(|held| matches!(held, (m, Resource::Function(_)) if *m == member))
}

#[test]
fn a_vm_that_bypasses_the_switch_is_told_to_come_back_when_its_adapter_dies() {
    const SPEEDS: [u64; 3] = [10, 10, 10];
    for seed in 0..12 {
        let net = Scenario::new(seed)
            .members(&SPEEDS)
            .vms(9)
            .setting("LinkUpDelayMs", Value::Dword(0))
            .setting("OffloadPlacement", Value::Dword(FOLLOW_FLOWS));
        let net = net.abilities(|_| Capabilities { functions: 8, ..Capabilities::default() }).start();
        net.advance(1_000);
        let told = |net: &Net| -> BTreeSet<u32> {
            net.look(|s| s.control.status.removals.iter().map(|(_, nic)| nic.port).collect()).unwrap()
        };
        let (using, idle) = (0..8, net.vm(8));
        for n in using.clone() {
            net.start_function(net.vm(n)).expect("there is room");
        }
        let mac = net.mac(idle);
        net.offload(idle, |p| p.allocate_function(mac).and_then(|f| p.create_vport(f))).flatten().unwrap();
        let on = |member: u16| -> BTreeSet<u32> {
            using
                .clone()
                .map(|n| net.vm(n))
                .filter(|nic| has_function(&net, *nic, member))
                .map(|nic| nic.port)
                .collect()
        };
        assert_eq!((1..=3).map(|member| on(member).len()).sum::<usize>(), 8);
        for member in 1..=3 {
            let (mine, late) = (on(member), has_function(&net, idle, member));
            net.fail(member);
            assert_eq!(told(&net), mine, "those that use a function on it, and nobody else");
            // The function was allocated but not assigned; when it is assigned, the loss is indicated.
            net.assign_function(idle, true);
            let now = told(&net);
            assert_eq!((now.contains(&idle.port), now.len() - mine.len()), (late, usize::from(late)));
            if !late {
                net.assign_function(idle, false);
            }
            net.settle();
            assert_agreed(&net, "after they gave their functions up");
            assert!(on(member).is_empty() && told(&net).is_empty());
            net.restore(member);
            net.advance(1_000);
            assert!(told(&net).is_empty(), "a return takes nothing from anybody");
        }
        net.finish().assert_clean();
    }
}

#[test]
fn packets_with_an_association_leave_through_the_member_that_has_it() {
    for seed in 0..12 {
        let net = Scenario::new(seed).members(&[10, 10, 10, 10]).vms(2).start();
        net.advance(1_000);
        let nic = net.vm(0);
        let handle = net.offload(nic, |p| p.add_association_ex(7)).flatten().expect("there is room");
        let home = net.members_of(nic)[0].0;
        let packets = (0..24).map(|n| {
            let packet = vswitch::scenario::guest::Packet::of(net.flow(nic, n).frame(1, 60));
            (nic, vswitch::scenario::guest::Packet { association: Some(handle), ..packet })
        });
        net.send_packets(packets.collect());
        net.settle();
        net.release(nic);
        let outcome = net.finish();
        outcome.assert_clean();
        let members: BTreeSet<u16> = outcome.assignments.iter().map(|a| a.member).collect();
        assert_eq!((members, outcome.assignments.len()), (BTreeSet::from([home]), 24));
    }
}

/// A value of a capability: the code of its indication, how to read it from the structure, and from a simulated
/// adapter.
type Figure = (i32, fn(&[u8]) -> u32, fn(&Capabilities) -> u32);

/// The place of virtual ports in `FIGURES`.
const VPORTS: usize = 3;

const FIGURES: [Figure; 5] = [
    (CAPABILITY_CODES[0], |b| get32(b, filter_caps::QUEUES), |a| a.queues),
    (CAPABILITY_CODES[0], |b| get32(b, filter_caps::FILTERS), |a| a.filters),
    (CAPABILITY_CODES[1], |b| get32(b, switch_caps::VFS), |a| a.functions),
    (CAPABILITY_CODES[1], |b| get32(b, switch_caps::VPORTS), |a| a.vports),
    (CAPABILITY_CODES[2], |b| get32(&b[offload::IPSEC.at..], ipsec_caps::CAPACITY), |a| a.associations),
];

/// What was indicated last is what the adapters can now, with a cable or without: together, or each, as the placement
/// asks; in the oldest revision of those that have anything of the kind.
fn assert_told(net: &Net, counts_all: bool, when: &str) {
    let (told, all): (BTreeMap<i32, Vec<u8>>, Vec<Capabilities>) = net
        .look(|s| {
            let told = s.control.status.advertised.iter().map(|((_, code), bytes)| (*code, bytes.clone()));
            let adapters = s.modules[0].external.adapters.values();
            (told.collect(), adapters.map(|a| a.offloads.capabilities).collect())
        })
        .unwrap();
    for (number, (code, read, of)) in FIGURES.into_iter().enumerate() {
        let each = || all.iter().map(of);
        let (sum, having) = (each().sum::<u32>(), each().filter(|count| *count != 0).count() as u32);
        // Every adapter counts its default virtual port, and the team has one.
        let defaults = if number == VPORTS { having.saturating_sub(1) } else { 0 };
        let expected = if counts_all { sum - defaults } else { each().min().unwrap_or(0) };
        assert_eq!(told.get(&code).map_or(0, |bytes| read(bytes)), expected, "{when}: {code:#x} of {all:?}");
    }
    for code in CAPABILITY_CODES {
        let oldest = all.iter().filter_map(|a| a.indication(code)).map(|bytes| bytes[1]).min();
        let known = [2, 3, 8][CAPABILITY_CODES.iter().position(|c| *c == code).unwrap()];
        if let (Some(told), Some(oldest)) = (told.get(&code), oldest) {
            assert_eq!(told[1], oldest.min(known), "{when}: {code:#x} of {all:?}");
        }
    }
}

#[test]
fn what_the_team_can_do_is_indicated_whatever_members_say_and_is_in_the_end_what_they_can() {
    for seed in 0..200 {
        let placement = (seed % 3) as u32;
        // A static team gets its traffic on all members, so that what is on one of them does not fit all of it.
        let mode = u32::from(seed % 4 != 0);
        let counts_all = placement == 0 && mode == 1;
        let net = Scenario::new(seed)
            .members(&[10, 10, 10, 10])
            .vms(2)
            .random_abilities()
            .aggregation(if mode == 0 { Aggregation::Static } else { Aggregation::SwitchIndependent })
            .setting("OffloadPlacement", Value::Dword(placement))
            .setting("LinkUpDelayMs", Value::Dword(0))
            .start();
        net.advance(SILENCE);
        assert_told(&net, counts_all, "at first");
        let mut draw = Draw::new(seed);
        for round in 0..6 {
            let member = 1 + draw.below(4) as u16;
            let abilities = Capabilities::random(|n| draw.below(n));
            let from_team = round % 3 == 2;
            net.change_abilities(member, abilities, &CAPABILITY_CODES, from_team);
            if from_team {
                // While it is still being asked it says something newer itself.
                let abilities = Capabilities::random(|n| draw.below(n));
                net.change_abilities(member, abilities, &CAPABILITY_CODES, false);
            }
            net.advance(if round % 2 == 0 { SILENCE } else { 100 });
        }
        net.advance(SILENCE);
        assert_told(&net, counts_all, "after changes");
        net.fail(2);
        net.advance(SILENCE);
        assert_told(&net, counts_all, "without a cable");
        net.restore(2);
        net.advance(SILENCE);
        assert_told(&net, counts_all, "with all");
        net.finish().assert_clean();
    }
}

#[test]
fn what_the_only_adapter_can_do_is_passed_on_as_it_is() {
    for (number, version) in VERSIONS.into_iter().chain([TO_COME]).enumerate() {
        for seed in 0..4 {
            let able =
                move |_| Capabilities { version, associations: 20 + seed as u32, ..Capabilities::default() };
            let net = Scenario::new(seed + 10 * number as u64)
                .members(&[10])
                .vms(1)
                .abilities(able)
                .setting("LinkUpDelayMs", Value::Dword(0))
                .start();
            let own =
                |net: &Net| CAPABILITY_CODES.map(|code| net.look(move |s| s.control.status.own_of(code)));
            for from_team in [false, true] {
                let abilities = Capabilities { queues: 3, ..able(1) };
                net.change_abilities(1, abilities, &CAPABILITY_CODES, from_team);
                net.advance(SILENCE);
            }
            net.fail(1);
            net.advance(SILENCE);
            net.restore(1);
            net.advance(SILENCE);
            assert_eq!(own(&net), [Some(0); 3], "6.{version}: nothing is indicated in its place");
            net.finish().assert_clean();
        }
    }
}

/// Adapters that write queue numbers into packets, and switches that send queue parameters, against such as do
/// neither: every frame takes the same way, also if members fail meanwhile.
#[test]
fn where_frames_go_depends_on_no_queue_number_and_on_no_queue_parameters() {
    for seed in 0..12 {
        let run = |tells: bool| {
            let net = suite::offload_plan(seed).style(|style| {
                style.queue_numbers = tells;
                // Other random choices would be drawn differently in the two runs.
                (style.awkward_memory, style.nested, style.free_slots) = (false, 100, 0);
            });
            let net = net.start();
            suite::queue_numbers::steps(&net, tells);
            net.finish()
        };
        let (told, silent) = (run(true), run(false));
        silent.assert_clean();
        told.assert_clean();
        assert!(told.frames.iter().any(|frame| frame.queue != 0));
        assert!(silent.frames.iter().all(|frame| frame.queue == 0));
        assert_eq!(suite::queue_numbers::ways(&told), suite::queue_numbers::ways(&silent), "seed {seed}");
        let members = |outcome: &Outcome| -> Vec<(usize, u16)> {
            outcome.assignments.iter().map(|given| (given.frame, given.member)).collect()
        };
        assert_eq!(members(&told), members(&silent), "seed {seed}");
    }
}
