//! OID requests from above: what the driver learns from them, and to which team members they go.

pub mod lifecycle;
pub mod multicast;
pub mod offload;
pub mod oid;
pub mod properties;
pub mod runtime_state;
pub mod status;
