//! Full forwarding through the real driver, judged frame by frame by a reference that knows only the documentation: VLANs,
//! private VLANs, addresses, subnets, groups, unknown addresses, and what a team takes in.

mod scenarios;

use scenarios::random::{Traffic, switch};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;
use vswitch::frames::Fate;
use vswitch::outcome::Outcome;
use vswitch::physical_switch::Aggregation;

const FRAMES: u64 = 1_000_000;
const FRAMES_OF_A_SWITCH: u64 = 2_000;

const TEAMS: [(&[u64], Aggregation); 4] = [
    (&[10], Aggregation::Static),
    (&[10], Aggregation::SwitchIndependent),
    (&[10, 10, 25, 25, 10, 40, 10, 10], Aggregation::Static),
    (&[10, 10, 25, 25, 10, 40, 10, 10], Aggregation::SwitchIndependent),
];

/// One drawn switch with its frames.
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

/// Policies of a drawn switch, for a report.
fn ports(seed: u64) -> Vec<String> {
    let (members, aggregation) = TEAMS[seed as usize % TEAMS.len()];
    let told = switch(seed, members, aggregation);
    told.port_properties().map(|(port, properties)| format!("{port}: {properties:?}")).collect()
}

/// What holds of every frame, counted here once more and without the reference.
fn no_frame_goes_wrong(outcome: &Outcome) -> (u64, u64) {
    let mut delivered = 0;
    for frame in &outcome.frames {
        assert!(!frame.fates.is_empty(), "frame {} has no end", frame.id);
        let mut seen = BTreeSet::new();
        for fate in &frame.fates {
            if let Fate::Delivered { to, .. } = fate {
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
    let (frames, delivered, next) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    let began = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while frames.load(Ordering::Relaxed) < FRAMES {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    let outcome = run(seed);
                    if !outcome.violations.is_empty() {
                        eprintln!("switch {seed}: {:#?}", ports(seed));
                    }
                    outcome.assert_clean();
                    let (sent, reached) = no_frame_goes_wrong(&outcome);
                    frames.fetch_add(sent, Ordering::Relaxed);
                    delivered.fetch_add(reached, Ordering::Relaxed);
                }
            });
        }
    });
    let (frames, delivered) = (frames.into_inner(), delivered.into_inner());
    println!(
        "{frames} frames over {} switches, {delivered} deliveries, {:?}",
        next.into_inner(),
        began.elapsed()
    );
    assert!(delivered * 4 > frames, "only {delivered} deliveries of {frames} frames");
}
