//! Who would carry each bucket if its member died: asked for beforehand, a part at a time, when nothing moves. The failure of
//! a member is then one pass over the table, without a bid and without a branch for a bucket.
//!
//! Bids are pure functions (`lending`), so an heir is just whom the bids of that moment would name: a failure that comes
//! before all heirs are known asks for bids, and the table is the same.

use crate::Storage;
use crate::ids::{BUCKETS, MEMBERS};
use crate::team::buckets::ARRIVALS;
use crate::team::carriers::Carriers;
use crate::team::home::Weights;
use crate::team::lending::Lending;

/// Length of the table of what each member would leave to each other one, by both numbers.
pub const LEGACIES: usize = (MEMBERS + 1) * ARRIVALS;

pub struct Heirs<S: Storage> {
    /// `BUCKETS` long.
    of: S::Of<u8>,
    /// `LEGACIES` long: how many of a member's buckets each other one inherits.
    legacies: S::Of<u16>,
    /// As many buckets have an heir.
    known: usize,
}

impl<S: Storage> Heirs<S> {
    /// `of` is `BUCKETS` long, `legacies` is `LEGACIES` long.
    pub const fn new(of: S::Of<u8>, legacies: S::Of<u16>) -> Self {
        Self { of, legacies, known: 0 }
    }

    pub const fn are_known(&self) -> bool {
        self.known >= BUCKETS
    }

    /// The table is another.
    pub(super) const fn forget(&mut self) {
        self.known = 0;
    }

    /// Asks for as many as one call may; no bucket waits, and every member that is live carries what is its own.
    pub(super) fn ask(&mut self, owners: &[u8], carriers: &Carriers, weights: &Weights) {
        if self.known == 0 {
            self.legacies.fill(0);
        }
        let mut lending = Lending::ahead(carriers.borrowers, weights);
        let unknown = self.of.iter_mut().zip(owners).enumerate().skip(self.known);
        for (bucket, (heir, &owner)) in unknown {
            let Some(next) = lending.without(owner, bucket) else { return };
            *heir = next;
            let legacy = usize::from(owner).wrapping_mul(ARRIVALS).wrapping_add(next.into());
            if let Some(count) = self.legacies.get_mut(legacy) {
                *count = count.wrapping_add(1);
            }
            self.known = bucket.saturating_add(1);
        }
    }

    /// Gives a dead member's buckets to their heirs and counts what comes to each. How many there were.
    pub(super) fn inherit(&self, owners: &mut [u8], dead: u8, arrivals: &mut [u64; ARRIVALS]) -> u32 {
        for (owner, &heir) in owners.iter_mut().zip(self.of.iter()) {
            *owner = if *owner == dead { heir } else { *owner };
        }
        let mut buckets = 0_u32;
        let first = usize::from(dead).wrapping_mul(ARRIVALS);
        for (count, &legacy) in arrivals.iter_mut().zip(self.legacies.iter().skip(first)) {
            *count = count.wrapping_add(legacy.into());
            buckets = buckets.wrapping_add(legacy.into());
        }
        buckets
    }
}
