//! The addresses that vNICs of one VM may take over from each other: those in use by adapters whose ports allow teaming
//! (AllowTeaming, ns-ntddndis-_ndis_switch_port_property_security.md), connected or not, by address and VM.
//!
//! An open-addressed hash table in storage that others own, without marks of deleted entries, like `index`. Changed under
//! the write lock, read under the read lock.

use crate::ids::MacAddr;
use crate::oid::nic::VmId;
use crate::ports::index;
use core::ops::Range;

/// An address and the VM that may use it, with the number of its adapters that do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MateSlot {
    mac: MacAddr,
    /// 0 in an empty slot.
    count: u16,
    vm: VmId,
}

const _: () = assert!(size_of::<MateSlot>() == 24);

impl MateSlot {
    pub const EMPTY: Self = Self { mac: MacAddr::ZERO, count: 0, vm: VmId::NONE };

    const fn is_empty(&self) -> bool {
        self.count == 0
    }

    fn home(&self) -> usize {
        index::spread(index::key_of(self.mac))
    }
}

/// An address in use by an adapter of a VM whose port allows teaming.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mate {
    pub mac: MacAddr,
    pub vm: VmId,
}

/// The slots of an address in use, from the first that it may have up to an empty one, by position.
fn run(slots: &[MateSlot], mac: MacAddr) -> impl Iterator<Item = (usize, &MateSlot)> {
    let mask = slots.len().wrapping_sub(1);
    let start = index::spread(index::key_of(mac));
    let places = (0..slots.len()).map(move |step| start.wrapping_add(step) & mask);
    places.filter_map(|at| Some((at, slots.get(at)?))).take_while(|(_, slot)| !slot.is_empty())
}

fn position(slots: &[MateSlot], mate: Mate) -> Option<usize> {
    run(slots, mate.mac).find(|(_, slot)| slot.mac == mate.mac && slot.vm == mate.vm).map(|(at, _)| at)
}

/// An adapter of the VM uses the address.
pub fn contains(slots: &[MateSlot], mate: Mate) -> bool {
    position(slots, mate).is_some()
}

/// An adapter of some VM uses the address.
pub fn has(slots: &[MateSlot], mac: MacAddr) -> bool {
    run(slots, mac).any(|(_, slot)| slot.mac == mac)
}

/// One more adapter of the VM uses the address; false when the table is full.
pub fn add(slots: &mut [MateSlot], mate: Mate) -> bool {
    let entry = MateSlot { mac: mate.mac, count: 1, vm: mate.vm };
    match position(slots, mate).and_then(|at| slots.get_mut(at)) {
        Some(slot) => {
            slot.count = slot.count.saturating_add(1);
            true
        }
        None => insert(slots, entry),
    }
}

fn insert(slots: &mut [MateSlot], entry: MateSlot) -> bool {
    let mask = slots.len().wrapping_sub(1);
    let start = entry.home();
    let mut places = (0..slots.len()).map(|step| start.wrapping_add(step) & mask);
    let free = places.find(|&at| slots.get(at).is_some_and(MateSlot::is_empty));
    let Some(slot) = free.and_then(|at| slots.get_mut(at)) else { return false };
    *slot = entry;
    true
}

/// One adapter of the VM less uses the address. The last one's hole is closed by moving back what probed across it.
pub fn remove(slots: &mut [MateSlot], mate: Mate) {
    let Some(place) = position(slots, mate) else { return };
    let Some(slot) = slots.get_mut(place) else { return };
    slot.count = slot.count.saturating_sub(1);
    if !slot.is_empty() {
        return;
    }
    let mask = slots.len().wrapping_sub(1);
    let mut hole = place;
    for step in 1..slots.len() {
        let at = place.wrapping_add(step) & mask;
        let Some(&slot) = slots.get(at).filter(|slot| !slot.is_empty()) else { break };
        let travelled = at.wrapping_sub(slot.home() & mask) & mask;
        if travelled >= at.wrapping_sub(hole) & mask {
            if let Some(target) = slots.get_mut(hole) {
                *target = slot;
            }
            hole = at;
        }
    }
    if let Some(target) = slots.get_mut(hole) {
        *target = MateSlot::EMPTY;
    }
}

/// Inserts the entries of a part of one table into another that has none of them.
pub fn copy(from: &[MateSlot], to: &mut [MateSlot], part: Range<usize>) {
    let part = from.iter().take(part.end).skip(part.start);
    for &entry in part.filter(|slot| !slot.is_empty()) {
        insert(to, entry);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::vec::Vec;

    fn mate(number: u8, vm: u8) -> Mate {
        Mate { mac: MacAddr([2, 0, 0, 0, 0, number]), vm: VmId::of(&[vm]) }
    }

    #[test]
    fn an_address_is_lent_as_long_as_some_adapter_of_the_vm_uses_it_whatever_else_comes_and_goes() {
        let mut state = 7_u64;
        let mut draw = |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            ((state >> 33) % below) as u8
        };
        let mut slots = [MateSlot::EMPTY; 16];
        let mut truth: BTreeMap<(u8, u8), usize> = BTreeMap::new();
        for step in 0..20_000 {
            let key = (draw(6), draw(3));
            let used = truth.values().sum::<usize>();
            if draw(2) == 0 && used < 12 {
                assert!(add(&mut slots, mate(key.0, key.1)));
                *truth.entry(key).or_default() += 1;
            } else if let Some(count) = truth.get_mut(&key).filter(|count| **count > 0) {
                remove(&mut slots, mate(key.0, key.1));
                *count -= 1;
            }
            let mut grown = [MateSlot::EMPTY; 64];
            for part in [0..5, 5..11, 11..16] {
                copy(&slots, &mut grown, part);
            }
            for number in 0..6 {
                let of: Vec<bool> =
                    (0..3).map(|vm| truth.get(&(number, vm)).is_some_and(|count| *count > 0)).collect();
                for (vm, is_lent) in (0..).zip(&of) {
                    assert_eq!(contains(&slots, mate(number, vm)), *is_lent, "step {step}");
                    assert_eq!(contains(&grown, mate(number, vm)), *is_lent, "step {step}");
                }
                assert_eq!(has(&slots, mate(number, 0).mac), of.contains(&true), "step {step}");
            }
        }
    }

    #[test]
    fn a_full_table_says_so_and_loses_nothing() {
        let mut slots = [MateSlot::EMPTY; 4];
        for number in 0..4 {
            assert!(add(&mut slots, mate(number, 0)));
        }
        assert!(!add(&mut slots, mate(4, 0)));
        assert!(add(&mut slots, mate(3, 0)), "one that is there needs no slot");
        assert!((0..4).all(|number| contains(&slots, mate(number, 0))));
    }
}
