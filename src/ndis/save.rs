//! `NDIS_SWITCH_NIC_SAVE_STATE` in requests from above, checked by its own header: a place to save to, or data to
//! restore (ns-ntddndis-_ndis_switch_nic_save_state, oid-switch-nic-save).

use super::oid::Request;
use super::raw::{NicSaveState, object_type};
use core::mem::offset_of;
use core::ptr::NonNull;
use teaming::ids::{NicId, NicIndex, PortId};
use teaming::oid::RequestType;

/// Who writes saved data.
pub struct Owner {
    pub id: [u8; 16],
    pub name: &'static [u16],
}

const FIXED: usize = NicSaveState::SIZE_REVISION_1 as usize;

/// The fixed part of the structure, in memory of the request.
struct View {
    structure: NonNull<u8>,
    /// Bytes that may be touched.
    length: usize,
}

impl View {
    /// The structure in the payload; of a method no more of it than comes back.
    fn of(request: &Request) -> Option<Self> {
        let (structure, length) = request.payload()?;
        let back = if request.kind() == Some(RequestType::Method) { request.output_length() } else { length };
        Self::within(structure, length.min(back))
    }

    /// The structure in so many bytes.
    fn within(structure: NonNull<u8>, length: u32) -> Option<Self> {
        let length = usize::try_from(length).ok()?;
        if length < FIXED {
            return None;
        }
        let view = Self { structure, length };
        let header = view.read(0).map(|[kind, revision]: [u8; 2]| (kind, revision))?;
        let right = header.0 == object_type::DEFAULT && header.1 >= 1 && view.size() >= FIXED;
        right.then_some(view)
    }

    /// Bytes of the structure; `at` and the end lie inside it.
    fn read<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        if at.checked_add(N)? > self.length {
            return None;
        }
        // SAFETY: inside the buffer, which holds `length` bytes until the request is completed.
        Some(unsafe { self.structure.byte_add(at).cast::<[u8; N]>().read_unaligned() })
    }

    /// Changes when another extension fills the structure: the CRC-32 of what it must write, from its identifier to the
    /// number of bytes, which the switch sets to the room there is.
    fn print(&self) -> u32 {
        let (from, to) = (offset_of!(NicSaveState, extension_id), offset_of!(NicSaveState, save_data_offset));
        // SAFETY: inside the fixed part, which lies in the buffer; nobody writes to it until the slice is gone.
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

    /// The header's Size: the whole buffer.
    fn size(&self) -> usize {
        self.number(2)
    }

    fn nic(&self) -> Option<NicId> {
        let port = u32::from_le_bytes(self.read(offset_of!(NicSaveState, port_id))?);
        let index = u16::from_le_bytes(self.read(offset_of!(NicSaveState, nic_index))?);
        Some(NicId::new(PortId::new(port), NicIndex::new(index)))
    }

    /// Revision 2 with its own member behind those of revision 1.
    fn has_overflow(&self) -> bool {
        let revision = self.read::<1>(1).is_some_and(|[revision]| revision >= 2);
        revision && self.size().min(self.length) >= usize::from(NicSaveState::SIZE_REVISION_2)
    }

    /// Where the data begins, if that is behind the structure's own members.
    fn data_offset(&self) -> Option<usize> {
        let own =
            if self.has_overflow() { NicSaveState::SIZE_REVISION_2 } else { NicSaveState::SIZE_REVISION_1 };
        Some(self.number(offset_of!(NicSaveState, save_data_offset))).filter(|at| *at >= usize::from(own))
    }
}

/// The NIC that a SAVE_COMPLETE or RESTORE_COMPLETE names.
pub fn completed_nic(request: &Request) -> Option<NicId> {
    View::of(request)?.nic()
}

/// The NIC of a request to save that has been below, and `Offer::print` as it is now. What a method gives back stands where
/// its lengths stood, so that only the buffer's own is still to be had.
pub fn passed(request: &Request) -> Option<(NicId, u32)> {
    let (structure, length) = request.payload()?;
    let view = View::within(structure, length)?;
    Some((view.nic()?, view.print()))
}

/// A place to save to: the structure of `OID_SWITCH_NIC_SAVE`.
pub struct Offer {
    view: View,
    request: Request,
    pub nic: NicId,
    at: usize,
    room: usize,
}

impl Offer {
    /// `None` if the request is not what it must be: a method with room for the structure that its header describes. An
    /// offset that points nowhere is good for an offer of nothing.
    pub fn of(request: Request) -> Option<Self> {
        if request.kind() != Some(RequestType::Method) {
            return None;
        }
        let view = View::of(&request)?;
        let offered = view.number(offset_of!(NicSaveState, save_data_size));
        let at = match view.data_offset() {
            Some(at) => at,
            None if offered == 0 => FIXED,
            None => return None,
        };
        let end = view.size().min(usize::try_from(request.output_length()).ok()?);
        let room = offered.min(end.saturating_sub(at));
        let view = View { length: end, ..view };
        Some(Self { nic: view.nic()?, view, request, at, room })
    }

    pub fn print(&self) -> u32 {
        self.view.print()
    }

    /// The bytes that may be written.
    pub fn room(&mut self) -> &mut [u8] {
        // SAFETY: `at + room` lies inside the buffer, which is the request's until it is completed, and `self` is
        // borrowed as long as the slice.
        unsafe { core::slice::from_raw_parts_mut(self.view.structure.byte_add(self.at).as_ptr(), self.room) }
    }

    /// `bytes` were written: says whose they are. Header, Flags, PortId, NicIndex and SaveDataOffset stay.
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
        let written = u32::try_from(self.at.saturating_add(bytes)).unwrap_or(u32::MAX);
        self.request.method_results(written, u32::from(NicSaveState::SIZE_REVISION_1), 0);
    }

    /// Nothing was written, `need` bytes would do.
    pub fn demand(self, need: usize) {
        let needed = u32::try_from(self.at.saturating_add(need)).unwrap_or(u32::MAX);
        self.request.method_results(0, u32::from(NicSaveState::SIZE_REVISION_1), needed);
    }
}

/// Data to restore: the structure of `OID_SWITCH_NIC_RESTORE`.
pub struct Blob {
    view: View,
    pub nic: NicId,
}

impl Blob {
    /// `None` if the request is not what it must be.
    pub fn of(request: Request) -> Option<Self> {
        if !request.is_set() {
            return None;
        }
        let view = View::of(&request)?;
        Some(Self { nic: view.nic()?, view })
    }

    pub fn is_of(&self, owner: &Owner) -> bool {
        self.view.read(offset_of!(NicSaveState, extension_id)) == Some(owner.id)
    }

    /// The data, or `None` if it does not lie in the buffer.
    pub fn data(&self) -> Option<&[u8]> {
        let at = self.view.data_offset()?;
        let mut bytes = self.view.number(offset_of!(NicSaveState, save_data_size));
        if self.view.has_overflow() {
            let more = u32::from_le_bytes(self.view.read(NicSaveState::OVERFLOW)?);
            bytes = bytes.checked_add(usize::try_from(more).ok()?)?;
        }
        if at.checked_add(bytes)? > self.view.length {
            return None;
        }
        // SAFETY: inside the buffer, which nobody writes to until the request is completed.
        Some(unsafe { core::slice::from_raw_parts(self.view.structure.byte_add(at).as_ptr(), bytes) })
    }
}
