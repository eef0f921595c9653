//! A simulated Hyper-V extensible switch, NDIS and the kernel under it, around one driver.
//!
//! The machine half (processors, memory, locks, clock, registry, kernel functions) is below the switch half (ports,
//! packets, requests, adapters, guests). Tests use the scenario face; the driver reaches everything else through
//! `Ndis*`, `Ke*`, `Ex*`, `Io*`, `Mm*`, `Zw*` symbols that this crate defines.
//!
//! The driver is the product, or any other extension: `witness` holds two in C, written from the documentation, that
//! find what the product and this crate might have wrong in the same way.

pub mod exports;

pub mod adapter;
pub mod check;
pub mod image;
pub mod inject;
pub mod machine;
pub mod mutation;
pub mod reference;
pub mod rules;
pub mod scenario;
mod shown;
pub mod switch;
pub mod symbols;

pub use machine::world::{Aborted, Config, Mode, Violation, World};
pub use mutation::Mutation;
pub use symbols::symbol;
