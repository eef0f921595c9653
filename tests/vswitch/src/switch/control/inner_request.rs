//! The resources that an encapsulated request names in its bytes.

use crate::adapter::offloads::{Resource, elements};
use crate::adapter::vmq::Target;
use crate::adapter::wire::{self, get, get32, oid};
use crate::switch::control::bytes_at;
use lbfoext::ndis::raw::OidRequest;

/// The resources that a request names: in its contents, or as its target if it has no row.
pub fn named_by(request: &OidRequest, nodes: &[&[u8]]) -> Vec<Resource> {
    match wire::target(request) {
        Some(vport) if wire::offload_row(request.oid).is_none() => vec![Resource::Vport(vport)],
        _ => named(request.oid, nodes),
    }
}

/// The resources that a request with these contents names.
pub fn named(number: u32, nodes: &[&[u8]]) -> Vec<Resource> {
    let Some(bytes) = nodes.first() else { return Vec::new() };
    let word = |member| get32(bytes, member);
    match number {
        oid::FREE_QUEUE => vec![Resource::Queue(word(wire::free_queue::ID))],
        oid::CLEAR_FILTER => vec![Resource::Filter(word(wire::clear_filter::ID))],
        oid::MOVE_FILTER => vec![Resource::Filter(word(wire::move_filter::ID))],
        oid::SET_FILTER => match (word(wire::filter::QUEUE), vport_of_filter(bytes)) {
            (0, 0) => Vec::new(),
            (0, vport) => vec![Resource::Vport(vport)],
            (queue, _) => vec![Resource::Queue(queue)],
        },
        oid::ALLOCATION_COMPLETE => {
            let queue = |at: usize| bytes.get(at..).map_or(0, |e| get32(e, wire::completed::QUEUE));
            elements(bytes).into_iter().map(|at| Resource::Queue(queue(at))).collect()
        }
        oid::FREE_VF => vec![Resource::Function(word(wire::free_vf::ID))],
        oid::DELETE_VPORT => vec![Resource::Vport(word(wire::delete_vport::ID))],
        oid::CREATE_VPORT => match word(wire::vport::FUNCTION) {
            crate::adapter::sriov::PHYSICAL_FUNCTION => Vec::new(),
            function => vec![Resource::Function(function)],
        },
        oid::QUEUE_PARAMETERS => default_or(word(wire::queue::ID), Resource::Queue),
        oid::VPORT_PARAMETERS => default_or(word(wire::vport::ID), Resource::Vport),
        _ if wire::uses_vf(number) => vec![Resource::Function(word(wire::used_vf(number)))],
        oid::UPDATE_SA => vec![Resource::Association(get(bytes, wire::update_sa::HANDLE))],
        oid::DELETE_SA => {
            nodes.iter().map(|n| Resource::Association(get(n, wire::delete_sa::HANDLE))).collect()
        }
        _ => Vec::new(),
    }
}

/// Number 0 is the default queue or the default virtual port of every adapter.
fn default_or(id: u32, resource: fn(u32) -> Resource) -> Vec<Resource> {
    if id == 0 { Vec::new() } else { vec![resource(id)] }
}

/// The queue of the filter that a request clears, unless it is the default one.
pub fn cleared_on(number: u32, bytes: &[u8]) -> Option<Resource> {
    let queue = (number == oid::CLEAR_FILTER).then(|| get32(bytes, wire::clear_filter::QUEUE))?;
    (queue != 0).then_some(Resource::Queue(queue))
}

/// The filter that a request moves or clears on a queue, and what it says the filter is on.
pub fn filter_on(number: u32, nodes: &[&[u8]]) -> Option<(u32, Target)> {
    let bytes = nodes.first()?;
    let word = |member| get32(bytes, member);
    match number {
        oid::MOVE_FILTER => {
            let from = match (word(wire::move_filter::FROM_QUEUE), word(wire::move_filter::FROM_VPORT)) {
                (queue, 0) => Target::Queue(queue),
                (_, vport) => Target::Vport(vport),
            };
            Some((word(wire::move_filter::ID), from))
        }
        oid::CLEAR_FILTER if word(wire::clear_filter::QUEUE) != 0 => {
            Some((word(wire::clear_filter::ID), Target::Queue(word(wire::clear_filter::QUEUE))))
        }
        _ => None,
    }
}

/// Where a request moves a filter to: a queue or a virtual port, unless it is the default one.
pub fn moved_to(number: u32, nodes: &[&[u8]]) -> Option<Resource> {
    let bytes = nodes.first().filter(|_| number == oid::MOVE_FILTER)?;
    match (get32(bytes, wire::move_filter::TO_QUEUE), get32(bytes, wire::move_filter::TO_VPORT)) {
        (0, 0) => None,
        (0, vport) => Some(Resource::Vport(vport)),
        (queue, _) => Some(Resource::Queue(queue)),
    }
}

/// The virtual port of a filter; 0 in revisions that have none.
pub fn vport_of_filter(bytes: &[u8]) -> u32 {
    let has = wire::header(bytes).is_some_and(|h| h.1 >= 2 && h.2 >= 44);
    if has { get32(bytes, wire::filter::VPORT) } else { 0 }
}

/// The buffer of an encapsulated request, and the nodes linked to it.
pub fn nodes_of(inner: &OidRequest) -> Vec<Vec<u8>> {
    let mut nodes = Vec::new();
    if inner.information_buffer.is_null() {
        return nodes;
    }
    let link = match inner.oid {
        oid::DELETE_SA => Some((wire::delete_sa::NEXT, 24)),
        oid::ADD_SA => Some((wire::add_sa::NEXT, 176)),
        _ => None,
    };
    let (mut at, mut length) = (inner.information_buffer as usize, inner.length as usize);
    while at != 0 && nodes.len() < 1000 {
        let bytes = bytes_at(at, length);
        at = link.map_or(0, |(next, _)| get(&bytes, next) as usize);
        length = link.map_or(0, |(_, size)| size);
        nodes.push(bytes);
    }
    nodes
}
