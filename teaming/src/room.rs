//! The storage of the port table: how long its slices are for a number of ports.

use crate::Storage;
use crate::ports::Port;
use crate::slots::{self, Slot};

/// The storage of a table.
pub struct Room<S: Storage> {
    pub ports: S::Of<Port>,
    pub index: S::Of<Slot>,
    pub macs: S::Of<Slot>,
    pub groups: S::Of<Slot>,
}

/// How long the slices of a `Room` for a number of ports are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizes {
    pub ports: usize,
    pub index: usize,
    pub macs: usize,
    pub groups: usize,
}

const _: () = assert!(Sizes::of_1000().bytes() <= 384 * 1024);

/// Multicast groups kept for each port on average.
const GROUPS_EACH: usize = 8;

impl Sizes {
    /// Those of the largest switch that is planned for.
    pub const fn of_1000() -> Self {
        Self::of(1000)
    }

    pub const fn of(ports: usize) -> Self {
        Self {
            ports,
            index: slots::slots_for(ports),
            macs: slots::slots_for(ports.saturating_mul(3)),
            groups: slots::slots_for(ports.saturating_mul(GROUPS_EACH)),
        }
    }

    /// Bytes that a room of these sizes takes.
    pub const fn bytes(&self) -> usize {
        let slots = self.index.saturating_add(self.macs).saturating_add(self.groups);
        let ports = self.ports.saturating_mul(size_of::<Port>());
        ports.saturating_add(slots.saturating_mul(size_of::<Slot>()))
    }
}

#[cfg(any(test, feature = "std"))]
impl Room<crate::Heap> {
    /// Room for a number of ports, for everything that is not the driver.
    pub fn on_heap(ports: usize) -> Self {
        let sizes = Sizes::of(ports);
        Self {
            ports: std::vec![Port::EMPTY; sizes.ports],
            index: std::vec![Slot::EMPTY; sizes.index],
            macs: std::vec![Slot::EMPTY; sizes.macs],
            groups: std::vec![Slot::EMPTY; sizes.groups],
        }
    }
}

/// Empties every slice.
pub(crate) fn clear<S: Storage>(room: &mut Room<S>) {
    room.ports.fill(Port::EMPTY);
    room.index.fill(Slot::EMPTY);
    room.macs.fill(Slot::EMPTY);
    room.groups.fill(Slot::EMPTY);
}
