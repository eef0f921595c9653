//! Small stable names for objects, so that the event log is the same wherever memory happens to lie.
//!
//! An address gets the next number of its kind when it is first named and loses it when its memory is freed.

use crate::machine::world;
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap};

#[derive(Default)]
pub struct Ids {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    named: BTreeMap<usize, (&'static str, u32)>,
    next: HashMap<&'static str, u32>,
}

impl Ids {
    /// The name of an address; a new one of that kind at first sight.
    pub fn name_of(&self, address: usize, kind: &'static str) -> String {
        if address == 0 {
            return "null".to_owned();
        }
        let (kind, number) = self.number_of(address, kind);
        format!("{kind}#{number}")
    }

    pub(crate) fn number_of(&self, address: usize, kind: &'static str) -> (&'static str, u32) {
        let mut inner = self.inner.lock();
        if let Some(known) = inner.named.get(&address) {
            return *known;
        }
        let next = inner.next.entry(kind).or_insert(0);
        *next += 1;
        let id = (kind, *next);
        inner.named.insert(address, id);
        id
    }

    /// The name of an address that has one.
    pub fn known(&self, address: usize) -> Option<String> {
        self.inner.lock().named.get(&address).map(|(kind, n)| format!("{kind}#{n}"))
    }

    /// The memory is gone: what is there next is another object.
    pub fn forget(&self, start: usize, bytes: usize) {
        let mut inner = self.inner.lock();
        while let Some(address) = inner.named.range(start..start + bytes.max(1)).next().map(|(a, _)| *a) {
            inner.named.remove(&address);
        }
    }
}

/// Name of an object in the calling thread's world, as `obj#3`.
pub fn name<T: ?Sized>(pointer: *const T) -> String {
    named(pointer, "obj")
}

/// As `name`, with the kind to use at first sight.
pub fn named<T: ?Sized>(pointer: *const T, kind: &'static str) -> String {
    world::current().ids.name_of(pointer.cast::<u8>().addr(), kind)
}

/// Ends the name of an object that does not lie in the ledger's memory.
pub fn forget<T: ?Sized>(pointer: *const T) {
    world::current().ids.forget(pointer.cast::<u8>().addr(), 1);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_another_object_after_its_memory_was_freed() {
        let ids = Ids::default();
        assert_eq!(ids.name_of(0x1000, "list"), "list#1");
        assert_eq!(ids.name_of(0x1010, "lock"), "lock#1");
        assert_eq!(ids.name_of(0x2000, "list"), "list#2");
        assert_eq!(ids.name_of(0x1000, "list"), "list#1");
        ids.forget(0x1000, 0x20);
        assert_eq!(ids.known(0x1010), None);
        assert_eq!(ids.name_of(0x1000, "list"), "list#3");
        assert_eq!(ids.known(0x2000).as_deref(), Some("list#2"));
    }
}
