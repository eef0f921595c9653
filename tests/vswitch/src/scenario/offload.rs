//! The operations of a test on offloads: resources of partitions, capabilities of adapters, agreement of switch and
//! adapters.

use super::{EXTERNAL_PORT, Net};
use crate::adapter::capabilities::Capabilities;
use crate::adapter::offloads::{By, Resource};
use crate::adapter::vmq::Queues;
use crate::adapter::wire::status as codes;
use crate::switch::control::below::Plan;
use crate::switch::control::lifecycle;
use crate::switch::control::offload::{Held, Partition};
use crate::switch::control::status::{self, Status};
use crate::switch::ndis::{State, with};
use crate::switch::ports::{Mac, NicId};
use lbfoext::ndis::raw::SUCCESS;

/// Status codes of the indications of current capabilities.
pub const CAPABILITY_CODES: [i32; 3] = [codes::FILTER_CURRENT, codes::SWITCH_CURRENT, codes::OFFLOAD_CURRENT];

impl Net {
    /// Runs `act` with the offloads of a partition; `None` if no module is attached.
    pub fn offload<R: Send>(&self, nic: NicId, act: impl FnOnce(Partition) -> R + Send) -> Option<R> {
        self.offload_planned(nic, Plan::default(), act)
    }

    /// The same, with requests that complete below as `plan` defines.
    pub fn offload_planned<R: Send>(
        &self,
        nic: NicId,
        plan: Plan,
        act: impl FnOnce(Partition) -> R + Send,
    ) -> Option<R> {
        let module = self.1;
        let external = NicId::new(EXTERNAL_PORT, 0);
        self.inside(move || {
            let listens = with(|_, s| {
                let there = s.modules[module].topology.nic(nic).is_some();
                there && s.listens(module)
            });
            listens.then(|| act(Partition { module, nic, external, plan }))
        })?
    }

    /// Allocates a queue with a filter for the partition's address.
    pub fn start_queue(&self, nic: NicId) -> Option<u32> {
        let mac = self.mac(nic);
        self.offload(nic, move |partition| partition.start_queue(mac))?
    }

    /// Allocates a virtual function for a partition.
    pub fn start_function(&self, nic: NicId) -> Option<u32> {
        let mac = self.mac(nic);
        self.offload(nic, move |partition| partition.start_function(mac))?
    }

    /// A VM starts or stops using its virtual function.
    pub fn assign_function(&self, nic: NicId, assigned: bool) {
        let module = self.1;
        self.inside(move || lifecycle::assign_function(module, nic, assigned));
    }

    /// Frees all resources of a partition.
    pub fn release(&self, nic: NicId) {
        self.offload(nic, |partition| partition.release());
    }

    /// The switch plans again: every queue is freed and allocated again.
    pub fn plan_again(&self) {
        for nic in self.with_queues() {
            self.release(nic);
            self.start_queue(nic);
        }
    }

    /// The partitions that have a queue in the switch's records.
    pub fn with_queues(&self) -> Vec<NicId> {
        let module = self.1;
        let found = self.look(move |state| {
            let held = state.control.wants.held.iter();
            held.filter(|((m, _), held)| *m == module && !held.queues.is_empty())
                .map(|((_, nic), _)| *nic)
                .collect()
        });
        found.unwrap_or_default()
    }

    /// The resources of a partition in the switch's records.
    pub fn holds(&self, nic: NicId) -> Held {
        let module = self.1;
        self.look(move |s| s.control.wants.held.get(&(module, nic)).cloned()).flatten().unwrap_or_default()
    }

    /// The members that hold resources of a partition.
    pub fn members_of(&self, nic: NicId) -> Vec<(u16, Resource)> {
        let module = self.1;
        let held = self.look(move |state| state.held_for(module, nic)).unwrap_or_default();
        held.into_iter().map(|(index, resource, _)| (index, resource)).collect()
    }

    /// Changes the capabilities of a member, and indicates them with these codes from the member or, with `from_team`,
    /// from the team.
    pub fn change_abilities(&self, member: u16, abilities: Capabilities, tell: &[i32], from_team: bool) {
        let module = self.1;
        let from = self.member(if from_team { 0 } else { member });
        self.inside(move || {
            with(|_, state| {
                if let Some(adapter) = state.modules[module].external.adapters.get_mut(&member) {
                    adapter.offloads.change(abilities);
                }
            });
            for &code in tell {
                let buffer = abilities.indication(code).unwrap_or_default();
                status::indicate(module, &Status { code, buffer, from: Some(from) });
            }
        });
    }

    /// Changes the processor of a queue without a request that extensions see, as with
    /// OID_RECEIVE_FILTER_QUEUE_PARAMETERS.
    pub fn move_queue_to_processor(&self, member: u16, queue: u32, mask: u64) {
        let module = self.1;
        self.look(move |state| {
            let adapter = state.modules[module].external.adapters.get_mut(&member);
            if let Some(queue) = adapter.and_then(|a| a.offloads.queues.all.get_mut(&queue)) {
                queue.affinity = mask;
            }
        });
    }

    /// The differences between the records of switch and adapters: one sentence for each resource that only one of
    /// them has.
    pub fn disagreements(&self) -> Vec<String> {
        let module = self.1;
        self.look(move |state| state.disagreements(module)).unwrap_or_default()
    }

    /// The number of queues in the extension's last indication, and the number of indications. Without one, the only
    /// adapter has as many as it told the switch when it was bound (ns-ndis-_ndis_bind_parameters).
    pub fn offered_queues(&self) -> (Option<u32>, usize) {
        let module = self.1;
        let found = self.look(move |state| {
            let status = &state.control.status;
            let last = status.advertised.get(&(module, codes::FILTER_CURRENT));
            let mut adapters = state.modules[module].external.adapters.values();
            let only = adapters.next().filter(|_| adapters.next().is_none());
            let queues = match last {
                Some(bytes) => Some(Capabilities::promised_queues(bytes).0),
                None => only.map(|adapter| adapter.offloads.capabilities.queues),
            };
            (queues, status.own_of(codes::FILTER_CURRENT))
        });
        found.unwrap_or_default()
    }

    /// The member on whose port the physical switch has learned an address in a VLAN, if it is up.
    pub fn port_of(&self, vid: u16, mac: Mac) -> Option<u16> {
        let module = self.1;
        self.look(move |state| {
            let external = &state.modules[module].external;
            external
                .physical
                .port_of(vid, mac)
                .filter(|port| external.adapters.get(port).is_some_and(|a| a.link_up))
        })?
    }

    /// Checks that the extension knows the member of every filter on a queue, by a request about each that changes
    /// nothing. Returns one sentence for each request that failed or reached an adapter without the filter.
    pub fn lost_ways(&self) -> Vec<String> {
        let mut lost = Vec::new();
        let known = self.world().violations().len();
        for nic in self.with_queues() {
            for (queue, (_, filters)) in self.holds(nic).queues {
                for filter in filters {
                    let status = self.offload(nic, |partition| partition.touch_filter(queue, filter));
                    if status.is_some_and(|status| status != SUCCESS) {
                        lost.push(format!("nobody answers for filter {filter} on queue {queue} of {nic}"));
                    }
                }
            }
        }
        lost.extend(self.world().violations().iter().skip(known).map(ToString::to_string));
        lost
    }

    /// Number of frames through running queues and through default queues, of all members.
    pub fn queue_counts(&self) -> (u64, u64) {
        let module = self.1;
        let counts = self.look(move |state| {
            let queues = state.modules[module].external.adapters.values().map(|a| &a.offloads.queues);
            queues.map(Queues::total).fold((0, 0), |(own, rest), q| (own + q.to_queues, rest + q.to_default))
        });
        counts.unwrap_or_default()
    }
}

impl State {
    fn disagreements(&self, module: usize) -> Vec<String> {
        let mut found = Vec::new();
        let lost = &self.control.nics.lost;
        for ((m, nic), held) in &self.control.wants.held {
            if *m != module {
                continue;
            }
            let there = self.held_for(module, *nic);
            for resource in resources(held) {
                let count = there.iter().filter(|(_, r, by)| *r == resource && *by == By::Switch).count();
                let copies = self.control.nics.replicas.contains_key(&(*nic, resource));
                if count != 1 && !copies && !lost.contains(&(*nic, resource)) {
                    found.push(format!("the switch holds {resource:?} for {nic}, {count} adapters do"));
                }
            }
        }
        for adapter in self.modules[module].external.adapters.values() {
            let nic = |id| self.modules[module].topology.nic(id);
            let dead = nic(NicId::new(EXTERNAL_PORT, adapter.index)).is_some_and(|nic| nic.known_down);
            for (holder, resource) in adapter.offloads.holdings().filter(|_| dead) {
                let used = matches!(resource, Resource::Function(_))
                    && nic(holder.source).is_some_and(|nic| nic.function_assigned)
                    && self.control.nics.known.contains(&(module, holder.source, resource));
                let told = self.control.status.removals.contains(&(module, holder.source));
                if used && !told {
                    found.push(format!(
                        "{} uses {resource:?} of a dead adapter, and was not told",
                        holder.source
                    ));
                }
            }
            for (holder, resource) in adapter.offloads.holdings() {
                let held = self.control.wants.held.get(&(module, holder.source));
                let copied =
                    (self.control.nics.replicas.values().flatten()).any(|c| *c == (adapter.index, resource));
                if holder.by == By::Switch && !held.is_some_and(|held| resources(held).contains(&resource)) {
                    let source = holder.source;
                    found.push(format!(
                        "adapter {} holds {resource:?} for {source}, the switch does not",
                        adapter.index
                    ));
                } else if holder.by == By::Extension
                    && !copied
                    && self.control.nics.known.contains(&(module, holder.source, resource))
                {
                    found.push(format!("adapter {} holds {resource:?} of the extension's", adapter.index));
                }
            }
        }
        found
    }
}

/// All resources in a record; the default queue belongs to no partition.
fn resources(held: &Held) -> Vec<Resource> {
    let queues = held.queues.keys().filter(|id| **id != 0).map(|id| Resource::Queue(*id));
    let filters = held.queues.values().flat_map(|(_, filters)| filters).map(|id| Resource::Filter(*id));
    let functions = held.functions.iter().map(|id| Resource::Function(*id));
    let vports = held.vports.iter().map(|id| Resource::Vport(*id));
    let associations = held.associations.iter().map(|handle| Resource::Association(*handle));
    queues.chain(filters).chain(functions).chain(vports).chain(associations).collect()
}
