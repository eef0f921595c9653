//! The events of a module: kept in a ring that is always on, and queued for whoever writes them where people read them
//! (`control::events`). What each says is in `teaming::event`.

use crate::kernel::pool::{Pool, PoolBox, PoolSlice, Tag};
use crate::ndis::status::OutOfMemory;
use teaming::event::journal::{Journal, KEPT, LIMITS, Rooms, WAITING};
use teaming::event::limit::Limit;

pub use teaming::event::Event;

/// The events of one module, protected by the team lock.
pub type Events = PoolBox<Journal<Pool>>;

/// IRQL <= DISPATCH_LEVEL.
#[inline(never)] // a frame of its own
pub fn try_new() -> Result<Events, OutOfMemory> {
    let rooms = Rooms {
        kept: PoolSlice::try_new(Tag::TABLE, KEPT, |_| None)?,
        waiting: PoolSlice::try_new(Tag::TABLE, WAITING, |_| None)?,
        limits: PoolSlice::try_new(Tag::TABLE, LIMITS, |_| Limit::NEW)?,
    };
    PoolBox::try_make(Tag::TABLE, || Journal::new(rooms))
}
