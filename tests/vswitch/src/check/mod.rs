//! The verifier: what is checked, and the words in which a broken rule is reported.
//!
//! Checks are made where the facts are; they come here to be counted and recorded under the name of a rule of the book.

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
mod rules;
pub mod save;
pub mod statistics;
pub mod status;

pub use rules::{GROUPS, Rule, Severity, Status, find, rules};

use crate::machine::world::World;

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
