//! How a check counts that it ran and records a broken rule.

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
