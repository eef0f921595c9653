//! Packets that an adapter is to encrypt: they leave by the member that has their security associations, or are dropped
//! with a reason. Any other adapter would send them in the clear.

use teaming::forward::drop_reason::DropReason;
use vswitch::scenario::guest::Packet;
use vswitch::scenario::{Net, Scenario};
use vswitch::switch::frames::FrameOutcome;
use vswitch::switch::ports::NicId;

/// A handle that no adapter has given out.
const UNKNOWN: u64 = 0xFFFF_C000_7777_0000;

/// Sends a packet with handles: the members that it leaves by, and the reasons for which it is dropped.
fn sent(net: &Net, nic: NicId, association: u64, tunnel: u64) -> (Vec<u16>, Vec<String>) {
    let before = net.look(|s| s.frames.assignments.len()).expect("a switch");
    let some = |handle| Some(handle).filter(|handle| *handle != 0);
    let packet = Packet::of(net.flow(nic, 1).frame(1, 60));
    net.send_packets(vec![(nic, Packet { association: some(association), tunnel: some(tunnel), ..packet })]);
    net.settle();
    net.look(move |s| {
        let members = s.frames.assignments[before..].iter().map(|assigned| assigned.member).collect();
        let last = s.frames.all.iter().last().expect("it was sent");
        let reasons = last.outcomes.iter().filter_map(|end| match end {
            FrameOutcome::Filtered { reason } => Some(reason.clone()),
            _ => None,
        });
        (members, reasons.collect())
    })
    .expect("a switch")
}

fn unknown() -> (Vec<u16>, Vec<String>) {
    (Vec::new(), vec![DropReason::UnknownAssociation.sentence().to_owned()])
}

fn by(member: u16) -> (Vec<u16>, Vec<String>) {
    (vec![member], Vec::new())
}

/// A new association of a NIC, and the member that has it.
fn associate(net: &Net, nic: NicId) -> (u64, u16) {
    let before = net.members_of(nic);
    let handle = net.offload(nic, |p| p.add_association_ex(7)).flatten().expect("there is room");
    let after = net.members_of(nic);
    let new = after.into_iter().find(|held| !before.contains(held)).expect("an adapter has it");
    (handle, new.0)
}

fn team(seed: u64, members: usize) -> Net {
    let net = Scenario::new(seed).members(&[10; 4][..members]).vms(2).start();
    net.advance(1_000);
    net
}

#[test]
fn a_packet_whose_association_was_lost_with_its_adapter_leaves_by_none_whatever_is_bound_in_its_place() {
    for seed in 0..8 {
        for members in [1, 2, 4] {
            let net = team(seed, members);
            let nic = net.vm(0);
            let (handle, home) = associate(&net, nic);
            assert_eq!(sent(&net, nic, handle, 0), by(home));
            net.unplug(home);
            let unplugged = sent(&net, nic, handle, 0);
            assert!(unplugged.0.is_empty() && !unplugged.1.is_empty(), "{unplugged:?}");
            net.replug(home);
            net.advance(5_000);
            assert_eq!(sent(&net, nic, handle, 0), unknown(), "seed {seed}, {members} members");
            assert_eq!(sent(&net, nic, 0, 0).0.len(), 1, "without a handle it leaves");
            // The VM makes it anew.
            net.release(nic);
            assert_eq!(sent(&net, nic, handle, 0), unknown());
            let (handle, home) = associate(&net, nic);
            assert_eq!(sent(&net, nic, handle, 0), by(home));
            net.release(nic);
            net.finish().assert_clean();
        }
    }
}

#[test]
fn a_packet_with_a_handle_that_no_member_is_known_to_have_is_dropped_with_a_reason() {
    for seed in 0..8 {
        for members in [2, 4] {
            let net = team(seed, members);
            let [nic, other] = [net.vm(0), net.vm(1)];
            let (handle, _) = associate(&net, nic);
            assert_eq!(sent(&net, nic, UNKNOWN, 0), unknown());
            assert_eq!(sent(&net, nic, 0, UNKNOWN), unknown(), "of a tunnel");
            assert_eq!(sent(&net, nic, handle, UNKNOWN), unknown(), "one of two");
            assert_eq!(sent(&net, other, handle, 0), unknown(), "another VM's");
            net.release(nic);
            net.finish().assert_clean();
        }
    }
}

#[test]
fn after_the_extension_was_attached_again_packets_of_earlier_associations_are_dropped_where_two_adapters_are()
{
    for seed in 0..8 {
        let net = team(seed, 2);
        let nic = net.vm(0);
        let (handle, home) = associate(&net, nic);
        assert_eq!(sent(&net, nic, handle, 0), by(home));
        net.detach();
        net.attach();
        net.advance(5_000);
        assert_eq!(sent(&net, nic, handle, 0), unknown());
        net.release(nic);
        let (handle, home) = associate(&net, nic);
        assert_eq!(sent(&net, nic, handle, 0), by(home));
        net.release(nic);
        net.finish().assert_clean();
    }
}

#[test]
fn the_only_adapter_goes_on_with_associations_of_before_the_extension_was_attached_again() {
    for seed in 0..8 {
        let net = team(seed, 1);
        let [nic, other] = [net.vm(0), net.vm(1)];
        let (handle, home) = associate(&net, nic);
        let (tunnel, _) = associate(&net, nic);
        net.detach();
        net.attach();
        net.advance(5_000);
        assert_eq!(sent(&net, nic, handle, 0), by(home));
        assert_eq!(sent(&net, nic, handle, tunnel), by(home));
        // A new one beside them, and that of another VM.
        let (new, _) = associate(&net, other);
        assert_eq!(sent(&net, other, new, 0), by(home));
        assert_eq!(sent(&net, nic, new, 0), unknown(), "it is the other's");
        assert_eq!(sent(&net, nic, handle, new), unknown());
        net.fail(home);
        let down = (Vec::new(), vec![DropReason::PinnedMemberDown.sentence().to_owned()]);
        assert_eq!(sent(&net, nic, handle, 0), down);
        net.restore(home);
        net.advance(5_000);
        assert_eq!(sent(&net, nic, handle, 0), by(home));
        // Lost with the adapter, whatever comes in its place.
        net.unplug(home);
        net.replug(home);
        net.advance(5_000);
        assert_eq!(sent(&net, nic, handle, 0), unknown());
        [nic, other].into_iter().for_each(|nic| net.release(nic));
        net.finish().assert_clean();
    }
}

/// It may be of before, and the adapter finds that it is not.
#[test]
fn a_handle_that_nobody_was_given_goes_to_the_only_adapter_which_fails_the_packet() {
    for seed in 0..8 {
        let net = team(seed, 1);
        let nic = net.vm(0);
        let (handle, home) = associate(&net, nic);
        for (one, tunnel) in [(UNKNOWN, 0), (0, UNKNOWN), (handle, UNKNOWN)] {
            assert_eq!(sent(&net, nic, one, tunnel), by(home));
            let failed = net.look(|s| {
                let last = s.frames.all.iter().last().expect("it was sent");
                last.outcomes.iter().all(|end| matches!(end, FrameOutcome::Failed { .. }))
            });
            assert_eq!(failed, Some(true), "it is on no cable");
        }
        assert_eq!(sent(&net, net.vm(1), handle, 0), unknown(), "another VM's");
        net.release(nic);
        net.finish().assert_clean();
    }
}

#[test]
fn an_only_adapter_that_is_not_set_up_for_ipsec_is_given_no_packet_with_a_handle() {
    for seed in 0..8 {
        let net = team(seed, 1);
        let nic = net.vm(0);
        let (handle, home) = associate(&net, nic);
        let with = net.look(move |s| s.modules[0].external.adapters[&home].offloads.capabilities);
        let with = with.expect("a switch");
        let without = vswitch::adapter::capabilities::Capabilities { associations: 0, ..with };
        net.change_abilities(home, without, &vswitch::scenario::CAPABILITY_CODES, false);
        net.detach();
        net.attach();
        net.advance(5_000);
        assert_eq!(sent(&net, nic, handle, 0), unknown(), "it would send it in the clear");
        net.change_abilities(home, with, &vswitch::scenario::CAPABILITY_CODES, false);
        net.advance(5_000);
        assert_eq!(sent(&net, nic, handle, 0), by(home));
        net.change_abilities(home, without, &vswitch::scenario::CAPABILITY_CODES, false);
        net.advance(5_000);
        assert_eq!(sent(&net, nic, handle, 0), unknown());
        net.release(nic);
        net.finish().assert_clean();
    }
}

#[test]
fn a_second_adapter_ends_the_trust_in_the_first() {
    for seed in 0..8 {
        let net = team(seed, 2);
        let nic = net.vm(0);
        net.unplug(2);
        let (handle, home) = associate(&net, nic);
        assert_eq!(home, 1);
        net.detach();
        net.attach();
        net.advance(5_000);
        assert_eq!(sent(&net, nic, handle, 0), by(home));
        net.replug(2);
        net.advance(5_000);
        assert_eq!(sent(&net, nic, handle, 0), unknown());
        net.release(nic);
        net.finish().assert_clean();
    }
}

#[test]
fn a_connection_through_a_tunnel_leaves_by_the_member_that_has_both_associations() {
    for seed in 0..8 {
        let net = team(seed, 2);
        let nic = net.vm(0);
        let (inner, home) = associate(&net, nic);
        let (tunnel, same) = associate(&net, nic);
        assert_eq!(same, home, "what belongs together is together");
        assert_eq!(sent(&net, nic, inner, tunnel), by(home));
        assert_eq!(sent(&net, nic, 0, tunnel), by(home));
        net.fail(home);
        let down = (Vec::new(), vec![DropReason::PinnedMemberDown.sentence().to_owned()]);
        assert_eq!(sent(&net, nic, inner, tunnel), down);
        // Adapters give out equal handles: others are in use there before.
        (0..2).for_each(|_| assert_ne!(associate(&net, net.vm(1)).1, home));
        let (elsewhere, survivor) = associate(&net, nic);
        assert!(survivor != home && ![inner, tunnel].contains(&elsewhere));
        net.restore(home);
        net.advance(5_000);
        assert_eq!(sent(&net, nic, elsewhere, 0), by(survivor));
        assert_eq!(sent(&net, nic, elsewhere, tunnel), unknown(), "no member has both");
        [nic, net.vm(1)].into_iter().for_each(|nic| net.release(nic));
        net.finish().assert_clean();
    }
}

#[test]
fn inside_the_host_a_packet_is_delivered_whatever_its_handle() {
    let net = team(1, 2);
    let [from, to] = [net.vm(0), net.vm(1)];
    let packet =
        Packet { association: Some(UNKNOWN), ..Packet::of(net.flow_between(from, to, 1).frame(1, 60)) };
    net.send_packets(vec![(from, packet)]);
    net.settle();
    let delivered = net.look(|s| {
        let last = s.frames.all.iter().last().expect("it was sent");
        last.outcomes.iter().any(|end| matches!(end, FrameOutcome::Delivered { .. }))
    });
    assert_eq!(delivered, Some(true));
    net.finish().assert_clean();
}
