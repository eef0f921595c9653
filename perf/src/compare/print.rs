//! A comparison as text of 80 columns.

use super::{Compared, Comparison, Row, physical};
use crate::args::Mode;
use crate::chart::rate;
use crate::print::speed;
use crate::print_machines;
use crate::text::{count, count_of, fit, wrap};

/// Members whose failures fit a line.
const MEMBERS: usize = 7;

pub fn text(comparison: &Comparison) -> String {
    let mut lines = Vec::new();
    lines.push(format!(
        "{}: {} over {:.1} s, {}, {} by the team",
        first_words(comparison),
        count_of(comparison.frames as u64, "frame"),
        comparison.length_seconds,
        count_of(comparison.machines.len() as u64, "machine"),
        count(comparison.frames_by_the_team)
    ));
    lines.push(format!("{}, native driver, seed {}", fit(&comparison.capture, 50), comparison.seed));
    lines.extend(comparison.warnings.iter().flat_map(|warning| wrap(warning, "note:", "  ")));
    lines.push(String::new());
    print_machines::lines(&mut lines, &comparison.machines, &comparison.other_adapters);
    for team in &comparison.teams {
        lines.push(String::new());
        self::team(&mut lines, team);
    }
    lines.join("\n") + "\n"
}

/// Fewer than one frame in so many by the team is little.
const LITTLE: u64 = 20;

fn first_words(comparison: &Comparison) -> &'static str {
    if !comparison.fine {
        "A GUARANTEE WAS BROKEN"
    } else if comparison.frames_by_the_team * LITTLE < comparison.frames as u64 {
        "Little crossed the team; are these the machines?"
    } else {
        "Compared"
    }
}

/// As in "4 x 10G" or "25G, 10G".
pub fn speeds(bits: &[u64]) -> String {
    match bits {
        [first, rest @ ..] if !rest.is_empty() && rest.iter().all(|other| other == first) => {
            format!("{} x {}", bits.len(), speed(*first))
        }
        _ => bits.iter().map(|bits| speed(*bits)).collect::<Vec<_>>().join(", "),
    }
}

fn team(lines: &mut Vec<String>, team: &Compared) {
    let title = format!("members {}", speeds(&team.members_bits_per_second));
    lines.extend(wrap(&title, "==", "   "));
    let chosen = team.recommendation.as_ref().map(|advice| advice.row);
    for mode in [Mode::Static, Mode::SwitchIndependent] {
        let rows: Vec<(usize, &Row)> =
            team.rows.iter().enumerate().filter(|(_, row)| row.mode == mode).collect();
        if rows.is_empty() {
            continue;
        }
        lines.push(String::new());
        lines.extend(wrap(physical(mode), &format!("{}:", mode.name()), "  "));
        lines.push(format!(
            "  {:<22}{:>10}{:>7}{:>14}{:>7}{:>6}{:>6}{:>6}",
            "policy", "imbalance", "least", "peak", "% link", "moved", "split", "over"
        ));
        lines.extend(rows.iter().map(|(number, row)| line(row, chosen == Some(*number))));
    }
    moves(lines, team);
    lines.push(String::new());
    match &team.recommendation {
        None => lines.push("nothing left by the team: no policy is better than another".to_owned()),
        Some(advice) => {
            lines.extend(wrap(&advice.sentence, "*", "  "));
            let values: Vec<String> = advice
                .registry
                .iter()
                .filter(|(_, value)| **value != 0)
                .map(|(name, value)| format!("{name}={value}"))
                .collect();
            lines.extend(wrap(
                &values.join(" "),
                "  registry (--reg FILE.reg writes it, zeros too):",
                "    ",
            ));
            lines.extend(wrap(&advice.command, "  alone:", "    "));
        }
    }
}

fn line(row: &Row, is_chosen: bool) -> String {
    let mark = match (row.fine, is_chosen) {
        (false, _) => '!',
        (true, chosen) => {
            if chosen {
                '*'
            } else {
                ' '
            }
        }
    };
    let name = fit(&row.name(), 22);
    let bound = if row.imbalance_floor_exact { ' ' } else { '>' };
    let least = format!("{bound}{:.2}", row.imbalance_floor);
    let (peak, part) = row.peak.map_or(("-".to_owned(), "-".to_owned()), |peak| {
        (rate(peak.bits_per_second), format!("{:.2}", peak.share_of_link * 100.0))
    });
    let moved = row.failures.as_ref().map_or("-".to_owned(), |_| count(row.most_moved()));
    format!(
        "{mark} {name:<22}{:>10.2}{least:>7}{peak:>14}{part:>7}{moved:>6}{:>6}{:>6}",
        row.imbalance, row.split_flows, row.reordered_frames
    )
}

/// Flows that move when each member fails, and when it returns.
fn moves(lines: &mut Vec<String>, team: &Compared) {
    if team.rows.iter().all(|row| row.failures.is_none()) {
        return;
    }
    let members = team.members_bits_per_second.len();
    let shown = members.min(MEMBERS);
    lines.push(String::new());
    lines.push("flows that move when one member fails / when it is back".to_owned());
    let heads: String = (1..=shown).map(|member| format!("{member:>7}")).collect();
    lines.push(format!("  {:<27}{heads}", "member"));
    for row in &team.rows {
        let name = match row.mode {
            Mode::Static => format!("static {}", row.name()),
            Mode::SwitchIndependent => format!("independent {}", row.name()),
        };
        let cells: String = row
            .failures
            .iter()
            .flatten()
            .take(shown)
            .map(|one| format!("{:>7}", format!("{}/{}", one.flows_moved_down, one.flows_moved_up)))
            .collect();
        lines.push(format!("  {:<27}{cells}", fit(&name, 27)));
    }
    if members > shown {
        lines.push(format!("  members {} to {members} with --json or --report", shown + 1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn teams_are_written_in_short() {
        let g = 1_000_000_000;
        assert_eq!(speeds(&[10 * g; 4]), "4 x 10G");
        assert_eq!(speeds(&[25 * g, 10 * g]), "25G, 10G");
        assert_eq!(speeds(&[g]), "1G");
    }
}
