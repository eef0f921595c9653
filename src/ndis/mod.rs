//! Everything that talks to NDIS and to the switch's own handlers. What leaves this module is typed: lists are owned,
//! references give themselves back, foreign buffers are read through checked views.

pub mod envelope;
pub mod fan_out;
pub mod filter;
pub mod gate;
pub mod handle;
pub mod indicate;
pub mod irql;
pub mod link;
pub mod lock;
pub mod mdl;
pub mod member_query;
pub mod nbl;
pub mod oid;
pub mod own_list;
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
