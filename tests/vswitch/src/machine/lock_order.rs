//! The graph of which lock was taken while which was held; a cycle is a possible deadlock (LOCK-05).

use crate::machine::thread::Thread;
use crate::machine::world::World;
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};

type Name = (&'static str, u32);

#[derive(Default)]
pub struct LockOrder {
    after: Mutex<BTreeMap<Name, BTreeSet<Name>>>,
}

impl LockOrder {
    /// Adds an edge; false if it is new and closes a cycle.
    fn add(&self, first: Name, second: Name) -> bool {
        let mut after = self.after.lock();
        if !after.entry(first).or_default().insert(second) {
            return true;
        }
        let mut open = vec![second];
        let mut seen = BTreeSet::new();
        while let Some(name) = open.pop() {
            if name == first {
                return false;
            }
            if seen.insert(name) {
                open.extend(after.get(&name).into_iter().flatten().copied());
            }
        }
        true
    }
}

/// Called before a lock joins those that a thread holds.
pub(crate) fn note(thread: &Thread, kind: &'static str, address: usize) {
    let held = thread.held.borrow();
    if held.is_empty() {
        return;
    }
    let world: &World = &thread.world;
    world.exercised("LOCK-05");
    let second = world.ids.number_of(address, kind);
    for lock in held.iter() {
        let first = world.ids.number_of(lock.address, lock.kind);
        note_pair(world, first, second);
    }
}

pub(crate) fn note_pair(world: &World, first: Name, second: Name) {
    if !world.lock_order.add(first, second) {
        let ((a, n), (b, m)) = (first, second);
        world.warn(
            "LOCK-05",
            format!("{b}#{m} taken while {a}#{n} is held, and the other way round elsewhere"),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cycle_is_found_over_any_number_of_locks() {
        let order = LockOrder::default();
        let lock = |n| ("lock", n);
        assert!(order.add(lock(1), lock(2)));
        assert!(order.add(lock(2), lock(3)));
        assert!(order.add(lock(1), lock(3)));
        assert!(!order.add(lock(3), lock(1)));
        assert!(order.add(lock(3), lock(1)), "reported once");
    }
}
