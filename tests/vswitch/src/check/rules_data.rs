//! Group DATA.
use super::Rule;
pub const DATA: &[Rule] = &[];
