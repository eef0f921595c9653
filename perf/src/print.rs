//! The replay's report as text of at most 80 columns. Zeros are printed: silence says nothing.

use crate::args::{Mode, PolicyName, Replay};
use crate::replay::{Event, Member, Report};

pub fn replay(arguments: &Replay, report: &Report) {
    let facts = &report.facts;
    let verdict = if report.is_fine(arguments) { "Fine" } else { "A GUARANTEE WAS BROKEN" };
    println!(
        "{verdict}: {} frames in {} flows over {:.1} s, {} machines, {} members",
        count(report.frames as u64),
        report.flows,
        facts.length.as_secs_f64(),
        facts.machines,
        report.members.len()
    );
    let mode = match arguments.mode {
        Mode::Static => "static",
        Mode::SwitchIndependent => "switch independent",
    };
    let policy = match arguments.policy {
        PolicyName::TransportPorts => "transport ports",
        PolicyName::HyperVPort => "Hyper-V port",
    };
    println!(
        "{}, {} driver, team {mode}, policy {policy}, seed {}",
        facts.capture, report.driver, arguments.seed
    );
    if facts.cut != 0 {
        println!("{} frames were cut short by the recorder; their bytes count as they are", facts.cut);
    }
    println!();
    members(&report.members);
    println!(
        "\nimbalance {:.2} of a fair share at the busiest member; {:.2} is the least that keeps flows whole",
        report.imbalance, report.imbalance_floor
    );
    println!();
    report.events.iter().for_each(event);
    if report.events.is_empty() {
        println!("no member failed");
    }
    println!();
    println!(
        "{} to the outside, {} delivered inside, {} native, {} without an end",
        count(facts.uplink as u64),
        count(facts.delivered_inside as u64),
        report.native,
        report.unaccounted
    );
    if report.dropped.is_empty() {
        println!("0 dropped");
    }
    for (reason, number) in &report.dropped {
        println!("{number} dropped: {reason}");
    }
    println!(
        "{} reordered within a flow, {} violations of {} rules that were checked, {} leaks",
        report.reordered_frames, report.violations, report.rules_exercised, report.leaks
    );
    facts.details.iter().for_each(|detail| println!("  {detail}"));
}

fn members(members: &[Member]) {
    let bytes: u64 = members.iter().map(|member| member.bytes).sum();
    println!("member   speed   frames      bytes  flows  share of bytes");
    for member in members {
        let share = if bytes == 0 { 0.0 } else { member.bytes as f64 / bytes as f64 };
        let filled = (share * 30.0).round() as usize;
        println!(
            "{:>6} {:>7} {:>8} {:>10} {:>6}  {:<30} {:>3.0} %",
            member.index,
            speed(member.speed),
            count(member.frames),
            count(member.bytes),
            member.flows,
            format!("{}{}", "#".repeat(filled.min(30)), ".".repeat(30 - filled.min(30))),
            share * 100.0
        );
    }
}

fn event(event: &Event) {
    let what = if event.kind == "down" { "link down" } else { "link up" };
    println!(
        "{:>7.2} s  member {} {what} at frame {}: {} flows moved, {} needlessly",
        event.at.as_secs_f64(),
        event.member,
        count(event.at_frame as u64),
        event.flows_moved,
        event.flows_moved_needlessly
    );
    if event.kind == "down" {
        println!(
            "           {} frames assigned to it afterwards, {} lost before the indication",
            event.frames_to_dead_member, event.frames_lost_before_indication
        );
    }
}

fn speed(bits: u64) -> String {
    if bits % 1_000_000_000 == 0 {
        format!("{}G", bits / 1_000_000_000)
    } else {
        format!("{}M", bits / 1_000_000)
    }
}

/// With separators: 10,863.
fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.char_indices() {
        if place != 0 && (digits.len() - place) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    #[test]
    fn numbers_carry_separators() {
        assert_eq!(super::count(0), "0");
        assert_eq!(super::count(999), "999");
        assert_eq!(super::count(1_000), "1,000");
        assert_eq!(super::count(12_345_678), "12,345,678");
    }
}
