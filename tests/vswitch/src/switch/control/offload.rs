//! The switch as the issuer of offload requests: its requests to the external adapter, its records of the resources,
//! and how it frees them.
//!
//! It follows the order of queue-states-and-operations and names the partition's NIC as source. It does not know
//! members: ids are those that it got.

use crate::adapter::offloads::Resource;
use crate::adapter::vmq::VnicAddress;
use crate::adapter::wire::{self, oid};
use crate::switch::control::below::Plan;
use crate::switch::control::envelope::{self, Inner, NicAnswer};
use crate::switch::control::inner_request;
use crate::switch::control::lifecycle;
pub use crate::switch::control::offload_bytes::*;
use crate::switch::ndis::{State, with};
use crate::switch::ports::{Mac, NicId};
use lbfoext::ndis::raw::SUCCESS;
use std::collections::BTreeMap;

/// The resources of one partition in the switch's records.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Queue, whether its allocation is complete, and its filters.
    pub queues: BTreeMap<u32, (bool, Vec<u32>)>,
    pub functions: Vec<u32>,
    pub vports: Vec<u32>,
    /// Filters that are on a virtual port instead of the default queue, with that port.
    pub attached: Vec<(u32, u32)>,
    pub associations: Vec<u64>,
}

impl Held {
    pub fn resources(&self) -> Vec<Resource> {
        let queues = self.queues.keys().map(|id| Resource::Queue(*id));
        let filters = self.queues.values().flat_map(|(_, filters)| filters).map(|id| Resource::Filter(*id));
        let functions = self.functions.iter().map(|id| Resource::Function(*id));
        let vports = self.vports.iter().map(|id| Resource::Vport(*id));
        let associations = self.associations.iter().map(|handle| Resource::Association(*handle));
        queues.chain(filters).chain(functions).chain(vports).chain(associations).collect()
    }

    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// The switch's records, by module and partition.
#[derive(Default)]
pub struct Wants {
    pub held: BTreeMap<(usize, NicId), Held>,
    /// Number of failed requests that may be refused.
    pub vetoes: u64,
    /// Number of failed requests that the switch repeats.
    pub failures: u64,
    /// Percentage of requests about resources that the switch makes from 0/0, where their numbers alone tell whose they are.
    pub from_nobody: u64,
    /// Number of such requests.
    pub made_from_nobody: u64,
}

impl Wants {
    pub fn holds_for(&self, module: usize, nic: NicId) -> bool {
        self.held.contains_key(&(module, nic))
    }
}

/// One partition's NIC, and the plan for its next request below.
#[derive(Clone, Copy)]
pub struct Partition {
    pub module: usize,
    pub nic: NicId,
    pub external: NicId,
    pub plan: Plan,
}

impl Partition {
    /// The partition's MAC address.
    pub fn mac(&self) -> Mac {
        with(|_, state| state.modules[self.module].topology.nic(self.nic).map(|nic| nic.mac))
            .unwrap_or_default()
    }

    /// Issues the request on behalf of the partition to the external adapter as a whole.
    pub fn ask(&self, inner: &Inner) -> NicAnswer {
        let (as_set, nobodys) = with(|world, state| {
            let percent = state.control.wants.from_nobody;
            let nobodys = percent != 0 && world.chance(percent, 100) && state.tells_whose(self, inner);
            state.control.wants.made_from_nobody += u64::from(nobodys);
            (world.chance(1, 4), nobodys)
        });
        let from = if nobodys { NicId::NOWHERE } else { self.nic };
        envelope::ask_about(self.module, (from, self.nic), self.external, inner, (self.plan, as_set))
    }

    fn held<R>(&self, change: impl FnOnce(&mut Held) -> R) -> R {
        with(|_, state| {
            let held = &mut state.control.wants.held;
            let result = change(held.entry((self.module, self.nic)).or_default());
            held.retain(|_, held| !held.is_empty());
            result
        })
    }

    /// A request that may be refused.
    fn want(&self, inner: &Inner) -> Option<NicAnswer> {
        let answer = self.ask(inner);
        if answer.status != SUCCESS {
            with(|_, state| state.control.wants.vetoes += 1);
            return None;
        }
        Some(answer)
    }

    /// A request that must succeed in the end; adapters and injected faults may fail it several times.
    fn insist(&self, inner: &Inner) -> bool {
        for _ in 0..4 {
            if self.ask(inner).status == SUCCESS {
                return true;
            }
            with(|_, state| state.control.wants.failures += 1);
        }
        false
    }

    pub fn allocate_queue(&self) -> Option<u32> {
        let revision = with(|world, _| 1 + (world.random(4) as u8));
        let mask = 1 << (self.nic.port % 16);
        let answer =
            self.want(&Inner::method(oid::ALLOCATE_QUEUE, queue_parameters(revision, self.nic.port, mask)))?;
        let id = wire::get32(answer.buffer(), wire::queue::ID);
        self.held(|held| held.queues.insert(id, (false, Vec::new())));
        Some(id)
    }

    pub fn set_filter(&self, queue: u32, mac: Mac) -> Option<u32> {
        self.set_filter_for(queue, VnicAddress::untagged(mac))
    }

    /// A filter for an address in a VLAN, or in any.
    pub fn set_filter_for(&self, queue: u32, vnic: VnicAddress) -> Option<u32> {
        let revision = with(|world, _| 1 + (world.random(3) as u8));
        let inner = Inner::method(oid::SET_FILTER, vnic_parameters(revision, queue, 0, vnic));
        let id = wire::get32(self.want(&inner)?.buffer(), wire::filter::ID);
        self.held(|held| held.queues.entry(queue).or_default().1.push(id));
        Some(id)
    }

    /// Issues QUEUE_ALLOCATION_COMPLETE for the queues; returns the status of each.
    pub fn complete(&self, queues: &[u32]) -> Vec<i32> {
        let gap = with(|world, _| 8 * world.random(3) as usize);
        let inner = Inner::method(oid::ALLOCATION_COMPLETE, complete_array(queues, gap));
        let answer = self.ask(&inner);
        if answer.status != SUCCESS {
            with(|_, state| state.control.wants.failures += 1);
            return vec![answer.status; queues.len()];
        }
        let bytes = answer.buffer();
        let status = |at: usize| wire::get32(&bytes[at..], wire::completed::STATUS) as i32;
        let all: Vec<i32> = crate::adapter::offloads::elements(bytes).into_iter().map(status).collect();
        for (queue, status) in queues.iter().zip(&all) {
            if *status == SUCCESS {
                self.held(|held| held.queues.entry(*queue).or_default().0 = true);
            }
        }
        all
    }

    pub fn clear_filter(&self, queue: u32, id: u32) {
        if !self.insist(&Inner::set(oid::CLEAR_FILTER, clear_filter(queue, id))) {
            return;
        }
        self.held(|held| {
            if let Some((_, filters)) = held.queues.get_mut(&queue) {
                filters.retain(|filter| *filter != id);
            }
            held.attached.retain(|(filter, _)| *filter != id || queue != 0);
        });
    }

    /// A queue on which a filter is still set is not freed (queue-states-and-operations).
    pub fn free_queue(&self, id: u32) {
        if self.holds().queues.get(&id).is_some_and(|(_, filters)| !filters.is_empty()) {
            return;
        }
        self.insist(&Inner::set(oid::FREE_QUEUE, free_queue(id)));
        self.held(|held| held.queues.remove(&id));
    }

    pub fn allocate_function(&self, mac: Mac) -> Option<u32> {
        let answer = self.want(&Inner::method(oid::ALLOCATE_VF, vf_parameters(mac)))?;
        let id = wire::get32(answer.buffer(), wire::vf::ID) & 0xFFFF;
        self.held(|held| held.functions.push(id));
        Some(id)
    }

    pub fn create_vport(&self, function: u32) -> Option<u32> {
        let revision = with(|world, _| 1 + (world.random(2) as u8));
        let answer = self.want(&Inner::method(oid::CREATE_VPORT, vport_parameters(revision, function)))?;
        let id = wire::get32(answer.buffer(), wire::vport::ID);
        self.held(|held| held.vports.push(id));
        Some(id)
    }

    pub fn delete_vport(&self, id: u32) {
        self.insist(&Inner::set(oid::DELETE_VPORT, delete_vport(id)));
        self.held(|held| held.vports.retain(|vport| *vport != id));
    }

    pub fn free_function(&self, id: u32) {
        self.insist(&Inner::set(oid::FREE_VF, free_vf(id)));
        self.held(|held| held.functions.retain(|function| *function != id));
    }

    /// Adds security associations as one list; returns the handles of those that were offloaded.
    pub fn add_associations(&self, spis: &[u32]) -> Vec<u64> {
        let nodes: Vec<Vec<u8>> = spis.iter().map(|spi| add_sa(false, *spi, 0)).collect();
        let Some((first, rest)) = nodes.split_first() else { return Vec::new() };
        let inner =
            Inner { links: (rest.to_vec(), wire::add_sa::NEXT.at), ..Inner::set(oid::ADD_SA, first.clone()) };
        let answer = self.ask(&inner);
        if answer.status != SUCCESS {
            with(|_, state| state.control.wants.vetoes += 1);
            return Vec::new();
        }
        let handles = answer.contents.iter().map(|node| wire::get(node, wire::add_sa::HANDLE));
        let handles: Vec<u64> = handles.filter(|handle| *handle != 0).collect();
        self.held(|held| held.associations.extend(&handles));
        handles
    }

    pub fn add_association_ex(&self, spi: u32) -> Option<u64> {
        let answer = self.want(&Inner::set(oid::ADD_SA_EX, add_sa(true, spi, self.nic.port)))?;
        let handle = wire::get(answer.buffer(), wire::add_sa_ex::HANDLE);
        self.held(|held| held.associations.push(handle));
        Some(handle)
    }

    pub fn update_association(&self, handle: u64, spi: u32) -> bool {
        self.insist(&Inner::set(oid::UPDATE_SA, update_sa(handle, spi)))
    }

    /// Deletes associations, which may be on several members, as one list.
    pub fn delete_associations(&self, handles: &[u64]) {
        let nodes: Vec<Vec<u8>> = handles.iter().map(|handle| delete_sa(*handle)).collect();
        let Some((first, rest)) = nodes.split_first() else { return };
        let inner = Inner {
            links: (rest.to_vec(), wire::delete_sa::NEXT.at),
            ..Inner::set(oid::DELETE_SA, first.clone())
        };
        self.insist(&inner);
        self.held(|held| held.associations.retain(|handle| !handles.contains(handle)));
    }

    /// The resources of the partition in the switch's records.
    pub fn holds(&self) -> Held {
        with(|_, s| s.control.wants.held.get(&(self.module, self.nic)).cloned().unwrap_or_default())
    }

    /// Allocates and completes a queue with a filter for this address, as for a partition with VMQ that starts.
    pub fn start_queue(&self, mac: Mac) -> Option<u32> {
        self.start_queue_for(&[VnicAddress::untagged(mac)])
    }

    /// Allocates and completes a queue with a filter for each of these.
    pub fn start_queue_for(&self, vnics: &[VnicAddress]) -> Option<u32> {
        let queue = self.allocate_queue()?;
        for vnic in vnics {
            let _ = self.set_filter_for(queue, *vnic);
        }
        self.complete(&[queue]);
        Some(queue)
    }

    /// Moves a filter from its place to that same place, which changes nothing and which only the adapter that has both
    /// can do: so it tells whether requests about them find their way. The status.
    pub fn touch_filter(&self, queue: u32, id: u32) -> i32 {
        let on =
            self.holds().attached.iter().find(|(filter, _)| *filter == id).map_or(0, |(_, vport)| *vport);
        self.ask(&Inner::set(oid::MOVE_FILTER, move_filter(id, (queue, on), (queue, on)))).status
    }

    /// A filter outside all queues moves to a virtual port, or with 0 back to the default one. Whether it did.
    pub fn attach_filter(&self, id: u32, vport: u32) -> bool {
        let on =
            self.holds().attached.iter().find(|(filter, _)| *filter == id).map_or(0, |(_, vport)| *vport);
        let inner = Inner::set(oid::MOVE_FILTER, move_filter(id, (0, on), (0, vport)));
        let moved = self.ask(&inner).status == SUCCESS;
        if moved {
            self.held(|held| {
                held.attached.retain(|(filter, _)| *filter != id);
                held.attached.extend((vport != 0).then_some((id, vport)));
            });
        }
        moved
    }

    /// A filter for an address that is set on a virtual port at once.
    fn set_filter_on(&self, vport: u32, mac: Mac) -> Option<u32> {
        let inner = Inner::method(oid::SET_FILTER, filter_parameters(2, 0, vport, mac));
        let id = wire::get32(self.want(&inner)?.buffer(), wire::filter::ID);
        self.held(|held| {
            held.queues.entry(0).or_default().1.push(id);
            held.attached.push((id, vport));
        });
        Some(id)
    }

    /// A virtual function with a port and a filter for this address, in use: what a partition with SR-IOV gets. The
    /// order of moving-a-receive-filter-to-a-virtual-port is the usual one; the pages allow others. A function that the
    /// filter cannot be moved to is given back.
    pub fn start_function(&self, mac: Mac) -> Option<u32> {
        let order = with(|world, _| world.random(4));
        let early = if order < 2 { Some(self.set_filter(0, mac)?) } else { None };
        let function = self.allocate_function(mac)?;
        let Some(vport) = self.create_vport(function) else {
            self.free_function(function);
            return None;
        };
        let attached = match (early, order) {
            (Some(filter), _) => self.attach_filter(filter, vport),
            (None, 2) => self.set_filter(0, mac).is_some_and(|filter| self.attach_filter(filter, vport)),
            _ => self.set_filter_on(vport, mac).is_some(),
        };
        if !attached {
            self.delete_vport(vport);
            self.free_function(function);
            return None;
        }
        lifecycle::assign_function(self.module, self.nic, true);
        Some(function)
    }

    /// Stops using virtual functions and gives them back: the filters return to the default virtual port first
    /// (virtual-function-teardown-sequence).
    pub fn release_functions(&self) {
        let held = self.holds();
        if !held.functions.is_empty() {
            lifecycle::assign_function(self.module, self.nic, false);
        }
        for (filter, _) in held.attached {
            if !self.attach_filter(filter, 0) {
                self.clear_filter(0, filter);
            }
        }
        held.vports.into_iter().for_each(|vport| self.delete_vport(vport));
        held.functions.into_iter().for_each(|function| self.free_function(function));
    }

    /// Frees all resources in the documented order.
    pub fn release(&self) {
        self.release_functions();
        let held = self.holds();
        for (queue, (_, filters)) in held.queues {
            filters.into_iter().for_each(|filter| self.clear_filter(queue, filter));
            if queue != crate::adapter::vmq::DEFAULT_QUEUE {
                self.free_queue(queue);
            } else {
                self.held(|held| held.queues.remove(&queue));
            }
        }
        self.delete_associations(&held.associations);
    }
}

impl State {
    /// Whether the request names resources of the partition by numbers that no other partition has, of whatever adapter.
    fn tells_whose(&self, partition: &Partition, inner: &Inner) -> bool {
        let nodes: Vec<&[u8]> =
            std::iter::once(&inner.buffer).chain(&inner.links.0).map(|node| &node[..]).collect();
        let named = inner_request::named(inner.oid, &nodes);
        let adapters = self.modules[partition.module].external.adapters.values();
        let owners = |resource: &Resource| -> Vec<NicId> {
            let all = adapters.clone().flat_map(|adapter| adapter.offloads.holdings());
            all.filter(|(_, held)| held == resource).map(|(holder, _)| holder.source).collect()
        };
        let only = |resource: &Resource| {
            let owners = owners(resource);
            !owners.is_empty() && owners.iter().all(|owner| *owner == partition.nic)
        };
        // Of another partition's that was lost with its adapter the switch still has records.
        let recorded = |resource: &Resource| {
            let mut others = self
                .control
                .wants
                .held
                .iter()
                .filter(|((module, nic), _)| *module == partition.module && *nic != partition.nic);
            others.any(|(_, held)| held.resources().contains(resource))
        };
        // Where a filter is moved is named too.
        let plain = inner.oid != oid::MOVE_FILTER && !wire::places(inner.oid);
        // After a restart the extension knows numbers from lists, which may be older than what was freed since.
        let plain = plain && !self.modules[partition.module].attached_before;
        plain && !named.is_empty() && named.iter().all(|one| only(one) && !recorded(one))
    }
}

/// Partitions that got NDIS_STATUS_SWITCH_PORT_REMOVE_VF stop using their virtual functions.
pub fn obey_removals(module: usize, external: NicId) {
    let told = with(|_, s| {
        let listens = s.listens(module);
        let all = if listens { std::mem::take(&mut s.control.status.removals) } else { Vec::new() };
        let (mine, others): (Vec<_>, Vec<_>) = all.into_iter().partition(|(m, _)| *m == module);
        s.control.status.removals.extend(others);
        mine
    });
    for (_, nic) in told {
        Partition { module, nic, external, plan: Plan::default() }.release_functions();
    }
}

/// Frees the resources of a partition whose NIC is removed; without an attached module only the records are cleared.
pub fn release_all(module: usize, nic: NicId, external: NicId) {
    let partition = Partition { module, nic, external, plan: Plan::default() };
    if !with(|_, s| s.control.wants.holds_for(module, nic)) {
        return;
    }
    let listens = with(|_, s| s.listens(module));
    if listens {
        return partition.release();
    }
    with(|_, state| {
        state.control.wants.held.remove(&(module, nic));
        for adapter in state.modules[module].external.adapters.values_mut() {
            let held: Vec<_> =
                adapter.offloads.holdings().filter(|(h, _)| h.source == nic).map(|(_, r)| r).collect();
            held.into_iter().for_each(|resource| adapter.offloads.forget(nic, resource));
        }
    });
}
