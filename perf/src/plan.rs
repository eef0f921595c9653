//! The failures and returns of members during the replay, checked against the team and the capture before the replay
//! starts.

use crate::args::{Replay, Time, When};
use anyhow::bail;
use std::time::Duration;

/// Time from the loss of a link to its indication.
pub const INDICATED_AFTER: Duration = Duration::from_millis(5);

/// An event of the replay other than a frame.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Step {
    pub at: Duration,
    pub member: u16,
    pub what: What,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum What {
    Restore,
    Pull,
    IndicateDown,
    /// The link-up delay of a member has passed.
    Settle,
    /// The switch plans its queues again.
    PlanAgain,
}

/// The member that fails by default: after a third of the time, and returns after two thirds. In the bundled capture
/// that time has dense traffic, where a move without an idle gap would reorder frames.
const FAILING: u16 = 2;
const FAILS: Time = Time::PerCent(33.0);
const RETURNS: Time = Time::PerCent(67.68);

/// The events in order of time.
pub fn steps(arguments: &Replay, members: usize, length: Duration) -> anyhow::Result<Vec<Step>> {
    let (fail, restore) = (failures(arguments, members, length), returns(arguments, members, length));
    ordered(&fail, &restore, members, length)
}

/// The same of these failures and returns, none by default.
pub fn ordered(
    fail: &[When],
    restore: &[When],
    members: usize,
    length: Duration,
) -> anyhow::Result<Vec<Step>> {
    let mut steps = Vec::new();
    if let Some(When::At { member, .. }) = restore.first().filter(|_| length < INDICATED_AFTER) {
        bail!(
            "--restore of member {member}: the capture is {:.3} s long from its first frame to its last, and the loss \
             of a link is indicated {} ms after it, so none can return in it; leave --restore out",
            length.as_secs_f64(),
            INDICATED_AFTER.as_millis()
        );
    }
    for (option, events) in [("--fail", fail), ("--restore", restore)] {
        for event in events {
            let When::At { member, time } = *event else { continue };
            if member == 0 || usize::from(member) > members {
                bail!(
                    "{option} names member {member}, but the team has members 1 to {members}; choose one of them"
                );
            }
            let at = time.of(length);
            if at > length {
                bail!(
                    "{option} {member}@{:.3} lies behind the end of the capture, which is {:.3} s long; \
                     choose an earlier time",
                    at.as_secs_f64(),
                    length.as_secs_f64()
                );
            }
            if option == "--fail" {
                steps.push(Step { at, member, what: What::Pull });
                steps.push(Step { at: at + INDICATED_AFTER, member, what: What::IndicateDown });
            } else {
                steps.push(Step { at, member, what: What::Restore });
            }
        }
    }
    steps.sort_by_key(|step| (step.at, step.what));
    check(&steps)?;
    Ok(steps)
}

fn failures(arguments: &Replay, members: usize, length: Duration) -> Vec<When> {
    if by_default(arguments, members, length) {
        vec![When::At { member: FAILING, time: FAILS }]
    } else {
        arguments.fail.clone()
    }
}

fn returns(arguments: &Replay, members: usize, length: Duration) -> Vec<When> {
    if by_default(arguments, members, length) {
        vec![When::At { member: FAILING, time: RETURNS }]
    } else {
        arguments.restore.clone()
    }
}

/// Whether the default failure applies: none is given, there is a second member, and the capture is long enough.
fn by_default(arguments: &Replay, members: usize, length: Duration) -> bool {
    let said = !arguments.fail.is_empty() || !arguments.restore.is_empty();
    !said && members >= usize::from(FAILING) && RETURNS.of(length) > FAILS.of(length) + INDICATED_AFTER
}

/// Checks that a member fails only while it is up, and returns only after its failure was indicated.
fn check(steps: &[Step]) -> anyhow::Result<()> {
    for (number, step) in steps.iter().enumerate() {
        let before =
            steps[..number].iter().rfind(|earlier| earlier.member == step.member).map(|earlier| earlier.what);
        let (member, at) = (step.member, step.at.as_secs_f64());
        match (step.what, before) {
            (What::Pull, Some(What::Pull | What::IndicateDown)) => {
                bail!(
                    "--fail {member}@{at:.3}: member {member} is down already; let it return before with --restore"
                )
            }
            (What::Restore, None | Some(What::Restore)) => {
                bail!(
                    "--restore {member}@{at:.3}: member {member} is not down then; let it fail before with --fail"
                )
            }
            (What::Restore, Some(What::Pull)) => bail!(
                "--restore {member}@{at:.3}: the loss of the link is indicated {} ms after it; restore it later",
                INDICATED_AFTER.as_millis()
            ),
            _ => {}
        }
    }
    Ok(())
}
