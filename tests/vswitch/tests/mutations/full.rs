//! A day in the life of a switch: packets, offloads, requests, saves, with an occasion for every mutation but those
//! with ports.

use lbfoext::ndis::raw::{oids, request_type};
use std::collections::BTreeSet;
use vswitch::adapter::capabilities::Capabilities;
use vswitch::adapter::offloads::{By, Holder};
use vswitch::adapter::sriov::PHYSICAL_FUNCTION;
use vswitch::adapter::wire::oid;
use vswitch::inject::was_committed;
use vswitch::machine::registry::Value;
use vswitch::mutation::Mutation;
use vswitch::scenario::guest::{BROADCAST, Packet, host_mac, vm_mac};
use vswitch::scenario::outcome::Outcome;
use vswitch::scenario::suite;
use vswitch::scenario::{Activation, CAPABILITY_CODES, Enumeration, Net, Scenario, unknown_request};
use vswitch::switch::control::below::{Completion, Plan};
use vswitch::switch::control::envelope::Inner;
use vswitch::switch::control::offload;
use vswitch::switch::control::save::{Offering, Other};
use vswitch::switch::control::status::{Damage, Status};
use vswitch::switch::ports::NicId;

/// A broadcast of a guest.
fn flood(net: &Net, from: NicId, n: u16) -> Vec<u8> {
    let mut frame = net.flow(from, n).frame(1, 60);
    frame[..6].copy_from_slice(&BROADCAST);
    frame
}

fn one(net: &Net, from: NicId, frame: Vec<u8>) {
    net.send(from, &[frame]);
}

/// Traffic of every kind, alone and in company.
fn traffic(net: &Net) {
    let [a, b, c] = [net.vm(0), net.vm(1), net.vm(2)];
    for n in 0..4 {
        // What a packet says as safe data, then the same as bytes that its guest goes on writing.
        for k in 0..6 {
            one(net, a, net.flow(a, k).frame(1, 80));
        }
        for k in 0..3 {
            let (x, y) = (net.flow(a, 2 * k).frame(1, 80), net.flow(a, 2 * k + 1).frame(1, 80));
            net.send_packets(vec![(a, Packet::flickering(x, y, 14))]);
        }
        one(net, b, net.flow_between(b, a, n).frame(2, 80));
        one(net, a, net.flow_between(a, b, n).frame(2, 80));
        net.send(a, &[net.flow_between(a, b, n).frame(3, 80), net.flow_between(a, b, n).frame(4, 80)]);
        let toc = |from: NicId| (from, Packet::of(net.flow_between(from, c, n).frame(5, 80)));
        net.send_packets(vec![toc(a), toc(b), toc(a), toc(b)]);
        net.send_packets(vec![(a, Packet::of(flood(net, a, n))), (b, Packet::of(flood(net, b, n)))]);
        one(net, b, flood(net, b, n));
        let both = |x: NicId, y: NicId| {
            Packet::several(vec![
                net.flow_between(a, x, n).frame(6, 80),
                net.flow_between(a, y, n).frame(7, 80),
            ])
        };
        net.send_packets(vec![(a, both(b, c))]);
        let three = [b, c, b].map(|to| net.flow_between(a, to, n).frame(6, 80));
        net.send_packets(vec![(a, Packet::several(three.to_vec()))]);
        net.send_packets(vec![(a, both(b, c)), (a, both(c, b)), toc(a)]);
        let flicker = Packet {
            flicker: Some((
                14,
                vec![net.flow_between(a, b, 9).frame(6, 80), net.flow_between(a, c, 9).frame(7, 80)],
            )),
            ..both(b, c)
        };
        net.send_packets(vec![(a, flicker)]);
        net.send_packets(vec![(a, Packet::native(net.flow(a, n).frame(8, 80)))]);
        net.send_packets(vec![(a, Packet { subnet: Some(5001), ..Packet::of(net.flow(a, n).frame(9, 80)) })]);
        let stranger = vswitch::scenario::guest::Flow::new([2, 9, 9, 9, 9, 9], host_mac(1), n);
        net.send_packets(vec![(NicId::NOWHERE, Packet::of(stranger.frame(1, 80)))]);
        net.send_packets(vec![(a, Packet::of(vec![1; 9])), (b, Packet::of(vec![1; 9]))]);
        net.receive_external(1, &[net.external_flow(b, n).frame(1, 80)]);
        net.advance(400);
    }
}

/// Saves and restores with an occasion for every mutation; the last extension of the stack has data too.
fn saves(net: &Net) {
    // Guests that send nothing: whatever keeps a packet does not keep them.
    (20..23).for_each(|n| net.add_vm(n));
    let [a, b, c] = [net.vm(20), net.vm(21), net.vm(22)];
    let below = |nic| {
        net.look(|s| s.saves.others.entry((Other::Below, net.switch(), nic)).or_default().push(vec![7; 20]));
    };
    below(a);
    let offering = |room, revision| Offering { room, revision, ..Offering::default() };
    let first = net.save(a, offering(0, 1)).map_or(Vec::new(), |run| run.blobs);
    net.save(a, offering(0, 1));
    net.save(a, offering(500, 2));
    let state = |port: u32| suite::saved::a_state(1, NicId::new(port, 0));
    let made = |port, pins| suite::saved::blobs_of(&state(port), &suite::saved::many_pins(pins), 4_000);
    // Two at a time.
    let mut both = [(b, 70), (c, 71)].map(|(nic, port)| net.begin_restore(nic, &made(port, 2)));
    for run in both.iter_mut().flatten() {
        net.step_restore(run);
    }
    for run in both.iter_mut().flatten() {
        while net.step_restore(run) {}
    }
    net.save(b, offering(100, 1));
    net.save(c, offering(100, 1));
    // One by itself, in pieces, before it is connected, damaged.
    let again = |nic: NicId, n| {
        net.remove(nic);
        net.add_vm(n);
    };
    again(b, 21);
    net.restore_nic(b, &made(72, 1));
    net.save(b, offering(100, 1));
    again(b, 21);
    net.restore_nic(b, &made(73, 700));
    net.save(b, offering(100, 1));
    net.remove(b);
    net.create_guest_port(b);
    net.create_guest_nic(b, vm_mac(21), &BTreeSet::new());
    net.restore_nic(b, &made(74, 1));
    net.connect_guest_nic(b);
    net.save(b, offering(100, 1));
    again(b, 21);
    let good = made(75, 1);
    let mut data = good[0].data().to_vec();
    data[30] ^= 4;
    net.restore_spoilt(b, &[good[0].with_data(&data)], &good);
    net.save(b, offering(100, 1));
    net.restore_nic(a, &first);
}

/// `OffloadPlacement`: each in turn, or the one that the mutation needs.
fn placement(seed: u64, mutation: Option<Mutation>) -> u32 {
    match mutation {
        None => (seed % 3) as u32,
        Some(Mutation::SameNumberTwice) => 1,
        Some(
            Mutation::LeaveCopy
            | Mutation::LoseQueueStatus
            | Mutation::ChangeIdentifier
            | Mutation::UpdateOneCopy
            | Mutation::FreeDefault
            | Mutation::OwnForNobody
            | Mutation::ForgetTarget,
        ) => 2,
        Some(_) => 0,
    }
}

/// Offloads of every kind: asked for, refused by misuse, followed through the loss of a member, given back.
fn offloads(net: &Net, placement: u32) {
    net.advance(1_000);
    let [a, b, c] = [net.vm(0), net.vm(1), net.vm(2)];
    if placement == 1 {
        // A host that accepts no number twice.
        net.offload(a, |p| p.allocate_queue());
        net.offload(b, |p| p.allocate_queue());
        return;
    }
    let external = net.member(0);
    let later = Plan { status: 0, completion: Some(Completion::Later) };
    let queue = |revision| offload::queue_parameters(revision, a.port, 1);
    for (to, inner, plan) in [
        (external, Inner::method(0x0001_0E77, vec![1; 20]), later),
        (external, Inner::set(oid::ALLOCATE_QUEUE, queue(1)), Plan::default()),
        (external, Inner::method(oid::ALLOCATE_QUEUE, vec![3; 1084]), Plan::default()),
        (NicId::NOWHERE, Inner::set(oid::ADD_MULTICAST, vec![1, 0, 0x5E, 0, 0, 1]), Plan::default()),
    ] {
        net.ask_nic(a, to, &inner, plan);
    }
    net.cancel_next();
    net.ask_nic(a, external, &Inner::method(0x0001_0E77, vec![2; 20]), later);
    for nic in [a, b] {
        net.start_queue(nic);
    }
    let home = net.members_of(a).first().map_or(1, |(member, _)| *member);
    net.receive_external(home, &[net.external_flow(a, 1).frame(1, 80)]);
    net.start_queue(net.vm(3));
    let association = net.offload(a, |p| p.add_association_ex(1)).flatten();
    if let Some(handle) = association {
        net.offload(a, move |p| p.update_association(handle, 2));
        let packet = Packet { association: Some(handle), ..Packet::of(net.flow(a, 1).frame(1, 80)) };
        net.send_packets(vec![(a, packet)]);
    }
    // A host that shares the adapters has virtual ports too.
    net.look(|s| {
        let holder = Holder { source: NicId::new(900, 0), by: By::Switch };
        let adapters = s.modules[0].external.adapters.values_mut();
        adapters.for_each(|a| _ = a.offloads.functions.create_vport(holder, PHYSICAL_FUNCTION));
    });
    net.start_function(c);
    for nic in [a, c] {
        net.offload(nic, |p| p.use_all());
    }
    let home = net.members_of(c).first().map_or(1, |(member, _)| *member);
    net.fail(home);
    net.offload(net.vm(3), |p| p.allocate_queue());
    net.restore(home);
    net.advance(1_000);
    net.change_abilities(2, Capabilities { queues: 12, ..Capabilities::default() }, &CAPABILITY_CODES, false);
    net.look(|s| s.style.refuse_references = 100);
    net.release(b);
    net.look(|s| s.style.refuse_references = 0);
    for nic in [a, c, net.vm(3)] {
        net.release(nic);
    }
}

/// A day in the life of a switch, with an occasion for every mutation.
pub fn full_scenario(seed: u64, mutation: Option<Mutation>) -> (Outcome, bool) {
    let early = matches!(mutation, Some(Mutation::VetoBeforeActivation | Mutation::EarlyArray));
    let inactive = early || mutation.is_none() && seed % 4 == 3;
    let placement = placement(seed, mutation);
    let net = Scenario::new(seed)
        .members(&[10, 10, 10, 10])
        .vms(4)
        .internal(1)
        .switches(if mutation == Some(Mutation::OtherModulesPacket) { 2 } else { 1 })
        .ordinary_stack()
        .enumeration(if seed.is_multiple_of(2) { Enumeration::Mixed } else { Enumeration::Arrays })
        .activation(if inactive { Activation::Never } else { Activation::BeforeAttach })
        .attach_inside(mutation.is_none_or(|m| m == Mutation::AttachTooEarly))
        .tear_down(false)
        .setting("OffloadPlacement", Value::Dword(placement))
        .setting("LinkUpDelayMs", Value::Dword(0))
        .style(|s| {
            s.send_while_paused = true;
            s.refuse = if mutation.is_none() { seed } else { 0 };
        })
        .config(|c| c.mutation = mutation)
        .start();
    if inactive {
        net.add_vm(7);
        net.activate();
    }
    traffic(&net);
    let [a, b] = [net.vm(0), net.vm(1)];
    offloads(&net, placement);
    let cancelled = Packet { cancel_id: 77, ..Packet::of(net.flow(a, 1).frame(1, 80)) };
    net.send_packets(vec![(a, cancelled)]);
    net.cancel_send(77);
    let split = Packet::several(vec![net.flow_between(a, b, 1).frame(1, 80), net.flow(a, 1).frame(1, 80)]);
    for _ in 0..3 {
        net.send_packets(vec![(a, split.clone()), (a, split.clone())]);
    }
    net.pause();
    net.send(a, &[net.flow(a, 1).frame(1, 80)]);
    net.add_vm(8);
    net.restart();
    net.add_vm(9);
    for n in 0..6 {
        net.ask(unknown_request(0xFF00_0001, n % 2, vec![7; 20], 0));
    }
    net.ask(unknown_request(oids::SWITCH_PORT_PROPERTY_ENUM, request_type::METHOD, vec![7; 64], 0));
    for damage in Damage::ALL {
        net.damaged_status(Status::link(net.member(1), false, 0), damage);
    }
    one(&net, a, net.flow_between(a, net.vm(9), 1).frame(2, 80));
    net.fail(4);
    one(&net, a, net.flow(a, 1).frame(1, 80));
    net.restore(4);
    net.disconnect(net.vm(3));
    one(&net, a, net.flow_between(a, b, 1).frame(2, 80));
    net.status(Status { code: 0x4001_0003, buffer: Vec::new(), from: None });
    net.net_event(15);
    for member in 1..=4 {
        net.unplug(member);
    }
    one(&net, a, net.flow_between(a, b, 1).frame(2, 80));
    for member in 1..=4 {
        net.replug(member);
    }
    saves(&net);
    net.fail_to_connect(net.member(7));
    net.disconnect(net.member(2));
    net.start_queue(a);
    net.status(Status::media(net.member(0), true));
    net.delete_member(2);
    net.replug(2);
    net.release(a);
    net.start_queue(b);
    net.detach();
    net.attach();
    net.advance(1_000);
    net.release(b);
    traffic(&net);
    if mutation.is_none() && seed == 5 {
        // What holds after a failure is put to the test by one.
        net.world().fail_from_here(1);
        net.readdress(a, net.mac(a));
    }
    net.start_queue(a);
    net.release(a);
    let _ = vm_mac(0);
    let committed = was_committed(net.world());
    let world = net.world().clone();
    let outcome = net.finish();
    (outcome, committed || was_committed(&world))
}
