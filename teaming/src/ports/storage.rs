//! The storage of the port table: how long its slices are for a number of ports and processors.

use crate::Storage;
use crate::ports::index::{self, IndexSlot};
use crate::ports::mates::MateSlot;
use crate::ports::port::Port;
use crate::ports::traffic::{self, Chunk, Line};

/// The storage of a table.
pub struct PortTableStorage<S: Storage> {
    pub ports: S::Of<Port>,
    pub index: S::Of<IndexSlot>,
    pub macs: S::Of<IndexSlot>,
    pub groups: S::Of<IndexSlot>,
    pub mates: S::Of<MateSlot>,
    /// What vNICs have sent; chunks are added one by one.
    pub traffic: S::Of<Chunk<S>>,
}

/// How long the slices of a `PortTableStorage` for a number of ports and processors are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortTableSizes {
    pub ports: usize,
    pub index: usize,
    pub macs: usize,
    pub groups: usize,
    pub mates: usize,
    /// Chunks of counters, and the lines of each.
    pub chunks: usize,
    pub lines: usize,
}

/// Ports and processors of the largest switch that is planned for.
const LARGEST: (usize, usize) = (1000, 64);

// Of that, 1 MiB are counters: 16 bytes for each port and processor, in whole chunks of 64 ports.
const _: () = assert!(PortTableSizes::of_largest().bytes() <= 1024 * 1024 + 384 * 1024);

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
            mates: index::slots_for(ports),
            chunks: traffic::chunks_for(ports),
            lines: traffic::LINES.saturating_mul(processors),
        }
    }

    /// Bytes that a room of these sizes takes.
    pub const fn bytes(&self) -> usize {
        let slots = self.index.saturating_add(self.macs).saturating_add(self.groups);
        let ports = self.ports.saturating_mul(size_of::<Port>());
        let counters = self.chunks.saturating_mul(self.lines).saturating_mul(size_of::<Line>());
        let mates = self.mates.saturating_mul(size_of::<MateSlot>());
        let slots = slots.saturating_mul(size_of::<IndexSlot>()).saturating_add(mates);
        ports.saturating_add(slots).saturating_add(counters)
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
            mates: std::vec![MateSlot::EMPTY; sizes.mates],
            traffic: (0..sizes.chunks)
                .map(|_| Chunk::new((0..sizes.lines).map(|_| Line::EMPTY).collect()))
                .collect(),
        }
    }
}

impl<S: Storage> PortTableStorage<S> {
    /// Empties every slice but the counters.
    pub fn clear(&mut self) {
        self.ports.fill(Port::EMPTY);
        self.index.fill(IndexSlot::EMPTY);
        self.macs.fill(IndexSlot::EMPTY);
        self.groups.fill(IndexSlot::EMPTY);
        self.mates.fill(MateSlot::EMPTY);
    }

    /// Ports that it holds.
    pub fn capacity(&self) -> usize {
        let counted = self.traffic.iter().take_while(|chunk| chunk.is_there()).count();
        self.ports.len().min(counted.saturating_mul(traffic::CHUNK))
    }

    /// Adds a chunk of counters; gives it back if there is no place for it.
    pub fn add_counters(&mut self, chunk: Chunk<S>) -> Option<Chunk<S>> {
        let Some(place) = self.traffic.iter_mut().find(|chunk| !chunk.is_there()) else { return Some(chunk) };
        *place = chunk;
        None
    }

    /// No slice is shorter than that of another.
    pub(super) fn is_as_large_as(&self, other: &Self) -> bool {
        self.ports.len() >= other.ports.len()
            && self.index.len() >= other.index.len()
            && self.macs.len() >= other.macs.len()
            && self.groups.len() >= other.groups.len()
            && self.mates.len() >= other.mates.len()
            && self.traffic.len() >= other.traffic.len()
    }
}
