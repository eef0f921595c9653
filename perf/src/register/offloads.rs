//! Rows about queues, filters and functions on members.

use super::records::Record;
use super::switch::TOO_SHORT;
use super::{Known, Verdict};
use crate::text::{count, count_of};
use std::collections::{BTreeMap, BTreeSet};
use teaming::oid::oids;

/// NDIS_STATUS_NOT_SUPPORTED and INVALID_PARAMETER, which a member may answer about a list.
const NO_LIST: [u32; 2] = [0xC000_00BB, 0xC000_000D];
/// Lists that a member is asked for.
const LISTS: [u32; 4] = [
    oids::RECEIVE_FILTER_ENUM_QUEUES,
    oids::RECEIVE_FILTER_ENUM_FILTERS,
    oids::NIC_SWITCH_ENUM_VFS,
    oids::NIC_SWITCH_ENUM_VPORTS,
];
/// What gives an id, and what frees it.
const MAKES: [(u32, u32); 3] = [
    (oids::RECEIVE_FILTER_ALLOCATE_QUEUE, oids::RECEIVE_FILTER_FREE_QUEUE),
    (oids::RECEIVE_FILTER_SET_FILTER, oids::RECEIVE_FILTER_CLEAR_FILTER),
    (oids::NIC_SWITCH_ALLOCATE_VF, oids::NIC_SWITCH_FREE_VF),
];

pub fn ids(known: &Known<'_>) -> Verdict {
    // The members that gave each id, by attachment, kind and id.
    let mut givers: BTreeMap<(usize, u32, u32), BTreeMap<u32, &Record>> = BTreeMap::new();
    for record in known.trace.about("id").filter(|record| record.number("status") == 0) {
        let (oid, to) = (record.number("oid"), record.number("to"));
        if MAKES.iter().any(|(make, _)| *make == oid) && to != 0 {
            givers.entry((record.run, oid, record.number("id"))).or_default().insert(to, record);
        }
    }
    let Some(((run, oid, id), two)) = givers.iter().find(|(_, members)| members.len() > 1) else {
        return Verdict::not_seen("No two members gave one id: set FollowFlows on a test host with VMQ.");
    };
    let frees = MAKES.iter().find(|(make, _)| make == oid).map_or(0, |(_, free)| *free);
    let last = two.values().map(|record| record.number).max().unwrap_or(0);
    let freed: BTreeSet<u32> = known
        .trace
        .about("id")
        .filter(|record| record.run == *run && record.number > last && record.number("oid") == frees)
        .filter(|record| record.number("id") == *id && record.number("status") == 0)
        .map(|record| record.number("to"))
        .collect();
    let members = two.keys().map(u32::to_string).collect::<Vec<_>>().join(" and ");
    let records = two.values().copied();
    if freed.len() > 1 {
        return Verdict::refuted(format!(
            "Members {members} gave the id {id} to one resource each, and the switch freed each on its own."
        ))
        .proved()
        .by(records);
    }
    Verdict::found(format!(
        "Members {members} gave the id {id} to one resource each; whether the VMs keep their traffic a person sees."
    ))
    .proved()
    .by(records)
}

pub fn complete(known: &Known<'_>) -> Verdict {
    if known.trace.events(19).next().is_some() {
        return Verdict::refuted("Event 19: a request named a resource that no member listed.").proved();
    }
    let is_list = |record: &&Record| {
        record.lead() == "ask" && LISTS.contains(&record.number("ask")) && record.number("status") == 0
    };
    let lists: Vec<&Record> = known.trace.records().filter(is_list).collect();
    if lists.is_empty() {
        return Verdict::not_seen("No member answered with a list.");
    }
    // A resource that is freed and was not allocated since the attachment is one of before.
    for free in known.trace.about("id").filter(|record| record.number("status") == 0) {
        let Some((make, _)) = MAKES.iter().find(|(_, frees)| *frees == free.number("oid")) else { continue };
        let made = known.trace.about("id").any(|record| {
            record.run == free.run
                && record.number < free.number
                && record.number("oid") == *make
                && record.number("id") == free.number("id")
        });
        // An allocation that was not directed has no record of its id.
        let in_run = |record: &&Record| record.run == free.run;
        let asked = known.trace.about("inner").filter(in_run).filter(|record| record.is("inner", *make));
        let given = known.trace.about("id").filter(in_run).filter(|record| record.number("oid") == *make);
        if !made && free.number("to") != 0 && asked.count() <= given.count() {
            return Verdict::confirmed(
                "A resource of before the attachment was freed on the member that listed it.",
            )
            .by(lists.into_iter().chain([free]));
        }
    }
    Verdict::not_seen("Lists were answered, and nothing of before the attachment was freed.").by(lists)
}

pub fn answered(known: &Known<'_>) -> Verdict {
    let of_members = |record: &&Record| {
        record.lead() == "ask" && record.number("to") != 0 && LISTS.contains(&record.number("ask"))
    };
    let asks: Vec<&Record> = known.trace.records().filter(of_members).collect();
    if asks.is_empty() {
        return Verdict::not_seen("No member was asked for its lists.");
    }
    let mut last: BTreeMap<(usize, u32, u32), &Record> = BTreeMap::new();
    for record in &asks {
        let status = record.number("status");
        if !TOO_SHORT.contains(&status) {
            last.insert((record.run, record.number("to"), record.number("ask")), record);
        }
    }
    let bad = |record: &&&Record| record.number("status") != 0 && !NO_LIST.contains(&record.number("status"));
    if let Some(record) = last.values().find(bad) {
        let (member, status) = (record.number("to"), record.word("status"));
        return Verdict::refuted(format!("Member {member} ended a query of a list with {status}."))
            .by([*record]);
    }
    let refused = last.values().filter(|record| record.number("status") != 0).count() as u64;
    let all = last.len() as u64;
    Verdict::confirmed(format!(
        "{} answered, {} of them with the word that there is none.",
        count_of(all, "query"),
        count(refused)
    ))
    .by(last.into_values())
}

pub fn associations(known: &Known<'_>) -> Verdict {
    for status in &known.host.team_status {
        if let Some((.., times)) = status.drops().find(|(reason, ..)| reason == "unknown_association") {
            return Verdict::refuted(format!(
                "{} of associations that no member is known to have were dropped.",
                count_of(times, "packet")
            ));
        }
    }
    Verdict::not_seen("No packet of an earlier association was dropped, or the file has no status.")
}
