//! The table that all modules of the driver share: the addresses that adapters of one VM may take over from each other on
//! all switches of the host (`teaming::ports::host`). It lives with the driver's state, from DriverEntry to DriverUnload,
//! so that no module needs another's memory. Each part has a spin lock of its own, the last in the lock order: nothing is
//! locked or called under it.

use super::lock::SpinLock;
use super::status::OutOfMemory;
use crate::kernel::pool::{Pool, PoolSlice, Tag};
use teaming::ports::host::{Host, PARTS, Part};
use teaming::ports::mates::Mate;

/// The parts of the table.
pub struct HostTable(PoolSlice<SpinLock<Part>>);

impl HostTable {
    /// About 100 KiB. IRQL <= DISPATCH_LEVEL.
    pub fn try_new() -> Result<Self, OutOfMemory> {
        Ok(Self(PoolSlice::try_new(Tag::TABLE, PARTS, |_| SpinLock::new(Part::EMPTY))?))
    }

    fn part(&self, mate: Mate) -> Option<&SpinLock<Part>> {
        self.0.get(Part::of(mate.mac))
    }
}

/// A module's access to the table. IRQL <= DISPATCH_LEVEL; the locks of the module may be held.
#[derive(Clone, Copy)]
pub struct HostHandle(&'static HostTable);

impl HostHandle {
    pub const fn new(table: &'static HostTable) -> Self {
        Self(table)
    }
}

impl Host for HostHandle {
    fn add(&self, mate: Mate) -> bool {
        self.0.part(mate).is_some_and(|part| part.lock().add(mate))
    }

    fn remove(&self, mate: Mate) {
        if let Some(part) = self.0.part(mate) {
            part.lock().remove(mate);
        }
    }

    fn contains(&self, mate: Mate) -> bool {
        self.0.part(mate).is_some_and(|part| part.lock().contains(mate))
    }
}

impl teaming::Storage for Pool {
    type Of<T> = PoolSlice<T>;
    type Host = HostHandle;
}
