//! Changes: what statuses, timers and the registry say, made the decision of every walk.

pub mod enumerate;
pub mod failover;
pub mod nic_status;
pub mod settings;
