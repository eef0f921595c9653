//! How the port table grows: larger storage is filled part by part while packets read the table, and put in place if
//! nothing has changed meanwhile.

use crate::Storage;
use crate::ports::PortTable;
use crate::ports::index::{self, By};
use crate::ports::storage::PortTableStorage;
use crate::ports::traffic::Chunk;

impl<S: Storage> PortTable<S> {
    /// Copies about `count` entries into larger, empty storage, from position `from` on. Gives where to go on, or `None`
    /// when all is copied.
    pub fn copy_part(&self, room: &mut PortTableStorage<S>, from: usize, count: usize) -> Option<usize> {
        let to = from.saturating_add(count);
        let old = &self.room;
        for (new, old) in room.ports.iter_mut().zip(old.ports.iter()).skip(from).take(count) {
            *new = *old;
        }
        let mut begin = old.ports.len();
        let tables = [
            (&old.index, &mut room.index, By::Key),
            (&old.macs, &mut room.macs, By::Key),
            (&old.groups, &mut room.groups, By::KeyAndValue),
        ];
        for (old, new, by) in tables {
            index::copy(old, new, by, from.saturating_sub(begin)..to.saturating_sub(begin));
            begin = begin.saturating_add(old.len());
        }
        (to < begin).then_some(to)
    }

    /// Puts storage in place into which everything was copied; `room` then has the old one, to be freed outside the lock.
    /// Storage that is not as large in every part is not used.
    pub fn put_in_place(&mut self, room: &mut PortTableStorage<S>) {
        if room.is_as_large_as(&self.room) {
            for (new, old) in room.traffic.iter_mut().zip(self.room.traffic.iter_mut()) {
                core::mem::swap(new, old);
            }
            core::mem::swap(&mut self.room, room);
        }
    }

    /// Copies everything at once and puts it in place: for tables that change faster than they are copied.
    pub fn grow(&mut self, room: &mut PortTableStorage<S>) {
        if room.is_as_large_as(&self.room) {
            room.clear();
            let _ = self.copy_part(room, 0, usize::MAX);
            self.put_in_place(room);
        }
    }

    /// Ports for which there are no counters yet, although there is room for them.
    pub fn lacks_counters(&self) -> bool {
        self.room.capacity() < self.room.ports.len()
    }

    /// Adds a chunk of counters; gives it back if there is no place for it.
    pub fn add_counters(&mut self, chunk: Chunk<S>) -> Option<Chunk<S>> {
        self.room.add_counters(chunk)
    }
}
