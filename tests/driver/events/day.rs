//! The document of all events: what each kind says, and what a day of trouble reads like. `RENEW=1` writes it again.

use super::super::module::report;
use super::{look, team};
use lbfoext::trace::Event;
use std::fmt::Write;
use std::fs;
use std::path::Path;
use teaming::event::catalog::{EventKind, KINDS};
use teaming::event::survey::{ABOUTS, Form, LAST};
use teaming::event::text::Text;
use teaming::event::trace_logging::PROVIDER_ID;
use teaming::ids::AdapterId;
use vswitch::machine::registry::Value;
use vswitch::scenario::Net;
use vswitch::scenario::suite::MS;
use vswitch::switch::control::properties::Damage;
use vswitch::switch::control::save::Offering;
use vswitch::switch::ports::policy::{Property, Vlan};

const DOCUMENT: &str = "inf/EVENTS.md";
const SECOND: u64 = 1_000 * MS;

/// What a kind says, its fields in braces.
fn kind(kind: &EventKind) -> String {
    let place = if kind.in_system_log { "; System event log" } else { "" };
    let (level, keyword) = (kind.level.name(), kind.keyword.name());
    let mut text = format!("{} {} ({level}, {keyword}{place})\n", kind.id, kind.name);
    kind.text.iter().for_each(|line| writeln!(text, "  {line}").expect("a string"));
    text
}

/// An event with its time, as it is read.
fn told(at: u64, event: &Event) -> String {
    let kind = event.kind();
    let seconds = at as f64 / SECOND as f64;
    let place = if kind.in_system_log { ", in the System event log" } else { "" };
    let mut text = format!("{seconds:>8.3} s  {} {} {}{place}\n", kind.level.name(), kind.id, kind.name);
    for number in 0..3 {
        let mut line = Text::<200>::EMPTY;
        event.line(number, &mut line);
        writeln!(text, "  {}", line.as_str()).expect("a string");
    }
    text
}

/// Links fail and flap, settings are wrong, policies are not enforced, saved data is damaged, memory is refused. `ask` is
/// called when a member is out, when all are, and at the end.
fn live(net: &Net, mut ask: impl FnMut(&str)) {
    net.fail(2);
    net.advance(5 * SECOND);
    ask("Five seconds after the first failure");
    net.restore(2);
    net.advance(5 * SECOND);
    for _ in 0..3 {
        net.fail(1);
        net.advance(4 * SECOND);
        net.restore(1);
        net.advance(4 * SECOND);
    }
    (1..=3).for_each(|member| net.fail(member));
    net.advance(SECOND);
    ask("When no member has a link");
    (1..=3).for_each(|member| net.restore(member));
    net.advance(5 * SECOND);
    net.set("MoveDeadlineMs", Value::Dword(600_001));
    net.set("LinkUpDelayMs", Value::Sz("7".to_owned()));
    net.advance(SECOND);
    net.add_property(net.vm(0).port, 1, Property::Isolation { mode: 2 });
    net.damaged_property(net.vm(0).port, Property::Vlan(Vlan::Access(7)), Damage::CutBody);
    let nic = net.vm(1);
    let blobs = net.save(nic, Offering::default()).expect("it is saved").blobs;
    let mut data = blobs[0].data().to_vec();
    *data.last_mut().expect("there is data") ^= 1;
    net.restore_spoilt(nic, &[blobs[0].with_data(&data)], &blobs);
    net.restore_nic(nic, &blobs);
    net.advance(SECOND);
    net.world().fail_from_here(1);
    net.save(nic, Offering::default());
    net.advance(SECOND);
    ask("At the end");
}

/// The events of the day, and the status in between.
fn day() -> (String, String) {
    let net = team(&[10, 25, 10]).start();
    let mut asked = String::new();
    live(&net, |when| write!(asked, "{when}:\n\n```text\n{}```\n\n", report(&net)).expect("a string"));
    let events = look(&net, |module| module.control.lock().events.iter().collect::<Vec<_>>());
    let events = events.expect("it is attached");
    let start = events.first().expect("there are events").0.get();
    let text = events.iter().map(|(at, event)| told(at.get() - start, event)).collect();
    net.finish().assert_clean();
    (text, asked)
}

fn document() -> String {
    let kinds: String = KINDS.iter().map(kind).collect();
    let (day, asked) = day();
    format!(
        "# Events\n\nWritten by a test from the driver's own table. An id is never given to another event.\n\n\
         ## What each says\n\nNames in braces are fields. Those that say so are in the System event log, with the name \
         of the switch in front;\nall of them can be recorded as trace events (see below).\n\n```text\n{kinds}```\n\n\
         ## A day\n\nA team of three members, 10, 25 and 10 Gb/s, in the simulated switch: links fail and flap, \
         settings are\nwrong, a policy is not enforced, saved data is damaged, memory is refused. There each\nreading of the fine clock takes \
         a microsecond and code takes none: how long moves take is no measurement.\n\n```text\n{day}```\n\n\
         ## The status of that day\n\nAs `teamctl show` prints it, also where a name is not all text. No packets were counted.\n\n{asked}{}{}",
        recording(),
        survey()
    )
}

/// The GUID of the provider in braces.
fn guid() -> String {
    AdapterId::new(PROVIDER_ID).text().map(char::from).iter().collect()
}

/// How trace events are recorded and read.
fn recording() -> String {
    let mut keywords = String::new();
    for kind in KINDS {
        let name = format!("{:#x} {}", kind.keyword as u64, kind.keyword.name());
        if !keywords.split(", ").any(|known| known == name) {
            let comma = if keywords.is_empty() { "" } else { ", " };
            keywords += &format!("{comma}{name}");
        }
    }
    let guid = guid();
    format!(
        "## Recording\n\nThe driver is the provider `lbfoext` of trace events, {guid}, as\n\
         TraceLogging writes them: they describe themselves, so no manifest is installed. By Microsoft's pages tools of\n\
         Windows 10 and Windows Server 2016 or later decode them:\n\n```text\n\
         logman create trace lbfoext -ets -o C:\\lbfoext.etl \\\n    -p \"{guid}\" 0xff 5\n\
         logman stop lbfoext -ets\n\
         tracerpt C:\\lbfoext.etl -o C:\\lbfoext.xml -of XML -y\n\
         Get-WinEvent -Path C:\\lbfoext.etl -Oldest\n```\n\n\
         The first two lines are one. 0xff is the sum of what is to be recorded,\n{keywords};\n5 is the level: 2 Error, 3 Warning, \
         4 Information, 5 Verbose. An event has its id, level and keyword as above, and these\nfields:\n\n```text\n\
         Switch           its name, at most 32 characters\n\
         Time             when it happened, in 100 ns since the start, without sleep\n\
         What, Why, Next  the three lines above, with the values in them\n\
         ...              its own fields, as numbers where they are numbers\n```\n\n\
         The time in front of the event is that at which it was written, a moment later. Of one kind at most 128 are written \
         in\na row, then one in 10 ms; NotTraced says how many are missing. A session gets what happens while it lasts. Tools \
         for\nwhich the name is enough find the provider as `*lbfoext`. Nothing of this has been tried on Windows: the \
         simulated\nkernel decodes every event from the bytes that the driver passes.\n"
    )
}

/// The records of a survey, from the driver's table.
fn survey() -> String {
    let form = |form: Form| match form {
        Form::Number | Form::Half | Form::Byte => "number".to_owned(),
        Form::Hex => "hexadecimal".to_owned(),
        Form::Head => "header".to_owned(),
        Form::Word(words) => words.join("|"),
    };
    let mut kinds = String::new();
    for about in ABOUTS {
        let mut line = String::new();
        for &(name, of) in about.fields() {
            let field = format!("{name}={}", form(of));
            if line.len() + field.len() > 78 {
                kinds += &format!("{line}\n");
                line = " ".to_owned();
            }
            line += &format!("{}{field}", if line.is_empty() { "" } else { " " });
        }
        kinds += &format!("{line}\n");
    }
    format!(
        "\n## The survey\n\nWith the setting `Survey` on, event 37 tells what Windows passes to the extension: one record \
         in each, `#number name=value\n...`. The first name says what it is about (`teaming/src/event/survey.rs` \
         describes each); a header is\ntype.revision.size. Numbers begin with 1 at each attachment and have no gap, \
         unless records were lost: then\n`lost` says how many, in all. The last number is {LAST}. Requests that come before \
         the first restart of the\nextension has read its settings are not recorded.\n\n```text\n{kinds}```\n\n\
         `teamctl survey` reads what `collect.ps1 -Trace` saves of a session, and answers `ASSUMPTIONS.md` from it.\n"
    )
}

#[test]
fn the_document_of_the_events_is_what_the_driver_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(DOCUMENT);
    let document = document();
    if std::env::var_os("RENEW").is_some() {
        fs::write(&path, &document).expect("the document is written");
    }
    let fenced = document.split("```").skip(1).step_by(2).flat_map(str::lines);
    let long: Vec<&str> = fenced.filter(|line| line.len() > 82).collect();
    assert!(long.is_empty(), "{long:#?}");
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert!(written == document, "{DOCUMENT} is old: RENEW=1 writes it again");
    assert!(include_str!("../../../README.md").contains(&guid()), "the README names another provider");
}
