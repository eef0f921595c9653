//! Words: one for each thing, the one that the field uses.

use super::tidy::{code, root, sources, text};
use std::collections::BTreeSet;
use std::path::Path;

/// Identifiers that once stood for what the second of the pair says now.
const GONE: [(&str, &str); 38] = [
    ("Kind", "KeyKind, RequestType or PropertyType"),
    ("Entry", "HeldResource or NicOperations"),
    ("Station", "Vnic"),
    ("Outside", "External"),
    ("STATIONS_MAX", "POSITIONS_MAX"),
    ("station_key", "vnic_key"),
    ("member_of_station", "member_of_vnic"),
    ("on_station", "on_vnic"),
    ("is_outside", "is_external"),
    ("Beside", "OutOfBand"),
    ("BESIDE", "OutOfBand"),
    ("HOLD", "BATCH_LISTS"),
    ("REACH", "BATCH_DESTINATIONS"),
    ("Pause", "BatchEnd"),
    ("Family", "SplitParent"),
    ("bury", "SplitParent::free_child"),
    ("Book", "CapabilityTable"),
    ("Ledger", "OffloadResources"),
    ("kin", "existing_sa_member"),
    ("NOBODY", "NO_PARTITION"),
    ("Way", "OidDisposition"),
    ("Detour", "RedirectedRequest"),
    ("take_picture", "snapshot_switch"),
    ("take_notice", "next_lost_vf"),
    ("Here", "ThisCpu"),
    ("Pace", "RebalanceTimers"),
    ("Stamp", "BucketActivity"),
    ("risky", "deadline_moves"),
    ("Trust", "HashConfidence"),
    ("Offered", "NicHash"),
    ("Wanted", "RequestedVlans"),
    ("Sender", "SourcePort"),
    ("Sent", "FrameTag"),
    ("Room", "PortTableStorage"),
    ("new_ledger", "new_resources"),
    ("with_ledger", "with_resources"),
    ("reference_station", "reference_vnic"),
    ("create_station", "create_vnic"),
];

/// The same for the tests and the tool.
const GONE_IN_TESTS: [(&str, &str); 20] = [
    ("Misdeed", "Mutation"),
    ("misdeed", "mutation"),
    ("Bend", "Injection"),
    ("bend", "inject"),
    ("Bent", "Injected"),
    ("bent", "injected"),
    ("Fate", "FrameOutcome, RequestOutcome"),
    ("fate", "outcome"),
    ("fates", "outcomes"),
    ("Station", "VnicAddress"),
    ("station", "vnic"),
    ("stations", "vnics"),
    ("Outside", "ExternalNetwork"),
    ("from_outside", "external"),
    ("one_machine", "one_vm"),
    ("tour", "full_scenario"),
    ("stories", "scenarios"),
    ("beside", "out_of_band, queue_numbers"),
    ("Slot", "ThreadSlot"),
    ("receive_from_outside", "receive_external"),
];

/// Files of the core and of the driver that went into rooms under another name.
const FILES: [&str; 14] = [
    "src/filter.rs",
    "src/publish.rs",
    "teaming/src/capabilities.rs",
    "teaming/src/changes.rs",
    "teaming/src/learn.rs",
    "teaming/src/operations.rs",
    "teaming/src/payload.rs",
    "teaming/src/room.rs",
    "teaming/src/runtime_state.rs",
    "teaming/src/sender.rs",
    "teaming/src/slots.rs",
    "teaming/src/spread.rs",
    "teaming/src/switch.rs",
    "teaming/src/table.rs",
];

fn assert_without(gone: &[(&str, &str)], path: &Path) {
    let text = text(path);
    for (number, line) in code(&text) {
        let line = line.split("//").next().unwrap_or_default();
        let words: BTreeSet<&str> = line.split(|c: char| !(c.is_alphanumeric() || c == '_')).collect();
        for (gone, now) in gone {
            assert!(!words.contains(gone), "{}:{number}: {gone} is {now} now", path.display());
        }
    }
}

#[test]
fn no_word_that_was_given_up_comes_back() {
    for path in ["src", "teaming/src"].into_iter().flat_map(sources) {
        assert_without(&GONE, &path);
    }
    let tests = ["tests", "perf"].into_iter().flat_map(sources);
    for path in tests.filter(|path| !path.ends_with(file!())) {
        assert_without(&GONE_IN_TESTS, &path);
    }
    for file in FILES {
        assert!(!root().join(file).exists(), "{file} is in a room now: src/ARCHITECTURE.md names it");
    }
}
