//! Below the miniport edge: the external adapter passes encapsulated requests to the physical adapter that they name,
//! or executes those to the whole team itself, as a MUX driver would.

use crate::adapter::capabilities::Capabilities;
use crate::adapter::lists::is_list;
use crate::adapter::offloads::{By, Holder, Resource, Served};
use crate::adapter::wire::{self, oid};
use crate::check::{advice, offload as checks, rule};
use crate::machine::world::World;
use crate::switch::control::Own;
use crate::switch::control::below::{LinkAnswers, Told, link_state, unknown_link_state};
use crate::switch::control::inner_request;
use crate::switch::control::nic_request::Seen;
use crate::switch::control::results;
use crate::switch::ndis::State;
use crate::switch::ports::{NicId, NicState};
use lbfoext::ndis::raw::{
    ADAPTER_NOT_FOUND, FAILURE, INVALID_LENGTH, LinkState, OidRequest, REQUEST_ABORTED, SUCCESS,
    SwitchNicOidRequest, oids, request_type,
};

impl State {
    /// Completes the clone of a request to a NIC: with the adapter's status or, for an OID that no adapter knows, with
    /// the planned one.
    pub(super) fn answer_passed(
        &mut self,
        world: &World,
        original: usize,
        clone: &OidRequest,
        cancelled: bool,
    ) -> Option<i32> {
        let above = self.control.above.get(&original)?;
        let (module, planned) = (above.module, above.plan.status);
        if (clone.length as usize) < size_of::<SwitchNicOidRequest>() {
            return None;
        }
        // SAFETY: the clone is pending, and the envelope has the length that it states.
        let e = unsafe { clone.information_buffer.cast::<SwitchNicOidRequest>().read_unaligned() };
        let to = NicId::new(e.destination_port_id, e.destination_nic_index);
        if let Some(nic) = self.modules[module].topology.nic_mut(to).filter(|_| to.index != 0) {
            nic.requests = nic.requests.saturating_sub(1);
        }
        let inner = inner_of(above)?;
        let carried = self.control.nics.carried.get(&inner)?;
        let meant = carried.row().is_some() || carried.target().is_some();
        let answered = meant && carried.well_formed && carried.to != NicId::NOWHERE;
        if !answered {
            return None;
        }
        let refuse = if cancelled { Some(REQUEST_ABORTED) } else { (planned != SUCCESS).then_some(planned) };
        let served = self.hand_to_adapter(world, module, &e, By::Switch, refuse);
        let status = served.status;
        let carried = self.control.nics.carried.get_mut(&inner)?;
        carried.served.push((to.index, By::Switch, served));
        // SAFETY: the inner request lives as long as the one from above.
        let after = results(unsafe { &*e.oid_request });
        carried.after = Some((carried.contents(), after));
        Some(status)
    }

    /// A physical adapter completes a request of the extension itself.
    pub(super) fn answer_envelope(&mut self, world: &World, own: &Own, r: &mut OidRequest) -> (i32, Told) {
        let (module, cancelled) = (own.module, own.cancelled);
        // SAFETY: checked when the request came down; the extension keeps it until it completes.
        let e = unsafe { *r.information_buffer.cast::<SwitchNicOidRequest>() };
        let to = NicId::new(e.destination_port_id, e.destination_nic_index);
        for nic in [to, NicId::new(e.source_port_id, e.source_nic_index)] {
            if let Some(nic) = self.modules[module].topology.nic_mut(nic) {
                nic.requests = nic.requests.saturating_sub(1);
            }
        }
        r.method_bytes_read = r.length;
        if e.oid_request.is_null() {
            return (FAILURE, Told::NOTHING);
        }
        // SAFETY: the inner request lives as long as the outer one.
        let inner = unsafe { &mut *e.oid_request };
        let header = inner.header.object_type == lbfoext::ndis::raw::object_type::OID_REQUEST
            && inner.header.size >= 236;
        rule(world, "OID-24", header, || "inner request without a valid header".to_owned());
        if inner.oid == oids::GEN_LINK_STATE {
            return self.answer_link(world, module, to, inner, own.seen);
        }
        let planned = self.control.above.values().find(|a| a.module == module && a.oid == r.oid);
        let refuse = planned.map(|a| a.plan.status).filter(|s| *s != SUCCESS);
        let offload = wire::offload_row(inner.oid).is_some();
        let refuse = if cancelled { Some(REQUEST_ABORTED) } else { refuse.filter(|_| offload) };
        let old = own.seen.filter(|_| !offload && world.chance(self.style.old_answers, 100));
        let now = old.and_then(|old| self.exchange_abilities(module, to.index, old.abilities));
        let served = self.hand_to_adapter(world, module, &e, By::Extension, refuse);
        now.and_then(|now| self.exchange_abilities(module, to.index, now));
        let status = served.status;
        if offload
            && let Some(carried) =
                self.control.nics.carried.values_mut().find(|c| c.module == module && c.oid == inner.oid)
        {
            carried.served.push((to.index, By::Extension, served));
        }
        (status, Told::NOTHING)
    }

    fn answer_link(
        &mut self,
        world: &World,
        module: usize,
        to: NicId,
        inner: &mut OidRequest,
        seen: Option<Seen>,
    ) -> (i32, Told) {
        if world.fails("OID_SWITCH_NIC_REQUEST") {
            return (FAILURE, Told::NOTHING);
        }
        let Some(now) = self.seen_now(module, to.index) else {
            return (ADAPTER_NOT_FOUND, Told::NOTHING);
        };
        if let LinkAnswers::Status(status) = self.style.link_answers {
            return (status, Told::NOTHING);
        }
        // An adapter may have read the value long before its answer arrives.
        let Seen { up, speed, order, .. } =
            seen.filter(|_| world.chance(self.style.old_answers, 100)).unwrap_or(now);
        let query = inner.request_type == request_type::QUERY_INFORMATION;
        if !query || (inner.length as usize) < size_of::<LinkState>() || inner.information_buffer.is_null() {
            inner.word56 = 40;
            return (INVALID_LENGTH, Told::NOTHING);
        }
        let known = self.style.link_answers == LinkAnswers::State;
        let state = if known { link_state(up, speed) } else { unknown_link_state() };
        // SAFETY: the buffer was found large enough.
        unsafe { inner.information_buffer.cast::<LinkState>().write_unaligned(state) };
        inner.word52 = 40;
        if !known {
            return (SUCCESS, Told::NOTHING);
        }
        world.log(|| format!("adapter {} says link {up}", to.index));
        let m = &mut self.modules[module];
        m.topology.unsettled();
        let mut came_up = false;
        // An indication after the adapter read the value is newer than its answer.
        if let Some(nic) = m.topology.nic_mut(to).filter(|nic| nic.told <= order) {
            nic.told = order;
            came_up = up && nic.known_down;
            if up {
                nic.known_down = false;
            }
        }
        if came_up {
            self.flows.a_member_came_up();
        }
        (SUCCESS, Told::about(module, to, !up, order))
    }

    /// Replaces an adapter's capabilities temporarily; returns the previous ones.
    fn exchange_abilities(&mut self, module: usize, index: u16, other: Capabilities) -> Option<Capabilities> {
        let adapter = self.modules[module].external.adapters.get_mut(&index)?;
        Some(std::mem::replace(&mut adapter.offloads.capabilities, other))
    }

    /// The present link and capabilities of a member.
    pub(super) fn seen_now(&mut self, module: usize, index: u16) -> Option<Seen> {
        let order = self.tick();
        let adapter = self.modules[module].external.adapters.get(&index)?;
        let abilities = adapter.offloads.capabilities;
        Some(Seen { up: adapter.link_up, speed: adapter.bits_per_second, abilities, order })
    }

    /// Passes an encapsulated request to the adapter that its envelope names, or to the whole team.
    fn hand_to_adapter(
        &mut self,
        world: &World,
        module: usize,
        e: &SwitchNicOidRequest,
        by: By,
        refuse: Option<i32>,
    ) -> Served {
        // SAFETY: the inner request lives as long as the outer one.
        let inner = unsafe { &mut *e.oid_request };
        let source = self.partition_of(module, NicId::new(e.source_port_id, e.source_nic_index), inner.oid);
        let fails = || world.fails("OID_SWITCH_NIC_REQUEST").then_some(FAILURE);
        let refuse = refuse.or_else(fails);
        if is_list(inner) && by == By::Extension {
            let status = self.answer_list(world, module, e.destination_nic_index, inner, refuse);
            return Served { status, ..Served::default() };
        }
        if let Some(status) = refuse {
            return Served { status, ..Served::default() };
        }
        let holder = Holder { source, by };
        let index = match e.destination_nic_index {
            0 => {
                let mut carried = self.control.nics.carried.values();
                let carried = carried.find(|c| c.module == module && c.oid == inner.oid);
                let misread = carried.and_then(|carried| self.misread(module, carried));
                rule(world, "OFFLOAD-08", misread.is_none(), || {
                    format!(
                        "{:#x} of {source} goes to the only adapter, which has {misread:?} for it",
                        inner.oid
                    )
                });
                self.nobody_takes_it_for_anothers(world, module, source, inner);
                match self.only_adapter(module).filter(|index| self.has_all(module, *index, source, inner)) {
                    Some(index) => index,
                    None => return self.team_edge(world, module, holder, inner),
                }
            }
            _ if crate::inject::ignores_lists(self, module, holder, inner) => {
                return self.team_edge(world, module, holder, inner);
            }
            index => index,
        };
        let Some(index) = crate::inject::adapter_asked(self, module, index, holder, inner) else {
            inner.word52 = inner.length;
            return Served::default();
        };
        self.before_serving(world, module, index, holder, inner);
        crate::inject::extra_request(world, self, module, index, holder, inner);
        let unknowable = self.is_lost_unseen(module, index, source, inner);
        let Some(adapter) = self.modules[module].external.adapters.get_mut(&index) else {
            return Served { status: ADAPTER_NOT_FOUND, ..Served::default() };
        };
        let nodes = inner_request::nodes_of(inner);
        let nodes: Vec<&[u8]> = nodes.iter().map(|n| &n[..]).collect();
        let first = inner_request::named_by(inner, &nodes).first().copied();
        let owner = first.filter(|_| adapter.offloads.by_number).and_then(|r| adapter.offloads.owner(r));
        let taken_for = Holder { source: owner.unwrap_or(source), ..holder };
        // SAFETY: the switch and the extension build their requests with the lengths that they state.
        let served = unsafe { adapter.offloads.serve(taken_for, inner) };
        if let Some((rule, text)) = served.complaint.as_ref().filter(|_| !unknowable) {
            world.violate(rule, format!("adapter {index}: {text}"));
        }
        // The extension need not know a resource that was allocated through the whole team, even if an earlier one had
        // the same id.
        for made in &served.made {
            self.control.nics.untold.remove(&(module, index, *made));
            self.control.nics.lost.retain(|lost| *lost != (source, *made));
            let thing = (module, source, *made);
            if e.destination_nic_index == 0 {
                self.control.nics.known.remove(&thing);
            } else {
                self.control.nics.known.insert(thing);
            }
        }
        world.log(|| format!("adapter {index} ends {:#x} of {source} with {:#x}", inner.oid, served.status));
        served
    }

    /// The partition that a request is about. An adapter sees numbers alone; those of a request from 0/0 must be the ones
    /// of the partition that the switch means, and so must those of a request of the extension's own in its stead.
    fn partition_of(&self, module: usize, source: NicId, number: u32) -> NicId {
        let nobodys = source == NicId::NOWHERE && wire::offload_row(number).is_some();
        let mut carried = self.control.nics.carried.values();
        let carried = carried.find(|c| nobodys && c.module == module && c.oid == number);
        carried.map_or(source, |carried| carried.partition)
    }

    /// Without a team, index 0 denotes the only adapter.
    pub(super) fn only_adapter(&self, module: usize) -> Option<u16> {
        let mut members = self.modules[module].topology.members();
        match (members.next(), members.next()) {
            (Some(nic), None) => Some(nic.id.index),
            _ => None,
        }
    }

    /// A request to the team as a whole, or to its only adapter, is about nothing that the extension has seen allocated and
    /// lost with its adapter: those that are left go by numbers, which are others' resources there.
    fn nobody_takes_it_for_anothers(&self, world: &World, module: usize, source: NicId, inner: &OidRequest) {
        let mut carried = self.control.nics.carried.values();
        let Some(carried) = carried.find(|c| c.module == module && c.oid == inner.oid) else { return };
        let nics = &self.control.nics;
        let known =
            |r: &Resource| nics.known.contains(&(module, source, *r)) && nics.lost.contains(&(source, *r));
        let named = carried.named();
        let seen = !named.is_empty() && named.iter().all(known) && carried.well_formed;
        if !seen || !self.installed.role.has_team() || carried.refused > 0 {
            return;
        }
        let excused = self.was_starved_about(world, module, source, &named);
        rule(world, "HOST-12", excused || !self.is_about_what_was_lost(carried), || {
            let number = inner.oid;
            format!("{number:#x} of {source} goes to all adapters, and {named:?} was lost with another")
        });
    }

    /// Whether the adapter holds every resource that the request names, and a filter where the request says it is: the
    /// extension need not know what it, or one before it, did before it was attached.
    fn has_all(&self, module: usize, index: u16, source: NicId, inner: &OidRequest) -> bool {
        let nodes = inner_request::nodes_of(inner);
        let nodes: Vec<&[u8]> = nodes.iter().map(|n| &n[..]).collect();
        let adapter = self.modules[module].external.adapters.get(&index);
        let holds = |r| adapter.is_some_and(|a| a.offloads.holds(source, r));
        let there = inner_request::filter_on(inner.oid, &nodes).is_none_or(|(filter, on)| {
            let set = adapter.and_then(|a| a.offloads.queues.filters.get(&filter));
            set.is_some_and(|set| set.target == on)
        });
        there && inner_request::named_by(inner, &nodes).into_iter().all(holds)
    }

    /// Whether the request went to the only adapter there is about what was lost with another one before the extension was
    /// attached, and what nobody has there: to an extension that sees one adapter, which lists no such thing, it is that
    /// adapter's, and the adapter refuses it as it would without the extension.
    fn is_lost_unseen(&self, module: usize, index: u16, source: NicId, inner: &OidRequest) -> bool {
        let m = &self.modules[module];
        let nodes = inner_request::nodes_of(inner);
        let nodes: Vec<&[u8]> = nodes.iter().map(|n| &n[..]).collect();
        let named = inner_request::named_by(inner, &nodes);
        let adapter = m.external.adapters.get(&index);
        let (nics, nobody) = (&self.control.nics, |r| adapter.is_some_and(|a| a.offloads.owner(r).is_none()));
        let unseen = |r: &Resource| {
            nics.lost.contains(&(source, *r)) && !nics.known.contains(&(module, source, *r)) && nobody(*r)
        };
        let absent = |r: &&Resource| adapter.is_some_and(|a| !a.offloads.holds(source, **r));
        m.attached_before
            && self.only_adapter(module) == Some(index)
            && named.iter().filter(absent).all(unseen)
    }

    /// Checks that the extension chose this adapter correctly.
    pub(crate) fn before_serving(
        &mut self,
        world: &World,
        module: usize,
        index: u16,
        holder: Holder,
        inner: &OidRequest,
    ) {
        let nodes = inner_request::nodes_of(inner);
        let nodes: Vec<&[u8]> = nodes.iter().map(|n| &n[..]).collect();
        let named = inner_request::named_by(inner, &nodes);
        let m = &self.modules[module];
        let elsewhere = m.external.adapters.iter().any(|(other, adapter)| {
            *other != index && named.iter().any(|r| adapter.offloads.holdings().any(|(_, held)| held == *r))
        });
        // An adapter that compares partitions says itself that what a request names is another's (OFFLOAD-08).
        let target = inner_request::moved_to(inner.oid, &nodes);
        let adapter = m.external.adapters.get(&index);
        let silent = named.iter().copied().filter(|_| adapter.is_some_and(|a| a.offloads.by_number));
        let target = adapter.and_then(|a| crate::inject::moved_to(&a.offloads, holder, target));
        for resource in silent.chain(target) {
            let owner = adapter.and_then(|a| a.offloads.owner(resource));
            rule(world, "HOST-12", owner.is_none_or(|owner| owner == holder.source), || {
                let (from, number) = (holder.source, inner.oid);
                format!(
                    "{number:#x} of {from} names {resource:?} to adapter {index}, where it is {owner:?}'s"
                )
            });
        }
        if !named.is_empty() {
            world.exercised(if wire::is_ipsec(inner.oid) { "OFFLOAD-23" } else { belongs(inner) });
            if elsewhere && !wire::is_ipsec(inner.oid) {
                world.exercised("OFFLOAD-08");
            }
        }
        if inner.oid == oid::FREE_QUEUE || inner.oid == oid::DELETE_VPORT || inner.oid == oid::FREE_VF {
            world.exercised("OFFLOAD-11");
        }
        if inner.oid == oid::FREE_QUEUE
            && m.external.adapters.get(&index).is_some_and(|a| a.offloads.queues.total().to_queues > 0)
        {
            let member = NicId::new(m.external.external_port, index);
            let queue = checks::free_queue_of(&nodes);
            let held = m.sends_running.is_empty()
                && self.packets.all().into_iter().any(|p| p.waits_from(module, member, queue));
            rule(world, "OFFLOAD-18", !held, || {
                format!("queue {queue:?} of {member} is freed while a packet that came through it is held")
            });
        }
        if inner.oid == oid::FREE_QUEUE && holder.by == By::Extension {
            world.exercised("OFFLOAD-13");
        }
        if inner.oid == oid::SET_FILTER && holder.by == By::Extension {
            world.exercised("OFFLOAD-14");
        }
        if holder.by == By::Extension && wire::releases(inner.oid) {
            let carried = self.control.nics.carried.values().find(|c| c.module == module);
            let allowed =
                carried.map(crate::switch::control::nic_request::Carried::named).unwrap_or_default();
            let adapter = m.external.adapters.get(&index);
            let theirs = named.iter().find(|r| {
                let held = adapter.and_then(|a| a.offloads.holdings().find(|(_, held)| held == *r));
                held.is_some_and(|(owner, _)| owner.by == By::Switch) && !allowed.contains(r)
            });
            rule(world, "OFFLOAD-05", theirs.is_none(), || {
                format!("the extension gives up {theirs:?}, which the switch allocated")
            });
        }
        if wire::places(inner.oid) && named.is_empty() {
            let able = |a: &crate::adapter::Adapter| {
                let c = &a.offloads.capabilities;
                if inner.oid == oid::ALLOCATE_QUEUE { c.queues > 0 } else { c.functions > 0 }
            };
            let chosen = m.external.adapters.get(&index).is_some_and(able);
            let other = m.external.adapters.values().any(|a| a.link_up && able(a));
            advice(world, "OFFLOAD-21", chosen || !other, || {
                format!("{:#x} is placed on member {index}, which cannot, while another can", inner.oid)
            });
        }
    }

    /// A request to the whole team: resources to be freed are freed on whichever adapter holds them, or are freed
    /// already.
    fn team_edge(&mut self, world: &World, module: usize, holder: Holder, inner: &mut OidRequest) -> Served {
        let (name, vetoable, method) = match wire::offload_row(inner.oid) {
            Some(row) => (row.name, row.vetoable, row.method),
            None if wire::target(inner).is_some() => ("a request for a virtual port", true, false),
            None => return Served { status: FAILURE, ..Served::default() },
        };
        let carried = self.control.nics.carried.values().find(|c| c.module == module);
        let refused = carried.is_some_and(|c| c.refused > 0);
        let nodes = inner_request::nodes_of(inner);
        let nodes: Vec<&[u8]> = nodes.iter().map(|n| &n[..]).collect();
        let named = inner_request::named_by(inner, &nodes);
        let excused = refused || self.was_starved_about(world, module, holder.source, &named);
        // Only who has a team is asked to name one of its adapters.
        let excused = excused || !self.installed.role.has_team();
        let m = &mut self.modules[module];
        // Nobody completes queues of a partition that has left.
        let there = m.topology.nic(holder.source).is_some_and(|nic| nic.state == NicState::Connected);
        let excused = excused || !there && inner.oid == oid::ALLOCATION_COMPLETE;
        // The extension chose when it passed the request on, not when the adapter answers.
        let had_choice = carried.is_some_and(|c| c.had_choice);
        let usable = had_choice
            && m.topology.members().any(|nic| nic.usable && !nic.known_down)
            && !m.topology.is_changing();
        let told = carried.map(|c| c.told.clone()).unwrap_or_default();
        if named.is_empty() && wire::uses(inner.oid) {
            // The default queue, the default virtual port: the team's own adapter passes it to all.
            inner.word52 = inner.length;
            return Served::default();
        }
        if named.is_empty() {
            // A security association that no adapter can offload is forwarded unchanged instead of refused.
            let lacking = m.external.adapters.values().any(|a| a.offloads.capabilities.associations == 0);
            let excused = excused || lacking && wire::is_ipsec(inner.oid);
            rule(world, "OID-57", excused || !usable, || {
                format!("{name} of {} went to the whole team", holder.source)
            });
            return Served { status: FAILURE, ..Served::default() };
        }
        let mut ended = Vec::new();
        let releases = wire::releases(inner.oid);
        for resource in named {
            // Copies of the resource are freed with it.
            let copies = self.control.nics.replicas.get(&(holder.source, resource)).filter(|_| releases);
            for (index, copy) in copies.into_iter().flatten() {
                if let Some(adapter) = m.external.adapters.get_mut(index) {
                    adapter.offloads.forget(holder.source, *copy);
                }
            }
            let at = m.external.adapters.iter_mut().find(|(_, a)| a.offloads.holds(holder.source, resource));
            let Some((index, adapter)) = at else { continue };
            let index = *index;
            let there = m.topology.nic(NicId::new(m.external.external_port, index));
            let there = there.is_some_and(|nic| nic.state == NicState::Connected && nic.usable);
            let known = self.control.nics.known.contains(&(module, holder.source, resource));
            let broken = if known { belongs(inner) } else { "HOST-17" };
            let known = known || told.contains(&resource);
            rule(world, broken, excused || !known || !there || m.topology.is_changing(), || {
                format!(
                    "{name} of {} went to the whole team; adapter {index} has {resource:?}",
                    holder.source
                )
            });
            if releases {
                adapter.offloads.forget(holder.source, resource);
                ended.push(resource);
            }
        }
        let status = if vetoable { FAILURE } else { SUCCESS };
        if status == SUCCESS && method {
            (inner.method_bytes_read, inner.method_bytes_written) = (inner.length, inner.length);
        }
        Served { status, ended, ..Served::default() }
    }

    /// All resources of a partition on adapters: index of the adapter, resource, issuer.
    pub fn held_for(&self, module: usize, source: NicId) -> Vec<(u16, Resource, By)> {
        let adapters = self.modules[module].external.adapters.values();
        adapters
            .flat_map(|a| a.offloads.holdings().map(move |(holder, what)| (a.index, holder, what)))
            .filter(|(_, holder, _)| holder.source == source)
            .map(|(index, holder, what)| (index, what, holder.by))
            .collect()
    }
}

/// The rule that a request about a resource goes to the adapter that holds it.
fn belongs(inner: &OidRequest) -> &'static str {
    match wire::offload_row(inner.oid) {
        None => "OFFLOAD-27",
        Some(row) if wire::uses(row.oid) => "OFFLOAD-26",
        Some(_) => "OFFLOAD-07",
    }
}

/// The encapsulated request of one from above.
pub(super) fn inner_of(above: &crate::switch::control::Above) -> Option<usize> {
    Some(usize::from_le_bytes(above.payload_before.get(24..32)?.try_into().ok()?))
}
