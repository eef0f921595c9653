//! Payloads of requests: parameters of ports and NICs, arrays of them, parameters of the switch.
//!
//! Undefined bytes have arbitrary values; some structures are longer than documented and of a newer revision.

use crate::adapter::identity::Told;
use crate::switch::ports::{Mac, Nic, NicId, NicState, Port, PortState};
use lbfoext::ndis::raw::{
    CountedString, ElementArray, Guid, NicFlags, NicParameters, ObjectHeader, PortParameters,
    SwitchParameters, nic_state, object_type,
};
use std::mem::offset_of;

/// Value of undefined bytes.
const GARBAGE: u8 = 0x99;

fn garbage<T>() -> T {
    // SAFETY: callers use structures of integers and arrays of these, for which every pattern is a value.
    unsafe {
        let mut value = std::mem::MaybeUninit::<T>::uninit();
        value.as_mut_ptr().cast::<u8>().write_bytes(GARBAGE, size_of::<T>());
        value.assume_init()
    }
}

pub fn bytes_of<T>(value: &T) -> Vec<u8> {
    // SAFETY: `garbage` initialized every byte, padding included.
    unsafe { std::slice::from_raw_parts(std::ptr::from_ref(value).cast::<u8>(), size_of::<T>()) }.to_vec()
}

/// A counted string with arbitrary bytes after its end.
pub fn counted(text: &str) -> CountedString {
    counted_units(&text.encode_utf16().collect::<Vec<u16>>())
}

fn counted_units(text: &[u16]) -> CountedString {
    let mut value: CountedString = garbage();
    let units = &text[..text.len().min(256)];
    value.length = u16::try_from(units.len() * 2).unwrap_or(0);
    value.text[..units.len()].copy_from_slice(units);
    value
}

fn mac_field(mac: Mac) -> [u8; 32] {
    let mut field = [GARBAGE; 32];
    field[..6].copy_from_slice(&mac);
    field
}

pub fn port(port: &Port) -> PortParameters {
    let mut p: PortParameters = garbage();
    p.header = ObjectHeader::new(object_type::DEFAULT, 1, PortParameters::SIZE_REVISION_1);
    p.flags = 0;
    p.port_id = port.id;
    p.port_name = counted(&format!("port-{}", port.id));
    p.port_friendly_name = counted(&format!("Port {}", port.id));
    p.port_type = port.kind.port_type();
    p.is_validation_port = u8::from(port.validation);
    p.port_state = match port.state {
        PortState::Created => 1,
        PortState::TearingDown => 2,
    };
    p
}

/// Parameters of a port as an element of an array; `newer` selects an undefined later revision.
pub fn port_element(of: &Port, newer: bool) -> Vec<u8> {
    let mut p = port(of);
    let mut bytes = bytes_of(&p);
    if newer {
        p.header = ObjectHeader::new(object_type::DEFAULT, 3, PortParameters::SIZE_REVISION_1 + 24);
        bytes = bytes_of(&p);
        bytes.resize(usize::from(PortParameters::SIZE_REVISION_1 + 24).max(bytes.len()), GARBAGE);
    }
    bytes
}

/// Parameters of a NIC; revision 3 is an undefined later one. `told` is about a physical adapter.
pub fn nic(nic: &Nic, revision: u8, told: &Told) -> Vec<u8> {
    let mut p: NicParameters = garbage();
    let size = match revision {
        1 => NicParameters::SIZE_REVISION_1,
        2 => NicParameters::SIZE_REVISION_2,
        _ => NicParameters::SIZE_REVISION_2 + 16,
    };
    p.header = ObjectHeader::new(object_type::DEFAULT, revision, size);
    p.flags = if revision > 2 { NicFlags::NIC_SUSPENDED_LM } else { NicFlags::empty() };
    // Defined for synthetic NICs (ns-ntddndis-_ndis_switch_nic_parameters).
    if nic.begins && nic.kind == crate::switch::ports::NicKind::Synthetic {
        p.flags |= NicFlags::NIC_INITIALIZING;
    }
    p.nic_name = counted(&format!("nic-{}", nic.id));
    p.nic_friendly_name = match nic.is_member() {
        true => counted_units(&told.name),
        false => counted(&format!("NIC {}", nic.id)),
    };
    p.port_id = nic.id.port;
    p.nic_index = nic.id.index;
    p.nic_type = nic.kind.nic_type();
    p.nic_state = match nic.state {
        NicState::Created => nic_state::CREATED,
        NicState::Connected => nic_state::CONNECTED,
        NicState::Disconnected => nic_state::DISCONNECTED,
    };
    p.mtu = nic.mtu;
    if nic.is_member() {
        p.net_cfg_instance_id = Guid::from_bytes(told.id);
    }
    p.current_mac_address = mac_field(nic.mac);
    p.permanent_mac_address = mac_field(nic.permanent);
    let of_guest = matches!(
        nic.kind,
        crate::switch::ports::NicKind::Synthetic | crate::switch::ports::NicKind::Emulated
    );
    if of_guest {
        p.vm_name = counted(&format!("machine-{}", nic.vm));
        // The bytes after a name are arbitrary and differ between the NICs of a VM.
        let length = usize::from(p.vm_name.length / 2);
        p.vm_name.text[length..].fill(0x4100 ^ nic.id.port as u16);
    }
    p.vm_mac_address = if of_guest { mac_field(nic.mac) } else { [0; 32] };
    // FALSE for external and internal adapters (ns-ntddndis-_ndis_switch_nic_parameters), unless a test wants it otherwise.
    p.vf_assigned = u8::from(nic.function_assigned);
    let mut bytes = bytes_of(&p);
    bytes.resize(usize::from(size).max(bytes.len()), GARBAGE);
    bytes
}

/// An array of elements as a query returns it: with a gap before the first and between them.
pub fn array(elements: &[Vec<u8>], gap: usize) -> Vec<u8> {
    let longest = elements.iter().map(Vec::len).max().unwrap_or(0);
    let size = (longest + gap).next_multiple_of(8);
    let first = (size_of::<ElementArray>() + gap).next_multiple_of(8);
    let mut head: ElementArray = garbage();
    head.header = ObjectHeader::new(object_type::DEFAULT, 1, 20);
    head.flags = 0;
    head.num_elements = u32::try_from(elements.len()).unwrap_or(0);
    if !elements.is_empty() {
        head.first_element_offset = u16::try_from(first).unwrap_or(0);
        head.element_size = u32::try_from(size).unwrap_or(0);
    }
    let mut bytes = bytes_of(&head);
    for element in elements {
        bytes.resize(first + (bytes.len().saturating_sub(first)).next_multiple_of(size), GARBAGE);
        bytes.extend(element);
    }
    if !elements.is_empty() {
        bytes.resize(first + elements.len() * size, GARBAGE);
    }
    bytes
}

pub fn switch(module: usize, ports: usize, is_active: bool) -> Vec<u8> {
    let mut p: SwitchParameters = garbage();
    p.header = ObjectHeader::new(object_type::DEFAULT, 1, SwitchParameters::SIZE_REVISION_1);
    p.flags = 0;
    p.switch_name = counted(&switch_name(module));
    p.switch_friendly_name = counted("Simulated");
    p.num_switch_ports = u32::try_from(ports).unwrap_or(0);
    p.is_active = u8::from(is_active);
    bytes_of(&p)
}

/// The name of a switch instance, which is also the registry key of its settings.
pub fn switch_name(module: usize) -> String {
    format!("5C9D3F62-0D4B-4A0C-9A0E-31B0A2D4E6F{}", (8 + module) % 10)
}

/// Index of the NIC that a payload of NIC parameters names; 0 if it is too short.
pub fn nic_index(payload: &[u8]) -> u16 {
    let at = offset_of!(NicParameters, nic_index);
    payload.get(at..at + 2).and_then(|b| b.try_into().ok()).map_or(0, u16::from_le_bytes)
}

/// The NIC that a payload of NIC parameters names.
pub fn nic_id(payload: &[u8]) -> Option<NicId> {
    let at = offset_of!(NicParameters, port_id);
    let port = u32::from_le_bytes(payload.get(at..at + 4)?.try_into().ok()?);
    Some(NicId::new(port, nic_index(payload)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::switch::ports::NicKind;

    #[test]
    fn elements_of_an_array_are_found_by_its_own_numbers() {
        let nics: Vec<Vec<u8>> = (0..3)
            .map(|i| {
                nic(
                    &Nic::new(NicId::new(1, i), NicKind::External, [2, 0, 0, 0, 0, 1]),
                    1 + u8::try_from(i).unwrap(),
                    &Told { id: [1; 16], name: vec![0xDC00; 300] },
                )
            })
            .collect();
        let bytes = array(&nics, 24);
        let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
        let first = usize::from(u16::from_le_bytes(bytes[8..10].try_into().unwrap()));
        assert_eq!(word(12), 3);
        assert!(word(16) > size_of::<NicParameters>());
        for i in 0..3 {
            let start = first + i * word(16);
            let found = nic_id(&bytes[start..]).unwrap();
            assert_eq!(found, NicId::new(1, u16::try_from(i).unwrap()));
        }
        assert_eq!(bytes.len(), first + 3 * word(16));
    }
}
