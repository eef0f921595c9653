//! Run-time state of a NIC: saved, restored on this and on another host, damaged, and together with other extensions'
//! data.

mod moved;

use lbfoext::module::Module;
use lbfoext::trace::Event;
use std::collections::BTreeMap;
use teaming::ids::{NicIndex, PortId};
use teaming::migration::record::{Differences, Discard, PART_MAX, PinKind};
use vswitch::adapter::offloads::Resource;
use vswitch::check::save::record;
use vswitch::machine::registry::Value;
use vswitch::scenario::guest::{Flow, host_mac};
use vswitch::scenario::migration::{ARRIVALS, Failure, Migration};
use vswitch::scenario::suite::depth::{each, seeds};
use vswitch::scenario::suite::saved::{a_state, blobs_of, everybody, many_pins};
use vswitch::scenario::{Body, Net, Scenario};
use vswitch::switch::control::save::{Blob, Offering, Other, RestoreRun, SaveRun, Shape};
use vswitch::switch::ports::NicId;

fn three(seed: u64) -> Scenario {
    Scenario::new(seed).members(&[10, 25, 10]).vms(3).setting("LinkUpDelayMs", Value::Dword(0))
}

/// The events that the driver recorded on a switch since it was attached.
fn events(net: &Net) -> Vec<Event> {
    let module = net.switch();
    let context = net.look(|state| state.modules[module].context).unwrap_or(0);
    let read = || {
        // SAFETY: the context is the driver's own module, linked natively, and it stays attached meanwhile.
        let module = unsafe { &*(context as *const Module) };
        let control = module.control.lock();
        control.events.iter().map(|(_, event)| event).collect::<Vec<_>>()
    };
    net.world().enter(read).unwrap_or_default()
}

fn id(nic: NicId) -> teaming::ids::NicId {
    teaming::ids::NicId::new(PortId::new(nic.port), NicIndex::new(nic.index))
}

fn discarded(net: &Net) -> Vec<Discard> {
    let reasons = events(net).into_iter().filter_map(|event| match event {
        Event::RestoreDiscarded { why, .. } => Some(why),
        _ => None,
    });
    reasons.collect()
}

fn differences(net: &Net) -> Vec<Differences> {
    let all = events(net).into_iter().filter_map(|event| match event {
        Event::Restored { differences, .. } => Some(differences),
        _ => None,
    });
    all.collect()
}

/// Bytes of data that a NIC without resources needs.
const NEED: usize = 76;

/// How a save goes that offers `room` bytes, by the pages alone: rounds, demands, structures.
fn expected(offering: &Offering, room: usize) -> (usize, usize, usize) {
    let (_, output) = offering.lengths(room);
    if offering.usable(room) >= NEED {
        (2, 0, 1)
    } else if offering.offset() + NEED > output {
        (3, 1, 1)
    } else {
        // The buffer has it already: the request comes again as it is, so nothing is demanded.
        (1, 0, 0)
    }
}

#[test]
fn a_save_of_every_shape_ends_after_one_demand_at_most() {
    let mut all = 0;
    for (number, shape) in Shape::all().enumerate() {
        let (gap, revision) = [(0, 1), (3, 1), (100, 1), (0, 2), (8, 2)][number % 5];
        let net = three(1).start();
        for room in 0..=2 * NEED {
            let guard = [0, 1, 24, NEED, 300][(room + number) % 5];
            let offering = Offering { room, gap, revision, guard, shape: Some(shape) };
            let saved = net.save(net.vm(0), offering).expect("it runs");
            assert!(!saved.failed, "{offering:?}");
            let found = (saved.rounds, saved.short, saved.blobs.len());
            assert_eq!(found, expected(&offering, room), "{offering:?}");
            if let Some((state, pins)) = record(&saved.blobs) {
                assert_eq!((state.hashed_as.to_string(), pins.len()), ("10/0".to_owned(), 0));
                assert_eq!(state.placement.members, 3);
                all += 1;
            }
        }
        net.finish().assert_clean();
    }
    assert!(all > 4_500, "{all} saves have brought a record");
}

#[test]
fn a_buffer_that_does_not_grow_is_given_up_after_one_demand() {
    let net = three(1).start();
    let nic = net.vm(0);
    for _ in 0..3 {
        // A switch that repeats the request as it was.
        let mut run = net.begin_save(nic, Offering { guard: 0, ..Offering::default() }).expect("it runs");
        run.grows = false;
        while net.step_save(&mut run) {}
        assert_eq!((run.rounds, run.short, run.blobs.len()), (2, 1, 0));
    }
    assert_eq!(net.save(nic, Offering::default()).expect("it runs").blobs.len(), 1);
    assert_eq!(events(&net).iter().filter(|event| **event == Event::NotSaved { nic: id(nic) }).count(), 3);
    net.finish().assert_clean();
}

#[test]
fn the_data_of_others_comes_and_goes_untouched() {
    for seed in 0..20 {
        let net = three(seed).start();
        let nic = net.vm(1);
        net.look(|s| {
            s.saves.others.insert((Other::Above, 0, nic), vec![vec![1; 10], vec![2; 5_000]]);
            s.saves.others.insert((Other::Below, 0, nic), vec![vec![3; 100], vec![], vec![4; 4_000]]);
        });
        let saved = net.save(nic, Offering { room: 300, ..Offering::default() }).expect("it runs");
        let order: Vec<bool> = saved.blobs.iter().map(Blob::is_ours).collect();
        assert_eq!(order, [false, false, true, false, false, false], "from the top of the stack down");
        assert!(net.restore_nic(nic, &saved.blobs));
        let returned = net.look(|s| s.saves.returned.clone()).expect("it runs");
        let lengths: Vec<_> = returned.iter().map(|(other, _, data)| (*other, data.len())).collect();
        use Other::{Above, Below};
        assert_eq!(lengths, [(Above, 10), (Above, 5_000), (Below, 100), (Below, 0), (Below, 4_000)]);
        assert_eq!(net.look(|s| s.saves.unowned), Some(0));
        net.restore_nic(nic, &[Blob::made([7; 16], &[1, 2, 3])]);
        assert_eq!(net.look(|s| s.saves.unowned), Some(1), "nobody's data reaches the end of the stack");
        net.finish().assert_clean();
    }
}

#[test]
fn a_save_and_at_once_a_restore_change_nothing() {
    for seed in 0..30 {
        let net = three(seed).start();
        let all: Vec<_> = (0..3).map(|n| (net.vm(n), net.mac(net.vm(n)))).collect();
        everybody(&net, &all, 0, 0);
        // Data restored from another host, pins included, also stays the same.
        if seed % 2 == 0 {
            let state = a_state(seed, NicId::new(90, 0));
            assert!(net.restore_nic(net.vm(0), &blobs_of(&state, &many_pins(5), PART_MAX)));
        }
        let first = net.save(net.vm(0), Offering::default()).expect("it runs").blobs;
        assert!(net.restore_nic(net.vm(0), &first));
        let second = net.save(net.vm(0), Offering::default()).expect("it runs").blobs;
        let data = |blobs: &[Blob]| blobs.iter().map(|blob| blob.data().to_vec()).collect::<Vec<_>>();
        assert_eq!(data(&first), data(&second), "seed {seed}");
        assert_eq!(differences(&net).last(), Some(&Differences::NONE));
        everybody(&net, &all, 0, 1);
        let outcome = net.finish();
        outcome.assert_clean();
        assert!(outcome.members_of(Flow::of).values().all(|path| path.len() == 1));
    }
}

#[test]
fn a_record_of_several_parts_comes_back_in_any_order() {
    let state = a_state(4, NicId::new(70, 0));
    let pins = many_pins(1_000);
    for seed in 0..24 {
        let net = three(seed).start();
        let mut blobs = blobs_of(&state, &pins, PART_MAX);
        assert_eq!(blobs.len(), 4);
        let mut order = seed as usize;
        for at in (1..4).rev() {
            blobs.swap(at, order % (at + 1));
            order /= at + 1;
        }
        assert!(net.restore_nic(net.vm(0), &blobs));
        let saved = net.save(net.vm(0), Offering { room: 700, ..Offering::default() }).expect("it runs");
        assert_eq!(saved.blobs.len(), 4);
        let (found, theirs) = record(&saved.blobs).expect("a record");
        assert_eq!(theirs, pins);
        assert_eq!((found.hashed_as, found.traffic), (state.hashed_as, state.traffic));
        let whole = net.save(net.vm(0), Offering { room: 30_000, ..Offering::default() }).expect("it runs");
        assert_eq!((whole.blobs.len(), whole.short), (1, 0), "a larger buffer takes all at once");
        net.finish().assert_clean();
    }
}

#[test]
fn queues_are_saved_with_the_member_that_has_them() {
    for seed in 0..12 {
        let net = three(seed).start();
        let nic = net.vm(0);
        let Some(queue) = net.start_queue(nic) else { continue };
        let of_queue = |(member, resource)| matches!(resource, Resource::Queue(_)).then_some(member);
        let members: Vec<u16> = net.members_of(nic).into_iter().filter_map(of_queue).collect();
        let (_, pins) =
            record(&net.save(nic, Offering::default()).expect("it runs").blobs).expect("a record");
        let saved: Vec<_> = pins.iter().map(|pin| (pin.kind, u16::from(pin.member.get()), pin.id)).collect();
        let expected: Vec<_> =
            members.iter().map(|&member| (PinKind::Queue, member, u64::from(queue))).collect();
        assert_eq!(saved, expected, "seed {seed}");
        let (_, none) =
            record(&net.save(net.vm(1), Offering::default()).expect("it runs").blobs).expect("a record");
        assert!(none.is_empty(), "another partition's");
        net.finish().assert_clean();
    }
}

#[test]
fn data_that_cannot_be_used_is_discarded_whole_with_its_reason() {
    let net = three(1).start();
    let state = a_state(1, NicId::new(70, 0));
    let good = blobs_of(&state, &many_pins(700), PART_MAX);
    let part = |at: usize| good[at].data().to_vec();
    let changed = |at: usize, octet: usize, value: u8| {
        let mut data = part(at);
        data[octet] = value;
        let mut blobs = good.clone();
        blobs[at] = good[at].with_data(&data);
        blobs
    };
    let stray = a_state(2, NicId::new(71, 0));
    let mut mixed = good.clone();
    mixed[1] = blobs_of(&stray, &many_pins(600), PART_MAX)[1].clone();
    let cut = [good[0].with_data(&part(0)[..200]), good[1].clone(), good[2].clone()];
    let rows: Vec<(Vec<Blob>, Discard)> = vec![
        (changed(0, 0, b'?'), Discard::Foreign),
        (changed(0, 4, 9), Discard::Newer(9)),
        (changed(0, 16 + 4, 9), Discard::Newer(9)),
        (changed(1, 500, 77), Discard::Damaged),
        (changed(1, 6, 1), Discard::Malformed),
        (vec![good[0].with_data(&[])], Discard::Truncated),
        (vec![good[0].with_data(&part(0)[..16])], Discard::Truncated),
        (vec![good[0].clone(), good[2].clone()], Discard::Incomplete),
        (cut.to_vec(), Discard::Incomplete),
        (vec![good[0].clone(), good[1].clone(), good[1].clone(), good[2].clone()], Discard::Mixed),
        (mixed, Discard::Mixed),
        (vec![good[2].with_data(&[part(2), vec![0; 30]].concat())], Discard::TooLong),
    ];
    let nic = net.vm(0);
    for (number, (blobs, reason)) in rows.iter().enumerate() {
        assert!(net.restore_spoilt(nic, blobs, &good), "a restore never fails");
        assert_eq!(discarded(&net).len(), number + 1, "told once: {reason:?}");
        assert_eq!(discarded(&net).last(), Some(reason));
    }
    let (found, pins) =
        record(&net.save(nic, Offering::default()).expect("it runs").blobs).expect("a record");
    assert_eq!((found.hashed_as.to_string(), pins.len(), found.traffic.frames), ("10/0".to_owned(), 0, 0));
    assert!(differences(&net).is_empty());
    // The NIC can still be restored.
    assert!(net.restore_nic(net.vm(1), &good));
    assert_eq!(differences(&net).len(), 1);
    net.finish().assert_clean();
}

#[test]
fn a_save_that_nobody_ended_is_over_when_its_last_request_has_been_at_the_end_of_the_stack() {
    for seed in 0..20 {
        let net = three(seed).start();
        let nic = net.vm(0);
        // Another extension below has data: while it saves, the operation continues.
        let below = |net: &Net| {
            let data = [vec![3; 100], vec![], vec![4; 4_000]];
            net.look(|s| s.saves.others.insert((Other::Below, 0, nic), data[..seed as usize % 4].to_vec()));
        };
        for _ in 0..3 {
            below(&net);
            let mut run = net.begin_save(nic, Offering::default()).expect("it runs");
            run.abandon = true;
            while net.step_save(&mut run) {}
            assert_eq!(run.blobs.iter().filter(|blob| blob.is_ours()).count(), 1, "seed {seed}");
        }
        assert_eq!(net.save(nic, Offering::default()).expect("it runs").blobs.len(), 1);
        net.finish().assert_clean();
    }
}

#[test]
fn a_save_that_was_left_in_the_middle_ends_with_the_guest() {
    for seed in 0..20 {
        let net = three(seed).start();
        let nic = net.vm(0);
        // The driver demanded a larger buffer, and the switch never asked again: no part was written, so the next
        // operation has all of them.
        let mut run = net.begin_save(nic, Offering { room: 9, ..Offering::default() }).expect("it runs");
        net.step_save(&mut run);
        assert_eq!(net.save(nic, Offering::default()).expect("it runs").blobs.len(), 1);
        // The operation ended after its only part: the next request cannot be told from a further one of the same
        // operation.
        let mut run = net.begin_save(nic, Offering { room: 99, ..Offering::default() }).expect("it runs");
        net.step_save(&mut run);
        assert_eq!(run.blobs.len(), 1);
        net.remove(nic);
        net.add_vm(0);
        assert_eq!(net.save(nic, Offering::default()).expect("it runs").blobs.len(), 1);
        net.finish().assert_clean();
    }
}

#[test]
fn a_nic_may_disappear_between_two_requests() {
    for seed in 0..20 {
        let net = three(seed).start();
        let nic = net.vm(0);
        let mut run = net.begin_save(nic, Offering { room: 9, ..Offering::default() }).expect("it runs");
        assert!(net.step_save(&mut run));
        assert_eq!(run.short, 1);
        net.remove(nic);
        while net.step_save(&mut run) {}
        assert!(!run.failed && run.blobs.is_empty(), "there is nothing to save of a NIC that is gone");
        let state = a_state(seed, NicId::new(70, 0));
        net.add_vm(0);
        let blobs = blobs_of(&state, &many_pins(700), PART_MAX);
        let mut restore = net.begin_restore(nic, &blobs).expect("it runs");
        net.step_restore(&mut restore);
        net.remove(nic);
        while net.step_restore(&mut restore) {}
        assert_eq!(discarded(&net), [Discard::Incomplete]);
        net.finish().assert_clean();
    }
}

#[test]
fn data_for_nics_that_never_come_is_bounded() {
    let net = three(1).start();
    let blobs = blobs_of(&a_state(1, NicId::new(70, 0)), &[], PART_MAX);
    for n in 0..80 {
        assert!(net.restore_nic(net.vm(100 + n), &blobs));
    }
    assert_eq!(discarded(&net), [Discard::NoMemory; 16]);
    net.add_vm(100);
    assert_eq!(
        record(&net.save(net.vm(100), Offering::default()).expect("it runs").blobs)
            .expect("one")
            .0
            .hashed_as
            .to_string(),
        "70/0"
    );
    net.finish().assert_clean();
}

/// The members of every flow of a guest that moves from one host to another.
fn moved(seed: u64, scenario: Scenario) -> (BTreeMap<Flow, Vec<u16>>, Vec<Differences>) {
    let net = scenario.start();
    let there = net.on(1);
    let (nic, becomes) = (net.vm(1), there.vm(30));
    let mac = net.mac(nic);
    let send = |net: &Net, nic, sequence| {
        for n in 0..60 {
            net.send(nic, &[Flow::new(mac, host_mac(n), n).frame(sequence, 60)]);
        }
    };
    send(&net, nic, 0);
    let arrival = ARRIVALS[seed as usize % 3];
    let migration = Migration { arrival, ..Migration::new(&net, &there, nic, becomes) };
    migration.run(|| send(&net, nic, 1)).expect("it moves");
    send(&there, becomes, 2);
    let differences = differences(&there);
    let outcome = net.finish();
    outcome.assert_clean();
    (outcome.members_of(Flow::of), differences)
}

#[test]
fn flows_keep_their_members_between_equal_hosts() {
    for seed in 0..12 {
        let (members, differences) = moved(seed, three(seed).host(1, &[(1, 10), (2, 25), (3, 10)], 2));
        assert_eq!(members.len(), 60);
        assert!(members.values().all(|path| path.len() == 1), "{members:?}");
        assert_eq!(differences, [Differences::NONE]);
    }
}

#[test]
fn what_differs_between_hosts_is_told() {
    type Host<'a> = (&'a [(u16, u64)], u64, &'a [Differences]);
    let hosts: [Host<'_>; 4] = [
        (&[(1, 10), (2, 25)], 0, &[Differences::MEMBERS, Differences::HOME_MAP]),
        (&[(1, 25), (2, 10), (3, 10)], 0, &[Differences::HOME_MAP]),
        (&[(2, 10), (3, 25), (4, 10)], 0, &[Differences::HOME_MAP]),
        (&[(1, 10), (2, 25), (3, 10)], 5, &[Differences::SEED]),
    ];
    for (members, hash_seed, expected) in hosts {
        let scenario = three(3).host(1, members, 2).host_setting(1, "HashSeed", Value::Qword(hash_seed));
        let (_, told) = moved(3, scenario);
        let bits = expected.iter().fold(0, |bits, difference| bits | difference.bits());
        assert_eq!(told.iter().map(|d| d.bits()).collect::<Vec<_>>(), [bits], "{members:?}");
    }
}

#[test]
fn a_restore_that_another_extension_refuses_fails_the_migration() {
    let net = three(2).host(1, &[(1, 10)], 1).start();
    let there = net.on(1);
    net.look(|s| {
        s.saves.others.insert((Other::Below, 0, net.vm(0)), vec![vec![1; 8]]);
        s.saves.below_refuses = true;
    });
    let result = Migration::new(&net, &there, net.vm(0), there.vm(20)).run(|| ());
    assert_eq!(result.map(|_| ()), Err(Failure::Restore));
    net.finish().assert_clean();
}

/// One save or restore of a NIC, among many.
enum Operation {
    Save(SaveRun),
    Restore(RestoreRun),
}

impl Operation {
    fn step(&mut self) -> bool {
        match self {
            Self::Save(run) => run.step(),
            Self::Restore(run) => run.step(),
        }
    }
}

const NICS: u16 = 100;

/// A hundred NICs are restored and saved on four processors, with their requests interleaved at random.
fn interleaved(seed: u64) {
    let net = Scenario::new(seed).members(&[10, 10]).vms(NICS).tear_down(false).start();
    let blobs = move |n: u16| {
        let state = a_state(u64::from(n), NicId::new(5_000 + u32::from(n), 0));
        blobs_of(&state, &many_pins(if n.is_multiple_of(25) { 600 } else { 1 }), PART_MAX)
    };
    let body = |quarter: u16| -> Body {
        Box::new(move |net: &Net| {
            let mine: Vec<NicId> = (0..NICS).filter(|n| n % 4 == quarter).map(|n| net.vm(n)).collect();
            let mut under_way: Vec<(Operation, bool)> = Vec::new();
            let mut next = mine.iter();
            loop {
                let pick = net.world().random(12) as usize;
                if pick >= under_way.len() {
                    if let Some(&nic) = next.next() {
                        let run = RestoreRun::new(0, nic, &blobs((nic.port - net.vm(0).port) as u16));
                        under_way.push((Operation::Restore(run), true));
                        continue;
                    }
                    if under_way.is_empty() {
                        return;
                    }
                }
                let at = pick % under_way.len();
                if under_way[at].0.step() {
                    continue;
                }
                if let (Operation::Restore(done), _) = under_way.swap_remove(at) {
                    let room = net.world().random(200) as usize;
                    let offering = Offering { room, guard: 0, ..Offering::default() };
                    under_way.push((Operation::Save(SaveRun::new(0, done.nic, offering)), false));
                }
            }
        })
    };
    net.together(vec![("a", body(0)), ("b", body(1)), ("c", body(2)), ("d", body(3))]);
    assert!(discarded(&net).is_empty());
    let outcome = net.finish();
    outcome.assert_clean();
    // The last operation may end after the others.
    let checked = |rule| outcome.exercised.get(rule).copied().unwrap_or(0);
    let all: u64 = ["SAVE-18", "SAVE-21", "SAVE-24"].map(checked).iter().sum();
    assert_eq!(all, u64::from(NICS));
    assert!(checked("SAVE-18") >= 90, "{} of {NICS} were interleaved", checked("SAVE-18"));
}

#[test]
fn saves_and_restores_of_a_hundred_nics_interleave_in_every_order() {
    each(&Vec::from_iter(seeds(150)), |&seed| interleaved(seed));
}
