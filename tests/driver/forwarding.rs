//! Forwarding by the real driver, compared frame by frame with a reference that is written from the documentation
//! alone: VLANs, private VLANs, addresses, virtual subnets, multicast groups, unknown addresses, and frames from team
//! members.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use vswitch::adapter::physical_switch::Aggregation;
use vswitch::scenario::guest::{BROADCAST, Flow, Packet};
use vswitch::scenario::outcome::Outcome;
use vswitch::scenario::suite::depth::{each, seeds};
use vswitch::scenario::suite::policies::{access, private_plan};
use vswitch::scenario::suite::random::{Traffic, insert_tag, insert_tag_of, switch};
use vswitch::scenario::{EXTERNAL_PORT, Scenario};
use vswitch::switch::frames::FrameOutcome;
use vswitch::switch::ports::policy::{Property, Vlan};

/// Number of random switches, with more than 2,000 frames each.
const SWITCHES: u64 = 100;
const FRAMES_OF_A_SWITCH: u64 = 2_000;

const TEAMS: [(&[u64], Aggregation); 4] = [
    (&[10], Aggregation::Static),
    (&[10], Aggregation::SwitchIndependent),
    (&[10, 10, 25, 25, 10, 40, 10, 10], Aggregation::Static),
    (&[10, 10, 25, 25, 10, 40, 10, 10], Aggregation::SwitchIndependent),
];

/// Runs one random switch with its frames.
fn run(seed: u64) -> Outcome {
    let (members, aggregation) = TEAMS[seed as usize % TEAMS.len()];
    let net = switch(seed, members, aggregation)
        .style(|style| {
            style.awkward_memory = seed % 8 == 7;
            style.nested = 100;
            style.pending = 0;
        })
        .start();
    Traffic::new(seed, members.len()).send(&net, FRAMES_OF_A_SWITCH as usize);
    net.settle();
    net.finish()
}

/// The policies of a random switch, for the message of a failure.
fn ports(seed: u64) -> Vec<String> {
    let (members, aggregation) = TEAMS[seed as usize % TEAMS.len()];
    let told = switch(seed, members, aggregation);
    told.port_properties().map(|(port, properties)| format!("{port}: {properties:?}")).collect()
}

/// Checks properties of every frame without the reference.
fn no_frame_goes_wrong(outcome: &Outcome) -> (u64, u64) {
    let mut delivered = 0;
    for frame in &outcome.frames {
        assert!(!frame.outcomes.is_empty(), "frame {} has no end", frame.id);
        let mut seen = BTreeSet::new();
        for end in &frame.outcomes {
            if let FrameOutcome::Delivered { to, .. } = end {
                assert!(seen.insert(*to), "frame {} reached {to} twice", frame.id);
                assert_ne!(*to, frame.from, "frame {} came back to its source", frame.id);
                assert!(
                    !(to.port == frame.from.port && to.port == 1),
                    "frame {} went from member {} to member {}",
                    frame.id,
                    frame.from.index,
                    to.index
                );
                delivered += 1;
            }
        }
        let uplinks = seen.iter().filter(|to| to.port == 1).count();
        assert!(uplinks <= 1, "frame {} left through {uplinks} members", frame.id);
    }
    (outcome.frames.len() as u64, delivered)
}

#[test]
fn random_frames_over_random_switches_go_where_the_documentation_says() {
    let (frames, delivered) = (AtomicU64::new(0), AtomicU64::new(0));
    each(&Vec::from_iter(seeds(SWITCHES)), |&seed| {
        let outcome = run(seed);
        if !outcome.violations.is_empty() {
            eprintln!("switch {seed}: {:#?}", ports(seed));
        }
        outcome.assert_clean();
        let (sent, reached) = no_frame_goes_wrong(&outcome);
        frames.fetch_add(sent, Ordering::Relaxed);
        delivered.fetch_add(reached, Ordering::Relaxed);
    });
    let (frames, delivered) = (frames.into_inner(), delivered.into_inner());
    println!("{frames} frames over the switches {:?}, {delivered} deliveries", seeds(SWITCHES));
    assert!(delivered * 4 > frames, "only {delivered} deliveries of {frames} frames");
}

/// For each of seven VMs, which of them receive its frame, unicast and flooded: isolated, isolated, two of community
/// A, one of community B, promiscuous, and one in access mode without private VLANs.
const PAIRS: [&str; 7] = ["0000010", "0000010", "0001010", "0010010", "0000010", "1111100", "0000000"];

#[test]
fn private_vlans_let_through_what_the_matrix_of_pairs_says() {
    for seed in 0..12 {
        let net = private_plan(seed).start();
        for from in 0..7 {
            let source = net.vm(from);
            for to in 0..7 {
                net.send(source, &[net.flow_between(source, net.vm(to), 1).frame(u32::from(to), 60)]);
            }
            net.send(source, &[Flow { to: BROADCAST, ..net.flow(source, 1) }.frame(9, 60)]);
        }
        net.settle();
        let outcome = net.finish();
        outcome.assert_clean();
        for (from, row) in PAIRS.into_iter().enumerate() {
            let got = |frame: usize, to: u32| {
                let at = |end: &FrameOutcome| matches!(end, FrameOutcome::Delivered { to: at, .. } if at.port == 10 + to);
                outcome.frames[8 * from + frame].outcomes.iter().any(at)
            };
            let single: String = (0..7).map(|to| if got(to, to as u32) { '1' } else { '0' }).collect();
            let flood: String = (0..7).map(|to| if got(7, to) { '1' } else { '0' }).collect();
            assert_eq!([single.as_str(), flood.as_str()], [row; 2], "from VM {from}, seed {seed}");
        }
    }
}

/// The tag of a frame: none, out-of-band, or in its bytes.
#[derive(Clone, Copy, Debug)]
enum Tagged {
    No,
    OutOfBand(u16),
    Inside(u16),
    /// A service tag in its bytes, of one kind or the other.
    Service(u16, u16),
    /// The same with another VLAN beside the bytes.
    Around(u16, u16),
}
use Tagged::{Around, Inside, No, OutOfBand, Service};

/// A frame of VM 0 or of the external network, and the ports that receive it: an access port of VLAN 7, one of VLAN 8,
/// one without a VLAN, a trunk for 7 and 8 with 8 native and 9 pruned; and its VLAN on the wire, if it leaves.
const ROWS: &[(&str, Tagged, &str, Option<u16>)] = &[
    ("access 7", No, "1001", Some(7)),
    ("access 7", OutOfBand(0), "1001", Some(7)),
    ("access 7", OutOfBand(8), "0000", None),
    ("access 7", Inside(8), "0000", None),
    ("none", No, "0010", Some(0)),
    ("none", OutOfBand(7), "0000", None),
    ("none", Inside(7), "0000", None),
    ("trunk", No, "0101", Some(8)),
    ("trunk", OutOfBand(7), "1001", Some(7)),
    ("trunk", OutOfBand(8), "0101", Some(8)),
    ("trunk", OutOfBand(9), "0000", None),
    ("trunk", OutOfBand(10), "0000", None),
    ("trunk", Inside(7), "1001", Some(7)),
    ("trunk", Inside(8), "0101", Some(8)),
    ("trunk", Inside(9), "0000", None),
    ("external", No, "0010", None),
    ("external", OutOfBand(7), "1001", None),
    ("external", OutOfBand(8), "0101", None),
    ("external", OutOfBand(9), "0000", None),
    ("external", Inside(7), "1001", None),
    ("external", Inside(8), "0101", None),
    ("access 7", Service(0x88A8, 7), "0000", None),
    ("access 7", Service(0x9100, 8), "0000", None),
    ("none", Service(0x88A8, 7), "0000", None),
    ("trunk", Service(0x88A8, 7), "0001", Some(8)),
    ("trunk", Service(0x9100, 7), "0001", Some(8)),
    ("trunk", Service(0x88A8, 9), "0000", None),
    ("trunk", Service(0x9100, 10), "0000", None),
    ("trunk", Around(7, 10), "0001", Some(7)),
    ("trunk", Around(9, 7), "0000", None),
    ("external", Service(0x88A8, 7), "0000", None),
    ("external", Around(7, 7), "0001", None),
    ("external", Around(8, 7), "0001", None),
    ("external", Around(8, 9), "0001", None),
];

fn trunk() -> Property {
    Property::Vlan(Vlan::Trunk { native: 8, allowed: [7, 8, 9].into(), pruned: [9].into() })
}

/// Forms in which a switch expresses that its external port has no VLAN configuration: no property; access VLAN 0, as
/// for every port that is not configured; a property of VLAN 0 or without a mode, from before or after the module was
/// attached.
const UNSAID: [(&str, Option<Vlan>, bool); 6] = [
    ("no property", None, false),
    ("reported", None, true),
    ("found as access VLAN 0", Some(Vlan::Access(0)), false),
    ("found without a mode", Some(Vlan::Unknown), false),
    ("added as access VLAN 0", Some(Vlan::Access(0)), true),
    ("added without a mode", Some(Vlan::Unknown), true),
];

#[test]
fn every_row_of_the_vlan_table_holds_for_floods_however_nothing_is_said_about_the_external_port() {
    UNSAID.iter().for_each(rows_hold);
}

fn rows_hold((told, property, late): &(&str, Option<Vlan>, bool)) {
    let property = property.clone().map(Property::Vlan);
    for (seed, (source, tagged, expected, external)) in (0..).zip(ROWS) {
        let plan = Scenario::new(seed).members(&[10]).vms(5);
        let plan = match (&property, late) {
            (Some(property), false) => plan.port_property(EXTERNAL_PORT, property.clone()),
            (Some(_), true) => plan,
            (None, late) => plan.style(|style| style.silent_about_vlans = if *late { 0 } else { 100 }),
        };
        let plan = match *source {
            "access 7" => plan.property(0, access(7)),
            "trunk" => plan.property(0, trunk()),
            _ => plan,
        };
        let net = plan.property(1, access(7)).property(2, access(8)).property(4, trunk()).start();
        if let (Some(property), true) = (&property, late) {
            assert!(net.add_property(EXTERNAL_PORT, 1, property.clone()), "{told}");
        }
        let flow =
            if *source == "external" { net.external_flow(net.vm(0), 1) } else { net.flow(net.vm(0), 1) };
        let mut frame = Flow { to: BROADCAST, ..flow }.frame(1, 60);
        if let Inside(vid) = *tagged {
            insert_tag(&mut frame, vid, 0);
        }
        if let Service(tpid, vid) = *tagged {
            insert_tag_of(&mut frame, tpid, vid, 0);
        }
        if let Around(_, vid) = *tagged {
            insert_tag_of(&mut frame, 0x88A8, vid, 0);
        }
        let packet = match *tagged {
            OutOfBand(vid) | Around(vid, _) => Packet::tagged(frame, vid, 3),
            No | Inside(_) | Service(..) => Packet::of(frame),
        };
        match *source {
            "external" => net.receive_external_packets(1, vec![packet]),
            _ => net.send_packets(vec![(net.vm(0), packet)]),
        }
        net.settle();
        let outcome = net.finish();
        outcome.assert_clean();
        let wire: BTreeMap<usize, u16> = outcome.arrivals.iter().map(|a| (a.frame, a.vid)).collect();
        let got: String = [1, 2, 3, 4]
            .map(|vm| {
                let at = |end: &FrameOutcome| matches!(end, FrameOutcome::Delivered { to, .. } if to.port == 10 + vm);
                if outcome.frames[0].outcomes.iter().any(at) { '1' } else { '0' }
            })
            .iter()
            .collect();
        assert_eq!(
            (got.as_str(), wire.get(&0).copied()),
            (*expected, *external),
            "from {source}, {tagged:?}, {told}"
        );
    }
}
