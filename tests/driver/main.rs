//! The driver in the simulated switch: one walk, one scenario, one property a test.

mod adapter_hash;
mod cases;
mod failover;
mod faults;
mod forwarding;
mod image;
mod lifecycle;
mod malformed;
mod offload;
mod oid_walk;
mod packet_walk;
mod rules;
mod runtime_state;
