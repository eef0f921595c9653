//! Changes of the team and its settings: from status indications, NIC requests, the timer and the registry.

pub mod announce;
pub mod enumerate;
pub mod events;
pub mod failover;
pub mod link_poll;
pub mod member_settings;
pub mod moves;
pub mod nic_status;
pub mod private_oids;
pub mod resource_lists;
pub mod seats;
pub mod settings;
pub mod survey;
pub mod worker;
