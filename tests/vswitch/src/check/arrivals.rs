//! What a team of separate ports takes in: EGR-6 (news is never dropped), EGR-8 (nothing of this host's own comes back) and
//! EGR-9 (what was sent once arrives once).
//!
//! Each arrival has an origin. Nobody can tell two frames apart that say the same, though: who sends the same bytes twice,
//! as in a burst of gratuitous ARPs, means two. So arrivals are counted by what they say (`Wire::content`): an extension
//! takes in as many as were sent outside, whichever of their copies it takes.
//!
//! What it may have wrong is counted under a name (`Residues`): what says the same, within the time in which copies are
//! waited for, may take the place of what was lost on another way.

use crate::adapter::network::seen::Seen;
use crate::adapter::network::wire::Wire;
use crate::machine::clock::SECOND;
use crate::switch::frames::FrameId;
use crate::switch::ports::Mac;
use std::collections::{BTreeMap, HashMap, VecDeque};

/// For so long a copy of a frame is waited for (own guarantee).
pub const CREDIT: u64 = SECOND / 4;
/// So many frames in both directions within that time are known again if they return (own guarantee).
const KNOWN_AGAIN: usize = 1_000;
/// To so much more an extension may measure that time.
const ROUNDED: u64 = SECOND / 250;
/// For so long a receiver counts as one that gets unicast on several members (own guarantee).
const FLAGGED: u64 = 60 * SECOND;
/// The counts of what was said are kept for so long after its last frame.
const KEPT: u64 = SECOND;
/// Frames between two looks for counts that are over.
const SWEEP: usize = 2_048;

/// Named exceptions, counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Residues {
    /// Frames that were dropped for copies of another that says the same: its stream changed members meanwhile.
    pub lost: u64,
    /// Copies of unicast for a receiver that did not count as one of several members.
    pub known: u64,
    /// Copies that a full table could not tell.
    pub repeated: u64,
    /// Copies across a change of the team.
    pub changed: u64,
    /// Segments of what left undivided.
    pub segments: u64,
}

/// Totals of what came in.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Totals {
    pub arrivals: u64,
    pub taken: u64,
    pub dropped: u64,
}

#[derive(Debug)]
struct Of {
    outside: bool,
    /// Somebody must have it.
    wanted: bool,
    /// Its receiver counted as one of several members before.
    flagged: bool,
    /// The team's generation when it was first seen.
    generation: u64,
    segmented: bool,
}

/// Everything that says the same.
#[derive(Debug, Default)]
struct Said {
    origins: BTreeMap<u64, Of>,
    taken: usize,
    open: Vec<FrameId>,
    touched: u64,
    /// What became of one of them is not known.
    blurred: bool,
    /// One was dropped that may prove lost.
    owed: bool,
}

impl Said {
    fn wanted(&self) -> usize {
        self.origins.values().filter(|of| of.outside && of.wanted).count()
    }

    fn outside(&self) -> usize {
        self.origins.values().filter(|of| of.outside).count()
    }
}

#[derive(Default, Debug)]
pub struct Ledger {
    said: HashMap<Wire, Said>,
    /// The members on which each receiver got unicast, and when last; valid in one generation of the team.
    receivers: HashMap<Mac, (u64, BTreeMap<u16, u64>)>,
    pub residues: Residues,
    pub totals: Totals,
    /// The table of the extension may be full, so that copies are counted and break no rule.
    pub full: bool,
    /// How many frames an extension knows again, if not as many as usual.
    pub known_again: Option<usize>,
    /// When frames passed of late.
    recent: VecDeque<u64>,
    /// Until when a frame of this origin, address and VLAN may come once more that nobody knows again.
    unknown: HashMap<(Side, Mac, u16), u64>,
    since_sweep: usize,
}

/// Who made a frame.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Side {
    Host,
    Network,
}

type Broken = Option<(&'static str, &'static str)>;

impl Ledger {
    fn entry(&mut self, seen: &Seen) -> &mut Said {
        let flagged = self.is_flagged(seen);
        let said = self.said.entry(seen.content.clone()).or_default();
        said.touched = seen.now;
        said.origins.entry(seen.origin.number).or_insert_with(|| Of {
            outside: seen.origin.is_outside(),
            wanted: false,
            flagged,
            generation: seen.generation,
            segmented: seen.segmented,
        });
        said
    }

    fn is_flagged(&self, seen: &Seen) -> bool {
        let Some((generation, members)) = self.receivers.get(&seen.content.to()) else { return false };
        *generation == seen.generation && members.values().filter(|at| seen.now < **at + FLAGGED).count() > 1
    }

    /// It comes in, through a member.
    pub fn came(&mut self, seen: &Seen, member: u16) {
        self.sweep_sometimes(seen.now);
        self.totals.arrivals += 1;
        self.entry(seen).open.push(seen.frame);
        let to = seen.content.to();
        if to[0] & 1 == 0 {
            let of = self.receivers.entry(to).or_default();
            if of.0 != seen.generation {
                *of = (seen.generation, BTreeMap::new());
            }
            of.1.insert(member, seen.now);
        }
    }

    /// It goes out: what says the same may be taken for its return.
    pub fn left(&mut self, seen: &Seen) {
        self.sweep_sometimes(seen.now);
        self.passes(seen, Side::Host);
        let flagged = false;
        let said = self.said.entry(seen.content.clone()).or_default();
        said.touched = seen.now;
        // Also what a bridge in a VM sends on that somebody outside made: it is not news.
        let (generation, segmented) = (seen.generation, seen.segmented);
        let of = Of { outside: false, wanted: false, flagged, generation, segmented };
        said.origins.entry(seen.origin.number).or_insert(of);
    }

    /// A frame comes in or goes out.
    pub fn passes(&mut self, seen: &Seen, side: Side) {
        self.recent.push_back(seen.now);
        while self.recent.front().is_some_and(|at| *at + CREDIT + ROUNDED < seen.now) {
            self.recent.pop_front();
        }
        if seen.segmented || self.recent.len() > self.known_again.unwrap_or(KNOWN_AGAIN) {
            let Wire { vid, .. } = seen.content;
            self.unknown.insert((side, seen.content.from(), vid), seen.now + CREDIT + ROUNDED);
        }
    }

    /// Whether a frame with this source may come once more, from outside or sent back by a guest, that nobody can know again:
    /// an adapter has made others of it, or there were too many. It says nothing about where its sender is.
    pub fn is_unknown(&self, side: Side, (mac, vid): (Mac, u16), now: u64) -> bool {
        self.unknown.get(&(side, mac, vid)).is_some_and(|until| now <= *until)
    }

    /// What says the same came from outside or is about to.
    pub fn is_from_outside(&self, content: &Wire) -> bool {
        self.said.get(content).is_some_and(|said| said.outside() > 0)
    }

    /// What became of it is not judged.
    pub fn blur(&mut self, content: &Wire, frame: FrameId) {
        if let Some(said) = self.said.get_mut(content) {
            said.open.retain(|open| *open != frame);
            said.blurred = true;
        }
    }

    /// Somebody got it. `known` says that it is for the address of a vNIC alone.
    pub fn took(&mut self, seen: &Seen, known: bool) -> Broken {
        self.totals.taken += 1;
        let full = self.full;
        let said = self.entry(seen);
        said.open.retain(|open| *open != seen.frame);
        said.taken += 1;
        let (outside, taken, blurred) = (said.outside(), said.taken, said.blurred);
        let of = said.origins.get_mut(&seen.origin.number)?;
        of.wanted |= of.outside;
        if taken <= outside || blurred {
            return None;
        }
        let (changed, segmented) = (of.generation != seen.generation, of.segmented);
        let (flagged, ours) = (of.flagged, outside == 0);
        // Each is named once.
        said.taken -= 1;
        let residue = match () {
            () if changed => &mut self.residues.changed,
            () if segmented => &mut self.residues.segments,
            () if known && !flagged => &mut self.residues.known,
            () if full => &mut self.residues.repeated,
            () if ours => return Some(("EGR-8", "it is a frame of this host that came back")),
            () => return Some(("EGR-9", "as many as were sent had arrived before")),
        };
        *residue += 1;
        None
    }

    /// Nobody got it, and somebody must have it unless it is a copy or a reflection.
    pub fn dropped(&mut self, seen: &Seen, wanted: bool) -> Broken {
        self.totals.dropped += 1;
        let said = self.entry(seen);
        said.open.retain(|open| *open != seen.frame);
        let of = said.origins.get_mut(&seen.origin.number).filter(|of| of.outside && wanted)?;
        of.wanted = true;
        let changed = of.generation != seen.generation;
        let (others, open) = (said.origins.len() > 1, !said.open.is_empty());
        if said.taken >= said.wanted() || said.blurred || changed || open {
            return None;
        }
        if others {
            said.owed = true;
            return None;
        }
        Some(("EGR-6", "it is no copy of a frame that arrived, and none of this host's"))
    }

    /// Whether this arrival is the first that says this.
    pub fn is_new(&self, seen: &Seen) -> bool {
        let said = self.said.get(&seen.content);
        said.is_none_or(|said| said.origins.len() == 1 && said.taken == 0 && !said.owed && !said.blurred)
    }

    /// Whether this arrival is a copy of what arrived (or, for `ours`, a frame of this host) and nothing else.
    pub fn is_stale(&self, seen: &Seen, ours: bool) -> bool {
        let Some(said) = self.said.get(&seen.content) else { return false };
        let outside = said.outside();
        !said.blurred && said.taken >= outside && (outside == 0) == ours
    }

    fn sweep_sometimes(&mut self, now: u64) {
        self.since_sweep += 1;
        if self.since_sweep >= SWEEP {
            self.sweep(now);
        }
    }

    fn sweep(&mut self, now: u64) {
        self.since_sweep = 0;
        self.unknown.retain(|_, until| now <= *until);
        let mut lost = 0;
        self.said.retain(|_, said| {
            let over = now > said.touched + KEPT;
            if over && said.owed && !said.blurred {
                lost += said.wanted().saturating_sub(said.taken);
            }
            !over
        });
        self.residues.lost += lost as u64;
    }

    /// No copy comes any more.
    pub fn close(&mut self) {
        self.sweep(u64::MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::guest::{BROADCAST, Flow, host_mac, vm_mac};
    use crate::switch::frames::Origin;
    use crate::switch::ports::NicId;

    fn seen(content: &Wire, origin: Origin, frame: FrameId) -> Seen {
        let content = content.clone();
        Seen { content, origin, segmented: false, frame, generation: 1, now: frame as u64 * 100 }
    }

    fn flood() -> Wire {
        Wire::of(&Flow::new(host_mac(1), BROADCAST, 1).frame(1, 60), 0)
    }

    #[test]
    fn the_second_copy_is_one_too_many_and_its_drop_is_right() {
        let mut ledger = Ledger::default();
        let (a, b) = (seen(&flood(), Origin::outside(1), 1), seen(&flood(), Origin::outside(1), 2));
        ledger.came(&a, 1);
        assert_eq!(ledger.took(&a, false), None);
        ledger.came(&b, 2);
        assert_eq!(ledger.dropped(&b, true), None);
        let c = seen(&flood(), Origin::outside(1), 3);
        ledger.came(&c, 2);
        assert_eq!(ledger.took(&c, false).map(|(rule, _)| rule), Some("EGR-9"));
    }

    #[test]
    fn the_only_copy_is_news() {
        let mut ledger = Ledger::default();
        let a = seen(&flood(), Origin::outside(1), 1);
        ledger.came(&a, 2);
        assert_eq!(ledger.dropped(&a, true).map(|(rule, _)| rule), Some("EGR-6"));
    }

    #[test]
    fn a_frame_of_this_host_is_not_taken_in() {
        let mut ledger = Ledger::default();
        let ours = Origin::inside(1, NicId::new(10, 0));
        ledger.left(&seen(&flood(), ours, 1));
        let back = seen(&flood(), ours, 2);
        ledger.came(&back, 2);
        assert!(ledger.is_stale(&back, true));
        assert_eq!(ledger.took(&back, false).map(|(rule, _)| rule), Some("EGR-8"));
    }

    #[test]
    fn frames_that_say_the_same_count_as_many_as_they_are() {
        let mut ledger = Ledger::default();
        let copies = [(1, 1, true), (2, 2, false), (1, 2, true), (2, 1, false)];
        for (n, (origin, member, takes)) in (1..).zip(copies) {
            let seen = seen(&flood(), Origin::outside(origin), n);
            ledger.came(&seen, member);
            let broken = if takes { ledger.took(&seen, false) } else { ledger.dropped(&seen, true) };
            assert_eq!(broken, None);
        }
        ledger.close();
        assert_eq!(ledger.residues, Residues::default());
    }

    #[test]
    fn one_that_gives_way_to_another_that_says_the_same_is_counted_as_lost() {
        let mut ledger = Ledger::default();
        let first = seen(&flood(), Origin::outside(1), 1);
        ledger.came(&first, 1);
        assert_eq!(ledger.took(&first, false), None);
        let moved = seen(&flood(), Origin::outside(2), 2);
        ledger.came(&moved, 2);
        assert_eq!(ledger.dropped(&moved, true), None);
        ledger.close();
        assert_eq!(ledger.residues, Residues { lost: 1, ..Residues::default() });
    }

    #[test]
    fn copies_of_known_unicast_are_excused_until_its_receiver_is_known_to_get_them() {
        let mut ledger = Ledger::default();
        for (origin, rule) in [(1, None), (2, Some("EGR-9"))] {
            let unicast = Wire::of(&Flow::new(host_mac(1), vm_mac(1), 1).frame(origin as u32, 60), 0);
            for member in [1, 2] {
                let seen =
                    seen(&unicast, Origin::outside(origin), origin as usize * 10 + usize::from(member));
                ledger.came(&seen, member);
                let broken = ledger.took(&seen, true);
                assert_eq!(broken.map(|(rule, _)| rule), rule.filter(|_| member == 2));
            }
        }
        assert_eq!(ledger.residues.known, 1);
    }
}
