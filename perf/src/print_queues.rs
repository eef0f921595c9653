//! Queues as text: the events, and tables of VMs and members with a column for each stage.

use crate::queues::{Machine, Queues, Stage, StageKind};
use crate::text::{COLUMNS, count, count_of, wrap};

/// Largest number of VMs in the text; `--json` and the page show all.
const ROWS: usize = 16;

pub fn lines(lines: &mut Vec<String>, queues: &Queues) {
    lines.extend(wrap(&format!("{}; {}", queues.placement, limits(&queues.limits)), "queues:", "  "));
    for stage in &queues.stages {
        let head = format!("{:>8.2} s ", stage.at_seconds);
        lines.extend(wrap(&stage.explanation, &head, "            "));
        lines.extend(stage.disagreements.iter().take(3).flat_map(|one| wrap(one, "   DISAGREED:", "    ")));
    }
    lines.push(format!(
        "{} of driver, adapters and switch in {}",
        count_of(queues.disagreements as u64, "disagreement"),
        count_of(queues.stages.len() as u64, "stage")
    ));
    lines.push(String::new());
    let machines = |cell: fn(&Machine) -> String| -> Vec<Row> {
        let first = queues.stages.first().map_or(&[][..], |stage| &stage.machines);
        let row = |(number, machine): (usize, &Machine)| Row {
            head: format!("{:>4} {}", machine.machine, machine.mac),
            cells: queues.stages.iter().map(|stage| cell(&stage.machines[number])).collect(),
        };
        first.iter().enumerate().take(ROWS).map(row).collect()
    };
    grid(lines, "queue: member/number", &queues.stages, &machines(queue));
    let (arrives, leaves) = (machines(|m| set(&m.arrives_on)), machines(|m| set(&m.leaves_by)));
    grid(lines, "arrives on member", &queues.stages, &arrives);
    grid(lines, "leaves by member", &queues.stages, &leaves);
    if queues.stages.first().is_some_and(|stage| stage.machines.len() > ROWS) {
        lines.push(format!("     machines above {ROWS} with --json or --report"));
    }
    let count_members = queues.stages.first().map_or(0, |stage| stage.members.len());
    let members = (0..count_members).map(|number| Row {
        head: format!("{:>4}", number + 1),
        cells: queues.stages.iter().map(|stage| frames(stage, number)).collect(),
    });
    grid(lines, "member: own/default", &queues.stages, &members.collect::<Vec<_>>());
    let other: u64 = queues.stages.iter().flat_map(|stage| &stage.members).map(|m| m.frames_other).sum();
    lines.push("(n): the member is down; own/default: frames that machines' queues brought, and".to_owned());
    lines.push(format!("those for machines that the default queue did; {} more for others", count(other)));
}

pub fn limits(limits: &[u32]) -> String {
    match limits {
        [one, rest @ ..] if rest.iter().all(|other| other == one) => format!("{one} on each adapter"),
        each => {
            let each: Vec<String> = each.iter().map(ToString::to_string).collect();
            format!("{} on the adapters", each.join(", "))
        }
    }
}

/// The member that serves a VM's queue, and the queue's number.
pub fn queue(machine: &Machine) -> String {
    let up = machine.served_by();
    let number = machine.queue.or(machine.held_by.first().map(|held| held.queue));
    match (number, up.as_slice()) {
        (None, _) => "-".to_owned(),
        (Some(number), []) => {
            let members: Vec<u16> = machine.held_by.iter().map(|held| held.member).collect();
            format!("({})/{number}", set(&members))
        }
        (Some(number), up) => format!("{}/{number}", set(up)),
    }
}

fn frames(stage: &Stage, number: usize) -> String {
    let Some(member) = stage.members.get(number) else { return String::new() };
    let text = format!("{}/{}", member.frames_own_queue, member.frames_default_queue);
    if member.up { text } else { format!("({text})") }
}

/// "2 down", "planned".
pub fn title(stage: &Stage) -> String {
    let member = stage.member.unwrap_or(0);
    match stage.kind {
        StageKind::Start => "start".to_owned(),
        StageKind::Planned => "planned".to_owned(),
        StageKind::Down => format!("{member} down"),
        StageKind::Up => format!("{member} up"),
    }
}

/// A set as "1-3,5"; a dash for none.
pub fn set(members: &[u16]) -> String {
    let runs = members.chunk_by(|one, next| one + 1 == *next);
    let runs: Vec<String> = runs
        .filter_map(|run| match run {
            [] => None,
            [one] => Some(one.to_string()),
            [first, .., last] => Some(format!("{first}-{last}")),
        })
        .collect();
    if runs.is_empty() { "-".to_owned() } else { runs.join(",") }
}

struct Row {
    head: String,
    cells: Vec<String>,
}

/// Width of the first column.
const HEAD: usize = 22;

/// A table with a column for each stage, in several parts if it is wider than the terminal.
fn grid(lines: &mut Vec<String>, title_of: &str, stages: &[Stage], rows: &[Row]) {
    let titles: Vec<(String, String)> =
        stages.iter().map(|stage| (title(stage), format!("{:.2}", stage.at_seconds))).collect();
    let widths = titles.iter().enumerate().map(|(column, (title, time))| {
        let cells = rows.iter().filter_map(|row| row.cells.get(column)).map(String::len);
        2 + cells.chain([title.len(), time.len(), 7]).max().unwrap_or(7)
    });
    let widths: Vec<usize> = widths.collect();
    let mut from = 0;
    while from < stages.len() {
        let mut to = from + 1;
        while to < stages.len() && HEAD + widths[from..=to].iter().sum::<usize>() <= COLUMNS {
            to += 1;
        }
        let piece = |head: &str, cell: &dyn Fn(usize) -> String| {
            let cells = (from..to).map(|column| format!("{:>1$}", cell(column), widths[column]));
            format!("{head:<HEAD$}{}", cells.collect::<String>())
        };
        lines.push(piece(title_of, &|column| titles[column].0.clone()));
        lines.push(piece("", &|column| titles[column].1.clone()));
        lines.extend(rows.iter().map(|row| piece(&row.head, &|column| row.cells[column].clone())));
        from = to;
    }
    lines.push(String::new());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_written_as_runs() {
        assert_eq!(set(&[]), "-");
        assert_eq!(set(&[3]), "3");
        assert_eq!(set(&[1, 2, 3, 5, 7, 8]), "1-3,5,7-8");
    }
}
