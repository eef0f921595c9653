//! Checks `ndis::gate` with loom, in every interleaving of a writer and two readers, over a lock that always prefers
//! readers.

use lbfoext::ndis::gate::{Count, Flag, Gate, Turn};
use loom::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use loom::sync::{Arc, Condvar, Mutex};
use loom::thread;
use std::sync::atomic::AtomicBool as StdAtomicBool;

const READERS: usize = 2;
/// How often each reader takes the lock.
const HOLDS: u32 = 3;

#[derive(Default)]
pub struct Word(AtomicBool);

impl Flag for Word {
    fn set(&self, on: bool) {
        self.0.store(on, Ordering::SeqCst);
    }
    fn is_set(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

#[derive(Default)]
pub struct Number(AtomicU32);

impl Count for Number {
    fn load(&self, order: Ordering) -> u32 {
        self.0.load(order)
    }
    fn store(&self, count: u32, order: Ordering) {
        self.0.store(count, order);
    }
}

/// A lock; `None` is one that does not exclude.
pub struct Spin(pub Option<Mutex<()>>);

impl Turn for Spin {
    fn hold<R>(&self, body: impl FnOnce() -> R) -> R {
        let _held = self.0.as_ref().map(|lock| lock.lock().expect("nobody panics"));
        body()
    }
}

/// A read/write lock that admits readers while a writer waits.
#[derive(Default)]
pub struct ReaderFirst {
    /// Number of readers that hold the lock, and whether a writer does.
    state: Mutex<(usize, bool)>,
    changed: Condvar,
}

impl ReaderFirst {
    pub fn read(&self) {
        let mut state = self.state.lock().expect("nobody panics");
        while state.1 {
            state = self.changed.wait(state).expect("nobody panics");
        }
        state.0 += 1;
    }

    pub fn write(&self) {
        let mut state = self.state.lock().expect("nobody panics");
        while state.0 != 0 {
            state = self.changed.wait(state).expect("nobody panics");
        }
        state.1 = true;
    }

    pub fn leave(&self) {
        let mut state = self.state.lock().expect("nobody panics");
        *state = (state.0.saturating_sub(1), false);
        self.changed.notify_all();
    }
}

/// The steps of the protocol that are executed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Protocol {
    Whole,
    /// Readers do not test the flag.
    NobodyLooks,
    /// Readers test the flag but do not wait.
    NobodyWaits,
}

struct Model {
    gate: Gate<Word, Spin, Number>,
    lock: ReaderFirst,
    /// The writer has set the flag and does not have the lock yet.
    waits: AtomicBool,
}

impl Model {
    fn write(&self) {
        self.gate.enter(|| {
            self.waits.store(true, Ordering::SeqCst);
            self.lock.write();
            self.waits.store(false, Ordering::SeqCst);
        });
        self.lock.leave();
    }

    /// How often this reader took the lock although the writer was waiting.
    fn read(&self, protocol: Protocol) -> u32 {
        (0..HOLDS)
            .map(|_| {
                if protocol != Protocol::NobodyLooks {
                    self.gate.stand_back();
                }
                self.lock.read();
                let overtakes = self.waits.load(Ordering::SeqCst);
                self.lock.leave();
                u32::from(overtakes)
            })
            .sum()
    }
}

/// Whether no reader overtakes the writer more than once, in any interleaving.
fn is_bounded(protocol: Protocol) -> bool {
    let bounded = std::sync::Arc::new(StdAtomicBool::new(true));
    let seen = std::sync::Arc::clone(&bounded);
    let model = move || {
        let turn = (protocol != Protocol::NobodyWaits).then(|| Mutex::new(()));
        let model = Arc::new(Model {
            gate: Gate::new(Word::default(), Spin(turn), Number::default()),
            lock: ReaderFirst::default(),
            waits: AtomicBool::new(false),
        });
        let readers: Vec<_> = (0..READERS)
            .map(|_| {
                let (model, seen) = (Arc::clone(&model), std::sync::Arc::clone(&seen));
                thread::spawn(move || {
                    if model.read(protocol) > 1 {
                        seen.store(false, Ordering::Relaxed);
                    }
                })
            })
            .collect();
        model.write();
        readers.into_iter().for_each(|reader| reader.join().expect("the reader ends"));
    };
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(2);
    builder.check(model);
    bounded.load(Ordering::Relaxed)
}

#[test]
fn a_reader_overtakes_a_waiting_writer_once_at_most_in_every_interleaving() {
    assert!(is_bounded(Protocol::Whole));
}

#[test]
fn the_model_finds_that_nobody_looks_or_waits() {
    assert!(!is_bounded(Protocol::NobodyLooks));
    assert!(!is_bounded(Protocol::NobodyWaits));
}
