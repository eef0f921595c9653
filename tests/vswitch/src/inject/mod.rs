//! Mutations at the border to NDIS and the switch: one call is changed in the driver's name, and a check must name the
//! rule that is broken by it.
//!
//! Each file carries out the mutations of one kind of call; `state` knows whether it was done. What the switch calls is
//! re-exported here.

pub mod control;
pub mod egress;
pub mod handlers;
pub mod life;
pub mod lists;
pub mod offload;
pub mod policy;
pub mod ports;
pub mod requests;
pub mod save;
pub mod state;

pub(crate) use control::*;
pub(crate) use egress::*;
pub(crate) use handlers::*;
pub(crate) use life::*;
pub(crate) use lists::*;
pub(crate) use offload::*;
pub(crate) use policy::destinations_written;
pub(crate) use ports::*;
pub(crate) use requests::*;
pub(crate) use save::*;
pub use state::was_committed;
pub(crate) use state::*;
