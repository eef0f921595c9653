//! The offloads of one physical adapter: its capabilities, the resources that it holds for each partition, and its
//! answers to requests.
//!
//! A request succeeds or fails as a whole. A request that a miniport could not handle (a filter on a queue that does
//! not exist, a handle of another adapter) returns a complaint with the rule that its issuer broke.

use crate::adapter::capabilities::Capabilities;
use crate::adapter::ipsec::Associations;
use crate::adapter::sriov::Functions;
use crate::adapter::vmq::{DEFAULT_QUEUE, NO_COMPLAINT, Queues, Target, VnicAddress, ended, unknown};
use crate::adapter::wire::{self, get, get32, offload_row, oid, put};
use crate::switch::ports::NicId;
use lbfoext::ndis::raw::{
    INVALID_LENGTH, INVALID_PARAMETER, NOT_SUPPORTED, OidRequest, SUCCESS, request_type,
};
use std::collections::BTreeMap;

/// The issuer of a request: the switch or the extension.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum By {
    Switch,
    Extension,
}

/// The partition for which a resource is held, and the issuer of its request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Holder {
    pub source: NicId,
    pub by: By,
}

/// A broken rule, and a description.
pub type Complaint = (&'static str, String);

/// One resource of an adapter. Different adapters may have equal ids for different partitions.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Resource {
    Queue(u32),
    Filter(u32),
    Function(u32),
    Vport(u32),
    Association(u64),
}

/// The result of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Served {
    pub status: i32,
    pub complaint: Option<Complaint>,
    /// Resources that it allocated, and resources that it freed.
    pub made: Vec<Resource>,
    pub ended: Vec<Resource>,
    /// Each queue of QUEUE_ALLOCATION_COMPLETE with its status.
    pub completed: Vec<(u32, i32)>,
}

impl Served {
    fn with(status: i32) -> Self {
        Self { status, ..Self::default() }
    }

    fn refused((status, complaint): (i32, Complaint)) -> Self {
        Self { status, complaint: Some(complaint).filter(|c| !c.0.is_empty()), ..Self::default() }
    }

    fn made(result: Result<Resource, (i32, Complaint)>) -> Self {
        match result {
            Ok(resource) => Self { made: vec![resource], ..Self::default() },
            Err(refused) => Self::refused(refused),
        }
    }

    fn ended(result: Result<(), (i32, Complaint)>, resource: Resource) -> Self {
        let gone = if result.is_ok() { vec![resource] } else { Vec::new() };
        let (status, complaint) = ended(result);
        Self { status, complaint, ended: gone, ..Self::default() }
    }
}

#[derive(Clone, Debug)]
pub struct Offloads {
    pub capabilities: Capabilities,
    pub queues: Queues,
    pub associations: Associations,
    pub functions: Functions,
    /// Numbers are all that it looks at, as hardware does: whoever names one gets it, whosever it is.
    pub by_number: bool,
    /// Values of vendor-private OIDs.
    pub private: BTreeMap<u32, Vec<u8>>,
}

impl Default for Offloads {
    fn default() -> Self {
        Self::new(Capabilities::default())
    }
}

impl Offloads {
    pub fn new(capabilities: Capabilities) -> Self {
        Self {
            capabilities,
            queues: Queues::new(capabilities.queues, capabilities.filters),
            associations: Associations::new(capabilities.associations),
            functions: Functions::new(capabilities.functions, capabilities.vports),
            by_number: false,
            private: BTreeMap::new(),
        }
    }

    /// Changes the capabilities. The adapter keeps its resources.
    pub fn change(&mut self, capabilities: Capabilities) {
        self.capabilities = capabilities;
        self.queues.limit = capabilities.queues;
        self.queues.filter_limit = capabilities.filters;
        self.associations.limit = capabilities.associations;
        self.functions.function_limit = capabilities.functions;
        self.functions.vport_limit = capabilities.vports;
    }

    /// The adapter is removed; returns the resources that are lost.
    pub fn power_off(&mut self) -> Vec<(NicId, Resource)> {
        let lost = self.holdings().map(|(holder, resource)| (holder.source, resource)).collect();
        *self = Self { by_number: self.by_number, ..Self::new(self.capabilities) };
        lost
    }

    /// All resources of the adapter.
    pub fn holdings(&self) -> impl Iterator<Item = (Holder, Resource)> + '_ {
        let queues = self.queues.all.iter().map(|(id, q)| (q.holder, Resource::Queue(*id)));
        let filters = self.queues.filters.iter().map(|(id, f)| (f.holder, Resource::Filter(*id)));
        let functions = self.functions.functions.iter().map(|(id, f)| (f.holder, Resource::Function(*id)));
        let vports = self.functions.vports.iter().map(|(id, v)| (v.holder, Resource::Vport(*id)));
        let associations = self.associations.all.iter().map(|(id, a)| (a.holder, Resource::Association(*id)));
        queues.chain(filters).chain(functions).chain(vports).chain(associations)
    }

    /// Removes a resource without a request.
    pub fn forget(&mut self, source: NicId, resource: Resource) {
        if !self.holds(source, resource) {
            return;
        }
        match resource {
            Resource::Queue(id) => {
                self.queues.all.remove(&id);
                self.queues.filters.retain(|_, filter| filter.target != Target::Queue(id));
            }
            Resource::Filter(id) => _ = self.queues.filters.remove(&id),
            Resource::Function(id) => _ = self.functions.functions.remove(&id),
            Resource::Vport(id) => {
                self.functions.vports.remove(&id);
                self.queues.filters.retain(|_, filter| filter.target != Target::Vport(id));
            }
            Resource::Association(handle) => _ = self.associations.all.remove(&handle),
        }
    }

    /// It can take one more of what a request allocates.
    pub fn has_room(&self, number: u32) -> bool {
        let (queues, functions) = (&self.queues, &self.functions);
        match number {
            oid::ALLOCATE_QUEUE => queues.all.len() < queues.limit as usize,
            oid::SET_FILTER => queues.limit > 0 && queues.filters.len() < queues.filter_limit as usize,
            oid::ALLOCATE_VF => functions.functions.len() < functions.function_limit as usize,
            oid::CREATE_VPORT => functions.vports.len() < functions.vport_limit as usize,
            _ => true,
        }
    }

    /// The partition that a number belongs to on this adapter.
    pub fn owner(&self, resource: Resource) -> Option<NicId> {
        self.holdings().find(|(_, held)| *held == resource).map(|(holder, _)| holder.source)
    }

    pub fn holds(&self, source: NicId, resource: Resource) -> bool {
        self.holdings().any(|(holder, held)| holder.source == source && held == resource)
    }

    /// Executes an encapsulated request of a partition, or of 0/0, and writes the results where the documentation
    /// requires.
    ///
    /// # Safety
    /// The buffer has the length that the request states, and every list in it is linked correctly.
    pub unsafe fn serve(&mut self, holder: Holder, inner: &mut OidRequest) -> Served {
        let length = inner.length as usize;
        let mut nothing = [0_u8; 0];
        let buffer = if inner.information_buffer.is_null() {
            &mut nothing[..]
        } else {
            // SAFETY: by the contract.
            unsafe { std::slice::from_raw_parts_mut(inner.information_buffer.cast::<u8>(), length) }
        };
        let method = inner.request_type == request_type::METHOD;
        let served = match offload_row(inner.oid) {
            Some(row) if row.method != method => Served::with(NOT_SUPPORTED),
            Some(row) if buffer.len() < row.size => {
                needs(inner, row.size);
                return Served::with(INVALID_LENGTH);
            }
            // SAFETY: by the contract.
            Some(_) => unsafe { self.offload(holder, inner.oid, buffer) },
            None => {
                return match wire::target(inner) {
                    Some(vport) => self.targeted(holder, vport, inner, buffer),
                    None => self.other(inner, buffer),
                };
            }
        };
        if served.status == INVALID_LENGTH {
            needs(inner, length + 1);
        }
        if served.status == SUCCESS {
            if method {
                (inner.method_bytes_read, inner.method_bytes_written) = (inner.length, inner.length);
            } else {
                inner.word52 = inner.length;
            }
            inner.supported_revision = 1;
        }
        served
    }

    /// # Safety
    /// As for `serve`.
    unsafe fn offload(&mut self, holder: Holder, number: u32, bytes: &mut [u8]) -> Served {
        match number {
            oid::ALLOCATE_QUEUE => self.allocate_queue(holder, bytes),
            oid::SET_FILTER => self.set_filter(holder, bytes),
            oid::ALLOCATION_COMPLETE => self.complete(holder, bytes),
            oid::CLEAR_FILTER => {
                let (queue, id) =
                    (get32(bytes, wire::clear_filter::QUEUE), get32(bytes, wire::clear_filter::ID));
                Served::ended(self.queues.clear_filter(holder, queue, id), Resource::Filter(id))
            }
            oid::FREE_QUEUE => {
                let id = get32(bytes, wire::free_queue::ID);
                Served::ended(self.queues.free(holder, id), Resource::Queue(id))
            }
            oid::MOVE_FILTER => self.move_filter(holder, bytes),
            oid::ALLOCATE_VF => {
                let at = wire::vf::MAC.at;
                let mac = bytes[at..at + 6].try_into().unwrap_or_default();
                let made = self.functions.allocate(holder, mac).map_err(|status| (status, NO_COMPLAINT));
                if let Ok(id) = made {
                    put(bytes, wire::vf::ID, u64::from(id));
                    put(bytes, wire::vf::REQUESTOR, u64::from(0x100 + id));
                }
                Served::made(made.map(Resource::Function))
            }
            oid::FREE_VF => {
                let id = get32(bytes, wire::free_vf::ID);
                Served::ended(self.functions.free(holder, id), Resource::Function(id))
            }
            oid::CREATE_VPORT => {
                let function = get32(bytes, wire::vport::FUNCTION);
                let made = self.functions.create_vport(holder, function);
                if let Ok(id) = made {
                    put(bytes, wire::vport::ID, u64::from(id));
                }
                Served::made(made.map(Resource::Vport))
            }
            oid::DELETE_VPORT => {
                let id = get32(bytes, wire::delete_vport::ID);
                let filtered = self.queues.filters.values().any(|f| f.target == Target::Vport(id));
                Served::ended(self.functions.delete_vport(holder, id, filtered), Resource::Vport(id))
            }
            _ if wire::uses(number) => self.use_held(holder, number, bytes),
            // SAFETY: by the contract.
            _ => unsafe { self.associations(holder, number, bytes) },
        }
    }

    fn allocate_queue(&mut self, holder: Holder, bytes: &mut [u8]) -> Served {
        let affinity = get(bytes, wire::queue::AFFINITY);
        let made = self.queues.allocate(holder, affinity).map_err(|status| (status, NO_COMPLAINT));
        if let Ok(id) = made {
            put(bytes, wire::queue::ID, u64::from(id));
        }
        Served::made(made.map(Resource::Queue))
    }

    fn set_filter(&mut self, holder: Holder, bytes: &mut [u8]) -> Served {
        let first = get32(bytes, wire::filter::FIELDS_AT) as usize;
        let size = get32(bytes, wire::filter::FIELD_SIZE) as usize;
        let fields = get32(bytes, wire::filter::FIELDS) as usize;
        let value = bytes.get(first..).filter(|rest| fields > 0 && rest.len() >= size.saturating_mul(fields));
        let tests = value.map(|rest| rest.chunks(size.max(1)).take(fields));
        let Some(vnic) = tests.and_then(vnic) else {
            return Served::with(INVALID_PARAMETER);
        };
        let vport = if wire::header(bytes).is_some_and(|h| h.1 >= 2 && h.2 >= 44) {
            get32(bytes, wire::filter::VPORT)
        } else {
            0
        };
        let queue = get32(bytes, wire::filter::QUEUE);
        let target = if queue == DEFAULT_QUEUE && vport != 0 {
            let owner = self.functions.vports.get(&vport).map(|v| v.holder.source);
            if owner != Some(holder.source) {
                return Served::refused((INVALID_PARAMETER, unknown("virtual port", vport)));
            }
            Target::Vport(vport)
        } else {
            Target::Queue(queue)
        };
        let made = self.queues.set_filter(holder, target, vnic);
        if let Ok(id) = made {
            put(bytes, wire::filter::ID, u64::from(id));
        }
        Served::made(made.map(Resource::Filter))
    }

    fn move_filter(&mut self, holder: Holder, bytes: &[u8]) -> Served {
        let target = |queue, vport| {
            let (queue, vport) = (get32(bytes, queue), get32(bytes, vport));
            if vport == 0 { Target::Queue(queue) } else { Target::Vport(vport) }
        };
        let id = get32(bytes, wire::move_filter::ID);
        let from = target(wire::move_filter::FROM_QUEUE, wire::move_filter::FROM_VPORT);
        let to = target(wire::move_filter::TO_QUEUE, wire::move_filter::TO_VPORT);
        if let Target::Vport(vport) = to
            && self
                .functions
                .vports
                .get(&vport)
                .is_none_or(|v| v.holder.source != holder.source && !self.by_number)
        {
            return Served::refused((INVALID_PARAMETER, unknown("virtual port", vport)));
        }
        let (status, complaint) = ended(self.queues.move_filter(holder, id, from, to));
        Served { status, complaint, ..Served::default() }
    }

    fn complete(&mut self, holder: Holder, bytes: &mut [u8]) -> Served {
        let mut served = Served::default();
        for at in elements(bytes) {
            let Some(element) = bytes.get_mut(at..) else { return Served::with(INVALID_PARAMETER) };
            let id = get32(element, wire::completed::QUEUE);
            let (status, complaint) = ended(self.queues.complete(holder, id));
            put(element, wire::completed::STATUS, u64::from(status as u32));
            served.complaint = served.complaint.or(complaint);
            served.completed.push((id, status));
        }
        served
    }

    /// # Safety
    /// As for `serve`.
    unsafe fn associations(&mut self, holder: Holder, number: u32, bytes: &mut [u8]) -> Served {
        let spi_of = |bytes: &[u8], at: usize| {
            bytes.get(at + 8..at + 12).and_then(|b| b.try_into().ok()).map_or(0, u32::from_le_bytes)
        };
        match number {
            oid::ADD_SA => {
                // SAFETY: by the contract.
                let nodes = unsafe { nodes(bytes.as_mut_ptr(), wire::add_sa::NEXT.at, 176) };
                self.add(holder, nodes, wire::add_sa::HANDLE, |b| spi_of(b, wire::add_sa::ASSOCIATIONS.at))
            }
            oid::ADD_SA_EX => {
                let spi = |b: &[u8]| spi_of(b, wire::add_sa_ex::ASSOCIATIONS.at);
                self.add(holder, vec![bytes], wire::add_sa_ex::HANDLE, spi)
            }
            oid::UPDATE_SA => {
                let (handle, spi) = (get(bytes, wire::update_sa::HANDLE), get32(bytes, wire::update_sa::SPI));
                let (status, complaint) = ended(self.associations.update(holder, handle, spi));
                Served { status, complaint, ..Served::default() }
            }
            _ => {
                let mut served = Served::default();
                // SAFETY: by the contract.
                for node in unsafe { nodes(bytes.as_mut_ptr(), wire::delete_sa::NEXT.at, 24) } {
                    let handle = get(node, wire::delete_sa::HANDLE);
                    let one = Served::ended(
                        self.associations.delete(holder, handle),
                        Resource::Association(handle),
                    );
                    served.complaint = served.complaint.or(one.complaint);
                    served.ended.extend(one.ended);
                }
                served
            }
        }
    }

    /// Adds as many associations as fit. The handle of one that was not added is null; if all are, the request fails.
    fn add(
        &mut self,
        holder: Holder,
        nodes: Vec<&mut [u8]>,
        handle: wire::Member,
        spi: impl Fn(&[u8]) -> u32,
    ) -> Served {
        let mut served = Served::default();
        let mut last = INVALID_PARAMETER;
        for node in nodes {
            let spi = spi(node);
            let added = self.associations.add(holder, spi);
            put(node, handle, added.unwrap_or(0));
            match added {
                Ok(handle) => served.made.push(Resource::Association(handle)),
                Err(status) => last = status,
            }
        }
        if served.made.is_empty() {
            served.status = last;
        }
        served
    }

    /// Queries of capabilities and private OIDs.
    fn other(&mut self, inner: &mut OidRequest, bytes: &mut [u8]) -> Served {
        let private = inner.oid >= oid::PRIVATE;
        if inner.request_type == request_type::SET_INFORMATION && private {
            self.private.insert(inner.oid, bytes.to_vec());
            inner.word52 = inner.length;
            return Served::default();
        }
        if inner.request_type == request_type::METHOD && private {
            return self.private_method(inner, bytes);
        }
        let answer =
            if private { self.private.get(&inner.oid).cloned() } else { self.capabilities.answer(inner.oid) };
        let Some(answer) = answer.filter(|_| inner.request_type == request_type::QUERY_INFORMATION) else {
            return Served::with(NOT_SUPPORTED);
        };
        let Some(place) = bytes.get_mut(..answer.len()) else {
            needs(inner, answer.len());
            return Served::with(self.capabilities.too_short());
        };
        place.copy_from_slice(&answer);
        inner.word52 = answer.len() as u32;
        Served::default()
    }
}

impl Offloads {
    /// A method of the vendor's: gives back what was set under that number, then its input in reverse.
    fn private_method(&self, inner: &mut OidRequest, input: &[u8]) -> Served {
        let Some(set) = self.private.get(&inner.oid) else { return Served::with(NOT_SUPPORTED) };
        let answer: Vec<u8> = set.iter().chain(input.iter().rev()).copied().collect();
        if inner.information_buffer.is_null() || (inner.word52 as usize) < answer.len() {
            needs(inner, answer.len());
            return Served::with(INVALID_LENGTH);
        }
        // SAFETY: OutputBufferLength says that there is so much room; the input was copied.
        let place =
            unsafe { std::slice::from_raw_parts_mut(inner.information_buffer.cast::<u8>(), answer.len()) };
        place.copy_from_slice(&answer);
        (inner.method_bytes_read, inner.method_bytes_written) = (inner.length, answer.len() as u32);
        Served::default()
    }
}

/// The destination address and the VLAN, or no VLAN, that the fields of a filter test.
fn vnic<'a>(fields: impl Iterator<Item = &'a [u8]>) -> Option<VnicAddress> {
    let (mut mac, mut vid) = (None, None);
    for field in fields.filter(|field| field.len() >= wire::field::VALUE.at + wire::field::VALUE.size) {
        let at = wire::field::VALUE.at;
        if get32(field, wire::field::WHICH) == wire::mac_field::VLAN_ID {
            vid = Some(u16::from_le_bytes(field[at..at + 2].try_into().ok()?));
        } else {
            mac = field[at..at + 6].try_into().ok();
            let untagged = get32(field, wire::field::FLAGS) & wire::mac_field::UNTAGGED_OR_ZERO != 0;
            vid = vid.or(untagged.then_some(0));
        }
    }
    Some(VnicAddress { mac: mac?, vid })
}

fn needs(inner: &mut OidRequest, size: usize) {
    if inner.request_type == request_type::METHOD {
        inner.method_bytes_needed = size as u32;
    } else {
        inner.word52 = 0;
        inner.word56 = size as u32;
    }
}

/// Offsets of the elements of a QUEUE_ALLOCATION_COMPLETE array that lie in the buffer.
pub fn elements(bytes: &[u8]) -> Vec<usize> {
    let first = get32(bytes, wire::complete::FIRST) as usize;
    let size = get32(bytes, wire::complete::SIZE) as usize;
    let count = get32(bytes, wire::complete::COUNT) as usize;
    (0..count)
        .map_while(|n| n.checked_mul(size)?.checked_add(first))
        .take_while(|at| at.checked_add(16).is_some_and(|end| end <= bytes.len()))
        .collect()
}

/// The nodes of a linked list whose link lies at `next`.
///
/// # Safety
/// Every node has `size` bytes, the last link is null, and nobody else uses the list meanwhile.
unsafe fn nodes<'a>(first: *mut u8, next: usize, size: usize) -> Vec<&'a mut [u8]> {
    let mut all = Vec::new();
    let mut node = first;
    while !node.is_null() && all.len() < 1000 {
        // SAFETY: by the contract.
        let bytes = unsafe { std::slice::from_raw_parts_mut(node, size) };
        node = bytes[next..next + 8].try_into().map_or(std::ptr::null_mut(), |b| {
            std::ptr::with_exposed_provenance_mut(u64::from_le_bytes(b) as usize)
        });
        all.push(bytes);
    }
    all
}
