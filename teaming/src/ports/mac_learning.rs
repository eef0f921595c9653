//! MAC addresses learned from ports that may send with any source address: nested VMs, routers, bridges in guests.
//!
//! Written on the packet path by many processors at once, under the read lock: address and position of an entry are
//! one 64-bit word that is stored at once, next to the time, so a reader finds the old position or the new one, never
//! a mixture. Of two writers one wins; the other learns with its next packet. Nothing is allocated and nothing waits.
//! Bounded: `WAYS` entries share a set, a new one replaces the vNIC's own oldest there, else the oldest, so that a
//! port which invents addresses displaces mostly its own. An address that is not learned is flooded to the ports that
//! may learn: nothing is lost.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::Storage;
use crate::ids::{MacAddr, Ticks, VlanId};

/// Entries that share a set.
const WAYS: usize = 4;
const SET_BITS: u32 = 10;
/// Entries of the table.
pub const LEARNED: usize = WAYS << SET_BITS;

/// Silence after which an address is forgotten (IEEE 802.1D: 300 s).
pub const AGE: Ticks = Ticks::from_ms(300_000);

/// Bits of the vNIC's position in the port table; the rest of the word is what the set leaves of the key.
const POSITION_BITS: u32 = 14;
/// Positions that can be learned for.
pub const POSITIONS_MAX: usize = (1 << POSITION_BITS) - 1;

/// One learned address and when a frame last had it as source.
#[derive(Debug)]
pub struct Learned {
    word: AtomicU64,
    last_seen: AtomicU32,
    /// See `note_unrecorded`; 0 for never.
    unrecorded: AtomicU32,
}

const _: () = assert!(core::mem::size_of::<Learned>() == 16);

impl Learned {
    #[expect(
        clippy::declare_interior_mutable_const,
        reason = "storage is filled with it, element by element"
    )]
    pub const EMPTY: Self =
        Self { word: AtomicU64::new(0), last_seen: AtomicU32::new(0), unrecorded: AtomicU32::new(0) };
}

/// An entry as it was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LearnedAddress {
    pub mac: MacAddr,
    pub vlan: Option<VlanId>,
    /// Of the vNIC.
    pub position: usize,
    /// It was seen last more than `AGE` ago.
    pub is_old: bool,
}

pub struct LearnTable<S: Storage> {
    entries: S::Of<Learned>,
}

/// Address and VLAN as 60 bits.
const KEY_BITS: u32 = 60;
const KEY_MASK: u64 = (1 << KEY_BITS) - 1;

fn key(mac: MacAddr, vlan: Option<VlanId>) -> u64 {
    mac.word() << 12 | vlan.map_or(0, |vlan| u64::from(vlan.get()))
}

const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

/// A permutation of the 60-bit numbers: equal results mean equal keys, so the set's number need not be kept.
const fn scramble(key: u64) -> u64 {
    let once = key ^ key >> 29;
    let twice = once.wrapping_mul(FACTOR) & KEY_MASK;
    twice ^ twice >> 31
}

/// What `scramble` made this of.
const fn unscramble(scrambled: u64) -> u64 {
    let twice = scrambled ^ scrambled >> 31;
    let once = twice.wrapping_mul(INVERSE) & KEY_MASK;
    once ^ once >> 29 ^ once >> 58
}

/// Times `FACTOR` it is 1: each step doubles the number of low bits that are right, of which three are at first.
const INVERSE: u64 = {
    let mut inverse = FACTOR;
    let mut step = 0;
    while step < 5 {
        inverse = inverse.wrapping_mul(2_u64.wrapping_sub(FACTOR.wrapping_mul(inverse)));
        step += 1;
    }
    inverse
};

fn split(key: u64) -> (usize, u64) {
    let scrambled = scramble(key);
    let set = usize::try_from(scrambled & ((1 << SET_BITS) - 1)).unwrap_or(0);
    (set, scrambled >> SET_BITS)
}

const fn compose(rest: u64, position: u64) -> u64 {
    rest << POSITION_BITS | position.wrapping_add(1)
}

fn position_of(word: u64) -> Option<usize> {
    usize::try_from(word & ((1 << POSITION_BITS) - 1)).ok()?.checked_sub(1)
}

const fn rest_of(word: u64) -> u64 {
    word >> POSITION_BITS
}

/// Time in units of 0.1 s; wraps after 13 years.
#[expect(clippy::cast_possible_truncation, reason = "wraps, and differences are taken wrapping")]
const fn tenths(now: Ticks) -> u32 {
    (now.get() / 1_000_000) as u32
}

/// Time in units of 4 ms, never 0; wraps after 198 days.
#[expect(clippy::cast_possible_truncation, reason = "wraps, and differences are taken wrapping")]
const fn moments(now: Ticks) -> u32 {
    let moment = (now.get() / MOMENT) as u32;
    if moment == 0 { 1 } else { moment }
}

const MOMENT: u64 = 40_000;
/// Clocks of processors differ by less, in units of 4 ms.
const AHEAD: u32 = 16;

impl<S: Storage> LearnTable<S> {
    /// `entries` is `LEARNED` long, or empty for a table that learns nothing.
    pub fn new(entries: S::Of<Learned>) -> Self {
        Self { entries }
    }

    fn set(&self, number: usize) -> &[Learned] {
        let first = number.saturating_mul(WAYS);
        self.entries.get(first..first.saturating_add(WAYS)).unwrap_or(&[])
    }

    /// Records that the vNIC at `position` sent a frame from `mac`. Callable under the read lock.
    pub fn learn(&self, mac: MacAddr, vlan: Option<VlanId>, position: usize, now: Ticks) {
        if mac == MacAddr::ZERO || mac.is_multicast() || position >= POSITIONS_MAX {
            return;
        }
        let Ok(number) = u64::try_from(position) else { return };
        let (set, rest) = split(key(mac, vlan));
        let ways = self.set(set);
        let now = tenths(now);
        let read = |way: &Learned| way.word.load(Ordering::Relaxed);
        let word = compose(rest, number);
        let known = ways.iter().find(|way| read(way) != 0 && rest_of(read(way)) == rest);
        let Some(way) = known.or_else(|| victim(ways, position, now)) else { return };
        if rest_of(read(way)) != rest {
            way.unrecorded.store(0, Ordering::Relaxed);
        }
        if read(way) != word {
            way.word.store(word, Ordering::Relaxed);
        }
        if way.last_seen.load(Ordering::Relaxed) != now {
            way.last_seen.store(now, Ordering::Relaxed);
        }
    }

    /// The position of the vNIC that sent from `mac` at most `AGE` ago, to a tenth of a second.
    pub fn find(&self, mac: MacAddr, vlan: Option<VlanId>, now: Ticks) -> Option<usize> {
        let (way, word) = self.way(mac, vlan)?;
        if is_old(way.last_seen.load(Ordering::Relaxed), tenths(now)) { None } else { position_of(word) }
    }

    /// The entry at a place of the table; `None` if there is none.
    pub fn at(&self, place: usize, now: Ticks) -> Option<LearnedAddress> {
        let way = self.entries.get(place)?;
        let word = way.word.load(Ordering::Relaxed);
        let position = position_of(word)?;
        let is_old = is_old(way.last_seen.load(Ordering::Relaxed), tenths(now));
        let set = u64::try_from(place / WAYS).ok()?;
        let key = unscramble(rest_of(word) << SET_BITS | set);
        let [a, b, c, d, e, f, _, _] = (key >> 12).to_le_bytes();
        let vlan = u16::try_from(key & 0xfff).ok().and_then(VlanId::new);
        Some(LearnedAddress { mac: MacAddr([a, b, c, d, e, f]), vlan, position, is_old })
    }

    /// The position of the vNIC that sent from `mac` last, however long ago.
    pub fn last(&self, mac: MacAddr, vlan: Option<VlanId>) -> Option<usize> {
        position_of(self.way(mac, vlan)?.1)
    }

    /// What `find` finds, and how long ago the address was last seen, to a tenth of a second.
    pub fn seen(&self, mac: MacAddr, vlan: Option<VlanId>, now: Ticks) -> Option<(usize, Ticks)> {
        let (way, word) = self.way(mac, vlan)?;
        let silence = silence(way.last_seen.load(Ordering::Relaxed), tenths(now));
        let age = Ticks::from_ms(u64::from(silence).saturating_mul(100));
        Some((position_of(word)?, age)).filter(|(_, age)| age.get() <= AGE.get())
    }

    /// Records the time if the address is known from the vNIC at `position`, and whether it is. Callable under the
    /// read lock, like `remove`.
    pub fn refresh(&self, mac: MacAddr, vlan: Option<VlanId>, position: usize, now: Ticks) -> bool {
        let now = tenths(now);
        let Some((way, word)) = self.way(mac, vlan) else { return false };
        let last_seen = way.last_seen.load(Ordering::Relaxed);
        if position_of(word) != Some(position) || is_old(last_seen, now) {
            return false;
        }
        if last_seen != now {
            way.last_seen.store(now, Ordering::Relaxed);
        }
        true
    }

    /// Records that a frame with this source address has passed that will not be known again if it comes once more. Nothing
    /// if the address is not known. Callable under the read lock.
    pub fn note_unrecorded(&self, mac: MacAddr, vlan: Option<VlanId>, now: Ticks) {
        if let Some((way, _)) = self.way(mac, vlan) {
            way.unrecorded.store(moments(now), Ordering::Relaxed);
        }
    }

    /// How long ago such a frame passed, to 4 ms.
    pub fn unrecorded(&self, mac: MacAddr, vlan: Option<VlanId>, now: Ticks) -> Option<Ticks> {
        let (way, _) = self.way(mac, vlan)?;
        let at = Some(way.unrecorded.load(Ordering::Relaxed)).filter(|at| *at != 0)?;
        let age = moments(now).wrapping_sub(at);
        // Other processors may be a little ahead of the caller's clock.
        let age = if age > u32::MAX - AHEAD { 0 } else { age };
        Some(Ticks::new(u64::from(age).saturating_mul(MOMENT)))
    }

    /// Forgets an address, unless another one has taken its place meanwhile.
    pub fn remove(&self, mac: MacAddr, vlan: Option<VlanId>) {
        if let Some((way, word)) = self.way(mac, vlan) {
            let _ = way.word.compare_exchange(word, 0, Ordering::Relaxed, Ordering::Relaxed);
        }
    }

    /// The entry of an address, an old one too, with its word: read once, because the entry may be another's afterwards.
    fn way(&self, mac: MacAddr, vlan: Option<VlanId>) -> Option<(&Learned, u64)> {
        let (set, rest) = split(key(mac, vlan));
        let mut words = self.set(set).iter().map(|way| (way, way.word.load(Ordering::Relaxed)));
        words.find(|(_, word)| *word != 0 && rest_of(*word) == rest)
    }

    /// Forgets all addresses learned from a vNIC, since its position may be reused. Under the write lock.
    pub fn forget(&mut self, position: usize) {
        for entry in self.entries.iter_mut() {
            if position_of(*entry.word.get_mut()) == Some(position) {
                *entry = Learned::EMPTY;
            }
        }
    }

    /// Entries in use, old ones included.
    pub fn len(&self) -> usize {
        self.entries.iter().filter(|entry| entry.word.load(Ordering::Relaxed) != 0).count()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

fn is_old(last_seen: u32, now: u32) -> bool {
    silence(last_seen, now) > tenths(AGE)
}

/// Other processors may be a little ahead of the caller's clock.
fn silence(last_seen: u32, now: u32) -> u32 {
    let silence = now.wrapping_sub(last_seen);
    if silence > u32::MAX / 2 { 0 } else { silence }
}

/// Which entry of a set a new one displaces: an empty or old one, else the vNIC's own oldest, else the oldest.
fn victim(ways: &[Learned], position: usize, now: u32) -> Option<&Learned> {
    ways.iter().max_by_key(|way| {
        let word = way.word.load(Ordering::Relaxed);
        let last_seen = way.last_seen.load(Ordering::Relaxed);
        let free = word == 0 || is_old(last_seen, now);
        (free, position_of(word) == Some(position), silence(last_seen, now))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_comes_back_from_what_was_made_of_it() {
        let mut key = 0x0123_4567_89ab_cdef_u64;
        for _ in 0..100_000 {
            key = (key ^ key << 13 ^ key >> 7).wrapping_mul(0x2545_f491_4f6c_dd1d) & KEY_MASK;
            assert_eq!(unscramble(scramble(key)), key);
        }
    }
}
