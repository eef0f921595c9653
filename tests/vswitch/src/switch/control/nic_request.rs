//! Requests to NICs below the extension: the envelope of OID_SWITCH_NIC_REQUEST as the switch made it, and as it
//! arrives at the miniport edge, forwarded, redirected or originated.

use crate::adapter::Adapter;
use crate::adapter::capabilities::Capabilities;
use crate::adapter::lists::is_list;
use crate::adapter::offloads::{By, Resource, Served};
use crate::adapter::vmq::Target;
use crate::adapter::wire;
use crate::check::{offload as checks, rule};
use crate::machine::world::World;
use crate::switch::control::below::Completion;
use crate::switch::control::hearing::{Heard, Hearing};
use crate::switch::control::inner_request;
use crate::switch::control::own_request;
use crate::switch::control::{Above, bytes_at};
use crate::switch::ndis::{State, inside};
use crate::switch::ports::{NicId, NicState};
use lbfoext::ndis::raw::{
    INVALID_PARAMETER, OidRequest, SwitchNicOidRequest, object_type, oids, request_type,
};
use std::collections::{BTreeMap, BTreeSet};
use std::mem::offset_of;

/// The contents of an envelope from above, as the checks record them.
pub struct Carried {
    pub module: usize,
    pub oid: u32,
    pub kind: i32,
    pub from: NicId,
    /// The partition whose resources it is about: the source, unless that is 0/0.
    pub partition: NicId,
    pub to: NicId,
    /// Address and contents of the encapsulated request.
    pub inner: usize,
    pub before: Vec<u8>,
    /// The buffer and the nodes linked to it: address and contents as the switch wrote them.
    pub blocks: Vec<(usize, Vec<u8>)>,
    /// The contents of the blocks and the results after the completion below.
    pub after: Option<(Vec<Vec<u8>>, [u32; 5])>,
    /// Number of requests that the extension originated in its place.
    pub own_sent: u32,
    /// Results of adapters for it: index of the adapter, or 0 for the whole team.
    pub served: Vec<(u16, By, Served)>,
    /// Number of references that were refused meanwhile.
    pub refused: u32,
    /// A member that the extension could choose was usable when the request went down.
    pub had_choice: bool,
    /// What it names that the extension was told by one adapter alone, when the request went down.
    pub told: Vec<Resource>,
    /// It names what the extension knows to be another partition's on the only adapter, when the switch makes it.
    pub anothers: bool,
    /// Whether the header is as documented, so that an extension may read the payload.
    pub well_formed: bool,
}

impl Carried {
    /// The documented row of this offload OID, if its request type is the documented one.
    pub fn row(&self) -> Option<&'static wire::Row> {
        let row = wire::offload_row(self.oid)?;
        let method = self.kind == request_type::METHOD;
        let set = self.kind == request_type::SET_INFORMATION;
        (row.method == method && (method || set)).then_some(row)
    }

    pub fn buffer(&self) -> &[u8] {
        self.blocks.first().map_or(&[], |(_, bytes)| bytes)
    }

    pub fn contents(&self) -> Vec<Vec<u8>> {
        self.blocks.iter().map(|(at, bytes)| bytes_at(*at, bytes.len())).collect()
    }

    /// The virtual port that it targets, if its OID has no row.
    pub fn target(&self) -> Option<u32> {
        wire::target_of(&self.before).filter(|_| wire::offload_row(self.oid).is_none())
    }

    /// The resources that it names.
    pub fn named(&self) -> Vec<Resource> {
        let nodes: Vec<&[u8]> = self.blocks.iter().map(|(_, bytes)| &bytes[..]).collect();
        match self.target() {
            Some(vport) => vec![Resource::Vport(vport)],
            None => inner_request::named(self.oid, &nodes),
        }
    }
}

/// A member's link and capabilities at one time, with its order number.
#[derive(Clone, Copy)]
pub struct Seen {
    pub up: bool,
    pub speed: u64,
    pub abilities: Capabilities,
    pub order: u64,
}

/// A request to a NIC as it arrived at the miniport edge.
#[derive(Clone, Copy)]
pub struct Arrived {
    pub by: By,
    pub outer: OidRequest,
    pub envelope: SwitchNicOidRequest,
    pub inner: OidRequest,
    /// The switch's own envelope and encapsulated request, if the request was forwarded.
    pub theirs: Option<(SwitchNicOidRequest, usize)>,
    /// The switch's outer and encapsulated request at this time, if the module is filtering one.
    pub above: Option<(OidRequest, OidRequest)>,
    /// References of the destination and of the source.
    pub references: (u32, u32),
}

// SAFETY: a copy of the request; its pointers are compared and not dereferenced.
unsafe impl Send for Arrived {}

/// The extension's own request to the switch, as it arrived.
#[derive(Clone, Copy)]
pub struct Asked(pub OidRequest);

// SAFETY: as above.
unsafe impl Send for Asked {}

/// The records about requests to NICs.
#[derive(Default)]
pub struct NicRequests {
    /// By address of the encapsulated request.
    pub carried: BTreeMap<usize, Carried>,
    pub arrived: Vec<Arrived>,
    /// The extension's own queries to the switch.
    pub asked: Vec<Asked>,
    /// Copies of a partition's resource on several members, by the id that the switch knows.
    pub replicas: BTreeMap<(NicId, Resource), Vec<(u16, Resource)>>,
    /// Resources that were allocated since the attachment: module, partition, resource.
    pub known: BTreeSet<(usize, NicId, Resource)>,
    /// Resources that were lost with a removed adapter.
    pub lost: Vec<(NicId, Resource)>,
    /// Resources of which a module was not told since it was attached, although it asked: module, index of the adapter,
    /// resource. The request for the list was refused, or the list was cut off or had only the extension's own.
    pub untold: BTreeSet<(usize, u16, Resource)>,
    /// What a module was told by each adapter: module, index of the adapter.
    pub hearings: BTreeMap<(usize, u16), Hearing>,
}

impl State {
    /// The contents of the envelope of a request from above.
    pub(crate) fn carried_by(&self, above: &Above) -> Option<&Carried> {
        self.control.nics.carried.get(&inner_of(&above.payload_before)?)
    }
}

impl NicRequests {
    /// The contents of the envelope of a request from above.
    pub fn of(&mut self, above: &Above) -> Option<&mut Carried> {
        self.carried.get_mut(&inner_of(&above.payload_before)?)
    }
}

/// The address of the encapsulated request in an envelope.
fn inner_of(envelope: &[u8]) -> Option<usize> {
    let at = offset_of!(SwitchNicOidRequest, oid_request);
    Some(usize::from_le_bytes(envelope.get(at..at + 8)?.try_into().ok()?))
}

impl State {
    /// Records a clone of a request to a NIC: unchanged, or with the extension's own envelope.
    pub(super) fn take_passed(&mut self, world: &World, original: usize, key: usize) -> Option<Completion> {
        let above = self.control.above.get(&original)?;
        let (module, planned) = (above.module, above.plan.completion);
        let within = inside("FilterOidRequest").is_some_and(|call| call.began >= above.began);
        rule(world, "OID-49", within, || "a request to a NIC went down outside FilterOidRequest".to_owned());
        // SAFETY: the clone was just sent, the original is alive.
        let (now, before) = unsafe { (*(key as *const OidRequest), *(original as *const OidRequest)) };
        if (before.length as usize) < size_of::<SwitchNicOidRequest>() {
            return planned;
        }
        // SAFETY: the lengths are the envelope's, and its owner keeps it until the request completes.
        let theirs = unsafe { before.information_buffer.cast::<SwitchNicOidRequest>().read_unaligned() };
        // SAFETY: as above.
        let sent = unsafe { now.information_buffer.cast::<SwitchNicOidRequest>().read_unaligned() };
        let had_choice = self.modules[module].topology.members().any(|nic| nic.usable && !nic.known_down);
        let told = self.told_of(world, module, theirs.oid_request as usize);
        let carried = self.control.nics.carried.get_mut(&(theirs.oid_request as usize))?;
        (carried.had_choice, carried.told) = (had_choice, told);
        if now.information_buffer == before.information_buffer {
            checks::passed(world, carried);
            let carried = self.control.nics.carried.get(&(theirs.oid_request as usize))?;
            self.nobody_elses_is_named(world, carried);
        } else {
            let e = crate::inject::redirected(sent);
            let carried = self.control.nics.carried.get(&(theirs.oid_request as usize))?;
            let topology = &self.modules[module].topology;
            let to = NicId::new(e.destination_port_id, e.destination_nic_index);
            let bound = self.is_bound(module, carried.partition, to.index, carried.oid);
            checks::redirected(world, topology, carried, &theirs, &e, bound, crate::inject::placed_on);
            if carried
                .told
                .iter()
                .any(|r| !self.control.nics.known.contains(&(module, carried.partition, *r)))
            {
                world.exercised("HOST-17");
            }
        }
        self.note_arrival(module, By::Switch, &now, sent, Some((theirs, theirs.oid_request as usize)));
        let to = NicId::new(sent.destination_port_id, sent.destination_nic_index);
        if let Some(nic) = self.modules[module].topology.nic_mut(to).filter(|_| to.index != 0) {
            nic.requests += 1;
        }
        planned
    }

    /// A new resource of this partition must be on that adapter whether it has a link or not: it holds the partition's
    /// other resources, or anything where ids must be unique, or no other adapter with a link has room for one.
    fn is_bound(&self, module: usize, partition: NicId, index: u16, number: u32) -> bool {
        let external = &self.modules[module].external;
        let unique = self.style.unique_ids;
        let holds = |a: &Adapter| a.offloads.holdings().any(|(h, _)| unique || h.source == partition);
        let up = |a: &Adapter| {
            let nic = self.modules[module].topology.nic(NicId::new(external.external_port, a.index));
            nic.is_some_and(|nic| nic.usable && !nic.known_down)
        };
        let mut others = external.adapters.values().filter(|a| a.index != index && up(a));
        external.adapters.get(&index).is_some_and(holds) || !others.any(|a| a.offloads.has_room(number))
    }

    fn note_arrival(
        &mut self,
        module: usize,
        by: By,
        outer: &OidRequest,
        envelope: SwitchNicOidRequest,
        theirs: Option<(SwitchNicOidRequest, usize)>,
    ) {
        if envelope.oid_request.is_null() {
            return;
        }
        // SAFETY: the inner request lives as long as the outer one.
        let inner = unsafe { own_request(envelope.oid_request) };
        let topology = &self.modules[module].topology;
        let held = |port, index| topology.nic(NicId::new(port, index)).map_or(0, |nic| nic.references);
        let references = (
            held(envelope.destination_port_id, envelope.destination_nic_index),
            held(envelope.source_port_id, envelope.source_nic_index),
        );
        let key = self.control.above.iter().find(|(_, above)| {
            above.module == module
                && above.oid == oids::SWITCH_NIC_REQUEST
                && inner_of(&above.payload_before).is_some()
        });
        let above = key.and_then(|(key, above)| {
            let inner = inner_of(&above.payload_before)?;
            let lives = self.control.nics.carried.contains_key(&inner);
            // SAFETY: both are in the tables and therefore valid.
            lives.then(|| unsafe { (*(*key as *const OidRequest), *(inner as *const OidRequest)) })
        });
        self.control.nics.arrived.push(Arrived {
            by,
            outer: *outer,
            envelope,
            inner,
            theirs,
            above,
            references,
        });
    }

    /// Checks the extension's own request to a physical adapter.
    pub(super) fn take_envelope(
        &mut self,
        world: &World,
        module: usize,
        key: usize,
        r: &OidRequest,
    ) -> Result<(), i32> {
        let lengths = r.length as usize == size_of::<SwitchNicOidRequest>() && r.word52 == r.length;
        let shape = r.request_type == request_type::METHOD && lengths && !r.information_buffer.is_null();
        rule(world, "OID-38", shape, || {
            format!("own request to a NIC: type {}, length {}", r.request_type, r.length)
        });
        if !shape {
            return Err(INVALID_PARAMETER);
        }
        // SAFETY: checked above: the buffer has the structure's size.
        let sent = unsafe { *r.information_buffer.cast::<SwitchNicOidRequest>() };
        let mut e = crate::inject::envelope(self, module, sent);
        if !e.oid_request.is_null() {
            let filtering = self.control.nics.carried.values().any(|c| c.module == module);
            e = crate::inject::own_envelope(e, filtering);
        }
        let header =
            (e.header.object_type, e.header.revision, e.header.size) == (object_type::DEFAULT, 1, 32);
        rule(world, "OID-38", header, || "NDIS_SWITCH_NIC_OID_REQUEST without a valid header".to_owned());
        rule(world, "OID-39", e.flags == 0, || format!("flags {:#x} in an own envelope", e.flags));
        // SAFETY: the inner request lives as long as the outer one.
        let inner = (!e.oid_request.is_null()).then(|| unsafe { own_request(e.oid_request) });
        rule(world, "OID-24", inner.is_some(), || "own envelope without an inner request".to_owned());
        let Some(inner) = inner else { return Err(INVALID_PARAMETER) };
        let from = NicId::new(e.source_port_id, e.source_nic_index);
        let to = NicId::new(e.destination_port_id, e.destination_nic_index);
        let bound = self.is_bound(module, from, to.index, inner.oid);
        if is_list(&inner) {
            self.list_is_asked(world, module, to.index);
        }
        let topology = &self.modules[module].topology;
        if wire::offload_row(inner.oid).is_some() && !is_list(&inner) {
            let carried = self.control.nics.carried.values_mut().find(|c| c.module == module);
            checks::in_its_stead(world, topology, carried.as_deref(), from, &inner);
            checks::placed(world, topology, to, &inner, bound, crate::inject::placed_on);
            if let Some(carried) = carried.filter(|c| c.oid == inner.oid) {
                carried.own_sent += 1;
            }
        } else {
            rule(world, "OID-42", from == NicId::NOWHERE, || format!("own request from {from}"));
        }
        let member = topology.is_external(to.port) && to.index != 0;
        rule(world, "OID-57", member, || format!("own request to {to}, which is no physical adapter"));
        crate::check::requests::referenced(world, topology, to, "own request");
        self.note_arrival(module, By::Extension, r, sent, None);
        let seen = self.seen_now(module, to.index);
        self.control.own.entry(key).and_modify(|own| own.seen = seen);
        for nic in [
            NicId::new(sent.destination_port_id, sent.destination_nic_index),
            NicId::new(sent.source_port_id, sent.source_nic_index),
        ] {
            if let Some(nic) = self.modules[module].topology.nic_mut(nic) {
                nic.requests += 1;
            }
        }
        Ok(())
    }

    /// ReferenceSwitchNic was refused.
    pub(crate) fn reference_refused(&mut self, module: usize, nic: NicId) {
        self.control.status.refused += 1;
        if self.modules[module].topology.is_external(nic.port) {
            // It cannot be asked either.
            self.not_told(module, nic.index, |_, _| true);
            if inside("FilterOidRequest").is_none()
                && let Some(hearing) = self.control.nics.hearings.get_mut(&(module, nic.index))
            {
                hearing.fails();
            }
        }
        self.control.nics.carried.values_mut().filter(|c| c.module == module).for_each(|c| c.refused += 1);
    }

    /// The extension could not name the only adapter to this request, and there it would have been one about something
    /// else, or about another partition's: it is not passed on, and the switch repeats it.
    pub(crate) fn would_be_misread(&self, world: &World, above: &Above) -> bool {
        let Some(inner) = inner_of(&above.payload_before) else { return false };
        let carried = self.control.nics.carried.get(&inner).filter(|carried| carried.refused > 0);
        carried.is_some_and(|carried| {
            self.misread(above.module, carried).is_some()
                || self.anothers_named(world, carried, Heard::Ever).is_some()
        })
    }

    /// A module asks an adapter what it holds and is not told these resources.
    pub(crate) fn not_told(
        &mut self,
        module: usize,
        index: u16,
        which: impl Fn(&crate::adapter::offloads::Offloads, Resource) -> bool,
    ) {
        let Some(adapter) = self.modules[module].external.adapters.get(&index) else { return };
        let all = adapter.offloads.holdings().map(|(_, resource)| resource);
        let missing = all.filter(|resource| which(&adapter.offloads, *resource));
        let untold = &mut self.control.nics.untold;
        untold.extend(missing.map(|resource| (module, index, resource)));
        // Nor can it ask for the filters on what it was not told of.
        for (id, filter) in &adapter.offloads.queues.filters {
            let on = match filter.target {
                Target::Queue(id) => Resource::Queue(id),
                Target::Vport(id) => Resource::Vport(id),
            };
            if untold.contains(&(module, index, on)) {
                untold.insert((module, index, Resource::Filter(*id)));
            }
        }
    }

    /// Nothing is left of what a request must clear, free or complete: no connected adapter has any of it, because it was
    /// lost with another. To end it with success is no refusal, and does what it asks.
    pub(crate) fn is_about_what_was_lost(&self, carried: &Carried) -> bool {
        let named = carried.named();
        let m = &self.modules[carried.module];
        let there = |adapter: &Adapter| {
            let nic = m.topology.nic(NicId::new(m.external.external_port, adapter.index));
            nic.is_some_and(|nic| nic.state == NicState::Connected)
        };
        let copies = |index: u16, resource: &Resource| {
            let copies = self.control.nics.replicas.get(&(carried.partition, *resource));
            let mine = copies.into_iter().flatten().filter(|(on, _)| *on == index).map(|(_, copy)| *copy);
            mine.chain([*resource]).collect::<Vec<_>>()
        };
        let has = |adapter: &Adapter, resource: &Resource| {
            let mut all = copies(adapter.index, resource).into_iter();
            all.any(|one| adapter.offloads.holds(carried.partition, one))
        };
        let mut adapters = m.external.adapters.values().filter(|adapter| there(adapter));
        carried.well_formed
            && carried.row().is_some_and(|row| !row.vetoable)
            && !named.is_empty()
            && !adapters.any(|adapter| named.iter().any(|resource| has(adapter, resource)))
    }

    /// If only one adapter is left, which is index 0 then: the copy that the extension knows there under another number
    /// than the one by which this request of the switch names it. That number is another resource's there.
    pub(super) fn misread(&self, module: usize, carried: &Carried) -> Option<Resource> {
        let only = self.only_adapter(module)?;
        let copy = |named| {
            let mut copies = self.control.nics.replicas.get(&(carried.partition, named))?.iter();
            let known = |copy| self.control.nics.known.contains(&(module, carried.partition, copy));
            copies.find(|(index, copy)| *index == only && known(*copy)).map(|(_, copy)| *copy)
        };
        // Of what was lost with another adapter nothing is left that the request could be about.
        let about = carried.named().into_iter().map(|named| Some((named, copy(named)?)));
        let about: Vec<(Resource, Resource)> = about.collect::<Option<_>>()?;
        let on = inner_request::cleared_on(carried.oid, carried.buffer());
        let on = on.and_then(|named| Some((named, copy(named)?)));
        about.into_iter().chain(on).find(|(named, copy)| copy != named).map(|(_, copy)| copy)
    }

    /// Removes a member's adapter with all its resources.
    pub(crate) fn adapter_removed(&mut self, module: usize, index: u16) {
        let gone =
            self.modules[module].topology.nic(NicId::new(self.modules[module].external.external_port, index));
        if gone.is_some_and(|nic| nic.state == NicState::Connected) {
            return;
        }
        self.unheard(module, index);
        if let Some(adapter) = self.modules[module].external.adapters.get_mut(&index) {
            self.control.nics.lost.extend(adapter.offloads.power_off());
        }
    }

    /// Number of a module's own requests that are pending.
    pub fn own_requests_out(&self, module: usize) -> usize {
        self.control
            .own
            .values()
            .filter(|own| own.module == module && own.oid == oids::SWITCH_NIC_REQUEST)
            .count()
    }
}
