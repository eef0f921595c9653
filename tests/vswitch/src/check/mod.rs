//! The verifier: what is checked, and the words in which a broken rule is reported.
//!
//! Checks are made where the facts are; they come here to be counted and recorded under the name of a rule of the book.

pub mod arrivals;
pub mod blame;
pub mod commit;
pub mod flows;
pub mod forwarding;
pub mod offload;
pub mod own;
pub mod packets;
pub mod portnic;
pub mod requests;
pub mod save;
pub mod statistics;
pub mod status;
pub mod unchanged;

pub use crate::machine::verify::{advice, rule};
pub use crate::rules::{GROUPS, Rule, Severity, Status, find, rules};
