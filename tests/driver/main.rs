//! The driver in the simulated switch: each test checks one path, one scenario or one property.

mod adapter_hash;
mod answers;
mod cases;
mod counters;
mod detach;
mod events;
mod every;
mod failover;
mod faults;
mod forwarding;
mod gate;
mod image;
mod lifecycle;
mod malformed;
mod module;
mod offload;
mod oid_walk;
mod packet_walk;
mod pause;
mod placement;
mod refusals;
mod rules;
mod runtime_state;
mod settings;
mod witnesses;
mod worker;
