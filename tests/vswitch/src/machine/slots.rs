//! What the scheduler knows of every simulated thread, and the choice among them.

use crate::machine::thread::Shared;
use crate::machine::world::{World, below};
use rand_chacha::ChaCha8Rng;
use std::any::Any;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Wakes threads that wait under any key but `OBJECT`; threads waiting under it are woken by every wake.
pub const ANY: usize = 0;
/// Threads that wait for the system threads to have nothing to do.
pub(crate) const SETTLED: usize = 1;
/// Threads that wait for an object, which its signal and the end of their time wake.
pub(crate) const OBJECT: usize = 2;
/// A blocked thread that has not looked at its condition yet.
pub(crate) const NEVER: u64 = u64::MAX;

/// Steps of time after which nobody is expected to get on any more.
const LIVELOCK: u64 = 200_000;

/// What a simulated thread is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// Started by a test.
    User,
    /// Runs one work item.
    Work,
    /// Runs timer events and DPCs that no other thread runs.
    Events,
}

pub(crate) enum Status {
    Ready,
    Blocked { key: usize, what: &'static str, polled: u64 },
}

pub(crate) struct ThreadSlot {
    pub shared: Arc<Shared>,
    pub role: Role,
    pub status: Status,
}

impl ThreadSlot {
    pub fn is_ready(&self) -> bool {
        matches!(self.status, Status::Ready)
    }

    /// It is blocked and has looked at its condition since that progress.
    pub fn rests(&self, progress: u64) -> bool {
        matches!(self.status, Status::Blocked { polled, .. } if polled == progress)
    }
}

pub(crate) struct State {
    pub slots: BTreeMap<u32, ThreadSlot>,
    pub running: Option<u32>,
    pub rng: ChaCha8Rng,
    pub odds: u64,
    /// Grows whenever something happened that a blocked thread may wait for.
    pub progress: u64,
    pub next_id: u32,
    pub users: usize,
    pub advance: bool,
    /// Steps of time since a test's thread last got what it waited for.
    pub fruitless: u64,
    pub panic: Option<Box<dyn Any + Send>>,
}

impl State {
    pub fn new(rng: ChaCha8Rng, odds: u64) -> Self {
        Self {
            slots: BTreeMap::new(),
            running: None,
            rng,
            odds,
            progress: 0,
            next_id: 1,
            users: 0,
            advance: false,
            fruitless: 0,
            panic: None,
        }
    }

    pub fn fresh_id(&mut self) -> u32 {
        self.next_id += 1;
        self.next_id - 1
    }

    pub fn is_ready(&self, id: u32) -> bool {
        self.slots.get(&id).is_some_and(ThreadSlot::is_ready)
    }

    pub fn any_ready(&self) -> bool {
        self.slots.values().any(ThreadSlot::is_ready)
    }

    /// Every thread is blocked and has looked at its condition since the last progress.
    pub fn all_rest(&self) -> bool {
        self.slots.values().all(|slot| slot.rests(self.progress))
    }

    pub fn refresh_stale(&mut self) {
        for slot in self.slots.values_mut() {
            if matches!(slot.status, Status::Blocked { polled, .. } if polled != self.progress) {
                slot.status = Status::Ready;
            }
        }
    }

    pub fn draw(&mut self, wanted: impl Fn(u32, &ThreadSlot) -> bool) -> Option<u32> {
        let count = self.slots.iter().filter(|(id, slot)| wanted(**id, slot)).count();
        let nth = match count {
            0 => return None,
            1 => 0,
            n => below(&mut self.rng, n as u64) as usize,
        };
        self.slots.iter().filter(|(id, slot)| wanted(**id, slot)).nth(nth).map(|(id, _)| *id)
    }

    /// Time is about to move. True if it has so often, and no test's thread got what it waits for, that something polls for
    /// what never comes.
    pub fn polls_in_vain(&mut self, world: &World) -> bool {
        self.fruitless += 1;
        let in_vain = self.fruitless == LIVELOCK;
        if in_vain {
            world.violate("LOCK-04", format!("time passes and nobody gets on: {}", describe(self, world)));
        }
        in_vain
    }

    /// A thread got what it waited for.
    pub fn got_on(&mut self, id: u32) {
        self.progress += 1;
        if self.slots.get(&id).is_some_and(|slot| slot.role == Role::User) {
            self.fruitless = 0;
        }
    }

    pub fn set_ready(&mut self, id: u32) {
        if let Some(slot) = self.slots.get_mut(&id) {
            slot.status = Status::Ready;
        }
    }

    pub fn set_blocked(&mut self, id: u32, key: usize, what: &'static str, polled: u64) {
        if let Some(slot) = self.slots.get_mut(&id) {
            slot.status = Status::Blocked { key, what, polled };
            let role = slot.role;
            if key != SETTLED {
                self.wake_settlers(role);
            }
        }
    }

    /// A system thread stopped running: those that wait for that look again.
    pub fn wake_settlers(&mut self, role: Role) {
        if role == Role::User {
            return;
        }
        for slot in self.slots.values_mut() {
            if matches!(slot.status, Status::Blocked { key: SETTLED, .. }) {
                slot.status = Status::Ready;
            }
        }
    }
}

/// Who waits for what.
pub(crate) fn describe(state: &State, world: &World) -> String {
    let lines = state.slots.values().map(|slot| match slot.status {
        Status::Ready => format!("{} runs", slot.shared.name),
        Status::Blocked { key, what, .. } => match world.ids.known(key) {
            Some(name) => format!("{} waits for {what} {name}", slot.shared.name),
            None => format!("{} waits for {what}", slot.shared.name),
        },
    });
    lines.collect::<Vec<_>>().join(", ")
}
