//! The verifier: what is checked, and the words in which a broken rule is reported.
//!
//! Checks are made where the facts are; they come here to be counted and recorded. The tables say for every rule of a
//! group whether it is checked, and if not, why.

pub mod commit;
pub mod flows;
pub mod forwarding;
pub mod offload;
pub mod own;
pub mod packets;
pub mod policy;
pub mod portnic;
pub mod reference;
pub mod requests;
mod rules_control;
mod rules_data;
mod rules_other;
mod rules_ports;
pub mod save;
pub mod statistics;
pub mod status;

use crate::machine::world::World;

/// What a broken rule means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Severity {
    /// The run fails.
    Error,
    /// It is reported.
    Warning,
    /// Cheaper ways are counted.
    Cost,
    /// The switch itself keeps it.
    Switch,
    /// Nothing to observe: advice to the author.
    Note,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Status {
    Checked,
    /// Checked, and a misdeed proves it; but this driver never does what the rule is about, for the stated reason.
    Dormant(&'static str),
    Not(&'static str),
}

/// One rule of the rule book.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    pub id: &'static str,
    pub severity: Severity,
    pub status: Status,
}

const fn checked(id: &'static str, severity: Severity) -> Rule {
    Rule { id, severity, status: Status::Checked }
}

const fn error(id: &'static str) -> Rule {
    checked(id, Severity::Error)
}

const fn warning(id: &'static str) -> Rule {
    checked(id, Severity::Warning)
}

const fn cost(id: &'static str) -> Rule {
    checked(id, Severity::Cost)
}

/// The simulated switch keeps it, in every scenario.
const fn switch(id: &'static str) -> Rule {
    checked(id, Severity::Switch)
}

const fn dormant(id: &'static str, why: &'static str) -> Rule {
    Rule { id, severity: Severity::Error, status: Status::Dormant(why) }
}

const fn not(id: &'static str, severity: Severity, why: &'static str) -> Rule {
    Rule { id, severity, status: Status::Not(why) }
}

/// Every rule of the groups that are listed in full.
pub fn rules() -> impl Iterator<Item = &'static Rule> {
    let packets = rules_data::DATA.iter().chain(rules_other::FLAGS).chain(rules_other::STATE);
    let control = rules_control::OID.iter().chain(rules_control::OFFLOAD).chain(rules_control::STATUS);
    packets.chain(rules_ports::PORTNIC).chain(rules_ports::PROP).chain(rules_other::SAVE).chain(control)
}

/// Counts the check and records what is wrong.
pub fn rule(world: &World, id: &'static str, holds: bool, text: impl FnOnce() -> String) {
    world.exercised(id);
    if !holds {
        world.violate(id, text());
    }
}

/// As `rule`, for what is only reported.
pub fn advice(world: &World, id: &'static str, holds: bool, text: impl FnOnce() -> String) {
    world.exercised(id);
    if !holds {
        world.warn(id, text());
    }
}
