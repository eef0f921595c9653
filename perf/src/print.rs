//! The report as text of 80 columns. Zero values are printed too.

use crate::print_machines;
use crate::report::{Happening, Member, Report, Verdict};
use crate::text::{COLUMNS, count, count_of, fit, wrap};
use crate::tunnels::Told;

/// Length of a bar.
const BAR: usize = 24;

pub fn replay(report: &Report) {
    print!("{}", text(report));
}

fn text(report: &Report) -> String {
    let facts = &report.facts;
    let numbers = format!(
        "{} in {} over {:.1} s, {}, {}",
        count_of(report.frames as u64, "frame"),
        count_of(report.flows as u64, "flow"),
        facts.length.as_secs_f64(),
        count_of(report.machines.len() as u64, "machine"),
        count_of(report.members.len() as u64, "member")
    );
    let mut lines = match report.verdict {
        Verdict::NoMemberUp => vec![report.verdict_text.clone(), numbers],
        Verdict::Fine | Verdict::GuaranteeBroken => vec![format!("{}: {numbers}", report.verdict_text)],
        Verdict::LittleCrossed | Verdict::MuchDropped => {
            vec![format!("{}: are these the machines?", report.verdict_text), numbers]
        }
    };
    let source = format!("{}, {} driver", fit(&report.capture, 60), report.driver);
    if source.len() + facts.team.len() + 2 <= COLUMNS {
        lines.push(format!("{source}, {}", facts.team));
    } else {
        lines.extend([source, facts.team.clone()]);
    }
    if report.frames_cut_short != 0 {
        lines.push(format!(
            "{} cut short by the recorder; each counts as it is",
            count_of(report.frames_cut_short as u64, "frame")
        ));
    }
    lines.extend(report.warnings.iter().flat_map(|warning| wrap(warning, "note:", "  ")));
    lines.push(String::new());
    print_machines::lines(&mut lines, &report.machines, &report.other_adapters);
    if matches!(report.verdict, Verdict::LittleCrossed | Verdict::MuchDropped) {
        lines.push(
            "         others: --machines MAC,ADDRESS or all, -MAC for the guess without one".to_owned(),
        );
    }
    lines.push(String::new());
    members(&mut lines, &report.members);
    lines.push(match report.members.iter().map(|member| member.bytes).sum() {
        0_u64 => "no imbalance: nothing left by the team".to_owned(),
        _ => format!("imbalance {:.2} of a fair share at the busiest; {}", report.imbalance, least(report)),
    });
    lines.extend(report.encapsulated.iter().flat_map(Told::lines));
    lines.push(String::new());
    largest(&mut lines, &report.members, facts.top);
    report.events.iter().for_each(|happening| event(&mut lines, happening));
    if report.events.is_empty() {
        lines.push("no member failed".to_owned());
    }
    lines.push(String::new());
    if let Some(queues) = &report.queues {
        crate::print_queues::lines(&mut lines, queues);
        lines.push(String::new());
    }
    account(&mut lines, report);
    lines.push(format!(
        "{} reordered in a flow, {} of {} checked, {}",
        count(report.reordered_frames),
        count_of(report.violations as u64, "violation"),
        count_of(report.rules_exercised as u64, "rule"),
        count_of(report.leaks as u64, "leak")
    ));
    lines.extend(report.details.iter().flat_map(|detail| wrap(detail, " ", "    ")));
    lines.join("\n") + "\n"
}

pub fn least(report: &Report) -> String {
    if report.imbalance_floor_exact {
        format!("{:.2} is the least possible", report.imbalance_floor)
    } else {
        format!("below {:.2} is impossible (a bound)", report.imbalance_floor)
    }
}

fn members(lines: &mut Vec<String>, members: &[Member]) {
    let bytes: u64 = members.iter().map(|member| member.bytes).sum();
    lines.push("member  speed      frames          bytes    flows  share of bytes".to_owned());
    for member in members {
        let share = part(member.bytes, bytes);
        let filled = ((share * BAR as f64).round() as usize).min(BAR);
        lines.push(format!(
            "{:>6} {:>6} {:>11} {:>14} {:>8}  {}{} {:>3.0}%",
            member.index,
            speed(member.bits_per_second),
            count(member.frames),
            count(member.bytes),
            count(member.flows),
            "#".repeat(filled),
            ".".repeat(BAR - filled),
            share * 100.0
        ));
    }
}

/// The largest flows of each member: the requested number or as many as fit, for at most eight members.
fn largest(lines: &mut Vec<String>, members: &[Member], top: Option<u8>) {
    let (each, shown) = match top {
        Some(top) => (usize::from(top), members.len()),
        None => ((4 / members.len()).clamp(1, 3), 8),
    };
    if each == 0 {
        return;
    }
    lines.push("member  its largest flows, and their share of the member's bytes".to_owned());
    for member in members.iter().take(shown) {
        if member.largest_flows.is_empty() {
            lines.push(format!("{:>6}  none", member.index));
        }
        for (number, flow) in member.largest_flows.iter().take(each).enumerate() {
            lines.push(format!(
                "{:>6}  {:>3.0}%  {:<9} {}",
                if number == 0 { member.index.to_string() } else { String::new() },
                part(flow.share.bytes, member.bytes) * 100.0,
                flow.label.protocol(),
                fit(&flow.flow, 57)
            ));
        }
    }
    if members.len() > shown {
        lines.push(format!("        members {} to {} with --top 1", shown + 1, members.len()));
    }
    lines.push(String::new());
}

fn event(lines: &mut Vec<String>, event: &Happening) {
    lines.push(format!(
        "{:>8.2} s  member {} {}, frame {}: {} moved, {} needlessly",
        event.at.as_secs_f64(),
        event.member,
        event.kind,
        count(event.at_frame as u64),
        count_of(event.flows_moved, "flow"),
        event.flows_moved_needlessly
    ));
    if event.kind == "down" {
        lines.push(format!(
            "            {} given to it afterwards, {} lost before the indication",
            count_of(event.frames_to_dead_member, "frame"),
            count(event.frames_lost_before_indication)
        ));
    }
}

fn account(lines: &mut Vec<String>, report: &Report) {
    let account = &report.facts.account;
    lines.push(format!(
        "{} to the outside, {} inside, {} to both, {} native, {} without an end",
        count(account.outside),
        count(account.inside),
        count(account.both),
        count(account.native),
        account.unaccounted
    ));
    let dropped: u64 = account.dropped.values().sum();
    lines.push(format!(
        "{} dropped, {} lost with a link, {} from outside while no member was up",
        count(dropped),
        count(account.lost),
        count(account.unreachable)
    ));
    if account.announcements != 0 {
        let asked = count_of(account.group_queries, "question");
        let told = count_of(account.announcements, "announcement");
        lines.push(format!("{told} of the driver's own, and {asked} for groups"));
    }
    lines.extend(account.dropped.iter().map(|(reason, number)| format!("  {}: {reason}", count(*number))));
}

pub fn part(of: u64, all: u64) -> f64 {
    if all == 0 { 0.0 } else { of as f64 / all as f64 }
}

/// As `--speeds` takes it.
pub fn speed(bits: u64) -> String {
    let (whole, tenth) = (bits / 1_000_000_000, bits / 100_000_000 % 10);
    match (bits.is_multiple_of(100_000_000), whole, tenth) {
        (true, 1.., 0) => format!("{whole}G"),
        (true, 1.., _) => format!("{whole}.{tenth}G"),
        _ => format!("{}M", bits / 1_000_000),
    }
}

#[cfg(test)]
mod tests {
    use super::speed;
    use crate::args::Speed;

    #[test]
    fn a_speed_is_written_as_it_can_be_given() {
        for (megabits, text) in [
            (100, "100M"),
            (1_000, "1G"),
            (2_500, "2.5G"),
            (1_234, "1234M"),
            (25_000, "25G"),
            (999_999, "999999M"),
        ] {
            let bits = megabits * 1_000_000;
            assert_eq!(speed(bits), text);
            assert_eq!(text.parse(), Ok(Speed(bits)));
        }
    }
}
