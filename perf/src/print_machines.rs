//! Machines and other adapters as text: which they are, and by what they were taken for it.

use crate::hosts::{Listed, Role, text_of};
use crate::text::{count_of, fit};

/// Largest numbers of machines and of other adapters in the text; `--json` and the page show all.
const MACHINES: usize = 16;
const OTHERS: usize = 3;

pub fn lines(lines: &mut Vec<String>, machines: &[Listed], others: &[Listed]) {
    lines.push(format!("machine  {:<17}  {:<24} by what", "adapter", "addresses"));
    lines.extend(machines.iter().take(MACHINES).chain(others.iter().take(OTHERS)).map(row));
    let (machines, others) = (machines.len().saturating_sub(MACHINES), others.len().saturating_sub(OTHERS));
    let more = [(machines, "machine"), (others, "other adapter")]
        .into_iter()
        .filter(|(number, _)| *number != 0)
        .map(|(number, what)| count_of(number as u64, what));
    let more: Vec<String> = more.collect();
    if !more.is_empty() {
        lines.push(format!("         and {}: --json and --report show them", more.join(" and ")));
    }
}

fn row(listed: &Listed) -> String {
    let first = match (listed.machine, listed.role) {
        (Some(number), _) => number.to_string(),
        (None, Role::Gateway) => "router".to_owned(),
        (None, Role::Machine | Role::External) => "outside".to_owned(),
    };
    let addresses = fit(&listed.addresses_in_short(), 24);
    format!("{first:>7}  {}  {addresses:<24} {}", text_of(listed.mac), listed.why)
}
