//! How another table of buckets is published: made beside the one that packets read, under the read lock, and put in its
//! place under the write lock. The team lock is held throughout.

use crate::Storage;
use crate::forward::Forwarding;
use crate::ids::Ticks;
use crate::team::TeamView;
use crate::team::aside::Aside;
use crate::team::buckets::{Moved, View};
use core::ops::Range;

impl<S: Storage> Forwarding<S> {
    /// Makes the table for a plan beside the one that packets read, while they go on; `put` is to follow before any other
    /// change of the table.
    pub fn make(&self, aside: &mut Aside<S>, plan: &TeamView, home: &[u8], now: Ticks) -> Moved {
        let TeamView { carriers, weights, homes, .. } = plan;
        let view = View { carriers: *carriers, weights, home, homes: *homes };
        aside.make(&self.table, &view, now)
    }

    /// Publishes live members and weights with the table that was made for them. Afterwards no packet is assigned to a member
    /// that is not live. `now` is read under the write lock.
    pub fn put(&mut self, aside: &mut Aside<S>, plan: &TeamView, now: Ticks) {
        if !self.table.live().is_subset(plan.carriers.live) {
            // A stream whose member has died goes on by another: its frames are no copies.
            self.secret = self.secret.next();
        }
        self.expect_copies(plan.several_receive);
        self.table.put(aside, now);
    }

    /// Finds out, while nothing moves, what a failure would ask for (`heirs`), a part in each call.
    pub fn look_ahead(&self, aside: &mut Aside<S>) {
        aside.look_ahead(&self.table);
    }

    /// Goes on with a table that was not completed, as `make`; `put_rest` is to follow. `None` if there is none.
    pub fn go_on(&self, aside: &mut Aside<S>, home: &[u8], now: Ticks) -> Option<Moved> {
        aside.go_on(&self.table, home, now)
    }

    pub fn put_rest(&mut self, aside: &mut Aside<S>, now: Ticks) {
        self.table.put(aside, now);
    }

    /// Makes the voluntary moves of a part of the table that are due; needed only while `moving`.
    pub fn settle_part(&mut self, home: &[u8], now: Ticks, part: Range<usize>) -> Moved {
        self.table.settle(home, now, part)
    }

    /// Makes the voluntary moves without waiting, before the first packet.
    pub fn settle_at_once(&mut self, home: &[u8], now: Ticks) {
        self.table.settle_at_once(home, now);
    }

    pub const fn moving(&self) -> bool {
        self.table.moving()
    }
}

#[cfg(any(test, feature = "std"))]
impl Forwarding<crate::Heap> {
    /// `make` and `put` at once.
    pub fn publish(&mut self, plan: &TeamView, home: &[u8], now: Ticks) -> Moved {
        let mut aside = Aside::on_heap();
        let moved = self.make(&mut aside, plan, home, now);
        self.put(&mut aside, plan, now);
        moved
    }

    /// Goes on with the table that was not completed, or makes all voluntary moves that are due.
    pub fn settle(&mut self, home: &[u8], now: Ticks) -> Moved {
        self.table.settle_whole(home, now)
    }
}
