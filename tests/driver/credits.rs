//! Checks the claims and uses of `teaming::forward::credits` with loom: in every interleaving of the copies of one
//! frame and of another frame, each frame is news once, and no credit is used by a frame that has none.

use core::num::NonZeroU64;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicU64, Ordering};
use loom::thread;
use std::sync::atomic::{AtomicBool, Ordering as StdOrdering};
use teaming::forward::credits::{Arrival, CreditSlot, Frame, Origin, Word, arrive, send};
use teaming::ids::{MemberIndex, MemberSet, Ticks};

/// The steps of the protocol that are executed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Protocol {
    Whole = 0,
    /// A slot is claimed although another processor was faster.
    ClaimsAnyway = 1,
    /// A slot that is being claimed counts as one without credits.
    NobodyWaits = 2,
}

struct Shared<const P: u8>(AtomicU64);

/// The bit of a slot's state that says that it is being claimed.
const CLAIMED: u64 = 1 << 33;

impl<const P: u8> Word for Shared<P> {
    fn load(&self) -> u64 {
        let value = self.0.load(Ordering::Acquire);
        // Without the bit it has no credits, and nobody waits for it.
        if P == Protocol::NobodyWaits as u8 { value & !CLAIMED } else { value }
    }
    fn store(&self, value: u64) {
        self.0.store(value, Ordering::Release);
    }
    fn swap_if(&self, old: u64, new: u64) -> bool {
        let done = self.0.compare_exchange(old, new, Ordering::AcqRel, Ordering::Acquire).is_ok();
        if !done && P == Protocol::ClaimsAnyway as u8 {
            self.0.store(new, Ordering::Release);
            return true;
        }
        done
    }
    fn pause() {
        thread::yield_now();
    }
}

const NOW: Ticks = Ticks::from_ms(1_000);

fn member(number: u8) -> MemberIndex {
    MemberIndex::new(number).expect("a member")
}

fn frame(digest: u64, from: u8) -> Frame {
    let others = (1..=2).filter(|number| *number != from).map(member).fold(MemberSet::EMPTY, MemberSet::with);
    Frame { digest: NonZeroU64::new(digest).expect("not 0"), others, now: NOW }
}

fn is_news(arrival: Arrival) -> bool {
    matches!(arrival, Arrival::News(Some(_)))
}

/// Runs a model in every interleaving; whether what it says holds in all.
fn holds(model: impl Fn() -> bool + Sync + Send + 'static) -> bool {
    let held = std::sync::Arc::new(AtomicBool::new(true));
    let seen = std::sync::Arc::clone(&held);
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(2);
    builder.max_branches = 100_000;
    builder.check(move || {
        if !model() {
            seen.store(false, StdOrdering::Relaxed);
        }
    });
    held.load(StdOrdering::Relaxed)
}

fn set<const P: u8>() -> Arc<[CreditSlot<Shared<P>>; 2]> {
    Arc::new([(); 2].map(|()| CreditSlot::new(|| Shared(AtomicU64::new(0)))))
}

/// Frames, each a digest and the member on which it arrives, come at once: which are news.
fn at_once<const P: u8>(set: &Arc<[CreditSlot<Shared<P>>; 2]>, frames: [(u64, u8); 2]) -> [bool; 2] {
    let [one, two] = frames.map(|(digest, from)| {
        let set = Arc::clone(set);
        move || is_news(arrive(&set[..], &frame(digest, from), member(from), true))
    });
    let one = thread::spawn(one);
    let two = two();
    [one.join().expect("it ends"), two]
}

/// Two copies of one frame arrive at once: one is news, and nothing is left for either.
fn copies<const P: u8>() -> bool {
    holds(|| {
        let set = set::<P>();
        let [one, two] = at_once(&set, [(7, 1), (7, 2)]);
        one != two
            && [1, 2].map(|from| arrive(&set[..], &frame(7, from), member(from), false))
                == [Arrival::News(None); 2]
    })
}

/// Two frames of one set arrive at once: both are news, and each leaves the credit for its copy.
fn two_frames<const P: u8>() -> bool {
    holds(|| {
        let set = set::<P>();
        at_once(&set, [(7, 1), (9, 1)]) == [true; 2]
            && [7, 9].map(|digest| arrive(&set[..], &frame(digest, 2), member(2), false))
                == [Arrival::Again(Origin::External); 2]
    })
}

/// A frame that was sent comes back twice on one member; one of the two is it.
fn reflections<const P: u8>() -> bool {
    holds(|| {
        let set = set::<P>();
        assert!(send(&set[..], &frame(7, 1)).is_some());
        let other = Arc::clone(&set);
        let one = thread::spawn(move || arrive(&other[..], &frame(7, 2), member(2), false));
        let two = arrive(&set[..], &frame(7, 2), member(2), false);
        let both = [one.join().expect("it ends"), two];
        both.iter().filter(|arrival| **arrival == Arrival::Again(Origin::Host)).count() == 1
    })
}

#[test]
fn each_frame_is_news_once_and_each_credit_is_used_once_in_every_interleaving() {
    assert!(copies::<{ Protocol::Whole as u8 }>());
    assert!(two_frames::<{ Protocol::Whole as u8 }>());
    assert!(reflections::<{ Protocol::Whole as u8 }>());
}

#[test]
fn the_model_finds_that_a_slot_is_claimed_anyway_or_that_nobody_waits() {
    assert!(!two_frames::<{ Protocol::ClaimsAnyway as u8 }>());
    assert!(!reflections::<{ Protocol::ClaimsAnyway as u8 }>());
    assert!(!copies::<{ Protocol::NobodyWaits as u8 }>());
}
