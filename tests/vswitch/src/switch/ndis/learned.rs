//! Addresses of no NIC: the ports from which they were sent (ports that may use any source address), and whether they were
//! heard in the external network since.

use crate::adapter::network::bridge::AGE;
use crate::adapter::network::wire::Wire;
use crate::machine::clock::SECOND;
use crate::switch::ports::{Mac, NicId};
use std::collections::BTreeMap;

/// An address that was sent from inside so recently is not moved by one frame for many alone: that may be a frame of this
/// host whose return was not recognised (Open vSwitch, vswitch.8, "SLB bonding": the lock on learning).
pub const LOCK: u64 = 5 * SECOND;

/// Addresses that an extension remembers at least, outside and inside.
pub const OUTSIDE_LEAST: usize = 64;

/// Where an address is, as far as an extension can know.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Whereabouts {
    /// Never heard of, or behind the ports that are listed, if those are not forgotten.
    Inside,
    /// As above, or outside.
    Either,
    External,
}

/// An address in one VLAN: VLANs are apart, here as outside.
#[derive(Default, Debug)]
struct InVlan {
    inside_at: Option<u64>,
    /// Order numbers of the newest calls in which such frames were given or passed on, from inside and from outside: what
    /// is given in one call is treated in one order and passed on in another.
    inside_order: u64,
    outside_order: u64,
    /// Order number of the call by which this was certain.
    since: u64,
    /// When it was heard outside, and whether the extension must know.
    outside: Option<(u64, bool)>,
    /// The first frame for many that was heard outside since.
    first: Option<Wire>,
    /// The last port whose frame an extension must have learned from, and those that have sent since, each with the order
    /// number of its newest call.
    behind: Vec<(NicId, u64)>,
}

#[derive(Default, Debug)]
struct Heard {
    /// Newest last. The extension may have forgotten any of them or not have learned it.
    inside: Vec<NicId>,
    vlans: BTreeMap<u16, InVlan>,
}

#[derive(Default, Debug)]
pub struct Learned {
    heard: BTreeMap<Mac, Heard>,
    outside: usize,
}

impl Learned {
    fn in_vlan(&mut self, mac: Mac, vid: u16) -> &mut InVlan {
        self.heard.entry(mac).or_default().vlans.entry(vid).or_default()
    }

    /// A port sends with this address; nobody knows yet what the extension makes of it. Of a frame of the network's own that
    /// a bridge in a VM sends on, nobody ever does.
    pub fn maybe_inside(&mut self, mac: Mac, vid: u16, at: NicId, (now, order): (u64, u64)) {
        let places = &mut self.heard.entry(mac).or_default().inside;
        places.retain(|known| *known != at);
        places.push(at);
        let heard = self.in_vlan(mac, vid);
        heard.inside_at = Some(now);
        heard.behind.retain(|(known, _)| *known != at);
        heard.behind.push((at, order));
        heard.inside_order = heard.inside_order.max(order);
        if let Some((_, certain)) = &mut heard.outside {
            *certain = false;
        }
    }

    /// The extension has passed on such a frame. `overlaps` numbers the oldest call that was running when it was given.
    /// What it was given before `order` may have been treated by what was known earlier.
    pub fn inside(&mut self, mac: Mac, vid: u16, at: NicId, (now, order, overlaps): (u64, u64, u64)) {
        self.maybe_inside(mac, vid, at, (now, order));
        let heard = self.in_vlan(mac, vid);
        if overlaps <= heard.outside_order {
            return;
        }
        heard.first = None;
        if heard.outside.take().is_some() {
            heard.since = order;
            self.outside = self.outside.saturating_sub(1);
        }
    }

    /// The extension has passed on such a frame, from which it may have learned or not: whether one for many that comes next
    /// is the second, nobody knows.
    pub fn perhaps_inside(&mut self, mac: Mac, vid: u16) {
        self.in_vlan(mac, vid).first = None;
    }

    /// A frame with this source address came from outside; nobody knows yet what the extension makes of it.
    pub fn maybe_outside(&mut self, mac: Mac, vid: u16, (now, order): (u64, u64)) {
        let heard = self.in_vlan(mac, vid);
        heard.outside_order = heard.outside_order.max(order);
        if heard.outside.is_none() {
            heard.outside = Some((now, false));
            self.outside += 1;
        }
        if self.outside > OUTSIDE_LEAST {
            let of_late = |heard: &&InVlan| heard.outside.is_some_and(|(at, _)| now < at + AGE);
            self.outside = self.heard.values().flat_map(|heard| heard.vlans.values()).filter(of_late).count();
        }
    }

    /// The extension took such a frame in; `overlaps` as for `inside`. `many` has a frame for many of a team whose members
    /// are separate ports.
    pub fn outside(
        &mut self,
        mac: Mac,
        vid: u16,
        (now, order, overlaps): (u64, u64, u64),
        many: Option<Wire>,
    ) {
        self.maybe_outside(mac, vid, (now, order));
        let heard = self.in_vlan(mac, vid);
        if overlaps <= heard.inside_order {
            return;
        }
        let locked = heard.inside_at.is_some_and(|at| now < at + LOCK);
        if let Some(frame) = many.filter(|_| locked) {
            let first = heard.first.get_or_insert_with(|| frame.clone());
            if *first == frame {
                return;
            }
        }
        // After it may have been forgotten, it is news.
        if heard.outside.is_none_or(|(at, certain)| !certain || now >= at + AGE) {
            heard.since = order;
        }
        heard.outside = Some((now, true));
    }

    /// Another module knows nothing of this.
    pub fn forget(&mut self) {
        for heard in self.heard.values_mut().flat_map(|heard| heard.vlans.values_mut()) {
            heard.outside = heard.outside.map(|(at, _)| (at, false));
        }
    }

    /// So many addresses were heard of that an extension may have forgotten any.
    pub fn is_crowded(&self) -> bool {
        self.heard.len() > OUTSIDE_LEAST
    }

    /// Ports from which it was sent, newest last.
    pub fn places(&self, mac: Mac) -> &[NicId] {
        self.heard.get(&mac).map_or(&[], |heard| &heard.inside)
    }

    /// The extension has learned from a frame of this port for sure: nobody may take the address over. `overlaps` as for
    /// `inside`.
    pub fn surely(&mut self, mac: Mac, vid: u16, at: NicId, overlaps: u64) {
        let behind = &mut self.in_vlan(mac, vid).behind;
        behind.retain(|(other, given)| *other == at || *given >= overlaps);
    }

    /// Whether an extension may know the address behind this port.
    pub fn is_maybe_behind(&self, mac: Mac, vid: u16, at: NicId) -> bool {
        let heard = self.heard.get(&mac).and_then(|heard| heard.vlans.get(&vid));
        heard.is_some_and(|heard| heard.behind.iter().any(|(known, _)| *known == at))
    }

    /// As the extension must know when it is given a packet, by the order number of the call.
    pub fn whereabouts(&self, mac: Mac, vid: u16, (now, given): (u64, u64)) -> Whereabouts {
        let heard = self.heard.get(&mac).and_then(|heard| heard.vlans.get(&vid));
        let Some(heard) = heard else { return Whereabouts::Inside };
        match heard.outside {
            _ if given <= heard.since && heard.since > 0 => Whereabouts::Either,
            None => Whereabouts::Inside,
            Some((at, true)) if now < at + AGE && self.outside <= OUTSIDE_LEAST => Whereabouts::External,
            Some(_) => Whereabouts::Either,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: Mac = [0, 0, 0x5E, 0, 1, 10];
    const AT: NicId = NicId::new(10, 0);

    fn wire(last: u8) -> Wire {
        Wire { vid: 0, bytes: vec![last; 20] }
    }

    #[test]
    fn an_address_is_behind_the_last_that_taught_it_for_sure_or_behind_who_sent_since() {
        let [first, second, third] = [10, 11, 12].map(|port| NicId::new(port, 0));
        let mut learned = Learned::default();
        let behind = |learned: &Learned| [first, second, third].map(|at| learned.is_maybe_behind(MAC, 0, at));
        assert_eq!(behind(&learned), [false; 3]);
        learned.inside(MAC, 0, first, (0, 1, 1));
        learned.surely(MAC, 0, first, 1);
        learned.maybe_inside(MAC, 0, second, (0, 2));
        assert_eq!(behind(&learned), [true, true, false]);
        learned.inside(MAC, 0, second, (0, 3, 2));
        learned.maybe_inside(MAC, 0, first, (0, 4));
        assert_eq!(behind(&learned), [true, true, false]);
        learned.inside(MAC, 0, third, (0, 6, 5));
        // The call of the first runs on, or has returned before.
        learned.surely(MAC, 0, third, 4);
        assert_eq!(behind(&learned), [true, false, true]);
        learned.surely(MAC, 0, third, 5);
        assert_eq!(behind(&learned), [false, false, true]);
    }

    #[test]
    fn an_address_that_was_just_sent_from_inside_moves_with_the_second_frame_that_differs() {
        let mut learned = Learned::default();
        learned.inside(MAC, 0, AT, (0, 1, 1));
        learned.outside(MAC, 0, (SECOND, 2, 2), Some(wire(1)));
        learned.outside(MAC, 0, (2 * SECOND, 3, 3), Some(wire(1)));
        assert_eq!(learned.whereabouts(MAC, 0, (2 * SECOND, 4)), Whereabouts::Either);
        learned.outside(MAC, 0, (3 * SECOND, 5, 5), Some(wire(2)));
        assert_eq!(learned.whereabouts(MAC, 0, (3 * SECOND, 6)), Whereabouts::External);
        learned.inside(MAC, 0, AT, (4 * SECOND, 7, 7));
        assert_eq!(learned.whereabouts(MAC, 0, (4 * SECOND, 8)), Whereabouts::Inside);
    }

    #[test]
    fn after_a_frame_from_which_nobody_need_learn_it_takes_two_more() {
        let mut learned = Learned::default();
        learned.outside(MAC, 0, (0, 1, 1), Some(wire(1)));
        learned.maybe_inside(MAC, 0, AT, (SECOND, 2));
        learned.outside(MAC, 0, (SECOND, 3, 3), Some(wire(2)));
        learned.maybe_inside(MAC, 0, AT, (SECOND, 4));
        learned.perhaps_inside(MAC, 0);
        for (id, then) in [(3, Whereabouts::Either), (3, Whereabouts::Either), (4, Whereabouts::External)] {
            let order = 5 + u64::from(id);
            learned.outside(MAC, 0, (SECOND, order, order), Some(wire(id)));
            assert_eq!(learned.whereabouts(MAC, 0, (SECOND, order + 1)), then);
        }
    }

    #[test]
    fn without_a_team_or_after_the_lock_one_frame_moves_it() {
        for (many, at) in [(None, SECOND), (Some(wire(1)), LOCK)] {
            let mut learned = Learned::default();
            learned.inside(MAC, 0, AT, (0, 1, 1));
            learned.outside(MAC, 0, (at, 2, 2), many);
            assert_eq!(learned.whereabouts(MAC, 0, (at, 3)), Whereabouts::External);
            assert_eq!(learned.whereabouts(MAC, 0, (at + AGE, 3)), Whereabouts::Either);
        }
    }

    #[test]
    fn frames_of_one_call_are_treated_in_one_order_and_passed_on_in_another() {
        let mut learned = Learned::default();
        learned.maybe_outside(MAC, 0, (0, 1));
        learned.maybe_inside(MAC, 0, AT, (0, 1));
        learned.inside(MAC, 0, AT, (0, 2, 1));
        assert_eq!(learned.whereabouts(MAC, 0, (0, 3)), Whereabouts::Either);
        learned.outside(MAC, 0, (0, 2, 1), None);
        assert_eq!(learned.whereabouts(MAC, 0, (0, 3)), Whereabouts::Either);
        learned.outside(MAC, 0, (SECOND, 4, 3), None);
        assert_eq!(learned.whereabouts(MAC, 0, (SECOND, 5)), Whereabouts::External);
    }

    #[test]
    fn of_calls_at_the_same_time_nobody_knows_which_was_treated_last() {
        let mut learned = Learned::default();
        learned.maybe_outside(MAC, 0, (0, 1));
        learned.maybe_inside(MAC, 0, AT, (0, 2));
        learned.inside(MAC, 0, AT, (0, 3, 1));
        assert_eq!(learned.whereabouts(MAC, 0, (0, 4)), Whereabouts::Either);
        learned.inside(MAC, 0, AT, (0, 6, 5));
        assert_eq!(learned.whereabouts(MAC, 0, (0, 7)), Whereabouts::Inside);
        learned.maybe_inside(MAC, 0, AT, (0, 8));
        learned.outside(MAC, 0, (0, 10, 8), None);
        assert_eq!(learned.whereabouts(MAC, 0, (0, 11)), Whereabouts::Either);
        learned.outside(MAC, 0, (0, 13, 12), None);
        assert_eq!(learned.whereabouts(MAC, 0, (0, 14)), Whereabouts::External);
    }

    #[test]
    fn what_a_bridge_in_a_vm_sends_on_leaves_it_open_until_it_is_heard_outside_again() {
        let mut learned = Learned::default();
        learned.outside(MAC, 0, (0, 1, 1), None);
        learned.maybe_inside(MAC, 0, AT, (SECOND, 2));
        assert_eq!(learned.whereabouts(MAC, 0, (SECOND, 2)), Whereabouts::Either);
        learned.outside(MAC, 0, (6 * SECOND, 3, 3), Some(wire(1)));
        assert_eq!(learned.whereabouts(MAC, 0, (6 * SECOND, 4)), Whereabouts::External);
    }

    #[test]
    fn an_address_is_in_one_vlan_where_it_was_heard_and_in_another_where_it_was_sent() {
        let mut learned = Learned::default();
        learned.outside(MAC, 0, (0, 1, 1), None);
        learned.inside(MAC, 10, AT, (SECOND, 2, 2));
        learned.outside(MAC, 7, (SECOND, 5, 5), None);
        for (vid, given, at) in [(0, 3, Whereabouts::External), (10, 3, Whereabouts::Inside)] {
            assert_eq!(learned.whereabouts(MAC, vid, (SECOND, given)), at);
        }
        // What was given in the call by which it became known may have been treated before.
        assert_eq!(learned.whereabouts(MAC, 7, (SECOND, 5)), Whereabouts::Either);
        assert_eq!(learned.whereabouts(MAC, 7, (SECOND, 6)), Whereabouts::External);
    }
}
