//! Explanations against what the driver did in the simulated switch: random frames of all kinds, captured ones, fragments,
//! tunnels, tags and damage.

mod teams;
mod traffic;

use super::explained::{Explained, Subject, Way, What};
use super::model::{Model, vnic};
use crate::args::Mode;
use crate::observer::is_own;
use std::collections::HashMap;
use std::time::{Duration, Instant};
use teaming::flow::{HashPolicy, POLICIES};
use teaming::frame::TunnelPorts;
use teaming::ids::{MacAddr, NicId, NicIndex, PortId};
use teams::{PORTS, SECOND, Team, machines, teams};
use traffic::{OUTSIDE, Traffic};
use vswitch::machine::registry::Value;
use vswitch::scenario::{EXTERNAL_PORT, Net};
use vswitch::switch::frames::{Frame, FrameOutcome, Frames};
use vswitch::switch::ndis::State;

/// Frames between two looks at what became of them.
const ROUND: usize = 1_024;
/// Frames of one chain.
const CHAIN: usize = 32;

type Explain<'a> = &'a mut dyn FnMut(&mut Model, Subject, &[(NicId, MacAddr)]) -> Explained;

fn honest(model: &mut Model, subject: Subject, machines: &[(NicId, MacAddr)]) -> Explained {
    Explained::new(model, subject, machines)
}

fn subject(bytes: &[u8], source: NicId) -> Subject {
    Subject { text: String::new(), bytes: bytes.to_vec(), cut: false, source, notes: Vec::new() }
}

#[derive(Default)]
struct Tally {
    frames: usize,
    by_way: HashMap<&'static str, usize>,
    by_basis: HashMap<&'static str, usize>,
    lent: usize,
    disagreements: Vec<String>,
    explaining: Duration,
}

/// A member by which frames come in.
fn up(model: &Model) -> u16 {
    model.live().iter().next().map_or(1, |member| member.get().into())
}

/// Sends frames and compares what became of each with its explanation.
fn compare(
    net: &Net,
    model: &mut Model,
    frames: &[(usize, Vec<u8>)],
    explain: Explain<'_>,
    tally: &mut Tally,
) {
    let machines = machines(net);
    for round in frames.chunks(ROUND) {
        net.world()
            .enter(|| {
                for chain in
                    round.chunk_by(|(one, _), (other, _)| one == other).flat_map(|same| same.chunks(CHAIN))
                {
                    let bytes: Vec<Vec<u8>> = chain.iter().map(|(_, bytes)| bytes.clone()).collect();
                    match chain[0].0 {
                        OUTSIDE => net.receive_external(up(model), &bytes),
                        machine => net.send(net.vm(machine as u16), &bytes),
                    }
                }
            })
            .expect("it runs");
        net.settle();
        for (frame, members) in finished(net) {
            let source = NicId::new(PortId::new(frame.from.port), NicIndex::new(frame.from.index));
            let began = Instant::now();
            let told = explain(model, subject(&frame.bytes, source), &machines);
            tally.explaining += began.elapsed();
            tally.count(&told);
            if let Some(why) = differs(&told, &frame, &members) {
                tally.disagreements.push(format!(
                    "{why}: {}: {:02x?}",
                    super::print::text(&told),
                    frame.bytes
                ));
            }
        }
    }
}

impl Tally {
    fn count(&mut self, told: &Explained) {
        self.frames += 1;
        let way = match told.way {
            Way::External => "outside",
            Way::OneMachine => "machine",
            Way::Several => "several",
            Way::SwitchItself => "native",
            Way::Dropped => "dropped",
        };
        *self.by_way.entry(way).or_default() += 1;
        if let Some(choice) = &told.choice {
            *self.by_basis.entry(choice.basis).or_default() += 1;
            self.lent += usize::from(choice.lent_to.is_some());
        }
    }
}

/// The frames that came to an end since the last call, each with the members that the driver committed for it.
fn finished(net: &Net) -> Vec<(Frame, Vec<u16>)> {
    let all = net.look(|state| {
        let State { frames: Frames { all, assignments, .. }, modules, .. } = state;
        let mut members: HashMap<usize, Vec<u16>> = HashMap::new();
        for assignment in assignments.drain(..) {
            members.entry(assignment.frame).or_default().push(assignment.member);
        }
        let mut finished = Vec::new();
        while let Some(frame) = all.take_oldest(0) {
            let committed = members.remove(&frame.id).unwrap_or_default();
            if !is_own(&frame) {
                finished.push((frame, committed));
            }
        }
        assert!(members.is_empty(), "frames without an end");
        let external = &mut modules[0].external;
        external.arrivals.clear();
        if let Some((last, _)) = finished.last() {
            external.physical.forget_before(last.id + 1);
        }
        finished
    });
    all.expect("it runs")
}

/// What the driver did with a frame, if it is not what was told.
fn differs(told: &Explained, frame: &Frame, members: &[u16]) -> Option<String> {
    if !told.agrees {
        return Some("the steps lead elsewhere".to_owned());
    }
    let committed: Vec<u16> = told.member.map(u16::from).into_iter().collect();
    if committed != members {
        return Some(format!("the driver committed {members:?}"));
    }
    let fits = |end: &FrameOutcome| match (told.way, end) {
        (Way::External, FrameOutcome::Delivered { to, .. }) => to.port == EXTERNAL_PORT,
        (Way::OneMachine, FrameOutcome::Delivered { to, .. }) => told
            .way_text
            .starts_with(&format!("to machine {},", to.port - vswitch::scenario::FIRST_VM_PORT + 1)),
        (Way::Several, FrameOutcome::Delivered { .. }) => true,
        (Way::Several, FrameOutcome::Filtered { .. }) => told.member.is_none(),
        (Way::Dropped, FrameOutcome::Filtered { reason }) => told.way_text.contains(reason),
        _ => false,
    };
    let ends = &frame.outcomes;
    (ends.is_empty() || !ends.iter().all(fits)).then(|| format!("it ended by {ends:?}"))
}

/// Stops the switch: nothing was broken.
fn end(net: Net, team: &Team) {
    let outcome = net.finish();
    if team.rules.mode == Mode::Static {
        return outcome.assert_clean();
    }
    // The simulated physical switch learns an address once for all VLANs, and knows of no reason why the policy changes.
    let broken: Vec<_> = outcome.broken().into_iter().filter(|rule| *rule != "SWITCH-FLAP").collect();
    assert!(broken.is_empty(), "{broken:?}");
}

/// Runs `count` frames over every team.
fn over_all_teams(count: usize, seed: u64, report: bool) {
    let teams = teams();
    let each = count.div_ceil(teams.len());
    let mut all = Tally::default();
    for (number, team) in (1..).zip(&teams) {
        let net = team.net(seed + number);
        let machines = machines(&net);
        let mut model = team.model(&machines);
        let mut traffic = Traffic::new(seed + number, team, &machines);
        let mut left = each;
        while left != 0 {
            let part = left.min(16 * ROUND);
            left -= part;
            let frames: Vec<_> = (0..part).map(|_| traffic.next()).collect();
            compare(&net, &mut model, &frames, &mut honest, &mut all);
            assert!(
                all.disagreements.is_empty(),
                "{} of {} frames, the first: {}",
                all.disagreements.len(),
                all.frames,
                all.disagreements[0]
            );
        }
        end(net, team);
    }
    if report {
        println!(
            "{} frames, {:.1} us each to explain: {:?}, {:?}, {} lent",
            all.frames,
            all.explaining.as_secs_f64() * 1e6 / all.frames as f64,
            all.by_way,
            all.by_basis,
            all.lent
        );
    }
    assert!(all.frames >= count);
    for way in ["outside", "machine", "several", "dropped"] {
        assert!(all.by_way.get(way).is_some_and(|frames| *frames > count / 200), "{way}: {:?}", all.by_way);
    }
    for basis in teaming::flow::BASES {
        assert!(
            all.by_basis.get(basis.name()).is_some_and(|frames| *frames > count / 5_000),
            "{:?}",
            all.by_basis
        );
    }
    assert!(all.lent > count / 50, "{}", all.lent);
}

#[test]
fn explanations_say_what_the_driver_does_with_frames_of_every_kind() {
    over_all_teams(100_000, 1, false);
}

/// `LBFOEXT_EXPLAINED` is the number of frames.
#[test]
#[ignore = "takes minutes: bash .ci/run long"]
fn explanations_say_what_the_driver_does_with_ten_million_frames() {
    let count = std::env::var("LBFOEXT_EXPLAINED").ok().and_then(|count| count.parse().ok());
    let seed = std::env::var("LBFOEXT_SEED").ok().and_then(|seed| seed.parse().ok());
    over_all_teams(count.unwrap_or(10_000_000), seed.unwrap_or(1_000), true);
}

/// Each fault is in explaining, not in the driver.
#[test]
fn a_fault_planted_in_the_explanation_is_found() {
    type Plant = fn(&mut Model, Subject, &[(NicId, MacAddr)]) -> Explained;
    let usual = Team::new(HashPolicy::TransportPorts, &[10, 10, 25, 10], &[2]);
    let of = |policy| Team::new(policy, &[10, 10, 25, 10], &[2]);
    let at_ports = of(HashPolicy::Encapsulated).with(|rules| rules.tunnels = PORTS);
    let exchanged = at_ports.clone().with(|rules| {
        rules.tunnels = TunnelPorts { vxlan: PORTS.geneve, geneve: PORTS.vxlan };
    });
    let rows: Vec<(&str, Team, Team, Plant)> = vec![
        ("none", usual.clone(), usual.clone(), honest),
        ("another seed", usual.clone(), usual.clone().with(|rules| rules.hash_seed = 1), honest),
        ("all members up", usual.clone(), Team { down: vec![], ..usual.clone() }, honest),
        ("another member down", usual.clone(), Team { down: vec![4], ..usual.clone() }, honest),
        ("equal speeds", usual.clone(), Team { speeds: vec![10; 4], ..usual.clone() }, honest),
        ("addresses alone", usual.clone(), of(HashPolicy::IpAddresses), honest),
        ("tunnels not entered", of(HashPolicy::Encapsulated), usual.clone(), honest),
        ("tunnels entered", usual.clone(), of(HashPolicy::Encapsulated), honest),
        ("ports of tunnels left out", at_ports.clone(), of(HashPolicy::Encapsulated), honest),
        ("ports of tunnels for none", of(HashPolicy::Encapsulated), at_ports.clone(), honest),
        ("VXLAN and GENEVE exchanged", at_ports.clone(), exchanged, honest),
        ("flow labels left out", usual.clone().with(|rules| rules.flow_label = true), usual.clone(), honest),
        ("ends not in order", usual.clone().with(|rules| rules.symmetric = true), usual.clone(), honest),
        ("VLANs left out", of(HashPolicy::VlanSourceMac), of(HashPolicy::HyperVPort), honest),
        ("the home for the carrier", usual.clone(), usual.clone(), |model, subject, machines| {
            let told = honest(model, subject, machines);
            let home = told.choice.as_ref().and_then(|choice| choice.home);
            Explained { member: told.member.and(home), ..told }
        }),
        ("a window of 64 bytes", usual.clone(), usual.clone(), |model, mut subject, machines| {
            subject.bytes.truncate(64);
            honest(model, subject, machines)
        }),
        ("ports of fragments", usual.clone(), usual.clone(), |model, mut subject, machines| {
            if let Some(&mut [8, 0, 0x45, _, _, _, _, _, ref mut flags, ref mut offset]) =
                subject.bytes.get_mut(12..22)
            {
                (*flags, *offset) = (0, 0);
            }
            honest(model, subject, machines)
        }),
        (
            "another machine's port",
            of(HashPolicy::HyperVPort),
            of(HashPolicy::HyperVPort),
            |model, subject, machines| {
                let source = vnic(usize::from(subject.source == vnic(0)));
                honest(model, Subject { source, ..subject }, machines)
            },
        ),
        ("a bid too low", usual.clone(), usual.clone(), |model, subject, machines| {
            let mut told = honest(model, subject, machines);
            let worst = told.choice.as_ref().and_then(|choice| choice.bids.last()).map(|bid| bid.member);
            told.member = told.member.and(worst.or(told.member));
            told
        }),
    ];
    for (name, real, told, plant) in rows {
        let net = real.net(5);
        let machines = machines(&net);
        let mut model = told.model(&machines);
        let mut traffic = Traffic::new(9, &real, &machines);
        let frames: Vec<_> = (0..4_000).map(|_| traffic.next()).collect();
        let mut tally = Tally::default();
        compare(&net, &mut model, &frames, &mut { plant }, &mut tally);
        assert_eq!(
            tally.disagreements.is_empty(),
            name == "none",
            "{name}: {:?}",
            tally.disagreements.first()
        );
        end(net, &real);
    }
}

/// A change that was foretold, made.
#[test]
fn what_would_change_the_member_changes_it_as_foretold() {
    for team in [
        Team::new(HashPolicy::TransportPorts, &[10, 10, 10, 10], &[3]),
        Team::new(HashPolicy::Encapsulated, &[25, 10, 1], &[1]),
        Team::new(HashPolicy::HyperVPort, &[10, 40, 10], &[2])
            .with(|rules| rules.mode = Mode::SwitchIndependent),
    ] {
        let net = team.net(3);
        let machines = machines(&net);
        let mut model = team.model(&machines);
        let mut traffic = Traffic::new(3, &team, &machines);
        traffic.inward = false;
        let frames: Vec<_> = (0..1_200).map(|_| traffic.next()).collect();
        let foretold: Vec<Vec<(What, String, Option<u8>)>> = frames
            .iter()
            .map(|(from, bytes)| {
                let told = honest(&mut model, subject(bytes, vnic(*from)), &machines);
                told.changes.into_iter().map(|change| (change.what, change.value, change.member)).collect()
            })
            .collect();
        let mut kinds: Vec<(What, String)> = Vec::new();
        for (what, value, _) in foretold.iter().flatten() {
            if !kinds.contains(&(*what, value.clone())) {
                kinds.push((*what, value.clone()));
            }
        }
        assert!(kinds.len() > team.speeds.len() + 1, "{kinds:?}");
        let mut compared = 0;
        for (what, value) in kinds.iter().take(24) {
            let back = make(&net, &team, *what, value);
            for (number, round) in (0..).step_by(ROUND).zip(frames.chunks(ROUND)) {
                net.world()
                    .enter(|| {
                        round.iter().for_each(|(from, bytes)| {
                            net.send(net.vm(*from as u16), std::slice::from_ref(bytes))
                        })
                    })
                    .expect("it runs");
                net.settle();
                for ((_, members), foretold) in finished(&net).into_iter().zip(&foretold[number..]) {
                    let Some((.., expected)) = foretold.iter().find(|(w, v, _)| w == what && v == value)
                    else {
                        continue;
                    };
                    let expected: Vec<u16> = expected.map(u16::from).into_iter().collect();
                    assert_eq!(members, expected, "{what:?} {value}");
                    compared += 1;
                }
            }
            back(&net);
            net.advance(2 * SECOND);
        }
        assert!(compared > 2_000, "{compared}");
        end(net, &team);
    }
}

/// Makes a change in the switch; gives how to take it back.
fn make(net: &Net, team: &Team, what: What, value: &str) -> Box<dyn Fn(&Net)> {
    let number = value.parse::<u64>().unwrap_or(0);
    let member = u16::try_from(number).unwrap_or(0);
    let rules = team.rules;
    let back: Box<dyn Fn(&Net)> = match what {
        What::MemberFails => {
            net.fail(member);
            Box::new(move |net: &Net| net.restore(member))
        }
        What::MemberReturns => {
            net.restore(member);
            Box::new(move |net: &Net| net.fail(member))
        }
        What::HashSeed => {
            net.set("HashSeed", Value::Qword(number));
            Box::new(move |net: &Net| net.set("HashSeed", Value::Qword(rules.hash_seed)))
        }
        What::Policy => {
            let policy = POLICIES.into_iter().find(|policy| policy.row().words == value).expect("a policy");
            net.set("LoadBalancingAlgorithm", Value::Dword(policy.number().into()));
            Box::new(move |net: &Net| {
                net.set("LoadBalancingAlgorithm", Value::Dword(rules.policy.number().into()))
            })
        }
    };
    // The link must have been up for 2 s, and flows move in a pause.
    net.advance(5 * SECOND);
    back
}
