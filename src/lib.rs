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
pub mod filter;

pub mod complete;
pub mod egress;
pub mod groups;
pub mod ingress;

pub mod enumerate;
pub mod lifecycle;
pub mod multicast;
pub mod offload;
pub mod oid;
pub mod properties;
pub mod runtime_state;

pub mod nic_status;
pub mod publish;
pub mod settings;

pub mod clock;
pub mod text;
pub mod trace;

pub mod kernel;
pub mod ndis;
