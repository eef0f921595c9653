//! The packets' walks: in from the switch, out to it, and back.

pub mod complete;
pub mod egress;
pub mod groups;
pub mod ingress;
