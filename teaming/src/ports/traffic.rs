//! What a vNIC has sent: frames and bytes that got a destination or were left to the switch, counted by each processor
//! on its own. A live migration takes the counts along.
//!
//! A processor has a row of its own in each chunk of 64 ports, whole cache lines long, with a cell for each port. Only that
//! processor writes to it, at DISPATCH_LEVEL; anybody may read, so a cell is two atomic words that are never half written.
//! The packet walk adds once for each run of packets of one source, the express way for each packet.

use crate::Storage;
use core::sync::atomic::{AtomicU64, Ordering};

/// What a NIC has sent. A large send counts as one frame, as it does where it is counted first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Traffic {
    pub frames: u64,
    pub bytes: u64,
}

impl Traffic {
    pub const NONE: Self = Self { frames: 0, bytes: 0 };

    #[must_use]
    #[inline]
    pub const fn plus(self, more: Self) -> Self {
        Self { frames: self.frames.wrapping_add(more.frames), bytes: self.bytes.wrapping_add(more.bytes) }
    }
}

/// Cells of one cache line.
const CELLS: usize = 4;

/// A cache line of a processor's row.
#[derive(Debug)]
#[repr(C, align(64))]
pub struct Line([Cell; CELLS]);

/// One port's frames and bytes, counted by one processor.
#[derive(Debug)]
pub struct Cell {
    frames: AtomicU64,
    bytes: AtomicU64,
}

const _: () = assert!(size_of::<Line>() == 64);

impl Line {
    #[expect(clippy::declare_interior_mutable_const, reason = "a value to copy, never a place")]
    pub const EMPTY: Self = Self([Cell::EMPTY; CELLS]);
}

impl Cell {
    #[expect(clippy::declare_interior_mutable_const, reason = "a value to copy, never a place")]
    pub(crate) const EMPTY: Self = Self { frames: AtomicU64::new(0), bytes: AtomicU64::new(0) };

    #[inline]
    pub(super) fn get(&self) -> Traffic {
        Traffic { frames: self.frames.load(Ordering::Relaxed), bytes: self.bytes.load(Ordering::Relaxed) }
    }

    #[inline]
    pub(super) fn set(&self, traffic: Traffic) {
        self.frames.store(traffic.frames, Ordering::Relaxed);
        self.bytes.store(traffic.bytes, Ordering::Relaxed);
    }

    /// Only on the processor that it belongs to, at DISPATCH_LEVEL.
    #[inline(always)]
    pub(crate) fn add(&self, more: Traffic) {
        let add = |count: &AtomicU64, more| {
            count.store(count.load(Ordering::Relaxed).wrapping_add(more), Ordering::Relaxed);
        };
        add(&self.frames, more.frames);
        add(&self.bytes, more.bytes);
    }
}

/// Ports whose counts lie together: a table that grows gets chunks and copies none.
pub const CHUNK: usize = 64;
/// Lines of one processor in a chunk.
pub const LINES: usize = CHUNK / CELLS;

/// The counts of `CHUNK` ports, `LINES` lines for each processor, or none yet.
pub struct Chunk<S: Storage>(Option<S::Of<Line>>);

impl<S: Storage> Chunk<S> {
    pub const NONE: Self = Self(None);

    /// `lines` is `LINES` long for each processor and empty.
    pub const fn new(lines: S::Of<Line>) -> Self {
        Self(Some(lines))
    }

    pub const fn is_there(&self) -> bool {
        self.0.is_some()
    }
}

/// Chunks for a number of ports.
pub const fn chunks_for(ports: usize) -> usize {
    ports.div_ceil(CHUNK)
}

/// What all processors have counted for a port.
pub(super) fn sum<S: Storage>(chunks: &[Chunk<S>], position: usize) -> Traffic {
    column(chunks, position).fold(Traffic::NONE, |sum, cell| sum.plus(cell.get()))
}

/// Begins a port's count anew; no processor may be counting.
pub(crate) fn clear<S: Storage>(chunks: &[Chunk<S>], position: usize) {
    column(chunks, position).for_each(|cell| cell.set(Traffic::NONE));
}

/// The cells of one processor.
pub(crate) struct SentBy<'a, S: Storage> {
    chunks: &'a [Chunk<S>],
    /// Its first line in each chunk.
    first: usize,
}

impl<'a, S: Storage> SentBy<'a, S> {
    #[inline(always)]
    pub(super) fn new(chunks: &'a [Chunk<S>], processor: usize) -> Self {
        Self { chunks, first: processor.saturating_mul(LINES) }
    }

    /// That of the port at a position; `None` for a processor that was added after the start.
    #[inline(always)]
    pub(crate) fn cell(&self, position: usize) -> Option<&'a Cell> {
        let lines = self.chunks.get(position / CHUNK)?.0.as_ref()?;
        let at = self.first.checked_add(position % CHUNK / CELLS)?;
        lines.get(at)?.0.get(position % CELLS)
    }
}

#[inline]
fn cell<S: Storage>(chunks: &[Chunk<S>], processor: usize, position: usize) -> Option<&Cell> {
    SentBy::new(chunks, processor).cell(position)
}

/// The cells of one port, processor by processor.
fn column<S: Storage>(chunks: &[Chunk<S>], position: usize) -> impl Iterator<Item = &Cell> {
    (0..usize::MAX).map_while(move |processor| cell(chunks, processor, position))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Heap;
    use std::vec::Vec;

    fn table(ports: usize, processors: usize) -> Vec<Chunk<Heap>> {
        let lines = || (0..LINES * processors).map(|_| Line::EMPTY).collect();
        (0..chunks_for(ports)).map(|_| Chunk::new(lines())).collect()
    }

    #[test]
    fn every_port_and_processor_has_a_cell_of_its_own() {
        for (ports, processors) in [(1, 1), (4, 3), (64, 2), (65, 64), (200, 5)] {
            let chunks = table(ports, processors);
            let of = |processor: usize, port: usize| Traffic {
                frames: (processor * 1_000 + port) as u64,
                bytes: (port * 1_000 + processor) as u64,
            };
            for processor in 0..processors {
                for port in 0..ports {
                    let cell = cell(&chunks, processor, port).unwrap();
                    assert_eq!(cell.get(), Traffic::NONE);
                    cell.set(of(processor, port));
                }
            }
            let expected =
                |port| (0..processors).fold(Traffic::NONE, |sum, processor| sum.plus(of(processor, port)));
            (0..ports).for_each(|port| assert_eq!(sum(&chunks, port), expected(port)));
            clear(&chunks, 0);
            assert_eq!(sum(&chunks, 0), Traffic::NONE);
            (1..ports).for_each(|port| assert_eq!(sum(&chunks, port), expected(port)));
        }
    }

    #[test]
    fn a_processor_or_port_that_the_table_does_not_know_has_no_cell() {
        let mut chunks = table(CHUNK, 2);
        chunks.push(Chunk::NONE);
        for (processor, port) in [(2, 0), (usize::MAX, 4), (0, CHUNK), (0, 2 * CHUNK), (1, usize::MAX)] {
            assert!(cell(&chunks, processor, port).is_none());
        }
    }
}
