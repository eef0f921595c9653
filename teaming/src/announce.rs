//! Announcements: after a move the physical network is told on which member each address of this host is reached now. Until
//! an address speaks again, a switch that does not know of the team sends what is for it to the member that it left: to
//! nobody, if that has failed.
//!
//! A move is a bucket that has another member than before (`moved`, after each change of the table), or another way from
//! addresses to buckets. The addresses of its buckets are told in a *round*: own addresses of vNICs, the busiest first, then
//! those that were heard on trunks or that guests bridge. Each is told on the member that has its bucket when it is told,
//! never on another. What moves while a round is under way is told in the next one, which follows at once; rounds that
//! repeat what was told follow after a pause each, because a frame can be lost while links and switches change.
//!
//! The caller takes one announcement after the other (`next`) and sends each under the same lock. What it could not send is
//! asked for again (`refused`). In between it takes the questions that follow the first announcement of an address (`asking`).

use crate::Storage;
use crate::asking::Asking;
use crate::backoff::Backoff;
use crate::forward::Forwarding;
use crate::forward::addresses::{Announcement, HEARD, HostAddress, Mapping, Question};
use crate::ids::{BUCKETS, Bucket, Ticks};
use crate::settings::Announcing;

/// Positions of ports that are put in order at once; of more, so many come first.
pub const ORDERED: usize = 1_024;
/// Orders of magnitude of what a port has sent: of no frames, and one for each number of binary digits.
pub const CLASSES: usize = 65;

/// Time between two rounds that tell the same.
pub const REPEAT_AFTER: Ticks = Ticks::from_ms(1_000);
/// A burst may leave once in this time: the step of the clock by which the driver may have to wait.
pub const BURST_TIME: Ticks = Ticks::from_ms(16);

/// The next try when all frames were on their way.
const CROWDED: Ticks = Ticks::from_ms(1);

/// So long after packets are said to go again, they do.
pub const RESUME_AFTER: Ticks = Ticks::from_ms(100);

/// Work of one hold of the lock: places that are looked at, and what it costs to add up a port's traffic.
pub const WORK: u32 = 512;
const TRAFFIC_WORK: u32 = 16;

/// What is still to be told of a bucket's addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owed(u8);

impl Owed {
    pub const NOTHING: Self = Self(0);
    /// It has moved, and waits for the next round.
    const NEXT: u8 = 0x80;
    /// It is told in the first round since it moved.
    const FIRST: u8 = 0x40;
    const TIMES: u8 = 0x3f;

    const fn moved(times: u8) -> Self {
        Self(Self::NEXT | times & Self::TIMES)
    }

    const fn waits(self) -> bool {
        self.0 & Self::NEXT != 0
    }

    const fn is_in(self, round: Round) -> bool {
        match round {
            Round::First => self.0 & Self::FIRST != 0,
            Round::Repeat => self.0 != 0 && self.0 & !Self::TIMES == 0,
        }
    }
}

/// A port that is to be told of, in the list of those of its class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Found {
    position: u16,
    /// One more than the place of the next one of the class; 0 is none.
    next: u16,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Round {
    First,
    Repeat,
}

/// What is looked at next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Whether this port is to be told of; so many are.
    Search { position: usize, found: u16 },
    /// What was found, by class; afterwards the ports from a position on.
    Own { class: usize, at: u16, rest: usize },
    /// This place of the addresses that were heard from ports: of trunks, and those that guests bridge.
    Heard { place: usize },
}

const BEGIN: Stage = Stage::Search { position: 0, found: 0 };

/// The answer of `next`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    Announce(Announcement),
    /// A machine whose address was announced is to be asked.
    Ask(Question),
    /// Enough for one call; more is to be done at once.
    More,
    /// Nothing to do before `due`.
    Rest,
}

/// How many were told, how often one could not be sent and was put off, and how many questions were asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Told {
    pub announced: u64,
    pub refused: u64,
    pub asked: u64,
}

pub struct Announcer<S: Storage> {
    /// The member of each bucket when it was looked at last; 0 is none so far.
    members: S::Of<u8>,
    owed: S::Of<Owed>,
    found: S::Of<Found>,
    /// One more than the first place of each class.
    first: S::Of<u16>,
    mapping: Option<Mapping>,
    settings: Announcing,
    /// Before the first packet nothing has moved: no member has carried any, or the first table is being made.
    begun: bool,
    starting: bool,
    /// Nothing was to be told of changes, and `members` is not of now.
    stale: bool,
    round: Option<(Round, Stage)>,
    /// Before the last announcement.
    before: Option<(Round, Stage)>,
    /// Whom the last announcement was of, if the machine is to be asked then.
    first_told: Option<HostAddress>,
    asking: Asking,
    waiting: bool,
    repeat: Option<Ticks>,
    retry: Backoff,
    /// Nothing is sent before.
    pause: Ticks,
    /// All frames were on their way; likewise.
    crowded: Ticks,
    /// When the burst began, and how many have left since.
    burst: (Ticks, u32),
    pub told: Told,
}

impl<S: Storage> Announcer<S> {
    /// `members` and `owed` are `BUCKETS` long, `found` is `ORDERED` long, `first` is `CLASSES` long.
    pub fn new(
        members: S::Of<u8>,
        owed: S::Of<Owed>,
        found: S::Of<Found>,
        first: S::Of<u16>,
        settings: Announcing,
    ) -> Self {
        Self {
            members,
            owed,
            found,
            first,
            mapping: None,
            settings,
            begun: false,
            starting: false,
            stale: false,
            round: None,
            before: None,
            first_told: None,
            asking: Asking::IDLE,
            waiting: false,
            repeat: None,
            retry: Backoff::IDLE,
            pause: Ticks::ZERO,
            crowded: Ticks::ZERO,
            burst: (Ticks::ZERO, 0),
            told: Told::default(),
        }
    }

    pub fn configure(&mut self, settings: Announcing) {
        self.settings = settings;
    }

    /// A table is being made without regard to packets; `begin` is to follow.
    pub const fn start(&mut self) {
        self.starting = !self.begun;
    }

    /// Packets go from now on: what the table is now, the network will learn of itself.
    pub fn begin(&mut self, forwarding: &Forwarding<S>) {
        if core::mem::take(&mut self.starting) {
            self.forget(forwarding);
        }
    }

    /// After a change of the table or of the settings: notes what has moved. Whether something is to be told.
    pub fn moved(&mut self, forwarding: &Forwarding<S>) -> bool {
        let is_telling = self.settings.times != 0 && forwarding.announces();
        if self.begun && !self.starting && !is_telling {
            // A change costs a team that tells nothing no look at its buckets.
            self.end_rounds();
            self.stale = true;
            return false;
        }
        if core::mem::take(&mut self.stale) || self.starting || !self.begun {
            self.forget(forwarding);
            return false;
        }
        let remapped = self.mapping.replace(forwarding.mapping()) != Some(forwarding.mapping());
        let owed = Owed::moved(self.settings.times);
        let mut moved = false;
        let places = self.members.iter_mut().zip(self.owed.iter_mut());
        // Without a branch for a bucket: it is part of a failover.
        for ((member, place), now) in places.zip(forwarding.table.owners()) {
            let is_carried = now != 0;
            let has_moved = is_carried & (*member != 0) & ((now != *member) | remapped);
            *place = if has_moved { owed } else { *place };
            *member = if is_carried { now } else { *member };
            moved |= has_moved;
        }
        if moved {
            self.wait();
        }
        moved
    }

    /// A machine has another bucket, and it another member than the one before. Whether something is to be told.
    pub fn reseated(&mut self, forwarding: &Forwarding<S>, bucket: Bucket) -> bool {
        let is_telling = self.settings.times != 0 && forwarding.announces();
        let place = self.owed.get_mut(bucket.index());
        let Some(place) = place.filter(|_| is_telling && self.begun && !self.starting && !self.stale) else {
            return false;
        };
        *place = Owed::moved(self.settings.times);
        self.wait();
        true
    }

    /// Something has moved.
    fn wait(&mut self) {
        self.waiting = true;
        if let Some((Round::Repeat, _)) = self.round {
            // What moved comes first, and the whole round later.
            self.round = None;
            self.repeat = None;
        }
    }

    fn forget(&mut self, forwarding: &Forwarding<S>) {
        for (member, now) in self.members.iter_mut().zip(forwarding.table.owners()) {
            *member = if now == 0 { *member } else { now };
        }
        self.owed.fill(Owed::NOTHING);
        self.mapping = Some(forwarding.mapping());
        self.begun |= !self.starting && !forwarding.table.live().is_empty();
        self.end_rounds();
    }

    const fn end_rounds(&mut self) {
        (self.round, self.before, self.waiting, self.repeat) = (None, None, false, None);
        (self.first_told, self.asking) = (None, Asking::IDLE);
    }

    /// When `next` has something to do.
    pub fn due(&self) -> Option<Ticks> {
        let asks = self.asking.is_under_way();
        let is_under_way = self.waiting || asks || self.round.is_some();
        let due = if is_under_way { Some(Ticks::ZERO) } else { self.repeat };
        let paced = match self.burst {
            // What stays on this host needs no pace.
            (begun, left) if !asks && left >= self.settings.burst => begun.saturating_add(BURST_TIME),
            _ => Ticks::ZERO,
        };
        let retry = self.retry.due().unwrap_or(Ticks::ZERO);
        Some(due?.max(paced).max(retry).max(self.pause).max(self.crowded))
    }

    /// Packets will go again in a moment: then what was put off is due.
    pub fn resume(&mut self, now: Ticks) {
        self.retry = Backoff::IDLE;
        self.pause = now.saturating_add(RESUME_AFTER);
    }

    /// Nothing can be sent now, and no announcement was asked for.
    pub fn postpone(&mut self, now: Ticks) {
        self.retry.plan(now);
    }

    /// The last announcement or question could not be sent, for want of memory or because the switch refused it; it is asked for again.
    pub fn refused(&mut self, now: Ticks) {
        self.put_off();
        self.retry.plan(now);
    }

    /// The same because all frames are on their way; one will be back soon.
    pub fn crowded(&mut self, now: Ticks) {
        self.put_off();
        self.crowded = now.saturating_add(CROWDED);
    }

    /// A frame is back.
    pub const fn has_place(&mut self) {
        self.crowded = Ticks::ZERO;
    }

    fn put_off(&mut self) {
        self.told.refused = self.told.refused.wrapping_add(1);
        // While questions are under way, the last was one, and it is still to be asked.
        if !self.asking.is_under_way() && self.before.is_some() {
            self.round = self.before.take();
        }
    }

    /// The last announcement is on its way.
    pub fn announced(&mut self, now: Ticks) {
        self.told.announced = self.told.announced.wrapping_add(1);
        if now.since(self.burst.0) >= BURST_TIME {
            self.burst = (now, 0);
        }
        self.burst.1 = self.burst.1.saturating_add(1);
        if let Some(address) = self.first_told.take() {
            self.asking.begin(address);
        }
    }

    /// The last question is on its way.
    pub fn asked(&mut self) {
        self.told.asked = self.told.asked.wrapping_add(1);
        self.asking.asked();
    }

    /// The next announcement or question, to be sent before the lock of `forwarding` is released. `work` is what is left of
    /// `WORK`.
    pub fn next(&mut self, forwarding: &Forwarding<S>, now: Ticks, work: &mut u32) -> Next {
        if self.due().is_none_or(|due| due > now) {
            return Next::Rest;
        }
        self.retry.take(now);
        if let Some(question) = self.asking.next(forwarding) {
            *work = work.saturating_sub(1);
            return Next::Ask(question);
        }
        while *work != 0 {
            let Some((round, stage)) = self.round.or_else(|| self.begin_round(now)) else {
                return Next::Rest;
            };
            self.before = Some((round, stage));
            let address = match stage {
                Stage::Search { position, found } => {
                    *work = work.saturating_sub(self.search(forwarding, round, (position, found)));
                    continue;
                }
                Stage::Own { class, at, rest } => {
                    *work = work.saturating_sub(1);
                    self.take_own(forwarding, (class, at, rest))
                }
                Stage::Heard { place } => {
                    *work = work.saturating_sub(1);
                    self.take_heard(forwarding, place, now)
                }
            };
            let owed = address.filter(|address| self.is_owed(address, round));
            if let Some(announcement) = owed.and_then(|address| forwarding.announcement(&address)) {
                self.first_told = owed.filter(|_| round == Round::First);
                return Next::Announce(announcement);
            }
        }
        Next::More
    }

    fn begin_round(&mut self, now: Ticks) -> Option<(Round, Stage)> {
        let round = if self.waiting {
            self.waiting = false;
            for owed in self.owed.iter_mut().filter(|owed| owed.waits()) {
                owed.0 = owed.0 & Owed::TIMES | Owed::FIRST;
            }
            Round::First
        } else {
            self.repeat.take_if(|due| *due <= now)?;
            Round::Repeat
        };
        self.first.fill(0);
        self.round = Some((round, BEGIN));
        self.round
    }

    fn is_owed(&self, address: &HostAddress, round: Round) -> bool {
        self.owed.get(address.bucket.index()).is_some_and(|owed| owed.is_in(round))
    }

    /// Looks at one port; the work that it was.
    fn search(&mut self, forwarding: &Forwarding<S>, round: Round, (position, found): (usize, u16)) -> u32 {
        let is_full = usize::from(found) >= self.found.len();
        if is_full || position >= forwarding.ports.end() {
            self.round = Some((round, Stage::Own { class: CLASSES, at: 0, rest: position }));
            return 1;
        }
        let next = position.saturating_add(1);
        let address = forwarding.own(position).filter(|address| self.is_owed(address, round));
        let (Some(_), Ok(number)) = (address, u16::try_from(position)) else {
            self.round = Some((round, Stage::Search { position: next, found }));
            return 1;
        };
        let frames = forwarding.ports.traffic_at(position).frames;
        if frames == 0 {
            // Nobody outside has heard of it.
            self.round = Some((round, Stage::Search { position: next, found }));
            return TRAFFIC_WORK;
        }
        let class = usize::try_from(u64::BITS.saturating_sub(frames.leading_zeros())).unwrap_or(0);
        if let (Some(place), Some(first)) =
            (self.found.get_mut(usize::from(found)), self.first.get_mut(class))
        {
            *place = Found { position: number, next: *first };
            *first = found.saturating_add(1);
        }
        self.round = Some((round, Stage::Search { position: next, found: found.saturating_add(1) }));
        TRAFFIC_WORK
    }

    /// The next port of those found.
    fn take_own(
        &mut self,
        forwarding: &Forwarding<S>,
        (class, at, rest): (usize, u16, usize),
    ) -> Option<HostAddress> {
        let (round, _) = self.round?;
        if let Some(found) = usize::from(at).checked_sub(1).and_then(|at| self.found.get(at)) {
            self.round = Some((round, Stage::Own { class, at: found.next, rest }));
            return forwarding.own(found.position.into());
        }
        let stage = match class.checked_sub(1) {
            Some(class) => Stage::Own { class, at: self.first.get(class).copied().unwrap_or(0), rest },
            None if rest < forwarding.ports.end() => {
                self.first.fill(0);
                Stage::Search { position: rest, found: 0 }
            }
            None => Stage::Heard { place: 0 },
        };
        self.round = Some((round, stage));
        None
    }

    fn take_heard(&mut self, forwarding: &Forwarding<S>, place: usize, now: Ticks) -> Option<HostAddress> {
        let (round, _) = self.round?;
        if place >= HEARD {
            self.end_round(round, now);
            return None;
        }
        self.round = Some((round, Stage::Heard { place: place.saturating_add(1) }));
        forwarding.heard(place, now)
    }

    fn end_round(&mut self, round: Round, now: Ticks) {
        let mut left = false;
        for owed in self.owed.iter_mut().filter(|owed| owed.is_in(round)) {
            owed.0 = (owed.0 & Owed::TIMES).saturating_sub(1);
        }
        for owed in self.owed.iter() {
            left |= owed.is_in(Round::Repeat);
        }
        self.round = None;
        let later = now.saturating_add(REPEAT_AFTER);
        // Later moves do not put off what is due.
        self.repeat = left.then(|| self.repeat.unwrap_or(later));
    }
}

const _: () = assert!(ORDERED < u16::MAX as usize && BUCKETS > 0);

#[cfg(any(test, feature = "std"))]
impl Announcer<crate::Heap> {
    pub fn on_heap(settings: Announcing) -> Self {
        Self::new(
            std::vec![0; BUCKETS],
            std::vec![Owed::NOTHING; BUCKETS],
            std::vec![Found::default(); ORDERED],
            std::vec![0; CLASSES],
            settings,
        )
    }
}
