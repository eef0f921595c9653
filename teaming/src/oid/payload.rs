//! Reads what offload requests say from the bytes of their payloads, and writes the payloads of the requests that take
//! their place.
//!
//! A payload is trusted as far as its own header goes: type, a revision of 1 or more, a size that covers what is read,
//! and as many bytes as that. Newer revisions are read as the first, those of filters as the second. What does not hold
//! is `None`: such a request is passed on unread. Nothing here reads past the slice it is given.

use crate::oid::{Resource, oids};

/// `NDIS_OBJECT_TYPE_DEFAULT`, the type of every payload here.
const DEFAULT: u8 = 0x80;
/// `NDIS_PF_FUNCTION_ID`: a virtual port of the physical function itself.
pub const PHYSICAL_FUNCTION: u64 = 0xFFFF;

/// What one request asks of the holder of a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// Bits of the processors that may serve the queue, in their processor group.
    AllocateQueue {
        group: u16,
        processors: u64,
    },
    /// Its queues are read with `QueueArray`.
    CompleteQueues,
    /// `processors` with their group if it changes them.
    UpdateQueue {
        queue: u64,
        processors: Option<(u16, u64)>,
    },
    FreeQueue {
        queue: u64,
    },
    /// On a queue, or on a virtual port when that is not the default one.
    SetFilter {
        queue: u64,
        vport: u64,
    },
    ClearFilter {
        queue: u64,
        filter: u64,
    },
    MoveFilter {
        filter: u64,
        from: FilterTarget,
        to: FilterTarget,
    },
    AllocateVf,
    FreeVf {
        vf: u64,
    },
    CreateVport {
        function: u64,
    },
    DeleteVport {
        vport: u64,
    },
    /// One, or a list that only pointers hold together.
    AddSas,
    UpdateSa {
        handle: u64,
    },
    /// A list that only pointers hold together.
    DeleteSas,
    /// Reads or changes a virtual function or a virtual port, and leaves it where it is.
    Use {
        resource: Resource,
        id: u64,
    },
}

impl Command {
    /// The resources that it names, without those of lists.
    pub fn named(&self) -> impl Iterator<Item = (Resource, u64)> + use<> {
        let queue = |queue| (queue != 0).then_some((Resource::Queue, queue));
        let named = match *self {
            Self::FreeQueue { queue: id } | Self::UpdateQueue { queue: id, .. } => [queue(id), None, None],
            Self::Use { resource, id } => [Some((resource, id)), None, None],
            Self::SetFilter { queue, vport } => [FilterTarget { queue, vport }.resource(), None, None],
            Self::ClearFilter { queue: on, filter } => [queue(on), Some((Resource::Filter, filter)), None],
            Self::MoveFilter { filter, from, to } => {
                [Some((Resource::Filter, filter)), from.resource(), to.resource()]
            }
            Self::FreeVf { vf } => [Some((Resource::Vf, vf)), None, None],
            Self::CreateVport { function: PHYSICAL_FUNCTION } => [None; 3],
            Self::CreateVport { function } => [Some((Resource::Vf, function)), None, None],
            Self::DeleteVport { vport } => [Some((Resource::Vport, vport)), None, None],
            Self::UpdateSa { handle } => [Some((Resource::Sa, handle)), None, None],
            Self::AllocateQueue { .. }
            | Self::CompleteQueues
            | Self::AllocateVf
            | Self::AddSas
            | Self::DeleteSas => [None; 3],
        };
        named.into_iter().flatten()
    }
}

/// What a filter is set on: a queue of the default virtual port, or a virtual port. Number 0 is the default one, which
/// every adapter has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FilterTarget {
    pub queue: u64,
    pub vport: u64,
}

impl FilterTarget {
    /// The resource that it is; `None` for the default queue of the default virtual port.
    pub const fn resource(self) -> Option<(Resource, u64)> {
        match (self.queue, self.vport) {
            (0, 0) => None,
            (0, vport) => Some((Resource::Vport, vport)),
            (queue, _) => Some((Resource::Queue, queue)),
        }
    }
}

/// Where ids stand in the payloads; all are of four bytes unless said otherwise.
pub mod at {
    pub const QUEUE_PROCESSORS: usize = 24;
    pub const QUEUE_GROUP: usize = 32;
    pub const QUEUE_FLAGS: usize = 4;
    /// Where an adapter puts the id of a queue that it allocates, and where an update names its queue.
    pub const ALLOCATED_QUEUE: usize = 12;
    pub const FREED_QUEUE: usize = 8;
    pub const FILTER_QUEUE: usize = 12;
    pub const SET_FILTER: usize = 16;
    pub const FILTER_VPORT: usize = 40;
    pub const CLEARED_QUEUE: usize = 8;
    pub const CLEARED_FILTER: usize = 12;
    pub const MOVED_FILTER: usize = 4;
    pub const MOVED_FROM: usize = 8;
    pub const MOVED_FROM_VPORT: usize = 12;
    pub const MOVED_TO: usize = 16;
    pub const MOVED_TO_VPORT: usize = 20;
    /// Two bytes.
    pub const ALLOCATED_VF: usize = 1626;
    /// Two bytes.
    pub const FREED_VF: usize = 8;
    /// Two bytes: the function that a request of `OID_SRIOV_*` reads, writes or resets.
    pub const USED_VF: usize = 4;
    /// Where an adapter puts the id of a virtual port that it creates, and where an update names its port.
    pub const CREATED_VPORT: usize = 12;
    /// Two bytes.
    pub const VPORT_FUNCTION: usize = 532;
    pub const DELETED_VPORT: usize = 8;
    /// Eight bytes.
    pub const UPDATED_SA: usize = 8;
    pub const COMPLETE_FIRST: usize = 8;
    pub const COMPLETE_COUNT: usize = 12;
    pub const COMPLETE_SIZE: usize = 16;
    pub const COMPLETE_QUEUE: usize = 8;
    pub const COMPLETE_STATUS: usize = 12;
}

/// Sizes that are not in the table of OIDs: a second revision, and the header and elements of an array.
const FILTER_REVISION_2: usize = 44;
const COMPLETE_HEADER: usize = 20;
const COMPLETE_ELEMENT: usize = 16;

/// `NDIS_RECEIVE_QUEUE_PARAMETERS_PROCESSOR_AFFINITY_CHANGED`.
const AFFINITY_CHANGED: u32 = 0x0002_0000;

/// Reads the payload of a request inside an envelope.
pub fn command(oid: u32, bytes: &[u8]) -> Option<Command> {
    let needed = size(oid)?;
    // The elements of these hang together by pointers and are checked one by one where those are followed.
    match oid {
        oids::TCP_TASK_IPSEC_OFFLOAD_V2_ADD_SA | oids::TCP_TASK_IPSEC_OFFLOAD_V2_ADD_SA_EX => {
            return checked(bytes, needed).map(|_| Command::AddSas);
        }
        oids::TCP_TASK_IPSEC_OFFLOAD_V2_DELETE_SA => {
            return checked(bytes, needed).map(|_| Command::DeleteSas);
        }
        _ => {}
    }
    let p = checked(bytes, needed)?;
    let processors = || Some((u16_at(p, at::QUEUE_GROUP)?, u64_at(p, at::QUEUE_PROCESSORS)?));
    Some(match oid {
        oids::RECEIVE_FILTER_ALLOCATE_QUEUE => {
            let (group, processors) = processors()?;
            Command::AllocateQueue { group, processors }
        }
        oids::RECEIVE_FILTER_QUEUE_PARAMETERS => {
            let changed = u32_at(p, at::QUEUE_FLAGS)? & AFFINITY_CHANGED != 0;
            Command::UpdateQueue {
                queue: id(p, at::ALLOCATED_QUEUE)?,
                processors: if changed { processors() } else { None },
            }
        }
        oids::RECEIVE_FILTER_QUEUE_ALLOCATION_COMPLETE => Command::CompleteQueues,
        oids::RECEIVE_FILTER_FREE_QUEUE => Command::FreeQueue { queue: id(p, at::FREED_QUEUE)? },
        oids::RECEIVE_FILTER_SET_FILTER => {
            let vport = checked(bytes, FILTER_REVISION_2).and_then(|p| id(p, at::FILTER_VPORT));
            Command::SetFilter { queue: id(p, at::FILTER_QUEUE)?, vport: vport.unwrap_or(0) }
        }
        oids::RECEIVE_FILTER_CLEAR_FILTER => {
            Command::ClearFilter { queue: id(p, at::CLEARED_QUEUE)?, filter: id(p, at::CLEARED_FILTER)? }
        }
        oids::RECEIVE_FILTER_MOVE_FILTER => {
            let target = |queue, vport| Some(FilterTarget { queue: id(p, queue)?, vport: id(p, vport)? });
            Command::MoveFilter {
                filter: id(p, at::MOVED_FILTER)?,
                from: target(at::MOVED_FROM, at::MOVED_FROM_VPORT)?,
                to: target(at::MOVED_TO, at::MOVED_TO_VPORT)?,
            }
        }
        oids::NIC_SWITCH_ALLOCATE_VF => Command::AllocateVf,
        oids::NIC_SWITCH_FREE_VF => Command::FreeVf { vf: u16_at(p, at::FREED_VF)?.into() },
        oids::NIC_SWITCH_CREATE_VPORT => {
            Command::CreateVport { function: u16_at(p, at::VPORT_FUNCTION)?.into() }
        }
        oids::NIC_SWITCH_DELETE_VPORT => Command::DeleteVport { vport: id(p, at::DELETED_VPORT)? },
        oids::NIC_SWITCH_VPORT_PARAMETERS => {
            Command::Use { resource: Resource::Vport, id: id(p, at::CREATED_VPORT)? }
        }
        oids::SRIOV_READ_VF_CONFIG_SPACE
        | oids::SRIOV_WRITE_VF_CONFIG_SPACE
        | oids::SRIOV_READ_VF_CONFIG_BLOCK
        | oids::SRIOV_WRITE_VF_CONFIG_BLOCK
        | oids::SRIOV_RESET_VF
        | oids::SRIOV_SET_VF_POWER_STATE
        | oids::SRIOV_VF_VENDOR_DEVICE_ID
        | oids::SRIOV_BAR_RESOURCES => {
            Command::Use { resource: Resource::Vf, id: u16_at(p, at::USED_VF)?.into() }
        }
        oids::TCP_TASK_IPSEC_OFFLOAD_V2_UPDATE_SA => Command::UpdateSa { handle: u64_at(p, at::UPDATED_SA)? },
        _ => return None,
    })
}

/// The id that an adapter has written into the payload of a request that made a resource, once that succeeded.
pub fn made(resource: Resource, bytes: &[u8]) -> Option<u64> {
    match resource {
        Resource::Queue => id(bytes, at::ALLOCATED_QUEUE),
        Resource::Filter => id(bytes, at::SET_FILTER),
        Resource::Vf => u16_at(bytes, at::ALLOCATED_VF).map(u64::from),
        Resource::Vport => id(bytes, at::CREATED_VPORT),
        // Handles stand in a list.
        Resource::Sa => None,
    }
}

/// Puts the switch's own id of the queue back into the payload of a filter that a member's copy was taken for.
pub fn restore_queue(bytes: &mut [u8], queue: u64) -> Option<()> {
    put(bytes, at::FILTER_QUEUE, u32::try_from(queue).ok()?)
}

/// Puts the ids that one member knows into its copy of a payload. `below` says them, resource by resource.
pub fn translate(
    command: &Command,
    bytes: &mut [u8],
    below: impl Fn(Resource, u64) -> Option<u64>,
) -> Option<()> {
    let mut put_id = |resource, place: usize, above: u64| {
        // Queue 0 is every adapter's default queue.
        let value = if resource == Resource::Queue && above == 0 { 0 } else { below(resource, above)? };
        put(bytes, place, u32::try_from(value).ok()?)
    };
    match *command {
        Command::AllocateQueue { .. } => Some(()),
        Command::UpdateQueue { queue, .. } => put_id(Resource::Queue, at::ALLOCATED_QUEUE, queue),
        Command::FreeQueue { queue } => put_id(Resource::Queue, at::FREED_QUEUE, queue),
        Command::SetFilter { queue, .. } => put_id(Resource::Queue, at::FILTER_QUEUE, queue),
        Command::ClearFilter { queue, filter } => {
            put_id(Resource::Queue, at::CLEARED_QUEUE, queue)?;
            put_id(Resource::Filter, at::CLEARED_FILTER, filter)
        }
        Command::MoveFilter { filter, .. } => {
            put_id(Resource::Filter, at::MOVED_FILTER, filter)?;
            for place in [at::MOVED_FROM, at::MOVED_TO] {
                let queue = id(bytes, place)?;
                let value = if queue == 0 { 0 } else { below(Resource::Queue, queue)? };
                put(bytes, place, u32::try_from(value).ok()?)?;
            }
            Some(())
        }
        // On one member, always, or in lists, whose parts are written elsewhere (`QueueArray::part`).
        Command::CompleteQueues
        | Command::AllocateVf
        | Command::FreeVf { .. }
        | Command::CreateVport { .. }
        | Command::DeleteVport { .. }
        | Command::AddSas
        | Command::UpdateSa { .. }
        | Command::DeleteSas
        | Command::Use { .. } => None,
    }
}

/// NDIS_RECEIVE_QUEUE_ALLOCATION_COMPLETE_ARRAY: queues whose allocation is complete, each with room for a status.
#[derive(Debug, Clone, Copy)]
pub struct QueueArray {
    first: usize,
    count: usize,
    size: usize,
}

impl QueueArray {
    /// The array in these bytes if its header is sound and every element lies inside them.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let p = checked(bytes, COMPLETE_HEADER)?;
        let word = |place| id(p, place).and_then(|value| usize::try_from(value).ok());
        let array = Self {
            first: word(at::COMPLETE_FIRST)?,
            count: word(at::COMPLETE_COUNT)?,
            size: word(at::COMPLETE_SIZE)?,
        };
        let end = array.size.checked_mul(array.count)?.checked_add(array.first)?;
        let sound = array.count == 0 || (array.size >= COMPLETE_ELEMENT && array.first >= COMPLETE_HEADER);
        (sound && end <= bytes.len()).then_some(array)
    }

    pub const fn len(&self) -> usize {
        self.count
    }

    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    fn element(&self, index: usize) -> Option<usize> {
        (index < self.count).then_some(())?;
        self.size.checked_mul(index)?.checked_add(self.first)
    }

    /// The queue of an element.
    pub fn queue(&self, bytes: &[u8], index: usize) -> Option<u64> {
        id(bytes, self.element(index)?.checked_add(at::COMPLETE_QUEUE)?)
    }

    pub fn queues<'a>(&'a self, bytes: &'a [u8]) -> impl Iterator<Item = u64> + Clone + 'a {
        (0..self.count).filter_map(move |index| self.queue(bytes, index))
    }

    /// CompletionStatus of an element.
    pub fn status(&self, bytes: &[u8], index: usize) -> Option<u32> {
        u32_at(bytes, self.element(index)?.checked_add(at::COMPLETE_STATUS)?)
    }

    pub fn set_status(&self, bytes: &mut [u8], index: usize, status: u32) -> Option<()> {
        put(bytes, self.element(index)?.checked_add(at::COMPLETE_STATUS)?, status)
    }

    /// Bytes that `part` needs at most.
    pub const fn part_size(&self) -> usize {
        COMPLETE_HEADER.saturating_add(self.count.saturating_mul(COMPLETE_ELEMENT))
    }

    /// Writes an array with those elements whose queue `below` knows, under the ids it gives, into `out`, which has
    /// `part_size` bytes. The bytes written, or `None` when there is nothing to write.
    pub fn part(
        &self,
        bytes: &[u8],
        out: &mut [u8],
        mut below: impl FnMut(usize, u64) -> Option<u64>,
    ) -> Option<usize> {
        let mut count: u32 = 0;
        let mut end = COMPLETE_HEADER;
        for index in 0..self.count {
            let start = self.element(index)?;
            let Some(queue) = below(index, self.queue(bytes, index)?) else { continue };
            let next = end.checked_add(COMPLETE_ELEMENT)?;
            let copy = out.get_mut(end..next)?;
            copy.copy_from_slice(bytes.get(start..)?.get(..COMPLETE_ELEMENT)?);
            put(copy, at::COMPLETE_QUEUE, u32::try_from(queue).ok()?)?;
            put_header(copy, 1, COMPLETE_ELEMENT)?;
            (count, end) = (count.checked_add(1)?, next);
        }
        let header = out.get_mut(..COMPLETE_HEADER)?;
        header.copy_from_slice(bytes.get(..COMPLETE_HEADER)?);
        put_header(header, 1, COMPLETE_HEADER)?;
        put(header, at::COMPLETE_FIRST, u32::try_from(COMPLETE_HEADER).ok()?)?;
        put(header, at::COMPLETE_COUNT, count)?;
        put(header, at::COMPLETE_SIZE, u32::try_from(COMPLETE_ELEMENT).ok()?)?;
        (count > 0).then_some(end)
    }
}

/// The bytes that the header vouches for, when they are at least `needed` and all there.
pub fn checked(bytes: &[u8], needed: usize) -> Option<&[u8]> {
    let [kind, revision, low, high, ..] = *bytes else { return None };
    let size = usize::from(u16::from_le_bytes([low, high]));
    (kind == DEFAULT && revision >= 1 && size >= needed && bytes.len() >= needed)
        .then(|| bytes.get(..size.min(bytes.len())))
        .flatten()
}

/// Bytes of the first revision of a payload, from the table.
pub fn size(oid: u32) -> Option<usize> {
    use crate::oid::{OIDS, OidContext};
    let row = OIDS.iter().find(|row| row.oid == oid && row.place == OidContext::Envelope)?;
    row.payload.map(usize::from)
}

fn array_at<const N: usize>(bytes: &[u8], place: usize) -> Option<[u8; N]> {
    bytes.get(place..)?.get(..N)?.try_into().ok()
}

pub(crate) fn u16_at(bytes: &[u8], place: usize) -> Option<u16> {
    array_at(bytes, place).map(u16::from_le_bytes)
}

pub(crate) fn u32_at(bytes: &[u8], place: usize) -> Option<u32> {
    array_at(bytes, place).map(u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], place: usize) -> Option<u64> {
    array_at(bytes, place).map(u64::from_le_bytes)
}

fn id(bytes: &[u8], place: usize) -> Option<u64> {
    u32_at(bytes, place).map(u64::from)
}

pub(crate) fn put(bytes: &mut [u8], place: usize, value: u32) -> Option<()> {
    let place = bytes.get_mut(place..)?.first_chunk_mut()?;
    *place = value.to_le_bytes();
    Some(())
}

/// Writes the header of a structure.
pub(crate) fn put_header(bytes: &mut [u8], revision: u8, size: usize) -> Option<()> {
    let [low, high] = u16::try_from(size).ok()?.to_le_bytes();
    *bytes.first_chunk_mut()? = [DEFAULT, revision, low, high];
    Some(())
}
