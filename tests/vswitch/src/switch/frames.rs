//! What became of every frame: the account that nothing is lost in silence.
//!
//! Owns one record for each frame that a guest or the external network sent. Everybody who moves a packet adds to it;
//! the outcome of a scenario reads it.

use crate::switch::ports::NicId;
use std::collections::{BTreeSet, VecDeque};
use std::ops::Index;
use std::sync::Arc;

/// Number of a frame in the order in which frames entered the switch.
pub type FrameId = usize;

/// What became of a frame; a flooded one has several outcomes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum FrameOutcome {
    /// It reached a guest, or the physical network behind the member with this index on the external port.
    Delivered { to: NicId, at: u64 },
    /// The extension reported that it dropped it.
    Filtered { reason: String },
    /// The switch itself picked the destination: an NVGRE packet.
    Native,
    /// A member took it and its link was down: assigned before the extension could know.
    LostBeforeIndication { member: u16 },
    /// The module was not running, or not there.
    Paused,
    /// Completed with a failure and no report.
    Failed { status: i32 },
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
    /// Status with which the extension completed the list that it came in.
    pub status: Option<i32>,
    /// Number of the flood of which it is one copy; the external network sent several through several members.
    pub copy_of: Option<u64>,
    /// What lay beside it about its receive queue, and what the extension sent on; 0 is no queue.
    pub queue: u64,
    pub queue_below: Option<u64>,
    /// Copies on their way to a destination.
    pub(crate) under_way: u32,
}

/// A destination on the external port that the extension committed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Assignment {
    pub frame: FrameId,
    pub member: u16,
    pub time: u64,
    /// Place in the order of all things that the extension did or was told.
    pub order: u64,
}

/// Records by number. Whoever replays more frames than memory holds takes the oldest out as they end.
#[derive(Default)]
pub struct Records {
    kept: VecDeque<Frame>,
    /// Number of the oldest that is kept.
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

    /// Takes out the oldest frame if it has ended and at least `newer` younger ones are there.
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
            copy_of: None,
            queue: 0,
            queue_below: None,
            under_way: 0,
        };
        self.all.kept.push_back(frame);
        id
    }

    /// These came in through a receive queue.
    pub fn came_by_queue(&mut self, ids: &[FrameId], word: u64) {
        for id in ids {
            if let Some(frame) = self.all.get_mut(*id) {
                frame.queue = word;
            }
        }
    }

    /// The extension sent these on with that beside them.
    pub fn sent_with_queue(&mut self, ids: &[FrameId], word: u64) {
        for id in ids {
            if let Some(frame) = self.all.get_mut(*id) {
                frame.queue_below = Some(word);
            }
        }
    }

    pub fn mark(&mut self, id: FrameId, copy_of: Option<u64>) {
        if let Some(frame) = self.all.get_mut(id) {
            frame.copy_of = copy_of;
        }
    }

    /// Floods that reached a vNIC in more than one copy, as sentences.
    pub fn repeated(&self) -> Vec<String> {
        let mut seen = BTreeSet::new();
        let mut twice = Vec::new();
        for frame in self.all.iter() {
            for end in &frame.outcomes {
                if let (Some(flood), FrameOutcome::Delivered { to, .. }) = (frame.copy_of, end)
                    && !seen.insert((frame.switch, flood, *to))
                {
                    twice.push(format!("{to} got flood {flood} again, as frame {}", frame.id));
                }
            }
        }
        twice
    }

    pub fn end(&mut self, id: FrameId, end: FrameOutcome) {
        if let Some(frame) = self.all.get_mut(id) {
            frame.outcomes.push(end);
        }
    }

    /// The list that these came in is complete.
    pub fn completed(&mut self, ids: &[FrameId], status: i32) {
        for id in ids {
            if let Some(frame) = self.all.get_mut(*id) {
                frame.status = Some(status);
            }
        }
    }

    /// A copy of the frame goes to a destination whose outcome comes later.
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

    /// Frames nobody can account for.
    pub fn unaccounted(&self) -> impl Iterator<Item = &Frame> {
        self.all.iter().filter(|frame| frame.outcomes.is_empty() || frame.under_way > 0)
    }
}
