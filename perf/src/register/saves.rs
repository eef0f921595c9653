//! Rows about VMs that are saved, restored and moved.

use super::records::Record;
use super::{Known, Verdict};
use crate::text::count_of;
use teaming::oid::oids;

const TOO_SHORT: u32 = 0xC001_0016;

/// Ends of saves.
fn ends<'a>(known: &'a Known<'_>) -> Vec<&'a Record> {
    known.trace.records().filter(|record| record.is("end", oids::SWITCH_NIC_SAVE)).collect()
}

/// The next record of the same attachment that begins a save.
fn next<'a>(known: &'a Known<'_>, after: &Record) -> Option<&'a Record> {
    let records = &known.trace.runs.get(after.run)?.records;
    records.iter().find(|record| record.number > after.number && record.is("oid", oids::SWITCH_NIC_SAVE))
}

pub fn room(known: &Known<'_>) -> Verdict {
    let asked: Vec<&Record> =
        known.trace.records().filter(|record| record.is("oid", oids::SWITCH_NIC_SAVE)).collect();
    let Some(first) = asked.first() else { return Verdict::not_seen("No VM was saved or moved.") };
    let stated = known.trace.about("save").find(|record| {
        record.run == first.run && record.number > first.number && record.number < first.number + 8
    });
    let says = format!(
        "OutputBufferLength {}, Header.Size {}, SaveDataSize {}",
        first.number("out"),
        first.head("head").2,
        stated.map_or(0, |record| record.number("save")),
    );
    if known.trace.events(10).next().is_some() {
        return Verdict::refuted(format!("Event 10: nothing was saved. The first request says {says}."))
            .proved()
            .by(asked);
    }
    let ends = ends(known);
    let saved: Vec<&Record> = ends.iter().filter(|record| record.number("status") == 0).copied().collect();
    if saved.is_empty() {
        return Verdict::not_seen(format!("No save has ended with success. The first request says {says}."))
            .by(ends);
    }
    let demanded = ends.iter().filter(|record| record.number("status") == TOO_SHORT).count() as u64;
    Verdict::confirmed(format!("The first request says {says}; {} for room.", count_of(demanded, "demand")))
        .by(saved)
}

pub fn grows(known: &Known<'_>) -> Verdict {
    let ends = ends(known);
    let demands =
        ends.iter().filter(|record| record.number("status") == TOO_SHORT && record.number("need") != 0);
    let mut grown = Vec::new();
    for demand in demands {
        let Some(again) = next(known, demand) else { continue };
        if again.number("out") < demand.number("need") {
            return Verdict::refuted(format!(
                "{} bytes were demanded, and the request came again with {}.",
                demand.number("need"),
                again.number("out"),
            ))
            .by([*demand, again]);
        }
        grown.extend([*demand, again]);
    }
    if grown.is_empty() {
        return Verdict::not_seen("No room was demanded.");
    }
    Verdict::confirmed("Each time the request came again with the room that was demanded.").by(grown)
}

pub fn groups(known: &Known<'_>) -> Verdict {
    let restored: Vec<&Record> =
        known.trace.records().filter(|record| record.is("oid", oids::SWITCH_NIC_RESTORE_COMPLETE)).collect();
    let Some(first) = restored.first() else { return Verdict::not_seen("No VM was restored.") };
    let named = |record: &&Record| {
        record.run == first.run
            && record.number > first.number
            && record.is("inner", oids::IEEE_802_3_MULTICAST_LIST)
    };
    match known.trace.records().find(named) {
        Some(record) => {
            Verdict::found("After a restore a vNIC named its groups again.").proved().by([*first, record])
        }
        None => Verdict::found("After a restore no vNIC named its groups.").by(restored),
    }
}
