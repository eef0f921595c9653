//! Groups FLAGS and STATE.
use super::Rule;
pub const FLAGS: &[Rule] = &[];
pub const STATE: &[Rule] = &[];
