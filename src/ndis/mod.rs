//! All calls of NDIS and of the extensible switch's handlers. Other modules see typed wrappers only: an NBL has one
//! owner, a reference to a port or NIC is released on drop, and a buffer that another component filled is read through
//! a view that checks its header and its length.

pub mod child_nbl;
pub mod envelope;
pub mod fan_out;
pub mod feature;
pub mod filter;
pub mod fragment;
pub mod front;
pub mod gate;
pub mod handle;
pub mod host;
pub mod indicate;
pub mod irql;
pub mod link;
pub mod lock;
pub mod mdl;
pub mod member_query;
pub mod member_request;
pub mod nbl;
pub mod oid;
pub mod own_frames;
pub mod parameters;
pub mod payload;
#[doc(hidden)]
pub mod raw;
pub mod save;
pub mod status;
pub mod switch;
#[doc(hidden)]
pub mod sys;
pub mod timer;
