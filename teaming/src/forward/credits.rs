//! Credits: which frames are expected to arrive once more.
//!
//! The physical network gives every other member of a switch-independent team its copy of a frame for many or for an
//! address that it does not know: of a frame that came in on one member, and of a frame that left by one. So whoever
//! delivers or sends such a frame leaves a *credit* for each other member. An arrival that finds a credit of its
//! member uses it up and is dropped; any other arrival is news. A credit expires after `LIFE`. Because an arrival never
//! leaves a credit for its own member, equal frames that follow each other on one path are all news.
//!
//! A slot holds the credits of one frame. Its state is one word: the members that still have a credit, whether the frame
//! came from outside, the time, and part of the digest. A credit is used by one compare-and-swap; a slot is claimed by
//! one, and the digest is written before the slot is published. Who finds a slot that is being claimed for what may be
//! its frame looks again until it is published, for at most `LOOKS` times: the claimer is three instructions from it, at
//! DISPATCH_LEVEL. A slot becomes free by time alone, and a set is always searched in one order: so two copies of one
//! frame that arrive at once compete for one slot, and one of them is news. (If a slot expires between the two searches,
//! both may be: a duplicate is delivered.) `tests/driver/credits.rs` checks this in every interleaving.
//!
//! No memory is allocated, and nothing grows: `WAYS` slots share a set. If all are in use, the frame leaves no credits
//! and is counted; its copies are delivered. A port may leave credits in a quarter of the slots within `LIFE`, so that a
//! storm from one port does not take those of the others.

use core::num::NonZeroU64;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::Storage;
use crate::ids::{MEMBERS, MemberIndex, MemberSet, Ticks};

/// Slots that share a set.
pub const WAYS: usize = 8;
/// Slots of the table: 32,000 frames for many in a second, 128 KiB.
pub const CREDIT_SLOTS: usize = if cfg!(feature = "few-credits") { WAYS } else { WAYS << 10 };
/// Time after which a credit expires.
pub const LIFE: Ticks = Ticks::from_ms(250);
/// Sources with quotas of their own; ports with equal numbers modulo this share one.
pub const QUOTAS: usize = 64;

const PORT_QUOTAS: u32 = 62;
const _: () = assert!(PORT_QUOTAS as usize + 2 == QUOTAS);

/// How often a slot that is being claimed is looked at.
const LOOKS: u32 = 1_000;

/// An atomic word of 64 bits. `AtomicU64` in the driver; in the model of `tests/driver/credits.rs` that of loom.
pub trait Word {
    /// Ordered before everything after it.
    fn load(&self) -> u64;
    /// Ordered after everything before it.
    fn store(&self, value: u64);
    /// Stores `new` if the word is `old`.
    fn swap_if(&self, old: u64, new: u64) -> bool;
    /// Called between two looks at a word that another processor is about to change.
    fn pause();
}

impl Word for AtomicU64 {
    #[inline]
    fn load(&self) -> u64 {
        Self::load(self, Ordering::Acquire)
    }
    #[inline]
    fn store(&self, value: u64) {
        Self::store(self, value, Ordering::Release);
    }
    #[inline]
    fn swap_if(&self, old: u64, new: u64) -> bool {
        self.compare_exchange(old, new, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
    fn pause() {
        core::hint::spin_loop();
    }
}

/// The credits of one frame.
#[derive(Debug)]
pub struct CreditSlot<W = AtomicU64> {
    digest: W,
    state: W,
}

const _: () = assert!(size_of::<CreditSlot>() == 16);

impl<W: Word> CreditSlot<W> {
    /// `zero` makes a word of 0.
    pub fn new(zero: impl Fn() -> W) -> Self {
        Self { digest: zero(), state: zero() }
    }
}

impl CreditSlot {
    #[expect(
        clippy::declare_interior_mutable_const,
        reason = "storage is filled with it, element by element"
    )]
    pub const EMPTY: Self = Self { digest: AtomicU64::new(0), state: AtomicU64::new(0) };
}

/// The state of a slot: members with a credit (32 bits), flags (2), part of the digest (8), time (22).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct State(u64);

const OUTSIDE: u64 = 1 << 32;
const CLAIMED: u64 = 1 << 33;
const CHECK: u64 = 0xff << 34;
const TIME_SHIFT: u32 = 42;
const TIME_BITS: u32 = 22;
/// 4 ms in units of `Ticks`: the time of a slot wraps after 4.6 hours.
const UNIT: u64 = 40_000;

impl State {
    fn new(digest: NonZeroU64, credits: MemberSet, origin: Origin, now: Ticks) -> Self {
        let origin = if origin == Origin::External { OUTSIDE } else { 0 };
        Self(u64::from(credits.bits()) | origin | check(digest) | units(now) << TIME_SHIFT)
    }

    const fn is_live(self, now: Ticks) -> bool {
        let age = units(now).wrapping_sub(self.0 >> TIME_SHIFT) & ((1 << TIME_BITS) - 1);
        // Another processor's clock may be ahead of the caller's.
        self.0 != 0 && (age <= LIFE.get() / UNIT || age > (1 << TIME_BITS) - 16)
    }

    const fn may_be(self, digest: NonZeroU64) -> bool {
        self.0 & CHECK == check(digest)
    }

    const fn is_claimed(self) -> bool {
        self.0 & CLAIMED != 0
    }

    const fn origin(self) -> Origin {
        if self.0 & OUTSIDE != 0 { Origin::External } else { Origin::Host }
    }
}

const fn units(now: Ticks) -> u64 {
    (now.get() / UNIT) & ((1 << TIME_BITS) - 1)
}

const fn check(digest: NonZeroU64) -> u64 {
    digest.get() >> 22 & CHECK
}

const fn bit(member: MemberIndex) -> u64 {
    1 << (member.get().wrapping_sub(1) & 31)
}

/// Where a frame came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// It was sent by this host.
    Host,
    /// It came from the external network.
    External,
}

/// A frame and what is to be known of it.
#[derive(Debug, Clone, Copy)]
pub struct Frame {
    pub digest: NonZeroU64,
    /// The members that get a credit if it is news.
    pub others: MemberSet,
    pub now: Ticks,
}

/// What an arrival is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    /// It had a credit, which it has used up: a frame of this origin comes once more.
    Again(Origin),
    /// The credits for its copies are in the slot, if one is named.
    News(Option<Receipt>),
    /// There was no room for credits.
    Unrecorded,
}

/// The slot in which a frame left its credits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Receipt {
    slot: u32,
    state: u64,
}

/// A frame arrived on `member`. Exactly one of the copies that arrive within `LIFE` is news.
pub fn arrive<W: Word>(set: &[CreditSlot<W>], frame: &Frame, member: MemberIndex, keeps: bool) -> Arrival {
    for _ in 0..LOOKS {
        let found = match search(set, frame, Some(member)) {
            Search::Credit(slot, state) => {
                if slot.state.swap_if(state.0, state.0 & !bit(member)) {
                    return Arrival::Again(state.origin());
                }
                continue;
            }
            Search::Wait => {
                W::pause();
                continue;
            }
            Search::Free(free) => free,
        };
        if !keeps {
            return Arrival::News(None);
        }
        let Some(free) = found else { return Arrival::Unrecorded };
        if let Some(receipt) = claim(set, free, frame, Origin::External) {
            return Arrival::News(Some(receipt));
        }
    }
    Arrival::Unrecorded
}

/// A frame of this host is about to be sent. `None` if there was no room.
pub fn send<W: Word>(set: &[CreditSlot<W>], frame: &Frame) -> Option<Receipt> {
    for _ in 0..LOOKS {
        let Search::Free(free) = search(set, frame, None) else { return None };
        if let Some(receipt) = claim(set, free?, frame, Origin::Host) {
            return Some(receipt);
        }
    }
    None
}

/// The frame of a receipt was not delivered or sent after all.
pub fn withdraw<W: Word>(set: &[CreditSlot<W>], receipt: Receipt) {
    let Some(slot) = set.get(receipt.slot as usize) else { return };
    let mut state = receipt.state;
    // Every failure is a credit that was used meanwhile.
    for _ in 0..=MEMBERS {
        if slot.state.swap_if(state, state & !u64::from(u32::MAX)) {
            return;
        }
        let left = slot.state.load();
        if left & !u64::from(u32::MAX) != state & !u64::from(u32::MAX) {
            return;
        }
        state = left;
    }
}

/// Whether the frame has come from outside within `LIFE`.
pub fn came_from_outside<W: Word>(set: &[CreditSlot<W>], digest: NonZeroU64, now: Ticks) -> bool {
    set.iter().any(|slot| {
        let state = State(slot.state.load());
        state.is_live(now)
            && state.may_be(digest)
            && !state.is_claimed()
            && state.origin() == Origin::External
            && slot.digest.load() == digest.get()
    })
}

enum Search<'a, W> {
    Credit(&'a CreditSlot<W>, State),
    /// A slot is being claimed for what may be the frame.
    Wait,
    /// No credit, and the first free slot with its state.
    Free(Option<(usize, State)>),
}

/// Looks for a credit of `member`, and for a free slot.
fn search<'a, W: Word>(
    set: &'a [CreditSlot<W>],
    frame: &Frame,
    member: Option<MemberIndex>,
) -> Search<'a, W> {
    let mut free = None;
    for (number, slot) in set.iter().enumerate() {
        let state = State(slot.state.load());
        if !state.is_live(frame.now) {
            free = free.or(Some((number, state)));
            continue;
        }
        let Some(member) = member.filter(|_| state.may_be(frame.digest)) else { continue };
        if state.is_claimed() {
            return Search::Wait;
        }
        if state.0 & bit(member) != 0 && slot.digest.load() == frame.digest.get() {
            return Search::Credit(slot, state);
        }
    }
    Search::Free(free)
}

/// Takes a free slot; `None` if another processor was faster.
fn claim<W: Word>(
    set: &[CreditSlot<W>],
    (number, state): (usize, State),
    frame: &Frame,
    origin: Origin,
) -> Option<Receipt> {
    let slot = set.get(number)?;
    let new = State::new(frame.digest, frame.others, origin, frame.now);
    if !slot.state.swap_if(state.0, new.0 & !u64::from(u32::MAX) | CLAIMED) {
        return None;
    }
    slot.digest.store(frame.digest.get());
    slot.state.store(new.0);
    Some(Receipt { slot: u32::try_from(number).ok()?, state: new.0 })
}

/// The credits of all frames.
pub struct CreditTable<S: Storage> {
    slots: S::Of<CreditSlot>,
    quotas: S::Of<AtomicU32>,
}

/// Who leaves credits, for the quota: a port, or what comes from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Source(u32);

impl Source {
    /// What comes from outside for many or for an unknown address.
    pub const OUTSIDE: Self = Self(0);
    /// Watched unicast from outside.
    pub const WATCHED: Self = Self(1);

    /// A port of this switch.
    pub const fn port(number: u32) -> Self {
        Self((number % PORT_QUOTAS).wrapping_add(2))
    }
}

impl<S: Storage> CreditTable<S> {
    /// `slots` are a power of two times `WAYS`, `quotas` are `QUOTAS` long.
    pub fn new(slots: S::Of<CreditSlot>, quotas: S::Of<AtomicU32>) -> Self {
        Self { slots, quotas }
    }

    /// `from` is `OUTSIDE` or `WATCHED`.
    pub fn arrive(&self, frame: &Frame, member: MemberIndex, from: Source) -> Arrival {
        let wanted = !frame.others.is_empty();
        let keeps = wanted && self.may_spend(from, frame.now);
        match arrive(self.set(frame.digest), frame, member, keeps) {
            Arrival::News(None) if wanted => Arrival::Unrecorded,
            Arrival::News(Some(receipt)) => {
                self.spend(from, frame.now);
                Arrival::News(Some(receipt))
            }
            arrival => arrival,
        }
    }

    /// Records a frame from outside that no other member can receive: what comes from outside teaches nothing about a
    /// port that sends it back. Whether there was room.
    pub fn mark(&self, frame: &Frame) -> bool {
        let set = self.set(frame.digest);
        if came_from_outside(set, frame.digest, frame.now) {
            return true;
        }
        if self.may_spend(Source::OUTSIDE, frame.now)
            && let Search::Free(Some(free)) = search(set, frame, None)
            && claim(set, free, frame, Origin::External).is_some()
        {
            self.spend(Source::OUTSIDE, frame.now);
            return true;
        }
        false
    }

    pub fn send(&self, frame: &Frame, from: Source) -> Option<Receipt> {
        if !self.may_spend(from, frame.now) {
            return None;
        }
        let receipt = send(self.set(frame.digest), frame)?;
        self.spend(from, frame.now);
        Some(receipt)
    }

    pub fn withdraw(&self, digest: NonZeroU64, receipt: Receipt) {
        withdraw(self.set(digest), receipt);
    }

    pub fn came_from_outside(&self, digest: NonZeroU64, now: Ticks) -> bool {
        came_from_outside(self.set(digest), digest, now)
    }

    /// Slots in use.
    pub fn len(&self, now: Ticks) -> usize {
        self.slots.iter().filter(|slot| State(slot.state.load(Ordering::Relaxed)).is_live(now)).count()
    }

    pub fn is_empty(&self, now: Ticks) -> bool {
        self.len(now) == 0
    }

    fn set(&self, digest: NonZeroU64) -> &[CreditSlot] {
        let sets = (self.slots.len() / WAYS) as u64;
        let number = usize::try_from(digest.get() & sets.wrapping_sub(1)).unwrap_or(0);
        let first = number.saturating_mul(WAYS);
        self.slots.get(first..first.saturating_add(WAYS)).unwrap_or(&[])
    }

    /// Whether a source may leave credits once more in this quarter of a second.
    fn may_spend(&self, from: Source, now: Ticks) -> bool {
        let most = u32::try_from(self.slots.len() / 4).unwrap_or(u32::MAX).min(SPENT_MASK);
        self.quotas.get(from.0 as usize).is_none_or(|cell| spent(cell, now) < most)
    }

    /// Processors that count at once may count once for both.
    fn spend(&self, from: Source, now: Ticks) {
        if let Some(cell) = self.quotas.get(from.0 as usize) {
            cell.store(period(now) | spent(cell, now).saturating_add(1).min(SPENT_MASK), Ordering::Relaxed);
        }
    }
}

/// A quota's cell: the period in its high half, what was spent in it in the low half.
const SPENT_MASK: u32 = 0xffff;

/// Wraps after 4.5 hours.
fn period(now: Ticks) -> u32 {
    let number = now.get().checked_div(LIFE.get()).unwrap_or(0) & u64::from(SPENT_MASK);
    u32::try_from(number << 16).unwrap_or(0)
}

fn spent(cell: &AtomicU32, now: Ticks) -> u32 {
    let known = cell.load(Ordering::Relaxed);
    if known & !SPENT_MASK == period(now) { known & SPENT_MASK } else { 0 }
}
