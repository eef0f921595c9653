//! Scenarios of saved run-time state: on one host, between hosts, damaged on the way, without an end.

use crate::check::save::{may_be_denied, record};
use crate::machine::registry::Value;
use crate::scenario::guest::{BROADCAST, Flow, Packet, host_mac};
use crate::scenario::migration::{ARRIVALS, Failure, Migration};
use crate::scenario::outcome::Outcome;
use crate::scenario::suite::{MS, SILENCE};
use crate::scenario::{Net, Scenario};
use crate::switch::control::save::{Blob, Offering, Other};
use crate::switch::ports::NicId;
use teaming::ids::{MemberIndex, NicId as CoreNic, NicIndex, PortId};
use teaming::migration::record::{Cursor, Handed, NicState, PART_MAX, Pin, PinKind, encode, record_len};

/// Ten flows of every guest to the external network, one frame each.
pub fn everybody(net: &Net, guests: &[(NicId, [u8; 6])], base: u16, sequence: u32) {
    for &(nic, mac) in guests {
        for n in 0..10 {
            net.send(nic, &[Flow::new(mac, host_mac(base + n), base + n).frame(sequence, 60)]);
        }
    }
}

fn guests(net: &Net, numbers: &[u16]) -> Vec<(NicId, [u8; 6])> {
    numbers.iter().map(|&n| (net.vm(n), net.mac(net.vm(n)))).collect()
}

fn offerings(seed: u64) -> Offering {
    Offering {
        room: [0, 1, 75, 76, 77, 400, PART_MAX, 9_000][seed as usize % 8],
        gap: [0, 4, 100][seed as usize % 3],
        guard: [0, 24][seed as usize / 2 % 2],
        revision: 1 + u8::from(seed % 5 == 1),
        shape: None,
    }
}

/// The structures of a record, as the extension would fill them.
pub fn blobs_of(state: &NicState, pins: &[Pin], room: usize) -> Vec<Blob> {
    let mut bytes = vec![0; record_len(pins.len())];
    encode(state, pins.iter().copied(), &mut bytes).expect("the length is right");
    let (mut cursor, mut blobs) = (Cursor::START, Vec::new());
    loop {
        let mut data = vec![0; room];
        match cursor.hand_out(&bytes, &mut data) {
            Handed::Part { bytes } => {
                blobs.push(Blob::made(crate::switch::control::save::OURS, &data[..bytes]));
            }
            Handed::TooSmall { need } => unreachable!("{room} bytes of room, {need} needed"),
            Handed::Nothing => return blobs,
        }
    }
}

/// More pins than one structure of the usual size holds.
pub fn many_pins(count: u32) -> Vec<Pin> {
    let member = |n: u32| MemberIndex::new(1 + (n % 32) as u8).expect("1 to 32");
    (0..count).map(|n| Pin { kind: PinKind::Queue, member: member(n), id: u64::from(n) }).collect()
}

pub fn here_plan(seed: u64) -> Scenario {
    Scenario::new(seed).members(&[10, 25, 10]).vms(4).setting("LinkUpDelayMs", Value::Dword(0))
}

/// Saves and restores on one host, with other extensions above and below, valid and damaged, with and without an end.
pub fn here(net: &Net) {
    let seed = net.world().config().seed;
    let all = guests(net, &[0, 1, 2, 3]);
    everybody(net, &all, 0, 0);
    let [a, b, c, d] = [0, 1, 2, 3].map(|n| net.vm(n));
    for (other, data) in [(Other::Above, 40), (Other::Below, 0), (Other::Below, 700)] {
        net.look(|s| s.saves.others.entry((other, net.switch(), a)).or_default().push(vec![9; data]));
    }
    let Some(saved) = net.save(a, offerings(seed)) else { return };
    everybody(net, &all, 0, 1);
    net.restore_nic(a, &saved.blobs);
    net.save(a, offerings(seed));
    net.save(a, offerings(seed + 1));
    // The operation is not ended; then the guest stops.
    if let Some(mut run) = net.begin_save(b, offerings(seed + 2)) {
        run.abandon = true;
        while net.step_save(&mut run) {}
        net.save(b, offerings(seed + 2));
    }
    // The NIC is deleted between two requests.
    if let Some(mut run) = net.begin_save(c, Offering::default()) {
        net.step_save(&mut run);
        net.remove(c);
        while net.step_save(&mut run) {}
    }
    net.add_vm(2);
    spoilt(net, d, seed);
    several_parts(net, c, seed);
    everybody(net, &all, 0, 2);
    net.save(net.vm(30), Offering::default());
    net.restore_nic(net.vm(31), &saved.blobs);
    net.advance(SILENCE);
    net.settle();
}

/// Damaged data is not used, whatever the damage.
fn spoilt(net: &Net, nic: NicId, seed: u64) {
    net.remove(nic);
    net.add_vm(3);
    let state = a_state(seed, NicId::new(77, 0));
    let good = blobs_of(&state, &many_pins(3), PART_MAX);
    let mut data = good[0].data().to_vec();
    let at = seed as usize * 7 % data.len();
    data[at] ^= 1 << (seed % 8);
    net.restore_spoilt(nic, &[good[0].with_data(&data)], &good);
    net.save(nic, offerings(seed));
    net.remove(nic);
    net.add_vm(3);
    net.restore_spoilt(nic, &[good[0].with_data(&data[..at])], &good);
    net.restore_spoilt(nic, &[good[0].with_data(&[])], &good);
    net.save(nic, Offering::default());
    // Damaged structures: of an unknown extension, or truncated.
    let mut shorter = good[0].clone();
    shorter.0.truncate(shorter.0.len() - 9);
    net.restore_spoilt(nic, &[shorter], &good);
}

/// A record of several parts, restored in another order.
fn several_parts(net: &Net, nic: NicId, seed: u64) {
    let state = a_state(seed, NicId::new(78, 0));
    let mut blobs = blobs_of(&state, &many_pins(700), PART_MAX);
    let turn = seed as usize % blobs.len();
    blobs.rotate_left(turn);
    net.restore_nic(nic, &blobs);
    if let Some(saved) = net.save(nic, offerings(seed)) {
        let excused = is_unlucky(net) || may_be_denied(&saved.offering, 700);
        assert!(saved.failed || excused || record(&saved.blobs).is_some());
    }
}

/// A state that differs from that of every NIC of this host.
pub fn a_state(seed: u64, hashed_as: NicId) -> NicState {
    let settings = teaming::settings::Settings::default();
    NicState {
        placement: teaming::migration::record::Placement {
            seed,
            keying: settings.keying(),
            adapter_hash: false,
            members: 3,
            home_map_version: 1,
            home_map: 7,
        },
        hashed_as: CoreNic::new(PortId::new(hashed_as.port), NicIndex::new(hashed_as.index)),
        seat: 0,
        traffic: teaming::ports::traffic::Traffic { frames: 1_000 + seed, bytes: 1 << 40 },
    }
}

/// Another host: equal, or with other numbers, order and speeds of members.
pub fn hosts_plan(seed: u64) -> Scenario {
    let equal = [(1, 10), (2, 25), (3, 10)];
    let other: [&[(u16, u64)]; 4] =
        [&equal, &[(1, 25), (2, 10), (3, 10)], &[(1, 10), (2, 10)], &[(2, 40), (5, 10), (6, 10), (9, 25)]];
    Scenario::new(seed)
        .members(&[10, 25, 10])
        .vms(4)
        .host(1, other[seed as usize % 4], 2)
        .setting("LinkUpDelayMs", Value::Dword(0))
        .setting("PruneMulticast", Value::Dword(seed as u32 / 2 % 2))
        .host_setting(1, "HashSeed", Value::Qword(if seed % 8 == 5 { 99 } else { 0 }))
}

/// Offset of flow numbers on the second host.
const THERE: u16 = 1_000;

/// Frames that are hard to count: dropped, flooded, several in a list, split, native.
fn of_every_kind(net: &Net, (nic, mac): (NicId, [u8; 6]), sequence: u32) {
    let out = |n: u16| Flow::new(mac, host_mac(n), n).frame(sequence, 60);
    let near = Flow::new(mac, net.mac(net.vm(0)), 3).frame(sequence, 90);
    let mut flood = out(4);
    flood[..6].copy_from_slice(&BROADCAST);
    net.send(nic, &[vec![1; 9], flood.clone()]);
    net.send_packets(vec![
        (nic, Packet::several(vec![out(5), near, out(6)])),
        (nic, Packet::several(vec![flood.clone(), flood])),
        (nic, Packet::native(out(7))),
    ]);
}

/// Groups that guests have joined before they move, and join afterwards.
const JOINED: [[u8; 6]; 2] = [[0x01, 0, 0x5E, 0, 0, 0x21], [0x01, 0, 0x5E, 0, 0, 0x22]];

/// Three guests move while all guests send; one migration is refused, and one does not start.
pub fn migration(net: &Net) {
    let seed = net.world().config().seed;
    let there = net.on(1);
    let (stay, go) = (guests(net, &[0]), guests(net, &[1, 2, 3]));
    let others = guests(&there, &[0, 1]);
    everybody(net, &[stay.clone(), go.clone()].concat(), 0, 0);
    everybody(&there, &others, THERE, 0);
    net.look(|s| s.saves.others.insert((Other::Below, 0, go[2].0), vec![vec![5; 30]]));
    net.look(|s| s.saves.below_refuses = true);
    for (turn, &(nic, mac)) in go.iter().enumerate() {
        let becomes = there.vm(40 + turn as u16);
        let migration = Migration {
            mac,
            offering: offerings(seed + turn as u64),
            arrival: ARRIVALS[(seed as usize + turn) % 3],
            ..Migration::new(net, &there, nic, becomes)
        };
        let sequence = 1 + turn as u32;
        of_every_kind(net, (nic, mac), sequence);
        net.join(nic, JOINED[0]);
        let moved = migration.run(|| {
            everybody(net, &[(nic, mac), stay[0]], 0, sequence);
            net.advance(MS);
            everybody(net, &stay, 0, 10 + sequence);
        });
        let unlucky = || is_unlucky(net);
        match moved {
            Ok(moved) => {
                assert!(moved.rounds <= 8, "{} requests for one save", moved.rounds);
                everybody(&there, &[(becomes, mac)], 0, 20 + sequence);
                // Its network stack names what it joins here, not what it joined before.
                there.join(becomes, JOINED[1]);
                for group in JOINED {
                    let flow = Flow::new(others[0].1, group, THERE);
                    there.send(others[0].0, &[flow.frame(sequence, 60)]);
                }
                of_every_kind(&there, (becomes, mac), 20 + sequence);
                if let Some(again) = there.save(becomes, offerings(seed)) {
                    let denied = may_be_denied(&again.offering, 0);
                    assert!(again.failed || unlucky() || denied || !again.blobs.is_empty());
                }
            }
            Err(failure) => assert!(unlucky() || (turn, failure) == (2, Failure::Restore), "{failure:?}"),
        }
        everybody(&there, &others, THERE, sequence);
    }
    everybody(net, &stay, 0, 30);
    net.settle();
    there.settle();
}

/// A call was made to fail, or a module detached.
fn is_unlucky(net: &Net) -> bool {
    net.world().injected_fault().is_some() || net.look(|state| state.detached_at_point) == Some(true)
}

/// Only flows of guests that move change their member.
pub fn others_stay(outcome: &Outcome) {
    crate::scenario::suite::everything_ends(outcome);
    let members = outcome.members_of(Flow::of);
    assert!(members.len() >= 50, "{} flows", members.len());
    for (flow, path) in members {
        let moves = (1..=3).any(|n| flow.from == crate::scenario::guest::vm_mac(n))
            && flow.source_port < 10_000 + THERE;
        assert!(moves || path.len() == 1, "{flow:?} moved: {path:?}");
    }
}
