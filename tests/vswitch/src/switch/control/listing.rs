//! The lists that adapters answer (`adapter::lists`), and which requests of the switch follow from them alone: about
//! resources that a module never saw allocated.

use crate::adapter::lists::is_of_list;
use crate::adapter::offloads::{By, Resource};
use crate::adapter::wire::{self, get32, oid};
use crate::check::rule;
use crate::machine::world::World;
use crate::switch::control::hearing::{Heard, Hearing, is_alike};
use crate::switch::control::inner_request;
use crate::switch::control::nic_request::Carried;
use crate::switch::ndis::State;
use crate::switch::ports::{Mac, NicId};
use lbfoext::ndis::raw::{FAILURE, INVALID_LENGTH, OidRequest, SUCCESS};
use std::collections::BTreeSet;

impl State {
    /// A request for a list goes to an adapter.
    pub(super) fn list_is_asked(&mut self, world: &World, module: usize, index: u16) {
        let hearing = self.control.nics.hearings.entry((module, index)).or_default();
        hearing.asked(world.now(), world.faults());
    }

    /// NDIS answers a request for what it saw allocated on an adapter, or with `refuse` it does not get there.
    pub(super) fn answer_list(
        &mut self,
        world: &World,
        module: usize,
        index: u16,
        inner: &mut OidRequest,
        refuse: Option<i32>,
    ) -> i32 {
        // The answer takes the place of the question.
        let asked = inner_request::nodes_of(inner).into_iter().next().unwrap_or_default();
        let listing = self.style.listing;
        let refused = || listing.never == Some(index) || world.chance(listing.refused, 100);
        let refuse = refuse.or_else(|| refused().then_some(FAILURE));
        let adapter = self.modules[module].external.adapters.get(&index).filter(|_| refuse.is_none());
        let (status, cut) = match adapter {
            None => (refuse.unwrap_or(FAILURE), false),
            Some(_) if inner.information_buffer.is_null() => (INVALID_LENGTH, false),
            Some(adapter) => {
                // SAFETY: the extension builds its requests with the lengths that they state.
                let bytes = unsafe {
                    let length = inner.length as usize;
                    std::slice::from_raw_parts_mut(inner.information_buffer.cast::<u8>(), length)
                };
                adapter.offloads.list(inner, bytes, listing, |n| world.random(n))
            }
        };
        let number = inner.oid;
        if refuse.is_some() || status == SUCCESS {
            self.not_told(module, index, |offloads, resource| is_of_list(offloads, number, &asked, resource));
        }
        let told = if status == SUCCESS && !cut { self.listed(module, index, number, &asked) } else { None };
        let told = told.unwrap_or_default();
        let untold = &mut self.control.nics.untold;
        told.iter().for_each(|(resource, _)| _ = untold.remove(&(module, index, *resource)));
        if let Some(hearing) = self.control.nics.hearings.get_mut(&(module, index)) {
            hearing.answered(world.now(), number, (status, cut), told);
            self.modules[module]
                .external
                .adapters
                .get(&index)
                .into_iter()
                .for_each(|adapter| hearing.remember(adapter));
        }
        status
    }

    /// What an answer without failure says.
    fn listed(
        &self,
        module: usize,
        index: u16,
        number: u32,
        asked: &[u8],
    ) -> Option<Vec<(Resource, Option<NicId>)>> {
        let m = &self.modules[module];
        let offloads = &m.external.adapters.get(&index)?.offloads;
        let shown = |by: By| !self.style.listing.own_only || by == By::Extension;
        let whose = |nic: NicId, mac: Mac| {
            let known = m.topology.nic(nic).is_some_and(|nic| nic.mac == mac);
            Some(nic).filter(|nic| known && m.topology.is_connected(*nic) && !m.topology.is_changing())
        };
        let all = offloads.holdings().filter(|(holder, _)| shown(holder.by));
        let partition = |resource| match resource {
            Resource::Function(id) => {
                offloads.functions.functions.get(&id).and_then(|f| whose(f.holder.source, f.mac))
            }
            _ => None,
        };
        if number == oid::FILTER_PARAMETERS {
            let id = get32(asked, wire::filter::ID);
            let filter = offloads.queues.filters.get(&id)?;
            return Some(vec![(Resource::Filter(id), whose(filter.holder.source, filter.vnic.mac))]);
        }
        if number == oid::QUEUE_PARAMETERS {
            let id = get32(asked, wire::queue::ID);
            let queue = offloads.queues.all.get(&id)?;
            let of = Some(queue.holder.source).filter(|nic| !self.style.listing.portless && nic.index == 0);
            return Some(vec![(Resource::Queue(id), of)]);
        }
        let of_list = all.filter(|(_, resource)| is_of_list(offloads, number, asked, *resource));
        Some(of_list.map(|(_, resource)| (resource, partition(resource))).collect())
    }

    /// Forgets what was heard of an adapter that comes or goes.
    pub(crate) fn unheard(&mut self, module: usize, index: u16) {
        self.control.nics.hearings.remove(&(module, index));
    }

    fn is_whole(&self, world: &World, module: usize, hearing: &Hearing) -> bool {
        let refused = |after| world.faults_since(after).iter().any(|f| self.modules[module].was_learning(f));
        hearing.is_whole(world.now(), refused)
    }

    /// Whether everything that the connected adapters hold is known: allocated since the attachment, or listed.
    fn is_all_heard(&self, world: &World, module: usize) -> bool {
        let m = &self.modules[module];
        let nics = &self.control.nics;
        let heard = |index: u16| {
            let (Some(hearing), Some(adapter)) =
                (nics.hearings.get(&(module, index)), m.external.adapters.get(&index))
            else {
                return false;
            };
            let known = |source, resource| {
                matches!(resource, Resource::Association(_))
                    || hearing.is_told(resource)
                    || nics.known.contains(&(module, source, resource))
            };
            let mut holdings = adapter.offloads.holdings();
            self.is_whole(world, module, hearing)
                && holdings.all(|(holder, resource)| known(holder.source, resource))
        };
        !m.topology.is_changing() && m.topology.members().all(|nic| heard(nic.id.index))
    }

    /// Whether a number that one adapter lists is this partition's there, and no other adapter lists anything of the kind
    /// that may be the partition's.
    pub(super) fn is_told_where(
        &self,
        world: &World,
        module: usize,
        source: NicId,
        resource: Resource,
    ) -> bool {
        // Lists do not tell copies of the extension's from what the switch allocated.
        let copied = self.style.copies && matches!(resource, Resource::Queue(_) | Resource::Filter(_));
        if copied || !self.is_all_heard(world, module) {
            return false;
        }
        let m = &self.modules[module];
        let mut listed = Vec::new();
        for index in m.topology.members().map(|nic| nic.id.index) {
            let Some(adapter) = m.external.adapters.get(&index) else { continue };
            let Some(hearing) = self.control.nics.hearings.get(&(module, index)) else { return false };
            for (_, held) in adapter.offloads.holdings().filter(|(_, held)| is_alike(*held, resource)) {
                if hearing.is_told(held) {
                    listed.push((index, held, hearing.partition(adapter, held)));
                }
            }
        }
        let maybe = listed.iter().filter(|(_, _, of)| of.is_none_or(|of| of == source));
        let on: BTreeSet<u16> = maybe.map(|(index, ..)| *index).collect();
        on.len() == 1 && listed.iter().any(|(_, held, of)| *held == resource && *of == Some(source))
    }

    /// What a request names that one adapter alone is known from its list to have.
    pub(super) fn told_of(&self, world: &World, module: usize, inner: usize) -> Vec<Resource> {
        let Some(carried) = self.control.nics.carried.get(&inner) else { return Vec::new() };
        let mut named = carried.named();
        named.retain(|resource| self.is_told_where(world, module, carried.partition, *resource));
        named
    }

    /// A request that goes down as it came, when one adapter is left, names nothing that is another partition's there, as
    /// far as the extension knows.
    pub(super) fn nobody_elses_is_named(&self, world: &World, carried: &Carried) {
        let anothers = self.anothers_named(world, carried, Heard::Whole);
        rule(world, "HOST-12", anothers.is_none(), || {
            let (number, from) = (carried.oid, carried.partition);
            format!("{number:#x} of {from} goes to the only adapter, where {anothers:?} is another's")
        });
    }

    /// What a request of the switch to the external port names that is another partition's on the only adapter, as the
    /// extension knows. Whoever cleans up there is told that it is done.
    pub(crate) fn anothers_named(&self, world: &World, carried: &Carried, heard: Heard) -> Option<Resource> {
        let to_team =
            self.modules[carried.module].topology.is_external(carried.to.port) && carried.to.index == 0;
        let understood = carried.well_formed && (carried.row().is_some() || carried.target().is_some());
        if !self.installed.role.has_team() || !to_team || !understood || carried.from == NicId::NOWHERE {
            return None;
        }
        let mut named = carried.named();
        let nodes: Vec<&[u8]> = carried.blocks.iter().map(|(_, bytes)| &bytes[..]).collect();
        named.extend(inner_request::moved_to(carried.oid, &nodes));
        named.extend(inner_request::cleared_on(carried.oid, carried.buffer()));
        self.anothers_there((world, heard), carried.module, &named, carried.partition)
    }

    /// What of this the only adapter has for another partition, as the extension knows: it allocated that there, or the
    /// adapter lists it.
    fn anothers_there(
        &self,
        (world, heard): (&World, Heard),
        module: usize,
        named: &[Resource],
        source: NicId,
    ) -> Option<Resource> {
        let only = self.only_adapter(module)?;
        let m = &self.modules[module];
        let adapter = m.external.adapters.get(&only)?;
        let hearing = self.control.nics.hearings.get(&(module, only));
        let whole = hearing.filter(|hearing| self.is_whole(world, module, hearing));
        let is_known = |owner: NicId, resource: Resource| {
            let told = whole.filter(|hearing| hearing.is_told(resource));
            self.control.nics.known.contains(&(module, owner, resource))
                || told.is_some_and(|hearing| hearing.partition(adapter, resource) == Some(owner))
                || heard == Heard::Ever && hearing.is_some_and(|hearing| hearing.was_told(resource, owner))
        };
        named.iter().copied().find(|resource| {
            let owner = adapter.offloads.owner(*resource).filter(|owner| *owner != source);
            owner.is_some_and(|owner| is_known(owner, *resource))
        })
    }
}
