//! Makes the n-th fallible call of a world fail.
//!
//! Every import that may fail asks once for each call; a sweep runs a scenario for n = 1, 2, ... until `asked` is below
//! n.

use crate::machine::world;
use parking_lot::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

pub struct Faults {
    /// The number of the call that fails; 0 for none.
    fails: AtomicU64,
    asked: AtomicU64,
    injected: Mutex<Option<&'static str>>,
}

impl Faults {
    pub fn new(fails: Option<u64>) -> Self {
        Self {
            fails: AtomicU64::new(fails.unwrap_or(0)),
            asked: AtomicU64::new(0),
            injected: Mutex::new(None),
        }
    }
}

impl world::World {
    /// True if the fallible call at this site is the one to fail.
    pub fn fails(&self, site: &'static str) -> bool {
        let n = self.faults.asked.fetch_add(1, Ordering::Relaxed) + 1;
        if self.faults.fails.load(Ordering::Relaxed) != n {
            return false;
        }
        *self.faults.injected.lock() = Some(site);
        self.log(|| format!("fault {n} in {site}"));
        true
    }

    /// The n-th fallible call from here is the one to fail.
    pub fn fail_from_here(&self, n: u64) {
        self.faults.fails.store(self.asked() + n, Ordering::Relaxed);
    }

    /// How many fallible calls there were.
    pub fn asked(&self) -> u64 {
        self.faults.asked.load(Ordering::Relaxed)
    }

    /// The site of the call that was made to fail, once it has.
    pub fn injected_fault(&self) -> Option<&'static str> {
        *self.faults.injected.lock()
    }
}

/// `World::fails` of the calling thread's world.
pub fn fails(site: &'static str) -> bool {
    world::current().fails(site)
}

pub fn asked() -> u64 {
    world::current().asked()
}

pub fn injected() -> Option<&'static str> {
    world::current().injected_fault()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::world::{Config, World};

    #[test]
    fn exactly_the_named_call_fails() {
        let world = World::new(Config { fault: Some(3), ..Config::default() });
        let failed = world.enter(|| (0..5).map(|_| fails("a call")).collect::<Vec<_>>());
        assert_eq!(failed, Ok(vec![false, false, true, false, false]));
        assert_eq!((world.asked(), world.injected_fault()), (5, Some("a call")));
    }

    #[test]
    fn without_a_number_nothing_fails_but_all_is_counted() {
        let world = World::new(Config::default());
        assert_eq!(world.enter(|| (0..5).any(|_| fails("a call"))), Ok(false));
        assert_eq!((world.asked(), world.injected_fault()), (5, None));
    }
}
