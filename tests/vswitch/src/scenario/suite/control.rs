//! Scenarios of the control path: requests that the extension handles or must ignore, status indications, offloads.

use crate::scenario::suite::{broadcast, offload, packets, traffic};
use crate::scenario::{Net, unknown_request};
use crate::switch::control::status::{Damage, Status};
use lbfoext::ndis::raw::{oids, request_type};

pub fn requests(net: &Net) {
    for (number, kind) in
        [request_type::QUERY_INFORMATION, request_type::SET_INFORMATION, request_type::METHOD]
            .into_iter()
            .enumerate()
    {
        for status in [0, -1_073_741_823] {
            for length in [0, 4, 300] {
                let payload = vec![0x5A; length];
                net.ask(unknown_request(0x00FF_0000 + number as u32, kind, payload.clone(), status));
                net.ask(unknown_request(oids::SWITCH_PORT_PROPERTY_ADD, kind, payload.clone(), status));
                net.ask(unknown_request(oids::SWITCH_NIC_CREATE, kind, payload, status));
            }
        }
    }
    // Enumerations are forwarded, whoever issues them.
    for oid in [oids::SWITCH_PROPERTY_ENUM, oids::SWITCH_PORT_PROPERTY_ENUM] {
        net.ask(unknown_request(oid, request_type::METHOD, vec![0x5A; 64], 0));
    }
    // A member and a VM whose connection fails below, and which are deleted again.
    net.fail_to_connect(net.member(9));
    net.fail_to_connect(net.vm(9));
    net.send(net.vm(0), &[broadcast(net, net.vm(0), 7)]);
    net.cancel_next();
    net.ask(unknown_request(0x00FF_0042, request_type::QUERY_INFORMATION, vec![0; 16], 0));
    packets(net);
}

pub fn statuses(net: &Net) {
    let external = net.member(0);
    for code in [0x4001_000B, 0x4001_0017, 0x4002_0010, 0x1234_5678] {
        net.status(Status { code, buffer: vec![1, 2, 3], from: None });
        net.status(Status { code, buffer: Vec::new(), from: Some(external) });
    }
    // The extension must not use anything in a damaged envelope.
    for damage in Damage::ALL {
        net.damaged_status(Status::link(net.member(1), false, 0), damage);
    }
    packets(net);
    // A truncated link state is ignored, so the member stays up.
    net.status(Status { buffer: vec![0x80, 1, 40, 0, 2], ..Status::link(net.member(1), true, 0) });
    packets(net);
}

pub fn queues(net: &Net) {
    for n in 0..4 {
        net.start_queue(net.vm(n));
    }
    traffic(net, 0);
    net.plan_again();
}

/// A fixed sequence with every command, then a random one.
pub fn offloads(net: &Net) {
    use offload::Command::*;
    traffic(net, 0);
    offload::odd_requests(net);
    let fixed = [
        StartQueue(0),
        StartQueue(1),
        Function(2),
        Associations(3),
        Send(3),
        Use(0),
        Use(2),
        Fail(1),
        Use(1),
        Use(2),
        PlanAgain,
        Restore(1),
        Unplug(2),
        Release(0),
        StartQueue(0),
        Replug(2),
        UpdateAssociations(3),
        DeleteAssociations(3),
        Pause,
        StartQueue(1),
        Release(1),
        Restart,
        RemoveGuest(2),
        AddGuest(2),
        Abilities(3, 7, true),
        Storm(1, 5),
    ];
    offload::run(net, &fixed);
    // Frames arrive through a queue that is freed right after.
    offload::run(net, &[Release(1), StartQueue(1)]);
    if let Some((member, _)) = net.members_of(net.vm(1)).first().copied() {
        net.receive_external(member, &[net.external_flow(net.vm(1), 1).frame(1, 60)]);
    }
    offload::run(net, &[Release(1)]);
    // A member that is disconnected and not deleted yet gets no new resources.
    net.disconnect(net.member(4));
    offload::run(net, &[StartQueue(2)]);
    net.status(Status::media(net.member(0), true));
    net.delete_member(4);
    offload::run(net, &[Replug(4), Release(2)]);
    // All references are refused: requests that must not be refused reach the team, which frees the resources.
    offload::run(net, &[StartQueue(1), RefuseReferences(100), Release(1)]);
    let seed = net.world().config().seed;
    offload::run(net, &offload::sequence(seed, 30, 4));
}
