//! Rows about links: who tells a member's, and how soon.

use super::records::Record;
use super::{Known, Verdict};
use crate::text::count_of;
use std::collections::{BTreeMap, BTreeSet};
use teaming::oid::oids;

/// Status codes that tell of a link: NDIS_STATUS_LINK_STATE, MEDIA_CONNECT, MEDIA_DISCONNECT.
const OF_LINKS: [u32; 3] = [0x4001_0017, 0x4001_000B, 0x4001_000C];

/// Statuses of links from the external port.
fn statuses<'a>(known: &'a Known<'_>) -> Vec<&'a Record> {
    let tells = |record: &&Record| record.word("ext") == "yes" && OF_LINKS.contains(&record.number("status"));
    known.trace.about("status").filter(tells).collect()
}

/// Link states by one way, as (record, member, state).
fn links<'a>(known: &'a Known<'_>, by: &'a str) -> Vec<(&'a Record, u32, &'a str)> {
    let of_way = known.trace.about("link").filter(move |record| record.word("by") == by);
    of_way.map(|record| (record, record.number("to"), record.word("link"))).collect()
}

/// Whether a link was seen in both states, in whatever way.
fn changed(known: &Known<'_>) -> bool {
    let mut seen: BTreeMap<(usize, u32), BTreeSet<&str>> = BTreeMap::new();
    for record in known.trace.about("link").filter(|record| matches!(record.word("link"), "up" | "down")) {
        seen.entry((record.run, record.number("to"))).or_default().insert(record.word("link"));
    }
    seen.values().any(|states| states.len() > 1)
}

pub fn status(known: &Known<'_>) -> Verdict {
    let all = statuses(known);
    let (team, member): (Vec<&Record>, Vec<&Record>) =
        all.iter().copied().partition(|record| record.number("nic") == 0);
    match (team.is_empty(), member.is_empty()) {
        (false, false) => Verdict::found("A status of a link names the member; others name the team.")
            .proved()
            .by(member.into_iter().chain(team)),
        (true, false) => Verdict::found("Each status of a link names the member.").by(member),
        (false, true) => {
            Verdict::found("No status of a link names the member, but index 0, the whole team.").by(team)
        }
        (true, true) if changed(known) => Verdict::found("A link changed, and no status told of it."),
        (true, true) => Verdict::not_seen("No status of a link came, and no link was seen to change."),
    }
}

pub fn query(known: &Known<'_>) -> Verdict {
    let is_of_members = |record: &&Record| record.is("ask", oids::GEN_LINK_STATE) && record.number("to") != 0;
    let asks: Vec<&Record> = known.trace.records().filter(is_of_members).collect();
    if asks.is_empty() {
        return Verdict::not_seen("No member was asked for its link state.");
    }
    let answers: Vec<_> = links(known, "query").into_iter().filter(|(.., state)| *state != "none").collect();
    if answers.is_empty() {
        let refusals: BTreeSet<&str> = asks.iter().map(|record| record.word("status")).collect();
        let refusals = refusals.into_iter().collect::<Vec<_>>().join(", ");
        return Verdict::not_seen(format!(
            "No member answers OID_GEN_LINK_STATE: each of {} ended with {refusals}.",
            count_of(asks.len() as u64, "query")
        ))
        .by(asks);
    }
    let statuses = statuses(known);
    // Between two answers of one member that differ a status must have come.
    let mut followed = Vec::new();
    for (at, &(before, member, state)) in answers.iter().enumerate() {
        let next = answers[at + 1..].iter().find(|(record, to, _)| record.run == before.run && *to == member);
        let Some(&(after, _, now)) = next else { continue };
        if state == now || [state, now].contains(&"unknown") {
            continue;
        }
        let between = statuses.iter().find(|status| {
            status.run == before.run
                && (before.number..after.number).contains(&status.number)
                && [0, member].contains(&status.number("nic"))
        });
        match between {
            Some(status) => followed.extend([*status, after]),
            None => {
                return Verdict::refuted(format!(
                    "Member {member} answered {state}, and later {now}, and no status came in between."
                ))
                .by([before, after]);
            }
        }
    }
    // A status that names the member says the change itself.
    for (record, member, state) in links(known, "status") {
        let earlier = answers.iter().rev().find(|(answer, to, _)| {
            answer.run == record.run && *to == member && answer.number < record.number
        });
        if earlier.is_some_and(|(_, _, answered)| *answered != state) {
            followed.push(record);
        }
    }
    if followed.is_empty() {
        let answers = answers.into_iter().map(|(record, ..)| record);
        return Verdict::not_seen("Members answer, and no link changed: pull a cable.").by(answers);
    }
    Verdict::confirmed("Members answer, and a status followed each change that was seen.").by(followed)
}

pub fn interface(known: &Known<'_>) -> Verdict {
    /// Longest call that is soon, in microseconds.
    const SOON: u32 = 1_000_000;
    let rows = links(known, "row");
    if rows.is_empty() {
        return Verdict::not_seen("No member's interface was asked: other ways told of each link.");
    }
    if let Some((record, member, state)) = rows.iter().find(|(_, _, state)| !matches!(*state, "up" | "down"))
    {
        let status = record.word("status");
        return Verdict::refuted(format!(
            "The interface of member {member} tells nothing: {state}, status {status}."
        ))
        .proved()
        .by([*record]);
    }
    if let Some((record, member, _)) = rows.iter().find(|(record, ..)| record.number("us") > SOON) {
        let took = record.number("us");
        return Verdict::refuted(format!("The call for member {member} took {took} us."))
            .proved()
            .by([*record]);
    }
    let states: BTreeSet<&str> = rows.iter().map(|(.., state)| *state).collect();
    let longest = rows.iter().map(|(record, ..)| record.number("us")).max().unwrap_or(0);
    let records = rows.iter().map(|(record, ..)| *record);
    if states.len() > 1 {
        return Verdict::confirmed(format!("It tells both states; a call took {longest} us at most."))
            .by(records);
    }
    let state = states.into_iter().next().unwrap_or_default();
    Verdict::not_seen(format!("It says {state} each time: whether it follows a cable was not seen."))
        .by(records)
}

pub fn header(known: &Known<'_>) -> Verdict {
    /// NDIS_OBJECT_TYPE_DEFAULT, which the page names, and that of status indications.
    const KNOWN: [u8; 2] = [0x80, 0x98];
    let all: Vec<&Record> = known.trace.about("status").collect();
    let strange = all.iter().find(|record| !KNOWN.contains(&record.head("head").0));
    match (strange, all.is_empty()) {
        (Some(record), _) => {
            let kind = record.head("head").0;
            Verdict::refuted(format!("The envelope of a status has a header of type {kind}."))
                .proved()
                .by([*record])
        }
        (None, true) => Verdict::not_seen("No status of a NIC came."),
        (None, false) => {
            let kinds: BTreeSet<String> =
                all.iter().map(|record| record.head("head").0.to_string()).collect();
            let kinds = kinds.into_iter().collect::<Vec<_>>().join(" and ");
            Verdict::confirmed(format!("Envelopes of statuses have headers of type {kinds}.")).by(all)
        }
    }
}

pub fn cables(known: &Known<'_>) -> Verdict {
    for run in &known.trace.runs {
        let mut links: BTreeMap<u32, &str> = BTreeMap::new();
        for record in &run.records {
            let all_out = !links.is_empty() && links.values().all(|state| *state == "down");
            if record.lead() == "link" {
                links.insert(record.number("to"), record.word("link"));
            } else if all_out && record.is("inner", oids::RECEIVE_FILTER_ALLOCATE_QUEUE) {
                return Verdict::found("A queue was allocated while every cable was out.")
                    .proved()
                    .by([record]);
            }
        }
    }
    Verdict::not_seen("No queue was allocated while every cable was out.")
}

pub fn published(known: &Known<'_>) -> Verdict {
    let changes = known.trace.events(1).filter_map(|event| event.number("TookUs"));
    match changes.max() {
        Some(most) => Verdict::found(format!(
            "Every packet was spread by a change of the team within {most} us; under which load nobody recorded."
        )),
        None => Verdict::not_seen("The team did not change."),
    }
}
