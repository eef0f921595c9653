//! A simulated Hyper-V extensible switch, NDIS and the kernel under it, around one driver.
//!
//! The machine half (processors, memory, locks, clock, registry, kernel functions) is below the switch half (ports,
//! packets, requests, adapters, guests). Tests use the scenario face; the driver reaches everything else through
//! `Ndis*`, `Ke*`, `Ex*`, `Io*`, `Mm*`, `Zw*` symbols that this crate defines.

pub mod exports;

pub mod adapter;
pub mod check;
pub mod control;
pub mod frames;
pub mod guest;
pub mod migration;
pub mod nbl;
pub mod ndis;
pub mod outcome;
pub mod physical_switch;
pub mod ports;
pub mod scenario;
pub mod suite;

pub mod clock;
pub mod cpu;
pub mod driver_object;
pub mod event;
pub mod fault;
pub mod ids;
pub mod image;
pub mod kernel;
pub mod lock_order;
pub mod locks;
pub mod memory;
pub mod mutation;
#[cfg(test)]
mod races;
pub mod registry;
pub mod registry_calls;
pub mod rundown;
pub mod rwlock;
pub mod scheduler;
#[cfg(test)]
mod scheduling;
pub mod slots;
pub mod stack_depth;
pub mod thread;
pub mod timer;
pub mod work;
pub mod world;

pub use exports::symbol;
pub use mutation::Mutation;
pub use world::{Aborted, Config, Mode, Violation, World};
