//! Receive queues (VMQ) and receive filters of one physical adapter.
//!
//! Ids are unique on one adapter only. The lowest free id is assigned, so members of a team often assign the same one.
//! A request that violates the order in queue-states-and-operations fails with a complaint.

use crate::adapter::offloads::{By, Complaint, Holder};
use crate::switch::ports::{Mac, NicId};
use lbfoext::ndis::raw::{INVALID_PARAMETER, RESOURCES, SUCCESS};
use std::collections::BTreeMap;

/// `NDIS_DEFAULT_RECEIVE_QUEUE_ID`: always exists and belongs to no partition.
pub const DEFAULT_QUEUE: u32 = 0;

#[derive(Clone, Debug)]
pub struct Queue {
    pub holder: Holder,
    /// QUEUE_ALLOCATION_COMPLETE was received; the queue runs once it has a filter.
    pub completed: bool,
    pub affinity: u64,
}

/// The destination of frames that match a filter.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Target {
    Queue(u32),
    Vport(u32),
}

#[derive(Clone, Debug)]
pub struct Filter {
    pub holder: Holder,
    pub target: Target,
    pub vnic: VnicAddress,
}

/// The fields that a filter tests: the address and, if set, the VLAN; 0 matches frames without a VLAN.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct VnicAddress {
    pub mac: Mac,
    pub vid: Option<u16>,
}

impl VnicAddress {
    /// An address in frames without a VLAN.
    pub const fn untagged(mac: Mac) -> Self {
        Self { mac, vid: Some(0) }
    }

    fn takes(&self, mac: Mac, vid: u16) -> bool {
        self.mac == mac && self.vid.is_none_or(|own| own == vid)
    }
}

/// Number of frames for one address, through running queues and through the default queue.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Sorted {
    pub to_queues: u64,
    pub to_default: u64,
}

#[derive(Clone, Debug)]
pub struct Queues {
    /// Largest number of queues in addition to the default one.
    pub limit: u32,
    pub filter_limit: u32,
    pub all: BTreeMap<u32, Queue>,
    pub filters: BTreeMap<u32, Filter>,
    /// Received frames by destination address.
    pub sorted: BTreeMap<Mac, Sorted>,
}

impl Queues {
    pub fn new(limit: u32, filter_limit: u32) -> Self {
        Self { limit, filter_limit, all: BTreeMap::new(), filters: BTreeMap::new(), sorted: BTreeMap::new() }
    }

    pub fn allocate(&mut self, holder: Holder, affinity: u64) -> Result<u32, i32> {
        if self.all.len() >= self.limit as usize {
            return Err(RESOURCES);
        }
        let id = lowest_free(self.all.keys(), DEFAULT_QUEUE + 1);
        self.all.insert(id, Queue { holder, completed: false, affinity });
        Ok(id)
    }

    /// Sets a filter. On a queue only the queue's partition may do so, on the default queue any.
    pub fn set_filter(
        &mut self,
        holder: Holder,
        target: Target,
        vnic: VnicAddress,
    ) -> Result<u32, (i32, Complaint)> {
        if let Target::Queue(id) = target
            && id != DEFAULT_QUEUE
        {
            let Some(queue) = self.all.get(&id) else {
                return Err((INVALID_PARAMETER, unknown("queue", id)));
            };
            if queue.holder.source != holder.source {
                return Err((INVALID_PARAMETER, foreign("queue", id, queue.holder, holder)));
            }
            if queue.holder.by == By::Switch && holder.by == By::Extension {
                return Err((
                    INVALID_PARAMETER,
                    ("OFFLOAD-14", format!("a filter of the extension's on queue {id} of the switch")),
                ));
            }
        }
        if self.filters.len() >= self.filter_limit as usize {
            return Err((RESOURCES, NO_COMPLAINT));
        }
        let id = lowest_free(self.filters.keys(), 1);
        self.filters.insert(id, Filter { holder, target, vnic });
        Ok(id)
    }

    pub fn clear_filter(&mut self, holder: Holder, queue: u32, id: u32) -> Result<(), (i32, Complaint)> {
        let filter = self.filters.get(&id).ok_or((INVALID_PARAMETER, unknown("filter", id)))?;
        if filter.holder.source != holder.source {
            return Err((INVALID_PARAMETER, foreign("filter", id, filter.holder, holder)));
        }
        if let Target::Queue(on) = filter.target
            && on != queue
        {
            return Err((
                INVALID_PARAMETER,
                ("OFFLOAD-03", format!("filter {id} is on queue {on}, not {queue}")),
            ));
        }
        self.filters.remove(&id);
        Ok(())
    }

    /// Moves a filter to another queue or virtual port of the same partition.
    pub fn move_filter(
        &mut self,
        holder: Holder,
        id: u32,
        from: Target,
        to: Target,
    ) -> Result<(), (i32, Complaint)> {
        let filter = self.filters.get_mut(&id).ok_or((INVALID_PARAMETER, unknown("filter", id)))?;
        if filter.holder.source != holder.source || filter.target != from {
            return Err((INVALID_PARAMETER, foreign("filter", id, filter.holder, holder)));
        }
        if let Target::Queue(queue) = to
            && queue != DEFAULT_QUEUE
            && !self.all.contains_key(&queue)
        {
            return Err((INVALID_PARAMETER, unknown("queue", queue)));
        }
        filter.target = to;
        Ok(())
    }

    /// QUEUE_ALLOCATION_COMPLETE for this queue.
    pub fn complete(&mut self, holder: Holder, id: u32) -> Result<(), (i32, Complaint)> {
        let queue = self.all.get_mut(&id).ok_or((INVALID_PARAMETER, unknown("queue", id)))?;
        if queue.holder.source != holder.source {
            return Err((INVALID_PARAMETER, foreign("queue", id, queue.holder, holder)));
        }
        queue.completed = true;
        Ok(())
    }

    pub fn free(&mut self, holder: Holder, id: u32) -> Result<(), (i32, Complaint)> {
        if id == DEFAULT_QUEUE {
            return Err((INVALID_PARAMETER, ("OFFLOAD-13", "the default queue was to be freed".to_owned())));
        }
        let queue = self.all.get(&id).ok_or((INVALID_PARAMETER, unknown("queue", id)))?;
        if queue.holder.source != holder.source {
            return Err((INVALID_PARAMETER, foreign("queue", id, queue.holder, holder)));
        }
        if self.filters.values().any(|filter| filter.target == Target::Queue(id)) {
            return Err((
                INVALID_PARAMETER,
                ("OFFLOAD-11", format!("queue {id} was to be freed with filters set")),
            ));
        }
        self.all.remove(&id);
        Ok(())
    }

    /// The running queue for a frame to this address in this VLAN, and its filter; counts the frame.
    pub fn sort(&mut self, mac: Mac, vid: u16) -> Option<(u32, u32)> {
        let mut taking = self.filters.iter().filter(|(_, filter)| filter.vnic.takes(mac, vid));
        let found = taking.next().and_then(|(filter, set)| {
            let Target::Queue(queue) = set.target else { return None };
            self.all.get(&queue).filter(|queue| queue.completed).map(|_| (queue, *filter))
        });
        let sorted = self.sorted.entry(mac).or_default();
        match found {
            Some(_) => sorted.to_queues += 1,
            None => sorted.to_default += 1,
        }
        found
    }

    /// The sum over all addresses.
    pub fn total(&self) -> Sorted {
        self.sorted.values().fold(Sorted::default(), |all, one| Sorted {
            to_queues: all.to_queues + one.to_queues,
            to_default: all.to_default + one.to_default,
        })
    }

    /// The queues with this partition's filter for this address, in any state.
    pub fn queue_of(&self, source: NicId) -> impl Iterator<Item = (&u32, &Queue)> {
        self.all.iter().filter(move |(_, queue)| queue.holder.source == source)
    }
}

/// For failures that break no rule.
pub const NO_COMPLAINT: Complaint = ("", String::new());

pub(super) fn lowest_free<'a>(taken: impl Iterator<Item = &'a u32>, first: u32) -> u32 {
    let mut id = first;
    for taken in taken {
        if *taken > id {
            break;
        }
        id = taken + 1;
    }
    id
}

pub(super) fn unknown(what: &str, id: u32) -> Complaint {
    ("OFFLOAD-07", format!("{what} {id} is not on the adapter that was asked"))
}

pub(super) fn foreign(what: &str, id: u32, owner: Holder, asked: Holder) -> Complaint {
    ("OFFLOAD-08", format!("{what} {id} is {}'s here, and {} asked for its own", owner.source, asked.source))
}

/// A request about a resource that this adapter does not hold for the partition.
pub(super) fn misdirected(
    rule: &'static str,
    what: &str,
    id: u32,
    owner: Option<Holder>,
    asked: Holder,
) -> (i32, Complaint) {
    let text = match owner {
        Some(owner) => {
            format!("{what} {id} is {}'s here, and {} asked for its own", owner.source, asked.source)
        }
        None => format!("{what} {id} is not on the adapter that was asked"),
    };
    (INVALID_PARAMETER, (rule, text))
}

/// Status and complaint of an operation without a result.
pub(super) fn ended(result: Result<(), (i32, Complaint)>) -> (i32, Option<Complaint>) {
    match result {
        Ok(()) => (SUCCESS, None),
        Err((status, complaint)) => (status, Some(complaint).filter(|c| !c.0.is_empty())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Holder = Holder { source: NicId::new(10, 0), by: By::Switch };
    const B: Holder = Holder { source: NicId::new(11, 0), by: By::Switch };

    fn rule_of<T: std::fmt::Debug>(result: Result<T, (i32, Complaint)>) -> &'static str {
        result.expect_err("it is refused").1.0
    }

    #[test]
    fn a_queue_runs_from_its_completion_with_a_filter_until_it_is_freed() {
        let mut queues = Queues::new(2, 4);
        let id = queues.allocate(A, 4).unwrap();
        let filter = queues.set_filter(A, Target::Queue(id), VnicAddress::untagged([1; 6])).unwrap();
        assert_eq!(queues.sort([1; 6], 0), None, "not complete");
        queues.complete(A, id).unwrap();
        assert_eq!(queues.sort([1; 6], 0), Some((id, filter)));
        assert_eq!(queues.sort([2; 6], 0), None, "another vNIC");
        assert_eq!(rule_of(queues.free(A, id)), "OFFLOAD-11");
        queues.clear_filter(A, id, filter).unwrap();
        queues.free(A, id).unwrap();
        assert_eq!(queues.total(), Sorted { to_queues: 1, to_default: 2 });
        assert!(queues.all.is_empty() && queues.filters.is_empty());
    }

    #[test]
    fn identifiers_are_the_lowest_free_and_limits_are_kept() {
        let mut queues = Queues::new(2, 1);
        assert_eq!((queues.allocate(A, 0), queues.allocate(B, 0)), (Ok(1), Ok(2)));
        assert_eq!(queues.allocate(A, 0), Err(RESOURCES));
        queues.free(A, 1).unwrap();
        assert_eq!(queues.allocate(B, 0), Ok(1));
        queues.set_filter(B, Target::Queue(1), VnicAddress::untagged([1; 6])).unwrap();
        assert_eq!(
            queues.set_filter(B, Target::Queue(2), VnicAddress::untagged([2; 6])).unwrap_err().0,
            RESOURCES
        );
    }

    #[test]
    fn what_is_not_here_and_what_is_another_partitions_is_told_apart() {
        let mut queues = Queues::new(4, 4);
        let id = queues.allocate(A, 0).unwrap();
        assert_eq!(rule_of(queues.free(A, 9)), "OFFLOAD-07");
        assert_eq!(rule_of(queues.free(B, id)), "OFFLOAD-08");
        assert_eq!(
            rule_of(queues.set_filter(B, Target::Queue(id), VnicAddress::untagged([1; 6]))),
            "OFFLOAD-08"
        );
        assert_eq!(rule_of(queues.complete(B, id)), "OFFLOAD-08");
        assert_eq!(rule_of(queues.free(A, DEFAULT_QUEUE)), "OFFLOAD-13");
        let own = Holder { by: By::Extension, ..A };
        assert_eq!(
            rule_of(queues.set_filter(own, Target::Queue(id), VnicAddress::untagged([1; 6]))),
            "OFFLOAD-14"
        );
        assert!(queues.set_filter(own, Target::Queue(DEFAULT_QUEUE), VnicAddress::untagged([1; 6])).is_ok());
    }

    #[test]
    fn a_filter_moves_between_a_queue_and_a_virtual_port() {
        let mut queues = Queues::new(4, 4);
        let filter = queues.set_filter(A, Target::Queue(0), VnicAddress::untagged([1; 6])).unwrap();
        queues.move_filter(A, filter, Target::Queue(0), Target::Vport(3)).unwrap();
        assert_eq!(queues.filters[&filter].target, Target::Vport(3));
        assert!(queues.move_filter(A, filter, Target::Queue(0), Target::Vport(4)).is_err());
        assert!(queues.move_filter(B, filter, Target::Vport(3), Target::Queue(0)).is_err());
    }

    #[test]
    fn a_filter_with_a_vlan_takes_frames_of_that_vlan_only() {
        let mut queues = Queues::new(4, 4);
        let id = queues.allocate(A, 0).unwrap();
        queues.complete(A, id).unwrap();
        queues.set_filter(A, Target::Queue(id), VnicAddress { mac: [1; 6], vid: Some(20) }).unwrap();
        queues.set_filter(A, Target::Queue(id), VnicAddress { mac: [2; 6], vid: None }).unwrap();
        let taken = |mac, vid| queues.clone().sort(mac, vid).is_some();
        assert!(taken([1; 6], 20) && !taken([1; 6], 0) && !taken([1; 6], 21));
        assert!(taken([2; 6], 0) && taken([2; 6], 4094));
    }
}
