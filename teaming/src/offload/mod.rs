//! Which member holds which resource: the table of queues, filters, virtual functions, virtual ports and security
//! associations that adapters keep for the switch, and the plan for each request about one.
//!
//! Ids are unique only per adapter, so a resource is identified by its partition and its id: (source port, source NIC,
//! id). The control side, under the caller's team lock; the driver keeps a second table for security associations
//! alone, which packets read under a lock of its own. Never sends, never frees what the switch allocated.

pub mod capabilities;
pub mod lists;
mod placement;
pub mod processors;
pub mod reported;

use crate::Storage;
use crate::ids::{MEMBERS, MemberIndex, MemberSet, NicId};
use crate::oid::Resource;
pub use placement::{Facts, OffloadPlacement};
pub use processors::{ProcessorConflict, ProcessorSets};

/// A resource on one member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct HeldResource {
    pub source: NicId,
    pub resource: Resource,
    /// The id that the switch knows.
    pub id: u64,
    /// Counts allocations: the copies of one resource on several members share it, and where one id was given out twice
    /// to one partition, by different members, the later allocation is meant.
    serial: u32,
    member: u8,
    /// The adapter was unbound, and the resource with it; kept until the switch frees it.
    gone: bool,
    /// The switch was told that the partition cannot use it any more.
    told: bool,
    /// Allocated by a request of the driver's own, so that only such requests may name it: the switch's id may be
    /// another member's.
    own: bool,
    /// Allocated before the attachment: known from the member's list alone. Its serial is 0.
    reported: bool,
    /// The id that the member knows.
    pub member_resource_id: u64,
}

impl HeldResource {
    pub const EMPTY: Self = Self {
        source: NicId::new(crate::ids::PortId::DEFAULT, crate::ids::NicIndex::DEFAULT),
        resource: Resource::Queue,
        id: 0,
        serial: 0,
        member: 0,
        gone: false,
        told: false,
        own: false,
        reported: false,
        member_resource_id: 0,
    };

    pub const fn member(&self) -> Option<MemberIndex> {
        MemberIndex::new(self.member)
    }

    pub const fn is_gone(&self) -> bool {
        self.gone
    }

    const fn is_handle(&self, handle: u64) -> bool {
        matches!(self.resource, Resource::Sa) && self.id == handle
    }

    fn key(&self) -> (NicId, Resource, u64) {
        (self.source, self.resource, self.id)
    }
}

/// A source that is no partition: the host itself, or several partitions at once.
pub const NO_PARTITION: NicId = NicId::new(crate::ids::PortId::DEFAULT, crate::ids::NicIndex::DEFAULT);

/// Which member may send a packet that an adapter is to encrypt. Any other would send it as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pin {
    /// The one that has its security associations.
    To(MemberIndex),
    /// None: it is not known that one member has them all.
    Nowhere,
}

/// No free entry: the caller provides larger storage (`grow`) or refuses the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

pub struct OffloadResources<S: Storage> {
    /// Sorted; the first `used` count.
    entries: S::Of<HeldResource>,
    used: usize,
    /// Entries reserved for requests that are pending.
    promised: usize,
    serial: u32,
    /// How often the resources of each member have changed, by slot.
    changes: [u32; MEMBERS],
    /// Members whose lists are still to be read, and members that have listed all since they were connected.
    unlisted: MemberSet,
    heard: MemberSet,
    /// Since when each member has failed to list what it holds, by slot, in units of 0.1 s and one more, 0 for none; and
    /// those that have failed for so long that requests are directed without them.
    failing: [u32; MEMBERS],
    silent: MemberSet,
    /// The only adapter that there has been since the attachment, if it was connected before and is configured for IPsec.
    /// Associations of before are on it: no list says so, but it sends no packet whose association it does not have.
    pub earlier: Option<MemberIndex>,
    /// Queues and filters are copied to every member: one that is known from a list alone may be one of several.
    pub copied: bool,
}

impl<S: Storage> OffloadResources<S> {
    pub fn new(entries: S::Of<HeldResource>) -> Self {
        Self {
            entries,
            used: 0,
            promised: 0,
            serial: 0,
            changes: [0; MEMBERS],
            unlisted: MemberSet::EMPTY,
            heard: MemberSet::EMPTY,
            failing: [0; MEMBERS],
            silent: MemberSet::EMPTY,
            earlier: None,
            copied: false,
        }
    }

    pub fn entries(&self) -> &[HeldResource] {
        self.entries.get(..self.used).unwrap_or(&[])
    }

    pub fn len(&self) -> usize {
        self.used
    }

    pub fn is_empty(&self) -> bool {
        self.used == 0
    }

    pub fn capacity(&self) -> usize {
        self.entries.len()
    }

    /// Reserves entries for what a request may allocate, so that recording its result cannot fail.
    pub fn promise(&mut self, count: usize) -> Result<(), Full> {
        let taken = self.used.saturating_add(self.promised).saturating_add(count);
        if taken > self.entries.len() {
            return Err(Full);
        }
        self.promised = self.promised.saturating_add(count);
        Ok(())
    }

    /// Releases a reservation, used or not.
    pub fn release_promise(&mut self, count: usize) {
        self.promised = self.promised.saturating_sub(count);
    }

    /// Exchanges the storage for a larger one and gives the old one back; smaller storage comes back itself.
    pub fn grow(&mut self, mut entries: S::Of<HeldResource>) -> S::Of<HeldResource> {
        if entries.len() <= self.entries.len() {
            return entries;
        }
        for (to, from) in entries.iter_mut().zip(self.entries.iter()) {
            *to = *from;
        }
        core::mem::replace(&mut self.entries, entries)
    }

    /// Begins a new allocation; its copies are recorded with this number.
    pub fn next_serial(&mut self) -> u32 {
        // 0 is that of resources that are known from a list alone.
        self.serial = self.serial.wrapping_add(1).max(1);
        self.serial
    }

    /// Records that `member` holds what a request of the switch allocated there.
    pub fn record(
        &mut self,
        source: NicId,
        resource: Resource,
        id: u64,
        member: MemberIndex,
    ) -> Result<(), Full> {
        let serial = self.next_serial();
        self.insert(HeldResource {
            source,
            resource,
            id,
            serial,
            member: member.get(),
            member_resource_id: id,
            ..HeldResource::EMPTY
        })
    }

    /// Records that `member` holds a copy, under its own id, that a request of the driver's allocated.
    pub fn record_copy(
        &mut self,
        (source, resource, id): (NicId, Resource, u64),
        member: MemberIndex,
        member_resource_id: u64,
        serial: u32,
    ) -> Result<(), Full> {
        let member = member.get();
        self.insert(HeldResource {
            source,
            resource,
            id,
            serial,
            member,
            member_resource_id,
            own: true,
            ..HeldResource::EMPTY
        })
    }

    fn insert(&mut self, entry: HeldResource) -> Result<(), Full> {
        if !entry.reported {
            // The member has listed it already, or lists what it has given out anew by now.
            let (member, resource, id) = (entry.member, entry.resource, entry.member_resource_id);
            self.retain(|other| !(other.reported && other.is(member, resource, id)));
            self.changed(member);
        }
        if self.used >= self.entries.len() {
            return Err(Full);
        }
        let at = self.entries().partition_point(|other| *other < entry);
        self.used = self.used.saturating_add(1);
        let mut carried = entry;
        let places = self.entries.get_mut(at..self.used).unwrap_or(&mut []);
        places.iter_mut().for_each(|place| core::mem::swap(place, &mut carried));
        Ok(())
    }

    /// The entries under one key. A request from 0/0 matches the only partition that owns this id.
    fn under(&self, source: NicId, resource: Resource, id: u64) -> &[HeldResource] {
        let exact = self.exact((source, resource, id));
        if !exact.is_empty() || source != NO_PARTITION {
            return exact;
        }
        let known = |entry: &&HeldResource| entry.source != reported::UNATTRIBUTED;
        let hits = self.entries().iter().filter(known);
        let mut hits = hits.filter(|entry| entry.resource == resource && entry.id == id);
        let Some(first) = hits.next() else { return &[] };
        if hits.all(|entry| entry.source == first.source) { self.exact(first.key()) } else { &[] }
    }

    fn exact(&self, key: (NicId, Resource, u64)) -> &[HeldResource] {
        let entries = self.entries();
        let first = entries.partition_point(|entry| entry.key() < key);
        let end = entries.partition_point(|entry| entry.key() <= key);
        entries.get(first..end).unwrap_or(&[])
    }

    /// The allocation that is meant by an id: the latest whose adapter is still there, else the latest. Its copies. What is
    /// known from lists alone is meant only if all members have been listed and no other lists such for the partition.
    pub fn holders(&self, source: NicId, resource: Resource, id: u64) -> impl Iterator<Item = &HeldResource> {
        let entries = self.under(source, resource, id);
        let one = || entries.first().is_some_and(|entry| self.is_on_one(entry.source, resource));
        let is_meant = |serial: &u32| *serial != 0 || one();
        let there = entries.iter().filter(|entry| !entry.gone).map(|entry| entry.serial).max();
        let latest = entries.iter().map(|entry| entry.serial).max();
        let serial = there.filter(is_meant).or(latest).filter(is_meant);
        entries.iter().filter(move |entry| Some(entry.serial) == serial)
    }

    /// The member of a resource that is on one, and still there.
    pub fn holder(&self, source: NicId, resource: Resource, id: u64) -> Option<MemberIndex> {
        self.holders(source, resource, id).find(|entry| !entry.gone)?.member()
    }

    /// The member that may send a packet with the handles of these security associations, of which at least one is not 0:
    /// the one that has them all. A member whose adapter was unbound has none, whatever is bound under its index by now. A
    /// handle that nobody has been given since the attachment may be of before.
    pub fn pin(&self, source: NicId, handles: [u64; 2]) -> Pin {
        let unheard = |handle| !self.entries().iter().any(|entry| entry.is_handle(handle));
        let of_before = |handle| self.earlier.filter(|_| unheard(handle));
        let mut members = handles
            .iter()
            .filter(|&&handle| handle != 0)
            .map(|&handle| self.holder(source, Resource::Sa, handle).or_else(|| of_before(handle)));
        match members.next() {
            Some(Some(first)) if members.all(|member| member == Some(first)) => Pin::To(first),
            _ => Pin::Nowhere,
        }
    }

    /// All members of a resource that are still there.
    pub fn members_of(&self, source: NicId, resource: Resource, id: u64) -> MemberSet {
        self.holders(source, resource, id)
            .filter(|entry| !entry.gone)
            .filter_map(HeldResource::member)
            .collect()
    }

    /// The id that a member knows a resource by.
    pub fn member_resource_id(
        &self,
        source: NicId,
        resource: Resource,
        id: u64,
        member: MemberIndex,
    ) -> Option<u64> {
        let mut holders = self.holders(source, resource, id);
        holders
            .find(|entry| entry.member == member.get() && !entry.gone)
            .map(|entry| entry.member_resource_id)
    }

    /// Whether a member knows this by another id than the switch does. A request that names it must not reach an adapter as
    /// the switch made it: there that id is another resource's, or nobody's.
    pub fn is_renamed(&self, source: NicId, resource: Resource, id: u64) -> bool {
        let mut holders = self.holders(source, resource, id);
        holders.any(|entry| !entry.gone && entry.member_resource_id != entry.id)
    }

    /// Removes a resource that the switch freed.
    pub fn release(&mut self, source: NicId, resource: Resource, id: u64) {
        let Some(meant) = self.holders(source, resource, id).next().copied() else { return };
        let gone = |entry: &HeldResource| entry.key() == meant.key() && entry.serial == meant.serial;
        for at in 0..self.used {
            if let Some(entry) = self.entries.get(at).copied().filter(gone) {
                self.changed(entry.member);
            }
        }
        self.retain(|entry| !gone(entry));
    }

    /// Removes one member's copy of a resource; the copies on other members stay.
    pub fn release_on(&mut self, source: NicId, resource: Resource, id: u64, member: MemberIndex) {
        let Some(meant) = self.holders(source, resource, id).next().copied() else { return };
        let member = member.get();
        self.changed(member);
        self.retain(|entry| {
            entry.key() != meant.key() || entry.serial != meant.serial || entry.member != member
        });
    }

    fn retain(&mut self, keep: impl Fn(&HeldResource) -> bool) {
        let mut kept: usize = 0;
        for index in 0..self.used {
            let Some(entry) = self.entries.get(index).copied().filter(&keep) else { continue };
            if let Some(place) = self.entries.get_mut(kept) {
                *place = entry;
            }
            kept = kept.saturating_add(1);
        }
        self.used = kept;
    }

    /// The number of partitions with a queue on one of these members. If they go down, the default queue serves those
    /// partitions, or a copy of the queue on another member.
    pub fn partitions_on(&self, members: MemberSet) -> u32 {
        let on = |entry: &&HeldResource| entry.member().is_some_and(|member| members.contains(member));
        let there = self.entries().iter().filter(on).filter(|entry| !entry.gone);
        let (mut partitions, mut last) = (0_u32, None);
        for entry in there.filter(|entry| entry.resource == Resource::Queue) {
            // Sorted by source, so that a partition with several queues is counted once.
            if last != Some(entry.source) {
                last = Some(entry.source);
                partitions = partitions.saturating_add(1);
            }
        }
        partitions
    }

    /// A member's adapter was unbound, and all that it held is gone.
    pub fn went_away(&mut self, member: MemberIndex) {
        let used = self.used;
        let mine = |entry: &&mut HeldResource| entry.member == member.get();
        self.entries.iter_mut().take(used).filter(mine).for_each(|entry| entry.gone = true);
        self.changed(member.get());
        self.unlisted = self.unlisted.without(member);
        self.heard = self.heard.without(member);
        self.listens_again(member);
    }

    /// Members are up again: who has a virtual function on them is told when they are lost the next time.
    pub fn came_up(&mut self, members: MemberSet) {
        let used = self.used;
        let up = |entry: &HeldResource| entry.member().is_some_and(|member| members.contains(member));
        let back = self.entries.iter_mut().take(used).filter(|entry| up(entry) && !entry.gone);
        back.for_each(|entry| entry.told = false);
    }

    /// The next partition to notify of a lost virtual function, with a reference: its member is gone or not among those
    /// that are `live`, whether it went down before or after the function was recorded. A partition that does not use its
    /// function is notified when it does; one whose reference is refused, when it is granted. `None` if there is none
    /// to notify.
    pub fn next_lost_vf<R>(
        &mut self,
        live: MemberSet,
        uses_it: impl Fn(NicId) -> bool,
        reference: impl FnOnce(NicId) -> Option<R>,
    ) -> Option<Option<R>> {
        let used = self.used;
        let lost = |entry: &HeldResource| {
            let works = !entry.gone && entry.member().is_some_and(|member| live.contains(member));
            entry.resource == Resource::Vf && !entry.told && !works
        };
        let mut entries = self.entries.iter_mut().take(used);
        let entry = entries.find(|entry| lost(entry) && uses_it(entry.source))?;
        let referenced = reference(entry.source);
        entry.told = referenced.is_some();
        Some(referenced)
    }
}
