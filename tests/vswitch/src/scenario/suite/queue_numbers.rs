//! Receive queues outside of the extension's requests: adapters write the ids of queue and filter into the out-of-band
//! data of every frame that arrives through a queue (NDIS_NET_BUFFER_LIST_FILTERING_INFO), and a queue's parameters
//! change by requests that no page lists as encapsulated (oid-receive-filter-queue-parameters).

use crate::adapter::offloads::Resource;
use crate::adapter::wire::{oid, status as codes};
use crate::scenario::guest::{Flow, Packet};
use crate::scenario::outcome::Outcome;
use crate::scenario::suite::{Case, MS, every_member_plan, everything_ends, offload_plan};
use crate::scenario::{Net, Scenario};
use crate::switch::control::below::Plan;
use crate::switch::control::envelope::Inner;
use crate::switch::control::offload::queue_parameters;
use crate::switch::control::status::Status;
use crate::switch::frames::FrameOutcome;

const GUESTS: u16 = 4;

pub const CASES: [Case; 2] = [
    Case {
        name: "queue_numbers",
        about: "packets from the external network carry the queue they came through",
        plan: offload_plan,
        steps: told,
        check: numbers_arrive,
    },
    Case {
        name: "queue_numbers_of_copies",
        about: "the same where every member has a copy of the queue",
        plan: copies_plan,
        steps: told,
        check: numbers_arrive,
    },
];

fn copies_plan(seed: u64) -> Scenario {
    every_member_plan(seed).abilities(|_| Default::default())
}

fn told(net: &Net) {
    steps(net, true);
}

/// Frames in both directions while queues are allocated, changed, lose their member and are freed. The extension does
/// not see the changes of parameters; with `tells` it gets them in three ways. The paths of frames must not depend on
/// that.
pub fn steps(net: &Net, tells: bool) {
    net.advance(MS);
    for n in 0..GUESTS {
        net.send(net.vm(n), &[net.flow(net.vm(n), 1).frame(0, 60)]);
        net.start_queue(net.vm(n));
    }
    net.settle();
    let mut sequence = 0;
    for round in 0..3_u16 {
        inbound(net, &mut sequence);
        parameters_change(net, round, tells);
        inbound(net, &mut sequence);
        for n in 0..GUESTS {
            let flows = (0..6).map(|flow| net.flow(net.vm(n), flow).frame(u32::from(round), 60));
            net.send(net.vm(n), &flows.collect::<Vec<_>>());
        }
        match round {
            0 => net.fail(2),
            1 => net.restore(2),
            _ => net.plan_again(),
        }
        net.advance(40 * MS);
    }
    inbound(net, &mut sequence);
    (0..GUESTS).for_each(|n| net.release(net.vm(n)));
    net.settle();
}

/// Receives through every member that is up: single frames, lists with several frames for one guest, lists for several
/// guests, which the extension must split, and a broadcast.
fn inbound(net: &Net, sequence: &mut u32) {
    let up: Option<Vec<u16>> = net.look(|state| {
        let adapters = state.modules[0].external.adapters.values();
        adapters.filter(|adapter| adapter.link_up).map(|adapter| adapter.index).collect()
    });
    for member in up.unwrap_or_default() {
        let mut next = |to: u16, flow: u16| {
            *sequence += 1;
            net.external_flow(net.vm(to), flow).frame(*sequence, 60)
        };
        let mut packets: Vec<Packet> = (0..GUESTS).map(|n| Packet::of(next(n, 50))).collect();
        packets.push(Packet::several((0..3).map(|_| next(0, 51)).collect()));
        packets.push(Packet::several((0..GUESTS).map(|n| next(n, 52)).collect()));
        net.receive_external_packets(member, packets);
        net.advance(MS);
    }
}

/// Changes the processor of every queue on its adapter.
fn parameters_change(net: &Net, round: u16, tells: bool) {
    let revision = 1 + (round % 4) as u8;
    for n in 0..GUESTS {
        let nic = net.vm(n);
        let queues = net.members_of(nic).into_iter().filter_map(|(member, resource)| match resource {
            Resource::Queue(queue) => Some((member, queue)),
            _ => None,
        });
        for (member, queue) in queues {
            net.move_queue_to_processor(member, queue, 1 << (8 + round));
            if !tells {
                continue;
            }
            let parameters = queue_parameters(revision, nic.port, 1 << (8 + round));
            let from = Some(net.member(member));
            net.status(Status { code: codes::QUEUE_PARAMETERS, buffer: parameters.clone(), from });
            let inner = Inner::set(oid::QUEUE_PARAMETERS, parameters);
            for to in [net.member(0), net.member(member)] {
                net.ask_nic(nic, to, &inner, Plan::default());
            }
        }
    }
}

/// A frame is delivered with the ids that the adapter wrote into its out-of-band data, also if the extension split the
/// list, and without ids if it arrived without.
fn numbers_arrive(outcome: &Outcome) {
    everything_ends(outcome);
    let reached = |end: &FrameOutcome| matches!(end, FrameOutcome::Delivered { to, .. } if to.index == 0);
    let (mut with, mut without) = (0, 0);
    for frame in outcome.frames.iter().filter(|frame| frame.outcomes.iter().any(reached)) {
        assert_eq!(frame.queue_below, Some(frame.queue), "frame {} from {}", frame.id, frame.from);
        *(if frame.queue == 0 { &mut without } else { &mut with }) += 1;
    }
    assert!(with > 20, "{with} frames came through a queue, {without} did not");
}

/// The outcomes of each frame without times, which must not depend on requests about queues.
pub fn ways(outcome: &Outcome) -> Vec<(Option<Flow>, Vec<String>)> {
    let way = |end: &FrameOutcome| match end {
        FrameOutcome::Delivered { to, .. } => format!("to {to}"),
        other => format!("{other:?}"),
    };
    let frames = outcome.frames.iter();
    frames.map(|frame| (Flow::of(&frame.bytes), frame.outcomes.iter().map(way).collect())).collect()
}
