//! Resources of before the attachment, as members list them. They are in the table beside those that were allocated since,
//! so that requests find them and new resources are placed beside them.
//!
//! A list says an id, not a partition. A filter's partition is the one with its MAC address; a queue or virtual port
//! belongs to that of its filters, a virtual port of a function to that of the function. What cannot be attributed counts
//! for placement alone. Nor does a list say who allocated, or tell copies of one resource: where a partition has resources
//! of one type on several members, or the placement makes copies of them, no request is directed by what is listed. Lists
//! may be incomplete, because NDIS may show only what one binding allocated (oid-receive-filter-enum-queues.md).

use crate::Storage;
use crate::ids::{MemberIndex, MemberSet, NicId, NicIndex, PortId, Ticks};
use crate::offload::lists::Listed;
use crate::offload::{Full, HeldResource, NO_PARTITION, OffloadResources};
use crate::oid::Resource;

/// The source of resources whose partition is not known. No port has the number.
pub const UNATTRIBUTED: NicId = NicId::new(PortId::new(u32::MAX), NicIndex::new(u16::MAX));

/// How long a member may fail to list what it holds, without a break, before requests are directed by what the others
/// list: as if it did not support the lists, for which one page names no status but NDIS_STATUS_FAILURE
/// (oid-receive-filter-enum-queues.md).
pub const PATIENCE: Ticks = Ticks::from_ms(50_000);

/// A listed resource and its partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReportedResource {
    pub resource: Resource,
    pub id: u64,
    on: Option<(Resource, u64)>,
    pub source: NicId,
}

impl ReportedResource {
    pub const EMPTY: Self = Self { resource: Resource::Queue, id: 0, on: None, source: UNATTRIBUTED };

    /// `source` is the partition with the resource's own address, if there is one.
    pub fn new(listed: &Listed, source: Option<NicId>) -> Self {
        let source = source.unwrap_or(UNATTRIBUTED);
        Self { resource: listed.resource, id: listed.id, on: listed.on, source }
    }

    const fn is_attributed(&self) -> bool {
        self.source.port.get() != UNATTRIBUTED.port.get()
    }
}

/// Attributes resources of one member that have no address of their own: to the partition of what they are on, or of a
/// filter or virtual port that is on them.
pub fn attribute(all: &mut [ReportedResource]) {
    // A filter on a virtual port of a function: two steps.
    for _ in 0..2 {
        for index in 0..all.len() {
            let Some(one) = all.get(index).copied().filter(|one| !one.is_attributed()) else { continue };
            let below = one.on.and_then(|on| all.iter().find(|other| (other.resource, other.id) == on));
            let mut above = all.iter().filter(|other| other.on == Some((one.resource, one.id)));
            let beside = below.filter(|below| below.is_attributed());
            let found =
                beside.or_else(|| above.find(|other| other.is_attributed())).map(|found| found.source);
            if let (Some(place), Some(source)) = (all.get_mut(index), found) {
                place.source = source;
            }
        }
    }
}

impl<S: Storage> OffloadResources<S> {
    /// How often the resources of a member have changed: a list that was read meanwhile may be outdated.
    pub fn changes(&self, member: MemberIndex) -> u32 {
        self.changes.get(member.slot()).copied().unwrap_or(0)
    }

    pub(super) fn changed(&mut self, member: u8) {
        let slot = MemberIndex::new(member).map(MemberIndex::slot);
        if let Some(count) = slot.and_then(|slot| self.changes.get_mut(slot)) {
            *count = count.wrapping_add(1);
        }
    }

    /// Members whose lists are to be read: what they said before is outdated.
    pub fn want_lists(&mut self, members: MemberSet) {
        self.unlisted = self.unlisted.union(members);
        members.iter().for_each(|member| self.changed(member.get()));
    }

    /// Whether the lists of a member are to be read.
    pub const fn is_unlisted(&self, member: MemberIndex) -> bool {
        self.unlisted.contains(member)
    }

    /// A member has failed to list what it holds; it will be asked again. True if it has failed for `PATIENCE` by now and
    /// requests do not wait for it any longer, once for each time.
    pub fn failed_to_list(&mut self, member: MemberIndex, now: Ticks) -> bool {
        let Some(since) = self.failing.get_mut(member.slot()) else { return false };
        let tenths = u32::try_from(now.get() / 1_000_000).unwrap_or(u32::MAX).saturating_add(1);
        if *since == 0 {
            *since = tenths;
        }
        let long = Ticks::from_ms(u64::from(tenths.saturating_sub(*since)).saturating_mul(100)) >= PATIENCE;
        let new = long && !self.silent.contains(member);
        if new {
            self.silent = self.silent.with(member);
        }
        new
    }

    /// A member has listed all, or another adapter will take its place.
    pub(super) fn listens_again(&mut self, member: MemberIndex) {
        self.silent = self.silent.without(member);
        if let Some(since) = self.failing.get_mut(member.slot()) {
            *since = 0;
        }
    }

    /// Whether an entry is known only from a list that is to be read again.
    pub(super) fn is_outdated(&self, entry: &HeldResource) -> bool {
        entry.reported && entry.member().is_some_and(|member| self.unlisted.contains(member))
    }

    /// Whether a member that is not among the `live` may hold something, by a list that is to be read again and that it has
    /// not failed to give for long.
    pub(super) fn is_doubtful(&self, live: MemberSet) -> bool {
        let asked = self.unlisted.minus(self.silent).minus(live);
        let mut listed = self.entries().iter().filter(|entry| entry.reported && !entry.gone);
        listed.any(|entry| entry.member().is_some_and(|member| asked.contains(member)))
    }

    /// Takes over what a member lists. `complete`: in place of what it listed before; else in addition to it, because some
    /// of its lists could not be read.
    ///
    /// # Errors
    ///
    /// `Full` if there may be too few free entries; then nothing has changed.
    pub fn report(
        &mut self,
        member: MemberIndex,
        listed: &[ReportedResource],
        complete: bool,
    ) -> Result<(), Full> {
        let needed = self.used.saturating_add(self.promised).saturating_add(listed.len());
        if needed > self.entries.len() {
            return Err(Full);
        }
        let number = member.get();
        if complete {
            self.unlisted = self.unlisted.without(member);
            self.heard = self.heard.with(member);
            self.listens_again(member);
            self.retain(|entry| !(entry.reported && entry.member == number && !entry.gone));
        }
        for one in listed {
            let known = self.entries().iter().any(|entry| entry.is(number, one.resource, one.id));
            if !known {
                self.insert(HeldResource {
                    source: one.source,
                    resource: one.resource,
                    id: one.id,
                    member: number,
                    member_resource_id: one.id,
                    reported: true,
                    ..HeldResource::EMPTY
                })?;
            }
        }
        Ok(())
    }

    /// The switch has freed a resource of a partition that no request could be directed about. Removes what is listed for
    /// the partition under that id. Returns the members whose lists may be outdated by that, those included that are being
    /// read.
    pub fn freed_elsewhere(&mut self, source: NicId, resource: Resource, id: u64) -> MemberSet {
        let reporters = self.reporters(resource, id);
        self.retain(|entry| !(entry.reported && !entry.gone && entry.key() == (source, resource, id)));
        reporters.union(self.unlisted)
    }

    /// A filter has moved to another queue or virtual port of its member. A list that was read meanwhile may lack it, having
    /// come to the new place before the filter and to the old one after: it is there, and such a list is outdated.
    pub fn filter_moved(&mut self, source: NicId, filter: u64, member: MemberIndex) {
        self.changed(member.get());
        let number = member.get();
        let is_there = |entry: &HeldResource| {
            entry.key() == (source, Resource::Filter, filter) && entry.member == number && !entry.gone
        };
        if self.entries().iter().any(is_there) {
            return;
        }
        let listed = HeldResource {
            source,
            resource: Resource::Filter,
            id: filter,
            member: number,
            member_resource_id: filter,
            reported: true,
            ..HeldResource::EMPTY
        };
        if self.insert(listed).is_err() {
            // No room: it is listed again when there is.
            self.want_lists(MemberSet::EMPTY.with(member));
        }
    }

    /// The members that list a resource under this id, of whatever partition.
    pub fn reporters(&self, resource: Resource, id: u64) -> MemberSet {
        let listed = self.entries().iter().filter(|entry| entry.reported && !entry.gone);
        listed
            .filter(|entry| entry.resource == resource && entry.id == id)
            .filter_map(HeldResource::member)
            .collect()
    }

    /// The members that list something of which the partition is not known.
    pub fn unattributed(&self) -> MemberSet {
        let listed = self.entries().iter().filter(|entry| entry.reported && !entry.gone);
        listed.filter(|entry| entry.source == UNATTRIBUTED).filter_map(HeldResource::member).collect()
    }

    /// Whether `member` has this id for another partition and `source` is not known to have it anywhere: there a request of
    /// that partition would be about the other's resource.
    pub fn is_anothers(&self, source: NicId, resource: Resource, id: u64, member: MemberIndex) -> bool {
        let owned = |entry: &HeldResource| entry.source != source && entry.source != UNATTRIBUTED;
        source != NO_PARTITION
            && self.exact((source, resource, id)).iter().all(HeldResource::is_gone)
            && self.entries().iter().any(|entry| entry.is(member.get(), resource, id) && owned(entry))
    }

    /// Whether a request may be directed by what is listed: all members have listed what they hold at least once, but for
    /// those that have failed to for long, and one alone lists resources of this type for the partition or for one that is
    /// not known. That lists are read again changes nothing: what was freed since is forgotten already.
    pub(super) fn is_on_one(&self, source: NicId, resource: Resource) -> bool {
        let listed = self.entries().iter().filter(|entry| entry.reported && !entry.gone);
        let members: MemberSet = listed
            .filter(|entry| entry.resource == resource)
            .filter(|entry| entry.source == source || entry.source == UNATTRIBUTED)
            .filter_map(HeldResource::member)
            .collect();
        let copied = self.copied && matches!(resource, Resource::Queue | Resource::Filter);
        let waited_for = self.unlisted.minus(self.heard).minus(self.silent);
        members.len() == 1 && waited_for.is_empty() && !copied
    }
}

impl HeldResource {
    /// Whether this is what a member knows under an id.
    pub(super) const fn is(&self, member: u8, resource: Resource, id: u64) -> bool {
        self.member == member
            && self.resource as u8 == resource as u8
            && self.member_resource_id == id
            && !self.gone
    }
}
