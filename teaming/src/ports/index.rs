//! Small hash tables of 64-bit words in storage that others own: 48 bits of key, 16 bits of value, open addressing with
//! linear probing, no marks of deleted entries. `ports` finds ports, MAC addresses and multicast groups with them.

use crate::ids::MacAddr;
use core::ops::Range;

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

    /// The value + 1, 0 in an empty slot.
    #[expect(clippy::cast_possible_truncation, reason = "the lower 16 bits are meant")]
    const fn low(self) -> u16 {
        self.0 as u16
    }

    /// Whether it has that value.
    #[inline]
    pub fn is_of(self, value: usize) -> bool {
        self.low() == Self::new(0, value).low()
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
        if slot.key() == key {
            // An empty slot has no value.
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
pub(super) fn spread(word: u64) -> usize {
    usize::try_from(word.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40).unwrap_or(0)
}

/// What an entry is placed by: its key, or the whole entry where many have one key and are looked for as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    Key,
    KeyAndValue,
}

fn home(slot: IndexSlot, by: By) -> usize {
    let by_key = spread(slot.key());
    match by {
        By::Key => by_key,
        // The key decides the upper bits too, or groups that differ in their last octet would all begin at one place.
        By::KeyAndValue => by_key.wrapping_add(usize::from(slot.low()).wrapping_mul(0x9e37)),
    }
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

/// Inserts the entries of a part of one table into another. Where entries have one key, that which is found first stays the
/// first: a run of entries is walked from its beginning, which may lie before the end of the slice, so places are counted
/// from the first that is empty.
pub fn copy(from: &[IndexSlot], to: &mut [IndexSlot], by: By, part: Range<usize>) {
    let begin = from.iter().position(|slot| *slot == IndexSlot::EMPTY).unwrap_or(0);
    let (end, start) = from.split_at_checked(begin).unwrap_or_default();
    let part = start.iter().chain(end).take(part.end).skip(part.start);
    for &entry in part.filter(|slot| **slot != IndexSlot::EMPTY) {
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

/// The place of the first entry with that value from a place on.
pub fn next_of(slots: &[IndexSlot], value: usize, from: usize) -> Option<usize> {
    /// Slots that are looked at without a branch for each.
    const TOGETHER: usize = 16;
    let rest = slots.get(from..)?;
    let (groups, _) = rest.as_chunks::<TOGETHER>();
    let has = |group: &[IndexSlot; TOGETHER]| group.iter().fold(false, |has, slot| has | slot.is_of(value));
    let whole = groups.iter().position(has).unwrap_or(groups.len()).wrapping_mul(TOGETHER);
    let found = rest.get(whole..)?.iter().position(|slot| slot.is_of(value))?;
    Some(from.wrapping_add(whole).wrapping_add(found))
}

/// Removes an entry. False when it is not there.
pub fn remove(slots: &mut [IndexSlot], old: IndexSlot, by: By) -> bool {
    let Some(place) = position(slots, old, by) else { return false };
    remove_at(slots, place, by);
    true
}

/// Closes the hole by moving back what probed across it.
pub fn remove_at(slots: &mut [IndexSlot], place: usize, by: By) {
    let mask = slots.len().wrapping_sub(1);
    let mut hole = place;
    for step in 1..slots.len() {
        let at = place.wrapping_add(step) & mask;
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
}

/// A MAC address as a key.
#[inline]
pub const fn key_of(mac: MacAddr) -> u64 {
    mac.word()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Entries that are looked at from the place of each on, at most.
    fn longest_search(slots: &[IndexSlot], entries: &[IndexSlot]) -> usize {
        let mask = slots.len() - 1;
        let steps = |entry: &IndexSlot| {
            let at = position(slots, *entry, By::KeyAndValue).expect("it is there");
            at.wrapping_sub(home(*entry, By::KeyAndValue) & mask) & mask
        };
        entries.iter().map(steps).max().unwrap_or(0)
    }

    #[test]
    fn groups_that_differ_in_any_one_octet_are_found_at_once() {
        for octet in 0..6 {
            for ports in [1, 50] {
                let entries: std::vec::Vec<IndexSlot> = (0..ports * 64)
                    .map(|number| {
                        let mut mac = [1, 0, 0x5E, 7, 7, 7];
                        mac[octet] = (number % 64) as u8;
                        IndexSlot::new(key_of(MacAddr(mac)), number / 64)
                    })
                    .collect();
                let mut slots = std::vec![IndexSlot::EMPTY; slots_for(entries.len()).max(1024)];
                assert!(entries.iter().all(|entry| insert(&mut slots, *entry, By::KeyAndValue)));
                let longest = longest_search(&slots, &entries);
                assert!(longest <= 40, "octet {octet}, {ports} ports: {longest}");
            }
        }
    }
}
