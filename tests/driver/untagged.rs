//! A frame with the tag in its bytes arrives without it where no tag may arrive: whatever its layout in memory, its source,
//! its destinations and what else its list has.

use crate::every::driver::{dropped, next_frame, reached};
use lbfoext::ndis::raw::{SUCCESS, info};
use std::collections::{BTreeMap, BTreeSet};
use vswitch::machine::world::World;
use vswitch::scenario::guest::{BROADCAST, Flow, Packet, host_mac};
use vswitch::scenario::suite::random::{TPIDS, insert_tag, insert_tag_of};
use vswitch::scenario::{EXTERNAL_PORT, Net, Scenario};
use vswitch::switch::nbl::Shape;
use vswitch::switch::ports::NicId;
use vswitch::switch::ports::policy::{Private, Property, Security, Vlan};

fn trunk(native: u16, allowed: &[u16]) -> Property {
    Property::Vlan(Vlan::Trunk { native, allowed: allowed.iter().copied().collect(), pruned: [].into() })
}

fn private(private: Private) -> Property {
    Property::Vlan(Vlan::Private(private))
}

fn access(vid: u16) -> Property {
    Property::Vlan(Vlan::Access(vid))
}

/// VM 0 is a trunk. In VLAN 7 are VM 1 (access), 2 (a trunk whose native VLAN it is), 3 (isolated), 4 (community), 5
/// (promiscuous), 6 (a trunk) and a NIC of the host (access); in VLAN 8 are VM 0, 2, 6 and 7 (access).
fn plan(seed: u64) -> Scenario {
    let primary = 7;
    Scenario::new(seed)
        .members(&[10, 10])
        .vms(8)
        .internal(1)
        .property(0, trunk(0, &[7, 8, 9]))
        .property(1, access(7))
        .property(2, trunk(7, &[7, 8]))
        .property(3, private(Private::Isolated { primary, secondary: 17 }))
        .property(4, private(Private::Community { primary, secondary: 18 }))
        .property(5, private(Private::Promiscuous { primary, secondaries: [17, 18].into() }))
        .property(6, trunk(0, &[7, 8]))
        .property(7, access(8))
        .internal_property(0, access(7))
}

/// The NICs at which VLAN 7 arrives without a tag.
fn bare(net: &Net) -> [NicId; 6] {
    [net.vm(1), net.vm(2), net.vm(3), net.vm(4), net.vm(5), net.internal(0)]
}

fn tagged(frame: &[u8], vid: u16, priority: u8) -> Vec<u8> {
    let mut frame = frame.to_vec();
    insert_tag(&mut frame, vid, priority);
    frame
}

/// What a frame is after it was sent.
fn bytes(net: &Net, frame: usize) -> Vec<u8> {
    net.look(|state| state.frames.all[frame].bytes.to_vec()).expect("the machine runs")
}

/// Sends one packet, which must arrive at these vNICs, through so many members, as these bytes.
fn arrives(
    net: &Net,
    from: NicId,
    packet: Packet,
    to: &[NicId],
    members: usize,
    as_bytes: &[u8],
    what: &str,
) {
    let frame = next_frame(net);
    net.send_packets(vec![(from, packet)]);
    net.settle();
    let (vnics, left) = reached(net, frame);
    assert_eq!(vnics, to.iter().copied().collect(), "{what}: {:?}", dropped(net, frame));
    assert_eq!(left.len(), members, "{what}");
    assert_eq!(bytes(net, frame), as_bytes, "{what}");
}

#[test]
fn a_tag_comes_off_for_every_destination_that_takes_none_from_every_source_that_sends_it() {
    for seed in 0..12 {
        let net = plan(seed).start();
        for from in [net.vm(0), net.vm(6), net.member(1), net.member(2), NicId::new(0, 0)] {
            for to in bare(&net) {
                for priority in [0, 5] {
                    let source = if from.port < 2 { host_mac(from.index) } else { net.mac(from) };
                    let frame =
                        Flow { from: source, ..net.flow_between(net.vm(0), to, 1) }.frame(seed as u32, 60);
                    let packet = Packet::of(tagged(&frame, 7, priority));
                    arrives(&net, from, packet, &[to], 0, &frame, &format!("seed {seed}, {from} to {to}"));
                }
            }
            // Where the tag may be it stays.
            let to = if from == net.vm(6) { net.vm(0) } else { net.vm(6) };
            let source = if from.port < 2 { host_mac(from.index) } else { net.mac(from) };
            let frame = Flow { from: source, ..net.flow_between(net.vm(0), to, 1) }.frame(seed as u32, 60);
            let frame = tagged(&frame, 7, 1);
            arrives(&net, from, Packet::of(frame.clone()), &[to], 0, &frame, "to a trunk");
        }
        net.finish().assert_clean();
    }
}

#[test]
fn a_tag_comes_off_for_an_external_port_whose_native_vlan_it_is() {
    for seed in 0..6 {
        let net = plan(seed).port_property(EXTERNAL_PORT, trunk(7, &[7, 8])).start();
        let frame = net.flow(net.vm(0), 1).frame(1, 60);
        arrives(&net, net.vm(0), Packet::of(tagged(&frame, 7, 3)), &[], 1, &frame, "native");
        let other = tagged(&frame, 8, 3);
        arrives(&net, net.vm(0), Packet::of(other.clone()), &[], 1, &other, "tagged");
        let outcome = net.finish();
        outcome.assert_clean();
        assert_eq!(outcome.arrivals.iter().map(|arrival| arrival.vid).collect::<Vec<_>>(), [0, 8]);
    }
}

#[test]
fn a_tagged_frame_arrives_whole_in_every_layout_of_its_memory() {
    let splits: [&[usize]; 14] = [
        &[],
        &[12],
        &[13],
        &[14],
        &[15],
        &[16],
        &[17],
        &[18],
        &[12, 4],
        &[12, 2, 2],
        &[13, 0, 2, 17],
        &[6, 6, 1, 1, 1, 1, 2],
        &[1, 2, 3, 4, 5, 6, 7, 8],
        &[14, 20],
    ];
    let net = plan(1).start();
    let (from, to) = (net.vm(0), net.vm(1));
    for length in [14, 15, 16, 60, 1_514, 9_000, 60_000] {
        let mut frame = net.flow_between(from, to, 1).frame(1, 60_000 - 42);
        frame.truncate(length);
        for split in splits {
            for (lead, headroom, tail, unmapped) in [(&[][..], 0, 0, false), (&[10, 3], 7, 11, true)] {
                let pieces = split.iter().copied().take(split.len()).scan(length + 4, |left, piece| {
                    let piece = piece.min(*left);
                    *left -= piece;
                    Some(piece)
                });
                let shape =
                    Shape { lead_mdls: lead.to_vec(), headroom, pieces: pieces.collect(), tail, unmapped };
                let packet = Packet { shape: Some(shape), ..Packet::of(tagged(&frame, 7, 2)) };
                arrives(&net, from, packet, &[to], 0, &frame, &format!("{length} bytes, {split:?}"));
            }
        }
    }
    net.finish().assert_clean();
}

#[test]
fn a_flood_reaches_those_with_tags_and_those_without() {
    for seed in 0..24 {
        // More destinations than one batch has, of both kinds, in drawn order.
        let many = if seed % 4 == 0 { 140 } else { 8 };
        let mut wide = plan(seed).vms(many);
        for vm in 8..many {
            wide = wide
                .property(vm, if (vm + seed as u16).is_multiple_of(3) { access(7) } else { trunk(0, &[7]) });
        }
        let net = wide.start();
        let further = (8..many).map(|vm| net.vm(vm));
        let mut to: BTreeSet<NicId> = bare(&net).into_iter().chain(further).collect();
        for from in [net.vm(0), net.member(1), net.vm(6)] {
            to.extend([net.vm(0), net.vm(6)]);
            to.remove(&from);
            let source = if from.port < 2 { host_mac(1) } else { net.mac(from) };
            let frame = Flow { from: source, to: BROADCAST, ..net.flow(net.vm(0), 1) }.frame(seed as u32, 60);
            let to: Vec<NicId> = to.iter().copied().collect();
            let members = usize::from(from.port > 2);
            arrives(&net, from, Packet::of(tagged(&frame, 7, 4)), &to, members, &frame, "to all");
        }
        let outcome = net.finish();
        outcome.assert_clean();
        assert!(outcome.arrivals.iter().all(|arrival| arrival.vid == 7));
    }
}

#[test]
fn a_flood_to_ports_that_all_take_tags_leaves_as_it_came() {
    let net = plan(1).start();
    let frame = Flow { to: BROADCAST, ..net.flow(net.vm(0), 1) }.frame(1, 60);
    let frame = tagged(&frame, 9, 4);
    arrives(&net, net.vm(0), Packet::of(frame.clone()), &[], 1, &frame, "nobody inside");
    let net2 = Scenario::new(2).members(&[10]).vms(3);
    let net2 = (0..3).fold(net2, |plan, vm| plan.property(vm, trunk(0, &[9]))).start();
    let frame = tagged(&Flow { to: BROADCAST, ..net2.flow(net2.vm(0), 1) }.frame(1, 60), 9, 4);
    let to = [net2.vm(1), net2.vm(2)];
    arrives(&net2, net2.vm(0), Packet::of(frame.clone()), &to, 1, &frame, "trunks");
    net2.finish().assert_clean();
    net.finish().assert_clean();
}

#[test]
fn each_frame_of_a_list_loses_its_own_tag() {
    for seed in 0..40 {
        let net = plan(seed).style(|style| style.nested = [100, 50, 0][seed as usize % 3]).start();
        let from = [net.vm(0), net.member(1)][seed as usize % 2];
        let source = if from.port < 2 { host_mac(1) } else { net.mac(from) };
        let to = |to, n| Flow { from: source, ..net.flow_between(net.vm(0), to, n) }.frame(u32::from(n), 60);
        // To one with priorities that differ, to several, to some in other VLANs, and to one that takes tags.
        let lists: [Vec<(NicId, u16, u8)>; 4] = [
            (0..5).map(|n| (net.vm(1), 7, n)).collect(),
            bare(&net).into_iter().map(|nic| (nic, 7, 1)).collect(),
            vec![(net.vm(1), 7, 3), (net.vm(7), 8, 3), (net.vm(6), 8, 0), (net.vm(1), 7, 0)],
            vec![(net.vm(7), 8, 0); 3],
        ];
        for list in lists {
            let first = next_frame(&net);
            let plain: Vec<Vec<u8>> = (0..).zip(&list).map(|(n, (nic, ..))| to(*nic, n)).collect();
            let frames =
                plain.iter().zip(&list).map(|(frame, (_, vid, p))| tagged(frame, *vid, *p)).collect();
            net.send_packets(vec![(from, Packet::several(frames))]);
            net.settle();
            for ((frame, plain), (nic, vid, priority)) in (first..).zip(&plain).zip(&list) {
                assert_eq!(reached(&net, frame).0, [*nic].into(), "seed {seed}, {list:?}");
                let stays = *nic == net.vm(6);
                let expected = if stays { tagged(plain, *vid, *priority) } else { plain.clone() };
                assert_eq!(bytes(&net, frame), expected, "seed {seed}, {list:?}");
            }
            let status = net.look(|state| state.frames.all[first].status).expect("the machine runs");
            assert_eq!(status, Some(SUCCESS));
        }
        net.finish().assert_clean();
    }
}

#[test]
fn a_flood_of_two_frames_in_one_list_reaches_everybody_twice() {
    for seed in 0..12 {
        let net = plan(seed).start();
        let flow = Flow { to: BROADCAST, ..net.flow(net.vm(0), 1) };
        let first = next_frame(&net);
        let plain = [1, 2].map(|n| flow.frame(n, 60));
        let frames = plain.iter().map(|frame| tagged(frame, 7, 6)).collect();
        net.send_packets(vec![(net.vm(0), Packet::several(frames))]);
        net.settle();
        for (frame, plain) in (first..).zip(&plain) {
            let everybody = bare(&net).into_iter().chain([net.vm(6)]).collect();
            assert_eq!(reached(&net, frame).0, everybody);
            assert_eq!(bytes(&net, frame), *plain);
        }
        net.finish().assert_clean();
    }
}

#[test]
fn a_frame_that_no_memory_can_be_had_for_is_dropped_and_told() {
    let mut sites: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for (several, seed) in [(false, 1), (false, 2), (true, 3), (true, 4)] {
        for n in 1.. {
            let net = plan(seed).style(|style| style.nested = [0, 100][seed as usize % 2]).start();
            let first = next_frame(&net);
            net.world().fail_from_here(n);
            let to = |nic, n| tagged(&net.flow_between(net.vm(0), nic, n).frame(u32::from(n), 60), 7, 1);
            let all = [to(net.vm(1), 1), to(net.vm(3), 2), to(net.vm(1), 3)];
            let frames = if several { all.to_vec() } else { all[..1].to_vec() };
            let count = frames.len();
            net.send_packets(vec![(net.vm(0), Packet::several(frames))]);
            net.settle();
            let site = net.world().injected_fault();
            for frame in first..first + count {
                let there = !reached(&net, frame).0.is_empty();
                let why = dropped(&net, frame);
                assert!(there || why.is_some(), "call {n}, {site:?}: frame {frame}");
                assert!(there || site.is_some(), "{why:?}");
                if let (Some(site), false, Some(why)) = (site, there, why) {
                    sites.entry(site).or_default().insert(why);
                }
            }
            net.finish().assert_clean();
            if site.is_none() {
                break;
            }
        }
    }
    let memory: BTreeSet<_> = ["A buffer list or a destination could not be had.".to_owned()].into();
    for site in [
        "NdisAllocateFragmentNetBufferList",
        "AllocateNetBufferListForwardingContext",
        "CopyNetBufferListInfo",
        "AddNetBufferListDestination",
        "NdisAllocateNetBufferAndNetBufferList",
    ] {
        assert_eq!(sites.get(site), Some(&memory), "{site}: {sites:?}");
    }
}

#[test]
fn the_module_does_not_attach_without_its_pools() {
    for site in ["NdisAllocateNetBufferPool", "NdisAllocateNetBufferListPool"] {
        let refused = (1..200).any(|n| {
            let net = plan(1).start();
            net.detach();
            net.world().fail_from_here(n);
            let attached = net.attach();
            let failed = net.world().injected_fault() == Some(site);
            net.finish().assert_clean();
            failed && !attached
        });
        assert!(refused, "{site}");
    }
}

#[test]
fn memory_of_others_is_not_written_where_ndis_finds_room_in_it() {
    let net = plan(1).style(|style| style.fragments_in_place = true).start();
    let frame = next_frame(&net);
    let sent = tagged(&net.flow_between(net.vm(0), net.vm(1), 1).frame(1, 60), 7, 1);
    net.send(net.vm(0), &[sent]);
    net.settle();
    assert_eq!(dropped(&net, frame).as_deref(), Some("A buffer list or a destination could not be had."));
    let outcome = net.finish();
    // That the frame is lost is what the reference says of it; its bytes are as they were.
    let of_the_loss = outcome.violations.iter().all(|violation| violation.text.contains("was dropped"));
    assert!(of_the_loss && outcome.violations.len() == 1, "{:?}", outcome.violations);
    assert!(outcome.warnings.iter().all(|warning| warning.rule != "DATA-63"), "{:?}", outcome.warnings);
    assert!(outcome.leaks.is_empty());
}

#[test]
fn offsets_of_headers_become_four_less_only_if_the_tag_comes_off() {
    // TCP or UDP header behind IPv4 and IPv6, and none; a frame in a tunnel.
    for (seed, offset) in (0..).zip([0, 18, 38, 58, 700, 1_023]) {
        let net = plan(seed).start();
        let words = vec![
            (info::CHECKSUM, 0x15 | offset << 16),
            (info::LARGE_SEND, 1_400 | offset << 20 | 1 << 30),
            (info::UDP_SEGMENTATION, 1_200 | offset << 20 | 1 << 31),
            (info::ENCAPSULATED, 3 | (offset & 0xFF) << 2 | 77 << 10),
        ];
        for (to, stays) in [(net.vm(1), false), (net.vm(6), true), (net.vm(3), false)] {
            let frame = net.flow_between(net.vm(0), to, 1).frame(1, 1_400);
            let sent = tagged(&frame, 7, 1);
            let packet = Packet { words: words.clone(), ..Packet::of(sent.clone()) };
            // The verifier compares each word (EGR-15, DATA-32).
            arrives(&net, net.vm(0), packet, &[to], 0, if stays { &sent } else { &frame }, "offsets");
        }
        let from = net.member(1);
        let frame = Flow { from: host_mac(1), ..net.flow_between(net.vm(0), net.vm(1), 1) }.frame(1, 100);
        let packet =
            Packet { words: vec![(info::CHECKSUM, u64::MAX >> 8)], ..Packet::of(tagged(&frame, 7, 1)) };
        arrives(&net, from, packet, &[net.vm(1)], 0, &frame, "in receive format");
        let outcome = net.finish();
        outcome.assert_clean();
        assert!(outcome.exercised["EGR-15"] >= 6);
    }
}

#[test]
fn what_lies_behind_the_tag_is_read_when_it_is_off() {
    for seed in 0..12 {
        let net = plan(seed).start();
        let from = net.vm(0);
        for tpid in &TPIDS[1..] {
            let frame = |to| {
                let mut frame = net.flow_between(from, to, 1).frame(1, 60);
                insert_tag_of(&mut frame, *tpid, 9, 0);
                frame
            };
            // A service tag never reaches a port without tags, nor a trunk that does not carry its VLAN.
            for to in bare(&net).into_iter().filter(|to| *to != net.vm(2)) {
                let number = next_frame(&net);
                net.send(from, &[tagged(&frame(to), 7, 1), frame(to)]);
                net.settle();
                for number in number..number + 2 {
                    assert!(reached(&net, number).0.is_empty() && dropped(&net, number).is_some(), "{to}");
                }
            }
            // Behind a tag it is payload for a trunk, which keeps that tag beside the bytes in its native VLAN.
            let sent = tagged(&frame(net.vm(6)), 7, 1);
            arrives(&net, from, Packet::of(sent.clone()), &[net.vm(6)], 0, &sent, "payload");
            let payload = frame(net.vm(2));
            arrives(&net, from, Packet::of(tagged(&payload, 7, 1)), &[net.vm(2)], 0, &payload, "payload");
        }
        // So is a second tag, which would be read where the first one is gone.
        let inner = |to| tagged(&tagged(&net.flow_between(from, to, 1).frame(1, 60), 9, 0), 7, 1);
        let sent = inner(net.vm(6));
        arrives(&net, from, Packet::of(sent.clone()), &[net.vm(6)], 0, &sent, "two tags");
        let sent = inner(net.vm(1));
        arrives(&net, from, Packet::of(sent.clone()), &[], 0, &sent, "two tags where none may be");
        net.finish().assert_clean();
    }
}

#[test]
fn a_priority_tag_stays_in_the_bytes() {
    let net = plan(3).start();
    let frame = tagged(&net.flow_between(net.vm(2), net.vm(1), 1).frame(1, 60), 0, 5);
    arrives(&net, net.vm(2), Packet::of(frame.clone()), &[net.vm(1)], 0, &frame, "a priority");
    net.finish().assert_clean();
}

#[test]
fn the_priority_of_a_tag_that_comes_off_goes_where_it_is_allowed() {
    let security = |priority_tag| Property::Security(Security { priority_tag, ..Security::default() });
    for (seed, (sender, receiver)) in (0..).zip([(true, true), (true, false), (false, true), (false, false)])
    {
        let net = plan(seed).property(0, security(sender)).property(1, security(receiver)).start();
        let frame = net.flow_between(net.vm(0), net.vm(1), 1).frame(1, 60);
        arrives(&net, net.vm(0), Packet::of(tagged(&frame, 7, 5)), &[net.vm(1)], 0, &frame, "a priority");
        net.finish().assert_clean();
    }
}

#[test]
fn a_guest_that_goes_on_writing_gets_no_byte_into_the_safe_part_of_what_arrives() {
    for seed in 0..60 {
        let net = plan(seed).start();
        let (from, to) = (net.vm(0), net.vm(1));
        for safe in [0, 1, 12, 14, 16, 18, 20, 64, 100, 4_000] {
            let [one, other] = [1, 2].map(|n| tagged(&net.flow_between(from, to, n).frame(1, 120), 7, 1));
            net.send_packets(vec![(from, Packet::flickering(one, other, safe))]);
        }
        net.settle();
        assert_eq!(net.delivered(to).len(), 10, "seed {seed}");
        net.finish().assert_clean();
    }
}

#[test]
fn nothing_is_left_when_the_module_is_paused_or_detached_among_such_frames() {
    for seed in 0..40 {
        let net = plan(seed).style(|style| (style.nested, style.delay) = (0, 5_000)).start();
        let world: &World = net.world();
        for round in 0..4 {
            for n in 0..8 {
                let to = bare(&net)[usize::from(n) % 6];
                let frame =
                    |n: u16| tagged(&net.flow_between(net.vm(0), to, n).frame(u32::from(n), 60), 7, 1);
                net.send_packets(vec![(net.vm(0), Packet::several(vec![frame(n), frame(n + 20)]))]);
                net.receive_external(1, &[frame(n + 40)]);
            }
            net.advance(world.random(3_000));
            match (seed + round) % 2 {
                0 => {
                    net.pause();
                    net.restart();
                }
                _ => {
                    net.detach();
                    net.attach();
                }
            }
        }
        net.finish().assert_clean();
    }
}

/// The frame ends anywhere in a second tag, or in what follows it. The tag that says the VLAN must be whole, with a type
/// behind it; the one behind that is payload.
#[test]
fn a_frame_that_ends_behind_the_tag_of_its_vlan_goes_where_that_vlan_is() {
    let net = plan(41).start();
    let keeps = net.vm(6);
    for tpid in TPIDS {
        let inner = [&tpid.to_be_bytes()[..], &[0, 9, 8, 0, 1, 2]].concat();
        for end in 0..=inner.len() {
            let what = format!("{tpid:04x}, {end} octets");
            let frame = |to: NicId| [&net.mac(to)[..], &net.mac(net.vm(0)), &inner[..end]].concat();
            let in_bytes =
                |to: NicId, vid: u8| [&frame(to)[..12], &[0x81, 0, 0, vid], &inner[..end]].concat();
            // Behind a tag in the bytes, and behind one beside them.
            let whole: &[NicId] = if end >= 2 { &[keeps] } else { &[] };
            let sent = in_bytes(keeps, 7);
            arrives(&net, net.vm(0), Packet::of(sent.clone()), whole, 0, &sent, &what);
            let sent = frame(keeps);
            arrives(&net, net.vm(0), Packet::tagged(sent.clone(), 7, 0), whole, 0, &sent, &what);
            // Where no tag may arrive: not if what is left begins with a tag that says a VLAN.
            let reads_a_vlan = end >= 4;
            for to in [net.vm(1), net.vm(4)] {
                let there: &[NicId] = if end < 2 || reads_a_vlan { &[] } else { std::slice::from_ref(&to) };
                let (sent, left) = (in_bytes(to, 7), frame(to));
                let arriving = if there.is_empty() { &sent } else { &left };
                arrives(&net, net.vm(0), Packet::of(sent.clone()), there, 0, arriving, &what);
                arrives(&net, net.vm(0), Packet::tagged(left.clone(), 7, 0), there, 0, &left, &what);
            }
            // A priority tag says no VLAN, so the next tag would.
            let sent = in_bytes(net.vm(6), 0);
            if end >= 2 {
                arrives(&net, net.vm(0), Packet::of(sent.clone()), &[], 0, &sent, &what);
            }
        }
    }
    net.finish().assert_clean();
}
