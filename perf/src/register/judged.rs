//! Rows that no simulated host of `variants` tells about, judged on records that are written here.

use super::records::{SURVEYED, Trace};
use super::{Answer, judge};
use crate::host::{Host, TraceEvent};

/// What becomes of a row by these records, which get their numbers in order after a start, and by events of other kinds.
fn answer(id: &str, records: &[&str], events: &[u16]) -> (Answer, String) {
    let all = ["survey=start", "switch=active head=128.1.1045"].iter().chain(records).zip(1..);
    let record = |(text, number): (&&str, usize)| {
        TraceEvent::new(SURVEYED, &[("Switch", "External"), ("Record", &format!("#{number} {text}"))])
    };
    let mut trace: Vec<TraceEvent> = all.map(record).collect();
    trace.extend(events.iter().map(|id| TraceEvent::new(*id, &[])));
    let rows = judge(&Host::default(), &Trace::of(&trace));
    let row = rows.into_iter().find(|row| row.id == id).expect("a row");
    (row.answer, row.why)
}

const QUERY: &str = "ask=0x00010207 to=1 status=0x00000000 done=40 need=0";
const UP: &str = "link=up to=1 by=query status=0x00000000 us=0";
const DOWN: &str = "link=down to=1 by=query status=0x00000000 us=0";
const TOLD: &str = "status=0x40010017 nic=0 size=40 head=128.1.24 ext=yes";
const LISTED: &str = "ask=0x00010225 to=1 status=0x00000000 done=96 need=0";
const ALLOCATE: &str = "inner=0x00010223 as=method in=64 to=0 head=128.1.64";
const GIVEN: &str = "id=3 oid=0x00010223 to=1 status=0x00000000";
const FREED: &str = "id=3 oid=0x00010224 to=1 status=0x00000000";
const SAVE: &str = "oid=0x00010290 as=method in=568 out=568 head=128.1.568";
const DEMAND: &str = "end=0x00010290 status=0xC0010016 done=0 need=644 rev=1";
const LARGER: &str = "oid=0x00010290 as=method in=644 out=644 head=128.1.644";
const SAVED: &str = "end=0x00010290 status=0x00000000 done=644 need=0 rev=1";
const RESTORED: &str = "oid=0x00010293 as=set in=24 out=0 head=128.1.24";
const GROUPS: &str = "inner=0x01010103 as=set in=12 to=0 head=0.0.0";

#[test]
fn each_answer_of_a_row_has_records_that_give_it() {
    use Answer::{Confirmed, Found, NotSeen, Refuted};
    let row = "link=up to=1 by=row status=0x00000000 us=40";
    let unplugged = "link=down to=1 by=row status=0x00000000 us=40";
    let slow = "link=down to=1 by=row status=0x00000000 us=2000000";
    let mute = "link=none to=1 by=row status=0xC0000001 us=40";
    let strange = "status=0x40010017 nic=1 size=40 head=134.1.24 ext=yes";
    let refused = "ask=0x00010225 to=1 status=0xC0000001 done=0 need=0";
    let unsupported = "ask=0x00010225 to=1 status=0xC00000BB done=0 need=0";
    let index = "nic=33 via=create guid=0x00000001";
    let cases: &[(&str, &[&str], &[u16], Answer)] = &[
        ("link-query", &[QUERY, UP, TOLD, QUERY, DOWN], &[], Confirmed),
        ("link-query", &[QUERY, UP, QUERY, DOWN], &[], Refuted),
        ("link-query", &[QUERY, UP, QUERY, UP], &[], NotSeen),
        ("link-interface", &[row, unplugged], &[], Confirmed),
        ("link-interface", &[row, slow], &[], Refuted),
        ("link-interface", &[row, mute], &[], Refuted),
        ("link-interface", &[row], &[], NotSeen),
        ("status-header", &[TOLD], &[], Confirmed),
        ("status-header", &[TOLD, strange], &[], Refuted),
        ("status-header", &[], &[], NotSeen),
        ("cables-at-boot", &[DOWN, ALLOCATE], &[], Found),
        ("cables-at-boot", &[DOWN, UP, ALLOCATE], &[], NotSeen),
        ("lists-complete", &[LISTED, FREED], &[], Confirmed),
        ("lists-complete", &[LISTED, FREED], &[19], Refuted),
        ("lists-complete", &[LISTED, ALLOCATE, GIVEN, FREED], &[], NotSeen),
        // It may have been allocated where no id was recorded.
        ("lists-complete", &[LISTED, ALLOCATE, FREED], &[], NotSeen),
        ("lists-answered", &[refused, unsupported], &[], Confirmed),
        ("lists-answered", &[LISTED, refused], &[], Refuted),
        ("lists-answered", &[], &[], NotSeen),
        ("save-room", &[SAVE, SAVED], &[], Confirmed),
        ("save-room", &[SAVE, SAVED], &[10], Refuted),
        ("save-room", &[SAVE, DEMAND], &[], NotSeen),
        ("save-grows", &[SAVE, DEMAND, LARGER, SAVED], &[], Confirmed),
        ("save-grows", &[SAVE, DEMAND, SAVE], &[], Refuted),
        ("save-grows", &[SAVE, SAVED], &[], NotSeen),
        ("groups-after-migration", &[RESTORED, GROUPS], &[], Found),
        ("groups-after-migration", &[GROUPS, RESTORED], &[], Found),
        ("groups-after-migration", &[GROUPS], &[], NotSeen),
        ("switch-team", &[index], &[], Refuted),
        ("array-elements", &[], &[25], Refuted),
        ("lock-fairness", &[], &[], NotSeen),
    ];
    for (id, records, events, wanted) in cases {
        let (answer, why) = answer(id, records, events);
        assert_eq!(answer, *wanted, "{id}, {records:#?}: {why}");
        assert!(why.ends_with(['.', '?']) || why.ends_with("cable."), "{id}: {why}");
    }
    let again = answer("groups-after-migration", &[RESTORED, GROUPS], &[]).1;
    assert_ne!(again, answer("groups-after-migration", &[GROUPS, RESTORED], &[]).1);
}

#[test]
fn each_row_that_code_answers_says_that_nothing_was_seen_where_nothing_was() {
    for row in
        judge(&Host::default(), &Trace::of(&[TraceEvent::new(SURVEYED, &[("Record", "#1 survey=start")])]))
    {
        assert!(matches!(row.answer, Answer::NotSeen | Answer::Person), "{}: {}", row.id, row.why);
        assert!(row.why.len() > 15 && row.evidence.is_empty(), "{}: {}", row.id, row.why);
    }
}
