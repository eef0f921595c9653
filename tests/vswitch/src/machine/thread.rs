//! Simulated threads: each has an operating-system thread of its own and its state in a thread-local.
//!
//! Owns the thread-local, the pool of host threads and the start and end of a simulated thread. Who runs when is the
//! scheduler's business.

use crate::machine::cpu::{self, Held};
use crate::machine::world::{Body, World};
use parking_lot::Mutex;
use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, OnceLock};

/// What the scheduler and the watchdog see of a thread.
pub struct Shared {
    pub id: u32,
    pub name: String,
    /// Yield points passed.
    pub steps: AtomicU64,
    /// Those that it had passed when it last came into the driver, or got what it waited for.
    pub since: AtomicU64,
    /// Imports that the driver has called on this thread.
    pub imports: AtomicU64,
    /// It waits for something, or has ended.
    pub rests: AtomicBool,
    granted: AtomicBool,
    host: OnceLock<std::thread::Thread>,
}

impl Shared {
    pub fn new(id: u32, name: String) -> Arc<Self> {
        Arc::new(Self {
            id,
            name,
            steps: AtomicU64::new(0),
            since: AtomicU64::new(0),
            imports: AtomicU64::new(0),
            rests: AtomicBool::new(false),
            granted: AtomicBool::new(false),
            host: OnceLock::new(),
        })
    }

    /// Runs what waits on this thread.
    pub fn rest_while<T>(&self, wait: impl FnOnce() -> T) -> T {
        self.rests.store(true, Ordering::SeqCst);
        let value = wait();
        self.rests.store(false, Ordering::SeqCst);
        self.gets_on();
        value
    }

    /// What it does from here on is counted anew.
    pub fn gets_on(&self) {
        self.since.store(self.steps.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    /// Gives the baton to this thread.
    pub fn grant(&self) {
        self.granted.store(true, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        if let Some(host) = self.host.get() {
            host.unpark();
        }
    }

    /// Waits for the baton; for ever if the world is aborted meanwhile.
    pub fn wait_for_grant(&self) {
        fence(Ordering::SeqCst);
        while !self.granted.swap(false, Ordering::SeqCst) {
            std::thread::park();
        }
    }
}

/// The state of a simulated thread that only itself touches.
pub struct Thread {
    pub world: Arc<World>,
    pub shared: Arc<Shared>,
    pub cpu: Cell<u32>,
    pub irql: Cell<u8>,
    /// Critical regions that the thread is in.
    pub critical_regions: Cell<u32>,
    /// Locks held, in order of acquisition.
    pub held: RefCell<Vec<Held>>,
    /// Packets and destinations that were committed since the first of these was taken.
    pub committed: Cell<(u32, u32)>,
    /// Handlers and imports being executed, outermost first.
    pub stack: RefCell<Vec<&'static str>>,
    /// Small generator for choices that must not touch shared state.
    pub jitter: Cell<u64>,
}

/// Yield points that one call into the driver passes at most without waiting for anything.
const LIVELOCK: u64 = 2_000_000;

impl Thread {
    /// A yield point is passed.
    #[inline]
    pub fn step(&self) {
        let steps = self.shared.steps.load(Ordering::Relaxed) + 1;
        self.shared.steps.store(steps, Ordering::Relaxed);
        if steps - self.shared.since.load(Ordering::Relaxed) > LIVELOCK {
            cpu::report_livelock(self);
        }
    }

    /// A cheap private random number; deterministic for each thread of a seed.
    pub fn jitter(&self) -> u64 {
        let mut x = self.jitter.get();
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        self.jitter.set(x);
        x
    }
}

thread_local! {
    static CURRENT: RefCell<Option<Rc<Thread>>> = const { RefCell::new(None) };
}

/// The calling simulated thread; panics on any other.
pub fn current() -> Rc<Thread> {
    try_current().expect("called on a thread that belongs to no simulated machine")
}

pub fn try_current() -> Option<Rc<Thread>> {
    CURRENT.with_borrow(Clone::clone)
}

/// True on a simulated thread of that world.
pub fn is_of(world: &World) -> bool {
    try_current().is_some_and(|t| std::ptr::eq(&raw const *t.world, world))
}

/// Number of the calling simulated thread; 0 also outside.
pub fn current_id() -> u32 {
    CURRENT.with_borrow(|t| t.as_ref().map_or(0, |t| t.shared.id))
}

/// How the event log names the calling thread.
pub fn current_label() -> String {
    CURRENT.with_borrow(|t| t.as_ref().map_or_else(|| "host".to_owned(), |t| format!("T{}", t.shared.id)))
}

/// A thread of an aborted world stays here; its stack is never unwound.
pub fn park_forever() -> ! {
    loop {
        std::thread::park();
    }
}

type Job = Box<dyn FnOnce() + Send>;

/// Host threads that wait for the next simulated thread of this world; they end with it.
#[derive(Default)]
pub struct Pool {
    idle: Mutex<Vec<Sender<Job>>>,
}

/// Addresses only: the pages are not touched before they are used.
const STACK_BYTES: usize = 8 << 20;

impl Pool {
    fn start(&self, world: Arc<World>, job: impl FnOnce() + Send + 'static) {
        let idle = self.idle.lock().pop();
        let sender = idle.unwrap_or_else(|| {
            let (sender, jobs) = channel::<Job>();
            std::thread::Builder::new()
                .name("simulated".to_owned())
                .stack_size(STACK_BYTES)
                .spawn(move || jobs.into_iter().for_each(|job| job()))
                .expect("the host gives a thread");
            sender
        });
        let again = sender.clone();
        let job: Job = Box::new(move || {
            job();
            world.pool.idle.lock().push(again);
        });
        sender.send(job).expect("a pooled thread waits for its next job");
    }
}

/// Starts a registered simulated thread. It runs when the scheduler lets it.
pub fn spawn(world: &Arc<World>, shared: Arc<Shared>, cpu: u32, body: Body) {
    let owner = Arc::clone(world);
    world.pool.start(Arc::clone(world), move || {
        let _ = shared.host.set(std::thread::current());
        let seed = owner.config().seed ^ (u64::from(shared.id) << 32) ^ 0x9E37_79B9_7F4A_7C15;
        let cpu = cpu % owner.config().cpus.max(1);
        let thread = Rc::new(Thread {
            world: Arc::clone(&owner),
            shared,
            cpu: Cell::new(cpu),
            irql: Cell::new(cpu::PASSIVE),
            critical_regions: Cell::new(0),
            held: RefCell::default(),
            committed: Cell::default(),
            stack: RefCell::default(),
            jitter: Cell::new(seed | 1),
        });
        CURRENT.set(Some(Rc::clone(&thread)));
        crate::machine::stack_depth::thread_begins();
        owner.scheduler.begin(&thread);
        let outcome = catch_unwind(AssertUnwindSafe(body));
        match outcome {
            Ok(()) => cpu::leave(&thread),
            Err(payload) => owner.scheduler.abort_by_panic(payload),
        }
        thread.shared.rests.store(true, Ordering::SeqCst);
        owner.scheduler.end(&thread);
        CURRENT.set(None);
    });
}
