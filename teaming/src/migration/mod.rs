//! What outlives a host: the record of a NIC, and the saves and restores under way.

pub mod operations;
pub mod record;
