//! `compare --report`: one HTML file without scripts and external resources, in light and dark colours.

use super::print::speeds;
use super::{Compared, Comparison, Row, physical};
use crate::args::Mode;
use crate::chart::{Bar, bars, rate};
use crate::html::{STYLE, command, escape, machines, table};
use crate::text::{count, count_of};
use std::fmt::Write;

pub fn page(comparison: &Comparison) -> String {
    let capture = escape(&comparison.capture);
    let (class, word) =
        if comparison.fine { ("fine", "Compared") } else { ("broken", "A GUARANTEE WAS BROKEN") };
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>Teams compared: {capture}</title>\
         <style>{STYLE}</style></head><body>\n<h1><span class=\"{class}\">{word}</span> {capture}</h1>\n\
         <p>{} over {:.1} s; {}; {} by the team.</p>\n",
        count_of(comparison.frames as u64, "frame"),
        comparison.length_seconds,
        count_of(comparison.machines.len() as u64, "machine"),
        count_of(comparison.frames_by_the_team, "frame"),
    );
    for warning in &comparison.warnings {
        let _ = writeln!(page, "<p>{}</p>", escape(warning));
    }
    comparison.teams.iter().for_each(|team| self::team(&mut page, team));
    let listed = comparison.machines.iter().chain(&comparison.other_adapters);
    let _ = write!(page, "<h2>Machines</h2>\n<div class=\"wide\">{}</div>", machines(listed));
    let _ = write!(page, "<footer>{}</footer>\n</body></html>\n", escape(&command()));
    page
}

fn team(page: &mut String, team: &Compared) {
    let _ = writeln!(page, "<h2>Members {}</h2>", escape(&speeds(&team.members_bits_per_second)));
    match &team.recommendation {
        Some(advice) => {
            let values: Vec<String> =
                advice.registry.iter().map(|(name, value)| format!("{name}={value}")).collect();
            let _ = writeln!(
                page,
                "<p><b>{}</b></p>\n<p>{}.</p>\n<p>Registry: {}</p>\n<p>The same alone: {}</p>",
                escape(&advice.sentence),
                escape(team.chosen().map_or("", |row| physical(row.mode))),
                escape(&values.join(" ")),
                escape(&advice.command)
            );
        }
        None => page.push_str("<p>Nothing left by the team: no policy is better than another.</p>\n"),
    }
    let chosen = team.recommendation.as_ref().map(|advice| advice.row);
    let bar = |(number, row): (usize, &Row)| Bar {
        label: name(row),
        value: row.imbalance,
        tick: row.imbalance_floor,
        color: u16::from(row.mode == Mode::SwitchIndependent),
        marked: chosen == Some(number),
    };
    let all: Vec<Bar> = team.rows.iter().enumerate().map(bar).collect();
    let _ = writeln!(
        page,
        "<p>Load of the busiest member in fair shares; the line in a bar is the least possible under the policy, a framed \
         bar is the recommendation.</p>\n{}",
        bars("Imbalance of each policy", "the least possible", &all)
    );
    let _ = write!(page, "<div class=\"wide\">{}</div>", rows(team));
    if team.rows.iter().any(|row| row.failures.is_some()) {
        let _ = write!(
            page,
            "<p>Flows that move when one member fails / when it is back:</p>\n<div class=\"wide\">{}</div>",
            moves(team)
        );
    }
}

fn name(row: &Row) -> String {
    let mode = if row.mode == Mode::Static { "static" } else { "independent" };
    format!("{mode} {}", row.name())
}

fn rows(team: &Compared) -> String {
    let rows = team.rows.iter().map(|row| {
        let peak = row.peak.map_or(["-".to_owned(), "-".to_owned()], |peak| {
            [rate(peak.bits_per_second), format!("{:.2} %", peak.share_of_link * 100.0)]
        });
        let [peak, part] = peak;
        let bound = if row.imbalance_floor_exact { "" } else { "above " };
        vec![
            name(row),
            format!("{:.2}", row.imbalance),
            format!("{bound}{:.2}", row.imbalance_floor),
            peak,
            part,
            row.failures.as_ref().map_or("-".to_owned(), |_| count(row.most_moved())),
            row.split_flows.to_string(),
            count(row.reordered_frames),
        ]
    });
    let heads = [
        "policy",
        "imbalance",
        "least",
        "peak of a member",
        "of its link",
        "most moved by a failure",
        "UDP flows split by fragments",
        "frames overtaken",
    ];
    table(&heads, &["policy"], rows)
}

fn moves(team: &Compared) -> String {
    let numbers: Vec<String> =
        (1..=team.members_bits_per_second.len()).map(|n| format!("member {n}")).collect();
    let heads: Vec<&str> = ["policy"].into_iter().chain(numbers.iter().map(String::as_str)).collect();
    let rows = team.rows.iter().map(|row| {
        let cells = row.failures.iter().flatten();
        let cells = cells.map(|one| format!("{}/{}", one.flows_moved_down, one.flows_moved_up));
        [name(row)].into_iter().chain(cells).collect()
    });
    table(&heads, &["policy"], rows)
}
