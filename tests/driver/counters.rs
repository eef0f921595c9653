//! Every counter is tested with packets that it counts. The merged counters of all processors are compared with what
//! the switch saw of every frame.

use super::module::look;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use teaming::flow::{BASES, Basis};
use teaming::forward::counters::{Counters, Load};
use teaming::forward::drop_reason::{DROP_REASONS, DropReason};
use vswitch::adapter::physical_switch::Aggregation;
use vswitch::machine::registry::Value;
use vswitch::scenario::guest::{BROADCAST, Flow, Packet};
use vswitch::scenario::suite::CASES;
use vswitch::scenario::{Body, Net, Scenario};
use vswitch::switch::frames::FrameOutcome;
use vswitch::switch::ports::policy::{Private, Property, Security, Vlan};

/// The counters of each processor.
fn each(net: &Net) -> Vec<Counters> {
    let all = Arc::new(Mutex::new(Vec::new()));
    let read = |_| -> (&'static str, Body) {
        let all = Arc::clone(&all);
        let body = move |net: &Net| {
            look(net, |module| {
                let control = module.control.lock();
                let counters = module.counters.with(control.dispatch(), |counters| counters.clone());
                all.lock().expect("nobody fails with it").extend(counters);
            });
        };
        ("reader", Box::new(body))
    };
    net.together((0..net.world().config().cpus).map(read).collect());
    std::mem::take(&mut *all.lock().expect("as above"))
}

pub fn merged(net: &Net) -> Counters {
    let mut sum = Counters::ZERO;
    each(net).iter().for_each(|counters| sum.merge(counters));
    sum
}

/// The switch's own counts: reports by reason, frames for each member, frames for native forwarding, all frames.
#[derive(Debug, PartialEq, Eq)]
struct Account {
    dropped: BTreeMap<&'static str, u64>,
    members: BTreeMap<u16, Load>,
    native: u64,
    frames: u64,
}

fn seen_by_the_switch(net: &Net) -> Account {
    let switch = net.switch();
    let look = move |state: &mut vswitch::switch::ndis::State| {
        let mut account =
            Account { dropped: BTreeMap::new(), members: BTreeMap::new(), native: 0, frames: 0 };
        for frame in state.frames.all.iter().filter(|frame| frame.switch == switch) {
            account.frames += 1;
            account.native += u64::from(frame.outcomes.contains(&FrameOutcome::Native));
            for end in &frame.outcomes {
                let reason = match end {
                    FrameOutcome::Filtered { reason } => {
                        DROP_REASONS.into_iter().find(|known| known.sentence() == reason)
                    }
                    FrameOutcome::Paused => Some(DropReason::NotRunning),
                    _ => None,
                };
                if let Some(reason) = reason {
                    *account.dropped.entry(reason.name()).or_default() += 1;
                }
            }
        }
        for assignment in &state.frames.assignments {
            let frame = &state.frames.all[assignment.frame];
            if frame.switch == switch {
                let load = account.members.entry(assignment.member).or_default();
                *load = Load { frames: load.frames + 1, bytes: load.bytes + frame.bytes.len() as u64 };
            }
        }
        account
    };
    net.look(look).expect("it runs")
}

fn counted(counters: &Counters) -> Account {
    let drops = DROP_REASONS.map(|reason| (reason.name(), counters.dropped(reason)));
    let members = (1..).zip(counters.members).filter(|(_, load)| *load != Load::default());
    Account {
        dropped: drops.into_iter().filter(|(_, count)| *count != 0).collect(),
        members: members.collect(),
        native: counters.native,
        frames: counters.delivered
            + counters.uplink
            + counters.flooded
            + counters.native
            + counters.dropped.iter().sum::<u64>(),
    }
}

/// Asserts that driver and switch counted the same.
fn agreed(net: &Net, what: &str) -> Counters {
    net.settle();
    let counters = merged(net);
    assert_eq!(counted(&counters), seen_by_the_switch(net), "{what}: the driver's count, and the switch's");
    counters
}

fn team() -> Scenario {
    Scenario::new(1).members(&[10, 10]).vms(3).setting("LinkUpDelayMs", Value::Dword(0))
}

/// A frame from its addresses and the bytes that follow them.
fn raw(to: [u8; 6], from: [u8; 6], rest: &[u8]) -> Vec<u8> {
    let mut frame = [&to[..], &from, rest].concat();
    frame.resize(frame.len().max(60), 0);
    frame
}

/// A frame from a guest to another, or to the external network.
fn from_guest(net: &Net, to: Option<u16>, rest: &[u8]) -> Vec<u8> {
    let to = to.map_or([2, 0xAA, 0, 0, 0, 9], |n| net.mac(net.vm(n)));
    raw(to, net.mac(net.vm(0)), rest)
}

fn send(net: &Net, frame: Vec<u8>) {
    net.send(net.vm(0), &[frame]);
}

/// A tag in the bytes, and the EtherType after it.
const fn tag(vid: u16) -> [u8; 6] {
    [0x81, 0, (vid >> 8) as u8, vid as u8, 0x88, 0xB5]
}

fn vlan(plan: Scenario, vm: u16, vlan: Vlan) -> Scenario {
    plan.property(vm, Property::Vlan(vlan))
}

/// For every drop reason, a switch on which it occurs. A new reason without an arm does not compile.
fn provoke(reason: DropReason) -> Net {
    let guest_to_guest = |net: &Net| send(net, net.flow_between(net.vm(0), net.vm(1), 1).frame(0, 60));
    let on = |plan: Scenario, act: &dyn Fn(&Net)| {
        let net = plan.start();
        act(&net);
        net
    };
    match reason {
        DropReason::Runt => on(team(), &|net| send(net, vec![0xFF; 9])),
        DropReason::BackToSource => on(team(), &|net| send(net, from_guest(net, Some(0), &[0x88, 0xB5]))),
        DropReason::NoDestination => on(team(), &|net| {
            let stranger = raw([2, 9, 9, 9, 9, 9], [2, 0xAA, 0, 0, 0, 1], &[0x88, 0xB5]);
            net.receive_external(1, &[stranger]);
        }),
        DropReason::NoLiveMember => on(team(), &|net| {
            net.fail(1);
            net.fail(2);
            send(net, net.flow(net.vm(0), 1).frame(0, 60));
        }),
        DropReason::PinnedMemberDown => on(team(), &|net| {
            let nic = net.vm(0);
            let handle = net.offload(nic, |partition| partition.add_association_ex(4)).flatten();
            let handle = handle.expect("it is taken");
            net.fail(net.members_of(nic)[0].0);
            let packet = Packet::of(net.flow(nic, 1).frame(0, 60));
            net.send_packets(vec![(nic, Packet { association: Some(handle), ..packet })]);
        }),
        DropReason::UnknownAssociation => on(team(), &|net| {
            let nic = net.vm(0);
            let packet = Packet::of(net.flow(nic, 1).frame(0, 60));
            net.send_packets(vec![(nic, Packet { association: Some(7), ..packet })]);
        }),
        DropReason::LinkLocal => on(team(), &|net| {
            let bpdu = raw([1, 0x80, 0xC2, 0, 0, 0], [2, 0xAA, 0, 0, 0, 1], &[0, 3, 0x42, 0x42, 3]);
            net.receive_external(1, &[bpdu]);
        }),
        DropReason::Unreadable => failing("MmMapLockedPagesSpecifyCache", reason, team(), &|net| {
            send(net, net.flow(net.vm(0), 1).frame(0, 600));
        }),
        DropReason::NoResources => on(team().style(|style| style.refuse = 100), &|net| {
            let frames = (0..9).map(|n| net.flow_between(net.vm(0), net.vm(1), n).frame(0, 60));
            net.send(net.vm(0), &frames.collect::<Vec<_>>());
        }),
        DropReason::NotRunning => on(team().style(|style| style.send_while_paused = true), &|net| {
            net.pause();
            guest_to_guest(net);
            net.send_packets(vec![(
                net.vm(1),
                Packet::several(vec![net.flow(net.vm(1), 1).frame(0, 60); 3]),
            )]);
            net.restart();
        }),
        DropReason::BadTag => on(vlan(team(), 0, Vlan::trunk(0, [9])), &|net| {
            send(net, from_guest(net, None, &tag(4095)));
        }),
        DropReason::TaggedFrame => on(team(), &|net| send(net, from_guest(net, None, &tag(9)))),
        DropReason::VlanNotAllowed => on(vlan(team(), 0, Vlan::trunk(0, [9])), &|net| {
            send(net, from_guest(net, None, &tag(10)));
        }),
        DropReason::VlanMismatch => {
            on(vlan(vlan(team(), 0, Vlan::Access(7)), 1, Vlan::Access(9)), &guest_to_guest)
        }
        DropReason::TagInBytes => on(vlan(team(), 0, Vlan::trunk(0, [9])), &|net| {
            let [_, _, rest @ ..] = tag(9);
            send(net, from_guest(net, Some(1), &[&[0x88, 0xA8], &rest[..]].concat()));
        }),
        DropReason::PrivateVlan => {
            let isolated = || Vlan::Private(Private::Isolated { primary: 100, secondary: 101 });
            on(vlan(vlan(team(), 0, isolated()), 1, isolated()), &guest_to_guest)
        }
        DropReason::SpoofedAddress => on(team(), &|net| {
            send(net, raw(net.mac(net.vm(1)), [2, 0xBB, 0, 0, 0, 1], &[0x88, 0xB5]));
        }),
        DropReason::VirtualSubnet => {
            let subnet = |subnet| Property::Security(Security { subnet, ..Security::default() });
            on(team().property(0, subnet(5_001)), &|net| send(net, net.flow(net.vm(0), 1).frame(0, 60)))
        }
        DropReason::PortClosed => on(team().property(0, Property::Isolation { mode: 2 }), &guest_to_guest),
        DropReason::Duplicate => on(team().aggregation(Aggregation::SwitchIndependent), &|net| {
            let flood = Flow { to: BROADCAST, ..net.external_flow(net.vm(0), 1) }.frame(0, 60);
            net.from_the_network(&flood);
        }),
        DropReason::Reflection => on(team(), &|net| {
            let own = net.mac(net.vm(0));
            let ours = raw(own, own, &[0x88, 0xB5]);
            net.receive_external(1, &[ours]);
        }),
    }
}

/// A switch on which one call of the function `site` fails during `act`, so that the reason is counted.
fn failing(site: &str, reason: DropReason, plan: Scenario, act: &dyn Fn(&Net)) -> Net {
    for seed in 0..20 {
        for n in 1..20 {
            let net = plan.clone().config(|config| config.seed = seed).start();
            net.world().fail_from_here(n);
            act(&net);
            let failed = net.world().injected_fault();
            net.world().fail_from_here(1 << 40);
            net.settle();
            if failed == Some(site) && merged(&net).dropped(reason) != 0 {
                return net;
            }
            net.finish().assert_clean();
        }
    }
    panic!("{site} was never called");
}

#[test]
fn every_reason_of_a_drop_is_counted_as_often_as_the_switch_hears_of_it() {
    for reason in DROP_REASONS {
        let net = provoke(reason);
        let counters = agreed(&net, reason.name());
        assert_ne!(counters.dropped(reason), 0, "{}", reason.name());
        let others = DROP_REASONS.into_iter().filter(|other| *other != reason);
        assert_eq!(others.map(|other| counters.dropped(other)).sum::<u64>(), 0, "{}", reason.name());
        net.finish().assert_clean();
    }
}

/// IPv6 with `count` extension headers of `bytes` bytes each, and no ports after them.
fn long_headers(net: &Net, count: usize, bytes: usize) -> Vec<u8> {
    let options = [&[60, (bytes / 8 - 1) as u8, 1, (bytes - 4) as u8][..], &vec![0; bytes - 4]].concat();
    let headers = options.repeat(count);
    let length = headers.len() as u16;
    let fixed = [&[0x60, 0, 0, 0][..], &length.to_be_bytes(), &[60, 64], &[0xFD; 16], &[0xFE; 16]].concat();
    from_guest(net, None, &[&[0x86, 0xDD][..], &fixed, &headers].concat())
}

/// An IPv4 frame with some bytes changed.
fn ipv4(net: &Net, changes: &[(usize, u8)]) -> Vec<u8> {
    let mut frame = net.flow(net.vm(0), 1).frame(0, 60);
    for (at, byte) in changes {
        frame[*at] = *byte;
    }
    frame
}

/// For every basis of a key, a frame to the external network that has it. A new basis without an arm does not compile.
fn keyed_by(basis: Basis) -> Net {
    let algorithm = if basis == Basis::NotEncapsulated { 7 } else { 0 };
    let net = team().setting("LoadBalancingAlgorithm", Value::Dword(algorithm)).start();
    let frame = match basis {
        Basis::Policy | Basis::NotEncapsulated => ipv4(&net, &[]),
        Basis::Fragment => ipv4(&net, &[(20, 0x20), (21, 0)]),
        Basis::NoPorts => ipv4(&net, &[(23, 1)]),
        Basis::NotIp => from_guest(&net, None, &[0x88, 0xB5]),
        Basis::CutShort => long_headers(&net, 5, 64),
        Basis::TooDeep => long_headers(&net, 12, 8),
        Basis::Malformed => ipv4(&net, &[(14, 0x41)]),
    };
    send(&net, frame);
    net
}

#[test]
fn every_basis_of_a_key_is_counted() {
    for basis in BASES {
        let net = keyed_by(basis);
        let counters = agreed(&net, basis.name());
        let counts = BASES.map(|other| (other.name(), counters.based_on(other)));
        assert_eq!(counts, BASES.map(|other| (other.name(), u64::from(other == basis))));
        net.finish().assert_clean();
    }
}

#[test]
fn each_way_of_a_packet_is_counted_once_also_for_several_packets_in_a_list() {
    let net = team().start();
    let (a, b) = (net.vm(0), net.vm(1));
    let counts = |net: &Net| {
        let c = agreed(net, "ways");
        [c.delivered, c.uplink, c.flooded, c.native, c.split]
    };
    let three = |flow: &Flow| Packet::several((0..3).map(|n| flow.frame(n, 60)).collect());
    net.send_packets(vec![(a, Packet::of(net.flow_between(a, b, 1).frame(9, 60)))]);
    assert_eq!(counts(&net), [1, 0, 0, 0, 0]);
    net.send_packets(vec![(a, three(&net.flow_between(a, b, 1)))]);
    assert_eq!(counts(&net), [4, 0, 0, 0, 0]);
    net.send_packets(vec![(a, three(&net.flow(a, 1)))]);
    assert_eq!(counts(&net), [4, 3, 0, 0, 0]);
    net.send_packets(vec![(a, three(&Flow { to: BROADCAST, ..net.flow(a, 1) }))]);
    assert_eq!(counts(&net), [4, 3, 3, 0, 0]);
    net.send_packets(vec![(a, Packet::native(net.flow(a, 1).frame(9, 60)))]);
    assert_eq!(counts(&net), [4, 3, 3, 1, 0]);
    let both = vec![net.flow_between(a, b, 1).frame(20, 60), net.flow(a, 1).frame(21, 60)];
    net.send_packets(vec![(a, Packet::several(both))]);
    assert_eq!(counts(&net), [5, 4, 3, 1, 1]);
    net.finish().assert_clean();
}

#[test]
fn what_every_member_was_given_is_counted_by_every_processor() {
    let members: Vec<(u16, u64)> = (1..=32).map(|index| (index, 10)).collect();
    let net = team().members_at(&members).vms(4).style(|style| style.awkward_memory = false).start();
    let sender = |vm: u16| -> Body {
        Box::new(move |net: &Net| {
            for n in 0..100 {
                net.send(net.vm(vm), &[net.flow(net.vm(vm), 100 * vm + n).frame(0, usize::from(n))]);
            }
        })
    };
    net.together(vec![("0", sender(0)), ("1", sender(1)), ("2", sender(2)), ("3", sender(3))]);
    let counters = agreed(&net, "members");
    assert!(counters.members.iter().all(|load| load.frames > 0), "{:?}", counters.members);
    assert_eq!((counters.uplink, counters.based_on(Basis::Policy)), (400, 400));
    // Each processor counts its own packets.
    assert_eq!(each(&net).iter().map(|one| one.uplink).collect::<Vec<_>>(), [100; 4]);
    net.finish().assert_clean();
}

#[test]
fn driver_and_switch_agree_on_every_count_in_the_scenarios_of_the_suite() {
    for case in CASES {
        for seed in 0..4 {
            let net = (case.plan)(seed).start();
            let first = net.look(|state| state.modules[0].context);
            (case.steps)(&net);
            let last = net.look(|state| state.modules[0].context);
            // A detached module's counters are gone, and a module that was never attached has none.
            if first != last || !net.is_running() || DETACH.contains(&case.name) {
            } else if case.name == "switch_refusals" {
                // Some packets of a list are dropped, and a report names the whole list: every frame is still counted
                // once.
                net.settle();
                let (counted, seen) = (counted(&merged(&net)), seen_by_the_switch(&net));
                assert_eq!((counted.frames, &counted.members), (seen.frames, &seen.members), "seed {seed}");
                assert!(counted.dropped["no_resources"] < seen.dropped["no_resources"]);
            } else {
                agreed(&net, &format!("{} with seed {seed}", case.name));
            }
            net.finish().assert_clean();
        }
    }
}

/// Scenarios that detach the module.
const DETACH: &[&str] = &[
    "policies_change",
    "detach_and_attach_again",
    "offloads",
    "offloads_of_every_member",
    "teams_of_guests",
];
