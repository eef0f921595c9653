//! `lbfoext.sys`: forwarding extension and teaming provider of the Hyper-V extensible switch.
#![doc = include_str!("ARCHITECTURE.md")]
#![no_std]
#![deny(
    unsafe_op_in_unsafe_fn,
    clippy::undocumented_unsafe_blocks,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

// In reading order.
pub mod entry;

pub mod clock;
pub mod text;
pub mod trace;

pub mod control;
pub mod data;
pub mod kernel;
pub mod module;
pub mod ndis;
pub mod requests;
