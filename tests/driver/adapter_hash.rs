//! Hashes that an adapter computed, in the out-of-band data of packets that the driver distributes: correct, wrong,
//! and only with some packets.

use std::collections::BTreeMap;
use teaming::flow::hash::TOEPLITZ_SAMPLE;
use vswitch::machine::registry::Value;
use vswitch::scenario::Scenario;
use vswitch::scenario::guest::{Flow, Packet};

/// `NDIS_HASH_UDP_IPV4` with `NdisHashFunctionToeplitz`.
const UDP_IPV4: u32 = 0x4000 | 1;

/// The adapter's hash type and value in the out-of-band data of a flow's packet.
type OutOfBand = fn(&Flow) -> Option<(u32, u32)>;

fn value(flow: &Flow) -> u32 {
    let ports = [flow.source_port.to_be_bytes(), flow.destination_port.to_be_bytes()].concat();
    TOEPLITZ_SAMPLE.hash(&[&flow.source[..], &flow.destination, &ports].concat())
}

fn nothing(_: &Flow) -> Option<(u32, u32)> {
    None
}

fn right(flow: &Flow) -> Option<(u32, u32)> {
    Some((UDP_IPV4, value(flow)))
}

/// The members of forty flows, in one round for each kind of hash.
fn members(seed: u64, rounds: &[OutOfBand]) -> BTreeMap<Flow, Vec<u16>> {
    let net =
        Scenario::new(seed).members(&[10, 10, 10, 10]).setting("UseAdapterHash", Value::Dword(1)).start();
    for (round, hash) in (0..).zip(rounds) {
        for n in 0..40 {
            let flow = net.flow(net.vm(0), n);
            let packet = Packet { hash: hash(&flow), ..Packet::of(flow.frame(round, 60)) };
            net.send_packets(vec![(net.vm(0), packet)]);
        }
    }
    let outcome = net.finish();
    outcome.assert_clean();
    outcome.members_of(Flow::of)
}

#[test]
fn right_values_change_no_flow_whether_they_come_or_stay_away() {
    let expected = members(1, &[nothing]);
    let used: std::collections::BTreeSet<_> = expected.values().flatten().collect();
    assert_eq!(used.len(), 4, "the flows do not spread");
    for seed in 2..12 {
        assert_eq!(members(seed, &[nothing, right, right, nothing, right]), expected, "seed {seed}");
    }
}

#[test]
fn wrong_values_and_types_that_are_not_ours_move_nothing() {
    let expected = members(1, &[nothing]);
    let bad: [OutOfBand; 4] = [
        |flow| Some((UDP_IPV4, !value(flow))),
        |flow| Some((UDP_IPV4, u32::from(flow.source_port))),
        |_| Some((0x4000, 7)),          // no hash function
        |_| Some((0x0008_0000 | 1, 7)), // a type that equals no key of the driver
    ];
    for hash in bad {
        assert_eq!(members(3, &[hash, hash, nothing, hash]), expected);
    }
}

#[test]
fn one_wrong_value_before_trust_is_won_ends_it() {
    // The first value is wrong, all others are correct: none is used, and no flow moves.
    let expected = members(1, &[nothing]);
    let once: OutOfBand = |flow| Some((UDP_IPV4, if flow.source_port == 10_000 { 1 } else { value(flow) }));
    assert_eq!(members(4, &[once, right, right, once]), expected);
}
