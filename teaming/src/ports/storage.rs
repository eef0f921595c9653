//! The storage of the port table: how long its slices are for a number of ports and processors.

use crate::Storage;
use crate::ports::index::{self, IndexSlot};
use crate::ports::port::Port;
use crate::ports::traffic::{self, Line};

/// The storage of a table.
pub struct PortTableStorage<S: Storage> {
    pub ports: S::Of<Port>,
    pub index: S::Of<IndexSlot>,
    pub macs: S::Of<IndexSlot>,
    pub groups: S::Of<IndexSlot>,
    /// What vNICs have sent, a row for each processor.
    pub traffic: S::Of<Line>,
}

/// How long the slices of a `PortTableStorage` for a number of ports and processors are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortTableSizes {
    pub ports: usize,
    pub index: usize,
    pub macs: usize,
    pub groups: usize,
    pub traffic: usize,
}

/// Ports and processors of the largest switch that is planned for.
const LARGEST: (usize, usize) = (1000, 64);

// Of that, 1,024,000 bytes are counters: 16 for each port and processor.
const _: () = assert!(PortTableSizes::of_largest().bytes() <= 1_024_000 + 384 * 1024);

/// Multicast groups kept for each port on average.
const GROUPS_EACH: usize = 8;

impl PortTableSizes {
    pub const fn of_largest() -> Self {
        Self::of(LARGEST.0, LARGEST.1)
    }

    pub const fn of(ports: usize, processors: usize) -> Self {
        Self {
            ports,
            index: index::slots_for(ports),
            macs: index::slots_for(ports.saturating_mul(3)),
            groups: index::slots_for(ports.saturating_mul(GROUPS_EACH)),
            traffic: traffic::lines_for(ports).saturating_mul(processors),
        }
    }

    /// Bytes that a room of these sizes takes.
    pub const fn bytes(&self) -> usize {
        let slots = self.index.saturating_add(self.macs).saturating_add(self.groups);
        let ports = self.ports.saturating_mul(size_of::<Port>());
        let counters = self.traffic.saturating_mul(size_of::<Line>());
        ports.saturating_add(slots.saturating_mul(size_of::<IndexSlot>())).saturating_add(counters)
    }
}

#[cfg(any(test, feature = "std"))]
impl PortTableStorage<crate::Heap> {
    /// Room for a number of ports and one processor, for everything that is not the driver.
    pub fn on_heap(ports: usize) -> Self {
        let sizes = PortTableSizes::of(ports, 1);
        Self {
            ports: std::vec![Port::EMPTY; sizes.ports],
            index: std::vec![IndexSlot::EMPTY; sizes.index],
            macs: std::vec![IndexSlot::EMPTY; sizes.macs],
            groups: std::vec![IndexSlot::EMPTY; sizes.groups],
            traffic: (0..sizes.traffic).map(|_| Line::EMPTY).collect(),
        }
    }
}

/// Empties every slice.
pub(crate) fn clear<S: Storage>(room: &mut PortTableStorage<S>) {
    room.ports.fill(Port::EMPTY);
    room.index.fill(IndexSlot::EMPTY);
    room.macs.fill(IndexSlot::EMPTY);
    room.groups.fill(IndexSlot::EMPTY);
    room.traffic.iter_mut().for_each(|line| *line = Line::EMPTY);
}
