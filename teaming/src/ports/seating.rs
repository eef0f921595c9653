//! The seats of the vNICs (`seats`): what each is hashed as, and how many sit at each member.

use crate::Storage;
use crate::ids::{HashId, NicId, PortId};
use crate::ports::PortTable;
use crate::ports::port::Port;
use crate::seats::{Occupancy, Place, Seated};

impl<S: Storage> PortTable<S> {
    pub const fn occupancy(&self) -> &Occupancy {
        &self.occupancy
    }

    fn station(&mut self, nic: NicId) -> Option<usize> {
        self.position(nic.port).filter(|&at| self.room.ports.get(at).is_some_and(|port| port.is_station(nic)))
    }

    /// A known vNIC takes a seat.
    pub(crate) fn sit(&mut self, nic: NicId, place: Place) {
        let Some(at) = self.station(nic) else { return };
        self.leave_seat(at);
        if let Some(port) = self.room.ports.get_mut(at) {
            port.hashed_as = port.hashed_as.with_seat(place.seat);
            port.seated = Seated::At(place.member);
            self.occupancy.sit(place.member);
        }
    }

    /// The one at a position has not chosen any more; what it is hashed as remains.
    pub(super) fn leave_seat(&mut self, at: usize) {
        let Some(port) = self.room.ports.get_mut(at) else { return };
        if let Seated::At(member) = core::mem::replace(&mut port.seated, Seated::Open) {
            self.occupancy.leave(member);
        }
    }

    /// Hashes a known vNIC as another NIC from now on.
    pub fn hash_as(&mut self, nic: NicId, other: impl Into<HashId>) {
        let Some(at) = self.station(nic) else { return };
        self.leave_seat(at);
        if let Some(port) = self.room.ports.get_mut(at) {
            port.hashed_as = other.into();
        }
    }

    /// The record of a vNIC says what it is hashed as; the first one counts. `is_equal`: its seat too. Whether it is news.
    pub(crate) fn bring(&mut self, nic: NicId, id: HashId, is_equal: bool) -> bool {
        let Some(at) = self.station(nic) else { return false };
        if self.room.ports.get(at).is_none_or(|port| port.restored) {
            return false;
        }
        self.leave_seat(at);
        let Some(port) = self.room.ports.get_mut(at) else { return false };
        port.restored = true;
        port.hashed_as = if is_equal { id } else { id.with_seat(0) };
        port.seated = if is_equal { Seated::Brought } else { Seated::Open };
        true
    }

    /// Nobody from this position on has chosen any more, for so many positions; `plain`: nobody has a seat. The position
    /// after them, or `None` at the end.
    pub(crate) fn open_seats(&mut self, from: usize, count: usize, plain: bool) -> Option<usize> {
        let next = from.saturating_add(count);
        for at in from..next.min(self.end) {
            self.leave_seat(at);
            if let Some(port) = self.room.ports.get_mut(at).filter(|_| plain) {
                port.hashed_as = port.hashed_as.with_seat(0);
            }
        }
        (next < self.end).then_some(next)
    }

    /// The vNIC of the lowest port number after `after` that `wants` to choose.
    pub(crate) fn first_unseated(
        &self,
        after: Option<PortId>,
        wants: impl Fn(&Port) -> bool,
    ) -> Option<NicId> {
        let later = self.iter().filter(|port| after.is_none_or(|after| port.id.port > after));
        later.filter(|port| port.has_nic() && wants(port)).map(|port| port.id).min()
    }
}
