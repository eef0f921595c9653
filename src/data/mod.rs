//! The packet walks: ingress (`FilterSendNetBufferLists`), its completion, and egress (`FilterReceiveNetBufferLists`). And
//! the frames that the driver sends itself.

pub mod commit;
pub mod complete;
pub mod egress;
pub mod express;
pub mod groups;
pub mod ingress;
pub mod own_frames;
