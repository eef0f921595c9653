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

// In reading order: the entry points, the modules that they call, the shared state, and the wrappers of the kernel and
// of NDIS.
pub mod entry;
pub mod handlers;
pub mod timer;

pub mod control;
pub mod data;
pub mod requests;

pub mod module;

pub mod clock;
pub mod text;
pub mod trace;

pub mod kernel;
pub mod ndis;
