//! The rows for requests that the extension originates for its own purpose, to the switch and to members.

use super::matrix::Counts;
use super::rows::request_type_of;
use super::seen::{self, assert_asked, assert_own_purpose};
use super::{arrived_since, mark, team};
use crate::module::look;
use std::collections::BTreeSet;
use teaming::oid::{OIDS, OidContext, Row, oids};
use vswitch::scenario::{Net, Scenario};

/// Percentage of requests that complete late, and of those that complete inside the call.
const STYLES: [(&str, u64, u64); 3] = [("AtOnce", 0, 0), ("Later", 100, 0), ("InsideTheCall", 100, 100)];

fn rows() -> impl Iterator<Item = &'static Row> {
    OIDS.iter().filter(|row| row.place == OidContext::Own)
}

/// Whether the request is a query to the switch, which is not encapsulated.
fn is_of_switch(row: &Row) -> bool {
    row.words().name.starts_with("OID_SWITCH_")
}

/// What is asked only where there is a queue or a filter.
const OF_ONE: [u32; 2] = [oids::RECEIVE_FILTER_QUEUE_PARAMETERS, oids::RECEIVE_FILTER_PARAMETERS];

/// What every member is asked, whatever it holds.
fn to_members() -> BTreeSet<u32> {
    let asked = rows().filter(|row| !is_of_switch(row) && !OF_ONE.contains(&row.oid));
    asked.map(|row| row.oid).collect()
}

fn start(seed: u64, pending: u64, inside: u64) -> Net {
    let styled = |plan: Scenario| plan.style(|style| (style.pending, style.inside) = (pending, inside));
    let net = styled(team(seed)).tear_down(false).start();
    net.advance(1_000);
    net
}

/// Asserts that the queries to the member are well formed; returns their OIDs.
fn assert_well_asked(net: &Net, mark: usize, member: u16) -> BTreeSet<u32> {
    let arrived = arrived_since(net, mark);
    arrived
        .iter()
        .filter(|one| seen::is_own(one))
        .for_each(|one| assert_own_purpose(one, seen::destination(one)));
    let of = arrived.iter().filter(|one| seen::destination(one) == net.member(member));
    of.map(|one| one.inner.oid).collect()
}

/// At the start of the switch every row is queried from every member, in each way of completion.
fn answered(counts: &mut Counts) {
    for (name, pending, inside) in STYLES {
        for seed in 0..4 {
            let net = start(seed, pending, inside);
            for member in 1..=3 {
                assert_eq!(assert_well_asked(&net, 0, member), to_members(), "member {member}, {name}");
            }
            let asked = net.look(|s| s.control.nics.asked.clone()).unwrap();
            for row in rows().filter(|row| is_of_switch(row)) {
                let mut of_row = asked.iter().map(|asked| asked.0).filter(|r| r.oid == row.oid).peekable();
                assert!(of_row.peek().is_some(), "{} was not asked", row.words().name);
                of_row.for_each(|r| assert_asked(&r, request_type_of(row.kinds[0])));
            }
            net.start_queue(net.vm(0)).expect("there is one");
            let mark = mark(&net);
            net.detach();
            net.attach();
            net.advance(1_000);
            for oid in OF_ONE {
                let asked = (1..=3).any(|member| assert_well_asked(&net, mark, member).contains(&oid));
                assert!(asked, "a member was not asked about its queue or filter ({oid:#x}), {name}");
            }
            net.finish().assert_clean();
        }
        *counts.entry(name.to_owned()).or_default() += rows().count() as u32;
    }
}

/// A member that is connected again is queried: each call fails in turn, and only the query of that call is lost.
fn refused_by_members(counts: &mut Counts) {
    for n in 1.. {
        let net = start(5, 50, 50);
        net.unplug(3);
        let mark = mark(&net);
        net.world().fail_from_here(n);
        net.replug(3);
        net.advance(10_000);
        let Some(site) = net.world().injected_fault() else {
            net.finish().assert_clean();
            return;
        };
        net.world().fail_from_here(u64::MAX / 2);
        // What a member holds it is asked all at once, again after a failure.
        let lists = |oid: &u32| {
            (0x0001_0225..=0x0001_0229).contains(oid) || (0x0001_0243..=0x0001_0248).contains(oid)
        };
        let asked = assert_well_asked(&net, mark, 3);
        let lost = to_members().difference(&asked).filter(|oid| !lists(oid)).count();
        net.advance(10_000_000);
        let asked = assert_well_asked(&net, mark, 3);
        match site {
            "OID_SWITCH_NIC_REQUEST" => assert_eq!(lost, 0, "a question after a failed one"),
            "ReferenceSwitchNic" => {
                assert!(lost <= 1, "{lost} questions lost with one reference");
                assert!(to_members().is_subset(&asked), "a question is lost with one reference");
            }
            // The request that connects the member fails, or is forwarded without a clone.
            _ => {}
        }
        *counts.entry(format!("without {site}")).or_default() += 1;
        let held = net.look(|s| s.modules[0].topology.nics().map(|nic| nic.references).sum::<u32>());
        assert_eq!(held, Some(0), "{site}: a reference is left");
        net.finish().assert_clean();
    }
}

/// References are refused: no query is sent, and nothing leaks.
fn unreferenced(counts: &mut Counts) {
    let net = start(6, 50, 50);
    net.unplug(3);
    let mark = mark(&net);
    net.look(|s| s.style.refuse_references = 100);
    net.replug(3);
    net.advance(10_000);
    assert_eq!(assert_well_asked(&net, mark, 3), BTreeSet::new());
    net.look(|s| s.style.refuse_references = 0);
    net.finish().assert_clean();
    *counts.entry("Unreferenced".to_owned()).or_default() += to_members().len() as u32;
}

/// The switch fails a query, or there is no memory for it: the module runs, and has the answer a second later.
fn refused_by_the_switch(counts: &mut Counts) {
    let mut failed = BTreeSet::new();
    for n in 1.. {
        let net = start(7, 50, 50);
        net.detach();
        net.world().fail_from_here(n);
        let runs = net.attach();
        let Some(site) = net.world().injected_fault() else {
            assert!(runs);
            net.finish().assert_clean();
            break;
        };
        net.world().fail_from_here(u64::MAX / 2);
        if let Some(row) = rows().find(|row| row.words().name == site) {
            assert!(runs, "the module does not run because of {site}");
            failed.insert(row.words().name);
        }
        // Without memory the module may not be attached.
        assert!(runs || net.attach(), "{site} failed once and all is lost");
        net.advance(10_000_000);
        let owed = look(&net, |module| module.control.lock().enumeration.is_owed());
        assert_eq!(owed, Some(false), "{site} failed once and was not asked again");
        *counts.entry(format!("without {site}")).or_default() += 1;
        net.finish().assert_clean();
    }
    let of_switch: BTreeSet<&str> =
        rows().filter(|row| is_of_switch(row)).map(|row| row.words().name).collect();
    assert_eq!(failed, of_switch, "each question to the switch was failed once");
}

pub fn walk_all() -> Counts {
    let mut counts = Counts::new();
    answered(&mut counts);
    refused_by_members(&mut counts);
    unreferenced(&mut counts);
    refused_by_the_switch(&mut counts);
    counts
}
