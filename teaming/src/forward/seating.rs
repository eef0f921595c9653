//! Who sits where (`seats`), chosen by the control side. A machine chooses when it is connected, anew only when its bucket
//! has another home because the members or their weights have changed, or when all do (`open_seats`): another policy or
//! seed. Nobody chooses because another came or went.

use crate::Storage;
use crate::flow::HashPolicy;
use crate::forward::Forwarding;
use crate::ids::{Bucket, HashId, NicId, PortId};
use crate::ports::Port;
use crate::seats::{self, Homes, Occupancy, Place, Seated};

/// Positions of which `open_seats` opens the seats at once.
const PART: usize = 256;

impl<S: Storage> Forwarding<S> {
    /// Whether machines have seats: a policy that goes by something else leaves all of them at seat 0.
    pub fn has_seats(&self) -> bool {
        self.keying.policy == HashPolicy::HyperVPort
    }

    fn bucket_of(&self, port: &Port) -> Bucket {
        seats::bucket(port.hashed_as, self.seed)
    }

    fn is_to_choose(&self, homes: &Homes<'_>, port: &Port) -> bool {
        match port.seated {
            Seated::Open => port.is_connected(),
            Seated::Brought => true,
            Seated::At(member) => homes.of(self.bucket_of(port)).is_some_and(|home| home != member),
        }
    }

    /// The seat that a machine should take now; `None` if it sits, or has nowhere to sit. Its own seat, where it would not
    /// make the members less level; otherwise one at the least occupied. Some 5 us at most.
    pub fn place_for(&self, homes: &Homes<'_>, nic: NicId) -> Option<Place> {
        let port = self.ports.get(nic.port).filter(|port| port.is_station(nic))?;
        if !self.has_seats() || !self.is_to_choose(homes, port) {
            return None;
        }
        let others = self.ports.occupancy().without(port.seated.member());
        match port.seated {
            Seated::Open => seats::choose(port.hashed_as, self.seed, homes, &others),
            Seated::Brought | Seated::At(_) => self.keep_or_choose(homes, port.hashed_as, &others),
        }
    }

    fn keep_or_choose(&self, homes: &Homes<'_>, id: HashId, others: &Occupancy) -> Option<Place> {
        let own = homes.of(seats::bucket(id, self.seed));
        match own.filter(|member| others.allows(&homes.weights, *member)) {
            Some(member) => Some(Place { seat: id.seat(), member }),
            None => seats::choose(id, self.seed, homes, others),
        }
    }

    /// What a machine will be hashed as that is not here yet, but its record from an equal host, if nobody comes before it.
    pub fn foresee(&self, homes: &Homes<'_>, id: HashId) -> HashId {
        let place =
            if self.has_seats() { self.keep_or_choose(homes, id, self.ports.occupancy()) } else { None };
        place.map_or(id, |place| id.with_seat(place.seat))
    }

    /// A machine takes a seat. Its bucket, if it has sent and its frames take another member from now on.
    pub fn sit(&mut self, nic: NicId, place: Place) -> Option<Bucket> {
        let bucket = |of: &Self| seats::bucket(of.hashed_as(nic), of.seed);
        let before = bucket(self);
        self.ports.sit(nic, place);
        let now = bucket(self);
        let has_moved = self.table.lookup(before) != self.table.lookup(now);
        (has_moved && self.ports.traffic(nic.port).frames != 0).then_some(now)
    }

    /// `place_for` and `sit`.
    pub fn seat(&mut self, homes: &Homes<'_>, nic: NicId) -> Option<Bucket> {
        let place = self.place_for(homes, nic)?;
        self.sit(nic, place)
    }

    /// The next machine after a port, by number, that has to choose. Looks at all ports.
    pub fn next_to_seat(&self, homes: &Homes<'_>, after: Option<PortId>) -> Option<NicId> {
        if !self.has_seats() {
            return None;
        }
        self.ports.first_unseated(after, |port| self.is_to_choose(homes, port))
    }

    /// All machines are to choose anew: a part of them from a position on. The position to go on at.
    pub fn open_seats(&mut self, from: usize) -> Option<usize> {
        let plain = !self.has_seats();
        self.ports.open_seats(from, PART, plain)
    }

    /// The record of a machine is here: see `PortTable::bring`.
    pub fn bring(&mut self, nic: NicId, id: HashId, is_equal: bool) -> bool {
        self.ports.bring(nic, id, is_equal)
    }

    /// All that have to choose do, in the order of their port numbers, after all others have left their seats if `anew`.
    pub fn seat_all(&mut self, homes: &Homes<'_>, anew: bool) {
        let mut from = anew.then_some(0);
        while let Some(position) = from {
            from = self.open_seats(position);
        }
        let mut after = None;
        while let Some(nic) = self.next_to_seat(homes, after) {
            self.seat(homes, nic);
            after = Some(nic.port);
        }
    }
}
