//! Small hash tables of 64-bit words in storage that others own: 48 bits of key, 16 bits of value, open addressing with
//! linear probing, no marks of deleted entries. `ports` finds ports, MAC addresses and multicast groups with them.

use crate::ids::MacAddr;

/// Key in the upper 48 bits, value + 1 in the lower 16; 0 = empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IndexSlot(u64);

impl IndexSlot {
    pub const EMPTY: Self = Self(0);

    pub fn new(key: u64, value: usize) -> Self {
        Self(key << 16 | u64::try_from(value).unwrap_or(0).wrapping_add(1) & 0xffff)
    }

    #[inline]
    const fn key(self) -> u64 {
        self.0 >> 16
    }

    /// Whether it has that value.
    pub fn is_of(self, value: usize) -> bool {
        self != Self::EMPTY && self.value() == Some(value)
    }

    #[inline]
    fn value(self) -> Option<usize> {
        usize::try_from(self.0 & 0xffff).ok()?.checked_sub(1)
    }
}

/// Slots for a number of entries: a power of two that is at most half full.
pub const fn slots_for(entries: usize) -> usize {
    let entries = if entries == 0 { 1 } else { entries };
    match entries.saturating_mul(2).checked_next_power_of_two() {
        Some(slots) => slots,
        None => 0,
    }
}

/// The value of the entry with that key that was inserted first.
#[inline]
pub fn find(slots: &[IndexSlot], key: u64) -> Option<usize> {
    let mask = slots.len().wrapping_sub(1);
    let mut at = spread(key);
    for _ in 0..slots.len() {
        let slot = *slots.get(at & mask)?;
        if slot.key() == key && slot != IndexSlot::EMPTY {
            return slot.value();
        }
        if slot == IndexSlot::EMPTY {
            return None;
        }
        at = at.wrapping_add(1);
    }
    None
}

/// Where a probe starts, before masking.
#[inline]
fn spread(word: u64) -> usize {
    usize::try_from(word.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40).unwrap_or(0)
}

/// What an entry is placed by: its key, or the whole entry where many have one key and are looked for as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    Key,
    KeyAndValue,
}

fn home(slot: IndexSlot, by: By) -> usize {
    spread(match by {
        By::Key => slot.key(),
        By::KeyAndValue => slot.0,
    })
}

/// False when the table is full.
pub fn insert(slots: &mut [IndexSlot], new: IndexSlot, by: By) -> bool {
    let mask = slots.len().wrapping_sub(1);
    let start = home(new, by);
    for step in 0..slots.len() {
        if let Some(slot) =
            slots.get_mut(start.wrapping_add(step) & mask).filter(|slot| **slot == IndexSlot::EMPTY)
        {
            *slot = new;
            return true;
        }
    }
    false
}

/// Inserts every entry of one table into another. Where entries have one key, that which is found first stays the
/// first: a run of entries is walked from its beginning, which may lie before the end of the slice.
pub fn copy(from: &[IndexSlot], to: &mut [IndexSlot], by: By) {
    let begin = from.iter().position(|slot| *slot == IndexSlot::EMPTY).unwrap_or(0);
    let (end, start) = from.split_at_checked(begin).unwrap_or_default();
    for &entry in start.iter().chain(end).filter(|slot| **slot != IndexSlot::EMPTY) {
        insert(to, entry, by);
    }
}

/// Whether just this entry is there.
pub fn contains(slots: &[IndexSlot], entry: IndexSlot, by: By) -> bool {
    position(slots, entry, by).is_some()
}

fn position(slots: &[IndexSlot], entry: IndexSlot, by: By) -> Option<usize> {
    let mask = slots.len().wrapping_sub(1);
    let start = home(entry, by);
    (0..slots.len())
        .map(|step| start.wrapping_add(step) & mask)
        .take_while(|&at| slots.get(at).is_some_and(|slot| *slot != IndexSlot::EMPTY))
        .find(|&at| slots.get(at) == Some(&entry))
}

/// Closes the hole by moving back what probed across it. False when the entry is not there.
pub fn remove(slots: &mut [IndexSlot], old: IndexSlot, by: By) -> bool {
    let mask = slots.len().wrapping_sub(1);
    let Some(mut hole) = position(slots, old, by) else { return false };
    let first = hole;
    for step in 1..slots.len() {
        let at = first.wrapping_add(step) & mask;
        let Some(&slot) = slots.get(at).filter(|slot| **slot != IndexSlot::EMPTY) else { break };
        let travelled = at.wrapping_sub(home(slot, by) & mask) & mask;
        let distance = at.wrapping_sub(hole) & mask;
        if travelled >= distance {
            if let Some(target) = slots.get_mut(hole) {
                *target = slot;
            }
            hole = at;
        }
    }
    if let Some(target) = slots.get_mut(hole) {
        *target = IndexSlot::EMPTY;
    }
    true
}

/// A MAC address as a key.
#[inline]
pub const fn key_of(mac: MacAddr) -> u64 {
    mac.word()
}
