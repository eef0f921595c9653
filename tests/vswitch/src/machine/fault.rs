//! Makes the n-th fallible call of a world fail, and if wanted one more some calls later.
//!
//! Every import that may fail asks once for each call; a sweep runs a scenario for n = 1, 2, ... until `asked` is below
//! n.

use crate::machine::world;
use parking_lot::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

pub struct Faults {
    /// The number of the call that fails; 0 for none.
    fails: AtomicU64,
    /// Calls from that one to a second that fails; 0 for none.
    again: AtomicU64,
    asked: AtomicU64,
    injected: Mutex<Vec<Injected>>,
}

/// A call that was made to fail.
#[derive(Clone, Copy, Debug)]
pub struct Injected {
    pub site: &'static str,
    pub at: u64,
    /// The innermost handler of the driver in which it happened, if any.
    pub handler: Option<&'static str>,
}

impl Injected {
    /// While packets were handled: nothing that lasts can depend on it.
    pub fn in_walk(&self) -> bool {
        self.handler.is_some_and(|name| WALKS.contains(&name))
    }
}

/// Handlers in which packets are handled.
const WALKS: [&str; 4] = [
    "FilterSendNetBufferLists",
    "FilterSendNetBufferListsComplete",
    "FilterReceiveNetBufferLists",
    "FilterReturnNetBufferLists",
];

impl Faults {
    pub fn new(fails: Option<u64>, again: Option<u64>) -> Self {
        Self {
            fails: AtomicU64::new(fails.unwrap_or(0)),
            again: AtomicU64::new(again.unwrap_or(0)),
            asked: AtomicU64::new(0),
            injected: Mutex::default(),
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
        let again = self.faults.again.swap(0, Ordering::Relaxed);
        if again > 0 {
            self.faults.fails.store(n + again, Ordering::Relaxed);
        }
        let stack = crate::machine::thread::try_current().map_or(Vec::new(), |t| t.stack.borrow().clone());
        let handler = stack
            .iter()
            .rev()
            .copied()
            .find(|name| name.starts_with("Filter") || matches!(*name, "TimerFunction" | "ThreadStart"));
        self.faults.injected.lock().push(Injected { site, at: self.now(), handler });
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

    /// The site of the first call that was made to fail, once it has.
    pub fn injected_fault(&self) -> Option<&'static str> {
        self.faults.injected.lock().first().map(|fault| fault.site)
    }

    /// How many calls were made to fail so far.
    pub fn faults(&self) -> usize {
        self.faults.injected.lock().len()
    }

    /// The calls that were made to fail after the first so many.
    pub fn faults_since(&self, count: usize) -> Vec<Injected> {
        self.faults.injected.lock().iter().skip(count).copied().collect()
    }

    /// The last call that was made to fail.
    pub fn last_fault(&self) -> Option<Injected> {
        self.faults.injected.lock().last().copied()
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
    fn a_second_call_fails_so_many_calls_after_the_first() {
        let config = Config { fault: Some(2), fault_again: Some(3), ..Config::default() };
        let world = World::new(config);
        let failed = world.enter(|| (0..9).map(|_| fails("a call")).collect::<Vec<_>>());
        assert_eq!(
            failed.map(|all| all.iter().map(|f| u8::from(*f)).collect()),
            Ok(vec![0, 1, 0, 0, 1, 0, 0, 0, 0])
        );
        assert!(world.last_fault().is_some_and(|fault| !fault.in_walk()));
    }

    #[test]
    fn without_a_number_nothing_fails_but_all_is_counted() {
        let world = World::new(Config::default());
        assert_eq!(world.enter(|| (0..5).any(|_| fails("a call"))), Ok(false));
        assert_eq!((world.asked(), world.injected_fault()), (5, None));
    }
}
