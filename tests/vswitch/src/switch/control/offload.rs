//! The switch as the issuer of offload requests: its requests to the external adapter, its records of the resources,
//! and how it frees them.
//!
//! It follows the order of queue-states-and-operations and names the partition's NIC as source. It does not know
//! members: ids are those that it got.

use crate::adapter::vmq::VnicAddress;
use crate::adapter::wire::{self, oid, put, structure};
use crate::switch::control::below::Plan;
use crate::switch::control::envelope::{self, Inner, NicAnswer};
use crate::switch::control::lifecycle;
use crate::switch::ndis::{Life, with};
use crate::switch::ports::{Mac, NicId};
use lbfoext::ndis::raw::SUCCESS;
use std::collections::BTreeMap;

/// Value of undefined bytes of a request.
const GARBAGE: u8 = 0;

/// The resources of one partition in the switch's records.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Queue, whether its allocation is complete, and its filters.
    pub queues: BTreeMap<u32, (bool, Vec<u32>)>,
    pub functions: Vec<u32>,
    pub vports: Vec<u32>,
    pub associations: Vec<u64>,
}

impl Held {
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

/// `NDIS_RECEIVE_QUEUE_PARAMETERS` of a revision, for a port, with a processor mask.
pub fn queue_parameters(revision: u8, port: u32, mask: u64) -> Vec<u8> {
    let size: u16 = match revision {
        1 => 1084,
        2 => 1092,
        3 => 1096,
        _ => 1112,
    };
    let mut bytes = structure(usize::from(size), revision, size, GARBAGE);
    put(&mut bytes, wire::queue::KIND, 1);
    put(&mut bytes, wire::queue::AFFINITY, mask);
    put(&mut bytes, wire::queue::BUFFERS, 64);
    put(&mut bytes, wire::queue::PORT, u64::from(port));
    bytes
}

/// `NDIS_RECEIVE_FILTER_PARAMETERS` with one field: the destination address, untagged or VLAN 0.
pub fn filter_parameters(revision: u8, queue: u32, vport: u32, mac: Mac) -> Vec<u8> {
    vnic_parameters(revision, queue, vport, VnicAddress::untagged(mac))
}

/// `NDIS_RECEIVE_FILTER_PARAMETERS` with the fields that tell a vNIC: its destination address, and its VLAN if that
/// is not 0 (setting-a-vmq-filter).
pub fn vnic_parameters(revision: u8, queue: u32, vport: u32, vnic: VnicAddress) -> Vec<u8> {
    let size: u16 = match revision {
        1 => 36,
        2 => 44,
        _ => 60,
    };
    let first = usize::from(size).next_multiple_of(8);
    let vlan = vnic.vid.filter(|vid| *vid != 0);
    let fields = 1 + usize::from(vlan.is_some());
    let mut bytes = structure(first + FIELD * fields, revision, size, GARBAGE);
    put(&mut bytes, wire::filter::KIND, 1);
    put(&mut bytes, wire::filter::QUEUE, u64::from(queue));
    put(&mut bytes, wire::filter::FIELDS_AT, first as u64);
    put(&mut bytes, wire::filter::FIELDS, fields as u64);
    put(&mut bytes, wire::filter::FIELD_SIZE, FIELD as u64);
    if revision >= 2 {
        put(&mut bytes, wire::filter::VPORT, u64::from(vport));
    }
    let untagged = if vnic.vid == Some(0) { wire::mac_field::UNTAGGED_OR_ZERO } else { 0 };
    let mut fields = bytes[first..].chunks_mut(FIELD);
    if let Some(field) = fields.next() {
        equal(field, wire::mac_field::DESTINATION, untagged, &vnic.mac);
    }
    if let (Some(field), Some(vid)) = (fields.next(), vlan) {
        equal(field, wire::mac_field::VLAN_ID, 0, &vid.to_le_bytes());
    }
    bytes
}

/// Size of `NDIS_RECEIVE_FILTER_FIELD_PARAMETERS`.
const FIELD: usize = 56;

/// A field of the MAC header is equal to this value.
fn equal(field: &mut [u8], which: u32, flags: u32, value: &[u8]) {
    field[..4].copy_from_slice(&[0x80, 2, FIELD as u8, 0]);
    for (member, value) in [
        (wire::field::FLAGS, flags),
        (wire::field::HEADER, 1),
        (wire::field::TEST, 1),
        (wire::field::WHICH, which),
    ] {
        put(field, member, u64::from(value));
    }
    let at = wire::field::VALUE.at;
    field[at..at + value.len()].copy_from_slice(value);
}

/// `NDIS_RECEIVE_QUEUE_ALLOCATION_COMPLETE_ARRAY` with `gap` bytes before and between its elements.
pub fn complete_array(queues: &[u32], gap: usize) -> Vec<u8> {
    let (first, size) = (20 + gap, 16 + gap);
    let mut bytes = structure(first + size * queues.len(), 1, 20, GARBAGE);
    put(&mut bytes, wire::complete::FIRST, first as u64);
    put(&mut bytes, wire::complete::COUNT, queues.len() as u64);
    put(&mut bytes, wire::complete::SIZE, size as u64);
    for (n, queue) in queues.iter().enumerate() {
        let element = &mut bytes[first + n * size..];
        element[..4].copy_from_slice(&[0x80, 1, 16, 0]);
        put(element, wire::completed::QUEUE, u64::from(*queue));
        put(element, wire::completed::STATUS, 0x7777_7777);
    }
    bytes
}

/// A structure with one id.
fn names(size: u16, member: wire::Member, id: u64) -> Vec<u8> {
    let mut bytes = structure(usize::from(size), 1, size, GARBAGE);
    put(&mut bytes, member, id);
    bytes
}

pub fn free_queue(id: u32) -> Vec<u8> {
    names(12, wire::free_queue::ID, u64::from(id))
}

pub fn clear_filter(queue: u32, id: u32) -> Vec<u8> {
    let mut bytes = names(16, wire::clear_filter::ID, u64::from(id));
    put(&mut bytes, wire::clear_filter::QUEUE, u64::from(queue));
    bytes
}

pub fn move_filter(id: u32, from: (u32, u32), to: (u32, u32)) -> Vec<u8> {
    let mut bytes = names(24, wire::move_filter::ID, u64::from(id));
    for (member, value) in [
        (wire::move_filter::FROM_QUEUE, from.0),
        (wire::move_filter::FROM_VPORT, from.1),
        (wire::move_filter::TO_QUEUE, to.0),
        (wire::move_filter::TO_VPORT, to.1),
    ] {
        put(&mut bytes, member, u64::from(value));
    }
    bytes
}

pub fn vf_parameters(mac: Mac) -> Vec<u8> {
    let mut bytes = structure(1632, 1, 1632, GARBAGE);
    put(&mut bytes, wire::vf::MAC_LENGTH, 6);
    let at = wire::vf::MAC.at;
    bytes[at..at + 6].copy_from_slice(&mac);
    bytes
}

pub fn free_vf(id: u32) -> Vec<u8> {
    names(12, wire::free_vf::ID, u64::from(id))
}

pub fn vport_parameters(revision: u8, function: u32) -> Vec<u8> {
    let (size, length): (u16, usize) = if revision < 2 { (572, 576) } else { (748, 752) };
    let mut bytes = structure(length, revision, size, GARBAGE);
    put(&mut bytes, wire::vport::FUNCTION, u64::from(function));
    put(&mut bytes, wire::vport::QUEUE_PAIRS, 1);
    put(&mut bytes, wire::vport::STATE, 1);
    bytes
}

pub fn delete_vport(id: u32) -> Vec<u8> {
    names(12, wire::delete_vport::ID, u64::from(id))
}

/// One node of ADD_SA, or the whole of ADD_SA_EX.
pub fn add_sa(extended: bool, spi: u32, port: u32) -> Vec<u8> {
    let mut bytes = structure(176, 1, if extended { 170 } else { 169 }, GARBAGE);
    let first = if extended { wire::add_sa_ex::ASSOCIATIONS } else { wire::add_sa::ASSOCIATIONS };
    bytes[first.at + 8..first.at + 12].copy_from_slice(&spi.to_le_bytes());
    if extended {
        put(&mut bytes, wire::add_sa_ex::PORT, u64::from(port));
    }
    bytes
}

pub fn delete_sa(handle: u64) -> Vec<u8> {
    names(24, wire::delete_sa::HANDLE, handle)
}

pub fn update_sa(handle: u64, spi: u32) -> Vec<u8> {
    let mut bytes = structure(32, 1, 28, GARBAGE);
    put(&mut bytes, wire::update_sa::HANDLE, handle);
    put(&mut bytes, wire::update_sa::SPI, u64::from(spi));
    bytes
}

impl Partition {
    /// Issues the request on behalf of the partition to the external adapter as a whole.
    pub fn ask(&self, inner: &Inner) -> NicAnswer {
        let as_set = with(|world, _| world.chance(1, 4));
        envelope::ask(self.module, self.nic, self.external, inner, self.plan, as_set)
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
        self.insist(&Inner::set(oid::CLEAR_FILTER, clear_filter(queue, id)));
        self.held(|held| {
            if let Some((_, filters)) = held.queues.get_mut(&queue) {
                filters.retain(|filter| *filter != id);
            }
        });
    }

    pub fn free_queue(&self, id: u32) {
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

    /// Moves a filter from its queue to the same queue. This changes nothing, but only the adapter that has both can
    /// do it, so the status shows whether requests about them reach it.
    pub fn touch_filter(&self, queue: u32, id: u32) -> i32 {
        self.ask(&Inner::set(oid::MOVE_FILTER, move_filter(id, (queue, 0), (queue, 0)))).status
    }

    /// Allocates a virtual function with a port and a filter for this address and assigns it, as for a partition with
    /// SR-IOV.
    pub fn start_function(&self, mac: Mac) -> Option<u32> {
        let function = self.allocate_function(mac)?;
        self.create_vport(function)?;
        let _ = self.set_filter(0, mac);
        lifecycle::assign_function(self.module, self.nic, true);
        Some(function)
    }

    /// Stops using virtual functions and frees them.
    pub fn release_functions(&self) {
        let held = self.holds();
        if !held.functions.is_empty() {
            lifecycle::assign_function(self.module, self.nic, false);
        }
        held.vports.into_iter().for_each(|vport| self.delete_vport(vport));
        held.functions.into_iter().for_each(|function| self.free_function(function));
    }

    /// Frees all resources in the documented order.
    pub fn release(&self) {
        let held = self.holds();
        for (queue, (_, filters)) in held.queues {
            filters.into_iter().for_each(|filter| self.clear_filter(queue, filter));
            if queue != crate::adapter::vmq::DEFAULT_QUEUE {
                self.free_queue(queue);
            } else {
                self.held(|held| held.queues.remove(&queue));
            }
        }
        self.release_functions();
        self.delete_associations(&held.associations);
    }
}

/// Partitions that got NDIS_STATUS_SWITCH_PORT_REMOVE_VF stop using their virtual functions.
pub fn obey_removals(module: usize, external: NicId) {
    let told = with(|_, s| {
        let listens = !matches!(s.life(module), Life::Detached | Life::Attaching);
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
    let listens = with(|_, s| !matches!(s.life(module), Life::Detached | Life::Attaching));
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
