//! The addresses that adapters of one VM may take over from each other on all switches of a host: a guest's team spans
//! switches (New-NetLbfoTeam in a VM: one adapter on each of two external switches).
//!
//! The switches share one table, in parts by address, each behind a leaf lock of its own. A port table adds and removes the
//! addresses of its own ports under its write lock; a packet asks under the read lock of its switch, only for an address
//! that is no adapter's of its VM on its switch. So a switch knows nothing of another's memory and may go at any time, and
//! what is taken back is taken back for all when its part is unlocked.

use crate::ids::MacAddr;
use crate::ports::mates::{self, Mate, MateSlot};

/// The shared table, as a switch sees it.
pub trait Host {
    /// One more adapter uses the address; false if there is no room for it.
    fn add(&self, mate: Mate) -> bool;
    /// One adapter that was added less uses the address.
    fn remove(&self, mate: Mate);
    /// An adapter of the VM uses the address.
    fn contains(&self, mate: Mate) -> bool;
}

/// Parts of the table.
pub const PARTS: usize = 256;
/// Addresses that one part has room for: of a thousand that are spread, four each.
const EACH: usize = 16;

/// One part of the table.
#[derive(Debug, Clone)]
pub struct Part([MateSlot; EACH]);

// The parts of a host take about 100 KiB.
const _: () = assert!(size_of::<Part>() * PARTS <= 96 * 1024);

impl Part {
    pub const EMPTY: Self = Self([MateSlot::EMPTY; EACH]);

    /// The number of the part that an address belongs to.
    pub fn of(mac: MacAddr) -> usize {
        // Not the bits that place it inside the part.
        let spread = mac.word().wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 24;
        usize::try_from(spread).unwrap_or(0) & (PARTS - 1)
    }

    pub fn add(&mut self, mate: Mate) -> bool {
        mates::add(&mut self.0, mate)
    }

    pub fn remove(&mut self, mate: Mate) {
        mates::remove(&mut self.0, mate);
    }

    pub fn contains(&self, mate: Mate) -> bool {
        mates::contains(&self.0, mate)
    }
}

const _: () = assert!(PARTS.is_power_of_two());

/// The table of a host that is not the driver's; clones are the same one. The default is a host with a single switch.
#[cfg(any(test, feature = "std"))]
#[derive(Debug, Clone, Default)]
pub struct HeapHost(Option<std::sync::Arc<std::vec::Vec<std::sync::Mutex<Part>>>>);

#[cfg(any(test, feature = "std"))]
impl HeapHost {
    /// A host with several switches, which get clones.
    pub fn shared() -> Self {
        let parts = (0..PARTS).map(|_| std::sync::Mutex::new(Part::EMPTY));
        Self(Some(std::sync::Arc::new(parts.collect())))
    }

    fn with<R>(&self, mac: MacAddr, what: impl FnOnce(&mut Part) -> R) -> Option<R> {
        let part = self.0.as_ref()?.get(Part::of(mac))?;
        Some(what(&mut part.lock().unwrap_or_else(std::sync::PoisonError::into_inner)))
    }
}

#[cfg(any(test, feature = "std"))]
impl Host for HeapHost {
    fn add(&self, mate: Mate) -> bool {
        self.with(mate.mac, |part| part.add(mate)).unwrap_or(true)
    }

    fn remove(&self, mate: Mate) {
        self.with(mate.mac, |part| part.remove(mate));
    }

    fn contains(&self, mate: Mate) -> bool {
        self.with(mate.mac, |part| part.contains(mate)).unwrap_or(false)
    }
}
