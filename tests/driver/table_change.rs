//! Checks with loom how the table of buckets changes while packets are sent: the next table is made while packets go on and
//! put in place of the one that they read (`teaming::team::buckets`), over a lock that always prefers readers, in every
//! interleaving in which at most two threads are stopped where they need not wait.

use crate::gate::ReaderFirst;
use loom::cell::UnsafeCell;
use loom::sync::{Arc, Mutex, MutexGuard};
use loom::thread;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use teaming::Heap;
use teaming::ids::{BUCKETS, Bucket, MEMBERS, MemberIndex, MemberSet, Ticks};
use teaming::team::aside::Aside;
use teaming::team::buckets::{RebalanceTimers, Table, View};
use teaming::team::carriers::Carriers;

/// The home of every bucket; all are on the other member at first.
const RETURNING: u8 = 2;
/// The bucket whose packets are sent.
const BUCKET: usize = 0;
const PACKETS: usize = 2;
/// The clock advances by this each time that anybody reads it.
const STEP: u64 = 16_000;
/// A bucket is idle for longer than this: one reading of the clock, and less than two.
const GAP: u64 = STEP + STEP / 2;
/// How often the timer expires.
const EXPIRIES: usize = 3;

/// The steps of the protocol that are executed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Protocol {
    Whole,
    /// The table counts as put in place when it was made.
    PutWhenMade,
    /// The clock is read before nobody has the table.
    ClockBeforeLock,
    /// A table may be put in place of one that has changed since it was made.
    NoTeamLock,
}

/// What a run showed.
#[derive(Default)]
struct Seen {
    /// A bucket moved as idle though a packet was sent over its old member within the gap.
    early: AtomicBool,
    /// A packet went over the old member again after one over the new one.
    back: AtomicBool,
    /// A bucket moved as idle.
    moved: AtomicBool,
}

struct Shared {
    protocol: Protocol,
    clock: AtomicU64,
    /// The team lock.
    control: Mutex<()>,
    /// One writer at a time, as at the gate.
    turn: Mutex<()>,
    lock: ReaderFirst,
    table: UnsafeCell<Table<Heap>>,
    /// When the last packet was sent over the member that the bucket leaves.
    sent: AtomicU64,
}

impl Shared {
    fn now(&self) -> Ticks {
        Ticks::new(self.clock.fetch_add(STEP, Ordering::SeqCst))
    }

    fn read<R>(&self, look: impl FnOnce(&Table<Heap>) -> R) -> R {
        self.lock.read();
        // SAFETY: the lock is held for reading; loom fails if a writer has the table.
        let seen = self.table.with(|table| look(unsafe { &*table }));
        self.lock.leave();
        seen
    }

    fn write<R>(&self, change: impl FnOnce(&mut Table<Heap>) -> R) -> R {
        let _turn = self.turn.lock().expect("nobody panics");
        self.lock.write();
        // SAFETY: the lock is held for writing; loom fails if anybody else has the table.
        let changed = self.table.with_mut(|table| change(unsafe { &mut *table }));
        self.lock.leave();
        changed
    }

    /// Sends a packet as the walk does: the clock is read with the lock held. The member that carries it.
    fn send(&self, bucket: Bucket) -> u8 {
        self.read(|table| {
            let now = self.now();
            let member = table.choose(bucket, now).map_or(0, MemberIndex::get);
            if member != RETURNING {
                self.sent.store(now.get(), Ordering::SeqCst);
            }
            member
        })
    }

    fn team(&self) -> Option<MutexGuard<'_, ()>> {
        (self.protocol != Protocol::NoTeamLock).then(|| self.control.lock().expect("nobody panics"))
    }

    /// Makes the table of a team in which both members are live, and puts it in place.
    fn publish(&self) {
        let _team = self.team();
        let (mut aside, made) = (Aside::on_heap(), self.now());
        self.read(|table| make(&mut aside, table, &[1, RETURNING], made));
        let early = (self.protocol == Protocol::ClockBeforeLock).then(|| self.now());
        self.write(|table| {
            let now = match self.protocol {
                Protocol::PutWhenMade => made,
                _ => early.unwrap_or_else(|| self.now()),
            };
            table.put(&mut aside, now);
        });
    }

    /// The timer: the voluntary move of the bucket, if it is due.
    fn expire(&self, seen: &Seen) {
        let _team = self.team();
        let now = self.now();
        self.write(|table| {
            let moved = table.settle(&HOME, now, BUCKET..BUCKET + 1);
            let sent = self.sent.load(Ordering::SeqCst);
            if moved.idle != 0 {
                seen.moved.store(true, Ordering::Relaxed);
                seen.early.fetch_or(now.get().saturating_sub(sent) <= GAP, Ordering::Relaxed);
            }
        });
    }
}

static HOME: [u8; BUCKETS] = [RETURNING; BUCKETS];

fn make(aside: &mut Aside<Heap>, table: &Table<Heap>, members: &[u8], now: Ticks) {
    let mut weights = [0; MEMBERS];
    weights[..usize::from(RETURNING)].fill(1);
    let live: MemberSet = members.iter().filter_map(|number| MemberIndex::new(*number)).collect();
    aside.make(table, &View::new(Carriers::all(live), &weights, &HOME), now);
}

/// All buckets are on the first member.
fn before() -> Table<Heap> {
    let timers = RebalanceTimers { gap: Ticks::new(GAP), deadline: None };
    let mut table = Table::on_heap(timers);
    let mut aside = Aside::on_heap();
    make(&mut aside, &table, &[1], Ticks::ZERO);
    table.put(&mut aside, Ticks::ZERO);
    table
}

/// One thread sends, a member's return is published, the timer expires; with `again`, another thread publishes the same.
fn run(protocol: Protocol, again: bool) -> std::sync::Arc<Seen> {
    let seen = std::sync::Arc::new(Seen::default());
    let outcome = std::sync::Arc::clone(&seen);
    let model = move || {
        let shared = Arc::new(Shared {
            protocol,
            clock: AtomicU64::new(1_000 * STEP),
            control: Mutex::new(()),
            turn: Mutex::new(()),
            lock: ReaderFirst::default(),
            table: UnsafeCell::new(before()),
            sent: AtomicU64::new(0),
        });
        let bucket = Bucket::new(BUCKET as u16).expect("there is such a bucket");
        let sender = thread::spawn({
            let (shared, seen) = (Arc::clone(&shared), std::sync::Arc::clone(&seen));
            move || {
                let members: Vec<_> = (0..PACKETS).map(|_| shared.send(bucket)).collect();
                seen.back.fetch_or(!members.is_sorted(), Ordering::Relaxed);
            }
        });
        let other = again.then(|| {
            let shared = Arc::clone(&shared);
            thread::spawn(move || shared.publish())
        });
        shared.publish();
        (0..EXPIRIES).for_each(|_| shared.expire(&seen));
        sender.join().expect("the sender ends");
        other.into_iter().for_each(|other| other.join().expect("the other ends"));
    };
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(2);
    builder.check(model);
    outcome
}

#[test]
fn no_bucket_moves_within_the_gap_or_goes_back_in_any_interleaving() {
    for again in [false, true] {
        let seen = run(Protocol::Whole, again);
        assert!(
            !seen.early.load(Ordering::Relaxed),
            "a packet of the new member may overtake one of the old"
        );
        assert!(!seen.back.load(Ordering::Relaxed), "a packet went over the old member after the new one");
        assert!(seen.moved.load(Ordering::Relaxed), "nothing moved");
    }
}

#[test]
fn the_model_finds_when_a_table_counts_as_put_in_place_too_early() {
    for protocol in [Protocol::PutWhenMade, Protocol::ClockBeforeLock] {
        assert!(run(protocol, false).early.load(Ordering::Relaxed), "{protocol:?}");
    }
}

#[test]
fn the_model_finds_that_a_table_takes_the_place_of_another_than_it_was_made_from() {
    assert!(run(Protocol::NoTeamLock, true).back.load(Ordering::Relaxed));
}
