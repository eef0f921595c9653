//! Requests to NICs with damaged bytes are forwarded or refused as the rules require, and never read past their end,
//! where the simulated memory has a guard.

use lbfoext::ndis::raw::{
    INVALID_PARAMETER, ObjectHeader, OidRequest, SUCCESS, SwitchNicOidRequest, request_type,
};
use vswitch::adapter::wire::{OFFLOAD_OIDS, Row, oid};
use vswitch::scenario::{Net, Scenario};
use vswitch::switch::control::below::Plan;
use vswitch::switch::control::envelope::{self, Inner};
use vswitch::switch::control::offload::{complete_array, delete_sa, filter_parameters, queue_parameters};
use vswitch::switch::ports::NicId;

/// The adapters refuse every request, because their answer to a damaged one is not tested.
const REFUSED: Plan = Plan { status: INVALID_PARAMETER, completion: None };

fn fenced(vms: u16) -> Net {
    let net =
        Scenario::new(1).members(&[10, 10]).vms(vms).tear_down(false).style(|s| s.fenced = true).start();
    net.advance(1_000);
    net
}

/// A valid payload of an OID.
fn sound(row: &Row, nic: NicId) -> Vec<u8> {
    match row.oid {
        oid::ALLOCATE_QUEUE => queue_parameters(4, nic.port, 1),
        oid::SET_FILTER => filter_parameters(3, 0, 0, [2; 6]),
        oid::ALLOCATION_COMPLETE => complete_array(&[1, 2, 3], 4),
        oid::DELETE_SA => delete_sa(0x1234),
        _ => {
            let [low, high] = (row.size as u16).to_le_bytes();
            [0x80, 1, low, high].into_iter().chain(vec![0; row.size]).collect()
        }
    }
}

/// All damaged variants: each byte of the header, each word of the rest, each length.
fn spoiled(bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut all: Vec<Vec<u8>> = Vec::new();
    for at in 0..4.min(bytes.len()) {
        for value in [0, 1, 3, 0x7F, 0x80, 0xFF] {
            let mut one = bytes.to_vec();
            one[at] = value;
            all.push(one);
        }
    }
    for at in (4..bytes.len()).step_by(4) {
        for value in [0_u32, 1, 0x7FFF_FFFF, 0xFFFF_FFF0, 0xFFFF_FFFF] {
            let mut one = bytes.to_vec();
            let end = (at + 4).min(bytes.len());
            one[at..end].copy_from_slice(&value.to_le_bytes()[..end - at]);
            all.push(one);
        }
    }
    all.extend((0..bytes.len()).map(|length| bytes[..length].to_vec()));
    all
}

#[test]
fn every_payload_spoiled_in_every_word_and_cut_at_every_byte_is_passed_or_refused() {
    let net = fenced(2);
    let (nic, external) = (net.vm(0), net.member(0));
    let mut requests = 0;
    for row in &OFFLOAD_OIDS {
        // The links of a list are pointers that the issuer guarantees, so they are not damaged.
        let linked = matches!(row.oid, oid::ADD_SA | oid::DELETE_SA);
        let link_spoiled = |bytes: &Vec<u8>| {
            bytes.len() >= 9 && bytes.get(8..16).is_none_or(|link| link.iter().any(|byte| *byte != 0))
        };
        for buffer in spoiled(&sound(row, nic)).into_iter().filter(|bytes| !(linked && link_spoiled(bytes))) {
            for kind in [request_type::METHOD, request_type::SET_INFORMATION] {
                net.ask_nic(nic, external, &Inner::new(row.oid, kind, buffer.clone()), REFUSED).unwrap();
                requests += 1;
            }
        }
    }
    println!("{requests} malformed payloads");
    assert!(requests > 15_000);
    net.look(|s| s.control.wants.held.clear());
    net.finish().assert_clean();
}

/// Issues a request with a damaged envelope or encapsulated request.
fn ask(
    net: &Net,
    row: &Row,
    envelope: impl Fn(&mut Vec<u8>) + Send,
    request: impl Fn(&mut OidRequest) + Send,
) {
    let (nic, external) = (net.vm(0), net.member(0));
    let kind = if row.method { request_type::METHOD } else { request_type::SET_INFORMATION };
    let inner = Inner::new(row.oid, kind, sound(row, nic));
    net.offload(nic, move |p| {
        let mut e = SwitchNicOidRequest::ZERO;
        e.header = ObjectHeader::new(0x80, 1, 32);
        (e.source_port_id, e.source_nic_index) = (nic.port, nic.index);
        (e.destination_port_id, e.destination_nic_index) = (external.port, external.index);
        envelope::ask_as(p.module, e, &inner, (REFUSED, false), envelope, request);
    });
}

#[test]
fn every_envelope_and_every_request_in_one_spoiled_in_every_member_is_passed_or_refused() {
    const BYTES: [u8; 6] = [0, 1, 2, 0x7F, 0x80, 0xFF];
    let net = fenced(1);
    let mut requests = 0;
    for row in &OFFLOAD_OIDS {
        // The last eight bytes are a pointer of the switch and are not changed.
        for at in 0..24 {
            for value in BYTES {
                ask(&net, row, |bytes| bytes[at] = value, |_| ());
                requests += 1;
            }
        }
        for length in 0..32 {
            ask(&net, row, |bytes| bytes.truncate(length), |_| ());
            requests += 1;
        }
        for value in BYTES {
            let size = u16::from(value) * 3;
            let members: [fn(&mut OidRequest, u8, u16); 6] = [
                |r, value, _| r.header.object_type = value,
                |r, value, _| r.header.revision = value,
                |r, _, size| r.header.size = size,
                |r, value, _| r.request_type = i32::from(value) - 2,
                |r, value, _| r.oid = r.oid & 0xFFFF_FF00 | u32::from(value),
                |r, value, _| r.length = r.length.min(u32::from(value)),
            ];
            for member in members {
                ask(&net, row, |_| (), move |r| member(r, value, size));
                requests += 1;
            }
        }
        ask(&net, row, |_| (), |r| (r.information_buffer, r.length) = (std::ptr::null_mut(), 0));
    }
    println!("{requests} malformed envelopes and requests in them");
    net.look(|s| s.control.wants.held.clear());
    net.finish().assert_clean();
}

#[test]
fn newer_revisions_are_understood_as_far_as_they_are_known() {
    let net = fenced(1);
    let nic = net.vm(0);
    for revision in [1, 2, 3, 9] {
        let mut bytes = queue_parameters(4, nic.port, 1);
        bytes[1] = revision;
        let inner = Inner::method(oid::ALLOCATE_QUEUE, bytes);
        let answer = net.ask_nic(nic, net.member(0), &inner, Plan::default()).unwrap();
        assert_eq!(answer.status, SUCCESS);
        let seen = net.look(|s| s.control.nics.arrived.last().unwrap().envelope.destination_nic_index);
        assert_ne!(seen, Some(0), "revision {revision} was passed unread");
    }
    net.look(|s| s.control.wants.held.clear());
    net.finish().assert_clean();
}
