//! What comes in from outside, in each teaming mode: every frame once, whatever the physical network copies, floods or
//! sends back; and where addresses are afterwards.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use teaming::forward::credits::{CREDIT_SLOTS, LIFE};
use teaming::forward::drop_reason::DropReason;
use teaming::forward::storage::ForwardingStorage;
use teaming::forward::watch::WATCH;
use teaming::forward::{Forwarding, OutOfBand, Packet, Verdict};
use teaming::ids::{MacAddr, NicId, PortId, Ticks};
use teaming::ports::mac_learning::AGE;
use teaming::settings::TeamingMode;
use teaming::team::member::{LinkState, MemberEvent};

use crate::host::{Host, REMOTE, SPOOFING, UPLINK, flooded, group, mac, nic, settings, stray};

const BOTH: [TeamingMode; 2] = [TeamingMode::SwitchIndependent, TeamingMode::Static];
/// The virtual address of a router.
const VIRTUAL: MacAddr = MacAddr([0, 0, 0x5e, 0, 1, 10]);
const LINK_LOCAL: MacAddr = MacAddr([1, 0x80, 0xc2, 0, 0, 2]);

/// vNICs 10 to 12; 12 may send with any address.
fn host(mode: TeamingMode) -> Host {
    let mut host = Host::new(&settings(mode), 8);
    (10..13).for_each(|port| host.station(port));
    host.forwarding.set_security(PortId::new(12), Some(SPOOFING));
    host
}

/// An IPv4 datagram; `id` makes it unlike others.
fn datagram(from: MacAddr, to: MacAddr, id: u16) -> Vec<u8> {
    let mut bytes = [to.0, from.0].concat();
    bytes.extend([0x08, 0, 0x45, 0, 0, 28]);
    bytes.extend(id.to_be_bytes());
    bytes.extend([0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2, 0, 9, 0, 53, 0, 8, 0, 0]);
    bytes
}

/// What became of a frame: the vNICs that got it and the member by which it left.
#[derive(Debug, PartialEq, Eq, Default)]
struct Went {
    to: BTreeSet<u32>,
    by: Option<u8>,
}

fn went(host: &Host, source: NicId, window: &[u8]) -> Result<Went, DropReason> {
    let packet = Packet { source, window, pinned: None, native: false, now: host.now };
    let decision = host.forwarding.decide_alone(&packet, &OutOfBand::NOTHING);
    let source_port = host.forwarding.source_port(source);
    let reached =
        || flooded(&host.forwarding, &source_port, &decision).map(|to| to.nic().port.get()).collect();
    Ok(match decision.verdict {
        Verdict::Drop(reason) | Verdict::RefusedBy(_, reason) => return Err(reason),
        Verdict::Deliver(nic) => Went { to: [nic.port.get()].into(), by: None },
        Verdict::Uplink(member) => Went { by: Some(member.get()), ..Went::default() },
        Verdict::Flood { uplink } => Went { to: reached(), by: uplink.map(|member| member.get()) },
        Verdict::Native => panic!("no test asks for it"),
    })
}

fn arrives(host: &Host, member: u16, window: &[u8]) -> Result<BTreeSet<u32>, DropReason> {
    went(host, nic(UPLINK, member), window).map(|went| went.to)
}

fn sends(host: &Host, port: u32, window: &[u8]) -> Result<Went, DropReason> {
    went(host, nic(port, 0), window)
}

fn wait(host: &mut Host, time: Ticks) {
    host.now = host.now.saturating_add(time);
}

fn all() -> BTreeSet<u32> {
    [10, 11, 12].into()
}

#[test]
fn a_frame_for_many_is_delivered_once_whichever_member_it_comes_on_first() {
    for to in [MacAddr::BROADCAST, group(1), stray(9)] {
        for order in [[1, 2], [2, 1]] {
            let host = host(TeamingMode::SwitchIndependent);
            for id in 0..50 {
                let frame = datagram(REMOTE, to, id);
                let reached = arrives(&host, order[usize::from(id) % 2], &frame).expect("it is news");
                assert!(reached.contains(&12), "{to}");
                let again = arrives(&host, order[1 - usize::from(id) % 2], &frame);
                assert_eq!(again, Err(DropReason::Duplicate), "{to}");
            }
        }
    }
}

#[test]
fn a_group_that_comes_on_one_member_alone_is_heard_there() {
    let host = host(TeamingMode::SwitchIndependent);
    for member in [1, 2] {
        assert_eq!(arrives(&host, member, &datagram(REMOTE, group(1), member)), Ok(all()));
    }
}

#[test]
fn equal_frames_on_one_member_are_all_news_and_each_has_its_copy() {
    let host = host(TeamingMode::SwitchIndependent);
    let frame = datagram(REMOTE, MacAddr::BROADCAST, 0);
    for _ in 0..5 {
        assert_eq!(arrives(&host, 1, &frame), Ok(all()));
    }
    for _ in 0..5 {
        assert_eq!(arrives(&host, 2, &frame), Err(DropReason::Duplicate));
    }
    assert_eq!(arrives(&host, 2, &frame), Ok(all()));
}

#[test]
fn what_this_host_sent_and_comes_back_is_dropped_once_for_each_other_member() {
    for to in [MacAddr::BROADCAST, group(1), stray(9)] {
        let mut host = host(TeamingMode::SwitchIndependent);
        host.on(3, MemberEvent::Connected);
        let frame = datagram(mac(10), to, 1);
        let by = sends(&host, 10, &frame).unwrap().by.expect("it leaves");
        let others: Vec<_> = (1..=3).filter(|member| *member != by).map(u16::from).collect();
        for member in &others {
            assert_eq!(arrives(&host, *member, &frame), Err(DropReason::Reflection), "{to}");
        }
        // A frame of the same bytes that nobody sent is delivered, but never to the owner of its source.
        let strange = arrives(&host, others[0], &frame).expect("no credit is left");
        assert!(!strange.contains(&10) && strange.contains(&12), "{strange:?}");
    }
}

#[test]
fn a_stream_of_equal_frames_goes_on_by_another_member_when_its_own_has_died() {
    for to in [MacAddr::BROADCAST, group(1), mac(10)] {
        let mut host = host(TeamingMode::SwitchIndependent);
        host.on(3, MemberEvent::Connected);
        let frame = datagram(REMOTE, to, 0);
        for _ in 0..3 {
            assert!(arrives(&host, 1, &frame).is_ok());
        }
        host.on(1, MemberEvent::Link(LinkState::Down));
        for _ in 0..3 {
            assert!(arrives(&host, 2, &frame).is_ok(), "{to}");
        }
        // Among those that are left, copies are told as before.
        if to.is_multicast() {
            assert_eq!(arrives(&host, 3, &frame), Err(DropReason::Duplicate), "{to}");
        }
    }
}

#[test]
fn a_credit_expires() {
    let mut host = host(TeamingMode::SwitchIndependent);
    let frame = datagram(REMOTE, MacAddr::BROADCAST, 0);
    assert_eq!(arrives(&host, 1, &frame), Ok(all()));
    wait(&mut host, LIFE);
    assert_eq!(arrives(&host, 2, &frame), Err(DropReason::Duplicate));
    assert_eq!(arrives(&host, 1, &frame), Ok(all()));
    wait(&mut host, LIFE.saturating_add(Ticks::from_ms(8)));
    assert_eq!(arrives(&host, 2, &frame), Ok(all()));
}

#[test]
fn a_frame_that_nobody_gets_leaves_no_credit() {
    let mut host = host(TeamingMode::SwitchIndependent);
    host.forwarding.set_security(PortId::new(12), None);
    let frame = datagram(REMOTE, stray(9), 0);
    for member in [1, 2, 1] {
        assert_eq!(arrives(&host, member, &frame), Err(DropReason::NoDestination));
    }
    assert_eq!(arrives(&host, 1, &datagram(REMOTE, LINK_LOCAL, 0)), Err(DropReason::LinkLocal));
}

#[test]
fn padding_checksums_and_marks_do_not_make_a_copy_news() {
    let changes: [fn(&mut Vec<u8>); 5] = [
        |frame| frame.resize(60, 0),
        |frame| frame[24..26].copy_from_slice(&[1, 2]),
        |frame| frame[40..42].copy_from_slice(&[3, 4]),
        |frame| frame[15] = 0xb8,
        |frame| frame[15] = 3,
    ];
    for change in changes {
        let host = host(TeamingMode::SwitchIndependent);
        let sent = datagram(REMOTE, MacAddr::BROADCAST, 7);
        let mut came = sent.clone();
        change(&mut came);
        assert_eq!(arrives(&host, 1, &sent), Ok(all()));
        assert_eq!(arrives(&host, 2, &came), Err(DropReason::Duplicate), "{came:?}");
    }
    // Whatever else differs makes another frame.
    let first = datagram(REMOTE, MacAddr::BROADCAST, 7);
    for at in (6..first.len()).filter(|at| ![12, 13, 14, 15, 24, 25, 40, 41].contains(at)) {
        let host = host(TeamingMode::SwitchIndependent);
        let mut other = first.clone();
        other[at] ^= 0x40;
        assert!(arrives(&host, 1, &first).is_ok());
        if !matches!(at, 16 | 17) {
            assert!(arrives(&host, 2, &other).is_ok(), "byte {at}");
        }
    }
}

#[test]
fn unicast_is_told_from_its_copy_while_its_port_hears_several_members() {
    let mut host = host(TeamingMode::SwitchIndependent);
    let frame = |id| datagram(REMOTE, mac(10), id);
    let one: BTreeSet<_> = [10].into();
    assert_eq!(arrives(&host, 1, &frame(0)), Ok(one.clone()));
    // The first copy is delivered; it shows that copies come.
    assert_eq!(arrives(&host, 2, &frame(0)), Ok(one.clone()));
    for id in 1..100 {
        let first = 1 + id % 2;
        assert_eq!(arrives(&host, first, &frame(id)), Ok(one.clone()));
        assert_eq!(arrives(&host, 3 - first, &frame(id)), Err(DropReason::Duplicate));
    }
    // Silence ends the watch; unicast on one member alone is never dropped.
    wait(&mut host, WATCH.saturating_add(LIFE));
    for _ in 0..10 {
        assert_eq!(arrives(&host, 2, &frame(5)), Ok(one.clone()));
    }
}

#[test]
fn what_a_team_of_one_switch_hears_is_all_news_except_for_the_owner_of_the_source() {
    for down in [None, Some(2)] {
        for mode in BOTH {
            if mode == TeamingMode::SwitchIndependent && down.is_none() {
                continue;
            }
            let mut host = host(mode);
            if let Some(down) = down {
                host.on(down, MemberEvent::Link(LinkState::Down));
            }
            let frame = datagram(REMOTE, MacAddr::BROADCAST, 0);
            for _ in 0..3 {
                assert_eq!(arrives(&host, 1, &frame), Ok(all()));
            }
            let own = datagram(mac(10), MacAddr::BROADCAST, 1);
            assert_eq!(arrives(&host, 1, &own), Ok([11, 12].into()));
            assert_eq!(arrives(&host, 1, &datagram(mac(10), mac(10), 2)), Err(DropReason::Reflection));
        }
    }
}

/// Hosts with the virtual address behind port 12, `idle` after its last frame.
fn with_virtual_router(mode: TeamingMode, members: u8, idle: Ticks) -> Host {
    let mut host = host(mode);
    if members == 1 {
        host.on(2, MemberEvent::Disconnected);
    }
    sends(&host, 12, &datagram(VIRTUAL, group(18), 0)).expect("the port may send from it");
    assert_eq!(sends(&host, 10, &datagram(mac(10), VIRTUAL, 0)), Ok(Went { to: [12].into(), by: None }));
    wait(&mut host, idle);
    host
}

fn goes_outside(host: &Host, address: MacAddr) -> bool {
    let went = sends(host, 10, &datagram(mac(10), address, 77)).expect("it goes somewhere");
    went.to.is_empty() && went.by.is_some()
}

#[test]
fn an_address_that_was_learned_moves_outside_when_it_is_heard_there() {
    for (mode, members) in [(BOTH[0], 2), (BOTH[0], 1), (BOTH[1], 2), (BOTH[1], 1)] {
        for idle in [LIFE, Ticks::from_ms(4_000), Ticks::from_ms(6_000), AGE] {
            let guarded = mode == TeamingMode::SwitchIndependent && idle.as_us() < 5_000_000;
            let host = with_virtual_router(mode, members, idle);
            // Of several members one may have come back late, so one frame for many does not move a young address.
            assert!(arrives(&host, 1, &datagram(VIRTUAL, group(18), 500)).is_ok());
            assert_eq!(goes_outside(&host, VIRTUAL), !guarded, "{mode:?} {idle:?}");
            assert!(arrives(&host, 1, &datagram(VIRTUAL, MacAddr::BROADCAST, 501)).is_ok());
            assert!(goes_outside(&host, VIRTUAL), "{mode:?} {idle:?}");
            // And back with its next frame.
            sends(&host, 12, &datagram(VIRTUAL, group(18), 502)).unwrap();
            assert!(!goes_outside(&host, VIRTUAL));
            // Unicast for a vNIC moves it at once.
            let host = with_virtual_router(mode, members, idle);
            assert_eq!(arrives(&host, 1, &datagram(VIRTUAL, mac(10), 1)), Ok([10].into()));
            assert!(goes_outside(&host, VIRTUAL), "{mode:?} {idle:?}");
        }
    }
}

#[test]
fn an_announced_address_never_moves() {
    for mode in BOTH {
        let host = host(mode);
        for id in 0..20 {
            let _ = arrives(&host, 1, &datagram(mac(11), MacAddr::BROADCAST, id));
            let _ = arrives(&host, 1, &datagram(mac(11), mac(10), id));
        }
        assert_eq!(sends(&host, 10, &datagram(mac(10), mac(11), 0)), Ok(Went { to: [11].into(), by: None }));
    }
}

#[test]
fn what_a_guest_sends_back_teaches_nothing_about_its_port() {
    for (mode, members) in [(BOTH[0], 2), (BOTH[0], 1), (BOTH[1], 2)] {
        for to in [MacAddr::BROADCAST, group(3), stray(9)] {
            let mut host = host(mode);
            if members == 1 {
                host.on(2, MemberEvent::Disconnected);
            }
            let frame = datagram(REMOTE, to, 3);
            assert!(arrives(&host, 1, &frame).expect("it is news").contains(&12));
            assert!(sends(&host, 12, &frame).is_ok());
            assert!(goes_outside(&host, REMOTE), "{mode:?} {to}");
            // Later it does, until the address is heard outside again.
            wait(&mut host, LIFE.saturating_add(Ticks::from_ms(8)));
            for (again, next) in [(4, MacAddr::BROADCAST), (5, group(3)), (6, mac(10))] {
                assert!(sends(&host, 12, &frame).is_ok());
                assert!(!goes_outside(&host, REMOTE));
                assert!(arrives(&host, 1, &datagram(REMOTE, next, again)).is_ok());
                assert!(goes_outside(&host, REMOTE), "{mode:?} {to} {next}");
                wait(&mut host, LIFE.saturating_add(Ticks::from_ms(8)));
            }
        }
    }
}

#[test]
fn unicast_to_an_address_that_is_outside_is_copied_to_nobody() {
    for mode in BOTH {
        let mut host = host(mode);
        let to_gateway = datagram(mac(10), REMOTE, 0);
        assert_eq!(sends(&host, 10, &to_gateway).unwrap().to, [12].into(), "not heard yet");
        assert_eq!(arrives(&host, 1, &datagram(REMOTE, mac(10), 1)), Ok([10].into()));
        assert_eq!(sends(&host, 10, &to_gateway).unwrap().to, BTreeSet::new());
        // It comes back on another member, because the physical switch has forgotten the address: nobody's.
        assert_eq!(arrives(&host, 2, &to_gateway), Err(DropReason::NoDestination));
        assert_eq!(sends(&host, 10, &to_gateway).unwrap().to, BTreeSet::new());
        wait(&mut host, AGE.saturating_add(Ticks::from_ms(200)));
        assert_eq!(sends(&host, 10, &to_gateway).unwrap().to, [12].into(), "after silence");
    }
}

#[test]
fn addresses_outside_displace_none_inside() {
    let host = host(TeamingMode::Static);
    for number in 0..200 {
        sends(&host, 12, &datagram(stray(number), REMOTE, 0)).unwrap();
    }
    for number in 0..60_000_u32 {
        let [_, a, b, c] = number.to_be_bytes();
        arrives(&host, 1, &datagram(MacAddr([2, 0xdd, 0, a, b, c]), mac(10), 0)).unwrap();
    }
    assert_eq!(host.forwarding.learned.len(), 200);
}

/// A table of this many slots.
fn small(slots: usize) -> Host {
    let settings = settings(TeamingMode::SwitchIndependent);
    let mut host = Host::new(&settings, 8);
    host.forwarding = Forwarding::new(ForwardingStorage::on_heap(8, slots), &settings);
    host.forwarding.on_external(
        teaming::oid::nic::NicOp::Create,
        &crate::host::parameters(UPLINK, teaming::oid::nic::NicKind::External),
    );
    (10..13).for_each(|port| host.station(port));
    for _ in 0..2 {
        host.on(2, MemberEvent::Link(LinkState::Down));
        host.on(2, MemberEvent::Link(LinkState::Up { bits_per_second: None }));
    }
    host
}

#[test]
fn a_full_table_delivers_copies_and_loses_nothing() {
    for slots in [8, CREDIT_SLOTS] {
        let mut host = small(slots);
        let (mut copies, mut news) = (0, 0);
        for id in 0..3_000 {
            let frame = datagram(REMOTE, MacAddr::BROADCAST, id);
            news += u32::from(arrives(&host, 1, &frame).is_ok());
            copies += u32::from(arrives(&host, 2, &frame).is_ok());
            wait(&mut host, Ticks::from_ms(if slots == 8 { 20 } else { 1 }));
        }
        assert_eq!(news, 3_000, "{slots} slots");
        assert_eq!(copies > 0, slots == 8, "{copies} copies, {slots} slots");
    }
}

#[test]
fn an_address_whose_frames_are_not_known_again_stays_and_others_move() {
    let mut host = small(8);
    host.forwarding.set_security(PortId::new(12), Some(SPOOFING));
    let many = |from, id| datagram(from, group(18), id);
    sends(&host, 12, &many(stray(1), 0)).expect("the port may send from it");
    for id in 0..20 {
        let by = sends(&host, 12, &many(VIRTUAL, id)).unwrap().by.expect("it leaves");
        let _ = arrives(&host, 3 - u16::from(by), &many(VIRTUAL, id));
    }
    assert!(!goes_outside(&host, VIRTUAL));
    for (address, pause) in [(stray(1), Ticks::ZERO), (VIRTUAL, LIFE.saturating_add(Ticks::from_ms(8)))] {
        wait(&mut host, pause);
        for id in 100..102 {
            assert!(arrives(&host, 1, &many(address, id)).is_ok());
        }
        assert!(goes_outside(&host, address), "{address}");
    }
}

#[test]
fn what_is_sent_back_and_not_known_again_teaches_nothing() {
    let mut host = small(8);
    host.forwarding.set_security(PortId::new(12), Some(SPOOFING));
    let many = |id| datagram(REMOTE, group(18), id);
    for id in 0..20 {
        assert!(arrives(&host, 1, &many(id)).is_ok());
    }
    for id in 0..20 {
        assert!(sends(&host, 12, &many(id)).is_ok());
    }
    assert!(goes_outside(&host, REMOTE));
    wait(&mut host, LIFE.saturating_add(Ticks::from_ms(8)));
    assert!(sends(&host, 12, &many(20)).is_ok());
    assert!(!goes_outside(&host, REMOTE));
}

#[test]
fn a_storm_from_one_port_leaves_the_others_their_credits() {
    let host = host(TeamingMode::SwitchIndependent);
    for id in 0..20_000_u16 {
        sends(&host, 12, &datagram(mac(12), MacAddr::BROADCAST, id)).unwrap();
    }
    let mut delivered_twice = 0;
    for id in 0..1_000 {
        let frame = datagram(REMOTE, MacAddr::BROADCAST, id);
        assert_eq!(arrives(&host, 1, &frame), Ok(all()));
        delivered_twice += u32::from(arrives(&host, 2, &frame).is_ok());
    }
    assert!(delivered_twice <= 20, "{delivered_twice} of 1,000");
}

proptest! {
    #![proptest_config(crate::host::walks(60))]

    /// Frames, some of them equal, each with a copy on every other member after a time, in any order.
    #[test]
    fn every_frame_is_delivered_once_whatever_the_order_of_its_copies(
        frames in prop::collection::vec((0..6_u16, 1..5_u16, 0..2_u8, 0..40_u64), 1..200),
        delays in prop::collection::vec(0..200_u64, 4),
    ) {
        let mut host = host(TeamingMode::SwitchIndependent);
        (3..5).for_each(|number| host.on(number, MemberEvent::Connected));
        let start = host.now;
        // Time, order, member, frame.
        let mut queue = BTreeMap::new();
        let (mut time, mut order) = (0, 0);
        for (id, first, kind, pause) in frames {
            time += pause;
            for member in 1..5_u16 {
                let late = if member == first { 0 } else { 1 + delays[usize::from(member) - 1] / 4 };
                queue.insert((time + late, order), (member, member == first, id, kind));
                order += 1;
            }
        }
        let (mut sent, mut delivered) = (BTreeMap::new(), BTreeMap::new());
        for ((time, _), (member, is_first, id, kind)) in queue {
            host.now = start.saturating_add(Ticks::from_ms(time));
            let to = if kind == 0 { MacAddr::BROADCAST } else { group(1) };
            *sent.entry((id, kind)).or_insert(0) += u32::from(is_first);
            let reached = arrives(&host, member, &datagram(REMOTE, to, id));
            if reached.is_ok() {
                *delivered.entry((id, kind)).or_insert(0) += 1;
            }
        }
        prop_assert_eq!(sent, delivered);
    }
}
