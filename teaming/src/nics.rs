//! The stations of the switch: every NIC but the external ones, and which of them has which MAC address.
//!
//! Owned by `forward`; changed under the write lock, read under the read lock. Lookup by MAC is open addressing
//! with linear probing; only connected stations are in it. Storage is the caller's and can be exchanged for larger.

use crate::Storage;
use crate::ids::{MacAddr, NicId};
use crate::switch::{NicKind, NicOp, NicParameters};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NicState {
    Free,
    Created,
    Connected,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Nic {
    pub id: NicId,
    pub kind: NicKind,
    pub state: NicState,
    pub current_mac: MacAddr,
    pub permanent_mac: MacAddr,
    pub vm_mac: MacAddr,
    pub mtu: u32,
}

impl Nic {
    pub const EMPTY: Self = Self {
        id: NicId::new(crate::ids::PortId::DEFAULT, crate::ids::NicIndex::DEFAULT),
        kind: NicKind::Synthetic,
        state: NicState::Free,
        current_mac: MacAddr::ZERO,
        permanent_mac: MacAddr::ZERO,
        vm_mac: MacAddr::ZERO,
        mtu: 0,
    };

    pub fn is_connected(&self) -> bool {
        self.state == NicState::Connected
    }

    /// The addresses it is reached at: the one in use and, while the guest uses another, the one it was given.
    fn addresses(&self) -> impl Iterator<Item = MacAddr> + use<> {
        let (current, given) = (self.current_mac, self.vm_mac);
        [Some(current), Some(given).filter(|&mac| mac != current)]
            .into_iter()
            .flatten()
            .filter(|&mac| mac != MacAddr::ZERO && !mac.is_multicast())
    }
}

/// One slot of the MAC index: address in the upper 48 bits, station number + 1 in the lower 16; 0 = empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MacSlot(u64);

impl MacSlot {
    pub const EMPTY: Self = Self(0);

    fn new(mac: MacAddr, nic: usize) -> Self {
        Self(mac.word() << 16 | u64::try_from(nic).unwrap_or(0).wrapping_add(1) & 0xffff)
    }

    #[inline]
    const fn mac_word(self) -> u64 {
        self.0 >> 16
    }

    #[inline]
    fn nic(self) -> Option<usize> {
        usize::try_from(self.0 & 0xffff).ok()?.checked_sub(1)
    }
}

/// No free station: the caller provides larger storage (`grow`) or refuses the NIC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

pub struct NicTable<S: Storage> {
    nics: S::Of<Nic>,
    macs: S::Of<MacSlot>,
    used: usize,
}

/// Stations that a table can have at most.
pub const STATIONS_MAX: usize = 0xfffe;

/// MAC slots for a number of stations: a power of two that is at most half full when every station has two addresses.
pub fn mac_slots(stations: usize) -> usize {
    stations.max(1).saturating_mul(4).checked_next_power_of_two().unwrap_or(0)
}

impl<S: Storage> NicTable<S> {
    /// `macs` is `mac_slots(nics.len())` long; a power of two in any case, at least twice the stations.
    pub fn new(mut nics: S::Of<Nic>, mut macs: S::Of<MacSlot>) -> Self {
        nics.fill(Nic::EMPTY);
        macs.fill(MacSlot::EMPTY);
        Self { nics, macs, used: 0 }
    }

    pub fn apply(&mut self, op: NicOp, nic: &NicParameters) -> Result<(), Full> {
        match op {
            NicOp::Create => self.create(nic),
            NicOp::Connect => self.connect(nic),
            NicOp::Update => self.update(nic),
            NicOp::Disconnect => {
                self.disconnect(nic.id);
                Ok(())
            }
            NicOp::Delete => {
                self.delete(nic.id);
                Ok(())
            }
        }
    }

    /// Known NICs are merged: enumeration and notification may both report one.
    pub fn create(&mut self, nic: &NicParameters) -> Result<(), Full> {
        self.write(nic, |state| match state {
            NicState::Free | NicState::Created => NicState::Created,
            NicState::Connected => NicState::Connected,
        })
    }

    pub fn connect(&mut self, nic: &NicParameters) -> Result<(), Full> {
        self.write(nic, |_| NicState::Connected)
    }

    /// A NIC that is not known is not made known by an update.
    pub fn update(&mut self, nic: &NicParameters) -> Result<(), Full> {
        match self.position(nic.id) {
            Some(_) => self.write(nic, |state| state),
            None => Ok(()),
        }
    }

    pub fn disconnect(&mut self, id: NicId) {
        if let Some(position) = self.position(id) {
            self.unindex(position);
            if let Some(nic) = self.nics.get_mut(position) {
                nic.state = NicState::Created;
            }
        }
    }

    pub fn delete(&mut self, id: NicId) {
        if let Some(position) = self.position(id) {
            self.unindex(position);
            if let Some(nic) = self.nics.get_mut(position) {
                *nic = Nic::EMPTY;
            }
            self.used = self.used.saturating_sub(1);
        }
    }

    /// The connected station with that address; the first one connected when several have it.
    #[inline]
    pub fn lookup(&self, mac: MacAddr) -> Option<NicId> {
        let wanted = mac.word();
        let slots: &[MacSlot] = &self.macs;
        let mask = slots.len().wrapping_sub(1);
        let mut at = spread(wanted);
        for _ in 0..slots.len() {
            let slot = *slots.get(at & mask)?;
            if slot.mac_word() == wanted {
                return self.nics.get(slot.nic()?).map(|nic| nic.id);
            }
            if slot == MacSlot::EMPTY {
                return None;
            }
            at = at.wrapping_add(1);
        }
        None
    }

    pub fn get(&self, id: NicId) -> Option<&Nic> {
        self.nics.get(self.position(id)?)
    }

    pub fn connected(&self) -> impl Iterator<Item = &Nic> {
        self.nics.iter().filter(|nic| nic.state == NicState::Connected)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Nic> {
        self.nics.iter().filter(|nic| nic.state != NicState::Free)
    }

    pub fn len(&self) -> usize {
        self.used
    }

    pub fn is_empty(&self) -> bool {
        self.used == 0
    }

    pub fn capacity(&self) -> usize {
        self.nics.len().min(STATIONS_MAX)
    }

    pub fn is_full(&self) -> bool {
        self.used >= self.capacity()
    }

    /// Moves everything into larger storage and gives the old one back, to be freed outside the lock. Storage that is
    /// not larger is given back unused.
    pub fn grow(&mut self, mut nics: S::Of<Nic>, mut macs: S::Of<MacSlot>) -> (S::Of<Nic>, S::Of<MacSlot>) {
        if nics.len() < self.nics.len() || macs.len() < self.macs.len() {
            return (nics, macs);
        }
        nics.fill(Nic::EMPTY);
        macs.fill(MacSlot::EMPTY);
        for (new, old) in nics.iter_mut().zip(self.nics.iter()) {
            *new = *old;
        }
        let old_nics = core::mem::replace(&mut self.nics, nics);
        let old_macs = core::mem::replace(&mut self.macs, macs);
        for position in 0..old_nics.len() {
            self.index(position);
        }
        (old_nics, old_macs)
    }

    fn position(&self, id: NicId) -> Option<usize> {
        self.nics.iter().position(|nic| nic.state != NicState::Free && nic.id == id)
    }

    fn write(&mut self, parameters: &NicParameters, next: impl Fn(NicState) -> NicState) -> Result<(), Full> {
        let position = match self.position(parameters.id) {
            Some(position) => {
                self.unindex(position);
                position
            }
            None => {
                let capacity = self.capacity();
                let free = self
                    .nics
                    .iter()
                    .take(capacity)
                    .position(|nic| nic.state == NicState::Free)
                    .ok_or(Full)?;
                self.used = self.used.saturating_add(1);
                free
            }
        };
        if let Some(nic) = self.nics.get_mut(position) {
            *nic = Nic {
                id: parameters.id,
                kind: parameters.kind,
                state: next(nic.state),
                current_mac: parameters.current_mac,
                permanent_mac: parameters.permanent_mac,
                vm_mac: parameters.vm_mac,
                mtu: parameters.mtu,
            };
        }
        self.index(position);
        Ok(())
    }

    fn index(&mut self, position: usize) {
        let Some(nic) = self.nics.get(position).filter(|nic| nic.state == NicState::Connected) else {
            return;
        };
        for mac in nic.addresses() {
            insert(&mut self.macs, MacSlot::new(mac, position));
        }
    }

    fn unindex(&mut self, position: usize) {
        let Some(nic) = self.nics.get(position).filter(|nic| nic.state == NicState::Connected) else {
            return;
        };
        for mac in nic.addresses() {
            remove(&mut self.macs, MacSlot::new(mac, position));
        }
    }
}

/// Where a probe starts, before masking.
#[inline]
fn spread(mac_word: u64) -> usize {
    usize::try_from(mac_word.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40).unwrap_or(0)
}

/// An index that is full keeps what it has; `mac_slots` makes that impossible.
fn insert(slots: &mut [MacSlot], new: MacSlot) {
    let mask = slots.len().wrapping_sub(1);
    let start = spread(new.mac_word());
    for step in 0..slots.len() {
        if let Some(slot) =
            slots.get_mut(start.wrapping_add(step) & mask).filter(|slot| **slot == MacSlot::EMPTY)
        {
            *slot = new;
            return;
        }
    }
}

/// Closes the hole by moving back what probed across it, so that no markers of deleted entries pile up.
fn remove(slots: &mut [MacSlot], old: MacSlot) {
    let mask = slots.len().wrapping_sub(1);
    let start = spread(old.mac_word());
    let reach = 0..slots.len();
    let Some(mut hole) = reach
        .map(|step| start.wrapping_add(step) & mask)
        .take_while(|&at| slots.get(at).is_some_and(|slot| *slot != MacSlot::EMPTY))
        .find(|&at| slots.get(at) == Some(&old))
    else {
        return;
    };
    let first = hole;
    for step in 1..slots.len() {
        let at = first.wrapping_add(step) & mask;
        let Some(&slot) = slots.get(at).filter(|slot| **slot != MacSlot::EMPTY) else { break };
        let home = spread(slot.mac_word()) & mask;
        let travelled = at.wrapping_sub(home) & mask;
        let distance = at.wrapping_sub(hole) & mask;
        if travelled >= distance {
            if let Some(target) = slots.get_mut(hole) {
                *target = slot;
            }
            hole = at;
        }
    }
    if let Some(target) = slots.get_mut(hole) {
        *target = MacSlot::EMPTY;
    }
}
