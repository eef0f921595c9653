//! Checks of requests to NICs: passed on, redirected, originated in another's stead, and how they end above.

use crate::adapter::Adapter;
use crate::adapter::offloads::{By, Resource, elements};
use crate::adapter::wire::{self, get, get32, oid};
use crate::check::rule;
use crate::machine::world::World;
use crate::switch::control::hearing::Heard;
use crate::switch::control::inner_request::{named, nodes_of, vport_of_filter};
use crate::switch::control::nic_request::Carried;
use crate::switch::control::{Above, Answer, bytes_at, results};
use crate::switch::ndis::State;
use crate::switch::ports::{NicId, NicKind, NicState, Topology};
use lbfoext::ndis::raw::{
    ADAPTER_NOT_FOUND, OidRequest, RESOURCES, SUCCESS, SwitchNicOidRequest, object_type, request_type,
};
use std::collections::BTreeMap;

/// The switch's envelope goes down as it is.
pub fn passed(world: &World, carried: &Carried) {
    untouched(world, carried);
    world.exercised("OID-40");
}

/// How a mutation changes the destination that `placed` sees.
pub type InjectPlace = fn(&Topology, NicId) -> NicId;

/// An envelope of the extension's goes down in the place of the switch's.
pub fn redirected(
    world: &World,
    topology: &Topology,
    carried: &Carried,
    theirs: &SwitchNicOidRequest,
    sent: &SwitchNicOidRequest,
    bound: bool,
    inject: InjectPlace,
) {
    untouched(world, carried);
    let what = || format!("redirected {:#x} of {}", carried.oid, carried.from);
    rule(world, "OID-53", carried.to != NicId::NOWHERE, || {
        format!("{}, which was only to be looked at", what())
    });
    rule(world, "OID-39", sent.flags == theirs.flags, || {
        format!("{} with flags {:#x} for {:#x}", what(), sent.flags, theirs.flags)
    });
    let understood = carried.row().is_some() || wire::is_ipsec(carried.oid) || carried.target().is_some();
    rule(world, "OID-55", understood, || format!("{}, whose type is none of that OID's", what()));
    let header = (sent.header.object_type, sent.header.revision, sent.header.size);
    let source = (sent.source_port_id, sent.source_nic_index);
    let kept = source == (theirs.source_port_id, theirs.source_nic_index);
    let to = NicId::new(sent.destination_port_id, sent.destination_nic_index);
    let member = topology.is_external(to.port) && to.index != 0;
    let inner = same_inner(carried, sent.oid_request);
    let right = header == (object_type::DEFAULT, 1, 32) && kept && member && inner;
    rule(world, "OID-41", right, || {
        format!("{} to {to}: header {header:?}, source {source:?}, inner kept {inner}", what())
    });
    if inner && member {
        // SAFETY: the switch's inner request lives until it is complete.
        placed(world, topology, to, unsafe { &*(carried.inner as *const OidRequest) }, bound, inject);
    }
    crate::check::requests::referenced(world, topology, to, &what());
}

/// A request that allocates goes to a member that is not known to be dead while others live. `bound`: the resource has to
/// be on that member, dead or not. A virtual function is not useful without a link.
pub fn placed(
    world: &World,
    topology: &Topology,
    to: NicId,
    inner: &OidRequest,
    bound: bool,
    inject: InjectPlace,
) {
    let to_injected = inject(topology, to);
    let bound = bound && to_injected == to && inner.oid != oid::ALLOCATE_VF;
    let to = to_injected;
    let nodes = nodes_of(inner);
    let nodes: Vec<&[u8]> = nodes.iter().map(|n| &n[..]).collect();
    if !wire::places(inner.oid) || !named(inner.oid, &nodes).is_empty() || topology.is_changing() {
        return;
    }
    let dead = topology.nic(to).is_some_and(|n| n.known_down && !bound || n.state != NicState::Connected);
    let others = topology.members().any(|n| n.id != to && !n.known_down && n.usable);
    rule(world, "OFFLOAD-22", !(dead && others), || {
        format!("{:#x} is placed on {to}, which is dead", inner.oid)
    });
}

/// The inner request that went down is the switch's or says the same.
fn same_inner(carried: &Carried, sent: *mut OidRequest) -> bool {
    if sent as usize == carried.inner {
        return true;
    }
    if sent.is_null() {
        return false;
    }
    let clone = bytes_at(sent as usize, carried.before.len());
    (0..carried.before.len()).all(|i| (72..232).contains(&i) || clone[i] == carried.before[i])
}

/// Nothing of what came from above was written to on its way down.
fn untouched(world: &World, carried: &Carried) {
    let inner = bytes_at(carried.inner, carried.before.len()) == carried.before;
    let same = inner && carried.blocks.iter().all(|(at, bytes)| bytes_at(*at, bytes.len()) == *bytes);
    let id = if carried.row().is_some_and(|row| !row.vetoable) { "OFFLOAD-03" } else { "OID-01" };
    rule(world, id, same, || format!("inner request {:#x} was edited on its way down", carried.oid));
}

/// An offload request of the extension's own.
pub fn in_its_stead(
    world: &World,
    topology: &Topology,
    carried: Option<&Carried>,
    from: NicId,
    inner: &OidRequest,
) {
    let filtering = carried.is_some_and(|c| c.oid == inner.oid);
    rule(world, "OID-44", filtering, || {
        format!("own {:#x} while no such request from above is being filtered", inner.oid)
    });
    let Some(carried) = carried.filter(|_| filtering) else { return };
    let theirs = wire::target_words(&carried.before);
    let kept = theirs.is_none() || theirs == wire::target_words(wire::bytes_of(inner));
    rule(world, "HOST-16", kept, || {
        format!(
            "own {:#x} for {:?}, in the stead of one for {theirs:?}",
            inner.oid,
            wire::target_words(wire::bytes_of(inner))
        )
    });
    let source = topology.nic(from);
    let partition =
        source.is_some_and(|nic| nic.kind != NicKind::External && nic.state == NicState::Connected);
    // What a partition that has left must give up, in a request that cannot go down as it is, is given up for the
    // extension's own purposes: only a request that allocates has to name the partition.
    let left = topology.nic(carried.partition).is_none_or(|nic| nic.state != NicState::Connected);
    let cleans_up = matches!(inner.oid, oid::CLEAR_FILTER | oid::FREE_QUEUE | oid::DELETE_SA);
    let ours = from == carried.partition && (partition || from == NicId::NOWHERE)
        || from == NicId::NOWHERE && left && cleans_up;
    let held = source.is_some_and(|nic| nic.references > 0) || from == NicId::NOWHERE;
    rule(world, "OID-43", ours && held, || {
        format!("own {:#x} for {from} in the stead of {}'s, referenced: {held}", inner.oid, carried.from)
    });
}

/// A request to a NIC is complete.
pub fn judge(world: &World, state: &mut State, above: &Above, answer: &Answer) {
    let module = above.module;
    let misread = state.would_be_misread(world, above);
    let nothing_left = |c: &Carried| {
        let anothers = || state.anothers_named(world, c, Heard::Ever).is_some();
        state.is_about_what_was_lost(c) || c.anothers || anothers()
    };
    let lost = answer.status == SUCCESS && state.carried_by(above).is_some_and(nothing_left);
    let mut replicas = std::mem::take(&mut state.control.nics.replicas);
    let Some(carried) = state.control.nics.of(above) else {
        state.control.nics.replicas = replicas;
        return;
    };
    let (status, own) = (answer.status, carried.own_sent > 0);
    let starved = answer.starved && status == RESOURCES;
    let refused = !above.reached_below && !own && !starved && !misread && !lost;
    rule(world, "OID-44", !(own && above.reached_below), || {
        format!("{:#x} went down, and an own request in its stead", carried.oid)
    });
    let refusal = |id, text: &str| {
        rule(world, id, !refused, || format!("{:#x} was completed with {status:#x}: {text}", carried.oid));
    };
    match carried.row() {
        _ if carried.to == NicId::NOWHERE => refusal("OID-53", "it was only to be looked at"),
        _ if !carried.well_formed => refusal("OID-18", "a payload that is not understood is passed on"),
        None if carried.target().is_some() => {
            let done = carried.served.iter().any(|(_, _, served)| served.status == SUCCESS);
            rule(world, "OFFLOAD-04", status != SUCCESS || done, || {
                format!("{:#x} succeeded above and nowhere below", carried.oid)
            });
        }
        None if wire::offload_row(carried.oid).is_some() => refusal("OID-55", "its type is not that OID's"),
        None => refusal("OID-17", "it means nothing to the extension"),
        Some(row) if row.vetoable => {
            let done = carried.served.iter().any(|(_, _, served)| served.status == SUCCESS);
            rule(world, "OFFLOAD-04", status != SUCCESS || done, || {
                format!("{} succeeded above and nowhere below", row.name)
            });
        }
        Some(_) if carried.refused > 0 => refusal("OFFLOAD-24", "it has to reach whoever cleans up"),
        Some(_) if wire::is_ipsec(carried.oid) => refusal("OFFLOAD-02", "IPsec requests are never refused"),
        Some(_) => refusal("OFFLOAD-03", "the switch has to clean up"),
    }
    if carried.refused == 0 && carried.row().is_some_and(|row| !row.vetoable) {
        world.exercised("OFFLOAD-03");
    }
    ending(world, carried, status, own, lost);
    identifiers(world, carried, status, own);
    if carried.oid == oid::ALLOCATION_COMPLETE && status == SUCCESS {
        merged(world, carried, &replicas);
    }
    if carried.oid == oid::QUEUE_PARAMETERS && status == SUCCESS {
        updated(world, &state.modules[module], carried, &replicas);
    }
    keep_account(world, state, module, above, status, &mut replicas);
    state.control.nics.replicas = replicas;
}

/// Results and contents of the inner request, seen from above.
fn ending(world: &World, carried: &Carried, status: i32, own: bool, lost: bool) {
    // SAFETY: the inner request is the switch's and lives until the caller frees it.
    let now = unsafe { (carried.inner as *const OidRequest).read_unaligned() };
    let head = bytes_at(carried.inner, 52) == carried.before[..52]
        && bytes_at(carried.inner + 72, 160) == carried.before[72..232]
        && bytes_at(carried.inner + 233, 15) == carried.before[233..]
        && (carried.kind != request_type::METHOD
            || bytes_at(carried.inner + 56, 4) == carried.before[56..60]);
    rule(world, "OID-40", head, || format!("inner request {:#x} was edited", carried.oid));
    let contents = carried.contents();
    match &carried.after {
        Some((after, below)) => {
            let same = *below == results(&now) && *after == contents;
            rule(world, "OID-51", same, || {
                format!("inner {:#x}: {below:?} below, {:?} above", carried.oid, results(&now))
            });
        }
        None if own && status == SUCCESS => {
            // One of those that went down in its stead speaks for all; how long its part was is its own matter.
            let [word52, written, read, ..] = results(&now);
            let bytes = if carried.kind == request_type::METHOD { written.min(read) } else { word52 };
            rule(world, "OID-51", bytes > 0, || {
                format!("inner {:#x} of an own request: bytes {:?}", carried.oid, results(&now))
            });
        }
        // Its queues have a status each.
        None if lost && carried.oid == oid::ALLOCATION_COMPLETE => {}
        None => {
            let same = carried.blocks.iter().zip(&contents).all(|((_, before), now)| before == now);
            rule(world, "OID-40", same, || format!("the buffer of inner {:#x} was edited", carried.oid));
        }
    }
}

/// Identifiers that came into being below are the ones seen above.
fn identifiers(world: &World, carried: &Carried, status: i32, own: bool) {
    given_back(world, carried);
    let made: Vec<Resource> = carried.served.iter().flat_map(|(_, _, served)| served.made.clone()).collect();
    if status != SUCCESS || made.is_empty() {
        return;
    }
    let contents = carried.contents();
    let nodes: Vec<&[u8]> = contents.iter().map(|n| &n[..]).collect();
    let seen = produced(carried.oid, &nodes);
    let right = seen.iter().all(|r| made.contains(r)) && (own || made.iter().all(|r| seen.contains(r)));
    rule(world, "OFFLOAD-15", right && !seen.is_empty(), || {
        format!("{:#x} made {made:?} below, above it is {seen:?}", carried.oid)
    });
}

/// What a request named in the switch's words is named in them when it comes back, whoever was asked in which words.
fn given_back(world: &World, carried: &Carried) {
    if carried.row().is_none() || !carried.well_formed {
        return;
    }
    let before: Vec<&[u8]> = carried.blocks.iter().map(|(_, bytes)| &bytes[..]).collect();
    let contents = carried.contents();
    let after: Vec<&[u8]> = contents.iter().map(|n| &n[..]).collect();
    let (asked, told) = (words(carried.oid, &before), words(carried.oid, &after));
    rule(world, "OFFLOAD-15", asked == told, || {
        format!("{:#x} of {} named {asked:?} and came back with {told:?}", carried.oid, carried.from)
    });
}

/// Every identifier that whoever makes a request puts into it.
fn words(number: u32, nodes: &[&[u8]]) -> Vec<u64> {
    let Some(bytes) = nodes.first() else { return Vec::new() };
    let all = |members: &[wire::Member]| members.iter().map(|m| u64::from(get32(bytes, *m))).collect();
    match number {
        oid::SET_FILTER => {
            vec![u64::from(get32(bytes, wire::filter::QUEUE)), u64::from(vport_of_filter(bytes))]
        }
        oid::MOVE_FILTER => all(&[
            wire::move_filter::ID,
            wire::move_filter::FROM_QUEUE,
            wire::move_filter::FROM_VPORT,
            wire::move_filter::TO_QUEUE,
            wire::move_filter::TO_VPORT,
        ]),
        oid::CLEAR_FILTER => all(&[wire::clear_filter::ID, wire::clear_filter::QUEUE]),
        oid::FREE_QUEUE => all(&[wire::free_queue::ID]),
        oid::QUEUE_PARAMETERS => all(&[wire::queue::ID]),
        oid::VPORT_PARAMETERS => all(&[wire::vport::ID]),
        _ if wire::uses_vf(number) => all(&[wire::used_vf(number)]),
        oid::FREE_VF => all(&[wire::free_vf::ID]),
        oid::CREATE_VPORT => all(&[wire::vport::FUNCTION]),
        oid::DELETE_VPORT => all(&[wire::delete_vport::ID]),
        oid::UPDATE_SA => vec![get(bytes, wire::update_sa::HANDLE)],
        oid::DELETE_SA => nodes.iter().map(|n| get(n, wire::delete_sa::HANDLE)).collect(),
        oid::ALLOCATION_COMPLETE => {
            let queue = |at: usize| bytes.get(at..).map_or(0, |e| get32(e, wire::completed::QUEUE));
            elements(bytes).into_iter().map(|at| u64::from(queue(at))).collect()
        }
        _ => Vec::new(),
    }
}

/// Every queue of a batch has the status that its adapter gave.
fn merged(world: &World, carried: &Carried, replicas: &BTreeMap<(NicId, Resource), Vec<(u16, Resource)>>) {
    let below: Vec<(u32, i32)> =
        carried.served.iter().flat_map(|(_, _, served)| served.completed.clone()).collect();
    let contents = carried.contents();
    let Some(bytes) = contents.first() else { return };
    for at in elements(bytes) {
        let id = get32(&bytes[at..], wire::completed::QUEUE);
        let status = get32(&bytes[at..], wire::completed::STATUS) as i32;
        // A queue that was copied has a number of its own on each member.
        let copies = replicas.get(&(carried.partition, Resource::Queue(id)));
        let meant =
            |q: u32| q == id || copies.is_some_and(|c| c.iter().any(|(_, r)| *r == Resource::Queue(q)));
        let known: Vec<i32> = below.iter().filter(|(q, _)| meant(*q)).map(|(_, s)| *s).collect();
        let nobody = carried.served.iter().all(|(index, _, _)| *index == 0);
        let lost = known.is_empty() && (nobody || status == ADAPTER_NOT_FOUND);
        rule(world, "OFFLOAD-12", lost || known.contains(&status), || {
            format!("queue {id} is complete with {status:#x} above, {known:x?} below")
        });
    }
}

/// What the extension made in several places has to be given up in all of them.
fn keep_account(
    world: &World,
    state: &mut State,
    module: usize,
    above: &Above,
    status: i32,
    replicas: &mut BTreeMap<(NicId, Resource), Vec<(u16, Resource)>>,
) {
    let unique = state.style.unique_ids;
    let Some(carried) = state.control.nics.of(above) else { return };
    let (source, oid) = (carried.partition, carried.oid);
    let contents = carried.contents();
    let nodes: Vec<&[u8]> = contents.iter().map(|n| &n[..]).collect();
    let copies: Vec<(u16, Resource)> = (carried.served.iter())
        .filter(|(_, by, _)| *by == By::Extension)
        .flat_map(|(index, _, served)| served.made.iter().map(|made| (*index, *made)))
        .collect();
    let named = carried.named();
    let row = carried.row();
    let starved = state.was_starved_about(world, module, source, &named);
    if row.is_some() && status == SUCCESS && wire::releases(oid) {
        state.control.nics.lost.retain(|(of, resource)| *of != source || !named.contains(resource));
    }
    let produced = produced(oid, &nodes);
    if status == SUCCESS
        && !copies.is_empty()
        && let [one] = produced[..]
    {
        replicas.insert((source, one), copies);
    }
    let m = &state.modules[module];
    let known = &state.control.nics.known;
    if row.is_some() && status == SUCCESS && wire::releases(oid) {
        for resource in named {
            let Some(copies) = replicas.remove(&(source, resource)) else { continue };
            // What an extension before it copied, no list tells from what the switch allocated.
            let mut mine = copies.iter().filter(|(_, copy)| known.contains(&(module, source, *copy)));
            let left = mine.find(|(index, copy)| {
                let there = m.topology.nic(NicId::new(m.external.external_port, *index));
                there.is_some_and(|nic| nic.state == NicState::Connected)
                    && m.external.adapters.get(index).is_some_and(|a| a.offloads.holds(source, *copy))
            });
            rule(world, "OFFLOAD-06", left.is_none() || starved, || {
                format!("{resource:?} of {source} is given up, and {left:?} is not")
            });
        }
    }
    if unique && status == SUCCESS && !wire::is_ipsec(oid) {
        let adapters = m.external.adapters.values();
        // What adapters hold of before it was attached again it knows from them alone.
        let told = |a: &Adapter, r: Resource| {
            !m.attached_before || !state.control.nics.untold.contains(&(module, a.index, r))
        };
        let has = |a: &Adapter, r: Resource| a.offloads.owner(r).is_some() && told(a, r);
        let count = |r: &&Resource| adapters.clone().filter(|a| has(a, **r)).count();
        let twice = produced.iter().find(|r| count(r) > 1);
        rule(world, "OFFLOAD-09", twice.is_none(), || {
            format!("{twice:?} lives on two members, and the placement promises that nothing does")
        });
    }
}

/// New parameters of a queue with copies reached each of them that can be reached.
fn updated(
    world: &World,
    module: &crate::switch::ndis::Module,
    carried: &Carried,
    replicas: &BTreeMap<(NicId, Resource), Vec<(u16, Resource)>>,
) {
    let named = carried.named();
    let changed = get32(carried.buffer(), wire::queue::FLAGS) & wire::flag::QUEUE_AFFINITY_CHANGED != 0;
    let wanted = get(carried.buffer(), wire::queue::AFFINITY);
    let copies = named.iter().filter_map(|queue| replicas.get(&(carried.partition, *queue))).flatten();
    let missed = copies.clone().find(|(index, copy)| {
        let there = module.topology.nic(NicId::new(module.external.external_port, *index));
        there.is_some_and(|nic| nic.state == NicState::Connected)
            && !carried.served.iter().any(|(asked, _, s)| asked == index && s.status != SUCCESS)
            && module.external.adapters.get(index).is_some_and(|a| {
                let queue = a.offloads.queues.all.iter().find(|(id, _)| Resource::Queue(**id) == *copy);
                queue.is_some_and(|(_, q)| q.holder.source == carried.partition && q.affinity != wanted)
            })
    });
    if changed && copies.count() > 0 {
        rule(world, "OFFLOAD-28", missed.is_none() || carried.refused > 0, || {
            format!("{named:?} of {} has new parameters, and {missed:?} has not", carried.from)
        });
    }
}

/// The queue that OID_RECEIVE_FILTER_FREE_QUEUE gives up.
pub fn free_queue_of(nodes: &[&[u8]]) -> u32 {
    nodes.first().map_or(0, |bytes| get32(bytes, wire::free_queue::ID))
}

/// What a request with these contents brought into being.
pub fn produced(number: u32, nodes: &[&[u8]]) -> Vec<Resource> {
    let Some(bytes) = nodes.first() else { return Vec::new() };
    let word = |member| get32(bytes, member);
    let handle = |node: &[u8], member| match get(node, member) {
        0 => None,
        handle => Some(Resource::Association(handle)),
    };
    match number {
        oid::ALLOCATE_QUEUE => vec![Resource::Queue(word(wire::queue::ID))],
        oid::SET_FILTER => vec![Resource::Filter(word(wire::filter::ID))],
        oid::ALLOCATE_VF => vec![Resource::Function(word(wire::vf::ID))],
        oid::CREATE_VPORT => vec![Resource::Vport(word(wire::vport::ID))],
        oid::ADD_SA => nodes.iter().filter_map(|n| handle(n, wire::add_sa::HANDLE)).collect(),
        oid::ADD_SA_EX => handle(bytes, wire::add_sa_ex::HANDLE).into_iter().collect(),
        _ => Vec::new(),
    }
}
