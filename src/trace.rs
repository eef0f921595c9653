//! Events of a module, in a bounded ring that is always on. On a host only a kernel debugger can read it; tests of the
//! native driver read it directly.

use crate::kernel::pool::{PoolSlice, Tag};
use crate::ndis::status::OutOfMemory;
use teaming::ids::{MemberIndex, MemberSet, NicId, Ticks};
use teaming::migration::record::{Differences, Discard};
use teaming::offload::ProcessorConflict;

/// One event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A slot that was never written.
    None,
    /// Members went down and came up; buckets that moved at once, and that wait for silence.
    TeamChanged { went_down: MemberSet, came_up: MemberSet, forced: u32, waiting: u32 },
    /// Waiting buckets moved: after silence, or because their deadline passed.
    Settled { idle: u32, deadline_moves: u32 },
    /// A setting takes its default; `setting` counts in `SETTINGS`, which has its name and range. The value is what the
    /// registry holds, or `None` for one of the wrong type.
    SettingIgnored { setting: u8, value: Option<u64>, used: u64 },
    /// The settings were read anew.
    SettingsRead,
    /// A request could not be cloned for lack of memory; operations on ports and NICs that must not fail were applied
    /// all the same.
    RequestNotForwarded { oid: u32 },
    /// A member failed the query of its link state.
    LinkUnknown { member: MemberIndex, status: i32 },
    /// A property of a port was vetoed: it is damaged, or asks for what is not enforced.
    PropertyRefused { oid: u32, status: i32 },
    /// A port has a property that cannot be enforced, or one that could not be read: nothing passes it.
    PortClosed { port: u32 },
    /// The run-time state of a NIC could not be saved for lack of memory; others may have saved theirs.
    NotSaved { nic: NicId },
    /// What was restored for a NIC could not be used, and changed nothing.
    RestoreDiscarded { nic: NicId, why: Discard },
    /// A NIC's run-time state came along. Its flows keep their members' positions if nothing differs and those are up.
    Restored { nic: NicId, differences: Differences },
    /// The end of a save or a restore did not succeed below.
    OperationFailed { oid: u32, nic: NicId, status: i32 },
    /// A request that must not be refused went down without the member it concerns: memory or the member was missing.
    RequestNotDirected { oid: u32 },
    /// A request to several members failed on some of them.
    PartlyDone { oid: u32, failed: u32 },
    /// Members went down that held queues of so many partitions; default queues serve those now, or copies elsewhere.
    QueuesLost { members: MemberSet, partitions: u32 },
    /// The processors of a member's queues do not fit those of the others.
    ProcessorsConflict { member: MemberIndex, conflict: ProcessorConflict },
    /// The configuration of the switch, or the properties of one of its ports, could not be read; it is asked again.
    NotEnumerated { status: i32 },
    /// The switch announced more ports and network adapters than could be read; they are asked for again.
    PictureIncomplete { announced: u32, understood: u32 },
}

/// How many events are kept.
const EVENTS: usize = 256;

/// The newest `EVENTS` events with their times.
pub struct EventRing {
    events: PoolSlice<(Ticks, Event)>,
    written: u32,
}

impl EventRing {
    pub fn try_new() -> Result<Self, OutOfMemory> {
        Ok(Self {
            events: PoolSlice::try_new(Tag::TABLE, EVENTS, |_| (Ticks::ZERO, Event::None))?,
            written: 0,
        })
    }

    /// The events that are kept, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = (Ticks, Event)> {
        let count = (self.written as usize).min(EVENTS);
        let first = (self.written as usize).wrapping_sub(count);
        (first..first.wrapping_add(count)).filter_map(|at| self.events.get(at % EVENTS).copied())
    }

    /// Overwrites the oldest event. Under the team lock.
    pub fn push(&mut self, now: Ticks, event: Event) {
        let slot = self.written as usize % EVENTS;
        if let Some(place) = self.events.get_mut(slot) {
            *place = (now, event);
        }
        self.written = self.written.wrapping_add(1);
    }
}
