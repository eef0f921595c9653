//! What FilterPause waits for, and what it does not wait for.

use vswitch::mutation::Mutation;
use vswitch::scenario::outcome::Outcome;
use vswitch::scenario::suite::MS;
use vswitch::scenario::{Net, Scenario};

/// Number of seeds, each of which gives one interleaving.
const SEEDS: u64 = 400;

/// Frames from VM to VM while the module is paused and restarted. Time advances on another processor, on which receive
/// indications reach the extension; nothing completes inside the call that causes it, so that no send is in progress.
fn pauses_among_receives(plan: Scenario) -> Outcome {
    let net = plan
        .members(&[10, 10])
        .vms(2)
        .style(|style| (style.awkward_memory, style.nested) = (false, 0))
        .start();
    for n in 0..8 {
        net.send(net.vm(0), &[net.flow_between(net.vm(0), net.vm(1), n).frame(0, 60)]);
    }
    net.together(vec![
        ("time", Box::new(|net: &Net| net.advance(MS))),
        (
            "pause",
            Box::new(|net: &Net| {
                for _ in 0..4 {
                    net.pause();
                    net.restart();
                }
            }),
        ),
    ]);
    net.finish()
}

#[test]
fn a_receive_that_another_processor_is_passing_on_is_not_held() {
    for seed in 0..SEEDS {
        pauses_among_receives(Scenario::new(seed)).assert_clean();
    }
}

#[test]
fn a_receive_that_is_kept_across_a_pause_is_found() {
    let mutation = Some(Mutation::HoldReceiveAcrossPause);
    let broken = (0..40)
        .map(|seed| pauses_among_receives(Scenario::new(seed).config(|config| config.mutation = mutation)))
        .filter(|outcome| outcome.broken().contains("STATE-13"))
        .count();
    assert!(broken > 10, "found in {broken} of 40 interleavings");
}
