//! Every drop reason of this crate, every basis of a key and every verdict has a packet that causes it and is counted
//! under it, and under nothing else.

use teaming::flow::{BASES, Basis, HashPolicy};
use teaming::forward::counters::{Counters, Load};
use teaming::forward::drop_reason::{DROP_REASONS, DropReason};
use teaming::forward::{Decision, OutOfBand, Packet, Verdict};
use teaming::ids::{MacAddr, NicId, PortId};
use teaming::offload::Pin;
use teaming::ports::policy::Security;
use teaming::settings::{Settings, TeamingMode};
use teaming::team::member::{LinkState, MemberEvent};

use crate::host::{Host, REMOTE, TRUSTED, UPLINK, frame, mac, member, nic, settings, stray};
use crate::rows::{Mode, Rules};

/// A packet and its out-of-band data.
struct Case {
    source: NicId,
    window: Vec<u8>,
    tag_vlan: u16,
    pinned: Option<Pin>,
    native: bool,
}

fn case(port: u32, to: MacAddr) -> Case {
    Case { source: nic(port, 0), window: frame(mac(port), to, &[]), tag_vlan: 0, pinned: None, native: false }
}

fn from_outside(index: u16, source: MacAddr, to: MacAddr) -> Case {
    Case { source: nic(UPLINK, index), window: frame(source, to, &[]), ..case(UPLINK, to) }
}

fn decide(host: &Host, case: &Case) -> Decision {
    let packet = Packet {
        source: case.source,
        window: &case.window,
        pinned: case.pinned,
        native: case.native,
        now: host.now,
    };
    host.forwarding.decide_alone(&packet, &OutOfBand { vlan: case.tag_vlan, ..OutOfBand::NOTHING })
}

/// vNICs 10 and 11 without policies, 12 in VLAN 5, 13 isolated, 14 a trunk, 15 in a virtual subnet, 16 closed.
fn host(policy: HashPolicy) -> Host {
    let settings = Settings { policy, ..settings(TeamingMode::SwitchIndependent) };
    let mut host = Host::new(&settings, 8);
    let trunk = Mode::Trunk { native: 0, listed: vec![5], pruned: vec![] };
    let rules = [
        Rules::new(Mode::Nothing),
        Rules::new(Mode::Nothing),
        Rules::new(Mode::Access(5)),
        Rules::new(Mode::Isolated(5, 6)),
        Rules::new(trunk),
        Rules { subnet: 5001, ..Rules::new(Mode::Nothing) },
        Rules { closed: true, ..Rules::new(Mode::Nothing) },
    ];
    for (port, rules) in (10..).zip(rules) {
        host.station(port);
        rules.set(&mut host, PortId::new(port));
    }
    host
}

fn without_members(mut host: Host) -> Host {
    for number in [1, 2] {
        host.on(number, MemberEvent::Link(LinkState::Down));
    }
    host
}

/// `None`: only the driver can detect the reason.
fn witness(reason: DropReason) -> Option<(Host, Case)> {
    let host = host(HashPolicy::HyperVPort);
    let to_nobody = stray(9);
    Some(match reason {
        DropReason::Runt => {
            let short = Case { window: vec![0; 13], ..case(10, to_nobody) };
            (host, short)
        }
        DropReason::BackToSource => (host, case(10, mac(10))),
        DropReason::NoDestination => (host, from_outside(1, REMOTE, to_nobody)),
        DropReason::NoLiveMember => (without_members(host), case(10, to_nobody)),
        DropReason::UnknownAssociation => (host, Case { pinned: Some(Pin::Nowhere), ..case(10, to_nobody) }),
        DropReason::PinnedMemberDown => {
            (host, Case { pinned: Some(Pin::To(member(9))), ..case(10, to_nobody) })
        }
        DropReason::LinkLocal => (host, from_outside(1, REMOTE, MacAddr([1, 0x80, 0xc2, 0, 0, 0]))),
        DropReason::Unreadable | DropReason::NoResources | DropReason::NotRunning => return None,
        DropReason::BadTag => (host, Case { tag_vlan: 4095, ..case(14, to_nobody) }),
        DropReason::TaggedFrame => (host, Case { tag_vlan: 5, ..case(12, to_nobody) }),
        DropReason::VlanNotAllowed => (host, Case { tag_vlan: 7, ..case(14, to_nobody) }),
        DropReason::VlanMismatch => (host, case(10, mac(12))),
        DropReason::TagInBytes => {
            // A service tag cannot come off.
            let mut window = frame(mac(14), mac(10), &[5]);
            window[12..14].copy_from_slice(&[0x88, 0xa8]);
            (host, Case { window, ..case(14, mac(10)) })
        }
        DropReason::PrivateVlan => (host, case(13, mac(12))),
        DropReason::SpoofedAddress => {
            let spoofed = Case { window: frame(stray(1), to_nobody, &[]), ..case(10, to_nobody) };
            (host, spoofed)
        }
        DropReason::VirtualSubnet => (host, case(15, to_nobody)),
        DropReason::PortClosed => (host, case(10, mac(16))),
        DropReason::Duplicate => {
            assert!(matches!(
                decide(&host, &from_outside(1, REMOTE, MacAddr::BROADCAST)).verdict,
                Verdict::Flood { .. }
            ));
            (host, from_outside(2, REMOTE, MacAddr::BROADCAST))
        }
        DropReason::Reflection => {
            let Verdict::Flood { uplink: Some(by) } = decide(&host, &case(10, MacAddr::BROADCAST)).verdict
            else {
                panic!("a broadcast leaves")
            };
            (host, from_outside(3 - u16::from(by.get()), mac(10), MacAddr::BROADCAST))
        }
    })
}

#[test]
fn every_reason_to_drop_has_a_witness_that_is_counted_as_that_alone() {
    for reason in DROP_REASONS {
        let Some((host, case)) = witness(reason) else { continue };
        let decision = decide(&host, &case);
        let expected = match reason {
            // In these cases the source port admits the frame.
            DropReason::VlanMismatch | DropReason::PrivateVlan => Verdict::RefusedBy(PortId::new(12), reason),
            DropReason::TagInBytes => Verdict::RefusedBy(PortId::new(10), reason),
            DropReason::PortClosed => Verdict::RefusedBy(PortId::new(16), reason),
            _ => Verdict::Drop(reason),
        };
        assert_eq!(decision.verdict, expected);
        let mut counters = Counters::ZERO;
        for times in 1..=3 {
            counters.count_decision(&decision, Load { frames: 1, bytes: 100 });
            let mut expected = Counters::ZERO;
            expected.dropped[DROP_REASONS.iter().position(|other| *other == reason).unwrap()] = times;
            assert_eq!(counters, expected, "{reason:?}");
            assert_eq!(counters.dropped(reason), times);
        }
    }
}

/// With one property changed, each dropped frame passes: so the witness is dropped for its reason and not because of
/// the host.
#[test]
fn the_host_of_the_witnesses_lets_ordinary_frames_pass() {
    let host = host(HashPolicy::HyperVPort);
    let ordinary = [
        case(10, mac(11)),
        case(10, stray(9)),
        from_outside(1, REMOTE, mac(10)),
        case(12, MacAddr::BROADCAST),
    ];
    for case in &ordinary {
        assert_eq!(decide(&host, case).verdict.drop_reason(), None);
    }
    // The same packets with one property changed.
    let tagged = Case { tag_vlan: 5, ..case(14, mac(12)) };
    assert_eq!(decide(&host, &tagged).verdict, Verdict::Deliver(nic(12, 0)));
    let pinned = Case { pinned: Some(Pin::To(member(2))), ..case(10, stray(9)) };
    assert_eq!(decide(&host, &pinned).verdict, Verdict::Uplink(member(2)));
    let mut host = host;
    host.forwarding.set_security(PortId::new(10), Some(Security { mac_spoofing: true, ..Security::STRICT }));
    let spoofed = Case { window: frame(stray(1), mac(11), &[]), ..case(10, mac(11)) };
    assert_eq!(decide(&host, &spoofed).verdict, Verdict::Deliver(nic(11, 0)));
}

/// A policy, and the bytes of a frame from the EtherType on.
fn basis_witness(basis: Basis) -> (HashPolicy, Vec<u8>) {
    let ipv4 = |protocol: u8, fragment: u8, rest: &[u8]| {
        let header = [0x45, 0, 0, 28, 0, 0, fragment, 0, 64, protocol, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
        [&[0x08, 0][..], &header, rest].concat()
    };
    let udp = [0, 9, 0, 53, 0, 8, 0, 0];
    match basis {
        Basis::Policy => (HashPolicy::TransportPorts, ipv4(17, 0, &udp)),
        Basis::NotEncapsulated => (HashPolicy::Encapsulated, ipv4(17, 0, &udp)),
        Basis::Fragment => (HashPolicy::TransportPorts, ipv4(17, 0x20, &udp)),
        Basis::NoPorts => (HashPolicy::TransportPorts, ipv4(1, 0, &udp)),
        Basis::NotIp => (HashPolicy::TransportPorts, vec![0x88, 0xb5, 0, 0]),
        Basis::CutShort => (HashPolicy::TransportPorts, ipv4(17, 0, &udp[..3])),
        Basis::TooDeep => (HashPolicy::TransportPorts, [[0x86, 0xdd].to_vec(), deep_ipv6()].concat()),
        Basis::Malformed => (HashPolicy::TransportPorts, [&[0x08, 0, 0x55][..], &[0; 30]].concat()),
    }
}

/// An IPv6 packet with more extension headers than the limit.
fn deep_ipv6() -> Vec<u8> {
    let mut bytes = vec![0x60, 0, 0, 0, 0, 80, 60, 64];
    bytes.extend([7; 32]);
    (0..10).for_each(|_| bytes.extend([60, 0, 0, 0, 0, 0, 0, 0]));
    bytes
}

#[test]
fn every_basis_has_a_witness_that_is_counted_as_that_alone() {
    for basis in BASES {
        let (policy, rest) = basis_witness(basis);
        let settings = Settings { policy, ..settings(TeamingMode::Static) };
        let host = Host::new(&settings, 4);
        let window = [&stray(9).0[..], &REMOTE.0, &rest].concat();
        let decision = decide(&host, &Case { source: TRUSTED, window, ..case(0, stray(9)) });
        let Verdict::Uplink(to) = decision.verdict else { panic!("{decision:?}") };
        assert_eq!(decision.basis, Some(basis));
        let mut counters = Counters::ZERO;
        counters.count_decision(&decision, Load { frames: 1, bytes: 70 });
        let mut expected = Counters { uplink: 1, ..Counters::ZERO };
        expected.bases[BASES.iter().position(|other| *other == basis).unwrap()] = 1;
        expected.members[to.slot()] = Load { frames: 1, bytes: 70 };
        assert_eq!(counters, expected);
        assert_eq!(counters.based_on(basis), 1);
    }
}

#[test]
fn every_verdict_has_a_witness_that_is_counted_as_that_alone() {
    let count = |host: &Host, case: &Case| {
        let decision = decide(host, case);
        let mut counters = Counters::ZERO;
        counters.count_decision(&decision, Load { frames: 1, bytes: 70 });
        (decision.verdict, counters)
    };
    let all = host(HashPolicy::HyperVPort);
    let delivered = Counters { delivered: 1, ..Counters::ZERO };
    assert_eq!(count(&all, &case(10, mac(11))), (Verdict::Deliver(nic(11, 0)), delivered));
    let native = Counters { native: 1, ..Counters::ZERO };
    let given = Case { native: true, ..case(10, mac(11)) };
    assert_eq!(count(&all, &given), (Verdict::Native, native));
    // A packet that is pinned to a member takes that member, and no key is made.
    let to_two = Case { pinned: Some(Pin::To(member(2))), ..case(10, stray(9)) };
    let mut uplink = Counters { uplink: 1, ..Counters::ZERO };
    uplink.members[1] = Load { frames: 1, bytes: 70 };
    assert_eq!(count(&all, &to_two), (Verdict::Uplink(member(2)), uplink));
    let to_all = Case { pinned: Some(Pin::To(member(1))), ..case(10, MacAddr::BROADCAST) };
    let mut flooded = Counters { flooded: 1, ..Counters::ZERO };
    flooded.members[0] = Load { frames: 1, bytes: 70 };
    assert_eq!(count(&all, &to_all), (Verdict::Flood { uplink: Some(member(1)) }, flooded));
    let inside = Counters { flooded: 1, ..Counters::ZERO };
    let from_outside = from_outside(1, REMOTE, MacAddr::BROADCAST);
    assert_eq!(count(&all, &from_outside), (Verdict::Flood { uplink: None }, inside.clone()));
    let alone = without_members(host(HashPolicy::HyperVPort));
    assert_eq!(count(&alone, &case(10, MacAddr::BROADCAST)), (Verdict::Flood { uplink: None }, inside));
}
