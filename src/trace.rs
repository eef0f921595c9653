//! Events of a module, recorded in a ring buffer that is always on. On a host only a kernel debugger can read it;
//! tests of the native driver read it directly.

use crate::kernel::pool::{PoolSlice, Tag};
use crate::ndis::status::OutOfMemory;
use teaming::ids::{MemberIndex, MemberSet, NicId, Ticks};
use teaming::migration::record::{Differences, Discard};
use teaming::offload::ProcessorConflict;
use teaming::private_oid::FIRST_BYTES;
use teaming::team::member::LinkSource;

/// One event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// An entry that was never written.
    None,
    /// Members went down or came up. `forced`: buckets that moved at once; `waiting`: buckets that move after an idle
    /// gap.
    TeamChanged { went_down: MemberSet, came_up: MemberSet, forced: u32, waiting: u32 },
    /// Waiting buckets moved: `idle` after an idle gap, `deadline_moves` because their deadline passed.
    Settled { idle: u32, deadline_moves: u32 },
    /// A value in the registry is invalid, and the default `used` applies. `setting` is an index of `SETTINGS`;
    /// `value` is `None` if the registry value has the wrong type.
    SettingIgnored { setting: u8, value: Option<u64>, used: u64 },
    /// The settings were read again.
    SettingsRead,
    /// A request could not be cloned for lack of memory. A port or NIC request that must not fail was applied
    /// nevertheless.
    RequestNotForwarded { oid: u32 },
    /// A member failed the query of its link state.
    LinkUnknown { member: MemberIndex, status: i32 },
    /// The source of a member's link state has changed to this one.
    LinkSource { member: MemberIndex, source: LinkSource },
    /// A port property was vetoed, because it is damaged or asks for something that the driver cannot enforce.
    PropertyRefused { oid: u32, status: i32 },
    /// A port has a property that the driver cannot enforce or read; all its traffic is dropped.
    PortClosed { port: u32 },
    /// The run-time state of a NIC could not be saved for lack of memory, or because the switch gives no more room for
    /// it; other extensions may have saved theirs.
    NotSaved { nic: NicId },
    /// The data to restore for a NIC could not be used and was ignored.
    RestoreDiscarded { nic: NicId, why: Discard },
    /// The run-time state of a NIC was restored. Its flows keep their member positions if nothing differs and those
    /// members are up.
    Restored { nic: NicId, differences: Differences },
    /// The completion of a save or restore failed below.
    OperationFailed { oid: u32, nic: NicId, status: i32 },
    /// A request that must not be refused was forwarded without being redirected to its member, for lack of memory or
    /// because the member is gone.
    RequestNotDirected { oid: u32 },
    /// A request to several members failed on `failed` of them.
    PartlyDone { oid: u32, failed: u32 },
    /// Members went down that held queues of `partitions` partitions. Default queues, or queues of other members,
    /// serve those now.
    QueuesLost { members: MemberSet, partitions: u32 },
    /// The processors of a member's queues conflict with those of other members.
    ProcessorsConflict { member: MemberIndex, conflict: ProcessorConflict },
    /// A port joined more multicast groups than the driver keeps, and gets every group from now on. `times` counts all
    /// ports.
    GroupsNotKept { port: u32, times: u64 },
    /// A request names a resource that is not in the table: `reporters` members list that id, and not for its partition
    /// alone. It was passed on as it came.
    HolderUnknown { oid: u32, reporters: u32 },
    /// A member could not be asked what it holds of before the attachment; it is asked again.
    NotListed { member: MemberIndex, status: i32 },
    /// A member has failed to list what it holds for most of a minute: requests are directed by what the others list. It is
    /// still asked.
    ListsGivenUp { member: MemberIndex },
    /// A vendor-private OID of the registry was sent to a member; the status is the adapter's. Of the answer to a query or
    /// method, the number of bytes, at most 256, and the first ones.
    PrivateOid { member: MemberIndex, oid: u32, status: i32, bytes: u32, first: [u8; FIRST_BYTES] },
    /// An entry of the registry for a member's adapter is ignored: its OID is not a vendor's, its kind is none, or its data
    /// is too long or of another type.
    PrivateOidIgnored { member: MemberIndex, entry: u8 },
    /// The configuration of the switch, or the properties of a port, could not be read; the query is repeated.
    NotEnumerated { status: i32 },
    /// The switch announced more ports and NICs than the driver could read; the query is repeated.
    PictureIncomplete { announced: u32, understood: u32 },
}

/// Number of entries of the ring.
const EVENTS: usize = 256;

/// The last `EVENTS` events with their times.
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

    /// The recorded events, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = (Ticks, Event)> {
        let count = (self.written as usize).min(EVENTS);
        let first = (self.written as usize).wrapping_sub(count);
        (first..first.wrapping_add(count)).filter_map(|at| self.events.get(at % EVENTS).copied())
    }

    /// Overwrites the oldest event. Called with the team lock held.
    pub fn push(&mut self, now: Ticks, event: Event) {
        let slot = self.written as usize % EVENTS;
        if let Some(place) = self.events.get_mut(slot) {
            *place = (now, event);
        }
        self.written = self.written.wrapping_add(1);
    }
}
