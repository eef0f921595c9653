//! OIDs: passed on, taken in, sent to the members they concern.

pub mod lifecycle;
pub mod multicast;
pub mod offload;
pub mod oid;
pub mod properties;
pub mod runtime_state;
