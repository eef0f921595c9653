//! A change of the distribution table, made beside the one that packets read (`buckets`), under the team lock. It takes the
//! other one's place by `Table::put`.

use crate::Storage;
use crate::ids::{MemberIndex, MemberSet, Ticks};
#[cfg(any(test, feature = "std"))]
use crate::team::buckets::BucketActivity;
use crate::team::buckets::{ARRIVALS, Clock, MadeFor, Moved, Table, View, WAITING, came, units};
use crate::team::carriers::Carriers;
use crate::team::heirs::Heirs;
use crate::team::home::Weights;
use crate::team::lending::Lending;

/// A change of the table, made beside it.
pub struct Aside<S: Storage> {
    pub(super) owners: S::Of<u8>,
    /// What comes to each member by the change.
    pub(super) arrivals: S::Of<u64>,
    /// Those of the table that packets read.
    pub(super) heirs: Heirs<S>,
    pub(super) made_for: MadeFor,
    /// A bucket has begun to wait by the change.
    begun: bool,
    /// The table is the one that packets read, and made for the same.
    same: bool,
}

impl<S: Storage> Table<S> {
    /// Puts a table that was made beside this one in its place. `now` is read while no packet is on its way to a member: what
    /// was sent since a bucket began to wait stands in no stamp. Where none has begun, the stamps say it all, so changes that
    /// follow each other hold no move back.
    pub fn put(&mut self, aside: &mut Aside<S>, now: Ticks) {
        if aside.begun {
            self.put_at = units(now);
        }
        core::mem::swap(&mut self.owners, &mut aside.owners);
        if !aside.same {
            aside.heirs.forget();
        }
        for (count, more) in self.arrivals.iter_mut().zip(aside.arrivals.iter()) {
            *count = count.wrapping_add(*more);
        }
        self.made_for = aside.made_for;
    }
}

impl<S: Storage> Aside<S> {
    /// `owners` is `BUCKETS` long, like what `heirs` has; `arrivals` is `ARRIVALS` long.
    pub fn new(owners: S::Of<u8>, arrivals: S::Of<u64>, heirs: Heirs<S>) -> Self {
        Self { owners, arrivals, heirs, made_for: MadeFor::default(), begun: false, same: false }
    }

    /// Whether `look_ahead` has something to do.
    pub const fn looks_ahead(&self) -> bool {
        !self.heirs.are_known()
    }

    /// Asks for heirs of the table that packets read, as many as one call may. Nothing while buckets move.
    #[inline(never)] // likewise
    pub fn look_ahead(&mut self, table: &Table<S>) {
        if !table.moving() {
            self.heirs.ask(&table.owners, &table.made_for.carriers, &table.made_for.weights);
        }
    }

    /// Makes the table for a new view. No bucket of it is on a member that is not live, unless there is no live one. If one
    /// call would take too long, the rest of these buckets is lent to one member, and `go_on` continues. No bucket moves
    /// voluntarily but where there is no gap to wait for.
    #[inline(never)] // not below what its caller calls next
    pub fn make(&mut self, table: &Table<S>, view: &View<'_>, now: Ticks) -> Moved {
        let before = &table.made_for;
        let died = before.carriers.live.minus(view.carriers.live);
        // Equal weights mean an equal home map.
        let only_deaths = !before.moving()
            && view.carriers.live.is_subset(before.carriers.live)
            && view.carriers.are_plain()
            && before.carriers.are_plain()
            && *view.weights == before.weights;
        // Everything that is not at its home goes there, from a member that is live.
        let only_returns = !before.moving()
            && died.is_empty()
            && !before.carriers.live.is_empty()
            && view.homes.is_subset(view.carriers.at_home);
        self.begin(table);
        self.made_for.carriers = view.carriers;
        self.made_for.weights = *view.weights;
        let moved = if view.home.first() == Some(&0) {
            self.give_all_to_one()
        } else if only_deaths {
            self.lend_out(died, view.weights)
        } else if only_returns {
            self.go_home(table, view.home, now)
        } else {
            self.walk(table, view.weights, view.home, Start { now, from: 0 })
        };
        self.same = moved == Moved::default()
            && !before.moving()
            && view.carriers == before.carriers
            && *view.weights == before.weights;
        moved
    }

    /// Continues a walk that has not been completed; `None` if there is none.
    #[inline(never)] // likewise
    pub fn go_on(&mut self, table: &Table<S>, home: &[u8], now: Ticks) -> Option<Moved> {
        let from = table.made_for.left_at?;
        self.begin(table);
        Some(self.walk(table, &table.made_for.weights, home, Start { now, from }))
    }

    fn begin(&mut self, table: &Table<S>) {
        for (place, owner) in self.owners.iter_mut().zip(table.owners.iter()) {
            *place = *owner;
        }
        self.arrivals.fill(0);
        self.made_for = table.made_for;
        (self.begun, self.same) = (false, false);
    }

    /// Assigns every bucket to one live member, because there is no home map yet.
    fn give_all_to_one(&mut self) -> Moved {
        let carrier = self.owners.first().map_or(0, |owner| *owner);
        if self.made_for.carriers.live.has_number(carrier)
            && self.owners.iter().all(|owner| *owner == carrier)
        {
            return Moved::default();
        }
        let carrier = self.made_for.carriers.at_home.iter().next().map_or(0, MemberIndex::get);
        let others = self.owners.iter().filter(|owner| **owner & !WAITING != carrier).count();
        if let Some(arrivals) = self.arrivals.first_chunk_mut() {
            came(arrivals, carrier, u32::try_from(others).unwrap_or(0));
        }
        self.owners.fill(carrier);
        (self.made_for.waiting, self.made_for.left_at) = (0, None);
        Moved { forced: u32::try_from(self.owners.len()).unwrap_or(u32::MAX), ..Moved::default() }
    }

    /// Lends the buckets of members that are no longer live. Only for a change that removes live members while no bucket
    /// waits. The other buckets stay: a bucket at its home belongs there, and a lent one keeps its member, because
    /// rendezvous among fewer members has the same winner if the winner is still there.
    fn lend_out(&mut self, died: MemberSet, weights: &Weights) -> Moved {
        let mut moved = Moved::default();
        let Some(arrivals) = self.arrivals.first_chunk_mut() else { return moved };
        if self.heirs.are_known()
            && died.len() == 1
            && let Some(dead) = died.iter().next()
        {
            moved.forced = self.heirs.inherit(&mut self.owners, dead.get(), arrivals);
            return moved;
        }
        let mut lending = Lending::among(self.made_for.carriers.borrowers, weights);
        for dead in died.iter().map(MemberIndex::get) {
            let lent = lend_by_bids(&mut self.owners, dead, &mut lending, arrivals);
            let heaviest = lending.heaviest();
            let mut rest = 0_u32;
            for owner in self.owners.iter_mut().skip(lent.up_to).filter(|owner| **owner == dead) {
                *owner = heaviest;
                rest = rest.wrapping_add(1);
            }
            came(arrivals, heaviest, rest);
            moved.forced = moved.forced.wrapping_add(lent.buckets).wrapping_add(rest);
        }
        self.made_for.left_at = lending.left_at();
        moved
    }

    /// What is not at its home goes there, or waits to. As `walk`, without a branch for a bucket: which of them move cannot
    /// be predicted.
    fn go_home(&mut self, table: &Table<S>, home: &[u8], now: Ticks) -> Moved {
        /// Buckets that are compared with one branch for all of them.
        const TOGETHER: usize = 16;
        let clock = Clock::new(now, table.pace);
        let mut moving = 0_u32;
        let Some(arrivals) = self.arrivals.first_chunk_mut() else { return Moved::default() };
        let (owners, _) = self.owners.as_chunks_mut::<TOGETHER>();
        let (stamps, _) = table.stamps.as_chunks::<TOGETHER>();
        let (homes, _) = home.as_chunks::<TOGETHER>();
        for ((owners, stamps), homes) in owners.iter_mut().zip(stamps).zip(homes) {
            if owners == homes {
                continue;
            }
            if clock.at_once {
                for (&owner, &home) in owners.iter().zip(homes) {
                    let moves = u32::from(owner != home);
                    came(arrivals, home, moves);
                    moving = moving.wrapping_add(moves);
                }
                *owners = *homes;
            } else {
                for ((owner, stamp), &home) in owners.iter_mut().zip(stamps).zip(homes) {
                    let waits = *owner != home;
                    // The stamp of a bucket that does not wait says nothing.
                    stamp.used_at(clock.now);
                    *owner |= if waits { WAITING } else { 0 };
                    moving = moving.wrapping_add(waits.into());
                }
            }
        }
        self.made_for.waiting = if clock.at_once { 0 } else { moving };
        self.made_for.waiting_since = Some(clock.now);
        self.begun = self.made_for.waiting != 0;
        let idle = moving.wrapping_sub(self.made_for.waiting);
        Moved { idle, waiting: self.made_for.waiting, ..Moved::default() }
    }

    /// Others may begin to wait: each stamp says since when its own bucket does.
    fn tell_apart(&mut self, table: &Table<S>) {
        let Some(since) = self.made_for.waiting_since.take() else { return };
        for (owner, stamp) in self.owners.iter().zip(table.stamps.iter()) {
            if *owner & WAITING != 0 {
                stamp.wait_since(since);
            }
        }
    }

    /// Computes every bucket from `from` on. `weights` are those of `made_for`.
    fn walk(
        &mut self,
        table: &Table<S>,
        weights: &Weights,
        home: &[u8],
        Start { now, from }: Start,
    ) -> Moved {
        self.tell_apart(table);
        let Carriers { live, at_home, borrowers } = self.made_for.carriers;
        let mut lending = Lending::among(borrowers, weights);
        let clock = Clock::new(now, table.pace);
        let before = self.owners.iter().take(from).filter(|owner| **owner & WAITING != 0).count();
        let mut moved = Moved { waiting: u32::try_from(before).unwrap_or(0), ..Moved::default() };
        let (Some(owners), Some(stamps)) = (self.owners.get_mut(from..), table.stamps.get(from..)) else {
            return moved;
        };
        let Some(arrivals) = self.arrivals.first_chunk_mut() else { return moved };
        let homes = home.get(from..).unwrap_or_default();
        for (number, ((owner, stamp), &home)) in owners.iter_mut().zip(stamps).zip(homes).enumerate() {
            let is_home_live = at_home.has_number(home);
            // Usual case: nearly all buckets are at their home.
            if is_home_live && *owner == home {
                continue;
            }
            let current = *owner & !WAITING;
            if is_home_live && clock.at_once {
                *owner = home;
                if current != home {
                    came(arrivals, home, 1);
                    let count = if live.has_number(current) { &mut moved.idle } else { &mut moved.forced };
                    *count = count.wrapping_add(1);
                }
                continue;
            }
            let target = if is_home_live {
                home
            } else if let Some(borrower) = lending.borrower(from.wrapping_add(number)) {
                borrower
            } else if live.has_number(current) {
                current
            } else {
                lending.heaviest()
            };
            let next = if current == target {
                target
            } else if !live.has_number(current) {
                moved.forced = moved.forced.wrapping_add(1);
                target
            } else if clock.at_once {
                moved.idle = moved.idle.wrapping_add(1);
                target
            } else {
                if *owner & WAITING == 0 {
                    clock.begin(stamp);
                    self.begun = true;
                }
                moved.waiting = moved.waiting.wrapping_add(1);
                current | WAITING
            };
            *owner = next;
            if next & !WAITING != current {
                came(arrivals, next, 1);
            }
        }
        self.made_for.left_at = lending.left_at();
        self.made_for.waiting = moved.waiting;
        moved
    }
}

/// When a walk begins, and with which bucket.
struct Start {
    now: Ticks,
    from: usize,
}

/// How many buckets of a dead member were lent by bids, and up to which bucket.
struct Lent {
    buckets: u32,
    up_to: usize,
}

/// Lends a dead member's buckets to whoever bids best, until that is too much work for one call. It is none where no two
/// members bid.
fn lend_by_bids(
    owners: &mut [u8],
    dead: u8,
    lending: &mut Lending<'_>,
    arrivals: &mut [u64; ARRIVALS],
) -> Lent {
    /// Number of buckets that are compared with one branch for all of them.
    const TOGETHER: usize = 16;
    let mut buckets = 0_u32;
    if lending.sole().is_some() {
        return Lent { buckets, up_to: 0 };
    }
    for (chunk, owners) in owners.as_chunks_mut::<TOGETHER>().0.iter_mut().enumerate() {
        if !owners.iter().fold(false, |has, owner| has | (*owner == dead)) {
            continue;
        }
        let first = chunk.wrapping_mul(TOGETHER);
        for (owner, number) in owners.iter_mut().zip(first..).filter(|(owner, _)| **owner == dead) {
            let Some(borrower) = lending.borrower(number) else { return Lent { buckets, up_to: number } };
            *owner = borrower;
            came(arrivals, borrower, 1);
            buckets = buckets.wrapping_add(1);
        }
    }
    Lent { buckets, up_to: owners.len() }
}

#[cfg(any(test, feature = "std"))]
impl Aside<crate::Heap> {
    pub fn on_heap() -> Self {
        let zeros = || std::vec![0; crate::ids::BUCKETS];
        Self::new(
            zeros(),
            std::vec![0; ARRIVALS],
            Heirs::new(zeros(), std::vec![0; crate::team::heirs::LEGACIES]),
        )
    }
}

#[cfg(any(test, feature = "std"))]
impl<'a> View<'a> {
    pub fn new(carriers: Carriers, weights: &'a Weights, home: &'a [u8]) -> Self {
        let homes = home.iter().filter_map(|number| MemberIndex::new(*number)).collect();
        Self { carriers, weights, home, homes }
    }
}

#[cfg(any(test, feature = "std"))]
impl Table<crate::Heap> {
    pub fn on_heap(pace: crate::team::buckets::RebalanceTimers) -> Self {
        let stamps = core::iter::repeat_with(|| BucketActivity::EMPTY).take(crate::ids::BUCKETS).collect();
        Self::new(std::vec![0; crate::ids::BUCKETS], stamps, std::vec![0; ARRIVALS], pace)
    }

    /// `make` and `put` at once.
    pub fn publish(&mut self, view: &View<'_>, now: Ticks) -> Moved {
        let mut aside = Aside::on_heap();
        let moved = aside.make(self, view, now);
        self.put(&mut aside, now);
        moved
    }

    /// `go_on` and `put`, or all voluntary moves that are due, in parts as a driver makes them.
    pub fn settle_whole(&mut self, home: &[u8], now: Ticks) -> Moved {
        let mut aside = Aside::on_heap();
        if let Some(moved) = aside.go_on(self, home, now) {
            self.put(&mut aside, now);
            return moved;
        }
        let parts = (0..home.len()).step_by(256).map(|from| from..from.saturating_add(256));
        parts.fold(Moved::default(), |moved, part| moved.plus(self.settle(home, now, part)))
    }
}
