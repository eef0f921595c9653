//! How the port table grows: larger storage is filled part by part while packets read the table, and put in place if
//! nothing has changed meanwhile. `tests/driver/port_growth.rs` of the driver checks that (loom).

use crate::Storage;
use crate::ports::PortTable;
use crate::ports::index::{self, By};
use crate::ports::mates;
use crate::ports::storage::PortTableStorage;
use crate::ports::traffic::Chunk;

/// A port table behind a lock for many readers or one writer, which counts the writers.
pub trait SharedPorts<S: Storage> {
    /// Calls `look` with the table, locked for reading, and the count.
    fn read<R>(&self, look: impl FnOnce(&PortTable<S>, u32) -> R) -> R;

    /// Calls `change` with the table, locked for writing, and the count, this writer included.
    fn write<R>(&self, change: impl FnOnce(&mut PortTable<S>, u32) -> R) -> R;
}

/// How a table is copied that others change.
#[derive(Debug, Clone, Copy)]
pub struct Copying {
    /// Entries that are copied in one hold of the lock; at least one is.
    pub part: usize,
    /// Copies that are begun before a table that changes all the time is copied in one hold.
    pub attempts: u32,
}

/// Moves a port table into larger, empty storage: it is copied part by part while packets read it, and the copy is put in
/// place if nobody has written meanwhile. The old storage is in `room` then; or `room` itself, if it is not larger than
/// what another has put in place.
pub fn grow<S: Storage>(shared: &impl SharedPorts<S>, room: &mut PortTableStorage<S>, copying: Copying) {
    for _ in 0..copying.attempts {
        let copied = copy(shared, room, copying.part);
        let is_in_place = copied.is_some_and(|seen| {
            shared.write(|ports, writers| {
                let is_unchanged = writers == seen.wrapping_add(1);
                if is_unchanged {
                    ports.put_in_place(room);
                }
                is_unchanged
            })
        });
        if is_in_place {
            return;
        }
        room.clear();
    }
    shared.write(|ports, _| ports.grow(room));
}

/// Copies the table; gives what the lock counted before the first part, or `None` as soon as it has counted more. To stop
/// then only saves work: who puts the copy in place compares again.
fn copy<S: Storage>(
    shared: &impl SharedPorts<S>,
    room: &mut PortTableStorage<S>,
    part: usize,
) -> Option<u32> {
    let mut from = Some(0);
    let mut seen = None;
    while let Some(begin) = from {
        from = shared.read(|ports, writers| {
            let is_unchanged = *seen.get_or_insert(writers) == writers;
            is_unchanged.then(|| ports.copy_part(room, begin, part.max(1)))
        })?;
    }
    seen
}

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
        mates::copy(&old.mates, &mut room.mates, from.saturating_sub(begin)..to.saturating_sub(begin));
        begin = begin.saturating_add(old.mates.len());
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
