//! Decides which simulated thread runs.
//!
//! Baton mode: exactly one thread is granted to run; at yield points, blocks and ends the next one is drawn from the
//! seed. Free mode: all run and this module only keeps account of who is blocked. In both, when every thread is
//! blocked and has looked at its condition since the last progress, virtual time advances to the next event; with no
//! event left that is a deadlock. Conditions of blocked threads must be changed by simulated threads or events alone.

use crate::machine::point::Point;
use crate::machine::slots::{NEVER, OBJECT, SETTLED, State, Status, ThreadSlot, describe};
use crate::machine::thread::{self, Shared, Thread};
use crate::machine::work;
use crate::machine::world::{Aborted, Body, Config, Mode, SCHEDULING, World, below, stream};
use parking_lot::{Condvar, Mutex, MutexGuard};
use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering, fence};
use std::time::Duration;

pub use crate::machine::slots::{ANY, Role};

const CONTENDED: u32 = 1;
const FREE: u32 = 2;
const HOOK: u32 = 4;
const DPC: u32 = 8;
const ABORTED: u32 = 16;
pub(crate) const POINT: u32 = 32;

/// A thread in free mode looks this often at its condition before it sleeps.
const SPINS: u32 = 200;
/// A sleeping thread in free mode looks again after this time even if nobody woke it.
const LOOK_AGAIN: Duration = Duration::from_millis(1);
/// How often the host looks whether there were simulated steps.
pub(crate) const STEPS_LOOKED_AT: Duration = Duration::from_millis(500);

pub struct Scheduler {
    pub(crate) mode: Mode,
    pub(crate) watchdog: Duration,
    pub(crate) state: Mutex<State>,
    changed: Condvar,
    attention: AtomicU32,
    blocked: AtomicUsize,
    pub(crate) point: Point,
}

impl Scheduler {
    pub fn new(config: &Config) -> Self {
        let mut rng = stream(config.seed, SCHEDULING);
        let drawn = [2, 4, 8, 32][below(&mut rng, 4) as usize];
        let odds = if config.switch_odds == 0 { drawn } else { u64::from(config.switch_odds) };
        let state = State::new(rng, odds);
        Self {
            mode: config.mode,
            watchdog: config.watchdog,
            state: Mutex::new(state),
            changed: Condvar::new(),
            attention: AtomicU32::new(
                if config.mode == Mode::Free { FREE } else { 0 }
                    | if config.point.is_some() { POINT } else { 0 },
            ),
            blocked: AtomicUsize::new(0),
            point: Point::new(config.point),
        }
    }

    // Starting and ending threads.

    /// Registers and runs the bodies and waits for their end and for the system threads; for callers outside the world.
    pub fn run_batch(
        &self,
        world: &World,
        threads: Vec<(String, u32, Body)>,
        main: bool,
    ) -> Result<(), Aborted> {
        if self.is_aborted() {
            return Err(Aborted);
        }
        let mut state = self.state.lock();
        self.register(&mut state, world, threads, main);
        if self.mode == Mode::Baton && state.running.is_none() {
            self.pass_on(&mut state, world);
        }
        let mut steps = (0, 0);
        loop {
            if self.is_aborted() {
                return Err(Aborted);
            }
            if self.is_quiet(&state) {
                return Ok(());
            }
            let waited = self.changed.wait_for(&mut state, STEPS_LOOKED_AT);
            if waited.timed_out() && self.is_stuck(&state, &mut steps) {
                let text = format!("no simulated step for {:?}: {}", self.watchdog, describe(&state, world));
                drop(state);
                world.violate("LOCK-04", text);
                self.abort();
                return Err(Aborted);
            }
        }
    }

    /// Runs the bodies beside the calling simulated thread and waits for their end.
    pub fn run_nested(&self, world: &World, threads: Vec<(String, u32, Body)>) {
        let left = Arc::new(AtomicUsize::new(threads.len()));
        let counted = threads.into_iter().map(|(name, cpu, body)| {
            let left = Arc::clone(&left);
            let body: Body = Box::new(move || {
                body();
                left.fetch_sub(1, Ordering::SeqCst);
            });
            (name, cpu, body)
        });
        let counted = counted.collect();
        self.register(&mut self.state.lock(), world, counted, false);
        self.block(&thread::current(), ANY, "threads it started", || {
            (left.load(Ordering::SeqCst) == 0).then_some(())
        });
    }

    fn register(&self, state: &mut State, world: &World, threads: Vec<(String, u32, Body)>, main: bool) {
        for (name, cpu, body) in threads {
            let id = if main { 0 } else { state.fresh_id() };
            self.start(state, world, id, Role::User, name, cpu, body);
        }
    }

    #[expect(clippy::too_many_arguments, reason = "what a thread is; called in two places")]
    fn start(
        &self,
        state: &mut State,
        world: &World,
        id: u32,
        role: Role,
        name: String,
        cpu: u32,
        body: Body,
    ) {
        let shared = Shared::new(id, name);
        assert!(!state.slots.contains_key(&id), "one host thread at a time enters a world");
        state.slots.insert(id, ThreadSlot { shared: Arc::clone(&shared), role, status: Status::Ready });
        state.users += usize::from(role == Role::User);
        self.refresh(state);
        thread::spawn(&world.arc(), shared, cpu, body);
    }

    /// Starts a thread for one work item.
    pub fn start_work(&self, world: &World, name: &str, body: Body) {
        let mut state = self.state.lock();
        let id = state.fresh_id();
        let cpu = id % world.config().cpus.max(1);
        self.start(&mut state, world, id, Role::Work, name.to_owned(), cpu, body);
    }

    /// Sees to it that a thread runs what is due.
    pub fn ensure_events(&self, world: &World) {
        self.start_events(&mut self.state.lock(), world);
    }

    fn start_events(&self, state: &mut State, world: &World) {
        if !state.slots.values().any(|s| s.role == Role::Events) {
            let owner = world.arc();
            let id = state.fresh_id();
            let body: Body = Box::new(move || work::run_events(&owner));
            self.start(
                state,
                world,
                id,
                Role::Events,
                "events".to_owned(),
                id % world.config().cpus.max(1),
                body,
            );
        }
    }

    /// True once after nobody could run and time is to advance.
    pub fn take_advance(&self) -> bool {
        std::mem::take(&mut self.state.lock().advance)
    }

    /// First thing on a new simulated thread.
    pub fn begin(&self, thread: &Thread) {
        if self.mode == Mode::Baton {
            thread.shared.wait_for_grant();
        } else if self.is_aborted() {
            thread::park_forever();
        }
    }

    /// The event thread ends if it has nothing to do; decided under the lock so that no event is forgotten.
    pub fn retire_events(&self, thread: &Thread, nothing_left: impl FnOnce() -> bool) -> bool {
        let mut state = self.state.lock();
        let retire = !state.advance && nothing_left();
        if retire && let Some(slot) = state.slots.get_mut(&thread.shared.id) {
            slot.role = Role::Work;
        }
        retire
    }

    /// Last thing on a simulated thread.
    pub fn end(&self, thread: &Thread) {
        let mut state = self.state.lock();
        if let Some(slot) = state.slots.remove(&thread.shared.id) {
            state.users -= usize::from(slot.role == Role::User);
            state.wake_settlers(slot.role);
        }
        state.progress += 1;
        self.refresh(&state);
        if self.is_aborted() {
            return;
        }
        if self.mode == Mode::Baton {
            state.running = None;
            self.pass_on(&mut state, &thread.world);
        } else {
            self.look_for_rest(&mut state, &thread.world);
        }
        let stuck = self.deadlock_text(&state, &thread.world);
        self.changed.notify_all();
        drop(state);
        self.report_deadlock(&thread.world, stuck);
    }

    // Running.

    /// The cheap part of every yield point.
    #[inline]
    pub fn yield_point(&self, thread: &Thread, site: &'static str) {
        thread.step();
        let attention = self.attention.load(Ordering::Relaxed);
        if attention != 0 {
            self.attend(thread, site, attention);
        }
    }

    #[cold]
    fn attend(&self, thread: &Thread, site: &'static str, attention: u32) {
        if attention & ABORTED != 0 {
            thread::park_forever();
        }
        if attention & HOOK != 0
            && let Some(hook) = thread.world.yield_hook.get()
        {
            hook(site);
        }
        if attention & POINT != 0 && self.point.count() {
            self.reach_point(thread);
        }
        if attention & DPC != 0 {
            crate::machine::cpu::interrupt(thread);
        }
        if attention & CONTENDED != 0 {
            self.maybe_switch(thread);
        } else if attention & FREE != 0 && thread.jitter().is_multiple_of(64) {
            std::thread::yield_now();
        }
    }

    fn maybe_switch(&self, thread: &Thread) {
        let mut state = self.state.lock();
        let odds = state.odds;
        if below(&mut state.rng, odds) != 0 {
            return;
        }
        let me = thread.shared.id;
        if let Some(next) = state.draw(|id, slot| id != me && slot.is_ready()) {
            self.hand_over(state, next, thread);
        }
    }

    pub(crate) fn hand_over(&self, mut state: MutexGuard<'_, State>, next: u32, thread: &Thread) {
        state.running = Some(next);
        let shared = Arc::clone(&state.slots[&next].shared);
        drop(state);
        shared.grant();
        thread.shared.wait_for_grant();
    }

    /// Blocks the thread until the closure gives a value.
    pub fn block<T>(
        &self,
        thread: &Thread,
        key: usize,
        what: &'static str,
        mut poll: impl FnMut() -> Option<T>,
    ) -> T {
        if let Some(value) = poll() {
            return value;
        }
        thread.shared.rest_while(|| match self.mode {
            Mode::Baton => self.block_baton(thread, key, what, poll),
            Mode::Free => self.block_free(thread, key, what, poll),
        })
    }

    fn block_baton<T>(
        &self,
        thread: &Thread,
        key: usize,
        what: &'static str,
        mut poll: impl FnMut() -> Option<T>,
    ) -> T {
        let me = thread.shared.id;
        self.blocked.fetch_add(1, Ordering::SeqCst);
        self.state.lock().progress += 1;
        loop {
            let mut state = self.state.lock();
            let polled = state.progress;
            state.set_blocked(me, key, what, polled);
            match self.pick(&mut state, &thread.world) {
                Some(next) if next == me => self.refresh(&state),
                Some(next) => {
                    self.refresh(&state);
                    self.hand_over(state, next, thread);
                }
                None => {
                    state.running = None;
                    let stuck = self.deadlock_text(&state, &thread.world);
                    self.changed.notify_all();
                    drop(state);
                    self.report_deadlock(&thread.world, stuck);
                    thread.shared.wait_for_grant();
                }
            }
            if let Some(value) = poll() {
                self.state.lock().got_on(me);
                self.blocked.fetch_sub(1, Ordering::SeqCst);
                return value;
            }
        }
    }

    fn block_free<T>(
        &self,
        thread: &Thread,
        key: usize,
        what: &'static str,
        mut poll: impl FnMut() -> Option<T>,
    ) -> T {
        for spin in 0..SPINS {
            if let Some(value) = poll() {
                return value;
            }
            if spin % 16 == 15 {
                std::thread::yield_now();
            }
            std::hint::spin_loop();
        }
        let me = thread.shared.id;
        self.blocked.fetch_add(1, Ordering::SeqCst);
        let mut state = self.state.lock();
        state.progress += 1;
        self.changed.notify_all();
        loop {
            let seen = state.progress;
            state.set_blocked(me, key, what, NEVER);
            drop(state);
            fence(Ordering::SeqCst);
            let value = poll();
            state = self.state.lock();
            if self.is_aborted() {
                drop(state);
                thread::park_forever();
            }
            if let Some(value) = value {
                state.set_ready(me);
                state.got_on(me);
                self.blocked.fetch_sub(1, Ordering::SeqCst);
                self.changed.notify_all();
                return value;
            }
            // Made ready meanwhile: what it waits for may have come after it looked.
            if state.progress == seen && !state.is_ready(me) {
                state.set_blocked(me, key, what, seen);
                self.look_for_rest(&mut state, &thread.world);
                if let Some(text) = self.deadlock_text(&state, &thread.world) {
                    drop(state);
                    self.report_deadlock(&thread.world, Some(text));
                    thread::park_forever();
                }
                self.changed.wait_for(&mut state, LOOK_AGAIN);
            }
        }
    }

    /// Lets threads that wait under this key look at their conditions.
    pub fn wake(&self, key: usize) {
        fence(Ordering::SeqCst);
        if self.blocked.load(Ordering::SeqCst) == 0 {
            return;
        }
        let mut state = self.state.lock();
        state.progress += 1;
        match self.mode {
            Mode::Free => {
                self.changed.notify_all();
            }
            Mode::Baton => {
                for slot in state.slots.values_mut() {
                    if let Status::Blocked { key: waiting, .. } = slot.status
                        && (waiting == key || waiting == ANY || key == ANY && waiting != OBJECT)
                    {
                        slot.status = Status::Ready;
                    }
                }
                self.refresh(&state);
            }
        }
    }

    /// Waits until no system thread (work item, event) can run.
    pub fn settle(&self, thread: &Thread) {
        let me = thread.shared.id;
        self.block(thread, SETTLED, "work items and events", || {
            let state = self.state.lock();
            // In free mode one that is blocked may not have seen yet that it need not be.
            let rests = |slot: &ThreadSlot| match self.mode {
                Mode::Baton => !slot.is_ready(),
                Mode::Free => slot.rests(state.progress),
            };
            let all =
                state.slots.iter().all(|(id, slot)| *id == me || slot.role == Role::User || rests(slot));
            all.then_some(())
        });
    }

    // Choosing.

    /// Baton mode: grants the next thread, if any, without waiting.
    fn pass_on(&self, state: &mut State, world: &World) {
        let next = self.pick(state, world);
        self.refresh(state);
        state.running = next;
        if let Some(next) = next {
            state.slots[&next].shared.grant();
        }
    }

    fn pick(&self, state: &mut State, world: &World) -> Option<u32> {
        if !state.any_ready() {
            state.refresh_stale();
        }
        if !state.any_ready() {
            self.advance(state, world);
        }
        state.draw(|_, slot| slot.is_ready()).inspect(|id| state.set_ready(*id))
    }

    /// Free mode: if every thread rests, time advances; without a test's thread the batch is over.
    fn look_for_rest(&self, state: &mut State, world: &World) {
        if state.all_rest() {
            if state.users == 0 {
                self.changed.notify_all();
            }
            self.advance(state, world);
        }
    }

    /// Nobody can run: the next event is due, unless nobody waits or the event thread itself is stuck.
    fn advance(&self, state: &mut State, world: &World) {
        let stuck = state.slots.values().any(|s| s.role == Role::Events);
        if state.users > 0 && !stuck && world.clock.has_events() {
            if state.polls_in_vain(world) {
                self.set_attention(ABORTED, true);
                self.changed.notify_all();
                return;
            }
            state.advance = true;
            self.start_events(state, world);
        }
    }

    fn refresh(&self, state: &State) {
        let contended = self.mode == Mode::Baton && state.slots.values().filter(|s| s.is_ready()).count() > 1;
        self.set_attention(CONTENDED, contended);
    }

    pub(crate) fn set_attention(&self, bit: u32, on: bool) {
        let is = self.attention.load(Ordering::Relaxed) & bit != 0;
        if on && !is {
            self.attention.fetch_or(bit, Ordering::SeqCst);
        } else if is && !on {
            self.attention.fetch_and(!bit, Ordering::SeqCst);
        }
    }

    pub fn announce_hook(&self) {
        self.set_attention(HOOK, true);
    }

    pub fn announce_dpcs(&self, queued: bool) {
        self.set_attention(DPC, queued);
    }

    // Stopping.

    pub fn abort(&self) {
        self.set_attention(ABORTED, true);
        let _state = self.state.lock();
        self.changed.notify_all();
    }

    pub fn abort_by_panic(&self, payload: Box<dyn Any + Send>) {
        self.state.lock().panic.get_or_insert(payload);
        self.abort();
    }

    pub fn take_panic(&self) -> Option<Box<dyn Any + Send>> {
        self.state.lock().panic.take()
    }

    pub fn is_aborted(&self) -> bool {
        self.attention.load(Ordering::SeqCst) & ABORTED != 0
    }
}
