//! The plots of the HTML report, as SVG with selectable text. Colours come from the style sheet of the page. No
//! information depends on colour alone: lanes and cells show the member's number.

use crate::print::speed;
use crate::print_queues;
use crate::queues::Queues;
use crate::report::{Happening, Member, Report};
use crate::text::count;
use std::fmt::Write;
use std::time::Duration;

const WIDTH: f64 = 760.0;
/// Width of the labels left of the plots.
const LEFT: f64 = 82.0;
/// Width of the figures right of the plots.
const RIGHT: f64 = 60.0;
const PLOT: f64 = WIDTH - LEFT - RIGHT;

/// One lane for each member, with the same time axis and scale; failures and returns are lines through all lanes.
pub fn load(report: &Report) -> String {
    let members = &report.members;
    let lane = (300.0 / members.len() as f64).clamp(26.0, 64.0);
    let marks = marks(&report.events, report.facts.length);
    let rows = marks.iter().map(|mark| mark.row + 1).max().unwrap_or(0);
    let top = 10.0 + MARK_ROW * rows as f64;
    let bottom = top + lane * members.len() as f64;
    let length = report.facts.length;
    let peak = members.iter().flat_map(|member| &member.bytes_over_time).copied().max().unwrap_or(0).max(1);
    let mut svg = open(bottom + 34.0, "Load of each member over time");
    svg.push_str(HATCH);
    for (number, member) in members.iter().enumerate() {
        let base = top + lane * (number + 1) as f64;
        for (from, to) in outages(&report.events, member.index, length) {
            let (x, width) = (x_of(from, length), x_of(to, length) - x_of(from, length));
            let _ = write!(
                svg,
                r#"<rect x="{x:.1}" y="{:.1}" width="{width:.1}" height="{:.1}" fill="url(#hatch)"><title>member {} is down</title></rect>"#,
                base - lane + 2.0,
                lane - 2.0,
                member.index
            );
        }
        let path = steps(&member.bytes_over_time, peak, base, lane - 6.0);
        let _ = write!(
            svg,
            r#"<path class="m{}" d="{path}"><title>member {}: {} bytes</title></path>"#,
            color(member.index),
            member.index,
            count(member.bytes)
        );
        let _ = write!(
            svg,
            r#"<line class="axis" x1="{LEFT}" x2="{:.1}" y1="{base:.1}" y2="{base:.1}"/><text x="{:.1}" y="{:.1}" text-anchor="end">member {}</text><text x="{:.1}" y="{:.1}">{}</text>"#,
            WIDTH - RIGHT,
            LEFT - 8.0,
            base - lane / 2.0 + 5.0,
            member.index,
            WIDTH - RIGHT + 8.0,
            base - lane / 2.0 + 5.0,
            speed(member.bits_per_second)
        );
    }
    // Text is drawn last, so that it covers the lines.
    marks.iter().for_each(|mark| mark.line(&mut svg, bottom));
    marks.iter().for_each(|mark| mark.words(&mut svg));
    times(&mut svg, length, bottom);
    let column = length.as_secs_f64() / crate::observer::COLUMNS as f64;
    let _ = write!(
        svg,
        r#"<text class="small" x="{:.1}" y="{:.1}" text-anchor="end">full lane: {}</text></svg></div>"#,
        WIDTH - 4.0,
        bottom + 28.0,
        rate(peak as f64 * 8.0 / column.max(1e-9))
    );
    svg
}

/// Height of a row of text above the lanes.
const MARK_ROW: f64 = 13.0;
/// Estimated width of a letter of that text, an upper bound.
const LETTER: f64 = 6.2;

/// A line through all lanes, with text at its top.
struct Mark {
    x: f64,
    words: String,
    /// The text ends at the line instead of starting there.
    before: bool,
    row: usize,
}

/// The marks of the events, each with its text in the first row without overlap.
fn marks(events: &[Happening], length: Duration) -> Vec<Mark> {
    let mut ends: Vec<f64> = Vec::new();
    let marks = events.iter().map(|event| {
        let x = x_of(event.at, length);
        let words = format!("member {} {} at {:.2} s", event.member, event.kind, event.at.as_secs_f64());
        let width = LETTER * words.len() as f64;
        let before = x + width > WIDTH;
        let from = if before { x - width } else { x };
        let row = ends.iter().position(|end| *end < from).unwrap_or(ends.len());
        if row == ends.len() {
            ends.push(0.0);
        }
        ends[row] = from + width;
        Mark { x, words, before, row }
    });
    marks.collect()
}

impl Mark {
    fn base(&self) -> f64 {
        12.0 + MARK_ROW * self.row as f64
    }

    fn line(&self, svg: &mut String, bottom: f64) {
        let (x, top) = (self.x, self.base() + 3.0);
        let _ = write!(svg, r#"<line class="mark" x1="{x:.1}" x2="{x:.1}" y1="{top:.1}" y2="{bottom:.1}"/>"#);
    }

    fn words(&self, svg: &mut String) {
        let (x, y) = (self.x, self.base());
        let anchor = if self.before { "end" } else { "start" };
        let _ = write!(
            svg,
            r#"<text class="small" x="{x:.1}" y="{y:.1}" text-anchor="{anchor}">{}</text>"#,
            self.words
        );
    }
}

fn times(svg: &mut String, length: Duration, bottom: f64) {
    for tick in 0..=4 {
        let at = length.mul_f64(f64::from(tick) / 4.0);
        let _ = write!(
            svg,
            r#"<text class="small" x="{:.1}" y="{:.1}" text-anchor="middle">{:.1} s</text>"#,
            x_of(at, length),
            bottom + 14.0,
            at.as_secs_f64()
        );
    }
}

fn steps(columns: &[u64], peak: u64, base: f64, height: f64) -> String {
    let width = PLOT / columns.len() as f64;
    let mut path = format!("M{LEFT:.1} {base:.1}");
    for (number, &bytes) in columns.iter().enumerate() {
        let y = base - height * bytes as f64 / peak as f64;
        let _ = write!(path, "V{y:.1}H{:.1}", LEFT + width * (number + 1) as f64);
    }
    let _ = write!(path, "V{base:.1}Z");
    path
}

/// The times from each failure of the member to its return.
fn outages(events: &[Happening], member: u16, length: Duration) -> Vec<(Duration, Duration)> {
    let mut outages = Vec::new();
    let mut since = None;
    for event in events.iter().filter(|event| event.member == member) {
        match (event.kind, since) {
            ("down", None) => since = Some(event.at),
            ("up", Some(from)) => {
                outages.push((from, event.at));
                since = None;
            }
            _ => {}
        }
    }
    outages.extend(since.map(|from| (from, length)));
    outages
}

fn x_of(at: Duration, length: Duration) -> f64 {
    LEFT + PLOT * (at.as_secs_f64() / length.as_secs_f64().max(1e-9)).min(1.0)
}

/// Bars of bytes, with a tick at each member's fair share.
pub fn shares(members: &[Member]) -> String {
    let bytes: u64 = members.iter().map(|member| member.bytes).sum();
    let speeds: u64 = members.iter().map(|member| member.bits_per_second).sum();
    let fair = |member: &Member| member.bits_per_second as f64 / speeds.max(1) as f64;
    let share = |member: &Member| member.bytes as f64 / bytes.max(1) as f64;
    let most = members.iter().map(|member| share(member).max(fair(member))).fold(0.01, f64::max);
    let row = 24.0;
    let mut svg = open(row * members.len() as f64 + 6.0, "Share of bytes of each member");
    for (number, member) in members.iter().enumerate() {
        let y = 4.0 + row * number as f64;
        let (width, tick) = (PLOT * share(member) / most, LEFT + PLOT * fair(member) / most);
        let _ = write!(
            svg,
            r#"<text x="{:.1}" y="{:.1}" text-anchor="end">member {}</text><rect class="m{}" x="{LEFT}" y="{y:.1}" width="{width:.1}" height="{:.1}"/><line class="mark" x1="{tick:.1}" x2="{tick:.1}" y1="{:.1}" y2="{:.1}"><title>fair share</title></line><text x="{:.1}" y="{:.1}">{:.1} %</text>"#,
            LEFT - 8.0,
            y + 15.0,
            member.index,
            color(member.index),
            row - 6.0,
            y - 2.0,
            y + row - 4.0,
            WIDTH - RIGHT + 8.0,
            y + 15.0,
            share(member) * 100.0
        );
    }
    svg.push_str("</svg></div>");
    svg
}

/// Cells in a row of the grid.
const GRID: usize = 64;
const CELL: f64 = 11.5;

/// All buckets; the number in a cell is the member that carried the bucket last, a frame marks one that moved. A
/// bucket without traffic shows, faintly, its member at the end.
pub fn buckets(report: &Report) -> String {
    let buckets = &report.facts.buckets;
    let rows = buckets.len().div_ceil(GRID);
    let mut svg = open(CELL * rows as f64 + 2.0, "Member of each bucket");
    let left = (WIDTH - CELL * GRID as f64) / 2.0;
    for (number, bucket) in buckets.iter().enumerate() {
        let (x, y) = (left + CELL * (number % GRID) as f64, 1.0 + CELL * (number / GRID) as f64);
        let (middle, base) = (x + CELL / 2.0, y + CELL - 2.5);
        let stands = report.facts.table.get(number).copied();
        if bucket.last == 0 {
            let idle = stands.filter(|&member| member != 0);
            let digit = idle.map_or('-', digit);
            let _ = write!(svg, r#"<text class="idle" x="{middle:.1}" y="{base:.1}">{digit}</text>"#);
            continue;
        }
        let class = match bucket.moved {
            true => " moved",
            // The bucket had no traffic since it moved back to its home member.
            false if stands != Some(bucket.last) => " elsewhere",
            false => "",
        };
        let _ = write!(
            svg,
            r#"<rect class="cell m{}{class}" x="{:.1}" y="{:.1}" width="{:.1}" height="{:.1}"/><text class="digit" x="{middle:.1}" y="{base:.1}">{}</text>"#,
            color(bucket.last),
            x + 0.8,
            y + 0.8,
            CELL - 1.6,
            CELL - 1.6,
            digit(bucket.last)
        );
    }
    svg.push_str("</svg></div>");
    svg
}

/// Largest number of VMs in the map of queues.
const MACHINES: usize = 64;

/// A row for each VM, a column for each stage; a cell shows the members that have its queue.
pub fn queues(queues: &Queues) -> String {
    let (row, stages) = (20.0, &queues.stages);
    let machines = stages.first().map_or(0, |stage| stage.machines.len().min(MACHINES));
    let width = (WIDTH - 2.0 * LEFT) / stages.len().max(1) as f64;
    let mut svg = open(34.0 + row * machines as f64, "Member that holds each machine's queue");
    svg.push_str(HATCH);
    for (column, stage) in stages.iter().enumerate() {
        let (x, middle) = (2.0 * LEFT + width * column as f64, 2.0 * LEFT + width * (column as f64 + 0.5));
        let _ = write!(
            svg,
            r#"<text class="small" x="{middle:.1}" y="12" text-anchor="middle">{}</text><text class="small" x="{middle:.1}" y="26" text-anchor="middle">{:.2} s</text>"#,
            print_queues::title(stage),
            stage.at_seconds
        );
        for (number, machine) in stage.machines.iter().take(machines).enumerate() {
            let y = 32.0 + row * number as f64;
            let fill = match (machine.served_by().first(), machine.held_by.is_empty()) {
                (Some(member), _) => format!(r#"class="m{}""#, color(*member)),
                (None, false) => r#"fill="url(#hatch)""#.to_owned(),
                (None, true) => r#"fill="none""#.to_owned(),
            };
            let _ = write!(
                svg,
                r#"<rect {fill} x="{:.1}" y="{y:.1}" width="{:.1}" height="{:.1}"/><text class="cell-words" x="{middle:.1}" y="{:.1}">{}</text>"#,
                x + 1.0,
                width - 2.0,
                row - 2.0,
                y + 13.0,
                print_queues::queue(machine)
            );
        }
    }
    for (number, machine) in
        stages.iter().take(1).flat_map(|stage| &stage.machines).take(machines).enumerate()
    {
        let _ = write!(
            svg,
            r#"<text class="small" x="{:.1}" y="{:.1}" text-anchor="end">{} {}</text>"#,
            2.0 * LEFT - 6.0,
            45.0 + row * number as f64,
            machine.machine,
            machine.mac
        );
    }
    svg.push_str("</svg></div>");
    svg
}

/// 1 to 9, then A for 10 to W for 32.
pub fn digit(member: u16) -> char {
    char::from_digit(u32::from(member), 36).unwrap_or('?').to_ascii_uppercase()
}

/// Colours repeat after eight members.
fn color(member: u16) -> u16 {
    (member.max(1) - 1) % 8
}

/// A rate in the unit that suits it.
pub fn rate(bits_per_second: f64) -> String {
    match bits_per_second {
        rate if rate >= 1e9 => format!("{:.2} Gbit/s", rate / 1e9),
        rate if rate >= 1e6 => format!("{:.2} Mbit/s", rate / 1e6),
        rate => format!("{:.0} kbit/s", rate / 1e3),
    }
}

/// Bars with labels, each with a tick, and its values as text; all on one scale from 0. `marked` bars are framed.
pub fn bars(title: &str, tick: &str, rows: &[Bar]) -> String {
    let most = rows.iter().map(|bar| bar.value.max(bar.tick)).fold(0.01, f64::max);
    let (row, left) = (24.0, LEFT + 118.0);
    let plot = WIDTH - left - RIGHT;
    let mut svg = open(row * rows.len() as f64 + 6.0, title);
    for (number, bar) in rows.iter().enumerate() {
        let y = 4.0 + row * number as f64;
        let (width, at) = (plot * bar.value / most, left + plot * bar.tick / most);
        let _ = write!(
            svg,
            r#"<text x="{:.1}" y="{:.1}" text-anchor="end">{}</text><rect class="m{}{}" x="{left}" y="{y:.1}" width="{width:.1}" height="{:.1}"/><line class="mark" x1="{at:.1}" x2="{at:.1}" y1="{:.1}" y2="{:.1}"><title>{tick}</title></line><text x="{:.1}" y="{:.1}">{:.2}</text>"#,
            left - 8.0,
            y + 15.0,
            bar.label,
            bar.color % 8,
            if bar.marked { " moved" } else { "" },
            row - 6.0,
            y - 2.0,
            y + row - 4.0,
            WIDTH - RIGHT + 8.0,
            y + 15.0,
            bar.value
        );
    }
    svg.push_str("</svg></div>");
    svg
}

/// One of `bars`.
pub struct Bar {
    /// Without characters that HTML reads.
    pub label: String,
    pub value: f64,
    pub tick: f64,
    pub color: u16,
    pub marked: bool,
}

fn open(height: f64, title: &str) -> String {
    format!(
        r#"<div class="wide"><svg viewBox="0 0 {WIDTH} {height:.0}" role="img" aria-label="{title}"><title>{title}</title>"#
    )
}

const HATCH: &str = r#"<defs><pattern id="hatch" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)"><line class="hatch" x1="0" y1="0" x2="0" y2="6"/></pattern></defs>"#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_have_one_digit_each() {
        assert_eq!([1, 9, 10, 32].map(digit), ['1', '9', 'A', 'W']);
    }

    #[test]
    fn words_of_neighbours_do_not_meet() {
        let events: Vec<Happening> = (0..40).map(|second| event("down", second)).collect();
        let marks = marks(&events, Duration::from_secs(39));
        let spans = marks.iter().map(|mark| {
            let width = LETTER * mark.words.len() as f64;
            let from = if mark.before { mark.x - width } else { mark.x };
            (mark.row, from, from + width)
        });
        let spans: Vec<_> = spans.collect();
        for (number, (row, from, to)) in spans.iter().enumerate() {
            assert!(*from >= 0.0 && *to <= WIDTH);
            let meets = |(other, begin, end): &(usize, f64, f64)| other == row && begin <= to && from <= end;
            assert!(!spans[..number].iter().any(meets), "{number}");
        }
    }

    fn event(kind: &'static str, seconds: u64) -> Happening {
        Happening {
            kind,
            member: 1,
            at_seconds: 0.0,
            at_frame: 0,
            flows_moved: 0,
            flows_moved_needlessly: 0,
            frames_to_dead_member: 0,
            frames_lost_before_indication: 0,
            at: Duration::from_secs(seconds),
        }
    }

    #[test]
    fn an_outage_lasts_until_the_return_or_the_end() {
        let events = [event("down", 1), event("up", 3), event("down", 5)];
        let outages = outages(&events, 1, Duration::from_secs(9));
        assert_eq!(
            outages,
            [(1, 3), (5, 9)].map(|(from, to)| (Duration::from_secs(from), Duration::from_secs(to)))
        );
    }
}
