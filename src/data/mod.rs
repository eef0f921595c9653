//! The packet walks: ingress (`FilterSendNetBufferLists`), its completion, and egress (`FilterReceiveNetBufferLists`).

pub mod commit;
pub mod complete;
pub mod egress;
pub mod express;
pub mod groups;
pub mod ingress;
