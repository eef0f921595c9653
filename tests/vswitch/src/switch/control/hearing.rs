//! What a module was told of resources that it never saw allocated: those of before its attachment, which adapters list
//! (oid-receive-filter-enum-queues and the others). A list says numbers and, of filters and functions, addresses. From
//! them follows which adapter has a resource of a partition, or that a number is another partition's.
//!
//! It counts only if every connected adapter was heard to the end in one round of requests, after which time has passed;
//! what a request was not told for that was refused or cut off, nobody knows.

use crate::adapter::Adapter;
use crate::adapter::offloads::Resource;
use crate::adapter::sriov::PHYSICAL_FUNCTION;
use crate::adapter::vmq::Target;
use crate::adapter::wire::oid;
use crate::switch::ports::NicId;
use lbfoext::ndis::raw::{
    BUFFER_OVERFLOW, BUFFER_TOO_SHORT, INVALID_LENGTH, INVALID_PARAMETER, NOT_SUPPORTED, SUCCESS,
};
use std::collections::{BTreeMap, BTreeSet};

/// The lists that a round needs; of filters, those of each queue and virtual port besides.
const LISTS: [u32; 4] = [oid::ENUM_QUEUES, oid::ENUM_VFS, oid::ENUM_VPORTS, oid::ENUM_FILTERS];

/// One round of requests for the lists of one adapter.
#[derive(Default)]
pub struct Hearing {
    /// Some of it was refused or cut off.
    failed: bool,
    /// Requests that are out, and when the last one was answered.
    out: u32,
    last: u64,
    /// Calls of the extension that had been refused before it began.
    faults: usize,
    answered: BTreeSet<u32>,
    /// What was listed, with the partition if the address says it.
    told: BTreeMap<Resource, Option<NicId>>,
    /// Whose something was said to be, in this round or one before.
    ever: BTreeMap<Resource, NicId>,
}

/// Which answers of an adapter count.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// Those of the round that is over, if nothing went wrong in it: this much must be known.
    Whole,
    /// Those of rounds before as well: this much may be known. What was said once is true until it is freed, however
    /// a later round ends.
    Ever,
}

pub fn is_alike(one: Resource, other: Resource) -> bool {
    std::mem::discriminant(&one) == std::mem::discriminant(&other)
}

const fn on(target: Target) -> Resource {
    match target {
        Target::Queue(id) => Resource::Queue(id),
        Target::Vport(id) => Resource::Vport(id),
    }
}

impl Hearing {
    /// The partition of something that was listed; by its address, or by that of what it is on or of what is on it.
    pub fn partition(&self, adapter: &Adapter, resource: Resource) -> Option<NicId> {
        let own = |resource| self.told.get(&resource).copied().flatten();
        let filters = adapter.offloads.queues.filters.iter().filter(|(_, f)| on(f.target) == resource);
        let by_filters = filters.filter_map(|(id, _)| own(Resource::Filter(*id))).next();
        let function = match resource {
            Resource::Vport(id) => adapter.offloads.functions.vports.get(&id).map(|vport| vport.function),
            _ => None,
        };
        let by_function = function.filter(|id| *id != PHYSICAL_FUNCTION).map(Resource::Function);
        own(resource).or(by_function.and_then(own)).or(by_filters)
    }

    /// A request for a list goes to the adapter: one of this round, or the first of a new one.
    pub fn asked(&mut self, now: u64, faults: usize) {
        if self.out == 0 && now > self.last {
            *self = Self { faults, ever: std::mem::take(&mut self.ever), ..Self::default() };
        }
        self.out += 1;
    }

    /// It comes back with this. `cut`: the answer ends before the last element.
    pub fn answered(
        &mut self,
        now: u64,
        number: u32,
        (status, cut): (i32, bool),
        told: Vec<(Resource, Option<NicId>)>,
    ) {
        (self.out, self.last) = (self.out.saturating_sub(1), now);
        match status {
            SUCCESS if cut => self.failed = true,
            SUCCESS | NOT_SUPPORTED => _ = self.answered.insert(number),
            // It is asked again with more room; the filter is gone by now.
            INVALID_LENGTH | BUFFER_TOO_SHORT | BUFFER_OVERFLOW | INVALID_PARAMETER => {}
            _ => self.failed = true,
        }
        for (resource, partition) in told {
            let known = self.told.entry(resource).or_default();
            *known = partition.or(*known);
        }
    }

    /// Remembers whose all is that was listed up to now.
    pub fn remember(&mut self, adapter: &Adapter) {
        let told = self.told.keys().filter_map(|one| Some((*one, self.partition(adapter, *one)?)));
        self.ever.extend(told.collect::<Vec<_>>());
    }

    /// Whether this was ever said to be this partition's.
    pub fn was_told(&self, resource: Resource, partition: NicId) -> bool {
        self.ever.get(&resource) == Some(&partition)
    }

    /// A request for a list could not be sent.
    pub fn fails(&mut self) {
        self.failed = true;
    }

    pub fn is_told(&self, resource: Resource) -> bool {
        self.told.contains_key(&resource)
    }

    /// Whether its requests have ended, none of them badly. `refused`: whether calls of the extension were, after the first
    /// so many.
    pub fn is_whole(&self, now: u64, refused: impl Fn(usize) -> bool) -> bool {
        let over = self.out == 0 && now > self.last;
        let all = LISTS.iter().all(|list| self.answered.contains(list));
        over && all && !self.failed && !refused(self.faults)
    }
}
