//! One simulated machine: the state that everything else hangs from.
//!
//! Owns the configuration, the violations found, the event log, the random streams and the parts of every other
//! module. Two worlds in one process share nothing: a simulated thread finds its world through its own thread-local.
//! It never panics on what the driver does: it records.

use crate::machine::clock::Clock;
use crate::machine::counts::Counts;
use crate::machine::cpu::Processors;
use crate::machine::driver_object::DriverObjects;
use crate::machine::fault::Faults;
use crate::machine::ids::Ids;
use crate::machine::lock_order::LockOrder;
use crate::machine::log::EventLog;
use crate::machine::memory::Ledger;
use crate::machine::registry::Registry;
use crate::machine::rwlock::Fairness;
use crate::machine::scheduler::Scheduler;
use crate::machine::thread::{self, Pool, Thread};
use crate::machine::work::WorkQueue;
use crate::mutation::Mutation;
use crate::rules::Rule;
use lbfoext::ndis::raw::Mdl;
use parking_lot::Mutex;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use std::any::{Any, TypeId};
use std::collections::BTreeMap;
use std::ops::Deref;
use std::panic::resume_unwind;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

/// How simulated threads share the host's processors.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// One runs at a time; who runs next is drawn from the seed at every yield point.
    Baton,
    /// All run; the host decides.
    Free,
}

/// What a world is made from.
#[derive(Clone, Debug)]
pub struct Config {
    pub seed: u64,
    pub mode: Mode,
    /// Simulated processors.
    pub cpus: u32,
    /// The fallible call with this number (from 1) fails.
    pub fault: Option<u64>,
    /// Calls from that one to a second that fails.
    pub fault_again: Option<u64>,
    pub mutation: Option<Mutation>,
    /// The yield point with this number (from 1) lets through who waits for it, at once in baton mode; one that never comes
    /// has all counted.
    pub point: Option<u64>,
    /// Keeps the event log as text, with the arguments of calls; without it only its hash is known.
    pub keep_log: bool,
    /// Nobody will compare runs: not even the hash is known, if the log is not kept.
    pub no_hash: bool,
    /// Paints the stack below the driver, to see how far down it writes.
    pub paint_stack: bool,
    /// Length of a clock tick in 100 ns units.
    pub time_increment: u32,
    /// The driver sees time in whole ticks and its timers fire on ticks, as on a real machine.
    pub coarse_time: bool,
    /// Virtual time at the start, in 100 ns units.
    pub start_time: u64,
    /// Real time without any simulated step after which a run is given up.
    pub watchdog: Duration,
    /// Odds of handing the baton on at a yield point are 1 to this number; 0 draws them from the seed.
    pub switch_odds: u32,
    /// What read/write locks do for a waiting writer; drawn from the seed if `None`.
    pub fairness: Option<Fairness>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            seed: 1,
            mode: Mode::Baton,
            cpus: 4,
            fault: None,
            fault_again: None,
            mutation: None,
            point: None,
            keep_log: false,
            no_hash: false,
            paint_stack: false,
            time_increment: 156_250,
            coarse_time: false,
            start_time: 10_000_000,
            watchdog: Duration::from_secs(60),
            switch_odds: 0,
            fairness: None,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Severity {
    Error,
    Warning,
}

/// One rule broken once. Its text is what happened, its rule, and where the driver was.
#[derive(Clone, Debug)]
pub struct Violation {
    pub rule: &'static str,
    pub severity: Severity,
    pub text: String,
    /// Handlers and imports that were being executed, outermost first.
    pub stack: Vec<&'static str>,
    pub thread: String,
    /// Virtual time.
    pub time: u64,
    pub seed: u64,
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let stack = if self.stack.is_empty() {
            "outside the driver".to_owned()
        } else {
            format!("in {}", self.stack.join(" > "))
        };
        let (sentence, page) =
            self.book().map_or(("no such rule in the book", ""), |rule| (rule.sentence, rule.page));
        write!(
            f,
            "{}: {}\n    rule: {sentence} [{page}]\n    {stack}, thread {} at {} seed {}",
            self.rule, self.text, self.thread, self.time, self.seed
        )
    }
}

impl Violation {
    /// The rule as the book has it; every name that a check uses stands there.
    pub fn book(&self) -> Option<&'static Rule> {
        crate::rules::find(self.rule)
    }
}

/// A run ended before its threads did: deadlock, bug check, watchdog. The violation says which.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Aborted;

impl std::fmt::Display for Aborted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the simulated machine stopped; its violations say why")
    }
}

impl std::error::Error for Aborted {}

/// A body that `run` executes as one simulated thread.
pub type Body = Box<dyn FnOnce() + Send>;
type Part = (TypeId, Box<dyn Any + Send + Sync>);
type YieldHook = Box<dyn Fn(&'static str) + Send + Sync>;
type WaitHook = Box<dyn Fn() + Send + Sync>;
type ShowHook = fn(&str, &dyn Any) -> Option<String>;
type LeaveHook = Box<dyn Fn(&str) -> bool + Send + Sync>;
type MappingHook = Box<dyn Fn(*mut Mdl, bool) + Send + Sync>;

const PARTS: usize = 16;
const SHARDS: usize = 8;
const KEPT_VIOLATIONS: usize = 1000;

/// One simulated machine.
pub struct World {
    me: Weak<World>,
    config: Config,
    pub(crate) scheduler: Scheduler,
    pub(crate) pool: Pool,
    pub(crate) processors: Processors,
    pub(crate) clock: Clock,
    pub(crate) work: WorkQueue,
    pub(crate) ledger: Ledger,
    pub(crate) ids: Ids,
    pub(crate) faults: Faults,
    pub(crate) lock_order: LockOrder,
    pub(crate) registry: Registry,
    pub(crate) driver_objects: DriverObjects,
    violations: Mutex<Vec<Violation>>,
    exercised: [Mutex<Counts>; SHARDS],
    pub(crate) log: EventLog,
    decisions: Mutex<ChaCha8Rng>,
    parts: [OnceLock<Part>; PARTS],
    pub(crate) yield_hook: OnceLock<YieldHook>,
    pub(crate) mapping_hook: OnceLock<MappingHook>,
    pub(crate) wait_hook: OnceLock<WaitHook>,
    pub(crate) show_hook: OnceLock<ShowHook>,
    pub(crate) leave_hook: OnceLock<LeaveHook>,
    mutation_spent: AtomicBool,
    numbers: AtomicU64,
    /// References to cache aware rundown protection that are held.
    pub(crate) walks_held: AtomicUsize,
}

impl World {
    /// References to cache aware rundown protection that are held now.
    pub fn walks_held(&self) -> usize {
        self.walks_held.load(Ordering::Relaxed)
    }

    pub fn new(config: Config) -> Arc<Self> {
        Arc::new_cyclic(|me| Self {
            me: me.clone(),
            scheduler: Scheduler::new(&config),
            pool: Pool::default(),
            processors: Processors::new(config.cpus),
            clock: Clock::new(config.start_time),
            work: WorkQueue::default(),
            ledger: Ledger::default(),
            ids: Ids::default(),
            faults: Faults::new(config.fault, config.fault_again),
            lock_order: LockOrder::default(),
            registry: Registry::default(),
            driver_objects: DriverObjects::default(),
            violations: Mutex::default(),
            exercised: Default::default(),
            log: EventLog::default(),
            decisions: Mutex::new(stream(config.seed, DECISIONS)),
            parts: Default::default(),
            yield_hook: OnceLock::new(),
            mapping_hook: OnceLock::new(),
            wait_hook: OnceLock::new(),
            show_hook: OnceLock::new(),
            leave_hook: OnceLock::new(),
            mutation_spent: AtomicBool::new(false),
            numbers: AtomicU64::new(1),
            walks_held: AtomicUsize::new(0),
            config,
        })
    }

    /// The world as a shared owner, for events and threads that outlive the caller's borrow.
    pub fn arc(&self) -> Arc<Self> {
        self.me.upgrade().expect("a world is used only while an owner exists")
    }

    pub fn config(&self) -> &Config {
        &self.config
    }

    pub fn mutation(&self) -> Option<Mutation> {
        self.config.mutation
    }

    /// True once, for mutations that change only the first call of their kind.
    pub fn spend_mutation(&self) -> bool {
        !self.mutation_spent.swap(true, Ordering::Relaxed)
    }

    /// Runs the closure as simulated thread 0 ("main") on processor 0 and waits for it and for the work it left to the
    /// system threads. Called on a thread of this world it just calls the closure.
    pub fn enter<R: Send>(&self, body: impl FnOnce() -> R + Send) -> Result<R, Aborted> {
        if thread::is_of(self) {
            return Ok(body());
        }
        let mut result = None;
        {
            let slot = &mut result;
            let body: Box<dyn FnOnce() + Send + '_> = Box::new(move || *slot = Some(body()));
            // SAFETY: `finish_batch` returns after the thread ended, or when the world was aborted: then the thread
            // never gets past its next yield point and so never touches what the closure borrows.
            let body: Body = unsafe { std::mem::transmute::<Box<dyn FnOnce() + Send + '_>, Body>(body) };
            self.finish_batch(vec![("main".to_owned(), 0, body)], true)?;
        }
        result.ok_or(Aborted)
    }

    /// Runs every body as a simulated thread on the given processor to its end, and then what they left to the system
    /// threads. Called on a thread of this world it blocks that thread meanwhile.
    pub fn run<N: Into<String>>(&self, threads: Vec<(N, u32, Body)>) -> Result<(), Aborted> {
        let threads = threads.into_iter().map(|(name, cpu, body)| (name.into(), cpu, body)).collect();
        if thread::is_of(self) {
            self.scheduler.run_nested(self, threads);
            return Ok(());
        }
        self.finish_batch(threads, false)
    }

    fn finish_batch(&self, threads: Vec<(String, u32, Body)>, main: bool) -> Result<(), Aborted> {
        let ended = self.scheduler.run_batch(self, threads, main);
        if let Some(payload) = self.scheduler.take_panic() {
            resume_unwind(payload);
        }
        ended
    }

    /// A number that nothing else in this world has.
    pub fn fresh_number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    /// Stops the machine: no simulated thread gets past its next yield point. The caller, if it is one, does not
    /// return.
    pub fn abort(&self) {
        self.scheduler.abort();
        if thread::is_of(self) {
            thread::park_forever();
        }
    }

    pub fn is_aborted(&self) -> bool {
        self.scheduler.is_aborted()
    }

    /// Records that the driver (or the switch around it) broke a rule.
    pub fn violate(&self, rule: &'static str, what: impl Into<String>) {
        self.record(rule, Severity::Error, what.into());
    }

    /// Records something a rule only warns about.
    pub fn warn(&self, rule: &'static str, what: impl Into<String>) {
        self.record(rule, Severity::Warning, what.into());
    }

    fn record(&self, rule: &'static str, severity: Severity, text: String) {
        self.report(self.observe(rule, severity, text));
    }

    /// What was seen here and now, for somebody who will know later whether it breaks the rule.
    pub fn observe(&self, rule: &'static str, severity: Severity, text: String) -> Violation {
        let thread = thread::try_current().filter(|t| std::ptr::eq(&raw const *t.world, self));
        Violation {
            rule,
            severity,
            text,
            stack: thread.as_ref().map_or_else(Vec::new, |t| t.stack.borrow().clone()),
            thread: thread.as_ref().map_or_else(|| "host".to_owned(), |t| t.shared.name.clone()),
            time: self.clock.now(),
            seed: self.config.seed,
        }
    }

    /// Records what was observed.
    pub fn report(&self, violation: Violation) {
        self.log(|| format!("! {} {}", violation.rule, violation.text));
        let mut all = self.violations.lock();
        if all.len() < KEPT_VIOLATIONS {
            all.push(violation);
        }
    }

    /// Rules broken so far, without warnings.
    pub fn violations(&self) -> Vec<Violation> {
        self.findings(Severity::Error)
    }

    pub fn warnings(&self) -> Vec<Violation> {
        self.findings(Severity::Warning)
    }

    fn findings(&self, severity: Severity) -> Vec<Violation> {
        self.violations.lock().iter().filter(|v| v.severity == severity).cloned().collect()
    }

    /// Counts one check of a rule that ran on what the driver did.
    pub fn exercised(&self, rule: &'static str) {
        let shard = thread::current_id() as usize % SHARDS;
        self.exercised[shard].lock().count(rule);
    }

    /// How often the check of each rule ran.
    pub fn exercised_counts(&self) -> BTreeMap<&'static str, u64> {
        let mut sum = BTreeMap::new();
        for shard in &self.exercised {
            for (rule, n) in shard.lock().all() {
                *sum.entry(rule).or_insert(0) += n;
            }
        }
        sum
    }

    /// A number below `n` from the seeded stream of the switch's decisions.
    pub fn random(&self, n: u64) -> u64 {
        below(&mut self.decisions.lock(), n)
    }

    /// True `of` in `n` times on average.
    pub fn chance(&self, of: u64, n: u64) -> bool {
        self.random(n) < of
    }

    /// State of another module that lives and dies with this world, created at its first use.
    pub fn part<T: Default + Send + Sync + 'static>(&self) -> &T {
        let id = TypeId::of::<T>();
        for slot in &self.parts {
            let (kind, value) = slot.get_or_init(|| (id, Box::new(T::default())));
            if *kind == id {
                return value.downcast_ref().expect("the slot was chosen by type");
            }
        }
        panic!("more than {PARTS} parts in one world")
    }

    /// Calls the hook at every yield point; once for each world.
    pub fn on_yield(&self, hook: impl Fn(&'static str) + Send + Sync + 'static) {
        assert!(self.yield_hook.set(Box::new(hook)).is_ok(), "a world has one yield hook");
        self.scheduler.announce_hook();
    }

    /// Waits until the yield point of the configuration is reached: true; or until nobody counts any more.
    pub fn wait_for_point(&self) -> bool {
        self.scheduler.wait_for_point()
    }

    /// Nobody counts yield points any more; how many there were.
    pub fn end_points(&self) -> u64 {
        self.scheduler.end_points()
    }

    pub fn now(&self) -> u64 {
        self.clock.now()
    }

    /// Calls the hook when the driver asked for packet memory to be mapped; the flag says whether it was.
    pub fn on_mapping(&self, hook: impl Fn(*mut Mdl, bool) + Send + Sync + 'static) {
        assert!(self.mapping_hook.set(Box::new(hook)).is_ok(), "a world has one mapping hook");
    }

    /// Calls the hook when a thread of the driver is about to wait.
    pub fn on_wait(&self, hook: impl Fn() + Send + Sync + 'static) {
        assert!(self.wait_hook.set(Box::new(hook)).is_ok(), "a world has one wait hook");
    }

    /// Asks the hook how the event log shows an argument, for types that the machine does not know.
    pub fn on_show(&self, hook: ShowHook) {
        assert!(self.show_hook.set(hook).is_ok(), "a world has one hook for the log");
    }

    /// Asks the hook when the driver calls out of its module under this rule; true injects a lock that it holds.
    pub fn on_leave(&self, hook: impl Fn(&str) -> bool + Send + Sync + 'static) {
        assert!(self.leave_hook.set(Box::new(hook)).is_ok(), "a world has one leave hook");
    }

    /// Handlers and imports that the calling thread is executing, outermost first.
    pub fn call_stack(&self) -> Vec<&'static str> {
        thread::try_current().map_or_else(Vec::new, |t| t.stack.borrow().clone())
    }
}

/// Handle to the world of the calling simulated thread.
#[derive(Clone)]
pub struct Current(pub(crate) Rc<Thread>);

impl Deref for Current {
    type Target = World;

    fn deref(&self) -> &World {
        &self.0.world
    }
}

/// The world of the calling thread; panics on a thread that is not simulated.
pub fn current() -> Current {
    Current(thread::current())
}

/// As `current`, but `None` outside a simulated thread.
pub fn try_current() -> Option<Current> {
    thread::try_current().map(Current)
}

const DECISIONS: u64 = 1;
pub(crate) const SCHEDULING: u64 = 2;
pub(crate) const ADVERSITIES: u64 = 3;

/// A stream of random numbers of its own for each purpose, so that one more draw here moves nothing there.
pub(crate) fn stream(seed: u64, purpose: u64) -> ChaCha8Rng {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(purpose);
    rng
}

/// A number below `n`; 0 if `n` is 0.
pub(crate) fn below(rng: &mut ChaCha8Rng, n: u64) -> u64 {
    ((u128::from(rng.next_u64()) * u128::from(n)) >> 64) as u64
}
