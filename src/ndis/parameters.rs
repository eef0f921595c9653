//! Parameters of the switch, its ports and its NICs (NDIS_SWITCH_PARAMETERS, _PORT_PARAMETERS, _NIC_PARAMETERS and the
//! arrays) in requests and in answers to queries, checked before they are read.

use super::raw::{
    self, ElementArray, NicFlags, NicParameters as RawNicParameters, PortParameters as RawPortParameters,
    SwitchParameters, object_type,
};
use core::mem::offset_of;
use teaming::ids::{AdapterId, MacAddr, NicId, NicIndex, PortId};
use teaming::oid::nic::{NicKind, NicParameters, VmId};

/// The members of NDIS_SWITCH_PARAMETERS that the driver uses.
pub struct SwitchInfo<'a> {
    pub is_active: bool,
    /// SwitchName (a GUID as text), UTF-16 in little-endian bytes.
    pub name: &'a [u8],
    /// SwitchFriendlyName, as `name`; may be empty.
    pub title: &'a [u8],
}

/// Reads NDIS_SWITCH_PARAMETERS from a buffer that was zeroed before the query; `None` if no name was written, which
/// every switch has.
pub fn switch_info(buffer: &[u8]) -> Option<SwitchInfo<'_>> {
    let counted = |at: usize| {
        let bytes = usize::from(u16::from_le_bytes(field(buffer, at)?)).min(512);
        buffer.get(at.checked_add(2)?..)?.get(..bytes)
    };
    Some(SwitchInfo {
        is_active: *buffer.get(offset_of!(SwitchParameters, is_active))? != 0,
        name: counted(offset_of!(SwitchParameters, switch_name)).filter(|name| !name.is_empty())?,
        title: counted(offset_of!(SwitchParameters, switch_friendly_name)).unwrap_or_default(),
    })
}

/// Writes the NDIS_OBJECT_HEADER (type DEFAULT, revision 1) with which a query must be issued.
pub fn write_header(buffer: &mut [u8], size: u16) {
    let header = [object_type::DEFAULT, 1, size.to_le_bytes()[0], size.to_le_bytes()[1]];
    if let Some(place) = buffer.get_mut(..4) {
        place.copy_from_slice(&header);
    }
}

/// The members of NDIS_SWITCH_PORT_PARAMETERS that the driver uses.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PortParameters {
    pub id: PortId,
    /// IsValidationPort: the port exists to validate policies and never gets a NIC.
    pub is_validation: bool,
    /// PortState is NdisSwitchPortStateCreated, so no teardown has begun.
    pub is_created: bool,
}

/// Reads NDIS_SWITCH_PORT_PARAMETERS of revision 1 or later; `None` if the header does not match or the buffer is too
/// short.
#[inline(never)] // as `read_nic`
pub fn read_port(bytes: &[u8]) -> Option<PortParameters> {
    let needed = usize::from(RawPortParameters::SIZE_REVISION_1);
    let size = u16::from_le_bytes(field(bytes, 2)?);
    let (&kind, &revision) = (bytes.first()?, bytes.get(1)?);
    if bytes.len() < needed || kind != object_type::DEFAULT || revision < 1 || usize::from(size) < needed {
        return None;
    }
    let state = i32::from_le_bytes(field(bytes, offset_of!(RawPortParameters, port_state))?);
    Some(PortParameters {
        id: PortId::new(u32::from_le_bytes(field(bytes, offset_of!(RawPortParameters, port_id))?)),
        is_validation: *bytes.get(offset_of!(RawPortParameters, is_validation_port))? != 0,
        is_created: state == raw::port_state::CREATED,
    })
}

/// Size in the header of a query of the port or NIC array, in bytes.
pub const ARRAY_HEADER: u16 = size_of::<ElementArray>() as u16;

/// The ports of an NDIS_SWITCH_PORT_ARRAY; elements that `read_port` rejects are left out.
pub fn port_array(buffer: &[u8]) -> impl Iterator<Item = PortParameters> + '_ {
    elements(buffer, RawPortParameters::SIZE_REVISION_1).filter_map(read_port)
}

/// An element of an NDIS_SWITCH_NIC_ARRAY.
pub struct ArrayNic<'a> {
    pub parameters: NicParameters,
    pub state: NicState,
    /// As `friendly_name` gives it.
    pub name: &'a [u8],
}

/// The NICs of an NDIS_SWITCH_NIC_ARRAY; elements that `read_nic` rejects are left out.
pub fn nic_array(buffer: &[u8]) -> impl Iterator<Item = ArrayNic<'_>> {
    elements(buffer, RawNicParameters::SIZE_REVISION_1).filter_map(|bytes| {
        let (parameters, state) = read_nic(bytes)?;
        Some(ArrayNic { parameters, state, name: friendly_name(bytes) })
    })
}

/// NicFriendlyName of NDIS_SWITCH_NIC_PARAMETERS that `read_nic` accepts: UTF-16 in little-endian bytes, at most 512,
/// unchecked; empty if there is none (ns-ntddndis-_ndis_switch_nic_parameters.md).
pub fn friendly_name(bytes: &[u8]) -> &[u8] {
    counted(bytes, offset_of!(RawNicParameters, nic_friendly_name)).unwrap_or_default()
}

/// NumElements of an array.
pub fn announced(buffer: &[u8]) -> u32 {
    field(buffer, offset_of!(ElementArray, num_elements)).map_or(0, u32::from_le_bytes)
}

/// ElementSize of an array.
pub fn element_size(buffer: &[u8]) -> u32 {
    field(buffer, offset_of!(ElementArray, element_size)).map_or(0, u32::from_le_bytes)
}

/// The headers of the elements that lie in the buffer, as `teaming::event::survey::head` packs them.
pub fn element_heads(buffer: &[u8]) -> impl Iterator<Item = u32> + '_ {
    elements(buffer, 4).map(teaming::event::survey::head)
}

/// The elements of an array that lie in the buffer, found by its FirstElementOffset and ElementSize, which is at least
/// `least` bytes.
fn elements(buffer: &[u8], least: u16) -> impl Iterator<Item = &[u8]> {
    let first = field(buffer, offset_of!(ElementArray, first_element_offset)).map_or(0, u16::from_le_bytes);
    let size = usize::try_from(element_size(buffer)).unwrap_or(usize::MAX);
    let count = if size < usize::from(least) { 0 } else { announced(buffer) };
    (0..count).map_while(move |index| {
        let start = size.checked_mul(index as usize)?.checked_add(usize::from(first))?;
        buffer.get(start..)?.get(..size)
    })
}

/// NDIS_SWITCH_NIC_STATE; an enumeration distinguishes only these.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum NicState {
    Created,
    Connected,
    Other,
}

/// The text of an IF_COUNTED_STRING, at most 512 bytes whatever its length field says.
fn counted(bytes: &[u8], at: usize) -> Option<&[u8]> {
    let length = usize::from(u16::from_le_bytes(field(bytes, at)?)).min(512);
    bytes.get(at.checked_add(2)?..)?.get(..length)
}

fn field<const N: usize>(buffer: &[u8], at: usize) -> Option<[u8; N]> {
    buffer.get(at..)?.get(..N)?.try_into().ok()
}

/// Reads NDIS_SWITCH_NIC_PARAMETERS of revision 1 or later; `None` if the header does not match or the buffer is too
/// short.
#[inline(never)] // called from several places
pub fn read_nic(bytes: &[u8]) -> Option<(NicParameters, NicState)> {
    let needed = usize::from(RawNicParameters::SIZE_REVISION_1);
    let bytes = bytes.get(..needed)?;
    let (&kind, &revision) = (bytes.first()?, bytes.get(1)?);
    let size = u16::from_le_bytes(field(bytes, 2)?);
    if kind != object_type::DEFAULT || revision < 1 || usize::from(size) < needed {
        return None;
    }
    let mac = |at| field::<6>(bytes, at).map(MacAddr);
    let kind = i32::from_le_bytes(field(bytes, offset_of!(RawNicParameters, nic_type))?);
    // VmName and VFAssigned are valid only for NICs of virtual machines.
    let is_vm_nic = matches!(kind, raw::nic_type::SYNTHETIC | raw::nic_type::EMULATED);
    let [vf_assigned] = field(bytes, offset_of!(RawNicParameters, vf_assigned))?;
    let flags = u32::from_le_bytes(field(bytes, offset_of!(RawNicParameters, flags))?);
    let parameters = NicParameters {
        id: NicId {
            port: PortId::new(u32::from_le_bytes(field(bytes, offset_of!(RawNicParameters, port_id))?)),
            index: NicIndex::new(u16::from_le_bytes(field(bytes, offset_of!(RawNicParameters, nic_index))?)),
        },
        kind: match kind {
            raw::nic_type::EXTERNAL => NicKind::External,
            raw::nic_type::INTERNAL => NicKind::Internal,
            raw::nic_type::EMULATED => NicKind::Emulated,
            _ => NicKind::Synthetic,
        },
        current_mac: mac(offset_of!(RawNicParameters, current_mac_address))?,
        permanent_mac: mac(offset_of!(RawNicParameters, permanent_mac_address))?,
        vm_mac: mac(offset_of!(RawNicParameters, vm_mac_address))?,
        mtu: u32::from_le_bytes(field(bytes, offset_of!(RawNicParameters, mtu))?),
        vm: match is_vm_nic {
            true => VmId::of(counted(bytes, offset_of!(RawNicParameters, vm_name))?),
            false => VmId::NONE,
        },
        vf_assigned: is_vm_nic && vf_assigned != 0,
        // Defined for synthetic NICs (ns-ntddndis-_ndis_switch_nic_parameters.md).
        initializing: kind == raw::nic_type::SYNTHETIC
            && NicFlags::from_bits_retain(flags).contains(NicFlags::NIC_INITIALIZING),
        adapter: match is_vm_nic {
            true => AdapterId::UNKNOWN,
            false => AdapterId::new(field(bytes, offset_of!(RawNicParameters, net_cfg_instance_id))?),
        },
    };
    let state = match i32::from_le_bytes(field(bytes, offset_of!(RawNicParameters, nic_state))?) {
        // One that was disconnected is there all the same, until it is deleted.
        raw::nic_state::CREATED | raw::nic_state::DISCONNECTED => NicState::Created,
        raw::nic_state::CONNECTED => NicState::Connected,
        _ => NicState::Other,
    };
    Some((parameters, state))
}
