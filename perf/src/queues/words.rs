//! A sentence about each stage: who lost its queue, who has it back.

use super::{Machine, Stage, StageKind};
use crate::text::count_of;

/// Largest number of VMs that are named one by one.
const NAMED: usize = 6;

/// "machine 3 is ...", "machines 3, 5 are ...", "12 machines are ...".
fn who(machines: &[&Machine], one: &str, several: &str) -> String {
    let numbers: Vec<String> = machines.iter().map(|machine| machine.machine.to_string()).collect();
    match numbers.as_slice() {
        [number] => format!("machine {number} {one}"),
        few if few.len() <= NAMED => format!("machines {} {several}", few.join(", ")),
        many => format!("{} machines {several}", many.len()),
    }
}

/// One sentence about a stage.
pub fn explain(before: Option<&Stage>, now: &Stage) -> String {
    let Some(before) = before else { return format!("start: {}", offer(now)) };
    let of = |holds: &dyn Fn(&Machine, &Machine) -> bool| -> Vec<&Machine> {
        let pairs = before.machines.iter().zip(&now.machines);
        pairs.filter(|(old, new)| holds(old, new)).map(|(_, new)| new).collect()
    };
    let parts = match now.kind {
        StageKind::Start | StageKind::Planned => planned(&of),
        StageKind::Down => down(&of, now),
        StageKind::Up => up(&of, now),
    };
    let head = match (now.kind, now.member.unwrap_or(0)) {
        (StageKind::Start | StageKind::Planned, _) => format!("the switch plans again: {};", offer(now)),
        (StageKind::Down, member) => format!("member {member} down:"),
        (StageKind::Up, member) => format!("member {member} up:"),
    };
    format!("{head} {}", parts.join("; "))
}

fn offer(now: &Stage) -> String {
    let served = now.machines.iter().filter(|machine| !machine.served_by().is_empty()).count();
    let refused = match now.refused {
        0 => String::new(),
        1 => ", 1 request was refused".to_owned(),
        more => format!(", {more} requests were refused"),
    };
    format!(
        "the team offers {}, {served} of {} {} one{refused}",
        count_of(now.offered.into(), "queue"),
        count_of(now.machines.len() as u64, "machine"),
        if served == 1 { "has" } else { "have" }
    )
}

/// The VMs for which a condition on the stages before and after holds.
type Pick<'a, 'm> = dyn Fn(&dyn Fn(&Machine, &Machine) -> bool) -> Vec<&'m Machine> + 'a;

fn planned(of: &Pick<'_, '_>) -> Vec<String> {
    let had = |machine: &Machine| !machine.held_by.is_empty();
    let kinds = [
        (of(&|old, new| had(old) && had(new) && old.served_by() != new.served_by()), "moved", "moved"),
        (of(&|old, new| !had(old) && had(new)), "has one now", "have one now"),
        (of(&|old, new| had(old) && !had(new)), "has none any more", "have none any more"),
    ];
    let some = kinds.iter().filter(|(machines, ..)| !machines.is_empty());
    let parts: Vec<String> = some.map(|(machines, one, several)| who(machines, one, several)).collect();
    if parts.is_empty() { vec!["none moved".to_owned()] } else { parts }
}

fn down(of: &Pick<'_, '_>, now: &Stage) -> Vec<String> {
    let stranded = of(&|old, new| !old.is_stranded() && new.is_stranded());
    let fewer = of(&|old, new| !new.is_stranded() && old.served_by().len() > new.served_by().len());
    let mut parts = Vec::new();
    if !stranded.is_empty() {
        let until = "until the switch plans again";
        let frames: u64 = stranded.iter().map(|machine| machine.frames_default_queue).sum();
        parts.push(if now.members.iter().any(|member| member.up) {
            let (one, several) = (
                "is served by the default queue of its new member",
                "are served by the default queues of their new members",
            );
            format!("{} {until}: {}", who(&stranded, one, several), count_of(frames, "frame"))
        } else {
            format!("{}, for no member is up", who(&stranded, "is served by none", "are served by none"))
        });
    }
    if !fewer.is_empty() {
        parts.push(who(&fewer, "is served by its copies elsewhere", "are served by their copies elsewhere"));
    }
    if parts.is_empty() {
        parts.push("no queue was there".to_owned());
    }
    parts
}

fn up(of: &Pick<'_, '_>, now: &Stage) -> Vec<String> {
    let back = of(&|old, new| old.is_stranded() && !new.is_stranded());
    let more = of(&|old, new| !old.is_stranded() && old.served_by().len() < new.served_by().len());
    let mut parts = Vec::new();
    if !back.is_empty() {
        parts.push(who(&back, "has its queue back", "have their queues back"));
    }
    if !more.is_empty() {
        parts.push(who(&more, "has a copy there again", "have copies there again"));
    }
    if parts.is_empty() {
        let frames: u64 = now.members.iter().map(|member| member.frames_default_queue).sum();
        parts.push(format!(
            "queues stay where they are until the switch plans again; {} for machines by default queues",
            count_of(frames, "frame")
        ));
    }
    parts
}
