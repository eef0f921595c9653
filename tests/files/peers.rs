//! What others hold their own teams to (`tests/data/peers.csv`): Microsoft's documents on LBFO and SET, and the tests of Open
//! vSwitch, Linux bonding, the Linux team driver and DPDK net_bonding. Each case has a test of ours or a reason why it has none.

use super::tidy::{root, text};
use super::topics::is_run;
use std::collections::{BTreeMap, BTreeSet};

struct Row {
    peer: String,
    case: String,
    test: String,
    why_not: String,
}

fn rows() -> Vec<Row> {
    let table = text(&root().join("tests/data/peers.csv"));
    let mut lines = table.lines();
    assert_eq!(lines.next(), Some("peer,case,behaviour,test,why not"));
    let read = |line: &str| {
        let cells: Vec<String> = line.split(',').map(str::to_owned).collect();
        let [peer, case, behaviour, test, why_not] =
            <[String; 5]>::try_from(cells).unwrap_or_else(|cells| panic!("five cells: {cells:?}"));
        assert!(!behaviour.is_empty(), "{peer} {case} says nothing");
        Row { peer, case, test, why_not }
    };
    lines.map(read).collect()
}

#[test]
fn every_case_of_a_peer_has_a_test_of_ours_or_a_reason_and_stands_there_once() {
    let mut seen = BTreeSet::new();
    let mut tested: BTreeMap<String, usize> = BTreeMap::new();
    for row in rows() {
        let name = format!("{} {}", row.peer, row.case);
        assert_eq!(row.test.is_empty(), !row.why_not.is_empty(), "{name}");
        assert!(seen.insert(name.clone()), "{name} stands there twice");
        if !row.test.is_empty() {
            is_run(&row.test);
            *tested.entry(row.peer).or_default() += 1;
        }
    }
    let peers: BTreeSet<&str> = tested.keys().map(String::as_str).collect();
    assert_eq!(peers, BTreeSet::from(["dpdk", "linux-bonding", "linux-team", "microsoft", "open-vswitch"]));
    let all: usize = tested.values().sum();
    println!("{all} of {} cases have a test: {tested:?}", seen.len());
    assert!(2 * all > seen.len());
}

/// A reason that is no longer true is a case without a test.
#[test]
fn nothing_that_is_there_is_a_reason() {
    let reasons: BTreeSet<String> =
        rows().into_iter().map(|row| row.why_not).filter(|why| !why.is_empty()).collect();
    let core = root().join("teaming/src");
    let absent = [
        ("there is no LACP", "lacp"),
        ("members are not probed", "probe"),
        ("there is no policy Dynamic", "dynamic"),
    ];
    for (reason, module) in absent {
        assert!(reasons.contains(reason), "{reason}");
        let is_there = core.join(module).exists() || core.join(module).with_extension("rs").exists();
        assert!(!is_there, "{module} is there, and {reason:?} is still a reason");
    }
}
