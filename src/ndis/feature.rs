//! Questions about feature status: `OID_SWITCH_FEATURE_STATUS_QUERY` and `OID_SWITCH_PORT_FEATURE_STATUS_QUERY`.
//!
//! The buffer has a parameter structure, at FeatureStatusBufferOffset from its start a structure about the data, and at an
//! offset from that one the data. The switch fills both but for the version in the first and the length in the second
//! (ns-ntddndis-_ndis_switch_feature_status_parameters, ns-ntddndis-_ndis_switch_feature_status_custom, and those of ports).
//! Without room the answer is NDIS_STATUS_INVALID_LENGTH with BytesNeeded of the method (oid-switch-feature-status-query).

use super::oid::{MethodResults, Request};
use super::raw::{
    PortFeatureStatusCustom, PortFeatureStatusParameters, SwitchFeatureStatusCustom,
    SwitchFeatureStatusParameters, feature_status_type, object_type, oids,
};
use super::status::NdisStatus;
use core::mem::offset_of;
use core::ptr::NonNull;
use teaming::ids::PortId;
use teaming::oid::RequestType;

/// Where the members of the parameter structure lie.
struct Layout {
    size: usize,
    kind: usize,
    id: usize,
    version: usize,
    offset: usize,
    length: usize,
}

const SWITCH: Layout = Layout {
    size: size_of::<SwitchFeatureStatusParameters>(),
    kind: offset_of!(SwitchFeatureStatusParameters, feature_status_type),
    id: offset_of!(SwitchFeatureStatusParameters, feature_status_id),
    version: offset_of!(SwitchFeatureStatusParameters, feature_status_version),
    offset: offset_of!(SwitchFeatureStatusParameters, feature_status_buffer_offset),
    length: offset_of!(SwitchFeatureStatusParameters, feature_status_buffer_length),
};

const PORT: Layout = Layout {
    size: size_of::<PortFeatureStatusParameters>(),
    kind: offset_of!(PortFeatureStatusParameters, feature_status_type),
    id: offset_of!(PortFeatureStatusParameters, feature_status_id),
    version: offset_of!(PortFeatureStatusParameters, feature_status_version),
    offset: offset_of!(PortFeatureStatusParameters, feature_status_buffer_offset),
    length: offset_of!(PortFeatureStatusParameters, feature_status_buffer_length),
};

// The structure about the data is the same for both.
const CUSTOM: usize = size_of::<SwitchFeatureStatusCustom>();
const CUSTOM_LENGTH: usize = offset_of!(SwitchFeatureStatusCustom, feature_status_custom_buffer_length);
const CUSTOM_OFFSET: usize = offset_of!(SwitchFeatureStatusCustom, feature_status_custom_buffer_offset);
const _: () = assert!(
    size_of::<PortFeatureStatusCustom>() == CUSTOM
        && offset_of!(PortFeatureStatusCustom, feature_status_buffer_length) == CUSTOM_LENGTH
        && offset_of!(PortFeatureStatusCustom, feature_status_buffer_offset) == CUSTOM_OFFSET
);

/// A question about a custom feature.
pub struct Question {
    request: Request,
    buffer: NonNull<u8>,
    /// Bytes of the buffer that may be accessed.
    length: usize,
    layout: &'static Layout,
    /// The port in question; `None` for the switch.
    pub port: Option<PortId>,
    /// FeatureStatusId.
    pub id: [u8; 16],
}

impl Question {
    /// `None` for other requests, and for one whose parameter structure is not whole: whose feature it means is not known.
    pub fn of(request: Request) -> Option<Self> {
        let layout = match request.oid() {
            oids::SWITCH_FEATURE_STATUS_QUERY => &SWITCH,
            oids::SWITCH_PORT_FEATURE_STATUS_QUERY => &PORT,
            _ => return None,
        };
        if request.kind() != Some(RequestType::Method) {
            return None;
        }
        let (buffer, input) = request.payload()?;
        let input = usize::try_from(input).ok()?;
        let output = usize::try_from(request.output_length()).ok()?;
        let view = Self { request, buffer, length: input, layout, port: None, id: [0; 16] };
        let [kind, revision] = view.read(0)?;
        let size = usize::from(u16::from_le_bytes(view.read(2)?));
        let whole = kind == object_type::DEFAULT && revision >= 1 && size >= layout.size;
        if !whole
            || input < layout.size
            || i32::from_le_bytes(view.read(layout.kind)?) != feature_status_type::CUSTOM
        {
            return None;
        }
        let id = view.read(layout.id)?;
        let port = match layout.size == PORT.size {
            true => Some(PortId::new(view.number(offset_of!(PortFeatureStatusParameters, port_id))?)),
            false => None,
        };
        // The buffer holds what comes in and what goes out.
        Some(Self { length: output, port, id, ..view })
    }

    /// Writes `count` numbers of 8 bytes as the data, and the version of their layout, and gives the status that completes
    /// the request. `fill` calls its argument for each number; it is called only if there is room for all.
    pub fn answer(self, version: u16, count: usize, fill: impl FnOnce(&mut dyn FnMut(u64))) -> NdisStatus {
        let bytes = count.saturating_mul(8);
        let place = self.place();
        let Some((custom, at)) = place.filter(|&(custom, at)| self.has_room(custom, at, bytes)) else {
            let least = self.layout.size.saturating_add(CUSTOM).saturating_add(bytes);
            let needed = place.map_or(least, |(_, at)| at.saturating_add(bytes).max(least));
            self.request.method_results(results(0, self.layout.size, needed));
            return NdisStatus::INVALID_LENGTH;
        };
        let mut next = at;
        fill(&mut |number: u64| {
            if next < at.saturating_add(bytes) {
                self.write(next, number.to_le_bytes());
            }
            next = next.saturating_add(8);
        });
        self.write(self.layout.version, version.to_le_bytes());
        self.write(custom.saturating_add(CUSTOM_LENGTH), u32::try_from(bytes).unwrap_or(0).to_le_bytes());
        self.request.method_results(results(at.saturating_add(bytes), at, 0));
        NdisStatus::SUCCESS
    }

    /// Where the structure about the data lies, and the data behind it.
    fn place(&self) -> Option<(usize, usize)> {
        let custom = usize::try_from(self.number(self.layout.offset)?).ok()?;
        let offset = usize::try_from(self.number(custom.checked_add(CUSTOM_OFFSET)?)?).ok()?;
        let right = custom >= self.layout.size && offset >= CUSTOM;
        Some((custom, custom.checked_add(offset)?)).filter(|(_, at)| right && *at <= self.length)
    }

    /// The data fits in the buffer, and in the two lengths that the switch states, as far as it states them.
    fn has_room(&self, custom: usize, at: usize, bytes: usize) -> bool {
        let (own, all) = (self.number(custom.saturating_add(CUSTOM_LENGTH)), self.number(self.layout.length));
        let fits = |stated: Option<u32>, bytes: usize| {
            stated
                .is_some_and(|stated| stated == 0 || usize::try_from(stated).is_ok_and(|room| room >= bytes))
        };
        let behind = at.saturating_sub(custom).saturating_add(bytes);
        at.saturating_add(bytes) <= self.length && fits(own, bytes) && fits(all, behind)
    }

    fn number(&self, at: usize) -> Option<u32> {
        self.read(at).map(u32::from_le_bytes)
    }

    fn read<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        if at.checked_add(N)? > self.length {
            return None;
        }
        // SAFETY: inside the buffer, which has `length` bytes and is valid until the request is completed.
        Some(unsafe { self.buffer.byte_add(at).cast::<[u8; N]>().read_unaligned() })
    }

    fn write<const N: usize>(&self, at: usize, bytes: [u8; N]) {
        if at.checked_add(N).is_some_and(|end| end <= self.length) {
            // SAFETY: as in `read`; a method request is written to by whoever handles it.
            unsafe { self.buffer.byte_add(at).cast::<[u8; N]>().write_unaligned(bytes) };
        }
    }
}

fn results(written: usize, read: usize, needed: usize) -> MethodResults {
    let count = |bytes| u32::try_from(bytes).unwrap_or(u32::MAX);
    MethodResults { written: count(written), read: count(read), needed: count(needed), revision: 1 }
}
