//! The lists of what was allocated on an adapter, which NDIS answers from what it saw pass: queues, filters on a queue or
//! a virtual port, virtual functions, virtual ports, and the parameters of one queue or filter (oid-receive-filter-enum-queues,
//! oid-receive-filter-enum-filters, oid-receive-filter-queue-parameters, oid-receive-filter-parameters,
//! oid-nic-switch-enum-vfs, oid-nic-switch-enum-vports).
//!
//! The pages say "all the receive queues that the protocol driver allocated" and "all the filters that are configured on a
//! network adapter"; whose binding an encapsulated request counts as, no page says.

use crate::adapter::offloads::{By, Holder, Offloads, Resource};
use crate::adapter::sriov::PHYSICAL_FUNCTION;
use crate::adapter::vmq::Target;
use crate::adapter::wire::{self, get32, oid, put, structure};
use crate::switch::control::offload_bytes::{queue_parameters, vnic_parameters};
use lbfoext::ndis::raw::{
    INVALID_LENGTH, INVALID_PARAMETER, NOT_SUPPORTED, OidRequest, SUCCESS, request_type,
};

/// How lists are answered.
#[derive(Clone, Copy, Debug, Default)]
pub struct Listing {
    /// A list has only what the extension's own requests allocated.
    pub own_only: bool,
    /// The parameters of a queue do not say its port: they are of the first revision, or the port is 0.
    pub portless: bool,
    /// Percentage of requests for a list that fail, and of answers that end before the last element.
    pub refused: u64,
    pub cut: u64,
    /// An adapter that fails every request for a list.
    pub never: Option<u16>,
    /// Longest additional delay of an answer, in units of 100 ns.
    pub late: u64,
}

impl Listing {
    /// One of the two readings of the pages, for random sequences; on half of the seeds with failures and delays.
    pub const fn drawn(seed: u64) -> Self {
        let own_only = seed / 3 % 2 == 1;
        let portless = seed / 12 % 3 == 1;
        match seed / 6 % 2 {
            0 => Self { own_only, portless, refused: 0, cut: 0, never: None, late: 0 },
            _ => Self { own_only, portless, refused: 15, cut: 10, never: None, late: 10_000 },
        }
    }
}

/// Whether a request asks for a list, or for one of its queues or filters.
pub const fn is_list(request: &OidRequest) -> bool {
    match request.oid {
        oid::ENUM_QUEUES | oid::ENUM_FILTERS | oid::FILTER_PARAMETERS | oid::ENUM_VPORTS | oid::ENUM_VFS => {
            true
        }
        // To set them is a request to the adapter.
        oid::QUEUE_PARAMETERS => request.request_type == request_type::METHOD,
        _ => false,
    }
}

/// Whether a resource is of the kind that a request asks to be listed; of filters, only those on the queue or virtual port
/// that it names are.
pub fn is_of_list(offloads: &Offloads, number: u32, request: &[u8], resource: Resource) -> bool {
    match (number, resource) {
        (oid::ENUM_QUEUES, Resource::Queue(_))
        | (oid::ENUM_VFS, Resource::Function(_))
        | (oid::ENUM_VPORTS, Resource::Vport(_)) => true,
        (oid::ENUM_FILTERS, Resource::Filter(id)) => {
            let set = offloads.queues.filters.get(&id);
            set.is_some_and(|filter| filter.target == filters_on(request))
        }
        _ => false,
    }
}

/// What a request for filters names.
fn filters_on(request: &[u8]) -> Target {
    let head = wire::header(request);
    let newer = head.is_some_and(|(_, revision, size)| revision >= 2 && size >= 28);
    match newer && get32(request, wire::filters::FLAGS) & 1 != 0 {
        true => Target::Vport(get32(request, wire::filters::VPORT)),
        false => Target::Queue(get32(request, wire::filters::QUEUE)),
    }
}

/// A list's header, the places of FirstElementOffset, NumElements and ElementSize in it, and its elements.
struct Answer {
    head: Vec<u8>,
    array: [wire::Member; 3],
    elements: Vec<Vec<u8>>,
}

impl Answer {
    /// The array with `gap` bytes before the first element and after each.
    fn bytes(self, gap: usize) -> Vec<u8> {
        let size = self.elements.first().map_or(0, Vec::len) + gap;
        let mut bytes = self.head;
        let first = bytes.len().next_multiple_of(8) + gap;
        let [at, count, each] = self.array;
        put(&mut bytes, at, first as u64);
        put(&mut bytes, count, self.elements.len() as u64);
        put(&mut bytes, each, size as u64);
        for (n, element) in self.elements.iter().enumerate() {
            bytes.resize(first + n * size, 0xA5);
            bytes.extend_from_slice(element);
            bytes.resize(first + (n + 1) * size, 0xA5);
        }
        bytes
    }
}

impl Offloads {
    /// Answers a request for a list: the status, and whether the answer ends before the last element. `draw` gives a number
    /// below another.
    pub fn list(
        &self,
        inner: &mut OidRequest,
        bytes: &mut [u8],
        listing: Listing,
        mut draw: impl FnMut(u64) -> u64,
    ) -> (i32, bool) {
        let method = inner.oid != oid::ENUM_QUEUES;
        if method != (inner.request_type == request_type::METHOD) {
            return (NOT_SUPPORTED, false);
        }
        let shows = |holder: &Holder| !listing.own_only || holder.by == By::Extension;
        let gap = 8 * draw(3) as usize;
        let answer = match inner.oid {
            oid::FILTER_PARAMETERS => self.filter_parameters(bytes, shows),
            oid::QUEUE_PARAMETERS => self.queue_parameters(bytes, shows, listing.portless, &mut draw),
            number => self.array(number, bytes, shows, draw(2) == 0).map(|answer| answer.bytes(gap)),
        };
        let answer = match answer {
            Ok(answer) => answer,
            Err(status) => return (status, false),
        };
        let Some(place) = bytes.get_mut(..answer.len()) else {
            let needed = answer.len() as u32;
            // The pages of two method requests name the member of a query.
            match method && draw(2) == 0 {
                true => inner.method_bytes_needed = needed,
                false => inner.word56 = needed,
            }
            return (if method { INVALID_LENGTH } else { self.capabilities.too_short() }, false);
        };
        place.copy_from_slice(&answer);
        let is_one = matches!(inner.oid, oid::FILTER_PARAMETERS | oid::QUEUE_PARAMETERS);
        let cut = !is_one && answer.len() > 40 && draw(100) < listing.cut;
        let written = if cut { answer.len() - 1 - gap } else { answer.len() } as u32;
        if method {
            (inner.method_bytes_written, inner.method_bytes_read) = (written, inner.length);
        } else {
            inner.word52 = written;
        }
        (SUCCESS, cut)
    }

    fn array(
        &self,
        number: u32,
        request: &[u8],
        shows: impl Fn(&Holder) -> bool,
        newer: bool,
    ) -> Result<Answer, i32> {
        let shown = |holder: Holder, resource| shows(&holder).then_some(resource);
        let all: Vec<Resource> = self.holdings().filter_map(|(h, r)| shown(h, r)).collect();
        match number {
            oid::ENUM_QUEUES => {
                let (revision, size) = if newer { (2, 1092) } else { (1, 1084) };
                let queue = |id| {
                    let mut bytes = structure(size, revision, size as u16, 0);
                    put(&mut bytes, wire::queue_info::ID, u64::from(id));
                    bytes
                };
                let ids =
                    all.iter().filter_map(|r| if let Resource::Queue(id) = r { Some(*id) } else { None });
                // The default queue is there, allocated by nobody.
                let ids = newer.then_some(0).into_iter().chain(ids);
                Ok(Answer {
                    head: structure(16, 1, 16, 0),
                    array: [wire::queues::FIRST, wire::queues::COUNT, wire::queues::SIZE],
                    elements: ids.map(queue).collect(),
                })
            }
            oid::ENUM_FILTERS => self.filters(request, &all),
            _ if self.capabilities.functions == 0 && self.functions.is_empty() => Err(NOT_SUPPORTED),
            oid::ENUM_VFS => {
                let function = |(id, f): (&u32, &crate::adapter::sriov::Function)| {
                    let mut bytes = structure(1632, 1, 1632, 0);
                    put(&mut bytes, wire::vf_info::ID, u64::from(*id));
                    put(&mut bytes, wire::vf_info::MAC_LENGTH, 6);
                    let at = wire::vf_info::MAC.at;
                    bytes[at..at + 6].copy_from_slice(&f.mac);
                    bytes
                };
                let shown = self.functions.functions.iter().filter(|(_, f)| shows(&f.holder));
                Ok(Answer {
                    head: structure(24, 1, 24, 0),
                    array: [wire::vfs::FIRST, wire::vfs::COUNT, wire::vfs::SIZE],
                    elements: shown.map(function).collect(),
                })
            }
            _ => {
                let vport = |id: u32, function: u32| {
                    let mut bytes = structure(576, 1, 576, 0);
                    put(&mut bytes, wire::vport_info::ID, u64::from(id));
                    put(&mut bytes, wire::vport_info::FUNCTION, u64::from(function));
                    bytes
                };
                let shown = self.functions.vports.iter().filter(|(_, v)| shows(&v.holder));
                let mut elements = vec![vport(0, PHYSICAL_FUNCTION)];
                elements.extend(shown.map(|(id, v)| vport(*id, v.function)));
                Ok(Answer {
                    head: structure(28, 1, 28, 0),
                    array: [wire::vports::FIRST, wire::vports::COUNT, wire::vports::SIZE],
                    elements,
                })
            }
        }
    }

    /// The filters on the queue, or with the flag on the virtual port, that the request names.
    fn filters(&self, request: &[u8], all: &[Resource]) -> Result<Answer, i32> {
        let (_, revision, _) = wire::header(request).ok_or(INVALID_LENGTH)?;
        let on = filters_on(request);
        let known = match on {
            Target::Queue(id) => id == 0 || self.queues.all.contains_key(&id),
            Target::Vport(id) => id == 0 || self.functions.vports.contains_key(&id),
        };
        if !known {
            return Err(INVALID_PARAMETER);
        }
        let filter = |id: u32| {
            let mut bytes = structure(16, 1, 16, 0);
            put(&mut bytes, wire::filter_info::ID, u64::from(id));
            bytes
        };
        let there = |id: &u32| self.queues.filters.get(id).is_some_and(|filter| filter.target == on);
        let ids = all.iter().filter_map(|r| if let Resource::Filter(id) = r { Some(*id) } else { None });
        let length = if revision >= 2 { 28 } else { 20 };
        Ok(Answer {
            head: structure(length, revision.min(2), length as u16, 0),
            array: [wire::filters::FIRST, wire::filters::COUNT, wire::filters::SIZE],
            elements: ids.filter(there).map(filter).collect(),
        })
    }

    fn queue_parameters(
        &self,
        request: &[u8],
        shows: impl Fn(&Holder) -> bool,
        portless: bool,
        mut draw: impl FnMut(u64) -> u64,
    ) -> Result<Vec<u8>, i32> {
        let id = get32(request, wire::queue::ID);
        let queue = self.queues.all.get(&id).filter(|queue| shows(&queue.holder));
        let queue = queue.ok_or(INVALID_PARAMETER)?;
        let (revision, port) = match (portless, draw(2) as u8) {
            (true, newer) => (1 + newer, 0),
            (false, newer) => (2 + newer, queue.holder.source.port),
        };
        let mut bytes = queue_parameters(revision, port, queue.affinity);
        put(&mut bytes, wire::queue::ID, u64::from(id));
        Ok(bytes)
    }

    fn filter_parameters(&self, request: &[u8], shows: impl Fn(&Holder) -> bool) -> Result<Vec<u8>, i32> {
        let id = get32(request, wire::filter::ID);
        let filter = self.queues.filters.get(&id).filter(|filter| shows(&filter.holder));
        let filter = filter.ok_or(INVALID_PARAMETER)?;
        let (queue, vport) = match filter.target {
            Target::Queue(queue) => (queue, 0),
            Target::Vport(vport) => (0, vport),
        };
        let mut bytes = vnic_parameters(2, queue, vport, filter.vnic);
        put(&mut bytes, wire::filter::ID, u64::from(id));
        Ok(bytes)
    }
}
