//! The scenarios of the suite record only the events that `allowed` lists.

use super::{events, kind};
use std::collections::BTreeSet;
use vswitch::scenario::suite::CASES;

/// The events that a scenario of the suite may record in addition to those of every switch. In scenarios that detach
/// the module, only events since the last attachment count.
fn allowed(case: &str) -> &'static [&'static str] {
    match case {
        // Members that have queues go down.
        "queue_numbers" => &["QueuesLost"],
        // The queues of guests have their own processors, whatever the placement requires.
        "queue_numbers_of_copies" => &["QueuesLost", "ProcessorsConflict"],
        // References are refused, and the seed draws the number of queues of each adapter.
        "offloads" | "offloads_of_every_member" => &[
            "QueuesLost",
            "ProcessorsConflict",
            "RequestNotDirected",
            "PartlyDone",
            "HolderUnknown",
            "NotListed",
        ],
        "settings_change" => &["SettingIgnored"],
        // Some buffers have the room that the switch denies in another length.
        "saved_and_restored" => &["Restored", "RestoreDiscarded", "NotSaved"],
        "live_migration" => &["Restored", "NotSaved"],
        "detach_in_passing" => &["NotListed"],
        "failover_told_by_nobody" => &["LinkUnknown"],
        _ => &[],
    }
}

#[test]
fn the_scenarios_of_the_suite_write_only_the_events_that_they_should() {
    let everywhere = [
        "SettingsRead",
        "TeamChanged",
        "Settled",
        "LinkSource",
        "MemberDown",
        "MemberUp",
        "TeamDegraded",
        "TeamDown",
        "TeamWhole",
        "MemberFlapping",
    ];
    let mut wrong = Vec::new();
    for case in CASES {
        let mut written = BTreeSet::new();
        for seed in 0..6 {
            let net = (case.plan)(seed).start();
            (case.steps)(&net);
            for switch in 0..2 {
                let there = net.look(move |state| state.modules.len()).unwrap_or(0) > switch;
                if there {
                    written.extend(events(&net.on(switch), 0).iter().map(kind));
                }
            }
            net.finish().assert_clean();
        }
        written.retain(|kind| !everywhere.contains(kind));
        written.retain(|kind| !allowed(case.name).contains(kind));
        if !written.is_empty() {
            wrong.push(format!("{} wrote {written:?}", case.name));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
