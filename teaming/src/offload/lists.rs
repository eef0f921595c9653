//! The lists that NDIS keeps of what it saw allocated on an adapter: queues, filters, virtual functions and virtual
//! ports, by the requests of which it answers them (oid-receive-filter-enum-queues.md, oid-receive-filter-enum-filters.md,
//! oid-nic-switch-enum-vfs.md, oid-nic-switch-enum-vports.md), and the parameters of one queue or filter, which tell whose
//! it is (oid-receive-filter-queue-parameters.md, enumerating-filters-on-a-vmq.md).
//!
//! An element is found by FirstElementOffset and ElementSize inside the bytes that were answered, and its header is
//! checked before it is read. Nothing here reads past the slice it is given.

use crate::ids::{MacAddr, PortId};
use crate::oid::payload::{checked, put, put_header, u16_at, u32_at};
use crate::oid::{RequestType, Resource, oids};

/// One list of one adapter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum List {
    Queues,
    Vfs,
    Vports,
    /// The filters on a queue of the default virtual port; queue 0 is the default one.
    FiltersOfQueue(u32),
    FiltersOfVport(u32),
}

/// What a list says of one resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listed {
    pub resource: Resource,
    pub id: u64,
    /// A filter's queue or virtual port, or a virtual port's function; `None` for what every adapter has.
    pub on: Option<(Resource, u64)>,
    /// The MAC address in use of a function's VM.
    pub mac: Option<MacAddr>,
}

/// Where a list has its array, and an element its id.
struct Layout {
    /// Bytes of the list's header in the revision that is asked for, and that revision.
    header: (usize, u8),
    /// Offset of FirstElementOffset, which NumElements and ElementSize follow.
    array: usize,
    id: usize,
    /// Bytes of an element up to the end of what is read of it.
    needed: usize,
}

/// `NDIS_RECEIVE_FILTER_INFO_ARRAY_VPORT_ID_SPECIFIED`.
const VPORT_ID_SPECIFIED: u32 = 1;
/// Members of NDIS_RECEIVE_FILTER_INFO_ARRAY that the request fills.
const FILTERS_QUEUE: usize = 4;
const FILTERS_FLAGS: usize = 20;
const FILTERS_VPORT: usize = 24;
/// CurrentMacAddress and MacAddressLength of NDIS_NIC_SWITCH_VF_INFO.
const VF_MAC_LENGTH: usize = 1560;
const VF_MAC: usize = 1594;
/// AttachedFunctionId of NDIS_NIC_SWITCH_VPORT_INFO.
const VPORT_FUNCTION: usize = 532;

impl List {
    pub const fn oid(self) -> u32 {
        match self {
            Self::Queues => oids::RECEIVE_FILTER_ENUM_QUEUES,
            Self::Vfs => oids::NIC_SWITCH_ENUM_VFS,
            Self::Vports => oids::NIC_SWITCH_ENUM_VPORTS,
            Self::FiltersOfQueue(_) | Self::FiltersOfVport(_) => oids::RECEIVE_FILTER_ENUM_FILTERS,
        }
    }

    pub const fn request_type(self) -> RequestType {
        match self {
            Self::Queues => RequestType::Query,
            Self::Vfs | Self::Vports | Self::FiltersOfQueue(_) | Self::FiltersOfVport(_) => {
                RequestType::Method
            }
        }
    }

    const fn resource(self) -> Resource {
        match self {
            Self::Queues => Resource::Queue,
            Self::Vfs => Resource::Vf,
            Self::Vports => Resource::Vport,
            Self::FiltersOfQueue(_) | Self::FiltersOfVport(_) => Resource::Filter,
        }
    }

    const fn layout(self) -> Layout {
        match self {
            Self::Queues => Layout { header: (16, 1), array: 4, id: 12, needed: 16 },
            Self::Vfs => Layout { header: (24, 1), array: 12, id: 1626, needed: 1628 },
            Self::Vports => Layout { header: (28, 1), array: 16, id: 4, needed: 534 },
            Self::FiltersOfQueue(_) => Layout { header: (20, 1), array: 8, id: 12, needed: 16 },
            Self::FiltersOfVport(_) => Layout { header: (28, 2), array: 8, id: 12, needed: 16 },
        }
    }

    /// Bytes of the list's header.
    pub const fn header_size(self) -> usize {
        self.layout().header.0
    }

    /// Writes the request into the beginning of a buffer of zeros: which list is asked for. False if that is too short.
    pub fn write_request(self, out: &mut [u8]) -> bool {
        let (size, revision) = self.layout().header;
        let Some(out) = out.get_mut(..size) else { return false };
        let written = [
            put_header(out, revision, size),
            match self {
                Self::FiltersOfQueue(queue) => put(out, FILTERS_QUEUE, queue),
                Self::FiltersOfVport(vport) => {
                    put(out, FILTERS_FLAGS, VPORT_ID_SPECIFIED).and(put(out, FILTERS_VPORT, vport))
                }
                // No flags: those of the whole adapter.
                Self::Queues | Self::Vfs | Self::Vports => Some(()),
            },
        ];
        written.iter().all(Option::is_some)
    }

    /// The resources in an answer, without the default queue and the default virtual port, which every adapter has. `None`
    /// if the list is damaged: its header, or an element that lies outside the answer or has no valid header.
    pub fn read(self, answer: &[u8]) -> Option<impl Iterator<Item = Listed> + '_> {
        let layout = self.layout();
        // A miniport of an older version of NDIS may answer in the first revision.
        let least = if matches!(self, Self::FiltersOfVport(_)) { 20 } else { layout.header.0 };
        checked(answer, least)?;
        let word = |place| u32_at(answer, place).and_then(|value| usize::try_from(value).ok());
        let [first, count, size] = [layout.array, layout.array.checked_add(4)?, layout.array.checked_add(8)?];
        let (first, count, size) = (word(first)?, word(count)?, word(size)?);
        let element = move |index: usize| {
            let start = size.checked_mul(index)?.checked_add(first)?;
            checked(answer.get(start..start.checked_add(size)?)?, layout.needed)
        };
        let sound = count == 0 || size >= layout.needed && first >= least;
        // The announced number is the answer's to say, so the last element is looked at before all.
        let ends = count == 0 || size.checked_mul(count)?.checked_add(first)? <= answer.len();
        (sound && ends && (0..count).all(|index| element(index).is_some())).then_some(())?;
        let listed = (0..count).filter_map(move |index| self.listed(element(index)?, &layout));
        Some(
            listed.filter(|listed| {
                !matches!((listed.resource, listed.id), (Resource::Queue | Resource::Vport, 0))
            }),
        )
    }

    fn listed(self, element: &[u8], layout: &Layout) -> Option<Listed> {
        let id = match self {
            Self::Vfs => u16_at(element, layout.id)?.into(),
            _ => u32_at(element, layout.id)?.into(),
        };
        let on = match self {
            Self::Queues | Self::Vfs => None,
            Self::Vports => match u16_at(element, VPORT_FUNCTION)?.into() {
                crate::oid::payload::PHYSICAL_FUNCTION => None,
                function => Some((Resource::Vf, function)),
            },
            Self::FiltersOfQueue(queue) => (queue != 0).then_some((Resource::Queue, queue.into())),
            Self::FiltersOfVport(vport) => (vport != 0).then_some((Resource::Vport, vport.into())),
        };
        let has_mac = self == Self::Vfs && u16_at(element, VF_MAC_LENGTH) == Some(6);
        let mac = mac_at(element, VF_MAC).filter(|_| has_mac);
        Some(Listed { resource: self.resource(), id, on, mac })
    }
}

/// The parameters of one queue or filter: NDIS_RECEIVE_QUEUE_PARAMETERS or NDIS_RECEIVE_FILTER_PARAMETERS, which both ask
/// and answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parameters {
    Queue(u32),
    /// A filter on a queue of the default virtual port, or on a virtual port; the other of the two is 0.
    Filter {
        id: u32,
        queue: u32,
        vport: u32,
    },
}

/// By what the parameters tell a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// The port of the switch to which the queue is attached (ns-ntddndis-_ndis_receive_queue_parameters.md).
    Port(PortId),
    /// The destination address that the filter tests.
    Address(MacAddr),
}

/// Bytes of the second revision of NDIS_RECEIVE_QUEUE_PARAMETERS, and places of its members. The first has no port.
const QUEUE_SIZE: usize = 1092;
const QUEUE_ID: usize = 12;
const QUEUE_PORT: usize = 1084;
/// The same of NDIS_RECEIVE_FILTER_PARAMETERS.
const FILTER_SIZE: usize = 44;
const FILTER_QUEUE: usize = 12;
const FILTER_ID: usize = 16;
const FILTER_FIELDS: usize = 20;
const FILTER_COUNT: usize = 24;
const FILTER_ELEMENT: usize = 28;
const FILTER_VPORT: usize = 40;
/// Members of NDIS_RECEIVE_FILTER_FIELD_PARAMETERS, the value of `NdisFrameHeaderMac`, and that of
/// `NdisMacHeaderFieldDestinationAddress`.
const FRAME_HEADER: usize = 8;
const HEADER_FIELD: usize = 16;
const VALUE: usize = 24;
const FIELD_NEEDED: usize = 30;
const MAC_HEADER: u32 = 1;
const DESTINATION: u32 = 1;

impl Parameters {
    /// What is asked to find the partition of something in a list. Of functions the list says it, of virtual ports nobody.
    pub fn of(id: u32, list: List) -> Option<Self> {
        match list {
            List::Queues => Some(Self::Queue(id)),
            List::FiltersOfQueue(queue) => Some(Self::Filter { id, queue, vport: 0 }),
            List::FiltersOfVport(vport) => Some(Self::Filter { id, queue: 0, vport }),
            List::Vfs | List::Vports => None,
        }
    }

    pub const fn oid(self) -> u32 {
        match self {
            Self::Queue(_) => oids::RECEIVE_FILTER_QUEUE_PARAMETERS,
            Self::Filter { .. } => oids::RECEIVE_FILTER_PARAMETERS,
        }
    }

    /// Writes the request into the beginning of a buffer of zeros. False if that is too short.
    pub fn write_request(self, out: &mut [u8]) -> bool {
        let (size, members) = match self {
            Self::Queue(id) => (QUEUE_SIZE, [(QUEUE_ID, id); 3]),
            Self::Filter { id, queue, vport } => {
                (FILTER_SIZE, [(FILTER_QUEUE, queue), (FILTER_ID, id), (FILTER_VPORT, vport)])
            }
        };
        let Some(out) = out.get_mut(..size) else { return false };
        put_header(out, 2, size).is_some()
            && members.into_iter().all(|(place, value)| put(out, place, value).is_some())
    }

    /// Whose it is, as far as the answer says that.
    pub fn owner(self, answer: &[u8]) -> Option<Owner> {
        match self {
            Self::Queue(_) => {
                let port = u32_at(checked(answer, QUEUE_PORT.checked_add(4)?)?, QUEUE_PORT)?;
                Some(Owner::Port(PortId::new(port))).filter(|_| port != 0)
            }
            Self::Filter { .. } => address(answer).map(Owner::Address),
        }
    }
}

/// The destination address that a filter tests.
fn address(answer: &[u8]) -> Option<MacAddr> {
    checked(answer, FILTER_VPORT)?;
    let word = |place| u32_at(answer, place).and_then(|value| usize::try_from(value).ok());
    let (first, count, size) = (word(FILTER_FIELDS)?, word(FILTER_COUNT)?, word(FILTER_ELEMENT)?);
    (size >= FIELD_NEEDED && first >= FILTER_VPORT).then_some(())?;
    let fields = answer.get(first..)?.chunks_exact(size).take(count);
    let mut addresses = fields.filter_map(|field| {
        let field = checked(field, FIELD_NEEDED)?;
        let is_address =
            u32_at(field, FRAME_HEADER)? == MAC_HEADER && u32_at(field, HEADER_FIELD)? == DESTINATION;
        mac_at(field, VALUE).filter(|_| is_address)
    });
    addresses.next()
}

fn mac_at(bytes: &[u8], place: usize) -> Option<MacAddr> {
    bytes.get(place..)?.first_chunk().copied().map(MacAddr)
}
