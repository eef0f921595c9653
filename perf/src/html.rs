//! `--report`: one HTML file without scripts and external resources, in light and dark colours.

use crate::hosts::{Listed, Role, text_of};
use crate::print::{least, part, speed};
use crate::queues::Queues;
use crate::report::{Report, Verdict};
use crate::text::{count, count_of};
use crate::tunnels::Told;
use crate::{chart, print_queues};
use std::fmt::Write;

pub fn page(report: &Report) -> String {
    let facts = &report.facts;
    let class = match report.verdict {
        Verdict::Fine => "fine",
        Verdict::LittleCrossed | Verdict::MuchDropped | Verdict::NoMemberUp => "doubtful",
        Verdict::GuaranteeBroken => "broken",
    };
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>Team replay: {capture}</title>\
         <style>{STYLE}</style></head><body>\n\
         <h1><span class=\"{class}\">{}</span> {capture}</h1>\n\
         <p>{} in {} over {:.1} s; {}, {}; {}; {} driver.</p>\n",
        escape(&report.verdict_text),
        count_of(report.frames as u64, "frame"),
        count_of(report.flows as u64, "flow"),
        facts.length.as_secs_f64(),
        count_of(report.machines.len() as u64, "machine"),
        count_of(report.members.len() as u64, "member"),
        escape(&facts.team),
        report.driver,
        capture = escape(&report.capture),
    );
    let _ = write!(
        page,
        "<p>{}</p>\n<h2>Machines</h2>\n{}",
        sentence(report),
        machines(report.machines.iter().chain(&report.other_adapters))
    );
    let _ = write!(page, "<h2>Load over time</h2>\n{}", chart::load(report));
    let _ = write!(page, "<h2>Members</h2>\n{}{}", chart::shares(&report.members), members(report));
    let _ = writeln!(
        page,
        "<p>The busiest member carries {:.2} of its fair share, which the line in each bar marks; for these flows \
         under this policy {}.</p>",
        report.imbalance,
        least(report)
    );
    for line in report.encapsulated.iter().flat_map(Told::lines) {
        let _ = writeln!(page, "<p>{}</p>", escape(line.trim()));
    }
    let _ = write!(page, "<h2>Failures and returns</h2>\n{}", events(report));
    if let Some(queues) = &report.queues {
        let _ = write!(page, "<h2>Receive queues</h2>\n{}", self::queues(queues));
    }
    let _ = write!(page, "<h2>How frames ended</h2>\n{}", account(report));
    let used = facts.buckets.iter().filter(|bucket| bucket.last != 0).count();
    let _ = write!(
        page,
        "<h2>Buckets</h2>\n<p>{} of {} buckets saw traffic to the outside. The digit is the member that carried the \
         bucket last{}; a framed bucket changed member on the way. A faint digit is the member that a bucket without \
         traffic has at the end{}.</p>\n{}",
        count(used as u64),
        count(facts.buckets.len() as u64),
        if report.members.len() > 9 { " (A is 10)" } else { "" },
        if facts.table.contains(&0) { ", - none" } else { "" },
        chart::buckets(report)
    );
    let _ = write!(page, "<h2>Largest flows of each member</h2>\n{}", largest(report));
    let _ = write!(page, "<footer>{}</footer>\n</body></html>\n", escape(&command()));
    page
}

/// The summary sentence.
fn sentence(report: &Report) -> String {
    let moved: u64 = report.events.iter().map(|event| event.flows_moved).sum();
    let needless: u64 = report.events.iter().map(|event| event.flows_moved_needlessly).sum();
    let dead: u64 = report.events.iter().map(|event| event.frames_to_dead_member).sum();
    let mut text = format!(
        "{} changed member, {needless} of them needlessly; given to a dead member: {}; reordered within a flow: {}; \
         {} of {} checked; {}.",
        count_of(moved, "flow"),
        count_of(dead, "frame"),
        count_of(report.reordered_frames, "frame"),
        count_of(report.violations as u64, "violation"),
        count_of(report.rules_exercised as u64, "rule"),
        count_of(report.leaks as u64, "leak")
    );
    for detail in report.warnings.iter().chain(&report.details) {
        let _ = write!(text, "<br>{}", escape(detail));
    }
    text
}

/// The list of machines, then that of other adapters.
pub fn machines<'a>(listed: impl Iterator<Item = &'a Listed>) -> String {
    let rows = listed.map(|listed| {
        let role = match listed.role {
            Role::Machine => "machine",
            Role::Gateway => "router",
            Role::External => "outside",
        };
        let addresses: Vec<String> = listed.addresses.iter().map(ToString::to_string).collect();
        vec![
            listed.machine.map_or_else(|| role.to_owned(), |number| number.to_string()),
            text_of(listed.mac),
            addresses.join(" "),
            listed.why.clone(),
            count(listed.frames_sent),
        ]
    });
    let heads = ["machine", "adapter", "addresses", "by what", "frames sent"];
    table(&heads, &["addresses", "by what"], rows)
}

fn members(report: &Report) -> String {
    let bytes: u64 = report.members.iter().map(|member| member.bytes).sum();
    let rows = report.members.iter().map(|member| {
        vec![
            member.index.to_string(),
            speed(member.bits_per_second),
            count(member.frames),
            count(member.bytes),
            count(member.flows),
            format!("{:.1} %", part(member.bytes, bytes) * 100.0),
        ]
    });
    table(&["member", "speed", "frames", "bytes", "flows", "share"], &[], rows)
}

fn events(report: &Report) -> String {
    if report.events.is_empty() {
        return "<p>No member failed.</p>\n".to_owned();
    }
    let rows = report.events.iter().map(|event| {
        let of_loss = |number: u64| if event.kind == "down" { count(number) } else { "-".to_owned() };
        vec![
            format!("{:.2} s", event.at.as_secs_f64()),
            format!("member {} {}", event.member, event.kind),
            count(event.at_frame as u64),
            count(event.flows_moved),
            count(event.flows_moved_needlessly),
            of_loss(event.frames_to_dead_member),
            of_loss(event.frames_lost_before_indication),
        ]
    });
    let heads =
        ["time", "what", "at frame", "flows moved", "needlessly", "given to it afterwards", "lost before"];
    table(&heads, &["what"], rows)
}

fn account(report: &Report) -> String {
    let account = &report.facts.account;
    let ends = [
        ("left to the outside", account.outside),
        ("delivered inside", account.inside),
        ("both, by flooding", account.both),
        ("left to the switch itself", account.native),
        ("lost with a link before the driver could know", account.lost),
        ("from outside while no member was up", account.unreachable),
        ("without an end", account.unaccounted),
        ("announcements, made by the driver itself", account.announcements),
        ("queries for groups to machines that moved, likewise", account.group_queries),
    ];
    let ends = ends.into_iter().map(|(words, number)| vec![count(number), words.to_owned()]);
    let dropped = account.dropped.iter().map(|(why, number)| vec![count(*number), format!("dropped: {why}")]);
    table(&["frames", "end"], &["end"], ends.chain(dropped))
}

fn largest(report: &Report) -> String {
    let rows = report.members.iter().flat_map(|member| {
        member.largest_flows.iter().map(|flow| {
            vec![
                member.index.to_string(),
                flow.label.protocol(),
                flow.flow.clone(),
                count(flow.share.frames),
                count(flow.share.bytes),
                format!("{:.1} %", part(flow.share.bytes, member.bytes) * 100.0),
            ]
        })
    });
    table(&["member", "protocol", "flow", "frames", "bytes", "of the member"], &["protocol", "flow"], rows)
}

fn queues(queues: &Queues) -> String {
    let stages = queues.stages.iter().map(|stage| {
        let wrong = stage.disagreements.len();
        let mut words = stage.explanation.clone();
        if wrong != 0 {
            let _ = write!(words, " ({})", stage.disagreements.join("; "));
        }
        vec![format!("{:.2} s", stage.at_seconds), words, wrong.to_string()]
    });
    let stages = table(&["time", "what", "disagreements"], &["what"], stages);
    let frames = queues.stages.iter().flat_map(|stage| {
        stage.members.iter().map(|member| {
            vec![
                print_queues::title(stage),
                member.index.to_string(),
                member.queues.to_string(),
                count(member.frames_own_queue),
                count(member.frames_default_queue),
                count(member.frames_other),
            ]
        })
    });
    let heads = ["stage", "member", "queues", "by own queues", "by the default queue", "for no machine"];
    format!(
        "<p>Placement {}; {}. A cell names the member that serves a machine's queue and the queue's number; a hatched \
         one has no link, so that the machine's frames come by default queues.</p>\n{}{stages}\
         <p>Frames from outside in each stage:</p>\n{}",
        queues.placement,
        print_queues::limits(&queues.limits),
        chart::queues(queues),
        table(&heads, &["stage"], frames)
    )
}

/// Text columns are left-aligned and may wrap; columns of figures are right-aligned and do not.
pub fn table(heads: &[&str], words: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let class = |head: &str| if words.contains(&head) { " class=\"words\"" } else { "" };
    let top: String = heads.iter().map(|head| format!("<th{}>{head}</th>", class(head))).collect();
    let rows: String = rows
        .map(|row| {
            let cells = heads.iter().zip(row);
            let cells: String =
                cells.map(|(head, cell)| format!("<td{}>{}</td>", class(head), escape(&cell))).collect();
            format!("<tr>{cells}</tr>\n")
        })
        .collect();
    format!("<table><thead><tr>{top}</tr></thead><tbody>\n{rows}</tbody></table>\n")
}

/// The command that makes the page again.
pub fn command() -> String {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    format!("teamctl {} (version {})", arguments.join(" "), env!("CARGO_PKG_VERSION"))
}

pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// The colours of Okabe and Ito, which people with colour blindness can distinguish.
pub const STYLE: &str = "
:root{color-scheme:light dark;--ink:#1b1b1b;--paper:#fff;--line:#8a8a8a;--soft:#e6e6e6;--good:#00664b;--bad:#a63c00}
@media (prefers-color-scheme:dark){:root{--ink:#e8e8e8;--paper:#16181b;--line:#8d8d8d;--soft:#33373c;\
--good:#4fd0a5;--bad:#ff9a5c}}
body{font:15px/1.45 system-ui,sans-serif;color:var(--ink);background:var(--paper);max-width:800px;margin:1.5em auto;\
padding:0 1em}
h1{font-size:1.35em;margin:0 0 .3em;overflow-wrap:anywhere}h2{font-size:1.05em;margin:1.4em 0 .3em}p{margin:.4em 0}
.fine,.doubtful,.broken{border:2px solid;border-radius:4px;padding:0 .4em;margin-right:.3em}
.fine{color:var(--good)}.broken,.doubtful{color:var(--bad)}.doubtful{border-style:dashed}
table{border-collapse:collapse;margin:.5em 0;font-variant-numeric:tabular-nums;font-size:.92em}
th,td{padding:.15em .6em;text-align:right;white-space:nowrap;border-bottom:1px solid var(--soft)}
.words{text-align:left;white-space:normal;overflow-wrap:break-word}@media (min-width:641px){td.words:first-child{white-space:nowrap}}
th{white-space:normal;font-weight:600;border-bottom-color:var(--line)}
svg{width:100%;height:auto;display:block}@media (max-width:640px){svg{min-width:520px}}svg text{fill:var(--ink);font-size:12px}
svg .small{font-size:11px;paint-order:stroke;stroke:var(--paper);stroke-width:3px}svg .cell-words{font-size:11px;text-anchor:middle;paint-order:stroke;stroke:var(--paper);stroke-width:2px}svg .digit{font-size:9px;text-anchor:middle;fill:#000;font-family:monospace}svg .idle{font-size:8px;text-anchor:middle;fill:var(--line);font-family:monospace}
.axis{stroke:var(--line)}.mark{stroke:var(--ink);stroke-width:1.5;stroke-dasharray:4 3}
.hatch{stroke:var(--line);stroke-width:1.5}
.cell{stroke:none}.moved{stroke:var(--ink);stroke-width:1.6}
.m0{fill:#56b4e9}.m1{fill:#e69f00}.m2{fill:#2bb58c}.m3{fill:#e0d33c}.m4{fill:#d98cb3}.m5{fill:#f0824a}.m6{fill:#8fa9d6}\
.m7{fill:#b3b3b3}
footer{margin:2em 0 1em;border-top:1px solid var(--line);padding-top:.4em;font-size:.85em;overflow-wrap:anywhere}
.wide{overflow-x:auto}@media print{body{max-width:none}.wide{overflow:visible}}";
