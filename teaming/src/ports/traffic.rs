//! What a vNIC has sent: frames and bytes that got a destination or were left to the switch, counted by each processor
//! on its own. A live migration takes the counts along.
//!
//! A processor has a row of its own, whole cache lines long, with a cell for each port. Only that processor writes to
//! it, at DISPATCH_LEVEL; anybody may read, so a cell is two atomic words that are never half written. The packet walk
//! adds once for each run of packets of one source.

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

#[derive(Debug)]
pub(super) struct Cell {
    frames: AtomicU64,
    bytes: AtomicU64,
}

const _: () = assert!(size_of::<Line>() == 64);

impl Line {
    #[expect(clippy::declare_interior_mutable_const, reason = "a value to copy, never a place")]
    pub const EMPTY: Self =
        Self([const { Cell { frames: AtomicU64::new(0), bytes: AtomicU64::new(0) } }; CELLS]);
}

impl Cell {
    pub(super) fn get(&self) -> Traffic {
        Traffic { frames: self.frames.load(Ordering::Relaxed), bytes: self.bytes.load(Ordering::Relaxed) }
    }

    pub(super) fn set(&self, traffic: Traffic) {
        self.frames.store(traffic.frames, Ordering::Relaxed);
        self.bytes.store(traffic.bytes, Ordering::Relaxed);
    }
}

/// Lines of one processor's row for a number of ports.
pub const fn lines_for(ports: usize) -> usize {
    ports.div_ceil(CELLS)
}

/// What all processors have counted for a port.
pub(super) fn sum(lines: &[Line], ports: usize, position: usize) -> Traffic {
    column(lines, ports, position).fold(Traffic::NONE, |sum, cell| sum.plus(cell.get()))
}

/// Begins a port's count anew; no processor may be counting.
pub(crate) fn clear(lines: &[Line], ports: usize, position: usize) {
    column(lines, ports, position).for_each(|cell| cell.set(Traffic::NONE));
}

/// Copies the counts of a table of `from.1` ports into a larger one.
pub(crate) fn copy(from: (&[Line], usize), to: (&[Line], usize)) {
    for position in 0..from.1 {
        column(from.0, from.1, position)
            .zip(column(to.0, to.1, position))
            .for_each(|(old, new)| new.set(old.get()));
    }
}

pub(super) fn cell(lines: &[Line], ports: usize, processor: usize, position: usize) -> Option<&Cell> {
    if position >= ports {
        return None;
    }
    let at = processor.checked_mul(lines_for(ports))?.checked_add(position / CELLS)?;
    lines.get(at)?.0.get(position % CELLS)
}

/// The cells of one port, processor by processor.
fn column(lines: &[Line], ports: usize, position: usize) -> impl Iterator<Item = &Cell> {
    (0..lines.len()).map_while(move |processor| cell(lines, ports, processor, position))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(ports: usize, processors: usize) -> std::vec::Vec<Line> {
        (0..lines_for(ports) * processors).map(|_| Line::EMPTY).collect()
    }

    #[test]
    fn every_port_and_processor_has_a_cell_of_its_own_that_moves_along_when_the_table_grows() {
        for (ports, processors) in [(1, 1), (4, 3), (5, 2), (16, 64), (17, 5)] {
            let lines = table(ports, processors);
            let of = |processor: usize, port: usize| Traffic {
                frames: (processor * 1_000 + port) as u64,
                bytes: (port * 1_000 + processor) as u64,
            };
            for processor in 0..processors {
                for port in 0..ports {
                    let cell = cell(&lines, ports, processor, port).unwrap();
                    assert_eq!(cell.get(), Traffic::NONE);
                    cell.set(of(processor, port));
                }
            }
            let expected =
                |port| (0..processors).fold(Traffic::NONE, |sum, processor| sum.plus(of(processor, port)));
            let more = table(ports * 2 + 1, processors);
            copy((&lines, ports), (&more, ports * 2 + 1));
            for port in 0..ports {
                assert_eq!(sum(&lines, ports, port), expected(port));
                assert_eq!(sum(&more, ports * 2 + 1, port), expected(port));
            }
            clear(&lines, ports, 0);
            assert_eq!(sum(&lines, ports, 0), Traffic::NONE);
            (1..ports).for_each(|port| assert_eq!(sum(&lines, ports, port), expected(port)));
        }
    }

    #[test]
    fn a_processor_or_port_that_the_table_does_not_know_has_no_cell() {
        let lines = table(5, 2);
        for (processor, port) in [(2, 0), (usize::MAX, 4), (0, 5), (1, usize::MAX)] {
            assert!(cell(&lines, 5, processor, port).is_none());
        }
    }
}
