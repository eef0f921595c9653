//! Frames from every NIC of the external port: which are delivered or dropped, in each teaming mode, after any
//! sequence of member events.

use std::collections::BTreeSet;

use proptest::prelude::*;
use teaming::forward::OutOfBand;
use teaming::forward::drop_reason::DropReason;
use teaming::ids::{MacAddr, PortId};
use teaming::settings::TeamingMode;
use teaming::team::member::{LinkState, MemberEvent};

use crate::host::{Host, Place, REMOTE, SPOOFING, UPLINK, Ways, frame, group, mac, nic, settings, stray};

/// The documented result for a frame that is not a duplicate.
#[derive(Debug, Clone, Copy)]
enum Kind {
    /// Delivered to one vNIC whose address is known or learned.
    One(u32),
    /// Delivered to these vNICs if it arrives on the receiving member.
    Many(&'static [u32]),
    Dropped(DropReason),
}

const LINK_LOCAL: MacAddr = MacAddr([1, 0x80, 0xc2, 0, 0, 2]);
const PER_VLAN_TREE: MacAddr = MacAddr([1, 0, 0x0c, 0xcc, 0xcc, 0xcd]);
const HEARD: MacAddr = stray_of(1);
const UNHEARD: MacAddr = stray_of(2);

const fn stray_of(number: u8) -> MacAddr {
    MacAddr([2, 0xbb, 0, 0, 0, number])
}

/// Source, destination, and the result with a port that may learn (12) and without one.
fn rows() -> [(MacAddr, MacAddr, Kind, Kind); 15] {
    use Kind::{Dropped, Many, One};
    let reflected = Dropped(DropReason::Reflection);
    let nobody = Dropped(DropReason::NoDestination);
    let local = Dropped(DropReason::LinkLocal);
    let all = Many(&[10, 11, 12]);
    [
        (REMOTE, MacAddr::BROADCAST, all, all),
        (REMOTE, group(1), Many(&[10, 12]), Many(&[10])),
        (REMOTE, group(2), Many(&[12]), Many(&[])),
        (REMOTE, LINK_LOCAL, local, local),
        (REMOTE, PER_VLAN_TREE, local, local),
        (REMOTE, mac(10), One(10), One(10)),
        (REMOTE, mac(12), One(12), One(12)),
        (REMOTE, HEARD, One(12), nobody),
        (REMOTE, UNHEARD, Many(&[12]), nobody),
        // A frame that this host sent.
        (mac(10), MacAddr::BROADCAST, reflected, reflected),
        (mac(11), group(1), reflected, reflected),
        (mac(10), mac(11), One(11), One(11)),
        (mac(10), UNHEARD, reflected, reflected),
        (HEARD, MacAddr::BROADCAST, reflected, all),
        (HEARD, group(1), reflected, Many(&[10])),
    ]
}

fn host(mode: TeamingMode, learning: bool) -> Host {
    let mut host = Host::new(&settings(mode), 4);
    (10..13).for_each(|port| host.station(port));
    for (port, groups) in [(10, &[1][..]), (11, &[]), (12, &[])] {
        host.forwarding.ports.listen(PortId::new(port), groups.iter().map(|&number| group(number)));
    }
    if learning {
        host.forwarding.set_security(PortId::new(12), Some(SPOOFING));
        assert!(host.plain(nic(12, 0), HEARD, REMOTE).is_ok());
        assert_eq!(HEARD, stray(1));
    }
    host
}

/// Checks every NIC index of the external port: 0 is the team as a whole, 1 to 32 are the members.
fn check(host: &Host, listened_to: Option<BTreeSet<u16>>, learning: bool) {
    for index in 0..=32 {
        let counts = listened_to.as_ref().is_none_or(|those| those.contains(&index));
        for (from, to, with, without) in rows() {
            let expected: Ways = match if learning { with } else { without } {
                Kind::One(port) => Ok([(Place::Station(port), 0)].into()),
                // Link-local frames are dropped from every source.
                Kind::Dropped(reason @ DropReason::LinkLocal) => Err(reason),
                Kind::Dropped(_) | Kind::Many(_) if !counts => Err(DropReason::NotReceiver),
                Kind::Many(ports) => Ok(ports.iter().map(|&port| (Place::Station(port), 0)).collect()),
                Kind::Dropped(reason) => Err(reason),
            };
            let found = host.ways(nic(UPLINK, index), &frame(from, to, &[]), &OutOfBand::NOTHING);
            assert_eq!(found, expected, "index {index}: {from} to {to}, learning {learning}");
        }
    }
}

#[test]
fn every_index_is_heard_in_a_static_team_whatever_its_members_do() {
    for learning in [false, true] {
        let mut host = host(TeamingMode::Static, learning);
        check(&host, None, learning);
        for down in [1, 2] {
            host.on(down, MemberEvent::Link(LinkState::Down));
            check(&host, None, learning);
            assert_eq!(host.forwarding.receiver(), None);
        }
    }
}

#[test]
fn the_team_as_a_whole_is_heard_in_every_mode_even_without_a_live_member() {
    let mut host = host(TeamingMode::SwitchIndependent, false);
    check(&host, Some([0, 1].into()), false);
    for (down, heard) in [(1, vec![0, 2]), (2, vec![0])] {
        host.on(down, MemberEvent::Link(LinkState::Down));
        check(&host, Some(heard.into_iter().collect()), false);
    }
}

proptest! {
    #![proptest_config(crate::host::walks(40))]

    /// The receiving member stays the same while it is up; then it is the first member that is up.
    #[test]
    fn the_member_that_counts_after_any_walk_is_the_one_computed_apart(
        learning in any::<bool>(),
        steps in prop::collection::vec((1..=32_u8, 0..4_u8, any::<bool>()), 1..60),
    ) {
        let mut host = host(TeamingMode::SwitchIndependent, learning);
        let mut live = BTreeSet::from([1_u8, 2]);
        let mut receiver = Some(1);
        let mut mode = TeamingMode::SwitchIndependent;
        for (number, kind, other_mode) in steps {
            // Mostly the same few members, so that events meet on one member.
            let number = if number > 8 { number % 4 + 1 } else { number };
            let event = match kind {
                0 => MemberEvent::Link(LinkState::Down),
                1 => MemberEvent::Disconnected,
                2 => MemberEvent::Link(LinkState::Unknown),
                _ => MemberEvent::Connected,
            };
            host.on(number, event);
            live = host.team.live().iter().map(teaming::ids::MemberIndex::get).collect();
            if receiver.is_none_or(|receiver| !live.contains(&receiver)) {
                receiver = live.first().copied();
            }
            if other_mode && kind == 0 {
                mode = match mode {
                    TeamingMode::Static => TeamingMode::SwitchIndependent,
                    TeamingMode::SwitchIndependent => TeamingMode::Static,
                };
                host.forwarding.configure(&settings(mode));
            }
            let heard = match mode {
                TeamingMode::Static => None,
                TeamingMode::SwitchIndependent => {
                    Some(receiver.map(u16::from).into_iter().chain([0]).collect())
                }
            };
            check(&host, heard, learning);
        }
        prop_assert!(live.len() <= 32);
    }
}
