//! The ports of the switch with their policies, and the vNICs on them (every NIC but the external ones) with their MAC
//! addresses and multicast groups.
//!
//! Owned by `forward`; changed under the write lock, read under the read lock. Ports, addresses and groups are looked
//! up in hash tables; only connected vNICs have addresses. Storage is the caller's and can be exchanged for larger.

pub mod growth;
pub mod host;
pub mod index;
pub mod lending;
pub mod mac_learning;
pub mod mates;
pub mod multicast;
pub mod policy;
pub mod port;
pub mod property;
mod seating;
pub mod storage;
pub mod traffic;
pub mod vlan;

use crate::Storage;
use crate::ids::{MacAddr, NicId, NicIndex, PortId};
use crate::oid::nic::{NicOp, NicParameters};
use crate::ports::index::{By, IndexSlot};
use crate::ports::policy::{PortPolicy, Security};
pub use crate::ports::port::{Groups, NicState, Port};
use crate::ports::storage::PortTableStorage;
use crate::ports::traffic::{SentBy, Traffic};
use crate::ports::vlan::{RequestedVlans, VlanSet};
use crate::seats::Occupancy;
use core::sync::atomic::AtomicUsize;

/// No free port: the caller provides larger storage (`grow`) or refuses what needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

/// Ports that a table can have at most.
pub const PORTS_MAX: usize = 0xfffe;

pub struct PortTable<S: Storage> {
    pub(crate) room: PortTableStorage<S>,
    sets: S::Of<VlanSet>,
    used: usize,
    /// One more than the highest position in use.
    end: usize,
    learning: usize,
    pub(crate) grouped: usize,
    /// Ports in `room.mates`.
    lent: usize,
    /// See `searches`: twice `learning`, and one more once an adapter has taken over an address.
    searching: AtomicUsize,
    host: S::Host,
    /// Ports in `room.mates` for which the host's table had no room.
    unshared: usize,
    /// By the last bits of a port's number, where such a port may be found; the others are searched for.
    near: [u16; NEAR],
    occupancy: Occupancy,
}

const NEAR: usize = 256;

impl<S: Storage> PortTable<S> {
    /// `room` has the `PortTableSizes` of a number of ports; `sets` holds the trunks that differ; `host` is shared by the
    /// switches of the host.
    pub fn new(mut room: PortTableStorage<S>, mut sets: S::Of<VlanSet>, host: S::Host) -> Self {
        room.clear();
        sets.fill(VlanSet::EMPTY);
        let searching = AtomicUsize::new(0);
        let near = [0; NEAR];
        Self {
            room,
            sets,
            used: 0,
            end: 0,
            learning: 0,
            grouped: 0,
            lent: 0,
            searching,
            host,
            unshared: 0,
            near,
            occupancy: Occupancy::EMPTY,
        }
    }

    // Ports.

    /// Adds a port that was created or enumerated; `closed` until its properties have been read.
    pub fn create_port(&mut self, id: PortId, closed: bool) -> Result<(), Full> {
        let known = self.position(id).is_some();
        let at = self.make(id)?;
        if let Some(port) = self.room.ports.get_mut(at) {
            port.announced = true;
            port.policy.closed |= closed && !known;
            port.leaving = false;
            port.refresh();
        }
        Ok(())
    }

    /// A port is being torn down: drops all its traffic.
    pub fn tear_down(&mut self, id: PortId) {
        self.close(id);
        if let Some(port) = self.position(id).and_then(|at| self.room.ports.get_mut(at)) {
            port.leaving = true;
        }
    }

    /// The first port from a position on whose properties are to be read, and the position after it.
    pub fn unread(&self, from: usize) -> Option<(PortId, usize)> {
        let mut left = self.room.ports.iter().enumerate().skip(from);
        let (at, port) = left.find(|(_, port)| port.used && port.policy.closed && !port.leaving)?;
        Some((port.id.port, at.saturating_add(1)))
    }

    /// Deletes a port with its policies, address and groups.
    pub fn delete_port(&mut self, id: PortId) {
        self.disconnect(id);
        self.forget_groups(id);
        if let Some(at) = self.position(id) {
            self.set_policy(at, PortPolicy::NONE);
            self.free(at);
        }
    }

    /// The revision of a port, for `open`.
    pub fn revision(&self, id: PortId) -> Option<u32> {
        self.get(id).map(|port| port.revision)
    }

    /// Replaces all policies of a port, if none of them changed since `revision`. `Ok(false)` when one did.
    pub fn replace(
        &mut self,
        id: PortId,
        revision: u32,
        vlans: Option<&RequestedVlans<'_>>,
        security: Option<Security>,
        closed: bool,
    ) -> Result<bool, Full> {
        let Some(at) = self.position(id) else { return Ok(true) };
        if self.room.ports.get(at).is_none_or(|port| port.revision != revision) {
            return Ok(false);
        }
        let vlans = self.keep(vlans)?;
        self.set_policy(at, PortPolicy { vlans, security, closed });
        Ok(true)
    }

    /// Sets or takes back the VLAN property of a port; `Full` when there is no room for its set. A port that is not
    /// known, which is how a validation port looks, is not made known.
    pub fn set_vlans(&mut self, id: PortId, wanted: Option<&RequestedVlans<'_>>) -> Result<(), Full> {
        let Some(at) = self.position(id) else { return Ok(()) };
        let vlans = self.keep(wanted)?;
        let old = self.policy(at);
        self.set_policy(at, PortPolicy { vlans, ..old });
        Ok(())
    }

    /// Sets or takes back the security property of a port.
    pub fn set_security(&mut self, id: PortId, security: Option<Security>) {
        if let Some(at) = self.position(id) {
            let old = self.policy(at);
            self.put_policy(at, PortPolicy { security, ..old });
        }
    }

    /// Closes a port: all its traffic is dropped.
    pub fn close(&mut self, id: PortId) {
        if let Some(at) = self.position(id) {
            let old = self.policy(at);
            self.put_policy(at, PortPolicy { closed: true, ..old });
        }
    }

    /// Another set of VLANs can be kept.
    pub fn has_room_for_set(&self) -> bool {
        vlan::has_room(&self.sets)
    }

    /// What a VLAN property leaves with a port: nothing if it says nothing, so that the outside stays a trunk.
    fn keep(&mut self, wanted: Option<&RequestedVlans<'_>>) -> Result<Option<vlan::Vlans>, Full> {
        let said = wanted.filter(|wanted| !wanted.is_unsaid());
        said.map(|wanted| wanted.keep(&mut self.sets)).transpose().map_err(|_| Full)
    }

    fn policy(&self, at: usize) -> PortPolicy {
        self.room.ports.get(at).map_or(PortPolicy::NONE, |port| port.policy)
    }

    /// Puts a policy in place of another, whose set of VLANs is given back.
    fn set_policy(&mut self, at: usize, new: PortPolicy) {
        if let Some(set) = self.policy(at).vlans.and_then(vlan::Vlans::set) {
            vlan::release(&mut self.sets, set);
        }
        self.put_policy(at, new);
    }

    /// The same for a policy that keeps the set of VLANs of the one before.
    fn put_policy(&mut self, at: usize, new: PortPolicy) {
        self.withdraw(at);
        let Some(port) = self.room.ports.get_mut(at) else { return };
        let learned = port.may_learn();
        port.policy = new;
        port.refresh();
        let learns = port.may_learn();
        self.learning = self.learning.wrapping_add(usize::from(learns)).wrapping_sub(usize::from(learned));
        self.contribute(at);
    }

    // NICs.

    pub fn apply(&mut self, op: NicOp, nic: &NicParameters) -> Result<(), Full> {
        match op {
            NicOp::Create => self.create(nic),
            NicOp::Connect => self.connect(nic),
            NicOp::Update => self.update(nic),
            NicOp::Disconnect => {
                self.disconnect(nic.id.port);
                Ok(())
            }
            NicOp::Delete => {
                self.delete(nic.id.port);
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
        match self.get(nic.id.port) {
            Some(port) if port.nic != NicState::Free => self.write(nic, |state| state),
            _ => Ok(()),
        }
    }

    pub fn disconnect(&mut self, id: PortId) {
        if let Some(at) = self.position(id) {
            self.unindex(at);
            if let Some(port) = self.room.ports.get_mut(at).filter(|port| port.is_connected()) {
                port.nic = NicState::Created;
            }
        }
    }

    pub fn delete(&mut self, id: PortId) {
        self.disconnect(id);
        self.forget_groups(id);
        let Some(at) = self.position(id) else { return };
        self.leave_seat(at);
        let Some(port) = self.room.ports.get(at) else { return };
        let (announced, policy, revision) = (port.announced, port.policy, port.revision);
        if announced {
            self.withdraw(at);
            let Some(port) = self.room.ports.get_mut(at) else { return };
            let leaving = port.leaving;
            let mut kept =
                Port { id: port.id, policy, revision, announced, leaving, used: true, ..Port::EMPTY };
            kept.refresh();
            *port = kept;
            self.refresh_searching();
        } else {
            self.set_policy(at, PortPolicy::NONE);
            self.free(at);
        }
    }

    /// The connected vNIC with that address; the one connected first if several have it.
    #[inline]
    pub fn lookup(&self, mac: MacAddr) -> Option<&Port> {
        self.lookup_word(mac.word())
    }

    /// The same for an address as a word.
    #[inline]
    pub(crate) fn lookup_word(&self, mac: u64) -> Option<&Port> {
        self.room.ports.get(index::find(&self.room.macs, mac)?)
    }

    #[inline]
    pub fn get(&self, id: PortId) -> Option<&Port> {
        self.room.ports.get(self.position(id)?)
    }

    /// A port and its position in the table.
    #[inline]
    pub fn find(&self, id: PortId) -> Option<(usize, &Port)> {
        let at = self.position(id)?;
        Some((at, self.room.ports.get(at)?))
    }

    /// A place at which `find` often finds that port; what is there may be another one.
    #[inline(always)]
    pub(crate) fn near(&self, id: PortId) -> Option<(usize, &Port)> {
        let at = usize::from(*self.near.get(id.get() as usize % NEAR)?);
        Some((at, self.room.ports.get(at)?))
    }

    /// The port with that number in the table, if it has a connected vNIC.
    pub fn at(&self, position: usize) -> Option<&Port> {
        self.room.ports.get(position).filter(|port| port.is_connected())
    }

    #[inline]
    pub fn position(&self, id: PortId) -> Option<usize> {
        index::find(&self.room.index, u64::from(id.get()))
    }

    /// One more than the highest position in use.
    pub const fn end(&self) -> usize {
        self.end
    }

    pub fn connected(&self) -> impl Iterator<Item = &Port> {
        self.places().iter().filter(|port| port.is_connected())
    }

    pub fn iter(&self) -> impl Iterator<Item = &Port> {
        self.places().iter().filter(|port| port.used)
    }

    pub fn sets(&self) -> &[VlanSet] {
        &self.sets
    }

    /// Some port may send from addresses that the switch does not know (MAC spoofing allowed).
    pub const fn learns(&self) -> bool {
        self.learning != 0
    }

    pub fn len(&self) -> usize {
        self.used
    }

    pub fn is_empty(&self) -> bool {
        self.used == 0
    }

    /// Ports that there is room for, with their counters.
    pub fn capacity(&self) -> usize {
        self.room.capacity().min(PORTS_MAX)
    }

    /// The places for ports by position, used or not, up to the last that is used.
    pub(crate) fn places(&self) -> &[Port] {
        self.room.ports.get(..self.end).unwrap_or(&self.room.ports)
    }

    pub fn is_full(&self) -> bool {
        self.used >= self.capacity()
    }

    /// Counts frames that this processor forwarded from the vNIC at a position; at DISPATCH_LEVEL on that processor.
    /// Not counted for a processor that was added after the start.
    #[inline]
    pub fn count(&self, processor: usize, position: usize, more: Traffic) {
        if let Some(cell) = self.sent_by(processor).cell(position) {
            cell.add(more);
        }
    }

    /// Where a processor counts.
    #[inline(always)]
    pub(crate) fn sent_by(&self, processor: usize) -> SentBy<'_, S> {
        SentBy::new(&self.room.traffic, processor)
    }

    /// What a vNIC has sent since it was created.
    pub fn traffic(&self, id: PortId) -> Traffic {
        self.position(id).map_or(Traffic::NONE, |at| self.traffic_at(at))
    }

    /// The same of the one at a position.
    pub fn traffic_at(&self, position: usize) -> Traffic {
        traffic::sum(&self.room.traffic, position)
    }

    /// Exchanges the sets of VLANs for more and gives the old ones back, to be freed outside the lock.
    pub fn grow_sets(&mut self, mut sets: S::Of<VlanSet>) -> S::Of<VlanSet> {
        if sets.len() < self.sets.len() {
            return sets;
        }
        sets.fill(VlanSet::EMPTY);
        for (new, old) in sets.iter_mut().zip(self.sets.iter()) {
            *new = *old;
        }
        core::mem::replace(&mut self.sets, sets)
    }

    // Records.

    fn write(&mut self, nic: &NicParameters, next: impl Fn(NicState) -> NicState) -> Result<(), Full> {
        let at = self.make(nic.id.port)?;
        self.unindex(at);
        self.withdraw(at);
        if let Some(port) = self.room.ports.get_mut(at) {
            if port.nic == NicState::Free {
                port.groups = if nic.initializing { Groups::Fresh } else { Groups::Unknown };
                port.hashed_as = nic.id.into();
                traffic::clear(&self.room.traffic, at);
            }
            port.id = nic.id;
            port.kind = nic.kind;
            port.nic = next(port.nic);
            port.current_mac = nic.current_mac;
            port.permanent_mac = nic.permanent_mac;
            port.vm_mac = nic.vm_mac;
            port.mtu = nic.mtu;
            port.vm = nic.vm;
            port.vf_assigned = nic.vf_assigned;
            port.refresh_express();
        }
        self.index(at);
        self.contribute(at);
        Ok(())
    }

    /// The record of a port, made if there is none.
    fn make(&mut self, id: PortId) -> Result<usize, Full> {
        if let Some(at) = self.position(id) {
            return Ok(at);
        }
        let capacity = self.capacity();
        let at = self.room.ports.iter().take(capacity).position(|port| !port.used).ok_or(Full)?;
        let slot = IndexSlot::new(u64::from(id.get()), at);
        if !index::insert(&mut self.room.index, slot, By::Key) {
            return Err(Full);
        }
        if let Some(port) = self.room.ports.get_mut(at) {
            *port = Port { id: NicId::new(id, NicIndex::DEFAULT), used: true, ..Port::EMPTY };
            port.refresh();
        }
        if let (Some(near), Ok(at)) = (self.near.get_mut(id.get() as usize % NEAR), u16::try_from(at)) {
            *near = at;
        }
        self.used = self.used.saturating_add(1);
        self.end = self.end.max(at.saturating_add(1));
        Ok(at)
    }

    fn free(&mut self, at: usize) {
        self.leave_seat(at);
        let Some(port) = self.room.ports.get_mut(at) else { return };
        let slot = IndexSlot::new(u64::from(port.id.port.get()), at);
        *port = Port::EMPTY;
        index::remove(&mut self.room.index, slot, By::Key);
        self.used = self.used.saturating_sub(1);
        let last = self.places().iter().rposition(|port| port.used);
        self.end = last.map_or(0, |last| last.saturating_add(1));
    }

    fn index(&mut self, at: usize) {
        let Some(port) = self.room.ports.get(at).filter(|port| port.is_connected()) else { return };
        for mac in port.addresses() {
            index::insert(&mut self.room.macs, IndexSlot::new(index::key_of(mac), at), By::Key);
        }
    }

    fn unindex(&mut self, at: usize) {
        let Some(port) = self.room.ports.get(at).filter(|port| port.is_connected()) else { return };
        for mac in port.addresses() {
            index::remove(&mut self.room.macs, IndexSlot::new(index::key_of(mac), at), By::Key);
        }
    }
}
