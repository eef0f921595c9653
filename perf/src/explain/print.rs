//! An explanation as text of 80 columns: one step a paragraph.

use super::explained::{Change, Explained, What};
use crate::print::speed;
use crate::text::{count, wrap};

/// Width of the column of names.
const NAMES: usize = 9;

pub fn text(told: &Explained) -> String {
    let mut lines = wrap(&told.headline(), "", "  ");
    lines.iter_mut().for_each(|line| *line = line.trim_start().to_owned());
    step(&mut lines, "asked", &format!("{}: {} {}", told.subject, told.protocol, told.flow));
    step(&mut lines, "from", &format!("{}; {} bytes", told.from, count(told.bytes as u64)));
    step(&mut lines, "read", &told.read);
    if let Some(inner) = &told.read_in_tunnel {
        step(&mut lines, "", inner);
    }
    step(&mut lines, "way", &told.way_text);
    if let Some(choice) = &told.choice {
        let seed = if told.hash_seed == 0 {
            "the product's own seed".to_owned()
        } else {
            format!("HashSeed {}", told.hash_seed)
        };
        step(&mut lines, "policy", &format!("{}, of a {} team", told.policy, told.mode.replace('-', " ")));
        step(&mut lines, "key", &choice.key_text);
        for unused in &told.unused {
            step(&mut lines, "", &format!("- {unused}"));
        }
        step(&mut lines, "", &format!("bytes {}", in_groups(&choice.key)));
        step(&mut lines, "hash", &format!("0x{:08x} with {seed}", choice.hash));
        step(
            &mut lines,
            "bucket",
            &format!("{} of 0 to 4,095: the low 12 bits of the hash", count(choice.bucket.into())),
        );
        step(&mut lines, "home", &home(told, choice.home));
        if let Some(to) = choice.lent_to {
            step(&mut lines, "lent", &lent(told, to));
        }
        step(
            &mut lines,
            "member",
            &told.member.map_or("none: no member is up".to_owned(), |member| member.to_string()),
        );
        lines.push(String::new());
        changes(&mut lines, told);
    }
    for note in &told.notes {
        lines.extend(wrap(note, "note:", "  "));
    }
    if !told.agrees {
        lines.extend(wrap(
            "the steps above do not lead to the decision that the driver took; report this output",
            "broken:",
            "  ",
        ));
    }
    lines.join("\n") + "\n"
}

fn step(lines: &mut Vec<String>, name: &str, text: &str) {
    let indent = " ".repeat(NAMES);
    lines.extend(wrap(text, &format!("{name:<0$}", NAMES - 1), &indent));
}

/// Digits in words of eight bytes.
fn in_groups(digits: &str) -> String {
    let digits: Vec<char> = digits.chars().collect();
    digits.chunks(16).map(|group| group.iter().collect::<String>()).collect::<Vec<_>>().join(" ")
}

fn home(told: &Explained, home: Option<u8>) -> String {
    let Some(member) = home.and_then(|home| told.members.iter().find(|member| member.index == home)) else {
        return "none yet: no member was ever up".to_owned();
    };
    format!(
        "member {}, {}, which {} buckets have for home; it is {}",
        member.index,
        speed(member.bits_per_second),
        count(member.buckets_at_home as u64),
        if member.up { "up" } else { "down" }
    )
}

fn lent(told: &Explained, to: u8) -> String {
    let bids = told.choice.as_ref().map_or(&[][..], |choice| &choice.bids);
    match bids {
        [_] => format!("to member {to}, the only one that is up"),
        bids => {
            let offers: Vec<String> =
                bids.iter().map(|bid| format!("{} {:.3}", bid.member, bid.bid)).collect();
            format!(
                "to member {to}: the members that are up bid for the bucket by its number, theirs and their speed, \
                 and the least bid has it: {}",
                offers.join(", ")
            )
        }
    }
}

/// What would take the flow elsewhere; what would not, in short.
fn changes(lines: &mut Vec<String>, told: &Explained) {
    lines.push("would be otherwise if".to_owned());
    let name = |change: &Change| match change.what {
        What::MemberFails => format!("member {} fails", change.value),
        What::MemberReturns => format!("member {} returns", change.value),
        What::Policy => format!("policy {}", change.value),
        What::HashSeed => format!("HashSeed {}", change.value),
    };
    let (moved, stays): (Vec<&Change>, Vec<&Change>) =
        told.changes.iter().partition(|change| change.member != told.member);
    for change in &moved {
        let to = change.member.map_or("no member: dropped".to_owned(), |member| format!("member {member}"));
        let bucket = match change.what {
            What::MemberFails | What::MemberReturns => String::new(),
            What::Policy | What::HashSeed => format!(", bucket {}", count(change.bucket.into())),
        };
        lines.push(format!("  {:<30} {to}{bucket}", name(change)));
    }
    if moved.is_empty() {
        lines.push("  nothing of these".to_owned());
    }
    if !stays.is_empty() {
        let names: Vec<String> = stays.iter().map(|change| name(change)).collect();
        lines.extend(wrap(&names.join("; "), "and not if", "  "));
    }
}
