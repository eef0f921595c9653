//! Requests that read or change what a partition holds: each reaches the adapter that has allocated it, in every revision
//! of its structures, whatever other adapters have the same number for.

use super::seen::{assert_forwarded, assert_redirected, is_own};
use super::{EVERY_MEMBER, FOLLOW_FLOWS, arrived_since, end, mark, occupy, vacate};
use lbfoext::ndis::raw::{ADAPTER_NOT_FOUND, INVALID_PARAMETER, SUCCESS, request_type};
use vswitch::adapter::offloads::Resource;
use vswitch::adapter::physical_switch::Aggregation;
use vswitch::adapter::wire::oid;
use vswitch::machine::registry::Value;
use vswitch::scenario::{Net, Scenario};
use vswitch::switch::control::below::Plan;
use vswitch::switch::control::envelope::Inner;
use vswitch::switch::control::offload::{
    config_block, config_space, queue_update, reset_vf, scale_parameters, vf_bar, vf_power, vf_vendor,
    vport_update,
};
use vswitch::switch::ports::NicId;

/// `OID_GEN_STATISTICS`, which has no row.
const STATISTICS: u32 = 0x0002_0106;

/// As many as it takes for two of them to be on different members.
const GUESTS: u16 = 12;

/// A partition with one of each, and the member that holds them.
#[derive(Clone, Copy, Debug)]
struct Holding {
    nic: NicId,
    member: u16,
    queue: u32,
    vf: u32,
    vport: u32,
}

/// Every request about what a partition holds, in every revision.
fn requests(of: Holding) -> Vec<Inner> {
    let Holding { nic, queue, vf, vport, .. } = of;
    let queues = (1..=4).map(|rev| Inner::set(oid::QUEUE_PARAMETERS, queue_update(rev, nic.port, queue, 2)));
    let vports = (1..=2).map(|rev| Inner::set(oid::VPORT_PARAMETERS, vport_update(rev, vport, 2)));
    let scaling = (0..=3).map(|rev| {
        let number = if rev == 0 { oid::RSS_PARAMETERS_V2 } else { oid::RSS_PARAMETERS };
        Inner::set(number, scale_parameters(rev)).for_vport(vport)
    });
    let functions = [
        Inner::method(oid::READ_CONFIG_SPACE, config_space(false, vf, 8, &[0; 4])),
        Inner::set(oid::WRITE_CONFIG_SPACE, config_space(true, vf, 8, &[7; 4])),
        Inner::method(oid::READ_CONFIG_BLOCK, config_block(false, vf, 1, &[0; 4])),
        Inner::set(oid::WRITE_CONFIG_BLOCK, config_block(true, vf, 1, &[7; 4])),
        Inner::set(oid::RESET_VF, reset_vf(vf)),
        Inner::set(oid::VF_POWER, vf_power(vf, 4)),
        Inner::method(oid::VF_VENDOR, vf_vendor(vf)),
        Inner::method(oid::VF_BAR, vf_bar(vf, 1)),
    ];
    // The target says where it goes, whatever the OID.
    let others = [
        Inner::new(STATISTICS, request_type::QUERY_INFORMATION, vec![0; 152]).for_vport(vport),
        Inner::method(oid::PRIVATE + 9, vec![9; 24]).for_vport(vport),
    ];
    queues.chain(vports).chain(scaling).chain(functions).chain(others).collect()
}

fn team(seed: u64) -> Scenario {
    Scenario::new(seed)
        .members(&[10, 25])
        .vms(GUESTS)
        .aggregation(Aggregation::SwitchIndependent)
        .setting("LinkUpDelayMs", Value::Dword(0))
        .setting("OffloadPlacement", Value::Dword(FOLLOW_FLOWS))
        .style(move |style| style.by_number = seed % 2 == 1)
}

/// Two partitions on different members, which know what both hold by the same numbers.
fn twins(net: &Net) -> [Holding; 2] {
    net.advance(1_000);
    let mut first: Option<Holding> = None;
    for nic in (0..GUESTS).map(|n| net.vm(n)) {
        let mac = net.mac(nic);
        let (vf, vport) = net
            .offload(nic, move |p| {
                let vf = p.allocate_function(mac).expect("room for a function");
                (vf, p.create_vport(vf).expect("room for a virtual port"))
            })
            .expect("the module listens");
        let queue = net.offload(nic, |p| p.allocate_queue()).flatten().expect("room for a queue");
        let member = net.members_of(nic)[0].0;
        let one = Holding { nic, member, queue, vf, vport };
        match first {
            None => first = Some(one),
            Some(other) if other.member != member => {
                assert_eq!((other.queue, other.vf, other.vport), (queue, vf, vport));
                return [other, one];
            }
            // Its numbers would be the next ones.
            Some(_) => net.release(nic),
        }
    }
    panic!("all partitions are on one member")
}

/// Asks for a partition; the status, and the adapter that the request reached.
fn ask(net: &Net, nic: NicId, inner: &Inner) -> (i32, Option<u16>) {
    let mark = mark(net);
    let answer = net.ask_nic(nic, net.member(0), inner, Plan::default()).expect("the module listens");
    let arrived = arrived_since(net, mark);
    assert!(arrived.len() <= 1, "{:#x}: {} arrived", inner.oid, arrived.len());
    arrived.iter().for_each(|one| assert_redirected(one, nic, net.member(0).port));
    (answer.status, arrived.first().map(|one| one.envelope.destination_nic_index))
}

#[test]
fn a_request_about_what_a_partition_holds_reaches_its_adapter_in_every_revision() {
    for seed in 0..6 {
        let net = team(seed).start();
        let twins = twins(&net);
        for of in twins {
            for inner in requests(of) {
                let reached = ask(&net, of.nic, &inner);
                assert_eq!(reached, (SUCCESS, Some(of.member)), "seed {seed}: {:#x} of {of:?}", inner.oid);
            }
        }
        // A link makes no difference: what is allocated stays where it is.
        net.fail(twins[0].member);
        for inner in requests(twins[0]) {
            let reached = ask(&net, twins[0].nic, &inner);
            assert_eq!(reached, (SUCCESS, Some(twins[0].member)), "seed {seed}: {:#x}, no link", inner.oid);
        }
        end(net).assert_clean();
    }
}

/// The only adapter left has the same numbers for another partition.
#[test]
fn a_request_about_what_was_lost_with_its_adapter_is_refused() {
    for seed in 0..4 {
        let net = team(seed).start();
        let [lost, kept] = twins(&net);
        net.unplug(lost.member);
        for inner in requests(lost) {
            let reached = ask(&net, lost.nic, &inner);
            assert_eq!(reached, (ADAPTER_NOT_FOUND, None), "seed {seed}: {:#x}", inner.oid);
        }
        for inner in requests(kept) {
            assert_eq!(ask(&net, kept.nic, &inner), (SUCCESS, Some(kept.member)), "{:#x}", inner.oid);
        }
        end(net).assert_clean();
    }
}

#[test]
fn a_request_about_what_the_extension_does_not_know_is_forwarded_as_it_came() {
    let net = team(0).start();
    let [one, _] = twins(&net);
    let unknown = Holding { queue: 77, vf: 78, vport: 79, ..one };
    let default = Holding { queue: 0, vf: 0xFFFF, vport: 0, ..one };
    for inner in requests(unknown).into_iter().chain(requests(default)) {
        let (mark, plan) = (mark(&net), Plan { status: INVALID_PARAMETER, completion: None });
        let answer = net.ask_nic(one.nic, net.member(0), &inner, plan).expect("the module listens");
        assert_eq!((answer.status, answer.reached_below), (INVALID_PARAMETER, true), "{:#x}", inner.oid);
        let [arrived] = &arrived_since(&net, mark)[..] else { panic!("one went down") };
        assert_forwarded(arrived, one.nic, net.member(0));
    }
    // Without the flag, or in a header of the first revision, it has no target.
    let untargeted = Inner::set(oid::RSS_PARAMETERS, scale_parameters(1));
    let (mark, plan) = (mark(&net), Plan { status: INVALID_PARAMETER, completion: None });
    net.ask_nic(one.nic, net.member(0), &untargeted, plan).expect("the module listens");
    let [arrived] = &arrived_since(&net, mark)[..] else { panic!("one went down") };
    assert_forwarded(arrived, one.nic, net.member(0));
    end(net).assert_clean();
}

#[test]
fn new_processors_of_a_queue_with_copies_reach_every_member_under_its_own_number() {
    for seed in 0..8 {
        let net = Scenario::new(seed)
            .members(&[10, 10, 40])
            .vms(2)
            .aggregation(Aggregation::SwitchIndependent)
            .setting("OffloadPlacement", Value::Dword(EVERY_MEMBER))
            .start();
        net.advance(1_000);
        occupy(&net, 1 + (seed % 3) as u16);
        let nic = net.vm(0);
        let id = net.start_queue(nic).expect("room for a queue");
        let copies: Vec<(u16, u32)> = net
            .members_of(nic)
            .into_iter()
            .filter_map(|(member, held)| match held {
                Resource::Queue(id) => Some((member, id)),
                _ => None,
            })
            .collect();
        assert_eq!(copies.len(), 3);
        assert!(copies.iter().any(|(_, copy)| *copy != id), "a member has a number of its own");
        let mark = mark(&net);
        for (count, mask) in [0x10_u64, 0x40, 0x80].into_iter().enumerate() {
            if count == 2 {
                net.fail(copies[0].0);
            }
            assert_eq!(net.offload(nic, move |p| p.update_queue(id, mask)), Some(true));
            let held = copies.clone();
            let now = net.look(move |s| {
                let adapters = &s.modules[0].external.adapters;
                let of = |(member, queue): &(u16, u32)| adapters[member].offloads.queues.all[queue].affinity;
                held.iter().map(of).collect::<Vec<_>>()
            });
            assert_eq!(now, Some(vec![mask; 3]), "seed {seed}");
        }
        let arrived = arrived_since(&net, mark);
        assert_eq!(arrived.len(), 9);
        for one in &arrived {
            assert!(is_own(one));
        }
        net.release(nic);
        vacate(&net);
        assert_eq!(net.disagreements(), [""; 0]);
        net.finish().assert_clean();
    }
}
