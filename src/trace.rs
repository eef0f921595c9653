//! The events of a module: kept in a ring that is always on, and queued for whoever writes them where people read them
//! (`control::events`). What each says is in `teaming::event`.

use crate::kernel::pool::{OnceBox, Pool, PoolBox, PoolSlice, Tag};
use crate::ndis::lock::SpinLock;
use crate::ndis::status::OutOfMemory;
use core::sync::atomic::AtomicBool;
use teaming::event::journal::{Journal, KEPT, Rooms};
use teaming::event::limit::Limit;
use teaming::event::queue::{LIMITS, QueueRooms, WAITING};
use teaming::event::survey::Survey;

pub use teaming::event::Event;

/// The events of one module, protected by the team lock.
pub type Events = PoolBox<Journal<Pool>>;

/// IRQL <= DISPATCH_LEVEL.
#[inline(never)] // a frame of its own
pub fn try_new() -> Result<Events, OutOfMemory> {
    let rooms = Rooms {
        kept: PoolSlice::try_new(Tag::TABLE, KEPT, |_| None)?,
        log: try_queue()?,
        trace: try_queue()?,
    };
    PoolBox::try_make(Tag::TABLE, || Journal::new(rooms))
}

#[inline(never)] // as above
fn try_queue() -> Result<QueueRooms<Pool>, OutOfMemory> {
    Ok(QueueRooms {
        waiting: PoolSlice::try_new(Tag::TABLE, WAITING, |_| None)?,
        limits: PoolSlice::try_new(Tag::TABLE, LIMITS, |_| Limit::NEW)?,
    })
}

/// The survey of one module (`control::survey`).
pub struct Surveyor {
    pub on: AtomicBool,
    /// Made when the setting is on for the first time, and kept until detach.
    pub records: OnceBox<SpinLock<Survey<Pool>>>,
}

impl Surveyor {
    pub const fn off() -> Self {
        Self { on: AtomicBool::new(false), records: OnceBox::empty(Tag::TABLE) }
    }
}
