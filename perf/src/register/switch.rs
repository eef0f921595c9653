//! Rows about the switch: its adapters, its configuration, its arrays, the status objects.

use super::records::{Head, Record};
use super::{Known, Verdict};
use crate::host::digest;
use crate::text::{count, count_of};
use std::collections::{BTreeMap, BTreeSet};
use teaming::ids::MEMBERS;
use teaming::oid::oids;
use teaming::status::TEAM;

/// Type of an NDIS_SWITCH_PORT_PROPERTY of VLANs.
const VLAN: u32 = 3;
/// NDIS_STATUS_INVALID_LENGTH, BUFFER_TOO_SHORT, BUFFER_OVERFLOW and STATUS_BUFFER_TOO_SMALL.
pub const TOO_SHORT: [u32; 4] = [0xC001_0014, 0xC001_0016, 0x8000_0005, 0xC000_0023];

/// Adapters of the external port: records with an index from 1 on.
fn adapters<'a>(known: &'a Known<'_>) -> impl Iterator<Item = &'a Record> {
    let there = |record: &&Record| {
        record.number("nic") != 0 && !matches!(record.word("via"), "disconnect" | "delete")
    };
    known.trace.about("nic").filter(there)
}

pub fn team(known: &Known<'_>) -> Verdict {
    let all: Vec<&Record> = adapters(known).collect();
    if let Some(record) = all.iter().find(|record| record.number("nic") as usize > MEMBERS) {
        let index = record.number("nic");
        return Verdict::refuted(format!("An adapter has the index {index}.")).proved().by([*record]);
    }
    let mut indexes: BTreeMap<usize, BTreeSet<u32>> = BTreeMap::new();
    for record in &all {
        indexes.entry(record.run).or_default().insert(record.number("nic"));
    }
    let most = indexes.values().map(BTreeSet::len).max().unwrap_or(0);
    let team = known.host.switch_team_members.len();
    match most {
        0 => Verdict::not_seen("The switch showed no adapter."),
        1 if team > 1 => Verdict::refuted(format!(
            "The switch team has {team} adapters, and the switch showed one to the extension."
        ))
        .by(all),
        1 => Verdict::not_seen("The switch has one adapter.").by(all),
        _ => Verdict::confirmed(format!("The switch showed {most} adapters, each under its own index."))
            .proved()
            .by(all),
    }
}

pub fn index(known: &Known<'_>) -> Verdict {
    // Indexes of each adapter, by switch and digest.
    let mut places: BTreeMap<(&str, u32), Vec<&Record>> = BTreeMap::new();
    for record in adapters(known).filter(|record| record.number("guid") != 0) {
        let switch = &*known.trace.runs[record.run].switch;
        places.entry((switch, record.number("guid"))).or_default().push(record);
    }
    for records in places.values() {
        if let Some(other) = records.iter().find(|record| record.number("nic") != records[0].number("nic")) {
            let (before, after) = (records[0].number("nic"), other.number("nic"));
            return Verdict::found(format!("An adapter had index {before}, and later {after}."))
                .proved()
                .by([records[0], *other]);
        }
    }
    let again = places.values().filter(|all| all.iter().any(|record| record.run != all[0].run));
    match again.clone().count() {
        0 => Verdict::not_seen("No adapter was seen in two attachments: restart the host while recording."),
        _ => Verdict::found("Each adapter kept its index over the attachments.").by(again.flatten().copied()),
    }
}

pub fn guid(known: &Known<'_>) -> Verdict {
    // What was said of each last.
    let mut last: BTreeMap<(usize, u32), &Record> = BTreeMap::new();
    for record in adapters(known) {
        last.insert((record.run, record.number("nic")), record);
    }
    if last.is_empty() {
        return Verdict::not_seen("The switch showed no adapter.");
    }
    if let Some(((_, index), record)) = last.iter().find(|(_, record)| record.number("guid") == 0) {
        return Verdict::refuted(format!("Member {index} has no NetCfgInstanceId.")).by([*record]);
    }
    let of_host: Vec<u32> =
        known.host.adapters.iter().filter_map(|adapter| digest(&adapter.interface_guid)).collect();
    if of_host.is_empty() {
        return Verdict::not_seen("The file has no adapter of the host to compare with.")
            .by(last.into_values());
    }
    if let Some(((_, index), record)) =
        last.iter().find(|(_, record)| !of_host.contains(&record.number("guid")))
    {
        return Verdict::refuted(format!("Member {index} has the GUID of no adapter of the host."))
            .by([*record]);
    }
    Verdict::confirmed("Each member has the InterfaceGuid of an adapter of the host.").by(last.into_values())
}

pub fn vlan(known: &Known<'_>) -> Verdict {
    let of_external = |record: &&Record| record.word("ext") == "yes";
    let is_vlan = |record: &&Record| record.is("property", VLAN) && record.word("by") != "delete";
    let properties: Vec<&Record> = known.trace.records().filter(is_vlan).filter(of_external).collect();
    let said: Vec<&Record> = known.trace.about("vlan").filter(of_external).collect();
    let plain =
        |record: &&&Record| matches!(record.word("vlan"), "access" | "unknown") && record.number("id") == 0;
    if let Some(record) = said.iter().find(|record| !plain(record)) {
        let (mode, id) = (record.word("vlan"), record.number("id"));
        return Verdict::refuted(format!("The external port says {mode} with VLAN {id}."))
            .proved()
            .by([*record]);
    }
    if properties.is_empty() {
        return Verdict::not_seen("The VLAN property of the external port was not read.");
    }
    let way = if said.is_empty() { "has no VLAN property" } else { "says access with VLAN 0" };
    Verdict::confirmed(format!("The external port {way}.")).by(properties)
}

pub fn order(known: &Known<'_>) -> Verdict {
    let Some(run) = known.trace.runs.iter().find(|run| run.records.iter().any(|r| r.lead() == "switch"))
    else {
        return Verdict::not_seen("No restart of the extension was recorded.");
    };
    let switch = run.records.iter().filter(|record| record.lead() == "switch");
    let states: Vec<&str> = switch.clone().map(|record| record.word("switch")).collect();
    let active = match states.as_slice() {
        ["active", ..] => "active before the extension started".to_owned(),
        [_, rest @ ..] if rest.contains(&"activated") => "activated after the extension started".to_owned(),
        _ => "not active yet".to_owned(),
    };
    let arrays: Vec<&Record> = run.records.iter().filter(|record| record.lead() == "array").collect();
    let first = arrays.first().map_or(u32::MAX, |record| record.number);
    let number = |of: &str| {
        arrays.iter().find(|record| record.word("array") == of).map_or(0, |record| record.number("count"))
    };
    let created = |record: &&Record| {
        record.is("oid", oids::SWITCH_NIC_CREATE) || record.is("oid", oids::SWITCH_PORT_CREATE)
    };
    let requests: Vec<&Record> = run.records.iter().filter(created).collect();
    let before = requests.iter().filter(|record| record.number < first).count();
    Verdict::found(format!(
        "The switch was {active}; arrays had {} and {}; {} came by requests before them, {} later.",
        count_of(number("ports").into(), "port"),
        count_of(number("nics").into(), "NIC"),
        before,
        requests.len() - before,
    ))
    .by(switch.chain(arrays.iter().copied()))
}

pub fn room(known: &Known<'_>) -> Verdict {
    let is_array = |record: &&Record| {
        record.number("to") == 0
            && [oids::SWITCH_PORT_ARRAY, oids::SWITCH_NIC_ARRAY].iter().any(|oid| record.is("ask", *oid))
    };
    let asks: Vec<&Record> = known.trace.records().filter(is_array).collect();
    let short = |record: &&&Record| TOO_SHORT.contains(&record.number("status"));
    let failed = asks.iter().find(|record| record.number("status") != 0 && !short(record));
    if let Some(record) = failed {
        let status = record.word("status");
        return Verdict::refuted(format!("A query of an array ended with {status}.")).proved().by([*record]);
    }
    let too_short: Vec<&Record> = asks.iter().filter(short).copied().collect();
    if asks.is_empty() {
        return Verdict::not_seen("No array was read.");
    }
    if too_short.is_empty() {
        return Verdict::not_seen("Every array fit the first buffer: look on a host with many VMs.").by(asks);
    }
    let statuses: BTreeSet<&str> = too_short.iter().map(|record| record.word("status")).collect();
    let needed = if too_short.iter().all(|record| record.number("need") != 0) { "with" } else { "without" };
    let statuses = statuses.into_iter().collect::<Vec<_>>().join(", ");
    Verdict::confirmed(format!("A buffer was too short: {statuses}, {needed} BytesNeeded.")).by(too_short)
}

pub fn elements(known: &Known<'_>) -> Verdict {
    let arrays: Vec<&Record> = known.trace.about("array").collect();
    if let Some(record) = arrays.iter().find(|record| record.number("read") < record.number("count")) {
        let (read, count) = (record.number("read"), record.number("count"));
        let what = record.word("array");
        return Verdict::refuted(format!("Of {count} {what} {read} could be read.")).proved().by([*record]);
    }
    if known.trace.events(25).next().is_some() {
        return Verdict::refuted("Event 25 says that elements could not be read.").proved();
    }
    if arrays.is_empty() {
        return Verdict::not_seen("No array was read.");
    }
    let all: u32 = arrays.iter().map(|record| record.number("count")).sum();
    Verdict::confirmed(format!("All {} elements could be read.", count(all.into()))).by(arrays)
}

/// Structures of the switch with their headers: (record, what it is, its header).
fn structures<'a>(known: &'a Known<'_>) -> Vec<(&'a Record, String, Head)> {
    let mut all = Vec::new();
    for record in known.trace.records() {
        match record.lead() {
            "shape" => {
                let what = record.word("shape");
                all.push((record, format!("an element of the {what}"), record.head("first")));
                all.push((record, format!("the array of {what}"), record.head("head")));
            }
            "property" if record.number("len") != 0 => {
                let kind = record.number("property");
                all.push((record, format!("a property of type {kind}"), record.head("head")));
            }
            "switch" => all.push((record, "the parameters of the switch".to_owned(), record.head("head"))),
            "status" => all.push((record, "the envelope of a status".to_owned(), record.head("head"))),
            "oid" => {
                let of = [
                    oids::SWITCH_NIC_CREATE,
                    oids::SWITCH_NIC_CONNECT,
                    oids::SWITCH_NIC_UPDATED,
                    oids::SWITCH_PORT_CREATE,
                ];
                if of.contains(&record.number("oid")) {
                    all.push((record, "a port or a NIC in a request".to_owned(), record.head("head")));
                }
            }
            _ => {}
        }
    }
    all.retain(|(.., head)| head.0 != 0);
    all
}

pub fn revisions(known: &Known<'_>) -> Verdict {
    let all = structures(known);
    let newer: Vec<_> = all.iter().filter(|(.., (_, revision, _))| *revision > 1).collect();
    let Some((first, what, (_, revision, _))) = newer.first() else {
        let why = if all.is_empty() { "No structure was seen." } else { "Each structure is of revision 1." };
        return Verdict::not_seen(why);
    };
    let misread = known.trace.about("array").any(|record| record.number("read") < record.number("count"));
    let events = [8, 9, 25].into_iter().find(|id| known.trace.events(*id).next().is_some());
    if misread || events.is_some() {
        let event = events.map_or_else(String::new, |id| format!(", and event {id} happened"));
        return Verdict::refuted(format!("Revision {revision} of {what} could not be read{event}."))
            .by([*first]);
    }
    let kinds: BTreeSet<String> =
        newer.iter().map(|(_, what, head)| format!("{what} (revision {})", head.1)).collect();
    let kinds = kinds.into_iter().collect::<Vec<_>>().join(", ");
    Verdict::confirmed(format!("Read as the older one: {kinds}."))
        .by(newer.iter().map(|(record, ..)| *record))
}

pub fn feature(known: &Known<'_>) -> Verdict {
    let asked = |record: &&Record| {
        record.is("end", oids::SWITCH_FEATURE_STATUS_QUERY) && record.number("status") == 0
    };
    let answers: Vec<&Record> = known.trace.records().filter(asked).collect();
    let Some(status) = known.host.team_status.first() else {
        return if answers.is_empty() {
            Verdict::not_seen("The file has no status of a team: was lbfoext.mof registered?")
        } else {
            Verdict::refuted("The extension told its status, and the cmdlet printed nothing.").by(answers)
        };
    };
    let missing = TEAM.iter().find(|field| status.number(field.name).is_none());
    if let Some(field) = missing {
        return Verdict::refuted(format!("The status has no field {}.", field.name)).by(answers);
    }
    match status.number("Status") {
        Some(0..=2) => Verdict::confirmed("The status has every field of the team.").by(answers),
        other => {
            Verdict::refuted(format!("Status is {}, which is no state.", other.unwrap_or(0))).by(answers)
        }
    }
}

pub fn destination(known: &Known<'_>) -> Verdict {
    let mut delivered = 0;
    for status in &known.host.team_status {
        if let Some((.., times)) = status.drops().find(|(reason, ..)| reason == "no_resources") {
            return Verdict::refuted(format!(
                "{} were dropped because no element was found, or memory was short.",
                count_of(times, "packet")
            ));
        }
        delivered += status.number("Delivered").unwrap_or(0) + status.number("Uplink").unwrap_or(0);
    }
    match delivered {
        0 => Verdict::not_seen("No packet was forwarded, or the file has no status."),
        _ => Verdict::confirmed(format!(
            "Each of {} found an element for its destination.",
            count_of(delivered, "packet")
        )),
    }
}
