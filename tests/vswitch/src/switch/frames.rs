//! The outcome of every frame; no frame may be lost without one.
//!
//! One record for each frame that a guest or the external network sent. Every function that moves a packet updates it;
//! the outcome of a scenario reads it.

use crate::switch::ports::NicId;
use std::collections::VecDeque;
use std::ops::Index;
use std::sync::Arc;

/// Number of a frame in the order in which frames entered the switch.
pub type FrameId = usize;

/// The outcome of a frame; a flooded frame has several.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum FrameOutcome {
    /// Delivered to a NIC, or to the physical network through the member with this index on the external port.
    Delivered { to: NicId, at: u64 },
    /// Dropped and reported by the extension.
    Filtered { reason: String },
    /// An NVGRE packet, whose destination the switch itself determined.
    Native,
    /// Assigned to a member whose link was down, before the indication.
    LostBeforeIndication { member: u16 },
    /// The module was paused or not attached.
    Paused,
    /// Completed with a failure status, without a report.
    Failed { status: i32 },
}

/// Who made a frame first.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Maker {
    /// A NIC of a switch on this host.
    Inside(NicId),
    External,
}

/// What all copies of one frame have in common, wherever they travel: its number and who made it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Origin {
    pub number: u64,
    pub maker: Maker,
    /// Adapters have divided it, so that what is on the cables is other frames.
    pub divided: bool,
}

impl Origin {
    pub const fn inside(number: u64, from: NicId) -> Self {
        Self { number, maker: Maker::Inside(from), divided: false }
    }

    pub const fn outside(number: u64) -> Self {
        Self { number, maker: Maker::External, divided: false }
    }

    pub fn is_outside(self) -> bool {
        self.maker == Maker::External
    }
}

#[derive(Clone, Debug)]
pub struct Frame {
    pub id: FrameId,
    /// Number of the switch instance.
    pub switch: usize,
    pub from: NicId,
    pub bytes: Arc<[u8]>,
    pub sent_at: u64,
    pub outcomes: Vec<FrameOutcome>,
    /// The completion status of its list.
    pub status: Option<i32>,
    pub origin: Origin,
    /// Bytes of payload for each segment, if adapters are to divide it.
    pub segment: Option<u16>,
    /// The receive queue and filter in its out-of-band data on arrival, and in the next field as the extension sent it
    /// on; 0 means none.
    pub queue: u64,
    pub queue_below: Option<u64>,
    /// Number of copies that have not arrived at their destination.
    pub(crate) under_way: u32,
}

/// A destination on the external port that the extension committed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Assignment {
    pub frame: FrameId,
    pub member: u16,
    pub time: u64,
    /// Order number among all calls of and to the extension.
    pub order: u64,
}

/// Records by number. A replay of many frames removes the oldest ones when they are finished.
#[derive(Default)]
pub struct Records {
    kept: VecDeque<Frame>,
    /// Number of the oldest record.
    first: FrameId,
}

impl Records {
    pub fn get(&self, id: FrameId) -> Option<&Frame> {
        self.kept.get(id.checked_sub(self.first)?)
    }

    pub fn get_mut(&mut self, id: FrameId) -> Option<&mut Frame> {
        self.kept.get_mut(id.checked_sub(self.first)?)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Frame> {
        self.kept.iter()
    }

    pub fn into_vec(self) -> Vec<Frame> {
        self.kept.into()
    }

    /// Number of the next frame.
    pub fn next_id(&self) -> FrameId {
        self.first + self.kept.len()
    }

    /// Removes the oldest frame if it is finished and at least `newer` later ones exist.
    pub fn take_oldest(&mut self, newer: usize) -> Option<Frame> {
        let ended = |frame: &&Frame| !frame.outcomes.is_empty() && frame.under_way == 0;
        self.kept.front().filter(ended).filter(|_| self.kept.len() > newer)?;
        self.first += 1;
        self.kept.pop_front()
    }
}

impl Index<FrameId> for Records {
    type Output = Frame;
    fn index(&self, id: FrameId) -> &Frame {
        &self.kept[id - self.first]
    }
}

#[derive(Default)]
pub struct Frames {
    pub all: Records,
    pub assignments: Vec<Assignment>,
    /// Frames made so far.
    origins: u64,
}

impl Frames {
    pub fn add(&mut self, switch: usize, from: NicId, bytes: &[u8], now: u64) -> FrameId {
        let id = self.all.next_id();
        let frame = Frame {
            id,
            switch,
            from,
            bytes: bytes.into(),
            sent_at: now,
            outcomes: Vec::new(),
            status: None,
            origin: self.fresh_origin(Maker::Inside(from)),
            segment: None,
            queue: 0,
            queue_below: None,
            under_way: 0,
        };
        self.all.kept.push_back(frame);
        id
    }

    /// Records that these frames arrived through a receive queue.
    pub fn came_by_queue(&mut self, ids: &[FrameId], word: u64) {
        for id in ids {
            if let Some(frame) = self.all.get_mut(*id) {
                frame.queue = word;
            }
        }
    }

    /// Records the out-of-band queue data with which the extension sent these frames on.
    pub fn sent_with_queue(&mut self, ids: &[FrameId], word: u64) {
        for id in ids {
            if let Some(frame) = self.all.get_mut(*id) {
                frame.queue_below = Some(word);
            }
        }
    }

    /// A frame is made.
    pub fn fresh_origin(&mut self, maker: Maker) -> Origin {
        self.origins += 1;
        Origin { number: self.origins, maker, divided: false }
    }

    /// Records who made a frame, and how adapters divide it.
    pub fn mark(&mut self, id: FrameId, origin: Origin, segment: Option<u16>) {
        if let Some(frame) = self.all.get_mut(id) {
            (frame.origin, frame.segment) = (origin, segment);
        }
    }

    pub fn end(&mut self, id: FrameId, end: FrameOutcome) {
        if let Some(frame) = self.all.get_mut(id) {
            frame.outcomes.push(end);
        }
    }

    /// Records the completion status of these frames' list.
    pub fn completed(&mut self, ids: &[FrameId], status: i32) {
        for id in ids {
            if let Some(frame) = self.all.get_mut(*id) {
                frame.status = Some(status);
            }
        }
    }

    /// Records a copy to a destination, whose outcome follows later.
    pub fn depart(&mut self, id: FrameId) {
        if let Some(frame) = self.all.get_mut(id) {
            frame.under_way += 1;
        }
    }

    pub fn arrive(&mut self, id: FrameId, end: FrameOutcome) {
        if let Some(frame) = self.all.get_mut(id) {
            frame.under_way = frame.under_way.saturating_sub(1);
            frame.outcomes.push(end);
        }
    }

    /// Frames without an outcome.
    pub fn unaccounted(&self) -> impl Iterator<Item = &Frame> {
        self.all.iter().filter(|frame| frame.outcomes.is_empty() || frame.under_way > 0)
    }
}
