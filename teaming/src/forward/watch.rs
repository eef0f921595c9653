//! Which ports receive unicast on more than one member: a physical switch that has forgotten their address, or is told
//! to flood it, gives every member a copy.
//!
//! Unicast for a known vNIC costs nothing more as long as it comes on one member. Once it comes on another, all unicast
//! for the port is judged like a frame for many, for a minute. The first copy that came on another member is delivered.

use core::sync::atomic::{AtomicU32, Ordering};

use crate::Storage;
use crate::ids::{MemberIndex, PortId, Ticks};

/// Cells of the table. Ports with equal numbers modulo this share one, and are watched more often than needed.
pub const WATCHED: usize = 1_024;
/// How long a port is watched.
pub const WATCH: Ticks = Ticks::from_ms(60_000);

/// Bits of the member's number; the others are the end of the watch in units of 0.1 s, 0 for none.
const MEMBER_BITS: u32 = 6;
const TIME_MASK: u32 = u32::MAX >> MEMBER_BITS;

pub struct Watch<S: Storage> {
    cells: S::Of<AtomicU32>,
}

impl<S: Storage> Watch<S> {
    /// `cells` are `WATCHED` long, all 0.
    pub fn new(cells: S::Of<AtomicU32>) -> Self {
        Self { cells }
    }

    /// Unicast for a port came on `member`: whether it is judged. Callable under the read lock; of two processors one
    /// wins.
    #[inline]
    pub fn sees(&self, port: PortId, member: MemberIndex, now: Ticks) -> bool {
        let Some(cell) = self.cells.get(port.get() as usize % WATCHED) else { return false };
        let known = cell.load(Ordering::Relaxed);
        let number = u32::from(member.get());
        known != number && Self::changes(cell, known, number, now)
    }

    #[inline(never)]
    fn changes(cell: &AtomicU32, known: u32, number: u32, now: Ticks) -> bool {
        let (last, until) = (known & ((1 << MEMBER_BITS) - 1), known >> MEMBER_BITS);
        let moved = last != 0 && last != number;
        let left = until.wrapping_sub(tenths(now)) & TIME_MASK;
        let watched = until != 0 && left != 0 && left <= tenths(WATCH);
        let new = match (moved, watched) {
            (true, _) => number | (tenths(now).wrapping_add(tenths(WATCH)) & TIME_MASK).max(1) << MEMBER_BITS,
            (false, true) => return true,
            (false, false) => number,
        };
        cell.store(new, Ordering::Relaxed);
        moved
    }
}

#[expect(clippy::cast_possible_truncation, reason = "masked")]
const fn tenths(now: Ticks) -> u32 {
    (now.get() / 1_000_000) as u32 & TIME_MASK
}
