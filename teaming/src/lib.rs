//! Every decision of the teaming provider, as plain functions over plain data.
//!
//! The driver shell (and the replay tool, and the tests) owns memory, time and locks and calls in here; this crate
//! never allocates, never reads a clock, never blocks and cannot panic on any input. Reading order: a packet goes
//! through `forward` (its source, `frame`, the VLAN and policies of `ports`, the key and hash of `flow`, the buckets of
//! `team`; one for many or for an unknown address through its flood); a change goes `oid` -> `team` -> `forward`, or a
//! property -> `forward::update` -> `ports`; what outlives a host goes through `migration`.

#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::unreachable,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss
    )
)]

#[cfg(any(test, feature = "std"))]
extern crate std;

pub mod announce;
pub mod asking;
pub mod backoff;
pub mod enumeration;
pub mod event;
pub mod flow;
pub mod forward;
pub mod frame;
pub mod ids;
pub mod member_settings;
pub mod migration;
pub mod offload;
pub mod oid;
pub mod ports;
pub mod private_oid;
#[cfg(any(test, feature = "std"))]
pub mod report;
pub mod seats;
pub mod settings;
pub mod state_machine;
pub mod status;
pub mod team;

/// Who owns the slices that the tables live in: pool memory in the driver, vectors in tools and tests.
pub trait Storage {
    type Of<T>: core::ops::DerefMut<Target = [T]>;
    /// What the switches of a host share.
    type Host: ports::host::Host;
}

/// Storage in vectors, for everything that is not the driver.
#[cfg(any(test, feature = "std"))]
#[derive(Debug, Clone, Copy)]
pub struct Heap;

#[cfg(any(test, feature = "std"))]
impl Storage for Heap {
    type Of<T> = std::vec::Vec<T>;
    type Host = ports::host::HeapHost;
}
