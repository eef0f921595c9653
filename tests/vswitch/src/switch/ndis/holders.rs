//! Addresses that adapters of one VM may take over from each other (AllowTeaming): which of them sent last from each, in
//! each VLAN.

use crate::switch::ports::{Mac, NicId};
use std::collections::BTreeMap;

/// Who sent last from an address.
#[derive(Clone, Default, Debug)]
pub struct Holder {
    /// Those that may be it, newest last: one, if that is certain.
    pub seen: Vec<NicId>,
    /// The extension has passed on the last frame.
    pub certain: bool,
    /// Order number of the call by which this was certain.
    pub since: u64,
    /// Order number of the last call in which such a frame was passed on.
    last: u64,
    /// Changes of the policies of its port until then.
    pub policies: u64,
    /// Order number of the newest call in which each was given such a frame.
    given: BTreeMap<NicId, u64>,
}

impl Holder {
    /// Those that may have been it when a frame was treated that was given in the call `given`.
    pub fn candidates(&self, given: u64) -> impl Iterator<Item = NicId> + '_ {
        let early = given <= self.since || !self.certain;
        let earlier = self.given.keys().filter(move |at| early && !self.seen.contains(at));
        self.seen.iter().chain(earlier).copied()
    }

    /// Order number of the last call in which this one gave such a frame, or in which one was passed on.
    pub fn spoke(&self, at: NicId) -> u64 {
        self.given.get(&at).copied().unwrap_or_default().max(self.last)
    }
}

#[derive(Default, Debug)]
pub struct Holders {
    all: BTreeMap<(Mac, u16), Holder>,
}

impl Holders {
    /// An adapter sends from an address that is its own or another's of its VM; nobody knows yet what the extension makes of
    /// it.
    pub fn maybe(&mut self, mac: Mac, vid: u16, at: NicId, given: u64) {
        let holder = self.all.entry((mac, vid)).or_default();
        holder.given.insert(at, given);
        if holder.seen.last() == Some(&at) {
            return;
        }
        holder.seen.retain(|known| *known != at);
        holder.seen.push(at);
        holder.certain = false;
    }

    /// The extension has passed on such a frame; what it was given before `order` may have been treated by what was known
    /// earlier. `policies` counts the changes of the port's policies, `overlaps` numbers the oldest call that was running
    /// when it was given. Frames of one call, or of calls at the same time, are treated in one order and passed on in
    /// another: then it stays open who was the last.
    pub fn sent(&mut self, mac: Mac, vid: u16, at: NicId, (order, policies, overlaps): (u64, u64, u64)) {
        let holder = self.all.entry((mac, vid)).or_default();
        if holder.given.iter().any(|(other, theirs)| *other != at && *theirs >= overlaps) {
            holder.seen.retain(|known| *known != at);
            holder.seen.push(at);
            (holder.certain, holder.last) = (false, order);
            return;
        }
        let known = holder.certain && holder.seen == [at] && holder.policies == policies;
        let since = if known { holder.since } else { order };
        let given = std::mem::take(&mut holder.given);
        *holder = Holder { seen: vec![at], certain: true, since, last: order, policies, given };
    }

    /// A port that may use any address sends from it, while it may be nobody's to take over; nobody knows yet what the
    /// extension makes of it.
    pub fn doubt(&mut self, mac: Mac, vid: u16) {
        if let Some(holder) = self.all.get_mut(&(mac, vid)) {
            holder.certain = false;
        }
    }

    /// A port that may use any address has sent from it, while it was nobody's to take over; `overlaps` as for `sent`.
    pub fn leave(&mut self, mac: Mac, vid: u16, overlaps: u64) {
        match self.all.get_mut(&(mac, vid)) {
            Some(holder) if holder.given.values().any(|given| *given >= overlaps) => holder.certain = false,
            _ => drop(self.all.remove(&(mac, vid))),
        }
    }

    pub fn of(&self, mac: Mac, vid: u16) -> Option<&Holder> {
        self.all.get(&(mac, vid))
    }

    /// Another module knows nothing of this.
    pub fn forget(&mut self) {
        self.all.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_at_whoever_sent_last_as_soon_as_that_is_passed_on() {
        let (mac, [a, b]) = ([2, 0, 0, 0, 0, 1], [10, 11].map(|port| NicId::new(port, 0)));
        let mut holders = Holders::default();
        holders.sent(mac, 0, a, (5, 0, 4));
        holders.maybe(mac, 0, b, 6);
        let open = holders.of(mac, 0).unwrap();
        assert_eq!((&open.seen[..], open.certain), (&[a, b][..], false));
        holders.sent(mac, 0, b, (7, 0, 6));
        holders.sent(mac, 0, b, (9, 0, 8));
        let known = holders.of(mac, 0).unwrap();
        assert_eq!((&known.seen[..], known.since, known.last), (&[b][..], 7, 9));
        // Its policies have changed: an extension may have begun anew.
        holders.sent(mac, 0, b, (11, 1, 10));
        assert_eq!(holders.of(mac, 0).unwrap().since, 11);
        assert!(holders.of(mac, 7).is_none());
    }

    #[test]
    fn whoever_sends_after_it_was_disconnected_has_the_address_though_nothing_of_it_could_be_judged() {
        let (mac, [a, b]) = ([2, 0, 0, 0, 0, 1], [10, 11].map(|port| NicId::new(port, 0)));
        let mut holders = Holders::default();
        holders.maybe(mac, 0, b, 4);
        holders.sent(mac, 0, b, (5, 0, 4));
        // It is disconnected in call 6, and connected.
        holders.maybe(mac, 0, a, 7);
        let open = holders.of(mac, 0).unwrap();
        assert_eq!((open.certain, open.spoke(a), open.spoke(b)), (false, 7, 5));
    }

    #[test]
    fn of_two_that_send_at_the_same_time_either_may_be_the_last() {
        let (mac, [a, b]) = ([2, 0, 0, 0, 0, 1], [10, 11].map(|port| NicId::new(port, 0)));
        let mut holders = Holders::default();
        holders.maybe(mac, 0, a, 4);
        holders.maybe(mac, 0, b, 5);
        holders.sent(mac, 0, b, (6, 0, 4));
        assert!(!holders.of(mac, 0).unwrap().certain);
        // Who may use any address takes it away, before or after.
        holders.leave(mac, 0, 4);
        assert!(holders.of(mac, 0).is_some_and(|holder| !holder.certain));
        holders.leave(mac, 0, 7);
        assert!(holders.of(mac, 0).is_none());
    }

    #[test]
    fn of_two_that_send_in_one_call_either_may_be_the_last() {
        let (mac, [a, b]) = ([2, 0, 0, 0, 0, 1], [10, 11].map(|port| NicId::new(port, 0)));
        let mut holders = Holders::default();
        [a, b].into_iter().for_each(|at| holders.maybe(mac, 0, at, 4));
        holders.sent(mac, 0, b, (5, 0, 4));
        holders.sent(mac, 0, a, (6, 0, 4));
        let open = holders.of(mac, 0).unwrap();
        assert_eq!((&open.seen[..], open.certain), (&[b, a][..], false));
        holders.maybe(mac, 0, b, 7);
        holders.sent(mac, 0, b, (8, 0, 7));
        let known = holders.of(mac, 0).unwrap();
        assert_eq!((&known.seen[..], known.certain), (&[b][..], true));
    }
}
