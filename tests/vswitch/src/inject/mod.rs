//! The driver made to misbehave: one mutation for each rule, committed in its name.

pub mod control;
pub mod egress;
pub mod handlers;
pub mod life;
pub mod lists;
pub mod mutation;
pub mod offload;
pub mod policy;
pub mod ports;
pub mod requests;
pub mod save;
pub mod table;
