//! A frame as it is compared with others.

use super::wire::Wire;
use crate::switch::frames::{FrameId, Origin};

/// One frame of a team and what is known of it.
pub struct Seen {
    pub content: Wire,
    pub origin: Origin,
    pub segmented: bool,
    pub frame: FrameId,
    pub generation: u64,
    pub now: u64,
}

/// What a frame of a list says: its bytes, and the VLAN id of its out-of-band tag.
pub fn content(bytes: &[u8], out_of_band: u16) -> Wire {
    Wire::of(bytes, out_of_band).content()
}
