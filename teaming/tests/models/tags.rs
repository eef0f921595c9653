//! Out-of-band tags of pending lists. A list that another component originated does not record who wrote its VLAN, so
//! at the completion the driver decides by the source port. After any sequence of policy changes, with any number of
//! pending lists, each list is completed with the tag with which it arrived.

use proptest::prelude::*;
use teaming::forward::OutOfBand;
use teaming::ids::PortId;
use teaming::oid::nic::{NicKind, NicOp};

use crate::host::{Host, UPLINK, frame, mac, nic, parameters, settings, stray, walks};
use crate::rows::{Mode, Rules};
use teaming::settings::TeamingMode;

/// An event on the switch between two packets.
#[derive(Debug, Clone)]
enum Step {
    /// A policy for the port of a vNIC, or for the external port.
    Policy { port: u32, mode: Mode },
    /// A frame with a VLAN in its out-of-band tag (0: none).
    Send { port: u32, tag_vlan: u16 },
    /// The oldest or the youngest pending list is completed.
    Complete { oldest: bool },
    /// The NIC is deleted, after its lists are completed, and created again.
    Replug { port: u32 },
}

/// A pending list of another component: its port, the VLAN with which it arrived, and the one in its tag now.
struct Out {
    port: u32,
    came: u16,
    now: u16,
}

const STATIONS: [u32; 2] = [10, 11];

fn come_back(host: &Host, out: &Out) {
    let taken = if host.forwarding.owns_tags(PortId::new(out.port)) { 0 } else { out.now };
    assert_eq!(taken, out.came, "a list of port {} with VLAN {} in its tag", out.port, out.now);
}

fn walk(steps: &[Step]) {
    let mut host = Host::new(&settings(TeamingMode::Static), 8);
    STATIONS.into_iter().for_each(|port| host.station(port));
    let mut out: Vec<Out> = Vec::new();
    for step in steps {
        match step {
            Step::Policy { port, mode } => mode.with_property(|property| {
                let wanted = property.map(|property| property.check().unwrap());
                host.forwarding.set_vlans(PortId::new(*port), wanted.as_ref()).unwrap();
            }),
            &Step::Send { port, tag_vlan } => {
                let (source, from) =
                    if port == UPLINK { (nic(UPLINK, 1), stray(1)) } else { (nic(port, 0), mac(port)) };
                let window = frame(from, mac(21 - port.min(11)), &[]);
                let decision =
                    host.decide(source, &window, &OutOfBand { vlan: tag_vlan, ..OutOfBand::NOTHING });
                let sent = decision.sent;
                let written = sent.tag().map(|vlan| vlan.get());
                assert!(written.is_some() || !sent.needs_own_list());
                // A tag is written into the original list only if that list had none.
                assert!(written.is_none() || sent.needs_own_list() || tag_vlan == 0);
                if decision.verdict.drop_reason().is_none() && !sent.needs_own_list() {
                    out.push(Out { port, came: tag_vlan, now: written.unwrap_or(tag_vlan) });
                }
            }
            Step::Complete { oldest } if !out.is_empty() => {
                let at = if *oldest { 0 } else { out.len() - 1 };
                come_back(&host, &out.remove(at));
            }
            Step::Complete { .. } => {}
            &Step::Replug { port } => {
                out.extract_if(.., |list| list.port == port).for_each(|list| come_back(&host, &list));
                let nic = parameters(port, NicKind::Synthetic);
                for op in [NicOp::Disconnect, NicOp::Delete, NicOp::Create, NicOp::Connect] {
                    host.forwarding.on_vnic(op, &nic).unwrap();
                }
            }
        }
    }
    out.iter().for_each(|list| come_back(&host, list));
}

fn mode() -> impl Strategy<Value = Mode> {
    prop_oneof![
        Just(Mode::Nothing),
        (0..4_u16).prop_map(Mode::Access),
        (0..4_u16).prop_map(|native| Mode::Trunk { native, listed: vec![1, 2, 3], pruned: vec![] }),
        Just(Mode::Isolated(1, 2)),
        Just(Mode::Community(1, 2)),
        Just(Mode::Promiscuous(1, vec![2, 3])),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let port = || prop_oneof![Just(10_u32), Just(11), Just(UPLINK)];
    prop_oneof![
        2 => (port(), mode()).prop_map(|(port, mode)| Step::Policy { port, mode }),
        6 => (port(), 0..4_u16).prop_map(|(port, tag_vlan)| Step::Send { port, tag_vlan }),
        2 => any::<bool>().prop_map(|oldest| Step::Complete { oldest }),
        1 => (10..12_u32).prop_map(|port| Step::Replug { port }),
    ]
}

proptest! {
    #![proptest_config(walks(2_000))]
    #[test]
    fn every_foreign_list_comes_back_with_the_tag_it_came_with(steps in prop::collection::vec(step(), 1..40)) {
        walk(&steps);
    }
}

#[test]
fn a_port_whose_policy_never_changes_needs_own_lists_only_for_the_native_vlan_of_a_trunk() {
    let trunk = Mode::Trunk { native: 3, listed: vec![1, 2], pruned: vec![] };
    for (mode, tag_vlan, own) in [
        (Mode::Nothing, 0, false),
        (Mode::Access(1), 0, false),
        (Mode::Isolated(1, 2), 0, false),
        (trunk.clone(), 1, false),
        (trunk.clone(), 3, false),
        (trunk, 0, true),
    ] {
        let mut host = Host::new(&settings(TeamingMode::Static), 8);
        host.station(10);
        Rules::new(mode.clone()).set(&mut host, PortId::new(10));
        let out_of_band = OutOfBand { vlan: tag_vlan, ..OutOfBand::NOTHING };
        let decision = host.decide(nic(10, 0), &frame(mac(10), stray(9), &[]), &out_of_band);
        assert_eq!(decision.verdict.drop_reason(), None, "{mode:?}");
        assert_eq!(decision.sent.needs_own_list(), own, "{mode:?} {}", out_of_band.vlan);
    }
}
