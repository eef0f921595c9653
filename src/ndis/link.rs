//! Status indications from below (FilterStatus), and NDIS_LINK_STATE in them, checked before they are read.

use super::raw::{self, ObjectHeader, StatusIndication, SwitchNicStatusIndication, object_type};
use core::ptr::NonNull;
use teaming::ids::{NicId, NicIndex, PortId};
use teaming::offload::capabilities::Capability;
use teaming::team::member::LinkState;

/// Decodes an NDIS_LINK_STATE of `length` bytes; `None` if it is too short.
pub fn decode(state: &raw::LinkState, length: usize) -> Option<LinkState> {
    if length < size_of::<raw::LinkState>() {
        return None;
    }
    Some(match state.media_connect_state {
        raw::LinkState::MEDIA_CONNECT_STATE_CONNECTED => LinkState::Up {
            bits_per_second: Some(state.xmit_link_speed)
                .filter(|&speed| speed != raw::LinkState::SPEED_UNKNOWN && speed != 0),
        },
        raw::LinkState::MEDIA_CONNECT_STATE_DISCONNECTED => LinkState::Down,
        _ => LinkState::Unknown,
    })
}

/// A status indication from below; valid and read only until FilterStatus returns.
#[derive(Clone, Copy)]
pub struct Indication<'a>(&'a StatusIndication);

/// The link or media status in an NDIS_STATUS_SWITCH_NIC_STATUS, by its source.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LinkStatus {
    /// Indicated by the physical adapter `from` (NIC index > 0).
    Member { from: NicId, link: LinkState },
    /// Indicated by the external network adapter `from` (NIC index 0): the links of its team may have changed.
    Team { from: NicId },
}

/// Code and size of an indication, or of that inside an envelope, of which the source and the packed header are given.
pub struct Shape {
    pub code: i32,
    pub size: u32,
    pub from: Option<NicId>,
    pub envelope: Option<u32>,
}

impl<'a> Indication<'a> {
    /// # Safety
    /// The indication and what it points to are valid for `'a`.
    pub(crate) unsafe fn from_raw(indication: NonNull<StatusIndication>) -> Self {
        // SAFETY: by the caller's promise.
        Self(unsafe { indication.as_ref() })
    }

    pub(crate) fn as_ptr(self) -> *mut StatusIndication {
        core::ptr::from_ref(self.0).cast_mut()
    }

    /// The source and the encapsulated indication of an NDIS_STATUS_SWITCH_NIC_STATUS; `None` for any other status and
    /// for a damaged envelope. The driver passes those up without reading them.
    fn inside(self) -> Option<(NicId, &'a StatusIndication)> {
        if self.0.status_code != raw::SWITCH_NIC_STATUS {
            return None;
        }
        let (buffer, size) = (self.0.status_buffer.cast(), self.0.status_buffer_size as usize);
        // The first is what the page demands (ns-ndis-_ndis_switch_nic_status_indication.md). Other structures of status
        // indications have the second, and a failover must not depend on which of the two a system writes.
        let envelope: &SwitchNicStatusIndication = structure(buffer, size, object_type::DEFAULT)
            .or_else(|| structure(buffer, size, object_type::STATUS_INDICATION))?;
        let inner: &StatusIndication = structure(
            envelope.status_indication,
            size_of::<StatusIndication>(),
            object_type::STATUS_INDICATION,
        )?;
        let from = NicId {
            port: PortId::new(envelope.source_port_id),
            index: NicIndex::new(envelope.source_nic_index),
        };
        Some((from, inner))
    }

    /// What the survey records of it.
    pub fn shape(self) -> Shape {
        let (code, size) = (self.0.status_code, self.0.status_buffer_size);
        if code != raw::SWITCH_NIC_STATUS {
            return Shape { code, size, from: None, envelope: None };
        }
        let envelope = if self.0.status_buffer.is_null() || size < 4 {
            0
        } else {
            // SAFETY: not null, and NDIS keeps the buffer of that size for the call.
            unsafe { self.0.status_buffer.cast::<u32>().read_unaligned() }
        };
        match self.inside() {
            Some((from, inner)) => Shape {
                code: inner.status_code,
                size: inner.status_buffer_size,
                from: Some(from),
                envelope: Some(envelope),
            },
            None => Shape { code, size, from: None, envelope: Some(envelope) },
        }
    }

    /// The NIC that an NDIS_STATUS_SWITCH_NIC_STATUS is from; `None` for any other status and a damaged envelope.
    pub fn source(self) -> Option<NicId> {
        self.inside().map(|(from, _)| from)
    }

    /// The capability that a physical adapter, or with NIC index 0 the team, indicates: source, capability,
    /// StatusBuffer.
    pub fn capability(self) -> Option<(NicId, Capability, &'a [u8])> {
        let (from, inner) = self.inside()?;
        let capability = Capability::of_status(inner.status_code.cast_unsigned())?;
        let (buffer, size) = (inner.status_buffer.cast::<u8>(), inner.status_buffer_size as usize);
        if buffer.is_null() {
            return Some((from, capability, &[]));
        }
        // SAFETY: not null, and NDIS keeps the buffer for the call.
        Some((from, capability, unsafe { core::slice::from_raw_parts(buffer, size) }))
    }

    /// The encapsulated link or media status; `None` for any other status.
    pub fn link_status(self) -> Option<LinkStatus> {
        let (from, inner) = self.inside()?;
        let link = match inner.status_code {
            raw::LINK_STATE => {
                let length = inner.status_buffer_size as usize;
                let state: &raw::LinkState =
                    structure(inner.status_buffer.cast(), length, object_type::DEFAULT)?;
                decode(state, length)?
            }
            raw::MEDIA_CONNECT => LinkState::Up { bits_per_second: None },
            raw::MEDIA_DISCONNECT => LinkState::Down,
            _ => return None,
        };
        Some(if from.index == NicIndex::DEFAULT {
            LinkStatus::Team { from }
        } else {
            LinkStatus::Member { from, link }
        })
    }
}

/// Follows a pointer of an indication to a structure that begins with NDIS_OBJECT_HEADER. `None` unless it is not
/// null, aligned, of type `expected`, and both `available` and the header's size cover the structure.
fn structure<'a, T>(pointer: *const T, available: usize, expected: u8) -> Option<&'a T> {
    if pointer.is_null() || available < size_of::<T>() {
        return None;
    }
    // SAFETY: not null, and NDIS keeps the buffer for the call; a header of 4 bytes is there by the check above.
    let header = unsafe { pointer.cast::<ObjectHeader>().read_unaligned() };
    let fits =
        header.object_type == expected && header.revision >= 1 && usize::from(header.size) >= size_of::<T>();
    // SAFETY: as above; the whole structure is readable, and it is aligned.
    (fits && pointer.is_aligned()).then(|| unsafe { &*pointer })
}
