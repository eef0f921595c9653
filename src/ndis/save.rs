//! `NDIS_SWITCH_NIC_SAVE_STATE` in the switch's requests: a buffer to save to, or data to restore
//! (ns-ntddndis-_ndis_switch_nic_save_state, oid-switch-nic-save).
//!
//! The pages give the size of the buffer for saved data in four members, and a request need not set all of them.
//! OutputBufferLength is what may be written (ns-oidrequest-ndis_oid_request). Header.Size is the whole buffer
//! (managing-hyper-v-extensible-switch-run-time-data) or the structure alone (ns-ntddndis-_ndis_switch_nic_save_state):
//! it limits the data only where it is larger than the structure. SaveDataSize is the room that is provided
//! (oid-switch-nic-save), or zero where nothing was saved yet: it limits the data unless it is zero.

use super::oid::{MethodResults, Request};
use super::raw::{NicSaveState, object_type};
use core::mem::offset_of;
use core::ptr::NonNull;
use teaming::ids::{NicId, NicIndex, PortId};
use teaming::oid::RequestType;

/// The extension that owns saved data.
pub struct Owner {
    pub id: [u8; 16],
    pub name: &'static [u16],
}

const FIXED: usize = NicSaveState::SIZE_REVISION_1 as usize;

/// The fixed part of the structure, in memory of the request.
struct View {
    structure: NonNull<u8>,
    /// Bytes of the buffer that may be accessed.
    length: usize,
}

impl View {
    /// The structure in the request's buffer. `None` if the buffer is too short for it or its header is wrong.
    fn of(request: &Request) -> Option<Self> {
        let (structure, length) = request.payload()?;
        let length = usize::try_from(length).ok()?;
        if length < FIXED {
            return None;
        }
        let view = Self { structure, length };
        let header = view.read(0).map(|[kind, revision]: [u8; 2]| (kind, revision))?;
        let right = header.0 == object_type::DEFAULT && header.1 >= 1 && view.size() >= FIXED;
        right.then_some(view)
    }

    /// Reads `N` bytes at `at`. `None` if they do not lie in the buffer.
    fn read<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        if at.checked_add(N)? > self.length {
            return None;
        }
        // SAFETY: inside the buffer, which has `length` bytes and is valid until the request is completed.
        Some(unsafe { self.structure.byte_add(at).cast::<[u8; N]>().read_unaligned() })
    }

    /// CRC-32 of the members that an extension sets when it saves, ExtensionId to SaveDataSize. It changes when another
    /// extension fills the structure.
    fn print(&self) -> u32 {
        let (from, to) = (offset_of!(NicSaveState, extension_id), offset_of!(NicSaveState, save_data_offset));
        // SAFETY: the fixed part lies in the buffer, and nobody writes to it while the slice lives.
        crc32fast::hash(unsafe {
            core::slice::from_raw_parts(self.structure.byte_add(from).as_ptr(), to.saturating_sub(from))
        })
    }

    fn write<const N: usize>(&mut self, at: usize, bytes: [u8; N]) {
        if at.checked_add(N).is_some_and(|end| end <= self.length) {
            // SAFETY: as in `read`; a method request is written to by whoever handles it.
            unsafe { self.structure.byte_add(at).cast::<[u8; N]>().write_unaligned(bytes) };
        }
    }

    fn number(&self, at: usize) -> usize {
        self.read(at).map_or(0, |bytes| usize::from(u16::from_le_bytes(bytes)))
    }

    /// The header's Size.
    fn size(&self) -> usize {
        self.number(2)
    }

    /// The header's Revision; 2 for later ones.
    fn revision(&self) -> u8 {
        self.read::<1>(1).map_or(1, |[revision]| revision.min(2))
    }

    fn nic(&self) -> Option<NicId> {
        let port = u32::from_le_bytes(self.read(offset_of!(NicSaveState, port_id))?);
        let index = u16::from_le_bytes(self.read(offset_of!(NicSaveState, nic_index))?);
        Some(NicId::new(PortId::new(port), NicIndex::new(index)))
    }

    /// Whether the structure has the member that revision 2 adds.
    fn has_overflow(&self) -> bool {
        self.revision() >= 2 && self.size().min(self.length) >= usize::from(NicSaveState::SIZE_REVISION_2)
    }

    /// Size of the structure without the data, in bytes.
    fn own_size(&self) -> usize {
        usize::from(if self.has_overflow() {
            NicSaveState::SIZE_REVISION_2
        } else {
            NicSaveState::SIZE_REVISION_1
        })
    }

    /// SaveDataOffset, unless it points into the structure itself.
    fn data_offset(&self) -> Option<usize> {
        Some(self.number(offset_of!(NicSaveState, save_data_offset))).filter(|at| *at >= self.own_size())
    }

    /// SaveDataSize plus the count that revision 2 adds, in bytes. `None` if the sum overflows.
    fn data_size(&self) -> Option<usize> {
        let bytes = self.number(offset_of!(NicSaveState, save_data_size));
        if !self.has_overflow() {
            return Some(bytes);
        }
        let more = u32::from_le_bytes(self.read(NicSaveState::OVERFLOW)?);
        bytes.checked_add(usize::try_from(more).ok()?)
    }
}

/// SaveDataSize and SaveDataOffset of a structure; 0 where it is too short.
pub fn stated(bytes: &[u8]) -> (u32, u32) {
    let half = |at: usize| bytes.get(at..).and_then(|rest| rest.first_chunk::<2>());
    let number = |at| half(at).map_or(0, |half| u16::from_le_bytes(*half).into());
    (number(offset_of!(NicSaveState, save_data_size)), number(offset_of!(NicSaveState, save_data_offset)))
}

/// The NIC that a SAVE_COMPLETE or RESTORE_COMPLETE names.
pub fn completed_nic(request: &Request) -> Option<NicId> {
    View::of(request)?.nic()
}

/// The NIC of a SAVE request that lower drivers have completed, and `Offer::print` of its structure now. The results of
/// a method request overwrite its lengths, so the length of the payload is the only one left.
pub fn passed(request: &Request) -> Option<(NicId, u32)> {
    let view = View::of(request)?;
    Some((view.nic()?, view.print()))
}

/// The buffer of a request `OID_SWITCH_NIC_SAVE`.
pub struct Offer {
    view: View,
    request: Request,
    pub nic: NicId,
    at: usize,
    room: usize,
}

impl Offer {
    /// `None` unless the request is a method with a valid structure. With an offset outside the buffer nothing can be
    /// written.
    pub fn of(request: Request) -> Option<Self> {
        if request.kind() != Some(RequestType::Method) {
            return None;
        }
        let view = View::of(&request)?;
        let (own, offered) = (view.own_size(), view.data_size()?);
        let output = usize::try_from(request.output_length()).ok()?;
        let end = if view.size() > own { view.size().min(output) } else { output };
        let (at, room) = match view.data_offset() {
            Some(at) => (at, end.saturating_sub(at)),
            None if offered == 0 => (own, 0),
            None => return None,
        };
        let room = if offered == 0 { room } else { room.min(offered) };
        // SaveDataSize has 16 bits.
        let room = room.min(usize::from(u16::MAX));
        Some(Self { nic: view.nic()?, view, request, at, room })
    }

    pub fn print(&self) -> u32 {
        self.view.print()
    }

    /// The bytes that may be written.
    pub fn room(&mut self) -> &mut [u8] {
        if self.room == 0 {
            return &mut [];
        }
        // SAFETY: `at + room` lies inside the buffer, which is the request's until it is completed, and `self` is
        // borrowed as long as the slice.
        unsafe { core::slice::from_raw_parts_mut(self.view.structure.byte_add(self.at).as_ptr(), self.room) }
    }

    /// Completes the structure after `bytes` of data were written, and names their owner. Header, Flags, PortId,
    /// NicIndex and SaveDataOffset stay.
    pub fn fill(mut self, bytes: usize, owner: &Owner) {
        let size = u16::try_from(bytes).unwrap_or(u16::MAX);
        let name_at = offset_of!(NicSaveState, extension_friendly_name);
        let units = u16::try_from(owner.name.len()).unwrap_or(0);
        self.view.write(offset_of!(NicSaveState, extension_id), owner.id);
        self.view.write(name_at, units.saturating_mul(2).to_le_bytes());
        for (number, unit) in owner.name.iter().enumerate() {
            self.view.write(name_at + 2 + 2 * number, unit.to_le_bytes());
        }
        self.view.write(offset_of!(NicSaveState, feature_class_id), [0; 16]);
        self.view.write(offset_of!(NicSaveState, save_data_size), size.to_le_bytes());
        if self.view.has_overflow() {
            self.view.write(NicSaveState::OVERFLOW, [0; 4]);
        }
        self.request.method_results(self.results(self.at.saturating_add(bytes), 0));
    }

    /// The length of a buffer for `need` bytes of data, and the length of the request's buffer.
    pub fn lengths(&self, need: usize) -> (usize, usize) {
        let has = usize::try_from(self.request.output_length()).unwrap_or(usize::MAX);
        (self.at.saturating_add(need), has)
    }

    /// Nothing was written: asks the switch to repeat the request with a buffer of `length` bytes.
    pub fn demand(self, length: usize) {
        self.request.method_results(self.results(0, length));
    }

    fn results(&self, written: usize, needed: usize) -> MethodResults {
        let count = |bytes| u32::try_from(bytes).unwrap_or(u32::MAX);
        MethodResults {
            written: count(written),
            read: count(self.view.own_size()),
            needed: count(needed),
            revision: self.view.revision(),
        }
    }
}

/// Data to restore: the structure of `OID_SWITCH_NIC_RESTORE`.
pub struct Blob {
    view: View,
    request: Request,
    pub nic: NicId,
}

impl Blob {
    /// `None` unless the request is a set request with a valid structure.
    pub fn of(request: Request) -> Option<Self> {
        if !request.is_set() {
            return None;
        }
        let view = View::of(&request)?;
        Some(Self { nic: view.nic()?, view, request })
    }

    pub fn is_of(&self, owner: &Owner) -> bool {
        self.view.read(offset_of!(NicSaveState, extension_id)) == Some(owner.id)
    }

    /// The data, or `None` if it does not lie in the buffer.
    pub fn data(&self) -> Option<&[u8]> {
        let (at, bytes) = (self.view.data_offset()?, self.view.data_size()?);
        if at.checked_add(bytes)? > self.view.length {
            return None;
        }
        // SAFETY: inside the buffer, to which nobody writes until the request is completed.
        Some(unsafe { core::slice::from_raw_parts(self.view.structure.byte_add(at).as_ptr(), bytes) })
    }

    /// Sets SupportedRevision and BytesRead of a request that the driver completes
    /// (filtering-oid-requests-in-an-ndis-filter-driver).
    pub fn taken(self) {
        let end = self.data().zip(self.view.data_offset()).map(|(data, at)| at.saturating_add(data.len()));
        let read = end.unwrap_or(FIXED);
        self.request.set_results(u32::try_from(read).unwrap_or(u32::MAX), self.view.revision());
    }
}
